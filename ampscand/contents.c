/*
 * ampscand/contents.c - see contents.h.
 */
#include "contents.h"

#include "clock.h"
#include "fileid.h"

#include <stdlib.h>
#include <string.h>

#define HOLD_NS	    (60 * AMP_NS_PER_SEC)
#define HOLD_MAX_NS (24 * 3600 * AMP_NS_PER_SEC)

/* The keyed hash of file ids: whoever makes files cannot fill one chain. */
uint64_t contents_hash(const uint8_t sha256[AMP_SHA256_SIZE])
{
	struct amp_fileid id = {.handle = {.size = AMP_SHA256_SIZE}};

	memcpy(id.handle.bytes, sha256, AMP_SHA256_SIZE);
	return amp_fileid_hash(&id);
}

static bool equal(const struct cache_node *node, const void *key)
{
	return memcmp(((const struct content *)node)->sha256, key, AMP_SHA256_SIZE) == 0;
}

static void evict(struct cache_node *node, void *arg)
{
	struct content *c = (struct content *)node;

	(void)arg;
	free(c->name);
	free(c);
}

int contents_init(struct contents *c, size_t max)
{
	return cache_init(&c->cache, max, max, equal, evict, NULL);
}

void contents_free(struct contents *c)
{
	cache_free(&c->cache);
}

static struct content *find(struct contents *c, const uint8_t *sha256)
{
	return (struct content *)cache_find(&c->cache, contents_hash(sha256), sha256);
}

const struct content *contents_find(struct contents *c, const uint8_t sha256[AMP_SHA256_SIZE],
				    uint64_t generation)
{
	const struct content *e = find(c, sha256);
	bool stays = e && e->result == CONTENT_INFECTED && !e->doubted;
	bool over = e && e->result == CONTENT_UNSCANNABLE && amp_clock_monotonic() >= e->until_ns;

	return stays || (e && e->generation == generation && !over) ? e : NULL;
}

static void hold(struct content *e, const struct content *old)
{
	int64_t ns = HOLD_NS;

	e->failures = old && old->result == CONTENT_UNSCANNABLE ? old->failures + 1 : 1;
	for (unsigned i = 1; i < e->failures && ns < HOLD_MAX_NS; i++)
		ns *= 2;
	e->until_ns = amp_clock_monotonic() + (ns < HOLD_MAX_NS ? ns : HOLD_MAX_NS);
}

const struct content *contents_store(struct contents *c, const uint8_t sha256[AMP_SHA256_SIZE],
				     enum content_result result, uint64_t generation, uint64_t worker,
				     const char *name)
{
	struct content *old = find(c, sha256), *e = calloc(1, sizeof(*e));
	char *copy = name ? strdup(name) : NULL;

	if (!e || (name && !copy)) {
		free(e);
		free(copy);
		return NULL;
	}
	if (result == CONTENT_UNSCANNABLE)
		hold(e, old);
	if (old) {
		cache_remove(&c->cache, &old->node);
		evict(&old->node, NULL);
	}
	memcpy(e->sha256, sha256, AMP_SHA256_SIZE);
	e->result = result;
	e->generation = generation;
	e->worker = worker;
	e->name = copy;
	cache_insert(&c->cache, &e->node, contents_hash(sha256));
	return e;
}

void contents_doubt(struct contents *c, const uint8_t sha256[AMP_SHA256_SIZE])
{
	struct content *e = find(c, sha256);

	if (e)
		e->doubted = true;
}

bool contents_tell(struct contents *c, const uint8_t sha256[AMP_SHA256_SIZE])
{
	struct content *e = find(c, sha256);

	if (e && e->told)
		return false;
	if (e)
		e->told = true;
	return true;
}

static bool is_void_with(const struct content *e, uint64_t worker)
{
	return e->worker == worker && (e->result == CONTENT_CLEAN || e->result == CONTENT_PARTIAL);
}

bool contents_rests_on(struct contents *c, const uint8_t sha256[AMP_SHA256_SIZE], uint64_t worker)
{
	const struct content *e = find(c, sha256);

	return e && is_void_with(e, worker);
}

size_t contents_void(struct contents *c, uint64_t worker)
{
	size_t n = 0;

	for (struct cache_node *at = c->cache.newest; at;) {
		struct cache_node *older = at->older;

		if (is_void_with((const struct content *)at, worker)) {
			cache_remove(&c->cache, at);
			evict(at, NULL);
			n++;
		}
		at = older;
	}
	return n;
}
