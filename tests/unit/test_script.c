/*
 * tests/unit/test_script.c - whose process a script's exec event is: only one
 * that runs the script's interpreter by now.
 */
#include "scantest.h"

#include "ampscand/scand.h"
#include "ampscand/script.h"
#include "tests/unit/procstat.h"
#include "tests/unit/skip.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#define FS 7

static char dir[64] = "/tmp/amp-scripttest-XXXXXX";
static char program[128], twin[128];
static struct scand scand;
static const struct amp_fileid script = {.fsid = FS, .handle = {.type = 1, .size = 1, .bytes = {1}}};

static void copy(const char *from, const char *to)
{
	char buf[65536];
	int in = open(from, O_RDONLY | O_CLOEXEC), out = open(to, O_WRONLY | O_CREAT | O_CLOEXEC, 0755);
	ssize_t n;

	assert_true(in >= 0 && out >= 0);
	while ((n = read(in, buf, sizeof(buf))) > 0)
		assert_int_equal(write(out, buf, (size_t)n), n);
	close(in);
	close(out);
}

static int set_up(void **state)
{
	Amp__FileSystem w = AMP__FILE_SYSTEM__INIT;

	(void)state;
	if (!mkdtemp(dir))
		return -1;
	snprintf(program, sizeof(program), "%s/interpreter", dir);
	snprintf(twin, sizeof(twin), "%s/twin", dir);
	copy("/bin/sleep", program);
	copy("/bin/sleep", twin);
	w.fsid = FS;
	w.how = AMP__FILE_SYSTEM__HOW__BY_HANDLE;
	scand.proc = open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC);
	scand.who = who_table_new(scand.proc);
	if (filesystems_init(&scand.filesystems) != 0 || verdicts_init(&scand.verdicts, 16) != 0)
		return -1;
	intake_ops(&scand, &scand.source_ops);
	return filesystems_set(&scand.filesystems, &w);
}

static int tear_down(void **state)
{
	(void)state;
	filesystems_free(&scand.filesystems);
	verdicts_free(&scand.verdicts);
	who_table_free(scand.who);
	intake_free(&scand);
	close(scand.proc);
	unlink(program);
	unlink(twin);
	return rmdir(dir);
}

/* A process that runs path; the exec is through when this returns. */
static pid_t run(const char *path)
{
	int p[2];
	char c;
	pid_t pid;

	assert_int_equal(pipe2(p, O_CLOEXEC), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		execl(path, path, "1000", (char *)NULL);
		_exit(127);
	}
	close(p[1]);
	assert_int_equal(read(p[0], &c, 1), 0); /* the exec closed it */
	close(p[0]);
	return pid;
}

static void stop(pid_t pid)
{
	kill(pid, SIGKILL);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
}

static enum script_answer ask(pid_t pid, const char *line)
{
	struct amp_identity id = {.ino = 0};
	enum script_answer a = script_interpreter(&scand, pid, &script, line, line ? strlen(line) : 0, &id);
	struct stat st;

	if (a == SCRIPT_RUNS) {
		char exe[64];

		snprintf(exe, sizeof(exe), "/proc/%d/exe", (int)pid);
		assert_int_equal(stat(exe, &st), 0);
		assert_int_equal(id.ino, st.st_ino);
	}
	return a;
}

static void test_named_by_line(void **state)
{
	static const struct {
		const char *format; /* of the program's path */
		enum script_answer answer;
	} rows[] = {
		{"%s", SCRIPT_RUNS},
		{"%s -e", SCRIPT_RUNS},
		{" \t%s\t-e", SCRIPT_RUNS},
		{"%s\n/bin/true", SCRIPT_RUNS},
		{"%sx", SCRIPT_NOT_YET},
		{"/bin/true %s", SCRIPT_NOT_YET},
		{"/usr/bin/env %s", SCRIPT_RUNS},
		{"/usr/bin/env -S A=b %s -x", SCRIPT_RUNS},
		{"/bin/true", SCRIPT_NOT_YET},
		{"", SCRIPT_NOT_YET},
		{"   ", SCRIPT_NOT_YET},
		{"relative", SCRIPT_NOT_YET},
		{"/", SCRIPT_NOT_YET},
		{"/usr/bin/env", SCRIPT_NOT_YET},
		{"/usr/bin/env -", SCRIPT_NOT_YET},
	};
	pid_t pid = run(program);
	char line[512];

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
		snprintf(line, sizeof(line), rows[i].format, program);
#pragma GCC diagnostic pop
		if (ask(pid, line) != rows[i].answer)
			fail_msg("\"%s\": not %d", line, (int)rows[i].answer);
	}
	assert_int_equal(ask(pid, NULL), SCRIPT_NOT_YET);
	stop(pid);
}

/* A file with the same content is another program. */
static void test_twin(void **state)
{
	pid_t pid = run(twin);

	(void)state;
	assert_int_equal(ask(pid, program), SCRIPT_NOT_YET);
	assert_int_equal(ask(pid, twin), SCRIPT_RUNS);
	stop(pid);
}

static void test_env_finds_it(void **state)
{
	pid_t pid = run("/bin/sleep");

	(void)state;
	assert_int_equal(ask(pid, "/usr/bin/env sleep"), SCRIPT_RUNS);
	assert_int_equal(ask(pid, "/usr/bin/env -i X=1 sleep 5"), SCRIPT_RUNS);
	assert_int_equal(ask(pid, "/usr/bin/env true"), SCRIPT_NOT_YET);
	assert_int_equal(ask(pid, "/usr/bin/true sleep"), SCRIPT_NOT_YET);
	stop(pid);
}

static void test_gone(void **state)
{
	pid_t pid = run(program);

	(void)state;
	stop(pid);
	assert_int_equal(ask(pid, program), SCRIPT_GONE);
}

static void test_lines_of_any_length(void **state)
{
	pid_t pid = run(program);
	char line[2000];

	(void)state;
	memset(line, '/', sizeof(line) - 1);
	line[sizeof(line) - 1] = '\0';
	assert_int_equal(ask(pid, line), SCRIPT_NOT_YET);
	memcpy(line, "/usr/bin/env ", 13);
	assert_int_equal(ask(pid, line), SCRIPT_NOT_YET);
	for (size_t i = 13; i + 2 < sizeof(line); i += 2)
		memcpy(line + i, "- ", 2);
	assert_int_equal(ask(pid, line), SCRIPT_NOT_YET);
	stop(pid);
}

/* -- by what the process executed after the script -- */

static void executed(pid_t pid, const struct amp_fileid *file)
{
	struct file_event ev = {.bits = EVENT_EXEC,
				.file = *file,
				.pid = pid,
				.pidfd = -1,
				.fd = -1,
				.slot = {.kind = SLOT_NONE}};

	scand.source_ops.event(&ev, scand.source_ops.arg);
}

static void judged(const struct amp_fileid *file, const char *path)
{
	uint8_t sha[AMP_SHA256_SIZE] = {1};
	struct amp_identity id;

	assert_int_equal(amp_statx_identity(AT_FDCWD, path, 0, &id), 0);
	verdicts_store(&scand.verdicts, file, &id, sha, false, false, 1);
}

static void test_executed_after(void **state)
{
	struct amp_fileid interpreter = st_id(FS, 100), other = st_id(FS, 101);
	pid_t pid = run(program);

	(void)state;
	judged(&interpreter, program);
	judged(&other, twin);
	executed(pid, &interpreter); /* before the script: its caller */
	assert_int_equal(ask(pid, "/bin/true"), SCRIPT_NOT_YET);
	executed(pid, &script);
	assert_int_equal(ask(pid, "/bin/true"), SCRIPT_NOT_YET);
	executed(pid, &other);
	assert_int_equal(ask(pid, "/bin/true"), SCRIPT_NOT_YET);
	executed(pid + 1, &interpreter); /* someone else's exec */
	assert_int_equal(ask(pid, "/bin/true"), SCRIPT_NOT_YET);
	executed(pid, &interpreter);
	assert_int_equal(ask(pid, "/bin/true"), SCRIPT_RUNS);
	/* Many more execs: what is not known any more is not guessed. */
	for (unsigned i = 0; i < 20; i++)
		executed(pid, &other);
	assert_int_equal(ask(pid, "/bin/true"), SCRIPT_NOT_YET);
	stop(pid);
}

/* Ticks of proc(5), field 22. */
static int64_t start_ns(pid_t pid)
{
	char line[PROCSTAT_SIZE];
	const char *at = procstat_fields(pid, line);
	unsigned long long ticks;

	for (int field = 3; field < 22; field++)
		at = strchr(at, ' ') + 1;
	ticks = strtoull(at, NULL, 10);
	return (int64_t)ticks * (1000000000 / sysconf(_SC_CLK_TCK));
}

/* Whom the descriptor of an event shows alive is known by that moment; who comes later is not. */
static void test_seen(void **state)
{
	pid_t pid = run(program), later;
	int pidfd = (int)syscall(SYS_pidfd_open, pid, 0U);
	struct who *w;
	int64_t seen;

	(void)state;
	if (pidfd < 0) {
		stop(pid);
		SKIP_WITHOUT("pidfd_open(2), which valgrind has not");
		return;
	}
	w = who_look(scand.who, pid, pidfd);
	seen = w->seen_ns;
	assert_true(seen >= start_ns(pid));
	who_unref(w);
	usleep(20000);
	later = run(program);
	assert_true(start_ns(later) > seen);
	stop(later);
	stop(pid);
	who_batch(scand.who);
	for (int i = 0; i < 2; i++) {
		w = who_look(scand.who, pid, i ? -1 : pidfd);
		assert_false(w->known);
		assert_int_equal(w->seen_ns, 0);
		who_unref(w);
	}
	close(pidfd);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_named_by_line),
		cmocka_unit_test(test_twin),
		cmocka_unit_test(test_env_finds_it),
		cmocka_unit_test(test_gone),
		cmocka_unit_test(test_lines_of_any_length),
		cmocka_unit_test(test_executed_after),
		cmocka_unit_test(test_seen),
	};

	return cmocka_run_group_tests_name("script", tests, set_up, tear_down);
}
