/*
 * ampscand/ampread/walk.c - the walk of one file system (see walk.h).
 */
#include "walk.h"

#include "clock.h"
#include "listing.h"
#include "names.h"
#include "walkstack.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define STACK_BYTES  ((size_t)64 * 1024 * 1024)
#define CHILDREN     16384U
#define CHILDREN_FEW 256U
#define FILES_BYTES  ((size_t)4 * 1024 * 1024) /* of names listed at once */
#define DIRS_BYTES   ((size_t)512 * 1024)
#define SLICE	     1024U /* of subdirectories in a step */
#define SNAPSHOTS    4U	   /* in memory at once */
#define DEPTH_MAX    2048U /* by names; deeper has no path of PATH_MAX anyway */
#define NAME_SIZE    1024U /* vfat has names of 765 bytes */
#define MOUNT_AGE_NS AMP_NS_PER_SEC

enum phase {
	LIST, /* the directory in hand */
	TELL, /* its files, those that were listed */
	PUSH, /* its subdirectories, those that were listed */
};

struct amp_walk {
	uint64_t fsid;
	char *mount_point;
	struct amp_handle from; /* size 0: the root */
	int64_t since_ns;
	bool begun, over;
	bool names_permitted, by_names;
	char error[96];
	uint64_t seen, unreadable, too_deep;
	uint32_t dev_major, dev_minor;

	struct amp_walk_stack stack;
	uint32_t children_limit;
	uint16_t depth_limit; /* at most DEPTH_MAX */

	int mount_fd;
	int64_t mount_since;
	int dir_fd;
	uint32_t dir; /* frame of the directory in hand; AMP_WALK_NO_FRAME: there is none */
	enum phase phase;
	struct amp_names files, directories;
	uint32_t children; /* pushed in this visit */
	bool named;	   /* batch.path is that of dir_fd */
	uint64_t snapshot_max, archive_max;
	bool reading; /* `file`, the entry after the last of the batch */
	struct amp_walk_file file;
	struct amp_walk_batch batch;
	struct amp_listing listing;
};

static void frame_handle(const struct amp_walk *w, uint32_t position, struct amp_handle *h)
{
	struct amp_walk_frame f;

	memset(h, 0, sizeof(*h));
	f = amp_walk_stack_get(&w->stack, position, h->bytes);
	h->type = f.type;
	h->size = f.size;
}

static uint32_t frame_name(const struct amp_walk *w, uint32_t position, char name[NAME_SIZE])
{
	struct amp_walk_frame f = amp_walk_stack_get(&w->stack, position, name);

	name[f.size] = '\0';
	return f.parent;
}

static int push_handle(struct amp_walk *w, const struct amp_handle *h)
{
	struct amp_walk_frame f = {.type = h->type, .size = (uint16_t)h->size};

	return amp_walk_stack_push(&w->stack, f, h->bytes);
}

/* A child of the directory in hand. */
static int push_name(struct amp_walk *w, const char *name)
{
	struct amp_walk_frame f = {.parent = w->dir};
	size_t n = strlen(name);

	f.depth = (uint16_t)(amp_walk_stack_get(&w->stack, w->dir, NULL).depth + 1);
	if (f.depth > w->depth_limit || n >= NAME_SIZE)
		return -1;
	f.size = (uint16_t)n;
	return amp_walk_stack_push(&w->stack, f, name);
}

struct amp_walk *amp_walk_new(uint64_t fsid, const void *mount_point, size_t length,
			      const struct amp_handle *top, int64_t since_ns)
{
	struct amp_walk *w = calloc(1, sizeof(*w));

	if (!w)
		return NULL;
	w->mount_point = strndup(mount_point, length);
	if (!w->mount_point) {
		free(w);
		return NULL;
	}
	w->fsid = fsid;
	if (top)
		w->from = *top;
	w->since_ns = since_ns;
	amp_walk_stack_init(&w->stack, STACK_BYTES);
	w->children_limit = CHILDREN;
	w->depth_limit = DEPTH_MAX;
	w->mount_fd = -1;
	w->dir_fd = -1;
	w->dir = AMP_WALK_NO_FRAME;
	w->listing.regular_only = true;
	return w;
}

void amp_walk_by_names(struct amp_walk *w)
{
	w->names_permitted = true;
}

void amp_walk_keep(struct amp_walk *w, uint64_t snapshot_max, uint64_t archive_max)
{
	w->snapshot_max = snapshot_max;
	w->archive_max = archive_max;
}

void amp_walk_set_limits(struct amp_walk *w, size_t stack_bytes, uint32_t children)
{
	w->stack.limit = stack_bytes;
	w->children_limit = children;
}

void amp_walk_set_depth(struct amp_walk *w, uint16_t depth)
{
	w->depth_limit = depth;
}

static void dir_close(struct amp_walk *w)
{
	if (w->dir_fd >= 0)
		close(w->dir_fd);
	w->dir_fd = -1;
	w->named = false;
	amp_listing_interrupted(&w->listing);
}

void amp_walk_rest(struct amp_walk *w)
{
	dir_close(w);
	if (w->mount_fd >= 0)
		close(w->mount_fd);
	w->mount_fd = -1;
}

void amp_walk_give_up(struct amp_walk *w)
{
	amp_walk_rest(w);
	if (w->reading)
		amp_walk_file_end(&w->file);
	w->reading = false;
	w->over = true;
}

void amp_walk_free(struct amp_walk *w)
{
	if (!w)
		return;
	amp_walk_give_up(w);
	amp_walk_batch_clear(w);
	amp_walk_stack_free(&w->stack);
	amp_names_free(&w->files);
	amp_names_free(&w->directories);
	free(w->mount_point);
	free(w);
}

/* The walk ends here for this reason. */
static bool fail(struct amp_walk *w, const char *what, int error)
{
	if (error)
		snprintf(w->error, sizeof(w->error), "%s: %s", what, strerror(error));
	else
		snprintf(w->error, sizeof(w->error), "%s", what);
	w->over = true;
	amp_walk_rest(w);
	return true;
}

static bool mount_is_old(const struct amp_walk *w)
{
	return amp_clock_monotonic() - w->mount_since >= MOUNT_AGE_NS;
}

/* The file system's own directory fd, made anew each second: a lazy umount
 * must not leave us in a tree that the host has no more. 0, or -1: failed. */
static int mount_open(struct amp_walk *w)
{
	if (w->mount_fd >= 0 && !mount_is_old(w))
		return 0;
	if (w->mount_fd >= 0)
		close(w->mount_fd);
	w->mount_fd = amp_open_mount(w->mount_point, w->fsid);
	w->mount_since = amp_clock_monotonic();
	if (w->mount_fd >= 0)
		return 0;
	fail(w, "file system is gone", errno == ENODEV ? 0 : errno);
	return -1;
}

/* Where the walk begins, onto the stack. NULL, or why not (errno 0: that is all). */
static const char *push_first(struct amp_walk *w)
{
	static const struct amp_walk_frame root = {.parent = AMP_WALK_NO_FRAME};
	struct amp_handle h = w->from;
	int rc;

	if (h.size == 0 && amp_handle_at(w->mount_fd, "", AT_EMPTY_PATH, &h, NULL) < 0) {
		if (errno != EOPNOTSUPP)
			return "the root has no handle";
		errno = 0;
		if (!w->names_permitted)
			return "file system has no file handles";
		w->by_names = true;
	}
	rc = w->by_names ? amp_walk_stack_push(&w->stack, root, "") : push_handle(w, &h);
	errno = 0;
	return rc < 0 ? "no memory" : NULL;
}

static bool begin(struct amp_walk *w)
{
	struct amp_identity id;
	const char *why;

	w->begun = true;
	if (mount_open(w) < 0)
		return false;
	if (amp_statx_identity(w->mount_fd, "", AT_EMPTY_PATH, &id) < 0)
		return !fail(w, "the root cannot be looked at", errno);
	w->dev_major = id.dev_major;
	w->dev_minor = id.dev_minor;
	why = push_first(w);
	return !why || !fail(w, why, errno);
}

/*
 * True if something is mounted on the entry: what a mount covers has no name,
 * what is mounted is walked by its own. The device alone does not tell: a
 * btrfs subvolume or an overlay's file has another one in the same mount.
 */
static bool elsewhere(const struct amp_walk *w, const struct statx *sx)
{
	if (sx->stx_attributes_mask & STATX_ATTR_MOUNT_ROOT)
		return (sx->stx_attributes & STATX_ATTR_MOUNT_ROOT) != 0;
	return sx->stx_dev_major != w->dev_major || sx->stx_dev_minor != w->dev_minor;
}

/* statx(2) that follows no link and waits for nobody. */
static int look_at(int dirfd, const char *name, int flags, struct statx *sx)
{
	return statx(dirfd, name, flags | AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | AT_STATX_DONT_SYNC,
		     STATX_BASIC_STATS, sx);
}

/* The directory `name` in at, if nothing is mounted on it. fd, or -1 and errno. */
static int step_down(const struct amp_walk *w, int at, const char *name)
{
	int fd = openat(at, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	struct statx sx;

	if (fd < 0 || (look_at(fd, "", AT_EMPTY_PATH, &sx) == 0 && !elsewhere(w, &sx)))
		return fd;
	close(fd);
	errno = ESTALE;
	return -1;
}

/* The directory of a frame by names, from the mount point down: no link is
 * followed and no mount entered, whatever was changed meanwhile. */
static int open_by_names(const struct amp_walk *w, uint32_t position)
{
	uint32_t chain[DEPTH_MAX];
	unsigned n = 0;
	int at = w->mount_fd, fd;

	for (struct amp_walk_frame f = amp_walk_stack_get(&w->stack, position, NULL);
	     f.parent != AMP_WALK_NO_FRAME; f = amp_walk_stack_get(&w->stack, position, NULL)) {
		chain[n++] = position;
		position = f.parent;
	}
	while (n > 0 && at >= 0) {
		char name[NAME_SIZE];

		frame_name(w, chain[--n], name);
		fd = step_down(w, at, name);
		if (at != w->mount_fd)
			close(at);
		at = fd;
	}
	if (at < 0)
		return -1;
	fd = amp_open_at(at, ".", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_NONBLOCK);
	if (at != w->mount_fd)
		close(at);
	return fd;
}

static int open_by_handle(const struct amp_walk *w, uint32_t position)
{
	struct amp_handle h;

	frame_handle(w, position, &h);
	return amp_open_handle(w->mount_fd, &h, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_NONBLOCK);
}

/* The directory is out of hand: for its subdirectories, or for good. */
static void dir_leave(struct amp_walk *w)
{
	dir_close(w);
	amp_names_free(&w->files);
	amp_names_free(&w->directories);
	w->dir = AMP_WALK_NO_FRAME;
}

static void dir_over(struct amp_walk *w)
{
	amp_walk_stack_read(&w->stack, w->dir);
	dir_leave(w);
}

/* A directory that could not be read at all, or no further. */
static void dir_give_up(struct amp_walk *w, int error)
{
	if (error != ENOENT && error != ESTALE)
		w->unreadable++;
	dir_over(w);
}

/* Its names are to be listed: of files (from behind a name on), of subdirectories, or of both. */
static int begin_listing(struct amp_walk *w, bool files, const char *from, bool directories,
			 const char *after)
{
	if (files && amp_names_begin(&w->files, FILES_BYTES, from, false) < 0)
		return -1;
	if (directories && amp_names_begin(&w->directories, DIRS_BYTES, after, false) < 0)
		return -1;
	amp_listing_begin(&w->listing, files ? &w->files : NULL, directories ? &w->directories : NULL);
	w->phase = LIST;
	return 0;
}

/* The directory on top of the stack is in hand. False: there is none, or not this one. */
static bool dir_take(struct amp_walk *w)
{
	struct amp_walk_frame f;

	while (w->stack.top != AMP_WALK_NO_FRAME && amp_walk_stack_get(&w->stack, w->stack.top, NULL).read)
		amp_walk_stack_pop(&w->stack);
	if (w->stack.top == AMP_WALK_NO_FRAME) {
		w->over = true;
		amp_walk_rest(w);
		return false;
	}
	w->dir = w->stack.top;
	w->children = 0;
	f = amp_walk_stack_get(&w->stack, w->dir, NULL);
	/* Taken up again after some of its subdirectories: its files were told the first time. */
	if (begin_listing(w, !f.after, NULL, true, f.after) == 0)
		return true;
	dir_give_up(w, ENOMEM);
	return false;
}

/* Opens the directory in hand. False: there is none, or not this one. */
static bool dir_open(struct amp_walk *w)
{
	if (w->dir == AMP_WALK_NO_FRAME && !dir_take(w))
		return false;
	if (mount_open(w) < 0)
		return false;
	w->dir_fd = w->by_names ? open_by_names(w, w->dir) : open_by_handle(w, w->dir);
	if (w->dir_fd >= 0)
		return true;
	dir_give_up(w, errno);
	return false;
}

/* Host path of the directory in hand, once a visit, when an entry needs it. */
static void name_directory(struct amp_walk *w)
{
	struct amp_walk_batch *b = &w->batch;

	if (w->named)
		return;
	w->named = true;
	if (!w->by_names)
		frame_handle(w, w->dir, &b->directory);
	if (amp_open_path(w->dir_fd, w->mount_point, b->path, &b->path_length) !=
	    AMP__READ_RESULT__STATUS__OK)
		b->path_length = 0;
	b->bytes = b->path_length; /* the first entry: a batch is of one directory */
}

/* What cannot be looked at any more has gone; anything else is counted. */
static void entry_failed(struct amp_walk *w)
{
	if (errno != ENOENT && errno != ESTALE)
		w->unreadable++;
}

/* The entry that was made ready, with its handle, is one of the batch. */
static void entry_added(struct amp_walk *w)
{
	struct amp_walk_batch *b = &w->batch;
	const struct amp_walk_entry *e = &b->entries[b->count];

	b->bytes += AMP_WALK_ENTRY_BYTES + b->directory.size + e->file.size + e->name_length;
	b->snapshots += e->has_snapshot;
	b->count++;
}

/* What was read becomes an entry; what could not be read too, so that it is told. */
static void file_over(struct amp_walk *w)
{
	struct amp_walk_entry *e = &w->batch.entries[w->batch.count];
	const struct amp_read_outcome *out = &w->file.out;

	w->reading = false;
	if (out->status == AMP__READ_RESULT__STATUS__GONE ||
	    out->status == AMP__READ_RESULT__STATUS__NOT_REGULAR)
		return;
	w->unreadable += !out->has_sha;
	if (w->file.handle.size == 0)
		return;
	amp_walk_entry_read(e, &w->file);
	entry_added(w);
}

/* A turn of the file in hand. A large one leaves no directory open meanwhile,
 * and many small ones not for long. */
static void file_go_on(struct amp_walk *w)
{
	bool over = amp_walk_file_step(&w->file);

	if (over)
		file_over(w);
	if (!over || mount_is_old(w))
		amp_walk_rest(w);
}

static void add_file(struct amp_walk *w, const char *name, const struct statx *sx)
{
	struct amp_walk_batch *b = &w->batch;
	struct amp_walk_entry *e = &b->entries[b->count];

	amp_identity_from_statx(sx, &e->identity);
	if (w->since_ns > 0 && e->identity.ctime_ns < w->since_ns)
		return;
	if (!w->by_names && amp_handle_at(w->dir_fd, name, 0, &e->file, NULL) < 0) {
		entry_failed(w);
		return;
	}
	name_directory(w);
	amp_walk_entry_name(e, name);
	if (!w->by_names) {
		entry_added(w);
		return;
	}
	w->reading = amp_walk_file_begin(&w->file, w->dir_fd, name);
	if (w->reading)
		amp_hash_keep(&w->file.hash, w->snapshot_max, w->archive_max);
	else
		file_over(w);
}

static void add_directory(struct amp_walk *w, const char *name)
{
	struct amp_handle h;

	if (!w->by_names && amp_handle_at(w->dir_fd, name, 0, &h, NULL) < 0) {
		entry_failed(w);
		return;
	}
	if ((w->by_names ? push_name(w, name) : push_handle(w, &h)) < 0)
		w->too_deep++;
	else
		w->children++;
}

static void consider(struct amp_walk *w, const char *name)
{
	struct statx sx;

	w->seen++;
	if (look_at(w->dir_fd, name, 0, &sx) < 0) {
		entry_failed(w);
		return;
	}
	if (elsewhere(w, &sx))
		return;
	/* It need not be what it was when it was listed. */
	if (S_ISREG(sx.stx_mode))
		add_file(w, name, &sx);
	else if (S_ISDIR(sx.stx_mode) && w->phase == PUSH)
		add_directory(w, name);
	else if (S_ISDIR(sx.stx_mode) && amp_names_add(&w->directories, name) < 0)
		w->too_deep++;
}

/* Room for one more entry of any size in the batch. */
static bool batch_full(const struct amp_walk_batch *b, uint32_t budget)
{
	return b->count >= budget || b->count >= AMP_WALK_BATCH || b->snapshots >= SNAPSHOTS ||
	       b->bytes + AMP_WALK_ENTRY_MAX > AMP_WALK_BATCH_BYTES;
}

static void list(struct amp_walk *w)
{
	int rc = amp_listing_step(&w->listing, w->dir_fd);

	if (rc > 0)
		return;
	w->seen += w->listing.files && !w->files.from ? w->listing.left : 0;
	if (rc < 0)
		entry_failed(w);
	w->phase = w->listing.files ? TELL : PUSH;
}

/* All files that were listed are told: are there others? */
static void told(struct amp_walk *w)
{
	const char *last = amp_names_last(&w->files);

	if (!w->files.more) {
		amp_names_end(&w->directories); /* some may have come */
		w->phase = PUSH;
	} else if (begin_listing(w, true, last, false, NULL) < 0) {
		dir_give_up(w, ENOMEM);
	}
}

static void tell(struct amp_walk *w, uint32_t budget)
{
	while (w->phase == TELL && w->dir_fd >= 0 && !w->reading && !batch_full(&w->batch, budget)) {
		const char *name = amp_names_next(&w->files);

		if (name)
			consider(w, name);
		else
			told(w);
	}
}

/* Children wait on the stack, so a wide directory is left and taken up again after
 * them, sooner when the stack is half full. It is listed again each time: after fewer
 * at once the time for all would grow with their square. */
static bool children_enough(const struct amp_walk *w)
{
	size_t left = w->stack.limit > w->stack.size ? w->stack.limit - w->stack.size : 0;
	uint32_t limit = w->children_limit;

	if (left < w->stack.limit / 2 && limit > CHILDREN_FEW)
		limit = CHILDREN_FEW;
	return w->children >= limit;
}

/* Those behind the last one that was pushed are listed when it is taken up again. */
static void dir_later(struct amp_walk *w)
{
	if (amp_walk_stack_after(&w->stack, w->dir, amp_names_last(&w->directories)) < 0)
		dir_give_up(w, ENOMEM);
	else
		dir_leave(w);
}

static void push(struct amp_walk *w, uint32_t budget)
{
	for (unsigned n = 0; n < SLICE && !children_enough(w) && !w->reading; n++) {
		const char *name = amp_names_next(&w->directories);

		if (name) {
			consider(w, name);
			if (batch_full(&w->batch, budget))
				return;
		} else if (w->directories.more) {
			dir_later(w);
			return;
		} else {
			dir_over(w);
			return;
		}
	}
	if (children_enough(w))
		dir_later(w);
}

bool amp_walk_step(struct amp_walk *w, uint32_t budget)
{
	if (w->over || (!w->begun && !begin(w)))
		return true;
	if (w->reading)
		file_go_on(w);
	else if (w->dir_fd < 0 && !dir_open(w))
		return w->over || w->batch.count > 0;
	else if (w->phase == LIST)
		list(w);
	else if (w->phase == TELL)
		tell(w, budget);
	else
		push(w, budget);
	if (w->reading)
		return false;
	if (batch_full(&w->batch, budget))
		return true;
	/* A batch is of one directory: it goes when the directory does. */
	return w->dir_fd < 0 && w->batch.count > 0;
}

struct amp_walk_batch *amp_walk_batch(struct amp_walk *w)
{
	return &w->batch;
}

void amp_walk_entry_read(struct amp_walk_entry *e, const struct amp_walk_file *f)
{
	const struct amp_read_outcome *out = &f->out;

	e->file = f->handle;
	e->identity = out->identity;
	e->has_sha = out->has_sha;
	e->script = out->script;
	e->archive = out->archive;
	e->has_snapshot = out->has_snapshot;
	e->snapshot = out->snapshot;
	memcpy(e->sha, out->sha, sizeof(e->sha));
}

/* vfat has names above NAME_MAX bytes. */
void amp_walk_entry_name(struct amp_walk_entry *e, const char *name)
{
	e->name_length = strnlen(name, AMP_NAME_MAX);
	memcpy(e->name, name, e->name_length);
	e->name[e->name_length] = '\0';
}

void amp_walk_entry_clear(struct amp_walk_entry *e)
{
	if (e->has_snapshot)
		close(e->snapshot);
	e->has_snapshot = false;
}

void amp_walk_batch_clear(struct amp_walk *w)
{
	for (uint32_t i = 0; i < w->batch.count; i++)
		amp_walk_entry_clear(&w->batch.entries[i]);
	w->batch.count = w->batch.snapshots = 0;
	w->batch.bytes = w->named ? w->batch.path_length : 0;
}

bool amp_walk_over(const struct amp_walk *w)
{
	return w->over;
}

void amp_walk_totals(const struct amp_walk *w, struct amp_walk_totals *t)
{
	t->seen = w->seen;
	t->unreadable = w->unreadable;
	t->too_deep = w->too_deep;
	t->error = w->error[0] ? w->error : NULL;
}
