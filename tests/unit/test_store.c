/*
 * tests/unit/test_store.c - ampcloudd's store with a real SQLite: occurrences,
 * pruning, queries and pages, a full disk, a broken file, sudden death.
 */
#include "cloudtest.h"

#include "ampcloudd/store.h"
#include "eventcheck.h"
#include "proto/types.h"
#include "tests/unit/skip.h"

#include <signal.h>
#include <sys/wait.h>

#define T0 (INT64_C(1700000000) * 1000000000)

static struct store *store_in(const struct test_dir *d, uint64_t max_rows, int64_t max_size)
{
	const struct store_config c = {
		.path = dir_file(d, "events.db"),
		.reserve_path = dir_file(d, "events.reserve"),
		.reserve_size = 1 << 20,
		.max_rows = max_rows,
		.max_size = max_size,
	};
	struct store *s = store_new(&c);
	bool was_broken;

	assert_non_null(s);
	if (store_open(s, &was_broken) != AMP_DB_OK)
		fail_msg("open: %s", store_why(s));
	return s;
}

static struct store_counts must_add(struct store *s, const Amp__Event *e)
{
	struct store_counts counts = {0};

	assert_int_equal(store_begin(s), AMP_DB_OK);
	assert_int_equal(store_add(s, e, &counts), AMP_DB_OK);
	assert_int_equal(store_commit(s), AMP_DB_OK);
	return counts;
}

/* n events uid-FROM.. in one transaction; time grows with the number. */
static void add_many(struct store *s, unsigned from, unsigned n, const char *type, unsigned severity)
{
	struct store_counts counts = {0};
	char uid[32];

	assert_int_equal(store_begin(s), AMP_DB_OK);
	for (unsigned i = from; i < from + n; i++) {
		Amp__Event e;

		snprintf(uid, sizeof(uid), "uid-%u", i);
		e = make_event(uid, type, T0 + i, severity);
		assert_int_equal(store_add(s, &e, &counts), AMP_DB_OK);
	}
	assert_int_equal(store_commit(s), AMP_DB_OK);
	assert_int_equal(counts.added, n);
}

static struct store_filter filter(size_t limit)
{
	return (struct store_filter){.limit = limit, .room = 48 << 10};
}

static Amp__CliHistoryReply *ask(struct store *s, const struct store_filter *f, unsigned *steps)
{
	struct store_query q;
	unsigned n = 0;

	assert_int_equal(store_query_init(&q, f), 0);
	for (; !q.finished; n++)
		assert_int_equal(store_query_step(s, &q), AMP_DB_OK);
	if (steps)
		*steps = n;
	return q.reply;
}

static void forget(Amp__CliHistoryReply *r)
{
	amp__cli_history_reply__free_unpacked(r, NULL);
}

static size_t rows(struct store *s)
{
	struct store_filter f = filter(AMP_HISTORY_BATCH);
	size_t n = 0;
	bool more;

	do {
		Amp__CliHistoryReply *r = ask(s, &f, NULL);

		n += r->n_entries;
		more = r->more;
		f.before = r->next_before;
		forget(r);
	} while (more);
	return n;
}

static void test_every_field_comes_back(void **state)
{
	struct test_dir d;
	struct store *s;
	struct store_filter f = filter(10);
	uint8_t sha[32], path[] = {'/', 0xff, '\n', 'x'}, handle[8] = {1, 2, 3};
	Amp__Process p = AMP__PROCESS__INIT;
	Amp__Event e = make_event(UUID_A "/detected", "threat_detected", T0, 3);
	Amp__CliHistoryReply *r;
	Amp__CliHistoryEntry *h;

	(void)state;
	dir_make(&d);
	s = store_in(&d, 0, 0);
	memset(sha, 0xab, sizeof(sha));
	p.known = 1;
	p.pid = 4711;
	p.uid = 4294967294U;
	p.exe = (ProtobufCBinaryData){4, path};
	e.detection_id = (char *)(uintptr_t)UUID_A;
	e.detection = (char *)(uintptr_t) "EICAR-Test-File";
	e.path = (ProtobufCBinaryData){sizeof(path), path};
	e.path_unresolved = 1;
	e.sha256 = (ProtobufCBinaryData){sizeof(sha), sha};
	e.size = UINT64_MAX;
	e.process = &p;
	e.mode = (char *)(uintptr_t) "protect";
	e.cause = (char *)(uintptr_t) "write";
	e.detail = (char *)(uintptr_t) "it's; \"quoted\"";
	e.fsid = UINT64_MAX - 1;
	e.handle = (ProtobufCBinaryData){sizeof(handle), handle};
	assert_null(amp_event_check(&e));
	assert_int_equal(must_add(s, &e).added, 1);
	r = ask(s, &f, NULL);
	assert_int_equal(r->n_entries, 1);
	assert_false(r->more);
	h = r->entries[0];
	assert_int_equal(h->number, 1);
	assert_string_equal(h->id, e.uid);
	assert_int_equal(h->time_ns, T0);
	assert_string_equal(h->type, e.type);
	assert_int_equal(h->severity, 3);
	assert_string_equal(h->detection_id, UUID_A);
	assert_string_equal(h->detection, e.detection);
	assert_int_equal(h->path.len, sizeof(path));
	assert_memory_equal(h->path.data, path, sizeof(path));
	assert_true(h->path_unresolved);
	assert_memory_equal(h->sha256.data, sha, sizeof(sha));
	assert_true(h->size == UINT64_MAX);
	assert_int_equal(h->process->pid, 4711);
	assert_int_equal(h->process->uid, 4294967294U);
	assert_memory_equal(h->process->exe.data, path, 4);
	assert_string_equal(h->mode, "protect");
	assert_string_equal(h->cause, "write");
	assert_string_equal(h->detail, e.detail);
	forget(r);
	store_free(s);
	dir_remove(&d);
}

static void test_occurrences(void **state)
{
	struct test_dir d;
	struct store *s;
	Amp__Event e = make_event("d/detected", "threat_detected", T0, 3);
	struct store_filter f = filter(10);
	struct store_counts c;
	Amp__CliHistoryReply *r;

	(void)state;
	dir_make(&d);
	s = store_in(&d, 0, 0);
	assert_int_equal(must_add(s, &e).added, 1);
	assert_int_equal(must_add(s, &e).duplicates, 1);
	e.time_ns = T0 + HOUR;
	assert_int_equal(must_add(s, &e).repeated, 1);
	e.time_ns = T0 + HOUR + 1;
	c = must_add(s, &e);
	assert_int_equal(c.added, 1);
	assert_int_equal(c.occurrences, 1);
	assert_int_equal(must_add(s, &e).duplicates, 1); /* sent again */
	e.time_ns = T0;					 /* the first, sent again late */
	assert_int_equal(must_add(s, &e).added, 0);
	e.time_ns = T0 + HOUR + 2; /* counts from the newest, not from the first */
	assert_int_equal(must_add(s, &e).repeated, 1);
	e.time_ns = T0 + 3 * HOUR;
	assert_int_equal(must_add(s, &e).occurrences, 1);
	r = ask(s, &f, NULL);
	assert_int_equal(r->n_entries, 3);
	assert_string_equal(r->entries[0]->id, "d/detected#3");
	assert_string_equal(r->entries[1]->id, "d/detected#2");
	assert_string_equal(r->entries[2]->id, "d/detected");
	forget(r);
	store_free(s);
	dir_remove(&d);
}

static void test_others_have_no_occurrences(void **state)
{
	struct test_dir d;
	struct store *s;
	Amp__Event e = make_event("k", "process_killed", T0, 3);

	(void)state;
	dir_make(&d);
	s = store_in(&d, 0, 0);
	must_add(s, &e);
	e.time_ns += 5 * HOUR;
	assert_int_equal(must_add(s, &e).duplicates, 1);
	assert_int_equal(rows(s), 1);
	store_free(s);
	dir_remove(&d);
}

static void test_rollback(void **state)
{
	struct test_dir d;
	struct store *s;
	struct store_counts counts = {0};
	Amp__Event e = make_event("a", "x", T0, 1);

	(void)state;
	dir_make(&d);
	s = store_in(&d, 1, 0);
	assert_int_equal(store_begin(s), AMP_DB_OK);
	assert_int_equal(store_add(s, &e, &counts), AMP_DB_OK);
	store_rollback(s);
	assert_int_equal(rows(s), 0);
	must_add(s, &e);
	assert_false(store_over(s)); /* the row rolled back is not counted */
	store_free(s);
	dir_remove(&d);
}

static void test_filters(void **state)
{
	struct test_dir d;
	struct store *s;
	struct store_filter f = filter(100);
	Amp__Event e = make_event("z", "threat_detected", T0 + 5, 3);
	Amp__CliHistoryReply *r;

	(void)state;
	dir_make(&d);
	s = store_in(&d, 0, 0);
	add_many(s, 0, 10, "file_seen", 0);
	e.detection_id = (char *)(uintptr_t)UUID_B;
	must_add(s, &e);
	add_many(s, 10, 10, "policy_changed", 0);
	snprintf(f.type, sizeof(f.type), "policy_changed");
	r = ask(s, &f, NULL);
	assert_int_equal(r->n_entries, 10);
	assert_string_equal(r->entries[0]->id, "uid-19");
	forget(r);
	f.since_ns = T0 + 15;
	r = ask(s, &f, NULL);
	assert_int_equal(r->n_entries, 5);
	forget(r);
	f = filter(100);
	snprintf(f.detection_id, sizeof(f.detection_id), UUID_B);
	r = ask(s, &f, NULL);
	assert_int_equal(r->n_entries, 1);
	assert_string_equal(r->entries[0]->id, "z");
	forget(r);
	snprintf(f.type, sizeof(f.type), "policy_changed");
	r = ask(s, &f, NULL);
	assert_int_equal(r->n_entries, 0);
	assert_false(r->more);
	forget(r);
	store_free(s);
	dir_remove(&d);
}

/* Every row once, newest first, whatever the page's size. */
static void test_pages(void **state)
{
	struct test_dir d;
	struct store *s;
	struct store_filter f = filter(7);
	uint64_t expected = 100;
	bool more = true;

	(void)state;
	dir_make(&d);
	s = store_in(&d, 0, 0);
	add_many(s, 1, 100, "x", 0);
	while (more) {
		Amp__CliHistoryReply *r = ask(s, &f, NULL);

		for (size_t i = 0; i < r->n_entries; i++)
			assert_int_equal(r->entries[i]->number, expected--);
		more = r->more;
		f.before = r->next_before;
		forget(r);
	}
	assert_int_equal(expected, 0);
	f.before = UINT64_MAX;
	assert_int_equal(rows(s), 100);
	f.before = 1;
	forget(ask(s, &f, NULL));
	store_free(s);
	dir_remove(&d);
}

/* Rows as large as they may be: each page fits into a message. */
static void test_large_rows(void **state)
{
	struct test_dir d;
	struct store *s;
	struct store_filter f = filter(100);
	static uint8_t path[AMP_PATH_MAX];
	static char detail[AMP_EVENT_DETAIL_MAX + 1];
	Amp__Process p = AMP__PROCESS__INIT;
	Amp__Event e = make_event("", "x", T0, 0);
	char uid[8];
	unsigned pages = 0;
	bool more = true;

	(void)state;
	dir_make(&d);
	s = store_in(&d, 0, 0);
	memset(path, 'p', sizeof(path));
	memset(detail, 'd', AMP_EVENT_DETAIL_MAX);
	p.exe = (ProtobufCBinaryData){AMP_EVENT_EXE_MAX, path};
	e.process = &p;
	e.path = (ProtobufCBinaryData){sizeof(path), path};
	e.detail = detail;
	e.uid = uid;
	for (int i = 0; i < 5; i++) {
		snprintf(uid, sizeof(uid), "u%d", i);
		assert_null(amp_event_check(&e));
		must_add(s, &e);
	}
	for (; more; pages++) {
		Amp__CliHistoryReply *r = ask(s, &f, NULL);

		assert_true(amp__cli_history_reply__get_packed_size(r) + 16 <= AMP_MSG_MAX);
		assert_int_equal(r->n_entries, 1);
		more = r->more;
		f.before = r->next_before;
		forget(r);
	}
	assert_int_equal(pages, 5);
	store_free(s);
	dir_remove(&d);
}

/* A rare row far down is found in steps; what is too old is not looked for. */
static void test_query_in_steps(void **state)
{
	struct test_dir d;
	struct store *s;
	struct store_filter f = filter(10);
	Amp__Event e = make_event("rare", "rare", T0, 0);
	Amp__CliHistoryReply *r;
	unsigned steps;

	(void)state;
	dir_make(&d);
	s = store_in(&d, 0, 0);
	must_add(s, &e);
	add_many(s, 0, 50000, "common", 0);
	snprintf(f.type, sizeof(f.type), "rare");
	r = ask(s, &f, &steps);
	assert_int_equal(r->n_entries, 1);
	assert_in_range(steps, 2, 4);
	forget(r);
	f.since_ns = T0 + 49999;
	r = ask(s, &f, &steps);
	assert_int_equal(r->n_entries, 0);
	assert_int_equal(steps, 1);
	forget(r);
	store_free(s);
	dir_remove(&d);
}

static uint64_t prune_all(struct store *s)
{
	uint64_t pruned = 0;

	while (store_over(s))
		assert_int_equal(store_prune(s, &pruned), AMP_DB_OK);
	return pruned;
}

static void test_prune_minor_first(void **state)
{
	struct test_dir d;
	struct store *s;
	struct store_filter f = filter(100);
	Amp__CliHistoryReply *r;

	(void)state;
	dir_make(&d);
	s = store_in(&d, 20, 0);
	add_many(s, 0, 10, "threat", 3); /* the oldest, but not minor */
	add_many(s, 10, 10, "minor", 1);
	assert_false(store_over(s));
	assert_int_equal(prune_all(s), 0);
	add_many(s, 20, 5, "threat", 2);
	assert_true(store_over(s));
	assert_int_equal(prune_all(s), 5);
	snprintf(f.type, sizeof(f.type), "minor");
	r = ask(s, &f, NULL);
	assert_int_equal(r->n_entries, 5);
	assert_string_equal(r->entries[4]->id, "uid-15"); /* the oldest of them went */
	forget(r);
	add_many(s, 25, 10, "threat", 3);
	assert_int_equal(prune_all(s), 10);
	assert_int_equal(rows(s), 20);
	r = ask(s, &f, NULL);
	assert_int_equal(r->n_entries, 0);
	forget(r);
	snprintf(f.type, sizeof(f.type), "threat");
	r = ask(s, &f, NULL);
	assert_string_equal(r->entries[19]->id, "uid-5");
	forget(r);
	store_free(s);
	dir_remove(&d);
}

/* A bound made smaller holds after the next start; numbers are never used again. */
static void test_prune_in_batches(void **state)
{
	struct test_dir d;
	struct store *s;
	struct store_filter f = filter(1);
	uint64_t pruned = 0;
	Amp__CliHistoryReply *r;

	(void)state;
	dir_make(&d);
	s = store_in(&d, 0, 0);
	add_many(s, 0, 3000, "x", 0);
	store_free(s);
	s = store_in(&d, 1000, 0);
	assert_true(store_over(s));
	assert_int_equal(store_prune(s, &pruned), AMP_DB_OK);
	assert_int_equal(pruned, 500);
	prune_all(s);
	assert_int_equal(rows(s), 990); /* 1 % below, so that not every commit prunes */
	add_many(s, 3000, 1, "x", 0);
	assert_false(store_over(s));
	r = ask(s, &f, NULL);
	assert_int_equal(r->entries[0]->number, 3001);
	forget(r);
	store_free(s);
	dir_remove(&d);
}

/* The bound on size is kept by pruning before it is reached. */
static void test_prune_by_size(void **state)
{
	struct test_dir d;
	struct store *s;
	static uint8_t path[16384];
	Amp__Event e = make_event("", "x", T0, 0);
	char uid[16];
	struct stat st;
	uint64_t pruned = 0;

	(void)state;
	dir_make(&d);
	s = store_in(&d, 0, 2 << 20);
	memset(path, 'p', sizeof(path));
	e.uid = uid;
	e.path = (ProtobufCBinaryData){sizeof(path), path};
	for (int i = 0; i < 400; i++) {
		snprintf(uid, sizeof(uid), "u%d", i);
		must_add(s, &e);
		pruned += prune_all(s);
	}
	assert_true(pruned > 0);
	assert_true(rows(s) > 0);
	store_free(s);
	assert_int_equal(stat(dir_file(&d, "events.db"), &st), 0);
	assert_true(st.st_size <= 2 << 20);
	dir_remove(&d);
}

/* Until it is full: the failure. */
static enum amp_db_error add_until_full(struct store *s, unsigned *added)
{
	static uint8_t path[AMP_PATH_MAX];
	Amp__Event e = make_event("", "x", T0, 0);
	struct store_counts counts = {0};
	enum amp_db_error error = AMP_DB_OK;
	char uid[16];

	e.uid = uid;
	e.path = (ProtobufCBinaryData){sizeof(path), path};
	while (error == AMP_DB_OK) {
		snprintf(uid, sizeof(uid), "f%u", *added);
		error = store_begin(s);
		if (error == AMP_DB_OK)
			error = store_add(s, &e, &counts);
		if (error == AMP_DB_OK)
			error = store_commit(s);
		if (error == AMP_DB_OK)
			++*added;
	}
	store_rollback(s);
	return error;
}

static void test_full_disk(void **state)
{
	struct test_dir d;
	struct store *s;
	unsigned added = 0, before;

	(void)state;
	if (!dir_small(&d, 8192)) {
		dir_remove(&d);
		SKIP_WITHOUT("a file system of its own (root)");
	}
	s = store_in(&d, 0, 0);
	dir_fill(&d);
	assert_int_equal(add_until_full(s, &added), AMP_DB_FULL);
	before = added;
	assert_true(store_release_reserve(s));
	assert_int_equal(add_until_full(s, &added), AMP_DB_FULL);
	assert_true(added > before); /* the last things could still be written */
	assert_int_equal(rows(s), added);
	assert_false(store_restore_reserve(s));
	store_free(s);
	s = store_in(&d, 0, 0); /* a start on the full disk */
	assert_int_equal(rows(s), added);
	dir_drain(&d);
	assert_true(store_restore_reserve(s));
	add_many(s, 900000, 1, "x", 0);
	assert_int_equal(rows(s), added + 1);
	store_free(s);
	dir_remove(&d);
}

/* Overwrites every page but the first with nonsense, in the closed file. */
static void spoil(const char *path)
{
	static uint8_t nonsense[4096];
	struct stat st;
	int fd = open(path, O_WRONLY | O_CLOEXEC);

	assert_int_equal(fstat(fd, &st), 0);
	memset(nonsense, 0x5a, sizeof(nonsense));
	for (off_t at = 4096; at < st.st_size; at += 4096)
		assert_int_equal(pwrite(fd, nonsense, sizeof(nonsense), at), sizeof(nonsense));
	close(fd);
}

static void test_broken_file(void **state)
{
	struct test_dir d;
	struct store *s;
	bool was_broken;
	char left[PATH_MAX];
	enum amp_db_error error;

	(void)state;
	dir_make(&d);
	s = store_in(&d, 0, 0);
	add_many(s, 0, 100, "x", 0);
	store_close(s);
	spoil(dir_file(&d, "events.db"));
	error = store_open(s, &was_broken); /* the first page is whole: found when it is used */
	assert_int_equal(error, AMP_DB_BROKEN);
	assert_true(store_aside_left(s, left, sizeof(left)));
	assert_int_equal(store_open(s, &was_broken), AMP_DB_OK);
	assert_int_equal(rows(s), 0);
	add_many(s, 0, 1, "x", 0);
	store_free(s);
	dir_remove(&d);
}

/* What was committed is there after SIGKILL; what was not is not, half or whole. */
static void test_sudden_death(void **state)
{
	struct test_dir d;
	struct store *s;
	pid_t child;
	int status;

	(void)state;
	dir_make(&d);
	child = fork();
	if (child == 0) {
		struct store_counts counts = {0};
		Amp__Event e = make_event("lost", "x", T0, 0);

		s = store_in(&d, 0, 0);
		add_many(s, 0, 50, "x", 0);
		store_begin(s);
		store_add(s, &e, &counts);
		raise(SIGKILL);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFSIGNALED(status));
	s = store_in(&d, 0, 0);
	assert_int_equal(rows(s), 50);
	store_free(s);
	dir_remove(&d);
}

static void test_check(void **state)
{
	static char long_uid[AMP_EVENT_UID_MAX + 2], long_detail[AMP_EVENT_DETAIL_MAX + 2];
	static uint8_t bytes[AMP_PATH_MAX + 1];
	Amp__Process p = AMP__PROCESS__INIT;
	Amp__Event e = make_event("u", "x", 0, 4), bad;

	(void)state;
	memset(long_uid, 'u', sizeof(long_uid) - 1);
	memset(long_detail, 'd', sizeof(long_detail) - 1);
	memset(bytes, 'b', sizeof(bytes));
	assert_null(amp_event_check(&e));
#define BAD(name, field, value)                                                                              \
	do {                                                                                                 \
		bad = e;                                                                                     \
		bad.field = value;                                                                           \
		assert_non_null(amp_event_check(&bad));                                                      \
		assert_string_equal(amp_event_check(&bad), name);                                            \
	} while (0)
#define TEXT(t) ((char *)(uintptr_t)(t))
	BAD("uid", uid, TEXT(""));
	BAD("uid", uid, TEXT("a#2"));
	BAD("uid", uid, TEXT("a b"));
	BAD("uid", uid, TEXT("\x7f"));
	BAD("uid", uid, TEXT("\xc3\xa4"));
	BAD("uid", uid, long_uid);
	BAD("type", type, TEXT(""));
	BAD("type", type, TEXT("Threat"));
	BAD("type", type, TEXT("abcdefghijklmnopqrstuvwxyzabcdefg"));
	BAD("time_ns", time_ns, -1);
	BAD("severity", severity, 5);
	BAD("detection_id", detection_id, TEXT("x"));
	BAD("detection_id", detection_id, TEXT(UUID_A "0"));
	BAD("detection_id", detection_id, TEXT("11111111-2222-3333-4444-55555555555g"));
	BAD("detection", detection, long_detail);
	BAD("path", path, ((ProtobufCBinaryData){sizeof(bytes), bytes}));
	BAD("path", path, ((ProtobufCBinaryData){2, (uint8_t *)TEXT("/\0")}));
	BAD("sha256", sha256, ((ProtobufCBinaryData){31, bytes}));
	BAD("mode", mode, TEXT("audit protect"));
	BAD("cause", cause, TEXT("'; DROP"));
	BAD("detail", detail, long_detail);
	BAD("handle", handle, ((ProtobufCBinaryData){AMP_HANDLE_MAX + 1, bytes}));
	p.pid = -1;
	BAD("process", process, &p);
	p.pid = 0;
	p.exe = (ProtobufCBinaryData){AMP_EVENT_EXE_MAX + 1, bytes};
	BAD("process", process, &p);
	e.detection_id = TEXT(UUID_A);
	assert_null(amp_event_check(&e));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_check),
		cmocka_unit_test(test_every_field_comes_back),
		cmocka_unit_test(test_occurrences),
		cmocka_unit_test(test_others_have_no_occurrences),
		cmocka_unit_test(test_rollback),
		cmocka_unit_test(test_filters),
		cmocka_unit_test(test_pages),
		cmocka_unit_test(test_large_rows),
		cmocka_unit_test(test_query_in_steps),
		cmocka_unit_test(test_prune_minor_first),
		cmocka_unit_test(test_prune_in_batches),
		cmocka_unit_test(test_prune_by_size),
		cmocka_unit_test(test_full_disk),
		cmocka_unit_test(test_broken_file),
		cmocka_unit_test(test_sudden_death),
	};

	amp_db_setup();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
