# ampquard: the body in a library, so that tests link it; main.c is tiny.
noinst_LIBRARIES += ampquard/libampquard.a
ampquard_libampquard_a_SOURCES = \
	ampquard/ask.c ampquard/conclude.c ampquard/copy.c ampquard/keeper.c ampquard/list.c \
	ampquard/quard.h ampquard/report.c ampquard/restore.c ampquard/retain.c \
	ampquard/room.c ampquard/say.c ampquard/taking.c ampquard/waiting.c \
	ampquard/hand.c ampquard/hand.h ampquard/hands.c \
	ampquard/layers.c ampquard/layers.h \
	ampquard/meta.c ampquard/meta.h \
	ampquard/names.c ampquard/names.h \
	ampquard/neutral.c ampquard/neutral.h \
	ampquard/place.c ampquard/place.h \
	ampquard/step.c ampquard/step.h \
	ampquard/store.c ampquard/store.h ampquard/store_private.h \
	ampquard/storelist.c ampquard/storereport.c ampquard/storerow.c ampquard/storetake.c \
	ampquard/superblock.c ampquard/superblock.h \
	ampquard/vault.c ampquard/vault.h \
	ampquard/vaultformat.c ampquard/vaultformat.h

bin_PROGRAMS += ampquard/ampquard
ampquard_ampquard_SOURCES = ampquard/main.c
ampquard_ampquard_LDADD = ampquard/libampquard.a $(AMP_LIBS)
