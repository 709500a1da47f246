/*
 * ampscand/demandlist.c - what a scan on demand counts and lists.
 *
 * Owns: the tally, the list of what is not clean, checkpoints and going back to
 * one. Threats found since a checkpoint outlive going back: they may have been
 * taken away, and then nobody finds them again. Must not own: where the scan is.
 */
#include "demand.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Of so many at most there is no threat: there are to be seen. */
#define DEMAND_LIST_OTHERS (DEMAND_LIST / 4 * 3)

/* Not listed: what is as it should be, or too much to be of use. */
static const bool unlisted[DEMAND_KINDS] = {
	[OUTCOME_CLEAN] = true,	 [OUTCOME_NOT_SCANNED] = true, [OUTCOME_EXCLUDED] = true,
	[DEMAND_SYMLINK] = true, [DEMAND_DIRECTORY] = true,
};

uint64_t demand_path_hash(const char *path)
{
	uint64_t h = 0xcbf29ce484222325ULL; /* FNV-1a: who makes two paths one hides nothing but a count */

	for (; *path; path++)
		h = (h ^ (uint8_t)*path) * 0x100000001b3ULL;
	return h;
}

static void list_add(struct demand_scan *d, unsigned kind, const char *path, const char *detail)
{
	size_t room = kind == OUTCOME_THREAT ? DEMAND_LIST : DEMAND_LIST_OTHERS;
	struct demand_file *f;

	if (unlisted[kind])
		return;
	d->now.listed++;
	if (d->list_count >= room)
		return;
	if (!d->list)
		d->list = calloc(DEMAND_LIST, sizeof(*d->list));
	if (!d->list)
		return;
	f = &d->list[d->list_count];
	f->kind = kind;
	f->path = strdup(path ? path : "");
	f->detail = detail && detail[0] ? strdup(detail) : NULL;
	if (f->path)
		d->list_count++;
	else
		free(f->detail);
}

static void file_free(struct demand_file *f)
{
	free(f->path);
	free(f->detail);
}

void demand_list_free(struct demand_scan *d)
{
	for (size_t i = 0; i < d->list_count; i++)
		file_free(&d->list[i]);
	free(d->list);
	d->list = NULL;
	d->list_count = 0;
}

static void add_threats(struct demand_tally *t, uint64_t n, uint64_t bytes, uint64_t cached)
{
	t->files += n;
	t->bytes += bytes;
	t->cached += cached;
	t->threats += n;
	t->kinds[OUTCOME_THREAT] += n;
}

static struct demand_known *find(struct demand_scan *d, const char *path)
{
	struct demand_since *since = &d->since;
	uint64_t hash = path && since->count ? demand_path_hash(path) : 0;

	for (size_t i = 0; path && i < since->count; i++)
		if (since->known[i].hash == hash)
			return &since->known[i];
	return NULL;
}

/* Is it counted already? */
bool demand_is_known(struct demand_scan *d, const struct occurrence *o)
{
	struct demand_known *k = find(d, o->path);

	if (k && o->walk && !walk_is_cancelled(o->walk))
		k->met = true;
	return k != NULL;
}

void demand_threat(struct demand_scan *d, const struct occurrence *o, const char *detail)
{
	struct demand_since *since = &d->since;

	if (demand_is_known(d, o))
		return;
	if (o->path && since->count < DEMAND_SINCE)
		since->known[since->count++] = (struct demand_known){
			.hash = demand_path_hash(o->path), .behind = o->walk && walk_is_cancelled(o->walk)};
	since->threats++;
	since->bytes += o->size;
	since->cached += o->cached;
	add_threats(&d->now, 1, o->size, o->cached);
	list_add(d, OUTCOME_THREAT, o->path, detail);
	demand_changed(d, true);
}

static const char *detail_of(const struct occurrence *o, char *buf, size_t size)
{
	if (o->outcome != OUTCOME_TOO_LARGE)
		return NULL;
	snprintf(buf, size, "%llu bytes", (unsigned long long)o->size);
	return buf;
}

void demand_count(struct demand_scan *d, const struct occurrence *o)
{
	unsigned kind = o->outcome < OUTCOME_COUNT ? o->outcome : OUTCOME_NONE;
	char detail[64];

	if (kind == OUTCOME_THREAT) {
		if (!o->counted)
			demand_threat(d, o, NULL);
		return;
	}
	if (demand_is_known(d, o))
		return;
	d->now.files++;
	d->now.kinds[kind]++;
	d->now.cached += o->cached;
	if (kind != OUTCOME_VANISHED && kind != OUTCOME_SPECIAL && kind != OUTCOME_EXCLUDED)
		d->now.bytes += o->size;
	list_add(d, kind, o->path, detail_of(o, detail, sizeof(detail)));
}

void demand_count_odd(struct demand_scan *d, unsigned kind, const char *path)
{
	struct demand_known *k = kind == OUTCOME_VANISHED ? find(d, path) : NULL;

	/* It was counted as the threat that it was, and has been taken away. */
	if (k) {
		k->met = true;
		return;
	}
	d->now.kinds[kind]++;
	list_add(d, kind, path, NULL);
	if (kind == DEMAND_MOUNT)
		demand_mount_met(d, path);
}

void demand_checkpoint(struct demand_scan *d)
{
	struct demand_since *since = &d->since;
	size_t left = 0;

	for (size_t i = 0; i < since->count; i++) {
		since->known[i].kept = true;
		if (since->known[i].behind && !since->known[i].met)
			since->known[left++] = since->known[i];
	}
	since->count = left;
	since->threats = since->bytes = since->cached = 0;
	d->kept = d->now;
	d->kept_list = d->list_count;
}

void demand_rollback(struct demand_scan *d)
{
	struct demand_since *since = &d->since;
	size_t kept = d->kept_list;

	for (size_t i = 0; i < since->count; i++) {
		since->known[i].behind = true;
		since->known[i].met = false;
	}
	for (size_t i = d->kept_list; i < d->list_count; i++) {
		if (d->list[i].kind == OUTCOME_THREAT)
			d->list[kept++] = d->list[i];
		else
			file_free(&d->list[i]);
	}
	d->list_count = kept;
	d->now = d->kept;
	d->now.listed += since->threats;
	add_threats(&d->now, since->threats, since->bytes, since->cached);
}
