/*
 * tests/unit/test_keep.c - records that ampmon keeps: the newest of a name wins,
 * who waits is told once it is on disk, what failed is tried again, and after a
 * start everybody gets his own.
 */
#include "keeptest.h"

/* --- in place of those who put records --------------------------------------------- */

static unsigned brakes, demands;
static char last_restored[40];
static int restore_says;

int brake_restore(struct scand *s, const char *name, const uint8_t *record, size_t size)
{
	(void)s;
	(void)record;
	(void)size;
	brakes++;
	snprintf(last_restored, sizeof(last_restored), "%s", name);
	return restore_says;
}

int demand_restore(struct scand *s, const char *name, const uint8_t *record, size_t size)
{
	(void)s;
	assert_int_equal(size, 1);
	assert_int_equal(record[0], 'x');
	demands++;
	snprintf(last_restored, sizeof(last_restored), "%s", name);
	return restore_says;
}

/* --- */

static int told_error;
static unsigned told;
static const char *put_again; /* by who is told */

static void on_done(struct scand *s, int error, void *arg)
{
	assert_ptr_equal(arg, &told);
	told++;
	told_error = error;
	if (put_again)
		assert_int_equal(keep_put(s, "a", (const uint8_t *)put_again, strlen(put_again), NULL, NULL),
				 0);
	put_again = NULL;
}

static struct scand s;

static int setup(void **state)
{
	(void)state;
	kt_begin();
	memset(&s, 0, sizeof(s));
	kt_link(&s);
	assert_int_equal(keep_init(&s), 0);
	told = brakes = demands = 0;
	told_error = -1;
	restore_says = 0;
	put_again = NULL;
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	keep_free(&s);
	kt_unlink();
	event_base_free(kt_room.base);
	return 0;
}

static int put(const char *name, const char *text)
{
	return keep_put(&s, name, (const uint8_t *)text, strlen(text), on_done, &told);
}

static void assert_kept(const char *name, const char *text)
{
	const struct kept *k = kt_find(name);

	assert_non_null(k);
	assert_int_equal(k->size, strlen(text));
	assert_memory_equal(k->data, text, k->size);
}

static void test_put(void **state)
{
	(void)state;
	assert_int_equal(put("a", "one"), 0);
	assert_int_equal(told, 0); /* never from within */
	kt_run(10);
	assert_int_equal(told, 1);
	assert_int_equal(told_error, 0);
	assert_kept("a", "one");
	assert_int_equal(put("a", ""), 0);
	kt_run(10);
	assert_null(kt_find("a"));
}

static void test_newest(void **state)
{
	(void)state;
	kt_mon.silent = true;
	put("a", "one");
	put("a", "two");
	put("a", "three");
	put("b", "other");
	kt_run(10);
	assert_int_equal(kt_mon.keeps, 2); /* one of each is on its way */
	assert_kept("a", "one");
	kt_mon.silent = false;
	kt_answer(1, "a", 0);
	kt_run(10);
	assert_int_equal(kt_mon.keeps, 3);
	assert_kept("a", "three");
	assert_int_equal(told, 3);
	kt_answer(2, "b", 0);
	kt_run(10);
	assert_int_equal(told, 4);
}

static void test_error(void **state)
{
	(void)state;
	kt_mon.error = ENOSPC;
	put("a", "one");
	kt_run(20);
	assert_int_equal(told, 1);
	assert_int_equal(told_error, ENOSPC);
	assert_in_range(kt_mon.keeps, 1, 9); /* not again and again at once */
	kt_mon.error = 0;
	kt_run(2500);
	assert_kept("a", "one"); /* of itself */
	assert_int_equal(told, 1);
	kt_mon.error = EIO;
	put("a", "two");
	kt_run(10);
	kt_mon.error = 0;
	put("a", "three"); /* does not wait for the other to be tried again */
	kt_run(10);
	assert_kept("a", "three");
	assert_int_equal(told_error, 0);
}

/* Who is told that it failed may put what is to be there instead. */
static void test_instead(void **state)
{
	(void)state;
	kt_mon.error = EIO;
	put_again = "instead";
	put("a", "one");
	kt_run(10);
	kt_mon.error = 0;
	kt_run(2500);
	assert_kept("a", "instead");
}

static void test_bounds(void **state)
{
	static uint8_t large[AMP_KEEP_MAX + 1];
	char name[40];

	(void)state;
	assert_int_equal(put("", "x"), -1);
	assert_int_equal(put("A", "x"), -1);
	assert_int_equal(put("a/b", "x"), -1);
	assert_int_equal(put("a2345678901234567890123456789012x", "x"), -1);
	assert_int_equal(keep_put(&s, "a", large, sizeof(large), NULL, NULL), -1);
	assert_int_equal(keep_put(&s, "a", large, sizeof(large) - 1, NULL, NULL), 0);
	kt_run(10);
	assert_int_equal(kt_find("a")->size, AMP_KEEP_MAX);
	kt_mon.silent = true;
	for (unsigned i = 0; i < AMP_KEEPS; i++) {
		snprintf(name, sizeof(name), "n%u", i);
		assert_int_equal(put(name, "x"), 0);
	}
	assert_int_equal(put("more", "x"), -1);
	assert_int_equal(put("n1", "y"), 0);
}

static void test_unasked(void **state)
{
	Amp__Kept k = AMP__KEPT__INIT;

	(void)state;
	k.name = "a";
	assert_int_equal(keep_kept(&s, 1, &k), -1);
	kt_mon.silent = true;
	put("a", "one");
	kt_run(10);
	assert_int_equal(keep_kept(&s, 7, &k), -1);
	assert_int_equal(told, 0);
	k.name = "b";
	assert_int_equal(keep_kept(&s, 1, &k), -1);
	k.name = "a";
	assert_int_equal(keep_kept(&s, 1, &k), 0);
	assert_int_equal(told, 1);
	assert_int_equal(keep_kept(&s, 1, &k), -1);
}

static int keeps(const char *name)
{
	Amp__Keeps k = AMP__KEEPS__INIT;

	k.name = (char *)(uintptr_t)name;
	k.record.data = (uint8_t *)(uintptr_t) "x";
	k.record.len = 1;
	return keep_keeps(&s, &k);
}

static void test_keeps(void **state)
{
	(void)state;
	assert_int_equal(keeps("brake"), 0);
	assert_int_equal(keeps("held-3"), 0);
	assert_int_equal(brakes, 2);
	assert_string_equal(last_restored, "held-3");
	assert_int_equal(keeps("scan-12"), 0);
	assert_int_equal(demands, 1);
	assert_string_equal(last_restored, "scan-12");
	/* What nobody understands does not keep ampscand from working. */
	restore_says = -1;
	assert_int_equal(keeps("brake"), 0);
	assert_int_equal(keeps("scan-13"), 0);
	assert_int_equal(keeps(""), 0);
	assert_int_equal(keeps("../x"), -1);
	s.started = true;
	assert_int_equal(keeps("brake"), -1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_put, setup, teardown),
		cmocka_unit_test_setup_teardown(test_newest, setup, teardown),
		cmocka_unit_test_setup_teardown(test_error, setup, teardown),
		cmocka_unit_test_setup_teardown(test_instead, setup, teardown),
		cmocka_unit_test_setup_teardown(test_bounds, setup, teardown),
		cmocka_unit_test_setup_teardown(test_unasked, setup, teardown),
		cmocka_unit_test_setup_teardown(test_keeps, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
