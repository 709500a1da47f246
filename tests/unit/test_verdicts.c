/*
 * tests/unit/test_verdicts.c - what is remembered of a content, and until when.
 */
#include "scantest.h"

#include "ampscand/verdicts.h"

static const struct amp_identity identity = {.ino = 5, .size = 6, .mtime_ns = 7, .ctime_ns = 8};

static void store(struct verdicts *v, uint64_t fsid, uint64_t n)
{
	struct amp_fileid id = st_id(fsid, n);
	uint8_t sha[AMP_SHA256_SIZE];

	memset(sha, (int)n, sizeof(sha));
	verdicts_store(v, &id, &identity, sha, n % 2, false, n);
}

static const struct verdict *find(struct verdicts *v, uint64_t fsid, uint64_t n)
{
	struct amp_fileid id = st_id(fsid, n);

	return verdicts_find(v, &id);
}

static void test_store(void **state)
{
	struct amp_fileid id = st_id(1, 3);
	const struct verdict *e;
	struct verdicts v;

	(void)state;
	assert_int_equal(verdicts_init(&v, 100), 0);
	assert_null(find(&v, 1, 3));
	store(&v, 1, 3);
	e = find(&v, 1, 3);
	assert_non_null(e);
	assert_int_equal(e->sha256[0], 3);
	assert_int_equal(e->sha256[31], 3);
	assert_int_equal(e->epoch, 3);
	assert_true(e->script);
	assert_int_equal(e->identity.ctime_ns, 8);
	assert_true(amp_fileid_equal(e->id, &id));
	assert_null(find(&v, 2, 3)); /* another file system */
	verdicts_remove(&v, &id);
	assert_null(find(&v, 1, 3));
	verdicts_remove(&v, &id);
	verdicts_free(&v);
}

/* Generation and type are part of the handle: another file of the same number is not known. */
static void test_whole_handle_counts(void **state)
{
	struct amp_fileid id = st_id(1, 3);
	struct verdicts v;

	(void)state;
	assert_int_equal(verdicts_init(&v, 100), 0);
	store(&v, 1, 3);
	id.handle.type = 2;
	assert_null(verdicts_find(&v, &id));
	id = st_id(1, 3);
	id.handle.size = 7;
	assert_null(verdicts_find(&v, &id));
	id.handle.size = 9;
	assert_null(verdicts_find(&v, &id));
	verdicts_free(&v);
}

static void test_store_replaces(void **state)
{
	struct amp_fileid id = st_id(1, 3);
	uint8_t sha[AMP_SHA256_SIZE] = {99};
	struct verdicts v;

	(void)state;
	assert_int_equal(verdicts_init(&v, 100), 0);
	store(&v, 1, 3);
	verdicts_store(&v, &id, &identity, sha, false, false, 77);
	assert_int_equal(v.cache.count, 1);
	assert_int_equal(find(&v, 1, 3)->sha256[0], 99);
	assert_int_equal(find(&v, 1, 3)->epoch, 77);
	verdicts_remove(&v, &id);
	assert_null(find(&v, 1, 3));
	verdicts_free(&v);
}

static void test_bound(void **state)
{
	struct verdicts v;

	(void)state;
	assert_int_equal(verdicts_init(&v, 32), 0);
	for (uint64_t n = 1; n <= 1000; n++) {
		store(&v, 1, n);
		assert_non_null(find(&v, 1, 1)); /* in use: it stays */
	}
	assert_int_equal(v.cache.count, 32);
	assert_non_null(find(&v, 1, 1000));
	assert_null(find(&v, 1, 2));
	verdicts_free(&v);
}

static void test_forget(void **state)
{
	struct verdicts v;

	(void)state;
	assert_int_equal(verdicts_init(&v, 1000), 0);
	for (uint64_t n = 1; n <= 50; n++) {
		store(&v, 1, n);
		store(&v, 2, n);
	}
	verdicts_forget(&v, 1);
	assert_int_equal(v.cache.count, 50);
	for (uint64_t n = 1; n <= 50; n++) {
		assert_null(find(&v, 1, n));
		assert_non_null(find(&v, 2, n));
	}
	verdicts_forget(&v, 3);
	verdicts_clear(&v);
	assert_int_equal(v.cache.count, 0);
	verdicts_free(&v);
}

static void test_longest_handle(void **state)
{
	struct amp_fileid id = {.fsid = 1, .handle = {.type = 1, .size = AMP_FILE_HANDLE_MAX}};
	uint8_t sha[AMP_SHA256_SIZE] = {1};
	struct verdicts v;

	(void)state;
	memset(id.handle.bytes, 0xab, sizeof(id.handle.bytes));
	assert_int_equal(verdicts_init(&v, 10), 0);
	verdicts_store(&v, &id, &identity, sha, false, false, 1);
	assert_non_null(verdicts_find(&v, &id));
	id.handle.bytes[AMP_FILE_HANDLE_MAX - 1]++;
	assert_null(verdicts_find(&v, &id));
	verdicts_free(&v);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_store),	       cmocka_unit_test(test_whole_handle_counts),
		cmocka_unit_test(test_store_replaces), cmocka_unit_test(test_bound),
		cmocka_unit_test(test_forget),	       cmocka_unit_test(test_longest_handle),
	};

	return cmocka_run_group_tests_name("verdicts", tests, NULL, NULL);
}
