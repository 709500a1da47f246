/*
 * ampmon/keep.c - see keep.h.
 *
 * The newest of each name is in memory as well: an ampscand that comes gets what
 * its predecessor put last, also when that is still on its way to the disk.
 */
#include "ampmon/keep.h"

#include "ampmon/keys.h"
#include "ampmon/mon.h"
#include "log.h"
#include "proto/types.h"
#include "text.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define DIR_NAME      "keep"
#define NEW_NAME      ".new" /* no record's name begins with a dot */
#define NAME_MAX_SIZE 32U
#define UNDERWAY_MAX  (4U * AMP_KEEPS) /* writes queued; ampscand waits for each name's before the next */

struct record {
	char name[NAME_MAX_SIZE + 1];
	uint8_t *data;
	size_t size;
};

struct mon_keep {
	struct mon_keep_ops ops;
	struct amp_iothread *io;
	char *dir;
	struct record records[AMP_KEEPS];
	size_t count;
	unsigned underway;
};

struct write_job {
	struct amp_io_job job; /* first: cast back */
	struct mon_keep *k;
	char name[NAME_MAX_SIZE + 1];
	unsigned generation;
	uint64_t id;
	int error;
	size_t size; /* 0: the file goes */
	uint8_t data[];
};

static bool is_name(const char *name)
{
	size_t n = strlen(name);

	return n >= 1 && n <= NAME_MAX_SIZE && strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-") == n;
}

static struct record *find(struct mon_keep *k, const char *name)
{
	for (size_t i = 0; i < k->count; i++)
		if (strcmp(k->records[i].name, name) == 0)
			return &k->records[i];
	return NULL;
}

static void forget(struct mon_keep *k, struct record *r)
{
	free(r->data);
	*r = k->records[--k->count];
}

/* An errno, or 0. */
static int remember(struct mon_keep *k, const char *name, const uint8_t *data, size_t size)
{
	struct record *r = find(k, name);
	uint8_t *copy;

	if (size == 0) {
		if (r)
			forget(k, r);
		return 0;
	}
	if (!r && k->count == AMP_KEEPS)
		return ENOSPC;
	copy = malloc(size);
	if (!copy)
		return ENOMEM;
	memcpy(copy, data, size);
	if (!r) {
		r = &k->records[k->count++];
		snprintf(r->name, sizeof(r->name), "%s", name);
		r->data = NULL;
	}
	free(r->data);
	r->data = copy;
	r->size = size;
	return 0;
}

/* ---- on the I/O thread ---- */

static int write_record(int dir, const struct write_job *w)
{
	if (w->size > 0)
		return mon_file_replace(dir, NEW_NAME, w->name, w->data, w->size);
	if (unlinkat(dir, w->name, 0) < 0 && errno != ENOENT)
		return -1;
	return fsync(dir);
}

static bool write_run(struct amp_io_job *job)
{
	struct write_job *w = (struct write_job *)job;
	int dir = open(w->k->dir, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

	w->error = dir >= 0 && write_record(dir, w) == 0 ? 0 : errno;
	if (dir >= 0)
		close(dir);
	return true;
}

/* ---- in the event loop ---- */

static void write_done(struct amp_io_job *job)
{
	struct write_job *w = (struct write_job *)job;
	struct mon_keep *k = w->k;

	k->underway--;
	if (w->error)
		amp_error("%s/%s cannot be written: %s", k->dir, w->name, strerror(w->error));
	k->ops.kept(w->generation, w->id, w->name, w->error, k->ops.arg);
	free(w);
}

static bool well_formed(const Amp__Keep *keep)
{
	return is_name(keep->name) && keep->record.len <= AMP_KEEP_MAX;
}

int mon_keep_put(struct mon_keep *k, unsigned generation, uint64_t id, const Amp__Keep *keep)
{
	struct write_job *w;
	int error;

	if (!well_formed(keep) || k->underway == UNDERWAY_MAX)
		return -1;
	w = calloc(1, sizeof(*w) + keep->record.len);
	error = w ? remember(k, keep->name, keep->record.data, keep->record.len) : ENOMEM;
	if (error) {
		free(w);
		k->ops.kept(generation, id, keep->name, error, k->ops.arg);
		return 0;
	}
	w->job.run = write_run;
	w->job.done = write_done;
	w->k = k;
	snprintf(w->name, sizeof(w->name), "%s", keep->name);
	w->generation = generation;
	w->id = id;
	w->size = keep->record.len;
	if (w->size > 0)
		memcpy(w->data, keep->record.data, w->size);
	k->underway++;
	amp_iothread_submit(k->io, &w->job);
	return 0;
}

void mon_keep_each(const struct mon_keep *k,
		   void (*fn)(const char *name, const uint8_t *record, size_t size, void *arg), void *arg)
{
	for (size_t i = 0; i < k->count; i++)
		fn(k->records[i].name, k->records[i].data, k->records[i].size, arg);
}

/* ---- at the start ---- */

/* Nobody else may have written it. */
static bool trusted(int fd)
{
	struct stat st;

	return fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_uid == geteuid() && !(st.st_mode & 022) &&
	       st.st_size > 0 && st.st_size <= AMP_KEEP_MAX;
}

static void load(struct mon_keep *k, int dir, const char *name)
{
	static uint8_t buf[AMP_KEEP_MAX];
	int fd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	ssize_t n = -1;
	char shown[256];

	if (fd >= 0 && is_name(name) && trusted(fd))
		n = mon_read_all(fd, buf, sizeof(buf));
	if (fd >= 0)
		close(fd);
	if (n <= 0 || remember(k, name, buf, (size_t)n) != 0)
		amp_error("%s/%s is no record that can be kept: it is left out", k->dir,
			  amp_text_escape(name, strlen(name), shown, sizeof(shown)));
}

static int load_all(struct mon_keep *k)
{
	int fd = open(k->dir, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	const struct dirent *d;

	if (!dir) {
		if (fd >= 0)
			close(fd);
		return -1;
	}
	unlinkat(fd, NEW_NAME, 0); /* of a write that did not come to its end */
	while ((d = readdir(dir)))
		if (d->d_name[0] != '.')
			load(k, dirfd(dir), d->d_name);
	closedir(dir);
	return 0;
}

struct mon_keep *mon_keep_new(const char *etc_dir, struct amp_iothread *io, const struct mon_keep_ops *ops,
			      char *err, size_t size)
{
	struct mon_keep *k = calloc(1, sizeof(*k));

	snprintf(err, size, "out of memory");
	if (!k || asprintf(&k->dir, "%s/" DIR_NAME, etc_dir) < 0) {
		free(k);
		return NULL;
	}
	k->ops = *ops;
	k->io = io;
	if (mon_dir_make(k->dir, 0700, geteuid(), getegid(), err, size) == 0) {
		if (load_all(k) == 0)
			return k;
		snprintf(err, size, "%s cannot be read: %s", k->dir, strerror(errno));
	}
	mon_keep_free(k);
	return NULL;
}

void mon_keep_free(struct mon_keep *k)
{
	if (!k)
		return;
	while (k->count > 0)
		forget(k, &k->records[0]);
	free(k->dir);
	free(k);
}
