/*
 * ampquard/meta.h - what a file has beside its content: owner, mode, times,
 * extended attributes (ACLs and file capabilities among them), inode flags.
 *
 * Owns: reading all of it from a descriptor and setting all that this room may
 * set. Must not own: names, the content.
 */
#ifndef AMPQUARD_META_H
#define AMPQUARD_META_H

#include "proto/vault.pb-c.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Fills uid to xattrs_unread of *m (malloc'd pieces: meta_free) from an open file. Attributes
 * that cannot be read, or are more than VAULT_META_MAX holds, are named in xattrs_unread;
 * "*" there: they could not be listed. The fields before are not touched.
 * 0, or -1 and errno.
 */
int meta_gather(int fd, Amp__VaultMeta *m);
/* Frees what meta_gather() allocated, not *m. */
void meta_free(Amp__VaultMeta *m);

/* What could not be brought back: sentences, malloc'd, UTF-8 (names in arguments are to be
 * escaped). At most 64, together below 40 KiB; the last says that there is more. */
struct meta_left {
	char **text;
	size_t count;
};
void meta_left_add(struct meta_left *left, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void meta_left_free(struct meta_left *left);

/*
 * Owner, attributes, mode, times, in the order in which one does not undo the
 * other (chown clears set-uid, chmod sets an ACL's mask). Privileges (set-uid,
 * set-gid of executables, security.capability) only with keep_privileges; what
 * is stripped is named in left. fd is writable, or at least ours to set.
 * Never fails: what cannot be set is named in left.
 */
void meta_apply(int fd, const Amp__VaultMeta *m, bool keep_privileges, struct meta_left *left);
/* Times once more and inode flags: last, when the file has its name. */
void meta_apply_last(int fd, const Amp__VaultMeta *m, struct meta_left *left);

/* FS_IOC_GETFLAGS; 0 where there are none. */
uint32_t meta_flags(int fd);
/* Takes immutable and append-only away. 0 (also if there was nothing), or -1 and errno. */
int meta_unlock(int fd);
int meta_set_flags(int fd, uint32_t flags);

#endif
