/*
 * ampmon/marks.c - see marks.h.
 *
 * The child may hang in open(2) on a mount whose server is dead; ampmon never
 * does. Between fork and exit the child makes system calls only: another
 * thread of ampmon (the log's) may have held any lock at the fork. Its end is
 * seen by pidfd, so that whoever reaps children in ampmon may do so first.
 */
#include "marks.h"

#include "fileid.h"
#include "log.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/fanotify.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#define CHILD_SECONDS  5
#define PARENT_SECONDS 8
#define CHILD_GROUP    3
#define CHILD_PIPE     4

struct mark_job {
	struct event *end;
	struct mark_order order;
	int pidfd, pipe;
	mark_done *done;
	void *arg;
};

/* ---- in the child ---- */

static const int child_signals[] = {SIGALRM, SIGTERM, SIGINT, SIGHUP, SIGCHLD, SIGUSR1, SIGUSR2, SIGPIPE};

static void child_signals_default(void)
{
	sigset_t none;

	for (size_t i = 0; i < sizeof(child_signals) / sizeof(child_signals[0]); i++)
		signal(child_signals[i], SIG_DFL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
}

/* Nothing of ampmon's is kept open: a child that hangs must not hold a room's channel. */
static int child_descriptors(int group, int out)
{
	int g = fcntl(group, F_DUPFD, 16), o = fcntl(out, F_DUPFD, 16);

	if (g < 0 || o < 0 || dup2(g, CHILD_GROUP) < 0 || dup2(o, CHILD_PIPE) < 0)
		return -1;
	return (int)syscall(SYS_close_range, CHILD_PIPE + 1, ~0U, 0);
}

static int open_path(const char *path)
{
	return open(path, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
}

static int mount_of(int fd, struct statx *sx)
{
	return statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC | AT_NO_AUTOMOUNT,
		     STATX_BASIC_STATS | STATX_MNT_ID, sx);
}

/* By mount id: the device of a btrfs subvolume is not the mount table's. */
static bool is_meant(int fd, const struct mark_candidate *c)
{
	struct statx sx;

	if (mount_of(fd, &sx) < 0)
		return false;
	if (sx.stx_mask & STATX_MNT_ID)
		return sx.stx_mnt_id == (uint64_t)c->mount_id;
	return sx.stx_dev_major == c->major && sx.stx_dev_minor == c->minor;
}

static int open_candidate(const struct mark_order *o, uint32_t *which)
{
	for (size_t i = 0; i < o->count; i++) {
		int fd = open_path(o->candidates[i].point);

		if (fd < 0)
			continue;
		if (is_meant(fd, &o->candidates[i])) {
			*which = (uint32_t)i;
			return fd;
		}
		close(fd);
	}
	return -1;
}

static bool layer_covered(const struct mark_order *o, const char *layer)
{
	struct statx sx;
	int fd = open(layer, O_PATH | O_DIRECTORY | O_CLOEXEC);
	bool covered = false;

	if (fd < 0)
		return false;
	if (mount_of(fd, &sx) == 0 && (sx.stx_mask & STATX_MNT_ID))
		for (size_t i = 0; i < o->covered_count; i++)
			covered |= sx.stx_mnt_id == (uint64_t)o->covered_by[i];
	close(fd);
	return covered;
}

static bool all_layers_covered(const struct mark_order *o)
{
	if (!o->layers)
		return false;
	for (char **l = o->layers; *l; l++)
		if (!layer_covered(o, *l))
			return false;
	return true;
}

/* 0, or why it cannot be marked. */
static int look_at_file_system(const struct mark_order *o, int fd, struct mark_result *r)
{
	struct amp_handle h;
	struct statfs sf;

	if (fstatfs(fd, &sf) < 0 || amp_fsid_of_fd(fd, &r->fsid) < 0)
		return errno;
	if (amp_handle_at(fd, "", AT_EMPTY_PATH, &h, NULL) == 0)
		r->btrfs = amp_fsid_of_btrfs(r->fsid, &h);
	return o->by_handle && !amp_handles_last((uint64_t)sf.f_type) ? EOPNOTSUPP : 0;
}

static void child_work(const struct mark_order *o, struct mark_result *r)
{
	unsigned flags = FAN_MARK_FILESYSTEM | (o->remove ? FAN_MARK_REMOVE : FAN_MARK_ADD);
	int fd = open_candidate(o, &r->candidate);

	r->outcome = MARK_NO_MOUNT;
	if (fd < 0)
		return;
	r->outcome = MARK_REFUSED;
	r->error = look_at_file_system(o, fd, r);
	if (r->error)
		return;
	if (all_layers_covered(o)) {
		r->outcome = MARK_COVERED;
		return;
	}
	/* A null path would want a descriptor that is no O_PATH. */
	if (fanotify_mark(CHILD_GROUP, flags, o->mask, fd, ".") < 0)
		r->error = errno;
	else
		r->outcome = MARK_DONE;
}

static _Noreturn void child_main(const struct mark_order *o, int out)
{
	struct mark_result r;

	memset(&r, 0, sizeof(r));
	prctl(PR_SET_NAME, "ampmon-mark");
	child_signals_default();
	alarm(CHILD_SECONDS);
	if (child_descriptors(o->group, out) < 0)
		_exit(1);
	child_work(o, &r);
	_exit(write(CHILD_PIPE, &r, sizeof(r)) == sizeof(r) ? 0 : 1);
}

/* ---- in ampmon ---- */

void mark_order_free(struct mark_order *o)
{
	for (size_t i = 0; i < o->count; i++)
		free(o->candidates[i].point);
	free(o->candidates);
	for (char **l = o->layers; l && *l; l++)
		free(*l);
	free(o->layers);
	free(o->covered_by);
	memset(o, 0, sizeof(*o));
}

static void job_free(struct mark_job *job)
{
	if (job->end)
		event_free(job->end);
	if (job->pidfd >= 0)
		close(job->pidfd);
	if (job->pipe >= 0)
		close(job->pipe);
	mark_order_free(&job->order);
	free(job);
}

static void read_result(const struct mark_job *job, struct mark_result *r)
{
	memset(r, 0, sizeof(*r));
	if (read(job->pipe, r, sizeof(*r)) == (ssize_t)sizeof(*r) && r->outcome <= MARK_REFUSED &&
	    (r->candidate < job->order.count || r->outcome == MARK_NO_MOUNT))
		return;
	memset(r, 0, sizeof(*r)); /* MARK_SILENT */
}

static void job_finish(struct mark_job *job, const struct mark_result *r)
{
	mark_done *done = job->done;

	job->done = NULL;
	if (done)
		done(job, r, job->arg);
}

/* A child that does not even die stays until the kernel lets go of it; nobody waits for it. */
static void job_late(struct mark_job *job)
{
	struct mark_result r;

	memset(&r, 0, sizeof(r));
	syscall(SYS_pidfd_send_signal, job->pidfd, SIGKILL, NULL, 0);
	event_add(job->end, NULL);
	job_finish(job, &r);
}

static void on_end(evutil_socket_t fd, short what, void *arg)
{
	struct mark_job *job = arg;
	struct mark_result r;
	siginfo_t info;

	if (what & EV_TIMEOUT) {
		job_late(job);
		return;
	}
	/* ECHILD: ampmon's own reaping was first. */
	waitid((idtype_t)P_PIDFD, (id_t)fd, &info, WEXITED | WNOHANG);
	read_result(job, &r);
	job_finish(job, &r);
	job_free(job);
}

/* All signals blocked until the child has its own handlers: libevent's write to ampmon's loop. */
static pid_t fork_child(const struct mark_order *order, int out)
{
	sigset_t all, before;
	pid_t pid;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	pid = fork();
	if (pid == 0)
		child_main(order, out);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return pid;
}

/* Between fork and pidfd_open nobody reaps: ampmon does so in this thread only. */
static int run_child(struct mark_job *job, struct event_base *base)
{
	const struct timeval limit = {PARENT_SECONDS, 0};
	int ends[2];
	pid_t pid;

	if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) < 0)
		return -1;
	job->pipe = ends[0];
	pid = fork_child(&job->order, ends[1]);
	close(ends[1]);
	if (pid < 0)
		return -1;
	job->pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	if (job->pidfd >= 0)
		job->end = event_new(base, job->pidfd, EV_READ, on_end, job);
	if (job->end && event_add(job->end, &limit) == 0)
		return 0;
	kill(pid, SIGKILL);
	waitpid(pid, NULL, WNOHANG);
	errno = ENOMEM;
	return -1;
}

struct mark_job *mark_start(struct event_base *base, struct mark_order *order, mark_done *done, void *arg)
{
	struct mark_job *job = calloc(1, sizeof(*job));
	int saved;

	if (!job) {
		mark_order_free(order);
		errno = ENOMEM;
		return NULL;
	}
	job->order = *order;
	memset(order, 0, sizeof(*order));
	job->pidfd = job->pipe = -1;
	job->done = done;
	job->arg = arg;
	if (run_child(job, base) == 0)
		return job;
	saved = errno;
	amp_error("cannot start the child that marks: %s", strerror(saved));
	job_free(job);
	errno = saved;
	return NULL;
}

const struct mark_order *mark_job_order(const struct mark_job *job)
{
	return &job->order;
}

void mark_abandon(struct mark_job *job)
{
	job->done = NULL;
}

void mark_cancel(struct mark_job *job)
{
	syscall(SYS_pidfd_send_signal, job->pidfd, SIGKILL, NULL, 0);
	waitid((idtype_t)P_PIDFD, (id_t)job->pidfd, &(siginfo_t){0}, WEXITED | WNOHANG);
	job_free(job);
}

static int add_device(uint32_t **devices, size_t *count, uint32_t device)
{
	uint32_t *larger = realloc(*devices, (*count + 1) * sizeof(*larger));

	if (!larger)
		return -1;
	larger[(*count)++] = device;
	*devices = larger;
	return 0;
}

int marks_read(int group, uint32_t **devices, size_t *count)
{
	char path[64], line[512];
	FILE *in;
	int rc = 0;

	*devices = NULL;
	*count = 0;
	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", group);
	in = fopen(path, "re");
	if (!in)
		return -1;
	while (rc == 0 && fgets(line, sizeof(line), in)) {
		uint32_t device;

		if (sscanf(line, "fanotify sdev:%" SCNx32 " ", &device) == 1)
			rc = add_device(devices, count, device);
	}
	if (ferror(in))
		rc = -1;
	fclose(in);
	if (rc < 0) {
		free(*devices);
		*devices = NULL;
		*count = 0;
	}
	return rc;
}
