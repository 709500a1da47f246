/*
 * ampscand/decide.c - from the content of a file to a decision.
 *
 * Owns: the order of authority (allowed list, exclusions (job.c), blocked list,
 * what the engine said or will say), what each outcome leads to, what waits for
 * the engine or is decided without it while it loads, what a change of policy
 * makes of content that is known. Must not own: reading (judge.c), scanning
 * (scan.c), what follows a conviction (act.c).
 */
#include "scand.h"

#include "counter.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define WAIT_MS 1000 /* scans on demand, for the engine */

/* What there is to do about content. */
enum next {
	NEXT_DECIDE,
	NEXT_SCAN, /* there is a copy of it */
	NEXT_READ, /* there is none */
	NEXT_WAIT  /* the engine is not there, and will be */
};

struct judgement {
	struct rule *rule; /* that decided; NULL: none */
	enum outcome outcome;
	struct conviction why; /* THREAT */
	const char *limit;     /* PARTIAL, UNSCANNABLE: what the engine told; may be NULL */
};

static struct amp_counter count_clean = AMP_COUNTER("judged.clean", false);
static struct amp_counter count_blocked = AMP_COUNTER("judged.blocked", false);
static struct amp_counter count_allowed = AMP_COUNTER("judged.allowed", false);
static struct amp_counter count_restored = AMP_COUNTER("judged.restored", false);
static struct amp_counter count_infected = AMP_COUNTER("judged.infected", false);
static struct amp_counter count_cached = AMP_COUNTER("judged.cached", false);
static struct amp_counter count_too_large = AMP_COUNTER("engine.too_large", false);
static struct amp_counter count_partial = AMP_COUNTER("engine.partial", false);
static struct amp_counter count_unscannable = AMP_COUNTER("engine.unscannable", false);
static struct amp_counter count_missed = AMP_COUNTER("engine.missed", false);

static bool is_blocked(const struct rule *rule)
{
	return rule && rule->kind == AMP__POLICY_ENTRY__KIND__BLOCKED;
}

static bool is_empty(const struct reading *r)
{
	static const uint8_t nothing[AMP_SHA256_SIZE] = {0xe3, 0xb0, 0xc4, 0x42, 0x98, 0xfc, 0x1c, 0x14,
							 0x9a, 0xfb, 0xf4, 0xc8, 0x99, 0x6f, 0xb9, 0x24,
							 0x27, 0xae, 0x41, 0xe4, 0x64, 0x9b, 0x93, 0x4c,
							 0xa4, 0x95, 0x99, 0x1b, 0x78, 0x52, 0xb8, 0x55};

	return memcmp(r->sha256, nothing, sizeof(nothing)) == 0;
}

static const enum outcome outcomes[] = {
	[CONTENT_NONE] = OUTCOME_NOT_SCANNED,	     [CONTENT_CLEAN] = OUTCOME_CLEAN,
	[CONTENT_INFECTED] = OUTCOME_THREAT,	     [CONTENT_PARTIAL] = OUTCOME_PARTIAL,
	[CONTENT_UNSCANNABLE] = OUTCOME_UNSCANNABLE,
};

static void by_engine(struct judgement *g, const struct content *c)
{
	g->outcome = outcomes[c->result];
	g->why = (struct conviction){.name = c->name ? c->name : "", .by_engine = true};
	g->limit = c->name;
}

static void by_list(struct judgement *g)
{
	g->outcome = is_blocked(g->rule) ? OUTCOME_THREAT : OUTCOME_CLEAN;
	g->why = (struct conviction){.name = g->rule->text ? g->rule->text : ""};
}

/* What neither a list nor the engine has said anything of. */
static enum next unknown(const struct scand *s, const struct reading *r, struct judgement *g)
{
	enum engine_state state = engine_state(s);

	if (state == ENGINE_EMPTY)
		return NEXT_DECIDE;
	g->outcome = is_empty(r) ? OUTCOME_CLEAN : OUTCOME_TOO_LARGE;
	if (is_empty(r) || r->identity.size > judge_scan_limit(s, r->archive))
		return NEXT_DECIDE;
	g->outcome = OUTCOME_NOT_SCANNED;
	if (state != ENGINE_READY)
		return NEXT_WAIT;
	return r->snapshot >= 0 ? NEXT_SCAN : NEXT_READ;
}

static enum next look(struct scand *s, const struct reading *r, struct judgement *g)
{
	const struct content *c;

	*g = (struct judgement){.rule = rules_lookup(s->rules, r->sha256), .outcome = OUTCOME_NOT_SCANNED};
	if (g->rule) {
		by_list(g);
		return NEXT_DECIDE;
	}
	if (engine_state(s) == ENGINE_OFF)
		return NEXT_DECIDE;
	c = contents_find(&s->contents, r->sha256, engine_generation(s));
	if (!c)
		return unknown(s, r, g);
	by_engine(g, c);
	return NEXT_DECIDE;
}

/* -- one event -- */

static struct amp_counter *counter_of(const struct scand *s, const struct judgement *g)
{
	static struct amp_counter *const of_engine[OUTCOME_COUNT] = {
		[OUTCOME_CLEAN] = &count_clean,	    [OUTCOME_NOT_SCANNED] = &count_clean,
		[OUTCOME_THREAT] = &count_infected, [OUTCOME_TOO_LARGE] = &count_too_large,
		[OUTCOME_PARTIAL] = &count_partial, [OUTCOME_UNSCANNABLE] = &count_unscannable,
	};

	if (!g->rule)
		return of_engine[g->outcome];
	if (rule_is_restored(s->rules, g->rule))
		return &count_restored;
	return is_blocked(g->rule) ? &count_blocked : &count_allowed;
}

/* What could not be looked at whole is recorded once. */
static bool tell(struct scand *s, struct occurrence *o, const struct amp_fileid *file,
		 const struct reading *r, const struct judgement *g)
{
	bool partial = g->outcome == OUTCOME_PARTIAL;
	char why[300];

	if ((!partial && g->outcome != OUTCOME_UNSCANNABLE) || !contents_tell(&s->contents, r->sha256))
		return false;
	snprintf(why, sizeof(why), "%s%s%s",
		 partial ? "the engine reached a limit and found nothing before it"
			 : "the engine failed on it",
		 g->limit ? ": " : "", g->limit ? g->limit : "");
	act_unjudged(s, o, file, partial ? "file_partial" : "file_unscannable", why);
	return true;
}

/* What this content means for one occurrence; it is gone then. */
static void decide(struct scand *s, struct occurrence *o, const struct amp_fileid *file,
		   const struct reading *r, const struct judgement *g)
{
	o->outcome = g->outcome;
	o->cached = r->cached;
	o->size = r->identity.size;
	if (g->rule)
		g->rule->hits++;
	amp_counter_add(counter_of(s, g), 1);
	if (g->outcome == OUTCOME_THREAT)
		act_convict(s, o, file, &g->why, r->sha256, &r->identity, r->script,
			    r->line_size ? r->line : NULL, r->line_size);
	else if (!tell(s, o, file, r, g))
		occurrence_conclude(s, o);
}

/*
 * Decided by the lists alone. What a walk found may have changed long before: the
 * repair that follows must find it again.
 */
static void note_missed(struct scand *s, const struct occurrence *o, const struct reading *r)
{
	int64_t since = o->since_ns;

	if ((o->cause & (CAUSE_REPAIR | CAUSE_MOVE)) && r->identity.ctime_ns < since)
		since = r->identity.ctime_ns;
	amp_counter_add(&count_missed, 1);
	if (!(o->cause & CAUSE_DEMAND))
		engine_missed(s, since > 0 ? since : 1);
}

/* -- a job -- */

/* It came while the file was read: its path, and whether it is excluded, come first. */
static bool is_due(const struct occurrence *o, bool without)
{
	return !o->after && o->path && !(without && (o->cause & CAUSE_DEMAND));
}

/* What is left of it goes on. */
static void rest(struct job *j, bool without)
{
	if (!j->first) {
		job_conclude(j);
		return;
	}
	for (const struct occurrence *o = j->first; o; o = o->next)
		j->dirty |= o->after; /* its content may be another: a new reading */
	if (without && !j->dirty && job_is_demand(j))
		job_defer(j, WAIT_MS);
	else
		job_advance(j);
}

/* without: the engine is not there. Scans on demand wait for it, events do not. */
static void decide_all(struct job *j, const struct reading *r, const struct judgement *g, bool without)
{
	struct scand *s = j->scand;
	struct occurrence *o = j->first;

	while (o) {
		struct occurrence *next = o->next;

		if (is_due(o, without && !j->apart)) {
			if (without)
				note_missed(s, o, r);
			decide(s, o, j->id, r, g);
		}
		o = next;
	}
	if (g->outcome == OUTCOME_THREAT)
		job_look_for_left(j);
	rest(j, without);
}

static void begin_scan(struct job *j, struct reading *r)
{
	struct scand *s = j->scand;
	int snapshot = r->snapshot, rc;

	r->snapshot = -1;
	j->content = malloc(sizeof(*j->content));
	if (!j->content) {
		close(snapshot);
		job_defer(j, WAIT_MS);
		return;
	}
	*j->content = *r;
	rc = scans_ask(s, j, r->sha256, snapshot, r->identity.uid, job_is_demand(j));
	if (rc == 0) {
		j->state = JOB_SCANNING;
		return;
	}
	free(j->content);
	j->content = NULL;
	if (rc > 0) {
		j->copy_max = 0; /* as if none had been asked for */
		judge_read_again(j, r);
		return;
	}
	j->dirty = true;
	job_defer(j, WAIT_MS);
}

static void go_on(struct job *j, struct reading *r, const struct judgement *g, enum next next)
{
	if (next == NEXT_SCAN)
		begin_scan(j, r);
	else if (next == NEXT_READ && !j->apart)
		judge_read_again(j, r);
	else
		decide_all(j, r, g, next != NEXT_DECIDE);
}

void judge_content(struct job *j, struct reading *r)
{
	struct judgement g;
	enum next next = look(j->scand, r, &g);

	go_on(j, r, &g, next);
	if (r->snapshot >= 0)
		close(r->snapshot);
}

void judge_scanned(struct scand *s, struct job *j, const struct content *c)
{
	struct reading *r = j->content;
	struct judgement g;
	enum next next;

	j->content = NULL;
	j->state = JOB_PATHS;
	next = look(s, r, &g);
	/* A word by older signatures decides what it was asked for, and is asked again later. */
	if (next != NEXT_DECIDE && c) {
		by_engine(&g, c);
		next = NEXT_DECIDE;
	}
	go_on(j, r, &g, next);
	free(r);
}

static void reading_of(const struct verdict *v, struct reading *r)
{
	*r = (struct reading){.identity = v->identity,
			      .script = v->script,
			      .archive = v->archive,
			      .cached = true,
			      .snapshot = -1};
	memcpy(r->sha256, v->sha256, sizeof(r->sha256));
}

bool judge_is_settled(struct scand *s, const struct verdict *v)
{
	struct judgement g;
	struct reading r;

	reading_of(v, &r);
	return look(s, &r, &g) == NEXT_DECIDE && g.outcome != OUTCOME_THREAT;
}

bool judge_cached(struct job *j, const struct verdict *v)
{
	struct judgement g;
	struct reading r;
	enum next next;

	reading_of(v, &r);
	next = look(j->scand, &r, &g);
	/* To act on a script, its first line is needed: read again. */
	if (v->script && g.outcome == OUTCOME_THREAT)
		return false;
	if (next == NEXT_READ) {
		judge_wants_copy(j, &r.identity);
		return false;
	}
	amp_counter_add(&count_cached, 1);
	decide_all(j, &r, &g, next != NEXT_DECIDE);
	return true;
}

/* -- what a walk read itself -- */

/* A job of its own, since a job of the same file may have a newer content in hand. */
static void scan_found(struct scand *s, struct occurrence *o, const struct walk_found *found,
		       struct reading *r)
{
	struct job *j = job_apart(s, found->file);

	if (!j) {
		occurrence_conclude(s, o);
		return;
	}
	s->occurrences--; /* counted again */
	job_add(j, o);
	begin_scan(j, r);
}

static void judge_read(struct scand *s, struct occurrence *o, const struct walk_found *found,
		       struct reading *r)
{
	struct judgement g;
	enum next next = look(s, r, &g);

	if (next == NEXT_SCAN) {
		scan_found(s, o, found, r);
		return;
	}
	if (next == NEXT_READ) {
		o->outcome = OUTCOME_UNSCANNABLE;
		amp_counter_add(&count_unscannable, 1);
		act_unjudged(s, o, found->file, "file_unscannable", "the engine got no copy of it");
		return;
	}
	if (next == NEXT_WAIT)
		note_missed(s, o, r);
	decide(s, o, found->file, r, &g);
}

static void judge_reading(struct scand *s, struct occurrence *o, const struct walk_found *found)
{
	struct reading r = {.identity = found->identity,
			    .script = found->script,
			    .archive = found->archive,
			    .snapshot = -1};

	memcpy(r.sha256, found->sha256, sizeof(r.sha256));
	if (found->snapshot > 0 && readers_snapshot_is_sealed(found->snapshot, found->identity.size))
		r.snapshot = found->snapshot;
	else if (found->snapshot > 0)
		close(found->snapshot);
	judge_read(s, o, found, &r);
	if (r.snapshot >= 0)
		close(r.snapshot);
}

/*
 * The cache does not learn of what a walk read: since then an event may have
 * removed the file's entry.
 */
void judge_found(struct scand *s, struct occurrence *o, const struct walk_found *found)
{
	const struct filesystem *fs = filesystems_find(&s->filesystems, found->file->fsid);

	s->occurrences++;
	o->size = found->identity.size;
	resolve_known(s, o, found->directory_path);
	/* An administrator may have file systems scanned that are not watched. */
	if ((!fs && !(o->cause & CAUSE_DEMAND)) || !occurrence_in_scope(s, o, fs)) {
		o->outcome = fs ? OUTCOME_EXCLUDED : OUTCOME_NONE;
		occurrence_conclude(s, o);
	} else if (found->sha256) {
		judge_reading(s, o, found);
		return;
	} else {
		judge_unread(s, o, found->file,
			     "a walk could not read it (in use, a read error, or larger than 64 GiB)");
	}
	if (found->snapshot > 0)
		close(found->snapshot);
}

/* -- what is decided by other rules now -- */

static bool is_convicted(struct scand *s, const struct verdict *v)
{
	struct judgement g;
	struct reading r;

	reading_of(v, &r);
	return look(s, &r, &g) == NEXT_DECIDE && g.outcome == OUTCOME_THREAT;
}

/*
 * Cached content may be running: acted on as if it were executed just now. What
 * ampquard has in hand is not found once more; if a process of it lives on,
 * ampmon's RUNNING names it.
 */
static void judge_again_as_running(struct scand *s, const struct verdict *v)
{
	struct occurrence *o;
	struct job *j;

	o = occurrence_new(v->id, NULL, 0);
	j = o ? job_get(s, v->id, v->identity.uid) : NULL;
	if (!j) {
		free(o);
		return;
	}
	o->cause = CAUSE_RUNNING;
	job_add(j, o);
}

static void judge_as_running(struct scand *s, const struct verdict *v)
{
	if ((v->identity.mode & 0111) && !(v->marks & VERDICT_TAKEN) && is_convicted(s, v))
		judge_again_as_running(s, v);
}

/* What is decided by other rules now than when it began to wait. */
static void advance_all(struct scand *s)
{
	for (struct cache_node *n = s->jobs.oldest; n;) {
		struct cache_node *next = n->newer;

		job_look_again((struct job *)n);
		job_advance((struct job *)n);
		n = next;
	}
}

/*
 * Lists or mode changed: what is cached as convicted now may be running. The
 * programs of all processes are judged again by ampmon's RUNNING; those that
 * run from an overlay cannot be opened by handle, but their layer's file is
 * in the cache. What the engine is asked of from now on is judged as it comes.
 */
void judge_policy_changed(struct scand *s)
{
	for (struct cache_node *n = s->verdicts.cache.newest; n; n = n->older) {
		struct verdict *v = (struct verdict *)n;

		if (v->epoch == s->rules->epoch)
			continue;
		v->epoch = s->rules->epoch;
		judge_as_running(s, v);
	}
	advance_all(s);
}

void judge_left(struct scand *s)
{
	const unsigned both = VERDICT_LEFT | VERDICT_AUDITED;

	for (struct cache_node *n = s->verdicts.cache.newest; n; n = n->older) {
		const struct verdict *v = (const struct verdict *)n;

		if ((v->marks & both) == both)
			judge_again_as_running(s, v);
	}
	advance_all(s);
}

static bool is_among(const uint8_t *sha256, const ProtobufCBinaryData *list, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (memcmp(list[i].data, sha256, AMP_SHA256_SIZE) == 0)
			return true;
	return false;
}

void judge_revoked(struct scand *s, const ProtobufCBinaryData *sha256, size_t n)
{
	for (struct cache_node *c = s->verdicts.cache.newest; c; c = c->older) {
		const struct verdict *v = (const struct verdict *)c;

		if (is_among(v->sha256, sha256, n))
			judge_as_running(s, v);
	}
	advance_all(s);
}
