/*
 * ampscand/cache.c - see cache.h.
 */
#include "cache.h"

#include <stdlib.h>

int cache_init(struct cache *c, size_t buckets, size_t max,
	       bool (*equal)(const struct cache_node *, const void *),
	       void (*evict)(struct cache_node *, void *), void *arg)
{
	size_t n = 16;

	while (n < buckets)
		n *= 2;
	*c = (struct cache){.bucket_count = n, .max = max, .equal = equal, .evict = evict, .arg = arg};
	c->buckets = calloc(n, sizeof(struct cache_node *));
	return c->buckets ? 0 : -1;
}

static void order_remove(struct cache *c, struct cache_node *n)
{
	if (n->newer)
		n->newer->older = n->older;
	else
		c->newest = n->older;
	if (n->older)
		n->older->newer = n->newer;
	else
		c->oldest = n->newer;
	n->newer = n->older = NULL;
}

static void order_push(struct cache *c, struct cache_node *n)
{
	n->newer = NULL;
	n->older = c->newest;
	if (c->newest)
		c->newest->newer = n;
	else
		c->oldest = n;
	c->newest = n;
}

struct cache_node *cache_find(struct cache *c, uint64_t hash, const void *key)
{
	struct cache_node *n = c->buckets[hash & (c->bucket_count - 1)];

	while (n && !(n->hash == hash && c->equal(n, key)))
		n = n->chain;
	if (n && n != c->newest) {
		order_remove(c, n);
		order_push(c, n);
	}
	return n;
}

void cache_remove(struct cache *c, struct cache_node *node)
{
	struct cache_node **p = &c->buckets[node->hash & (c->bucket_count - 1)];

	while (*p && *p != node)
		p = &(*p)->chain;
	if (!*p)
		return;
	*p = node->chain;
	node->chain = NULL;
	order_remove(c, node);
	c->count--;
}

static void evict_oldest(struct cache *c)
{
	struct cache_node *n = c->oldest;

	cache_remove(c, n);
	c->evict(n, c->arg);
}

void cache_insert(struct cache *c, struct cache_node *node, uint64_t hash)
{
	struct cache_node **p = &c->buckets[hash & (c->bucket_count - 1)];

	node->hash = hash;
	node->chain = *p;
	*p = node;
	order_push(c, node);
	c->count++;
	if (c->max && c->count > c->max)
		evict_oldest(c);
}

void cache_clear(struct cache *c)
{
	while (c->oldest)
		evict_oldest(c);
}

void cache_free(struct cache *c)
{
	if (!c->buckets)
		return;
	cache_clear(c);
	free(c->buckets);
	c->buckets = NULL;
}
