/*
 * ampmon/spawn.c - fork and exec of a room.
 *
 * Owns: what a child finds at exec: descriptors 0-5, signals, environment,
 * the tie to its parent's life. Must not own: when and why. ampmon has
 * threads, so between fork and exec only async-signal-safe calls are made and
 * everything is laid out before.
 */
#include "ampmon/child.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define FD_HIGH	     16
#define EXIT_NO_EXEC 127

/* Environment of a room, beside LC_ALL; the loader's variables never reach it. */
#define PASSED_MAX  4
#define PASSED_SIZE 512
#ifdef AMP_SANITIZED
static const char *const passed[PASSED_MAX] = {"ASAN_OPTIONS", "UBSAN_OPTIONS", "LSAN_OPTIONS"};
#else
static const char *const passed[PASSED_MAX];
#endif

struct child_plan {
	const struct mon_spawn *s;
	pid_t parent;
	char *argv[2];
	char *envp[8];
};

int mon_fd_high(int fd)
{
	int high, saved;

	if (fd < 0 || fd >= FD_HIGH)
		return fd;
	high = fcntl(fd, F_DUPFD_CLOEXEC, FD_HIGH);
	saved = errno;
	close(fd);
	errno = saved;
	return high;
}

static void plan_environment(struct child_plan *plan)
{
	static char locale[] = "LC_ALL=C";
	static char copies[PASSED_MAX][PASSED_SIZE];
	size_t n = 0;

	plan->envp[n++] = locale;
	for (size_t i = 0; i < PASSED_MAX && passed[i]; i++) {
		const char *value = getenv(passed[i]);
		int length = value ? snprintf(copies[i], PASSED_SIZE, "%s=%s", passed[i], value) : -1;

		if (length > 0 && length < PASSED_SIZE)
			plan->envp[n++] = copies[i];
	}
	plan->envp[n] = NULL;
}

static void place(int from, int to)
{
	if (dup2(from, to) < 0) /* the copy is not close-on-exec */
		_exit(EXIT_NO_EXEC);
}

static void child_descriptors(const struct mon_spawn *s)
{
	unsigned first_free = AMP_FD_CLI;

	for (int fd = 0; fd <= 2; fd++)
		place(s->null, fd);
	place(s->control, AMP_FD_CONTROL);
	place(s->log, AMP_FD_LOG);
	if (s->cli >= 0) {
		place(s->cli, AMP_FD_CLI);
		first_free = AMP_FD_CLI + 1;
	}
	if (syscall(SYS_close_range, first_free, ~0U, 0U) != 0)
		_exit(EXIT_NO_EXEC);
}

static void child_signals(void)
{
	struct sigaction dfl;
	sigset_t none;

	memset(&dfl, 0, sizeof(dfl));
	dfl.sa_handler = SIG_DFL;
	for (int sig = 1; sig < NSIG; sig++)
		sigaction(sig, &dfl, NULL); /* fails for SIGKILL, SIGSTOP: as it should */
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
}

/* clone(2), since unshare(2) would count for all that ampmon forks. */
static pid_t fork_room(bool own_pids)
{
	if (own_pids)
		return (pid_t)syscall(SYS_clone, CLONE_NEWPID | SIGCHLD, 0L, 0L, 0L, 0L);
	return fork();
}

__attribute__((noreturn)) static void child(const struct child_plan *plan)
{
	if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || getppid() != plan->parent)
		_exit(EXIT_NO_EXEC);
	/* Signals of a terminal are for ampmon, which stops its rooms in order. */
	setsid();
	child_descriptors(plan->s);
	child_signals();
	execve(plan->s->path, plan->argv, plan->envp);
	_exit(EXIT_NO_EXEC);
}

pid_t mon_spawn(const struct mon_spawn *s, int *pidfd)
{
	/* From within its own PID namespace no parent is seen: if ampmon ends before the tie stands, the
	 * control channel ends the room. */
	struct child_plan plan = {.s = s, .parent = s->own_pids ? 0 : getpid()};
	char name[64];
	sigset_t all, old;
	pid_t pid;
	int saved;

	strncpy(name, s->name, sizeof(name) - 1);
	name[sizeof(name) - 1] = '\0';
	plan.argv[0] = name;
	plan_environment(&plan);
	/* No handler of ampmon may run in the child. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	pid = fork_room(s->own_pids);
	if (pid == 0)
		child(&plan);
	saved = errno;
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	errno = saved;
	if (pid < 0)
		return -1;
	/* Nobody else reaps it, so the pid is still this child's. */
	*pidfd = (int)syscall(SYS_pidfd_open, pid, 0U);
	if (*pidfd < 0) {
		saved = errno;
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
		errno = saved;
		return -1;
	}
	return pid;
}
