/*
 * ampquard/names.c - see names.h.
 *
 * Who owns the directory may do anything to the names in it at any moment:
 * also to our private directory's name, but not inside it. So every look is
 * repeated after the move, through descriptors that were checked, and what
 * came along by mistake goes back. RENAME_NOREPLACE everywhere: nothing is
 * ever covered by what is moved.
 */
#include "names.h"

#include "log.h"
#include "step.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/statfs.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

#ifndef EXFAT_SUPER_MAGIC
#define EXFAT_SUPER_MAGIC 0x2011BAB0
#endif

#define TRIES	     8U /* against somebody who keeps changing the name */
#define REMOVE_TRIES 64U
#define STRAY_PASSES 4U
#define STRAYS_MAX   65536U /* names looked at for directories that lost theirs */
#define BESIDE_MAX   1000U  /* numbers tried for a name whose place is taken */
/* Directories, two descriptors each: of every capture, and of all of them together beside that. */
#define HOLDS_OWN    2U
#define HOLDS_SHARED 48U
#define LIST_MAX     4096U /* names looked at in one pass over a private directory */

/* A directory with names of the inode, and our private one in it. */
struct hold {
	int dir;
	int private; /* -1: not made yet */
	dev_t dev;   /* of dir */
	ino_t ino;
	char **names; /* in the private directory, each leads to the inode */
	size_t count;
};

struct capture {
	int file;
	char private_name[NAME_MAX + 1];
	struct hold *holds;
	size_t count;
	struct names_syncs *later; /* NULL: its directories are synced at once */
};

static unsigned holds_shared; /* the I/O thread's */

static void close_quietly(int fd)
{
	const int error = errno;

	if (fd >= 0)
		close(fd);
	errno = error;
}

static bool same(const struct stat *a, const struct stat *b)
{
	return a->st_dev == b->st_dev && a->st_ino == b->st_ino;
}

static bool name_valid(const char *name)
{
	return *name && !strchr(name, '/') && strcmp(name, ".") != 0 && strcmp(name, "..") != 0;
}

/*
 * 1: the name leads to file, 0: elsewhere or nowhere, -1: errno. The file is looked at
 * each time, too: an overlay that copies it up gives both of them new numbers.
 */
static int leads(int file, int dir, const char *name)
{
	struct stat want, is;

	if (fstat(file, &want) < 0)
		return -1;
	if (fstatat(dir, name, &is, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT) < 0)
		return errno == ENOENT ? 0 : -1;
	return same(&want, &is) && S_ISREG(is.st_mode);
}

static bool absent(int dir, const char *name)
{
	struct stat st;

	return fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT) < 0 && errno == ENOENT;
}

/* ---- the private directory ---- */

/* FAT keeps neither owners nor modes: there all is as the mount says. */
static bool keeps_no_owners(int fd)
{
	struct statfs fs;

	if (fstatfs(fd, &fs) < 0)
		return false;
	return (unsigned long)fs.f_type == MSDOS_SUPER_MAGIC || (unsigned long)fs.f_type == EXFAT_SUPER_MAGIC;
}

/* Nobody but root can change what is in it. */
static bool private_ours(int fd)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return false;
	if (keeps_no_owners(fd))
		return (st.st_uid == 0 || st.st_uid == geteuid()) && !(st.st_mode & (S_IWGRP | S_IWOTH));
	if (st.st_uid != geteuid() || (st.st_mode & (S_IRWXG | S_IRWXO)))
		return false;
	/* A default ACL of the parent is inherited, with a mask that a chmod would widen; a
	 * set-gid bit, too. */
	(void)fremovexattr(fd, "system.posix_acl_access");
	(void)fremovexattr(fd, "system.posix_acl_default");
	return fchmod(fd, S_IRWXU) == 0 && fstat(fd, &st) == 0 && !(st.st_mode & (S_IRWXG | S_IRWXO));
}

static int private_existing(int dir, const char *name)
{
	int fd = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);

	if (fd < 0) {
		if (errno == ENOTDIR || errno == ELOOP)
			errno = EEXIST;
		return -1;
	}
	if (private_ours(fd)) {
		/* Another capture's, which others gave this name. */
		if (flock(fd, LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK)
			return fd;
		close_quietly(fd);
		return -1;
	}
	errno = keeps_no_owners(fd) ? ENOTSUP : EEXIST;
	close_quietly(fd);
	return -1;
}

/* A private directory that lost its name. FAT's are not told: there are no owners. */
static bool is_stray(int dir, const char *name)
{
	struct stat st;

	return fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT) == 0 && S_ISDIR(st.st_mode) &&
	       st.st_uid == geteuid() && !(st.st_mode & (S_IRWXG | S_IRWXO));
}

static void remove_strays_seen(int dir)
{
	int fd = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = fd >= 0 ? fdopendir(fd) : NULL;
	const struct dirent *e;

	if (!d) {
		close_quietly(fd);
		return;
	}
	for (unsigned n = 0; n < STRAYS_MAX && (e = readdir(d)); n++)
		if ((e->d_type == DT_DIR || e->d_type == DT_UNKNOWN) && name_valid(e->d_name) &&
		    is_stray(dir, e->d_name))
			unlinkat(dir, e->d_name, AT_REMOVEDIR);
	closedir(d);
}

/*
 * What was just made got another name before it was opened: what is ours and empty is
 * removed. If another capture had made it and not used it yet, that one makes it again.
 * What gets a new name while a directory is being read may not be seen: looked for again.
 */
static void remove_strays(int dir)
{
	const int error = errno;

	if (!keeps_no_owners(dir))
		for (unsigned i = 0; i < STRAY_PASSES; i++)
			remove_strays_seen(dir);
	errno = error;
}

/* Only if it is empty. */
static void remove_as_made(int dir, const char *name)
{
	const int error = errno;

	unlinkat(dir, name, AT_REMOVEDIR);
	errno = error;
}

/*
 * What is there now is not what was made since: that one was swapped with it. File systems
 * keep times in units of up to a second; then it is not noticed.
 */
static bool is_older(int fd, const struct timespec *t)
{
	struct statx stx;
	const struct statx_timestamp *made = &stx.stx_btime;

	if (keeps_no_owners(fd) || statx(fd, "", AT_EMPTY_PATH, STATX_BTIME | STATX_MTIME, &stx) < 0)
		return false;
	if (!(stx.stx_mask & STATX_BTIME))
		made = &stx.stx_mtime;
	return (made->tv_sec - t->tv_sec) * 1000 + (made->tv_nsec - t->tv_nsec) / 1000000 <
	       (made->tv_nsec == 0 ? -1000 : 0);
}

/* From such a directory it could not be removed again, nor any name into it. */
static bool is_append_only(int dir)
{
	struct statx stx;

	return statx(dir, "", AT_EMPTY_PATH, STATX_MODE, &stx) == 0 &&
	       (stx.stx_attributes & STATX_ATTR_APPEND);
}

static int private_make(int dir, const char *name)
{
	struct timespec before;
	int fd;

	if (is_append_only(dir)) {
		errno = EPERM;
		return -1;
	}
	clock_gettime(CLOCK_REALTIME_COARSE, &before); /* file systems take their times from it */
	if (mkdirat(dir, name, S_IRWXU) < 0)
		return -1;
	step("private-made");
	fd = private_existing(dir, name);
	if (fd >= 0 && !is_older(fd, &before))
		return fd;
	if (fd < 0 && errno == ENOTSUP) {
		remove_as_made(dir, name);
		return -1;
	}
	if (fd >= 0)
		errno = EAGAIN;
	close_quietly(fd);
	remove_strays(dir);
	return -1;
}

/* -1 and EAGAIN: to be tried again. */
static int private_try(int dir, const char *name, bool make)
{
	int fd = private_existing(dir, name);

	if (fd >= 0 || errno != ENOENT || !make)
		return fd;
	fd = private_make(dir, name);
	if (fd < 0 && (errno == EEXIST || errno == ENOENT))
		errno = EAGAIN;
	return fd;
}

int private_open(int dir, const char *name, bool make)
{
	int fd = -1;

	errno = EAGAIN; /* at the end: somebody removes it as often as it is made */
	for (unsigned i = 0; i < TRIES && fd < 0 && errno == EAGAIN; i++)
		fd = private_try(dir, name, make);
	return fd;
}

/* What others call it now: they may rename it within dir. False: not to be found. */
static bool private_name_now(int dir, int private, char name[NAME_MAX + 1])
{
	char link[64], path[PATH_MAX], *base;
	struct stat ours, is;
	ssize_t n;

	snprintf(link, sizeof(link), "/proc/self/fd/%d", private);
	n = readlink(link, path, sizeof(path) - 1);
	if (n <= 0)
		return false;
	path[n] = '\0';
	base = strrchr(path, '/');
	if (!base || !base[1] || strlen(base + 1) > NAME_MAX)
		return false;
	strcpy(name, base + 1);
	return fstat(private, &ours) == 0 && fstatat(dir, name, &is, AT_SYMLINK_NOFOLLOW) == 0 &&
	       same(&ours, &is);
}

/* AT_REMOVEDIR takes an empty directory only: whatever is swapped in, no file is lost. */
static bool private_removed_as(int dir, int private, const char *name)
{
	struct stat ours, is;

	return fstat(private, &ours) == 0 && fstatat(dir, name, &is, AT_SYMLINK_NOFOLLOW) == 0 &&
	       same(&ours, &is) && unlinkat(dir, name, AT_REMOVEDIR) == 0;
}

static bool private_gone(int private)
{
	struct stat st;

	return fstat(private, &st) == 0 && st.st_nlink == 0;
}

void private_remove(int dir, int private, const char *name)
{
	char now[NAME_MAX + 1];

	if (private_removed_as(dir, private, name))
		return;
	/* Somebody gives it other names, one after the other, and perhaps not only to this one. */
	for (unsigned i = 0; i < REMOVE_TRIES && !private_gone(private); i++)
		if (private_name_now(dir, private, now) && private_removed_as(dir, private, now))
			break;
	remove_strays(dir);
}

/* ---- moving in and out ---- */

static int move_in(int dir, int private, const char *name)
{
	if (renameat2(dir, name, private, name, RENAME_NOREPLACE) == 0)
		return 0;
	if (errno != EINVAL && errno != ENOSYS)
		return -1;
	/* No such flag here. Nobody else puts names into that directory. */
	if (absent(private, name))
		return renameat2(dir, name, private, name, 0);
	errno = EEXIST;
	return -1;
}

static int link_out(int fd, int private, const char *name, int dir, const char *to)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	if (linkat(AT_FDCWD, path, dir, to, AT_SYMLINK_FOLLOW) < 0)
		return -1;
	return unlinkat(private, name, 0);
}

/* A directory has one name: it goes where an empty one was made for it. */
static int replace_out(int private, const char *name, int dir, const char *to)
{
	if (mkdirat(dir, to, S_IRWXU) < 0)
		return -1;
	if (renameat2(private, name, dir, to, 0) == 0)
		return 0;
	const int error = errno;

	unlinkat(dir, to, AT_REMOVEDIR);
	errno = error;
	return -1;
}

/* For file systems without RENAME_NOREPLACE. */
static int move_out_plain(int private, const char *name, int dir, const char *to)
{
	int fd = openat(private, name, O_PATH | O_NOFOLLOW | O_CLOEXEC), rc = -1;
	struct stat st;

	if (fd < 0)
		return -1;
	if (fstat(fd, &st) == 0)
		rc = S_ISDIR(st.st_mode) ? replace_out(private, name, dir, to)
					 : link_out(fd, private, name, dir, to);
	close_quietly(fd);
	return rc;
}

static int move_out(int private, const char *name, int dir, const char *to)
{
	if (renameat2(private, name, dir, to, RENAME_NOREPLACE) == 0)
		return 0;
	if (errno != EINVAL && errno != ENOSYS)
		return -1;
	return move_out_plain(private, name, dir, to);
}

/* NAME.amp-returned-N, NAME cut so that it fits, not within a character. */
static void beside_name(char out[NAME_MAX + 1], const char *name, unsigned n)
{
	char tail[32];
	size_t keep = strlen(name);
	const size_t room = NAME_MAX - (size_t)snprintf(tail, sizeof(tail), ".amp-returned-%u", n);

	if (keep > room) {
		keep = room;
		for (unsigned i = 0; i < 3 && keep > 1 && ((unsigned char)name[keep] & 0xC0) == 0x80; i++)
			keep--;
	}
	snprintf(out, NAME_MAX + 1, "%.*s%s", (int)keep, name, tail);
}

/* Back to its own name, or beside it (counted). -1 and errno: it stays in the private directory. */
static int give_back(int dir, int private, const char *name, size_t *beside)
{
	char other[NAME_MAX + 1];
	int rc = move_out(private, name, dir, name);

	for (unsigned n = 1; rc < 0 && errno == EEXIST && n <= BESIDE_MAX; n++) {
		beside_name(other, name, n);
		rc = move_out(private, name, dir, other);
		if (rc < 0)
			continue;
		amp_warn("%s was put back as %s: its name is taken", name, other);
		if (beside)
			++*beside;
	}
	if (rc < 0 && errno != ENOENT)
		amp_error("%s stays in a private directory beside its place, and is put back at the next "
			  "start: %m",
			  name);
	return rc;
}

/* ---- what is in a private directory ---- */

static void names_free(char **names, size_t count)
{
	for (size_t i = 0; i < count; i++)
		free(names[i]);
	free(names);
}

static int names_add(char ***names, size_t *count, const char *name)
{
	char **larger = realloc(*names, (*count + 1) * sizeof(*larger));

	if (!larger)
		return -1;
	*names = larger;
	larger[*count] = strdup(name);
	if (!larger[*count])
		return -1;
	++*count;
	return 0;
}

/* All at once: what is moved while a directory is being read may come twice or not at all. */
static int list_names(int private, char ***names, size_t *count)
{
	int fd = openat(private, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), rc = 0;
	DIR *d = fd >= 0 ? fdopendir(fd) : NULL;
	const struct dirent *e;

	*names = NULL;
	*count = 0;
	if (!d) {
		close_quietly(fd);
		return -1;
	}
	while (rc == 0 && *count < LIST_MAX && (e = readdir(d)))
		if (name_valid(e->d_name))
			rc = names_add(names, count, e->d_name);
	closedir(d);
	return rc;
}

/* ---- the capture ---- */

struct capture *capture_new(int file, const char *entry_id)
{
	struct capture *c;
	struct stat st;

	if (fstat(file, &st) < 0)
		return NULL;
	if (!S_ISREG(st.st_mode) || !*entry_id || strlen(entry_id) > NAMES_ID_MAX || strchr(entry_id, '/')) {
		errno = EINVAL;
		return NULL;
	}
	c = calloc(1, sizeof(*c));
	if (!c)
		return NULL;
	snprintf(c->private_name, sizeof(c->private_name), "%s%s", AMP_PRIVATE_PREFIX, entry_id);
	c->file = fcntl(file, F_DUPFD_CLOEXEC, 0);
	if (c->file < 0) {
		free(c);
		return NULL;
	}
	return c;
}

static bool hold_has(const struct hold *h, const char *name, size_t *at)
{
	for (size_t i = 0; i < h->count; i++)
		if (strcmp(h->names[i], name) == 0) {
			*at = i;
			return true;
		}
	return false;
}

static void hold_forget(struct hold *h, size_t at)
{
	free(h->names[at]);
	h->names[at] = h->names[--h->count];
}

/* What is in the private directory: this inode's stays, the rest goes back. */
static void adopt(const struct capture *c, struct hold *h)
{
	char **names;
	size_t count, at;

	if (list_names(h->private, &names, &count) < 0)
		amp_warn("a private directory of the quarantine cannot be read: %m");
	for (size_t i = 0; i < count; i++) {
		if (hold_has(h, names[i], &at))
			continue;
		if (leads(c->file, h->private, names[i]) == 1)
			(void)names_add(&h->names, &h->count, names[i]);
		else
			(void)give_back(h->dir, h->private, names[i], NULL);
	}
	names_free(names, count);
}

static int hold_private(const struct capture *c, struct hold *h, bool make)
{
	if (h->private >= 0)
		return 0;
	h->private = private_open(h->dir, c->private_name, make);
	if (h->private < 0)
		return -1;
	adopt(c, h);
	return 0;
}

static struct hold *hold_new(struct capture *c, int dir, const struct stat *st)
{
	const bool shared = c->count >= HOLDS_OWN;
	struct hold *larger, *h;

	if (shared && holds_shared >= HOLDS_SHARED) {
		errno = EMFILE;
		return NULL;
	}
	larger = realloc(c->holds, (c->count + 1) * sizeof(*larger));
	if (!larger)
		return NULL;
	c->holds = larger;
	h = &larger[c->count];
	*h = (struct hold){.dir = -1, .private = -1, .dev = st->st_dev, .ino = st->st_ino};
	/* Not dup: it may be O_PATH, and is to be synced. */
	h->dir = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (h->dir < 0)
		return NULL;
	c->count++;
	holds_shared += shared;
	return h;
}

static struct hold *hold_of(struct capture *c, int dir)
{
	struct stat st;

	if (fstat(dir, &st) < 0)
		return NULL;
	for (size_t i = 0; i < c->count; i++)
		if (c->holds[i].dev == st.st_dev && c->holds[i].ino == st.st_ino)
			return &c->holds[i];
	return hold_new(c, dir, &st);
}

enum attempt { ATTEMPT_REMOVED, ATTEMPT_ELSEWHERE, ATTEMPT_FAILED, ATTEMPT_AGAIN };

/* Our private directory may have been removed while it was empty, the name may have gone. */
static enum attempt move_failed(const struct capture *c, struct hold *h, const char *name)
{
	const int error = errno;
	size_t at;

	if (error == ENOENT && h->count == 0) {
		private_remove(h->dir, h->private, c->private_name);
		close_quietly(h->private);
		h->private = -1;
		return ATTEMPT_AGAIN;
	}
	/* Captured before, and made anew as a link of the same inode: one of them is enough. */
	if (error == EEXIST && hold_has(h, name, &at) && leads(c->file, h->private, name) == 1 &&
	    unlinkat(h->private, name, 0) == 0) {
		hold_forget(h, at);
		return ATTEMPT_AGAIN;
	}
	if (leads(c->file, h->dir, name) != 1)
		return ATTEMPT_AGAIN;
	errno = error;
	return ATTEMPT_FAILED;
}

static enum attempt captured(const struct capture *c, struct hold *h, const char *name)
{
	step("name-captured");
	if (leads(c->file, h->private, name) == 1 && names_add(&h->names, &h->count, name) == 0)
		return ATTEMPT_REMOVED;
	return give_back(h->dir, h->private, name, NULL) == 0 ? ATTEMPT_AGAIN : ATTEMPT_FAILED;
}

static enum attempt attempt(const struct capture *c, struct hold *h, const char *name)
{
	size_t at;

	switch (leads(c->file, h->dir, name)) {
	case 1:
		break;
	case 0:
		return hold_has(h, name, &at) && absent(h->dir, name) ? ATTEMPT_REMOVED : ATTEMPT_ELSEWHERE;
	default:
		return ATTEMPT_FAILED;
	}
	if (hold_private(c, h, true) < 0)
		return ATTEMPT_FAILED;
	if (move_in(h->dir, h->private, name) < 0)
		return move_failed(c, h, name);
	return captured(c, h, name);
}

/* Somebody tells of a name where we put it. */
static bool is_private_of_ours(const struct capture *c, int dir)
{
	struct stat st, ours;

	if (fstat(dir, &st) < 0)
		return false;
	for (size_t i = 0; i < c->count; i++)
		if (c->holds[i].private >= 0 && fstat(c->holds[i].private, &ours) == 0 && same(&st, &ours))
			return true;
	return false;
}

enum name_outcome capture_name(struct capture *c, int dir, const char *name)
{
	static const enum name_outcome outcomes[] = {
		[ATTEMPT_REMOVED] = NAME_REMOVED,
		[ATTEMPT_ELSEWHERE] = NAME_ELSEWHERE,
		[ATTEMPT_FAILED] = NAME_FAILED,
	};
	struct hold *h;

	if (is_private_of_ours(c, dir))
		return NAME_ELSEWHERE;
	errno = EINVAL;
	if (!name_valid(name) || !(h = hold_of(c, dir)))
		return NAME_FAILED;
	(void)hold_private(c, h, false);
	for (unsigned i = 0; i < TRIES; i++) {
		enum attempt a = attempt(c, h, name);

		if (a != ATTEMPT_AGAIN)
			return outcomes[a];
	}
	errno = EAGAIN;
	return NAME_FAILED;
}

size_t capture_count(const struct capture *c)
{
	size_t n = 0;

	for (size_t i = 0; i < c->count; i++)
		n += c->holds[i].count;
	return n;
}

static bool remove_one(const struct capture *c, const struct hold *h, const char *name)
{
	if (leads(c->file, h->private, name) == 1 && unlinkat(h->private, name, 0) == 0) {
		step("name-removed");
		return true;
	}
	(void)give_back(h->dir, h->private, name, NULL);
	return false;
}

static void sync_directory(int dir)
{
	if (fsync(dir) < 0)
		amp_warn("a directory from which names were taken cannot be synced: %m");
}

void names_sync(struct names_syncs *s)
{
	for (size_t i = 0; i < s->count; i++) {
		sync_directory(s->dirs[i].fd);
		close_quietly(s->dirs[i].fd);
	}
	s->count = 0;
}

/* False: it is to be synced now. Takes the descriptor, unless it has one of that directory. */
static bool sync_later(struct names_syncs *s, struct hold *h)
{
	if (!s)
		return false;
	for (size_t i = 0; i < s->count; i++)
		if (s->dirs[i].dev == h->dev && s->dirs[i].ino == h->ino)
			return true;
	if (s->count >= NAMES_SYNCS_MAX)
		return false;
	s->dirs[s->count].fd = h->dir;
	s->dirs[s->count].dev = h->dev;
	s->dirs[s->count++].ino = h->ino;
	h->dir = -1;
	return true;
}

void capture_sync_later(struct capture *c, struct names_syncs *s)
{
	c->later = s;
}

static void hold_end(const struct capture *c, struct hold *h)
{
	if (h->private >= 0) {
		private_remove(h->dir, h->private, c->private_name);
		if (!sync_later(c->later, h))
			sync_directory(h->dir);
	}
	close_quietly(h->private);
	close_quietly(h->dir);
	names_free(h->names, h->count);
}

static void capture_free(struct capture *c)
{
	for (size_t i = 0; i < c->count; i++)
		hold_end(c, &c->holds[i]);
	if (c->count > HOLDS_OWN)
		holds_shared -= (unsigned)c->count - HOLDS_OWN;
	step("names-synced");
	close_quietly(c->file);
	free(c->holds);
	free(c);
}

size_t capture_remove(struct capture *c)
{
	size_t left = 0;

	for (size_t i = 0; i < c->count; i++)
		for (size_t n = 0; n < c->holds[i].count; n++)
			left += !remove_one(c, &c->holds[i], c->holds[i].names[n]);
	capture_free(c);
	return left;
}

void capture_undo(struct capture *c, size_t *beside)
{
	for (size_t i = 0; i < c->count; i++)
		for (size_t n = 0; n < c->holds[i].count; n++)
			(void)give_back(c->holds[i].dir, c->holds[i].private, c->holds[i].names[n], beside);
	capture_free(c);
}

/* ---- the sweep ---- */

static int sweep(int dir, int private, const char *name)
{
	char **names;
	size_t count;
	int rc = list_names(private, &names, &count);

	for (size_t i = 0; i < count; i++)
		if (give_back(dir, private, names[i], NULL) < 0)
			rc = -1;
	names_free(names, count);
	private_remove(dir, private, name);
	return fsync(dir) < 0 ? -1 : rc;
}

int names_sweep(int dir, const char *entry_id)
{
	char name[NAME_MAX + 1];
	int top, private, rc;

	if (!*entry_id || strlen(entry_id) > NAMES_ID_MAX || strchr(entry_id, '/')) {
		errno = EINVAL;
		return -1;
	}
	snprintf(name, sizeof(name), "%s%s", AMP_PRIVATE_PREFIX, entry_id);
	top = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (top < 0)
		return -1;
	private = private_open(top, name, false);
	if (private < 0) {
		/* One that died may have removed it, and what was in it, and not synced. */
		rc = errno == ENOENT ? fsync(top) : -1;
		close_quietly(top);
		return rc;
	}
	rc = sweep(top, private, name);
	close_quietly(private);
	close_quietly(top);
	return rc;
}
