/*
 * ampscand/filesystems.h - the watched file systems, as ampmon names them, and
 * the directory cache: handle of a directory -> host path.
 *
 * Owns: both tables; scope (is a path below a watched directory?). A directory
 * rename or a mount change empties the cache of that file system.
 */
#ifndef AMPSCAND_FILESYSTEMS_H
#define AMPSCAND_FILESYSTEMS_H

#include "cache.h"
#include "fileid.h"

#define FILESYSTEMS_MAX 1024

struct filesystem {
	struct filesystem *next;
	uint64_t fsid;
	uint64_t btrfs; /* as amp_fsid_of_btrfs() says of each file in it; 0: it is none */
	unsigned dev_major, dev_minor;
	Amp__FileSystem__How how;
	bool partial;
	bool times_tell;    /* whatever changes a file sets its change time */
	char *mount_point;  /* NUL-terminated; "" : none whole */
	size_t watch_count; /* 0: everywhere */
	char **watch;
	uint32_t generation;	 /* of its paths: grows when cached ones may be wrong */
	bool visited;		 /* not ampmon's: by filesystems_visit() */
	int64_t unread_since_ns; /* realtime of an event given up because no path led here; 0: none */
};

struct filesystems {
	struct filesystem *first;
	unsigned count;
	struct cache directories;
};

int filesystems_init(struct filesystems *t);
void filesystems_free(struct filesystems *t);

/* New or changed. 0, or -1 and errno (EBADMSG: breaks its bounds). */
int filesystems_set(struct filesystems *t, const Amp__FileSystem *fs);
/* One that is not watched, but scanned on demand: a directory of it leads there. Some are kept. */
void filesystems_visit(struct filesystems *t, uint64_t fsid, const char *directory);
void filesystems_remove(struct filesystems *t, uint64_t fsid);
struct filesystem *filesystems_find(struct filesystems *t, uint64_t fsid);
struct filesystem *filesystems_by_device(struct filesystems *t, unsigned major, unsigned minor);
/*
 * Of the file `id`: the one with its fsid, or, if the file lies in a subvolume of
 * btrfs that nothing mounts, the one of that btrfs through which path leads (NULL or
 * no host path: any of that btrfs).
 */
struct filesystem *filesystems_of(struct filesystems *t, const struct amp_fileid *id, const char *path);
/* True: files of this host path are to be judged. */
bool filesystem_in_scope(const struct filesystem *fs, const char *path);

/* Host path of a directory, NULL: not known. Valid until the next call here. */
const char *directories_find(struct filesystems *t, const struct amp_fileid *dir);
void directories_store(struct filesystems *t, const struct amp_fileid *dir, const char *path);
void directories_flush(struct filesystems *t, uint64_t fsid);

/* True: path is dir itself or below it. */
bool path_below(const char *path, const char *dir);

#endif
