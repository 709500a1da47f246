/*
 * ampscand/scan.c - content on its way to a worker and back.
 *
 * Owns: the queues (events before scans on demand, root's files and others' in
 * turn), the copies that wait in them and the memory that these may take, jobs
 * that wait for the same content, trying again, what becomes of work when the
 * engine goes. Must not own: workers (workers.c), whether a word is believed
 * (witness.c), decisions.
 */
#include "scan.h"

#include "clock.h"
#include "counter.h"
#include "log.h"
#include "text.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define QUICK_POOL (64ULL << 20)
#define LARGE_POOL SCAND_COPY_MAX
#define COPIES_MAX 1024U /* in all: each is a descriptor */
#define PAGE	   4096U
#define FAILURES   2U
#define LINKS_LOST 3U

struct queue {
	struct scan *first, *last;
};

struct scans {
	struct cache by_sha;
	struct queue queue[2][2]; /* for scans on demand; of root's files */
	bool others_turn;
	uint64_t serial;
	uint64_t used[2]; /* bytes of copies, there or asked for: small, large */
	size_t copies;
	bool away; /* the engine is not there, and work waits for it a little */
	struct event *timer;
};

static struct amp_counter count_scans = AMP_COUNTER("engine.scans", false);
/* Of them: from the request to a worker until its verdict is here. */
static struct amp_counter count_request_us = AMP_COUNTER("engine.request_us", false);
static struct amp_counter count_infected = AMP_COUNTER("engine.infected", false);
static struct amp_counter count_joined = AMP_COUNTER("engine.joined", false);

static bool scan_equal(const struct cache_node *node, const void *key)
{
	return memcmp(((const struct scan *)node)->sha256, key, AMP_SHA256_SIZE) == 0;
}

static void scan_evict(struct cache_node *node, void *arg)
{
	(void)node; /* the table has no bound; scans leave by scan_free() */
	(void)arg;
}

static void on_away(evutil_socket_t fd, short what, void *arg);

int scans_init(struct scand *s)
{
	s->scans = calloc(1, sizeof(*s->scans));
	if (!s->scans || cache_init(&s->scans->by_sha, COPIES_MAX, 0, scan_equal, scan_evict, NULL) != 0)
		return -1;
	s->scans->timer = evtimer_new(s->base, on_away, s);
	return s->scans->timer ? 0 : -1;
}

/* -- memory -- */

static uint64_t room_of(uint64_t size)
{
	return (size / PAGE + 2) * PAGE; /* and what the kernel keeps of it */
}

static void take_room(struct scand *s, uint64_t size)
{
	s->scans->used[size > SCAND_COPY_QUICK] += room_of(size);
	s->scans->copies++;
}

static void give_room(struct scand *s, uint64_t size)
{
	s->scans->used[size > SCAND_COPY_QUICK] -= room_of(size);
	s->scans->copies--;
	scand_pump_later(s);
}

void scans_reserve(struct scand *s, struct job *j, uint64_t size)
{
	scans_release(s, j);
	j->reserved = size;
	take_room(s, size);
}

void scans_release(struct scand *s, struct job *j)
{
	if (j->reserved && s->scans)
		give_room(s, j->reserved);
	j->reserved = 0;
}

/* A large file's copy may be as large as the policy lets one be. */
static uint64_t most(const struct scand *s, bool large)
{
	uint64_t file = judge_scan_limit(s, false), archive = judge_scan_limit(s, true);
	uint64_t limit = file > archive ? file : archive;

	return room_of(large && limit > SCAND_COPY_QUICK ? limit : SCAND_COPY_QUICK);
}

/* Scans on demand have half of what there is, or one copy. */
bool scans_may_ask(const struct scand *s, bool large, bool demand)
{
	const struct scans *t = s->scans;
	uint64_t pool = large ? LARGE_POOL : QUICK_POOL, need;
	size_t copies = COPIES_MAX;

	if (engine_state(s) != ENGINE_READY)
		return true;
	need = most(s, large);
	if (demand) {
		pool /= 2;
		copies /= 2;
	}
	return t->copies < copies && (t->used[large] == 0 || t->used[large] + need <= pool);
}

uint64_t scans_room(const struct scand *s)
{
	uint64_t used = s->scans->used[0];

	return s->scans->copies < COPIES_MAX && used < QUICK_POOL ? QUICK_POOL - used : 0;
}

/* -- queues -- */

static struct queue *queue_of(struct scand *s, const struct scan *c)
{
	return &s->scans->queue[c->demand][c->for_root];
}

static void push(struct scand *s, struct scan *c, bool front)
{
	struct queue *q = queue_of(s, c);

	c->queued = true;
	c->prev = front ? NULL : q->last;
	c->next = front ? q->first : NULL;
	*(c->prev ? &c->prev->next : &q->first) = c;
	*(c->next ? &c->next->prev : &q->last) = c;
	scand_pump_later(s);
}

static void pull(struct scand *s, struct scan *c)
{
	struct queue *q = queue_of(s, c);

	if (!c->queued)
		return;
	*(c->prev ? &c->prev->next : &q->first) = c->next;
	*(c->next ? &c->next->prev : &q->last) = c->prev;
	c->next = c->prev = NULL;
	c->queued = false;
}

static void wait_for(struct scan *c, struct job *j)
{
	j->scan = c;
	j->scan_next = c->jobs;
	c->jobs = j;
}

void scans_hurry(struct scand *s, struct job *j)
{
	struct scan *c = j->scan;

	if (!c || !c->demand)
		return;
	if (!c->queued) {
		c->demand = false;
		return;
	}
	pull(s, c);
	c->demand = false;
	push(s, c, false);
}

static struct scan *scan_new(struct scand *s, const uint8_t *sha256, int snapshot)
{
	struct scan *c = calloc(1, sizeof(*c));
	struct stat st;

	if (!c || fstat(snapshot, &st) != 0) {
		free(c);
		return NULL;
	}
	c->serial = ++s->scans->serial;
	c->snapshot = snapshot;
	c->size = (uint64_t)st.st_size;
	memcpy(c->sha256, sha256, AMP_SHA256_SIZE);
	take_room(s, c->size);
	cache_insert(&s->scans->by_sha, &c->node, contents_hash(sha256));
	return c;
}

static void scan_free(struct scand *s, struct scan *c)
{
	pull(s, c);
	witness_drop(c);
	cache_remove(&s->scans->by_sha, &c->node);
	give_room(s, c->size);
	close(c->snapshot);
	free(c);
}

static struct scan *join(struct scand *s, const uint8_t *sha256, int snapshot)
{
	struct scan *c = (struct scan *)cache_find(&s->scans->by_sha, contents_hash(sha256), sha256);

	if (!c)
		return NULL;
	amp_counter_add(&count_joined, 1);
	close(snapshot);
	return c;
}

int scans_ask(struct scand *s, struct job *j, const uint8_t *sha256, int snapshot, uid_t owner, bool demand)
{
	struct scan *c = join(s, sha256, snapshot);

	if (c) {
		wait_for(c, j);
		if (!demand)
			scans_hurry(s, j);
		return 0;
	}
	c = scan_new(s, sha256, snapshot);
	if (!c) {
		close(snapshot);
		return -1;
	}
	c->for_root = owner == 0;
	c->demand = demand;
	wait_for(c, j);
	push(s, c, false);
	return 0;
}

void scans_forget(struct scand *s, struct job *j)
{
	struct scan *c = j->scan;
	struct job **p;

	if (!c)
		return;
	for (p = &c->jobs; *p && *p != j; p = &(*p)->scan_next)
		;
	if (*p)
		*p = j->scan_next;
	j->scan = NULL;
	j->scan_next = NULL;
	if (!c->jobs && c->queued)
		scan_free(s, c);
}

void scans_again(struct scand *s, struct scan *c, enum scan_need need)
{
	c->need = need;
	push(s, c, true);
}

/* -- whose turn it is -- */

/* The first that somebody may take; those behind one that anybody might take wait with it. */
static bool serve(struct scand *s, struct queue *q)
{
	for (struct scan *c = q->first; c; c = c->next) {
		struct worker *w = workers_find(s, c);

		if (w) {
			pull(s, c);
			workers_send(w, c);
			return true;
		}
		if (c->need == NEED_ANY)
			return false;
	}
	return false;
}

static bool serve_one(struct scand *s, bool demand)
{
	struct scans *t = s->scans;
	bool root = !t->others_turn;

	t->others_turn = !t->others_turn;
	return serve(s, &t->queue[demand][root]) || serve(s, &t->queue[demand][!root]);
}

static unsigned length(const struct queue *q, unsigned most_of_use)
{
	unsigned n = 0;

	for (const struct scan *c = q->first; c && n < most_of_use; c = c->next)
		n++;
	return n;
}

/* That another worker would begin with: what must let others go first needs none. As many as could be
 * of use: more than workers there are not. */
static unsigned count_waiting(struct scand *s)
{
	unsigned n = 0;

	for (unsigned i = 0; i < 4; i++) {
		const struct queue *q = &s->scans->queue[i / 2][i % 2];

		if (q->first && workers_turn(s, q->first))
			n += length(q, WORKERS_MAX - n);
	}
	return n;
}

void scans_pump(struct scand *s)
{
	if (engine_state(s) != ENGINE_READY)
		return;
	while (serve_one(s, false) || serve_one(s, true))
		;
	workers_want(s, count_waiting(s));
}

/* -- ends -- */

/* All that wait are told. c is no more. */
static void deliver(struct scand *s, struct scan *c, const struct content *known)
{
	struct job *j = c->jobs;

	c->jobs = NULL;
	scan_free(s, c);
	while (j) {
		struct job *next = j->scan_next;

		j->scan = NULL;
		j->scan_next = NULL;
		judge_scanned(s, j, known);
		j = next;
	}
	scand_pump_later(s);
}

void scans_finish(struct scand *s, struct scan *c, enum content_result result, uint64_t generation,
		  uint64_t worker, const char *name)
{
	struct content short_lived = {.result = result, .generation = generation, .worker = worker};
	char text[AMP_SIGNATURE_MAX + 1] = "";
	const struct content *known;

	amp_counter_add(&count_infected, result == CONTENT_INFECTED);
	known = contents_store(&s->contents, c->sha256, result, generation, worker, name);
	if (!known) {
		memcpy(short_lived.sha256, c->sha256, sizeof(short_lived.sha256));
		snprintf(text, sizeof(text), "%s", name ? name : "");
		short_lived.name = text;
		known = &short_lived;
	}
	deliver(s, c, known);
}

static void fail(struct scand *s, struct scan *c, const char *why)
{
	const struct occurrence *o = c->jobs ? c->jobs->first : NULL;
	char path[256], text[512];

	amp_text_escape(o && o->path ? o->path : "", o && o->path ? strlen(o->path) : 0, path, sizeof(path));
	snprintf(text, sizeof(text), "it failed on a file twice (%s): %s", why, path);
	engine_trouble(s, text);
	scans_finish(s, c, CONTENT_UNSCANNABLE, engine_generation(s), 0, why);
}

void scans_worker_failed(struct scand *s, struct scan *c, const char *why)
{
	if (++c->failures >= FAILURES)
		fail(s, c, why);
	else
		scans_again(s, c, NEED_FRESH);
}

/* -- answers -- */

static bool is_printable(const char *text)
{
	for (; *text; text++)
		if ((unsigned char)*text < 0x20 || *text == 0x7f)
			return false;
	return true;
}

static bool verdict_is_valid(const Amp__ScanVerdict *v)
{
	size_t name = strlen(v->name);
	bool infected = v->result == AMP__SCAN_VERDICT__RESULT__INFECTED;

	return v->result > AMP__SCAN_VERDICT__RESULT__NONE && v->result <= AMP__SCAN_VERDICT__RESULT__ERROR &&
	       (infected ? name > 0 && name <= AMP_SIGNATURE_MAX : name == 0) && is_printable(v->name) &&
	       strlen(v->detail) <= AMP_SIGNATURE_MAX && is_printable(v->detail);
}

static const enum content_result results[] = {
	[AMP__SCAN_VERDICT__RESULT__CLEAN] = CONTENT_CLEAN,
	[AMP__SCAN_VERDICT__RESULT__INFECTED] = CONTENT_INFECTED,
	[AMP__SCAN_VERDICT__RESULT__PARTIAL] = CONTENT_PARTIAL,
	[AMP__SCAN_VERDICT__RESULT__ERROR] = CONTENT_NONE,
};

/* What it says of the time it took is its word; ours is the bound. */
static void note_work(struct scand *s, const struct worker *w, const struct scan *c, uint64_t ns)
{
	uint64_t ours = (uint64_t)(amp_clock_monotonic() - w->since_ns);

	s->engine->scans++;
	amp_counter_add(&count_scans, 1);
	amp_counter_add(&count_request_us, (ours + 500) / 1000);
	if (c->demand)
		demand_worked(s, ns < ours ? ns : ours);
}

int scans_answered(struct scand *s, struct worker *w, uint64_t id, const Amp__ScanVerdict *v)
{
	struct scan *c = w->scan;
	enum content_result result;

	if (!c || w->state != WORKER_BUSY || c->serial != id || !verdict_is_valid(v))
		return -1;
	result = results[v->result];
	note_work(s, w, c, v->ns);
	w->scan = NULL;
	c->worker = NULL;
	w->state = WORKER_IDLE;
	w->since_ns = amp_clock_monotonic();
	/* After a conviction as well: what is in it was made to be looked at. */
	if (++w->files >= WORKER_FILES || w->given >= WORKER_BYTES || result == CONTENT_INFECTED ||
	    result == CONTENT_NONE || w->generation != engine_generation(s) ||
	    engine_state(s) != ENGINE_READY)
		worker_retire(w); /* its record stays while its word counts */
	if (result == CONTENT_NONE)
		scans_worker_failed(s, c, v->detail[0] ? v->detail : "an error");
	else if (result == CONTENT_INFECTED)
		witness_says(s, c, w, result, v->name);
	else
		witness_says(s, c, w, result, v->detail[0] ? v->detail : NULL);
	scand_pump_later(s);
	return 0;
}

/* -- when the engine goes -- */

struct cache_node *scans_oldest(const struct scand *s)
{
	return s->scans->by_sha.oldest;
}

/* What no worker has in hand is decided without. */
static void end_waiting(struct scand *s)
{
	for (unsigned i = 0; i < 4; i++)
		while (s->scans->queue[i / 2][i % 2].first)
			deliver(s, s->scans->queue[i / 2][i % 2].first, NULL);
}

static void on_away(evutil_socket_t fd, short what, void *arg)
{
	struct scand *s = arg;

	(void)fd;
	(void)what;
	if (engine_state(s) != ENGINE_READY)
		end_waiting(s);
}

void scans_link_lost(struct scand *s)
{
	for (struct cache_node *n = s->scans->by_sha.oldest, *newer; n; n = newer) {
		struct scan *c = (struct scan *)n;

		newer = n->newer;
		witness_drop(c);
		c->need = NEED_ANY;
		if (!c->worker)
			continue;
		c->worker->scan = NULL;
		c->worker = NULL;
		if (++c->links_lost >= LINKS_LOST)
			fail(s, c, "ampengine ended each time");
		else
			scans_again(s, c, NEED_FRESH);
	}
}

void scans_engine_changed(struct scand *s)
{
	struct timeval tv = {.tv_sec = GRACE_NS / AMP_NS_PER_SEC};
	enum engine_state state = engine_state(s);
	struct scans *t = s->scans;

	if (state == ENGINE_READY) {
		evtimer_del(t->timer);
		t->away = false;
	} else if (state != ENGINE_LOADING) {
		end_waiting(s);
	} else if (!t->away) {
		t->away = true;
		evtimer_add(t->timer, &tv);
	}
}

void scans_free(struct scand *s)
{
	struct scan *c;

	if (!s->scans)
		return;
	while (s->scans->by_sha.buckets && (c = (struct scan *)scans_oldest(s))) {
		for (struct job *j = c->jobs; j; j = j->scan_next)
			j->scan = NULL;
		if (c->worker)
			c->worker->scan = NULL;
		scan_free(s, c);
	}
	cache_free(&s->scans->by_sha);
	if (s->scans->timer)
		event_free(s->scans->timer);
	free(s->scans);
	s->scans = NULL;
}
