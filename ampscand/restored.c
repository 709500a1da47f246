/*
 * ampscand/restored.c - see restored.h.
 *
 * The hashes come from whoever restores files, so a table's chains are those
 * of a keyed hash (amp_fileid_hash), not of the first bytes.
 */
#include "restored.h"

#include "cache.h"
#include "fileid.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define BUCKETS 16384U

struct entry {
	struct cache_node node;
	uint8_t sha256[AMP_SHA256_SIZE];
};

struct restored {
	struct cache now;
	struct cache next; /* a list that is not whole yet; buckets NULL: none */
};

static bool equal(const struct cache_node *node, const void *key)
{
	return memcmp(((const struct entry *)node)->sha256, key, AMP_SHA256_SIZE) == 0;
}

static void evict(struct cache_node *node, void *arg)
{
	(void)arg;
	free(node);
}

static uint64_t hash_of(const uint8_t *sha256)
{
	struct amp_fileid id = {.fsid = 0, .handle = {.type = 0, .size = AMP_SHA256_SIZE}};

	memcpy(id.handle.bytes, sha256, AMP_SHA256_SIZE);
	return amp_fileid_hash(&id);
}

static int table_init(struct cache *c)
{
	return cache_init(c, BUCKETS, 0, equal, evict, NULL);
}

struct restored *restored_new(void)
{
	struct restored *r = calloc(1, sizeof(*r));

	if (r && table_init(&r->now) != 0) {
		free(r);
		return NULL;
	}
	return r;
}

static void table_free(struct cache *c)
{
	if (c->buckets)
		cache_free(c);
	memset(c, 0, sizeof(*c));
}

void restored_free(struct restored *r)
{
	if (!r)
		return;
	table_free(&r->now);
	table_free(&r->next);
	free(r);
}

int restored_begin(struct restored *r)
{
	table_free(&r->next);
	return table_init(&r->next);
}

void restored_end(struct restored *r)
{
	if (!r->next.buckets)
		return;
	table_free(&r->now);
	r->now = r->next;
	memset(&r->next, 0, sizeof(r->next));
}

static struct cache_node *find(const struct cache *c, uint64_t hash, const uint8_t *sha256)
{
	struct cache_node *n = c->buckets ? c->buckets[hash & (c->bucket_count - 1)] : NULL;

	while (n && !(n->hash == hash && equal(n, sha256)))
		n = n->chain;
	return n;
}

static int put(struct cache *c, uint64_t hash, const uint8_t *sha256)
{
	struct entry *e;

	if (find(c, hash, sha256))
		return 0;
	if (c->count >= RESTORED_MAX) {
		errno = ENOSPC;
		return -1;
	}
	e = calloc(1, sizeof(*e));
	if (!e)
		return -1;
	memcpy(e->sha256, sha256, AMP_SHA256_SIZE);
	cache_insert(c, &e->node, hash);
	return 0;
}

int restored_add(struct restored *r, const uint8_t sha256[AMP_SHA256_SIZE])
{
	uint64_t hash = hash_of(sha256);

	if (r->next.buckets && put(&r->next, hash, sha256) != 0)
		return -1;
	return put(&r->now, hash, sha256);
}

static bool take_out(struct cache *c, uint64_t hash, const uint8_t *sha256)
{
	struct cache_node *n = find(c, hash, sha256);

	if (!n)
		return false;
	cache_remove(c, n);
	free(n);
	return true;
}

bool restored_remove(struct restored *r, const uint8_t sha256[AMP_SHA256_SIZE])
{
	uint64_t hash = hash_of(sha256);

	take_out(&r->next, hash, sha256);
	return take_out(&r->now, hash, sha256);
}

bool restored_has(const struct restored *r, const uint8_t sha256[AMP_SHA256_SIZE])
{
	return r->now.count > 0 && find(&r->now, hash_of(sha256), sha256) != NULL;
}

size_t restored_count(const struct restored *r)
{
	return r->now.count;
}
