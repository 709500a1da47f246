/*
 * tests/unit/test_db.c - lib/db.c: pragmas, versions, broken files, no space.
 */
#include "cloudtest.h"

#include "db.h"
#include "tests/unit/skip.h"

#include <signal.h>
#include <sys/resource.h>

#define RESERVE_SIZE (1 << 20)

static const char *const one_step[] = {"CREATE TABLE t(a);", NULL};
static const char *const two_steps[] = {"CREATE TABLE t(a);", "ALTER TABLE t ADD COLUMN b DEFAULT 7;", NULL};
static const char *const bad_step[] = {"CREATE TABLE t(a);", "CREATE TABLE u(a); CREATE nonsense;", NULL};

static struct amp_db_config config_in(const struct test_dir *d, const char *const *migrations)
{
	return (struct amp_db_config){
		.path = dir_file(d, "x.db"),
		.migrations = migrations,
		.reserve_path = dir_file(d, "x.reserve"),
		.reserve_size = RESERVE_SIZE,
	};
}

static struct amp_db *must_open(const struct amp_db_config *c)
{
	enum amp_db_error error;
	bool was_broken;
	struct amp_db *db = amp_db_open(c, &was_broken, &error);

	if (!db)
		fail_msg("open: %s", amp_db_why());
	assert_false(was_broken);
	assert_int_equal(error, AMP_DB_OK);
	return db;
}

static int64_t number(struct amp_db *db, const char *sql)
{
	sqlite3_stmt *stmt;
	int64_t value;

	assert_int_equal(sqlite3_prepare_v2(amp_db_handle(db), sql, -1, &stmt, NULL), SQLITE_OK);
	assert_int_equal(sqlite3_step(stmt), SQLITE_ROW);
	value = sqlite3_column_int64(stmt, 0);
	sqlite3_finalize(stmt);
	return value;
}

static int run(struct amp_db *db, const char *sql)
{
	return sqlite3_exec(amp_db_handle(db), sql, NULL, NULL, NULL);
}

/* Rows of 64 KiB until it fails; the failure. */
static int run_full(struct amp_db *db)
{
	int rc = SQLITE_OK;

	for (int i = 0; i < 1000 && rc == SQLITE_OK; i++)
		rc = run(db, "INSERT INTO t VALUES(randomblob(65536))");
	return rc;
}

static void test_pragmas(void **state)
{
	struct test_dir d;
	struct amp_db_config c;
	struct amp_db *db;
	sqlite3_stmt *stmt;

	(void)state;
	dir_make(&d);
	c = config_in(&d, one_step);
	db = must_open(&c);
	assert_int_equal(sqlite3_prepare_v2(amp_db_handle(db), "PRAGMA journal_mode", -1, &stmt, NULL),
			 SQLITE_OK);
	assert_int_equal(sqlite3_step(stmt), SQLITE_ROW);
	assert_string_equal(sqlite3_column_text(stmt, 0), "wal");
	sqlite3_finalize(stmt);
	assert_int_equal(number(db, "PRAGMA synchronous"), 2);
	assert_int_equal(number(db, "PRAGMA temp_store"), 2);
	assert_int_equal(number(db, "PRAGMA user_version"), 1);
	assert_int_equal(access(dir_file(&d, "x.db-wal"), F_OK), 0);
	assert_int_equal(access(dir_file(&d, "x.db-shm"), F_OK), -1);
	amp_db_close(db);
	assert_int_equal(access(dir_file(&d, "x.db-wal"), F_OK), -1);
	dir_remove(&d);
}

static void test_locked(void **state)
{
	struct test_dir d;
	struct amp_db_config c;
	struct amp_db *db;
	sqlite3 *other;

	(void)state;
	dir_make(&d);
	c = config_in(&d, one_step);
	db = must_open(&c);
	assert_int_equal(sqlite3_open(c.path, &other), SQLITE_OK);
	assert_int_equal(sqlite3_exec(other, "SELECT * FROM t", NULL, NULL, NULL), SQLITE_BUSY);
	sqlite3_close(other);
	amp_db_close(db);
	dir_remove(&d);
}

static void test_upgrade(void **state)
{
	struct test_dir d;
	struct amp_db_config c;
	struct amp_db *db;

	(void)state;
	dir_make(&d);
	c = config_in(&d, one_step);
	db = must_open(&c);
	assert_int_equal(run(db, "INSERT INTO t VALUES(1)"), SQLITE_OK);
	amp_db_close(db);
	c.migrations = two_steps;
	db = must_open(&c);
	assert_int_equal(number(db, "PRAGMA user_version"), 2);
	assert_int_equal(number(db, "SELECT b FROM t"), 7);
	amp_db_close(db);
	dir_remove(&d);
}

static void test_newer_is_left_alone(void **state)
{
	struct test_dir d;
	struct amp_db_config c;
	enum amp_db_error error;
	bool was_broken;

	(void)state;
	dir_make(&d);
	c = config_in(&d, two_steps);
	amp_db_close(must_open(&c));
	c.migrations = one_step;
	assert_null(amp_db_open(&c, &was_broken, &error));
	assert_int_equal(error, AMP_DB_NEWER);
	assert_false(was_broken);
	c.migrations = two_steps;
	amp_db_close(must_open(&c));
	dir_remove(&d);
}

static void test_failed_upgrade_changes_nothing(void **state)
{
	struct test_dir d;
	struct amp_db_config c;
	struct amp_db *db;
	enum amp_db_error error;
	bool was_broken;

	(void)state;
	dir_make(&d);
	c = config_in(&d, one_step);
	amp_db_close(must_open(&c));
	c.migrations = bad_step;
	assert_null(amp_db_open(&c, &was_broken, &error));
	assert_int_equal(error, AMP_DB_OTHER);
	assert_true(strlen(amp_db_why()) > 0);
	c.migrations = one_step;
	db = must_open(&c);
	assert_int_equal(number(db, "SELECT count(*) FROM sqlite_master"), 1);
	amp_db_close(db);
	dir_remove(&d);
}

static void test_broken_is_set_aside(void **state)
{
	static const char garbage[] = "this is not a database, and it is long enough to have a header, "
				      "which SQLite takes to be one hundred bytes long or longer.......";
	struct test_dir d;
	struct amp_db_config c;
	struct amp_db *db;
	enum amp_db_error error;
	bool was_broken;
	char left[PATH_MAX], content[sizeof(garbage)];
	int fd;

	(void)state;
	dir_make(&d);
	c = config_in(&d, one_step);
	assert_false(amp_db_aside_left(c.path, left, sizeof(left)));
	for (int i = 1; i <= 2; i++) {
		write_text(c.path, garbage);
		write_text(dir_file(&d, "x.db-wal"), "old log");
		db = amp_db_open(&c, &was_broken, &error);
		assert_non_null(db);
		assert_true(was_broken);
		assert_int_equal(number(db, "SELECT count(*) FROM t"), 0);
		amp_db_close(db);
	}
	assert_true(amp_db_aside_left(c.path, left, sizeof(left)));
	assert_string_equal(left, dir_file(&d, "x.db.broken-2"));
	assert_int_equal(access(dir_file(&d, "x.db.broken-1-wal"), F_OK), 0);
	fd = open(dir_file(&d, "x.db.broken-1"), O_RDONLY | O_CLOEXEC);
	assert_int_equal(read(fd, content, sizeof(content)), sizeof(garbage) - 1);
	assert_memory_equal(content, garbage, sizeof(garbage) - 1);
	close(fd);
	dir_remove(&d);
}

static void test_set_aside_in_use(void **state)
{
	struct test_dir d;
	struct amp_db_config c;
	struct amp_db *db;

	(void)state;
	dir_make(&d);
	c = config_in(&d, one_step);
	db = must_open(&c);
	assert_int_equal(run(db, "INSERT INTO t VALUES(1)"), SQLITE_OK);
	assert_int_equal(amp_db_set_aside(db), 0);
	assert_int_equal(access(dir_file(&d, "x.db.broken-1"), F_OK), 0);
	db = must_open(&c);
	assert_int_equal(number(db, "SELECT count(*) FROM t"), 0);
	amp_db_close(db);
	dir_remove(&d);
}

static off_t blocks_of(const char *path)
{
	struct stat st;

	assert_int_equal(stat(path, &st), 0);
	return st.st_blocks * 512;
}

static void test_reserve(void **state)
{
	struct test_dir d;
	struct amp_db_config c;
	struct amp_db *db;

	(void)state;
	dir_make(&d);
	c = config_in(&d, one_step);
	db = must_open(&c);
	assert_true(amp_db_has_reserve(db));
	assert_true(blocks_of(c.reserve_path) >= RESERVE_SIZE);
	assert_true(amp_db_release_reserve(db));
	assert_false(amp_db_has_reserve(db));
	assert_false(amp_db_release_reserve(db));
	assert_int_equal(blocks_of(c.reserve_path), 0);
	assert_true(amp_db_restore_reserve(db));
	assert_true(blocks_of(c.reserve_path) >= RESERVE_SIZE);
	amp_db_close(db);
	dir_remove(&d);
}

static void test_full_disk(void **state)
{
	struct test_dir d;
	struct amp_db_config c;
	struct amp_db *db;

	(void)state;
	if (!dir_small(&d, 6144)) {
		dir_remove(&d);
		SKIP_WITHOUT("a file system of its own (root)");
	}
	c = config_in(&d, one_step);
	db = must_open(&c);
	assert_true(amp_db_has_reserve(db));
	dir_fill(&d);
	assert_int_equal(amp_db_failure(db, run_full(db)), AMP_DB_FULL);
	assert_true(amp_db_release_reserve(db));
	assert_int_equal(run(db, "INSERT INTO t VALUES(randomblob(65536))"), SQLITE_OK);
	assert_false(amp_db_restore_reserve(db));
	assert_true(strlen(amp_db_why()) > 0);
	dir_drain(&d);
	assert_true(amp_db_restore_reserve(db));
	amp_db_close(db);
	dir_remove(&d);
}

/* The reserve is what a new start lives on when the disk is full. */
static void test_open_on_full_disk(void **state)
{
	struct test_dir d;
	struct amp_db_config c;
	struct amp_db *db;
	enum amp_db_error error;
	bool was_broken;

	(void)state;
	if (!dir_small(&d, 4096)) {
		dir_remove(&d);
		SKIP_WITHOUT("a file system of its own (root)");
	}
	c = config_in(&d, one_step);
	amp_db_close(must_open(&c));
	assert_int_equal(unlink(c.path), 0);
	dir_fill(&d);
	db = amp_db_open(&c, &was_broken, &error);
	assert_non_null(db);
	assert_false(amp_db_has_reserve(db));
	amp_db_close(db);
	assert_int_equal(unlink(c.path), 0);
	dir_fill(&d);
	assert_null(amp_db_open(&c, &was_broken, &error));
	assert_int_equal(error, AMP_DB_FULL);
	dir_remove(&d);
}

static void test_file_size_limit(void **state)
{
	struct rlimit before, small;
	struct test_dir d;
	struct amp_db_config c;
	struct amp_db *db;
	int rc;

	(void)state;
	dir_make(&d);
	c = config_in(&d, one_step);
	db = must_open(&c);
	signal(SIGXFSZ, SIG_IGN);
	getrlimit(RLIMIT_FSIZE, &before);
	small = (struct rlimit){.rlim_cur = 3 << 20, .rlim_max = before.rlim_max};
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
	rc = run_full(db);
	assert_int_not_equal(rc, SQLITE_OK);
	if (amp_db_failure(db, rc) != AMP_DB_FULL)
		fail_msg("%d: %s", rc, amp_db_why());
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
	amp_db_close(db);
	dir_remove(&d);
}

static void test_max_size(void **state)
{
	struct test_dir d;
	struct amp_db_config c;
	struct amp_db *db;

	(void)state;
	dir_make(&d);
	c = config_in(&d, one_step);
	c.max_size = 1 << 20;
	db = must_open(&c);
	assert_int_equal(amp_db_failure(db, run_full(db)), AMP_DB_FULL);
	amp_db_close(db);
	assert_true(blocks_of(c.path) <= 1 << 20);
	dir_remove(&d);
}

static void test_classes(void **state)
{
	(void)state;
	assert_int_equal(amp_db_classify(SQLITE_OK), AMP_DB_OK);
	assert_int_equal(amp_db_classify(SQLITE_ROW), AMP_DB_OK);
	assert_int_equal(amp_db_classify(SQLITE_FULL), AMP_DB_FULL);
	assert_int_equal(amp_db_classify(SQLITE_NOTADB), AMP_DB_BROKEN);
	assert_int_equal(amp_db_classify(SQLITE_CORRUPT | (1 << 8)), AMP_DB_BROKEN);
	assert_int_equal(amp_db_classify(SQLITE_BUSY), AMP_DB_OTHER);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_pragmas),
		cmocka_unit_test(test_locked),
		cmocka_unit_test(test_upgrade),
		cmocka_unit_test(test_newer_is_left_alone),
		cmocka_unit_test(test_failed_upgrade_changes_nothing),
		cmocka_unit_test(test_broken_is_set_aside),
		cmocka_unit_test(test_set_aside_in_use),
		cmocka_unit_test(test_reserve),
		cmocka_unit_test(test_full_disk),
		cmocka_unit_test(test_open_on_full_disk),
		cmocka_unit_test(test_file_size_limit),
		cmocka_unit_test(test_max_size),
		cmocka_unit_test(test_classes),
	};

	amp_db_setup();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
