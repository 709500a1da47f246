/*
 * ampscand/ampread/climb.c - paths beyond PATH_MAX (see climb.h).
 *
 * Whoever makes such a path also chooses how wide its directories are and may
 * move them while they are read, so every bound is in all, and a path that was
 * put together meanwhile may be none: who uses it compares what it leads to.
 */
#include "climb.h"

#include "fileid.h"
#include "open.h"
#include "proto/types.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LEVELS_MAX  4096U
#define ENTRIES_MAX 200000U
#define BUFFER	    ((size_t)32 * 1024)

struct amp_climb {
	const char *mount_point;
	int directory;		    /* whose path is looked for; not ours */
	int child;		    /* as far as we have come; ours unless it is `directory` */
	int parent;		    /* being searched for the child's name; -1: not yet */
	struct amp_identity sought; /* the child's */
	unsigned levels, entries;   /* left */
	bool over, found;
	size_t at; /* text[at] is the first byte of the path so far */
	char text[AMP_PATH_MAX];
};

struct amp_climb *amp_climb_new(int directory, const char *mount_point)
{
	struct amp_climb *c = calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	c->mount_point = mount_point;
	c->directory = c->child = directory;
	c->parent = -1;
	c->levels = LEVELS_MAX;
	c->entries = ENTRIES_MAX;
	c->at = sizeof(c->text) - 1; /* the NUL */
	return c;
}

void amp_climb_set_limits(struct amp_climb *c, unsigned levels, unsigned entries)
{
	c->levels = levels;
	c->entries = entries;
}

static void close_child(struct amp_climb *c)
{
	if (c->child >= 0 && c->child != c->directory)
		close(c->child);
	c->child = -1;
}

void amp_climb_free(struct amp_climb *c)
{
	if (!c)
		return;
	close_child(c);
	if (c->parent >= 0)
		close(c->parent);
	free(c);
}

static bool end(struct amp_climb *c, bool found)
{
	c->over = true;
	c->found = found;
	return true;
}

/* In front of what is there. False: the path would be too long. */
static bool put_before(struct amp_climb *c, const char *text, size_t n)
{
	if (n > c->at)
		return false;
	c->at -= n;
	memcpy(c->text + c->at, text, n);
	return true;
}

/* One level up: what is sought is the child's name in its parent. */
static bool begin_level(struct amp_climb *c)
{
	if (c->levels == 0 || amp_statx_identity(c->child, "", AT_EMPTY_PATH, &c->sought) < 0)
		return end(c, false);
	c->levels--;
	c->parent = amp_open_at(c->child, "..", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_NONBLOCK);
	return c->parent < 0 ? end(c, false) : false;
}

static bool leads_to_child(const struct amp_climb *c, const struct dirent64 *d)
{
	struct amp_identity id;

	if (d->d_ino != c->sought.ino || (d->d_type != DT_DIR && d->d_type != DT_UNKNOWN) ||
	    strcmp(d->d_name, ".") == 0 || strcmp(d->d_name, "..") == 0 ||
	    amp_statx_identity(c->parent, d->d_name, AT_SYMLINK_NOFOLLOW, &id) < 0)
		return false;
	return id.ino == c->sought.ino && id.dev_major == c->sought.dev_major &&
	       id.dev_minor == c->sought.dev_minor;
}

/* The parent has a path that the kernel tells: it is the beginning of ours. */
static bool finish_at(struct amp_climb *c)
{
	static char path[AMP_OPEN_PATH_SIZE]; /* the thread's */
	size_t n = 0;
	amp_read_status s = amp_open_path(c->parent, c->mount_point, path, &n);

	if (s == AMP__READ_RESULT__STATUS__OK)
		return end(c, put_before(c, path, n == 1 ? 0 : n)); /* "/" is in the name's own */
	if (s != AMP__READ_RESULT__STATUS__UNRESOLVED || errno != ENAMETOOLONG)
		return end(c, false);
	close_child(c);
	c->child = c->parent;
	c->parent = -1;
	return false;
}

static bool named(struct amp_climb *c, const char *name)
{
	if (!put_before(c, name, strlen(name)) || !put_before(c, "/", 1))
		return end(c, false);
	return finish_at(c);
}

bool amp_climb_step(struct amp_climb *c)
{
	static _Alignas(struct dirent64) uint8_t buffer[BUFFER]; /* the thread's */
	ssize_t n;

	if (c->over || (c->parent < 0 && begin_level(c)))
		return true;
	n = getdents64(c->parent, buffer, sizeof(buffer));
	if (n <= 0)
		return end(c, false);
	for (size_t at = 0; at < (size_t)n;) {
		const struct dirent64 *d = (const struct dirent64 *)(const void *)(buffer + at);

		at += d->d_reclen;
		if (c->entries-- == 0)
			return end(c, false);
		if (leads_to_child(c, d))
			return named(c, d->d_name);
	}
	return false;
}

const char *amp_climb_path(const struct amp_climb *c, size_t *length)
{
	if (!c->over || !c->found)
		return NULL;
	*length = sizeof(c->text) - 1 - c->at;
	return c->text + c->at;
}
