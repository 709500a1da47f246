# unit tests and fuzz targets: watch, mountinfo, kill, repair, state
UNIT_TESTS += tests/unit/test_mountinfo tests/unit/test_watch tests/unit/test_kill \
	tests/unit/test_repair tests/unit/test_state

WATCH_SOURCES = ampmon/watch.c ampmon/watchfs.c ampmon/watchgroup.c ampmon/watchpass.c \
	ampmon/watchfs.h ampmon/marks.c ampmon/mountinfo.c

tests_unit_test_mountinfo_SOURCES = tests/unit/test_mountinfo.c ampmon/mountinfo.c
tests_unit_test_mountinfo_CFLAGS = $(UNIT_CFLAGS)
tests_unit_test_mountinfo_LDADD = $(UNIT_LIBS)

tests_unit_test_watch_SOURCES = tests/unit/test_watch.c $(WATCH_SOURCES)
tests_unit_test_watch_CFLAGS = $(UNIT_CFLAGS)
tests_unit_test_watch_LDADD = $(UNIT_LIBS)

tests_unit_test_kill_SOURCES = tests/unit/test_kill.c ampmon/kill.c
tests_unit_test_kill_CFLAGS = $(UNIT_CFLAGS)
tests_unit_test_kill_LDADD = $(UNIT_LIBS)

tests_unit_test_repair_SOURCES = tests/unit/test_repair.c ampmon/repair.c
tests_unit_test_repair_CFLAGS = $(UNIT_CFLAGS)
tests_unit_test_repair_LDADD = $(UNIT_LIBS)

tests_unit_test_state_SOURCES = tests/unit/test_state.c ampmon/state.c
tests_unit_test_state_CFLAGS = $(UNIT_CFLAGS)
tests_unit_test_state_LDADD = $(AMPMON_LIBS) $(CMOCKA_LIBS)
