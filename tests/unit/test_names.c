/*
 * tests/unit/test_names.c - names are taken from the judged inode only, and
 * nothing else is ever lost, whoever changes the directory meanwhile.
 */
#include "quartest.h"

#include "ampquard/names.h"

#include <seccomp.h>
#include <sys/xattr.h>

#define ID	"0d4a5f0e-5a8e-4f54-9d1a-0123456789ab"
#define PRIVATE AMP_PRIVATE_PREFIX ID

static struct capture *capture(int file)
{
	struct capture *c = capture_new(file, ID);

	assert_non_null(c);
	return c;
}

static void takes_and_removes(void **state)
{
	int file, other;
	struct capture *c;

	(void)state;
	QT_NEED();
	file = qt_file(qt_fd, "evil", "bad");
	other = qt_file(qt_fd, "canary", "good");
	assert_int_equal(linkat(qt_fd, "evil", qt_fd, "evil2", 0), 0);
	c = capture(file);
	assert_int_equal(capture_name(c, qt_fd, "evil"), NAME_REMOVED);
	assert_false(qt_there(qt_fd, "evil"));
	assert_true(qt_there(qt_fd, PRIVATE "/evil")); /* what a dead keeper left describes itself */
	assert_int_equal(capture_name(c, qt_fd, "evil"), NAME_REMOVED);
	assert_int_equal(capture_name(c, qt_fd, "evil2"), NAME_REMOVED);
	assert_int_equal(capture_name(c, qt_fd, "canary"), NAME_ELSEWHERE);
	assert_int_equal(capture_name(c, qt_fd, "none"), NAME_ELSEWHERE);
	assert_int_equal(capture_count(c), 2);
	assert_int_equal(capture_remove(c), 0);
	assert_int_equal(qt_links(file), 0);
	assert_int_equal(qt_count(qt_fd), 1);
	assert_true(qt_content_is(other, "good"));
	close(file);
	close(other);
}

/* Names of several files: their directory waits to be synced, once. */
static void syncs_together(void **state)
{
	struct names_syncs syncs = {0};
	int files[2], sub;

	(void)state;
	QT_NEED();
	assert_int_equal(mkdirat(qt_fd, "sub", 0755), 0);
	sub = openat(qt_fd, "sub", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	files[0] = qt_file(qt_fd, "one", "bad");
	files[1] = qt_file(qt_fd, "two", "bad");
	assert_int_equal(linkat(qt_fd, "two", sub, "three", 0), 0);
	for (unsigned i = 0; i < 2; i++) {
		struct capture *c = capture(files[i]);

		capture_sync_later(c, &syncs);
		assert_int_equal(capture_name(c, qt_fd, i ? "two" : "one"), NAME_REMOVED);
		assert_int_equal(capture_name(c, sub, "three"), i ? NAME_REMOVED : NAME_ELSEWHERE);
		assert_int_equal(capture_remove(c), 0);
		assert_int_equal(syncs.count, i + 1);
		close(files[i]);
	}
	assert_int_equal(syncs.dirs[0].ino, qt_ino(qt_fd));
	assert_int_equal(syncs.dirs[1].ino, qt_ino(sub));
	names_sync(&syncs);
	assert_int_equal(syncs.count, 0);
	assert_int_equal(qt_count(qt_fd), 1);
	close(sub);
}

static void puts_back(void **state)
{
	size_t beside = 0;
	struct capture *c;
	int file;

	(void)state;
	QT_NEED();
	file = qt_file(qt_fd, "evil", "bad");
	assert_int_equal(linkat(qt_fd, "evil", qt_fd, "two", 0), 0);
	c = capture(file);
	assert_int_equal(capture_name(c, qt_fd, "evil"), NAME_REMOVED);
	assert_int_equal(capture_name(c, qt_fd, "two"), NAME_REMOVED);
	close(qt_file(qt_fd, "evil", "new"));
	close(qt_file(qt_fd, "evil.amp-returned-1", "there too"));
	capture_undo(c, &beside);
	assert_int_equal(beside, 1);
	assert_int_equal(qt_ino_at(qt_fd, "evil.amp-returned-2"), qt_ino(file));
	assert_int_equal(qt_ino_at(qt_fd, "two"), qt_ino(file));
	assert_int_equal(qt_count(qt_fd), 4);
	close(file);
}

static void odd_names(void **state)
{
	static const char *const odd[] = {"with space", "new\nline", "\xff\xfe\x80", "-rf",
					  "...",	".hidden",   "back\\slash"};
	char longest[256], euro[256];
	struct capture *c;
	size_t beside = 0;
	int file;

	(void)state;
	QT_NEED();
	memset(longest, 'n', 255);
	longest[255] = '\0';
	for (size_t i = 0; i < 85; i++)
		memcpy(euro + 3 * i, "\xe2\x82\xac", 4);
	file = qt_file(qt_fd, longest, "bad");
	assert_int_equal(linkat(qt_fd, longest, qt_fd, euro, 0), 0);
	c = capture(file);
	for (size_t i = 0; i < sizeof(odd) / sizeof(odd[0]); i++) {
		assert_int_equal(linkat(qt_fd, longest, qt_fd, odd[i], 0), 0);
		assert_int_equal(capture_name(c, qt_fd, odd[i]), NAME_REMOVED);
		assert_false(qt_there(qt_fd, odd[i]));
	}
	assert_int_equal(capture_name(c, qt_fd, longest), NAME_REMOVED);
	assert_int_equal(capture_name(c, qt_fd, euro), NAME_REMOVED);
	close(qt_file(qt_fd, longest, "new"));
	close(qt_file(qt_fd, euro, "new"));
	capture_undo(c, &beside);
	assert_int_equal(beside, 2);
	memcpy(longest + 255 - 15, ".amp-returned-1", 15);
	assert_int_equal(qt_ino_at(qt_fd, longest), qt_ino(file));
	strcpy(euro + 240, ".amp-returned-1"); /* 80 whole characters */
	assert_int_equal(qt_ino_at(qt_fd, euro), qt_ino(file));
	assert_int_equal(qt_count(qt_fd), 4 + sizeof(odd) / sizeof(odd[0]));
	close(file);
}

static void bad_names(void **state)
{
	static const char *const bad[] = {"", ".", "..", "a/b", "/"};
	struct capture *c;
	int file;

	(void)state;
	QT_NEED();
	file = qt_file(qt_fd, "evil", "bad");
	c = capture(file);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		errno = 0;
		assert_int_equal(capture_name(c, qt_fd, bad[i]), NAME_FAILED);
		assert_int_equal(errno, EINVAL);
	}
	assert_int_equal(capture_remove(c), 0);
	assert_null(capture_new(file, ""));
	assert_null(capture_new(file, "a/b"));
	assert_null(capture_new(qt_fd, ID));
	assert_null(capture_new(-1, ID));
	assert_int_equal(qt_count(qt_fd), 1);
	close(file);
}

/* A keeper died with names of this inode, and something else, in its hands. */
static void goes_on_after_death(void **state)
{
	struct capture *c;
	int file, private;

	(void)state;
	QT_NEED();
	file = qt_file(qt_fd, "safe", "bad");
	assert_int_equal(mkdirat(qt_fd, PRIVATE, 0700), 0);
	private = openat(qt_fd, PRIVATE, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_int_equal(linkat(qt_fd, "safe", private, "evil", 0), 0);
	assert_int_equal(linkat(qt_fd, "safe", private, "again", 0), 0);
	assert_int_equal(linkat(qt_fd, "safe", qt_fd, "again", 0), 0); /* and made anew since */
	close(qt_file(private, "canary", "good"));
	close(qt_file(private, "taken", "old"));
	close(qt_file(qt_fd, "taken", "new"));
	assert_int_equal(mkdirat(private, "directory", 0755), 0);
	assert_int_equal(symlinkat("/nowhere", private, "link"), 0);
	c = capture(file);
	assert_int_equal(capture_name(c, qt_fd, "evil"), NAME_REMOVED);
	assert_int_equal(capture_count(c), 2);
	assert_true(qt_there(qt_fd, "canary"));
	assert_true(qt_there(qt_fd, "directory"));
	assert_true(qt_there(qt_fd, "link"));
	assert_true(qt_there(qt_fd, "taken.amp-returned-1"));
	assert_int_equal(qt_count(private), 2);
	assert_int_equal(capture_name(c, qt_fd, "again"), NAME_REMOVED);
	assert_int_equal(capture_count(c), 2);
	assert_int_equal(capture_remove(c), 0);
	assert_int_equal(qt_links(file), 1);
	assert_int_equal(qt_count(qt_fd), 6);
	close(private);
	close(file);
}

static void sweeps(void **state)
{
	int file, private;

	(void)state;
	QT_NEED();
	file = qt_file(qt_fd, "safe", "bad");
	assert_int_equal(names_sweep(qt_fd, ID), 0);
	assert_int_equal(mkdirat(qt_fd, PRIVATE, 0700), 0);
	private = openat(qt_fd, PRIVATE, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_int_equal(linkat(qt_fd, "safe", private, "evil", 0), 0);
	assert_int_equal(linkat(qt_fd, "safe", private, "safe", 0), 0);
	close(private);
	assert_int_equal(names_sweep(qt_fd, ID), 0);
	assert_int_equal(qt_ino_at(qt_fd, "evil"), qt_ino(file));
	assert_int_equal(qt_ino_at(qt_fd, "safe.amp-returned-1"), qt_ino(file));
	assert_int_equal(qt_count(qt_fd), 3);
	assert_int_equal(names_sweep(qt_fd, "../x"), -1);
	close(file);
}

/* Something of that name that is not ours: not entered, not changed. */
static void not_ours(void **state)
{
	struct capture *c;
	struct stat st;
	int file, away;

	(void)state;
	QT_NEED();
	file = qt_file(qt_fd, "evil", "bad");
	assert_int_equal(mkdirat(qt_fd, PRIVATE, 0700), 0);
	assert_int_equal(fchownat(qt_fd, PRIVATE, QT_USER, QT_USER, 0), 0);
	c = capture(file);
	assert_int_equal(capture_name(c, qt_fd, "evil"), NAME_FAILED);
	assert_int_equal(errno, EEXIST);
	assert_int_equal(names_sweep(qt_fd, ID), -1);
	/* Ours once, and open to others. */
	assert_int_equal(fchownat(qt_fd, PRIVATE, 0, 0, 0), 0);
	assert_int_equal(fchmodat(qt_fd, PRIVATE, 0770, 0), 0);
	assert_int_equal(capture_name(c, qt_fd, "evil"), NAME_FAILED);
	assert_int_equal(errno, EEXIST);
	assert_int_equal(fstatat(qt_fd, PRIVATE, &st, 0), 0);
	assert_int_equal(st.st_mode & 07777, 0770);
	/* A link to a directory of ours. */
	assert_int_equal(unlinkat(qt_fd, PRIVATE, AT_REMOVEDIR), 0);
	away = qt_mkdir("away", 0700);
	assert_int_equal(symlinkat(qt_path("away"), qt_fd, PRIVATE), 0);
	assert_int_equal(capture_name(c, qt_fd, "evil"), NAME_FAILED);
	assert_int_equal(errno, EEXIST);
	capture_undo(c, NULL);
	assert_int_equal(qt_count(away), 0);
	assert_int_equal(qt_ino_at(qt_fd, "evil"), qt_ino(file));
	close(away);
	rmdir(qt_path("away"));
	close(file);
}

/* struct posix_acl_xattr: version 2, then tag, permissions, id. */
static void default_acl(int dir)
{
	static const struct {
		uint32_t version;
		struct {
			uint16_t tag, perm;
			uint32_t id;
		} e[5];
	} acl = {2,
		 {{1, 7, ~0U},	    /* owner */
		  {2, 7, QT_USER},  /* a user */
		  {4, 7, ~0U},	    /* group */
		  {0x10, 7, ~0U},   /* mask */
		  {0x20, 7, ~0U}}}; /* others */

	assert_int_equal(fsetxattr(dir, "system.posix_acl_default", &acl, sizeof(acl), 0), 0);
}

static void private_is_private(void **state)
{
	static const mode_t modes[] = {0777, 01777, 02777, 0555};

	(void)state;
	QT_NEED();
	for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
		const mode_t mask = umask(0);
		int file = qt_file(qt_fd, "evil", "bad"), fd;
		struct capture *c = capture(file);
		struct stat st;

		assert_int_equal(fchmod(qt_fd, modes[i]), 0);
		assert_int_equal(fchown(qt_fd, QT_USER, QT_USER), 0);
		default_acl(qt_fd);
		assert_int_equal(capture_name(c, qt_fd, "evil"), NAME_REMOVED);
		fd = openat(qt_fd, PRIVATE, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		assert_int_equal(fstat(fd, &st), 0);
		assert_int_equal(st.st_mode & 0777, 0700);
		assert_int_equal(st.st_uid, 0);
		assert_int_equal(fgetxattr(fd, "system.posix_acl_access", NULL, 0), -1);
		assert_int_equal(fgetxattr(fd, "system.posix_acl_default", NULL, 0), -1);
		close(fd);
		assert_int_equal(capture_remove(c), 0);
		assert_int_equal(qt_count(qt_fd), 0);
		close(file);
		umask(mask);
	}
}

static int keeper_dir, keeper_file;

static void keeper_takes(void)
{
	struct capture *c = capture_new(keeper_file, ID);

	QT_CHECK(c != NULL);
	QT_CHECK(capture_name(c, keeper_dir, "evil") == NAME_REMOVED);
	QT_CHECK(capture_name(c, keeper_dir, "two") == NAME_REMOVED);
	capture_undo(c, NULL);
	QT_CHECK(qt_there(keeper_dir, "evil"));
	c = capture_new(keeper_file, ID);
	QT_CHECK(capture_name(c, keeper_dir, "evil") == NAME_REMOVED);
	QT_CHECK(capture_name(c, keeper_dir, "two") == NAME_REMOVED);
	QT_CHECK(capture_remove(c) == 0);
	QT_CHECK(names_sweep(keeper_dir, ID) == 0);
}

/* The capabilities and the filter of the room are enough, in directories that are closed to it. */
static void as_the_room(void **state)
{
	(void)state;
	QT_NEED();
	keeper_file = qt_file(qt_fd, "evil", "bad");
	assert_int_equal(fchownat(qt_fd, "evil", QT_USER, QT_USER, 0), 0);
	assert_int_equal(fchmodat(qt_fd, "evil", 0, 0), 0);
	assert_int_equal(linkat(qt_fd, "evil", qt_fd, "two", 0), 0);
	assert_int_equal(fchown(qt_fd, QT_USER, QT_USER), 0);
	assert_int_equal(fchmod(qt_fd, 01700), 0);
	keeper_dir = openat(qt_fd, ".", O_PATH | O_CLOEXEC);
	qt_as_keeper(keeper_takes, true);
	assert_int_equal(qt_links(keeper_file), 0);
	assert_int_equal(qt_count(qt_fd), 0);
	close(keeper_dir);
	close(keeper_file);
}

static void keeper_no_space(void)
{
	struct capture *c = capture_new(keeper_file, ID);

	QT_CHECK(c != NULL);
	QT_CHECK(capture_name(c, keeper_dir, "evil") == NAME_FAILED);
	QT_CHECK(errno == ENOSPC || errno == EROFS);
	capture_undo(c, NULL);
}

static void no_room_or_read_only(void **state)
{
	char options[64];

	(void)state;
	QT_NEED();
	snprintf(options, sizeof(options), "size=1m,nr_inodes=3");
	assert_int_equal(mkdir(qt_path("small"), 0755), 0);
	assert_int_equal(mount("qt", qt_path("small"), "tmpfs", 0, options), 0);
	keeper_dir = open(qt_path("small"), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	keeper_file = qt_file(keeper_dir, "evil", "bad");
	close(qt_file(keeper_dir, "fills", "it"));
	qt_as_keeper(keeper_no_space, true);
	assert_int_equal(mount(NULL, qt_path("small"), NULL, MS_REMOUNT | MS_BIND | MS_RDONLY, NULL), 0);
	qt_as_keeper(keeper_no_space, true);
	assert_int_equal(qt_ino_at(keeper_dir, "evil"), qt_ino(keeper_file));
	assert_int_equal(qt_count(keeper_dir), 2);
	close(keeper_file);
	close(keeper_dir);
	assert_int_equal(umount(qt_path("small")), 0);
}

static void keeper_without_flags(void)
{
	scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_ALLOW);
	struct capture *c;

	QT_CHECK(ctx && seccomp_rule_add(ctx, SCMP_ACT_ERRNO(EINVAL), SCMP_SYS(renameat2), 1,
					 SCMP_A4(SCMP_CMP_NE, 0, 0)) == 0);
	QT_CHECK(seccomp_load(ctx) == 0);
	c = capture_new(keeper_file, ID);
	QT_CHECK(capture_name(c, keeper_dir, "evil") == NAME_REMOVED);
	QT_CHECK(capture_name(c, keeper_dir, "two") == NAME_REMOVED);
	QT_CHECK(renameat(keeper_dir, "canary", keeper_dir, "evil") == 0);
	capture_undo(c, NULL);
	QT_CHECK(qt_ino_at(keeper_dir, "evil.amp-returned-1") == qt_ino(keeper_file));
	QT_CHECK(qt_ino_at(keeper_dir, "two") == qt_ino(keeper_file));
	/* Directories and links a dead keeper left. */
	QT_CHECK(mkdirat(keeper_dir, PRIVATE, 0700) == 0);
	QT_CHECK(mkdirat(keeper_dir, PRIVATE "/d", 0700) == 0);
	QT_CHECK(mkdirat(keeper_dir, PRIVATE "/d/in", 0700) == 0);
	QT_CHECK(mkdirat(keeper_dir, PRIVATE "/two", 0700) == 0);
	QT_CHECK(symlinkat("/nowhere", keeper_dir, PRIVATE "/link") == 0);
	QT_CHECK(names_sweep(keeper_dir, ID) == 0);
	QT_CHECK(qt_there(keeper_dir, "d/in") && qt_there(keeper_dir, "link"));
	QT_CHECK(qt_there(keeper_dir, "two.amp-returned-1") && !qt_there(keeper_dir, PRIVATE));
}

static void without_rename_flags(void **state)
{
	(void)state;
	QT_NEED();
	keeper_dir = qt_fd;
	keeper_file = qt_file(qt_fd, "evil", "bad");
	close(qt_file(qt_fd, "canary", "good"));
	assert_int_equal(linkat(qt_fd, "evil", qt_fd, "two", 0), 0);
	qt_as_keeper(keeper_without_flags, false);
	assert_int_equal(qt_count(qt_fd), 6);
	assert_int_equal(qt_links(keeper_file), 2);
	close(keeper_file);
}

/* On an overlay the move copies a file of a lower layer up: it is still the same. */
static void on_an_overlay(void **state)
{
	char options[512];
	struct capture *c;
	int file, dir, lower;

	(void)state;
	QT_NEED();
	close(qt_mkdir("o", 0755));
	lower = qt_mkdir("o/lower", 0755);
	close(qt_mkdir("o/upper", 0755));
	close(qt_mkdir("o/work", 0755));
	close(qt_mkdir("o/at", 0755));
	close(qt_file(lower, "evil", "bad"));
	close(qt_file(lower, "canary", "good"));
	snprintf(options, sizeof(options), "lowerdir=%s,upperdir=%s,workdir=%s", qt_path("o/lower"),
		 qt_path("o/upper"), qt_path("o/work"));
	assert_int_equal(mount("qt", qt_path("o/at"), "overlay", 0, options), 0);
	dir = open(qt_path("o/at"), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	file = openat(dir, "evil", O_RDONLY | O_CLOEXEC);
	c = capture(file);
	assert_int_equal(capture_name(c, dir, "evil"), NAME_REMOVED);
	assert_false(qt_there(dir, "evil"));
	assert_int_equal(capture_name(c, dir, "canary"), NAME_ELSEWHERE);
	capture_undo(c, NULL);
	assert_true(qt_there(dir, "evil"));
	c = capture(file);
	assert_int_equal(capture_name(c, dir, "evil"), NAME_REMOVED);
	assert_int_equal(capture_remove(c), 0);
	assert_false(qt_there(dir, "evil"));
	assert_true(qt_there(dir, "canary"));
	assert_int_equal(qt_count(dir), 1);
	close(file);
	close(dir);
	close(lower);
	assert_int_equal(umount(qt_path("o/at")), 0);
}

/* ---- races ---- */

static int race_dir; /* evil, canary, directory (with a file), link: swapped with evil in turn */

static void swap_names(void)
{
	static const char *const with[] = {"canary", "directory", "link"};
	static _Thread_local unsigned turn;
	const char *other = with[turn++ % 3];

	renameat2(race_dir, "evil", race_dir, other, RENAME_EXCHANGE);
	if (turn % 7 == 0 && renameat2(race_dir, other, race_dir, "evil", RENAME_NOREPLACE) == 0)
		renameat2(race_dir, "evil", race_dir, other, RENAME_NOREPLACE);
}

static const char *const race_names[] = {"evil", "canary", "directory", "link"};

/* Whatever went beside gets a free name of the four again. */
static void tidy(void)
{
	for (unsigned round = 0; round < 50; round++) {
		DIR *d = fdopendir(openat(race_dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
		const struct dirent *e;
		bool beside = false;

		while ((e = readdir(d)))
			if (strstr(e->d_name, ".amp-returned-")) {
				beside = true;
				for (size_t i = 0; i < 4; i++)
					if (renameat2(race_dir, e->d_name, race_dir, race_names[i],
						      RENAME_NOREPLACE) == 0)
						break;
			}
		closedir(d);
		if (!beside)
			return;
	}
}

static bool inode_is_in(int dir, ino_t ino)
{
	DIR *d = fdopendir(openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
	const struct dirent *e;
	bool found = false;

	while ((e = readdir(d)))
		found |= e->d_ino == ino;
	closedir(d);
	return found;
}

static void swapped_names(void **state)
{
	struct qt_thread t;
	unsigned removed = 0, rounds = 0;
	int file, canary, in;
	ino_t directory, link;
	double begin;

	(void)state;
	QT_NEED();
	race_dir = qt_fd;
	file = qt_file(qt_fd, "evil", "bad");
	canary = qt_file(qt_fd, "canary", "good");
	assert_int_equal(mkdirat(qt_fd, "directory", 0755), 0);
	in = qt_file(qt_fd, "directory/in", "inside");
	assert_int_equal(symlinkat("canary", qt_fd, "link"), 0);
	directory = qt_ino_at(qt_fd, "directory");
	link = qt_ino_at(qt_fd, "link");
	close(qt_mkdir("keep", 0700));
	assert_int_equal(linkat(qt_fd, "evil", AT_FDCWD, qt_path("keep/evil"), 0), 0);
	qt_thread_start(&t, swap_names);
	begin = qt_now();
	for (; qt_goes_on(&t, begin, removed > 0 && removed < rounds); rounds++) {
		struct capture *c = capture(file);
		enum name_outcome o = capture_name(c, qt_fd, "evil");

		assert_int_equal(capture_count(c), o == NAME_REMOVED);
		if (o == NAME_FAILED)
			assert_int_equal(errno, EAGAIN);
		if (rounds % 2) {
			capture_undo(c, NULL);
			assert_int_equal(qt_links(file), 2);
		} else {
			removed += o == NAME_REMOVED;
			assert_int_equal(capture_remove(c), 0);
			assert_int_equal(qt_links(file), o == NAME_REMOVED ? 1 : 2);
			for (unsigned i = 0; qt_links(file) == 1 && i < 4; i = (i + 1) % 4)
				if (linkat(AT_FDCWD, qt_path("keep/evil"), qt_fd, race_names[i], 0) == 0)
					break;
		}
		assert_int_equal(qt_links(canary), 1);
		tidy();
	}
	qt_thread_stop(&t);
	tidy();
	assert_true(removed > 0 && removed < rounds);
	assert_int_equal(qt_count(qt_fd), 4);
	assert_true(inode_is_in(qt_fd, qt_ino(file)) && inode_is_in(qt_fd, qt_ino(canary)));
	assert_true(inode_is_in(qt_fd, directory) && inode_is_in(qt_fd, link));
	assert_true(qt_content_is(canary, "good") && qt_content_is(in, "inside"));
	assert_int_equal(qt_links(in), 1);
	close(in);
	close(canary);
	close(file);
}

/* Who owns the directory renames, removes and replaces the private one. */
static void swap_private(void)
{
	renameat(race_dir, PRIVATE, race_dir, "stolen");
	mkdirat(race_dir, PRIVATE, 0755);
	if (fchownat(race_dir, PRIVATE, QT_USER, QT_USER, 0) < 0)
		sched_yield();
	unlinkat(race_dir, PRIVATE, AT_REMOVEDIR);
	renameat2(race_dir, "stolen", race_dir, PRIVATE, RENAME_NOREPLACE);
	unlinkat(race_dir, PRIVATE, AT_REMOVEDIR);
	unlinkat(race_dir, "stolen", AT_REMOVEDIR);
	sched_yield();
}

static void swapped_private_directory(void **state)
{
	unsigned removed = 0;
	struct qt_thread t;
	int file, canary;
	double begin;

	(void)state;
	QT_NEED();
	race_dir = qt_fd;
	file = qt_file(qt_fd, "evil", "bad");
	canary = qt_file(qt_fd, "canary", "good");
	qt_thread_start(&t, swap_private);
	begin = qt_now();
	while (qt_goes_on(&t, begin, removed > 0)) {
		struct capture *c = capture(file);
		size_t beside = 0;
		enum name_outcome o = capture_name(c, qt_fd, "evil");

		if (o == NAME_FAILED)
			assert_true(errno == EAGAIN || errno == EEXIST);
		assert_int_not_equal(o, NAME_ELSEWHERE);
		removed += o == NAME_REMOVED;
		capture_undo(c, &beside);
		assert_int_equal(beside, 0);
		assert_int_equal(qt_ino_at(qt_fd, "evil"), qt_ino(file));
		assert_int_equal(qt_links(file), 1);
	}
	qt_thread_stop(&t);
	swap_private();
	assert_true(removed > 0);
	assert_int_equal(qt_count(qt_fd), 2);
	assert_int_equal(qt_ino_at(qt_fd, "canary"), qt_ino(canary));
	close(canary);
	close(file);
}

/* Renamed while it is full: removed under the name it has. */
static void renamed_private_directory(void **state)
{
	struct capture *c;
	int file;

	(void)state;
	QT_NEED();
	file = qt_file(qt_fd, "evil", "bad");
	c = capture(file);
	assert_int_equal(capture_name(c, qt_fd, "evil"), NAME_REMOVED);
	assert_int_equal(renameat(qt_fd, PRIVATE, qt_fd, "stolen"), 0);
	assert_int_equal(mkdirat(qt_fd, PRIVATE, 0755), 0);
	assert_int_equal(capture_remove(c), 0);
	assert_int_equal(qt_links(file), 0);
	assert_false(qt_there(qt_fd, "stolen"));
	assert_int_equal(qt_count(qt_fd), 1);
	close(file);
}

/* Directories d0 to d139 with a link of file/name each; how many of them c can take. */
static unsigned take_of_many(struct capture *c, const char *name)
{
	unsigned removed = 0;
	char sub[32];

	for (unsigned i = 0; i < 140; i++) {
		int dir;

		snprintf(sub, sizeof(sub), "d%u", i);
		assert_true(mkdirat(qt_fd, sub, 0755) == 0 || errno == EEXIST);
		dir = openat(qt_fd, sub, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		assert_int_equal(linkat(qt_fd, name, dir, name, 0), 0);
		if (capture_name(c, dir, name) == NAME_REMOVED)
			removed++;
		else
			assert_int_equal(errno, EMFILE);
		close(dir);
	}
	assert_int_equal(capture_count(c), removed);
	return removed;
}

/* More directories than descriptors are to be spent on, and then those of another file. */
static void many_directories(void **state)
{
	struct capture *c, *d;
	int file, other;

	(void)state;
	QT_NEED();
	file = qt_file(qt_fd, "evil", "bad");
	other = qt_file(qt_fd, "worse", "bad");
	for (unsigned i = 0; i < 2; i++) {
		c = capture(file);
		d = capture_new(other, "1d4a5f0e-5a8e-4f54-9d1a-0123456789ab");
		assert_non_null(d);
		assert_int_equal(take_of_many(c, "evil"), 50);
		assert_int_equal(take_of_many(d, "worse"), 2);
		capture_undo(c, NULL);
		capture_undo(d, NULL);
		assert_int_equal(qt_links(file), 141);
		for (unsigned n = 0; n < 140; n++) {
			char name[32];

			snprintf(name, sizeof(name), "d%u/evil", n);
			assert_int_equal(unlinkat(qt_fd, name, 0), 0);
			snprintf(name, sizeof(name), "d%u/worse", n);
			assert_int_equal(unlinkat(qt_fd, name, 0), 0);
		}
	}
	close(file);
	close(other);
}

#define T(name) cmocka_unit_test_setup_teardown(name, qt_each, qt_each_end)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(takes_and_removes),
		T(syncs_together),
		T(puts_back),
		T(odd_names),
		T(bad_names),
		T(goes_on_after_death),
		T(sweeps),
		T(not_ours),
		T(private_is_private),
		T(as_the_room),
		T(no_room_or_read_only),
		T(without_rename_flags),
		T(on_an_overlay),
		T(swapped_names),
		T(swapped_private_directory),
		T(renamed_private_directory),
		T(many_directories),
	};

	return cmocka_run_group_tests_name("names", tests, qt_setup, qt_teardown);
}
