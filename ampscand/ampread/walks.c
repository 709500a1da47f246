/*
 * ampscand/ampread/walks.c - the walks that ampscand asked for (see walks.h).
 */
#include "walks.h"

#include "counter.h"
#include "log.h"
#include "open.h"
#include "walk.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

/* One walk. `walk` is the I/O thread's while `running`, else the loop's. */
struct walking {
	struct amp_io_job io; /* first */
	struct amp_walks *owner;
	struct walking *next;
	struct amp_walk *walk;
	uint64_t id;
	uint64_t credit;
	uint32_t budget; /* of the run in hand */
	bool running;
	_Atomic bool cancelled; /* nobody waits for it */
	bool tell;		/* ... but its end is to be told */
};

struct amp_walks {
	struct amp_iothread *io;
	struct amp_channel *channel;
	struct walking *first;
	/* One message's parts; too large for the stack. */
	Amp__WalkEntry entries[AMP_WALK_BATCH], *list[AMP_WALK_BATCH];
	Amp__Handle files[AMP_WALK_BATCH], directory;
	Amp__Identity identities[AMP_WALK_BATCH];
};

static struct amp_counter c_walks = AMP_COUNTER("walk.started", false);
static struct amp_counter c_unreadable = AMP_COUNTER("walk.unreadable", true);
static struct amp_counter c_too_deep = AMP_COUNTER("walk.too_deep", true);
static struct amp_counter c_unsent = AMP_COUNTER("walk.unsent", true);

struct amp_walks *amp_walks_new(struct amp_iothread *io)
{
	struct amp_walks *s = calloc(1, sizeof(*s));

	if (s)
		s->io = io;
	return s;
}

static void walking_free(struct walking *k)
{
	struct walking **at = &k->owner->first;

	while (*at != k)
		at = &(*at)->next;
	*at = k->next;
	amp_walk_free(k->walk);
	free(k);
}

void amp_walks_free(struct amp_walks *s)
{
	if (!s)
		return;
	while (s->first)
		walking_free(s->first);
	free(s);
}

static void post(struct amp_walks *s, uint16_t type, const ProtobufCMessage *body)
{
	if (!s->channel)
		return;
	if (amp_channel_send(s->channel, type, 0, body, NULL, 0) == 0 || errno == ENOTCONN)
		return;
	amp_counter_add(&c_unsent, 1);
	amp_error("a message of a walk could not be sent to ampscand: %s", strerror(errno));
}

static void send_done(struct amp_walks *s, uint64_t id, const struct amp_walk_totals *t)
{
	Amp__WalkDone done = AMP__WALK_DONE__INIT;

	done.walk_id = id;
	done.seen = t->seen;
	done.unreadable = t->unreadable;
	done.too_deep = t->too_deep;
	if (t->error)
		done.error = (char *)(uintptr_t)t->error;
	post(s, AMP_MSG_WALK_DONE, &done.base);
}

static void refuse(struct amp_walks *s, uint64_t id, const char *why)
{
	struct amp_walk_totals t = {.error = why};

	send_done(s, id, &t);
}

static void entry_to_wire(struct amp_walks *s, uint32_t i, const struct amp_walk_entry *e)
{
	Amp__WalkEntry *wire = &s->entries[i];

	amp__walk_entry__init(wire);
	amp__handle__init(&s->files[i]);
	amp__identity__init(&s->identities[i]);
	amp_handle_to_wire(&e->file, &s->files[i]);
	amp_identity_to_wire(&e->identity, &s->identities[i]);
	if (s->directory.bytes.len > 0)
		wire->directory = &s->directory;
	if (e->has_sha) {
		wire->sha256.data = (uint8_t *)(uintptr_t)e->sha;
		wire->sha256.len = sizeof(e->sha);
	}
	wire->script = e->script;
	wire->file = &s->files[i];
	wire->identity = &s->identities[i];
	wire->name.data = (uint8_t *)(uintptr_t)e->name;
	wire->name.len = e->name_length;
	s->list[i] = wire;
}

static void send_batch(struct walking *k)
{
	struct amp_walks *s = k->owner;
	struct amp_walk_batch *b = amp_walk_batch(k->walk);
	Amp__WalkEntries message = AMP__WALK_ENTRIES__INIT;
	struct amp_walk_totals t;

	if (b->count == 0)
		return;
	amp__handle__init(&s->directory);
	amp_handle_to_wire(&b->directory, &s->directory);
	for (uint32_t i = 0; i < b->count; i++)
		entry_to_wire(s, i, &b->entries[i]);
	amp_walk_totals(k->walk, &t);
	message.walk_id = k->id;
	message.directory_path.data = (uint8_t *)b->path;
	message.directory_path.len = b->path_length;
	message.entries = s->list;
	message.n_entries = b->count;
	message.seen = t.seen;
	k->credit -= b->count;
	post(s, AMP_MSG_WALK_ENTRIES, &message.base);
	amp_walk_batch_clear(k->walk);
}

/* Sends the walk into the thread if it may go on. */
static void pump(struct walking *k)
{
	struct amp_walks *s = k->owner;

	if (k->running || k->credit == 0 || !s->channel || amp_channel_full(s->channel))
		return;
	k->budget = k->credit < AMP_WALK_BATCH ? (uint32_t)k->credit : AMP_WALK_BATCH;
	k->running = true;
	amp_iothread_submit(s->io, &k->io);
}

void amp_walks_pump(struct amp_walks *s)
{
	for (struct walking *k = s->first; k; k = k->next)
		pump(k);
}

static bool walking_run(struct amp_io_job *io)
{
	struct walking *k = (struct walking *)io;
	bool back = true;

	if (atomic_load(&k->cancelled))
		amp_walk_give_up(k->walk);
	else
		back = amp_walk_step(k->walk, k->budget);
	amp_io_step(k->owner->io);
	return back;
}

static void finish(struct walking *k, const char *error)
{
	struct amp_walk_totals t;

	amp_walk_totals(k->walk, &t);
	if (error)
		t.error = error;
	amp_counter_add(&c_unreadable, t.unreadable);
	amp_counter_add(&c_too_deep, t.too_deep);
	send_done(k->owner, k->id, &t);
	walking_free(k);
}

static void walking_done(struct amp_io_job *io)
{
	struct walking *k = (struct walking *)io;

	k->running = false;
	if (atomic_load(&k->cancelled)) {
		if (k->tell)
			finish(k, "cancelled");
		else
			walking_free(k);
		return;
	}
	send_batch(k);
	if (amp_walk_over(k->walk)) {
		finish(k, NULL);
		return;
	}
	pump(k);
	/* Waiting for credit or the channel: an open directory would hold up
	 * umount(8). Closing one that was only read waits for nothing. */
	if (!k->running)
		amp_walk_rest(k->walk);
}

/* The walk of that id that somebody waits for. */
static struct walking *find(struct amp_walks *s, uint64_t id)
{
	struct walking *k = s->first;

	while (k && (k->id != id || atomic_load(&k->cancelled)))
		k = k->next;
	return k;
}

static struct walking *walking_new(struct amp_walks *s, const Amp__Walk *ask, const struct amp_handle *top)
{
	struct walking *k = calloc(1, sizeof(*k));

	if (!k)
		return NULL;
	k->walk = amp_walk_new(ask->fsid, ask->mount_point.data, ask->mount_point.len, top, ask->since_ns);
	if (!k->walk) {
		free(k);
		return NULL;
	}
	if (ask->by_path)
		amp_walk_by_names(k->walk);
	k->io.run = walking_run;
	k->io.done = walking_done;
	k->owner = s;
	k->id = ask->walk_id;
	k->credit = ask->credit;
	k->next = s->first;
	s->first = k;
	return k;
}

int amp_walks_start(struct amp_walks *s, const Amp__Walk *ask)
{
	struct amp_handle top = {.size = 0};
	struct walking *k;

	if (!amp_open_mount_point_valid(&ask->mount_point) || find(s, ask->walk_id))
		return -1;
	if (ask->top && amp_handle_from_wire(ask->top, &top) < 0)
		return -1;
	if (amp_walks_in_hand(s) >= AMP_WALKS_MAX) {
		refuse(s, ask->walk_id, "too many walks at once");
		return 0;
	}
	k = walking_new(s, ask, &top);
	if (!k) {
		refuse(s, ask->walk_id, "no memory");
		return 0;
	}
	amp_counter_add(&c_walks, 1);
	pump(k);
	return 0;
}

void amp_walks_credit(struct amp_walks *s, uint64_t walk_id, uint32_t credit)
{
	struct walking *k = find(s, walk_id);

	/* A credit may cross the walk's end: nothing wrong with that. */
	if (!k)
		return;
	k->credit += credit;
	pump(k);
}

void amp_walks_cancel(struct amp_walks *s, uint64_t walk_id)
{
	struct walking *k = find(s, walk_id);

	if (!k)
		return;
	atomic_store(&k->cancelled, true);
	k->tell = true;
	if (!k->running)
		finish(k, "cancelled");
}

void amp_walks_link(struct amp_walks *s, struct amp_channel *ch)
{
	s->channel = ch;
}

void amp_walks_unlink(struct amp_walks *s)
{
	struct walking *k, *next;

	s->channel = NULL;
	for (k = s->first; k; k = next) {
		next = k->next;
		atomic_store(&k->cancelled, true);
		k->tell = false;
		if (!k->running)
			walking_free(k);
	}
}

size_t amp_walks_in_hand(const struct amp_walks *s)
{
	size_t n = 0;

	for (const struct walking *k = s->first; k; k = k->next)
		n++;
	return n;
}
