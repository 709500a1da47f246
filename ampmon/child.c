/*
 * ampmon/child.c - slots, processes, heartbeat, restart (see child.h).
 * Must not own: what rooms say (control.c), links (links.c), fork (spawn.c).
 *
 * A process is told from its slot: SIGKILL frees the slot for a successor
 * after a second even if the process hangs in the kernel; it is reaped when
 * the kernel lets it go.
 */
#include "ampmon/mon.h"

#include "clock.h"
#include "counter.h"
#include "log.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define EXIT_WALL      3   /* lib/room.c: a wall could not be built */
#define EXIT_NO_EXEC   127 /* spawn.c */
#define LEAVE_WAIT_S   1   /* from the channel's end, or SIGKILL, to giving up on it */
#define STOP_WAIT_S    5
#define START_LIMIT_NS (60 * AMP_NS_PER_SEC) /* to READY */
#define FRESH_NS       (10 * AMP_NS_PER_SEC) /* to say its faults again */
#define MAX_SLOTS      (AMP_ROLE_COUNT * AMP_ROLE_MAX_INSTANCES)

struct mon_children {
	struct mon_slot slots[MAX_SLOTS];
	size_t count;
	struct mon_proc *procs; /* all that are not reaped */
	struct event *stop_limit;
	int null;
};

static struct amp_counter hostile_rooms = AMP_COUNTER("rooms.hostile", false);

static void slot_start(struct mon *m, struct mon_slot *s);

/* --- slots -------------------------------------------------------------- */

size_t mon_slot_count(const struct mon *m)
{
	return m->children->count;
}

struct mon_slot *mon_slot_at(const struct mon *m, size_t i)
{
	return &m->children->slots[i];
}

struct mon_slot *mon_slot(const struct mon *m, unsigned role, unsigned instance)
{
	for (size_t i = 0; i < m->children->count; i++) {
		struct mon_slot *s = &m->children->slots[i];

		if ((unsigned)s->role->id == role && s->instance == instance)
			return s;
	}
	return NULL;
}

enum mon_slot_state mon_slot_state(const struct mon_slot *s)
{
	if (s->proc)
		return s->proc->ready && !s->proc->killed ? MON_SLOT_RUNNING : MON_SLOT_STARTING;
	if (evtimer_pending(s->again, NULL))
		return MON_SLOT_THROTTLED;
	return s->off ? MON_SLOT_OFF : MON_SLOT_STOPPED;
}

struct amp_channel *mon_ready_channel(const struct mon *m, enum amp_role_id role)
{
	struct mon_slot *s = mon_slot(m, role, 0);

	return s && s->proc && s->proc->ready && !s->proc->killed ? s->proc->ch : NULL;
}

bool mon_children_have_pid(const struct mon *m, pid_t pid)
{
	for (const struct mon_proc *p = m->children->procs; p; p = p->next)
		if (p->pid == pid)
			return true;
	return false;
}

bool mon_children_any(const struct mon *m)
{
	for (size_t i = 0; i < m->children->count; i++)
		if (m->children->slots[i].proc)
			return true;
	return false;
}

static void slot_again(evutil_socket_t fd, short what, void *arg)
{
	struct mon_slot *s = arg;

	(void)fd;
	(void)what;
	if (!s->m->stopping && !s->proc)
		slot_start(s->m, s);
}

static int slot_new(struct mon *m, const struct amp_role *row, unsigned instance)
{
	struct mon_slot *s = &m->children->slots[m->children->count];
	char err[512];

	s->m = m;
	s->role = row;
	s->instance = instance;
	s->listen_fd = -1;
	s->off = !mon_conf_role_wanted(m->conf, row->id);
	s->startable = !s->off && m->users[row->id].known;
	amp_role_label(row->id, instance, s->label, sizeof(s->label));
	s->again = evtimer_new(m->base, slot_again, s);
	if (!s->again)
		return -1;
	m->children->count++;
	/* One socket a role: instance 0 has it. */
	if (!row->cli_socket || instance > 0)
		return 0;
	s->listen_fd = mon_listen(m->conf, row->name, m->cli_gid, err, sizeof(err));
	if (s->listen_fd < 0)
		mon_complain("%s", err);
	return s->listen_fd < 0 ? -1 : 0;
}

static int slots_of_order(struct mon *m, unsigned order)
{
	for (int id = AMP_ROLE_MON + 1; id < AMP_ROLE_COUNT; id++) {
		const struct amp_role *row = amp_role((enum amp_role_id)id);

		if (row->start_order != order)
			continue;
		for (unsigned i = 0; i < row->instances; i++)
			if (slot_new(m, row, i) != 0)
				return -1;
	}
	return 0;
}

static void stop_overdue(evutil_socket_t fd, short what, void *arg)
{
	struct mon *m = arg;

	(void)fd;
	(void)what;
	for (size_t i = 0; i < m->children->count; i++)
		if (m->children->slots[i].proc)
			mon_proc_kill(m->children->slots[i].proc, "it did not leave when told to");
}

int mon_children_new(struct mon *m)
{
	struct mon_children *c = calloc(1, sizeof(*c));
	unsigned last = 0;

	m->children = c;
	if (!c)
		return -1;
	c->null = mon_fd_high(open("/dev/null", O_RDWR | O_CLOEXEC));
	c->stop_limit = evtimer_new(m->base, stop_overdue, m);
	if (c->null < 0 || !c->stop_limit)
		return -1;
	amp_counter_list(&hostile_rooms);
	for (int id = AMP_ROLE_MON + 1; id < AMP_ROLE_COUNT; id++)
		if (amp_role((enum amp_role_id)id)->start_order > last)
			last = amp_role((enum amp_role_id)id)->start_order;
	for (unsigned order = 0; order <= last; order++)
		if (slots_of_order(m, order) != 0)
			return -1;
	return 0;
}

/* --- a process's end ----------------------------------------------------- */

static void free_names(char **names)
{
	for (size_t i = 0; names && names[i]; i++)
		free(names[i]);
	free(names);
}

/* Nobody may use it from here on: its users let go of it first. */
static void proc_close_channel(struct mon_proc *p)
{
	struct amp_channel *ch = p->ch;

	if (!ch)
		return;
	p->ch = NULL;
	if (p->ready && p->slot && p->slot->role->id == AMP_ROLE_SCAN)
		mon_sources_scand_detach(p->m);
	if (p->ready && p->slot && p->slot->role->id == AMP_ROLE_CLOUD)
		mon_events_attach(p->m, NULL, false);
	amp_channel_free(ch);
}

static void proc_free(struct mon_proc *p)
{
	struct mon_proc **at = &p->m->children->procs;

	while (*at != p)
		at = &(*at)->next;
	*at = p->next;
	proc_close_channel(p);
	if (p->died)
		event_free(p->died);
	if (p->timer)
		event_free(p->timer);
	if (p->pidfd >= 0)
		close(p->pidfd);
	free_names(p->in_use);
	free_names(p->missing);
	free(p);
}

static void describe(char *text, size_t size, const siginfo_t *si)
{
	if (si->si_code == CLD_EXITED)
		snprintf(text, size, "ended with status %d%s", si->si_status,
			 si->si_status == EXIT_WALL	 ? " (a wall could not be built)"
			 : si->si_status == EXIT_NO_EXEC ? " (its program could not be run)"
							 : "");
	else
		snprintf(text, size, "died by signal %d%s", si->si_status,
			 si->si_status == SIGSYS ? " (a system call its walls refuse)" : "");
}

/* A death that speaks of a defect or an attack counts twice. */
static unsigned death_weight(const siginfo_t *si)
{
	if (si->si_code == CLD_EXITED)
		return si->si_status == EXIT_WALL ? 2 : 1;
	return si->si_status == SIGSEGV || si->si_status == SIGSYS ? 2 : 1;
}

/* Its walls' failure is told once: the room's own words are better than ours. */
static void fault_wall(struct mon *m, const struct mon_slot *s, const siginfo_t *si)
{
	char detail[128];

	if (si->si_code != CLD_EXITED || si->si_status != EXIT_WALL ||
	    mon_fault_stands(m->faults, AMP_FAULT_WALL, s->label))
		return;
	snprintf(detail, sizeof(detail), "%s.log names the wall", s->role->name);
	mon_fault_raise(m->faults, AMP_FAULT_WALL, s->label, detail);
}

static void slot_restart_later(struct mon *m, struct mon_slot *s, int64_t lived, unsigned weight)
{
	int64_t wait = child_throttle_death(&s->throttle, amp_clock_monotonic(), lived, weight);
	struct timeval tv = {.tv_sec = wait / AMP_NS_PER_SEC, .tv_usec = wait % AMP_NS_PER_SEC / 1000};
	char detail[128];

	s->restarts++;
	if (wait > 0) {
		snprintf(detail, sizeof(detail), "started again in %lld s",
			 (long long)(wait / AMP_NS_PER_SEC));
		mon_fault_raise(m->faults, AMP_FAULT_ROOM_THROTTLED, s->label, detail);
	}
	evtimer_add(s->again, &tv);
}

/* The slot is without its process: who had to do with it is told, a successor is made. */
static void slot_lost(struct mon *m, struct mon_slot *s, int64_t lived, bool was_ready, unsigned weight)
{
	s->last_died = true;
	mon_faults_stale(m->faults, s->label);
	mon_fault_clear(m->faults, AMP_FAULT_DISK_STALLED, s->label);
	if (s->role->id == AMP_ROLE_SCAN)
		mon_sources_scand_gone(m);
	if (s->role->id == AMP_ROLE_CLOUD && was_ready)
		mon_events_attach(m, NULL, true);
	if (m->stopping)
		mon_stopped_check(m);
	else
		slot_restart_later(m, s, lived, weight);
}

/* For good in the kernel's hands: it is reaped when it comes out. */
static void proc_leave_slot(struct mon_proc *p)
{
	struct mon_slot *s = p->slot;

	if (!s)
		return;
	amp_warn("%s (pid %d) does not die yet; its successor does not wait", s->label, (int)p->pid);
	proc_close_channel(p);
	p->slot = NULL;
	s->proc = NULL;
	slot_lost(p->m, s, amp_clock_monotonic() - p->born_ns, p->ready, 1);
}

static void proc_died(evutil_socket_t fd, short what, void *arg)
{
	struct mon_proc *p = arg;
	struct mon *m = p->m;
	struct mon_slot *s = p->slot;
	int64_t lived = amp_clock_monotonic() - p->born_ns;
	bool ready = p->ready;
	siginfo_t si;
	char text[128];

	(void)what;
	memset(&si, 0, sizeof(si));
	if (waitid(P_PIDFD, (id_t)fd, &si, WEXITED | WNOHANG) != 0 || si.si_pid != p->pid)
		return;
	describe(text, sizeof(text), &si);
	amp_log(m->stopping ? AMP_LOG_INFO : AMP_LOG_WARN, "%s (pid %d) %s after %lld ms%s",
		s ? s->label : "a replaced process", (int)p->pid, text, (long long)(lived / AMP_NS_PER_MS),
		p->killed ? ", killed by ampmon" : "");
	proc_close_channel(p);
	if (s)
		s->proc = NULL;
	proc_free(p);
	if (!s)
		return;
	if (!m->stopping)
		fault_wall(m, s, &si);
	slot_lost(m, s, lived, ready, death_weight(&si));
}

/* A second after its channel ended or SIGKILL was sent. */
static void proc_overdue(evutil_socket_t fd, short what, void *arg)
{
	struct mon_proc *p = arg;

	(void)fd;
	(void)what;
	if (p->killed)
		proc_leave_slot(p);
	else
		mon_proc_kill(p, "its control channel ended and it did not leave");
}

static void proc_limit(struct mon_proc *p)
{
	struct timeval tv = {.tv_sec = LEAVE_WAIT_S};

	evtimer_add(p->timer, &tv);
}

void mon_proc_kill(struct mon_proc *p, const char *why)
{
	if (p->killed || !p->slot)
		return;
	amp_warn("%s (pid %d) is killed: %s", p->slot->label, (int)p->pid, why);
	p->killed = true;
	/* Nothing it still says is heard. Freed later: we may be in its handler. */
	if (p->ch)
		amp_channel_pause_read(p->ch, true);
	syscall(SYS_pidfd_send_signal, p->pidfd, SIGKILL, NULL, 0U);
	proc_limit(p);
}

void mon_proc_hostile(struct mon_proc *p, const char *by, const char *why)
{
	char detail[256];

	if (!p->slot || p->killed)
		return;
	amp_counter_add(&hostile_rooms, 1);
	snprintf(detail, sizeof(detail), "%s%s%s", by, *by ? " says: " : "", why);
	mon_fault_raise(p->m->faults, AMP_FAULT_PEER_HOSTILE, p->slot->label, detail);
	mon_proc_kill(p, detail);
}

static void channel_end(struct amp_channel *ch, enum amp_channel_end end, const char *why, void *arg)
{
	struct mon_proc *p = arg;
	char reason[128];

	(void)ch;
	snprintf(reason, sizeof(reason), "%s", why ? why : "");
	proc_close_channel(p);
	if (end == AMP_CHANNEL_HOSTILE)
		mon_proc_hostile(p, "", reason);
	else if (!p->killed)
		proc_limit(p);
}

static void channel_writable(struct amp_channel *ch, void *arg)
{
	struct mon_proc *p = arg;

	(void)ch;
	if (!p->slot || !p->ready || p->killed)
		return;
	if (p->slot->role->id == AMP_ROLE_CLOUD)
		mon_events_pump(p->m);
	if (p->slot->role->id == AMP_ROLE_SCAN) {
		mon_inforce_pump(p->m);
		mon_ready_check(p->m); /* it may have waited for the policy's end */
	}
}

void mon_proc_send(struct mon_proc *p, uint16_t type, const ProtobufCMessage *body, const int *fds,
		   unsigned n)
{
	char why[96];

	if (!p->ch || p->killed)
		return;
	if (amp_channel_send(p->ch, type, 0, body, fds, n) == 0 || errno == ENOTCONN)
		return;
	snprintf(why, sizeof(why), "message 0x%04x cannot be sent to it: %s", (unsigned)type,
		 strerror(errno));
	mon_proc_kill(p, why);
}

/* --- a process's start --------------------------------------------------- */

static void set_bytes(ProtobufCBinaryData *out, char *text)
{
	out->data = (uint8_t *)text;
	out->len = strlen(text);
}

/* list: MON_DEFINITIONS_MAX of them. */
static void add_engine(struct mon *m, const struct mon_slot *s, Amp__Conf *conf, ProtobufCBinaryData *list)
{
	const struct mon_slot *engine = mon_slot(m, AMP_ROLE_ENGINE, 0);

	if (s->role->id == AMP_ROLE_SCAN) {
		conf->engine = engine && engine->startable;
		set_bytes(&conf->bin_dir, m->conf->bin_dir);
	}
	if (s->role->id != AMP_ROLE_ENGINE)
		return;
	for (char **d = m->conf->definitions; *d; d++)
		set_bytes(&list[conf->n_definitions++], *d);
	conf->definitions = list;
	conf->engine_workers = m->conf->engine_workers;
	conf->engine_memory = m->conf->engine_memory;
	conf->engine_reload_after = m->conf->engine_reload_after;
	memcpy(m->engine_dirs, m->conf->definitions_ids, sizeof(m->engine_dirs));
}

static void send_conf(struct mon *m, struct mon_slot *s)
{
	ProtobufCBinaryData definitions[MON_DEFINITIONS_MAX];
	Amp__Conf conf = AMP__CONF__INIT;
	char *data_dir = mon_conf_room_dir(m->conf, s->role->id);
	char view[PATH_MAX];

	conf.instance = s->instance;
	conf.generation = s->generation;
	conf.log_level = (uint32_t)m->conf->log_level;
	conf.host_id = m->state.host_id;
	conf.uid = m->users[s->role->id].uid;
	conf.gid = m->users[s->role->id].gid;
	conf.cli_gid = m->cli_gid;
	if (s->role->view == AMP_VIEW_PIVOTED) {
		snprintf(view, sizeof(view), "%s/view-%s-%u", m->conf->run_dir, s->role->name, s->instance);
		set_bytes(&conf.view_dir, view);
	}
	if (data_dir)
		set_bytes(&conf.data_dir, data_dir);
	conf.event_buffers = m->conf->event_buffers;
	conf.history_max_rows = m->conf->history_max_rows;
	conf.quarantine_max_size = m->conf->quarantine_max_size;
	conf.quarantine_days = m->conf->quarantine_days;
	add_engine(m, s, &conf, definitions);
	mon_proc_send(s->proc, AMP_MSG_CONF, &conf.base, NULL, 0);
}

static pid_t run_program(struct mon *m, const struct mon_slot *s, int control, int *pidfd)
{
	char path[PATH_MAX];
	struct mon_spawn spawn = {
		.path = path,
		.name = s->role->name,
		.control = control,
		.log = mon_logs_fd(m->logs, s->role->id),
		.cli = s->listen_fd,
		.null = m->children->null,
		.own_pids = s->role->processes > 0,
	};

	snprintf(path, sizeof(path), "%s/%s", m->conf->bin_dir, s->role->name);
	return mon_spawn(&spawn, pidfd);
}

static struct mon_proc *proc_new(struct mon *m, struct mon_slot *s, pid_t pid, int pidfd, int control)
{
	struct mon_proc *p = calloc(1, sizeof(*p));
	struct amp_channel_config config = {
		.name = s->label, .on_end = channel_end, .on_writable = channel_writable, .arg = p};

	if (!p) {
		close(control);
		return NULL;
	}
	p->m = m;
	p->pid = pid;
	p->pidfd = pidfd;
	p->slot = s;
	p->generation = s->generation;
	p->born_ns = amp_clock_monotonic();
	p->since_ns = amp_clock_realtime();
	p->next = m->children->procs;
	m->children->procs = p;
	config.table = mon_control_table(s->role->id, &config.rows);
	p->ch = amp_channel_new(m->base, control, &config);
	p->died = event_new(m->base, pidfd, EV_READ, proc_died, p);
	p->timer = evtimer_new(m->base, proc_overdue, p);
	return p;
}

/* pid runs. Takes control over, also on failure; the process is killed then. */
static bool proc_adopt(struct mon *m, struct mon_slot *s, pid_t pid, int pidfd, int control)
{
	struct mon_proc *p = proc_new(m, s, pid, pidfd, control);

	if (p && p->ch && p->died && p->timer && event_add(p->died, NULL) == 0) {
		s->proc = p;
		return true;
	}
	if (p) {
		p->pidfd = -1;
		proc_free(p);
	}
	syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, NULL, 0U);
	waitpid(pid, NULL, WNOHANG);
	close(pidfd);
	return false;
}

static bool slot_run(struct mon *m, struct mon_slot *s)
{
	int pair[2], pidfd;
	pid_t pid;
	bool ok = false;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0)
		return false;
	pair[1] = mon_fd_high(pair[1]);
	pid = pair[1] < 0 ? -1 : run_program(m, s, pair[1], &pidfd);
	if (pid > 0)
		ok = proc_adopt(m, s, pid, pidfd, pair[0]); /* takes pair[0] over */
	else
		close(pair[0]);
	if (pair[1] >= 0)
		close(pair[1]);
	return ok;
}

static void slot_start(struct mon *m, struct mon_slot *s)
{
	s->generation++;
	if (!slot_run(m, s)) {
		amp_error("%s cannot be started: %s", s->label, strerror(errno));
		slot_restart_later(m, s, 0, 2);
		return;
	}
	amp_info("%s started, pid %d, generation %u", s->label, (int)s->proc->pid, s->generation);
	send_conf(m, s);
}

void mon_children_start(struct mon *m)
{
	for (size_t i = 0; i < m->children->count; i++)
		if (m->children->slots[i].startable)
			slot_start(m, &m->children->slots[i]);
}

static char **copy_names(char **names, size_t n)
{
	char **copy = calloc(n + 1, sizeof(*copy));

	for (size_t i = 0; copy && i < n; i++)
		copy[i] = strndup(names[i], 64);
	return copy;
}

void mon_proc_ready(struct mon_proc *p, const Amp__Ready *r)
{
	struct mon *m = p->m;
	struct mon_slot *s = p->slot;

	p->ready = true;
	p->in_use = copy_names(r->in_use, r->n_in_use);
	p->missing = copy_names(r->missing, r->n_missing);
	amp_info("%s is ready", s->label);
	mon_links_make(m, s);
	if (s->role->id == AMP_ROLE_SCAN)
		mon_sources_scand_ready(m, p);
	if (s->role->id == AMP_ROLE_CLOUD) {
		mon_events_attach(m, p->ch, false);
		mon_events_file_send(m, p);
	}
	mon_ready_check(m);
}

/* --- heartbeat, stop ------------------------------------------------------ */

static void silent(struct mon *m, struct mon_proc *p, const char *what)
{
	char detail[128];

	snprintf(detail, sizeof(detail), "pid %d: %s", (int)p->pid, what);
	mon_fault_raise(m->faults, AMP_FAULT_ROOM_SILENT, p->slot->label, detail);
	mon_proc_kill(p, what);
}

static void check_disk(struct mon *m, struct mon_proc *p, int64_t timeout)
{
	const char *label = p->slot->label;

	if (p->heart.stalled_ns == 0)
		mon_fault_clear(m->faults, AMP_FAULT_DISK_STALLED, label);
	if (p->heart.stalled_ns < timeout || mon_fault_stands(m->faults, AMP_FAULT_DISK_STALLED, label))
		return;
	mon_fault_raise(m->faults, AMP_FAULT_DISK_STALLED, label, "its I/O thread waits for a disk");
}

/* What stood because of its predecessors goes when it has run well for a while. */
static void runs_well(struct mon *m, struct mon_proc *p)
{
	static const unsigned passing[] = {AMP_FAULT_ROOM_THROTTLED, AMP_FAULT_ROOM_SILENT,
					   AMP_FAULT_PEER_HOSTILE};
	int64_t lived = amp_clock_monotonic() - p->born_ns;

	if (lived > FRESH_NS)
		mon_faults_drop_stale(m->faults, p->slot->label);
	if (lived < CHILD_WELL_NS)
		return;
	child_throttle_lives(&p->slot->throttle, lived);
	for (size_t i = 0; i < sizeof(passing) / sizeof(passing[0]); i++)
		mon_fault_clear(m->faults, passing[i], p->slot->label);
}

static void proc_tick(struct mon *m, struct mon_proc *p, int64_t elapsed)
{
	int64_t timeout = m->conf->heartbeat_timeout * AMP_NS_PER_SEC;
	Amp__Ping ping = AMP__PING__INIT;

	if (p->killed || !p->ch)
		return;
	if (!p->ready) {
		if (amp_clock_monotonic() - p->born_ns > START_LIMIT_NS)
			silent(m, p, "it did not become ready");
		return;
	}
	child_heart_tick(&p->heart, elapsed, 2 * m->conf->heartbeat_interval * AMP_NS_PER_SEC);
	if (p->heart.silent_ns >= timeout) {
		silent(m, p, "its main loop does not answer");
		return;
	}
	check_disk(m, p, timeout);
	runs_well(m, p);
	ping.seq = ++p->ping_seq;
	child_heart_ping(&p->heart);
	mon_proc_send(p, AMP_MSG_PING, &ping.base, NULL, 0);
}

void mon_children_tick(struct mon *m, int64_t elapsed_ns)
{
	for (size_t i = 0; i < m->children->count; i++)
		if (m->children->slots[i].proc)
			proc_tick(m, m->children->slots[i].proc, elapsed_ns);
}

void mon_children_stop(struct mon *m)
{
	struct timeval tv = {.tv_sec = STOP_WAIT_S};
	Amp__Stop stop = AMP__STOP__INIT;

	for (size_t i = 0; i < m->children->count; i++) {
		struct mon_slot *s = &m->children->slots[i];

		evtimer_del(s->again);
		if (s->proc && s->proc->ready)
			mon_proc_send(s->proc, AMP_MSG_STOP, &stop.base, NULL, 0);
		else if (s->proc)
			mon_proc_kill(s->proc, "it was still starting when ampmon was stopped");
	}
	evtimer_add(m->children->stop_limit, &tv);
}

void mon_children_free(struct mon *m)
{
	struct mon_children *c = m->children;

	if (!c)
		return;
	while (c->procs) {
		syscall(SYS_pidfd_send_signal, c->procs->pidfd, SIGKILL, NULL, 0U);
		proc_free(c->procs);
	}
	for (size_t i = 0; i < c->count; i++) {
		event_free(c->slots[i].again);
		if (c->slots[i].listen_fd >= 0)
			close(c->slots[i].listen_fd);
	}
	if (c->stop_limit)
		event_free(c->stop_limit);
	if (c->null >= 0)
		close(c->null);
	free(c);
	m->children = NULL;
}
