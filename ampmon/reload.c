/*
 * ampmon/reload.c - SIGHUP: the configuration and the policy are read again.
 *
 * Owns: reading it on the I/O thread, what holds at once and what needs a
 * restart. Must not own: the checks (conf.c). A broken file changes nothing.
 */
#include "ampmon/mon.h"

#include "log.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

struct reload {
	struct amp_io_job job; /* first: cast back */
	struct mon *m;
	char *path;
	struct mon_conf *conf;
	char err[1024];
};

/* Freed after every job that may still read it: the queue keeps the order. */
struct old_conf {
	struct amp_io_job job; /* first: cast back */
	struct mon_conf *conf;
};

struct fixed_text {
	const char *key;
	size_t offset;
};
#define TEXT(member)                                                                                         \
	{                                                                                                    \
#member, offsetof(struct mon_conf, member)                                                   \
	}
#define USER(id, key)                                                                                        \
	{                                                                                                    \
		key, offsetof(struct mon_conf, user) + (id) * sizeof(char *)                                 \
	}

static const struct fixed_text fixed_texts[] = {
	TEXT(log_dir),
	TEXT(run_dir),
	TEXT(bin_dir),
	TEXT(etc_dir),
	TEXT(cloud_dir),
	TEXT(quarantine_dir),
	TEXT(cli_group),
	USER(AMP_ROLE_SCAN, "user_ampscand"),
	USER(AMP_ROLE_READ, "user_ampread"),
	USER(AMP_ROLE_CLOUD, "user_ampcloudd"),
	USER(AMP_ROLE_QUARD, "user_ampquard"),
	USER(AMP_ROLE_ENGINE, "user_ampengine"),
};

static char **text_at(struct mon_conf *c, size_t offset)
{
	return (char **)(void *)((char *)c + offset);
}

static void needs_restart(const char *key)
{
	amp_warn("configuration: a new value of %s holds after a restart of ampmon", key);
}

static void taken_later(const char *key)
{
	amp_info("configuration: the rooms take the new %s when they start next", key);
}

/* The running suite was built on these: they stay as they were. */
static void keep_fixed(struct mon_conf *new, struct mon_conf *old)
{
	for (size_t i = 0; i < sizeof(fixed_texts) / sizeof(fixed_texts[0]); i++) {
		char **is = text_at(old, fixed_texts[i].offset),
		     **wanted = text_at(new, fixed_texts[i].offset);
		char *swap = *wanted;

		if (*is && *wanted && strcmp(*is, *wanted) != 0) {
			needs_restart(fixed_texts[i].key);
			*wanted = *is;
			*is = swap; /* old is freed with the unused value */
		}
	}
	if (new->event_buffers != old->event_buffers)
		needs_restart("event_buffers");
	if (new->force_fd_source != old->force_fd_source)
		needs_restart("event_source");
	if (new->limited_queue != old->limited_queue)
		needs_restart("queue_limit");
	if (new->log_level != old->log_level)
		taken_later("log_level");
	if (new->history_max_rows != old->history_max_rows)
		taken_later("history_max_rows");
	if (new->quarantine_max_size != old->quarantine_max_size)
		taken_later("quarantine_max_size");
	if (new->quarantine_days != old->quarantine_days)
		taken_later("quarantine_days");
	if (new->engine != old->engine)
		needs_restart("engine");
	new->engine = old->engine;
	new->event_buffers = old->event_buffers;
	new->force_fd_source = old->force_fd_source;
	new->limited_queue = old->limited_queue;
}

static bool free_conf(struct amp_io_job *job)
{
	mon_conf_free(((struct old_conf *)job)->conf);
	return true;
}

static void freed_conf(struct amp_io_job *job)
{
	free(job);
}

static void retire(struct mon *m, struct mon_conf *c)
{
	struct old_conf *o = calloc(1, sizeof(*o));

	if (!o)
		return; /* some kilobytes stay behind */
	o->job.run = free_conf;
	o->job.done = freed_conf;
	o->conf = c;
	amp_iothread_submit(m->io, &o->job);
}

static bool same_texts(char *const *a, char *const *b)
{
	while (*a && *b && strcmp(*a, *b) == 0) {
		a++;
		b++;
	}
	return !*a && !*b;
}

/* What is built into its walls, or taken at its start. */
static bool engine_is_to_be_replaced(const struct mon *m, const struct mon_conf *old)
{
	const struct mon_conf *new = m->conf;

	return !same_texts(new->definitions, old->definitions) ||
	       mon_definitions_differ(new->definitions_ids, m->engine_dirs) ||
	       new->engine_workers != old->engine_workers || new->engine_memory != old->engine_memory ||
	       new->engine_reload_after != old->engine_reload_after;
}

/* SIGHUP is also how new signatures are told of. */
static void reload_engine(struct mon *m, const struct mon_conf *old)
{
	struct mon_slot *s = mon_slot(m, AMP_ROLE_ENGINE, 0);
	Amp__Reload reload = AMP__RELOAD__INIT;
	Amp__Stop stop = AMP__STOP__INIT;

	if (!s || mon_slot_state(s) != MON_SLOT_RUNNING)
		return;
	if (engine_is_to_be_replaced(m, old)) {
		amp_info("ampengine is replaced: its directories or limits are others now");
		mon_proc_send(s->proc, AMP_MSG_STOP, &stop.base, NULL, 0);
	} else {
		mon_proc_send(s->proc, AMP_MSG_RELOAD, &reload.base, NULL, 0);
	}
}

static void apply(struct mon *m, struct mon_conf *new)
{
	struct mon_conf *old = m->conf;

	keep_fixed(new, old);
	m->conf = new;
	amp_log_set_level(new->log_level);
	mon_heartbeat(m);
	mon_watch_reconfigure(m->watch, new);
	mon_inforce_reload(m);
	reload_engine(m, old);
	retire(m, old);
	mon_fault_clear(m->faults, AMP_FAULT_CONFIGURATION, "configuration");
	amp_info("configuration read again");
}

static bool reload_run(struct amp_io_job *job)
{
	struct reload *r = (struct reload *)job;

	r->conf = mon_conf_load(r->path, r->err, sizeof(r->err));
	return true;
}

static void reload_done(struct amp_io_job *job)
{
	struct reload *r = (struct reload *)job;
	struct mon *m = r->m;

	if (m->stopping) {
		mon_conf_free(r->conf);
	} else if (r->conf) {
		apply(m, r->conf);
	} else {
		amp_error("configuration refused, the old one stays: %s", r->err);
		mon_fault_raise(m->faults, AMP_FAULT_CONFIGURATION, "configuration", r->err);
	}
	if (!m->stopping && m->started)
		mon_notify_ready();
	free(r->path);
	free(r);
}

void mon_reload(struct mon *m)
{
	struct reload *r = calloc(1, sizeof(*r));

	if (!r || !(r->path = strdup(m->conf->path))) {
		free(r);
		return;
	}
	mon_notify_reloading();
	r->job.run = reload_run;
	r->job.done = reload_done;
	r->m = m;
	amp_iothread_submit(m->io, &r->job);
}
