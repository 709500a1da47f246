/*
 * tests/unit/test_buffers.c - events outlive the scanner: what a successor
 * replays, what it counts, and what it makes of a memfd full of rubbish.
 */
#include "scantest.h"

#include "clock.h"

#include <errno.h>
#include <fcntl.h>

#define COUNT  3U
#define PARKED 4U

static int memfd;
static int pipes[2]; /* stands for the group: one write is one read */

static int set_up(void **state)
{
	(void)state;
	memfd = st_memfd(COUNT, PARKED);
	return pipe2(pipes, O_NONBLOCK | O_CLOEXEC | O_DIRECT);
}

static int tear_down(void **state)
{
	(void)state;
	close(memfd);
	close(pipes[0]);
	close(pipes[1]);
	return 0;
}

static struct buffers *map(bool expect_inherited)
{
	bool inherited = !expect_inherited;
	struct buffers *b = st_map(memfd, COUNT, PARKED, &inherited);

	assert_non_null(b);
	assert_int_equal(inherited, expect_inherited);
	return b;
}

/* The scanner dies: the mapping goes, the memfd stays. */
static struct buffers *succeed(struct buffers *b)
{
	buffers_free(b);
	return map(true);
}

/* n events of files first, first + 1 ... reach the group in one read. */
static void queue_events(unsigned n, uint64_t first)
{
	uint8_t raw[4096];
	size_t size = 0;

	for (unsigned i = 0; i < n; i++)
		size += st_write_event(raw + size, first + i, "name");
	assert_int_equal(write(pipes[1], raw, size), size);
}

static unsigned read_events(struct buffers *b, unsigned n, uint64_t first)
{
	const uint8_t *data = NULL;
	unsigned index = 99;

	queue_events(n, first);
	assert_true(buffers_read(b, pipes[0], &index, &data) > 0);
	assert_non_null(data);
	return index;
}

static struct event_slot slot_of(unsigned buffer, unsigned index)
{
	return (struct event_slot){.kind = SLOT_BUFFER, .buffer = (uint16_t)buffer, .index = (uint16_t)index};
}

/* -- replay -- */

struct seen {
	unsigned count, batches;
	uint64_t file[64];
	struct event_slot slot[64];
	int pidfd;
};

static void on_event(const struct file_event *ev, void *arg)
{
	struct seen *s = arg;

	assert_true(s->count < 64);
	memcpy(&s->file[s->count], ev->file.handle.bytes, 8);
	s->pidfd = ev->pidfd;
	s->slot[s->count++] = ev->slot;
}

static void on_batch(void *arg)
{
	((struct seen *)arg)->batches++;
}

static bool never_full(void *arg)
{
	(void)arg;
	return false;
}

static struct seen replay(struct buffers *b)
{
	struct seen s = {.pidfd = -1};
	struct source_ops ops = {.event = on_event, .batch = on_batch, .full = never_full, .arg = &s};
	unsigned cursor = 0, index;
	const uint8_t *data;
	size_t n;

	while (buffers_inherited(b, &cursor, &index, &data, &n))
		source_handle_replay(b, index, data, n, &ops);
	return s;
}

static void test_fresh(void **state)
{
	struct buffers *b = map(false);
	const uint8_t *data;
	unsigned index;

	(void)state;
	assert_true(buffers_have_free(b));
	assert_int_equal(buffers_oldest(b), 0);
	assert_int_equal(buffers_parked(b), 0);
	assert_int_equal(buffers_read(b, pipes[0], &index, &data), 0);
	assert_int_equal(replay(b).count, 0);
	buffers_free(b);
}

static void test_bounds_of_map(void **state)
{
	bool inherited;

	(void)state;
	assert_null(st_map(memfd, COUNT + 1, PARKED, &inherited));
	assert_int_equal(errno, EINVAL);
	assert_null(st_map(memfd, COUNT, PARKED - 1, &inherited));
	assert_null(st_map(memfd, 0, PARKED, &inherited));
	assert_null(st_map(memfd, COUNT, 0, &inherited));
	assert_null(st_map(memfd, AMP_BUFFERS_MAX + 1, PARKED, &inherited));
	assert_null(st_map(memfd, COUNT, AMP_BUFFERS_PARKED + 1, &inherited));
	assert_null(st_map(pipes[0], COUNT, PARKED, &inherited));
}

static void test_successor_gets_the_rest(void **state)
{
	struct buffers *b = map(false);
	unsigned i = read_events(b, 5, 100);
	struct seen s;

	(void)state;
	buffers_filled(b, i, 5);
	buffers_conclude(b, slot_of(i, 0));
	buffers_conclude(b, slot_of(i, 3));
	buffers_conclude(b, slot_of(i, 3)); /* again: nothing happens */
	b = succeed(b);
	s = replay(b);
	assert_int_equal(s.batches, 1);
	assert_int_equal(s.count, 3);
	assert_int_equal(s.file[0], 101);
	assert_int_equal(s.file[1], 102);
	assert_int_equal(s.file[2], 104);
	for (unsigned n = 0; n < s.count; n++)
		buffers_conclude(b, s.slot[n]);
	assert_int_equal(buffers_oldest(b), 0);
	b = succeed(b);
	assert_int_equal(replay(b).count, 0);
	buffers_free(b);
}

/* Death right after read(2), before anything else was noted. */
static void test_death_in_read(void **state)
{
	char name[256] = {0};
	struct buffers *b = map(false);
	uint8_t raw[1024], *map_of;
	struct amp_buffer *buf;
	size_t size = 0;

	(void)state;
	/* An event of 256 bytes: the lowest byte of its length is zero. */
	for (size_t n = 1; n < sizeof(name) && size != 256; n++) {
		memset(name, 'a', n);
		size = st_write_event(raw, 100, name);
	}
	assert_int_equal(size, 256);
	map_of = mmap(NULL, amp_buffers_size(COUNT, PARKED), PROT_READ | PROT_WRITE, MAP_SHARED, memfd, 0);
	assert_ptr_not_equal(map_of, MAP_FAILED);
	buf = (struct amp_buffer *)(map_of + 4096 + PARKED * sizeof(struct amp_parked));
	memcpy(buf->data, raw, size);
	b = succeed(b);
	assert_int_equal(replay(b).count, 1);
	munmap(map_of, amp_buffers_size(COUNT, PARKED));
	buffers_free(b);
}

static void test_numbers_of_a_dead_process(void **state)
{
	struct buffers *b = map(false);
	struct amp_fileid file = st_id(7, 5);
	uint8_t raw[256];
	struct st_event e = st_begin(raw, FAN_OPEN_EXEC, 42);
	const uint8_t *data;
	unsigned index;
	struct seen s;

	(void)state;
	st_fid(&e, FAN_EVENT_INFO_TYPE_FID, &file, NULL);
	st_pidfd(&e, pipes[1]); /* would close what is ours */
	assert_int_equal(write(pipes[1], raw, e.size), e.size);
	assert_true(buffers_read(b, pipes[0], &index, &data) > 0);
	b = succeed(b);
	s = replay(b);
	assert_int_equal(s.count, 1);
	assert_int_equal(s.pidfd, -1);
	assert_true(fcntl(pipes[1], F_GETFD) >= 0);
	buffers_free(b);
}

static void test_buffer_comes_back_with_its_last_event(void **state)
{
	struct buffers *b = map(false);
	const uint8_t *data;
	unsigned i[COUNT], index;

	(void)state;
	for (unsigned n = 0; n < COUNT; n++) {
		i[n] = read_events(b, 2, 10 * n);
		buffers_filled(b, i[n], 2);
	}
	assert_false(buffers_have_free(b));
	queue_events(1, 99);
	assert_int_equal(buffers_read(b, pipes[0], &index, &data), -1);
	assert_int_equal(errno, ENOBUFS);
	buffers_conclude(b, slot_of(i[1], 0));
	assert_false(buffers_have_free(b));
	buffers_conclude(b, slot_of(i[1], 1));
	assert_true(buffers_have_free(b));
	assert_true(buffers_read(b, pipes[0], &index, &data) > 0);
	assert_int_equal(index, i[1]);
	/* Nothing of the former events is behind the new one. */
	for (size_t n = st_write_event((uint8_t[256]){0}, 1, "name"); n < AMP_BUFFER_SIZE; n++)
		assert_int_equal(data[n], 0);
	buffers_filled(b, index, 1);
	assert_false(buffers_is_concluded(b, slot_of(index, 0)));
	buffers_free(b);
}

static void test_concluded_while_filling(void **state)
{
	struct buffers *b = map(false);
	unsigned i = read_events(b, 3, 1);

	(void)state;
	for (unsigned e = 0; e < 3; e++)
		buffers_conclude(b, slot_of(i, e));
	assert_true(buffers_oldest(b) > 0);
	buffers_filled(b, i, 3);
	assert_int_equal(buffers_oldest(b), 0);
	buffers_free(b);
}

static void test_tries_only_of_what_is_in_hand(void **state)
{
	struct buffers *b = map(false);
	unsigned i = read_events(b, 3, 1);

	(void)state;
	buffers_filled(b, i, 3);
	for (unsigned death = 1; death <= 3; death++) {
		buffers_in_hand(b, slot_of(i, 0), true);
		buffers_in_hand(b, slot_of(i, 0), false);
		buffers_in_hand(b, slot_of(i, 1), true);
		b = succeed(b);
		replay(b);
		assert_int_equal(buffers_tries(b, slot_of(i, 0)), 0);
		assert_int_equal(buffers_tries(b, slot_of(i, 1)), death);
		assert_int_equal(buffers_tries(b, slot_of(i, 2)), 0);
	}
	/* It is not counted twice for one death. */
	b = succeed(b);
	replay(b);
	assert_int_equal(buffers_tries(b, slot_of(i, 1)), 3);
	buffers_free(b);
}

static void test_tries_do_not_wrap(void **state)
{
	struct buffers *b = map(false);
	unsigned i = read_events(b, 1, 1);

	(void)state;
	buffers_filled(b, i, 1);
	for (unsigned death = 0; death < 300; death++) {
		buffers_in_hand(b, slot_of(i, 0), true);
		b = succeed(b);
		replay(b);
	}
	assert_int_equal(buffers_tries(b, slot_of(i, 0)), AMP_EVENT_TRIES);
	assert_false(buffers_is_concluded(b, slot_of(i, 0)));
	buffers_free(b);
}

static void test_oldest(void **state)
{
	struct buffers *b = map(false);
	unsigned first, second;
	int64_t t = 1700000000LL * AMP_NS_PER_SEC;

	(void)state;
	amp_clock_freeze(1, t);
	first = read_events(b, 1, 1);
	buffers_filled(b, first, 1);
	amp_clock_advance(5);
	second = read_events(b, 1, 2);
	buffers_filled(b, second, 1);
	assert_int_equal(buffers_oldest(b), t);
	assert_int_equal(buffers_time(b, slot_of(second, 0)), t + 5);
	buffers_conclude(b, slot_of(first, 0));
	assert_int_equal(buffers_oldest(b), t + 5);
	amp_clock_release();
	buffers_free(b);
}

/* -- parking -- */

static unsigned parked_records(struct buffers *b, struct event_slot *slot, const uint8_t **data, size_t *n)
{
	unsigned cursor = 0, found = 0;

	while (buffers_inherited_parked(b, &cursor, slot, data, n))
		found++;
	return found;
}

static void test_park(void **state)
{
	struct buffers *b = map(false);
	unsigned i = read_events(b, 1, 1);
	struct event_slot slot = slot_of(i, 0), again;
	int64_t time = buffers_time(b, slot);
	const uint8_t *data;
	size_t n;

	(void)state;
	buffers_filled(b, i, 1);
	assert_int_equal(buffers_park(b, &slot, "record", 6), 0);
	assert_int_equal(slot.kind, SLOT_PARKED);
	assert_int_equal(buffers_parked(b), 1);
	assert_true(buffers_is_concluded(b, slot_of(i, 0)) || buffers_have_free(b));
	assert_int_equal(buffers_time(b, slot), time);
	b = succeed(b);
	assert_int_equal(replay(b).count, 0); /* not a second time from its buffer */
	assert_int_equal(parked_records(b, &again, &data, &n), 1);
	assert_int_equal(n, 6);
	assert_memory_equal(data, "record", 6);
	assert_int_equal(again.index, slot.index);
	assert_int_equal(buffers_time(b, again), time);
	buffers_conclude(b, again);
	buffers_conclude(b, again);
	assert_int_equal(buffers_parked(b), 0);
	b = succeed(b);
	assert_int_equal(parked_records(b, &again, &data, &n), 0);
	buffers_free(b);
}

static void test_park_keeps_tries(void **state)
{
	struct buffers *b = map(false);
	unsigned i = read_events(b, 1, 1);
	struct event_slot slot = slot_of(i, 0);
	const uint8_t *data;
	size_t n;

	(void)state;
	buffers_filled(b, i, 1);
	buffers_in_hand(b, slot, true);
	b = succeed(b);
	replay(b);
	assert_int_equal(buffers_park(b, &slot, "r", 1), 0);
	assert_int_equal(buffers_tries(b, slot), 1);
	buffers_in_hand(b, slot, true);
	b = succeed(b);
	assert_int_equal(parked_records(b, &slot, &data, &n), 1);
	assert_int_equal(buffers_tries(b, slot), 2);
	buffers_free(b);
}

static void test_park_bounds(void **state)
{
	static uint8_t record[AMP_PARKED_SIZE];
	struct buffers *b = map(false);
	unsigned i = read_events(b, PARKED + 2, 1);
	struct event_slot slot = slot_of(i, 0), none = {.kind = SLOT_NONE}, last;

	(void)state;
	buffers_filled(b, i, PARKED + 2);
	assert_int_equal(buffers_park(b, &slot, record, sizeof(record) - 19), -1);
	assert_int_equal(errno, ENOSPC);
	assert_int_equal(slot.kind, SLOT_BUFFER);
	assert_int_equal(buffers_park(b, &none, record, 1), -1);
	assert_int_equal(buffers_park(b, &slot, record, sizeof(record) - 20), 0);
	assert_int_equal(buffers_park(b, &slot, record, 1), -1); /* it is parked */
	for (unsigned e = 1; e < PARKED; e++) {
		slot = slot_of(i, e);
		assert_int_equal(buffers_park(b, &slot, record, 1), 0);
	}
	last = slot_of(i, PARKED);
	assert_int_equal(buffers_park(b, &last, record, 1), -1);
	assert_int_equal(errno, ENOSPC);
	buffers_conclude(b, slot);
	assert_int_equal(buffers_park(b, &last, record, 1), 0);
	assert_int_equal(buffers_parked(b), PARKED);
	buffers_free(b);
}

/* -- a hostile predecessor -- */

static void fill_memfd(const uint8_t *pattern, size_t n)
{
	size_t size = amp_buffers_size(COUNT, PARKED);
	uint8_t *m = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, memfd, 0);
	struct amp_buffers_head head = {
		.magic = AMP_BUFFERS_MAGIC, .count = UINT32_MAX, .parked = UINT32_MAX};

	assert_ptr_not_equal(m, MAP_FAILED);
	for (size_t i = 0; i < size; i++)
		m[i] = pattern[i % n];
	memcpy(m, &head, sizeof(head));
	munmap(m, size);
}

/* Everything that can be called is called; then it must serve as a fresh one. */
static void survive(void)
{
	struct buffers *b = map(true);
	int64_t now = amp_clock_realtime();
	struct event_slot slot;
	unsigned cursor = 0;
	const uint8_t *data;
	struct seen s = {.count = 0};
	size_t n;

	assert_true(buffers_oldest(b) >= 0 && buffers_oldest(b) <= now);
	while (buffers_inherited_parked(b, &cursor, &slot, &data, &n)) {
		assert_true(n <= AMP_PARKED_SIZE - 20);
		assert_true(slot.index < PARKED);
		assert_true(buffers_time(b, slot) > 0 && buffers_time(b, slot) <= now);
		buffers_conclude(b, slot);
	}
	s = replay(b);
	for (unsigned e = 0; e < s.count; e++) {
		assert_true(buffers_time(b, s.slot[e]) > 0 && buffers_time(b, s.slot[e]) <= now);
		buffers_conclude(b, s.slot[e]);
	}
	assert_int_equal(buffers_parked(b), 0);
	assert_int_equal(buffers_oldest(b), 0);
	b = succeed(b);
	assert_int_equal(replay(b).count, 0);
	slot = slot_of(read_events(b, 1, 1), 0);
	buffers_filled(b, slot.buffer, 1);
	assert_int_equal(buffers_park(b, &slot, "x", 1), 0);
	buffers_conclude(b, slot);
	assert_int_equal(buffers_oldest(b), 0);
	buffers_free(b);
}

static void test_rubbish(void **state)
{
	static const uint8_t ones[] = {0xff}, one[] = {1, 0, 0, 0}, three[] = {3}, high[] = {0, 0, 0, 0x80};
	uint8_t noise[4093];

	(void)state;
	fill_memfd(ones, sizeof(ones));
	survive();
	fill_memfd(one, sizeof(one)); /* every slot is used */
	survive();
	fill_memfd(three, sizeof(three));
	survive();
	fill_memfd(high, sizeof(high));
	survive();
	for (unsigned seed = 1; seed < 20; seed++) {
		srand(seed);
		for (size_t i = 0; i < sizeof(noise); i++)
			noise[i] = (uint8_t)rand();
		fill_memfd(noise, sizeof(noise));
		survive();
	}
}

/* Slots that are in use, with lengths beyond them. */
static void test_parked_lengths(void **state)
{
	static const uint32_t lengths[] = {AMP_PARKED_SIZE - 19, AMP_PARKED_SIZE, INT32_MAX, UINT32_MAX};
	size_t size = amp_buffers_size(COUNT, PARKED);
	struct amp_parked *slots;
	struct buffers *b = map(false);
	struct event_slot slot;
	const uint8_t *data;
	unsigned cursor = 0;
	uint8_t *raw;
	size_t n;

	(void)state;
	raw = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, memfd, 0);
	assert_ptr_not_equal(raw, MAP_FAILED);
	slots = (struct amp_parked *)(raw + 4096);
	for (unsigned i = 0; i < PARKED; i++) {
		slots[i].used = 1;
		slots[i].length = lengths[i];
	}
	b = succeed(b);
	for (unsigned i = 0; i < PARKED; i++) {
		assert_true(buffers_inherited_parked(b, &cursor, &slot, &data, &n));
		assert_int_equal(n, 0);
		buffers_conclude(b, slot);
	}
	assert_int_equal(buffers_parked(b), 0);
	munmap(raw, size);
	buffers_free(b);
}

/* More events than states: the rest of the buffer is let go, nothing is overrun. */
static void test_more_events_than_states(void **state)
{
	size_t size = amp_buffers_size(COUNT, PARKED);
	struct fanotify_event_metadata m = {.event_len = sizeof(m),
					    .vers = FANOTIFY_METADATA_VERSION,
					    .metadata_len = sizeof(m),
					    .mask = FAN_Q_OVERFLOW};
	struct buffers *b = map(false);
	struct amp_buffer *buf;
	uint8_t *raw;
	unsigned cursor = 0, index;
	const uint8_t *data;
	size_t n;

	(void)state;
	raw = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, memfd, 0);
	assert_ptr_not_equal(raw, MAP_FAILED);
	buf = (struct amp_buffer *)(raw + 4096 + PARKED * sizeof(struct amp_parked));
	buf->used = UINT32_MAX;
	for (size_t at = 0; at + sizeof(m) <= AMP_BUFFER_SIZE; at += sizeof(m))
		memcpy(buf->data + at, &m, sizeof(m));
	for (unsigned e = 0; e < AMP_BUFFER_EVENTS; e++)
		buf->state[e] = AMP_EVENT_CONCLUDED;
	b = succeed(b);
	assert_true(buffers_inherited(b, &cursor, &index, &data, &n));
	assert_int_equal(n, AMP_BUFFER_SIZE);
	buffers_filled(b, index, UINT32_MAX);
	assert_int_equal(buffers_oldest(b), 0);
	munmap(raw, size);
	buffers_free(b);
}

static void test_slots_out_of_range(void **state)
{
	struct buffers *b = map(false);
	static const struct event_slot bad[] = {
		{.kind = SLOT_BUFFER, .buffer = COUNT},
		{.kind = SLOT_BUFFER, .buffer = UINT16_MAX, .index = UINT16_MAX},
		{.kind = SLOT_BUFFER, .index = AMP_BUFFER_EVENTS},
		{.kind = SLOT_PARKED, .index = PARKED},
		{.kind = 77},
		{.kind = SLOT_NONE},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		buffers_conclude(b, bad[i]);
		buffers_in_hand(b, bad[i], true);
		assert_int_equal(buffers_tries(b, bad[i]), 0);
		assert_false(buffers_is_concluded(b, bad[i]));
		assert_true(buffers_time(b, bad[i]) >= 0);
	}
	assert_int_equal(buffers_oldest(b), 0);
	assert_int_equal(buffers_parked(b), 0);
	buffers_free(b);
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		CASE(test_fresh),
		CASE(test_bounds_of_map),
		CASE(test_successor_gets_the_rest),
		CASE(test_death_in_read),
		CASE(test_numbers_of_a_dead_process),
		CASE(test_buffer_comes_back_with_its_last_event),
		CASE(test_concluded_while_filling),
		CASE(test_tries_only_of_what_is_in_hand),
		CASE(test_tries_do_not_wrap),
		CASE(test_oldest),
		CASE(test_park),
		CASE(test_park_keeps_tries),
		CASE(test_park_bounds),
		CASE(test_rubbish),
		CASE(test_parked_lengths),
		CASE(test_more_events_than_states),
		CASE(test_slots_out_of_range),
	};

	return cmocka_run_group_tests_name("buffers", tests, NULL, NULL);
}
