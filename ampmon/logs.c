/*
 * ampmon/logs.c - log files and their rotation (see logs.h).
 * Must not own: what a room writes.
 */
#include "ampmon/logs.h"

#include "ampmon/child.h"
#include "clock.h"
#include "counter.h"
#include "log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define NAME_SIZE      64
#define LINE_MAX_BYTES 1024

static struct amp_counter lost = AMP_COUNTER("log.cli_lost", true);

struct log_file {
	char name[NAME_SIZE];
	int fd;
	bool rotating;
};

struct mon_logs {
	int dir;
	struct log_file files[MON_LOG_COUNT];
	int events_before;
	struct mon_logs_ops ops;
};

struct rotation {
	struct amp_io_job job; /* first: cast back */
	struct mon_logs *logs;
	unsigned file;
	unsigned keep;
	int fd, error;
};

struct cli_line {
	struct amp_io_job job; /* first: cast back */
	struct mon_logs *logs;
	char text[LINE_MAX_BYTES];
};

static bool is_ours(int fd)
{
	struct stat st;

	return fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_uid == geteuid();
}

int mon_log_file_open(int dir, const char *name, bool readable)
{
	/* O_NONBLOCK: a FIFO in the file's place must not stop ampmon. */
	int flags = O_APPEND | O_CREAT | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK;
	int fd = openat(dir, name, flags | (readable ? O_RDWR : O_WRONLY), 0600);

	if (fd < 0)
		return -1;
	if (!is_ours(fd) || fchmod(fd, 0600) != 0) {
		close(fd);
		errno = EPERM;
		return -1;
	}
	return mon_fd_high(fd);
}

/* -1: there is none, or none to be trusted. */
static int open_before(int dir, const char *name)
{
	char before[NAME_SIZE + 16];
	int fd;

	snprintf(before, sizeof(before), "%s.1", name);
	fd = openat(dir, before, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
	if (fd >= 0 && !is_ours(fd)) {
		close(fd);
		return -1;
	}
	return fd < 0 ? -1 : mon_fd_high(fd);
}

static int shift(int dir, const char *name, unsigned from)
{
	char old[NAME_SIZE + 16], new[NAME_SIZE + 16];

	if (from == 0)
		snprintf(old, sizeof(old), "%s", name);
	else
		snprintf(old, sizeof(old), "%s.%u", name, from);
	snprintf(new, sizeof(new), "%s.%u", name, from + 1);
	return renameat(dir, old, dir, new) == 0 || errno == ENOENT ? 0 : -1;
}

int mon_log_file_rotate(int dir, const char *name, unsigned keep, bool readable)
{
	for (unsigned i = keep; i > 0; i--)
		if (shift(dir, name, i - 1) != 0)
			return -1;
	if (keep == 0 && unlinkat(dir, name, 0) != 0 && errno != ENOENT)
		return -1;
	return mon_log_file_open(dir, name, readable);
}

static void name_file(unsigned file, char *name)
{
	const struct amp_role *row = amp_role((enum amp_role_id)file);

	if (row)
		snprintf(name, NAME_SIZE, "%s.log", row->name);
	else
		snprintf(name, NAME_SIZE, "%s", file == MON_LOG_EVENTS ? "events.json" : "ampcli.log");
}

static int open_all(struct mon_logs *l)
{
	for (unsigned i = 0; i < MON_LOG_COUNT; i++) {
		name_file(i, l->files[i].name);
		l->files[i].fd = mon_log_file_open(l->dir, l->files[i].name, i == MON_LOG_EVENTS);
		if (l->files[i].fd < 0)
			return -1;
	}
	l->events_before = open_before(l->dir, l->files[MON_LOG_EVENTS].name);
	return 0;
}

/* Who may write in the directory may take the files' places. */
static int open_dir(const char *path)
{
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct stat st;

	if (fd < 0)
		return -1;
	if (fstat(fd, &st) == 0 && st.st_uid == geteuid() && (st.st_mode & 022) == 0)
		return fd;
	close(fd);
	errno = EPERM;
	return -1;
}

struct mon_logs *mon_logs_new(const char *dir, const struct mon_logs_ops *ops, char *err, size_t size)
{
	struct mon_logs *l = calloc(1, sizeof(*l));

	if (!l) {
		snprintf(err, size, "out of memory");
		return NULL;
	}
	l->ops = *ops;
	l->events_before = -1;
	for (size_t i = 0; i < MON_LOG_COUNT; i++)
		l->files[i].fd = -1;
	l->dir = open_dir(dir);
	if (l->dir < 0 || open_all(l) != 0) {
		snprintf(err, size,
			 "a log file in %s cannot be opened: %s; see that the directory is root's and has "
			 "space",
			 dir, strerror(errno));
		mon_logs_free(l);
		return NULL;
	}
	return l;
}

void mon_logs_free(struct mon_logs *l)
{
	if (!l)
		return;
	for (size_t i = 0; i < MON_LOG_COUNT; i++)
		if (l->files[i].fd >= 0)
			close(l->files[i].fd);
	if (l->events_before >= 0)
		close(l->events_before);
	if (l->dir >= 0)
		close(l->dir);
	free(l);
}

int mon_logs_fd(const struct mon_logs *l, unsigned file)
{
	return l->files[file].fd;
}

int mon_logs_events_before(const struct mon_logs *l)
{
	return l->events_before;
}

static bool rotation_run(struct amp_io_job *job)
{
	struct rotation *r = (struct rotation *)job;

	r->fd = mon_log_file_rotate(r->logs->dir, r->logs->files[r->file].name, r->keep,
				    r->file == MON_LOG_EVENTS);
	r->error = r->fd < 0 ? errno : 0;
	return true;
}

/* What was the file is the one before. */
static void keep_before(struct mon_logs *l, int fd)
{
	if (l->events_before >= 0)
		close(l->events_before);
	l->events_before = fcntl(fd, F_DUPFD_CLOEXEC, fd); /* as high as it */
}

static void rotation_done(struct amp_io_job *job)
{
	struct rotation *r = (struct rotation *)job;
	struct log_file *f = &r->logs->files[r->file];

	f->rotating = false;
	if (r->fd < 0) {
		amp_warn("%s could not be rotated: %s", f->name, strerror(r->error));
	} else {
		if (r->file == MON_LOG_EVENTS)
			keep_before(r->logs, f->fd);
		/* In place and at once: another thread may be writing. */
		dup3(r->fd, f->fd, O_CLOEXEC);
		close(r->fd);
		if (r->file != MON_LOG_CLI)
			r->logs->ops.replaced(r->file, f->fd, r->logs->ops.arg);
	}
	free(r);
}

static void rotate(struct mon_logs *l, struct amp_iothread *io, unsigned file, unsigned keep)
{
	struct rotation *r = calloc(1, sizeof(*r));

	if (!r)
		return; /* at the next look */
	r->job.run = rotation_run;
	r->job.done = rotation_done;
	r->logs = l;
	r->file = file;
	r->keep = keep;
	l->files[file].rotating = true;
	amp_iothread_submit(io, &r->job);
}

void mon_logs_check(struct mon_logs *l, struct amp_iothread *io, uint64_t max_size, unsigned keep)
{
	for (unsigned i = 0; i < MON_LOG_COUNT; i++) {
		struct stat st;

		if (l->files[i].rotating || fstat(l->files[i].fd, &st) != 0)
			continue;
		if ((uint64_t)st.st_size > max_size)
			rotate(l, io, i, keep);
	}
}

static bool cli_line_run(struct amp_io_job *job)
{
	struct cli_line *line = (struct cli_line *)job;
	size_t n = strlen(line->text);

	if (write(line->logs->files[MON_LOG_CLI].fd, line->text, n) != (ssize_t)n)
		amp_counter_add(&lost, 1);
	return true;
}

static void cli_line_done(struct amp_io_job *job)
{
	free(job);
}

void mon_logs_cli(struct mon_logs *l, struct amp_iothread *io, const char *fmt, ...)
{
	struct cli_line *line = calloc(1, sizeof(*line));
	char when[32], text[LINE_MAX_BYTES - 48];
	va_list ap;

	if (!line) {
		amp_counter_add(&lost, 1);
		return;
	}
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	snprintf(line->text, sizeof(line->text), "%s %s\n",
		 amp_clock_rfc3339(amp_clock_realtime(), when, sizeof(when)), text);
	line->job.run = cli_line_run;
	line->job.done = cli_line_done;
	line->logs = l;
	amp_iothread_submit(io, &line->job);
}
