/*
 * ampquard/vault.c - the vault's directory and the files in it.
 *
 * Owns: descriptors of the directory, its lock and its files, the key in
 * memory. Must not own: what a record looks like (vaultformat.c), what an entry
 * is. Every name is opened relative to the directory's descriptor and never
 * through a link; names are ID.q (whole), ID.part (being made), vault.key,
 * vault.lock. Reads and writes are by offset: the descriptors have no state.
 */
#include "vault.h"

#include "vaultformat.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/crypto.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define WHOLE	      ".q"
#define PART	      ".part"
#define KEY	      "vault.key"
#define KEY_PART      "vault.key.part"
#define LOCK	      "vault.lock"
#define NAME_MAX_SIZE (VAULT_ID_SIZE + sizeof(PART))

#define DATA_RECORD ((size_t)VAULT_CHUNK + VF_AROUND)
#define BUFFER	    (2 * DATA_RECORD)

struct vault {
	int dir, lock;
	uint8_t key[VF_KEY_SIZE];
};

struct vault_writer {
	struct vault *vault;
	struct vf_file *file;
	int fd;
	int error;	   /* what failed first; nothing goes on after it */
	uint64_t size;	   /* of the content, holes and all */
	uint64_t hole;	   /* at its end, not sealed yet: it may grow */
	uint64_t written;  /* to the file */
	size_t used, room; /* of buf */
	uint8_t *buf;
	bool sealed; /* its end is written */
	char id[VAULT_ID_SIZE];
};

struct vault_reader {
	struct vf_file *file;
	struct vf_meta *meta;
	int fd;
	uint64_t at;	  /* in the file: the end of what is in buf */
	uint64_t content; /* in the file: the first record after META */
	size_t from, have, room;
	uint8_t *buf;
	enum vault_answer ended; /* once it is not DATA or HOLE it stays */
	int error;		 /* of VAULT_FAILED */
	uint8_t sha256[AMP_SHA256_SIZE];
};

int vault_setup(void)
{
	return vf_setup();
}

static int fail(int error)
{
	errno = error;
	return -1;
}

static const char *name_of(const char *id, const char *suffix, char buf[NAME_MAX_SIZE])
{
	snprintf(buf, NAME_MAX_SIZE, "%.*s%s", (int)(VAULT_ID_SIZE - 1), id, suffix);
	return buf;
}

/* The id in a name of that kind, or false. */
static bool id_of(const char *name, const char *suffix, char id[VAULT_ID_SIZE])
{
	char whole[NAME_MAX_SIZE];

	if (strlen(name) < VAULT_ID_SIZE - 1)
		return false;
	memcpy(id, name, VAULT_ID_SIZE - 1);
	id[VAULT_ID_SIZE - 1] = '\0';
	return vf_id_valid(id) && strcmp(name, name_of(id, suffix, whole)) == 0;
}

/* Closes without a word about errno. */
static void shut(int fd)
{
	int error = errno;

	if (fd >= 0)
		close(fd);
	errno = error;
}

static bool is_ours(const struct stat *st)
{
	return S_ISREG(st->st_mode) && st->st_uid == geteuid() && (st->st_mode & 07777) == 0600;
}

/* All of it. */
static int write_all(int fd, const uint8_t *p, size_t n, uint64_t at)
{
	while (n > 0) {
		ssize_t done = pwrite(fd, p, n, (off_t)at);

		if (done < 0 && errno != EINTR)
			return -1;
		if (done == 0)
			return fail(EIO);
		if (done > 0) {
			p += done;
			n -= (size_t)done;
			at += (uint64_t)done;
		}
	}
	return 0;
}

/* As much as there is, up to n. */
static ssize_t read_some(int fd, uint8_t *p, size_t n, uint64_t at)
{
	size_t have = 0;

	while (have < n) {
		ssize_t got = pread(fd, p + have, n - have, (off_t)(at + have));

		if (got < 0 && errno != EINTR)
			return -1;
		if (got == 0)
			break;
		if (got > 0)
			have += (size_t)got;
	}
	return (ssize_t)have;
}

/* ---- opening ---- */

struct sentence {
	char *buf;
	size_t size;
};

/* Always -1 with that errno. */
__attribute__((format(printf, 3, 4))) static int refuse(struct sentence *s, int error, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	vsnprintf(s->buf, s->size, fmt, args);
	va_end(args);
	return fail(error);
}

static int open_directory(struct vault *v, const char *dir, struct sentence *s)
{
	struct stat st;

	v->dir = open(dir, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (v->dir < 0 && (errno == ENOTDIR || errno == ELOOP))
		return refuse(s, errno, "%s is a link or no directory: put a directory of mode 0700 there",
			      dir);
	if (v->dir < 0 || fstat(v->dir, &st) < 0)
		return refuse(s, errno,
			      "%s cannot be opened (%s): it must exist, owned by user %u, mode 0700", dir,
			      strerror(errno), (unsigned)geteuid());
	if (st.st_uid != geteuid())
		return refuse(s, EPERM, "%s belongs to user %u: chown it to user %u", dir,
			      (unsigned)st.st_uid, (unsigned)geteuid());
	if ((st.st_mode & 07777) != 0700)
		return refuse(s, EPERM, "%s has mode %04o: chmod it to 0700", dir,
			      (unsigned)st.st_mode & 07777U);
	return 0;
}

static int take_lock(struct vault *v, const char *dir, struct sentence *s)
{
	struct stat st;

	v->lock = openat(v->dir, LOCK, O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0600);
	if (v->lock < 0 || fstat(v->lock, &st) < 0)
		return refuse(s, errno, "%s/" LOCK " cannot be opened (%s): remove what is there", dir,
			      strerror(errno));
	if (!is_ours(&st))
		return refuse(s, EPERM, "%s/" LOCK " is no file of mode 0600 of user %u: remove it", dir,
			      (unsigned)geteuid());
	if (flock(v->lock, LOCK_EX | LOCK_NB) < 0)
		return refuse(s, errno, "%s is in use by another keeper (%s): only one may run", dir,
			      strerror(errno));
	return 0;
}

/* Every name in the directory, whatever it is. 0, or -1 and errno. */
static int each_name(const struct vault *v, void (*found)(const char *name, void *arg), void *arg)
{
	int fd = openat(v->dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = fd >= 0 ? fdopendir(fd) : NULL;
	const struct dirent *e;
	int error;

	if (!d) {
		shut(fd);
		return -1;
	}
	while (errno = 0, (e = readdir(d)))
		found(e->d_name, arg);
	error = errno;
	closedir(d);
	return error ? fail(error) : 0;
}

struct sweep {
	const struct vault *vault;
	bool has_entries;
	int error; /* of the first .part that could not be removed */
};

static void sweep_name(const char *name, void *arg)
{
	struct sweep *sweep = arg;
	char id[VAULT_ID_SIZE];

	sweep->has_entries |= id_of(name, WHOLE, id);
	if (!id_of(name, PART, id) && strcmp(name, KEY_PART) != 0)
		return;
	if (unlinkat(sweep->vault->dir, name, 0) < 0 && errno != ENOENT && !sweep->error)
		sweep->error = errno;
}

static int sweep_parts(struct vault *v, const char *dir, bool *has_entries, struct sentence *s)
{
	struct sweep sweep = {.vault = v};

	if (each_name(v, sweep_name, &sweep) < 0)
		return refuse(s, errno, "%s cannot be listed: %s", dir, strerror(errno));
	if (sweep.error)
		return refuse(s, sweep.error,
			      "an unfinished copy in %s cannot be removed (%s): remove *" PART, dir,
			      strerror(sweep.error));
	*has_entries = sweep.has_entries;
	return 0;
}

static int write_key(int fd, const uint8_t key[VF_KEY_SIZE])
{
	return write_all(fd, key, VF_KEY_SIZE, 0) < 0 ? -1 : fsync(fd);
}

/* Under another name first: a key cut short by a crash would close the vault for ever. */
static int make_key(struct vault *v)
{
	int rc, fd = openat(v->dir, KEY_PART, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);

	if (fd < 0)
		return -1;
	rc = vf_random(v->key, sizeof(v->key)) < 0 ? -1 : write_key(fd, v->key);
	shut(fd);
	if (rc == 0)
		rc = renameat2(v->dir, KEY_PART, v->dir, KEY, RENAME_NOREPLACE);
	return rc < 0 ? -1 : fsync(v->dir);
}

static int read_key(struct vault *v, int fd, const char *dir, struct sentence *s)
{
	struct stat st;
	ssize_t n;

	if (fstat(fd, &st) < 0)
		return refuse(s, errno, "%s/" KEY " cannot be looked at: %s", dir, strerror(errno));
	if (!is_ours(&st))
		return refuse(s, EPERM,
			      "%s/" KEY
			      " is no file of mode 0600 of user %u: it may be known to others; correct "
			      "owner and mode if you trust it",
			      dir, (unsigned)geteuid());
	if (st.st_size != VF_KEY_SIZE)
		return refuse(s, EINVAL, "%s/" KEY " has %lld bytes, not %u: bring it back from a backup",
			      dir, (long long)st.st_size, VF_KEY_SIZE);
	n = read_some(fd, v->key, VF_KEY_SIZE, 0);
	if (n != VF_KEY_SIZE)
		return refuse(s, n < 0 ? errno : EIO, "%s/" KEY " cannot be read: %s", dir,
			      n < 0 ? strerror(errno) : "it was cut short");
	return 0;
}

static int get_key(struct vault *v, const char *dir, bool has_entries, struct sentence *s)
{
	int rc, fd = openat(v->dir, KEY, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);

	if (fd >= 0) {
		rc = read_key(v, fd, dir, s);
		shut(fd);
		return rc;
	}
	if (errno != ENOENT)
		return refuse(s, errno, "%s/" KEY " cannot be opened: %s", dir, strerror(errno));
	if (has_entries)
		return refuse(s, ENOKEY,
			      "%s has files but no " KEY ": bring it back from a backup, or move the files "
			      "(*" WHOLE ") away; without it they cannot be read",
			      dir);
	if (make_key(v) < 0)
		return refuse(s, errno, "%s/" KEY " cannot be made: %s", dir, strerror(errno));
	return 0;
}

struct vault *vault_open(const char *dir, char *err, size_t size)
{
	struct sentence s = {err, size};
	struct vault *v = calloc(1, sizeof(*v));
	bool has_entries;
	int error;

	if (!v) {
		refuse(&s, ENOMEM, "no memory for the vault");
		return NULL;
	}
	v->dir = v->lock = -1;
	if (vf_setup() < 0)
		refuse(&s, errno, "libcrypto has no AES-256-GCM");
	else if (open_directory(v, dir, &s) == 0 && take_lock(v, dir, &s) == 0 &&
		 sweep_parts(v, dir, &has_entries, &s) == 0 && get_key(v, dir, has_entries, &s) == 0)
		return v;
	error = errno;
	vault_close(v);
	errno = error;
	return NULL;
}

void vault_close(struct vault *v)
{
	if (!v)
		return;
	shut(v->lock);
	shut(v->dir);
	OPENSSL_cleanse(v->key, sizeof(v->key));
	free(v);
}

bool vault_has_room(const struct vault *v, uint64_t more)
{
	struct statvfs fs;
	uint64_t keep, need;

	if (fstatvfs(v->dir, &fs) < 0 || fs.f_frsize == 0)
		return false;
	keep = fs.f_blocks / 100 * VAULT_KEEP_FREE + (fs.f_blocks % 100 * VAULT_KEEP_FREE + 99) / 100;
	need = more / fs.f_frsize + (more % fs.f_frsize != 0);
	return fs.f_bavail >= keep && need <= fs.f_bavail - keep;
}

int vault_sync(struct vault *v)
{
	return fsync(v->dir);
}

/* ---- writing ---- */

static void writer_free(struct vault_writer *w)
{
	shut(w->fd);
	vf_free(w->file);
	free(w->buf);
	free(w);
}

/* The first error stays. */
static int writer_fail(struct vault_writer *w)
{
	if (!w->error)
		w->error = errno ? errno : EIO;
	return fail(w->error);
}

static int flush(struct vault_writer *w)
{
	if (write_all(w->fd, w->buf, w->used, w->written) < 0)
		return writer_fail(w);
	w->written += w->used;
	w->used = 0;
	return 0;
}

/* Where the next n bytes go; n is never more than room. NULL and errno. */
static uint8_t *place(struct vault_writer *w, size_t n)
{
	if (w->used + n > w->room && flush(w) < 0)
		return NULL;
	return w->buf + w->used;
}

static int placed(struct vault_writer *w, int rc, size_t n)
{
	if (rc < 0)
		return writer_fail(w);
	w->used += n;
	return 0;
}

/* Header and metadata into the buffer, which is made large enough for them. */
static int write_start(struct vault_writer *w, const uint8_t *packed, size_t n)
{
	size_t least = VF_HEADER_SIZE + VF_AROUND + n;

	w->room = least > BUFFER ? least : BUFFER;
	w->buf = malloc(w->room);
	if (!w->buf)
		return -1;
	w->file = vf_new(w->vault->key, w->id, w->buf);
	if (!w->file || vf_seal_meta(w->file, packed, n, w->buf + VF_HEADER_SIZE) < 0)
		return -1;
	w->used = least;
	return 0;
}

/* What an earlier try may have left under the name goes. */
static int open_part(struct vault_writer *w)
{
	char name[NAME_MAX_SIZE];

	name_of(w->id, PART, name);
	if (unlinkat(w->vault->dir, name, 0) < 0 && errno != ENOENT)
		return -1;
	w->fd = openat(w->vault->dir, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	return w->fd < 0 ? -1 : 0;
}

struct vault_writer *vault_create(struct vault *v, const Amp__VaultMeta *meta)
{
	struct vault_writer *w;
	uint8_t *packed;
	size_t n;
	int rc;

	if (vf_meta_pack(meta, &packed, &n) < 0)
		return NULL;
	w = calloc(1, sizeof(*w));
	if (!w) {
		free(packed);
		return NULL;
	}
	w->vault = v;
	w->fd = -1;
	memcpy(w->id, meta->entry_id, sizeof(w->id));
	rc = write_start(w, packed, n);
	free(packed);
	if (rc < 0 || open_part(w) < 0) {
		rc = errno;
		writer_free(w);
		errno = rc;
		return NULL;
	}
	return w;
}

/* The hole that has ended now. */
static int seal_hole(struct vault_writer *w)
{
	uint64_t hole = w->hole;
	uint8_t *to;

	if (hole == 0)
		return 0;
	to = place(w, VF_AROUND);
	w->hole = 0;
	return to ? placed(w, vf_seal_hole(w->file, hole, to), VF_AROUND) : -1;
}

int vault_write(struct vault_writer *w, const void *data, size_t n)
{
	uint8_t *to;

	if (w->error)
		return fail(w->error);
	if (n == 0 || n > VAULT_CHUNK || w->sealed)
		return fail(EINVAL);
	if (n > VF_SIZE_MAX - w->size)
		return fail(EFBIG);
	if (seal_hole(w) < 0)
		return -1;
	to = place(w, n + VF_AROUND);
	if (!to)
		return -1;
	w->size += n;
	return placed(w, vf_seal_data(w->file, data, n, to), n + VF_AROUND);
}

int vault_hole(struct vault_writer *w, uint64_t n)
{
	if (w->error)
		return fail(w->error);
	if (w->sealed)
		return fail(EINVAL);
	if (n > VF_SIZE_MAX - w->size)
		return fail(EFBIG);
	w->size += n;
	w->hole += n;
	return 0;
}

static int seal_end(struct vault_writer *w, const uint8_t sha256[AMP_SHA256_SIZE])
{
	uint8_t *to = place(w, VF_END_SIZE + VF_AROUND);

	return to ? placed(w, vf_seal_end(w->file, sha256, to), VF_END_SIZE + VF_AROUND) : -1;
}

int vault_seal(struct vault_writer *w, const uint8_t sha256[AMP_SHA256_SIZE])
{
	if (w->error)
		return fail(w->error);
	if (w->sealed)
		return 0;
	if (seal_hole(w) < 0 || seal_end(w, sha256) < 0 || flush(w) < 0)
		return -1;
	w->sealed = true;
	sync_file_range(w->fd, 0, 0, SYNC_FILE_RANGE_WRITE); /* a hint: what fails is told by fdatasync(2) */
	return 0;
}

static int finish(struct vault_writer *w, const uint8_t sha256[AMP_SHA256_SIZE])
{
	char part[NAME_MAX_SIZE], whole[NAME_MAX_SIZE];

	if (vault_seal(w, sha256) < 0 || fdatasync(w->fd) < 0)
		return -1;
	return renameat(w->vault->dir, name_of(w->id, PART, part), w->vault->dir,
			name_of(w->id, WHOLE, whole));
}

int vault_finish(struct vault_writer *w, const uint8_t sha256[AMP_SHA256_SIZE], uint64_t *stored)
{
	int error;

	if (finish(w, sha256) < 0) {
		error = errno;
		vault_abort(w);
		return fail(error);
	}
	*stored = w->written;
	writer_free(w);
	return 0;
}

void vault_abort(struct vault_writer *w)
{
	char name[NAME_MAX_SIZE];

	if (!w)
		return;
	unlinkat(w->vault->dir, name_of(w->id, PART, name), 0);
	writer_free(w);
}

/* ---- reading ---- */

/* Why a step failed: what the file says, or what the machine does. */
static enum vault_answer answer_of(int error)
{
	return error == EBADMSG ? VAULT_TAMPERED : VAULT_FAILED;
}

/* Room for n more bytes behind `from`; n is in its bounds already. */
static int make_room(struct vault_reader *r, size_t n)
{
	uint8_t *buf = r->buf;

	if (n > r->room) {
		buf = realloc(r->buf, n);
		if (!buf)
			return -1;
		r->buf = buf;
		r->room = n;
	}
	if (n > r->room - r->from) {
		memmove(buf, buf + r->from, r->have);
		r->from = 0;
	}
	return 0;
}

/* The next n bytes of the file, all at once. NULL: EBADMSG (it ends before), or errno. */
static const uint8_t *next_bytes(struct vault_reader *r, size_t n)
{
	const uint8_t *p;
	ssize_t got;

	if (r->have < n) {
		if (make_room(r, n) < 0)
			return NULL;
		got = read_some(r->fd, r->buf + r->from + r->have, r->room - r->from - r->have, r->at);
		if (got < 0)
			return NULL;
		r->have += (size_t)got;
		r->at += (uint64_t)got;
		if (r->have < n) {
			errno = EBADMSG;
			return NULL;
		}
	}
	p = r->buf + r->from;
	r->from += n;
	r->have -= n;
	return p;
}

static int next_head(struct vault_reader *r, struct vf_record *record)
{
	const uint8_t *head = next_bytes(r, VF_HEAD_SIZE);

	return head ? vf_head(r->file, head, record) : -1;
}

static int open_body(struct vault_reader *r, const struct vf_record *record, uint8_t *plain)
{
	const uint8_t *body = next_bytes(r, (size_t)record->sealed + VF_TAG_SIZE);

	return body ? vf_open(r->file, body, plain) : -1;
}

static int read_header(struct vault_reader *r, const struct vault *v, const char *id)
{
	const uint8_t *header;

	r->buf = malloc(BUFFER);
	if (!r->buf)
		return -1;
	r->room = BUFFER;
	header = next_bytes(r, VF_HEADER_SIZE);
	r->file = header ? vf_of_header(v->key, id, header) : NULL;
	return r->file ? 0 : -1;
}

static int read_meta(struct vault_reader *r, const char *id, uint64_t file_size)
{
	struct vf_record record;
	uint8_t *packed;

	if (next_head(r, &record) < 0)
		return -1;
	if (record.sealed > file_size)
		return fail(EBADMSG); /* before memory is taken for it */
	packed = malloc(record.sealed);
	if (!packed)
		return -1;
	if (open_body(r, &record, packed) == 0)
		r->meta = vf_meta_open(packed, record.sealed, id);
	free(packed);
	r->content = r->at - r->have;
	return r->meta ? 0 : -1;
}

/* A link or a file that is not as we make them is not ours: EBADMSG. */
static int open_entry(struct vault *v, const char *id, struct stat *st)
{
	char name[NAME_MAX_SIZE];
	int fd = openat(v->dir, name_of(id, WHOLE, name), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);

	if (fd < 0)
		return errno == ELOOP ? fail(EBADMSG) : -1;
	if (fstat(fd, st) == 0 && is_ours(st))
		return fd;
	shut(fd);
	return fail(EBADMSG);
}

static struct vault_reader *reader_open(struct vault *v, const char *id)
{
	struct vault_reader *r;
	struct stat st;
	int error, fd = open_entry(v, id, &st);

	if (fd < 0)
		return NULL;
	r = calloc(1, sizeof(*r));
	if (!r) {
		shut(fd);
		return NULL;
	}
	r->fd = fd;
	r->ended = VAULT_DATA;
	if (read_header(r, v, id) == 0 && read_meta(r, id, (uint64_t)st.st_size) == 0)
		return r;
	error = errno;
	vault_reader_free(r);
	errno = error;
	return NULL;
}

struct vault_reader *vault_read(struct vault *v, const char *id, enum vault_answer *why)
{
	struct vault_reader *r;

	if (!vf_id_valid(id)) {
		*why = VAULT_FAILED;
		errno = EINVAL;
		return NULL;
	}
	r = reader_open(v, id);
	if (!r)
		*why = answer_of(errno);
	return r;
}

const Amp__VaultMeta *vault_reader_meta(const struct vault_reader *r)
{
	return vf_meta_get(r->meta);
}

/* END is the last there may be in the file. */
static int open_end(struct vault_reader *r, const struct vf_record *record)
{
	uint8_t plain[VF_END_SIZE], more;
	ssize_t n;

	if (open_body(r, record, plain) < 0)
		return -1;
	n = r->have > 0 ? 1 : read_some(r->fd, &more, 1, r->at);
	if (n != 0)
		return n > 0 ? fail(EBADMSG) : -1;
	memcpy(r->sha256, vf_end_sha256(plain), sizeof(r->sha256));
	return 0;
}

static int next_record(struct vault_reader *r, uint8_t *buf, uint64_t *n, enum vf_type *type)
{
	struct vf_record record;

	if (next_head(r, &record) < 0)
		return -1;
	*type = record.type;
	*n = record.length;
	if (record.type == VF_END)
		return open_end(r, &record);
	return open_body(r, &record, buf);
}

enum vault_answer vault_next(struct vault_reader *r, uint8_t *buf, uint64_t *n,
			     uint8_t sha256[AMP_SHA256_SIZE])
{
	enum vf_type type = VF_END;

	if (r->ended == VAULT_DATA) {
		if (next_record(r, buf, n, &type) < 0) {
			r->error = errno;
			r->ended = answer_of(r->error);
		} else if (type == VF_END) {
			r->ended = VAULT_END;
		} else {
			return type == VF_DATA ? VAULT_DATA : VAULT_HOLE;
		}
	}
	*n = 0;
	if (r->ended == VAULT_END)
		memcpy(sha256, r->sha256, sizeof(r->sha256));
	errno = r->error;
	return r->ended;
}

int vault_rewind(struct vault_reader *r)
{
	if (vf_rewind(r->file) < 0)
		return -1;
	r->at = r->content;
	r->from = r->have = 0;
	r->ended = VAULT_DATA;
	r->error = 0;
	return 0;
}

void vault_reader_free(struct vault_reader *r)
{
	if (!r)
		return;
	shut(r->fd);
	vf_free(r->file);
	vf_meta_free(r->meta);
	free(r->buf);
	free(r);
}

/* ---- names ---- */

int vault_remove(struct vault *v, const char *id)
{
	char name[NAME_MAX_SIZE];

	if (!vf_id_valid(id))
		return fail(EINVAL);
	if (unlinkat(v->dir, name_of(id, WHOLE, name), 0) < 0 && errno != ENOENT)
		return -1;
	return 0;
}

bool vault_exists(const struct vault *v, const char *id)
{
	char name[NAME_MAX_SIZE];
	struct stat st;

	return vf_id_valid(id) && fstatat(v->dir, name_of(id, WHOLE, name), &st, AT_SYMLINK_NOFOLLOW) == 0 &&
	       S_ISREG(st.st_mode);
}

struct each {
	const struct vault *vault;
	void (*found)(const char *id, uint64_t bytes, void *arg);
	void *arg;
};

static void each_entry(const char *name, void *arg)
{
	const struct each *each = arg;
	char id[VAULT_ID_SIZE];
	struct stat st;

	if (!id_of(name, WHOLE, id) || fstatat(each->vault->dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return;
	each->found(id, S_ISREG(st.st_mode) ? (uint64_t)st.st_size : 0, each->arg);
}

int vault_each(struct vault *v, void (*found)(const char *id, uint64_t bytes, void *arg), void *arg)
{
	struct each each = {v, found, arg};

	return each_name(v, each_entry, &each);
}
