/*
 * ampquard/restore.c - content out of the vault, and what is allowed by it.
 *
 * Owns: the order of a restore: the vault file is read to its end and proven
 * before anything is written; its hash is allowed, committed, and known to
 * ampscand before the file has its name; revoking. One at a time.
 * Must not own: how a file is placed (place.c) or dressed (meta.c).
 */
#include "quard.h"

#include "clock.h"
#include "counter.h"
#include "log.h"
#include "meta.h"
#include "place.h"
#include "step.h"
#include "superblock.h"
#include "text.h"

#include "proto/cli.pb-c.h"
#include "proto/types.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define ACK_NS	    (10 * AMP_NS_PER_SEC)
#define PROGRESS_NS AMP_NS_PER_SEC

enum restore_step { RESTORE_PROVE, RESTORE_ALLOW, RESTORE_ASK, RESTORE_WRITE, RESTORE_COMMIT };

struct restoring {
	struct request client; /* id and serial of who asked */
	struct entry *entry;
	enum restore_step step;
	bool keep_privileges;
	bool noted;	    /* that it was begun */
	bool allowed_by_us; /* taken back if it fails */
	bool committing;
	char *directory; /* asked for; NULL: where it was */
	char *path;	 /* where it is to be */
	size_t path_size;
	char name[AMP_NAME_MAX + 1];
	int dir;
	struct vault_reader *reader;
	struct amp_sha256 *sha;
	struct place *place;
	uint64_t at, work, work_done; /* bytes; both passes */
	uint64_t asked;		      /* id of the ALLOW that is awaited */
	int64_t due_ns, said_ns;
	struct meta_left left;
	uint8_t buffer[VAULT_CHUNK];
};

static struct amp_counter count_restored = AMP_COUNTER("quarantine.restored", false);
static struct amp_counter count_tampered = AMP_COUNTER("quarantine.tampered", true);

/* --- what is allowed ------------------------------------------------------------- */

static Amp__Allow *allow_new(const uint8_t *sha256, size_t n)
{
	Amp__Allow *a = malloc(sizeof(*a));

	if (!a)
		return NULL;
	amp__allow__init(a);
	a->sha256 = calloc(n + 1, sizeof(*a->sha256));
	for (size_t i = 0; a->sha256 && i < n; i++) {
		a->sha256[i].data = malloc(AMP_SHA256_SIZE);
		if (!a->sha256[i].data)
			break;
		memcpy(a->sha256[i].data, sha256 + i * AMP_SHA256_SIZE, AMP_SHA256_SIZE);
		a->sha256[i].len = AMP_SHA256_SIZE;
		a->n_sha256++;
	}
	return a;
}

void restore_tell_all(struct keeper *k)
{
	uint8_t *all = NULL;
	size_t count = 0, at = 0;

	if (!k->link || !keeper_ready(k))
		return;
	if (store_allowed(k->store, &all, &count) != AMP_DB_OK) {
		amp_error("restored content cannot be read: %s", store_why(k->store));
		return;
	}
	do {
		size_t n = count - at < AMP_POLICY_BATCH ? count - at : AMP_POLICY_BATCH;
		Amp__Allow *a = allow_new(all + at * AMP_SHA256_SIZE, n);

		if (!a)
			break;
		a->begin = at == 0;
		at += n;
		a->end = at == count;
		say_scand(k, AMP_MSG_ALLOW, ++k->serials, &a->base, true);
	} while (at < count);
	free(all);
}

uint64_t restore_tell_one(struct keeper *k, const uint8_t *sha256, bool revoke)
{
	Amp__Allow *a = allow_new(sha256, 1);

	if (!a)
		return 0;
	a->revoke = revoke;
	say_scand(k, AMP_MSG_ALLOW, ++k->serials, &a->base, true);
	return k->serials;
}

/* --- ends ---------------------------------------------------------------------------- */

static void restoring_close(struct restoring *r)
{
	vault_reader_free(r->reader);
	amp_sha256_free(r->sha);
	place_free(r->place);
	if (r->dir >= 0)
		close(r->dir);
	meta_left_free(&r->left);
	entry_free(r->entry);
	free(r->directory);
	free(r->path);
	free(r);
}

void restoring_free(struct keeper *k)
{
	if (!k->restoring)
		return;
	k->cut_short |= k->restoring->noted;
	say_error(k, &k->restoring->client, AMP__CLI_ERROR__CODE__NOT_NOW,
		  "the quarantine's database could not be written; %s",
		  k->restoring->step == RESTORE_COMMIT ? "the file has its place again all the same"
						       : "nothing was restored");
	restoring_close(k->restoring);
	k->restoring = NULL;
}

/* It comes to nothing, so its content is not allowed by it. */
static void take_back(struct keeper *k, const struct restoring *r)
{
	bool was;

	if (!r->noted)
		return;
	k->cut_short = true; /* should this not be committed */
	if (!keeper_begin(k) || !keeper_did(k, store_restore_end(k->store, r->entry->id)))
		return;
	if (r->allowed_by_us && keeper_did(k, store_revoke(k->store, r->entry->sha256, &was)))
		restore_tell_one(k, r->entry->sha256, true);
}

static void give_up(struct keeper *k, int code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
static void give_up(struct keeper *k, int code, const char *fmt, ...)
{
	struct restoring *r = k->restoring;
	char text[380];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	amp_warn("entry %s was not restored: %s", r->entry->id, text);
	say_error(k, &r->client, code, "%s", text);
	take_back(k, r);
	k->restoring = NULL;
	restoring_close(r);
}

static void give_up_tampered(struct keeper *k, const char *what)
{
	amp_counter_add(&count_tampered, 1);
	give_up(k, AMP__CLI_ERROR__CODE__INTERNAL,
		"%s; it was tampered with or the disk is failing; nothing was restored. See %s/%s.q", what,
		k->config.data_dir, k->restoring->entry->id);
}

static const char *place_error(int error)
{
	switch (error) {
	case EEXIST:
		return "something of that name is there already, and nothing is overwritten; move it away or "
		       "use "
		       "--to";
	case ELOOP:
	case ENOTDIR:
		return "a symbolic link or something else that is no directory is in its path; use --to with "
		       "the "
		       "true path";
	case ENOENT:
		return "its directory is not there (any more); make it or use --to";
	case ENOSPC:
	case EDQUOT:
		return "there is no space there";
	case EROFS:
		return "the file system there is read-only";
	default:
		return strerror(error);
	}
}

static void no_place(struct keeper *k, int error)
{
	char where[200];
	const struct restoring *r = k->restoring;

	amp_text_escape(r->path ? r->path : "", r->path ? r->path_size : 0, where, sizeof(where));
	give_up(k, AMP__CLI_ERROR__CODE__NOT_NOW, "%s: %s", where, place_error(error));
}

static void say_progress(struct keeper *k, struct restoring *r)
{
	int64_t now = amp_clock_monotonic();
	Amp__CliRestoreReply *reply;

	if (now - r->said_ns < PROGRESS_NS)
		return;
	r->said_ns = now;
	reply = malloc(sizeof(*reply));
	if (!reply)
		return;
	amp__cli_restore_reply__init(reply);
	reply->more = true;
	reply->bytes = r->work;
	reply->bytes_done = r->work_done;
	say_client(k, &r->client, AMP_MSG_CLI_RESTORE_REPLY, &reply->base, false);
}

/* --- proving ---------------------------------------------------------------------------- */

static bool same_bytes(const ProtobufCBinaryData *b, const void *data, size_t n)
{
	return b->len == n && (n == 0 || memcmp(b->data, data, n) == 0);
}

/* What was not known when it was sealed may have become known since, and is not used. */
static bool same_if_known(const ProtobufCBinaryData *b, const void *data, size_t n)
{
	return b->len == 0 || same_bytes(b, data, n);
}

/* The row beside the vault file must say what is sealed in it. */
bool restore_row_matches(const struct entry *e, const Amp__VaultMeta *m)
{
	const struct entry_name *n = e->name_count ? &e->names[0] : NULL;
	struct amp_handle h;

	return strcmp(m->entry_id, e->id) == 0 && strcmp(m->detection_id, e->detection_id) == 0 &&
	       strcmp(m->detection, e->detection) == 0 && m->fsid == e->file.fsid &&
	       amp_handle_from_wire(m->handle, &h) == 0 && amp_handle_equal(&h, &e->file.handle) &&
	       same_bytes(&m->sha256, e->sha256, AMP_SHA256_SIZE) && m->size == e->size && m->uid == e->uid &&
	       m->gid == e->gid && m->mode == e->mode &&
	       same_if_known(&m->path, n ? n->path : NULL, n && n->path ? n->path_size : 0) &&
	       same_if_known(&m->name, n ? n->name : NULL, n && n->name ? strlen(n->name) : 0);
}

static void set_path(struct restoring *r, const char *dir, size_t dir_size)
{
	size_t n = strlen(r->name);

	r->path = malloc(dir_size + n + 2);
	if (!r->path)
		return;
	memcpy(r->path, dir, dir_size);
	if (dir_size == 0 || dir[dir_size - 1] != '/')
		r->path[dir_size++] = '/';
	memcpy(r->path + dir_size, r->name, n + 1);
	r->path_size = dir_size + n;
}

static const char *slash_of(const Amp__VaultMeta *m)
{
	return m->path.len ? memrchr(m->path.data, '/', m->path.len) : NULL;
}

static void choose_name(struct restoring *r, const Amp__VaultMeta *m)
{
	const char *slash = slash_of(m);
	size_t n = m->name.len;
	const char *name = (const char *)m->name.data;

	if (n == 0 && slash) {
		name = slash + 1;
		n = m->path.len - (size_t)(name - (const char *)m->path.data);
	}
	if (n == 0 || n > AMP_NAME_MAX)
		snprintf(r->name, sizeof(r->name), "recovered-%.8s", r->entry->id);
	else
		memcpy(r->name, name, n);
}

/* Its directory, and that nothing is there. False: it was said why not. */
static bool choose_place(struct keeper *k)
{
	struct restoring *r = k->restoring;
	const Amp__VaultMeta *m = vault_reader_meta(r->reader);
	const char *slash = slash_of(m), *dir = r->directory;
	struct stat st;
	size_t n;

	choose_name(r, m);
	if (!dir && (!slash || m->path_unresolved)) {
		give_up(k, AMP__CLI_ERROR__CODE__BAD_REQUEST,
			"where it was is not known; say where to with --to DIRECTORY");
		return false;
	}
	n = dir ? strlen(dir) : (size_t)(slash - (const char *)m->path.data);
	dir = dir ? dir : (const char *)m->path.data;
	set_path(r, dir, n);
	r->dir = r->path ? place_directory(n ? dir : "/", n ? n : 1) : -1;
	if (r->dir >= 0)
		place_sweep(r->dir, r->entry->id); /* what an earlier try left when it was killed */
	if (r->dir >= 0 && fstatat(r->dir, r->name, &st, AT_SYMLINK_NOFOLLOW) == 0)
		errno = EEXIST;
	else if (r->dir >= 0)
		return true;
	no_place(k, errno);
	return false;
}

/* All of it: a piece too little is where the space ended, and the next try says so. */
static int write_at(int fd, const uint8_t *data, size_t n, uint64_t at)
{
	while (n > 0) {
		ssize_t done = pwrite(fd, data, n, (off_t)at);

		if (done < 0 && errno != EINTR)
			return -1;
		if (done == 0) {
			errno = EIO;
			return -1;
		}
		if (done > 0) {
			data += done;
			n -= (size_t)done;
			at += (uint64_t)done;
		}
	}
	return 0;
}

/* Reads on. The content's pieces go to `into` if that is a descriptor. 1: whole and right; 0: go on;
 * -1: it was said why not. */
static int read_on(struct keeper *k, int into)
{
	struct restoring *r = k->restoring;
	uint64_t slice = 0;

	while (slice < KEEPER_SLICE) {
		uint8_t sealed[AMP_SHA256_SIZE], sha[AMP_SHA256_SIZE];
		uint64_t n = 0;
		enum vault_answer a = vault_next(r->reader, r->buffer, &n, sealed);

		if (a == VAULT_END) {
			if (amp_sha256_end(r->sha, sha) == 0 && memcmp(sha, sealed, sizeof(sha)) == 0 &&
			    memcmp(sha, r->entry->sha256, sizeof(sha)) == 0 && r->at == r->entry->size)
				return 1;
			give_up_tampered(k, "its content is not what was taken");
			return -1;
		}
		if (a == VAULT_TAMPERED || a == VAULT_FAILED) {
			give_up_tampered(k, "its vault file cannot be opened with its key");
			return -1;
		}
		if (n > r->entry->size - r->at) {
			give_up_tampered(k, "its vault file has more than was taken");
			return -1;
		}
		if (a == VAULT_DATA && into >= 0 && write_at(into, r->buffer, (size_t)n, r->at) != 0) {
			no_place(k, errno);
			return -1;
		}
		if (a == VAULT_HOLE)
			memset(r->buffer, 0, sizeof(r->buffer));
		for (uint64_t left = n; left > 0;) {
			size_t part = left < VAULT_CHUNK ? (size_t)left : VAULT_CHUNK;

			amp_sha256_add(r->sha, r->buffer, part);
			left -= part;
		}
		r->at += n;
		r->work_done += n;
		slice += n + 1;
	}
	say_progress(k, r);
	return 0;
}

static bool prove(struct keeper *k)
{
	int rc = read_on(k, -1);

	if (rc == 0)
		return true;
	if (rc < 0)
		return false;
	k->restoring->step = RESTORE_ALLOW;
	return true;
}

static bool is_allowed(struct keeper *k, const uint8_t *sha256, bool *yes)
{
	uint8_t *all = NULL;
	size_t count = 0;

	*yes = false;
	if (!keeper_did(k, store_allowed(k->store, &all, &count)))
		return false;
	for (size_t i = 0; i < count && !*yes; i++)
		*yes = memcmp(all + i * AMP_SHA256_SIZE, sha256, AMP_SHA256_SIZE) == 0;
	free(all);
	return true;
}

/* --- allowing ------------------------------------------------------------------------------ */

/* With what it allows: whoever finds this note knows what to take back. Once: the second time (on
 * another link) its content is allowed already, by us. */
static bool note_begun(struct keeper *k, struct restoring *r, bool was_allowed)
{
	struct store_restore note = {.was_allowed = was_allowed, .path = r->path, .path_size = r->path_size};

	if (r->noted)
		return true;
	snprintf(note.entry_id, sizeof(note.entry_id), "%s", r->entry->id);
	memcpy(note.sha256, r->entry->sha256, sizeof(note.sha256));
	r->noted = true;
	r->allowed_by_us = !was_allowed;
	return keeper_did(k, store_restore_begin(k->store, &note));
}

static bool allow(struct keeper *k)
{
	struct restoring *r = k->restoring;
	bool already = false;

	if (!k->link) {
		give_up(k, AMP__CLI_ERROR__CODE__NOT_NOW,
			"ampscand is not there, which must know of it first; try again in a moment");
		return false;
	}
	if (!keeper_begin(k))
		return false;
	if (!is_allowed(k, r->entry->sha256, &already) ||
	    !keeper_did(k, store_allow(k->store, r->entry->sha256, amp_clock_realtime())) ||
	    !note_begun(k, r, already))
		return false;
	r->asked = restore_tell_one(k, r->entry->sha256, false);
	r->due_ns = amp_clock_monotonic() + ACK_NS;
	r->step = RESTORE_ASK;
	return false;
}

void restoring_ack(struct keeper *k, uint64_t id)
{
	struct restoring *r = k->restoring;

	if (!r || r->step != RESTORE_ASK || r->asked != id)
		return;
	r->asked = 0;
	r->due_ns = 0;
	r->step = RESTORE_WRITE;
}

void restoring_link_changed(struct keeper *k)
{
	if (k->restoring && k->restoring->step == RESTORE_ASK)
		k->restoring->step = RESTORE_ALLOW;
}

static bool wait_for_ack(struct keeper *k)
{
	if (amp_clock_monotonic() >= k->restoring->due_ns)
		give_up(k, AMP__CLI_ERROR__CODE__NOT_NOW,
			"ampscand did not say that it knows of it; nothing was restored");
	return false;
}

/* --- writing ---------------------------------------------------------------------------------- */

static bool begin_writing(struct keeper *k)
{
	struct restoring *r = k->restoring;

	step("allowed");
	r->place = place_new(r->dir, r->entry->id);
	if (!r->place) {
		no_place(k, errno);
		return false;
	}
	r->at = 0;
	if (vault_rewind(r->reader) != 0 || amp_sha256_begin(r->sha) != 0 ||
	    ftruncate(place_fd(r->place), (off_t)r->entry->size) != 0) {
		no_place(k, errno);
		return false;
	}
	return true;
}

void restore_report(struct keeper *k, const struct entry *e, const char *path, size_t path_size)
{
	char suffix[64], detail[512], where[400];

	snprintf(suffix, sizeof(suffix), "restored/%lld", (long long)amp_clock_realtime());
	amp_text_escape(path, path_size, where, sizeof(where));
	snprintf(detail, sizeof(detail), "restored to %s", where);
	report_detection(k, e, e->detection_id, "threat_restored", suffix, 2, detail);
}

/* All of it is there and right: its owner, its name, its row. */
static bool finish(struct keeper *k)
{
	struct restoring *r = k->restoring;
	const Amp__VaultMeta *m = vault_reader_meta(r->reader);
	int fd = place_fd(r->place);

	meta_apply(fd, m, r->keep_privileges, &r->left);
	if (fsync(fd) != 0) {
		no_place(k, errno);
		return false;
	}
	step("written");
	if (place_name(r->place, r->name) != 0) {
		no_place(k, errno);
		return false;
	}
	step("placed");
	meta_apply_last(fd, m, &r->left);
	if (m->nlink > 1)
		meta_left_add(&r->left, "it had %u names; this is one of them, the others stay as they are",
			      m->nlink);
	for (size_t i = 0; i < m->n_xattrs_unread; i++)
		meta_left_add(&r->left, "an attribute could not be kept when it was taken");
	if (!keeper_begin(k))
		return false;
	if (keeper_did(k,
		       store_restored(k->store, r->entry->id, r->path, r->path_size, amp_clock_realtime())) &&
	    keeper_did(k, store_restore_end(k->store, r->entry->id)))
		restore_report(k, r->entry, r->path, r->path_size);
	r->committing = true;
	r->step = RESTORE_COMMIT;
	return false;
}

static bool write_on(struct keeper *k)
{
	struct restoring *r = k->restoring;
	int rc;

	if (!r->place && !begin_writing(k))
		return false;
	rc = read_on(k, place_fd(r->place));
	if (rc == 0)
		return true;
	return rc < 0 ? false : finish(k);
}

void restoring_committed(struct keeper *k)
{
	struct restoring *r = k->restoring;
	Amp__CliRestoreReply *reply;

	if (!r || !r->committing)
		return;
	reply = malloc(sizeof(*reply));
	if (reply) {
		amp__cli_restore_reply__init(reply);
		reply->path.data = (uint8_t *)r->path;
		reply->path.len = r->path_size;
		reply->left = r->left.text;
		reply->n_left = r->left.count;
		say_client(k, &r->client, AMP_MSG_CLI_RESTORE_REPLY, message_copy(&reply->base), false);
		free(reply);
	}
	amp_counter_add(&count_restored, 1);
	amp_info("entry %s (%s) was restored", r->entry->id, r->entry->detection);
	k->restoring = NULL;
	restoring_close(r);
}

static bool on_commit(struct keeper *k)
{
	(void)k;
	return false;
}

bool restoring_has(const struct keeper *k, const char *entry_id)
{
	return k->restoring && strcmp(k->restoring->entry->id, entry_id) == 0;
}

bool restoring_run(struct keeper *k)
{
	static bool (*const steps[])(struct keeper * k) = {
		[RESTORE_PROVE] = prove,    [RESTORE_ALLOW] = allow,	  [RESTORE_ASK] = wait_for_ack,
		[RESTORE_WRITE] = write_on, [RESTORE_COMMIT] = on_commit,
	};

	return k->restoring && !k->in_transaction ? steps[k->restoring->step](k) : k->restoring != NULL;
}

int64_t restoring_due_ns(const struct keeper *k)
{
	return k->restoring ? k->restoring->due_ns : 0;
}

/* --- requests -------------------------------------------------------------------------------- */

/* NULL: it was said why not. */
static struct entry *restorable(struct keeper *k, struct request *req, const char *id)
{
	struct entry *e = NULL;

	if (!keeper_ready(k))
		say_error(k, req, AMP__CLI_ERROR__CODE__NOT_NOW,
			  "the quarantine is not open; see the faults in `ampcli status`");
	else if (k->restoring)
		say_error(k, req, AMP__CLI_ERROR__CODE__NOT_NOW,
			  "another entry is being restored; try again when it is done");
	else if (k->cut_short)
		say_error(k, req, AMP__CLI_ERROR__CODE__NOT_NOW,
			  "an earlier restore that was cut short is being concluded; try again in a moment");
	else if (store_find(k->store, id, &e) != AMP_DB_OK)
		say_error(k, req, AMP__CLI_ERROR__CODE__INTERNAL,
			  "the row of entry %s cannot be read (%s): it was tampered with or the disk is "
			  "failing; "
			  "nothing was restored",
			  id, store_why(k->store));
	else if (!e)
		say_error(k, req, AMP__CLI_ERROR__CODE__NOT_FOUND,
			  "there is no entry %s; `ampcli quarantine list` shows them", id);
	else if (e->state == ENTRY_DONE || e->state == ENTRY_RESTORED)
		return e;
	else
		say_error(k, req, AMP__CLI_ERROR__CODE__NOT_NOW,
			  "entry %s is not (wholly) in the vault yet: %s", id, e->reason);
	entry_free(e);
	return NULL;
}

static bool open_entry(struct keeper *k)
{
	struct restoring *r = k->restoring;
	enum vault_answer why = VAULT_FAILED;

	r->reader = vault_read(k->vault, r->entry->id, &why);
	if (!r->reader && why == VAULT_FAILED) {
		give_up(k, AMP__CLI_ERROR__CODE__INTERNAL, "its vault file cannot be read: %s",
			strerror(errno));
		return false;
	}
	if (!r->reader) {
		give_up_tampered(k, "its vault file cannot be opened with its key");
		return false;
	}
	if (!restore_row_matches(r->entry, vault_reader_meta(r->reader))) {
		give_up_tampered(k, "its row in quarantine.db is not what is sealed in its vault file");
		return false;
	}
	return choose_place(k);
}

void restore_ask(struct keeper *k, struct request *req)
{
	const Amp__CliRestore *ask = (const Amp__CliRestore *)req->body;
	struct entry *e;
	struct restoring *r;

	restore_conclude(k);
	e = restorable(k, req, ask->id);
	r = e ? calloc(1, sizeof(*r)) : NULL;
	if (!r) {
		entry_free(e);
		return;
	}
	r->client = (struct request){.id = req->id, .serial = req->serial, .fds = {-1, -1}};
	r->entry = e;
	r->dir = -1;
	r->keep_privileges = ask->keep_privileges;
	r->sha = amp_sha256_new();
	r->work = 2 * e->size;
	r->said_ns = amp_clock_monotonic();
	if (ask->directory.len)
		r->directory = strndup((const char *)ask->directory.data, ask->directory.len);
	k->restoring = r;
	if (!r->sha || amp_sha256_begin(r->sha) != 0)
		give_up(k, AMP__CLI_ERROR__CODE__INTERNAL, "out of memory");
	else
		open_entry(k);
}

static void ask_judge_again(struct keeper *k, const struct entry *e, const struct amp_handle *h,
			    uint64_t fsid)
{
	Amp__JudgeAgain m = AMP__JUDGE_AGAIN__INIT;
	Amp__Handle wire;

	amp_handle_to_wire(h, &wire);
	m.fsid = fsid;
	m.handle = &wire;
	m.path.data = (uint8_t *)e->restored_to;
	m.path.len = e->restored_to_size;
	say_scand(k, AMP_MSG_JUDGE_AGAIN, 0, message_copy(&m.base), false);
}

/* A file that was restored is judged again, where it was put. */
static bool judge_again(struct keeper *k, const struct entry *e)
{
	const char *slash = e->restored_to ? memrchr(e->restored_to, '/', e->restored_to_size) : NULL;
	struct amp_handle h;
	uint64_t fsid;
	size_t n = slash ? (size_t)(slash - e->restored_to) : 0;
	int dir = slash ? place_directory(n ? e->restored_to : "/", n ? n : 1) : -1;
	bool there, as_found;

	if (dir < 0)
		return false;
	there = amp_handle_at(dir, slash + 1, 0, &h, NULL) == 0 && amp_fsid_of_fd(dir, &fsid) == 0;
	as_found = there && fsid != e->file.fsid && superblock_is(dir, &h, e->file.fsid);
	close(dir);
	if (!there)
		return false;
	/* Of a file in a subvolume ampscand may know the file system by another fsid, which the row
	 * has. What is of one that it does not know it leaves alone. */
	ask_judge_again(k, e, &h, fsid);
	if (as_found)
		ask_judge_again(k, e, &h, e->file.fsid);
	return true;
}

static uint64_t judge_all_again(struct keeper *k, const uint8_t *sha256)
{
	struct entry *list[AMP_VAULT_BATCH];
	uint64_t before = 0, judged = 0;
	size_t n = 0;

	while (store_list(k->store, before, list, AMP_VAULT_BATCH, &n) == AMP_DB_OK && n > 0) {
		for (size_t i = 0; i < n; i++) {
			if (list[i]->state == ENTRY_RESTORED &&
			    memcmp(list[i]->sha256, sha256, AMP_SHA256_SIZE) == 0)
				judged += judge_again(k, list[i]);
			before = list[i]->number;
			entry_free(list[i]);
		}
		amp_io_step(k->io);
	}
	return judged;
}

void keeper_revoke(struct keeper *k, struct request *r)
{
	const Amp__CliRevoke *ask = (const Amp__CliRevoke *)r->body;
	Amp__CliRevokeReply *reply;
	bool was = false;

	if (!keeper_begin(k) || !keeper_did(k, store_revoke(k->store, ask->sha256.data, &was))) {
		say_error(k, r, AMP__CLI_ERROR__CODE__NOT_NOW,
			  "the quarantine is not open; see the faults in `ampcli status`");
		return;
	}
	if (!was) {
		say_error(k, r, AMP__CLI_ERROR__CODE__NOT_FOUND,
			  "that content was not restored from here, so there is nothing to revoke");
		return;
	}
	restore_tell_one(k, ask->sha256.data, true);
	keeper_settle(k);
	reply = malloc(sizeof(*reply));
	if (!reply)
		return;
	amp__cli_revoke_reply__init(reply);
	reply->judged_again = judge_all_again(k, ask->sha256.data);
	say_client(k, r, AMP_MSG_CLI_REVOKE_REPLY, &reply->base, false);
}
