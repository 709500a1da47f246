# unit tests and fuzz targets: databases, the durable queue, ampcloudd
UNIT_TESTS += tests/unit/test_db tests/unit/test_outbox tests/unit/test_store \
	tests/unit/test_ingest tests/unit/test_history tests/unit/test_shipper \
	tests/unit/test_cloudd
tests_unit_test_db_SOURCES = tests/unit/test_db.c tests/unit/cloudtest.h
tests_unit_test_db_CFLAGS = $(UNIT_CFLAGS)
tests_unit_test_db_LDADD = $(UNIT_LIBS)
tests_unit_test_outbox_SOURCES = tests/unit/test_outbox.c tests/unit/cloudtest.h
tests_unit_test_outbox_CFLAGS = $(UNIT_CFLAGS)
tests_unit_test_outbox_LDADD = $(UNIT_LIBS)
tests_unit_test_store_SOURCES = tests/unit/test_store.c tests/unit/cloudtest.h
tests_unit_test_store_CFLAGS = $(UNIT_CFLAGS)
tests_unit_test_store_LDADD = ampcloudd/libampcloudd.a $(UNIT_LIBS)
tests_unit_test_ingest_SOURCES = tests/unit/test_ingest.c tests/unit/cloudtest.h
tests_unit_test_ingest_CFLAGS = $(UNIT_CFLAGS)
tests_unit_test_ingest_LDADD = ampcloudd/libampcloudd.a $(UNIT_LIBS)
tests_unit_test_history_SOURCES = tests/unit/test_history.c tests/unit/cloudtest.h tests/unit/iohold.h
tests_unit_test_history_CFLAGS = $(UNIT_CFLAGS)
tests_unit_test_history_LDADD = ampcloudd/libampcloudd.a $(UNIT_LIBS)
tests_unit_test_shipper_SOURCES = tests/unit/test_shipper.c tests/unit/cloudtest.h
tests_unit_test_shipper_CFLAGS = $(UNIT_CFLAGS)
tests_unit_test_shipper_LDADD = ampcloudd/libampcloudd.a $(UNIT_LIBS) $(JSONC_LIBS)
# Runs the program itself.
tests_unit_test_cloudd_SOURCES = tests/unit/test_cloudd.c tests/unit/cloudtest.h
tests_unit_test_cloudd_CFLAGS = $(UNIT_CFLAGS)
tests_unit_test_cloudd_LDADD = $(UNIT_LIBS)
EXTRA_tests_unit_test_cloudd_DEPENDENCIES = ampcloudd/ampcloudd$(EXEEXT)
