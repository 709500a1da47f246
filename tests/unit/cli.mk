# unit tests and fuzz targets: ampcli
UNIT_TESTS += tests/unit/test_cli
tests_unit_test_cli_SOURCES = tests/unit/test_cli.c
tests_unit_test_cli_CFLAGS = $(UNIT_CFLAGS)
tests_unit_test_cli_LDADD = ampcli/libampcli.a $(UNIT_LIBS) $(JSONC_LIBS) $(LIBEDIT_LIBS)
