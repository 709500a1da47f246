/*
 * ampquard/place.c - see place.h.
 *
 * A file gets its name by linking /proc/self/fd/N: this room may not link an
 * empty path (that takes CAP_DAC_READ_SEARCH). Both linkat(2) and
 * RENAME_NOREPLACE refuse a name that exists, also as a dangling link.
 */
#include "place.h"

#include "log.h"
#include "names.h"
#include "proto/types.h"
#include "step.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <unistd.h>

#define PIECE_MAX (PATH_MAX - 1U) /* bytes of a path that one call takes */
/* Not the private directory of names.c of the same id: what is in that one is put back. */
#define PRIVATE_NEW AMP_PRIVATE_PREFIX "new-"
#define INSIDE	    "content" /* the file's name in it */

struct place {
	int dir;
	int fd;
	int private; /* -1: it is an O_TMPFILE */
	char private_name[NAME_MAX + 1];
	bool named;
};

static void close_quietly(int fd)
{
	const int error = errno;

	if (fd >= 0)
		close(fd);
	errno = error;
}

/* ---- directories ---- */

static bool component_valid(const char *s, size_t n)
{
	if (n == 0 || (n == 1 && s[0] == '.') || (n == 2 && s[0] == '.' && s[1] == '.')) {
		errno = EINVAL;
		return false;
	}
	if (n > NAME_MAX) {
		errno = ENAMETOOLONG;
		return false;
	}
	return true;
}

/* Of a path without its first slash: every component is a name. */
static bool path_valid(const char *path, size_t length)
{
	const char *end = path + length, *slash;

	for (; (slash = memchr(path, '/', (size_t)(end - path))); path = slash + 1)
		if (!component_valid(path, (size_t)(slash - path)))
			return false;
	return component_valid(path, (size_t)(end - path));
}

/* Length of the longest part, ending with a component, that fits into one call. */
static size_t piece_length(const char *path, size_t length)
{
	const char *slash;

	if (length <= PIECE_MAX)
		return length;
	slash = memrchr(path, '/', PIECE_MAX + 1); /* there is one: no component is as long */
	return (size_t)(slash - path);
}

/* Where openat2 is missing: one component, which is looked at before it is gone through. */
static int walk_one(int at, const char *name)
{
	int fd = openat(at, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	struct stat st;

	if (fd < 0)
		return -1;
	if (fstat(fd, &st) == 0) {
		if (S_ISDIR(st.st_mode))
			return fd;
		errno = S_ISLNK(st.st_mode) ? ELOOP : ENOTDIR;
	}
	close_quietly(fd);
	return -1;
}

/* Changes piece. */
static int walk(int at, char *piece)
{
	int fd = -1, next;
	char *name;

	while ((name = strsep(&piece, "/"))) {
		next = walk_one(fd >= 0 ? fd : at, name);
		close_quietly(fd);
		if (next < 0)
			return -1;
		fd = next;
	}
	return fd;
}

static int open_piece(int at, char *piece)
{
	struct open_how how = {
		.flags = O_PATH | O_DIRECTORY | O_CLOEXEC, /* O_NOFOLLOW would open a link itself */
		.resolve = RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS,
	};
	int fd = (int)syscall(SYS_openat2, at, piece, &how, sizeof(how));

	return fd < 0 && errno == ENOSYS ? walk(at, piece) : fd;
}

static int open_pieces(const char *path, size_t length)
{
	int fd = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC), next;
	char piece[PATH_MAX];

	while (fd >= 0 && length > 0) {
		const size_t n = piece_length(path, length);
		const size_t used = n < length ? n + 1 : n; /* and its slash */

		memcpy(piece, path, n);
		piece[n] = '\0';
		next = open_piece(fd, piece);
		close_quietly(fd);
		fd = next;
		path += used;
		length -= used;
	}
	return fd;
}

int place_directory(const char *path, size_t length)
{
	int by_path, fd;

	if (length == 0 || path[0] != '/' || memchr(path, '\0', length)) {
		errno = EINVAL;
		return -1;
	}
	if (length > AMP_PATH_MAX) {
		errno = ENAMETOOLONG;
		return -1;
	}
	if (length > 1 && !path_valid(path + 1, length - 1))
		return -1;
	by_path = open_pieces(path + 1, length - 1);
	if (by_path < 0)
		return -1;
	fd = openat(by_path, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	close_quietly(by_path);
	return fd;
}

/* ---- a new file ---- */

static int private_name(char out[NAME_MAX + 1], const char *unique)
{
	if (!*unique || strlen(unique) > NAMES_ID_MAX || strchr(unique, '/')) {
		errno = EINVAL;
		return -1;
	}
	snprintf(out, NAME_MAX + 1, "%s%s", PRIVATE_NEW, unique);
	return 0;
}

/* Without O_TMPFILE: nobody can enter the directory it is made in. */
static int make_private(struct place *p)
{
	p->private = private_open(p->dir, p->private_name, true);
	if (p->private < 0)
		return -1;
	if (unlinkat(p->private, INSIDE, 0) < 0 && errno != ENOENT) /* of one that died */
		return -1;
	p->fd = openat(p->private, INSIDE, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0);
	return p->fd < 0 ? -1 : 0;
}

static int make(struct place *p)
{
	p->fd = openat(p->dir, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0);
	if (p->fd < 0 && errno != EOPNOTSUPP && errno != EISDIR && errno != EINVAL)
		return -1;
	if (p->fd < 0 && make_private(p) < 0)
		return -1;
	/* A default ACL of the directory would give others what the mode is to say. */
	(void)fremovexattr(p->fd, "system.posix_acl_access");
	step("place-made");
	return 0;
}

struct place *place_new(int dir, const char *unique)
{
	struct place *p = calloc(1, sizeof(*p));

	if (!p)
		return NULL;
	p->fd = p->private = p->dir = -1;
	if (private_name(p->private_name, unique) == 0) {
		/* Not dup: it may be O_PATH, and is to be synced. */
		p->dir = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (p->dir >= 0 && make(p) == 0)
			return p;
	}
	const int error = errno;

	place_free(p);
	errno = error;
	return NULL;
}

int place_fd(const struct place *p)
{
	return p->fd;
}

static int link_name(const struct place *p, const char *name)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", p->fd);
	return linkat(AT_FDCWD, path, p->dir, name, AT_SYMLINK_FOLLOW);
}

static int give_name(const struct place *p, const char *name)
{
	if (p->private < 0)
		return link_name(p, name);
	if (renameat2(p->private, INSIDE, p->dir, name, RENAME_NOREPLACE) == 0)
		return 0;
	if (errno != EINVAL && errno != ENOSYS)
		return -1;
	return link_name(p, name) < 0 ? -1 : unlinkat(p->private, INSIDE, 0);
}

/* The name may not survive a crash, so it is not there: taken away, and no other file's. */
static void take_back(const struct place *p, const char *name)
{
	struct capture *c = capture_new(p->fd, "unsynced");

	if (!c)
		return;
	if (capture_name(c, p->dir, name) == NAME_REMOVED)
		(void)capture_remove(c);
	else
		capture_undo(c, NULL);
}

int place_name(struct place *p, const char *name)
{
	if (strchr(name, '/') || !component_valid(name, strlen(name))) {
		if (strchr(name, '/'))
			errno = EINVAL;
		return -1;
	}
	if (p->named) {
		errno = EEXIST;
		return -1;
	}
	if (give_name(p, name) < 0)
		return -1;
	step("place-named");
	if (fsync(p->dir) == 0) {
		p->named = true;
		return 0;
	}
	const int error = errno;

	take_back(p, name);
	errno = error;
	return -1;
}

void place_free(struct place *p)
{
	if (!p)
		return;
	if (p->private >= 0) {
		unlinkat(p->private, INSIDE, 0); /* gone already if it has its name */
		private_remove(p->dir, p->private, p->private_name);
	}
	close_quietly(p->fd);
	close_quietly(p->private);
	close_quietly(p->dir);
	free(p);
}

int place_sweep(int dir, const char *unique)
{
	char name[NAME_MAX + 1];
	int private, rc = 0;

	if (private_name(name, unique) < 0)
		return -1;
	private = private_open(dir, name, false);
	if (private < 0)
		return errno == ENOENT ? 0 : -1;
	if (unlinkat(private, INSIDE, 0) < 0 && errno != ENOENT)
		rc = -1;
	private_remove(dir, private, name);
	close_quietly(private);
	return rc;
}
