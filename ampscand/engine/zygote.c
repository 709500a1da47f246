/*
 * ampscand/engine/zygote.c - a zygote: loads, seals itself, forks workers, buries them.
 *
 * Owns: the process after its fork, to its end; its workers. It has one descriptor, the
 * pair to the room, and waits for that and for its children only. Must not own: files of
 * signatures (load.c), walls of a worker (worker.c), what workers leave (fleet.c).
 */
#include "zygote.h"

#include "landlock.h"
#include "role.h"

#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25 /* 6.1 */
#endif
#define ZYGOTE_FD     3
#define PAGE	      4096U
#define PROBE	      ((size_t)64 << 20)
#define HUGE_PAGE     ((uintptr_t)2 << 20)
#define ADDRESSES_MAX (UINT64_C(1) << 47)

enum { EXIT_LEFT = 0, EXIT_REFUSED = 2, EXIT_WALL = 3, EXIT_PROTOCOL = 4 };

struct child {
	pid_t pid; /* 0: none */
	uint64_t serial;
};

static struct {
	const struct engine_dirs *dirs;
	struct adapter *adapter;
	struct amp_seccomp_filter *filter;   /* of workers */
	uint64_t size;			     /* of this process: addresses in use */
	struct child children[ENGINE_ALIVE]; /* by slot */
	unsigned alive;
	bool retired;
} z;

/* --- what it says ------------------------------------------------------------------ */

static void say_with(struct zygote_said *s, int fd)
{
	union {
		char room[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control = {.room = {0}};
	struct iovec v = {s, sizeof(*s)};
	struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1};
	ssize_t n;

	if (fd >= 0) {
		m.msg_control = &control;
		m.msg_controllen = sizeof(control);
		CMSG_FIRSTHDR(&m)->cmsg_level = SOL_SOCKET;
		CMSG_FIRSTHDR(&m)->cmsg_type = SCM_RIGHTS;
		CMSG_FIRSTHDR(&m)->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(CMSG_FIRSTHDR(&m)), &fd, sizeof(int));
	}
	/* Descriptors in flight are counted for all processes of the user: it passes. */
	while ((n = sendmsg(ZYGOTE_FD, &m, MSG_NOSIGNAL)) < 0 && (errno == EINTR || errno == ETOOMANYREFS))
		if (errno == ETOOMANYREFS)
			(void)poll(NULL, 0, 20);
	if (n != (ssize_t)sizeof(*s))
		_exit(EXIT_LEFT);
}

static void say(struct zygote_said *s)
{
	say_with(s, -1);
}

static void say_log(enum amp_log_level level, const char *text, void *arg)
{
	struct zygote_said s = {.kind = ZYGOTE_LOG, .number = (int32_t)level};

	(void)arg;
	snprintf(s.text, sizeof(s.text), "%s", text);
	say(&s);
}

/* --- its start ----------------------------------------------------------------------- */

static void on_child(int signal_number)
{
	(void)signal_number; /* it ends the wait */
}

/*
 * A process group that nothing it forks can leave: all of that ends with one signal. First of
 * all, since files of signatures may be hostile too.
 */
static int shut_group(void)
{
	return setpgid(0, 0) == 0 ? amp_seccomp_seal(AMP_SYS_LOOP | AMP_SYS_LOADING) : -1;
}

static int become_zygote(int fd, pid_t parent)
{
	struct sigaction act = {.sa_handler = on_child};
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	if (prctl(PR_SET_PDEATHSIG, (unsigned long)SIGKILL, 0L, 0L, 0L) != 0 || getppid() != parent)
		return -1;
	(void)prctl(PR_SET_NAME, "ampengine-zyg", 0L, 0L, 0L);
	if (dup2(fd, ZYGOTE_FD) < 0 || fcntl(ZYGOTE_FD, F_SETFL, 0) != 0)
		return -1;
	/* The log's number stays taken: a line of a library must not go into a file of a slot. */
	if (dup2(STDIN_FILENO, AMP_FD_LOG) < 0 || close_range(AMP_FD_LOG + 1, ~0U, 0) != 0)
		return -1;
	return sigprocmask(SIG_BLOCK, &set, NULL) == 0 && sigaction(SIGCHLD, &act, NULL) == 0 ? 0 : -1;
}

/*
 * Where large memory comes from next: below it lies what is mapped from now on, as the
 * kernel gives addresses from above.
 */
static uintptr_t next_memory(void)
{
	void *at = mmap(NULL, PROBE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (at == MAP_FAILED)
		return 0;
	munmap(at, PROBE);
	return (uintptr_t)at + PROBE;
}

/*
 * The signatures into huge pages: a fork copies the page table, which is a fifth of it then.
 * A kernel that cannot do that at once (before 6.1) does it by and by.
 */
static void make_huge(uintptr_t from, uintptr_t to)
{
	from = (from + HUGE_PAGE - 1) & ~(HUGE_PAGE - 1);
	to &= ~(HUGE_PAGE - 1);
	if (from == 0 || from >= to)
		return;
	(void)madvise((void *)from, to - from, MADV_HUGEPAGE); /* what is not mapped is left out */
	for (; from < to; from += HUGE_PAGE)
		(void)madvise((void *)from, HUGE_PAGE, MADV_COLLAPSE);
}

static bool fits(uint64_t size, const struct rlimit *old)
{
	const struct rlimit r = {.rlim_cur = size, .rlim_max = old->rlim_max};
	void *page;

	if (setrlimit(RLIMIT_AS, &r) != 0)
		return true;
	page = mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (page == MAP_FAILED)
		return false;
	munmap(page, PAGE);
	return true;
}

/* Addresses in use, as the kernel counts them against the limit: there is no /proc to ask. */
static uint64_t own_size(void)
{
	uint64_t low = 0, high = ADDRESSES_MAX;
	struct rlimit old;

	if (getrlimit(RLIMIT_AS, &old) != 0)
		return high;
	while (high - low > PAGE) {
		uint64_t middle = low + (high - low) / 2;

		if (fits(middle, &old))
			high = middle;
		else
			low = middle;
	}
	(void)setrlimit(RLIMIT_AS, &old);
	return high;
}

/* No set of signatures is needed any more: from here on only slots are seen. */
static int seal(void)
{
	z.filter = amp_seccomp_prepare(AMP_SYS_WORKER);
	if (!z.filter || amp_landlock_apply_tree(z.dirs->slots) != 0 || amp_seccomp_seal(AMP_SYS_ZYGOTE) != 0)
		return -1;
	malloc_trim(0);
	z.size = own_size();
	return 0;
}

/* --- workers ---------------------------------------------------------------------------- */

static void become_worker(const char *slot, int fd, pid_t parent) __attribute__((noreturn));
static void become_worker(const char *slot, int fd, pid_t parent)
{
	const struct worker w = {
		.adapter = z.adapter,
		.filter = z.filter,
		.slot = slot,
		.address_space = z.size + z.dirs->memory,
		.fd = fd,
		.parent = parent,
	};

	adapter_listen(NULL, NULL);
	worker_main(&w);
}

static int fork_worker(const struct zygote_ask *a, int pair[2])
{
	const pid_t self = getpid();
	char slot[SLOT_PATH];
	pid_t pid;

	slot_path(slot, z.dirs->slots, a->slot, a->serial);
	if (slot_make(slot) != 0)
		return -1;
	pid = fork();
	if (pid == 0)
		become_worker(slot, pair[1], self);
	if (pid < 0) {
		int error = errno;

		(void)rmdir(slot);
		errno = error;
		return -1;
	}
	z.children[a->slot] = (struct child){.pid = pid, .serial = a->serial};
	z.alive++;
	return 0;
}

static void spawn(const struct zygote_ask *a)
{
	struct zygote_said s = {.kind = ZYGOTE_WORKER, .serial = a->serial};
	int pair[2] = {-1, -1};

	if (z.retired || z.children[a->slot].pid != 0)
		_exit(EXIT_PROTOCOL);
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0 || fork_worker(a, pair) != 0) {
		s.kind = ZYGOTE_FAILED;
		s.number = errno;
		say(&s);
	} else {
		s.pid = z.children[a->slot].pid;
		say_with(&s, pair[0]);
	}
	for (size_t i = 0; i < 2; i++)
		if (pair[i] >= 0)
			close(pair[i]);
}

static void kill_worker(uint64_t serial)
{
	for (size_t i = 0; i < ENGINE_ALIVE; i++)
		if (z.children[i].pid != 0 && z.children[i].serial == serial)
			(void)kill(z.children[i].pid, SIGKILL);
}

static void bury(unsigned slot, int status)
{
	struct child *c = &z.children[slot];
	struct zygote_said s = {.kind = ZYGOTE_GONE, .serial = c->serial};

	s.pid = c->pid;
	s.signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
	s.number = WIFEXITED(status) ? WEXITSTATUS(status) : 0;
	*c = (struct child){0};
	z.alive--;
	say(&s);
}

static void reap(void)
{
	pid_t pid;
	int status;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
		for (unsigned i = 0; i < ENGINE_ALIVE; i++)
			if (z.children[i].pid == pid) {
				bury(i, status);
				break;
			}
}

/* --- its life ------------------------------------------------------------------------------ */

static void do_ask(const struct zygote_ask *a)
{
	switch (a->op) {
	case ZYGOTE_SPAWN:
		if (a->slot >= ENGINE_ALIVE)
			_exit(EXIT_PROTOCOL);
		spawn(a);
		break;
	case ZYGOTE_KILL:
		kill_worker(a->serial);
		break;
	case ZYGOTE_RETIRE:
		z.retired = true;
		break;
	default:
		_exit(EXIT_PROTOCOL);
	}
}

static void serve(void) __attribute__((noreturn));
static void serve(void)
{
	struct pollfd p = {.fd = ZYGOTE_FD, .events = POLLIN};
	struct zygote_ask a;
	sigset_t none;

	sigemptyset(&none);
	for (;;) {
		ssize_t n = recv(ZYGOTE_FD, &a, sizeof(a), MSG_DONTWAIT | MSG_TRUNC);

		if (n == (ssize_t)sizeof(a))
			do_ask(&a);
		else if (n >= 0)
			_exit(n == 0 ? EXIT_LEFT : EXIT_PROTOCOL);
		else if (errno != EAGAIN && errno != EINTR)
			_exit(EXIT_LEFT);
		reap();
		if (z.retired && z.alive == 0)
			_exit(EXIT_LEFT);
		if (n < 0)
			(void)ppoll(&p, 1, NULL, &none);
	}
}

void zygote_main(const struct engine_dirs *dirs, int fd, uint64_t number, pid_t parent)
{
	struct zygote_said loaded;
	uintptr_t memory;

	z.dirs = dirs;
	if (become_zygote(fd, parent) != 0 || shut_group() != 0)
		_exit(EXIT_WALL);
	adapter_listen(say_log, NULL);
	memory = next_memory();
	z.adapter = zygote_load(dirs, number, say, &loaded);
	if (!z.adapter)
		_exit(EXIT_REFUSED);
	make_huge(next_memory(), memory);
	if (seal() != 0)
		_exit(EXIT_WALL);
	say(&loaded);
	serve();
}
