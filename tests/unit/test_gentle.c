/*
 * tests/unit/test_gentle.c - the share of the processors that scans on demand
 * may take, and what the load does to it.
 */
#include "demandtest.h"

#include <sys/sysinfo.h>

static unsigned long fake_load; /* runnable processes */

/* In place of the system call. */
int sysinfo(struct sysinfo *si)
{
	memset(si, 0, sizeof(*si));
	si->loads[0] = fake_load << SI_LOAD_SHIFT;
	return 0;
}

static long processors(void)
{
	return sysconf(_SC_NPROCESSORS_ONLN);
}

static void begin(unsigned percent)
{
	amp_clock_freeze(1000 * AMP_NS_PER_SEC, 2000 * AMP_NS_PER_SEC);
	rig_new();
	rig->rules.scan_cpu = percent;
	amp_clock_advance(10 * AMP_NS_PER_SEC); /* the bucket is full */
	assert_true(gentle_may_go_on(rig->s));
}

static void end(void)
{
	rig_free();
	amp_clock_release();
	fake_load = 0;
}

/* Seconds of processors' time used up in a minute by files of 1 ms, looked at every 1 ms. */
static double used_in_a_minute(void)
{
	unsigned long files = 0;

	for (unsigned ms = 0; ms < 60000; ms++) {
		for (long k = 0; k < 4 * processors() && gentle_may_go_on(rig->s); k++) {
			demand_worked(rig->s, (uint64_t)AMP_NS_PER_MS);
			files++;
		}
		amp_clock_advance(AMP_NS_PER_MS);
	}
	return (double)files / 1000;
}

static void assert_near(double value, double wanted)
{
	if (value < wanted * 0.9 || value > wanted * 1.1)
		fail_msg("%.2f s of processors' time, %.2f wanted", value, wanted);
}

static void test_share(void **state)
{
	static const unsigned percents[] = {1, 25, 50, 100};

	(void)state;
	for (size_t i = 0; i < 4; i++) {
		begin(percents[i]);
		assert_near(used_in_a_minute(), 60.0 * (double)processors() * percents[i] / 100);
		end();
	}
}

static void test_long_file(void **state)
{
	int64_t waited = 0;

	(void)state;
	begin(50);
	demand_worked(rig->s, (uint64_t)(10 * AMP_NS_PER_SEC));
	while (!gentle_may_go_on(rig->s)) {
		amp_clock_advance(10 * AMP_NS_PER_MS);
		waited += 10 * AMP_NS_PER_MS;
		assert_true(waited < 100 * AMP_NS_PER_SEC);
	}
	assert_near((double)waited / AMP_NS_PER_SEC, 20.0 / (double)processors());
	/* What makes no sense is no more than an hour. */
	demand_worked(rig->s, UINT64_MAX);
	assert_false(gentle_may_go_on(rig->s));
	for (int i = 0; i < 3700; i++) {
		amp_clock_advance(2 * AMP_NS_PER_SEC);
		if (gentle_may_go_on(rig->s))
			break;
	}
	assert_true(gentle_may_go_on(rig->s));
	end();
}

/* Idle time is not saved up for more than a moment. */
static void test_no_hoard(void **state)
{
	unsigned n = 0;

	(void)state;
	begin(50);
	amp_clock_advance(3600 * AMP_NS_PER_SEC);
	while (gentle_may_go_on(rig->s) && n < 100000) {
		demand_worked(rig->s, (uint64_t)AMP_NS_PER_MS);
		n++;
	}
	assert_true(n <= 500 * (unsigned)processors());
	end();
}

static void test_load(void **state)
{
	(void)state;
	begin(80);
	fake_load = (unsigned long)processors() * 2;
	assert_near(used_in_a_minute(), 60.0 * (double)processors() * 0.8);
	end();
	begin(80);
	fake_load = (unsigned long)processors() * 2 + 1;
	amp_clock_advance(AMP_NS_PER_SEC);
	gentle_may_go_on(rig->s);
	/* Less, but not nothing. */
	assert_near(used_in_a_minute(), 60.0 * (double)processors() * 0.1);
	end();
}

/* Who waits is told when it may go on. */
static void test_told(void **state)
{
	(void)state;
	begin(100);
	demand_worked(rig->s, (uint64_t)(AMP_NS_PER_SEC * processors()));
	assert_false(gentle_may_go_on(rig->s));
	assert_int_equal(event_base_get_num_events(rig->room.base, EVENT_BASE_COUNT_ADDED) > 0, 1);
	end();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_share),	 cmocka_unit_test(test_long_file),
		cmocka_unit_test(test_no_hoard), cmocka_unit_test(test_load),
		cmocka_unit_test(test_told),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
