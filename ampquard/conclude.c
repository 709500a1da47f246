/*
 * ampquard/conclude.c - restores that were begun and not ended: the keeper
 * died, or its database could not be written.
 *
 * Owns: telling from what is on the disk how far such a one came. Its file has
 * its name: it was restored, and only the row is behind. Else nothing was
 * restored, and nothing stays allowed by it. Must not own: restoring (restore.c).
 */
#include "quard.h"

#include "clock.h"
#include "counter.h"
#include "log.h"
#include "meta.h"
#include "place.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static struct amp_counter count_concluded = AMP_COUNTER("quarantine.restores_concluded", false);

/* Nothing but a regular file of that size is opened. -1: it is none, or there is none. */
static int open_there(int dir, const char *name, uint64_t size)
{
	int fd = openat(dir, name, O_PATH | O_NOFOLLOW | O_CLOEXEC), found = -1;
	char link[32];
	struct stat st;

	if (fd < 0)
		return -1;
	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && (uint64_t)st.st_size == size)
		found = open(link, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	close(fd);
	return found;
}

/* Not beyond its size: others may write it as fast as it is read. */
static bool has_hash(struct keeper *k, int fd, const uint8_t *sha256, uint64_t size)
{
	struct amp_sha256 *h = amp_sha256_new();
	uint8_t *buf = malloc(VAULT_CHUNK), sha[AMP_SHA256_SIZE];
	bool good = h && buf && amp_sha256_begin(h) == 0;
	ssize_t n = 1;

	for (off_t at = 0; good && n > 0 && (uint64_t)at <= size; at += n) {
		n = pread(fd, buf, VAULT_CHUNK, at);
		good = n >= 0 && amp_sha256_add(h, buf, (size_t)(n > 0 ? n : 0)) == 0;
		amp_io_step(k->io);
	}
	good = good && amp_sha256_end(h, sha) == 0 && memcmp(sha, sha256, sizeof(sha)) == 0;
	amp_sha256_free(h);
	free(buf);
	return good;
}

/* What comes after the name: times and flags. */
static void dress(struct keeper *k, const struct entry *e, int fd)
{
	enum vault_answer why;
	struct vault_reader *r = vault_read(k->vault, e->id, &why);
	struct meta_left left = {0};
	struct stat st;

	if (r && restore_row_matches(e, vault_reader_meta(r)) && fstat(fd, &st) == 0 && st.st_nlink == 1)
		meta_apply_last(fd, vault_reader_meta(r), &left);
	meta_left_free(&left);
	vault_reader_free(r);
}

/* Whether it has its name; what a keeper that died left beside that goes. */
static bool is_there(struct keeper *k, const struct store_restore *r, const struct entry *e)
{
	const char *slash = memrchr(r->path, '/', r->path_size);
	size_t n = slash ? (size_t)(slash - r->path) : 0;
	int dir = slash ? place_directory(n ? r->path : "/", n ? n : 1) : -1, fd = -1;
	bool there;

	if (dir < 0)
		return false;
	if (place_sweep(dir, r->entry_id) != 0)
		amp_warn("what a restore of entry %s left cannot be removed: %s", r->entry_id,
			 strerror(errno));
	if (e)
		fd = open_there(dir, slash + 1, e->size);
	there = fd >= 0 && has_hash(k, fd, r->sha256, e->size);
	if (there)
		dress(k, e, fd);
	if (fd >= 0)
		close(fd);
	close(dir);
	return there;
}

static bool enter(struct keeper *k, const struct store_restore *r, const struct entry *e, bool there)
{
	bool was = false;

	if (!keeper_begin(k) || !keeper_did(k, store_restore_end(k->store, r->entry_id)))
		return false;
	if (there) {
		if (!keeper_did(k,
				store_restored(k->store, e->id, r->path, r->path_size, amp_clock_realtime())))
			return false;
		restore_report(k, e, r->path, r->path_size);
	} else if (!r->was_allowed) {
		if (!keeper_did(k, store_revoke(k->store, r->sha256, &was)))
			return false;
		restore_tell_one(k, r->sha256, true);
	}
	return true;
}

/* False: not now. */
static bool conclude(struct keeper *k, const struct store_restore *r)
{
	struct entry *e = NULL;
	bool there;

	/* Of a row that is ill nothing can be said: then nothing was restored. */
	if (store_find(k->store, r->entry_id, &e) != AMP_DB_OK && !store_ill_row(k->store))
		return false;
	there = is_there(k, r, e);
	if (enter(k, r, e, there))
		amp_warn("a restore of entry %s was cut short: %s", r->entry_id,
			 there ? "its file has its place" : "nothing was restored");
	entry_free(e);
	if (!keeper_settle(k))
		return false;
	amp_counter_add(&count_concluded, 1);
	return true;
}

void restore_conclude(struct keeper *k)
{
	struct store_restore r = {0};
	bool good = true;

	if (!k->cut_short || k->restoring || k->in_transaction || !keeper_ready(k))
		return;
	while (good && (good = store_restore_begun(k->store, r.number, &r) == AMP_DB_OK) && r.path) {
		good = conclude(k, &r);
		free(r.path);
	}
	k->cut_short = !good;
}
