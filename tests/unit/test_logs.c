/*
 * tests/unit/test_logs.c - log files: how they are opened, rotation.
 */
#include "ampmon/logs.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct place {
	char path[64];
	int dir;
};

static int set_up(void **state)
{
	struct place *p = calloc(1, sizeof(*p));

	assert_non_null(p);
	strcpy(p->path, "/tmp/test_logs.XXXXXX");
	assert_non_null(mkdtemp(p->path));
	p->dir = open(p->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_true(p->dir >= 0);
	*state = p;
	return 0;
}

static int tear_down(void **state)
{
	static const char *const names[] = {
		"a.log",	 "a.log.1",	 "a.log.2",	  "a.log.3",
		"ampmon.log",	 "ampmon.log.1", "ampscand.log",  "ampread.log",
		"ampcloudd.log", "ampcli.log",	 "ampread.log.1", "ampquard.log",
		"ampengine.log", "events.json",	 "events.json.1", "events.json.2"};
	struct place *p = *state;

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		unlinkat(p->dir, names[i], 0);
	close(p->dir);
	assert_int_equal(rmdir(p->path), 0);
	free(p);
	return 0;
}

static void put(int fd, const char *text)
{
	assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
}

static void holds(int dir, const char *name, const char *text)
{
	char got[64] = "";
	int fd = openat(dir, name, O_RDONLY | O_CLOEXEC);

	assert_true(fd >= 0);
	assert_true(read(fd, got, sizeof(got) - 1) >= 0);
	assert_string_equal(got, text);
	close(fd);
}

static void opened_for_root_alone_and_appended(void **state)
{
	struct place *p = *state;
	struct stat st;
	int fd = mon_log_file_open(p->dir, "a.log", false);

	assert_true(fd >= 16); /* no place a room's descriptors take */
	put(fd, "one\n");
	close(fd);
	fd = mon_log_file_open(p->dir, "a.log", false);
	put(fd, "two\n");
	holds(p->dir, "a.log", "one\ntwo\n");
	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
	close(fd);
}

static void no_link_and_no_fifo_is_followed(void **state)
{
	struct place *p = *state;

	assert_int_equal(symlinkat("/etc/passwd", p->dir, "a.log"), 0);
	assert_int_equal(mon_log_file_open(p->dir, "a.log", false), -1);
	unlinkat(p->dir, "a.log", 0);
	assert_int_equal(mkfifoat(p->dir, "a.log", 0600), 0);
	assert_int_equal(mon_log_file_open(p->dir, "a.log", false), -1); /* and does not hang */
}

static void old_ones_are_kept_and_the_oldest_goes(void **state)
{
	static const char *const lines[] = {"1", "2", "3", "4"};
	struct place *p = *state;
	int fd = mon_log_file_open(p->dir, "a.log", false);

	for (size_t i = 0; i < 4; i++) {
		put(fd, lines[i]);
		close(fd);
		fd = mon_log_file_rotate(p->dir, "a.log", 2, false);
		assert_true(fd >= 0);
	}
	put(fd, "5");
	close(fd);
	holds(p->dir, "a.log", "5");
	holds(p->dir, "a.log.1", "4");
	holds(p->dir, "a.log.2", "3");
	assert_int_equal(faccessat(p->dir, "a.log.3", F_OK, 0), -1);
}

static void none_kept_none_left(void **state)
{
	struct place *p = *state;
	int fd = mon_log_file_open(p->dir, "a.log", false);

	put(fd, "old");
	close(fd);
	fd = mon_log_file_rotate(p->dir, "a.log", 0, false);
	put(fd, "new");
	close(fd);
	holds(p->dir, "a.log", "new");
	assert_int_equal(faccessat(p->dir, "a.log.1", F_OK, 0), -1);
}

struct replaced {
	struct event_base *base;
	unsigned file;
	int fd;
	unsigned times;
};

static void on_replaced(unsigned file, int fd, void *arg)
{
	struct replaced *r = arg;

	r->file = file;
	r->fd = fd;
	r->times++;
	event_base_loopbreak(r->base);
}

static void only_what_has_grown_is_rotated(void **state)
{
	struct place *p = *state;
	struct replaced r = {.base = event_base_new()};
	struct mon_logs_ops ops = {.replaced = on_replaced, .arg = &r};
	struct amp_iothread *io = amp_iothread_new(r.base);
	char err[256];
	struct mon_logs *l = mon_logs_new(p->path, &ops, err, sizeof(err));
	int before;

	assert_non_null(l);
	assert_int_equal(amp_iothread_start(io), 0);
	before = mon_logs_fd(l, AMP_ROLE_READ);
	put(before, "0123456789");
	mon_logs_check(l, io, 9, 1);
	mon_logs_check(l, io, 9, 1); /* not twice at a time */
	event_base_dispatch(r.base);
	assert_int_equal(r.times, 1);
	assert_int_equal(r.file, AMP_ROLE_READ);
	assert_int_equal(r.fd, before); /* whoever has the number writes to the new one */
	put(r.fd, "after");
	holds(p->dir, "ampread.log", "after");
	holds(p->dir, "ampread.log.1", "0123456789");
	amp_iothread_free(io);
	mon_logs_free(l);
	event_base_free(r.base);
}

/* Written here, read back here and by the one who writes it; the one before stays at hand. */
static void events_are_rotated_and_the_file_before_is_kept(void **state)
{
	struct place *p = *state;
	struct replaced r = {.base = event_base_new()};
	struct mon_logs_ops ops = {.replaced = on_replaced, .arg = &r};
	struct amp_iothread *io = amp_iothread_new(r.base);
	char err[256], got[16] = "";
	struct mon_logs *l = mon_logs_new(p->path, &ops, err, sizeof(err));
	int fd;

	assert_non_null(l);
	assert_int_equal(amp_iothread_start(io), 0);
	assert_int_equal(mon_logs_events_before(l), -1);
	fd = mon_logs_fd(l, MON_LOG_EVENTS);
	put(fd, "first\n");
	mon_logs_check(l, io, 4, 2);
	event_base_dispatch(r.base);
	assert_int_equal(r.file, MON_LOG_EVENTS);
	assert_int_equal(r.fd, fd);
	holds(p->dir, "events.json", "");
	assert_true(mon_logs_events_before(l) >= 16);
	assert_int_equal(pread(mon_logs_events_before(l), got, sizeof(got), 0), 6);
	put(fd, "second\n");
	assert_int_equal(pread(fd, got, sizeof(got), 0), 7);
	amp_iothread_free(io);
	mon_logs_free(l);
	l = mon_logs_new(p->path, &ops, err, sizeof(err)); /* an ampmon that starts finds both */
	assert_non_null(l);
	assert_true(mon_logs_events_before(l) >= 16);
	assert_int_equal(pread(mon_logs_events_before(l), got, sizeof(got), 0), 6);
	assert_int_equal(pread(mon_logs_fd(l, MON_LOG_EVENTS), got, sizeof(got), 0), 7);
	holds(p->dir, "events.json", "second\n");
	mon_logs_free(l);
	event_base_free(r.base);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(opened_for_root_alone_and_appended, set_up, tear_down),
		cmocka_unit_test_setup_teardown(no_link_and_no_fifo_is_followed, set_up, tear_down),
		cmocka_unit_test_setup_teardown(old_ones_are_kept_and_the_oldest_goes, set_up, tear_down),
		cmocka_unit_test_setup_teardown(none_kept_none_left, set_up, tear_down),
		cmocka_unit_test_setup_teardown(only_what_has_grown_is_rotated, set_up, tear_down),
		cmocka_unit_test_setup_teardown(events_are_rotated_and_the_file_before_is_kept, set_up,
						tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
