/*
 * tests/unit/test_room.c - the life of a room as ampmon sees it.
 *
 * Owns: a child that runs amp_room_main with a drop of this file's own (the
 * real one has tests of its own), and ampmon's end of its control channel.
 */
#include "log.h"
#include "room.h"

#include "proto/cli.pb-c.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/unit/skip.h"

#define UUID "0b1f4e2a-0000-8000-8000-000000000001"

/* Shared with the child. */
static struct shared {
	char steps[128]; /* one letter a callback, in order */
	char wall[16];	 /* set: the drop fails with it */
	uid_t uid;
	char data_dir[32];
	bool fail_open;
} * shared;

static void step(const char *letter)
{
	strcat(shared->steps, letter);
}

/* In place of lib/drop.c. */
int amp_drop(const struct amp_drop *d, const char **wall)
{
	step("d");
	shared->uid = d->uid;
	snprintf(shared->data_dir, sizeof(shared->data_dir), "%s", d->data_dir ? d->data_dir : "none");
	if (d->before_seal(d->arg) < 0)
		return -1;
	if (!shared->wall[0])
		return 0;
	*wall = shared->wall;
	errno = EPERM;
	return -1;
}

int amp_drop_landlock_abi(void)
{
	return 3;
}

/* --- the room under test ------------------------------------------------- */

static int room_open(struct amp_room *room, const Amp__Conf *conf)
{
	step("o");
	if (strcmp(conf->host_id, UUID) != 0 || strcmp(amp_room_host_id(room), UUID) != 0 ||
	    amp_room_arg(room) != shared)
		step("!");
	return shared->fail_open ? -1 : 0;
}

static int room_before_seal(struct amp_room *room)
{
	(void)room;
	step("b");
	return 0;
}

static int room_ready(struct amp_room *room)
{
	step("r");
	amp_room_feature(room, "pidfd events", true);
	amp_room_feature(room, "pidfd events", true);
	amp_room_feature(room, "handles", false);
	return 0;
}

static void room_start(struct amp_room *room)
{
	step("s");
	amp_room_fault(room, AMP_FAULT_REPAIR_FAILED, true, "/srv/caf\xe9");
	amp_room_hostile(room, AMP_ROLE_SCAN, 0, 7, "sent rubbish");
}

/* Answers on the link with who it is from. */
static void room_link(struct amp_room *room, enum amp_role_id peer, unsigned instance, unsigned generation,
		      int fd)
{
	char text[64];

	step("l");
	snprintf(text, sizeof(text), "%u<-%d/%u/%u by %d", amp_room_instance(room), (int)peer, instance,
		 generation, (int)amp_room_peer_pid(room));
	send(fd, text, strlen(text), MSG_NOSIGNAL);
	close(fd);
}

static void room_stop(struct amp_room *room)
{
	amp_room_fault(room, AMP_FAULT_REPAIR_FAILED, false, "stopping");
	step("x");
}

static int on_walk(struct amp_channel *ch, struct amp_message *m, void *arg)
{
	(void)m;
	step(ch == amp_room_control(arg) ? "w" : "!");
	return 0;
}

static const struct amp_dispatch control[] = {
	{AMP_MSG_FILESYSTEM_GONE, &amp__filesystem_gone__descriptor, 16, 0, 0, 0, on_walk},
	/* Never reached: CONF is a common row. */
	{AMP_MSG_CONF, &amp__conf__descriptor, 1000, 0, 0, 0, on_walk},
};

static int on_cli(struct amp_channel *ch, struct amp_message *m, void *arg)
{
	Amp__CliStatusReply r = AMP__CLI_STATUS_REPLY__INIT;

	(void)arg;
	r.service = (char[]){"room"};
	return amp_channel_send(ch, AMP_MSG_CLI_STATUS_REPLY, m->id, &r.base, NULL, 0);
}

static const struct amp_dispatch cli[] = {
	{AMP_MSG_CLI_STATUS, &amp__cli_status__descriptor, 0, 0, 0, 0, on_cli},
};

static struct amp_room_ops ops = {
	.open = room_open,
	.before_seal = room_before_seal,
	.ready = room_ready,
	.start = room_start,
	.link = room_link,
	.control = control,
	.control_rows = 2,
	.cli = cli,
	.cli_rows = 1,
	.stop = room_stop,
};

/* --- ampmon's side --------------------------------------------------------- */

static int mon, listener = -1;
static pid_t child;
static char log_path[] = "/tmp/test_room.XXXXXX", log_after[64], socket_path[64];

static void run_room(int control_end, int log)
{
	/* Out of the way of 3 to 5 first. */
	int c = fcntl(control_end, F_DUPFD, 10), l = fcntl(log, F_DUPFD, 10);
	int s = listener >= 0 ? fcntl(listener, F_DUPFD, 10) : -1;

	alarm(300);
	close(mon);
	dup2(c, AMP_FD_CONTROL);
	dup2(l, AMP_FD_LOG);
	if (s >= 0)
		dup2(s, AMP_FD_CLI);
	closefrom(AMP_FD_CLI + (s >= 0));
	_exit(amp_room_main(&ops, shared));
}

static void start_room(enum amp_role_id role)
{
	int fds[2], log = open(log_path, O_WRONLY | O_APPEND | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	memset(shared, 0, sizeof(*shared));
	ops.role = role;
	assert_true(log >= 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds), 0);
	mon = fds[0];
	child = fork();
	if (child == 0)
		run_room(fds[1], log);
	close(fds[1]);
	close(log);
}

static void tell(uint16_t type, uint64_t id, const ProtobufCMessage *body, int fd)
{
	static uint8_t buf[AMP_MSG_MAX];
	union {
		struct cmsghdr c;
		char space[CMSG_SPACE(sizeof(int))];
	} ctl = {.c = {CMSG_LEN(sizeof(int)), SOL_SOCKET, SCM_RIGHTS}};
	struct iovec iov = {buf, amp_message_pack(buf, sizeof(buf), type, id, body)};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};

	if (fd >= 0) {
		memcpy(CMSG_DATA(&ctl.c), &fd, sizeof(fd));
		msg.msg_control = &ctl;
		msg.msg_controllen = sizeof(ctl);
	}
	assert_int_equal(sendmsg(mon, &msg, MSG_NOSIGNAL), iov.iov_len);
}

#define TELL(type, init)                                                                                     \
	do {                                                                                                 \
		ProtobufCMessage *m_ = (ProtobufCMessage *)&(init);                                          \
		tell(type, 0, m_, -1);                                                                       \
	} while (0)

static void tell_conf(void)
{
	Amp__Conf c = AMP__CONF__INIT;

	c.instance = 0;
	c.log_level = AMP_LOG_INFO;
	c.host_id = (char[]){UUID};
	c.uid = 1234;
	c.gid = 1235;
	c.cli_gid = 0xffffffff;
	c.data_dir.data = (uint8_t[]){"/srv/data"};
	c.data_dir.len = 9;
	TELL(AMP_MSG_CONF, c);
}

/* Next message of the room, unpacked; fails after a minute or at the end. */
static ProtobufCMessage *hear(uint16_t type, const ProtobufCMessageDescriptor *d)
{
	static struct {
		struct amp_wire_header h;
		uint8_t body[AMP_MSG_MAX];
	} in;
	struct pollfd p = {.fd = mon, .events = POLLIN};
	ProtobufCMessage *m;
	ssize_t n;

	assert_int_equal(poll(&p, 1, 60000), 1);
	n = recv(mon, &in, sizeof(in), 0);
	assert_true(n >= 16);
	assert_int_equal(in.h.type, type);
	m = protobuf_c_message_unpack(d, NULL, (size_t)n - 16, in.body);
	assert_non_null(m);
	return m;
}

static void forget(void *m)
{
	protobuf_c_message_free_unpacked(m, NULL);
}

static int end_of_room(void)
{
	int status = 0;

	assert_int_equal(waitpid(child, &status, 0), child);
	close(mon);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

static bool file_has(const char *path, const char *text)
{
	static char buf[65536];
	FILE *f = fopen(path, "r");
	size_t n;

	assert_non_null(f);
	n = fread(buf, 1, sizeof(buf) - 1, f);
	fclose(f);
	buf[n] = '\0';
	return strstr(buf, text) != NULL;
}

static Amp__Ready *up_to_ready(enum amp_role_id role)
{
	start_room(role);
	tell_conf();
	return (Amp__Ready *)hear(AMP_MSG_READY, &amp__ready__descriptor);
}

static bool listed(char **list, size_t n, const char *name)
{
	size_t times = 0;

	for (size_t i = 0; i < n; i++)
		times += strcmp(list[i], name) == 0;
	return times == 1;
}

static void a_whole_life(void **state)
{
	Amp__Ready *ready = up_to_ready(AMP_ROLE_READ);
	Amp__Start start = AMP__START__INIT;
	Amp__FilesystemGone gone = AMP__FILESYSTEM_GONE__INIT;
	Amp__Stop stop = AMP__STOP__INIT;
	Amp__Ping ping = AMP__PING__INIT;
	Amp__Fault *fault;
	Amp__PeerHostile *hostile;
	Amp__Pong *pong;

	(void)state;
	assert_true(listed(ready->in_use, ready->n_in_use, "pidfd events"));
	assert_true(listed(ready->in_use, ready->n_in_use, "landlock 3"));
	assert_true(listed(ready->missing, ready->n_missing, "handles"));
	forget(ready);
	assert_int_equal(shared->uid, 1234);
	assert_string_equal(shared->data_dir, "/srv/data");

	ping.seq = 99;
	TELL(AMP_MSG_PING, ping);
	pong = (Amp__Pong *)hear(AMP_MSG_PONG, &amp__pong__descriptor);
	assert_int_equal(pong->seq, 99);
	forget(pong);

	TELL(AMP_MSG_START, start);
	fault = (Amp__Fault *)hear(AMP_MSG_FAULT, &amp__fault__descriptor);
	assert_int_equal(fault->number, AMP_FAULT_REPAIR_FAILED);
	assert_string_equal(fault->detail, "/srv/caf\\xe9");
	forget(fault);
	hostile = (Amp__PeerHostile *)hear(AMP_MSG_PEER_HOSTILE, &amp__peer_hostile__descriptor);
	assert_int_equal(hostile->role, AMP_ROLE_SCAN);
	assert_int_equal(hostile->generation, 7);
	forget(hostile);

	TELL(AMP_MSG_FILESYSTEM_GONE, gone);
	TELL(AMP_MSG_STOP, stop);
	fault = (Amp__Fault *)hear(AMP_MSG_FAULT, &amp__fault__descriptor);
	assert_string_equal(fault->detail, "stopping");
	forget(fault);
	assert_int_equal(end_of_room(), 0);
	assert_string_equal(shared->steps, "odbrswx");
}

static void link_is_handed_over(void **state)
{
	Amp__Link l = AMP__LINK__INIT;
	struct pollfd p = {.events = POLLIN};
	char text[64] = "";
	int pair[2];

	(void)state;
	forget(up_to_ready(AMP_ROLE_READ));
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair), 0);
	l.role = AMP_ROLE_SCAN;
	l.generation = 5;
	l.pid = 4711;
	tell(AMP_MSG_LINK, 0, &l.base, pair[1]);
	close(pair[1]);
	p.fd = pair[0];
	assert_int_equal(poll(&p, 1, 60000), 1);
	assert_true(recv(pair[0], text, sizeof(text) - 1, 0) > 0);
	assert_string_equal(text, "0<-2/0/5 by 4711");
	close(pair[0]);
	close(mon); /* ampmon dies */
	mon = -1;
	assert_int_equal(end_of_room(), 0);
}

/* A message that must not be: the room leaves with 2. */
static void expect_protocol_error(void)
{
	assert_int_equal(end_of_room(), 2);
}

static void try_link(enum amp_role_id self, uint32_t role, uint32_t instance, int32_t pid)
{
	Amp__Link l = AMP__LINK__INIT;

	forget(up_to_ready(self));
	l.role = role;
	l.instance = instance;
	l.pid = pid;
	tell(AMP_MSG_LINK, 0, &l.base, STDIN_FILENO);
	expect_protocol_error();
	assert_null(strchr(shared->steps, 'l'));
}

static void wrong_links_are_refused(void **state)
{
	(void)state;
	try_link(AMP_ROLE_READ, AMP_ROLE_CLOUD, 0, 4711);
	try_link(AMP_ROLE_READ, AMP_ROLE_READ, 0, 4711);
	try_link(AMP_ROLE_READ, AMP_ROLE_SCAN, 1, 4711);
	try_link(AMP_ROLE_READ, 0, 0, 4711);
	try_link(AMP_ROLE_READ, AMP_ROLE_COUNT, 0, 4711);
	try_link(AMP_ROLE_READ, 0x80000002, 0, 4711);
	try_link(AMP_ROLE_READ, AMP_ROLE_SCAN, 0, 0);
	try_link(AMP_ROLE_READ, AMP_ROLE_SCAN, 0, 1);
	try_link(AMP_ROLE_READ, AMP_ROLE_SCAN, 0, -5);
}

static void only_conf_comes_first(void **state)
{
	Amp__Ping ping = AMP__PING__INIT;
	Amp__FilesystemGone gone = AMP__FILESYSTEM_GONE__INIT;

	(void)state;
	start_room(AMP_ROLE_READ);
	TELL(AMP_MSG_PING, ping);
	expect_protocol_error();
	start_room(AMP_ROLE_READ);
	TELL(AMP_MSG_FILESYSTEM_GONE, gone);
	expect_protocol_error();
	assert_string_equal(shared->steps, "");
}

static void conf_comes_once(void **state)
{
	(void)state;
	forget(up_to_ready(AMP_ROLE_READ));
	tell_conf();
	expect_protocol_error();
	assert_string_equal(shared->steps, "odbr");
}

static void start_comes_once(void **state)
{
	Amp__Start start = AMP__START__INIT;

	(void)state;
	forget(up_to_ready(AMP_ROLE_READ));
	TELL(AMP_MSG_START, start);
	TELL(AMP_MSG_START, start);
	expect_protocol_error();
}

/* What was sent right behind CONF waits for the walls. */
static void nothing_is_served_before_the_walls(void **state)
{
	Amp__Ping ping = AMP__PING__INIT;

	(void)state;
	start_room(AMP_ROLE_READ);
	tell_conf();
	TELL(AMP_MSG_PING, ping);
	forget(hear(AMP_MSG_READY, &amp__ready__descriptor));
	forget(hear(AMP_MSG_PONG, &amp__pong__descriptor));
	close(mon);
	mon = -1;
	assert_int_equal(end_of_room(), 0);
}

static void try_conf(const Amp__Conf *c)
{
	start_room(AMP_ROLE_READ);
	TELL(AMP_MSG_CONF, *c);
	expect_protocol_error();
	assert_string_equal(shared->steps, "");
}

static void a_bad_configuration_is_refused(void **state)
{
	Amp__Conf good = AMP__CONF__INIT, c;

	(void)state;
	good.host_id = (char[]){UUID};
	good.uid = good.gid = 1234;
	c = good;
	c.uid = 0;
	try_conf(&c);
	c = good;
	c.gid = 0;
	try_conf(&c);
	c = good;
	c.uid = UINT32_MAX;
	try_conf(&c);
	c = good;
	c.instance = amp_role(AMP_ROLE_READ)->instances;
	try_conf(&c);
	c = good;
	c.log_level = 4;
	try_conf(&c);
	c = good;
	c.host_id = (char[]){""};
	try_conf(&c);
	c = good;
	c.view_dir.data = (uint8_t[]){"relative"};
	c.view_dir.len = 8;
	try_conf(&c);
	c.view_dir.data = (uint8_t[]){"/nul\0here"};
	c.view_dir.len = 9;
	try_conf(&c);
}

static void a_wall_that_fails_is_named(void **state)
{
	Amp__Fault *fault;

	(void)state;
	start_room(AMP_ROLE_READ);
	strcpy(shared->wall, "seccomp");
	tell_conf();
	fault = (Amp__Fault *)hear(AMP_MSG_FAULT, &amp__fault__descriptor);
	assert_int_equal(fault->number, AMP_FAULT_WALL);
	assert_true(fault->raised);
	assert_string_equal(fault->detail, "ampread: wall seccomp: Operation not permitted");
	forget(fault);
	assert_int_equal(end_of_room(), 3);
	assert_string_equal(shared->steps, "odb");
	assert_true(file_has(log_path, "wall seccomp"));
}

static void what_cannot_be_opened_ends_it(void **state)
{
	(void)state;
	start_room(AMP_ROLE_READ);
	shared->fail_open = true;
	tell_conf();
	assert_int_equal(end_of_room(), 1);
	assert_string_equal(shared->steps, "o");
}

static void log_file_is_replaced(void **state)
{
	Amp__LogFile l = AMP__LOG_FILE__INIT;
	Amp__Ping ping = AMP__PING__INIT;
	int fd = open(log_after, O_WRONLY | O_APPEND | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	(void)state;
	forget(up_to_ready(AMP_ROLE_READ));
	tell(AMP_MSG_LOG_FILE, 0, &l.base, fd);
	close(fd);
	TELL(AMP_MSG_PING, ping);
	forget(hear(AMP_MSG_PONG, &amp__pong__descriptor));
	close(mon);
	mon = -1;
	assert_int_equal(end_of_room(), 0);
	assert_true(file_has(log_after, "ampmon is gone"));
	assert_false(file_has(log_path, "ampmon is gone"));
	unlink(log_after);
}

static void clients_are_served(void **state)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	struct amp_wire_header h = {AMP_WIRE_VERSION, AMP_MSG_CLI_STATUS, 0, 3};
	struct pollfd p = {.events = POLLIN};
	char buf[256];

	(void)state;
	if (geteuid() != 0)
		SKIP_WITHOUT("root");
	snprintf(a.sun_path, sizeof(a.sun_path), "%s", socket_path);
	listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(listener, (struct sockaddr *)&a, sizeof(a)), 0);
	assert_int_equal(listen(listener, 8), 0);
	forget(up_to_ready(AMP_ROLE_CLOUD));
	close(listener);
	listener = -1;
	p.fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	assert_int_equal(connect(p.fd, (struct sockaddr *)&a, sizeof(a)), 0);
	assert_int_equal(send(p.fd, &h, sizeof(h), 0), sizeof(h));
	assert_int_equal(poll(&p, 1, 60000), 1);
	assert_true(recv(p.fd, buf, sizeof(buf), 0) > 16);
	memcpy(&h, buf, sizeof(h));
	assert_int_equal(h.type, AMP_MSG_CLI_STATUS_REPLY);
	close(p.fd);
	close(mon);
	mon = -1;
	assert_int_equal(end_of_room(), 0);
	unlink(socket_path);
}

static void without_ampmon_it_does_not_run(void **state)
{
	int status, null;

	(void)state;
	ops.role = AMP_ROLE_READ;
	child = fork();
	if (child == 0) {
		null = open("/dev/null", O_RDWR);
		dup2(null, STDERR_FILENO);
		dup2(null, AMP_FD_CONTROL);
		_exit(amp_room_main(&ops, shared));
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(WEXITSTATUS(status), 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_whole_life),
		cmocka_unit_test(link_is_handed_over),
		cmocka_unit_test(wrong_links_are_refused),
		cmocka_unit_test(only_conf_comes_first),
		cmocka_unit_test(conf_comes_once),
		cmocka_unit_test(start_comes_once),
		cmocka_unit_test(nothing_is_served_before_the_walls),
		cmocka_unit_test(a_bad_configuration_is_refused),
		cmocka_unit_test(a_wall_that_fails_is_named),
		cmocka_unit_test(what_cannot_be_opened_ends_it),
		cmocka_unit_test(log_file_is_replaced),
		cmocka_unit_test(clients_are_served),
		cmocka_unit_test(without_ampmon_it_does_not_run),
	};
	int fd = mkstemp(log_path), rc;

	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (fd < 0 || shared == MAP_FAILED)
		return 1;
	close(fd);
	snprintf(log_after, sizeof(log_after), "%s.after", log_path);
	snprintf(socket_path, sizeof(socket_path), "%s.socket", log_path);
	rc = cmocka_run_group_tests(tests, NULL, NULL);
	unlink(log_path);
	return rc;
}
