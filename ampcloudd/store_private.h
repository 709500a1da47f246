/*
 * ampcloudd/store_private.h - what store.c (rows in) and query.c (rows out)
 * share. Nobody else includes it.
 */
#ifndef AMPCLOUDD_STORE_PRIVATE_H
#define AMPCLOUDD_STORE_PRIVATE_H

#include "store.h"

enum store_statement {
	BEGIN,
	COMMIT,
	NEWEST,
	INSERT,
	COUNT_ROWS,
	PRUNE_MINOR,
	PRUNE_ANY,
	PAGES,
	FREE_PAGES,
	MAX_PAGES,
	LATER_THAN,
	HIGHEST,
	LOWEST,
	NAME,
	SHIPPED,
	KEEP_SHIPPED,
	LAST_NUMBER,
	NEXT,
	UNWRITTEN_MINOR,
	UNWRITTEN_ANY,
	STATEMENT_COUNT
};

/* Columns of the table in their order (the schema's and the queries'). */
enum store_column {
	COL_NUMBER,
	COL_ID,
	COL_UID,
	COL_OCCURRENCE,
	COL_TIME,
	COL_TYPE,
	COL_SEVERITY,
	COL_DETECTION_ID,
	COL_DETECTION,
	COL_PATH,
	COL_UNRESOLVED,
	COL_SHA256,
	COL_SIZE,
	COL_KNOWN,
	COL_PID,
	COL_PROCESS_UID,
	COL_EXE,
	COL_MODE,
	COL_CAUSE,
	COL_DETAIL,
	COL_FSID,
	COL_HANDLE
};

/* The insert leaves the number to SQLite; its parameters count from 1. */
#define INSERT_COLUMN(c) ((int)(c))

struct store {
	struct store_config config;
	char *path, *reserve_path;
	struct amp_db *db; /* NULL: not open */
	sqlite3_stmt *statements[STATEMENT_COUNT];
	uint64_t rows, rows_before; /* now, and before the transaction in hand */
	int64_t max_pages;
	bool in_transaction, pruning;
	char name[STORE_NAME_SIZE];
	uint64_t written, shipped, kept; /* rows: in events.json, durable there, said so in the database */
	bool shipping;
	char why[320];
};

/* Class of a result; remembers why. */
enum amp_db_error store_failed(struct store *s, int rc);
/* First column of the first row of a statement without parameters. */
int store_number(struct store *s, enum store_statement which, int64_t *value);

#endif
