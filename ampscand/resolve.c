/*
 * ampscand/resolve.c - the host paths of events: directory and name.
 *
 * Owns: what was asked of ampread about directories and who waits for it.
 * Must not own: the cache (filesystems.c).
 */
#include "scand.h"

#include "counter.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct resolve {
	struct cache_node node;
	struct resolve *next; /* while not asked */
	uint32_t generation;  /* of the file system's paths when it was asked */
	struct amp_fileid id;
	struct job **waiting;
	size_t count, capacity;
};

static struct amp_counter count_unresolved = AMP_COUNTER("paths.unresolved", false);

static void set_path(struct occurrence *o, const char *dir, bool unresolved)
{
	size_t n = strlen(dir);
	bool slash = o->name_size && !(n && dir[n - 1] == '/');

	free(o->path);
	o->path = malloc(n + 1 + o->name_size + 1);
	if (!o->path)
		return;
	memcpy(o->path, dir, n);
	if (slash)
		o->path[n++] = '/';
	memcpy(o->path + n, o->name, o->name_size);
	o->path[n + o->name_size] = '\0';
	o->path_unresolved = unresolved;
}

static void set_unresolved(struct scand *s, struct occurrence *o)
{
	(void)s;
	amp_counter_add(&count_unresolved, 1);
	/* Of a running program the link's text is shown: it is only display. */
	if ((o->cause & CAUSE_RUNNING) && o->who && o->who->exe_size)
		set_path(o, o->who->exe, true);
	else
		set_path(o, "", true);
}

void resolve_known(struct scand *s, struct occurrence *o, const char *directory)
{
	if (directory)
		set_path(o, directory, false);
	else
		set_unresolved(s, o);
}

static int wait_for(struct resolve *r, struct job *j)
{
	for (size_t i = 0; i < r->count; i++)
		if (r->waiting[i] == j)
			return 0;
	if (r->count == r->capacity) {
		size_t n = r->capacity ? r->capacity * 2 : 8;
		struct job **more = reallocarray(r->waiting, n, sizeof(*more));

		if (!more)
			return -1;
		r->waiting = more;
		r->capacity = n;
	}
	r->waiting[r->count++] = j;
	j->resolving++;
	return 0;
}

static bool resolve_equal(const struct cache_node *node, const void *key)
{
	return amp_fileid_equal(&((const struct resolve *)node)->id, key);
}

static void resolve_evict(struct cache_node *node, void *arg)
{
	struct resolve *r = (struct resolve *)node;

	(void)arg;
	free(r->waiting);
	free(r);
}

int resolve_init(struct scand *s)
{
	return cache_init(&s->resolves, 1024, 0, resolve_equal, resolve_evict, NULL);
}

void resolve_again(struct scand *s, struct resolve *r)
{
	r->next = NULL;
	if (s->unasked_last)
		s->unasked_last->next = r;
	else
		s->unasked = r;
	s->unasked_last = r;
	scand_pump_later(s);
}

static struct resolve *start(struct scand *s, const struct amp_fileid *dir)
{
	struct resolve *r = calloc(1, sizeof(*r));

	if (!r)
		return NULL;
	fileid_copy(&r->id, dir);
	cache_insert(&s->resolves, &r->node, amp_fileid_hash(dir));
	resolve_again(s, r);
	return r;
}

int resolve_fd(const struct scand *s, int fd, char path[RESOLVE_PATH])
{
	char link[32];
	ssize_t n;

	snprintf(link, sizeof(link), "self/fd/%d", fd);
	n = readlinkat(s->proc, link, path, RESOLVE_PATH - 1);
	if (n <= 0 || path[0] != '/')
		return -1;
	path[n] = '\0';
	return 0;
}

static int path_of_fd(struct scand *s, struct occurrence *o)
{
	char path[RESOLVE_PATH];

	if (resolve_fd(s, o->fd, path) != 0)
		return -1;
	o->name_size = 0;
	set_path(o, path, false);
	return 0;
}

bool resolve_path(struct occurrence *o)
{
	struct job *j = o->job;
	struct scand *s = j->scand;
	struct filesystem *fs = filesystems_find(&s->filesystems, j->id->fsid);
	const char *dir;
	struct resolve *r;

	if (o->fd >= 0) {
		if (path_of_fd(s, o) != 0)
			set_unresolved(s, o);
		return true;
	}
	if (!o->directory || amp_handle_is_stand_in(&o->directory->handle) || !fs || !fs->mount_point[0]) {
		set_unresolved(s, o);
		return true;
	}
	dir = o->cause & CAUSE_RUNNING ? NULL : directories_find(&s->filesystems, o->directory);
	if (dir) {
		set_path(o, dir, false);
		return true;
	}
	r = (struct resolve *)cache_find(&s->resolves, amp_fileid_hash(o->directory), o->directory);
	if (!r)
		r = start(s, o->directory);
	if (!r || wait_for(r, j) != 0) {
		set_unresolved(s, o);
		return true;
	}
	return false;
}

/* The occurrences of j that waited for this directory get its path. */
static void deliver(struct scand *s, struct job *j, const struct amp_fileid *dir, const char *path)
{
	for (struct occurrence *o = j->first; o; o = o->next) {
		if (o->path || !o->directory || !amp_fileid_equal(o->directory, dir))
			continue;
		resolve_known(s, o, path);
	}
}

void resolve_done(struct scand *s, struct resolve *r, const Amp__ReadResult *res)
{
	struct filesystem *fs = filesystems_find(&s->filesystems, r->id.fsid);
	char *path = NULL;

	cache_remove(&s->resolves, &r->node);
	if (res->status == AMP__READ_RESULT__STATUS__OK)
		path = strndup((const char *)res->path.data, res->path.len);
	/* A file's own path is not cached: its renames do not empty the cache. */
	if (path && fs && fs->generation == r->generation && !job_find(s, &r->id))
		directories_store(&s->filesystems, &r->id, path);
	for (size_t i = 0; i < r->count; i++) {
		r->waiting[i]->resolving--;
		deliver(s, r->waiting[i], &r->id, path);
	}
	for (size_t i = 0; i < r->count; i++)
		if (r->waiting[i]->resolving == 0)
			job_advance(r->waiting[i]);
	free(path);
	resolve_evict(&r->node, NULL);
}

void resolve_forget(struct scand *s, struct job *j)
{
	for (struct cache_node *n = s->resolves.newest; n && j->resolving; n = n->older) {
		struct resolve *r = (struct resolve *)n;

		for (size_t i = 0; i < r->count; i++) {
			if (r->waiting[i] != j)
				continue;
			r->waiting[i] = r->waiting[--r->count];
			j->resolving--;
			break;
		}
	}
}

void resolve_pump(struct scand *s)
{
	while (s->unasked && readers_have_room(s)) {
		struct resolve *r = s->unasked;
		struct filesystem *fs = filesystems_find(&s->filesystems, r->id.fsid);
		Amp__ReadResult gone = AMP__READ_RESULT__INIT;
		int reader;

		s->unasked = r->next;
		if (!s->unasked)
			s->unasked_last = NULL;
		gone.status = AMP__READ_RESULT__STATUS__GONE;
		if (!fs || !fs->mount_point[0]) { /* unmounted, or hidden since it was asked for */
			resolve_done(s, r, &gone);
			continue;
		}
		r->generation = fs->generation;
		if (readers_ask(s, r, AMP__READ_ITEM__WANT__DIRECTORY_PATH, fs, &r->id, 0, -1, &reader) !=
		    0) {
			resolve_again(s, r);
			return;
		}
	}
}

void resolve_free(struct scand *s)
{
	cache_free(&s->resolves);
	s->unasked = s->unasked_last = NULL;
}
