/*
 * tests/unit/test_snapshot.c - what was hashed as a sealed memfd; what an archive begins with.
 */
#include "readtest.h"

#include "ampscand/ampread/archive.h"
#include "ampscand/ampread/hash.h"
#include "counter.h"

#include <sys/mman.h>
#include <sys/resource.h>
#include <time.h>

#define HASH	AMP__READ_ITEM__WANT__HASH
#define S(name) AMP__READ_RESULT__STATUS__##name
#define MIB	((size_t)1024 * 1024)

static uint64_t counter(const char *name)
{
	for (const struct amp_counter *c = amp_counter_first(); c; c = c->next)
		if (strcmp(c->name, name) == 0)
			return amp_counter_value(c);
	return 0;
}

/* Content that no two places have alike; optionally a gzip's beginning. */
static uint8_t *content(size_t n, bool archive)
{
	uint8_t *data = malloc(n + 2);
	uint32_t x = 12345;

	assert_non_null(data);
	for (size_t i = 0; i < n; i++) {
		x = x * 1664525 + 1013904223;
		data[i] = (uint8_t)(x >> 24);
	}
	memcpy(data, archive ? "\x1f\x8b" : "..", n < 2 ? n : 2);
	return data;
}

/* The snapshot is sealed and holds exactly these bytes, whose hash is sha. Closes it. */
static void assert_snapshot(int fd, const void *data, size_t n, const uint8_t *sha)
{
	const int seals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL;
	uint8_t real[AMP_SHA256_SIZE];
	struct amp_sha256 *s = amp_sha256_new();
	struct stat st;
	void *map;

	assert_true(fd >= 0);
	assert_int_equal(fcntl(fd, F_GET_SEALS) & seals, seals);
	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(st.st_size, n);
	assert_int_equal(pwrite(fd, "x", 1, 0), -1);
	assert_int_equal(ftruncate(fd, (off_t)n + 1), -1);
	assert_ptr_equal(mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0), MAP_FAILED);
	assert_int_equal(amp_sha256_begin(s), 0);
	assert_int_equal(amp_sha256_add(s, data, n), 0);
	assert_int_equal(amp_sha256_end(s, real), 0);
	amp_sha256_free(s);
	assert_memory_equal(real, sha, sizeof(real));
	if (n > 0) {
		map = mmap(NULL, n, PROT_READ, MAP_PRIVATE, fd, 0);
		assert_ptr_not_equal(map, MAP_FAILED);
		assert_memory_equal(map, data, n);
		munmap(map, n);
	}
	close(fd);
}

/* Which of two limits holds, at their edges. */
static void one_size(struct rig *g, size_t n, bool archive, bool wanted)
{
	uint8_t *data = content(n, archive);
	struct amp_handle h;
	size_t i;

	rt_write("sized", data, n);
	h = rt_handle(rt_path("sized"));
	i = rig_result(g, HASH, &h, 0, -1);
	assert_int_equal(g->results[i].status, S(OK));
	assert_int_equal(g->results[i].archive, archive && n >= 2);
	assert_int_equal(g->results[i].fd, -1);
	if (wanted)
		assert_snapshot(g->results[i].snapshot, data, n, g->results[i].sha);
	else
		assert_int_equal(g->results[i].snapshot, -1);
	free(data);
}

static void test_sizes(void **state)
{
	struct rig *g;

	(void)state;
	RT_NEED();
	g = rig_new();
	g->snapshot_max = MIB;
	g->archive_max = 3 * MIB;
	one_size(g, 0, false, true);
	one_size(g, 1, false, true);
	one_size(g, 2048, false, true);
	one_size(g, 256 * 1024, false, true);
	one_size(g, 256 * 1024 + 1, true, true);
	one_size(g, MIB, false, true);
	one_size(g, MIB + 1, false, false);
	one_size(g, MIB + 1, true, true);
	one_size(g, 3 * MIB, true, true);
	one_size(g, 3 * MIB + 1, true, false);
	/* Not asked for: none, whatever it is. */
	g->snapshot_max = 0;
	one_size(g, 100, false, false);
	one_size(g, 100, true, false);
	g->archive_max = 0;
	g->snapshot_max = 100;
	one_size(g, 100, true, true);
	one_size(g, 101, true, false);
	rig_free(g);
}

/* By descriptor as by handle; a question for something else has none. */
static void test_other_ways(void **state)
{
	uint8_t *data = content(5000, false);
	struct amp_handle h;
	struct rig *g;
	size_t i;
	int fd;

	(void)state;
	RT_NEED();
	g = rig_new();
	g->snapshot_max = MIB;
	rt_write("by-fd", data, 5000);
	fd = open(rt_path("by-fd"), O_RDONLY | O_CLOEXEC);
	i = rig_result(g, HASH, NULL, 0, fd);
	assert_snapshot(g->results[i].snapshot, data, 5000, g->results[i].sha);
	close(fd);
	h = rt_handle(rt_path("by-fd"));
	i = rig_result(g, AMP__READ_ITEM__WANT__IDENTITY, &h, 0, -1);
	assert_int_equal(g->results[i].snapshot, -1);
	i = rig_result(g, HASH, &h, 4999, -1);
	assert_int_equal(g->results[i].status, S(TOO_LARGE_NOW));
	assert_int_equal(g->results[i].snapshot, -1);
	free(data);
	rig_free(g);
}

/* More results with descriptors than a message takes: none is lost or mixed up. */
static void test_many(void **state)
{
	struct amp_handle handles[40];
	char name[32];
	struct rig *g;

	(void)state;
	RT_NEED();
	g = rig_new();
	g->snapshot_max = MIB;
	for (unsigned i = 0; i < 40; i++) {
		snprintf(name, sizeof(name), "many%u", i);
		rt_write(name, name, strlen(name));
		handles[i] = rt_handle(rt_path(name));
	}
	for (unsigned i = 0; i < 40; i++)
		rig_ask(g, i, HASH, &handles[i], 0, -1);
	rig_until(g, &g->count, 40);
	for (unsigned i = 0; i < 40; i++) {
		snprintf(name, sizeof(name), "many%u", i);
		assert_int_equal(g->results[i].job, i);
		assert_snapshot(g->results[i].snapshot, name, strlen(name), g->results[i].sha);
	}
	rig_free(g);
}

/* Hashes file `name` with a snapshot, doing `act` after each step. */
static struct amp_read_outcome hash_with(const char *name, void (*act)(int fd))
{
	struct amp_read_outcome out = {0};
	struct amp_hash hash;
	int fd = open(rt_path(name), O_RDWR | O_APPEND | O_CLOEXEC);

	assert_true(fd >= 0);
	assert_true(amp_hash_begin(&hash, fd, 0, &out));
	amp_hash_keep(&hash, 8 * MIB, 0);
	for (int steps = 0; !amp_hash_step(&hash, 256 * 1024, &out); steps++) {
		act(fd);
		assert_true(steps < 100);
	}
	close(fd);
	return out;
}

static void grow(int fd)
{
	static char more[256 * 1024];

	assert_int_equal(write(fd, more, sizeof(more)), sizeof(more));
}

static void shrink(int fd)
{
	assert_int_equal(ftruncate(fd, 300000), 0);
}

/* Until what changes next has another time: before Linux 6.13 all times are of the clock's last tick. */
static void await_tick(int fd)
{
	struct timespec now;
	struct stat st;

	assert_int_equal(fstat(fd, &st), 0);
	do {
		usleep(1000);
		clock_gettime(CLOCK_REALTIME_COARSE, &now);
	} while (now.tv_sec < st.st_ctim.tv_sec ||
		 (now.tv_sec == st.st_ctim.tv_sec && now.tv_nsec <= st.st_ctim.tv_nsec));
}

/* Behind the reader's back: what was read is what is kept. */
static void overwrite(int fd)
{
	int other = open(rt_path("changing"), O_WRONLY | O_CLOEXEC);

	await_tick(fd);
	assert_int_equal(pwrite(other, "changed!", 8, 0), 8);
	close(other);
}

static void assert_changed(const char *name, uint8_t *data, size_t n, void (*act)(int fd), size_t kept)
{
	struct amp_read_outcome out;

	rt_write(name, data, n);
	out = hash_with(name, act);
	assert_int_equal(out.status, S(CHANGED));
	assert_true(out.has_sha && out.has_snapshot);
	assert_snapshot(out.snapshot, data, kept, out.sha);
}

static void test_changing(void **state)
{
	uint8_t *data = content(MIB, false);
	uint8_t *more = calloc(2, MIB);

	(void)state;
	RT_NEED();
	memcpy(more, data, MIB - 1); /* what is appended is zeros */
	assert_changed("changing", data, MIB, overwrite, MIB);
	assert_changed("changing", data, MIB, shrink, 300000);
	/* Not followed for ever, and what is kept is still what was hashed. */
	assert_changed("changing", more, MIB - 1, grow, MIB + 256 * 1024);
	free(more);
	free(data);
}

/* The memfd cannot be made, or not be filled: the hash is as good as ever. */
static void test_shortage(void **state)
{
	uint8_t *data = content(2 * MIB, false);
	struct amp_handle h;
	struct rlimit old, low;
	struct rig *g;
	size_t i;
	uint64_t missed;

	(void)state;
	RT_NEED();
	signal(SIGXFSZ, SIG_IGN);
	g = rig_new();
	g->snapshot_max = 4 * MIB;
	rt_write("short", data, 2 * MIB);
	h = rt_handle(rt_path("short"));
	missed = counter("read.snapshots_missed");
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
	low = old;
	low.rlim_cur = MIB;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &low), 0);
	i = rig_result(g, HASH, &h, 0, -1);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
	assert_int_equal(g->results[i].status, S(OK));
	assert_true(g->results[i].has_sha);
	assert_int_equal(g->results[i].snapshot, -1);
	assert_int_equal(counter("read.snapshots_missed"), missed + 1);
	i = rig_result(g, HASH, &h, 0, -1);
	assert_snapshot(g->results[i].snapshot, data, 2 * MIB, g->results[i].sha);
	free(data);
	rig_free(g);
}

static unsigned open_fds(void)
{
	unsigned n = 0;

	for (int fd = 0; fd < 1024; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

/* A link that ends while snapshots are under way or gathered leaves none open. */
static void test_let_go(void **state)
{
	uint8_t *data = content(4 * MIB, false);
	struct amp_handle h;
	struct rig *g;
	unsigned before;

	(void)state;
	RT_NEED();
	g = rig_new();
	rt_write("left", data, 4 * MIB);
	h = rt_handle(rt_path("left"));
	g->snapshot_max = 8 * MIB;
	before = open_fds();
	for (unsigned i = 0; i < 30; i++)
		rig_ask(g, i, HASH, &h, 0, -1);
	rig_run(g, 5);
	rig_link(g);
	while (amp_reader_in_hand(g->reader) > 0)
		rig_run(g, 5);
	for (size_t i = 0; i < g->count; i++)
		close(g->results[i].snapshot);
	for (int i = 0; i < 6000 && open_fds() != before; i++)
		rig_run(g, 10); /* places are closed when idle */
	assert_int_equal(open_fds(), before);
	free(data);
	rig_free(g);
}

static void test_archives(void **state)
{
	static const struct {
		size_t offset, length;
		const char *bytes;
		bool archive;
	} cases[] = {
		{0, 4, "PK\3\4", true},
		{0, 3, "PK\3", false},
		{0, 2, "\x1f\x8b", true},
		{0, 6, "Rar!\x1a\7", true},
		{257, 5, "ustar", true},
		{256, 5, "ustar", false},
		{32769, 5, "CD001", true},
		{2, 5, "-lh5-", true},
		{2, 5, "-lz4-", true},
		{2, 5, "-lx5-", false},
		{0, 8, "!<arch>\n", true},
		{0, 4, "MSCF", true},
		{0, 4,
		 "\x7f"
		 "ELF",
		 false},
		{0, 5, "%PDF-", false},
		{0, 6, "070701", true},
		{0, 8, "\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", false},
		{0, 2, "#!", false},
		{0, 6, "7z\xbc\xaf\x27\x1c", true},
	};
	static uint8_t head[40000];

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		memset(head, 1, sizeof(head));
		memcpy(head + cases[i].offset, cases[i].bytes, cases[i].length);
		if (amp_archive_begins(head, sizeof(head)) != cases[i].archive)
			fail_msg("case %zu", i);
		/* One byte short of what tells. */
		assert_false(amp_archive_begins(head, cases[i].offset + cases[i].length - 1));
	}
	assert_false(amp_archive_begins(head, 0));
}

/* An old tar has nothing but its sum. */
static void test_old_tar(void **state)
{
	uint8_t head[512] = "some/file";
	unsigned sum = 0;
	char text[9];

	(void)state;
	memset(head + 148, ' ', 8);
	for (size_t i = 0; i < sizeof(head); i++)
		sum += head[i];
	snprintf(text, sizeof(text), "%6o", sum);
	memcpy(head + 148, text, 7);
	assert_true(amp_archive_begins(head, sizeof(head)));
	assert_false(amp_archive_begins(head, sizeof(head) - 1));
	head[3]++;
	assert_false(amp_archive_begins(head, sizeof(head)));
	memset(head, 0, sizeof(head));
	assert_false(amp_archive_begins(head, sizeof(head)));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sizes),	 cmocka_unit_test(test_other_ways),
		cmocka_unit_test(test_many),	 cmocka_unit_test(test_changing),
		cmocka_unit_test(test_shortage), cmocka_unit_test(test_let_go),
		cmocka_unit_test(test_archives), cmocka_unit_test(test_old_tar),
	};

	return cmocka_run_group_tests_name("snapshot", tests, rt_setup, rt_teardown);
}
