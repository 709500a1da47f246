/*
 * ampquard/taking.c - the way of one convicted file into the vault.
 *
 * Owns: the order of it (quard.h, enum taking_step) and what each failure
 * means. Every transition is committed before the next thing is done to the
 * file, and everything here can be begun again from what is committed: at
 * each moment there is the original, or the copy and its row.
 * Must not own: how names, inodes and vault files are handled.
 */
#include "quard.h"

#include "clock.h"
#include "counter.h"
#include "log.h"
#include "neutral.h"
#include "place.h"
#include "step.h"
#include "superblock.h"
#include "text.h"

#include "proto/types.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define ANSWER_NS     (60 * AMP_NS_PER_SEC)
#define KILL_NS	      (10 * AMP_NS_PER_SEC)
#define KILLS_MAX     6U
#define BUSY_TRIES    3U
#define RETRY_NS      (5 * AMP_NS_PER_SEC)
#define WAIT_ROOM_NS  (100 * AMP_NS_PER_MS)
#define WAIT_HAND_NS  (100 * AMP_NS_PER_MS)
#define SPARE_BYTES   (1ULL << 20) /* beside the content: header, metadata, seals, the database */
#define NOTHING_TO_DO "it had gone before it could be taken"

/* What a step leads to. */
enum next {
	GO_ON, /* with the next step, now */
	AGAIN, /* with it, in the next round: others get their turn */
	WAIT   /* for an answer, a commit, or until due_ns */
};

static struct amp_counter count_done = AMP_COUNTER("quarantine.done", false);
static struct amp_counter count_failed = AMP_COUNTER("quarantine.failed", false);
static struct amp_counter count_gone = AMP_COUNTER("quarantine.gone", false);
static struct amp_counter count_other = AMP_COUNTER("quarantine.changed", false);
static struct amp_counter count_emptied = AMP_COUNTER("quarantine.emptied", false);

/* --- life ---------------------------------------------------------------------- */

struct taking *taking_new(struct keeper *k, struct entry *e)
{
	struct taking *t = calloc(1, sizeof(*t));

	(void)k;
	if (!t) {
		entry_free(e);
		return NULL;
	}
	t->entry = e;
	t->file = t->directory = -1;
	t->step = TAKING_BEGIN;
	return t;
}

static void close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

static void let_names_go(struct keeper *k, struct taking *t)
{
	hands_let_go(k->hands, t);
	t->captured = 0;
}

void taking_free(struct keeper *k, struct taking *t)
{
	LIST_REMOVE(t, link);
	k->active_count--;
	let_names_go(k, t);
	copy_free(t->copy);
	close_fd(&t->file);
	close_fd(&t->directory);
	while ((t->file = keeper_fd_take(k, t->entry->id)) >= 0) /* of further names: no longer needed */
		close_fd(&t->file);
	entry_free(t->entry);
	free(t);
}

bool taking_has(const struct keeper *k, const char *entry_id)
{
	const struct taking *t;

	LIST_FOREACH(t, &k->active, link)
	if (strcmp(t->entry->id, entry_id) == 0)
		return true;
	return false;
}

static enum next to(struct taking *t, enum taking_step step)
{
	t->step = step;
	t->due_ns = 0;
	t->asked = 0;
	return GO_ON;
}

static enum next pause_for(struct taking *t, int64_t ns, enum taking_step then)
{
	to(t, TAKING_PAUSE);
	t->after_pause = then;
	t->due_ns = amp_clock_monotonic() + ns;
	return WAIT;
}

static enum next on_pause(struct keeper *k, struct taking *t)
{
	(void)k;
	return amp_clock_monotonic() < t->due_ns ? WAIT : to(t, t->after_pause);
}

static void note(struct taking *t, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void note(struct taking *t, const char *fmt, ...)
{
	size_t used = strlen(t->note);
	va_list ap;

	if (used > 0 && used + 2 < sizeof(t->note))
		used += (size_t)snprintf(t->note + used, sizeof(t->note) - used, "; ");
	va_start(ap, fmt);
	vsnprintf(t->note + used, sizeof(t->note) - used, fmt, ap);
	va_end(ap);
}

/* --- ends ------------------------------------------------------------------------ */

/* After the commit it is over. */
static enum next over(struct taking *t)
{
	t->committing = true;
	t->due_ns = 0;
	t->step = TAKING_OVER;
	return WAIT;
}

static void report_all(struct keeper *k, const struct entry *e, const char *type, const char *suffix,
		       unsigned severity, const char *detail)
{
	for (size_t i = 0; i < e->detection_count; i++)
		report_detection(k, e, e->detection_ids[i], type, suffix, severity, detail);
}

/* `code` names the reason in uids: the same one is told once. */
static enum next fail(struct keeper *k, struct taking *t, const char *code, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));
static enum next fail(struct keeper *k, struct taking *t, const char *code, const char *fmt, ...)
{
	struct entry *e = t->entry;
	int64_t wait = e->tries < 7 ? RETRY_NS << e->tries : KEEPER_RETRY_MAX_NS;
	char reason[400], suffix[64];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(reason, sizeof(reason), fmt, ap);
	va_end(ap);
	let_names_go(k, t);
	if (!keeper_begin(k))
		return WAIT;
	if (wait > KEEPER_RETRY_MAX_NS)
		wait = KEEPER_RETRY_MAX_NS;
	keeper_did(k, store_failed(k->store, e->id, reason, amp_clock_realtime() + wait));
	if (!e->failed || strcmp(e->reason, reason) != 0) {
		amp_counter_add(&count_failed, 1);
		amp_warn("entry %s (%s): %s", e->id, e->detection, reason);
		snprintf(suffix, sizeof(suffix), "failed/%s", code);
		report_all(k, e, "quarantine_failed", suffix, 3, reason);
	}
	k->look_ns = amp_clock_monotonic() < k->look_ns - wait ? amp_clock_monotonic() + wait : k->look_ns;
	return over(t);
}

static bool read_again(struct keeper *k, struct taking *t);

/* Nothing of it is (any more) where it was, and nothing is in the vault. */
static enum next nothing_there(struct keeper *k, struct taking *t, const char *why)
{
	if (!keeper_begin(k))
		return WAIT;
	read_again(k, t); /* detections that came meanwhile end with it */
	report_all(k, t->entry, "threat_neutralised", "neutralised", 2, why);
	keeper_did(k, store_drop(k->store, t->entry->id));
	return over(t);
}

static bool more_names(struct keeper *k, struct taking *t);

static enum next done(struct keeper *k, struct taking *t)
{
	bool more = more_names(k, t);
	struct entry *e = t->entry;

	if (t->joined)
		t->name = 0;
	if (more || t->joined) {
		t->joined = false;
		return to(t, TAKING_NAMES);
	}
	if (!keeper_begin(k))
		return WAIT;
	step("harmless");
	if (keeper_did(k, store_done(k->store, e->id, amp_clock_realtime(), t->note)))
		report_done(k, e, t->note);
	amp_counter_add(&count_done, 1);
	amp_info("entry %s (%s) is in the vault%s%s", e->id, e->detection, t->note[0] ? ": " : "", t->note);
	return over(t);
}

void taking_committed(struct keeper *k, struct taking *t)
{
	t->committing = false;
	if (t->step == TAKING_OVER) {
		step("done");
		t->over = true;
		return;
	}
	step("copied");
	t->entry->state = ENTRY_COPIED;
	k->stored += t->entry->stored - t->stored_before;
	to(t, TAKING_NAMES);
}

/* --- hands ------------------------------------------------------------------------- */

static enum next hangs(struct keeper *k, struct taking *t)
{
	return fail(k, t, "stalled", "it does not answer; it is tried again");
}

/* Its hand hangs: in its file, or in another of that owner's. Then another hand begins again. */
static enum next hand_is_lost(struct keeper *k, struct taking *t)
{
	if (hands_stuck(k->hands, t->entry->id))
		return hangs(k, t);
	copy_free(t->copy);
	t->copy = NULL;
	close_fd(&t->directory);
	t->captured = t->name = 0;
	t->refused_names = 0;
	return pause_for(t, WAIT_HAND_NS,
			 t->entry->state == ENTRY_COPIED && !t->reread ? TAKING_NAMES : TAKING_COPY);
}

/* Who can make it hang: its owner, as a rule. */
static uid_t owner_of(const struct taking *t)
{
	struct stat st;

	return t->file >= 0 && fstat(t->file, &st) == 0 ? st.st_uid : t->entry->uid;
}

/* Its answer is the next step (on_hand). */
static enum next ask_hand(struct keeper *k, struct taking *t, struct hand_ask *a, int fd)
{
	if (!t->hand)
		return hand_is_lost(k, t); /* meanwhile */
	if (hands_ask(k->hands, t, a, fd) != 0)
		return WAIT; /* for our end */
	t->op = a->op;
	return to(t, TAKING_HAND);
}

/* Until it has a hand: what its step is to return. True: it has one. */
static bool with_hand(struct keeper *k, struct taking *t, enum next *n)
{
	struct hand_ask a = {.op = HAND_BEGIN};
	enum taking_step step = t->step;
	enum hands_got got;

	if (t->hand)
		return true;
	got = hands_take(k->hands, t, owner_of(t));
	if (got == HANDS_STUCK)
		*n = hangs(k, t);
	else if (got == HANDS_BUSY)
		*n = pause_for(t, WAIT_HAND_NS, step);
	else
		*n = ask_hand(k, t, &a, t->file);
	t->after_pause = step;
	return false;
}

static enum next on_begun(struct keeper *k, struct taking *t)
{
	if (t->answer.error)
		return fail(k, t, "no_memory", "%s; it is tried again", strerror(t->answer.error));
	return to(t, t->after_pause);
}

/* --- messages ---------------------------------------------------------------------- */

static void wire_handle(const struct amp_handle *h, Amp__Handle *wire, Amp__Handle **at)
{
	if (h->size == 0 || amp_handle_is_stand_in(h))
		return;
	amp_handle_to_wire(h, wire);
	*at = wire;
}

/* False: there is nobody to ask; the next link asks again. */
static bool ask_open(struct keeper *k, struct taking *t, const struct amp_handle *file,
		     const struct amp_handle *directory)
{
	Amp__Open o = AMP__OPEN__INIT;
	Amp__Handle f, d;

	if (!k->link)
		return false;
	o.fsid = t->entry->file.fsid;
	if (file)
		wire_handle(file, &f, &o.file);
	if (directory)
		wire_handle(directory, &d, &o.directory);
	t->asked = ++k->serials;
	t->due_ns = amp_clock_monotonic() + ANSWER_NS;
	say_scand(k, AMP_MSG_OPEN, t->asked, message_copy(&o.base), false);
	return true;
}

static bool ask_kill(struct keeper *k, struct taking *t)
{
	const struct entry *e = t->entry;
	Amp__KillAgain m = AMP__KILL_AGAIN__INIT;
	Amp__Identity wire = AMP__IDENTITY__INIT;
	Amp__Handle handle;
	struct amp_identity now;

	if (!k->link || t->file < 0 || amp_statx_identity(t->file, "", AT_EMPTY_PATH, &now) != 0)
		return false;
	m.detection_id = (char *)(uintptr_t)e->detection_id;
	m.fsid = e->file.fsid;
	amp_handle_to_wire(&e->file.handle, &handle);
	m.handle = &handle;
	m.sha256.data = (uint8_t *)(uintptr_t)e->sha256;
	m.sha256.len = AMP_SHA256_SIZE;
	amp_identity_to_wire(&now, &wire);
	m.identity = &wire;
	m.detection = (char *)(uintptr_t)e->detection;
	if (e->name_count > 0 && e->names[0].path) {
		m.path.data = (uint8_t *)e->names[0].path;
		m.path.len = e->names[0].path_size;
		m.path_unresolved = e->names[0].unresolved;
	}
	t->asked = ++k->serials;
	t->due_ns = amp_clock_monotonic() + KILL_NS;
	say_scand(k, AMP_MSG_KILL_AGAIN, t->asked, message_copy(&m.base), false);
	return true;
}

static void ask_judge(struct keeper *k, const struct entry *e)
{
	Amp__JudgeAgain m = AMP__JUDGE_AGAIN__INIT;
	Amp__Handle handle;

	amp_handle_to_wire(&e->file.handle, &handle);
	m.fsid = e->file.fsid;
	m.handle = &handle;
	if (e->name_count > 0 && e->names[0].path && !e->names[0].unresolved) {
		m.path.data = (uint8_t *)e->names[0].path;
		m.path.len = e->names[0].path_size;
	}
	say_scand(k, AMP_MSG_JUDGE_AGAIN, 0, message_copy(&m.base), false);
}

void taking_link_changed(struct taking *t)
{
	if (t->asked) /* its step asks again */
		t->due_ns = 0;
	t->asked = 0;
}

/* Before they are taken away for good it is seen that a name is there again: by the inode's links. */
void taking_joined(struct keeper *k, const char *entry_id)
{
	struct taking *t;

	LIST_FOREACH(t, &k->active, link)
	if (t->step == TAKING_KILL && strcmp(t->entry->id, entry_id) == 0)
		t->joined = true;
}

bool taking_killed(struct taking *t, uint64_t id)
{
	if (t->asked != id || (t->step != TAKING_RUNNING && t->step != TAKING_KILL))
		return false;
	t->asked = 0;
	t->due_ns = -1; /* answered */
	return true;
}

/* --- opening -------------------------------------------------------------------------- */

static enum next on_begin(struct keeper *k, struct taking *t)
{
	if (t->entry->state == ENTRY_INTENT && !vault_has_room(k->vault, SPARE_BYTES))
		return fail(k, t, "no_space",
			    "less than %u %% of the vault's file system would be left; make space: it is "
			    "tried again by itself",
			    VAULT_KEEP_FREE);
	return to(t, TAKING_OPEN);
}

/* Its last component: an event by descriptor has a path only. NULL: not known. */
static const char *name_of(const struct entry_name *n)
{
	const char *slash = n->path && !n->unresolved ? memrchr(n->path, '/', n->path_size) : NULL;

	if (n->name)
		return n->name;
	return slash && slash[1] && strlen(slash + 1) <= AMP_NAME_MAX ? slash + 1 : NULL;
}

/* The directory of a name's path. -1 and errno. */
static int directory_by_path(const struct entry_name *n)
{
	const char *slash = n->path ? memrchr(n->path, '/', n->path_size) : NULL;

	if (!slash || n->unresolved) {
		errno = ENOENT;
		return -1;
	}
	return place_directory(slash == n->path ? "/" : n->path,
			       slash == n->path ? 1 : (size_t)(slash - n->path));
}

/*
 * Where no handle leads to the file, its name may. Nothing but a regular file is
 * opened for reading. -1 and errno: ESTALE, the name leads elsewhere by now.
 */
static int file_by_name(const struct taking *t, int directory)
{
	const struct entry *e = t->entry;
	const char *name = e->name_count ? name_of(&e->names[0]) : NULL;
	struct amp_handle there;
	char link[32];
	int path_fd, fd = -1, error = ESTALE;

	path_fd = name ? openat(directory, name, O_PATH | O_NOFOLLOW | O_CLOEXEC) : -1;
	if (path_fd < 0) {
		errno = name ? errno : ENOENT;
		return -1;
	}
	snprintf(link, sizeof(link), "/proc/self/fd/%d", path_fd);
	if (amp_handle_of_fd(path_fd, &there) == 0 && amp_handle_equal(&there, &e->file.handle)) {
		fd = open(link, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
		error = errno;
	}
	close(path_fd);
	errno = error;
	return fd;
}

static bool means_gone(int error)
{
	return error == ENOENT || error == ENOTDIR || error == ELOOP || error == ESTALE;
}

static enum next after_open(struct keeper *k, struct taking *t);

static enum next open_without_handle(struct keeper *k, struct taking *t)
{
	const struct entry *e = t->entry;

	t->file = keeper_fd_take(k, e->id);
	errno = ENOENT;
	if (e->name_count > 0)
		t->directory = directory_by_path(&e->names[0]);
	if (t->file < 0 && t->directory >= 0)
		t->file = file_by_name(t, t->directory);
	if (t->file < 0 && !means_gone(errno))
		return fail(k, t, "busy", "it cannot be opened: %s; it is tried again", strerror(errno));
	return after_open(k, t);
}

static enum next on_open(struct keeper *k, struct taking *t)
{
	const struct entry *e = t->entry;

	if (amp_handle_is_stand_in(&e->file.handle))
		return open_without_handle(k, t);
	if (t->asked)
		return amp_clock_monotonic() < t->due_ns
			       ? WAIT
			       : fail(k, t, "no_answer", "it could not be opened in time; it is tried again");
	ask_open(k, t, &e->file.handle, e->name_count ? &e->names[0].directory : NULL);
	return WAIT;
}

/* Is it the inode that was judged? A handle means a file within one file system only. */
static bool is_the_file(const struct taking *t, struct stat *st)
{
	struct amp_handle h;

	return fstat(t->file, st) == 0 && S_ISREG(st->st_mode) && amp_handle_of_fd(t->file, &h) == 0 &&
	       amp_handle_equal(&h, &t->entry->file.handle) &&
	       superblock_is(t->file, &h, t->entry->file.fsid);
}

static int64_t mtime_of(const struct stat *st)
{
	return st->st_mtim.tv_sec * AMP_NS_PER_SEC + st->st_mtim.tv_nsec;
}

static bool as_copied(const struct entry *e, const struct stat *st)
{
	return (uint64_t)st->st_size == e->size && mtime_of(st) == e->mtime_ns;
}

/* Of one that is in the vault already: what is left of it where it was? */
static enum next go_on_copied(struct taking *t, const struct stat *st)
{
	if (as_copied(t->entry, st) || (st->st_size == 0 && t->entry->size > 0))
		return to(t, TAKING_NAMES);
	return to(t, TAKING_COPY);
}

static enum next file_is_gone(struct keeper *k, struct taking *t)
{
	amp_counter_add(&count_gone, 1);
	if (t->entry->state != ENTRY_COPIED)
		return nothing_there(k, t, NOTHING_TO_DO);
	retain_row(k, t->entry);
	return to(t, TAKING_NAMES); /* private directories may be left */
}

static enum next after_open(struct keeper *k, struct taking *t)
{
	const struct entry *e = t->entry;
	struct stat st;

	if (t->file < 0)
		return file_is_gone(k, t);
	if (!is_the_file(t, &st))
		return fail(k, t, "other_file", "another file was opened in its place; it is tried again");
	t->nameless = st.st_nlink == 0;
	layers_refresh(k->layers);
	if (e->state == ENTRY_COPIED && !t->reread)
		return go_on_copied(t, &st);
	return to(t, TAKING_COPY);
}

static enum next on_answer(struct keeper *k, struct taking *t, const Amp__Opened *o)
{
	if (o->file == AMP__OPENED__STATUS__OK || o->file == AMP__OPENED__STATUS__GONE)
		return after_open(k, t);
	/* Also somebody who renames things in a loop makes an open fail for a moment. */
	if (o->file == AMP__OPENED__STATUS__BUSY && t->busy++ < BUSY_TRIES)
		return pause_for(t, (50 * AMP_NS_PER_MS) << t->busy, TAKING_OPEN);
	if (o->file == AMP__OPENED__STATUS__BUSY)
		return fail(k, t, "busy",
			    "it is in use (a lease, or a device that does not answer); it is "
			    "tried again");
	return fail(k, t, "unreadable", "it cannot be opened: %s; it is tried again", strerror(o->error));
}

static enum next with_directory(struct keeper *k, struct taking *t);

/* A path that was not known whole (it may be beyond PATH_MAX) is once its directory is open. */
static void learn_path(struct taking *t, const ProtobufCBinaryData *dir)
{
	struct entry_name *n = t->entry->name_count ? &t->entry->names[0] : NULL;
	size_t size = n && n->name ? dir->len + 1 + strlen(n->name) : 0;
	char *path;

	if (t->entry->state != ENTRY_INTENT || !size || dir->len == 0 || size > AMP_PATH_MAX ||
	    (n->path && !n->unresolved) || !(path = malloc(size + 1)))
		return;
	memcpy(path, dir->data, dir->len);
	snprintf(path + dir->len, size + 1 - dir->len, "/%s", n->name);
	free(n->path);
	n->path = path;
	n->path_size = size;
	n->unresolved = false;
	t->learned_path = true;
}

bool taking_opened(struct keeper *k, struct taking *t, struct request *r)
{
	const Amp__Opened *o = (const Amp__Opened *)r->body;

	if (t->asked != r->id || (t->step != TAKING_OPEN && t->step != TAKING_NAME))
		return false;
	t->asked = 0;
	close_fd(&t->directory);
	t->directory = r->fds[1];
	r->fds[1] = -1;
	if (t->step == TAKING_NAME) {
		with_directory(k, t);
		return true;
	}
	close_fd(&t->file);
	t->file = r->fds[0];
	r->fds[0] = -1;
	learn_path(t, &o->directory_path);
	on_answer(k, t, o);
	return true;
}

/* --- copying ------------------------------------------------------------------------------ */

static enum next no_room(struct keeper *k, struct taking *t)
{
	return fail(
		k, t, "no_space",
		"its copy would leave less than %u %% of the vault's file system; make space: it is tried "
		"again by itself",
		VAULT_KEEP_FREE);
}

static enum next copy_failed(struct keeper *k, struct taking *t, int error)
{
	copy_free(t->copy);
	t->copy = NULL;
	if (error == ENOSPC || error == EDQUOT || error == EFBIG)
		return no_room(k, t);
	return fail(k, t, "unreadable", "it cannot be copied: %s; it is tried again", strerror(error));
}

/* Of the copies in hand beside it. */
static uint64_t promised(const struct keeper *k)
{
	const struct taking *t;
	uint64_t sum = 0;

	LIST_FOREACH(t, &k->active, link)
	if (t->copy || t->step == TAKING_COPIED)
		sum += t->room;
	return sum;
}

/*
 * Content of another size is other content. To say so by its hash may take days:
 * anybody who may write the file can make it as large as its file system permits.
 */
static bool has_other_size(struct keeper *k, const struct entry *e, uint64_t size)
{
	Amp__Take *judged;
	bool other;

	if (e->state == ENTRY_COPIED)
		return size != e->size;
	judged = store_detection(k->store, e->detection_id);
	other = judged && judged->identity && judged->identity->size != size;
	if (judged)
		amp__take__free_unpacked(judged, NULL);
	return other;
}

static enum next is_other(struct keeper *k, struct taking *t);

static enum next begin_copy(struct keeper *k, struct taking *t)
{
	uint64_t size, others = promised(k);
	struct stat st;

	if (fstat(t->file, &st) != 0)
		return copy_failed(k, t, errno);
	if (has_other_size(k, t->entry, (uint64_t)st.st_size))
		return is_other(k, t);
	/* Holes take no room, nor do they here. */
	size = (uint64_t)st.st_blocks * 512 < (uint64_t)st.st_size ? (uint64_t)st.st_blocks * 512
								   : (uint64_t)st.st_size;
	t->room = size + size / 1000 + SPARE_BYTES;
	if (others &&
	    (!vault_has_room(k->vault, t->room + others) || k->stored + size + others > k->config.max_size))
		return pause_for(t, WAIT_ROOM_NS, TAKING_COPY);
	if (!vault_has_room(k->vault, t->room))
		return no_room(k, t);
	if (k->stored + size > k->config.max_size)
		return fail(
			k, t, "vault_full",
			"the vault has %llu bytes of quarantine_max_size %llu; delete entries or raise it",
			(unsigned long long)k->stored, (unsigned long long)k->config.max_size);
	t->copy = copy_new(k->vault, t->file, t->entry);
	return t->copy ? GO_ON : copy_failed(k, t, errno);
}

static enum next copied(struct keeper *k, struct taking *t)
{
	struct entry *e = t->entry;

	t->stored_before = e->state == ENTRY_COPIED ? e->stored : 0;
	copy_result(t->copy, e);
	copy_free(t->copy);
	t->copy = NULL;
	t->reread = false;
	if (!keeper_begin(k))
		return WAIT;
	k->sync_vault = true;
	if (keeper_did(k, store_copied(k->store, e)) && t->learned_path)
		keeper_did(k, store_name_path(k->store, e->id, e->names[0].path, e->names[0].path_size));
	t->committing = true;
	t->step = TAKING_COPIED;
	return WAIT;
}

/* The content is not what was convicted: that one is gone, and this one is to be judged. */
static enum next is_other(struct keeper *k, struct taking *t)
{
	amp_counter_add(&count_other, 1);
	ask_judge(k, t->entry);
	if (t->entry->state != ENTRY_COPIED)
		return nothing_there(k, t,
				     "its content had changed before it could be taken; it is judged again");
	note(t, "the file has other content now and was left");
	let_names_go(k, t);
	close_fd(&t->file);
	return to(t, TAKING_NAMES); /* what was captured goes back */
}

static enum next is_unstable(struct keeper *k, struct taking *t)
{
	if (++t->changes < KEEPER_CHANGES_MAX)
		return pause_for(t, (50 * AMP_NS_PER_MS) << (2 * t->changes), TAKING_COPY);
	ask_judge(k, t->entry);
	return fail(k, t, "changing", "its content changes while it is copied; it is judged and tried again");
}

static enum next after_copy(struct keeper *k, struct taking *t, enum copy_outcome o)
{
	if (o == COPY_GOES_ON) {
		to(t, TAKING_COPY);
		return AGAIN;
	}
	if (o == COPY_DONE)
		return copied(k, t);
	if (o == COPY_FAILED)
		return copy_failed(k, t, errno);
	copy_free(t->copy);
	t->copy = NULL;
	return o == COPY_OTHER ? is_other(k, t) : is_unstable(k, t);
}

static enum next on_copy(struct keeper *k, struct taking *t)
{
	struct hand_ask a = {.op = HAND_READ};
	enum next n = GO_ON;

	if (!with_hand(k, t, &n))
		return n;
	if (!t->copy)
		n = begin_copy(k, t);
	if (!t->copy)
		return n;
	if (copy_wants(t->copy, &a.at, &a.end))
		return ask_hand(k, t, &a, -1);
	return after_copy(k, t, copy_finish(t->copy));
}

static enum next on_read(struct keeper *k, struct taking *t)
{
	const struct hand_answer *a = &t->answer;

	if (a->error)
		return copy_failed(k, t, a->error);
	return after_copy(k, t, copy_add(t->copy, a->hole, hands_data(t), a->data));
}

/* --- names --------------------------------------------------------------------------------- */

/* True: the directory at hand lies in a layer of an overlay. */
static bool in_a_layer(const struct keeper *k, const struct taking *t, const struct entry_name *n)
{
	const char *slash = n && n->path ? memrchr(n->path, '/', n->path_size) : NULL;
	char *dir = slash ? strndup(n->path, (size_t)(slash - n->path)) : NULL;
	bool yes = t->directory >= 0 && layers_contain(k->layers, t->directory, dir);

	free(dir);
	return yes;
}

/* One name, its directory at hand (or not to be had). */
static enum next with_directory(struct keeper *k, struct taking *t)
{
	struct hand_ask a = {.op = HAND_NAME};

	if (t->directory < 0) { /* gone, and the name with it */
		t->name++;
		return to(t, TAKING_NAMES);
	}
	snprintf(a.name, sizeof(a.name), "%s", name_of(&t->entry->names[t->name]));
	return ask_hand(k, t, &a, t->directory);
}

static enum next on_named(struct keeper *k, struct taking *t)
{
	const struct hand_answer *a = &t->answer;

	if (t->file < 0 && a->error) {
		amp_warn("entry %s: its private directory stays: %s", t->entry->id, strerror(a->error));
	} else if (t->file >= 0) {
		t->captured = a->count;
		if (a->error || a->outcome == NAME_FAILED) {
			t->refused_names++;
		} else {
			t->layer |= in_a_layer(k, t, &t->entry->names[t->name]);
			step("captured");
		}
	}
	t->name++;
	close_fd(&t->directory);
	return to(t, TAKING_NAMES);
}

/* Names and detections may have come since the entry was taken in hand. */
static bool read_again(struct keeper *k, struct taking *t)
{
	struct entry *now = NULL;

	if (store_find(k->store, t->entry->id, &now) != AMP_DB_OK || !now)
		return false;
	now->mtime_ns = t->entry->mtime_ns;
	now->size = t->entry->size;
	entry_free(t->entry);
	t->entry = now;
	return true;
}

/* True: there are names to capture. */
static bool more_names(struct keeper *k, struct taking *t)
{
	return read_again(k, t) && t->name < t->entry->name_count;
}

static enum next on_names(struct keeper *k, struct taking *t)
{
	const struct entry_name *n;
	enum next next = GO_ON;

	if (!with_hand(k, t, &next))
		return next;
	if (t->name >= t->entry->name_count && !more_names(k, t)) {
		if (t->file >= 0)
			return to(t, TAKING_EMPTY);
		let_names_go(k, t); /* there are none */
		return to(t, TAKING_KILL);
	}
	n = &t->entry->names[t->name];
	if (!name_of(n)) {
		t->name++;
		return GO_ON;
	}
	if (t->directory >= 0) /* the first name's came with the file */
		return with_directory(k, t);
	return to(t, TAKING_NAME);
}

static enum next on_name(struct keeper *k, struct taking *t)
{
	const struct entry_name *n = &t->entry->names[t->name];

	if (n->directory.size == 0 || amp_handle_is_stand_in(&n->directory)) {
		t->directory = directory_by_path(n);
		return with_directory(k, t);
	}
	if (!t->asked)
		ask_open(k, t, NULL, &n->directory);
	else if (amp_clock_monotonic() >= t->due_ns)
		return fail(k, t, "no_answer",
			    "its directory could not be opened in time; it is tried again");
	return WAIT;
}

/* --- the inode ------------------------------------------------------------------------------- */

static enum next copy_anew(struct keeper *k, struct taking *t)
{
	let_names_go(k, t);
	t->name = 0;
	t->refused_names = 0;
	t->reread = true;
	t->changes++;
	return to(t, TAKING_COPY);
}

static void note_links(struct taking *t)
{
	uint64_t left = t->links > t->captured ? t->links - t->captured : 0;

	amp_counter_add(&count_emptied, 1);
	if (left > 0)
		note(t, "emptied in place: %llu other links lead to it", (unsigned long long)left);
	else if (t->layer)
		note(t, "emptied in place: it lies in a layer of an overlay");
	else if (t->nameless)
		note(t, "emptied in place: it had no name");
	else
		note(t, "emptied in place");
}

static enum next remove_names(struct keeper *k, struct taking *t, enum neutral_outcome why_not, int error)
{
	struct hand_ask a = {.op = HAND_REMOVE, .relock = why_not != NEUTRAL_DONE};

	t->not_emptied = why_not;
	t->not_emptied_error = error;
	return ask_hand(k, t, &a, -1);
}

/* What could be done stays done: the copy is in the vault. */
static enum next not_emptied(struct keeper *k, struct taking *t, size_t gone)
{
	static const char *const codes[] = {
		[NEUTRAL_RUNNING] = "running",	   [NEUTRAL_LEASED] = "leased",
		[NEUTRAL_READ_ONLY] = "read_only", [NEUTRAL_IMMUTABLE] = "immutable",
		[NEUTRAL_FAILED] = "failed",
	};
	enum neutral_outcome o = t->not_emptied;

	return fail(k, t, codes[o], "%s (%zu of its names were removed, a copy is in the vault)",
		    o == NEUTRAL_FAILED ? strerror(t->not_emptied_error) : neutral_text(o), gone);
}

static enum next on_removed(struct keeper *k, struct taking *t)
{
	size_t stay = t->answer.count, captured = t->captured;

	if (t->answer.error)
		return fail(k, t, "failed", "%s; it is tried again", strerror(t->answer.error));
	t->captured = 0;
	t->removed += captured > stay ? captured - stay : 0;
	step("removed");
	if (t->not_emptied != NEUTRAL_DONE)
		return not_emptied(k, t, captured);
	if (stay > 0)
		return fail(k, t, "name_stays", "%zu of its names cannot be removed; it is tried again",
			    stay);
	return to(t, TAKING_KILL);
}

static enum next on_empty(struct keeper *k, struct taking *t)
{
	struct hand_ask a = {.op = HAND_EMPTY};
	struct stat st;

	if (fstat(t->file, &st) != 0)
		return fail(k, t, "unreadable", "%s; it is tried again", strerror(errno));
	/* Who has it open reads on, and can run it. */
	t->nameless |= st.st_nlink == 0 && t->removed == 0;
	if (!as_copied(t->entry, &st) && st.st_size > 0)
		return t->changes < KEEPER_CHANGES_MAX ? copy_anew(k, t) : is_unstable(k, t);
	t->links = st.st_nlink;
	if (st.st_size == 0 || (!t->layer && !t->nameless && !t->refused_names && st.st_nlink == t->captured))
		return remove_names(k, t, NEUTRAL_DONE, 0);
	return ask_hand(k, t, &a, -1);
}

static enum next on_emptied(struct keeper *k, struct taking *t)
{
	enum neutral_outcome o = t->answer.error && t->answer.outcome == NEUTRAL_DONE
					 ? NEUTRAL_FAILED
					 : (enum neutral_outcome)t->answer.outcome;

	if (o == NEUTRAL_DONE) {
		step("emptied");
		note_links(t);
		return remove_names(k, t, o, 0);
	}
	if (o == NEUTRAL_RUNNING && t->kills++ < KILLS_MAX)
		return to(t, TAKING_RUNNING);
	return remove_names(k, t, o, t->answer.error);
}

/* It runs still, or again: killed once more, then the emptying is tried again. */
static enum next on_running(struct keeper *k, struct taking *t)
{
	if (t->due_ns == -1) /* answered: a process that dies takes a moment */
		return pause_for(t, (10 * AMP_NS_PER_MS) << t->kills, TAKING_EMPTY);
	if (t->asked)
		return amp_clock_monotonic() < t->due_ns ? WAIT : to(t, TAKING_EMPTY);
	ask_kill(k, t);
	return WAIT;
}

/* The pass after the taking: what was started from it meanwhile. */
static enum next on_kill(struct keeper *k, struct taking *t)
{
	if (t->file < 0 || t->due_ns == -1)
		return done(k, t);
	if (t->asked)
		return amp_clock_monotonic() < t->due_ns ? WAIT : done(k, t);
	if (!ask_kill(k, t) && k->link)
		return done(k, t);
	return WAIT;
}

static enum next on_wait(struct keeper *k, struct taking *t)
{
	(void)k;
	(void)t;
	return WAIT;
}

static enum next (*const answers[HAND_OPS])(struct keeper *k, struct taking *t) = {
	[HAND_BEGIN] = on_begun,   [HAND_READ] = on_read,      [HAND_NAME] = on_named,
	[HAND_EMPTY] = on_emptied, [HAND_REMOVE] = on_removed,
};

static enum next on_hand(struct keeper *k, struct taking *t)
{
	if (t->answered) {
		t->answered = false;
		return answers[t->op](k, t);
	}
	return t->hand ? WAIT : hand_is_lost(k, t);
}

static enum next (*const steps[])(struct keeper *k, struct taking *t) = {
	[TAKING_BEGIN] = on_begin, [TAKING_OPEN] = on_open,	  [TAKING_COPY] = on_copy,
	[TAKING_COPIED] = on_wait, [TAKING_NAMES] = on_names,	  [TAKING_NAME] = on_name,
	[TAKING_EMPTY] = on_empty, [TAKING_RUNNING] = on_running, [TAKING_KILL] = on_kill,
	[TAKING_OVER] = on_wait,   [TAKING_PAUSE] = on_pause,	  [TAKING_HAND] = on_hand,
};

bool taking_run(struct keeper *k, struct taking *t)
{
	enum next n = GO_ON;

	while (n == GO_ON && !t->committing && !t->over)
		n = steps[t->step](k, t);
	return n == AGAIN;
}
