/*
 * ampscand/judge.c - from a queued job to the content of its file.
 *
 * Owns: handing queued jobs to readers, whether a copy for the engine is asked
 * for, what each answer leads to (again later, given up, decided), the pause
 * after a long hash (after t the next waits 20 t, unless the file is small by
 * now). Must not own: what content means (decide.c), who scans it
 * (scan.c).
 */
#include "scand.h"

#include "clock.h"
#include "counter.h"
#include "log.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define COOLDOWNS	 256U
#define COOLDOWN_FROM_NS (20 * AMP_NS_PER_MS) /* shorter hashes need no pause */
#define COOLDOWN_FACTOR	 20
#define DEATHS_MAX	 3
#define BUSY_MAX	 8 /* 50 ms, 1 s, then 10 s each: a lease is broken after 45 s */

#define HIDDEN_MAX 3
#define QUICK_SIZE (8ULL << 20)	 /* larger: read in the turn of large files */
#define READ_MAX   (64ULL << 30) /* larger: not read; a file full of holes costs its maker nothing */
#define COPY_STEP  (1ULL << 20)	 /* a large file may grow a little while it waits */
#define COPY_TRIES 3

static const unsigned again_ms[] = {50, 1000, 10000};

struct cooldown {
	struct amp_fileid id;
	int64_t until_ns; /* monotonic */
};

static struct amp_counter count_busy = AMP_COUNTER("read.busy", false);
static struct amp_counter count_changed = AMP_COUNTER("read.changed", false);
static struct amp_counter count_gone = AMP_COUNTER("read.gone", false);
static struct amp_counter count_special = AMP_COUNTER("read.not_regular", false);
static struct amp_counter count_unreadable = AMP_COUNTER("read.unreadable", true);
static struct amp_counter count_no_mount = AMP_COUNTER("read.no_mount", true);
static struct amp_counter count_relieved = AMP_COUNTER("read.given_up_for_room", true);
static struct amp_counter count_confirmed = AMP_COUNTER("judged.confirmed", false);
static struct amp_counter count_cooling = AMP_COUNTER("read.deferred_large", false);
static struct amp_counter count_uncopied = AMP_COUNTER("engine.uncopied", false);

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

static uint64_t least(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

uint64_t judge_scan_limit(const struct scand *s, bool archive)
{
	return least(archive ? s->rules->max_archive_size : s->rules->max_file_size, SCAND_COPY_MAX);
}

static uint64_t largest_copy(const struct scand *s)
{
	uint64_t file = judge_scan_limit(s, false), archive = judge_scan_limit(s, true);

	return file > archive ? file : archive;
}

/* What is larger than this is not read now. */
static uint64_t size_limit(struct scand *s, const struct job *j)
{
	uint64_t limit = j->large ? READ_MAX : QUICK_SIZE, cooling = judge_limit(s, j->id);

	if (j->copy && j->large)
		return largest_copy(s); /* it was hashed a moment ago, and that is no reason to wait */
	return cooling && cooling < limit ? cooling : limit;
}

static void unreachable(struct job *j);

/* With the content, if a hash is asked for, comes a copy for the engine: of a file that is known to
 * be large as much as it has, of others a little. Without room for it the lists have their say, and
 * what they do not know is read again when there is (judge_read_again()). */
static void wish_copy(struct scand *s, struct job *j, struct read_wish *w)
{
	uint64_t file = judge_scan_limit(s, false), archive = judge_scan_limit(s, true), room;

	j->copy_max = 0;
	if (w->want != AMP__READ_ITEM__WANT__HASH || engine_state(s) != ENGINE_READY)
		return;
	if (j->large && j->size > largest_copy(s))
		return;
	if (scans_room_for(s, j->bucket, job_owner_is_known(j), j->large, j->demand) != COPY_ROOM)
		return;
	room = j->large ? (j->size / COPY_STEP + 1) * COPY_STEP : SCAND_COPY_QUICK;
	w->snapshot_max = least(file, room);
	w->archive_max = least(archive, room);
	j->copy_max = w->snapshot_max > w->archive_max ? w->snapshot_max : w->archive_max;
	scans_reserve(s, j, j->copy_max);
}

static void conclude_as(struct job *j, enum outcome outcome)
{
	for (struct occurrence *o = j->first; o; o = o->next)
		o->outcome = outcome;
	job_conclude(j);
}

static int ask_for(struct scand *s, struct job *j)
{
	const struct filesystem *fs = filesystems_find(&s->filesystems, j->id->fsid);
	struct read_wish w = {.want = j->confirm ? AMP__READ_ITEM__WANT__IDENTITY
						 : AMP__READ_ITEM__WANT__HASH,
			      .limit = size_limit(s, j),
			      .fd = job_descriptor(j),
			      .demand = j->demand};

	if (!fs || !j->first) {
		job_conclude(j);
		return 0;
	}
	if (!job_can_be_read(j)) {
		amp_counter_add(&count_gone, 1);
		conclude_as(j, OUTCOME_VANISHED);
		return 0;
	}
	if (w.fd < 0 && !fs->mount_point[0]) {
		unreachable(j);
		return 0;
	}
	wish_copy(s, j, &w);
	if (readers_ask_for(s, j, &w, fs, j->id, &j->reader) != 0) {
		scans_release(s, j);
		return -1;
	}
	j->state = JOB_READING;
	j->copy = false;
	if (j->confirm)
		return 0;
	j->dirty = false;
	for (struct occurrence *o = j->first; o; o = o->next)
		o->after = false;
	return 0;
}

/* The next in turn to a reader. False: none, or no room. */
static bool dispatch_one(struct scand *s, enum job_lane lane, bool large, bool demand)
{
	struct job *j = job_next(s, lane, large, demand);

	if (j && ask_for(s, j) == 0)
		return true;
	if (j)
		job_defer(j, 50);
	return false;
}

static void dispatch(struct scand *s, enum job_lane lane, bool large, bool demand)
{
	while (readers_have_room_for(s, large, demand) && (!demand || demand_may_go_on(s)) &&
	       dispatch_one(s, lane, large, demand))
		;
}

/* Events first; and who waits for room before who came later. */
static void dispatch_all(struct scand *s, bool demand)
{
	for (enum job_lane lane = 0; lane < LANES; lane++) {
		dispatch(s, lane, true, demand);
		dispatch(s, lane, false, demand);
	}
}

void judge_dispatch(struct scand *s)
{
	dispatch_all(s, false);
	dispatch_all(s, true);
}

static void all_unjudged(struct job *j, enum outcome outcome, const char *type, const char *why)
{
	while (j->first) {
		j->first->outcome = outcome;
		act_unjudged(j->scand, j->first, j->id, type, why);
	}
	job_conclude(j);
}

void judge_reader_died(struct job *j)
{
	j->state = JOB_PATHS;
	scans_release(j->scand, j);
	j->dirty = true;
	if (++j->deaths < DEATHS_MAX) {
		job_advance(j);
		return;
	}
	amp_counter_add(&count_unreadable, 1);
	all_unjudged(j, OUTCOME_UNREADABLE, "file_unreadable",
		     "three readers died while they had this file in hand");
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
	if (!fs->unread_since_ns || j->first->since_ns < fs->unread_since_ns)
		fs->unread_since_ns = j->first->since_ns;
}

void judge_unread(struct scand *s, struct occurrence *o, const struct amp_fileid *file, const char *why)
{
	o->outcome = OUTCOME_UNREADABLE;
	amp_counter_add(&count_unreadable, 1);
	act_unjudged(s, o, file, "file_unreadable", why);
}

static void give_up(struct job *j, const char *why)
{
	amp_counter_add(&count_unreadable, 1);
	note_unread(j);
	all_unjudged(j, OUTCOME_UNREADABLE, "file_unreadable", why);
}

void judge_wants_copy(struct job *j, const struct amp_identity *id)
{
	j->copy = true;
	j->bucket = id->uid;
	if (id->size <= SCAND_COPY_QUICK)
		return;
	j->large = true;
	j->size = id->size;
}

/* The copy was to come and did not: no memory, or it grew meanwhile. */
static bool copy_failed(const struct job *j, const struct reading *r)
{
	return j->copy_max && (j->copy_max > SCAND_COPY_QUICK || r->identity.size <= j->copy_max);
}

void judge_read_again(struct job *j, const struct reading *r)
{
	bool failed = copy_failed(j, r), changed = j->dirty;

	judge_wants_copy(j, &r->identity);
	j->copy = !changed; /* or the lists may know what it is now */
	if (!failed) {
		j->dirty = true;
		job_advance(j);
	} else if (++j->uncopied < COPY_TRIES) {
		again(j, j->uncopied - 1);
	} else {
		amp_counter_add(&count_uncopied, 1);
		all_unjudged(j, OUTCOME_UNSCANNABLE, "file_unscannable",
			     "the engine got no copy of it: too little memory, or it grew each time");
	}
}

static void on_content(struct job *j, const Amp__ReadResult *r, bool keep, int *snapshot)
{
	struct scand *s = j->scand;
	struct reading c = {.script = r->script, .archive = r->archive};

	if (amp_identity_from_wire(r->identity, &c.identity) != 0) {
		give_up(j, "the reader's answer made no sense");
		return;
	}
	memcpy(c.sha256, r->sha256.data, sizeof(c.sha256));
	c.line_size = least(r->script_line.len, sizeof(c.line));
	if (c.line_size)
		memcpy(c.line, r->script_line.data, c.line_size);
	c.snapshot = *snapshot;
	*snapshot = -1;
	cooldown_note(s, j->id, r->hash_ns);
	if (keep && !j->dirty)
		verdicts_store(&s->verdicts, j->id, &c.identity, c.sha256, r->script, r->archive,
			       s->rules->epoch);
	judge_content(j, &c);
}

static void on_ok(struct job *j, const Amp__ReadResult *r, int *snapshot)
{
	on_content(j, r, true, snapshot);
}

static void on_changed(struct job *j, const Amp__ReadResult *r, int *snapshot)
{
	amp_counter_add(&count_changed, 1);
	if (j->changed < sizeof(again_ms) / sizeof(again_ms[0]))
		again(j, j->changed++);
	else
		on_content(j, r, false, snapshot); /* used once, not kept */
}

static void on_busy(struct job *j, const Amp__ReadResult *r, int *snapshot)
{
	(void)snapshot;
	(void)r;
	amp_counter_add(&count_busy, 1);
	if (j->busy < BUSY_MAX)
		again(j, j->busy++);
	else
		give_up(j, "it stayed busy (a lease, or a device that does not answer)");
}

static void on_unreadable(struct job *j, const Amp__ReadResult *r, int *snapshot)
{
	(void)snapshot;
	if (j->unreadable++ < 2)
		again(j, j->unreadable);
	else
		give_up(j, strerror(r->error));
}

static void on_gone(struct job *j, const Amp__ReadResult *r, int *snapshot)
{
	bool gone = r->status == AMP__READ_RESULT__STATUS__GONE;

	(void)snapshot;
	amp_counter_add(gone ? &count_gone : &count_special, 1);
	conclude_as(j, gone ? OUTCOME_VANISHED : OUTCOME_SPECIAL);
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

static void on_no_mount(struct job *j, const Amp__ReadResult *r, int *snapshot)
{
	(void)snapshot;
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

static void on_too_large(struct job *j, const Amp__ReadResult *r, int *snapshot)
{
	int64_t pause = judge_cooldown(j->scand, j->id);

	(void)snapshot;
	j->size = r->identity->size;
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

bool judge_is_firm(struct scand *s, const struct amp_fileid *file, const struct verdict *v)
{
	const struct filesystem *fs = filesystems_find(&s->filesystems, file->fsid);

	/* A mapping of an overlay's file is one of the file below, which nobody watches there: it is
	 * stored through unseen after the file was closed (fs/overlayfs/file.c, ovl_mmap()). */
	if (!fs || fs->how == AMP__FILE_SYSTEM__HOW__BY_FD)
		return false;
	/* truncate(2) makes no event; who may write may do it. */
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

/* Who takes the copy over leaves -1. */
typedef void result_handler(struct job *j, const Amp__ReadResult *r, int *snapshot);

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

void judge_result(struct scand *s, struct job *j, const Amp__ReadResult *r, int snapshot)
{
	j->state = JOB_PATHS;
	j->reader = -1;
	scans_release(s, j);
	if (j->demand)
		demand_worked(s, r->hash_ns);
	if (j->confirm && r->status == AMP__READ_RESULT__STATUS__OK)
		on_identity(j, r);
	else if ((size_t)r->status < sizeof(handlers) / sizeof(handlers[0]) && handlers[r->status])
		handlers[r->status](j, r, &snapshot);
	else
		give_up(j, "the reader's answer made no sense");
	if (snapshot >= 0)
		close(snapshot);
}

void judge_free(struct scand *s)
{
	free(s->cooldowns);
}
