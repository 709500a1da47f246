# unit tests: what is kept, the brake, the foundations
UNIT_TESTS += tests/unit/test_keep tests/unit/test_brake tests/unit/test_foundation
tests_unit_test_keep_SOURCES = tests/unit/test_keep.c tests/unit/keeptest.h tests/unit/scantest.h
tests_unit_test_keep_CFLAGS = $(UNIT_CFLAGS)
tests_unit_test_keep_LDADD = ampscand/libampscand.a $(UNIT_LIBS)
tests_unit_test_brake_SOURCES = tests/unit/test_brake.c tests/unit/keeptest.h tests/unit/scantest.h
tests_unit_test_brake_CFLAGS = $(UNIT_CFLAGS)
tests_unit_test_brake_LDADD = ampscand/libampscand.a $(UNIT_LIBS)
tests_unit_test_foundation_SOURCES = tests/unit/test_foundation.c tests/unit/keeptest.h tests/unit/scantest.h
tests_unit_test_foundation_CFLAGS = $(UNIT_CFLAGS)
tests_unit_test_foundation_LDADD = ampscand/libampscand.a $(UNIT_LIBS)
UNIT_TESTS += tests/unit/test_convict
tests_unit_test_convict_SOURCES = tests/unit/test_convict.c tests/unit/quardtest.h tests/unit/scantest.h
tests_unit_test_convict_CFLAGS = $(UNIT_CFLAGS)
tests_unit_test_convict_LDADD = ampscand/libampscand.a $(UNIT_LIBS)
