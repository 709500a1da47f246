/*
 * tests/unit/test_sha256.c - known digests, hex, UUIDs; nothing opened later.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "sha256.h"

#include <errno.h>
#include <string.h>
#include <sys/resource.h>

#define EMPTY	  "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
#define ABC	  "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
#define MILLION_A "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0"

static void assert_digest(struct amp_sha256 *s, const char *expected)
{
	uint8_t sha[AMP_SHA256_SIZE];
	char hex[AMP_SHA256_HEX];

	assert_int_equal(amp_sha256_end(s, sha), 0);
	assert_string_equal(amp_sha256_hex(sha, hex), expected);
}

static void test_known(void **state)
{
	struct amp_sha256 *s = amp_sha256_new();
	char as[1000];

	(void)state;
	assert_non_null(s);
	assert_int_equal(amp_sha256_begin(s), 0);
	assert_digest(s, EMPTY);
	assert_int_equal(amp_sha256_begin(s), 0);
	assert_int_equal(amp_sha256_add(s, "a", 1), 0);
	assert_int_equal(amp_sha256_add(s, "bc", 2), 0);
	assert_digest(s, ABC);
	memset(as, 'a', sizeof(as));
	assert_int_equal(amp_sha256_begin(s), 0);
	for (int i = 0; i < 1000; i++)
		assert_int_equal(amp_sha256_add(s, as, sizeof(as)), 0);
	assert_digest(s, MILLION_A);
	amp_sha256_free(s);
	amp_sha256_free(NULL);
}

/* A digest that was given up half way leaves nothing in the next. */
static void test_begin_starts_anew(void **state)
{
	struct amp_sha256 *s = amp_sha256_new();

	(void)state;
	assert_int_equal(amp_sha256_begin(s), 0);
	assert_int_equal(amp_sha256_add(s, "rest", 4), 0);
	assert_int_equal(amp_sha256_begin(s), 0);
	assert_int_equal(amp_sha256_add(s, "abc", 3), 0);
	assert_digest(s, ABC);
	amp_sha256_free(s);
}

static void test_parse(void **state)
{
	static const char *const bad[] = {"",
					  "e3",
					  EMPTY "0",
					  "g"
					  "3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
					  "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b85",
					  " " EMPTY,
					  EMPTY " "};
	uint8_t a[AMP_SHA256_SIZE], b[AMP_SHA256_SIZE];
	char hex[AMP_SHA256_HEX];

	(void)state;
	assert_int_equal(amp_sha256_parse(EMPTY, a), 0);
	assert_string_equal(amp_sha256_hex(a, hex), EMPTY);
	assert_int_equal(
		amp_sha256_parse("E3B0C44298FC1C149AFBF4C8996FB92427AE41E4649B934CA495991B7852B855", b), 0);
	assert_memory_equal(a, b, sizeof(a));
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		errno = 0;
		assert_int_equal(amp_sha256_parse(bad[i], b), -1);
		assert_int_equal(errno, EINVAL);
		assert_memory_equal(a, b, sizeof(a));
	}
}

static void test_uuid(void **state)
{
	char a[37], b[37];

	(void)state;
	/* SHA-256("abc") with the version and the variant put in. */
	assert_ptr_equal(amp_uuid_of("abc", 3, a), a);
	assert_string_equal(a, "ba7816bf-8f01-8fea-8141-40de5dae2223");
	assert_string_equal(amp_uuid_of("abc", 3, b), a);
	assert_string_not_equal(amp_uuid_of("abd", 3, b), a);
}

/* After the set-up no descriptor is needed: rooms cannot open files. */
static void test_needs_no_file(void **state)
{
	struct rlimit before, none;
	struct amp_sha256 *s;

	(void)state;
	assert_int_equal(amp_sha256_setup(), 0);
	assert_int_equal(amp_sha256_setup(), 0);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
	none = before;
	none.rlim_cur = 0;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
	s = amp_sha256_new();
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
	assert_non_null(s);
	assert_int_equal(amp_sha256_begin(s), 0);
	assert_digest(s, EMPTY);
	amp_sha256_free(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_known),	      cmocka_unit_test(test_begin_starts_anew),
		cmocka_unit_test(test_parse),	      cmocka_unit_test(test_uuid),
		cmocka_unit_test(test_needs_no_file),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
