/*
 * tests/unit/test_policy.c - policies and their lists: what is taken, what is
 * a problem, what goes over the wire.
 */
#include "ampmon/lists.h"
#include "ampmon/policy.h"
#include "sha256.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define EICAR_HASH "275a021bbfb6489e54d471899f7db9d1663fc695ec2fe2a2c4538aabf651fd0f"
#define HASH_A	   "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define HASH_B	   "BBBBbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
#define BASE	   "name = \"Test Policy\"\nserial = 7\nmode = \"protect\"\n"

static char dir[256];
static struct mon_conf conf = {.policy_dir = dir};
static char err[1024];

static int setup(void **state)
{
	(void)state;
	snprintf(dir, sizeof(dir), "%s/test-policy-XXXXXX", getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp");
	return mkdtemp(dir) ? 0 : -1;
}

static int teardown(void **state)
{
	char command[600];

	(void)state;
	snprintf(command, sizeof(command), "rm -rf '%s'", dir);
	return system(command);
}

static void put_bytes(const char *name, const void *bytes, size_t n)
{
	char path[600];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	f = fopen(path, "we");
	assert_non_null(f);
	assert_int_equal(fwrite(bytes, 1, n, f), n);
	assert_int_equal(fclose(f), 0);
	assert_int_equal(chmod(path, 0644), 0);
}

static void put(const char *name, const char *text)
{
	put_bytes(name, text, strlen(text));
}

static struct mon_policy *load(const char *text)
{
	put("p.conf", text);
	return mon_policy_load(&conf, "p", err, sizeof(err));
}

static bool blocks(const struct mon_policy *p, const char *hex)
{
	uint8_t sha[32];

	assert_int_equal(amp_sha256_parse(hex, sha), 0);
	return mon_policy_blocks(p, sha);
}

static bool allows(const struct mon_policy *p, const char *hex)
{
	uint8_t sha[32];

	assert_int_equal(amp_sha256_parse(hex, sha), 0);
	return mon_policy_allows(p, sha);
}

static void the_least_policy_knows_the_test_file(void **state)
{
	struct mon_policy *p = load(BASE);
	Amp__CliPolicyInfo info;

	(void)state;
	if (!p)
		print_error("%s\n", err);
	assert_non_null(p);
	assert_string_equal(mon_policy_id(p), "p");
	assert_string_equal(mon_policy_name(p), "Test Policy");
	assert_int_equal(mon_policy_serial(p), 7);
	assert_true(mon_policy_protects(p));
	assert_null(mon_policy_problems(p)[0]);
	assert_true(blocks(p, EICAR_HASH));
	assert_false(blocks(p, HASH_A));
	mon_policy_info(p, &info);
	assert_string_equal(info.mode, "protect");
	assert_string_equal(info.on_execute, "passive");
	assert_int_equal(info.max_file_size, 5242880);
	assert_int_equal(info.max_archive_size, 52428800);
	assert_true(info.engine && mon_policy_engine(p));
	assert_int_equal(info.n_schedule, 0);
	assert_int_equal(info.scan_cpu, 50);
	assert_int_equal(info.blocked, 1);
	assert_int_equal(info.allowed, 0);
	assert_int_equal(info.exclusions, 0);
	mon_policy_free(p);
	mon_policy_free(NULL);
}

static void hash_lists_are_taken(void **state)
{
	struct mon_policy *p;
	Amp__CliPolicyInfo info;

	(void)state;
	put("b1", "# mine\n\n" HASH_A " Some.Malware name\r\n");
	put("b2", HASH_B "\t# no name\n" HASH_A);
	put("a1", HASH_B "\n");
	p = load(BASE "blocked_lists = {\"b1\", \"b2\"}\nallowed_lists = {\"a1\"}\n");
	assert_non_null(p);
	assert_null(mon_policy_problems(p)[0]);
	assert_true(blocks(p, HASH_A));
	assert_false(blocks(p, HASH_B)); /* allowed too: that word is above */
	assert_true(allows(p, HASH_B));
	assert_false(allows(p, HASH_A));
	mon_policy_info(p, &info);
	assert_int_equal(info.blocked, 4);
	assert_int_equal(info.allowed, 1);
	mon_policy_free(p);
}

static const struct {
	const char *line;
	const char *problem; /* NULL: good */
	Amp__PolicyEntry__Kind kind;
	const char *text;
	int64_t uid; /* -1: none */
} lines[] = {
	{"path /var/lib", NULL, AMP__POLICY_ENTRY__KIND__EXCLUDE_PATH, "/var/lib", -1},
	{"  path\t/var/lib/  ", NULL, AMP__POLICY_ENTRY__KIND__EXCLUDE_PATH, "/var/lib", -1},
	{"path /a b/c#d # why", NULL, AMP__POLICY_ENTRY__KIND__EXCLUDE_PATH, "/a b/c#d", -1},
	{"path /\xff\xfe\x01", NULL, AMP__POLICY_ENTRY__KIND__EXCLUDE_PATH, "/\xff\xfe\x01", -1},
	{"path /a/...", NULL, AMP__POLICY_ENTRY__KIND__EXCLUDE_PATH, "/a/...", -1},
	{"wildcard /home/*/x/*", NULL, AMP__POLICY_ENTRY__KIND__EXCLUDE_WILDCARD, "/home/*/x/*", -1},
	{"extension log", NULL, AMP__POLICY_ENTRY__KIND__EXCLUDE_EXTENSION, "log", -1},
	{"extension .log", NULL, AMP__POLICY_ENTRY__KIND__EXCLUDE_EXTENSION, "log", -1},
	{"process /usr/bin/rsync", NULL, AMP__POLICY_ENTRY__KIND__EXCLUDE_PROCESS, "/usr/bin/rsync", -1},
	{"process /usr/bin/rsync user root", NULL, AMP__POLICY_ENTRY__KIND__EXCLUDE_PROCESS, "/usr/bin/rsync",
	 0},
	{"process /a b user 4711", NULL, AMP__POLICY_ENTRY__KIND__EXCLUDE_PROCESS, "/a b", 4711},
	{"process /opt/the user", NULL, AMP__POLICY_ENTRY__KIND__EXCLUDE_PROCESS, "/opt/the user", -1},
	{"path", "no path", 0, NULL, 0},
	{"path var/lib", "not absolute", 0, NULL, 0},
	{"path /", "everything", 0, NULL, 0},
	{"path //", "everything", 0, NULL, 0},
	{"path /a//b", "empty component", 0, NULL, 0},
	{"path /a/../b", ".. component", 0, NULL, 0},
	{"path /a/..", ".. component", 0, NULL, 0},
	{"path /a/./b", ".. component", 0, NULL, 0},
	{"wildcard *.log", "not absolute", 0, NULL, 0},
	{"wildcard", "no path", 0, NULL, 0},
	{"extension", "no extension", 0, NULL, 0},
	{"extension .", "no extension", 0, NULL, 0},
	{"extension a/b", "is no extension", 0, NULL, 0},
	{"process rsync", "not absolute", 0, NULL, 0},
	{"process /usr/bin/", "is a directory", 0, NULL, 0},
	{"process /usr/bin/x user no-such-user-here", "/etc/passwd", 0, NULL, 0},
	{"process /usr/bin/x user 4294967295", "/etc/passwd", 0, NULL, 0},
	{"process /usr/bin/x user 99999999999999999999", "/etc/passwd", 0, NULL, 0},
	{"process user root", "not absolute", 0, NULL, 0},
	{"proc /usr/bin/x", "no exclusion", 0, NULL, 0},
	{"\x1b[2J", "\\x1b", 0, NULL, 0},
};

static void check_line(size_t i)
{
	struct mon_list l = {0};

	assert_int_equal(mon_list_parse(&l, "e", AMP__POLICY_ENTRY__KIND__EXCLUDE_PATH, lines[i].line,
					strlen(lines[i].line), NULL),
			 0);
	assert_int_equal(mon_list_finish(&l), 0);
	if (lines[i].problem ? !l.problems[0] : !!l.problems[0])
		print_error("%s: %s\n", lines[i].line, l.problems[0] ? l.problems[0] : "taken");
	if (lines[i].problem) {
		assert_int_equal(l.count, 0);
		assert_non_null(l.problems[0]);
		if (!strstr(l.problems[0], lines[i].problem))
			print_error("%s\n", l.problems[0]);
		assert_non_null(strstr(l.problems[0], lines[i].problem));
		assert_int_equal(strncmp(l.problems[0], "e:1: ", 5), 0);
		assert_non_null(strchr(l.problems[0], ';'));
	} else {
		assert_int_equal(l.count, 1);
		assert_int_equal(l.entries[0].kind, lines[i].kind);
		assert_string_equal(l.entries[0].text, lines[i].text);
		assert_int_equal(l.entries[0].text_length, strlen(lines[i].text));
		assert_int_equal(l.entries[0].has_uid, lines[i].uid >= 0);
		assert_int_equal(l.entries[0].uid, lines[i].uid >= 0 ? lines[i].uid : 0);
	}
	mon_list_free(&l);
}

static void exclusion_lines(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++)
		check_line(i);
}

static void bad_hash_lines_are_skipped_the_others_hold(void **state)
{
	static const char list[] = HASH_A "x\n"			      /* 1: 65 digits */
					  "deadbeef\n"		      /* 2 */
					  "# fine\n" HASH_A " good\n" /* 4 */
					  "zz" HASH_A "\n"	      /* 5 */
		HASH_B " \xff\n"				      /* 6 */
					  "g" EICAR_HASH "\n"	      /* 7 */
					  "\0\n";		      /* 8 */
	struct mon_policy *p;
	char **problems;

	(void)state;
	put_bytes("b", list, sizeof(list) - 1);
	p = load(BASE "blocked_lists = {\"b\"}\n");
	assert_non_null(p);
	problems = mon_policy_problems(p);
	for (size_t i = 0; i < 6; i++) {
		static const char *const at[] = {"b:1: ", "b:2: ", "b:5: ", "b:6: ", "b:7: ", "b:8: "};

		assert_non_null(problems[i]);
		assert_int_equal(strncmp(problems[i], at[i], 5), 0);
	}
	assert_null(problems[6]);
	assert_true(blocks(p, HASH_A));
	assert_false(blocks(p, HASH_B));
	mon_policy_free(p);
}

static void problems_are_capped(void **state)
{
	struct mon_list l = {0};
	char text[1000];

	(void)state;
	memset(text, 'x', sizeof(text));
	for (size_t i = 1; i < sizeof(text); i += 2)
		text[i] = '\n';
	assert_int_equal(mon_list_parse(&l, "f", AMP__POLICY_ENTRY__KIND__ALLOWED, text, sizeof(text), NULL),
			 0);
	assert_int_equal(mon_list_finish(&l), 0);
	assert_int_equal(l.problem_count, MON_LIST_PROBLEMS_MAX + 1);
	assert_string_equal(l.problems[MON_LIST_PROBLEMS_MAX], "and 400 more");
	assert_null(l.problems[MON_LIST_PROBLEMS_MAX + 1]);
	mon_list_free(&l);
}

static void lengths_are_bounded(void **state)
{
	struct mon_list l = {0};
	size_t n = MON_LIST_TEXT_MAX + 6;
	char *text = malloc(n);

	(void)state;
	assert_non_null(text);
	memcpy(text, "path /", 6);
	memset(text + 6, 'a', n - 6);
	assert_int_equal(mon_list_parse(&l, "f", AMP__POLICY_ENTRY__KIND__EXCLUDE_PATH, text, n, NULL), 0);
	assert_int_equal(l.count, 0);
	assert_int_equal(mon_list_parse(&l, "f", AMP__POLICY_ENTRY__KIND__EXCLUDE_PATH, text, n - 1, NULL),
			 0);
	assert_int_equal(l.count, 1);
	assert_int_equal(l.entries[0].text_length, MON_LIST_TEXT_MAX);
	free(text);
	mon_list_free(&l);
}

static void a_list_that_cannot_be_trusted_is_a_problem(void **state)
{
	char path[600];
	struct mon_policy *p;

	(void)state;
	put("b", HASH_A "\n");
	snprintf(path, sizeof(path), "%s/b", dir);
	assert_int_equal(chmod(path, 0666), 0);
	p = load(BASE "blocked_lists = {\"b\", \"missing\"}\n");
	assert_non_null(p);
	assert_int_equal(strncmp(mon_policy_problems(p)[0], "b: can be written by others", 26), 0);
	assert_int_equal(strncmp(mon_policy_problems(p)[1], "missing: cannot be opened", 25), 0);
	assert_false(blocks(p, HASH_A));
	assert_true(blocks(p, EICAR_HASH));
	mon_policy_free(p);
}

static const struct {
	const char *text, *message;
} broken[] = {
	{"serial = 1\nmode = \"audit\"\n", "p.conf: name: is not set"},
	{"name = \"x\"\nmode = \"audit\"\n", "p.conf: serial: is not set"},
	{"name = \"x\"\nserial = 1\n", "p.conf: mode: is not set"},
	{"name = \"x\"\nserial = 1\nmode = \"kill\"\n", "p.conf:3: mode: "},
	{"name = \"\"\n", "p.conf:1: name: "},
	{"name = \"\xff\"\n", "p.conf:1: name: "},
	{"serial = 0\n", "p.conf:1: serial: "},
	{"serial = 4294967296\n", "p.conf:1: serial: "},
	{"on_execute = \"active\"\n", "p.conf:1: on_execute: "},
	{"max_file_size = 0\n", "p.conf:1: max_file_size: "},
	{"blocked_lists = {\"../x\"}\n", "p.conf:1: blocked_lists: "},
	{"blocked_lists = {\"/etc/passwd\"}\n", "p.conf:1: blocked_lists: "},
	{"allowed_lists = {\".hidden\"}\n", "p.conf:1: allowed_lists: "},
	{"wat = 1\n", "p.conf:1: wat: "},
	{"engine = perhaps\n", "p.conf:1: engine: "},
	{"scan_cpu = 0\n", "p.conf:1: scan_cpu: "},
	{"scan_cpu = 101\n", "p.conf:1: scan_cpu: "},
	{"\nscan_schedule = {\"some daily 02:30\"}\n",
	 "p.conf:2: scan_schedule: \"some daily 02:30\" is no time"},
	{"scan_schedule = {\"full\"}\n", "p.conf:1: scan_schedule: "},
	{"scan_schedule = {\"\"}\n", "p.conf:1: scan_schedule: "},
	{"scan_schedule = {\"full daily\"}\n", "p.conf:1: scan_schedule: "},
	{"scan_schedule = {\"full daily \"}\n", "p.conf:1: scan_schedule: "},
	{"scan_schedule = {\"full sunday 02:30\"}\n", "p.conf:1: scan_schedule: "},
	{"scan_schedule = {\"full sun 24:00\"}\n", "p.conf:1: scan_schedule: "},
	{"scan_schedule = {\"full sun 02:60\"}\n", "p.conf:1: scan_schedule: "},
	{"scan_schedule = {\"full sun 2:30\"}\n", "p.conf:1: scan_schedule: "},
	{"scan_schedule = {\"full sun 02:300\"}\n", "p.conf:1: scan_schedule: "},
	{"scan_schedule = {\"full sun 02:3:\"}\n", "p.conf:1: scan_schedule: "},
	{"scan_schedule = {\"full  sun 02:30\"}\n", "p.conf:1: scan_schedule: "},
};

static void broken_policies_are_refused(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(broken) / sizeof(broken[0]); i++) {
		struct mon_policy *p = load(broken[i].text);

		if (p || !strstr(err, broken[i].message))
			print_error("%s -> %s\n", broken[i].text, p ? "taken" : err);
		assert_null(p);
		assert_non_null(strstr(err, broken[i].message));
	}
}

static void ids_are_names_only(void **state)
{
	static const char *const bad[] = {
		"",
		"..",
		"../p",
		"a/b",
		"a.b",
		"p\n",
		"01234567890123456789012345678901234567890123456789012345678901234"};

	(void)state;
	put("p.conf", BASE);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_null(mon_policy_load(&conf, bad[i], err, sizeof(err)));
	assert_null(mon_policy_load(&conf, "none", err, sizeof(err)));
	assert_non_null(strstr(err, "none.conf"));
}

static void installed_policies_are_listed(void **state)
{
	char **list;

	(void)state;
	put("protect.conf", "");
	put("audit.conf", "");
	put("not an id.conf", "");
	put(".conf", "");
	put("blocked.list", "");
	list = mon_policy_list(&conf);
	assert_non_null(list);
	assert_string_equal(list[0], "audit");
	assert_string_equal(list[1], "protect");
	assert_null(list[2]);
	free(list[0]);
	free(list[1]);
	free(list);
}

/* ---- the wire ---- */

struct received {
	unsigned begins, ends, messages;
	uint64_t entries, promised, epoch, with_uid;
	size_t longest;
	char name[128], schedule[64];
	bool engine;
	unsigned scan_cpu;
	size_t schedules;
	uint8_t last_sha[32];
};

static void receive_entries(struct received *r, const uint8_t *body, size_t n)
{
	Amp__PolicyEntries *m = amp__policy_entries__unpack(NULL, n, body);

	assert_non_null(m);
	assert_true(m->n_entries > 0 && m->n_entries <= AMP_POLICY_BATCH);
	r->entries += m->n_entries;
	for (size_t i = 0; i < m->n_entries; i++) {
		const Amp__PolicyEntry *e = m->entries[i];

		r->with_uid += e->has_uid ? 1 : 0;
		if (e->kind == AMP__POLICY_ENTRY__KIND__BLOCKED) {
			assert_int_equal(e->sha256.len, 32);
			memcpy(r->last_sha, e->sha256.data, 32);
		} else {
			assert_int_equal(e->sha256.len, 0);
			assert_true(e->text.len > 0);
		}
	}
	amp__policy_entries__free_unpacked(m, NULL);
}

static void receive_one(struct received *r, const uint8_t *data, size_t n)
{
	struct amp_wire_header h;

	assert_true(n >= sizeof(h));
	memcpy(&h, data, sizeof(h));
	assert_int_equal(h.length, n - sizeof(h));
	r->messages++;
	r->longest = n > r->longest ? n : r->longest;
	if (h.type == AMP_MSG_POLICY_BEGIN) {
		Amp__PolicyBegin *m = amp__policy_begin__unpack(NULL, h.length, data + sizeof(h));

		assert_non_null(m);
		r->begins++;
		r->epoch = m->epoch;
		snprintf(r->name, sizeof(r->name), "%s", m->name);
		assert_int_equal(m->mode, AMP__POLICY_BEGIN__MODE__PROTECT);
		r->engine = m->engine;
		r->scan_cpu = m->scan_cpu;
		r->schedules = m->n_schedule;
		if (m->n_schedule > 1)
			snprintf(r->schedule, sizeof(r->schedule), "%s", m->schedule[1]);
		amp__policy_begin__free_unpacked(m, NULL);
	} else if (h.type == AMP_MSG_POLICY_ENTRIES) {
		assert_int_equal(r->ends, 0);
		receive_entries(r, data + sizeof(h), h.length);
	} else {
		Amp__PolicyEnd *m = amp__policy_end__unpack(NULL, h.length, data + sizeof(h));

		assert_int_equal(h.type, AMP_MSG_POLICY_END);
		assert_non_null(m);
		r->ends++;
		r->promised = m->entries;
		assert_int_equal(m->epoch, r->epoch);
		amp__policy_end__free_unpacked(m, NULL);
	}
}

static void drain(struct received *r, struct event_base *base, int fd)
{
	static uint8_t data[AMP_MSG_MAX + 1];
	ssize_t n;

	event_base_loop(base, EVLOOP_NONBLOCK);
	while ((n = recv(fd, data, sizeof(data), MSG_DONTWAIT)) > 0) {
		receive_one(r, data, (size_t)n);
		event_base_loop(base, EVLOOP_NONBLOCK);
	}
}

static void on_end(struct amp_channel *ch, enum amp_channel_end end, const char *why, void *arg)
{
	(void)ch;
	(void)end;
	(void)arg;
	print_error("channel ended: %s\n", why);
}

static void send_and_receive(const struct mon_policy *p, struct received *r, bool in_portions)
{
	struct amp_channel_config cc = {.name = "test", .on_end = on_end};
	struct event_base *base = event_base_new();
	struct amp_channel *ch;
	size_t next = 0;
	int pair[2], rc = 1;

	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	ch = amp_channel_new(base, pair[0], &cc);
	assert_non_null(ch);
	while (in_portions && rc == 1) {
		rc = mon_policy_send_some(p, 42, ch, &next);
		drain(r, base, pair[1]);
	}
	if (!in_portions)
		rc = mon_policy_send(p, 42, ch);
	assert_int_equal(rc, 0);
	drain(r, base, pair[1]);
	amp_channel_free(ch);
	close(pair[1]);
	event_base_free(base);
	assert_int_equal(r->begins, 1);
	assert_int_equal(r->ends, 1);
	assert_int_equal(r->epoch, 42);
	assert_int_equal(r->entries, r->promised);
	assert_true(r->longest <= AMP_MSG_MAX);
}

static void a_policy_goes_over_the_wire(void **state)
{
	struct received r = {0};
	struct mon_policy *p;

	(void)state;
	put("e", "path /a\nprocess /b user root\nprocess /c\n");
	p = load(BASE "exclusion_lists = {\"e\"}\n");
	assert_non_null(p);
	send_and_receive(p, &r, false);
	assert_int_equal(r.entries, 4);
	assert_int_equal(r.with_uid, 1);
	assert_int_equal(r.messages, 3);
	assert_string_equal(r.name, "Test Policy");
	mon_policy_free(p);
}

/* Long paths fill a message by bytes long before by number. */
static void scans_go_over_the_wire(void **state)
{
	struct mon_policy *p = load(BASE "engine = false\nscan_cpu = 20\n"
					 "scan_schedule = {\"full sun 02:30\", \"flash daily 23:59\"}\n");
	struct received r = {0};

	(void)state;
	if (!p)
		print_error("%s\n", err);
	assert_non_null(p);
	send_and_receive(p, &r, false);
	assert_false(r.engine);
	assert_int_equal(r.scan_cpu, 20);
	assert_int_equal(r.schedules, 2);
	assert_string_equal(r.schedule, "flash daily 23:59");
	mon_policy_free(p);
	p = load(BASE);
	memset(&r, 0, sizeof(r));
	send_and_receive(p, &r, false);
	assert_true(r.engine);
	assert_int_equal(r.scan_cpu, 50);
	assert_int_equal(r.schedules, 0);
	mon_policy_free(p);
}

static void long_entries_stay_below_the_message_limit(void **state)
{
	struct received r = {0};
	struct mon_policy *p;
	size_t each = 5 + 32000 + 1, n = 40 * each;
	char *text = malloc(n);

	(void)state;
	assert_non_null(text);
	memset(text, 'a', n);
	for (size_t i = 0; i < 40; i++) {
		memcpy(text + i * each, "path /", 6);
		text[(i + 1) * each - 1] = '\n';
	}
	put_bytes("e", text, n);
	free(text);
	p = load(BASE "exclusion_lists = {\"e\"}\n");
	assert_non_null(p);
	assert_null(mon_policy_problems(p)[0]);
	send_and_receive(p, &r, false);
	assert_int_equal(r.entries, 41);
	mon_policy_free(p);
}

static void long_lists_go_in_portions(void **state)
{
	enum { COUNT = 300000 };
	struct received r = {0};
	struct mon_policy *p;
	size_t each = 64 + 17, n = 0;
	char *text = malloc(COUNT * each + 1);

	(void)state;
	assert_non_null(text);
	for (int i = 0; i < COUNT; i++)
		n += (size_t)snprintf(text + n, each + 1, "%064x Some.Malware.Xy\n", (unsigned)i * 7919U);
	put_bytes("b", text, n);
	free(text);
	p = load(BASE "blocked_lists = {\"b\"}\n");
	assert_non_null(p);
	assert_null(mon_policy_problems(p)[0]);
	assert_true(blocks(p, "00000000000000000000000000000000000000000000000000000000"
			      "00001eef"));
	send_and_receive(p, &r, true);
	assert_int_equal(r.entries, COUNT + 1);
	mon_policy_free(p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(the_least_policy_knows_the_test_file, setup, teardown),
		cmocka_unit_test_setup_teardown(hash_lists_are_taken, setup, teardown),
		cmocka_unit_test(exclusion_lines),
		cmocka_unit_test_setup_teardown(bad_hash_lines_are_skipped_the_others_hold, setup, teardown),
		cmocka_unit_test(problems_are_capped),
		cmocka_unit_test(lengths_are_bounded),
		cmocka_unit_test_setup_teardown(a_list_that_cannot_be_trusted_is_a_problem, setup, teardown),
		cmocka_unit_test_setup_teardown(broken_policies_are_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(ids_are_names_only, setup, teardown),
		cmocka_unit_test_setup_teardown(installed_policies_are_listed, setup, teardown),
		cmocka_unit_test_setup_teardown(a_policy_goes_over_the_wire, setup, teardown),
		cmocka_unit_test_setup_teardown(scans_go_over_the_wire, setup, teardown),
		cmocka_unit_test_setup_teardown(long_entries_stay_below_the_message_limit, setup, teardown),
		cmocka_unit_test_setup_teardown(long_lists_go_in_portions, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
