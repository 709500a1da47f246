/*
 * tests/system/step_die.c - the step() of a keeper that dies (ampquard/step.h).
 *
 * Beside its program lies a file `die-at` with a number N: at the N-th step it
 * removes the file and kills itself. Without the file nothing happens. What
 * it has counted is in `steps`, so that a test knows how many there are; where
 * that file is gone it counts from one again.
 */
#include "ampquard/step.h"

#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
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

/* Of the file `steps`; *anew: there was none. */
static int open_steps(int dir, bool *anew)
{
	int fd = openat(dir, "steps", O_WRONLY | O_CLOEXEC);

	*anew = fd < 0;
	return fd < 0 ? openat(dir, "steps", O_WRONLY | O_CREAT | O_CLOEXEC, 0644) : fd;
}

static unsigned note(int dir, const char *place)
{
	static unsigned count;
	char line[64];
	bool anew;
	int fd = open_steps(dir, &anew);

	if (fd < 0)
		_exit(98);
	count = anew ? 1 : count + 1;
	snprintf(line, sizeof(line), "%3u %-40s\n", count, place);
	if (pwrite(fd, line, LINE_SIZE, (off_t)(count - 1) * LINE_SIZE) < 0)
		_exit(99); /* the test would count wrong */
	close(fd);
	return count;
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
