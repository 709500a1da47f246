/*
 * ampquard/store.h - quarantine.db: entries, their names and detections, what
 * is still to be reported, restored content.
 *
 * Owns: the schema and every SQL statement. Must not own: the vault's files,
 * when a state changes. Every call is the I/O thread's. Calls that change
 * belong between store_begin() and store_commit(): a state and the
 * report of it are one transaction.
 *
 *   intent -> copied -> done -> restored
 *      \________\___ failed (tried again, goes on where it was)
 */
#ifndef AMPQUARD_STORE_H
#define AMPQUARD_STORE_H

#include "db.h"
#include "fileid.h"
#include "sha256.h"
#include "vault.h"

#include "proto/cli.pb-c.h"
#include "proto/event.pb-c.h"
#include "proto/quarantine.pb-c.h"

struct store;

enum entry_state { ENTRY_INTENT = 1, ENTRY_COPIED, ENTRY_DONE, ENTRY_RESTORED };

struct entry_name {
	struct amp_handle directory; /* size 0: not known, or none */
	char *path;		     /* whole host path; NULL: not known */
	size_t path_size;
	char *name; /* last component; NULL: not known */
	bool unresolved;
};

/* A row with all that belongs to it; malloc'd, entry_free(). */
struct entry {
	uint64_t number;
	char id[VAULT_ID_SIZE];
	char detection_id[VAULT_ID_SIZE]; /* of the first detection */
	struct amp_fileid file;
	uint8_t sha256[AMP_SHA256_SIZE];
	char detection[256];
	enum entry_state state;
	bool failed; /* `reason` stands, tried again at retry_ns */
	char reason[512];
	unsigned tries;
	int64_t retry_ns; /* realtime */
	int64_t time_ns;  /* event of the first detection */
	int64_t done_ns;
	int64_t ended_ns; /* done or, later, restored: what retention counts from */
	uint64_t size;	  /* of the content, once copied */
	uint64_t stored;  /* bytes of the vault file */
	uint32_t uid, gid, mode, nlink;
	int64_t mtime_ns;
	char note[512];
	char *restored_to;
	size_t restored_to_size;
	struct entry_name *names;
	size_t name_count;
	char (*detection_ids)[VAULT_ID_SIZE];
	size_t detection_count;
};
void entry_free(struct entry *e);

struct store_config {
	const char *path, *reserve_path; /* copied */
	size_t reserve_size;
};

/* Opens nothing. NULL: ENOMEM. */
struct store *store_new(const struct store_config *c);
void store_free(struct store *s);
enum amp_db_error store_open(struct store *s, bool *was_broken);
bool store_is_open(const struct store *s);
/* No entry was ever in it, so none was deleted: what the vault holds was of another database. */
bool store_is_new(struct store *s);
int store_set_aside(struct store *s);
const char *store_why(const struct store *s);
/*
 * The last AMP_DB_BROKEN was one row that holds what is never written, not the
 * file: the others can still be used. Lists pass such rows over with a warning.
 */
bool store_ill_row(const struct store *s);
bool store_release_reserve(struct store *s);
bool store_restore_reserve(struct store *s);
bool store_aside_left(const struct store *s, char *buf, size_t size);

enum amp_db_error store_begin(struct store *s);
enum amp_db_error store_commit(struct store *s);
void store_rollback(struct store *s);

enum store_take {
	TAKE_NEW,      /* a new entry */
	TAKE_JOINED,   /* a further name or detection of an unfinished one */
	TAKE_IN_VAULT, /* of one that is done: its content is in the vault already */
	TAKE_KNOWN     /* this detection or this very file in our hands, being worked on: nothing to do */
};
/* NULL: all its fields are within their bounds; else the first that is not. */
const char *store_take_unsound(const Amp__Take *t);
/* Keeps what is to be taken. The message was checked (what is unsound is refused: AMP_DB_OTHER).
 * *what, and the entry's id. */
enum amp_db_error store_take(struct store *s, const Amp__Take *t, char id[VAULT_ID_SIZE],
			     enum store_take *what);
/*
 * The same of a vault file without a row: the entry gets the id `as`. Only if
 * *what is TAKE_NEW; else another entry has this file or detection: its id is in id.
 */
enum amp_db_error store_adopt(struct store *s, const Amp__Take *t, const char *as, char id[VAULT_ID_SIZE],
			      enum store_take *what);
/* What was kept of a detection of an entry: freed with amp__take__free_unpacked. NULL: none. */
Amp__Take *store_detection(struct store *s, const char *detection_id);

/* *e NULL: there is none such. */
enum amp_db_error store_find(struct store *s, const char *id, struct entry **e);
/* Lists: room for max pointers, each malloc'd, entry_free(); of an error there are none.
 * They have their names, but not their detections.
 * Intent and copied entries, the oldest first, numbers above `after`. */
enum amp_db_error store_unfinished(struct store *s, uint64_t after, struct entry **list, size_t max,
				   size_t *count);
/* Newest first, numbers below `before` (0: all). */
enum amp_db_error store_list(struct store *s, uint64_t before, struct entry **list, size_t max,
			     size_t *count);
/* Done before that time, the oldest first (restored ones: restored before it). */
enum amp_db_error store_older(struct store *s, int64_t before_ns, struct entry **list, size_t max,
			      size_t *count);
enum amp_db_error store_totals(struct store *s, uint64_t *entries, uint64_t *unfinished, uint64_t *stored);

/* Changes; e->id names the row. AMP_DB_OTHER: there is none, or not in a state for that. */
enum amp_db_error store_copied(struct store *s, const struct entry *e); /* size, stored, uid.., mtime */
enum amp_db_error store_done(struct store *s, const char *id, int64_t now_ns, const char *note);
enum amp_db_error store_failed(struct store *s, const char *id, const char *reason, int64_t retry_ns);
/* Where its first name was, found out before it was copied. No such name: OK. */
enum amp_db_error store_name_path(struct store *s, const char *id, const void *path, size_t size);
enum amp_db_error store_retried(struct store *s, const char *id); /* no longer failed */
enum amp_db_error store_reopen(struct store *s, const char *id);  /* done: copied again */
enum amp_db_error store_restored(struct store *s, const char *id, const void *path, size_t size,
				 int64_t now_ns);
enum amp_db_error store_drop(struct store *s, const char *id); /* with all that belongs to it; none: OK */

/* Restored content. */
enum amp_db_error store_allow(struct store *s, const uint8_t *sha256, int64_t now_ns);
enum amp_db_error store_revoke(struct store *s, const uint8_t *sha256, bool *was_allowed);
enum amp_db_error store_is_allowed(struct store *s, const uint8_t *sha256, bool *yes);
/* All of it, 32 bytes each, malloc'd. */
enum amp_db_error store_allowed(struct store *s, uint8_t **sha256, size_t *count);

/* A restore that was begun: kept with what it allows, so that a successor can conclude it. */
struct store_restore {
	uint64_t number;
	char entry_id[VAULT_ID_SIZE];
	uint8_t sha256[AMP_SHA256_SIZE];
	bool was_allowed; /* before */
	char *path;	  /* of the file; bytes with a NUL behind them */
	size_t path_size;
};
enum amp_db_error store_restore_begin(struct store *s, const struct store_restore *r); /* number: any */
enum amp_db_error store_restore_end(struct store *s, const char *entry_id);	       /* none: OK */
/* The first with a number above `after`; r->path is the caller's to free. path NULL: there is none. */
enum amp_db_error store_restore_begun(struct store *s, uint64_t after, struct store_restore *r);

/* Reports wait here until ampcloudd has committed them. The same uid twice is one. */
enum amp_db_error store_report(struct store *s, const Amp__Event *e, uint64_t *number);
/* The oldest after `after`; *e freed with amp__event__free_unpacked; NULL: no more. */
enum amp_db_error store_next_report(struct store *s, uint64_t after, uint64_t *number, Amp__Event **e);
enum amp_db_error store_reported(struct store *s, uint64_t number);

#endif
