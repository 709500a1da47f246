/*
 * ampmon/dirs.c - the places ampmon makes in the file system at start:
 * directories, the lock, the pid file, listening sockets.
 * Also the one way in which ampmon replaces a file.
 * Must not own: logs (logs.c), what is read or written there later.
 */
#include "ampmon/mon.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define BACKLOG 32

static int set_owner(int fd, mode_t mode, uid_t uid, gid_t gid)
{
	struct stat st;

	if (fstat(fd, &st) != 0)
		return -1;
	if ((st.st_uid != uid || st.st_gid != gid) && fchown(fd, uid, gid) != 0)
		return -1;
	return (st.st_mode & 07777) == mode ? 0 : fchmod(fd, mode);
}

int mon_dir_make(const char *path, mode_t mode, uid_t uid, gid_t gid, char *err, size_t size)
{
	int fd, rc, saved;

	if (mkdir(path, mode) != 0 && errno != EEXIST) {
		snprintf(err, size, "%s cannot be made: %s; make the directory above it", path,
			 strerror(errno));
		return -1;
	}
	fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	rc = fd < 0 ? -1 : set_owner(fd, mode, uid, gid);
	saved = errno;
	if (fd >= 0)
		close(fd);
	if (rc != 0)
		snprintf(err, size, "%s is not usable: %s; it has to be a directory, not a link", path,
			 strerror(saved));
	return rc;
}

static int write_synced(int fd, const uint8_t *data, size_t n)
{
	while (n > 0) {
		ssize_t w = write(fd, data, n);

		if (w < 0 && errno == EINTR)
			continue;
		if (w < 0)
			return -1;
		data += w;
		n -= (size_t)w;
	}
	return fsync(fd);
}

int mon_file_replace(int dir, const char *new_name, const char *name, const void *data, size_t n)
{
	int fd, rc, saved;

	if (unlinkat(dir, new_name, 0) < 0 && errno != ENOENT)
		return -1;
	fd = openat(dir, new_name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return -1;
	rc = write_synced(fd, data, n);
	saved = errno;
	if (close(fd) < 0 && rc == 0) {
		saved = errno;
		rc = -1;
	}
	errno = saved;
	if (rc == 0 && renameat(dir, new_name, dir, name) == 0)
		return fsync(dir);
	return -1;
}

int mon_lock_run_dir(const struct mon_conf *c, char *err, size_t size)
{
	char path[PATH_MAX];
	int fd;

	if (mon_dir_make(c->run_dir, 0755, 0, 0, err, size) != 0)
		return -1;
	snprintf(path, sizeof(path), "%s/ampmon.lock", c->run_dir);
	fd = mon_fd_high(open(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600));
	if (fd < 0) {
		snprintf(err, size, "%s cannot be opened: %s", path, strerror(errno));
		return -1;
	}
	if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
		snprintf(err, size, "another ampmon runs with run_dir %s; stop it first", c->run_dir);
		close(fd);
		return -1;
	}
	return fd;
}

int mon_pid_file_write(const struct mon_conf *c, pid_t pid)
{
	char path[PATH_MAX], temporary[PATH_MAX];
	char text[32];
	int fd, n;
	bool ok;

	snprintf(path, sizeof(path), "%s/ampmon.pid", c->run_dir);
	snprintf(temporary, sizeof(temporary), "%s/.ampmon.pid", c->run_dir);
	unlink(temporary);
	fd = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
	if (fd < 0)
		return -1;
	n = snprintf(text, sizeof(text), "%d\n", (int)pid);
	ok = write(fd, text, (size_t)n) == n && fchmod(fd, 0644) == 0;
	close(fd);
	return ok ? rename(temporary, path) : -1;
}

void mon_pid_file_remove(const struct mon_conf *c)
{
	char path[PATH_MAX];

	snprintf(path, sizeof(path), "%s/ampmon.pid", c->run_dir);
	unlink(path);
}

/* Root's alone until the group is set: nobody connects in between. */
static int bind_private(int fd, const struct sockaddr_un *sa, gid_t group)
{
	mode_t mask;
	int rc;

	if (unlink(sa->sun_path) != 0 && errno != ENOENT)
		return -1;
	mask = umask(0177);
	rc = bind(fd, (const struct sockaddr *)sa, sizeof(*sa));
	umask(mask);
	if (rc != 0)
		return -1;
	if (group != (gid_t)-1 && (lchown(sa->sun_path, 0, group) != 0 || chmod(sa->sun_path, 0660) != 0))
		return -1;
	return listen(fd, BACKLOG);
}

int mon_listen(const struct mon_conf *c, const char *name, gid_t cli_gid, char *err, size_t size)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	int n = snprintf(sa.sun_path, sizeof(sa.sun_path), "%s/%s", c->run_dir, name);
	int fd;

	if (n < 0 || (size_t)n >= sizeof(sa.sun_path)) {
		snprintf(err, size, "run_dir %s is too long for a socket's name; choose a shorter one",
			 c->run_dir);
		return -1;
	}
	fd = mon_fd_high(socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
	if (fd >= 0 && bind_private(fd, &sa, cli_gid) == 0)
		return fd;
	snprintf(err, size, "the socket %s cannot be made: %s", sa.sun_path, strerror(errno));
	if (fd >= 0)
		close(fd);
	return -1;
}

void mon_unlisten(const struct mon_conf *c, const char *name)
{
	char path[PATH_MAX];

	snprintf(path, sizeof(path), "%s/%s", c->run_dir, name);
	unlink(path);
}
