/*
 * lib/room.c - the life of a room: CONF, open, drop, READY, loop, leave.
 *
 * Owns: the control channel on fd 3 and the order of the steps. Until the
 * walls stand exactly one message is read, CONF; the channel is paused while
 * the room builds itself. Must not own: the room's work, ampmon's side.
 *
 * ampmon's end of the channel is the room's reason to live: when it is gone,
 * so is the room, at once and without cleaning up.
 */
#include "room.h"

#include "cliserver.h"
#include "log.h"
#include "text.h"

#include <errno.h>
#include <event2/event.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define CONF_SECONDS	 10
#define CONF_MAX	 (12 * PATH_MAX) /* three paths, eight directories of signatures, the rest */
#define FLUSH_MS	 1000
#define DRAIN_MS	 200
#define MAX_FEATURES	 32
#define MAX_CONTROL_ROWS 64

#define EXIT_SETUP    1 /* what must be open could not be opened */
#define EXIT_PROTOCOL 2 /* ampmon said something this room cannot understand */
#define EXIT_WALL     3 /* a wall could not be built */

/* Bits of the control channel's state. */
enum { STATE_WAITING = 1, STATE_CONFIGURED = 2, STATE_STARTED = 4 };
#define STATE_LIVING (STATE_CONFIGURED | STATE_STARTED)

struct amp_room {
	const struct amp_room_ops *ops;
	const struct amp_role *role;
	void *arg;
	struct event_base *base;
	struct amp_channel *control;
	struct amp_cliserver *cli;
	Amp__Conf *conf; /* a copy: the message is gone when its handler returns */
	char *view_dir, *data_dir;
	char label[64];
	char landlock[32];
	struct amp_dispatch table[MAX_CONTROL_ROWS];
	size_t rows;
	const char *in_use[MAX_FEATURES], *missing[MAX_FEATURES];
	size_t n_in_use, n_missing;
	pid_t peer_pid; /* of the link in hand */
	bool timed_out, stopping;
};

struct event_base *amp_room_base(struct amp_room *room)
{
	return room->base;
}

void *amp_room_arg(struct amp_room *room)
{
	return room->arg;
}

unsigned amp_room_instance(const struct amp_room *room)
{
	return room->conf->instance;
}

const char *amp_room_host_id(const struct amp_room *room)
{
	return room->conf->host_id;
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

/* --- what the room tells ampmon ---------------------------------------- */

/* Text for a string field: as it is, or escaped in buf if it is not UTF-8. */
static char *wire_text(const char *text, char *buf, size_t size)
{
	if (!text)
		text = "";
	if (amp_text_is_utf8(text, strlen(text)))
		return (char *)(uintptr_t)text;
	amp_text_escape(text, strlen(text), buf, size);
	return buf;
}

static void tell(struct amp_room *room, uint16_t type, uint64_t id, const ProtobufCMessage *body)
{
	if (amp_channel_send(room->control, type, id, body, NULL, 0) < 0)
		amp_error("%s not told to ampmon: %s", body->descriptor->short_name, strerror(errno));
}

void amp_room_fault(struct amp_room *room, enum amp_fault_number n, bool raised, const char *detail)
{
	Amp__Fault fault = AMP__FAULT__INIT;
	char buf[1024];

	fault.number = n;
	fault.raised = raised;
	fault.detail = wire_text(detail, buf, sizeof(buf));
	tell(room, AMP_MSG_FAULT, 0, &fault.base);
}

void amp_room_hostile(struct amp_room *room, enum amp_role_id peer, unsigned instance, unsigned generation,
		      const char *why)
{
	Amp__PeerHostile hostile = AMP__PEER_HOSTILE__INIT;
	char buf[1024];

	hostile.role = peer;
	hostile.instance = instance;
	hostile.generation = generation;
	hostile.why = wire_text(why, buf, sizeof(buf));
	tell(room, AMP_MSG_PEER_HOSTILE, 0, &hostile.base);
}

void amp_room_feature(struct amp_room *room, const char *name, bool in_use)
{
	const char **list = in_use ? room->in_use : room->missing;
	size_t *n = in_use ? &room->n_in_use : &room->n_missing;

	for (size_t i = 0; i < *n; i++)
		if (strcmp(list[i], name) == 0)
			return;
	if (*n == MAX_FEATURES) {
		amp_error("feature %s not shown: more than %d", name, MAX_FEATURES);
		return;
	}
	list[(*n)++] = name;
}

static void say_ready(struct amp_room *room)
{
	Amp__Ready ready = AMP__READY__INIT;

	ready.n_in_use = room->n_in_use;
	ready.in_use = (char **)(uintptr_t)room->in_use;
	ready.n_missing = room->n_missing;
	ready.missing = (char **)(uintptr_t)room->missing;
	tell(room, AMP_MSG_READY, 0, &ready.base);
}

/* --- control messages --------------------------------------------------- */

/* A path of the configuration: absolute, no NUL. Empty: *out is NULL. */
static int conf_path(const ProtobufCBinaryData *b, char **out)
{
	*out = NULL;
	if (b->len == 0)
		return 0;
	if (b->len >= PATH_MAX || b->data[0] != '/' || memchr(b->data, 0, b->len))
		return -1;
	*out = strndup((const char *)b->data, b->len);
	return *out ? 0 : -1;
}

/* The answerer of this message is root's child still: no id may stay 0. */
static bool conf_sound(const struct amp_room *room, const Amp__Conf *c)
{
	return c->instance < room->role->instances && c->log_level <= AMP_LOG_DEBUG && c->uid != 0 &&
	       c->gid != 0 && c->uid != (uid_t)-1 && c->gid != (gid_t)-1 && c->host_id[0] != '\0';
}

static Amp__Conf *conf_copy(const Amp__Conf *c)
{
	size_t size = amp__conf__get_packed_size(c);
	uint8_t *packed = malloc(size + 1);
	Amp__Conf *copy;

	if (!packed)
		return NULL;
	amp__conf__pack(c, packed);
	copy = amp__conf__unpack(NULL, size, packed);
	free(packed);
	return copy;
}

static int on_conf(struct amp_channel *ch, struct amp_message *m, void *arg)
{
	struct amp_room *room = arg;
	const Amp__Conf *c = (const Amp__Conf *)m->body;

	if (!conf_sound(room, c) || conf_path(&c->view_dir, &room->view_dir) < 0 ||
	    conf_path(&c->data_dir, &room->data_dir) < 0)
		return -1;
	room->conf = conf_copy(c);
	if (!room->conf)
		amp_fatal("no memory for the configuration");
	amp_channel_set_state(ch, STATE_CONFIGURED);
	amp_channel_pause_read(ch, true);
	return 0;
}

static int on_link(struct amp_channel *ch, struct amp_message *m, void *arg)
{
	struct amp_room *room = arg;
	const Amp__Link *l = (const Amp__Link *)m->body;
	const struct amp_role *peer = l->role < AMP_ROLE_COUNT ? amp_role((enum amp_role_id)l->role) : NULL;

	(void)ch;
	if (!peer || !amp_role_linked(room->role->id, peer->id) || l->instance >= peer->instances ||
	    l->pid <= 1 || !room->ops->link)
		return -1;
	room->peer_pid = l->pid;
	room->ops->link(room, peer->id, l->instance, l->generation, amp_message_take_fd(m, 0));
	room->peer_pid = 0;
	return 0;
}

static int on_start(struct amp_channel *ch, struct amp_message *m, void *arg)
{
	struct amp_room *room = arg;

	(void)m;
	amp_channel_set_state(ch, STATE_STARTED);
	if (room->ops->start)
		room->ops->start(room);
	return 0;
}

static int on_ping(struct amp_channel *ch, struct amp_message *m, void *arg)
{
	struct amp_room *room = arg;
	struct amp_iothread *io = room->ops->iothread ? room->ops->iothread(room) : NULL;
	Amp__Pong pong = AMP__PONG__INIT;

	(void)ch;
	pong.seq = ((const Amp__Ping *)m->body)->seq;
	if (io) {
		pong.io_steps = amp_iothread_steps(io);
		pong.io_busy = amp_iothread_busy(io);
	}
	tell(room, AMP_MSG_PONG, m->id, &pong.base);
	return 0;
}

static int on_log_file(struct amp_channel *ch, struct amp_message *m, void *arg)
{
	int fd = amp_message_take_fd(m, 0);

	(void)ch;
	(void)arg;
	if (amp_log_replace_fd(fd) < 0)
		amp_error("log file not replaced: %s", strerror(errno));
	close(fd);
	return 0;
}

static int on_stop(struct amp_channel *ch, struct amp_message *m, void *arg)
{
	struct amp_room *room = arg;

	(void)m;
	room->stopping = true;
	amp_channel_pause_read(ch, true);
	event_base_loopbreak(room->base);
	return 0;
}

#define ROW(message, descriptor_name, length, fds, state_bits, function)                                     \
	{                                                                                                    \
		.type = (message), .descriptor = &amp__##descriptor_name##__descriptor,                      \
		.max_length = (length), .min_fds = (fds), .max_fds = (fds), .states = (state_bits),          \
		.handler = (function)                                                                        \
	}

static const struct amp_dispatch common_rows[] = {
	ROW(AMP_MSG_CONF, conf, CONF_MAX, 0, STATE_WAITING, on_conf),
	ROW(AMP_MSG_LINK, link, 64, 1, STATE_LIVING, on_link),
	ROW(AMP_MSG_START, start, 0, 0, STATE_CONFIGURED, on_start),
	ROW(AMP_MSG_PING, ping, 16, 0, STATE_LIVING, on_ping),
	ROW(AMP_MSG_LOG_FILE, log_file, 0, 1, STATE_LIVING, on_log_file),
	ROW(AMP_MSG_STOP, stop, 0, 0, STATE_LIVING, on_stop),
};
#define COMMON_ROWS (sizeof(common_rows) / sizeof(common_rows[0]))

/* Common rows first: a room's row of the same type is never reached. A room's
 * own rows hold from CONF on, never before. */
static int build_table(struct amp_room *room)
{
	if (room->ops->control_rows > MAX_CONTROL_ROWS - COMMON_ROWS)
		return -1;
	memcpy(room->table, common_rows, sizeof(common_rows));
	for (size_t i = 0; i < room->ops->control_rows; i++) {
		struct amp_dispatch *row = &room->table[COMMON_ROWS + i];

		*row = room->ops->control[i];
		row->states = row->states ? row->states & STATE_LIVING : STATE_LIVING;
	}
	room->rows = COMMON_ROWS + room->ops->control_rows;
	return 0;
}

static void leave(int status) __attribute__((noreturn));
static void leave(int status)
{
	amp_log_drain(DRAIN_MS);
	_exit(status); /* no atexit work: threads of the room may be at anything */
}

static void control_end(struct amp_channel *ch, enum amp_channel_end end, const char *why, void *arg)
{
	(void)ch;
	(void)arg;
	if (end == AMP_CHANNEL_HOSTILE) {
		amp_error("control channel: %s; are all binaries of the same version?", why);
		leave(EXIT_PROTOCOL);
	}
	amp_info("ampmon is gone; leaving");
	leave(0);
}

/* --- the steps ----------------------------------------------------------- */

static void ignore_signals(void)
{
	static const int ignored[] = {SIGPIPE, SIGINT, SIGHUP};

	for (size_t i = 0; i < sizeof(ignored) / sizeof(ignored[0]); i++)
		signal(ignored[i], SIG_IGN);
}

/* One thread runs the loop and everything that touches it: no locks. Made
 * before the walls: its descriptors cannot be made after them. */
static struct event_base *make_base(void)
{
	struct event_config *config = event_config_new();
	struct event_base *base = NULL;

	if (!config)
		return NULL;
	if (event_config_set_flag(config, EVENT_BASE_FLAG_NOLOCK | EVENT_BASE_FLAG_IGNORE_ENV) == 0)
		base = event_base_new_with_config(config);
	event_config_free(config);
	return base;
}

static bool is_socket(int fd)
{
	struct stat st;

	return fstat(fd, &st) == 0 && S_ISSOCK(st.st_mode);
}

static bool serves_clients(const struct amp_room *room)
{
	return room->role->cli_socket && room->ops->cli;
}

/* Before anything is opened: else one of our own could stand on the number. */
static bool descriptors_given(const struct amp_room *room)
{
	return is_socket(AMP_FD_CONTROL) && (!serves_clients(room) || is_socket(AMP_FD_CLI));
}

static int setup(struct amp_room *room)
{
	struct amp_channel_config config = {
		.name = "ampmon",
		.table = room->table,
		.on_end = control_end,
		.arg = room,
	};

	ignore_signals();
	if (!descriptors_given(room)) {
		fprintf(stderr, "%s: is started by ampmon only\n", room->role->name);
		return -1;
	}
	amp_log_open(room->role->name, AMP_FD_LOG, AMP_LOG_INFO);
	if (build_table(room) < 0) {
		amp_error("too many rows for the control channel");
		return -1;
	}
	config.rows = room->rows;
	room->base = make_base();
	if (room->base)
		room->control = amp_channel_new(room->base, AMP_FD_CONTROL, &config);
	if (!room->control)
		amp_error("control channel: %s", strerror(errno));
	return room->control ? 0 : -1;
}

static void conf_late(evutil_socket_t fd, short what, void *arg)
{
	struct amp_room *room = arg;

	(void)fd;
	(void)what;
	room->timed_out = true;
}

/* The only wait of a room; nothing but CONF is served during it. */
static int await_conf(struct amp_room *room)
{
	const struct timeval limit = {.tv_sec = CONF_SECONDS};
	struct event *late = evtimer_new(room->base, conf_late, room);

	if (!late || event_add(late, &limit) < 0)
		return -1;
	while (!room->conf && !room->timed_out)
		if (event_base_loop(room->base, EVLOOP_ONCE) < 0)
			break;
	event_free(late);
	if (room->conf)
		return 0;
	amp_error("no configuration within %d seconds", CONF_SECONDS);
	return -1;
}

static int configure(struct amp_room *room)
{
	amp_role_label(room->role->id, room->conf->instance, room->label, sizeof(room->label));
	amp_log_open(room->label, AMP_FD_LOG, (enum amp_log_level)room->conf->log_level);
	if (room->ops->open && room->ops->open(room, room->conf) < 0)
		return -1;
	if (!serves_clients(room))
		return 0;
	room->cli = amp_cliserver_new(room->base, AMP_FD_CLI,
				      &(struct amp_cliserver_config){
					      .table = room->ops->cli,
					      .rows = room->ops->cli_rows,
					      .group = room->conf->cli_gid,
					      .arg = room,
				      });
	if (!room->cli)
		amp_error("CLI socket: %s", strerror(errno));
	return room->cli ? 0 : -1;
}

static int before_seal(void *arg)
{
	struct amp_room *room = arg;

	if ((room->ops->single_threaded ? amp_log_stay_single() : amp_log_start_thread()) < 0)
		return -1;
	return room->ops->before_seal ? room->ops->before_seal(room) : 0;
}

static int build_walls(struct amp_room *room)
{
	struct amp_drop d = {
		.role = room->role,
		.instance = room->conf->instance,
		.uid = room->conf->uid,
		.gid = room->conf->gid,
		.view_dir = room->view_dir,
		.data_dir = room->data_dir,
		.before_seal = before_seal,
		.arg = room,
	};
	const char *wall = "unknown";
	char detail[256];

	if (room->ops->mounts)
		d.mounts = room->ops->mounts(room, &d.mount_count);
	if (amp_drop(&d, &wall) == 0)
		return 0;
	snprintf(detail, sizeof(detail), "%s: wall %s: %s", room->label, wall, strerror(errno));
	amp_error("%s", detail);
	amp_room_fault(room, AMP_FAULT_WALL, true, detail);
	amp_channel_flush(room->control, FLUSH_MS);
	return -1;
}

/* "landlock 6": ampmon shows the number as it stands. */
static void note_landlock(struct amp_room *room)
{
	int abi = amp_drop_landlock_abi();

	if (!room->role->landlock)
		return;
	if (abi > 0)
		snprintf(room->landlock, sizeof(room->landlock), "landlock %d", abi);
	amp_room_feature(room, abi > 0 ? room->landlock : "landlock", abi > 0);
}

static int become_ready(struct amp_room *room)
{
	note_landlock(room);
	if (room->ops->ready && room->ops->ready(room) < 0)
		return -1;
	say_ready(room);
	amp_channel_pause_read(room->control, false);
	return 0;
}

static void run(struct amp_room *room)
{
	while (!room->stopping)
		if (event_base_dispatch(room->base) != 0)
			amp_fatal("event loop: %s", strerror(errno));
	if (room->ops->stop)
		room->ops->stop(room);
	amp_channel_flush(room->control, FLUSH_MS);
	amp_log_drain(DRAIN_MS);
}

static void tear_down(struct amp_room *room)
{
	amp_cliserver_free(room->cli);
	amp_channel_free(room->control);
	if (room->base)
		event_base_free(room->base);
	if (room->conf)
		amp__conf__free_unpacked(room->conf, NULL);
	free(room->view_dir);
	free(room->data_dir);
}

int amp_room_main(const struct amp_room_ops *ops, void *arg)
{
	struct amp_room room = {.ops = ops, .role = amp_role(ops->role), .arg = arg};
	int status = EXIT_SETUP;

	if (!room.role)
		return EXIT_SETUP;
	if (setup(&room) == 0 && await_conf(&room) == 0 && configure(&room) == 0) {
		if (build_walls(&room) < 0) {
			status = EXIT_WALL;
		} else if (become_ready(&room) == 0) {
			run(&room);
			status = 0;
		}
	}
	amp_log_drain(DRAIN_MS);
	tear_down(&room);
	return status;
}
