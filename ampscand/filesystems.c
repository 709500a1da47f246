/*
 * ampscand/filesystems.c - see filesystems.h.
 */
#include "filesystems.h"

#include "proto/types.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#define DIRECTORIES_MAX 8192
#define VISITED_MAX	16U

struct directory {
	struct cache_node node;
	struct amp_fileid *id; /* behind the struct */
	char *path;	       /* behind the id */
};

static bool equal(const struct cache_node *node, const void *key)
{
	return amp_fileid_equal(((const struct directory *)node)->id, key);
}

static void evict(struct cache_node *node, void *arg)
{
	(void)arg;
	free(node);
}

int filesystems_init(struct filesystems *t)
{
	memset(t, 0, sizeof(*t));
	return cache_init(&t->directories, DIRECTORIES_MAX, DIRECTORIES_MAX, equal, evict, NULL);
}

static void release(struct filesystem *fs)
{
	for (size_t i = 0; i < fs->watch_count; i++)
		free(fs->watch[i]);
	free(fs->watch);
	free(fs->mount_point);
	free(fs);
}

void filesystems_free(struct filesystems *t)
{
	while (t->first) {
		struct filesystem *fs = t->first;

		t->first = fs->next;
		release(fs);
	}
	cache_free(&t->directories);
}

static char *path_of_wire(const ProtobufCBinaryData *b)
{
	if (b->len >= AMP_PATH_MAX || (b->len && (b->data[0] != '/' || memchr(b->data, 0, b->len))))
		return NULL;
	return strndup(b->len ? (const char *)b->data : "", b->len);
}

/* Not tmpfs (a store through a mapping may change no time there), nor what has no change time of its own. */
static bool times_tell(const char *type)
{
	static const char *const names[] = {"ext2", "ext3", "ext4",	"xfs",	 "btrfs",
					    "f2fs", "zfs",  "bcachefs", "nilfs2"};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (strcmp(type, names[i]) == 0)
			return true;
	return false;
}

static struct filesystem *from_wire(const Amp__FileSystem *w)
{
	struct filesystem *fs = calloc(1, sizeof(*fs));

	if (!fs)
		return NULL;
	fs->fsid = w->fsid;
	fs->btrfs = w->btrfs;
	fs->dev_major = w->dev_major;
	fs->dev_minor = w->dev_minor;
	fs->how = w->how;
	fs->partial = w->partial;
	fs->times_tell = times_tell(w->type);
	fs->mount_point = path_of_wire(&w->mount_point);
	fs->watch = calloc(w->n_watch + 1, sizeof(*fs->watch));
	while (fs->watch && fs->watch_count < w->n_watch) {
		fs->watch[fs->watch_count] = path_of_wire(&w->watch[fs->watch_count]);
		if (!fs->watch[fs->watch_count])
			break;
		fs->watch_count++;
	}
	if (fs->mount_point && fs->watch && fs->watch_count == w->n_watch)
		return fs;
	release(fs);
	errno = EBADMSG;
	return NULL;
}

int filesystems_set(struct filesystems *t, const Amp__FileSystem *wire)
{
	struct filesystem *old = filesystems_find(t, wire->fsid);
	struct filesystem *fs = from_wire(wire);

	if (!fs)
		return -1;
	if (!old && t->count >= FILESYSTEMS_MAX) {
		release(fs);
		errno = EBADMSG;
		return -1;
	}
	fs->generation = old ? old->generation + 1 : 1;
	fs->unread_since_ns = old ? old->unread_since_ns : 0;
	filesystems_remove(t, wire->fsid);
	fs->next = t->first;
	t->first = fs;
	t->count++;
	return 0;
}

/* The one that was visited first of too many goes. */
static void forget_visited(struct filesystems *t)
{
	const struct filesystem *first = NULL;
	unsigned n = 0;

	for (const struct filesystem *fs = t->first; fs; fs = fs->next) {
		n += fs->visited;
		if (fs->visited)
			first = fs; /* the list has the newest first */
	}
	if (n >= VISITED_MAX)
		filesystems_remove(t, first->fsid);
}

void filesystems_visit(struct filesystems *t, uint64_t fsid, const char *directory)
{
	struct filesystem *fs = filesystems_find(t, fsid);
	char *path;

	if (fs && (!fs->visited || strcmp(fs->mount_point, directory) == 0))
		return;
	path = strdup(directory);
	if (fs && path) {
		free(fs->mount_point);
		fs->mount_point = path;
		return;
	}
	forget_visited(t);
	fs = path && t->count < FILESYSTEMS_MAX ? calloc(1, sizeof(*fs)) : NULL;
	if (!fs) {
		free(path);
		return;
	}
	fs->fsid = fsid;
	fs->dev_major = fs->dev_minor = UINT_MAX;
	fs->how = AMP__FILE_SYSTEM__HOW__NOT_WATCHED;
	fs->visited = true;
	fs->mount_point = path;
	fs->next = t->first;
	t->first = fs;
	t->count++;
}

void filesystems_remove(struct filesystems *t, uint64_t fsid)
{
	for (struct filesystem **p = &t->first; *p; p = &(*p)->next) {
		struct filesystem *fs = *p;

		if (fs->fsid != fsid)
			continue;
		*p = fs->next;
		t->count--;
		release(fs);
		break;
	}
	directories_flush(t, fsid);
}

struct filesystem *filesystems_find(struct filesystems *t, uint64_t fsid)
{
	struct filesystem *fs = t->first;

	while (fs && fs->fsid != fsid)
		fs = fs->next;
	return fs;
}

struct filesystem *filesystems_by_device(struct filesystems *t, unsigned major, unsigned minor)
{
	struct filesystem *fs = t->first;

	while (fs && !(fs->dev_major == major && fs->dev_minor == minor))
		fs = fs->next;
	return fs;
}

bool path_below(const char *path, const char *dir)
{
	size_t n = strlen(dir);

	while (n > 1 && dir[n - 1] == '/')
		n--;
	if (n == 1 && dir[0] == '/')
		return path[0] == '/';
	return strncmp(path, dir, n) == 0 && (path[n] == '\0' || path[n] == '/');
}

struct filesystem *filesystems_of(struct filesystems *t, const struct amp_fileid *id, const char *path)
{
	struct filesystem *best = filesystems_find(t, id->fsid);
	uint64_t btrfs = amp_fsid_of_btrfs(id->fsid, &id->handle);
	size_t longest = 0;

	if (best || !btrfs)
		return best;
	for (struct filesystem *fs = t->first; fs; fs = fs->next) {
		size_t n = strlen(fs->mount_point);

		if (fs->btrfs != btrfs)
			continue;
		if (!best || (path && n > longest && path_below(path, fs->mount_point))) {
			best = fs;
			longest = path && path_below(path, fs->mount_point) ? n : 0;
		}
	}
	return best;
}

bool filesystem_in_scope(const struct filesystem *fs, const char *path)
{
	if (fs->how == AMP__FILE_SYSTEM__HOW__NOT_WATCHED)
		return false;
	for (size_t i = 0; i < fs->watch_count; i++)
		if (path_below(path, fs->watch[i]))
			return true;
	return fs->watch_count == 0;
}

const char *directories_find(struct filesystems *t, const struct amp_fileid *dir)
{
	struct cache_node *n = cache_find(&t->directories, amp_fileid_hash(dir), dir);

	return n ? ((struct directory *)n)->path : NULL;
}

void directories_store(struct filesystems *t, const struct amp_fileid *dir, const char *path)
{
	size_t id = offsetof(struct amp_fileid, handle.bytes) + dir->handle.size;
	struct cache_node *old = cache_find(&t->directories, amp_fileid_hash(dir), dir);
	struct directory *d;

	if (old) {
		cache_remove(&t->directories, old);
		free(old);
	}
	d = calloc(1, sizeof(*d) + id + strlen(path) + 1);
	if (!d)
		return;
	d->id = (struct amp_fileid *)(d + 1);
	memcpy(d->id, dir, id);
	d->path = (char *)d->id + id;
	memcpy(d->path, path, strlen(path) + 1);
	cache_insert(&t->directories, &d->node, amp_fileid_hash(dir));
}

void directories_flush(struct filesystems *t, uint64_t fsid)
{
	struct filesystem *fs = filesystems_find(t, fsid);
	struct cache_node *n = t->directories.newest;

	if (fs)
		fs->generation++;
	while (n) {
		struct cache_node *older = n->older;

		if (((struct directory *)n)->id->fsid == fsid) {
			cache_remove(&t->directories, n);
			free(n);
		}
		n = older;
	}
}
