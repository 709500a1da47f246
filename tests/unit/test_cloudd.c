/*
 * tests/unit/test_cloudd.c - the program ampcloudd behind its walls; this test
 * is its ampmon, its ampscand and its ampcli. What the filter, the view or
 * Landlock forbid SQLite shows here. Needs root for the drop.
 */
#include "cloudtest.h"

#include "channel.h"
#include "fault.h"
#include "role.h"

#include "proto/cli.pb-c.h"
#include "proto/control.pb-c.h"
#include "tests/unit/skip.h"

#include <signal.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>

#define ROOM_ID 64321 /* user and group of the room: nobody's */
#define T0	(INT64_C(1700000000) * 1000000000)

struct bench {
	struct test_dir data, other; /* other: view, log, socket */
	struct event_base *base;
	struct amp_channel *control, *link, *keeper, *cli; /* link: ampscand's, keeper: ampquard's */
	struct sockaddr_un address;
	pid_t pid;
	unsigned ready, pongs, hostile, link_ended, control_ended;
	uint32_t hostile_role;
	unsigned acked, acked_keeper, acked_ampmon, statuses, entries;
	bool fault[AMP_FAULT_MAX];
	char detail[AMP_FAULT_MAX][1024];
	char ids[128][64];
	uint64_t lost;
};

/* --- what comes back ---------------------------------------------------- */

static int on_ready(struct amp_channel *ch, struct amp_message *m, void *arg)
{
	(void)ch;
	(void)m;
	((struct bench *)arg)->ready++;
	return 0;
}

static int on_pong(struct amp_channel *ch, struct amp_message *m, void *arg)
{
	(void)ch;
	(void)m;
	((struct bench *)arg)->pongs++;
	return 0;
}

static int on_hostile(struct amp_channel *ch, struct amp_message *m, void *arg)
{
	const Amp__PeerHostile *h = (const Amp__PeerHostile *)m->body;

	(void)ch;
	((struct bench *)arg)->hostile_role = h->role;
	((struct bench *)arg)->hostile = h->generation;
	return 0;
}

static int on_fault(struct amp_channel *ch, struct amp_message *m, void *arg)
{
	struct bench *b = arg;
	const Amp__Fault *f = (const Amp__Fault *)m->body;

	(void)ch;
	assert_in_range(f->number, 1, AMP_FAULT_MAX - 1);
	b->fault[f->number] = f->raised;
	snprintf(b->detail[f->number], sizeof(b->detail[0]), "%s", f->detail);
	return 0;
}

static int on_ack(struct amp_channel *ch, struct amp_message *m, void *arg)
{
	struct bench *b = arg;
	const Amp__EventAck *a = (const Amp__EventAck *)m->body;

	if (ch == b->control)
		b->acked_ampmon += (unsigned)a->n_ids;
	else if (ch == b->keeper)
		b->acked_keeper += (unsigned)a->n_ids;
	else
		b->acked += (unsigned)a->n_ids;
	return 0;
}

static int on_status(struct amp_channel *ch, struct amp_message *m, void *arg)
{
	struct bench *b = arg;
	const Amp__CliStatusReply *r = (const Amp__CliStatusReply *)m->body;

	(void)ch;
	assert_string_equal(r->service, "ampcloudd");
	assert_true(r->n_counters > 0);
	b->lost = 0;
	for (size_t i = 0; i < r->n_counters; i++)
		if (strcmp(r->counters[i]->name, "events.pruned") == 0)
			b->lost = r->counters[i]->value;
	b->statuses++;
	return 0;
}

static int on_history(struct amp_channel *ch, struct amp_message *m, void *arg)
{
	struct bench *b = arg;
	const Amp__CliHistoryReply *r = (const Amp__CliHistoryReply *)m->body;

	(void)ch;
	b->entries = (unsigned)r->n_entries;
	for (size_t i = 0; i < r->n_entries; i++)
		snprintf(b->ids[i], sizeof(b->ids[0]), "%s", r->entries[i]->id);
	b->statuses++;
	return 0;
}

#define BIG (AMP_MSG_MAX - 16)
static const struct amp_dispatch control_rows[] = {
	{AMP_MSG_READY, &amp__ready__descriptor, BIG, 0, 0, 0, on_ready},
	{AMP_MSG_PONG, &amp__pong__descriptor, BIG, 0, 0, 0, on_pong},
	{AMP_MSG_PEER_HOSTILE, &amp__peer_hostile__descriptor, BIG, 0, 0, 0, on_hostile},
	{AMP_MSG_FAULT, &amp__fault__descriptor, BIG, 0, 0, 0, on_fault},
	{AMP_MSG_EVENT_ACK, &amp__event_ack__descriptor, BIG, 0, 0, 0, on_ack},
};
static const struct amp_dispatch link_rows[] = {
	{AMP_MSG_EVENT_ACK, &amp__event_ack__descriptor, BIG, 0, 0, 0, on_ack},
};
static const struct amp_dispatch cli_rows[] = {
	{AMP_MSG_CLI_STATUS_REPLY, &amp__cli_status_reply__descriptor, BIG, 0, 0, 0, on_status},
	{AMP_MSG_CLI_HISTORY_REPLY, &amp__cli_history_reply__descriptor, BIG, 0, 0, 0, on_history},
};

static void on_end(struct amp_channel *ch, enum amp_channel_end end, const char *why, void *arg)
{
	struct bench *b = arg;

	if (end == AMP_CHANNEL_HOSTILE)
		fail_msg("%s: %s", amp_channel_name(ch), why);
	if (ch == b->control)
		b->control_ended++;
	else
		b->link_ended++;
}

static struct amp_channel *channel(struct bench *b, const char *name, int fd, const struct amp_dispatch *rows,
				   size_t n)
{
	const struct amp_channel_config c = {
		.name = name, .table = rows, .rows = n, .on_end = on_end, .arg = b};
	struct amp_channel *ch = amp_channel_new(b->base, fd, &c);

	assert_non_null(ch);
	return ch;
}

static void turns(struct bench *b, unsigned n)
{
	const struct timespec nap = {.tv_nsec = 2000000};

	while (n-- > 0) {
		event_base_loop(b->base, EVLOOP_NONBLOCK);
		nanosleep(&nap, NULL);
	}
}

/* A minute at least for a value to get there. */
#define TURNS 30000

static bool reaches(struct bench *b, const unsigned *value, unsigned wanted)
{
	for (int i = 0; i < TURNS && *value < wanted; i++)
		turns(b, 1);
	return *value >= wanted;
}

static bool fault_is(struct bench *b, enum amp_fault_number n, bool raised)
{
	for (int i = 0; i < TURNS && b->fault[n] != raised; i++)
		turns(b, 1);
	return b->fault[n] == raised;
}

/* --- the room ------------------------------------------------------------ */

/* The program beside this one in the build directory. */
static void program_path(char *buf, size_t size)
{
	char self[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);

	assert_true(n > 0);
	self[n] = '\0';
	for (int i = 0; i < 3; i++)
		*strrchr(self, '/') = '\0'; /* tests/unit/test_cloudd */
	snprintf(buf, size, "%.*s/ampcloudd/ampcloudd", PATH_MAX - 32, self);
}

static void exec_room(int control, int log, int listener)
{
	char program[PATH_MAX];
	/* Above what they become, so that none is overwritten. */
	int fds[3] = {fcntl(control, F_DUPFD, 20), fcntl(log, F_DUPFD, 20), fcntl(listener, F_DUPFD, 20)};

	program_path(program, sizeof(program));
	/* A sanitizer's search for leaks forks and traces, which the filter kills. */
	setenv("ASAN_OPTIONS", "detect_leaks=0", 1);
	for (int i = 0; i < 3; i++)
		dup2(fds[i], AMP_FD_CONTROL + i);
	close_range(AMP_FD_CLI + 1, ~0U, 0);
	execl(program, "ampcloudd", (char *)NULL);
	_exit(126);
}

static int listener(struct bench *b)
{
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	b->address = (struct sockaddr_un){.sun_family = AF_UNIX};
	snprintf(b->address.sun_path, sizeof(b->address.sun_path), "%s", dir_file(&b->other, "socket"));
	unlink(b->address.sun_path);
	assert_int_equal(bind(fd, (struct sockaddr *)&b->address, sizeof(b->address)), 0);
	assert_int_equal(listen(fd, 4), 0);
	return fd;
}

static void send_conf(struct bench *b, uint64_t max_rows)
{
	Amp__Conf c = AMP__CONF__INIT;
	char view[128];

	snprintf(view, sizeof(view), "%s", dir_file(&b->other, "view"));
	mkdir(view, 0755);
	c.generation = 1;
	c.log_level = 3;
	c.host_id = (char *)(uintptr_t)UUID_A;
	c.uid = ROOM_ID;
	c.gid = ROOM_ID;
	c.cli_gid = UINT32_MAX;
	c.view_dir = (ProtobufCBinaryData){strlen(view), (uint8_t *)view};
	c.data_dir = (ProtobufCBinaryData){strlen(b->data.path), (uint8_t *)b->data.path};
	c.history_max_rows = max_rows;
	assert_int_equal(amp_channel_send(b->control, AMP_MSG_CONF, 0, &c.base, NULL, 0), 0);
}

static void link_to(struct bench *b, struct amp_channel **ch, enum amp_role_id role, unsigned generation)
{
	Amp__Link l = AMP__LINK__INIT;
	int pair[2];

	if (*ch)
		amp_channel_free(*ch);
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	l.role = role;
	l.generation = generation;
	l.pid = getpid();
	*ch = channel(b, "link", pair[0], link_rows, 1);
	assert_int_equal(amp_channel_send(b->control, AMP_MSG_LINK, 0, &l.base, &pair[1], 1), 0);
	close(pair[1]);
}

static void new_link(struct bench *b, unsigned generation)
{
	link_to(b, &b->link, AMP_ROLE_SCAN, generation);
}

static void new_keeper(struct bench *b, unsigned generation)
{
	link_to(b, &b->keeper, AMP_ROLE_QUARD, generation);
}

static void connect_cli(struct bench *b)
{
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	if (b->cli)
		amp_channel_free(b->cli);
	assert_int_equal(connect(fd, (struct sockaddr *)&b->address, sizeof(b->address)), 0);
	b->cli = channel(b, "cli", fd, cli_rows, 2);
}

static void show_log(struct bench *b)
{
	char line[512];
	FILE *f = fopen(dir_file(&b->other, "log"), "re");

	while (f && fgets(line, sizeof(line), f))
		print_message("%s", line);
	if (f)
		fclose(f);
}

static void start(struct bench *b, uint64_t max_rows)
{
	int pair[2], log = open(dir_file(&b->other, "log"), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	int listen_fd = listener(b);

	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	b->pid = fork();
	assert_true(b->pid >= 0);
	if (b->pid == 0)
		exec_room(pair[1], log, listen_fd);
	close(pair[1]);
	close(log);
	close(listen_fd);
	b->control =
		channel(b, "control", pair[0], control_rows, sizeof(control_rows) / sizeof(*control_rows));
	send_conf(b, max_rows);
	if (!reaches(b, &b->ready, 1)) {
		show_log(b);
		fail_msg("the room did not become ready");
	}
	new_link(b, 1);
	new_keeper(b, 1);
	connect_cli(b);
}

/* Exit status of the room, -signal if it was killed. */
static int status_of(struct bench *b)
{
	int status;

	assert_int_equal(waitpid(b->pid, &status, 0), b->pid);
	amp_channel_free(b->control);
	amp_channel_free(b->link);
	amp_channel_free(b->keeper);
	amp_channel_free(b->cli);
	b->control = b->link = b->keeper = b->cli = NULL;
	b->ready = 0;
	return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

static void stop(struct bench *b)
{
	Amp__Stop s = AMP__STOP__INIT;
	int status;

	assert_int_equal(amp_channel_send(b->control, AMP_MSG_STOP, 0, &s.base, NULL, 0), 0);
	event_base_loop(b->base, EVLOOP_NONBLOCK);
	status = status_of(b);
	if (status != 0) {
		show_log(b);
		fail_msg("the room ended with %d", status);
	}
}

/* small_kib 0: the data directory is on the disk. */
static struct bench *bench(unsigned small_kib)
{
	struct bench *b;

	if (getuid() != 0) {
		print_message("NOT TESTED, ampcloudd behind its walls: run as root\n");
		return NULL;
	}
	b = calloc(1, sizeof(*b));
	assert_non_null(b);
	if (small_kib == 0) {
		dir_make(&b->data);
	} else if (!dir_small(&b->data, small_kib)) {
		dir_remove(&b->data);
		free(b);
		return NULL;
	}
	dir_make(&b->other);
	assert_int_equal(chmod(b->other.path, 0755), 0);
	assert_int_equal(chown(b->data.path, ROOM_ID, ROOM_ID), 0);
	assert_int_equal(chmod(b->data.path, 0700), 0);
	b->base = event_base_new();
	return b;
}

static void teardown(struct bench *b)
{
	event_base_free(b->base);
	dir_remove(&b->data);
	dir_remove(&b->other);
	free(b);
}

static void offer(struct bench *b, struct amp_channel *ch, uint64_t id, const char *uid, size_t path_size)
{
	static uint8_t path[32768];
	Amp__Event e = make_event(uid, "threat_detected", T0 + (int64_t)id, 3);

	(void)b;
	memset(path, 'p', sizeof(path));
	e.path = (ProtobufCBinaryData){path_size, path};
	assert_int_equal(amp_channel_send(ch, AMP_MSG_EVENT, id, &e.base, NULL, 0), 0);
}

static void offer_many(struct bench *b, unsigned from, unsigned n, size_t path_size)
{
	char uid[32];

	for (unsigned i = from; i < from + n; i++) {
		snprintf(uid, sizeof(uid), "u%u", i);
		offer(b, b->link, i, uid, path_size);
	}
}

static void ask_status(struct bench *b)
{
	Amp__CliStatus q = AMP__CLI_STATUS__INIT;

	assert_int_equal(amp_channel_send(b->cli, AMP_MSG_CLI_STATUS, 1, &q.base, NULL, 0), 0);
	assert_true(reaches(b, &b->statuses, b->statuses + 1));
}

static void ask_history(struct bench *b)
{
	Amp__CliHistory q = AMP__CLI_HISTORY__INIT;

	assert_int_equal(amp_channel_send(b->cli, AMP_MSG_CLI_HISTORY, 1, &q.base, NULL, 0), 0);
	assert_true(reaches(b, &b->statuses, b->statuses + 1));
}

/* --- the tests ------------------------------------------------------------ */

static void test_a_life(void **state)
{
	struct bench *b = bench(0);
	Amp__Ping ping = AMP__PING__INIT;
	struct stat st;

	(void)state;
	if (!b)
		SKIP_WITHOUT("root");
	start(b, 0);
	offer(b, b->link, 1, "from-scand", 100);
	offer(b, b->control, 1, "from-ampmon", 0);
	assert_true(reaches(b, &b->acked, 1));
	assert_true(reaches(b, &b->acked_ampmon, 1));
	ask_history(b);
	assert_int_equal(b->entries, 2);
	ask_status(b);
	assert_int_equal(amp_channel_send(b->control, AMP_MSG_PING, 3, &ping.base, NULL, 0), 0);
	assert_true(reaches(b, &b->pongs, 1));
	stop(b);
	assert_int_equal(stat(dir_file(&b->data, "events.db"), &st), 0);
	assert_int_equal(st.st_uid, ROOM_ID);
	assert_int_equal(st.st_mode & 077, 0);
	assert_int_equal(access(dir_file(&b->data, "events.db-wal"), F_OK), -1);
	assert_int_equal(stat(dir_file(&b->data, "events.reserve"), &st), 0);
	assert_true(st.st_blocks * 512 >= 1 << 20);
	start(b, 0);
	offer(b, b->link, 1, "from-scand", 100); /* the same again, to a successor */
	assert_true(reaches(b, &b->acked, 2));
	ask_history(b);
	assert_int_equal(b->entries, 2);
	stop(b);
	teardown(b);
}

/* A peer that breaks the rules loses its link; the room lives and takes the next. */
static void test_hostile_peer(void **state)
{
	struct bench *b = bench(0);

	(void)state;
	if (!b)
		SKIP_WITHOUT("root");
	start(b, 0);
	new_link(b, 41);
	offer(b, b->link, 1, "bad#uid", 0);
	assert_true(reaches(b, &b->hostile, 41));
	assert_int_equal(b->hostile_role, AMP_ROLE_SCAN);
	assert_true(reaches(b, &b->link_ended, 1));
	new_link(b, 42);
	offer(b, b->link, 1, "good", 0);
	assert_true(reaches(b, &b->acked, 1));
	stop(b);
	teardown(b);
}

/* Each peer is answered on its own link and pays for its own faults; a new link gets no old answers. */
static void test_two_peers(void **state)
{
	struct bench *b = bench(0);

	(void)state;
	if (!b)
		SKIP_WITHOUT("root");
	start(b, 0);
	offer(b, b->link, 1, "of-scand", 0);
	offer(b, b->keeper, 1, "of-quard", 0);
	offer(b, b->keeper, 2, "of-quard-2", 0);
	assert_true(reaches(b, &b->acked, 1));
	assert_true(reaches(b, &b->acked_keeper, 2));
	new_keeper(b, 7);
	offer(b, b->keeper, 1, "bad#uid", 0);
	assert_true(reaches(b, &b->hostile, 7));
	assert_int_equal(b->hostile_role, AMP_ROLE_QUARD);
	assert_true(reaches(b, &b->link_ended, 1));
	offer(b, b->link, 2, "of-scand-2", 0); /* the other's link stands */
	assert_true(reaches(b, &b->acked, 2));
	new_keeper(b, 8);
	offer(b, b->keeper, 1, "of-quard-3", 0);
	assert_true(reaches(b, &b->acked_keeper, 3));
	ask_history(b); /* what was answered before is here by then */
	assert_int_equal(b->entries, 5);
	turns(b, 50);
	assert_int_equal(b->acked, 2);
	assert_int_equal(b->acked_keeper, 3);
	stop(b);
	teardown(b);
}

static void give_events_file(struct bench *b, const char *name, const char *before)
{
	const int flags = O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC;
	Amp__EventsFile body = AMP__EVENTS_FILE__INIT;
	int fds[2] = {open(dir_file(&b->other, name), flags, 0600), -1};

	if (before)
		fds[1] = open(dir_file(&b->other, before), O_RDONLY | O_CLOEXEC);
	assert_int_equal(
		amp_channel_send(b->control, AMP_MSG_EVENTS_FILE, 0, &body.base, fds, before ? 2 : 1), 0);
	close(fds[0]);
	if (before)
		close(fds[1]);
}

static unsigned lines_in(const struct bench *b, const char *name)
{
	FILE *f = fopen(dir_file(&b->other, name), "re");
	unsigned n = 0;

	for (int c; f && (c = getc(f)) != EOF;)
		n += c == '\n';
	if (f)
		fclose(f);
	return n;
}

static bool lines_reach(struct bench *b, const char *name, unsigned n)
{
	for (int i = 0; i < TURNS && lines_in(b, name) < n; i++)
		turns(b, 1);
	return lines_in(b, name) == n;
}

/* Behind the walls: the filter lets it be written, replaced, read back and synced. */
static void test_events_json(void **state)
{
	struct bench *b = bench(0);

	(void)state;
	if (!b)
		SKIP_WITHOUT("root");
	start(b, 0);
	offer_many(b, 1, 5, 100);
	assert_true(reaches(b, &b->acked, 5));
	give_events_file(b, "events.json", NULL);
	assert_true(lines_reach(b, "events.json", 5));
	offer(b, b->control, 1, "of-ampmon", 0);
	assert_true(lines_reach(b, "events.json", 6));
	assert_int_equal(rename(dir_file(&b->other, "events.json"), dir_file(&b->other, "events.json.1")), 0);
	offer_many(b, 10, 5, 100);
	give_events_file(b, "events.json", "events.json.1");
	offer_many(b, 20, 1000, 100);
	assert_true(reaches(b, &b->acked, 1010));
	for (int i = 0; i < TURNS && lines_in(b, "events.json") + lines_in(b, "events.json.1") < 1011; i++)
		turns(b, 1);
	kill(b->pid, SIGKILL);
	assert_int_equal(status_of(b), -SIGKILL);
	start(b, 0);
	give_events_file(b, "events.json", "events.json.1");
	offer_many(b, 2000, 1, 100);
	assert_true(lines_reach(b, "events.json", 1012 - lines_in(b, "events.json.1")));
	stop(b);
	assert_int_equal(lines_in(b, "events.json") + lines_in(b, "events.json.1"), 1012);
	teardown(b);
}

/* Killed with events in hand: what was acknowledged is there. */
static void test_killed(void **state)
{
	struct bench *b = bench(0);
	unsigned acked;

	(void)state;
	if (!b)
		SKIP_WITHOUT("root");
	start(b, 0);
	offer_many(b, 1, 50, 10);
	assert_true(reaches(b, &b->acked, 1));
	kill(b->pid, SIGKILL);
	assert_int_equal(status_of(b), -SIGKILL);
	acked = b->acked;
	start(b, 0);
	ask_history(b);
	assert_true(b->entries >= acked);
	offer_many(b, 1, 50, 10);
	assert_true(reaches(b, &b->acked, acked + 50));
	ask_history(b);
	assert_int_equal(b->entries, 50);
	stop(b);
	teardown(b);
}

static void test_prunes(void **state)
{
	struct bench *b = bench(0);

	(void)state;
	if (!b)
		SKIP_WITHOUT("root");
	start(b, 20);
	offer_many(b, 1, 100, 10);
	assert_true(reaches(b, &b->acked, 100));
	for (int i = 0; i < TURNS && b->lost < 80; i++)
		ask_status(b);
	assert_int_equal(b->lost, 80);
	ask_history(b);
	assert_int_equal(b->entries, 20);
	assert_string_equal(b->ids[0], "u100");
	stop(b);
	teardown(b);
}

static void test_broken_database(void **state)
{
	struct bench *b = bench(0);

	(void)state;
	if (!b)
		SKIP_WITHOUT("root");
	write_text(dir_file(&b->data, "events.db"),
		   "no database at all, but long enough to be looked at: "
		   "one hundred bytes make a header, so here they are, all.");
	assert_int_equal(chown(dir_file(&b->data, "events.db"), ROOM_ID, ROOM_ID), 0);
	start(b, 0);
	offer_many(b, 1, 3, 10);
	assert_true(reaches(b, &b->acked, 3));
	assert_true(fault_is(b, AMP_FAULT_DATABASE_BROKEN, true));
	assert_non_null(strstr(b->detail[AMP_FAULT_DATABASE_BROKEN], b->data.path)); /* the host's name */
	assert_int_equal(unlink(dir_file(&b->data, "events.db.broken-1")), 0);
	ask_status(b);
	assert_true(fault_is(b, AMP_FAULT_DATABASE_BROKEN, false));
	stop(b);
	teardown(b);
}

static bool waits(const struct bench *b)
{
	return strstr(b->detail[AMP_FAULT_DATABASE_FULL], "events wait") != NULL;
}

static void test_full_disk(void **state)
{
	struct bench *b = bench(8192);
	unsigned sent = 0;

	(void)state;
	if (!b)
		SKIP_WITHOUT("root");
	start(b, 0);
	offer_many(b, 0, 1, 10);
	assert_true(reaches(b, &b->acked, 1));
	dir_fill(&b->data);
	/* Each is kept, or it waits. */
	while (!waits(b) && sent < 200) {
		offer_many(b, ++sent, 1, 32768);
		for (int i = 0; i < TURNS && b->acked < 1 + sent && !waits(b); i++)
			turns(b, 1);
	}
	assert_true(waits(b));
	assert_true(b->fault[AMP_FAULT_DATABASE_FULL]);
	assert_true(b->acked < 1 + sent);
	dir_drain(&b->data);
	assert_true(reaches(b, &b->acked, 1 + sent));
	assert_true(fault_is(b, AMP_FAULT_DATABASE_FULL, false));
	stop(b);
	teardown(b);
}

/* ampmon gone: the room is gone within a second. */
static void test_orphaned(void **state)
{
	struct bench *b = bench(0);

	(void)state;
	if (!b)
		SKIP_WITHOUT("root");
	start(b, 0);
	shutdown(amp_channel_fd(b->control), SHUT_RDWR);
	assert_int_equal(status_of(b), 0);
	teardown(b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_life),		cmocka_unit_test(test_hostile_peer),
		cmocka_unit_test(test_killed),		cmocka_unit_test(test_prunes),
		cmocka_unit_test(test_broken_database), cmocka_unit_test(test_full_disk),
		cmocka_unit_test(test_orphaned),	cmocka_unit_test(test_two_peers),
		cmocka_unit_test(test_events_json),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
