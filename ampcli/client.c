/*
 * ampcli/client.c - one connection to one service's socket (see client.h).
 */
#include "client.h"

#include "arena.h"
#include "channel.h"
#include "clock.h"
#include "proto/cli.pb-c.h"
#include "proto/types.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define ARENA_LIMIT  ((size_t)1024 * 1024)
#define OVERSLEPT_NS AMP_NS_PER_SEC
#define NOT_IN_GROUP                                                                                         \
	"only root and members of the asking group may ask; add the user to that group "                     \
	"(cli_group in ampmon.conf, usually amp)"

struct reply {
	struct amp_arena arena;
	const ProtobufCMessage *body;
};

struct client {
	char service[32];
	char path[256];
	int fd;
	uint64_t id;
	int64_t deadline; /* of the next reply */
	const struct client_request *request;
	bool asked_again, waited_again;
	enum client_outcome outcome; /* of sending */
	size_t count;
	struct reply replies[CLIENT_REPLIES_MAX];
	char why[1024];
	Amp__CliError__Code refusal; /* the last */
	uint8_t buffer[AMP_MSG_MAX];
};

struct client *client_new(const char *run_dir, const char *service)
{
	struct client *c = calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	c->fd = -1;
	snprintf(c->service, sizeof(c->service), "%s", service);
	snprintf(c->path, sizeof(c->path), "%s/%s", run_dir, service);
	return c;
}

static void forget_last(struct client *c)
{
	amp_arena_free(&c->replies[--c->count].arena);
}

static void forget_replies(struct client *c)
{
	while (c->count > 0)
		forget_last(c);
}

static void disconnect(struct client *c)
{
	if (c->fd >= 0)
		close(c->fd);
	c->fd = -1;
}

void client_free(struct client *c)
{
	if (!c)
		return;
	forget_replies(c);
	disconnect(c);
	free(c);
}

static enum client_outcome failed(struct client *c, enum client_outcome outcome, const char *what)
{
	snprintf(c->why, sizeof(c->why), "%s", what);
	return outcome;
}

/* The same once the request is under way: a change may have been made. */
static enum client_outcome failed_after(struct client *c, enum client_outcome outcome, const char *what)
{
	snprintf(c->why, sizeof(c->why), "%s%s", what,
		 c->request->change ? "; whether the change was made is not known" : "");
	return outcome;
}

static const struct {
	int error;
	enum client_outcome outcome;
	const char *what;
} connect_errors[] = {
	{EACCES, CLIENT_NOT_PERMITTED, NOT_IN_GROUP},
	{EPERM, CLIENT_NOT_PERMITTED, NOT_IN_GROUP},
	{ENOENT, CLIENT_UNREACHABLE,
	 "not running (there is no socket): systemctl start cisco-amp, or another --run-dir"},
	{ECONNREFUSED, CLIENT_UNREACHABLE, "not running (nobody listens)"},
	{EAGAIN, CLIENT_UNREACHABLE, "no connection within 5 s"},
};

static enum client_outcome connect_failed(struct client *c, int error)
{
	for (size_t i = 0; i < sizeof(connect_errors) / sizeof(connect_errors[0]); i++)
		if (connect_errors[i].error == error)
			return failed(c, connect_errors[i].outcome, connect_errors[i].what);
	return failed(c, CLIENT_UNREACHABLE, strerror(error));
}

static enum client_outcome do_connect(struct client *c)
{
	struct sockaddr_un to = {.sun_family = AF_UNIX};
	const struct timeval limit = {.tv_sec = CLIENT_WAIT_MS / 1000};

	if (strlen(c->path) >= sizeof(to.sun_path))
		return failed(c, CLIENT_REFUSED, "the run directory's name is too long for a socket");
	memcpy(to.sun_path, c->path, strlen(c->path) + 1);
	c->fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	if (c->fd < 0)
		return connect_failed(c, errno);
	/* A full backlog is waited for, as an answer is. */
	if (setsockopt(c->fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit)) < 0 ||
	    connect(c->fd, (const struct sockaddr *)&to, sizeof(to)) < 0) {
		enum client_outcome outcome = connect_failed(c, errno);

		disconnect(c);
		return outcome;
	}
	return CLIENT_OK;
}

/* Ids are random: a service that sees one again gives its first answer. */
static uint64_t new_id(void)
{
	uint64_t id = 0;

	while (id == 0)
		if (getrandom(&id, sizeof(id), 0) != sizeof(id))
			id = (uint64_t)amp_clock_realtime();
	return id;
}

static enum client_outcome send_request(struct client *c)
{
	enum client_outcome outcome = c->fd >= 0 ? CLIENT_OK : do_connect(c);
	size_t n;

	if (outcome != CLIENT_OK)
		return outcome;
	n = amp_message_pack(c->buffer, sizeof(c->buffer), c->request->type, c->id, c->request->body);
	if (n == 0)
		return failed(c, CLIENT_REFUSED, "the request is too long");
	/* Who was refused at the door finds the reason in its queue: EPIPE is no end yet. */
	if (send(c->fd, c->buffer, n, MSG_NOSIGNAL) < 0 && errno != EPIPE && errno != ECONNRESET)
		return connect_failed(c, errno);
	c->deadline = amp_clock_monotonic() + CLIENT_WAIT_MS * AMP_NS_PER_MS;
	return CLIENT_OK;
}

void client_send(struct client *c, const struct client_request *request)
{
	forget_replies(c);
	c->request = request;
	c->asked_again = c->waited_again = false;
	c->refusal = AMP__CLI_ERROR__CODE__NONE;
	c->id = new_id();
	c->outcome = send_request(c);
}

/*
 * Long over when we come to see it: the machine stood still, or others had the processors, from the service
 * as well perhaps. That is not its silence: it is waited for anew, once.
 */
static bool overslept(struct client *c)
{
	int64_t now = amp_clock_monotonic();

	if (c->waited_again || now - c->deadline < OVERSLEPT_NS)
		return false;
	c->waited_again = true;
	c->deadline = now + CLIENT_WAIT_MS * AMP_NS_PER_MS;
	return true;
}

static bool wait_for_reply(struct client *c)
{
	struct pollfd p = {.fd = c->fd, .events = POLLIN};
	int ready;

	do {
		int64_t left = (c->deadline - amp_clock_monotonic()) / AMP_NS_PER_MS;

		ready = poll(&p, 1, left > 0 ? (int)left : 0);
	} while ((ready < 0 && errno == EINTR) || (ready == 0 && overslept(c)));
	return ready > 0;
}

/* Waits for the next datagram. Its size; 0: the service is gone; -1: *outcome. */
static ssize_t next_datagram(struct client *c, enum client_outcome *outcome)
{
	struct iovec iov = {.iov_base = c->buffer, .iov_len = sizeof(c->buffer)};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
	ssize_t n;

	if (!wait_for_reply(c)) {
		*outcome = failed_after(c, CLIENT_UNREACHABLE, "no answer within 5 s");
		return -1;
	}
	n = recvmsg(c->fd, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	/* It closed with our request unread: what it said before is behind that. */
	if (n < 0 && errno == ECONNRESET)
		n = recvmsg(c->fd, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	if (n <= 0)
		return 0;
	/* No room was given for descriptors: the kernel has thrown them away. */
	if (msg.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) {
		*outcome = failed_after(c, CLIENT_BROKEN,
					"what came is no answer: too long, or with descriptors");
		return -1;
	}
	return n;
}

static enum client_outcome take_error(struct client *c, const ProtobufCMessage *body)
{
	const Amp__CliError *e = (const Amp__CliError *)body;

	c->refusal = e->code;
	return failed(c,
		      e->code == AMP__CLI_ERROR__CODE__NOT_PERMITTED ? CLIENT_NOT_PERMITTED : CLIENT_REFUSED,
		      e->text[0] ? e->text : "refused without a reason");
}

static enum client_outcome no_answer(struct client *c, const char *why)
{
	char what[256];

	snprintf(what, sizeof(what), "what came is no answer: %s", why);
	disconnect(c);
	return failed_after(c, CLIENT_BROKEN, what);
}

/* Checks a datagram. CLIENT_OK: it is kept as a reply. */
static enum client_outcome take_datagram(struct client *c, size_t n)
{
	const struct amp_dispatch table[] = {
		{.type = c->request->reply_type,
		 .descriptor = c->request->reply,
		 .max_length = AMP_MSG_MAX - sizeof(struct amp_wire_header)},
		{.type = AMP_MSG_CLI_ERROR, .descriptor = &amp__cli_error__descriptor, .max_length = 4096},
	};
	struct reply *r = &c->replies[c->count];
	const struct amp_dispatch *row;
	struct amp_wire_header header;
	enum client_outcome outcome;
	const char *why = "";

	if (c->count == CLIENT_REPLIES_MAX)
		return no_answer(c, "too many replies");
	if (amp_arena_init(&r->arena, ARENA_LIMIT) < 0)
		return failed_after(c, CLIENT_REFUSED, "out of memory");
	c->count++;
	if (amp_message_check(table, 2, 1, c->buffer, n, 0, &r->arena, &row, &header, &r->body, &why) < 0)
		return no_answer(c, why);
	/* Who is turned away at the door has asked nothing yet: id 0. */
	if (header.id != c->id && !(row == &table[1] && header.id == 0))
		return no_answer(c, "to another request");
	if (row == &table[0])
		return CLIENT_OK;
	outcome = take_error(c, r->body);
	disconnect(c);
	return outcome;
}

/* The service went away. CLIENT_OK: asked again. */
static enum client_outcome gone(struct client *c)
{
	disconnect(c);
	if (c->request->change)
		return failed_after(c, CLIENT_UNREACHABLE, "went away before it answered");
	if (c->asked_again)
		return failed(c, CLIENT_UNREACHABLE, "went away before it answered, twice");
	c->asked_again = true;
	forget_replies(c);
	return send_request(c);
}

/* The last reply was taken. True: more follow it. */
static bool more_follow(struct client *c)
{
	const struct client_request *r = c->request;
	const ProtobufCMessage *body = c->replies[c->count - 1].body;

	if (!r->more || !r->more(body))
		return false;
	if (r->progress) {
		r->progress(body, r->arg);
		forget_last(c);
	}
	return true;
}

enum client_outcome client_receive(struct client *c)
{
	enum client_outcome outcome = c->outcome;
	bool more = true;

	while (outcome == CLIENT_OK && more) {
		ssize_t n = next_datagram(c, &outcome);

		if (n < 0)
			break;
		outcome = n == 0 ? gone(c) : take_datagram(c, (size_t)n);
		if (n == 0 || outcome != CLIENT_OK)
			continue;
		more = more_follow(c);
		c->deadline = amp_clock_monotonic() + CLIENT_WAIT_MS * AMP_NS_PER_MS;
	}
	/* A late answer must not meet the next question. */
	if (outcome != CLIENT_OK)
		disconnect(c);
	return outcome;
}

enum client_outcome client_ask(struct client *c, const struct client_request *request)
{
	client_send(c, request);
	return client_receive(c);
}

size_t client_replies(const struct client *c)
{
	return c->count;
}

const ProtobufCMessage *client_reply(const struct client *c, size_t i)
{
	return i < c->count ? c->replies[i].body : NULL;
}

enum client_outcome client_unsound(struct client *c, const char *what)
{
	return no_answer(c, what);
}

int client_refusal(const struct client *c)
{
	return (int)c->refusal;
}

const char *client_service(const struct client *c)
{
	return c->service;
}

const char *client_why(const struct client *c)
{
	return c->why;
}
