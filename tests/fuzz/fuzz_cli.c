/*
 * tests/fuzz/fuzz_cli.c - what a client may send to a service, through a real
 * channel and a real socket.
 *
 * Input: datagrams, each behind its length and a number of descriptors that go
 * with it. Held: a client that passes a descriptor or breaks the protocol is
 * cut off at that message, and nothing of it stays open.
 */
#include "log.h"
#include "tables.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MAX_DATAGRAMS 32 /* less than a channel handles in one wake-up */

static struct {
	unsigned handled;
	bool ended;
} seen;

/* As services do: reads every field that a request has, answers. */
static int on_request(struct amp_channel *ch, struct amp_message *m, void *arg)
{
	Amp__CliError answer = AMP__CLI_ERROR__INIT;

	(void)arg;
	if (seen.ended || m->fd_count > 0)
		abort();
	seen.handled++;
	answer.code = AMP__CLI_ERROR__CODE__BAD_REQUEST;
	if (m->type == AMP_MSG_CLI_POLICY_USE)
		answer.text = ((const Amp__CliPolicyUse *)m->body)->id;
	if (m->type == AMP_MSG_CLI_HISTORY)
		answer.text = ((const Amp__CliHistory *)m->body)->type;
	/* A string that came in may always go out. */
	if (amp_channel_send(ch, AMP_MSG_CLI_ERROR, m->id, &answer.base, NULL, 0) < 0 &&
	    amp_channel_fd(ch) < 0)
		abort();
	return 0;
}

static const struct amp_dispatch requests[] = {
	{AMP_MSG_CLI_STATUS, &amp__cli_status__descriptor, 0, 0, 0, 0, on_request},
	{AMP_MSG_CLI_POSTURE, &amp__cli_posture__descriptor, 0, 0, 0, 0, on_request},
	{AMP_MSG_CLI_POLICY, &amp__cli_policy__descriptor, 0, 0, 0, 0, on_request},
	{AMP_MSG_CLI_POLICY_USE, &amp__cli_policy_use__descriptor, 256, 0, 0, 0, on_request},
	{AMP_MSG_CLI_RULES, &amp__cli_rules__descriptor, 64, 0, 0, 0, on_request},
	{AMP_MSG_CLI_HISTORY, &amp__cli_history__descriptor, 512, 0, 0, 0, on_request},
};

static void on_end(struct amp_channel *ch, enum amp_channel_end end, const char *why, void *arg)
{
	(void)end;
	(void)arg;
	if (seen.ended || !why || amp_channel_fd(ch) != -1)
		abort();
	seen.ended = true;
}

static void send_datagram(int fd, const uint8_t *data, size_t size, unsigned fds)
{
	union {
		struct cmsghdr h;
		char space[CMSG_SPACE(sizeof(int) * 8)];
	} control;
	struct iovec iov = {(void *)(uintptr_t)data, size};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};

	if (fds > 0) {
		memset(&control, 0, sizeof(control));
		control.h.cmsg_level = SOL_SOCKET;
		control.h.cmsg_type = SCM_RIGHTS;
		control.h.cmsg_len = CMSG_LEN(sizeof(int) * fds);
		for (unsigned i = 0; i < fds; i++)
			memcpy(CMSG_DATA(&control.h) + i * sizeof(int), &fd, sizeof(int));
		msg.msg_control = &control;
		msg.msg_controllen = CMSG_SPACE(sizeof(int) * fds);
	}
	if (sendmsg(fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
		return; /* the socket is full: so it is for a client */
}

static void send_all(int fd, const uint8_t *data, size_t size)
{
	for (int i = 0; i < MAX_DATAGRAMS && size >= FUZZ_CLI_PREFIX; i++) {
		size_t n = (size_t)data[0] | (size_t)data[1] << 8;
		unsigned fds = data[2] % 9;

		data += FUZZ_CLI_PREFIX;
		size -= FUZZ_CLI_PREFIX;
		if (n > size)
			n = size;
		send_datagram(fd, data, n, fds);
		data += n;
		size -= n;
	}
}

/* The lowest free number: what it was before, if nothing stayed open. */
static int lowest_free_fd(void)
{
	int fd = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 0);

	close(fd);
	return fd;
}

static struct event_base *setup(void)
{
	/* Refusals are what this is about: not worth a line each. */
	amp_log_open("fuzz", STDERR_FILENO, AMP_LOG_ERROR);
	return event_base_new();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct event_base *base;
	struct amp_channel_config config = {
		.name = "fuzz",
		.table = requests,
		.rows = sizeof(requests) / sizeof(requests[0]),
		.on_end = on_end,
	};
	struct amp_channel *ch;
	int fds[2], lowest;

	if (!base)
		base = setup();
	lowest = lowest_free_fd();
	memset(&seen, 0, sizeof(seen));
	if (!base || amp_channel_pair(fds) < 0 || !(ch = amp_channel_new(base, fds[0], &config)))
		abort();
	send_all(fds[1], data, size);
	event_base_loop(base, EVLOOP_NONBLOCK);
	close(fds[1]);
	event_base_loop(base, EVLOOP_NONBLOCK);
	event_base_loop(base, EVLOOP_NONBLOCK);
	if (!seen.ended)
		abort();
	amp_channel_free(ch);
	if (lowest_free_fd() != lowest)
		abort();
	return 0;
}
