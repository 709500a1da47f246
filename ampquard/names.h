/*
 * ampquard/names.h - taking names away from an inode, and only from it.
 *
 * Owns: the capture: a name is moved by renameat2(2) into a private
 * directory beside it that nobody else can enter, looked at there, and removed
 * or put back. A name that leads elsewhere is never removed, whatever others
 * do to it meanwhile. Must not own: the content, or which names there are.
 * Nothing here follows a link.
 */
#ifndef AMPQUARD_NAMES_H
#define AMPQUARD_NAMES_H

#include "proto/types.h"

#include <stdbool.h>
#include <stddef.h>
#include <sys/stat.h>

#define NAMES_ID_MAX 128U /* bytes of an entry's id: AMP_PRIVATE_PREFIX and that is its private directory */

enum name_outcome {
	NAME_REMOVED,	/* gone from the directory (captured, or removed) */
	NAME_ELSEWHERE, /* it leads to another file, or to none: left alone */
	NAME_FAILED	/* errno: EROFS, EPERM, EACCES, ENOSPC ... ; it is where it was */
};

struct capture; /* names of one inode, in private directories */

#define NAMES_SYNCS_MAX 32U

/* Directories that are to be synced, each once, however many names were taken from it. */
struct names_syncs {
	struct {
		int fd;
		dev_t dev;
		ino_t ino;
	} dirs[NAMES_SYNCS_MAX];
	size_t count;
};
/* Syncs and closes them. */
void names_sync(struct names_syncs *s);

/* file: an open descriptor of the inode (duplicated). entry_id names the private directories, has
 * no slash. NULL and errno. */
struct capture *capture_new(int file, const char *entry_id);

/*
 * First, what a keeper that died left in the private directory below dir:
 * names of this inode stay captured, everything else is put back. Then takes
 * `name` (no slash) of directory dir, if it leads to the inode. dir is duplicated.
 *
 * NAME_FAILED also: EEXIST (a directory of the private one's name is not ours), EAGAIN
 * (others changed it again and again), EMFILE (names in too many directories), ENOTSUP
 * (nothing on this file system can be kept from others).
 */
enum name_outcome capture_name(struct capture *c, int dir, const char *name);
size_t capture_count(const struct capture *c);
/* Its directories are not synced when it ends: they wait in s (as far as there is room), to be synced
 * before anything is committed that relies on it. */
void capture_sync_later(struct capture *c, struct names_syncs *s);

/*
 * Removes what was captured, the private directories, syncs the directories. Returns
 * the number of names that could not be removed (they are put back). Frees c.
 */
size_t capture_remove(struct capture *c);
/* Puts every name back (beside, as NAME.amp-returned-N, if its place was taken meanwhile:
 * *beside counts these; may be NULL). Frees c. */
void capture_undo(struct capture *c, size_t *beside);

/*
 * For the sweep: the private directory of an entry below dir, of which nothing
 * is to be kept: puts every name in it back and removes it. 0 (also: none), or -1
 * (EEXIST: it is not ours).
 */
int names_sweep(int dir, const char *entry_id);

/*
 * The private directory itself, for place.c: opens `name` below dir, or makes it. It is ours and
 * closed to others, or -1 and errno (EEXIST: not ours; ENOENT: there is none; ENOTSUP).
 */
int private_open(int dir, const char *name, bool make);
/* Removes it if it is empty, also if others gave it another name in dir meanwhile. */
void private_remove(int dir, int private, const char *name);

#endif
