/*
 * tests/fuzz/replay.c - main() for a fuzz target without libFuzzer: runs every
 * file of a corpus through it once, so that `make check` keeps what was found.
 *
 * Owns: reading the files. AMP_CORPUS is the directory unless one is given.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint8_t input[1024 * 1024];

static int replay(int dir, const char *name)
{
	int fd = openat(dir, name, O_RDONLY | O_CLOEXEC);
	ssize_t n;

	if (fd < 0)
		return -1;
	n = read(fd, input, sizeof(input));
	close(fd);
	if (n < 0)
		return -1;
	LLVMFuzzerTestOneInput(input, (size_t)n);
	return 0;
}

int main(int argc, char **argv)
{
	const char *path = argc > 1 ? argv[1] : AMP_CORPUS;
	DIR *d = opendir(path);
	unsigned n = 0;

	if (!d) {
		fprintf(stderr, "%s: %s\n", path, strerror(errno));
		return 1;
	}
	for (struct dirent *e; (e = readdir(d));) {
		if (e->d_name[0] == '.')
			continue;
		if (replay(dirfd(d), e->d_name) < 0) {
			fprintf(stderr, "%s/%s: %s\n", path, e->d_name, strerror(errno));
			return 1;
		}
		n++;
	}
	closedir(d);
	printf("%u inputs\n", n);
	return n > 0 ? 0 : 1;
}
