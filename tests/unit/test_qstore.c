/*
 * tests/unit/test_qstore.c - ampquard's store with a real SQLite: entries and
 * what belongs to them, reports, restored content, transactions, a full disk,
 * and rows that somebody else has changed.
 */
#include "cloudtest.h"

#include "ampquard/store.h"
#include "counter.h"
#include "proto/types.h"
#include "tests/unit/skip.h"
#include "text.h"

#include <signal.h>
#include <sys/resource.h>

#define T0	       (INT64_C(1700000000) * 1000000000)
#define NAMES_MAX      256
#define DETECTIONS_MAX 1024

/* --- what the tests share ------------------------------------------------ */

static struct store *store_in(const struct test_dir *d)
{
	const struct store_config c = {
		.path = dir_file(d, "quarantine.db"),
		.reserve_path = dir_file(d, "quarantine.reserve"),
		.reserve_size = 64 << 10,
	};
	struct store *s = store_new(&c);
	bool was_broken;

	assert_non_null(s);
	if (store_open(s, &was_broken) != AMP_DB_OK)
		fail_msg("open: %s", store_why(s));
	assert_false(was_broken);
	assert_true(store_is_open(s));
	return s;
}

static void must(struct store *s, enum amp_db_error error)
{
	if (error != AMP_DB_OK)
		fail_msg("%d: %s", error, store_why(s));
}

/* A change in a transaction of its own. */
#define CHANGE(s, call)                                                                                      \
	do {                                                                                                 \
		must(s, store_begin(s));                                                                     \
		must(s, call);                                                                               \
		must(s, store_commit(s));                                                                    \
	} while (0)

/* Everything a Take has, in one place that lives as long as the test. */
struct sample {
	Amp__Take take;
	Amp__Handle handle, directory;
	Amp__Identity identity;
	Amp__Process process;
	uint8_t handle_bytes[8], dir_bytes[8], sha[32];
	char detection_id[37], path[64], name[32];
};

static void sample_path(struct sample *x, unsigned dir, const char *path)
{
	const char *name = strrchr(path, '/') + 1;

	snprintf(x->path, sizeof(x->path), "%s", path);
	snprintf(x->name, sizeof(x->name), "%s", name);
	memset(x->dir_bytes, (int)dir, sizeof(x->dir_bytes));
	x->take.path = (ProtobufCBinaryData){strlen(x->path), (uint8_t *)x->path};
	x->take.name = (ProtobufCBinaryData){strlen(x->name), (uint8_t *)x->name};
}

/* Detection number n of file number file, found at /dN/fN. */
static Amp__Take *sample(struct sample *x, unsigned n, unsigned file)
{
	char path[32];

	memset(x, 0, sizeof(*x));
	amp__take__init(&x->take);
	amp__handle__init(&x->handle);
	amp__handle__init(&x->directory);
	amp__identity__init(&x->identity);
	amp__process__init(&x->process);
	memset(x->handle_bytes, (int)(file & 0xff), sizeof(x->handle_bytes));
	memcpy(x->handle_bytes, &file, sizeof(file));
	memset(x->sha, 0xab, sizeof(x->sha));
	snprintf(x->detection_id, sizeof(x->detection_id), "%08x-0000-4000-8000-000000000000", n);
	x->handle.type = 1;
	x->handle.bytes = (ProtobufCBinaryData){sizeof(x->handle_bytes), x->handle_bytes};
	x->directory.type = 1;
	x->directory.bytes = (ProtobufCBinaryData){sizeof(x->dir_bytes), x->dir_bytes};
	x->identity.mode = 0100755;
	x->identity.size = 68;
	x->process.known = 1;
	x->process.pid = 4711;
	x->take.detection_id = x->detection_id;
	x->take.fsid = UINT64_MAX - 5;
	x->take.handle = &x->handle;
	x->take.directory = &x->directory;
	x->take.identity = &x->identity;
	x->take.process = &x->process;
	x->take.sha256 = (ProtobufCBinaryData){sizeof(x->sha), x->sha};
	x->take.detection = (char *)(uintptr_t) "Eicar-Tëst";
	x->take.cause = (char *)(uintptr_t) "write";
	x->take.time_ns = T0 + n;
	snprintf(path, sizeof(path), "/d%u/f%u", n, n);
	sample_path(x, n, path);
	return &x->take;
}

static enum store_take take_it(struct store *s, const Amp__Take *t, char id[VAULT_ID_SIZE])
{
	enum store_take what = TAKE_KNOWN;

	CHANGE(s, store_take(s, t, id, &what));
	return what;
}

static struct entry *find(struct store *s, const char *id)
{
	struct entry *e;

	must(s, store_find(s, id, &e));
	assert_non_null(e);
	return e;
}

static size_t names_of(struct store *s, const char *id)
{
	struct entry *e = find(s, id);
	size_t n = e->name_count;

	entry_free(e);
	return n;
}

static void copied(struct store *s, const char *id)
{
	struct entry e = {.size = 68,
			  .stored = 200,
			  .uid = UINT32_MAX,
			  .gid = 5,
			  .mode = 0104755,
			  .nlink = 2,
			  .mtime_ns = -7};

	snprintf(e.id, sizeof(e.id), "%s", id);
	CHANGE(s, store_copied(s, &e));
}

/* Only while no store has it open. */
static sqlite3 *raw_open(const struct test_dir *d)
{
	sqlite3 *sq;

	assert_int_equal(sqlite3_open(dir_file(d, "quarantine.db"), &sq), SQLITE_OK);
	return sq;
}

static void raw(const struct test_dir *d, const char *sql)
{
	sqlite3 *sq = raw_open(d);
	char *err = NULL;

	if (sqlite3_exec(sq, sql, NULL, NULL, &err) != SQLITE_OK)
		fail_msg("%s: %s", sql, err);
	sqlite3_close(sq);
}

static int64_t raw_number(const struct test_dir *d, const char *sql)
{
	sqlite3 *sq = raw_open(d);
	sqlite3_stmt *stmt;
	int64_t value;

	assert_int_equal(sqlite3_prepare_v2(sq, sql, -1, &stmt, NULL), SQLITE_OK);
	assert_int_equal(sqlite3_step(stmt), SQLITE_ROW);
	value = sqlite3_column_int64(stmt, 0);
	sqlite3_finalize(stmt);
	sqlite3_close(sq);
	return value;
}

static uint64_t counter(const char *name)
{
	for (const struct amp_counter *c = amp_counter_first(); c; c = c->next)
		if (strcmp(c->name, name) == 0)
			return amp_counter_value(c);
	return 0;
}

/* --- taking -------------------------------------------------------------- */

static void assert_is_sample(const struct entry *e, const struct sample *x)
{
	assert_string_equal(e->detection_id, x->detection_id);
	assert_int_equal(e->file.fsid, x->take.fsid);
	assert_int_equal(e->file.handle.type, 1);
	assert_int_equal(e->file.handle.size, 8);
	assert_memory_equal(e->file.handle.bytes, x->handle_bytes, 8);
	assert_memory_equal(e->sha256, x->sha, 32);
	assert_string_equal(e->detection, x->take.detection);
	assert_int_equal(e->state, ENTRY_INTENT);
	assert_false(e->failed);
	assert_int_equal(e->time_ns, x->take.time_ns);
}

static void test_new_entry(void **state)
{
	struct test_dir d;
	struct sample x;
	struct store *s;
	struct entry *e;
	char id[VAULT_ID_SIZE], other[VAULT_ID_SIZE];

	(void)state;
	dir_make(&d);
	s = store_in(&d);
	assert_int_equal(take_it(s, sample(&x, 1, 1), id), TAKE_NEW);
	assert_int_equal(strlen(id), 36);
	assert_int_equal(id[14], '4');
	assert_non_null(strchr("89ab", id[19]));
	e = find(s, id);
	assert_string_equal(e->id, id);
	assert_is_sample(e, &x);
	assert_int_equal(e->name_count, 1);
	assert_int_equal(e->names[0].directory.size, 8);
	assert_memory_equal(e->names[0].directory.bytes, x.dir_bytes, 8);
	assert_string_equal(e->names[0].path, "/d1/f1");
	assert_int_equal(e->names[0].path_size, 6);
	assert_string_equal(e->names[0].name, "f1");
	assert_false(e->names[0].unresolved);
	assert_int_equal(e->detection_count, 1);
	assert_string_equal(e->detection_ids[0], x.detection_id);
	entry_free(e);
	/* Same handle with other content, on another file system, of another type: others. */
	sample(&x, 2, 1)->sha256.data[0] = 0;
	assert_int_equal(take_it(s, &x.take, other), TAKE_NEW);
	assert_string_not_equal(id, other);
	sample(&x, 3, 1)->fsid = 9;
	assert_int_equal(take_it(s, &x.take, other), TAKE_NEW);
	sample(&x, 4, 1)->handle->type = 2;
	assert_int_equal(take_it(s, &x.take, other), TAKE_NEW);
	store_free(s);
	dir_remove(&d);
}

static void test_take_of_every_state(void **state)
{
	struct test_dir d;
	struct sample x;
	struct store *s;
	struct entry *e;
	char id[VAULT_ID_SIZE], again[VAULT_ID_SIZE];

	(void)state;
	dir_make(&d);
	s = store_in(&d);
	assert_int_equal(take_it(s, sample(&x, 1, 1), id), TAKE_NEW);
	assert_int_equal(take_it(s, sample(&x, 1, 1), again), TAKE_KNOWN);
	assert_string_equal(id, again);
	assert_int_equal(take_it(s, sample(&x, 2, 1), again), TAKE_JOINED);
	assert_string_equal(id, again);
	copied(s, id);
	assert_int_equal(take_it(s, sample(&x, 3, 1), again), TAKE_JOINED);
	CHANGE(s, store_done(s, id, T0 + 100, "note"));
	assert_int_equal(take_it(s, sample(&x, 4, 1), again), TAKE_IN_VAULT);
	assert_string_equal(id, again);
	/* Here again, whatever its detection's id says. */
	assert_int_equal(take_it(s, sample(&x, 4, 1), again), TAKE_IN_VAULT);
	assert_string_equal(id, again);
	e = find(s, id);
	assert_int_equal(e->state, ENTRY_DONE);
	assert_int_equal(e->name_count, 4);
	assert_string_equal(e->names[3].path, "/d4/f4");
	assert_int_equal(e->detection_count, 4);
	assert_string_equal(e->detection_ids[0], "00000001-0000-4000-8000-000000000000");
	assert_string_equal(e->detection_ids[3], "00000004-0000-4000-8000-000000000000");
	assert_string_equal(e->detection_id, e->detection_ids[0]);
	entry_free(e);
	CHANGE(s, store_restored(s, id, "/x", 2, T0 + 200));
	assert_int_equal(take_it(s, sample(&x, 4, 1), again), TAKE_NEW);
	assert_string_not_equal(id, again);
	assert_int_equal(take_it(s, sample(&x, 4, 1), again), TAKE_KNOWN);
	assert_int_equal(take_it(s, sample(&x, 5, 1), again), TAKE_JOINED);
	assert_string_not_equal(id, again);
	store_free(s);
	dir_remove(&d);
}

/* A walk saw it in the private directory. Anybody may give one such a name: it is this entry's or a name. */
static void test_take_of_what_is_in_hand(void **state)
{
	struct test_dir d;
	struct sample x;
	struct store *s;
	struct entry *e;
	char id[VAULT_ID_SIZE], again[VAULT_ID_SIZE], path[64];

	(void)state;
	dir_make(&d);
	s = store_in(&d);
	assert_int_equal(take_it(s, sample(&x, 1, 1), id), TAKE_NEW);
	snprintf(path, sizeof(path), "/d/.amp-quarantine-%s/f", id);
	sample(&x, 2, 1);
	sample_path(&x, 2, path);
	assert_int_equal(take_it(s, &x.take, again), TAKE_KNOWN);
	assert_string_equal(id, again);
	copied(s, id);
	assert_int_equal(take_it(s, &x.take, again), TAKE_KNOWN);
	e = find(s, id);
	assert_int_equal(e->name_count, 1);
	assert_int_equal(e->detection_count, 1);
	entry_free(e);
	/* Of another entry, of none, deeper. */
	sample(&x, 3, 2);
	sample_path(&x, 3, path);
	assert_int_equal(take_it(s, &x.take, again), TAKE_NEW);
	assert_string_not_equal(id, again);
	sample(&x, 4, 1);
	path[strlen(path) - 3] ^= 1;
	sample_path(&x, 4, path);
	assert_int_equal(take_it(s, &x.take, again), TAKE_JOINED);
	snprintf(path, sizeof(path), "/.amp-quarantine-%s/a/f", id);
	sample(&x, 5, 1);
	sample_path(&x, 5, path);
	assert_int_equal(take_it(s, &x.take, again), TAKE_JOINED);
	/* It is in the vault: the directory of that name is somebody else's. */
	CHANGE(s, store_done(s, id, T0 + 100, "note"));
	snprintf(path, sizeof(path), "/d/.amp-quarantine-%s/f", id);
	sample(&x, 6, 1);
	sample_path(&x, 6, path);
	assert_int_equal(take_it(s, &x.take, again), TAKE_IN_VAULT);
	store_free(s);
	dir_remove(&d);
}

static void test_adopted_entry_keeps_its_id(void **state)
{
	struct test_dir d;
	struct sample x;
	struct store *s;
	struct entry *e;
	enum store_take what;
	char id[VAULT_ID_SIZE];

	(void)state;
	dir_make(&d);
	s = store_in(&d);
	CHANGE(s, store_adopt(s, sample(&x, 1, 1), UUID_A, id, &what));
	assert_int_equal(what, TAKE_NEW);
	assert_string_equal(id, UUID_A);
	copied(s, UUID_A);
	CHANGE(s, store_done(s, UUID_A, T0, "entered anew"));
	e = find(s, UUID_A);
	assert_int_equal(e->state, ENTRY_DONE);
	entry_free(e);
	/* A second vault file of the same: the answer says whose it is. */
	CHANGE(s, store_adopt(s, sample(&x, 1, 1), UUID_B, id, &what));
	assert_int_equal(what, TAKE_IN_VAULT);
	assert_string_equal(id, UUID_A);
	CHANGE(s, store_adopt(s, sample(&x, 2, 1), UUID_B, id, &what));
	assert_int_equal(what, TAKE_IN_VAULT);
	assert_string_equal(id, UUID_A);
	must(s, store_begin(s));
	assert_int_equal(store_adopt(s, sample(&x, 3, 3), "../../etc/passwd", id, &what), AMP_DB_OTHER);
	store_rollback(s);
	store_free(s);
	dir_remove(&d);
}

/* --- names ---------------------------------------------------------------- */

static void take_at(struct store *s, unsigned n, unsigned dir, const char *path, bool directory, bool whole)
{
	struct sample x;
	char id[VAULT_ID_SIZE];

	sample(&x, n, 1);
	sample_path(&x, dir, path);
	if (!directory)
		x.take.directory = NULL;
	if (!whole)
		x.take.path.len = 0;
	take_it(s, &x.take, id);
}

static void test_names_once_only(void **state)
{
	struct test_dir d;
	struct sample x;
	struct store *s;
	struct entry *e;
	char id[VAULT_ID_SIZE];

	(void)state;
	dir_make(&d);
	s = store_in(&d);
	sample(&x, 1, 1);
	sample_path(&x, 1, "/a/x");
	x.take.directory = NULL;
	take_it(s, &x.take, id);
	take_at(s, 2, 1, "/a/x", false, true); /* the same path */
	assert_int_equal(names_of(s, id), 1);
	take_at(s, 3, 7, "/a/x", true, true); /* and now its directory is known */
	e = find(s, id);
	assert_int_equal(e->name_count, 1);
	assert_int_equal(e->names[0].directory.size, 8);
	assert_int_equal(e->names[0].directory.bytes[0], 7);
	entry_free(e);
	take_at(s, 4, 7, "/mnt/a/x", true, true); /* the same directory by another mount */
	take_at(s, 5, 7, "/a/x", true, false);	  /* and without a path */
	take_at(s, 6, 7, "/a/x", false, true);	  /* and without a directory */
	assert_int_equal(names_of(s, id), 1);
	take_at(s, 7, 7, "/a/y", true, true); /* another name there */
	assert_int_equal(names_of(s, id), 2);
	take_at(s, 8, 8, "/a/x", true, true); /* another directory has taken that path */
	assert_int_equal(names_of(s, id), 3);
	take_at(s, 9, 9, "/b/z", true, false);
	take_at(s, 10, 9, "/b/z", true, true); /* its path is known now */
	e = find(s, id);
	assert_int_equal(e->name_count, 4);
	assert_string_equal(e->names[3].path, "/b/z");
	entry_free(e);
	store_free(s);
	dir_remove(&d);
}

static void test_nothing_known_of_a_name(void **state)
{
	struct test_dir d;
	struct sample x;
	struct store *s;
	struct entry *e;
	uint8_t odd[] = {'/', 0xff, '\n', ' '};
	char id[VAULT_ID_SIZE];

	(void)state;
	dir_make(&d);
	s = store_in(&d);
	sample(&x, 1, 1);
	x.take.path.len = x.take.name.len = 0; /* only a directory */
	take_it(s, &x.take, id);
	assert_int_equal(names_of(s, id), 0);
	sample(&x, 2, 1);
	x.take.path = (ProtobufCBinaryData){sizeof(odd), odd};
	x.take.name.len = 0;
	x.take.path_unresolved = 1;
	take_it(s, &x.take, id);
	e = find(s, id);
	assert_int_equal(e->name_count, 1);
	assert_int_equal(e->names[0].directory.size, 0);
	assert_null(e->names[0].name);
	assert_int_equal(e->names[0].path_size, sizeof(odd));
	assert_memory_equal(e->names[0].path, odd, sizeof(odd));
	assert_true(e->names[0].unresolved);
	entry_free(e);
	store_free(s);
	dir_remove(&d);
}

static void test_names_and_detections_are_bounded(void **state)
{
	const unsigned n = DETECTIONS_MAX + 3;
	struct test_dir d;
	struct sample x;
	struct store *s;
	struct entry *e;
	enum store_take what;
	uint64_t names = counter("store.names_left"), detections = counter("store.detections_left");
	char id[VAULT_ID_SIZE];

	(void)state;
	dir_make(&d);
	s = store_in(&d);
	must(s, store_begin(s));
	for (unsigned i = 1; i <= n; i++)
		must(s, store_take(s, sample(&x, i, 1), id, &what));
	must(s, store_commit(s));
	assert_int_equal(what, TAKE_JOINED);
	e = find(s, id);
	assert_int_equal(e->name_count, NAMES_MAX);
	assert_string_equal(e->names[NAMES_MAX - 1].path, "/d256/f256");
	assert_int_equal(e->detection_count, DETECTIONS_MAX);
	entry_free(e);
	assert_int_equal(counter("store.names_left") - names, n - NAMES_MAX);
	assert_int_equal(counter("store.detections_left") - detections, 3);
	/* One of those that are there is not one more. */
	sample(&x, n + 1, 1);
	sample_path(&x, 1, "/d1/f1");
	take_it(s, &x.take, id);
	assert_int_equal(counter("store.names_left") - names, n - NAMES_MAX);
	store_free(s);
	dir_remove(&d);
}

/* --- what was kept of a detection ----------------------------------------- */

static void test_detection_comes_back(void **state)
{
	struct test_dir d;
	struct sample x;
	struct store *s;
	Amp__Take *t;
	char id[VAULT_ID_SIZE];

	(void)state;
	dir_make(&d);
	s = store_in(&d);
	take_it(s, sample(&x, 1, 1), id);
	t = store_detection(s, x.detection_id);
	assert_non_null(t);
	assert_string_equal(t->detection_id, x.detection_id);
	assert_string_equal(t->detection, x.take.detection);
	assert_string_equal(t->cause, "write");
	assert_int_equal(t->process->pid, 4711);
	assert_int_equal(t->identity->mode, 0100755);
	assert_int_equal(t->directory->bytes.len, 8);
	amp__take__free_unpacked(t, NULL);
	assert_null(store_detection(s, UUID_A));
	assert_null(store_detection(s, "'; DROP TABLE detections"));
	store_free(s);
	dir_remove(&d);
}

static void bad_detection_id(struct sample *x)
{
	x->detection_id[0] = '/';
}

static void bad_handle(struct sample *x)
{
	x->take.handle = NULL;
}

static void empty_handle(struct sample *x)
{
	x->handle.bytes.len = 0;
}

static void long_handle(struct sample *x)
{
	static uint8_t bytes[AMP_HANDLE_MAX + 1];

	x->handle.bytes = (ProtobufCBinaryData){sizeof(bytes), bytes};
}

static void short_sha(struct sample *x)
{
	x->take.sha256.len = 31;
}

static void bad_text(struct sample *x)
{
	x->take.detection = (char *)(uintptr_t) "\xff\xfe";
}

static void long_text(struct sample *x)
{
	static char text[300];

	memset(text, 'x', sizeof(text) - 1);
	x->take.detection = text;
}

static void nul_in_path(struct sample *x)
{
	x->path[1] = '\0';
}

static void slash_in_name(struct sample *x)
{
	x->name[1] = '/';
}

static void dots(struct sample *x)
{
	x->take.name = (ProtobufCBinaryData){2, (uint8_t *)(uintptr_t) ".."};
}

static void before_the_epoch(struct sample *x)
{
	x->take.time_ns = -1;
}

static void bad_cause(struct sample *x)
{
	x->take.cause = (char *)(uintptr_t) "Write it";
}

static void test_unsound_is_refused(void **state)
{
	static const struct {
		void (*spoil)(struct sample *x);
		const char *field;
	} cases[] = {
		{bad_detection_id, "detection_id"},
		{bad_handle, "handle"},
		{empty_handle, "handle"},
		{long_handle, "handle"},
		{short_sha, "sha256"},
		{bad_text, "detection"},
		{long_text, "detection"},
		{nul_in_path, "path"},
		{slash_in_name, "name"},
		{dots, "name"},
		{before_the_epoch, "time_ns"},
		{bad_cause, "cause"},
	};
	struct test_dir d;
	struct sample x;
	struct store *s;
	enum store_take what;
	uint64_t entries, unfinished, stored;
	char id[VAULT_ID_SIZE];

	(void)state;
	dir_make(&d);
	s = store_in(&d);
	must(s, store_begin(s));
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		sample(&x, 1, 1);
		assert_null(store_take_unsound(&x.take));
		cases[i].spoil(&x);
		assert_string_equal(store_take_unsound(&x.take), cases[i].field);
		assert_int_equal(store_take(s, &x.take, id, &what), AMP_DB_OTHER);
		assert_non_null(strstr(store_why(s), cases[i].field));
	}
	must(s, store_commit(s));
	must(s, store_totals(s, &entries, &unfinished, &stored));
	assert_int_equal(entries, 0);
	store_free(s);
	dir_remove(&d);
}

/* --- states --------------------------------------------------------------- */

static void test_states_and_their_columns(void **state)
{
	struct test_dir d;
	struct sample x;
	struct store *s;
	struct entry *e;
	char id[VAULT_ID_SIZE];

	(void)state;
	dir_make(&d);
	s = store_in(&d);
	take_it(s, sample(&x, 1, 1), id);
	CHANGE(s, store_failed(s, id, "read-only", T0 + 5));
	CHANGE(s, store_failed(s, id, "still read-only", T0 + 6));
	e = find(s, id);
	assert_true(e->failed);
	assert_string_equal(e->reason, "still read-only");
	assert_int_equal(e->tries, 2);
	assert_int_equal(e->retry_ns, T0 + 6);
	assert_int_equal(e->state, ENTRY_INTENT);
	entry_free(e);
	CHANGE(s, store_retried(s, id));
	copied(s, id);
	e = find(s, id);
	assert_false(e->failed);
	assert_string_equal(e->reason, "");
	assert_int_equal(e->state, ENTRY_COPIED);
	assert_int_equal(e->size, 68);
	assert_int_equal(e->stored, 200);
	assert_int_equal(e->uid, UINT32_MAX);
	assert_int_equal(e->gid, 5);
	assert_int_equal(e->mode, 0104755);
	assert_int_equal(e->nlink, 2);
	assert_int_equal(e->mtime_ns, -7);
	entry_free(e);
	CHANGE(s, store_done(s, id, T0 + 10, "links emptied"));
	e = find(s, id);
	assert_int_equal(e->state, ENTRY_DONE);
	assert_int_equal(e->done_ns, T0 + 10);
	assert_int_equal(e->ended_ns, T0 + 10);
	assert_string_equal(e->note, "links emptied");
	entry_free(e);
	CHANGE(s, store_reopen(s, id));
	e = find(s, id);
	assert_int_equal(e->state, ENTRY_COPIED);
	assert_int_equal(e->size, 68);
	entry_free(e);
	CHANGE(s, store_done(s, id, T0 + 20, NULL));
	CHANGE(s, store_restored(s, id, "/r\xff", 3, T0 + 30));
	e = find(s, id);
	assert_int_equal(e->state, ENTRY_RESTORED);
	assert_int_equal(e->done_ns, T0 + 20);
	assert_int_equal(e->ended_ns, T0 + 30);
	assert_int_equal(e->restored_to_size, 3);
	assert_string_equal(e->restored_to, "/r\xff");
	entry_free(e);
	store_free(s);
	dir_remove(&d);
}

static void test_states_that_do_not_follow(void **state)
{
	struct test_dir d;
	struct sample x;
	struct store *s;
	struct entry e = {0};
	char id[VAULT_ID_SIZE];

	(void)state;
	dir_make(&d);
	s = store_in(&d);
	take_it(s, sample(&x, 1, 1), id);
	must(s, store_begin(s));
	assert_int_equal(store_done(s, UUID_A, T0, ""), AMP_DB_OTHER);
	assert_non_null(strstr(store_why(s), UUID_A));
	assert_int_equal(store_failed(s, UUID_A, "", T0), AMP_DB_OTHER);
	assert_int_equal(store_retried(s, UUID_A), AMP_DB_OTHER);
	assert_int_equal(store_reopen(s, id), AMP_DB_OTHER);
	assert_int_equal(store_restored(s, id, "/x", 2, T0), AMP_DB_OTHER);
	snprintf(e.id, sizeof(e.id), "%s", id);
	must(s, store_copied(s, &e));
	must(s, store_done(s, id, T0, ""));
	assert_int_equal(store_copied(s, &e), AMP_DB_OTHER);
	must(s, store_restored(s, id, "/x", 2, T0));
	assert_int_equal(store_done(s, id, T0, ""), AMP_DB_OTHER);
	assert_int_equal(store_failed(s, id, "", T0), AMP_DB_OTHER);
	must(s, store_restored(s, id, "/y", 2, T0)); /* once more, elsewhere */
	must(s, store_commit(s));
	store_free(s);
	dir_remove(&d);
}

/* Whatever the reason says, it can be said on to a client. */
static void test_texts_stay_utf8(void **state)
{
	struct test_dir d;
	struct sample x;
	struct store *s;
	struct entry *e;
	char id[VAULT_ID_SIZE], text[800];

	(void)state;
	dir_make(&d);
	s = store_in(&d);
	take_it(s, sample(&x, 1, 1), id);
	CHANGE(s, store_failed(s, id, "bad \xff byte", INT64_MIN));
	e = find(s, id);
	assert_string_equal(e->reason, "bad \\xff byte");
	assert_int_equal(e->retry_ns, 0);
	entry_free(e);
	/* 'a', then two-byte characters: the cut falls into one of them. */
	memset(text, 0, sizeof(text));
	for (size_t i = 2; i + 2 < sizeof(text); i += 2)
		memcpy(text + i - 1, "\xc3\xa4", 2);
	text[0] = 'a';
	CHANGE(s, store_done(s, id, T0, text));
	e = find(s, id);
	assert_true(strlen(e->note) == 511 || strlen(e->note) == 510);
	assert_true(amp_text_is_utf8(e->note, strlen(e->note)));
	entry_free(e);
	memset(text, 0x80, sizeof(text) - 1);
	CHANGE(s, store_done(s, id, T0, text));
	e = find(s, id);
	assert_true(strlen(e->note) > 500);
	entry_free(e);
	store_free(s);
	dir_remove(&d);
}

/* --- lists ----------------------------------------------------------------- */

static void make_entries(struct store *s, unsigned n, char ids[][VAULT_ID_SIZE])
{
	struct sample x;
	enum store_take what;

	must(s, store_begin(s));
	for (unsigned i = 0; i < n; i++) {
		must(s, store_take(s, sample(&x, i + 1, i + 1), ids[i], &what));
		assert_int_equal(what, TAKE_NEW);
	}
	must(s, store_commit(s));
}

static void free_list(struct entry **list, size_t n)
{
	while (n > 0)
		entry_free(list[--n]);
}

static void test_lists_and_pages(void **state)
{
	char ids[5][VAULT_ID_SIZE];
	struct entry *list[5];
	struct test_dir d;
	struct store *s;
	uint64_t before;
	size_t n;

	(void)state;
	dir_make(&d);
	s = store_in(&d);
	must(s, store_list(s, 0, list, 5, &n));
	assert_int_equal(n, 0);
	make_entries(s, 5, ids);
	must(s, store_list(s, 0, list, 3, &n));
	assert_int_equal(n, 3);
	assert_string_equal(list[0]->id, ids[4]);
	assert_string_equal(list[2]->id, ids[2]);
	assert_int_equal(list[0]->name_count, 1);
	assert_int_equal(list[0]->detection_count, 0);
	before = list[2]->number;
	free_list(list, n);
	must(s, store_list(s, before, list, 3, &n));
	assert_int_equal(n, 2);
	assert_string_equal(list[1]->id, ids[0]);
	free_list(list, n);
	must(s, store_list(s, 0, list, 0, &n));
	assert_int_equal(n, 0);
	must(s, store_list(s, UINT64_MAX, list, 1, &n));
	assert_int_equal(n, 1);
	free_list(list, n);
	store_free(s);
	dir_remove(&d);
}

static void test_unfinished(void **state)
{
	char ids[5][VAULT_ID_SIZE];
	struct entry *list[5];
	struct test_dir d;
	struct store *s;
	uint64_t after;
	size_t n;

	(void)state;
	dir_make(&d);
	s = store_in(&d);
	make_entries(s, 5, ids);
	copied(s, ids[1]);
	CHANGE(s, store_done(s, ids[2], T0, ""));
	CHANGE(s, store_failed(s, ids[3], "busy", T0));
	copied(s, ids[4]);
	CHANGE(s, store_restored(s, ids[4], "/x", 2, T0));
	must(s, store_unfinished(s, 0, list, 2, &n));
	assert_int_equal(n, 2);
	assert_string_equal(list[0]->id, ids[0]);
	assert_string_equal(list[1]->id, ids[1]);
	assert_int_equal(list[1]->name_count, 1);
	assert_string_equal(list[1]->names[0].path, "/d2/f2");
	after = list[1]->number;
	free_list(list, n);
	must(s, store_unfinished(s, after, list, 5, &n));
	assert_int_equal(n, 1);
	assert_string_equal(list[0]->id, ids[3]);
	assert_true(list[0]->failed);
	free_list(list, n);
	must(s, store_unfinished(s, UINT64_MAX, list, 5, &n));
	assert_int_equal(n, 0);
	store_free(s);
	dir_remove(&d);
}

static void test_older_and_totals(void **state)
{
	char ids[5][VAULT_ID_SIZE];
	struct entry *list[5];
	struct test_dir d;
	struct store *s;
	uint64_t entries, unfinished, stored;
	size_t n;

	(void)state;
	dir_make(&d);
	s = store_in(&d);
	must(s, store_totals(s, &entries, &unfinished, &stored));
	assert_int_equal(entries + unfinished + stored, 0);
	make_entries(s, 5, ids);
	for (unsigned i = 0; i < 4; i++)
		copied(s, ids[i]);
	CHANGE(s, store_done(s, ids[0], T0 + 50, ""));
	CHANGE(s, store_done(s, ids[1], T0 + 10, ""));
	CHANGE(s, store_done(s, ids[2], T0 + 1, ""));
	CHANGE(s, store_restored(s, ids[2], "/x", 2, T0 + 20)); /* counts from its restore */
	must(s, store_older(s, T0 + 50, list, 5, &n));
	assert_int_equal(n, 2);
	assert_string_equal(list[0]->id, ids[1]);
	assert_string_equal(list[1]->id, ids[2]);
	free_list(list, n);
	must(s, store_older(s, T0 + 10, list, 5, &n));
	assert_int_equal(n, 0);
	must(s, store_older(s, INT64_MAX, list, 2, &n));
	assert_int_equal(n, 2);
	free_list(list, n);
	must(s, store_totals(s, &entries, &unfinished, &stored));
	assert_int_equal(entries, 5);
	assert_int_equal(unfinished, 2);
	assert_int_equal(stored, 800);
	store_free(s);
	dir_remove(&d);
}

static void test_find_none(void **state)
{
	struct test_dir d;
	struct store *s;
	struct entry *e;

	(void)state;
	dir_make(&d);
	s = store_in(&d);
	must(s, store_find(s, UUID_A, &e));
	assert_null(e);
	must(s, store_find(s, "\xff' OR 1=1", &e));
	assert_null(e);
	entry_free(NULL);
	store_free(s);
	dir_remove(&d);
}

/* --- dropping -------------------------------------------------------------- */

static void test_drop_leaves_nothing(void **state)
{
	struct test_dir d;
	struct sample x;
	struct store *s;
	struct entry *e;
	char id[VAULT_ID_SIZE], other[VAULT_ID_SIZE];
	uint64_t number;

	(void)state;
	dir_make(&d);
	s = store_in(&d);
	take_it(s, sample(&x, 1, 1), id);
	take_it(s, sample(&x, 2, 1), id);
	take_it(s, sample(&x, 3, 3), other);
	e = find(s, other);
	number = e->number;
	entry_free(e);
	CHANGE(s, store_drop(s, id));
	must(s, store_find(s, id, &e));
	assert_null(e);
	assert_null(store_detection(s, "00000001-0000-4000-8000-000000000000"));
	assert_int_equal(names_of(s, other), 1);
	CHANGE(s, store_drop(s, id)); /* there is none: nothing to do */
	CHANGE(s, store_drop(s, other));
	store_free(s);
	assert_int_equal(raw_number(&d, "SELECT (SELECT count(*) FROM entries)"
					" + (SELECT count(*) FROM names) + (SELECT count(*) FROM detections)"
					" + (SELECT count(*) FROM reports) + (SELECT count(*) FROM allowed)"),
			 0);
	s = store_in(&d);
	/* What was known is forgotten; its number is not used again. */
	assert_int_equal(take_it(s, sample(&x, 1, 1), id), TAKE_NEW);
	e = find(s, id);
	assert_true(e->number > number);
	entry_free(e);
	store_free(s);
	dir_remove(&d);
}

/* --- reports, restored content ---------------------------------------------- */

static uint64_t report(struct store *s, const char *uid)
{
	Amp__Event e = make_event(uid, "threat_quarantined", T0, 3);
	uint64_t number = 0;

	CHANGE(s, store_report(s, &e, &number));
	assert_true(number > 0);
	return number;
}

static void assert_next(struct store *s, uint64_t after, const char *uid, uint64_t expected)
{
	uint64_t number = 0;
	Amp__Event *e;

	must(s, store_next_report(s, after, &number, &e));
	if (!uid) {
		assert_null(e);
		return;
	}
	assert_non_null(e);
	assert_string_equal(e->uid, uid);
	assert_string_equal(e->type, "threat_quarantined");
	assert_int_equal(number, expected);
	amp__event__free_unpacked(e, NULL);
}

static void test_reports(void **state)
{
	struct test_dir d;
	struct store *s;
	Amp__Event bad = make_event("has space", "threat_quarantined", T0, 3);
	uint64_t a, b, c, number;

	(void)state;
	dir_make(&d);
	s = store_in(&d);
	assert_next(s, 0, NULL, 0);
	a = report(s, "z/1");
	b = report(s, "a/2");
	assert_int_equal(report(s, "z/1"), a); /* the same */
	assert_true(b > a);
	assert_next(s, 0, "z/1", a);
	assert_next(s, a, "a/2", b);
	assert_next(s, b, NULL, 0);
	CHANGE(s, store_reported(s, a));
	CHANGE(s, store_reported(s, a));
	assert_next(s, 0, "a/2", b);
	CHANGE(s, store_reported(s, b));
	assert_next(s, 0, NULL, 0);
	c = report(s, "z/1"); /* later, anew: with a number of its own */
	assert_true(c > b);
	must(s, store_begin(s));
	assert_int_equal(store_report(s, &bad, &number), AMP_DB_OTHER);
	bad.uid = (char *)(uintptr_t) "ok";
	bad.detail = (char *)(uintptr_t) "\xff";
	assert_int_equal(store_report(s, &bad, &number), AMP_DB_OTHER);
	store_rollback(s);
	store_free(s);
	dir_remove(&d);
}

static void test_allowed(void **state)
{
	struct test_dir d;
	struct store *s;
	uint8_t sha[20][32], *all;
	bool was;
	size_t n;

	(void)state;
	dir_make(&d);
	s = store_in(&d);
	must(s, store_allowed(s, &all, &n));
	assert_null(all);
	assert_int_equal(n, 0);
	for (unsigned i = 0; i < 20; i++) {
		memset(sha[i], (int)i, 32);
		CHANGE(s, store_allow(s, sha[i], T0));
	}
	CHANGE(s, store_allow(s, sha[3], T0 + 1));
	must(s, store_allowed(s, &all, &n));
	assert_int_equal(n, 20);
	for (unsigned i = 0; i < 20; i++)
		assert_memory_equal(all + i * 32, sha[i], 32);
	free(all);
	CHANGE(s, store_revoke(s, sha[3], &was));
	assert_true(was);
	CHANGE(s, store_revoke(s, sha[3], &was));
	assert_false(was);
	must(s, store_allowed(s, &all, &n));
	assert_int_equal(n, 19);
	free(all);
	store_free(s);
	dir_remove(&d);
}

/* --- transactions, space ------------------------------------------------------ */

static void test_reopened(void **state)
{
	struct test_dir d;
	struct sample x;
	struct store *s;
	struct entry *e;
	uint8_t sha[32] = {1}, *all;
	char id[VAULT_ID_SIZE];
	uint64_t number;
	size_t n;

	(void)state;
	dir_make(&d);
	s = store_in(&d);
	take_it(s, sample(&x, 1, 1), id);
	CHANGE(s, store_failed(s, id, "no space", T0 + 9));
	number = report(s, "u/1");
	CHANGE(s, store_allow(s, sha, T0));
	store_free(s);
	s = store_in(&d);
	e = find(s, id);
	assert_true(e->failed);
	e->failed = false;
	assert_is_sample(e, &x);
	assert_int_equal(e->name_count, 1);
	assert_int_equal(e->detection_count, 1);
	entry_free(e);
	assert_next(s, 0, "u/1", number);
	must(s, store_allowed(s, &all, &n));
	assert_int_equal(n, 1);
	free(all);
	assert_int_equal(take_it(s, sample(&x, 1, 1), id), TAKE_KNOWN);
	store_free(s);
	dir_remove(&d);
}

static void test_rolled_back(void **state)
{
	struct test_dir d;
	struct sample x;
	struct store *s;
	struct entry *e;
	Amp__Event event = make_event("u/1", "threat_quarantined", T0, 3);
	enum store_take what;
	uint8_t sha[32] = {1}, *all;
	uint64_t number, entries, unfinished, stored;
	char id[VAULT_ID_SIZE], old[VAULT_ID_SIZE];
	size_t n;

	(void)state;
	dir_make(&d);
	s = store_in(&d);
	take_it(s, sample(&x, 1, 1), old);
	must(s, store_begin(s));
	must(s, store_take(s, sample(&x, 2, 2), id, &what));
	must(s, store_report(s, &event, &number));
	must(s, store_allow(s, sha, T0));
	must(s, store_drop(s, old));
	store_rollback(s);
	store_rollback(s); /* harmless */
	must(s, store_totals(s, &entries, &unfinished, &stored));
	assert_int_equal(entries, 1);
	must(s, store_find(s, id, &e));
	assert_null(e);
	assert_int_equal(names_of(s, old), 1);
	assert_next(s, 0, NULL, 0);
	must(s, store_allowed(s, &all, &n));
	assert_int_equal(n, 0);
	assert_null(store_detection(s, x.detection_id));
	store_free(s);
	dir_remove(&d);
}

static void test_no_change_without_transaction(void **state)
{
	struct test_dir d;
	struct sample x;
	struct store *s;
	struct entry *e, copy = {0};
	Amp__Event event = make_event("u/1", "threat_quarantined", T0, 3);
	enum store_take what;
	uint8_t sha[32] = {1};
	char id[VAULT_ID_SIZE];
	uint64_t number;
	bool was;

	(void)state;
	dir_make(&d);
	s = store_in(&d);
	assert_int_equal(store_take(s, sample(&x, 1, 1), id, &what), AMP_DB_OTHER);
	assert_int_equal(store_report(s, &event, &number), AMP_DB_OTHER);
	assert_int_equal(store_reported(s, 1), AMP_DB_OTHER);
	assert_int_equal(store_allow(s, sha, T0), AMP_DB_OTHER);
	assert_int_equal(store_revoke(s, sha, &was), AMP_DB_OTHER);
	assert_int_equal(store_drop(s, UUID_A), AMP_DB_OTHER);
	assert_int_equal(store_copied(s, &copy), AMP_DB_OTHER);
	assert_int_equal(store_commit(s), AMP_DB_OTHER);
	assert_non_null(strstr(store_why(s), "transaction"));
	/* And nothing at all where it is not open. */
	must(s, store_begin(s));
	assert_int_equal(store_set_aside(s), 0);
	assert_false(store_is_open(s));
	assert_int_equal(store_begin(s), AMP_DB_OTHER);
	assert_int_equal(store_find(s, UUID_A, &e), AMP_DB_OTHER);
	assert_null(store_detection(s, UUID_A));
	store_rollback(s);
	store_free(s);
	dir_remove(&d);
}

static void limit_files(rlim_t bytes)
{
	const struct rlimit limit = {bytes, RLIM_INFINITY};

	signal(SIGXFSZ, bytes == RLIM_INFINITY ? SIG_DFL : SIG_IGN);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

/* Takes of one file each, one transaction each, until there is no space. */
static enum amp_db_error fill(struct store *s, unsigned *n)
{
	enum amp_db_error error = AMP_DB_OK;
	enum store_take what;
	struct sample x;
	char id[VAULT_ID_SIZE];

	for (*n = 0; error == AMP_DB_OK && *n < 20000; (*n)++) {
		must(s, store_begin(s));
		error = store_take(s, sample(&x, 1000 + *n, 1000 + *n), id, &what);
		if (error == AMP_DB_OK)
			error = store_commit(s);
		if (error != AMP_DB_OK)
			store_rollback(s);
	}
	return error;
}

static void test_full(void **state)
{
	struct test_dir d;
	struct sample x;
	struct store *s;
	uint64_t entries, unfinished, stored;
	char id[VAULT_ID_SIZE];
	unsigned n;

	(void)state;
	dir_make(&d);
	s = store_in(&d);
	take_it(s, sample(&x, 1, 1), id);
	limit_files(400 << 10);
	assert_int_equal(fill(s, &n), AMP_DB_FULL);
	assert_int_not_equal(store_why(s)[0], '\0');
	/* Still usable: what was committed is there, what was not is not. */
	assert_int_equal(names_of(s, id), 1);
	must(s, store_totals(s, &entries, &unfinished, &stored));
	assert_int_equal(entries, n);
	limit_files(RLIM_INFINITY);
	assert_int_equal(take_it(s, sample(&x, 2, 2), id), TAKE_NEW);
	store_free(s);
	s = store_in(&d);
	must(s, store_totals(s, &entries, &unfinished, &stored));
	assert_int_equal(entries, n + 1);
	store_free(s);
	dir_remove(&d);
}

static void test_full_disk_and_reserve(void **state)
{
	struct test_dir d;
	struct sample x;
	struct store *s;
	char id[VAULT_ID_SIZE];
	unsigned n;

	(void)state;
	if (!dir_small(&d, 1024)) {
		dir_remove(&d);
		SKIP_WITHOUT("a file system of its own (root)");
	}
	s = store_in(&d);
	dir_fill(&d);
	assert_int_equal(fill(s, &n), AMP_DB_FULL);
	assert_true(store_release_reserve(s));
	assert_int_equal(take_it(s, sample(&x, 2, 2), id), TAKE_NEW); /* the last things */
	assert_false(store_restore_reserve(s));
	dir_drain(&d);
	assert_true(store_restore_reserve(s));
	store_free(s);
	dir_remove(&d);
}

/* --- changed by others --------------------------------------------------------- */

/* What is said in SQL of the one entry, its name, its detection. */
struct tampering {
	const char *sql;
	const char *what; /* in store_why() */
};

static void tampered_dir(struct test_dir *d, char id[VAULT_ID_SIZE])
{
	struct sample x;
	struct store *s;

	dir_make(d);
	s = store_in(d);
	take_it(s, sample(&x, 1, 1), id);
	copied(s, id);
	report(s, "u/1");
	store_free(s);
	/* Its constraints are no protection: who changes rows can change these. */
	raw(d, "PRAGMA writable_schema=ON;"
	       "UPDATE sqlite_schema SET sql = replace(sql, 'NOT NULL', '') WHERE type = 'table'"
	       " AND name NOT LIKE 'sqlite_%'");
}

static void test_ill_entries(void **state)
{
	static const struct tampering cases[] = {
		{"UPDATE entries SET sha256 = x'00'", "sha256"},
		{"UPDATE entries SET sha256 = zeroblob(33)", "sha256"},
		{"UPDATE entries SET sha256 = 'abcdefghabcdefghabcdefghabcdefgh'", "sha256"},
		{"UPDATE entries SET sha256 = NULL", "sha256"},
		{"UPDATE entries SET handle = zeroblob(500)", "handle"},
		{"UPDATE entries SET handle = zeroblob(129)", "handle"},
		{"UPDATE entries SET handle = x''", "handle"},
		{"UPDATE entries SET handle = NULL", "handle"},
		{"UPDATE entries SET handle_type = 4294967296", "handle_type"},
		{"UPDATE entries SET fsid = 1.5", "fsid"},
		{"UPDATE entries SET state = 99", "state"},
		{"UPDATE entries SET state = 0", "state"},
		{"UPDATE entries SET state = -1", "state"},
		{"UPDATE entries SET state = 4294967297", "state"},
		{"UPDATE entries SET state = 'x'", "state"},
		{"UPDATE entries SET state = NULL", "state"},
		{"UPDATE entries SET failed = 2", "failed"},
		{"UPDATE entries SET reason = CAST(x'ff41' AS TEXT)", "reason"},
		{"UPDATE entries SET reason = CAST(x'410042' AS TEXT)", "reason"},
		{"UPDATE entries SET reason = hex(zeroblob(256))", "reason"},
		{"UPDATE entries SET reason = NULL", "reason"},
		{"UPDATE entries SET reason = 7.5", NULL}, /* becomes a text by the column's affinity */
		{"UPDATE entries SET reason = x'41'", "reason"},
		{"UPDATE entries SET note = hex(zeroblob(100000))", "note"},
		{"UPDATE entries SET detection = hex(zeroblob(128))", "detection"},
		{"UPDATE entries SET detection = CAST(x'c0af' AS TEXT)", "detection"},
		{"UPDATE entries SET detection_id = ''", "detection_id"},
		{"UPDATE entries SET detection_id = '../../../../etc/passwd'", "detection_id"},
		{"UPDATE entries SET detection_id = NULL", "detection_id"},
		{"UPDATE entries SET tries = -1", "tries"},
		{"UPDATE entries SET retry_ns = -1", "retry_ns"},
		{"UPDATE entries SET time_ns = 'now'", "time_ns"},
		{"UPDATE entries SET done_ns = -5", "done_ns"},
		{"UPDATE entries SET ended_ns = NULL", "ended_ns"},
		{"UPDATE entries SET size = -1", "size"},
		{"UPDATE entries SET stored = -9223372036854775807", "stored"},
		{"UPDATE entries SET uid = 4294967296", "uid"},
		{"UPDATE entries SET gid = -1", "gid"},
		{"UPDATE entries SET mode = NULL", "mode"},
		{"UPDATE entries SET nlink = 1e300", "nlink"},
		{"UPDATE entries SET mtime_ns = 'x'", "mtime_ns"},
		{"UPDATE entries SET restored_to = zeroblob(32769)", "restored_to"},
		{"UPDATE entries SET restored_to = x'2f0061'", "restored_to"},
		{"UPDATE entries SET restored_to = NULL", "restored_to"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct test_dir d;
		struct store *s;
		struct entry *e = NULL, *list[4];
		uint64_t entries, unfinished, stored, ill = counter("store.ill_rows");
		char id[VAULT_ID_SIZE];
		enum amp_db_error error;
		size_t n;

		tampered_dir(&d, id);
		raw(&d, cases[i].sql);
		s = store_in(&d);
		error = store_find(s, id, &e);
		if (error != (cases[i].what ? AMP_DB_BROKEN : AMP_DB_OK))
			fail_msg("%s: %d", cases[i].sql, error);
		if (cases[i].what) {
			assert_null(e);
			assert_true(store_ill_row(s));
			assert_true(counter("store.ill_rows") > ill);
			if (!strstr(store_why(s), cases[i].what))
				fail_msg("%s: %s", cases[i].sql, store_why(s));
			must(s, store_list(s, 0, list, 4, &n));
			assert_int_equal(n, 0);
			must(s, store_unfinished(s, 0, list, 4, &n));
			assert_int_equal(n, 0);
			must(s, store_older(s, INT64_MAX, list, 4, &n));
			assert_int_equal(n, 0);
		}
		entry_free(e);
		must(s, store_totals(s, &entries, &unfinished, &stored));
		assert_int_equal(entries, 1);
		store_free(s);
		dir_remove(&d);
	}
}

/* One bad row hides no other. */
static void test_ill_entry_among_others(void **state)
{
	char ids[5][VAULT_ID_SIZE];
	struct entry *list[2];
	struct test_dir d;
	struct store *s;
	size_t n;

	(void)state;
	dir_make(&d);
	s = store_in(&d);
	make_entries(s, 5, ids);
	store_free(s);
	raw(&d, "UPDATE entries SET sha256 = x'00' || CAST(number AS BLOB) WHERE number IN (1, 2, 4)");
	s = store_in(&d);
	must(s, store_unfinished(s, 0, list, 2, &n));
	assert_int_equal(n, 2);
	assert_string_equal(list[0]->id, ids[2]);
	assert_string_equal(list[1]->id, ids[4]);
	free_list(list, n);
	store_free(s);
	dir_remove(&d);
}

static void test_ill_id(void **state)
{
	static const char *const changes[] = {
		"UPDATE entries SET id = 'x'",
		"UPDATE entries SET id = NULL",
		"UPDATE entries SET id = hex(zeroblob(5000))",
		"UPDATE entries SET id = CAST(x'ff' AS TEXT)",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(changes) / sizeof(*changes); i++) {
		struct test_dir d;
		struct sample x;
		struct store *s;
		enum store_take what;
		char id[VAULT_ID_SIZE];

		tampered_dir(&d, id);
		raw(&d, changes[i]);
		s = store_in(&d);
		must(s, store_begin(s));
		assert_int_equal(store_take(s, sample(&x, 1, 1), id, &what), AMP_DB_BROKEN);
		assert_true(store_ill_row(s));
		assert_int_equal(store_take(s, sample(&x, 2, 1), id, &what), AMP_DB_BROKEN);
		must(s, store_take(s, sample(&x, 3, 3), id, &what));
		assert_int_equal(what, TAKE_NEW);
		must(s, store_commit(s));
		store_free(s);
		dir_remove(&d);
	}
}

static void test_ill_names(void **state)
{
	static const char *const changes[] = {
		"UPDATE names SET directory = zeroblob(500)",
		"UPDATE names SET directory = NULL",
		"UPDATE names SET dir_type = 99999999999",
		"UPDATE names SET dir_type = NULL",
		"UPDATE names SET path = zeroblob(10)",
		"UPDATE names SET path = CAST(hex(zeroblob(20000)) AS BLOB)",
		"UPDATE names SET path = '/x'",
		"UPDATE names SET path = NULL",
		"UPDATE names SET name = x'2e2e'",
		"UPDATE names SET name = x'2e'",
		"UPDATE names SET name = x'612f62'",
		"UPDATE names SET name = x'6100'",
		"UPDATE names SET name = CAST(hex(zeroblob(128)) AS BLOB)",
		"UPDATE names SET name = NULL",
		"UPDATE names SET unresolved = 'yes'",
		"UPDATE detections SET detection_id = 'x'",
		"UPDATE detections SET detection_id = NULL",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(changes) / sizeof(*changes); i++) {
		struct test_dir d;
		struct store *s;
		struct entry *e;
		uint64_t ill = counter("store.ill_rows");
		char id[VAULT_ID_SIZE];

		tampered_dir(&d, id);
		raw(&d, changes[i]);
		s = store_in(&d);
		e = find(s, id);
		if (e->name_count + e->detection_count != 1)
			fail_msg("%s: %zu names, %zu detections", changes[i], e->name_count,
				 e->detection_count);
		assert_int_equal(counter("store.ill_rows"), ill + 1);
		entry_free(e);
		store_free(s);
		dir_remove(&d);
	}
}

static void test_more_names_than_there_may_be(void **state)
{
	struct test_dir d;
	struct store *s;
	struct entry *e;
	char id[VAULT_ID_SIZE];

	(void)state;
	tampered_dir(&d, id);
	raw(&d, "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3000)"
		" INSERT INTO names(entry, dir_type, directory, path, name, unresolved)"
		" SELECT 1, 1, x'01', CAST('/p' || i AS BLOB), CAST(i AS BLOB), 0 FROM n");
	raw(&d, "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3000)"
		" INSERT INTO detections(detection_id, entry, take)"
		" SELECT printf('%08x-1111-4000-8000-000000000000', i), 1, x'' FROM n");
	s = store_in(&d);
	e = find(s, id);
	assert_int_equal(e->name_count, NAMES_MAX);
	assert_int_equal(e->detection_count, DETECTIONS_MAX);
	entry_free(e);
	CHANGE(s, store_drop(s, id));
	store_free(s);
	assert_int_equal(
		raw_number(&d, "SELECT (SELECT count(*) FROM names) + (SELECT count(*) FROM detections)"), 0);
	dir_remove(&d);
}

static void test_ill_messages(void **state)
{
	/* None at all, too long, with a field nobody knows behind it, cut, something else. */
	static const char *const values[][2] = {
		{"x''", "x''"},
		{"NULL", "NULL"},
		{"'text'", "'text'"},
		{"x'ff'", "x'ff'"},
		{"zeroblob(100)", "zeroblob(100)"},
		{"zeroblob(70000)", "zeroblob(70000)"},
		{"CAST(take || x'f83f01' AS BLOB)", "CAST(event || x'f83f01' AS BLOB)"},
		{"substr(take, 1, length(take) - 1)", "substr(event, 1, length(event) - 1)"},
		{"CAST(hex(take) AS BLOB)", "CAST(hex(event) AS BLOB)"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(values) / sizeof(*values); i++) {
		struct test_dir d;
		struct store *s;
		Amp__Event *e = NULL;
		char id[VAULT_ID_SIZE], sql[200];
		uint64_t number;

		tampered_dir(&d, id);
		snprintf(sql, sizeof(sql), "UPDATE detections SET take = %s", values[i][0]);
		raw(&d, sql);
		snprintf(sql, sizeof(sql), "UPDATE reports SET event = %s", values[i][1]);
		raw(&d, sql);
		s = store_in(&d);
		if (store_detection(s, "00000001-0000-4000-8000-000000000000"))
			fail_msg("take: %s", values[i][0]);
		assert_true(store_ill_row(s));
		must(s, store_next_report(s, 0, &number, &e));
		if (e)
			fail_msg("event: %s", values[i][1]);
		/* The next one is not behind it for ever. */
		number = report(s, "u/2");
		assert_next(s, 0, "u/2", number);
		store_free(s);
		dir_remove(&d);
	}
}

static void test_message_of_another(void **state)
{
	struct test_dir d;
	struct store *s;
	struct sample x;
	Amp__Event *e;
	uint64_t number;
	char id[VAULT_ID_SIZE];

	(void)state;
	tampered_dir(&d, id);
	raw(&d, "UPDATE reports SET uid = 'u/9'");
	raw(&d, "UPDATE detections SET detection_id = '" UUID_A "'");
	s = store_in(&d);
	assert_null(store_detection(s, UUID_A));
	must(s, store_next_report(s, 0, &number, &e));
	assert_null(e);
	/* A detection of no entry is replaced. */
	store_free(s);
	raw(&d, "UPDATE detections SET entry = 77, detection_id = '00000002-0000-4000-8000-000000000000'");
	s = store_in(&d);
	assert_int_equal(take_it(s, sample(&x, 2, 2), id), TAKE_NEW);
	store_free(s);
	dir_remove(&d);
}

/* Begun twice is once; what is ill is passed over. */
static void test_restores_begun(void **state)
{
	struct store_restore r = {.was_allowed = true, .path = (char[]){"/a/\xff\n"}, .path_size = 5}, found;
	struct test_dir d;
	struct store *s;
	char id[VAULT_ID_SIZE];

	(void)state;
	tampered_dir(&d, id);
	raw(&d, "INSERT INTO restores VALUES(1, 'no uuid', zeroblob(32), 0, '/x'),"
		" (2, '00000000-0000-4000-8000-000000000002', zeroblob(31), 0, x'2f78'),"
		" (3, '00000000-0000-4000-8000-000000000003', zeroblob(32), 2, x'2f78'),"
		" (4, '00000000-0000-4000-8000-000000000004', zeroblob(32), 0, x'78'),"
		" (5, '00000000-0000-4000-8000-000000000005', zeroblob(32), 0, x'2f7800'),"
		" (6, '00000000-0000-4000-8000-000000000006', zeroblob(32), 0, x'')");
	s = store_in(&d);
	must(s, store_restore_begun(s, 0, &found));
	assert_null(found.path);
	snprintf(r.entry_id, sizeof(r.entry_id), "%s", id);
	memset(r.sha256, 7, sizeof(r.sha256));
	CHANGE(s, store_restore_begin(s, &r));
	CHANGE(s, store_restore_begin(s, &r));
	must(s, store_restore_begun(s, 0, &found));
	assert_string_equal(found.entry_id, id);
	assert_memory_equal(found.sha256, r.sha256, sizeof(r.sha256));
	assert_true(found.was_allowed);
	assert_int_equal(found.path_size, r.path_size);
	assert_memory_equal(found.path, r.path, r.path_size);
	free(found.path);
	must(s, store_restore_begun(s, found.number, &found));
	assert_null(found.path);
	CHANGE(s, store_restore_end(s, id));
	CHANGE(s, store_restore_end(s, id));
	must(s, store_restore_begun(s, 0, &found));
	assert_null(found.path);
	store_free(s);
	dir_remove(&d);
}

static void test_ill_allowed(void **state)
{
	struct test_dir d;
	struct store *s;
	uint8_t sha[32] = {1}, *all;
	char id[VAULT_ID_SIZE];
	size_t n;

	(void)state;
	tampered_dir(&d, id);
	raw(&d,
	    "INSERT INTO allowed VALUES(zeroblob(31), 0), (zeroblob(33), 0), ('x', 0), (NULL, 0), (5, 0)");
	s = store_in(&d);
	CHANGE(s, store_allow(s, sha, T0));
	must(s, store_allowed(s, &all, &n));
	assert_int_equal(n, 1);
	assert_memory_equal(all, sha, 32);
	free(all);
	store_free(s);
	dir_remove(&d);
}

/* Programs that somebody left in the schema do not run; a schema that is another one is set aside. */
static void test_strange_schema(void **state)
{
	const struct store_config c = {.path = NULL};
	struct store_config with_path = c;
	struct test_dir d;
	struct sample x;
	struct store *s;
	char id[VAULT_ID_SIZE];
	bool was_broken;

	(void)state;
	tampered_dir(&d, id);
	raw(&d, "CREATE TRIGGER t AFTER INSERT ON entries BEGIN DELETE FROM entries; END");
	s = store_in(&d);
	assert_int_equal(take_it(s, sample(&x, 2, 2), id), TAKE_NEW);
	assert_int_equal(names_of(s, id), 1);
	store_free(s);
	raw(&d, "DROP TABLE names");
	with_path.path = dir_file(&d, "quarantine.db");
	s = store_new(&with_path);
	assert_int_equal(store_open(s, &was_broken), AMP_DB_BROKEN);
	assert_false(store_is_open(s));
	assert_true(store_aside_left(s, (char[200]){0}, 200));
	must(s, store_open(s, &was_broken)); /* a new one */
	assert_int_equal(take_it(s, sample(&x, 2, 2), id), TAKE_NEW);
	store_free(s);
	dir_remove(&d);
}

/* Bytes of the file itself: an error or a new one, never more. */
static void test_broken_file(void **state)
{
	(void)state;
	for (unsigned round = 0; round < 60; round++) {
		struct test_dir d;
		struct store_config c = {0};
		struct store *s;
		struct entry *list[8], *e;
		uint64_t a, b, n64;
		Amp__Event *event = NULL;
		uint8_t *all, junk[64];
		char ids[5][VAULT_ID_SIZE];
		bool was_broken;
		size_t n;
		int fd;

		dir_make(&d);
		s = store_in(&d);
		make_entries(s, 5, ids);
		report(s, "u/1");
		store_free(s);
		fd = open(dir_file(&d, "quarantine.db"), O_RDWR | O_CLOEXEC);
		for (size_t i = 0; i < sizeof(junk); i++)
			junk[i] = (uint8_t)(round * 37 + i * 11);
		assert_int_equal(pwrite(fd, junk, sizeof(junk), 100 + (off_t)round * 1021), sizeof(junk));
		close(fd);
		c.path = dir_file(&d, "quarantine.db");
		s = store_new(&c);
		if (store_open(s, &was_broken) == AMP_DB_OK) {
			if (store_list(s, 0, list, 8, &n) == AMP_DB_OK)
				free_list(list, n);
			if (store_unfinished(s, 0, list, 8, &n) == AMP_DB_OK)
				free_list(list, n);
			for (size_t i = 0; i < 5; i++)
				if (store_find(s, ids[i], &e) == AMP_DB_OK)
					entry_free(e);
			store_totals(s, &a, &b, &n64);
			if (store_next_report(s, 0, &n64, &event) == AMP_DB_OK && event)
				amp__event__free_unpacked(event, NULL);
			if (store_allowed(s, &all, &n) == AMP_DB_OK)
				free(all);
		}
		store_free(s);
		dir_remove(&d);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_new_entry),
		cmocka_unit_test(test_take_of_every_state),
		cmocka_unit_test(test_take_of_what_is_in_hand),
		cmocka_unit_test(test_adopted_entry_keeps_its_id),
		cmocka_unit_test(test_names_once_only),
		cmocka_unit_test(test_nothing_known_of_a_name),
		cmocka_unit_test(test_names_and_detections_are_bounded),
		cmocka_unit_test(test_detection_comes_back),
		cmocka_unit_test(test_unsound_is_refused),
		cmocka_unit_test(test_states_and_their_columns),
		cmocka_unit_test(test_states_that_do_not_follow),
		cmocka_unit_test(test_texts_stay_utf8),
		cmocka_unit_test(test_lists_and_pages),
		cmocka_unit_test(test_unfinished),
		cmocka_unit_test(test_older_and_totals),
		cmocka_unit_test(test_find_none),
		cmocka_unit_test(test_drop_leaves_nothing),
		cmocka_unit_test(test_reports),
		cmocka_unit_test(test_allowed),
		cmocka_unit_test(test_reopened),
		cmocka_unit_test(test_rolled_back),
		cmocka_unit_test(test_no_change_without_transaction),
		cmocka_unit_test(test_full),
		cmocka_unit_test(test_full_disk_and_reserve),
		cmocka_unit_test(test_ill_entries),
		cmocka_unit_test(test_ill_entry_among_others),
		cmocka_unit_test(test_ill_id),
		cmocka_unit_test(test_ill_names),
		cmocka_unit_test(test_more_names_than_there_may_be),
		cmocka_unit_test(test_ill_messages),
		cmocka_unit_test(test_message_of_another),
		cmocka_unit_test(test_restores_begun),
		cmocka_unit_test(test_ill_allowed),
		cmocka_unit_test(test_strange_schema),
		cmocka_unit_test(test_broken_file),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
