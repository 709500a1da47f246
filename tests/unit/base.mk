# unit tests and fuzz targets: base
EXTRA_DIST += tests/unit/skip.h
BASE_TESTS = tests/unit/test_clock tests/unit/test_counter tests/unit/test_log \
	tests/unit/test_sha256 tests/unit/test_text tests/unit/test_arena \
	tests/unit/test_fileid tests/unit/test_iothread
UNIT_TESTS += $(BASE_TESTS)

tests_unit_test_clock_SOURCES = tests/unit/test_clock.c
tests_unit_test_clock_LDADD = $(UNIT_LIBS)
tests_unit_test_counter_SOURCES = tests/unit/test_counter.c
tests_unit_test_counter_LDADD = $(UNIT_LIBS)
tests_unit_test_log_SOURCES = tests/unit/test_log.c
tests_unit_test_log_LDADD = $(UNIT_LIBS)
tests_unit_test_sha256_SOURCES = tests/unit/test_sha256.c
tests_unit_test_sha256_LDADD = $(UNIT_LIBS)
tests_unit_test_text_SOURCES = tests/unit/test_text.c
tests_unit_test_text_LDADD = $(UNIT_LIBS)
tests_unit_test_arena_SOURCES = tests/unit/test_arena.c
tests_unit_test_arena_LDADD = $(UNIT_LIBS)
tests_unit_test_fileid_SOURCES = tests/unit/test_fileid.c
tests_unit_test_fileid_LDADD = $(UNIT_LIBS)
tests_unit_test_iothread_SOURCES = tests/unit/test_iothread.c
tests_unit_test_iothread_LDADD = $(UNIT_LIBS)
