/*
 * tests/unit/test_engine_slot.c - slots are wiped whatever is in them, and nothing else is.
 *
 * Each is wiped by a process behind the walls of those who do it: what a filter of theirs does
 * not let through would end them. None of it is root, whom modes do not stop.
 */
#include "zygotetest.h"

#include <sys/resource.h>
#include <sys/un.h>

#define NOBODY 65534
#define IN_TIME                                                                                              \
	(3 * AMP_NS_PER_SEC) /* of a processor; ampscand gives 5 s from a worker's end to the word of it */

enum walls { NO_WALLS, ROOM };

static char root[64], slot[80], outside[80];
static enum walls walls;

static int make(void **state)
{
	walls = *(const enum walls *)*state;
	/* A slot is a tmpfs; where there is none at hand, a disk is slower. */
	snprintf(root, sizeof(root), "/dev/shm/amp-slot-XXXXXX");
	if (!mkdtemp(root)) {
		snprintf(root, sizeof(root), "/tmp/amp-slot-XXXXXX");
		if (!mkdtemp(root))
			return -1;
	}
	snprintf(slot, sizeof(slot), "%s/slot", root);
	snprintf(outside, sizeof(outside), "%s/outside", root);
	return mkdir(outside, 0700) == 0 && slot_make(slot) == 0 ? 0 : -1;
}

static int end(void **state)
{
	(void)state;
	return slot_wipe(root);
}

/* Of those who wipe: the room, and a zygote that loads, which has the same filter. */
static int build_walls(void)
{
	if (walls == NO_WALLS)
		return 0;
	return prctl(PR_SET_NO_NEW_PRIVS, 1L, 0L, 0L, 0L) == 0
		       ? amp_seccomp_seal(AMP_SYS_LOOP | AMP_SYS_ENGINE)
		       : -1;
}

static int64_t ns_of(const struct timeval *t)
{
	return t->tv_sec * AMP_NS_PER_SEC + t->tv_usec * INT64_C(1000);
}

static void assert_wiped(void)
{
	pid_t pid = fork();
	struct rusage used;
	int status;

	assert_true(pid >= 0);
	if (pid == 0) {
		if (build_walls() != 0)
			_exit(2);
		_exit(slot_wipe(slot) == 0 ? 0 : 1);
	}
	assert_int_equal(wait4(pid, &status, 0, &used), pid);
	assert_int_equal(status, 0);
	assert_int_equal(access(slot, F_OK), -1);
	assert_int_equal(errno, ENOENT);
	assert_true(ns_of(&used.ru_utime) + ns_of(&used.ru_stime) < IN_TIME);
}

static void test_plain(void **state)
{
	(void)state;
	write_file(slot, "a", "x", 1);
	write_file(slot, "b\nc \xff", "x", 1);
	assert_int_equal(slot_make(slot), -1);
	assert_int_equal(errno, EEXIST);
	assert_wiped();
	assert_wiped(); /* gone already */
	assert_int_equal(slot_make(slot), 0);
}

static void test_links(void **state)
{
	char path[128], inside[160];

	(void)state;
	write_file(outside, "keep", "x", 1);
	snprintf(path, sizeof(path), "%s/out", slot);
	assert_int_equal(symlink(outside, path), 0);
	snprintf(path, sizeof(path), "%s/up", slot);
	assert_int_equal(symlink("..", path), 0);
	snprintf(path, sizeof(path), "%s/dir", slot);
	assert_int_equal(mkdir(path, 0700), 0);
	snprintf(inside, sizeof(inside), "%s/loop", path);
	assert_int_equal(symlink(".", inside), 0);
	assert_wiped();
	snprintf(path, sizeof(path), "%s/keep", outside);
	assert_int_equal(access(path, F_OK), 0);
}

/* Deeper than a path may be long, and than descriptors there are; full on every level. */
static void test_deep(void **state)
{
	struct rlimit old, few = {.rlim_cur = 48};
	int fd = open(slot, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	(void)state;
	assert_true(fd >= 0);
	for (int i = 0; i < 3000; i++) {
		int below;

		assert_int_equal(mkdirat(fd, "deep", 0700), 0);
		if (i % 7 == 0) {
			assert_int_equal(mkdirat(fd, "a", 0700), 0);
			assert_int_equal(mkdirat(fd, "a/b", 0700), 0);
			close(openat(fd, "z", O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
		}
		below = openat(fd, "deep", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		assert_true(below >= 0);
		close(fd);
		fd = below;
	}
	close(fd);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
	few.rlim_max = old.rlim_max;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
	assert_wiped();
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
}

/* As deep as a slot has inodes. */
static void test_deepest(void **state)
{
	int fd = open(slot, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	(void)state;
	for (int i = 0; i < 20000; i++) {
		int below;

		assert_int_equal(mkdirat(fd, "d", 0700), 0);
		below = openat(fd, "d", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		assert_true(below >= 0);
		close(fd);
		fd = below;
	}
	close(fd);
	assert_wiped();
}

static void test_wide(void **state)
{
	(void)state;
	for (int i = 0; i < 4000; i++) {
		char path[128];

		snprintf(path, sizeof(path), "%s/%d", slot, i);
		assert_int_equal(mkdir(path, 0700), 0);
		write_file(path, "file", "x", 1);
	}
	assert_wiped();
}

/* More than one in another, so that the way down leaves the ring of open ones. */
#define LEVELS 40

static void test_closed(void **state)
{
	int fds[LEVELS + 1] = {open(slot, O_RDONLY | O_DIRECTORY | O_CLOEXEC)};

	(void)state;
	for (int i = 0; i < LEVELS; i++) {
		assert_int_equal(mkdirat(fds[i], "closed", 0700), 0);
		fds[i + 1] = openat(fds[i], "closed", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		assert_true(fds[i + 1] >= 0);
		close(openat(fds[i + 1], "file", O_WRONLY | O_CREAT | O_CLOEXEC, 0));
	}
	for (int i = LEVELS; i >= 0; i--) {
		assert_int_equal(fchmod(fds[i], 0000), 0);
		close(fds[i]);
	}
	assert_wiped();
}

/* Each mode that its owner has, with something in it and in what is in that. */
static void test_modes(void **state)
{
	(void)state;
	for (unsigned mode = 0; mode < 64; mode++) {
		char path[128], inside[160];

		snprintf(path, sizeof(path), "%s/%u", slot, mode);
		snprintf(inside, sizeof(inside), "%s/dir", path);
		assert_int_equal(mkdir(path, 0700) + mkdir(inside, 0700), 0);
		write_file(path, "file", "x", 1);
		write_file(inside, "file", "x", 1);
		assert_int_equal(chmod(inside, (mode & 7U) << 6) + chmod(path, (mode >> 3) << 6), 0);
	}
	assert_int_equal(chmod(slot, 01500), 0);
	assert_wiped();
}

/* What no worker has the calls for, too. */
static void test_nodes(void **state)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	char path[128];

	(void)state;
	snprintf(path, sizeof(path), "%s/dir", slot);
	assert_int_equal(mkdir(path, 0700), 0);
	snprintf(address.sun_path, sizeof(address.sun_path), "%s/dir/socket", slot);
	assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	snprintf(path, sizeof(path), "%s/dir/fifo", slot);
	assert_int_equal(mkfifo(path, 0), 0);
	assert_wiped();
	close(fd);
}

/* Names as long as may be; a file with a hole, open and mapped by somebody yet. */
static void test_held(void **state)
{
	char name[NAME_MAX + 1], path[160];
	void *data;
	int dir, fd;

	(void)state;
	memset(name, 'x', NAME_MAX);
	name[NAME_MAX] = '\0';
	dir = open(slot, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_int_equal(mkdirat(dir, name, 0700), 0);
	close(dir);
	snprintf(path, sizeof(path), "%s/dir", slot);
	assert_int_equal(mkdir(path, 0700), 0);
	dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	fd = openat(dir, name, O_RDWR | O_CREAT | O_CLOEXEC, 0);
	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, (off_t)1 << 40), 0);
	data = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	assert_true(data != MAP_FAILED);
	assert_int_equal(fchmod(dir, 0), 0);
	assert_wiped();
	memset(data, 1, 4096);
	munmap(data, 4096);
	close(fd);
	close(dir);
}

#define CASES(walls_of)                                                                                      \
	CASE(test_plain, walls_of), CASE(test_links, walls_of), CASE(test_deep, walls_of),                   \
		CASE(test_deepest, walls_of), CASE(test_wide, walls_of), CASE(test_closed, walls_of),        \
		CASE(test_modes, walls_of), CASE(test_nodes, walls_of), CASE(test_held, walls_of)
#define CASE(f, walls_of)                                                                                    \
	{                                                                                                    \
#f " " #walls_of, f, make, end, (void *)(uintptr_t)&those[walls_of]                          \
	}

int main(void)
{
	static const enum walls those[] = {NO_WALLS, ROOM};
	const struct CMUnitTest tests[] = {CASES(NO_WALLS), CASES(ROOM)};

	if (geteuid() == 0 &&
	    (setresgid(NOBODY, NOBODY, NOBODY) != 0 || setresuid(NOBODY, NOBODY, NOBODY) != 0))
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
