/*
 * tests/unit/quardtest.h - a whole ampscand in the test's process: its real
 * room, with lib/room.c's part and all peers (ampmon, ampread, ampcloudd,
 * ampquard) played by the test over socket pairs.
 */
#ifndef AMP_QUARDTEST_H
#define AMP_QUARDTEST_H

#include "scantest.h"

#include "ampscand/scand.h"
#include "clock.h"
#include "counter.h"
#include "log.h"

#include "proto/event.pb-c.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>

#define FSID	 7U
#define NO_SHA	 0U  /* first bytes of contents */
#define EVIL	 66U /* blocked */
#define QUARD_ID 4242

/* --- in place of lib/room.c ------------------------------------------------ */

struct amp_room {
	struct event_base *base;
	struct amp_channel *control;
	struct amp_cliserver *cli; /* NULL: nobody asks */
	pid_t peer_pid;
	unsigned faults, hostile;
	enum amp_fault_number fault;
	enum amp_role_id hostile_role;
};

static const struct amp_room_ops *rig_ops;
static struct scand *rig_scand;
static UNUSED bool rig_engine; /* there is an ampengine, and the policy wants it */

int amp_room_main(const struct amp_room_ops *ops, void *arg)
{
	rig_ops = ops;
	rig_scand = arg;
	return 0;
}

struct event_base *amp_room_base(struct amp_room *room)
{
	return room->base;
}

void *amp_room_arg(struct amp_room *room)
{
	(void)room;
	return rig_scand;
}

unsigned amp_room_instance(const struct amp_room *room)
{
	(void)room;
	return 0;
}

const char *amp_room_host_id(const struct amp_room *room)
{
	(void)room;
	return "0b1f4e2a-0000-8000-8000-000000000001";
}

struct amp_channel *amp_room_control(struct amp_room *room)
{
	return room->control;
}

struct amp_cliserver *amp_room_cli(struct amp_room *room)
{
	return room->cli;
}

pid_t amp_room_peer_pid(const struct amp_room *room)
{
	return room->peer_pid;
}

void amp_room_fault(struct amp_room *room, enum amp_fault_number n, bool raised, const char *detail)
{
	(void)detail;
	if (!raised)
		return;
	room->faults++;
	room->fault = n;
}

void amp_room_hostile(struct amp_room *room, enum amp_role_id peer, unsigned instance, unsigned generation,
		      const char *why)
{
	(void)instance;
	(void)generation;
	(void)why;
	room->hostile++;
	room->hostile_role = peer;
}

void amp_room_feature(struct amp_room *room, const char *name, bool in_use)
{
	(void)room;
	(void)name;
	(void)in_use;
}

/* --- the peers --------------------------------------------------------------- */

#define SEEN 512U

struct rig {
	struct amp_room room;
	struct scand *s;
	int group[2]; /* a pipe for the kernel's group */
	struct amp_channel *mon, *reader, *cloud, *quard;
	unsigned quard_generation;
	/* what ampmon got */
	size_t kills;
	uint64_t kill_id[SEEN];
	char kill_detection[37];
	char kill_signature[256];
	int64_t kill_ctime, kill_seen;
	size_t keeps;
	bool silent_keeps; /* they are not answered */
	uint64_t keep_id;
	char keep_name[40];
	bool answer_kills;
	size_t repairs, concluded;
	int64_t missed; /* as ampmon was told */
	int64_t repair_since;
	/* ampread */
	uint8_t content; /* first byte of every file's SHA-256 */
	bool each;	 /* the file's number is in it too */
	uint64_t size;
	uint32_t owner; /* of every file */
	bool owners;	/* no: of each its number / 1000 */
	uint64_t other; /* a file with a content of its own, without its number */
	uint8_t other_content;
	bool archive;
	bool no_copy, open_copy, short_copy, unasked_copy; /* what is wrong with copies */
	uint64_t copy_max, archive_max;			   /* as last asked */
	size_t copies;
	uint32_t mode;
	bool script;
	bool silent_opens; /* they are not answered */
	bool without_fd;   /* they are, but nothing is passed */
	bool surplus_fd;   /* what no result speaks of is passed */
	Amp__ReadResult__Status open_status;
	size_t paths, hashes, opens;
	/* ampcloudd */
	size_t events;
	char uid[SEEN][64];
	char type[SEEN][32];
	bool keep_events; /* they are not acknowledged */
	/* ampquard */
	size_t takes, opened, killed_again, allow_acks;
	uint64_t take_id[SEEN], opened_id, killed_again_id, allow_ack_id;
	unsigned take_fds;
	char take_path[256], take_name[256], take_detection[256], take_cause[32], take_detection_id[37];
	uint64_t take_handle;
	bool take_directory, take_unresolved;
	Amp__Opened__Status opened_file, opened_directory;
	int opened_error;
	int opened_fds[2];
	unsigned opened_fd_count;
	char opened_path[256];
};

/* As long at least, in turns: however late each comes, what follows from another has turns of its own. */
static void rig_run(struct rig *g, long ms)
{
	const struct timeval tv = {.tv_usec = ms < 100 ? 1000 : 10000};
	const int64_t until = amp_clock_kernel_monotonic() + ms * AMP_NS_PER_MS;

	for (long turns = ms < 20 ? ms : 20; turns > 0 || amp_clock_kernel_monotonic() < until; turns--) {
		event_base_loopexit(g->room.base, &tv);
		event_base_dispatch(g->room.base);
	}
	for (int i = 0; i < 16; i++)
		event_base_loop(g->room.base, EVLOOP_NONBLOCK);
}

/* Until *count has come to that, for a minute at most. */
static UNUSED void rig_until(struct rig *g, const size_t *count, size_t wanted)
{
	for (int i = 0; i < 60000 && *count < wanted; i++) {
		event_base_loop(g->room.base, EVLOOP_NONBLOCK);
		if (*count < wanted)
			usleep(1000);
	}
	assert_int_equal(*count, wanted);
}

static UNUSED uint64_t rig_counter(const char *name)
{
	for (const struct amp_counter *c = amp_counter_first(); c; c = c->next)
		if (strcmp(c->name, name) == 0)
			return amp_counter_value(c);
	return 0;
}

static UNUSED unsigned rig_descriptors(void)
{
	unsigned n = 0;

	for (int fd = 0; fd < 1024; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

static UNUSED void text_of(char *to, size_t size, const ProtobufCBinaryData *b)
{
	snprintf(to, size, "%.*s", (int)b->len, b->len ? (const char *)b->data : "");
}

static void rig_killed(struct rig *g, uint64_t id, const char *detection, int pid, bool unfinished)
{
	Amp__Killed k = AMP__KILLED__INIT;
	Amp__KilledProcess p = AMP__KILLED_PROCESS__INIT, *list[] = {&p};

	k.detection_id = (char *)(uintptr_t)detection;
	k.unfinished = unfinished;
	p.pid = pid;
	p.start_ticks = 5;
	if (pid) {
		k.processes = list;
		k.n_processes = 1;
	}
	assert_int_equal(amp_channel_send(g->mon, AMP_MSG_KILLED, id, &k.base, NULL, 0), 0);
}

static int mon_kill(struct amp_channel *ch, struct amp_message *m, void *arg)
{
	struct rig *g = arg;
	const Amp__Kill *k = (const Amp__Kill *)m->body;

	(void)ch;
	g->kill_id[g->kills++ % SEEN] = m->id;
	snprintf(g->kill_detection, sizeof(g->kill_detection), "%s", k->detection_id);
	snprintf(g->kill_signature, sizeof(g->kill_signature), "%s", k->signature);
	g->kill_ctime = k->file->ctime_ns;
	g->kill_seen = k->event_seen_ns;
	if (g->answer_kills)
		rig_killed(g, m->id, k->detection_id, 0, false);
	return 0;
}

static void rig_kept(struct rig *g, uint64_t id, const char *name)
{
	Amp__Kept k = AMP__KEPT__INIT;

	k.name = (char *)(uintptr_t)name;
	assert_int_equal(amp_channel_send(g->mon, AMP_MSG_KEPT, id, &k.base, NULL, 0), 0);
}

static int mon_keep(struct amp_channel *ch, struct amp_message *m, void *arg)
{
	struct rig *g = arg;
	const Amp__Keep *k = (const Amp__Keep *)m->body;

	(void)ch;
	g->keeps++;
	g->keep_id = m->id;
	snprintf(g->keep_name, sizeof(g->keep_name), "%s", k->name);
	if (!g->silent_keeps)
		rig_kept(g, m->id, k->name);
	return 0;
}

static int mon_concluded(struct amp_channel *ch, struct amp_message *m, void *arg)
{
	struct rig *g = arg;
	const Amp__Concluded *c = (const Amp__Concluded *)m->body;

	(void)ch;
	g->concluded++;
	g->missed = c->missed_ns;
	assert_true(c->missed_ns == 0 || c->time_ns <= c->missed_ns);
	return 0;
}

static int mon_repair(struct amp_channel *ch, struct amp_message *m, void *arg)
{
	struct rig *g = arg;

	(void)ch;
	g->repairs++;
	g->repair_since = ((const Amp__RepairWanted *)m->body)->since_ns;
	return 0;
}

static int mon_ignore(struct amp_channel *ch, struct amp_message *m, void *arg)
{
	(void)ch;
	(void)m;
	(void)arg;
	return 0;
}

static uint8_t rig_content(const struct rig *g, uint64_t ino)
{
	return g->other && ino == g->other ? g->other_content : g->content;
}

/* A copy of the file: its content's first byte, its number, zeros. */
static int rig_copy(const struct rig *g, uint64_t ino)
{
	int fd = memfd_create("copy", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	uint8_t head[9] = {rig_content(g, ino)};

	assert_true(fd >= 0);
	memcpy(head + 1, &ino, sizeof(ino));
	assert_int_equal(pwrite(fd, head, sizeof(head), 0), sizeof(head));
	assert_int_equal(ftruncate(fd, (off_t)(g->size - g->short_copy)), 0);
	if (!g->open_copy)
		assert_int_equal(
			fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE), 0);
	return fd;
}

static bool rig_is_copied(struct rig *g, const Amp__ReadItem *item)
{
	if (item->want != AMP__READ_ITEM__WANT__HASH)
		return false;
	g->copy_max = item->snapshot_max;
	g->archive_max = item->archive_max;
	if (g->unasked_copy)
		return true;
	return item->snapshot_max && !g->no_copy &&
	       g->size <= (g->archive ? item->archive_max : item->snapshot_max);
}

static void read_answer(struct rig *g, struct amp_channel *ch, const Amp__ReadItem *item)
{
	Amp__ReadDone done = AMP__READ_DONE__INIT;
	Amp__ReadResult r = AMP__READ_RESULT__INIT, *list[] = {&r};
	Amp__Identity id = AMP__IDENTITY__INIT;
	uint8_t sha[AMP_SHA256_SIZE] = {0};
	bool opens = item->want >= AMP__READ_ITEM__WANT__OPEN_FILE;
	int fd = -1;

	g->paths += item->want == AMP__READ_ITEM__WANT__DIRECTORY_PATH;
	g->hashes += item->want == AMP__READ_ITEM__WANT__HASH;
	g->opens += opens;
	if (opens && g->silent_opens)
		return;
	r.job = item->job;
	r.status = opens ? g->open_status : AMP__READ_RESULT__STATUS__OK;
	if (item->want == AMP__READ_ITEM__WANT__DIRECTORY_PATH ||
	    item->want == AMP__READ_ITEM__WANT__OPEN_DIRECTORY) {
		r.path.data = (uint8_t *)(uintptr_t) "/m/dir";
		r.path.len = 6;
	}
	memcpy(&id.ino, item->handle->bytes.data, sizeof(id.ino));
	id.mode = g->mode;
	id.nlink = 1;
	id.size = g->size;
	id.uid = g->owners ? (uint32_t)(id.ino / 1000) : g->owner;
	r.identity = &id;
	r.archive = g->archive;
	sha[0] = rig_content(g, id.ino);
	if (g->each && id.ino != g->other)
		memcpy(sha + 1, &id.ino, sizeof(id.ino));
	r.sha256.data = sha;
	r.sha256.len = sizeof(sha);
	r.script = g->script;
	/* A file's descriptor is told from a directory's by what it leads to. */
	if (opens && r.status == AMP__READ_RESULT__STATUS__OK && !g->without_fd) {
		fd = open(item->want == AMP__READ_ITEM__WANT__OPEN_FILE ? "/dev/null" : "/",
			  O_RDONLY | O_CLOEXEC);
		r.fd_index = 1;
	}
	if (rig_is_copied(g, item)) {
		fd = rig_copy(g, id.ino);
		r.snapshot_index = 1;
		g->copies++;
	}
	if (g->size > item->hash_limit && item->hash_limit && item->want == AMP__READ_ITEM__WANT__HASH)
		r.status = AMP__READ_RESULT__STATUS__TOO_LARGE_NOW;
	if (g->surplus_fd)
		fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	done.results = list;
	done.n_results = 1;
	assert_int_equal(amp_channel_send(ch, AMP_MSG_READ_DONE, 0, &done.base, &fd, fd >= 0), 0);
	if (fd >= 0)
		close(fd);
}

static int reader_read(struct amp_channel *ch, struct amp_message *m, void *arg)
{
	const Amp__Read *r = (const Amp__Read *)m->body;

	for (size_t i = 0; i < r->n_items; i++)
		read_answer(arg, ch, r->items[i]);
	return 0;
}

static int cloud_event(struct amp_channel *ch, struct amp_message *m, void *arg)
{
	struct rig *g = arg;
	const Amp__Event *e = (const Amp__Event *)m->body;
	Amp__EventAck ack = AMP__EVENT_ACK__INIT;

	snprintf(g->uid[g->events % SEEN], sizeof(g->uid[0]), "%s", e->uid);
	snprintf(g->type[g->events++ % SEEN], sizeof(g->type[0]), "%s", e->type);
	ack.ids = &m->id;
	ack.n_ids = 1;
	if (!g->keep_events)
		assert_int_equal(amp_channel_send(ch, AMP_MSG_EVENT_ACK, 0, &ack.base, NULL, 0), 0);
	return 0;
}

static int quard_take(struct amp_channel *ch, struct amp_message *m, void *arg)
{
	struct rig *g = arg;
	const Amp__Take *t = (const Amp__Take *)m->body;

	(void)ch;
	g->take_id[g->takes++ % SEEN] = m->id;
	g->take_fds += m->fd_count;
	snprintf(g->take_detection, sizeof(g->take_detection), "%s", t->detection);
	snprintf(g->take_detection_id, sizeof(g->take_detection_id), "%s", t->detection_id);
	snprintf(g->take_cause, sizeof(g->take_cause), "%s", t->cause);
	text_of(g->take_path, sizeof(g->take_path), &t->path);
	text_of(g->take_name, sizeof(g->take_name), &t->name);
	memcpy(&g->take_handle, t->handle->bytes.data, sizeof(g->take_handle));
	g->take_directory = t->directory != NULL;
	g->take_unresolved = t->path_unresolved;
	assert_int_equal(t->sha256.len, AMP_SHA256_SIZE);
	assert_int_equal(t->fsid, FSID);
	assert_non_null(t->identity);
	return 0;
}

static int quard_opened(struct amp_channel *ch, struct amp_message *m, void *arg)
{
	struct rig *g = arg;
	const Amp__Opened *o = (const Amp__Opened *)m->body;

	(void)ch;
	g->opened++;
	g->opened_id = m->id;
	g->opened_file = o->file;
	g->opened_directory = o->directory;
	g->opened_error = o->error;
	text_of(g->opened_path, sizeof(g->opened_path), &o->directory_path);
	g->opened_fd_count = m->fd_count;
	for (unsigned i = 0; i < m->fd_count; i++)
		g->opened_fds[i] = amp_message_take_fd(m, i);
	return 0;
}

static int quard_killed(struct amp_channel *ch, struct amp_message *m, void *arg)
{
	struct rig *g = arg;

	(void)ch;
	g->killed_again++;
	g->killed_again_id = m->id;
	return 0;
}

static int quard_allow_ack(struct amp_channel *ch, struct amp_message *m, void *arg)
{
	struct rig *g = arg;

	(void)ch;
	g->allow_acks++;
	g->allow_ack_id = m->id;
	return 0;
}

static const struct amp_dispatch mon_rows[] = {
	{AMP_MSG_KILL, &amp__kill__descriptor, 40000, 0, 0, 0, mon_kill},
	{AMP_MSG_KEEP, &amp__keep__descriptor, AMP_MSG_MAX - 16, 0, 0, 0, mon_keep},
	{AMP_MSG_SCAN_STATE, &amp__scan_state__descriptor, 1024, 0, 0, 0, mon_ignore},
	{AMP_MSG_POLICY_ACK, &amp__policy_ack__descriptor, 64, 0, 0, 0, mon_ignore},
	{AMP_MSG_CONCLUDED, &amp__concluded__descriptor, 64, 0, 0, 0, mon_concluded},
	{AMP_MSG_REPAIR_WANTED, &amp__repair_wanted__descriptor, 4096, 0, 0, 0, mon_repair},
};
static const struct amp_dispatch reader_rows[] = {
	{AMP_MSG_READ, &amp__read__descriptor, 65000, 0, AMP_MSG_MAX_FDS, 0, reader_read},
};
static const struct amp_dispatch cloud_test_rows[] = {
	{AMP_MSG_EVENT, &amp__event__descriptor, 65000, 0, 0, 0, cloud_event},
};
static const struct amp_dispatch quard_rows[] = {
	{AMP_MSG_TAKE, &amp__take__descriptor, 65000, 0, 1, 0, quard_take},
	{AMP_MSG_OPENED, &amp__opened__descriptor, 40000, 0, 2, 0, quard_opened},
	{AMP_MSG_KILLED_AGAIN, &amp__killed_again__descriptor, 0, 0, 0, 0, quard_killed},
	{AMP_MSG_ALLOW_ACK, &amp__allow_ack__descriptor, 0, 0, 0, 0, quard_allow_ack},
};

static void peer_end(struct amp_channel *ch, enum amp_channel_end end, const char *why, void *arg)
{
	(void)ch;
	(void)arg;
	if (end == AMP_CHANNEL_HOSTILE)
		fail_msg("ampscand broke the protocol: %s", why);
}

static struct amp_channel *peer_new(struct rig *g, int fd, const struct amp_dispatch *rows, size_t n)
{
	struct amp_channel_config c = {
		.name = "test", .table = rows, .rows = n, .on_end = peer_end, .arg = g};
	struct amp_channel *ch = amp_channel_new(g->room.base, fd, &c);

	assert_non_null(ch);
	return ch;
}

#define PEER(g, fd, rows) peer_new(g, fd, rows, sizeof(rows) / sizeof(rows[0]))

static void rig_pair(int pair[2])
{
	assert_int_equal(amp_channel_pair(pair), 0);
}

/* A (new) link to a peer; the test's end. The old one is gone: its process died. */
static void rig_link(struct rig *g, enum amp_role_id role, struct amp_channel **ch,
		     const struct amp_dispatch *rows, size_t n)
{
	static unsigned generation;
	int pair[2];

	rig_pair(pair);
	if (*ch)
		amp_channel_free(*ch);
	*ch = peer_new(g, pair[1], rows, n);
	rig_ops->link(&g->room, role, 0, ++generation, pair[0]);
}

static void rig_link_reader(struct rig *g)
{
	rig_link(g, AMP_ROLE_READ, &g->reader, reader_rows, 1);
}

static void rig_link_quard(struct rig *g)
{
	g->room.peer_pid = QUARD_ID + (pid_t)g->quard_generation++;
	rig_link(g, AMP_ROLE_QUARD, &g->quard, quard_rows, sizeof(quard_rows) / sizeof(quard_rows[0]));
}

/* ampquard died; its link's end is seen before the next one comes. */
static UNUSED void rig_quard_dies(struct rig *g)
{
	amp_channel_free(g->quard);
	g->quard = NULL;
	rig_run(g, 5);
}

static UNUSED void rig_reader_dies(struct rig *g)
{
	amp_channel_free(g->reader);
	g->reader = NULL;
	rig_run(g, 5);
	rig_link_reader(g);
}

static void rig_say(struct rig *g, uint16_t type, const ProtobufCMessage *body, int fd)
{
	assert_int_equal(amp_channel_send(g->mon, type, 0, body, &fd, fd >= 0), 0);
	if (fd >= 0)
		close(fd);
	rig_run(g, 1);
}

static UNUSED void rig_ask(struct rig *g, uint16_t type, uint64_t id, const ProtobufCMessage *body)
{
	assert_int_equal(amp_channel_send(g->quard, type, id, body, NULL, 0), 0);
}

/* One blocked content, or none (NO_SHA). */
static void rig_policy(struct rig *g, bool protect, uint8_t blocked)
{
	static uint64_t epoch;
	Amp__PolicyBegin begin = AMP__POLICY_BEGIN__INIT;
	Amp__PolicyEntries entries = AMP__POLICY_ENTRIES__INIT;
	Amp__PolicyEntry e = AMP__POLICY_ENTRY__INIT, *list[] = {&e};
	Amp__PolicyEnd end = AMP__POLICY_END__INIT;
	uint8_t sha[AMP_SHA256_SIZE] = {blocked};

	begin.name = "test";
	begin.engine = rig_engine;
	begin.max_file_size = 5 << 20;
	begin.max_archive_size = 50 << 20;
	begin.epoch = end.epoch = ++epoch;
	begin.mode = protect ? AMP__POLICY_BEGIN__MODE__PROTECT : AMP__POLICY_BEGIN__MODE__AUDIT;
	e.kind = AMP__POLICY_ENTRY__KIND__BLOCKED;
	e.sha256.data = sha;
	e.sha256.len = sizeof(sha);
	e.text.data = (uint8_t *)(uintptr_t) "Test.Evil";
	e.text.len = 9;
	entries.entries = list;
	entries.n_entries = end.entries = blocked != NO_SHA;
	rig_say(g, AMP_MSG_POLICY_BEGIN, &begin.base, -1);
	if (blocked != NO_SHA)
		rig_say(g, AMP_MSG_POLICY_ENTRIES, &entries.base, -1);
	rig_say(g, AMP_MSG_POLICY_END, &end.base, -1);
	rig_run(g, 5);
}

/* What ampmon tells before START. */
static void rig_furnish(struct rig *g)
{
	Amp__Buffers b = AMP__BUFFERS__INIT;
	Amp__Source src = AMP__SOURCE__INIT;
	Amp__FileSystem fs = AMP__FILE_SYSTEM__INIT;

	b.count = 2;
	b.size = AMP_BUFFER_SIZE;
	b.parked = 64;
	rig_say(g, AMP_MSG_BUFFERS, &b.base, st_memfd(b.count, b.parked));
	src.kind = AMP__SOURCE__KIND__HANDLE;
	rig_say(g, AMP_MSG_SOURCE, &src.base, fcntl(g->group[0], F_DUPFD_CLOEXEC, 0));
	fs.fsid = FSID;
	fs.how = AMP__FILE_SYSTEM__HOW__BY_HANDLE;
	fs.type = "ext4";
	fs.why = "";
	fs.mount_point.data = (uint8_t *)(uintptr_t) "/m";
	fs.mount_point.len = 2;
	rig_say(g, AMP_MSG_FILESYSTEM, &fs.base, -1);
}

static UNUSED void rig_allow(struct rig *g, uint64_t id, uint8_t first, bool begin, bool end, bool revoke)
{
	Amp__Allow a = AMP__ALLOW__INIT;
	uint8_t sha[AMP_SHA256_SIZE] = {first};
	ProtobufCBinaryData one = {.data = sha, .len = sizeof(sha)};

	a.sha256 = &one;
	a.n_sha256 = first != NO_SHA;
	a.begin = begin;
	a.end = end;
	a.revoke = revoke;
	rig_ask(g, AMP_MSG_ALLOW, id, &a.base);
	rig_run(g, 5);
}

/* Linked and furnished, not started. */
static struct rig *rig_new(void)
{
	struct rig *g = calloc(1, sizeof(*g));
	Amp__Conf conf = AMP__CONF__INIT;
	int pair[2];
	struct amp_channel_config c = {.name = "ampmon", .arg = &g->room, .on_end = peer_end};

	assert_non_null(g);
	amp_log_open("ampscand", STDERR_FILENO, AMP_LOG_ERROR);
	assert_int_equal(scand_main(), 0);
	memset(rig_scand, 0, sizeof(*rig_scand));
	g->s = rig_scand;
	g->content = EVIL;
	g->mode = S_IFREG | 0755;
	g->open_status = AMP__READ_RESULT__STATUS__OK;
	g->answer_kills = true;
	g->room.base = event_base_new();
	assert_non_null(g->room.base);
	assert_int_equal(pipe2(g->group, O_CLOEXEC | O_NONBLOCK), 0);
	rig_pair(pair);
	c.table = rig_ops->control;
	c.rows = rig_ops->control_rows;
	g->room.control = amp_channel_new(g->room.base, pair[0], &c);
	g->mon = PEER(g, pair[1], mon_rows);
	conf.engine = rig_engine;
	assert_int_equal(rig_ops->open(&g->room, &conf), 0);
	rig_furnish(g);
	rig_link_reader(g);
	rig_link(g, AMP_ROLE_CLOUD, &g->cloud, cloud_test_rows, 1);
	rig_link_quard(g);
	return g;
}

/* At work: nothing was restored. */
static UNUSED struct rig *rig_start(bool protect)
{
	struct rig *g = rig_new();

	rig_policy(g, protect, EVIL);
	rig_allow(g, 1, NO_SHA, true, true, false);
	g->allow_acks = 0;
	rig_ops->start(&g->room);
	assert_true(g->s->started);
	return g;
}

static UNUSED void rig_free(struct rig *g)
{
	struct scand *s = g->s;

	rig_ops->stop(&g->room);
	act_free(s);
	scans_free(s);
	engine_free(s);
	jobs_free(s);
	contents_free(&s->contents);
	readers_free(s);
	quard_free(s);
	brake_free(s);
	foundation_free(s);
	keep_free(s);
	resolve_free(s);
	judge_free(s);
	demand_free(s);
	walks_free(s);
	intake_free(s);
	amp_outbox_free(s->outbox);
	who_table_free(s->who);
	filesystems_free(&s->filesystems);
	verdicts_free(&s->verdicts);
	rules_free(s->rules);
	rules_free(s->next_rules);
	buffers_free(s->buffers);
	event_free(s->pump_event);
	event_free(s->house_timer);
	if (s->cloud)
		amp_channel_free(s->cloud);
	close(s->proc);
	free(s->bin_dir);
	amp_channel_free(g->room.control);
	amp_channel_free(g->mon);
	if (g->reader)
		amp_channel_free(g->reader);
	amp_channel_free(g->cloud);
	if (g->quard)
		amp_channel_free(g->quard);
	close(g->group[0]);
	close(g->group[1]);
	event_base_free(g->room.base);
	free(g);
}

/* --- events --------------------------------------------------------------------- */

static UNUSED struct file_event rig_event(unsigned bits, uint64_t file, const char *name)
{
	struct file_event ev = {.bits = bits,
				.file = st_id(FSID, file),
				.directory = st_id(FSID, 1),
				.name = name,
				.name_size = strlen(name),
				.pid = 1000,
				.pidfd = -1,
				.fd = -1};

	return ev;
}

static UNUSED void rig_deliver(struct rig *g, const struct file_event *ev)
{
	g->s->source_ops.event(ev, g->s->source_ops.arg);
}

/* A file is written and closed. */
static UNUSED void rig_write(struct rig *g, uint64_t file, const char *name)
{
	struct file_event ev = rig_event(EVENT_WRITE, file, name);

	rig_deliver(g, &ev);
}

static UNUSED void rig_ack(struct rig *g, uint64_t *ids, size_t n)
{
	Amp__TakeAck ack = AMP__TAKE_ACK__INIT;

	ack.ids = ids;
	ack.n_ids = n;
	rig_ask(g, AMP_MSG_TAKE_ACK, 0, &ack.base);
	rig_run(g, 5);
}

#endif
