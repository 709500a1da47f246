# unit tests: scans on demand
UNIT_TESTS += tests/unit/test_demand tests/unit/test_schedule tests/unit/test_gentle
tests_unit_test_demand_SOURCES = tests/unit/test_demand.c tests/unit/demandtest.h tests/unit/scantest.h
tests_unit_test_demand_CFLAGS = $(UNIT_CFLAGS)
tests_unit_test_demand_LDADD = ampscand/libampscand.a $(UNIT_LIBS)
tests_unit_test_schedule_SOURCES = tests/unit/test_schedule.c tests/unit/demandtest.h tests/unit/scantest.h
tests_unit_test_schedule_CFLAGS = $(UNIT_CFLAGS)
tests_unit_test_schedule_LDADD = ampscand/libampscand.a $(UNIT_LIBS)
tests_unit_test_gentle_SOURCES = tests/unit/test_gentle.c tests/unit/demandtest.h tests/unit/scantest.h
tests_unit_test_gentle_CFLAGS = $(UNIT_CFLAGS)
tests_unit_test_gentle_LDADD = ampscand/libampscand.a $(UNIT_LIBS)
