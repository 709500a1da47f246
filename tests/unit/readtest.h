/*
 * tests/unit/readtest.h - what the tests of ampread share: a tmpfs of their
 * own in a mount namespace of their own, and both ends of a reader's link.
 * Without root there is no mount and no handle to open: the tests are skipped.
 */
#ifndef AMP_READTEST_H
#define AMP_READTEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/skip.h"

#include "ampscand/ampread/open.h"
#include "ampscand/ampread/reader.h"
#include "channel.h"
#include "fileid.h"
#include "iothread.h"
#include "proto/read.pb-c.h"
#include "sha256.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define UNUSED __attribute__((unused))

static char rt_dir[64] = "/tmp/amp-readtest-XXXXXX";
static uint64_t rt_fsid;
static bool rt_able;

/* Group set-up: 0 always; tests call RT_NEED. */
static int rt_setup(void **state)
{
	(void)state;
	signal(SIGIO, SIG_IGN);
	if (geteuid() != 0 || unshare(CLONE_NEWNS) < 0 ||
	    mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		return 0;
	if (!mkdtemp(rt_dir) || mount("rt", rt_dir, "tmpfs", 0, "size=512m") < 0)
		return -1;
	if (amp_open_setup() < 0 || amp_sha256_setup() < 0 || amp_fsid_of_path(rt_dir, &rt_fsid) < 0)
		return -1;
	rt_able = true;
	return 0;
}

static int rt_teardown(void **state)
{
	(void)state;
	if (!rt_able)
		return 0;
	umount2(rt_dir, MNT_DETACH);
	return rmdir(rt_dir);
}

#define RT_NEED()                                                                                            \
	do {                                                                                                 \
		if (!rt_able) {                                                                              \
			SKIP_WITHOUT("root and a file system of its own");                                   \
			return;                                                                              \
		}                                                                                            \
	} while (0)

/* rt_dir/name; four results live at once. */
static UNUSED const char *rt_path(const char *name)
{
	static char paths[4][512];
	static unsigned n;
	char *p = paths[n++ % 4];

	snprintf(p, sizeof(paths[0]), "%s/%s", rt_dir, name);
	return p;
}

static UNUSED void rt_write(const char *name, const void *data, size_t n)
{
	int fd = open(rt_path(name), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	while (n > 0) {
		ssize_t k = write(fd, data, n);

		assert_true(k > 0);
		data = (const char *)data + k;
		n -= (size_t)k;
	}
	close(fd);
}

static UNUSED struct amp_handle rt_handle(const char *path)
{
	struct amp_handle h;

	assert_int_equal(amp_handle_at(AT_FDCWD, path, 0, &h, NULL), 0);
	return h;
}

/* Both ends of a link. The test plays ampscand. */
struct rig {
	struct event_base *base;
	struct amp_iothread *io;
	struct amp_reader *reader;
	struct amp_channel *scan;
	unsigned hostile, ended, batches;
	/* results in order of arrival */
	struct {
		uint64_t job;
		amp_read_status status;
		int error;
		bool has_identity, has_sha, script, archive;
		struct amp_identity identity;
		uint8_t sha[AMP_SHA256_SIZE];
		char path[AMP_PATH_MAX];
		size_t path_length;
		char line[256];
		int fd, snapshot; /* the test's to close; -1 */
	} results[256];
	size_t count;
	uint64_t snapshot_max, archive_max; /* of the items asked next */
	/* walks */
	size_t entries, entry_messages, done;
	size_t with_directory, with_sha, with_snapshot;
	size_t odds, marks;
	uint64_t walk_fsid, done_fsid, directories, mark_directories;
	char last_mark[AMP_PATH_MAX];
	char last_directory[8192], last_name[256], error[128];
	uint64_t seen, unreadable, too_deep, done_id;
};

static int rig_read_done(struct amp_channel *ch, struct amp_message *m, void *arg)
{
	struct rig *g = arg;
	const Amp__ReadDone *d = (const Amp__ReadDone *)m->body;

	(void)ch;
	unsigned fds = 0;

	g->batches++;
	assert_true(d->n_results <= AMP_READ_BATCH);
	for (size_t i = 0; i < d->n_results; i++) {
		const Amp__ReadResult *r = d->results[i];
		typeof(&g->results[0]) to = &g->results[g->count++ % 256];

		memset(to, 0, sizeof(*to));
		assert_true(r->fd_index <= m->fd_count && r->snapshot_index <= m->fd_count);
		to->fd = r->fd_index ? amp_message_take_fd(m, r->fd_index - 1) : -1;
		to->snapshot = r->snapshot_index ? amp_message_take_fd(m, r->snapshot_index - 1) : -1;
		fds += (r->fd_index > 0 ? 1U : 0U) + (r->snapshot_index > 0 ? 1U : 0U);
		to->job = r->job;
		to->status = r->status;
		to->error = r->error;
		to->script = r->script;
		to->archive = r->archive;
		to->has_identity = r->identity && amp_identity_from_wire(r->identity, &to->identity) == 0;
		to->has_sha = r->sha256.len == AMP_SHA256_SIZE;
		if (to->has_sha)
			memcpy(to->sha, r->sha256.data, AMP_SHA256_SIZE);
		to->path_length = r->path.len;
		assert_true(r->path.len < sizeof(to->path));
		if (r->path.len)
			memcpy(to->path, r->path.data, r->path.len);
		assert_true(r->script_line.len < sizeof(to->line));
		if (r->script_line.len)
			memcpy(to->line, r->script_line.data, r->script_line.len);
	}
	assert_int_equal(fds, m->fd_count); /* none that no result speaks of */
	return 0;
}

static int rig_walk_entries(struct amp_channel *ch, struct amp_message *m, void *arg)
{
	struct rig *g = arg;
	const Amp__WalkEntries *e = (const Amp__WalkEntries *)m->body;

	(void)ch;
	assert_true(e->n_entries + e->n_odd > 0);
	assert_true(e->n_entries <= AMP_WALK_BATCH && e->n_odd <= AMP_WALK_BATCH);
	g->odds += e->n_odd;
	g->walk_fsid = e->fsid;
	g->entry_messages++;
	g->entries += e->n_entries;
	for (size_t i = 0; i < e->n_entries; i++) {
		g->with_directory += e->entries[i]->directory != NULL;
		g->with_sha += e->entries[i]->sha256.len == AMP_SHA256_SIZE;
		assert_true(e->entries[i]->snapshot_index <= m->fd_count);
		g->with_snapshot += e->entries[i]->snapshot_index > 0;
	}
	snprintf(g->last_directory, sizeof(g->last_directory), "%.*s", (int)e->directory_path.len,
		 (const char *)e->directory_path.data);
	if (e->n_entries > 0)
		snprintf(g->last_name, sizeof(g->last_name), "%.*s", (int)e->entries[0]->name.len,
			 (const char *)e->entries[0]->name.data);
	return 0;
}

static int rig_walk_done(struct amp_channel *ch, struct amp_message *m, void *arg)
{
	struct rig *g = arg;
	const Amp__WalkDone *d = (const Amp__WalkDone *)m->body;

	(void)ch;
	g->done++;
	g->done_id = d->walk_id;
	g->seen = d->seen;
	g->unreadable = d->unreadable;
	g->too_deep = d->too_deep;
	g->directories = d->directories;
	g->done_fsid = d->fsid;
	snprintf(g->error, sizeof(g->error), "%s", d->error);
	return 0;
}

static int rig_walk_mark(struct amp_channel *ch, struct amp_message *m, void *arg)
{
	struct rig *g = arg;
	const Amp__WalkMark *mark = (const Amp__WalkMark *)m->body;

	(void)ch;
	g->marks++;
	g->mark_directories = mark->directories;
	snprintf(g->last_mark, sizeof(g->last_mark), "%.*s", (int)mark->path.len,
		 (const char *)mark->path.data);
	return 0;
}

static const struct amp_dispatch rig_table[] = {
	{AMP_MSG_READ_DONE, &amp__read_done__descriptor, 65000, 0, AMP_MSG_MAX_FDS, 0, rig_read_done},
	{AMP_MSG_WALK_ENTRIES, &amp__walk_entries__descriptor, 65500, 0, AMP_MSG_MAX_FDS, 0,
	 rig_walk_entries},
	{AMP_MSG_WALK_MARK, &amp__walk_mark__descriptor, 65500, 0, 0, 0, rig_walk_mark},
	{AMP_MSG_WALK_DONE, &amp__walk_done__descriptor, 1000, 0, 0, 0, rig_walk_done},
};

static void rig_end(struct amp_channel *ch, enum amp_channel_end end, const char *why, void *arg)
{
	struct rig *g = arg;

	(void)ch;
	if (end == AMP_CHANNEL_HOSTILE)
		fail_msg("the reader broke the protocol: %s", why);
	g->ended++;
}

static void rig_hostile(const char *why, void *arg)
{
	struct rig *g = arg;

	(void)why;
	g->hostile++;
}

/* A (new) link between the test and the reader. */
static UNUSED void rig_link(struct rig *g)
{
	struct amp_channel_config c = {.name = "test",
				       .table = rig_table,
				       .rows = sizeof(rig_table) / sizeof(rig_table[0]),
				       .on_end = rig_end,
				       .arg = g};
	int pair[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	if (g->scan)
		amp_channel_free(g->scan);
	g->scan = amp_channel_new(g->base, pair[0], &c);
	assert_non_null(g->scan);
	assert_int_equal(amp_reader_link(g->reader, pair[1]), 0);
}

static UNUSED struct rig *rig_new(void)
{
	struct rig *g = calloc(1, sizeof(*g));

	assert_non_null(g);
	g->base = event_base_new();
	g->io = amp_iothread_new(g->base);
	assert_non_null(g->io);
	assert_int_equal(amp_iothread_start(g->io), 0);
	g->reader = amp_reader_new(g->base, g->io, rig_hostile, g);
	assert_non_null(g->reader);
	rig_link(g);
	return g;
}

static UNUSED void rig_free(struct rig *g)
{
	amp_reader_unlink(g->reader);
	amp_iothread_free(g->io);
	amp_reader_free(g->reader);
	amp_channel_free(g->scan);
	event_base_free(g->base);
	free(g);
}

/* Runs the loop for so long at least, in turns: however late each comes, what follows has one too. */
static UNUSED void rig_run(struct rig *g, long ms)
{
	const long turn = ms < 100 ? 1 : 10;
	const struct timeval tv = {.tv_usec = turn * 1000};

	for (; ms > 0; ms -= turn) {
		event_base_loopexit(g->base, &tv);
		event_base_dispatch(g->base);
	}
	for (int i = 0; i < 16; i++)
		event_base_loop(g->base, EVLOOP_NONBLOCK);
}

/* Runs the loop until *count has come to `wanted` or beyond, for a minute at most. */
static UNUSED void rig_until(struct rig *g, const size_t *count, size_t wanted)
{
	for (int i = 0; i < 30000 && *count < wanted; i++)
		rig_run(g, 2);
	assert_true(*count >= wanted);
}

static bool rig_barrier(struct amp_io_job *job)
{
	(void)job;
	return true;
}

struct rig_passed {
	struct amp_io_job job; /* first */
	bool yes;
};

static void rig_is_passed(struct amp_io_job *job)
{
	((struct rig_passed *)job)->yes = true;
}

/* Until everything that was asked is read by the reader, and it has nothing to do that nobody waits for. */
static UNUSED void rig_idle(struct rig *g)
{
	do {
		struct rig_passed passed = {.job = {.run = rig_barrier, .done = rig_is_passed}};

		event_base_loop(g->base, EVLOOP_NONBLOCK);
		amp_iothread_submit(g->io, &passed.job);
		while (!passed.yes)
			event_base_loop(g->base, EVLOOP_ONCE);
		event_base_loop(g->base, EVLOOP_NONBLOCK);
	} while (amp_iothread_busy(g->io));
}

/* One item. handle NULL: by fd. */
static UNUSED void rig_ask(struct rig *g, uint64_t job, Amp__ReadItem__Want want, const struct amp_handle *h,
			   uint64_t limit, int fd)
{
	Amp__ReadItem item = AMP__READ_ITEM__INIT, *list[] = {&item};
	Amp__Handle wire = AMP__HANDLE__INIT;
	Amp__Read ask = AMP__READ__INIT;

	item.job = job;
	item.want = want;
	item.fsid = rt_fsid;
	item.hash_limit = limit;
	item.snapshot_max = g->snapshot_max;
	item.archive_max = g->archive_max;
	if (h) {
		amp_handle_to_wire(h, &wire);
		item.handle = &wire;
		item.mount_point.data = (uint8_t *)rt_dir;
		item.mount_point.len = strlen(rt_dir);
	} else {
		item.fd_index = 1;
	}
	ask.n_items = 1;
	ask.items = list;
	assert_int_equal(amp_channel_send(g->scan, AMP_MSG_READ, 0, &ask.base, &fd, h ? 0 : 1), 0);
}

/* Asks and waits; index of the result. */
static UNUSED size_t rig_result(struct rig *g, Amp__ReadItem__Want want, const struct amp_handle *h,
				uint64_t limit, int fd)
{
	size_t n = g->count;

	rig_ask(g, 1000 + n, want, h, limit, fd);
	rig_until(g, &g->count, n + 1);
	assert_int_equal(g->results[n % 256].job, 1000 + n);
	return n % 256;
}

#endif
