/*
 * ampmon/mon.c - the supervisor's life: built, run, stopped.
 *
 * Owns: the order in which its parts are made and unmade, signals, the one
 * periodic tick, storing the state. Must not own: the parts.
 */
#include "ampmon/mon.h"

#include "clock.h"
#include "log.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#define DRAIN_MS	   500
#define FEEDS_PER_WATCHDOG 3
#define START_LIMIT_NS	   (20 * AMP_NS_PER_SEC) /* a room that will not come does not stop the others */

/* --- state on disk ---------------------------------------------------------- */

struct store {
	struct amp_io_job job; /* first: cast back */
	struct mon *m;
	const struct mon_conf *conf;
	struct mon_state state;
	int error;
	void (*done)(struct mon *m, int error, void *arg);
	void *arg;
};

static bool store_run(struct amp_io_job *job)
{
	struct store *s = (struct store *)job;

	s->error = mon_state_store(s->conf, &s->state) == 0 ? 0 : errno;
	return true;
}

static void store_done(struct amp_io_job *job)
{
	struct store *s = (struct store *)job;

	if (s->error)
		amp_error("%s/ampmon.state cannot be written: %s", s->m->conf->etc_dir, strerror(s->error));
	if (s->done)
		s->done(s->m, s->error, s->arg);
	free(s);
}

void mon_store_state(struct mon *m, void (*done)(struct mon *m, int error, void *arg), void *arg)
{
	struct store *s = calloc(1, sizeof(*s));

	if (!s) {
		if (done)
			done(m, ENOMEM, arg);
		return;
	}
	s->job.run = store_run;
	s->job.done = store_done;
	s->m = m;
	s->conf = m->conf;
	s->state = m->state;
	s->done = done;
	s->arg = arg;
	amp_iothread_submit(m->io, &s->job);
}

/* --- together ------------------------------------------------------------------ */

bool mon_well(const struct mon *m)
{
	size_t waited_for = 0;

	for (size_t i = 0; i < mon_slot_count(m); i++) {
		const struct mon_slot *s = mon_slot_at(m, i);

		waited_for += s->startable;
		if (s->startable && mon_slot_state(s) != MON_SLOT_RUNNING)
			return false;
	}
	return waited_for > 0;
}

/*
 * What a supervisor may be told is well: a room in back-off has its fault and
 * its time, one that starts has its limit, one that hangs is replaced by its
 * heartbeat. To end ampmon for it would take the others' protection as well.
 */
bool mon_tended(const struct mon *m)
{
	for (size_t i = 0; i < mon_slot_count(m); i++) {
		const struct mon_slot *s = mon_slot_at(m, i);

		if (s->startable && mon_slot_state(s) == MON_SLOT_STOPPED)
			return false;
	}
	return true;
}

bool mon_complete(const struct mon *m)
{
	for (size_t i = 0; i < mon_slot_count(m); i++) {
		const struct mon_slot *s = mon_slot_at(m, i);

		if (!s->off && mon_slot_state(s) != MON_SLOT_RUNNING)
			return false;
	}
	return true;
}

static void send_start(struct mon *m)
{
	Amp__Start start = AMP__START__INIT;

	for (size_t i = 0; i < mon_slot_count(m); i++) {
		struct mon_slot *s = mon_slot_at(m, i);

		if (mon_slot_state(s) != MON_SLOT_RUNNING || s->proc->told_start)
			continue;
		/* Nothing is judged before all of the policy is there, and what is never acted upon. */
		if (s->role->id == AMP_ROLE_SCAN && (mon_inforce_sending(m) || !mon_foundation_told(m)))
			continue;
		s->proc->told_start = true;
		mon_proc_send(s->proc, AMP_MSG_START, &start.base, NULL, 0);
	}
}

static void tell_ready(struct mon *m)
{
	amp_info("the suite runs");
	mon_notify_ready();
	if (m->ready_fd >= 0 && write(m->ready_fd, "r", 1) == 1)
		amp_debug("who started ampmon was told");
	if (m->ready_fd >= 0)
		close(m->ready_fd);
	m->ready_fd = -1;
}

void mon_ready_check(struct mon *m)
{
	bool late = amp_clock_monotonic() - m->born_ns > START_LIMIT_NS;

	if (m->stopping)
		return;
	/* What is written from then on is seen: no file system waits for its mark any more. */
	if (!m->started && ((mon_well(m) && mon_watch_began(m->watch)) || late)) {
		if (late)
			amp_warn("not every room is ready, or not every mark set; those that are begin");
		m->started = true;
		tell_ready(m);
	}
	if (m->started)
		send_start(m);
}

void mon_stopped_check(struct mon *m)
{
	if (m->stopping && !mon_children_any(m))
		event_base_loopbreak(m->base);
}

/* --- events of the loop ---------------------------------------------------------- */

static void check_own_disk(struct mon *m, int64_t elapsed)
{
	int64_t timeout = m->conf->heartbeat_timeout * AMP_NS_PER_SEC;

	child_heart_tick(&m->io_heart, elapsed, timeout);
	child_heart_pong(&m->io_heart, amp_iothread_steps(m->io), amp_iothread_busy(m->io));
	if (m->io_heart.stalled_ns >= timeout)
		mon_fault_raise(m->faults, AMP_FAULT_DISK_STALLED, "ampmon", "ampmon waits for a disk");
	else if (m->io_heart.stalled_ns == 0)
		mon_fault_clear(m->faults, AMP_FAULT_DISK_STALLED, "ampmon");
}

static void tick(evutil_socket_t fd, short what, void *arg)
{
	struct mon *m = arg;
	int64_t now = amp_clock_monotonic(), elapsed = now - m->last_tick_ns;

	(void)fd;
	(void)what;
	m->last_tick_ns = now;
	mon_children_tick(m, elapsed);
	if (m->stopping)
		return;
	check_own_disk(m, elapsed);
	mon_faults_tick(m->faults);
	mon_sources_tick(m);
	mon_logs_check(m->logs, m->io, m->conf->log_max_size, m->conf->log_keep);
	if (!m->started)
		mon_ready_check(m);
}

/* A timer of its own: the heartbeat may be slower than the watchdog. */
static void feed(evutil_socket_t fd, short what, void *arg)
{
	struct mon *m = arg;

	(void)fd;
	(void)what;
	if (!m->stopping && mon_tended(m))
		mon_notify_well();
}

static int feed_watchdog(struct mon *m)
{
	int64_t ns = mon_notify_watchdog() / FEEDS_PER_WATCHDOG;
	struct timeval tv = {.tv_sec = ns / AMP_NS_PER_SEC, .tv_usec = ns % AMP_NS_PER_SEC / 1000};

	return ns > 0 ? event_add(m->feed, &tv) : 0;
}

int mon_heartbeat(struct mon *m)
{
	struct timeval tv = {.tv_sec = m->conf->heartbeat_interval};

	return event_add(m->tick, &tv);
}

static void on_stop(evutil_socket_t sig, short what, void *arg)
{
	struct mon *m = arg;

	(void)what;
	if (m->stopping)
		return;
	amp_info("signal %d: stopping", (int)sig);
	m->stopping = true;
	mon_notify_stopping();
	mon_children_stop(m);
	mon_stopped_check(m);
}

static void on_reload(evutil_socket_t sig, short what, void *arg)
{
	struct mon *m = arg;

	(void)sig;
	(void)what;
	if (!m->stopping)
		mon_reload(m);
}

/* The guard cannot be made again from below; at least the pid file is right. */
static void on_guard_gone(evutil_socket_t fd, short what, void *arg)
{
	struct mon *m = arg;

	(void)what;
	close(fd);
	event_free(m->guard_gone);
	m->guard_gone = NULL;
	m->guard = 0;
	amp_error("the guard is gone: nobody starts ampmon again if it dies; restart it");
	mon_pid_file_write(m->conf, getpid());
}

/*
 * The last line of the file before tells a new ampcloudd where its predecessor
 * stopped, if nothing is in this one yet.
 */
void mon_events_file_send(struct mon *m, struct mon_proc *cloud)
{
	Amp__EventsFile body = AMP__EVENTS_FILE__INIT;
	int fds[2] = {mon_logs_fd(m->logs, MON_LOG_EVENTS), mon_logs_events_before(m->logs)};

	mon_proc_send(cloud, AMP_MSG_EVENTS_FILE, &body.base, fds, fds[1] >= 0 ? 2 : 1);
}

static void file_replaced(unsigned file, int fd, void *arg)
{
	struct mon *m = arg;
	Amp__LogFile body = AMP__LOG_FILE__INIT;

	/* ampmon's own was replaced in place. */
	for (size_t i = 0; file != AMP_ROLE_MON && i < mon_slot_count(m); i++) {
		struct mon_slot *s = mon_slot_at(m, i);

		if (!s->proc)
			continue;
		/* One that still builds its walls reads it behind its CONF. */
		if ((unsigned)s->role->id == file)
			mon_proc_send(s->proc, AMP_MSG_LOG_FILE, &body.base, &fd, 1);
		/* It is given when it is ready. */
		if (file == MON_LOG_EVENTS && s->role->id == AMP_ROLE_CLOUD && s->proc->ready)
			mon_events_file_send(m, s->proc);
	}
}

/* --- built ------------------------------------------------------------------------ */

static int look_up_users(struct mon *m)
{
	char err[512];

	for (int id = AMP_ROLE_MON + 1; id < AMP_ROLE_COUNT; id++) {
		struct mon_user *u = &m->users[id];

		if (!mon_conf_role_wanted(m->conf, (enum amp_role_id)id))
			continue;
		if (mon_conf_user(m->conf, (enum amp_role_id)id, &u->uid, &u->gid, err, sizeof(err)) == 0) {
			u->known = true;
			continue;
		}
		mon_complain("%s", err);
		mon_fault_raise(m->faults, AMP_FAULT_ROOM_USER, amp_role((enum amp_role_id)id)->name, err);
	}
	m->cli_gid = mon_conf_cli_group(m->conf);
	if (m->cli_gid == (gid_t)-1)
		mon_complain("group %s does not exist: only root may ask; make it with groupadd",
			     m->conf->cli_group);
	return 0;
}

static int make_view_dirs(struct mon *m, char *err, size_t size)
{
	for (int id = AMP_ROLE_MON + 1; id < AMP_ROLE_COUNT; id++) {
		const struct amp_role *row = amp_role((enum amp_role_id)id);
		char path[PATH_MAX];

		for (unsigned i = 0; row->view == AMP_VIEW_PIVOTED && i < row->instances; i++) {
			snprintf(path, sizeof(path), "%s/view-%s-%u", m->conf->run_dir, row->name, i);
			if (mon_dir_make(path, 0700, 0, 0, err, size) != 0)
				return -1;
		}
	}
	return 0;
}

static int make_places(struct mon *m, char *err, size_t size)
{
	if (make_view_dirs(m, err, size) != 0)
		return -1;
	for (int id = AMP_ROLE_MON + 1; id < AMP_ROLE_COUNT; id++) {
		const char *dir = mon_conf_room_dir(m->conf, (enum amp_role_id)id);
		const struct mon_user *u = &m->users[id];

		if (dir && u->known && mon_dir_make(dir, 0700, u->uid, u->gid, err, size) != 0)
			return -1;
	}
	return 0;
}

static int open_logs(struct mon *m, char *err, size_t size)
{
	struct mon_logs_ops ops = {.replaced = file_replaced, .arg = m};

	if (access(m->conf->log_dir, F_OK) != 0 && mon_dir_make(m->conf->log_dir, 0755, 0, 0, err, size) != 0)
		return -1;
	m->logs = mon_logs_new(m->conf->log_dir, &ops, err, size);
	if (!m->logs)
		return -1;
	amp_log_open("ampmon", mon_logs_fd(m->logs, AMP_ROLE_MON), m->conf->log_level);
	return 0;
}

static int load_state(struct mon *m, char *err, size_t size)
{
	bool fresh;

	if (mon_state_load(m->conf, &m->state, &fresh, err, size) != 0)
		return -1;
	m->first_start = fresh;
	/* From here on nothing may be missed, also if we die before the first good moment is reported. */
	if (fresh)
		m->state.good_ns = amp_clock_realtime();
	if (fresh && mon_state_store(m->conf, &m->state) != 0) {
		snprintf(err, size, "%s/ampmon.state cannot be written: %s", m->conf->etc_dir,
			 strerror(errno));
		return -1;
	}
	return 0;
}

static struct event *add_signal(struct mon *m, int sig, event_callback_fn fn)
{
	struct event *e = evsignal_new(m->base, sig, fn, m);

	if (e && evsignal_add(e, NULL) != 0) {
		event_free(e);
		return NULL;
	}
	return e;
}

static int watch_guard(struct mon *m)
{
	int fd;

	if (m->guard == 0)
		return 0;
	fd = (int)syscall(SYS_pidfd_open, m->guard, 0U);
	if (fd < 0)
		return -1;
	m->guard_gone = event_new(m->base, fd, EV_READ, on_guard_gone, m);
	return m->guard_gone ? event_add(m->guard_gone, NULL) : -1;
}

void mon_mask_sighup(int how)
{
	sigset_t hup;

	sigemptyset(&hup);
	sigaddset(&hup, SIGHUP);
	sigprocmask(how, &hup, NULL);
}

static int make_loop(struct mon *m)
{
	signal(SIGPIPE, SIG_IGN);
	m->base = event_base_new();
	if (!m->base)
		return -1;
	m->tick = event_new(m->base, -1, EV_PERSIST, tick, m);
	m->feed = event_new(m->base, -1, EV_PERSIST, feed, m);
	m->sig_term = add_signal(m, SIGTERM, on_stop);
	m->sig_int = add_signal(m, SIGINT, on_stop);
	m->sig_hup = add_signal(m, SIGHUP, on_reload);
	m->io = amp_iothread_new(m->base);
	m->faults = mon_faults_new(mon_events_fault, m);
	if (!m->tick || !m->feed || !m->sig_term || !m->sig_int || !m->sig_hup || !m->io || !m->faults)
		return -1;
	mon_mask_sighup(SIG_UNBLOCK); /* what came since start.c held it back is still to come */
	return mon_events_new(m);
}

static int make_cli(struct mon *m, char *err, size_t size)
{
	int fd = mon_listen(m->conf, amp_role(AMP_ROLE_MON)->name, m->cli_gid, err, size);

	if (fd < 0)
		return -1;
	if (mon_cli_new(m, fd) == 0)
		return 0;
	snprintf(err, size, "the CLI socket cannot be served: %s", strerror(errno));
	return -1;
}

static void limit_descriptors(void)
{
	struct rlimit limit;

	/* The soft one only: rooms set their own below the hard one. */
	if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
		return;
	limit.rlim_cur = amp_role(AMP_ROLE_MON)->nofile;
	if (limit.rlim_cur <= limit.rlim_max)
		setrlimit(RLIMIT_NOFILE, &limit);
}

/* In this order: each needs the ones before it. */
static int build(struct mon *m, char *err, size_t size)
{
	limit_descriptors();
	if (open_logs(m, err, size) != 0)
		return -1;
	snprintf(err, size, "ampmon cannot be set up: out of memory or descriptors");
	if (make_loop(m) != 0 || look_up_users(m) != 0)
		return -1;
	if (load_state(m, err, size) != 0 || make_places(m, err, size) != 0 || mon_inforce_new(m) != 0)
		return -1;
	mon_events_policy(m);
	if (mon_sources_new(m, err, size) != 0 || mon_children_new(m) != 0 || mon_definitions_new(m) != 0 ||
	    make_cli(m, err, size) != 0)
		return -1;
	snprintf(err, size, "a thread of ampmon cannot be started");
	if (amp_log_start_thread() != 0 || amp_iothread_start(m->io) != 0)
		return -1;
	snprintf(err, size, "ampmon cannot be set up");
	return watch_guard(m) == 0 && feed_watchdog(m) == 0 ? mon_heartbeat(m) : -1;
}

/* --- unmade ------------------------------------------------------------------------- */

static void free_event(struct event *e)
{
	if (e)
		event_free(e);
}

static void unmake(struct mon *m)
{
	if (m->io)
		amp_iothread_free(m->io); /* waits for what is queued */
	m->io = NULL;
	mon_cli_free(m);
	mon_definitions_free(m);
	if (m->children)
		mon_children_free(m);
	mon_sources_free(m);
	mon_inforce_free(m);
	mon_events_free(m);
	mon_faults_free(m->faults);
	free_event(m->tick);
	free_event(m->feed);
	free_event(m->sig_term);
	free_event(m->sig_int);
	free_event(m->sig_hup);
	free_event(m->guard_gone);
	if (m->base)
		event_base_free(m->base);
	amp_log_drain(DRAIN_MS);
	mon_logs_free(m->logs);
	mon_conf_free(m->conf);
}

/* Nobody is there any more: a client sees that from the name's absence. */
static void remove_sockets(const struct mon *m)
{
	for (int id = AMP_ROLE_NONE + 1; id < AMP_ROLE_COUNT; id++)
		if (amp_role((enum amp_role_id)id)->cli_socket)
			mon_unlisten(m->conf, amp_role((enum amp_role_id)id)->name);
}

static int leave(struct mon *m)
{
	if (mon_state_store(m->conf, &m->state) != 0)
		amp_error("%s/ampmon.state cannot be written: %s", m->conf->etc_dir, strerror(errno));
	remove_sockets(m);
	if (m->guard == 0)
		mon_pid_file_remove(m->conf);
	amp_info("stopped");
	return MON_EXIT_OK;
}

/* Our own stderr may be /dev/null by now: who started us reads it from the pipe. */
static void tell_refused(struct mon *m, const char *err)
{
	mon_complain("%s", err);
	signal(SIGPIPE, SIG_IGN);
	if (m->ready_fd >= 0 && write(m->ready_fd, err, strlen(err)) < 0)
		amp_debug("who started ampmon does not wait for the reason");
}

int mon_run(const struct mon_start *s)
{
	struct mon m = {.conf = s->conf,
			.guard = s->guard,
			.restarts = s->restarts,
			.since_ns = amp_clock_realtime(),
			.ready_fd = s->ready_fd};
	char err[1024];
	int code = MON_EXIT_REFUSED;

	m.born_ns = m.last_tick_ns = amp_clock_monotonic();
	if (build(&m, err, sizeof(err)) != 0) {
		tell_refused(&m, err);
		unmake(&m);
		return code;
	}
	amp_info("ampmon %s, host %s, policy epoch %llu", PACKAGE_VERSION, m.state.host_id,
		 (unsigned long long)m.state.epoch);
	if (s->refused[0]) {
		amp_error("configuration refused, the one of the first start holds: %s", s->refused);
		mon_fault_raise(m.faults, AMP_FAULT_CONFIGURATION, "configuration", s->refused);
	}
	mon_sources_start(&m);
	mon_children_start(&m);
	mon_foundation_look(&m);
	event_base_dispatch(m.base);
	code = m.stopping ? leave(&m) : MON_EXIT_FAILED;
	unmake(&m);
	return code;
}
