/*
 * tests/unit/test_clock.c - dates read and written, the frozen clock.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "clock.h"

#include <errno.h>
#include <limits.h>

#define DAY (86400 * AMP_NS_PER_SEC)

static int64_t parsed(const char *text)
{
	int64_t t = -1;

	assert_int_equal(amp_clock_parse(text, &t), 0);
	return t;
}

static void assert_refused(const char *text)
{
	int64_t t = 42;

	errno = 0;
	if (amp_clock_parse(text, &t) != -1)
		fail_msg("taken: %s", text);
	assert_int_equal(errno, EINVAL);
	assert_int_equal(t, 42);
}

static void test_write(void **state)
{
	static const struct {
		int64_t ns;
		const char *text;
	} rows[] = {
		{0, "1970-01-01T00:00:00.000Z"},
		{-1, "1969-12-31T23:59:59.999Z"},
		{1709210096789 * AMP_NS_PER_MS, "2024-02-29T12:34:56.789Z"},
		{1709251199999999999, "2024-02-29T23:59:59.999Z"},
		{1709251200000000000, "2024-03-01T00:00:00.000Z"},
		{951782400 * AMP_NS_PER_SEC, "2000-02-29T00:00:00.000Z"},
		{4107542400 * AMP_NS_PER_SEC, "2100-03-01T00:00:00.000Z"},
		{INT64_MAX, "2262-04-11T23:47:16.854Z"},
		{INT64_MIN, "1677-09-21T00:12:43.145Z"},
	};
	char buf[32];

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		assert_string_equal(amp_clock_rfc3339(rows[i].ns, buf, sizeof(buf)), rows[i].text);
}

static void test_every_day_goes_round(void **state)
{
	char buf[32];

	(void)state;
	for (int64_t t = -100000 * DAY; t < 100000 * DAY; t += 17 * DAY + 3661 * AMP_NS_PER_SEC)
		assert_int_equal(parsed(amp_clock_rfc3339(t, buf, sizeof(buf))), t);
}

static void test_forms(void **state)
{
	(void)state;
	assert_int_equal(parsed("1970-01-02"), DAY);
	assert_int_equal(parsed("1970-01-02 00:01"), DAY + 60 * AMP_NS_PER_SEC);
	assert_int_equal(parsed("1970-01-02T00:01:02"), DAY + 62 * AMP_NS_PER_SEC);
	assert_int_equal(parsed("1970-01-02T00:01:02Z"), DAY + 62 * AMP_NS_PER_SEC);
	assert_int_equal(parsed("1970-01-02t00:01:02.5z"), DAY + 62500 * AMP_NS_PER_MS);
	assert_int_equal(parsed("1970-01-01T00:00:00.1234567899Z"), 123456789);
	assert_int_equal(parsed("1970-01-02T02:00:00+02:00"), DAY);
	assert_int_equal(parsed("1970-01-01T18:30:00-05:30"), DAY);
	assert_int_equal(parsed("1969-12-31T23:59:60Z"), 0);
	assert_int_equal(parsed("2024-02-29"), 1709164800 * AMP_NS_PER_SEC);
}

static void test_spans(void **state)
{
	(void)state;
	amp_clock_freeze(0, 100 * DAY);
	assert_int_equal(parsed("90s"), 100 * DAY - 90 * AMP_NS_PER_SEC);
	assert_int_equal(parsed("15m"), 100 * DAY - 900 * AMP_NS_PER_SEC);
	assert_int_equal(parsed("2h"), 100 * DAY - 7200 * AMP_NS_PER_SEC);
	assert_int_equal(parsed("7d"), 93 * DAY);
	assert_int_equal(parsed("0s"), 100 * DAY);
	amp_clock_release();
}

static void test_refused(void **state)
{
	static const char *const texts[] = {
		"",
		"s",
		"5",
		"5w",
		"-5s",
		"5s ",
		" 5s",
		"5 s",
		"99999999999999999999s",
		"999999999999d",
		"2024",
		"2024-13-01",
		"2024-00-01",
		"2024-01-00",
		"2024-01-32",
		"2023-02-29",
		"1900-02-29",
		"2024-1-1",
		"2024-01-01T",
		"2024-01-01T24:00",
		"2024-01-01T23:60",
		"2024-01-01T23:59:61",
		"2024-01-01T23:59:59.",
		"2024-01-01T23:59Zx",
		"2024-01-01Z",
		"2024-01-01T23:59+2",
		"2024-01-01T23:59+24:00",
		"9999-01-01",
		"1600-01-01",
		"2024-01-01x",
		"2024/01/01",
		"yesterday",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		assert_refused(texts[i]);
	assert_refused(NULL);
}

static void test_freeze(void **state)
{
	int64_t before = amp_clock_monotonic();

	(void)state;
	assert_true(before > 0);
	assert_true(amp_clock_realtime() > 1700000000 * AMP_NS_PER_SEC);
	amp_clock_freeze(5, 7);
	assert_int_equal(amp_clock_monotonic(), 5);
	assert_int_equal(amp_clock_realtime(), 7);
	amp_clock_advance(10);
	assert_int_equal(amp_clock_monotonic(), 15);
	assert_int_equal(amp_clock_realtime(), 17);
	assert_true(amp_clock_kernel_monotonic() >= before);
	amp_clock_release();
	assert_true(amp_clock_monotonic() >= before);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_write),	cmocka_unit_test(test_every_day_goes_round),
		cmocka_unit_test(test_forms),	cmocka_unit_test(test_spans),
		cmocka_unit_test(test_refused), cmocka_unit_test(test_freeze),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
