# unit tests and fuzz targets: ampcli
CLIFAKE = tests/unit/clifake.c tests/unit/clifake.h
UNIT_TESTS += tests/unit/test_cli tests/unit/test_cli_scan tests/unit/test_cli_shell
tests_unit_test_cli_SOURCES = tests/unit/test_cli.c $(CLIFAKE)
tests_unit_test_cli_CFLAGS = $(UNIT_CFLAGS)
tests_unit_test_cli_LDADD = $(AMPCLI_LIBS) $(CMOCKA_LIBS)
tests_unit_test_cli_scan_SOURCES = tests/unit/test_cli_scan.c $(CLIFAKE)
tests_unit_test_cli_scan_CFLAGS = $(UNIT_CFLAGS)
tests_unit_test_cli_scan_LDADD = $(AMPCLI_LIBS) $(CMOCKA_LIBS)
tests_unit_test_cli_shell_SOURCES = tests/unit/test_cli_shell.c $(CLIFAKE)
tests_unit_test_cli_shell_CFLAGS = $(UNIT_CFLAGS)
tests_unit_test_cli_shell_LDADD = $(AMPCLI_LIBS) $(CMOCKA_LIBS)
