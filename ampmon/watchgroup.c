/*
 * ampmon/watchgroup.c - the two fanotify groups.
 *
 * By handle: events name a file by its directory's and its own handle; the
 * kernel opens nothing. By descriptor: for what has no handles. Owns: making
 * them with the best flags the kernel has, and saying which of them it has.
 * Must not own: marks, reading.
 */
#include "watchfs.h"

#include "log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#ifndef FAN_REPORT_FD_ERROR
#define FAN_REPORT_FD_ERROR 0x00002000 /* Linux 6.13, and later ones of 6.12 */
#endif

/* Best first; the last ones are what older kernels take. */
static const unsigned handle_variants[] = {
	FAN_REPORT_DFID_NAME_TARGET | FAN_REPORT_PIDFD,
	FAN_REPORT_DFID_NAME_TARGET,
};
static const unsigned fd_variants[] = {FAN_REPORT_PIDFD | FAN_REPORT_FD_ERROR, FAN_REPORT_PIDFD, 0};

/* What a group is asked for, and what posture calls it. */
static const struct feature {
	enum group group;
	unsigned flags;
	const char *name;
} features[] = {
	{GROUP_HANDLE, FAN_REPORT_DFID_NAME_TARGET,
	 "fanotify by handle: directory, name, target (DFID_NAME_TARGET)"},
	{GROUP_HANDLE, FAN_REPORT_PIDFD, "fanotify by handle: process descriptors (PIDFD)"},
	{GROUP_HANDLE, FAN_UNLIMITED_QUEUE, "fanotify by handle: unlimited queue"},
	{GROUP_FD, FAN_REPORT_PIDFD, "fanotify by descriptor: process descriptors (PIDFD)"},
	{GROUP_FD, FAN_REPORT_FD_ERROR,
	 "fanotify by descriptor: events of files that cannot be opened (FD_ERROR)"},
	{GROUP_FD, FAN_UNLIMITED_QUEUE, "fanotify by descriptor: unlimited queue"},
};

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static unsigned common_flags(const struct mon_watch *w)
{
	return FAN_CLASS_NOTIF | FAN_UNLIMITED_MARKS | FAN_CLOEXEC | FAN_NONBLOCK |
	       (w->limited ? 0 : FAN_UNLIMITED_QUEUE);
}

/* The first variant the kernel takes. fd, or -1 and errno. */
static int make_group(struct mon_watch *w, enum group group, const unsigned *variants, size_t count,
		      unsigned event_flags)
{
	int fd = -1;

	for (size_t i = 0; i < count; i++) {
		fd = fanotify_init(common_flags(w) | variants[i],
				   event_flags | O_RDONLY | O_LARGEFILE | O_CLOEXEC);
		if (fd >= 0)
			w->flags[group] = common_flags(w) | variants[i];
		if (fd >= 0 || errno != EINVAL)
			break;
	}
	return fd;
}

static int make_handle_group(struct mon_watch *w)
{
	return make_group(w, GROUP_HANDLE, handle_variants, COUNT(handle_variants), 0);
}

/* O_NONBLOCK: the kernel opens each event's file while it is read (a lease would stop it). */
static int make_fd_group(struct mon_watch *w)
{
	int fd = make_group(w, GROUP_FD, fd_variants, COUNT(fd_variants), O_NONBLOCK | O_NOATIME);

	if (fd < 0)
		amp_error("cannot make the fanotify group of descriptors: %s", strerror(errno));
	return fd;
}

void watch_group_tell(const struct mon_watch *w)
{
	if (w->group[GROUP_FD] >= 0 && w->ops.fd_group)
		w->ops.fd_group(w->ops.arg);
}

int watch_group(struct mon_watch *w, bool by_fd)
{
	if (by_fd && w->group[GROUP_FD] < 0) {
		w->group[GROUP_FD] = make_fd_group(w);
		watch_group_tell(w);
	}
	return w->group[by_fd ? GROUP_FD : GROUP_HANDLE];
}

/* Every mark of a group goes. The path is needed for the call only. */
void watch_group_flush(int group)
{
	if (group >= 0 && fanotify_mark(group, FAN_MARK_FLUSH | FAN_MARK_FILESYSTEM, 0, AT_FDCWD, "/") < 0)
		amp_warn("cannot remove the marks of a fanotify group: %s", strerror(errno));
}

/* The callee of fd_group() has no mon_watch in hand yet: not told here. */
int watch_groups_make(struct mon_watch *w, char *err, size_t size)
{
	w->group[GROUP_HANDLE] = make_handle_group(w);
	if (w->force_fd) {
		w->group[GROUP_FD] = make_fd_group(w);
		if (w->group[GROUP_FD] >= 0)
			return 0;
	}
	if (w->group[GROUP_HANDLE] >= 0 && !w->force_fd)
		return 0;
	snprintf(err, size,
		 "fanotify_init: %s; Linux 5.17 or later with CONFIG_FANOTIFY and CAP_SYS_ADMIN is needed",
		 strerror(errno));
	return -1;
}

int watch_group_renew(struct mon_watch *w)
{
	int fd;

	if (w->group[GROUP_FD] < 0)
		return 0;
	fd = make_fd_group(w);
	if (fd < 0)
		return -1;
	close(w->group[GROUP_FD]);
	w->group[GROUP_FD] = fd;
	watch_group_tell(w);
	return 0;
}

static bool any_marked(const struct mon_watch *w)
{
	for (const struct watch_fs *fs = w->list; fs; fs = fs->next)
		if (fs->marked)
			return true;
	return false;
}

/* A group that was not asked for uses nothing and misses nothing. */
void mon_watch_features(const struct mon_watch *w, void (*fn)(const char *name, bool in_use, void *arg),
			void *arg)
{
	for (size_t i = 0; i < COUNT(features); i++) {
		const struct feature *f = &features[i];

		if (w->group[f->group] >= 0 || (f->group == GROUP_HANDLE && !w->force_fd))
			fn(f->name, (w->flags[f->group] & f->flags) == f->flags, arg);
	}
	if (any_marked(w))
		fn("fanotify: marks of whole file systems (MARK_FILESYSTEM)", true, arg);
	fn("fanotify: events of an overlay's layers", watchfs_kernel_reports_layers(), arg);
}
