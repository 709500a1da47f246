/*
 * ampmon/control.c - what rooms say on their control channels.
 *
 * Owns: one row for every message a room may send, who may send it and when;
 * the check of every value in it. Must not own: what follows from it (the
 * parts of ampmon that are called). A -1 here costs the room its life.
 */
#include "ampmon/mon.h"

#include "clock.h"
#include "log.h"
#include "text.h"

#include <stdio.h>
#include <string.h>

/* Bits of the channel's state. */
#define SPAWNED 1U
#define READY	2U

#define ROOM(id) (1U << (id))
#define EVERY	 (SCAN | ROOM(AMP_ROLE_READ) | CLOUD | ROOM(AMP_ROLE_QUARD) | ROOM(AMP_ROLE_ENGINE))
#define SCAN	 ROOM(AMP_ROLE_SCAN)
#define CLOUD	 ROOM(AMP_ROLE_CLOUD)

#define MAX_NAMES	64U /* features in a READY */
#define MAX_ACCUSATIONS 3U
#define MAX_CHANGES	120U /* faults raised and cleared, in a minute */
#define NO_TEXT		64U  /* bytes: numbers only */

static int on_ready(struct amp_channel *ch, struct amp_message *m, void *arg)
{
	const Amp__Ready *r = (const Amp__Ready *)m->body;

	if (r->n_in_use > MAX_NAMES || r->n_missing > MAX_NAMES)
		return -1;
	amp_channel_set_state(ch, READY);
	mon_proc_ready(arg, r);
	return 0;
}

static int on_pong(struct amp_channel *ch, struct amp_message *m, void *arg)
{
	const Amp__Pong *pong = (const Amp__Pong *)m->body;
	struct mon_proc *p = arg;

	(void)ch;
	if (pong->seq <= p->pong_seq || pong->seq > p->ping_seq)
		return -1;
	p->pong_seq = pong->seq;
	child_heart_pong(&p->heart, pong->io_steps, pong->io_busy);
	return 0;
}

/* Each change is a row of the history, which a flood would push everything else out of. */
static bool changes_too_often(struct mon_proc *p, const Amp__Fault *f)
{
	int64_t now = amp_clock_monotonic();

	if (mon_fault_stands(p->m->faults, f->number, p->slot->label) == (f->raised != 0))
		return false;
	if (now - p->fault_changes_ns > 60 * AMP_NS_PER_SEC) {
		p->fault_changes_ns = now;
		p->fault_changes = 0;
	}
	return ++p->fault_changes > MAX_CHANGES;
}

static int on_fault(struct amp_channel *ch, struct amp_message *m, void *arg)
{
	const Amp__Fault *f = (const Amp__Fault *)m->body;
	struct mon_proc *p = arg;
	char detail[256];

	(void)ch;
	if (!mon_fault_is_rooms(f->number))
		return -1;
	if (changes_too_often(p, f)) {
		mon_proc_hostile(p, "", "it raises and clears faults too often");
		return 0;
	}
	if (!f->raised) {
		mon_fault_clear(p->m->faults, f->number, p->slot->label);
		return 0;
	}
	amp_text_escape(f->detail, strlen(f->detail), detail, sizeof(detail));
	if (mon_fault_raise(p->m->faults, f->number, p->slot->label, detail) != 0)
		amp_warn("%s: fault %u cannot be kept", p->slot->label, (unsigned)f->number);
	return 0;
}

/* Who accuses again and again is believed no longer: it is replaced itself. */
static int accuse(struct mon_proc *by, struct mon_slot *peer, const char *why)
{
	if (++by->accusations > MAX_ACCUSATIONS) {
		mon_proc_hostile(by, "", "it called its peers hostile too often");
		return 0;
	}
	mon_proc_hostile(peer->proc, by->slot->label, why);
	return 0;
}

static int on_peer_hostile(struct amp_channel *ch, struct amp_message *m, void *arg)
{
	const Amp__PeerHostile *h = (const Amp__PeerHostile *)m->body;
	struct mon_proc *p = arg;
	struct mon_slot *peer = mon_slot(p->m, h->role, h->instance);
	char why[160];

	(void)ch;
	if (!peer || !amp_role_linked(p->slot->role->id, peer->role->id))
		return -1;
	/* An older generation is gone already. */
	if (!peer->proc || peer->proc->killed || peer->proc->generation != h->generation)
		return 0;
	amp_text_escape(h->why, strlen(h->why), why, sizeof(why));
	return accuse(p, peer, why);
}

static int on_policy_ack(struct amp_channel *ch, struct amp_message *m, void *arg)
{
	struct mon_proc *p = arg;
	uint64_t epoch = ((const Amp__PolicyAck *)m->body)->epoch;

	(void)ch;
	if (epoch > p->m->state.epoch)
		return -1;
	mon_inforce_ack(p->m, epoch);
	return 0;
}

static int on_repair_state(struct amp_channel *ch, struct amp_message *m, void *arg)
{
	struct mon_proc *p = arg;

	(void)ch;
	return mon_sources_repair_state(p->m, (const Amp__RepairState *)m->body);
}

static int on_repair_wanted(struct amp_channel *ch, struct amp_message *m, void *arg)
{
	struct mon_proc *p = arg;

	(void)ch;
	return mon_sources_repair_wanted(p->m, (const Amp__RepairWanted *)m->body);
}

static int on_kill(struct amp_channel *ch, struct amp_message *m, void *arg)
{
	struct mon_proc *p = arg;

	(void)ch;
	return mon_sources_kill(p->m, p, m->id, (const Amp__Kill *)m->body);
}

static int on_keep(struct amp_channel *ch, struct amp_message *m, void *arg)
{
	struct mon_proc *p = arg;

	(void)ch;
	return mon_sources_keep(p->m, p, m->id, (const Amp__Keep *)m->body);
}

static int on_mapped(struct amp_channel *ch, struct amp_message *m, void *arg)
{
	struct mon_proc *p = arg;

	(void)ch;
	return mon_mapped_request(p->m, p, m->id);
}

static int on_concluded(struct amp_channel *ch, struct amp_message *m, void *arg)
{
	struct mon_proc *p = arg;

	(void)ch;
	mon_sources_concluded(p->m, (const Amp__Concluded *)m->body);
	return 0;
}

static int on_scan_state(struct amp_channel *ch, struct amp_message *m, void *arg)
{
	struct mon_proc *p = arg;

	(void)ch;
	mon_sources_scan_state(p->m, (const Amp__ScanState *)m->body);
	return 0;
}

static int on_event_ack(struct amp_channel *ch, struct amp_message *m, void *arg)
{
	struct mon_proc *p = arg;

	(void)ch;
	mon_events_ack(p->m, (const Amp__EventAck *)m->body);
	return 0;
}

#define ROW(t, who, body, length, when, fn)                                                                  \
	{                                                                                                    \
		.rooms = (who),                                                                              \
		.row = {.type = (t),                                                                         \
			.descriptor = &amp__##body##__descriptor,                                            \
			.max_length = (length),                                                              \
			.states = (when),                                                                    \
			.handler = (fn) }                                                                    \
	}

static const struct {
	unsigned rooms;
	struct amp_dispatch row;
} master[] = {
	ROW(AMP_MSG_READY, EVERY, ready, 8192, SPAWNED, on_ready),
	ROW(AMP_MSG_PONG, EVERY, pong, NO_TEXT, READY, on_pong),
	ROW(AMP_MSG_FAULT, EVERY, fault, 4096, SPAWNED | READY, on_fault),
	ROW(AMP_MSG_PEER_HOSTILE, EVERY, peer_hostile, 4096, READY, on_peer_hostile),
	ROW(AMP_MSG_POLICY_ACK, SCAN, policy_ack, NO_TEXT, READY, on_policy_ack),
	ROW(AMP_MSG_REPAIR_STATE, SCAN, repair_state, 4096, READY, on_repair_state),
	ROW(AMP_MSG_REPAIR_WANTED, SCAN, repair_wanted, 4096, READY, on_repair_wanted),
	ROW(AMP_MSG_KILL, SCAN, kill, AMP_PATH_MAX + 4096, READY, on_kill),
	ROW(AMP_MSG_CONCLUDED, SCAN, concluded, NO_TEXT, READY, on_concluded),
	ROW(AMP_MSG_SCAN_STATE, SCAN, scan_state, 2048, READY, on_scan_state),
	ROW(AMP_MSG_KEEP, SCAN, keep, AMP_KEEP_MAX + 64, READY, on_keep),
	ROW(AMP_MSG_MAPPED, SCAN, mapped, 0, READY, on_mapped),
	ROW(AMP_MSG_EVENT_ACK, CLOUD, event_ack, 16384, READY, on_event_ack),
};
#define ROWS (sizeof(master) / sizeof(master[0]))

const struct amp_dispatch *mon_control_table(enum amp_role_id role, size_t *rows)
{
	static struct amp_dispatch tables[AMP_ROLE_COUNT][ROWS];
	struct amp_dispatch *table = tables[role];
	size_t n = 0;

	for (size_t i = 0; i < ROWS; i++)
		if (master[i].rooms & ROOM(role))
			table[n++] = master[i].row;
	*rows = n;
	return table;
}
