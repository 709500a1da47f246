/*
 * lib/channel.c - SEQPACKET framing, checking, dispatch and the output queue.
 *
 * Owns: the only recvmsg and sendmsg of the suite's links. Everything a peer
 * can choose is checked here before a handler runs; a descriptor that came in
 * is either taken by the handler or closed before the next message is read.
 * Must not own: meaning, identity of the peer, reconnecting.
 *
 * Lifetime: callbacks may free their own channel. `busy` counts the frames of
 * this file that still look at it; the last of them releases it.
 */
#include "channel.h"

#include "arena.h"
#include "clock.h"
#include "counter.h"
#include "log.h"
#include "text.h"

#include <errno.h>
#include <event2/util.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define HEADER_SIZE    sizeof(struct amp_wire_header)
#define ARENA_LIMIT    (1024U * 1024U)
#define SOCKET_BUFFER  (1024 * 1024)
#define KERNEL_MAX_FDS 253U /* SCM_MAX_FD: what one message can carry */
#define BATCH	       64   /* messages a wake-up, so that no peer starves the others */
#define RETRY_US       20000
#define DEFAULT_HIGH   ((size_t)1024 * 1024)
#define DEFAULT_LOW    ((size_t)256 * 1024)
#define DEFAULT_LIMIT  ((size_t)8 * 1024 * 1024)

static struct amp_counter hostile_peers = AMP_COUNTER("channel.hostile", false);
static struct amp_counter fds_delayed = AMP_COUNTER("channel.fds_delayed", false);

/* A datagram that waits, with duplicates of its descriptors. */
struct outgoing {
	struct outgoing *next;
	size_t size;
	unsigned fd_count;
	int fds[AMP_MSG_MAX_FDS];
	uint8_t data[];
};

/* Buffers that all channels of a thread share: one message is in hand at a time. */
struct scratch {
	unsigned users;
	bool receiving;
	struct amp_arena arena;
	uint8_t rx[AMP_MSG_MAX];
	uint8_t tx[AMP_MSG_MAX];
};

static _Thread_local struct scratch *thread_scratch;

struct amp_channel {
	struct amp_channel_config config;
	char name[64];
	struct scratch *scratch;
	void *owner;
	int fd;
	uint32_t state;
	struct event *on_read, *on_write, *on_timer;
	struct outgoing *head, **tail;
	size_t queued;
	int64_t last_activity;
	unsigned busy;
	bool above_high, paused;
	bool broken; /* cannot be written; the end is told from the loop */
	bool ended;  /* on_end was called, or will never be */
	bool freed;  /* amp_channel_free came while busy */
};

/* What became of an attempt to send. */
enum sent { SENT, SOCKET_FULL, KERNEL_SHORT, PEER_GONE, REFUSED };

int amp_message_take_fd(struct amp_message *m, unsigned i)
{
	int fd;

	if (i >= m->fd_count)
		return -1;
	fd = m->fds[i];
	m->fds[i] = -1;
	return fd;
}

static void close_fds(int *fds, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		if (fds[i] >= 0)
			close(fds[i]);
}

/* --- checking ---------------------------------------------------------- */

static int check_body(const ProtobufCMessage *m, const char **why);

static int check_enum(const ProtobufCFieldDescriptor *f, const void *at, const char **why)
{
	const ProtobufCEnumDescriptor *d = f->descriptor;
	int value;

	memcpy(&value, at, sizeof(value));
	if (protobuf_c_enum_descriptor_get_value(d, value))
		return 0;
	*why = "enum out of range";
	return -1;
}

static int check_string(const void *at, const char **why)
{
	const char *s;

	memcpy(&s, at, sizeof(s));
	if (!s || amp_text_is_utf8(s, strlen(s)))
		return 0;
	*why = "string is not UTF-8";
	return -1;
}

static int check_element(const ProtobufCFieldDescriptor *f, const void *at, const char **why)
{
	const ProtobufCMessage *sub;

	if (f->type == PROTOBUF_C_TYPE_ENUM)
		return check_enum(f, at, why);
	if (f->type == PROTOBUF_C_TYPE_STRING)
		return check_string(at, why);
	if (f->type != PROTOBUF_C_TYPE_MESSAGE)
		return 0;
	memcpy(&sub, at, sizeof(sub));
	return sub ? check_body(sub, why) : 0;
}

static size_t element_size(ProtobufCType type)
{
	return type == PROTOBUF_C_TYPE_ENUM ? sizeof(int) : sizeof(void *);
}

static bool worth_checking(ProtobufCType type)
{
	return type == PROTOBUF_C_TYPE_ENUM || type == PROTOBUF_C_TYPE_STRING ||
	       type == PROTOBUF_C_TYPE_MESSAGE;
}

static int check_repeated(const ProtobufCMessage *m, const ProtobufCFieldDescriptor *f, const char **why)
{
	const uint8_t *base = (const uint8_t *)m;
	const uint8_t *array;
	size_t n;

	memcpy(&n, base + f->quantifier_offset, sizeof(n));
	memcpy(&array, base + f->offset, sizeof(array));
	for (size_t i = 0; i < n; i++)
		if (check_element(f, array + i * element_size(f->type), why) < 0)
			return -1;
	return 0;
}

/* A member of a oneof whose case is another one holds nothing of its own. */
static bool member_absent(const ProtobufCMessage *m, const ProtobufCFieldDescriptor *f)
{
	uint32_t chosen;

	if (!(f->flags & PROTOBUF_C_FIELD_FLAG_ONEOF))
		return false;
	memcpy(&chosen, (const uint8_t *)m + f->quantifier_offset, sizeof(chosen));
	return chosen != f->id;
}

/* No message type contains itself, so the depth is that of the .proto files. */
static int check_body(const ProtobufCMessage *m, const char **why)
{
	if (m->n_unknown_fields > 0) {
		*why = "unknown field";
		return -1;
	}
	for (unsigned i = 0; i < m->descriptor->n_fields; i++) {
		const ProtobufCFieldDescriptor *f = &m->descriptor->fields[i];
		int rc = 0;

		if (!worth_checking(f->type) || member_absent(m, f))
			continue;
		if (f->label == PROTOBUF_C_LABEL_REPEATED)
			rc = check_repeated(m, f, why);
		else
			rc = check_element(f, (const uint8_t *)m + f->offset, why);
		if (rc < 0)
			return -1;
	}
	return 0;
}

static const struct amp_dispatch *find_row(const struct amp_dispatch *table, size_t rows, uint16_t type)
{
	for (size_t i = 0; i < rows; i++)
		if (table[i].type == type)
			return &table[i];
	return NULL;
}

/* Everything that can be said before the body is looked at. */
static const char *check_header(const struct amp_wire_header *h, const struct amp_dispatch *row,
				uint32_t state, size_t length, unsigned fd_count)
{
	if (h->version != AMP_WIRE_VERSION)
		return "other protocol version";
	if (h->length != length - HEADER_SIZE)
		return "length does not match";
	if (!row)
		return "type not permitted";
	if (row->states != 0 && (row->states & state) == 0)
		return "type not permitted now";
	if (h->length > row->max_length)
		return "body too long";
	if (fd_count < row->min_fds || fd_count > row->max_fds || fd_count > AMP_MSG_MAX_FDS)
		return "wrong number of descriptors";
	return NULL;
}

static const ProtobufCMessage *unpack_body(const struct amp_dispatch *row, const uint8_t *data, size_t length,
					   struct amp_arena *arena, const char **why)
{
	ProtobufCMessage *m = protobuf_c_message_unpack(row->descriptor, &arena->allocator, length, data);

	if (!m) {
		*why = arena->exceeded ? "body needs too much memory" : "body malformed";
		return NULL;
	}
	if (check_body(m, why) < 0)
		return NULL;
	/* Also finds a NUL within a string: what follows it is not packed again. */
	if (protobuf_c_message_get_packed_size(m) != length) {
		*why = "body not in canonical form";
		return NULL;
	}
	return m;
}

int amp_message_check(const struct amp_dispatch *table, size_t rows, uint32_t state, const uint8_t *data,
		      size_t length, unsigned fd_count, struct amp_arena *arena,
		      const struct amp_dispatch **row, struct amp_wire_header *header,
		      const ProtobufCMessage **body, const char **why)
{
	*row = NULL;
	*body = NULL;
	if (length < HEADER_SIZE) {
		*why = "shorter than a header";
		return -1;
	}
	if (length > AMP_MSG_MAX) {
		*why = "longer than a message may be";
		return -1;
	}
	memcpy(header, data, HEADER_SIZE);
	*row = find_row(table, rows, header->type);
	*why = check_header(header, *row, state, length, fd_count);
	if (*why)
		return -1;
	*body = unpack_body(*row, data + HEADER_SIZE, length - HEADER_SIZE, arena, why);
	return *body ? 0 : -1;
}

/* --- life -------------------------------------------------------------- */

static struct scratch *scratch_get(void)
{
	struct scratch *s = thread_scratch;

	if (!s) {
		s = malloc(sizeof(*s));
		if (!s)
			return NULL;
		s->users = 0;
		s->receiving = false;
		if (amp_arena_init(&s->arena, ARENA_LIMIT) < 0) {
			free(s);
			return NULL;
		}
		thread_scratch = s;
	}
	s->users++;
	return s;
}

static void scratch_put(struct scratch *s)
{
	if (--s->users > 0)
		return;
	amp_arena_free(&s->arena);
	if (thread_scratch == s)
		thread_scratch = NULL;
	free(s);
}

static void outgoing_free(struct outgoing *o)
{
	close_fds(o->fds, o->fd_count);
	free(o);
}

static void queue_pop(struct amp_channel *ch)
{
	struct outgoing *o = ch->head;

	ch->head = o->next;
	if (!ch->head)
		ch->tail = &ch->head;
	ch->queued -= o->size;
	outgoing_free(o);
}

static void queue_drop(struct amp_channel *ch)
{
	while (ch->head)
		queue_pop(ch);
}

/* No more reading, writing or waiting. */
static void silence(struct amp_channel *ch)
{
	ch->ended = true;
	event_del(ch->on_read);
	event_del(ch->on_write);
	event_del(ch->on_timer);
	queue_drop(ch);
	if (ch->fd >= 0)
		close(ch->fd);
	ch->fd = -1;
}

static void release(struct amp_channel *ch)
{
	if (ch->on_read)
		event_free(ch->on_read);
	if (ch->on_write)
		event_free(ch->on_write);
	if (ch->on_timer)
		event_free(ch->on_timer);
	if (ch->fd >= 0)
		close(ch->fd);
	if (ch->scratch)
		scratch_put(ch->scratch);
	free(ch);
}

void amp_channel_free(struct amp_channel *ch)
{
	if (!ch || ch->freed)
		return;
	silence(ch);
	ch->freed = true;
	if (ch->busy == 0)
		release(ch);
}

static void enter(struct amp_channel *ch)
{
	ch->busy++;
}

static void leave(struct amp_channel *ch)
{
	if (--ch->busy == 0 && ch->freed)
		release(ch);
}

/* Tells the owner, once. */
static void finish(struct amp_channel *ch, enum amp_channel_end end, const char *why)
{
	if (ch->ended)
		return;
	silence(ch);
	if (end == AMP_CHANNEL_HOSTILE) {
		amp_counter_add(&hostile_peers, 1);
		amp_warn("%s: peer broke the protocol: %s", ch->name, why);
	}
	if (ch->config.on_end)
		ch->config.on_end(ch, end, why, ch->config.arg);
}

/* --- sending ----------------------------------------------------------- */

size_t amp_message_pack(uint8_t *buf, size_t size, uint16_t type, uint64_t id, const ProtobufCMessage *body)
{
	size_t length = protobuf_c_message_get_packed_size(body);
	struct amp_wire_header h = {.version = AMP_WIRE_VERSION, .type = type, .id = id};

	if (size < HEADER_SIZE || length > size - HEADER_SIZE || length > AMP_MSG_MAX - HEADER_SIZE) {
		errno = EMSGSIZE;
		return 0;
	}
	h.length = (uint32_t)length;
	memcpy(buf, &h, HEADER_SIZE);
	protobuf_c_message_pack(body, buf + HEADER_SIZE);
	return HEADER_SIZE + length;
}

static enum sent send_failed(int error)
{
	switch (error) {
	case EAGAIN:
		return SOCKET_FULL;
	/* Descriptors in flight are counted per uid, a dead sender's too. */
	case ETOOMANYREFS:
		amp_counter_add(&fds_delayed, 1);
		return KERNEL_SHORT;
	case ENOBUFS:
	case ENOMEM:
		return KERNEL_SHORT;
	case EPIPE:
	case ECONNRESET:
	case ECONNREFUSED:
	case ENOTCONN:
		return PEER_GONE;
	default:
		return REFUSED;
	}
}

static enum sent transmit(struct amp_channel *ch, const uint8_t *data, size_t size, const int *fds,
			  unsigned fd_count)
{
	union {
		struct cmsghdr h;
		char space[CMSG_SPACE(sizeof(int) * AMP_MSG_MAX_FDS)];
	} control;
	struct iovec iov = {.iov_base = (void *)(uintptr_t)data, .iov_len = size};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
	ssize_t n;

	if (fd_count > 0) {
		memset(&control, 0, sizeof(control));
		control.h.cmsg_level = SOL_SOCKET;
		control.h.cmsg_type = SCM_RIGHTS;
		control.h.cmsg_len = CMSG_LEN(sizeof(int) * fd_count);
		memcpy(CMSG_DATA(&control.h), fds, sizeof(int) * fd_count);
		msg.msg_control = &control;
		msg.msg_controllen = CMSG_SPACE(sizeof(int) * fd_count);
	}
	do
		n = sendmsg(ch->fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return send_failed(errno);
	ch->last_activity = amp_clock_monotonic();
	return SENT;
}

/* Waits for what will let the queue move on: room in the socket, or time. */
static void await(struct amp_channel *ch, enum sent outcome)
{
	const struct timeval retry = {.tv_usec = RETRY_US};

	if (outcome == KERNEL_SHORT) {
		event_del(ch->on_write); /* the socket is writable: it would spin */
		event_add(ch->on_timer, &retry);
	} else {
		event_add(ch->on_write, NULL);
	}
}

/*
 * The owner is told from the loop: amp_channel_send's caller must not find
 * its channel freed by its own callback.
 */
static void mark_broken(struct amp_channel *ch)
{
	const struct timeval at_once = {0};

	ch->broken = true;
	queue_drop(ch);
	event_del(ch->on_write);
	event_add(ch->on_timer, &at_once);
}

static int dup_fds(int *to, const int *from, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		to[i] = fcntl(from[i], F_DUPFD_CLOEXEC, 0);
		if (to[i] < 0) {
			int error = errno;

			close_fds(to, i);
			errno = error;
			return -1;
		}
	}
	return 0;
}

static int enqueue(struct amp_channel *ch, const uint8_t *data, size_t size, const int *fds,
		   unsigned fd_count)
{
	struct outgoing *o;

	if (size > ch->config.limit - ch->queued) {
		errno = ENOBUFS;
		return -1;
	}
	o = malloc(sizeof(*o) + size);
	if (!o) {
		errno = ENOBUFS;
		return -1;
	}
	if (dup_fds(o->fds, fds, fd_count) < 0) {
		free(o);
		return -1;
	}
	o->next = NULL;
	o->size = size;
	o->fd_count = fd_count;
	memcpy(o->data, data, size);
	*ch->tail = o;
	ch->tail = &o->next;
	ch->queued += size;
	if (ch->queued > ch->config.high)
		ch->above_high = true;
	return 0;
}

static int send_or_queue(struct amp_channel *ch, size_t size, const int *fds, unsigned fd_count)
{
	enum sent outcome;

	if (ch->head)
		return enqueue(ch, ch->scratch->tx, size, fds, fd_count);
	outcome = transmit(ch, ch->scratch->tx, size, fds, fd_count);
	if (outcome == SENT)
		return 0;
	if (outcome == REFUSED)
		return -1;
	if (outcome == PEER_GONE) {
		mark_broken(ch);
		errno = ENOTCONN;
		return -1;
	}
	if (enqueue(ch, ch->scratch->tx, size, fds, fd_count) < 0)
		return -1;
	await(ch, outcome);
	return 0;
}

int amp_channel_send(struct amp_channel *ch, uint16_t type, uint64_t id, const ProtobufCMessage *body,
		     const int *fds, unsigned fd_count)
{
	const char *why;
	size_t size;

	if (ch->ended || ch->broken) {
		errno = ENOTCONN;
		return -1;
	}
	if (fd_count > AMP_MSG_MAX_FDS) {
		errno = EINVAL;
		return -1;
	}
	/* Better an error here than a peer that takes us for hostile. */
	if (check_body(body, &why) < 0) {
		amp_error("%s: %s not sent: %s", ch->name, body->descriptor->short_name, why);
		errno = EINVAL;
		return -1;
	}
	size = amp_message_pack(ch->scratch->tx, sizeof(ch->scratch->tx), type, id, body);
	if (size == 0)
		return -1;
	return send_or_queue(ch, size, fds, fd_count);
}

/* Sends from the queue until it is empty, the kernel says no, or a batch is full. */
static void pump(struct amp_channel *ch)
{
	enum sent outcome = SENT;

	for (int i = 0; i < BATCH && ch->head && outcome == SENT; i++) {
		outcome = transmit(ch, ch->head->data, ch->head->size, ch->head->fds, ch->head->fd_count);
		if (outcome == SENT)
			queue_pop(ch);
	}
	if (outcome == PEER_GONE || outcome == REFUSED)
		mark_broken(ch);
	else if (ch->head)
		await(ch, outcome);
	else
		event_del(ch->on_write);
}

static void pump_and_tell(struct amp_channel *ch)
{
	enter(ch);
	pump(ch);
	if (ch->above_high && !ch->broken && ch->queued < ch->config.low) {
		ch->above_high = false;
		if (ch->config.on_writable)
			ch->config.on_writable(ch, ch->config.arg);
	}
	leave(ch);
}

static void write_cb(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	pump_and_tell(arg);
}

void amp_channel_flush(struct amp_channel *ch, unsigned ms)
{
	int64_t end = amp_clock_kernel_monotonic() + (int64_t)ms * AMP_NS_PER_MS;

	while (!ch->ended && !ch->broken && ch->head) {
		struct pollfd p = {.fd = ch->fd, .events = POLLOUT};

		pump(ch);
		if (!ch->head || amp_clock_kernel_monotonic() >= end)
			return;
		/* Bounded: a shortage of the kernel's leaves the socket writable. */
		if (poll(&p, 1, RETRY_US / 1000) == 1)
			poll(NULL, 0, 1);
	}
}

/* --- receiving --------------------------------------------------------- */

struct received {
	size_t size;
	int flags;
	bool strange; /* control data other than descriptors */
	unsigned fd_count;
	int fds[KERNEL_MAX_FDS];
};

static void collect_fds(struct msghdr *msg, struct received *r)
{
	for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
		size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS ||
		    n > KERNEL_MAX_FDS - r->fd_count) {
			r->strange = true;
			continue;
		}
		memcpy(r->fds + r->fd_count, CMSG_DATA(c), n * sizeof(int));
		r->fd_count += (unsigned)n;
	}
}

/* 1: a message; 0: the peer is gone; -1 and errno. */
static int receive(struct amp_channel *ch, struct received *r)
{
	union {
		struct cmsghdr h;
		char space[CMSG_SPACE(sizeof(int) * KERNEL_MAX_FDS)];
	} control;
	struct iovec iov = {.iov_base = ch->scratch->rx, .iov_len = sizeof(ch->scratch->rx)};
	struct msghdr msg = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = sizeof(control),
	};
	ssize_t n = recvmsg(ch->fd, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);

	if (n < 0)
		return -1;
	r->size = (size_t)n;
	r->flags = msg.msg_flags;
	r->strange = false;
	r->fd_count = 0;
	collect_fds(&msg, r);
	return n > 0 || r->fd_count > 0;
}

/* NULL, or what was wrong. Runs the handler. */
static const char *handle(struct amp_channel *ch, struct received *r)
{
	struct amp_message m = {.fd_count = r->fd_count};
	struct amp_wire_header header;
	const struct amp_dispatch *row;
	const char *why;
	int rc;

	if (r->flags & MSG_TRUNC)
		return "longer than a message may be";
	if (r->flags & MSG_CTRUNC)
		return "descriptors did not all arrive";
	if (r->strange)
		return "strange control data";
	if (amp_message_check(ch->config.table, ch->config.rows, ch->state, ch->scratch->rx, r->size,
			      r->fd_count, &ch->scratch->arena, &row, &header, &m.body, &why) < 0)
		return why;
	m.type = header.type;
	m.id = header.id;
	for (unsigned i = 0; i < r->fd_count; i++)
		m.fds[i] = r->fds[i];
	rc = row->handler(ch, &m, ch->config.arg);
	for (unsigned i = 0; i < r->fd_count; i++)
		r->fds[i] = m.fds[i]; /* -1 where taken */
	if (rc >= 0)
		return NULL;
	amp_warn("%s: content of message %04x refused by its handler", ch->name, header.type);
	return "content not permitted";
}

static void dispatch(struct amp_channel *ch, struct received *r)
{
	struct scratch *s = ch->scratch;
	const char *why;

	ch->last_activity = amp_clock_monotonic();
	s->receiving = true;
	why = handle(ch, r);
	amp_arena_reset(&s->arena);
	s->receiving = false;
	close_fds(r->fds, r->fd_count);
	if (why)
		finish(ch, AMP_CHANNEL_HOSTILE, why);
}

/* A message of no bytes looks like the end of file; after that nothing more comes. */
static bool peer_is_there(const struct amp_channel *ch)
{
	struct pollfd p = {.fd = ch->fd, .events = POLLRDHUP};

	return poll(&p, 1, 0) == 0;
}

/* True if another message may follow. */
static bool receive_one(struct amp_channel *ch)
{
	struct received r;
	int rc = receive(ch, &r);

	if (rc > 0) {
		dispatch(ch, &r);
		return true;
	}
	if (rc == 0 && peer_is_there(ch)) {
		finish(ch, AMP_CHANNEL_HOSTILE, "empty message");
		return false;
	}
	if (rc == 0) {
		finish(ch, AMP_CHANNEL_CLOSED, "peer is gone");
		return false;
	}
	/* The peer died with our messages unread. Its own last ones come after
	 * this error, then the end of file. */
	if (errno == ECONNRESET || errno == EINTR)
		return true;
	if (errno != EAGAIN)
		finish(ch, AMP_CHANNEL_CLOSED, strerror(errno));
	return false;
}

static void receive_batch(struct amp_channel *ch)
{
	/* A handler that runs the loop itself must not have its message overwritten. */
	if (ch->scratch->receiving)
		return;
	for (int i = 0; i < ch->config.batch && !ch->ended && !ch->paused; i++)
		if (!receive_one(ch))
			return;
}

static void read_cb(evutil_socket_t fd, short what, void *arg)
{
	struct amp_channel *ch = arg;

	(void)fd;
	(void)what;
	enter(ch);
	receive_batch(ch);
	leave(ch);
}

/* Time to try again after a shortage, or to tell that a send found the peer gone. */
static void timer_cb(evutil_socket_t fd, short what, void *arg)
{
	struct amp_channel *ch = arg;

	(void)fd;
	(void)what;
	enter(ch);
	if (ch->broken) {
		receive_batch(ch); /* its last words */
		finish(ch, AMP_CHANNEL_CLOSED, "peer is gone");
	} else {
		pump_and_tell(ch);
	}
	leave(ch);
}

/* --- making ------------------------------------------------------------ */

static bool buffer_large(int fd)
{
	int size = 0;
	socklen_t n = sizeof(size);

	return getsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, &n) == 0 && size >= SOCKET_BUFFER;
}

/*
 * Room for several messages of the largest size. Without the privilege the
 * system's limit holds: fewer of them, which is slower, not wrong. A room
 * under its filter may not even try the other way (lib/seccomp_table.c).
 * A receive buffer means nothing to AF_UNIX: the sender's is what counts.
 */
static void raise_buffer(int fd)
{
	const int size = SOCKET_BUFFER;

	if (!buffer_large(fd) && setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size)) < 0)
		amp_debug("send buffer not raised: %s", strerror(errno));
}

int amp_channel_pair(int fds[2])
{
	const int size = SOCKET_BUFFER;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds) < 0)
		return -1;
	for (int i = 0; i < 2; i++)
		if (setsockopt(fds[i], SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof(size)) < 0)
			raise_buffer(fds[i]);
	return 0;
}

static void set_defaults(struct amp_channel_config *c)
{
	if (c->high == 0)
		c->high = DEFAULT_HIGH;
	if (c->low == 0)
		c->low = DEFAULT_LOW;
	if (c->limit == 0)
		c->limit = DEFAULT_LIMIT;
	if (c->batch <= 0)
		c->batch = BATCH;
}

static int start(struct amp_channel *ch, struct event_base *base)
{
	ch->scratch = scratch_get();
	if (!ch->scratch)
		return -1;
	ch->on_read = event_new(base, ch->fd, EV_READ | EV_PERSIST, read_cb, ch);
	ch->on_write = event_new(base, ch->fd, EV_WRITE | EV_PERSIST, write_cb, ch);
	ch->on_timer = evtimer_new(base, timer_cb, ch);
	if (!ch->on_read || !ch->on_write || !ch->on_timer) {
		errno = ENOMEM;
		return -1;
	}
	if (evutil_make_socket_nonblocking(ch->fd) < 0)
		return -1;
	raise_buffer(ch->fd);
	return event_add(ch->on_read, NULL);
}

struct amp_channel *amp_channel_new(struct event_base *base, int fd, const struct amp_channel_config *c)
{
	struct amp_channel *ch = calloc(1, sizeof(*ch));
	int error;

	if (!ch) {
		close(fd);
		errno = ENOMEM;
		return NULL;
	}
	ch->config = *c;
	set_defaults(&ch->config);
	snprintf(ch->name, sizeof(ch->name), "%s", c->name ? c->name : "channel");
	ch->config.name = ch->name;
	ch->fd = fd;
	ch->state = 1;
	ch->tail = &ch->head;
	ch->last_activity = amp_clock_monotonic();
	if (start(ch, base) == 0)
		return ch;
	error = errno;
	release(ch);
	errno = error;
	return NULL;
}

void amp_channel_pause_read(struct amp_channel *ch, bool paused)
{
	if (ch->ended || ch->paused == paused)
		return;
	ch->paused = paused;
	if (paused)
		event_del(ch->on_read);
	else
		event_add(ch->on_read, NULL);
}

bool amp_channel_full(const struct amp_channel *ch)
{
	return ch->queued > ch->config.high;
}

size_t amp_channel_queued(const struct amp_channel *ch)
{
	return ch->queued;
}

void amp_channel_set_state(struct amp_channel *ch, uint32_t state)
{
	ch->state = state;
}

uint32_t amp_channel_state(const struct amp_channel *ch)
{
	return ch->state;
}

const char *amp_channel_name(const struct amp_channel *ch)
{
	return ch->name;
}

void *amp_channel_arg(const struct amp_channel *ch)
{
	return ch->config.arg;
}

int amp_channel_fd(const struct amp_channel *ch)
{
	return ch->fd;
}

void amp_channel_set_owner(struct amp_channel *ch, void *owner)
{
	ch->owner = owner;
}

void *amp_channel_owner(const struct amp_channel *ch)
{
	return ch->owner;
}

int64_t amp_channel_last_activity(const struct amp_channel *ch)
{
	return ch->last_activity;
}
