/*
 * tests/unit/test_contents.c - what is remembered of content, for how long, and
 * whose word it was.
 */
#include "scantest.h"

#include "ampscand/contents.h"
#include "clock.h"

static void sha_of(uint8_t n, uint8_t *sha)
{
	memset(sha, 0, AMP_SHA256_SIZE);
	sha[0] = n;
}

static void store(struct contents *c, uint8_t n, enum content_result r, uint64_t generation, uint64_t worker,
		  const char *name)
{
	uint8_t sha[AMP_SHA256_SIZE];

	sha_of(n, sha);
	assert_non_null(contents_store(c, sha, r, generation, worker, name));
}

static const struct content *find(struct contents *c, uint8_t n, uint64_t generation)
{
	uint8_t sha[AMP_SHA256_SIZE];

	sha_of(n, sha);
	return contents_find(c, sha, generation);
}

static void test_generations(void **state)
{
	struct contents c;

	(void)state;
	assert_int_equal(contents_init(&c, 16), 0);
	store(&c, 1, CONTENT_CLEAN, 1, 7, NULL);
	store(&c, 2, CONTENT_INFECTED, 1, 7, "Name");
	store(&c, 3, CONTENT_PARTIAL, 1, 7, "too deep");
	store(&c, 4, CONTENT_UNSCANNABLE, 1, 0, "it died");
	assert_int_equal(find(&c, 1, 1)->result, CONTENT_CLEAN);
	assert_int_equal(find(&c, 3, 1)->result, CONTENT_PARTIAL);
	assert_int_equal(find(&c, 4, 1)->result, CONTENT_UNSCANNABLE);
	assert_null(find(&c, 1, 2));
	assert_null(find(&c, 3, 2));
	assert_null(find(&c, 4, 2));
	assert_null(find(&c, 5, 1));
	/* Convictions stay. */
	assert_int_equal(find(&c, 2, 2)->result, CONTENT_INFECTED);
	assert_string_equal(find(&c, 2, 2)->name, "Name");
	/* A newer word takes the place of the older. */
	store(&c, 1, CONTENT_INFECTED, 2, 9, "Other");
	assert_int_equal(find(&c, 1, 3)->result, CONTENT_INFECTED);
	assert_int_equal(c.cache.count, 4);
	contents_free(&c);
}

static void test_void(void **state)
{
	uint8_t sha[AMP_SHA256_SIZE];
	struct contents c;

	(void)state;
	assert_int_equal(contents_init(&c, 16), 0);
	store(&c, 1, CONTENT_CLEAN, 1, 7, NULL);
	store(&c, 2, CONTENT_CLEAN, 1, 8, NULL);
	store(&c, 3, CONTENT_INFECTED, 1, 7, "Name");
	store(&c, 4, CONTENT_PARTIAL, 1, 7, "limit");
	sha_of(1, sha);
	assert_true(contents_rests_on(&c, sha, 7));
	assert_false(contents_rests_on(&c, sha, 8));
	sha_of(3, sha);
	assert_false(contents_rests_on(&c, sha, 7));
	assert_int_equal(contents_void(&c, 7), 2);
	assert_null(find(&c, 1, 1));
	assert_null(find(&c, 4, 1));
	assert_non_null(find(&c, 2, 1));
	assert_non_null(find(&c, 3, 1));
	contents_free(&c);
}

static void test_told(void **state)
{
	uint8_t sha[AMP_SHA256_SIZE];
	struct contents c;

	(void)state;
	assert_int_equal(contents_init(&c, 16), 0);
	sha_of(1, sha);
	store(&c, 1, CONTENT_PARTIAL, 1, 7, "limit");
	assert_true(contents_tell(&c, sha));
	assert_false(contents_tell(&c, sha));
	store(&c, 1, CONTENT_PARTIAL, 2, 7, "limit");
	assert_true(contents_tell(&c, sha));
	contents_free(&c);
}

/* It may have been the machine's trouble: a minute, then twice as long each time. */
static void test_unscannable(void **state)
{
	int64_t now = amp_clock_monotonic(), hold = 60 * AMP_NS_PER_SEC;
	uint8_t sha[AMP_SHA256_SIZE];
	struct contents c;

	(void)state;
	assert_int_equal(contents_init(&c, 16), 0);
	amp_clock_freeze(now, now);
	sha_of(1, sha);
	for (unsigned i = 0; i < 20; i++) {
		store(&c, 1, CONTENT_UNSCANNABLE, 1, 0, "died");
		assert_true(contents_tell(&c, sha));
		amp_clock_advance(hold - 1);
		assert_non_null(find(&c, 1, 1));
		assert_null(find(&c, 1, 2));
		amp_clock_advance(1);
		assert_null(find(&c, 1, 1));
		hold = hold * 2 < 86400 * AMP_NS_PER_SEC ? hold * 2 : 86400 * AMP_NS_PER_SEC;
	}
	/* Looked at with success, it begins anew. */
	store(&c, 1, CONTENT_CLEAN, 1, 7, NULL);
	assert_non_null(find(&c, 1, 1));
	store(&c, 1, CONTENT_UNSCANNABLE, 1, 0, "died");
	amp_clock_advance(60 * AMP_NS_PER_SEC);
	assert_null(find(&c, 1, 1));
	amp_clock_release();
	contents_free(&c);
}

static void test_bound(void **state)
{
	struct contents c;

	(void)state;
	assert_int_equal(contents_init(&c, 4), 0);
	for (uint8_t n = 1; n <= 5; n++) {
		store(&c, n, CONTENT_CLEAN, 1, 7, NULL);
		assert_non_null(find(&c, 1, 1)); /* used, so it stays */
	}
	assert_int_equal(c.cache.count, 4);
	assert_null(find(&c, 2, 1));
	contents_free(&c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_generations), cmocka_unit_test(test_void),  cmocka_unit_test(test_told),
		cmocka_unit_test(test_unscannable), cmocka_unit_test(test_bound),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
