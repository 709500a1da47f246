/*
 * ampscand/engine/room.c - ampengine as a room: its view, its link, what is told there.
 *
 * Owns: the event loop's side, the control rows, the link to ampscand. Must not own: sets
 * of signatures (sets.c), workers (fleet.c), the directories (watch.c).
 *
 * The room has one thread and makes none: it forks.
 */
#include "engine.h"

#include "sha256.h"

#include "proto/engine.pb-c.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#define SIG_ROOT    "/sig"
#define SLOT_ROOT   "/slot"
#define SLOT_INODES 20000U /* members of an archive, twice */
#define WORKERS_MIN 4U	   /* by the processors, and at most */
#define WORKERS_FEW 11U
#define WORKERS_MAX ((ENGINE_ALIVE - 2U) / 2U)
#define MEMORY_MIN  (UINT64_C(64) << 20)
#define STATE_MAX   (AMP_MSG_MAX - sizeof(struct amp_wire_header) - 1024)

/* --- what is told ------------------------------------------------------------------- */

int engine_tell(struct engine *e, uint16_t type, const ProtobufCMessage *body, int fd)
{
	if (!e->scand)
		return -1;
	if (amp_channel_send(e->scand, type, 0, body, fd >= 0 ? &fd : NULL, fd >= 0) == 0)
		return 0;
	if (errno != ENOTCONN)
		amp_error("ampscand: message 0x%04x not sent: %s", (unsigned)type, strerror(errno));
	return -1;
}

static void fill_sets(const struct zygote *z, Amp__EngineState *m, Amp__EngineSet *sets,
		      Amp__EngineSet **pointers)
{
	size_t size = 0;

	for (unsigned i = 0; i < z->set_count; i++) {
		const struct told_set *t = &z->sets[i];

		amp__engine_set__init(&sets[i]);
		sets[i].path.data = (uint8_t *)t->path;
		sets[i].path.len = strlen(t->path);
		sets[i].time_ns = t->time_ns;
		sets[i].version = t->version;
		sets[i].signatures = t->signatures;
		size += sets[i].path.len + 64;
		if (size > STATE_MAX)
			break;
		pointers[i] = &sets[i];
		m->n_sets = i + 1;
	}
	m->sets = pointers;
	m->generation = z->generation;
	m->signatures = z->signatures;
	m->version = (char *)(uintptr_t)z->version;
	m->loaded_ns = z->loaded_ns;
}

void engine_tell_state(struct engine *e)
{
	Amp__EngineState m = AMP__ENGINE_STATE__INIT;
	Amp__EngineSet sets[AMP_ENGINE_SETS], *pointers[AMP_ENGINE_SETS];

	if (e->in_use)
		m.state = AMP__ENGINE_STATE__STATE__READY;
	else if (sets_coming(e))
		m.state = AMP__ENGINE_STATE__STATE__LOADING;
	else
		m.state = AMP__ENGINE_STATE__STATE__EMPTY;
	if (e->in_use)
		fill_sets(e->in_use, &m, sets, pointers);
	m.workers_max = e->workers_max;
	m.refused = e->refused;
	m.loading = sets_coming(e);
	(void)engine_tell(e, AMP_MSG_ENGINE_STATE, &m.base, -1);
}

/* --- the link ------------------------------------------------------------------------- */

static int on_spawn(struct amp_channel *ch, struct amp_message *m, void *arg)
{
	(void)ch;
	fleet_spawn(arg, ((const Amp__Spawn *)m->body)->count);
	return 0;
}

static int on_kill_worker(struct amp_channel *ch, struct amp_message *m, void *arg)
{
	(void)ch;
	fleet_kill(arg, ((const Amp__KillWorker *)m->body)->serial);
	return 0;
}

static const struct amp_dispatch scand_rows[] = {
	{.type = AMP_MSG_SPAWN, .descriptor = &amp__spawn__descriptor, .max_length = 16, .handler = on_spawn},
	{.type = AMP_MSG_KILL_WORKER,
	 .descriptor = &amp__kill_worker__descriptor,
	 .max_length = 16,
	 .handler = on_kill_worker},
};

static void link_end(struct amp_channel *ch, enum amp_channel_end end, const char *why, void *arg)
{
	struct engine *e = arg;

	if (end == AMP_CHANNEL_HOSTILE)
		amp_room_hostile(e->room, AMP_ROLE_SCAN, 0, (unsigned)(uintptr_t)amp_channel_owner(ch), why);
	amp_channel_free(ch);
	e->scand = NULL;
	fleet_link_ended(e);
}

static void on_link(struct amp_room *room, enum amp_role_id peer, unsigned instance, unsigned generation,
		    int fd)
{
	struct engine *e = amp_room_arg(room);
	const struct amp_channel_config config = {
		.name = "ampscand",
		.table = scand_rows,
		.rows = sizeof(scand_rows) / sizeof(scand_rows[0]),
		.on_end = link_end,
		.arg = e,
	};

	(void)peer;
	(void)instance;
	if (e->scand) {
		amp_channel_free(e->scand);
		fleet_link_ended(e);
	}
	e->link++;
	e->scand = amp_channel_new(e->base, fd, &config);
	if (!e->scand)
		amp_fatal("link to ampscand: %s", strerror(errno));
	amp_channel_set_owner(e->scand, (void *)(uintptr_t)generation);
	engine_tell_state(e);
}

/* What was not there at the start cannot be seen from here: only a new room sees it. */
static int on_reload(struct amp_channel *ch, struct amp_message *m, void *arg)
{
	struct engine *e = amp_room_arg(arg);

	(void)ch;
	(void)m;
	if (e->lacking) {
		amp_info("a directory of signatures was not there, or is another now: starting anew to look");
		_exit(0);
	}
	sets_look(e, true);
	return 0;
}

static const struct amp_dispatch control_rows[] = {
	{.type = AMP_MSG_RELOAD, .descriptor = &amp__reload__descriptor, .handler = on_reload},
};

/* --- its start --------------------------------------------------------------------------- */

static char *path_of(const ProtobufCBinaryData *b)
{
	if (b->len == 0 || b->len >= PATH_MAX || b->data[0] != '/' || memchr(b->data, 0, b->len))
		return NULL;
	return strndup((const char *)b->data, b->len);
}

static int add_directory(struct engine *e, const ProtobufCBinaryData *b)
{
	struct engine_dirs *d = &e->dirs;
	char *host = path_of(b);
	struct stat st;

	if (!host) {
		amp_error("definitions: not a path");
		return -1;
	}
	if (stat(host, &st) != 0 || !S_ISDIR(st.st_mode)) {
		amp_info("%s is not there: it is looked for again at a reload", host);
		e->lacking = true;
		free(host);
		return 0;
	}
	d->host[d->count] = host;
	if (asprintf(&d->view[d->count], SIG_ROOT "/%u", d->count) < 0)
		return -1;
	d->count++;
	return 0;
}

static unsigned workers_of(const Amp__Conf *conf)
{
	long processors = sysconf(_SC_NPROCESSORS_ONLN);

	if (conf->engine_workers > WORKERS_MAX)
		amp_warn("engine_workers: %u are the most", WORKERS_MAX);
	if (conf->engine_workers > 0)
		return conf->engine_workers < WORKERS_MAX ? conf->engine_workers : WORKERS_MAX;
	processors += 3; /* that are left to root, to other owners, to events: ampscand/workers.c */
	if (processors < (long)WORKERS_MIN)
		return WORKERS_MIN;
	return processors < (long)WORKERS_FEW ? (unsigned)processors : WORKERS_FEW;
}

/*
 * Each slot is a mount of its own: what fills one leaves the others as they are. Its root is
 * root's: whoever runs as the engine's user may write in it, but cannot close it to the others.
 */
static int add_slot(struct engine *e, size_t at, unsigned slot)
{
	char *path;

	if (asprintf(&path, SLOT_ROOT "/%u", slot) < 0)
		return -1;
	e->mounts[at] = (struct amp_drop_mount){.at = path, .options = e->slot_options};
	return 0;
}

static const struct amp_drop_mount *mounts(struct amp_room *room, size_t *count)
{
	struct engine *e = amp_room_arg(room);
	size_t n = e->dirs.count;
	int rc = 0;

	for (size_t i = 0; i < n; i++)
		e->mounts[i] = (struct amp_drop_mount){.source = e->dirs.host[i], .at = e->dirs.view[i]};
	for (unsigned i = 0; i < fleet_limit(e); i++)
		rc += add_slot(e, n++, i);
	rc += add_slot(e, n++, ZYGOTE_SLOT);
	if (rc != 0)
		amp_fatal("no memory");
	*count = n;
	return e->mounts;
}

static int take_conf(struct engine *e, const Amp__Conf *conf)
{
	if (conf->n_definitions > ENGINE_DIRS) {
		amp_error("more than %u directories of definitions", ENGINE_DIRS);
		return -1;
	}
	for (size_t i = 0; i < conf->n_definitions; i++)
		if (add_directory(e, &conf->definitions[i]) != 0)
			return -1;
	e->dirs.slots = SLOT_ROOT;
	e->dirs.memory = conf->engine_memory > MEMORY_MIN ? conf->engine_memory : MEMORY_MIN;
	e->reload_after = conf->engine_reload_after;
	e->workers_max = workers_of(conf);
	snprintf(e->slot_options, sizeof(e->slot_options), "size=%llu,nr_inodes=%u,mode=0770,uid=0,gid=%u",
		 (unsigned long long)e->dirs.memory, SLOT_INODES, conf->gid);
	return 0;
}

/* With the host's view still: libraries of libraries are found here or never. */
static int open_engine(struct amp_room *room, const Amp__Conf *conf)
{
	struct engine *e = amp_room_arg(room);

	e->room = room;
	if (take_conf(e, conf) != 0 || watch_open(e) != 0)
		return -1;
	if (amp_sha256_setup() != 0 || adapter_setup() != 0) {
		amp_error("libclamav or OpenSSL cannot be set up");
		return -1;
	}
	/* Workers of a dead zygote are to be reaped here. */
	if (prctl(PR_SET_CHILD_SUBREAPER, 1L, 0L, 0L, 0L) != 0) {
		amp_error("child subreaper: %s", strerror(errno));
		return -1;
	}
	return 0;
}

static int ready(struct amp_room *room)
{
	struct engine *e = amp_room_arg(room);

	e->base = amp_room_base(room);
	if (watch_start(e) != 0 || fleet_start(e) != 0 || sets_start(e) != 0) {
		amp_error("no memory");
		return -1;
	}
	return 0;
}

static const struct amp_room_ops ops = {
	.role = AMP_ROLE_ENGINE,
	.open = open_engine,
	.mounts = mounts,
	.single_threaded = true,
	.ready = ready,
	.link = on_link,
	.control = control_rows,
	.control_rows = sizeof(control_rows) / sizeof(control_rows[0]),
};

int engine_main(void)
{
	static struct engine e;

	return amp_room_main(&ops, &e);
}
