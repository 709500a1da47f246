/*
 * ampquard/keeper.c - rounds and transactions of the keeper.
 *
 * Owns: opening vault and database (and opening them again), choosing the
 * entries in hand, one transaction a job with everything said only after it.
 * Must not own: what waits to be entered (waiting.c), the way of one file
 * (taking.c, restore.c), the end of an entry (retain.c), effects (say.c).
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
#define RESERVE_SIZE ((size_t)1 << 20)
#define BATCH	     32U

static struct amp_counter count_unasked = AMP_COUNTER("quarantine.unasked_answer", false);
static struct amp_counter count_aside = AMP_COUNTER("quarantine.databases_set_aside", true);

/* --- vault and database ------------------------------------------------------- */

void vault_fault(struct keeper *k, const char *fmt, ...)
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
	if (vault_each(k->vault, retain_sweep, k) != 0)
		amp_warn("the vault's directory cannot be read: %s", strerror(errno));
	keeper_settle(k);
	if (k->recovering && k->spoiled)
		return false; /* nothing else may be entered before what the vault holds */
	k->recovering = false;
	say_aside(k);
	retain_totals(k);
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
	waiting_reported(k, done);
	if (!done) {
		store_rollback(k->store);
		effects_drop(&k->after_commit);
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

/* A clock that was set back makes nobody wait. */
static bool is_later(int64_t realtime_ns)
{
	int64_t now = amp_clock_realtime();

	return realtime_ns > now && realtime_ns - now <= KEEPER_RETRY_MAX_NS;
}

/* Takes an entry in hand, unless it waits. e is taken over. */
static void consider(struct keeper *k, struct entry *e)
{
	struct entry *whole = NULL;
	struct taking *t;

	if (e->failed)
		note_failed(k, e);
	if (taking_has(k, e->id) || (e->failed && is_later(e->retry_ns)) ||
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

static int64_t earliest(int64_t a, int64_t b)
{
	return b > 0 && b < a ? b : a;
}

static int64_t next_due(const struct keeper *k)
{
	int64_t due = earliest(k->look_ns, k->prune_ns);

	if (!keeper_ready(k))
		return k->try_open_ns;
	due = earliest(due, hands_due_ns(k->hands));
	for (const struct taking *t = LIST_FIRST(&k->active); t; t = LIST_NEXT(t, link))
		due = earliest(due, t->due_ns);
	return earliest(due, restoring_due_ns(k));
}

/* With other hands there must be another keeper: they cannot be made behind the walls. */
static bool has_hands(struct keeper *k)
{
	struct effect *e;
	char text[200];

	if (k->ended)
		return false;
	hands_look(k->hands);
	if (!hands_broken(k->hands))
		return true;
	snprintf(text, sizeof(text), "%s; ampquard is started anew", hands_broken(k->hands));
	vault_fault(k, "%s", text);
	e = effect_new(EFFECT_END);
	if (e) {
		snprintf(e->text, sizeof(e->text), "%s", text);
		STAILQ_INSERT_TAIL(&k->effects, e, link);
	}
	k->ended = e != NULL;
	return false;
}

bool keeper_round(struct keeper *k, int64_t *due_ns)
{
	int64_t now = amp_clock_monotonic();
	bool again;

	amp_io_step(k->io);
	*due_ns = now + KEEPER_LOOK_NS;
	if (!has_hands(k))
		return false;
	if (!open_all(k)) {
		*due_ns = k->try_open_ns;
		return false;
	}
	if (now >= k->prune_ns)
		retain_expired(k);
	if (now >= k->look_ns) {
		k->more = true;
		k->look_ns = now + KEEPER_LOOK_NS;
		restore_conclude(k);
	}
	waiting_enter(k);
	waiting_enter_reported(k);
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
	k->hands = hands_new(c->hands, c->log);
	return k->store && k->layers && k->hands ? k : NULL;
}

int keeper_fork(struct keeper *k)
{
	return hands_fork(k->hands);
}

void keeper_be_hand(struct keeper *k)
{
	hands_be_one(k->hands);
}

int keeper_hand_fd(const struct keeper *k, unsigned i)
{
	return hands_fd(k->hands, i);
}

pid_t keeper_hand_pid(const struct keeper *k, unsigned i)
{
	return hands_pid(k->hands, i);
}

/* After the I/O thread's end. What is in hand begins again with the successor. */
void keeper_free(struct keeper *k)
{
	let_all_go(k);
	restoring_free(k);
	waiting_drop(k, 0);
	effects_drop(&k->effects);
	effects_drop(&k->after_commit);
	store_free(k->store);
	if (k->vault)
		vault_close(k->vault);
	layers_free(k->layers);
	hands_free(k->hands);
	free(k->reported);
	free(k->config.data_dir);
	free(k->config.host_id);
	free(k);
}
