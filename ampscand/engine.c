/*
 * ampscand/engine.c - the link to ampengine: signatures, and what they missed.
 *
 * Owns: the channel, what ampengine tells of its signatures, their generation
 * (ours: over a new link the same set is the same generation, so a restart of
 * ampengine makes nobody scan anew), from which moment events were decided
 * without the engine, the fault that it fails, the answer about definitions. Must
 * not own: workers (workers.c), content (scan.c), decisions, the fault about
 * signatures (ampengine's).
 */
#include "scan.h"

#include "clock.h"
#include "counter.h"
#include "log.h"

#include "cliserver.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TEXT_MAX   1024U
#define TROUBLE_NS (3600 * AMP_NS_PER_SEC) /* without another: the fault is over */
#define TICK_MS	   250

int engine_init(struct scand *s)
{
	s->engine = calloc(1, sizeof(*s->engine));
	if (!s->engine)
		return -1;
	s->engine->sample = SAMPLE;
	return 0;
}

/* -- state -- */

enum engine_state engine_state(const struct scand *s)
{
	static const enum engine_state states[] = {
		[AMP__ENGINE_STATE__STATE__NONE] = ENGINE_LOADING,
		[AMP__ENGINE_STATE__STATE__EMPTY] = ENGINE_EMPTY,
		[AMP__ENGINE_STATE__STATE__LOADING] = ENGINE_LOADING,
		[AMP__ENGINE_STATE__STATE__READY] = ENGINE_READY,
	};

	if (!s->engine_there || !s->engine || !s->rules || !s->rules->engine)
		return ENGINE_OFF;
	if (s->engine->starved && engine_says_ready(s))
		return ENGINE_LOADING; /* what it misses is judged when it works again */
	return s->engine->state ? states[s->engine->state->state] : ENGINE_LOADING;
}

bool engine_says_ready(const struct scand *s)
{
	return s->engine->state && s->engine->state->state == AMP__ENGINE_STATE__STATE__READY;
}

uint64_t engine_generation(const struct scand *s)
{
	return s->engine ? s->engine->generation : 0;
}

void engine_missed(struct scand *s, int64_t time_ns)
{
	struct engine *e = s->engine;

	if (e->missed_ns == 0 || time_ns < e->missed_ns)
		e->missed_ns = time_ns;
	scand_pump_later(s);
}

void engine_missed_told(struct scand *s, int64_t since)
{
	if (s->engine)
		s->engine->missed_told_ns = since;
}

void engine_tell_missed(struct scand *s)
{
	if (s->engine && s->engine->missed_told_ns != s->engine->missed_ns)
		scand_tell_concluded(s);
}

int64_t engine_missed_since(const struct scand *s)
{
	return s->engine ? s->engine->missed_ns : 0;
}

static void repair_missed(struct scand *s)
{
	struct engine *e = s->engine;
	int64_t since = e->missed_ns - 2 * AMP_NS_PER_SEC;

	if (e->missed_ns == 0 || !s->started)
		return;
	e->missed_ns = 0;
	scand_repair_wanted(s, 0, since > 0 ? since : 0, "the engine was not there", false);
}

void engine_changed(struct scand *s)
{
	enum engine_state state = engine_state(s);

	if (state == ENGINE_READY)
		repair_missed(s);
	else if (state != ENGINE_LOADING)
		s->engine->missed_ns = 0; /* it will not come for that */
	if (state != ENGINE_READY)
		s->engine->looked_ns = s->engine->waited_on_ns = 0;
	if (s->engine->starved)
		engine_tick_later(s);
	scans_engine_changed(s);
	scand_pump_later(s);
}

/* -- what ampengine says -- */

static bool text_is_short(const char *text)
{
	return strlen(text) <= TEXT_MAX;
}

static bool state_is_valid(const Amp__EngineState *st)
{
	bool ready = st->state == AMP__ENGINE_STATE__STATE__READY;

	if (st->state <= AMP__ENGINE_STATE__STATE__NONE || st->state > AMP__ENGINE_STATE__STATE__READY ||
	    st->n_sets > AMP_ENGINE_SETS || st->loaded_ns < 0 || !text_is_short(st->version) ||
	    !text_is_short(st->refused) ||
	    (ready && (st->generation == 0 || st->workers_max == 0 || st->workers_max > WORKERS_MAX)))
		return false;
	for (size_t i = 0; i < st->n_sets; i++) {
		const ProtobufCBinaryData *path = &st->sets[i]->path;

		if (st->sets[i]->time_ns < 0 || path->len == 0 || path->len >= AMP_PATH_MAX ||
		    path->data[0] != '/' || memchr(path->data, 0, path->len))
			return false;
	}
	return true;
}

static uint8_t *pack(const Amp__EngineState *st, size_t *size)
{
	uint8_t *record = malloc(amp__engine_state__get_packed_size(st) + 1);

	*size = record ? amp__engine_state__pack(st, record) : 0;
	return record;
}

/* What tells one set of signatures from another, as a record; NULL: it is not told whole. */
static uint8_t *sets_of(const Amp__EngineState *st, size_t *size)
{
	Amp__EngineState what = AMP__ENGINE_STATE__INIT;

	*size = 0;
	if (st->n_sets == 0 || st->n_sets >= AMP_ENGINE_SETS)
		return NULL;
	what.signatures = st->signatures;
	what.version = st->version;
	what.sets = st->sets;
	what.n_sets = st->n_sets;
	return pack(&what, size);
}

/* Is that another set than the one before? Over one link ampengine says so by its number. */
static bool is_another(const struct engine *e, const Amp__EngineState *old, const uint8_t *sets, size_t size)
{
	if (e->generation == 0)
		return true;
	if (old && old->generation)
		return old->generation != e->state->generation;
	return !sets || !e->sets || size != e->sets_size || memcmp(sets, e->sets, size) != 0;
}

static void note_sets(struct scand *s, const Amp__EngineState *old)
{
	struct engine *e = s->engine;
	size_t size;
	uint8_t *sets;

	if (e->state->generation == 0) {
		workers_signatures_changed(s);
		return;
	}
	sets = sets_of(e->state, &size);
	if (is_another(e, old, sets, size)) {
		e->generation++;
		amp_info("%llu signatures are in use (#%llu)", (unsigned long long)e->state->signatures,
			 (unsigned long long)e->generation);
	}
	free(e->sets);
	e->sets = sets;
	e->sets_size = size;
	workers_signatures_changed(s);
}

static Amp__EngineState *copy_state(const Amp__EngineState *st)
{
	size_t size;
	uint8_t *record = pack(st, &size);
	Amp__EngineState *copy = record ? amp__engine_state__unpack(NULL, size, record) : NULL;

	free(record);
	return copy;
}

static void drop_state(struct engine *e)
{
	if (e->state)
		amp__engine_state__free_unpacked(e->state, NULL);
	e->state = NULL;
}

static int on_state(struct amp_channel *ch, struct amp_message *m, void *arg)
{
	struct scand *s = arg;
	struct engine *e = s->engine;
	Amp__EngineState *old = e->state;

	(void)ch;
	if (!state_is_valid((const Amp__EngineState *)m->body))
		return -1;
	e->state = copy_state((const Amp__EngineState *)m->body);
	if (e->state)
		note_sets(s, old);
	else
		amp_error("no memory for what ampengine says");
	if (old)
		amp__engine_state__free_unpacked(old, NULL);
	engine_changed(s);
	return 0;
}

static int on_worker(struct amp_channel *ch, struct amp_message *m, void *arg)
{
	(void)ch;
	return workers_came(arg, m);
}

static int on_worker_gone(struct amp_channel *ch, struct amp_message *m, void *arg)
{
	(void)ch;
	return workers_gone(arg, (const Amp__WorkerGone *)m->body);
}

static const struct amp_dispatch table[] = {
	{AMP_MSG_ENGINE_STATE, &amp__engine_state__descriptor, AMP_MSG_MAX - 16, 0, 0, 0, on_state},
	{AMP_MSG_WORKER, &amp__worker__descriptor, 64, 1, 1, 0, on_worker},
	{AMP_MSG_WORKER_GONE, &amp__worker_gone__descriptor, 64, 0, 0, 0, on_worker_gone},
};

/* -- the link -- */

/* It and all workers are gone; what they had in hand waits a little for a successor. */
static void link_lost(struct scand *s)
{
	struct engine *e = s->engine;

	if (e->channel)
		amp_channel_free(e->channel);
	e->channel = NULL;
	drop_state(e);
	scans_link_lost(s);
	workers_free(s);
	engine_changed(s);
}

static void on_end(struct amp_channel *ch, enum amp_channel_end end, const char *why, void *arg)
{
	struct scand *s = arg;
	struct engine *e = s->engine;

	(void)ch;
	if (end == AMP_CHANNEL_HOSTILE)
		amp_room_hostile(s->room, AMP_ROLE_ENGINE, 0, e->link_generation, why);
	else
		e->lost_ns = amp_clock_monotonic();
	link_lost(s);
}

void engine_link(struct scand *s, unsigned generation, int fd)
{
	struct amp_channel_config c = {.name = "ampengine",
				       .table = table,
				       .rows = sizeof(table) / sizeof(table[0]),
				       .on_end = on_end,
				       .arg = s};
	struct engine *e = s->engine;

	link_lost(s);
	e->link_generation = generation;
	e->lost_ns = 0;
	e->channel = amp_channel_new(s->base, fd, &c);
	if (!e->channel)
		amp_error("no channel to ampengine");
}

/* -- every 10 s, and deadlines -- */

void engine_trouble(struct scand *s, const char *what)
{
	amp_warn("the engine: %s", what);
	s->engine->trouble_ns = amp_clock_monotonic();
	amp_room_fault(s->room, AMP_FAULT_ENGINE, true, what);
}

/* A zygote that makes no worker may have no memory for it, and is ended by ampengine, again and
 * again; an ampengine that leaves it at that does not work. */
void engine_starved(struct scand *s, bool accuse)
{
	struct engine *e = s->engine;

	e->starved = true;
	engine_trouble(s, "no process of it takes what waits; the lists alone judge until one does");
	e->starved_trouble_ns = e->trouble_ns;
	engine_changed(s);
	if (accuse)
		amp_room_hostile(s->room, AMP_ROLE_ENGINE, 0, e->link_generation,
				 "none of its processes takes what waits");
}

void engine_revived(struct scand *s)
{
	struct engine *e = s->engine;

	if (!e->starved)
		return;
	e->starved = false;
	e->waited_ns = 0;
	engine_changed(s);
}

void engine_served(struct scand *s)
{
	struct engine *e = s->engine;

	if (e->starved_trouble_ns && e->starved_trouble_ns == e->trouble_ns) {
		e->trouble_ns = 0;
		amp_room_fault(s->room, AMP_FAULT_ENGINE, false, "");
	}
	e->starved_trouble_ns = 0;
}

void engine_look(struct scand *s)
{
	struct engine *e = s->engine;

	if (scand_link_is_left(e->lost_ns)) {
		amp_room_hostile(s->room, AMP_ROLE_ENGINE, 0, e->link_generation, SCAND_LINK_LEFT);
		e->lost_ns = 0;
	}
	if (e->trouble_ns && amp_clock_monotonic() - e->trouble_ns > TROUBLE_NS) {
		e->trouble_ns = 0;
		amp_room_fault(s->room, AMP_FAULT_ENGINE, false, "");
	}
	workers_rest(s);
}

static void on_tick(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	workers_tick(arg);
}

void engine_tick_later(struct scand *s)
{
	struct timeval tv = {.tv_usec = TICK_MS * 1000};
	struct engine *e = s->engine;

	if (!e->timer)
		e->timer = evtimer_new(s->base, on_tick, s);
	if (e->timer && !evtimer_pending(e->timer, NULL))
		evtimer_add(e->timer, &tv);
}

/* -- what ampcli asks -- */

static const char *state_name(const struct scand *s)
{
	static const char *const names[] = {[ENGINE_OFF] = "off",
					    [ENGINE_EMPTY] = "none",
					    [ENGINE_LOADING] = "loading",
					    [ENGINE_READY] = "ready"};

	if (s->engine->starved && engine_says_ready(s) && engine_state(s) == ENGINE_LOADING)
		return "failing";
	return names[engine_state(s)];
}

static void fill_state(const Amp__EngineState *st, Amp__CliDefinitionsReply *r)
{
	r->generation = st->generation;
	r->signatures = st->signatures;
	r->engine = st->version;
	r->loaded_ns = st->loaded_ns;
	r->refused = st->refused;
	r->loading = st->loading;
}

static void fill_sets(const Amp__EngineState *st, Amp__CliDefinitionSet *sets, Amp__CliDefinitionSet **list)
{
	for (size_t i = 0; i < st->n_sets; i++) {
		amp__cli_definition_set__init(&sets[i]);
		sets[i].path = st->sets[i]->path;
		sets[i].time_ns = st->sets[i]->time_ns;
		sets[i].version = st->sets[i]->version;
		sets[i].signatures = st->sets[i]->signatures;
		list[i] = &sets[i];
	}
}

int engine_definitions(struct amp_channel *ch, struct amp_message *m, void *arg)
{
	struct scand *s = amp_room_arg(arg);
	const struct engine *e = s->engine;
	Amp__CliDefinitionsReply r = AMP__CLI_DEFINITIONS_REPLY__INIT;
	Amp__CliDefinitionSet sets[AMP_ENGINE_SETS], *list[AMP_ENGINE_SETS];

	r.state = (char *)(uintptr_t)state_name(s);
	if (e->state) {
		fill_state(e->state, &r);
		fill_sets(e->state, sets, list);
		r.sets = list;
		r.n_sets = e->state->n_sets;
	}
	r.workers = workers_count(s);
	r.scans = e->scans;
	r.restarts = e->deaths;
	if (amp_channel_send(ch, AMP_MSG_CLI_DEFINITIONS_REPLY, m->id, &r.base, NULL, 0) != 0)
		amp_cli_error(ch, m->id, AMP__CLI_ERROR__CODE__INTERNAL, "the answer is too long");
	return 0;
}

void engine_free(struct scand *s)
{
	struct engine *e = s->engine;

	if (!e)
		return;
	if (e->channel)
		amp_channel_free(e->channel);
	workers_free(s);
	drop_state(e);
	if (e->timer)
		event_free(e->timer);
	free(e->sets);
	free(e);
	s->engine = NULL;
}
