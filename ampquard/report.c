/*
 * ampquard/report.c - what the history is told of an entry.
 *
 * Owns: the events' form and their uids: made of the detection and what
 * happened, so that one told twice is kept once. They wait in the database,
 * in the transaction of the state they tell of. Must not own: sending them.
 */
#include "quard.h"

#include "clock.h"
#include "log.h"
#include "step.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void fill_from_entry(Amp__Event *e, const struct entry *n)
{
	e->detection = (char *)(uintptr_t)n->detection;
	e->sha256.data = (uint8_t *)(uintptr_t)n->sha256;
	e->sha256.len = AMP_SHA256_SIZE;
	e->size = n->size;
	e->fsid = n->file.fsid;
	e->handle.data = (uint8_t *)(uintptr_t)n->file.handle.bytes;
	e->handle.len = n->file.handle.size;
	e->path_unresolved = true;
}

static void fill_from_take(Amp__Event *e, const Amp__Take *t)
{
	e->path = t->path;
	e->path_unresolved = t->path_unresolved || t->path.len == 0;
	e->process = t->process;
	e->cause = t->cause;
	if (e->size == 0 && t->identity)
		e->size = t->identity->size;
}

static void say_report(struct keeper *k, const Amp__Event *e, uint64_t number)
{
	struct effect *f = effect_new(EFFECT_REPORT);

	if (f)
		f->body = message_copy(&e->base);
	if (!f || !f->body) {
		free(f);
		return; /* it is in the database: told after the next start */
	}
	f->id = number;
	STAILQ_INSERT_TAIL(&k->after_commit, f, link);
}

void report_detection(struct keeper *k, const struct entry *n, const char *detection_id, const char *type,
		      const char *uid_suffix, unsigned severity, const char *detail)
{
	Amp__Event e = AMP__EVENT__INIT;
	Amp__Take *t = store_detection(k->store, detection_id);
	char uid[128];
	uint64_t number = 0;

	fill_from_entry(&e, n);
	if (t)
		fill_from_take(&e, t);
	snprintf(uid, sizeof(uid), "%s/%s", detection_id, uid_suffix);
	e.uid = uid;
	e.type = (char *)(uintptr_t)type;
	e.time_ns = amp_clock_realtime();
	e.severity = severity;
	e.detection_id = (char *)(uintptr_t)detection_id;
	e.mode = (char *)(uintptr_t) "protect";
	e.detail = (char *)(uintptr_t)detail;
	if (keeper_did(k, store_report(k->store, &e, &number)) && number)
		say_report(k, &e, number);
	if (t)
		amp__take__free_unpacked(t, NULL);
}

/*
 * ampscand tells of it as well, and sooner. But it keeps what is not committed
 * in memory only, and once the file is taken nobody would find it again.
 */
void report_found(struct keeper *k, const Amp__Take *t)
{
	Amp__Event e = AMP__EVENT__INIT;
	char uid[128];
	uint64_t number = 0;

	fill_from_take(&e, t);
	snprintf(uid, sizeof(uid), "%s/detected", t->detection_id);
	e.uid = uid;
	e.type = (char *)(uintptr_t) "threat_detected";
	e.time_ns = t->time_ns;
	e.severity = 3;
	e.detection_id = t->detection_id;
	e.detection = t->detection;
	e.sha256 = t->sha256;
	e.fsid = t->fsid;
	e.handle = t->handle->bytes;
	e.mode = (char *)(uintptr_t) "protect";
	if (keeper_did(k, store_report(k->store, &e, &number)) && number)
		say_report(k, &e, number);
}

void report_done(struct keeper *k, const struct entry *n, const char *detail)
{
	char text[700];

	report_detection(k, n, n->detection_id, "threat_quarantined", "quarantined", 2, detail);
	snprintf(text, sizeof(text), "its content is in the vault as entry %s", n->id);
	for (size_t i = 0; i < n->detection_count; i++)
		if (strcmp(n->detection_ids[i], n->detection_id) != 0)
			report_detection(k, n, n->detection_ids[i], "threat_neutralised", "neutralised", 2,
					 text);
}

void report_load(struct keeper *k)
{
	uint64_t number = 0;
	Amp__Event *e = NULL;

	while (store_next_report(k->store, number, &number, &e) == AMP_DB_OK && e) {
		struct effect *f = effect_new(EFFECT_REPORT);

		if (!f) {
			amp__event__free_unpacked(e, NULL);
			return;
		}
		f->id = number;
		f->body = &e->base;
		STAILQ_INSERT_TAIL(&k->effects, f, link);
	}
}
