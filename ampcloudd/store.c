/*
 * ampcloudd/store.c - rows of events.db go in (see store.h). What comes out of
 * it for ampcli is in query.c.
 */
#include "store_private.h"

#include "counter.h"
#include "proto/types.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PRUNE_BATCH	500 /* rows removed in one transaction */
#define PROGRESS_OPS	20000
#define FULL_NUMERATOR	15 /* pruning begins at 15/16 of the bound on size */
#define FULL_DIVISOR	16
#define THREAT_DETECTED "threat_detected"

/* The order of the columns is the one of enum store_column. */
static const char *const migrations[] = {
	"CREATE TABLE events("
	" number INTEGER PRIMARY KEY AUTOINCREMENT,"
	" id TEXT NOT NULL UNIQUE,"
	" uid TEXT NOT NULL,"
	" occurrence INTEGER NOT NULL,"
	" time_ns INTEGER NOT NULL,"
	" type TEXT NOT NULL,"
	" severity INTEGER NOT NULL,"
	" detection_id TEXT NOT NULL,"
	" detection TEXT NOT NULL,"
	" path BLOB NOT NULL,"
	" path_unresolved INTEGER NOT NULL,"
	" sha256 BLOB NOT NULL,"
	" size INTEGER NOT NULL,"
	" process_known INTEGER NOT NULL,"
	" process_pid INTEGER NOT NULL,"
	" process_uid INTEGER NOT NULL,"
	" process_exe BLOB NOT NULL,"
	" mode TEXT NOT NULL,"
	" cause TEXT NOT NULL,"
	" detail TEXT NOT NULL,"
	" fsid INTEGER NOT NULL,"
	" handle BLOB NOT NULL);"
	"CREATE INDEX events_uid ON events(uid, occurrence);"
	"CREATE INDEX events_time ON events(time_ns);"
	"CREATE INDEX events_type ON events(type);"
	"CREATE INDEX events_detection ON events(detection_id) WHERE detection_id <> '';"
	"CREATE INDEX events_minor ON events(number) WHERE severity < 2;",
	/* How far events.json is written; and a name that no other database has. */
	"CREATE TABLE meta(key TEXT PRIMARY KEY, value NOT NULL) WITHOUT ROWID;"
	"INSERT INTO meta VALUES('name', lower(hex(randomblob(8)))), ('shipped', 0);",
	NULL,
};

static const char *const statement_sql[STATEMENT_COUNT] = {
	[BEGIN] = "BEGIN IMMEDIATE",
	[COMMIT] = "COMMIT",
	[NEWEST] = "SELECT occurrence, time_ns FROM events WHERE uid = ?1 ORDER BY occurrence DESC LIMIT 1",
	[INSERT] =
		"INSERT INTO events(id, uid, occurrence, time_ns, type, severity, detection_id, detection, "
		"path,"
		" path_unresolved, sha256, size, process_known, process_pid, process_uid, process_exe, mode,"
		" cause, detail, fsid, handle)"
		" VALUES(?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12,?13,?14,?15,?16,?17,?18,?19,?20,?21)",
	[COUNT_ROWS] = "SELECT count(*) FROM events",
	[PRUNE_MINOR] = ("DELETE FROM events WHERE number IN"
			 " (SELECT number FROM events WHERE severity < 2 ORDER BY number LIMIT ?1)"),
	[PRUNE_ANY] =
		"DELETE FROM events WHERE number IN (SELECT number FROM events ORDER BY number LIMIT ?1)",
	[PAGES] = "PRAGMA page_count",
	[FREE_PAGES] = "PRAGMA freelist_count",
	[MAX_PAGES] = "PRAGMA max_page_count",
	[LATER_THAN] = "SELECT EXISTS(SELECT 1 FROM events WHERE time_ns >= ?1 AND number < ?2)",
	[HIGHEST] = "SELECT coalesce(max(number), 0) FROM events",
	[LOWEST] = "SELECT coalesce(min(number), 0) FROM events",
	[NAME] = "SELECT value FROM meta WHERE key = 'name'",
	[SHIPPED] = "SELECT value FROM meta WHERE key = 'shipped'",
	[KEEP_SHIPPED] = "UPDATE meta SET value = ?1 WHERE key = 'shipped'",
	[LAST_NUMBER] = "SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'events'",
	[NEXT] = "SELECT * FROM events WHERE number > ?1 ORDER BY number LIMIT 1",
	/* Of what the prunes above take: the rows that were never written. */
	[UNWRITTEN_MINOR] = "SELECT count(*) FROM (SELECT number FROM events WHERE severity < 2"
			    " ORDER BY number LIMIT ?1) WHERE number > ?2",
	[UNWRITTEN_ANY] = "SELECT count(*) FROM (SELECT number FROM events ORDER BY number LIMIT ?1)"
			  " WHERE number > ?2",
};

static struct amp_counter lost_rows = AMP_COUNTER("events_json.pruned_unwritten", true);

enum amp_db_error store_failed(struct store *s, int rc)
{
	enum amp_db_error error = amp_db_failure(s->db, rc);

	if (error != AMP_DB_OK)
		snprintf(s->why, sizeof(s->why), "%s", amp_db_why());
	return error;
}

struct store *store_new(const struct store_config *c)
{
	struct store *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	s->config = *c;
	s->path = strdup(c->path);
	s->reserve_path = c->reserve_path ? strdup(c->reserve_path) : NULL;
	if (!s->path || (c->reserve_path && !s->reserve_path)) {
		store_free(s);
		errno = ENOMEM;
		return NULL;
	}
	return s;
}

void store_free(struct store *s)
{
	if (!s)
		return;
	store_close(s);
	free(s->path);
	free(s->reserve_path);
	free(s);
}

static int on_progress(void *arg)
{
	struct store *s = arg;

	s->config.progress(s->config.arg);
	return 0;
}

static int prepare_all(struct store *s)
{
	sqlite3 *sq = amp_db_handle(s->db);

	for (size_t i = 0; i < STATEMENT_COUNT; i++) {
		int rc = sqlite3_prepare_v3(sq, statement_sql[i], -1, SQLITE_PREPARE_PERSISTENT,
					    &s->statements[i], NULL);

		if (rc != SQLITE_OK)
			return rc;
	}
	return SQLITE_OK;
}

static void finalize_all(struct store *s)
{
	for (size_t i = 0; i < STATEMENT_COUNT; i++) {
		sqlite3_finalize(s->statements[i]);
		s->statements[i] = NULL;
	}
}

void store_close(struct store *s)
{
	if (!s->db)
		return;
	sqlite3_progress_handler(amp_db_handle(s->db), 0, NULL, NULL); /* its arg may be gone */
	finalize_all(s);
	amp_db_close(s->db);
	s->db = NULL;
}

int store_set_aside(struct store *s)
{
	int result;

	if (!s->db)
		return 0;
	finalize_all(s);
	result = amp_db_set_aside(s->db);
	s->db = NULL;
	if (result)
		snprintf(s->why, sizeof(s->why), "%s", amp_db_why());
	return result;
}

bool store_is_open(const struct store *s)
{
	return s->db;
}

const char *store_why(const struct store *s)
{
	return s->why;
}

int store_number(struct store *s, enum store_statement which, int64_t *value)
{
	sqlite3_stmt *stmt = s->statements[which];
	int rc = sqlite3_step(stmt);

	if (rc == SQLITE_ROW)
		*value = sqlite3_column_int64(stmt, 0);
	sqlite3_reset(stmt);
	return rc == SQLITE_ROW ? SQLITE_OK : rc;
}

static int read_name(struct store *s)
{
	sqlite3_stmt *stmt = s->statements[NAME];
	const unsigned char *text;
	int rc = sqlite3_step(stmt);

	s->name[0] = '\0';
	if (rc == SQLITE_ROW && (text = sqlite3_column_text(stmt, 0)))
		snprintf(s->name, sizeof(s->name), "%s", (const char *)text);
	sqlite3_reset(stmt);
	if (rc == SQLITE_ROW && strspn(s->name, "0123456789abcdef") != STORE_NAME_SIZE - 1)
		return SQLITE_CORRUPT;
	return rc == SQLITE_ROW ? SQLITE_OK : rc;
}

/* Without these rows it is no database of ours. */
static int read_meta(struct store *s)
{
	int64_t shipped = -1;
	int rc = read_name(s);

	if (rc == SQLITE_OK)
		rc = store_number(s, SHIPPED, &shipped);
	if (rc == SQLITE_DONE || (rc == SQLITE_OK && shipped < 0))
		return SQLITE_CORRUPT;
	s->written = s->shipped = s->kept = (uint64_t)shipped;
	return rc;
}

static enum amp_db_error start_using(struct store *s)
{
	int64_t rows = 0, max_pages = 0;
	int rc = prepare_all(s);

	if (s->config.progress)
		sqlite3_progress_handler(amp_db_handle(s->db), PROGRESS_OPS, on_progress, s);
	if (rc == SQLITE_OK)
		rc = store_number(s, COUNT_ROWS, &rows);
	if (rc == SQLITE_OK)
		rc = store_number(s, MAX_PAGES, &max_pages);
	if (rc == SQLITE_OK)
		rc = read_meta(s);
	s->rows = (uint64_t)rows;
	s->max_pages = max_pages;
	s->in_transaction = false;
	return store_failed(s, rc);
}

enum amp_db_error store_open(struct store *s, bool *was_broken)
{
	const struct amp_db_config c = {
		.path = s->path,
		.migrations = migrations,
		.reserve_path = s->reserve_path,
		.reserve_size = s->config.reserve_size,
		.max_size = s->config.max_size,
	};
	enum amp_db_error error;

	*was_broken = false;
	if (s->db)
		return AMP_DB_OK;
	s->db = amp_db_open(&c, was_broken, &error);
	if (!s->db) {
		snprintf(s->why, sizeof(s->why), "%s", amp_db_why());
		return error;
	}
	error = start_using(s);
	if (error == AMP_DB_BROKEN) /* the next try makes a new one */
		store_set_aside(s);
	else if (error != AMP_DB_OK)
		store_close(s);
	return error;
}

/* A statement without result. */
static enum amp_db_error run(struct store *s, enum store_statement which)
{
	int rc = sqlite3_step(s->statements[which]);
	enum amp_db_error error = store_failed(s, rc);

	sqlite3_reset(s->statements[which]);
	return error;
}

enum amp_db_error store_begin(struct store *s)
{
	enum amp_db_error error = run(s, BEGIN);

	s->in_transaction = error == AMP_DB_OK;
	s->rows_before = s->rows;
	return error;
}

/* How far events.json is goes with what is committed anyway. */
static enum amp_db_error add_shipped(struct store *s)
{
	if (s->shipped == s->kept)
		return AMP_DB_OK;
	sqlite3_bind_int64(s->statements[KEEP_SHIPPED], 1, (int64_t)s->shipped);
	return run(s, KEEP_SHIPPED);
}

enum amp_db_error store_commit(struct store *s)
{
	enum amp_db_error error = add_shipped(s);

	if (error == AMP_DB_OK)
		error = run(s, COMMIT);
	if (error != AMP_DB_OK)
		return error;
	s->kept = s->shipped;
	s->in_transaction = false;
	return AMP_DB_OK;
}

void store_rollback(struct store *s)
{
	if (!s->db || !s->in_transaction)
		return;
	/* After some errors SQLite has rolled back already. */
	if (!sqlite3_get_autocommit(amp_db_handle(s->db)))
		sqlite3_exec(amp_db_handle(s->db), "ROLLBACK", NULL, NULL, NULL);
	s->in_transaction = false;
	s->rows = s->rows_before;
}

static void bind_text(sqlite3_stmt *stmt, int i, const char *text)
{
	sqlite3_bind_text(stmt, i, text, -1, SQLITE_STATIC);
}

static void bind_bytes(sqlite3_stmt *stmt, int i, const ProtobufCBinaryData *bytes)
{
	/* A NULL pointer would be bound as NULL, not as no bytes. */
	sqlite3_bind_blob64(stmt, i, bytes->len ? (const void *)bytes->data : "", bytes->len, SQLITE_STATIC);
}

static void bind_event(sqlite3_stmt *stmt, const Amp__Event *e)
{
	static const Amp__Process nobody = AMP__PROCESS__INIT;
	const Amp__Process *p = e->process ? e->process : &nobody;

	bind_text(stmt, INSERT_COLUMN(COL_UID), e->uid);
	sqlite3_bind_int64(stmt, INSERT_COLUMN(COL_TIME), e->time_ns);
	bind_text(stmt, INSERT_COLUMN(COL_TYPE), e->type);
	sqlite3_bind_int64(stmt, INSERT_COLUMN(COL_SEVERITY), e->severity);
	bind_text(stmt, INSERT_COLUMN(COL_DETECTION_ID), e->detection_id);
	bind_text(stmt, INSERT_COLUMN(COL_DETECTION), e->detection);
	bind_bytes(stmt, INSERT_COLUMN(COL_PATH), &e->path);
	sqlite3_bind_int(stmt, INSERT_COLUMN(COL_UNRESOLVED), e->path_unresolved != 0);
	bind_bytes(stmt, INSERT_COLUMN(COL_SHA256), &e->sha256);
	sqlite3_bind_int64(stmt, INSERT_COLUMN(COL_SIZE), (int64_t)e->size);
	sqlite3_bind_int(stmt, INSERT_COLUMN(COL_KNOWN), p->known != 0);
	sqlite3_bind_int(stmt, INSERT_COLUMN(COL_PID), p->pid);
	sqlite3_bind_int64(stmt, INSERT_COLUMN(COL_PROCESS_UID), p->uid);
	bind_bytes(stmt, INSERT_COLUMN(COL_EXE), &p->exe);
	bind_text(stmt, INSERT_COLUMN(COL_MODE), e->mode);
	bind_text(stmt, INSERT_COLUMN(COL_CAUSE), e->cause);
	bind_text(stmt, INSERT_COLUMN(COL_DETAIL), e->detail);
	sqlite3_bind_int64(stmt, INSERT_COLUMN(COL_FSID), (int64_t)e->fsid);
	bind_bytes(stmt, INSERT_COLUMN(COL_HANDLE), &e->handle);
}

static int insert(struct store *s, const Amp__Event *e, int64_t occurrence)
{
	sqlite3_stmt *stmt = s->statements[INSERT];
	char id[160];
	int rc;

	if (occurrence > 1)
		snprintf(id, sizeof(id), "%s#%lld", e->uid, (long long)occurrence);
	else
		snprintf(id, sizeof(id), "%s", e->uid);
	bind_text(stmt, INSERT_COLUMN(COL_ID), id);
	sqlite3_bind_int64(stmt, INSERT_COLUMN(COL_OCCURRENCE), occurrence);
	bind_event(stmt, e);
	rc = sqlite3_step(stmt);
	sqlite3_reset(stmt);
	sqlite3_clear_bindings(stmt);
	return rc == SQLITE_DONE ? SQLITE_OK : rc;
}

/* Newest occurrence of uid; *occurrence 0: there is none. */
static int newest(struct store *s, const char *uid, int64_t *occurrence, int64_t *time_ns)
{
	sqlite3_stmt *stmt = s->statements[NEWEST];
	int rc;

	*occurrence = 0;
	bind_text(stmt, 1, uid);
	rc = sqlite3_step(stmt);
	if (rc == SQLITE_ROW) {
		*occurrence = sqlite3_column_int64(stmt, 0);
		*time_ns = sqlite3_column_int64(stmt, 1);
	}
	sqlite3_reset(stmt);
	sqlite3_clear_bindings(stmt);
	return rc == SQLITE_ROW || rc == SQLITE_DONE ? SQLITE_OK : rc;
}

/* Both times are checked to be from 0 on: no overflow. */
enum amp_db_error store_add(struct store *s, const Amp__Event *e, struct store_counts *counts)
{
	int64_t occurrence, time_ns = 0;
	int rc = newest(s, e->uid, &occurrence, &time_ns);

	if (rc != SQLITE_OK)
		return store_failed(s, rc);
	if (occurrence > 0 && (strcmp(e->type, THREAT_DETECTED) != 0 || e->time_ns == time_ns)) {
		counts->duplicates++;
		return AMP_DB_OK;
	}
	if (occurrence > 0 && e->time_ns - time_ns <= STORE_OCCURRENCE_NS) {
		counts->repeated++;
		return AMP_DB_OK;
	}
	rc = insert(s, e, occurrence + 1);
	if (rc != SQLITE_OK)
		return store_failed(s, rc);
	s->rows++;
	counts->added++;
	counts->occurrences += occurrence > 0;
	return AMP_DB_OK;
}

/* 1 % below the bound, so that not every commit has to prune. */
static uint64_t prune_goal(const struct store *s)
{
	return s->config.max_rows - s->config.max_rows / 100;
}

static bool too_many_rows(const struct store *s)
{
	uint64_t bound = s->pruning ? prune_goal(s) : s->config.max_rows;

	return s->config.max_rows > 0 && s->rows > bound;
}

static bool too_large(struct store *s)
{
	int64_t pages = 0, unused = 0;

	if (s->config.max_size <= 0 || store_number(s, PAGES, &pages) != SQLITE_OK ||
	    store_number(s, FREE_PAGES, &unused) != SQLITE_OK)
		return false;
	return pages - unused > s->max_pages / FULL_DIVISOR * FULL_NUMERATOR;
}

bool store_over(struct store *s)
{
	return s->db && (too_many_rows(s) || (s->rows > 0 && too_large(s)));
}

/* How many of the n rows that are about to go are not in events.json. */
static int count_unwritten(struct store *s, enum store_statement which, uint64_t n, uint64_t *lost)
{
	sqlite3_stmt *stmt = s->statements[which];
	int64_t count = 0;
	int rc;

	if (!s->shipping)
		return SQLITE_OK;
	sqlite3_bind_int64(stmt, 1, (int64_t)n);
	sqlite3_bind_int64(stmt, 2, (int64_t)s->written);
	rc = store_number(s, which, &count);
	*lost += (uint64_t)count;
	return rc;
}

static int delete_some(struct store *s, enum store_statement which, uint64_t n, uint64_t *deleted,
		       uint64_t *lost)
{
	sqlite3_stmt *stmt = s->statements[which];
	int rc = count_unwritten(s, which == PRUNE_MINOR ? UNWRITTEN_MINOR : UNWRITTEN_ANY, n, lost);

	if (rc != SQLITE_OK)
		return rc;
	sqlite3_bind_int64(stmt, 1, (int64_t)n);
	rc = sqlite3_step(stmt);
	sqlite3_reset(stmt);
	if (rc != SQLITE_DONE)
		return rc;
	*deleted += (uint64_t)sqlite3_changes(amp_db_handle(s->db));
	return SQLITE_OK;
}

/* Rows this batch takes: down to the goal, or, for the sake of size, all it may. */
static uint64_t batch_size(const struct store *s)
{
	uint64_t excess = PRUNE_BATCH;

	if (s->config.max_rows > 0 && s->rows > prune_goal(s))
		excess = s->rows - prune_goal(s);
	return excess < PRUNE_BATCH ? excess : PRUNE_BATCH;
}

enum amp_db_error store_prune(struct store *s, uint64_t *pruned)
{
	uint64_t want = batch_size(s), deleted = 0, lost = 0;
	enum amp_db_error error = store_begin(s);
	int rc;

	if (error != AMP_DB_OK)
		return error;
	rc = delete_some(s, PRUNE_MINOR, want, &deleted, &lost);
	if (rc == SQLITE_OK && deleted < want)
		rc = delete_some(s, PRUNE_ANY, want - deleted, &deleted, &lost);
	error = rc == SQLITE_OK ? store_commit(s) : store_failed(s, rc);
	if (error != AMP_DB_OK) {
		store_rollback(s);
		return error;
	}
	s->rows -= deleted < s->rows ? deleted : s->rows;
	*pruned += deleted;
	if (lost > 0)
		amp_counter_add(&lost_rows, lost);
	s->pruning = true;
	s->pruning = store_over(s);
	return AMP_DB_OK;
}

const char *store_name(const struct store *s)
{
	return s->name;
}

uint64_t store_shipped(const struct store *s)
{
	return s->shipped;
}

void store_ship(struct store *s, uint64_t written, uint64_t durable)
{
	s->shipping = true;
	s->written = written;
	s->shipped = durable;
}

enum amp_db_error store_keep_shipped(struct store *s)
{
	enum amp_db_error error;

	if (!s->db || s->shipped == s->kept)
		return AMP_DB_OK;
	error = store_begin(s);
	if (error == AMP_DB_OK)
		error = store_commit(s);
	if (error != AMP_DB_OK)
		store_rollback(s);
	return error;
}

enum amp_db_error store_last_number(struct store *s, uint64_t *number)
{
	int64_t last = 0;
	int rc = store_number(s, LAST_NUMBER, &last);

	*number = (uint64_t)last;
	return store_failed(s, rc);
}

bool store_has_reserve(const struct store *s)
{
	return s->db && amp_db_has_reserve(s->db);
}

bool store_release_reserve(struct store *s)
{
	return s->db && amp_db_release_reserve(s->db);
}

bool store_restore_reserve(struct store *s)
{
	bool stands = s->db && amp_db_restore_reserve(s->db);

	if (!stands)
		snprintf(s->why, sizeof(s->why), "%s", amp_db_why());
	return stands;
}

bool store_aside_left(const struct store *s, char *buf, size_t size)
{
	return amp_db_aside_left(s->path, buf, size);
}
