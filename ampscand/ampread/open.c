/*
 * ampscand/ampread/open.c - opening by handle (see open.h).
 */
#include "open.h"

#include "clock.h"
#include "proto/types.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#define IDLE_NS (200 * AMP_NS_PER_MS)
#define AGE_NS	AMP_NS_PER_SEC

static int proc_fd = -1;

int amp_open_setup(void)
{
	if (proc_fd < 0)
		proc_fd = open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC);
	return proc_fd < 0 ? -1 : 0;
}

int amp_open_proc(const char *name)
{
	return openat(proc_fd, name, O_RDONLY | O_CLOEXEC);
}

int amp_open_mount(const char *mount_point, uint64_t fsid)
{
	uint64_t there;
	int fd = open(mount_point, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	int error = 0;

	if (fd < 0)
		return -1;
	if (amp_fsid_of_fd(fd, &there) < 0)
		error = errno;
	else if (there != fsid)
		error = ENODEV;
	if (error == 0)
		return fd;
	close(fd);
	errno = error;
	return -1;
}

bool amp_open_mount_point_valid(const ProtobufCBinaryData *path)
{
	return path->len > 0 && path->len < AMP_PATH_MAX && path->data[0] == '/' &&
	       !memchr(path->data, '\0', path->len);
}

static int open_handle(int mount_fd, const struct amp_handle *h, int flags)
{
	union {
		struct file_handle head;
		unsigned char room[sizeof(struct file_handle) + AMP_FILE_HANDLE_MAX];
	} k;

	if (h->size == 0 || h->size > AMP_FILE_HANDLE_MAX) {
		errno = EINVAL;
		return -1;
	}
	memset(&k, 0, sizeof(k));
	k.head.handle_bytes = h->size;
	k.head.handle_type = h->type;
	memcpy(k.room + offsetof(struct file_handle, f_handle), h->bytes, h->size);
	return open_by_handle_at(mount_fd, &k.head, flags | O_CLOEXEC);
}

/*
 * What is looked through keeps its access time (CAP_FOWNER is for this alone).
 * A file of an owner that this user namespace does not know is read all the same.
 */
static int quietly(int flags)
{
	return flags & O_PATH ? flags : flags | O_NOATIME;
}

int amp_open_handle(int mount_fd, const struct amp_handle *h, int flags)
{
	int fd = open_handle(mount_fd, h, quietly(flags));

	return fd < 0 && errno == EPERM && quietly(flags) != flags ? open_handle(mount_fd, h, flags) : fd;
}

int amp_open_at(int at, const char *name, int flags)
{
	int fd = openat(at, name, quietly(flags) | O_CLOEXEC);

	return fd < 0 && errno == EPERM && quietly(flags) != flags ? openat(at, name, flags | O_CLOEXEC) : fd;
}

int amp_open_again(int path_fd, int flags)
{
	char link[32];

	snprintf(link, sizeof(link), "self/fd/%d", path_fd);
	return amp_open_at(proc_fd, link, flags);
}

static const struct {
	int error;
	amp_read_status status;
} meanings[] = {
	{ESTALE, AMP__READ_RESULT__STATUS__GONE},
	{ENOENT, AMP__READ_RESULT__STATUS__GONE},
	/* A lease is being broken, or the file is in use for a moment. */
	{EAGAIN, AMP__READ_RESULT__STATUS__BUSY},
	{EBUSY, AMP__READ_RESULT__STATUS__BUSY},
	{EINTR, AMP__READ_RESULT__STATUS__BUSY},
	/* Our own or the machine's shortage passes. */
	{EMFILE, AMP__READ_RESULT__STATUS__BUSY},
	{ENFILE, AMP__READ_RESULT__STATUS__BUSY},
	{ENOMEM, AMP__READ_RESULT__STATUS__BUSY},
};

amp_read_status amp_open_status(int error)
{
	for (size_t i = 0; i < sizeof(meanings) / sizeof(meanings[0]); i++)
		if (meanings[i].error == error)
			return meanings[i].status;
	return AMP__READ_RESULT__STATUS__UNREADABLE;
}

/* True if path is mount_point or something below it. */
static bool below(const char *path, const char *mount_point)
{
	size_t n = strlen(mount_point);

	while (n > 0 && mount_point[n - 1] == '/')
		n--;
	return strncmp(path, mount_point, n) == 0 && (path[n] == '/' || path[n] == '\0');
}

amp_read_status amp_open_path(int fd, const char *mount_point, char *buf, size_t *length)
{
	struct stat st;
	char link[32];
	ssize_t n;

	/* The kernel appends " (deleted)" to the name of what is deleted, which is a lawful end of a
	 * living directory's name too: the link count tells. */
	if (fstat(fd, &st) < 0)
		return amp_open_status(errno);
	if (st.st_nlink == 0)
		return AMP__READ_RESULT__STATUS__GONE;
	snprintf(link, sizeof(link), "self/fd/%d", fd);
	n = readlinkat(proc_fd, link, buf, AMP_OPEN_PATH_SIZE - 1);
	if (n < 0 && errno == ENAMETOOLONG)
		return AMP__READ_RESULT__STATUS__UNRESOLVED;
	if (n < 0)
		return AMP__READ_RESULT__STATUS__UNREADABLE;
	buf[n] = '\0';
	*length = (size_t)n;
	errno = *length >= AMP_OPEN_PATH_SIZE - 1 ? ENAMETOOLONG : EXDEV;
	if (errno == ENAMETOOLONG || buf[0] != '/')
		return AMP__READ_RESULT__STATUS__UNRESOLVED;
	/* Through a mount of a part of the file system a name looks like a
	 * host path and is none. */
	return below(buf, mount_point) ? AMP__READ_RESULT__STATUS__OK : AMP__READ_RESULT__STATUS__UNRESOLVED;
}

/*
 * Places. All fields are the loop's but `fd`, which is the I/O thread's; the
 * hand-over of jobs orders the two. The closing job is queued behind every
 * job that could still use the fd.
 */
struct amp_place {
	struct amp_io_job closing; /* first: the job is the place */
	struct amp_places *places;
	struct amp_place *next;
	uint64_t fsid;
	char *mount_point;
	size_t length;
	unsigned users;
	bool retired; /* off the list; closed with its last user */
	int64_t born_ns, idle_ns;
	int fd;
};

struct amp_places {
	struct amp_iothread *io;
	struct event *timer;
	struct amp_place *first;
	size_t count; /* with the retired ones */
};

static bool place_close(struct amp_io_job *job)
{
	struct amp_place *place = (struct amp_place *)job;

	if (place->fd >= 0)
		close(place->fd);
	place->fd = -1;
	return true;
}

static void place_closed(struct amp_io_job *job)
{
	struct amp_place *place = (struct amp_place *)job;

	place->places->count--;
	free(place->mount_point);
	free(place);
}

static void place_retire(struct amp_place *place)
{
	struct amp_place **at = &place->places->first;

	while (*at != place)
		at = &(*at)->next;
	*at = place->next;
	place->retired = true;
	if (place->users == 0)
		amp_iothread_submit(place->places->io, &place->closing);
}

static void timer_arm(struct amp_places *p, int64_t ns)
{
	struct timeval tv = {.tv_sec = ns / AMP_NS_PER_SEC, .tv_usec = ns % AMP_NS_PER_SEC / 1000 + 1};

	if (!evtimer_pending(p->timer, NULL))
		evtimer_add(p->timer, &tv);
}

/* Closes what has been idle long enough, comes again for the rest. */
static void on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct amp_places *p = arg;
	struct amp_place *place, *next;
	int64_t now = amp_clock_monotonic(), wait = 0;

	(void)fd;
	(void)what;
	for (place = p->first; place; place = next) {
		int64_t rest = place->idle_ns + IDLE_NS - now;

		next = place->next;
		if (place->users > 0)
			continue;
		if (rest <= 0)
			place_retire(place);
		else if (wait == 0 || rest < wait)
			wait = rest;
	}
	if (wait > 0)
		timer_arm(p, wait);
}

struct amp_places *amp_places_new(struct event_base *base, struct amp_iothread *io)
{
	struct amp_places *p = calloc(1, sizeof(*p));

	if (!p)
		return NULL;
	p->io = io;
	p->timer = evtimer_new(base, on_timer, p);
	if (!p->timer) {
		free(p);
		errno = ENOMEM;
		return NULL;
	}
	return p;
}

void amp_places_free(struct amp_places *p)
{
	struct amp_place *place;

	if (!p)
		return;
	event_free(p->timer);
	while ((place = p->first)) {
		p->first = place->next;
		place_close(&place->closing);
		place_closed(&place->closing);
	}
	free(p);
}

static struct amp_place *place_new(struct amp_places *p, uint64_t fsid, const void *mount_point,
				   size_t length)
{
	struct amp_place *place = calloc(1, sizeof(*place));

	if (!place)
		return NULL;
	place->mount_point = strndup(mount_point, length);
	if (!place->mount_point) {
		free(place);
		return NULL;
	}
	place->closing.run = place_close;
	place->closing.done = place_closed;
	place->places = p;
	place->fsid = fsid;
	place->length = length;
	place->born_ns = amp_clock_monotonic();
	place->fd = -1;
	place->next = p->first;
	p->first = place;
	p->count++;
	return place;
}

struct amp_place *amp_place_get(struct amp_places *p, uint64_t fsid, const void *mount_point, size_t length)
{
	struct amp_place *place = p->first;

	while (place && (place->fsid != fsid || place->length != length ||
			 memcmp(place->mount_point, mount_point, length) != 0))
		place = place->next;
	/* Under steady load a place never falls idle: after a lazy umount its
	 * fd would lead to a tree the host has no more. */
	if (place && amp_clock_monotonic() - place->born_ns > AGE_NS) {
		place_retire(place);
		place = NULL;
	}
	if (!place)
		place = place_new(p, fsid, mount_point, length);
	if (place)
		place->users++;
	return place;
}

void amp_place_put(struct amp_place *place)
{
	if (--place->users > 0)
		return;
	if (place->retired) {
		amp_iothread_submit(place->places->io, &place->closing);
		return;
	}
	place->idle_ns = amp_clock_monotonic();
	timer_arm(place->places, IDLE_NS);
}

int amp_place_fd(struct amp_place *place)
{
	if (place->fd < 0)
		place->fd = amp_open_mount(place->mount_point, place->fsid);
	return place->fd;
}

const char *amp_place_mount_point(const struct amp_place *place)
{
	return place->mount_point;
}

size_t amp_places_count(const struct amp_places *p)
{
	return p->count;
}
