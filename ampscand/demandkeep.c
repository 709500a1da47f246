/*
 * ampscand/demandkeep.c - scans on demand over restarts: their records.
 *
 * Owns: what of a scan is kept (by ampmon, through keep.c), when, and taking it
 * up again. A record is of the last checkpoint, with the threats found since;
 * one is under way at a time, and what changed meanwhile goes with the next.
 * Must not own: the counting.
 */
#include "demand.h"

#include "clock.h"
#include "log.h"

#include "proto/demand.pb-c.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LIST_BYTES  10000U /* of its entries in a record */
#define LIST_OTHERS (DEMAND_LIST_KEPT / 4 * 3)
#define NAME_PREFIX "scan-"

struct under_way {
	uint64_t id, version;
};

static ProtobufCBinaryData bytes_of(const char *text)
{
	return (ProtobufCBinaryData){.data = (uint8_t *)(uintptr_t)text, .len = text ? strlen(text) : 0};
}

/* What a message of a record points at. */
struct packing {
	Amp__DemandRecord r;
	ProtobufCBinaryData paths[AMP_SCAN_PATHS], *tasks;
	Amp__DemandCount counts[DEMAND_KINDS], *count_list[DEMAND_KINDS];
	Amp__DemandFile files[DEMAND_LIST_KEPT], *file_list[DEMAND_LIST_KEPT];
	uint64_t since[DEMAND_SINCE], known[DEMAND_SINCE];
};

static void fill_counts(struct packing *p, const struct demand_tally *t)
{
	for (unsigned k = 0; k < DEMAND_KINDS; k++) {
		Amp__DemandCount *c = &p->counts[p->r.n_counts];

		if (!t->kinds[k])
			continue;
		amp__demand_count__init(c);
		c->kind = k;
		c->count = t->kinds[k];
		p->count_list[p->r.n_counts++] = c;
	}
	p->r.counts = p->count_list;
	p->r.files = t->files;
	p->r.bytes = t->bytes;
	p->r.threats = t->threats;
	p->r.cached = t->cached;
	p->r.listed = t->listed;
}

/* The list of the checkpoint, and threats of later. */
static void fill_list(struct packing *p, const struct demand_scan *d)
{
	size_t bytes = 0;

	for (size_t i = 0; i < d->list_count && p->r.n_list < DEMAND_LIST_KEPT; i++) {
		const struct demand_file *f = &d->list[i];
		Amp__DemandFile *out = &p->files[p->r.n_list];
		bool threat = f->kind == OUTCOME_THREAT;
		size_t size = strlen(f->path) + (f->detail ? strlen(f->detail) : 0) + 16;

		if (!threat && (i >= d->kept_list || p->r.n_list >= LIST_OTHERS))
			continue;
		if (bytes + size > (threat ? LIST_BYTES : LIST_BYTES / 4 * 3))
			continue;
		bytes += size;
		amp__demand_file__init(out);
		out->kind = f->kind;
		out->path = bytes_of(f->path);
		out->detail = bytes_of(f->detail);
		p->file_list[p->r.n_list++] = out;
	}
	p->r.list = p->file_list;
}

static int fill_tasks(struct packing *p, const struct demand_scan *d)
{
	p->tasks = calloc(d->tasks.count + 1, sizeof(*p->tasks));
	if (!p->tasks)
		return -1;
	for (size_t i = 0; i < d->tasks.count; i++)
		p->tasks[i] = bytes_of(d->tasks.path[i]);
	p->r.tasks = p->tasks;
	p->r.n_tasks = d->tasks.count;
	for (size_t i = 0; i < d->paths.count && i < AMP_SCAN_PATHS; i++)
		p->paths[p->r.n_paths++] = bytes_of(d->paths.path[i]);
	p->r.paths = p->paths;
	return 0;
}

static void fill_since(struct packing *p, const struct demand_since *since)
{
	p->r.since = p->since;
	p->r.known = p->known;
	for (size_t i = 0; i < since->count; i++) {
		if (since->known[i].kept)
			p->known[p->r.n_known++] = since->known[i].hash;
		else
			p->since[p->r.n_since++] = since->known[i].hash;
	}
	p->r.since_threats = since->threats;
	p->r.since_bytes = since->bytes;
	p->r.since_cached = since->cached;
}

static void fill(struct packing *p, const struct demand_scan *d)
{
	amp__demand_record__init(&p->r);
	p->r.id = d->id;
	p->r.request = d->request;
	p->r.kind = d->kind;
	p->r.state = d->state;
	p->r.one_file_system = d->one_file_system;
	p->r.schedule = bytes_of(d->schedule);
	p->r.schedule_day = d->schedule_day;
	p->r.started_ns = d->started_ns;
	p->r.ended_ns = d->ended_ns;
	p->r.worked_ns = demand_worked_ns(d);
	p->r.expected = d->expected;
	p->r.error = bytes_of(d->error);
	p->r.failed = d->failed;
	p->r.task = (uint32_t)d->task;
	p->r.at = bytes_of(d->at);
}

size_t demand_pack(const struct demand_scan *d, uint8_t **out)
{
	struct packing *p = calloc(1, sizeof(*p));
	size_t n = 0;

	*out = NULL;
	if (!p)
		return 0;
	fill(p, d);
	fill_counts(p, &d->kept);
	fill_list(p, d);
	fill_since(p, &d->since);
	if (fill_tasks(p, d) == 0)
		*out = malloc(amp__demand_record__get_packed_size(&p->r));
	if (*out)
		n = amp__demand_record__pack(&p->r, *out);
	free(p->tasks);
	free(p);
	return n;
}

static void name_of(uint64_t id, char *name, size_t size)
{
	snprintf(name, size, NAME_PREFIX "%llu", (unsigned long long)id);
}

static void on_kept(struct scand *s, int error, void *arg)
{
	struct under_way *u = arg;
	struct demand_scan *d = s->demand ? demand_find(s, u->id) : NULL;
	uint64_t id = u->id, version = u->version;

	free(u);
	if (!d)
		return;
	d->putting = false;
	if (error) {
		amp_error("scan %llu cannot be kept: %s", (unsigned long long)d->id, strerror(error));
		d->dirty = true;
	}
	/* A scan whose start cannot be kept is gone after this. */
	demand_answer(d, version, error);
	d = demand_find(s, id);
	if (d && !error)
		demand_keep_pump(d);
}

static int put(struct demand_scan *d)
{
	struct under_way *u = malloc(sizeof(*u));
	char name[40];
	uint8_t *record;
	size_t n = demand_pack(d, &record);
	int rc = -1;

	name_of(d->id, name, sizeof(name));
	if (n > AMP_KEEP_MAX)
		amp_error("the record of %s would be %zu bytes", name, n);
	if (u && n && n <= AMP_KEEP_MAX) {
		*u = (struct under_way){.id = d->id, .version = d->version};
		d->putting = true;
		rc = keep_put(d->scand, name, record, n, on_kept, u);
	}
	free(record);
	if (rc == 0)
		return 0;
	d->putting = false;
	free(u);
	return -1;
}

void demand_keep_pump(struct demand_scan *d)
{
	int64_t now = amp_clock_monotonic();

	if (!d->dirty || d->putting || (!d->urgent && now - d->put_ns < DEMAND_KEEP_NS))
		return;
	d->dirty = d->urgent = false;
	d->put_ns = now;
	if (put(d) != 0)
		d->dirty = true; /* the tick tries again */
}

void demand_changed(struct demand_scan *d, bool urgent)
{
	d->version++;
	d->dirty = true;
	d->urgent |= urgent;
	demand_keep_pump(d);
}

void demand_forget(struct demand_scan *d)
{
	char name[40];

	name_of(d->id, name, sizeof(name));
	keep_put(d->scand, name, NULL, 0, NULL, NULL);
}

/* -- taking it up again -- */

static int take_paths(struct demand_paths *out, const ProtobufCBinaryData *list, size_t n, bool may_be_empty)
{
	for (size_t i = 0; i < n; i++) {
		const ProtobufCBinaryData *p = &list[i];

		if (p->len == 0 ? !may_be_empty
				: p->len >= AMP_PATH_MAX || p->data[0] != '/' || memchr(p->data, 0, p->len))
			return -1;
		if (demand_paths_add(out, p->len ? (const char *)p->data : "", p->len) != 0)
			return -1;
	}
	return 0;
}

/* NULL for nothing. */
static char *text_of(const ProtobufCBinaryData *b)
{
	return b->len ? strndup((const char *)b->data, b->len) : NULL;
}

static int take_counts(struct demand_tally *t, const Amp__DemandRecord *r)
{
	for (size_t i = 0; i < r->n_counts; i++) {
		if (r->counts[i]->kind >= DEMAND_KINDS)
			return -1;
		t->kinds[r->counts[i]->kind] = r->counts[i]->count;
	}
	t->files = r->files;
	t->bytes = r->bytes;
	t->threats = r->threats;
	t->cached = r->cached;
	t->listed = r->listed;
	return 0;
}

static int take_list(struct demand_scan *d, const Amp__DemandRecord *r)
{
	if (r->n_list > DEMAND_LIST_KEPT)
		return -1;
	d->list = r->n_list ? calloc(DEMAND_LIST, sizeof(*d->list)) : NULL;
	for (size_t i = 0; d->list && i < r->n_list; i++) {
		struct demand_file *f = &d->list[d->list_count];

		if (r->list[i]->kind >= DEMAND_KINDS)
			return -1;
		f->kind = r->list[i]->kind;
		f->path = strndup((char *)r->list[i]->path.data, r->list[i]->path.len);
		f->detail = text_of(&r->list[i]->detail);
		if (!f->path)
			return -1;
		d->list_count++;
	}
	d->kept_list = d->list_count;
	return 0;
}

static int take_since(struct demand_since *since, const Amp__DemandRecord *r)
{
	if (r->n_since > DEMAND_SINCE || r->n_known > DEMAND_SINCE - r->n_since ||
	    r->since_threats < r->n_since)
		return -1;
	for (size_t i = 0; i < r->n_since; i++)
		since->known[since->count++].hash = r->since[i];
	for (size_t i = 0; i < r->n_known; i++)
		since->known[since->count++] = (struct demand_known){.hash = r->known[i], .kept = true};
	since->threats = r->since_threats;
	since->bytes = r->since_bytes;
	since->cached = r->since_cached;
	return 0;
}

static void take_numbers(struct demand_scan *d, const Amp__DemandRecord *r)
{
	d->request = r->request;
	d->kind = (Amp__CliScanStart__Kind)r->kind;
	/* What ran goes on when its turn comes: it is older than what waits. */
	d->state = r->state == DEMAND_RUNNING ? DEMAND_WAITING : (enum demand_state)r->state;
	d->one_file_system = r->one_file_system;
	d->schedule = text_of(&r->schedule);
	d->schedule_day = r->schedule_day;
	d->started_ns = r->started_ns;
	d->ended_ns = r->ended_ns;
	d->worked_ns = r->worked_ns;
	d->expected = r->expected;
	d->failed = r->failed;
	d->task = r->task;
	d->at = text_of(&r->at);
	snprintf(d->error, sizeof(d->error), "%.*s", (int)(r->error.len < 255 ? r->error.len : 255),
		 r->error.len ? (const char *)r->error.data : "");
}

static int take(struct demand_scan *d, const Amp__DemandRecord *r)
{
	if (r->kind > AMP__CLI_SCAN_START__KIND__FULL || r->state >= DEMAND_STATES ||
	    r->n_paths > AMP_SCAN_PATHS || (r->n_tasks && r->task > r->n_tasks))
		return -1;
	take_numbers(d, r);
	if (take_paths(&d->paths, r->paths, r->n_paths, false) != 0 ||
	    take_paths(&d->tasks, r->tasks, r->n_tasks, true) != 0 || take_counts(&d->kept, r) != 0 ||
	    take_list(d, r) != 0 || take_since(&d->since, r) != 0)
		return -1;
	demand_rollback(d);
	return 0;
}

int demand_restore(struct scand *s, const char *name, const uint8_t *record, size_t size)
{
	Amp__DemandRecord *r = amp__demand_record__unpack(NULL, size, record);
	struct demand_scan *d = NULL;
	char expected[40] = "";
	int rc = -1;

	if (r)
		name_of(r->id, expected, sizeof(expected));
	if (r && r->id && strcmp(name, expected) == 0 && !demand_find(s, r->id) &&
	    s->demand->count < AMP_SCANS)
		d = demand_add(s, r->id);
	if (d)
		rc = take(d, r);
	if (d && rc != 0)
		demand_remove(s, d);
	if (rc != 0)
		amp_error("the record of %.40s makes no sense and is left", name);
	if (r)
		amp__demand_record__free_unpacked(r, NULL);
	demand_later(s);
	return rc;
}
