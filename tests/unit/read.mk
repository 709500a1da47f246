# unit tests and fuzz targets: ampread
UNIT_TESTS += tests/unit/test_open tests/unit/test_hash tests/unit/test_walk tests/unit/test_openwant \
	tests/unit/test_snapshot tests/unit/test_tree
tests_unit_test_open_SOURCES = tests/unit/test_open.c tests/unit/readtest.h
tests_unit_test_open_CFLAGS = $(UNIT_CFLAGS)
tests_unit_test_open_LDADD = ampscand/ampread/libampread.a $(UNIT_LIBS)
tests_unit_test_hash_SOURCES = tests/unit/test_hash.c tests/unit/readtest.h tests/unit/iohold.h
tests_unit_test_hash_CFLAGS = $(UNIT_CFLAGS)
tests_unit_test_hash_LDADD = ampscand/ampread/libampread.a $(UNIT_LIBS)
tests_unit_test_walk_SOURCES = tests/unit/test_walk.c tests/unit/readtest.h
tests_unit_test_walk_CFLAGS = $(UNIT_CFLAGS)
tests_unit_test_walk_LDADD = ampscand/ampread/libampread.a $(UNIT_LIBS)
tests_unit_test_openwant_SOURCES = tests/unit/test_openwant.c tests/unit/readtest.h
tests_unit_test_openwant_CFLAGS = $(UNIT_CFLAGS)
tests_unit_test_openwant_LDADD = ampscand/ampread/libampread.a $(UNIT_LIBS)
tests_unit_test_snapshot_SOURCES = tests/unit/test_snapshot.c tests/unit/readtest.h
tests_unit_test_snapshot_CFLAGS = $(UNIT_CFLAGS)
tests_unit_test_snapshot_LDADD = ampscand/ampread/libampread.a $(UNIT_LIBS)
tests_unit_test_tree_SOURCES = tests/unit/test_tree.c tests/unit/readtest.h
tests_unit_test_tree_CFLAGS = $(UNIT_CFLAGS)
tests_unit_test_tree_LDADD = ampscand/ampread/libampread.a $(UNIT_LIBS)
