/*
 * tests/unit/test_open.c - opening by handle, names, and that a file system
 * is not kept from being unmounted.
 */
#include "readtest.h"

#include "clock.h"

#define PATH_WANT AMP__READ_ITEM__WANT__DIRECTORY_PATH
#define S(name)	  AMP__READ_RESULT__STATUS__##name

static amp_read_status path_of(const char *path, const char *mount_point, char *buf, size_t *length)
{
	int fd = open(path, O_PATH | O_CLOEXEC);
	amp_read_status s;

	assert_true(fd >= 0);
	s = amp_open_path(fd, mount_point, buf, length);
	close(fd);
	return s;
}

static void test_mount(void **state)
{
	int fd;

	(void)state;
	RT_NEED();
	fd = amp_open_mount(rt_dir, rt_fsid);
	assert_true(fd >= 0);
	close(fd);
	assert_int_equal(amp_open_mount(rt_dir, rt_fsid + 1), -1);
	assert_int_equal(errno, ENODEV);
	assert_int_equal(amp_open_mount("/proc", rt_fsid), -1);
	assert_int_equal(errno, ENODEV);
	assert_int_equal(amp_open_mount(rt_path("none"), rt_fsid), -1);
	assert_int_equal(errno, ENOENT);
	assert_int_equal(symlink(rt_dir, rt_path("link")), 0);
	assert_int_equal(amp_open_mount(rt_path("link"), rt_fsid), -1);
	unlink(rt_path("link"));
}

static void test_handle(void **state)
{
	struct amp_handle h;
	struct stat a, b;
	int mount, fd;

	(void)state;
	RT_NEED();
	rt_write("file", "abc", 3);
	h = rt_handle(rt_path("file"));
	mount = amp_open_mount(rt_dir, rt_fsid);
	fd = amp_open_handle(mount, &h, O_PATH);
	assert_true(fd >= 0);
	assert_int_equal(fstat(fd, &a), 0);
	assert_int_equal(stat(rt_path("file"), &b), 0);
	assert_int_equal(a.st_ino, b.st_ino);
	assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
	close(fd);
	unlink(rt_path("file"));
	assert_int_equal(amp_open_handle(mount, &h, O_PATH), -1);
	assert_int_equal(amp_open_status(errno), S(GONE));
	h.size = 0;
	assert_int_equal(amp_open_handle(mount, &h, O_PATH), -1);
	h.size = AMP_FILE_HANDLE_MAX + 1;
	assert_int_equal(amp_open_handle(mount, &h, O_PATH), -1);
	assert_int_equal(errno, EINVAL);
	close(mount);
}

static void test_path(void **state)
{
	char buf[AMP_OPEN_PATH_SIZE];
	size_t n = 0;
	int fd;

	(void)state;
	RT_NEED();
	mkdir(rt_path("sub"), 0700);
	assert_int_equal(path_of(rt_path("sub"), rt_dir, buf, &n), S(OK));
	assert_string_equal(buf, rt_path("sub"));
	assert_int_equal(n, strlen(buf));
	assert_int_equal(path_of(rt_dir, rt_dir, buf, &n), S(OK));
	assert_int_equal(path_of(rt_path("sub"), "/", buf, &n), S(OK));
	assert_int_equal(path_of(rt_path("sub"), "", buf, &n), S(OK));
	/* A sibling whose name only begins the same is not below. */
	assert_int_equal(path_of(rt_path("sub"), rt_path("su"), buf, &n), S(UNRESOLVED));
	/* A living directory may be called so. */
	mkdir(rt_path("x (deleted)"), 0700);
	assert_int_equal(path_of(rt_path("x (deleted)"), rt_dir, buf, &n), S(OK));
	assert_string_equal(buf, rt_path("x (deleted)"));
	fd = open(rt_path("sub"), O_PATH | O_CLOEXEC);
	rmdir(rt_path("sub"));
	assert_int_equal(amp_open_path(fd, rt_dir, buf, &n), S(GONE));
	close(fd);
	rmdir(rt_path("x (deleted)"));
}

/* Through a mount of a part only, a name looks like a host path and is none. */
static void test_partial_mount(void **state)
{
	char buf[AMP_OPEN_PATH_SIZE];
	struct amp_handle h;
	size_t n;
	int mount_fd, fd;

	(void)state;
	RT_NEED();
	mkdir(rt_path("a"), 0700);
	mkdir(rt_path("a/part"), 0700);
	mkdir(rt_path("b"), 0700);
	mkdir(rt_path("at"), 0700);
	assert_int_equal(mount(rt_path("a/part"), rt_path("at"), NULL, MS_BIND, NULL), 0);
	h = rt_handle(rt_path("b"));
	mount_fd = amp_open_mount(rt_path("at"), rt_fsid);
	assert_true(mount_fd >= 0);
	fd = amp_open_handle(mount_fd, &h, O_PATH);
	assert_true(fd >= 0);
	assert_int_not_equal(amp_open_path(fd, rt_path("at"), buf, &n), S(OK));
	close(fd);
	close(mount_fd);
	assert_int_equal(umount(rt_path("at")), 0);
}

static void test_long_path(void **state)
{
	char buf[AMP_OPEN_PATH_SIZE], name[201];
	int fd = -1, next;
	size_t n;

	(void)state;
	RT_NEED();
	memset(name, 'n', 200);
	name[200] = '\0';
	fd = open(rt_dir, O_PATH | O_CLOEXEC);
	for (int i = 0; i < 30; i++) {
		assert_int_equal(mkdirat(fd, name, 0700), 0);
		next = openat(fd, name, O_PATH | O_CLOEXEC);
		close(fd);
		fd = next;
	}
	assert_int_equal(amp_open_path(fd, rt_dir, buf, &n), S(UNRESOLVED));
	close(fd);
}

static void test_statuses(void **state)
{
	(void)state;
	assert_int_equal(amp_open_status(ESTALE), S(GONE));
	assert_int_equal(amp_open_status(ENOENT), S(GONE));
	assert_int_equal(amp_open_status(EAGAIN), S(BUSY));
	assert_int_equal(amp_open_status(EMFILE), S(BUSY));
	assert_int_equal(amp_open_status(EIO), S(UNREADABLE));
	assert_int_equal(amp_open_status(ETXTBSY), S(UNREADABLE));
}

static void test_mount_point_bounds(void **state)
{
	static uint8_t text[AMP_PATH_MAX + 1];
	ProtobufCBinaryData b = {.data = text, .len = 5};

	(void)state;
	memset(text, 'a', sizeof(text));
	assert_false(amp_open_mount_point_valid(&b));
	text[0] = '/';
	assert_true(amp_open_mount_point_valid(&b));
	b.len = AMP_PATH_MAX - 1;
	assert_true(amp_open_mount_point_valid(&b));
	b.len = AMP_PATH_MAX;
	assert_false(amp_open_mount_point_valid(&b));
	b.len = 0;
	assert_false(amp_open_mount_point_valid(&b));
	b.len = 5;
	text[3] = '\0';
	assert_false(amp_open_mount_point_valid(&b));
}

/* The directory is open while a job is in hand and a little longer: umount works. */
static void test_place_lets_go(void **state)
{
	struct amp_handle h;
	struct rig *g;
	char second[64] = "/tmp/amp-readtest2-XXXXXX";
	bool let_go = false;
	uint64_t fsid;

	(void)state;
	RT_NEED();
	assert_non_null(mkdtemp(second));
	assert_int_equal(mount("rt2", second, "tmpfs", 0, NULL), 0);
	assert_int_equal(amp_fsid_of_path(second, &fsid), 0);
	h = rt_handle(second);
	g = rig_new();
	/* However late we are, it is not idle for long. */
	amp_clock_freeze(amp_clock_monotonic(), amp_clock_realtime());
	{
		Amp__ReadItem item = AMP__READ_ITEM__INIT, *list[] = {&item};
		Amp__Handle wire = AMP__HANDLE__INIT;
		Amp__Read ask = AMP__READ__INIT;

		amp_handle_to_wire(&h, &wire);
		item.job = 1;
		item.want = PATH_WANT;
		item.fsid = fsid;
		item.handle = &wire;
		item.mount_point.data = (uint8_t *)second;
		item.mount_point.len = strlen(second);
		ask.n_items = 1;
		ask.items = list;
		assert_int_equal(amp_channel_send(g->scan, AMP_MSG_READ, 0, &ask.base, NULL, 0), 0);
		rig_until(g, &g->count, 1);
	}
	assert_int_equal(g->results[0].status, S(OK));
	assert_string_equal(g->results[0].path, second);
	assert_int_equal(umount(second), -1);
	assert_int_equal(errno, EBUSY);
	amp_clock_release();
	for (int i = 0; i < 30000 && !let_go; i++) {
		rig_run(g, 2);
		let_go = umount(second) == 0;
	}
	assert_true(let_go);
	rmdir(second);
	rig_free(g);
}

/* Shared while in use; made anew when old, so that a lazy umount is noticed. */
static void test_place_ages(void **state)
{
	struct event_base *base = event_base_new();
	struct amp_iothread *io = amp_iothread_new(base);
	struct amp_places *p = amp_places_new(base, io);
	struct amp_place *a, *b, *c;

	(void)state;
	assert_non_null(p);
	amp_clock_freeze(10 * AMP_NS_PER_SEC, 10 * AMP_NS_PER_SEC);
	a = amp_place_get(p, 1, "/a", 2);
	b = amp_place_get(p, 1, "/a", 2);
	assert_ptr_equal(a, b);
	c = amp_place_get(p, 2, "/a", 2);
	assert_ptr_not_equal(a, c);
	amp_place_put(b);
	amp_clock_advance(2 * AMP_NS_PER_SEC);
	b = amp_place_get(p, 1, "/a", 2);
	assert_ptr_not_equal(a, b);
	assert_int_equal(amp_places_count(p), 3);
	amp_place_put(a);
	amp_place_put(b);
	amp_place_put(c);
	amp_iothread_free(io);
	assert_int_equal(amp_places_count(p), 2);
	amp_places_free(p);
	amp_clock_release();
	event_base_free(base);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_mount),
		cmocka_unit_test(test_handle),
		cmocka_unit_test(test_path),
		cmocka_unit_test(test_partial_mount),
		cmocka_unit_test(test_long_path),
		cmocka_unit_test(test_statuses),
		cmocka_unit_test(test_mount_point_bounds),
		cmocka_unit_test(test_place_lets_go),
		cmocka_unit_test(test_place_ages),
	};

	return cmocka_run_group_tests_name("open", tests, rt_setup, rt_teardown);
}
