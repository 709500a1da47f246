/*
 * ampquard/superblock.h - is a file on the file system that a row names?
 *
 * Owns: that comparison, also for btrfs, where f_fsid differs from subvolume to
 * subvolume of one file system. Must not own: whether it is the file.
 */
#ifndef AMPQUARD_SUPERBLOCK_H
#define AMPQUARD_SUPERBLOCK_H

#include "fileid.h"

#include <stdbool.h>
#include <stdint.h>

/* fd: of the file (or its directory), whose handle h is. fsid: as an event or a walk told it. */
bool superblock_is(int fd, const struct amp_handle *h, uint64_t fsid);

#endif
