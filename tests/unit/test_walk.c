/*
 * tests/unit/test_walk.c - walks: what is found, what is not followed, depth,
 * width, credit, cancelling.
 */
#include "readtest.h"

#include "ampscand/ampread/walk.h"
#include "clock.h"

static struct amp_walk *walk_of(const char *top, int64_t since)
{
	struct amp_handle h = {.size = 0};
	struct amp_walk *w;

	if (top)
		h = rt_handle(top);
	w = amp_walk_new(rt_fsid, rt_dir, strlen(rt_dir), &h, since);
	assert_non_null(w);
	return w;
}

/* Every file found, as a sum and a product of nothing: names f0..fN seen once each. */
struct found {
	size_t count, batches;
	unsigned char times[20000];
	char last_path[AMP_OPEN_PATH_SIZE];
};

static void walk_all(struct amp_walk *w, uint32_t budget, struct found *f)
{
	memset(f, 0, sizeof(*f));
	for (long steps = 0; !amp_walk_over(w) || amp_walk_batch(w)->count; steps++) {
		struct amp_walk_batch *b = amp_walk_batch(w);

		assert_true(steps < 10000000);
		if (!amp_walk_step(w, budget))
			continue;
		assert_true(b->count <= budget);
		assert_true(b->bytes <= AMP_MSG_MAX);
		for (uint32_t i = 0; i < b->count; i++) {
			unsigned n;

			if (sscanf(b->entries[i].name, "f%u", &n) == 1 && n < sizeof(f->times))
				f->times[n]++;
			assert_true(b->entries[i].file.size > 0 && b->directory.size > 0);
		}
		if (b->count) {
			f->batches++;
			snprintf(f->last_path, sizeof(f->last_path), "%.*s", (int)b->path_length, b->path);
		}
		f->count += b->count;
		amp_walk_batch_clear(w);
	}
}

static void make_files(const char *dir, unsigned from, unsigned to)
{
	char name[300];

	for (unsigned i = from; i < to; i++) {
		snprintf(name, sizeof(name), "%s/f%u", dir, i);
		rt_write(name, "", 0);
	}
}

static void assert_each_once(const struct found *f, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		if (f->times[i] != 1)
			fail_msg("f%u was found %u times", i, f->times[i]);
	assert_int_equal(f->count, n);
}

static void remove_all(void)
{
	char command[128];

	snprintf(command, sizeof(command), "rm -rf %s/*", rt_dir);
	assert_int_equal(system(command), 0);
}

static void test_tree(void **state)
{
	static struct found f;
	struct amp_walk_totals t;
	struct amp_walk *w;

	(void)state;
	RT_NEED();
	mkdir(rt_path("a"), 0700);
	mkdir(rt_path("a/b"), 0700);
	mkdir(rt_path("c"), 0700);
	mkdir(rt_path("mounted"), 0700);
	make_files("a", 0, 3);
	make_files("a/b", 3, 5);
	make_files(".", 5, 6);
	assert_int_equal(mkfifo(rt_path("f100"), 0600), 0);
	assert_int_equal(symlink("/etc/passwd", rt_path("f101")), 0);
	assert_int_equal(symlink("/etc", rt_path("f102")), 0);
	/* Another file system, and the same one bound into itself: neither is entered. */
	assert_int_equal(mount("rt3", rt_path("mounted"), "tmpfs", 0, NULL), 0);
	rt_write("mounted/f103", "", 0);
	assert_int_equal(mount(rt_path("a"), rt_path("c"), NULL, MS_BIND, NULL), 0);
	w = walk_of(NULL, 0);
	walk_all(w, AMP_WALK_BATCH, &f);
	assert_each_once(&f, 6);
	amp_walk_totals(w, &t);
	assert_null(t.error);
	assert_int_equal(t.unreadable, 0);
	assert_int_equal(t.seen, 6 + 3 + 4);
	amp_walk_free(w);
	assert_int_equal(umount(rt_path("c")), 0);
	assert_int_equal(umount(rt_path("mounted")), 0);
	/* From a directory. */
	w = walk_of(rt_path("a/b"), 0);
	walk_all(w, AMP_WALK_BATCH, &f);
	assert_int_equal(f.count, 2);
	assert_string_equal(f.last_path, rt_path("a/b"));
	amp_walk_free(w);
	remove_all();
}

static void test_since(void **state)
{
	static struct found f;
	struct amp_walk *w;
	struct stat st;
	int64_t since;

	(void)state;
	RT_NEED();
	make_files(".", 1, 2);
	usleep(20000);
	make_files(".", 0, 1);
	assert_int_equal(stat(rt_path("f0"), &st), 0);
	since = st.st_ctim.tv_sec * AMP_NS_PER_SEC + st.st_ctim.tv_nsec;
	w = walk_of(NULL, since);
	walk_all(w, AMP_WALK_BATCH, &f);
	assert_each_once(&f, 1);
	amp_walk_free(w);
	w = walk_of(NULL, since + 1);
	walk_all(w, AMP_WALK_BATCH, &f);
	assert_int_equal(f.count, 0);
	amp_walk_free(w);
	remove_all();
}

/* 3,000 levels: no fd a level, no path. */
static void test_deep(void **state)
{
	static struct found f;
	struct amp_walk *w;
	int fd, next;

	(void)state;
	RT_NEED();
	fd = open(rt_dir, O_PATH | O_CLOEXEC);
	for (int i = 0; i < 3000; i++) {
		assert_int_equal(mkdirat(fd, "d", 0700), 0);
		next = openat(fd, "d", O_PATH | O_CLOEXEC);
		close(fd);
		fd = next;
	}
	close(openat(fd, "f0", O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
	close(fd);
	w = walk_of(NULL, 0);
	walk_all(w, AMP_WALK_BATCH, &f);
	assert_each_once(&f, 1);
	assert_string_equal(f.last_path, "");
	amp_walk_free(w);
	remove_all();
}

/* More directories than the stack holds: taken up again, each found once. */
static void test_wide(void **state)
{
	static struct found f;
	struct amp_walk_totals t;
	struct amp_walk *w;
	char name[64];

	(void)state;
	RT_NEED();
	for (unsigned i = 0; i < 2000; i++) {
		snprintf(name, sizeof(name), "d%u", i);
		mkdir(rt_path(name), 0700);
		make_files(name, i, i + 1);
	}
	w = walk_of(NULL, 0);
	walk_all(w, AMP_WALK_BATCH, &f);
	assert_each_once(&f, 2000);
	amp_walk_free(w);
	w = walk_of(NULL, 0);
	amp_walk_set_limits(w, 4096, 7);
	walk_all(w, AMP_WALK_BATCH, &f);
	assert_each_once(&f, 2000);
	amp_walk_free(w);
	w = walk_of(NULL, 0);
	amp_walk_set_limits(w, 100, 7);
	walk_all(w, AMP_WALK_BATCH, &f);
	assert_each_once(&f, 2000);
	amp_walk_totals(w, &t);
	assert_int_equal(t.too_deep, 0);
	amp_walk_free(w);
	/* Room for the root alone: counted, not hidden. */
	w = walk_of(NULL, 0);
	amp_walk_set_limits(w, 40, 7);
	walk_all(w, AMP_WALK_BATCH, &f);
	amp_walk_totals(w, &t);
	assert_int_equal(f.count, 0);
	assert_int_equal(t.too_deep, 2000);
	amp_walk_free(w);
	remove_all();
}

/* Any budget finds the same. */
static void test_budget(void **state)
{
	static struct found f;
	struct amp_walk *w;

	(void)state;
	RT_NEED();
	make_files(".", 0, 3000);
	for (uint32_t budget = 1; budget <= 256; budget = budget * 3 + 1) {
		w = walk_of(NULL, 0);
		walk_all(w, budget, &f);
		assert_each_once(&f, 3000);
		amp_walk_free(w);
	}
	remove_all();
}

/* Names as long as they get: a message stays below its bound. */
static void test_long_names(void **state)
{
	static struct found f;
	struct amp_walk *w;
	char name[256];

	(void)state;
	RT_NEED();
	for (unsigned i = 0; i < 600; i++) {
		memset(name, 'x', 255);
		name[255] = '\0';
		name[snprintf(name, sizeof(name), "f%u", i)] = 'x';
		rt_write(name, "", 0);
	}
	w = walk_of(NULL, 0);
	walk_all(w, AMP_WALK_BATCH, &f);
	assert_each_once(&f, 600);
	amp_walk_free(w);
	remove_all();
}

static void test_gone(void **state)
{
	static struct found f;
	struct amp_walk_totals t;
	struct amp_walk *w = amp_walk_new(rt_fsid + 1, rt_dir, strlen(rt_dir), NULL, 0);

	(void)state;
	RT_NEED();
	walk_all(w, 10, &f);
	amp_walk_totals(w, &t);
	assert_string_equal(t.error, "file system is gone");
	amp_walk_free(w);
}

/* By message from here on. */

static void ask_walk(struct rig *g, uint64_t id, const char *mount_point, uint64_t fsid, uint32_t credit)
{
	Amp__Walk ask = AMP__WALK__INIT;

	ask.walk_id = id;
	ask.fsid = fsid;
	ask.mount_point.data = (uint8_t *)(uintptr_t)mount_point;
	ask.mount_point.len = strlen(mount_point);
	ask.credit = credit;
	assert_int_equal(amp_channel_send(g->scan, AMP_MSG_WALK, 0, &ask.base, NULL, 0), 0);
}

static void give_credit(struct rig *g, uint64_t id, uint32_t credit)
{
	Amp__WalkCredit c = AMP__WALK_CREDIT__INIT;

	c.walk_id = id;
	c.credit = credit;
	assert_int_equal(amp_channel_send(g->scan, AMP_MSG_WALK_CREDIT, 0, &c.base, NULL, 0), 0);
}

static void cancel(struct rig *g, uint64_t id)
{
	Amp__WalkCancel c = AMP__WALK_CANCEL__INIT;

	c.walk_id = id;
	assert_int_equal(amp_channel_send(g->scan, AMP_MSG_WALK_CANCEL, 0, &c.base, NULL, 0), 0);
}

static void test_messages(void **state)
{
	struct rig *g;

	(void)state;
	RT_NEED();
	make_files(".", 0, 1000);
	g = rig_new();
	ask_walk(g, 7, rt_dir, rt_fsid, 2000);
	rig_until(g, &g->done, 1);
	assert_int_equal(g->entries, 1000);
	assert_int_equal(g->seen, 1000);
	assert_int_equal(g->done_id, 7);
	assert_string_equal(g->error, "");
	assert_string_equal(g->last_directory, rt_dir);
	assert_int_equal(amp_reader_in_hand(g->reader), 0);
	rig_free(g);
	remove_all();
}

/* Out of credit: it waits, and the file system can be unmounted. */
static void test_credit(void **state)
{
	char second[64] = "/tmp/amp-readtest4-XXXXXX", name[128];
	uint64_t fsid, steps;
	struct rig *g;

	(void)state;
	RT_NEED();
	assert_non_null(mkdtemp(second));
	assert_int_equal(mount("rt4", second, "tmpfs", 0, NULL), 0);
	assert_int_equal(amp_fsid_of_path(second, &fsid), 0);
	for (int i = 0; i < 500; i++) {
		snprintf(name, sizeof(name), "%s/f%d", second, i);
		close(open(name, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
	}
	g = rig_new();
	ask_walk(g, 1, second, fsid, 0);
	rig_run(g, 30);
	assert_int_equal(g->entries, 0);
	give_credit(g, 1, 10);
	rig_until(g, &g->entries, 10);
	rig_run(g, 30);
	assert_int_equal(g->entries, 10);
	steps = amp_iothread_steps(g->io);
	rig_run(g, 50);
	assert_int_equal(amp_iothread_steps(g->io), steps);
	give_credit(g, 1, 300);
	rig_until(g, &g->entries, 310);
	rig_run(g, 30);
	assert_int_equal(g->entries, 310);
	assert_int_equal(g->done, 0);
	assert_int_equal(umount(second), 0);
	give_credit(g, 1, 300);
	rig_until(g, &g->done, 1);
	assert_string_equal(g->error, "file system is gone");
	assert_int_equal(g->entries, 310);
	rmdir(second);
	rig_free(g);
}

static void test_cancel(void **state)
{
	struct rig *g;

	(void)state;
	RT_NEED();
	make_files(".", 0, 100);
	g = rig_new();
	ask_walk(g, 1, rt_dir, rt_fsid, 10);
	rig_until(g, &g->entries, 10);
	cancel(g, 99);
	cancel(g, 1);
	give_credit(g, 1, 10);
	rig_until(g, &g->done, 1);
	assert_string_equal(g->error, "cancelled");
	rig_run(g, 30);
	assert_int_equal(g->entries, 10);
	assert_int_equal(amp_reader_in_hand(g->reader), 0);
	rig_free(g);
	remove_all();
}

static void test_too_many(void **state)
{
	struct rig *g;

	(void)state;
	RT_NEED();
	make_files(".", 0, 10);
	g = rig_new();
	for (uint64_t id = 1; id <= 5; id++)
		ask_walk(g, id, rt_dir, rt_fsid, 0);
	rig_until(g, &g->done, 1);
	assert_int_equal(g->done_id, 5);
	assert_string_equal(g->error, "too many walks at once");
	for (uint64_t id = 1; id <= 4; id++)
		give_credit(g, id, 100);
	rig_until(g, &g->done, 5);
	assert_int_equal(g->entries, 40);
	/* The same id twice at once breaks the protocol. */
	ask_walk(g, 1, rt_dir, rt_fsid, 0);
	ask_walk(g, 1, rt_dir, rt_fsid, 0);
	rig_run(g, 50);
	assert_int_equal(g->hostile, 1);
	rig_free(g);
	remove_all();
}

/* A new link knows nothing of the old one's walks. */
static void test_link_renewed(void **state)
{
	struct rig *g;

	(void)state;
	RT_NEED();
	make_files(".", 0, 100);
	g = rig_new();
	ask_walk(g, 1, rt_dir, rt_fsid, 10);
	ask_walk(g, 2, rt_dir, rt_fsid, 1000000);
	rig_run(g, 20);
	rig_link(g);
	rig_run(g, 20);
	g->entries = g->done = 0;
	give_credit(g, 1, 10);
	rig_run(g, 30);
	assert_int_equal(g->entries, 0);
	assert_int_equal(amp_reader_in_hand(g->reader), 0);
	ask_walk(g, 1, rt_dir, rt_fsid, 1000);
	rig_until(g, &g->done, 1);
	assert_int_equal(g->entries, 100);
	rig_free(g);
	remove_all();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_tree),	 cmocka_unit_test(test_since),
		cmocka_unit_test(test_deep),	 cmocka_unit_test(test_wide),
		cmocka_unit_test(test_budget),	 cmocka_unit_test(test_long_names),
		cmocka_unit_test(test_gone),	 cmocka_unit_test(test_messages),
		cmocka_unit_test(test_credit),	 cmocka_unit_test(test_cancel),
		cmocka_unit_test(test_too_many), cmocka_unit_test(test_link_renewed),
	};

	return cmocka_run_group_tests_name("walk", tests, rt_setup, rt_teardown);
}
