/*
 * ampquard/hand.c - see hand.h.
 *
 * Here the process may hang, in any call on a user's file, for as long as that user
 * likes. It tells beforehand on which (shared->working) and answers when it is let go.
 */
#include "hand.h"

#include "log.h"
#include "meta.h"
#include "neutral.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define LOCKS	 ((uint32_t)(FS_IMMUTABLE_FL | FS_APPEND_FL))
#define HELD_MAX HAND_SLOTS

struct hand_slot {
	bool used;
	int file;	/* -1: it is gone */
	uint32_t flags; /* of the inode, taken away for the capture; 0: none */
	struct capture *capture;
	char entry_id[NAMES_ID_MAX + 1];
};

struct hand_work {
	struct hand_shared *shared;
	struct hand_slot slots[HAND_SLOTS];
	struct names_syncs syncs;
};

struct hand_work *hand_work_new(struct hand_shared *shared)
{
	struct hand_work *w = calloc(1, sizeof(*w));

	if (w)
		w->shared = shared;
	return w;
}

static void slot_free(struct hand_slot *s)
{
	if (s->file >= 0)
		close(s->file);
	*s = (struct hand_slot){.file = -1};
}

void hand_work_free(struct hand_work *w)
{
	if (!w)
		return;
	hand_sync(w);
	for (size_t i = 0; i < HAND_SLOTS; i++)
		if (w->slots[i].used)
			slot_free(&w->slots[i]);
	free(w);
}

void hand_sync(struct hand_work *w)
{
	names_sync(&w->syncs);
}

/* --- what is asked ------------------------------------------------------------ */

static int begin(struct hand_slot *s, const struct hand_ask *a, int fd)
{
	if (s->used || !*a->entry_id) {
		errno = EINVAL;
		return -1;
	}
	s->file = -1;
	if (fd >= 0 && (s->file = fcntl(fd, F_DUPFD_CLOEXEC, 0)) < 0)
		return -1;
	memcpy(s->entry_id, a->entry_id, sizeof(s->entry_id));
	s->used = true;
	return 0;
}

/* Bytes of a hole from at on. A file system that knows no holes has none. */
static uint64_t hole_at(int file, uint64_t at, uint64_t end)
{
	off_t data = lseek(file, (off_t)at, SEEK_DATA);
	uint64_t hole = 0;

	if (data < 0 && errno == ENXIO)
		hole = end - at;
	else if (data > 0 && (uint64_t)data > at)
		hole = ((uint64_t)data < end ? (uint64_t)data : end) - at;
	return hole < HAND_HOLE_MAX ? hole : HAND_HOLE_MAX;
}

static int read_some(const struct hand_slot *s, const struct hand_ask *a, uint8_t *buffer,
		     struct hand_answer *out)
{
	uint64_t at = a->at, stop;
	off_t hole;
	ssize_t n;

	if (s->file < 0 || a->at >= a->end || a->end > INT64_MAX) {
		errno = EINVAL;
		return -1;
	}
	out->hole = hole_at(s->file, at, a->end);
	at += out->hole;
	if (at >= a->end || out->hole == HAND_HOLE_MAX)
		return 0;
	hole = lseek(s->file, (off_t)at, SEEK_HOLE);
	stop = hole > 0 && (uint64_t)hole > at && (uint64_t)hole < a->end ? (uint64_t)hole : a->end;
	n = pread(s->file, buffer, stop - at < HAND_BUFFER ? stop - at : HAND_BUFFER, (off_t)at);
	if (n < 0)
		return -1;
	out->data = (uint32_t)n;
	return 0;
}

/* What is immutable or append-only keeps its names: these flags go first, and come back if it stays. */
static int ensure_capture(struct hand_work *w, struct hand_slot *s)
{
	uint32_t flags;

	if (s->capture)
		return 0;
	flags = meta_flags(s->file);
	if ((flags & LOCKS) && meta_unlock(s->file) == 0)
		s->flags = flags;
	s->capture = capture_new(s->file, s->entry_id);
	if (s->capture)
		capture_sync_later(s->capture, &w->syncs);
	return s->capture ? 0 : -1;
}

static int capture(struct hand_work *w, struct hand_slot *s, const struct hand_ask *a, int dir,
		   struct hand_answer *out)
{
	out->outcome = NAME_FAILED;
	if (dir < 0) {
		errno = EBADF;
		return -1;
	}
	if (s->file < 0) {
		if (names_sweep(dir, s->entry_id) != 0)
			return -1;
		out->outcome = NAME_REMOVED;
		return 0;
	}
	/* Waits for the inode here, if it must: renameat2() would with the directory's lock in its hand. */
	(void)lseek(s->file, 0, SEEK_DATA);
	if (ensure_capture(w, s) != 0)
		return -1;
	out->outcome = capture_name(s->capture, dir, a->name);
	out->count = (uint32_t)capture_count(s->capture);
	return out->outcome == NAME_FAILED ? -1 : 0;
}

static int empty(const struct hand_slot *s, struct hand_answer *out)
{
	out->outcome = neutral_empty(s->file);
	return out->outcome == NEUTRAL_DONE ? 0 : -1;
}

static void relock(const struct hand_slot *s)
{
	if (s->file >= 0 && s->flags)
		(void)meta_set_flags(s->file, s->flags);
}

static void take_off(struct hand_slot *s, const struct hand_ask *a, struct hand_answer *out)
{
	if (s->capture) {
		(void)lseek(s->file, 0, SEEK_DATA);
		out->count = (uint32_t)capture_remove(s->capture);
	}
	if (a->relock)
		relock(s);
	slot_free(s);
}

static void undo(struct hand_slot *s)
{
	size_t beside = 0;

	if (s->capture)
		capture_undo(s->capture, &beside);
	relock(s);
	if (beside)
		amp_warn("entry %s: %zu names were taken meanwhile; what was there is beside them",
			 s->entry_id, beside);
	slot_free(s);
}

static int do_one(struct hand_work *w, struct hand_slot *s, const struct hand_ask *a, int fd,
		  struct hand_answer *out)
{
	switch (a->op) {
	case HAND_BEGIN:
		return begin(s, a, fd);
	case HAND_READ:
		return read_some(s, a, w->shared->buffers[a->slot], out);
	case HAND_NAME:
		return capture(w, s, a, fd, out);
	case HAND_EMPTY:
		return empty(s, out);
	case HAND_REMOVE:
		take_off(s, a, out);
		return 0;
	default:
		undo(s);
		return 0;
	}
}

static bool is_sound(const struct hand_work *w, const struct hand_ask *a)
{
	return a->op >= HAND_BEGIN && a->op < HAND_OPS && a->slot < HAND_SLOTS &&
	       memchr(a->entry_id, 0, sizeof(a->entry_id)) && memchr(a->name, 0, sizeof(a->name)) &&
	       (a->op == HAND_BEGIN || a->op == HAND_UNDO || w->slots[a->slot].used);
}

void hand_do(struct hand_work *w, const struct hand_ask *a, int fd, struct hand_answer *out)
{
	*out = (struct hand_answer){.op = a->op, .slot = a->slot, .number = a->number};
	if (!is_sound(w, a)) {
		out->error = EINVAL;
		return;
	}
	if (a->op != HAND_UNDO && atomic_load(&w->shared->given_up)) {
		out->error = ECANCELED;
		return;
	}
	if (a->op == HAND_UNDO && !w->slots[a->slot].used)
		return;
	atomic_store(&w->shared->working, a->number);
	errno = 0;
	if (do_one(w, &w->slots[a->slot], a, fd, out) != 0)
		out->error = errno ? errno : EIO;
	atomic_store(&w->shared->working, 0);
}

/* --- the process --------------------------------------------------------------- */

struct serving {
	int fd;
	struct hand_work *work;
	struct hand_answer held[HELD_MAX]; /* until what they did is synced */
	size_t held_count;
};

static void say(const struct serving *s, const struct hand_answer *a)
{
	if (send(s->fd, a, sizeof(*a), MSG_NOSIGNAL) != (ssize_t)sizeof(*a))
		_exit(1);
}

static void say_held(struct serving *s)
{
	if (s->held_count)
		atomic_store(&s->work->shared->working, s->held[s->held_count - 1].number);
	hand_sync(s->work);
	atomic_store(&s->work->shared->working, 0);
	for (size_t i = 0; i < s->held_count; i++)
		say(s, &s->held[i]);
	s->held_count = 0;
}

/* Bytes of the ask; 0: its other end is gone; -1 and errno. */
static ssize_t hear(int fd, int flags, struct hand_ask *a, int fds[2])
{
	union {
		char room[CMSG_SPACE(2 * sizeof(int))];
		struct cmsghdr align;
	} control;
	struct iovec v = {a, sizeof(*a)};
	struct msghdr m = {
		.msg_iov = &v, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)};
	ssize_t n = recvmsg(fd, &m, flags | MSG_CMSG_CLOEXEC);
	const struct cmsghdr *c = n > 0 ? CMSG_FIRSTHDR(&m) : NULL;
	size_t count = 0;

	fds[0] = fds[1] = -1;
	if (c && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS) {
		count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		memcpy(fds, CMSG_DATA(c), (count < 2 ? count : 2) * sizeof(int));
	}
	return n;
}

static void serve(struct serving *s, const struct hand_ask *a, const int fds[2])
{
	int first = a->has & HAND_HAS_FD ? fds[0] : -1, log = a->has & HAND_HAS_FD ? fds[1] : fds[0];
	struct hand_answer out;

	if ((a->has & HAND_HAS_LOG) && log >= 0)
		(void)amp_log_replace_fd(log); /* it may be another file by now */
	hand_do(s->work, a, first, &out);
	for (size_t i = 0; i < 2; i++)
		if (fds[i] >= 0)
			close(fds[i]);
	if (a->op != HAND_REMOVE && a->op != HAND_UNDO) {
		say(s, &out);
		return;
	}
	s->held[s->held_count++] = out;
	if (s->held_count == HELD_MAX)
		say_held(s);
}

void hand_main(int fd, struct hand_shared *shared)
{
	static struct serving s;
	struct hand_ask ask;
	int fds[2];

	s.fd = fd;
	s.work = hand_work_new(shared);
	if (!s.work)
		_exit(1);
	for (;;) {
		ssize_t n = hear(fd, s.held_count ? MSG_DONTWAIT : 0, &ask, fds);

		if (n == (ssize_t)sizeof(ask))
			serve(&s, &ask, fds);
		else if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
			say_held(&s);
		else if (n >= 0 || errno != EINTR)
			_exit(n == 0 ? 0 : 1);
	}
}
