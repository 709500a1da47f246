/*
 * ampquard/store.c - quarantine.db: schema, statements, opening, transactions
 * and the changes of a state (see store.h; store_private.h names the rest).
 */
#include "store_private.h"

#include "counter.h"
#include "text.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* AUTOINCREMENT: the number of an entry that was dropped is never another's. */
static const char *const migrations[] = {
	"CREATE TABLE entries("
	" number INTEGER PRIMARY KEY AUTOINCREMENT,"
	" id TEXT NOT NULL UNIQUE,"
	" detection_id TEXT NOT NULL,"
	" fsid INTEGER NOT NULL,"
	" handle_type INTEGER NOT NULL,"
	" handle BLOB NOT NULL,"
	" sha256 BLOB NOT NULL,"
	" detection TEXT NOT NULL,"
	" state INTEGER NOT NULL,"
	" failed INTEGER NOT NULL,"
	" reason TEXT NOT NULL,"
	" tries INTEGER NOT NULL,"
	" retry_ns INTEGER NOT NULL,"
	" time_ns INTEGER NOT NULL,"
	" done_ns INTEGER NOT NULL,"
	" ended_ns INTEGER NOT NULL,"
	" size INTEGER NOT NULL,"
	" stored INTEGER NOT NULL,"
	" uid INTEGER NOT NULL,"
	" gid INTEGER NOT NULL,"
	" mode INTEGER NOT NULL,"
	" nlink INTEGER NOT NULL,"
	" mtime_ns INTEGER NOT NULL,"
	" note TEXT NOT NULL,"
	" restored_to BLOB NOT NULL);"
	/* One entry of a file's content that was not restored. */
	"CREATE UNIQUE INDEX entries_file ON entries(fsid, handle_type, handle, sha256) WHERE state < 4;"
	"CREATE INDEX entries_unfinished ON entries(number) WHERE state < 3;"
	"CREATE INDEX entries_ended ON entries(ended_ns) WHERE state >= 3;"
	"CREATE INDEX entries_totals ON entries(state, stored);"
	"CREATE TABLE names("
	" number INTEGER PRIMARY KEY,"
	" entry INTEGER NOT NULL,"
	" dir_type INTEGER NOT NULL,"
	" directory BLOB NOT NULL,"
	" path BLOB NOT NULL,"
	" name BLOB NOT NULL,"
	" unresolved INTEGER NOT NULL);"
	"CREATE INDEX names_entry ON names(entry);"
	"CREATE TABLE detections("
	" number INTEGER PRIMARY KEY,"
	" detection_id TEXT NOT NULL UNIQUE,"
	" entry INTEGER NOT NULL,"
	" take BLOB NOT NULL);"
	"CREATE INDEX detections_entry ON detections(entry);"
	"CREATE TABLE reports("
	" number INTEGER PRIMARY KEY AUTOINCREMENT,"
	" uid TEXT NOT NULL UNIQUE,"
	" event BLOB NOT NULL);"
	"CREATE TABLE allowed("
	" sha256 BLOB NOT NULL PRIMARY KEY,"
	" time_ns INTEGER NOT NULL);",
	/* Restores that were begun and not ended. */
	"CREATE TABLE restores("
	" number INTEGER PRIMARY KEY,"
	" entry_id TEXT NOT NULL UNIQUE,"
	" sha256 BLOB NOT NULL,"
	" was_allowed INTEGER NOT NULL,"
	" path BLOB NOT NULL);",
	NULL,
};

/* The order is the one of enum store_column. */
#define ENTRY                                                                                                \
	"SELECT number, id, detection_id, fsid, handle_type, handle, sha256, detection, state, failed,"      \
	" reason, tries, retry_ns, time_ns, done_ns, ended_ns, size, stored, uid, gid, mode, nlink,"         \
	" mtime_ns, note, restored_to FROM entries "

static const char *const statement_sql[STATEMENT_COUNT] = {
	[BEGIN] = "BEGIN IMMEDIATE",
	[COMMIT] = "COMMIT",
	[KNOWN] = "SELECT e.id, e.state FROM detections d JOIN entries e ON e.number = d.entry WHERE "
		  "d.detection_id = "
		  "?1",
	[SAME_FILE] = "SELECT number, id, state FROM entries WHERE fsid = ?1 AND handle_type = ?2"
		      " AND handle = ?3 AND sha256 = ?4 AND state < 4",
	[INSERT_ENTRY] = "INSERT INTO entries(id, detection_id, fsid, handle_type, handle, sha256, detection,"
			 " state, failed, reason, tries, retry_ns, time_ns, done_ns, ended_ns, size, stored,"
			 " uid, gid, mode, nlink, mtime_ns, note, restored_to)"
			 " VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, 1, 0, '', 0, 0, ?8, 0, 0, 0, 0, 0, 0, 0, 0, 0,"
			 " '', x'')",
	[COUNT_DETECTIONS] = "SELECT count(*) FROM detections WHERE entry = ?1",
	/* Replaced is only what belongs to no entry: KNOWN was asked before. */
	[INSERT_DETECTION] =
		"INSERT OR REPLACE INTO detections(entry, detection_id, take) VALUES(?1, ?2, ?3)",
	/* Where one of two does not know its directory, the path tells; a mere name tells little. */
	[SAME_NAME] = "SELECT number FROM names WHERE entry = ?1 AND CASE"
		      " WHEN length(?3) > 0 AND length(?5) > 0 AND length(directory) > 0 AND length(name) > 0"
		      " THEN dir_type = ?2 AND directory = ?3 AND name = ?5"
		      " ELSE path = ?4 AND (length(?4) > 0 OR name = ?5) END LIMIT 1",
	/* The old row learns what it did not know; the expressions see the old values. */
	[COMPLETE_NAME] =
		"UPDATE names SET"
		" dir_type = iif(length(directory) > 0, dir_type, ?2),"
		" directory = iif(length(directory) > 0, directory, ?3),"
		" name = iif(length(directory) > 0, name, ?5),"
		" path = iif(length(path) > 0, path, ?4),"
		" unresolved = iif(length(path) > 0, unresolved, ?6)"
		" WHERE number = ?1 AND ((length(directory) = 0 AND length(?3) > 0 AND length(?5) > 0)"
		" OR (length(path) = 0 AND length(?4) > 0))",
	[COUNT_NAMES] = "SELECT count(*) FROM names WHERE entry = ?1",
	[INSERT_NAME] = "INSERT INTO names(entry, dir_type, directory, path, name, unresolved)"
			" VALUES(?1, ?2, ?3, ?4, ?5, ?6)",
	[NAME_PATH_KNOWN] = "UPDATE names SET path = ?2, unresolved = 0 WHERE number = (SELECT min(n.number)"
			    " FROM names n JOIN entries e ON e.number = n.entry WHERE e.id = ?1)",
	[DETECTION] = "SELECT take FROM detections WHERE detection_id = ?1",
	[FIND] = ENTRY "WHERE id = ?1",
	[NAMES] = "SELECT dir_type, directory, path, name, unresolved FROM names WHERE entry = ?1"
		  " ORDER BY number LIMIT ?2",
	[DETECTIONS] = "SELECT detection_id FROM detections WHERE entry = ?1 ORDER BY number LIMIT ?2",
	[UNFINISHED] = ENTRY "WHERE number > ?1 AND state < 3 ORDER BY number",
	[LIST] = ENTRY "WHERE number < ?1 ORDER BY number DESC",
	[OLDER] = ENTRY "WHERE state >= 3 AND ended_ns < ?1 ORDER BY ended_ns, number",
	/* total() never overflows, whatever the rows say. */
	[TOTALS] = "SELECT count(*), coalesce(sum(state < 3), 0), total(max(stored, 0)) FROM entries",
	[COPIED] = "UPDATE entries SET state = 2, size = ?2, stored = ?3, uid = ?4, gid = ?5, mode = ?6,"
		   " nlink = ?7, mtime_ns = ?8 WHERE id = ?1 AND state < 3",
	[DONE] = "UPDATE entries SET state = 3, failed = 0, reason = '', retry_ns = 0, done_ns = ?2,"
		 " ended_ns = ?2, note = ?3 WHERE id = ?1 AND state < 4",
	[FAILED] =
		"UPDATE entries SET failed = 1, reason = ?2, retry_ns = ?3, tries = min(tries + 1, 1000000)"
		" WHERE id = ?1 AND state < 4",
	[RETRIED] = "UPDATE entries SET failed = 0, reason = '', retry_ns = 0 WHERE id = ?1",
	[REOPEN] = "UPDATE entries SET state = 2, failed = 0, reason = '', retry_ns = 0, done_ns = 0,"
		   " ended_ns = 0 WHERE id = ?1 AND state = 3",
	[RESTORED] = "UPDATE entries SET state = 4, failed = 0, reason = '', retry_ns = 0, restored_to = ?2,"
		     " ended_ns = ?3 WHERE id = ?1 AND state >= 2",
	[DROP_NAMES] = "DELETE FROM names WHERE entry = (SELECT number FROM entries WHERE id = ?1)",
	[DROP_DETECTIONS] = "DELETE FROM detections WHERE entry = (SELECT number FROM entries WHERE id = ?1)",
	[DROP_ENTRY] = "DELETE FROM entries WHERE id = ?1",
	[ALLOW] = "INSERT OR REPLACE INTO allowed(sha256, time_ns) VALUES(?1, ?2)",
	[REVOKE] = "DELETE FROM allowed WHERE sha256 = ?1",
	[ALLOWED] = "SELECT sha256 FROM allowed ORDER BY sha256",
	[IS_ALLOWED] = "SELECT 1 FROM allowed WHERE sha256 = ?1",
	[BEGIN_RESTORE] = "INSERT OR REPLACE INTO restores(entry_id, sha256, was_allowed, path)"
			  " VALUES(?1, ?2, ?3, ?4)",
	[END_RESTORE] = "DELETE FROM restores WHERE entry_id = ?1",
	[BEGUN_RESTORE] = "SELECT number, entry_id, sha256, was_allowed, path FROM restores"
			  " WHERE number > ?1 ORDER BY number",
	[REPORT] = "INSERT INTO reports(uid, event) VALUES(?1, ?2) ON CONFLICT(uid) DO NOTHING",
	[REPORT_NUMBER] = "SELECT number FROM reports WHERE uid = ?1",
	[NEXT_REPORT] = "SELECT number, uid, event FROM reports WHERE number > ?1 ORDER BY number",
	[REPORTED] = "DELETE FROM reports WHERE number = ?1",
};

static struct amp_counter ill_rows = AMP_COUNTER("store.ill_rows", true);

/* --- errors ------------------------------------------------------------ */

enum amp_db_error store_error(struct store *s, int rc)
{
	enum amp_db_error error = amp_db_failure(s->db, rc);

	if (error == AMP_DB_OK)
		return error;
	s->ill_row = false;
	snprintf(s->why, sizeof(s->why), "%s", amp_db_why());
	return error;
}

enum amp_db_error store_refuse(struct store *s, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(s->why, sizeof(s->why), fmt, ap);
	va_end(ap);
	s->ill_row = false;
	return AMP_DB_OTHER;
}

enum amp_db_error store_ill(struct store *s, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(s->why, sizeof(s->why), fmt, ap);
	va_end(ap);
	s->ill_row = true;
	amp_counter_add(&ill_rows, 1);
	return AMP_DB_BROKEN;
}

bool store_ill_row(const struct store *s)
{
	return s->ill_row;
}

const char *store_why(const struct store *s)
{
	return s->why;
}

enum amp_db_error store_readable(struct store *s)
{
	return s->db ? AMP_DB_OK : store_refuse(s, "the database is not open");
}

/* SQLite ends a transaction by itself after some errors: what follows must not go in without one. */
enum amp_db_error store_changeable(struct store *s)
{
	if (!s->db || sqlite3_get_autocommit(amp_db_handle(s->db)))
		return store_refuse(s, "there is no transaction");
	return AMP_DB_OK;
}

/* --- statements -------------------------------------------------------- */

enum amp_db_error store_finish(struct store *s, sqlite3_stmt *stmt, int rc)
{
	enum amp_db_error error = store_error(s, rc);

	sqlite3_reset(stmt);
	sqlite3_clear_bindings(stmt);
	return error;
}

enum amp_db_error store_run(struct store *s, sqlite3_stmt *stmt)
{
	return store_finish(s, stmt, sqlite3_step(stmt));
}

void store_bind_text(sqlite3_stmt *stmt, int i, const char *text)
{
	sqlite3_bind_text(stmt, i, text, -1, SQLITE_STATIC);
}

void store_bind_bytes(sqlite3_stmt *stmt, int i, const void *data, size_t size)
{
	/* A NULL pointer would be bound as NULL, not as no bytes. */
	sqlite3_bind_blob64(stmt, i, size ? data : "", size, SQLITE_STATIC);
}

void store_bind_number(sqlite3_stmt *stmt, int i, uint64_t value)
{
	sqlite3_bind_int64(stmt, i, value > INT64_MAX ? INT64_MAX : (int64_t)value);
}

/* Negative times are never written: they would be refused when read. */
static void bind_time(sqlite3_stmt *stmt, int i, int64_t ns)
{
	sqlite3_bind_int64(stmt, i, ns > 0 ? ns : 0);
}

/* Length of a text that is to fit, not cut within a character. */
static size_t prose_length(const char *text, size_t max)
{
	size_t n = strnlen(text, max + 1), cut = max;

	if (n <= max)
		return n;
	while (cut > max - 3 && ((unsigned char)text[cut] & 0xc0) == 0x80)
		cut--;
	return cut;
}

/* Texts for people as they may be kept: UTF-8, at most size - 1 bytes. */
static void bind_prose(sqlite3_stmt *stmt, int i, const char *text, size_t size)
{
	char buf[512];
	size_t n;

	if (!text)
		text = "";
	n = prose_length(text, size - 1);
	if (amp_text_is_utf8(text, n))
		snprintf(buf, sizeof(buf), "%.*s", (int)n, text);
	else
		amp_text_escape(text, n, buf, size < sizeof(buf) ? size : sizeof(buf));
	sqlite3_bind_text(stmt, i, buf, -1, SQLITE_TRANSIENT);
}

/* --- opening ----------------------------------------------------------- */

struct store *store_new(const struct store_config *c)
{
	struct store *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	s->reserve_size = c->reserve_size;
	s->path = strdup(c->path);
	s->reserve_path = c->reserve_path ? strdup(c->reserve_path) : NULL;
	if (!s->path || (c->reserve_path && !s->reserve_path)) {
		store_free(s);
		errno = ENOMEM;
		return NULL;
	}
	return s;
}

static void finalize_all(struct store *s)
{
	for (size_t i = 0; i < STATEMENT_COUNT; i++) {
		sqlite3_finalize(s->statements[i]);
		s->statements[i] = NULL;
	}
}

static void close_store(struct store *s)
{
	if (!s->db)
		return;
	finalize_all(s);
	amp_db_close(s->db);
	s->db = NULL;
}

void store_free(struct store *s)
{
	if (!s)
		return;
	close_store(s);
	free(s->path);
	free(s->reserve_path);
	free(s);
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

bool store_is_new(struct store *s)
{
	sqlite3_stmt *stmt = NULL;
	bool is_new = false;

	if (s->db &&
	    sqlite3_prepare_v2(amp_db_handle(s->db), "SELECT 1 FROM sqlite_sequence WHERE name = 'entries'",
			       -1, &stmt, NULL) == SQLITE_OK)
		is_new = sqlite3_step(stmt) == SQLITE_DONE;
	sqlite3_finalize(stmt);
	return is_new;
}

static enum amp_db_error prepare_all(struct store *s)
{
	sqlite3 *sq = amp_db_handle(s->db);
	enum amp_db_error error;

	for (size_t i = 0; i < STATEMENT_COUNT; i++) {
		int rc = sqlite3_prepare_v3(sq, statement_sql[i], -1, SQLITE_PREPARE_PERSISTENT,
					    &s->statements[i], NULL);

		if (rc == SQLITE_OK)
			continue;
		error = store_error(s, rc);
		/* The statements are right: the schema is not the one its version says. */
		return (rc & 0xff) == SQLITE_ERROR ? AMP_DB_BROKEN : error;
	}
	return AMP_DB_OK;
}

/* There are none of ours: what stands in the file would be somebody else's program. */
static void no_programs(sqlite3 *sq)
{
	sqlite3_db_config(sq, SQLITE_DBCONFIG_ENABLE_TRIGGER, 0, NULL);
	sqlite3_db_config(sq, SQLITE_DBCONFIG_ENABLE_VIEW, 0, NULL);
}

enum amp_db_error store_open(struct store *s, bool *was_broken)
{
	const struct amp_db_config c = {
		.path = s->path,
		.migrations = migrations,
		.reserve_path = s->reserve_path,
		.reserve_size = s->reserve_size,
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
	no_programs(amp_db_handle(s->db));
	error = prepare_all(s);
	if (error == AMP_DB_BROKEN) /* the next try makes a new one */
		store_set_aside(s);
	else if (error != AMP_DB_OK)
		close_store(s);
	return error;
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

/* --- transactions ------------------------------------------------------ */

enum amp_db_error store_begin(struct store *s)
{
	enum amp_db_error error = store_readable(s);

	return error == AMP_DB_OK ? store_run(s, s->statements[BEGIN]) : error;
}

enum amp_db_error store_commit(struct store *s)
{
	enum amp_db_error error = store_changeable(s);

	return error == AMP_DB_OK ? store_run(s, s->statements[COMMIT]) : error;
}

void store_rollback(struct store *s)
{
	if (s->db && !sqlite3_get_autocommit(amp_db_handle(s->db)))
		sqlite3_exec(amp_db_handle(s->db), "ROLLBACK", NULL, NULL, NULL);
}

/* --- changes of one entry ---------------------------------------------- */

/* NULL: it cannot be changed now. */
static sqlite3_stmt *change_of(struct store *s, enum store_statement which, const char *id)
{
	if (store_changeable(s) != AMP_DB_OK)
		return NULL;
	store_bind_text(s->statements[which], 1, id);
	return s->statements[which];
}

static enum amp_db_error change(struct store *s, sqlite3_stmt *stmt, const char *id)
{
	enum amp_db_error error = store_run(s, stmt);

	if (error == AMP_DB_OK && sqlite3_changes(amp_db_handle(s->db)) == 0)
		return store_refuse(s, "there is no entry %.36s, or it is not in a state for that", id);
	return error;
}

enum amp_db_error store_copied(struct store *s, const struct entry *e)
{
	sqlite3_stmt *stmt = change_of(s, COPIED, e->id);

	if (!stmt)
		return AMP_DB_OTHER;
	store_bind_number(stmt, 2, e->size);
	store_bind_number(stmt, 3, e->stored);
	store_bind_number(stmt, 4, e->uid);
	store_bind_number(stmt, 5, e->gid);
	store_bind_number(stmt, 6, e->mode);
	store_bind_number(stmt, 7, e->nlink);
	sqlite3_bind_int64(stmt, 8, e->mtime_ns);
	return change(s, stmt, e->id);
}

enum amp_db_error store_done(struct store *s, const char *id, int64_t now_ns, const char *note)
{
	sqlite3_stmt *stmt = change_of(s, DONE, id);

	if (!stmt)
		return AMP_DB_OTHER;
	bind_time(stmt, 2, now_ns);
	bind_prose(stmt, 3, note, sizeof(((struct entry *)0)->note));
	return change(s, stmt, id);
}

enum amp_db_error store_failed(struct store *s, const char *id, const char *reason, int64_t retry_ns)
{
	sqlite3_stmt *stmt = change_of(s, FAILED, id);

	if (!stmt)
		return AMP_DB_OTHER;
	bind_prose(stmt, 2, reason, sizeof(((struct entry *)0)->reason));
	bind_time(stmt, 3, retry_ns);
	return change(s, stmt, id);
}

enum amp_db_error store_name_path(struct store *s, const char *id, const void *path, size_t size)
{
	sqlite3_stmt *stmt = change_of(s, NAME_PATH_KNOWN, id);

	if (!stmt)
		return AMP_DB_OTHER;
	store_bind_bytes(stmt, 2, path, size);
	return store_run(s, stmt);
}

enum amp_db_error store_retried(struct store *s, const char *id)
{
	sqlite3_stmt *stmt = change_of(s, RETRIED, id);

	return stmt ? change(s, stmt, id) : AMP_DB_OTHER;
}

enum amp_db_error store_reopen(struct store *s, const char *id)
{
	sqlite3_stmt *stmt = change_of(s, REOPEN, id);

	return stmt ? change(s, stmt, id) : AMP_DB_OTHER;
}

enum amp_db_error store_restored(struct store *s, const char *id, const void *path, size_t size,
				 int64_t now_ns)
{
	sqlite3_stmt *stmt = change_of(s, RESTORED, id);

	if (!stmt)
		return AMP_DB_OTHER;
	/* It is for people: where it is longer than any path said, its beginning must do. */
	store_bind_bytes(stmt, 2, path, size < AMP_PATH_MAX ? size : AMP_PATH_MAX);
	bind_time(stmt, 3, now_ns);
	return change(s, stmt, id);
}

/* The entry last: the others are found by it. */
enum amp_db_error store_drop(struct store *s, const char *id)
{
	static const enum store_statement drops[] = {DROP_NAMES, DROP_DETECTIONS, DROP_ENTRY};

	for (size_t i = 0; i < sizeof(drops) / sizeof(*drops); i++) {
		sqlite3_stmt *stmt = change_of(s, drops[i], id);
		enum amp_db_error error = stmt ? store_run(s, stmt) : AMP_DB_OTHER;

		if (error != AMP_DB_OK)
			return error;
	}
	return AMP_DB_OK;
}
