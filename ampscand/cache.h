/*
 * ampscand/cache.h - an intrusive hash table with least-recently-used order.
 *
 * Owns: chains, order, the bound. Must not own: the entries (evict frees
 * them) or their keys (equal compares them). Hashes are keyed per process
 * (amp_fileid_hash), so nobody outside can build a long chain.
 */
#ifndef AMPSCAND_CACHE_H
#define AMPSCAND_CACHE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct cache_node {
	struct cache_node *chain;
	struct cache_node *newer, *older;
	uint64_t hash;
};

struct cache {
	struct cache_node **buckets;
	size_t bucket_count; /* a power of two */
	size_t count, max;   /* max 0: no bound */
	struct cache_node *newest, *oldest;
	bool (*equal)(const struct cache_node *node, const void *key);
	void (*evict)(struct cache_node *node, void *arg); /* it is already out */
	void *arg;
};

/* 0, or -1 ENOMEM. buckets: rounded up to a power of two. */
int cache_init(struct cache *c, size_t buckets, size_t max,
	       bool (*equal)(const struct cache_node *, const void *),
	       void (*evict)(struct cache_node *, void *), void *arg);
void cache_clear(struct cache *c); /* evicts all */
void cache_free(struct cache *c);

/* Found entries become the newest. */
struct cache_node *cache_find(struct cache *c, uint64_t hash, const void *key);
/* The key must not be in it. Over the bound, the oldest is evicted. */
void cache_insert(struct cache *c, struct cache_node *node, uint64_t hash);
void cache_remove(struct cache *c, struct cache_node *node); /* evict is not called */

#endif
