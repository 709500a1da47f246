/*
 * tests/unit/test_stack.c - the filters of ampengine as they lie one on the other:
 * the room's, a zygote's, a worker's, and Landlock on a worker's slot.
 */
#include "landlock.h"
#include "role.h"
#include "seccomp_table.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#ifndef AMP_SANITIZED
#define SANITIZED 0
#else
#define SANITIZED 1 /* its run time starts threads and is let do more */
#endif

static char slot[64];

static int setup(void **state)
{
	(void)state;
	strcpy(slot, "/tmp/test_stack.XXXXXX");
	return mkdtemp(slot) ? 0 : -1;
}

static int teardown(void **state)
{
	(void)state;
	return rmdir(slot);
}

/* An exit code of 0 or what did not hold. */
#define HOLDS(what)                                                                                          \
	do {                                                                                                 \
		if (!(what))                                                                                 \
			_exit(__LINE__ % 200 + 20);                                                          \
	} while (0)

static void *nothing(void *arg)
{
	return arg;
}

static int slot_work(void)
{
	char buf[4] = "";
	int fd;

	HOLDS(mkdir("tmp", 0700) == 0);
	fd = open("tmp/member", O_CREAT | O_RDWR | O_TRUNC, 0600);
	HOLDS(fd >= 0);
	HOLDS(write(fd, "abc", 3) == 3);
	HOLDS(pread(fd, buf, 3, 0) == 3 && memcmp(buf, "abc", 3) == 0);
	HOLDS(close(fd) == 0);
	HOLDS(rename("tmp/member", "tmp/other") == 0);
	HOLDS(unlink("tmp/other") == 0);
	HOLDS(rmdir("tmp") == 0);
	HOLDS(mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) != MAP_FAILED);
	return 0;
}

static int worker_thread(void)
{
	pthread_t t;

	HOLDS(pthread_create(&t, NULL, nothing, NULL) == ENOSYS);
	HOLDS(fork() < 0 && errno == ENOSYS);
	return 0;
}

static int worker_outside(void)
{
	HOLDS(open("/etc/passwd", O_RDONLY) < 0 && errno == EACCES);
	HOLDS(open("/tmp/test_stack.else", O_CREAT | O_WRONLY, 0600) < 0 && errno == EACCES);
	HOLDS(mkdir("/tmp/test_stack.else", 0700) < 0 && errno == EACCES);
	return 0;
}

static int worker_socket(void)
{
	return socket(AF_UNIX, SOCK_STREAM, 0);
}

static int worker_kill(void)
{
	return kill(getppid(), SIGKILL);
}

static int worker_exec(void)
{
	return execl("/bin/true", "true", (char *)NULL);
}

static int worker_memfd(void)
{
	return memfd_create("x", MFD_CLOEXEC | MFD_ALLOW_SEALING);
}

static int worker_limit(void)
{
	struct rlimit {
		unsigned long cur, max;
	} r = {0, 0};

	return (int)syscall(SYS_prlimit64, 0, 7, &r, NULL);
}

static int worker_code(void)
{
	return mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED;
}

static int worker_setuid(void)
{
	int fd = open("bad", O_CREAT | O_WRONLY, 0600);

	unlink("bad");
	return fchmod(fd, 04755);
}

/* The wait status of what fn does as a worker. Three deep: room, zygote, worker. */
static int as_worker(int (*fn)(void))
{
	int status = 0, inner = 0;
	pid_t room = fork();

	if (room != 0) {
		assert_int_equal(waitpid(room, &status, 0), room);
		return status;
	}
	struct amp_seccomp_filter *zygote, *worker;

	HOLDS(amp_seccomp_seal(AMP_SYS_LOOP | AMP_SYS_ENGINE) == 0);
	zygote = amp_seccomp_prepare(AMP_SYS_ZYGOTE);
	worker = amp_seccomp_prepare(AMP_SYS_WORKER);
	HOLDS(zygote && worker);
	pid_t pid = fork();

	HOLDS(pid >= 0);
	if (pid == 0) {
		HOLDS(amp_seccomp_apply(zygote) == 0);
		pid = fork();
		HOLDS(pid >= 0);
		if (pid == 0) {
			HOLDS(prctl(PR_SET_PDEATHSIG, SIGKILL) == 0);
			HOLDS(chdir(slot) == 0);
			HOLDS(amp_landlock_apply_tree(slot) == 0);
			HOLDS(amp_seccomp_apply(worker) == 0);
			_exit(fn() == 0 ? 0 : 1);
		}
	}
	HOLDS(waitpid(pid, &inner, 0) == pid);
	amp_seccomp_free(zygote);
	amp_seccomp_free(worker);
	/* What became of the worker comes up as a code, twice. */
	_exit(WIFEXITED(inner) ? WEXITSTATUS(inner) : 200 + WTERMSIG(inner));
}

#define LET_THROUGH 0
#define KILLED	    (200 + SIGSYS)

static void expect(int (*fn)(void), int code)
{
	int status = as_worker(fn);

	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), code);
}

static void a_worker_works_in_its_slot(void **state)
{
	(void)state;
	expect(slot_work, LET_THROUGH);
}

static void threads_are_refused_not_deadly(void **state)
{
	(void)state;
	if (SANITIZED)
		return; /* another filter: the sanitizers' calls are in it */
	expect(worker_thread, LET_THROUGH);
}

static void nothing_outside_the_slot(void **state)
{
	(void)state;
	if (amp_landlock_abi() == 0)
		return; /* another filter: the sanitizers' calls are in it */
	expect(worker_outside, LET_THROUGH);
}

static void what_kills_a_worker(void **state)
{
	static int (*const deadly[])(void) = {worker_socket, worker_kill, worker_exec,	worker_memfd,
					      worker_limit,  worker_code, worker_setuid};

	(void)state;
	if (SANITIZED)
		return; /* another filter: the sanitizers' calls are in it */
	for (size_t i = 0; i < sizeof(deadly) / sizeof(deadly[0]); i++)
		expect(deadly[i], KILLED);
}

/* Rules about the process itself have no place in a filter that others put on. */
static void self_is_left_out(void **state)
{
	struct amp_seccomp_filter *f;
	int status;
	pid_t pid = fork();

	(void)state;
	if (pid == 0) {
		f = amp_seccomp_prepare(AMP_SYS_LOOP);
		HOLDS(f && amp_seccomp_apply(f) == 0);
		abort(); /* tgkill is not let through */
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status));
	assert_int_equal(WTERMSIG(status), SIGSYS);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_worker_works_in_its_slot, setup, teardown),
		cmocka_unit_test_setup_teardown(threads_are_refused_not_deadly, setup, teardown),
		cmocka_unit_test_setup_teardown(nothing_outside_the_slot, setup, teardown),
		cmocka_unit_test_setup_teardown(what_kills_a_worker, setup, teardown),
		cmocka_unit_test_setup_teardown(self_is_left_out, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
