/*
 * tests/unit/test_schedule.c - scans at times: the form of a rule, days, ends
 * of months, changes of the clocks, once a day also over restarts.
 */
#include "demandtest.h"

#include <time.h>

#define MINUTE (60 * AMP_NS_PER_SEC)

static int64_t at(int year, int month, int day, int hour, int minute)
{
	struct tm tm = {.tm_year = year - 1900,
			.tm_mon = month - 1,
			.tm_mday = day,
			.tm_hour = hour,
			.tm_min = minute};

	return (int64_t)timegm(&tm) * AMP_NS_PER_SEC; /* UTC */
}

static void zone(const char *tz)
{
	setenv("TZ", tz, 1);
	tzset();
}

static struct schedule_rule rule(const char *text)
{
	struct schedule_rule r;

	assert_int_equal(schedule_parse(text, &r), 0);
	return r;
}

/* How often in a span, looked at every minute; *day of the last. */
static unsigned times(const char *text, int64_t from, int64_t to, uint32_t *day)
{
	struct schedule_rule r = rule(text);
	unsigned n = 0;

	*day = 0;
	for (int64_t t = from; t < to; t += MINUTE)
		n += schedule_due(&r, t, t + MINUTE, day);
	return n;
}

static void test_form(void **state)
{
	static const char *const bad[] = {"",
					  "full",
					  "full sun",
					  "full sun 2:30",
					  "full sun 24:00",
					  "full sun 02:60",
					  "full sun 02:30 x",
					  "Full sun 02:30",
					  "half sun 02:30",
					  "full sunday 02:30",
					  "full 02:30",
					  "full sun 0230",
					  "full sun -1:30",
					  "paths sun 02:30"};
	struct schedule_rule r = rule("full sun 02:30");

	(void)state;
	assert_int_equal(r.kind, AMP__CLI_SCAN_START__KIND__FULL);
	assert_int_equal(r.weekdays, 1);
	assert_int_equal(r.minute, 150);
	r = rule("flash daily 23:59");
	assert_int_equal(r.kind, AMP__CLI_SCAN_START__KIND__FLASH);
	assert_int_equal(r.weekdays, 0x7f);
	assert_int_equal(r.minute, 1439);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		if (schedule_parse(bad[i], &r) == 0)
			fail_msg("\"%s\" was taken", bad[i]);
}

static void test_days(void **state)
{
	uint32_t day;

	(void)state;
	zone("UTC0");
	assert_int_equal(times("full daily 02:30", at(2026, 11, 1, 0, 0), at(2026, 12, 1, 0, 0), &day), 30);
	assert_int_equal(day, 20261130);
	assert_int_equal(times("full sun 02:30", at(2026, 11, 1, 0, 0), at(2026, 12, 1, 0, 0), &day), 5);
	assert_int_equal(day, 20261129);
	/* Ends of months and of years, the leap day, midnight. */
	assert_int_equal(times("full daily 00:00", at(2028, 2, 27, 12, 0), at(2028, 3, 2, 12, 0), &day), 4);
	assert_int_equal(day, 20280302);
	assert_int_equal(times("full fri 00:00", at(2026, 12, 31, 0, 0), at(2027, 1, 2, 0, 0), &day), 1);
	assert_int_equal(day, 20270101);
	assert_int_equal(times("flash sat 23:59", at(2026, 10, 31, 23, 58), at(2026, 11, 1, 0, 5), &day), 1);
	assert_int_equal(day, 20261031);
}

/* Clocks go from 02:00 to 03:00: what is left out is due at the change, the rest as always. */
static void test_clocks_forward(void **state)
{
	uint32_t day;

	(void)state;
	zone("CET-1CEST,M3.5.0,M10.5.0/3");
	assert_int_equal(times("full sun 02:30", at(2026, 3, 28, 23, 0), at(2026, 3, 29, 22, 0), &day), 1);
	assert_int_equal(day, 20260329);
	assert_int_equal(times("full sun 02:30", at(2026, 3, 29, 0, 59), at(2026, 3, 29, 1, 0), &day), 1);
	assert_int_equal(times("full sun 02:30", at(2026, 3, 29, 1, 0), at(2026, 3, 29, 3, 0), &day), 0);
	assert_int_equal(times("full sun 03:00", at(2026, 3, 29, 0, 0), at(2026, 3, 29, 3, 0), &day), 1);
	assert_int_equal(times("full sun 01:59", at(2026, 3, 29, 0, 0), at(2026, 3, 29, 3, 0), &day), 1);
	/* Where they change at midnight, the day before loses its last hour or the day its first. */
	zone("XXX0YYY,M3.5.0/0,M10.5.0/0");
	assert_int_equal(times("full sun 00:30", at(2026, 3, 28, 12, 0), at(2026, 3, 29, 12, 0), &day), 1);
	assert_int_equal(day, 20260329);
}

/* From 03:00 back to 02:00: shown twice, but of one day. */
static void test_clocks_back(void **state)
{
	uint32_t day;

	(void)state;
	zone("CET-1CEST,M3.5.0,M10.5.0/3");
	assert_int_equal(times("full sun 02:30", at(2026, 10, 24, 22, 0), at(2026, 10, 25, 0, 45), &day), 1);
	assert_int_equal(day, 20261025);
	assert_int_equal(times("full sun 02:30", at(2026, 10, 25, 0, 45), at(2026, 10, 25, 3, 0), &day), 1);
	assert_int_equal(day, 20261025);
	assert_int_equal(times("full sun 03:30", at(2026, 10, 24, 22, 0), at(2026, 10, 25, 22, 0), &day), 1);
	zone("UTC0");
}

/* --- the whole: one scan a day --------------------------------------------------- */

static void set_clock(int64_t realtime)
{
	amp_clock_release();
	amp_clock_freeze(realtime, realtime);
}

static void policy(const char *text)
{
	static char *list[1];

	list[0] = (char *)(uintptr_t)text;
	rig->rules.schedule = list;
	rig->rules.schedule_count = 1;
}

static unsigned scans(void)
{
	rig_run();
	return rig->s->demand->count;
}

/* The policy is there before START, as it is in the room. */
static void again(void)
{
	scand_end();
	scand_begin();
	demand_policy_changed(rig->s);
}

static void test_once(void **state)
{
	(void)state;
	zone("UTC0");
	set_clock(at(2026, 11, 29, 2, 29));
	rig_new();
	tree_make(1, 1);
	policy("full sun 02:30");
	demand_policy_changed(rig->s);
	assert_int_equal(scans(), 0);
	set_clock(at(2026, 11, 29, 2, 30));
	schedule_began(rig->s);
	assert_int_equal(scans(), 1);
	assert_string_equal(rig->s->demand->scans->schedule, "full sun 02:30");
	assert_int_equal(rig->s->demand->scans->kind, AMP__CLI_SCAN_START__KIND__FULL);
	assert_int_equal(rig->s->demand->scans->state, DEMAND_DONE);
	/* The same minute, the next ones, a restart in them, a clock set back: it was today. */
	schedule_began(rig->s);
	assert_int_equal(scans(), 1);
	set_clock(at(2026, 11, 29, 2, 31));
	schedule_began(rig->s);
	assert_int_equal(scans(), 1);
	again();
	assert_int_equal(scans(), 1);
	set_clock(at(2026, 11, 29, 2, 20));
	schedule_began(rig->s);
	set_clock(at(2026, 11, 29, 2, 32));
	schedule_began(rig->s);
	assert_int_equal(scans(), 1);
	set_clock(at(2026, 12, 6, 2, 30));
	schedule_began(rig->s);
	assert_int_equal(scans(), 2);
	rig_free();
	amp_clock_release();
}

/* A restart at that moment: due all the same. Much later: not. A rule that is new: not for what is past. */
static void test_late(void **state)
{
	(void)state;
	zone("UTC0");
	set_clock(at(2026, 11, 29, 2, 32));
	rig_new();
	tree_make(1, 1);
	scand_end();
	policy("full daily 02:30");
	rig->hold_start = true;
	scand_begin();
	demand_policy_changed(rig->s);
	assert_int_equal(scans(), 0);
	rig->s->started = true;
	demand_began(rig->s);
	assert_int_equal(scans(), 1);
	policy("full daily 02:31");
	demand_policy_changed(rig->s);
	schedule_began(rig->s);
	assert_int_equal(scans(), 1);
	set_clock(at(2026, 11, 30, 5, 0));
	schedule_began(rig->s);
	assert_int_equal(scans(), 1);
	rig_free();
	amp_clock_release();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_form),	       cmocka_unit_test(test_days),
		cmocka_unit_test(test_clocks_forward), cmocka_unit_test(test_clocks_back),
		cmocka_unit_test(test_once),	       cmocka_unit_test(test_late),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
