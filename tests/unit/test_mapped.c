/*
 * tests/unit/test_mapped.c - the files that processes run and map: of real
 * processes, with names that a line of /proc/PID/maps has to be taken apart for.
 */
#include "ampmon/mapped.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/unit/skip.h"

static char dir[64];
static struct event_base *base;
static char *paths;
static size_t size;
static char error[128];
static bool ended;

static int setup(void **state)
{
	(void)state;
	strcpy(dir, "/tmp/test_mapped.XXXXXX");
	base = event_base_new();
	ended = false;
	return mkdtemp(dir) && base ? 0 : -1;
}

static int teardown(void **state)
{
	char cmd[128];

	(void)state;
	event_base_free(base);
	free(paths);
	paths = NULL;
	snprintf(cmd, sizeof(cmd), "rm -rf %s", dir);
	return system(cmd);
}

static void on_done(const char *list, size_t n, const char *why, void *arg)
{
	assert_ptr_equal(arg, dir);
	paths = malloc(n + 1);
	memcpy(paths, list, n);
	size = n;
	snprintf(error, sizeof(error), "%s", why);
	ended = true;
}

static void look(const pid_t *pids, size_t count)
{
	assert_non_null(mapped_start(base, pids, count, on_done, dir));
	while (!ended)
		event_base_loop(base, EVLOOP_ONCE);
	assert_string_equal(error, "");
	/* The child is reaped with its job. */
	assert_int_equal(waitpid(-1, NULL, WNOHANG | __WALL), count > 0 && pids[0] != getpid() ? 0 : -1);
}

static size_t times(const char *path)
{
	const char *p = paths, *end = paths + size, *at;
	size_t n = 0;

	while ((at = mapped_next(&p, end)))
		n += strcmp(at, path) == 0;
	return n;
}

/* A file of dir, mapped here. */
static void *map_file(const char *name, char *path)
{
	void *at;
	int fd;

	snprintf(path, PATH_MAX, "%s/%s", dir, name);
	fd = open(path, O_RDWR | O_CREAT, 0600);
	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, 4096), 0);
	at = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, fd, 0);
	close(fd);
	assert_true(at != MAP_FAILED);
	return at;
}

static void names_are_taken_as_they_are(void **state)
{
	static const char *const names[] = {"plain",	 "with space", " leading",
					    "new\nline", "(deleted)",  "\xff\xfe"};
	char path[8][PATH_MAX], gone[PATH_MAX], exe[PATH_MAX] = "";
	void *at[8], *gone_at = map_file("gone", gone);
	const pid_t self = getpid();

	(void)state;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		at[i] = map_file(names[i], path[i]);
	assert_int_equal(unlink(gone), 0);
	look(&self, 1);
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		if (times(path[i]) != 1)
			print_error("%s: %zu\n", path[i], times(path[i]));
		assert_int_equal(times(path[i]), 1);
		munmap(at[i], 4096);
	}
	assert_int_equal(times(gone), 0);
	munmap(gone_at, 4096);
	assert_true(readlink("/proc/self/exe", exe, sizeof(exe) - 1) > 0);
	assert_int_equal(times(exe), 1);
	assert_int_equal(times("[heap]") + times("[stack]"), 0);
}

/* It runs when this returns. */
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
		execl(program, program, "600", (char *)NULL);
		_exit(127);
	}
	close(ends[1]);
	assert_int_equal(read(ends[0], &c, 1), 0); /* closed by the exec */
	close(ends[0]);
	return pid;
}

static void all_processes_once_each(void **state)
{
	char cmd[256], program[128];
	pid_t a, b;

	(void)state;
	snprintf(program, sizeof(program), "%s/sleeper", dir);
	snprintf(cmd, sizeof(cmd), "cp /bin/sleep %s", program);
	assert_int_equal(system(cmd), 0);
	a = run(program);
	b = run(program);
	assert_non_null(mapped_start(base, NULL, 0, on_done, dir));
	while (!ended)
		event_base_loop(base, EVLOOP_ONCE);
	assert_int_equal(times(program), 1);
	for (const char *p = paths, *at; (at = mapped_next(&p, paths + size));) {
		assert_int_equal(at[0], '/');
		assert_int_equal(times(at), 1);
	}
	kill(a, SIGKILL);
	kill(b, SIGKILL);
	waitpid(a, NULL, 0);
	waitpid(b, NULL, 0);
}

static void only_those_that_are_named(void **state)
{
	char cmd[256], program[128], exe[PATH_MAX] = "";
	pid_t a, gone = fork();

	(void)state;
	if (gone == 0)
		_exit(0);
	waitpid(gone, NULL, 0);
	snprintf(program, sizeof(program), "%s/sleeper", dir);
	snprintf(cmd, sizeof(cmd), "cp /bin/sleep %s", program);
	assert_int_equal(system(cmd), 0);
	a = run(program);
	look((pid_t[]){a, gone}, 2);
	assert_int_equal(times(program), 1);
	assert_true(readlink("/proc/self/exe", exe, sizeof(exe) - 1) > 0);
	assert_int_equal(times(exe), 0);
	kill(a, SIGKILL);
	waitpid(a, NULL, 0);
}

static void can_be_given_up(void **state)
{
	struct mapped_job *job = mapped_start(base, NULL, 0, on_done, dir);

	(void)state;
	assert_non_null(job);
	mapped_cancel(job);
	waitpid(-1, NULL, 0); /* it may still have been dying */
	event_base_loop(base, EVLOOP_NONBLOCK);
	assert_false(ended);
	assert_null(mapped_start(base, NULL, MAPPED_PIDS_MAX + 1, on_done, dir));
}

static pid_t child_of_ours(void)
{
	char path[64];
	pid_t pid = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/self/task/%d/children", (int)getpid());
	f = fopen(path, "re");
	if (!f)
		return 0;
	if (fscanf(f, "%d", &pid) != 1)
		pid = 0;
	fclose(f);
	return pid;
}

/* As when a process does not let its maps be read: it is tried once more, the third child goes on behind it.
 */
static void a_child_that_dies_is_followed_by_another(void **state)
{
	const pid_t self = getpid();
	pid_t list[MAPPED_PIDS_MAX];
	pid_t child, second = 0;

	(void)state;
	for (size_t i = 0; i < MAPPED_PIDS_MAX; i++)
		list[i] = self;
	assert_non_null(mapped_start(base, list, MAPPED_PIDS_MAX, on_done, dir));
	child = child_of_ours();
	if (child == 0)
		SKIP_WITHOUT(
			"children in /proc, or they were too quick"); /* the kernel does not show children */
	kill(child, SIGKILL);
	while (!ended) {
		event_base_loop(base, EVLOOP_ONCE);
		if (ended || second)
			continue;
		second = child_of_ours();
		if (second)
			kill(second, SIGKILL);
	}
	/* They may have been done before the signal. */
	if (error[0])
		assert_non_null(strstr(error, "does not let its maps be read"));
	assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
}

/* Stopped is as good as hanging in the kernel. It does so once: what it was at is known all the same. */
static void a_child_that_hangs_is_given_up(void **state)
{
	const pid_t self = getpid();
	struct timespec from, to;
	char exe[PATH_MAX] = "";
	pid_t child;

	(void)state;
	assert_non_null(mapped_start(base, &self, 1, on_done, dir));
	child = child_of_ours();
	if (child == 0 || kill(child, SIGSTOP) != 0)
		SKIP_WITHOUT("children in /proc, or they were too quick");
	clock_gettime(CLOCK_MONOTONIC, &from);
	while (!ended)
		event_base_loop(base, EVLOOP_ONCE);
	clock_gettime(CLOCK_MONOTONIC, &to);
	assert_in_range(to.tv_sec - from.tv_sec, 0, 60); /* 5 to 10 s */
	assert_string_equal(error, "");
	assert_true(readlink("/proc/self/exe", exe, sizeof(exe) - 1) > 0);
	assert_int_equal(times(exe), 1);
	event_base_loop(base, EVLOOP_ONCE); /* the one that was given up is reaped */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(names_are_taken_as_they_are, setup, teardown),
		cmocka_unit_test_setup_teardown(all_processes_once_each, setup, teardown),
		cmocka_unit_test_setup_teardown(only_those_that_are_named, setup, teardown),
		cmocka_unit_test_setup_teardown(can_be_given_up, setup, teardown),
		cmocka_unit_test_setup_teardown(a_child_that_dies_is_followed_by_another, setup, teardown),
		cmocka_unit_test_setup_teardown(a_child_that_hangs_is_given_up, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
