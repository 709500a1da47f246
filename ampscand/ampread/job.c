/*
 * ampscand/ampread/job.c - one item of a READ (see job.h).
 */
#include "job.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A hash yields after so much, so that short jobs get their turn; so many
 * that need several turns are begun at once, so that a turn comes round soon. */
#define STEP_BYTES (UINT64_C(2) * 1024 * 1024)
#define LARGE_MAX  8

static void failed(struct amp_read_job *job, int error)
{
	job->out.error = error;
	job->out.status = amp_open_status(error);
}

/* The place's fd, or -1 with the outcome set. */
static int mount_fd(struct amp_read_job *job)
{
	int fd = amp_place_fd(job->place);

	if (fd >= 0)
		return fd;
	failed(job, errno);
	/* A shortage of ours says nothing about the mount. */
	if (job->out.status != AMP__READ_RESULT__STATUS__BUSY)
		job->out.status = AMP__READ_RESULT__STATUS__NO_MOUNT;
	return -1;
}

/* O_PATH fd of the item: opening that way has no effect on a FIFO or device. */
static int look(struct amp_read_job *job)
{
	int mount = mount_fd(job), fd;

	if (mount < 0)
		return -1;
	fd = amp_open_handle(mount, &job->handle, O_PATH);
	if (fd < 0)
		failed(job, errno);
	return fd;
}

static void find_path(struct amp_read_job *job, int fd)
{
	static char path[AMP_OPEN_PATH_SIZE]; /* the thread's */
	struct amp_read_outcome *out = &job->out;

	out->status = amp_open_path(fd, job->place ? amp_place_mount_point(job->place) : "", path,
				    &out->path_length);
	if (out->status == AMP__READ_RESULT__STATUS__UNREADABLE)
		out->error = errno;
	if (out->status != AMP__READ_RESULT__STATUS__OK)
		return;
	out->path = strndup(path, out->path_length);
	if (!out->path)
		failed(job, ENOMEM);
}

static bool run_path(struct amp_read_job *job)
{
	int fd = job->by_fd ? job->fd : look(job);

	if (fd < 0)
		return true;
	find_path(job, fd);
	if (!job->by_fd)
		close(fd);
	return true;
}

static bool run_identity(struct amp_read_job *job)
{
	int fd = job->by_fd ? job->fd : look(job);

	if (fd < 0)
		return true;
	amp_hash_identity(fd, &job->out);
	if (!job->by_fd)
		close(fd);
	return true;
}

/* May the item be hashed, and is it a matter of several turns? False: the outcome says why not. */
static bool inspect(struct amp_read_job *job)
{
	int fd = job->by_fd ? job->fd : look(job);
	bool fit;

	if (fd < 0)
		return false;
	fit = amp_hash_identity(fd, &job->out) && amp_hash_permitted(job->hash_limit, &job->out);
	job->large = fit && job->out.identity.size > STEP_BYTES;
	if (!job->by_fd)
		close(fd);
	return fit;
}

/* The handle names the inode and its generation, so what is opened is what
 * was found to be a regular file. */
static bool open_for_hash(struct amp_read_job *job)
{
	int mount = mount_fd(job);

	if (mount < 0)
		return false;
	/* Non-blocking: whoever holds a lease would keep us for 45 s. */
	job->fd = amp_open_handle(mount, &job->handle, O_RDONLY | O_NONBLOCK | O_NOCTTY);
	if (job->fd < 0)
		failed(job, errno);
	return job->fd >= 0;
}

static bool must_wait(const struct amp_read_job *job)
{
	return job->large && job->shop->hashing >= LARGE_MAX;
}

static bool run_hash(struct amp_read_job *job)
{
	bool over;

	if (!job->begun) {
		if (must_wait(job))
			return false;
		if (!inspect(job))
			return true;
		if (must_wait(job))
			return false;
		if ((!job->by_fd && !open_for_hash(job)) ||
		    !amp_hash_begin(&job->hash, job->fd, job->hash_limit, &job->out))
			return true;
		amp_hash_keep(&job->hash, job->snapshot_max, job->archive_max);
		job->begun = true;
		job->shop->hashing += job->large;
	}
	over = amp_hash_step(&job->hash, STEP_BYTES, &job->out);
	amp_io_step(job->shop->io);
	return over;
}

/* For who keeps what we only look at: read-only all the same. */
static bool run_open_file(struct amp_read_job *job)
{
	int fd;

	if (amp_handle_is_stand_in(&job->handle)) {
		failed(job, ESTALE);
		return true;
	}
	fd = look(job);
	if (fd < 0)
		return true;
	if (amp_hash_identity(fd, &job->out) && amp_hash_permitted(0, &job->out) && open_for_hash(job)) {
		job->opened = job->fd;
		job->fd = -1;
	}
	close(fd);
	return true;
}

static void keep_path(struct amp_read_job *job, const char *path, size_t length)
{
	job->out.path = strndup(path, length);
	job->out.path_length = job->out.path ? length : 0;
}

/* The name of an open directory is not all: without one it is open all the same. */
static bool begin_naming(struct amp_read_job *job)
{
	static char path[AMP_OPEN_PATH_SIZE]; /* the thread's */
	const char *mount_point = amp_place_mount_point(job->place);
	size_t length = 0;
	amp_read_status s = amp_open_path(job->opened, mount_point, path, &length);

	if (s == AMP__READ_RESULT__STATUS__OK)
		keep_path(job, path, length);
	else if (s == AMP__READ_RESULT__STATUS__GONE)
		failed(job, ESTALE);
	else if (s == AMP__READ_RESULT__STATUS__UNRESOLVED && errno == ENAMETOOLONG)
		job->climb = amp_climb_new(job->opened, mount_point);
	return job->climb == NULL;
}

static bool go_on_naming(struct amp_read_job *job)
{
	const char *path;
	size_t length;

	amp_io_step(job->shop->io);
	if (!amp_climb_step(job->climb))
		return false;
	path = amp_climb_path(job->climb, &length);
	if (path)
		keep_path(job, path, length);
	return true;
}

static bool run_open_directory(struct amp_read_job *job)
{
	int mount;

	if (job->climb)
		return go_on_naming(job);
	if (amp_handle_is_stand_in(&job->handle)) {
		failed(job, ESTALE);
		return true;
	}
	mount = mount_fd(job);
	if (mount < 0)
		return true;
	job->opened = amp_open_handle(mount, &job->handle, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_NONBLOCK);
	if (job->opened < 0) {
		failed(job, errno);
		return true;
	}
	job->out.status = AMP__READ_RESULT__STATUS__OK;
	return begin_naming(job);
}

bool amp_read_job_opens(Amp__ReadItem__Want want)
{
	return want == AMP__READ_ITEM__WANT__OPEN_FILE || want == AMP__READ_ITEM__WANT__OPEN_DIRECTORY;
}

static bool (*const runs[])(struct amp_read_job *job) = {
	[AMP__READ_ITEM__WANT__DIRECTORY_PATH] = run_path,
	[AMP__READ_ITEM__WANT__HASH] = run_hash,
	[AMP__READ_ITEM__WANT__IDENTITY] = run_identity,
	[AMP__READ_ITEM__WANT__OPEN_FILE] = run_open_file,
	[AMP__READ_ITEM__WANT__OPEN_DIRECTORY] = run_open_directory,
};

/* Closes what the job holds, in the thread: close(2) may wait for a disk. */
static void let_go(struct amp_read_job *job)
{
	if (job->begun)
		job->shop->hashing -= job->large;
	job->begun = false;
	amp_hash_free(&job->hash);
	amp_climb_free(job->climb);
	job->climb = NULL;
	if (job->fd >= 0)
		close(job->fd);
	job->fd = -1;
	if (job->opened >= 0 && job->out.status != AMP__READ_RESULT__STATUS__OK) {
		close(job->opened);
		job->opened = -1;
	}
}

bool amp_read_job_run(struct amp_io_job *io)
{
	struct amp_read_job *job = (struct amp_read_job *)io;

	/* Nobody waits for the answers of an old link. */
	if (job->generation == atomic_load(&job->shop->generation) && !runs[job->want](job))
		return false;
	let_go(job);
	amp_io_step(job->shop->io);
	return true;
}

void amp_read_job_free(struct amp_read_job *job)
{
	amp_hash_free(&job->hash);
	amp_climb_free(job->climb);
	if (job->fd >= 0)
		close(job->fd);
	if (job->opened >= 0)
		close(job->opened);
	if (job->out.has_snapshot)
		close(job->out.snapshot);
	free(job->out.path);
	free(job);
}
