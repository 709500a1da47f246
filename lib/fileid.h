/*
 * lib/fileid.h - how a file is named without a path: file system and handle;
 * and what tells one of its contents from another: its identity.
 * Owns: these structs, their comparison, hash and conversion from the kernel's
 * and to the wire's form. Must not own: any open.
 */
#ifndef AMP_FILEID_H
#define AMP_FILEID_H

#include "proto/common.pb-c.h"

#include <fcntl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/statfs.h>

#define AMP_FILE_HANDLE_MAX 128 /* MAX_HANDLE_SZ */

struct amp_handle {
	int32_t type;
	uint32_t size; /* 1 to AMP_FILE_HANDLE_MAX; 0: none */
	uint8_t bytes[AMP_FILE_HANDLE_MAX];
};

struct amp_fileid {
	uint64_t fsid; /* statfs f_fsid, val[0] in the low half */
	struct amp_handle handle;
};

struct amp_identity {
	uint64_t ino, size;
	int64_t mtime_ns, ctime_ns;
	uint32_t dev_major, dev_minor, mode, uid, nlink;
};

bool amp_handle_equal(const struct amp_handle *a, const struct amp_handle *b);
uint64_t amp_fileid_hash(const struct amp_fileid *id);
bool amp_fileid_equal(const struct amp_fileid *a, const struct amp_fileid *b);

/*
 * Same inode with the same content as far as times and size tell (no nlink,
 * mode). Nor the device: an overlay shows another one than its layer; who
 * compares across file systems compares them first.
 */
bool amp_identity_same_content(const struct amp_identity *a, const struct amp_identity *b);

void amp_identity_from_statx(const struct statx *sx, struct amp_identity *out);

/*
 * name_to_handle_at(2) by descriptor and name ("" with AT_EMPTY_PATH); mount_id may be NULL.
 * 0, or -1 and errno. Of a descriptor alone a handle that does not last is none (EOPNOTSUPP).
 */
int amp_handle_at(int dirfd, const char *name, int flags, struct amp_handle *out, int *mount_id);

/*
 * Of an open regular file: its handle; where the file system has none, a
 * stand-in made of device and inode. 0, or -1 and errno.
 */
int amp_handle_of_fd(int fd, struct amp_handle *out);
/* Nothing can be opened by it. */
bool amp_handle_is_stand_in(const struct amp_handle *h);

/*
 * f_fsid of statfs(2) as one number, as fanotify(7) reports it. Where it is 0
 * (ramfs before Linux 6.6), the device's number, which no file system shares.
 */
int amp_fsid_of_fd(int fd, uint64_t *fsid);
int amp_fsid_of_path(const char *path, uint64_t *fsid);
uint64_t amp_fsid_from_pair(int32_t lo, int32_t hi);
uint64_t amp_fsid_from_statfs(const struct statfs *sf, uint64_t device);

/*
 * Each subvolume of a btrfs has an fsid of its own. What they have in common,
 * from the fsid of one and the handle of a file in it; 0: it is no btrfs.
 */
uint64_t amp_fsid_of_btrfs(uint64_t fsid, const struct amp_handle *h);

/* f_type of statfs(2): files are found by their handles as long as they exist. */
bool amp_handles_last(uint64_t f_type);

/* Wire forms. to_wire: wire points into h (no copy). from_wire: 0, or -1 EBADMSG. */
void amp_handle_to_wire(const struct amp_handle *h, Amp__Handle *wire);
int amp_handle_from_wire(const Amp__Handle *wire, struct amp_handle *h);
void amp_identity_to_wire(const struct amp_identity *i, Amp__Identity *wire);
int amp_identity_from_wire(const Amp__Identity *wire, struct amp_identity *i);

/*
 * statx(2) that never waits for a file server (AT_STATX_DONT_SYNC,
 * AT_NO_AUTOMOUNT). 0, or -1 and errno.
 */
int amp_statx_identity(int dirfd, const char *name, int flags, struct amp_identity *out);

#endif
