/*
 * tests/unit/quartest.h - what the tests of ampquard's work on files share: a
 * tmpfs of their own in a mount namespace of their own, and a child with the
 * user, capabilities and filter of the room. Without root they are skipped.
 */
#ifndef AMP_QUARTEST_H
#define AMP_QUARTEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/skip.h"

#include "role.h"
#include "seccomp_table.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/capability.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define UNUSED __attribute__((unused))

#define QT_KEEPER 64123 /* a uid that owns nothing */
#define QT_USER	  64001

static char qt_dir[64] = "/tmp/amp-quartest-XXXXXX";
static bool qt_able;
static int qt_fd = -1; /* the directory a test works in, made anew for each */

#define QT_NOT_ALONE 77

/* As whom it waits for; not at all if that could not be alone. */
static UNUSED void qt_end_as(pid_t pid)
{
	int status = 0;
	pid_t ended;

	do
		ended = wait(&status);
	while (ended != pid && (ended > 0 || errno == EINTR));
	if (!WIFEXITED(status) || WEXITSTATUS(status) != QT_NOT_ALONE)
		_exit(WIFEXITED(status) ? WEXITSTATUS(status) : 1);
}

/*
 * First of all in main(): what goes on from here has processes and a /proc of its own,
 * so that what others mount at the same time is not seen. Not without root.
 */
static UNUSED void qt_alone(void)
{
	pid_t pid;

	if (geteuid() != 0 || getenv("AMP_VALGRIND"))
		return;
	pid = (pid_t)syscall(SYS_clone, CLONE_NEWPID | CLONE_NEWNS | SIGCHLD, 0, 0, 0, 0);
	if (pid != 0) {
		if (pid > 0)
			qt_end_as(pid);
		return;
	}
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
	    mount("proc", "/proc", "proc", 0, NULL) < 0)
		_exit(QT_NOT_ALONE);
	pid = fork(); /* the first process takes no signal that it does not handle */
	if (pid > 0)
		qt_end_as(pid);
	if (pid != 0)
		_exit(1);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
}

static int qt_setup(void **state)
{
	(void)state;
	if (geteuid() != 0 || unshare(CLONE_NEWNS) < 0 ||
	    mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		return 0;
	if (!mkdtemp(qt_dir) || mount("qt", qt_dir, "tmpfs", 0, "size=64m,mode=755") < 0)
		return -1;
	umask(022);
	qt_able = true;
	return 0;
}

static int qt_teardown(void **state)
{
	(void)state;
	if (!qt_able)
		return 0;
	umount2(qt_dir, MNT_DETACH);
	return rmdir(qt_dir);
}

#define QT_NEED()                                                                                            \
	do {                                                                                                 \
		if (!qt_able) {                                                                              \
			SKIP_WITHOUT("root and a file system of its own");                                   \
			return;                                                                              \
		}                                                                                            \
	} while (0)

/* qt_dir/name; four results live at once. */
static UNUSED const char *qt_path(const char *name)
{
	static _Thread_local char paths[4][4096];
	static _Thread_local unsigned n;
	char *p = paths[n++ % 4];

	snprintf(p, sizeof(paths[0]), "%s/%s", qt_dir, name);
	return p;
}

static UNUSED int qt_mkdir(const char *name, mode_t mode)
{
	int fd;

	assert_int_equal(mkdir(qt_path(name), mode), 0);
	assert_int_equal(chmod(qt_path(name), mode), 0);
	fd = open(qt_path(name), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_true(fd >= 0);
	return fd;
}

/* A fresh qt_fd below the tmpfs. */
static UNUSED int qt_each(void **state)
{
	static unsigned n;
	char name[32];

	(void)state;
	if (!qt_able)
		return 0;
	snprintf(name, sizeof(name), "case%u", n++);
	if (mkdir(qt_path(name), 0755) < 0)
		return -1;
	qt_fd = open(qt_path(name), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return qt_fd < 0;
}

static UNUSED int qt_each_end(void **state)
{
	(void)state;
	if (qt_fd >= 0)
		close(qt_fd);
	qt_fd = -1;
	return 0;
}

/* Makes dir/name with this content; a descriptor for reading. */
static UNUSED int qt_file(int dir, const char *name, const char *content)
{
	int fd = openat(dir, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, content, strlen(content)), (ssize_t)strlen(content));
	close(fd);
	fd = openat(dir, name, O_RDONLY | O_CLOEXEC);
	assert_true(fd >= 0);
	return fd;
}

static UNUSED bool qt_there(int dir, const char *name)
{
	struct stat st;

	return fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) == 0;
}

static UNUSED ino_t qt_ino(int fd)
{
	struct stat st;

	return fstat(fd, &st) == 0 ? st.st_ino : 0;
}

/* Inode behind a name; 0: none. */
static UNUSED ino_t qt_ino_at(int dir, const char *name)
{
	struct stat st;

	return fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) == 0 ? st.st_ino : 0;
}

static UNUSED nlink_t qt_links(int fd)
{
	struct stat st;

	return fstat(fd, &st) == 0 ? st.st_nlink : 0;
}

static UNUSED bool qt_content_is(int fd, const char *content)
{
	char buf[256];
	ssize_t n = pread(fd, buf, sizeof(buf), 0);

	return n == (ssize_t)strlen(content) && memcmp(buf, content, (size_t)n) == 0;
}

/* Entries of dir but . and .. */
static UNUSED unsigned qt_count(int dir)
{
	int fd = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = fdopendir(fd);
	unsigned n = 0;

	assert_non_null(d);
	while (readdir(d))
		n++;
	closedir(d);
	return n - 2;
}

static UNUSED double qt_now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* In a child: what does not hold is named and ends it. */
#define QT_CHECK(what)                                                                                       \
	do {                                                                                                 \
		if (!(what)) {                                                                               \
			fprintf(stderr, "%s:%d: %s (errno %d)\n", __FILE__, __LINE__, #what, errno);         \
			_exit(1);                                                                            \
		}                                                                                            \
	} while (0)

static UNUSED void qt_become_keeper(bool sealed)
{
	const struct amp_role *row = amp_role(AMP_ROLE_QUARD);
	cap_t caps = cap_init();

	for (int i = 0; i < 64; i++) {
		cap_value_t value = i;

		if (row->capabilities & (UINT64_C(1) << i)) {
			QT_CHECK(cap_set_flag(caps, CAP_PERMITTED, 1, &value, CAP_SET) == 0);
			QT_CHECK(cap_set_flag(caps, CAP_EFFECTIVE, 1, &value, CAP_SET) == 0);
		}
	}
	QT_CHECK(prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) == 0);
	QT_CHECK(setgroups(0, NULL) == 0);
	QT_CHECK(setresgid(QT_KEEPER, QT_KEEPER, QT_KEEPER) == 0);
	QT_CHECK(setresuid(QT_KEEPER, QT_KEEPER, QT_KEEPER) == 0);
	QT_CHECK(cap_set_proc(caps) == 0);
	QT_CHECK(prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) == 0);
	cap_free(caps);
	if (sealed)
		QT_CHECK(amp_seccomp_seal(row->syscalls) == 0);
}

/* Runs fn in a child that is as the room is; fails unless it returned. */
static UNUSED void qt_as_keeper(void (*fn)(void), bool sealed)
{
	int status = -1;
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0) {
		qt_become_keeper(sealed);
		fn();
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (WIFSIGNALED(status))
		fail_msg("the child died of signal %d", WTERMSIG(status));
	assert_int_equal(status, 0);
}

/* A thread that changes names until it is told to stop. */
struct qt_thread {
	pthread_t thread;
	atomic_bool stop;
	void (*fn)(void);
	atomic_ulong rounds;
};

static UNUSED void *qt_thread_main(void *arg)
{
	struct qt_thread *t = arg;

	while (!t->stop) {
		t->fn();
		t->rounds++;
	}
	return NULL;
}

static UNUSED void qt_thread_start(struct qt_thread *t, void (*fn)(void))
{
	t->stop = false;
	t->fn = fn;
	t->rounds = 0;
	assert_int_equal(pthread_create(&t->thread, NULL, qt_thread_main, t), 0);
}

static UNUSED void qt_thread_stop(struct qt_thread *t)
{
	t->stop = true;
	pthread_join(t->thread, NULL);
	assert_true(t->rounds > 0);
}

/* Against such a thread for a second, and until all has been seen that is to be; for a minute at most. */
static UNUSED bool qt_goes_on(const struct qt_thread *t, double begin, bool seen)
{
	const double passed = qt_now() - begin;

	return passed < 1 || ((!seen || t->rounds == 0) && passed < 60);
}

#endif
