/*
 * tests/unit/test_neutral.c - emptying through the inode, and why it fails.
 */
#include "quartest.h"

#include "ampquard/meta.h"
#include "ampquard/neutral.h"
#include "tests/unit/skip.h"

#include <linux/fs.h>
#include <signal.h>
#include <sys/ioctl.h>

static bool is_empty(int fd)
{
	struct stat st;

	return fstat(fd, &st) == 0 && st.st_size == 0;
}

static void empties(void **state)
{
	int fd;

	(void)state;
	QT_NEED();
	fd = qt_file(qt_fd, "evil", "bad");
	assert_int_equal(unlinkat(qt_fd, "evil", 0), 0); /* no name is needed */
	assert_int_equal(neutral_empty(fd), NEUTRAL_DONE);
	assert_true(is_empty(fd));
	assert_int_equal(neutral_empty(fd), NEUTRAL_DONE);
	close(fd);
	assert_int_equal(neutral_empty(qt_fd), NEUTRAL_FAILED);
	assert_int_equal(neutral_empty(-1), NEUTRAL_FAILED);
	assert_int_equal(errno, EBADF);
}

static int keeper_file;
static enum neutral_outcome keeper_outcome;

static void keeper_empties(void)
{
	QT_CHECK(neutral_empty(keeper_file) == keeper_outcome);
}

static void as_the_room(void **state)
{
	(void)state;
	QT_NEED();
	keeper_file = qt_file(qt_fd, "evil", "bad");
	assert_int_equal(fchown(keeper_file, QT_USER, QT_USER), 0);
	assert_int_equal(fchmod(keeper_file, 0400), 0);
	keeper_outcome = NEUTRAL_DONE;
	qt_as_keeper(keeper_empties, true);
	assert_true(is_empty(keeper_file));
	close(keeper_file);
}

static void running(void **state)
{
	char *const argv[] = {(char *)(uintptr_t) "sleep", (char *)(uintptr_t) "600", NULL};
	char program[4096], c;
	int in, out, status, fd, through[2];
	pid_t pid;

	(void)state;
	QT_NEED();
	in = open("/bin/sleep", O_RDONLY | O_CLOEXEC);
	out = openat(qt_fd, "program", O_WRONLY | O_CREAT | O_CLOEXEC, 0755);
	for (ssize_t n; (n = read(in, program, sizeof(program))) > 0;)
		assert_int_equal(write(out, program, (size_t)n), n);
	close(in);
	close(out);
	fd = openat(qt_fd, "program", O_RDONLY | O_CLOEXEC);
	assert_int_equal(pipe2(through, O_CLOEXEC), 0);
	pid = fork();
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		fexecve(fd, argv, argv + 2);
		_exit(1);
	}
	close(through[1]);
	assert_int_equal(read(through[0], &c, 1), 0); /* closed by the exec */
	close(through[0]);
	assert_int_equal(neutral_empty(fd), NEUTRAL_RUNNING);
	assert_false(is_empty(fd));
	kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
	assert_int_equal(neutral_empty(fd), NEUTRAL_DONE);
	assert_true(is_empty(fd));
	close(fd);
}

static void leased(void **state)
{
	double begin;
	int fd, holder;

	(void)state;
	QT_NEED();
	signal(SIGIO, SIG_IGN);
	fd = qt_file(qt_fd, "evil", "bad");
	holder = openat(qt_fd, "evil", O_RDONLY | O_CLOEXEC);
	assert_int_equal(fcntl(holder, F_SETLEASE, F_RDLCK), 0);
	begin = qt_now();
	assert_int_equal(neutral_empty(fd), NEUTRAL_LEASED);
	assert_true(qt_now() - begin < 20); /* a lease may be kept for 45 s */
	assert_false(is_empty(fd));
	close(holder);
	assert_int_equal(neutral_empty(fd), NEUTRAL_DONE);
	close(fd);
}

static void read_only(void **state)
{
	int dir, fd;

	(void)state;
	QT_NEED();
	assert_int_equal(mkdir(qt_path("ro"), 0755), 0);
	assert_int_equal(mount("qt", qt_path("ro"), "tmpfs", 0, "size=1m"), 0);
	dir = open(qt_path("ro"), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	close(qt_file(dir, "evil", "bad"));
	assert_int_equal(mount(NULL, qt_path("ro"), NULL, MS_REMOUNT | MS_RDONLY, "size=1m"), 0);
	fd = openat(dir, "evil", O_RDONLY | O_CLOEXEC);
	assert_int_equal(neutral_empty(fd), NEUTRAL_READ_ONLY);
	close(fd);
	close(dir);
	assert_int_equal(umount(qt_path("ro")), 0);
}

/* Flags that forbid it go first; they come back if it fails all the same. */
static void flags(void **state)
{
	int fd, wanted = FS_IMMUTABLE_FL | FS_APPEND_FL, none = 0, holder;

	(void)state;
	QT_NEED();
	keeper_file = fd = qt_file(qt_fd, "evil", "bad");
	if (ioctl(fd, FS_IOC_SETFLAGS, &wanted) < 0) { /* tmpfs has them since 6.6 */
		close(fd);
		SKIP_WITHOUT("file flags");
	}
	holder = openat(qt_fd, "evil", O_RDONLY | O_CLOEXEC);
	assert_int_equal(fcntl(holder, F_SETLEASE, F_RDLCK), 0);
	keeper_outcome = NEUTRAL_LEASED;
	qt_as_keeper(keeper_empties, true);
	assert_int_equal(meta_flags(fd) & (FS_IMMUTABLE_FL | FS_APPEND_FL), wanted);
	close(holder);
	keeper_outcome = NEUTRAL_DONE;
	qt_as_keeper(keeper_empties, true);
	assert_true(is_empty(fd));
	ioctl(fd, FS_IOC_SETFLAGS, &none);
	close(fd);
}

static void words(void **state)
{
	(void)state;
	assert_int_equal(neutral_of_errno(0), NEUTRAL_DONE);
	assert_int_equal(neutral_of_errno(ETXTBSY), NEUTRAL_RUNNING);
	assert_int_equal(neutral_of_errno(EAGAIN), NEUTRAL_LEASED);
	assert_int_equal(neutral_of_errno(EROFS), NEUTRAL_READ_ONLY);
	assert_int_equal(neutral_of_errno(EPERM), NEUTRAL_IMMUTABLE);
	assert_int_equal(neutral_of_errno(EIO), NEUTRAL_FAILED);
	for (int i = NEUTRAL_DONE; i <= NEUTRAL_FAILED; i++)
		for (int j = NEUTRAL_DONE; j < i; j++)
			assert_string_not_equal(neutral_text((enum neutral_outcome)i),
						neutral_text((enum neutral_outcome)j));
	assert_string_equal(neutral_text((enum neutral_outcome)99), neutral_text(NEUTRAL_FAILED));
}

#define T(name) cmocka_unit_test_setup_teardown(name, qt_each, qt_each_end)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(empties), T(as_the_room), T(running), T(leased), T(read_only), T(flags), T(words),
	};

	return cmocka_run_group_tests_name("neutral", tests, qt_setup, qt_teardown);
}
