/*
 * ampcloudd/store.h - events.db: its schema, what is added, pruned and found.
 *
 * Owns: the database while it is open, its statements, the rule of occurrences,
 * the bound on rows. Must not own: links, queues, when to commit or to retry.
 * Every call but store_new() is the I/O thread's (or comes after its end).
 */
#ifndef AMPCLOUDD_STORE_H
#define AMPCLOUDD_STORE_H

#include "db.h"
#include "proto/cli.pb-c.h"
#include "proto/event.pb-c.h"

/* The same detection again after this time is a new occurrence. */
#define STORE_OCCURRENCE_NS (3600 * INT64_C(1000000000))

struct store;

struct store_config {
	const char *path, *reserve_path; /* copied */
	size_t reserve_size;
	uint64_t max_rows; /* 0: not limited */
	int64_t max_size;  /* of the file, bytes; 0: not limited */
	/* Called during long statements: the heartbeat's step. May be NULL. */
	void (*progress)(void *arg);
	void *arg;
};

/* NULL and errno. Opens nothing. */
struct store *store_new(const struct store_config *c);
void store_free(struct store *s); /* closes as well */

/* Opens if it is not open. was_broken: a broken database was set aside. */
enum amp_db_error store_open(struct store *s, bool *was_broken);
void store_close(struct store *s);
/* It proved broken in use: files set aside, store closed. 0 or -1. */
int store_set_aside(struct store *s);
bool store_is_open(const struct store *s);
/* Why the last call failed, for people. */
const char *store_why(const struct store *s);

/* What one transaction did. */
struct store_counts {
	uint64_t added;	      /* rows */
	uint64_t occurrences; /* of them later ones of a known uid */
	uint64_t repeated;    /* within the hour: not kept */
	uint64_t duplicates;  /* sent again, already kept */
};

/* One transaction: begin, add.., commit; after an error of any: rollback. */
enum amp_db_error store_begin(struct store *s);
enum amp_db_error store_add(struct store *s, const Amp__Event *event, struct store_counts *counts);
enum amp_db_error store_commit(struct store *s);
void store_rollback(struct store *s);

/* Above its bound on rows, or its file near its bound on size. */
bool store_over(struct store *s);
/* Removes at most a batch of the oldest rows, those of severity below 2 first. */
enum amp_db_error store_prune(struct store *s, uint64_t *pruned);

/*
 * events.json beside it (shipper.c): rows are written there in the order of
 * their numbers, which begin anew with a new database, so they are known by its
 * name too.
 */
#define STORE_NAME_SIZE 17
const char *store_name(const struct store *s); /* 16 hex digits; while it is open */
/* All rows up to this number were written when it was last kept. */
uint64_t store_shipped(const struct store *s);
/*
 * Rows up to `written` are in the file, those up to `durable` on its disk: kept with the
 * next commit. From the first call on, rows pruned before they were written are counted.
 */
void store_ship(struct store *s, uint64_t written, uint64_t durable);
/* Keeps it now, if it is not. */
enum amp_db_error store_keep_shipped(struct store *s);
/* The number given last; 0: none yet. */
enum amp_db_error store_last_number(struct store *s, uint64_t *number);
/* The row after `number`; *e the caller's (amp__cli_history_entry__free_unpacked); NULL: no more. */
enum amp_db_error store_next(struct store *s, uint64_t number, Amp__CliHistoryEntry **e);

bool store_has_reserve(const struct store *s);
bool store_release_reserve(struct store *s);
bool store_restore_reserve(struct store *s);
/* A file set aside that is still there. */
bool store_aside_left(const struct store *s, char *buf, size_t size);

/* Newest first. Empty strings and zeroes filter nothing. */
struct store_filter {
	char type[33];
	char detection_id[37];
	int64_t since_ns;
	uint64_t before; /* number; 0: from the newest */
	size_t limit;	 /* rows, at most AMP_HISTORY_BATCH */
	size_t room;	 /* packed bytes, about */
};

/* A query in hand: looks at a bounded number of rows a step. */
struct store_query {
	struct store_filter filter;
	uint64_t cursor;	     /* rows below this one are to be looked at */
	Amp__CliHistoryReply *reply; /* the caller's, amp__cli_history_reply__free_unpacked */
	size_t size;		     /* of its entries so far */
	bool finished;
};

/* 0, or -1 ENOMEM. */
int store_query_init(struct store_query *q, const struct store_filter *f);
/* Until q->finished. */
enum amp_db_error store_query_step(struct store *s, struct store_query *q);

#endif
