/*
 * ampquard/keeper.c - rounds and transactions of the keeper.
 *
 * Owns: opening vault and database (and opening them again), choosing the
 * entries in hand, one transaction a job with everything said only after it,
 * retention, the sweep at start. Must not own: the way of one file
 * (taking.c, restore.c).
 *
 * A transaction that fails is as a crash: what is in hand is let go of, and
 * begins again from what the database says.
 */
#include "quard.h"

#include "clock.h"
#include "counter.h"
#include "log.h"
#include "step.h"
#include "text.h"

#include "proto/types.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define TRY_OPEN_NS  (2 * AMP_NS_PER_SEC)
#define DAY_NS	     (86400 * AMP_NS_PER_SEC)
#define RESERVE_SIZE ((size_t)1 << 20)
#define BATCH	     32U

static struct amp_counter count_taken = AMP_COUNTER("quarantine.requests", false);
static struct amp_counter count_allowed = AMP_COUNTER("quarantine.restored_left", false);
static struct amp_counter count_unasked = AMP_COUNTER("quarantine.unasked_answer", false);
static struct amp_counter count_expired = AMP_COUNTER("quarantine.expired", false);
static struct amp_counter count_adopted = AMP_COUNTER("quarantine.adopted", false);
static struct amp_counter count_aside = AMP_COUNTER("quarantine.databases_set_aside", true);

/* --- what is to be said ---------------------------------------------------- */

struct effect *effect_new(enum effect_to to)
{
	struct effect *e = calloc(1, sizeof(*e));

	if (e)
		e->to = to;
	return e;
}

void effect_free(struct effect *e)
{
	if (e->body)
		protobuf_c_message_free_unpacked(e->body, NULL);
	free(e);
}

static void drop_effects(struct effects *list)
{
	struct effect *e;

	while ((e = STAILQ_FIRST(list))) {
		STAILQ_REMOVE_HEAD(list, link);
		effect_free(e);
	}
}

static void say(struct keeper *k, struct effect *e, bool after_commit)
{
	if (after_commit && k->in_transaction)
		STAILQ_INSERT_TAIL(&k->after_commit, e, link);
	else
		STAILQ_INSERT_TAIL(&k->effects, e, link);
}

ProtobufCMessage *message_copy(const ProtobufCMessage *m)
{
	size_t n = protobuf_c_message_get_packed_size(m);
	uint8_t *buf = malloc(n ? n : 1);
	ProtobufCMessage *copy;

	if (!buf)
		return NULL;
	protobuf_c_message_pack(m, buf);
	copy = protobuf_c_message_unpack(m->descriptor, NULL, n, buf);
	free(buf);
	return copy;
}

void say_scand(struct keeper *k, uint16_t type, uint64_t id, ProtobufCMessage *body, bool after_commit)
{
	struct effect *e = body && k->link ? effect_new(EFFECT_SCAND) : NULL;

	if (!e) {
		if (body)
			protobuf_c_message_free_unpacked(body, NULL);
		return; /* whoever waits asks again on the next link */
	}
	e->type = type;
	e->id = id;
	e->serial = k->link;
	e->body = body;
	say(k, e, after_commit);
}

void say_client(struct keeper *k, const struct request *r, uint16_t type, ProtobufCMessage *body,
		bool after_commit)
{
	struct effect *e = body ? effect_new(EFFECT_CLIENT) : NULL;

	if (!e) {
		if (body)
			protobuf_c_message_free_unpacked(body, NULL);
		return;
	}
	e->type = type;
	e->id = r->id;
	e->serial = r->serial;
	e->body = body;
	say(k, e, after_commit);
}

void say_error(struct keeper *k, const struct request *r, int code, const char *fmt, ...)
{
	struct effect *e = effect_new(EFFECT_ERROR);
	char text[sizeof(e->text)];
	va_list ap;

	if (!e)
		return;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	amp_text_escape(text, strlen(text), e->text, sizeof(e->text));
	e->code = code;
	e->id = r->id;
	e->serial = r->serial;
	say(k, e, false);
}

void say_fault(struct keeper *k, enum amp_fault_number n, bool raised, const char *text)
{
	struct effect *e = effect_new(EFFECT_FAULT);

	if (!e)
		return;
	e->fault = n;
	e->raised = raised;
	amp_text_escape(text, strlen(text), e->text, sizeof(e->text));
	say(k, e, false);
}

/* --- vault and database ------------------------------------------------------- */

static void vault_fault(struct keeper *k, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void vault_fault(struct keeper *k, const char *fmt, ...)
{
	char text[400];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	if (!k->fault_vault)
		amp_error("%s", text);
	k->fault_vault = true;
	say_fault(k, AMP_FAULT_VAULT, true, text);
}

bool keeper_ready(const struct keeper *k)
{
	return k->vault && store_is_open(k->store);
}

static bool open_database(struct keeper *k)
{
	bool was_broken = false;
	enum amp_db_error error;

	if (store_is_open(k->store))
		return true;
	error = store_open(k->store, &was_broken);
	if (was_broken) {
		amp_counter_add(&count_aside, 1);
		amp_error("quarantine.db was damaged and is set aside; what the vault holds is entered anew");
	}
	if (error != AMP_DB_OK) {
		vault_fault(k, "%s/quarantine.db cannot be opened: %s", k->config.data_dir,
			    store_why(k->store));
		return false;
	}
	/* Not who saw it go, the database itself says so: also after a death in between. */
	k->recovering = store_is_new(k->store);
	return true;
}

/* A vault file without a row: of an entry that was deleted, or the database was lost. */
static void adopt(struct keeper *k, const char *id, uint64_t bytes)
{
	enum vault_answer why;
	struct vault_reader *r = vault_read(k->vault, id, &why);
	const Amp__VaultMeta *m = r ? vault_reader_meta(r) : NULL;
	Amp__Take t = AMP__TAKE__INIT;
	Amp__Identity identity = AMP__IDENTITY__INIT;
	struct entry e = {0};
	enum store_take what;
	char new_id[VAULT_ID_SIZE];

	if (!m) {
		amp_error("vault file %s.q has no row and cannot be read; it is left alone", id);
		return;
	}
	t.detection_id = m->detection_id;
	t.fsid = m->fsid;
	t.handle = m->handle;
	t.sha256 = m->sha256;
	t.identity = &identity;
	t.detection = m->detection;
	t.path = m->path;
	t.path_unresolved = m->path_unresolved;
	t.name = m->name;
	t.time_ns = m->taken_ns;
	t.cause = (char *)(uintptr_t) "recovered";
	if (store_take_unsound(&t)) {
		amp_error("vault file %s.q has no row and a bad %s; it is left alone", id,
			  store_take_unsound(&t));
		vault_reader_free(r);
		return;
	}
	snprintf(e.id, sizeof(e.id), "%s", id);
	e.size = m->size;
	e.stored = bytes;
	e.uid = m->uid;
	e.gid = m->gid;
	e.mode = m->mode;
	e.nlink = m->nlink;
	e.mtime_ns = m->mtime_s * AMP_NS_PER_SEC + m->mtime_ns;
	if (keeper_begin(k) && keeper_did(k, store_adopt(k->store, &t, id, new_id, &what)) &&
	    what == TAKE_NEW && keeper_did(k, store_copied(k->store, &e)) &&
	    keeper_did(k, store_done(k->store, id, m->taken_ns, "entered anew after the database was lost")))
		amp_counter_add(&count_adopted, 1);
	vault_reader_free(r);
}

/* Deleted, and its row went first. What cannot be read may be another key's: it is not ours to delete. */
static void remove_rowless(struct keeper *k, const char *id)
{
	enum vault_answer why;
	struct vault_reader *r = vault_read(k->vault, id, &why);

	if (r)
		vault_remove(k->vault, id);
	else
		amp_error("vault file %s.q has no row and cannot be read; it is left alone", id);
	vault_reader_free(r);
}

static void sweep_one(const char *id, uint64_t bytes, void *arg)
{
	struct keeper *k = arg;
	struct entry *e = NULL;

	if (store_find(k->store, id, &e) != AMP_DB_OK)
		return;
	if (!e && k->recovering)
		adopt(k, id, bytes);
	else if (!e)
		remove_rowless(k, id);
	entry_free(e);
}

static void learn_totals(struct keeper *k)
{
	uint64_t entries, unfinished;

	if (store_totals(k->store, &entries, &unfinished, &k->stored) != AMP_DB_OK)
		k->stored = 0;
}

/* What the damaged database knew beside the vault (what was restored, and is allowed) is not known now:
 * that is said until somebody has looked and taken the file away. */
static void say_aside(struct keeper *k)
{
	char file[4300], text[400] = "";
	bool left = store_aside_left(k->store, file, sizeof(file));

	if (left == k->fault_aside)
		return;
	if (left)
		snprintf(text, sizeof(text),
			 "quarantine.db was damaged: it is in %.200s beside it, its entries were made anew "
			 "from the vault; restored content is no longer known as such; remove that file to "
			 "clear this",
			 strrchr(file, '/') ? strrchr(file, '/') + 1 : file);
	say_fault(k, AMP_FAULT_DATABASE_BROKEN, left, text);
	k->fault_aside = left;
}

/* Opens what is not open. False: not now. */
static bool open_all(struct keeper *k)
{
	char err[400];
	int64_t now = amp_clock_monotonic();

	if (keeper_ready(k) && !k->recovering)
		return true;
	if (now < k->try_open_ns)
		return false;
	k->try_open_ns = now + TRY_OPEN_NS;
	if (!k->vault) {
		k->vault = vault_open(k->config.data_dir, err, sizeof(err));
		if (!k->vault) {
			vault_fault(k, "%s", err);
			return false;
		}
	}
	if (!open_database(k))
		return false;
	k->spoiled = false;
	if (vault_each(k->vault, sweep_one, k) != 0)
		amp_warn("the vault's directory cannot be read: %s", strerror(errno));
	keeper_settle(k);
	if (k->recovering && k->spoiled)
		return false; /* nothing else may be entered before what the vault holds */
	k->recovering = false;
	say_aside(k);
	learn_totals(k);
	if (!k->reports_loaded)
		report_load(k);
	k->reports_loaded = true;
	k->more = true;
	if (k->fault_vault)
		say_fault(k, AMP_FAULT_VAULT, false, "");
	k->fault_vault = false;
	k->cut_short = true;
	restore_conclude(k);
	restore_tell_all(k);
	return true;
}

bool keeper_begin(struct keeper *k)
{
	enum amp_db_error error;

	if (k->in_transaction)
		return !k->spoiled;
	if (!keeper_ready(k))
		return false;
	error = store_begin(k->store);
	k->in_transaction = true;
	k->spoiled = false;
	return keeper_did(k, error);
}

bool keeper_did(struct keeper *k, enum amp_db_error error)
{
	if (error == AMP_DB_OK)
		return true;
	k->spoiled = true;
	vault_fault(k, "%s/quarantine.db: %s%s", k->config.data_dir, store_why(k->store),
		    error == AMP_DB_FULL ? "; make space on its file system" : "");
	if (error == AMP_DB_FULL)
		store_release_reserve(k->store);
	else if (error == AMP_DB_BROKEN && !store_ill_row(k->store) && store_set_aside(k->store) == 0)
		k->recovering = true;
	return false;
}

static void waiting_committed(struct keeper *k, bool done);
static void reported_committed(struct keeper *k, bool done);

static void let_all_go(struct keeper *k)
{
	struct taking *t;

	while ((t = LIST_FIRST(&k->active)))
		taking_free(k, t);
	for (size_t i = 0; i < KEEPER_FDS; i++) {
		if (k->fds[i].id[0])
			close(k->fds[i].fd);
		k->fds[i].id[0] = '\0';
	}
	k->cursor = 0;
	k->more = true;
}

static bool commit(struct keeper *k)
{
	if (k->spoiled)
		return false;
	names_sync(&k->syncs);
	if (k->sync_vault && vault_sync(k->vault) != 0) {
		vault_fault(k, "%s cannot be synced: %s", k->config.data_dir, strerror(errno));
		return false;
	}
	return keeper_did(k, store_commit(k->store));
}

bool keeper_settle(struct keeper *k)
{
	bool done;

	if (!k->in_transaction)
		return false;
	done = commit(k);
	k->in_transaction = k->sync_vault = false;
	waiting_committed(k, done);
	reported_committed(k, done);
	if (!done) {
		store_rollback(k->store);
		drop_effects(&k->after_commit);
		let_all_go(k);
		restoring_free(k);
		k->look_ns = amp_clock_monotonic() + TRY_OPEN_NS;
		k->more = false;
		return false;
	}
	STAILQ_CONCAT(&k->effects, &k->after_commit);
	for (struct taking *t = LIST_FIRST(&k->active), *next; t; t = next) {
		next = LIST_NEXT(t, link);
		if (t->committing)
			taking_committed(k, t);
		if (t->over)
			taking_free(k, t);
	}
	restoring_committed(k);
	if (k->fault_vault && store_restore_reserve(k->store)) {
		k->fault_vault = false;
		say_fault(k, AMP_FAULT_VAULT, false, "");
	}
	return true;
}

/* --- rounds ---------------------------------------------------------------------- */

static void note_failed(struct keeper *k, const struct entry *e)
{
	char path[120] = "a file without a known path";

	if (e->name_count > 0 && e->names[0].path)
		amp_text_escape(e->names[0].path, e->names[0].path_size, path, sizeof(path));
	if (k->failed++ == 0)
		snprintf(k->first_failed, sizeof(k->first_failed), "%s: %.150s", path, e->reason);
}

static void pass_is_over(struct keeper *k)
{
	char text[400];

	say_aside(k);
	k->cursor = 0;
	k->more = false;
	k->look_ns = amp_clock_monotonic() + KEEPER_LOOK_NS;
	if (k->failed > 0) {
		snprintf(text, sizeof(text), "%llu: %s", (unsigned long long)k->failed, k->first_failed);
		say_fault(k, AMP_FAULT_QUARANTINE_FAILED, true, text);
		k->fault_failed = true;
	} else if (k->fault_failed) {
		say_fault(k, AMP_FAULT_QUARANTINE_FAILED, false, "");
		k->fault_failed = false;
	}
	k->failed = 0;
}

static void waiting_free(struct waiting *w)
{
	if (w->take)
		amp__take__free_unpacked(w->take, NULL);
	if (w->fd >= 0)
		close(w->fd);
	free(w);
}

static void keep_fd(struct keeper *k, const char *id, int fd)
{
	for (size_t i = 0; i < KEEPER_FDS; i++)
		if (k->fds[i].id[0] == '\0') {
			snprintf(k->fds[i].id, sizeof(k->fds[i].id), "%s", id);
			k->fds[i].fd = fd;
			return;
		}
	close(fd); /* it is looked for by its path */
}

int keeper_fd_take(struct keeper *k, const char *entry_id)
{
	for (size_t i = 0; i < KEEPER_FDS; i++)
		if (strcmp(k->fds[i].id, entry_id) == 0) {
			k->fds[i].id[0] = '\0';
			return k->fds[i].fd;
		}
	return -1;
}

static bool enter(struct keeper *k, struct waiting *w)
{
	enum store_take what = TAKE_KNOWN;
	char id[VAULT_ID_SIZE];
	bool allowed;

	if (!keeper_begin(k) || !keeper_did(k, store_is_allowed(k->store, w->take->sha256.data, &allowed)))
		return false;
	/* An ampscand that was not told in time goes on without knowing what was restored. */
	if (allowed) {
		amp_counter_add(&count_allowed, 1);
		w->entered = true;
		return true;
	}
	if (!keeper_did(k, store_take(k->store, w->take, id, &what)))
		return false;
	if (what != TAKE_KNOWN)
		report_found(k, w->take);
	/* Its content is in the vault, but here it is again: whatever leads to it is taken too. */
	if (what == TAKE_IN_VAULT && !keeper_did(k, store_reopen(k->store, id)))
		return false;
	if (what == TAKE_JOINED)
		taking_joined(k, id);
	if (w->fd >= 0 && what != TAKE_KNOWN) {
		keep_fd(k, id, w->fd);
		w->fd = -1;
	}
	w->entered = true;
	return true;
}

static Amp__TakeAck *ack_new(size_t n)
{
	Amp__TakeAck *ack = malloc(sizeof(*ack));
	uint64_t *ids = malloc(n * sizeof(*ids));

	if (!ack || !ids) {
		free(ack);
		free(ids);
		return NULL;
	}
	amp__take_ack__init(ack);
	ack->ids = ids;
	return ack;
}

/* All that came since the last round, in one transaction. */
static void enter_waiting(struct keeper *k)
{
	struct waiting *w;
	Amp__TakeAck *ack;
	size_t n = 0;

	STAILQ_FOREACH(w, &k->waiting, link)
	n++;
	ack = n ? ack_new(n) : NULL;
	if (!ack)
		return;
	STAILQ_FOREACH(w, &k->waiting, link)
	{
		if (!enter(k, w))
			break;
		ack->ids[ack->n_ids++] = w->id;
	}
	amp_counter_add(&count_taken, ack->n_ids);
	step("intent");
	say_scand(k, AMP_MSG_TAKE_ACK, 0, &ack->base, true);
	k->more = true;
	k->cursor = 0;
	k->failed = 0;
}

static void waiting_committed(struct keeper *k, bool done)
{
	struct waiting *w, *next;

	for (w = STAILQ_FIRST(&k->waiting); w; w = next) {
		next = STAILQ_NEXT(w, link);
		if (w->entered && done) {
			STAILQ_REMOVE(&k->waiting, w, waiting, link);
			waiting_free(w);
		} else {
			w->entered = false;
		}
	}
}

/* What is lost of these is told once more, which ampcloudd knows by its uid. */
static void enter_reported(struct keeper *k)
{
	for (size_t i = 0; i < k->reported_count; i++) {
		if (!keeper_begin(k) || !keeper_did(k, store_reported(k->store, k->reported[i])))
			return;
		k->reported_entered = i + 1;
	}
}

static void reported_committed(struct keeper *k, bool done)
{
	size_t n = done ? k->reported_entered : 0;

	k->reported_entered = 0;
	k->reported_count -= n;
	if (n > 0)
		memmove(k->reported, k->reported + n, k->reported_count * sizeof(*k->reported));
}

/* Of another link: they are sent again on the one there is. */
static void waiting_drop(struct keeper *k, uint64_t link)
{
	struct waiting *w, *next;

	for (w = STAILQ_FIRST(&k->waiting); w; w = next) {
		next = STAILQ_NEXT(w, link);
		if (w->serial != link || link == 0) {
			STAILQ_REMOVE(&k->waiting, w, waiting, link);
			waiting_free(w);
		}
	}
}

/* Takes an entry in hand, unless it waits. e is taken over. */
static void consider(struct keeper *k, struct entry *e)
{
	struct entry *whole = NULL;
	struct taking *t;

	if (e->failed)
		note_failed(k, e);
	if (taking_has(k, e->id) || (e->failed && e->retry_ns > amp_clock_realtime()) ||
	    store_find(k->store, e->id, &whole) != AMP_DB_OK || !whole) {
		entry_free(e);
		return;
	}
	entry_free(e);
	t = taking_new(k, whole);
	if (t) {
		LIST_INSERT_HEAD(&k->active, t, link);
		k->active_count++;
	}
}

static void fill_hands(struct keeper *k)
{
	struct entry *list[BATCH];
	size_t n = 0, used = 0;

	if (!k->more || k->active_count >= KEEPER_ACTIVE || k->in_transaction)
		return;
	if (store_unfinished(k->store, k->cursor, list, BATCH, &n) != AMP_DB_OK) {
		amp_error("quarantine.db: %s", store_why(k->store));
		k->more = false;
		k->look_ns = amp_clock_monotonic() + KEEPER_LOOK_NS;
		return;
	}
	for (; used < n && k->active_count < KEEPER_ACTIVE; used++) {
		k->cursor = list[used]->number;
		consider(k, list[used]);
	}
	for (size_t i = used; i < n; i++)
		entry_free(list[i]);
	if (n == 0)
		pass_is_over(k);
}

/* Of the entries in hand. True: one can go on at once. */
static bool run_takings(struct keeper *k)
{
	bool again = false;

	for (struct taking *t = LIST_FIRST(&k->active), *next; t; t = next) {
		next = LIST_NEXT(t, link);
		again |= taking_run(k, t);
		if (!k->in_transaction && t->over)
			taking_free(k, t);
		amp_io_step(k->io);
	}
	return again;
}

/* The row first: a vault file without one is removed at the next start. */
static void remove_entry(struct keeper *k, const struct entry *e, const char *why)
{
	char suffix[80];

	if (!keeper_begin(k))
		return;
	snprintf(suffix, sizeof(suffix), "deleted/%.40s", e->id);
	report_detection(k, e, e->detection_id, "threat_deleted", suffix, 1, why);
	keeper_did(k, store_drop(k->store, e->id));
}

static void remove_expired(struct keeper *k)
{
	struct entry *list[BATCH];
	size_t n = 0;
	int64_t before = amp_clock_realtime() - (int64_t)k->config.days * DAY_NS;
	char why[80];

	k->prune_ns = amp_clock_monotonic() + KEEPER_PRUNE_NS;
	if (store_older(k->store, before, list, BATCH, &n) != AMP_DB_OK || n == 0)
		return;
	snprintf(why, sizeof(why), "kept for %u days", k->config.days);
	for (size_t i = 0; i < n; i++)
		if (!restoring_has(k, list[i]->id))
			remove_entry(k, list[i], why);
	keeper_settle(k);
	for (size_t i = 0; i < n; i++) {
		struct entry *still = NULL;

		if (store_find(k->store, list[i]->id, &still) == AMP_DB_OK && !still) {
			amp_counter_add(&count_expired, 1);
			vault_remove(k->vault, list[i]->id);
		}
		entry_free(still);
		entry_free(list[i]);
	}
	learn_totals(k);
	if (n == BATCH)
		k->prune_ns = amp_clock_monotonic() + AMP_NS_PER_SEC;
}

static int64_t earliest(int64_t a, int64_t b)
{
	return b > 0 && b < a ? b : a;
}

static int64_t next_due(const struct keeper *k)
{
	int64_t due = earliest(k->look_ns, k->prune_ns);

	if (!keeper_ready(k))
		return k->try_open_ns;
	for (const struct taking *t = LIST_FIRST(&k->active); t; t = LIST_NEXT(t, link))
		due = earliest(due, t->due_ns);
	return earliest(due, restoring_due_ns(k));
}

bool keeper_round(struct keeper *k, int64_t *due_ns)
{
	int64_t now = amp_clock_monotonic();
	bool again;

	amp_io_step(k->io);
	if (!open_all(k)) {
		*due_ns = k->try_open_ns;
		return false;
	}
	if (now >= k->prune_ns)
		remove_expired(k);
	if (now >= k->look_ns) {
		k->more = true;
		k->look_ns = now + KEEPER_LOOK_NS;
		restore_conclude(k);
	}
	enter_waiting(k);
	enter_reported(k);
	keeper_settle(k);
	fill_hands(k);
	again = run_takings(k);
	again |= restoring_run(k);
	again |= keeper_settle(k);
	*due_ns = next_due(k);
	return again || (k->more && k->active_count < KEEPER_ACTIVE);
}

/* --- requests of the loop ----------------------------------------------------------- */

void keeper_link(struct keeper *k, struct request *r)
{
	k->link = r->serial;
	waiting_drop(k, k->link);
	for (struct taking *t = LIST_FIRST(&k->active); t; t = LIST_NEXT(t, link))
		taking_link_changed(t);
	restoring_link_changed(k);
	if (k->link && keeper_ready(k))
		restore_tell_all(k);
}

void keeper_take(struct keeper *k, struct request *r)
{
	struct waiting *w = r->serial == k->link ? calloc(1, sizeof(*w)) : NULL;

	if (!w)
		return; /* it is sent again on the next link */
	w->id = r->id;
	w->serial = r->serial;
	w->take = (Amp__Take *)r->body;
	w->fd = r->fds[0];
	r->body = NULL;
	r->fds[0] = -1;
	STAILQ_INSERT_TAIL(&k->waiting, w, link);
}

void keeper_opened(struct keeper *k, struct request *r)
{
	struct taking *t;

	LIST_FOREACH(t, &k->active, link)
	if (taking_opened(k, t, r))
		return;
	amp_counter_add(&count_unasked, 1);
}

void keeper_killed(struct keeper *k, struct request *r)
{
	struct taking *t;

	LIST_FOREACH(t, &k->active, link)
	if (taking_killed(t, r->id))
		return;
	amp_counter_add(&count_unasked, 1);
}

void keeper_allow_ack(struct keeper *k, struct request *r)
{
	if (r->serial == k->link)
		restoring_ack(k, r->id);
}

void keeper_reported(struct keeper *k, struct request *r)
{
	size_t room = k->reported_room ? 2 * k->reported_room : 256;
	uint64_t *larger = k->reported;

	if (k->reported_count == k->reported_room) {
		larger = realloc(k->reported, room * sizeof(*larger));
		if (!larger)
			return; /* it is told once more after the next start */
		k->reported = larger;
		k->reported_room = room;
	}
	k->reported[k->reported_count++] = r->id;
}

/* Told to a client that asks for an entry. NULL: it was told why not. */
static struct entry *find_for(struct keeper *k, const struct request *r, const char *id)
{
	struct entry *e = NULL;

	if (!keeper_ready(k)) {
		say_error(k, r, AMP__CLI_ERROR__CODE__NOT_NOW,
			  "the quarantine is not open; see the faults in `ampcli status`");
		return NULL;
	}
	if (store_find(k->store, id, &e) != AMP_DB_OK)
		say_error(k, r, AMP__CLI_ERROR__CODE__INTERNAL, "quarantine.db cannot be read: %s",
			  store_why(k->store));
	else if (!e)
		say_error(k, r, AMP__CLI_ERROR__CODE__NOT_FOUND,
			  "there is no entry %s; `ampcli quarantine list` shows them", id);
	return e;
}

/* One that failed may have nothing left to wait for: its file system is gone for good, say. */
static bool is_deletable(const struct keeper *k, const struct entry *e)
{
	if (e->state == ENTRY_DONE || e->state == ENTRY_RESTORED)
		return true;
	return e->failed && !taking_has(k, e->id);
}

void keeper_delete(struct keeper *k, struct request *r)
{
	const Amp__CliDelete *ask = (const Amp__CliDelete *)r->body;
	struct entry *e = find_for(k, r, ask->id), *still = NULL;
	Amp__CliDeleteReply *reply;

	if (!e)
		return;
	if (!is_deletable(k, e)) {
		say_error(k, r, AMP__CLI_ERROR__CODE__NOT_NOW,
			  "entry %s is being taken; delete it when it is in the vault or has failed", e->id);
		entry_free(e);
		return;
	}
	if (restoring_has(k, e->id)) {
		say_error(k, r, AMP__CLI_ERROR__CODE__NOT_NOW,
			  "entry %s is being restored; delete it when that is done", e->id);
		entry_free(e);
		return;
	}
	remove_entry(k, e,
		     e->state == ENTRY_INTENT ? "given up by the administrator: the file is where it was"
					      : "deleted by the administrator");
	keeper_settle(k);
	k->more = true; /* a fault may be over */
	k->cursor = 0;
	k->failed = 0;
	reply = malloc(sizeof(*reply));
	if (store_find(k->store, e->id, &still) == AMP_DB_OK && !still && reply) {
		if (vault_remove(k->vault, e->id) != 0)
			amp_warn("%s.q: %s; it is removed at the next start", e->id, strerror(errno));
		amp__cli_delete_reply__init(reply);
		say_client(k, r, AMP_MSG_CLI_DELETE_REPLY, &reply->base, false);
		learn_totals(k);
	} else {
		free(reply);
		say_error(k, r, AMP__CLI_ERROR__CODE__INTERNAL, "quarantine.db: %s", store_why(k->store));
	}
	entry_free(still);
	entry_free(e);
}

/* --- life ------------------------------------------------------------------------------ */

static struct store *new_store(const char *dir)
{
	char path[4200], reserve[4200];
	const struct store_config c = {path, reserve, RESERVE_SIZE};

	snprintf(path, sizeof(path), "%s/quarantine.db", dir);
	snprintf(reserve, sizeof(reserve), "%s/quarantine.reserve", dir);
	return store_new(&c);
}

struct keeper *keeper_new(const struct keeper_config *c, struct amp_iothread *io)
{
	struct keeper *k = calloc(1, sizeof(*k));

	if (!k)
		return NULL;
	k->config = *c;
	k->io = io;
	STAILQ_INIT(&k->effects);
	STAILQ_INIT(&k->after_commit);
	STAILQ_INIT(&k->waiting);
	LIST_INIT(&k->active);
	k->store = new_store(c->data_dir);
	k->layers = layers_new();
	return k->store && k->layers ? k : NULL;
}

/* After the I/O thread's end. What is in hand begins again with the successor. */
void keeper_free(struct keeper *k)
{
	let_all_go(k);
	restoring_free(k);
	waiting_drop(k, 0);
	drop_effects(&k->effects);
	drop_effects(&k->after_commit);
	store_free(k->store);
	if (k->vault)
		vault_close(k->vault);
	layers_free(k->layers);
	names_sync(&k->syncs);
	free(k->reported);
	free(k->config.data_dir);
	free(k->config.host_id);
	free(k);
}
