/*
 * ampscand/source_handle.c - fanotify by handle: the first source.
 *
 * Owns: reading the notification group into the buffers and delivering each
 * event with its slot; closing the pidfds that came with it. Nothing here can
 * be stalled by a user: no file is opened by the kernel on our behalf.
 */
#include "source.h"

#include "clock.h"
#include "counter.h"
#include "log.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define READS_PER_WAKEUP 4

struct handle_source {
	struct source head;
	struct buffers *buffers;
};

static struct amp_counter count_events = AMP_COUNTER("events.read", false);
static struct amp_counter count_malformed = AMP_COUNTER("events.malformed", true);
static struct amp_counter count_waits = AMP_COUNTER("events.buffers_busy", false);

/* Delivers every event of a buffer; returns how many there were. */
static unsigned deliver(struct buffers *b, unsigned index, const uint8_t *data, size_t n,
			const struct source_ops *ops, bool inherited)
{
	unsigned count = 0;
	size_t off = 0;

	while (off < n && count < AMP_BUFFER_EVENTS) {
		struct file_event ev;
		size_t len = fanotify_parse(data + off, n - off, &ev);

		if (len == 0) {
			if (!inherited)
				amp_counter_add(&count_malformed, 1);
			break;
		}
		ev.slot = (struct event_slot){
			.kind = SLOT_BUFFER, .buffer = (uint16_t)index, .index = (uint16_t)count};
		if (inherited) /* a number in a dead process's table */
			ev.pidfd = -1;
		ev.fd = -1;
		if (!buffers_is_concluded(b, ev.slot))
			ops->event(&ev, ops->arg);
		if (ev.pidfd >= 0)
			close(ev.pidfd);
		count++;
		off += len;
	}
	return count;
}

void source_handle_replay(struct buffers *b, unsigned index, const uint8_t *data, size_t n,
			  const struct source_ops *ops)
{
	ops->batch(ops->arg);
	buffers_filled(b, index, deliver(b, index, data, n, ops, true));
}

static void set_reading(struct source *s, bool on)
{
	if (on)
		event_add(s->readable, NULL);
	else
		event_del(s->readable);
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
	struct handle_source *hs = arg;
	const struct source_ops *ops = hs->head.ops;

	(void)what;
	for (unsigned i = 0; i < READS_PER_WAKEUP; i++) {
		const uint8_t *data;
		unsigned index, count;
		int64_t now = amp_clock_realtime();
		ssize_t n;

		if (ops->full(ops->arg) || !buffers_have_free(hs->buffers)) {
			amp_counter_add(&count_waits, 1);
			set_reading(&hs->head, false);
			return;
		}
		n = buffers_read(hs->buffers, fd, &index, &data);
		if (n == 0 && errno == EAGAIN)
			hs->head.empty_ns = now;
		if (n == 0)
			return;
		if (n < 0) {
			amp_error("reading the fanotify group: %s", strerror(errno));
			return;
		}
		ops->batch(ops->arg);
		count = deliver(hs->buffers, index, data, (size_t)n, ops, false);
		amp_counter_add(&count_events, count);
		buffers_filled(hs->buffers, index, count);
	}
}

static void resume(struct source *s)
{
	struct handle_source *hs = (struct handle_source *)s;

	if (!event_pending(s->readable, EV_READ, NULL) && buffers_have_free(hs->buffers) &&
	    !s->ops->full(s->ops->arg))
		set_reading(s, true);
}

static void look(struct source *s)
{
	on_readable(s->fd, 0, s);
}

static void release(struct source *s)
{
	event_free(s->readable);
	close(s->fd);
	free(s);
}

static const struct source_vtable vtable = {
	.name = "fanotify by handle", .resume = resume, .look = look, .free = release};

struct source *source_handle_new(struct event_base *base, int fd, struct buffers *b,
				 const struct source_ops *ops)
{
	struct handle_source *hs = calloc(1, sizeof(*hs));

	if (!hs) {
		close(fd);
		return NULL;
	}
	hs->head = (struct source){.vtable = &vtable, .ops = ops, .base = base, .fd = fd};
	hs->buffers = b;
	hs->head.readable = event_new(base, fd, EV_READ | EV_PERSIST, on_readable, hs);
	if (!hs->head.readable) {
		close(fd);
		free(hs);
		return NULL;
	}
	amp_counter_list(&count_events);
	return &hs->head;
}
