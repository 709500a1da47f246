/*
 * ampscand/source_fd.c - fanotify by descriptor: the fall-back source.
 *
 * For file systems that have no handles (an overlay on older kernels, or one
 * whose layers are not watched). The kernel opens each file when the event is
 * read: a lease may cost the event (with FAN_REPORT_FD_ERROR it is counted,
 * before 6.13 it is not even seen), the name is the one the writer's mount
 * namespace gives. `posture` says so. Descriptors die with us: a repair follows.
 *
 * Owns: reading that group, the descriptors until the event was delivered.
 */
#include "source.h"

#include "clock.h"
#include "counter.h"
#include "log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define READ_SIZE      4096 /* about 90 events: what one wake-up may open */
#define READS_PER_LOOK 4

struct fd_source {
	struct source head;
	_Alignas(8) uint8_t data[READ_SIZE];
};

static struct amp_counter count_events = AMP_COUNTER("events.read_by_fd", false);
static struct amp_counter count_unopened = AMP_COUNTER("events.fd_not_opened", true);

/* A repair names the file by the same handle: it is one detection. */
static int id_of(int fd, struct amp_fileid *id)
{
	struct stat st;

	if (fstatat(fd, "", &st, AT_EMPTY_PATH) != 0 || !S_ISREG(st.st_mode) ||
	    amp_fsid_of_fd(fd, &id->fsid) != 0)
		return -1;
	return amp_handle_of_fd(fd, &id->handle);
}

static void deliver_one(struct fd_source *fs, struct file_event *ev)
{
	const struct source_ops *ops = fs->head.ops;

	amp_counter_add(&count_events, 1);
	if (ev->bits & EVENT_OVERFLOW)
		ops->event(ev, ops->arg);
	else if (ev->fd < 0)
		amp_counter_add(&count_unopened, 1);
	else if (id_of(ev->fd, &ev->file) == 0)
		ops->event(ev, ops->arg);
	if (ev->fd >= 0)
		close(ev->fd);
	if (ev->pidfd >= 0)
		close(ev->pidfd);
}

/* True: there may be more. */
static bool read_some(struct fd_source *fs)
{
	const struct source_ops *ops = fs->head.ops;
	int64_t now = amp_clock_realtime();
	size_t off = 0;
	ssize_t n;

	if (ops->full(ops->arg)) {
		event_del(fs->head.readable);
		return false;
	}
	n = read(fs->head.fd, fs->data, sizeof(fs->data));
	if (n < 0 && errno == EAGAIN)
		fs->head.empty_ns = now;
	if (n < 0 && errno != EAGAIN && errno != EINTR)
		amp_error("reading the fanotify group of descriptors: %s", strerror(errno));
	if (n <= 0)
		return false;
	ops->batch(ops->arg);
	while (off < (size_t)n) {
		struct file_event ev;
		size_t len = fanotify_parse(fs->data + off, (size_t)n - off, &ev);

		if (len == 0)
			break;
		deliver_one(fs, &ev);
		off += len;
	}
	return true;
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	read_some(arg);
}

static void look(struct source *s)
{
	for (unsigned i = 0; i < READS_PER_LOOK && read_some((struct fd_source *)s); i++)
		continue;
}

static void resume(struct source *s)
{
	if (!event_pending(s->readable, EV_READ, NULL) && !s->ops->full(s->ops->arg))
		event_add(s->readable, NULL);
}

static void release(struct source *s)
{
	event_free(s->readable);
	close(s->fd);
	free(s);
}

static const struct source_vtable vtable = {
	.name = "fanotify by descriptor", .resume = resume, .look = look, .free = release};

struct source *source_fd_new(struct event_base *base, int fd, const struct source_ops *ops)
{
	struct fd_source *fs = calloc(1, sizeof(*fs));

	if (!fs) {
		close(fd);
		return NULL;
	}
	fs->head = (struct source){.vtable = &vtable, .ops = ops, .base = base, .fd = fd};
	fs->head.readable = event_new(base, fd, EV_READ | EV_PERSIST, on_readable, fs);
	if (!fs->head.readable) {
		close(fd);
		free(fs);
		return NULL;
	}
	return &fs->head;
}
