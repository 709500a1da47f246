/*
 * ampscand/ampread/treetop.h - the path of an ordered walk: where it begins and what it must not leave.
 *
 * Owns: opening the path (links in it are followed, who asks names it), opening it
 * again and seeing that it is still the same, its mount, what lies beyond that.
 * Must not own: anything below it.
 */
#ifndef AMP_TREETOP_H
#define AMP_TREETOP_H

#include "open.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

/* What tells a file from another that took its name. */
struct amp_spot {
	uint64_t ino, mount; /* mount 0: the kernel does not say */
	uint32_t dev_major, dev_minor;
};

struct amp_tree_top {
	char *path;
	int fd;	       /* of the directory, or, for a file, O_PATH; -1 */
	int64_t since; /* opened, monotonic */
	struct amp_spot spot;
	bool regular; /* a file */
	bool handles; /* its file system has them */
	struct amp_handle handle;
	uint64_t fsid;
	char real[AMP_OPEN_PATH_SIZE]; /* the host's path of it, without links */
	size_t real_length;
};

/* Why it cannot be walked, static, with errno (0: that is all). NULL: it is open. */
const char *amp_tree_top_open(struct amp_tree_top *t);
/* It, or another open descriptor of it once that is a second old: a lazy umount must not leave us in
 * a tree that the host has no more. */
const char *amp_tree_top_renew(struct amp_tree_top *t);
void amp_tree_top_close(struct amp_tree_top *t);

/* statx(2) that follows no link, waits for nobody and tells the mount. 0, or -1 and errno. */
int amp_tree_look(int dirfd, const char *name, int flags, struct statx *sx);
void amp_spot_from_statx(const struct statx *sx, struct amp_spot *spot);
bool amp_spot_equal(const struct amp_spot *a, const struct amp_spot *b);

/* It is in another mount, or something would be mounted where somebody enters. */
bool amp_tree_top_is_beyond(const struct amp_tree_top *t, const struct statx *sx);

#endif
