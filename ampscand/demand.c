/*
 * ampscand/demand.c - scans on demand: which one runs, and where it goes next.
 *
 * Owns: the scans that there are, their states, the one that runs (one at a
 * time, the others in the order in which they came), what its walks lead to.
 * Must not own: how files are judged (they come as those of a repair do), what
 * is counted (demandlist.c), what is kept (demandkeep.c).
 *
 * Everything that ends or begins a walk is done by the pump, from the event
 * loop: the callers of what is in here have walks and jobs in their hands.
 */
#include "demand.h"

#include "clock.h"
#include "counter.h"
#include "log.h"
#include "text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define DEATHS_MAX 5U			/* of walkers at one place */
#define MOUNTS_NS  (2 * AMP_NS_PER_SEC) /* a mount is seen by ampmon */
#define TRIES_MAX  3U			/* to find out on which file system a path is */

static struct amp_counter count_started = AMP_COUNTER("demand.started", false);
static struct amp_counter count_files = AMP_COUNTER("demand.files", false);
static struct amp_counter count_resumed = AMP_COUNTER("demand.resumed", false);
static struct amp_counter count_mapped_left = AMP_COUNTER("demand.mapped_left", true);

static const char *const kind_names[DEMAND_KINDS] = {
	[OUTCOME_NONE] = "not-judged",
	[OUTCOME_CLEAN] = "clean",
	[OUTCOME_THREAT] = "threat",
	[OUTCOME_NOT_SCANNED] = "not-scanned",
	[OUTCOME_TOO_LARGE] = "too-large",
	[OUTCOME_PARTIAL] = "partial",
	[OUTCOME_UNSCANNABLE] = "unscannable",
	[OUTCOME_UNREADABLE] = "unreadable",
	[OUTCOME_VANISHED] = "vanished",
	[OUTCOME_SPECIAL] = "special",
	[OUTCOME_EXCLUDED] = "excluded",
	[DEMAND_SYMLINK] = "symlink",
	[DEMAND_MOUNT] = "mount",
	[DEMAND_TOO_DEEP] = "too-deep",
	[DEMAND_DIRECTORY] = "directory",
};

static const char *const state_names[DEMAND_STATES] = {
	[DEMAND_WAITING] = "waiting", [DEMAND_RUNNING] = "running", [DEMAND_PAUSED] = "paused",
	[DEMAND_DONE] = "done",	      [DEMAND_STOPPED] = "stopped", [DEMAND_FAILED] = "failed",
};

static const char *const scan_kind_names[] = {
	[AMP__CLI_SCAN_START__KIND__PATHS] = "paths",
	[AMP__CLI_SCAN_START__KIND__FLASH] = "flash",
	[AMP__CLI_SCAN_START__KIND__FULL] = "full",
};

const char *demand_kind_name(unsigned kind)
{
	return kind < DEMAND_KINDS ? kind_names[kind] : "unknown";
}

const char *demand_state_name(enum demand_state state)
{
	return state_names[state];
}

const char *demand_scan_kind_name(Amp__CliScanStart__Kind kind)
{
	return scan_kind_names[kind];
}

/* -- the scans there are -- */

struct demand_scan *demand_find(const struct scand *s, uint64_t id)
{
	struct demand_scan *d = s->demand->scans;

	while (d && d->id != id)
		d = d->next;
	return d;
}

bool demand_is_over(const struct demand_scan *d)
{
	return d->state >= DEMAND_DONE;
}

struct demand_scan *demand_add(struct scand *s, uint64_t id)
{
	struct demand_scan *d = calloc(1, sizeof(*d)), **p = &s->demand->scans;

	if (!d)
		return NULL;
	d->scand = s;
	d->id = id;
	while (*p && (*p)->id > id)
		p = &(*p)->next;
	d->next = *p;
	*p = d;
	s->demand->count++;
	if (id > s->demand->last_id)
		s->demand->last_id = id;
	return d;
}

void demand_remove(struct scand *s, struct demand_scan *d)
{
	struct demand_scan **p = &s->demand->scans;

	while (*p && *p != d)
		p = &(*p)->next;
	if (*p)
		*p = d->next;
	s->demand->count--;
	if (d->walk)
		walk_cancel(s, d->walk);
	walks_forget_scan(s, d);
	demand_paths_free(&d->paths);
	demand_paths_free(&d->tasks);
	demand_paths_free(&d->mapped);
	demand_paths_free(&d->mounts);
	demand_list_free(d);
	free(d->schedule);
	free(d->at);
	free(d->look);
	free(d);
}

/* Room for one more: the oldest that is over goes. False: all are still to be done. */
static bool make_room(struct scand *s)
{
	struct demand_scan *oldest = NULL;

	if (s->demand->count < AMP_SCANS)
		return true;
	for (struct demand_scan *d = s->demand->scans; d; d = d->next)
		if (demand_is_over(d) && !d->putting)
			oldest = d;
	if (!oldest)
		return false;
	demand_forget(oldest);
	demand_remove(s, oldest);
	return true;
}

struct demand_scan *demand_start(struct scand *s, Amp__CliScanStart__Kind kind, struct demand_paths *paths,
				 bool one_file_system, const char **why)
{
	struct demand_scan *d;

	*why = "these paths are too long together; scan them in several scans";
	if (paths && demand_paths_bytes(paths) > DEMAND_PATHS_BYTES)
		return NULL;
	*why = "too many scans wait; stop some (`ampcli scan list`, `ampcli scan stop ID`)";
	if (!make_room(s))
		return NULL;
	*why = "no memory";
	d = demand_add(s, s->demand->last_id + 1);
	if (!d)
		return NULL;
	d->kind = kind;
	d->one_file_system = one_file_system;
	d->started_ns = amp_clock_realtime();
	if (paths) {
		d->paths = *paths;
		*paths = (struct demand_paths){0};
	}
	amp_counter_add(&count_started, 1);
	demand_later(s);
	return d;
}

/* -- how it goes -- */

int64_t demand_worked_ns(const struct demand_scan *d)
{
	return d->worked_ns + (d->since_ns ? amp_clock_monotonic() - d->since_ns : 0);
}

static void rest(struct demand_scan *d)
{
	d->worked_ns = demand_worked_ns(d);
	d->since_ns = 0;
	free(d->look);
	d->look = NULL;
}

/* Back to the last mark; what was found since is looked at again. */
static void go_back(struct demand_scan *d)
{
	if (d->walk)
		walk_cancel(d->scand, d->walk);
	d->walk = NULL;
	demand_rollback(d);
}

static void raise_fault(struct demand_scan *d, bool raised)
{
	char detail[400];

	snprintf(detail, sizeof(detail), "scan %llu: %.300s", (unsigned long long)d->id, d->error);
	amp_room_fault(d->scand->room, AMP_FAULT_SCAN_FAILED, raised, raised ? detail : "");
}

/* What a client asked for and is not there is no fault of the machine's. */
static bool is_a_fault(const struct demand_scan *d)
{
	return d->broken || (d->failed > 0 && d->kind != AMP__CLI_SCAN_START__KIND__PATHS);
}

static void end(struct demand_scan *d, enum demand_state state)
{
	char text[400];

	go_back(d);
	rest(d);
	d->state = state;
	d->ended_ns = amp_clock_realtime();
	demand_paths_free(&d->mapped);
	demand_paths_free(&d->mounts);
	amp_info("scan %llu (%s) is %s: %llu files, %llu threats%s%s", (unsigned long long)d->id,
		 demand_scan_kind_name(d->kind), demand_state_name(state), (unsigned long long)d->now.files,
		 (unsigned long long)d->now.threats, d->error[0] ? "; " : "",
		 amp_text_escape(d->error, strlen(d->error), text, sizeof(text)));
	if (state != DEMAND_STOPPED)
		raise_fault(d, is_a_fault(d));
	demand_changed(d, true);
	demand_later(d->scand);
	scand_tell_state(d->scand);
}

static void fail(struct demand_scan *d, const char *path, const char *why)
{
	char text[160];

	d->failed++;
	if (d->error[0])
		return;
	snprintf(d->error, sizeof(d->error), "%s%s%s",
		 path ? amp_text_escape(path, strlen(path), text, sizeof(text)) : "", path ? ": " : "", why);
}

static bool is_flash(const struct demand_scan *d)
{
	return d->task < d->tasks.count && d->tasks.path[d->task][0] == '\0';
}

static const char *item_of(const struct demand_scan *d)
{
	if (!is_flash(d))
		return d->task < d->tasks.count ? d->tasks.path[d->task] : NULL;
	return d->mapped_next < d->mapped.count ? d->mapped.path[d->mapped_next] : NULL;
}

static void keep_position(struct demand_scan *d, char *at)
{
	free(d->at);
	d->at = at;
	d->deaths = 0;
	demand_checkpoint(d);
	demand_changed(d, false);
}

/* Behind what was just walked. */
static void step(struct demand_scan *d)
{
	const char *item = item_of(d);
	char *at = NULL;

	if (is_flash(d) && item && strlen(item) <= DEMAND_AT_BYTES)
		at = strdup(item);
	if (is_flash(d) && item)
		d->mapped_next++;
	else
		d->task++;
	d->fsid = 0;
	d->by_names = false;
	d->tries = 0;
	keep_position(d, at);
}

/* Where a flash scan goes on: in the item that holds the mark, or behind what was done. */
static void find_position(struct demand_scan *d)
{
	const struct demand_paths *m = &d->mapped;
	size_t i = 0;

	d->mapped_next = 0;
	if (!d->at)
		return;
	for (i = 0; i < m->count; i++)
		if (path_below(d->at, m->path[i]) && strcmp(d->at, m->path[i]) != 0)
			break;
	if (i == m->count)
		for (i = 0; i < m->count && strcmp(m->path[i], d->at) <= 0; i++)
			;
	d->mapped_next = i;
}

static void ask_for_mapped(struct demand_scan *d)
{
	Amp__Mapped ask = AMP__MAPPED__INIT;

	if (d->mapped_asked)
		return;
	d->mapped_asked = amp_channel_send(amp_room_control(d->scand->room), AMP_MSG_MAPPED, d->id, &ask.base,
					   NULL, 0) == 0;
}

static int mapped_add(struct demand_scan *d, const Amp__MappedFiles *f)
{
	for (size_t i = 0; i < f->n_paths; i++) {
		char *path = demand_path_clean(f->paths[i].data, f->paths[i].len);

		if (!path)
			return -1;
		if (d->mapped.count >= DEMAND_MAPPED)
			amp_counter_add(&count_mapped_left, 1);
		else if (demand_paths_add(&d->mapped, path, strlen(path)) != 0)
			amp_counter_add(&count_mapped_left, 1);
		free(path);
	}
	return 0;
}

int demand_mapped(struct scand *s, uint64_t id, const Amp__MappedFiles *f)
{
	struct demand_scan *d = demand_find(s, id);

	if (f->n_paths > AMP_PATHS_BATCH || id == 0 || id > s->demand->last_id)
		return -1;
	if (!d || !d->mapped_asked || d->mapped_here || demand_is_over(d))
		return 0; /* stopped meanwhile */
	if (mapped_add(d, f) != 0)
		return -1;
	if (f->more)
		return 0;
	d->mapped_here = true;
	if (f->error && f->error[0])
		fail(d, NULL, f->error);
	if (demand_flash(d) != 0) {
		fail(d, NULL, "no memory");
		end(d, DEMAND_FAILED);
		return 0;
	}
	if (!d->expected)
		d->expected = d->mapped.count;
	find_position(d);
	demand_later(s);
	return 0;
}

static void begin_walk(struct demand_scan *d, const char *path, const char *resume)
{
	struct scand *s = d->scand;
	const struct filesystem *fs =
		d->fsid ? filesystems_find(&s->filesystems, d->fsid) : demand_filesystem(s, path);

	if (d->by_names || (fs && (fs->how == AMP__FILE_SYSTEM__HOW__NOT_WATCHED || !fs->mount_point[0])))
		fs = NULL;

	d->moved = false;
	d->base_directories = d->now.kinds[DEMAND_DIRECTORY];
	d->walk = walk_demand(s, d, path, resume, fs);
}

/*
 * All is walked. If it came to mounts of which ampmon has not told, it may be about to. True: there are
 * tasks more now, or it waits.
 */
static bool look_for_mounts(struct demand_scan *d)
{
	int64_t now = amp_clock_monotonic();

	if (!d->mounts_until_ns)
		d->mounts_until_ns = now + MOUNTS_NS;
	if (!demand_mounts_known(d) && now < d->mounts_until_ns)
		return true; /* the tick, or the file system, is what comes next */
	d->mounts_until_ns = 0;
	if (!demand_late_tasks(d))
		return false;
	demand_changed(d, false);
	demand_later(d->scand);
	return true;
}

static void next(struct demand_scan *d)
{
	const char *item;
	bool inside;

	if (is_flash(d) && !d->mapped_here) {
		ask_for_mapped(d);
		return;
	}
	if (is_flash(d) && !item_of(d))
		step(d);
	item = item_of(d);
	if (!item && look_for_mounts(d))
		return;
	if (!item) {
		end(d, d->failed && d->failed >= d->tasks.count ? DEMAND_FAILED : DEMAND_DONE);
		return;
	}
	inside = d->at && (!is_flash(d) || (path_below(d->at, item) && strcmp(d->at, item) != 0));
	begin_walk(d, item, inside ? d->at : NULL);
}

static void begin(struct demand_scan *d)
{
	d->state = DEMAND_RUNNING;
	d->since_ns = amp_clock_monotonic();
	if (d->tasks.count == 0) {
		if (demand_tasks(d) != 0) {
			d->failed++;
			end(d, DEMAND_FAILED);
			return;
		}
		d->expected = demand_expected(d);
	} else {
		amp_counter_add(&count_resumed, 1);
	}
	amp_info("scan %llu (%s) %s", (unsigned long long)d->id, demand_scan_kind_name(d->kind),
		 d->at || d->task ? "goes on" : "begins");
	demand_changed(d, true);
	scand_tell_state(d->scand);
}

/* The one that runs, else the first of those that wait. */
static struct demand_scan *current(const struct scand *s)
{
	struct demand_scan *first = NULL;

	for (struct demand_scan *d = s->demand->scans; d; d = d->next) {
		if (d->state == DEMAND_RUNNING)
			return d;
		if (d->state == DEMAND_WAITING)
			first = d;
	}
	return first;
}

static bool is_busy(const struct scand *s)
{
	for (const struct demand_scan *d = s->demand->scans; d; d = d->next)
		if (d->state == DEMAND_RUNNING || d->state == DEMAND_WAITING || d->dirty)
			return true;
	return false;
}

static void arm_tick(struct scand *s, bool dropping)
{
	struct timeval tv = {.tv_sec = 1};

	if ((dropping || is_busy(s)) && !evtimer_pending(s->demand->tick, NULL))
		evtimer_add(s->demand->tick, &tv);
}

/* While the engine loads nothing is judged without it; what a walk reads by itself would be. */
static void wait_for_engine(struct demand_scan *d)
{
	if (d->walk && walk_demand_by_path(d->walk))
		go_back(d);
}

static void on_pump(evutil_socket_t fd, short what, void *arg)
{
	struct scand *s = arg;
	struct demand_scan *d;

	(void)fd;
	(void)what;
	arm_tick(s, walks_drop(s));
	d = current(s);
	if (!d || !s->started || !s->rules)
		return;
	if (engine_state(s) == ENGINE_LOADING) {
		wait_for_engine(d);
		return;
	}
	if (d->state == DEMAND_WAITING)
		begin(d);
	if (d->state == DEMAND_RUNNING && !d->walk)
		next(d);
}

static void on_tick(evutil_socket_t fd, short what, void *arg)
{
	struct scand *s = arg;

	(void)fd;
	(void)what;
	for (struct demand_scan *d = s->demand->scans; d; d = d->next)
		demand_keep_pump(d);
	demand_later(s);
}

void demand_later(struct scand *s)
{
	if (s->demand && !event_pending(s->demand->pump, EV_TIMEOUT, NULL))
		event_active(s->demand->pump, EV_TIMEOUT, 0);
}

/* -- what its walks tell -- */

void demand_entered(struct demand_scan *d, const char *directory)
{
	char *look = directory ? strdup(directory) : NULL;

	d->moved = true;
	if (!look)
		return;
	free(d->look);
	d->look = look;
}

void demand_concluded(struct scand *s, struct walk *w, const struct occurrence *o)
{
	struct demand_scan *d = walk_scan(w);

	(void)s;
	if (!d || demand_is_over(d))
		return;
	/* Of a walk that was given up only threats count: they may not be found again. */
	if (walk_is_cancelled(w) && (o->outcome != OUTCOME_THREAT || o->counted))
		return;
	amp_counter_add(&count_files, 1);
	demand_count(d, o);
}

void demand_convicted(struct scand *s, struct occurrence *o, const char *signature)
{
	struct demand_scan *d = o->walk ? walk_scan(o->walk) : NULL;

	(void)s;
	if (!d || demand_is_over(d))
		return;
	demand_threat(d, o, signature);
	o->counted = true;
}

/* A place to go on at; a flash scan finds it again only in an item of its list. */
static bool is_position(const struct demand_scan *d, const char *path)
{
	const char *item = item_of(d);

	if (strlen(path) > DEMAND_AT_BYTES)
		return false;
	return !is_flash(d) || (item && path_below(path, item) && strcmp(path, item) != 0);
}

void demand_marked(struct scand *s, struct demand_scan *d, const char *path, uint64_t directories)
{
	char *at;

	d->now.kinds[DEMAND_DIRECTORY] = d->base_directories + directories;
	if (engine_state(s) == ENGINE_LOADING && walk_demand_by_path(d->walk)) {
		demand_later(s);
		return;
	}
	/* If there is none, the last one holds: more is looked at again. */
	at = d->moved && is_position(d, path) ? strdup(path) : NULL;
	if (at)
		keep_position(d, at);
	walk_go(s, d->walk);
}

/*
 * The path is on another file system than it was taken for; or it is a file that
 * is mounted over a name, and no handle leads to it. True: asked again, otherwise.
 */
static bool find_out(struct demand_scan *d, const struct walk_end *e)
{
	if (!e->fsid || !e->asked || d->moved || d->tries++ >= TRIES_MAX)
		return false;
	if (e->fsid == e->asked)
		d->by_names = true;
	d->fsid = e->fsid;
	return true;
}

void demand_walked(struct scand *s, struct demand_scan *d, const struct walk_end *e)
{
	d->walk = NULL;
	demand_later(s);
	if (e->error[0] && find_out(d, e))
		return;
	d->now.kinds[DEMAND_DIRECTORY] = d->base_directories + e->directories;
	/* Start-up places that are not there, programs that went: nothing to tell of. */
	if (e->error[0] && !is_flash(d))
		fail(d, item_of(d), e->error);
	step(d);
}

void demand_walker_died(struct scand *s, struct demand_scan *d)
{
	const char *at;
	char text[256];

	d->walk = NULL;
	demand_rollback(d);
	demand_later(s);
	if (++d->deaths < DEATHS_MAX)
		return;
	at = d->at ? d->at : item_of(d);
	amp_error("scan %llu: the walker died %u times behind %s", (unsigned long long)d->id, d->deaths,
		  at ? amp_text_escape(at, strlen(at), text, sizeof(text)) : "its start");
	fail(d, at, "the walker died behind it again and again; the rest is left out");
	d->broken = true;
	step(d);
}

/* -- what clients and the policy want -- */

const char *demand_control(struct demand_scan *d, Amp__CliScanControl__What what)
{
	if (demand_is_over(d))
		return "it is over";
	switch (what) {
	case AMP__CLI_SCAN_CONTROL__WHAT__PAUSE:
		go_back(d);
		rest(d);
		d->state = DEMAND_PAUSED;
		break;
	case AMP__CLI_SCAN_CONTROL__WHAT__RESUME:
		if (d->state == DEMAND_PAUSED)
			d->state = DEMAND_WAITING;
		break;
	case AMP__CLI_SCAN_CONTROL__WHAT__STOP:
		end(d, DEMAND_STOPPED);
		break;
	default:
		return "it can be paused, resumed or stopped";
	}
	demand_changed(d, true);
	demand_later(d->scand);
	return NULL;
}

bool demand_may_go_on(struct scand *s)
{
	const struct demand_scan *d = s->demand ? current(s) : NULL;

	return d && d->state == DEMAND_RUNNING && engine_state(s) != ENGINE_LOADING && gentle_may_go_on(s);
}

void demand_began(struct scand *s)
{
	schedule_began(s);
	demand_cli_began(s);
	demand_later(s);
	scand_tell_state(s);
}

void demand_filesystem_came(struct scand *s)
{
	demand_later(s);
}

void demand_policy_changed(struct scand *s)
{
	schedule_policy_changed(s);
	demand_later(s);
}

static void text_of(const struct demand_scan *d, char *buf, size_t size)
{
	const char *path = d->paths.count ? d->paths.path[0] : "";
	char text[128];

	snprintf(buf, size, "%s%s%s%s, %llu files", demand_scan_kind_name(d->kind), path[0] ? " " : "",
		 amp_text_escape(path, strlen(path), text, sizeof(text)), d->paths.count > 1 ? ", ..." : "",
		 (unsigned long long)d->now.files);
}

static void text_of_last(const struct demand_scan *d, char *buf, size_t size)
{
	time_t at = (time_t)(d->ended_ns / AMP_NS_PER_SEC);
	struct tm tm = {0};

	localtime_r(&at, &tm); /* the zone was read before the drop */
	snprintf(buf, size, "%04d-%02d-%02d %02d:%02d:%02d %s: %llu files, %llu threats%s%s",
		 tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec,
		 demand_scan_kind_name(d->kind), (unsigned long long)d->now.files,
		 (unsigned long long)d->now.threats, d->state == DEMAND_DONE ? "" : ", ",
		 d->state == DEMAND_DONE ? "" : demand_state_name(d->state));
}

void demand_texts(const struct scand *s, char *scan, size_t scan_size, char *last, size_t last_size)
{
	const struct demand_scan *latest = NULL, *d = s->demand ? current(s) : NULL;

	scan[0] = last[0] = '\0';
	if (d)
		text_of(d, scan, scan_size);
	for (d = s->demand ? s->demand->scans : NULL; d; d = d->next)
		if (demand_is_over(d) && (!latest || d->ended_ns > latest->ended_ns))
			latest = d;
	if (latest)
		text_of_last(latest, last, last_size);
}

int demand_init(struct scand *s)
{
	struct demand *dm = calloc(1, sizeof(*dm));

	if (!dm)
		return -1;
	s->demand = dm;
	dm->pump = event_new(s->base, -1, 0, on_pump, s);
	dm->tick = evtimer_new(s->base, on_tick, s);
	if (!dm->pump || !dm->tick || demand_homes(dm, "/etc/passwd") != 0 || schedule_init(s) != 0 ||
	    gentle_init(s) != 0)
		return -1;
	return 0;
}

void demand_free(struct scand *s)
{
	struct demand *dm = s->demand;

	if (!dm)
		return;
	while (dm->scans)
		demand_remove(s, dm->scans);
	demand_answers_free(dm);
	schedule_free(s);
	gentle_free(s);
	demand_paths_free(&dm->homes);
	if (dm->pump)
		event_free(dm->pump);
	if (dm->tick)
		event_free(dm->tick);
	free(dm);
	s->demand = NULL;
}
