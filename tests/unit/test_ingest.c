/*
 * tests/unit/test_ingest.c - ampcloudd/ingest.c on a real I/O thread: group
 * commit, acknowledgements, a full disk, a broken database, too much at once.
 */
#include "cloudtest.h"

#include "ampcloudd/ingest.h"
#include "counter.h"
#include "tests/unit/skip.h"

#include <time.h>

#define MAX_ACKS 40000
#define T0	 (INT64_C(1700000000) * 1000000000)

struct bench {
	struct test_dir dir;
	struct event_base *base;
	struct amp_iothread *io;
	struct store *store;
	struct ingest *ingest;
	uint64_t acked[MAX_ACKS], origins[MAX_ACKS];
	size_t n_acked;
	bool paused, full, broken;
	unsigned pauses, added;
	char detail_full[700], detail_broken[700];
};

static void on_ack(uint64_t origin, const uint64_t *ids, size_t n, void *arg)
{
	struct bench *b = arg;

	for (size_t i = 0; i < n; i++) {
		b->origins[b->n_acked] = origin;
		b->acked[b->n_acked++] = ids[i];
	}
}

static void on_pause(bool paused, void *arg)
{
	struct bench *b = arg;

	b->paused = paused;
	b->pauses++;
}

static void on_fault(enum amp_fault_number n, bool raised, const char *detail, void *arg)
{
	struct bench *b = arg;

	if (n == AMP_FAULT_DATABASE_FULL) {
		b->full = raised;
		snprintf(b->detail_full, sizeof(b->detail_full), "%s", detail);
	} else {
		assert_int_equal(n, AMP_FAULT_DATABASE_BROKEN);
		b->broken = raised;
		snprintf(b->detail_broken, sizeof(b->detail_broken), "%s", detail);
	}
}

static void on_added(void *arg)
{
	struct bench *b = arg;

	b->added++;
}

/* The directory is there already. */
static void setup(struct bench *b, uint64_t max_rows)
{
	const struct ingest_ops ops = {on_ack, on_pause, on_fault, on_added, b};
	const struct store_config store = {
		.path = dir_file(&b->dir, "events.db"),
		.reserve_path = dir_file(&b->dir, "events.reserve"),
		.reserve_size = 1 << 20,
		.max_rows = max_rows,
	};
	const struct ingest_config ingest = {.shown_path = "/host/events.db", .retry_ms = 50};

	b->base = event_base_new();
	b->io = amp_iothread_new(b->base);
	b->store = store_new(&store);
	b->ingest = ingest_new(b->base, b->io, b->store, &ingest, &ops);
	assert_non_null(b->ingest);
}

static void start(struct bench *b)
{
	assert_int_equal(amp_iothread_start(b->io), 0);
	ingest_start(b->ingest);
}

static void teardown(struct bench *b)
{
	ingest_stop(b->ingest);
	amp_iothread_free(b->io);
	ingest_free(b->ingest);
	store_free(b->store);
	event_base_free(b->base);
	dir_remove(&b->dir);
	free(b);
}

static struct bench *bench(void)
{
	struct bench *b = calloc(1, sizeof(*b));

	assert_non_null(b);
	return b;
}

static bool acked(const struct bench *b, size_t n)
{
	return b->n_acked >= n;
}

/* Of the events offered: the n-th is kept, or it waits. */
static bool events_wait(const struct bench *b)
{
	return strstr(b->detail_full, "events wait") != NULL;
}

static bool acked_or_waits(const struct bench *b, size_t n)
{
	return acked(b, n) || events_wait(b);
}

static bool not_full(const struct bench *b, size_t n)
{
	(void)n;
	return !b->full;
}

static bool is_broken(const struct bench *b, size_t n)
{
	(void)n;
	return b->broken;
}

static bool not_broken(const struct bench *b, size_t n)
{
	(void)n;
	return !b->broken;
}

static void turn(struct bench *b)
{
	const struct timespec nap = {.tv_nsec = 2000000};

	event_base_loop(b->base, EVLOOP_NONBLOCK);
	nanosleep(&nap, NULL);
}

#define TURNS 30000 /* a minute at least */

static bool until(struct bench *b, bool (*what)(const struct bench *, size_t), size_t n)
{
	for (int i = 0; i < TURNS && !what(b, n); i++)
		turn(b);
	return what(b, n);
}

static void turns(struct bench *b, int n)
{
	while (n-- > 0)
		turn(b);
}

static int offer(struct bench *b, uint64_t origin, uint64_t id, const char *uid)
{
	Amp__Event e = make_event(uid, "x", T0 + (int64_t)id, 1);

	return ingest_event(b->ingest, origin, id, &e);
}

static void send_many(struct bench *b, uint64_t from, uint64_t n)
{
	char uid[32];

	for (uint64_t id = from; id < from + n; id++) {
		snprintf(uid, sizeof(uid), "uid-%llu", (unsigned long long)id);
		assert_int_equal(offer(b, 1, id, uid), 0);
	}
}

static uint64_t counter(const char *name)
{
	for (const struct amp_counter *c = amp_counter_first(); c; c = c->next)
		if (strcmp(c->name, name) == 0)
			return amp_counter_value(c);
	return 0;
}

static void test_acknowledged_when_committed(void **state)
{
	struct bench *b = bench();

	(void)state;
	dir_make(&b->dir);
	setup(b, 0);
	start(b);
	assert_int_equal(offer(b, 7, 100, "a"), 0);
	assert_int_equal(offer(b, 0, 5, "b"), 0);
	assert_int_equal(offer(b, 7, 101, "a"), 0); /* the same uid: harmless */
	assert_int_equal(b->n_acked, 0);
	assert_true(until(b, acked, 3));
	assert_int_equal(b->acked[0], 100);
	assert_int_equal(b->origins[0], 7);
	assert_int_equal(b->acked[1], 5);
	assert_int_equal(b->origins[1], 0);
	assert_int_equal(b->acked[2], 101);
	assert_int_equal(b->added, 1);
	assert_int_equal(offer(b, 7, 102, "a"), 0); /* nothing new: nobody is told */
	assert_true(until(b, acked, 4));
	assert_int_equal(b->added, 1);
	assert_false(b->full);
	assert_false(b->broken);
	teardown(b);
}

/* What came in together is one transaction; what comes during it the next. */
static void test_group_commit(void **state)
{
	struct bench *b = bench();
	uint64_t commits;

	(void)state;
	dir_make(&b->dir);
	setup(b, 0);
	start(b);
	turns(b, 20);
	commits = counter("events.commits");
	send_many(b, 1, 300);
	assert_true(until(b, acked, 300));
	assert_int_equal(counter("events.commits"), commits + 1);
	send_many(b, 301, 1200);
	assert_true(until(b, acked, 1500));
	assert_int_equal(counter("events.commits"), commits + 1 + 3);
	for (size_t i = 0; i < 1500; i++)
		assert_int_equal(b->acked[i], i + 1);
	teardown(b);
}

/* The rule of a quiet machine: nothing in hand, no timer. */
static void test_idle_has_no_timer(void **state)
{
	struct bench *b = bench();

	(void)state;
	dir_make(&b->dir);
	setup(b, 0);
	start(b);
	send_many(b, 1, 10);
	assert_true(until(b, acked, 10));
	turns(b, 20);
	assert_int_equal(event_base_get_num_events(b->base, EVENT_BASE_COUNT_ADDED),
			 1); /* the I/O thread's wake */
	teardown(b);
}

static void test_bad_event_is_refused(void **state)
{
	struct bench *b = bench();

	(void)state;
	dir_make(&b->dir);
	setup(b, 0);
	start(b);
	assert_int_equal(offer(b, 1, 1, "a#2"), -1);
	assert_int_equal(offer(b, 1, 2, "good"), 0);
	assert_true(until(b, acked, 1));
	assert_int_equal(b->acked[0], 2);
	teardown(b);
}

/* The links are read no more when too much waits, and again when it does not. */
static void test_pause(void **state)
{
	struct bench *b = bench();

	(void)state;
	dir_make(&b->dir);
	setup(b, 0);
	send_many(b, 1, INGEST_HIGH_EVENTS - 1);
	assert_false(b->paused);
	send_many(b, INGEST_HIGH_EVENTS, 1 + INGEST_BATCH);
	assert_true(b->paused);
	assert_true(ingest_paused(b->ingest));
	start(b);
	assert_true(until(b, acked, INGEST_HIGH_EVENTS + INGEST_BATCH));
	assert_false(b->paused);
	assert_int_equal(b->pauses, 2);
	teardown(b);
}

static void test_pruned_after_commit(void **state)
{
	struct bench *b = bench();
	uint64_t before = counter("events.pruned");

	(void)state;
	dir_make(&b->dir);
	setup(b, 100);
	start(b);
	send_many(b, 1, 2000);
	assert_true(until(b, acked, 2000));
	for (int i = 0; i < TURNS && counter("events.pruned") < before + 1900; i++)
		turn(b);
	assert_in_range(counter("events.pruned"), before + 1900, before + 1999);
	teardown(b);
}

/* Fills the disk, lets events use up the reserve until they wait. */
static uint64_t send_until_full(struct bench *b)
{
	static uint8_t path[32768];
	uint64_t id = 1000;
	char uid[32];

	memset(path, 'p', sizeof(path));
	for (; id < 1200; id++) {
		Amp__Event e;

		snprintf(uid, sizeof(uid), "big-%llu", (unsigned long long)id);
		e = make_event(uid, "x", T0, 1);
		e.path = (ProtobufCBinaryData){sizeof(path), path};
		assert_int_equal(ingest_event(b->ingest, 1, id, &e), 0);
		assert_true(until(b, acked_or_waits, 1 + id - 1000 + 1));
		if (events_wait(b))
			return id - 1000 + 1;
	}
	fail_msg("there is room for all of it: %s", b->detail_full);
	return 0;
}

static void test_full_disk(void **state)
{
	struct bench *b = bench();
	uint64_t sent;

	(void)state;
	if (!dir_small(&b->dir, 8192)) {
		dir_remove(&b->dir);
		free(b);
		SKIP_WITHOUT("a file system of its own (root)");
	}
	setup(b, 0);
	start(b);
	send_many(b, 1, 1);
	assert_true(until(b, acked, 1));
	dir_fill(&b->dir);
	sent = send_until_full(b);
	assert_true(b->full);
	assert_non_null(strstr(b->detail_full, "/host/events.db"));
	turns(b, 100);			    /* some retries */
	assert_true(b->n_acked > 1);	    /* the reserve was used */
	assert_true(b->n_acked < 1 + sent); /* and did not do for all */
	dir_drain(&b->dir);
	assert_true(until(b, acked, 1 + sent));
	assert_true(until(b, not_full, 0));
	assert_true(store_has_reserve(b->store));
	assert_false(b->broken);
	teardown(b);
}

static void test_broken_database(void **state)
{
	struct bench *b = bench();

	(void)state;
	dir_make(&b->dir);
	write_text(dir_file(&b->dir, "events.db"), "no database at all, but long enough to be looked at: "
						   "one hundred bytes make a header, so here they are, all.");
	setup(b, 0);
	start(b);
	send_many(b, 1, 10);
	assert_true(until(b, acked, 10));
	assert_true(until(b, is_broken, 0));
	assert_non_null(strstr(b->detail_broken, "events.db.broken-1"));
	ingest_look(b->ingest);
	turns(b, 50);
	assert_true(b->broken); /* stands until somebody saw to it */
	assert_int_equal(unlink(dir_file(&b->dir, "events.db.broken-1")), 0);
	ingest_look(b->ingest);
	assert_true(until(b, not_broken, 0));
	teardown(b);
}

/* It cannot be opened at all: everything waits, and goes on when it can be. */
static void test_cannot_be_opened(void **state)
{
	struct bench *b = bench();

	(void)state;
	dir_make(&b->dir);
	assert_int_equal(mkdir(dir_file(&b->dir, "events.db"), 0700), 0);
	setup(b, 0);
	start(b);
	send_many(b, 1, 10);
	assert_true(until(b, is_broken, 0));
	turns(b, 60);
	assert_int_equal(b->n_acked, 0);
	assert_int_equal(rmdir(dir_file(&b->dir, "events.db")), 0);
	assert_true(until(b, acked, 10));
	assert_true(until(b, not_broken, 0));
	teardown(b);
}

/* Told to leave with events in hand: they are committed and acknowledged. */
static void test_stop_commits(void **state)
{
	struct bench *b = bench();

	(void)state;
	dir_make(&b->dir);
	setup(b, 0);
	start(b);
	send_many(b, 1, 1300);
	ingest_stop(b->ingest);
	amp_iothread_free(b->io);
	assert_int_equal(b->n_acked, 1300);
	ingest_free(b->ingest);
	store_free(b->store);
	assert_int_equal(access(dir_file(&b->dir, "events.db-wal"), F_OK), -1);
	event_base_free(b->base);
	dir_remove(&b->dir);
	free(b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_acknowledged_when_committed),
		cmocka_unit_test(test_group_commit),
		cmocka_unit_test(test_idle_has_no_timer),
		cmocka_unit_test(test_bad_event_is_refused),
		cmocka_unit_test(test_pause),
		cmocka_unit_test(test_pruned_after_commit),
		cmocka_unit_test(test_full_disk),
		cmocka_unit_test(test_broken_database),
		cmocka_unit_test(test_cannot_be_opened),
		cmocka_unit_test(test_stop_commits),
	};

	amp_db_setup();
	own_mounts(); /* a user namespace can be made while there is one thread only */
	return cmocka_run_group_tests(tests, NULL, NULL);
}
