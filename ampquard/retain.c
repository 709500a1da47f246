/*
 * ampquard/retain.c - how long an entry is kept, and how it ends.
 *
 * Owns: retention, deletion by the administrator, vault files without a row (of
 * entries that were deleted, or of a database that was lost: those are entered
 * anew). Must not own: the way in (taking.c) or out (restore.c).
 */
#include "quard.h"

#include "clock.h"
#include "counter.h"
#include "log.h"

#include "proto/types.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DAY_NS (86400 * AMP_NS_PER_SEC)
#define BATCH  32U

static struct amp_counter count_expired = AMP_COUNTER("quarantine.expired", false);
static struct amp_counter count_adopted = AMP_COUNTER("quarantine.adopted", false);

static void fill_from_meta(struct entry *e, const Amp__VaultMeta *m)
{
	e->size = m->size;
	e->uid = m->uid;
	e->gid = m->gid;
	e->mode = m->mode;
	e->nlink = m->nlink;
	e->mtime_ns = m->mtime_s * AMP_NS_PER_SEC + m->mtime_ns;
}

/*
 * A keeper that died between a second copy and its commit left a row that
 * speaks of the first one: owner or mode may have changed in between.
 */
void retain_row(struct keeper *k, struct entry *e)
{
	enum vault_answer why;
	struct vault_reader *r = vault_read(k->vault, e->id, &why);
	const Amp__VaultMeta *m = r ? vault_reader_meta(r) : NULL;
	bool ours = m && strcmp(m->entry_id, e->id) == 0 && m->sha256.len == AMP_SHA256_SIZE &&
		    memcmp(m->sha256.data, e->sha256, AMP_SHA256_SIZE) == 0;

	if (ours && keeper_begin(k)) {
		fill_from_meta(e, m);
		keeper_did(k, store_copied(k->store, e));
	}
	vault_reader_free(r);
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
	e.stored = bytes;
	fill_from_meta(&e, m);
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

void retain_sweep(const char *id, uint64_t bytes, void *arg)
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

void retain_totals(struct keeper *k)
{
	uint64_t entries, unfinished;

	if (store_totals(k->store, &entries, &unfinished, &k->stored) != AMP_DB_OK)
		k->stored = 0;
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

void retain_expired(struct keeper *k)
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
	retain_totals(k);
	if (n == BATCH)
		k->prune_ns = amp_clock_monotonic() + AMP_NS_PER_SEC;
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
		retain_totals(k);
	} else {
		free(reply);
		say_error(k, r, AMP__CLI_ERROR__CODE__INTERNAL, "quarantine.db: %s", store_why(k->store));
	}
	entry_free(still);
	entry_free(e);
}
