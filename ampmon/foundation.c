/*
 * ampmon/foundation.c - what runs and is mapped, told to ampscand.
 *
 * Owns: the machine's foundations as far as ampmon alone can see them (PID 1's
 * program and libraries, the suite's), looked up at the start, when ampscand
 * comes and every ten minutes; the answers to MAPPED. Must not own: reading
 * /proc (mapped.c), what ampscand does with the paths.
 */
#include "ampmon/mon.h"

#include "ampmon/mapped.h"
#include "log.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define AGAIN_SECONDS 600
#define RETRY_SECONDS 10
#define BATCH_BYTES   49152U /* of paths in a message: below AMP_MSG_MAX with room for the frame */

/* Programs of the suite that are no rooms. */
static const char *const others[] = {"ampcli"};

struct mon_foundation {
	struct event *again;
	struct mapped_job *job;
	bool stale; /* asked for again while a job runs */
	bool known;
	unsigned told; /* generation of the ampscand that has them; 0: none */
	char *paths;   /* each with a NUL behind it */
	size_t size;
	/* MAPPED */
	struct mapped_job *asked_job;
	uint64_t asked[AMP_SCANS];
	size_t asked_count;
	unsigned asked_by; /* generation of the ampscand */
};

/* --- batches ---------------------------------------------------------------- */

/* The next ones that fit a message; how many. */
static size_t take_batch(const char **p, const char *end, ProtobufCBinaryData *list)
{
	size_t n = 0, bytes = 0;

	while (n < AMP_PATHS_BATCH && *p != end) {
		size_t length = strlen(*p);

		if (n > 0 && bytes + length + 4 > BATCH_BYTES)
			break;
		bytes += length + 4;
		list[n].data = (uint8_t *)(uintptr_t)mapped_next(p, end);
		list[n++].len = length;
	}
	return n;
}

static struct mon_proc *scand(const struct mon *m)
{
	struct mon_slot *s = mon_slot(m, AMP_ROLE_SCAN, 0);

	return s && mon_slot_state(s) == MON_SLOT_RUNNING ? s->proc : NULL;
}

/* --- foundations -------------------------------------------------------------- */

static void tell(struct mon *m, struct mon_proc *p)
{
	struct mon_foundation *f = m->foundation;
	ProtobufCBinaryData list[AMP_PATHS_BATCH];
	Amp__Foundation body = AMP__FOUNDATION__INIT;
	const char *at = f->paths, *end = at + f->size;

	body.paths = list;
	do {
		body.n_paths = take_batch(&at, end, list);
		body.more = at != end;
		mon_proc_send(p, AMP_MSG_FOUNDATION, &body.base, NULL, 0);
	} while (at != end);
	f->told = p->generation;
}

static void again_in(struct mon *m, time_t seconds)
{
	const struct timeval tv = {.tv_sec = seconds};

	evtimer_add(m->foundation->again, &tv);
}

static size_t add_name(char *out, size_t room, const char *dir, const char *name)
{
	int n = snprintf(out, room, "%s/%s", dir, name);

	return n > 0 && (size_t)n < room ? (size_t)n + 1 : 0;
}

/* The suite's own programs, of which not each runs. */
static size_t add_programs(const struct mon *m, char *out, size_t room)
{
	size_t used = 0;

	for (int id = AMP_ROLE_NONE + 1; id < AMP_ROLE_COUNT; id++)
		used += add_name(out + used, room - used, m->conf->bin_dir,
				 amp_role((enum amp_role_id)id)->name);
	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
		used += add_name(out + used, room - used, m->conf->bin_dir, others[i]);
	return used;
}

static void take(struct mon *m, const char *paths, size_t n)
{
	struct mon_foundation *f = m->foundation;
	size_t room = (AMP_ROLE_COUNT + sizeof(others) / sizeof(others[0])) * (strlen(m->conf->bin_dir) + 64);
	char *all = malloc(n + room);
	struct mon_proc *p = scand(m);

	if (!all) {
		again_in(m, RETRY_SECONDS);
		return;
	}
	if (n > 0)
		memcpy(all, paths, n);
	free(f->paths);
	f->paths = all;
	f->size = n + add_programs(m, all + n, room);
	f->known = true;
	if (p)
		tell(m, p);
	mon_ready_check(m);
}

static void found(const char *paths, size_t n, const char *error, void *arg)
{
	struct mon *m = arg;
	struct mon_foundation *f = m->foundation;
	bool stale = f->stale;

	f->job = NULL;
	f->stale = false;
	if (*error)
		amp_warn("not all foundations of the machine are known: %s", error);
	take(m, paths, n);
	if (stale)
		mon_foundation_look(m);
}

static size_t whose(const struct mon *m, pid_t *pids)
{
	size_t n = 0;

	pids[n++] = 1;
	pids[n++] = getpid();
	for (size_t i = 0; i < mon_slot_count(m) && n < MAPPED_PIDS_MAX; i++) {
		const struct mon_slot *s = mon_slot_at(m, i);

		/* A room with a view of its own sees other names. */
		if (mon_slot_state(s) == MON_SLOT_RUNNING && s->role->view == AMP_VIEW_HOST)
			pids[n++] = s->proc->pid;
	}
	return n;
}

void mon_foundation_look(struct mon *m)
{
	struct mon_foundation *f = m->foundation;
	pid_t pids[MAPPED_PIDS_MAX];

	again_in(m, AGAIN_SECONDS);
	if (f->job) {
		f->stale = true;
		return;
	}
	f->job = mapped_start(m->base, pids, whose(m, pids), found, m);
	if (f->job)
		return;
	/* The suite's own names at least; what was known before stays. */
	again_in(m, RETRY_SECONDS);
	if (!f->known)
		take(m, NULL, 0);
}

static void on_again(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	mon_foundation_look(arg);
}

void mon_foundation_scand_ready(struct mon *m)
{
	struct mon_proc *p = scand(m);

	if (p && m->foundation->known)
		tell(m, p);
	mon_foundation_look(m);
}

bool mon_foundation_told(const struct mon *m)
{
	const struct mon_proc *p = scand(m);

	return p && p->generation == m->foundation->told;
}

/* --- MAPPED ---------------------------------------------------------------------- */

static void answer(struct mon_proc *p, uint64_t id, const char *paths, size_t size, const char *error)
{
	ProtobufCBinaryData list[AMP_PATHS_BATCH];
	Amp__MappedFiles body = AMP__MAPPED_FILES__INIT;
	const char *at = paths, *end = paths + size;

	body.paths = list;
	body.error = (char *)(uintptr_t)error;
	do {
		body.n_paths = take_batch(&at, end, list);
		body.more = at != end;
		if (!p->ch || p->killed)
			return;
		if (amp_channel_send(p->ch, AMP_MSG_MAPPED_FILES, id, &body.base, NULL, 0) != 0) {
			mon_proc_kill(p, "what processes map cannot be sent to it");
			return;
		}
	} while (at != end);
}

static void mapped(const char *paths, size_t n, const char *error, void *arg)
{
	struct mon *m = arg;
	struct mon_foundation *f = m->foundation;
	struct mon_proc *p = scand(m);

	f->asked_job = NULL;
	for (size_t i = 0; p && p->generation == f->asked_by && i < f->asked_count; i++)
		answer(p, f->asked[i], paths, n, error);
	f->asked_count = 0;
}

int mon_mapped_request(struct mon *m, struct mon_proc *p, uint64_t id)
{
	struct mon_foundation *f = m->foundation;

	if (f->asked_by != p->generation)
		f->asked_count = 0; /* its predecessor's */
	f->asked_by = p->generation;
	if (f->asked_count == AMP_SCANS)
		return -1; /* more than it has scans */
	if (!f->asked_job)
		f->asked_job = mapped_start(m->base, NULL, 0, mapped, m);
	if (f->asked_job)
		f->asked[f->asked_count++] = id;
	else
		answer(p, id, "", 0, "ampmon could not start a process to look");
	return 0;
}

/* --- life ------------------------------------------------------------------------- */

int mon_foundation_new(struct mon *m)
{
	m->foundation = calloc(1, sizeof(*m->foundation));
	if (!m->foundation)
		return -1;
	m->foundation->again = evtimer_new(m->base, on_again, m);
	return m->foundation->again ? 0 : -1;
}

void mon_foundation_free(struct mon *m)
{
	struct mon_foundation *f = m->foundation;

	if (!f)
		return;
	if (f->job)
		mapped_cancel(f->job);
	if (f->asked_job)
		mapped_cancel(f->asked_job);
	if (f->again)
		event_free(f->again);
	free(f->paths);
	free(f);
	m->foundation = NULL;
}
