/*
 * tests/unit/test_conf.c - the configuration file: defaults, every key,
 * bounds, messages, whom it trusts.
 */
#include "ampmon/conf.h"
#include "ampmon/keys.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/unit/skip.h"

static char dir[256];
static char file[512];
static char err[1024];

static int setup(void **state)
{
	(void)state;
	snprintf(dir, sizeof(dir), "%s/test-conf-XXXXXX", getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp");
	if (!mkdtemp(dir))
		return -1;
	snprintf(file, sizeof(file), "%s/ampmon.conf", dir);
	return 0;
}

static int teardown(void **state)
{
	char command[600];

	(void)state;
	snprintf(command, sizeof(command), "rm -rf '%s'", dir);
	return system(command);
}

static void put(const char *text)
{
	FILE *f = fopen(file, "we");

	assert_non_null(f);
	assert_true(fputs(text, f) >= 0);
	assert_int_equal(fclose(f), 0);
	assert_int_equal(chmod(file, 0644), 0);
}

static struct mon_conf *load(const char *text)
{
	put(text);
	err[0] = '\0';
	return mon_conf_load(file, err, sizeof(err));
}

/* Refused, and the message has all that an administrator needs. */
static void refused(const char *text, const char *where, const char *what)
{
	char start[600];
	struct mon_conf *c = load(text);

	snprintf(start, sizeof(start), "%s%s", file, where);
	if (c)
		print_error("accepted: %s\n", text);
	assert_null(c);
	if (strncmp(err, start, strlen(start)) != 0 || !strstr(err, what) || !strchr(err, ';'))
		print_error("message is: %s\n  wanted: %s ... %s\n", err, start, what);
	assert_int_equal(strncmp(err, start, strlen(start)), 0);
	assert_non_null(strstr(err, what));
	assert_non_null(strchr(err, ';'));
}

static void defaults(void **state)
{
	struct mon_conf *c = load("# nothing is set\n");

	(void)state;
	assert_non_null(c);
	assert_string_equal(c->path, file);
	assert_int_equal(c->log_level, AMP_LOG_INFO);
	assert_string_equal(c->log_dir, AMP_LOGDIR);
	assert_string_equal(c->run_dir, AMP_RUNDIR);
	assert_string_equal(c->bin_dir, AMP_BINDIR);
	assert_string_equal(c->etc_dir, AMP_SYSCONFDIR);
	assert_string_equal(c->cloud_dir, AMP_SYSCONFDIR "/cloud");
	assert_string_equal(c->quarantine_dir, AMP_SYSCONFDIR "/quarantine");
	assert_string_equal(c->policy_dir, AMP_SYSCONFDIR "/policies");
	assert_string_equal(c->policy, "protect");
	assert_string_equal(c->cli_group, AMP_CLI_GROUP);
	assert_string_equal(c->user[AMP_ROLE_SCAN], "amp-scan");
	assert_string_equal(c->user[AMP_ROLE_READ], "amp-read");
	assert_string_equal(c->user[AMP_ROLE_CLOUD], "amp-cloud");
	assert_string_equal(c->user[AMP_ROLE_QUARD], "amp-quard");
	assert_string_equal(c->user[AMP_ROLE_ENGINE], "amp-engine");
	assert_true(c->engine);
	assert_true(mon_conf_role_wanted(c, AMP_ROLE_ENGINE));
	assert_string_equal(c->definitions[0], "/var/lib/clamav");
	assert_string_equal(c->definitions[1], AMP_SYSCONFDIR "/definitions");
	assert_null(c->definitions[2]);
	assert_int_equal(c->engine_workers, 0);
	assert_true(c->engine_memory == UINT64_C(512) << 20);
	assert_false(c->engine_reload_after);
	assert_int_equal(c->log_max_size, 10485760);
	assert_int_equal(c->log_keep, 5);
	assert_non_null(c->watch);
	assert_null(c->watch[0]);
	assert_string_equal(c->filesystem_types[0], "ext2");
	assert_false(c->force_fd_source);
	assert_false(c->limited_queue);
	assert_int_equal(c->event_buffers, 64);
	assert_int_equal(c->heartbeat_interval, 5);
	assert_int_equal(c->heartbeat_timeout, 15);
	assert_int_equal(c->history_max_rows, 1000000);
	assert_true(c->quarantine_max_size == UINT64_C(10) << 30);
	assert_int_equal(c->quarantine_days, 90);
	assert_ptr_equal(mon_conf_room_dir(c, AMP_ROLE_CLOUD), c->cloud_dir);
	assert_ptr_equal(mon_conf_room_dir(c, AMP_ROLE_QUARD), c->quarantine_dir);
	assert_null(mon_conf_room_dir(c, AMP_ROLE_SCAN));
	mon_conf_free(c);
}

static const char every_key[] =
	"log_level = \"debug\"\nlog_dir = \"/l\"\nlog_max_size = 65536\nlog_keep = 2\nrun_dir = '/r r'\n"
	"bin_dir = /b\netc_dir = \"/e\"\ncloud_dir = \"/c\"\npolicy_dir = \"/p\"\npolicy = "
	"\"audit\"\ncli_group = \"\"\n"
	"user_ampscand = \"s\"\nuser_ampread = \"r\"\nuser_ampcloudd = \"c\"\nwatch = {\"/usr/../etc\", "
	"\"/\"}\n"
	"filesystem_types = {\"ext4\", \"tmpfs\"}\nevent_source = \"fd\"\nqueue_limit = \"limited\"\n"
	"event_buffers = 4\nheartbeat_interval = 1\nheartbeat_timeout = 3\nhistory_max_rows = 100\n"
	"quarantine_dir = \"/q\"\nuser_ampquard = \"q\"\nquarantine_max_size = 16777216\nquarantine_days = "
	"7\nengine = \"off\"\ndefinitions = {\"/usr\", \"/nowhere-at-all\", \"/etc\"}\nengine_workers = 3\n"
	"engine_memory = 67108864\nengine_reload = \"after\"\nuser_ampengine = \"e\"\n";

static void check_every_key(const struct mon_conf *c)
{
	assert_int_equal(c->log_level, AMP_LOG_DEBUG);
	assert_string_equal(c->log_dir, "/l");
	assert_string_equal(c->run_dir, "/r r");
	assert_string_equal(c->bin_dir, "/b");
	assert_string_equal(c->etc_dir, "/e");
	assert_string_equal(c->cloud_dir, "/c");
	assert_string_equal(c->quarantine_dir, "/q");
	assert_string_equal(c->policy_dir, "/p");
	assert_string_equal(c->policy, "audit");
	assert_string_equal(c->cli_group, "");
	assert_string_equal(c->user[AMP_ROLE_SCAN], "s");
	assert_string_equal(c->user[AMP_ROLE_READ], "r");
	assert_string_equal(c->user[AMP_ROLE_CLOUD], "c");
	assert_string_equal(c->user[AMP_ROLE_QUARD], "q");
	assert_int_equal(c->log_max_size, 65536);
	assert_int_equal(c->log_keep, 2);
	assert_string_equal(c->watch[0], "/etc");
	assert_string_equal(c->watch[1], "/");
	assert_null(c->watch[2]);
	assert_string_equal(c->filesystem_types[1], "tmpfs");
	assert_null(c->filesystem_types[2]);
	assert_true(c->force_fd_source);
	assert_true(c->limited_queue);
	assert_int_equal(c->event_buffers, 4);
	assert_int_equal(c->heartbeat_interval, 1);
	assert_int_equal(c->heartbeat_timeout, 3);
	assert_int_equal(c->history_max_rows, 100);
	assert_int_equal(c->quarantine_max_size, 16777216);
	assert_int_equal(c->quarantine_days, 7);
	assert_string_equal(c->user[AMP_ROLE_ENGINE], "e");
	assert_false(c->engine);
	assert_false(mon_conf_role_wanted(c, AMP_ROLE_ENGINE));
	assert_true(mon_conf_role_wanted(c, AMP_ROLE_READ));
	assert_string_equal(c->definitions[1], "/nowhere-at-all");
	assert_string_equal(c->definitions[2], "/etc");
	assert_null(c->definitions[3]);
	assert_true(c->definitions_ids[0].ino && c->definitions_ids[2].ino);
	assert_false(c->definitions_ids[1].ino); /* is not there */
	assert_int_equal(c->engine_workers, 3);
	assert_int_equal(c->engine_memory, 67108864);
	assert_true(c->engine_reload_after);
}

static void every_key_is_taken(void **state)
{
	struct mon_conf *c = load(every_key);

	(void)state;
	if (!c)
		print_error("%s\n", err);
	assert_non_null(c);
	check_every_key(c);
	assert_int_equal(mon_conf_cli_group(c), (gid_t)-1);
	mon_conf_free(c);
}

static void what_is_printed_can_be_read_again(void **state)
{
	struct mon_conf *c = load(every_key), *again;
	char *text = NULL;
	size_t n = 0;
	FILE *out = open_memstream(&text, &n);

	(void)state;
	assert_non_null(c);
	assert_non_null(out);
	mon_conf_print(c, out);
	assert_int_equal(fclose(out), 0);
	mon_conf_free(c);
	again = load(text);
	if (!again)
		print_error("%s\n%s\n", err, text);
	assert_non_null(again);
	check_every_key(again);
	mon_conf_free(again);
	free(text);
}

static void odd_bytes_survive_printing(void **state)
{
	static const char odd[] = "log_dir = \"/a \\\"q\\\" \\\\ \\x24{HOME} \xc3\xa4\xff\"\n";
	struct mon_conf *c = load(odd), *again;
	char *text = NULL;
	size_t n = 0;
	FILE *out = open_memstream(&text, &n);

	(void)state;
	assert_non_null(c);
	assert_string_equal(c->log_dir, "/a \"q\" \\ ${HOME} \xc3\xa4\xff");
	mon_conf_print(c, out);
	fclose(out);
	again = load(text);
	assert_non_null(again);
	assert_string_equal(again->log_dir, c->log_dir);
	mon_conf_free(c);
	mon_conf_free(again);
	free(text);
}

static const struct {
	const char *text, *where, *what;
} wrong[] = {
	{"\nlog_leval = \"info\"\n", ":2: log_leval: ", "no key"},
	{"log_level = \"loud\"\n", ":1: log_level: ", "error, warn, info, debug"},
	{"log_keep = many\n", ":1: log_keep: ", "no number"},
	{"log_keep = -1\n", ":1: log_keep: ", "no number"},
	{"log_keep = 5x\n", ":1: log_keep: ", "no number"},
	{"log_keep = \"\"\n", ":1: log_keep: ", "no number"},
	{"log_keep = 0\n", ":1: log_keep: ", "from 1 to 100"},
	{"log_keep = 101\n", ":1: log_keep: ", "from 1 to 100"},
	{"#\n#\nlog_keep = 99999999999999999999999\n", ":3: log_keep: ", "no number"},
	{"log_max_size = 4095\n", ":1: log_max_size: ", "out of bounds"},
	{"event_buffers = 257\n", ":1: event_buffers: ", "out of bounds"},
	{"log_keep = 5\nlog_keep = 6\n", ":2: log_keep: ", "first on line 1"},
	{"log_dir = \"logs\"\n", ":1: log_dir: ", "absolute"},
	{"log_dir = \"/a/../b\"\n", ":1: log_dir: ", ".."},
	{"log_dir = \"\"\n", ":1: log_dir: ", "bytes"},
	{"run_dir = \"/\"\n", ":1: run_dir: ", "root directory"},
	{"cloud_dir = \"x\"\n", ":1: cloud_dir: ", "absolute"},
	{"quarantine_dir = \"q\"\n", ":1: quarantine_dir: ", "absolute"},
	{"cloud_dir = \"/a\"\nquarantine_dir = \"/a\"\n", ":2: quarantine_dir: ", "directory of its own"},
	{"cloud_dir = \"/a/b\"\nquarantine_dir = \"/a\"\n", ":2: quarantine_dir: ", "directory of its own"},
	{"cloud_dir = \"/a\"\nquarantine_dir = \"/a/b\"\n", ":2: quarantine_dir: ", "directory of its own"},
	{"quarantine_max_size = 16777215\n", ":1: quarantine_max_size: ", "out of bounds"},
	{"quarantine_days = 0\n", ":1: quarantine_days: ", "from 1 to 36500"},
	{"quarantine_days = 36501\n", ":1: quarantine_days: ", "from 1 to 36500"},
	{"user_ampquard = \"amp-cloud\"\n", ":1: user_ampquard: ", "another room"},
	{"user_ampengine = \"amp-read\"\n", ":1: user_ampengine: ", "another room"},
	{"engine = \"maybe\"\n", ":1: engine: ", "off, on"},
	{"engine_reload = \"now\"\n", ":1: engine_reload: ", "before, after"},
	{"engine_workers = 29\n", ":1: engine_workers: ", "from 0 to 28"},
	{"engine_memory = 67108863\n", ":1: engine_memory: ", "out of bounds"},
	{"definitions = {\"x\"}\n", ":1: definitions: ", "absolute"},
	{"definitions = {\"/a/../b\"}\n", ":1: definitions: ", ".."},
	{"definitions = {\"/tmp\"}\n", ":1: definitions: ", "everybody"},
	{"definitions = {\"/1\", \"/2\", \"/3\", \"/4\", \"/5\", \"/6\", \"/7\", \"/8\", \"/9\"}\n",
	 ":1: definitions: ", "at most 8"},
	{"log_dir = \"/a\\x01\"\n", ":1: log_dir: ", "control byte"},
	{"run_dir = \"/0123456789012345678901234567890123456789012345678901234567890123456789"
	 "01234567890123456789\"\n",
	 ":1: run_dir: ", "91 bytes"},
	{"policy = \"../x\"\n", ":1: policy: ", "policy id"},
	{"policy = \"protect.conf\"\n", ":1: policy: ", "without .conf"},
	{"user_ampread = \"root\"\n", ":1: user_ampread: ", "must not be root"},
	{"user_ampread = \"-x\"\n", ":1: user_ampread: ", "no name"},
	{"user_ampread = \"amp-scan\"\n", ":1: user_ampread: ", "another room"},
	{"watch = {\"/nowhere-at-all\"}\n", ":1: watch: ", "no directory"},
	{"watch = {\"/etc/passwd\"}\n", ":1: watch: ", "no directory"},
	{"watch = {\"etc\"}\n", ":1: watch: ", "absolute"},
	{"watch = {\"/etc\"}\nwatch = {\"/usr\"}\n", ":2: watch: ", "second time"},
	{"watch = {\"/etc\"}\nwatch = {}\n", ":1: watch: ", "second time"},
	{"filesystem_types = {}\n", ": filesystem_types: ", "is empty"},
	{"filesystem_types = {\"ext4\", \"nfs4\"}\n", ":1: filesystem_types: ", "never watched"},
	{"filesystem_types = {\"fuse.sshfs\"}\n", ":1: filesystem_types: ", "never watched"},
	{"event_source = \"both\"\n", ":1: event_source: ", "auto, fd"},
	{"queue_limit = \"none\"\n", ":1: queue_limit: ", "unlimited, limited"},
	{"heartbeat_interval = 10\nheartbeat_timeout = 10\n", ":2: heartbeat_timeout: ", "not above"},
	{"heartbeat_interval = 15\n", ": heartbeat_timeout: ", "not above"},
	{"log_keep 5\n", ":1: syntax: ", "key = value"},
	{"log_keep = {5}\n", ":1: syntax: ", "key = value"},
	{"watch = {\"/etc\"\nlog_keep = 5\n", ":2: syntax: ", "key = value"},
	{"\nlog_dir = \"/${HOME}\"\n", ":2: ${: ", "environment"},
	{"log_dir = ${HOME}\n", ":1: ${: ", "environment"},
	{"# a ' b\n// c \" d\n/* e\n * f # g */ log_dir = \"/a#b//c\" # ${h\nlog_keep = 0\n",
	 ":5: log_keep: ", "out of"},
	{"\n/* open\nlog_keep = 5\n", ":2: syntax: ", "no end"},
	{"log_keep = 5\n\nlog_dir = \"/open\n", ":3: syntax: ", "no end"},
	{"log_dir = '/open\\'\n", ":1: syntax: ", "no end"},
	{"# a ' b\n// c \" d\n/* e\n * f # g */ log_dir = \"/a#b//c\" # ${h\nlog_keep = 0\n",
	 ":5: log_keep: ", "out of"},
	{"include(\"/etc/passwd\")\n", ":1: include: ", "no key"},
};

static void wrong_files_are_refused(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		refused(wrong[i].text, wrong[i].where, wrong[i].what);
}

static void appended_lists_are_one(void **state)
{
	struct mon_conf *c = load("watch = {\"/etc\"}\nwatch += {\"/usr\"}\n");

	(void)state;
	assert_non_null(c);
	assert_string_equal(c->watch[1], "/usr");
	mon_conf_free(c);
	c = load("watch = {}\n");
	assert_non_null(c);
	assert_null(c->watch[0]);
	mon_conf_free(c);
}

static void writable_by_others_is_refused(void **state)
{
	static const mode_t bad[] = {0664, 0646, 0666};

	(void)state;
	for (size_t i = 0; i < 3; i++) {
		put("log_keep = 5\n");
		assert_int_equal(chmod(file, bad[i]), 0);
		assert_null(mon_conf_load(file, err, sizeof(err)));
		assert_non_null(strstr(err, "chmod go-w"));
	}
	put("log_keep = 5\n");
	assert_int_equal(chmod(dir, 0777), 0);
	assert_null(mon_conf_load(file, err, sizeof(err)));
	assert_non_null(strstr(err, "the directory"));
	assert_int_equal(chmod(dir, 0755), 0);
}

static void another_owner_is_refused(void **state)
{
	(void)state;
	if (geteuid() != 0)
		SKIP_WITHOUT("root");
	put("log_keep = 5\n");
	assert_int_equal(chown(file, 12345, 12345), 0);
	assert_null(mon_conf_load(file, err, sizeof(err)));
	assert_non_null(strstr(err, "chown root"));
	assert_int_equal(chown(file, 0, 0), 0);
	assert_int_equal(chown(dir, 12345, 0), 0);
	assert_null(mon_conf_load(file, err, sizeof(err)));
	assert_int_equal(chown(dir, 0, 0), 0);
}

/* The link lies in a good directory, what it leads to does not. */
static void a_link_does_not_hide_the_directory(void **state)
{
	char open_dir[600], target[700], link[600];
	FILE *f;

	(void)state;
	snprintf(open_dir, sizeof(open_dir), "%s/open", dir);
	snprintf(target, sizeof(target), "%s/x.conf", open_dir);
	snprintf(link, sizeof(link), "%s/link.conf", dir);
	assert_int_equal(mkdir(open_dir, 0755), 0);
	f = fopen(target, "we");
	assert_non_null(f);
	fclose(f);
	chmod(target, 0644);
	assert_int_equal(symlink(target, link), 0);
	assert_int_equal(chmod(open_dir, 0777), 0);
	assert_null(mon_conf_load(link, err, sizeof(err)));
	assert_non_null(strstr(err, "the directory"));
}

static void what_is_no_text_file_is_refused(void **state)
{
	FILE *f;

	(void)state;
	assert_null(mon_conf_load("/nowhere/ampmon.conf", err, sizeof(err)));
	assert_non_null(strstr(err, "No such file"));
	assert_int_equal(mkdir(file, 0755), 0);
	assert_null(mon_conf_load(file, err, sizeof(err)));
	assert_non_null(strstr(err, "regular file"));
	assert_int_equal(rmdir(file), 0);
	put("");
	f = fopen(file, "we");
	assert_non_null(f);
	assert_int_equal(fwrite("log_keep = 5\n\0x", 1, 15, f), 15);
	fclose(f);
	assert_null(mon_conf_load(file, err, sizeof(err)));
	assert_non_null(strstr(err, "NUL"));
	unlink(file);
	assert_int_equal(mkfifo(file, 0600), 0);
	assert_null(mon_conf_load(file, err, sizeof(err)));
	unlink(file);
	put("#");
	assert_int_equal(truncate(file, MON_KEYS_FILE_MAX + 1), 0);
	assert_null(mon_conf_load(file, err, sizeof(err)));
	assert_non_null(strstr(err, "shorter"));
}

static void rooms_may_have_neighbours(void **state)
{
	struct mon_conf *c = load("cloud_dir = \"/a/data\"\nquarantine_dir = \"/a/data-quarantine\"\n");

	(void)state;
	assert_non_null(c);
	assert_string_equal(c->quarantine_dir, "/a/data-quarantine");
	mon_conf_free(c);
}

static void users_are_looked_up(void **state)
{
	uid_t uid = 1;
	gid_t gid = 1;
	struct mon_conf *c = load("user_ampscand = \"daemon\"\nuser_ampread = \"no-such-user\"\n");

	(void)state;
	assert_non_null(c);
	assert_int_equal(mon_conf_user(c, AMP_ROLE_MON, &uid, &gid, err, sizeof(err)), 0);
	assert_int_equal(uid, 0);
	assert_int_equal(mon_conf_user(c, AMP_ROLE_SCAN, &uid, &gid, err, sizeof(err)), 0);
	assert_int_not_equal(uid, 0);
	assert_int_equal(mon_conf_user(c, AMP_ROLE_READ, &uid, &gid, err, sizeof(err)), -1);
	assert_non_null(strstr(err, "useradd"));
	assert_int_equal(mon_conf_user(c, AMP_ROLE_COUNT, &uid, &gid, err, sizeof(err)), -1);
	mon_conf_free(c);
	mon_conf_free(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(defaults, setup, teardown),
		cmocka_unit_test_setup_teardown(every_key_is_taken, setup, teardown),
		cmocka_unit_test_setup_teardown(what_is_printed_can_be_read_again, setup, teardown),
		cmocka_unit_test_setup_teardown(odd_bytes_survive_printing, setup, teardown),
		cmocka_unit_test_setup_teardown(wrong_files_are_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(appended_lists_are_one, setup, teardown),
		cmocka_unit_test_setup_teardown(writable_by_others_is_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(another_owner_is_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(a_link_does_not_hide_the_directory, setup, teardown),
		cmocka_unit_test_setup_teardown(what_is_no_text_file_is_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(rooms_may_have_neighbours, setup, teardown),
		cmocka_unit_test_setup_teardown(users_are_looked_up, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
