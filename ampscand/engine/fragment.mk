# ampengine: the offline engine. Everything but main is in a library, so that tests link
# it; adapter.c alone sees libclamav.
noinst_LIBRARIES += ampscand/engine/libampengine.a
ampscand_engine_libampengine_a_CPPFLAGS = $(AM_CPPFLAGS) $(CLAMAV_CFLAGS)
ampscand_engine_libampengine_a_SOURCES = \
	ampscand/engine/adapter.c ampscand/engine/adapter.h \
	ampscand/engine/engine.h ampscand/engine/fleet.c \
	ampscand/engine/load.c ampscand/engine/room.c \
	ampscand/engine/seam.c ampscand/engine/seam.h \
	ampscand/engine/sets.c ampscand/engine/shortage.c ampscand/engine/shortage.h \
	ampscand/engine/slot.c ampscand/engine/slot.h \
	ampscand/engine/watch.c ampscand/engine/wire.c ampscand/engine/wire.h \
	ampscand/engine/worker.c ampscand/engine/zygote.c ampscand/engine/zygote.h
AMP_ENGINE_LIBS = ampscand/engine/libampengine.a $(AMP_LIBS) $(CLAMAV_LIBS)

bin_PROGRAMS += ampscand/engine/ampengine
ampscand_engine_ampengine_SOURCES = ampscand/engine/main.c
ampscand_engine_ampengine_LDADD = $(AMP_ENGINE_LIBS)

$(ampscand_engine_libampengine_a_OBJECTS): | $(PROTO_H)
