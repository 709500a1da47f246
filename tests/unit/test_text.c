/*
 * tests/unit/test_text.c - what is UTF-8, what is shown and what is escaped.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "text.h"

#include <string.h>

static const char *escaped(const char *bytes, size_t n)
{
	static char buf[256];

	return amp_text_escape(bytes, n, buf, sizeof(buf));
}

#define ESCAPED(literal) escaped(literal, sizeof(literal) - 1)
#define IS_UTF8(literal) amp_text_is_utf8(literal, sizeof(literal) - 1)

static void test_utf8(void **state)
{
	(void)state;
	assert_true(IS_UTF8(""));
	assert_true(IS_UTF8("plain"));
	assert_true(IS_UTF8("\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80"));
	assert_true(IS_UTF8("\xf4\x8f\xbf\xbf"));
	assert_false(IS_UTF8("a\0b"));
	assert_false(IS_UTF8("\x80"));
	assert_false(IS_UTF8("\xc3"));
	assert_false(IS_UTF8("\xc3("));
	assert_false(IS_UTF8("\xc0\xaf"));	   /* overlong */
	assert_false(IS_UTF8("\xe0\x9f\xbf"));	   /* overlong */
	assert_false(IS_UTF8("\xf0\x8f\xbf\xbf")); /* overlong */
	assert_false(IS_UTF8("\xed\xa0\x80"));	   /* surrogate */
	assert_false(IS_UTF8("\xf4\x90\x80\x80")); /* above U+10FFFF */
	assert_false(IS_UTF8("\xf8\x88\x80\x80\x80"));
	assert_false(IS_UTF8("\xe2\x82"));
}

/* What lies behind the end must not make a cut sequence whole. */
static void test_end_is_respected(void **state)
{
	(void)state;
	assert_false(amp_text_is_utf8("\xe2\x82\xac", 2));
	assert_string_equal(escaped("\xe2\x82\xac", 2), "\\xe2\\x82");
}

static void test_escape(void **state)
{
	(void)state;
	assert_string_equal(ESCAPED("/home/a b/\xc3\xa4"), "/home/a b/\xc3\xa4");
	assert_string_equal(ESCAPED("a\nb\tc\x1b[0m\x7f"), "a\\x0ab\\x09c\\x1b[0m\\x7f");
	assert_string_equal(ESCAPED("a\0b"), "a\\x00b");
	assert_string_equal(ESCAPED("\\n"), "\\x5cn");
	assert_string_equal(ESCAPED("\xff\xc3"), "\\xff\\xc3");
	assert_string_equal(ESCAPED("\xc2\x9b"), "\\xc2\\x9b");		 /* C1: CSI */
	assert_string_equal(ESCAPED("\xe2\x80\xae"), "\\xe2\\x80\\xae"); /* right to left */
	assert_string_equal(ESCAPED("\xe2\x80\xa8"), "\\xe2\\x80\\xa8"); /* line separator */
}

static void test_cut(void **state)
{
	char buf[8];
	size_t taken;

	(void)state;
	assert_string_equal(amp_text_escape("abcdefghij", 10, buf, sizeof(buf)), "abcdefg");
	assert_string_equal(amp_text_escape("abcd\n", 5, buf, sizeof(buf)), "abcd");
	assert_string_equal(amp_text_escape("abc\n", 4, buf, sizeof(buf)), "abc\\x0a");
	assert_string_equal(amp_text_escape("abcde\xe2\x82\xac", 8, buf, sizeof(buf)), "abcde");
	assert_int_equal(amp_text_escape_some("abcd\n", 5, buf, sizeof(buf), &taken), 4);
	assert_int_equal(taken, 4);
	assert_int_equal(amp_text_escape_some("a\n", 2, buf, sizeof(buf), &taken), 5);
	assert_int_equal(taken, 2);
	assert_string_equal(amp_text_escape("abc", 3, buf, 1), "");
	buf[0] = 'x';
	assert_ptr_equal(amp_text_escape("abc", 3, buf, 0), buf);
	assert_int_equal(buf[0], 'x');
}

/* Whatever goes in, valid UTF-8 without controls comes out. */
static void test_all_pairs_come_out_clean(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 65536; i++) {
		const char in[2] = {(char)(i >> 8), (char)(i & 255)};
		const char *out = escaped(in, sizeof(in));

		assert_true(amp_text_is_utf8(out, strlen(out)));
		for (const char *p = out; *p; p++)
			assert_true((unsigned char)*p >= ' ' && *p != 0x7f);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_utf8),
		cmocka_unit_test(test_end_is_respected),
		cmocka_unit_test(test_escape),
		cmocka_unit_test(test_cut),
		cmocka_unit_test(test_all_pairs_come_out_clean),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
