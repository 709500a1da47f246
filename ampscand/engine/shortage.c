/*
 * ampscand/engine/shortage.c - see shortage.h.
 *
 * libclamav goes on without the temporary file that it could not make or write, calls
 * the rest clean, and does not always tell. So its calls are taken hold of on their way:
 * what the program defines comes before what the C library does, for all libraries.
 * Each does what the C library's does, and keeps the error.
 */
#include "shortage.h"

#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static int seen;

/* The names are the C library's; with large files its headers give two of them another meaning. */
int shortage_open(const char *path, int flags, ...) __asm__("open");
int shortage_open64(const char *path, int flags, ...) __asm__("open64");
int shortage_mkdir(const char *path, mode_t mode) __asm__("mkdir");
ssize_t shortage_write(int fd, const void *data, size_t n) __asm__("write");
DIR *shortage_opendir(const char *path) __asm__("opendir");
FILE *shortage_fopen(const char *path, const char *mode) __asm__("fopen");
FILE *shortage_fopen64(const char *path, const char *mode) __asm__("fopen64");
size_t shortage_fwrite(const void *data, size_t size, size_t n, FILE *f) __asm__("fwrite");
int shortage_fflush(FILE *f) __asm__("fflush");
int shortage_fclose(FILE *f) __asm__("fclose");

static struct {
	DIR *(*opendir)(const char *path);
	FILE *(*fopen)(const char *path, const char *mode);
	size_t (*fwrite)(const void *data, size_t size, size_t n, FILE *f);
	int (*fflush)(FILE *f);
	int (*fclose)(FILE *f);
} next;

/* Of this name, the one behind ours. */
static bool look_up(const char *name, void *function, size_t size)
{
	void *found = dlsym(RTLD_NEXT, name);

	memcpy(function, &found, size);
	return found;
}

/* Libraries may call them before anything here has begun. */
static bool look_all_up(void)
{
	return next.fclose || (look_up("opendir", &next.opendir, sizeof(next.opendir)) &&
			       look_up("fopen64", &next.fopen, sizeof(next.fopen)) &&
			       look_up("fwrite", &next.fwrite, sizeof(next.fwrite)) &&
			       look_up("fflush", &next.fflush, sizeof(next.fflush)) &&
			       look_up("fclose", &next.fclose, sizeof(next.fclose)));
}

int shortage_setup(void)
{
	return look_all_up() ? 0 : -1;
}

void shortage_begin(void)
{
	seen = 0;
}

int shortage_seen(void)
{
	return seen;
}

static bool is_shortage(int error, bool makes)
{
	switch (error) {
	case ENOSPC:
	case EDQUOT:
	case EFBIG:
	case EIO:
	case EMFILE:
	case ENFILE:
	case ENOMEM:
		return true;
	case EACCES:
	case ENOENT:
	case EROFS:
		return makes;
	default:
		return false;
	}
}

/* rc, that the call came back with; errno stays. */
static long note(long rc, bool makes)
{
	if (rc < 0 && !seen && is_shortage(errno, makes))
		seen = errno;
	return rc;
}

static int do_open(const char *path, int flags, va_list rest)
{
	const bool makes = (flags & O_CREAT) || (flags & O_TMPFILE) == O_TMPFILE;
	const unsigned mode = makes ? va_arg(rest, unsigned) : 0;

	return (int)note(syscall(SYS_openat, AT_FDCWD, path, flags, mode), makes);
}

int shortage_open(const char *path, int flags, ...)
{
	va_list rest;
	int fd;

	va_start(rest, flags);
	fd = do_open(path, flags, rest);
	va_end(rest);
	return fd;
}

int shortage_open64(const char *path, int flags, ...)
{
	va_list rest;
	int fd;

	va_start(rest, flags);
	fd = do_open(path, flags | O_LARGEFILE, rest);
	va_end(rest);
	return fd;
}

int shortage_mkdir(const char *path, mode_t mode)
{
	return (int)note(syscall(SYS_mkdirat, AT_FDCWD, path, mode), true);
}

ssize_t shortage_write(int fd, const void *data, size_t n)
{
	return note(syscall(SYS_write, fd, data, n), false);
}

DIR *shortage_opendir(const char *path)
{
	DIR *d = look_all_up() ? next.opendir(path) : NULL;

	note(d ? 0 : -1, false);
	return d;
}

/* On the machines that this is for, both mean the same. */
FILE *shortage_fopen(const char *path, const char *mode)
{
	return shortage_fopen64(path, mode);
}

FILE *shortage_fopen64(const char *path, const char *mode)
{
	FILE *f = look_all_up() ? next.fopen(path, mode) : NULL;

	note(f ? 0 : -1, mode[0] != 'r');
	return f;
}

size_t shortage_fwrite(const void *data, size_t size, size_t n, FILE *f)
{
	size_t done = look_all_up() ? next.fwrite(data, size, n, f) : 0;

	note(done < n && size > 0 ? -1 : 0, false);
	return done;
}

int shortage_fflush(FILE *f)
{
	return (int)note(look_all_up() ? next.fflush(f) : EOF, false);
}

int shortage_fclose(FILE *f)
{
	return (int)note(look_all_up() ? next.fclose(f) : EOF, false);
}
