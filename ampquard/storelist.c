/*
 * ampquard/storelist.c - entries of quarantine.db, read and checked (see
 * store.h). A row that is not what was written is an error where it was asked
 * for, and passed over with a warning in a list: one bad row hides no other.
 */
#include "store_private.h"

#include "log.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

void entry_free(struct entry *e)
{
	if (!e)
		return;
	for (size_t i = 0; i < e->name_count; i++) {
		free(e->names[i].path);
		free(e->names[i].name);
	}
	free(e->names);
	free(e->detection_ids);
	free(e->restored_to);
	free(e);
}

static enum amp_db_error no_memory(struct store *s)
{
	return store_refuse(s, "%s", strerror(ENOMEM));
}

/* A copy with a NUL behind it; NULL: nothing there, or (false) no memory. */
static bool copy_bytes(const uint8_t *data, size_t size, char **out)
{
	*out = NULL;
	if (size == 0)
		return true;
	*out = malloc(size + 1);
	if (!*out)
		return false;
	memcpy(*out, data, size);
	(*out)[size] = '\0';
	return true;
}

/* --- one row ------------------------------------------------------------ */

static void read_file(struct store_row *r, struct entry *e)
{
	size_t size;
	const uint8_t *handle = store_row_blob(r, COL_HANDLE, AMP_FILE_HANDLE_MAX, &size);

	e->file.fsid = store_row_bits(r, COL_FSID);
	e->file.handle.type = (int32_t)store_row_number(r, COL_HANDLE_TYPE, INT32_MIN, INT32_MAX);
	e->file.handle.size = (uint32_t)size;
	memcpy(e->file.handle.bytes, handle, size);
	if (size == 0 && !r->ill)
		r->ill = "handle";
	store_row_exact(r, COL_SHA256, e->sha256, sizeof(e->sha256));
}

static void read_state(struct store_row *r, struct entry *e)
{
	e->state = (enum entry_state)store_row_number(r, COL_STATE, ENTRY_INTENT, ENTRY_RESTORED);
	e->failed = store_row_number(r, COL_FAILED, 0, 1) != 0;
	store_row_text(r, COL_REASON, e->reason, sizeof(e->reason));
	e->tries = (unsigned)store_row_number(r, COL_TRIES, 0, INT32_MAX);
	e->retry_ns = store_row_number(r, COL_RETRY, 0, INT64_MAX);
	e->time_ns = store_row_number(r, COL_TIME, 0, INT64_MAX);
	e->done_ns = store_row_number(r, COL_DONE, 0, INT64_MAX);
	e->ended_ns = store_row_number(r, COL_ENDED, 0, INT64_MAX);
	store_row_text(r, COL_NOTE, e->note, sizeof(e->note));
}

static void read_content(struct store_row *r, struct entry *e)
{
	e->size = (uint64_t)store_row_number(r, COL_SIZE, 0, INT64_MAX);
	e->stored = (uint64_t)store_row_number(r, COL_STORED, 0, INT64_MAX);
	e->uid = (uint32_t)store_row_number(r, COL_UID, 0, UINT32_MAX);
	e->gid = (uint32_t)store_row_number(r, COL_GID, 0, UINT32_MAX);
	e->mode = (uint32_t)store_row_number(r, COL_MODE, 0, UINT32_MAX);
	e->nlink = (uint32_t)store_row_number(r, COL_NLINK, 0, UINT32_MAX);
	e->mtime_ns = store_row_number(r, COL_MTIME, INT64_MIN, INT64_MAX);
}

static bool read_restored_to(struct store_row *r, struct entry *e)
{
	const uint8_t *path = store_row_blob(r, COL_RESTORED_TO, AMP_PATH_MAX, &e->restored_to_size);

	if (!store_is_path(path, e->restored_to_size) && !r->ill)
		r->ill = "restored_to";
	return copy_bytes(path, e->restored_to_size, &e->restored_to);
}

/* Of the row the statement is at, without names and detections. */
static enum amp_db_error read_entry(struct store *s, sqlite3_stmt *stmt, struct entry **out)
{
	struct store_row r = {.stmt = stmt};
	struct entry *e = calloc(1, sizeof(*e));
	enum amp_db_error error = AMP_DB_OK;

	*out = NULL;
	if (!e)
		return no_memory(s);
	e->number = (uint64_t)store_row_number(&r, COL_NUMBER, 1, INT64_MAX);
	store_row_uuid(&r, COL_ID, e->id);
	store_row_uuid(&r, COL_DETECTION_ID, e->detection_id);
	store_row_text(&r, COL_DETECTION, e->detection, sizeof(e->detection));
	read_file(&r, e);
	read_state(&r, e);
	read_content(&r, e);
	if (!read_restored_to(&r, e))
		error = no_memory(s);
	else if (r.ill)
		error = store_ill(s, "entry %llu (%s) is broken (%s)", (unsigned long long)e->number, e->id,
				  r.ill);
	if (error == AMP_DB_OK)
		*out = e;
	else
		entry_free(e);
	return error;
}

/* --- what belongs to an entry ------------------------------------------- */

static void read_directory(struct store_row *r, struct amp_handle *h)
{
	size_t size;
	const uint8_t *bytes = store_row_blob(r, NAME_DIRECTORY, AMP_FILE_HANDLE_MAX, &size);

	h->type = (int32_t)store_row_number(r, NAME_DIR_TYPE, INT32_MIN, INT32_MAX);
	h->size = (uint32_t)size;
	memcpy(h->bytes, bytes, size);
}

/* False: no memory. An ill one is not added. */
static bool read_name(struct store_row *r, struct entry *e)
{
	struct entry_name n = {0};
	size_t path_size, name_size;
	const uint8_t *path = store_row_blob(r, NAME_PATH, AMP_PATH_MAX, &path_size);
	const uint8_t *name = store_row_blob(r, NAME_NAME, AMP_NAME_MAX, &name_size);

	read_directory(r, &n.directory);
	n.unresolved = store_row_number(r, NAME_UNRESOLVED, 0, 1) != 0;
	if (!r->ill && !store_is_path(path, path_size))
		r->ill = "path";
	if (!r->ill && !store_is_name(name, name_size))
		r->ill = "name";
	if (r->ill)
		return true;
	n.path_size = path_size;
	if (!copy_bytes(path, path_size, &n.path) || !copy_bytes(name, name_size, &n.name)) {
		free(n.path);
		return false;
	}
	e->names[e->name_count++] = n;
	return true;
}

static bool read_detection_id(struct store_row *r, struct entry *e)
{
	store_row_uuid(r, 0, e->detection_ids[e->detection_count]);
	if (!r->ill)
		e->detection_count++;
	return true;
}

/* Rows of an entry: passed over where they are ill. */
static enum amp_db_error read_belongings(struct store *s, struct entry *e, enum store_statement which,
					 int max, bool (*read)(struct store_row *r, struct entry *e))
{
	sqlite3_stmt *stmt = s->statements[which];
	int rc;

	store_bind_number(stmt, 1, e->number);
	sqlite3_bind_int(stmt, 2, max);
	while ((rc = sqlite3_step(stmt)) == SQLITE_ROW) {
		struct store_row r = {.stmt = stmt};

		if (!read(&r, e)) {
			store_finish(s, stmt, SQLITE_OK);
			return no_memory(s);
		}
		if (r.ill) {
			store_ill(s, "entry %s is broken in a row (%s)", e->id, r.ill);
			amp_warn("%s; it is passed over", store_why(s));
		}
	}
	return store_finish(s, stmt, rc);
}

static enum amp_db_error read_names(struct store *s, struct entry *e)
{
	e->names = calloc(STORE_NAMES_MAX, sizeof(*e->names));
	if (!e->names)
		return no_memory(s);
	return read_belongings(s, e, NAMES, STORE_NAMES_MAX, read_name);
}

static enum amp_db_error read_detections(struct store *s, struct entry *e)
{
	e->detection_ids = calloc(STORE_DETECTIONS_MAX, sizeof(*e->detection_ids));
	if (!e->detection_ids)
		return no_memory(s);
	return read_belongings(s, e, DETECTIONS, STORE_DETECTIONS_MAX, read_detection_id);
}

/* --- the calls ---------------------------------------------------------- */

enum amp_db_error store_find(struct store *s, const char *id, struct entry **e)
{
	sqlite3_stmt *stmt = s->statements[FIND];
	enum amp_db_error error = store_readable(s), read = AMP_DB_OK;
	int rc;

	*e = NULL;
	if (error != AMP_DB_OK || !store_is_uuid(id))
		return error;
	store_bind_text(stmt, 1, id);
	rc = sqlite3_step(stmt);
	if (rc == SQLITE_ROW)
		read = read_entry(s, stmt, e);
	error = store_finish(s, stmt, rc);
	if (error == AMP_DB_OK)
		error = read;
	if (error == AMP_DB_OK && *e)
		error = read_names(s, *e);
	if (error == AMP_DB_OK && *e)
		error = read_detections(s, *e);
	if (error != AMP_DB_OK) {
		entry_free(*e);
		*e = NULL;
	}
	return error;
}

static void forget(struct entry **list, size_t *count)
{
	while (*count > 0)
		entry_free(list[--*count]);
}

/* The row in hand, if it is sound, behind the others. */
static enum amp_db_error append(struct store *s, sqlite3_stmt *stmt, struct entry **list, size_t *count)
{
	struct entry *e;
	enum amp_db_error error = read_entry(s, stmt, &e);

	if (error == AMP_DB_BROKEN) {
		amp_warn("%s; it is passed over", store_why(s));
		return AMP_DB_OK;
	}
	if (error != AMP_DB_OK)
		return error;
	list[(*count)++] = e;
	return read_names(s, e);
}

/* Its parameter is bound. No LIMIT in it: bad rows must not make a full page an empty one. */
static enum amp_db_error read_list(struct store *s, sqlite3_stmt *stmt, struct entry **list, size_t max,
				   size_t *count)
{
	enum amp_db_error error = AMP_DB_OK, end;
	int rc = SQLITE_DONE;

	while (error == AMP_DB_OK && *count < max && (rc = sqlite3_step(stmt)) == SQLITE_ROW)
		error = append(s, stmt, list, count);
	end = store_finish(s, stmt, error == AMP_DB_OK ? rc : SQLITE_OK);
	if (error == AMP_DB_OK)
		error = end;
	if (error != AMP_DB_OK)
		forget(list, count);
	return error;
}

enum amp_db_error store_unfinished(struct store *s, uint64_t after, struct entry **list, size_t max,
				   size_t *count)
{
	sqlite3_stmt *stmt = s->statements[UNFINISHED];
	enum amp_db_error error = store_readable(s);

	*count = 0;
	if (error != AMP_DB_OK)
		return error;
	store_bind_number(stmt, 1, after);
	return read_list(s, stmt, list, max, count);
}

enum amp_db_error store_list(struct store *s, uint64_t before, struct entry **list, size_t max, size_t *count)
{
	sqlite3_stmt *stmt = s->statements[LIST];
	enum amp_db_error error = store_readable(s);

	*count = 0;
	if (error != AMP_DB_OK)
		return error;
	store_bind_number(stmt, 1, before ? before : INT64_MAX);
	return read_list(s, stmt, list, max, count);
}

enum amp_db_error store_older(struct store *s, int64_t before_ns, struct entry **list, size_t max,
			      size_t *count)
{
	sqlite3_stmt *stmt = s->statements[OLDER];
	enum amp_db_error error = store_readable(s);

	*count = 0;
	if (error != AMP_DB_OK)
		return error;
	sqlite3_bind_int64(stmt, 1, before_ns);
	return read_list(s, stmt, list, max, count);
}

enum amp_db_error store_totals(struct store *s, uint64_t *entries, uint64_t *unfinished, uint64_t *stored)
{
	sqlite3_stmt *stmt = s->statements[TOTALS];
	enum amp_db_error error = store_readable(s);
	int rc;

	*entries = *unfinished = *stored = 0;
	if (error != AMP_DB_OK)
		return error;
	rc = sqlite3_step(stmt);
	if (rc == SQLITE_ROW) {
		/* A float that is too large becomes the largest integer, never less than 0 here. */
		*entries = (uint64_t)sqlite3_column_int64(stmt, 0);
		*unfinished = (uint64_t)sqlite3_column_int64(stmt, 1);
		*stored = (uint64_t)sqlite3_column_int64(stmt, 2);
	}
	return store_finish(s, stmt, rc);
}
