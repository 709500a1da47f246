/*
 * lib/db.h - holder of one SQLite database: open, pragmas, migrations, space.
 *
 * Owns: WAL and synchronous=FULL, the reserve file that is released when the
 * disk is full, user_version migrations, error classes. Must not own: any schema.
 * A database is used by one thread at a time; it is locked against other processes.
 */
#ifndef AMP_DB_H
#define AMP_DB_H

#include <sqlite3.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* SQL to bring the database from version i to i + 1; array ends with NULL. */
struct amp_db_config {
	const char *path;
	const char *const *migrations;
	const char *reserve_path; /* NULL: none */
	size_t reserve_size;	  /* bytes */
	int64_t max_size;	  /* of the database, bytes; 0: not limited */
};

struct amp_db;

enum amp_db_error { AMP_DB_OK, AMP_DB_FULL, AMP_DB_BROKEN, AMP_DB_NEWER, AMP_DB_OTHER };

/* Before the drop: SQLite's messages go to the log, its randomness is seeded
 * while there is a /dev/urandom. */
void amp_db_setup(void);

/*
 * Opens or makes the database. A broken one (not a database, corrupt) is
 * renamed to path.broken-N and a new one made: *was_broken. NULL and *error.
 */
struct amp_db *amp_db_open(const struct amp_db_config *c, bool *was_broken, enum amp_db_error *error);
void amp_db_close(struct amp_db *db);
/* Found broken while it was used: closes it and sets its files aside. 0, or -1 and errno. */
int amp_db_set_aside(struct amp_db *db);
sqlite3 *amp_db_handle(struct amp_db *db);
enum amp_db_error amp_db_classify(int sqlite_rc);
/* The same, with the errno behind an I/O error: quota and size limits are AMP_DB_FULL. */
enum amp_db_error amp_db_failure(struct amp_db *db, int sqlite_rc);
/* Why the last call on this thread failed, for people. */
const char *amp_db_why(void);
/* Newest file set aside that is still there: its path in buf. False: there is none. */
bool amp_db_aside_left(const char *path, char *buf, size_t size);

/* After AMP_DB_FULL: gives the reserve back to the disk. True if there was one. */
bool amp_db_release_reserve(struct amp_db *db);
/* When there is space again. True if the reserve stands (again). */
bool amp_db_restore_reserve(struct amp_db *db);
bool amp_db_has_reserve(const struct amp_db *db);

#endif
