/*
 * tests/unit/test_engine_sets.c - the room's part: which set is in use, what is refused,
 * workers from ampscand's wish to the word that they are gone, whoever dies.
 */
#include "zygotetest.h"

#include "ampscand/engine/engine.h"

#include <event2/event.h>
#include <limits.h>

static struct engine e;
static struct place place;
static struct event *pulse;
static struct wire far;
static bool fault_raised;
static char fault_text[1024];

void __wrap_amp_room_fault(struct amp_room *room, enum amp_fault_number n, bool raised, const char *detail);
void __wrap_amp_room_fault(struct amp_room *room, enum amp_fault_number n, bool raised, const char *detail)
{
	(void)room;
	assert_int_equal(n, AMP_FAULT_DEFINITIONS);
	fault_raised = raised;
	snprintf(fault_text, sizeof(fault_text), "%s", detail);
}

/* The next zygote stops before it loads anything, until it is told to go on. */
static bool hold;

void __real_zygote_main(const struct engine_dirs *dirs, int fd, uint64_t number, pid_t parent)
	__attribute__((noreturn));
void __wrap_zygote_main(const struct engine_dirs *dirs, int fd, uint64_t number, pid_t parent)
	__attribute__((noreturn));
void __wrap_zygote_main(const struct engine_dirs *dirs, int fd, uint64_t number, pid_t parent)
{
	if (hold)
		raise(SIGSTOP);
	__real_zygote_main(dirs, fd, number, parent);
}

/* It has come to that; the next one is not held. Its pid. */
static pid_t held(void)
{
	siginfo_t info;

	hold = false;
	assert_non_null(e.loading);
	assert_int_equal(waitid(P_PID, (id_t)e.loading->pid, &info, WSTOPPED | WNOWAIT), 0);
	return e.loading->pid;
}

/* What ampscand has heard. */
static struct {
	Amp__EngineState__State state;
	uint64_t generation, signatures, alive, gone[128];
	size_t gone_count, sets;
	bool loading;
	char refused[1024], path[256];
	int fds[128];
	uint64_t serials[128], generations[128];
	size_t workers;
	int32_t signals[128];
} heard;

static const struct amp_dispatch far_rows[] = {
	{.type = AMP_MSG_ENGINE_STATE, .descriptor = &amp__engine_state__descriptor, .max_length = 65000},
	{.type = AMP_MSG_WORKER,
	 .descriptor = &amp__worker__descriptor,
	 .max_length = 64,
	 .min_fds = 1,
	 .max_fds = 1},
	{.type = AMP_MSG_WORKER_GONE, .descriptor = &amp__worker_gone__descriptor, .max_length = 64},
};

static void hear_state(const Amp__EngineState *m)
{
	heard.state = m->state;
	heard.generation = m->generation;
	heard.signatures = m->signatures;
	heard.loading = m->loading;
	heard.sets = m->n_sets;
	snprintf(heard.refused, sizeof(heard.refused), "%s", m->refused);
	heard.path[0] = '\0';
	if (m->n_sets)
		snprintf(heard.path, sizeof(heard.path), "%.*s", (int)m->sets[0]->path.len,
			 (const char *)m->sets[0]->path.data);
}

static void hear(void)
{
	struct pollfd p = {.fd = far.fd, .events = POLLIN};
	struct amp_message m;
	const char *why;

	while (far.fd >= 0 && poll(&p, 1, 0) == 1) {
		if (wire_receive(&far, &m, &why) != 1)
			return;
		if (m.type == AMP_MSG_ENGINE_STATE) {
			hear_state((const Amp__EngineState *)m.body);
		} else if (m.type == AMP_MSG_WORKER) {
			heard.serials[heard.workers] = ((const Amp__Worker *)m.body)->serial;
			heard.generations[heard.workers] = ((const Amp__Worker *)m.body)->generation;
			heard.fds[heard.workers++] = m.fds[0];
		} else {
			heard.signals[heard.gone_count] = ((const Amp__WorkerGone *)m.body)->signal;
			heard.gone[heard.gone_count++] = ((const Amp__WorkerGone *)m.body)->serial;
		}
	}
}

static void on_pulse(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	(void)arg;
}

/* Turns the loop until it is so, or for too long. */
#define AWAIT(condition)                                                                                     \
	do {                                                                                                 \
		int64_t until = amp_clock_monotonic() + 120 * AMP_NS_PER_SEC;                                \
                                                                                                             \
		while (hear(), !(condition) && amp_clock_monotonic() < until)                                \
			event_base_loop(e.base, EVLOOP_ONCE);                                                \
		assert_true(condition);                                                                      \
	} while (0)

static void link_up(void)
{
	const struct amp_channel_config config = {.name = "test"};
	int pair[2];

	assert_int_equal(amp_channel_pair(pair), 0);
	e.link++;
	e.scand = amp_channel_new(e.base, pair[0], &config);
	assert_non_null(e.scand);
	assert_int_equal(wire_init(&far, pair[1], far_rows, 3), 0);
	engine_tell_state(&e);
}

static void link_down(void)
{
	amp_channel_free(e.scand);
	e.scand = NULL;
	close(far.fd);
	amp_arena_free(&far.arena);
	far.fd = -1;
	for (size_t i = 0; i < heard.workers; i++)
		if (heard.fds[i] >= 0)
			close(heard.fds[i]);
	memset(&heard, 0, sizeof(heard));
	fleet_link_ended(&e);
}

static void sign(const char *name, const char *more)
{
	char text[512];

	snprintf(text, sizeof(text), "%s%s", TESTFILE_HDB, more);
	write_file(place.sig, name, text, strlen(text));
}

static int setup(void **state)
{
	const struct timeval often = {.tv_usec = 5000};

	(void)state;
	memset(&e, 0, sizeof(e));
	memset(&heard, 0, sizeof(heard));
	fault_raised = hold = false;
	place_make(&place);
	e.dirs = place.dirs;
	e.workers_max = 2;
	e.base = event_base_new();
	pulse = event_new(e.base, -1, EV_PERSIST, on_pulse, NULL);
	if (!e.base || !pulse || event_add(pulse, &often) != 0)
		return -1;
	link_up();
	return watch_open(&e) == 0 && watch_start(&e) == 0 && fleet_start(&e) == 0 ? 0 : -1;
}

/* From here on it is loaded again when the test says so: not because directories have been quiet since. */
static void stop_watching(void)
{
	assert_int_equal(event_del(e.changed), 0);
	assert_int_equal(event_del(e.quiet), 0);
}

static int teardown(void **state)
{
	(void)state;
	stop_watching();
	link_down();
	for (struct zygote *z = e.zygotes; z; z = z->next) {
		z->killed = true;
		if (z->pid > 0)
			kill(z->pid, SIGKILL);
	}
	e.wanted = false;
	e.refused[0] = '\0';
	e.failures = UINT_MAX / 2; /* none is loaded again soon */
	AWAIT(!e.zygotes);
	for (unsigned i = 0; i < ENGINE_SLOTS; i++)
		assert_true(slot_is_empty(&place, i));
	event_free(pulse);
	event_free(e.go);
	event_free(e.bury);
	event_free(e.overdue);
	event_free(e.again);
	event_free(e.changed);
	event_free(e.quiet);
	event_base_free(e.base);
	close(e.inotify);
	place_free(&place);
	return 0;
}

static void start_ready(void)
{
	sign("test.hdb", "");
	assert_int_equal(sets_start(&e), 0);
	AWAIT(heard.state == AMP__ENGINE_STATE__STATE__READY);
}

static void assert_scans(size_t worker)
{
	struct verdict v;

	scan_data(heard.fds[worker], "fine", 4, &v);
	assert_int_equal(v.result, AMP__SCAN_VERDICT__RESULT__CLEAN);
}

static void retire(size_t worker)
{
	close(heard.fds[worker]);
	heard.fds[worker] = -1;
}

static void test_new_set(void **state)
{
	(void)state;
	start_ready();
	assert_int_equal(heard.generation, 1);
	assert_int_equal(heard.signatures, 1);
	assert_int_equal(heard.sets, 1);
	assert_non_null(strstr(heard.path, "/sig/test.hdb"));
	assert_false(fault_raised);
	fleet_spawn(&e, 2);
	AWAIT(heard.workers == 2);
	assert_scans(0);
	sign("test.hdb", "00000000000000000000000000000000:1:Other\n");
	AWAIT(heard.generation == 2); /* it is watched */
	assert_int_equal(heard.signatures, 2);
	assert_scans(0);
	fleet_spawn(&e, 1);
	AWAIT(heard.workers == 3);
	assert_int_equal(heard.generations[0], 1);
	assert_int_equal(heard.generations[2], 2);
	assert_scans(2);
	retire(0);
	AWAIT(heard.gone_count == 1);
	assert_int_equal(heard.gone[0], heard.serials[0]);
	assert_scans(1);
	retire(1);
	AWAIT(heard.gone_count == 2 && !e.zygotes->next);
	assert_int_equal(e.zygotes->generation, 2);
	sets_look(&e, true); /* no news */
	assert_null(e.loading);
}

static void test_refused(void **state)
{
	char path[128];

	(void)state;
	start_ready();
	write_file(place.sig, "bad.ndb", "no:signature\n", 13);
	sets_look(&e, false);
	AWAIT(heard.refused[0] && !heard.loading);
	assert_int_equal(heard.state, AMP__ENGINE_STATE__STATE__READY);
	assert_int_equal(heard.generation, 1);
	assert_true(fault_raised);
	assert_non_null(strstr(fault_text, "bad.ndb"));
	fleet_spawn(&e, 1);
	AWAIT(heard.workers == 1);
	assert_scans(0);
	sets_look(&e, false); /* not again, as long as they are the same */
	assert_null(e.loading);
	sets_look(&e, true);
	assert_non_null(e.loading);
	AWAIT(!heard.loading);
	assert_true(fault_raised);
	snprintf(path, sizeof(path), "%s/bad.ndb", place.sig);
	assert_int_equal(unlink(path), 0);
	sets_look(&e, false);
	AWAIT(!heard.refused[0]);
	assert_false(fault_raised);
	assert_int_equal(heard.generation, 1);
}

static void test_empty(void **state)
{
	char path[128];

	(void)state;
	assert_int_equal(sets_start(&e), 0);
	AWAIT(heard.state == AMP__ENGINE_STATE__STATE__EMPTY);
	assert_true(fault_raised);
	assert_non_null(strstr(fault_text, place.sig));
	fleet_spawn(&e, 1);
	sign("test.hdb", "");
	sets_look(&e, false);
	AWAIT(heard.state == AMP__ENGINE_STATE__STATE__READY);
	assert_false(fault_raised);
	assert_int_equal(heard.workers, 0);
	snprintf(path, sizeof(path), "%s/test.hdb", place.sig);
	assert_int_equal(unlink(path), 0);
	sets_look(&e, false);
	AWAIT(fault_raised);
	assert_int_equal(heard.state, AMP__ENGINE_STATE__STATE__READY); /* the old ones stay */
}

static void test_zygote_dies_in_use(void **state)
{
	struct verdict v;

	(void)state;
	start_ready();
	fleet_spawn(&e, 3);
	AWAIT(heard.workers == 3);
	for (size_t i = 0; i < 3; i++)
		assert_scans(i); /* else it may end by itself, at its start */
	kill(e.in_use->pid, SIGABRT);
	AWAIT(heard.state == AMP__ENGINE_STATE__STATE__LOADING);
	AWAIT(heard.gone_count == 3);
	for (size_t i = 0; i < 3; i++)
		assert_int_equal(heard.signals[i], SIGKILL);
	receive_verdict(heard.fds[0], 7, &v);
	assert_int_equal(v.result, AMP__SCAN_VERDICT__RESULT__NONE);
	AWAIT(heard.state == AMP__ENGINE_STATE__STATE__READY && heard.generation == 2);
	assert_false(fault_raised);
	fleet_spawn(&e, 1);
	AWAIT(heard.workers == 4);
	assert_scans(3);
	assert_int_equal(heard.gone_count, 3);
}

static void test_zygote_dies_loading(void **state)
{
	(void)state;
	sign("test.hdb", "");
	hold = true;
	assert_int_equal(sets_start(&e), 0);
	assert_int_equal(kill(held(), SIGABRT), 0);
	assert_int_equal(kill(e.loading->pid, SIGCONT), 0);
	AWAIT(heard.state == AMP__ENGINE_STATE__STATE__EMPTY);
	assert_string_equal(heard.refused, "died by signal 6 while loading");
	assert_true(fault_raised);
	sets_look(&e, false);
	assert_null(e.loading);
	sets_look(&e, true);
	AWAIT(heard.state == AMP__ENGINE_STATE__STATE__READY);
	assert_false(fault_raised);
}

/* Nothing is wrong with the set then. */
static void test_zygote_killed_loading(void **state)
{
	(void)state;
	sign("test.hdb", "");
	hold = true;
	assert_int_equal(sets_start(&e), 0);
	assert_int_equal(kill(held(), SIGKILL), 0);
	AWAIT(heard.state == AMP__ENGINE_STATE__STATE__READY);
	assert_false(fault_raised);
}

/* The room goes on; a reload gives it up. */
static void test_zygote_hangs(void **state)
{
	pid_t pid;

	(void)state;
	sign("test.hdb", "");
	hold = true;
	assert_int_equal(sets_start(&e), 0);
	pid = held();
	for (int i = 0; i < 50; i++)
		event_base_loop(e.base, EVLOOP_ONCE);
	assert_int_equal(e.loading->pid, pid);
	sets_look(&e, true);
	AWAIT(heard.state == AMP__ENGINE_STATE__STATE__READY);
	assert_false(fault_raised);
	assert_int_not_equal(e.in_use->pid, pid);
}

static void make_odd(const char *name, int kind)
{
	char path[PATH_MAX];

	snprintf(path, sizeof(path), "%s/%s", place.sig, name);
	if (kind == S_IFIFO)
		assert_int_equal(mkfifo(path, 0644), 0);
	else if (kind == S_IFDIR)
		assert_int_equal(mkdir(path, 0755), 0);
	else
		assert_int_equal(symlink("pipe", path), 0);
}

static void remove_odd(const char *name)
{
	char path[PATH_MAX];

	snprintf(path, sizeof(path), "%s/%s", place.sig, name);
	assert_int_equal(remove(path), 0);
}

static void expect_odd(const char *name)
{
	sets_look(&e, false);
	assert_null(e.loading);
	hear();
	assert_true(fault_raised);
	assert_non_null(strstr(fault_text, name));
	sets_look(&e, true);
	assert_null(e.loading);
	assert_int_equal(e.in_use->generation, 1);
}

/* libclamav opens whatever has such a name, and waits. */
static void test_odd(void **state)
{
	static const struct {
		const char *name;
		int kind;
	} odd[] = {{"x.ndb", S_IFIFO},
		   {"X.NDB", S_IFIFO},
		   {".cvd", S_IFIFO},
		   {"d.hdb", S_IFDIR},
		   {"l.hdb", S_IFLNK}};

	(void)state;
	start_ready();
	make_odd("pipe", S_IFIFO);
	for (size_t i = 0; i < sizeof(odd) / sizeof(odd[0]); i++) {
		make_odd(odd[i].name, odd[i].kind);
		expect_odd(odd[i].name);
		remove_odd(odd[i].name);
		sets_look(&e, false);
		assert_false(fault_raised); /* as before */
		assert_null(e.loading);
	}
	make_odd("x.ndb", S_IFIFO);
	sets_look(&e, false);
	sign("test.hdb", "00000000000000000000000000000000:1:Other\n");
	sets_look(&e, false);
	assert_true(fault_raised);
	/* The zygote's end does not load them either. */
	kill(e.in_use->pid, SIGABRT);
	AWAIT(heard.state == AMP__ENGINE_STATE__STATE__EMPTY);
	assert_true(fault_raised);
	remove_odd("x.ndb");
	sets_look(&e, false);
	AWAIT(heard.state == AMP__ENGINE_STATE__STATE__READY && heard.signatures == 2);
	assert_false(fault_raised);
}

/* What is loading goes on: it is of the time before. (Of that directory nothing is loaded.) */
static void test_odd_while_loading(void **state)
{
	static char second[PATH_MAX], path[PATH_MAX + 16];

	(void)state;
	snprintf(second, sizeof(second), "%s/second", place.root);
	snprintf(path, sizeof(path), "%s/x.ndb", second);
	assert_int_equal(mkdir(second, 0755), 0);
	e.dirs.host[1] = e.dirs.view[1] = second;
	e.dirs.count = 2;
	sign("test.hdb", "");
	assert_int_equal(sets_start(&e), 0);
	assert_int_equal(mkfifo(path, 0644), 0);
	sets_look(&e, false);
	assert_non_null(e.loading);
	assert_true(fault_raised);
	AWAIT(heard.state == AMP__ENGINE_STATE__STATE__READY);
	assert_true(fault_raised); /* of what is there now */
	assert_int_equal(unlink(path), 0);
	sets_look(&e, false);
	AWAIT(heard.state == AMP__ENGINE_STATE__STATE__READY && !fault_raised);
	assert_int_equal(heard.generation, 1);
}

/* Put there between the look and the load: it hangs, and the next look ends it. */
static void test_odd_in_between(void **state)
{
	(void)state;
	sign("test.hdb", "");
	hold = true;
	assert_int_equal(sets_start(&e), 0);
	assert_true(held() > 0);
	make_odd("x.ndb", S_IFIFO);
	{
		unsigned files;
		char odd[ADAPTER_TEXT];

		e.loading->fingerprint = watch_look(&e, &files, odd);
		assert_int_equal(files, 1);
		assert_non_null(strstr(odd, "x.ndb"));
	}
	sets_look(&e, false);
	AWAIT(heard.state == AMP__ENGINE_STATE__STATE__EMPTY);
	assert_true(fault_raised);
	assert_non_null(strstr(fault_text, "x.ndb"));
}

static void assert_steady(void)
{
	for (int i = 0; i < 50; i++)
		event_base_loop(e.base, EVLOOP_ONCE);
	hear();
}

/* Nobody reloads: it is refused, and as long as nothing changes not tried again. */
static void test_load_takes_too_long(void **state)
{
	(void)state;
	start_ready();
	e.load_ns = 300 * AMP_NS_PER_MS;
	sign("test.hdb", "00000000000000000000000000000000:1:Other\n");
	hold = true;
	sets_look(&e, false);
	held();
	AWAIT(fault_raised);
	assert_non_null(strstr(fault_text, "loading took longer than"));
	AWAIT(!e.loading);
	assert_int_equal(heard.generation, 1);
	assert_int_equal(heard.state, AMP__ENGINE_STATE__STATE__READY);
	sets_look(&e, false);
	assert_null(e.loading);
	e.load_ns = 120 * AMP_NS_PER_SEC;
	sign("test.hdb", "00000000000000000000000000000000:1:Corrected\n");
	sets_look(&e, false);
	AWAIT(heard.generation == 2);
	assert_false(fault_raised);
}

/* A corrected set does not wait for that; but one that is slow is not given up again and again. */
static void test_load_hurried(void **state)
{
	pid_t pid;

	(void)state;
	e.hurry_ns = 500 * AMP_NS_PER_MS;
	start_ready();
	sign("test.hdb", "00000000000000000000000000000000:1:Other\n");
	hold = true;
	sets_look(&e, false);
	pid = held();
	for (int i = 0; i < 4; i++)
		assert_steady();
	assert_int_equal(e.loading->pid, pid); /* alone it may take its time */
	hold = true;
	sign("test.hdb", "00000000000000000000000000000000:1:Corrected\n");
	sets_look(&e, false);
	assert_int_equal(e.loading->pid, pid);
	AWAIT(e.loading && e.loading->pid != pid);
	assert_false(fault_raised);
	pid = held();
	sign("test.hdb", "00000000000000000000000000000000:1:Third\n");
	sets_look(&e, false);
	for (int i = 0; i < 4; i++)
		assert_steady();
	assert_int_equal(e.loading->pid, pid);
	assert_int_equal(kill(pid, SIGCONT), 0);
	AWAIT(heard.generation == 3 && !e.wanted && !e.loading);
	assert_false(fault_raised);
}

/* Changed during the very first load, when none has to leave for the next. */
static void test_changed_while_loading(void **state)
{
	(void)state;
	sign("test.hdb", "");
	hold = true;
	assert_int_equal(sets_start(&e), 0);
	assert_true(held() > 0); /* it reads no half of a file */
	sign("test.hdb", "00000000000000000000000000000000:1:Other\n");
	e.loading->fingerprint++;
	stop_watching(); /* no other look */
	sets_look(&e, false);
	assert_int_equal(kill(e.loading->pid, SIGCONT), 0);
	AWAIT(heard.generation == 2 && heard.signatures == 2);
}

static void test_limit(void **state)
{
	(void)state;
	start_ready();
	fleet_spawn(&e, 100);
	AWAIT(heard.workers == 6); /* 2 * 2 + 2 */
	fleet_spawn(&e, 1);
	fleet_kill(&e, heard.serials[2]);
	AWAIT(heard.gone_count == 1);
	assert_int_equal(heard.gone[0], heard.serials[2]);
	assert_int_equal(heard.signals[0], SIGKILL);
	for (int i = 0; i < 20; i++)
		event_base_loop(e.base, EVLOOP_ONCE);
	hear();
	assert_int_equal(heard.workers, 6);
	fleet_spawn(&e, 1);
	AWAIT(heard.workers == 7);
	fleet_kill(&e, heard.serials[2]); /* nobody any more */
	fleet_kill(&e, 4711);
	assert_scans(6);
}

/* Those of a link that ended are killed and not told to the next; it gets its own at once. */
static void test_link(void **state)
{
	(void)state;
	start_ready();
	fleet_spawn(&e, 6);
	AWAIT(heard.workers == 6);
	link_down();
	link_up();
	fleet_spawn(&e, 6);
	AWAIT(heard.workers == 6);
	assert_int_equal(heard.state, AMP__ENGINE_STATE__STATE__READY);
	assert_int_equal(heard.gone_count, 0);
	assert_true(heard.serials[0] > 6);
	assert_scans(5);
}

static void test_after(void **state)
{
	uint64_t first;

	(void)state;
	e.reload_after = true;
	start_ready();
	first = e.in_use->number;
	fleet_spawn(&e, 1);
	AWAIT(heard.workers == 1);
	sign("test.hdb", "00000000000000000000000000000000:1:Other\n");
	sets_look(&e, false);
	AWAIT(heard.state == AMP__ENGINE_STATE__STATE__LOADING);
	assert_null(e.loading); /* the old one goes first, with its workers */
	assert_scans(0);
	fleet_spawn(&e, 1);
	retire(0);
	AWAIT(heard.state == AMP__ENGINE_STATE__STATE__READY);
	assert_int_equal(heard.generation, 2);
	assert_null(e.zygotes->next);
	assert_int_not_equal(e.zygotes->number, first);
	assert_int_equal(heard.workers, 1);
}

static unsigned open_fds(void)
{
	unsigned n = 0;

	for (int fd = 0; fd < 1024; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

/* A zygote that was taken over passes more than it may: nothing of it stays open here. */
static void test_zygote_passes_too_much(void **state)
{
	struct zygote_said s = {.kind = ZYGOTE_LOG, .number = AMP_LOG_DEBUG};
	union {
		char room[CMSG_SPACE(2 * sizeof(int))];
		struct cmsghdr align;
	} control = {.room = {0}};
	struct iovec v = {&s, sizeof(s)};
	struct msghdr m = {
		.msg_iov = &v, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)};
	const int passed[2] = {STDIN_FILENO, STDIN_FILENO};
	int pair[2];
	unsigned before;

	(void)state;
	start_ready();
	stop_watching();
	/* In its place: the room's end of it becomes one of ours. */
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair), 0);
	event_del(e.in_use->readable);
	assert_true(dup2(pair[0], e.in_use->fd) >= 0);
	assert_int_equal(event_add(e.in_use->readable, NULL), 0);
	close(pair[0]);
	before = open_fds();
	CMSG_FIRSTHDR(&m)->cmsg_level = SOL_SOCKET;
	CMSG_FIRSTHDR(&m)->cmsg_type = SCM_RIGHTS;
	CMSG_FIRSTHDR(&m)->cmsg_len = CMSG_LEN(sizeof(passed));
	memcpy(CMSG_DATA(CMSG_FIRSTHDR(&m)), passed, sizeof(passed));
	for (unsigned i = 0; i < 8; i++)
		assert_int_equal(sendmsg(pair[1], &m, MSG_NOSIGNAL), (ssize_t)sizeof(s));
	e.failures = UINT_MAX / 2; /* none is loaded again soon */
	AWAIT(heard.state == AMP__ENGINE_STATE__STATE__LOADING);
	assert_true(open_fds() < before); /* the link to it is closed, and nothing came */
	close(pair[1]);
}

/* From here on the zygote in use says and hears what we do; it is there, or it would be seen to end. */
static int stand_in(int *kept)
{
	int pair[2];

	start_ready();
	stop_watching();
	*kept = fcntl(e.in_use->fd, F_DUPFD_CLOEXEC, 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair), 0);
	event_del(e.in_use->readable);
	assert_true(dup2(pair[0], e.in_use->fd) >= 0);
	assert_int_equal(event_add(e.in_use->readable, NULL), 0);
	close(pair[0]);
	e.failures = UINT_MAX / 2; /* none is loaded again soon */
	return pair[1];
}

static void say_of_worker(int fd, enum zygote_kind kind, uint64_t serial, pid_t pid)
{
	struct zygote_said s = {.kind = kind, .serial = serial, .pid = pid, .number = ENOMEM};
	union {
		char room[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control = {.room = {0}};
	struct iovec v = {&s, sizeof(s)};
	struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1};
	const int passed = STDIN_FILENO;

	if (kind == ZYGOTE_WORKER) {
		m.msg_control = &control;
		m.msg_controllen = sizeof(control);
		CMSG_FIRSTHDR(&m)->cmsg_level = SOL_SOCKET;
		CMSG_FIRSTHDR(&m)->cmsg_type = SCM_RIGHTS;
		CMSG_FIRSTHDR(&m)->cmsg_len = CMSG_LEN(sizeof(passed));
		memcpy(CMSG_DATA(CMSG_FIRSTHDR(&m)), &passed, sizeof(passed));
	}
	assert_int_equal(sendmsg(fd, &m, MSG_NOSIGNAL), (ssize_t)sizeof(s));
}

static void test_zygote_tells_of_itself(void **state)
{
	int fd, kept;

	(void)state;
	fd = stand_in(&kept);
	fleet_spawn(&e, 1);
	say_of_worker(fd, ZYGOTE_WORKER, 1, e.in_use->pid);
	AWAIT(heard.state == AMP__ENGINE_STATE__STATE__LOADING && !e.zygotes);
	assert_int_equal(heard.workers, 0);
	close(fd);
	close(kept);
}

static void test_zygote_tells_of_one_twice(void **state)
{
	const pid_t any = 1 << 22; /* no pid at all */
	int fd, kept;

	(void)state;
	fd = stand_in(&kept);
	fleet_spawn(&e, 2);
	say_of_worker(fd, ZYGOTE_WORKER, 1, any);
	AWAIT(heard.workers == 1);
	say_of_worker(fd, ZYGOTE_WORKER, 2, any);
	AWAIT(heard.state == AMP__ENGINE_STATE__STATE__LOADING && !e.zygotes);
	assert_int_equal(heard.workers, 1);
	assert_int_equal(heard.gone_count, 1);
	close(fd);
	close(kept);
}

/* What was announced is told to be gone, and no other way. */
static void test_zygote_takes_a_worker_back(void **state)
{
	int fd, kept;

	(void)state;
	fd = stand_in(&kept);
	fleet_spawn(&e, 1);
	say_of_worker(fd, ZYGOTE_WORKER, 1, 1 << 22);
	AWAIT(heard.workers == 1);
	say_of_worker(fd, ZYGOTE_FAILED, 1, 0);
	AWAIT(heard.state == AMP__ENGINE_STATE__STATE__LOADING && !e.zygotes);
	assert_int_equal(heard.gone_count, 1);
	assert_int_equal(heard.gone[0], 1);
	close(fd);
	close(kept);
}

/* Once is no matter, for long it is. */
static void test_zygote_makes_no_workers(void **state)
{
	int fd, kept;

	(void)state;
	fd = stand_in(&kept);
	fleet_spawn(&e, 1);
	say_of_worker(fd, ZYGOTE_FAILED, 1, 0);
	AWAIT(e.workers[0].serial == 2);
	assert_int_equal(heard.state, AMP__ENGINE_STATE__STATE__READY);
	e.in_use->failing_ns -= 10 * AMP_NS_PER_SEC;
	say_of_worker(fd, ZYGOTE_FAILED, 2, 0);
	AWAIT(heard.state == AMP__ENGINE_STATE__STATE__LOADING && !e.zygotes);
	close(fd);
	close(kept);
}

static void test_zygote_does_not_answer(void **state)
{
	pid_t pid;

	(void)state;
	start_ready();
	pid = e.in_use->pid;
	assert_int_equal(kill(pid, SIGSTOP), 0);
	fleet_spawn(&e, 2);
	e.workers[1].asked_ns -= 10 * AMP_NS_PER_SEC;
	AWAIT(heard.generation == 2);
	AWAIT(kill(pid, 0) == -1);
	fleet_spawn(&e, 1);
	AWAIT(heard.workers >= 1);
	assert_scans(0);
}

/* All its group, that is: who is no worker too. */
static void test_zygote_leaves_others(void **state)
{
	pid_t group, other;

	(void)state;
	start_ready();
	group = e.in_use->pid;
	AWAIT(getpgid(group) == group);
	other = fork();
	if (other == 0)
		for (;;)
			(void)poll(NULL, 0, 1000);
	assert_int_equal(setpgid(other, group), 0);
	kill(group, SIGKILL);
	AWAIT(heard.generation == 2);
	AWAIT(kill(other, 0) == -1); /* and nobody's child any more */
}

/* Dead, in the zygote's group, and not reaped by its parent before it is told to. */
static void die_slowly(pid_t group, int told)
{
	pid_t pid = fork();
	char byte;

	if (pid == 0)
		for (;;)
			(void)poll(NULL, 0, 1000);
	if (setpgid(pid, group) != 0 || write(told, "", 1) != 1 || read(told, &byte, 1) != 1)
		_exit(1);
	_exit(waitpid(pid, NULL, 0) == pid ? 0 : 1);
}

/* It takes its time where others have the processors: the room waits for it, and is none the worse. */
static void test_zygote_is_long_in_dying(void **state)
{
	int pair[2];
	pid_t group;
	char byte;

	(void)state;
	start_ready();
	stop_watching();
	group = e.in_use->pid;
	AWAIT(getpgid(group) == group);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	if (fork() == 0) {
		close(pair[0]); /* it ends with us */
		die_slowly(group, pair[1]);
	}
	close(pair[1]);
	assert_int_equal(read(pair[0], &byte, 1), 1);
	kill(group, SIGKILL);
	AWAIT(heard.state == AMP__ENGINE_STATE__STATE__LOADING);
	amp_clock_freeze(amp_clock_monotonic() + 40 * AMP_NS_PER_SEC, amp_clock_realtime());
	assert_steady();
	amp_clock_release();
	assert_non_null(e.zygotes);
	assert_null(e.loading); /* no more than two sets are in memory */
	assert_int_equal(write(pair[0], "", 1), 1);
	AWAIT(heard.generation == 2);
	close(pair[0]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_new_set, setup, teardown),
		cmocka_unit_test_setup_teardown(test_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(test_empty, setup, teardown),
		cmocka_unit_test_setup_teardown(test_zygote_dies_in_use, setup, teardown),
		cmocka_unit_test_setup_teardown(test_zygote_dies_loading, setup, teardown),
		cmocka_unit_test_setup_teardown(test_zygote_killed_loading, setup, teardown),
		cmocka_unit_test_setup_teardown(test_zygote_hangs, setup, teardown),
		cmocka_unit_test_setup_teardown(test_odd, setup, teardown),
		cmocka_unit_test_setup_teardown(test_odd_while_loading, setup, teardown),
		cmocka_unit_test_setup_teardown(test_odd_in_between, setup, teardown),
		cmocka_unit_test_setup_teardown(test_load_takes_too_long, setup, teardown),
		cmocka_unit_test_setup_teardown(test_load_hurried, setup, teardown),
		cmocka_unit_test_setup_teardown(test_changed_while_loading, setup, teardown),
		cmocka_unit_test_setup_teardown(test_limit, setup, teardown),
		cmocka_unit_test_setup_teardown(test_link, setup, teardown),
		cmocka_unit_test_setup_teardown(test_after, setup, teardown),
		cmocka_unit_test_setup_teardown(test_zygote_passes_too_much, setup, teardown),
		cmocka_unit_test_setup_teardown(test_zygote_tells_of_itself, setup, teardown),
		cmocka_unit_test_setup_teardown(test_zygote_tells_of_one_twice, setup, teardown),
		cmocka_unit_test_setup_teardown(test_zygote_takes_a_worker_back, setup, teardown),
		cmocka_unit_test_setup_teardown(test_zygote_makes_no_workers, setup, teardown),
		cmocka_unit_test_setup_teardown(test_zygote_does_not_answer, setup, teardown),
		cmocka_unit_test_setup_teardown(test_zygote_leaves_others, setup, teardown),
		cmocka_unit_test_setup_teardown(test_zygote_is_long_in_dying, setup, teardown),
	};

	if (amp_sha256_setup() != 0 || adapter_setup() != 0 ||
	    prctl(PR_SET_CHILD_SUBREAPER, 1L, 0L, 0L, 0L) != 0 ||
	    prctl(PR_SET_NO_NEW_PRIVS, 1L, 0L, 0L, 0L) != 0)
		return 1;
	amp_log_open("engine", STDERR_FILENO, AMP_LOG_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
