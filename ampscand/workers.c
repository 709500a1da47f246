/*
 * ampscand/workers.c - the processes of ampengine that scan, as ampscand sees them.
 *
 * Owns: the table of workers, each one's channel, which may take what (a class,
 * root's files or others'; fresh ones for witnesses), how many are asked for,
 * retiring, killing, deadlines, what an end means. Must not own: what is scanned
 * (scan.c), what words are worth (witness.c).
 */
#include "scan.h"

#include "clock.h"
#include "counter.h"
#include "log.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ACCESS_MS     10000U
#define LONG_MS	      120000U /* nobody waits for it, or once more: perhaps others had the processors */
#define GRACE_MS      5000U   /* then it is killed from outside */
#define SPAWN_NS      (5 * AMP_NS_PER_SEC)
#define REST_NS	      (60 * AMP_NS_PER_SEC)
#define PATIENCE_NS   (30 * AMP_NS_PER_SEC) /* ampengine ends a zygote that makes none after 10 s */
#define STEP_NS	      AMP_NS_PER_SEC	    /* of a wait: what is more was our own sleep */
#define MEMBERS_MAX   10000U
#define RECURSION_MAX 17U
#define UNPACKED      8U /* times the policy's largest: all that is unpacked of one file */

static struct amp_counter count_deaths = AMP_COUNTER("engine.worker_deaths", false);
static struct amp_counter count_timeouts = AMP_COUNTER("engine.timeouts", false);
static struct amp_counter count_spawned = AMP_COUNTER("engine.workers", false);
/* Of them: from the asking until it is here. */
static struct amp_counter count_spawn_us = AMP_COUNTER("engine.spawn_us", false);

static bool is_alive(const struct worker *w)
{
	return w->state != WORKER_GONE;
}

static bool is_current(const struct scand *s, const struct worker *w)
{
	return w->generation != 0 && w->generation == s->engine->generation;
}

unsigned workers_count(const struct scand *s)
{
	unsigned n = 0;

	for (const struct worker *w = s->engine->workers; w; w = w->next)
		n += is_alive(w);
	return n;
}

unsigned workers_max(const struct scand *s)
{
	return s->engine->state ? s->engine->state->workers_max : 0;
}

static void worker_free(struct worker *w)
{
	struct worker **p = &w->scand->engine->workers;

	while (*p && *p != w)
		p = &(*p)->next;
	if (*p)
		*p = w->next;
	if (w->channel)
		amp_channel_free(w->channel);
	witness_forget(w);
	free(w);
}

void worker_put_case(struct worker *w)
{
	w->cases--;
	if (w->state == WORKER_GONE && w->cases == 0)
		worker_free(w);
}

void workers_free(struct scand *s)
{
	while (s->engine->workers)
		worker_free(s->engine->workers);
	s->engine->asked = s->engine->came = 0;
	s->engine->may_come = 0;
}

/* -- ends -- */

static void leave(struct worker *w, enum worker_end end)
{
	if (w->channel)
		amp_channel_free(w->channel);
	w->channel = NULL;
	if (w->state < WORKER_LEAVING) {
		w->state = WORKER_LEAVING;
		w->deadline_ns = amp_clock_monotonic() + LEAVE_NS;
		engine_tick_later(w->scand);
	}
	if (w->end == END_NONE || end == END_LIAR)
		w->end = end;
}

void worker_retire(struct worker *w)
{
	if (w->state < WORKER_LEAVING)
		leave(w, END_RETIRED);
}

void worker_kill(struct worker *w, enum worker_end end)
{
	Amp__KillWorker k = AMP__KILL_WORKER__INIT;
	struct engine *e = w->scand->engine;

	w->killed = true;
	k.serial = w->wire_serial;
	if (is_alive(w) && e->channel)
		amp_channel_send(e->channel, AMP_MSG_KILL_WORKER, 0, &k.base, NULL, 0);
	leave(w, end);
}

struct scan *worker_take_back(struct worker *w)
{
	struct scan *c = w->scan;

	w->scan = NULL;
	if (!c)
		return NULL;
	c->worker = NULL;
	scans_used(w->scand, c, amp_clock_monotonic() - w->since_ns);
	return c;
}

/* What it had in hand goes to another. */
static void failed(struct worker *w, const char *why)
{
	struct scan *c = worker_take_back(w);

	if (c)
		scans_worker_failed(w->scand, c, why);
}

/* No crash ends in SIGKILL: it comes from outside, as when the machine's memory runs out. */
static void died(struct worker *w, int signal)
{
	bool by_others = signal == SIGKILL && !w->killed;
	struct scan *c = by_others ? worker_take_back(w) : NULL;

	if (c)
		scans_interrupted(w->scand, c);
	else
		failed(w, "the process that looked at it died");
}

static void on_end(struct amp_channel *ch, enum amp_channel_end end, const char *why, void *arg)
{
	struct worker *w = arg;
	struct scand *s = w->scand;
	char text[256];

	(void)ch;
	/* What it had in hand waits for the reason: ampengine's end is not the file's fault. */
	if (end != AMP_CHANNEL_HOSTILE) {
		leave(w, END_LOST);
		return;
	}
	snprintf(text, sizeof(text), "one of its processes broke the protocol: %.150s", why);
	engine_trouble(s, text);
	worker_kill(w, END_LIAR);
	witness_void(s, w);
	failed(w, "the process that looked at it broke the protocol");
}

/* It died by itself: a crash, or it would have us believe that it just left. */
static bool is_death(const struct worker *w, const Amp__WorkerGone *g)
{
	if (w->end == END_LOST)
		return true;
	return w->end == END_RETIRED && g->signal && g->signal != SIGKILL;
}

static struct worker *find(const struct scand *s, uint64_t wire_serial)
{
	struct worker *w = s->engine->workers;

	while (w && !(is_alive(w) && w->wire_serial == wire_serial))
		w = w->next;
	return w;
}

int workers_gone(struct scand *s, const Amp__WorkerGone *g)
{
	struct worker *w = find(s, g->serial);

	if (!w)
		return -1;
	leave(w, END_LOST); /* if nothing else ended it */
	w->cases++;	    /* held */
	died(w, g->signal);
	if (is_death(w, g)) {
		amp_counter_add(&count_deaths, 1);
		s->engine->deaths++;
		amp_warn("a process of the engine died by itself (signal %d, status %d)", g->signal,
			 g->status);
		witness_void(s, w);
	}
	w->state = WORKER_GONE;
	worker_put_case(w);
	scand_pump_later(s);
	return 0;
}

/* -- what they say -- */

static int on_verdict(struct amp_channel *ch, struct amp_message *m, void *arg)
{
	struct worker *w = arg;

	(void)ch;
	return scans_answered(w->scand, w, m->id, (const Amp__ScanVerdict *)m->body);
}

static const struct amp_dispatch table[] = {
	{AMP_MSG_SCAN_VERDICT, &amp__scan_verdict__descriptor, 4096, 0, 0, 0, on_verdict},
};

/* What did not come in time was perhaps dropped: ampengine says nothing of that. */
static unsigned awaited(const struct scand *s)
{
	int64_t now = amp_clock_monotonic();
	struct engine *e = s->engine;

	for (; e->came < e->asked && now - e->asked_ns[e->came % WORKERS_MAX] >= SPAWN_NS; e->came++)
		e->none_came = true;
	return (unsigned)(e->asked - e->came);
}

/* They come in the order in which they were asked for. */
static void note_came(struct scand *s)
{
	struct engine *e = s->engine;

	amp_counter_add(&count_spawned, 1);
	e->may_come--;
	if (awaited(s) > 0) {
		int64_t since = e->asked_ns[e->came++ % WORKERS_MAX];

		amp_counter_add(&count_spawn_us, (uint64_t)(amp_clock_monotonic() - since) / 1000);
	}
	e->none_came = false;
}

int workers_came(struct scand *s, struct amp_message *m)
{
	struct amp_channel_config c = {.name = "a worker",
				       .table = table,
				       .rows = sizeof(table) / sizeof(table[0]),
				       .on_end = on_end};
	const Amp__Worker *msg = (const Amp__Worker *)m->body;
	struct engine *e = s->engine;
	struct worker *w;

	if (e->may_come == 0 || msg->serial == 0 || find(s, msg->serial))
		return -1;
	note_came(s);
	w = calloc(1, sizeof(*w));
	if (!w)
		return 0; /* its end is closed, so it leaves */
	w->scand = s;
	w->serial = ++e->serial;
	w->wire_serial = msg->serial;
	w->wire_generation = msg->generation;
	if (e->state && msg->generation == e->state->generation)
		w->generation = e->generation;
	w->since_ns = amp_clock_monotonic();
	w->next = e->workers;
	e->workers = w;
	c.arg = w;
	w->channel = amp_channel_new(s->base, amp_message_take_fd(m, 0), &c);
	if (!w->channel ||
	    (e->state && (e->state->generation == 0 || msg->generation < e->state->generation)))
		worker_retire(w);
	engine_revived(s);
	scand_pump_later(s);
	return 0;
}

/* -- who may take what -- */

static bool has_said(const struct scan *c, const struct worker *w)
{
	for (unsigned i = 0; i < c->opinions; i++)
		if (c->opinion[i].worker == w)
			return true;
	return false;
}

/* A copy is out of our hands once it is sent: a worker that was taken over keeps it to its end. */
static bool has_share(const struct worker *w, const struct scan *c)
{
	return w->given == 0 || w->given + c->size <= WORKER_BYTES;
}

static bool may_take(const struct scand *s, const struct worker *w, const struct scan *c)
{
	if (!is_current(s, w))
		return false;
	if (w->state == WORKER_FRESH)
		return true;
	return w->state == WORKER_IDLE && c->need != NEED_FRESH && w->for_root == c->for_root &&
	       has_share(w, c) && !has_said(c, w);
}

/* With scans of that kind; what: as the kind needs it. */
static unsigned busy(const struct scand *s, bool (*kind)(const struct scan *c, const void *what),
		     const void *what)
{
	unsigned n = 0;

	for (const struct worker *w = s->engine->workers; w; w = w->next)
		n += w->state == WORKER_BUSY && w->scan && kind(w->scan, what);
	return n;
}

static bool of_demand(const struct scan *c, const void *what)
{
	(void)what;
	return c->demand;
}

static bool of_class(const struct scan *c, const void *what)
{
	return c->for_root == *(const bool *)what;
}

static bool of_owner(const struct scan *c, const void *what)
{
	return c->hold.owner == what;
}

/* Of so many workers all but some, and one at least. */
static unsigned left_of(unsigned max, unsigned kept, unsigned used)
{
	unsigned most = max > kept ? max - kept : 1;

	return most > used ? most - used : 0;
}

/*
 * Files on which workers take their time must not keep everything else waiting. So root's files leave two
 * workers to others', others' together leave one to root's, and scans on demand leave three to events: one
 * more than a single owner's files do.
 */
unsigned workers_left(const struct scand *s, bool root, bool demand)
{
	unsigned max = workers_max(s), left, of_demands;

	left = left_of(max, root ? 2 : 1, busy(s, of_class, &root));
	if (!demand)
		return left;
	of_demands = left_of(max, 3, busy(s, of_demand, NULL));
	return of_demands < left ? of_demands : left;
}

/* Of others than root one leaves two, one of them to other owners. */
unsigned workers_left_for(const struct scand *s, const struct owner *o)
{
	return left_of(workers_max(s), 2, busy(s, of_owner, o));
}

static bool has_turn(const struct scand *s, const struct scan *c)
{
	return workers_left(s, c->for_root, c->demand) > 0 &&
	       (c->for_root || workers_left_for(s, c->hold.owner) > 0);
}

struct worker *workers_find(struct scand *s, const struct scan *c)
{
	struct worker *found = NULL;

	if (!has_turn(s, c))
		return NULL;
	for (struct worker *w = s->engine->workers; w; w = w->next)
		if (may_take(s, w, c) && (!found || found->state == WORKER_FRESH))
			found = w;
	return found;
}

static void fill(const struct scand *s, const struct scan *c, Amp__Scan *m)
{
	uint64_t file = judge_scan_limit(s, false), archive = judge_scan_limit(s, true);

	m->size = c->size;
	m->max_file_size = file > archive ? file : archive;
	if (m->max_file_size < c->size)
		m->max_file_size = c->size; /* the policy changed since it was read */
	m->max_scan_size = m->max_file_size * UNPACKED;
	m->max_files = MEMBERS_MAX;
	m->max_recursion = RECURSION_MAX;
	m->max_ms = c->demand || c->failures ? LONG_MS : ACCESS_MS;
}

void workers_send(struct worker *w, struct scan *c)
{
	Amp__Scan m = AMP__SCAN__INIT;

	fill(w->scand, c, &m);
	if (amp_channel_send(w->channel, AMP_MSG_SCAN, c->serial, &m.base, &c->snapshot, 1) != 0) {
		amp_warn("a process of the engine cannot be asked; another will be");
		worker_retire(w);
		scans_again(w->scand, c, c->need);
		return;
	}
	w->state = WORKER_BUSY;
	w->for_root = c->for_root;
	w->given += c->size;
	w->scan = c;
	w->since_ns = amp_clock_monotonic();
	w->deadline_ns = w->since_ns + (int64_t)(m.max_ms + GRACE_MS) * AMP_NS_PER_MS;
	w->scand->engine->looked_ns = w->scand->engine->waited_ns = w->scand->engine->waited_on_ns = 0;
	c->worker = w;
	engine_tick_later(w->scand);
}

/* -- how many there are -- */

static void spawn(struct scand *s, unsigned n)
{
	Amp__Spawn m = AMP__SPAWN__INIT;
	int64_t now = amp_clock_monotonic();
	struct engine *e = s->engine;

	m.count = n;
	if (n == 0 || amp_channel_send(e->channel, AMP_MSG_SPAWN, 0, &m.base, NULL, 0) != 0)
		return;
	e->may_come = e->may_come + n < WORKERS_MAX ? e->may_come + n : WORKERS_MAX;
	while (n-- > 0)
		e->asked_ns[e->asked++ % WORKERS_MAX] = now;
	engine_tick_later(s);
}

static unsigned in_state(const struct scand *s, enum worker_state state)
{
	unsigned n = 0;

	for (const struct worker *w = s->engine->workers; w; w = w->next)
		n += w->state == state;
	return n;
}

/* The one that has had nothing to do for longest. */
static struct worker *longest_idle(const struct scand *s, enum worker_state state)
{
	struct worker *found = NULL;

	for (struct worker *w = s->engine->workers; w; w = w->next)
		if (w->state == state && (!found || w->since_ns < found->since_ns))
			found = w;
	return found;
}

/* What waits is counted from here on, or not any more. */
static void note_waiting(struct scand *s, bool waits)
{
	struct engine *e = s->engine;

	if (!waits)
		e->looked_ns = 0;
	else if (!e->looked_ns)
		e->looked_ns = amp_clock_monotonic();
	if (waits)
		engine_tick_later(s);
}

static void add_wait(struct scand *s, int64_t now)
{
	struct engine *e = s->engine;
	int64_t passed = now - e->looked_ns;

	if (!e->looked_ns)
		return;
	passed = passed < STEP_NS ? passed : STEP_NS;
	e->looked_ns = now;
	e->waited_ns += passed;
	e->waited_on_ns += passed;
	if (e->waited_ns >= PATIENCE_NS)
		engine_starved(s, e->waited_on_ns >= PATIENCE_NS);
}

/* Fresh ones for what waits, and one in reserve. */
void workers_want(struct scand *s, unsigned waiting)
{
	unsigned alive = workers_count(s) + awaited(s), max = workers_max(s);
	unsigned fresh = in_state(s, WORKER_FRESH) + awaited(s);
	unsigned wanted = waiting + 1 > fresh ? waiting + 1 - fresh : 0;
	unsigned room = max > alive ? max - alive : 0;
	struct worker *idle;

	if (!s->engine->channel || engine_state(s) != ENGINE_READY)
		return;
	note_waiting(s, waiting > 0 && in_state(s, WORKER_BUSY) < max);
	spawn(s, wanted < room ? wanted : room);
	/* There may be memory for fewer than there may be. */
	if (!waiting || fresh || (room && !s->engine->none_came) || in_state(s, WORKER_LEAVING))
		return;
	/* Those there are have had the other class, their share of bytes, or a word in the case. */
	idle = longest_idle(s, WORKER_IDLE);
	if (idle)
		worker_retire(idle);
}

/* None in use (`engine_reload = "after"`): the old ones go once the last worker that has them is gone. */
void workers_signatures_changed(struct scand *s)
{
	const struct engine *e = s->engine;
	bool none = e->state->generation == 0;

	for (struct worker *w = e->workers; w; w = w->next) {
		if (!none && w->wire_generation == e->state->generation)
			w->generation = e->generation;
		else if (w->state < WORKER_BUSY && (none || w->wire_generation < e->state->generation))
			worker_retire(w);
	}
}

static void rest(struct scand *s, enum worker_state state, unsigned keep)
{
	int64_t before = amp_clock_monotonic() - REST_NS;
	struct worker *w;

	while (in_state(s, state) > keep && (w = longest_idle(s, state)) && w->since_ns < before)
		worker_retire(w);
}

void workers_rest(struct scand *s)
{
	rest(s, WORKER_IDLE, 0);
	rest(s, WORKER_FRESH, 1);
}

/* -- deadlines -- */

static void overdue(struct worker *w)
{
	struct scand *s = w->scand;

	if (w->state == WORKER_BUSY) {
		amp_counter_add(&count_timeouts, 1);
		s->engine->deaths++;
		worker_kill(w, END_KILLED);
		failed(w, "it took too long");
		return;
	}
	if (!w->killed) {
		/* It was told to leave and stays, so it is not ours any more. */
		amp_warn("a process of the engine does not leave");
		worker_kill(w, END_LIAR);
		w->deadline_ns = amp_clock_monotonic() + LEAVE_NS;
		witness_void(s, w);
		return;
	}
	w->deadline_ns = 0;
	amp_room_hostile(s->room, AMP_ROLE_ENGINE, 0, s->engine->link_generation,
			 "it does not tell the end of a worker");
}

static bool has_deadline(const struct worker *w)
{
	return (w->state == WORKER_BUSY || w->state == WORKER_LEAVING) && w->deadline_ns;
}

static struct worker *find_overdue(const struct scand *s, int64_t now)
{
	struct worker *w = s->engine->workers;

	while (w && !(has_deadline(w) && now >= w->deadline_ns))
		w = w->next;
	return w;
}

void workers_tick(struct scand *s)
{
	int64_t now = amp_clock_monotonic();
	struct worker *w;
	bool more;

	add_wait(s, now);
	if (s->engine->starved && s->engine->channel && engine_says_ready(s) && awaited(s) == 0)
		spawn(s, 1); /* is there one again? */
	more = awaited(s) > 0;
	while ((w = find_overdue(s, now)))
		overdue(w);
	for (w = s->engine->workers; w; w = w->next)
		more |= has_deadline(w);
	if (more)
		engine_tick_later(s);
	scand_pump_later(s);
}
