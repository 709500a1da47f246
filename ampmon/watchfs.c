/*
 * ampmon/watchfs.c - one file system: its place in the host's tree, its mark,
 * what is told of it. Must not own: which ones there are (watchpass.c).
 */
#include "watchfs.h"

#include "clock.h"
#include "log.h"
#include "proto/types.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>

#define HANDLE_MASK (FAN_CLOSE_WRITE | FAN_OPEN_EXEC | FAN_RENAME | FAN_CREATE | FAN_ONDIR)
#define FD_MASK	    (FAN_CLOSE_WRITE | FAN_OPEN_EXEC)
#define SCOPE_MAX   49152U /* bytes of directories in one FileSystem message */

/* ---- one file system ---- */

bool watchfs_is(const struct mount_entry *e, const struct watch_fs *fs)
{
	return e->major == fs->major && e->minor == fs->minor &&
	       (!fs->subvolume || strcmp(e->root, fs->subvolume) == 0);
}

struct watch_fs *watchfs_find(struct mon_watch *w, const struct mount_entry *e)
{
	for (struct watch_fs *fs = w->list; fs; fs = fs->next)
		if (watchfs_is(e, fs) && strcmp(fs->type, e->type) == 0)
			return fs;
	return NULL;
}

void watchfs_free(struct watch_fs *fs)
{
	free(fs->type);
	free(fs->subvolume);
	free(fs->super);
	free(fs->point);
	mount_strings_free(fs->scope);
	free(fs);
}

struct watch_fs *watchfs_new(struct mon_watch *w, const struct mount_entry *e)
{
	struct watch_fs *fs = calloc(1, sizeof(*fs)), **end = &w->list;
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
		watchfs_free(fs);
		return NULL;
	}
	while (*end) /* in the table's order */
		end = &(*end)->next;
	return *end = fs;
}

static bool is_watched(const struct watch_fs *fs)
{
	return fs->marked;
}

static bool is_alias_of(const struct watch_fs *o, const struct watch_fs *fs)
{
	return o == fs || (o->alias && is_watched(o) && !fs->alias && o->fsid == fs->fsid);
}

/*
 * What is to be judged of it: its own directories and, since their events bear its identifier,
 * those of the file systems that have none of their own (before Linux 6.6 an overlay has that
 * of its upper layer). Nothing: all of it.
 */
static void add_scopes(const struct watch_fs *fs, Amp__FileSystem *out, ProtobufCBinaryData **ways)
{
	size_t n = 0;

	*ways = NULL;
	if (!is_watched(fs) || !fs->scope || !fs->scope[0])
		return;
	for (const struct watch_fs *o = fs->watch->list; o; o = o->next)
		for (char **s = is_alias_of(o, fs) ? o->scope : NULL; s && *s; s++)
			n++;
	*ways = calloc(n, sizeof(**ways));
	out->watch = *ways;
	for (const struct watch_fs *o = *ways ? fs->watch->list : NULL; o; o = o->next)
		for (char **s = is_alias_of(o, fs) ? o->scope : NULL; s && *s; s++)
			(*ways)[out->n_watch++] =
				(ProtobufCBinaryData){.len = strlen(*s), .data = (uint8_t *)*s};
}

/* Wire form, valid while fs is as it is. ways: room for the scope. */
void watchfs_fill(const struct watch_fs *fs, Amp__FileSystem *out, ProtobufCBinaryData **ways)
{
	amp__file_system__init(out);
	out->fsid = fs->alias || !is_watched(fs) ? 0 : fs->fsid;
	out->btrfs = fs->btrfs;
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
	add_scopes(fs, out, ways);
}

void watchfs_report(struct watch_fs *fs, bool fresh)
{
	Amp__FileSystem wire;
	ProtobufCBinaryData *ways;

	if (fs->alias) {
		struct watch_fs *twin = watchfs_twin(fs);

		if (twin && twin->reported)
			watchfs_report(twin, false); /* what is judged of it has changed */
		return;
	}
	fs->reported = true;
	watchfs_fill(fs, &wire, &ways);
	fs->watch->ops.filesystem(&wire, fresh, fs->unmarked_ns, fs->watch->ops.arg);
	free(ways);
}

void watchfs_gone(struct watch_fs *fs)
{
	if (fs->reported)
		fs->watch->ops.gone(fs->fsid, fs->watch->ops.arg);
	fs->reported = false;
}

void watchfs_set_point(struct watch_fs *fs, const char *point)
{
	char *copy = point ? strdup(point) : NULL;

	free(fs->point);
	fs->point = copy;
}

static void set_why(struct watch_fs *fs, bool faulty, const char *why)
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

bool watchfs_usable(const struct mon_watch *w, const struct watch_fs *fs, const struct mount_entry *e)
{
	return watchfs_is(e, fs) && strlen(e->point) < AMP_PATH_MAX && mount_visible(&w->table, e);
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

static int add_candidates(const struct mon_watch *w, const struct watch_fs *fs, struct mark_order *o)
{
	for (unsigned r = 0; r < 4; r++)
		for (size_t i = 0; i < w->table.count; i++) {
			const struct mount_entry *e = &w->table.entries[i];

			if (watchfs_is(e, fs) && rank(w, e) == r && watchfs_usable(w, fs, e) &&
			    add_candidate(o, e) < 0)
				return -1;
		}
	return 0;
}

const struct mount_entry *watchfs_entry(const struct mon_watch *w, const struct watch_fs *fs)
{
	for (size_t i = 0; i < w->table.count; i++)
		if (watchfs_is(&w->table.entries[i], fs))
			return &w->table.entries[i];
	return NULL;
}

/* From 6.5 on. */
bool watchfs_kernel_reports_layers(void)
{
	struct utsname u;
	unsigned major = 0, minor = 0;

	return uname(&u) == 0 && sscanf(u.release, "%u.%u", &major, &minor) == 2 &&
	       (major > 6 || (major == 6 && minor >= 5));
}

static bool layer_in_scope(const struct mon_watch *w, const struct watch_fs *fs, const char *layer)
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
	for (const struct watch_fs *fs = w->list; fs; fs = fs->next) {
		if (!watchfs_is(e, fs) || !is_watched(fs) || watchfs_overlay(fs))
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
static int add_layers(const struct mon_watch *w, const struct watch_fs *fs, struct mark_order *o)
{
	const struct mount_entry *e = watchfs_entry(w, fs);
	bool upper = false;
	size_t kept = 0;

	if (!watchfs_overlay(fs) || fs->by_fd || !e || !watchfs_kernel_reports_layers())
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

static void job_failed_to_start(struct watch_fs *fs)
{
	set_why(fs, true, "the process that marks could not be started");
	if (!fs->marked)
		watchfs_gone(fs);
}

void watchfs_mark(struct watch_fs *fs)
{
	struct mon_watch *w = fs->watch;
	struct mark_order o = {0};

	fs->wants_job = fs->again = false;
	fs->by_fd |= w->force_fd || (watchfs_overlay(fs) && !watchfs_kernel_reports_layers());
	o.by_handle = !fs->by_fd;
	o.mask = fs->by_fd ? FD_MASK : HANDLE_MASK;
	o.group = watch_group(w, fs->by_fd);
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
void watchfs_unmark(struct watch_fs *fs, bool by_fd)
{
	struct mon_watch *w = fs->watch;
	struct mark_order o = {.remove = true, .group = watch_group(w, by_fd)};

	o.mask = by_fd ? FD_MASK : HANDLE_MASK;
	if (o.group < 0 || add_candidates(w, fs, &o) < 0) {
		mark_order_free(&o);
		return;
	}
	mark_start(w->base, &o, NULL, NULL);
}

struct watch_fs *watchfs_twin(struct watch_fs *fs)
{
	for (struct watch_fs *o = fs->watch->list; o; o = o->next)
		if (o != fs && o->marked && !o->alias && o->fsid == fs->fsid)
			return o;
	return NULL;
}

/* Handles cannot be had, and why: the group of descriptors takes it. NULL: that would not help. */
static const char *fd_group_helps(const struct watch_fs *fs, int error)
{
	static const struct {
		int error;
		const char *why;
	} errors[] = {
		{EOPNOTSUPP, "it has no file handles, or none that last"},
		{ENODEV, "it has no identifier"},
		{EXDEV, "a subvolume with an identifier of its own"},
		{EINVAL, "this kernel gives no handles of it"},
	};

	for (size_t i = 0; !fs->by_fd && i < sizeof(errors) / sizeof(errors[0]); i++)
		if (error == errors[i].error)
			return errors[i].why;
	return NULL;
}

static void use_fd_group(struct watch_fs *fs, const char *why)
{
	fs->by_fd = true;
	fs->fd_why = why;
	fs->wants_job = true;
}

static const char *fd_reason(const struct watch_fs *fs)
{
	if (fs->watch->force_fd)
		return "configured: event_source = fd";
	if (fs->alias && !watchfs_overlay(fs))
		return "another file system has the same identifier";
	if (watchfs_overlay(fs))
		return "overlay whose layers are not watched or not reported by this kernel";
	return fs->fd_why ? fs->fd_why : "it has no file handles";
}

/* What of the configured directories is on it. True: it changed; *wider: there is more. */
bool watchfs_refresh_scope(struct watch_fs *fs, bool *wider)
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

static void take_place(struct watch_fs *fs, const struct mark_candidate *c)
{
	fs->mount_id = c->mount_id;
	fs->partial = !c->whole && !fs->subvolume;
	watchfs_set_point(fs, c->point);
}

static void now_marked(struct watch_fs *fs, const struct mark_candidate *c, const struct mark_result *r)
{
	bool fresh = !fs->marked || !fs->reported || fs->fsid != r->fsid, wider;

	if (fs->fsid != r->fsid)
		watchfs_gone(fs);
	fs->fsid = r->fsid;
	fs->btrfs = r->btrfs;
	fs->marked = true;
	fs->covered = false;
	/* Without an identifier of its own nobody can name it. */
	fs->alias = watchfs_twin(fs);
	if (fs->alias && !fs->by_fd) {
		watchfs_unmark(fs, false);
		fs->marked = false;
		use_fd_group(fs, "another file system has the same identifier");
		return;
	}
	take_place(fs, c);
	watchfs_refresh_scope(fs, &wider);
	set_why(fs, false, fs->by_fd ? fd_reason(fs) : "");
	watchfs_report(fs, fresh);
	fs->unmarked_ns = 0;
}

void watchfs_not_watched(struct watch_fs *fs, bool faulty, const char *why)
{
	watchfs_gone(fs);
	if (fs->marked)
		fs->unmarked_ns = amp_clock_realtime();
	fs->marked = fs->covered = fs->alias = fs->partial = false;
	set_why(fs, faulty, why);
}

static void now_covered(struct watch_fs *fs, const struct mark_candidate *c)
{
	watchfs_not_watched(fs, false, "its layers are watched");
	take_place(fs, c);
	fs->partial = false;
	fs->covered = true;
	fs->unmarked_ns = 0;
}

static void refused(struct watch_fs *fs, const struct mark_candidate *c, int error)
{
	const char *fd_why = fd_group_helps(fs, error);
	char why[128];

	if (fd_why) {
		use_fd_group(fs, fd_why);
		return;
	}
	snprintf(why, sizeof(why), "the kernel refuses the mark: %s", strerror(error));
	amp_warn("%s (%s) is not watched: %s", c->point, fs->type, why);
	watchfs_not_watched(fs, true, why);
	take_place(fs, c);
}

/* No path leads to it now. A mark that is there stays and counts. */
void watchfs_hidden(struct watch_fs *fs)
{
	fs->mount_id = -1;
	if (!fs->marked) {
		watchfs_not_watched(fs, false, "hidden under another mount");
		return;
	}
	if (fs->partial && !fs->point)
		return;
	watchfs_set_point(fs, NULL);
	fs->partial = true;
	watchfs_report(fs, false);
}

static void on_marked(struct mark_job *job, const struct mark_result *r, void *arg)
{
	struct watch_fs *fs = arg;
	struct mon_watch *w = fs->watch;
	const struct mark_order *o = mark_job_order(job);

	fs->job = NULL;
	w->running--;
	switch ((enum mark_outcome)r->outcome) {
	case MARK_DONE:
		now_marked(fs, &o->candidates[r->candidate], r);
		break;
	case MARK_COVERED:
		now_covered(fs, &o->candidates[r->candidate]);
		break;
	case MARK_REFUSED:
		refused(fs, &o->candidates[r->candidate], r->error);
		break;
	case MARK_NO_MOUNT:
		watchfs_hidden(fs);
		break;
	case MARK_SILENT:
		if (!fs->marked)
			watchfs_not_watched(fs, true, "the mount point does not answer");
		break;
	}
	if (fs->again)
		watch_pass(w); /* the table changed meanwhile */
	else
		watch_jobs(w);
}
