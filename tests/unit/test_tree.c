/*
 * tests/unit/test_tree.c - ordered walks: the order, marks and going on from each of them, what
 * is not judged, trees made to harm, messages.
 */
#include "readtest.h"

#include "ampscand/ampread/names.h"
#include "ampscand/ampread/tree.h"
#include "clock.h"
#include "role.h"
#include "seccomp_table.h"
#include "tests/unit/skip.h"

#include <dirent.h>
#include <sys/un.h>
#include <sys/wait.h>

#define ODD(name) AMP__WALK_ODD__KIND__##name

static void remove_all(void)
{
	char command[128];

	snprintf(command, sizeof(command), "rm -rf %s/*", rt_dir);
	assert_int_equal(system(command), 0);
}

/* Descriptors of ours that lead below dir. */
static unsigned open_below(const char *dir)
{
	char link[64], to[8192];
	unsigned count = 0;

	for (int fd = 0; fd < 256; fd++) {
		ssize_t n;

		snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
		n = readlink(link, to, sizeof(to) - 1);
		to[n > 0 ? n : 0] = '\0';
		count += strncmp(to, dir, strlen(dir)) == 0;
	}
	return count;
}

/* Paths, in the order they came. */
struct list {
	char **at;
	size_t count, room;
};

static void list_put(struct list *l, const char *text)
{
	if (l->count == l->room) {
		l->room = l->room ? l->room * 2 : 256;
		l->at = realloc(l->at, l->room * sizeof(*l->at));
		assert_non_null(l->at);
	}
	l->at[l->count] = strdup(text);
	assert_non_null(l->at[l->count++]);
}

static void list_free(struct list *l)
{
	while (l->count > 0)
		free(l->at[--l->count]);
	free(l->at);
	memset(l, 0, sizeof(*l));
}

static int by_text(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static void list_sort(struct list *l)
{
	if (l->count > 1)
		qsort(l->at, l->count, sizeof(*l->at), by_text);
}

static void assert_same(const struct list *a, size_t from_a, const struct list *b)
{
	if (a->count - from_a != b->count)
		fail_msg("%zu and %zu", a->count - from_a, b->count);
	for (size_t i = 0; i < b->count; i++)
		assert_string_equal(a->at[from_a + i], b->at[i]);
}

/* What a walk tells. Odds are "KIND path". */
struct told {
	struct list files, odds, marks;
	size_t files_at_mark[4096];
	struct amp_tree_totals totals;
	char error[128];
	unsigned parts, with_sha, most_snapshots;
	size_t longest_path;
};

static void told_free(struct told *t)
{
	list_free(&t->files);
	list_free(&t->odds);
	list_free(&t->marks);
	memset(t, 0, sizeof(*t));
}

static const char *const kinds[] = {"NONE",    "UNREADABLE", "VANISHED", "SPECIAL",
				    "SYMLINK", "MOUNT",	     "TOO_DEEP"};

static void take_part(struct told *to, const struct amp_tree_batch *b, const struct amp_tree_part *p)
{
	char *text = malloc(AMP_PATH_MAX + 1024);
	int length = (int)p->path_length;
	const char *dir = b->paths + p->path;

	assert_true(p->count + p->odd_count > 0);
	assert_true(p->bytes <= AMP_MSG_MAX);
	to->parts++;
	if (p->path_length > to->longest_path)
		to->longest_path = p->path_length;
	length = length == 1 ? 0 : length;
	for (uint32_t i = p->first; i < p->first + p->count; i++) {
		const struct amp_walk_entry *e = &b->entries[i];

		assert_true(e->file.size > 0);
		assert_true((p->directory.size > 0) != e->has_sha);
		to->with_sha += e->has_sha;
		snprintf(text, AMP_PATH_MAX + 1024, "%.*s/%s", length, dir, e->name);
		list_put(&to->files, text);
	}
	for (uint32_t i = p->first_odd; i < p->first_odd + p->odd_count; i++) {
		const struct amp_walk_odd *o = &b->odds[i];

		snprintf(text, AMP_PATH_MAX + 1024, "%s %.*s%s%.*s", kinds[o->kind], length, dir,
			 o->name_length ? "/" : "", (int)o->name_length, o->name);
		list_put(&to->odds, text);
	}
	free(text);
}

static void take_batch(struct told *to, struct amp_tree *t, uint32_t budget)
{
	struct amp_tree_batch *b = amp_tree_batch(t);
	size_t length;
	const char *mark;

	assert_true(b->count <= budget);
	if (b->snapshots > to->most_snapshots)
		to->most_snapshots = b->snapshots;
	for (uint32_t i = 0; i < b->part_count; i++)
		take_part(to, b, &b->parts[i]);
	amp_tree_batch_clear(b);
	mark = amp_tree_mark(t, &length);
	if (!mark)
		return;
	assert_int_equal(strlen(mark), length);
	assert_true(to->marks.count < 4096);
	to->files_at_mark[to->marks.count] = to->files.count;
	list_put(&to->marks, mark);
	assert_int_equal(open_below(rt_dir), 0);
}

/* To its end. restless: everything is closed after each batch. */
static void walk_on(struct amp_tree *t, uint32_t budget, bool restless, struct told *to)
{
	for (long steps = 0; !amp_tree_over(t); steps++) {
		bool back = amp_tree_step(t, budget);

		assert_true(steps < 10000000);
		if (back)
			take_batch(to, t, budget);
		if (back && restless)
			amp_tree_rest(t);
	}
	take_batch(to, t, budget);
	amp_tree_totals(t, &to->totals);
	snprintf(to->error, sizeof(to->error), "%s", to->totals.walk.error ? to->totals.walk.error : "");
}

static struct amp_tree *tree_of(const char *path, const char *resume, bool by_names)
{
	const struct amp_tree_ask ask = {
		.path = path,
		.path_length = strlen(path),
		.resume = resume,
		.resume_length = resume ? strlen(resume) : 0,
		.names_permitted = by_names,
		.snapshot_max = by_names ? 1024 * 1024 : 0,
	};
	struct amp_tree *t = amp_tree_new(&ask);

	assert_non_null(t);
	return t;
}

/* By names though there are handles. */
static struct amp_tree *forced_tree_of(const char *path)
{
	const struct amp_tree_ask ask = {
		.path = path,
		.path_length = strlen(path),
		.names_permitted = true,
		.by_names = true,
		.snapshot_max = 1024,
	};
	struct amp_tree *t = amp_tree_new(&ask);

	assert_non_null(t);
	return t;
}

static void walk_all(const char *path, const char *resume, struct told *to)
{
	struct amp_tree *t = tree_of(path, resume, false);

	told_free(to);
	walk_on(t, AMP_WALK_BATCH, false, to);
	amp_tree_free(t);
	assert_int_equal(open_below(rt_dir), 0);
}

static bool has(const struct list *l, const char *kind, const char *path)
{
	char text[1024];

	snprintf(text, sizeof(text), "%s%s", kind, path);
	for (size_t i = 0; i < l->count; i++)
		if (strcmp(l->at[i], text) == 0)
			return true;
	return false;
}

static void assert_tells(const char *path, const char *error)
{
	static struct told to;

	walk_all(path, NULL, &to);
	if (strncmp(to.error, error, strlen(error)) != 0)
		fail_msg("%s: \"%s\"", path, to.error);
	assert_int_equal(to.files.count, 0);
	told_free(&to);
}

/* Files first, then directories by their bytes, each with all below it. */
static void test_order(void **state)
{
	static const char *const dirs[] = {"b", "a", "a.b", "a/z", "a/B", "\xff", "aa", "a/B/c"};
	static const char *const expected[] = {"f",	"a/f",	"a/B/f", "a/B/c/f", "a/z/f",
					       "a.b/f", "aa/f", "b/f",	 "\xff/f"};
	static struct told to;
	char name[64];

	(void)state;
	RT_NEED();
	for (size_t i = 0; i < 8; i++) {
		if (strchr(dirs[i], '/'))
			mkdir(rt_path("a"), 0700);
		if (i == 7)
			mkdir(rt_path("a/B"), 0700);
		mkdir(rt_path(dirs[i]), 0700);
		snprintf(name, sizeof(name), "%s/f", dirs[i]);
		rt_write(name, "", 0);
	}
	rt_write("f", "", 0);
	walk_all(rt_dir, NULL, &to);
	assert_string_equal(to.error, "");
	assert_int_equal(to.files.count, 9);
	for (size_t i = 0; i < 9; i++)
		assert_string_equal(to.files.at[i], rt_path(expected[i]));
	assert_int_equal(to.totals.directories, 9);
	assert_int_equal(to.totals.fsid, rt_fsid);
	assert_int_equal(to.totals.walk.seen, 17);
	told_free(&to);
	remove_all();
}

static void make_socket(const char *path)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	snprintf(a.sun_path, sizeof(a.sun_path), "%s", path);
	assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	close(fd);
}

/* Everything that is no regular file is told, and nothing of it opened. */
static void test_odd(void **state)
{
	static struct told to;

	(void)state;
	RT_NEED();
	rt_write("f", "", 0);
	mkdir(rt_path("d"), 0700);
	mkdir(rt_path("mounted"), 0700);
	mkdir(rt_path("proc"), 0700);
	mkdir(rt_path("bound"), 0700);
	rt_write("d/f", "", 0);
	rt_write("over", "", 0);
	assert_int_equal(mkfifo(rt_path("fifo"), 0600), 0);
	assert_int_equal(mknod(rt_path("tty"), S_IFCHR | 0600, 5 << 8), 0);
	make_socket(rt_path("socket"));
	assert_int_equal(symlink("d", rt_path("link")), 0);
	assert_int_equal(symlink("..", rt_path("d/up")), 0);
	assert_int_equal(mount("rt7", rt_path("mounted"), "tmpfs", 0, NULL), 0);
	rt_write("mounted/hidden", "", 0);
	assert_int_equal(mount("proc", rt_path("proc"), "proc", 0, NULL), 0);
	assert_int_equal(mount(rt_dir, rt_path("bound"), NULL, MS_BIND, NULL), 0);
	assert_int_equal(mount(rt_path("d/f"), rt_path("over"), NULL, MS_BIND, NULL), 0);
	walk_all(rt_dir, NULL, &to);
	assert_string_equal(to.error, "");
	assert_int_equal(to.files.count, 2);
	assert_true(has(&to.files, "", rt_path("f")) && has(&to.files, "", rt_path("d/f")));
	assert_int_equal(to.odds.count, 9);
	assert_true(has(&to.odds, "SPECIAL ", rt_path("fifo")));
	assert_true(has(&to.odds, "SPECIAL ", rt_path("tty")));
	assert_true(has(&to.odds, "SPECIAL ", rt_path("socket")));
	assert_true(has(&to.odds, "SPECIAL ", rt_path("proc")));
	assert_true(has(&to.odds, "SYMLINK ", rt_path("link")));
	assert_true(has(&to.odds, "SYMLINK ", rt_path("d/up")));
	assert_true(has(&to.odds, "MOUNT ", rt_path("mounted")));
	assert_true(has(&to.odds, "MOUNT ", rt_path("bound")));
	assert_true(has(&to.odds, "MOUNT ", rt_path("over")));
	assert_int_equal(open(rt_path("fifo"), O_WRONLY | O_NONBLOCK), -1);
	/* What is mounted is walked when it is named. */
	walk_all(rt_path("mounted"), NULL, &to);
	assert_int_equal(to.files.count, 1);
	assert_string_equal(to.files.at[0], rt_path("mounted/hidden"));
	assert_tells(rt_path("proc"), "a pseudo file system");
	assert_tells(rt_path("proc/self"), "a pseudo file system");
	assert_int_equal(umount(rt_path("over")), 0);
	assert_int_equal(umount(rt_path("bound")), 0);
	assert_int_equal(umount(rt_path("proc")), 0);
	assert_int_equal(umount(rt_path("mounted")), 0);
	told_free(&to);
	remove_all();
}

static void test_paths(void **state)
{
	static struct told to;
	struct amp_tree_ask bad = {.path = "relative", .path_length = 8};
	char slashes[128];

	(void)state;
	RT_NEED();
	mkdir(rt_path("d"), 0700);
	rt_write("d/f", "x", 1);
	assert_int_equal(symlink("d", rt_path("link")), 0);
	assert_int_equal(symlink("d/f", rt_path("file-link")), 0);
	assert_int_equal(mkfifo(rt_path("fifo"), 0600), 0);
	/* Who names a link means what it leads to. */
	walk_all(rt_path("link"), NULL, &to);
	assert_int_equal(to.files.count, 1);
	assert_string_equal(to.files.at[0], rt_path("d/f"));
	walk_all(rt_path("d/f"), NULL, &to);
	assert_int_equal(to.files.count, 1);
	assert_string_equal(to.files.at[0], rt_path("d/f"));
	assert_int_equal(to.totals.fsid, rt_fsid);
	walk_all(rt_path("file-link"), NULL, &to);
	assert_int_equal(to.files.count, 1);
	assert_string_equal(to.files.at[0], rt_path("d/f"));
	snprintf(slashes, sizeof(slashes), "%s///", rt_path("d"));
	walk_all(slashes, NULL, &to);
	assert_int_equal(to.files.count, 1);
	assert_tells(rt_path("fifo"), "neither a directory nor a regular file");
	assert_tells(rt_path("none"), "the path cannot be opened");
	assert_tells("/proc", "a pseudo file system");
	assert_tells("/sys", "a pseudo file system");
	assert_null(amp_tree_new(&bad));
	bad = (struct amp_tree_ask){.path = "/tmp", .path_length = 4, .resume = "/tmpx", .resume_length = 5};
	assert_null(amp_tree_new(&bad));
	bad.resume = "/tm";
	bad.resume_length = 3;
	assert_null(amp_tree_new(&bad));
	bad.path_length = 0;
	assert_null(amp_tree_new(&bad));
	told_free(&to);
	remove_all();
}

static void find_files(const char *dir, struct list *l)
{
	char command[256], *line = NULL;
	size_t room = 0;
	FILE *f;

	snprintf(command, sizeof(command), "find %s -type f", dir);
	f = popen(command, "re");
	assert_non_null(f);
	while (getline(&line, &room, f) > 0) {
		line[strcspn(line, "\n")] = '\0';
		list_put(l, line);
	}
	free(line);
	assert_int_equal(pclose(f), 0);
	list_sort(l);
}

/* 50 * 40 * 25 files, fewer under valgrind. */
static void make_many(void)
{
	unsigned most = getenv("AMP_VALGRIND") ? 5 : 50;
	char name[64];

	for (unsigned a = 0; a < most; a++) {
		snprintf(name, sizeof(name), "d%u", a);
		mkdir(rt_path(name), 0700);
		for (unsigned b = 0; b < 40; b++) {
			snprintf(name, sizeof(name), "d%u/e%u", a, b);
			mkdir(rt_path(name), 0700);
			for (unsigned c = 0; c < 25; c++) {
				snprintf(name, sizeof(name), "d%u/e%u/f%u", a, b, c);
				rt_write(name, "", 0);
			}
		}
	}
}

/* All that find(1) finds; and from each mark on, just what came after it. */
static void test_many(void **state)
{
	static struct told all, rest;
	struct list found = {0}, sorted = {0};
	int64_t start;

	(void)state;
	RT_NEED();
	make_many();
	find_files(rt_dir, &found);
	start = amp_clock_monotonic();
	walk_all(rt_dir, NULL, &all);
	print_message("%zu files in %lld ms, %zu marks, %u parts\n", all.files.count,
		      (long long)((amp_clock_monotonic() - start) / AMP_NS_PER_MS), all.marks.count,
		      all.parts);
	assert_string_equal(all.error, "");
	for (size_t i = 0; i < all.files.count; i++)
		list_put(&sorted, all.files.at[i]);
	list_sort(&sorted);
	assert_same(&sorted, 0, &found);
	assert_true(all.marks.count >= all.files.count / 1100);
	for (size_t i = 0; i < all.marks.count; i++) {
		walk_all(rt_dir, all.marks.at[i], &rest);
		assert_string_equal(rest.error, "");
		assert_same(&all.files, all.files_at_mark[i], &rest.files);
	}
	told_free(&all);
	told_free(&rest);
	list_free(&found);
	list_free(&sorted);
	remove_all();
}

/* The same whatever is sent at once, though nothing stays open, and however few names are kept. */
static void test_interrupted(void **state)
{
	static struct told all, other;
	char name[300];

	(void)state;
	RT_NEED();
	for (unsigned i = 0; i < 300; i++) {
		memset(name, 'x', sizeof(name));
		snprintf(name, sizeof(name), "d%u", i % 150);
		mkdir(rt_path(name), 0700);
		snprintf(name, sizeof(name), "d%u/%u", i % 150, i);
		mkdir(rt_path(name), 0700);
		snprintf(name, sizeof(name), "d%u/%u/f%u", i % 150, i, i);
		rt_write(name, "", 0);
		snprintf(name, sizeof(name), "g%u", i);
		rt_write(name, "", 0);
	}
	walk_all(rt_dir, NULL, &all);
	assert_int_equal(all.files.count, 600);
	for (uint32_t budget = 1; budget < 100; budget = budget * 4 + 3) {
		for (size_t names = 20; names < 10000; names *= 8) {
			struct amp_tree *t = tree_of(rt_dir, NULL, false);

			amp_tree_set_limits(t, names, names, 100);
			amp_tree_set_marks(t, budget, INT64_MAX);
			walk_on(t, budget, true, &other);
			amp_tree_free(t);
			assert_string_equal(other.error, "");
			assert_same(&all.files, 0, &other.files);
			assert_true(other.marks.count > 0);
			told_free(&other);
		}
	}
	told_free(&all);
	remove_all();
}

/* Where the walk was to go on is not there any more. */
static void test_resume_vanished(void **state)
{
	static struct told to;
	char name[64];

	(void)state;
	RT_NEED();
	for (unsigned i = 0; i < 9; i++) {
		snprintf(name, sizeof(name), "d%u", i);
		mkdir(rt_path(name), 0700);
		snprintf(name, sizeof(name), "d%u/s", i);
		mkdir(rt_path(name), 0700);
		snprintf(name, sizeof(name), "d%u/s/f", i);
		rt_write(name, "", 0);
		snprintf(name, sizeof(name), "d%u/f", i);
		rt_write(name, "", 0);
	}
	walk_all(rt_dir, rt_path("d5"), &to);
	assert_int_equal(to.files.count, 8);
	/* From below d5: neither its own file again, nor what comes before. */
	walk_all(rt_dir, rt_path("d5/s"), &to);
	assert_int_equal(to.files.count, 7);
	assert_string_equal(to.files.at[0], rt_path("d5/s/f"));
	assert_int_equal(to.totals.directories, 7);
	walk_all(rt_dir, rt_path("d5/t"), &to);
	assert_int_equal(to.files.count, 6);
	assert_string_equal(to.files.at[0], rt_path("d6/f"));
	walk_all(rt_dir, rt_path("d5/a/b/c"), &to);
	assert_string_equal(to.files.at[0], rt_path("d5/s/f"));
	walk_all(rt_dir, rt_path("d5x/a"), &to);
	assert_string_equal(to.files.at[0], rt_path("d6/f"));
	walk_all(rt_dir, rt_path("z"), &to);
	assert_int_equal(to.files.count, 0);
	assert_string_equal(to.error, "");
	/* A link has its name now: it is not gone through. */
	assert_int_equal(rename(rt_path("d5"), rt_path("c")), 0);
	assert_int_equal(symlink("c", rt_path("d5")), 0);
	walk_all(rt_dir, rt_path("d5/s"), &to);
	assert_int_equal(to.files.count, 6);
	assert_string_equal(to.files.at[0], rt_path("d6/f"));
	/* The mark of the walk itself: all of it. */
	walk_all(rt_dir, rt_dir, &to);
	assert_int_equal(to.files.count, 18);
	told_free(&to);
	remove_all();
}

/* 3,000 levels: what is too deep is told; a path beyond PATH_MAX is told all the same. */
static void test_deep(void **state)
{
	static struct told to, again;
	struct amp_tree *t;
	int fd, next;

	(void)state;
	RT_NEED();
	fd = open(rt_dir, O_PATH | O_CLOEXEC);
	for (int i = 0; i < 3000; i++) {
		assert_int_equal(mkdirat(fd, "directory", 0700), 0);
		next = openat(fd, "directory", O_PATH | O_CLOEXEC);
		close(fd);
		fd = next;
		if (i == 2000 || i == 2999)
			close(openat(fd, "f", O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
	}
	close(fd);
	t = tree_of(rt_dir, NULL, false);
	amp_tree_set_marks(t, 1, 0); /* at each directory */
	walk_on(t, 1, true, &to);
	amp_tree_free(t);
	assert_string_equal(to.error, "");
	assert_int_equal(to.files.count, 1);
	assert_true(to.longest_path > 20000);
	assert_int_equal(to.odds.count, 1);
	assert_memory_equal(to.odds.at[0], "TOO_DEEP ", 9);
	assert_int_equal(to.totals.walk.too_deep, 1);
	assert_int_equal(to.totals.directories, 2049);
	assert_int_equal(to.marks.count, 2049); /* before the one that is too deep as well */
	walk_all(rt_dir, to.marks.at[1990], &again);
	assert_int_equal(again.files.count, 1);
	told_free(&again);
	told_free(&to);
	remove_all();
}

/* Names of 255 bytes down to the longest path that is told. */
static void test_long_names(void **state)
{
	static struct told to;
	char name[256];
	int fd, next;

	(void)state;
	RT_NEED();
	memset(name, 'n', 255);
	name[255] = '\0';
	fd = open(rt_dir, O_PATH | O_CLOEXEC);
	for (int i = 0; i < 140; i++) {
		for (int k = 0; k < 3; k++) {
			name[0] = (char)('a' + k);
			close(openat(fd, name, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
		}
		name[0] = 'n';
		assert_int_equal(mkdirat(fd, name, 0700), 0);
		next = openat(fd, name, O_PATH | O_CLOEXEC);
		close(fd);
		fd = next;
	}
	close(fd);
	walk_all(rt_dir, NULL, &to);
	assert_string_equal(to.error, "");
	assert_int_equal(to.odds.count, 1);
	assert_memory_equal(to.odds.at[0], "TOO_DEEP ", 9);
	assert_int_equal(to.files.count, to.totals.directories * 3);
	assert_true(to.longest_path > AMP_PATH_MAX - 300 && to.longest_path < AMP_PATH_MAX);
	told_free(&to);
	remove_all();
}

/* Steps until the batch is full or the walk over. */
static void until_back(struct amp_tree *t, uint32_t budget)
{
	for (int i = 0; i < 10000; i++)
		if (amp_tree_step(t, budget))
			return;
	fail_msg("no batch in 10000 steps");
}

/* What was found is changed before the walk comes to it. */
static void replaced(bool by_names, const char *dir)
{
	static struct told to;
	char outside[512], path[600], other[600];
	struct amp_tree *t;

	snprintf(outside, sizeof(outside), "%s/outside", rt_dir);
	mkdir(outside, 0700);
	snprintf(path, sizeof(path), "%s/g", outside);
	close(open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
	for (char c = 'a'; c <= 'f'; c++) {
		snprintf(path, sizeof(path), "%s/top/%c", dir, c);
		mkdir(path, 0700);
		snprintf(path, sizeof(path), "%s/top/%c/in", dir, c);
		close(open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
	}
	snprintf(path, sizeof(path), "%s/top", dir);
	t = tree_of(path, NULL, by_names);
	amp_tree_set_marks(t, 0, 0);
	until_back(t, AMP_WALK_BATCH); /* a mark: its names are known, nothing was entered */
	take_batch(&to, t, AMP_WALK_BATCH);
	assert_int_equal(to.marks.count, 1);
	snprintf(path, sizeof(path), "%s/top/a", dir);
	snprintf(other, sizeof(other), "%s/moved", dir);
	assert_int_equal(rename(path, other), 0);
	assert_int_equal(symlink(outside, path), 0);
	snprintf(path, sizeof(path), "%s/top/b", dir);
	assert_int_equal(mount(outside, path, NULL, MS_BIND, NULL), 0);
	snprintf(path, sizeof(path), "%s/top/c/in", dir);
	unlink(path);
	snprintf(path, sizeof(path), "%s/top/c", dir);
	assert_int_equal(rmdir(path), 0);
	snprintf(path, sizeof(path), "%s/top/d", dir);
	snprintf(other, sizeof(other), "%s/top/d2", dir);
	assert_int_equal(rename(path, other), 0);
	assert_int_equal(mkfifo(path, 0600), 0);
	walk_on(t, AMP_WALK_BATCH, true, &to);
	amp_tree_free(t);
	assert_string_equal(to.error, "");
	assert_int_equal(to.files.count, 2); /* e/in, f/in */
	assert_int_equal(to.odds.count, 4);
	assert_memory_equal(to.odds.at[0], "SYMLINK ", 8);
	assert_memory_equal(to.odds.at[1], "MOUNT ", 6);
	assert_memory_equal(to.odds.at[2], "VANISHED ", 9);
	assert_memory_equal(to.odds.at[3], "SPECIAL ", 8);
	assert_int_equal(to.totals.walk.unreadable, 0);
	told_free(&to);
	snprintf(path, sizeof(path), "%s/top/b", dir);
	assert_int_equal(umount(path), 0);
}

static void test_replaced(void **state)
{
	(void)state;
	RT_NEED();
	mkdir(rt_path("top"), 0700);
	replaced(false, rt_dir);
	remove_all();
}

/* The path is another one when the walk goes on. */
static void test_path_replaced(void **state)
{
	static struct told to;
	struct amp_tree *t;

	(void)state;
	RT_NEED();
	mkdir(rt_path("top"), 0700);
	mkdir(rt_path("top/a"), 0700);
	t = tree_of(rt_path("top"), NULL, false);
	amp_tree_set_marks(t, 0, 0);
	until_back(t, 1);
	assert_int_equal(rename(rt_path("top"), rt_path("old")), 0);
	mkdir(rt_path("top"), 0700);
	walk_on(t, 1, false, &to);
	assert_string_equal(to.error, "the path leads elsewhere now");
	amp_tree_free(t);
	told_free(&to);
	remove_all();
}

/* A directory that moves while it is walked: its handle still leads to it. */
static void test_moved(void **state)
{
	static struct told to;
	struct amp_tree *t;

	(void)state;
	RT_NEED();
	mkdir(rt_path("a"), 0700);
	mkdir(rt_path("a/b"), 0700);
	mkdir(rt_path("a/c"), 0700);
	rt_write("a/b/f", "", 0);
	rt_write("a/c/f", "", 0);
	t = tree_of(rt_dir, NULL, false);
	amp_tree_set_marks(t, 0, 0);
	until_back(t, 1);
	until_back(t, 1);
	take_batch(&to, t, 1);
	assert_string_equal(to.marks.at[to.marks.count - 1], rt_path("a/b"));
	assert_int_equal(rename(rt_path("a"), rt_path("z")), 0);
	walk_on(t, 1, true, &to);
	amp_tree_free(t);
	assert_int_equal(to.files.count, 2);
	assert_string_equal(to.files.at[0], rt_path("z/b/f"));
	assert_string_equal(to.files.at[1], rt_path("z/c/f"));
	assert_int_equal(to.odds.count, 0);
	told_free(&to);
	remove_all();
}

/* Subdirectories beyond what is kept of them; files beside them are not kept at all. */
static void test_wide(void **state)
{
	static struct told to, again;
	struct amp_tree *t;
	char name[64];

	(void)state;
	RT_NEED();
	for (unsigned i = 0; i < 5000; i++) {
		snprintf(name, sizeof(name), "d%u", i * 7919 % 5000);
		mkdir(rt_path(name), 0700);
		if (i % 10 == 0) {
			snprintf(name, sizeof(name), "d%u/f", i * 7919 % 5000);
			rt_write(name, "", 0);
		}
	}
	walk_all(rt_dir, NULL, &to);
	assert_int_equal(to.files.count, 500);
	assert_int_equal(to.totals.directories, 5001);
	t = tree_of(rt_dir, NULL, false);
	amp_tree_set_limits(t, 2048, 2048, 10);
	walk_on(t, AMP_WALK_BATCH, false, &again);
	amp_tree_free(t);
	assert_same(&to.files, 0, &again.files);
	assert_int_equal(again.totals.directories, 5001);
	told_free(&to);
	told_free(&again);
	remove_all();
}

/* All of that, and snapshots, with no more system calls than ampread has. */
static void test_sealed(void **state)
{
	static struct told to;
	char name[64];
	int status;
	pid_t pid;

	(void)state;
	RT_NEED();
	for (unsigned i = 0; i < 3000; i++) {
		snprintf(name, sizeof(name), "d%u", i);
		mkdir(rt_path(name), 0700);
	}
	rt_write("d7/f", "content", 7);
	mkdir(rt_path("proc"), 0700);
	assert_int_equal(mount("proc", rt_path("proc"), "proc", 0, NULL), 0);
	fflush(NULL);
	pid = fork();
	if (pid == 0) {
		struct amp_tree *t = tree_of(rt_dir, NULL, true);
		bool told = false;

		if (amp_seccomp_seal(amp_role(AMP_ROLE_READ)->syscalls) < 0)
			_exit(2);
		amp_tree_set_limits(t, 65536, 65536, 10);
		walk_on(t, AMP_WALK_BATCH, false, &to);
		told = to.files.count == 1 && to.odds.count == 1 &&
		       has(&to.odds, "SPECIAL ", rt_path("proc"));
		told_free(&to);
		t = forced_tree_of(rt_path("d7"));
		walk_on(t, AMP_WALK_BATCH, false, &to);
		_exit(told && to.files.count == 1 && to.most_snapshots == 1 ? 0 : 1);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(umount(rt_path("proc")), 0);
	assert_int_equal(status, 0);
	remove_all();
}

static void test_subdirs(void **state)
{
	struct amp_names s = {0};
	char last[16] = "", name[16];
	unsigned count = 0, passes = 0;

	(void)state;
	do {
		assert_int_equal(amp_names_begin(&s, 1000, passes ? last : NULL, false), 0);
		for (unsigned i = 0; i < 3000; i++) {
			snprintf(name, sizeof(name), "%u", i * 1999 % 3000);
			assert_int_equal(amp_names_add(&s, name), 0);
			if (i % 100 == 0)
				assert_int_equal(amp_names_add(&s, name), 0);
		}
		amp_names_end(&s);
		assert_true(amp_names_bytes(&s) <= 1000 + 16);
		passes++;
		for (const char *n; (n = amp_names_next(&s)); count++) {
			assert_true(strcmp(n, last) > 0);
			snprintf(last, sizeof(last), "%s", n);
		}
	} while (s.more);
	assert_int_equal(count, 3000);
	assert_true(passes > 10);
	assert_int_equal(amp_names_begin(&s, 1000, "b", true), 0);
	amp_names_add(&s, "a");
	amp_names_add(&s, "c");
	amp_names_add(&s, "b");
	amp_names_end(&s);
	assert_string_equal(amp_names_next(&s), "b");
	assert_string_equal(amp_names_next(&s), "c");
	assert_null(amp_names_next(&s));
	assert_null(amp_names_next(&s));
	amp_names_free(&s);
}

/* By names: an overlay has no file handles. */

static char names_dir[64];

static bool names_mount(void)
{
	char options[400];

	mkdir(rt_path("lower"), 0700);
	mkdir(rt_path("upper"), 0700);
	mkdir(rt_path("work"), 0700);
	strcpy(names_dir, "/tmp/amp-readtest8-XXXXXX");
	assert_non_null(mkdtemp(names_dir));
	snprintf(options, sizeof(options), "lowerdir=%s,upperdir=%s,workdir=%s", rt_path("lower"),
		 rt_path("upper"), rt_path("work"));
	if (mount("rt8", names_dir, "overlay", 0, options) == 0)
		return true;
	rmdir(names_dir);
	remove_all();
	return false;
}

static void names_umount(void)
{
	assert_int_equal(umount(names_dir), 0); /* the walk left nothing open */
	rmdir(names_dir);
	remove_all();
}

static const char *names_path(const char *name)
{
	static char paths[4][512];
	static unsigned n;
	char *p = paths[n++ % 4];

	snprintf(p, sizeof(paths[0]), "%s/%s", names_dir, name);
	return p;
}

static void test_names(void **state)
{
	static struct told to, again;
	struct list found = {0}, sorted = {0};
	struct amp_tree *t;
	char name[64];

	(void)state;
	RT_NEED();
	if (!names_mount()) {
		SKIP_WITHOUT("overlay file systems");
		return;
	}
	for (unsigned i = 0; i < 200; i++) {
		snprintf(name, sizeof(name), "upper/d%u", i % 20);
		mkdir(rt_path(name), 0700);
		snprintf(name, sizeof(name), "upper/d%u/e", i % 20);
		mkdir(rt_path(name), 0700);
		snprintf(name, sizeof(name), "upper/d%u/%sf%u", i % 20, i % 2 ? "e/" : "", i);
		rt_write(name, name, strlen(name));
	}
	assert_tells(names_dir, "file system has no file handles");
	find_files(names_dir, &found);
	t = tree_of(names_dir, NULL, true);
	amp_tree_set_marks(t, 10, INT64_MAX);
	walk_on(t, AMP_WALK_BATCH, true, &to);
	amp_tree_free(t);
	assert_string_equal(to.error, "");
	for (size_t i = 0; i < to.files.count; i++)
		list_put(&sorted, to.files.at[i]);
	list_sort(&sorted);
	assert_same(&sorted, 0, &found);
	assert_int_equal(to.with_sha, 200);
	assert_int_equal(to.most_snapshots, AMP_TREE_SNAPSHOTS);
	assert_true(to.marks.count > 5);
	for (size_t i = 0; i < to.marks.count; i++) {
		t = tree_of(names_dir, to.marks.at[i], true);
		walk_on(t, AMP_WALK_BATCH, false, &again);
		amp_tree_free(t);
		assert_same(&to.files, to.files_at_mark[i], &again.files);
		told_free(&again);
	}
	/* One file. */
	t = tree_of(to.files.at[7], NULL, true);
	walk_on(t, 1, false, &again);
	amp_tree_free(t);
	assert_int_equal(again.files.count, 1);
	assert_string_equal(again.files.at[0], to.files.at[7]);
	told_free(&again);
	told_free(&to);
	list_free(&found);
	list_free(&sorted);
	names_umount();
}

/* By names though there are handles; and the path must be where it is thought to be. */
static void test_names_forced(void **state)
{
	static struct told to;
	struct amp_tree_ask ask = {
		.path = rt_dir,
		.path_length = strlen(rt_dir),
		.names_permitted = true,
		.fsid = rt_fsid,
	};
	struct amp_tree *t;

	(void)state;
	RT_NEED();
	mkdir(rt_path("a"), 0700);
	rt_write("a/f", "x", 1);
	rt_write("f", "x", 1);
	t = forced_tree_of(rt_dir);
	walk_on(t, 1, true, &to);
	amp_tree_free(t);
	assert_string_equal(to.error, "");
	assert_int_equal(to.files.count, 2);
	assert_int_equal(to.with_sha, 2); /* and none has a directory's handle: take_part() */
	told_free(&to);
	t = amp_tree_new(&ask);
	walk_on(t, 1, true, &to);
	amp_tree_free(t);
	assert_int_equal(to.files.count, 2);
	assert_int_equal(to.with_sha, 0);
	told_free(&to);
	ask.fsid = rt_fsid + 1;
	t = amp_tree_new(&ask);
	walk_on(t, 1, true, &to);
	amp_tree_free(t);
	assert_string_equal(to.error, "the path is on another file system");
	assert_int_equal(to.totals.fsid, rt_fsid);
	told_free(&to);
	remove_all();
}

static void test_names_replaced(void **state)
{
	(void)state;
	RT_NEED();
	if (!names_mount()) {
		SKIP_WITHOUT("overlay file systems");
		return;
	}
	mkdir(names_path("top"), 0700);
	replaced(true, names_dir);
	names_umount();
}

/*
 * What a batch told is taken away while the walk waits, and others come, as when a quarantine is at
 * work: on a file system whose directories are read by position (ramfs; tmpfs before Linux 6.6) the
 * rest moves up. Each of the others is told, and once.
 */
static void test_taken_meanwhile(void **state)
{
	static struct told to;
	struct amp_tree *t;
	char name[64];
	size_t gone = 0;

	(void)state;
	RT_NEED();
	mkdir(rt_path("ramfs"), 0700);
	assert_int_equal(mount("rt9", rt_path("ramfs"), "ramfs", 0, NULL), 0);
	for (unsigned i = 0; i < 2000; i++) {
		snprintf(name, sizeof(name), "ramfs/f%u", i);
		rt_write(name, "x", 1);
	}
	t = tree_of(rt_path("ramfs"), NULL, true);
	while (!amp_tree_over(t)) {
		if (!amp_tree_step(t, 100))
			continue;
		take_batch(&to, t, 100);
		amp_tree_rest(t);
		for (; gone < to.files.count; gone++)
			assert_int_equal(unlink(to.files.at[gone]), 0);
		snprintf(name, sizeof(name), "ramfs/new%zu", gone);
		rt_write(name, "x", 1);
	}
	amp_tree_free(t);
	assert_int_equal(umount(rt_path("ramfs")), 0);
	list_sort(&to.files);
	gone = 0;
	for (size_t i = 0; i < to.files.count; i++) {
		gone += strncmp(to.files.at[i], rt_path("ramfs/f"), strlen(rt_path("ramfs/f"))) == 0;
		assert_true(i == 0 || strcmp(to.files.at[i], to.files.at[i - 1]) != 0);
	}
	assert_int_equal(gone, 2000);
	told_free(&to);
	remove_all();
}

/* The last part that a batch has room for is of a file that is read: it has its place when it was. */
static void parts_and_a_file(unsigned parts, size_t name_length)
{
	static struct told to;
	char name[300], path[800];
	struct amp_tree *t;

	memset(name, 'n', sizeof(name));
	name[name_length] = '\0';
	for (unsigned i = 0; i < parts; i++) {
		snprintf(path, sizeof(path), "%s/top/d%02u-%s", rt_dir, i, name);
		mkdir(path, 0700);
		strcat(path, "/link");
		assert_int_equal(symlink("nowhere", path), 0);
	}
	mkdir(rt_path("top/e"), 0700);
	rt_write("top/e/f", "x", 1);
	rt_write("top/e/g", "x", 1);
	t = forced_tree_of(rt_path("top"));
	walk_on(t, AMP_WALK_BATCH, true, &to);
	amp_tree_free(t);
	assert_string_equal(to.error, "");
	assert_int_equal(to.odds.count, parts);
	assert_int_equal(to.files.count, 2);
	assert_string_equal(to.files.at[0], rt_path("top/e/f"));
	told_free(&to);
	remove_all();
}

static void test_last_part(void **state)
{
	(void)state;
	RT_NEED();
	for (unsigned parts = AMP_TREE_PARTS - 2; parts < AMP_TREE_PARTS + 2; parts++) {
		mkdir(rt_path("top"), 0700);
		parts_and_a_file(parts, 1);
	}
	for (unsigned parts = 30; parts < AMP_TREE_PARTS; parts++) {
		mkdir(rt_path("top"), 0700);
		parts_and_a_file(parts, 240);
	}
}

/* Between the listing and the telling a file and a directory have changed places: both are found. */
static void test_exchanged(void **state)
{
	static struct told to;

	(void)state;
	RT_NEED();
	for (int by_names = 0; by_names < 2; by_names++) {
		struct amp_tree *t;

		mkdir(rt_path("top"), 0700);
		mkdir(rt_path("top/b"), 0700);
		rt_write("top/b/in", "x", 1);
		rt_write("top/a", "x", 1);
		rt_write("top/c", "x", 1);
		t = by_names ? forced_tree_of(rt_path("top")) : tree_of(rt_path("top"), NULL, false);
		while (!amp_tree_step(t, 1))
			;
		take_batch(&to, t, 1); /* a */
		assert_int_equal(to.files.count, 1);
		assert_int_equal(
			renameat2(AT_FDCWD, rt_path("top/b"), AT_FDCWD, rt_path("top/c"), RENAME_EXCHANGE),
			0);
		walk_on(t, 1, true, &to);
		amp_tree_free(t);
		assert_int_equal(to.odds.count, 0);
		assert_int_equal(to.files.count, 3);
		list_sort(&to.files);
		assert_string_equal(to.files.at[1], rt_path("top/b"));
		assert_string_equal(to.files.at[2], rt_path("top/c/in"));
		told_free(&to);
		remove_all();
	}
}

/* Where it was to go on is gone, and nothing is behind it there: a namesake higher up is no such place. */
static void test_resume_namesake(void **state)
{
	static struct told to;
	char mark[600];

	(void)state;
	RT_NEED();
	mkdir(rt_path("top"), 0700);
	mkdir(rt_path("top/a"), 0700);
	mkdir(rt_path("top/b"), 0700);
	mkdir(rt_path("top/b/a"), 0700);
	mkdir(rt_path("top/b/c"), 0700);
	rt_write("top/b/1", "x", 1);
	rt_write("top/b/a/2", "x", 1);
	rt_write("top/b/c/3", "x", 1);
	snprintf(mark, sizeof(mark), "%s/top/a/b/c", rt_dir);
	walk_all(rt_path("top"), mark, &to);
	assert_string_equal(to.error, "");
	assert_int_equal(to.files.count, 3);
	told_free(&to);
	remove_all();
}

/* Left in the middle of it, nothing stays open. */
static void test_names_left(void **state)
{
	static char zeros[9 * 1024 * 1024];
	struct amp_tree *t;

	(void)state;
	RT_NEED();
	if (!names_mount()) {
		SKIP_WITHOUT("overlay file systems");
		return;
	}
	mkdir(rt_path("upper/a"), 0700);
	rt_write("upper/a/f", zeros, sizeof(zeros));
	rt_write("upper/f", "small", 5);
	for (int steps = 0; steps < 4; steps++) {
		t = tree_of(names_dir, NULL, true);
		for (int i = 0; i < steps; i++)
			amp_tree_step(t, AMP_WALK_BATCH);
		amp_tree_free(t);
		assert_int_equal(open_below(names_dir), 0);
		assert_int_equal(open_below("/memfd:amp-content"), 0);
	}
	names_umount();
}

/* By message from here on. */

static void ask_tree(struct rig *g, uint64_t id, const char *path, const char *resume, uint32_t credit,
		     bool by_path)
{
	Amp__Walk ask = AMP__WALK__INIT;

	ask.walk_id = id;
	ask.ordered = true;
	ask.path.data = (uint8_t *)(uintptr_t)path;
	ask.path.len = strlen(path);
	ask.resume.data = (uint8_t *)(uintptr_t)resume;
	ask.resume.len = resume ? strlen(resume) : 0;
	ask.credit = credit;
	ask.by_path = by_path;
	ask.snapshot_max = by_path ? 1024 * 1024 : 0;
	assert_int_equal(amp_channel_send(g->scan, AMP_MSG_WALK, 0, &ask.base, NULL, 0), 0);
}

static void go(struct rig *g, uint64_t id)
{
	Amp__WalkGo message = AMP__WALK_GO__INIT;

	message.walk_id = id;
	assert_int_equal(amp_channel_send(g->scan, AMP_MSG_WALK_GO, 0, &message.base, NULL, 0), 0);
}

static void make_files(const char *dir, unsigned n)
{
	char name[64];

	if (strcmp(dir, ".") != 0)
		mkdir(rt_path(dir), 0700);
	for (unsigned i = 0; i < n; i++) {
		snprintf(name, sizeof(name), "%s/f%u", dir, i);
		rt_write(name, "", 0);
	}
}

static void test_messages(void **state)
{
	struct rig *g;
	char mark[AMP_PATH_MAX];

	(void)state;
	RT_NEED();
	make_files("a", 1200);
	make_files("b", 1200);
	make_files("c", 10);
	assert_int_equal(symlink("a", rt_path("link")), 0);
	g = rig_new();
	ask_tree(g, 1, rt_dir, NULL, 100000, false);
	rig_until(g, &g->marks, 1);
	/* It waits for a GO, with nothing open. */
	rig_idle(g);
	assert_int_equal(g->marks, 1);
	assert_int_equal(g->entries, 1200);
	assert_int_equal(g->odds, 1);
	assert_int_equal(g->walk_fsid, rt_fsid);
	assert_string_equal(g->last_mark, rt_path("b"));
	assert_int_equal(g->mark_directories, 2);
	assert_int_equal(open_below(rt_dir), 0);
	strcpy(mark, g->last_mark);
	go(g, 1);
	rig_until(g, &g->marks, 2);
	assert_int_equal(g->entries, 2400);
	go(g, 1);
	rig_until(g, &g->done, 1);
	assert_string_equal(g->error, "");
	assert_int_equal(g->entries, 2410);
	assert_int_equal(g->directories, 4);
	assert_int_equal(g->done_fsid, rt_fsid);
	assert_int_equal(g->seen, 2414);
	/* Another one goes on from the mark. */
	g->entries = g->odds = 0;
	ask_tree(g, 2, rt_dir, mark, 100000, false);
	rig_until(g, &g->marks, 3);
	go(g, 2);
	rig_until(g, &g->done, 2);
	assert_int_equal(g->entries, 1210);
	assert_int_equal(g->odds, 0);
	assert_int_equal(g->directories, 2);
	assert_int_equal(amp_reader_in_hand(g->reader), 0);
	/* A path that is none is refused; a GO that nobody waits for is none. */
	ask_tree(g, 3, "relative", NULL, 1, false);
	rig_until(g, &g->done, 3);
	assert_string_equal(g->error, "no such path can be walked");
	go(g, 99);
	rig_idle(g);
	assert_int_equal(g->hostile, 0);
	ask_tree(g, 4, rt_dir, NULL, 0, false);
	go(g, 4);
	rig_idle(g);
	assert_int_equal(g->hostile, 1);
	rig_free(g);
	remove_all();
}

/* Credit counts entries; what is odd needs none. */
static void test_credit(void **state)
{
	Amp__WalkCredit c = AMP__WALK_CREDIT__INIT;
	struct rig *g;

	(void)state;
	RT_NEED();
	make_files("a", 100);
	g = rig_new();
	ask_tree(g, 1, rt_dir, NULL, 0, false);
	rig_idle(g);
	assert_int_equal(g->entries, 0);
	for (unsigned i = 1; i <= 10; i++) {
		c.walk_id = 1;
		c.credit = 7;
		assert_int_equal(amp_channel_send(g->scan, AMP_MSG_WALK_CREDIT, 0, &c.base, NULL, 0), 0);
		rig_until(g, &g->entries, i * 7);
		rig_idle(g);
		assert_int_equal(g->entries, i * 7);
		assert_int_equal(open_below(rt_dir), 0);
	}
	assert_int_equal(g->done, 0);
	c.credit = 100;
	assert_int_equal(amp_channel_send(g->scan, AMP_MSG_WALK_CREDIT, 0, &c.base, NULL, 0), 0);
	rig_until(g, &g->done, 1);
	assert_int_equal(g->entries, 100);
	rig_free(g);
	remove_all();
}

/* What the walk read comes with what it read. */
static void test_names_messages(void **state)
{
	struct rig *g;

	(void)state;
	RT_NEED();
	if (!names_mount()) {
		SKIP_WITHOUT("overlay file systems");
		return;
	}
	make_files("upper/a", 100);
	g = rig_new();
	ask_tree(g, 1, names_dir, NULL, 1000, true);
	rig_until(g, &g->done, 1);
	assert_string_equal(g->error, "");
	assert_int_equal(g->entries, 100);
	assert_int_equal(g->with_sha, 100);
	assert_int_equal(g->with_snapshot, 100);
	assert_int_equal(open_below("/memfd:amp-content"), 0);
	rig_free(g);
	names_umount();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sealed), /* first: what others have called is not called again */
		cmocka_unit_test(test_order),
		cmocka_unit_test(test_odd),
		cmocka_unit_test(test_paths),
		cmocka_unit_test(test_many),
		cmocka_unit_test(test_interrupted),
		cmocka_unit_test(test_resume_vanished),
		cmocka_unit_test(test_deep),
		cmocka_unit_test(test_long_names),
		cmocka_unit_test(test_replaced),
		cmocka_unit_test(test_path_replaced),
		cmocka_unit_test(test_moved),
		cmocka_unit_test(test_wide),
		cmocka_unit_test(test_subdirs),
		cmocka_unit_test(test_names),
		cmocka_unit_test(test_names_replaced),
		cmocka_unit_test(test_names_forced),
		cmocka_unit_test(test_last_part),
		cmocka_unit_test(test_exchanged),
		cmocka_unit_test(test_resume_namesake),
		cmocka_unit_test(test_taken_meanwhile),
		cmocka_unit_test(test_names_left),
		cmocka_unit_test(test_messages),
		cmocka_unit_test(test_credit),
		cmocka_unit_test(test_names_messages),
	};

	return cmocka_run_group_tests_name("tree", tests, rt_setup, rt_teardown);
}
