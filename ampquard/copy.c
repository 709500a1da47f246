/*
 * ampquard/copy.c - the content of a judged file into the vault.
 *
 * Owns: reading it by its descriptor, holes and all, the hash that is compared
 * with what it was convicted for. Must not own: what follows, or the format.
 */
#include "quard.h"

#include "clock.h"
#include "log.h"
#include "meta.h"
#include "step.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct copy {
	int fd;
	struct vault *vault;
	struct vault_writer *writer;
	struct amp_sha256 *sha;
	struct amp_identity before;
	Amp__VaultMeta meta;
	uint8_t expected[AMP_SHA256_SIZE];
	uint64_t at, data_end; /* data up to there; a hole may follow */
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

/* A hole from here on: its length, 0: there is data. A file system that knows no holes has none. */
static uint64_t hole_at(struct copy *c)
{
	off_t data;

	if (c->at < c->data_end)
		return 0;
	data = lseek(c->fd, (off_t)c->at, SEEK_DATA);
	if (data < 0 && errno == ENXIO)
		return c->before.size - c->at;
	if (data < 0 || (uint64_t)data <= c->at) {
		off_t hole = data < 0 ? -1 : lseek(c->fd, (off_t)c->at, SEEK_HOLE);

		c->data_end = hole > 0 ? (uint64_t)hole : c->before.size;
		return 0;
	}
	return (uint64_t)data < c->before.size ? (uint64_t)data - c->at : c->before.size - c->at;
}

static int copy_hole(struct copy *c, uint64_t n)
{
	uint64_t left = n;

	while (left > 0) {
		size_t part = left < sizeof(zeroes) ? (size_t)left : sizeof(zeroes);

		if (amp_sha256_add(c->sha, zeroes, part) != 0)
			return -1;
		left -= part;
	}
	c->at += n;
	return vault_hole(c->writer, n);
}

/* 1: something was copied; 0: the end; -1 and errno. */
static int copy_data(struct copy *c)
{
	uint64_t end = c->at < c->data_end && c->data_end < c->before.size ? c->data_end : c->before.size;
	uint64_t left = end - c->at; /* a hole that follows stays one */
	size_t want = left < VAULT_CHUNK ? (size_t)left : VAULT_CHUNK;
	ssize_t n = pread(c->fd, c->buffer, want, (off_t)c->at);

	if (n <= 0)
		return (int)n;
	c->at += (uint64_t)n;
	if (amp_sha256_add(c->sha, c->buffer, (size_t)n) != 0)
		return -1;
	return vault_write(c->writer, c->buffer, (size_t)n) == 0 ? 1 : -1;
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

static enum copy_outcome finish(struct copy *c)
{
	int rc = vault_finish(c->writer, c->hash, &c->stored);

	c->writer = NULL;
	step("copy named");
	return rc == 0 ? COPY_DONE : COPY_FAILED;
}

enum copy_outcome copy_step(struct copy *c, uint64_t bytes)
{
	uint64_t until = c->at + bytes;

	if (c->whole)
		return finish(c);
	while (c->at < c->before.size && c->at < until) {
		uint64_t hole = hole_at(c);
		int rc = 1;

		if (hole > bytes * 16) /* its zeroes are hashed: not all at once */
			hole = bytes * 16;
		if (hole > 0)
			rc = copy_hole(c, hole) == 0 ? 1 : -1;
		else
			rc = copy_data(c);
		if (rc < 0)
			return COPY_FAILED;
		if (rc == 0) /* shorter than it was */
			return seal(c);
	}
	return c->at < c->before.size ? COPY_GOES_ON : seal(c);
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
