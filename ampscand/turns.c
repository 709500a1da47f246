/*
 * ampscand/turns.c - whose content the engine looks at next.
 *
 * Owns: who has content here, the queues of each (events before scans on demand),
 * root's files and others' in turn, and among others who used the workers least.
 * Must not own: copies and their memory (scan.c), workers (workers.c).
 *
 * Among others it is fair queueing by what was used, as Goyal, Vin and Cheng have
 * it ("Start-time Fair Queueing", SIGCOMM 1996): who comes anew begins where
 * those who are served are, so nobody saves up turns by waiting; and who used
 * more is remembered until they have used as much.
 */
#include "scan.h"

#include <stdlib.h>

static struct owner *owner_of(struct turns *t, const struct scan *c)
{
	return c->hold.owner ? c->hold.owner : &t->root;
}

/* -- owners -- */

struct owner *turns_find(const struct turns *t, uid_t uid)
{
	struct owner *o = t->others;

	while (o && o->uid != uid)
		o = o->next;
	return o;
}

static void insert(struct turns *t, struct owner *o)
{
	struct owner **p = &t->others;

	while (*p && (*p)->used_ns <= o->used_ns)
		p = &(*p)->next;
	o->next = *p;
	*p = o;
}

static void take_out(struct turns *t, struct owner *o)
{
	struct owner **p = &t->others;

	while (*p != o)
		p = &(*p)->next;
	*p = o->next;
}

static void set_used(struct turns *t, struct owner *o, int64_t ns)
{
	take_out(t, o);
	o->used_ns = ns;
	insert(t, o);
}

struct owner *turns_get(struct turns *t, uid_t uid)
{
	struct owner *o = turns_find(t, uid);

	if (o)
		return o;
	o = calloc(1, sizeof(*o));
	if (!o)
		return NULL;
	o->uid = uid;
	o->used_ns = t->used_ns;
	insert(t, o);
	return o;
}

/* As good as one who comes anew. */
static bool is_forgotten(const struct turns *t, const struct owner *o)
{
	return o->use.copies == 0 && o->used_ns <= t->used_ns;
}

/* Those who used more than their part, and whom the others have caught up with. */
static void forget(struct turns *t)
{
	struct owner **p = &t->others;

	while (*p && (*p)->used_ns <= t->used_ns) {
		struct owner *o = *p;

		if (is_forgotten(t, o)) {
			*p = o->next;
			free(o);
		} else {
			p = &o->next;
		}
	}
}

/* Where nobody wants anything nobody owes anything. */
static void settle(struct turns *t)
{
	int64_t most = t->used_ns;

	for (const struct owner *o = t->others; o; o = o->next) {
		if (o->use.copies > 0)
			return;
		most = o->used_ns; /* the last one's is the most */
	}
	if (t->used_ns < most)
		t->used_ns = most;
}

void turns_put(struct turns *t, struct owner *o)
{
	if (o->use.copies > 0)
		return;
	settle(t);
	forget(t);
}

void turns_used(struct turns *t, struct owner *o, int64_t ns)
{
	if (o && ns > 0)
		set_used(t, o, o->used_ns + ns);
}

void turns_free(struct turns *t)
{
	while (t->others) {
		struct owner *o = t->others;

		t->others = o->next;
		free(o);
	}
}

/* -- queues -- */

void turns_push(struct turns *t, struct scan *c, bool front)
{
	struct owner *o = owner_of(t, c);
	struct queue *q = &o->queue[c->demand];

	if (o != &t->root && !o->queue[0].first && !o->queue[1].first && o->used_ns < t->used_ns)
		set_used(t, o, t->used_ns);
	c->queued = true;
	c->prev = front ? NULL : q->last;
	c->next = front ? q->first : NULL;
	*(c->prev ? &c->prev->next : &q->first) = c;
	*(c->next ? &c->next->prev : &q->last) = c;
}

void turns_pull(struct turns *t, struct scan *c)
{
	struct queue *q;

	if (!c->queued)
		return;
	q = &owner_of(t, c)->queue[c->demand];
	*(c->prev ? &c->prev->next : &q->first) = c->next;
	*(c->next ? &c->next->prev : &q->last) = c->prev;
	c->next = c->prev = NULL;
	c->queued = false;
}

struct scan *turns_any(const struct turns *t)
{
	const struct owner *o = &t->root;

	while (o && !o->queue[0].first && !o->queue[1].first)
		o = o == &t->root ? t->others : o->next;
	if (!o)
		return NULL;
	return o->queue[0].first ? o->queue[0].first : o->queue[1].first;
}

/* -- turns -- */

/* The first that somebody may take; those behind one that anybody might take wait with it. */
static bool serve(struct scand *s, struct turns *t, struct queue *q)
{
	for (struct scan *c = q->first; c; c = c->next) {
		struct worker *w = workers_find(s, c);

		if (w) {
			turns_pull(t, c);
			workers_send(w, c);
			return true;
		}
		if (c->need == NEED_ANY)
			return false;
	}
	return false;
}

static bool serve_root(struct scand *s, struct turns *t, bool demand)
{
	return workers_left(s, true, demand) > 0 && serve(s, t, &t->root.queue[demand]);
}

static bool serve_others(struct scand *s, struct turns *t, bool demand)
{
	if (workers_left(s, false, demand) == 0)
		return false;
	for (struct owner *o = t->others; o; o = o->next) {
		if (!o->queue[demand].first || workers_left_for(s, o) == 0 || !serve(s, t, &o->queue[demand]))
			continue;
		if (t->used_ns < o->used_ns)
			t->used_ns = o->used_ns;
		forget(t);
		return true;
	}
	return false;
}

bool turns_serve(struct scand *s, struct turns *t, bool demand)
{
	bool others = t->others_next;

	t->others_next = !others;
	if (others)
		return serve_others(s, t, demand) || serve_root(s, t, demand);
	return serve_root(s, t, demand) || serve_others(s, t, demand);
}

static unsigned length(const struct queue *q, unsigned most)
{
	unsigned n = 0;

	for (const struct scan *c = q->first; c && n < most; c = c->next)
		n++;
	return n;
}

static unsigned smaller(unsigned a, unsigned b)
{
	return a < b ? a : b;
}

static unsigned waiting(struct scand *s, const struct turns *t, bool demand)
{
	unsigned n = length(&t->root.queue[demand], workers_left(s, true, demand));
	unsigned left = workers_left(s, false, demand), others = 0;

	for (const struct owner *o = t->others; o && others < left; o = o->next)
		if (o->queue[demand].first)
			others += length(&o->queue[demand], smaller(workers_left_for(s, o), left - others));
	return n + others;
}

unsigned turns_waiting(struct scand *s, const struct turns *t)
{
	return waiting(s, t, false) + waiting(s, t, true);
}
