/*
 * tests/unit/test_counter.c - counters added to by many threads at once.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "counter.h"

#include <pthread.h>
#include <string.h>

#define THREADS	 8
#define COUNTERS 64
#define ROUNDS	 2000

static struct amp_counter many[COUNTERS];

static size_t times_listed(const struct amp_counter *c)
{
	size_t n = 0;

	for (const struct amp_counter *i = amp_counter_first(); i; i = i->next)
		n += i == c;
	return n;
}

static void test_registry(void **state)
{
	static struct amp_counter a = AMP_COUNTER("a.a", true), b = AMP_COUNTER("b.b", false);

	(void)state;
	assert_int_equal(times_listed(&a), 0);
	amp_counter_add(&a, 3);
	amp_counter_add(&a, 4);
	assert_int_equal(amp_counter_value(&a), 7);
	assert_int_equal(times_listed(&a), 1);
	assert_int_equal(times_listed(&b), 0);
	amp_counter_list(&b);
	amp_counter_list(&b);
	assert_int_equal(times_listed(&b), 1);
	assert_int_equal(amp_counter_value(&b), 0);
	assert_ptr_equal(amp_counter_first(), &b);
	assert_true(a.loss);
	assert_string_equal(b.name, "b.b");
}

static void *add_to_all(void *arg)
{
	(void)arg;
	for (int r = 0; r < ROUNDS; r++)
		for (int i = 0; i < COUNTERS; i++)
			amp_counter_add(&many[i], 1);
	return NULL;
}

static void test_threads(void **state)
{
	pthread_t threads[THREADS];

	(void)state;
	for (int i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, add_to_all, NULL), 0);
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	for (int i = 0; i < COUNTERS; i++) {
		assert_int_equal(amp_counter_value(&many[i]), THREADS * ROUNDS);
		assert_int_equal(times_listed(&many[i]), 1);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_registry),
		cmocka_unit_test(test_threads),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
