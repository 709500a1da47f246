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
#include <string.h>
#include <sys/statfs.h>

/* fs/btrfs/export.h: objectid, root_objectid, gen. */
#define FID_TYPE    0x4d /* FILEID_BTRFS_WITHOUT_PARENT */
#define FID_SIZE    20U
#define FID_ROOT_AT sizeof(uint64_t)

#define TOP_SUBVOLUME	5U   /* BTRFS_FS_TREE_OBJECTID */
#define FIRST_SUBVOLUME 256U /* BTRFS_FIRST_FREE_OBJECTID */

/* What an id does to an fsid: its high half goes into val[0], our low half. */
static uint64_t halves_changed(uint64_t x)
{
	return x << 32 | x >> 32;
}

/* Ids count up from 256. The UUIDs of two file systems differ by more than such a number. */
static bool may_be_subvolume(uint64_t id)
{
	return id == TOP_SUBVOLUME || (id >= FIRST_SUBVOLUME && id <= UINT32_MAX);
}

/* With the file's own subvolume taken out, `there` and fsid differ by the other one's id alone. */
static bool same_btrfs(const struct amp_handle *h, uint64_t there, uint64_t fsid)
{
	uint64_t own;

	if (h->type != FID_TYPE || h->size != FID_SIZE)
		return false;
	memcpy(&own, h->bytes + FID_ROOT_AT, sizeof(own));
	return may_be_subvolume(own) && may_be_subvolume(halves_changed(there ^ fsid) ^ own);
}

bool superblock_is(int fd, const struct amp_handle *h, uint64_t fsid)
{
	struct statfs sf;
	uint64_t there;

	if (fstatfs(fd, &sf) != 0)
		return false;
	there = amp_fsid_from_pair(sf.f_fsid.__val[0], sf.f_fsid.__val[1]);
	return there == fsid || ((unsigned long)sf.f_type == BTRFS_SUPER_MAGIC && same_btrfs(h, there, fsid));
}
