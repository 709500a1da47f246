/*
 * tests/unit/test_keeps.c - records that ampmon keeps for ampscand: on disk before
 * it is told, the newest of each name, and nothing that is no record.
 */
#include "ampmon/keep.h"
#include "proto/types.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static char dir[128];
static struct event_base *base;
static struct amp_iothread *io;
static struct mon_keep *k;
static uint8_t largest[AMP_KEEP_MAX + 1];

static struct {
	unsigned count, generation;
	uint64_t id;
	char name[64];
	int error;
	char on_disk[64]; /* what the file held when we were told */
} told;

static ssize_t read_record(const char *name, char *out, size_t size)
{
	char path[256];
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "%s/keep/%s", dir, name);
	fd = open(path, O_RDONLY);
	if (fd < 0)
		return -1;
	n = read(fd, out, size - 1);
	close(fd);
	out[n > 0 ? n : 0] = '\0';
	return n;
}

static void on_kept(unsigned generation, uint64_t id, const char *name, int error, void *arg)
{
	assert_ptr_equal(arg, dir);
	told.count++;
	told.generation = generation;
	told.id = id;
	told.error = error;
	snprintf(told.name, sizeof(told.name), "%s", name);
	if (read_record(name, told.on_disk, sizeof(told.on_disk)) < 0)
		strcpy(told.on_disk, "none");
}

static void open_keep(void)
{
	const struct mon_keep_ops ops = {.kept = on_kept, .arg = dir};
	char err[256];

	base = event_base_new();
	io = amp_iothread_new(base);
	assert_int_equal(amp_iothread_start(io), 0);
	k = mon_keep_new(dir, io, &ops, err, sizeof(err));
	if (!k)
		print_error("%s\n", err);
	assert_non_null(k);
	memset(&told, 0, sizeof(told));
}

static void close_keep(void)
{
	amp_iothread_free(io);
	mon_keep_free(k);
	event_base_free(base);
}

static int setup(void **state)
{
	(void)state;
	strcpy(dir, "/tmp/test_keeps.XXXXXX");
	if (!mkdtemp(dir))
		return -1;
	open_keep();
	return 0;
}

static int teardown(void **state)
{
	char cmd[256];

	(void)state;
	close_keep();
	snprintf(cmd, sizeof(cmd), "rm -rf %s", dir);
	return system(cmd);
}

static int put_bytes(uint64_t id, const char *name, const uint8_t *data, size_t n)
{
	Amp__Keep keep = AMP__KEEP__INIT;

	keep.name = (char *)(uintptr_t)name;
	keep.record.data = (uint8_t *)(uintptr_t)data;
	keep.record.len = n;
	return mon_keep_put(k, 3, id, &keep);
}

static int put(uint64_t id, const char *name, const char *text)
{
	return put_bytes(id, name, (const uint8_t *)text, strlen(text));
}

static void wait_for(unsigned count)
{
	while (told.count < count)
		event_base_loop(base, EVLOOP_ONCE);
}

struct seen {
	size_t count;
	char all[4096];
};

static void see(const char *name, const uint8_t *record, size_t size, void *arg)
{
	struct seen *s = arg;
	size_t used = strlen(s->all);

	s->count++;
	snprintf(s->all + used, sizeof(s->all) - used, "%s=%.*s;", name, size < 32 ? (int)size : 32,
		 (const char *)record);
}

static struct seen seen(void)
{
	struct seen s = {0};

	mon_keep_each(k, see, &s);
	return s;
}

static void told_when_on_disk(void **state)
{
	struct stat st;
	char path[256];

	(void)state;
	assert_int_equal(put(17, "scan-1", "first"), 0);
	assert_string_equal(seen().all, "scan-1=first;");
	wait_for(1);
	assert_int_equal(told.id, 17);
	assert_int_equal(told.generation, 3);
	assert_int_equal(told.error, 0);
	assert_string_equal(told.name, "scan-1");
	assert_string_equal(told.on_disk, "first");
	snprintf(path, sizeof(path), "%s/keep", dir);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0700);
	snprintf(path, sizeof(path), "%s/keep/scan-1", dir);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
}

static void the_newest_wins_and_empty_forgets(void **state)
{
	char text[64];

	(void)state;
	put(1, "a", "one");
	put(2, "b", "two");
	put(3, "a", "three");
	wait_for(3);
	assert_int_equal(read_record("a", text, sizeof(text)), 5);
	assert_string_equal(text, "three");
	put(4, "b", "");
	wait_for(4);
	assert_string_equal(told.on_disk, "none");
	assert_string_equal(seen().all, "a=three;");
	put(5, "never-there", "");
	wait_for(5);
	assert_int_equal(told.error, 0);
	assert_string_equal(seen().all, "a=three;");
}

static void records_outlive_ampmon(void **state)
{
	(void)state;
	put(1, "brake", "held");
	memset(largest, 'x', sizeof(largest));
	assert_int_equal(put_bytes(2, "large", largest, AMP_KEEP_MAX), 0);
	wait_for(2);
	assert_int_equal(told.error, 0);
	close_keep();
	open_keep();
	assert_int_equal(seen().count, 2);
	assert_non_null(strstr(seen().all, "brake=held;"));
	assert_non_null(strstr(seen().all, "large=xxxx"));
}

static void what_is_no_request(void **state)
{
	static const char *const wrong[] = {
		"", "A", "a/b", "..", ".new", "a b", "a.b", "\xff", "a23456789012345678901234567890123"};

	(void)state;
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		assert_int_equal(put(1, wrong[i], "x"), -1);
	assert_int_equal(put_bytes(1, "large", largest, AMP_KEEP_MAX + 1), -1);
	assert_int_equal(put(1, "a2345678901234567890123456789012", "x"), 0);
	wait_for(1);
	assert_int_equal(told.error, 0);
}

static void no_more_than_there_is_room_for(void **state)
{
	char name[32];

	(void)state;
	for (unsigned i = 0; i < AMP_KEEPS; i++) {
		snprintf(name, sizeof(name), "n-%u", i);
		assert_int_equal(put(i, name, "x"), 0);
	}
	wait_for(AMP_KEEPS);
	put(99, "one-more", "x");
	assert_int_equal(told.count, AMP_KEEPS + 1); /* at once */
	assert_int_equal(told.error, ENOSPC);
	put(100, "n-0", "y"); /* what is there can be changed */
	wait_for(AMP_KEEPS + 2);
	assert_int_equal(told.error, 0);
	put(101, "n-0", "");
	put(102, "one-more", "x");
	wait_for(AMP_KEEPS + 4);
	assert_int_equal(told.error, 0);
	assert_int_equal(seen().count, AMP_KEEPS);
}

/* An ampscand that does not wait for answers is none. */
static void a_flood_is_a_breach(void **state)
{
	unsigned n = 0;

	(void)state;
	while (n < 100000 && put(n, "flood", "x") == 0)
		n++;
	assert_in_range(n, AMP_KEEPS, 99999);
	wait_for(n);
}

static void what_cannot_be_written_is_told(void **state)
{
	char path[256];

	(void)state;
	snprintf(path, sizeof(path), "%s/keep", dir);
	assert_int_equal(rmdir(path), 0);
	put(8, "scan-1", "x");
	wait_for(1);
	assert_int_equal(told.id, 8);
	assert_int_equal(told.error, ENOENT);
}

static void leave_file(const char *name, const char *text, mode_t mode)
{
	char path[256];
	int fd;

	snprintf(path, sizeof(path), "%s/keep/%s", dir, name);
	fd = open(path, O_WRONLY | O_CREAT, 0600);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	assert_int_equal(fchmod(fd, mode), 0);
	close(fd);
}

static void what_is_no_record_is_left_out(void **state)
{
	char path[256], text[64];

	(void)state;
	leave_file("good", "yes", 0600);
	leave_file("open-to-all", "no", 0666);
	leave_file("UPPER", "no", 0600);
	leave_file("empty", "", 0600);
	leave_file(".new", "half", 0600);
	snprintf(path, sizeof(path), "%s/keep/link", dir);
	assert_int_equal(symlink("good", path), 0);
	snprintf(path, sizeof(path), "%s/keep/fifo", dir);
	assert_int_equal(mkfifo(path, 0600), 0);
	snprintf(path, sizeof(path), "%s/keep/too-large", dir);
	leave_file("too-large", "x", 0600);
	assert_int_equal(truncate(path, AMP_KEEP_MAX + 1), 0);
	close_keep();
	open_keep();
	assert_string_equal(seen().all, "good=yes;");
	assert_int_equal(read_record(".new", text, sizeof(text)), -1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(told_when_on_disk, setup, teardown),
		cmocka_unit_test_setup_teardown(the_newest_wins_and_empty_forgets, setup, teardown),
		cmocka_unit_test_setup_teardown(records_outlive_ampmon, setup, teardown),
		cmocka_unit_test_setup_teardown(what_is_no_request, setup, teardown),
		cmocka_unit_test_setup_teardown(no_more_than_there_is_room_for, setup, teardown),
		cmocka_unit_test_setup_teardown(a_flood_is_a_breach, setup, teardown),
		cmocka_unit_test_setup_teardown(what_cannot_be_written_is_told, setup, teardown),
		cmocka_unit_test_setup_teardown(what_is_no_record_is_left_out, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
