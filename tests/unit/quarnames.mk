# unit tests: ampquard's work on names, places, layers
UNIT_TESTS += tests/unit/test_names tests/unit/test_place tests/unit/test_neutral tests/unit/test_layers
tests_unit_test_names_SOURCES = tests/unit/test_names.c tests/unit/quartest.h
tests_unit_test_names_CFLAGS = $(UNIT_CFLAGS)
tests_unit_test_names_LDADD = ampquard/libampquard.a $(UNIT_LIBS)
tests_unit_test_place_SOURCES = tests/unit/test_place.c tests/unit/quartest.h
tests_unit_test_place_CFLAGS = $(UNIT_CFLAGS)
tests_unit_test_place_LDADD = ampquard/libampquard.a $(UNIT_LIBS)
tests_unit_test_neutral_SOURCES = tests/unit/test_neutral.c tests/unit/quartest.h
tests_unit_test_neutral_CFLAGS = $(UNIT_CFLAGS)
tests_unit_test_neutral_LDADD = ampquard/libampquard.a $(UNIT_LIBS)
tests_unit_test_layers_SOURCES = tests/unit/test_layers.c tests/unit/quartest.h
tests_unit_test_layers_CFLAGS = $(UNIT_CFLAGS)
tests_unit_test_layers_LDADD = ampquard/libampquard.a $(UNIT_LIBS)
UNIT_TESTS += tests/unit/test_keeper
tests_unit_test_keeper_SOURCES = tests/unit/test_keeper.c tests/unit/quartest.h
tests_unit_test_keeper_CFLAGS = $(UNIT_CFLAGS)
tests_unit_test_keeper_LDADD = ampquard/libampquard.a $(UNIT_LIBS)
