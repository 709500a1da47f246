/*
 * ampquard/place.h - directories by path, and a new file in one.
 *
 * Owns: opening a directory of any length of path without following a link,
 * and giving content a name that did not exist. Must not own: metadata, content.
 */
#ifndef AMPQUARD_PLACE_H
#define AMPQUARD_PLACE_H

#include <stdbool.h>
#include <stddef.h>

/*
 * Opens an absolute path of up to AMP_PATH_MAX bytes as a directory, in pieces
 * that fit the kernel, no component of which may be a symbolic link
 * (openat2(2), RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS). A descriptor for
 * *at calls and fsync; or -1 and errno (ELOOP: a link is in it; EINVAL: not absolute,
 * or with empty, "." or ".." components; ENAMETOOLONG).
 */
int place_directory(const char *path, size_t length);

struct place; /* a file being made, without its name yet */

/*
 * Makes a file in dir (duplicated) that nobody sees: O_TMPFILE, or where the file
 * system has none, 0000 in a private directory of ours. It is empty, 0000, without an
 * inherited ACL, open for reading and writing. NULL and errno.
 */
struct place *place_new(int dir, const char *unique);
int place_fd(const struct place *p);
/*
 * Gives it `name`, which must not exist in any form (EEXIST). Nothing is
 * replaced, no link followed. Syncs the directory. 0, or -1 and errno; after
 * -1 it may be tried with another name.
 */
int place_name(struct place *p, const char *name);
/* Closes; without a name it is gone. */
void place_free(struct place *p);

/*
 * Removes what a keeper that died in place_new(dir, unique) to place_name() may have left
 * in dir. 0 (also: nothing), or -1 and errno.
 */
int place_sweep(int dir, const char *unique);

#endif
