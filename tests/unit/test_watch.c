/*
 * Tests of ampmon/watch.c and marks.c against the kernel: file systems of this
 * test's own in its own mount namespace. Needs root; skipped otherwise.
 */
#include "ampmon/marks.h"
#include "ampmon/watch.h"
#include "clock.h"
#include "proto/types.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/fanotify.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/unit/skip.h"

#define PRIVATE "/mnt" /* a tmpfs in the mount namespace of our own: another run does not meet ours */
#define TOP	PRIVATE "/test_watch.d"
#define BESIDE	PRIVATE "/test_watch.o"
#define MAX	32

struct seen {
	uint64_t fsid;
	Amp__FileSystem__How how;
	char type[32], point[256], why[200], watch[256];
	size_t watches;
	bool fresh, partial;
	int64_t unmarked_ns;
};

static struct event_base *base;
static struct mon_watch *w;
static struct mon_conf conf;
static char *dirs[4], *types[4];
static struct seen told[MAX], each[MAX];
static size_t told_count, each_count, gone_count, raised, cleared, groups, began;
static uint64_t gone_fsid;
static char fault_detail[512];
static char err[256];

static void copy(struct seen *s, const Amp__FileSystem *fs)
{
	memset(s, 0, sizeof(*s));
	s->fsid = fs->fsid;
	s->how = fs->how;
	s->partial = fs->partial;
	s->watches = fs->n_watch;
	snprintf(s->type, sizeof(s->type), "%s", fs->type);
	snprintf(s->why, sizeof(s->why), "%s", fs->why);
	snprintf(s->point, sizeof(s->point), "%.*s", (int)fs->mount_point.len,
		 (const char *)fs->mount_point.data);
	if (fs->n_watch)
		snprintf(s->watch, sizeof(s->watch), "%.*s", (int)fs->watch[0].len,
			 (const char *)fs->watch[0].data);
}

static void on_filesystem(const Amp__FileSystem *fs, bool fresh, int64_t unmarked_ns, void *arg)
{
	(void)arg;
	assert_true(told_count < MAX);
	copy(&told[told_count], fs);
	told[told_count].fresh = fresh;
	told[told_count++].unmarked_ns = unmarked_ns;
}

static void on_gone(uint64_t fsid, void *arg)
{
	(void)arg;
	gone_count++;
	gone_fsid = fsid;
}

static void on_fault(bool up, const char *detail, void *arg)
{
	(void)arg;
	*(up ? &raised : &cleared) += 1;
	snprintf(fault_detail, sizeof(fault_detail), "%s", detail);
}

static void on_group(void *arg)
{
	(void)arg;
	groups++;
}

static void on_began(void *arg)
{
	(void)arg;
	assert_true(mon_watch_settled(w));
	began++;
}

static void on_each(const Amp__FileSystem *fs, void *arg)
{
	(void)arg;
	if (each_count < MAX)
		copy(&each[each_count++], fs);
}

static const struct seen *find(const char *point)
{
	each_count = 0;
	mon_watch_each(w, on_each, NULL);
	for (size_t i = 0; i < each_count; i++)
		if (strcmp(each[i].point, point) == 0)
			return &each[i];
	return NULL;
}

static void mount_tmpfs(const char *where)
{
	mkdir(where, 0755);
	assert_int_equal(mount("tmpfs", where, "tmpfs", 0, "size=1m"), 0);
}

/* Events for ms milliseconds at least, then until nothing is in hand. */
static void spin(int ms)
{
	for (int i = 0; i < ms || (!mon_watch_settled(w) && i < 10000); i += 5) {
		event_base_loop(base, EVLOOP_NONBLOCK);
		usleep(5000);
	}
	assert_true(mon_watch_settled(w));
}

static int group_setup(void **state)
{
	(void)state;
	if (geteuid() != 0 || unshare(CLONE_NEWNS) < 0 ||
	    mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
	    mount("tmpfs", PRIVATE, "tmpfs", 0, "size=1m") < 0)
		return 0;
	mkdir(TOP, 0755);
	if (mount("tmpfs", TOP, "tmpfs", 0, "size=4m") < 0)
		return 0;
	*state = TOP;
	return 0;
}

static int group_teardown(void **state)
{
	(void)state;
	umount2(TOP, MNT_DETACH);
	if (*state)
		umount2(PRIVATE, MNT_DETACH);
	return 0;
}

static const struct mon_watch_ops ops = {.filesystem = on_filesystem,
					 .gone = on_gone,
					 .fault = on_fault,
					 .fd_group = on_group,
					 .began = on_began};

static void start(void **state)
{
	if (!*state)
		SKIP_WITHOUT("root and a mount namespace");
	told_count = gone_count = raised = cleared = groups = began = 0;
	memset(told, 0, sizeof(told));
	base = event_base_new();
	conf.watch = dirs;
	conf.filesystem_types = types;
	conf.log_dir = conf.etc_dir = conf.cloud_dir = conf.run_dir = conf.policy_dir = conf.quarantine_dir =
		(char *)(uintptr_t)TOP;
	w = mon_watch_new(base, &conf, &ops, err, sizeof(err));
	if (!w)
		print_message("%s\n", err);
	assert_non_null(w);
	assert_false(mon_watch_began(w));
	mon_watch_start(w);
	spin(0);
	assert_true(mon_watch_began(w));
}

static int defaults(void **state)
{
	(void)state;
	dirs[0] = (char *)(uintptr_t)TOP;
	dirs[1] = NULL;
	types[0] = (char *)(uintptr_t) "tmpfs";
	types[1] = (char *)(uintptr_t) "overlay";
	types[2] = NULL;
	conf.force_fd_source = false;
	conf.limited_queue = false;
	w = NULL;
	return 0;
}

static int end(void **state)
{
	(void)state;
	if (w) {
		assert_int_equal(began, 1); /* whatever was mounted later */
		mon_watch_free(w);
	}
	if (base)
		event_base_free(base);
	w = NULL;
	base = NULL;
	umount2(TOP "/a", MNT_DETACH);
	umount2(TOP "/a", MNT_DETACH);
	umount2(TOP "/b", MNT_DETACH);
	umount2(TOP "/m", MNT_DETACH);
	return 0;
}

static uint64_t fsid_of(const char *path)
{
	uint64_t fsid = 0;

	assert_int_equal(amp_fsid_of_path(path, &fsid), 0);
	return fsid;
}

static void touch(const char *path)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);

	assert_true(fd >= 0);
	close(fd);
}

/* How many events a group has waiting (merged ones count once). */
static unsigned events(int group)
{
	_Alignas(struct fanotify_event_metadata) char buf[8192];
	ssize_t n = read(group, buf, sizeof(buf));
	struct fanotify_event_metadata *m = (void *)buf;
	unsigned count = 0;

	for (; n > 0 && FAN_EVENT_OK(m, n); m = FAN_EVENT_NEXT(m, n)) {
		count++;
		if (m->fd >= 0)
			close(m->fd);
	}
	return count;
}

static void marks_by_handle(void **state)
{
	const struct seen *s;
	struct stat st;

	start(state);
	assert_int_equal(told_count, 1);
	assert_true(told[0].fresh);
	assert_int_equal(told[0].how, AMP__FILE_SYSTEM__HOW__BY_HANDLE);
	assert_string_equal(told[0].point, TOP);
	assert_string_equal(told[0].watch, TOP);
	assert_string_equal(told[0].type, "tmpfs");
	assert_true(told[0].fsid == fsid_of(TOP));
	s = find("/");
	assert_true(!s || s->how == AMP__FILE_SYSTEM__HOW__NOT_WATCHED);
	assert_int_equal(raised, 0);
	touch(TOP "/file");
	assert_int_equal(events(mon_watch_handle_group(w)), 1); /* create and close in one */
	assert_int_equal(mon_watch_fd_group(w), -1);
	assert_int_equal(stat(TOP, &st), 0);
	assert_true(mon_watch_plain_device(w, major(st.st_dev), minor(st.st_dev)));
	assert_false(mon_watch_plain_device(w, 4095, 77));
}

static void follows_mounts(void **state)
{
	uint64_t fsid;
	int64_t before;

	start(state);
	before = amp_clock_realtime();
	mount_tmpfs(TOP "/a");
	fsid = fsid_of(TOP "/a");
	spin(300);
	assert_int_equal(told_count, 2);
	assert_true(told[1].fresh && told[1].fsid == fsid);
	assert_in_range(told[1].unmarked_ns, before, amp_clock_realtime());
	assert_string_equal(told[1].point, TOP "/a");
	assert_string_equal(told[1].watch, TOP);
	assert_int_equal(umount2(TOP "/a", 0), 0); /* nothing of ours holds it */
	spin(300);
	assert_int_equal(told_count, 2);
	assert_int_equal(gone_count, 1);
	assert_true(gone_fsid == fsid);
	assert_null(find(TOP "/a"));
}

/* The device number and the mount id are used again before ampmon looks. */
static void replaced_between_two_looks(void **state)
{
	uint64_t before, after;

	if (!*state)
		SKIP_WITHOUT("root and a mount namespace");
	mount_tmpfs(TOP "/a");
	before = fsid_of(TOP "/a");
	start(state);
	assert_int_equal(told_count, 2);
	assert_int_equal(umount2(TOP "/a", 0), 0);
	mount_tmpfs(TOP "/a");
	after = fsid_of(TOP "/a");
	assert_true(before != after);
	spin(300);
	assert_int_equal(gone_count, 1);
	assert_true(gone_fsid == before);
	assert_int_equal(told_count, 3);
	assert_true(told[2].fresh && told[2].fsid == after);
	touch(TOP "/a/x");
	assert_int_equal(events(mon_watch_handle_group(w)), 1);
}

static void unrelated_changes_say_nothing(void **state)
{
	start(state);
	mkdir(BESIDE, 0755);
	assert_int_equal(mount("tmpfs", BESIDE, "tmpfs", 0, NULL), 0);
	spin(300);
	assert_int_equal(told_count, 1);
	assert_int_equal(gone_count, 0);
	umount2(BESIDE, MNT_DETACH);
	rmdir(BESIDE);
}

static void hidden_and_moved(void **state)
{
	if (!*state)
		SKIP_WITHOUT("root and a mount namespace");
	mount_tmpfs(TOP "/a");
	start(state);
	assert_int_equal(told_count, 2);
	mkdir(TOP "/b", 0755);
	assert_int_equal(mount(TOP "/a", TOP "/b", NULL, MS_BIND, NULL), 0);
	spin(300);
	assert_int_equal(told_count, 2); /* its place still holds */
	mount_tmpfs(TOP "/a");		 /* over it */
	spin(300);
	assert_int_equal(told_count, 4);
	assert_int_equal(gone_count, 0);
	for (size_t i = 2; i < 4; i++) {
		bool moved = told[i].fsid == fsid_of(TOP "/b");

		assert_int_equal(told[i].fresh, !moved);
		assert_string_equal(told[i].point, moved ? TOP "/b" : TOP "/a");
	}
	assert_int_equal(umount2(TOP "/b", 0), 0);
	spin(300);
	/* no path leads to it: still marked, without a name */
	assert_int_equal(told_count, 5);
	assert_true(told[4].partial);
	assert_string_equal(told[4].point, "");
}

/* From when it was there, not from when it could be marked. */
static void hidden_at_first(void **state)
{
	uint64_t fsid;
	int64_t begin;

	if (!*state)
		SKIP_WITHOUT("root and a mount namespace");
	mount_tmpfs(TOP "/a");
	fsid = fsid_of(TOP "/a");
	mount_tmpfs(TOP "/a");
	start(state);
	assert_int_equal(told_count, 2);
	begin = amp_clock_realtime();
	mount_tmpfs(TOP "/b"); /* passes that come by leave it alone */
	spin(300);
	assert_int_equal(told_count, 3);
	assert_int_equal(umount2(TOP "/a", 0), 0);
	spin(300);
	assert_int_equal(told_count, 4);
	assert_true(told[3].fresh && told[3].fsid == fsid);
	assert_in_range(told[3].unmarked_ns, 1, begin);
	assert_int_equal(umount2(TOP "/a", 0), 0);
	mount_tmpfs(TOP "/a"); /* another one, perhaps of the same number */
	spin(300);
	assert_int_equal(told_count, 5);
	assert_true(told[4].fresh && told[4].unmarked_ns > begin);
}

static void partial_mount(void **state)
{
	if (!*state)
		SKIP_WITHOUT("root and a mount namespace");
	mount_tmpfs(TOP "/a");
	mkdir(TOP "/a/sub", 0755);
	mkdir(TOP "/b", 0755);
	assert_int_equal(mount(TOP "/a/sub", TOP "/b", NULL, MS_BIND, NULL), 0);
	assert_int_equal(umount2(TOP "/a", 0), 0);
	start(state);
	assert_int_equal(told_count, 2);
	assert_non_null(find(TOP "/b"));
	assert_true(find(TOP "/b")->partial);
	assert_int_equal(find(TOP "/b")->how, AMP__FILE_SYSTEM__HOW__BY_HANDLE);
}

static void other_directories(void **state)
{
	if (!*state)
		SKIP_WITHOUT("root and a mount namespace");
	mount_tmpfs(TOP "/a");
	mkdir(TOP "/a/deep", 0755);
	dirs[0] = (char *)(uintptr_t)TOP "/a/deep";
	start(state);
	assert_int_equal(told_count, 1);
	assert_string_equal(told[0].watch, TOP "/a/deep");
	assert_int_equal(find(TOP)->how, AMP__FILE_SYSTEM__HOW__NOT_WATCHED);
	dirs[0] = (char *)(uintptr_t)TOP "/a";
	mon_watch_reconfigure(w, &conf);
	spin(0);
	assert_int_equal(told_count, 2);
	assert_string_equal(told[1].watch, TOP "/a");
	assert_true(told[1].fresh); /* there is more to look at */
	dirs[0] = (char *)(uintptr_t)TOP "/none";
	mon_watch_reconfigure(w, &conf);
	spin(50);
	assert_int_equal(gone_count, 1);
	assert_int_equal(told_count, 3); /* TOP has it now */
	assert_string_equal(told[2].point, TOP);
	while (events(mon_watch_handle_group(w)))
		;
	touch(TOP "/a/x");
	assert_int_equal(events(mon_watch_handle_group(w)), 0); /* the mark is gone */
}

static void by_descriptor(void **state)
{
	int first;

	conf.force_fd_source = true;
	start(state);
	assert_int_equal(groups, 1);
	assert_int_equal(told_count, 1);
	assert_int_equal(told[0].how, AMP__FILE_SYSTEM__HOW__BY_FD);
	first = mon_watch_fd_group(w);
	assert_true(first >= 0);
	touch(TOP "/f");
	assert_int_equal(events(mon_watch_fd_group(w)), 1);
	assert_int_equal(mon_watch_renew_fd_group(w), 0);
	spin(0);
	assert_int_equal(groups, 2);
	assert_int_equal(told_count, 2);
	assert_true(told[1].fresh);
	touch(TOP "/g");
	assert_int_equal(events(mon_watch_fd_group(w)), 1);
	conf.force_fd_source = false;
	mon_watch_reconfigure(w, &conf);
	spin(0);
	assert_int_equal(told_count, 3);
	assert_int_equal(told[2].how, AMP__FILE_SYSTEM__HOW__BY_HANDLE);
	touch(TOP "/h");
	assert_int_equal(events(mon_watch_fd_group(w)), 0);
	assert_int_equal(events(mon_watch_handle_group(w)), 1);
}

struct feature {
	const char *name;
	int in_use; /* -1: not named */
};

static void on_feature(const char *name, bool in_use, void *arg)
{
	for (struct feature *f = arg; f->name; f++)
		if (strstr(name, f->name)) {
			assert_int_equal(f->in_use, -1); /* once */
			f->in_use = in_use;
		}
}

/* What a feature is said to be is what the kernel says of the group's descriptor or does. */
static void features_by_handle(void **state)
{
	struct feature f[] = {{"DFID_NAME_TARGET", -1},
			      {"by handle: process descriptors", -1},
			      {"by handle: unlimited queue", -1},
			      {"by descriptor", -1},
			      {"MARK_FILESYSTEM", -1},
			      {"overlay's layers", -1},
			      {NULL, 0}};
	int fd = fanotify_init(FAN_REPORT_PIDFD | FAN_REPORT_DFID_NAME_TARGET, 0);

	start(state);
	mon_watch_features(w, on_feature, f);
	assert_int_equal(f[0].in_use, 1);
	assert_int_equal(f[1].in_use, fd >= 0);
	assert_int_equal(f[2].in_use, 1);
	assert_int_equal(f[3].in_use, -1);
	assert_int_equal(f[4].in_use, 1);
	assert_int_not_equal(f[5].in_use, -1);
	if (fd >= 0)
		close(fd);
}

static void features_by_descriptor(void **state)
{
	struct feature f[] = {{"by descriptor: process descriptors", -1},
			      {"FD_ERROR", -1},
			      {"by descriptor: unlimited queue", -1},
			      {NULL, 0}};
	int fd = fanotify_init(0x00002000, 0); /* FAN_REPORT_FD_ERROR */

	conf.force_fd_source = true;
	conf.limited_queue = true;
	start(state);
	mon_watch_features(w, on_feature, f);
	assert_int_equal(f[0].in_use, 1);
	assert_int_equal(f[1].in_use, fd >= 0);
	assert_int_equal(f[2].in_use, 0);
	if (fd >= 0)
		close(fd);
}

static bool mount_overlay(const char *lower, const char *upper)
{
	char options[256];

	snprintf(options, sizeof(options), "lowerdir=%s,upperdir=%s/up,workdir=%s/work", lower, upper, upper);
	mkdir(TOP "/m", 0755);
	return mount("overlay", TOP "/m", "overlay", 0, options) == 0;
}

static void overlay_with_watched_layers(void **state)
{
	if (!*state)
		SKIP_WITHOUT("root and a mount namespace");
	mkdir(TOP "/low", 0755);
	mkdir(TOP "/up", 0755);
	mkdir(TOP "/work", 0755);
	if (!mount_overlay(TOP "/low", TOP))
		SKIP_WITHOUT("overlay file systems");
	start(state);
	assert_int_equal(told_count, 1);
	assert_non_null(find(TOP "/m"));
	assert_int_equal(find(TOP "/m")->how, AMP__FILE_SYSTEM__HOW__NOT_WATCHED);
	assert_string_equal(find(TOP "/m")->why, "its layers are watched");
	assert_int_equal(raised, 0);
	touch(TOP "/m/through");
	assert_true(events(mon_watch_handle_group(w)) >= 1);
}

static void overlay_with_layers_elsewhere(void **state)
{
	if (!*state)
		SKIP_WITHOUT("root and a mount namespace");
	mkdir(BESIDE, 0755);
	assert_int_equal(mount("tmpfs", BESIDE, "tmpfs", 0, NULL), 0);
	mkdir(BESIDE "/up", 0755);
	mkdir(BESIDE "/work", 0755);
	mkdir(TOP "/low", 0755);
	if (!mount_overlay(TOP "/low", BESIDE)) {
		umount2(BESIDE, MNT_DETACH);
		SKIP_WITHOUT("overlay file systems");
	}
	start(state);
	assert_int_equal(find(TOP "/m")->how, AMP__FILE_SYSTEM__HOW__BY_FD);
	assert_int_equal(groups, 1);
	assert_int_equal(told_count, 2); /* the upper layer's fsid, which nobody else has here */
	touch(TOP "/m/through");
	assert_int_equal(events(mon_watch_fd_group(w)), 1);
	umount2(TOP "/m", MNT_DETACH);
	umount2(BESIDE, MNT_DETACH);
	rmdir(BESIDE);
}

static void asked_for_but_not_on_the_list(void **state)
{
	types[0] = (char *)(uintptr_t) "ext4";
	types[1] = NULL;
	dirs[0] = (char *)(uintptr_t) "/proc";
	start(state);
	assert_int_equal(told_count, 0);
	assert_int_equal(mon_watch_fd_group(w), -1);
}

static unsigned own_count;

static void on_own(uint64_t fsid, const struct amp_handle *h, void *arg)
{
	(void)arg;
	assert_true(fsid == fsid_of(TOP));
	assert_true(h->size > 0);
	own_count++;
}

static void own_directories(void **state)
{
	start(state);
	mon_watch_own_dirs(w, on_own, NULL);
	assert_int_equal(own_count, 6);
}

/* ---- marks.c alone ---- */

static struct mark_result result;
static unsigned results;

static void on_result(struct mark_job *job, const struct mark_result *r, void *arg)
{
	(void)job;
	(void)arg;
	result = *r;
	results++;
}

static void run_order(struct mark_order *o)
{
	results = 0;
	assert_non_null(mark_start(base, o, on_result, NULL));
	event_base_loop(base, 0);
	assert_int_equal(results, 1);
}

static struct mark_order order(int group, int id, const char *point)
{
	struct mark_order o = {.group = group, .mask = FAN_CLOSE_WRITE, .count = 1};

	o.candidates = calloc(1, sizeof(*o.candidates));
	o.candidates[0].mount_id = id;
	o.candidates[0].point = strdup(point);
	return o;
}

static void child_says_what_is_wrong(void **state)
{
	struct mark_order o;

	start(state);
	mon_watch_free(w);
	w = NULL;
	o = order(-1, 0, TOP "/not there");
	run_order(&o);
	assert_int_equal(result.outcome, MARK_SILENT); /* no group to hand over */
	o = order(STDIN_FILENO, 0, TOP "/not there");
	run_order(&o);
	assert_int_equal(result.outcome, MARK_NO_MOUNT);
	o = order(STDIN_FILENO, 0, TOP); /* another mount's id */
	run_order(&o);
	assert_int_equal(result.outcome, MARK_NO_MOUNT);
	assert_int_equal(waitpid(-1, NULL, WNOHANG), -1); /* none is left */
	assert_int_equal(errno, ECHILD);
}

static void others_may_reap(void **state)
{
	struct mark_order o;

	start(state);
	mon_watch_free(w);
	w = NULL;
	o = order(STDIN_FILENO, 0, TOP "/not there");
	results = 0;
	assert_non_null(mark_start(base, &o, on_result, NULL));
	assert_true(waitpid(-1, NULL, 0) > 0);
	event_base_loop(base, 0);
	assert_int_equal(results, 1);
	assert_int_equal(result.outcome, MARK_NO_MOUNT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(marks_by_handle, defaults, end),
		cmocka_unit_test_setup_teardown(follows_mounts, defaults, end),
		cmocka_unit_test_setup_teardown(replaced_between_two_looks, defaults, end),
		cmocka_unit_test_setup_teardown(unrelated_changes_say_nothing, defaults, end),
		cmocka_unit_test_setup_teardown(hidden_and_moved, defaults, end),
		cmocka_unit_test_setup_teardown(hidden_at_first, defaults, end),
		cmocka_unit_test_setup_teardown(partial_mount, defaults, end),
		cmocka_unit_test_setup_teardown(other_directories, defaults, end),
		cmocka_unit_test_setup_teardown(by_descriptor, defaults, end),
		cmocka_unit_test_setup_teardown(features_by_handle, defaults, end),
		cmocka_unit_test_setup_teardown(features_by_descriptor, defaults, end),
		cmocka_unit_test_setup_teardown(overlay_with_watched_layers, defaults, end),
		cmocka_unit_test_setup_teardown(overlay_with_layers_elsewhere, defaults, end),
		cmocka_unit_test_setup_teardown(asked_for_but_not_on_the_list, defaults, end),
		cmocka_unit_test_setup_teardown(own_directories, defaults, end),
		cmocka_unit_test_setup_teardown(child_says_what_is_wrong, defaults, end),
		cmocka_unit_test_setup_teardown(others_may_reap, defaults, end),
	};

	return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
