/*
 * ampscand/ampread/readroom.c - ampread as a room (see readroom.h).
 */
#include "readroom.h"

#include "log.h"
#include "open.h"
#include "reader.h"
#include "room.h"
#include "sha256.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

struct readroom {
	struct amp_room *room;
	struct amp_iothread *io;
	struct amp_reader *reader;
	unsigned peer_instance, peer_generation; /* of ampscand, for complaints */
};

/* ampscand broke the protocol: only ampmon can replace it. */
static void peer_hostile(const char *why, void *arg)
{
	struct readroom *r = arg;

	amp_room_hostile(r->room, AMP_ROLE_SCAN, r->peer_instance, r->peer_generation, why);
}

static int readroom_open(struct amp_room *room, const Amp__Conf *conf)
{
	struct readroom *r = amp_room_arg(room);

	(void)conf;
	r->room = room;
	if (amp_open_setup() < 0) {
		amp_error("/proc cannot be opened: %s", strerror(errno));
		return -1;
	}
	if (amp_sha256_setup() < 0) {
		amp_error("OpenSSL offers no SHA-256: %s", strerror(errno));
		return -1;
	}
	r->io = amp_iothread_new(amp_room_base(room));
	if (!r->io) {
		amp_error("the I/O thread's queue cannot be made: %s", strerror(errno));
		return -1;
	}
	r->reader = amp_reader_new(amp_room_base(room), r->io, peer_hostile, r);
	if (!r->reader) {
		amp_error("no memory for the reader: %s", strerror(errno));
		return -1;
	}
	return 0;
}

static int readroom_before_seal(struct amp_room *room)
{
	struct readroom *r = amp_room_arg(room);

	if (amp_iothread_start(r->io) < 0) {
		amp_error("the I/O thread cannot be started: %s", strerror(errno));
		return -1;
	}
	return 0;
}

static int readroom_ready(struct amp_room *room)
{
	(void)room;
	return 0;
}

static void readroom_link(struct amp_room *room, enum amp_role_id peer, unsigned instance,
			  unsigned generation, int fd)
{
	struct readroom *r = amp_room_arg(room);

	if (peer != AMP_ROLE_SCAN) {
		amp_warn("a link to a peer that ampread has nothing to do with was refused");
		close(fd);
		return;
	}
	r->peer_instance = instance;
	r->peer_generation = generation;
	if (amp_reader_link(r->reader, fd) < 0)
		amp_error("the link to ampscand cannot be taken: %s", strerror(errno));
}

static void readroom_stop(struct amp_room *room)
{
	struct readroom *r = amp_room_arg(room);

	amp_reader_unlink(r->reader);
}

static struct amp_iothread *readroom_iothread(struct amp_room *room)
{
	struct readroom *r = amp_room_arg(room);

	return r->io;
}

static const struct amp_room_ops ops = {
	.role = AMP_ROLE_READ,
	.open = readroom_open,
	.before_seal = readroom_before_seal,
	.ready = readroom_ready,
	.link = readroom_link,
	.stop = readroom_stop,
	.iothread = readroom_iothread,
};

int amp_readroom_main(void)
{
	static struct readroom r;

	return amp_room_main(&ops, &r);
}
