/* Tests of ampmon/state.c: what is stored comes back, what is broken does not. */
#include "ampmon/repair.h"
#include "clock.h"

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

static char dir[64];
static struct mon_conf conf;
static char path[128];
static char err[256];

static int setup(void **state)
{
	(void)state;
	strcpy(dir, "/tmp/test_state.XXXXXX");
	assert_non_null(mkdtemp(dir));
	conf.etc_dir = dir;
	snprintf(path, sizeof(path), "%s/ampmon.state", dir);
	amp_clock_freeze(0, 2000 * AMP_NS_PER_SEC);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	amp_clock_release();
	unlink(path);
	return rmdir(dir);
}

static void write_file(const char *text, mode_t mode)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	assert_int_equal(fchmod(fd, mode), 0);
	close(fd);
}

static void first_time(void **state)
{
	struct mon_state a, b;
	bool fresh;

	(void)state;
	assert_int_equal(mon_state_load(&conf, &a, &fresh, err, sizeof(err)), 0);
	assert_true(fresh);
	assert_int_equal(strlen(a.host_id), 36);
	assert_int_equal(a.host_id[14], '4');
	assert_non_null(strchr("89ab", a.host_id[19]));
	assert_int_equal(a.good_ns, 0);
	assert_int_equal(mon_state_load(&conf, &b, &fresh, err, sizeof(err)), 0);
	assert_string_not_equal(a.host_id, b.host_id);
}

static void there_and_back(void **state)
{
	struct mon_state a = {.policy = "my-policy_1",
			      .epoch = UINT64_MAX,
			      .good_ns = 1234567890123,
			      .change_unrecorded = true,
			      .change_detail = "a=b \"c\"\nnext\tline"},
			 b;
	struct stat st;
	bool fresh;

	(void)state;
	strcpy(a.host_id, "01234567-89ab-4def-8123-456789abcdef");
	assert_int_equal(mon_state_store(&conf, &a), 0);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	assert_int_equal(mon_state_load(&conf, &b, &fresh, err, sizeof(err)), 0);
	assert_false(fresh);
	assert_string_equal(b.host_id, a.host_id);
	assert_string_equal(b.policy, a.policy);
	assert_true(b.epoch == a.epoch);
	assert_true(b.good_ns == a.good_ns);
	assert_true(b.change_unrecorded);
	assert_string_equal(b.change_detail, "a=b \"c\" next line");
	a.policy[0] = 0; /* replaced, not appended to */
	assert_int_equal(mon_state_store(&conf, &a), 0);
	assert_int_equal(mon_state_load(&conf, &b, &fresh, err, sizeof(err)), 0);
	assert_false(fresh);
	assert_string_equal(b.policy, "");
}

#define GOOD                                                                                                 \
	"host_id=01234567-89ab-4def-8123-456789abcdef\n"                                                     \
	"policy=p\nepoch=7\ngood_ns=8\nchange_unrecorded=0\n"                                                \
	"change_detail=\n"

static void broken(void **state)
{
	static const char *const bad[] = {
		"",
		"\n",
		"host_id=01234567-89ab-4def-8123-456789abcdef\n",
		GOOD "epoch=8\n",
		GOOD "unknown=1\n",
		GOOD "no equals sign\n",
		GOOD "# no end of line",
		"host_id=01234567-89AB-4def-8123-456789abcdef\npolicy=\nepoch=7\ngood_ns=8\nchange_"
		"unrecorded=0\nchange_detail=\n",
		"host_id=01234567-89ab-4def-8123-456789abcdef\npolicy=../"
		"x\nepoch=7\ngood_ns=8\nchange_unrecorded=0\nchange_detail=\n",
		"host_id=01234567-89ab-4def-8123-456789abcdef\npolicy=\nepoch=-7\ngood_ns=8\nchange_"
		"unrecorded=0\nchange_detail=\n",
		"host_id=01234567-89ab-4def-8123-456789abcdef\npolicy=\nepoch=18446744073709551616\ngood_ns="
		"8\nchange_unrecorded=0\nchange_detail=\n",
		"host_id=01234567-89ab-4def-8123-456789abcdef\npolicy=\nepoch=7\ngood_ns="
		"9223372036854775808\nchange_unrecorded=0\nchange_detail=\n",
		"host_id=01234567-89ab-4def-8123-456789abcdef\npolicy=\nepoch=7\ngood_ns=\nchange_unrecorded="
		"0\nchange_detail=\n",
		"host_id=01234567-89ab-4def-8123-456789abcdef\npolicy=\nepoch=7\ngood_ns=8\nchange_"
		"unrecorded=2\nchange_detail=\n",
	};
	struct mon_state s;
	bool fresh;

	(void)state;
	write_file(GOOD, 0600);
	assert_int_equal(mon_state_load(&conf, &s, &fresh, err, sizeof(err)), 0);
	assert_false(fresh);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		write_file(bad[i], 0600);
		assert_int_equal(mon_state_load(&conf, &s, &fresh, err, sizeof(err)), 0);
		assert_true(fresh);
		assert_int_equal(s.epoch, 0);
		assert_int_equal(strlen(s.host_id), 36);
		assert_string_not_equal(s.host_id, "01234567-89ab-4def-8123-456789abcdef");
	}
}

static void not_trusted(void **state)
{
	struct mon_state s;
	char other[128];
	bool fresh;

	(void)state;
	write_file(GOOD, 0620);
	assert_int_equal(mon_state_load(&conf, &s, &fresh, err, sizeof(err)), 0);
	assert_true(fresh);
	write_file(GOOD, 0600);
	snprintf(other, sizeof(other), "%s/other", dir);
	assert_int_equal(rename(path, other), 0);
	assert_int_equal(symlink(other, path), 0);
	assert_int_equal(mon_state_load(&conf, &s, &fresh, err, sizeof(err)), 0);
	assert_true(fresh);
	unlink(path);
	assert_int_equal(mkfifo(path, 0600), 0); /* must not hang */
	assert_int_equal(mon_state_load(&conf, &s, &fresh, err, sizeof(err)), 0);
	assert_true(fresh);
	unlink(other);
}

static void clock_set_back(void **state)
{
	struct mon_state s;
	bool fresh;

	(void)state;
	write_file("host_id=01234567-89ab-4def-8123-456789abcdef\npolicy=\nepoch=7\ngood_ns=2000000000001\n"
		   "change_unrecorded=0\nchange_detail=\n",
		   0600);
	assert_int_equal(mon_state_load(&conf, &s, &fresh, err, sizeof(err)), 0);
	assert_false(fresh);
	assert_true(s.good_ns == 0);
	assert_int_equal(s.epoch, 7);
}

static void no_directory(void **state)
{
	struct mon_conf none = {.etc_dir = (char *)(uintptr_t) "/nonexistent"};
	struct mon_state s = {0};
	bool fresh;

	(void)state;
	err[0] = 0;
	assert_int_equal(mon_state_load(&none, &s, &fresh, err, sizeof(err)), -1);
	assert_non_null(strstr(err, "/nonexistent"));
	assert_int_equal(mon_state_store(&none, &s), -1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(first_time, setup, teardown),
		cmocka_unit_test_setup_teardown(there_and_back, setup, teardown),
		cmocka_unit_test_setup_teardown(broken, setup, teardown),
		cmocka_unit_test_setup_teardown(not_trusted, setup, teardown),
		cmocka_unit_test_setup_teardown(clock_set_back, setup, teardown),
		cmocka_unit_test_setup_teardown(no_directory, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
