/*
 * tests/unit/cloudtest.h - what the tests of databases share: a directory of
 * their own, a small file system that can be filled, events to store.
 */
#ifndef AMP_TEST_CLOUDTEST_H
#define AMP_TEST_CLOUDTEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "proto/event.pb-c.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#define UUID_A "11111111-2222-3333-4444-555555555555"
#define UUID_B "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee"
#define HOUR   (INT64_C(3600) * 1000000000)

struct test_dir {
	char path[64];
	bool mounted;
};

static inline void dir_make(struct test_dir *d)
{
	*d = (struct test_dir){.path = "/tmp/amp-test-XXXXXX"};
	assert_non_null(mkdtemp(d->path));
}

static inline int dir_remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path);
}

static inline void dir_remove(struct test_dir *d)
{
	if (d->mounted)
		assert_int_equal(umount2(d->path, MNT_DETACH), 0);
	assert_int_equal(nftw(d->path, dir_remove_one, 16, FTW_DEPTH | FTW_PHYS), 0);
}

/* A path in the directory; eight may be in use at once. */
static inline const char *dir_file(const struct test_dir *d, const char *name)
{
	static char ring[8][128];
	static unsigned next;
	char *buf = ring[next++ % 8];

	snprintf(buf, sizeof(ring[0]), "%s/%s", d->path, name);
	return buf;
}

static inline bool write_text(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	bool ok = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);

	if (fd >= 0)
		close(fd);
	return ok;
}

/* Own mount namespace, once; without root inside an own user namespace. */
static inline bool own_mounts(void)
{
	static int state; /* 1: yes, -1: no */
	unsigned uid = getuid(), gid = getgid();
	char map[64];

	if (state)
		return state > 0;
	state = -1;
	if (uid == 0) {
		if (unshare(CLONE_NEWNS))
			return false;
	} else {
		if (unshare(CLONE_NEWUSER | CLONE_NEWNS))
			return false;
		snprintf(map, sizeof(map), "0 %u 1", uid);
		if (!write_text("/proc/self/setgroups", "deny") || !write_text("/proc/self/uid_map", map))
			return false;
		snprintf(map, sizeof(map), "0 %u 1", gid);
		if (!write_text("/proc/self/gid_map", map))
			return false;
	}
	if (mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL))
		return false;
	state = 1;
	return true;
}

/* A tmpfs of that many KiB on the directory. False: it cannot be had here. */
static inline bool dir_small(struct test_dir *d, unsigned kib)
{
	char options[32];

	dir_make(d);
	snprintf(options, sizeof(options), "size=%uk", kib);
	d->mounted = own_mounts() && mount("none", d->path, "tmpfs", MS_NODEV | MS_NOSUID, options) == 0;
	if (!d->mounted)
		print_message("NOT TESTED, a full disk: no private mount possible here (%s); run as root\n",
			      strerror(errno));
	return d->mounted;
}

/* Takes all the space there is, into the file ballast. */
static inline void dir_fill(const struct test_dir *d)
{
	static const char block[4096];
	int fd = open(dir_file(d, "ballast"), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	while (write(fd, block, sizeof(block)) > 0)
		;
	assert_int_equal(errno, ENOSPC);
	close(fd);
}

static inline void dir_drain(const struct test_dir *d)
{
	assert_int_equal(unlink(dir_file(d, "ballast")), 0);
}

static inline Amp__Event make_event(const char *uid, const char *type, int64_t time_ns, unsigned severity)
{
	Amp__Event e = AMP__EVENT__INIT;

	e.uid = (char *)(uintptr_t)uid;
	e.type = (char *)(uintptr_t)type;
	e.time_ns = time_ns;
	e.severity = severity;
	return e;
}

#endif
