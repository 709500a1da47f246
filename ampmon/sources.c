/*
 * ampmon/sources.c - what ampscand lives on.
 *
 * Owns: the fd store (the buffers' memfd; the groups are watch.c's), giving
 * it to each ampscand, turning watched file systems into messages and
 * repairs, the last good moment, answers to kills, its records. Must not own: marks
 * (watch.c), the list of repairs (repair.c), killing (kill.c), files (keep.c).
 */
#include "ampmon/mon.h"

#include "ampscand/buffers.h"
#include "clock.h"
#include "log.h"
#include "text.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* Before the last good moment. FAT tells times in twos of seconds, by a clock that may be a tick late. */
#define MARGIN_NS    (2 * AMP_NS_PER_SEC + AMP_NS_PER_SEC / 10)
#define START_NS     (5 * AMP_NS_PER_SEC) /* what is marked later was mounted later */
#define SLOW_MARK_NS (60 * AMP_NS_PER_SEC)
#define STORE_NS     (10 * AMP_NS_PER_SEC)
#define SCAN_TEXT    512U
#define KILLS_MAX    4096 /* ampscand's job table is no larger */

struct asked {
	uint64_t token, id;
	unsigned generation;
};

struct mon_sources {
	int memfd;
	unsigned buffers;
	bool used;	       /* an ampscand had group and memfd before */
	bool judge_running;    /* when ampscand is there */
	int sent_fd_group;     /* the fd group this ampscand has; -1 */
	int64_t fd_lost_since; /* the fd group went with an ampscand: repair from here; 0: never */
	int64_t start_since;   /* good moment stored by our predecessor, less the margin */
	int64_t born_ns;       /* realtime */
	int64_t looked_ns;     /* realtime: end of the first look at what is mounted */
	int64_t start_ns;      /* monotonic: START, 0: not yet */
	int64_t concluded_ns, stored_ns;
	int64_t missed_ns; /* since then ampscand decided without the engine; 0: no */
	uint64_t jobs, parked;
	char scan[SCAN_TEXT], last_scan[SCAN_TEXT];
	uint64_t next_token;
	struct asked kills[KILLS_MAX];
	size_t kill_count;
};

static struct mon_proc *scand(const struct mon *m)
{
	struct mon_slot *s = mon_slot(m, AMP_ROLE_SCAN, 0);

	return s && mon_slot_state(s) == MON_SLOT_RUNNING ? s->proc : NULL;
}

/* --- repairs -------------------------------------------------------------- */

static int64_t less_margin(int64_t ns, int64_t never)
{
	return ns > MARGIN_NS ? ns - MARGIN_NS : never;
}

static int64_t good_since(const struct mon *m, int64_t never)
{
	return less_margin(m->state.good_ns, never);
}

static void add_repair(struct mon *m, const Amp__FileSystem *fs, int64_t since, const char *reason,
		       bool running)
{
	char mount_point[PATH_MAX];

	snprintf(mount_point, sizeof(mount_point), "%.*s", (int)fs->mount_point.len,
		 fs->mount_point.data ? (const char *)fs->mount_point.data : "");
	mon_repair_add(m->repair, fs->fsid, mount_point, since, reason, running);
}

static void judge_running(struct mon *m)
{
	if (scand(m))
		mon_repair_running(m->repair);
	else
		m->sources->judge_running = true;
}

static int64_t since_start(const struct mon *m)
{
	return m->sources->start_ns == 0 ? 0 : amp_clock_monotonic() - m->sources->start_ns;
}

/* The good moment goes on without what has no mark. */
static int64_t unseen_since(const struct mon *m, int64_t unmarked_ns)
{
	int64_t good_ns = m->state.good_ns;

	return less_margin(unmarked_ns && unmarked_ns < good_ns ? unmarked_ns : good_ns, 0);
}

static bool was_there_at_start(const struct mon_sources *src, int64_t unmarked_ns)
{
	return unmarked_ns && unmarked_ns <= src->looked_ns;
}

/*
 * What is marked anew may have changed while nobody looked: what was there at
 * the start (or may have been: mounts come in one by one then) since the moment
 * that was stored before, what came later since it came.
 */
static void catch_up(struct mon *m, const Amp__FileSystem *fs, int64_t unmarked_ns)
{
	const struct mon_sources *src = m->sources;
	int64_t age = since_start(m), since = unseen_since(m, unmarked_ns);
	bool late = unmarked_ns && amp_clock_realtime() - unmarked_ns > MARGIN_NS;

	/* The first start of all does not read every file there is; what runs is judged. But who was
	 * told that the suite runs may have written to what is marked later. */
	if (fs->how == AMP__FILE_SYSTEM__HOW__BY_FD && src->fd_lost_since)
		add_repair(m, fs, since < src->fd_lost_since ? since : src->fd_lost_since, "ampscand died",
			   true);
	else if (m->first_start && !m->started)
		judge_running(m);
	else if (!m->first_start && (age < SLOW_MARK_NS || was_there_at_start(src, unmarked_ns)))
		add_repair(m, fs, src->start_since, age < START_NS ? "start" : "mounted", true);
	else
		add_repair(m, fs, since, "mounted", late);
}

/* --- what the watch tells -------------------------------------------------- */

static void send_source(struct mon *m, struct mon_proc *p, Amp__Source__Kind kind, int fd)
{
	Amp__Source source = AMP__SOURCE__INIT;

	source.kind = kind;
	source.continued = kind == AMP__SOURCE__KIND__HANDLE && m->sources->used;
	mon_proc_send(p, AMP_MSG_SOURCE, &source.base, &fd, 1);
}

/* The fd group is made when the first file system needs it. */
static void send_fd_group(struct mon *m, struct mon_proc *p)
{
	int fd = mon_watch_fd_group(m->watch);

	if (fd < 0 || fd == m->sources->sent_fd_group)
		return;
	m->sources->sent_fd_group = fd;
	send_source(m, p, AMP__SOURCE__KIND__FD, fd);
}

static void send_filesystem(const Amp__FileSystem *fs, void *arg)
{
	struct mon_proc *p = arg;

	if (fs->how != AMP__FILE_SYSTEM__HOW__NOT_WATCHED)
		mon_proc_send(p, AMP_MSG_FILESYSTEM, &fs->base, NULL, 0);
}

static void filesystem(const Amp__FileSystem *fs, bool fresh, int64_t unmarked_ns, void *arg)
{
	struct mon *m = arg;
	struct mon_proc *p = scand(m);

	if (p) {
		send_fd_group(m, p);
		send_filesystem(fs, p);
	}
	if (fresh && fs->how != AMP__FILE_SYSTEM__HOW__NOT_WATCHED)
		catch_up(m, fs, unmarked_ns);
}

static void check_repairs_done(struct mon *m)
{
	if (!mon_repair_pending(m->repair))
		mon_fault_clear(m->faults, AMP_FAULT_EVENTS_LOST, "ampmon");
}

static void gone(uint64_t fsid, void *arg)
{
	struct mon *m = arg;
	struct mon_proc *p = scand(m);
	Amp__FilesystemGone body = AMP__FILESYSTEM_GONE__INIT;

	body.fsid = fsid;
	if (p)
		mon_proc_send(p, AMP_MSG_FILESYSTEM_GONE, &body.base, NULL, 0);
	mon_repair_gone(m->repair, fsid);
	check_repairs_done(m);
}

static void fault_of(struct mon *m, unsigned number, bool raised, const char *detail)
{
	if (raised)
		mon_fault_raise(m->faults, number, "ampmon", detail);
	else
		mon_fault_clear(m->faults, number, "ampmon");
}

static void watch_began(void *arg)
{
	mon_ready_check(arg);
}

static void watch_fault(bool raised, const char *detail, void *arg)
{
	fault_of(arg, AMP_FAULT_NOT_WATCHED, raised, detail);
}

static void repair_fault(bool raised, const char *detail, void *arg)
{
	fault_of(arg, AMP_FAULT_REPAIR_FAILED, raised, detail);
}

static void send_own_dir(uint64_t fsid, const struct amp_handle *h, void *arg)
{
	struct mon_proc *p = arg;
	Amp__OwnDirectory body = AMP__OWN_DIRECTORY__INIT;
	Amp__Handle handle = AMP__HANDLE__INIT;

	amp_handle_to_wire(h, &handle);
	body.fsid = fsid;
	body.handle = &handle;
	mon_proc_send(p, AMP_MSG_OWN_DIRECTORY, &body.base, NULL, 0);
}

/* --- kills ------------------------------------------------------------------ */

/* An answer goes to the process that asked, never to its successor, whose
 * jobs may have the same numbers. */
static void killed(uint64_t token, const Amp__Killed *result, void *arg)
{
	struct mon *m = arg;
	struct mon_sources *src = m->sources;
	struct mon_proc *p = scand(m);
	struct asked a;
	size_t i = 0;

	while (i < src->kill_count && src->kills[i].token != token)
		i++;
	if (i == src->kill_count)
		return;
	a = src->kills[i];
	if (!result->unfinished)
		src->kills[i] = src->kills[--src->kill_count];
	if (p && p->generation == a.generation && p->ch &&
	    amp_channel_send(p->ch, AMP_MSG_KILLED, a.id, &result->base, NULL, 0) != 0)
		mon_proc_kill(p, "the answer to a kill cannot be sent to it");
}

static bool is_ours(pid_t pid, void *arg)
{
	const struct mon *m = arg;

	return pid == getpid() || pid == m->guard || mon_children_have_pid(m, pid);
}

static void each_ours(void (*fn)(pid_t pid, void *to), void *to, void *arg)
{
	const struct mon *m = arg;

	fn(getpid(), to);
	for (size_t i = 0; i < mon_slot_count(m); i++)
		if (mon_slot_at(m, i)->proc)
			fn(mon_slot_at(m, i)->proc->pid, to);
}

static void refuse_kill(struct mon_proc *p, uint64_t id, const Amp__Kill *k)
{
	Amp__Killed answer = AMP__KILLED__INIT;
	char why[] = "the built-in policy only records";

	answer.detection_id = k->detection_id;
	answer.refused = why;
	if (p->ch)
		amp_channel_send(p->ch, AMP_MSG_KILLED, id, &answer.base, NULL, 0);
}

int mon_sources_kill(struct mon *m, struct mon_proc *p, uint64_t id, const Amp__Kill *k)
{
	struct mon_sources *src = m->sources;
	const struct mon_policy *policy = mon_inforce_policy(m);
	struct asked *a;

	if (src->kill_count == KILLS_MAX)
		return -1; /* more than it has jobs */
	if (!policy) {
		refuse_kill(p, id, k);
		return 0;
	}
	a = &src->kills[src->kill_count++];
	a->token = ++src->next_token;
	a->id = id;
	a->generation = p->generation;
	if (mon_kill_request(m->kill, a->token, k, policy) == 0)
		return 0;
	src->kill_count--; /* never answered: the last one still */
	return -1;
}

/* --- records ----------------------------------------------------------------- */

static void kept(unsigned generation, uint64_t id, const char *name, int error, void *arg)
{
	struct mon *m = arg;
	struct mon_proc *p = scand(m);
	Amp__Kept body = AMP__KEPT__INIT;

	if (!p || p->generation != generation || !p->ch)
		return;
	body.name = (char *)(uintptr_t)name;
	body.error = error;
	if (amp_channel_send(p->ch, AMP_MSG_KEPT, id, &body.base, NULL, 0) != 0)
		mon_proc_kill(p, "that its record is kept cannot be sent to it");
}

int mon_sources_keep(struct mon *m, struct mon_proc *p, uint64_t id, const Amp__Keep *k)
{
	return mon_keep_put(m->keep, p->generation, id, k);
}

static void send_record(const char *name, const uint8_t *record, size_t size, void *arg)
{
	Amp__Keeps body = AMP__KEEPS__INIT;

	body.name = (char *)(uintptr_t)name;
	body.record.data = (uint8_t *)(uintptr_t)record;
	body.record.len = size;
	mon_proc_send(arg, AMP_MSG_KEEPS, &body.base, NULL, 0);
}

static void send_records(struct mon *m, struct mon_proc *p)
{
	mon_keep_each(m->keep, send_record, p);
	send_record("", NULL, 0, p);
}

/* --- ampscand comes and goes ------------------------------------------------ */

static void send_buffers(struct mon *m, struct mon_proc *p)
{
	Amp__Buffers body = AMP__BUFFERS__INIT;

	body.count = m->sources->buffers;
	body.size = AMP_BUFFER_SIZE;
	body.parked = AMP_BUFFERS_PARKED;
	mon_proc_send(p, AMP_MSG_BUFFERS, &body.base, &m->sources->memfd, 1);
}

void mon_sources_scand_ready(struct mon *m, struct mon_proc *p)
{
	struct mon_sources *src = m->sources;

	/* First where events are read to, then where from. */
	send_buffers(m, p);
	send_source(m, p, AMP__SOURCE__KIND__HANDLE, mon_watch_handle_group(m->watch));
	src->used = true;
	src->sent_fd_group = -1;
	send_fd_group(m, p);
	mon_watch_each(m->watch, send_filesystem, p);
	mon_watch_own_dirs(m->watch, send_own_dir, p);
	send_records(m, p);
	mon_foundation_scand_ready(m);
	mon_inforce_send(m);
	if (p->ch)
		mon_repair_attach(m->repair, p->ch);
	if (src->judge_running)
		mon_repair_running(m->repair);
	src->judge_running = false;
}

void mon_sources_scand_detach(struct mon *m)
{
	mon_repair_attach(m->repair, NULL);
	mon_inforce_scand_gone(m);
	m->sources->jobs = m->sources->parked = 0;
	m->sources->scan[0] = '\0';
}

/* What it would have had repaired once the engine is there, its successor does not know of. */
static void repair_missed(struct mon *m)
{
	Amp__RepairWanted r = AMP__REPAIR_WANTED__INIT;
	char reason[] = "ampscand died while the engine was not there";

	if (!m->sources->missed_ns)
		return;
	r.since_ns = less_margin(m->sources->missed_ns, 0);
	r.reason = reason;
	m->sources->missed_ns = 0;
	(void)mon_sources_repair_wanted(m, &r);
}

void mon_sources_scand_gone(struct mon *m)
{
	if (m->stopping)
		return;
	repair_missed(m);
	if (mon_watch_fd_group(m->watch) < 0)
		return;
	/* Its queue held open files and went with its reader. The new marks are
	 * reported as fresh ones, and so repaired (catch_up). */
	m->sources->fd_lost_since = good_since(m, m->sources->born_ns);
	if (mon_watch_renew_fd_group(m->watch) != 0)
		amp_error("the group of descriptors cannot be made again: %s", strerror(errno));
}

void mon_sources_scan_state(struct mon *m, const Amp__ScanState *s)
{
	m->sources->jobs = s->jobs;
	m->sources->parked = s->parked;
	amp_text_escape(s->scan, strlen(s->scan), m->sources->scan, SCAN_TEXT);
	amp_text_escape(s->last_scan, strlen(s->last_scan), m->sources->last_scan, SCAN_TEXT);
}

const char *mon_sources_scan(const struct mon *m)
{
	return m->sources->scan;
}

const char *mon_sources_last_scan(const struct mon *m)
{
	return m->sources->last_scan;
}

uint64_t mon_sources_jobs(const struct mon *m)
{
	return m->sources->jobs;
}

/* --- the last good moment ---------------------------------------------------- */

/* Moves only while nothing is left to repair before it. */
static void move_good(struct mon *m)
{
	if (m->sources->concluded_ns > m->state.good_ns && scand(m) && !mon_repair_pending(m->repair))
		m->state.good_ns = m->sources->concluded_ns;
}

void mon_sources_concluded(struct mon *m, const Amp__Concluded *c)
{
	int64_t now = amp_clock_realtime();

	/* The future is nothing ampscand can have judged. */
	m->sources->concluded_ns = c->time_ns < now ? c->time_ns : now;
	m->sources->missed_ns = c->missed_ns > 0 ? c->missed_ns : 0;
	move_good(m);
}

void mon_sources_tick(struct mon *m)
{
	int64_t now = amp_clock_monotonic();

	if (m->started && m->sources->start_ns == 0)
		m->sources->start_ns = now;
	move_good(m);
	if (now - m->sources->stored_ns < STORE_NS || !scand(m) || mon_repair_pending(m->repair))
		return;
	m->sources->stored_ns = now;
	mon_store_state(m, NULL, NULL);
}

/* --- repairs that ampscand asks for or reports -------------------------------- */

struct wanted {
	struct mon *m;
	uint64_t fsid;
	int64_t since;
	const char *reason;
	bool found;
};

static void repair_wanted(const Amp__FileSystem *fs, void *arg)
{
	struct wanted *w = arg;

	if (fs->how == AMP__FILE_SYSTEM__HOW__NOT_WATCHED || (w->fsid != 0 && w->fsid != fs->fsid))
		return;
	w->found = true;
	add_repair(w->m, fs, w->since, w->reason, true);
}

int mon_sources_repair_wanted(struct mon *m, const Amp__RepairWanted *r)
{
	char reason[64], detail[128];
	struct wanted w = {.m = m, .fsid = r->fsid, .since = r->since_ns, .reason = reason};

	if (r->since_ns < 0)
		return -1;
	if (w.since > amp_clock_realtime())
		w.since = good_since(m, m->sources->born_ns);
	amp_text_escape(r->reason, strlen(r->reason), reason, sizeof(reason));
	mon_watch_each(m->watch, repair_wanted, &w);
	if (!w.found)
		return 0; /* unmounted meanwhile */
	snprintf(detail, sizeof(detail), "%s; a repair is under way", reason);
	mon_fault_raise(m->faults, AMP_FAULT_EVENTS_LOST, "ampmon", detail);
	return 0;
}

int mon_sources_repair_state(struct mon *m, const Amp__RepairState *s)
{
	if (mon_repair_state(m->repair, s) != 0)
		return -1;
	check_repairs_done(m);
	return 0;
}

/* --- life ----------------------------------------------------------------------- */

static int make_memfd(struct mon_sources *src, unsigned count)
{
	src->buffers = count;
	src->memfd = mon_fd_high(memfd_create("amp-buffers", MFD_CLOEXEC | MFD_ALLOW_SEALING));
	if (src->memfd < 0)
		return -1;
	if (ftruncate(src->memfd, (off_t)amp_buffers_size(count, AMP_BUFFERS_PARKED)) != 0)
		return -1;
	return fcntl(src->memfd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL);
}

int mon_sources_new(struct mon *m, char *err, size_t size)
{
	struct mon_watch_ops watch_ops = {
		.filesystem = filesystem, .gone = gone, .fault = watch_fault, .began = watch_began, .arg = m};
	struct mon_repair_ops repair_ops = {.fault = repair_fault, .arg = m};
	struct mon_kill_ops kill_ops = {
		.killed = killed, .is_ours = is_ours, .each_ours = each_ours, .arg = m};
	struct mon_keep_ops keep_ops = {.kept = kept, .arg = m};

	m->sources = calloc(1, sizeof(*m->sources));
	if (!m->sources || make_memfd(m->sources, m->conf->event_buffers) != 0) {
		snprintf(err, size, "no memory for the event buffers: %s; lower event_buffers",
			 strerror(errno));
		return -1;
	}
	m->sources->sent_fd_group = -1;
	m->sources->born_ns = amp_clock_realtime();
	m->sources->start_since = good_since(m, 0);
	m->repair = mon_repair_new(m->base, &repair_ops);
	m->watch = mon_watch_new(m->base, m->conf, &watch_ops, err, size);
	if (!m->watch)
		return -1;
	m->kill = mon_kill_new(m->base, m->watch, &kill_ops);
	if (m->kill)
		mon_kill_never(m->kill, m->conf->bin_dir);
	snprintf(err, size, "out of memory");
	if (!m->repair || !m->kill || mon_foundation_new(m) != 0)
		return -1;
	m->keep = mon_keep_new(m->conf->etc_dir, m->io, &keep_ops, err, size);
	return m->keep ? 0 : -1;
}

void mon_sources_start(struct mon *m)
{
	mon_watch_start(m->watch);
	m->sources->looked_ns = amp_clock_realtime();
}

void mon_sources_free(struct mon *m)
{
	if (m->kill)
		mon_kill_free(m->kill);
	if (m->watch)
		mon_watch_free(m->watch);
	if (m->repair)
		mon_repair_free(m->repair);
	mon_foundation_free(m);
	mon_keep_free(m->keep);
	if (!m->sources)
		return;
	if (m->sources->memfd >= 0)
		close(m->sources->memfd);
	free(m->sources);
	m->sources = NULL;
}
