# What every process shares. Folders' private headers stay in their folders.
noinst_LIBRARIES += lib/libamp.a
lib_libamp_a_SOURCES = \
	lib/arena.c lib/arena.h \
	lib/channel.c lib/channel.h \
	lib/cliroot.c lib/cliserver.c lib/cliserver.h \
	lib/clock.c lib/clock.h \
	lib/counter.c lib/counter.h \
	lib/db.c lib/db.h \
	lib/drop.c lib/drop.h \
	lib/eventcheck.c lib/eventcheck.h \
	lib/fault.c lib/fault.h \
	lib/fileid.c lib/fileid.h \
	lib/iothread.c lib/iothread.h \
	lib/landlock.c lib/landlock.h \
	lib/log.c lib/log.h \
	lib/outbox.c lib/outbox.h \
	lib/role.c lib/role.h \
	lib/room.c lib/room.h \
	lib/seccomp_table.c lib/seccomp_table.h \
	lib/sha256.c lib/sha256.h \
	lib/text.c lib/text.h

AMP_LIBS = lib/libamp.a proto/libproto.a \
	$(LIBEVENT_LIBS) $(OPENSSL_LIBS) $(SQLITE_LIBS) $(LIBCAP_LIBS) \
	$(SECCOMP_LIBS) $(PROTOBUF_C_LIBS)
