/*
 * ampscand/engine/slot.c - see slot.h.
 *
 * Whoever worked here may have been taken over, and is dead: what it left is as bad as it
 * could make it, but holds still. A slot holds no more than its mount has inodes.
 */
#include "slot.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define OPEN_MAX_LEVELS 16U	/* directories open at once; higher ones are opened again */
#define STEPS_MAX	400000U /* of entries looked at: more than a slot can hold, by far */
#define PASSES		3U

struct level {
	DIR *dir;
	char child[NAME_MAX + 1]; /* of it, that was gone into */
};

/* The levels depth-OPEN_MAX_LEVELS+1 to depth of a way down, in a ring. */
struct wipe {
	struct level ring[OPEN_MAX_LEVELS];
	unsigned long depth, steps;
};

const char *slot_path(char buf[SLOT_PATH], const char *root, unsigned slot, uint64_t serial)
{
	snprintf(buf, SLOT_PATH, "%s/%u/%llu", root, slot, (unsigned long long)serial);
	return buf;
}

int slot_make(const char *path)
{
	return mkdir(path, 0700);
}

static struct level *at(struct wipe *w, unsigned long depth)
{
	return &w->ring[depth % OPEN_MAX_LEVELS];
}

static int open_dir(int parent, const char *name)
{
	return openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
}

/*
 * A directory that may have been closed to us: it is our user's, so it can be opened again, with
 * this one mode and no other (engine_rules of lib/seccomp_table.c). fchmodat() would follow a
 * link: it is none.
 */
static int enter_dir(int parent, const char *name)
{
	int fd = open_dir(parent, name);
	struct stat st;

	if (fd >= 0 && faccessat(fd, ".", R_OK | W_OK | X_OK, 0) == 0)
		return fd;
	if (fd >= 0)
		close(fd);
	else if (errno != EACCES)
		return -1;
	if (fstatat(parent, name, &st, AT_SYMLINK_NOFOLLOW) != 0 || !S_ISDIR(st.st_mode) ||
	    fchmodat(parent, name, S_IRWXU, 0) != 0)
		return -1;
	return open_dir(parent, name);
}

static int set_level(struct wipe *w, unsigned long depth, int fd)
{
	struct level *l = at(w, depth);

	if (fd < 0)
		return -1;
	if (l->dir)
		closedir(l->dir);
	l->child[0] = '\0';
	l->dir = fdopendir(fd);
	if (l->dir)
		return 0;
	close(fd);
	return -1;
}

/* 1: the entry is a directory with something in it, and is gone into. 0, or -1. */
static int remove_entry(struct wipe *w, const char *name)
{
	struct level *l = at(w, w->depth);
	int fd = dirfd(l->dir), rc = 0;

	if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
		return 0;
	if (unlinkat(fd, name, 0) == 0 || unlinkat(fd, name, AT_REMOVEDIR) == 0)
		return 0;
	if (errno != ENOTEMPTY && errno != EEXIST)
		return -1;
	snprintf(l->child, sizeof(l->child), "%s", name);
	rc = set_level(w, w->depth + 1, enter_dir(fd, name));
	w->depth += rc == 0;
	return rc == 0 ? 1 : -1;
}

/* The way back: what was gone into is empty. */
static int go_up(struct wipe *w)
{
	struct level *below = at(w, w->depth), *l = at(w, w->depth - 1);

	if (!l->dir &&
	    set_level(w, w->depth - 1, openat(dirfd(below->dir), "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC)))
		return -1;
	closedir(below->dir);
	below->dir = NULL;
	w->depth--;
	/* Opened again it is looked through again, and so finds it. */
	if (l->child[0] && unlinkat(dirfd(l->dir), l->child, AT_REMOVEDIR) != 0 && errno != ENOENT)
		return -1;
	l->child[0] = '\0';
	return 0;
}

/* 1: done. */
static int step(struct wipe *w)
{
	struct level *l = at(w, w->depth);
	const struct dirent *e;

	errno = 0;
	e = readdir(l->dir);
	if (e)
		return remove_entry(w, e->d_name) < 0 ? -1 : 0;
	if (errno)
		return -1;
	return w->depth == 0 ? 1 : go_up(w);
}

static int wipe_below(int fd)
{
	struct wipe *w = calloc(1, sizeof(*w));
	int rc = w ? set_level(w, 0, fd) : -1;

	if (!w)
		close(fd);
	while (rc == 0)
		rc = w->steps++ < STEPS_MAX ? step(w) : -1;
	for (size_t i = 0; w && i < OPEN_MAX_LEVELS; i++)
		if (w->ring[i].dir)
			closedir(w->ring[i].dir);
	free(w);
	return rc == 1 ? 0 : -1;
}

int slot_wipe(const char *path)
{
	for (unsigned i = 0; i < PASSES; i++) {
		int fd;

		if (rmdir(path) == 0 || errno == ENOENT)
			return 0;
		if (errno != ENOTEMPTY && errno != EEXIST)
			return -1;
		fd = enter_dir(AT_FDCWD, path);
		if (fd < 0 || wipe_below(fd) != 0)
			return -1;
	}
	return rmdir(path) == 0 || errno == ENOENT ? 0 : -1;
}
