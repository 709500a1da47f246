# unit tests and fuzz targets: channel
UNIT_TESTS += tests/unit/test_channel tests/unit/test_cliserver tests/unit/test_room
tests_unit_test_channel_SOURCES = tests/unit/test_channel.c
tests_unit_test_channel_CFLAGS = $(UNIT_CFLAGS)
tests_unit_test_channel_LDADD = $(UNIT_LIBS)
tests_unit_test_cliserver_SOURCES = tests/unit/test_cliserver.c
tests_unit_test_cliserver_CFLAGS = $(UNIT_CFLAGS)
tests_unit_test_cliserver_LDADD = $(UNIT_LIBS)
tests_unit_test_room_SOURCES = tests/unit/test_room.c
tests_unit_test_room_CFLAGS = $(UNIT_CFLAGS)
tests_unit_test_room_LDADD = $(UNIT_LIBS)

# What a peer can send. `make check` replays the corpus without libFuzzer;
# make_corpus (with --enable-fuzzers) writes its first inputs into the tree.
check_PROGRAMS += tests/fuzz/replay_message tests/fuzz/replay_cli
TESTS += tests/fuzz/replay_message tests/fuzz/replay_cli
EXTRA_DIST += tests/fuzz/corpus/message tests/fuzz/corpus/cli
FUZZ_CORPUS = $(abs_top_srcdir)/tests/fuzz/corpus
tests_fuzz_replay_message_SOURCES = tests/fuzz/replay.c tests/fuzz/fuzz_message.c tests/fuzz/tables.h
tests_fuzz_replay_message_CFLAGS = $(AM_CFLAGS) -DAMP_CORPUS='"$(FUZZ_CORPUS)/message"'
tests_fuzz_replay_message_LDADD = $(AMP_LIBS)
tests_fuzz_replay_cli_SOURCES = tests/fuzz/replay.c tests/fuzz/fuzz_cli.c tests/fuzz/tables.h
tests_fuzz_replay_cli_CFLAGS = $(AM_CFLAGS) -DAMP_CORPUS='"$(FUZZ_CORPUS)/cli"'
tests_fuzz_replay_cli_LDADD = $(AMP_LIBS)
tests_fuzz_make_corpus_SOURCES = tests/fuzz/make_corpus.c tests/fuzz/tables.h
tests_fuzz_make_corpus_LDADD = $(AMP_LIBS)

if ENABLE_FUZZERS
FUZZERS += tests/fuzz/fuzz_message tests/fuzz/fuzz_cli
noinst_PROGRAMS += tests/fuzz/fuzz_message tests/fuzz/fuzz_cli tests/fuzz/make_corpus
endif
tests_fuzz_fuzz_message_SOURCES = tests/fuzz/fuzz_message.c tests/fuzz/tables.h
tests_fuzz_fuzz_message_LDFLAGS = $(AM_LDFLAGS) -fsanitize=fuzzer
tests_fuzz_fuzz_message_LDADD = $(AMP_LIBS)
tests_fuzz_fuzz_cli_SOURCES = tests/fuzz/fuzz_cli.c tests/fuzz/tables.h
tests_fuzz_fuzz_cli_LDFLAGS = $(AM_LDFLAGS) -fsanitize=fuzzer
tests_fuzz_fuzz_cli_LDADD = $(AMP_LIBS)
