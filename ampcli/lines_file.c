/*
 * ampcli/lines_file.c - the lines that were typed, over several runs (see
 * lines_file.h).
 */
#include "lines_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define LINES_FILE_NEW LINES_FILE ".new"

void lines_add(struct lines *l, const char *line)
{
	size_t n = strcspn(line, "\r\n");
	char *copy;

	if (n == 0 || n > LINE_KEPT ||
	    (l->n > 0 && strlen(l->line[l->n - 1]) == n && memcmp(l->line[l->n - 1], line, n) == 0))
		return;
	copy = strndup(line, n);
	if (!copy)
		return;
	if (l->n == LINES_MAX) {
		free(l->line[0]);
		memmove(l->line, l->line + 1, (LINES_MAX - 1) * sizeof(l->line[0]));
		l->n--;
	}
	l->line[l->n++] = copy;
}

void lines_free(struct lines *l)
{
	while (l->n > 0)
		free(l->line[--l->n]);
}

/* His directory, opened; -1+errno. */
static int open_home(const char *home)
{
	int dir = home && home[0] == '/' ? open(home, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
	struct stat st;

	if (!home || home[0] != '/')
		errno = EPERM;
	if (dir < 0)
		return -1;
	/* Another's, as after sudo(8) without -H: root's commands are not his to read. */
	if (fstat(dir, &st) == 0 && st.st_uid == geteuid() && getuid() == geteuid() &&
	    (st.st_mode & (S_IWGRP | S_IWOTH)) == 0)
		return dir;
	close(dir);
	errno = EPERM;
	return -1;
}

static bool is_his(int fd)
{
	struct stat st;

	return fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_uid == geteuid() && st.st_nlink == 1;
}

/* The file, or -1+errno. */
static FILE *open_file(int dir)
{
	int fd = openat(dir, LINES_FILE, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	FILE *f;

	if (fd < 0)
		return NULL;
	f = is_his(fd) ? fdopen(fd, "r") : NULL;
	if (f)
		return f;
	close(fd);
	errno = EPERM;
	return NULL;
}

int lines_load(struct lines *l, const char *home)
{
	int dir = open_home(home);
	FILE *f = dir >= 0 ? open_file(dir) : NULL;
	char line[LINE_KEPT + 2];
	bool whole = true;

	if (dir >= 0)
		close(dir);
	if (!f)
		return -1;
	while (fgets(line, sizeof(line), f)) {
		bool ends = strchr(line, '\n') != NULL;

		if (whole && ends)
			lines_add(l, line);
		whole = ends;
	}
	fclose(f);
	return 0;
}

/* 0 or -1+errno. */
static int write_lines(const struct lines *l, int dir)
{
	int fd = openat(dir, LINES_FILE_NEW, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	FILE *f = fd >= 0 ? fdopen(fd, "w") : NULL;
	bool well;

	if (!f) {
		if (fd >= 0)
			close(fd);
		return -1;
	}
	for (size_t i = 0; i < l->n; i++)
		fprintf(f, "%s\n", l->line[i]);
	well = !ferror(f);
	return fclose(f) == 0 && well ? 0 : -1;
}

/* What stands there now may be replaced. */
static bool replaceable(int dir)
{
	struct stat st;

	if (fstatat(dir, LINES_FILE, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT;
	return S_ISREG(st.st_mode) && st.st_uid == geteuid() && st.st_nlink == 1;
}

int lines_save(const struct lines *l, const char *home)
{
	int dir = open_home(home), rc = -1, error;

	if (dir < 0)
		return -1;
	errno = EPERM;
	if (replaceable(dir)) {
		/* Of one that was interrupted. */
		unlinkat(dir, LINES_FILE_NEW, 0);
		rc = write_lines(l, dir);
		if (rc == 0)
			rc = renameat(dir, LINES_FILE_NEW, dir, LINES_FILE);
	}
	error = errno;
	close(dir);
	errno = error;
	return rc;
}
