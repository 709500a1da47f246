# ampscand: the scanner. All but main.c is a library, so that tests and
# fuzzers link it.
noinst_LIBRARIES += ampscand/libampscand.a
ampscand_libampscand_a_SOURCES = \
	ampscand/act.c ampscand/act.h ampscand/act_record.c \
	ampscand/brake.c ampscand/brake.h ampscand/brakecli.c ampscand/foundation.c \
	ampscand/held.c ampscand/keep.c ampscand/buffers.c ampscand/buffers.h \
	ampscand/demand.c ampscand/demand.h ampscand/demandcli.c \
	ampscand/demandkeep.c ampscand/demandlist.c ampscand/demandtask.c \
	ampscand/gentle.c ampscand/schedule.c \
	ampscand/cache.c ampscand/cache.h ampscand/fanotify_parse.c \
	ampscand/filesystems.c ampscand/filesystems.h ampscand/intake.c \
	ampscand/contents.c ampscand/contents.h ampscand/decide.c ampscand/engine.c \
	ampscand/job.c ampscand/judge.c ampscand/open.c ampscand/park.c \
	ampscand/scan.c ampscand/scan.h ampscand/witness.c ampscand/workers.c \
	ampscand/quard.c ampscand/readers.c ampscand/resolve.c \
	ampscand/restored.c ampscand/restored.h ampscand/rules.c \
	ampscand/rules.h ampscand/scand.h \
	ampscand/script.c ampscand/script.h ampscand/source.h \
	ampscand/source_fd.c ampscand/source_handle.c ampscand/status.c \
	ampscand/take.c ampscand/turns.c ampscand/verdicts.c ampscand/verdicts.h ampscand/walk.c \
	ampscand/who.c ampscand/who.h ampscand/room.c

bin_PROGRAMS += ampscand/ampscand
ampscand_ampscand_SOURCES = ampscand/main.c
ampscand_ampscand_LDADD = ampscand/libampscand.a $(AMP_LIBS)
