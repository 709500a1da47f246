/*
 * ampquard/vaultformat.c - AES-256-GCM over the records of a vault file.
 *
 * Owns: the fetched cipher, the bounds of heads and metadata. Must not own:
 * files. What comes out of a file is hostile until its tag has been
 * checked, and is still held to its bounds afterwards.
 */
#include "vaultformat.h"

#include "arena.h"
#include "text.h"

#include "proto/types.h"

#include <endian.h>
#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#define FORMAT_VERSION 1U
#define NONCE_SIZE     12U
#define ID_LENGTH      (VAULT_ID_SIZE - 1U)
/* In the header. */
#define AT_VERSION 8U
#define AT_CHUNK   12U
#define AT_ID	   16U
#define AT_NONCE   52U
#define AT_KEY	   64U
#define AT_TAG	   96U

#define XATTR_NAME_LIMIT  255U
#define XATTR_VALUE_LIMIT 65536U
#define TEXT_LIMIT	  1024U
/* Above the packed size: structs, pointers and rounding of as many attributes as
 * a kernel's list of 64 KiB can name (about 100 bytes for each of 9,362). */
#define UNPACKED_MORE (2U << 20)

static const uint8_t magic[8] = {0x89, 'A', 'M', 'P', 'Q', '\r', '\n', 0x1a};

static pthread_once_t once = PTHREAD_ONCE_INIT;
static EVP_CIPHER *cipher; /* lives as long as the process */

enum phase { AT_START, IN_CONTENT, ENDED, BROKEN };

struct vf_file {
	EVP_CIPHER_CTX *ctx; /* holds the entry's key */
	uint8_t header[VF_HEADER_SIZE];
	uint8_t head[VF_HEAD_SIZE]; /* of the record in hand */
	struct vf_record record;
	bool in_hand; /* head checked, body not opened yet */
	enum phase phase;
	uint64_t number; /* of the next record, its nonce */
	uint64_t offset; /* of the next content */
};

/* What the head of a record of each type may say, and where it may stand. */
static const struct {
	uint32_t least, most; /* bytes of ciphertext */
	enum phase before, after;
} rules[] = {
	[VF_META] = {1, VAULT_META_MAX, AT_START, IN_CONTENT},
	[VF_DATA] = {1, VAULT_CHUNK, IN_CONTENT, IN_CONTENT},
	[VF_HOLE] = {0, 0, IN_CONTENT, IN_CONTENT},
	[VF_END] = {VF_END_SIZE, VF_END_SIZE, IN_CONTENT, ENDED},
};

_Static_assert(AT_NONCE == AT_ID + ID_LENGTH && AT_KEY == AT_NONCE + NONCE_SIZE, "header");
_Static_assert(AT_TAG == AT_KEY + VF_KEY_SIZE && VF_HEADER_SIZE == AT_TAG + VF_TAG_SIZE, "header");
_Static_assert(VF_END_SIZE == 2 * sizeof(uint64_t) + AMP_SHA256_SIZE, "END");

static int fail(int error)
{
	errno = error;
	return -1;
}

static void put32(uint8_t *to, uint32_t value)
{
	value = htole32(value);
	memcpy(to, &value, sizeof(value));
}

static void put64(uint8_t *to, uint64_t value)
{
	value = htole64(value);
	memcpy(to, &value, sizeof(value));
}

static uint32_t get32(const uint8_t *from)
{
	uint32_t value;

	memcpy(&value, from, sizeof(value));
	return le32toh(value);
}

static uint64_t get64(const uint8_t *from)
{
	uint64_t value;

	memcpy(&value, from, sizeof(value));
	return le64toh(value);
}

int vf_random(void *to, size_t n)
{
	uint8_t *p = to;

	while (n > 0) {
		ssize_t got = getrandom(p, n, 0);

		if (got < 0 && errno != EINTR)
			return -1;
		if (got > 0) {
			p += got;
			n -= (size_t)got;
		}
	}
	return 0;
}

bool vf_id_valid(const char *id)
{
	static const char form[] = "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx";

	for (size_t i = 0; i < ID_LENGTH; i++) { /* a NUL is neither, so nothing behind it is read */
		bool digit = (id[i] >= '0' && id[i] <= '9') || (id[i] >= 'a' && id[i] <= 'f');

		if (form[i] == 'x' ? !digit : id[i] != '-')
			return false;
	}
	return id[ID_LENGTH] == '\0';
}

/* ---- the cipher ---- */

static EVP_CIPHER_CTX *context_new(const uint8_t key[VF_KEY_SIZE])
{
	EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();

	/* Encrypting here; each use says again which of both it is. */
	if (ctx && EVP_CipherInit_ex2(ctx, cipher, key, NULL, 1, NULL) == 1)
		return ctx;
	EVP_CIPHER_CTX_free(ctx);
	errno = ENOMEM;
	return NULL;
}

/* What is authenticated with a ciphertext, in up to two pieces. */
struct also {
	const uint8_t *bytes;
	size_t n;
};

static bool feed(EVP_CIPHER_CTX *ctx, int seal, const uint8_t *nonce, const struct also also[2],
		 const uint8_t *in, size_t n, uint8_t *out)
{
	int done;

	if (EVP_CipherInit_ex2(ctx, NULL, NULL, nonce, seal, NULL) != 1)
		return false;
	for (size_t i = 0; i < 2; i++)
		if (also[i].n > 0 && EVP_CipherUpdate(ctx, NULL, &done, also[i].bytes, (int)also[i].n) != 1)
			return false;
	return n == 0 || (EVP_CipherUpdate(ctx, out, &done, in, (int)n) == 1 && (size_t)done == n);
}

/* out: n bytes of ciphertext and the tag. */
static int seal(EVP_CIPHER_CTX *ctx, const uint8_t *nonce, const struct also also[2], const uint8_t *in,
		size_t n, uint8_t *out)
{
	uint8_t none[VF_TAG_SIZE];
	int done;

	if (!feed(ctx, 1, nonce, also, in, n, out) || EVP_CipherFinal_ex(ctx, none, &done) != 1 ||
	    EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_GET_TAG, VF_TAG_SIZE, out + n) != 1)
		return fail(EIO);
	return 0;
}

/* in: n bytes of ciphertext and the tag. What did not prove right is not handed out. */
static int unseal(EVP_CIPHER_CTX *ctx, const uint8_t *nonce, const struct also also[2], const uint8_t *in,
		  size_t n, uint8_t *out)
{
	uint8_t none[VF_TAG_SIZE], tag[VF_TAG_SIZE];
	int done, error = EIO;

	memcpy(tag, in + n, sizeof(tag));
	if (feed(ctx, 0, nonce, also, in, n, out) &&
	    EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_SET_TAG, VF_TAG_SIZE, tag) == 1) {
		if (EVP_CipherFinal_ex(ctx, none, &done) == 1)
			return 0;
		error = EBADMSG;
	}
	if (n > 0)
		OPENSSL_cleanse(out, n);
	return fail(error);
}

/* Sealed and opened once: what libcrypto loads lazily is loaded now. */
static bool warm_up(void)
{
	static const uint8_t zero[VF_KEY_SIZE];
	const struct also also[2] = {{zero, sizeof(zero)}, {0}};
	uint8_t sealed[sizeof(zero) + VF_TAG_SIZE], plain[sizeof(zero)];
	EVP_CIPHER_CTX *ctx = context_new(zero);
	bool ok = ctx && seal(ctx, zero, also, zero, sizeof(zero), sealed) == 0 &&
		  unseal(ctx, zero, also, sealed, sizeof(zero), plain) == 0;

	EVP_CIPHER_CTX_free(ctx);
	return ok;
}

static void load(void)
{
	if (amp_sha256_setup() < 0) /* sets libcrypto up as well */
		return;
	cipher = EVP_CIPHER_fetch(NULL, "AES-256-GCM", NULL);
	if (cipher && !warm_up()) {
		EVP_CIPHER_free(cipher);
		cipher = NULL;
	}
}

int vf_setup(void)
{
	pthread_once(&once, load);
	return cipher ? 0 : fail(ENOTSUP);
}

/* ---- header ---- */

/* Seals or opens the entry's key; key and sealed are never both input. */
static int wrap(bool sealing, const uint8_t vault_key[VF_KEY_SIZE], uint8_t header[VF_HEADER_SIZE],
		uint8_t key[VF_KEY_SIZE])
{
	const struct also also[2] = {{header, AT_KEY}, {0}};
	EVP_CIPHER_CTX *ctx = context_new(vault_key);
	int rc;

	if (!ctx)
		return -1;
	if (sealing)
		rc = seal(ctx, header + AT_NONCE, also, key, VF_KEY_SIZE, header + AT_KEY);
	else
		rc = unseal(ctx, header + AT_NONCE, also, header + AT_KEY, VF_KEY_SIZE, key);
	EVP_CIPHER_CTX_free(ctx);
	return rc;
}

/* f for that header and key; the key is wiped. NULL and errno, also if rc is -1. */
static struct vf_file *file_new(int rc, const uint8_t *header, uint8_t key[VF_KEY_SIZE])
{
	struct vf_file *f = rc == 0 ? calloc(1, sizeof(*f)) : NULL;

	if (f) {
		memcpy(f->header, header, VF_HEADER_SIZE);
		f->ctx = context_new(key);
		if (!f->ctx) {
			free(f);
			f = NULL;
		}
	}
	OPENSSL_cleanse(key, VF_KEY_SIZE);
	return f;
}

/* The header's bytes before the nonce. */
static void header_start(uint8_t header[AT_NONCE], const char *id)
{
	memcpy(header, magic, sizeof(magic));
	put32(header + AT_VERSION, FORMAT_VERSION);
	put32(header + AT_CHUNK, VAULT_CHUNK);
	memcpy(header + AT_ID, id, ID_LENGTH);
}

struct vf_file *vf_new(const uint8_t vault_key[VF_KEY_SIZE], const char *id, uint8_t header[VF_HEADER_SIZE])
{
	uint8_t key[VF_KEY_SIZE];

	if (!vf_id_valid(id)) {
		errno = EINVAL;
		return NULL;
	}
	if (vf_setup() < 0 || vf_random(key, sizeof(key)) < 0 || vf_random(header + AT_NONCE, NONCE_SIZE) < 0)
		return NULL;
	header_start(header, id);
	return file_new(wrap(true, vault_key, header, key), header, key);
}

struct vf_file *vf_of_header(const uint8_t vault_key[VF_KEY_SIZE], const char *id,
			     const uint8_t header[VF_HEADER_SIZE])
{
	uint8_t key[VF_KEY_SIZE], expected[AT_NONCE], copy[VF_HEADER_SIZE];

	if (vf_setup() < 0)
		return NULL;
	if (vf_id_valid(id))
		header_start(expected, id);
	if (!vf_id_valid(id) || memcmp(header, expected, sizeof(expected)) != 0) {
		errno = EBADMSG;
		return NULL;
	}
	memcpy(copy, header, sizeof(copy));
	return file_new(wrap(false, vault_key, copy, key), header, key);
}

void vf_free(struct vf_file *f)
{
	if (!f)
		return;
	EVP_CIPHER_CTX_free(f->ctx); /* wipes the key */
	free(f);
}

/* ---- records ---- */

static void nonce_of(uint64_t number, uint8_t nonce[NONCE_SIZE])
{
	uint64_t big = htobe64(number);

	memset(nonce, 0, NONCE_SIZE - sizeof(big));
	memcpy(nonce + NONCE_SIZE - sizeof(big), &big, sizeof(big));
}

/* May a record say this, here? */
static bool record_fits(const struct vf_file *f, const struct vf_record *r)
{
	if (r->type < VF_META || r->type > VF_END || rules[r->type].before != f->phase)
		return false;
	if (r->sealed < rules[r->type].least || r->sealed > rules[r->type].most)
		return false;
	if (r->offset != f->offset || r->length > VF_SIZE_MAX - f->offset)
		return false;
	if (r->type == VF_HOLE)
		return r->length > 0;
	return r->length == (r->type == VF_DATA ? r->sealed : 0);
}

static void record_done(struct vf_file *f)
{
	f->number++;
	f->offset += f->record.length;
	f->phase = rules[f->record.type].after;
	f->in_hand = false;
}

static void head_put(uint8_t head[VF_HEAD_SIZE], const struct vf_record *r)
{
	put32(head, (uint32_t)r->type);
	put32(head + 4, r->sealed);
	put64(head + 8, r->offset);
	put64(head + 16, r->length);
}

static int seal_record(struct vf_file *f, enum vf_type type, uint64_t length, const void *plain, size_t n,
		       uint8_t *out)
{
	struct vf_record r = {.type = type, .sealed = (uint32_t)n, .offset = f->offset, .length = length};
	const struct also also[2] = {{f->header, VF_HEADER_SIZE}, {out, VF_HEAD_SIZE}};
	uint8_t nonce[NONCE_SIZE];

	if (n > VAULT_META_MAX)
		return fail(EINVAL);
	if (length > VF_SIZE_MAX - f->offset)
		return fail(EFBIG);
	if (!record_fits(f, &r))
		return fail(EINVAL);
	head_put(out, &r);
	nonce_of(f->number, nonce);
	/* A nonce is used once: whatever happens, nothing more is sealed after a failure. */
	if (seal(f->ctx, nonce, also, plain, n, out + VF_HEAD_SIZE) < 0) {
		f->phase = BROKEN;
		return -1;
	}
	f->record = r;
	record_done(f);
	return 0;
}

int vf_seal_meta(struct vf_file *f, const void *packed, size_t n, uint8_t *out)
{
	return seal_record(f, VF_META, 0, packed, n, out);
}

int vf_seal_data(struct vf_file *f, const void *data, size_t n, uint8_t *out)
{
	return seal_record(f, VF_DATA, n, data, n, out);
}

int vf_seal_hole(struct vf_file *f, uint64_t length, uint8_t *out)
{
	return seal_record(f, VF_HOLE, length, NULL, 0, out);
}

int vf_seal_end(struct vf_file *f, const uint8_t sha256[AMP_SHA256_SIZE], uint8_t *out)
{
	uint8_t plain[VF_END_SIZE];

	put64(plain, f->number);
	put64(plain + 8, f->offset);
	memcpy(plain + 16, sha256, AMP_SHA256_SIZE);
	return seal_record(f, VF_END, 0, plain, sizeof(plain), out);
}

static int broken(struct vf_file *f, int error)
{
	f->phase = BROKEN;
	f->in_hand = false;
	return fail(error);
}

int vf_head(struct vf_file *f, const uint8_t head[VF_HEAD_SIZE], struct vf_record *r)
{
	uint32_t type = get32(head);

	*r = (struct vf_record){
		.sealed = get32(head + 4), .offset = get64(head + 8), .length = get64(head + 16)};
	if (f->in_hand || type < VF_META || type > VF_END)
		return broken(f, EBADMSG);
	r->type = (enum vf_type)type;
	if (!record_fits(f, r))
		return broken(f, EBADMSG);
	memcpy(f->head, head, VF_HEAD_SIZE);
	f->record = *r;
	f->in_hand = true;
	return 0;
}

static bool end_fits(const struct vf_file *f, const uint8_t *plain)
{
	return get64(plain) == f->number && get64(plain + 8) == f->offset;
}

int vf_open(struct vf_file *f, const uint8_t *body, uint8_t *plain)
{
	const struct also also[2] = {{f->header, VF_HEADER_SIZE}, {f->head, VF_HEAD_SIZE}};
	uint8_t nonce[NONCE_SIZE];

	if (!f->in_hand)
		return broken(f, EBADMSG);
	nonce_of(f->number, nonce);
	if (unseal(f->ctx, nonce, also, body, f->record.sealed, plain) < 0)
		return broken(f, errno);
	if (f->record.type == VF_END && !end_fits(f, plain))
		return broken(f, EBADMSG);
	record_done(f);
	return 0;
}

const uint8_t *vf_end_sha256(const uint8_t plain[VF_END_SIZE])
{
	return plain + 16;
}

int vf_rewind(struct vf_file *f)
{
	if (f->number == 0)
		return fail(EINVAL);
	f->phase = IN_CONTENT;
	f->in_hand = false;
	f->number = 1;
	f->offset = 0;
	return 0;
}

/* ---- metadata ---- */

struct vf_meta {
	struct amp_arena arena;
	Amp__VaultMeta *m;
};

static bool bytes_fit(const ProtobufCBinaryData *b, size_t least, size_t most)
{
	return b->len >= least && b->len <= most && (b->len == 0 || b->data);
}

static bool no_zero(const ProtobufCBinaryData *b)
{
	return b->len == 0 || !memchr(b->data, 0, b->len);
}

/* An attribute's name, a file's name or a path: bytes, but never a NUL. */
static bool name_fits(const ProtobufCBinaryData *b, size_t least, size_t most)
{
	return bytes_fit(b, least, most) && no_zero(b);
}

static bool text_fits(const char *text)
{
	size_t n = strnlen(text, TEXT_LIMIT + 1);

	return n <= TEXT_LIMIT && amp_text_is_utf8(text, n);
}

static bool xattrs_fit(const Amp__VaultMeta *m)
{
	for (size_t i = 0; i < m->n_xattrs; i++) {
		const Amp__VaultXattr *x = m->xattrs[i];

		if (x->base.n_unknown_fields > 0 || !name_fits(&x->name, 1, XATTR_NAME_LIMIT) ||
		    !bytes_fit(&x->value, 0, XATTR_VALUE_LIMIT))
			return false;
	}
	for (size_t i = 0; i < m->n_xattrs_unread; i++)
		if (!name_fits(&m->xattrs_unread[i], 1, XATTR_NAME_LIMIT))
			return false;
	return true;
}

static bool handle_fits(const Amp__Handle *h)
{
	return !h || (h->base.n_unknown_fields == 0 && bytes_fit(&h->bytes, 0, AMP_HANDLE_MAX));
}

static bool meta_fits(const Amp__VaultMeta *m)
{
	return m->base.n_unknown_fields == 0 && vf_id_valid(m->entry_id) && text_fits(m->detection_id) &&
	       text_fits(m->detection) && name_fits(&m->path, 0, AMP_PATH_MAX) &&
	       name_fits(&m->name, 0, AMP_NAME_MAX) && handle_fits(m->handle) &&
	       (m->sha256.len == 0 || m->sha256.len == AMP_SHA256_SIZE) && m->size <= VF_SIZE_MAX &&
	       m->atime_ns < 1000000000 && m->mtime_ns < 1000000000 && xattrs_fit(m);
}

struct vf_meta *vf_meta_open(const uint8_t *packed, size_t n, const char *id)
{
	struct vf_meta *meta;

	if (n > VAULT_META_MAX) {
		errno = EBADMSG;
		return NULL;
	}
	meta = calloc(1, sizeof(*meta));
	if (!meta || amp_arena_init(&meta->arena, n + UNPACKED_MORE) < 0) {
		free(meta);
		errno = ENOMEM;
		return NULL;
	}
	meta->m = amp__vault_meta__unpack(&meta->arena.allocator, n, packed);
	if (!meta->m || !meta_fits(meta->m) || strcmp(meta->m->entry_id, id) != 0) {
		vf_meta_free(meta);
		errno = EBADMSG;
		return NULL;
	}
	return meta;
}

const Amp__VaultMeta *vf_meta_get(const struct vf_meta *m)
{
	return m->m;
}

void vf_meta_free(struct vf_meta *m)
{
	if (!m)
		return;
	amp_arena_free(&m->arena);
	free(m);
}

/* Opened again at once: what could not be read back must not be written. */
static int proof(const uint8_t *packed, size_t n, const char *id)
{
	struct vf_meta *meta = vf_meta_open(packed, n, id);

	if (!meta)
		return errno == EBADMSG ? fail(EINVAL) : -1;
	vf_meta_free(meta);
	return 0;
}

int vf_meta_pack(const Amp__VaultMeta *m, uint8_t **packed, size_t *n)
{
	if (!meta_fits(m))
		return fail(EINVAL);
	*n = amp__vault_meta__get_packed_size(m);
	if (*n > VAULT_META_MAX)
		return fail(EMSGSIZE);
	*packed = malloc(*n);
	if (!*packed)
		return -1;
	amp__vault_meta__pack(m, *packed);
	if (proof(*packed, *n, m->entry_id) == 0)
		return 0;
	free(*packed);
	*packed = NULL;
	return -1;
}
