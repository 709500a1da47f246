# unit tests: quarantine.db
UNIT_TESTS += tests/unit/test_qstore
tests_unit_test_qstore_SOURCES = tests/unit/test_qstore.c tests/unit/cloudtest.h
tests_unit_test_qstore_CFLAGS = $(UNIT_CFLAGS)
tests_unit_test_qstore_LDADD = ampquard/libampquard.a $(UNIT_LIBS)
