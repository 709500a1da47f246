/*
 * ampscand/ampread/walkfile.c - a file that the walk reads itself (see walkfile.h).
 */
#include "walkfile.h"

#include "open.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#define STEP_BYTES (UINT64_C(2) * 1024 * 1024)
#define READ_MAX   (UINT64_C(64) << 30) /* as of any file; holes cost their maker nothing */

static bool failed(struct amp_walk_file *f, int error)
{
	f->out.error = error;
	f->out.status = amp_open_status(error);
	return false;
}

/* What the name leads to is looked at before it is opened for reading, and it
 * is what was looked at that is opened. */
static bool inspect(struct amp_walk_file *f, int path_fd)
{
	if (!amp_hash_identity(path_fd, &f->out) || !amp_hash_permitted(READ_MAX, &f->out))
		return false;
	if (amp_handle_of_fd(path_fd, &f->handle) < 0)
		return failed(f, errno);
	f->fd = amp_open_again(path_fd, O_RDONLY | O_NONBLOCK | O_NOCTTY);
	return f->fd >= 0 || failed(f, errno);
}

bool amp_walk_file_begin(struct amp_walk_file *f, int dirfd, const char *name)
{
	int path_fd = openat(dirfd, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	bool begun;

	memset(f, 0, sizeof(*f));
	f->fd = -1;
	if (path_fd < 0)
		return failed(f, errno);
	begun = inspect(f, path_fd) && amp_hash_begin(&f->hash, f->fd, READ_MAX, &f->out);
	close(path_fd);
	if (!begun)
		amp_walk_file_end(f);
	return begun;
}

bool amp_walk_file_step(struct amp_walk_file *f)
{
	bool over = amp_hash_step(&f->hash, STEP_BYTES, &f->out);

	if (over)
		amp_walk_file_end(f);
	return over;
}

void amp_walk_file_end(struct amp_walk_file *f)
{
	amp_hash_free(&f->hash);
	if (f->fd >= 0)
		close(f->fd);
	f->fd = -1;
}
