/*
 * tests/unit/test_cliserver.c - who may ask, limits, idle and hostile clients.
 * Owns: a socket in a private directory and clients that are bare sockets.
 */
#include "cliserver.h"
#include "clock.h"
#include "counter.h"

#include "proto/cli.pb-c.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/unit/skip.h"

#define ASKING_GROUP 54321
#define STRANGER     54322

static struct event_base *base;
static struct amp_cliserver *server;
static char directory[] = "/tmp/test_cliserver.XXXXXX";
static struct sockaddr_un address;
static struct {
	unsigned requests;
	uid_t uid;
	pid_t pid;
	uint64_t serial;
	struct amp_channel *channel;
} seen;

static int on_status(struct amp_channel *ch, struct amp_message *m, void *arg)
{
	Amp__CliStatusReply reply = AMP__CLI_STATUS_REPLY__INIT;

	assert_ptr_equal(arg, &seen);
	seen.requests++;
	seen.uid = amp_cli_client_uid(ch);
	seen.pid = amp_cli_client_pid(ch);
	seen.serial = amp_cli_client_serial(ch);
	seen.channel = ch;
	reply.service = (char[]){"test"};
	return amp_channel_send(ch, AMP_MSG_CLI_STATUS_REPLY, m->id, &reply.base, NULL, 0);
}

static int on_use(struct amp_channel *ch, struct amp_message *m, void *arg)
{
	(void)arg;
	amp_cli_error(ch, m->id, AMP__CLI_ERROR__CODE__NOT_FOUND, "no policy %s in /p\xff", "x");
	return 0;
}

static const struct amp_dispatch table[] = {
	{AMP_MSG_CLI_STATUS, &amp__cli_status__descriptor, 0, 0, 0, 0, on_status},
	{AMP_MSG_CLI_POLICY_USE, &amp__cli_policy_use__descriptor, 128, 0, 0, 0, on_use},
};

static int start_server(gid_t group)
{
	struct amp_cliserver_config c = {.table = table, .rows = 2, .group = group, .arg = &seen};
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	unlink(address.sun_path);
	if (bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 || chmod(address.sun_path, 0666) < 0 ||
	    listen(fd, 64) < 0)
		return -1;
	base = event_base_new();
	server = amp_cliserver_new(base, fd, &c);
	memset(&seen, 0, sizeof(seen));
	return server ? 0 : -1;
}

static int setup(void **state)
{
	(void)state;
	/* The test's own group, so that the rest works without root as well. */
	return start_server(geteuid() == 0 ? ASKING_GROUP : getegid());
}

static int teardown(void **state)
{
	(void)state;
	amp_cliserver_free(server);
	event_base_free(base);
	amp_clock_release();
	return 0;
}

static void spin(void)
{
	event_base_loop(base, EVLOOP_NONBLOCK);
	event_base_loop(base, EVLOOP_NONBLOCK);
}

static int dial(void)
{
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	return fd;
}

static void ask(int fd, uint16_t type, uint64_t id, const void *body, size_t n)
{
	uint8_t buf[256];
	struct amp_wire_header h = {AMP_WIRE_VERSION, type, (uint32_t)n, id};

	memcpy(buf, &h, sizeof(h));
	memcpy(buf + sizeof(h), body, n);
	assert_int_equal(send(fd, buf, sizeof(h) + n, MSG_NOSIGNAL), sizeof(h) + n);
}

static struct reply {
	struct amp_wire_header header;
	uint8_t body[AMP_MSG_MAX];
} reply;

/* Bytes of the next answer in `reply`; 0: closed; -1: nothing there. */
static ssize_t answer(int fd)
{
	return recv(fd, &reply, sizeof(reply), MSG_DONTWAIT);
}

static bool is_error(ssize_t n, int code)
{
	Amp__CliError *e;
	bool yes;

	if (n < 16 || reply.header.type != AMP_MSG_CLI_ERROR)
		return false;
	e = amp__cli_error__unpack(NULL, (size_t)n - 16, reply.body);
	yes = e && (int)e->code == code && e->text[0] != '\0';
	amp__cli_error__free_unpacked(e, NULL);
	return yes;
}

static void asker_is_known_and_answered(void **state)
{
	int fd = dial();
	uint64_t first;

	(void)state;
	ask(fd, AMP_MSG_CLI_STATUS, 42, "", 0);
	spin();
	assert_true(answer(fd) > 16);
	assert_int_equal(reply.header.type, AMP_MSG_CLI_STATUS_REPLY);
	assert_int_equal(reply.header.id, 42);
	assert_int_equal(seen.uid, geteuid());
	assert_int_equal(seen.pid, getpid());
	assert_ptr_equal(amp_cli_client_find(server, seen.serial), seen.channel);
	first = seen.serial;
	close(fd);
	spin();
	assert_null(amp_cli_client_find(server, first));
	fd = dial();
	ask(fd, AMP_MSG_CLI_STATUS, 43, "", 0);
	spin();
	assert_int_not_equal(seen.serial, first);
	close(fd);
}

static void error_text_is_always_sendable(void **state)
{
	int fd = dial();

	(void)state;
	ask(fd, AMP_MSG_CLI_POLICY_USE, 5, "", 0);
	spin();
	assert_true(is_error(answer(fd), AMP__CLI_ERROR__CODE__NOT_FOUND));
	assert_int_equal(reply.header.id, 5);
	assert_non_null(strstr((char *)reply.body, "\\xff"));
	close(fd);
}

/* As another user: what the service says. 0: answered, 1: not permitted, 2: else. */
static int as_user(uid_t uid, gid_t gid, const gid_t *groups, size_t n)
{
	const struct amp_wire_header h = {AMP_WIRE_VERSION, AMP_MSG_CLI_STATUS, 0, 1};
	struct pollfd p = {.events = POLLIN};
	ssize_t got;
	int fd;

	alarm(100);
	if (setgroups(n, groups) < 0 || setresgid(gid, gid, gid) < 0 || setresuid(uid, uid, uid) < 0)
		return 10;
	fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
		return 11;
	/* Who is refused may be so by now: the reason is there all the same. */
	if (send(fd, &h, sizeof(h), MSG_NOSIGNAL) < 0 && errno != EPIPE && errno != ECONNRESET)
		return 12;
	p.fd = fd;
	poll(&p, 1, 60000);
	got = answer(fd);
	if (got < 0 && errno == ECONNRESET)
		got = answer(fd);
	if (is_error(got, AMP__CLI_ERROR__CODE__NOT_PERMITTED))
		return 1;
	return got > 16 && reply.header.type == AMP_MSG_CLI_STATUS_REPLY ? 0 : 2;
}

static int outcome_of(uid_t uid, gid_t gid, const gid_t *groups, size_t n)
{
	pid_t child = fork();
	int status = 0;

	if (child == 0)
		_exit(as_user(uid, gid, groups, n));
	while (waitpid(child, &status, WNOHANG) == 0) {
		spin();
		usleep(1000);
	}
	spin();
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void the_group_decides(void **state)
{
	gid_t many[200], member[] = {1000, ASKING_GROUP}, other[] = {1000, ASKING_GROUP + 1};

	(void)state;
	if (geteuid() != 0)
		SKIP_WITHOUT("root");
	for (unsigned i = 0; i < 200; i++)
		many[i] = 60000 + i;
	assert_int_equal(outcome_of(STRANGER, STRANGER, NULL, 0), 1);
	assert_int_equal(outcome_of(STRANGER, STRANGER, other, 2), 1);
	assert_int_equal(outcome_of(STRANGER, STRANGER, many, 200), 1);
	assert_int_equal(seen.requests, 0); /* not a byte of theirs was looked at */
	assert_int_equal(outcome_of(STRANGER, STRANGER, member, 2), 0);
	assert_int_equal(seen.uid, STRANGER);
	assert_int_equal(outcome_of(STRANGER, ASKING_GROUP, NULL, 0), 0);
	many[199] = ASKING_GROUP;
	assert_int_equal(outcome_of(STRANGER, STRANGER, many, 200), 0);
	assert_int_equal(outcome_of(0, 0, NULL, 0), 0);
}

static void without_a_group_root_alone_may_ask(void **state)
{
	gid_t none[] = {(gid_t)-2};

	(void)state;
	if (geteuid() != 0)
		SKIP_WITHOUT("root");
	amp_cliserver_free(server);
	event_base_free(base);
	assert_int_equal(start_server((gid_t)-1), 0);
	assert_int_equal(outcome_of(STRANGER, STRANGER, none, 1), 1);
	assert_int_equal(outcome_of(0, 0, NULL, 0), 0);
}

static void one_client_too_many_is_told(void **state)
{
	int fds[AMP_CLI_MAX_CLIENTS + 1];

	(void)state;
	for (int i = 0; i <= AMP_CLI_MAX_CLIENTS; i++)
		fds[i] = dial();
	for (int i = 0; i < 4; i++)
		spin();
	for (int i = 0; i < AMP_CLI_MAX_CLIENTS; i++)
		assert_int_equal(answer(fds[i]), -1);
	assert_true(is_error(answer(fds[AMP_CLI_MAX_CLIENTS]), AMP__CLI_ERROR__CODE__NOT_NOW));
	assert_int_equal(answer(fds[AMP_CLI_MAX_CLIENTS]), 0);
	close(fds[0]); /* a place is free again */
	spin();
	fds[0] = dial();
	ask(fds[0], AMP_MSG_CLI_STATUS, 1, "", 0);
	spin();
	assert_true(answer(fds[0]) > 16);
	for (int i = 0; i <= AMP_CLI_MAX_CLIENTS; i++)
		close(fds[i]);
}

static void run_for(long ms)
{
	struct timeval tv = {.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000};

	event_base_loopexit(base, &tv);
	event_base_dispatch(base);
}

static void idle_clients_are_let_go(void **state)
{
	int idle, busy;

	(void)state;
	amp_clock_freeze(1000 * AMP_NS_PER_SEC, 0);
	idle = dial();
	busy = dial();
	spin();
	amp_clock_advance(20 * AMP_NS_PER_SEC);
	ask(busy, AMP_MSG_CLI_STATUS, 1, "", 0);
	run_for(1200);
	assert_int_equal(answer(idle), -1);
	amp_clock_advance(11 * AMP_NS_PER_SEC);
	run_for(1200);
	assert_int_equal(answer(idle), 0);
	assert_true(answer(busy) > 16);
	assert_int_equal(answer(busy), -1);
	close(idle);
	close(busy);
}

static uint64_t counted(const char *name)
{
	Amp__Counter **list;
	size_t n = amp_cli_counters(&list);
	uint64_t value = 0;

	for (size_t i = 0; i < n; i++)
		if (strcmp(list[i]->name, name) == 0)
			value = list[i]->value;
	free(list);
	return value;
}

static void send_fd(int fd)
{
	struct amp_wire_header h = {AMP_WIRE_VERSION, AMP_MSG_CLI_STATUS, 0, 1};
	union {
		struct cmsghdr c;
		char space[CMSG_SPACE(sizeof(int))];
	} control = {.c = {CMSG_LEN(sizeof(int)), SOL_SOCKET, SCM_RIGHTS}};
	struct iovec iov = {&h, sizeof(h)};
	struct msghdr msg = {
		.msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)};

	memcpy(CMSG_DATA(&control.c), &fd, sizeof(fd));
	assert_int_equal(sendmsg(fd, &msg, 0), sizeof(h));
}

static void hostile_clients_are_cut_off(void **state)
{
	uint64_t before = counted("cli.hostile");
	int garbage = dial(), sly = dial(), good = dial();

	(void)state;
	ask(garbage, AMP_MSG_CONF, 1, "", 0);
	send_fd(sly);
	ask(good, AMP_MSG_CLI_STATUS, 1, "", 0);
	spin();
	assert_int_equal(answer(garbage), 0);
	assert_int_equal(answer(sly), 0);
	assert_true(answer(good) > 16);
	assert_int_equal(counted("cli.hostile"), before + 2);
	assert_int_equal(seen.requests, 1);
	close(garbage);
	close(sly);
	close(good);
}

/* Asks and never reads: its answers stop at the limit, others are served. */
static void output_of_a_client_is_bounded(void **state)
{
	int deaf = dial();
	static char long_text[60000];
	Amp__CliError e = AMP__CLI_ERROR__INIT;

	(void)state;
	ask(deaf, AMP_MSG_CLI_STATUS, 1, "", 0);
	spin();
	memset(long_text, 'x', sizeof(long_text) - 1);
	e.text = long_text;
	while (amp_channel_send(seen.channel, AMP_MSG_CLI_ERROR, 1, &e.base, NULL, 0) == 0)
		assert_true(amp_channel_queued(seen.channel) <= 1024 * 1024);
	assert_int_equal(errno, ENOBUFS);
	close(deaf);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(asker_is_known_and_answered), TEST(error_text_is_always_sendable),
		TEST(the_group_decides),	   TEST(without_a_group_root_alone_may_ask),
		TEST(one_client_too_many_is_told), TEST(idle_clients_are_let_go),
		TEST(hostile_clients_are_cut_off), TEST(output_of_a_client_is_bounded),
	};
	int rc;

	if (!mkdtemp(directory) || chmod(directory, 0755) < 0)
		return 1;
	address.sun_family = AF_UNIX;
	snprintf(address.sun_path, sizeof(address.sun_path), "%s/s", directory);
	rc = cmocka_run_group_tests(tests, NULL, NULL);
	unlink(address.sun_path);
	rmdir(directory);
	return rc;
}
