/*
 * ampmon/definitions.c - directories of signatures that are there later, or are others.
 *
 * Owns: looking from time to time whether the directories of the configuration
 * are those that the running ampengine was given; if not, it is replaced.
 * Must not own: what is in them (the room watches that itself).
 *
 * A room's view is made of what is there when it starts. Who installs freshclam, or
 * mounts the directory, after the suite should not have to know that.
 */
#include "ampmon/child.h"
#include "ampmon/mon.h"

#include "log.h"

#include <stdlib.h>
#include <string.h>

#define LOOK_S 10

struct mon_definitions {
	struct amp_io_job job; /* first: cast back */
	struct mon *m;
	struct event *timer;
	bool looking;
	const struct mon_conf *conf; /* the job's: it is freed behind it in the queue (reload.c) */
	struct mon_dir_id found[MON_DEFINITIONS_MAX], before[MON_DEFINITIONS_MAX];
};

static bool same(const struct mon_dir_id *a, const struct mon_dir_id *b)
{
	return a->dev == b->dev && a->ino == b->ino;
}

/* One that has gone is no reason: what was loaded from it stays in use. */
bool mon_definitions_differ(const struct mon_dir_id *now, const struct mon_dir_id *given)
{
	for (unsigned i = 0; i < MON_DEFINITIONS_MAX; i++)
		if (now[i].ino && !same(&now[i], &given[i]))
			return true;
	return false;
}

static bool look_run(struct amp_io_job *job)
{
	struct mon_definitions *d = (struct mon_definitions *)job;

	mon_conf_look(d->conf->definitions, d->found);
	return true;
}

static bool came(const struct mon_dir_id *now, const struct mon_dir_id *given)
{
	for (unsigned i = 0; i < MON_DEFINITIONS_MAX; i++)
		if (now[i].ino && !given[i].ino)
			return true;
	return false;
}

/*
 * One in another's place is seen twice in a row: a file system that tells another number each time must
 * not keep the engine away.
 */
static void look_done(struct amp_io_job *job)
{
	struct mon_definitions *d = (struct mon_definitions *)job;
	struct mon *m = d->m;
	struct mon_slot *s = mon_slot(m, AMP_ROLE_ENGINE, 0);
	bool settled = memcmp(d->found, d->before, sizeof(d->found)) == 0 || came(d->found, m->engine_dirs);
	Amp__Stop stop = AMP__STOP__INIT;

	d->looking = false;
	memcpy(d->before, d->found, sizeof(d->before));
	if (m->stopping || d->conf != m->conf || !settled || !s || mon_slot_state(s) != MON_SLOT_RUNNING ||
	    !mon_definitions_differ(d->found, m->engine_dirs))
		return;
	memcpy(m->conf->definitions_ids, d->found, sizeof(d->found));
	amp_info("ampengine is replaced: a directory of signatures is there now, or is another one");
	mon_proc_send(s->proc, AMP_MSG_STOP, &stop.base, NULL, 0);
}

static void look(evutil_socket_t fd, short what, void *arg)
{
	struct mon_definitions *d = arg;

	(void)fd;
	(void)what;
	if (d->looking || d->m->stopping || !mon_slot(d->m, AMP_ROLE_ENGINE, 0))
		return;
	d->looking = true;
	d->conf = d->m->conf;
	amp_iothread_submit(d->m->io, &d->job);
}

int mon_definitions_new(struct mon *m)
{
	const struct timeval every = {.tv_sec = LOOK_S};
	struct mon_definitions *d = calloc(1, sizeof(*d));

	if (!d)
		return -1;
	m->definitions = d;
	d->m = m;
	d->job.run = look_run;
	d->job.done = look_done;
	d->timer = event_new(m->base, -1, EV_PERSIST, look, d);
	return d->timer ? event_add(d->timer, &every) : -1;
}

void mon_definitions_free(struct mon *m)
{
	if (m->definitions && m->definitions->timer)
		event_free(m->definitions->timer);
	free(m->definitions);
	m->definitions = NULL;
}
