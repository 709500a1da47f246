/*
 * ampscand/take.c - the queue of what ampquard is to take away.
 *
 * Owns: the order, the window on the wire, sending again on a new link, and
 * setting one aside after three deaths of ampquard on it; as lib/outbox.c does
 * with records, but the messages are made of the acts when they are sent, and
 * some carry a descriptor. Must not own: the acts, the channel.
 *
 * Everything on the wire stands before everything that waits. A death makes
 * suspects of all that was on the wire: they go out one at a time, so that
 * three deaths convict the one that causes them and not an older one beside it.
 */
#include "scand.h"

#include "counter.h"
#include "log.h"

#include <errno.h>
#include <stdlib.h>

#define WINDOW	   256U
#define FDS_WINDOW 16U
#define DEATHS_MAX 3U

struct takes {
	struct amp_channel *channel; /* NULL: no link */
	struct take *first, *last;
	size_t waiting, on_wire, fds_on_wire, suspects;
};

static struct amp_counter count_taken = AMP_COUNTER("act.taken", false);
static struct amp_counter count_again = AMP_COUNTER("act.take_sent_again", false);
static struct amp_counter count_unasked = AMP_COUNTER("act.take_unasked_ack", false);
static struct amp_counter count_aside = AMP_COUNTER("act.take_set_aside", true);

int takes_init(struct scand *s)
{
	s->takes = calloc(1, sizeof(*s->takes));
	if (s->takes)
		amp_counter_list(&count_aside);
	return s->takes ? 0 : -1;
}

void takes_free(struct scand *s)
{
	free(s->takes);
	s->takes = NULL;
}

static void off_wire(struct takes *q, struct take *t)
{
	if (!t->on_wire)
		return;
	q->on_wire--;
	q->fds_on_wire -= t->with_fd;
	t->on_wire = t->with_fd = false;
}

/* Out of the queue before its act hears of it: it may be gone then. */
static void finish(struct takes *q, struct take *t, bool aside)
{
	*(t->prev ? &t->prev->next : &q->first) = t->next;
	*(t->next ? &t->next->prev : &q->last) = t->prev;
	q->waiting--;
	off_wire(q, t);
	q->suspects -= t->suspect;
	t->waiting = t->suspect = false;
	act_taken(t, aside);
}

static void set_aside(struct scand *s, struct take *t, const char *why)
{
	amp_counter_add(&count_aside, 1);
	amp_error("a convicted file is left where it is: %s", why);
	amp_room_fault(s->room, AMP_FAULT_QUARANTINE_FAILED, true, why);
	finish(s->takes, t, true);
}

static struct take *first_unsent(const struct takes *q)
{
	struct take *t = q->first;

	while (t && t->on_wire)
		t = t->next;
	return t;
}

static bool may_send(const struct takes *q, const struct take *t)
{
	size_t window = q->suspects ? 1 : WINDOW;

	return q->channel && q->on_wire < window && !amp_channel_full(q->channel) &&
	       (!act_take_has_fd(t) || q->fds_on_wire < FDS_WINDOW);
}

/* False: no room or no memory now; an answer, the next one or the pump comes back to it. */
static bool send_one(struct scand *s, struct take *t)
{
	struct takes *q = s->takes;

	if (act_send_take(t, q->channel) == 0) {
		t->on_wire = true;
		t->with_fd = act_take_has_fd(t);
		q->on_wire++;
		q->fds_on_wire += t->with_fd;
		return true;
	}
	if (errno != EMSGSIZE && errno != EINVAL)
		return false;
	set_aside(s, t, "no message holds what is to be said about it");
	return true;
}

void takes_pump(struct scand *s)
{
	struct takes *q = s->takes;
	struct take *t, *next;

	/* Mostly all is on the wire, or nothing may go: neither is looked for in the list. */
	if (!q->channel || q->on_wire == q->waiting || q->on_wire >= (q->suspects ? 1 : WINDOW))
		return;
	for (t = first_unsent(q); t && may_send(q, t); t = next) {
		next = t->next;
		if (!send_one(s, t))
			return;
	}
}

void take_put(struct scand *s, struct take *t)
{
	struct takes *q = s->takes;

	t->waiting = true;
	t->next = NULL;
	t->prev = q->last;
	*(q->last ? &q->last->next : &q->first) = t;
	q->last = t;
	q->waiting++;
	takes_pump(s);
}

/* Everything on the wire is a suspect; the oldest bears the death. */
static void blame(struct scand *s)
{
	struct takes *q = s->takes;
	struct take *oldest = q->first;

	for (struct take *t = q->first; t && t->on_wire; t = t->next) {
		q->suspects += !t->suspect;
		t->suspect = true;
	}
	if (oldest && oldest->on_wire && ++oldest->deaths >= DEATHS_MAX)
		set_aside(s, oldest, "ampquard died three times when it was to take it");
}

void takes_attach(struct scand *s, struct amp_channel *ch, bool died)
{
	struct takes *q = s->takes;

	q->channel = NULL;
	if (died)
		blame(s);
	if (!ch && !died)
		return;
	for (struct take *t = q->first; t && t->on_wire; t = t->next) {
		off_wire(q, t);
		amp_counter_add(&count_again, 1);
	}
	q->channel = ch;
	takes_pump(s);
}

int takes_acked(struct scand *s, const Amp__TakeAck *ack)
{
	if (ack->n_ids > WINDOW)
		return -1;
	for (size_t i = 0; i < ack->n_ids; i++) {
		struct take *t = act_find_take(s, ack->ids[i]);

		amp_counter_add(t && t->on_wire ? &count_taken : &count_unasked, 1);
		if (t && t->on_wire)
			finish(s->takes, t, false);
	}
	takes_pump(s);
	return 0;
}
