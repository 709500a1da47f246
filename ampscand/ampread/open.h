/*
 * ampscand/ampread/open.h - how a file is opened here: by handle, through a
 * directory fd of its file system, read-only, never with an effect on a FIFO
 * or a device; and how the host's name of an open directory is found.
 *
 * Owns: the O_PATH fd of /proc, the meaning of errno for a result, and the
 * places: one directory fd for a file system while jobs of it are in hand. An
 * open directory makes umount(8) fail with EBUSY, so a place is closed 200 ms
 * after its last job and made anew at least every second.
 * Must not own: what is read from an open file.
 */
#ifndef AMP_OPEN_H
#define AMP_OPEN_H

#include "fileid.h"
#include "iothread.h"
#include "proto/read.pb-c.h"

#include <event2/event.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef Amp__ReadResult__Status amp_read_status;

/* Long enough for any name that readlink(2) of /proc/self/fd can give. */
#define AMP_OPEN_PATH_SIZE 4352

/* Before the drop: opens /proc. 0, or -1 and errno. */
int amp_open_setup(void);

/* A file below /proc, for reading. fd, or -1 and errno. */
int amp_open_proc(const char *name);

/*
 * Directory fd of the file system `fsid` at mount_point, or -1 and errno
 * (ENODEV: mount_point leads to another file system).
 */
int amp_open_mount(const char *mount_point, uint64_t fsid);

/* An absolute path shorter than AMP_PATH_MAX without NUL. */
bool amp_open_mount_point_valid(const ProtobufCBinaryData *path);

/* All of these leave the access time as it is, where the kernel permits that (O_NOATIME).
 * open_by_handle_at(2) with `flags` and O_CLOEXEC. fd, or -1 and errno. */
int amp_open_handle(int mount_fd, const struct amp_handle *h, int flags);

/* Opens what an O_PATH descriptor leads to: the same inode, whatever has its name by now. */
int amp_open_again(int path_fd, int flags);
int amp_open_at(int at, const char *name, int flags);

/* What an errno of opening or reading a file means to who asked. */
amp_read_status amp_open_status(int error);

/*
 * Host path of an open directory (or, for an event fd, file) in buf, which
 * holds AMP_OPEN_PATH_SIZE. OK and *length; GONE: it has no link any more;
 * UNRESOLVED: too long (errno ENAMETOOLONG), or not below mount_point ("" : not
 * compared), so that it would be no host path; else UNREADABLE with errno.
 */
amp_read_status amp_open_path(int fd, const char *mount_point, char *buf, size_t *length);

/* A file system whose jobs are in hand. */
struct amp_place;
struct amp_places;

struct amp_places *amp_places_new(struct event_base *base, struct amp_iothread *io);
/* Every place must have been put, and the I/O thread be idle. */
void amp_places_free(struct amp_places *p);
/* In the loop: takes a share in a place, made if need be. NULL: ENOMEM. */
struct amp_place *amp_place_get(struct amp_places *p, uint64_t fsid, const void *mount_point, size_t length);
void amp_place_put(struct amp_place *place);
/* In the I/O thread: the directory fd (the place's), or -1 and errno. */
int amp_place_fd(struct amp_place *place);
const char *amp_place_mount_point(const struct amp_place *place);
/* In the loop: places that exist (tests). */
size_t amp_places_count(const struct amp_places *p);

#endif
