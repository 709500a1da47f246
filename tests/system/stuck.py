"""Writers that never come to an end: write(2) from a page that nobody delivers.

It holds the inode's lock for as long as its process lives. Owns: that program.
Must not own: what is tested with it.
"""

import os
import subprocess

import harness

SOURCE = r"""
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

static const char *path;

static void *write_it(void *page)
{
	int fd = open(path, O_WRONLY);

	return pwrite(fd, page, 4096, 0) < 0 ? page : NULL;
}

int main(int argc, char **argv)
{
	struct uffdio_api api = {.api = UFFD_API};
	int uffd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
	void *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct uffdio_register all = {.range = {(uint64_t)page, 4096}, .mode = UFFDIO_REGISTER_MODE_MISSING};
	struct pollfd p = {.fd = uffd, .events = POLLIN};
	pthread_t t;

	path = argv[argc - 1];
	if (uffd < 0 || ioctl(uffd, UFFDIO_API, &api) || ioctl(uffd, UFFDIO_REGISTER, &all))
		return 77;
	pthread_create(&t, NULL, write_it, page);
	if (poll(&p, 1, 10000) != 1)
		return 78;
	puts("stuck");
	fflush(stdout);
	pause();
}
"""


def build(base):
    return harness.compile_c(SOURCE, base + "/stuck-writer", "-pthread", "-w")


def start(program, path):
    """The writer, once it hangs."""
    p = subprocess.Popen([program, path], stdout=subprocess.PIPE)
    line = p.stdout.readline()
    if line != b"stuck\n":
        code = p.wait()
        if code == 77:
            raise harness.Skip("no userfaultfd here")
        raise harness.Failed("the writer does not hang: %r, %d" % (line, code))
    return p


def end(p):
    p.kill()
    p.wait()
    p.stdout.close()


def owned(path, data, uid):
    """The file, of that user from its first moment on."""
    os.setegid(uid)
    os.seteuid(uid)
    try:
        return harness.write(path, data)
    finally:
        os.seteuid(0)
        os.setegid(0)
