/*
 * tests/fuzz/fuzz_vault.c - a vault file that others wrote: its header, heads of
 * records, bodies, metadata; and whole files with one change.
 *
 * The first byte says which (vaultfuzz.h). Only who knows the key gets behind a
 * tag, so metadata and heads are also fed in directly.
 */
#include "vaultfuzz.h"

#include "ampquard/vaultformat.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define FILE_MAX (256U * 1024U)

static const uint8_t key[VF_KEY_SIZE];
static const uint8_t sha[AMP_SHA256_SIZE] = {7};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct bytes {
	const uint8_t *p;
	size_t n;
};

static const uint8_t *take(struct bytes *b, size_t n)
{
	const uint8_t *p = b->p;

	if (b->n < n)
		return NULL;
	b->p += n;
	b->n -= n;
	return p;
}

/* Accepted heads are in the bounds that memory is taken by. */
static void check_head(const struct vf_record *r)
{
	uint32_t most = r->type == VF_META ? VAULT_META_MAX : VAULT_CHUNK;

	if (r->type < VF_META || r->type > VF_END || r->sealed > most || r->offset > VF_SIZE_MAX ||
	    r->length > VF_SIZE_MAX - r->offset)
		abort();
}

static void check_meta(const uint8_t *packed, size_t n)
{
	struct vf_meta *meta = vf_meta_open(packed, n, FUZZ_VAULT_ID);
	const Amp__VaultMeta *m;
	uint8_t *again = NULL;
	size_t size = 0;

	if (!meta)
		return;
	m = vf_meta_get(meta);
	if (strcmp(m->entry_id, FUZZ_VAULT_ID) != 0 || m->name.len > 255 || m->path.len > 32768)
		abort();
	if (vf_meta_pack(m, &again, &size) == 0 && size > VAULT_META_MAX)
		abort();
	free(again);
	vf_meta_free(meta);
}

/* A record of the file. False: it does not go on. *end: END was opened. */
static bool next(struct vf_file *f, struct bytes *b, struct bytes *content, bool *end)
{
	const uint8_t *head = take(b, VF_HEAD_SIZE), *body;
	struct vf_record r;
	uint8_t *plain;
	bool good;

	if (!head || vf_head(f, head, &r) < 0)
		return false;
	check_head(&r);
	body = take(b, (size_t)r.sealed + VF_TAG_SIZE);
	plain = body ? malloc(r.sealed ? r.sealed : 1) : NULL;
	good = plain && vf_open(f, body, plain) == 0;
	if (good && r.type == VF_META)
		check_meta(plain, r.sealed);
	if (good && r.type == VF_DATA) {
		const uint8_t *want = take(content, r.sealed);

		/* Nothing but what was sealed there comes out, change or no change. */
		if (content->p && (!want || memcmp(want, plain, r.sealed) != 0))
			abort();
	}
	*end = good && r.type == VF_END;
	free(plain);
	return good && !*end;
}

/* To its end, which is the last byte? content: what is to come out; p NULL: not known. */
static bool whole(struct bytes b, struct bytes content)
{
	const uint8_t *header = take(&b, VF_HEADER_SIZE);
	struct vf_file *f = header ? vf_of_header(key, FUZZ_VAULT_ID, header) : NULL;
	bool end = false;

	if (!f)
		return false;
	while (next(f, &b, &content, &end))
		;
	vf_free(f);
	return end && b.n == 0;
}

static void fuzz_file(struct bytes in)
{
	whole(in, (struct bytes){0});
}

static void fuzz_heads(struct bytes in)
{
	uint8_t header[VF_HEADER_SIZE], out[VF_AROUND + 1];
	const uint8_t *head;
	struct vf_record r;

	while ((head = take(&in, VF_HEAD_SIZE))) {
		struct vf_file *f = vf_new(key, FUZZ_VAULT_ID, header);

		if (!f)
			abort();
		if (vf_head(f, head, &r) == 0)
			check_head(&r);
		vf_free(f);
		f = vf_new(key, FUZZ_VAULT_ID, header);
		if (!f || vf_seal_meta(f, "m", 1, out) < 0)
			abort();
		if (vf_head(f, head, &r) == 0)
			check_head(&r);
		vf_free(f);
	}
}

/* ---- a file of ours, and one change in it ---- */

static uint8_t file[2 * FILE_MAX], content[FILE_MAX];

/* {odd: hole, even: data; length, low byte first}. The file's size; *data: of the content. */
static size_t build(struct bytes script, size_t *data)
{
	struct vf_file *f = vf_new(key, FUZZ_VAULT_ID, file);
	size_t at = VF_HEADER_SIZE + VF_AROUND + 1;
	const uint8_t *op;

	*data = 0;
	if (!f || vf_seal_meta(f, "m", 1, file + VF_HEADER_SIZE) < 0)
		abort();
	while ((op = take(&script, 3)) && at + VAULT_CHUNK + 2 * VF_AROUND + VF_END_SIZE < FILE_MAX) {
		size_t n = 1U + op[1] + 256U * op[2];
		bool hole = op[0] & 1;

		if ((hole ? vf_seal_hole(f, n, file + at) : vf_seal_data(f, content + *data, n, file + at)) <
		    0)
			abort();
		at += VF_AROUND + (hole ? 0 : n);
		*data += hole ? 0 : n;
	}
	if (vf_seal_end(f, sha, file + at) < 0)
		abort();
	vf_free(f);
	return at + VF_AROUND + VF_END_SIZE;
}

static void change_none(size_t *n, size_t where, uint8_t how)
{
	(void)n;
	(void)where;
	(void)how;
}

static void change_flip(size_t *n, size_t where, uint8_t how)
{
	(void)n;
	file[where] ^= how;
}

static void change_cut(size_t *n, size_t where, uint8_t how)
{
	(void)how;
	*n = where;
}

static void change_remove(size_t *n, size_t where, uint8_t how)
{
	size_t less = how < *n - where ? how : *n - where;

	memmove(file + where, file + where + less, *n - where - less);
	*n -= less;
}

/* The bytes before `where` come once more. */
static void change_repeat(size_t *n, size_t where, uint8_t how)
{
	size_t more = how < where ? how : where;

	memmove(file + where + more, file + where, *n - where);
	memmove(file + where, file + where - more, more);
	*n += more;
}

static void fuzz_script(struct bytes in)
{
	static void (*const changes[])(size_t * n, size_t where, uint8_t how) = {
		change_none, change_flip, change_cut, change_remove, change_repeat};
	static uint8_t before[2 * FILE_MAX];
	const uint8_t *c = take(&in, 5);
	size_t n, was, data;
	bool changed;

	if (!c)
		return;
	for (size_t i = 0; i < sizeof(content); i++)
		content[i] = (uint8_t)(i * 131 + (i >> 8));
	was = n = build(in, &data);
	memcpy(before, file, n);
	changes[c[0] % (sizeof(changes) / sizeof(changes[0]))](&n, (c[1] + 256U * c[2] + 65536U * c[3]) % n,
							       c[4]);
	changed = n != was || memcmp(before, file, n) != 0;
	if (whole((struct bytes){file, n}, (struct bytes){content, data}) == changed)
		abort();
}

static void fuzz_meta(struct bytes in)
{
	check_meta(in.p, in.n);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static void (*const kinds[FUZZ_VAULT_KINDS])(struct bytes in) = {
		[FUZZ_VAULT_FILE] = fuzz_file,
		[FUZZ_VAULT_META] = fuzz_meta,
		[FUZZ_VAULT_HEADS] = fuzz_heads,
		[FUZZ_VAULT_SCRIPT] = fuzz_script,
	};

	if (size == 0)
		return 0;
	if (vf_setup() < 0)
		abort();
	kinds[data[0] % FUZZ_VAULT_KINDS]((struct bytes){data + 1, size - 1});
	return 0;
}
