/*
 * tests/fuzz/make_vault.c - first inputs for fuzz_vault: vault files as the
 * vault writes them, metadata, heads, scripts of changed files.
 *
 *     make_vault tests/fuzz/corpus
 *
 * Owns: the files it writes below DIR/vault.
 */
#include "vaultfuzz.h"

#include "ampquard/vaultformat.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *corpus;
static const uint8_t key[VF_KEY_SIZE];
static uint8_t out[65536];

static void write_input(const char *name, enum fuzz_vault_kind kind, const uint8_t *data, size_t n)
{
	char path[4096];
	FILE *f;

	snprintf(path, sizeof(path), "%s/vault/%s", corpus, name);
	f = fopen(path, "w");
	if (!f || fputc((int)kind, f) == EOF || fwrite(data, 1, n, f) != n || fclose(f) != 0) {
		fprintf(stderr, "%s: %s\n", path, strerror(errno));
		exit(1);
	}
}

static void fill(Amp__VaultMeta *m, Amp__VaultXattr *x, Amp__VaultXattr **list, Amp__Handle *h)
{
	static uint8_t path[] = "/srv/\xff bad", name[] = "user.name", value[] = {0, 1, 2};

	*x = (Amp__VaultXattr)AMP__VAULT_XATTR__INIT;
	*h = (Amp__Handle)AMP__HANDLE__INIT;
	h->type = 1;
	h->bytes = (ProtobufCBinaryData){sizeof(value), value};
	x->name = (ProtobufCBinaryData){sizeof(name) - 1, name};
	x->value = (ProtobufCBinaryData){sizeof(value), value};
	*list = x;
	m->path = (ProtobufCBinaryData){sizeof(path) - 1, path};
	m->name = (ProtobufCBinaryData){4, path + 6};
	m->handle = h;
	m->mode = 0100755;
	m->mtime_s = -1;
	m->mtime_ns = 999999999;
	m->xattrs = list;
	m->n_xattrs = 1;
	m->xattrs_unread = &x->name;
	m->n_xattrs_unread = 1;
}

static void put(int rc, size_t *at, size_t n)
{
	if (rc < 0) {
		perror("seal");
		exit(1);
	}
	*at += n + VF_AROUND;
}

/* The file; its heads alone as another input. */
static void write_file(const char *name, const uint8_t *packed, size_t n, bool content)
{
	static const uint8_t data[300] = "content", sha[AMP_SHA256_SIZE];
	struct vf_file *f = vf_new(key, FUZZ_VAULT_ID, out);
	size_t at = VF_HEADER_SIZE;

	if (!f)
		exit(1);
	put(vf_seal_meta(f, packed, n, out + at), &at, n);
	if (content) {
		put(vf_seal_data(f, data, sizeof(data), out + at), &at, sizeof(data));
		put(vf_seal_hole(f, 1 << 20, out + at), &at, 0);
		put(vf_seal_data(f, data, 1, out + at), &at, 1);
	}
	put(vf_seal_end(f, sha, out + at), &at, VF_END_SIZE);
	vf_free(f);
	write_input(name, FUZZ_VAULT_FILE, out, at);
	if (!content)
		write_input("heads-meta", FUZZ_VAULT_HEADS, out + VF_HEADER_SIZE, VF_HEAD_SIZE);
}

/* The first head in the content may be any of these. */
static void write_heads(void)
{
	static const uint8_t heads[3][VF_HEAD_SIZE] = {
		{[0] = VF_DATA, [4] = 5, [16] = 5},
		{[0] = VF_HOLE, [16] = 1, [22] = 0x7f},
		{[0] = VF_END, [4] = VF_END_SIZE},
	};

	write_input("heads-content", FUZZ_VAULT_HEADS, heads[0], sizeof(heads));
}

static void write_scripts(void)
{
	/* change, where (3 bytes), how; then records */
	static const uint8_t records[] = {0, 10, 0, 1, 0, 16, 0, 10, 0, 0, 255, 255};
	static const char *const names[] = {"script-none", "script-flip", "script-cut", "script-remove",
					    "script-repeat"};
	/* In the middle; the repeat is of a whole hole record, behind it. */
	static const uint8_t where[] = {0, 180, 200, 193, 244}, how[] = {0, 1, 0, VF_AROUND + 11, VF_AROUND};
	uint8_t script[5 + sizeof(records)];

	memcpy(script + 5, records, sizeof(records));
	for (uint8_t i = 0; i < sizeof(where); i++) {
		script[0] = i;
		script[1] = where[i];
		script[2] = script[3] = 0;
		script[4] = how[i];
		write_input(names[i], FUZZ_VAULT_SCRIPT, script, sizeof(script));
	}
}

static void write_meta(bool full)
{
	Amp__VaultMeta m = AMP__VAULT_META__INIT;
	Amp__VaultXattr x, *list;
	Amp__Handle h;
	uint8_t *packed;
	size_t n;

	m.entry_id = (char *)(uintptr_t)FUZZ_VAULT_ID;
	if (full)
		fill(&m, &x, &list, &h);
	if (vf_meta_pack(&m, &packed, &n) < 0) {
		perror("VaultMeta");
		exit(1);
	}
	write_input(full ? "meta-full" : "meta-empty", FUZZ_VAULT_META, packed, n);
	write_file(full ? "file-full" : "file-empty", packed, n, full);
	free(packed);
}

int main(int argc, char **argv)
{
	if (argc != 2) {
		fprintf(stderr, "usage: make_vault DIRECTORY\n");
		return 2;
	}
	corpus = argv[1];
	if (vf_setup() < 0) {
		perror("AES-256-GCM");
		return 1;
	}
	write_meta(false);
	write_meta(true);
	write_heads();
	write_scripts();
	return 0;
}
