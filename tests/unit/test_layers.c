/*
 * tests/unit/test_layers.c - the layers of overlays, in this mount namespace
 * and in others.
 */
#include "quartest.h"

#include "ampquard/layers.h"
#include "clock.h"

#include <signal.h>

/* A machine may be slow, and valgrind is: only the test of the limit has one. */
static struct layers *patient(void)
{
	struct layers *l = layers_new();

	layers_limit(l, 600 * AMP_NS_PER_SEC);
	return l;
}

static char got[16][256];
static unsigned got_count;

static void take(const char *path, void *arg)
{
	assert_ptr_equal(arg, got);
	assert_true(got_count < 16);
	snprintf(got[got_count++], sizeof(got[0]), "%s", path);
}

static void expect(const char *options, unsigned n, ...)
{
	va_list ap;

	got_count = 0;
	assert_int_equal(layers_of_options(options, take, got), n);
	assert_int_equal(got_count, n);
	va_start(ap, n);
	for (unsigned i = 0; i < n; i++)
		assert_string_equal(got[i], va_arg(ap, const char *));
	va_end(ap);
}

static void options(void **state)
{
	(void)state;
	expect("rw,lowerdir=/a:/b,upperdir=/c,workdir=/w", 3, "/a", "/b", "/c");
	expect("rw,lowerdir=/a\\040b:/c\\134:d:/e\\054f::/data,xino=off", 4, "/a b", "/c:d", "/e,f", "/data");
	expect("ro,lowerdir=/x\\134\\134y", 1, "/x\\y");
	expect("lowerdir+=/a:b,lowerdir+=/c,datadir+=/d", 3, "/a:b", "/c", "/d");
	expect("upperdir=/u\\134:p:q", 1, "/u:p:q");
	expect("lowerdir=l/ABC:l/DEF", 2, "l/ABC", "l/DEF");
	expect("", 0);
	expect("lowerdir=,upperdir=", 0);
	expect("lowerdir=:::", 0);
	expect("lowerdir=/a\\", 1, "/a\\");
	expect("lowerdir=/a\\000/b", 1, "/a");
	expect("xlowerdir=/a,workdir=/b,lowerdirs=/c", 0);
	expect("rw,lowerdir=/a\\07", 1, "/a07");
}

static int at(const char *name)
{
	int fd = open(qt_path(name), O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	assert_true(fd >= 0);
	return fd;
}

static bool contains(const struct layers *l, const char *name)
{
	int fd = at(name);
	bool answer = layers_contain(l, fd, qt_path(name));

	close(fd);
	return answer;
}

static void make_tree(const char *top)
{
	static const char *const subs[] = {"", "/lower", "/lower/in", "/upper", "/upper/in", "/work", "/at"};
	char name[512];

	for (size_t i = 0; i < sizeof(subs) / sizeof(subs[0]); i++) {
		snprintf(name, sizeof(name), "%s%s", top, subs[i]);
		assert_int_equal(mkdir(qt_path(name), 0755), 0);
	}
}

static int mount_overlay(const char *lower, const char *upper, const char *work, const char *point)
{
	char text[2048];

	snprintf(text, sizeof(text), "lowerdir=%s,upperdir=%s,workdir=%s", lower, upper, work);
	return mount("qt", point, "overlay", 0, text);
}

/* This machine may have overlays of its own: only what changes is asked for. */
static void own_namespace(void **state)
{
	struct layers *l = patient();
	char lower[512];

	(void)state;
	QT_NEED();
	make_tree("one");
	assert_int_equal(rename(qt_path("one/lower"), qt_path("one/lo we,r")), 0);
	snprintf(lower, sizeof(lower), "%s", qt_path("one/lo we\\,r"));
	assert_true(contains(l, "one")); /* nothing is known yet */
	amp_clock_freeze(100 * AMP_NS_PER_SEC, 100 * AMP_NS_PER_SEC);
	layers_refresh(l);
	assert_false(contains(l, "one/lo we,r/in"));
	assert_int_equal(mount_overlay(lower, qt_path("one/upper"), qt_path("one/work"), qt_path("one/at")),
			 0);
	layers_refresh(l);
	/* Looked at a moment ago, but a change of our own namespace is known at once. */
	assert_true(contains(l, "one/lo we,r"));
	assert_true(contains(l, "one/lo we,r/in"));
	assert_true(contains(l, "one/upper/in"));
	assert_false(contains(l, "one"));
	assert_false(contains(l, "one/work"));
	assert_false(contains(l, "one/at"));
	/* By the inode, also where it has another path. */
	assert_int_equal(mkdir(qt_path("bind"), 0755), 0);
	assert_int_equal(mount(qt_path("one/upper"), qt_path("bind"), NULL, MS_BIND, NULL), 0);
	assert_true(contains(l, "bind/in"));
	assert_int_equal(umount(qt_path("bind")), 0);
	assert_int_equal(umount(qt_path("one/at")), 0);
	amp_clock_advance(2 * AMP_NS_PER_SEC);
	layers_refresh(l);
	assert_false(contains(l, "one/upper/in"));
	amp_clock_release();
	layers_free(l);
	layers_free(NULL);
}

/* Docker and Podman: relative to two above the mount point, through short links. */
static void relative_layers(void **state)
{
	struct layers *l = patient();
	int here = open(".", O_PATH | O_DIRECTORY | O_CLOEXEC);

	(void)state;
	QT_NEED();
	close(qt_mkdir("overlay", 0755));
	close(qt_mkdir("overlay/l", 0755));
	make_tree("overlay/ID");
	assert_int_equal(symlink("../ID/lower", qt_path("overlay/l/ABC")), 0);
	assert_int_equal(chdir(qt_path("overlay")), 0);
	assert_int_equal(mount_overlay("l/ABC", "ID/upper", "ID/work", qt_path("overlay/ID/at")), 0);
	assert_int_equal(fchdir(here), 0);
	close(here);
	layers_refresh(l);
	assert_true(contains(l, "overlay/ID/lower/in"));
	assert_true(contains(l, "overlay/ID/upper"));
	assert_false(contains(l, "overlay/ID"));
	assert_false(contains(l, "overlay"));
	assert_int_equal(umount(qt_path("overlay/ID/at")), 0);
	layers_free(l);
}

/* A child with a mount namespace of its own, which mounts there and waits. */
static pid_t foreign(void (*fn)(void), int *hold)
{
	int ready[2], go[2];
	char byte;
	pid_t pid;

	assert_int_equal(pipe2(ready, O_CLOEXEC), 0);
	assert_int_equal(pipe2(go, O_CLOEXEC), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		close(go[1]);
		QT_CHECK(unshare(CLONE_NEWNS) == 0);
		fn();
		QT_CHECK(write(ready[1], "x", 1) == 1);
		_exit(read(go[0], &byte, 1) < 0);
	}
	close(ready[1]);
	close(go[0]);
	assert_int_equal(read(ready[0], &byte, 1), 1);
	close(ready[0]);
	*hold = go[1];
	return pid;
}

static void let_go(pid_t pid, int hold)
{
	int status;

	assert_int_equal(write(hold, "x", 1), 1); /* later children hold its pipe open, too */
	close(hold);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

static void foreign_mounts(void)
{
	QT_CHECK(mount_overlay(qt_path("two/lower"), qt_path("two/upper"), qt_path("two/work"),
			       qt_path("two/at")) == 0);
	/* Known by another path than the host's. */
	QT_CHECK(mount(qt_path("three"), qt_path("private"), NULL, MS_BIND, NULL) == 0);
	QT_CHECK(mount_overlay(qt_path("private/lower"), qt_path("private/upper"), qt_path("private/work"),
			       qt_path("private/at")) == 0);
}

static void other_namespaces(void **state)
{
	struct layers *l = patient();
	int hold, fd;
	pid_t pid;

	(void)state;
	QT_NEED();
	make_tree("two");
	make_tree("three");
	close(qt_mkdir("private", 0755));
	pid = foreign(foreign_mounts, &hold);
	layers_refresh(l);
	assert_true(contains(l, "two/lower/in"));
	assert_true(contains(l, "two/upper"));
	assert_false(contains(l, "two"));
	assert_false(contains(l, "private")); /* its layers' paths lead to nothing here */
	fd = at("two/lower/in");
	assert_true(layers_contain(l, fd, NULL)); /* known by inode */
	close(fd);
	fd = at("two/at");
	assert_false(layers_contain(l, fd, qt_path("two/at")));
	close(fd);
	let_go(pid, hold);
	layers_free(l);
}

static const char *foreign_point, *foreign_lower;

static void foreign_relative(void)
{
	QT_CHECK(chdir(qt_path("four")) == 0);
	QT_CHECK(mount_overlay(foreign_lower, qt_path("four/upper"), qt_path("four/work"),
			       qt_path(foreign_point)) == 0);
}

static void foreign_relative_all(void)
{
	QT_CHECK(chdir(qt_path("four")) == 0);
	QT_CHECK(mount_overlay(foreign_lower, "upper", "work", qt_path(foreign_point)) == 0);
}

/* Relative layers in other namespaces: guessed, or everything may be one. */
static void relative_elsewhere(void **state)
{
	struct layers *l = patient();
	int hold;
	pid_t pid;

	(void)state;
	QT_NEED();
	make_tree("four");
	close(qt_mkdir("five", 0755));
	close(qt_mkdir("five/in", 0755));
	close(qt_mkdir("five/in/at", 0755));
	amp_clock_freeze(100 * AMP_NS_PER_SEC, 100 * AMP_NS_PER_SEC);
	/* one above the mount point; above the upper layer; two above */
	foreign_lower = "lower";
	foreign_point = "four/at";
	pid = foreign(foreign_relative_all, &hold);
	layers_refresh(l);
	assert_true(contains(l, "four/lower/in") && contains(l, "four/upper"));
	assert_false(contains(l, "five") || contains(l, "four"));
	let_go(pid, hold);
	foreign_point = "five/in/at";
	pid = foreign(foreign_relative, &hold);
	amp_clock_advance(2 * AMP_NS_PER_SEC);
	layers_refresh(l);
	assert_true(contains(l, "four/lower/in") && contains(l, "four/upper"));
	assert_false(contains(l, "five") || contains(l, "four"));
	let_go(pid, hold);
	pid = foreign(foreign_relative_all, &hold);
	amp_clock_advance(2 * AMP_NS_PER_SEC);
	layers_refresh(l);
	assert_true(contains(l, "four/lower/in") && contains(l, "five"));
	let_go(pid, hold);
	amp_clock_advance(2 * AMP_NS_PER_SEC);
	layers_refresh(l);
	assert_false(contains(l, "four/lower/in") || contains(l, "five"));
	amp_clock_release();
	layers_free(l);
}

/* Short links that the kernel has not in its cache: all that is beside them. */
static void links_not_cached(void **state)
{
	struct layers *l = patient();
	int hold;
	pid_t pid;

	(void)state;
	QT_NEED();
	close(qt_mkdir("four/l", 0755));
	assert_int_equal(symlink("../lower", qt_path("four/l/ABC")), 0);
	foreign_lower = "l/ABC";
	foreign_point = "four/at";
	pid = foreign(foreign_relative_all, &hold);
	assert_int_equal(unlink(qt_path("four/l/ABC")), 0); /* what was there cannot be told now */
	layers_refresh(l);
	assert_true(contains(l, "four/lower/in"));
	assert_true(contains(l, "four/at"));
	let_go(pid, hold);
	layers_free(l);
}

static void keeper_looks(void)
{
	struct layers *l = patient();

	QT_CHECK(l != NULL);
	layers_refresh(l);
	QT_CHECK(contains(l, "eight/lower/in") && contains(l, "eight/upper"));
	QT_CHECK(!contains(l, "eight"));
	layers_free(l);
}

static void foreign_eight(void)
{
	QT_CHECK(mount_overlay(qt_path("eight/lower"), qt_path("eight/upper"), qt_path("eight/work"),
			       qt_path("eight/at")) == 0);
}

/* What the room has is enough to see other users' namespaces and their layers. */
static void as_the_room(void **state)
{
	int hold;
	pid_t pid;

	(void)state;
	QT_NEED();
	make_tree("eight");
	assert_int_equal(chmod(qt_path("eight"), 0700), 0);
	assert_int_equal(chown(qt_path("eight"), QT_USER, QT_USER), 0);
	pid = foreign(foreign_eight, &hold);
	qt_as_keeper(keeper_looks, true);
	let_go(pid, hold);
}

/* Many namespaces with the same mounts: each is read once, all processes are looked at. */
static void many_namespaces(void **state)
{
	struct layers *l = patient();
	pid_t pids[40];
	int holds[40];

	(void)state;
	QT_NEED();
	make_tree("six");
	assert_int_equal(mount_overlay(qt_path("six/lower"), qt_path("six/upper"), qt_path("six/work"),
				       qt_path("six/at")),
			 0);
	for (size_t i = 0; i < 40; i++)
		pids[i] = foreign(tzset, &holds[i]);
	layers_refresh(l);
	assert_true(contains(l, "six/lower/in"));
	assert_false(contains(l, "six"));
	for (size_t i = 0; i < 40; i++)
		let_go(pids[i], holds[i]);
	assert_int_equal(umount(qt_path("six/at")), 0);
	layers_free(l);
}

#define MANY 100

static void make_many(void)
{
	char name[64];

	make_tree("nine");
	for (unsigned i = 0; i < MANY; i++) {
		snprintf(name, sizeof(name), "nine/%u", i);
		make_tree(name);
	}
}

static const char *in_many(unsigned i, const char *sub)
{
	char name[64];

	snprintf(name, sizeof(name), "nine/%u/%s", i, sub);
	return qt_path(name);
}

static void looks_at_many(void)
{
	struct layers *l = patient();
	char name[64];

	QT_CHECK(l != NULL);
	layers_refresh(l);
	for (unsigned i = 0; i < MANY; i++) {
		snprintf(name, sizeof(name), "nine/%u/lower/in", i);
		QT_CHECK(contains(l, name));
		snprintf(name, sizeof(name), "nine/%u/upper", i);
		QT_CHECK(contains(l, name));
		snprintf(name, sizeof(name), "nine/%u", i);
		QT_CHECK(!contains(l, name));
	}
	QT_CHECK(!contains(l, "nine/lower/in"));
	layers_free(l);
}

/* A host of many containers, looked at with no more system calls than the room has. */
static void many_overlays(void **state)
{
	(void)state;
	QT_NEED();
	make_many();
	for (unsigned i = 0; i < MANY; i++)
		assert_int_equal(mount_overlay(in_many(i, "lower"), in_many(i, "upper"), in_many(i, "work"),
					       in_many(i, "at")),
				 0);
	qt_as_keeper(looks_at_many, true);
	for (unsigned i = 0; i < MANY; i++)
		assert_int_equal(umount(in_many(i, "at")), 0);
}

#define SHARED	 400 /* layers of an image */
#define OF_IMAGE 50  /* its containers; more layers together than can be kept */

static void shared_options(char text[4000])
{
	size_t n = (size_t)snprintf(text, 4000, "lowerdir=");

	for (unsigned i = 0; i < SHARED; i++)
		n += (size_t)snprintf(text + n, 4000 - n, "%s%03u", i ? ":" : "", i);
}

static void make_shared(void)
{
	char name[64];

	close(qt_mkdir("ten", 0755));
	for (unsigned i = 0; i < SHARED; i++) {
		snprintf(name, sizeof(name), "ten/%03u", i);
		close(qt_mkdir(name, 0755));
	}
	for (unsigned i = 0; i < OF_IMAGE; i++) {
		snprintf(name, sizeof(name), "ten/at%u", i);
		close(qt_mkdir(name, 0755));
	}
}

/* The layers of one image are kept once, however many overlays have them. */
static void shared_layers(void **state)
{
	int here = open(".", O_PATH | O_DIRECTORY | O_CLOEXEC);
	struct layers *l = patient();
	char text[4000], name[64];

	(void)state;
	QT_NEED();
	make_shared();
	shared_options(text);
	assert_int_equal(chdir(qt_path("ten")), 0);
	for (unsigned i = 0; i < OF_IMAGE; i++) {
		snprintf(name, sizeof(name), "at%u", i);
		assert_int_equal(mount("qt", name, "overlay", 0, text), 0);
	}
	layers_refresh(l);
	assert_true(contains(l, "ten/000"));
	assert_true(contains(l, "ten/399"));
	assert_false(contains(l, "ten"));
	for (unsigned i = 0; i < OF_IMAGE; i++) {
		snprintf(name, sizeof(name), "at%u", i);
		assert_int_equal(umount(name), 0);
	}
	assert_int_equal(fchdir(here), 0);
	close(here);
	layers_free(l);
}

static void deep_directories(void **state)
{
	int dir, next;

	(void)state;
	QT_NEED();
	make_tree("seven");
	assert_int_equal(mount_overlay(qt_path("seven/lower"), qt_path("seven/upper"), qt_path("seven/work"),
				       qt_path("seven/at")),
			 0);
	for (unsigned top = 0; top < 2; top++) {
		struct layers *l = patient();

		layers_refresh(l);
		dir = at(top ? "seven/lower" : "seven");
		for (unsigned i = 0; i < 4200; i++) {
			if (i == 300)
				assert_int_equal(layers_contain(l, dir, qt_path("x")), top);
			assert_int_equal(mkdirat(dir, "d", 0755), 0);
			next = openat(dir, "d", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
			close(dir);
			dir = next;
		}
		assert_true(layers_contain(l, dir, qt_path("x"))); /* too deep to be told */
		close(dir);
		layers_free(l);
	}
	assert_int_equal(umount(qt_path("seven/at")), 0);
}

/* Nobody's mounts keep the keeper from its work: what it had no time to look at may be a layer. */
static void slow_mounts(void **state)
{
	struct layers *l = patient();

	(void)state;
	QT_NEED();
	assert_int_equal(mkdir(qt_path("beside"), 0755), 0);
	layers_refresh(l);
	assert_false(contains(l, "beside"));
	layers_limit(l, 0);
	amp_clock_freeze(amp_clock_monotonic() + 600 * AMP_NS_PER_SEC, amp_clock_realtime());
	layers_refresh(l);
	assert_true(contains(l, "beside"));
	/* The next look has the time it needs. */
	layers_limit(l, 60 * AMP_NS_PER_SEC);
	amp_clock_advance(60 * AMP_NS_PER_SEC);
	layers_refresh(l);
	assert_false(contains(l, "beside"));
	amp_clock_release();
	layers_free(l);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(many_overlays), /* first: what a process has called libc may not call again
						  */
		cmocka_unit_test(options),
		cmocka_unit_test(own_namespace),
		cmocka_unit_test(relative_layers),
		cmocka_unit_test(other_namespaces),
		cmocka_unit_test(relative_elsewhere),
		cmocka_unit_test(links_not_cached),
		cmocka_unit_test(as_the_room),
		cmocka_unit_test(many_namespaces),
		cmocka_unit_test(shared_layers),
		cmocka_unit_test(deep_directories),
		cmocka_unit_test(slow_mounts),
	};

	qt_alone();
	return cmocka_run_group_tests_name("layers", tests, qt_setup, qt_teardown);
}
