/*
 * ampscand/who.c - see who.h.
 */
#include "who.h"

#include "clock.h"

#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <unistd.h>

struct who_table {
	int proc;
	struct who *last; /* of this batch */
};

struct who_table *who_table_new(int proc)
{
	struct who_table *t = calloc(1, sizeof(*t));

	if (t)
		t->proc = proc;
	return t;
}

void who_batch(struct who_table *t)
{
	who_unref(t->last);
	t->last = NULL;
}

void who_table_free(struct who_table *t)
{
	if (!t)
		return;
	who_batch(t);
	free(t);
}

struct who *who_make(bool known, pid_t pid, uid_t uid, const char *exe, size_t exe_size)
{
	struct who *w = calloc(1, sizeof(*w) + exe_size + 1);

	if (!w)
		return NULL;
	w->references = 1;
	w->known = known;
	w->pid = pid;
	w->uid = uid;
	w->exe_size = exe_size;
	if (exe_size)
		memcpy(w->exe, exe, exe_size);
	return w;
}

struct who *who_ref(struct who *w)
{
	if (w)
		w->references++;
	return w;
}

void who_unref(struct who *w)
{
	if (w && --w->references == 0)
		free(w);
}

static bool alive(int pidfd)
{
	struct pollfd p = {.fd = pidfd, .events = POLLIN};

	return pidfd >= 0 && poll(&p, 1, 0) == 0;
}

/*
 * Effective: as whom it acts. The directory's owner tells it, also of what is undumpable
 * (task_dump_owner() makes an exception of directories that all may read).
 */
uid_t who_uid(struct who_table *t, pid_t pid)
{
	char path[32];
	struct stat st;

	snprintf(path, sizeof(path), "%d", (int)pid);
	return fstatat(t->proc, path, &st, AT_SYMLINK_NOFOLLOW) == 0 ? st.st_uid : (uid_t)-1;
}

static struct who *look(struct who_table *t, pid_t pid, int pidfd)
{
	struct amp_identity id = {0};
	char path[32], exe[4096];
	ssize_t n;
	int64_t now = amp_clock_kernel_boottime(); /* before it is seen to live: it lived then, too */
	struct who *w;
	uid_t uid;

	snprintf(path, sizeof(path), "%d/exe", (int)pid);
	n = readlinkat(t->proc, path, exe, sizeof(exe));
	if (amp_statx_identity(t->proc, path, 0, &id) != 0)
		memset(&id, 0, sizeof(id));
	uid = who_uid(t, pid);
	/* Only now: what was read belongs to this process if it still lives. */
	if (!alive(pidfd))
		return who_make(false, pid, (uid_t)-1, NULL, 0);
	w = who_make(true, pid, uid, exe, n > 0 ? (size_t)n : 0);
	if (w)
		w->seen_ns = now;
	if (w && id.ino) {
		w->exe_dev = makedev(id.dev_major, id.dev_minor);
		w->exe_ino = id.ino;
	}
	return w;
}

struct who *who_look(struct who_table *t, pid_t pid, int pidfd)
{
	if (pid <= 0 || pidfd < 0)
		return who_make(false, pid > 0 ? pid : 0, (uid_t)-1, NULL, 0);
	if (t->last && t->last->pid == pid && t->last->known)
		return who_ref(t->last);
	who_unref(t->last);
	t->last = look(t, pid, pidfd);
	return who_ref(t->last);
}

int who_program_identity(struct who_table *t, pid_t pid, struct amp_identity *id)
{
	char path[32];

	snprintf(path, sizeof(path), "%d/exe", (int)pid);
	return amp_statx_identity(t->proc, path, 0, id);
}

int who_program_fsid(pid_t pid, uint64_t *fsid)
{
	char path[32];

	snprintf(path, sizeof(path), "/proc/%d/exe", (int)pid);
	return amp_fsid_of_path(path, fsid);
}

int who_program(struct who_table *t, pid_t pid, struct amp_handle *h, struct amp_identity *id)
{
	char path[32];

	snprintf(path, sizeof(path), "%d/exe", (int)pid);
	if (amp_statx_identity(t->proc, path, 0, id) != 0)
		return -1;
	return amp_handle_at(t->proc, path, AT_SYMLINK_FOLLOW, h, NULL);
}
