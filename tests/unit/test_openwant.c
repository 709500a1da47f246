/*
 * tests/unit/test_openwant.c - descriptors that ampread opens for others: what
 * they lead to, that they are read-only, and host paths beyond PATH_MAX.
 */
#include "readtest.h"

#include "ampscand/ampread/climb.h"

#define FILE_WANT AMP__READ_ITEM__WANT__OPEN_FILE
#define DIR_WANT  AMP__READ_ITEM__WANT__OPEN_DIRECTORY
#define S(name)	  AMP__READ_RESULT__STATUS__##name
#define DEEP	  40 /* levels of 250 bytes: far beyond PATH_MAX */

static char deep_path[AMP_PATH_MAX];

static int access_mode(int fd)
{
	return fcntl(fd, F_GETFL) & (O_ACCMODE | O_PATH);
}

static void same_inode(int fd, const char *path)
{
	struct stat a, b;

	assert_true(fd >= 0);
	assert_int_equal(fstat(fd, &a), 0);
	assert_int_equal(lstat(path, &b), 0);
	assert_int_equal(a.st_ino, b.st_ino);
	assert_int_equal(a.st_dev, b.st_dev);
}

static void test_file(void **state)
{
	struct rig *g;
	struct amp_handle h;
	char buf[8];
	size_t r;

	(void)state;
	RT_NEED();
	g = rig_new();
	rt_write("file", "abc", 3);
	h = rt_handle(rt_path("file"));
	r = rig_result(g, FILE_WANT, &h, 0, -1);
	assert_int_equal(g->results[r].status, S(OK));
	same_inode(g->results[r].fd, rt_path("file"));
	assert_int_equal(access_mode(g->results[r].fd), O_RDONLY);
	assert_int_equal(read(g->results[r].fd, buf, sizeof(buf)), 3);
	close(g->results[r].fd);
	unlink(rt_path("file"));
	r = rig_result(g, FILE_WANT, &h, 0, -1);
	assert_int_equal(g->results[r].status, S(GONE));
	assert_int_equal(g->results[r].fd, -1);
	rig_free(g);
}

/* Nothing but a regular file is opened: a FIFO's writer would be let go. */
static void test_special(void **state)
{
	struct rig *g;
	struct amp_handle h;
	size_t r;

	(void)state;
	RT_NEED();
	g = rig_new();
	assert_int_equal(mkfifo(rt_path("fifo"), 0600), 0);
	h = rt_handle(rt_path("fifo"));
	r = rig_result(g, FILE_WANT, &h, 0, -1);
	assert_int_equal(g->results[r].status, S(NOT_REGULAR));
	assert_int_equal(g->results[r].fd, -1);
	r = rig_result(g, DIR_WANT, &h, 0, -1);
	assert_int_not_equal(g->results[r].status, S(OK));
	assert_int_equal(g->results[r].fd, -1);
	assert_int_equal(open(rt_path("fifo"), O_WRONLY | O_NONBLOCK), -1); /* nobody has it open */
	unlink(rt_path("fifo"));
	rig_free(g);
}

static void test_stand_in(void **state)
{
	struct rig *g;
	struct amp_handle h = {.type = -1, .size = 16};
	size_t r;

	(void)state;
	RT_NEED();
	assert_true(amp_handle_is_stand_in(&h));
	g = rig_new();
	r = rig_result(g, FILE_WANT, &h, 0, -1);
	assert_int_equal(g->results[r].status, S(GONE));
	r = rig_result(g, DIR_WANT, &h, 0, -1);
	assert_int_equal(g->results[r].status, S(GONE));
	rig_free(g);
}

static void test_directory(void **state)
{
	struct rig *g;
	struct amp_handle h;
	size_t r;

	(void)state;
	RT_NEED();
	g = rig_new();
	mkdir(rt_path("sub"), 0700);
	h = rt_handle(rt_path("sub"));
	r = rig_result(g, DIR_WANT, &h, 0, -1);
	assert_int_equal(g->results[r].status, S(OK));
	same_inode(g->results[r].fd, rt_path("sub"));
	assert_int_equal(access_mode(g->results[r].fd), O_RDONLY);
	assert_string_equal(g->results[r].path, rt_path("sub"));
	close(g->results[r].fd);
	rmdir(rt_path("sub"));
	r = rig_result(g, DIR_WANT, &h, 0, -1);
	assert_int_equal(g->results[r].status, S(GONE));
	assert_int_equal(g->results[r].fd, -1);
	rig_free(g);
}

/* Of many results each message carries as many descriptors as one may. */
static void test_many(void **state)
{
	struct rig *g;
	struct amp_handle h;
	struct stat st;

	(void)state;
	RT_NEED();
	g = rig_new();
	rt_write("file", "abc", 3);
	h = rt_handle(rt_path("file"));
	for (uint64_t i = 0; i < 30; i++)
		rig_ask(g, i, FILE_WANT, &h, 0, -1);
	rig_until(g, &g->count, 30);
	/* The rig counts them against the results. */
	assert_true(g->batches >= (30 + AMP_MSG_MAX_FDS - 1) / AMP_MSG_MAX_FDS);
	for (size_t i = 0; i < 30; i++) {
		assert_int_equal(fstat(g->results[i].fd, &st), 0);
		assert_int_equal(st.st_size, 3);
		close(g->results[i].fd);
	}
	unlink(rt_path("file"));
	rig_free(g);
}

/* A directory far below rt_dir, made step by step; its descriptor. deep_path is its path. */
static int make_deep(void)
{
	char name[251];
	int at = open(rt_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC), next;
	size_t n = (size_t)snprintf(deep_path, sizeof(deep_path), "%s", rt_dir);

	for (int i = 0; i < DEEP; i++) {
		memset(name, 'a' + i % 26, sizeof(name) - 1);
		name[sizeof(name) - 1] = '\0';
		for (int k = 0; k < 50; k++) { /* what has to be told from it */
			char other[32];

			snprintf(other, sizeof(other), "beside-%d", k);
			mkdirat(at, other, 0700);
		}
		assert_int_equal(mkdirat(at, name, 0700), 0);
		n += (size_t)snprintf(deep_path + n, sizeof(deep_path) - n, "/%s", name);
		next = openat(at, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		assert_true(next >= 0);
		close(at);
		at = next;
	}
	return at;
}

static void remove_below(int dir)
{
	char command[128];

	close(dir);
	snprintf(command, sizeof(command), "rm -rf %s/*", rt_dir);
	assert_int_equal(system(command), 0);
}

static void test_deep(void **state)
{
	struct rig *g;
	struct amp_handle h;
	struct stat a, b;
	size_t r;
	int dir;

	(void)state;
	RT_NEED();
	g = rig_new();
	dir = make_deep();
	assert_true(strlen(deep_path) > 2 * 4096);
	assert_int_equal(amp_handle_at(dir, "", AT_EMPTY_PATH, &h, NULL), 0);
	r = rig_result(g, DIR_WANT, &h, 0, -1);
	assert_int_equal(g->results[r].status, S(OK));
	assert_int_equal(fstat(dir, &a), 0);
	assert_int_equal(fstat(g->results[r].fd, &b), 0);
	assert_int_equal(a.st_ino, b.st_ino);
	assert_int_equal(g->results[r].path_length, strlen(deep_path));
	assert_string_equal(g->results[r].path, deep_path);
	close(g->results[r].fd);
	/* Of a path alone it is still too long. */
	r = rig_result(g, AMP__READ_ITEM__WANT__DIRECTORY_PATH, &h, 0, -1);
	assert_int_equal(g->results[r].status, S(UNRESOLVED));
	remove_below(dir);
	rig_free(g);
}

static bool climbs(int dir, const char *mount_point, unsigned levels, unsigned entries, char *path)
{
	struct amp_climb *c = amp_climb_new(dir, mount_point);
	const char *found;
	size_t n = 0;

	assert_non_null(c);
	amp_climb_set_limits(c, levels, entries);
	while (!amp_climb_step(c))
		;
	found = amp_climb_path(c, &n);
	if (found) {
		assert_int_equal(strlen(found), n);
		strcpy(path, found);
	}
	amp_climb_free(c);
	return found != NULL;
}

static void test_bounds(void **state)
{
	static char path[AMP_PATH_MAX];
	int dir;

	(void)state;
	RT_NEED();
	dir = make_deep();
	assert_true(climbs(dir, rt_dir, 4096, 200000, path));
	assert_string_equal(path, deep_path);
	assert_false(climbs(dir, rt_dir, 10, 200000, path));
	assert_false(climbs(dir, rt_dir, 4096, 20, path)); /* one for each level at least */
	/* Not below the mount point: no host path. */
	assert_false(climbs(dir, "/elsewhere", 4096, 200000, path));
	remove_below(dir);
}

/* A path of more than AMP_PATH_MAX bytes is none: it would not fit the message. */
static void test_too_long(void **state)
{
	static char path[AMP_PATH_MAX];
	char name[256];
	struct rig *g;
	struct amp_handle h;
	size_t r;
	int at, next;

	(void)state;
	RT_NEED();
	g = rig_new();
	memset(name, 'x', 255);
	name[255] = '\0';
	at = open(rt_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	for (size_t n = 0; n < AMP_PATH_MAX; n += 256) {
		assert_int_equal(mkdirat(at, name, 0700), 0);
		next = openat(at, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		assert_true(next >= 0);
		close(at);
		at = next;
	}
	assert_false(climbs(at, rt_dir, 4096, 200000, path));
	assert_int_equal(amp_handle_at(at, "", AT_EMPTY_PATH, &h, NULL), 0);
	r = rig_result(g, DIR_WANT, &h, 0, -1);
	assert_int_equal(g->results[r].status, S(OK));
	assert_true(g->results[r].fd >= 0);
	assert_int_equal(g->results[r].path_length, 0);
	close(g->results[r].fd);
	remove_below(at);
	rig_free(g);
}

/* An item that is opened comes by handle; a descriptor with it breaks the protocol. */
static void test_by_descriptor(void **state)
{
	struct rig *g;
	int fd;

	(void)state;
	RT_NEED();
	g = rig_new();
	fd = open(rt_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	rig_ask(g, 1, DIR_WANT, NULL, 0, fd);
	rig_idle(g);
	assert_int_equal(g->hostile, 1);
	close(fd);
	rig_free(g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_file),	      cmocka_unit_test(test_special),
		cmocka_unit_test(test_stand_in),      cmocka_unit_test(test_directory),
		cmocka_unit_test(test_many),	      cmocka_unit_test(test_deep),
		cmocka_unit_test(test_bounds),	      cmocka_unit_test(test_too_long),
		cmocka_unit_test(test_by_descriptor),
	};

	return cmocka_run_group_tests(tests, rt_setup, rt_teardown);
}
