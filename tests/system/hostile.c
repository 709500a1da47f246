/*
 * tests/system/hostile.c - a room that has been taken over.
 *
 * Takes the place of any room's binary: it is that room as far as its walls,
 * its control channel and its heartbeat go, does none of its work, and sends
 * whatever bytes the test wants, on whichever of its links, with as many
 * descriptors as the test wants. Owns: carrying that out. Must not own: what is
 * sent (test_hostile.py).
 *
 * Commands are lines of the file hostile.go beside the binary; those written
 * after the process began are its own if they begin with its pid:
 *     PID LINK COUNT FDS HEX     send the bytes COUNT times, with FDS descriptors
 *     PID LINK close             close the link and live on
 *     PID LINK worker SERIAL GENERATION
 *                                as ampengine: pass one end of a new pair as that worker's
 * LINK is ampmon (the control channel) or a peer, NAME or NAME/INSTANCE, or worker: of the pair that was made
 * or passed last. hostile.early holds one such line without its PID; it is carried out before READY, once.
 * What happens is told in the room's log.
 */
#include "cliserver.h"
#include "log.h"
#include "room.h"

#include "proto/cli.pb-c.h"
#include "proto/engine.pb-c.h"
#include "proto/event.pb-c.h"
#include "proto/quarantine.pb-c.h"
#include "proto/read.pb-c.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define LOOK_MS	   5
#define LINKS	   12
#define FDS_MAX	   253
#define BYTES_MAX  (4 * AMP_MSG_MAX)
#define LINE_MAX_  (2 * BYTES_MAX + 256)
#define PATIENCE_S 10

struct link {
	enum amp_role_id role;
	unsigned instance;
	struct amp_channel *channel;
};

static struct hostile {
	struct amp_room *room;
	enum amp_role_id role;
	char dir[PATH_MAX];
	int go;
	int pid; /* as the host counts */
	struct event *look;
	struct link links[LINKS];
	struct link worker;
	char line[LINE_MAX_];
	size_t line_size;
	uint8_t bytes[BYTES_MAX];
} h;

/* --- sending ------------------------------------------------------------- */

static ssize_t send_once(int fd, const uint8_t *data, size_t size, unsigned fds)
{
	static union {
		struct cmsghdr h;
		char space[CMSG_SPACE(sizeof(int) * FDS_MAX)];
	} control;
	struct iovec iov = {.iov_base = (void *)(uintptr_t)data, .iov_len = size};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};

	if (fds > 0) {
		int passed[FDS_MAX];

		for (unsigned i = 0; i < fds; i++)
			passed[i] = AMP_FD_LOG;
		memset(&control, 0, sizeof(control));
		control.h.cmsg_level = SOL_SOCKET;
		control.h.cmsg_type = SCM_RIGHTS;
		control.h.cmsg_len = CMSG_LEN(sizeof(int) * fds);
		memcpy(CMSG_DATA(&control.h), passed, sizeof(int) * fds);
		msg.msg_control = &control;
		msg.msg_controllen = CMSG_SPACE(sizeof(int) * fds);
	}
	return sendmsg(fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
}

/* Floods wait for the receiver, but not for ever: the heartbeat is to go on. */
static unsigned long send_many(int fd, const uint8_t *data, size_t size, unsigned fds, unsigned long count)
{
	time_t end = time(NULL) + PATIENCE_S;
	unsigned long n = 0;

	while (n < count && time(NULL) <= end) {
		struct pollfd p = {.fd = fd, .events = POLLOUT};

		if (send_once(fd, data, size, fds) >= 0) {
			n++;
			continue;
		}
		if (errno != EAGAIN && errno != ETOOMANYREFS && errno != ENOBUFS)
			break;
		poll(&p, 1, 100);
	}
	return n;
}

/* --- commands ------------------------------------------------------------- */

static struct amp_channel *channel_of(const char *name)
{
	char label[64];

	if (strcmp(name, "ampmon") == 0)
		return amp_room_control(h.room);
	if (strcmp(name, "worker") == 0)
		return h.worker.channel;
	for (size_t i = 0; i < LINKS; i++)
		if (h.links[i].channel &&
		    strcmp(amp_role_label(h.links[i].role, h.links[i].instance, label, sizeof(label)),
			   name) == 0)
			return h.links[i].channel;
	return NULL;
}

static void close_link(const char *name)
{
	for (size_t i = 0; i < LINKS; i++)
		if (h.links[i].channel && h.links[i].channel == channel_of(name)) {
			amp_channel_free(h.links[i].channel);
			h.links[i].channel = NULL;
		}
	amp_info("hostile: closed %s", name);
}

static void be_worker(int fd);

/* One end goes to ampscand, by the other we are what it takes for that worker. */
static void make_worker(const char *name, const char *text)
{
	struct amp_channel *ch = channel_of(name);
	Amp__Worker worker = AMP__WORKER__INIT;
	unsigned long long serial, generation;
	int pair[2];

	if (!ch || sscanf(text, "%llu %llu", &serial, &generation) != 2 || amp_channel_pair(pair) < 0) {
		amp_error("hostile: no worker: %s", strerror(errno));
		return;
	}
	worker.serial = serial;
	worker.generation = generation;
	if (amp_channel_send(ch, AMP_MSG_WORKER, 0, &worker.base, &pair[0], 1) < 0)
		amp_error("hostile: worker not passed: %s", strerror(errno));
	close(pair[0]);
	be_worker(pair[1]);
	amp_info("hostile: made worker %llu", serial);
}

static int hex_digit(char c)
{
	const char *digits = "0123456789abcdef", *at = c ? strchr(digits, c) : NULL;

	return at ? (int)(at - digits) : -1;
}

static size_t read_hex(const char *text)
{
	size_t n = 0;

	while (n < BYTES_MAX && hex_digit(text[2 * n]) >= 0 && hex_digit(text[2 * n + 1]) >= 0) {
		h.bytes[n] = (uint8_t)(hex_digit(text[2 * n]) << 4 | hex_digit(text[2 * n + 1]));
		n++;
	}
	return n;
}

/* LINK COUNT FDS HEX, LINK close, or LINK worker SERIAL GENERATION. */
static void obey(const char *command)
{
	char name[64], how[32];
	unsigned long count, sent;
	unsigned fds;
	int at = 0;
	struct amp_channel *ch;
	size_t size;

	if (sscanf(command, "%63s %31s", name, how) == 2 && strcmp(how, "close") == 0) {
		close_link(name);
		return;
	}
	if (sscanf(command, "%63s worker %n", name, &at) == 1 && at > 0) {
		make_worker(name, command + at);
		return;
	}
	if (sscanf(command, "%63s %lu %u %n", name, &count, &fds, &at) < 3 || fds > FDS_MAX) {
		amp_error("hostile: what is \"%.60s\"?", command);
		return;
	}
	ch = channel_of(name);
	if (!ch) {
		amp_error("hostile: no link %s", name);
		return;
	}
	size = read_hex(command + at);
	sent = send_many(amp_channel_fd(ch), h.bytes, size, fds, count);
	amp_info("hostile: sent %lu of %lu to %s", sent, count, name);
}

static void obey_if_mine(const char *line)
{
	char *end;
	long pid = strtol(line, &end, 10);

	if (pid == h.pid && *end == ' ')
		obey(end + 1);
}

static void take_lines(void)
{
	char *newline;

	h.line[h.line_size] = '\0';
	while ((newline = memchr(h.line, '\n', h.line_size))) {
		size_t used = (size_t)(newline + 1 - h.line);

		*newline = '\0';
		obey_if_mine(h.line);
		h.line_size -= used;
		memmove(h.line, newline + 1, h.line_size + 1);
	}
}

static void look(evutil_socket_t fd, short what, void *arg)
{
	ssize_t n;

	(void)fd;
	(void)what;
	(void)arg;
	while ((n = read(h.go, h.line + h.line_size, sizeof(h.line) - 1 - h.line_size)) > 0) {
		h.line_size += (size_t)n;
		take_lines();
	}
}

static void obey_early(void)
{
	char path[PATH_MAX + 16];
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "%s/hostile.early", h.dir);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return;
	unlink(path);
	n = read(fd, h.line, sizeof(h.line) - 1);
	close(fd);
	h.line[n > 0 ? n : 0] = '\0';
	obey(h.line);
}

/* --- what comes in ---------------------------------------------------------- */

/* Of a READ the first job's number, of an OPEN or SCAN its id: the test may want it answered. */
static int on_any(struct amp_channel *ch, struct amp_message *m, void *arg)
{
	unsigned long long job = 0;

	(void)arg;
	if (m->type == AMP_MSG_READ && ((const Amp__Read *)m->body)->n_items > 0)
		job = (unsigned long long)((const Amp__Read *)m->body)->items[0]->job;
	if (m->type == AMP_MSG_OPEN || m->type == AMP_MSG_SCAN)
		job = (unsigned long long)m->id;
	if (m->type == AMP_MSG_SCAN_VERDICT)
		amp_info("hostile: answered by %s", amp_channel_name(ch));
	amp_debug("hostile: message %04x", m->type);
	if (job)
		amp_info("hostile: asked %llu by %s", job, amp_channel_name(ch));
	return 0;
}

static int on_policy_end(struct amp_channel *ch, struct amp_message *m, void *arg)
{
	Amp__PolicyAck ack = AMP__POLICY_ACK__INIT;

	(void)arg;
	ack.epoch = ((const Amp__PolicyEnd *)m->body)->epoch;
	return amp_channel_send(ch, AMP_MSG_POLICY_ACK, 0, &ack.base, NULL, 0);
}

#define WHOLE (AMP_MSG_MAX - (uint32_t)sizeof(struct amp_wire_header))
#define ANY_ROW(t, body, fds)                                                                                \
	{                                                                                                    \
		(t), &amp__##body##__descriptor, WHOLE, 0, (fds), 0, on_any                                  \
	}

/* As ampengine: the test makes them, one by one. */
static int on_spawn(struct amp_channel *ch, struct amp_message *m, void *arg)
{
	(void)ch;
	(void)arg;
	for (uint32_t i = 0; i < ((const Amp__Spawn *)m->body)->count && i < LINKS; i++)
		amp_info("hostile: a worker is wanted");
	return 0;
}

/* As ampengine: whoever is to be killed is gone, so that it is the worker's matter alone. */
static int on_kill_worker(struct amp_channel *ch, struct amp_message *m, void *arg)
{
	Amp__WorkerGone gone = AMP__WORKER_GONE__INIT;

	(void)arg;
	gone.serial = ((const Amp__KillWorker *)m->body)->serial;
	gone.signal = SIGKILL;
	amp_info("hostile: told to kill worker %llu", (unsigned long long)gone.serial);
	return amp_channel_send(ch, AMP_MSG_WORKER_GONE, 0, &gone.base, NULL, 0);
}

/* As ampscand: the worker is ours to talk to. */
static int on_worker(struct amp_channel *ch, struct amp_message *m, void *arg)
{
	(void)ch;
	(void)arg;
	if (m->fd_count == 1)
		be_worker(amp_message_take_fd(m, 0));
	amp_info("hostile: got worker %llu", (unsigned long long)((const Amp__Worker *)m->body)->serial);
	return 0;
}

static const struct amp_dispatch link_rows[] = {
	ANY_ROW(AMP_MSG_READ, read, AMP_MSG_MAX_FDS),
	ANY_ROW(AMP_MSG_READ_DONE, read_done, AMP_MSG_MAX_FDS),
	ANY_ROW(AMP_MSG_WALK, walk, 0),
	ANY_ROW(AMP_MSG_WALK_CREDIT, walk_credit, 0),
	ANY_ROW(AMP_MSG_WALK_CANCEL, walk_cancel, 0),
	ANY_ROW(AMP_MSG_WALK_ENTRIES, walk_entries, 0),
	ANY_ROW(AMP_MSG_WALK_DONE, walk_done, 0),
	ANY_ROW(AMP_MSG_WALK_MARK, walk_mark, 0),
	ANY_ROW(AMP_MSG_WALK_GO, walk_go, 0),
	ANY_ROW(AMP_MSG_EVENT, event, 0),
	ANY_ROW(AMP_MSG_EVENT_ACK, event_ack, 0),
	ANY_ROW(AMP_MSG_TAKE, take, 1),
	ANY_ROW(AMP_MSG_TAKE_ACK, take_ack, 0),
	ANY_ROW(AMP_MSG_OPEN, open, 0),
	ANY_ROW(AMP_MSG_OPENED, opened, 2),
	ANY_ROW(AMP_MSG_KILL_AGAIN, kill_again, 0),
	ANY_ROW(AMP_MSG_KILLED_AGAIN, killed_again, 0),
	ANY_ROW(AMP_MSG_JUDGE_AGAIN, judge_again, 0),
	ANY_ROW(AMP_MSG_ALLOW, allow, 0),
	ANY_ROW(AMP_MSG_ALLOW_ACK, allow_ack, 0),
	ANY_ROW(AMP_MSG_HANDS, hands, 0),
	ANY_ROW(AMP_MSG_ENGINE_STATE, engine_state, 0),
	{AMP_MSG_SPAWN, &amp__spawn__descriptor, WHOLE, 0, 0, 0, on_spawn},
	{AMP_MSG_WORKER, &amp__worker__descriptor, WHOLE, 0, 1, 0, on_worker},
	ANY_ROW(AMP_MSG_WORKER_GONE, worker_gone, 0),
	{AMP_MSG_KILL_WORKER, &amp__kill_worker__descriptor, WHOLE, 0, 0, 0, on_kill_worker},
	ANY_ROW(AMP_MSG_SCAN, scan, 1),
	ANY_ROW(AMP_MSG_SCAN_VERDICT, scan_verdict, 0),
};

static const struct amp_dispatch control_rows[] = {
	ANY_ROW(AMP_MSG_SOURCE, source, 1),
	ANY_ROW(AMP_MSG_BUFFERS, buffers, 1),
	ANY_ROW(AMP_MSG_FILESYSTEM, file_system, 0),
	ANY_ROW(AMP_MSG_FILESYSTEM_GONE, filesystem_gone, 0),
	ANY_ROW(AMP_MSG_OWN_DIRECTORY, own_directory, 0),
	ANY_ROW(AMP_MSG_POLICY_BEGIN, policy_begin, 0),
	ANY_ROW(AMP_MSG_POLICY_ENTRIES, policy_entries, 0),
	{AMP_MSG_POLICY_END, &amp__policy_end__descriptor, WHOLE, 0, 0, 0, on_policy_end},
	ANY_ROW(AMP_MSG_REPAIR, repair, 0),
	ANY_ROW(AMP_MSG_RUNNING, running, 0),
	ANY_ROW(AMP_MSG_KILLED, killed, 0),
	ANY_ROW(AMP_MSG_EVENT, event, 0),
	ANY_ROW(AMP_MSG_EVENTS_FILE, events_file, 2),
	ANY_ROW(AMP_MSG_RELOAD, reload, 0),
	ANY_ROW(AMP_MSG_FOUNDATION, foundation, 0),
	ANY_ROW(AMP_MSG_KEPT, kept, 0),
	ANY_ROW(AMP_MSG_KEEPS, keeps, 0),
	ANY_ROW(AMP_MSG_MAPPED_FILES, mapped_files, 0),
};

static void on_end(struct amp_channel *ch, enum amp_channel_end end, const char *why, void *arg)
{
	struct link *l = arg;

	(void)end;
	amp_info("hostile: %s ended: %s", amp_channel_name(ch), why);
	l->channel = NULL;
	amp_channel_free(ch);
}

static void be_worker(int fd)
{
	const struct amp_channel_config config = {
		.name = "worker",
		.table = link_rows,
		.rows = sizeof(link_rows) / sizeof(link_rows[0]),
		.on_end = on_end,
		.arg = &h.worker,
	};

	if (h.worker.channel)
		amp_channel_free(h.worker.channel);
	h.worker.channel = amp_channel_new(amp_room_base(h.room), fd, &config);
}

/* --- the room ---------------------------------------------------------------- */

static struct link *link_slot(enum amp_role_id role, unsigned instance)
{
	for (size_t i = 0; i < LINKS; i++)
		if (h.links[i].role == role && h.links[i].instance == instance)
			return &h.links[i];
	for (size_t i = 0; i < LINKS; i++)
		if (h.links[i].role == AMP_ROLE_NONE)
			return &h.links[i];
	return NULL;
}

/* ampscand's work waits for a keeper's list of what was restored. */
static void tell_empty_list(struct amp_channel *ch)
{
	Amp__Allow none = AMP__ALLOW__INIT;

	none.begin = none.end = true;
	if (amp_channel_send(ch, AMP_MSG_ALLOW, 1, &none.base, NULL, 0) != 0)
		amp_error("hostile: no list: %s", strerror(errno));
}

/* So that ampscand gives it work. */
static void tell_engine_is_ready(struct amp_channel *ch)
{
	Amp__EngineState st = AMP__ENGINE_STATE__INIT;
	char version[] = "hostile";

	st.state = AMP__ENGINE_STATE__STATE__READY;
	st.generation = 1;
	st.signatures = 1;
	st.version = version;
	st.workers_max = 4;
	if (amp_channel_send(ch, AMP_MSG_ENGINE_STATE, 0, &st.base, NULL, 0) != 0)
		amp_error("hostile: no state: %s", strerror(errno));
}

static void on_link(struct amp_room *room, enum amp_role_id role, unsigned instance, unsigned generation,
		    int fd)
{
	struct link *l = link_slot(role, instance);
	char label[64];
	struct amp_channel_config config = {
		.name = amp_role_label(role, instance, label, sizeof(label)),
		.table = link_rows,
		.rows = sizeof(link_rows) / sizeof(link_rows[0]),
		.on_end = on_end,
		.arg = l,
	};

	if (!l) {
		close(fd);
		return;
	}
	if (l->channel)
		amp_channel_free(l->channel);
	l->role = role;
	l->instance = instance;
	l->channel = amp_channel_new(amp_room_base(room), fd, &config);
	if (h.role == AMP_ROLE_QUARD && role == AMP_ROLE_SCAN)
		tell_empty_list(l->channel);
	if (h.role == AMP_ROLE_ENGINE && role == AMP_ROLE_SCAN)
		tell_engine_is_ready(l->channel);
	amp_info("hostile: pid %d link %s generation %u", h.pid, label, generation);
}

static int on_cli_status(struct amp_channel *client, struct amp_message *m, void *arg)
{
	Amp__CliStatusReply reply = AMP__CLI_STATUS_REPLY__INIT;
	int rc;

	(void)arg;
	reply.service = (char *)(uintptr_t)amp_role(h.role)->name;
	reply.n_counters = amp_cli_counters(&reply.counters);
	rc = amp_channel_send(client, AMP_MSG_CLI_STATUS_REPLY, m->id, &reply.base, NULL, 0);
	free(reply.counters);
	return rc;
}

static const struct amp_dispatch cli_rows[] = {
	{AMP_MSG_CLI_STATUS, &amp__cli_status__descriptor, 0, 0, 0, 0, on_cli_status},
};

/* As who writes commands knows us: our own number for it is another where pids are the room's own. */
static int host_pid(void)
{
	char text[16] = "";
	ssize_t n = readlink("/proc/self", text, sizeof(text) - 1);

	return n > 0 ? (int)strtol(text, NULL, 10) : 0;
}

static int open_room(struct amp_room *room, const Amp__Conf *conf)
{
	char path[PATH_MAX + 16], *slash;
	ssize_t n = readlink("/proc/self/exe", h.dir, sizeof(h.dir) - 1);

	(void)conf;
	h.room = room;
	h.pid = host_pid();
	h.dir[n > 0 ? n : 0] = '\0';
	slash = strrchr(h.dir, '/');
	if (slash)
		*slash = '\0';
	snprintf(path, sizeof(path), "%s/hostile.go", h.dir);
	h.go = open(path, O_RDONLY | O_CLOEXEC);
	if (h.go < 0 || lseek(h.go, 0, SEEK_END) < 0) {
		amp_error("hostile: %s: %s", path, strerror(errno));
		return -1;
	}
	obey_early();
	return 0;
}

static int ready(struct amp_room *room)
{
	const struct timeval often = {.tv_usec = LOOK_MS * 1000};

	h.look = event_new(amp_room_base(room), -1, EV_PERSIST, look, NULL);
	if (!h.look || event_add(h.look, &often) < 0)
		return -1;
	amp_info("hostile: pid %d ready", h.pid);
	return 0;
}

int main(int argc, char **argv)
{
	static struct amp_room_ops ops = {
		.open = open_room,
		.ready = ready,
		.link = on_link,
		.control = control_rows,
		.control_rows = sizeof(control_rows) / sizeof(control_rows[0]),
		.cli = cli_rows,
		.cli_rows = sizeof(cli_rows) / sizeof(cli_rows[0]),
	};
	const struct amp_role *role = argc > 0 ? amp_role_by_name(argv[0]) : NULL;

	if (!role) {
		fprintf(stderr, "takes the place of a room's binary in tests/system/test_hostile.py\n");
		return 1;
	}
	ops.role = h.role = role->id;
	ops.single_threaded = role->id == AMP_ROLE_ENGINE;
	return amp_room_main(&ops, NULL);
}
