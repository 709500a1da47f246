/*
 * ampscand/ampread/walk.c - the walk of one file system (see walk.h).
 */
#include "walk.h"

#include "clock.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define STACK_BYTES  ((size_t)64 * 1024 * 1024)
#define CHILDREN     4096U
#define BUFFER	     ((size_t)32 * 1024)
#define BATCH_BYTES  (AMP_MSG_MAX - 1024U)
#define ENTRY_BYTES  160U /* of a WalkEntry without handles and name, at most */
#define MOUNT_AGE_NS AMP_NS_PER_SEC

/* A directory on the stack; its handle's bytes follow. */
struct frame {
	int64_t offset; /* where to read on, as lseek(2) takes it */
	uint32_t below; /* position of the frame beneath */
	int32_t type;
	uint8_t size;
	uint8_t read; /* read to its end; goes when it is on top again */
};

#define NO_FRAME UINT32_MAX

struct amp_walk {
	uint64_t fsid;
	char *mount_point;
	struct amp_handle from; /* size 0: the root */
	int64_t since_ns;
	bool begun, over;
	char error[96];
	uint64_t seen, unreadable, too_deep;
	uint32_t dev_major, dev_minor;

	uint8_t *stack;
	size_t stack_size, stack_room, stack_limit;
	uint32_t top; /* position of the highest frame */
	uint32_t children_limit;

	int mount_fd;
	int64_t mount_since;
	int dir_fd;
	uint32_t dir;	   /* frame of dir_fd */
	uint32_t children; /* pushed in this visit */
	bool named;	   /* batch.path is that of dir_fd */
	size_t at, length; /* in buffer */
	struct amp_walk_batch batch;
	_Alignas(struct dirent64) uint8_t buffer[BUFFER];
};

/* The stack. Frames are of different length, so they are copied in and out. */

static struct frame frame_at(const struct amp_walk *w, uint32_t position)
{
	struct frame f;

	memcpy(&f, w->stack + position, sizeof(f));
	return f;
}

static void frame_set(struct amp_walk *w, uint32_t position, int64_t offset, bool read)
{
	struct frame f = frame_at(w, position);

	f.offset = offset;
	f.read = read;
	memcpy(w->stack + position, &f, sizeof(f));
}

static void frame_handle(const struct amp_walk *w, uint32_t position, struct amp_handle *h)
{
	struct frame f = frame_at(w, position);

	memset(h, 0, sizeof(*h));
	h->type = f.type;
	h->size = f.size;
	memcpy(h->bytes, w->stack + position + sizeof(f), f.size);
}

static int stack_grow(struct amp_walk *w, size_t need)
{
	size_t room = w->stack_room ? w->stack_room * 2 : 4096;
	uint8_t *bigger;

	if (need > w->stack_limit)
		return -1;
	while (room < need)
		room *= 2;
	bigger = realloc(w->stack, room);
	if (!bigger)
		return -1;
	w->stack = bigger;
	w->stack_room = room;
	return 0;
}

static int frame_push(struct amp_walk *w, const struct amp_handle *h)
{
	struct frame f = {.below = w->top, .type = h->type, .size = (uint8_t)h->size};
	size_t need = w->stack_size + sizeof(f) + h->size;

	if ((need > w->stack_room || need > w->stack_limit) && stack_grow(w, need) < 0)
		return -1;
	memcpy(w->stack + w->stack_size, &f, sizeof(f));
	memcpy(w->stack + w->stack_size + sizeof(f), h->bytes, h->size);
	w->top = (uint32_t)w->stack_size;
	w->stack_size = need;
	return 0;
}

static void frame_pop(struct amp_walk *w)
{
	struct frame f = frame_at(w, w->top);

	w->stack_size = w->top;
	w->top = f.below;
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
	w->stack_limit = STACK_BYTES;
	w->children_limit = CHILDREN;
	w->top = NO_FRAME;
	w->mount_fd = -1;
	w->dir_fd = -1;
	return w;
}

void amp_walk_set_limits(struct amp_walk *w, size_t stack_bytes, uint32_t children)
{
	w->stack_limit = stack_bytes;
	w->children_limit = children;
}

static void dir_close(struct amp_walk *w)
{
	if (w->dir_fd >= 0)
		close(w->dir_fd);
	w->dir_fd = -1;
	w->at = 0;
	w->length = 0;
	w->named = false;
}

void amp_walk_rest(struct amp_walk *w)
{
	dir_close(w);
	if (w->mount_fd >= 0)
		close(w->mount_fd);
	w->mount_fd = -1;
}

void amp_walk_free(struct amp_walk *w)
{
	if (!w)
		return;
	amp_walk_rest(w);
	free(w->stack);
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

/* The file system's own directory fd, made anew each second: a lazy umount
 * must not leave us in a tree that the host has no more. 0, or -1: failed. */
static int mount_open(struct amp_walk *w)
{
	int64_t now = amp_clock_monotonic();

	if (w->mount_fd >= 0 && now - w->mount_since < MOUNT_AGE_NS)
		return 0;
	if (w->mount_fd >= 0)
		close(w->mount_fd);
	w->mount_fd = amp_open_mount(w->mount_point, w->fsid);
	w->mount_since = now;
	if (w->mount_fd >= 0)
		return 0;
	fail(w, "file system is gone", errno == ENODEV ? 0 : errno);
	return -1;
}

static bool begin(struct amp_walk *w)
{
	struct amp_handle root;
	struct amp_identity id;

	w->begun = true;
	if (mount_open(w) < 0)
		return false;
	if (amp_statx_identity(w->mount_fd, "", AT_EMPTY_PATH, &id) < 0)
		return !fail(w, "the root cannot be looked at", errno);
	w->dev_major = id.dev_major;
	w->dev_minor = id.dev_minor;
	if (w->from.size > 0)
		root = w->from;
	else if (amp_handle_at(w->mount_fd, "", AT_EMPTY_PATH, &root, NULL) < 0)
		return !fail(
			w, errno == EOPNOTSUPP ? "file system has no file handles" : "the root has no handle",
			errno == EOPNOTSUPP ? 0 : errno);
	if (frame_push(w, &root) < 0)
		return !fail(w, "no memory", 0);
	return true;
}

/* A directory that could not be read at all, or no further. */
static void dir_give_up(struct amp_walk *w, int error)
{
	if (error != ENOENT && error != ESTALE)
		w->unreadable++;
	frame_set(w, w->dir, 0, true);
	dir_close(w);
}

/* Opens the directory on top of the stack. False: there is none, or not this one. */
static bool dir_next(struct amp_walk *w)
{
	struct amp_handle h;
	struct frame f;

	while (w->top != NO_FRAME && frame_at(w, w->top).read)
		frame_pop(w);
	if (w->top == NO_FRAME) {
		w->over = true;
		amp_walk_rest(w);
		return false;
	}
	if (mount_open(w) < 0)
		return false;
	w->dir = w->top;
	w->children = 0;
	f = frame_at(w, w->dir);
	frame_handle(w, w->dir, &h);
	w->dir_fd = amp_open_handle(w->mount_fd, &h, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_NONBLOCK);
	if (w->dir_fd < 0 || (f.offset != 0 && lseek(w->dir_fd, f.offset, SEEK_SET) < 0)) {
		dir_give_up(w, errno);
		return false;
	}
	return true;
}

/* The next buffer of entries. False: the directory is at its end, or failed. */
static bool dir_fill(struct amp_walk *w)
{
	ssize_t n = getdents64(w->dir_fd, w->buffer, BUFFER);

	w->at = 0;
	w->length = n > 0 ? (size_t)n : 0;
	if (n > 0)
		return true;
	dir_give_up(w, n == 0 ? ENOENT : errno);
	return false;
}

/* Host path of the directory in hand, once a visit, when an entry needs it. */
static void name_directory(struct amp_walk *w)
{
	struct amp_walk_batch *b = &w->batch;

	if (w->named)
		return;
	w->named = true;
	frame_handle(w, w->dir, &b->directory);
	if (amp_open_path(w->dir_fd, w->mount_point, b->path, &b->path_length) !=
	    AMP__READ_RESULT__STATUS__OK)
		b->path_length = 0;
	b->bytes += b->path_length;
}

static void add_file(struct amp_walk *w, const char *name, const struct statx *sx)
{
	struct amp_walk_batch *b = &w->batch;
	struct amp_walk_entry *e = &b->entries[b->count];

	amp_identity_from_statx(sx, &e->identity);
	if (w->since_ns > 0 && e->identity.ctime_ns < w->since_ns)
		return;
	if (amp_handle_at(w->dir_fd, name, 0, &e->file, NULL) < 0) {
		if (errno != ENOENT && errno != ESTALE)
			w->unreadable++;
		return;
	}
	name_directory(w);
	/* vfat has names above NAME_MAX bytes: cut for display, the file is named by its handle. */
	e->name_length = strnlen(name, AMP_NAME_MAX);
	memcpy(e->name, name, e->name_length);
	e->name[e->name_length] = '\0';
	b->bytes += ENTRY_BYTES + b->directory.size + e->file.size + e->name_length;
	b->count++;
}

static void add_directory(struct amp_walk *w, const char *name)
{
	struct amp_handle h;

	if (amp_handle_at(w->dir_fd, name, 0, &h, NULL) < 0) {
		if (errno != ENOENT && errno != ESTALE)
			w->unreadable++;
		return;
	}
	if (frame_push(w, &h) < 0)
		w->too_deep++;
	else
		w->children++;
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

static void consider(struct amp_walk *w, const struct dirent64 *d)
{
	struct statx sx;

	if (strcmp(d->d_name, ".") == 0 || strcmp(d->d_name, "..") == 0)
		return;
	w->seen++;
	if (d->d_type != DT_REG && d->d_type != DT_DIR && d->d_type != DT_UNKNOWN)
		return;
	if (statx(w->dir_fd, d->d_name, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | AT_STATX_DONT_SYNC,
		  STATX_BASIC_STATS, &sx) < 0) {
		if (errno != ENOENT && errno != ESTALE)
			w->unreadable++;
		return;
	}
	if (elsewhere(w, &sx))
		return;
	if (S_ISDIR(sx.stx_mode))
		add_directory(w, d->d_name);
	else if (S_ISREG(sx.stx_mode))
		add_file(w, d->d_name, &sx);
}

/* Room for one more entry of any size in the batch. */
static bool batch_full(const struct amp_walk_batch *b, uint32_t budget)
{
	return b->count >= budget || b->count >= AMP_WALK_BATCH ||
	       b->bytes + ENTRY_BYTES + 2 * AMP_FILE_HANDLE_MAX + AMP_NAME_MAX > BATCH_BYTES;
}

/* Children wait on the stack, so a wide directory is left and taken up again
 * after them; when the stack is half full, after each one. */
static bool children_enough(const struct amp_walk *w)
{
	uint32_t limit = w->stack_size > w->stack_limit / 2 ? 1 : w->children_limit;

	return w->children >= limit;
}

/* Goes through the buffer until it is empty, the batch full or the children enough. */
static void dir_consume(struct amp_walk *w, uint32_t budget)
{
	while (w->at < w->length && !batch_full(&w->batch, budget)) {
		const struct dirent64 *d = (const struct dirent64 *)(const void *)(w->buffer + w->at);

		w->at += d->d_reclen;
		consider(w, d);
		frame_set(w, w->dir, d->d_off, false);
		if (children_enough(w)) {
			dir_close(w);
			return;
		}
	}
}

bool amp_walk_step(struct amp_walk *w, uint32_t budget)
{
	if (w->over || (!w->begun && !begin(w)))
		return true;
	if (w->dir_fd < 0 && !dir_next(w))
		return w->over || w->batch.count > 0;
	if (w->at < w->length || dir_fill(w))
		dir_consume(w, budget);
	if (batch_full(&w->batch, budget))
		return true;
	/* A batch is of one directory: it goes when the directory does. */
	return w->dir_fd < 0 && w->batch.count > 0;
}

struct amp_walk_batch *amp_walk_batch(struct amp_walk *w)
{
	return &w->batch;
}

void amp_walk_batch_clear(struct amp_walk *w)
{
	w->batch.count = 0;
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
