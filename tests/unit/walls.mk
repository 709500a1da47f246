# unit tests: walls
UNIT_TESTS += tests/unit/test_role tests/unit/test_stack
tests_unit_test_role_SOURCES = tests/unit/test_role.c
tests_unit_test_role_CFLAGS = $(UNIT_CFLAGS)
tests_unit_test_role_LDADD = $(UNIT_LIBS)
tests_unit_test_stack_SOURCES = tests/unit/test_stack.c
tests_unit_test_stack_CFLAGS = $(UNIT_CFLAGS)
tests_unit_test_stack_LDADD = $(UNIT_LIBS)
