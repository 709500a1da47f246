/*
 * ampquard/store_private.h - what the store's files share: store.c (opening,
 * transactions, changes), storetake.c (what is to be taken), storelist.c
 * (entries out), storereport.c (reports, restored content), storerow.c (a row
 * or a packed message read with suspicion). Nobody else includes it.
 */
#ifndef AMPQUARD_STORE_PRIVATE_H
#define AMPQUARD_STORE_PRIVATE_H

#include "store.h"

#include "proto/types.h"

#define STORE_NAMES_MAX	     256  /* of an entry */
#define STORE_DETECTIONS_MAX 1024 /* of an entry */

enum store_statement {
	BEGIN,
	COMMIT,
	KNOWN,
	SAME_FILE,
	INSERT_ENTRY,
	COUNT_DETECTIONS,
	INSERT_DETECTION,
	SAME_NAME,
	COMPLETE_NAME,
	COUNT_NAMES,
	INSERT_NAME,
	NAME_PATH_KNOWN,
	DETECTION,
	FIND,
	NAMES,
	DETECTIONS,
	UNFINISHED,
	LIST,
	OLDER,
	TOTALS,
	COPIED,
	DONE,
	FAILED,
	RETRIED,
	REOPEN,
	RESTORED,
	DROP_NAMES,
	DROP_DETECTIONS,
	DROP_ENTRY,
	ALLOW,
	REVOKE,
	ALLOWED,
	IS_ALLOWED,
	BEGIN_RESTORE,
	END_RESTORE,
	BEGUN_RESTORE,
	REPORT,
	REPORT_NUMBER,
	NEXT_REPORT,
	REPORTED,
	STATEMENT_COUNT
};

/* Columns of an entry in the order of every query of entries. */
enum store_column {
	COL_NUMBER,
	COL_ID,
	COL_DETECTION_ID,
	COL_FSID,
	COL_HANDLE_TYPE,
	COL_HANDLE,
	COL_SHA256,
	COL_DETECTION,
	COL_STATE,
	COL_FAILED,
	COL_REASON,
	COL_TRIES,
	COL_RETRY,
	COL_TIME,
	COL_DONE,
	COL_ENDED,
	COL_SIZE,
	COL_STORED,
	COL_UID,
	COL_GID,
	COL_MODE,
	COL_NLINK,
	COL_MTIME,
	COL_NOTE,
	COL_RESTORED_TO
};

/* Likewise of a name. */
enum store_name_column { NAME_DIR_TYPE, NAME_DIRECTORY, NAME_PATH, NAME_NAME, NAME_UNRESOLVED };

struct store {
	char *path, *reserve_path;
	size_t reserve_size;
	struct amp_db *db; /* NULL: not open */
	sqlite3_stmt *statements[STATEMENT_COUNT];
	bool ill_row;
	char why[320];
};

/* --- store.c --- */

/* Class of a result; remembers why. */
enum amp_db_error store_error(struct store *s, int rc);
/* What is wrong is not SQLite's: remembers why, gives AMP_DB_OTHER. */
enum amp_db_error store_refuse(struct store *s, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* A row holds what is never written: remembers and counts it, gives AMP_DB_BROKEN. */
enum amp_db_error store_ill(struct store *s, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* May it be read; may it be changed (open, within a transaction)? */
enum amp_db_error store_readable(struct store *s);
enum amp_db_error store_changeable(struct store *s);
/* Class of what the last step gave; the statement can be used again. */
enum amp_db_error store_finish(struct store *s, sqlite3_stmt *stmt, int rc);
/* A statement without rows. */
enum amp_db_error store_run(struct store *s, sqlite3_stmt *stmt);

void store_bind_text(sqlite3_stmt *stmt, int i, const char *text);
void store_bind_bytes(sqlite3_stmt *stmt, int i, const void *data, size_t size);
void store_bind_number(sqlite3_stmt *stmt, int i, uint64_t value); /* cut at INT64_MAX */

/* --- storerow.c --- */

/* A row in hand: the first column that is not sound is remembered, the rest is read on. */
struct store_row {
	sqlite3_stmt *stmt;
	const char *ill; /* name of the column */
};

int64_t store_row_number(struct store_row *r, int column, int64_t min, int64_t max);
uint64_t store_row_bits(struct store_row *r, int column); /* any 64 bits */
/* Text into buf with its NUL. */
void store_row_text(struct store_row *r, int column, char *buf, size_t size);
void store_row_uuid(struct store_row *r, int column, char buf[VAULT_ID_SIZE]);
/* Points into the row; at most max bytes. */
const uint8_t *store_row_blob(struct store_row *r, int column, size_t max, size_t *size);
void store_row_exact(struct store_row *r, int column, uint8_t *buf, size_t size);

bool store_is_uuid(const char *text);
/* No NUL in it and not longer than a path may be. */
bool store_is_path(const void *path, size_t size);
/* Empty (not known), or one component that is neither "." nor "..". */
bool store_is_name(const void *name, size_t size);

/*
 * A packed message that passes every check of a channel; malloc'd. NULL: *why,
 * or (*why NULL) no memory.
 */
ProtobufCMessage *store_unpack(const ProtobufCMessageDescriptor *d, const void *data, size_t size,
			       const char **why);
/* malloc'd; NULL: no memory, or (*size 0) longer than a message may be. */
uint8_t *store_pack(const ProtobufCMessage *m, size_t *size);

#endif
