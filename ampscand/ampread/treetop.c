/*
 * ampscand/ampread/treetop.c - where an ordered walk begins (see treetop.h).
 */
#include "treetop.h"

#include "clock.h"
#include "pseudo.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/vfs.h>
#include <unistd.h>

#define AGE_NS AMP_NS_PER_SEC

int amp_tree_look(int dirfd, const char *name, int flags, struct statx *sx)
{
	return statx(dirfd, name, flags | AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | AT_STATX_DONT_SYNC,
		     STATX_BASIC_STATS | STATX_MNT_ID, sx);
}

void amp_spot_from_statx(const struct statx *sx, struct amp_spot *spot)
{
	*spot = (struct amp_spot){
		.ino = sx->stx_ino,
		.mount = sx->stx_mask & STATX_MNT_ID ? sx->stx_mnt_id : 0,
		.dev_major = sx->stx_dev_major,
		.dev_minor = sx->stx_dev_minor,
	};
}

bool amp_spot_equal(const struct amp_spot *a, const struct amp_spot *b)
{
	return a->ino == b->ino && a->mount == b->mount && a->dev_major == b->dev_major &&
	       a->dev_minor == b->dev_minor;
}

/* The device alone does not tell: a btrfs subvolume or an overlay's file has another one in the same mount.
 */
bool amp_tree_top_is_beyond(const struct amp_tree_top *t, const struct statx *sx)
{
	if (sx->stx_attributes & STATX_ATTR_AUTOMOUNT)
		return true;
	if (t->spot.mount && sx->stx_mask & STATX_MNT_ID)
		return sx->stx_mnt_id != t->spot.mount;
	if (sx->stx_attributes_mask & STATX_ATTR_MOUNT_ROOT)
		return (sx->stx_attributes & STATX_ATTR_MOUNT_ROOT) != 0;
	return sx->stx_dev_major != t->spot.dev_major || sx->stx_dev_minor != t->spot.dev_minor;
}

static const char *look_at_file_system(struct amp_tree_top *t, int fd)
{
	struct statfs sf;

	if (fstatfs(fd, &sf) < 0)
		return "the path's file system cannot be looked at";
	errno = 0;
	if (amp_pseudo_type((uint64_t)sf.f_type))
		return "a pseudo file system";
	if (amp_fsid_of_fd(fd, &t->fsid) < 0)
		return "the path's file system cannot be looked at";
	t->handles = amp_handle_at(fd, "", AT_EMPTY_PATH, &t->handle, NULL) == 0;
	if (!t->handles && errno != EOPNOTSUPP)
		return "the path has no file handle";
	return NULL;
}

/* All that is told of it, from an O_PATH descriptor: opening it that way had no effect. */
static const char *inspect(struct amp_tree_top *t, int fd)
{
	struct statx sx;

	if (amp_tree_look(fd, "", AT_EMPTY_PATH, &sx) < 0)
		return "the path cannot be looked at";
	errno = 0;
	t->regular = S_ISREG(sx.stx_mode);
	if (!t->regular && !S_ISDIR(sx.stx_mode))
		return "neither a directory nor a regular file";
	amp_spot_from_statx(&sx, &t->spot);
	if (amp_open_path(fd, "", t->real, &t->real_length) != AMP__READ_RESULT__STATUS__OK)
		return "the path has no name on this host";
	return look_at_file_system(t, fd);
}

/* The descriptor itself for a file, one to read from for a directory. Takes fd over. */
static const char *keep(struct amp_tree_top *t, int fd)
{
	int error;

	t->since = amp_clock_monotonic();
	t->fd = t->regular ? fd : amp_open_again(fd, O_RDONLY | O_DIRECTORY | O_NONBLOCK);
	error = errno;
	if (t->fd != fd)
		close(fd);
	errno = error;
	return t->fd < 0 ? "the path cannot be read" : NULL;
}

const char *amp_tree_top_open(struct amp_tree_top *t)
{
	int fd = open(t->path, O_PATH | O_CLOEXEC), error;
	const char *why;

	if (fd < 0)
		return "the path cannot be opened";
	why = inspect(t, fd);
	if (!why)
		return keep(t, fd);
	error = errno;
	close(fd);
	errno = error;
	return why;
}

const char *amp_tree_top_renew(struct amp_tree_top *t)
{
	struct amp_spot spot;
	struct statx sx;
	int fd;

	if (t->fd >= 0 && amp_clock_monotonic() - t->since < AGE_NS)
		return NULL;
	amp_tree_top_close(t);
	fd = open(t->path, O_PATH | O_CLOEXEC);
	if (fd < 0)
		return "the path is gone";
	if (amp_tree_look(fd, "", AT_EMPTY_PATH, &sx) == 0) {
		amp_spot_from_statx(&sx, &spot);
		if (amp_spot_equal(&spot, &t->spot))
			return keep(t, fd);
	}
	close(fd);
	errno = 0;
	return "the path leads elsewhere now";
}

void amp_tree_top_close(struct amp_tree_top *t)
{
	if (t->fd >= 0)
		close(t->fd);
	t->fd = -1;
}
