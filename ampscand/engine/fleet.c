/*
 * ampscand/engine/fleet.c - the workers: asked for by ampscand, forked by the zygote in use,
 * handed over, killed, reported gone.
 *
 * Owns: which slot is whose, how many there are, that each one announced is reported gone
 * once, after its slot is wiped. Must not own: zygotes (sets.c), what workers do.
 */
#include "engine.h"

#include "clock.h"

#include "proto/engine.pb-c.h"

#include <errno.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define AGAIN_S	  1
#define ANSWER_NS (10 * AMP_NS_PER_SEC) /* a zygote that has made no worker for so long is of no use */

static void look_at_answers(struct engine *e);

static void on_again(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	look_at_answers(arg);
	fleet_pump(arg);
}

int fleet_start(struct engine *e)
{
	e->again = evtimer_new(e->base, on_again, e);
	return e->again ? 0 : -1;
}

/* As many as work, as many in reserve for the second word, and one for each class. */
unsigned fleet_limit(const struct engine *e)
{
	return 2 * e->workers_max + 2;
}

unsigned fleet_of(const struct engine *e, const struct zygote *z)
{
	unsigned n = 0;

	for (size_t i = 0; i < ENGINE_ALIVE; i++)
		n += e->workers[i].serial != 0 && e->workers[i].zygote == z;
	return n;
}

static unsigned of_link(const struct engine *e)
{
	unsigned n = 0;

	for (size_t i = 0; i < ENGINE_ALIVE; i++)
		n += e->workers[i].serial != 0 && e->workers[i].link == e->link;
	return n;
}

static struct fleet_worker *find(struct engine *e, uint64_t serial)
{
	for (size_t i = 0; serial != 0 && i < ENGINE_ALIVE; i++)
		if (e->workers[i].serial == serial)
			return &e->workers[i];
	return NULL;
}

static unsigned slot_of(const struct engine *e, const struct fleet_worker *w)
{
	return (unsigned)(w - e->workers);
}

static void again_later(struct engine *e)
{
	const struct timeval again = {.tv_sec = AGAIN_S};

	if (!evtimer_pending(e->again, NULL))
		evtimer_add(e->again, &again);
}

/* --- asked for ------------------------------------------------------------------------- */

/* -1: all are taken. */
static int free_slot(const struct engine *e)
{
	for (unsigned i = 0; i < fleet_limit(e) && i < ENGINE_ALIVE; i++)
		if (e->workers[i].serial == 0 && !e->dirty[i])
			return (int)i;
	return -1;
}

/* What waits for a slot (the workers of an ended link are being buried) goes on when one is free. */
void fleet_pump(struct engine *e)
{
	int slot;

	while (e->in_use && e->wanted_workers > 0 && (slot = free_slot(e)) >= 0) {
		struct fleet_worker *w = &e->workers[slot];

		e->wanted_workers--;
		*w = (struct fleet_worker){.serial = ++e->serials,
					   .zygote = e->in_use,
					   .link = e->link,
					   .asked_ns = amp_clock_monotonic()};
		again_later(e);
		if (sets_ask(e->in_use, ZYGOTE_SPAWN, (unsigned)slot, w->serial) != 0)
			return;
	}
}

void fleet_spawn(struct engine *e, unsigned count)
{
	unsigned alive = of_link(e) + e->wanted_workers, limit = fleet_limit(e);
	unsigned more = alive < limit ? limit - alive : 0;

	if (!e->in_use) {
		amp_debug("%u workers asked for, and no signatures are in use", count);
		return;
	}
	if (count > more) {
		amp_warn("%u workers asked for; %u are there, %u may be", count, alive, limit);
		count = more;
	}
	e->wanted_workers += count;
	fleet_pump(e);
}

void fleet_kill(struct engine *e, uint64_t serial)
{
	struct fleet_worker *w = find(e, serial);

	if (w && w->zygote->state != STATE_DEAD)
		(void)sets_ask(w->zygote, ZYGOTE_KILL, 0, serial);
}

void fleet_link_ended(struct engine *e)
{
	e->wanted_workers = 0;
	for (size_t i = 0; i < ENGINE_ALIVE; i++)
		if (e->workers[i].serial != 0)
			fleet_kill(e, e->workers[i].serial);
}

/* A pending SPAWN may be behind others that take their time, but not for ever. */
static void look_at_answers(struct engine *e)
{
	int64_t now = amp_clock_monotonic();

	for (size_t i = 0; i < ENGINE_ALIVE; i++) {
		const struct fleet_worker *w = &e->workers[i];

		if (w->serial == 0 || w->pid != 0 || w->zygote->state == STATE_DEAD)
			continue;
		if (now - w->asked_ns >= ANSWER_NS)
			sets_give_up(w->zygote, "it does not answer when a worker is wanted");
		again_later(e);
	}
}

/* --- handed over --------------------------------------------------------------------------- */

static void announce(struct engine *e, struct fleet_worker *w, int fd)
{
	Amp__Worker msg = AMP__WORKER__INIT;

	msg.serial = w->serial;
	msg.generation = w->zygote->generation;
	if (w->link == e->link && engine_tell(e, AMP_MSG_WORKER, &msg.base, fd) == 0)
		w->announced = true;
	else
		fleet_kill(e, w->serial); /* nobody will ask it anything */
}

/* Of somebody else, by what is known. */
static bool is_taken(const struct engine *e, pid_t pid)
{
	for (size_t i = 0; i < ENGINE_ALIVE; i++)
		if (e->workers[i].serial != 0 && e->workers[i].pid == pid && !e->workers[i].reaped)
			return true;
	return sets_is_zygote(e, pid);
}

static int heard_worker(struct engine *e, struct fleet_worker *w, pid_t pid, int fd)
{
	if (fd < 0 || w->pid != 0 || pid <= 1 || is_taken(e, pid))
		return -1;
	w->pid = pid;
	w->zygote->failing_ns = 0;
	announce(e, w, fd);
	return 0;
}

/* --- gone ------------------------------------------------------------------------------------ */

static void gone(struct engine *e, struct fleet_worker *w, int signal_number, int status)
{
	Amp__WorkerGone msg = AMP__WORKER_GONE__INIT;
	struct fleet_worker was = *w;
	unsigned slot = slot_of(e, w);
	char path[SLOT_PATH];

	*w = (struct fleet_worker){0};
	if (slot_wipe(slot_path(path, e->dirs.slots, slot, was.serial)) != 0) {
		e->dirty[slot] = true;
		amp_error("what a worker left in slot %u could not be removed; the slot is not used again",
			  slot);
		if (free_slot(e) < 0 && of_link(e) == 0)
			amp_fatal("no slot is clean any more");
	}
	msg.serial = was.serial;
	msg.signal = signal_number;
	msg.status = status;
	if (was.announced && was.link == e->link)
		(void)engine_tell(e, AMP_MSG_WORKER_GONE, &msg.base, -1);
	sets_go(e);
	fleet_pump(e);
}

/* Those that are there serve, even if there is no memory for one more. */
static bool has_workers(const struct engine *e, const struct zygote *z)
{
	for (size_t i = 0; i < ENGINE_ALIVE; i++)
		if (e->workers[i].serial != 0 && e->workers[i].zygote == z && e->workers[i].pid != 0)
			return true;
	return false;
}

/* There is none; it is tried again in a moment, if somebody still waits for it. */
static int failed(struct engine *e, struct fleet_worker *w, int error)
{
	struct zygote *z = w->zygote;
	int64_t now = amp_clock_monotonic();

	if (w->pid != 0)
		return -1; /* it was announced */
	amp_error("a worker could not be made: %s", strerror(error));
	if (w->link == e->link)
		e->wanted_workers++;
	*w = (struct fleet_worker){0};
	again_later(e);
	if (z->failing_ns == 0 || has_workers(e, z))
		z->failing_ns = now;
	else if (now - z->failing_ns >= ANSWER_NS)
		sets_give_up(z, "it cannot make any worker");
	return 0;
}

int fleet_heard(struct zygote *z, const struct zygote_said *s, int fd)
{
	struct engine *e = z->engine;
	struct fleet_worker *w = find(e, s->serial);
	int rc = w && w->zygote == z ? 0 : -1;

	if (rc == 0 && s->kind == ZYGOTE_WORKER)
		rc = heard_worker(e, w, s->pid, fd);
	else if (rc == 0 && s->kind == ZYGOTE_FAILED)
		rc = failed(e, w, s->number);
	else if (rc == 0)
		gone(e, w, s->signal, s->number);
	if (fd >= 0)
		close(fd);
	return rc;
}

/* --- of a zygote that is dead: its workers were killed with it, and are the room's children ---- */

void fleet_reaped(struct engine *e, pid_t pid, int status)
{
	for (size_t i = 0; i < ENGINE_ALIVE; i++) {
		struct fleet_worker *w = &e->workers[i];

		if (w->serial == 0 || w->pid != pid || w->zygote->state != STATE_DEAD)
			continue;
		w->reaped = true;
		w->status = status;
	}
}

static void bury(struct engine *e, struct fleet_worker *w)
{
	int status = w->reaped ? w->status : SIGKILL;

	gone(e, w, WIFSIGNALED(status) ? WTERMSIG(status) : 0, WIFEXITED(status) ? WEXITSTATUS(status) : 0);
}

/* Nothing that it forked is left: nothing rests on what it said of that. */
void fleet_bury(struct engine *e, const struct zygote *z)
{
	for (size_t i = 0; i < ENGINE_ALIVE; i++)
		if (e->workers[i].serial != 0 && e->workers[i].zygote == z)
			bury(e, &e->workers[i]);
}
