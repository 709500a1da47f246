/*
 * tests/unit/test_log.c - lines, forgery, limits; then the thread: order,
 * loss, rotation, fork. The tests run in the order of the table: the log is one
 * per process, and from the middle of the table on its thread runs.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "log.h"

#include "clock.h"
#include "counter.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define NOW    (1700000000 * AMP_NS_PER_SEC)
#define WINDOW (10 * AMP_NS_PER_SEC)
#define AT     "2023-11-14T22:13:20.000Z comp "
#define LONG   60000 /* ms that a thread without a processor may take */

static char text[4 << 20];
static int log_fd = -1; /* the number the log writes to, all through */

static uint64_t counter(const char *name)
{
	for (const struct amp_counter *c = amp_counter_first(); c; c = c->next)
		if (strcmp(c->name, name) == 0)
			return amp_counter_value(c);
	fail_msg("no counter %s", name);
	return 0;
}

/* Points the log's descriptor at an empty file and stops the clocks, long after the last test. */
static int setup(void **state)
{
	static int64_t monotonic;
	int fd = memfd_create("log", MFD_CLOEXEC);

	(void)state;
	if (log_fd < 0) {
		log_fd = fd;
		fcntl(fd, F_SETFL, O_APPEND);
		amp_log_open("comp", fd, AMP_LOG_INFO);
	} else {
		fcntl(fd, F_SETFL, O_APPEND);
		if (amp_log_replace_fd(fd))
			return -1;
		close(fd);
	}
	monotonic += INT64_C(1) << 50;
	amp_clock_freeze(monotonic, NOW);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	amp_log_drain(LONG);
	amp_clock_release();
	return 0;
}

static const char *content(int fd)
{
	ssize_t n = pread(fd, text, sizeof(text) - 1, 0);

	assert_true(n >= 0);
	text[n] = '\0';
	return text;
}

static size_t count(const char *what)
{
	size_t n = 0;

	for (const char *p = text; (p = strstr(p, what)); p += strlen(what))
		n++;
	return n;
}

static void test_line(void **state)
{
	(void)state;
	amp_info("%s is %d", "one", 1);
	amp_error("two");
	amp_warn("three");
	amp_debug("not at this level");
	assert_string_equal(content(log_fd), AT "info one is 1\n" AT "error two\n" AT "warn three\n");
	amp_log_set_level(AMP_LOG_DEBUG);
	amp_debug("four");
	amp_log_set_level(AMP_LOG_ERROR);
	amp_warn("not at this level");
	amp_log((enum amp_log_level)99, "no such level");
	amp_log_set_level(AMP_LOG_INFO);
	assert_non_null(strstr(content(log_fd), "three\n" AT "debug four\n"));
	assert_null(strstr(text, "level"));
}

static void test_errno(void **state)
{
	(void)state;
	errno = ENOENT;
	amp_info("cannot: %m");
	assert_int_equal(errno, ENOENT);
	assert_string_equal(content(log_fd), AT "info cannot: No such file or directory\n");
}

static void test_no_forgery(void **state)
{
	(void)state;
	amp_info("path %s", "/tmp/a\n" AT "error forged \x1b[2J\xff");
	assert_string_equal(content(log_fd), AT "info path /tmp/a\\x0a" AT "error forged \\x1b[2J\\xff\n");
}

static void test_long(void **state)
{
	static char big[20000];

	(void)state;
	memset(big, 'x', sizeof(big) - 1);
	amp_info("%s", big);
	assert_int_equal(strlen(content(log_fd)), 8192);
	assert_string_equal(text + 8192 - 5, "x...\n");
	/* Short, but not when it is escaped. */
	memset(big, '\n', 3000);
	big[3000] = '\0';
	amp_info("%s", big);
	content(log_fd);
	assert_in_range(strlen(text), 2 * 8192 - 3, 2 * 8192);
	assert_string_equal(text + strlen(text) - 8, "\\x0a...\n");
}

static void repeat(int n)
{
	for (int i = 0; i < n; i++)
		amp_info("again %d", i);
}

static void test_rate(void **state)
{
	(void)state;
	repeat(100);
	amp_info("another site");
	content(log_fd);
	assert_int_equal(count(" again "), 20);
	assert_int_equal(count("another site"), 1);
	assert_int_equal(count("more lines"), 0);
	amp_clock_advance(WINDOW - 1);
	repeat(1);
	content(log_fd);
	assert_int_equal(count(" again "), 20);
	amp_clock_advance(1);
	repeat(1);
	assert_non_null(strstr(content(log_fd), "info 81 more lines like this one within 10 s: again %d\n"));
	assert_string_equal(strrchr(text, 'Z'), "Z comp info again 0\n");
	assert_int_equal(count(" again "), 22);
}

/* A site that fell silent is summed up by the next line of any site. */
static void test_rate_told_by_others(void **state)
{
	(void)state;
	amp_clock_advance(WINDOW);
	repeat(25);
	amp_clock_advance(WINDOW);
	amp_info("other");
	content(log_fd);
	assert_non_null(strstr(text, "5 more lines like this one"));
	assert_int_equal(count("more lines"), 1);
}

/* More sites than the table has: each is still limited or at least told of. */
static void test_rate_of_many_sites(void **state)
{
	static char formats[1000][8];
	void (*volatile log_it)(enum amp_log_level, const char *, ...) = amp_log;
	size_t told = 0;

	(void)state;
	amp_clock_advance(WINDOW);
	for (int i = 0; i < 1000; i++) {
		snprintf(formats[i], sizeof(formats[i]), "f%d", i);
		for (int k = 0; k < 22; k++)
			log_it(AMP_LOG_INFO, formats[i]);
	}
	amp_log_drain(LONG);
	content(log_fd);
	for (const char *p = text; (p = strstr(p, "info 2 more lines")); p++)
		told++;
	assert_int_equal(told, 1000);
}

static void test_full_disk(void **state)
{
	int full = open("/dev/full", O_WRONLY | O_CLOEXEC);
	int keep = fcntl(log_fd, F_DUPFD_CLOEXEC, 0);
	uint64_t before = counter("log.write_failed");

	(void)state;
	assert_int_equal(amp_log_replace_fd(full), 0);
	amp_info("nowhere");
	amp_log_drain(LONG);
	assert_int_equal(counter("log.write_failed"), before + 1);
	assert_int_equal(amp_log_replace_fd(keep), 0);
	amp_info("somewhere");
	amp_log_drain(LONG);
	assert_string_equal(content(log_fd), AT "info somewhere\n");
	close(full);
	close(keep);
}

static void test_replace(void **state)
{
	int other = memfd_create("log", MFD_CLOEXEC);
	int keep = fcntl(log_fd, F_DUPFD_CLOEXEC, 0);

	(void)state;
	amp_info("old");
	amp_log_drain(LONG);
	assert_int_equal(amp_log_replace_fd(other), 0);
	assert_int_equal(fcntl(log_fd, F_GETFD), FD_CLOEXEC);
	amp_info("new");
	amp_log_drain(LONG);
	assert_string_equal(content(keep), AT "info old\n");
	assert_string_equal(content(other), AT "info new\n");
	assert_int_equal(amp_log_replace_fd(log_fd), 0);
	assert_int_equal(amp_log_replace_fd(-1), -1);
	assert_int_equal(errno, EBADF);
	close(other);
	close(keep);
}

static void test_fatal(void **state)
{
	int status;
	pid_t pid;

	(void)state;
	pid = fork();
	if (pid == 0)
		amp_fatal("cannot go on: %s", "why");
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 1);
	assert_string_equal(content(log_fd), AT "error cannot go on: why\n");
}

static void test_start(void **state)
{
	(void)state;
	assert_int_equal(amp_log_start_thread(), 0);
	assert_int_equal(amp_log_start_thread(), 0);
	amp_info("by the thread");
	amp_log_drain(LONG);
	assert_string_equal(content(log_fd), AT "info by the thread\n");
}

/* Nobody logs any more: the thread tells of what was held back. */
static void test_rate_told_by_thread(void **state)
{
	(void)state;
	repeat(30);
	amp_clock_advance(WINDOW);
	for (int i = 0; i < LONG / 10 && !strstr(content(log_fd), "10 more lines like this one"); i++)
		usleep(10000);
	assert_int_equal(count("10 more lines like this one"), 1);
}

static void *log_many(void *arg)
{
	for (int i = 0; i < 5000; i++) {
		amp_info("thread %d line %04d end", (int)(intptr_t)arg, i);
		/* Every line has a window of its own. */
		amp_clock_advance(2 * WINDOW);
	}
	return NULL;
}

static void test_many_threads(void **state)
{
	pthread_t threads[4];
	int next[4] = {0};
	uint64_t lost = counter("log.dropped");
	size_t lines = 0;

	(void)state;
	for (intptr_t i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, log_many, (void *)i), 0);
	for (int i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	amp_log_drain(LONG);
	content(log_fd);
	for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n")) {
		int thread, n, end = 0;

		if (strstr(line, "dropped") || strstr(line, "more lines"))
			continue;
		assert_int_equal(sscanf(line, "%*s comp info thread %d line %d end%n", &thread, &n, &end), 2);
		assert_int_equal(line[end], '\0');
		assert_in_range(thread, 0, 3);
		assert_true(n >= next[thread]);
		next[thread] = n + 1;
		lines++;
	}
	assert_int_equal(lines + counter("log.dropped") - lost, 20000);
}

/* In all lines of text that tell of lost ones: what the thread takes meanwhile tells of those before it. */
static uint64_t told_lost(void)
{
	uint64_t sum = 0;

	for (const char *p = text; (p = strstr(p, "comp warn ")); p += 10)
		if (strstr(p, "dropped, the log is too slow\n"))
			sum += strtoull(p + 10, NULL, 10);
	return sum;
}

/* A disk that stands still: nobody waits, what is lost is counted and told. */
static void test_stalled_disk(void **state)
{
	uint64_t lost = counter("log.dropped");
	int pipes[2], keep = fcntl(log_fd, F_DUPFD_CLOEXEC, 0);
	char line[1000];
	size_t n = 0;

	(void)state;
	assert_int_equal(pipe2(pipes, O_CLOEXEC), 0);
	assert_int_equal(amp_log_replace_fd(pipes[1]), 0);
	close(pipes[1]);
	memset(line, 'x', sizeof(line) - 1);
	line[sizeof(line) - 1] = '\0';
	for (int i = 0; i < 3000; i++) {
		amp_info("%s", line);
		amp_clock_advance(WINDOW);
	}
	lost = counter("log.dropped") - lost;
	assert_in_range(lost, 1500, 2000); /* 1 MiB in the ring, 128 KiB on the way */
	amp_log_drain(10);		   /* comes back all the same */
	while (n < sizeof(text) - 1 && (n == 0 || told_lost() < lost)) {
		ssize_t got = read(pipes[0], text + n, sizeof(text) - 1 - n);

		assert_true(got > 0);
		n += (size_t)got;
		text[n] = '\0';
	}
	assert_int_equal(told_lost(), lost);
	fcntl(pipes[0], F_SETFL, O_NONBLOCK);
	for (int i = 0; i < 500 && read(pipes[0], text, sizeof(text)) != -1; i++)
		usleep(1000);
	assert_int_equal(amp_log_replace_fd(keep), 0);
	close(keep);
	close(pipes[0]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_line, setup, teardown),
		cmocka_unit_test_setup_teardown(test_errno, setup, teardown),
		cmocka_unit_test_setup_teardown(test_no_forgery, setup, teardown),
		cmocka_unit_test_setup_teardown(test_long, setup, teardown),
		cmocka_unit_test_setup_teardown(test_rate, setup, teardown),
		cmocka_unit_test_setup_teardown(test_rate_told_by_others, setup, teardown),
		cmocka_unit_test_setup_teardown(test_rate_of_many_sites, setup, teardown),
		cmocka_unit_test_setup_teardown(test_full_disk, setup, teardown),
		cmocka_unit_test_setup_teardown(test_replace, setup, teardown),
		cmocka_unit_test_setup_teardown(test_fatal, setup, teardown),
		cmocka_unit_test_setup_teardown(test_start, setup, teardown),
		cmocka_unit_test_setup_teardown(test_rate_told_by_thread, setup, teardown),
		cmocka_unit_test_setup_teardown(test_full_disk, setup, teardown),
		cmocka_unit_test_setup_teardown(test_replace, setup, teardown),
		cmocka_unit_test_setup_teardown(test_fatal, setup, teardown),
		cmocka_unit_test_setup_teardown(test_many_threads, setup, teardown),
		cmocka_unit_test_setup_teardown(test_stalled_disk, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
