/*
 * tests/unit/test_park.c - an event parked by a scanner and taken up by its
 * successor; and records that nobody wrote.
 */
#include "scantest.h"

#include "ampscand/scand.h"

#define COUNT  1U
#define PARKED 2U

static int memfd;
static struct scand scand;

static int set_up(void **state)
{
	bool inherited;

	(void)state;
	memfd = st_memfd(COUNT, PARKED);
	scand = (struct scand){.buffers = st_map(memfd, COUNT, PARKED, &inherited)};
	return scand.buffers ? 0 : -1;
}

static int tear_down(void **state)
{
	(void)state;
	buffers_free(scand.buffers);
	close(memfd);
	return 0;
}

static void release(struct occurrence *o)
{
	who_unref(o->who);
	free(o);
}

static struct occurrence *make(uint64_t dir, const char *name, size_t name_size)
{
	struct amp_fileid d = st_id(7, dir);
	struct occurrence *o = occurrence_new(dir ? &d : NULL, name, name_size);

	assert_non_null(o);
	o->slot = (struct event_slot){.kind = SLOT_BUFFER};
	return o;
}

/* Parks it, lets the scanner die, and gives what the successor finds. */
static const uint8_t *parked(struct occurrence *o, const struct amp_fileid *file, size_t *n)
{
	unsigned cursor = 0;
	struct event_slot slot;
	const uint8_t *data;
	bool inherited;

	assert_int_equal(park_occurrence(&scand, o, file), 0);
	assert_int_equal(o->slot.kind, SLOT_PARKED);
	buffers_free(scand.buffers);
	scand.buffers = st_map(memfd, COUNT, PARKED, &inherited);
	assert_true(inherited);
	assert_true(buffers_inherited_parked(scand.buffers, &cursor, &slot, &data, n));
	return data;
}

static void test_round_trip(void **state)
{
	struct amp_fileid file = st_id(7, 22), got;
	struct occurrence *o = make(11, "a \n name", 8), *back;
	uint8_t directory = 9;
	const uint8_t *data;
	size_t n;

	(void)state;
	o->cause = EVENT_WRITE | EVENT_EXEC;
	o->who = who_make(true, 4711, 1000, "/usr/bin/vi", 11);
	o->who->seen_ns = INT64_MAX - 5;
	data = parked(o, &file, &n);
	back = park_restore(data, n, &got, &directory);
	assert_non_null(back);
	assert_true(amp_fileid_equal(&got, &file));
	assert_int_equal(directory, 0);
	assert_int_equal(back->cause, EVENT_WRITE | EVENT_EXEC);
	assert_int_equal(back->name_size, 8);
	assert_memory_equal(back->name, "a \n name", 8);
	assert_non_null(back->directory);
	assert_true(amp_fileid_equal(back->directory, o->directory));
	assert_true(back->who->known);
	assert_int_equal(back->who->pid, 4711);
	assert_int_equal(back->who->uid, 1000);
	assert_string_equal(back->who->exe, "/usr/bin/vi");
	assert_int_equal(back->who->seen_ns, INT64_MAX - 5);
	assert_int_equal(back->who->exe_ino, 0); /* the process may be another by now */
	assert_int_equal(back->fd, -1);
	release(back);
	release(o);
}

static void test_little_known(void **state)
{
	struct amp_fileid file = st_id(7, 22), got;
	struct occurrence *o = make(0, NULL, 0), *back;
	uint8_t directory = 9;
	const uint8_t *data;
	size_t n;

	(void)state;
	o->cause = CAUSE_REPAIR;
	data = parked(o, &file, &n);
	back = park_restore(data, n, &got, &directory);
	assert_non_null(back);
	assert_null(back->directory);
	assert_int_equal(back->name_size, 0);
	assert_false(back->who->known);
	assert_int_equal(back->who->exe_size, 0);
	assert_int_equal(back->who->seen_ns, 0);
	release(back);
	release(o);
}

static void test_directory(void **state)
{
	struct amp_fileid file = st_id(7, 22), got;
	struct occurrence *o = make(11, "d", 1), *back;
	uint8_t directory = 0;
	const uint8_t *data;
	size_t n;

	(void)state;
	o->cause = EVENT_RENAME | EVENT_DIRECTORY;
	data = parked(o, &file, &n);
	back = park_restore(data, n, &got, &directory);
	assert_non_null(back);
	assert_int_equal(directory, 1);
	release(back);
	release(o);
}

/* The longest handles, name and program fit a slot; a longer program is cut. */
static void test_largest(void **state)
{
	struct amp_fileid file = {.fsid = 7, .handle = {.type = 3, .size = AMP_FILE_HANDLE_MAX}}, got;
	char name[255], exe[4000];
	struct occurrence *o, *back;
	uint8_t directory;
	const uint8_t *data;
	size_t n;

	(void)state;
	memset(file.handle.bytes, 0xaa, sizeof(file.handle.bytes));
	memset(name, 'n', sizeof(name));
	memset(exe, 'e', sizeof(exe));
	o = occurrence_new(&file, name, sizeof(name));
	assert_non_null(o);
	o->slot = (struct event_slot){.kind = SLOT_BUFFER};
	o->who = who_make(true, 1, 1, exe, sizeof(exe));
	data = parked(o, &file, &n);
	back = park_restore(data, n, &got, &directory);
	assert_non_null(back);
	assert_true(amp_fileid_equal(&got, &file));
	assert_true(amp_fileid_equal(back->directory, &file));
	assert_int_equal(back->name_size, sizeof(name));
	assert_memory_equal(back->name, name, sizeof(name));
	assert_true(back->who->exe_size >= 255 && back->who->exe_size < sizeof(exe));
	assert_memory_equal(back->who->exe, exe, back->who->exe_size);
	release(back);
	release(o);
}

static void test_no_slot_free(void **state)
{
	struct amp_fileid file = st_id(7, 22);
	struct occurrence *o[PARKED + 1];

	(void)state;
	for (unsigned i = 0; i <= PARKED; i++) {
		o[i] = make(1, "x", 1);
		o[i]->slot.index = (uint16_t)i;
		assert_int_equal(park_occurrence(&scand, o[i], &file), i < PARKED ? 0 : -1);
	}
	assert_int_equal(o[PARKED]->slot.kind, SLOT_BUFFER); /* it stays where it is */
	for (unsigned i = 0; i <= PARKED; i++)
		release(o[i]);
}

/* What comes of a record that nobody wrote: nothing, or something within bounds. */
static void try_record(const uint8_t *data, size_t n)
{
	struct amp_fileid file;
	uint8_t directory = 0;
	struct occurrence *o = park_restore(data, n, &file, &directory);

	if (!o)
		return;
	assert_in_range(file.handle.size, 1, AMP_FILE_HANDLE_MAX);
	assert_true(o->name_size <= 255);
	assert_true(!o->directory || o->directory->handle.size <= AMP_FILE_HANDLE_MAX);
	assert_true(!o->who || o->who->exe_size <= 300);
	assert_true(!o->who || o->who->seen_ns >= 0);
	assert_true(file.handle.size + o->name_size + (o->who ? o->who->exe_size : 0) < n);
	release(o);
}

/* Of another form: it says nothing. */
static void test_another_form(void **state)
{
	struct amp_fileid file = st_id(7, 22), got;
	struct occurrence *o = make(11, "name", 4);
	uint8_t copy[AMP_PARKED_SIZE], directory;
	const uint8_t *data;
	size_t n;

	(void)state;
	data = parked(o, &file, &n);
	memcpy(copy, data, n);
	copy[22] ^= 1; /* form */
	assert_null(park_restore(copy, n, &got, &directory));
	release(o);
}

static uint8_t *page_end(size_t n)
{
	static uint8_t *two;
	size_t page = (size_t)sysconf(_SC_PAGESIZE);

	if (!two) {
		two = mmap(NULL, 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		assert_ptr_not_equal(two, MAP_FAILED);
		assert_int_equal(mprotect(two + page, page, PROT_NONE), 0);
	}
	return two + page - n;
}

static void test_hostile_records(void **state)
{
	struct amp_fileid file = st_id(7, 22);
	struct occurrence *o = make(11, "name", 4);
	const uint8_t *data;
	uint8_t *at;
	size_t n;

	(void)state;
	o->who = who_make(true, 1, 1, "/bin/sh", 7);
	data = parked(o, &file, &n);
	for (size_t cut = 0; cut < n; cut++) {
		struct amp_fileid got;
		uint8_t directory;

		at = page_end(cut);
		memcpy(at, data, cut);
		assert_null(park_restore(at, cut, &got, &directory));
	}
	at = page_end(n);
	for (size_t i = 0; i + 2 <= 48; i += 2) {
		static const uint16_t values[] = {0, 1, 127, 128, 129, 255, 256, 300, 301, 32768, 65535};

		for (size_t v = 0; v < sizeof(values) / sizeof(values[0]); v++) {
			memcpy(at, data, n);
			memcpy(at + i, &values[v], 2);
			try_record(at, n);
		}
	}
	/* In a whole slot, where longer fields would find room. */
	for (size_t i = 0; i + 2 <= 48; i += 2)
		for (unsigned v = 0; v < 1024; v++) {
			uint8_t slot[AMP_PARKED_SIZE - 20] = {0};
			uint16_t value = (uint16_t)v;

			memcpy(slot, data, n);
			memcpy(slot + i, &value, 2);
			try_record(slot, sizeof(slot));
		}
	srand(1);
	for (unsigned round = 0; round < 100000; round++) {
		memcpy(at, data, n);
		for (unsigned k = 0; k < 3; k++)
			at[(size_t)rand() % n] = (uint8_t)rand();
		try_record(at, n);
	}
	release(o);
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		CASE(test_round_trip),	 CASE(test_little_known), CASE(test_directory),
		CASE(test_largest),	 CASE(test_no_slot_free), CASE(test_hostile_records),
		CASE(test_another_form),
	};

	return cmocka_run_group_tests_name("park", tests, NULL, NULL);
}
