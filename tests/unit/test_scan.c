/*
 * tests/unit/test_scan.c - what is on no list goes to the engine: a whole
 * ampscand, and an ampengine that the test plays (enginetest.h).
 */
#include "enginetest.h"

#define COUNTED(name) rig_counter("engine." name)

/* Until nothing is in hand any more, 10 s at most. */
static void until_done(struct fake *f)
{
	for (int i = 0; i < 5000 && f->g->s->occurrences; i++)
		rig_run(f->g, 2);
	assert_int_equal(f->g->s->occurrences, 0);
}

static void written(struct fake *f, uint64_t file, char what)
{
	f->g->content = (uint8_t)what;
	rig_write(f->g, file, "name");
	until_done(f);
}

/* --- what is known of content --------------------------------------------------------- */

static void test_clean(void **state)
{
	struct fake *f = fake_start(true);
	uint64_t clean = rig_counter("judged.clean");

	(void)state;
	written(f, 20, 'C');
	assert_int_equal(f->scans, 1);
	assert_int_equal(f->last_size, 100);
	assert_int_equal(f->last_ms, 10000);
	assert_int_equal(rig_counter("judged.clean"), clean + 1);
	/* The same content elsewhere: its hash tells. */
	written(f, 21, 'C');
	assert_int_equal(f->scans, 1);
	assert_int_equal(f->g->hashes, 2);
	/* Other signatures: asked once more. */
	f->generation = 2;
	fake_ready(f);
	written(f, 21, 'C');
	assert_int_equal(f->scans, 2);
	assert_int_equal(f->g->events, 0);
	fake_free(f);
}

static void test_infected(void **state)
{
	struct fake *f = fake_start(true);
	uint64_t infected = COUNTED("infected");

	(void)state;
	f->g->content = 'I';
	rig_write(f->g, 20, "evil");
	rig_until(f->g, &f->g->takes, 1);
	assert_int_equal(f->scans, 2);
	assert_int_not_equal(f->last[0], f->last[1]);
	assert_string_equal(f->g->take_detection, "Test.Signature");
	assert_string_equal(f->g->take_path, "/m/dir/evil");
	assert_int_equal(COUNTED("infected"), infected + 1);
	/* Both have had it in hand: neither is asked again. */
	assert_int_equal(f->left, 2);
	rig_ack(f->g, f->g->take_id, 1);
	/* Known from then on, whatever the signatures. */
	f->generation = 2;
	fake_ready(f);
	rig_write(f->g, 21, "evil");
	rig_until(f->g, &f->g->takes, 2);
	assert_int_equal(f->scans, 2);
	fake_free(f);
}

/* The lists come first, and what they say is never asked. */
static void test_lists_first(void **state)
{
	struct fake *f = fake_start(true);

	(void)state;
	f->g->content = EVIL;
	rig_write(f->g, 20, "evil");
	rig_until(f->g, &f->g->takes, 1);
	assert_string_equal(f->g->take_detection, "Test.Evil");
	assert_int_equal(f->scans, 0);
	fake_free(f);
}

/* The same content at two places at once. */
static void test_joined(void **state)
{
	struct fake *f = fake_start(true);

	(void)state;
	f->no_spawn = true; /* beyond the one in reserve */
	f->g->content = 'S';
	rig_write(f->g, 20, "a");
	rig_write(f->g, 21, "b");
	rig_run(f->g, 50);
	assert_int_equal(f->scans, 1);
	assert_int_equal(f->g->copies, 2);
	assert_int_equal(f->g->s->occurrences, 2);
	fake_honest(fake_find(f, f->last[0]), 1, 'C');
	until_done(f);
	assert_int_equal(f->scans, 1);
	fake_free(f);
}

/* Written again while a worker has it: that is read for itself. */
static void test_dirty(void **state)
{
	struct fake *f = fake_start(true);

	(void)state;
	f->g->content = 'S';
	rig_write(f->g, 20, "name");
	rig_until(f->g, &f->scans, 1);
	f->g->content = 'I';
	rig_write(f->g, 20, "name");
	rig_run(f->g, 20);
	assert_int_equal(f->g->hashes, 1);
	fake_honest(fake_find(f, f->last[0]), 1, 'C');
	rig_until(f->g, &f->g->takes, 1);
	assert_int_equal(f->g->hashes, 2);
	assert_int_equal(f->scans, 3);
	fake_free(f);
}

/* --- limits ---------------------------------------------------------------------------- */

static void test_partial(void **state)
{
	struct fake *f = fake_start(true);
	uint64_t clean = rig_counter("judged.clean"), partial = COUNTED("partial");

	(void)state;
	f->g->content = 'P';
	rig_write(f->g, 20, "deep");
	rig_until(f->g, &f->g->events, 1);
	until_done(f);
	assert_string_equal(f->g->type[0], "file_partial");
	/* Not again while it is the same, and never as clean. */
	written(f, 21, 'P');
	assert_int_equal(f->scans, 1);
	assert_int_equal(f->g->events, 1);
	assert_int_equal(COUNTED("partial"), partial + 2);
	assert_int_equal(rig_counter("judged.clean"), clean);
	fake_free(f);
}

static void test_too_large(void **state)
{
	struct fake *f = fake_start(true);
	uint64_t clean = rig_counter("judged.clean"), large = COUNTED("too_large");

	(void)state;
	f->g->size = (5 << 20) + 1;
	written(f, 20, 'C');
	assert_int_equal(f->scans, 0);
	assert_int_equal(f->g->hashes, 1);
	assert_int_equal(COUNTED("too_large"), large + 1);
	assert_int_equal(rig_counter("judged.clean"), clean);
	/* An archive of that size is not: it is read again for a copy. */
	f->g->archive = true;
	written(f, 21, 'C');
	assert_int_equal(f->scans, 1);
	assert_int_equal(f->g->hashes, 3);
	assert_int_equal(f->last_size, (5 << 20) + 1);
	f->g->size = (50 << 20) + 1;
	written(f, 22, 'D');
	assert_int_equal(f->scans, 1);
	assert_int_equal(COUNTED("too_large"), large + 2);
	assert_int_equal(f->g->events, 0);
	fake_free(f);
}

/* Between what a first reading brings and the limit. */
static void test_large_lane(void **state)
{
	struct fake *f = fake_start(true);

	(void)state;
	f->g->size = 3 << 20;
	written(f, 20, 'C');
	assert_int_equal(f->g->hashes, 2);
	assert_int_equal(f->scans, 1);
	assert_in_range(f->g->copy_max, 3 << 20, 5 << 20);
	/* Cached, the same. */
	written(f, 21, 'C');
	assert_int_equal(f->g->hashes, 3);
	assert_int_equal(f->scans, 1);
	fake_free(f);
}

/* No copy comes, again and again: not for ever. */
static void test_uncopied(void **state)
{
	struct fake *f = fake_start(true);

	(void)state;
	f->g->no_copy = true;
	rig_write(f->g, 20, "name");
	rig_until(f->g, &f->g->events, 1);
	assert_string_equal(f->g->type[0], "file_unscannable");
	assert_int_equal(f->g->hashes, 3);
	fake_free(f);
}

/* --- trouble ---------------------------------------------------------------------------- */

static void crash(char how, size_t tries, size_t deaths)
{
	struct fake *f = fake_start(true);
	uint64_t died = COUNTED("worker_deaths"), unscannable = COUNTED("unscannable");

	f->g->content = (uint8_t)how;
	rig_write(f->g, 20, "bad");
	rig_until(f->g, &f->g->events, 1);
	assert_string_equal(f->g->type[0], "file_unscannable");
	assert_int_equal(f->scans, tries);
	assert_int_not_equal(f->last[0], f->last[1]);
	assert_int_equal(f->g->room.fault, AMP_FAULT_ENGINE);
	until_done(f);
	rig_run(f->g, 20);
	assert_int_equal(COUNTED("worker_deaths"), died + deaths);
	/* Remembered, told once, and no conviction. */
	written(f, 21, how);
	assert_int_equal(f->scans, tries);
	assert_int_equal(f->g->events, 1);
	assert_int_equal(COUNTED("unscannable"), unscannable + 2);
	assert_int_equal(f->g->takes, 0);
	/* Other files are scanned. */
	written(f, 22, 'C');
	assert_int_equal(f->scans, tries + 1);
	fake_free(f);
}

static void test_crash(void **state)
{
	(void)state;
	crash('X', 2, 2);
	crash('Y', 2, 2);
	crash('E', 2, 0);
	crash('K', 5, 5);
}

/* What it called clean before it died is judged again. */
static void test_void(void **state)
{
	struct fake *f = fake_start(true);
	uint64_t voided = COUNTED("voided");
	size_t hashes;

	(void)state;
	f->g->each = true;
	for (uint64_t i = 0; i < 4; i++)
		written(f, 20 + i, 'C');
	hashes = f->g->hashes;
	fake_gone(fake_find(f, f->last[0]), SIGSEGV, 0);
	rig_run(f->g, 20);
	until_done(f);
	assert_int_equal(COUNTED("voided"), voided + 4);
	assert_int_equal(f->g->hashes, hashes + 4);
	assert_int_equal(f->g->s->contents.cache.count, f->g->s->verdicts.cache.count);
	fake_free(f);
}

static void later(struct fake *f, int64_t sec)
{
	amp_clock_advance(sec * AMP_NS_PER_SEC);
	rig_run(f->g, 300);
}

static void test_timeout(void **state)
{
	struct fake *f = fake_start(true);
	uint64_t timeouts = COUNTED("timeouts"), voided = COUNTED("voided");

	(void)state;
	written(f, 20, 'C');
	f->g->content = 'S';
	rig_write(f->g, 21, "slow");
	rig_until(f->g, &f->scans, 2);
	assert_int_equal(f->last_ms, 10000);
	later(f, 14);
	assert_int_equal(f->kills, 0);
	later(f, 2);
	assert_int_equal(f->kills, 1);
	rig_until(f->g, &f->scans, 3);
	assert_int_equal(f->last_ms, 120000); /* the machine may have been busy */
	later(f, 124);
	assert_int_equal(f->g->events, 0);
	later(f, 2);
	rig_until(f->g, &f->g->events, 1);
	assert_string_equal(f->g->type[0], "file_unscannable");
	assert_int_equal(COUNTED("timeouts"), timeouts + 2);
	assert_int_equal(COUNTED("voided"), voided);
	assert_int_equal(f->g->room.hostile, 0);
	fake_free(f);
}

/* A room that does not bury its dead. */
static void test_not_told(void **state)
{
	struct fake *f = fake_start(true);
	size_t kills;

	(void)state;
	f->mute = true;
	f->g->content = 'I';
	rig_write(f->g, 20, "evil");
	rig_until(f->g, &f->g->takes, 1);
	kills = f->kills;
	later(f, 6);
	/* They may be who does not leave. */
	assert_int_equal(f->kills, kills + 2);
	assert_int_equal(f->g->room.hostile, 0);
	later(f, 6);
	assert_int_equal(f->g->room.hostile, 2);
	assert_int_equal(f->g->room.hostile_role, AMP_ROLE_ENGINE);
	fake_free(f);
}

/* --- witnesses ---------------------------------------------------------------------------- */

/* The second witness lies: the third decides. */
static void test_liar(void **state)
{
	struct fake *f = fake_start(true);
	uint64_t disagreed = COUNTED("disagreed");

	(void)state;
	f->liar = 2;
	f->g->content = 'I';
	rig_write(f->g, 20, "evil");
	rig_until(f->g, &f->g->takes, 1);
	assert_int_equal(f->scans, 3);
	assert_int_equal(COUNTED("disagreed"), disagreed + 1);
	assert_int_equal(f->kills, 1);
	assert_null(fake_find(f, 2));
	assert_int_equal(f->g->room.fault, AMP_FAULT_ENGINE);
	fake_free(f);
}

/* One convicts what is clean: nothing is moved, and its clean words are void. */
static void test_false_conviction(void **state)
{
	struct fake *f = fake_start(true);
	uint64_t disagreed = COUNTED("disagreed"), voided = COUNTED("voided");

	(void)state;
	f->g->each = true;
	written(f, 20, 'C');
	f->convicts = f->last[0];
	written(f, 21, 'C');
	assert_int_equal(f->g->takes, 0);
	assert_int_equal(f->g->kills, 0);
	assert_int_equal(COUNTED("disagreed"), disagreed + 1);
	assert_int_equal(COUNTED("voided"), voided + 1);
	assert_int_equal(f->g->events, 0);
	rig_run(f->g, 20);
	until_done(f);
	/* The first file was read again. */
	assert_int_equal(f->g->hashes, 3);
	fake_free(f);
}

/* Never two files of root's and others in one. */
static void test_classes(void **state)
{
	struct fake *f = fake_start(true);
	uint64_t serial;

	(void)state;
	f->g->each = true;
	written(f, 20, 'C');
	serial = f->last[0];
	f->g->owner = 0;
	written(f, 21, 'C');
	assert_int_not_equal(f->last[0], serial);
	f->g->owner = 1001;
	written(f, 22, 'C');
	assert_int_equal(f->last[0], serial);
	fake_free(f);
}

/* A worker is retired after 256 files; some clean words are looked at twice. */
static void test_retired(void **state)
{
	struct fake *f = fake_start(true);
	uint64_t sampled = COUNTED("sampled");

	(void)state;
	f->g->s->engine->sample = SAMPLE;
	f->g->each = true;
	for (uint64_t i = 0; i < 800; i++)
		written(f, 100 + i, 'C');
	for (unsigned i = 0; i < FAKES; i++)
		assert_true(f->worker[i].scans <= WORKER_FILES);
	assert_in_range(COUNTED("sampled") - sampled, 1, 60);
	assert_int_equal(f->scans, 800 + COUNTED("sampled") - sampled);
	assert_in_range(f->left, 2, 8);
	fake_free(f);
}

/* Of files that are large it gets fewer: a copy may be kept by who had it. */
static void test_retired_by_bytes(void **state)
{
	struct fake *f = fake_start(true);
	size_t left;

	(void)state;
	f->g->each = true;
	f->g->archive = true;
	f->g->size = 20U << 20;
	for (uint64_t i = 0; i < 14; i++)
		written(f, 100 + i, 'C');
	f->g->size = 1U << 20; /* there is place for these beside them */
	for (uint64_t i = 0; i < 40; i++)
		written(f, 200 + i, 'C');
	for (unsigned i = 0; i < FAKES; i++)
		assert_true(f->worker[i].bytes <= WORKER_BYTES);
	assert_int_equal(f->scans, 54);
	/* Larger than that: one, by a new one, which goes at once. */
	f->g->s->rules->max_archive_size = SCAND_COPY_MAX;
	f->g->size = WORKER_BYTES + 1;
	left = f->left;
	written(f, 300, 'C');
	rig_until(f->g, &f->left, left + 1);
	assert_null(fake_find(f, f->last[0]));
	assert_int_equal(f->scans, 55);
	fake_free(f);
}

/* Who would have others believe that he always met a limit is found out as who says that all is clean. */
static void test_partial_sampled(void **state)
{
	struct fake *f = fake_start(true);
	uint64_t sampled = COUNTED("sampled");

	(void)state;
	f->g->s->engine->sample = 1;
	written(f, 20, 'P');
	assert_int_equal(f->scans, 2);
	assert_int_not_equal(f->last[0], f->last[1]);
	assert_int_equal(COUNTED("sampled"), sampled + 1);
	assert_string_equal(f->g->type[0], "file_partial");
	fake_free(f);
}

/* --- an engine that is not there ------------------------------------------------------------ */

static void test_loading(void **state)
{
	struct fake *f = fake_start(false);
	uint64_t missed = COUNTED("missed");
	int64_t before = amp_clock_realtime();

	(void)state;
	written(f, 20, 'I');
	assert_int_equal(f->scans, 0);
	assert_int_equal(f->g->takes, 0);
	assert_int_equal(COUNTED("missed"), missed + 1);
	assert_in_range(engine_missed_since(f->g->s), before, amp_clock_realtime());
	assert_int_equal(f->g->repairs, 0);
	/* Whoever comes after it would not know. */
	rig_until(f->g, &f->g->concluded, 1);
	assert_true(f->g->missed == engine_missed_since(f->g->s));
	fake_ready(f);
	rig_until(f->g, &f->g->repairs, 1);
	rig_until(f->g, &f->g->concluded, 2);
	assert_true(f->g->missed == 0);
	assert_in_range(f->g->repair_since, before - 2 * AMP_NS_PER_SEC,
			amp_clock_realtime() - 2 * AMP_NS_PER_SEC);
	assert_int_equal(engine_missed_since(f->g->s), 0);
	fake_free(f);
}

/* The lists alone decide, and nothing is missed. */
static void test_empty(void **state)
{
	struct fake *f = fake_start(false);

	(void)state;
	fake_tell(f, AMP__ENGINE_STATE__STATE__EMPTY, 0, "1.0");
	assert_int_equal(engine_state(f->g->s), ENGINE_EMPTY);
	written(f, 20, 'I');
	assert_int_equal(engine_missed_since(f->g->s), 0);
	/* Then there are some: what is known only by its hash is read for them. */
	fake_ready(f);
	assert_int_equal(f->g->repairs, 0);
	rig_write(f->g, 20, "evil");
	rig_until(f->g, &f->g->takes, 1);
	fake_free(f);
}

/* It dies with a file in hand and is back within two seconds, with the same signatures. */
static void test_back(void **state)
{
	struct fake *f = fake_start(true);

	(void)state;
	written(f, 20, 'C');
	f->g->content = 'S';
	rig_write(f->g, 21, "name");
	rig_until(f->g, &f->scans, 2);
	fake_dies(f);
	assert_int_equal(engine_state(f->g->s), ENGINE_LOADING);
	fake_link(f);
	fake_ready(f);
	rig_until(f->g, &f->scans, 3);
	assert_int_equal(f->g->hashes, 2);
	assert_int_equal(f->g->repairs, 0);
	fake_honest(fake_find(f, f->last[0]), 2, 'C');
	until_done(f);
	written(f, 22, 'C'); /* what was said before holds */
	assert_int_equal(f->scans, 3);
	fake_free(f);
}

/* It stays away: decided without, and repaired when it is there. */
static void test_away(void **state)
{
	struct fake *f = fake_start(true);
	int64_t since;

	(void)state;
	f->g->content = 'S';
	rig_write(f->g, 21, "name");
	rig_until(f->g, &f->scans, 1);
	since = amp_clock_kernel_monotonic();
	fake_dies(f);
	until_done(f);
	assert_true(amp_clock_kernel_monotonic() - since > 1500 * AMP_NS_PER_MS);
	assert_true(engine_missed_since(f->g->s) > 0);
	fake_link(f);
	fake_tell(f, AMP__ENGINE_STATE__STATE__READY, 4, "1.1");
	assert_int_equal(engine_generation(f->g->s), 2); /* others than before */
	rig_until(f->g, &f->g->repairs, 1);
	fake_free(f);
}

/* One that kills ampengine each time. */
static void test_link_deaths(void **state)
{
	struct fake *f = fake_start(true);

	(void)state;
	f->g->content = 'S';
	rig_write(f->g, 21, "name");
	for (size_t i = 1; i <= 3; i++) {
		rig_until(f->g, &f->scans, i);
		fake_dies(f);
		fake_link(f);
		fake_ready(f);
	}
	rig_until(f->g, &f->g->events, 1);
	assert_string_equal(f->g->type[0], "file_unscannable");
	assert_int_equal(f->scans, 3);
	fake_free(f);
}

/* New signatures while a worker has a file: its word decides, and is asked again later. */
static void test_reload(void **state)
{
	struct fake *f = fake_start(true);
	uint64_t old;

	(void)state;
	f->g->content = 'S';
	rig_write(f->g, 21, "name");
	rig_until(f->g, &f->scans, 1);
	old = f->last[0];
	f->generation = 2;
	fake_ready(f);
	assert_non_null(fake_find(f, old));
	assert_int_equal(f->left, 1); /* the one in reserve */
	fake_honest(fake_find(f, old), 1, 'C');
	until_done(f);
	rig_run(f->g, 10);
	assert_int_equal(f->left, 2);
	assert_int_equal(f->scans, 1);
	rig_write(f->g, 22, "name");
	rig_until(f->g, &f->scans, 2);
	assert_int_not_equal(f->last[0], old);
	fake_honest(fake_find(f, f->last[0]), 2, 'C');
	until_done(f);
	fake_free(f);
}

/* --- who breaks the protocol ------------------------------------------------------------------ */

static void hostile_worker(char how)
{
	struct fake *f = fake_start(true);

	written(f, 20, 'C');
	f->g->content = (uint8_t)how;
	rig_write(f->g, 21, "bad");
	rig_until(f->g, &f->g->events, 1);
	assert_string_equal(f->g->type[0], "file_unscannable");
	assert_int_equal(f->scans, 3);
	assert_int_equal(f->kills, 2);
	assert_int_equal(f->g->room.fault, AMP_FAULT_ENGINE);
	assert_int_equal(f->g->takes, 0);
	assert_int_equal(f->g->room.hostile, 0); /* not ampengine's fault */
	until_done(f);
	fake_free(f);
}

static void test_hostile_worker(void **state)
{
	(void)state;
	hostile_worker('N');
	hostile_worker('W');
}

/* One has a worker in hand, one waits, and none comes. */
static struct fake *without_workers(void)
{
	struct fake *f = fake_start(true);

	f->no_spawn = true;
	f->g->each = true;
	f->g->content = 'S';
	rig_write(f->g, 20, "name");
	rig_until(f->g, &f->scans, 1);
	rig_write(f->g, 21, "other");
	rig_run(f->g, 50);
	return f;
}

static void asked_before(struct fake *f, int64_t ns)
{
	for (size_t i = 0; i < WORKERS_MAX; i++)
		f->g->s->engine->asked_ns[i] -= ns;
	rig_run(f->g, 600);
}

/* What ampengine drops it says nothing of: it is asked for again, also while others are awaited. */
static void test_dropped(void **state)
{
	struct fake *f = without_workers();
	size_t spawned = f->spawned;

	(void)state;
	f->no_spawn = false;
	asked_before(f, AMP_NS_PER_SEC);
	assert_int_equal(f->spawned, spawned);
	asked_before(f, 4 * AMP_NS_PER_SEC);
	assert_true(f->spawned > spawned);
	assert_int_equal(f->scans, 2);
	/* Late is not unasked. */
	fake_spawn(f);
	rig_run(f->g, 20);
	assert_int_equal(f->g->room.hostile, 0);
	fake_free(f);
}

/* Nothing waits for ever for a worker: the lists alone judge, and it is judged again later. */
static void test_starved(void **state)
{
	struct fake *f = without_workers();
	struct engine *e = f->g->s->engine;
	uint64_t missed = COUNTED("missed");

	(void)state;
	e->waited_ns += 30 * AMP_NS_PER_SEC;
	rig_run(f->g, 400);
	assert_int_equal(f->g->room.fault, AMP_FAULT_ENGINE);
	assert_int_equal(f->g->room.hostile, 0); /* it may have said that it is not ready meanwhile */
	assert_int_equal(engine_state(f->g->s), ENGINE_LOADING);
	rig_run(f->g, 2100);
	assert_int_equal(f->g->s->occurrences, 1);
	assert_int_equal(COUNTED("missed"), missed + 1);
	assert_true(engine_missed_since(f->g->s) > 0);
	f->no_spawn = false;
	asked_before(f, 5 * AMP_NS_PER_SEC);
	assert_int_equal(engine_state(f->g->s), ENGINE_READY);
	assert_true(e->trouble_ns > 0);
	fake_honest(fake_find(f, f->last[0]), 1, 'C');
	until_done(f);
	assert_true(e->trouble_ns == 0);
	fake_free(f);
}

/* Ready all the time, and nothing comes of it. */
static void test_idle_engine(void **state)
{
	struct fake *f = without_workers();

	(void)state;
	f->g->s->engine->waited_ns = f->g->s->engine->waited_on_ns = 30 * AMP_NS_PER_SEC;
	rig_run(f->g, 400);
	assert_int_equal(f->g->room.hostile, 1);
	assert_int_equal(f->g->room.hostile_role, AMP_ROLE_ENGINE);
	fake_free(f);
}

static void refuse(const struct fake *f)
{
	assert_int_equal(f->g->room.hostile, 1);
	assert_int_equal(f->g->room.hostile_role, AMP_ROLE_ENGINE);
	assert_int_equal(engine_state(f->g->s), ENGINE_LOADING);
}

static void test_hostile_engine(void **state)
{
	Amp__WorkerGone gone = AMP__WORKER_GONE__INIT;
	struct fake *f = fake_start(true);

	(void)state;
	fake_spawn(f); /* nobody asked */
	rig_run(f->g, 20);
	refuse(f);
	fake_free(f);
	f = fake_start(true);
	gone.serial = 77;
	amp_channel_send(f->link, AMP_MSG_WORKER_GONE, 0, &gone.base, NULL, 0);
	rig_run(f->g, 20);
	refuse(f);
	fake_free(f);
	f = fake_start(true);
	fake_tell(f, AMP__ENGINE_STATE__STATE__READY, 0, "1.0");
	refuse(f);
	fake_free(f);
	f = fake_start(true);
	fake_tell(f, AMP__ENGINE_STATE__STATE__NONE, 4, "1.0");
	refuse(f);
	fake_free(f);
}

static void bad_copy(size_t offset)
{
	struct fake *f = fake_start(true);
	unsigned before;

	before = rig_descriptors();
	*(bool *)((char *)f->g + offset) = true;
	rig_write(f->g, 20, "name");
	rig_run(f->g, 50);
	assert_int_equal(f->g->room.hostile, 1);
	assert_int_equal(f->g->room.hostile_role, AMP_ROLE_READ);
	assert_int_equal(f->scans, 0);
	assert_true(rig_descriptors() <= before);
	*(bool *)((char *)f->g + offset) = false;
	rig_link_reader(f->g);
	until_done(f);
	assert_int_equal(f->scans, 1);
	fake_free(f);
}

static void test_hostile_reader(void **state)
{
	struct fake *f;

	(void)state;
	bad_copy(offsetof(struct rig, open_copy));
	bad_copy(offsetof(struct rig, short_copy));
	f = fake_start(false); /* without an engine none is asked for */
	f->g->unasked_copy = true;
	rig_write(f->g, 20, "name");
	rig_run(f->g, 50);
	assert_int_equal(f->g->room.hostile, 1);
	f->g->unasked_copy = false;
	fake_free(f);
}

/* --- scans on demand ------------------------------------------------------------------------- */

/* A file that nothing but such a scan looks at. */
static struct job *demanded(struct fake *f, uint64_t n)
{
	struct amp_fileid file = st_id(FSID, n), dir = st_id(FSID, 1);
	struct occurrence *o = occurrence_new(&dir, "name", 4);
	struct job *j = job_get(f->g->s, &file, 0);

	assert_non_null(o);
	assert_non_null(j);
	o->cause = CAUSE_DEMAND;
	job_add(j, o);
	job_advance(j);
	rig_run(f->g, 20);
	return j;
}

/* Readers for events do not read for it, until an event wants the file too. */
static void test_demand_lane(void **state)
{
	struct fake *f = fake_start(true);
	struct job *j = demanded(f, 20);

	(void)state;
	assert_int_equal(j->state, JOB_QUEUED);
	assert_true(j->demand);
	assert_int_equal(f->g->hashes, 0);
	rig_write(f->g, 20, "name");
	until_done(f);
	assert_int_equal(f->g->hashes, 1);
	assert_int_equal(f->scans, 1);
	fake_free(f);
}

/* It waits for the engine where events do not. */
static void test_demand_waits(void **state)
{
	struct fake *f = fake_start(false);
	uint64_t missed;
	struct job *j;

	(void)state;
	written(f, 20, 'C');
	missed = COUNTED("missed");
	j = demanded(f, 20);
	assert_int_equal(j->state, JOB_DEFERRED);
	assert_int_equal(COUNTED("missed"), missed);
	fake_tell(f, AMP__ENGINE_STATE__STATE__EMPTY, 0, "1.0");
	until_done(f);
	fake_free(f);
}

/* A file that its walk read, and nobody has an answer for. */
static void demand_read(struct fake *f, uint64_t n)
{
	struct amp_fileid file = st_id(FSID, n);
	uint8_t sha[AMP_SHA256_SIZE] = {'S', (uint8_t)n};
	struct walk_found found = {.file = &file,
				   .name = "name",
				   .name_size = 4,
				   .directory_path = "/m/dir",
				   .sha256 = sha,
				   .identity = {.ino = n, .size = 100}};
	struct occurrence *o = occurrence_new(NULL, "name", 4);

	f->g->content = 'S';
	o->cause = CAUSE_DEMAND;
	found.snapshot = rig_copy(f->g, n);
	judge_found(f->g->s, o, &found);
}

/* Nobody is replaced for what waits because others go first. */
static void test_demand_turn(void **state)
{
	struct fake *f = fake_start(true);
	size_t spawned;

	(void)state;
	fake_tell(f, AMP__ENGINE_STATE__STATE__READY, 2, "1.0");
	f->g->each = true;
	written(f, 20, 'C');
	demand_read(f, 44);
	rig_until(f->g, &f->scans, 2);
	f->g->content = 'C'; /* the one in reserve is used as well */
	rig_write(f->g, 21, "name");
	rig_until(f->g, &f->scans, 3);
	rig_run(f->g, 20);
	spawned = f->spawned;
	demand_read(f, 45);
	rig_run(f->g, 50);
	assert_int_equal(f->scans, 3);
	assert_int_equal(f->left, 0);
	assert_int_equal(f->spawned, spawned);
	fake_free(f);
}

/* Of the same owner's files events have a worker that scans on demand leave them. */
static void test_demand_leaves(void **state)
{
	struct fake *f = fake_start(true);

	(void)state;
	fake_tell(f, AMP__ENGINE_STATE__STATE__READY, 5, "1.0");
	f->g->each = f->g->owners = true;
	for (uint64_t n = 44; n < 48; n++)
		demand_read(f, n);
	rig_until(f->g, &f->scans, 2);
	rig_run(f->g, 20);
	assert_int_equal(f->scans, 2);
	f->g->content = 'C';
	for (uint64_t n = 20; n < 25; n++)
		rig_write(f->g, n, "name");
	rig_until(f->g, &f->scans, 7);
	fake_free(f);
}

/* In a worker's queue as well an event hurries it. */
static void test_demand_hurried(void **state)
{
	struct fake *f = fake_start(true);
	struct scan *c;

	(void)state;
	f->no_spawn = true;
	f->g->each = true;
	f->g->content = 'S';
	rig_write(f->g, 20, "name");
	rig_until(f->g, &f->scans, 1);
	demand_read(f, 44);
	c = (struct scan *)scans_oldest(f->g->s)->newer;
	assert_true(c->demand && c->queued);
	rig_write(f->g, 44, "name");
	rig_run(f->g, 20);
	assert_false(c->demand);
	assert_true(c->queued);
	assert_non_null(c->jobs->scan_next); /* both wait for it */
	fake_free(f);
}

/* --- what a walk read itself, what is asked --------------------------------------------------------- */

static struct occurrence *found_occurrence(void)
{
	struct occurrence *o = occurrence_new(NULL, "name", 4);

	assert_non_null(o);
	o->cause = CAUSE_REPAIR;
	return o;
}

static void test_found(void **state)
{
	struct fake *f = fake_start(true);
	struct amp_fileid file = st_id(FSID, 44);
	uint8_t sha[AMP_SHA256_SIZE] = {'I'};
	struct walk_found found = {.file = &file,
				   .name = "name",
				   .name_size = 4,
				   .directory_path = "/m/dir",
				   .sha256 = sha,
				   .identity = {.ino = 44, .size = 100, .mode = S_IFREG | 0644}};

	(void)state;
	f->g->content = 'I';
	found.snapshot = rig_copy(f->g, 44);
	judge_found(f->g->s, found_occurrence(), &found);
	assert_null(job_find(f->g->s, &file)); /* events do not join it */
	rig_until(f->g, &f->g->takes, 1);
	assert_int_equal(f->scans, 2);
	assert_string_equal(f->g->take_path, "/m/dir/name");
	rig_ack(f->g, f->g->take_id, 1);
	/* Without a copy it is not clean. */
	sha[0] = 'C';
	found.snapshot = -1;
	judge_found(f->g->s, found_occurrence(), &found);
	rig_until(f->g, &f->g->events, 2);
	assert_string_equal(f->g->type[1], "file_unscannable");
	until_done(f);
	fake_free(f);
}

static int on_definitions(struct amp_channel *ch, struct amp_message *m, void *arg)
{
	const Amp__CliDefinitionsReply *r = (const Amp__CliDefinitionsReply *)m->body;
	size_t *answers = arg;

	(void)ch;
	assert_string_equal(r->state, *answers ? "ready" : "loading");
	assert_int_equal(r->n_sets, *answers ? 1 : 0);
	assert_int_equal(r->scans, *answers ? 1 : 0);
	(*answers)++;
	return 0;
}

static void test_definitions(void **state)
{
	static const struct amp_dispatch rows[] = {{AMP_MSG_CLI_DEFINITIONS_REPLY,
						    &amp__cli_definitions_reply__descriptor, 65000, 0, 0, 0,
						    on_definitions}};
	size_t answers = 0;
	struct amp_channel_config server = {.name = "server"};
	struct amp_channel_config client = {.name = "client", .table = rows, .rows = 1, .arg = &answers};
	struct fake *f = fake_start(false);
	struct amp_message m = {.id = 5};
	struct amp_channel *ends[2];
	int pair[2];

	(void)state;
	rig_pair(pair);
	ends[0] = amp_channel_new(f->g->room.base, pair[0], &server);
	ends[1] = amp_channel_new(f->g->room.base, pair[1], &client);
	engine_definitions(ends[0], &m, &f->g->room);
	rig_until(f->g, &answers, 1);
	fake_ready(f);
	written(f, 20, 'C');
	engine_definitions(ends[0], &m, &f->g->room);
	rig_until(f->g, &answers, 2);
	amp_channel_free(ends[0]);
	amp_channel_free(ends[1]);
	fake_free(f);
}

/* Everything is given back. */
static void test_descriptors(void **state)
{
	struct fake *f = fake_start(true);
	struct scand *s = f->g->s;
	unsigned before;

	(void)state;
	written(f, 20, 'C');
	before = rig_descriptors();
	f->g->each = true;
	for (uint64_t i = 0; i < 60; i++)
		rig_write(f->g, 100 + i, "name");
	until_done(f);
	rig_run(f->g, 50);
	/* A worker has two ends here. */
	assert_true(rig_descriptors() <= before + 2 * 4);
	assert_int_equal(scans_room(s), 64U << 20);
	assert_null(scans_oldest(s));
	fake_free(f);
}

/* --- the memory for copies -------------------------------------------------------------------------- */

static void written_all(struct fake *f, uint64_t from, uint64_t n, char what)
{
	f->g->content = (uint8_t)what;
	for (uint64_t i = 0; i < n; i++)
		rig_write(f->g, from + i, "name");
	rig_run(f->g, 100);
}

static unsigned copies_in_hand(struct fake *f)
{
	unsigned n = 0;

	for (struct cache_node *c = scans_oldest(f->g->s); c; c = c->newer)
		n++;
	return n;
}

/* Workers that said nothing say something; at most so many. */
static void end_silence(struct fake *f, unsigned most)
{
	for (struct cache_node *n = scans_oldest(f->g->s); n && most; n = n->newer) {
		struct scan *c = (struct scan *)n;
		char what = 0;

		assert_int_equal(pread(c->snapshot, &what, 1, 0), 1);
		if (what != 'S' || !c->worker)
			continue;
		fake_honest(fake_find(f, c->worker->wire_serial), c->serial, 'C');
		most--;
	}
	rig_run(f->g, 20);
}

/* One user's files of a mebibyte, and the engine is done with none of them. */
static struct fake *crowded(char then)
{
	struct fake *f = fake_start(true);

	f->g->each = f->g->owners = true;
	f->g->size = 1 << 20;
	written_all(f, 1000100, 3, 'S');
	written_all(f, 1000103, 57, then);
	assert_int_equal(f->scans, 2);
	assert_int_equal(f->g->s->occurrences, 60);
	return f;
}

/* Of a content that a list has. */
static void expect_listed(struct fake *f, uint64_t file)
{
	size_t takes = f->g->takes;

	f->g->other = file;
	f->g->other_content = EVIL;
	rig_write(f->g, file, "name");
	rig_run(f->g, 100);
	assert_in_range(f->g->takes, takes + 1, takes + 2); /* of each name it was given */
	rig_ack(f->g, &f->g->take_id[takes], f->g->takes - takes);
}

static void test_crowd(void **state)
{
	uint64_t clean = rig_counter("judged.clean");
	struct fake *f = crowded('C');
	size_t hashes;

	(void)state;
	assert_int_equal(copies_in_hand(f), 31);
	expect_listed(f, 500);
	expect_listed(f, 1000500);
	/* What is root's is not only read, but scanned. */
	written_all(f, 502, 1, 'C');
	assert_int_equal(f->scans, 3);
	assert_int_equal(rig_counter("judged.clean"), clean + 1);
	/* Another user has room as well, all others together three quarters. */
	written_all(f, 1001200, 1, 'S');
	written_all(f, 1001201, 59, 'C');
	assert_int_equal(copies_in_hand(f), 47);
	written_all(f, 600, 60, 'S');
	assert_int_equal(copies_in_hand(f), 63);
	expect_listed(f, 1002500);
	/* What waits is left alone, and nothing is clean that the engine has not seen. */
	hashes = f->g->hashes;
	rig_run(f->g, 700);
	assert_int_equal(f->g->hashes, hashes);
	assert_int_equal(f->g->s->occurrences, 180);
	assert_int_equal(rig_counter("judged.clean"), clean + 1);
	for (int i = 0; i < 500 && f->g->s->occurrences; i++)
		end_silence(f, 1000);
	until_done(f);
	assert_int_equal(f->scans, 181);
	assert_int_equal(rig_counter("judged.clean"), clean + 181);
	assert_in_range(f->g->hashes, 184, 2 * 184);
	assert_int_equal(scans_room(f->g->s), 64U << 20);
	assert_int_equal(f->g->events, 3);
	fake_free(f);
}

/* What happens to a file that waits, and to the lists, counts at once. */
static void test_crowd_events(void **state)
{
	struct fake *f = crowded('S');
	struct file_event exec = rig_event(EVENT_EXEC, 1000158, "name");
	struct amp_fileid file = st_id(FSID, 1000158), last = st_id(FSID, 1000159);

	(void)state;
	rig_deliver(f->g, &exec);
	rig_run(f->g, 50);
	assert_int_equal(job_find(f->g->s, &file)->state, JOB_QUEUED);
	end_silence(f, 1);
	rig_run(f->g, 50);
	/* What is executed is the next. */
	assert_int_equal(job_find(f->g->s, &file)->state, JOB_SCANNING);
	assert_int_equal(copies_in_hand(f), 31);
	expect_listed(f, 1000159); /* it waited, and is written again */
	assert_null(job_find(f->g->s, &last));
	/* A list learns of what waits. */
	f->g->other = 1000160;
	f->g->other_content = 'Q';
	written_all(f, 1000160, 1, 'S');
	rig_policy(f->g, true, 'Q');
	rig_until(f->g, &f->g->takes, 4); /* ... as what may be running, too */
	fake_free(f);
}

/* Without an engine nothing waits for it. */
static void test_crowd_left(void **state)
{
	struct fake *f = crowded('S');

	(void)state;
	fake_tell(f, AMP__ENGINE_STATE__STATE__EMPTY, 0, "1.0");
	fake_dies(f);
	for (int i = 0; i < 1000 && f->g->s->occurrences; i++)
		rig_run(f->g, 5);
	assert_int_equal(f->g->s->occurrences, 0);
	assert_int_equal(scans_room(f->g->s), 64U << 20);
	fake_free(f);
}

static void test_crowd_of_large(void **state)
{
	struct fake *f = fake_start(true);

	(void)state;
	f->g->each = f->g->owners = true;
	f->g->size = 3 << 20;
	written_all(f, 1000100, 40, 'S');
	assert_int_equal(f->scans, 2);
	assert_in_range(copies_in_hand(f), 4, 6);
	written_all(f, 502, 1, 'C');
	assert_int_equal(f->scans, 3);
	/* Too large for the first turn. */
	f->g->size = 9 << 20;
	f->g->archive = true;
	written_all(f, 1001200, 20, 'S');
	expect_listed(f, 500);
	expect_listed(f, 1000500);
	fake_free(f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_clean),
		cmocka_unit_test(test_infected),
		cmocka_unit_test(test_lists_first),
		cmocka_unit_test(test_joined),
		cmocka_unit_test(test_dirty),
		cmocka_unit_test(test_partial),
		cmocka_unit_test(test_too_large),
		cmocka_unit_test(test_large_lane),
		cmocka_unit_test(test_uncopied),
		cmocka_unit_test(test_crash),
		cmocka_unit_test(test_void),
		cmocka_unit_test(test_timeout),
		cmocka_unit_test(test_not_told),
		cmocka_unit_test(test_liar),
		cmocka_unit_test(test_false_conviction),
		cmocka_unit_test(test_classes),
		cmocka_unit_test(test_retired),
		cmocka_unit_test(test_retired_by_bytes),
		cmocka_unit_test(test_partial_sampled),
		cmocka_unit_test(test_loading),
		cmocka_unit_test(test_empty),
		cmocka_unit_test(test_back),
		cmocka_unit_test(test_away),
		cmocka_unit_test(test_link_deaths),
		cmocka_unit_test(test_reload),
		cmocka_unit_test(test_hostile_worker),
		cmocka_unit_test(test_hostile_engine),
		cmocka_unit_test(test_hostile_reader),
		cmocka_unit_test(test_demand_lane),
		cmocka_unit_test(test_demand_waits),
		cmocka_unit_test(test_demand_turn),
		cmocka_unit_test(test_demand_leaves),
		cmocka_unit_test(test_demand_hurried),
		cmocka_unit_test(test_found),
		cmocka_unit_test(test_definitions),
		cmocka_unit_test(test_descriptors),
		cmocka_unit_test(test_dropped),
		cmocka_unit_test(test_starved),
		cmocka_unit_test(test_idle_engine),
		cmocka_unit_test(test_crowd),
		cmocka_unit_test(test_crowd_events),
		cmocka_unit_test(test_crowd_left),
		cmocka_unit_test(test_crowd_of_large),
	};

	/* Nothing is late but what a test makes late, however long we are kept from running. */
	amp_clock_freeze(amp_clock_monotonic(), amp_clock_realtime());
	return cmocka_run_group_tests(tests, NULL, NULL);
}
