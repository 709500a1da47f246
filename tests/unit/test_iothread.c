/*
 * tests/unit/test_iothread.c - jobs run in the thread, end in the loop.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "iothread.h"

#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct test_job {
	struct amp_io_job job; /* first: a job is its test_job */
	int id, rounds;
	pthread_t ran_in, done_in;
	bool signals_blocked;
};

static struct event_base *base;
static struct amp_iothread *io;
static int order[4096];
static int n_done, wanted;
static sem_t gate, entered;

static int setup(void **state)
{
	(void)state;
	base = event_base_new();
	io = base ? amp_iothread_new(base) : NULL;
	n_done = wanted = 0;
	sem_init(&gate, 0, 0);
	sem_init(&entered, 0, 0);
	return io ? 0 : -1;
}

static int teardown(void **state)
{
	(void)state;
	amp_iothread_free(io);
	io = NULL;
	event_base_free(base);
	return 0;
}

static bool run_rounds(struct amp_io_job *job)
{
	struct test_job *t = (struct test_job *)job;
	sigset_t set;

	pthread_sigmask(SIG_SETMASK, NULL, &set);
	t->signals_blocked = sigismember(&set, SIGTERM) == 1 && sigismember(&set, SIGCHLD) == 1;
	t->ran_in = pthread_self();
	return --t->rounds <= 0;
}

static bool run_at_gate(struct amp_io_job *job)
{
	(void)job;
	sem_post(&entered);
	sem_wait(&gate);
	return true;
}

static void count_done(struct amp_io_job *job)
{
	struct test_job *t = (struct test_job *)job;

	t->done_in = pthread_self();
	order[n_done++] = t->id;
	if (n_done == wanted)
		event_base_loopbreak(base);
}

static void free_done(struct amp_io_job *job)
{
	count_done(job);
	free(job);
}

static struct test_job new_job(int id, int rounds)
{
	return (struct test_job){.job = {.run = run_rounds, .done = count_done}, .id = id, .rounds = rounds};
}

/* The loop until n jobs ended; a test that hangs is ended by its alarm. */
static void loop_until(int n)
{
	wanted = n;
	alarm(100);
	while (n_done < n)
		assert_int_not_equal(event_base_loop(base, EVLOOP_ONCE), -1);
	alarm(0);
}

static void test_threads_of_callbacks(void **state)
{
	struct test_job t = new_job(1, 1);

	(void)state;
	assert_int_equal(amp_iothread_start(io), 0);
	errno = 0;
	assert_int_equal(amp_iothread_start(io), -1);
	assert_int_equal(errno, EALREADY);
	amp_iothread_submit(io, &t.job);
	loop_until(1);
	assert_false(pthread_equal(t.ran_in, pthread_self()));
	assert_true(pthread_equal(t.done_in, pthread_self()));
	assert_true(t.signals_blocked);
}

static void test_long_jobs_share(void **state)
{
	struct test_job a = new_job(1, 3), b = new_job(2, 1), c = new_job(3, 2);

	(void)state;
	/* Queued before the start: their order is certain. */
	amp_iothread_submit(io, &a.job);
	amp_iothread_submit(io, &b.job);
	amp_iothread_submit(io, &c.job);
	assert_int_equal(amp_iothread_start(io), 0);
	loop_until(3);
	assert_int_equal(order[0], 2);
	assert_int_equal(order[1], 3);
	assert_int_equal(order[2], 1);
	assert_int_equal(amp_iothread_steps(io), 6);
}

static void test_many(void **state)
{
	const int n = 4096;

	(void)state;
	assert_int_equal(amp_iothread_start(io), 0);
	for (int i = 0; i < n; i++) {
		struct test_job *t = malloc(sizeof(*t));

		*t = new_job(i, 1 + i % 3);
		t->job.done = free_done;
		amp_iothread_submit(io, &t->job);
	}
	loop_until(n);
	assert_int_equal(n_done, n);
	assert_false(amp_iothread_busy(io));
}

/* The heartbeat looks at these while the thread hangs in a disk. */
static void test_busy_and_steps(void **state)
{
	struct test_job t = new_job(1, 1);
	uint64_t steps;

	(void)state;
	t.job.run = run_at_gate;
	assert_false(amp_iothread_busy(io));
	assert_int_equal(amp_iothread_start(io), 0);
	amp_iothread_submit(io, &t.job);
	sem_wait(&entered);
	assert_true(amp_iothread_busy(io));
	steps = amp_iothread_steps(io);
	amp_io_step(io);
	assert_int_equal(amp_iothread_steps(io), steps + 1);
	assert_int_equal(event_base_loop(base, EVLOOP_NONBLOCK), 0);
	assert_int_equal(n_done, 0);
	sem_post(&gate);
	loop_until(1);
	assert_false(amp_iothread_busy(io));
	assert_int_equal(amp_iothread_steps(io), steps + 2);
}

/* A job that hangs in a disk keeps back nothing of those before it, however often that happens. */
static void test_stalled_job_keeps_nothing_back(void **state)
{
	struct test_job quick[4], stalled[4];

	(void)state;
	assert_int_equal(amp_iothread_start(io), 0);
	for (int i = 0; i < 4; i++) {
		quick[i] = new_job(2 * i, 1);
		stalled[i] = new_job(2 * i + 1, 1);
		stalled[i].job.run = run_at_gate;
		amp_iothread_submit(io, &quick[i].job);
		amp_iothread_submit(io, &stalled[i].job);
	}
	for (int i = 0; i < 4; i++) {
		sem_wait(&entered);
		loop_until(2 * i + 1);
		assert_true(amp_iothread_busy(io));
		usleep(3000); /* whatever timer ran has expired */
		assert_int_equal(event_base_loop(base, EVLOOP_NONBLOCK), 0);
		assert_int_equal(n_done, 2 * i + 1);
		sem_post(&gate);
	}
	loop_until(8);
}

/* Submits one more from done(), as a long piece of work does. */
static void submit_again(struct amp_io_job *job)
{
	struct test_job *t = (struct test_job *)job;

	count_done(job);
	t->rounds = 2;
	t->job.done = count_done;
	amp_iothread_submit(io, &t->job);
}

static void test_submit_from_done(void **state)
{
	struct test_job t = new_job(1, 1);

	(void)state;
	t.job.done = submit_again;
	assert_int_equal(amp_iothread_start(io), 0);
	amp_iothread_submit(io, &t.job);
	loop_until(2);
}

static void test_free_loses_nothing(void **state)
{
	struct test_job t[3] = {new_job(0, 5), new_job(1, 1), new_job(2, 1)};

	(void)state;
	t[2].job.done = submit_again;
	assert_int_equal(amp_iothread_start(io), 0);
	for (int i = 0; i < 3; i++)
		amp_iothread_submit(io, &t[i].job);
	amp_iothread_free(io);
	assert_int_equal(n_done, 4);
	assert_int_equal(t[0].rounds, 0);

	/* Nor if the thread was never started. */
	io = amp_iothread_new(base);
	assert_non_null(io);
	t[0] = new_job(0, 5);
	amp_iothread_submit(io, &t[0].job);
	amp_iothread_free(io);
	io = NULL;
	assert_int_equal(n_done, 5);
	assert_int_equal(t[0].rounds, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_threads_of_callbacks, setup, teardown),
		cmocka_unit_test_setup_teardown(test_long_jobs_share, setup, teardown),
		cmocka_unit_test_setup_teardown(test_many, setup, teardown),
		cmocka_unit_test_setup_teardown(test_busy_and_steps, setup, teardown),
		cmocka_unit_test_setup_teardown(test_stalled_job_keeps_nothing_back, setup, teardown),
		cmocka_unit_test_setup_teardown(test_submit_from_done, setup, teardown),
		cmocka_unit_test_setup_teardown(test_free_loses_nothing, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
