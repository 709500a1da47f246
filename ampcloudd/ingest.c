/*
 * ampcloudd/ingest.c - group commit (see ingest.h).
 *
 * One batch is on its way at most. What arrives meanwhile gathers and is the
 * next batch, so a slow disk makes batches larger and an idle one adds no
 * latency. A batch that could not be committed is kept, in order, until it
 * can: nothing is acknowledged that is not on the disk.
 */
#include "ingest.h"

#include "counter.h"
#include "eventcheck.h"
#include "log.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#define RETRY_MS   2000
#define RESERVE_MS 10000 /* nothing waits, but the reserve is to be had again */

struct item {
	STAILQ_ENTRY(item) link;
	uint64_t origin, id;
	size_t size;
	uint8_t body[]; /* packed Event */
};
STAILQ_HEAD(items, item);

/* What a job found, for the event loop. */
struct health {
	enum amp_db_error error;
	bool reserve; /* stands */
	char why[320];
	char aside[4096]; /* file set aside that is still there */
};

struct batch {
	struct amp_io_job job;
	struct items items;
	size_t n;
	struct store_counts counts;
	struct health health;
	bool over; /* pruning is due */
};

/* Opening, pruning, the reserve, files set aside: what is not a batch. */
struct tend {
	struct amp_io_job job;
	uint64_t pruned;
	bool mended; /* once a job */
	struct health health;
};

struct ingest {
	struct amp_iothread *io;
	struct store *store;
	struct ingest_ops ops;
	char *shown_path;
	unsigned retry_ms;
	struct event *gather, *retry;
	struct items waiting;
	size_t n_waiting, bytes; /* bytes: of the batch as well */
	struct batch batch;
	struct tend tend;
	bool committing, tending, failing, paused;
	_Atomic bool stopping;			   /* the thread looks at it too */
	char detail_full[640], detail_broken[640]; /* as told to ampmon; empty: not raised */
};

static struct amp_counter received = AMP_COUNTER("events.received", false);
static struct amp_counter committed = AMP_COUNTER("events.committed", false);
static struct amp_counter occurrences = AMP_COUNTER("events.occurrences", false);
static struct amp_counter repeated = AMP_COUNTER("events.repeated", false);
static struct amp_counter duplicates = AMP_COUNTER("events.duplicates", false);
static struct amp_counter pruned = AMP_COUNTER("events.pruned", true);
static struct amp_counter set_aside = AMP_COUNTER("events.databases_set_aside", true);
static struct amp_counter commits = AMP_COUNTER("events.commits", false);

/* --- on the I/O thread ---------------------------------------------------- */

static enum amp_db_error open_store(struct store *store)
{
	bool was_broken;
	enum amp_db_error error = store_open(store, &was_broken);

	if (was_broken)
		amp_counter_add(&set_aside, 1);
	return error;
}

/* After an error: what can be done about it at once. True: try again. */
static bool mend(struct store *store, enum amp_db_error error)
{
	switch (error) {
	case AMP_DB_FULL:
		return store_release_reserve(store);
	case AMP_DB_BROKEN:
		if (store_set_aside(store))
			return false;
		amp_counter_add(&set_aside, 1);
		return true;
	case AMP_DB_OTHER:
		store_close(store); /* opened anew at the next try */
		return false;
	default:
		return false;
	}
}

static void take_health(struct store *store, enum amp_db_error error, struct health *h)
{
	h->error = error;
	h->reserve = store_has_reserve(store);
	snprintf(h->why, sizeof(h->why), "%s", store_why(store));
	if (!store_aside_left(store, h->aside, sizeof(h->aside)))
		h->aside[0] = '\0';
}

static enum amp_db_error add_item(struct store *store, const struct item *item, struct store_counts *counts)
{
	Amp__Event *e = amp__event__unpack(NULL, item->size, item->body);
	enum amp_db_error error;

	if (!e)
		return AMP_DB_OTHER;
	error = store_add(store, e, counts);
	amp__event__free_unpacked(e, NULL);
	return error;
}

static enum amp_db_error commit_batch(struct store *store, struct batch *b)
{
	struct item *item;
	enum amp_db_error error = open_store(store);

	memset(&b->counts, 0, sizeof(b->counts));
	if (error == AMP_DB_OK)
		error = store_begin(store);
	STAILQ_FOREACH(item, &b->items, link)
	{
		if (error != AMP_DB_OK)
			break;
		error = add_item(store, item, &b->counts);
	}
	if (error == AMP_DB_OK)
		error = store_commit(store);
	if (error != AMP_DB_OK)
		store_rollback(store);
	return error;
}

static struct ingest *ingest_of_batch(struct amp_io_job *job)
{
	return (struct ingest *)((char *)job - offsetof(struct ingest, batch.job));
}

static bool run_batch(struct amp_io_job *job)
{
	struct ingest *in = ingest_of_batch(job);
	struct batch *b = &in->batch;
	enum amp_db_error error = commit_batch(in->store, b);
	bool mended = error != AMP_DB_OK && mend(in->store, error);

	if (mended)
		error = commit_batch(in->store, b);
	else if (error == AMP_DB_OK && !store_has_reserve(in->store))
		store_restore_reserve(in->store);
	take_health(in->store, error, &b->health);
	b->over = store_over(in->store);
	return true;
}

static struct ingest *ingest_of_tend(struct amp_io_job *job)
{
	return (struct ingest *)((char *)job - offsetof(struct ingest, tend.job));
}

/* Opens; prunes by one transaction a run, so that commits come in between. */
static bool run_tend(struct amp_io_job *job)
{
	struct ingest *in = ingest_of_tend(job);
	enum amp_db_error error = open_store(in->store);
	bool more = error == AMP_DB_OK && !in->stopping && store_over(in->store);

	if (more)
		error = store_prune(in->store, &in->tend.pruned);
	if (error != AMP_DB_OK) {
		more = !in->tend.mended && mend(in->store, error);
		in->tend.mended = true;
	}
	if (more)
		return false;
	if (error == AMP_DB_OK && !store_has_reserve(in->store))
		store_restore_reserve(in->store);
	take_health(in->store, error, &in->tend.health);
	return true;
}

/* --- in the event loop ---------------------------------------------------- */

static void say(struct ingest *in, enum amp_fault_number n, char *told, size_t size, const char *detail)
{
	if (strcmp(told, detail) == 0)
		return;
	snprintf(told, size, "%s", detail);
	if (detail[0])
		amp_error("%s", detail);
	in->ops.fault(n, detail[0] != '\0', detail, in->ops.arg);
}

static const char *base_name(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

static void say_full(struct ingest *in, const struct health *h)
{
	char detail[640] = "";

	if (h->error == AMP_DB_FULL)
		snprintf(detail, sizeof(detail),
			 "%s: no space (%s); events wait, none is lost; free space on its file system",
			 in->shown_path, h->why);
	else if (h->error == AMP_DB_OK && !h->reserve)
		snprintf(
			detail, sizeof(detail),
			"%s: events are kept, but the reserve is used up (%s); free space on its file system",
			in->shown_path, h->why);
	else if (h->error != AMP_DB_OK)
		return; /* not known now */
	say(in, AMP_FAULT_DATABASE_FULL, in->detail_full, sizeof(in->detail_full), detail);
}

static void say_broken(struct ingest *in, const struct health *h)
{
	char detail[640] = "";

	if (h->error == AMP_DB_NEWER)
		snprintf(detail, sizeof(detail),
			 "%s: %s; install that version again or move the file away; events wait",
			 in->shown_path, h->why);
	else if (h->error == AMP_DB_OTHER || h->error == AMP_DB_BROKEN)
		snprintf(detail, sizeof(detail), "%s: %s; events wait, tried again every %u ms",
			 in->shown_path, h->why, in->retry_ms);
	else if (h->aside[0])
		snprintf(detail, sizeof(detail),
			 "%s was broken: its history is in %.200s beside it, a new one is in use; "
			 "remove that file to clear this",
			 in->shown_path, base_name(h->aside));
	say(in, AMP_FAULT_DATABASE_BROKEN, in->detail_broken, sizeof(in->detail_broken), detail);
}

static void set_retry(struct ingest *in, const struct health *h)
{
	unsigned ms = h->error != AMP_DB_OK ? in->retry_ms : RESERVE_MS;
	struct timeval delay = {.tv_sec = ms / 1000, .tv_usec = (ms % 1000) * 1000};

	evtimer_del(in->retry);
	if ((h->error != AMP_DB_OK || !h->reserve) && !in->stopping)
		evtimer_add(in->retry, &delay);
}

static void note_health(struct ingest *in, const struct health *h)
{
	in->failing = h->error != AMP_DB_OK;
	say_full(in, h);
	say_broken(in, h);
	set_retry(in, h);
}

static void set_paused(struct ingest *in)
{
	size_t share = in->paused ? 2 : 1; /* hysteresis: on again at half */
	bool paused = in->n_waiting >= INGEST_HIGH_EVENTS / share || in->bytes >= INGEST_HIGH_BYTES / share;

	if (paused == in->paused)
		return;
	in->paused = paused;
	in->ops.pause(paused, in->ops.arg);
}

static void submit_tend(struct ingest *in)
{
	if (in->tending)
		return;
	in->tending = true;
	in->tend.mended = false;
	amp_iothread_submit(in->io, &in->tend.job);
}

static void submit_batch(struct ingest *in)
{
	struct batch *b = &in->batch;
	struct item *item;

	if (in->committing || in->failing || STAILQ_EMPTY(&in->waiting))
		return;
	while (b->n < INGEST_BATCH && (item = STAILQ_FIRST(&in->waiting))) {
		STAILQ_REMOVE_HEAD(&in->waiting, link);
		STAILQ_INSERT_TAIL(&b->items, item, link);
		b->n++;
		in->n_waiting--;
	}
	in->committing = true;
	amp_iothread_submit(in->io, &b->job);
}

/* Ids of one origin, in order; the items go. */
static void ack_run(struct ingest *in, struct batch *b)
{
	uint64_t ids[INGEST_BATCH], origin = STAILQ_FIRST(&b->items)->origin;
	struct item *item;
	size_t n = 0;

	while ((item = STAILQ_FIRST(&b->items)) && item->origin == origin) {
		STAILQ_REMOVE_HEAD(&b->items, link);
		ids[n++] = item->id;
		in->bytes -= item->size;
		free(item);
	}
	in->ops.ack(origin, ids, n, in->ops.arg);
}

static void count(const struct batch *b)
{
	amp_counter_add(&commits, 1);
	amp_counter_add(&committed, b->counts.added);
	amp_counter_add(&occurrences, b->counts.occurrences);
	amp_counter_add(&repeated, b->counts.repeated);
	amp_counter_add(&duplicates, b->counts.duplicates);
}

static void batch_done(struct amp_io_job *job)
{
	struct ingest *in = ingest_of_batch(job);
	struct batch *b = &in->batch;

	in->committing = false;
	if (b->health.error == AMP_DB_OK) {
		count(b);
		if (b->counts.added > 0)
			in->ops.added(in->ops.arg);
		b->n = 0;
		while (!STAILQ_EMPTY(&b->items))
			ack_run(in, b);
	} else {
		/* Kept at the head: the next batch begins with these. */
		STAILQ_CONCAT(&b->items, &in->waiting);
		STAILQ_CONCAT(&in->waiting, &b->items);
		in->n_waiting += b->n;
		b->n = 0;
	}
	note_health(in, &b->health);
	if (b->over)
		submit_tend(in);
	set_paused(in);
	submit_batch(in);
}

static void tend_done(struct amp_io_job *job)
{
	struct ingest *in = ingest_of_tend(job);

	in->tending = false;
	if (in->tend.pruned > 0) {
		amp_info("%llu of the oldest events pruned", (unsigned long long)in->tend.pruned);
		amp_counter_add(&pruned, in->tend.pruned);
		in->tend.pruned = 0;
	}
	if (in->committing)
		return; /* the batch will tell how things are */
	if (in->tend.health.error == AMP_DB_OK && in->failing && in->n_waiting > 0)
		in->failing = false; /* so will the one that is tried again now */
	else
		note_health(in, &in->tend.health);
	submit_batch(in);
}

static void on_gather(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	submit_batch(arg);
}

static void on_retry(evutil_socket_t fd, short what, void *arg)
{
	struct ingest *in = arg;

	(void)fd;
	(void)what;
	in->failing = false;
	submit_batch(in);
	if (!in->committing)
		submit_tend(in);
}

static struct item *copy_event(uint64_t origin, uint64_t id, const Amp__Event *e)
{
	size_t size = amp__event__get_packed_size(e);
	struct item *item = malloc(sizeof(*item) + size);

	if (!item)
		amp_fatal("no memory for an event"); /* its sender sends it again to a successor */
	item->origin = origin;
	item->id = id;
	item->size = size;
	amp__event__pack(e, item->body);
	return item;
}

/* The commit begins when everything the loop has in hand is gathered. */
int ingest_event(struct ingest *in, uint64_t origin, uint64_t id, const Amp__Event *e)
{
	const char *field = amp_event_check(e);
	struct item *item;

	if (field) {
		amp_warn("an event breaks the protocol in its field %s", field);
		return -1;
	}
	item = copy_event(origin, id, e);
	STAILQ_INSERT_TAIL(&in->waiting, item, link);
	in->n_waiting++;
	in->bytes += item->size;
	amp_counter_add(&received, 1);
	if (!in->committing && !in->failing)
		event_active(in->gather, EV_TIMEOUT, 0);
	set_paused(in);
	return 0;
}

bool ingest_paused(const struct ingest *in)
{
	return in->paused;
}

void ingest_start(struct ingest *in)
{
	submit_tend(in);
}

void ingest_look(struct ingest *in)
{
	if ((in->detail_full[0] || in->detail_broken[0]) && !in->stopping)
		submit_tend(in);
}

void ingest_stop(struct ingest *in)
{
	in->stopping = true;
	evtimer_del(in->retry);
	submit_batch(in);
}

static void free_items(struct items *items)
{
	struct item *item;

	while ((item = STAILQ_FIRST(items))) {
		STAILQ_REMOVE_HEAD(items, link);
		free(item);
	}
}

void ingest_free(struct ingest *in)
{
	if (!in)
		return;
	if (in->gather)
		event_free(in->gather);
	if (in->retry)
		event_free(in->retry);
	free_items(&in->waiting);
	free_items(&in->batch.items);
	free(in->shown_path);
	free(in);
}

static void list_counters(void)
{
	struct amp_counter *const shown[] = {&received, &committed, &commits,	&occurrences,
					     &repeated, &pruned,    &duplicates};

	for (size_t i = 0; i < sizeof(shown) / sizeof(*shown); i++)
		amp_counter_list(shown[i]);
}

struct ingest *ingest_new(struct event_base *base, struct amp_iothread *io, struct store *store,
			  const struct ingest_config *c, const struct ingest_ops *ops)
{
	struct ingest *in = calloc(1, sizeof(*in));

	if (!in)
		return NULL;
	in->io = io;
	in->store = store;
	in->ops = *ops;
	in->retry_ms = c->retry_ms ? c->retry_ms : RETRY_MS;
	in->shown_path = strdup(c->shown_path);
	STAILQ_INIT(&in->waiting);
	STAILQ_INIT(&in->batch.items);
	in->batch.job.run = run_batch;
	in->batch.job.done = batch_done;
	in->tend.job.run = run_tend;
	in->tend.job.done = tend_done;
	in->gather = event_new(base, -1, 0, on_gather, in);
	in->retry = evtimer_new(base, on_retry, in);
	list_counters();
	if (in->shown_path && in->gather && in->retry)
		return in;
	ingest_free(in);
	errno = ENOMEM;
	return NULL;
}
