# unit tests: the offline engine: adapter, slots, zygotes and workers
ENGINE_TEST_LIBS = $(AMP_ENGINE_LIBS) $(CMOCKA_LIBS)
UNIT_TESTS += tests/unit/test_engine tests/unit/test_engine_slot tests/unit/test_engine_zygote \
	tests/unit/test_engine_sets
tests_unit_test_engine_SOURCES = tests/unit/test_engine.c tests/unit/zygotetest.h
tests_unit_test_engine_CFLAGS = $(UNIT_CFLAGS)
tests_unit_test_engine_LDADD = $(ENGINE_TEST_LIBS)
tests_unit_test_engine_slot_SOURCES = tests/unit/test_engine_slot.c tests/unit/zygotetest.h
tests_unit_test_engine_slot_CFLAGS = $(UNIT_CFLAGS)
tests_unit_test_engine_slot_LDADD = $(ENGINE_TEST_LIBS)
tests_unit_test_engine_zygote_SOURCES = tests/unit/test_engine_zygote.c tests/unit/zygotetest.h
tests_unit_test_engine_zygote_CFLAGS = $(UNIT_CFLAGS)
tests_unit_test_engine_zygote_LDADD = $(ENGINE_TEST_LIBS)
# The room's channel to ampmon is not there: faults come to the test. A load can be held at its beginning.
tests_unit_test_engine_sets_SOURCES = tests/unit/test_engine_sets.c tests/unit/zygotetest.h
tests_unit_test_engine_sets_CFLAGS = $(UNIT_CFLAGS)
tests_unit_test_engine_sets_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=amp_room_fault -Wl,--wrap=zygote_main
tests_unit_test_engine_sets_LDADD = $(ENGINE_TEST_LIBS)
