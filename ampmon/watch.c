/*
 * ampmon/watch.c - see watch.h.
 *
 * A pass reads the mount table, makes one `struct fs` of every local file
 * system in it and compares with what it knows. The kernel is the authority
 * on what is marked: a device number is used again at once by the next mount,
 * so before a mark is believed in, it is looked up in the group's fdinfo.
 * Marks are set by children (marks.c); overlays last, because whether one
 * needs a mark depends on its layers having one.
 */
#include "watch.h"

#include "log.h"
#include "marks.h"
#include "mountinfo.h"
#include "proto/types.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/fanotify.h>
#include <sys/utsname.h>
#include <unistd.h>

#ifndef FAN_REPORT_FD_ERROR
#define FAN_REPORT_FD_ERROR 0x00002000 /* Linux 6.13 */
#endif

#define HANDLE_MASK  (FAN_CLOSE_WRITE | FAN_OPEN_EXEC | FAN_RENAME | FAN_CREATE | FAN_ONDIR)
#define FD_MASK	     (FAN_CLOSE_WRITE | FAN_OPEN_EXEC)
#define JOBS_MAX     8U	    /* children at a time */
#define SCOPE_MAX    49152U /* bytes of directories in one FileSystem message */
#define OWN_DIRS     5U
#define RETRY_SECS   60
#define DETAIL_SHOWN 4U

enum group { GROUP_HANDLE, GROUP_FD, GROUP_COUNT };

struct fs {
	struct fs *next;
	struct mon_watch *watch;
	unsigned major, minor;
	char *type;
	char *subvolume; /* btrfs: the mount's root; else NULL */
	char *super;	 /* overlay: its options when it was looked at */
	bool seen;	 /* in this pass's table */
	bool wants_job, again;
	bool marked, by_fd, covered;
	bool reported; /* filesystem() was called with fsid */
	bool alias;    /* fsid is another's: never reported */
	bool faulty;
	int mount_id;
	char *point; /* NULL: none */
	bool partial;
	uint64_t fsid;
	char why[192];
	char **scope; /* NULL until known; empty: everywhere */
	struct mark_job *job;
};

struct mon_watch {
	struct event_base *base;
	struct mon_watch_ops ops;
	int group[GROUP_COUNT];
	int mountinfo, epoll;
	struct event *changed, *settle, *retry;
	struct mount_table table;
	struct fs *list;
	unsigned running;
	bool fault_raised;
	char fault_detail[512];
	/* of the configuration */
	char **dirs, **types;
	char *own[OWN_DIRS];
	bool force_fd, limited;
};

static void rescan(struct mon_watch *w);
static void run_jobs(struct mon_watch *w);

/* ---- groups ---- */

/* Best first; the last ones are what older kernels take. */
static const unsigned handle_variants[] = {FAN_REPORT_PIDFD, 0};
static const struct {
	unsigned flags, event_flags;
} fd_variants[] = {
	{FAN_REPORT_PIDFD | FAN_REPORT_FD_ERROR, O_NOATIME},
	{FAN_REPORT_PIDFD, O_NOATIME},
	{FAN_REPORT_PIDFD, 0},
	{0, 0},
};

static unsigned common_flags(const struct mon_watch *w)
{
	return FAN_CLASS_NOTIF | FAN_UNLIMITED_MARKS | FAN_CLOEXEC | FAN_NONBLOCK |
	       (w->limited ? 0 : FAN_UNLIMITED_QUEUE);
}

static int make_handle_group(const struct mon_watch *w)
{
	int fd = -1;

	for (size_t i = 0; i < sizeof(handle_variants) / sizeof(handle_variants[0]); i++) {
		fd = fanotify_init(common_flags(w) | FAN_REPORT_DFID_NAME_TARGET | handle_variants[i],
				   O_RDONLY | O_LARGEFILE | O_CLOEXEC);
		if (fd >= 0 || errno != EINVAL)
			break;
	}
	return fd;
}

/* O_NONBLOCK: the kernel opens each event's file while it is read (a lease would stop it). */
static int make_fd_group(const struct mon_watch *w)
{
	int fd = -1;

	for (size_t i = 0; i < sizeof(fd_variants) / sizeof(fd_variants[0]); i++) {
		fd = fanotify_init(common_flags(w) | fd_variants[i].flags,
				   (unsigned)(O_RDONLY | O_NONBLOCK | O_LARGEFILE | O_CLOEXEC) |
					   fd_variants[i].event_flags);
		if (fd >= 0 || errno != EINVAL)
			break;
	}
	if (fd < 0)
		amp_error("cannot make the fanotify group of descriptors: %s", strerror(errno));
	return fd;
}

static void tell_fd_group(const struct mon_watch *w)
{
	if (w->group[GROUP_FD] >= 0 && w->ops.fd_group)
		w->ops.fd_group(w->ops.arg);
}

static int group_of(struct mon_watch *w, bool by_fd)
{
	if (by_fd && w->group[GROUP_FD] < 0) {
		w->group[GROUP_FD] = make_fd_group(w);
		tell_fd_group(w);
	}
	return w->group[by_fd ? GROUP_FD : GROUP_HANDLE];
}

/* Every mark of a group goes. The path is needed for the call only. */
static void flush_marks(int group)
{
	if (group >= 0 && fanotify_mark(group, FAN_MARK_FLUSH | FAN_MARK_FILESYSTEM, 0, AT_FDCWD, "/") < 0)
		amp_warn("cannot remove the marks of a fanotify group: %s", strerror(errno));
}

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

static bool is_overlay(const struct fs *fs)
{
	return strcmp(fs->type, "overlay") == 0;
}

/* ---- one file system ---- */

static bool is_of(const struct mount_entry *e, const struct fs *fs)
{
	return e->major == fs->major && e->minor == fs->minor &&
	       (!fs->subvolume || strcmp(e->root, fs->subvolume) == 0);
}

static struct fs *find_fs(struct mon_watch *w, const struct mount_entry *e)
{
	for (struct fs *fs = w->list; fs; fs = fs->next)
		if (is_of(e, fs) && strcmp(fs->type, e->type) == 0)
			return fs;
	return NULL;
}

static void free_fs(struct fs *fs)
{
	free(fs->type);
	free(fs->subvolume);
	free(fs->super);
	free(fs->point);
	mount_strings_free(fs->scope);
	free(fs);
}

static struct fs *new_fs(struct mon_watch *w, const struct mount_entry *e)
{
	struct fs *fs = calloc(1, sizeof(*fs)), **end = &w->list;
	bool btrfs = strcmp(e->type, "btrfs") == 0;

	if (!fs)
		return NULL;
	fs->watch = w;
	fs->major = e->major;
	fs->minor = e->minor;
	fs->type = strdup(e->type);
	fs->subvolume = btrfs ? strdup(e->root) : NULL;
	fs->mount_id = -1;
	if (!fs->type || (btrfs && !fs->subvolume)) {
		free_fs(fs);
		return NULL;
	}
	while (*end) /* in the table's order */
		end = &(*end)->next;
	return *end = fs;
}

static bool is_watched(const struct fs *fs)
{
	return fs->marked;
}

/* Wire form, valid while fs is as it is. ways: room for the scope. */
static void fill(const struct fs *fs, Amp__FileSystem *out, ProtobufCBinaryData **ways)
{
	size_t n = 0;

	amp__file_system__init(out);
	out->fsid = fs->alias || !is_watched(fs) ? 0 : fs->fsid;
	out->dev_major = fs->major;
	out->dev_minor = fs->minor;
	out->type = fs->type;
	out->how = !is_watched(fs) ? AMP__FILE_SYSTEM__HOW__NOT_WATCHED
		   : fs->by_fd	   ? AMP__FILE_SYSTEM__HOW__BY_FD
				   : AMP__FILE_SYSTEM__HOW__BY_HANDLE;
	out->why = (char *)(uintptr_t)fs->why;
	out->partial = fs->partial;
	if (fs->point) {
		out->mount_point.data = (uint8_t *)fs->point;
		out->mount_point.len = strlen(fs->point);
	}
	*ways = NULL;
	while (is_watched(fs) && fs->scope && fs->scope[n])
		n++;
	if (!n || !(*ways = calloc(n, sizeof(**ways))))
		return;
	for (size_t i = 0; i < n; i++)
		(*ways)[i] =
			(ProtobufCBinaryData){.len = strlen(fs->scope[i]), .data = (uint8_t *)fs->scope[i]};
	out->n_watch = n;
	out->watch = *ways;
}

static void report(struct fs *fs, bool fresh)
{
	Amp__FileSystem wire;
	ProtobufCBinaryData *ways;

	if (fs->alias)
		return;
	fs->reported = true;
	fill(fs, &wire, &ways);
	fs->watch->ops.filesystem(&wire, fresh, fs->watch->ops.arg);
	free(ways);
}

static void report_gone(struct fs *fs)
{
	if (fs->reported)
		fs->watch->ops.gone(fs->fsid, fs->watch->ops.arg);
	fs->reported = false;
}

static void set_point(struct fs *fs, const char *point)
{
	char *copy = point ? strdup(point) : NULL;

	free(fs->point);
	fs->point = copy;
}

static void set_why(struct fs *fs, bool faulty, const char *why)
{
	fs->faulty = faulty;
	snprintf(fs->why, sizeof(fs->why), "%s", why);
}

/* ---- marking ---- */

static bool point_in_dirs(const struct mon_watch *w, const struct mount_entry *e)
{
	for (char **d = w->dirs; *d; d++)
		if (mount_path_below(e->point, *d) || mount_table_resolve(&w->table, *d) == e)
			return true;
	return false;
}

/* Whole mounts before partial ones, those in the watched directories before others. */
static unsigned rank(const struct mon_watch *w, const struct mount_entry *e)
{
	return (mount_whole(e) ? 0U : 2U) + (point_in_dirs(w, e) ? 0U : 1U);
}

static bool usable(const struct mon_watch *w, const struct fs *fs, const struct mount_entry *e)
{
	return is_of(e, fs) && strlen(e->point) < AMP_PATH_MAX && mount_visible(&w->table, e);
}

static int add_candidate(struct mark_order *o, const struct mount_entry *e)
{
	struct mark_candidate *larger = realloc(o->candidates, (o->count + 1) * sizeof(*larger));

	if (!larger)
		return -1;
	o->candidates = larger;
	larger[o->count] = (struct mark_candidate){
		.mount_id = e->id,
		.major = e->major,
		.minor = e->minor,
		.whole = mount_whole(e),
		.point = strdup(e->point),
	};
	if (!larger[o->count].point)
		return -1;
	o->count++;
	return 0;
}

static int add_candidates(const struct mon_watch *w, const struct fs *fs, struct mark_order *o)
{
	for (unsigned r = 0; r < 4; r++)
		for (size_t i = 0; i < w->table.count; i++) {
			const struct mount_entry *e = &w->table.entries[i];

			if (is_of(e, fs) && rank(w, e) == r && usable(w, fs, e) && add_candidate(o, e) < 0)
				return -1;
		}
	return 0;
}

static const struct mount_entry *first_entry(const struct mon_watch *w, const struct fs *fs)
{
	for (size_t i = 0; i < w->table.count; i++)
		if (is_of(&w->table.entries[i], fs))
			return &w->table.entries[i];
	return NULL;
}

/* From 6.5 on a write or exec through an overlay is an event of the layer, with its true name. */
static bool kernel_reports_layers(void)
{
	struct utsname u;
	unsigned major = 0, minor = 0;

	return uname(&u) == 0 && sscanf(u.release, "%u.%u", &major, &minor) == 2 &&
	       (major > 6 || (major == 6 && minor >= 5));
}

static bool layer_in_scope(const struct mon_watch *w, const struct fs *fs, const char *layer)
{
	if (!w->dirs[0])
		return true;
	for (char **s = fs->scope; s && *s; s++)
		if (mount_path_below(layer, *s))
			return true;
	return false;
}

/* Mounts whose file system is marked itself and watched where `layer` is. */
static bool covers(const struct mon_watch *w, const struct mount_entry *e, char *const *layers)
{
	for (const struct fs *fs = w->list; fs; fs = fs->next) {
		if (!is_of(e, fs) || !is_watched(fs) || is_overlay(fs))
			continue;
		for (; *layers; layers++)
			if (**layers == '/' && !layer_in_scope(w, fs, *layers))
				return false;
		return true;
	}
	return false;
}

/*
 * Which layers the child shall look for, and where. A layer named relative to
 * a directory of its maker's (docker, podman) is kept beside the upper one.
 */
static int add_layers(const struct mon_watch *w, const struct fs *fs, struct mark_order *o)
{
	const struct mount_entry *e = first_entry(w, fs);
	bool upper = false;
	size_t kept = 0;

	if (!is_overlay(fs) || fs->by_fd || !e || !kernel_reports_layers())
		return 0;
	o->layers = mount_layers(e, &upper);
	o->covered_by = calloc(w->table.count + 1, sizeof(*o->covered_by));
	if (!o->layers || !o->covered_by)
		return -1;
	for (size_t i = 0; i < w->table.count; i++)
		if (covers(w, &w->table.entries[i], o->layers))
			o->covered_by[o->covered_count++] = w->table.entries[i].id;
	for (size_t i = 0; o->layers[i]; i++)
		if (upper && i > 0 && o->layers[i][0] != '/')
			free(o->layers[i]);
		else
			o->layers[kept++] = o->layers[i];
	o->layers[kept] = NULL;
	if (kept)
		return 0;
	free(o->layers); /* no layer is known: none is covered */
	o->layers = NULL;
	return 0;
}

static void on_marked(struct mark_job *job, const struct mark_result *r, void *arg);

static void job_failed_to_start(struct fs *fs)
{
	set_why(fs, true, "the process that marks could not be started");
	if (!fs->marked)
		report_gone(fs);
}

static void start_job(struct fs *fs)
{
	struct mon_watch *w = fs->watch;
	struct mark_order o = {0};

	fs->wants_job = fs->again = false;
	fs->by_fd |= w->force_fd || (is_overlay(fs) && !kernel_reports_layers());
	o.mask = fs->by_fd ? FD_MASK : HANDLE_MASK;
	o.group = group_of(w, fs->by_fd);
	if (o.group < 0 || add_candidates(w, fs, &o) < 0 || add_layers(w, fs, &o) < 0) {
		mark_order_free(&o);
		job_failed_to_start(fs);
		return;
	}
	fs->job = mark_start(w->base, &o, on_marked, fs);
	if (fs->job)
		w->running++;
	else
		job_failed_to_start(fs);
}

/* Takes fs's mark out of a group; nobody waits for it. */
static void start_removal(struct fs *fs, bool by_fd)
{
	struct mon_watch *w = fs->watch;
	struct mark_order o = {.remove = true, .group = group_of(w, by_fd)};

	o.mask = by_fd ? FD_MASK : HANDLE_MASK;
	if (o.group < 0 || add_candidates(w, fs, &o) < 0) {
		mark_order_free(&o);
		return;
	}
	mark_start(w->base, &o, NULL, NULL);
}

static struct fs *same_fsid(struct fs *fs)
{
	for (struct fs *o = fs->watch->list; o; o = o->next)
		if (o != fs && o->marked && !o->alias && o->fsid == fs->fsid)
			return o;
	return NULL;
}

/* Handles cannot be had: the group of descriptors takes it. */
static bool wants_fd_group(const struct fs *fs, int error)
{
	static const int errors[] = {EOPNOTSUPP, ENODEV, EXDEV, EINVAL};

	for (size_t i = 0; !fs->by_fd && i < sizeof(errors) / sizeof(errors[0]); i++)
		if (error == errors[i])
			return true;
	return false;
}

static void use_fd_group(struct fs *fs, const char *why)
{
	fs->by_fd = true;
	fs->wants_job = true;
	set_why(fs, false, why);
}

static const char *fd_reason(const struct fs *fs)
{
	if (fs->watch->force_fd)
		return "configured: event_source = fd";
	if (fs->alias && !is_overlay(fs))
		return "another file system has the same identifier";
	if (is_overlay(fs))
		return "overlay whose layers are not watched or not reported by this kernel";
	return fs->why[0] ? fs->why : "it has no file handles";
}

/* What of the configured directories is on it. True: it changed; *wider: there is more. */
static bool refresh_scope(struct fs *fs, bool *wider)
{
	struct mon_watch *w = fs->watch;
	const struct mount_entry *home = mount_table_by_id(&w->table, fs->mount_id);
	char **scope = home ? mount_scope(&w->table, home, w->dirs) : NULL;
	size_t size = 0;
	bool changed;

	*wider = false;
	for (char **s = scope; s && *s; s++)
		size += strlen(*s) + 8;
	if (!scope || size > SCOPE_MAX) {
		if (scope)
			amp_warn("too many directories to watch on one file system: all of it is watched");
		mount_strings_free(scope);
		scope = calloc(1, sizeof(*scope));
	}
	if (!scope)
		return false;
	changed = !fs->scope || !mount_strings_equal(scope, fs->scope);
	*wider = changed && fs->scope && fs->scope[0] &&
		 (!scope[0] || !mount_strings_within(scope, fs->scope));
	mount_strings_free(fs->scope);
	fs->scope = scope;
	return changed;
}

static void take_place(struct fs *fs, const struct mark_candidate *c)
{
	fs->mount_id = c->mount_id;
	fs->partial = !c->whole && !fs->subvolume;
	set_point(fs, c->point);
}

static void now_marked(struct fs *fs, const struct mark_candidate *c, uint64_t fsid)
{
	bool fresh = !fs->marked || !fs->reported || fs->fsid != fsid, wider;

	if (fs->fsid != fsid)
		report_gone(fs);
	fs->fsid = fsid;
	fs->marked = true;
	fs->covered = false;
	/* Without an identifier of its own nobody can name it. */
	fs->alias = fsid == 0 || same_fsid(fs);
	if (fs->alias && !fs->by_fd) {
		start_removal(fs, false);
		fs->marked = false;
		use_fd_group(fs, "another file system has the same identifier");
		return;
	}
	take_place(fs, c);
	refresh_scope(fs, &wider);
	set_why(fs, false, "");
	if (fs->by_fd)
		set_why(fs, false, fd_reason(fs));
	report(fs, fresh);
}

static void not_watched(struct fs *fs, bool faulty, const char *why)
{
	report_gone(fs);
	fs->marked = fs->covered = fs->alias = fs->partial = false;
	set_why(fs, faulty, why);
}

static void now_covered(struct fs *fs, const struct mark_candidate *c)
{
	not_watched(fs, false, "its layers are watched");
	take_place(fs, c);
	fs->partial = false;
	fs->covered = true;
}

static void refused(struct fs *fs, const struct mark_candidate *c, int error)
{
	char why[128];

	if (wants_fd_group(fs, error)) {
		use_fd_group(fs, "");
		return;
	}
	snprintf(why, sizeof(why), "the kernel refuses the mark: %s", strerror(error));
	amp_warn("%s (%s) is not watched: %s", c->point, fs->type, why);
	not_watched(fs, true, why);
	take_place(fs, c);
}

/* No path leads to it now. A mark that is there stays and counts. */
static void hidden(struct fs *fs)
{
	fs->mount_id = -1;
	if (!fs->marked) {
		not_watched(fs, false, "hidden under another mount");
		return;
	}
	if (fs->partial && !fs->point)
		return;
	set_point(fs, NULL);
	fs->partial = true;
	report(fs, false);
}

static void on_marked(struct mark_job *job, const struct mark_result *r, void *arg)
{
	struct fs *fs = arg;
	struct mon_watch *w = fs->watch;
	const struct mark_order *o = mark_job_order(job);

	fs->job = NULL;
	w->running--;
	switch ((enum mark_outcome)r->outcome) {
	case MARK_DONE:
		now_marked(fs, &o->candidates[r->candidate], r->fsid);
		break;
	case MARK_COVERED:
		now_covered(fs, &o->candidates[r->candidate]);
		break;
	case MARK_REFUSED:
		refused(fs, &o->candidates[r->candidate], r->error);
		break;
	case MARK_NO_MOUNT:
		hidden(fs);
		break;
	case MARK_SILENT:
		if (!fs->marked)
			not_watched(fs, true, "the mount point does not answer");
		break;
	}
	if (fs->again)
		rescan(w); /* the table changed meanwhile */
	else
		run_jobs(w);
}

/* ---- faults ---- */

static void append_faulty(const struct fs *fs, char *out, size_t size)
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

	for (const struct fs *fs = w->list; fs; fs = fs->next)
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
	for (const struct fs *fs = w->list; fs; fs = fs->next)
		if (!is_overlay(fs) && (fs->wants_job || fs->job))
			return true;
	return false;
}

static bool start_jobs(struct mon_watch *w, bool overlays)
{
	bool waiting = false;

	for (struct fs *fs = w->list; fs; fs = fs->next) {
		if (!fs->wants_job || fs->job || is_overlay(fs) != overlays)
			continue;
		if (w->running >= JOBS_MAX)
			return true;
		start_job(fs);
		waiting |= fs->wants_job;
	}
	return waiting;
}

static void run_jobs(struct mon_watch *w)
{
	start_jobs(w, false);
	if (!jobs_before_overlays(w))
		start_jobs(w, true);
	if (mon_watch_settled(w))
		update_fault(w);
}

bool mon_watch_settled(const struct mon_watch *w)
{
	for (const struct fs *fs = w->list; fs; fs = fs->next)
		if (fs->wants_job || fs->job)
			return false;
	return true;
}

static bool has_mark(const uint32_t *devices, size_t count, const struct fs *fs)
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
	for (struct fs *fs = w->list; fs; fs = fs->next)
		if (fs->marked && fs->by_fd == by_fd && !has_mark(devices, count, fs)) {
			report_gone(fs);
			fs->marked = false;
		}
	free(devices);
}

static void note_entries(struct mon_watch *w)
{
	for (struct fs *fs = w->list; fs; fs = fs->next)
		fs->seen = false;
	for (size_t i = 0; i < w->table.count; i++) {
		const struct mount_entry *e = &w->table.entries[i];
		struct fs *fs = find_fs(w, e);

		if (!fs && kind_of(w, e->type, e->major) != KIND_IGNORED)
			fs = new_fs(w, e);
		if (fs)
			fs->seen = kind_of(w, fs->type, fs->major) != KIND_IGNORED;
	}
}

static void remove_fs(struct fs **link)
{
	struct fs *fs = *link;

	*link = fs->next;
	if (fs->job) {
		mark_abandon(fs->job);
		fs->watch->running--;
	}
	report_gone(fs);
	free_fs(fs);
}

static void sweep(struct mon_watch *w)
{
	struct fs **link = &w->list;

	while (*link)
		if ((*link)->seen)
			link = &(*link)->next;
		else
			remove_fs(link);
}

/* Does the place that was taken still lead to the file system, and is there none better? */
static bool place_holds(const struct mon_watch *w, const struct fs *fs)
{
	const struct mount_entry *e = mount_table_by_id(&w->table, fs->mount_id);

	if (!e || !fs->point || !is_of(e, fs) || strcmp(e->point, fs->point) != 0 ||
	    !mount_visible(&w->table, e))
		return false;
	for (size_t i = 0; fs->partial && i < w->table.count; i++)
		if (mount_whole(&w->table.entries[i]) && usable(w, fs, &w->table.entries[i]))
			return false;
	return true;
}

static bool any_usable(const struct mon_watch *w, const struct fs *fs)
{
	for (size_t i = 0; i < w->table.count; i++)
		if (usable(w, fs, &w->table.entries[i]))
			return true;
	return false;
}

static bool in_scope(const struct mon_watch *w, const struct fs *fs)
{
	bool any;
	char **scope;

	if (!w->dirs[0])
		return true;
	scope = mount_scope(&w->table, first_entry(w, fs), w->dirs);
	any = !scope || scope[0];
	mount_strings_free(scope);
	return any;
}

/* Why it is not to be watched at all; NULL: it is. */
static const char *unwanted(const struct mon_watch *w, const struct fs *fs, bool *faulty)
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

static void leave_out(struct fs *fs, bool faulty, const char *why)
{
	const struct mount_entry *e = first_entry(fs->watch, fs);

	if (fs->job) {
		mark_abandon(fs->job);
		fs->job = NULL;
		fs->watch->running--;
		start_removal(fs, fs->by_fd);
	} else if (fs->marked) {
		start_removal(fs, fs->by_fd);
	}
	fs->wants_job = false;
	not_watched(fs, faulty, why);
	set_point(fs, e ? e->point : NULL);
	fs->mount_id = -1;
}

/* An overlay's options tell it from another one with the same numbers. */
static bool same_overlay(struct fs *fs, const struct mount_entry *e)
{
	if (fs->super && strcmp(fs->super, e->super) == 0)
		return true;
	free(fs->super);
	fs->super = strdup(e->super);
	return false;
}

static bool as_known(const struct mon_watch *w, struct fs *fs)
{
	if (is_overlay(fs) && !same_overlay(fs, first_entry(w, fs)))
		fs->covered = fs->by_fd = false;
	if (fs->alias && fs->fsid && !same_fsid(fs))
		return false; /* the other one is gone: it can be named now */
	return (fs->marked || fs->covered) && place_holds(w, fs);
}

static void check_fs(struct fs *fs)
{
	struct mon_watch *w = fs->watch;
	bool faulty, wider;
	const char *why = unwanted(w, fs, &faulty);

	if (why) {
		leave_out(fs, faulty, why);
	} else if (fs->job) {
		fs->again = true;
	} else if (!as_known(w, fs)) {
		if (!fs->marked && !is_overlay(fs))
			fs->by_fd = false;
		fs->wants_job = any_usable(w, fs);
		if (!fs->wants_job)
			hidden(fs);
	} else if (refresh_scope(fs, &wider) && fs->marked) {
		report(fs, wider);
	}
}

static void settle_in(struct mon_watch *w, long ms)
{
	const struct timeval t = {ms / 1000, (ms % 1000) * 1000};

	if (!event_pending(w->settle, EV_TIMEOUT, NULL))
		event_add(w->settle, &t);
}

static void rescan(struct mon_watch *w)
{
	struct mount_table table;

	if (mount_table_read(&table, w->mountinfo) < 0) {
		amp_error("cannot read /proc/self/mountinfo: %s", strerror(errno));
		settle_in(w, 1000);
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
	for (struct fs *fs = w->list; fs; fs = fs->next)
		check_fs(fs);
	run_jobs(w);
}

static void on_settled(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	rescan(arg);
}

/* The poll that found it readable has taken the news; the read here only tidies up. */
static void on_changed(evutil_socket_t fd, short what, void *arg)
{
	struct epoll_event e;

	(void)what;
	if (epoll_wait(fd, &e, 1, 0) < 0)
		amp_debug("epoll_wait: %s", strerror(errno));
	settle_in(arg, 100);
}

/* ---- life ---- */

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
	const char *own[OWN_DIRS] = {c->log_dir, c->etc_dir, c->cloud_dir, c->run_dir, c->policy_dir};
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

/* The callee of fd_group() has no mon_watch in hand yet: not told here. */
static int make_groups(struct mon_watch *w, char *err, size_t size)
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
	if (take_conf(w, c) < 0 || make_groups(w, err, size) < 0 || open_mountinfo(w, err, size) < 0 ||
	    make_events(w, err, size) < 0) {
		mon_watch_free(w);
		return NULL;
	}
	return w;
}

void mon_watch_start(struct mon_watch *w)
{
	event_add(w->changed, NULL);
	tell_fd_group(w);
	rescan(w);
}

/* Everything is to be marked anew in the group that `force_fd` now says. */
static void switch_source(struct mon_watch *w)
{
	flush_marks(w->group[GROUP_HANDLE]);
	flush_marks(w->group[GROUP_FD]);
	for (struct fs *fs = w->list; fs; fs = fs->next)
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
	for (struct fs *fs = w->list; fs; fs = fs->next)
		fs->covered = false; /* its layers may be watched elsewhere now, or no more */
	if (forced != w->force_fd)
		switch_source(w);
	rescan(w);
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
	int fd;

	if (w->group[GROUP_FD] < 0)
		return 0;
	fd = make_fd_group(w);
	if (fd < 0)
		return -1;
	close(w->group[GROUP_FD]);
	w->group[GROUP_FD] = fd;
	tell_fd_group(w);
	rescan(w); /* finds that no mark is there */
	return 0;
}

void mon_watch_each(const struct mon_watch *w, void (*fn)(const Amp__FileSystem *fs, void *arg), void *arg)
{
	for (const struct fs *fs = w->list; fs; fs = fs->next) {
		Amp__FileSystem wire;
		ProtobufCBinaryData *ways;

		fill(fs, &wire, &ways);
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

bool mon_watch_device(const struct mon_watch *w, uint64_t fsid, unsigned *major, unsigned *minor)
{
	for (const struct fs *fs = w->list; fs; fs = fs->next)
		if (fs->marked && !fs->alias && fs->fsid == fsid) {
			*major = fs->major;
			*minor = fs->minor;
			return true;
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
		struct fs *fs = w->list;

		w->list = fs->next;
		if (fs->job)
			mark_cancel(fs->job);
		free_fs(fs);
	}
	free_events(w);
	for (size_t i = 0; i < sizeof(fds) / sizeof(fds[0]); i++)
		if (fds[i] >= 0)
			close(fds[i]);
	mount_table_free(&w->table);
	free_conf(w);
	free(w);
}
