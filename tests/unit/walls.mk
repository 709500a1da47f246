# unit tests: walls
UNIT_TESTS += tests/unit/test_role
tests_unit_test_role_SOURCES = tests/unit/test_role.c
tests_unit_test_role_CFLAGS = $(UNIT_CFLAGS)
tests_unit_test_role_LDADD = $(UNIT_LIBS)
