# Watching file systems, killing, repairs, ampmon's own state.
AMPMON_WATCH_SOURCES = \
	ampmon/watch.c ampmon/watch.h \
	ampmon/mountinfo.c ampmon/mountinfo.h \
	ampmon/marks.c ampmon/marks.h \
	ampmon/kill.c ampmon/kill.h \
	ampmon/repair.c ampmon/repair.h \
	ampmon/state.c
