/*
 * tests/unit/test_faults.c - the list of standing faults.
 */
#include "ampmon/faults.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "clock.h"
#include "log.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

struct told {
	unsigned raised, cleared;
	struct mon_fault last;
};

static void note(const struct mon_fault *f, bool raised, void *arg)
{
	struct told *t = arg;

	t->raised += raised;
	t->cleared += !raised;
	t->last = *f;
}

static struct mon_faults *fresh(struct told *t)
{
	struct mon_faults *fs;

	memset(t, 0, sizeof(*t));
	amp_clock_freeze(1000, 5000);
	fs = mon_faults_new(note, t);
	assert_non_null(fs);
	return fs;
}

static void raised_once_cleared_once(void **state)
{
	struct told t;
	struct mon_faults *fs = fresh(&t);

	(void)state;
	assert_int_equal(mon_fault_raise(fs, AMP_FAULT_DATABASE_FULL, "ampcloudd", "a"), 0);
	amp_clock_advance(AMP_NS_PER_SEC);
	assert_int_equal(mon_fault_raise(fs, AMP_FAULT_DATABASE_FULL, "ampcloudd", "b"), 0);
	assert_int_equal(t.raised, 1);
	assert_int_equal(mon_faults_count(fs), 1);
	assert_string_equal(mon_faults_at(fs, 0)->detail, "b");
	assert_int_equal(mon_faults_at(fs, 0)->since_ns, 5000);
	assert_true(mon_fault_clear(fs, AMP_FAULT_DATABASE_FULL, "ampcloudd"));
	assert_false(mon_fault_clear(fs, AMP_FAULT_DATABASE_FULL, "ampcloudd"));
	assert_int_equal(t.cleared, 1);
	assert_null(mon_faults_at(fs, 0));
	mon_faults_free(fs);
}

static void sources_are_told_apart(void **state)
{
	struct told t;
	struct mon_faults *fs = fresh(&t);

	(void)state;
	mon_fault_raise(fs, AMP_FAULT_ROOM_SILENT, "ampread", "");
	mon_fault_raise(fs, AMP_FAULT_ROOM_SILENT, "ampread/1", "");
	assert_int_equal(mon_faults_count(fs), 2);
	assert_true(mon_fault_clear(fs, AMP_FAULT_ROOM_SILENT, "ampread"));
	assert_true(mon_fault_stands(fs, AMP_FAULT_ROOM_SILENT, "ampread/1"));
	mon_faults_free(fs);
}

static void a_number_is_never_used_twice(void **state)
{
	struct told t;
	struct mon_faults *fs = fresh(&t);
	uint64_t first, second;

	(void)state;
	mon_fault_raise(fs, AMP_FAULT_DISK_STALLED, "ampread", "");
	first = t.last.seq;
	mon_fault_clear(fs, AMP_FAULT_DISK_STALLED, "ampread");
	assert_int_equal(t.last.seq, first);			    /* raised and cleared belong together */
	mon_fault_raise(fs, AMP_FAULT_DISK_STALLED, "ampread", ""); /* in the same nanosecond */
	second = t.last.seq;
	assert_true(second > first);
	/* A later ampmon of the same boot begins above: the time went on. */
	mon_faults_free(fs);
	amp_clock_advance(1000);
	fs = mon_faults_new(note, &t);
	mon_fault_raise(fs, AMP_FAULT_DISK_STALLED, "ampread", "");
	assert_true(t.last.seq > second);
	mon_faults_free(fs);
}

static void unknown_numbers_are_refused(void **state)
{
	struct told t;
	struct mon_faults *fs = fresh(&t);

	(void)state;
	assert_int_equal(mon_fault_raise(fs, 0, "x", ""), -1);
	assert_int_equal(mon_fault_raise(fs, AMP_FAULT_MAX, "x", ""), -1);
	assert_int_equal(mon_fault_raise(fs, 4000000000U, "x", ""), -1);
	assert_int_equal(mon_faults_count(fs), 0);
	assert_false(mon_fault_is_rooms(0));
	assert_false(mon_fault_is_rooms(AMP_FAULT_MAX));
	assert_false(mon_fault_is_rooms(AMP_FAULT_PEER_HOSTILE));
	assert_true(mon_fault_is_rooms(AMP_FAULT_DATABASE_FULL));
	mon_faults_free(fs);
}

static void a_full_list_refuses(void **state)
{
	struct told t;
	struct mon_faults *fs = fresh(&t);
	char source[32];

	(void)state;
	for (unsigned i = 0; i < MON_FAULTS_MAX; i++) {
		snprintf(source, sizeof(source), "s%u", i);
		assert_int_equal(mon_fault_raise(fs, AMP_FAULT_LOG_LOST, source, ""), 0);
	}
	assert_int_equal(mon_fault_raise(fs, AMP_FAULT_LOG_LOST, "one more", ""), -1);
	assert_int_equal(mon_fault_raise(fs, AMP_FAULT_LOG_LOST, "s3", "again"), 0);
	assert_int_equal(mon_faults_count(fs), MON_FAULTS_MAX);
	mon_faults_free(fs);
}

static void what_a_dead_room_said_goes_unless_said_again(void **state)
{
	struct told t;
	struct mon_faults *fs = fresh(&t);

	(void)state;
	mon_fault_raise(fs, AMP_FAULT_DATABASE_FULL, "ampcloudd", "");
	mon_fault_raise(fs, AMP_FAULT_LOG_LOST, "ampcloudd", "");
	mon_fault_raise(fs, AMP_FAULT_ROOM_SILENT, "ampcloudd", ""); /* ampmon's own word */
	mon_fault_raise(fs, AMP_FAULT_LOG_LOST, "ampread", "");
	mon_faults_stale(fs, "ampcloudd");
	assert_int_equal(mon_faults_count(fs), 4);
	mon_fault_raise(fs, AMP_FAULT_DATABASE_FULL, "ampcloudd", "still");
	mon_faults_drop_stale(fs, "ampcloudd");
	assert_int_equal(mon_faults_count(fs), 3);
	assert_false(mon_fault_stands(fs, AMP_FAULT_LOG_LOST, "ampcloudd"));
	assert_true(mon_fault_stands(fs, AMP_FAULT_ROOM_SILENT, "ampcloudd"));
	assert_true(mon_fault_stands(fs, AMP_FAULT_LOG_LOST, "ampread"));
	mon_faults_free(fs);
}

static void some_go_by_themselves(void **state)
{
	struct told t;
	struct mon_faults *fs = fresh(&t);

	(void)state;
	mon_fault_raise(fs, AMP_FAULT_EVENT_SET_ASIDE, "ampmon", "");
	mon_fault_clear_later(fs, AMP_FAULT_EVENT_SET_ASIDE, "ampmon", 60 * AMP_NS_PER_SEC);
	amp_clock_advance(59 * AMP_NS_PER_SEC);
	mon_faults_tick(fs);
	assert_int_equal(mon_faults_count(fs), 1);
	mon_fault_raise(fs, AMP_FAULT_EVENT_SET_ASIDE, "ampmon", "again"); /* stays from here on */
	amp_clock_advance(10 * AMP_NS_PER_SEC);
	mon_faults_tick(fs);
	assert_int_equal(mon_faults_count(fs), 1);
	mon_fault_clear_later(fs, AMP_FAULT_EVENT_SET_ASIDE, "ampmon", AMP_NS_PER_SEC);
	amp_clock_advance(2 * AMP_NS_PER_SEC);
	mon_faults_tick(fs);
	assert_int_equal(mon_faults_count(fs), 0);
	assert_int_equal(t.cleared, 1);
	mon_faults_free(fs);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(raised_once_cleared_once),
		cmocka_unit_test(sources_are_told_apart),
		cmocka_unit_test(a_number_is_never_used_twice),
		cmocka_unit_test(unknown_numbers_are_refused),
		cmocka_unit_test(a_full_list_refuses),
		cmocka_unit_test(what_a_dead_room_said_goes_unless_said_again),
		cmocka_unit_test(some_go_by_themselves),
	};
	int null = open("/dev/null", O_WRONLY | O_CLOEXEC);

	amp_log_open("test", null, AMP_LOG_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
