/*
 * ampscand/job.c - jobs: one inode being judged, and the events that wait for it.
 *
 * Owns: the table of jobs, the queues (a bucket for each user, served in turn,
 * so that one user's 100,000 files do not delay another's), the 100 ms that a
 * made or linked file waits for its close, deferral, parking of what takes
 * long, giving back of slots. Must not own: reading, judging or acting.
 */
#include "scand.h"

#include "clock.h"
#include "counter.h"
#include "log.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SETTLE_NS     (100 * AMP_NS_PER_MS)
#define PARK_AFTER_NS AMP_NS_PER_SEC

static struct amp_counter count_excluded = AMP_COUNTER("judged.excluded", false);
static struct amp_counter count_left = AMP_COUNTER("events.names_left", true);
static struct amp_counter count_out_of_scope = AMP_COUNTER("judged.out_of_scope", false);

static bool job_equal(const struct cache_node *node, const void *key)
{
	const struct job *j = (const struct job *)node;

	return !j->apart && amp_fileid_equal(j->id, key);
}

static void job_evict(struct cache_node *node, void *arg)
{
	(void)node; /* the table has no bound; jobs leave by job_conclude() */
	(void)arg;
}

static void on_settled(evutil_socket_t fd, short what, void *arg);

int jobs_init(struct scand *s)
{
	s->settle_timer = evtimer_new(s->base, on_settled, s);
	if (!s->settle_timer)
		return -1;
	return cache_init(&s->jobs, 4096, 0, job_equal, job_evict, NULL);
}

static size_t id_size(const struct amp_fileid *id)
{
	return offsetof(struct amp_fileid, handle.bytes) + id->handle.size;
}

void fileid_copy(struct amp_fileid *to, const struct amp_fileid *from)
{
	memset(to, 0, sizeof(*to));
	memcpy(to, from, id_size(from));
}

struct job *job_find(struct scand *s, const struct amp_fileid *id)
{
	return (struct job *)cache_find(&s->jobs, amp_fileid_hash(id), id);
}

static struct job *job_new(struct scand *s, const struct amp_fileid *id, uid_t bucket)
{
	struct job *j = calloc(1, sizeof(*j) + id_size(id));

	if (!j)
		return NULL;
	j->scand = s;
	j->id = (struct amp_fileid *)(j + 1);
	memcpy(j->id, id, id_size(id));
	j->bucket = bucket;
	j->reader = -1;
	cache_insert(&s->jobs, &j->node, amp_fileid_hash(id));
	return j;
}

struct job *job_get(struct scand *s, const struct amp_fileid *id, uid_t bucket)
{
	struct job *j = job_find(s, id);

	if (!j)
		return job_new(s, id, bucket);
	job_look_again(j);
	return j;
}

struct job *job_apart(struct scand *s, const struct amp_fileid *id)
{
	struct job *j = job_new(s, id, 0);

	if (j)
		j->apart = true;
	return j;
}

bool job_is_demand(const struct job *j)
{
	for (const struct occurrence *o = j->first; o; o = o->next)
		if (!(o->cause & CAUSE_DEMAND))
			return false;
	return j->first != NULL;
}

bool job_owner_is_known(const struct job *j)
{
	return j->large || j->copy || j->demand;
}

bool job_is_in_hand(const struct job *j)
{
	return j->state == JOB_READING || j->state == JOB_SCANNING;
}

struct occurrence *occurrence_new(const struct amp_fileid *dir, const char *name, size_t name_size)
{
	size_t dir_size = dir && dir->handle.size ? (id_size(dir) + 7) & ~(size_t)7 : 0;
	struct occurrence *o = calloc(1, sizeof(*o) + dir_size + name_size + 1);
	char *behind = (char *)(o + 1);

	if (!o)
		return NULL;
	o->fd = -1;
	o->time_ns = o->since_ns = amp_clock_realtime();
	if (dir_size) {
		o->directory = (struct amp_fileid *)behind;
		memcpy(o->directory, dir, id_size(dir));
	}
	if (name_size)
		memcpy(behind + dir_size, name, name_size);
	o->name = behind + dir_size;
	o->name_size = name_size;
	return o;
}

void occurrence_detach(struct occurrence *o)
{
	struct job *j = o->job;
	struct occurrence **p, *before = NULL;

	if (!j)
		return;
	for (p = &j->first; *p && *p != o; p = &(*p)->next)
		before = *p;
	if (*p) {
		*p = o->next;
		j->count--;
	}
	if (j->last == o)
		j->last = before;
	o->job = NULL;
	o->next = NULL;
}

void occurrence_conclude(struct scand *s, struct occurrence *o)
{
	occurrence_detach(o);
	s->occurrences--;
	if (o->slot.kind != SLOT_NONE)
		buffers_conclude(s->buffers, o->slot);
	if (o->walk)
		walk_entry_concluded(s, o);
	if (o->fd >= 0) {
		close(o->fd);
		s->event_fds--;
	}
	who_unref(o->who);
	free(o->path);
	free(o);
	scand_pump_later(s);
}

static void queue_push(struct job **first, struct job **last, struct job *j)
{
	j->queue_next = NULL;
	j->queue_prev = *last;
	if (*last)
		(*last)->queue_next = j;
	else
		*first = j;
	*last = j;
}

static void queue_remove(struct job **first, struct job **last, struct job *j)
{
	if (j->queue_prev)
		j->queue_prev->queue_next = j->queue_next;
	else
		*first = j->queue_next;
	if (j->queue_next)
		j->queue_next->queue_prev = j->queue_prev;
	else
		*last = j->queue_prev;
	j->queue_next = j->queue_prev = NULL;
}

static struct bucket *bucket_of(const struct job *j)
{
	struct bucket **p = &j->scand->buckets[j->lane][j->large][j->demand];
	struct bucket *b;

	for (; *p; p = &(*p)->next)
		if ((*p)->uid == j->bucket)
			return *p;
	b = calloc(1, sizeof(*b));
	if (!b)
		return NULL;
	b->uid = j->bucket;
	*p = b;
	return b;
}

/* Out of whatever list its state keeps it in. */
static void unlink_state(struct job *j)
{
	struct scand *s = j->scand;

	if (j->state == JOB_SETTLING) {
		queue_remove(&s->settling, &s->settling_last, j);
	} else if (j->state == JOB_QUEUED) {
		struct bucket *b = bucket_of(j);

		if (b)
			queue_remove(&b->first, &b->last, j);
	} else if (j->state == JOB_DEFERRED && j->timer) {
		event_del(j->timer);
	} else if (j->state == JOB_SCANNING) {
		scans_forget(s, j);
	}
	j->state = JOB_PATHS;
}

/* Its job is the next; then it is the turn of all others. */
static struct job *take_turn(struct bucket **at)
{
	struct bucket *b = *at;
	struct job *j = b->first;

	*at = b->next;
	while (*at)
		at = &(*at)->next;
	*at = b;
	b->next = NULL;
	queue_remove(&b->first, &b->last, j);
	j->state = JOB_PATHS;
	return j;
}

/* Where there is no room for a copy a first reading goes on without, for the lists; a scan on
 * demand has the time to wait. */
static bool may_be_read(const struct scand *s, uid_t uid, enum job_lane lane, bool large, bool demand)
{
	bool first = lane == LANE_FIRST;
	enum copy_room room;

	if (large && !demand && readers_large_of(s, uid) >= SCAND_LARGE_OWNER)
		return false;
	room = scans_room_for(s, uid, large || demand || !first, large, demand);
	return room == COPY_ROOM || (room == COPY_NO_ROOM && first && !demand);
}

/* The next queued job, users in turn; it is out of its queue. NULL: none that may be read now. */
struct job *job_next(struct scand *s, enum job_lane lane, bool large, bool demand)
{
	struct bucket **p = &s->buckets[lane][large][demand], *b;

	while ((b = *p)) {
		if (!b->first) {
			*p = b->next;
			free(b);
		} else if (!may_be_read(s, b->uid, lane, large, demand)) {
			p = &b->next;
		} else {
			return take_turn(p);
		}
	}
	return NULL;
}

void job_unsettle(struct job *j)
{
	if (j->state == JOB_SETTLING)
		unlink_state(j);
}

void job_conclude(struct job *j)
{
	struct scand *s = j->scand;

	unlink_state(j);
	if (j->resolving)
		resolve_forget(s, j);
	while (j->first)
		occurrence_conclude(s, j->first);
	scans_release(s, j);
	cache_remove(&s->jobs, &j->node);
	if (j->timer)
		event_free(j->timer);
	free(j->content);
	free(j);
}

static void on_deferred(evutil_socket_t fd, short what, void *arg)
{
	struct job *j = arg;

	(void)fd;
	(void)what;
	j->state = JOB_PATHS;
	job_advance(j);
}

void job_defer(struct job *j, unsigned ms)
{
	struct timeval tv = {.tv_sec = ms / 1000, .tv_usec = (ms % 1000) * 1000};

	unlink_state(j);
	if (!j->timer)
		j->timer = evtimer_new(j->scand->base, on_deferred, j);
	if (!j->timer || evtimer_add(j->timer, &tv) != 0) {
		job_conclude(j); /* no memory for a timer: counted by the caller's reason */
		return;
	}
	j->state = JOB_DEFERRED;
}

void job_settle(struct job *j)
{
	struct scand *s = j->scand;
	struct timeval tv = {.tv_usec = SETTLE_NS / 1000};

	if (j->state != JOB_PATHS)
		return;
	j->state = JOB_SETTLING;
	j->settle_ns = amp_clock_monotonic() + SETTLE_NS;
	queue_push(&s->settling, &s->settling_last, j);
	if (!evtimer_pending(s->settle_timer, NULL))
		evtimer_add(s->settle_timer, &tv);
}

static void on_settled(evutil_socket_t fd, short what, void *arg)
{
	struct scand *s = arg;
	int64_t now = amp_clock_monotonic();

	(void)fd;
	(void)what;
	while (s->settling && s->settling->settle_ns <= now) {
		struct job *j = s->settling;

		unlink_state(j);
		job_advance(j);
	}
	if (s->settling) {
		int64_t left = (s->settling->settle_ns - now) / 1000 + 1000;
		struct timeval tv = {.tv_sec = left / 1000000, .tv_usec = left % 1000000};

		evtimer_add(s->settle_timer, &tv);
	}
}

/* Asks for the paths that are missing. True: all are there. */
static bool paths_known(struct job *j)
{
	for (struct occurrence *o = j->first; o; o = o->next)
		if (!o->path && !resolve_path(o))
			continue;
	return j->resolving == 0;
}

bool occurrence_in_scope(struct scand *s, struct occurrence *o, const struct filesystem *fs)
{
	bool by_process = !(o->cause & (EVENT_EXEC | CAUSE_RUNNING));
	struct rule *r;

	/* A path that cannot be told is judged all the same, and so is what an administrator names. */
	if (!(o->cause & CAUSE_DEMAND) && o->path && !o->path_unresolved &&
	    !filesystem_in_scope(fs, o->path)) {
		amp_counter_add(&count_out_of_scope, 1);
		return false;
	}
	r = rules_exclude(s->rules, o->path_unresolved ? NULL : o->path, o->who, by_process);
	if (!r)
		return true;
	r->hits++;
	amp_counter_add(&count_excluded, 1);
	return false;
}

static void drop_out_of_scope(struct job *j, const struct filesystem *fs)
{
	struct occurrence *o = j->first;

	while (o) {
		struct occurrence *next = o->next;

		if (!occurrence_in_scope(j->scand, o, fs)) {
			o->outcome = OUTCOME_EXCLUDED;
			occurrence_conclude(j->scand, o);
		}
		o = next;
	}
}

/*
 * Whoever gives a file that is long to read a name after the other would fill
 * what there is for all. The names beyond a number are not kept: if the file
 * is convicted, or if all names kept are excluded, a repair looks for them.
 */
void job_leave(struct job *j, int64_t time_ns)
{
	amp_counter_add(&count_left, 1);
	if (j->left_ns == 0 || time_ns < j->left_ns)
		j->left_ns = time_ns > 0 ? time_ns : 1;
}

void job_look_for_left(struct job *j)
{
	int64_t since = j->left_ns - 2 * AMP_NS_PER_SEC;

	if (j->left_ns == 0)
		return;
	j->left_ns = 0;
	scand_repair_wanted(j->scand, j->id->fsid, since > 0 ? since : 0,
			    "more names of a file than are kept", false);
}

int job_descriptor(const struct job *j)
{
	for (const struct occurrence *o = j->first; o; o = o->next)
		if (o->fd >= 0)
			return o->fd;
	return -1;
}

bool job_can_be_read(const struct job *j)
{
	return job_descriptor(j) >= 0 || !amp_handle_is_stand_in(&j->id->handle);
}

static bool executed(const struct job *j)
{
	for (const struct occurrence *o = j->first; o; o = o->next)
		if (o->cause & EVENT_EXEC)
			return true;
	return false;
}

static void queue_for_reading(struct job *j)
{
	struct bucket *b;

	j->demand = job_is_demand(j);
	j->lane = LANE_FIRST;
	if (j->copy && !j->confirm)
		j->lane = executed(j) ? LANE_EXECUTED : LANE_COPY;
	b = bucket_of(j);
	if (!b) {
		job_conclude(j);
		return;
	}
	j->state = JOB_QUEUED;
	queue_push(&b->first, &b->last, j);
	scand_pump_later(j->scand);
}

void job_look_again(struct job *j)
{
	if (!j->copy)
		return;
	j->copy = false;
	if (j->state != JOB_QUEUED)
		return;
	unlink_state(j);
	j->lane = LANE_FIRST;
	if (!bucket_of(j))
		j->copy = true; /* no memory: it stays where it was */
	queue_for_reading(j);
}

/* What waited for its turn among files of scans on demand is an event's now. */
static void hurry(struct job *j)
{
	if (j->state == JOB_SCANNING)
		scans_hurry(j->scand, j);
	if (j->state != JOB_QUEUED || !j->demand)
		return;
	unlink_state(j);
	queue_for_reading(j);
}

void job_add(struct job *j, struct occurrence *o)
{
	o->job = j;
	o->next = NULL;
	if (j->last)
		j->last->next = o;
	else
		j->first = o;
	j->last = o;
	j->count++;
	j->scand->occurrences++;
	if (!(o->cause & CAUSE_DEMAND))
		hurry(j);
}

void job_advance(struct job *j)
{
	struct scand *s = j->scand;
	const struct filesystem *fs = filesystems_find(&s->filesystems, j->id->fsid);
	const struct verdict *v;

	if (j->state == JOB_SETTLING || job_is_in_hand(j) || j->state == JOB_DEFERRED ||
	    j->state == JOB_QUEUED)
		return;
	if (j->apart) {
		job_conclude(j); /* it is read no more */
		return;
	}
	if (!fs || !s->rules) {
		job_conclude(j); /* unmounted since */
		return;
	}
	if (!paths_known(j))
		return;
	drop_out_of_scope(j, fs);
	if (!j->first) {
		job_look_for_left(j);
		job_conclude(j);
		return;
	}
	v = j->dirty ? NULL : verdicts_find(&s->verdicts, j->id);
	/* What is executed may have been changed without an event: that is looked at
	 * first; or it is read again, where its times would not tell. */
	j->confirm = v && executed(j) && !judge_is_firm(s, j->id, v) && job_can_be_read(j);
	if (j->confirm && v->racy) {
		j->confirm = false;
		v = NULL;
	}
	if (v && !j->confirm && judge_cached(j, v))
		return;
	queue_for_reading(j);
}

static int64_t age_of(const struct occurrence *o, int64_t now)
{
	return now - o->time_ns;
}

/* Events that take longer than a second leave their read buffer. False: no slot is free. */
static bool park_all(struct scand *s)
{
	int64_t now = amp_clock_realtime();

	for (struct cache_node *n = s->jobs.oldest; n; n = n->newer) {
		struct job *j = (struct job *)n;

		for (struct occurrence *o = j->first; o; o = o->next)
			if (o->slot.kind == SLOT_BUFFER && age_of(o, now) > PARK_AFTER_NS &&
			    park_occurrence(s, o, j->id) != 0)
				return false; /* the rest stays where it is */
	}
	return true;
}

/* Events of jobs that wait long; with `slots`, only those that are kept somewhere. */
static size_t long_waits(const struct scand *s, bool slots)
{
	size_t n = 0;

	for (const struct cache_node *c = s->jobs.oldest; c; c = c->newer) {
		const struct job *j = (const struct job *)c;

		for (const struct occurrence *o = judge_waits_long(j) ? j->first : NULL; o; o = o->next)
			n += !slots || o->slot.kind != SLOT_NONE;
	}
	return n;
}

/*
 * What waits for a lease, a pause or its turn among large files may wait for
 * minutes, and any user can make much of it. It has half of the room at most,
 * or nobody's events would be read any more.
 */
void jobs_house_keeping(struct scand *s)
{
	bool parked = park_all(s), full = intake_is_full(s);
	size_t half = parked ? SCAND_OCCURRENCES_MAX / 2 : AMP_BUFFERS_PARKED / 2, n;

	if (parked && s->event_fds >= SCAND_FDS_MAX)
		half = SCAND_FDS_MAX / 2;
	if (parked && !full)
		return;
	n = long_waits(s, !parked);
	if (n > half)
		judge_relieve(s, n - half, !parked);
}

static void free_ring(struct bucket **ring)
{
	while (*ring) {
		struct bucket *b = *ring;

		*ring = b->next;
		free(b);
	}
}

void jobs_free(struct scand *s)
{
	while (s->jobs.buckets && s->jobs.oldest)
		job_conclude((struct job *)s->jobs.oldest);
	cache_free(&s->jobs);
	for (unsigned i = 0; i < LANES * 4U; i++)
		free_ring(&s->buckets[i / 4][i / 2 % 2][i % 2]);
	if (s->settle_timer)
		event_free(s->settle_timer);
}
