# unit tests and fuzz targets: the vault's files, metadata of taken files
VAULT_LIBS = ampquard/libampquard.a $(UNIT_LIBS)
UNIT_TESTS += tests/unit/test_vault tests/unit/test_meta
tests_unit_test_vault_SOURCES = tests/unit/test_vault.c tests/unit/cloudtest.h
tests_unit_test_vault_CFLAGS = $(UNIT_CFLAGS)
tests_unit_test_vault_LDADD = $(VAULT_LIBS)
tests_unit_test_meta_SOURCES = tests/unit/test_meta.c tests/unit/cloudtest.h
tests_unit_test_meta_CFLAGS = $(UNIT_CFLAGS)
tests_unit_test_meta_LDADD = $(VAULT_LIBS)

# make_vault (with --enable-fuzzers) writes the first inputs into the tree.
check_PROGRAMS += tests/fuzz/replay_vault
TESTS += tests/fuzz/replay_vault
EXTRA_DIST += tests/fuzz/corpus/vault
FUZZ_VAULT_SOURCES = tests/fuzz/fuzz_vault.c tests/fuzz/vaultfuzz.h
tests_fuzz_replay_vault_SOURCES = tests/fuzz/replay.c $(FUZZ_VAULT_SOURCES)
tests_fuzz_replay_vault_CFLAGS = $(AM_CFLAGS) -DAMP_CORPUS='"$(FUZZ_CORPUS)/vault"'
tests_fuzz_replay_vault_LDADD = ampquard/libampquard.a $(AMP_LIBS)
tests_fuzz_make_vault_SOURCES = tests/fuzz/make_vault.c tests/fuzz/vaultfuzz.h
tests_fuzz_make_vault_LDADD = ampquard/libampquard.a $(AMP_LIBS)

FUZZERS += tests/fuzz/fuzz_vault
if ENABLE_FUZZERS
noinst_PROGRAMS += tests/fuzz/make_vault
endif
tests_fuzz_fuzz_vault_SOURCES = $(FUZZ_VAULT_SOURCES)
tests_fuzz_fuzz_vault_LDFLAGS = $(AM_LDFLAGS) -fsanitize=fuzzer
tests_fuzz_fuzz_vault_LDADD = ampquard/libampquard.a $(AMP_LIBS)
