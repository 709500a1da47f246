/*
 * ampmon/links.c - the channels between rooms.
 *
 * Owns: making a pair for every two ready processes whose rows are linked,
 * and giving each its end. Must not own: what flows there. ampmon keeps
 * neither end: a pair lives as long as both its processes.
 */
#include "ampmon/mon.h"

#include "log.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static void give(struct mon_proc *to, const struct mon_proc *peer, int fd)
{
	Amp__Link link = AMP__LINK__INIT;

	link.role = (uint32_t)peer->slot->role->id;
	link.instance = peer->slot->instance;
	link.generation = peer->generation;
	link.pid = peer->pid;
	mon_proc_send(to, AMP_MSG_LINK, &link.base, &fd, 1);
}

static void join(struct mon_proc *a, struct mon_proc *b)
{
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) != 0) {
		amp_error("no link between %s and %s: %s", a->slot->label, b->slot->label, strerror(errno));
		/* Without its links it is of no use; its successor gets them. */
		mon_proc_kill(a, "its links cannot be made");
		return;
	}
	give(a, b, pair[0]);
	give(b, a, pair[1]);
	close(pair[0]);
	close(pair[1]);
}

void mon_links_make(struct mon *m, struct mon_slot *slot)
{
	for (size_t i = 0; i < mon_slot_count(m) && slot->proc; i++) {
		struct mon_slot *peer = mon_slot_at(m, i);

		if (peer != slot && mon_slot_state(peer) == MON_SLOT_RUNNING &&
		    amp_role_linked(slot->role->id, peer->role->id))
			join(slot->proc, peer->proc);
	}
}
