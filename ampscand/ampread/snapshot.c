/*
 * ampscand/ampread/snapshot.c - sealed copies of what was read (see snapshot.h).
 *
 * Written from the buffer that was hashed: that is in the processor's cache,
 * and costs half of reading into a mapping, where each page is a fault.
 */
#include "snapshot.h"

#include "counter.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U /* 6.3 */
#endif

#define SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL)

static struct amp_counter c_made = AMP_COUNTER("read.snapshots", false);
static struct amp_counter c_missed = AMP_COUNTER("read.snapshots_missed", true);

static int make(void)
{
	static bool no_noexec; /* the kernel does not know it; the thread's */
	int fd = -1;

	if (!no_noexec)
		fd = memfd_create("amp-content", MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_NOEXEC_SEAL);
	if (fd >= 0 || (!no_noexec && errno != EINVAL))
		return fd;
	no_noexec = true;
	return memfd_create("amp-content", MFD_CLOEXEC | MFD_ALLOW_SEALING);
}

static void missed(struct amp_snapshot *s)
{
	amp_counter_add(&c_missed, 1);
	amp_snapshot_drop(s);
}

void amp_snapshot_begin(struct amp_snapshot *s)
{
	s->size = 0;
	s->fd = make();
	s->there = s->fd >= 0;
	if (!s->there)
		missed(s);
}

void amp_snapshot_add(struct amp_snapshot *s, const void *data, size_t n)
{
	const uint8_t *from = data;

	while (s->there && n > 0) {
		ssize_t k = pwrite(s->fd, from, n, (off_t)s->size);

		if (k < 0 && errno == EINTR)
			continue;
		if (k <= 0) {
			missed(s);
			return;
		}
		from += k;
		n -= (size_t)k;
		s->size += (uint64_t)k;
	}
}

int amp_snapshot_seal(struct amp_snapshot *s)
{
	if (!s->there)
		return -1;
	if (fcntl(s->fd, F_ADD_SEALS, SEALS) < 0) {
		missed(s);
		return -1;
	}
	s->there = false;
	amp_counter_add(&c_made, 1);
	return s->fd;
}

void amp_snapshot_drop(struct amp_snapshot *s)
{
	if (s->there)
		close(s->fd);
	s->there = false;
}
