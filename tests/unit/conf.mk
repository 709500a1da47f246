# unit tests and fuzz targets: conf
CONF_SOURCES = ampmon/keys.c ampmon/keys.h ampmon/lists.c ampmon/lists.h
UNIT_TESTS += tests/unit/test_conf tests/unit/test_policy
tests_unit_test_conf_SOURCES = tests/unit/test_conf.c ampmon/conf.c $(CONF_SOURCES)
tests_unit_test_conf_CFLAGS = $(UNIT_CFLAGS)
tests_unit_test_conf_LDADD = $(UNIT_LIBS) $(CONFUSE_LIBS)
tests_unit_test_policy_SOURCES = tests/unit/test_policy.c ampmon/policy.c $(CONF_SOURCES)
tests_unit_test_policy_CFLAGS = $(UNIT_CFLAGS)
tests_unit_test_policy_LDADD = $(UNIT_LIBS) $(CONFUSE_LIBS)

FUZZERS += tests/fuzz/fuzz_conf
tests_fuzz_fuzz_conf_SOURCES = tests/fuzz/fuzz_conf.c $(CONF_SOURCES)
tests_fuzz_fuzz_conf_LDFLAGS = $(AM_LDFLAGS) -fsanitize=fuzzer
tests_fuzz_fuzz_conf_LDADD = $(AMP_LIBS) $(CONFUSE_LIBS)
EXTRA_DIST += tests/fuzz/corpus/conf
