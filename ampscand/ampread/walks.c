/*
 * ampscand/ampread/walks.c - the walks that ampscand asked for (see walks.h).
 */
#include "walks.h"

#include "counter.h"
#include "log.h"
#include "open.h"
#include "tree.h"
#include "walk.h"
#include "walkwire.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

/* One walk. `walk` or `tree`, the other is NULL, is the I/O thread's while `running`, else the loop's. */
struct walking {
	struct amp_io_job io; /* first */
	struct amp_walks *owner;
	struct walking *next;
	struct amp_walk *walk;
	struct amp_tree *tree; /* an ordered one */
	uint64_t id;
	uint64_t credit;
	uint32_t budget; /* of the run in hand */
	bool running;
	bool marked;		/* waits for a GO */
	_Atomic bool cancelled; /* nobody waits for it */
	bool tell;		/* ... but its end is to be told */
};

struct amp_walks {
	struct amp_iothread *io;
	struct amp_channel *channel;
	struct walking *first;
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
	amp_tree_free(k->tree);
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

/* rc of a message that was to be sent. */
static void sent(int rc)
{
	if (rc == 0 || errno == ENOTCONN)
		return;
	amp_counter_add(&c_unsent, 1);
	amp_error("a message of a walk could not be sent to ampscand: %s", strerror(errno));
}

static void refuse(struct amp_walks *s, uint64_t id, const char *why)
{
	struct amp_tree_totals t = {.walk = {.error = why}};

	sent(amp_walk_send_done(s->channel, id, &t));
}

static void totals_of(const struct walking *k, struct amp_tree_totals *t)
{
	memset(t, 0, sizeof(*t));
	if (k->tree)
		amp_tree_totals(k->tree, t);
	else
		amp_walk_totals(k->walk, &t->walk);
}

static void send_part(struct walking *k, struct amp_walk_part *part)
{
	struct amp_tree_totals t;

	totals_of(k, &t);
	part->walk_id = k->id;
	part->seen = t.walk.seen;
	part->fsid = t.fsid;
	k->credit -= part->count;
	sent(amp_walk_send_entries(k->owner->channel, part));
}

static void send_tree_batch(struct walking *k)
{
	struct amp_tree_batch *b = amp_tree_batch(k->tree);

	for (uint32_t i = 0; i < b->part_count; i++) {
		const struct amp_tree_part *p = &b->parts[i];
		struct amp_walk_part part = {
			.directory = &p->directory,
			.path = b->paths + p->path,
			.path_length = p->path_length,
			.entries = b->entries + p->first,
			.count = p->count,
			.odds = b->odds + p->first_odd,
			.odd_count = p->odd_count,
		};

		send_part(k, &part);
	}
	amp_tree_batch_clear(b);
}

static void send_walk_batch(struct walking *k)
{
	struct amp_walk_batch *b = amp_walk_batch(k->walk);
	struct amp_walk_part part = {
		.directory = &b->directory,
		.path = b->path,
		.path_length = b->path_length,
		.entries = b->entries,
		.count = b->count,
	};

	if (b->count == 0)
		return;
	send_part(k, &part);
	amp_walk_batch_clear(k->walk);
}

static void send_mark(struct walking *k)
{
	struct amp_tree_totals t;
	size_t length;
	const char *path = amp_tree_mark(k->tree, &length);

	if (!path)
		return;
	amp_tree_totals(k->tree, &t);
	k->marked = true;
	sent(amp_walk_send_mark(k->owner->channel, k->id, path, length, t.directories));
}

static void send_found(struct walking *k)
{
	if (!k->tree) {
		send_walk_batch(k);
		return;
	}
	send_tree_batch(k);
	send_mark(k);
}

static bool is_over(const struct walking *k)
{
	return k->tree ? amp_tree_over(k->tree) : amp_walk_over(k->walk);
}

static void rest(struct walking *k)
{
	if (k->tree)
		amp_tree_rest(k->tree);
	else
		amp_walk_rest(k->walk);
}

/* In the thread. */
static bool step(struct walking *k)
{
	return k->tree ? amp_tree_step(k->tree, k->budget) : amp_walk_step(k->walk, k->budget);
}

/* In the thread. */
static void give_up(struct walking *k)
{
	if (k->tree)
		amp_tree_give_up(k->tree);
	else
		amp_walk_give_up(k->walk);
}

/* Sends the walk into the thread if it may go on. */
static void pump(struct walking *k)
{
	struct amp_walks *s = k->owner;

	if (k->running || k->marked || k->credit == 0 || !s->channel || amp_channel_full(s->channel))
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
		give_up(k);
	else
		back = step(k);
	amp_io_step(k->owner->io);
	return back;
}

static void finish(struct walking *k, const char *error)
{
	struct amp_tree_totals t;

	totals_of(k, &t);
	if (error)
		t.walk.error = error;
	amp_counter_add(&c_unreadable, t.walk.unreadable);
	amp_counter_add(&c_too_deep, t.walk.too_deep);
	sent(amp_walk_send_done(k->owner->channel, k->id, &t));
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
	send_found(k);
	if (is_over(k)) {
		finish(k, NULL);
		return;
	}
	pump(k);
	/* Waiting for credit, a GO or the channel: an open directory would hold up
	 * umount(8). Closing one that was only read waits for nothing. */
	if (!k->running)
		rest(k);
}

/* The walk of that id that somebody waits for. */
static struct walking *find(struct amp_walks *s, uint64_t id)
{
	struct walking *k = s->first;

	while (k && (k->id != id || atomic_load(&k->cancelled)))
		k = k->next;
	return k;
}

/* 0, or -1 and errno. */
static int make_tree(struct walking *k, const Amp__Walk *ask)
{
	const struct amp_tree_ask a = {
		.path = (const char *)ask->path.data,
		.path_length = ask->path.len,
		.resume = (const char *)ask->resume.data,
		.resume_length = ask->resume.len,
		.since_ns = ask->since_ns,
		.fsid = ask->fsid,
		.names_permitted = ask->by_path,
		.by_names = ask->by_path && ask->fsid == 0,
		.snapshot_max = ask->snapshot_max,
		.archive_max = ask->archive_max,
	};

	k->tree = amp_tree_new(&a);
	return k->tree ? 0 : -1;
}

static int make_walk(struct walking *k, const Amp__Walk *ask, const struct amp_handle *top)
{
	k->walk = amp_walk_new(ask->fsid, ask->mount_point.data, ask->mount_point.len, top, ask->since_ns);
	if (!k->walk)
		return -1;
	if (ask->by_path)
		amp_walk_by_names(k->walk);
	amp_walk_keep(k->walk, ask->snapshot_max, ask->archive_max);
	return 0;
}

static struct walking *walking_new(struct amp_walks *s, const Amp__Walk *ask, const struct amp_handle *top)
{
	struct walking *k = calloc(1, sizeof(*k));

	if (!k)
		return NULL;
	if ((ask->ordered ? make_tree(k, ask) : make_walk(k, ask, top)) < 0) {
		free(k);
		return NULL;
	}
	k->io.run = walking_run;
	k->io.done = walking_done;
	k->owner = s;
	k->id = ask->walk_id;
	k->credit = ask->credit;
	k->next = s->first;
	s->first = k;
	return k;
}

/* A path, which people choose, is refused in words if it is none. */
static bool ask_is_valid(const Amp__Walk *ask)
{
	if (ask->ordered)
		return !ask->top;
	return ask->path.len == 0 && ask->resume.len == 0 && amp_open_mount_point_valid(&ask->mount_point);
}

int amp_walks_start(struct amp_walks *s, const Amp__Walk *ask)
{
	struct amp_handle top = {.size = 0};
	struct walking *k;

	if (!ask_is_valid(ask) || find(s, ask->walk_id))
		return -1;
	if (ask->top && amp_handle_from_wire(ask->top, &top) < 0)
		return -1;
	if (amp_walks_in_hand(s) >= AMP_WALKS_MAX) {
		refuse(s, ask->walk_id, "too many walks at once");
		return 0;
	}
	k = walking_new(s, ask, &top);
	if (!k) {
		refuse(s, ask->walk_id, errno == EINVAL ? "no such path can be walked" : "no memory");
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

int amp_walks_go(struct amp_walks *s, uint64_t walk_id)
{
	struct walking *k = find(s, walk_id);

	/* As with a credit; but who goes on without having been told to wait counts wrongly. */
	if (!k)
		return 0;
	if (!k->marked)
		return -1;
	k->marked = false;
	pump(k);
	return 0;
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
