/*
 * ampscand/readers.c - the links to ampread: asking in batches, answers.
 *
 * Owns: one channel an instance, what each owes an answer for, asking again
 * when one died. Answers nobody asked for are a broken protocol. Which instance
 * is for what, scand.h says (walk.c uses the channels of the last two). Must not
 * own: what an answer means.
 */
#include "scand.h"

#include "clock.h"
#include "counter.h"
#include "log.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define OUTSTANDING_MAX	  64U /* items one reader has at most */
#define FDS_IN_FLIGHT_MAX AMP_MSG_MAX_FDS
#define SEALS		  (F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE)
#define COPY_SLACK	  (1U << 20) /* a file that grew while it was read: a chunk more at most */

struct pending {
	uint64_t serial; /* 0: free */
	Amp__ReadItem__Want want;
	void *owner; /* what kind, see wants[] */
	bool large;
	uint64_t copy_max; /* a copy up to that may come with the answer */
};

/* Whose an item is by what it wants, and what may be its answer. */
struct want {
	bool (*is_valid)(const Amp__ReadResult *r);
	/* fd: what was opened, or the copy; the callee's now; -1. */
	void (*done)(struct scand *s, void *owner, const Amp__ReadResult *r, int fd);
	void (*again)(struct scand *s, void *owner); /* its reader died */
	bool opens;
};

static struct amp_counter count_asked_again = AMP_COUNTER("read.asked_again", false);

static int reader_of(const struct scand *s, const struct amp_channel *ch)
{
	for (unsigned i = 0; i < SCAND_READERS; i++)
		if (s->readers[i].channel == ch)
			return (int)i;
	return -1;
}

/* Takes what was asked under serial off the list. 0, or -1: it was not asked. */
static int answered(struct reader *r, uint64_t serial, struct pending *out)
{
	for (unsigned i = 0; i < OUTSTANDING_MAX; i++) {
		if (serial == 0 || r->pending[i].serial != serial)
			continue;
		*out = r->pending[i];
		r->pending[i].serial = 0;
		r->outstanding--;
		r->large -= out->large;
		return 0;
	}
	return -1;
}

static bool has_content(const Amp__ReadResult *r)
{
	return r->status == AMP__READ_RESULT__STATUS__OK || r->status == AMP__READ_RESULT__STATUS__CHANGED;
}

static bool is_path(const ProtobufCBinaryData *path)
{
	return path->len > 0 && path->len < AMP_PATH_MAX && path->data[0] == '/' &&
	       !memchr(path->data, 0, path->len);
}

static bool path_is_valid(const Amp__ReadResult *r)
{
	return !has_content(r) || is_path(&r->path);
}

static bool identity_is_valid(const Amp__ReadResult *r)
{
	return !has_content(r) || r->identity;
}

static bool hash_is_valid(const Amp__ReadResult *r)
{
	if (r->status == AMP__READ_RESULT__STATUS__TOO_LARGE_NOW)
		return r->identity;
	return !has_content(r) ||
	       (r->sha256.len == AMP_SHA256_SIZE && r->identity && r->script_line.len <= 255);
}

static bool opened_is_valid(const Amp__ReadResult *r)
{
	return r->status != AMP__READ_RESULT__STATUS__CHANGED && (r->path.len == 0 || is_path(&r->path));
}

static void path_done(struct scand *s, void *owner, const Amp__ReadResult *r, int fd)
{
	(void)fd;
	resolve_done(s, owner, r);
}

static void path_again(struct scand *s, void *owner)
{
	resolve_again(s, owner);
}

static void content_done(struct scand *s, void *owner, const Amp__ReadResult *r, int fd)
{
	judge_result(s, owner, r, fd);
}

static void content_again(struct scand *s, void *owner)
{
	(void)s;
	judge_reader_died(owner);
}

static void opened_done(struct scand *s, void *owner, const Amp__ReadResult *r, int fd)
{
	opens_done(s, owner, r, fd);
}

static void opened_again(struct scand *s, void *owner)
{
	opens_again(s, owner);
}

static const struct want wants[] = {
	[AMP__READ_ITEM__WANT__DIRECTORY_PATH] = {path_is_valid, path_done, path_again, false},
	[AMP__READ_ITEM__WANT__HASH] = {hash_is_valid, content_done, content_again, false},
	[AMP__READ_ITEM__WANT__IDENTITY] = {identity_is_valid, content_done, content_again, false},
	[AMP__READ_ITEM__WANT__OPEN_FILE] = {opened_is_valid, opened_done, opened_again, true},
	[AMP__READ_ITEM__WANT__OPEN_DIRECTORY] = {opened_is_valid, opened_done, opened_again, true},
};

bool readers_snapshot_is_sealed(int fd, uint64_t size)
{
	int seals = fcntl(fd, F_GET_SEALS);
	struct stat st;

	return seals >= 0 && (seals & SEALS) == SEALS && fstat(fd, &st) == 0 && st.st_size >= 0 &&
	       (uint64_t)st.st_size == size;
}

/* A file that changed while it was read need not be as long as it is by now. */
static bool snapshot_is_valid(int fd, const Amp__ReadResult *r, uint64_t max)
{
	struct stat st;

	if (!has_content(r) || fstat(fd, &st) != 0 || (uint64_t)st.st_size > max + COPY_SLACK)
		return false;
	return readers_snapshot_is_sealed(
		fd, r->status == AMP__READ_RESULT__STATUS__OK ? r->identity->size : (uint64_t)st.st_size);
}

/* Of those that came with the message, and no other result has it. */
static int descriptor(const struct amp_message *m, uint32_t index)
{
	return index > 0 && index <= m->fd_count ? m->fds[index - 1] : -1;
}

/* With it comes a descriptor, exactly if it is to; a copy may. */
static bool result_is_valid(const struct amp_message *m, const Amp__ReadResult *r, const struct pending *p)
{
	const struct want *want = &wants[p->want];
	bool opened = want->opens && r->status == AMP__READ_RESULT__STATUS__OK;

	if (r->status <= AMP__READ_RESULT__STATUS__NONE ||
	    r->status > AMP__READ_RESULT__STATUS__TOO_LARGE_NOW || opened != (r->fd_index > 0) ||
	    (opened && descriptor(m, r->fd_index) < 0) || !want->is_valid(r))
		return false;
	if (r->snapshot_index == 0)
		return true;
	return p->copy_max > 0 && descriptor(m, r->snapshot_index) >= 0 &&
	       snapshot_is_valid(descriptor(m, r->snapshot_index), r, p->copy_max);
}

static int take_descriptor(struct amp_message *m, const Amp__ReadResult *r)
{
	uint32_t index = r->fd_index ? r->fd_index : r->snapshot_index;

	return index ? amp_message_take_fd(m, index - 1) : -1;
}

/* What was asked is asked of another (or of a successor). */
static void give_back(struct scand *s, const struct pending *p)
{
	amp_counter_add(&count_asked_again, 1);
	wants[p->want].again(s, p->owner);
}

/* Passed, and no result speaks of it. */
static bool descriptors_left(const struct amp_message *m)
{
	for (unsigned i = 0; i < m->fd_count; i++)
		if (m->fds[i] >= 0)
			return true;
	return false;
}

static int on_read_done(struct amp_channel *ch, struct amp_message *m, void *arg)
{
	struct scand *s = arg;
	const Amp__ReadDone *done = (const Amp__ReadDone *)m->body;
	int at = reader_of(s, ch);

	if (at < 0 || done->n_results > AMP_READ_BATCH)
		return -1;
	for (size_t i = 0; i < done->n_results; i++) {
		const Amp__ReadResult *r = done->results[i];
		struct pending p;

		if (answered(&s->readers[at], r->job, &p) != 0)
			return -1;
		if (!result_is_valid(m, r, &p)) {
			give_back(s, &p);
			return -1;
		}
		wants[p.want].done(s, p.owner, r, take_descriptor(m, r));
	}
	scand_pump_later(s);
	return descriptors_left(m) ? -1 : 0;
}

static int on_walk_entries(struct amp_channel *ch, struct amp_message *m, void *arg)
{
	int rc = walk_entries(arg, reader_of(arg, ch), m);

	return rc == 0 && descriptors_left(m) ? -1 : rc;
}

static int on_walk_done(struct amp_channel *ch, struct amp_message *m, void *arg)
{
	return walk_done(arg, reader_of(arg, ch), (const Amp__WalkDone *)m->body);
}

static int on_walk_mark(struct amp_channel *ch, struct amp_message *m, void *arg)
{
	return walk_mark(arg, reader_of(arg, ch), (const Amp__WalkMark *)m->body);
}

static const struct amp_dispatch table[] = {
	{AMP_MSG_READ_DONE, &amp__read_done__descriptor, AMP_MSG_MAX - 16, 0, AMP_MSG_MAX_FDS, 0,
	 on_read_done},
	{AMP_MSG_WALK_ENTRIES, &amp__walk_entries__descriptor, AMP_MSG_MAX - 16, 0, AMP_MSG_MAX_FDS, 0,
	 on_walk_entries},
	{AMP_MSG_WALK_MARK, &amp__walk_mark__descriptor, AMP_PATH_MAX + 64, 0, 0, 0, on_walk_mark},
	{AMP_MSG_WALK_DONE, &amp__walk_done__descriptor, 4096, 0, 0, 0, on_walk_done},
};

static void drop_batch(struct reader *r)
{
	for (unsigned i = 0; i < r->batch_count; i++)
		free(r->batch[i]);
	r->batch_count = 0;
	r->batch_fd_count = 0;
}

/* Everything it owed is asked of another (or of its successor). */
static void reader_lost(struct scand *s, int at)
{
	struct reader *r = &s->readers[at];

	if (r->channel)
		amp_channel_free(r->channel);
	r->channel = NULL;
	drop_batch(r);
	r->outstanding = r->large = 0;
	for (unsigned i = 0; r->pending && i < OUTSTANDING_MAX; i++) {
		struct pending p = r->pending[i];

		r->pending[i].serial = 0;
		if (p.serial)
			give_back(s, &p);
	}
	walk_reader_gone(s, at);
	scand_pump_later(s);
}

static void on_end(struct amp_channel *ch, enum amp_channel_end end, const char *why, void *arg)
{
	struct scand *s = arg;
	int at = reader_of(s, ch);

	if (at < 0)
		return;
	if (end == AMP_CHANNEL_HOSTILE)
		amp_room_hostile(s->room, AMP_ROLE_READ, (unsigned)at, s->readers[at].generation, why);
	else
		s->readers[at].lost_ns = amp_clock_monotonic();
	reader_lost(s, at);
}

/* Of one that died and has no successor yet ampmon knows that it did. */
void readers_look(struct scand *s)
{
	for (unsigned i = 0; i < SCAND_READERS; i++) {
		struct reader *r = &s->readers[i];

		if (!scand_link_is_left(r->lost_ns))
			continue;
		amp_room_hostile(s->room, AMP_ROLE_READ, i, r->generation, SCAND_LINK_LEFT);
		r->lost_ns = 0;
	}
}

void readers_link(struct scand *s, unsigned instance, unsigned generation, int fd)
{
	struct amp_channel_config c = {
		.table = table, .rows = sizeof(table) / sizeof(table[0]), .on_end = on_end, .arg = s};
	struct reader *r = &s->readers[instance];
	char name[32];

	reader_lost(s, (int)instance);
	if (!r->pending) {
		r->pending = calloc(OUTSTANDING_MAX, sizeof(*r->pending));
		r->batch = calloc(AMP_READ_BATCH, sizeof(*r->batch));
	}
	c.name = amp_role_label(AMP_ROLE_READ, instance, name, sizeof(name));
	r->generation = generation;
	r->lost_ns = 0;
	r->channel = r->pending && r->batch ? amp_channel_new(s->base, fd, &c) : NULL;
	if (!r->channel)
		amp_error("no channel to %s", c.name);
	scand_pump_later(s);
	walks_pump(s);
}

static bool has_room(const struct reader *r)
{
	return r->channel && r->outstanding < OUTSTANDING_MAX && !amp_channel_full(r->channel);
}

/* Large files take a reader's turns for long: a few at a time, or nobody else's would be read. */
static bool has_room_for(const struct reader *r, bool large)
{
	return has_room(r) && (!large || r->large < SCAND_LARGE_READER);
}

/* Of those for events, the one with the least to do; the walkers would make them wait. For scans
 * on demand there is one. -1: none has room. */
static int choose(const struct scand *s, bool large, bool demand)
{
	int best = -1;

	if (demand)
		return has_room_for(&s->readers[SCAND_READER_DEMAND], large) ? (int)SCAND_READER_DEMAND : -1;
	for (unsigned i = 0; i < SCAND_READER_WALKER; i++)
		if (has_room_for(&s->readers[i], large) &&
		    (best < 0 || s->readers[i].outstanding < s->readers[best].outstanding))
			best = (int)i;
	return best;
}

bool readers_have_room(const struct scand *s)
{
	return choose(s, false, false) >= 0;
}

bool readers_have_room_for(const struct scand *s, bool large, bool demand)
{
	return choose(s, large, demand) >= 0;
}

static bool is_large(Amp__ReadItem__Want want, const void *owner)
{
	return want == AMP__READ_ITEM__WANT__HASH && ((const struct job *)owner)->large;
}

unsigned readers_large_of(const struct scand *s, uid_t owner)
{
	unsigned n = 0;

	for (unsigned i = 0; i < SCAND_READER_WALKER; i++)
		for (unsigned k = 0; s->readers[i].large && k < OUTSTANDING_MAX; k++) {
			const struct pending *p = &s->readers[i].pending[k];

			if (p->serial && p->large && ((const struct job *)p->owner)->bucket == owner)
				n++;
		}
	return n;
}

static uint64_t copy_max(const struct read_wish *w)
{
	return w->snapshot_max > w->archive_max ? w->snapshot_max : w->archive_max;
}

static void note_pending(struct reader *r, uint64_t serial, const struct read_wish *w, void *owner)
{
	bool large = is_large(w->want, owner);

	r->large += large;
	for (unsigned i = 0; i < OUTSTANDING_MAX; i++) {
		if (r->pending[i].serial)
			continue;
		r->pending[i] = (struct pending){.serial = serial,
						 .want = w->want,
						 .owner = owner,
						 .large = large,
						 .copy_max = copy_max(w)};
		r->outstanding++;
		return;
	}
}

/* What a batched item points at, in one block with it. */
struct item {
	Amp__ReadItem wire;
	Amp__Handle handle;
	struct amp_fileid id;
	char mount_point[];
};

static Amp__ReadItem *make_item(uint64_t serial, const struct read_wish *w, const struct filesystem *fs,
				const struct amp_fileid *id)
{
	size_t n = strlen(fs->mount_point);
	struct item *i = calloc(1, sizeof(*i) + n + 1);

	if (!i)
		return NULL;
	amp__read_item__init(&i->wire);
	memcpy(i->mount_point, fs->mount_point, n);
	fileid_copy(&i->id, id);
	amp_handle_to_wire(&i->id.handle, &i->handle);
	i->wire.job = serial;
	i->wire.want = w->want;
	i->wire.fsid = id->fsid;
	i->wire.mount_point.data = (uint8_t *)i->mount_point;
	i->wire.mount_point.len = n;
	i->wire.handle = &i->handle;
	i->wire.hash_limit = w->limit;
	i->wire.snapshot_max = w->snapshot_max;
	i->wire.archive_max = w->archive_max;
	return &i->wire;
}

static void send_batch(struct reader *r)
{
	Amp__Read body = AMP__READ__INIT;

	if (r->batch_count == 0)
		return;
	body.items = r->batch;
	body.n_items = r->batch_count;
	/* A failure ends the channel, and then everything is asked again. */
	if (r->channel &&
	    amp_channel_send(r->channel, AMP_MSG_READ, 0, &body.base, r->batch_fds, r->batch_fd_count) != 0)
		amp_warn("asking %s failed", amp_channel_name(r->channel));
	drop_batch(r);
}

int readers_ask_for(struct scand *s, void *owner, const struct read_wish *w, const struct filesystem *fs,
		    const struct amp_fileid *id, int *reader)
{
	uint64_t serial = ++s->serial;
	int at = choose(s, is_large(w->want, owner), w->demand);
	struct reader *r;
	Amp__ReadItem *item;

	if (at < 0)
		return -1;
	item = make_item(serial, w, fs, id);
	if (!item)
		return -1;
	r = &s->readers[at];
	if (w->fd >= 0) {
		r->batch_fds[r->batch_fd_count++] = w->fd;
		item->fd_index = r->batch_fd_count;
	}
	r->batch[r->batch_count++] = item;
	note_pending(r, serial, w, owner);
	/* A mount point longer than 1 KiB goes alone: 32 others stay below 64 KiB. */
	if (r->batch_count == 32 || r->batch_fd_count == FDS_IN_FLIGHT_MAX || strlen(fs->mount_point) > 1024)
		send_batch(r);
	*reader = at;
	scand_pump_later(s);
	return 0;
}

int readers_ask(struct scand *s, void *owner, Amp__ReadItem__Want want, const struct filesystem *fs,
		const struct amp_fileid *id, uint64_t limit, int fd, int *reader)
{
	struct read_wish w = {.want = want, .limit = limit, .fd = fd};

	return readers_ask_for(s, owner, &w, fs, id, reader);
}

void readers_flush(struct scand *s)
{
	for (unsigned i = 0; i < SCAND_READERS; i++)
		send_batch(&s->readers[i]);
}

struct amp_channel *readers_walker(struct scand *s, int *reader)
{
	*reader = (int)SCAND_READER_WALKER;
	return s->readers[*reader].channel;
}

struct amp_channel *readers_demand_walker(struct scand *s, int *reader)
{
	*reader = (int)SCAND_READER_DEMAND;
	return s->readers[*reader].channel;
}

void readers_free(struct scand *s)
{
	for (unsigned i = 0; i < SCAND_READERS; i++) {
		struct reader *r = &s->readers[i];

		if (r->channel)
			amp_channel_free(r->channel);
		drop_batch(r);
		free(r->pending);
		free(r->batch);
	}
}
