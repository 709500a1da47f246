/*
 * tests/unit/test_filesystems.c - scope, the table of file systems, the
 * directory cache.
 */
#include "scantest.h"

#include "ampscand/filesystems.h"
#include "proto/types.h"

#include <errno.h>

static ProtobufCBinaryData bytes(const char *s)
{
	return (ProtobufCBinaryData){.data = (uint8_t *)(uintptr_t)s, .len = strlen(s)};
}

static Amp__FileSystem wire_of(uint64_t fsid, const char *mount_point)
{
	Amp__FileSystem w = AMP__FILE_SYSTEM__INIT;

	w.fsid = fsid;
	w.how = AMP__FILE_SYSTEM__HOW__BY_HANDLE;
	w.mount_point = bytes(mount_point);
	return w;
}

static void test_path_below(void **state)
{
	static const struct {
		const char *path, *dir;
		bool below;
	} rows[] = {
		{"/w", "/w", true},	      {"/w/x", "/w", true},	{"/wx", "/w", false},
		{"/wx/y", "/w", false},	      {"/", "/w", false},	{"/v", "/w", false},
		{"/w/x", "/w/", true},	      {"/w", "/w//", true},	{"/wx", "/w/", false},
		{"/anything", "/", true},     {"/", "/", true},		{"/w/x", "/w/x/y", false},
		{"/w/x/y/z", "/w/x/y", true}, {"relative", "/", false}, {"", "/w", false},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		if (path_below(rows[i].path, rows[i].dir) != rows[i].below)
			fail_msg("%s below %s", rows[i].path, rows[i].dir);
}

static void test_scope(void **state)
{
	ProtobufCBinaryData watch[2] = {bytes("/w"), bytes("/srv/data")};
	Amp__FileSystem w = wire_of(1, "/");
	struct filesystems t;
	struct filesystem *fs;

	(void)state;
	assert_int_equal(filesystems_init(&t), 0);
	w.watch = watch;
	w.n_watch = 2;
	assert_int_equal(filesystems_set(&t, &w), 0);
	fs = filesystems_find(&t, 1);
	assert_true(filesystem_in_scope(fs, "/w/file"));
	assert_true(filesystem_in_scope(fs, "/srv/data/a/b"));
	assert_false(filesystem_in_scope(fs, "/wx/file"));
	assert_false(filesystem_in_scope(fs, "/srv/database"));
	assert_false(filesystem_in_scope(fs, "/srv"));
	w.n_watch = 0;
	assert_int_equal(filesystems_set(&t, &w), 0);
	fs = filesystems_find(&t, 1);
	assert_true(filesystem_in_scope(fs, "/wx/file"));
	w.how = AMP__FILE_SYSTEM__HOW__NOT_WATCHED;
	assert_int_equal(filesystems_set(&t, &w), 0);
	assert_false(filesystem_in_scope(filesystems_find(&t, 1), "/w/file"));
	filesystems_free(&t);
}

static void test_table(void **state)
{
	Amp__FileSystem w = wire_of(1, "/a");
	struct filesystems t;

	(void)state;
	assert_int_equal(filesystems_init(&t), 0);
	w.dev_major = 8;
	w.dev_minor = 1;
	assert_int_equal(filesystems_set(&t, &w), 0);
	w = wire_of(2, "");
	w.dev_major = 8;
	w.dev_minor = 2;
	w.partial = true;
	assert_int_equal(filesystems_set(&t, &w), 0);
	assert_string_equal(filesystems_find(&t, 1)->mount_point, "/a");
	assert_string_equal(filesystems_find(&t, 2)->mount_point, "");
	assert_true(filesystems_find(&t, 2)->partial);
	assert_int_equal(filesystems_by_device(&t, 8, 2)->fsid, 2);
	assert_null(filesystems_by_device(&t, 9, 2));
	w = wire_of(1, "/b"); /* moved */
	assert_int_equal(filesystems_set(&t, &w), 0);
	assert_int_equal(t.count, 2);
	assert_string_equal(filesystems_find(&t, 1)->mount_point, "/b");
	filesystems_remove(&t, 1);
	filesystems_remove(&t, 1);
	assert_int_equal(t.count, 1);
	assert_null(filesystems_find(&t, 1));
	filesystems_free(&t);
}

static struct amp_fileid in_subvolume(uint64_t base, uint64_t root)
{
	struct amp_fileid id = {.fsid = base ^ (root >> 32 | root << 32),
				.handle = {.type = 0x4d, .size = 20}};

	memcpy(id.handle.bytes + 8, &root, sizeof(root));
	return id;
}

static void put_subvolume(struct filesystems *t, uint64_t base, uint64_t root, const char *mount_point)
{
	struct amp_fileid id = in_subvolume(base, root);
	Amp__FileSystem w = wire_of(id.fsid, mount_point);

	w.btrfs = base;
	assert_int_equal(filesystems_set(t, &w), 0);
}

/* Where a file in a subvolume that nothing mounts belongs. */
static void test_subvolumes(void **state)
{
	const uint64_t base = 0x1122334455667788, root = 256, home = 257, late = 0x100000300, other = 5;
	static const struct {
		const char *path;
		uint64_t mounted;
	} rows[] = {
		{"/home/x/f", 257},
		{"/srv/x/f", 256},
		{"/homework", 256},
		{"/home", 257},
	};
	struct amp_fileid id = in_subvolume(base, late);
	struct filesystems t;

	(void)state;
	assert_int_equal(filesystems_init(&t), 0);
	assert_null(filesystems_of(&t, &id, "/srv/f"));
	put_subvolume(&t, base, root, "/");
	put_subvolume(&t, base, home, "/home");
	put_subvolume(&t, base + 1, other, "/srv");
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		assert_ptr_equal(filesystems_of(&t, &id, rows[i].path),
				 filesystems_find(&t, in_subvolume(base, rows[i].mounted).fsid));
	assert_true(filesystems_of(&t, &id, NULL)->btrfs == base);
	assert_true(filesystems_of(&t, &id, "not absolute")->btrfs == base);
	id = in_subvolume(base, home); /* mounted itself, whatever its path looks like */
	assert_string_equal(filesystems_of(&t, &id, "/srv/f")->mount_point, "/home");
	id = in_subvolume(base + 2, late);
	assert_null(filesystems_of(&t, &id, "/home/f"));
	id = in_subvolume(base, late);
	id.handle.type = 1;
	assert_null(filesystems_of(&t, &id, "/home/f"));
	filesystems_free(&t);
}

static void refuse(struct filesystems *t, const Amp__FileSystem *w)
{
	errno = 0;
	assert_int_equal(filesystems_set(t, w), -1);
	assert_int_equal(errno, EBADMSG);
}

static void test_bad_from_the_wire(void **state)
{
	static uint8_t longest[AMP_PATH_MAX];
	ProtobufCBinaryData watch[2] = {bytes("/ok"), bytes("not absolute")};
	Amp__FileSystem w = wire_of(1, "/good");
	struct filesystems t;

	(void)state;
	assert_int_equal(filesystems_init(&t), 0);
	assert_int_equal(filesystems_set(&t, &w), 0);
	w = wire_of(1, "relative");
	refuse(&t, &w);
	w.mount_point = (ProtobufCBinaryData){.data = (uint8_t *)(uintptr_t) "/a\0b", .len = 4};
	refuse(&t, &w);
	memset(longest, '/', sizeof(longest));
	w.mount_point = (ProtobufCBinaryData){.data = longest, .len = sizeof(longest)};
	refuse(&t, &w);
	w = wire_of(1, "/other");
	w.watch = watch;
	w.n_watch = 2;
	refuse(&t, &w);
	/* What was refused has changed nothing. */
	assert_string_equal(filesystems_find(&t, 1)->mount_point, "/good");
	assert_int_equal(t.count, 1);
	w = wire_of(2, "/");
	w.mount_point = (ProtobufCBinaryData){.data = longest, .len = sizeof(longest) - 1};
	assert_int_equal(filesystems_set(&t, &w), 0);
	filesystems_free(&t);
}

static void test_count_is_bounded(void **state)
{
	struct filesystems t;

	(void)state;
	assert_int_equal(filesystems_init(&t), 0);
	for (uint64_t i = 1; i <= FILESYSTEMS_MAX; i++) {
		Amp__FileSystem w = wire_of(i, "/m");

		assert_int_equal(filesystems_set(&t, &w), 0);
	}
	refuse(&t, &(Amp__FileSystem[]){wire_of(FILESYSTEMS_MAX + 1, "/m")}[0]);
	assert_int_equal(filesystems_set(&t, &(Amp__FileSystem[]){wire_of(5, "/n")}[0]), 0);
	assert_int_equal(t.count, FILESYSTEMS_MAX);
	filesystems_free(&t);
}

static void store(struct filesystems *t, uint64_t fsid, uint64_t n, const char *path)
{
	struct amp_fileid id = st_id(fsid, n);

	directories_store(t, &id, path);
}

static const char *path_of(struct filesystems *t, uint64_t fsid, uint64_t n)
{
	struct amp_fileid id = st_id(fsid, n);

	return directories_find(t, &id);
}

static void test_directories(void **state)
{
	struct filesystems t;

	(void)state;
	assert_int_equal(filesystems_init(&t), 0);
	store(&t, 1, 1, "/one");
	store(&t, 1, 2, "/two");
	store(&t, 2, 1, "/three");
	assert_string_equal(path_of(&t, 1, 1), "/one");
	store(&t, 1, 1, "/renamed");
	assert_string_equal(path_of(&t, 1, 1), "/renamed");
	assert_string_equal(path_of(&t, 1, 2), "/two");
	directories_flush(&t, 1);
	assert_null(path_of(&t, 1, 1));
	assert_null(path_of(&t, 1, 2));
	assert_string_equal(path_of(&t, 2, 1), "/three");
	filesystems_free(&t);
}

/* A path asked for before a change must not be believed after it. */
static void test_generation(void **state)
{
	Amp__FileSystem w = wire_of(1, "/a");
	struct filesystems t;
	uint32_t before;

	(void)state;
	assert_int_equal(filesystems_init(&t), 0);
	assert_int_equal(filesystems_set(&t, &w), 0);
	before = filesystems_find(&t, 1)->generation;
	directories_flush(&t, 1);
	assert_true(filesystems_find(&t, 1)->generation != before);
	before = filesystems_find(&t, 1)->generation;
	store(&t, 1, 1, "/a/b");
	w = wire_of(1, "/elsewhere");
	assert_int_equal(filesystems_set(&t, &w), 0);
	assert_true(filesystems_find(&t, 1)->generation != before);
	assert_null(path_of(&t, 1, 1));
	filesystems_free(&t);
}

static void test_directories_are_bounded(void **state)
{
	struct filesystems t;

	(void)state;
	assert_int_equal(filesystems_init(&t), 0);
	for (uint64_t i = 0; i < 20000; i++)
		store(&t, 1, i, "/d");
	assert_true(t.directories.count <= 8192);
	assert_non_null(path_of(&t, 1, 19999));
	assert_null(path_of(&t, 1, 0));
	filesystems_free(&t);
}

/* Scanned, not watched: where it is found, never in scope; ampmon's word replaces it. */
static void test_visited(void **state)
{
	struct filesystems t;
	Amp__FileSystem wire = AMP__FILE_SYSTEM__INIT;
	struct filesystem *fs;

	(void)state;
	assert_int_equal(filesystems_init(&t), 0);
	for (uint64_t fsid = 1; fsid <= 40; fsid++)
		filesystems_visit(&t, fsid, "/mnt/a");
	assert_null(filesystems_find(&t, 1));
	assert_true(t.count <= 16);
	filesystems_visit(&t, 40, "/mnt/b");
	fs = filesystems_find(&t, 40);
	assert_string_equal(fs->mount_point, "/mnt/b");
	assert_false(filesystem_in_scope(fs, "/mnt/b/file"));
	wire.fsid = 40;
	wire.how = AMP__FILE_SYSTEM__HOW__BY_HANDLE;
	wire.mount_point.data = (uint8_t *)(uintptr_t) "/mnt";
	wire.mount_point.len = 4;
	assert_int_equal(filesystems_set(&t, &wire), 0);
	filesystems_visit(&t, 40, "/mnt/c");
	assert_string_equal(filesystems_find(&t, 40)->mount_point, "/mnt");
	filesystems_free(&t);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_visited),
		cmocka_unit_test(test_path_below),
		cmocka_unit_test(test_scope),
		cmocka_unit_test(test_table),
		cmocka_unit_test(test_subvolumes),
		cmocka_unit_test(test_bad_from_the_wire),
		cmocka_unit_test(test_count_is_bounded),
		cmocka_unit_test(test_directories),
		cmocka_unit_test(test_generation),
		cmocka_unit_test(test_directories_are_bounded),
	};

	return cmocka_run_group_tests_name("filesystems", tests, NULL, NULL);
}
