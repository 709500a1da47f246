/*
 * ampcloudd/query.c - rows of events.db: for ampcli, newest first, and one by
 * one for events.json.
 *
 * A query goes down the numbers in windows: what it costs between two steps is
 * bounded, however rare the rows it looks for, and commits run in between.
 */
#include "store_private.h"

#include "proto/types.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WINDOW 20000 /* numbers looked at in one step */

/* Parameters of the query: their places. */
enum parameter { FROM = 1, BEFORE, LIMIT, SINCE, TYPE, DETECTION };

int store_query_init(struct store_query *q, const struct store_filter *f)
{
	memset(q, 0, sizeof(*q));
	q->filter = *f;
	q->cursor = f->before;
	q->reply = malloc(sizeof(*q->reply));
	if (!q->reply)
		return -1;
	amp__cli_history_reply__init(q->reply);
	/* One more than is sent: it tells that there is more. */
	q->reply->entries = calloc(f->limit + 1, sizeof(*q->reply->entries));
	if (q->reply->entries)
		return 0;
	amp__cli_history_reply__free_unpacked(q->reply, NULL);
	q->reply = NULL;
	errno = ENOMEM;
	return -1;
}

/* The + keeps SQLite from the index on times: the numbers are the way. */
static int prepare(struct store *s, const struct store_filter *f, sqlite3_stmt **stmt)
{
	char sql[320];

	snprintf(sql, sizeof(sql),
		 "SELECT * FROM events WHERE number >= ?1 AND number < ?2%s%s%s"
		 " ORDER BY number DESC LIMIT ?3",
		 f->since_ns > 0 ? " AND +time_ns >= ?4" : "", f->type[0] ? " AND type = ?5" : "",
		 f->detection_id[0] ? " AND detection_id = ?6 AND detection_id <> ''" : "");
	return sqlite3_prepare_v2(amp_db_handle(s->db), sql, -1, stmt, NULL);
}

static void bind_filter(sqlite3_stmt *stmt, const struct store_filter *f)
{
	if (f->since_ns > 0)
		sqlite3_bind_int64(stmt, SINCE, f->since_ns);
	if (f->type[0])
		sqlite3_bind_text(stmt, TYPE, f->type, -1, SQLITE_STATIC);
	if (f->detection_id[0])
		sqlite3_bind_text(stmt, DETECTION, f->detection_id, -1, SQLITE_STATIC);
}

/* Both leave NULL behind if there is no memory: the caller looks at that. */
static char *column_text(sqlite3_stmt *stmt, int column)
{
	const unsigned char *text = sqlite3_column_text(stmt, column);

	return strdup(text ? (const char *)text : "");
}

static bool column_bytes(sqlite3_stmt *stmt, int column, ProtobufCBinaryData *out)
{
	const void *data = sqlite3_column_blob(stmt, column);
	int n = sqlite3_column_bytes(stmt, column);

	if (n <= 0 || !data)
		return true;
	out->data = malloc((size_t)n);
	if (!out->data)
		return false;
	memcpy(out->data, data, (size_t)n);
	out->len = (size_t)n;
	return true;
}

static bool read_process(sqlite3_stmt *stmt, Amp__CliHistoryEntry *e)
{
	Amp__Process *p = malloc(sizeof(*p));

	if (!p)
		return false;
	amp__process__init(p);
	e->process = p;
	p->known = sqlite3_column_int(stmt, COL_KNOWN) != 0;
	p->pid = sqlite3_column_int(stmt, COL_PID);
	p->uid = (uint32_t)sqlite3_column_int64(stmt, COL_PROCESS_UID);
	return column_bytes(stmt, COL_EXE, &p->exe);
}

/* Fills every text, with NULL where there is no memory. */
static bool read_texts(sqlite3_stmt *stmt, Amp__CliHistoryEntry *e)
{
	const struct {
		char **to;
		int column;
	} texts[] = {
		{&e->id, COL_ID},
		{&e->type, COL_TYPE},
		{&e->detection_id, COL_DETECTION_ID},
		{&e->detection, COL_DETECTION},
		{&e->mode, COL_MODE},
		{&e->cause, COL_CAUSE},
		{&e->detail, COL_DETAIL},
	};

	for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++) {
		*texts[i].to = column_text(stmt, texts[i].column);
		if (!*texts[i].to)
			return false;
	}
	return true;
}

/* NULL: no memory. */
static Amp__CliHistoryEntry *read_entry(sqlite3_stmt *stmt)
{
	Amp__CliHistoryEntry *e = malloc(sizeof(*e));

	if (!e)
		return NULL;
	amp__cli_history_entry__init(e);
	e->number = (uint64_t)sqlite3_column_int64(stmt, COL_NUMBER);
	e->time_ns = sqlite3_column_int64(stmt, COL_TIME);
	e->path_unresolved = sqlite3_column_int(stmt, COL_UNRESOLVED) != 0;
	e->size = (uint64_t)sqlite3_column_int64(stmt, COL_SIZE);
	e->severity = (uint32_t)sqlite3_column_int64(stmt, COL_SEVERITY);
	if (read_texts(stmt, e) && column_bytes(stmt, COL_PATH, &e->path) &&
	    column_bytes(stmt, COL_SHA256, &e->sha256) && read_process(stmt, e))
		return e;
	amp__cli_history_entry__free_unpacked(e, NULL);
	return NULL;
}

enum amp_db_error store_next(struct store *s, uint64_t number, Amp__CliHistoryEntry **e)
{
	sqlite3_stmt *stmt = s->statements[NEXT];
	int rc;

	*e = NULL;
	sqlite3_bind_int64(stmt, 1, (int64_t)number);
	rc = sqlite3_step(stmt);
	if (rc == SQLITE_ROW) {
		*e = read_entry(stmt);
		rc = *e ? SQLITE_DONE : SQLITE_NOMEM;
	}
	sqlite3_reset(stmt);
	return store_failed(s, rc == SQLITE_DONE ? SQLITE_OK : rc);
}

/* Full: this row is for the next page. */
static bool page_is_full(const struct store_query *q, size_t size)
{
	size_t n = q->reply->n_entries;

	return n >= q->filter.limit || (n > 0 && q->size + size > q->filter.room);
}

static int take_row(struct store_query *q, sqlite3_stmt *stmt)
{
	Amp__CliHistoryReply *r = q->reply;
	Amp__CliHistoryEntry *e = read_entry(stmt);
	size_t size;

	if (!e)
		return SQLITE_NOMEM;
	size = amp__cli_history_entry__get_packed_size(e) + 8; /* tag and length */
	if (page_is_full(q, size)) {
		amp__cli_history_entry__free_unpacked(e, NULL);
		r->more = true;
		r->next_before = r->entries[r->n_entries - 1]->number;
		q->finished = true;
		return SQLITE_OK;
	}
	r->entries[r->n_entries++] = e;
	q->size += size;
	return SQLITE_OK;
}

static int take_rows(struct store_query *q, sqlite3_stmt *stmt, uint64_t from)
{
	int rc = SQLITE_DONE;

	sqlite3_bind_int64(stmt, FROM, (int64_t)from);
	sqlite3_bind_int64(stmt, BEFORE, (int64_t)q->cursor);
	sqlite3_bind_int64(stmt, LIMIT, (int64_t)(q->filter.limit + 1 - q->reply->n_entries));
	bind_filter(stmt, &q->filter);
	while (!q->finished && (rc = sqlite3_step(stmt)) == SQLITE_ROW) {
		rc = take_row(q, stmt);
		if (rc != SQLITE_OK)
			return rc;
	}
	return q->finished || rc == SQLITE_DONE ? SQLITE_OK : rc;
}

/* Is there any row further down that is young enough? By the index on times. */
static int anything_since(struct store *s, const struct store_query *q, bool *any)
{
	sqlite3_stmt *stmt = s->statements[LATER_THAN];
	int64_t found = 0;
	int rc;

	sqlite3_bind_int64(stmt, 1, q->filter.since_ns);
	sqlite3_bind_int64(stmt, 2, (int64_t)q->cursor);
	rc = store_number(s, LATER_THAN, &found);
	*any = found != 0;
	return rc;
}

static int begin_at(struct store *s, struct store_query *q)
{
	int64_t highest = 0;
	int rc = store_number(s, HIGHEST, &highest);

	if (q->cursor == 0 || q->cursor > (uint64_t)highest + 1)
		q->cursor = (uint64_t)highest + 1;
	return rc;
}

static int look_on(struct store *s, struct store_query *q, uint64_t from)
{
	int64_t lowest = 0;
	bool any = true;
	int rc = store_number(s, LOWEST, &lowest);

	q->cursor = from;
	if (rc == SQLITE_OK && q->filter.since_ns > 0)
		rc = anything_since(s, q, &any);
	if (from <= (uint64_t)lowest || !any)
		q->finished = true;
	return rc;
}

enum amp_db_error store_query_step(struct store *s, struct store_query *q)
{
	sqlite3_stmt *stmt = NULL;
	uint64_t from;
	int rc = begin_at(s, q);

	if (rc != SQLITE_OK)
		return store_failed(s, rc);
	from = q->cursor > WINDOW ? q->cursor - WINDOW : 0;
	rc = prepare(s, &q->filter, &stmt);
	if (rc == SQLITE_OK)
		rc = take_rows(q, stmt, from);
	if (rc == SQLITE_OK && !q->finished)
		rc = look_on(s, q, from);
	sqlite3_finalize(stmt);
	return store_failed(s, rc);
}
