/*
 * ampmon/watchpass.c - a pass over the mount table.
 *
 * One `struct watch_fs` is made of every local file system in the table and
 * compared with what is known. The kernel is the authority on what is marked:
 * a device number is used again at once by the next mount, so before a mark
 * is believed in, it is looked up in the group's fdinfo. Overlays come last:
 * whether one needs a mark depends on its layers having one.
 * Must not own: what is done with one file system (watchfs.c).
 */
#include "watchfs.h"

#include "clock.h"
#include "log.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define JOBS_MAX     8U /* children at a time */
#define RETRY_SECS   60
#define DETAIL_SHOWN 4U

/* ---- kinds of file systems ---- */

enum kind { KIND_IGNORED, KIND_REMOTE, KIND_UNLISTED, KIND_WANTED };

/* Never watched: another machine or a user's process serves them. */
static const char *const remote_types[] = {
	"nfs",	    "nfs4",	"cifs",	 "smb3", "smbfs",  "smb2",   "9p",     "ceph",
	"afs",	    "kafs",	"ncpfs", "coda", "lustre", "gfs2",   "ocfs2",  "beegfs",
	"virtiofs", "orangefs", "pvfs2", "gpfs", "vboxsf", "prl_fs", "vmhgfs", "autofs",
};

static bool is_remote(const char *type)
{
	if (strncmp(type, "fuse", 4) == 0)
		return true;
	for (size_t i = 0; i < sizeof(remote_types) / sizeof(remote_types[0]); i++)
		if (strcmp(type, remote_types[i]) == 0)
			return true;
	return false;
}

static enum kind kind_of(const struct mon_watch *w, const char *type, unsigned major)
{
	if (is_remote(type))
		return KIND_REMOTE;
	for (char **t = w->types; *t; t++)
		if (strcmp(*t, type) == 0)
			return KIND_WANTED;
	return major ? KIND_UNLISTED : KIND_IGNORED; /* major 0: no disk behind it */
}

bool watchfs_overlay(const struct watch_fs *fs)
{
	return strcmp(fs->type, "overlay") == 0;
}

/* ---- faults ---- */

static void append_faulty(const struct watch_fs *fs, char *out, size_t size)
{
	size_t used = strlen(out);

	snprintf(out + used, size - used, "%s%s (%s): %s", used ? "; " : "", fs->point ? fs->point : "?",
		 fs->type, fs->why);
}

static void update_fault(struct mon_watch *w)
{
	const struct timeval retry = {RETRY_SECS, 0};
	char detail[sizeof(w->fault_detail)] = "";
	unsigned count = 0;

	for (const struct watch_fs *fs = w->list; fs; fs = fs->next)
		if (fs->faulty && count++ < DETAIL_SHOWN)
			append_faulty(fs, detail, sizeof(detail) - 32);
	if (count > DETAIL_SHOWN)
		snprintf(detail + strlen(detail), 32, "; and %u more", count - DETAIL_SHOWN);
	if (count)
		event_add(w->retry, &retry);
	else
		event_del(w->retry);
	if (w->fault_raised == (count > 0) && strcmp(detail, w->fault_detail) == 0)
		return;
	w->fault_raised = count > 0;
	memcpy(w->fault_detail, detail, sizeof(detail));
	w->ops.fault(w->fault_raised, detail, w->ops.arg);
}

/* ---- a pass ---- */

static bool jobs_before_overlays(const struct mon_watch *w)
{
	for (const struct watch_fs *fs = w->list; fs; fs = fs->next)
		if (!watchfs_overlay(fs) && (fs->wants_job || fs->job))
			return true;
	return false;
}

static bool start_jobs(struct mon_watch *w, bool overlays)
{
	bool waiting = false;

	for (struct watch_fs *fs = w->list; fs; fs = fs->next) {
		if (!fs->wants_job || fs->job || watchfs_overlay(fs) != overlays)
			continue;
		if (w->running >= JOBS_MAX)
			return true;
		watchfs_mark(fs);
		waiting |= fs->wants_job;
	}
	return waiting;
}

void watch_jobs(struct mon_watch *w)
{
	start_jobs(w, false);
	if (!jobs_before_overlays(w))
		start_jobs(w, true);
	if (!mon_watch_settled(w))
		return;
	update_fault(w);
	if (!w->began) {
		w->began = true;
		if (w->ops.began)
			w->ops.began(w->ops.arg);
	}
}

bool mon_watch_settled(const struct mon_watch *w)
{
	for (const struct watch_fs *fs = w->list; fs; fs = fs->next)
		if (fs->wants_job || fs->job)
			return false;
	return true;
}

bool mon_watch_began(const struct mon_watch *w)
{
	return w->began;
}

static bool has_mark(const uint32_t *devices, size_t count, const struct watch_fs *fs)
{
	for (size_t i = 0; i < count; i++)
		if (devices[i] == (fs->major << 20 | fs->minor))
			return true;
	return false;
}

/* Marks that went with an unmounted file system whose device number is in use again. */
static void check_marks(struct mon_watch *w, bool by_fd)
{
	int group = w->group[by_fd ? GROUP_FD : GROUP_HANDLE];
	uint32_t *devices;
	size_t count;

	if (group < 0 || marks_read(group, &devices, &count) < 0)
		return;
	for (struct watch_fs *fs = w->list; fs; fs = fs->next)
		if (fs->marked && fs->by_fd == by_fd && !has_mark(devices, count, fs)) {
			watchfs_gone(fs);
			fs->marked = false;
		}
	free(devices);
}

static void note_entries(struct mon_watch *w)
{
	for (struct watch_fs *fs = w->list; fs; fs = fs->next)
		fs->seen = false;
	for (size_t i = 0; i < w->table.count; i++) {
		const struct mount_entry *e = &w->table.entries[i];
		struct watch_fs *fs = watchfs_find(w, e);

		if (!fs && kind_of(w, e->type, e->major) != KIND_IGNORED)
			fs = watchfs_new(w, e);
		if (fs)
			fs->seen = kind_of(w, fs->type, fs->major) != KIND_IGNORED;
	}
}

static void remove_fs(struct watch_fs **link)
{
	struct watch_fs *fs = *link;

	*link = fs->next;
	if (fs->job) {
		mark_abandon(fs->job);
		fs->watch->running--;
	}
	watchfs_gone(fs);
	watchfs_free(fs);
}

static void sweep(struct mon_watch *w)
{
	struct watch_fs **link = &w->list;

	while (*link)
		if ((*link)->seen)
			link = &(*link)->next;
		else
			remove_fs(link);
}

/* Does the place that was taken still lead to the file system, and is there none better? */
static bool place_holds(const struct mon_watch *w, const struct watch_fs *fs)
{
	const struct mount_entry *e = mount_table_by_id(&w->table, fs->mount_id);

	if (!e || !fs->point || !watchfs_is(e, fs) || strcmp(e->point, fs->point) != 0 ||
	    !mount_visible(&w->table, e))
		return false;
	for (size_t i = 0; fs->partial && i < w->table.count; i++)
		if (mount_whole(&w->table.entries[i]) && watchfs_usable(w, fs, &w->table.entries[i]))
			return false;
	return true;
}

static bool any_usable(const struct mon_watch *w, const struct watch_fs *fs)
{
	for (size_t i = 0; i < w->table.count; i++)
		if (watchfs_usable(w, fs, &w->table.entries[i]))
			return true;
	return false;
}

static bool in_scope(const struct mon_watch *w, const struct watch_fs *fs)
{
	bool any;
	char **scope;

	if (!w->dirs[0])
		return true;
	scope = mount_scope(&w->table, watchfs_entry(w, fs), w->dirs);
	any = !scope || scope[0];
	mount_strings_free(scope);
	return any;
}

/* Why it is not to be watched at all; NULL: it is. */
static const char *unwanted(const struct mon_watch *w, const struct watch_fs *fs, bool *faulty)
{
	enum kind kind = kind_of(w, fs->type, fs->major);
	bool inside = in_scope(w, fs);

	*faulty = false;
	if (kind == KIND_WANTED)
		return inside ? NULL : "outside the configured directories";
	*faulty = inside && w->dirs[0]; /* asked for by name */
	return kind == KIND_REMOTE ? "network and FUSE file systems are never watched"
				   : "its type is not in filesystem_types";
}

static void leave_out(struct watch_fs *fs, bool faulty, const char *why)
{
	const struct mount_entry *e = watchfs_entry(fs->watch, fs);

	if (fs->job) {
		mark_abandon(fs->job);
		fs->job = NULL;
		fs->watch->running--;
		watchfs_unmark(fs, fs->by_fd);
	} else if (fs->marked) {
		watchfs_unmark(fs, fs->by_fd);
	}
	fs->wants_job = false;
	watchfs_not_watched(fs, faulty, why);
	fs->unmarked_ns = 0;
	watchfs_set_point(fs, e ? e->point : NULL);
	fs->mount_id = -1;
}

/* An overlay's options tell it from another one with the same numbers. */
static bool same_overlay(struct watch_fs *fs, const struct mount_entry *e)
{
	if (fs->super && strcmp(fs->super, e->super) == 0)
		return true;
	free(fs->super);
	fs->super = strdup(e->super);
	return false;
}

static bool as_known(const struct mon_watch *w, struct watch_fs *fs)
{
	if (watchfs_overlay(fs) && !same_overlay(fs, watchfs_entry(w, fs)))
		fs->covered = fs->by_fd = false;
	if (fs->alias && !watchfs_twin(fs))
		return false; /* the other one is gone: it can be named now */
	return (fs->marked || fs->covered) && place_holds(w, fs);
}

static void check_fs(struct watch_fs *fs)
{
	struct mon_watch *w = fs->watch;
	bool faulty, wider;
	const char *why = unwanted(w, fs, &faulty);

	if (why) {
		leave_out(fs, faulty, why);
	} else if (fs->job) {
		fs->again = true;
	} else if (!as_known(w, fs)) {
		if (!fs->marked && !watchfs_overlay(fs))
			fs->by_fd = false;
		if (!fs->marked && !fs->unmarked_ns)
			fs->unmarked_ns = amp_clock_realtime();
		fs->wants_job = any_usable(w, fs);
		if (!fs->wants_job)
			watchfs_hidden(fs);
	} else if (watchfs_refresh_scope(fs, &wider) && fs->marked) {
		watchfs_report(fs, wider);
	}
}

void watch_pass_in(struct mon_watch *w, long ms)
{
	const struct timeval t = {ms / 1000, (ms % 1000) * 1000};

	if (!event_pending(w->settle, EV_TIMEOUT, NULL))
		event_add(w->settle, &t);
}

void watch_pass(struct mon_watch *w)
{
	struct mount_table table;

	if (mount_table_read(&table, w->mountinfo) < 0) {
		amp_error("cannot read /proc/self/mountinfo: %s", strerror(errno));
		watch_pass_in(w, 1000);
		return;
	}
	if (table.bad)
		amp_warn("%zu lines of /proc/self/mountinfo are not understood", table.bad);
	mount_table_free(&w->table);
	w->table = table;
	check_marks(w, false);
	check_marks(w, true);
	note_entries(w);
	sweep(w);
	for (struct watch_fs *fs = w->list; fs; fs = fs->next)
		check_fs(fs);
	watch_jobs(w);
}
