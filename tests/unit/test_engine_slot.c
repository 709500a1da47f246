/*
 * tests/unit/test_engine_slot.c - slots are wiped whatever is in them, and nothing else is.
 */
#include "zygotetest.h"

#include <sys/resource.h>

static char root[64], slot[80], outside[80];

static int make(void **state)
{
	(void)state;
	snprintf(root, sizeof(root), "/tmp/amp-slot-XXXXXX");
	if (!mkdtemp(root))
		return -1;
	snprintf(slot, sizeof(slot), "%s/slot", root);
	snprintf(outside, sizeof(outside), "%s/outside", root);
	return mkdir(outside, 0700) == 0 && slot_make(slot) == 0 ? 0 : -1;
}

static int end(void **state)
{
	(void)state;
	return slot_wipe(root);
}

static void assert_wiped(void)
{
	assert_int_equal(slot_wipe(slot), 0);
	assert_int_equal(access(slot, F_OK), -1);
	assert_int_equal(errno, ENOENT);
}

static void test_plain(void **state)
{
	(void)state;
	write_file(slot, "a", "x", 1);
	write_file(slot, "b\nc \xff", "x", 1);
	assert_int_equal(slot_make(slot), -1);
	assert_int_equal(errno, EEXIST);
	assert_wiped();
	assert_int_equal(slot_wipe(slot), 0); /* gone already */
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

static void test_wide(void **state)
{
	int64_t since = amp_clock_monotonic();

	(void)state;
	for (int i = 0; i < 4000; i++) {
		char path[128];

		snprintf(path, sizeof(path), "%s/%d", slot, i);
		assert_int_equal(mkdir(path, 0700), 0);
		write_file(path, "file", "x", 1);
	}
	assert_wiped();
	assert_true(amp_clock_monotonic() - since < 20 * AMP_NS_PER_SEC);
}

/* By somebody whom modes stop: not root. */
static void wipe_closed(void)
{
	char path[128], inside[160];

	snprintf(path, sizeof(path), "%s/closed", slot);
	assert_int_equal(mkdir(path, 0700), 0);
	write_file(path, "file", "x", 1);
	snprintf(inside, sizeof(inside), "%s/dir", path);
	assert_int_equal(mkdir(inside, 0700), 0);
	write_file(inside, "file", "x", 1);
	assert_int_equal(chmod(inside, 0400), 0);
	assert_int_equal(chmod(path, 0000), 0);
	assert_int_equal(chmod(slot, 0500), 0);
	assert_wiped();
}

static void test_closed(void **state)
{
	int status;
	pid_t pid;

	(void)state;
	if (geteuid() != 0) {
		wipe_closed();
		return;
	}
	assert_int_equal(chown(root, 65534, 65534) + chown(slot, 65534, 65534), 0);
	pid = fork();
	if (pid == 0) {
		if (setresuid(65534, 65534, 65534) != 0)
			_exit(1);
		wipe_closed();
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_plain, make, end),
		cmocka_unit_test_setup_teardown(test_links, make, end),
		cmocka_unit_test_setup_teardown(test_deep, make, end),
		cmocka_unit_test_setup_teardown(test_wide, make, end),
		cmocka_unit_test_setup_teardown(test_closed, make, end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
