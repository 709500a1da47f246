/*
 * tests/unit/test_hash.c - items of a READ, from the message to the result.
 */
#include "readtest.h"

#include "iohold.h"

#include "ampscand/ampread/hash.h"

#define WANT(name) AMP__READ_ITEM__WANT__##name
#define S(name)	   AMP__READ_RESULT__STATUS__##name
#define ABC	   "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"

static void assert_sha(const uint8_t *sha, const char *hex)
{
	char buf[AMP_SHA256_HEX];

	assert_string_equal(amp_sha256_hex(sha, buf), hex);
}

static void test_hash(void **state)
{
	struct amp_handle h;
	struct rig *g;
	size_t i;

	(void)state;
	RT_NEED();
	g = rig_new();
	rt_write("abc", "abc", 3);
	h = rt_handle(rt_path("abc"));
	i = rig_result(g, WANT(HASH), &h, 0, -1);
	assert_int_equal(g->results[i].status, S(OK));
	assert_true(g->results[i].has_sha && g->results[i].has_identity);
	assert_sha(g->results[i].sha, ABC);
	assert_int_equal(g->results[i].identity.size, 3);
	assert_false(g->results[i].script);
	i = rig_result(g, WANT(HASH), &h, 3, -1);
	assert_int_equal(g->results[i].status, S(OK));
	i = rig_result(g, WANT(HASH), &h, 2, -1);
	assert_int_equal(g->results[i].status, S(TOO_LARGE_NOW));
	assert_true(g->results[i].has_identity && !g->results[i].has_sha);
	i = rig_result(g, WANT(IDENTITY), &h, 0, -1);
	assert_int_equal(g->results[i].status, S(OK));
	assert_int_equal(g->results[i].identity.size, 3);
	unlink(rt_path("abc"));
	i = rig_result(g, WANT(HASH), &h, 0, -1);
	assert_int_equal(g->results[i].status, S(GONE));
	i = rig_result(g, WANT(DIRECTORY_PATH), &h, 0, -1);
	assert_int_equal(g->results[i].status, S(GONE));
	rig_free(g);
}

static void script_of(struct rig *g, const char *text, size_t n, bool script, const char *line)
{
	struct amp_handle h;
	size_t i;

	rt_write("script", text, n);
	h = rt_handle(rt_path("script"));
	i = rig_result(g, WANT(HASH), &h, 0, -1);
	assert_int_equal(g->results[i].status, S(OK));
	assert_int_equal(g->results[i].script, script);
	assert_string_equal(g->results[i].line, line);
}

static void test_script(void **state)
{
	static char lengthy[1000];
	char expected[256];
	struct rig *g;

	(void)state;
	RT_NEED();
	g = rig_new();
	script_of(g, "#!/bin/sh -e\nexit 0\n", 20, true, "/bin/sh -e");
	script_of(g, "#!/bin/sh", 9, true, "/bin/sh");
	script_of(g, "#!", 2, true, "");
	script_of(g, "#", 1, false, "");
	script_of(g, "", 0, false, "");
	script_of(g, "x#!/bin/sh\n", 11, false, "");
	memset(lengthy, 'a', sizeof(lengthy));
	memcpy(lengthy, "#!", 2);
	memset(expected, 'a', 255);
	expected[255] = '\0';
	script_of(g, lengthy, sizeof(lengthy), true, expected);
	rig_free(g);
}

/* Opening a FIFO would release a writer that waits: it is looked at only. */
static void test_not_regular(void **state)
{
	struct amp_handle h;
	struct rig *g;
	size_t i;

	(void)state;
	RT_NEED();
	g = rig_new();
	assert_int_equal(mkfifo(rt_path("fifo"), 0600), 0);
	h = rt_handle(rt_path("fifo"));
	i = rig_result(g, WANT(HASH), &h, 0, -1);
	assert_int_equal(g->results[i].status, S(NOT_REGULAR));
	assert_int_equal(open(rt_path("fifo"), O_WRONLY | O_NONBLOCK), -1);
	mkdir(rt_path("dir"), 0700);
	h = rt_handle(rt_path("dir"));
	i = rig_result(g, WANT(HASH), &h, 0, -1);
	assert_int_equal(g->results[i].status, S(NOT_REGULAR));
	i = rig_result(g, WANT(DIRECTORY_PATH), &h, 0, -1);
	assert_int_equal(g->results[i].status, S(OK));
	assert_string_equal(g->results[i].path, rt_path("dir"));
	rig_free(g);
}

/* No name any more, but somebody holds it: judged all the same. */
static void test_deleted_alive(void **state)
{
	struct amp_handle h;
	struct rig *g;
	size_t i;
	int fd;

	(void)state;
	RT_NEED();
	g = rig_new();
	rt_write("ghost", "abc", 3);
	h = rt_handle(rt_path("ghost"));
	fd = open(rt_path("ghost"), O_RDONLY | O_CLOEXEC);
	unlink(rt_path("ghost"));
	/* tmpfs finds no handle of a file without a name; ext4 does. Both are right answers. */
	i = rig_result(g, WANT(HASH), &h, 0, -1);
	if (g->results[i].status != S(GONE)) {
		assert_int_equal(g->results[i].status, S(OK));
		assert_sha(g->results[i].sha, ABC);
	}
	i = rig_result(g, WANT(HASH), NULL, 0, fd);
	assert_int_equal(g->results[i].status, S(OK));
	assert_sha(g->results[i].sha, ABC);
	assert_int_equal(lseek(fd, 0, SEEK_CUR), 0);
	close(fd);
	rig_free(g);
}

static void test_by_fd(void **state)
{
	struct rig *g;
	int fd, pair[2];
	size_t i;

	(void)state;
	RT_NEED();
	g = rig_new();
	rt_write("by-fd", "abc", 3);
	fd = open(rt_path("by-fd"), O_RDONLY | O_CLOEXEC);
	i = rig_result(g, WANT(HASH), NULL, 0, fd);
	assert_int_equal(g->results[i].status, S(OK));
	assert_sha(g->results[i].sha, ABC);
	i = rig_result(g, WANT(DIRECTORY_PATH), NULL, 0, fd);
	assert_int_equal(g->results[i].status, S(OK));
	assert_string_equal(g->results[i].path, rt_path("by-fd"));
	i = rig_result(g, WANT(IDENTITY), NULL, 0, fd);
	assert_int_equal(g->results[i].identity.size, 3);
	close(fd);
	assert_int_equal(pipe(pair), 0);
	i = rig_result(g, WANT(HASH), NULL, 0, pair[0]);
	assert_int_equal(g->results[i].status, S(NOT_REGULAR));
	close(pair[0]);
	close(pair[1]);
	fd = open(rt_path("by-fd"), O_WRONLY | O_CLOEXEC);
	i = rig_result(g, WANT(HASH), NULL, 0, fd);
	assert_int_equal(g->results[i].status, S(UNREADABLE));
	assert_int_equal(g->results[i].error, EBADF);
	close(fd);
	rig_free(g);
}

/* A write lease would keep a blocking open for 45 s. */
static void test_lease(void **state)
{
	struct amp_handle h;
	struct rig *g;
	size_t i;
	int fd;

	(void)state;
	RT_NEED();
	g = rig_new();
	rt_write("leased", "abc", 3);
	h = rt_handle(rt_path("leased"));
	fd = open(rt_path("leased"), O_RDWR | O_CLOEXEC);
	assert_int_equal(fcntl(fd, F_SETLEASE, F_WRLCK), 0);
	i = rig_result(g, WANT(HASH), &h, 0, -1);
	assert_int_equal(g->results[i].status, S(BUSY));
	assert_int_equal(g->results[i].error, EAGAIN);
	fcntl(fd, F_SETLEASE, F_UNLCK);
	close(fd);
	i = rig_result(g, WANT(HASH), &h, 0, -1);
	assert_int_equal(g->results[i].status, S(OK));
	rig_free(g);
}

/* Hashes file `name`, doing `act` after the first step. */
static struct amp_read_outcome hash_with(const char *name, void (*act)(int fd))
{
	struct amp_read_outcome out = {0};
	struct amp_hash hash;
	int fd = open(rt_path(name), O_RDWR | O_APPEND | O_CLOEXEC);
	int steps = 0;

	assert_true(fd >= 0);
	assert_true(amp_hash_begin(&hash, fd, 0, &out));
	while (!amp_hash_step(&hash, 256 * 1024, &out)) {
		if (steps++ == 0 || act)
			act(fd);
		assert_true(steps < 100);
	}
	close(fd);
	return out;
}

static void nothing(int fd)
{
	(void)fd;
}

static void grow(int fd)
{
	static char more[256 * 1024];

	assert_int_equal(write(fd, more, sizeof(more)), sizeof(more));
}

static void shrink(int fd)
{
	assert_int_equal(ftruncate(fd, 100), 0);
}

static void rewrite(int fd)
{
	struct timespec t[2] = {{.tv_sec = 5}, {.tv_sec = 5}};

	assert_int_equal(futimens(fd, t), 0);
}

static void test_changed(void **state)
{
	static char data[1024 * 1024];
	struct amp_read_outcome out;

	(void)state;
	RT_NEED();
	rt_write("changing", data, sizeof(data));
	out = hash_with("changing", nothing);
	assert_int_equal(out.status, S(OK));
	assert_sha(out.sha, "30e14955ebf1352266dc2ff8067e68104607e750abb9d3b36582b8af909fcb58");
	assert_true(out.hash_ns > 0);
	/* Who appends as fast as we read is not followed for ever. */
	out = hash_with("changing", grow);
	assert_int_equal(out.status, S(CHANGED));
	assert_true(out.has_sha);
	out = hash_with("changing", shrink);
	assert_int_equal(out.status, S(CHANGED));
	rt_write("changing", data, sizeof(data));
	out = hash_with("changing", rewrite);
	assert_int_equal(out.status, S(CHANGED));
}

/* Once so many are in hand. */
static void let_go(struct rig *g, struct io_hold *h, size_t in_hand)
{
	for (int i = 0; i < 30000 && amp_reader_in_hand(g->reader) < in_hand; i++)
		rig_run(g, 2);
	assert_int_equal(amp_reader_in_hand(g->reader), in_hand);
	assert_int_equal(g->count, 0);
	io_let_go(h);
}

/* Bytes that take several turns; valgrind is thirty times slower. */
static off_t long_to_hash(void)
{
	return (off_t)(getenv("AMP_VALGRIND") ? 16 : 200) * 1024 * 1024;
}

/* A long hash lets short ones go first; all results come. */
static void test_turns(void **state)
{
	struct amp_handle big, small;
	struct io_hold hold;
	struct rig *g;
	int fd;

	(void)state;
	RT_NEED();
	g = rig_new();
	fd = open(rt_path("big"), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	assert_int_equal(ftruncate(fd, long_to_hash()), 0);
	close(fd);
	rt_write("small", "abc", 3);
	big = rt_handle(rt_path("big"));
	small = rt_handle(rt_path("small"));
	io_hold(g->io, &hold);
	for (uint64_t i = 0; i < 12; i++)
		rig_ask(g, i, WANT(HASH), &big, 0, -1);
	for (uint64_t i = 12; i < 100; i++)
		rig_ask(g, i, WANT(HASH), &small, 0, -1);
	let_go(g, &hold, 100);
	rig_until(g, &g->count, 88);
	for (size_t i = 0; i < 88; i++) {
		assert_true(g->results[i].job >= 12);
		assert_int_equal(g->results[i].status, S(OK));
	}
	rig_until(g, &g->count, 100);
	assert_int_equal(g->results[99].status, S(OK));
	assert_int_equal(amp_reader_in_hand(g->reader), 0);
	unlink(rt_path("big"));
	rig_free(g);
}

/* 64 items in one message; results in batches. */
static void test_batch(void **state)
{
	Amp__ReadItem items[AMP_READ_BATCH + 1], *list[AMP_READ_BATCH + 1];
	Amp__Handle wire = AMP__HANDLE__INIT;
	Amp__Read ask = AMP__READ__INIT;
	struct amp_handle h;
	struct io_hold hold;
	struct rig *g;

	(void)state;
	RT_NEED();
	g = rig_new();
	rt_write("batch", "abc", 3);
	h = rt_handle(rt_path("batch"));
	amp_handle_to_wire(&h, &wire);
	for (size_t i = 0; i <= AMP_READ_BATCH; i++) {
		amp__read_item__init(&items[i]);
		items[i].job = i;
		items[i].want = WANT(HASH);
		items[i].fsid = rt_fsid;
		items[i].handle = &wire;
		items[i].mount_point.data = (uint8_t *)rt_dir;
		items[i].mount_point.len = strlen(rt_dir);
		list[i] = &items[i];
	}
	ask.items = list;
	ask.n_items = AMP_READ_BATCH;
	io_hold(g->io, &hold);
	assert_int_equal(amp_channel_send(g->scan, AMP_MSG_READ, 0, &ask.base, NULL, 0), 0);
	let_go(g, &hold, AMP_READ_BATCH);
	while (amp_iothread_busy(g->io)) /* all are done before the first is looked at */
		usleep(1000);
	rig_until(g, &g->count, AMP_READ_BATCH);
	assert_true(g->batches <= 20);
	for (size_t i = 0; i < AMP_READ_BATCH; i++)
		assert_int_equal(g->results[i].job, i);
	/* One more than there may be. */
	ask.n_items = AMP_READ_BATCH + 1;
	assert_int_equal(amp_channel_send(g->scan, AMP_MSG_READ, 0, &ask.base, NULL, 0), 0);
	rig_run(g, 50);
	assert_int_equal(g->hostile, 1);
	assert_int_equal(g->count, AMP_READ_BATCH);
	rig_free(g);
}

static void test_no_mount(void **state)
{
	struct amp_handle h;
	struct rig *g;
	size_t i;

	(void)state;
	RT_NEED();
	g = rig_new();
	rt_write("abc", "abc", 3);
	h = rt_handle(rt_path("abc"));
	rt_fsid++;
	i = rig_result(g, WANT(HASH), &h, 0, -1);
	rt_fsid--;
	assert_int_equal(g->results[i].status, S(NO_MOUNT));
	assert_int_equal(g->results[i].error, ENODEV);
	rig_free(g);
}

/* Each of these breaks the protocol. */
static void spoil(Amp__ReadItem *item, int how, Amp__Handle *wire)
{
	static uint8_t zeros[AMP_FILE_HANDLE_MAX + 1], with_nul[] = "/a\0b";

	switch (how) {
	case 0:
		item->want = WANT(NONE);
		break;
	case 1:
		item->handle = NULL;
		break;
	case 2:
		item->mount_point.data++;
		item->mount_point.len--;
		break;
	case 3:
		item->mount_point.data = with_nul;
		item->mount_point.len = 4;
		break;
	case 4:
		item->fd_index = 1;
		break;
	case 5:
		wire->bytes.data = zeros;
		wire->bytes.len = sizeof(zeros);
		break;
	case 6:
		wire->bytes.len = 0;
		break;
	case 7:
		item->mount_point.len = 0;
		break;
	default:
		fail();
	}
}

static void test_hostile(void **state)
{
	struct amp_handle h;

	(void)state;
	RT_NEED();
	rt_write("abc", "abc", 3);
	h = rt_handle(rt_path("abc"));
	for (int how = 0; how < 8; how++) {
		Amp__ReadItem item = AMP__READ_ITEM__INIT, *list[] = {&item};
		Amp__Handle wire = AMP__HANDLE__INIT;
		Amp__Read ask = AMP__READ__INIT;
		struct rig *g = rig_new();

		amp_handle_to_wire(&h, &wire);
		item.want = WANT(HASH);
		item.fsid = rt_fsid;
		item.handle = &wire;
		item.mount_point.data = (uint8_t *)rt_dir;
		item.mount_point.len = strlen(rt_dir);
		spoil(&item, how, &wire);
		ask.items = list;
		ask.n_items = 1;
		assert_int_equal(amp_channel_send(g->scan, AMP_MSG_READ, 0, &ask.base, NULL, 0), 0);
		rig_run(g, 30);
		if (g->hostile != 1)
			fail_msg("case %d was taken", how);
		assert_int_equal(g->count, 0);
		rig_free(g);
	}
}

/* What came by an old link is not answered on the new one. */
static void test_link_renewed(void **state)
{
	struct amp_handle big, small;
	struct io_hold hold;
	struct rig *g;
	size_t i;
	int fd;

	(void)state;
	RT_NEED();
	g = rig_new();
	fd = open(rt_path("big"), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	assert_int_equal(ftruncate(fd, long_to_hash()), 0);
	close(fd);
	rt_write("small", "abc", 3);
	big = rt_handle(rt_path("big"));
	small = rt_handle(rt_path("small"));
	io_hold(g->io, &hold);
	for (uint64_t n = 0; n < 20; n++)
		rig_ask(g, n, WANT(HASH), &big, 0, -1);
	let_go(g, &hold, 20);
	rig_link(g);
	i = rig_result(g, WANT(HASH), &small, 0, -1);
	assert_int_equal(i, 0);
	assert_int_equal(g->results[0].status, S(OK));
	for (int n = 0; n < 30000 && amp_reader_in_hand(g->reader) > 0; n++)
		rig_run(g, 2);
	assert_int_equal(amp_reader_in_hand(g->reader), 0);
	rig_run(g, 20);
	assert_int_equal(g->count, 1);
	rig_free(g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_hash),	    cmocka_unit_test(test_script),
		cmocka_unit_test(test_not_regular), cmocka_unit_test(test_deleted_alive),
		cmocka_unit_test(test_by_fd),	    cmocka_unit_test(test_lease),
		cmocka_unit_test(test_changed),	    cmocka_unit_test(test_turns),
		cmocka_unit_test(test_batch),	    cmocka_unit_test(test_no_mount),
		cmocka_unit_test(test_hostile),	    cmocka_unit_test(test_link_renewed),
	};

	return cmocka_run_group_tests_name("hash", tests, rt_setup, rt_teardown);
}
