/*
 * ampmon/events.c - ampmon's own durable events: faults, policy changes.
 *
 * Owns: their form and the outbox to ampcloudd. Must not own: when they
 * happen. A policy change not yet acknowledged is kept in ampmon.state; a
 * fault that stands is raised again by the next ampmon.
 */
#include "ampmon/mon.h"

#include "clock.h"
#include "log.h"
#include "outbox.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define WINDOW	    16
#define WAITING_MAX 4096		    /* ampcloudd away for long: the rest is in the log only */
#define ASIDE_NS    (3600 * AMP_NS_PER_SEC) /* shown for an hour */
#define NO_TOKEN    0U			    /* of an event nobody asks after */

struct mon_events {
	struct amp_outbox *outbox;
	char boot_id[37];
};

static const uint32_t severities[] = {
	[AMP_FAULT_INFO] = 0,
	[AMP_FAULT_WARNING] = 2,
	[AMP_FAULT_CRITICAL] = 4,
};

static void read_boot_id(char *id, size_t size)
{
	int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, id, size - 1);

	if (fd >= 0)
		close(fd);
	id[n > 0 ? n : 0] = '\0';
	id[strcspn(id, "\n")] = '\0';
	if (!id[0])
		snprintf(id, size, "unknown");
}

static void committed(uint64_t token, bool aside, void *arg)
{
	struct mon *m = arg;

	if (aside) {
		mon_fault_raise(m->faults, AMP_FAULT_EVENT_SET_ASIDE, "ampmon", "an event of ampmon");
		mon_fault_clear_later(m->faults, AMP_FAULT_EVENT_SET_ASIDE, "ampmon", ASIDE_NS);
	}
	if (token == NO_TOKEN || token != m->state.epoch || !m->state.change_unrecorded)
		return;
	m->state.change_unrecorded = false;
	mon_store_state(m, NULL, NULL);
}

int mon_events_new(struct mon *m)
{
	struct amp_outbox_config config = {.window = WINDOW, .on_committed = committed, .arg = m};

	m->events = calloc(1, sizeof(*m->events));
	if (!m->events)
		return -1;
	read_boot_id(m->events->boot_id, sizeof(m->events->boot_id));
	m->events->outbox = amp_outbox_new(&config);
	return m->events->outbox ? 0 : -1;
}

void mon_events_free(struct mon *m)
{
	if (!m->events)
		return;
	if (m->events->outbox)
		amp_outbox_free(m->events->outbox);
	free(m->events);
	m->events = NULL;
}

void mon_events_attach(struct mon *m, struct amp_channel *cloud, bool died)
{
	amp_outbox_attach(m->events->outbox, cloud, died);
}

void mon_events_ack(struct mon *m, const Amp__EventAck *ack)
{
	amp_outbox_ack(m->events->outbox, ack);
}

void mon_events_pump(struct mon *m)
{
	amp_outbox_pump(m->events->outbox);
}

static void put(struct mon *m, const Amp__Event *e, uint64_t token)
{
	if (amp_outbox_waiting(m->events->outbox) >= WAITING_MAX)
		amp_warn("event %s is in this log only: ampcloudd takes none", e->uid);
	else if (amp_outbox_put(m->events->outbox, e, token) != 0)
		amp_error("event %s is lost: %s", e->uid, strerror(errno));
}

void mon_events_fault(const struct mon_fault *f, bool raised, void *mon)
{
	struct mon *m = mon;
	const struct amp_fault_info *info = amp_fault_info(f->number);
	Amp__Event e = AMP__EVENT__INIT;
	char uid[128], type[] = "fault_cleared", detail[512];

	if (!m->events)
		return;
	snprintf(uid, sizeof(uid), "fault/%s/%u/%llu/%s", m->events->boot_id, (unsigned)f->number,
		 (unsigned long long)f->seq, raised ? "raised" : "cleared");
	if (raised)
		snprintf(type, sizeof(type), "fault_raised");
	snprintf(detail, sizeof(detail), "%u %s (%s): %s", (unsigned)f->number, info->text, f->source,
		 f->detail);
	e.uid = uid;
	e.type = type;
	e.time_ns = raised ? f->since_ns : amp_clock_realtime();
	e.severity = raised ? severities[info->severity] : 0;
	e.detail = detail;
	put(m, &e, NO_TOKEN);
}

void mon_events_policy(struct mon *m)
{
	Amp__Event e = AMP__EVENT__INIT;
	const struct mon_policy *p = mon_inforce_policy(m);
	char uid[128], type[] = "policy_changed", audit[] = "audit", protect[] = "protect";

	if (!m->state.change_unrecorded)
		return;
	snprintf(uid, sizeof(uid), "policy/%s/%llu", m->state.host_id, (unsigned long long)m->state.epoch);
	e.uid = uid;
	e.type = type;
	e.time_ns = amp_clock_realtime();
	e.detail = m->state.change_detail;
	e.mode = p && mon_policy_protects(p) ? protect : audit;
	put(m, &e, m->state.epoch);
}
