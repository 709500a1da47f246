/*
 * ampquard/copy.c - the content of a judged file into the vault.
 *
 * Owns: what is read next, holes and all, the hash that is compared with what it was
 * convicted for. Must not own: what follows, the format, or reading (hand.c).
 */
#include "quard.h"

#include "clock.h"
#include "log.h"
#include "meta.h"
#include "step.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct copy {
	int fd;
	struct vault *vault;
	struct vault_writer *writer;
	struct amp_sha256 *sha;
	struct amp_identity before;
	Amp__VaultMeta meta;
	uint8_t expected[AMP_SHA256_SIZE];
	uint64_t at;
	uint64_t stored;
	bool whole; /* sealed: sha is the hash of it */
	uint8_t hash[AMP_SHA256_SIZE];
	uint8_t buffer[VAULT_CHUNK];
};

static const uint8_t zeroes[VAULT_CHUNK];

static void name_it(Amp__VaultMeta *m, const struct entry *e)
{
	const struct entry_name *n = e->name_count ? &e->names[0] : NULL;

	m->entry_id = (char *)(uintptr_t)e->id;
	m->detection_id = (char *)(uintptr_t)e->detection_id;
	m->detection = (char *)(uintptr_t)e->detection;
	m->fsid = e->file.fsid;
	m->sha256.data = (uint8_t *)(uintptr_t)e->sha256;
	m->sha256.len = AMP_SHA256_SIZE;
	m->taken_ns = amp_clock_realtime();
	if (!n)
		return;
	m->path.data = (uint8_t *)n->path;
	m->path.len = n->path ? n->path_size : 0;
	m->path_unresolved = n->unresolved;
	m->name.data = (uint8_t *)n->name;
	m->name.len = n->name ? strlen(n->name) : 0;
}

/* The metadata is written first, sealed; it is not needed any more then but for what the row has. */
static int begin(struct copy *c, const struct entry *e)
{
	Amp__Handle handle;

	if (meta_gather(c->fd, &c->meta) != 0)
		return -1;
	name_it(&c->meta, e);
	amp_handle_to_wire(&e->file.handle, &handle);
	c->meta.handle = &handle;
	c->meta.size = c->before.size;
	c->writer = vault_create(c->vault, &c->meta);
	c->meta.handle = NULL;
	return c->writer ? 0 : -1;
}

static void forget_borrowed(Amp__VaultMeta *m)
{
	static const ProtobufCBinaryData none;

	m->entry_id = m->detection_id = m->detection = (char *)(uintptr_t)protobuf_c_empty_string;
	m->path = m->name = m->sha256 = none;
}

struct copy *copy_new(struct vault *v, int fd, const struct entry *e)
{
	struct copy *c = calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	c->fd = fd;
	c->vault = v;
	c->sha = amp_sha256_new();
	amp__vault_meta__init(&c->meta);
	memcpy(c->expected, e->sha256, sizeof(c->expected));
	if (!c->sha || amp_sha256_begin(c->sha) != 0 ||
	    amp_statx_identity(fd, "", AT_EMPTY_PATH, &c->before) != 0 || begin(c, e) != 0) {
		int error = errno;

		copy_free(c);
		errno = error;
		return NULL;
	}
	step("copy begun");
	return c;
}

static int add_hole(struct copy *c, uint64_t n)
{
	uint64_t left = n;

	while (left > 0) {
		size_t part = left < sizeof(zeroes) ? (size_t)left : sizeof(zeroes);

		if (amp_sha256_add(c->sha, zeroes, part) != 0)
			return -1;
		left -= part;
	}
	c->at += n;
	return n > 0 ? vault_hole(c->writer, n) : 0;
}

/* Who reads for us can write there still: what is hashed is what is kept. */
static int add_data(struct copy *c, const uint8_t *data, size_t n)
{
	while (n > 0) {
		size_t part = n < sizeof(c->buffer) ? n : sizeof(c->buffer);

		memcpy(c->buffer, data, part);
		if (amp_sha256_add(c->sha, c->buffer, part) != 0 ||
		    vault_write(c->writer, c->buffer, part) != 0)
			return -1;
		c->at += part;
		data += part;
		n -= part;
	}
	return 0;
}

/* It is synced in the next step: what is copied beside it is written to the disk together with it. */
static enum copy_outcome seal(struct copy *c)
{
	struct amp_identity after;

	if (amp_sha256_end(c->sha, c->hash) != 0 || amp_statx_identity(c->fd, "", AT_EMPTY_PATH, &after) != 0)
		return COPY_FAILED;
	if (memcmp(c->hash, c->expected, sizeof(c->hash)) != 0 || c->at != c->before.size)
		return amp_identity_same_content(&c->before, &after) ? COPY_OTHER : COPY_UNSTABLE;
	step("copy whole");
	if (vault_seal(c->writer, c->hash) != 0)
		return COPY_FAILED;
	c->whole = true;
	return COPY_GOES_ON;
}

enum copy_outcome copy_finish(struct copy *c)
{
	int rc;

	if (!c->whole)
		return seal(c);
	rc = vault_finish(c->writer, c->hash, &c->stored);
	c->writer = NULL;
	step("copy named");
	return rc == 0 ? COPY_DONE : COPY_FAILED;
}

bool copy_wants(const struct copy *c, uint64_t *at, uint64_t *end)
{
	*at = c->at;
	*end = c->before.size;
	return !c->whole && c->at < c->before.size;
}

enum copy_outcome copy_add(struct copy *c, uint64_t hole, const uint8_t *data, size_t n)
{
	uint64_t left = c->before.size - c->at;

	if (hole > left || n > left - hole) {
		errno = EPROTO;
		return COPY_FAILED;
	}
	if (hole == 0 && n == 0) /* shorter than it was */
		return seal(c);
	return add_hole(c, hole) == 0 && add_data(c, data, n) == 0 ? COPY_GOES_ON : COPY_FAILED;
}

void copy_result(const struct copy *c, struct entry *e)
{
	e->size = c->before.size;
	e->stored = c->stored;
	e->uid = c->meta.uid;
	e->gid = c->meta.gid;
	e->mode = c->meta.mode;
	e->nlink = c->meta.nlink;
	e->mtime_ns = c->before.mtime_ns;
}

void copy_free(struct copy *c)
{
	if (!c)
		return;
	if (c->writer)
		vault_abort(c->writer);
	forget_borrowed(&c->meta);
	meta_free(&c->meta);
	amp_sha256_free(c->sha);
	free(c);
}
