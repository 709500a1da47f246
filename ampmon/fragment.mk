# ampmon: the supervisor. Its body is a library, so that tests link it.
noinst_LIBRARIES += ampmon/libampmon.a
ampmon_libampmon_a_SOURCES = \
	ampmon/child.c ampmon/child.h \
	ampmon/cli.c \
	ampmon/conf.c ampmon/conf.h \
	ampmon/control.c \
	ampmon/definitions.c \
	ampmon/dirs.c \
	ampmon/events.c \
	ampmon/faults.c ampmon/faults.h \
	ampmon/foundation.c \
	ampmon/guard.c \
	ampmon/inforce.c \
	ampmon/keys.c ampmon/keys.h \
	ampmon/keep.c ampmon/keep.h \
	ampmon/kill.c ampmon/kill.h \
	ampmon/links.c \
	ampmon/lists.c ampmon/lists.h \
	ampmon/logs.c ampmon/logs.h \
	ampmon/mapped.c ampmon/mapped.h \
	ampmon/marks.c ampmon/marks.h \
	ampmon/mon.c ampmon/mon.h \
	ampmon/mountinfo.c ampmon/mountinfo.h \
	ampmon/policy.c ampmon/policy.h \
	ampmon/posture.c ampmon/posture.h \
	ampmon/reload.c \
	ampmon/repair.c ampmon/repair.h \
	ampmon/sources.c \
	ampmon/spawn.c \
	ampmon/start.c \
	ampmon/state.c \
	ampmon/throttle.c ampmon/throttle.h \
	ampmon/watch.c ampmon/watch.h \
	ampmon/watchfs.c ampmon/watchfs.h \
	ampmon/watchgroup.c \
	ampmon/watchpass.c
if HAVE_SYSTEMD
ampmon_libampmon_a_SOURCES += ampmon/notify.c
else
ampmon_libampmon_a_SOURCES += ampmon/notify_none.c
endif

AMPMON_LIBS = ampmon/libampmon.a $(AMP_LIBS) $(CONFUSE_LIBS) $(SYSTEMD_LIBS)

bin_PROGRAMS += ampmon/ampmon
ampmon_ampmon_SOURCES = ampmon/main.c
ampmon_ampmon_LDADD = $(AMPMON_LIBS)
