/*
 * tests/fuzz/vaultfuzz.h - what an input of fuzz_vault is; make_vault writes some.
 *
 * Owns: the first byte's meaning, the key and the entry of inputs that are vault files.
 */
#ifndef AMP_FUZZ_VAULTFUZZ_H
#define AMP_FUZZ_VAULTFUZZ_H

#define FUZZ_VAULT_ID "11111111-2222-3333-4444-555555555555"

enum fuzz_vault_kind {
	FUZZ_VAULT_FILE,   /* a vault file, under the key of zeroes */
	FUZZ_VAULT_META,   /* a packed VaultMeta */
	FUZZ_VAULT_HEADS,  /* heads of records, one after another */
	FUZZ_VAULT_SCRIPT, /* five bytes of a change, then {hole?, length} of records: see fuzz_vault.c */
	FUZZ_VAULT_KINDS
};

#endif
