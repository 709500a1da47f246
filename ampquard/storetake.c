/*
 * ampquard/storetake.c - what is to be taken goes into quarantine.db: a new
 * entry, or a further name and detection of one that is there (see store.h).
 */
#include "store_private.h"

#include "counter.h"
#include "log.h"
#include "text.h"

#include "eventcheck.h"

#include "proto/types.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

static struct amp_counter names_left = AMP_COUNTER("store.names_left", true);
static struct amp_counter detections_left = AMP_COUNTER("store.detections_left", true);

/* --- bounds of a Take --------------------------------------------------- */

static bool detection_id_sound(const Amp__Take *t)
{
	return store_is_uuid(t->detection_id);
}

static bool handle_sound(const Amp__Take *t)
{
	struct amp_handle h;

	return amp_handle_from_wire(t->handle, &h) == 0;
}

static bool sha256_sound(const Amp__Take *t)
{
	return t->sha256.len == AMP_SHA256_SIZE;
}

static bool identity_sound(const Amp__Take *t)
{
	struct amp_identity i;

	return !t->identity || amp_identity_from_wire(t->identity, &i) == 0;
}

static bool detection_sound(const Amp__Take *t)
{
	size_t n = strnlen(t->detection, AMP_EVENT_NAME_MAX + 1);

	return n <= AMP_EVENT_NAME_MAX && amp_text_is_utf8(t->detection, n);
}

static bool path_sound(const Amp__Take *t)
{
	return store_is_path(t->path.data, t->path.len);
}

static bool directory_sound(const Amp__Take *t)
{
	struct amp_handle h;

	return !t->directory || amp_handle_from_wire(t->directory, &h) == 0;
}

static bool name_sound(const Amp__Take *t)
{
	return store_is_name(t->name.data, t->name.len);
}

static bool time_sound(const Amp__Take *t)
{
	return t->time_ns >= 0;
}

static bool cause_sound(const Amp__Take *t)
{
	return t->cause[0] == '\0' || amp_event_type_valid(t->cause);
}

static bool process_sound(const Amp__Take *t)
{
	const Amp__Process *p = t->process;

	return !p || (p->pid >= 0 && p->exe.len <= AMP_EVENT_EXE_MAX);
}

/* path_unresolved and fsid may have any value. */
static const struct {
	const char *field;
	bool (*sound)(const Amp__Take *t);
} rules[] = {
	{"detection_id", detection_id_sound},
	{"handle", handle_sound},
	{"sha256", sha256_sound},
	{"identity", identity_sound},
	{"detection", detection_sound},
	{"path", path_sound},
	{"directory", directory_sound},
	{"name", name_sound},
	{"time_ns", time_sound},
	{"cause", cause_sound},
	{"process", process_sound},
};

const char *store_take_unsound(const Amp__Take *t)
{
	for (size_t i = 0; i < sizeof(rules) / sizeof(*rules); i++)
		if (!rules[i].sound(t))
			return rules[i].field;
	return NULL;
}

/* --- looking ------------------------------------------------------------ */

/* An entry that is there already; number 0: none. */
struct found {
	uint64_t number;
	char id[VAULT_ID_SIZE];
	enum entry_state state;
};

/* Is this detection known? id "" : no. */
static enum amp_db_error find_known(struct store *s, const Amp__Take *t, char id[VAULT_ID_SIZE],
				    enum entry_state *state)
{
	sqlite3_stmt *stmt = s->statements[KNOWN];
	struct store_row r = {.stmt = stmt};
	enum amp_db_error error;
	int rc;

	id[0] = '\0';
	store_bind_text(stmt, 1, t->detection_id);
	rc = sqlite3_step(stmt);
	if (rc == SQLITE_ROW) {
		store_row_uuid(&r, 0, id);
		*state = (enum entry_state)store_row_number(&r, 1, ENTRY_INTENT, ENTRY_RESTORED);
	}
	error = store_finish(s, stmt, rc);
	if (error == AMP_DB_OK && r.ill)
		return store_ill(s, "entry of detection %s is broken (%s)", t->detection_id, r.ill);
	return error;
}

static enum amp_db_error find_file(struct store *s, const Amp__Take *t, struct found *f)
{
	sqlite3_stmt *stmt = s->statements[SAME_FILE];
	struct store_row r = {.stmt = stmt};
	enum amp_db_error error;
	int rc;

	*f = (struct found){0};
	sqlite3_bind_int64(stmt, 1, (int64_t)t->fsid);
	sqlite3_bind_int64(stmt, 2, t->handle->type);
	store_bind_bytes(stmt, 3, t->handle->bytes.data, t->handle->bytes.len);
	store_bind_bytes(stmt, 4, t->sha256.data, t->sha256.len);
	rc = sqlite3_step(stmt);
	if (rc == SQLITE_ROW) {
		f->number = (uint64_t)store_row_number(&r, 0, 1, INT64_MAX);
		store_row_uuid(&r, 1, f->id);
		f->state = (enum entry_state)store_row_number(&r, 2, ENTRY_INTENT, ENTRY_DONE);
	}
	error = store_finish(s, stmt, rc);
	if (error == AMP_DB_OK && r.ill)
		return store_ill(s, "entry %llu is broken (%s)", (unsigned long long)f->number, r.ill);
	return error;
}

/* A walk that came by saw it where the taking has it: of that entry it is neither a name nor a detection. */
static bool is_in_our_hands(const struct found *f, const Amp__Take *t)
{
	char dir[sizeof(AMP_PRIVATE_PREFIX) + VAULT_ID_SIZE + 2];
	const uint8_t *name = t->path.len ? memrchr(t->path.data, '/', t->path.len) : NULL;
	size_t n = (size_t)snprintf(dir, sizeof(dir), "/%s%s/", AMP_PRIVATE_PREFIX, f->id);
	size_t before = name ? (size_t)(name - t->path.data) + 1 : 0;

	return f->number && f->state != ENTRY_DONE && !t->path_unresolved && before >= n &&
	       memcmp(t->path.data + before - n, dir, n) == 0;
}

/* --- adding ------------------------------------------------------------- */

/* A random UUID (version 4): nothing of it is chosen by who is convicted. */
static int make_id(char id[VAULT_ID_SIZE])
{
	uint8_t b[16];

	if (getrandom(b, sizeof(b), 0) != (ssize_t)sizeof(b))
		return -1;
	b[6] = (uint8_t)((b[6] & 0x0f) | 0x40);
	b[8] = (uint8_t)((b[8] & 0x3f) | 0x80);
	snprintf(id, VAULT_ID_SIZE, "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x",
		 b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7], b[8], b[9], b[10], b[11], b[12], b[13],
		 b[14], b[15]);
	return 0;
}

/* f->id is its id. */
static enum amp_db_error add_entry(struct store *s, const Amp__Take *t, struct found *f)
{
	sqlite3_stmt *stmt = s->statements[INSERT_ENTRY];
	enum amp_db_error error;

	store_bind_text(stmt, 1, f->id);
	store_bind_text(stmt, 2, t->detection_id);
	sqlite3_bind_int64(stmt, 3, (int64_t)t->fsid);
	sqlite3_bind_int64(stmt, 4, t->handle->type);
	store_bind_bytes(stmt, 5, t->handle->bytes.data, t->handle->bytes.len);
	store_bind_bytes(stmt, 6, t->sha256.data, t->sha256.len);
	store_bind_text(stmt, 7, t->detection);
	sqlite3_bind_int64(stmt, 8, t->time_ns);
	error = store_run(s, stmt);
	f->number = (uint64_t)sqlite3_last_insert_rowid(amp_db_handle(s->db));
	f->state = ENTRY_INTENT;
	return error;
}

/* The number that a statement gives for the number of an entry. */
static enum amp_db_error count(struct store *s, enum store_statement which, uint64_t number, int64_t *value)
{
	sqlite3_stmt *stmt = s->statements[which];
	int rc;

	store_bind_number(stmt, 1, number);
	rc = sqlite3_step(stmt);
	if (rc == SQLITE_ROW)
		*value = sqlite3_column_int64(stmt, 0);
	return store_finish(s, stmt, rc);
}

static enum amp_db_error insert_detection(struct store *s, uint64_t number, const Amp__Take *t)
{
	sqlite3_stmt *stmt = s->statements[INSERT_DETECTION];
	enum amp_db_error error;
	size_t size;
	uint8_t *data = store_pack(&t->base, &size);

	if (!data)
		return store_refuse(s, "detection %s: %s", t->detection_id,
				    size ? strerror(ENOMEM) : "longer than a message");
	store_bind_number(stmt, 1, number);
	store_bind_text(stmt, 2, t->detection_id);
	store_bind_bytes(stmt, 3, data, size);
	error = store_run(s, stmt);
	free(data);
	return error;
}

/* A file found again and again must not fill the disk with its detections. */
static enum amp_db_error add_detection(struct store *s, const struct found *f, const Amp__Take *t)
{
	int64_t have = 0;
	enum amp_db_error error = count(s, COUNT_DETECTIONS, f->number, &have);

	if (error != AMP_DB_OK)
		return error;
	if (have < STORE_DETECTIONS_MAX)
		return insert_detection(s, f->number, t);
	amp_counter_add(&detections_left, 1);
	amp_warn("entry %s has %d detections; %s is not kept with it", f->id, STORE_DETECTIONS_MAX,
		 t->detection_id);
	return AMP_DB_OK;
}

/* ?2 to ?6 are the same in each statement about names. */
static void bind_name(sqlite3_stmt *stmt, uint64_t first, const Amp__Take *t)
{
	/* A directory without a name leads to nothing. */
	const Amp__Handle *dir = t->name.len > 0 ? t->directory : NULL;

	store_bind_number(stmt, 1, first);
	sqlite3_bind_int64(stmt, 2, dir ? dir->type : 0);
	store_bind_bytes(stmt, 3, dir ? dir->bytes.data : NULL, dir ? dir->bytes.len : 0);
	store_bind_bytes(stmt, 4, t->path.data, t->path.len);
	store_bind_bytes(stmt, 5, t->name.data, t->name.len);
}

static enum amp_db_error write_name(struct store *s, enum store_statement which, uint64_t first,
				    const Amp__Take *t)
{
	sqlite3_stmt *stmt = s->statements[which];

	bind_name(stmt, first, t);
	sqlite3_bind_int(stmt, 6, t->path_unresolved != 0);
	return store_run(s, stmt);
}

/* *number 0: this name is not there. */
static enum amp_db_error find_name(struct store *s, const struct found *f, const Amp__Take *t,
				   uint64_t *number)
{
	sqlite3_stmt *stmt = s->statements[SAME_NAME];
	int rc;

	*number = 0;
	bind_name(stmt, f->number, t);
	rc = sqlite3_step(stmt);
	if (rc == SQLITE_ROW)
		*number = (uint64_t)sqlite3_column_int64(stmt, 0);
	return store_finish(s, stmt, rc);
}

static enum amp_db_error add_name(struct store *s, const struct found *f, const Amp__Take *t)
{
	enum amp_db_error error;
	uint64_t same;
	int64_t have = 0;

	if (t->path.len == 0 && t->name.len == 0) /* nothing is known of any name */
		return AMP_DB_OK;
	error = find_name(s, f, t, &same);
	if (error != AMP_DB_OK)
		return error;
	if (same)
		return write_name(s, COMPLETE_NAME, same, t);
	error = count(s, COUNT_NAMES, f->number, &have);
	if (error != AMP_DB_OK)
		return error;
	if (have < STORE_NAMES_MAX)
		return write_name(s, INSERT_NAME, f->number, t);
	amp_counter_add(&names_left, 1);
	amp_warn("entry %s has %d names; one more of detection %s is not kept", f->id, STORE_NAMES_MAX,
		 t->detection_id);
	return AMP_DB_OK;
}

/* --- the calls ---------------------------------------------------------- */

/* `as`: the id of a new entry; *f is the entry it is in then. */
static enum amp_db_error keep(struct store *s, const Amp__Take *t, const char *as, struct found *f,
			      enum store_take *what)
{
	enum amp_db_error error = find_file(s, t, f);

	if (error != AMP_DB_OK)
		return error;
	*what = f->state == ENTRY_DONE ? TAKE_IN_VAULT : TAKE_JOINED;
	if (is_in_our_hands(f, t)) {
		*what = TAKE_KNOWN;
		return AMP_DB_OK;
	}
	if (f->number == 0) {
		*what = TAKE_NEW;
		snprintf(f->id, sizeof(f->id), "%s", as);
		error = add_entry(s, t, f);
	}
	if (error == AMP_DB_OK)
		error = add_detection(s, f, t);
	return error == AMP_DB_OK ? add_name(s, f, t) : error;
}

enum amp_db_error store_adopt(struct store *s, const Amp__Take *t, const char *as, char id[VAULT_ID_SIZE],
			      enum store_take *what)
{
	const char *unsound = store_is_uuid(as) ? store_take_unsound(t) : "entry id";
	enum amp_db_error error = store_changeable(s);
	enum entry_state state = ENTRY_RESTORED;
	struct found f;

	if (error != AMP_DB_OK)
		return error;
	if (unsound) /* what goes in must come out */
		return store_refuse(s, "what is to be taken has a bad %s", unsound);
	error = find_known(s, t, id, &state);
	if (error != AMP_DB_OK)
		return error;
	/* Of one that is over it is a repeat, or the same content was put there anew: who writes it
	 * chooses all that a detection's id is made of. */
	if (id[0] && state != ENTRY_RESTORED) {
		*what = state == ENTRY_DONE ? TAKE_IN_VAULT : TAKE_KNOWN;
		return AMP_DB_OK;
	}
	error = keep(s, t, as, &f, what);
	memcpy(id, f.id, sizeof(f.id));
	return error;
}

enum amp_db_error store_take(struct store *s, const Amp__Take *t, char id[VAULT_ID_SIZE],
			     enum store_take *what)
{
	char fresh[VAULT_ID_SIZE];

	if (make_id(fresh))
		return store_refuse(s, "no random bytes: %s", strerror(errno));
	return store_adopt(s, t, fresh, id, what);
}

/* NULL: *why it is not sound, or no memory. */
static Amp__Take *unpack_take(const uint8_t *data, size_t size, const char *detection_id, const char **why)
{
	Amp__Take *t = (Amp__Take *)store_unpack(&amp__take__descriptor, data, size, why);

	if (!t)
		return NULL;
	*why = strcmp(t->detection_id, detection_id) != 0 ? "it is of another one" : store_take_unsound(t);
	if (!*why)
		return t;
	amp__take__free_unpacked(t, NULL);
	return NULL;
}

Amp__Take *store_detection(struct store *s, const char *detection_id)
{
	sqlite3_stmt *stmt = s->statements[DETECTION];
	struct store_row r = {.stmt = stmt};
	const char *why = NULL;
	Amp__Take *t = NULL;
	int rc;

	if (store_readable(s) != AMP_DB_OK || !store_is_uuid(detection_id))
		return NULL;
	store_bind_text(stmt, 1, detection_id);
	rc = sqlite3_step(stmt);
	if (rc == SQLITE_ROW) {
		size_t size;
		const uint8_t *data = store_row_blob(&r, 0, AMP_MSG_MAX, &size);

		t = r.ill ? NULL : unpack_take(data, size, detection_id, &why);
	}
	why = r.ill ? r.ill : why;
	store_finish(s, stmt, rc);
	if (why) {
		store_ill(s, "what was kept of detection %s is broken (%s)", detection_id, why);
		amp_warn("%s", store_why(s));
	}
	return t;
}
