/*
 * ampquard/neutral.c - see neutral.h. The inode is reached through the
 * descriptor that was judged and through nothing else; opening with O_NONBLOCK
 * gives EAGAIN under a lease, which would stop us for 45 s otherwise.
 */
#include "neutral.h"

#include "meta.h"
#include "step.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

static const struct {
	int error;
	enum neutral_outcome outcome;
} outcomes[] = {
	{0, NEUTRAL_DONE},	    {ETXTBSY, NEUTRAL_RUNNING}, {EAGAIN, NEUTRAL_LEASED},
	{EROFS, NEUTRAL_READ_ONLY}, {EPERM, NEUTRAL_IMMUTABLE},
};

static const char *const texts[] = {
	[NEUTRAL_DONE] = "The file is empty.",
	[NEUTRAL_RUNNING] = "A process is running the file, so it cannot be emptied; it is tried again "
			    "when that process has ended.",
	[NEUTRAL_LEASED] = "A process holds a lease on the file, which the kernel is taking away; it is "
			   "tried again shortly.",
	[NEUTRAL_READ_ONLY] = "The file system is read-only; it is tried again from time to time, and "
			      "succeeds when the file system is writable.",
	[NEUTRAL_IMMUTABLE] = "The kernel does not permit a change of the file, also without its immutable "
			      "and append-only flags; it is tried again from time to time.",
	[NEUTRAL_FAILED] = "The file could not be emptied; it is tried again from time to time.",
};

const char *neutral_text(enum neutral_outcome o)
{
	if ((size_t)o >= sizeof(texts) / sizeof(texts[0]))
		o = NEUTRAL_FAILED;
	return texts[o];
}

enum neutral_outcome neutral_of_errno(int error)
{
	for (size_t i = 0; i < sizeof(outcomes) / sizeof(outcomes[0]); i++)
		if (outcomes[i].error == error)
			return outcomes[i].outcome;
	return NEUTRAL_FAILED;
}

/* A descriptor for writing of the same inode; -1 and errno. */
static int reopen(int file)
{
	char path[64];
	struct stat want, is;
	int fd;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", file);
	fd = open(path, O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	if (fd < 0)
		return -1;
	/* Both afterwards: opening for writing may copy a file of an overlay up. */
	if (fstat(fd, &is) == 0 && fstat(file, &want) == 0) {
		if (is.st_ino == want.st_ino && is.st_dev == want.st_dev)
			return fd;
		errno = ESTALE;
	}
	const int error = errno;

	close(fd);
	errno = error;
	return -1;
}

/* 0, or -1 and errno. */
static int empty(int file)
{
	int fd = reopen(file), rc, error;

	if (fd < 0)
		return -1;
	rc = ftruncate(fd, 0);
	if (rc == 0) {
		step("emptied");
		rc = fsync(fd);
	}
	error = errno;
	close(fd);
	errno = error;
	return rc;
}

enum neutral_outcome neutral_empty(int file)
{
	struct stat st;
	uint32_t flags;

	if (fstat(file, &st) < 0)
		return NEUTRAL_FAILED;
	if (!S_ISREG(st.st_mode)) {
		errno = EINVAL;
		return NEUTRAL_FAILED;
	}
	if (st.st_size == 0) /* by one that died before it was synced, or by its owner */
		return fsync(file) == 0 ? NEUTRAL_DONE : neutral_of_errno(errno);
	flags = meta_flags(file) & (FS_IMMUTABLE_FL | FS_APPEND_FL);
	if (flags && meta_unlock(file) < 0)
		return neutral_of_errno(errno);
	if (empty(file) == 0)
		return NEUTRAL_DONE;
	const int error = errno;

	if (flags)
		(void)meta_set_flags(file, meta_flags(file) | flags);
	errno = error;
	return neutral_of_errno(error);
}
