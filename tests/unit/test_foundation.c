/*
 * tests/unit/test_foundation.c - what is never acted upon because a signature
 * says so: known by inode, by any name, and nothing that others could have made.
 */
#include "keeptest.h"
#include "tests/unit/skip.h"

#include <ftw.h>
#include <limits.h>
#include <sys/stat.h>

static uint64_t generation;

uint64_t engine_generation(const struct scand *s)
{
	(void)s;
	return generation;
}

static struct scand s;
static char top[PATH_MAX];

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *at)
{
	(void)st;
	(void)kind;
	(void)at;
	return remove(path);
}

static const char *below(const char *name)
{
	static char path[4][PATH_MAX + 64];
	static unsigned next;
	char *to = path[next++ % 4];

	snprintf(to, sizeof(path[0]), "%s/%s", top, name);
	return to;
}

static void make(const char *name, mode_t mode)
{
	int fd = open(below(name), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, name, strlen(name)), (ssize_t)strlen(name));
	assert_int_equal(fchmod(fd, mode), 0);
	close(fd);
}

static int setup(void **state)
{
	(void)state;
	if (geteuid() != 0)
		return 0;
	kt_begin();
	memset(&s, 0, sizeof(s));
	s.room = &kt_room;
	snprintf(top, sizeof(top), "%s/foundation.XXXXXX", getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp");
	assert_non_null(mkdtemp(top));
	assert_int_equal(mkdir(below("bin"), 0755), 0);
	assert_int_equal(mkdir(below("other"), 0755), 0);
	s.bin_dir = strdup(below("bin"));
	assert_int_equal(foundation_init(&s), 0);
	generation = 1;
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	if (geteuid() != 0)
		return 0;
	foundation_free(&s);
	free(s.bin_dir);
	nftw(top, remove_one, 8, FTW_DEPTH | FTW_PHYS);
	event_base_free(kt_room.base);
	return 0;
}

static struct amp_identity identity(const char *path)
{
	struct amp_identity id;

	assert_int_equal(amp_statx_identity(AT_FDCWD, path, AT_SYMLINK_NOFOLLOW, &id), 0);
	return id;
}

/* As it would be judged: path is the event's. */
static bool has(const char *path)
{
	struct amp_identity id = identity(path);

	return foundation_has(&s, &id, path);
}

#define ROOT_ONLY()                                                                                          \
	do {                                                                                                 \
		if (geteuid() != 0)                                                                          \
			SKIP_WITHOUT("root");                                                                \
	} while (0)

/* Of this very machine, whatever their path. */
static void test_machine(void **state)
{
	char line[PATH_MAX + 128], real[PATH_MAX];
	unsigned seen = 0;
	FILE *f;

	(void)state;
	ROOT_ONLY();
	assert_non_null(realpath("/bin/sh", real));
	assert_true(has(real));
	f = fopen("/proc/self/maps", "re");
	assert_non_null(f);
	while (fgets(line, sizeof(line), f)) {
		char *path = strchr(line, '/');

		line[strcspn(line, "\n")] = '\0';
		if (!path || (!strstr(path, "/libc.so.6") && !strstr(path, "/ld-linux")))
			continue;
		assert_true(has(path));
		seen++;
	}
	fclose(f);
	assert_true(seen > 0);
	assert_false(has("/etc/passwd"));
}

static void test_own(void **state)
{
	(void)state;
	ROOT_ONLY();
	make("bin/ampmon", 0755);
	make("bin/anything", 0644);
	make("other/ampmon", 0755);
	assert_true(has(below("bin/ampmon")));
	assert_true(has(below("bin/anything")));
	assert_false(has(below("other/ampmon")));
	assert_int_equal(mkdir(below("binary"), 0755), 0);
	make("binary/x", 0755);
	assert_false(has(below("binary/x"))); /* begins alike */
	/* A link is the same file; that of a file known by its place only is not found. */
	assert_int_equal(link(below("bin/ampmon"), below("other/link")), 0);
	assert_true(has(below("other/link")));
}

static void test_others(void **state)
{
	(void)state;
	ROOT_ONLY();
	make("bin/ampmon", 0757);
	make("bin/ampscand", 0775);
	make("bin/ampread", 0755);
	assert_int_equal(chown(below("bin/ampread"), 1000, 0), 0);
	assert_false(has(below("bin/ampmon")));
	assert_false(has(below("bin/ampscand")));
	assert_false(has(below("bin/ampread")));
}

/* Somebody says that his file is at a foundation's place: the place leads elsewhere. */
static void test_elsewhere(void **state)
{
	struct amp_identity id;

	(void)state;
	ROOT_ONLY();
	make("bin/ampmon", 0755);
	make("other/evil", 0755);
	id = identity(below("other/evil"));
	assert_false(foundation_has(&s, &id, below("bin/ampmon")));
	assert_false(foundation_has(&s, &id, below("bin/none")));
	assert_int_equal(symlink(below("other/evil"), below("bin/lead")), 0);
	assert_false(foundation_has(&s, &id, below("bin/lead")));
	assert_false(foundation_has(&s, &id, NULL));
}

/* Seen through a layer: another device, and perhaps bits on top of the number. */
static void test_overlay(void **state)
{
	struct amp_identity id;

	(void)state;
	ROOT_ONLY();
	make("bin/ampmon", 0755);
	id = identity(below("bin/ampmon"));
	id.dev_minor++;
	assert_true(foundation_has(&s, &id, NULL));
	id.ino |= 1ULL << 63;
	assert_true(foundation_has(&s, &id, NULL));
	id.ctime_ns++;
	assert_false(foundation_has(&s, &id, NULL));
	id.ctime_ns--;
	id.size++;
	assert_false(foundation_has(&s, &id, NULL));
	/* On the same device the inode alone tells. */
	id = identity(below("bin/ampmon"));
	id.ctime_ns++;
	assert_true(foundation_has(&s, &id, NULL));
}

static int tell(const char **paths, size_t n, bool more)
{
	Amp__Foundation f = AMP__FOUNDATION__INIT;
	ProtobufCBinaryData list[AMP_PATHS_BATCH + 1];

	for (size_t i = 0; i < n; i++)
		list[i] = (ProtobufCBinaryData){.data = (uint8_t *)(uintptr_t)paths[i],
						.len = strlen(paths[i])};
	f.paths = list;
	f.n_paths = n;
	f.more = more;
	return foundation_paths(&s, &f);
}

static void test_told(void **state)
{
	const char *a, *b, *none = "relative";
	const char *many[AMP_PATHS_BATCH + 1];

	(void)state;
	ROOT_ONLY();
	make("other/a", 0755);
	make("other/b", 0755);
	a = strdup(below("other/a"));
	b = strdup(below("other/b"));
	assert_int_equal(tell(&a, 1, true), 0);
	assert_false(has(a)); /* there is more to come */
	assert_int_equal(tell(&b, 1, false), 0);
	assert_true(has(a));
	assert_true(has(b));
	assert_int_equal(tell(&b, 1, false), 0); /* instead of all before */
	assert_false(has(a));
	assert_true(has(b));
	assert_int_equal(tell(&none, 1, false), -1);
	for (size_t i = 0; i < AMP_PATHS_BATCH + 1; i++)
		many[i] = b;
	assert_int_equal(tell(many, AMP_PATHS_BATCH + 1, false), -1);
	for (size_t i = 0; i < 40; i++)
		assert_int_equal(tell(many, AMP_PATHS_BATCH, true), 0);
	assert_int_equal(tell(&a, 1, false), 0); /* no room: it is left out */
	assert_false(has(a));
	assert_true(has(b));
	free((char *)(uintptr_t)a);
	free((char *)(uintptr_t)b);
}

/* A package manager writes the new one beside the old, under a name of its own. */
static void test_upgrade(void **state)
{
	const char *lib, *none;

	(void)state;
	ROOT_ONLY();
	make("other/libx.so.1.0", 0755);
	lib = strdup(below("other/libx.so.1"));
	none = strdup(below("other/first"));
	assert_int_equal(symlink("libx.so.1.0", lib), 0);
	assert_int_equal(tell(&lib, 1, true), 0);
	assert_int_equal(tell(&none, 1, false), 0);
	make("other/libx.so.1.0.dpkg-new", 0644);
	make("other/libx.so.1.dpkg-tmp", 0644);
	make("other/libx.so.1;66f2a0c1", 0644);
	make("other/libx.so.1.2.13.dpkg-new", 0644);
	make("other/first.dpkg-new", 0644); /* there is no old one */
	assert_true(has(below("other/libx.so.1.0.dpkg-new")));
	assert_true(has(below("other/libx.so.1.dpkg-tmp")));
	assert_true(has(below("other/libx.so.1;66f2a0c1")));
	assert_true(has(below("other/libx.so.1.2.13.dpkg-new"))); /* the link follows it later */
	assert_true(has(below("other/first.dpkg-new")));
	free((char *)(uintptr_t)lib);
	free((char *)(uintptr_t)none);
}

static void test_upgrade_moved(void **state)
{
	const char *lib;
	char before[PATH_MAX + 64];
	struct amp_identity id;

	(void)state;
	ROOT_ONLY();
	make("other/libx.so.1.0", 0755);
	lib = strdup(below("other/libx.so.1"));
	assert_int_equal(symlink("libx.so.1.0", lib), 0);
	assert_int_equal(tell(&lib, 1, false), 0);
	make("other/libx.so.1.1.dpkg-new", 0644);
	snprintf(before, sizeof(before), "%s", below("other/libx.so.1.1.dpkg-new"));
	id = identity(before);
	/* It has its name by now, and the link is still the old one. */
	assert_int_equal(rename(before, below("other/libx.so.1.1")), 0);
	assert_true(foundation_has(&s, &id, before));
	id.ino++;
	assert_false(foundation_has(&s, &id, before));
	free((char *)(uintptr_t)lib);
}

static void test_no_upgrade(void **state)
{
	const char *lib;

	(void)state;
	ROOT_ONLY();
	make("other/libx.so.1", 0755);
	lib = strdup(below("other/libx.so.1"));
	assert_int_equal(tell(&lib, 1, false), 0);
	make("other/liby.so.1.dpkg-new", 0644);
	make("other/libx.so.1.dpkg-dist", 0644);
	make("other/libx.so.1;", 0644);
	make("other/libx.so.1;66f2g", 0644);
	make("other/libx.so.12.dpkg-new", 0644);
	make("other/.dpkg-new", 0644);
	make("other/;66f2", 0644);
	make("other/libx.so.1.dpkg-tmp", 0664);
	make("other/libx.so.1.dpkg-new", 0644);
	assert_false(has(below("other/liby.so.1.dpkg-new")));
	assert_false(has(below("other/libx.so.1.dpkg-dist")));
	assert_false(has(below("other/libx.so.1;")));
	assert_false(has(below("other/libx.so.1;66f2g")));
	assert_false(has(below("other/libx.so.12.dpkg-new")));
	assert_false(has(below("other/.dpkg-new")));
	assert_false(has(below("other/;66f2")));
	assert_false(has(below("other/libx.so.1.dpkg-tmp"))); /* others may write it */
	assert_true(has(below("other/libx.so.1.dpkg-new")));
	assert_int_equal(chown(below("other/libx.so.1.dpkg-new"), 1000, 0), 0);
	assert_false(has(below("other/libx.so.1.dpkg-new")));
	/* A link to a foundation in a directory of somebody's own. */
	assert_int_equal(mkdir(below("home"), 0755), 0);
	assert_int_equal(symlink(lib, below("home/x")), 0);
	make("home/x.dpkg-new", 0644);
	assert_int_equal(chown(below("home"), 1000, 0), 0);
	assert_false(has(below("home/x.dpkg-new")));
	free((char *)(uintptr_t)lib);
}

static void test_fault(void **state)
{
	(void)state;
	ROOT_ONLY();
	foundation_look(&s);
	assert_int_equal(kt_room.faults, 0);
	foundation_convicted(&s, "Bad.Signature", "/lib/x\n");
	assert_true(kt_room.fault);
	assert_string_equal(kt_room.detail, "Bad.Signature: /lib/x\\x0a");
	foundation_look(&s);
	assert_true(kt_room.fault);
	generation = 0; /* the engine is away */
	foundation_look(&s);
	assert_true(kt_room.fault);
	generation = 2;
	foundation_look(&s);
	assert_false(kt_room.fault);
	foundation_look(&s);
	assert_int_equal(kt_room.faults, 2);
	foundation_convicted(&s, "Bad.Signature", NULL);
	assert_true(kt_room.fault);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_machine, setup, teardown),
		cmocka_unit_test_setup_teardown(test_own, setup, teardown),
		cmocka_unit_test_setup_teardown(test_others, setup, teardown),
		cmocka_unit_test_setup_teardown(test_elsewhere, setup, teardown),
		cmocka_unit_test_setup_teardown(test_overlay, setup, teardown),
		cmocka_unit_test_setup_teardown(test_told, setup, teardown),
		cmocka_unit_test_setup_teardown(test_upgrade, setup, teardown),
		cmocka_unit_test_setup_teardown(test_upgrade_moved, setup, teardown),
		cmocka_unit_test_setup_teardown(test_no_upgrade, setup, teardown),
		cmocka_unit_test_setup_teardown(test_fault, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
