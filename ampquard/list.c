/*
 * ampquard/list.c - what `ampcli quarantine list` and `show` are told.
 *
 * Owns: rows as answers. Must not own: SQL, or any change.
 */
#include "quard.h"

#include "clock.h"
#include "log.h"
#include "text.h"

#include "proto/types.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DAY_NS	   (86400 * AMP_NS_PER_SEC)
#define REPLY_ROOM (40U << 10) /* bytes of entries in a reply: well below AMP_MSG_MAX */
#define NAMES_ROOM (24U << 10)

/* The words of the list: what was done, not how far the work is. */
static const char *state_name(const struct entry *e)
{
	if (e->failed)
		return "failed";
	switch (e->state) {
	case ENTRY_INTENT:
		return "waiting";
	case ENTRY_COPIED:
		return "copied";
	case ENTRY_DONE:
		return "quarantined";
	case ENTRY_RESTORED:
		return "restored";
	}
	return "unknown";
}

static char *utf8(const char *text)
{
	size_t n = strlen(text), size = n * 4 + 1;
	char *out = malloc(size);

	if (out)
		amp_text_escape(text, n, out, size);
	return out ? out : strdup("");
}

static void set_bytes(ProtobufCBinaryData *to, const void *data, size_t n)
{
	to->data = n ? malloc(n) : NULL;
	to->len = to->data ? n : 0;
	if (to->data)
		memcpy(to->data, data, n);
}

static Amp__CliVaultEntry *to_wire(const struct keeper *k, const struct entry *e)
{
	Amp__CliVaultEntry *w = malloc(sizeof(*w));

	if (!w)
		return NULL;
	amp__cli_vault_entry__init(w);
	w->number = e->number;
	w->id = strdup(e->id);
	w->detection_id = strdup(e->detection_id);
	w->time_ns = e->time_ns;
	w->detection = utf8(e->detection);
	set_bytes(&w->sha256, e->sha256, AMP_SHA256_SIZE);
	w->size = e->size;
	w->state = strdup(state_name(e));
	w->reason = utf8(e->failed ? e->reason : "");
	if (e->name_count > 0 && e->names[0].path)
		set_bytes(&w->path, e->names[0].path, e->names[0].path_size);
	w->path_unresolved = e->name_count == 0 || e->names[0].unresolved || !e->names[0].path;
	if (e->state == ENTRY_DONE || e->state == ENTRY_RESTORED)
		w->until_ns = e->ended_ns + (int64_t)k->config.days * DAY_NS;
	return w;
}

/* -- one entry ------------------------------------------------------------------ */

static void add_names(Amp__CliVaultEntry *w, const struct entry *e)
{
	size_t room = NAMES_ROOM;

	w->names = calloc(e->name_count + 1, sizeof(*w->names));
	for (size_t i = 0; w->names && i < e->name_count; i++) {
		if (!e->names[i].path || e->names[i].path_size > room)
			continue;
		room -= e->names[i].path_size;
		set_bytes(&w->names[w->n_names++], e->names[i].path, e->names[i].path_size);
	}
}

static void add_detections(Amp__CliVaultEntry *w, const struct entry *e)
{
	w->detection_ids = calloc(e->detection_count + 1, sizeof(*w->detection_ids));
	for (size_t i = 0; w->detection_ids && i < e->detection_count && i < 256; i++)
		w->detection_ids[w->n_detection_ids++] = strdup(e->detection_ids[i]);
}

/* Of the vault file, where there is one. */
static void add_attributes(const struct keeper *k, Amp__CliVaultEntry *w, const struct entry *e)
{
	enum vault_answer why;
	struct vault_reader *r = vault_exists(k->vault, e->id) ? vault_read(k->vault, e->id, &why) : NULL;
	const Amp__VaultMeta *m = r ? vault_reader_meta(r) : NULL;

	w->xattrs = m ? calloc(m->n_xattrs + 1, sizeof(*w->xattrs)) : NULL;
	for (size_t i = 0; w->xattrs && i < m->n_xattrs && i < 64; i++)
		set_bytes(&w->xattrs[w->n_xattrs++], m->xattrs[i]->name.data, m->xattrs[i]->name.len);
	vault_reader_free(r);
}

static void add_details(const struct keeper *k, Amp__CliVaultEntry *w, const struct entry *e)
{
	add_names(w, e);
	add_detections(w, e);
	if (e->state != ENTRY_INTENT)
		add_attributes(k, w, e);
	w->uid = e->uid;
	w->gid = e->gid;
	w->mode = e->mode;
	w->nlink = e->nlink;
	w->mtime_ns = e->mtime_ns;
	w->note = utf8(e->note);
	set_bytes(&w->restored_to, e->restored_to, e->restored_to ? e->restored_to_size : 0);
}

static Amp__CliQuarantineReply *reply_new(size_t room)
{
	Amp__CliQuarantineReply *reply = malloc(sizeof(*reply));

	if (!reply)
		return NULL;
	amp__cli_quarantine_reply__init(reply);
	reply->entries = calloc(room, sizeof(*reply->entries));
	return reply;
}

static void add(Amp__CliQuarantineReply *reply, Amp__CliVaultEntry *w)
{
	if (w && reply->entries)
		reply->entries[reply->n_entries++] = w;
	else if (w)
		amp__cli_vault_entry__free_unpacked(w, NULL);
}

static void show(struct keeper *k, struct request *r, const char *id)
{
	Amp__CliQuarantineReply *reply;
	Amp__CliVaultEntry *w;
	struct entry *e = NULL;

	if (store_find(k->store, id, &e) != AMP_DB_OK) {
		say_error(k, r, AMP__CLI_ERROR__CODE__INTERNAL, "quarantine.db cannot be read: %s",
			  store_why(k->store));
		return;
	}
	if (!e) {
		say_error(k, r, AMP__CLI_ERROR__CODE__NOT_FOUND,
			  "there is no entry %s; `ampcli quarantine list` shows them", id);
		return;
	}
	reply = reply_new(1);
	w = reply ? to_wire(k, e) : NULL;
	if (w)
		add_details(k, w, e);
	if (reply) {
		add(reply, w);
		say_client(k, r, AMP_MSG_CLI_QUARANTINE_REPLY, &reply->base, false);
	}
	entry_free(e);
}

/* -- all of them ------------------------------------------------------------------- */

static void list(struct keeper *k, struct request *r, uint64_t before)
{
	Amp__CliQuarantineReply *reply = reply_new(AMP_VAULT_BATCH);
	struct entry *found[AMP_VAULT_BATCH];
	size_t n = 0, used = 0, room = REPLY_ROOM;

	if (!reply || store_list(k->store, before, found, AMP_VAULT_BATCH, &n) != AMP_DB_OK) {
		say_error(k, r, AMP__CLI_ERROR__CODE__INTERNAL, "quarantine.db cannot be read: %s",
			  store_why(k->store));
		if (reply)
			amp__cli_quarantine_reply__free_unpacked(reply, NULL);
		return;
	}
	for (; used < n; used++) {
		Amp__CliVaultEntry *w = to_wire(k, found[used]);
		size_t size = w ? amp__cli_vault_entry__get_packed_size(w) : 0;

		if (size > room && used > 0) {
			amp__cli_vault_entry__free_unpacked(w, NULL);
			break;
		}
		room -= size < room ? size : room;
		add(reply, w);
		reply->next_before = found[used]->number;
	}
	reply->more = used < n || n == AMP_VAULT_BATCH;
	for (size_t i = 0; i < n; i++)
		entry_free(found[i]);
	say_client(k, r, AMP_MSG_CLI_QUARANTINE_REPLY, &reply->base, false);
}

void list_ask(struct keeper *k, struct request *r)
{
	const Amp__CliQuarantine *ask = (const Amp__CliQuarantine *)r->body;

	if (!keeper_ready(k))
		say_error(k, r, AMP__CLI_ERROR__CODE__NOT_NOW,
			  "the quarantine is not open; see the faults in `ampcli status`");
	else if (ask->id[0])
		show(k, r, ask->id);
	else
		list(k, r, ask->before);
}
