/*
 * ampscand/ampread/hash.c - the SHA-256 of one open file (see hash.h).
 */
#include "hash.h"

#include "archive.h"
#include "clock.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#define CHUNK ((size_t)256 * 1024)

/* The I/O thread is the only one that hashes. */
static uint8_t chunk[CHUNK];
static struct amp_sha256 *spare; /* of the last file, for the next */

bool amp_hash_identity(int fd, struct amp_read_outcome *out)
{
	if (amp_statx_identity(fd, "", AT_EMPTY_PATH, &out->identity) < 0) {
		out->error = errno;
		out->status = amp_open_status(errno);
		return false;
	}
	out->has_identity = true;
	out->status = AMP__READ_RESULT__STATUS__OK;
	return true;
}

bool amp_hash_permitted(uint64_t limit, struct amp_read_outcome *out)
{
	if (!S_ISREG(out->identity.mode))
		out->status = AMP__READ_RESULT__STATUS__NOT_REGULAR;
	else if (limit > 0 && out->identity.size > limit)
		out->status = AMP__READ_RESULT__STATUS__TOO_LARGE_NOW;
	return out->status == AMP__READ_RESULT__STATUS__OK;
}

static void failed(struct amp_read_outcome *out, int error)
{
	out->error = error;
	out->status = amp_open_status(error);
}

bool amp_hash_begin(struct amp_hash *h, int fd, uint64_t limit, struct amp_read_outcome *out)
{
	int64_t start = amp_clock_monotonic();

	memset(h, 0, sizeof(*h));
	h->fd = fd;
	/* Found by inspect() just now: what changed since then shows in the end. */
	if ((!out->has_identity && !amp_hash_identity(fd, out)) || !amp_hash_permitted(limit, out))
		return false;
	h->before = out->identity;
	h->sha = spare ? spare : amp_sha256_new();
	spare = NULL;
	if (!h->sha || amp_sha256_begin(h->sha) < 0) {
		amp_hash_free(h);
		failed(out, ENOMEM);
		return false;
	}
	h->spent_ns = amp_clock_monotonic() - start;
	return true;
}

void amp_hash_keep(struct amp_hash *h, uint64_t snapshot_max, uint64_t archive_max)
{
	h->snapshot_max = snapshot_max;
	h->archive_max = archive_max;
}

void amp_hash_free(struct amp_hash *h)
{
	amp_snapshot_drop(&h->snapshot);
	if (h->sha && spare)
		amp_sha256_free(h->sha);
	else if (h->sha)
		spare = h->sha;
	h->sha = NULL;
}

/* A script, and what does it name? */
static void look_for_script(const uint8_t *head, size_t n, struct amp_read_outcome *out)
{
	const uint8_t *end;

	out->script = n >= 2 && head[0] == '#' && head[1] == '!';
	if (!out->script)
		return;
	n -= 2;
	if (n > AMP_SCRIPT_LINE_MAX)
		n = AMP_SCRIPT_LINE_MAX;
	end = memchr(head + 2, '\n', n);
	out->script_line_length = end ? (size_t)(end - (head + 2)) : n;
	memcpy(out->script_line, head + 2, out->script_line_length);
}

/* The file's first bytes say what it is, and so whether it is kept. */
static void look_at_head(struct amp_hash *h, size_t n, struct amp_read_outcome *out)
{
	uint64_t size = h->before.size;

	look_for_script(chunk, n, out);
	out->archive = amp_archive_begins(chunk, n);
	if (h->snapshot_max > 0 && (size <= h->snapshot_max || (out->archive && size <= h->archive_max)))
		amp_snapshot_begin(&h->snapshot);
}

/* One chunk. Bytes read; 0 at the end; -1 and errno. */
static ssize_t next_chunk(struct amp_hash *h, struct amp_read_outcome *out)
{
	ssize_t n;

	do
		n = pread(h->fd, chunk, CHUNK, (off_t)h->offset);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return n;
	if (h->offset == 0)
		look_at_head(h, (size_t)n, out);
	if (amp_sha256_add(h->sha, chunk, (size_t)n) < 0) {
		errno = ENOMEM;
		return -1;
	}
	amp_snapshot_add(&h->snapshot, chunk, (size_t)n);
	h->offset += (uint64_t)n;
	return n;
}

static void hand_over(struct amp_hash *h, struct amp_read_outcome *out)
{
	out->snapshot = amp_snapshot_seal(&h->snapshot);
	out->has_snapshot = out->snapshot >= 0;
}

/* All is read: the digest, and whether the file is still the one begun with. */
static void finish(struct amp_hash *h, struct amp_read_outcome *out)
{
	if (amp_sha256_end(h->sha, out->sha) < 0) {
		failed(out, ENOMEM);
		return;
	}
	out->has_sha = true;
	if (!amp_hash_identity(h->fd, out)) {
		out->has_sha = false;
		return;
	}
	if (!amp_identity_same_content(&h->before, &out->identity) || h->offset != h->before.size)
		out->status = AMP__READ_RESULT__STATUS__CHANGED;
	hand_over(h, out);
}

bool amp_hash_step(struct amp_hash *h, uint64_t bytes, struct amp_read_outcome *out)
{
	int64_t start = amp_clock_monotonic();
	uint64_t stop = h->offset + bytes;
	bool over = false;
	ssize_t n;

	while (!over && h->offset < stop) {
		n = next_chunk(h, out);
		/* Who appends for ever is not followed: a chunk beyond the size
		 * at the start proves the change. */
		over = n <= 0 || h->offset == h->before.size || h->offset >= h->before.size + CHUNK;
		if (n < 0)
			failed(out, errno);
		else if (over)
			finish(h, out);
	}
	h->spent_ns += amp_clock_monotonic() - start;
	out->hash_ns = (uint64_t)h->spent_ns;
	if (over)
		amp_hash_free(h);
	return over;
}
