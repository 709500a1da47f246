/*
 * ampscand/verdicts.c - see verdicts.h.
 */
#include "verdicts.h"

#include "clock.h"

#include <stdlib.h>
#include <string.h>

/* Above the tick of file times (2 s on FAT, 1 s on ext2, on ext4 with inodes of 128 bytes), and any delay of
 * an answer. */
#define RACY_NS (3 * AMP_NS_PER_SEC)

static size_t id_size(const struct amp_fileid *id)
{
	return offsetof(struct amp_fileid, handle.bytes) + id->handle.size;
}

static bool equal(const struct cache_node *node, const void *key)
{
	return amp_fileid_equal(((const struct verdict *)node)->id, key);
}

static void evict(struct cache_node *node, void *arg)
{
	(void)arg;
	free(node);
}

int verdicts_init(struct verdicts *v, size_t max)
{
	return cache_init(&v->cache, max, max, equal, evict, NULL);
}

void verdicts_free(struct verdicts *v)
{
	cache_free(&v->cache);
}

const struct verdict *verdicts_find(struct verdicts *v, const struct amp_fileid *id)
{
	return (const struct verdict *)cache_find(&v->cache, amp_fileid_hash(id), id);
}

void verdicts_remove(struct verdicts *v, const struct amp_fileid *id)
{
	struct cache_node *n = cache_find(&v->cache, amp_fileid_hash(id), id);

	if (!n)
		return;
	cache_remove(&v->cache, n);
	free(n);
}

static struct verdict *find_content(struct verdicts *v, const struct amp_fileid *id,
				    const uint8_t sha256[AMP_SHA256_SIZE])
{
	struct verdict *e = (struct verdict *)cache_find(&v->cache, amp_fileid_hash(id), id);

	return e && memcmp(e->sha256, sha256, AMP_SHA256_SIZE) == 0 ? e : NULL;
}

void verdicts_mark(struct verdicts *v, const struct amp_fileid *id, const uint8_t sha256[AMP_SHA256_SIZE],
		   enum verdict_mark mark)
{
	struct verdict *e = find_content(v, id, sha256);

	if (e)
		e->marks |= mark;
}

bool verdicts_marked(struct verdicts *v, const struct amp_fileid *id, const uint8_t sha256[AMP_SHA256_SIZE],
		     enum verdict_mark mark)
{
	const struct verdict *e = find_content(v, id, sha256);

	return e && (e->marks & mark);
}

void verdicts_store(struct verdicts *v, const struct amp_fileid *id, const struct amp_identity *identity,
		    const uint8_t sha256[AMP_SHA256_SIZE], bool script, bool archive, uint64_t epoch)
{
	unsigned marks = verdicts_marked(v, id, sha256, VERDICT_AUDITED) ? VERDICT_AUDITED : 0;
	struct verdict *e;

	verdicts_remove(v, id);
	/* Handles are short (8 to 16 bytes on most), so only as much is kept. */
	e = calloc(1, sizeof(*e) + id_size(id));
	if (!e)
		return;
	e->id = (struct amp_fileid *)(e + 1);
	memcpy(e->id, id, id_size(id));
	e->identity = *identity;
	memcpy(e->sha256, sha256, AMP_SHA256_SIZE);
	e->script = script;
	e->archive = archive;
	e->marks = marks;
	e->racy = amp_clock_realtime() - identity->ctime_ns < RACY_NS;
	e->epoch = epoch;
	cache_insert(&v->cache, &e->node, amp_fileid_hash(id));
}

void verdicts_forget(struct verdicts *v, uint64_t fsid)
{
	for (struct cache_node *n = v->cache.newest; n;) {
		struct cache_node *older = n->older;

		if (((struct verdict *)n)->id->fsid == fsid) {
			cache_remove(&v->cache, n);
			free(n);
		}
		n = older;
	}
}

void verdicts_clear(struct verdicts *v)
{
	cache_clear(&v->cache);
}
