/*
 * ampmon/guard.c - without systemd: a parent that forks ampmon, waits, and
 * forks it again.
 *
 * Owns: going to the background, the pid file, the back-off of ampmon itself,
 * handing signals on. Must not own: anything of the suite; it holds no
 * descriptor but the lock and keeps nothing in memory that could go wrong.
 */
#include "ampmon/mon.h"

#include "clock.h"
#include "log.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define START_WAIT_S 30 /* the caller's patience */
#define STOP_WAIT_NS (20 * AMP_NS_PER_SEC)

struct guard {
	struct mon_start *start;
	pid_t child;
	int64_t born_ns;
	bool stopping;
	int64_t stop_ns;
	bool ran; /* the suite ran once: from here on it is kept running */
	struct child_throttle throttle;
};

static void guard_signals(sigset_t *set)
{
	sigemptyset(set);
	sigaddset(set, SIGCHLD);
	sigaddset(set, SIGTERM);
	sigaddset(set, SIGINT);
	sigaddset(set, SIGHUP);
	sigprocmask(SIG_BLOCK, set, NULL);
}

/* Opened for each line, so that it is the file of the day after a rotation. */
static void guard_log(const struct guard *g, const char *text)
{
	int dir = open(g->start->conf->log_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int fd = dir < 0 ? -1 : mon_log_file_open(dir, "ampmon.log", false);

	if (fd >= 0) {
		amp_log_open("guard", fd, AMP_LOG_INFO);
		amp_warn("%s", text);
		close(fd);
	}
	if (dir >= 0)
		close(dir);
}

static void to_background(void)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	setsid();
	if (chdir("/") != 0 || null < 0)
		_exit(MON_EXIT_FAILED);
	for (int fd = 0; fd <= 2; fd++)
		if (dup2(null, fd) < 0)
			_exit(MON_EXIT_FAILED);
	if (null > 2)
		close(null);
}

/* The one who called: until the suite runs, or is known not to. */
static int wait_until_ready(int fd, pid_t guard)
{
	struct timespec limit = {.tv_sec = START_WAIT_S};
	fd_set set;
	char text[1024];
	ssize_t n;
	int status;

	FD_ZERO(&set);
	FD_SET(fd, &set);
	if (pselect(fd + 1, &set, NULL, NULL, &limit, NULL) == 0) {
		fprintf(stderr, "ampmon: still starting; `ampcli status` tells how far it is\n");
		return MON_EXIT_OK;
	}
	/* "r": it runs; else the reason why not. */
	n = read(fd, text, sizeof(text));
	if (n == 1)
		return MON_EXIT_OK;
	if (n > 1)
		fprintf(stderr, "ampmon: %.*s\n", (int)n, text);
	else
		fprintf(stderr, "ampmon: it did not start; ampmon.log says why\n");
	return waitpid(guard, &status, 0) == guard && WIFEXITED(status) && WEXITSTATUS(status) != 0
		       ? WEXITSTATUS(status)
		       : MON_EXIT_FAILED;
}

/* True in the new ampmon. */
static bool guard_fork(struct guard *g)
{
	sigset_t mask;

	if (g->born_ns)
		g->start->restarts++;
	g->born_ns = amp_clock_monotonic();
	g->child = fork();
	if (g->child != 0)
		return false;
	g->start->guard = getppid();
	sigemptyset(&mask);
	sigaddset(&mask, SIGHUP); /* until mon.c can act on it */
	sigprocmask(SIG_SETMASK, &mask, NULL);
	return true;
}

static int64_t until_next(const struct guard *g, int64_t again_ns)
{
	int64_t now = amp_clock_monotonic();

	if (g->stopping && g->child > 0)
		return g->stop_ns + STOP_WAIT_NS - now;
	return again_ns == 0 ? -1 : again_ns - now;
}

/* A signal, 0 at the time's end. ns < 0: without end. */
static int wait_signal(const sigset_t *set, int64_t ns)
{
	struct timespec ts = {.tv_sec = ns / AMP_NS_PER_SEC, .tv_nsec = ns % AMP_NS_PER_SEC};
	int sig = ns < 0 ? sigwaitinfo(set, NULL) : sigtimedwait(set, NULL, &ts);

	return sig < 0 ? 0 : sig;
}

/* The suite left in order, or never came to run: the guard's work is done. */
static bool final_status(const struct guard *g, int status)
{
	if (g->stopping)
		return true;
	if (!WIFEXITED(status))
		return false;
	return WEXITSTATUS(status) == MON_EXIT_OK || (!g->ran && WEXITSTATUS(status) == MON_EXIT_REFUSED);
}

static void describe_death(char *text, size_t size, int status, int64_t wait)
{
	if (WIFSIGNALED(status))
		snprintf(text, size, "ampmon died by signal %d; again in %lld ms", WTERMSIG(status),
			 (long long)(wait / AMP_NS_PER_MS));
	else
		snprintf(text, size, "ampmon ended with status %d; again in %lld ms", WEXITSTATUS(status),
			 (long long)(wait / AMP_NS_PER_MS));
}

/* The child's end. True: the guard leaves with *code. */
static bool guard_reap(struct guard *g, int64_t *again_ns, int *code)
{
	int status;
	int64_t now, wait;
	char text[128];

	if (g->child <= 0 || waitpid(g->child, &status, WNOHANG) != g->child)
		return false;
	g->child = 0;
	if (final_status(g, status)) {
		*code = WIFEXITED(status) ? WEXITSTATUS(status) : MON_EXIT_FAILED;
		return true;
	}
	now = amp_clock_monotonic();
	wait = child_throttle_death(&g->throttle, now, now - g->born_ns, 1);
	describe_death(text, sizeof(text), status, wait);
	guard_log(g, text);
	*again_ns = now + wait;
	return false;
}

/* True: the guard leaves. */
static bool guard_signal(struct guard *g, int sig)
{
	if (sig == SIGHUP && g->child > 0)
		kill(g->child, SIGHUP);
	if (sig != SIGTERM && sig != SIGINT)
		return false;
	if (!g->stopping)
		g->stop_ns = amp_clock_monotonic();
	g->stopping = true;
	if (g->child <= 0)
		return true;
	kill(g->child, SIGTERM);
	return false;
}

static void guard_overdue(struct guard *g)
{
	if (g->stopping && g->child > 0 && amp_clock_monotonic() - g->stop_ns >= STOP_WAIT_NS)
		kill(g->child, SIGKILL);
}

/* The pipe to the caller tells whether the suite ran: ampmon wrote into it. */
static void note_ran(struct guard *g, int64_t now)
{
	if (!g->ran && g->child > 0 && now - g->born_ns > START_WAIT_S * AMP_NS_PER_SEC)
		g->ran = true;
}

/* True in ampmon. False: the guard's end, *code. */
static bool guard_loop(struct guard *g, int *code)
{
	sigset_t set;
	int64_t again_ns = 0;

	guard_signals(&set);
	*code = MON_EXIT_FAILED;
	if (guard_fork(g))
		return true;
	for (;;) {
		int64_t ns = until_next(g, again_ns);
		int sig = wait_signal(&set, again_ns != 0 && ns < 0 ? 0 : ns);

		note_ran(g, amp_clock_monotonic());
		if (guard_signal(g, sig) || guard_reap(g, &again_ns, code))
			return false;
		guard_overdue(g);
		if (again_ns != 0 && !g->stopping && amp_clock_monotonic() >= again_ns) {
			again_ns = 0;
			if (guard_fork(g))
				return true;
		}
	}
}

bool mon_guard(struct mon_start *s, int lock_fd, int *code)
{
	struct guard g = {.start = s};
	int pipe_fds[2];
	pid_t pid;

	if (pipe2(pipe_fds, O_CLOEXEC) != 0 || (pid = fork()) < 0) {
		mon_complain("no process for the guard: %s", strerror(errno));
		*code = MON_EXIT_FAILED;
		return false;
	}
	if (pid > 0) {
		close(pipe_fds[1]);
		*code = wait_until_ready(pipe_fds[0], pid);
		return false;
	}
	close(pipe_fds[0]);
	to_background();
	s->ready_fd = pipe_fds[1];
	if (mon_pid_file_write(s->conf, getpid()) != 0)
		guard_log(&g, "the pid file cannot be written");
	if (guard_loop(&g, code))
		return true;
	mon_pid_file_remove(s->conf);
	close(lock_fd);
	_exit(*code);
}
