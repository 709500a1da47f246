/*
 * ampquard/storereport.c - reports that wait for ampcloudd, and content that
 * was restored (see store.h).
 */
#include "store_private.h"

#include "log.h"
#include "text.h"

#include "eventcheck.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* --- reports ------------------------------------------------------------ */

static bool texts_are_utf8(const Amp__Event *e)
{
	const char *const texts[] = {e->uid,  e->type,	e->detection_id, e->detection,
				     e->mode, e->cause, e->detail};

	for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++)
		if (!amp_text_is_utf8(texts[i], strlen(texts[i])))
			return false;
	return true;
}

/* What ampcloudd would not take would cost it the link, again and again. */
static const char *unsound(const Amp__Event *e)
{
	const char *field = amp_event_check(e);

	return field ? field : texts_are_utf8(e) ? NULL : "text";
}

static enum amp_db_error number_of(struct store *s, const char *uid, uint64_t *number)
{
	sqlite3_stmt *stmt = s->statements[REPORT_NUMBER];
	int rc;

	store_bind_text(stmt, 1, uid);
	rc = sqlite3_step(stmt);
	if (rc == SQLITE_ROW)
		*number = (uint64_t)sqlite3_column_int64(stmt, 0);
	return store_finish(s, stmt, rc);
}

enum amp_db_error store_report(struct store *s, const Amp__Event *e, uint64_t *number)
{
	sqlite3_stmt *stmt = s->statements[REPORT];
	enum amp_db_error error = store_changeable(s);
	const char *field = unsound(e);
	uint8_t *data;
	size_t size;

	*number = 0;
	if (error != AMP_DB_OK)
		return error;
	if (field)
		return store_refuse(s, "a report has a bad %s", field);
	data = store_pack(&e->base, &size);
	if (!data)
		return store_refuse(s, "report %s: %s", e->uid,
				    size ? strerror(ENOMEM) : "longer than a message");
	store_bind_text(stmt, 1, e->uid);
	store_bind_bytes(stmt, 2, data, size);
	error = store_run(s, stmt);
	free(data);
	return error == AMP_DB_OK ? number_of(s, e->uid, number) : error;
}

/* *e NULL: it is ill (with a warning), or an error. */
static enum amp_db_error read_report(struct store *s, sqlite3_stmt *stmt, uint64_t *number, Amp__Event **e)
{
	struct store_row r = {.stmt = stmt};
	const char *why = NULL;
	char uid[AMP_EVENT_UID_MAX + 1];
	const uint8_t *data;
	size_t size;

	*number = (uint64_t)store_row_number(&r, 0, 1, INT64_MAX);
	store_row_text(&r, 1, uid, sizeof(uid));
	data = store_row_blob(&r, 2, AMP_MSG_MAX, &size);
	*e = r.ill ? NULL : (Amp__Event *)store_unpack(&amp__event__descriptor, data, size, &why);
	if (!*e && !r.ill && !why)
		return store_refuse(s, "%s", strerror(ENOMEM));
	if (*e)
		why = strcmp((*e)->uid, uid) != 0 ? "uid" : unsound(*e);
	if (!r.ill && !why)
		return AMP_DB_OK;
	if (*e)
		amp__event__free_unpacked(*e, NULL);
	*e = NULL;
	store_ill(s, "report %llu is broken (%s)", (unsigned long long)*number, r.ill ? r.ill : why);
	amp_warn("%s; it is passed over", store_why(s));
	return AMP_DB_OK;
}

enum amp_db_error store_next_report(struct store *s, uint64_t after, uint64_t *number, Amp__Event **e)
{
	sqlite3_stmt *stmt = s->statements[NEXT_REPORT];
	enum amp_db_error error = store_readable(s), end;
	int rc = SQLITE_OK;

	*e = NULL;
	*number = after;
	if (error != AMP_DB_OK)
		return error;
	store_bind_number(stmt, 1, after);
	while (error == AMP_DB_OK && !*e && (rc = sqlite3_step(stmt)) == SQLITE_ROW)
		error = read_report(s, stmt, number, e);
	end = store_finish(s, stmt, error == AMP_DB_OK ? rc : SQLITE_OK);
	return error == AMP_DB_OK ? end : error;
}

enum amp_db_error store_reported(struct store *s, uint64_t number)
{
	sqlite3_stmt *stmt = s->statements[REPORTED];
	enum amp_db_error error = store_changeable(s);

	if (error != AMP_DB_OK)
		return error;
	store_bind_number(stmt, 1, number);
	return store_run(s, stmt);
}

/* --- restored content --------------------------------------------------- */

enum amp_db_error store_allow(struct store *s, const uint8_t *sha256, int64_t now_ns)
{
	sqlite3_stmt *stmt = s->statements[ALLOW];
	enum amp_db_error error = store_changeable(s);

	if (error != AMP_DB_OK)
		return error;
	store_bind_bytes(stmt, 1, sha256, AMP_SHA256_SIZE);
	sqlite3_bind_int64(stmt, 2, now_ns);
	return store_run(s, stmt);
}

enum amp_db_error store_revoke(struct store *s, const uint8_t *sha256, bool *was_allowed)
{
	sqlite3_stmt *stmt = s->statements[REVOKE];
	enum amp_db_error error = store_changeable(s);

	*was_allowed = false;
	if (error != AMP_DB_OK)
		return error;
	store_bind_bytes(stmt, 1, sha256, AMP_SHA256_SIZE);
	error = store_run(s, stmt);
	*was_allowed = error == AMP_DB_OK && sqlite3_changes(amp_db_handle(s->db)) > 0;
	return error;
}

enum amp_db_error store_is_allowed(struct store *s, const uint8_t *sha256, bool *yes)
{
	sqlite3_stmt *stmt = s->statements[IS_ALLOWED];
	enum amp_db_error error = store_readable(s);
	int rc;

	*yes = false;
	if (error != AMP_DB_OK)
		return error;
	store_bind_bytes(stmt, 1, sha256, AMP_SHA256_SIZE);
	rc = sqlite3_step(stmt);
	*yes = rc == SQLITE_ROW;
	return store_finish(s, stmt, rc);
}

struct hashes {
	uint8_t *bytes;
	size_t count, room;
};

static bool grow(struct hashes *h)
{
	size_t room = h->room ? 2 * h->room : 16;
	uint8_t *bytes = reallocarray(h->bytes, room, AMP_SHA256_SIZE);

	if (!bytes)
		return false;
	h->bytes = bytes;
	h->room = room;
	return true;
}

static enum amp_db_error read_hash(struct store *s, sqlite3_stmt *stmt, struct hashes *h)
{
	struct store_row r = {.stmt = stmt};

	if (h->count == h->room && !grow(h))
		return store_refuse(s, "%s", strerror(ENOMEM));
	store_row_exact(&r, 0, h->bytes + h->count * AMP_SHA256_SIZE, AMP_SHA256_SIZE);
	if (!r.ill) {
		h->count++;
		return AMP_DB_OK;
	}
	store_ill(s, "restored content is broken (%s)", r.ill);
	amp_warn("%s; it is not allowed", store_why(s));
	return AMP_DB_OK;
}

enum amp_db_error store_allowed(struct store *s, uint8_t **sha256, size_t *count)
{
	sqlite3_stmt *stmt = s->statements[ALLOWED];
	enum amp_db_error error = store_readable(s), end;
	struct hashes h = {0};
	int rc = SQLITE_OK;

	*sha256 = NULL;
	*count = 0;
	if (error != AMP_DB_OK)
		return error;
	while (error == AMP_DB_OK && (rc = sqlite3_step(stmt)) == SQLITE_ROW)
		error = read_hash(s, stmt, &h);
	end = store_finish(s, stmt, error == AMP_DB_OK ? rc : SQLITE_OK);
	if (error == AMP_DB_OK)
		error = end;
	if (error != AMP_DB_OK || h.count == 0) {
		free(h.bytes);
		return error;
	}
	*sha256 = h.bytes;
	*count = h.count;
	return AMP_DB_OK;
}

/* --- restores that were begun -------------------------------------------- */

enum amp_db_error store_restore_begin(struct store *s, const struct store_restore *r)
{
	sqlite3_stmt *stmt = s->statements[BEGIN_RESTORE];
	enum amp_db_error error = store_changeable(s);

	if (error != AMP_DB_OK)
		return error;
	store_bind_text(stmt, 1, r->entry_id);
	store_bind_bytes(stmt, 2, r->sha256, AMP_SHA256_SIZE);
	sqlite3_bind_int(stmt, 3, r->was_allowed);
	store_bind_bytes(stmt, 4, r->path, r->path_size);
	return store_run(s, stmt);
}

enum amp_db_error store_restore_end(struct store *s, const char *entry_id)
{
	sqlite3_stmt *stmt = s->statements[END_RESTORE];
	enum amp_db_error error = store_changeable(s);

	if (error != AMP_DB_OK)
		return error;
	store_bind_text(stmt, 1, entry_id);
	return store_run(s, stmt);
}

/* r->path NULL: the row is ill (with a warning), or an error. */
static enum amp_db_error read_restore(struct store *s, sqlite3_stmt *stmt, struct store_restore *out)
{
	struct store_row r = {.stmt = stmt};
	const uint8_t *path;

	out->number = (uint64_t)store_row_number(&r, 0, 1, INT64_MAX);
	store_row_uuid(&r, 1, out->entry_id);
	store_row_exact(&r, 2, out->sha256, AMP_SHA256_SIZE);
	out->was_allowed = store_row_number(&r, 3, 0, 1) == 1;
	path = store_row_blob(&r, 4, AMP_PATH_MAX + AMP_NAME_MAX + 1, &out->path_size);
	if (!r.ill && (out->path_size == 0 || path[0] != '/' || memchr(path, 0, out->path_size)))
		r.ill = "path";
	if (r.ill) {
		store_ill(s, "a restore that was begun is broken (%s)", r.ill);
		amp_warn("%s; it is passed over", store_why(s));
		return AMP_DB_OK;
	}
	out->path = strndup((const char *)path, out->path_size);
	return out->path ? AMP_DB_OK : store_refuse(s, "%s", strerror(ENOMEM));
}

enum amp_db_error store_restore_begun(struct store *s, uint64_t after, struct store_restore *r)
{
	sqlite3_stmt *stmt = s->statements[BEGUN_RESTORE];
	enum amp_db_error error = store_readable(s), end;
	int rc = SQLITE_OK;

	*r = (struct store_restore){.number = after};
	if (error != AMP_DB_OK)
		return error;
	store_bind_number(stmt, 1, after);
	while (error == AMP_DB_OK && !r->path && (rc = sqlite3_step(stmt)) == SQLITE_ROW)
		error = read_restore(s, stmt, r);
	end = store_finish(s, stmt, error == AMP_DB_OK ? rc : SQLITE_OK);
	return error == AMP_DB_OK ? end : error;
}
