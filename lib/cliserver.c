/*
 * lib/cliserver.c - clients of a service's CLI socket.
 *
 * Owns: accept, the right to ask (decided from the kernel's word before a
 * byte of the client is looked at), limits, one channel a client.
 * Must not own: what the requests mean.
 */
#include "cliserver.h"

#include "clock.h"
#include "counter.h"
#include "log.h"
#include "text.h"

#include "proto/cli.pb-c.h"

#include <errno.h>
#include <event2/util.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define IDLE_LIMIT   (30 * AMP_NS_PER_SEC)
#define ACCEPT_BATCH 16
#define DRAIN_BATCH  4 /* requests a refused client may have sent already */
#define OUTPUT_HIGH  ((size_t)256 * 1024)
#define OUTPUT_LOW   ((size_t)64 * 1024)
#define OUTPUT_LIMIT ((size_t)1024 * 1024)

static struct amp_counter hostile_clients = AMP_COUNTER("cli.hostile", false);
static struct amp_counter refused_clients = AMP_COUNTER("cli.refused", false);
static struct amp_counter idle_clients = AMP_COUNTER("cli.idle", false);

/* Ids are never used twice within a process, whichever listener it was. */
static uint64_t last_serial;

struct client {
	struct client *next;
	struct amp_cliserver *server;
	struct amp_channel *channel;
	struct ucred who;
	uint64_t serial;
};

struct amp_cliserver {
	struct amp_cliserver_config config;
	struct event_base *base;
	int fd;
	struct event *on_accept;
	struct event *on_second; /* looks for idle clients; ends a pause of accepting */
	struct client *clients;
	unsigned count;
};

static const struct timeval one_second = {.tv_sec = 1};

/* --- who may ask ------------------------------------------------------- */

/* Supplementary groups as they were at connect(2); *groups is malloc'd. -1 and errno. */
static ssize_t peer_groups(int fd, gid_t **groups)
{
	socklen_t size = 64 * sizeof(gid_t);

	for (;;) {
		socklen_t had = size;
		gid_t *list = malloc(had);

		if (!list)
			return -1;
		if (getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, list, &size) == 0) {
			*groups = list;
			return (ssize_t)(size / sizeof(gid_t));
		}
		free(list);
		/* The kernel says how much it wants; a connected peer's list does not change. */
		if (errno != ERANGE || size <= had)
			return -1;
	}
}

static bool in_group(int fd, gid_t primary, gid_t group)
{
	gid_t *groups;
	ssize_t n;
	bool found = false;

	if (primary == group)
		return true;
	n = peer_groups(fd, &groups);
	if (n < 0)
		return false;
	for (ssize_t i = 0; i < n && !found; i++)
		found = groups[i] == group;
	free(groups);
	return found;
}

static bool may_ask(int fd, gid_t group, struct ucred *who)
{
	socklen_t size = sizeof(*who);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, who, &size) < 0 || size != sizeof(*who))
		return false;
	if (who->uid == 0)
		return true;
	return group != (gid_t)-1 && in_group(fd, who->gid, group);
}

/* --- a client's life --------------------------------------------------- */

static void client_remove(struct client *c)
{
	struct amp_cliserver *s = c->server;

	for (struct client **p = &s->clients; *p; p = &(*p)->next) {
		if (*p != c)
			continue;
		*p = c->next;
		s->count--;
		break;
	}
	amp_channel_free(c->channel);
	free(c);
}

static void client_end(struct amp_channel *ch, enum amp_channel_end end, const char *why, void *arg)
{
	struct client *c = amp_channel_owner(ch);

	(void)why;
	(void)arg;
	if (end == AMP_CHANNEL_HOSTILE)
		amp_counter_add(&hostile_clients, 1);
	client_remove(c);
}

/* fd is taken over. */
static int client_add(struct amp_cliserver *s, int fd, const struct ucred *who)
{
	char name[64];
	struct amp_channel_config config = {
		.name = name,
		.table = s->config.table,
		.rows = s->config.rows,
		.on_end = client_end,
		.arg = s->config.arg,
		.high = OUTPUT_HIGH,
		.low = OUTPUT_LOW,
		.limit = OUTPUT_LIMIT,
		.batch = 1, /* an answer may take milliseconds, and rooms wait for them too */
	};
	struct client *c = calloc(1, sizeof(*c));

	if (!c) {
		close(fd);
		return -1;
	}
	snprintf(name, sizeof(name), "client uid %u pid %d", who->uid, who->pid);
	c->channel = amp_channel_new(s->base, fd, &config);
	if (!c->channel) {
		free(c);
		return -1;
	}
	amp_channel_set_owner(c->channel, c);
	c->server = s;
	c->who = *who;
	c->serial = ++last_serial;
	c->next = s->clients;
	s->clients = c;
	s->count++;
	return 0;
}

/* Neither asking nor reading the answers for too long. */
static void drop_idle(struct amp_cliserver *s)
{
	int64_t now = amp_clock_monotonic();
	struct client *next;

	for (struct client *c = s->clients; c; c = next) {
		next = c->next;
		if (now - amp_channel_last_activity(c->channel) < IDLE_LIMIT)
			continue;
		amp_counter_add(&idle_clients, 1);
		client_remove(c);
	}
}

/* --- accepting --------------------------------------------------------- */

/* What the client has sent is thrown away first: a close with unread data
 * would show it an error before our answer. */
static void refuse(int fd, Amp__CliError__Code code, const char *text)
{
	Amp__CliError error = AMP__CLI_ERROR__INIT;
	uint8_t buf[256];
	char byte;
	size_t n;

	amp_counter_add(&refused_clients, 1);
	error.code = code;
	error.text = (char *)(uintptr_t)text;
	for (int i = 0; i < DRAIN_BATCH && recv(fd, &byte, 1, MSG_DONTWAIT) > 0; i++)
		;
	n = amp_message_pack(buf, sizeof(buf), AMP_MSG_CLI_ERROR, 0, &error.base);
	if (n > 0 && send(fd, buf, n, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
		amp_debug("refused client did not wait for the reason: %s", strerror(errno));
	close(fd);
}

static void admit(struct amp_cliserver *s, int fd)
{
	struct ucred who = {.pid = 0, .uid = (uid_t)-1, .gid = (gid_t)-1};

	if (!may_ask(fd, s->config.group, &who)) {
		amp_info("client uid %u pid %d refused", who.uid, who.pid);
		refuse(fd, AMP__CLI_ERROR__CODE__NOT_PERMITTED,
		       "only root and members of the asking group may ask; add the user to the group");
	} else if (s->count >= AMP_CLI_MAX_CLIENTS - (who.uid == 0 ? 0U : AMP_CLI_ROOT_RESERVE)) {
		refuse(fd, AMP__CLI_ERROR__CODE__NOT_NOW, "too many clients at once; try again later");
	} else if (client_add(s, fd, &who) < 0) {
		amp_warn("client uid %u pid %d not served: %s", who.uid, who.pid, strerror(errno));
	} else if (!event_pending(s->on_second, EV_TIMEOUT, NULL)) {
		event_add(s->on_second, &one_second);
	}
}

static void accept_cb(evutil_socket_t listener, short what, void *arg)
{
	struct amp_cliserver *s = arg;

	(void)what;
	for (int i = 0; i < ACCEPT_BATCH; i++) {
		int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

		if (fd >= 0) {
			admit(s, fd);
			continue;
		}
		if (errno == EINTR || errno == ECONNABORTED)
			continue;
		/* Out of descriptors or memory: the listener stays readable,
		 * so it is left alone until the next second. */
		if (errno != EAGAIN) {
			amp_warn("accept: %s", strerror(errno));
			event_del(s->on_accept);
			event_add(s->on_second, &one_second);
		}
		return;
	}
}

static void second_cb(evutil_socket_t fd, short what, void *arg)
{
	struct amp_cliserver *s = arg;

	(void)fd;
	(void)what;
	drop_idle(s);
	event_add(s->on_accept, NULL);
	if (!s->clients) /* nobody to look after: no wake-ups */
		event_del(s->on_second);
}

/* --- the server -------------------------------------------------------- */

struct amp_cliserver *amp_cliserver_new(struct event_base *base, int listen_fd,
					const struct amp_cliserver_config *c)
{
	struct amp_cliserver *s = calloc(1, sizeof(*s));

	if (!s) {
		close(listen_fd);
		return NULL;
	}
	s->config = *c;
	s->base = base;
	s->fd = listen_fd;
	s->on_accept = event_new(base, listen_fd, EV_READ | EV_PERSIST, accept_cb, s);
	s->on_second = event_new(base, -1, EV_PERSIST, second_cb, s);
	if (!s->on_accept || !s->on_second || evutil_make_socket_nonblocking(listen_fd) < 0 ||
	    event_add(s->on_accept, NULL) < 0) {
		int error = errno ? errno : ENOMEM;

		amp_cliserver_free(s);
		errno = error;
		return NULL;
	}
	return s;
}

void amp_cliserver_free(struct amp_cliserver *s)
{
	if (!s)
		return;
	while (s->clients)
		client_remove(s->clients);
	if (s->on_accept)
		event_free(s->on_accept);
	if (s->on_second)
		event_free(s->on_second);
	close(s->fd);
	free(s);
}

static const struct client *client_of(const struct amp_channel *ch)
{
	return amp_channel_owner(ch);
}

uid_t amp_cli_client_uid(const struct amp_channel *client)
{
	return client_of(client)->who.uid;
}

pid_t amp_cli_client_pid(const struct amp_channel *client)
{
	return client_of(client)->who.pid;
}

uint64_t amp_cli_client_serial(const struct amp_channel *client)
{
	return client_of(client)->serial;
}

struct amp_channel *amp_cli_client_find(struct amp_cliserver *s, uint64_t serial)
{
	for (struct client *c = s->clients; c; c = c->next)
		if (c->serial == serial)
			return c->channel;
	return NULL;
}

/* --- answers ----------------------------------------------------------- */

void amp_cli_error(struct amp_channel *client, uint64_t id, int code, const char *fmt, ...)
{
	Amp__CliError error = AMP__CLI_ERROR__INIT;
	char text[1024], safe[4 * sizeof(text)];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	error.code = (Amp__CliError__Code)code;
	/* A text may quote a path, and a path may be any bytes. */
	error.text = text;
	if (!amp_text_is_utf8(text, strlen(text))) {
		amp_text_escape(text, strlen(text), safe, sizeof(safe));
		error.text = safe;
	}
	if (amp_channel_send(client, AMP_MSG_CLI_ERROR, id, &error.base, NULL, 0) < 0)
		amp_debug("%s: error not sent: %s", amp_channel_name(client), strerror(errno));
}

static size_t registry_length(void)
{
	size_t n = 0;

	for (const struct amp_counter *c = amp_counter_first(); c; c = c->next)
		n++;
	return n;
}

size_t amp_cli_counters(Amp__Counter ***list)
{
	size_t n = registry_length(), i = 0;
	const struct amp_counter *c = amp_counter_first();
	Amp__Counter **pointers = calloc(1, n * (sizeof(*pointers) + sizeof(**pointers)) + 1);
	Amp__Counter *rows;

	*list = pointers;
	if (!pointers)
		return 0;
	rows = (Amp__Counter *)(void *)(pointers + n);
	/* Another thread may have put one more in front since: n is the bound. */
	for (; c && i < n; c = c->next, i++) {
		amp__counter__init(&rows[i]);
		rows[i].name = (char *)(uintptr_t)c->name;
		rows[i].value = amp_counter_value(c);
		rows[i].loss = c->loss;
		pointers[i] = &rows[i];
	}
	return i;
}
