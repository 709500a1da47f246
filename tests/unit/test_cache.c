/*
 * tests/unit/test_cache.c - order, bound and chains of the intrusive cache.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "ampscand/cache.h"

#include <stdlib.h>

struct entry {
	struct cache_node node;
	unsigned key;
	bool evicted;
};

static bool equal(const struct cache_node *node, const void *key)
{
	return ((const struct entry *)node)->key == *(const unsigned *)key;
}

static unsigned evictions, last_evicted;

static void evict(struct cache_node *node, void *arg)
{
	struct entry *e = (struct entry *)node;
	struct cache *c = arg;

	assert_false(e->evicted);
	e->evicted = true;
	evictions++;
	last_evicted = e->key;
	if (c) /* it is out already */
		assert_null(cache_find(c, e->node.hash, &e->key));
}

static void start(struct cache *c, size_t buckets, size_t max)
{
	evictions = 0;
	assert_int_equal(cache_init(c, buckets, max, equal, evict, c), 0);
}

static struct entry *find(struct cache *c, uint64_t hash, unsigned key)
{
	return (struct entry *)cache_find(c, hash, &key);
}

/* Both lists and the count agree. */
static void check_order(const struct cache *c)
{
	size_t forth = 0, back = 0;

	for (const struct cache_node *n = c->oldest; n; n = n->newer, forth++)
		assert_true(n->newer ? n->newer->older == n : n == c->newest);
	for (const struct cache_node *n = c->newest; n; n = n->older)
		back++;
	assert_int_equal(forth, c->count);
	assert_int_equal(back, c->count);
}

static void test_oldest_goes_first(void **state)
{
	struct entry e[6] = {0};
	struct cache c;

	(void)state;
	start(&c, 1, 4);
	for (unsigned i = 0; i < 4; i++) {
		e[i].key = i;
		cache_insert(&c, &e[i].node, i);
	}
	assert_int_equal(evictions, 0);
	assert_ptr_equal(find(&c, 0, 0), &e[0]); /* now the newest */
	e[4].key = 4;
	cache_insert(&c, &e[4].node, 4);
	assert_int_equal(evictions, 1);
	assert_int_equal(last_evicted, 1);
	assert_ptr_equal(find(&c, 0, 0), &e[0]);
	assert_null(find(&c, 1, 1));
	e[5].key = 5;
	cache_insert(&c, &e[5].node, 5);
	assert_int_equal(last_evicted, 2);
	assert_int_equal(c.count, 4);
	check_order(&c);
	cache_free(&c);
	assert_int_equal(evictions, 6);
}

static void test_same_hash(void **state)
{
	struct entry e[50] = {0};
	struct cache c;

	(void)state;
	start(&c, 16, 0);
	for (unsigned i = 0; i < 50; i++) {
		e[i].key = i;
		cache_insert(&c, &e[i].node, 7);
	}
	for (unsigned i = 0; i < 50; i++)
		assert_ptr_equal(find(&c, 7, i), &e[i]);
	assert_null(find(&c, 7 + c.bucket_count, 3)); /* same bucket, other hash */
	for (unsigned i = 0; i < 50; i += 3)
		cache_remove(&c, &e[i].node);
	for (unsigned i = 0; i < 50; i++)
		assert_ptr_equal(find(&c, 7, i), i % 3 ? &e[i] : NULL);
	check_order(&c);
	assert_int_equal(evictions, 0);
	cache_free(&c);
}

static void test_remove(void **state)
{
	struct entry e[3] = {{.key = 0}, {.key = 1}, {.key = 2}}, out = {.key = 9};
	struct cache c;

	(void)state;
	start(&c, 16, 0);
	for (unsigned i = 0; i < 3; i++)
		cache_insert(&c, &e[i].node, i);
	cache_remove(&c, &e[2].node); /* newest */
	cache_remove(&c, &e[0].node); /* oldest */
	check_order(&c);
	cache_remove(&c, &e[0].node); /* not in it: nothing happens */
	cache_remove(&c, &out.node);
	assert_int_equal(c.count, 1);
	cache_remove(&c, &e[1].node);
	assert_null(c.oldest);
	assert_null(c.newest);
	assert_int_equal(evictions, 0);
	cache_insert(&c, &e[0].node, 5); /* may come back */
	assert_ptr_equal(find(&c, 5, 0), &e[0]);
	cache_free(&c);
}

static void test_clear(void **state)
{
	struct entry e[3] = {{.key = 0}, {.key = 1}, {.key = 2}};
	struct cache c;

	(void)state;
	start(&c, 16, 0);
	for (unsigned i = 0; i < 3; i++)
		cache_insert(&c, &e[i].node, i);
	cache_clear(&c);
	assert_int_equal(evictions, 3);
	assert_int_equal(c.count, 0);
	assert_null(find(&c, 1, 1));
	cache_free(&c);
	cache_free(&c);
	assert_int_equal(evictions, 3);
}

/* Against a plain model: an array in order of use. */
static void test_random(void **state)
{
	enum { KEYS = 64, MAX = 20 };
	struct entry e[KEYS] = {0};
	unsigned order[KEYS], n = 0;
	struct cache c;

	(void)state;
	start(&c, 16, MAX);
	srand(1);
	for (unsigned step = 0; step < 20000; step++) {
		unsigned key = (unsigned)rand() % KEYS, at = 0;
		struct entry *found = find(&c, key % 5, key);

		while (at < n && order[at] != key)
			at++;
		assert_ptr_equal(found, at < n ? &e[key] : NULL);
		for (unsigned i = at; found && i + 1 < n; i++)
			order[i] = order[i + 1];
		n -= found != NULL;
		if (found && rand() % 4 == 0) {
			cache_remove(&c, &found->node);
			continue;
		}
		if (!found) {
			e[key] = (struct entry){.key = key};
			cache_insert(&c, &e[key].node, key % 5);
		}
		if (!found && n == MAX) {
			assert_true(e[order[0]].evicted);
			for (unsigned i = 0; i + 1 < n; i++)
				order[i] = order[i + 1];
			n--;
		}
		order[n++] = key;
		assert_int_equal(c.count, n);
	}
	check_order(&c);
	cache_free(&c);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_oldest_goes_first),
		cmocka_unit_test(test_same_hash),
		cmocka_unit_test(test_remove),
		cmocka_unit_test(test_clear),
		cmocka_unit_test(test_random),
	};

	return cmocka_run_group_tests_name("cache", tests, NULL, NULL);
}
