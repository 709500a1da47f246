/*
 * ampmon/watch.c - see watch.h: the interface, and following the mount table.
 * The work is in watchpass.c and watchfs.c (watchfs.h says which does what).
 */
#include "watchfs.h"

#include "log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

static void on_settled(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	watch_pass(arg);
}

/* The poll that found it readable has taken the news; the read here only tidies up. */
static void on_changed(evutil_socket_t fd, short what, void *arg)
{
	struct epoll_event e;

	(void)what;
	if (epoll_wait(fd, &e, 1, 0) < 0)
		amp_debug("epoll_wait: %s", strerror(errno));
	watch_pass_in(arg, 100);
}

static char **copy_strings(char *const *list)
{
	size_t n = 0;
	char **out;

	while (list && list[n])
		n++;
	out = calloc(n + 1, sizeof(*out));
	for (size_t i = 0; out && i < n; i++)
		if (!(out[i] = strdup(list[i]))) {
			mount_strings_free(out);
			return NULL;
		}
	return out;
}

static void free_conf(struct mon_watch *w)
{
	mount_strings_free(w->dirs);
	mount_strings_free(w->types);
	for (size_t i = 0; i < OWN_DIRS; i++)
		free(w->own[i]);
}

/* A copy: the configuration may be replaced under us. On failure w keeps what it has. */
static int take_conf(struct mon_watch *w, const struct mon_conf *c)
{
	const char *own[OWN_DIRS] = {c->log_dir, c->etc_dir,	c->cloud_dir,
				     c->run_dir, c->policy_dir, c->quarantine_dir};
	struct mon_watch n = {.dirs = copy_strings(c->watch), .types = copy_strings(c->filesystem_types)};
	bool ok = n.dirs && n.types;

	for (size_t i = 0; i < OWN_DIRS; i++) {
		n.own[i] = own[i] ? strdup(own[i]) : NULL;
		ok &= !own[i] || n.own[i];
	}
	if (!ok) {
		free_conf(&n);
		return -1;
	}
	free_conf(w);
	w->dirs = n.dirs;
	w->types = n.types;
	memcpy(w->own, n.own, sizeof(w->own));
	w->force_fd = c->force_fd_source;
	return 0;
}

/* mountinfo tells of a change by EPOLLPRI|EPOLLERR, which libevent does not ask for: an epoll of its own. */
static int open_mountinfo(struct mon_watch *w, char *err, size_t size)
{
	struct epoll_event want = {.events = EPOLLPRI | EPOLLERR};

	w->mountinfo = open("/proc/self/mountinfo", O_RDONLY | O_CLOEXEC);
	w->epoll = epoll_create1(EPOLL_CLOEXEC);
	if (w->mountinfo >= 0 && w->epoll >= 0 &&
	    epoll_ctl(w->epoll, EPOLL_CTL_ADD, w->mountinfo, &want) == 0)
		return 0;
	snprintf(err, size, "/proc/self/mountinfo cannot be followed: %s", strerror(errno));
	return -1;
}

static int make_events(struct mon_watch *w, char *err, size_t size)
{
	w->changed = event_new(w->base, w->epoll, EV_READ | EV_PERSIST, on_changed, w);
	w->settle = evtimer_new(w->base, on_settled, w);
	w->retry = evtimer_new(w->base, on_settled, w);
	if (w->changed && w->settle && w->retry)
		return 0;
	snprintf(err, size, "out of memory");
	return -1;
}

struct mon_watch *mon_watch_new(struct event_base *base, const struct mon_conf *c,
				const struct mon_watch_ops *ops, char *err, size_t size)
{
	struct mon_watch *w = calloc(1, sizeof(*w));

	snprintf(err, size, "out of memory");
	if (!w)
		return NULL;
	w->base = base;
	w->ops = *ops;
	w->group[GROUP_HANDLE] = w->group[GROUP_FD] = w->mountinfo = w->epoll = -1;
	w->limited = c->limited_queue;
	if (take_conf(w, c) < 0 || watch_groups_make(w, err, size) < 0 || open_mountinfo(w, err, size) < 0 ||
	    make_events(w, err, size) < 0) {
		mon_watch_free(w);
		return NULL;
	}
	return w;
}

void mon_watch_start(struct mon_watch *w)
{
	event_add(w->changed, NULL);
	watch_group_tell(w);
	watch_pass(w);
}

/* Everything is to be marked anew in the group that `force_fd` now says. */
static void switch_source(struct mon_watch *w)
{
	watch_group_flush(w->group[GROUP_HANDLE]);
	watch_group_flush(w->group[GROUP_FD]);
	for (struct watch_fs *fs = w->list; fs; fs = fs->next)
		fs->by_fd = false;
}

void mon_watch_reconfigure(struct mon_watch *w, const struct mon_conf *c)
{
	bool forced = w->force_fd;

	if (take_conf(w, c) < 0) {
		amp_error("out of memory: the watched directories stay as they were");
		return;
	}
	if (c->limited_queue != w->limited)
		amp_warn("queue_limit takes effect when ampmon is started again");
	for (struct watch_fs *fs = w->list; fs; fs = fs->next)
		fs->covered = false; /* its layers may be watched elsewhere now, or no more */
	if (forced != w->force_fd)
		switch_source(w);
	watch_pass(w);
}

int mon_watch_handle_group(const struct mon_watch *w)
{
	return w->group[GROUP_HANDLE];
}

int mon_watch_fd_group(const struct mon_watch *w)
{
	return w->group[GROUP_FD];
}

int mon_watch_renew_fd_group(struct mon_watch *w)
{
	if (watch_group_renew(w) < 0)
		return -1;
	watch_pass(w); /* finds that no mark is there */
	return 0;
}

void mon_watch_each(const struct mon_watch *w, void (*fn)(const Amp__FileSystem *fs, void *arg), void *arg)
{
	for (const struct watch_fs *fs = w->list; fs; fs = fs->next) {
		Amp__FileSystem wire;
		ProtobufCBinaryData *ways;

		watchfs_fill(fs, &wire, &ways);
		fn(&wire, arg);
		free(ways);
	}
}

bool mon_watch_plain_device(const struct mon_watch *w, unsigned major, unsigned minor)
{
	for (size_t i = 0; i < w->table.count; i++) {
		const struct mount_entry *e = &w->table.entries[i];

		if (e->major == major && e->minor == minor)
			return strcmp(e->type, "overlay") != 0;
	}
	return false;
}

void mon_watch_own_dirs(const struct mon_watch *w,
			void (*fn)(uint64_t fsid, const struct amp_handle *h, void *arg), void *arg)
{
	for (size_t i = 0; i < OWN_DIRS; i++) {
		struct amp_handle h;
		uint64_t fsid;

		if (!w->own[i])
			continue;
		if (amp_handle_at(AT_FDCWD, w->own[i], AT_SYMLINK_FOLLOW, &h, NULL) == 0 &&
		    amp_fsid_of_path(w->own[i], &fsid) == 0)
			fn(fsid, &h, arg);
		else
			amp_warn("%s has no file handle, its events are judged like any: %s", w->own[i],
				 strerror(errno));
	}
}

static void free_events(struct mon_watch *w)
{
	struct event *all[] = {w->changed, w->settle, w->retry};

	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
		if (all[i])
			event_free(all[i]);
}

void mon_watch_free(struct mon_watch *w)
{
	const int fds[] = {w->group[GROUP_HANDLE], w->group[GROUP_FD], w->epoll, w->mountinfo};

	while (w->list) {
		struct watch_fs *fs = w->list;

		w->list = fs->next;
		if (fs->job)
			mark_cancel(fs->job);
		watchfs_free(fs);
	}
	free_events(w);
	for (size_t i = 0; i < sizeof(fds) / sizeof(fds[0]); i++)
		if (fds[i] >= 0)
			close(fds[i]);
	mount_table_free(&w->table);
	free_conf(w);
	free(w);
}
