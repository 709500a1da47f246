# ampcloudd: the body in a library, so that tests link it; main.c is tiny.
noinst_LIBRARIES += ampcloudd/libampcloudd.a
ampcloudd_libampcloudd_a_SOURCES = \
	ampcloudd/cloudd.c ampcloudd/cloudd.h \
	ampcloudd/ecs.c ampcloudd/ecs.h \
	ampcloudd/history.c ampcloudd/history.h \
	ampcloudd/ingest.c ampcloudd/ingest.h \
	ampcloudd/query.c \
	ampcloudd/shipper.c ampcloudd/shipper.h \
	ampcloudd/store.c ampcloudd/store.h ampcloudd/store_private.h

bin_PROGRAMS += ampcloudd/ampcloudd
ampcloudd_ampcloudd_SOURCES = ampcloudd/main.c
ampcloudd_ampcloudd_LDADD = ampcloudd/libampcloudd.a $(AMP_LIBS)
