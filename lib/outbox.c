/*
 * lib/outbox.c - the queue of durable messages (see outbox.h).
 *
 * Order in the list is the order of putting; everything on the wire stands
 * before everything that waits. A death of the receiver makes suspects of all
 * that was on the wire: they are sent again one at a time, so that three
 * deaths convict the message that causes them and not an older one beside it.
 */
#include "outbox.h"

#include "counter.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#define DEFAULT_WINDOW 256
#define MAX_DEATHS     3
#define MAX_BODY       (AMP_MSG_MAX - sizeof(struct amp_wire_header))

struct entry {
	TAILQ_ENTRY(entry) link;
	uint64_t id, token;
	unsigned deaths;
	bool on_wire, suspect;
	size_t size;
	uint8_t body[];
};

struct amp_outbox {
	struct amp_outbox_config config;
	struct amp_channel *channel; /* NULL: no link */
	TAILQ_HEAD(entries, entry) entries;
	size_t waiting, on_wire, suspects;
	uint64_t next_id;
};

static struct amp_counter unasked_ack = AMP_COUNTER("outbox.unasked_ack", false);
static struct amp_counter set_aside = AMP_COUNTER("outbox.set_aside", true);
static struct amp_counter sent_again = AMP_COUNTER("outbox.sent_again", false);

struct amp_outbox *amp_outbox_new(const struct amp_outbox_config *c)
{
	struct amp_outbox *o = calloc(1, sizeof(*o));

	if (!o)
		return NULL;
	o->config = *c;
	if (o->config.window == 0)
		o->config.window = DEFAULT_WINDOW;
	o->next_id = 1;
	TAILQ_INIT(&o->entries);
	amp_counter_list(&set_aside);
	return o;
}

void amp_outbox_free(struct amp_outbox *o)
{
	struct entry *e;

	if (!o)
		return;
	while ((e = TAILQ_FIRST(&o->entries))) {
		TAILQ_REMOVE(&o->entries, e, link);
		free(e);
	}
	free(o);
}

size_t amp_outbox_waiting(const struct amp_outbox *o)
{
	return o->waiting;
}

static void off_wire(struct amp_outbox *o, struct entry *e)
{
	if (e->on_wire)
		o->on_wire--;
	e->on_wire = false;
}

/* The entry is out of every list before the owner hears of it: it may put another. */
static void finish(struct amp_outbox *o, struct entry *e, bool aside)
{
	uint64_t token = e->token;

	TAILQ_REMOVE(&o->entries, e, link);
	o->waiting--;
	off_wire(o, e);
	if (e->suspect)
		o->suspects--;
	free(e);
	if (aside)
		amp_counter_add(&set_aside, 1);
	o->config.on_committed(token, aside, o->config.arg);
}

int amp_outbox_put(struct amp_outbox *o, const Amp__Event *event, uint64_t token)
{
	size_t size = amp__event__get_packed_size(event);
	struct entry *e;

	if (size > MAX_BODY) {
		errno = EMSGSIZE;
		return -1;
	}
	e = calloc(1, sizeof(*e) + size);
	if (!e) {
		errno = ENOMEM;
		return -1;
	}
	e->id = o->next_id++;
	e->token = token;
	e->size = size;
	amp__event__pack(event, e->body);
	TAILQ_INSERT_TAIL(&o->entries, e, link);
	o->waiting++;
	amp_outbox_pump(o);
	return 0;
}

static int send_entry(struct amp_outbox *o, const struct entry *e)
{
	Amp__Event *event = amp__event__unpack(NULL, e->size, e->body);
	int result, error;

	if (!event) {
		errno = ENOMEM;
		return -1;
	}
	result = amp_channel_send(o->channel, AMP_MSG_EVENT, e->id, &event->base, NULL, 0);
	error = errno;
	amp__event__free_unpacked(event, NULL);
	errno = error;
	return result;
}

static struct entry *first_unsent(struct amp_outbox *o)
{
	struct entry *e;

	TAILQ_FOREACH(e, &o->entries, link)
	if (!e->on_wire)
		return e;
	return NULL;
}

static bool may_send(const struct amp_outbox *o)
{
	size_t window = o->suspects > 0 ? 1 : o->config.window;

	return o->channel && o->on_wire < window && o->on_wire < o->waiting && !amp_channel_full(o->channel);
}

void amp_outbox_pump(struct amp_outbox *o)
{
	struct entry *e;

	if (!may_send(o))
		return;
	for (e = first_unsent(o); e && may_send(o); e = TAILQ_NEXT(e, link)) {
		/* No room or no memory: on_writable, an ack or the next put comes back here. */
		if (send_entry(o, e))
			return;
		e->on_wire = true;
		o->on_wire++;
	}
}

/* Everything on the wire is a suspect; the oldest bears the death. */
static void blame(struct amp_outbox *o)
{
	struct entry *e, *oldest = NULL;

	TAILQ_FOREACH(e, &o->entries, link)
	{
		if (!e->on_wire)
			break;
		if (!oldest)
			oldest = e;
		if (!e->suspect)
			o->suspects++;
		e->suspect = true;
	}
	if (oldest && ++oldest->deaths >= MAX_DEATHS)
		finish(o, oldest, true);
}

/*
 * Without a new link the marks stay: whether the receiver died may be known
 * only when its successor's link is there.
 */
void amp_outbox_attach(struct amp_outbox *o, struct amp_channel *ch, bool died)
{
	struct entry *e;

	o->channel = NULL; /* what on_committed puts waits for the end of this */
	if (died)
		blame(o);
	if (!ch && !died)
		return;
	TAILQ_FOREACH(e, &o->entries, link)
	{
		if (!e->on_wire)
			break;
		off_wire(o, e);
		amp_counter_add(&sent_again, 1);
	}
	o->channel = ch;
	amp_outbox_pump(o);
}

static struct entry *find_on_wire(struct amp_outbox *o, uint64_t id)
{
	struct entry *e;

	TAILQ_FOREACH(e, &o->entries, link)
	{
		if (!e->on_wire)
			return NULL;
		if (e->id == id)
			return e;
	}
	return NULL;
}

void amp_outbox_ack(struct amp_outbox *o, const Amp__EventAck *ack)
{
	for (size_t i = 0; i < ack->n_ids; i++) {
		struct entry *e = find_on_wire(o, ack->ids[i]);

		if (e)
			finish(o, e, false);
		else
			amp_counter_add(&unasked_ack, 1);
	}
	amp_outbox_pump(o);
}
