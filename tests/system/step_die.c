/*
 * tests/system/step_die.c - the step() of a keeper that dies (ampquard/step.h).
 *
 * Beside its program lies a file `die-at` with a number N: at the N-th step it
 * removes the file and kills itself. Without the file nothing happens. What
 * it has counted is in `steps`, so that a test knows how many there are; where
 * that file is gone it counts from one again. Its hands count with it: a keeper ends
 * when one of them does.
 */
#include "ampquard/step.h"

#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define LINE_SIZE 45

static int directory(void)
{
	char path[PATH_MAX], *slash;
	ssize_t n = readlinkat(AT_FDCWD, "/proc/self/exe", path, sizeof(path) - 1);

	if (n <= 0)
		return -1;
	path[n] = '\0';
	slash = strrchr(path, '/');
	if (!slash)
		return -1;
	*slash = '\0';
	return openat(AT_FDCWD, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

/* Appended, by whichever process comes to it: pwrite(2) does so here wherever it is told to. */
static unsigned note(int dir, const char *place)
{
	char line[64];
	struct stat st;
	int fd = openat(dir, "steps", O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);

	if (fd < 0 || flock(fd, LOCK_EX) != 0 || fstat(fd, &st) != 0)
		_exit(98);
	snprintf(line, sizeof(line), "%3u %-40s\n", (unsigned)(st.st_size / LINE_SIZE) + 1, place);
	if (pwrite(fd, line, LINE_SIZE, 0) != LINE_SIZE)
		_exit(99); /* the test would count wrong */
	close(fd);
	return (unsigned)(st.st_size / LINE_SIZE) + 1;
}

static unsigned die_at(int dir)
{
	char text[16] = "";
	int fd = openat(dir, "die-at", O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return 0;
	if (pread(fd, text, sizeof(text) - 1, 0) < 0)
		text[0] = '\0';
	close(fd);
	return (unsigned)strtoul(text, NULL, 10);
}

void step(const char *place)
{
	int dir = directory();

	if (dir < 0)
		return;
	if (note(dir, place) == die_at(dir)) {
		unlinkat(dir, "die-at", 0);
		syscall(SYS_tgkill, getpid(), (pid_t)syscall(SYS_gettid), SIGKILL);
	}
	close(dir);
}
