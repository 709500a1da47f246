# unit tests and fuzz targets: scan
UNIT_TESTS += tests/unit/test_buffers tests/unit/test_cache tests/unit/test_parse tests/unit/test_rules \
	tests/unit/test_verdicts tests/unit/test_filesystems tests/unit/test_park tests/unit/test_script \
	tests/unit/test_quard
tests_unit_test_buffers_SOURCES = tests/unit/test_buffers.c tests/unit/scantest.h
tests_unit_test_buffers_CFLAGS = $(UNIT_CFLAGS)
tests_unit_test_buffers_LDADD = ampscand/libampscand.a $(UNIT_LIBS)
tests_unit_test_cache_SOURCES = tests/unit/test_cache.c
tests_unit_test_cache_CFLAGS = $(UNIT_CFLAGS)
tests_unit_test_cache_LDADD = ampscand/libampscand.a $(UNIT_LIBS)
tests_unit_test_parse_SOURCES = tests/unit/test_parse.c tests/unit/scantest.h
tests_unit_test_parse_CFLAGS = $(UNIT_CFLAGS)
tests_unit_test_parse_LDADD = ampscand/libampscand.a $(UNIT_LIBS)
tests_unit_test_rules_SOURCES = tests/unit/test_rules.c
tests_unit_test_rules_CFLAGS = $(UNIT_CFLAGS)
tests_unit_test_rules_LDADD = ampscand/libampscand.a $(UNIT_LIBS)
tests_unit_test_verdicts_SOURCES = tests/unit/test_verdicts.c tests/unit/scantest.h
tests_unit_test_verdicts_CFLAGS = $(UNIT_CFLAGS)
tests_unit_test_verdicts_LDADD = ampscand/libampscand.a $(UNIT_LIBS)
tests_unit_test_filesystems_SOURCES = tests/unit/test_filesystems.c tests/unit/scantest.h
tests_unit_test_filesystems_CFLAGS = $(UNIT_CFLAGS)
tests_unit_test_filesystems_LDADD = ampscand/libampscand.a $(UNIT_LIBS)
tests_unit_test_park_SOURCES = tests/unit/test_park.c tests/unit/scantest.h
tests_unit_test_park_CFLAGS = $(UNIT_CFLAGS)
tests_unit_test_park_LDADD = ampscand/libampscand.a $(UNIT_LIBS)
tests_unit_test_script_SOURCES = tests/unit/test_script.c tests/unit/scantest.h tests/unit/procstat.h
tests_unit_test_script_CFLAGS = $(UNIT_CFLAGS)
tests_unit_test_script_LDADD = ampscand/libampscand.a $(UNIT_LIBS)
tests_unit_test_quard_SOURCES = tests/unit/test_quard.c tests/unit/quardtest.h tests/unit/scantest.h
tests_unit_test_quard_CFLAGS = $(UNIT_CFLAGS)
tests_unit_test_quard_LDADD = ampscand/libampscand.a $(UNIT_LIBS)

UNIT_TESTS += tests/unit/test_scan tests/unit/test_turns tests/unit/test_contents
tests_unit_test_turns_SOURCES = tests/unit/test_turns.c tests/unit/enginetest.h tests/unit/quardtest.h \
	tests/unit/scantest.h
tests_unit_test_turns_CFLAGS = $(UNIT_CFLAGS)
tests_unit_test_turns_LDADD = ampscand/libampscand.a $(UNIT_LIBS)
tests_unit_test_scan_SOURCES = tests/unit/test_scan.c tests/unit/enginetest.h tests/unit/quardtest.h \
	tests/unit/scantest.h
tests_unit_test_scan_CFLAGS = $(UNIT_CFLAGS)
tests_unit_test_scan_LDADD = ampscand/libampscand.a $(UNIT_LIBS)
tests_unit_test_contents_SOURCES = tests/unit/test_contents.c tests/unit/scantest.h
tests_unit_test_contents_CFLAGS = $(UNIT_CFLAGS)
tests_unit_test_contents_LDADD = ampscand/libampscand.a $(UNIT_LIBS)

# Hostile buffers. `make check` replays the corpus without libFuzzer.
check_PROGRAMS += tests/fuzz/replay_fanotify
TESTS += tests/fuzz/replay_fanotify
tests_fuzz_replay_fanotify_SOURCES = tests/fuzz/replay.c tests/fuzz/fuzz_fanotify.c
tests_fuzz_replay_fanotify_CFLAGS = $(AM_CFLAGS) \
	-DAMP_CORPUS='"$(abs_top_srcdir)/tests/fuzz/corpus/fanotify"'
tests_fuzz_replay_fanotify_LDADD = ampscand/libampscand.a $(AMP_LIBS)

FUZZERS += tests/fuzz/fuzz_fanotify
tests_fuzz_fuzz_fanotify_SOURCES = tests/fuzz/fuzz_fanotify.c
tests_fuzz_fuzz_fanotify_LDFLAGS = $(AM_LDFLAGS) -fsanitize=fuzzer
tests_fuzz_fuzz_fanotify_LDADD = ampscand/libampscand.a $(AMP_LIBS)
# By hand: see its head.
EXTRA_PROGRAMS = tests/fuzz/record_fanotify
tests_fuzz_record_fanotify_SOURCES = tests/fuzz/record_fanotify.c
tests_fuzz_record_fanotify_LDADD = ampscand/libampscand.a $(AMP_LIBS)
EXTRA_DIST += tests/fuzz/corpus/fanotify
