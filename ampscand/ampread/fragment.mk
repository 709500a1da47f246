# ampread: opens and hashes for ampscand, read-only. Everything but main is in
# a library, so that tests link it.
noinst_LIBRARIES += ampscand/ampread/libampread.a
ampscand_ampread_libampread_a_SOURCES = \
	ampscand/ampread/archive.c ampscand/ampread/archive.h \
	ampscand/ampread/climb.c ampscand/ampread/climb.h \
	ampscand/ampread/hash.c ampscand/ampread/hash.h \
	ampscand/ampread/job.c ampscand/ampread/job.h \
	ampscand/ampread/listing.c ampscand/ampread/listing.h \
	ampscand/ampread/names.c ampscand/ampread/names.h \
	ampscand/ampread/open.c ampscand/ampread/open.h \
	ampscand/ampread/pseudo.c ampscand/ampread/pseudo.h \
	ampscand/ampread/reader.c ampscand/ampread/reader.h \
	ampscand/ampread/readroom.c ampscand/ampread/readroom.h \
	ampscand/ampread/snapshot.c ampscand/ampread/snapshot.h \
	ampscand/ampread/tree.c ampscand/ampread/tree.h \
	ampscand/ampread/treebatch.c ampscand/ampread/treebatch.h \
	ampscand/ampread/treelevels.c ampscand/ampread/treelevels.h \
	ampscand/ampread/treetop.c ampscand/ampread/treetop.h \
	ampscand/ampread/walk.c ampscand/ampread/walk.h \
	ampscand/ampread/walkfile.c ampscand/ampread/walkfile.h \
	ampscand/ampread/walkstack.c ampscand/ampread/walkstack.h \
	ampscand/ampread/walkwire.c ampscand/ampread/walkwire.h \
	ampscand/ampread/walks.c ampscand/ampread/walks.h

bin_PROGRAMS += ampscand/ampread/ampread
ampscand_ampread_ampread_SOURCES = ampscand/ampread/main.c
ampscand_ampread_ampread_LDADD = ampscand/ampread/libampread.a $(AMP_LIBS)
