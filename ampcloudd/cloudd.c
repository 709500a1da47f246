/*
 * ampcloudd/cloudd.c - the room's glue (see cloudd.h).
 *
 * The database is opened by the I/O thread once the walls stand: nothing of
 * SQLite reads a file while this process is root.
 */
#include "cloudd.h"

#include "cliserver.h"
#include "db.h"
#include "history.h"
#include "ingest.h"
#include "log.h"
#include "room.h"
#include "shipper.h"
#include "store.h"

#include "proto/cli.pb-c.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Inside the pivoted view. */
#define DATABASE      "/data/events.db"
#define RESERVE	      "/data/events.reserve"
#define RESERVE_SIZE  ((size_t)1 << 20)
#define FLUSH_MS      500
#define EVENT_MAX     (AMP_MSG_MAX - sizeof(struct amp_wire_header))
#define QUESTION_MAX  512
#define ORIGIN_AMPMON 0 /* links count from 1 */

/* Who sends events: one process of each. */
static const enum amp_role_id peer_roles[] = {AMP_ROLE_SCAN, AMP_ROLE_QUARD};
#define PEERS (sizeof(peer_roles) / sizeof(*peer_roles))

/* A link; a new one has a new serial, so no answer to the old one's events
 * ever goes to it. */
struct peer {
	struct cloudd *cloudd;
	struct amp_channel *channel;
	uint64_t serial;
	enum amp_role_id role;
	unsigned instance, generation;
};

struct cloudd {
	struct amp_room *room;
	struct amp_iothread *io;
	struct store *store;
	struct ingest *ingest;
	struct history *history;
	struct shipper *shipper;
	struct amp_cliserver *cli;
	struct peer peers[PEERS]; /* as in peer_roles */
	uint64_t serials;
};

/* --- events ---------------------------------------------------------------- */

static int on_peer_event(struct amp_channel *ch, struct amp_message *m, void *arg)
{
	struct peer *peer = arg;

	(void)ch;
	return ingest_event(peer->cloudd->ingest, peer->serial, m->id, (const Amp__Event *)m->body);
}

static int on_ampmon_event(struct amp_channel *ch, struct amp_message *m, void *arg)
{
	struct cloudd *c = amp_room_arg(arg);

	(void)ch;
	return ingest_event(c->ingest, ORIGIN_AMPMON, m->id, (const Amp__Event *)m->body);
}

static const struct amp_dispatch link_rows[] = {
	{AMP_MSG_EVENT, &amp__event__descriptor, EVENT_MAX, 0, 0, 0, on_peer_event},
};

/* The file and, if there is one, the one before it. */
static int on_events_file(struct amp_channel *ch, struct amp_message *m, void *arg)
{
	struct cloudd *c = amp_room_arg(arg);
	int fd = amp_message_take_fd(m, 0);

	(void)ch;
	shipper_file(c->shipper, fd, amp_message_take_fd(m, 1));
	return 0;
}

static const struct amp_dispatch control_rows[] = {
	{AMP_MSG_EVENT, &amp__event__descriptor, EVENT_MAX, 0, 0, 0, on_ampmon_event},
	{AMP_MSG_EVENTS_FILE, &amp__events_file__descriptor, 0, 1, 2, 0, on_events_file},
};

static struct peer *peer_of_role(struct cloudd *c, enum amp_role_id role)
{
	for (size_t i = 0; i < PEERS; i++)
		if (peer_roles[i] == role)
			return &c->peers[i];
	return NULL;
}

static struct peer *peer_of_origin(struct cloudd *c, uint64_t origin)
{
	for (size_t i = 0; i < PEERS; i++)
		if (c->peers[i].channel && c->peers[i].serial == origin)
			return &c->peers[i];
	return NULL;
}

static void drop_peer(struct peer *peer)
{
	if (peer->channel)
		amp_channel_free(peer->channel);
	peer->channel = NULL;
}

static void peer_hostile(struct peer *peer, const char *why)
{
	amp_room_hostile(peer->cloudd->room, peer->role, peer->instance, peer->generation, why);
	drop_peer(peer);
}

/*
 * An acknowledgement that cannot be sent would never be sent again: a peer
 * that lets them pile up is replaced, and its successor sends the events again.
 */
static void send_ack(uint64_t origin, const uint64_t *ids, size_t n, void *arg)
{
	struct cloudd *c = arg;
	struct peer *peer = peer_of_origin(c, origin);
	struct amp_channel *ch = peer ? peer->channel : NULL;
	Amp__EventAck ack = AMP__EVENT_ACK__INIT;

	if (origin == ORIGIN_AMPMON)
		ch = amp_room_control(c->room);
	if (!ch)
		return;
	ack.ids = (uint64_t *)(uintptr_t)ids;
	ack.n_ids = n;
	if (amp_channel_send(ch, AMP_MSG_EVENT_ACK, 0, &ack.base, NULL, 0) == 0 || errno == ENOTCONN)
		return;
	amp_error("%s: acknowledgement not sent: %s", amp_channel_name(ch), strerror(errno));
	if (peer)
		peer_hostile(peer, "does not read its acknowledgements");
}

/* The control channel is never paused: the heartbeat comes over it, and
 * ampmon has few events. */
static void set_paused(bool paused, void *arg)
{
	struct cloudd *c = arg;

	for (size_t i = 0; i < PEERS; i++)
		if (c->peers[i].channel)
			amp_channel_pause_read(c->peers[i].channel, paused);
	amp_info("%s reading events", paused ? "too many wait: not" : "again");
}

static void rows_added(void *arg)
{
	struct cloudd *c = arg;

	shipper_look(c->shipper);
}

static void tell_fault(enum amp_fault_number n, bool raised, const char *detail, void *arg)
{
	struct cloudd *c = arg;

	amp_room_fault(c->room, n, raised, detail);
}

/* --- links --------------------------------------------------------------- */

static void peer_ended(struct amp_channel *ch, enum amp_channel_end end, const char *why, void *arg)
{
	struct peer *peer = arg;

	(void)ch;
	if (end == AMP_CHANNEL_HOSTILE)
		peer_hostile(peer, why);
	else
		drop_peer(peer);
}

static void on_link(struct amp_room *room, enum amp_role_id role, unsigned instance, unsigned generation,
		    int fd)
{
	struct cloudd *c = amp_room_arg(room);
	struct peer *peer = peer_of_role(c, role);
	char label[64];
	struct amp_channel_config config = {
		.name = amp_role_label(role, instance, label, sizeof(label)),
		.table = link_rows,
		.rows = sizeof(link_rows) / sizeof(*link_rows),
		.on_end = peer_ended,
		.arg = peer,
	};

	if (!peer) {
		amp_error("no use for a link to %s", label);
		close(fd);
		return;
	}
	drop_peer(peer);
	*peer = (struct peer){c, NULL, ++c->serials, role, instance, generation};
	peer->channel = amp_channel_new(amp_room_base(room), fd, &config);
	if (!peer->channel)
		amp_fatal("link to %s: %s", label, strerror(errno));
	amp_channel_pause_read(peer->channel, ingest_paused(c->ingest));
}

/* --- ampcli ------------------------------------------------------------------ */

static int on_cli_status(struct amp_channel *client, struct amp_message *m, void *arg)
{
	struct cloudd *c = arg;
	Amp__CliStatusReply reply = AMP__CLI_STATUS_REPLY__INIT;
	Amp__Counter **counters = NULL;

	ingest_look(c->ingest);
	reply.service = (char *)(uintptr_t)amp_role(AMP_ROLE_CLOUD)->name;
	reply.n_counters = amp_cli_counters(&counters);
	reply.counters = counters;
	if (amp_channel_send(client, AMP_MSG_CLI_STATUS_REPLY, m->id, &reply.base, NULL, 0))
		amp_info("status not sent: %s", strerror(errno));
	free(counters);
	return 0;
}

static int on_cli_history(struct amp_channel *client, struct amp_message *m, void *arg)
{
	struct cloudd *c = arg;

	history_ask(c->history, client, m->id, (const Amp__CliHistory *)m->body);
	return 0;
}

static const struct amp_dispatch cli_rows[] = {
	{AMP_MSG_CLI_STATUS, &amp__cli_status__descriptor, 0, 0, 0, 0, on_cli_status},
	{AMP_MSG_CLI_HISTORY, &amp__cli_history__descriptor, QUESTION_MAX, 0, 0, 0, on_cli_history},
};

/* --- the room ---------------------------------------------------------------- */

/* Answers come later and need the server: so it is made here, not by the room. */
static int open_cli(struct cloudd *c, const Amp__Conf *conf)
{
	const struct amp_cliserver_config config = {
		.table = cli_rows,
		.rows = sizeof(cli_rows) / sizeof(*cli_rows),
		.group = conf->cli_gid,
		.arg = c,
	};

	c->cli = amp_cliserver_new(amp_room_base(c->room), AMP_FD_CLI, &config);
	if (!c->cli)
		amp_error("CLI socket: %s", strerror(errno));
	return c->cli ? 0 : -1;
}

static void step(void *arg)
{
	amp_io_step(arg);
}

/* A quarter of the file size allowed is left to the log beside the database. */
static struct store *new_store(struct cloudd *c, const Amp__Conf *conf)
{
	uint64_t allowed = amp_role(AMP_ROLE_CLOUD)->file_size;
	const struct store_config config = {
		.path = DATABASE,
		.reserve_path = RESERVE,
		.reserve_size = RESERVE_SIZE,
		.max_rows = conf->history_max_rows,
		.max_size = (int64_t)(allowed / 4 * 3),
		.progress = step,
		.arg = c->io,
	};

	return store_new(&config);
}

static struct ingest *new_ingest(struct cloudd *c, const Amp__Conf *conf)
{
	const struct ingest_ops ops = {send_ack, set_paused, tell_fault, rows_added, c};
	char shown[PATH_MAX + 16];
	const struct ingest_config config = {.shown_path = shown};

	snprintf(shown, sizeof(shown), "%.*s/events.db", (int)conf->data_dir.len,
		 (const char *)conf->data_dir.data);
	return ingest_new(amp_room_base(c->room), c->io, c->store, &config, &ops);
}

static struct shipper *new_shipper(struct cloudd *c, const Amp__Conf *conf)
{
	const struct shipper_config config = {.host_id = conf->host_id, .fd = AMP_FD_EVENTS};

	return shipper_new(amp_room_base(c->room), c->io, c->store, &config);
}

static int on_open(struct amp_room *room, const Amp__Conf *conf)
{
	struct cloudd *c = amp_room_arg(room);

	c->room = room;
	amp_db_setup();
	c->io = amp_iothread_new(amp_room_base(room));
	c->store = c->io ? new_store(c, conf) : NULL;
	c->ingest = c->store ? new_ingest(c, conf) : NULL;
	c->history = c->ingest ? history_new(c->io, c->store) : NULL;
	c->shipper = c->history ? new_shipper(c, conf) : NULL;
	if (!c->shipper) {
		amp_error("start: %s", strerror(errno));
		return -1;
	}
	if (open_cli(c, conf))
		return -1;
	history_serve(c->history, c->cli);
	return 0;
}

static int before_seal(struct amp_room *room)
{
	struct cloudd *c = amp_room_arg(room);

	return amp_iothread_start(c->io);
}

static int on_ready(struct amp_room *room)
{
	struct cloudd *c = amp_room_arg(room);

	amp_room_feature(room, "database: WAL, synchronous, exclusive", true);
	ingest_start(c->ingest);
	return 0;
}

/* Commits what waits if the disk takes it, says so, closes in order. */
static void on_stop(struct amp_room *room)
{
	struct cloudd *c = amp_room_arg(room);

	history_serve(c->history, NULL);
	amp_cliserver_free(c->cli);
	ingest_stop(c->ingest);
	shipper_stop(c->shipper);
	amp_iothread_free(c->io);
	c->io = NULL;
	store_keep_shipped(c->store);
	for (size_t i = 0; i < PEERS; i++) {
		if (c->peers[i].channel)
			amp_channel_flush(c->peers[i].channel, FLUSH_MS);
		drop_peer(&c->peers[i]);
	}
	ingest_free(c->ingest);
	shipper_free(c->shipper);
	history_free(c->history);
	store_free(c->store);
}

static struct amp_iothread *iothread(struct amp_room *room)
{
	struct cloudd *c = amp_room_arg(room);

	return c->io;
}

/*
 * The number is the filter's only one beside the log that is written to, so it
 * is taken before anything else could be. The file comes over the control channel.
 */
static bool hold_events_number(void)
{
	int fd;

	if (fcntl(AMP_FD_EVENTS, F_GETFD) >= 0)
		return false;
	fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	if (fd < 0 || fd == AMP_FD_EVENTS)
		return fd == AMP_FD_EVENTS;
	if (dup3(fd, AMP_FD_EVENTS, O_CLOEXEC) < 0)
		return false;
	close(fd);
	return true;
}

int cloudd_main(void)
{
	static const struct amp_room_ops ops = {
		.role = AMP_ROLE_CLOUD,
		.open = on_open,
		.before_seal = before_seal,
		.ready = on_ready,
		.link = on_link,
		.control = control_rows,
		.control_rows = sizeof(control_rows) / sizeof(*control_rows),
		.stop = on_stop,
		.iothread = iothread,
	};
	struct cloudd c = {0};

	if (!hold_events_number()) {
		fprintf(stderr, "ampcloudd: is started by ampmon only\n");
		return 1;
	}
	return amp_room_main(&ops, &c);
}
