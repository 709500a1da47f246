/*
 * tests/unit/test_turns.c - whose content the engine looks at next (ampscand/turns.c),
 * seen from workers that a test plays. A file's number is its owner's, times a thousand.
 */
#include "enginetest.h"

#define A 1001U
#define B 1002U
#define C 1003U

static void written(struct fake *f, uid_t owner, uint64_t from, uint64_t n, char what)
{
	f->g->content = (uint8_t)what;
	for (uint64_t i = 0; i < n; i++)
		rig_write(f->g, owner * 1000ULL + from + i, "name");
	rig_run(f->g, 30);
}

/* As if workers had been his for a minute more: no time that a test takes matters beside it. */
static void used_a_minute(struct fake *f, uid_t uid)
{
	struct turns *t = &f->g->s->scans->turns;

	turns_used(t, turns_find(t, uid), 60 * AMP_NS_PER_SEC);
}

static unsigned owners(const struct fake *f)
{
	unsigned n = 0;

	for (const struct owner *o = f->g->s->scans->turns.others; o; o = o->next)
		n++;
	return n;
}

/* Workers, one of them root's own, and one that no other owner has alone if there are three. */
static struct fake *fake_of(uint32_t workers)
{
	struct fake *f = fake_start(true);

	fake_tell(f, AMP__ENGINE_STATE__STATE__READY, workers, "1.0");
	f->g->each = f->g->owners = true;
	return f;
}

/* In a worker's hand; his first. */
static struct scan *in_hand(struct fake *f, uid_t uid)
{
	for (struct cache_node *n = scans_oldest(f->g->s); n; n = n->newer) {
		struct scan *c = (struct scan *)n;

		if (c->worker && (c->hold.owner ? c->hold.owner->uid : 0) == uid)
			return c;
	}
	return NULL;
}

static void end_silence(struct fake *f, uid_t uid)
{
	struct scan *c = in_hand(f, uid);

	assert_non_null(c);
	fake_honest(fake_find(f, c->worker->wire_serial), c->serial, 'C');
	rig_run(f->g, 20);
}

/* However many are slow, the others' are looked at meanwhile. */
static void test_slow_files_leave_a_worker(void **state)
{
	struct fake *f = fake_of(4);

	(void)state;
	written(f, A, 1, 10, 'S');
	assert_int_equal(f->scans, 2);
	written(f, B, 1, 20, 'C');
	assert_int_equal(f->scans, 22);
	written(f, C, 1, 20, 'C');
	written(f, 0, 1, 20, 'C');
	assert_int_equal(f->scans, 62);
	assert_int_equal(f->g->s->occurrences, 10);
	fake_free(f);
	f = fake_of(4);
	written(f, 0, 1, 10, 'S');
	assert_int_equal(f->scans, 2);
	written(f, A, 1, 20, 'C');
	assert_int_equal(f->scans, 22);
	fake_free(f);
	/* Together others leave root one. */
	f = fake_of(4);
	for (uid_t uid = A; uid < A + 4; uid++)
		written(f, uid, 1, 1, 'S');
	assert_int_equal(f->scans, 3);
	written(f, 0, 1, 20, 'C');
	assert_int_equal(f->scans, 23);
	fake_free(f);
}

/* One worker is there for others than root. Who used it long lets those go first who did not. */
static void test_who_used_less(void **state)
{
	struct fake *f = fake_of(2);

	(void)state;
	written(f, A, 1, 1, 'S');
	written(f, A, 10, 3, 'S');
	written(f, B, 1, 3, 'S');
	assert_int_equal(f->scans, 1);
	assert_non_null(in_hand(f, A));
	used_a_minute(f, A);
	end_silence(f, A);
	for (int i = 0; i < 3; i++) {
		assert_null(in_hand(f, A));
		end_silence(f, B);
	}
	assert_non_null(in_hand(f, A));
	/* So does it with one who comes anew. */
	written(f, C, 1, 2, 'S');
	used_a_minute(f, A);
	end_silence(f, A);
	assert_null(in_hand(f, A));
	end_silence(f, C);
	end_silence(f, C);
	end_silence(f, A);
	end_silence(f, A);
	assert_int_equal(f->g->s->occurrences, 0);
	fake_free(f);
}

/* What somebody used while nobody else waited is not held against him. */
static void test_what_nobody_wanted(void **state)
{
	struct fake *f = fake_of(2);
	struct turns *t = &f->g->s->scans->turns;

	(void)state;
	written(f, A, 1, 2, 'S');
	used_a_minute(f, A);
	end_silence(f, A);
	written(f, B, 1, 2, 'S');
	assert_true(turns_find(t, B)->used_ns >= 60 * AMP_NS_PER_SEC);
	written(f, A, 10, 1, 'S');
	used_a_minute(f, B);
	end_silence(f, A); /* the one after the minute */
	assert_non_null(in_hand(f, A));
	fake_free(f);
}

/* What failed waits for what never did, of the same owner. */
static void test_what_failed_goes_last(void **state)
{
	struct fake *f = fake_of(2);
	struct scan *c;

	(void)state;
	written(f, A, 1, 1, 'S');
	written(f, A, 2, 3, 'S');
	c = in_hand(f, A);
	fake_gone(fake_find(f, c->worker->wire_serial), SIGSEGV, 0);
	rig_run(f->g, 20);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(in_hand(f, A)->failures, 0);
		end_silence(f, A);
	}
	assert_int_equal(in_hand(f, A)->failures, 1);
	end_silence(f, A);
	assert_int_equal(f->g->s->occurrences, 0);
	fake_free(f);
}

/* Of whom nothing is here any more it is only remembered that he used more than others. */
static void test_forgotten(void **state)
{
	struct fake *f = fake_of(2);

	(void)state;
	for (uid_t uid = 2000; uid < 2100; uid++)
		written(f, uid, 1, 1, 'C');
	assert_int_equal(f->g->s->occurrences, 0);
	assert_int_equal(f->scans, 100);
	assert_int_equal(owners(f), 0);
	written(f, A, 1, 1, 'S');
	written(f, B, 1, 1, 'S');
	used_a_minute(f, A);
	end_silence(f, A);
	assert_int_equal(owners(f), 2);
	assert_non_null(turns_find(&f->g->s->scans->turns, A));
	end_silence(f, B);
	assert_int_equal(owners(f), 0);
	fake_free(f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_slow_files_leave_a_worker),
		cmocka_unit_test(test_who_used_less),
		cmocka_unit_test(test_what_nobody_wanted),
		cmocka_unit_test(test_what_failed_goes_last),
		cmocka_unit_test(test_forgotten),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
