/*
 * tests/unit/test_walk.c - walks: what is found, what is not followed, depth,
 * width, credit, cancelling.
 */
#include "readtest.h"

#include "ampscand/ampread/walk.h"
#include "clock.h"
#include "tests/unit/skip.h"

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
			assert_true(b->entries[i].file.size > 0);
			assert_true((b->directory.size > 0) != b->entries[i].has_sha);
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

static int64_t changed_ns(const char *path)
{
	struct stat st;

	assert_int_equal(stat(path, &st), 0);
	return st.st_ctim.tv_sec * AMP_NS_PER_SEC + st.st_ctim.tv_nsec;
}

/* Makes a file whose change time is later than the other's, however coarse the clock is; that time. */
static int64_t made_later(const char *than, const char *path)
{
	do {
		usleep(1000);
		unlink(path);
		close(open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
	} while (changed_ns(path) <= changed_ns(than));
	return changed_ns(path);
}

static void test_since(void **state)
{
	static struct found f;
	struct amp_walk *w;
	int64_t since;

	(void)state;
	RT_NEED();
	make_files(".", 1, 2);
	since = made_later(rt_path("f1"), rt_path("f0"));
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
	amp_walk_set_limits(w, 12000, 1000);
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

/* By names from here on: an overlay has no file handles. */

static char names_dir[64];
static uint64_t names_fsid;

static const char *names_path(const char *name)
{
	static char paths[4][512];
	static unsigned n;
	char *p = paths[n++ % 4];

	snprintf(p, sizeof(paths[0]), "%s/%s", names_dir, name);
	return p;
}

/* False: the kernel has no overlay. */
static bool names_mount(void)
{
	char options[400];

	mkdir(rt_path("lower"), 0700);
	mkdir(rt_path("upper"), 0700);
	mkdir(rt_path("work"), 0700);
	mkdir(rt_path("lower/a"), 0700);
	rt_write("lower/f0", "#!/bin/sh\n", 10);
	rt_write("lower/a/f1", "one", 3);
	strcpy(names_dir, "/tmp/amp-readtest5-XXXXXX");
	assert_non_null(mkdtemp(names_dir));
	snprintf(options, sizeof(options), "lowerdir=%s,upperdir=%s,workdir=%s", rt_path("lower"),
		 rt_path("upper"), rt_path("work"));
	if (mount("rt5", names_dir, "overlay", 0, options) != 0) {
		rmdir(names_dir);
		remove_all();
		return false;
	}
	assert_int_equal(amp_fsid_of_path(names_dir, &names_fsid), 0);
	return true;
}

static void names_umount(void)
{
	assert_int_equal(umount(names_dir), 0); /* the walk left nothing open */
	rmdir(names_dir);
	remove_all();
}

#define NAMES_NEED()                                                                                         \
	do {                                                                                                 \
		RT_NEED();                                                                                   \
		if (!names_mount()) {                                                                        \
			SKIP_WITHOUT("overlay file systems");                                                \
			return;                                                                              \
		}                                                                                            \
	} while (0)

static void names_write(const char *name, const void *data, size_t n)
{
	int fd = open(names_path(name), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, data, n), n);
	close(fd);
}

static struct amp_walk *names_walk(int64_t since)
{
	struct amp_walk *w = amp_walk_new(names_fsid, names_dir, strlen(names_dir), NULL, since);

	assert_non_null(w);
	amp_walk_by_names(w);
	return w;
}

/* The first batch. */
static struct amp_walk_batch *one_batch(struct amp_walk *w, uint32_t budget)
{
	for (int i = 0; i < 10000; i++)
		if (amp_walk_step(w, budget))
			return amp_walk_batch(w);
	fail_msg("no batch in 10000 steps");
	return NULL;
}

static void assert_is_file(const struct amp_walk_entry *e, const char *path, const char *content)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	uint8_t sha[AMP_SHA256_SIZE];
	struct amp_sha256 *s = amp_sha256_new();
	struct amp_handle h;
	struct amp_identity id;

	assert_true(fd >= 0);
	assert_int_equal(amp_handle_of_fd(fd, &h), 0);
	assert_true(amp_handle_is_stand_in(&h) && h.size == 16);
	assert_true(amp_handle_equal(&h, &e->file));
	assert_int_equal(amp_statx_identity(fd, "", AT_EMPTY_PATH, &id), 0);
	assert_true(amp_identity_same_content(&id, &e->identity));
	close(fd);
	assert_int_equal(amp_sha256_begin(s), 0);
	assert_int_equal(amp_sha256_add(s, content, strlen(content)), 0);
	assert_int_equal(amp_sha256_end(s, sha), 0);
	amp_sha256_free(s);
	assert_true(e->has_sha);
	assert_memory_equal(sha, e->sha, sizeof(sha));
}

static void test_names_not_permitted(void **state)
{
	static struct found f;
	struct amp_walk_totals t;
	struct amp_walk *w;

	(void)state;
	NAMES_NEED();
	w = amp_walk_new(names_fsid, names_dir, strlen(names_dir), NULL, 0);
	walk_all(w, AMP_WALK_BATCH, &f);
	amp_walk_totals(w, &t);
	assert_string_equal(t.error, "file system has no file handles");
	amp_walk_free(w);
	names_umount();
}

/* Where there are handles, they are used all the same. */
static void test_names_not_needed(void **state)
{
	static struct found f;
	struct amp_walk *w;

	(void)state;
	RT_NEED();
	rt_write("f0", "", 0);
	w = walk_of(NULL, 0);
	amp_walk_by_names(w);
	while (!amp_walk_step(w, 1))
		;
	assert_true(amp_walk_batch(w)->directory.size > 0);
	assert_false(amp_walk_batch(w)->entries[0].has_sha);
	walk_all(w, 1, &f);
	assert_each_once(&f, 1);
	amp_walk_free(w);
	remove_all();
}

static void test_names_content(void **state)
{
	struct amp_walk_batch *b;
	struct amp_walk *w;

	(void)state;
	NAMES_NEED();
	w = names_walk(0);
	b = one_batch(w, 1);
	assert_int_equal(b->count, 1);
	assert_string_equal(b->entries[0].name, "f0");
	assert_true(b->entries[0].script);
	assert_is_file(&b->entries[0], names_path("f0"), "#!/bin/sh\n");
	assert_string_equal(b->path, names_dir);
	amp_walk_batch_clear(w);
	b = one_batch(w, 1);
	assert_int_equal(b->count, 1);
	assert_false(b->entries[0].script);
	assert_is_file(&b->entries[0], names_path("a/f1"), "one");
	assert_string_equal(b->path, names_path("a"));
	amp_walk_free(w);
	names_umount();
}

static void test_names_tree(void **state)
{
	static struct found f;
	struct amp_walk_totals t;
	struct amp_walk *w;

	(void)state;
	NAMES_NEED();
	mkdir(names_path("a/b"), 0700);
	mkdir(names_path("mounted"), 0700);
	mkdir(names_path("bound"), 0700);
	names_write("a/b/f2", "2", 1);
	names_write("f3", "3", 1);
	assert_int_equal(mkfifo(names_path("f100"), 0600), 0);
	assert_int_equal(symlink("/etc/passwd", names_path("f101")), 0);
	assert_int_equal(symlink("/etc", names_path("f102")), 0);
	assert_int_equal(mount("rt6", names_path("mounted"), "tmpfs", 0, NULL), 0);
	names_write("mounted/f103", "", 0);
	assert_int_equal(mount(names_path("a"), names_path("bound"), NULL, MS_BIND, NULL), 0);
	for (uint32_t budget = 1; budget < 10; budget += 4) {
		w = names_walk(0);
		walk_all(w, budget, &f);
		assert_each_once(&f, 4);
		amp_walk_totals(w, &t);
		assert_null(t.error);
		assert_int_equal(t.unreadable, 0);
		amp_walk_free(w);
	}
	assert_int_equal(umount(names_path("bound")), 0);
	assert_int_equal(umount(names_path("mounted")), 0);
	names_umount();
}

/* As test_tree's: what was told goes while the walk waits, on a file system that is read by position. */
static void test_taken_meanwhile(void **state)
{
	static struct found f;
	struct amp_walk *w;
	uint64_t fsid;
	char name[64];

	(void)state;
	RT_NEED();
	mkdir(rt_path("ramfs"), 0700);
	assert_int_equal(mount("rt9", rt_path("ramfs"), "ramfs", 0, NULL), 0);
	assert_int_equal(amp_fsid_of_path(rt_path("ramfs"), &fsid), 0);
	make_files("ramfs", 0, 2000);
	/* Left for its subdirectories more than once, too. */
	for (unsigned i = 0; i < 20; i++) {
		snprintf(name, sizeof(name), "ramfs/d%u", i * 100);
		mkdir(rt_path(name), 0700);
	}
	w = amp_walk_new(fsid, rt_path("ramfs"), strlen(rt_path("ramfs")), NULL, 0);
	amp_walk_by_names(w);
	amp_walk_set_limits(w, 1 << 20, 4);
	memset(&f, 0, sizeof(f));
	while (!amp_walk_over(w)) {
		struct amp_walk_batch *b = amp_walk_batch(w);

		if (!amp_walk_step(w, 100))
			continue;
		amp_walk_rest(w);
		for (uint32_t i = 0; i < b->count; i++) {
			unsigned n;

			assert_int_equal(sscanf(b->entries[i].name, "f%u", &n), 1);
			f.times[n]++;
			snprintf(name, sizeof(name), "ramfs/f%u", n);
			assert_int_equal(unlink(rt_path(name)), 0);
		}
		f.count += b->count;
		amp_walk_batch_clear(w);
	}
	amp_walk_free(w);
	assert_each_once(&f, 2000);
	assert_int_equal(umount(rt_path("ramfs")), 0);
	remove_all();
}

/* Files and directories that changed places between the listing and the telling; and more directories
 * came in files' places than are pushed at once. */
static void test_exchanged(void **state)
{
	static struct found f;
	struct amp_walk_batch *b;
	struct amp_walk *w;
	char name[64], file[64];

	(void)state;
	RT_NEED();
	make_files(".", 0, 30);
	mkdir(rt_path("d"), 0700);
	mkdir(rt_path("e"), 0700);
	for (unsigned i = 1; i < 20; i++) {
		snprintf(name, sizeof(name), "e/%u", i);
		mkdir(rt_path(name), 0700);
	}
	rt_write("d/f30", "", 0);
	w = walk_of(NULL, 0);
	amp_walk_set_limits(w, 1 << 20, 4);
	b = one_batch(w, 1);
	assert_string_equal(b->entries[0].name, "f0");
	amp_walk_batch_clear(w);
	assert_int_equal(renameat2(AT_FDCWD, rt_path("d"), AT_FDCWD, rt_path("f29"), RENAME_EXCHANGE), 0);
	for (unsigned i = 1; i < 20; i++) {
		snprintf(name, sizeof(name), "e/%u", i);
		snprintf(file, sizeof(file), "f%u", i);
		assert_int_equal(renameat2(AT_FDCWD, rt_path(name), AT_FDCWD, rt_path(file), RENAME_EXCHANGE),
				 0);
	}
	walk_all(w, 1, &f);
	/* f20 to f28, f30; what was f29 is "d", the others are in e by now. */
	for (unsigned i = 20; i <= 30; i++)
		assert_int_equal(f.times[i], i == 29 ? 0 : 1);
	assert_int_equal(f.count, 9 + 1 + 1 + 19);
	amp_walk_free(w);
	remove_all();
}

static void test_names_since(void **state)
{
	static struct found f;
	struct amp_walk *w;
	int64_t since;

	(void)state;
	NAMES_NEED();
	names_write("f4", "", 0);
	since = made_later(names_path("f4"), names_path("a/f5"));
	w = names_walk(since);
	walk_all(w, AMP_WALK_BATCH, &f);
	assert_int_equal(f.count, 1);
	assert_int_equal(f.times[5], 1);
	amp_walk_free(w);
	names_umount();
}

/* What replaces a directory after it was found is not followed. */
static void test_names_replaced(void **state)
{
	static struct found f;
	struct amp_walk_totals t;
	struct amp_walk *w;

	(void)state;
	NAMES_NEED();
	mkdir(rt_path("outside"), 0700);
	rt_write("outside/f2", "", 0);
	mkdir(names_path("c"), 0700);
	w = names_walk(0);
	assert_int_equal(one_batch(w, AMP_WALK_BATCH)->count, 1);
	amp_walk_batch_clear(w);
	amp_walk_rest(w);
	/* The root was read, nothing below it: one becomes a link, one a mount point. */
	assert_int_equal(rmdir(names_path("c")), 0);
	assert_int_equal(symlink(rt_path("outside"), names_path("c")), 0);
	assert_int_equal(mount(rt_path("outside"), names_path("a"), NULL, MS_BIND, NULL), 0);
	walk_all(w, AMP_WALK_BATCH, &f);
	amp_walk_totals(w, &t);
	assert_int_equal(f.count, 0);
	assert_int_equal(t.unreadable, 1);
	assert_null(t.error);
	amp_walk_free(w);
	assert_int_equal(umount(names_path("a")), 0);
	names_umount();
}

/* Descriptors of ours that lead below names_dir. */
static unsigned open_there(void)
{
	char link[64], to[512];
	unsigned count = 0;

	for (int fd = 0; fd < 256; fd++) {
		ssize_t n;

		snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
		n = readlink(link, to, sizeof(to) - 1);
		if (n <= 0)
			continue;
		to[n] = '\0';
		count += strncmp(to, names_dir, strlen(names_dir)) == 0;
	}
	return count;
}

/* 9 MiB take several steps; meanwhile the file alone is open. */
static void test_names_large(void **state)
{
	static struct found f;
	static char zeros[9 * 1024 * 1024];
	struct amp_walk *w;
	unsigned alone = 0;

	(void)state;
	NAMES_NEED();
	names_write("a/f2", zeros, sizeof(zeros));
	w = names_walk(0);
	while (!amp_walk_over(w) && alone < 3) {
		amp_walk_step(w, AMP_WALK_BATCH);
		amp_walk_batch_clear(w);
		alone += open_there() == 1;
	}
	assert_int_equal(alone, 3);
	/* Left in the middle of it. */
	amp_walk_free(w);
	assert_int_equal(open_there(), 0);
	w = names_walk(0);
	walk_all(w, 1, &f);
	assert_each_once(&f, 3);
	amp_walk_free(w);
	names_umount();
}

/* Who holds a lease is not waited for; the file is told as not read. */
static void test_names_unreadable(void **state)
{
	struct amp_walk_totals t;
	struct amp_walk *w;
	struct amp_walk_batch *b;
	int fd;

	(void)state;
	NAMES_NEED();
	unlink(names_path("a/f1"));
	names_write("f0", "held", 4);
	fd = open(names_path("f0"), O_RDWR | O_CLOEXEC);
	if (fcntl(fd, F_SETLEASE, F_WRLCK) == 0) {
		w = names_walk(0);
		b = one_batch(w, 1);
		assert_int_equal(b->count, 1);
		assert_string_equal(b->entries[0].name, "f0");
		assert_false(b->entries[0].has_sha);
		amp_walk_totals(w, &t);
		assert_int_equal(t.unreadable, 1);
		amp_walk_free(w);
		fcntl(fd, F_SETLEASE, F_UNLCK);
	}
	close(fd);
	names_umount();
}

static void test_names_deep(void **state)
{
	static struct found f;
	struct amp_walk_totals t;
	struct amp_walk *w;
	int fd, next;

	(void)state;
	NAMES_NEED();
	fd = open(rt_path("upper"), O_PATH | O_CLOEXEC);
	for (int i = 1; i <= 101; i++) {
		assert_int_equal(mkdirat(fd, "d", 0700), 0);
		next = openat(fd, "d", O_PATH | O_CLOEXEC);
		close(fd);
		fd = next;
		if (i >= 100)
			close(openat(fd, i == 100 ? "f2" : "f3", O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
	}
	close(fd);
	w = names_walk(0);
	amp_walk_set_depth(w, 100);
	walk_all(w, AMP_WALK_BATCH, &f);
	assert_each_once(&f, 3);
	amp_walk_totals(w, &t);
	assert_int_equal(t.too_deep, 1);
	amp_walk_free(w);
	w = names_walk(0);
	walk_all(w, AMP_WALK_BATCH, &f);
	assert_each_once(&f, 4);
	amp_walk_free(w);
	names_umount();
}

/* Directories left and taken up again. */
static void test_names_wide(void **state)
{
	static struct found f;
	struct amp_walk *w;
	char name[64];

	(void)state;
	NAMES_NEED();
	for (unsigned i = 2; i < 500; i++) {
		snprintf(name, sizeof(name), "d%u", i);
		mkdir(names_path(name), 0700);
		snprintf(name, sizeof(name), "d%u/f%u", i, i);
		names_write(name, name, strlen(name));
	}
	w = names_walk(0);
	amp_walk_set_limits(w, 1000, 7);
	walk_all(w, AMP_WALK_BATCH, &f);
	assert_each_once(&f, 500);
	amp_walk_free(w);
	names_umount();
}

/* By message from here on. */

static void ask_walk_how(struct rig *g, uint64_t id, const char *mount_point, uint64_t fsid, uint32_t credit,
			 bool by_path)
{
	Amp__Walk ask = AMP__WALK__INIT;

	ask.walk_id = id;
	ask.fsid = fsid;
	ask.mount_point.data = (uint8_t *)(uintptr_t)mount_point;
	ask.mount_point.len = strlen(mount_point);
	ask.credit = credit;
	ask.by_path = by_path;
	assert_int_equal(amp_channel_send(g->scan, AMP_MSG_WALK, 0, &ask.base, NULL, 0), 0);
}

static void ask_walk(struct rig *g, uint64_t id, const char *mount_point, uint64_t fsid, uint32_t credit)
{
	ask_walk_how(g, id, mount_point, fsid, credit, false);
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

static void test_names_messages(void **state)
{
	static char zeros[5 * 1024 * 1024];
	struct rig *g;

	(void)state;
	NAMES_NEED();
	names_write("f2", zeros, sizeof(zeros));
	g = rig_new();
	ask_walk_how(g, 7, names_dir, names_fsid, 2, true);
	rig_until(g, &g->entries, 2);
	rig_idle(g);
	assert_int_equal(g->done, 0);
	assert_int_equal(open_there(), 0);
	give_credit(g, 7, 2);
	rig_until(g, &g->done, 1);
	assert_string_equal(g->error, "");
	assert_int_equal(g->entries, 3);
	assert_int_equal(g->with_sha, 3);
	assert_int_equal(g->with_directory, 0);
	/* Cancelled at any moment, it lets go. */
	ask_walk_how(g, 8, names_dir, names_fsid, 100, true);
	rig_run(g, 1);
	cancel(g, 8);
	rig_until(g, &g->done, 2);
	assert_int_equal(open_there(), 0);
	rig_free(g);
	names_umount();
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
	rig_idle(g);
	assert_int_equal(g->entries, 0);
	give_credit(g, 1, 10);
	rig_until(g, &g->entries, 10);
	rig_idle(g);
	assert_int_equal(g->entries, 10);
	steps = amp_iothread_steps(g->io);
	rig_run(g, 50);
	assert_int_equal(amp_iothread_steps(g->io), steps);
	give_credit(g, 1, 300);
	rig_until(g, &g->entries, 310);
	rig_idle(g);
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
	rig_idle(g);
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
	rig_idle(g);
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
	rig_idle(g);
	g->entries = g->done = 0;
	give_credit(g, 1, 10);
	rig_idle(g);
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
		cmocka_unit_test(test_tree),
		cmocka_unit_test(test_since),
		cmocka_unit_test(test_deep),
		cmocka_unit_test(test_wide),
		cmocka_unit_test(test_budget),
		cmocka_unit_test(test_long_names),
		cmocka_unit_test(test_names_not_permitted),
		cmocka_unit_test(test_names_not_needed),
		cmocka_unit_test(test_names_content),
		cmocka_unit_test(test_names_tree),
		cmocka_unit_test(test_names_since),
		cmocka_unit_test(test_taken_meanwhile),
		cmocka_unit_test(test_exchanged),
		cmocka_unit_test(test_names_replaced),
		cmocka_unit_test(test_names_large),
		cmocka_unit_test(test_names_unreadable),
		cmocka_unit_test(test_names_deep),
		cmocka_unit_test(test_names_wide),
		cmocka_unit_test(test_names_messages),
		cmocka_unit_test(test_gone),
		cmocka_unit_test(test_messages),
		cmocka_unit_test(test_credit),
		cmocka_unit_test(test_cancel),
		cmocka_unit_test(test_too_many),
		cmocka_unit_test(test_link_renewed),
	};

	return cmocka_run_group_tests_name("walk", tests, rt_setup, rt_teardown);
}
