/*
 * tests/unit/test_child.c - back-off, heartbeat, who may say what, and what a
 * room finds at exec. The test runs itself as the room.
 */
#include "ampmon/mon.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define SEC	 INT64_C(1000000000)
#define AS_ROOM	 "test-room"
#define STRAY_FD 40

/* --- throttle ------------------------------------------------------------ */

static void ten_deaths_a_minute_are_free(void **state)
{
	struct child_throttle t = {0};

	(void)state;
	for (int i = 0; i < 10; i++)
		assert_int_equal(child_throttle_death(&t, i * SEC, 0, 1), 0);
	assert_false(child_throttle_active(&t));
	assert_int_equal(child_throttle_death(&t, 10 * SEC, 0, 1), SEC);
	assert_true(child_throttle_active(&t));
}

static void slow_deaths_stay_free(void **state)
{
	struct child_throttle t = {0};

	(void)state;
	for (int i = 0; i < 100; i++)
		assert_int_equal(child_throttle_death(&t, i * 7 * SEC, 6 * SEC, 1), 0);
}

static void crashes_count_twice(void **state)
{
	struct child_throttle t = {0};

	(void)state;
	for (int i = 0; i < 5; i++)
		assert_int_equal(child_throttle_death(&t, i * SEC, 0, 2), 0);
	assert_int_equal(child_throttle_death(&t, 5 * SEC, 0, 2), SEC);
}

static void back_off_doubles_to_a_minute(void **state)
{
	static const int64_t expected[] = {1, 2, 4, 8, 16, 32, 60, 60};
	struct child_throttle t = {0};
	int64_t now = 0;

	(void)state;
	for (int i = 0; i < 10; i++)
		child_throttle_death(&t, now, 0, 1);
	for (size_t i = 0; i < sizeof(expected) / sizeof(expected[0]); i++) {
		int64_t wait = child_throttle_death(&t, now, 0, 1);

		assert_int_equal(wait, expected[i] * SEC);
		now += wait;
	}
}

static void a_long_life_ends_the_back_off(void **state)
{
	struct child_throttle t = {0};

	(void)state;
	for (int i = 0; i < 12; i++)
		child_throttle_death(&t, 0, 0, 1);
	assert_true(child_throttle_active(&t));
	assert_false(child_throttle_lives(&t, 59 * SEC));
	assert_true(child_throttle_lives(&t, 60 * SEC));
	assert_int_equal(child_throttle_death(&t, 61 * SEC, 61 * SEC, 1), 0);
}

/* --- heartbeat -------------------------------------------------------------- */

static void silence_is_counted_until_a_pong(void **state)
{
	struct child_heart h = {0};

	(void)state;
	child_heart_tick(&h, 5 * SEC, 10 * SEC);
	assert_int_equal(h.silent_ns, 0); /* nothing was asked */
	child_heart_ping(&h);
	child_heart_tick(&h, 5 * SEC, 10 * SEC);
	child_heart_tick(&h, 5 * SEC, 10 * SEC);
	assert_int_equal(h.silent_ns, 10 * SEC);
	child_heart_pong(&h, 0, false);
	assert_int_equal(h.silent_ns, 0);
}

static void a_sleep_of_ours_is_not_its_silence(void **state)
{
	struct child_heart h = {0};

	(void)state;
	child_heart_ping(&h);
	child_heart_tick(&h, 3600 * SEC, 10 * SEC);
	assert_int_equal(h.silent_ns, 10 * SEC);
}

static void a_busy_thread_that_steps_is_not_stalled(void **state)
{
	struct child_heart h = {0};

	(void)state;
	for (unsigned i = 0; i < 10; i++) {
		child_heart_pong(&h, i, true);
		child_heart_tick(&h, 5 * SEC, 10 * SEC);
		assert_int_equal(h.stalled_ns, 5 * SEC);
	}
	child_heart_pong(&h, 9, true);
	child_heart_tick(&h, 5 * SEC, 10 * SEC);
	assert_int_equal(h.stalled_ns, 10 * SEC);
	child_heart_pong(&h, 9, false); /* done after all */
	assert_int_equal(h.stalled_ns, 0);
}

/* --- permissions ---------------------------------------------------------------- */

static const struct amp_dispatch *row_of(enum amp_role_id role, uint16_t type)
{
	size_t rows;
	const struct amp_dispatch *table = mon_control_table(role, &rows);

	for (size_t i = 0; i < rows; i++)
		if (table[i].type == type)
			return &table[i];
	return NULL;
}

static void only_ampscand_may_ask_for_kills(void **state)
{
	static const uint16_t scans[] = {AMP_MSG_KILL,		AMP_MSG_POLICY_ACK, AMP_MSG_REPAIR_STATE,
					 AMP_MSG_REPAIR_WANTED, AMP_MSG_CONCLUDED,  AMP_MSG_SCAN_STATE};

	(void)state;
	for (size_t i = 0; i < sizeof(scans) / sizeof(scans[0]); i++) {
		assert_non_null(row_of(AMP_ROLE_SCAN, scans[i]));
		assert_null(row_of(AMP_ROLE_READ, scans[i]));
		assert_null(row_of(AMP_ROLE_CLOUD, scans[i]));
		assert_null(row_of(AMP_ROLE_QUARD, scans[i]));
	}
	assert_non_null(row_of(AMP_ROLE_CLOUD, AMP_MSG_EVENT_ACK));
	assert_null(row_of(AMP_ROLE_SCAN, AMP_MSG_EVENT_ACK));
	assert_null(row_of(AMP_ROLE_QUARD, AMP_MSG_EVENT_ACK));
}

static void no_room_passes_descriptors(void **state)
{
	(void)state;
	for (int role = AMP_ROLE_MON + 1; role < AMP_ROLE_COUNT; role++) {
		size_t rows;
		const struct amp_dispatch *table = mon_control_table((enum amp_role_id)role, &rows);

		assert_true(rows >= 4);
		for (size_t i = 0; i < rows; i++) {
			assert_int_equal(table[i].max_fds, 0);
			assert_int_not_equal(table[i].states, 0);
			assert_true(table[i].max_length <= AMP_MSG_MAX - sizeof(struct amp_wire_header));
		}
	}
}

static void nothing_but_ready_and_faults_before_ready(void **state)
{
	size_t rows;
	const struct amp_dispatch *table = mon_control_table(AMP_ROLE_SCAN, &rows);

	(void)state;
	for (size_t i = 0; i < rows; i++)
		if (table[i].states & 1U)
			assert_true(table[i].type == AMP_MSG_READY || table[i].type == AMP_MSG_FAULT);
	assert_int_equal(row_of(AMP_ROLE_SCAN, AMP_MSG_READY)->states, 1); /* once */
}

/* --- spawn ------------------------------------------------------------------------ */

extern char **environ;

static bool is_null(int fd)
{
	struct stat a, b;

	return fstat(fd, &a) == 0 && stat("/dev/null", &b) == 0 && a.st_rdev == b.st_rdev;
}

static void say(const char *what, bool good)
{
	char line[64];
	int n = snprintf(line, sizeof(line), "%s=%d;", what, good);

	if (send(AMP_FD_CONTROL, line, (size_t)n, 0) != n)
		_exit(9);
}

/* The child's side: says what it found, over the control channel. */
static int as_room(void)
{
	struct sigaction sa;
	sigset_t mask;
	unsigned open_above = 0, variables = 0, blocked = 0;
	int type;
	socklen_t size = sizeof(type);

	say("null", is_null(0) && is_null(1) && is_null(2));
	say("control",
	    getsockopt(AMP_FD_CONTROL, SOL_SOCKET, SO_TYPE, &type, &size) == 0 && type == SOCK_SEQPACKET);
	say("log", (fcntl(AMP_FD_LOG, F_GETFL) & O_APPEND) != 0);
	say("cli", fcntl(AMP_FD_CLI, F_GETFD) >= 0);
	for (int fd = AMP_FD_CLI + 1; fd < 1024; fd++)
		open_above += fcntl(fd, F_GETFD) >= 0;
	say("closed", open_above == 0);
	for (char **e = environ; *e; e++)
		variables++;
	say("environment",
	    !getenv("LD_PRELOAD") && !getenv("AMP_TEST_SECRET") && getenv("LC_ALL") && variables <= 5);
	sigprocmask(SIG_SETMASK, NULL, &mask);
	for (int sig = 1; sig < 32; sig++)
		blocked += sigismember(&mask, sig) == 1;
	sigaction(SIGPIPE, NULL, &sa);
	say("signals", blocked == 0 && sa.sa_handler == SIG_DFL);
	say("session", getsid(0) == getpid());
	return 0;
}

static void receive(int fd, char *all, size_t size)
{
	size_t used = 0;
	ssize_t n;

	while (used < size - 1 && (n = recv(fd, all + used, size - 1 - used, 0)) > 0)
		used += (size_t)n;
	all[used] = '\0';
}

static void run_room(bool with_cli, char *said, size_t size)
{
	char path[4096], log[] = "/tmp/test_child.XXXXXX";
	int pair[2], pidfd, status;
	ssize_t n = readlink("/proc/self/exe", path, sizeof(path) - 1);
	struct mon_spawn spawn = {.path = path, .name = AS_ROOM, .cli = -1};
	pid_t pid;

	assert_true(n > 0);
	path[n] = '\0';
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	spawn.control = mon_fd_high(pair[1]);
	spawn.log = mon_fd_high(mkostemp(log, O_APPEND | O_CLOEXEC));
	unlink(log);
	spawn.null = mon_fd_high(open("/dev/null", O_RDWR | O_CLOEXEC));
	if (with_cli)
		spawn.cli = mon_fd_high(socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
	assert_true(spawn.control >= 16 && spawn.log >= 16 && spawn.null >= 16);
	pid = mon_spawn(&spawn, &pidfd);
	assert_true(pid > 0 && pidfd >= 0);
	close(spawn.control);
	receive(pair[0], said, size);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	close(pair[0]);
	close(pidfd);
	close(spawn.log);
	close(spawn.null);
	if (with_cli)
		close(spawn.cli);
}

static void a_room_finds_its_descriptors_and_nothing_else(void **state)
{
	char said[512];

	(void)state;
	setenv("AMP_TEST_SECRET", "1", 1);
	signal(SIGPIPE, SIG_IGN);
	/* One that is not close-on-exec, as a library might leave behind. */
	assert_int_equal(dup2(2, STRAY_FD), STRAY_FD);
	run_room(true, said, sizeof(said));
	assert_string_equal(said, "null=1;control=1;log=1;cli=1;closed=1;environment=1;signals=1;session=1;");
	run_room(false, said, sizeof(said));
	assert_string_equal(said, "null=1;control=1;log=1;cli=0;closed=1;environment=1;signals=1;session=1;");
	close(STRAY_FD);
}

static void a_missing_program_ends_with_127(void **state)
{
	struct mon_spawn spawn = {.path = "/nonexistent/ampscand", .name = "ampscand", .cli = -1};
	int pair[2], pidfd, status;
	pid_t pid;

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	spawn.control = mon_fd_high(pair[1]);
	spawn.null = spawn.log = mon_fd_high(open("/dev/null", O_RDWR | O_CLOEXEC));
	pid = mon_spawn(&spawn, &pidfd);
	assert_true(pid > 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 127);
	close(pair[0]);
	close(spawn.control);
	close(spawn.log);
	close(pidfd);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ten_deaths_a_minute_are_free),
		cmocka_unit_test(slow_deaths_stay_free),
		cmocka_unit_test(crashes_count_twice),
		cmocka_unit_test(back_off_doubles_to_a_minute),
		cmocka_unit_test(a_long_life_ends_the_back_off),
		cmocka_unit_test(silence_is_counted_until_a_pong),
		cmocka_unit_test(a_sleep_of_ours_is_not_its_silence),
		cmocka_unit_test(a_busy_thread_that_steps_is_not_stalled),
		cmocka_unit_test(only_ampscand_may_ask_for_kills),
		cmocka_unit_test(no_room_passes_descriptors),
		cmocka_unit_test(nothing_but_ready_and_faults_before_ready),
		cmocka_unit_test(a_room_finds_its_descriptors_and_nothing_else),
		cmocka_unit_test(a_missing_program_ends_with_127),
	};

	if (argc == 1 && strcmp(argv[0], AS_ROOM) == 0)
		return as_room();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
