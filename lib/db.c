/*
 * lib/db.c - opening, upgrading and setting aside of a SQLite database, and
 * the reserve file beside it (see db.h).
 *
 * The database is locked exclusively: one writer is the rule, and the WAL
 * index then lives on the heap, so that the room needs no shared mapping.
 */
#include "db.h"

#include "log.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define ASIDE_MAX 9 /* a disk that breaks one database after the other must not be filled with them */

struct amp_db {
	sqlite3 *sq;
	char *path;
	int reserve_fd; /* open for life: releasing needs no new file; -1: none */
	size_t reserve_size;
	bool reserve_stands;
};

static _Thread_local char why[256];

/* Files SQLite keeps beside the database; the log first (see rename_aside). */
static const char *const companions[] = {"-wal", "-journal", "-shm", ""};

static const char *const pragmas[] = {
	"PRAGMA locking_mode=EXCLUSIVE",     /* before the first access: no -shm file */
	"PRAGMA journal_mode=WAL",	     /* reads the file: a broken one is found here */
	"PRAGMA synchronous=FULL",	     /* what is acknowledged survives power loss */
	"PRAGMA temp_store=MEMORY",	     /* the room has no /tmp */
	"PRAGMA journal_size_limit=4194304", /* a WAL grown by a burst shrinks again */
	"PRAGMA trusted_schema=OFF",	     "PRAGMA cell_size_check=ON",
};

static void sqlite_log(void *arg, int rc, const char *text)
{
	(void)arg;
	/* Said again, with what it means here, by who sees the result. */
	if ((rc & 0xff) == SQLITE_NOTICE)
		amp_debug("sqlite: %s (%d)", text, rc);
	else
		amp_info("sqlite: %s (%d)", text, rc);
}

void amp_db_setup(void)
{
	unsigned char seed;

	sqlite3_config(SQLITE_CONFIG_LOG, sqlite_log, NULL);
	sqlite3_initialize();
	sqlite3_randomness(sizeof(seed), &seed);
}

const char *amp_db_why(void)
{
	return why;
}

static bool is_space_errno(int error)
{
	return error == ENOSPC || error == EDQUOT ||
	       error == EFBIG; /* RLIMIT_FSIZE: the drop has SIGXFSZ ignored */
}

static int last_errno(sqlite3_file *file)
{
	int error = 0;

	if (file && file->pMethods)
		file->pMethods->xFileControl(file, SQLITE_FCNTL_LAST_ERRNO, &error);
	return error;
}

/* The errno behind an I/O error: an error at commit is known to the file only. */
static int io_errno(sqlite3 *sq)
{
	sqlite3_file *database = NULL, *log = NULL;
	int errors[3] = {0}, first = 0;

	if (!sq)
		return 0;
	sqlite3_file_control(sq, "main", SQLITE_FCNTL_FILE_POINTER, &database);
	sqlite3_file_control(sq, "main", SQLITE_FCNTL_JOURNAL_POINTER, &log);
	errors[0] = last_errno(log);
	errors[1] = last_errno(database);
	errors[2] = sqlite3_system_errno(sq);
	for (size_t i = 0; i < 3; i++) {
		if (is_space_errno(errors[i]))
			return errors[i];
		if (!first)
			first = errors[i];
	}
	return first;
}

static bool is_io(int rc)
{
	return (rc & 0xff) == SQLITE_IOERR || (rc & 0xff) == SQLITE_CANTOPEN;
}

static void remember(sqlite3 *sq, int rc)
{
	if (is_io(rc))
		snprintf(why, sizeof(why), "%s: %s (%d)", sqlite3_errstr(rc), strerror(io_errno(sq)), rc);
	else
		snprintf(why, sizeof(why), "%s (%d)", sq ? sqlite3_errmsg(sq) : sqlite3_errstr(rc), rc);
}

enum amp_db_error amp_db_classify(int sqlite_rc)
{
	switch (sqlite_rc & 0xff) {
	case SQLITE_OK:
	case SQLITE_ROW:
	case SQLITE_DONE:
		return AMP_DB_OK;
	case SQLITE_FULL:
		return AMP_DB_FULL;
	case SQLITE_CORRUPT:
	case SQLITE_NOTADB:
		return AMP_DB_BROKEN;
	default:
		return AMP_DB_OTHER;
	}
}

static enum amp_db_error failure_of(sqlite3 *sq, int rc)
{
	enum amp_db_error error = amp_db_classify(rc);

	if (error == AMP_DB_OK)
		return error;
	remember(sq, rc);
	return is_io(rc) && is_space_errno(io_errno(sq)) ? AMP_DB_FULL : error;
}

enum amp_db_error amp_db_failure(struct amp_db *db, int sqlite_rc)
{
	return failure_of(db->sq, sqlite_rc);
}

/* Runs sql and gives the first column of its first row. */
static int query_number(sqlite3 *sq, const char *sql, int64_t *value)
{
	sqlite3_stmt *stmt;
	int rc = sqlite3_prepare_v2(sq, sql, -1, &stmt, NULL);

	if (rc != SQLITE_OK)
		return rc;
	rc = sqlite3_step(stmt);
	if (rc == SQLITE_ROW)
		*value = sqlite3_column_int64(stmt, 0);
	sqlite3_finalize(stmt);
	return rc == SQLITE_ROW || rc == SQLITE_DONE ? SQLITE_OK : rc;
}

static int limit_size(sqlite3 *sq, int64_t max_size)
{
	int64_t page_size = 0, ignored;
	char sql[64];
	int rc = query_number(sq, "PRAGMA page_size", &page_size);

	if (rc != SQLITE_OK || max_size <= 0 || page_size <= 0)
		return rc;
	snprintf(sql, sizeof(sql), "PRAGMA max_page_count=%lld", (long long)(max_size / page_size));
	return query_number(sq, sql, &ignored);
}

static int set_pragmas(sqlite3 *sq)
{
	int on;

	sqlite3_extended_result_codes(sq, 1);
	sqlite3_db_config(sq, SQLITE_DBCONFIG_DEFENSIVE, 1, &on);
	for (size_t i = 0; i < sizeof(pragmas) / sizeof(*pragmas); i++) {
		int rc = sqlite3_exec(sq, pragmas[i], NULL, NULL, NULL);

		if (rc != SQLITE_OK)
			return rc;
	}
	return SQLITE_OK;
}

static int upgrade_by_one(sqlite3 *sq, const char *migration, int64_t version)
{
	char sql[64];
	int rc = sqlite3_exec(sq, "BEGIN IMMEDIATE", NULL, NULL, NULL);

	snprintf(sql, sizeof(sql), "PRAGMA user_version=%lld", (long long)version);
	if (rc == SQLITE_OK)
		rc = sqlite3_exec(sq, migration, NULL, NULL, NULL);
	if (rc == SQLITE_OK)
		rc = sqlite3_exec(sq, sql, NULL, NULL, NULL);
	if (rc == SQLITE_OK)
		rc = sqlite3_exec(sq, "COMMIT", NULL, NULL, NULL);
	return rc; /* an unfinished transaction ends with the connection */
}

static enum amp_db_error upgrade(sqlite3 *sq, const char *const *migrations)
{
	int64_t version = 0, newest = 0;
	int rc = query_number(sq, "PRAGMA user_version", &version);

	while (migrations[newest])
		newest++;
	if (rc == SQLITE_OK && (version < 0 || version > newest)) {
		snprintf(why, sizeof(why), "it has version %lld, this program knows %lld", (long long)version,
			 (long long)newest);
		return AMP_DB_NEWER;
	}
	for (; rc == SQLITE_OK && version < newest; version++)
		rc = upgrade_by_one(sq, migrations[version], version + 1);
	return failure_of(sq, rc);
}

/* Closing would move the log into a file that is broken, and remove it. */
static void leave_log(sqlite3 *sq)
{
	if (sq)
		sqlite3_db_config(sq, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
}

static enum amp_db_error connect_db(struct amp_db *db, const struct amp_db_config *c)
{
	sqlite3 *sq = NULL;
	enum amp_db_error error;
	int rc = sqlite3_open_v2(c->path, &sq,
				 SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX, NULL);

	if (rc == SQLITE_OK)
		rc = set_pragmas(sq);
	if (rc == SQLITE_OK)
		rc = limit_size(sq, c->max_size);
	error = rc == SQLITE_OK ? upgrade(sq, c->migrations) : failure_of(sq, rc);
	if (error != AMP_DB_OK) {
		leave_log(sq);
		sqlite3_close(sq);
		return error;
	}
	db->sq = sq;
	return AMP_DB_OK;
}

static void aside_name(const char *path, unsigned n, char *buf, size_t size)
{
	snprintf(buf, size, "%s.broken-%u", path, n);
}

bool amp_db_aside_left(const char *path, char *buf, size_t size)
{
	for (unsigned n = ASIDE_MAX; n > 0; n--) {
		aside_name(path, n, buf, size);
		if (access(buf, F_OK) == 0)
			return true;
	}
	return false;
}

/*
 * The log goes before the database: should the machine stop in between, what
 * is left is a broken database, never a new one with an old log.
 */
static int rename_aside(const char *path)
{
	char to[PATH_MAX], from_file[PATH_MAX + 16], to_file[PATH_MAX + 16];
	unsigned n = 1;

	for (aside_name(path, n, to, sizeof(to)); n < ASIDE_MAX && access(to, F_OK) == 0;)
		aside_name(path, ++n, to, sizeof(to));
	for (size_t i = 0; i < sizeof(companions) / sizeof(*companions); i++) {
		snprintf(from_file, sizeof(from_file), "%s%s", path, companions[i]);
		snprintf(to_file, sizeof(to_file), "%s%s", to, companions[i]);
		if (rename(from_file, to_file) && errno != ENOENT) {
			snprintf(why, sizeof(why), "it cannot be set aside: %s", strerror(errno));
			return -1;
		}
	}
	amp_error("%s is broken (%s); set aside as %s", path, why, to);
	return 0;
}

/* The file stays open and empty when its space is given back. */
static void open_reserve(struct amp_db *db, const struct amp_db_config *c)
{
	struct stat st;

	db->reserve_fd = -1;
	db->reserve_size = c->reserve_size;
	if (!c->reserve_path)
		return;
	db->reserve_fd = open(c->reserve_path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (db->reserve_fd < 0) {
		amp_warn("%s: %s; there will be no reserve", c->reserve_path, strerror(errno));
		return;
	}
	if (fstat(db->reserve_fd, &st) == 0)
		db->reserve_stands = (uint64_t)st.st_size >= c->reserve_size &&
				     (uint64_t)st.st_blocks * 512 >= c->reserve_size;
}

static void free_db(struct amp_db *db)
{
	if (db->reserve_fd >= 0)
		close(db->reserve_fd);
	free(db->path);
	free(db);
}

/* One attempt for each thing that can be mended here: no space, a broken file. */
static enum amp_db_error connect_or_mend(struct amp_db *db, const struct amp_db_config *c, bool *was_broken)
{
	enum amp_db_error error = connect_db(db, c);

	if (error == AMP_DB_FULL && amp_db_release_reserve(db))
		error = connect_db(db, c);
	if (error != AMP_DB_BROKEN || rename_aside(c->path))
		return error;
	*was_broken = true;
	return connect_db(db, c);
}

struct amp_db *amp_db_open(const struct amp_db_config *c, bool *was_broken, enum amp_db_error *error)
{
	struct amp_db *db = calloc(1, sizeof(*db));
	bool had_reserve;

	*was_broken = false;
	*error = AMP_DB_OTHER;
	why[0] = '\0';
	if (!db || !(db->path = strdup(c->path))) {
		snprintf(why, sizeof(why), "%s", strerror(ENOMEM));
		free(db);
		return NULL;
	}
	open_reserve(db, c);
	had_reserve = db->reserve_stands;
	*error = connect_or_mend(db, c, was_broken);
	if (*error != AMP_DB_OK) {
		free_db(db);
		return NULL;
	}
	if (!had_reserve)
		amp_db_restore_reserve(db);
	return db;
}

/* The last connection's close moves the log into the database and removes it. */
static void disconnect(struct amp_db *db)
{
	int rc = sqlite3_close(db->sq);

	if (rc != SQLITE_OK)
		amp_warn("%s: close: %s", db->path, sqlite3_errstr(rc));
	db->sq = NULL;
}

void amp_db_close(struct amp_db *db)
{
	int rc;

	if (!db)
		return;
	rc = sqlite3_wal_checkpoint_v2(db->sq, NULL, SQLITE_CHECKPOINT_TRUNCATE, NULL, NULL);
	if (rc != SQLITE_OK)
		amp_info("%s: the log stays for the next start: %s", db->path, sqlite3_errmsg(db->sq));
	disconnect(db);
	free_db(db);
}

int amp_db_set_aside(struct amp_db *db)
{
	int result, error;

	leave_log(db->sq);
	disconnect(db);
	result = rename_aside(db->path);
	error = errno;
	free_db(db);
	errno = error;
	return result;
}

sqlite3 *amp_db_handle(struct amp_db *db)
{
	return db->sq;
}

bool amp_db_has_reserve(const struct amp_db *db)
{
	return db->reserve_fd < 0 || db->reserve_stands;
}

bool amp_db_release_reserve(struct amp_db *db)
{
	if (db->reserve_fd < 0 || !db->reserve_stands)
		return false;
	db->reserve_stands = false;
	if (ftruncate(db->reserve_fd, 0))
		return false;
	fsync(db->reserve_fd); /* some file systems hand blocks out again only then */
	return true;
}

/*
 * Twice the space must be free, or the reserve would take the last of it and
 * be released again by the next commit, for ever.
 */
bool amp_db_restore_reserve(struct amp_db *db)
{
	off_t size = (off_t)db->reserve_size;
	int error;

	if (db->reserve_fd < 0 || db->reserve_stands)
		return amp_db_has_reserve(db);
	error = posix_fallocate(db->reserve_fd, 0, 2 * size);
	if (error) {
		snprintf(why, sizeof(why), "no space for the reserve: %s", strerror(error));
		if (ftruncate(db->reserve_fd, 0))
			amp_warn("%s: reserve: %s", db->path, strerror(errno));
		return false;
	}
	db->reserve_stands = ftruncate(db->reserve_fd, size) == 0;
	return db->reserve_stands;
}
