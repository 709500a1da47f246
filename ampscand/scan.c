/*
 * ampscand/scan.c - content on its way to a worker and back.
 *
 * Owns: the copies that wait, the memory that these may take and whose share of
 * it is how large, jobs that wait for the same content, trying again, what
 * becomes of work when the engine goes. Must not own: whose turn it is (turns.c),
 * workers (workers.c), whether a word is believed (witness.c), decisions.
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
#define KILLS	   5U /* where memory is short, and by whoever may: seldom the file's doing */
#define LINKS_LOST 3U
/* Readings that bring copies end within that, one after the other; or a reader hangs. */
#define READING_NS (AMP_NS_PER_SEC / 2)

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

static void count(struct copy_use *u, const struct copy_hold *h, bool back)
{
	unsigned large = h->size > SCAND_COPY_QUICK;
	uint64_t bytes = back ? 0 - room_of(h->size) : room_of(h->size);
	size_t one = back ? (size_t)-1 : 1;

	u->bytes[large] += bytes;
	u->copies += one;
	u->asked[large] += h->asked ? bytes : 0;
	u->copies_asked += h->asked ? one : 0;
}

static void count_all(struct scans *t, const struct copy_hold *h, bool back)
{
	count(&t->all, h, back);
	count(&t->of_class[h->root], h, back);
	if (h->demand)
		count(&t->of_demand, h, back);
	if (h->owner)
		count(&h->owner->use, h, back);
}

/* known: that of the owner, not only of who wrote it. */
static void take_room(struct scand *s, struct copy_hold *h, uid_t owner, bool known)
{
	h->root = known && owner == 0;
	h->owner = owner ? turns_get(&s->scans->turns, owner) : NULL;
	count_all(s->scans, h, false);
}

static void give_room(struct scand *s, struct copy_hold *h)
{
	count_all(s->scans, h, true);
	if (h->owner)
		turns_put(&s->scans->turns, h->owner);
	*h = (struct copy_hold){0};
	scand_pump_later(s);
}

void scans_reserve(struct scand *s, struct job *j, uint64_t size)
{
	struct scans *t = s->scans;

	scans_release(s, j);
	if (!size)
		return;
	if (t->all.copies_asked == 0)
		t->read_ns = amp_clock_monotonic();
	j->hold = (struct copy_hold){.size = size, .demand = j->demand, .asked = true};
	take_room(s, &j->hold, j->bucket, job_owner_is_known(j));
}

void scans_release(struct scand *s, struct job *j)
{
	if (!j->hold.size || !s->scans)
		return;
	give_room(s, &j->hold);
	s->scans->read_ns = amp_clock_monotonic();
}

/* A large file's copy may be as large as the policy lets one be. */
static uint64_t most(const struct scand *s, bool large)
{
	uint64_t file = judge_scan_limit(s, false), archive = judge_scan_limit(s, true);
	uint64_t limit = file > archive ? file : archive;

	return room_of(large && limit > SCAND_COPY_QUICK ? limit : SCAND_COPY_QUICK);
}

/* For one of so many bytes, or for the only one; there: what is asked for is not counted. */
static bool fits(const struct copy_use *u, bool large, uint64_t need, bool there, uint64_t bytes,
		 size_t copies)
{
	uint64_t used = u->bytes[large] - (there ? u->asked[large] : 0);

	return u->copies - (there ? u->copies_asked : 0) < copies && (used == 0 || used + need <= bytes);
}

/*
 * Whoever's files take the engine long must not keep others' from it, so root's
 * files leave a part for others', others' one for root's: a quarter, and room
 * for the largest copy. Another owner than root has half, and so have scans on
 * demand.
 */
static bool is_room(const struct scand *s, const struct copy_hold *h, uint64_t need, bool there)
{
	const struct scans *t = s->scans;
	bool large = h->size > SCAND_COPY_QUICK;
	uint64_t pool = large ? LARGE_POOL : QUICK_POOL, left = most(s, large);
	const size_t part = COPIES_MAX / 4, half = COPIES_MAX / 2;

	if (left < pool / 4)
		left = pool / 4;
	else if (left > pool)
		left = pool;
	return fits(&t->all, large, need, there, pool, COPIES_MAX) &&
	       fits(&t->of_class[h->root], large, need, there, pool - left, COPIES_MAX - part) &&
	       (!h->demand || fits(&t->of_demand, large, need, there, pool / 2, half)) &&
	       (!h->owner || fits(&h->owner->use, large, need, there, pool / 2, half));
}

static enum copy_room room_for(const struct scand *s, const struct copy_hold *h, uint64_t need)
{
	if (is_room(s, h, need, false))
		return COPY_ROOM;
	if (amp_clock_monotonic() - s->scans->read_ns > READING_NS)
		return COPY_NO_ROOM;
	return is_room(s, h, need, true) ? COPY_SOON : COPY_NO_ROOM;
}

enum copy_room scans_room_for(const struct scand *s, uid_t owner, bool known, bool large, bool demand)
{
	enum copy_room room, other;
	struct copy_hold h = {
		.size = SCAND_COPY_QUICK + large, .root = known && owner == 0, .demand = demand};

	if (engine_state(s) != ENGINE_READY)
		return COPY_ROOM;
	h.owner = owner ? turns_find(&s->scans->turns, owner) : NULL;
	room = room_for(s, &h, most(s, large));
	if (known || owner)
		return room;
	h.root = true; /* as what root wrote mostly is */
	other = room_for(s, &h, most(s, large));
	return other > room ? other : room;
}

bool scans_may_ask(const struct scand *s, bool large, bool demand)
{
	return scans_room_for(s, 0, false, large, demand) == COPY_ROOM;
}

uint64_t scans_room(const struct scand *s)
{
	uint64_t used = s->scans->all.bytes[0];

	return s->scans->all.copies < COPIES_MAX && used < QUICK_POOL ? QUICK_POOL - used : 0;
}

/* -- queues -- */

static void push(struct scand *s, struct scan *c, bool front)
{
	turns_push(&s->scans->turns, c, front);
	scand_pump_later(s);
}

static void pull(struct scand *s, struct scan *c)
{
	turns_pull(&s->scans->turns, c);
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
	count(&s->scans->of_demand, &c->hold, true);
	c->hold.demand = false;
	if (!c->queued) {
		c->demand = false;
		return;
	}
	pull(s, c);
	c->demand = false;
	push(s, c, false);
}

static struct scan *scan_new(struct scand *s, const uint8_t *sha256, int snapshot, uint64_t size, uid_t owner,
			     bool demand)
{
	struct scan *c = calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	if (owner && !turns_get(&s->scans->turns, owner)) {
		free(c);
		return NULL;
	}
	c->serial = ++s->scans->serial;
	c->snapshot = snapshot;
	c->size = size;
	c->for_root = owner == 0;
	c->demand = demand;
	memcpy(c->sha256, sha256, AMP_SHA256_SIZE);
	c->hold = (struct copy_hold){.size = size, .demand = demand};
	take_room(s, &c->hold, owner, true);
	cache_insert(&s->scans->by_sha, &c->node, contents_hash(sha256));
	return c;
}

static void scan_free(struct scand *s, struct scan *c)
{
	pull(s, c);
	witness_drop(c);
	cache_remove(&s->scans->by_sha, &c->node);
	give_room(s, &c->hold);
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

/* Who wrote it is not always its owner, whose share is known now. */
static bool may_stay(const struct scand *s, uint64_t size, uid_t owner, bool demand)
{
	struct copy_hold h = {.size = size, .root = owner == 0, .demand = demand};

	h.owner = owner ? turns_find(&s->scans->turns, owner) : NULL;
	return is_room(s, &h, room_of(size), false);
}

int scans_ask(struct scand *s, struct job *j, const uint8_t *sha256, int snapshot, uid_t owner, bool demand)
{
	struct scan *c = join(s, sha256, snapshot);
	struct stat st;
	bool may;

	if (c) {
		wait_for(c, j);
		if (!demand)
			scans_hurry(s, j);
		return 0;
	}
	if (fstat(snapshot, &st) != 0) {
		close(snapshot);
		return -1;
	}
	may = j->apart || may_stay(s, (uint64_t)st.st_size, owner, demand);
	c = may ? scan_new(s, sha256, snapshot, (uint64_t)st.st_size, owner, demand) : NULL;
	if (!c) {
		close(snapshot);
		return may ? -1 : 1;
	}
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

void scans_pump(struct scand *s)
{
	if (engine_state(s) != ENGINE_READY)
		return;
	while (turns_serve(s, &s->scans->turns, false) || turns_serve(s, &s->scans->turns, true))
		;
	workers_want(s, turns_waiting(s, &s->scans->turns));
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
	snprintf(text, sizeof(text), "it failed on a file (%s): %s", why, path);
	engine_trouble(s, text);
	scans_finish(s, c, CONTENT_UNSCANNABLE, engine_generation(s), 0, why);
}

void scans_used(struct scand *s, const struct scan *c, int64_t ns)
{
	/* What root has scanned of his must not make what happens to his files wait. */
	if (!c->demand)
		turns_used(&s->scans->turns, c->hold.owner, ns);
}

/* Behind those of its owner that never failed: it may take long once more. */
void scans_worker_failed(struct scand *s, struct scan *c, const char *why)
{
	if (++c->failures >= FAILURES) {
		fail(s, c, why);
		return;
	}
	c->need = NEED_FRESH;
	push(s, c, false);
}

void scans_interrupted(struct scand *s, struct scan *c)
{
	if (++c->interrupted >= KILLS)
		fail(s, c, "the process that looked at it was killed each time");
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
	engine_served(s);
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
	worker_take_back(w);
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
	struct scan *c;

	while ((c = turns_any(&s->scans->turns)))
		deliver(s, c, NULL);
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
	turns_free(&s->scans->turns);
	cache_free(&s->scans->by_sha);
	if (s->scans->timer)
		event_free(s->scans->timer);
	free(s->scans);
	s->scans = NULL;
}
