# unit tests of the supervisor
UNIT_TESTS += tests/unit/test_child tests/unit/test_faults tests/unit/test_logs \
	tests/unit/test_keeps tests/unit/test_mapped
tests_unit_test_child_SOURCES = tests/unit/test_child.c
tests_unit_test_child_CFLAGS = $(UNIT_CFLAGS)
tests_unit_test_child_LDADD = $(AMPMON_LIBS) $(CMOCKA_LIBS)
tests_unit_test_faults_SOURCES = tests/unit/test_faults.c
tests_unit_test_faults_CFLAGS = $(UNIT_CFLAGS)
tests_unit_test_faults_LDADD = $(AMPMON_LIBS) $(CMOCKA_LIBS)
tests_unit_test_logs_SOURCES = tests/unit/test_logs.c
tests_unit_test_logs_CFLAGS = $(UNIT_CFLAGS)
tests_unit_test_logs_LDADD = $(AMPMON_LIBS) $(CMOCKA_LIBS)
tests_unit_test_keeps_SOURCES = tests/unit/test_keeps.c
tests_unit_test_keeps_CFLAGS = $(UNIT_CFLAGS)
tests_unit_test_keeps_LDADD = $(AMPMON_LIBS) $(CMOCKA_LIBS)
tests_unit_test_mapped_SOURCES = tests/unit/test_mapped.c
tests_unit_test_mapped_CFLAGS = $(UNIT_CFLAGS)
tests_unit_test_mapped_LDADD = $(AMPMON_LIBS) $(CMOCKA_LIBS)
