/*
 * ampscand/ampread/reader.c - the link to ampscand (see reader.h).
 */
#include "reader.h"

#include "channel.h"
#include "counter.h"
#include "fileid.h"
#include "job.h"
#include "log.h"
#include "open.h"
#include "walks.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BATCH	     32U    /* results that are sent at once */
#define BATCH_BYTES  60000U /* below AMP_MSG_MAX with room to spare */
#define RESULT_BYTES 512U   /* of a result without its path, at most */
#define GATHER_USEC  1000   /* the first result waits no longer */
#define JOBS_MAX     1024U  /* in hand; then no more is read */
#define FDS_MAX	     128U   /* passed, opened or made and not yet closed, likewise */

_Static_assert(BATCH <= AMP_READ_BATCH, "a batch must fit a READ_DONE");

struct amp_reader {
	struct amp_read_shop shop; /* first */
	struct amp_channel *channel;
	struct amp_places *places;
	struct amp_walks *walks;
	struct event_base *base;
	struct event *timer;
	struct amp_read_job *gathered[BATCH]; /* done, of this link */
	unsigned gathered_count;
	size_t gathered_bytes;
	int gathered_fds[AMP_MSG_MAX_FDS]; /* the jobs' */
	unsigned gathered_fd_count;
	size_t jobs;  /* submitted, not done: all links */
	size_t fresh; /* those of this link */
	size_t fds;   /* held by jobs, or to be opened by them */
	void (*on_hostile)(const char *why, void *arg);
	void *arg;
};

static struct amp_counter c_items = AMP_COUNTER("read.items", false);
static struct amp_counter c_dropped = AMP_COUNTER("read.dropped", false);
static struct amp_counter c_unsent = AMP_COUNTER("read.unsent", true);

/* What became of the items, by status. */
static struct amp_counter c_status[] = {
	[AMP__READ_RESULT__STATUS__OK] = AMP_COUNTER("read.ok", false),
	[AMP__READ_RESULT__STATUS__GONE] = AMP_COUNTER("read.gone", false),
	[AMP__READ_RESULT__STATUS__NOT_REGULAR] = AMP_COUNTER("read.not_regular", false),
	[AMP__READ_RESULT__STATUS__BUSY] = AMP_COUNTER("read.busy", false),
	[AMP__READ_RESULT__STATUS__CHANGED] = AMP_COUNTER("read.changed", false),
	[AMP__READ_RESULT__STATUS__NO_MOUNT] = AMP_COUNTER("read.no_mount", false),
	[AMP__READ_RESULT__STATUS__UNREADABLE] = AMP_COUNTER("read.unreadable", false),
	[AMP__READ_RESULT__STATUS__UNRESOLVED] = AMP_COUNTER("read.unresolved", false),
	[AMP__READ_RESULT__STATUS__TOO_LARGE_NOW] = AMP_COUNTER("read.too_large", false),
};

static void update_flow(struct amp_reader *r)
{
	if (r->channel)
		amp_channel_pause_read(r->channel, r->jobs >= JOBS_MAX || r->fds >= FDS_MAX ||
							   amp_channel_full(r->channel));
}

static void result_to_wire(const struct amp_read_job *job, Amp__ReadResult *wire, Amp__Identity *identity)
{
	const struct amp_read_outcome *out = &job->out;

	amp__read_result__init(wire);
	wire->job = job->job;
	wire->status = out->status;
	wire->error = out->error;
	wire->script = out->script;
	wire->archive = out->archive;
	wire->hash_ns = out->hash_ns;
	wire->script_line.data = (uint8_t *)(uintptr_t)out->script_line;
	wire->script_line.len = out->script_line_length;
	if (out->path) {
		wire->path.data = (uint8_t *)out->path;
		wire->path.len = out->path_length;
	}
	if (out->has_sha) {
		wire->sha256.data = (uint8_t *)(uintptr_t)out->sha;
		wire->sha256.len = AMP_SHA256_SIZE;
	}
	if (out->has_identity && job->want != AMP__READ_ITEM__WANT__DIRECTORY_PATH) {
		amp_identity_to_wire(&out->identity, identity);
		wire->identity = identity;
	}
}

static void drop_gathered(struct amp_reader *r)
{
	for (unsigned i = 0; i < r->gathered_count; i++)
		amp_read_job_free(r->gathered[i]);
	r->gathered_count = 0;
	r->gathered_bytes = 0;
	r->gathered_fd_count = 0;
	evtimer_del(r->timer);
}

static void send_gathered(struct amp_reader *r)
{
	Amp__ReadResult wire[BATCH], *list[BATCH];
	Amp__Identity identities[BATCH];
	Amp__ReadDone done = AMP__READ_DONE__INIT;

	if (r->gathered_count == 0)
		return;
	if (!r->channel) {
		drop_gathered(r);
		return;
	}
	for (unsigned i = 0; i < r->gathered_count; i++) {
		amp__identity__init(&identities[i]);
		result_to_wire(r->gathered[i], &wire[i], &identities[i]);
		if (r->gathered[i]->out.has_snapshot)
			wire[i].snapshot_index = r->gathered[i]->fd_index;
		else
			wire[i].fd_index = r->gathered[i]->fd_index;
		list[i] = &wire[i];
	}
	done.results = list;
	done.n_results = r->gathered_count;
	if (amp_channel_send(r->channel, AMP_MSG_READ_DONE, 0, &done.base, r->gathered_fds,
			     r->gathered_fd_count) < 0 &&
	    errno != ENOTCONN) {
		amp_counter_add(&c_unsent, r->gathered_count);
		amp_error("%u results could not be sent to ampscand: %s", r->gathered_count, strerror(errno));
	}
	drop_gathered(r);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct amp_reader *r = arg;

	(void)fd;
	(void)what;
	send_gathered(r);
}

/* What goes with the result; -1: nothing. */
static int result_fd(const struct amp_read_job *job)
{
	return job->out.has_snapshot ? job->out.snapshot : job->opened;
}

static void gather(struct amp_reader *r, struct amp_read_job *job)
{
	struct timeval tv = {.tv_usec = GATHER_USEC};
	size_t bytes = RESULT_BYTES + job->out.path_length;
	int fd = result_fd(job);

	if (r->gathered_bytes + bytes > BATCH_BYTES)
		send_gathered(r);
	if (!r->channel) {
		/* Sending found the link at its end. */
		amp_read_job_free(job);
		return;
	}
	if (r->gathered_count == 0)
		evtimer_add(r->timer, &tv);
	r->gathered[r->gathered_count++] = job;
	r->gathered_bytes += bytes;
	if (fd >= 0) {
		r->gathered_fds[r->gathered_fd_count++] = fd;
		job->fd_index = r->gathered_fd_count;
	}
	amp_counter_add(&c_status[job->out.status], 1);
	if (r->gathered_count == BATCH || r->gathered_fd_count == AMP_MSG_MAX_FDS || r->fresh == 0)
		send_gathered(r);
}

static bool holds_fd(const struct amp_read_job *job)
{
	return job->by_fd || job->snapshot_max > 0 || amp_read_job_opens(job->want);
}

/* In the loop: a job is done. */
static void job_done(struct amp_io_job *io)
{
	struct amp_read_job *job = (struct amp_read_job *)io;
	struct amp_reader *r = job->owner;
	bool stale = job->generation != atomic_load(&r->shop.generation);

	r->jobs--;
	if (holds_fd(job))
		r->fds--;
	if (job->place)
		amp_place_put(job->place);
	job->place = NULL;
	if (!stale)
		r->fresh--;
	if (stale || !r->channel) {
		amp_counter_add(&c_dropped, 1);
		amp_read_job_free(job);
	} else {
		gather(r, job);
	}
	update_flow(r);
}

/* The bounds of read.proto. Empty mount points only with an fd. */
static bool item_valid(const Amp__ReadItem *item, unsigned fd_count)
{
	if (item->want <= AMP__READ_ITEM__WANT__NONE || item->want > AMP__READ_ITEM__WANT__OPEN_DIRECTORY)
		return false;
	if (item->fd_index > fd_count || (item->fd_index > 0 && amp_read_job_opens(item->want)))
		return false;
	if (item->fd_index > 0 && item->mount_point.len == 0)
		return true;
	return amp_open_mount_point_valid(&item->mount_point) && (item->fd_index > 0 || item->handle);
}

/* Takes what the item needs. 0; -1 with errno: EBADMSG the item is no item, else a shortage. */
static int job_fill(struct amp_reader *r, struct amp_read_job *job, const Amp__ReadItem *item,
		    const struct amp_message *m)
{
	if (item->fd_index > 0) {
		/* Two items may name one fd: each has its own copy. */
		job->by_fd = true;
		job->fd = fcntl(m->fds[item->fd_index - 1], F_DUPFD_CLOEXEC, 0);
		if (job->fd < 0)
			return -1;
	} else if (amp_handle_from_wire(item->handle, &job->handle) < 0) {
		errno = EBADMSG;
		return -1;
	}
	if (item->mount_point.len == 0)
		return 0;
	job->place = amp_place_get(r->places, item->fsid, item->mount_point.data, item->mount_point.len);
	return job->place ? 0 : -1;
}

static void job_submit(struct amp_reader *r, struct amp_read_job *job)
{
	r->jobs++;
	r->fresh++;
	if (holds_fd(job))
		r->fds++;
	amp_iothread_submit(r->shop.io, &job->io);
}

/* One item becomes a job. -1: it breaks the protocol. */
static int take_item(struct amp_reader *r, const Amp__ReadItem *item, const struct amp_message *m)
{
	struct amp_read_job *job = calloc(1, sizeof(*job));

	if (!job) {
		/* Not answered: ampscand asks again at its deadline. */
		amp_counter_add(&c_unsent, 1);
		return 0;
	}
	job->io.run = amp_read_job_run;
	job->io.done = job_done;
	job->shop = &r->shop;
	job->owner = r;
	job->generation = atomic_load(&r->shop.generation);
	job->job = item->job;
	job->want = item->want;
	job->hash_limit = item->hash_limit;
	if (item->want == AMP__READ_ITEM__WANT__HASH) {
		job->snapshot_max = item->snapshot_max;
		job->archive_max = item->archive_max;
	}
	job->fd = job->opened = -1;
	if (job_fill(r, job, item, m) < 0) {
		int error = errno;

		if (error == EBADMSG) {
			amp_read_job_free(job);
			return -1;
		}
		job->out.status = AMP__READ_RESULT__STATUS__BUSY;
		job->out.error = error;
		gather(r, job);
		return 0;
	}
	job_submit(r, job);
	return 0;
}

static int on_read(struct amp_channel *ch, struct amp_message *m, void *arg)
{
	struct amp_reader *r = arg;
	const Amp__Read *read = (const Amp__Read *)m->body;

	(void)ch;
	if (read->n_items > AMP_READ_BATCH)
		return -1;
	for (size_t i = 0; i < read->n_items; i++)
		if (!item_valid(read->items[i], m->fd_count))
			return -1;
	for (size_t i = 0; i < read->n_items; i++)
		if (take_item(r, read->items[i], m) < 0)
			return -1;
	amp_counter_add(&c_items, read->n_items);
	update_flow(r);
	return 0;
}

static int on_walk(struct amp_channel *ch, struct amp_message *m, void *arg)
{
	struct amp_reader *r = arg;

	(void)ch;
	return amp_walks_start(r->walks, (const Amp__Walk *)m->body);
}

static int on_credit(struct amp_channel *ch, struct amp_message *m, void *arg)
{
	struct amp_reader *r = arg;
	const Amp__WalkCredit *credit = (const Amp__WalkCredit *)m->body;

	(void)ch;
	amp_walks_credit(r->walks, credit->walk_id, credit->credit);
	return 0;
}

static int on_go(struct amp_channel *ch, struct amp_message *m, void *arg)
{
	struct amp_reader *r = arg;

	(void)ch;
	return amp_walks_go(r->walks, ((const Amp__WalkGo *)m->body)->walk_id);
}

static int on_cancel(struct amp_channel *ch, struct amp_message *m, void *arg)
{
	struct amp_reader *r = arg;

	(void)ch;
	amp_walks_cancel(r->walks, ((const Amp__WalkCancel *)m->body)->walk_id);
	return 0;
}

#define BODY_MAX (AMP_MSG_MAX - (uint32_t)sizeof(struct amp_wire_header))

static const struct amp_dispatch table[] = {
	{AMP_MSG_READ, &amp__read__descriptor, BODY_MAX, 0, AMP_MSG_MAX_FDS, 0, on_read},
	{AMP_MSG_WALK, &amp__walk__descriptor, BODY_MAX, 0, 0, 0, on_walk},
	{AMP_MSG_WALK_CREDIT, &amp__walk_credit__descriptor, 64, 0, 0, 0, on_credit},
	{AMP_MSG_WALK_GO, &amp__walk_go__descriptor, 64, 0, 0, 0, on_go},
	{AMP_MSG_WALK_CANCEL, &amp__walk_cancel__descriptor, 64, 0, 0, 0, on_cancel},
};

static void on_end(struct amp_channel *ch, enum amp_channel_end end, const char *why, void *arg)
{
	struct amp_reader *r = arg;

	(void)ch;
	amp_reader_unlink(r);
	if (end == AMP_CHANNEL_HOSTILE)
		r->on_hostile(why, r->arg);
}

static void on_writable(struct amp_channel *ch, void *arg)
{
	struct amp_reader *r = arg;

	(void)ch;
	update_flow(r);
	amp_walks_pump(r->walks);
}

struct amp_reader *amp_reader_new(struct event_base *base, struct amp_iothread *io,
				  void (*on_hostile)(const char *why, void *arg), void *arg)
{
	struct amp_reader *r = calloc(1, sizeof(*r));

	if (!r)
		return NULL;
	r->shop.io = io;
	r->base = base;
	r->on_hostile = on_hostile;
	r->arg = arg;
	r->places = amp_places_new(base, io);
	r->walks = amp_walks_new(io);
	r->timer = evtimer_new(base, on_timer, r);
	if (!r->places || !r->walks || !r->timer) {
		amp_reader_free(r);
		errno = ENOMEM;
		return NULL;
	}
	return r;
}

void amp_reader_free(struct amp_reader *r)
{
	if (!r)
		return;
	if (r->timer)
		amp_reader_unlink(r);
	amp_walks_free(r->walks);
	amp_places_free(r->places);
	if (r->timer)
		event_free(r->timer);
	free(r);
}

int amp_reader_link(struct amp_reader *r, int fd)
{
	struct amp_channel_config config = {
		.name = "ampscand",
		.table = table,
		.rows = sizeof(table) / sizeof(table[0]),
		.on_end = on_end,
		.on_writable = on_writable,
		.arg = r,
	};

	amp_reader_unlink(r);
	r->channel = amp_channel_new(r->base, fd, &config);
	if (!r->channel)
		return -1;
	amp_walks_link(r->walks, r->channel);
	update_flow(r);
	return 0;
}

void amp_reader_unlink(struct amp_reader *r)
{
	atomic_fetch_add(&r->shop.generation, 1);
	r->fresh = 0;
	drop_gathered(r);
	if (r->walks)
		amp_walks_unlink(r->walks);
	if (r->channel)
		amp_channel_free(r->channel);
	r->channel = NULL;
}

size_t amp_reader_in_hand(const struct amp_reader *r)
{
	return r->jobs + amp_walks_in_hand(r->walks);
}
