/*
 * tests/system/work.c - the machinery that every room has (lib/room.c), driven
 * once through: what it needs of the kernel, the filter must let through.
 *
 * Owns: event loop, channel pair with a passed descriptor, log thread and its
 * rotation, I/O thread, timer, and a client on the CLI listener for the roles
 * that have one. Must not own: any attempt to break out (attempts.c).
 */
#include "attempts.h"

#include "channel.h"
#include "cliserver.h"
#include "clock.h"
#include "iothread.h"
#include "log.h"

#include "proto/cli.pb-c.h"
#include "proto/control.pb-c.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define NAME	   "log-of-the-probe" /* test_walls.py knows its lines by it */
#define GIVE_UP_MS 40000	      /* the machine may be busy; test_walls.py waits for a minute */

enum done { PINGED = 1, PONGED = 2, ROTATED = 4, STEPPED = 8, TICKED = 16, ASKED = 32 };

struct work {
	struct amp_io_job job; /* first: its callbacks get it back */
	struct event_base *base;
	struct amp_iothread *io;
	struct event *tick;
	struct amp_cliserver *cli;
	int client, spare_log; /* spare: what rotation hands over */
	int link[2];
	bool threads;
	unsigned done, wanted;
};

static void happened(struct work *w, enum done what)
{
	w->done |= what;
	if (w->done == w->wanted)
		event_base_loopbreak(w->base);
}

static int on_ping(struct amp_channel *ch, struct amp_message *m, void *arg)
{
	Amp__Pong pong = AMP__PONG__INIT;

	happened(arg, PINGED);
	return amp_channel_send(ch, AMP_MSG_PONG, m->id, &pong.base, NULL, 0);
}

static int on_pong(struct amp_channel *ch, struct amp_message *m, void *arg)
{
	(void)ch;
	(void)m;
	happened(arg, PONGED);
	return 0;
}

static int on_log_file(struct amp_channel *ch, struct amp_message *m, void *arg)
{
	(void)ch;
	if (amp_log_replace_fd(amp_message_take_fd(m, 0)) == 0)
		happened(arg, ROTATED);
	return 0;
}

static int on_status(struct amp_channel *ch, struct amp_message *m, void *arg)
{
	Amp__CliStatusReply reply = AMP__CLI_STATUS_REPLY__INIT;
	Amp__Counter **list = NULL;

	reply.n_counters = amp_cli_counters(&list);
	reply.counters = list;
	if (amp_channel_send(ch, AMP_MSG_CLI_STATUS_REPLY, m->id, &reply.base, NULL, 0) == 0)
		happened(arg, ASKED);
	free(list);
	return 0;
}

static const struct amp_dispatch link_table[] = {
	{.type = AMP_MSG_PING, .descriptor = &amp__ping__descriptor, .max_length = 64, .handler = on_ping},
	{.type = AMP_MSG_PONG, .descriptor = &amp__pong__descriptor, .max_length = 64, .handler = on_pong},
	{
		.type = AMP_MSG_LOG_FILE,
		.descriptor = &amp__log_file__descriptor,
		.max_length = 64,
		.min_fds = 1,
		.max_fds = 1,
		.handler = on_log_file,
	},
};

static const struct amp_dispatch cli_table[] = {
	{
		.type = AMP_MSG_CLI_STATUS,
		.descriptor = &amp__cli_status__descriptor,
		.max_length = 64,
		.handler = on_status,
	},
};

static void on_end(struct amp_channel *ch, enum amp_channel_end end, const char *why, void *arg)
{
	(void)arg;
	amp_warn("%s ended: %d %s", amp_channel_name(ch), (int)end, why ? why : "");
}

static bool run_step(struct amp_io_job *job)
{
	char *memory = malloc(300000); /* the thread's first: an arena of its own */

	(void)job;
	if (memory)
		memset(memory, 1, 300000);
	free(memory);
	return true;
}

static void step_done(struct amp_io_job *job)
{
	happened((struct work *)job, STEPPED);
}

static void on_tick(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	happened(arg, TICKED);
}

/* A client that connected and asked while we were root; its answer waits in its socket. */
static int make_client(struct work *w, const struct scene *s)
{
	struct sockaddr_un at = {.sun_family = AF_UNIX};
	int listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	Amp__CliStatus ask = AMP__CLI_STATUS__INIT;
	uint8_t message[64];
	size_t n = amp_message_pack(message, sizeof(message), AMP_MSG_CLI_STATUS, 1, &ask.base);

	snprintf(at.sun_path, sizeof(at.sun_path), "%.60s/cli", s->scratch);
	unlink(at.sun_path);
	w->client = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	if (listener < 0 || w->client < 0 || bind(listener, (struct sockaddr *)&at, sizeof(at)) < 0 ||
	    listen(listener, 8) < 0 || connect(w->client, (struct sockaddr *)&at, sizeof(at)) < 0 ||
	    send(w->client, message, n, 0) < 0)
		return -1;
	w->cli = amp_cliserver_new(
		w->base, listener,
		&(struct amp_cliserver_config){.table = cli_table, .rows = 1, .group = (gid_t)-1, .arg = w});
	return w->cli ? 0 : -1;
}

struct work *work_new(const struct scene *s)
{
	struct work *w = calloc(1, sizeof(*w));

	if (!w)
		return NULL;
	w->wanted = PINGED | PONGED | ROTATED | STEPPED | TICKED;
	w->base = event_base_new();
	w->spare_log = fcntl(AMP_FD_LOG, F_DUPFD_CLOEXEC, AMP_FD_CLI + 1);
	if (!w->base || w->spare_log < 0 || amp_channel_pair(w->link) < 0)
		return NULL;
	w->io = amp_iothread_new(w->base);
	w->tick = evtimer_new(w->base, on_tick, w);
	if (!w->io || !w->tick)
		return NULL;
	if (s->role->cli_socket) {
		w->wanted |= ASKED;
		if (make_client(w, s) < 0)
			return NULL;
	}
	amp_log_open(NAME, AMP_FD_LOG, AMP_LOG_DEBUG);
	return w;
}

int work_start_threads(struct work *w)
{
	w->threads = true;
	return amp_log_start_thread() < 0 ? -1 : amp_iothread_start(w->io);
}

static struct amp_channel *make_end(struct work *w, int fd)
{
	const struct amp_channel_config c = {
		.name = NAME,
		.table = link_table,
		.rows = sizeof(link_table) / sizeof(link_table[0]),
		.on_end = on_end,
		.arg = w,
	};

	return amp_channel_new(w->base, fd, &c);
}

static int send_all(struct work *w, struct amp_channel *from)
{
	Amp__Ping ping = AMP__PING__INIT;
	Amp__LogFile rotate = AMP__LOG_FILE__INIT;

	if (amp_channel_send(from, AMP_MSG_PING, 1, &ping.base, NULL, 0) < 0)
		return -1;
	return amp_channel_send(from, AMP_MSG_LOG_FILE, 2, &rotate.base, &w->spare_log, 1);
}

static int set_going(struct work *w)
{
	const struct timeval soon = {.tv_usec = 2000}, give_up = {.tv_sec = GIVE_UP_MS / 1000};
	struct amp_channel *one = make_end(w, w->link[0]), *two = make_end(w, w->link[1]);

	if (!one || !two || send_all(w, one) < 0)
		return -1;
	w->job.run = run_step;
	w->job.done = step_done;
	amp_iothread_submit(w->io, &w->job);
	if (event_add(w->tick, &soon) < 0)
		return -1;
	return event_base_loopexit(w->base, &give_up);
}

long work_run(struct work *w)
{
	char stamp[32];

	if (!w->threads && work_start_threads(w) < 0)
		return -1;
	if (set_going(w) < 0)
		return -1;
	for (int i = 0; i < 100; i++)
		amp_info("line %d at %s", i, amp_clock_rfc3339(amp_clock_realtime(), stamp, sizeof(stamp)));
	event_base_dispatch(w->base);
	amp_log_drain(GIVE_UP_MS);
	if (w->done == w->wanted)
		return 0;
	amp_error("of 0x%x only 0x%x happened", w->wanted, w->done);
	errno = ETIMEDOUT;
	return -1;
}
