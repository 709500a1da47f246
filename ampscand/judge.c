/*
 * ampscand/judge.c - from a reader's answer to a decision.
 *
 * Owns: handing queued jobs to readers, what each answer leads to (again
 * later, given up, decided), the pause after a long hash (DESIGN 5.5: after t
 * the next waits 20 t, unless the file is small by now), the order of
 * authority: allowed list, exclusions (job.c), blocked list. Must not own:
 * what follows a conviction (act.c).
 */
#include "scand.h"

#include "clock.h"
#include "counter.h"
#include "log.h"

#include <stdlib.h>
#include <string.h>

#define COOLDOWNS	 256U
#define COOLDOWN_FROM_NS (20 * AMP_NS_PER_MS) /* shorter hashes need no pause */
#define COOLDOWN_FACTOR	 20
#define DEATHS_MAX	 3
#define BUSY_MAX	 8 /* 50 ms, 1 s, then 10 s each: a lease is broken after 45 s */

#define HIDDEN_MAX 3
#define QUICK_SIZE (8ULL << 20)	 /* larger: read in the turn of large files */
#define READ_MAX   (64ULL << 30) /* larger: not read; a file full of holes costs its maker nothing */

static const unsigned again_ms[] = {50, 1000, 10000};

struct cooldown {
	struct amp_fileid id;
	int64_t until_ns; /* monotonic */
};

static struct amp_counter count_clean = AMP_COUNTER("judged.clean", false);
static struct amp_counter count_blocked = AMP_COUNTER("judged.blocked", false);
static struct amp_counter count_allowed = AMP_COUNTER("judged.allowed", false);
static struct amp_counter count_restored = AMP_COUNTER("judged.restored", false);
static struct amp_counter count_cached = AMP_COUNTER("judged.cached", false);
static struct amp_counter count_busy = AMP_COUNTER("read.busy", false);
static struct amp_counter count_changed = AMP_COUNTER("read.changed", false);
static struct amp_counter count_gone = AMP_COUNTER("read.gone", false);
static struct amp_counter count_special = AMP_COUNTER("read.not_regular", false);
static struct amp_counter count_unreadable = AMP_COUNTER("read.unreadable", true);
static struct amp_counter count_no_mount = AMP_COUNTER("read.no_mount", true);
static struct amp_counter count_relieved = AMP_COUNTER("read.given_up_for_room", true);
static struct amp_counter count_confirmed = AMP_COUNTER("judged.confirmed", false);
static struct amp_counter count_cooling = AMP_COUNTER("read.deferred_large", false);

static struct cooldown *cooldown_find(struct scand *s, const struct amp_fileid *id)
{
	for (unsigned i = 0; s->cooldowns && i < COOLDOWNS; i++)
		if (s->cooldowns[i].until_ns && amp_fileid_equal(&s->cooldowns[i].id, id))
			return &s->cooldowns[i];
	return NULL;
}

static void cooldown_note(struct scand *s, const struct amp_fileid *id, uint64_t hash_ns)
{
	struct cooldown *c = cooldown_find(s, id), *oldest;

	if (hash_ns < COOLDOWN_FROM_NS || hash_ns > INT64_MAX / (4 * COOLDOWN_FACTOR))
		return;
	if (!s->cooldowns)
		s->cooldowns = calloc(COOLDOWNS, sizeof(*s->cooldowns));
	if (!s->cooldowns)
		return;
	if (!c) {
		oldest = &s->cooldowns[0];
		for (unsigned i = 1; i < COOLDOWNS; i++)
			if (s->cooldowns[i].until_ns < oldest->until_ns)
				oldest = &s->cooldowns[i];
		c = oldest;
	}
	fileid_copy(&c->id, id);
	c->until_ns = amp_clock_monotonic() + (int64_t)hash_ns * COOLDOWN_FACTOR;
}

int64_t judge_cooldown(struct scand *s, const struct amp_fileid *id)
{
	struct cooldown *c = cooldown_find(s, id);
	int64_t left = c ? c->until_ns - amp_clock_monotonic() : 0;

	return left > 0 ? left : 0;
}

uint64_t judge_limit(struct scand *s, const struct amp_fileid *id)
{
	return judge_cooldown(s, id) ? s->rules->max_file_size : 0;
}

/* What is larger than this is not read now. */
static uint64_t size_limit(struct scand *s, const struct job *j)
{
	uint64_t limit = j->large ? READ_MAX : QUICK_SIZE, cooling = judge_limit(s, j->id);

	return cooling && cooling < limit ? cooling : limit;
}

static void unreachable(struct job *j);

static int ask_for(struct scand *s, struct job *j)
{
	const struct filesystem *fs = filesystems_find(&s->filesystems, j->id->fsid);
	Amp__ReadItem__Want want = j->confirm ? AMP__READ_ITEM__WANT__IDENTITY : AMP__READ_ITEM__WANT__HASH;
	int fd = job_descriptor(j);

	if (!fs || !j->first) {
		job_conclude(j);
		return 0;
	}
	if (!job_can_be_read(j)) {
		amp_counter_add(&count_gone, 1);
		job_conclude(j);
		return 0;
	}
	if (fd < 0 && !fs->mount_point[0]) {
		unreachable(j);
		return 0;
	}
	if (readers_ask(s, j, want, fs, j->id, size_limit(s, j), fd, &j->reader) != 0)
		return -1;
	j->state = JOB_READING;
	if (j->confirm)
		return 0;
	j->dirty = false;
	for (struct occurrence *o = j->first; o; o = o->next)
		o->after = false;
	return 0;
}

/* The next in turn to a reader. False: none, or no room. */
static bool dispatch_one(struct scand *s, bool large)
{
	struct job *j = job_next(s, large);

	if (j && ask_for(s, j) == 0)
		return true;
	if (j)
		job_defer(j, 50);
	return false;
}

void judge_dispatch(struct scand *s)
{
	while (readers_have_room_for_large(s) && dispatch_one(s, true))
		;
	while (readers_have_room(s) && dispatch_one(s, false))
		;
}

void judge_reader_died(struct job *j)
{
	j->state = JOB_PATHS;
	j->dirty = true;
	if (++j->deaths < DEATHS_MAX) {
		job_advance(j);
		return;
	}
	amp_counter_add(&count_unreadable, 1);
	while (j->first)
		act_unjudged(j->scand, j->first, j->id, "file_unreadable",
			     "three readers died while they had this file in hand");
	job_conclude(j);
}

static void again(struct job *j, unsigned n)
{
	size_t steps = sizeof(again_ms) / sizeof(again_ms[0]);

	j->dirty = true;
	job_defer(j, again_ms[n < steps ? n : steps - 1]);
}

/* What happened on a file system to which no path leads is looked for when one does again. */
static void note_unread(struct job *j)
{
	struct filesystem *fs = filesystems_find(&j->scand->filesystems, j->id->fsid);

	if (!fs || !j->hidden || !j->first)
		return;
	if (!fs->unread_since_ns || j->first->time_ns < fs->unread_since_ns)
		fs->unread_since_ns = j->first->time_ns;
}

static void give_up(struct job *j, const char *why)
{
	amp_counter_add(&count_unreadable, 1);
	note_unread(j);
	while (j->first)
		act_unjudged(j->scand, j->first, j->id, "file_unreadable", why);
	job_conclude(j);
}

static void on_content(struct job *j, const Amp__ReadResult *r, bool keep)
{
	struct scand *s = j->scand;
	struct amp_identity id;
	uint8_t sha[AMP_SHA256_SIZE];

	if (amp_identity_from_wire(r->identity, &id) != 0) {
		give_up(j, "the reader's answer made no sense");
		return;
	}
	memcpy(sha, r->sha256.data, sizeof(sha));
	cooldown_note(s, j->id, r->hash_ns);
	if (keep && !j->dirty)
		verdicts_store(&s->verdicts, j->id, &id, sha, r->script, s->rules->epoch);
	judge_content(j, sha, &id, r->script, (const char *)r->script_line.data, r->script_line.len);
}

static void on_ok(struct job *j, const Amp__ReadResult *r)
{
	on_content(j, r, true);
}

static void on_changed(struct job *j, const Amp__ReadResult *r)
{
	amp_counter_add(&count_changed, 1);
	if (j->changed < sizeof(again_ms) / sizeof(again_ms[0]))
		again(j, j->changed++);
	else
		on_content(j, r, false); /* used once, not kept */
}

static void on_busy(struct job *j, const Amp__ReadResult *r)
{
	(void)r;
	amp_counter_add(&count_busy, 1);
	if (j->busy < BUSY_MAX)
		again(j, j->busy++);
	else
		give_up(j, "it stayed busy (a lease, or a device that does not answer)");
}

static void on_unreadable(struct job *j, const Amp__ReadResult *r)
{
	if (j->unreadable++ < 2)
		again(j, j->unreadable);
	else
		give_up(j, strerror(r->error));
}

static void on_gone(struct job *j, const Amp__ReadResult *r)
{
	amp_counter_add(r->status == AMP__READ_RESULT__STATUS__GONE ? &count_gone : &count_special, 1);
	job_conclude(j);
}

/* Something is mounted over it; or it was unmounted, of which ampmon tells soon. */
static void unreachable(struct job *j)
{
	if (j->hidden < HIDDEN_MAX) {
		again(j, j->hidden++);
		return;
	}
	amp_counter_add(&count_no_mount, 1);
	give_up(j, "no path leads to its file system: another one is mounted over it");
}

static void on_no_mount(struct job *j, const Amp__ReadResult *r)
{
	(void)r;
	unreachable(j);
}

static void cool_down(struct job *j, int64_t ns)
{
	int64_t ms = ns / AMP_NS_PER_MS + 1;

	amp_counter_add(&count_cooling, 1);
	j->dirty = true;
	job_defer(j, ms > 3600000 ? 3600000U : (unsigned)ms);
}

static void on_too_large(struct job *j, const Amp__ReadResult *r)
{
	int64_t pause = judge_cooldown(j->scand, j->id);

	if (r->identity->size > READ_MAX) {
		give_up(j, "it is larger than 64 GiB");
	} else if (pause) {
		cool_down(j, pause);
	} else if (j->large) {
		again(j, 1); /* the pause ended meanwhile */
	} else {
		j->large = true;
		j->bucket = r->identity->uid;
		j->dirty = true;
		job_advance(j);
	}
}

/* Is it still what is cached? */
static void on_identity(struct job *j, const Amp__ReadResult *r)
{
	struct scand *s = j->scand;
	const struct verdict *v = j->dirty ? NULL : verdicts_find(&s->verdicts, j->id);
	struct amp_identity id;

	if (v && !v->racy && amp_identity_from_wire(r->identity, &id) == 0 &&
	    amp_identity_same_content(&v->identity, &id) && judge_cached(j, v)) {
		amp_counter_add(&count_confirmed, 1);
		return;
	}
	verdicts_remove(&s->verdicts, j->id);
	j->dirty = true;
	job_advance(j);
}

bool judge_is_firm(const struct verdict *v)
{
	/* truncate(2) makes no event (FACTS 10b E1); who may write may do it. */
	return v->identity.uid == 0 && (v->identity.mode & 022) == 0;
}

bool judge_waits_long(const struct job *j)
{
	return j->state == JOB_DEFERRED || (j->state == JOB_QUEUED && j->large);
}

static size_t slots_of(const struct job *j)
{
	size_t n = 0;

	for (const struct occurrence *o = j->first; o; o = o->next)
		n += o->slot.kind != SLOT_NONE;
	return n;
}

void judge_relieve(struct scand *s, size_t n, bool slots)
{
	for (struct cache_node *c = s->jobs.oldest; c && n > 0;) {
		struct job *j = (struct job *)c;
		size_t gain = slots ? slots_of(j) : j->count;

		c = c->newer;
		if (!judge_waits_long(j) || gain == 0)
			continue;
		n -= gain < n ? gain : n;
		amp_counter_add(&count_relieved, 1);
		give_up(j, "too much was waiting, and this longest");
	}
}

typedef void result_handler(struct job *j, const Amp__ReadResult *r);

static result_handler *const handlers[] = {
	[AMP__READ_RESULT__STATUS__OK] = on_ok,
	[AMP__READ_RESULT__STATUS__GONE] = on_gone,
	[AMP__READ_RESULT__STATUS__NOT_REGULAR] = on_gone,
	[AMP__READ_RESULT__STATUS__BUSY] = on_busy,
	[AMP__READ_RESULT__STATUS__CHANGED] = on_changed,
	[AMP__READ_RESULT__STATUS__NO_MOUNT] = on_no_mount,
	[AMP__READ_RESULT__STATUS__UNREADABLE] = on_unreadable,
	[AMP__READ_RESULT__STATUS__UNRESOLVED] = on_unreadable,
	[AMP__READ_RESULT__STATUS__TOO_LARGE_NOW] = on_too_large,
};

void judge_result(struct scand *s, struct job *j, const Amp__ReadResult *r)
{
	(void)s;
	j->state = JOB_PATHS;
	j->reader = -1;
	if (j->confirm && r->status == AMP__READ_RESULT__STATUS__OK)
		on_identity(j, r);
	else if ((size_t)r->status < sizeof(handlers) / sizeof(handlers[0]) && handlers[r->status])
		handlers[r->status](j, r);
	else
		give_up(j, "the reader's answer made no sense");
}

static bool is_blocked(const struct rule *rule)
{
	return rule && rule->kind == AMP__POLICY_ENTRY__KIND__BLOCKED;
}

static struct amp_counter *counter_of(const struct scand *s, const struct rule *rule)
{
	if (!rule)
		return &count_clean;
	if (rule_is_restored(s->rules, rule))
		return &count_restored;
	return is_blocked(rule) ? &count_blocked : &count_allowed;
}

/* What this content means for one occurrence; it is gone then. */
static void decide(struct scand *s, struct occurrence *o, const struct amp_fileid *file,
		   const uint8_t *sha256, const struct amp_identity *id, bool script, const char *script_line,
		   size_t script_line_size)
{
	struct rule *rule = rules_lookup(s->rules, sha256);

	if (rule)
		rule->hits++;
	amp_counter_add(counter_of(s, rule), 1);
	if (is_blocked(rule))
		act_convict(s, o, file, rule, sha256, id, script, script_line, script_line_size);
	else
		occurrence_conclude(s, o);
}

/*
 * Judged by itself: a job of the same file may have a newer content in hand.
 * For the same reason the cache does not learn of it: since it was read, an
 * event may have removed the file's entry.
 */
void judge_found(struct scand *s, struct occurrence *o, const struct walk_found *found)
{
	const struct filesystem *fs = filesystems_find(&s->filesystems, found->file->fsid);

	s->occurrences++;
	resolve_known(s, o, found->directory_path);
	/* An administrator may have file systems scanned that are not watched. */
	if ((!fs && !(o->cause & CAUSE_DEMAND)) || !occurrence_in_scope(s, o, fs)) {
		occurrence_conclude(s, o);
	} else if (!found->sha256) {
		amp_counter_add(&count_unreadable, 1);
		act_unjudged(s, o, found->file, "file_unreadable",
			     "a repair could not read it (in use, a read error, or larger than 64 GiB)");
	} else {
		decide(s, o, found->file, found->sha256, &found->identity, found->script, NULL, 0);
	}
}

void judge_content(struct job *j, const uint8_t *sha256, const struct amp_identity *id, bool script,
		   const char *script_line, size_t script_line_size)
{
	struct scand *s = j->scand;
	const struct rule *rule = rules_lookup(s->rules, sha256);
	struct occurrence *o = j->first;

	while (o) {
		struct occurrence *next = o->next;

		/* It came while the file was read: its path, and whether it is excluded, come first. */
		if (o->after || !o->path) {
			o = next;
			continue;
		}
		decide(s, o, j->id, sha256, id, script, script_line, script_line_size);
		o = next;
	}
	if (is_blocked(rule))
		job_look_for_left(j);
	if (!j->first) {
		job_conclude(j);
		return;
	}
	for (o = j->first; o; o = o->next)
		j->dirty |= o->after; /* its content may be another: a new reading */
	job_advance(j);
}

bool judge_cached(struct job *j, const struct verdict *v)
{
	struct rule *rule = rules_lookup(j->scand->rules, v->sha256);
	struct amp_identity id = v->identity;
	uint8_t sha[AMP_SHA256_SIZE];

	/* To act on a script, its first line is needed: read again. */
	if (v->script && rule && rule->kind == AMP__POLICY_ENTRY__KIND__BLOCKED)
		return false;
	amp_counter_add(&count_cached, 1);
	memcpy(sha, v->sha256, sizeof(sha));
	judge_content(j, sha, &id, v->script, NULL, 0);
	return true;
}

/*
 * Cached content may be running: acted on as if it were executed just now. What
 * ampquard has in hand is not found once more; if a process of it lives on,
 * ampmon's RUNNING names it.
 */
static void judge_as_running(struct scand *s, const struct verdict *v)
{
	const struct rule *rule = rules_lookup(s->rules, v->sha256);
	struct occurrence *o;
	struct job *j;

	if (!is_blocked(rule) || (v->identity.mode & 0111) == 0 || (v->marks & VERDICT_TAKEN))
		return;
	o = occurrence_new(v->id, NULL, 0);
	j = o ? job_get(s, v->id, v->identity.uid) : NULL;
	if (!j) {
		free(o);
		return;
	}
	o->cause = CAUSE_RUNNING;
	job_add(j, o);
}

/* What is decided by other rules now than when it began to wait. */
static void advance_all(struct scand *s)
{
	for (struct cache_node *n = s->jobs.oldest; n;) {
		struct cache_node *next = n->newer;

		job_advance((struct job *)n);
		n = next;
	}
}

/*
 * Lists or mode changed: what is cached as blocked now may be running. The
 * programs of all processes are judged again by ampmon's RUNNING; those that
 * run from an overlay cannot be opened by handle, but their layer's file is
 * in the cache.
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

void judge_free(struct scand *s)
{
	free(s->cooldowns);
}
