/*
 * Tests of ampmon/kill.c with real processes: copies of sleep(1) in a
 * directory of this test's own are "malware".
 */
#include "ampmon/kill.h"
#include "clock.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define ID "01234567-89ab-4def-8123-456789abcdef"

struct mon_policy {
	bool protects, engine;
	uint8_t blocked[32], allowed[32];
};

bool mon_policy_protects(const struct mon_policy *p)
{
	return p->protects;
}

bool mon_policy_blocks(const struct mon_policy *p, const uint8_t sha256[32])
{
	return memcmp(p->blocked, sha256, 32) == 0;
}

bool mon_policy_allows(const struct mon_policy *p, const uint8_t sha256[32])
{
	return memcmp(p->allowed, sha256, 32) == 0;
}

bool mon_policy_engine(const struct mon_policy *p)
{
	return p->engine;
}

static bool device_is_plain = true;

bool mon_watch_plain_device(const struct mon_watch *w, unsigned major, unsigned minor)
{
	(void)w;
	(void)major;
	(void)minor;
	return device_is_plain;
}

static struct event_base *base;
static struct mon_kill *k;
static struct mon_policy policy = {.protects = true, .blocked = {1, 2, 3}};
static pid_t ours;
static int64_t seen_ns; /* the event's process */
static char dir[64], file[128];

static struct {
	unsigned count;
	uint64_t id;
	size_t processes;
	int32_t pids[AMP_KILL_RESULTS];
	uint64_t start;
	uint32_t uid, more;
	bool stranger;
	size_t all; /* processes of all messages */
	char exe[600], refused[128], detection[64];
} answer;

static void on_killed(uint64_t id, const Amp__Killed *result, void *arg)
{
	(void)arg;
	answer.all += result->n_processes;
	if (result->unfinished)
		return;
	answer.count++;
	answer.id = id;
	answer.processes = result->n_processes;
	answer.more = result->more;
	answer.stranger = result->stranger;
	snprintf(answer.refused, sizeof(answer.refused), "%s", result->refused);
	snprintf(answer.detection, sizeof(answer.detection), "%s", result->detection_id);
	for (size_t i = 0; i < result->n_processes; i++) {
		answer.pids[i] = result->processes[i]->pid;
		answer.start = result->processes[i]->start_ticks;
		answer.uid = result->processes[i]->uid;
		snprintf(answer.exe, sizeof(answer.exe), "%.*s", (int)result->processes[i]->exe.len,
			 (const char *)result->processes[i]->exe.data);
	}
}

static bool is_ours(pid_t pid, void *arg)
{
	(void)arg;
	return pid == ours;
}

static void copy_program(const char *to)
{
	char cmd[256];

	snprintf(cmd, sizeof(cmd), "cp /bin/sleep %s", to);
	assert_int_equal(system(cmd), 0);
}

static int setup(void **state)
{
	const struct mon_kill_ops ops = {.killed = on_killed, .is_ours = is_ours};

	(void)state;
	strcpy(dir, "/tmp/test_kill.XXXXXX");
	assert_non_null(mkdtemp(dir));
	snprintf(file, sizeof(file), "%s/evil", dir);
	copy_program(file);
	memset(&answer, 0, sizeof(answer));
	policy.protects = device_is_plain = true;
	seen_ns = INT64_MAX;
	ours = -1;
	base = event_base_new();
	k = mon_kill_new(base, NULL, &ops);
	assert_non_null(k);
	return 0;
}

static int teardown(void **state)
{
	char cmd[128];

	(void)state;
	mon_kill_free(k);
	event_base_free(base);
	snprintf(cmd, sizeof(cmd), "rm -rf %s", dir);
	return system(cmd);
}

static pid_t run(const char *program)
{
	int ends[2];
	pid_t pid;
	char c;

	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		execl(program, "evil", "600", (char *)NULL);
		_exit(127);
	}
	close(ends[1]);
	assert_int_equal(read(ends[0], &c, 1), 0); /* closed by the exec */
	close(ends[0]);
	return pid;
}

static bool alive(pid_t pid)
{
	return waitpid(pid, NULL, WNOHANG) == 0;
}

/* What is signalled dies some time. */
static bool killed(pid_t pid)
{
	int status;

	for (int i = 0; i < 12000; i++) {
		if (waitpid(pid, &status, WNOHANG) == pid)
			return WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
		usleep(5000);
	}
	return false;
}

/* Of our signal: had another been sent before, it would die of that one. */
static void end(pid_t pid)
{
	int status;

	kill(pid, SIGTERM);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status));
	assert_int_equal(WTERMSIG(status), SIGTERM);
}

static struct amp_identity identity_of(const char *path)
{
	struct amp_identity i;

	assert_int_equal(amp_statx_identity(AT_FDCWD, path, 0, &i), 0);
	return i;
}

static int ask_as(uint64_t id, const char *detection, struct amp_identity *i, pid_t pid,
		  const struct amp_identity *interpreter)
{
	Amp__Kill m = AMP__KILL__INIT;
	Amp__Identity wire = AMP__IDENTITY__INIT, wire2 = AMP__IDENTITY__INIT;

	m.detection_id = (char *)(uintptr_t)detection;
	m.sha256.data = policy.blocked;
	m.sha256.len = 32;
	amp_identity_to_wire(i, &wire);
	m.file = &wire;
	m.event_pid = pid;
	m.event_seen_ns = seen_ns;
	if (interpreter) {
		amp_identity_to_wire(interpreter, &wire2);
		m.interpreter = &wire2;
	}
	m.path.data = (uint8_t *)file;
	m.path.len = strlen(file);
	return mon_kill_request(k, id, &m, &policy);
}

static void loop(void)
{
	event_base_loop(base, 0); /* until no event is left */
}

static void ask(uint64_t id, struct amp_identity i, pid_t pid)
{
	assert_int_equal(ask_as(id, ID, &i, pid, NULL), 0);
	loop();
}

static void kills_all_that_run_it(void **state)
{
	pid_t a = run(file), b = run(file), other = run("/bin/sleep");

	(void)state;
	ask(7, identity_of(file), a);
	assert_true(killed(a));
	assert_true(killed(b));
	assert_true(alive(other));
	assert_int_equal(answer.count, 1);
	assert_int_equal(answer.id, 7);
	assert_int_equal(answer.processes, 2);
	assert_int_equal(answer.pids[0], a); /* the event's own first */
	assert_int_equal(answer.pids[1], b);
	assert_string_equal(answer.exe, file);
	assert_int_equal(answer.uid, getuid());
	assert_true(answer.start > 0);
	assert_string_equal(answer.refused, "");
	assert_string_equal(answer.detection, ID);
	end(other);
}

static void event_process_at_once(void **state)
{
	struct amp_identity i = identity_of(file);
	pid_t a = run(file);

	(void)state;
	assert_int_equal(ask_as(1, ID, &i, a, NULL), 0);
	assert_true(killed(a)); /* before the loop has run */
	loop();
	assert_int_equal(answer.processes, 1);
}

static void innocent_event_process_lives(void **state)
{
	pid_t other = run("/bin/sleep");

	(void)state;
	ask(1, identity_of(file), other);
	assert_true(alive(other));
	assert_int_equal(answer.count, 1);
	assert_int_equal(answer.processes, 0);
	ask(2, identity_of("/proc/self/exe"), getpid()); /* never ourselves */
	end(other);
}

static void interpreter_only_for_the_event(void **state)
{
	char shell[128];
	struct amp_identity script = identity_of("/etc/passwd"), interpreter;
	pid_t a, b;

	(void)state;
	snprintf(shell, sizeof(shell), "%s/shell", dir);
	copy_program(shell);
	a = run(shell);
	b = run(shell);
	interpreter = identity_of(shell);
	assert_int_equal(ask_as(1, ID, &script, a, &interpreter), 0);
	loop();
	assert_true(killed(a));
	assert_true(alive(b));
	assert_int_equal(answer.processes, 1);
	end(b);
}

static int64_t boottime(void)
{
	struct timespec ts;

	assert_int_equal(clock_gettime(CLOCK_BOOTTIME, &ts), 0);
	return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

/* Who has the event's pid and started after its process was seen is somebody else. */
static void an_interpreter_that_started_later_lives(void **state)
{
	struct amp_identity script = identity_of("/etc/passwd"), interpreter = identity_of(file);
	int64_t before = boottime();
	pid_t a;

	(void)state;
	usleep(20000); /* a tick is 10 ms */
	a = run(file);
	for (int known = 0; known < 2; known++) {
		seen_ns = known ? before : 0;
		assert_int_equal(ask_as(1, ID, &script, a, &interpreter), 0);
		loop();
		assert_true(alive(a));
		assert_int_equal(answer.processes, 0);
		assert_true(answer.stranger);
	}
	seen_ns = boottime();
	usleep(20000);
	assert_int_equal(ask_as(2, ID, &script, a, &interpreter), 0);
	loop();
	assert_true(killed(a));
	assert_int_equal(answer.processes, 1);
	assert_false(answer.stranger);
	/* By the program's inode it dies whenever it started. */
	a = run(file);
	seen_ns = before;
	ask(3, identity_of(file), a);
	assert_true(killed(a));
	assert_false(answer.stranger);
}

/* A process is as old as it was before its exec. */
static void its_start_stays_over_an_exec(void **state)
{
	struct amp_identity script = identity_of("/etc/passwd"), interpreter = identity_of("/bin/sleep");
	int go[2], through[2];
	pid_t a;
	char c;

	(void)state;
	assert_int_equal(pipe2(go, O_CLOEXEC), 0);
	assert_int_equal(pipe2(through, O_CLOEXEC), 0);
	a = fork();
	assert_true(a >= 0);
	if (a == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (read(go[0], &c, 1) == 1)
			execl("/bin/sleep", "sleep", "600", (char *)NULL);
		_exit(127);
	}
	close(through[1]);
	usleep(20000);
	seen_ns = boottime();
	usleep(20000); /* a tick is 10 ms */
	assert_int_equal(write(go[1], "x", 1), 1);
	assert_int_equal(read(through[0], &c, 1), 0); /* closed by the exec */
	close(through[0]);
	close(go[0]);
	close(go[1]);
	assert_int_equal(ask_as(1, ID, &script, a, &interpreter), 0);
	loop();
	assert_true(killed(a));
}

static void wrong_interpreter(void **state)
{
	struct amp_identity script = identity_of("/etc/passwd"), interpreter = identity_of(file);
	pid_t a = run("/bin/sleep");

	(void)state;
	assert_int_equal(ask_as(1, ID, &script, a, &interpreter), 0);
	loop();
	assert_true(alive(a));
	end(a);
}

static void policy_says_no(void **state)
{
	struct amp_identity i = identity_of(file);
	Amp__Kill m = AMP__KILL__INIT;
	Amp__Identity wire = AMP__IDENTITY__INIT;
	uint8_t sha[32] = {9};
	pid_t a = run(file);

	(void)state;
	policy.protects = false;
	ask(1, i, a);
	assert_true(alive(a));
	assert_int_equal(answer.count, 1);
	assert_string_equal(answer.refused, "policy is audit");
	policy.protects = true;
	m.detection_id = (char *)(uintptr_t)ID;
	m.sha256.data = sha;
	m.sha256.len = 32;
	amp_identity_to_wire(&i, &wire);
	m.file = &wire;
	m.event_pid = a;
	assert_int_equal(mon_kill_request(k, 2, &m, &policy), 0);
	loop();
	assert_true(alive(a));
	assert_int_equal(answer.count, 2);
	assert_string_equal(answer.refused, "not on the blocked list");
	end(a);
}

static void each_ours(void (*fn)(pid_t pid, void *to), void *to, void *arg)
{
	(void)arg;
	if (ours > 0)
		fn(ours, to);
}

static int ask_by_signature(uint64_t id, struct amp_identity i, uint8_t sha[32], const char *signature)
{
	Amp__Kill m = AMP__KILL__INIT;
	Amp__Identity wire = AMP__IDENTITY__INIT;
	int rc;

	m.detection_id = (char *)(uintptr_t)ID;
	m.sha256.data = sha;
	m.sha256.len = 32;
	m.signature = (char *)(uintptr_t)signature;
	amp_identity_to_wire(&i, &wire);
	m.file = &wire;
	rc = mon_kill_request(k, id, &m, &policy);
	loop();
	return rc;
}

/* On no list: the signature is the reason. */
static void a_signature_is_enough(void **state)
{
	uint8_t sha[32] = {9}, allowed[32] = {7};
	char longest[AMP_SIGNATURE_MAX + 2];
	pid_t a = run(file);

	(void)state;
	memcpy(policy.allowed, allowed, 32);
	policy.engine = false;
	assert_int_equal(ask_by_signature(1, identity_of(file), sha, "Some.Signature"), 0);
	assert_string_equal(answer.refused, "the policy is without the engine");
	policy.engine = true;
	assert_int_equal(ask_by_signature(2, identity_of(file), allowed, "Some.Signature"), 0);
	assert_string_equal(answer.refused, "on the allowed list");
	policy.protects = false;
	assert_int_equal(ask_by_signature(3, identity_of(file), sha, "Some.Signature"), 0);
	assert_string_equal(answer.refused, "policy is audit");
	policy.protects = true;
	memset(longest, 'x', sizeof(longest) - 1);
	longest[sizeof(longest) - 1] = 0;
	assert_int_equal(ask_by_signature(4, identity_of(file), sha, longest), -1);
	assert_true(alive(a));
	assert_int_equal(ask_by_signature(5, identity_of(file), sha, "Some.Signature"), 0);
	assert_string_equal(answer.refused, "");
	assert_true(killed(a));
}

/* What PID 1 or a room runs, and what lies beside the rooms' programs. */
static void no_signature_kills_the_foundations(void **state)
{
	const struct mon_kill_ops ops = {.killed = on_killed, .is_ours = is_ours, .each_ours = each_ours};
	uint8_t sha[32] = {9};
	char link[128], other[128];
	pid_t a, b;

	(void)state;
	mon_kill_free(k);
	k = mon_kill_new(base, NULL, &ops);
	assert_non_null(k);
	policy.engine = true;
	snprintf(link, sizeof(link), "%s/hard", dir);
	assert_int_equal(linkat(AT_FDCWD, file, AT_FDCWD, link, 0), 0);
	a = run(file);
	ours = run(link); /* the same inode by another name */
	assert_int_equal(ask_by_signature(1, identity_of(file), sha, "Bad.Signature"), 0);
	assert_string_equal(answer.refused, "PID 1 or the suite runs it");
	assert_true(alive(a));
	end(ours);
	ours = -1;
	mon_kill_never(k, dir);
	snprintf(other, sizeof(other), "%s/later", dir);
	copy_program(other);
	b = run(other);
	assert_int_equal(ask_by_signature(2, identity_of(file), sha, "Bad.Signature"), 0);
	assert_string_equal(answer.refused, "PID 1 or the suite runs it");
	assert_true(alive(a));
	assert_int_equal(ask_by_signature(3, identity_of(other), sha, "Bad.Signature"), 0);
	assert_string_equal(answer.refused, "");
	assert_true(killed(b));
	end(a);
	if (stat("/proc/1/exe", &(struct stat){0}) != 0)
		return;
	assert_int_equal(ask_by_signature(4, identity_of("/proc/1/exe"), sha, "Bad.Signature"), 0);
	assert_string_equal(answer.refused, "PID 1 or the suite runs it");
}

static void the_suite_is_spared(void **state)
{
	pid_t a = run(file);

	(void)state;
	ours = a;
	ask(1, identity_of(file), a);
	assert_true(alive(a));
	assert_int_equal(answer.processes, 0);
	/* And what a room of it has started. */
	ours = getpid();
	ask(2, identity_of(file), a);
	loop();
	assert_true(alive(a));
	assert_int_equal(answer.processes, 0);
	end(a);
}

static void remembered(void **state)
{
	struct amp_identity i = identity_of(file);
	pid_t a = run(file), b;

	(void)state;
	ask(1, i, a);
	assert_true(killed(a));
	ask(2, i, a);
	assert_int_equal(answer.id, 2);
	assert_int_equal(answer.processes, 1);
	assert_int_equal(answer.pids[0], a);
	b = run(file);
	ask(3, i, 0);
	assert_true(killed(b));
	assert_int_equal(answer.processes, 2);
	assert_int_equal(ask_as(4, "11234567-89ab-4def-8123-456789abcdef", &i, 0, NULL), 0);
	loop();
	assert_int_equal(answer.processes, 0); /* another detection */
}

static void old_memories_go(void **state)
{
	struct amp_identity i = identity_of(file);
	char id[40];

	(void)state;
	ask(1, i, run(file));
	assert_int_equal(answer.processes, 1);
	for (unsigned n = 0; n < 4096; n++) {
		snprintf(id, sizeof(id), "%08x-89ab-4def-8123-456789abcdee", n);
		assert_int_equal(ask_as(2, id, &i, 0, NULL), 0);
		if (n % 512 == 511)
			loop();
	}
	loop();
	assert_int_equal(answer.count, 1 + 4096);
	ask(3, i, 0);
	assert_int_equal(answer.processes, 0);
	waitpid(-1, NULL, 0);
}

static void renamed_or_unlinked_meanwhile(void **state)
{
	struct amp_identity i = identity_of(file);
	char other[160];
	pid_t a = run(file), b;

	(void)state;
	usleep(20000);
	snprintf(other, sizeof(other), "%s2", file);
	assert_int_equal(rename(file, other), 0);
	ask(1, i, 0);
	assert_true(killed(a));
	b = run(other);
	assert_int_equal(utimensat(AT_FDCWD, other, NULL, 0), 0);
	assert_int_equal(unlink(other), 0);
	ask(2, i, 0);
	assert_true(killed(b));
}

/* Same number and size, but another file: born after the judged one's last change. */
static void inode_used_again(void **state)
{
	struct amp_identity i = identity_of(file);
	pid_t a = run(file);

	(void)state;
	i.ctime_ns -= 3600 * AMP_NS_PER_SEC;
	i.mtime_ns -= 3600 * AMP_NS_PER_SEC;
	ask(1, i, a);
	assert_true(alive(a));
	i = identity_of(file);
	i.size++;
	ask(2, i, a);
	assert_true(alive(a));
	i = identity_of(file);
	i.ino++;
	ask(3, i, a);
	assert_true(alive(a));
	i = identity_of(file);
	i.dev_minor++;
	ask(4, i, a);
	assert_true(alive(a));
	end(a);
}

static void through_an_overlay(void **state)
{
	struct amp_identity i = identity_of(file);
	pid_t a = run(file), b = run(file);

	(void)state;
	device_is_plain = false;
	i.dev_minor++;
	i.ino |= 0x80ULL << 56;
	i.mtime_ns++;
	ask(1, i, a);
	assert_true(alive(a));
	i.mtime_ns--;
	ask(2, i, a);
	assert_true(killed(a));
	assert_true(killed(b));
}

static void shared_pass(void **state)
{
	char file2[160];
	struct amp_identity i = identity_of(file), i2;
	pid_t a = run(file), b;

	(void)state;
	snprintf(file2, sizeof(file2), "%s2", file);
	copy_program(file2);
	b = run(file2);
	i2 = identity_of(file2);
	assert_int_equal(ask_as(1, ID, &i, 0, NULL), 0);
	assert_int_equal(ask_as(2, "11234567-89ab-4def-8123-456789abcdef", &i2, 0, NULL), 0);
	loop();
	assert_true(killed(a));
	assert_true(killed(b));
	assert_int_equal(answer.count, 2);
}

static void forks_all_the_time(void **state)
{
	char script[512], ready[128];
	struct pollfd p = {.events = POLLIN};
	bool alone = false, died;
	pid_t sh;

	(void)state;
	snprintf(ready, sizeof(ready), "%s/ready", dir);
	assert_int_equal(mkfifo(ready, 0600), 0);
	p.fd = open(ready, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	/* Children wait in open(2) of a FIFO: the program itself, using no processor. */
	snprintf(script, sizeof(script),
		 "cd %s; cp /bin/sh evil; mkfifo f; exec ./evil -c "
		 "'n=0; while [ $n -lt 2000 ]; do (read x <f) & n=$((n+1)); [ $n -ne 20 ] || echo >ready; "
		 "done; wait'",
		 dir);
	prctl(PR_SET_CHILD_SUBREAPER, 1); /* a zombie would still be of the group */
	sh = fork();
	if (sh == 0) {
		setpgid(0, 0);
		execl("/bin/sh", "sh", "-c", script, (char *)NULL);
		_exit(127);
	}
	assert_int_equal(poll(&p, 1, 60000), 1); /* some are there, and it goes on */
	close(p.fd);
	ask(1, identity_of(file), 0);
	died = killed(sh);
	for (int i = 0; i < 6000 && !alone; i++) { /* nobody of its group is left */
		usleep(10000);
		while (waitpid(-1, NULL, WNOHANG) > 0)
			;
		alone = kill(-sh, 0) < 0;
	}
	kill(-sh, SIGKILL); /* nobody is left behind, also by a test that fails */
	assert_true(died);
	assert_true(answer.all >= 2); /* the last message may be of one */
	assert_true(alone);
}

static void breaks_the_protocol(void **state)
{
	Amp__Kill m = AMP__KILL__INIT;
	Amp__Identity wire = AMP__IDENTITY__INIT;
	struct amp_identity i = identity_of(file);

	(void)state;
	amp_identity_to_wire(&i, &wire);
	m.detection_id = (char *)(uintptr_t)ID;
	m.sha256.data = policy.blocked;
	m.sha256.len = 32;
	assert_int_equal(mon_kill_request(k, 1, &m, &policy), -1); /* no file */
	m.file = &wire;
	m.sha256.len = 31;
	assert_int_equal(mon_kill_request(k, 1, &m, &policy), -1);
	m.sha256.len = 32;
	m.event_pid = -1;
	assert_int_equal(mon_kill_request(k, 1, &m, &policy), -1);
	m.event_pid = 0;
	m.event_seen_ns = -1;
	assert_int_equal(mon_kill_request(k, 1, &m, &policy), -1);
	m.event_seen_ns = 0;
	m.detection_id = (char *)(uintptr_t) "not a uuid";
	assert_int_equal(mon_kill_request(k, 1, &m, &policy), -1);
	m.detection_id = (char *)(uintptr_t)(ID "0");
	assert_int_equal(mon_kill_request(k, 1, &m, &policy), -1);
	assert_int_equal(answer.count, 0);
}

static void more_than_a_message_holds(void **state)
{
	pid_t pids[2 * AMP_KILL_RESULTS + 20];
	size_t n = sizeof(pids) / sizeof(pids[0]);

	(void)state;
	for (size_t i = 0; i < n; i++)
		pids[i] = run(file);
	ask(1, identity_of(file), pids[0]);
	for (size_t i = 0; i < n; i++)
		assert_true(killed(pids[i]));
	assert_int_equal(answer.count, 1); /* one last message; the others said that more follows */
	assert_int_equal(answer.all, n);
	assert_int_equal(answer.more, 0);
	/* And it goes on: a detection may be repeated for days. */
	pids[0] = run(file);
	answer.all = 0;
	ask(2, identity_of(file), pids[0]);
	assert_true(killed(pids[0]));
	assert_int_equal(answer.count, 2);
	assert_int_equal(answer.all, answer.processes);
	assert_int_equal(answer.pids[answer.processes - 1], pids[0]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(kills_all_that_run_it, setup, teardown),
		cmocka_unit_test_setup_teardown(event_process_at_once, setup, teardown),
		cmocka_unit_test_setup_teardown(innocent_event_process_lives, setup, teardown),
		cmocka_unit_test_setup_teardown(interpreter_only_for_the_event, setup, teardown),
		cmocka_unit_test_setup_teardown(an_interpreter_that_started_later_lives, setup, teardown),
		cmocka_unit_test_setup_teardown(its_start_stays_over_an_exec, setup, teardown),
		cmocka_unit_test_setup_teardown(wrong_interpreter, setup, teardown),
		cmocka_unit_test_setup_teardown(policy_says_no, setup, teardown),
		cmocka_unit_test_setup_teardown(a_signature_is_enough, setup, teardown),
		cmocka_unit_test_setup_teardown(no_signature_kills_the_foundations, setup, teardown),
		cmocka_unit_test_setup_teardown(the_suite_is_spared, setup, teardown),
		cmocka_unit_test_setup_teardown(remembered, setup, teardown),
		cmocka_unit_test_setup_teardown(old_memories_go, setup, teardown),
		cmocka_unit_test_setup_teardown(renamed_or_unlinked_meanwhile, setup, teardown),
		cmocka_unit_test_setup_teardown(inode_used_again, setup, teardown),
		cmocka_unit_test_setup_teardown(through_an_overlay, setup, teardown),
		cmocka_unit_test_setup_teardown(shared_pass, setup, teardown),
		cmocka_unit_test_setup_teardown(more_than_a_message_holds, setup, teardown),
		cmocka_unit_test_setup_teardown(forks_all_the_time, setup, teardown),
		cmocka_unit_test_setup_teardown(breaks_the_protocol, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
