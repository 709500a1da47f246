/*
 * ampscand/engine/wire.c - see wire.h.
 */
#include "wire.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define ARENA_LIMIT (64U * 1024U)

/* Of a control message as large as the kernel makes one: what is too much is closed, not lost. */
union control {
	struct cmsghdr h;
	char space[CMSG_SPACE(sizeof(int) * 253)];
};

int wire_init(struct wire *w, int fd, const struct amp_dispatch *table, size_t rows)
{
	w->fd = fd;
	w->table = table;
	w->rows = rows;
	return amp_arena_init(&w->arena, ARENA_LIMIT);
}

/* How many there were; the first ones in fds, the others closed. */
static unsigned take_fds(struct msghdr *msg, int fds[AMP_MSG_MAX_FDS])
{
	unsigned n = 0;

	for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		for (size_t at = 0; at + sizeof(int) <= c->cmsg_len - CMSG_LEN(0); at += sizeof(int)) {
			int fd;

			memcpy(&fd, CMSG_DATA(c) + at, sizeof(fd));
			if (n < AMP_MSG_MAX_FDS)
				fds[n] = fd;
			else
				close(fd);
			n++;
		}
	}
	return n;
}

static void close_fds(const int *fds, unsigned n)
{
	for (unsigned i = 0; i < n && i < AMP_MSG_MAX_FDS; i++)
		close(fds[i]);
}

int wire_receive(struct wire *w, struct amp_message *m, const char **why)
{
	union control control;
	struct iovec iov = {w->data, sizeof(w->data)};
	struct msghdr msg = {
		.msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)};
	struct amp_wire_header header;
	const struct amp_dispatch *row;
	ssize_t n;

	*why = "not received";
	do
		n = recvmsg(w->fd, &msg, MSG_CMSG_CLOEXEC);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return errno == ECONNRESET ? 0 : -1;
	if (n == 0 && msg.msg_controllen == 0)
		return 0;
	m->fd_count = take_fds(&msg, m->fds);
	amp_arena_reset(&w->arena);
	if ((msg.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) ||
	    amp_message_check(w->table, w->rows, 1, w->data, (size_t)n, m->fd_count, &w->arena, &row, &header,
			      &m->body, why) != 0) {
		close_fds(m->fds, m->fd_count);
		errno = EBADMSG;
		return -1;
	}
	m->type = header.type;
	m->id = header.id;
	return 1;
}

int wire_send(struct wire *w, uint16_t type, uint64_t id, const ProtobufCMessage *body)
{
	size_t size = amp_message_pack(w->data, sizeof(w->data), type, id, body);
	ssize_t n;

	if (size == 0)
		return -1;
	do
		n = send(w->fd, w->data, size, MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	return n == (ssize_t)size ? 0 : -1;
}
