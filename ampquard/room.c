/*
 * ampquard/room.c - the quarantine keeper as a room: links, requests in,
 * effects out.
 *
 * Owns: the event loop's side. Must not own: anything that touches a disk
 * (the keeper does, on the I/O thread), or what is decided about a file.
 */
#include "quard.h"

#include "cliserver.h"
#include "clock.h"
#include "log.h"
#include "outbox.h"
#include "room.h"

#include "proto/cli.pb-c.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define WHOLE	    (AMP_MSG_MAX - sizeof(struct amp_wire_header))
#define FLUSH_MS    500
#define WORD_S	    2
#define PATIENT_MAX 8U	  /* restores asked for; one is worked on at a time */
#define CLIENTS_MAX 64U	  /* requests of clients in hand */
#define ERRANDS_MAX 4096U /* in hand; ampscand has 256 takes on the wire at most */

struct peer {
	struct amp_channel *channel; /* NULL: there is none */
	uint64_t serial;
	unsigned generation;
};

/* A job with what it wants and, after it ran, what is to be said. */
struct errand {
	struct amp_io_job job; /* first: cast back */
	struct quard *quard;
	struct request request;
	struct effects effects;
	bool of_client;
};

struct round {
	struct amp_io_job job; /* first: cast back */
	struct quard *quard;
	struct effects effects;
	bool again, queued;
	int64_t due_ns;
};

/*
 * A restore takes its time (a disk syncs 2 GB), and its client waits no longer
 * than 5 s for a word.
 */
struct patience {
	uint64_t client, id; /* client 0: free */
	uint64_t bytes_done, bytes;
};

struct quard {
	struct amp_room *room;
	struct amp_iothread *io;
	struct keeper *keeper;
	struct amp_cliserver *cli;
	struct amp_outbox *outbox;
	struct peer scand, cloud;
	uint64_t serials;
	unsigned errands, client_errands; /* in hand; of clients among them */
	struct round round;
	struct event *due, *word, *hands[HANDS_MAX]; /* hands: one has answered */
	struct patience patient[PATIENT_MAX];
	bool stopping;
};

/* --- effects ------------------------------------------------------------------ */

static void peer_hostile(struct quard *q, struct peer *p, enum amp_role_id role, const char *why)
{
	amp_room_hostile(q->room, role, 0, p->generation, why);
}

static void say_to_scand(struct quard *q, const struct effect *e)
{
	struct peer *p = &q->scand;

	if (!p->channel || p->serial != e->serial)
		return;
	if (amp_channel_send(p->channel, e->type, e->id, e->body, NULL, 0) == 0 || errno == ENOTCONN)
		return;
	amp_error("ampscand: message 0x%04x not sent: %s", (unsigned)e->type, strerror(errno));
	peer_hostile(q, p, AMP_ROLE_SCAN, "does not read what it is told");
}

static struct patience *patience_of(struct quard *q, uint64_t client, uint64_t id)
{
	for (size_t i = 0; i < PATIENT_MAX; i++)
		if (q->patient[i].client == client && q->patient[i].id == id)
			return &q->patient[i];
	return NULL;
}

void quard_keep_waiting(struct quard *q, uint64_t client, uint64_t id)
{
	struct patience *p = patience_of(q, 0, 0);
	struct timeval tv = {.tv_sec = WORD_S};

	if (!p)
		return;
	*p = (struct patience){.client = client, .id = id};
	evtimer_add(q->word, &tv);
}

static void on_word(evutil_socket_t fd, short what, void *arg)
{
	struct quard *q = arg;
	struct timeval tv = {.tv_sec = WORD_S};

	(void)fd;
	(void)what;
	for (size_t i = 0; i < PATIENT_MAX; i++) {
		struct patience *p = &q->patient[i];
		struct amp_channel *client = p->client ? amp_cli_client_find(q->cli, p->client) : NULL;
		Amp__CliRestoreReply reply = AMP__CLI_RESTORE_REPLY__INIT;

		if (!client) {
			*p = (struct patience){0};
			continue;
		}
		reply.more = true;
		reply.bytes_done = p->bytes_done;
		reply.bytes = p->bytes;
		amp_channel_send(client, AMP_MSG_CLI_RESTORE_REPLY, p->id, &reply.base, NULL, 0);
		evtimer_add(q->word, &tv);
	}
}

/* True: it was only a word of how far it is, which the client gets in its time. */
static bool is_only_a_word(struct quard *q, const struct effect *e)
{
	const Amp__CliRestoreReply *reply = (const Amp__CliRestoreReply *)e->body;
	struct patience *p = patience_of(q, e->serial, e->id);
	bool word = e->to == EFFECT_CLIENT && e->type == AMP_MSG_CLI_RESTORE_REPLY && reply->more;

	if (!p)
		return word;
	if (word) {
		p->bytes_done = reply->bytes_done;
		p->bytes = reply->bytes;
	} else {
		*p = (struct patience){0};
	}
	return word;
}

static void say_to_client(struct quard *q, const struct effect *e)
{
	struct amp_channel *client = q->cli ? amp_cli_client_find(q->cli, e->serial) : NULL;

	if (is_only_a_word(q, e))
		return;

	if (!client)
		return;
	if (e->to == EFFECT_ERROR)
		amp_cli_error(client, e->id, e->code, "%s", e->text);
	else if (amp_channel_send(client, e->type, e->id, e->body, NULL, 0) != 0)
		amp_cli_error(client, e->id, AMP__CLI_ERROR__CODE__INTERNAL,
			      "the answer could not be sent: %s", strerror(errno));
}

static void end(struct quard *q, const char *why) __attribute__((noreturn));
static void end(struct quard *q, const char *why)
{
	amp_channel_flush(amp_room_control(q->room), FLUSH_MS); /* the fault */
	amp_fatal("%s", why);
}

static void deliver(struct quard *q, struct effects *effects)
{
	struct effect *e;

	while ((e = STAILQ_FIRST(effects))) {
		STAILQ_REMOVE_HEAD(effects, link);
		if (e->to == EFFECT_SCAND)
			say_to_scand(q, e);
		else if (e->to == EFFECT_CLIENT || e->to == EFFECT_ERROR)
			say_to_client(q, e);
		else if (e->to == EFFECT_FAULT)
			amp_room_fault(q->room, e->fault, e->raised, e->text);
		else if (e->to == EFFECT_END)
			end(q, e->text);
		else if (amp_outbox_put(q->outbox, (const Amp__Event *)e->body, e->id) != 0)
			amp_error("no memory to report; it is reported after the next start");
		effect_free(e);
	}
}

/* --- jobs --------------------------------------------------------------------- */

static bool round_run(struct amp_io_job *job)
{
	struct round *r = (struct round *)job;
	struct keeper *k = r->quard->keeper;

	r->again = keeper_round(k, &r->due_ns);
	keeper_settle(k);
	STAILQ_CONCAT(&r->effects, &k->effects);
	return true;
}

static void start_round(struct quard *q)
{
	if (q->round.queued || q->stopping)
		return;
	q->round.queued = true;
	amp_iothread_submit(q->io, &q->round.job);
}

static void round_done(struct amp_io_job *job)
{
	struct round *r = (struct round *)job;
	struct quard *q = r->quard;
	int64_t wait = r->due_ns - amp_clock_monotonic();
	struct timeval tv;

	r->queued = false;
	deliver(q, &r->effects);
	for (size_t i = 0; i < HANDS_MAX; i++)
		if (q->hands[i])
			event_add(q->hands[i], NULL);
	if (r->again) {
		start_round(q);
		return;
	}
	wait = wait < AMP_NS_PER_MS ? AMP_NS_PER_MS : wait;
	tv = (struct timeval){.tv_sec = wait / AMP_NS_PER_SEC, .tv_usec = wait % AMP_NS_PER_SEC / 1000};
	evtimer_add(q->due, &tv);
}

static void on_due(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	start_round(arg);
}

static bool errand_run(struct amp_io_job *job)
{
	struct errand *e = (struct errand *)job;
	struct keeper *k = e->quard->keeper;

	e->request.work(k, &e->request);
	keeper_settle(k);
	STAILQ_CONCAT(&e->effects, &k->effects);
	return true;
}

static void errand_free(struct errand *e)
{
	for (size_t i = 0; i < 2; i++)
		if (e->request.fds[i] >= 0)
			close(e->request.fds[i]);
	if (e->request.body)
		protobuf_c_message_free_unpacked(e->request.body, NULL);
	free(e);
}

static void errand_done(struct amp_io_job *job)
{
	struct errand *e = (struct errand *)job;
	struct quard *q = e->quard;

	deliver(q, &e->effects);
	q->errands--;
	q->client_errands -= e->of_client;
	errand_free(e);
	start_round(q);
}

static int submit(struct quard *q, request_work *work, uint64_t id, uint64_t serial,
		  const ProtobufCMessage *body, const int fds[2], bool of_client)
{
	struct errand *e = q->errands < ERRANDS_MAX ? calloc(1, sizeof(*e)) : NULL;

	if (!e)
		goto failed;
	e->of_client = of_client;
	e->job.run = errand_run;
	e->job.done = errand_done;
	e->quard = q;
	STAILQ_INIT(&e->effects);
	e->request = (struct request){.work = work, .id = id, .serial = serial, .fds = {-1, -1}};
	if (body && !(e->request.body = message_copy(body)))
		goto failed;
	if (fds)
		memcpy(e->request.fds, fds, sizeof(e->request.fds));
	q->errands++;
	q->client_errands += of_client;
	amp_iothread_submit(q->io, &e->job);
	return 0;
failed:
	for (size_t i = 0; fds && i < 2; i++)
		if (fds[i] >= 0)
			close(fds[i]);
	free(e);
	errno = ENOMEM;
	return -1;
}

int quard_submit(struct quard *q, request_work *work, uint64_t id, uint64_t serial,
		 const ProtobufCMessage *body, const int fds[2])
{
	return submit(q, work, id, serial, body, fds, false);
}

int quard_ask(struct quard *q, request_work *work, uint64_t id, uint64_t client, const ProtobufCMessage *body)
{
	if (q->client_errands >= CLIENTS_MAX) {
		errno = EAGAIN;
		return -1;
	}
	return submit(q, work, id, client, body, NULL, true);
}

/* --- the link to ampscand ------------------------------------------------------- */

static bool path_is_valid(const ProtobufCBinaryData *b)
{
	return b->len <= AMP_PATH_MAX && (b->len == 0 || (b->data[0] == '/' && !memchr(b->data, 0, b->len)));
}

/* A last component, never one that leads elsewhere. */
static bool name_is_valid(const ProtobufCBinaryData *b)
{
	if (b->len == 0)
		return true;
	if (b->len > AMP_NAME_MAX || memchr(b->data, '/', b->len) || memchr(b->data, 0, b->len))
		return false;
	return !(b->data[0] == '.' && (b->len == 1 || (b->len == 2 && b->data[1] == '.')));
}

/* All that the database asks of it: what it refuses would stand in the way of everything after it. */
static bool take_is_valid(const Amp__Take *t)
{
	return t->identity && !store_take_unsound(t) && path_is_valid(&t->path) && name_is_valid(&t->name);
}

static int on_take(struct amp_channel *ch, struct amp_message *m, void *arg)
{
	struct quard *q = arg;
	int fds[2] = {-1, -1};

	(void)ch;
	if (!take_is_valid((const Amp__Take *)m->body))
		return -1;
	if (m->fd_count == 1)
		fds[0] = amp_message_take_fd(m, 0);
	return quard_submit(q, keeper_take, m->id, q->scand.serial, m->body, fds);
}

static bool status_is_valid(Amp__Opened__Status s)
{
	return s >= AMP__OPENED__STATUS__NONE && s <= AMP__OPENED__STATUS__FAILED;
}

static int on_opened(struct amp_channel *ch, struct amp_message *m, void *arg)
{
	struct quard *q = arg;
	const Amp__Opened *o = (const Amp__Opened *)m->body;
	unsigned file = o->file == AMP__OPENED__STATUS__OK, dir = o->directory == AMP__OPENED__STATUS__OK;
	int fds[2] = {-1, -1};

	(void)ch;
	if (!status_is_valid(o->file) || !status_is_valid(o->directory) || m->fd_count != file + dir ||
	    !path_is_valid(&o->directory_path))
		return -1;
	if (file)
		fds[0] = amp_message_take_fd(m, 0);
	if (dir)
		fds[1] = amp_message_take_fd(m, m->fd_count - 1);
	return quard_submit(q, keeper_opened, m->id, q->scand.serial, m->body, fds);
}

static int on_killed(struct amp_channel *ch, struct amp_message *m, void *arg)
{
	struct quard *q = arg;

	(void)ch;
	return quard_submit(q, keeper_killed, m->id, q->scand.serial, NULL, NULL);
}

static int on_allow_ack(struct amp_channel *ch, struct amp_message *m, void *arg)
{
	struct quard *q = arg;

	(void)ch;
	return quard_submit(q, keeper_allow_ack, m->id, q->scand.serial, NULL, NULL);
}

static const struct amp_dispatch scand_rows[] = {
	{AMP_MSG_TAKE, &amp__take__descriptor, WHOLE, 0, 1, 0, on_take},
	{AMP_MSG_OPENED, &amp__opened__descriptor, AMP_PATH_MAX + 256, 0, 2, 0, on_opened},
	{AMP_MSG_KILLED_AGAIN, &amp__killed_again__descriptor, 0, 0, 0, 0, on_killed},
	{AMP_MSG_ALLOW_ACK, &amp__allow_ack__descriptor, 0, 0, 0, 0, on_allow_ack},
};

static void tell_keeper_of_link(struct quard *q)
{
	uint64_t serial = q->scand.channel ? q->scand.serial : 0;

	if (quard_submit(q, keeper_link, 0, serial, NULL, NULL) != 0)
		amp_fatal("no memory for a link");
}

static void scand_ended(struct amp_channel *ch, enum amp_channel_end end, const char *why, void *arg)
{
	struct quard *q = arg;

	if (end == AMP_CHANNEL_HOSTILE)
		peer_hostile(q, &q->scand, AMP_ROLE_SCAN, why);
	q->scand.channel = NULL;
	amp_channel_free(ch);
	tell_keeper_of_link(q);
}

/* Before anything else: what they do from here on is known to be ours. */
static void tell_scand_of_hands(struct quard *q)
{
	Amp__Hands m = AMP__HANDS__INIT;
	int32_t pids[HANDS_MAX];

	m.pids = pids;
	for (unsigned i = 0; i < HANDS_MAX; i++)
		if (keeper_hand_pid(q->keeper, i) > 0)
			pids[m.n_pids++] = keeper_hand_pid(q->keeper, i);
	if (amp_channel_send(q->scand.channel, AMP_MSG_HANDS, 0, &m.base, NULL, 0) != 0)
		amp_error("ampscand is not told of the hands: %s", strerror(errno));
}

static void scand_link(struct quard *q, unsigned generation, int fd)
{
	const struct amp_channel_config c = {.name = "ampscand",
					     .table = scand_rows,
					     .rows = sizeof(scand_rows) / sizeof(scand_rows[0]),
					     .on_end = scand_ended,
					     .arg = q};

	if (q->scand.channel)
		amp_channel_free(q->scand.channel);
	q->scand = (struct peer){.serial = ++q->serials, .generation = generation};
	q->scand.channel = amp_channel_new(amp_room_base(q->room), fd, &c);
	if (!q->scand.channel)
		amp_fatal("link to ampscand: %s", strerror(errno));
	tell_scand_of_hands(q);
	tell_keeper_of_link(q);
}

/* --- the link to ampcloudd -------------------------------------------------------- */

static int on_event_ack(struct amp_channel *ch, struct amp_message *m, void *arg)
{
	struct quard *q = arg;

	(void)ch;
	amp_outbox_ack(q->outbox, (const Amp__EventAck *)m->body);
	return 0;
}

static const struct amp_dispatch cloud_rows[] = {
	{AMP_MSG_EVENT_ACK, &amp__event_ack__descriptor, WHOLE, 0, 0, 0, on_event_ack},
};

static void cloud_ended(struct amp_channel *ch, enum amp_channel_end end, const char *why, void *arg)
{
	struct quard *q = arg;

	if (end == AMP_CHANNEL_HOSTILE)
		peer_hostile(q, &q->cloud, AMP_ROLE_CLOUD, why);
	amp_outbox_attach(q->outbox, NULL, true);
	q->cloud.channel = NULL;
	amp_channel_free(ch);
}

static void cloud_writable(struct amp_channel *ch, void *arg)
{
	struct quard *q = arg;

	(void)ch;
	amp_outbox_pump(q->outbox);
}

static void cloud_link(struct quard *q, unsigned generation, int fd)
{
	const struct amp_channel_config c = {.name = "ampcloudd",
					     .table = cloud_rows,
					     .rows = sizeof(cloud_rows) / sizeof(cloud_rows[0]),
					     .on_end = cloud_ended,
					     .on_writable = cloud_writable,
					     .arg = q};
	bool died = q->cloud.channel != NULL;

	if (q->cloud.channel)
		amp_channel_free(q->cloud.channel);
	q->cloud = (struct peer){.serial = ++q->serials, .generation = generation};
	q->cloud.channel = amp_channel_new(amp_room_base(q->room), fd, &c);
	if (!q->cloud.channel)
		amp_fatal("link to ampcloudd: %s", strerror(errno));
	amp_outbox_attach(q->outbox, q->cloud.channel, died);
}

static void on_committed(uint64_t token, bool aside, void *arg)
{
	struct quard *q = arg;

	if (aside)
		amp_room_fault(q->room, AMP_FAULT_EVENT_SET_ASIDE, true,
			       "ampcloudd died three times on one event about the quarantine");
	if (quard_submit(q, keeper_reported, token, aside, NULL, NULL) != 0)
		amp_warn("no memory to forget a report; it is sent again after the next start");
}

/* --- the room --------------------------------------------------------------------- */

static void on_link(struct amp_room *room, enum amp_role_id role, unsigned instance, unsigned generation,
		    int fd)
{
	struct quard *q = amp_room_arg(room);

	(void)instance;
	if (role == AMP_ROLE_SCAN) {
		scand_link(q, generation, fd);
	} else if (role == AMP_ROLE_CLOUD) {
		cloud_link(q, generation, fd);
	} else {
		amp_error("no use for a link to role %d", (int)role);
		close(fd);
	}
}

static int open_cli(struct quard *q, const Amp__Conf *conf)
{
	const struct amp_cliserver_config config = {
		.table = quard_cli, .rows = QUARD_CLI_ROWS, .group = conf->cli_gid, .arg = q};

	q->cli = amp_cliserver_new(amp_room_base(q->room), AMP_FD_CLI, &config);
	if (!q->cli)
		amp_error("CLI socket: %s", strerror(errno));
	return q->cli ? 0 : -1;
}

static struct keeper *new_keeper(struct quard *q, const Amp__Conf *conf)
{
	struct keeper_config c = {.data_dir = strndup((const char *)conf->data_dir.data, conf->data_dir.len),
				  .host_id = strdup(conf->host_id),
				  .max_size = conf->quarantine_max_size,
				  .hands = HANDS_MAX,
				  .log = AMP_FD_LOG,
				  .days = conf->quarantine_days};

	return c.data_dir && c.host_id ? keeper_new(&c, q->io) : NULL;
}

static int open_room(struct amp_room *room, const Amp__Conf *conf)
{
	struct quard *q = amp_room_arg(room);
	const struct amp_outbox_config ob = {.window = 256, .on_committed = on_committed, .arg = q};

	q->room = room;
	amp_db_setup();
	if (conf->data_dir.len == 0 || amp_sha256_setup() != 0 || vault_setup() != 0) {
		amp_error("start: no directory for the vault, or no cipher");
		return -1;
	}
	q->io = amp_iothread_new(amp_room_base(room));
	q->outbox = amp_outbox_new(&ob);
	q->keeper = q->io ? new_keeper(q, conf) : NULL;
	q->due = evtimer_new(amp_room_base(room), on_due, q);
	q->word = evtimer_new(amp_room_base(room), on_word, q);
	if (!q->keeper || !q->outbox || !q->due || !q->word) {
		amp_error("start: %s", strerror(errno));
		return -1;
	}
	q->round = (struct round){.quard = q, .job = {.run = round_run, .done = round_done}};
	STAILQ_INIT(&q->round.effects);
	return open_cli(q, conf);
}

static int before_seal(struct amp_room *room)
{
	struct quard *q = amp_room_arg(room);
	int rc = keeper_fork(q->keeper);

	for (unsigned i = 0; rc == 0 && i < HANDS_MAX; i++) {
		/* Of one that answered, until the round that hears it is over. */
		q->hands[i] =
			event_new(amp_room_base(room), keeper_hand_fd(q->keeper, i), EV_READ, on_due, q);
		if (!q->hands[i] || event_add(q->hands[i], NULL) != 0)
			return -1;
	}
	if (rc != 0)
		return rc < 0 ? -1 : 0; /* above 0: this is a hand */
	return amp_iothread_start(q->io);
}

static int ready(struct amp_room *room)
{
	struct quard *q = amp_room_arg(room);

	keeper_be_hand(q->keeper);
	start_round(q); /* opens the vault: not as root */
	return 0;
}

static void stop(struct amp_room *room)
{
	struct quard *q = amp_room_arg(room);

	q->stopping = true;
	evtimer_del(q->word);
	for (size_t i = 0; i < HANDS_MAX; i++)
		if (q->hands[i])
			event_del(q->hands[i]);
	amp_cliserver_free(q->cli);
	q->cli = NULL;
	amp_iothread_free(q->io);
	q->io = NULL;
	if (q->cloud.channel)
		amp_channel_flush(q->cloud.channel, FLUSH_MS);
	if (q->scand.channel)
		amp_channel_flush(q->scand.channel, FLUSH_MS);
	keeper_free(q->keeper);
	q->keeper = NULL;
}

static struct amp_iothread *iothread(struct amp_room *room)
{
	return ((struct quard *)amp_room_arg(room))->io;
}

int quard_main(void)
{
	static struct quard q;
	static const struct amp_room_ops ops = {
		.role = AMP_ROLE_QUARD,
		.open = open_room,
		.before_seal = before_seal,
		.ready = ready,
		.link = on_link,
		.stop = stop,
		.iothread = iothread,
	};

	return amp_room_main(&ops, &q);
}
