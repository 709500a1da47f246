/*
 * ampquard/superblock.c - see superblock.h.
 *
 * btrfs_statfs() takes the file system's UUID and XORs the id of the subvolume in. An
 * event, and whatever goes by a mount point, names the file system by the subvolume at
 * the mark or mount; a file in a subvolume below it, which nothing mounts, has another
 * f_fsid (and st_dev), and is opened by its handle through that mount all the same.
 */
#include "superblock.h"

#include <linux/magic.h>
#include <sys/statfs.h>

#define TOP_SUBVOLUME	5U   /* BTRFS_FS_TREE_OBJECTID */
#define FIRST_SUBVOLUME 256U /* BTRFS_FIRST_FREE_OBJECTID */

/* Ids count up from 256. The UUIDs of two file systems differ by more than such a number. */
static bool may_be_subvolume(uint64_t id)
{
	return id == TOP_SUBVOLUME || (id >= FIRST_SUBVOLUME && id <= UINT32_MAX);
}

static bool is_btrfs(int fd)
{
	struct statfs sf;

	return fstatfs(fd, &sf) == 0 && (unsigned long)sf.f_type == BTRFS_SUPER_MAGIC;
}

bool superblock_is(int fd, const struct amp_handle *h, uint64_t fsid)
{
	uint64_t there, both, id;

	if (amp_fsid_of_fd(fd, &there) != 0)
		return false;
	if (there == fsid)
		return true;
	both = amp_fsid_of_btrfs(there, h);
	/* With the file's own subvolume taken out they differ by the other one's id alone, its halves
	 * changed. */
	id = (both ^ fsid) << 32 | (both ^ fsid) >> 32;
	return both && may_be_subvolume(id) && is_btrfs(fd);
}
