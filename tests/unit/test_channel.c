/*
 * tests/unit/test_channel.c - framing, checks, queue, descriptors, lifetime.
 * Owns: both ends of its socket pairs; the hostile end is a bare socket.
 */
#include "arena.h"
#include "channel.h"
#include "counter.h"

#include "proto/control.pb-c.h"
#include "proto/event.pb-c.h"
#include "proto/read.pb-c.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/unit/skip.h"

#define LARGE (AMP_MSG_MAX - 16)

/* What a channel under test did, and what it is to do. */
struct seen {
	unsigned messages, ends, writables;
	uint64_t last_seq, last_id;
	enum amp_channel_end end;
	char why[128];
	int taken[512];
	unsigned n_taken;
	bool free_in_handler, free_in_end, free_in_writable, refuse, pause_in_handler;
	bool cloexec;
};

static struct event_base *base;

static int on_ping(struct amp_channel *ch, struct amp_message *m, void *arg)
{
	struct seen *s = arg;

	s->messages++;
	s->last_seq = ((const Amp__Ping *)m->body)->seq;
	s->last_id = m->id;
	if (s->pause_in_handler)
		amp_channel_pause_read(ch, true);
	if (s->free_in_handler)
		amp_channel_free(ch);
	return s->refuse ? -1 : 0;
}

/* Takes every descriptor but the last. */
static int on_read(struct amp_channel *ch, struct amp_message *m, void *arg)
{
	struct seen *s = arg;

	(void)ch;
	s->messages++;
	s->cloexec = true;
	for (unsigned i = 0; i < m->fd_count; i++)
		s->cloexec = s->cloexec && (fcntl(m->fds[i], F_GETFD) & FD_CLOEXEC);
	for (unsigned i = 0; i + 1 < m->fd_count; i++)
		s->taken[s->n_taken++] = amp_message_take_fd(m, i);
	assert_int_equal(amp_message_take_fd(m, m->fd_count), -1);
	return 0;
}

static int on_other(struct amp_channel *ch, struct amp_message *m, void *arg)
{
	(void)ch;
	(void)m;
	((struct seen *)arg)->messages++;
	return 0;
}

static const struct amp_dispatch table[] = {
	{AMP_MSG_PING, &amp__ping__descriptor, 16, 0, 0, 1, on_ping},
	{AMP_MSG_READ, &amp__read__descriptor, LARGE, 0, 4, 0, on_read},
	{AMP_MSG_LINK, &amp__link__descriptor, 64, 1, 1, 0, on_other},
	{AMP_MSG_EVENT, &amp__event__descriptor, LARGE, 0, 0, 0, on_other},
	{AMP_MSG_POLICY_ENTRIES, &amp__policy_entries__descriptor, LARGE, 0, 0, 0, on_other},
	{AMP_MSG_SOURCE, &amp__source__descriptor, LARGE, 0, 0, 0, on_other},
	{AMP_MSG_START, &amp__start__descriptor, LARGE, 0, 0, 4, on_other},
};
#define ROWS (sizeof(table) / sizeof(table[0]))

static void on_end(struct amp_channel *ch, enum amp_channel_end end, const char *why, void *arg)
{
	struct seen *s = arg;

	s->ends++;
	s->end = end;
	snprintf(s->why, sizeof(s->why), "%s", why);
	assert_int_equal(amp_channel_fd(ch), -1);
	if (s->free_in_end)
		amp_channel_free(ch);
}

static void on_writable(struct amp_channel *ch, void *arg)
{
	struct seen *s = arg;

	s->writables++;
	if (s->free_in_writable)
		amp_channel_free(ch);
}

static struct amp_channel *channel(int fd, struct seen *s)
{
	struct amp_channel_config c = {
		.name = "test",
		.table = table,
		.rows = ROWS,
		.on_end = on_end,
		.on_writable = on_writable,
		.arg = s,
		.high = 256 * 1024,
		.low = 64 * 1024,
		.limit = 1024 * 1024,
	};
	struct amp_channel *ch = amp_channel_new(base, fd, &c);

	assert_non_null(ch);
	return ch;
}

/* A channel and the bare socket of its peer. */
static struct amp_channel *half(struct seen *s, int *peer)
{
	int fds[2];

	assert_int_equal(amp_channel_pair(fds), 0);
	*peer = fds[1];
	return channel(fds[0], s);
}

static void spin(void)
{
	event_base_loop(base, EVLOOP_NONBLOCK);
}

static unsigned open_fds(void)
{
	DIR *d = opendir("/proc/self/fd");
	unsigned n = 0;

	assert_non_null(d);
	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

static int setup(void **state)
{
	(void)state;
	base = event_base_new();
	return base ? 0 : -1;
}

static int teardown(void **state)
{
	(void)state;
	event_base_free(base);
	return 0;
}

/* --- amp_message_check --------------------------------------------------- */

static uint8_t datagram[AMP_MSG_MAX + 1];

static size_t put(uint16_t type, const void *body, size_t n)
{
	struct amp_wire_header h = {AMP_WIRE_VERSION, type, (uint32_t)n, 7};

	memcpy(datagram, &h, sizeof(h));
	if (n > 0)
		memcpy(datagram + sizeof(h), body, n);
	return sizeof(h) + n;
}

static const char *verdict(size_t size, uint32_t state, unsigned fds)
{
	static struct amp_arena arena;
	struct amp_wire_header header;
	const struct amp_dispatch *row;
	const ProtobufCMessage *body;
	const char *why = "?";
	int rc;

	assert_int_equal(amp_arena_init(&arena, 1024 * 1024), 0);
	rc = amp_message_check(table, ROWS, state, datagram, size, fds, &arena, &row, &header, &body, &why);
	if (rc == 0)
		assert_ptr_equal(body->descriptor, row->descriptor);
	amp_arena_free(&arena);
	return rc == 0 ? "" : why;
}

static void check_names_what_is_wrong_with_a_header(void **state)
{
	struct amp_wire_header *h = (struct amp_wire_header *)datagram;

	(void)state;
	assert_string_equal(verdict(15, 1, 0), "shorter than a header");
	assert_string_equal(verdict(put(AMP_MSG_PING, "\x08\x05", 2), 1, 0), "");
	assert_string_equal(verdict(AMP_MSG_MAX + 1, 1, 0), "longer than a message may be");
	h->version = 0xA502;
	assert_string_equal(verdict(18, 1, 0), "other protocol version");
	put(AMP_MSG_PING, "\x08\x05", 2);
	assert_string_equal(verdict(17, 1, 0), "length does not match");
	assert_string_equal(verdict(19, 1, 0), "length does not match");
	assert_string_equal(verdict(put(AMP_MSG_PONG, "", 0), 1, 0), "type not permitted");
	assert_string_equal(verdict(put(0, "", 0), 1, 0), "type not permitted");
	assert_string_equal(verdict(put(AMP_MSG_PING, "", 0), 2, 0), "type not permitted now");
	assert_string_equal(verdict(put(AMP_MSG_START, "", 0), 3, 0), "type not permitted now");
	assert_string_equal(verdict(put(AMP_MSG_START, "", 0), 6, 0), "");
	assert_string_equal(verdict(put(AMP_MSG_PING, "\x08\x05 0123456789abcdef", 19), 1, 0),
			    "body too long");
	assert_string_equal(verdict(put(AMP_MSG_PING, "", 0), 1, 1), "wrong number of descriptors");
	assert_string_equal(verdict(put(AMP_MSG_LINK, "", 0), 1, 0), "wrong number of descriptors");
	assert_string_equal(verdict(put(AMP_MSG_LINK, "", 0), 1, 2), "wrong number of descriptors");
	assert_string_equal(verdict(put(AMP_MSG_READ, "", 0), 1, 5), "wrong number of descriptors");
}

static const struct bad_body {
	const char *what;
	uint16_t type;
	const char *bytes;
	size_t n;
	const char *why;
} bad_bodies[] = {
#define BODY(bytes) (bytes), sizeof(bytes) - 1
	{"sound", AMP_MSG_SOURCE, BODY("\x08\x02\x10\x01"), ""},
	{"cut", AMP_MSG_SOURCE, BODY("\x08"), "body malformed"},
	{"sub-message longer than the rest", AMP_MSG_READ, BODY("\x0a\x7f\x08\x01"), "body malformed"},
	{"unknown field", AMP_MSG_SOURCE, BODY("\x08\x01\x58\x01"), "unknown field"},
	{"unknown field within", AMP_MSG_READ, BODY("\x0a\x02\x78\x01"), "unknown field"},
	{"enum too large", AMP_MSG_SOURCE, BODY("\x08\x03"), "enum out of range"},
	{"enum negative", AMP_MSG_SOURCE, BODY("\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"),
	 "enum out of range"},
	{"enum within", AMP_MSG_POLICY_ENTRIES, BODY("\x0a\x02\x08\x07"), "enum out of range"},
	{"string", AMP_MSG_EVENT,
	 BODY("\x0a\x03"
	      "a\xc3\xa4"),
	 ""},
	{"Latin-1", AMP_MSG_EVENT,
	 BODY("\x0a\x02"
	      "a\xe4"),
	 "string is not UTF-8"},
	{"NUL within", AMP_MSG_EVENT,
	 BODY("\x0a\x03"
	      "a\0b"),
	 "body not in canonical form"},
	{"NUL at the end", AMP_MSG_EVENT,
	 BODY("\x0a\x02"
	      "a\0"),
	 "body not in canonical form"},
	{"bytes may hold anything", AMP_MSG_EVENT,
	 BODY("\x3a\x03"
	      "\0\xe4/"),
	 ""},
	{"field twice", AMP_MSG_SOURCE, BODY("\x08\x01\x08\x02"), "body not in canonical form"},
	{"number too long", AMP_MSG_SOURCE, BODY("\x08\x81\x00"), "body not in canonical form"},
	{"default said", AMP_MSG_SOURCE, BODY("\x08\x00"), "body not in canonical form"},
};

static void check_refuses_bodies(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(bad_bodies) / sizeof(bad_bodies[0]); i++) {
		const struct bad_body *b = &bad_bodies[i];
		const char *why = verdict(put(b->type, b->bytes, b->n), 1, 0);

		if (strcmp(why, b->why) != 0)
			fail_msg("%s: \"%s\", not \"%s\"", b->what, why, b->why);
	}
}

/* Two bytes on the wire, far more in memory. */
static void check_bounds_memory(void **state)
{
	static uint8_t body[LARGE];

	(void)state;
	for (size_t i = 0; i + 1 < sizeof(body); i += 2)
		body[i] = 0x0a;
	assert_string_equal(verdict(put(AMP_MSG_READ, body, sizeof(body)), 1, 0),
			    "body needs too much memory");
	assert_string_equal(verdict(put(AMP_MSG_READ, body, 2 * 64), 1, 0), "");
}

/* --- receiving ----------------------------------------------------------- */

static void send_raw(int fd, size_t size, const int *fds, unsigned n)
{
	static char control[CMSG_SPACE(sizeof(int) * 253)];
	struct iovec iov = {datagram, size};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};

	if (n > 0) {
		struct cmsghdr *c = (struct cmsghdr *)(void *)control;

		memset(control, 0, sizeof(control));
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int) * n);
		memcpy(CMSG_DATA(c), fds, sizeof(int) * n);
		msg.msg_control = control;
		msg.msg_controllen = CMSG_SPACE(sizeof(int) * n);
	}
	assert_int_equal(sendmsg(fd, &msg, MSG_NOSIGNAL), size);
}

/* Who has much to say does not keep the loop from others. */
static void batch_is_the_turn_of_a_channel(void **state)
{
	struct seen s = {0};
	struct amp_channel_config c = {
		.name = "test", .table = table, .rows = ROWS, .on_end = on_end, .arg = &s, .batch = 2};
	struct amp_channel *ch;
	int fds[2];

	(void)state;
	assert_int_equal(amp_channel_pair(fds), 0);
	ch = amp_channel_new(base, fds[0], &c);
	assert_non_null(ch);
	for (unsigned i = 0; i < 5; i++)
		send_raw(fds[1], put(AMP_MSG_PING, "\x08\x05", 2), NULL, 0);
	for (unsigned turn = 1; turn <= 3; turn++) {
		event_base_loop(base, EVLOOP_ONCE | EVLOOP_NONBLOCK);
		assert_int_equal(s.messages, turn < 3 ? 2 * turn : 5);
	}
	amp_channel_free(ch);
	close(fds[1]);
}

static void message_arrives_with_its_descriptors(void **state)
{
	struct seen a = {0}, b = {0};
	struct amp_channel *left, *right;
	Amp__Read body = AMP__READ__INIT;
	int fds[2], files[3];
	unsigned before;

	(void)state;
	assert_int_equal(amp_channel_pair(fds), 0);
	left = channel(fds[0], &a);
	right = channel(fds[1], &b);
	for (int i = 0; i < 3; i++)
		files[i] = open("/dev/null", O_RDONLY);
	before = open_fds();
	assert_int_equal(amp_channel_send(left, AMP_MSG_READ, 1, &body.base, files, 3), 0);
	spin();
	assert_int_equal(b.messages, 1);
	assert_true(b.cloexec);
	assert_int_equal(b.n_taken, 2);
	assert_int_equal(open_fds(), before + 2); /* the one not taken is closed */
	for (int i = 0; i < 2; i++)
		assert_int_equal(close(b.taken[i]), 0);
	for (int i = 0; i < 3; i++)
		assert_int_equal(close(files[i]), 0);
	amp_channel_free(left);
	spin();
	assert_int_equal(b.ends, 1);
	assert_int_equal(b.end, AMP_CHANNEL_CLOSED);
	assert_int_equal(a.ends, 0);
	amp_channel_free(right);
}

static void id_and_body_arrive(void **state)
{
	struct seen s = {0};
	int peer;
	struct amp_channel *ch = half(&s, &peer);

	(void)state;
	send_raw(peer, put(AMP_MSG_PING, "\x08\x05", 2), NULL, 0);
	spin();
	assert_int_equal(s.last_seq, 5);
	assert_int_equal(s.last_id, 7);
	assert_ptr_equal(amp_channel_arg(ch), &s);
	amp_channel_free(ch);
	close(peer);
}

/* Whatever was sent: the channel ends as hostile, no descriptor stays. */
static void expect_hostile(size_t size, unsigned fds, const char *why)
{
	struct seen s = {0};
	int peer, many[253];
	unsigned before = open_fds();
	struct amp_channel *ch = half(&s, &peer);

	for (unsigned i = 0; i < fds; i++)
		many[i] = 0;
	send_raw(peer, size, many, fds);
	send_raw(peer, put(AMP_MSG_PING, "", 0), NULL, 0);
	spin();
	assert_int_equal(s.ends, 1);
	assert_int_equal(s.end, AMP_CHANNEL_HOSTILE);
	assert_string_equal(s.why, why);
	assert_int_equal(s.messages, 0); /* nothing after it is served */
	amp_channel_free(ch);
	close(peer);
	assert_int_equal(open_fds(), before);
}

static void hostile_peers_are_cut_off(void **state)
{
	(void)state;
	expect_hostile(put(AMP_MSG_PONG, "", 0), 0, "type not permitted");
	expect_hostile(AMP_MSG_MAX + 1, 0, "longer than a message may be");
	expect_hostile(4, 0, "shorter than a header");
	expect_hostile(0, 1, "shorter than a header");
	expect_hostile(put(AMP_MSG_LINK, "", 0), 2, "wrong number of descriptors");
	expect_hostile(put(AMP_MSG_LINK, "", 0), 100, "wrong number of descriptors");
	expect_hostile(put(AMP_MSG_READ, "", 0), 253, "wrong number of descriptors");
}

static void handler_can_call_the_peer_hostile(void **state)
{
	struct seen s = {.refuse = true, .free_in_end = true};
	int peer;
	char byte;

	(void)state;
	half(&s, &peer);
	send_raw(peer, put(AMP_MSG_PING, "", 0), NULL, 0);
	send_raw(peer, put(AMP_MSG_PING, "", 0), NULL, 0);
	spin();
	assert_int_equal(s.messages, 1);
	assert_int_equal(s.end, AMP_CHANNEL_HOSTILE);
	assert_true(recv(peer, &byte, 1, MSG_DONTWAIT) <= 0 && errno != EAGAIN);
	close(peer);
}

static void state_bits_decide(void **state)
{
	struct seen s = {0};
	int peer;
	struct amp_channel *ch = half(&s, &peer);

	(void)state;
	assert_int_equal(amp_channel_state(ch), 1);
	amp_channel_set_state(ch, 4);
	send_raw(peer, put(AMP_MSG_START, "", 0), NULL, 0);
	spin();
	assert_int_equal(s.messages, 1);
	send_raw(peer, put(AMP_MSG_PING, "", 0), NULL, 0);
	spin();
	assert_int_equal(s.end, AMP_CHANNEL_HOSTILE);
	amp_channel_free(ch);
	close(peer);
}

/* A dying peer that left our message unread: its own last one is not lost. */
static void last_words_are_heard(void **state)
{
	struct seen s = {0};
	int peer;
	struct amp_channel *ch = half(&s, &peer);
	Amp__Ping ping = AMP__PING__INIT;

	(void)state;
	assert_int_equal(amp_channel_send(ch, AMP_MSG_PING, 0, &ping.base, NULL, 0), 0);
	send_raw(peer, put(AMP_MSG_PING, "\x08\x09", 2), NULL, 0);
	close(peer);
	spin();
	assert_int_equal(s.last_seq, 9);
	assert_int_equal(s.ends, 1);
	assert_int_equal(s.end, AMP_CHANNEL_CLOSED);
	assert_int_equal(amp_channel_send(ch, AMP_MSG_PING, 0, &ping.base, NULL, 0), -1);
	assert_int_equal(errno, ENOTCONN);
	amp_channel_free(ch);
}

static void a_wake_up_is_bounded(void **state)
{
	struct seen s = {0};
	int peer;
	struct amp_channel *ch = half(&s, &peer);

	(void)state;
	for (int i = 0; i < 200; i++)
		send_raw(peer, put(AMP_MSG_PING, "", 0), NULL, 0);
	event_base_loop(base, EVLOOP_ONCE | EVLOOP_NONBLOCK);
	assert_in_range(s.messages, 1, 100);
	for (int i = 0; i < 10; i++)
		spin();
	assert_int_equal(s.messages, 200);
	amp_channel_free(ch);
	close(peer);
}

static void pause_holds_messages_back(void **state)
{
	struct seen s = {.pause_in_handler = true};
	int peer;
	struct amp_channel *ch = half(&s, &peer);

	(void)state;
	for (int i = 0; i < 3; i++)
		send_raw(peer, put(AMP_MSG_PING, "", 0), NULL, 0);
	spin();
	spin();
	assert_int_equal(s.messages, 1);
	s.pause_in_handler = false;
	amp_channel_pause_read(ch, false);
	spin();
	assert_int_equal(s.messages, 3);
	amp_channel_free(ch);
	close(peer);
}

/* --- sending ------------------------------------------------------------- */

static int send_large(struct amp_channel *ch, uint64_t id, const int *fds, unsigned n)
{
	static uint8_t path[32000];
	Amp__Read body = AMP__READ__INIT;
	Amp__ReadItem item = AMP__READ_ITEM__INIT, *items = &item;

	item.mount_point.data = path;
	item.mount_point.len = sizeof(path);
	body.n_items = 1;
	body.items = &items;
	return amp_channel_send(ch, AMP_MSG_READ, id, &body.base, fds, n);
}

/* One message from a bare socket; its id, -1: none there. */
static int64_t take_raw(int fd, int *got_fd)
{
	static uint8_t buf[AMP_MSG_MAX];
	union {
		struct cmsghdr h;
		char space[CMSG_SPACE(sizeof(int) * 4)];
	} control;
	struct iovec iov = {buf, sizeof(buf)};
	struct msghdr msg = {
		.msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)};
	struct amp_wire_header h;

	if (recvmsg(fd, &msg, MSG_DONTWAIT) < (ssize_t)sizeof(h))
		return -1;
	*got_fd = -1;
	if (CMSG_FIRSTHDR(&msg))
		memcpy(got_fd, CMSG_DATA(CMSG_FIRSTHDR(&msg)), sizeof(int));
	memcpy(&h, buf, sizeof(h));
	return (int64_t)h.id;
}

static void queue_keeps_order_bounds_and_descriptors(void **state)
{
	struct seen s = {0};
	int peer, fd, file = open("/dev/null", O_RDONLY);
	struct amp_channel *ch = half(&s, &peer);
	unsigned before = open_fds();
	uint64_t sent = 0;
	int64_t got = 0;

	(void)state;
	while (send_large(ch, sent, &file, 1) == 0)
		sent++;
	assert_int_equal(errno, ENOBUFS);
	assert_true(amp_channel_full(ch));
	assert_in_range(amp_channel_queued(ch), 900 * 1024, 1024 * 1024);
	close(file);
	for (int tries = 0; tries < 1000 && (uint64_t)got < sent; tries++) {
		int64_t id = take_raw(peer, &fd);

		if (id < 0) {
			spin();
			continue;
		}
		assert_int_equal(id, got++);
		assert_int_equal(fcntl(fd, F_GETFL) & O_ACCMODE, O_RDONLY);
		close(fd);
	}
	assert_int_equal(got, sent);
	spin();
	assert_int_equal(amp_channel_queued(ch), 0);
	assert_false(amp_channel_full(ch));
	assert_int_equal(s.writables, 1);
	assert_int_equal(open_fds(), before - 1);
	amp_channel_free(ch);
	close(peer);
}

static void queued_descriptors_do_not_outlive_the_channel(void **state)
{
	struct seen s = {0};
	int peer;
	unsigned before = open_fds();
	struct amp_channel *ch = half(&s, &peer);

	(void)state;
	for (uint64_t i = 0; !amp_channel_full(ch); i++)
		assert_int_equal(send_large(ch, i, &peer, 1), 0);
	assert_true(open_fds() > before + 5);
	amp_channel_free(ch);
	close(peer);
	assert_int_equal(open_fds(), before);
}

static void flush_writes_what_is_queued(void **state)
{
	struct seen s = {0};
	int peer;
	struct amp_channel *ch = half(&s, &peer);
	pid_t child;
	int status;

	(void)state;
	while (!amp_channel_full(ch))
		assert_int_equal(send_large(ch, 1, NULL, 0), 0);
	child = fork();
	if (child == 0) {
		static uint8_t buf[AMP_MSG_MAX];

		alarm(100);
		close(amp_channel_fd(ch));
		fcntl(peer, F_SETFL, 0);
		while (recv(peer, buf, sizeof(buf), 0) > 0)
			usleep(1000);
		_exit(0);
	}
	amp_channel_flush(ch, 60000);
	assert_int_equal(amp_channel_queued(ch), 0);
	amp_channel_free(ch);
	close(peer);
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
}

static void flush_does_not_wait_for_ever(void **state)
{
	struct seen s = {0};
	int peer;
	struct amp_channel *ch = half(&s, &peer);

	(void)state;
	while (!amp_channel_full(ch))
		assert_int_equal(send_large(ch, 1, NULL, 0), 0);
	amp_channel_flush(ch, 50);
	assert_true(amp_channel_full(ch));
	amp_channel_free(ch);
	close(peer);
}

static void sender_refuses_what_the_peer_would(void **state)
{
	struct seen s = {0};
	int peer, fds[AMP_MSG_MAX_FDS + 1] = {0};
	struct amp_channel *ch = half(&s, &peer);
	static uint8_t large[AMP_MSG_MAX];
	Amp__Event event = AMP__EVENT__INIT;
	Amp__Source source = AMP__SOURCE__INIT;

	(void)state;
	event.detail = (char[]){"caf\xe9"};
	assert_int_equal(amp_channel_send(ch, AMP_MSG_EVENT, 0, &event.base, NULL, 0), -1);
	assert_int_equal(errno, EINVAL);
	source.kind = (Amp__Source__Kind)9;
	assert_int_equal(amp_channel_send(ch, AMP_MSG_SOURCE, 0, &source.base, NULL, 0), -1);
	assert_int_equal(errno, EINVAL);
	event.detail = (char[]){"x"};
	assert_int_equal(amp_channel_send(ch, AMP_MSG_EVENT, 0, &event.base, fds, AMP_MSG_MAX_FDS + 1), -1);
	assert_int_equal(errno, EINVAL);
	event.path.data = large;
	event.path.len = sizeof(large) - 16;
	assert_int_equal(amp_channel_send(ch, AMP_MSG_EVENT, 0, &event.base, NULL, 0), -1);
	assert_int_equal(errno, EMSGSIZE);
	fds[0] = 9999;
	event.path.len = 0;
	assert_int_equal(amp_channel_send(ch, AMP_MSG_EVENT, 0, &event.base, fds, 1), -1);
	assert_int_equal(errno, EBADF);
	spin();
	assert_int_equal(s.ends, 0); /* none of it is the end */
	amp_channel_free(ch);
	close(peer);
}

/* The end is told from the loop, never from within amp_channel_send. */
static void send_to_the_dead(bool paused)
{
	struct seen s = {.free_in_end = true};
	int peer;
	struct amp_channel *ch = half(&s, &peer);
	Amp__Ping ping = AMP__PING__INIT;

	amp_channel_pause_read(ch, paused);
	close(peer);
	assert_int_equal(amp_channel_send(ch, AMP_MSG_PING, 0, &ping.base, NULL, 0), -1);
	assert_int_equal(errno, ENOTCONN);
	assert_int_equal(amp_channel_send(ch, AMP_MSG_PING, 0, &ping.base, NULL, 0), -1);
	assert_int_equal(s.ends, 0);
	spin();
	assert_int_equal(s.ends, 1);
	assert_int_equal(s.end, AMP_CHANNEL_CLOSED);
}

static void a_dead_peer_is_told_from_the_loop(void **state)
{
	(void)state;
	send_to_the_dead(false);
	send_to_the_dead(true);
}

/* --- lifetime ------------------------------------------------------------ */

static void callbacks_may_free_their_channel(void **state)
{
	struct seen in_handler = {.free_in_handler = true};
	struct seen in_end = {.free_in_end = true};
	struct seen in_writable = {.free_in_writable = true};
	int peer, fd;
	unsigned before = open_fds();
	struct amp_channel *ch;

	(void)state;
	half(&in_handler, &peer);
	send_raw(peer, put(AMP_MSG_PING, "", 0), NULL, 0);
	send_raw(peer, put(AMP_MSG_PING, "", 0), NULL, 0);
	spin();
	assert_int_equal(in_handler.messages, 1);
	assert_int_equal(in_handler.ends, 0);
	close(peer);

	half(&in_end, &peer);
	close(peer);
	spin();
	assert_int_equal(in_end.ends, 1);

	ch = half(&in_writable, &peer);
	while (!amp_channel_full(ch))
		assert_int_equal(send_large(ch, 0, NULL, 0), 0);
	for (int i = 0; i < 1000 && in_writable.writables == 0; i++)
		if (take_raw(peer, &fd) < 0)
			spin();
	assert_int_equal(in_writable.writables, 1);
	close(peer);
	assert_int_equal(open_fds(), before);
}

static void a_bad_descriptor_makes_no_channel(void **state)
{
	struct amp_channel_config c = {.name = "bad", .table = table, .rows = ROWS};

	(void)state;
	assert_null(amp_channel_new(base, 9999, &c));
	amp_channel_free(NULL);
}

/* --- descriptors in flight ------------------------------------------------ */

/* As a user without privilege and with few descriptors: the kernel refuses
 * more in flight, nothing is lost, nothing spins. */
static int run_out_of_flight(void)
{
	struct rlimit few = {48, 48};
	struct seen s = {0}, r = {0};
	struct amp_channel *ch;
	int fds[2], got, rounds = 0;
	unsigned sent = 0;

	if (setrlimit(RLIMIT_NOFILE, &few) < 0 || setgroups(0, NULL) < 0 ||
	    setresgid(65533, 65533, 65533) < 0 || setresuid(65533, 65533, 65533) < 0 ||
	    amp_channel_pair(fds) < 0)
		return 10;
	base = event_base_new();
	ch = channel(fds[0], &s);
	for (; sent < 20; sent++) {
		Amp__Read body = AMP__READ__INIT;
		int four[4] = {0, 0, 0, 0};

		if (amp_channel_send(ch, AMP_MSG_READ, sent, &body.base, four, 4) < 0)
			break;
	}
	if (amp_channel_queued(ch) == 0)
		return 11;     /* nothing was refused */
	while (rounds++ < 3) { /* 20 ms each: a spin would be thousands */
		event_base_loop(base, EVLOOP_ONCE);
	}
	for (int64_t id = 0, tries = 0; id < sent && tries < 1000; tries++) {
		int64_t this = take_raw(fds[1], &got);

		if (this < 0) {
			event_base_loop(base, EVLOOP_ONCE);
			continue;
		}
		for (int fd = got; fd >= 0 && fd < got + 4; fd++)
			close(fd);
		if (this != id++)
			return 12;
		r.messages++;
	}
	return r.messages == sent && amp_channel_queued(ch) == 0 ? 0 : 13;
}

static void too_many_in_flight_only_delays(void **state)
{
	pid_t child;
	int status;

	(void)state;
	if (geteuid() != 0)
		SKIP_WITHOUT("root");
	child = fork();
	if (child == 0) {
		alarm(100);
		_exit(run_out_of_flight());
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(check_names_what_is_wrong_with_a_header),
		TEST(check_refuses_bodies),
		TEST(check_bounds_memory),
		TEST(batch_is_the_turn_of_a_channel),
		TEST(message_arrives_with_its_descriptors),
		TEST(id_and_body_arrive),
		TEST(hostile_peers_are_cut_off),
		TEST(handler_can_call_the_peer_hostile),
		TEST(state_bits_decide),
		TEST(last_words_are_heard),
		TEST(a_wake_up_is_bounded),
		TEST(pause_holds_messages_back),
		TEST(queue_keeps_order_bounds_and_descriptors),
		TEST(queued_descriptors_do_not_outlive_the_channel),
		TEST(flush_writes_what_is_queued),
		TEST(flush_does_not_wait_for_ever),
		TEST(sender_refuses_what_the_peer_would),
		TEST(a_dead_peer_is_told_from_the_loop),
		TEST(callbacks_may_free_their_channel),
		TEST(a_bad_descriptor_makes_no_channel),
		TEST(too_many_in_flight_only_delays),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
