/*
 * tests/unit/test_place.c - directories by path and new files: no link is
 * followed, nothing is replaced, whatever is swapped meanwhile.
 */
#include "quartest.h"

#include "ampquard/place.h"
#include "proto/types.h"

#include <seccomp.h>
#include <sys/xattr.h>

static int dir_of(const char *path)
{
	return place_directory(path, strlen(path));
}

static void expect_error(const char *path, int error)
{
	errno = 0;
	assert_int_equal(dir_of(path), -1);
	assert_int_equal(errno, error);
}

static void directories(void **state)
{
	int fd, made;

	(void)state;
	QT_NEED();
	made = qt_mkdir("a", 0755);
	close(qt_mkdir("a/b", 0755));
	close(qt_file(made, "file", "x"));
	assert_int_equal(symlink("b", qt_path("a/link")), 0);
	fd = dir_of(qt_path("a/b"));
	assert_true(fd >= 0);
	assert_int_equal(qt_ino(fd), qt_ino_at(made, "b"));
	assert_int_equal(fsync(fd), 0);
	close(fd);
	fd = dir_of("/");
	assert_true(fd >= 0);
	close(fd);
	expect_error(qt_path("a/link"), ELOOP);
	expect_error(qt_path("a/link/c"), ELOOP);
	expect_error(qt_path("a/file"), ENOTDIR);
	expect_error(qt_path("a/none"), ENOENT);
	expect_error("/proc/self/cwd", ELOOP);
	expect_error(qt_path("a/"), EINVAL);
	expect_error(qt_path("a//b"), EINVAL);
	expect_error(qt_path("a/./b"), EINVAL);
	expect_error(qt_path("a/../a"), EINVAL);
	expect_error(qt_path("a/.."), EINVAL);
	expect_error("relative", EINVAL);
	expect_error("", EINVAL);
	expect_error("//", EINVAL);
	assert_int_equal(place_directory("/a\0b", 4), -1);
	assert_int_equal(errno, EINVAL);
	assert_int_equal(place_directory("/tmpx", 4) >= 0, true); /* the length counts, not a NUL */
	close(made);
}

/* Each component of 200 bytes, 150 deep: 30,000 bytes. */
static void long_paths(void **state)
{
	static char path[AMP_PATH_MAX + 300];
	const int depth = 150;
	size_t n = strlen(qt_dir);
	int at, fd;

	(void)state;
	QT_NEED();
	strcpy(path, qt_dir);
	at = open(qt_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	for (int i = 0; i < depth; i++) {
		char name[201];

		memset(name, 'a' + i % 26, 200);
		name[200] = '\0';
		assert_int_equal(mkdirat(at, name, 0755), 0);
		fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		close(at);
		at = fd;
		n += (size_t)sprintf(path + n, "/%s", name);
	}
	fd = place_directory(path, n);
	assert_true(fd >= 0);
	assert_int_equal(qt_ino(fd), qt_ino(at));
	close(fd);
	assert_int_equal(symlinkat("/", at, "link"), 0);
	strcpy(path + n, "/link");
	expect_error(path, ELOOP);
	memset(path + n + 1, 'x', 256);
	path[n + 257] = '\0';
	expect_error(path, ENAMETOOLONG);
	memset(path, 'x', sizeof(path));
	for (size_t i = 0; i < sizeof(path); i += 100)
		path[i] = '/';
	assert_int_equal(place_directory(path, AMP_PATH_MAX + 1), -1);
	assert_int_equal(errno, ENAMETOOLONG);
	close(at);
}

/* Borders of the pieces: every length of a last component around 4096. */
static void borders(void **state)
{
	char path[8192];
	size_t n;
	int fd;

	(void)state;
	QT_NEED();
	strcpy(path, qt_dir);
	while ((n = strlen(path)) < 3900) {
		sprintf(path + n, "/%0150d", 7);
		assert_int_equal(mkdir(path, 0755), 0);
	}
	for (size_t length = 4085; length < 4105; length++) {
		int parent = place_directory(path, n);

		assert_true(parent >= 0);
		memset(path + n, 'y', length - n);
		path[n] = '/';
		path[length] = '\0';
		assert_int_equal(mkdirat(parent, path + n + 1, 0755), 0);
		fd = dir_of(path);
		assert_true(fd >= 0);
		assert_int_equal(qt_ino(fd), qt_ino_at(parent, path + n + 1));
		close(fd);
		close(parent);
	}
}

static int keeper_dir;

static void refuse(int nr, int error, unsigned arg, uint64_t mask, uint64_t value)
{
	scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_ALLOW);
	struct scmp_arg_cmp cmp = {arg, SCMP_CMP_MASKED_EQ, mask, value};

	QT_CHECK(ctx &&
		 seccomp_rule_add_array(ctx, SCMP_ACT_ERRNO((uint32_t)error), nr, mask ? 1 : 0, &cmp) == 0);
	QT_CHECK(seccomp_load(ctx) == 0);
	seccomp_release(ctx);
}

static void keeper_walks(void)
{
	int fd;

	refuse(SCMP_SYS(openat2), ENOSYS, 0, 0, 0);
	fd = dir_of(qt_path("w/b/c"));
	QT_CHECK(fd >= 0 && qt_ino(fd) == qt_ino_at(keeper_dir, "b/c"));
	QT_CHECK(dir_of(qt_path("w/link")) == -1 && errno == ELOOP);
	QT_CHECK(dir_of(qt_path("w/link/c")) == -1 && errno == ELOOP);
	QT_CHECK(dir_of(qt_path("w/file")) == -1 && errno == ENOTDIR);
	QT_CHECK(dir_of(qt_path("w/none/c")) == -1 && errno == ENOENT);
}

static void without_openat2(void **state)
{
	(void)state;
	QT_NEED();
	keeper_dir = qt_mkdir("w", 0700);
	close(qt_mkdir("w/b", 0700));
	close(qt_mkdir("w/b/c", 0700));
	close(qt_file(keeper_dir, "file", "x"));
	assert_int_equal(symlink("b", qt_path("w/link")), 0);
	qt_as_keeper(keeper_walks, false);
	close(keeper_dir);
}

static void make_and_name(int dir)
{
	struct place *p = place_new(dir, "unique");
	char longest[257];
	struct stat st;

	QT_CHECK(p != NULL);
	QT_CHECK(fstat(place_fd(p), &st) == 0 && S_ISREG(st.st_mode));
	QT_CHECK((st.st_mode & 07777) == 0 && st.st_size == 0);
	QT_CHECK(fgetxattr(place_fd(p), "system.posix_acl_access", NULL, 0) == -1);
	QT_CHECK(pwrite(place_fd(p), "content", 7, 0) == 7);
	QT_CHECK(fchmod(place_fd(p), 0640) == 0);
	QT_CHECK(place_name(p, "there") == -1 && errno == EEXIST);
	QT_CHECK(place_name(p, "dangling") == -1 && errno == EEXIST);
	QT_CHECK(place_name(p, "fifo") == -1 && errno == EEXIST);
	QT_CHECK(place_name(p, "sub") == -1 && errno == EEXIST);
	QT_CHECK(place_name(p, "..") == -1 && errno == EINVAL);
	QT_CHECK(place_name(p, "") == -1 && errno == EINVAL);
	QT_CHECK(place_name(p, "sub/x") == -1 && errno == EINVAL);
	memset(longest, 'l', 256);
	longest[256] = '\0';
	QT_CHECK(place_name(p, longest) == -1 && errno == ENAMETOOLONG);
	longest[255] = '\0';
	longest[3] = '\n';
	longest[4] = '\xff';
	QT_CHECK(place_name(p, longest) == 0);
	QT_CHECK(qt_ino_at(dir, longest) == st.st_ino && qt_links(place_fd(p)) == 1);
	QT_CHECK(place_name(p, "again") == -1);
	place_free(p);
	p = place_new(dir, "unique");
	QT_CHECK(p != NULL);
	place_free(p); /* gone */
	QT_CHECK(place_sweep(dir, "unique") == 0);
	QT_CHECK(place_new(dir, "a/b") == NULL && errno == EINVAL);
	QT_CHECK(place_new(dir, "") == NULL && errno == EINVAL);
	QT_CHECK(place_new(-1, "x") == NULL);
}

static void keeper_makes(void)
{
	make_and_name(keeper_dir);
}

static void keeper_makes_without_tmpfile(void)
{
	refuse(SCMP_SYS(openat), EOPNOTSUPP, 2, O_TMPFILE & ~O_DIRECTORY, O_TMPFILE & ~O_DIRECTORY);
	make_and_name(keeper_dir);
}

static void keeper_makes_without_both(void)
{
	refuse(SCMP_SYS(renameat2), EINVAL, 4, RENAME_NOREPLACE, RENAME_NOREPLACE);
	keeper_makes_without_tmpfile();
}

static void new_files(void **state)
{
	static void (*const ways[])(void) = {keeper_makes, keeper_makes_without_tmpfile,
					     keeper_makes_without_both};
	static const struct {
		uint32_t version;
		struct {
			uint16_t tag, perm;
			uint32_t id;
		} e[5];
	} acl = {2, {{1, 7, ~0U}, {2, 7, QT_USER}, {4, 7, ~0U}, {0x10, 7, ~0U}, {0x20, 7, ~0U}}};

	(void)state;
	QT_NEED();
	for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]) + 1; i++) {
		char name[16];
		int fd;

		snprintf(name, sizeof(name), "new%zu", i);
		fd = qt_mkdir(name, 0700);
		close(qt_file(fd, "there", "old"));
		assert_int_equal(symlinkat("/tmp/amp-nowhere", fd, "dangling"), 0);
		assert_int_equal(mkfifoat(fd, "fifo", 0600), 0);
		assert_int_equal(mkdirat(fd, "sub", 0700), 0);
		assert_int_equal(fsetxattr(fd, "system.posix_acl_default", &acl, sizeof(acl), 0), 0);
		assert_int_equal(fchown(fd, QT_USER, QT_USER), 0);
		keeper_dir = openat(fd, ".", O_PATH | O_CLOEXEC);
		qt_as_keeper(ways[i % 3], i == 3);
		assert_int_equal(qt_count(fd), 5);
		close(keeper_dir);
		close(fd);
	}
}

/* What a keeper that died left is closed to everybody, and goes away. */
static void sweeps(void **state)
{
	(void)state;
	QT_NEED();
	keeper_dir = qt_mkdir("sweep", 0700);
	assert_int_equal(mkdirat(keeper_dir, ".amp-quarantine-new-u", 0700), 0);
	close(qt_file(keeper_dir, ".amp-quarantine-new-u/content", "half"));
	assert_int_equal(place_sweep(keeper_dir, "u"), 0);
	assert_int_equal(qt_count(keeper_dir), 0);
	assert_int_equal(place_sweep(keeper_dir, "u"), 0);
	assert_int_equal(mkdirat(keeper_dir, ".amp-quarantine-new-u", 0755), 0);
	assert_int_equal(place_sweep(keeper_dir, "u"), -1);
	close(keeper_dir);
}

/* ---- races ---- */

static int race_dir;

static void swap_component(void)
{
	renameat2(race_dir, "real", race_dir, "evil", RENAME_EXCHANGE);
	sched_yield();
}

/* A component is swapped with a link to the canary's directory: never gone through. */
static void swapped_directory(void **state)
{
	unsigned hits = 0, refused = 0;
	struct qt_thread t;
	ino_t right;
	int canary;
	double begin;

	(void)state;
	QT_NEED();
	race_dir = qt_mkdir("race", 0755);
	canary = qt_mkdir("canary", 0755);
	close(qt_mkdir("canary/in", 0755));
	close(qt_mkdir("race/real", 0755));
	close(qt_mkdir("race/real/in", 0755));
	right = qt_ino_at(race_dir, "real/in");
	assert_int_equal(symlink(qt_path("canary"), qt_path("race/evil")), 0);
	qt_thread_start(&t, swap_component);
	begin = qt_now();
	while (qt_goes_on(&t, begin, hits > 0 && refused > 0)) {
		int fd = dir_of(qt_path("race/real/in"));
		struct place *p;

		if (fd < 0) {
			assert_true(errno == ELOOP || errno == ENOENT);
			refused++;
			continue;
		}
		assert_int_equal(qt_ino(fd), right);
		p = place_new(fd, "u");
		assert_non_null(p);
		assert_int_equal(place_name(p, "restored"), 0);
		place_free(p);
		assert_int_equal(unlinkat(fd, "restored", 0), 0);
		hits++;
		close(fd);
	}
	qt_thread_stop(&t);
	assert_true(hits > 0 && refused > 0);
	assert_int_equal(qt_count(canary), 1);
	close(canary);
	close(race_dir);
}

static void swap_last(void)
{
	if (symlinkat("canary", race_dir, "name") == 0) {
		sched_yield();
		unlinkat(race_dir, "name", 0);
	}
	if (linkat(race_dir, "canary", race_dir, "name", 0) == 0) {
		sched_yield();
		unlinkat(race_dir, "name", 0);
	}
	sched_yield();
}

static void swapped_last(void **state)
{
	unsigned made = 0, refused = 0;
	struct qt_thread t;
	int canary;
	double begin;

	(void)state;
	QT_NEED();
	race_dir = qt_mkdir("last", 0755);
	canary = qt_file(race_dir, "canary", "good");
	qt_thread_start(&t, swap_last);
	begin = qt_now();
	while (qt_goes_on(&t, begin, made > 0 && refused > 0)) {
		struct place *p = place_new(race_dir, "u");

		assert_non_null(p);
		assert_int_equal(pwrite(place_fd(p), "restored", 8, 0), 8);
		if (place_name(p, "name") == 0) {
			made++;
		} else {
			assert_int_equal(errno, EEXIST);
			refused++;
		}
		place_free(p);
		assert_true(qt_content_is(canary, "good"));
	}
	qt_thread_stop(&t);
	assert_true(made > 0 && refused > 0);
	assert_true(qt_content_is(canary, "good"));
	close(canary);
	close(race_dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(directories),	     cmocka_unit_test(long_paths),
		cmocka_unit_test(borders),	     cmocka_unit_test(without_openat2),
		cmocka_unit_test(new_files),	     cmocka_unit_test(sweeps),
		cmocka_unit_test(swapped_directory), cmocka_unit_test(swapped_last),
	};

	return cmocka_run_group_tests_name("place", tests, qt_setup, qt_teardown);
}
