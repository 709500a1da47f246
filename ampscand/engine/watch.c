/*
 * ampscand/engine/watch.c - the directories of signatures: what is in them, and when they change.
 *
 * Owns: inotify on them, waiting until they are quiet (freshclam writes files beside the
 * old ones and renames them), a fingerprint. Must not own: what follows (sets.c).
 */
#include "engine.h"

#include "clock.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#define QUIET_S	   2
#define PATIENT_NS (60 * AMP_NS_PER_SEC) /* directories that are never quiet are looked at all the same */
#define MASK                                                                                                 \
	(IN_MODIFY | IN_CLOSE_WRITE | IN_ATTRIB | IN_MOVED_FROM | IN_MOVED_TO | IN_CREATE | IN_DELETE |      \
	 IN_DELETE_SELF | IN_MOVE_SELF | IN_ONLYDIR)

/* --- what is in them ----------------------------------------------------------------- */

/* FNV-1a: of what we are told by an administrator's directory; nothing rests on it. */
static uint64_t mix(uint64_t h, const void *data, size_t n)
{
	const uint8_t *p = data;

	for (size_t i = 0; i < n; i++)
		h = (h ^ p[i]) * UINT64_C(0x100000001b3);
	return h;
}

static uint64_t entry_print(unsigned dir, const char *name, const struct stat *st)
{
	const uint64_t facts[] = {dir, (uint64_t)st->st_size, (uint64_t)st->st_mtim.tv_sec,
				  (uint64_t)st->st_mtim.tv_nsec, st->st_ino,
				  /* What could not be read may be readable now. */
				  st->st_mode, st->st_uid, st->st_gid};

	return mix(mix(UINT64_C(0xcbf29ce484222325), name, strlen(name)), facts, sizeof(facts));
}

/* libclamav opens it by its name alone, and would wait for a pipe's writer or read a directory for ever. */
static void tell_odd(const struct engine *e, unsigned dir, const char *name, mode_t mode, char *odd)
{
	const char *what = S_ISFIFO(mode) ? "a pipe" : S_ISDIR(mode) ? "a directory" : "a socket or a device";

	if (!odd[0])
		snprintf(odd, ADAPTER_TEXT, "%s/%s is %s and no file of signatures: remove or rename it",
			 e->dirs.host[dir], name, what);
}

static bool counts(const struct engine *e, unsigned dir, int fd, const char *name, struct stat *st)
{
	if (!adapter_is_set(name))
		return false;
	if (fstatat(fd, name, st, 0) == 0)
		return true;
	if (fstatat(fd, name, st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISLNK(st->st_mode))
		amp_warn(
			"%s/%s is a link that leads out of its directory, which is all that the engine sees: "
			"copy the file, or name its directory in `definitions`",
			e->dirs.host[dir], name);
	return false;
}

/* The order in which a directory is read says nothing: a sum. */
static uint64_t look_at(const struct engine *e, unsigned dir, unsigned *files, char *odd)
{
	DIR *d = opendir(e->dirs.view[dir]);
	const struct dirent *entry;
	uint64_t sum = 0;
	struct stat st;

	if (!d) {
		amp_warn("signatures: %s cannot be read by the engine's user: %s", e->dirs.host[dir],
			 strerror(errno));
		return 0;
	}
	while ((entry = readdir(d)))
		if (counts(e, dir, dirfd(d), entry->d_name, &st)) {
			sum += entry_print(dir, entry->d_name, &st);
			if (S_ISREG(st.st_mode))
				(*files)++;
			else
				tell_odd(e, dir, entry->d_name, st.st_mode, odd);
		}
	closedir(d);
	return sum;
}

uint64_t watch_look(const struct engine *e, unsigned *files, char *odd)
{
	uint64_t sum = 0;

	*files = 0;
	odd[0] = '\0';
	for (unsigned i = 0; i < e->dirs.count; i++)
		sum += look_at(e, i, files, odd);
	return sum;
}

/* --- when they change -------------------------------------------------------------------- */

static void on_quiet(evutil_socket_t fd, short what, void *arg)
{
	struct engine *e = arg;

	(void)fd;
	(void)what;
	e->changing_since = 0;
	sets_look(e, false);
}

static void wait_for_quiet(struct engine *e)
{
	const struct timeval quiet = {.tv_sec = QUIET_S};
	int64_t now = amp_clock_monotonic();

	if (!e->changing_since)
		e->changing_since = now;
	if (now - e->changing_since < PATIENT_NS || !evtimer_pending(e->quiet, NULL))
		evtimer_add(e->quiet, &quiet);
}

static void on_changed(evutil_socket_t fd, short what, void *arg)
{
	union {
		char bytes[4096];
		struct inotify_event align;
	} b;
	struct engine *e = arg;
	ssize_t n = read(fd, &b, sizeof(b));

	(void)what;
	for (ssize_t at = 0; at < n;) {
		struct inotify_event ev;

		memcpy(&ev, b.bytes + at, sizeof(ev));
		at += (ssize_t)(sizeof(ev) + ev.len);
		if ((ev.mask & (IN_DELETE_SELF | IN_MOVE_SELF | IN_UNMOUNT)) && !e->lacking) {
			e->lacking = true;
			amp_warn("a directory of signatures was removed or replaced; what is there now is "
				 "seen after a reload");
		}
	}
	if (n > 0)
		wait_for_quiet(e);
}

int watch_open(struct engine *e)
{
	e->inotify = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
	if (e->inotify < 0) {
		amp_error("inotify: %s", strerror(errno));
		return -1;
	}
	for (unsigned i = 0; i < e->dirs.count; i++)
		if (inotify_add_watch(e->inotify, e->dirs.host[i], MASK) < 0)
			amp_warn("%s is not watched: %s; after a change, reload", e->dirs.host[i],
				 strerror(errno));
	return 0;
}

int watch_start(struct engine *e)
{
	e->changed = event_new(e->base, e->inotify, EV_READ | EV_PERSIST, on_changed, e);
	e->quiet = evtimer_new(e->base, on_quiet, e);
	return e->changed && e->quiet ? event_add(e->changed, NULL) : -1;
}
