/*
 * ampmon/mapped.c - see mapped.h.
 *
 * The child shares one mapping with ampmon and publishes there what it has found
 * and which process it is at. It makes system calls only: another thread of
 * ampmon may have held any lock at the fork. Where a process does not let its
 * maps be read the child is ended by its alarm, and the next one tries it once
 * more (the first one may have had no processor for so long); the third goes on
 * behind that process. One that does not even die waits to be reaped by itself.
 */
#include "ampmon/mapped.h"

#include "log.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define PROCESS_SECONDS 3		    /* the child's alarm, for one process */
#define WATCH_SECONDS	5		    /* ampmon's look at it, should the alarm not end it */
#define CHILDREN_MAX	16U		    /* two for each process that hangs */
#define LINE_SIZE	(2U * 4096U + 256U) /* a path of which half is escaped, and the rest */
#define TABLE_SIZE	(1U << 16)
#define PATHS_MAX	(TABLE_SIZE / 2)
#define TEXT_SIZE	(2U << 20)
#define DELETED		" (deleted)"

struct shared {
	_Atomic uint32_t used; /* bytes of text that are whole paths */
	_Atomic int32_t pid;   /* in hand; those before it are done */
	_Atomic bool full, finished;
	uint32_t count;
	uint32_t table[TABLE_SIZE]; /* offset of a path and 1; 0: free */
	char text[TEXT_SIZE];
};

struct mapped_job {
	struct event_base *base;
	struct shared *shared;
	pid_t pids[MAPPED_PIDS_MAX];
	size_t count; /* 0: all */
	struct child *child;
	struct event *look;
	int32_t seen;  /* shared->pid at the last look */
	int32_t tried; /* at which a child ended before; -1: at none */
	bool again;    /* the child begins with that one */
	unsigned children;
	char error[128];
	mapped_done *done;
	void *arg;
};

/* Outlives its job when it does not die. */
struct child {
	struct mapped_job *job; /* NULL: nobody waits for it */
	struct event *end;
	int pidfd;
};

/* ---- in the child ---- */

static uint32_t hash_of(const char *path, size_t n)
{
	uint32_t h = 2166136261U;

	for (size_t i = 0; i < n; i++)
		h = (h ^ (uint8_t)path[i]) * 16777619U;
	return h;
}

static void add_path(struct shared *s, const char *path, size_t n)
{
	uint32_t slot = hash_of(path, n) % TABLE_SIZE, used = s->used;

	for (; s->table[slot]; slot = (slot + 1) % TABLE_SIZE) {
		const char *there = s->text + s->table[slot] - 1;

		if (strncmp(there, path, n) == 0 && there[n] == '\0')
			return;
	}
	if (s->count == PATHS_MAX || n + 1 > TEXT_SIZE - used) {
		s->full = true;
		return;
	}
	memcpy(s->text + used, path, n);
	s->text[used + n] = '\0';
	s->count++;
	s->used = used + (uint32_t)n + 1;
	s->table[slot] = used + 1;
}

/* Nothing that is gone, and nothing that is no file. */
static void add_found(struct shared *s, const char *path, size_t n)
{
	const size_t tail = sizeof(DELETED) - 1;

	if (n == 0 || path[0] != '/' || (n > tail && memcmp(path + n - tail, DELETED, tail) == 0))
		return;
	if (n > 7 && memcmp(path, "/memfd:", 7) == 0)
		return;
	add_path(s, path, n);
}

/* The kernel writes a newline in a name as \012. Returns the new length. */
static size_t unescape(char *p, size_t n)
{
	size_t out = 0;

	for (size_t i = 0; i < n; i++) {
		if (n - i >= 4 && memcmp(p + i, "\\012", 4) == 0) {
			p[out++] = '\n';
			i += 3;
		} else {
			p[out++] = p[i];
		}
	}
	return out;
}

/* address perms offset device inode      path */
static void take_line(struct shared *s, char *line, size_t n)
{
	char *p = line, *end = line + n;

	for (int field = 0; field < 5; field++) {
		while (p < end && *p != ' ')
			p++;
		while (p < end && *p == ' ')
			p++;
	}
	add_found(s, p, unescape(p, (size_t)(end - p)));
}

/* Whole lines of buf; the rest moves to its front. Returns its length. */
static size_t take_lines(struct shared *s, char *buf, size_t n)
{
	char *line = buf, *end;

	while ((end = memchr(line, '\n', n))) {
		take_line(s, line, (size_t)(end - line));
		n -= (size_t)(end + 1 - line);
		line = end + 1;
	}
	memmove(buf, line, n);
	return n;
}

static void read_maps(struct shared *s, int proc, const char *name)
{
	static char buf[8 * LINE_SIZE];
	int fd = openat(proc, name, O_RDONLY | O_CLOEXEC);
	size_t used = 0;
	ssize_t n;

	if (fd < 0)
		return;
	while ((n = read(fd, buf + used, sizeof(buf) - used)) > 0) {
		used = take_lines(s, buf, used + (size_t)n);
		if (used == sizeof(buf)) /* no line of the kernel's */
			break;
	}
	close(fd);
}

static void put_name(char *out, int32_t pid, const char *rest)
{
	char digits[12];
	size_t n = 0;

	do
		digits[n++] = (char)('0' + pid % 10);
	while ((pid /= 10) > 0);
	while (n > 0)
		*out++ = digits[--n];
	strcpy(out, rest);
}

static bool sees_our_files(int proc, int32_t pid)
{
	char name[32], ours[64] = "", theirs[64] = "";

	put_name(name, pid, "/ns/mnt");
	return readlinkat(proc, "self/ns/mnt", ours, sizeof(ours) - 1) > 0 &&
	       readlinkat(proc, name, theirs, sizeof(theirs) - 1) > 0 && strcmp(ours, theirs) == 0;
}

static void visit(struct shared *s, int proc, int32_t pid)
{
	static char exe[4096];
	char name[32];
	ssize_t n;

	s->pid = pid;
	alarm(PROCESS_SECONDS);
	if (!sees_our_files(proc, pid))
		return;
	put_name(name, pid, "/exe");
	n = readlinkat(proc, name, exe, sizeof(exe));
	if (n > 0 && (size_t)n < sizeof(exe))
		add_found(s, exe, (size_t)n);
	put_name(name, pid, "/maps");
	read_maps(s, proc, name);
}

static int32_t pid_of(const char *name)
{
	int64_t pid = 0;

	for (; *name >= '0' && *name <= '9' && pid <= INT32_MAX; name++)
		pid = pid * 10 + (*name - '0');
	return *name || pid > INT32_MAX ? 0 : (int32_t)pid;
}

/* /proc lists processes in the order of their ids: those up to `after` are done. */
static void visit_all(struct shared *s, int proc, int32_t after)
{
	static char buf[32768] __attribute__((aligned(8)));
	ssize_t n;

	while ((n = syscall(SYS_getdents64, proc, buf, sizeof(buf))) > 0)
		for (ssize_t at = 0; at < n;) {
			const struct dirent64 *d = (const struct dirent64 *)(const void *)(buf + at);
			int32_t pid = pid_of(d->d_name);

			at += d->d_reclen;
			if (pid > after)
				visit(s, proc, pid);
		}
}

static void visit_some(struct shared *s, int proc, const struct mapped_job *job)
{
	bool begun = s->pid == 0;

	for (size_t i = 0; i < job->count; i++) {
		if (!begun && job->pids[i] == s->pid) {
			begun = true;
			if (!job->again)
				continue;
		}
		if (begun)
			visit(s, proc, job->pids[i]);
	}
}

static void default_signals(void)
{
	sigset_t none;

	for (int sig = 1; sig < NSIG; sig++)
		signal(sig, SIG_DFL); /* fails for SIGKILL, SIGSTOP: as it should */
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
}

static _Noreturn void child_main(const struct mapped_job *job, pid_t parent)
{
	struct shared *s = job->shared;
	int proc;

	prctl(PR_SET_NAME, "ampmon-mapped");
	default_signals();
	/* Nothing of ampmon's is kept open: a child that hangs must not hold a room's channel. */
	if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || getppid() != parent ||
	    syscall(SYS_close_range, 3, ~0U, 0) != 0)
		_exit(1);
	setpriority(PRIO_PROCESS, 0, 10);
	alarm(PROCESS_SECONDS);
	proc = open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (proc < 0)
		_exit(1);
	if (job->count > 0)
		visit_some(s, proc, job);
	else
		visit_all(s, proc, s->pid - job->again);
	s->finished = true;
	_exit(0);
}

/* ---- in ampmon ---- */

static void child_free(struct child *c)
{
	if (c->end)
		event_free(c->end);
	if (c->pidfd >= 0)
		close(c->pidfd);
	free(c);
}

static void job_free(struct mapped_job *job)
{
	if (job->look)
		event_free(job->look);
	if (job->shared)
		munmap(job->shared, sizeof(*job->shared));
	free(job);
}

static void job_end(struct mapped_job *job)
{
	/* A child that was given up writes no more: it dies where it hangs. */
	if (job->shared->full && !job->error[0])
		snprintf(job->error, sizeof(job->error), "more files than %u or %u bytes of names", PATHS_MAX,
			 TEXT_SIZE);
	job->done(job->shared->text, job->shared->used, job->error, job->arg);
	job_free(job);
}

static int child_start(struct mapped_job *job);

static void go_on(struct mapped_job *job)
{
	int32_t pid = job->shared->pid;

	job->again = pid != job->tried;
	job->tried = pid;
	if (!job->again) {
		amp_warn("what process %d maps cannot be read", (int)pid);
		snprintf(job->error, sizeof(job->error), "process %d does not let its maps be read",
			 (int)pid);
	}
	if (job->children < CHILDREN_MAX && child_start(job) == 0)
		return;
	if (job->children == CHILDREN_MAX)
		snprintf(job->error, sizeof(job->error), "too many processes do not let their maps be read");
	else if (!job->error[0])
		snprintf(job->error, sizeof(job->error), "no process could be started that looks");
	job_end(job);
}

static void on_end(evutil_socket_t fd, short what, void *arg)
{
	struct child *c = arg;
	struct mapped_job *job = c->job;

	(void)what;
	waitid(P_PIDFD, (id_t)fd, &(siginfo_t){0}, WEXITED | WNOHANG);
	child_free(c);
	if (!job)
		return;
	job->child = NULL;
	if (job->shared->finished)
		job_end(job);
	else
		go_on(job);
}

/* Its alarm should have ended it: it hangs where no signal reaches it. */
static void on_look(evutil_socket_t fd, short what, void *arg)
{
	struct mapped_job *job = arg;
	struct child *c = job->child;

	(void)fd;
	(void)what;
	if (!c || job->shared->pid != job->seen) {
		job->seen = job->shared->pid;
		return;
	}
	syscall(SYS_pidfd_send_signal, c->pidfd, SIGKILL, NULL, 0);
	c->job = NULL;
	job->child = NULL;
	go_on(job);
}

/* All signals blocked until the child has its own handlers: libevent's write to ampmon's loop. */
static pid_t fork_child(const struct mapped_job *job)
{
	pid_t parent = getpid(), pid;
	sigset_t all, before;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	pid = fork();
	if (pid == 0)
		child_main(job, parent);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return pid;
}

static int child_start(struct mapped_job *job)
{
	struct child *c = calloc(1, sizeof(*c));
	pid_t pid = c ? fork_child(job) : -1;

	if (pid < 0) {
		free(c);
		return -1;
	}
	job->children++;
	job->seen = -1;
	c->pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	if (c->pidfd >= 0)
		c->end = event_new(job->base, c->pidfd, EV_READ, on_end, c);
	if (c->end && event_add(c->end, NULL) == 0) {
		c->job = job;
		job->child = c;
		return 0;
	}
	kill(pid, SIGKILL);
	waitpid(pid, NULL, WNOHANG);
	child_free(c);
	errno = ENOMEM;
	return -1;
}

struct mapped_job *mapped_start(struct event_base *base, const pid_t *pids, size_t count, mapped_done *done,
				void *arg)
{
	const struct timeval look = {.tv_sec = WATCH_SECONDS};
	struct mapped_job *job = calloc(1, sizeof(*job));
	void *shared;

	if (!job || count > MAPPED_PIDS_MAX) {
		free(job);
		errno = ENOMEM;
		return NULL;
	}
	shared = mmap(NULL, sizeof(struct shared), PROT_READ | PROT_WRITE,
		      MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	job->shared = shared == MAP_FAILED ? NULL : shared;
	job->base = base;
	job->count = count;
	job->tried = -1;
	if (count > 0)
		memcpy(job->pids, pids, count * sizeof(*pids));
	job->done = done;
	job->arg = arg;
	job->look = event_new(base, -1, EV_PERSIST, on_look, job);
	if (job->shared && job->look && event_add(job->look, &look) == 0 && child_start(job) == 0)
		return job;
	amp_error("cannot start the child that reads what processes map: %s", strerror(errno));
	job_free(job);
	return NULL;
}

void mapped_cancel(struct mapped_job *job)
{
	struct child *c = job->child;

	if (c) {
		syscall(SYS_pidfd_send_signal, c->pidfd, SIGKILL, NULL, 0);
		waitid(P_PIDFD, (id_t)c->pidfd, &(siginfo_t){0}, WEXITED | WNOHANG);
		child_free(c);
	}
	job_free(job);
}

const char *mapped_next(const char **p, const char *end)
{
	const char *path = *p;

	if (path == end)
		return NULL;
	*p = path + strlen(path) + 1;
	return path;
}
