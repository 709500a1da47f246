/*
 * tests/unit/test_cli.c - ampcli against services that answer well, badly,
 * late, or not at all. A service here is a thread with a script.
 */
#include "clifake.h"

#include "ampcli/client.h"
#include "clock.h"
#include "tests/unit/skip.h"

#include <signal.h>

static bool mon_status(struct service *s, int fd, const struct amp_wire_header *h, const uint8_t *body,
		       size_t length)
{
	Amp__CliStatusReply r = AMP__CLI_STATUS_REPLY__INIT;
	Amp__CliService service = AMP__CLI_SERVICE__INIT, *services[] = {&service};
	Amp__FileSystem fs = AMP__FILE_SYSTEM__INIT, *filesystems[] = {&fs};
	Amp__CliFault fault = AMP__CLI_FAULT__INIT, *faults[] = {&fault};
	Amp__Counter counter = AMP__COUNTER__INIT, *counters[] = {&counter};

	(void)s;
	(void)body;
	(void)length;
	r.service = T("ampmon");
	r.connection = T("Standalone");
	r.scan = T("Ready for scan");
	r.last_scan = T("none");
	r.policy = T("Protect Policy");
	r.policy_serial = 1;
	r.mode = T("protect");
	r.protected_ = true;
	r.version = T("0.1.0");
	r.host_id = T("11111111-2222-8333-8444-555555555555");
	service.name = T("ampread/1");
	service.state = T("running");
	service.pid = 42;
	service.since_ns = 1000000000000000000;
	service.restarts = 3;
	r.n_services = 1;
	r.services = services;
	fs.fsid = 0xabc;
	fs.type = T("ext4");
	fs.mount_point.data = (uint8_t *)T("/mnt/\xff\x1b[31m");
	fs.mount_point.len = 11;
	fs.how = AMP__FILE_SYSTEM__HOW__BY_HANDLE;
	fs.why = T("");
	r.n_filesystems = 1;
	r.filesystems = filesystems;
	fault.number = 5;
	fault.severity = T("warning");
	fault.text = T("events lost");
	fault.detail = T("evil\x1b[2J");
	fault.remedy = T("wait for the repair");
	r.n_faults = 1;
	r.faults = faults;
	counter.name = T("watch.lost");
	counter.value = 9;
	counter.loss = true;
	r.n_counters = 1;
	r.counters = counters;
	reply(fd, AMP_MSG_CLI_STATUS_REPLY, h->id, &r.base);
	return true;
}

static bool room_status(struct service *s, int fd, const struct amp_wire_header *h, const uint8_t *body,
			size_t length)
{
	Amp__CliStatusReply r = AMP__CLI_STATUS_REPLY__INIT;
	Amp__Counter a = AMP__COUNTER__INIT, b = AMP__COUNTER__INIT, *counters[] = {&a, &b};

	(void)body;
	(void)length;
	r.service = T(s->name);
	a.name = T("events.overflow");
	a.value = 12;
	a.loss = true;
	b.name = T("events.read");
	b.value = 1000;
	r.n_counters = 2;
	r.counters = counters;
	r.jobs = 7;
	r.parked = 2;
	reply(fd, AMP_MSG_CLI_STATUS_REPLY, h->id, &r.base);
	return true;
}

static bool silent(struct service *s, int fd, const struct amp_wire_header *h, const uint8_t *body,
		   size_t length)
{
	(void)s;
	(void)fd;
	(void)h;
	(void)body;
	(void)length;
	return true;
}

static void start_well(void)
{
	start(&mon, mon_status);
	start(&scan, room_status);
	start(&cloud, room_status);
	start(&quard, room_status);
}

static void test_status_text(void **state)
{
	static const char head[] = "Status: Standalone\nScan: Ready for scan\nLast Scan: none\n"
				   "Policy: Protect Policy (#1)\n";

	(void)state;
	start_well();
	assert_int_equal(RUN("status"), 0);
	assert_string_equal(err, "");
	if (strncmp(out, head, strlen(head)) != 0)
		fail_msg("head: %s", out);
	assert_non_null(strstr(out, "ampread/1"));
	assert_non_null(strstr(out, "restarts 3"));
	assert_non_null(strstr(out, "/mnt/\\xff\\x1b[31m"));
	assert_non_null(strstr(out, "watched by handle"));
	assert_non_null(strstr(out, "#5 warning: events lost (evil\\x1b[2J)"));
	assert_non_null(strstr(out, "wait for the repair"));
	assert_non_null(strstr(out, "Lost: ampscand.events.overflow 12\n"));
	assert_non_null(strstr(out, "Lost: ampmon.watch.lost 9\n"));
	assert_null(strstr(out, "events.read"));
	assert_null(strchr(out, '\x1b'));
}

static void test_status_json(void **state)
{
	json_object *o, *x;

	(void)state;
	start_well();
	assert_int_equal(RUN("status", "--json"), 0);
	o = document(json_type_object);
	assert_string_equal(text_of(o, "status"), "Standalone");
	assert_string_equal(text_of(o, "last_scan"), "none");
	assert_string_equal(text_of(member(o, "policy"), "name"), "Protect Policy");
	assert_int_equal(json_object_get_int(member(member(o, "policy"), "serial")), 1);
	assert_true(json_object_get_boolean(member(o, "protected")));
	x = json_object_array_get_idx(member(o, "services"), 0);
	assert_string_equal(text_of(x, "since"), "2001-09-09T01:46:40.000Z");
	x = json_object_array_get_idx(member(o, "filesystems"), 0);
	assert_string_equal(text_of(x, "mount_point"), "/mnt/\\xff\\x1b[31m");
	assert_string_equal(text_of(x, "mount_point_bytes"), "2f6d6e742fff1b5b33316d");
	assert_string_equal(text_of(x, "how"), "by_handle");
	x = member(o, "counters");
	assert_int_equal(json_object_get_int64(member(x, "ampscand.events.overflow")), 12);
	assert_int_equal(json_object_get_int64(member(x, "ampcloudd.events.read")), 1000);
	assert_int_equal(json_object_get_int64(member(x, "ampquard.events.overflow")), 12);
	assert_int_equal(json_object_get_int64(member(o, "jobs")), 7);
	assert_int_equal(json_object_array_length(member(o, "unanswered")), 0);
	json_object_put(o);
	assert_int_equal(RUN("faults", "--json"), 0);
	o = document(json_type_array);
	assert_string_equal(text_of(json_object_array_get_idx(o, 0), "detail"), "evil\x1b[2J");
	json_object_put(o);
}

/* One is not there: the others are shown, the missing one is named. */
static void test_status_partial(void **state)
{
	json_object *o, *v;

	(void)state;
	start(&mon, mon_status);
	start(&cloud, room_status);
	assert_int_equal(RUN("status"), 3);
	assert_non_null(strstr(out, "Status: Standalone\n"));
	assert_non_null(strstr(out, "Lost: ampcloudd.events.overflow 12"));
	assert_non_null(strstr(err, "ampscand"));
	assert_null(strstr(err, "ampcloudd"));
	assert_non_null(strstr(err, "ampquard: not running"));
	assert_int_equal(RUN("--json", "status"), 3);
	o = document(json_type_object);
	assert_false(json_object_object_get_ex(o, "jobs", &v));
	assert_string_equal(json_object_get_string(json_object_array_get_idx(member(o, "unanswered"), 0)),
			    "ampscand");
	assert_string_equal(json_object_get_string(json_object_array_get_idx(member(o, "unanswered"), 1)),
			    "ampquard");
	json_object_put(o);
	stop(&mon);
	stop(&cloud);
	assert_int_equal(RUN("--json", "status"), 3);
	json_object_put(document(json_type_object));
}

/* Five seconds, not for ever; all are waited for at once. */
static void test_silence(void **state)
{
	struct timespec a, b;

	(void)state;
	start(&mon, silent);
	start(&scan, silent);
	start(&cloud, silent);
	start(&quard, silent);
	clock_gettime(CLOCK_MONOTONIC, &a);
	assert_int_equal(RUN("status"), 3);
	clock_gettime(CLOCK_MONOTONIC, &b);
	assert_in_range(b.tv_sec - a.tv_sec, 4, 19);
	assert_non_null(strstr(err, "no answer within 5 s"));
}

static bool hang_up_once(struct service *s, int fd, const struct amp_wire_header *h, const uint8_t *body,
			 size_t length)
{
	return s->requests > 1 && mon_status(s, fd, h, body, length);
}

static bool hang_up(struct service *s, int fd, const struct amp_wire_header *h, const uint8_t *body,
		    size_t length)
{
	(void)s;
	(void)fd;
	(void)h;
	(void)body;
	(void)length;
	return false;
}

/* A read is asked again once, a change never. */
static void test_asked_again(void **state)
{
	(void)state;
	start(&mon, hang_up_once);
	assert_int_equal(RUN("faults"), 0);
	assert_int_equal(mon.requests, 2);
	stop(&mon);
	start(&mon, hang_up);
	assert_int_equal(RUN("faults"), 3);
	assert_int_equal(mon.requests, 2);
	assert_int_equal(RUN("policy", "use", "audit"), 3);
	assert_int_equal(mon.requests, 3);
	assert_non_null(strstr(err, "not known"));
}

static Amp__CliError__Code error_code;

static bool refuse(struct service *s, int fd, const struct amp_wire_header *h, const uint8_t *body,
		   size_t length)
{
	Amp__CliError e = AMP__CLI_ERROR__INIT;

	(void)s;
	(void)body;
	(void)length;
	e.code = error_code;
	e.text = T("no\nway\x1b[1m");
	reply(fd, AMP_MSG_CLI_ERROR, error_code == AMP__CLI_ERROR__CODE__NOT_NOW ? 0 : h->id, &e.base);
	return true;
}

static bool refuse_and_close(struct service *s, int fd, const struct amp_wire_header *h, const uint8_t *body,
			     size_t length)
{
	refuse(s, fd, h, body, length);
	return false;
}

static void test_refused(void **state)
{
	json_object *o;

	(void)state;
	error_code = AMP__CLI_ERROR__CODE__NOT_PERMITTED;
	start(&mon, refuse);
	assert_int_equal(RUN("policy", "use", "audit"), 4);
	assert_non_null(strstr(err, "ampmon: no\\x0away\\x1b[1m\n"));
	error_code = AMP__CLI_ERROR__CODE__NOT_FOUND;
	assert_int_equal(RUN("--json", "policy", "use", "audit"), 2);
	o = document(json_type_object);
	assert_string_equal(text_of(o, "service"), "ampmon");
	json_object_put(o);
	/* Turned away at the door: the error answers no request. */
	error_code = AMP__CLI_ERROR__CODE__NOT_NOW;
	assert_int_equal(RUN("policy"), 2);
	assert_int_equal(mon.requests, 3);
}

/* One that is turned away before its request is looked at: it hears why, however late it asks or listens. */
static void turned_away(bool change)
{
	Amp__CliStatus body = AMP__CLI_STATUS__INIT;
	const struct client_request request = {
		.type = AMP_MSG_CLI_STATUS,
		.body = &body.base,
		.reply_type = AMP_MSG_CLI_STATUS_REPLY,
		.reply = &amp__cli_status_reply__descriptor,
		.change = change,
	};
	struct client *c = client_new(dir, mon.name);

	assert_non_null(c);
	mon.leaves_unread = true;
	error_code = AMP__CLI_ERROR__CODE__NOT_NOW;
	start(&mon, refuse_and_close);
	client_send(c, &request);
	while (mon.requests == 0)
		usleep(1000);
	stop(&mon); /* it has closed the connection */
	assert_int_equal(client_receive(c), CLIENT_REFUSED);
	assert_int_equal(client_refusal(c), AMP__CLI_ERROR__CODE__NOT_NOW);
	client_free(c);
}

static void test_turned_away(void **state)
{
	(void)state;
	turned_away(false);
	turned_away(true);
}

static pthread_t asker;

static void on_usr1(int signal_number)
{
	(void)signal_number;
}

/* A minute passes in which nobody was there: the service did not have its time either. */
static bool after_a_stop(struct service *s, int fd, const struct amp_wire_header *h, const uint8_t *body,
			 size_t length)
{
	amp_clock_advance(60 * AMP_NS_PER_SEC);
	pthread_kill(asker, SIGUSR1);
	usleep(300000);
	return mon_status(s, fd, h, body, length);
}

static void test_stop_is_no_silence(void **state)
{
	const struct sigaction act = {.sa_handler = on_usr1};
	struct sigaction old;
	int code;

	(void)state;
	asker = pthread_self();
	assert_int_equal(sigaction(SIGUSR1, &act, &old), 0);
	amp_clock_freeze(amp_clock_monotonic(), amp_clock_realtime());
	start(&mon, after_a_stop);
	code = RUN("faults");
	amp_clock_release();
	assert_int_equal(code, 0);
	assert_int_equal(mon.requests, 1);
	assert_int_equal(sigaction(SIGUSR1, &old, NULL), 0);
}

static void test_not_permitted_to_connect(void **state)
{
	char path[128];
	int code;

	(void)state;
	if (geteuid() != 0)
		SKIP_WITHOUT("root");
	start(&mon, mon_status);
	snprintf(path, sizeof(path), "%s/ampmon", dir);
	assert_int_equal(chmod(path, 0600), 0);
	assert_int_equal(chmod(dir, 0755), 0);
	assert_int_equal(seteuid(65534), 0);
	code = RUN("faults");
	assert_int_equal(seteuid(0), 0);
	assert_int_equal(code, 4);
	assert_int_equal(mon.requests, 0);
}

/* What a service that was taken over could send. */
static int badness;

static bool bad(struct service *s, int fd, const struct amp_wire_header *h, const uint8_t *body,
		size_t length)
{
	uint8_t buf[64] = {0};
	struct amp_wire_header w = {
		.version = AMP_WIRE_VERSION, .type = AMP_MSG_CLI_STATUS_REPLY, .length = 4, .id = h->id};
	size_t n = sizeof(w) + 4;
	struct iovec iov = {.iov_base = buf};
	union {
		struct cmsghdr head;
		char room[CMSG_SPACE(sizeof(int))];
	} control;
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
	int zero = 0;

	(void)s;
	(void)body;
	(void)length;
	if (badness == 0)
		w.version++;
	if (badness == 1)
		w.type = AMP_MSG_KILL;
	if (badness == 2)
		w.length = 5;
	if (badness == 3)
		w.length = 0, n = sizeof(w), w.id++;
	if (badness == 4)
		n = 3;
	if (badness == 6)
		w.length = 0, n = sizeof(w);
	memcpy(buf, &w, sizeof(w));
	memset(buf + sizeof(w), 0xff, 4); /* no protobuf */
	iov.iov_len = n;
	if (badness == 6) {
		msg.msg_control = &control;
		msg.msg_controllen = sizeof(control);
		memset(&control, 0, sizeof(control));
		control.head.cmsg_level = SOL_SOCKET;
		control.head.cmsg_type = SCM_RIGHTS;
		control.head.cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(&control.head), &zero, sizeof(zero));
	}
	if (sendmsg(fd, &msg, MSG_NOSIGNAL) < 0)
		abort();
	return true;
}

static void test_bad_answers(void **state)
{
	(void)state;
	start(&mon, bad);
	for (badness = 0; badness <= 6; badness++) {
		int code = RUN("--json", "faults");

		if (code != 2 || !strstr(err, "no answer"))
			fail_msg("case %d: exit %d, %s", badness, code, err);
		json_object_put(document(json_type_object));
	}
}

/* Rows 250 down to 1, in pages. */
#define ROWS 250

static bool history(struct service *s, int fd, const struct amp_wire_header *h, const uint8_t *body,
		    size_t length)
{
	Amp__CliHistory *q = amp__cli_history__unpack(NULL, length, body);
	Amp__CliHistoryReply r = AMP__CLI_HISTORY_REPLY__INIT;
	Amp__CliHistoryEntry entries[AMP_HISTORY_BATCH], *list[AMP_HISTORY_BATCH];
	Amp__Process process = AMP__PROCESS__INIT;
	uint64_t at = q->before ? q->before - 1 : ROWS;
	char ids[AMP_HISTORY_BATCH][32];

	(void)s;
	process.known = true;
	process.pid = 77;
	process.uid = 1000;
	process.exe.data = (uint8_t *)T("/bin/\xe9");
	process.exe.len = 6;
	for (; r.n_entries < q->limit && at > 0; at--) {
		Amp__CliHistoryEntry *e = &entries[r.n_entries];

		amp__cli_history_entry__init(e);
		snprintf(ids[r.n_entries], 32, "uid/%u", (unsigned)at);
		e->number = at;
		e->id = ids[r.n_entries];
		e->time_ns = 1000000000000000000;
		e->type = q->type[0] ? q->type : T("threat_detected");
		e->detection_id = q->detection_id;
		e->path.data = (uint8_t *)T("/a\xff\n");
		e->path.len = 4;
		e->process = at % 2 ? &process : NULL;
		list[r.n_entries++] = e;
	}
	r.entries = list;
	r.more = at > 0;
	r.next_before = at + 1;
	reply(fd, AMP_MSG_CLI_HISTORY_REPLY, h->id, &r.base);
	amp__cli_history__free_unpacked(q, NULL);
	return true;
}

static size_t history_count(int code)
{
	json_object *o;
	size_t n;

	assert_int_equal(code, 0);
	o = document(json_type_array);
	n = json_object_array_length(o);
	for (size_t i = 0; i < n; i++) {
		char id[32];

		snprintf(id, sizeof(id), "uid/%u", (unsigned)(ROWS - i));
		assert_string_equal(text_of(json_object_array_get_idx(o, i), "id"), id);
	}
	json_object_put(o);
	return n;
}

static void test_history(void **state)
{
	json_object *o, *e;

	(void)state;
	start(&cloud, history);
	assert_int_equal(history_count(RUN("history", "--json")), 50);
	assert_int_equal(history_count(RUN("history", "--json", "--limit", "150")), 150);
	assert_int_equal(history_count(RUN("history", "--json", "--limit=0")), ROWS);
	assert_int_equal(history_count(RUN("history", "--json", "--limit", "1000")), ROWS);
	assert_int_equal(RUN("history", "--json", "--type", "policy_changed", "--limit", "2"), 0);
	o = document(json_type_array);
	e = json_object_array_get_idx(o, 0);
	assert_string_equal(text_of(e, "type"), "policy_changed");
	assert_string_equal(text_of(e, "path"), "/a\\xff\\x0a");
	assert_string_equal(text_of(e, "path_bytes"), "2f61ff0a");
	assert_string_equal(text_of(e, "time"), "2001-09-09T01:46:40.000Z");
	assert_null(member(e, "process"));
	e = member(json_object_array_get_idx(o, 1), "process");
	assert_int_equal(json_object_get_int(member(e, "pid")), 77);
	assert_string_equal(text_of(e, "exe_bytes"), "2f62696e2fe9");
	json_object_put(o);
	assert_int_equal(RUN("history", "--limit", "1"), 0);
	assert_non_null(strstr(out, "path: /a\\xff\\x0a\n"));
}

static bool history_empty(struct service *s, int fd, const struct amp_wire_header *h, const uint8_t *body,
			  size_t length)
{
	Amp__CliHistoryReply r = AMP__CLI_HISTORY_REPLY__INIT;

	(void)s;
	(void)body;
	(void)length;
	reply(fd, AMP_MSG_CLI_HISTORY_REPLY, h->id, &r.base);
	return true;
}

/* "There is more" and it never leads further. */
static bool history_loop(struct service *s, int fd, const struct amp_wire_header *h, const uint8_t *body,
			 size_t length)
{
	Amp__CliHistoryReply r = AMP__CLI_HISTORY_REPLY__INIT;
	Amp__CliHistoryEntry e = AMP__CLI_HISTORY_ENTRY__INIT, *list[] = {&e};

	(void)s;
	(void)body;
	(void)length;
	r.n_entries = 1;
	r.entries = list;
	r.more = true;
	r.next_before = 5;
	reply(fd, AMP_MSG_CLI_HISTORY_REPLY, h->id, &r.base);
	return true;
}

static bool history_dies(struct service *s, int fd, const struct amp_wire_header *h, const uint8_t *body,
			 size_t length)
{
	return s->requests == 1 && history(s, fd, h, body, length);
}

static void test_history_ends(void **state)
{
	json_object *o;

	(void)state;
	start(&cloud, history_empty);
	assert_int_equal(RUN("history", "--json"), 0);
	o = document(json_type_array);
	assert_int_equal(json_object_array_length(o), 0);
	json_object_put(o);
	assert_int_equal(RUN("history"), 0);
	assert_string_equal(out, "No events.\n");
	stop(&cloud);
	start(&cloud, history_loop);
	assert_int_equal(RUN("history", "--json", "--limit", "0"), 2);
	json_object_put(document(json_type_array));
	assert_int_equal(cloud.requests, 2);
	stop(&cloud);
	/* Lost in the middle: what was had is a whole document. */
	start(&cloud, history_dies);
	assert_int_equal(RUN("history", "--json", "--limit", "0"), 3);
	o = document(json_type_array);
	assert_int_equal(json_object_array_length(o), 100);
	json_object_put(o);
	stop(&cloud);
	assert_int_equal(RUN("history", "--json"), 3);
	json_object_put(document(json_type_object));
}

static bool rules_forever, rules_none;

static bool rules(struct service *s, int fd, const struct amp_wire_header *h, const uint8_t *body,
		  size_t length)
{
	Amp__CliRules *q = amp__cli_rules__unpack(NULL, length, body);
	Amp__CliRulesReply r = AMP__CLI_RULES_REPLY__INIT;
	Amp__CliRule rule = AMP__CLI_RULE__INIT, *list[] = {&rule};
	static uint8_t sha[32] = {0xab};

	(void)s;
	rule.index = rules_forever ? 1 : q->after + 1;
	rule.kind = q->exclusions ? T("process") : T("blocked");
	rule.text.data = (uint8_t *)T("/usr/bin/rsync");
	rule.text.len = 14;
	rule.hits = 4;
	if (q->exclusions) {
		rule.has_uid = true;
		rule.uid = 33;
		rule.warning = T("others can write there");
	} else {
		rule.sha256.data = sha;
		rule.sha256.len = 32;
	}
	r.rules = list;
	r.n_rules = !rules_none;
	r.more = r.n_rules && rule.index < 3;
	reply(fd, AMP_MSG_CLI_RULES_REPLY, h->id, &r.base);
	amp__cli_rules__free_unpacked(q, NULL);
	return true;
}

static void test_rules(void **state)
{
	json_object *o, *e;

	(void)state;
	rules_forever = false;
	start(&scan, rules);
	assert_int_equal(RUN("exclusions", "--json"), 0);
	o = document(json_type_array);
	assert_int_equal(json_object_array_length(o), 3);
	e = json_object_array_get_idx(o, 2);
	assert_string_equal(text_of(e, "kind"), "process");
	assert_int_equal(json_object_get_int(member(e, "uid")), 33);
	assert_string_equal(text_of(e, "warning"), "others can write there");
	json_object_put(o);
	assert_int_equal(RUN("exclusions"), 0);
	assert_non_null(strstr(out, "/usr/bin/rsync user 33, 4 hits\n  Warning: others can write there\n"));
	assert_int_equal(RUN("policy", "lists"), 0);
	assert_non_null(strstr(out, "blocked  ab00"));
	rules_forever = true;
	assert_int_equal(RUN("policy", "lists", "--json"), 2);
	json_object_put(document(json_type_object));
	rules_forever = false;
	rules_none = true;
	assert_int_equal(RUN("policy", "lists"), 0);
	assert_string_equal(out, "No entries.\n");
	assert_int_equal(RUN("exclusions"), 0);
	assert_string_equal(out, "No exclusions.\n");
	assert_int_equal(RUN("exclusions", "--json"), 0);
	json_object_put(document(json_type_array));
	rules_none = false;
}

static bool policies(struct service *s, int fd, const struct amp_wire_header *h, const uint8_t *body,
		     size_t length)
{
	Amp__CliPolicyInfo a = AMP__CLI_POLICY_INFO__INIT, b = AMP__CLI_POLICY_INFO__INIT, *list[] = {&a, &b};
	Amp__CliPolicyReply r = AMP__CLI_POLICY_REPLY__INIT;
	Amp__CliPolicyUseReply u = AMP__CLI_POLICY_USE_REPLY__INIT;
	char *problems[] = {T("blocked.list:3: no hash; remove the line")};
	char *schedule[] = {T("full sun 02:30")};

	(void)s;
	(void)body;
	(void)length;
	a.id = T("audit");
	a.name = T("Audit Policy");
	b.id = T("protect");
	b.name = T("Protect Policy");
	b.serial = 1;
	b.in_force = true;
	b.problems = problems;
	b.n_problems = 1;
	b.engine = true;
	b.schedule = schedule;
	b.n_schedule = 1;
	b.scan_cpu = 50;
	r.policies = list;
	r.n_policies = 2;
	u.policy = &a;
	if (h->type == AMP_MSG_CLI_POLICY_USE)
		reply(fd, AMP_MSG_CLI_POLICY_USE_REPLY, h->id, &u.base);
	else
		reply(fd, AMP_MSG_CLI_POLICY_REPLY, h->id, &r.base);
	return true;
}

static void test_policy(void **state)
{
	json_object *o;

	(void)state;
	start(&mon, policies);
	assert_int_equal(RUN("policy"), 0);
	assert_non_null(strstr(out, "Policy: Protect Policy (#1)\nId: protect\n"));
	assert_non_null(strstr(out, "Problem: blocked.list:3: no hash; remove the line\n"));
	assert_non_null(strstr(out, "Offline engine: yes\nScans take: up to 50 % of the processors\n"
				    "Scan: full sun 02:30\n"));
	assert_int_equal(RUN("policy", "list", "-j"), 0);
	o = document(json_type_array);
	assert_int_equal(json_object_array_length(o), 2);
	json_object_put(o);
	assert_int_equal(RUN("policy", "use", "audit", "--json"), 0);
	o = document(json_type_object);
	assert_string_equal(text_of(o, "id"), "audit");
	json_object_put(o);
}

static bool posture(struct service *s, int fd, const struct amp_wire_header *h, const uint8_t *body,
		    size_t length)
{
	Amp__CliPostureItem item = AMP__CLI_POSTURE_ITEM__INIT, *items[] = {&item};
	Amp__CliPostureProcess p = AMP__CLI_POSTURE_PROCESS__INIT;
	Amp__CliPostureReply r = AMP__CLI_POSTURE_REPLY__INIT;
	char *names[] = {T("Landlock ABI 7")}, lengthy[1500] = "";

	(void)s;
	(void)body;
	(void)length;
	item.what = T("seccomp");
	memset(lengthy, 'e', sizeof(lengthy) - 1);
	item.expected = lengthy;
	item.actual = T("none");
	p.name = T("ampread");
	p.pid = 9;
	p.items = items;
	p.n_items = 1;
	r.process = &p;
	r.more = true;
	reply(fd, AMP_MSG_CLI_POSTURE_REPLY, h->id, &r.base);
	reply(fd, AMP_MSG_CLI_POSTURE_REPLY, h->id, &r.base);
	r.process = NULL;
	r.more = false;
	r.in_use = names;
	r.n_in_use = 1;
	reply(fd, AMP_MSG_CLI_POSTURE_REPLY, h->id, &r.base);
	return true;
}

/* Says "more" for ever. */
static bool posture_forever(struct service *s, int fd, const struct amp_wire_header *h, const uint8_t *body,
			    size_t length)
{
	Amp__CliPostureReply r = AMP__CLI_POSTURE_REPLY__INIT;
	uint8_t buf[64];
	size_t n;

	(void)s;
	(void)body;
	(void)length;
	r.more = true;
	n = amp_message_pack(buf, sizeof(buf), AMP_MSG_CLI_POSTURE_REPLY, h->id, &r.base);
	for (int i = 0; i < 10000; i++)
		if (send(fd, buf, n, MSG_NOSIGNAL) < 0)
			break;
	return false;
}

static void test_posture(void **state)
{
	json_object *o, *p;

	(void)state;
	start(&mon, posture);
	assert_int_equal(RUN("posture", "--json"), 0);
	o = document(json_type_object);
	assert_int_equal(json_object_array_length(member(o, "processes")), 2);
	p = json_object_array_get_idx(member(o, "processes"), 1);
	p = json_object_array_get_idx(member(p, "items"), 0);
	assert_false(json_object_get_boolean(member(p, "equal")));
	assert_int_equal(json_object_array_length(member(o, "in_use")), 1);
	json_object_put(o);
	assert_int_equal(RUN("posture"), 0);
	assert_non_null(strstr(out, "! seccomp"));
	/* However long, nothing is cut. */
	assert_int_equal(strspn(strstr(out, "eeee"), "e"), 1499);
	stop(&mon);
	start(&mon, posture_forever);
	assert_int_equal(RUN("posture"), 2);
	assert_non_null(strstr(err, "too many replies"));
}

/* The vault: entries 70 down to 1. Two of them at a time have the first four digits in common. */
#define ENTRIES 70
#define ENTRY	"000a0014-1111-8222-8333-444444444444" /* number 20 */
#define NOW	1000000000000000000
#define BYTES(s)                                                                                             \
	(ProtobufCBinaryData)                                                                                \
	{                                                                                                    \
		.data = (uint8_t *)T(s), .len = sizeof(s) - 1                                                \
	}

static uint8_t convicted[32] = {0xab, 0xcd};

/* What was asked for last, and what is to be answered. */
static struct {
	unsigned pages, changes;
	char id[64];
	char directory[1024];
	bool has_directory, keep;
	uint8_t sha256[32];
	unsigned progress; /* replies before the last one */
	unsigned pause_s;  /* before each of them */
	ProtobufCBinaryData path;
} asked;

struct page {
	Amp__CliQuarantineReply reply;
	Amp__CliVaultEntry entries[AMP_VAULT_BATCH + 1], *list[AMP_VAULT_BATCH + 1];
	char ids[AMP_VAULT_BATCH + 1][40];
};

static void fill_entry(struct page *p, unsigned number)
{
	size_t i = p->reply.n_entries++;
	Amp__CliVaultEntry *e = &p->entries[i];

	amp__cli_vault_entry__init(e);
	snprintf(p->ids[i], sizeof(p->ids[i]), "%04x%04x-1111-8222-8333-444444444444", (number / 2) & 0xffff,
		 number & 0xffff);
	e->number = number;
	e->id = p->ids[i];
	e->detection_id = T("0e4f5c1a-6f1b-8c3e-9d52-3a7e1c6b9f00");
	e->time_ns = NOW;
	e->path = BYTES("/srv/a\xff\n");
	e->path_unresolved = number % 7 == 0;
	e->sha256.data = convicted;
	e->sha256.len = sizeof(convicted);
	e->detection = T("Eicar\x1b[31m");
	e->size = 68;
	e->state = number % 10 ? T("quarantined") : T("failed");
	e->reason = T("no room\x1b[2J; again in 5 minutes");
	p->list[i] = e;
	p->reply.entries = p->list;
}

static void fill_page(struct page *p, uint64_t before, unsigned max)
{
	unsigned at = before ? (unsigned)before - 1 : ENTRIES;

	amp__cli_quarantine_reply__init(&p->reply);
	for (; p->reply.n_entries < max && at > 0; at--)
		fill_entry(p, at);
	p->reply.more = at > 0;
	p->reply.next_before = at + 1;
}

static void answer_error(int fd, const struct amp_wire_header *h, Amp__CliError__Code code)
{
	Amp__CliError e = AMP__CLI_ERROR__INIT;

	e.code = code;
	e.text = T("there is no such entry; see `ampcli quarantine list`");
	reply(fd, AMP_MSG_CLI_ERROR, h->id, &e.base);
}

static void answer_entry(int fd, const struct amp_wire_header *h, const char *id)
{
	char *ids[] = {T("0e4f5c1a-6f1b-8c3e-9d52-3a7e1c6b9f00"), T("0e4f5c1a-6f1b-8c3e-9d52-3a7e1c6b9f01")};
	ProtobufCBinaryData names[] = {BYTES("/srv/a\xff\n"), BYTES("/srv/b")};
	ProtobufCBinaryData xattrs[] = {BYTES("user.note"), BYTES("security.capability")};
	Amp__CliVaultEntry *e;
	struct page p;

	fill_page(&p, strcmp(id, ENTRY) == 0 ? 21 : 3, 1);
	p.reply.more = false;
	e = p.list[0];
	if (strcmp(e->id, id) != 0) {
		answer_error(fd, h, AMP__CLI_ERROR__CODE__NOT_FOUND);
		return;
	}
	e->names = names;
	e->n_names = 2;
	e->detection_ids = ids;
	e->n_detection_ids = 2;
	e->uid = 1000;
	e->gid = 100;
	e->mode = 0104755;
	e->nlink = 2;
	e->mtime_ns = -1;
	e->xattrs = xattrs;
	e->n_xattrs = 2;
	e->until_ns = NOW;
	e->note = T("two links were\nemptied");
	reply(fd, AMP_MSG_CLI_QUARANTINE_REPLY, h->id, &p.reply.base);
}

static void vault_list(int fd, const struct amp_wire_header *h, const uint8_t *body, size_t length)
{
	Amp__CliQuarantine *q = amp__cli_quarantine__unpack(NULL, length, body);
	struct page p;

	if (q->id[0]) {
		answer_entry(fd, h, q->id);
	} else {
		asked.pages++;
		fill_page(&p, q->before, AMP_VAULT_BATCH);
		reply(fd, AMP_MSG_CLI_QUARANTINE_REPLY, h->id, &p.reply.base);
	}
	amp__cli_quarantine__free_unpacked(q, NULL);
}

static void vault_restore(int fd, const struct amp_wire_header *h, const uint8_t *body, size_t length)
{
	Amp__CliRestore *q = amp__cli_restore__unpack(NULL, length, body);
	Amp__CliRestoreReply r = AMP__CLI_RESTORE_REPLY__INIT;
	char *left[] = {T("security.selinux: not permitted\x1b[m"), T("set-uid bit")};

	snprintf(asked.id, sizeof(asked.id), "%s", q->id);
	snprintf(asked.directory, sizeof(asked.directory), "%.*s", (int)q->directory.len,
		 q->directory.len ? (const char *)q->directory.data : "");
	asked.has_directory = q->directory.len > 0;
	asked.keep = q->keep_privileges;
	amp__cli_restore__free_unpacked(q, NULL);
	r.more = true;
	r.bytes = asked.progress;
	for (unsigned i = 0; i < asked.progress; i++) {
		sleep(asked.pause_s);
		r.bytes_done = i + 1;
		reply(fd, AMP_MSG_CLI_RESTORE_REPLY, h->id, &r.base);
	}
	r.more = false;
	r.path = asked.path;
	r.left = left;
	r.n_left = 2;
	reply(fd, AMP_MSG_CLI_RESTORE_REPLY, h->id, &r.base);
}

static void vault_delete(int fd, const struct amp_wire_header *h, const uint8_t *body, size_t length)
{
	Amp__CliDelete *q = amp__cli_delete__unpack(NULL, length, body);
	Amp__CliDeleteReply r = AMP__CLI_DELETE_REPLY__INIT;

	snprintf(asked.id, sizeof(asked.id), "%s", q->id);
	amp__cli_delete__free_unpacked(q, NULL);
	reply(fd, AMP_MSG_CLI_DELETE_REPLY, h->id, &r.base);
}

static void vault_revoke(int fd, const struct amp_wire_header *h, const uint8_t *body, size_t length)
{
	Amp__CliRevoke *q = amp__cli_revoke__unpack(NULL, length, body);
	Amp__CliRevokeReply r = AMP__CLI_REVOKE_REPLY__INIT;

	memcpy(asked.sha256, q->sha256.data, q->sha256.len == 32 ? 32 : 0);
	amp__cli_revoke__free_unpacked(q, NULL);
	r.judged_again = 3;
	reply(fd, AMP_MSG_CLI_REVOKE_REPLY, h->id, &r.base);
}

static bool vault(struct service *s, int fd, const struct amp_wire_header *h, const uint8_t *body,
		  size_t length)
{
	static const struct {
		uint16_t type;
		void (*answer)(int fd, const struct amp_wire_header *h, const uint8_t *body, size_t length);
	} rows[] = {
		{AMP_MSG_CLI_QUARANTINE, vault_list},
		{AMP_MSG_CLI_RESTORE, vault_restore},
		{AMP_MSG_CLI_DELETE, vault_delete},
		{AMP_MSG_CLI_REVOKE, vault_revoke},
	};

	(void)s;
	asked.changes += h->type != AMP_MSG_CLI_QUARANTINE;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		if (rows[i].type == h->type)
			rows[i].answer(fd, h, body, length);
	return true;
}

static void start_vault(void)
{
	memset(&asked, 0, sizeof(asked));
	asked.path = BYTES("/srv/a\xff\n");
	start(&quard, vault);
}

static size_t list_count(int code, unsigned pages)
{
	json_object *o;
	size_t n;

	assert_int_equal(code, 0);
	assert_int_equal(asked.pages, pages);
	asked.pages = 0;
	o = document(json_type_array);
	n = json_object_array_length(o);
	for (size_t i = 0; i < n; i++) {
		char id[40];
		unsigned number = ENTRIES - (unsigned)i;

		snprintf(id, sizeof(id), "%04x%04x-1111-8222-8333-444444444444", (number / 2) & 0xffff,
			 number & 0xffff);
		assert_string_equal(text_of(json_object_array_get_idx(o, i), "id"), id);
	}
	json_object_put(o);
	return n;
}

static void test_quarantine_list(void **state)
{
	json_object *o, *e, *v;

	(void)state;
	start_vault();
	assert_int_equal(list_count(RUN("quarantine", "list", "--json"), 3), ENTRIES);
	assert_int_equal(list_count(RUN("quarantine", "list", "--json", "--limit", "0"), 3), ENTRIES);
	assert_int_equal(list_count(RUN("quarantine", "list", "--json", "--limit", "40"), 2), 40);
	assert_int_equal(RUN("quarantine", "list", "--json", "--limit", "3"), 0);
	o = document(json_type_array);
	e = json_object_array_get_idx(o, 0); /* 70 */
	assert_string_equal(text_of(e, "detection_id"), "0e4f5c1a-6f1b-8c3e-9d52-3a7e1c6b9f00");
	assert_string_equal(text_of(e, "time"), "2001-09-09T01:46:40.000Z");
	assert_string_equal(text_of(e, "path"), "/srv/a\\xff\\x0a");
	assert_string_equal(text_of(e, "path_bytes"), "2f7372762f61ff0a");
	assert_true(json_object_get_boolean(member(e, "path_unresolved")));
	assert_string_equal(text_of(e, "detection"), "Eicar\x1b[31m");
	assert_int_equal(strncmp(text_of(e, "sha256"), "abcd00", 6), 0);
	assert_int_equal(json_object_get_int(member(e, "size")), 68);
	assert_string_equal(text_of(e, "state"), "failed");
	assert_non_null(strstr(text_of(e, "reason"), "no room"));
	e = json_object_array_get_idx(o, 1);
	assert_string_equal(text_of(e, "state"), "quarantined");
	assert_false(json_object_object_get_ex(e, "reason", &v));
	assert_false(json_object_object_get_ex(e, "path_unresolved", &v));
	assert_false(json_object_object_get_ex(e, "names", &v));
	json_object_put(o);
}

static void test_quarantine_list_text(void **state)
{
	(void)state;
	start_vault();
	assert_int_equal(RUN("quarantine", "list", "--limit", "2"), 0);
	assert_int_equal(strncmp(out, "ID ", 3), 0);
	assert_non_null(
		strstr(out, "00230046-1111-8222-8333-444444444444  2001-09-09T01:46:40.000Z  failed"));
	assert_non_null(strstr(out, "  /srv/a\\xff\\x0a (unresolved)\n"
				    "    reason: no room\\x1b[2J; again in 5 minutes\n"
				    "00220045-"));
	assert_non_null(strstr(out, "  quarantined            68  Eicar\\x1b[31m"));
	assert_null(strchr(out, '\x1b'));
	assert_int_equal(strlen(strrchr(out, '\n')), 1);
}

static bool vault_empty(struct service *s, int fd, const struct amp_wire_header *h, const uint8_t *body,
			size_t length)
{
	Amp__CliQuarantineReply r = AMP__CLI_QUARANTINE_REPLY__INIT;

	(void)s;
	(void)body;
	(void)length;
	reply(fd, AMP_MSG_CLI_QUARANTINE_REPLY, h->id, &r.base);
	return true;
}

static bool vault_dies(struct service *s, int fd, const struct amp_wire_header *h, const uint8_t *body,
		       size_t length)
{
	return s->requests == 1 && vault(s, fd, h, body, length);
}

static void test_quarantine_list_ends(void **state)
{
	json_object *o;

	(void)state;
	start(&quard, vault_empty);
	assert_int_equal(RUN("quarantine", "list", "--json"), 0);
	o = document(json_type_array);
	assert_int_equal(json_object_array_length(o), 0);
	json_object_put(o);
	assert_int_equal(RUN("quarantine", "list"), 0);
	assert_string_equal(out, "The quarantine is empty.\n");
	assert_int_equal(RUN("quarantine", "show", "0001"), 2);
	assert_non_null(strstr(err, "no entry's id begins with 0001; see `ampcli quarantine list`"));
	stop(&quard);
	/* Lost in the middle: what was had is a whole document. */
	start(&quard, vault_dies);
	assert_int_equal(RUN("quarantine", "list", "--json"), 3);
	o = document(json_type_array);
	assert_int_equal(json_object_array_length(o), AMP_VAULT_BATCH);
	json_object_put(o);
}

static void test_quarantine_show(void **state)
{
	json_object *o;

	(void)state;
	start_vault();
	assert_int_equal(RUN("quarantine", "show", ENTRY, "--json"), 0);
	assert_int_equal(asked.pages, 0);
	o = document(json_type_object);
	assert_string_equal(text_of(o, "id"), ENTRY);
	assert_string_equal(json_object_get_string(json_object_array_get_idx(member(o, "names"), 0)),
			    "/srv/a\\xff\\x0a");
	assert_string_equal(json_object_get_string(json_object_array_get_idx(member(o, "names_bytes"), 1)),
			    "2f7372762f62");
	assert_int_equal(json_object_array_length(member(o, "detection_ids")), 2);
	assert_int_equal(json_object_get_int(member(o, "uid")), 1000);
	assert_int_equal(json_object_get_int(member(o, "gid")), 100);
	assert_string_equal(text_of(o, "mode"), "4755");
	assert_int_equal(json_object_get_int(member(o, "nlink")), 2);
	assert_string_equal(text_of(o, "mtime"), "1969-12-31T23:59:59.999Z");
	assert_string_equal(json_object_get_string(json_object_array_get_idx(member(o, "xattrs"), 1)),
			    "security.capability");
	assert_string_equal(text_of(o, "until"), "2001-09-09T01:46:40.000Z");
	assert_string_equal(text_of(o, "note"), "two links were\nemptied");
	assert_string_equal(text_of(o, "restored_to"), "");
	json_object_put(o);
	assert_int_equal(RUN("quarantine", "show", ENTRY), 0);
	assert_non_null(strstr(out, "Id: " ENTRY "\nState: failed\nReason: no room\\x1b[2J;"));
	assert_non_null(strstr(out, "\nOwner: 1000:100\nMode: 4755\n"));
	assert_non_null(strstr(out, "\nTaken from: /srv/a\\xff\\x0a\nTaken from: /srv/b\n"));
	assert_non_null(strstr(out, "\nAttribute: security.capability\n"));
	assert_non_null(strstr(out, "\nNote: two links were\\x0aemptied\n"));
	assert_null(strchr(out, '\x1b'));
}

/* An id may be cut as long as it means one entry. */
static void test_quarantine_prefix(void **state)
{
	static const char *const wrong[] = {"000",	    "000g",	     "", "000a0014x1111", ENTRY "0",
					    "000a00141111", "../../x\x1b[1m"};

	(void)state;
	start_vault();
	assert_int_equal(RUN("quarantine", "show", "000A0014-1"), 0);
	assert_int_equal(asked.pages, 3);
	assert_non_null(strstr(out, "Id: " ENTRY "\n"));
	assert_int_equal(RUN("quarantine", "show", "000A0014-1111-8222-8333-444444444444"), 0);
	assert_int_equal(asked.pages, 3);
	assert_int_equal(RUN("quarantine", "restore", "0001"), 2);
	assert_non_null(strstr(err, "several ids begin with 0001, 00010003-1111-8222-8333-444444444444 and "
				    "00010002-"));
	assert_non_null(strstr(err, "more digits"));
	assert_int_equal(RUN("quarantine", "delete", "--yes", "ffff", "--json"), 2);
	assert_non_null(strstr(err, "no entry's id begins with ffff; see `ampcli quarantine list`"));
	json_object_put(document(json_type_object));
	assert_int_equal(RUN("quarantine", "show", "ffff0014-1111-8222-8333-444444444444"), 2);
	assert_non_null(strstr(err, "ampquard: there is no such entry"));
	asked.pages = 0;
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		assert_int_equal(RUN("quarantine", "show", wrong[i]), 2);
		assert_non_null(strstr(err, "is no entry's id"));
		assert_null(strchr(err, '\x1b'));
	}
	assert_int_equal(asked.pages, 0);
	assert_int_equal(asked.changes, 0);
}

static void test_quarantine_restore(void **state)
{
	json_object *o;

	(void)state;
	start_vault();
	assert_int_equal(RUN("quarantine", "restore", ENTRY), 0);
	assert_string_equal(asked.id, ENTRY);
	assert_false(asked.has_directory);
	assert_false(asked.keep);
	assert_string_equal(out, ENTRY " is restored to /srv/a\\xff\\x0a\n"
				       "Not restored: security.selinux: not permitted\\x1b[m\n"
				       "Not restored: set-uid bit\n");
	assert_int_equal(RUN("quarantine", "restore", "--json", "--keep-privileges", "000a0014"), 0);
	assert_string_equal(asked.id, ENTRY);
	assert_true(asked.keep);
	o = document(json_type_object);
	assert_string_equal(text_of(o, "id"), ENTRY);
	assert_string_equal(text_of(o, "path"), "/srv/a\\xff\\x0a");
	assert_string_equal(text_of(o, "path_bytes"), "2f7372762f61ff0a");
	assert_int_equal(json_object_array_length(member(o, "left")), 2);
	json_object_put(o);
	assert_int_equal(asked.changes, 2);
}

static void test_quarantine_restore_to(void **state)
{
	static const struct {
		const char *to, *from_cwd, *from_parent;
	} rows[] = {
		{"sub", "/sub", NULL},
		{".", "", NULL},
		{"..", NULL, ""},
		{"./../a//b/.", NULL, "/a/b"},
		{"a/../b", "/a/../b", NULL},
		{"...", "/...", NULL},
	};
	char cwd[1024], parent[1024], expected[2100];

	(void)state;
	start_vault();
	assert_int_equal(chdir(dir), 0);
	assert_non_null(getcwd(cwd, sizeof(cwd)));
	snprintf(parent, sizeof(parent), "%s", cwd);
	*strrchr(parent, '/') = '\0';
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		assert_int_equal(RUN("quarantine", "restore", ENTRY, "--to", rows[i].to), 0);
		snprintf(expected, sizeof(expected), "%s%s", rows[i].from_cwd ? cwd : parent,
			 rows[i].from_cwd ? rows[i].from_cwd : rows[i].from_parent);
		assert_string_equal(asked.directory, expected);
	}
	assert_int_equal(RUN("quarantine", "restore", ENTRY, "--to", "/x/./y//"), 0);
	assert_string_equal(asked.directory, "/x/y");
	assert_int_equal(chdir("/"), 0);
	assert_int_equal(RUN("quarantine", "restore", ENTRY, "--to", "../x"), 0);
	assert_string_equal(asked.directory, "/x");
	assert_int_equal(RUN("quarantine", "restore", ENTRY, "--to=."), 0);
	assert_string_equal(asked.directory, "/");
}

static void test_quarantine_restore_to_wrong(void **state)
{
	char gone[128], *lengthy = malloc(AMP_PATH_MAX + 2);

	(void)state;
	start_vault();
	assert_int_equal(RUN("quarantine", "restore", ENTRY, "--to", ""), 2);
	assert_non_null(strstr(err, "--to needs"));
	assert_non_null(lengthy);
	memset(lengthy, 'x', AMP_PATH_MAX + 1);
	lengthy[0] = '/';
	lengthy[AMP_PATH_MAX + 1] = '\0';
	assert_int_equal(RUN("quarantine", "restore", ENTRY, "--to", lengthy), 2);
	assert_non_null(strstr(err, "longer than"));
	free(lengthy);
	snprintf(gone, sizeof(gone), "%s/gone", dir);
	assert_int_equal(mkdir(gone, 0700), 0);
	assert_int_equal(chdir(gone), 0);
	assert_int_equal(rmdir(gone), 0);
	assert_int_equal(RUN("quarantine", "restore", ENTRY, "--to", "x"), 2);
	assert_int_equal(chdir("/"), 0);
	assert_non_null(strstr(err, "the working directory has no name"));
	assert_int_equal(quard.requests, 0);
}

/* However many replies there are, and however long it takes, as long as they come. */
static void test_quarantine_progress(void **state)
{
	(void)state;
	start_vault();
	asked.progress = 1000;
	assert_int_equal(RUN("quarantine", "restore", ENTRY, "--json"), 0);
	json_object_put(document(json_type_object));
	assert_string_equal(err, "");
	asked.progress = 6;
	asked.pause_s = 1;
	assert_int_equal(RUN("quarantine", "restore", ENTRY), 0);
	assert_int_equal(asked.changes, 2);
}

static void test_quarantine_progress_seen(void **state)
{
	const char *seen;
	size_t lines = 0;

	(void)state;
	start_vault();
	asked.progress = 400;
	open_terminal("");
	assert_int_equal(RUN("quarantine", "restore", ENTRY), 0);
	seen = close_terminal();
	assert_non_null(strstr(seen, "\rampcli: restoring,  50 %"));
	assert_non_null(strstr(seen, "\rampcli: restoring, 100 %\r\n"));
	for (const char *p = seen; (p = strstr(p, "restoring")); p++)
		lines++;
	assert_int_equal(lines, 101);
	assert_null(strstr(out, "restoring"));
}

static void test_quarantine_delete(void **state)
{
	json_object *o;

	(void)state;
	start_vault();
	assert_int_equal(RUN("quarantine", "delete", ENTRY, "--yes"), 0);
	assert_string_equal(out, ENTRY " is deleted\n");
	assert_string_equal(asked.id, ENTRY);
	assert_int_equal(RUN("quarantine", "delete", "--json", "000a0014", "--yes"), 0);
	o = document(json_type_object);
	assert_string_equal(text_of(o, "id"), ENTRY);
	assert_true(json_object_get_boolean(member(o, "deleted")));
	json_object_put(o);
	assert_int_equal(asked.changes, 2);
	/* Nobody to ask (standard error is none here), so nothing is done. */
	assert_int_equal(RUN("quarantine", "delete", ENTRY), 2);
	assert_non_null(strstr(err, "--yes"));
	assert_int_equal(asked.changes, 2);
}

static void test_quarantine_delete_asks(void **state)
{
	static const struct {
		const char *typed;
		bool yes;
	} rows[] = {
		{"y\n", true},
		{"YES\n", true},
		{"n\n", false},
		{"\n", false},
		{"yess\n", false},
		{"\004", false}, /* end of file */
		{"yes, but not this one\n", false},
	};
	unsigned changes = 0;

	(void)state;
	start_vault();
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		int code;
		const char *seen;

		open_terminal(rows[i].typed);
		code = RUN("quarantine", "delete", "000a0014");
		__fpurge(stdin);
		seen = close_terminal();
		changes += rows[i].yes;
		assert_int_equal(code, rows[i].yes ? 0 : 2);
		assert_int_equal(asked.changes, changes);
		assert_non_null(
			strstr(seen, "Delete " ENTRY " (Eicar\\x1b[31m, /srv/a\\xff\\x0a) for good? [y/N] "));
		if (!rows[i].yes)
			assert_non_null(strstr(seen, "is not deleted"));
	}
}

static void test_quarantine_revoke(void **state)
{
	static const char sha[] = "ABCD000000000000000000000000000000000000000000000000000000000000";
	json_object *o;

	(void)state;
	start_vault();
	assert_int_equal(RUN("quarantine", "revoke", sha), 0);
	assert_memory_equal(asked.sha256, convicted, 32);
	assert_non_null(strstr(out, "abcd0000"));
	assert_non_null(strstr(out, "this content is judged again"));
	assert_int_equal(RUN("quarantine", "revoke", "--json", sha), 0);
	o = document(json_type_object);
	assert_int_equal(strlen(text_of(o, "sha256")), 64);
	assert_int_equal(json_object_get_int(member(o, "judged_again")), 3);
	json_object_put(o);
	assert_int_equal(asked.changes, 2);
	assert_int_equal(RUN("quarantine", "revoke", sha + 1), 2);
	assert_non_null(strstr(err, "64 hexadecimal digits"));
	assert_int_equal(RUN("quarantine", "revoke", "--json",
			     "ABCD00000000000000000000000000000000000000000000000000000000000g"),
			 2);
	json_object_put(document(json_type_object));
	assert_int_equal(asked.changes, 2);
}

#define EACH_CHANGE(check)                                                                                   \
	do {                                                                                                 \
		check(RUN("quarantine", "restore", ENTRY, "--json"));                                        \
		check(RUN("quarantine", "delete", ENTRY, "--yes", "--json"));                                \
		check(RUN("quarantine", "revoke", "--json",                                                  \
			  "abcd000000000000000000000000000000000000000000000000000000000000"));              \
	} while (0)
#define EACH(check)                                                                                          \
	do {                                                                                                 \
		check(RUN("quarantine", "list", "--json"));                                                  \
		check(RUN("quarantine", "show", ENTRY, "--json"));                                           \
		check(RUN("quarantine", "show", "000a0014", "--json"));                                      \
		EACH_CHANGE(check);                                                                          \
	} while (0)

/* Nothing can be shown: the exit status, the reason, and a document that has both names. */
static int expected_code;
static const char *expected_why;

static void says_why(int code)
{
	json_object *o;

	assert_int_equal(code, expected_code);
	if (!strstr(err, expected_why))
		fail_msg("%s is not in %s", expected_why, err);
	o = document(json_type_object);
	assert_string_equal(text_of(o, "service"), "ampquard");
	assert_non_null(strstr(text_of(o, "error"), expected_why));
	json_object_put(o);
}

static void test_quarantine_no_answer(void **state)
{
	(void)state;
	expected_code = 3;
	expected_why = "not running";
	EACH(says_why);
	start(&quard, hang_up);
	expected_why = "whether the change was made is not known";
	EACH_CHANGE(says_why);
	assert_int_equal(quard.requests, 3);
	stop(&quard);
	start(&quard, refuse);
	error_code = AMP__CLI_ERROR__CODE__NOT_PERMITTED;
	expected_code = 4;
	expected_why = "no\nway";
	assert_int_equal(RUN("quarantine", "list"), 4);
	assert_non_null(strstr(err, "ampquard: no\\x0away\\x1b[1m\n"));
	expected_why = "way";
	EACH(says_why);
	error_code = AMP__CLI_ERROR__CODE__INTERNAL;
	expected_code = 2;
	EACH(says_why);
}

/* Goes away, or goes wrong, after it said how far it is. */
static int restore_end;

static bool restore_breaks(struct service *s, int fd, const struct amp_wire_header *h, const uint8_t *body,
			   size_t length)
{
	Amp__CliRestoreReply r = AMP__CLI_RESTORE_REPLY__INIT;
	int end = restore_end; /* the test goes on as soon as it has its answer */

	(void)s;
	(void)body;
	(void)length;
	r.more = true;
	r.bytes_done = UINT64_MAX;
	r.bytes = 1;
	reply(fd, AMP_MSG_CLI_RESTORE_REPLY, h->id, &r.base);
	r.bytes = UINT64_MAX;
	reply(fd, AMP_MSG_CLI_RESTORE_REPLY, h->id, &r.base);
	r.more = false;
	if (end == 0)
		return false;
	if (end == 1)
		answer_error(fd, h, AMP__CLI_ERROR__CODE__NOT_NOW);
	if (end == 2)
		reply(fd, AMP_MSG_CLI_RESTORE_REPLY, h->id + 1, &r.base);
	if (end == 3)
		reply(fd, AMP_MSG_CLI_DELETE_REPLY, h->id, &r.base);
	return true;
}

static void test_quarantine_restore_breaks(void **state)
{
	static const struct {
		int code;
		const char *why;
	} rows[] = {
		{3, "not known"},
		{2, "no such entry"},
		{2, "what came is no answer: to another request; whether the change was made is not known"},
		{2, "what came is no answer"},
		{3, "no answer within 5 s; whether the change was made is not known"},
	};

	(void)state;
	start(&quard, restore_breaks);
	for (restore_end = 0; restore_end < 5; restore_end++) {
		expected_code = rows[restore_end].code;
		expected_why = rows[restore_end].why;
		says_why(RUN("quarantine", "restore", ENTRY, "--json"));
	}
	assert_int_equal(quard.requests, 5);
	restore_end = 1;
	open_terminal("");
	assert_int_equal(RUN("quarantine", "restore", ENTRY), 2);
	assert_non_null(strstr(close_terminal(), "100 %\r\nampcli: ampquard: there is no such entry"));
}

/* Pages that a service that was taken over could send: each is spoiled in one place. */
static uint8_t too_long[AMP_PATH_MAX + 1];
static char sentence[4098];

static void spoil_count(struct page *p)
{
	fill_page(p, 0, AMP_VAULT_BATCH + 1);
}

static void spoil_no_entries(struct page *p)
{
	p->reply.n_entries = 0;
}

static void spoil_end(struct page *p)
{
	p->reply.next_before = 0;
}

static void spoil_way(struct page *p)
{
	p->reply.next_before = p->list[1]->number + 1;
}

static void spoil_order(struct page *p)
{
	p->list[1]->number = p->list[0]->number;
}

static void spoil_number(struct page *p)
{
	p->list[1]->number = 0;
	p->reply.more = false;
}

static void spoil_id(struct page *p)
{
	p->list[1]->id = T("000a0014-1111-8222-8333-44444444444\x1b");
}

static void spoil_short_id(struct page *p)
{
	p->list[1]->id = T("000a0014");
}

static void spoil_detection_id(struct page *p)
{
	p->list[1]->detection_id = T("x");
}

static void spoil_detection(struct page *p)
{
	sentence[256] = '\0';
	p->list[1]->detection = sentence;
}

static void spoil_state(struct page *p)
{
	p->list[1]->state = T("gone");
}

static void spoil_no_state(struct page *p)
{
	p->list[1]->state = T("");
}

static void spoil_reason(struct page *p)
{
	p->list[1]->reason = sentence;
}

static void spoil_note(struct page *p)
{
	p->list[1]->note = sentence;
}

static void spoil_path(struct page *p)
{
	p->list[1]->path.data = too_long;
	p->list[1]->path.len = sizeof(too_long);
}

static void spoil_path_nul(struct page *p)
{
	p->list[1]->path = BYTES("/a\0b");
}

static void spoil_sha256(struct page *p)
{
	p->list[1]->sha256.len--;
}

static void spoil_no_sha256(struct page *p)
{
	p->list[1]->sha256.len = 0;
}

static void spoil_restored_to(struct page *p)
{
	p->list[1]->restored_to = BYTES("/\0");
}

static ProtobufCBinaryData spoiled;

static void spoil_name(struct page *p)
{
	spoiled = BYTES("");
	p->list[1]->names = &spoiled;
	p->list[1]->n_names = 1;
}

static void spoil_name_long(struct page *p)
{
	spoil_name(p);
	spoiled.data = too_long;
	spoiled.len = sizeof(too_long);
}

static void spoil_xattr(struct page *p)
{
	spoiled.data = too_long;
	spoiled.len = 256;
	p->list[1]->xattrs = &spoiled;
	p->list[1]->n_xattrs = 1;
}

static void spoil_more_detections(struct page *p)
{
	static char *ids[] = {(char *)(uintptr_t)ENTRY, (char *)(uintptr_t) ""};

	p->list[1]->detection_ids = ids;
	p->list[1]->n_detection_ids = 2;
}

static void (*spoil)(struct page *p);

static bool vault_spoiled(struct service *s, int fd, const struct amp_wire_header *h, const uint8_t *body,
			  size_t length)
{
	struct page p;

	(void)s;
	(void)body;
	(void)length;
	fill_page(&p, 0, 2);
	memset(too_long, 'p', sizeof(too_long));
	memset(sentence, 's', sizeof(sentence) - 1);
	if (spoil)
		spoil(&p);
	reply(fd, AMP_MSG_CLI_QUARANTINE_REPLY, h->id, &p.reply.base);
	return true;
}

static void test_quarantine_spoiled(void **state)
{
	static void (*const all[])(struct page *) = {
		spoil_count,
		spoil_no_entries,
		spoil_end,
		spoil_way,
		spoil_order,
		spoil_number,
		spoil_id,
		spoil_short_id,
		spoil_detection_id,
		spoil_detection,
		spoil_state,
		spoil_no_state,
		spoil_reason,
		spoil_note,
		spoil_path,
		spoil_path_nul,
		spoil_sha256,
		spoil_no_sha256,
		spoil_restored_to,
		spoil_name,
		spoil_name_long,
		spoil_xattr,
		spoil_more_detections,
	};

	(void)state;
	start(&quard, vault_spoiled);
	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		spoil = all[i];
		quard.requests = 0;
		if (RUN("quarantine", "list", "--json") != 2 || !strstr(err, "not sound"))
			fail_msg("case %zu: %s%s", i, out, err);
		assert_int_equal(quard.requests, 1);
		json_object_put(document(json_type_object));
		assert_int_equal(RUN("quarantine", "restore", "000a"), 2);
		assert_int_equal(quard.requests, 2);
	}
	/* The same page again and again. */
	spoil = NULL;
	assert_int_equal(RUN("quarantine", "list", "--json"), 2);
	assert_non_null(strstr(err, "not sound"));
	json_object_put(document(json_type_array));
}

/* Another entry than the one that was asked for, two, none, one that is not sound. */
static int wrong_entry;

static bool vault_wrong_entry(struct service *s, int fd, const struct amp_wire_header *h, const uint8_t *body,
			      size_t length)
{
	struct page p;

	(void)s;
	(void)body;
	(void)length;
	fill_page(&p, wrong_entry == 0 ? 20 : 21, 1);
	p.reply.more = false;
	if (wrong_entry == 1)
		fill_entry(&p, 19);
	if (wrong_entry == 2)
		p.reply.n_entries = 0;
	if (wrong_entry == 3)
		p.list[0]->state = T("x");
	reply(fd, AMP_MSG_CLI_QUARANTINE_REPLY, h->id, &p.reply.base);
	return true;
}

static void test_quarantine_wrong_entry(void **state)
{
	(void)state;
	start(&quard, vault_wrong_entry);
	for (wrong_entry = 0; wrong_entry < 4; wrong_entry++) {
		assert_int_equal(RUN("quarantine", "show", ENTRY, "--json"), 2);
		assert_non_null(strstr(err, "not the entry that was asked for"));
		json_object_put(document(json_type_object));
	}
	assert_int_equal(RUN("quarantine", "show", ENTRY), 0);
	assert_non_null(strstr(out, "Kept until: no end\n"));
}

static void test_quarantine_wrong_place(void **state)
{
	static const struct {
		const char *bytes;
		size_t n;
	} rows[] = {{"", 0}, {"srv/a", 5}, {"/a\0b", 4}};

	(void)state;
	start_vault();
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		asked.path.data = (uint8_t *)T(rows[i].bytes);
		asked.path.len = rows[i].n;
		assert_int_equal(RUN("quarantine", "restore", ENTRY, "--json"), 2);
		assert_non_null(strstr(err, "not where the file is now"));
		json_object_put(document(json_type_object));
	}
}

/* What ampquard records reads as the others do; the detection joins it. */
static bool history_quarantine(struct service *s, int fd, const struct amp_wire_header *h,
			       const uint8_t *body, size_t length)
{
	static const char *const types[] = {"threat_deleted", "threat_restored", "quarantine_failed",
					    "threat_neutralised", "threat_quarantined"};
	Amp__CliHistoryEntry entries[5], *list[5];
	Amp__CliHistoryReply r = AMP__CLI_HISTORY_REPLY__INIT;

	(void)s;
	(void)body;
	(void)length;
	for (size_t i = 0; i < 5; i++) {
		Amp__CliHistoryEntry *e = list[i] = &entries[i];

		amp__cli_history_entry__init(e);
		e->number = 5 - i;
		e->id = T(ENTRY "/x");
		e->time_ns = NOW;
		e->type = T(types[i]);
		e->detection_id = i == 4 ? T(ENTRY) : T("0e4f5c1a-6f1b-8c3e-9d52-3a7e1c6b9f00");
		e->detection = T("Eicar");
		e->path = BYTES("/srv/a b");
		e->sha256.data = convicted;
		e->sha256.len = 32;
		e->size = 68;
		e->mode = T("protect");
		e->detail = i == 2 ? T("read-only file system; tried again when it is not") : T("");
	}
	r.entries = list;
	r.n_entries = 5;
	reply(fd, AMP_MSG_CLI_HISTORY_REPLY, h->id, &r.base);
	return true;
}

static void test_history_quarantine(void **state)
{
	static const char sha[] = "abcd000000000000000000000000000000000000000000000000000000000000";
	char failed[512], taken[512];

	(void)state;
	start(&cloud, history_quarantine);
	assert_int_equal(RUN("history"), 0);
	snprintf(failed, sizeof(failed),
		 "2001-09-09T01:46:40.000Z  quarantine_failed  Eicar\n    id: " ENTRY "/x\n"
		 "    detection id: 0e4f5c1a-6f1b-8c3e-9d52-3a7e1c6b9f00\n    path: /srv/a b\n"
		 "    sha256: %s, 68 bytes\n    mode: protect\n"
		 "    detail: read-only file system; tried again when it is not\n",
		 sha);
	assert_non_null(strstr(out, failed));
	/* The id says it already. */
	snprintf(taken, sizeof(taken),
		 "2001-09-09T01:46:40.000Z  threat_quarantined  Eicar\n    id: " ENTRY "/x\n"
		 "    path: /srv/a b\n    sha256: %s, 68 bytes\n    mode: protect\n",
		 sha);
	assert_non_null(strstr(out, taken));
}

static void test_usage(void **state)
{
	(void)state;
	assert_int_equal(RUN("frobnicate"), 2);
	assert_int_equal(RUN("policy", "use"), 2);
	assert_int_equal(RUN("policy", "use", "a", "b"), 2);
	assert_int_equal(RUN("status", "extra"), 2);
	assert_int_equal(RUN("status", "--limit", "3"), 2);
	assert_int_equal(RUN("history", "--limit", "-3"), 2);
	assert_int_equal(RUN("history", "--limit", "3x"), 2);
	assert_int_equal(RUN("history", "--since", "yesterday"), 2);
	assert_non_null(strstr(err, "--since yesterday"));
	assert_int_equal(RUN("history", "--frob"), 2);
	assert_non_null(strstr(err, "--frob"));
	assert_int_equal(RUN("history", "--limit"), 2);
	assert_string_equal(out, "");
	assert_int_equal(RUN("quarantine"), 2);
	assert_int_equal(RUN("quarantine", "show"), 2);
	assert_int_equal(RUN("quarantine", "list", "--yes"), 2);
	assert_non_null(strstr(err, "quarantine list does not take that option"));
	assert_int_equal(RUN("quarantine", "delete", ENTRY, "--to", "/"), 2);
	assert_int_equal(RUN("quarantine", "restore", ENTRY, "--to"), 2);
	assert_int_equal(RUN("history", "--keep-privileges"), 2);
	assert_string_equal(out, "");
	assert_int_equal(RUN("help"), 0);
	assert_non_null(strstr(out, "policy use ID"));
	assert_non_null(strstr(out, "quarantine restore ID"));
	assert_non_null(strstr(out, "--keep-going"));
	assert_non_null(strstr(out, "130"));
	assert_int_equal(RUN("--help"), 0);
	assert_int_equal(RUN("help", "--json"), 0);
	json_object_put(document(json_type_array));
}

/* Of itself it knows without a service. */
static void test_about(void **state)
{
	json_object *o;

	(void)state;
	assert_int_equal(RUN("about"), 3);
	assert_non_null(strstr(out, PACKAGE_VERSION));
	start(&mon, mon_status);
	assert_int_equal(RUN("about", "--json"), 0);
	o = document(json_type_object);
	assert_string_equal(text_of(o, "host_id"), "11111111-2222-8333-8444-555555555555");
	json_object_put(o);
}

static void test_long_run_dir(void **state)
{
	char name[200];
	char *argv[] = {T("ampcli"), T("--run-dir"), name, T("faults"), NULL};
	FILE *sink = fopen("/dev/null", "w");

	(void)state;
	memset(name, 'x', sizeof(name) - 1);
	name[sizeof(name) - 1] = '\0';
	assert_int_equal(cli_main(4, argv, sink, sink), 2);
	fclose(sink);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_status_text),
		TEST(test_status_json),
		TEST(test_status_partial),
		TEST(test_silence),
		TEST(test_asked_again),
		TEST(test_refused),
		TEST(test_turned_away),
		TEST(test_stop_is_no_silence),
		TEST(test_not_permitted_to_connect),
		TEST(test_bad_answers),
		TEST(test_history),
		TEST(test_history_ends),
		TEST(test_rules),
		TEST(test_policy),
		TEST(test_posture),
		TEST(test_history_quarantine),
		TEST(test_quarantine_list),
		TEST(test_quarantine_list_text),
		TEST(test_quarantine_list_ends),
		TEST(test_quarantine_show),
		TEST(test_quarantine_prefix),
		TEST(test_quarantine_restore),
		TEST(test_quarantine_restore_to),
		TEST(test_quarantine_restore_to_wrong),
		TEST(test_quarantine_restore_breaks),
		TEST(test_quarantine_progress),
		TEST(test_quarantine_progress_seen),
		TEST(test_quarantine_delete),
		TEST(test_quarantine_delete_asks),
		TEST(test_quarantine_revoke),
		TEST(test_quarantine_no_answer),
		TEST(test_quarantine_spoiled),
		TEST(test_quarantine_wrong_entry),
		TEST(test_quarantine_wrong_place),
		TEST(test_usage),
		TEST(test_about),
		TEST(test_long_run_dir),
	};

	return cmocka_run_group_tests_name("cli", tests, make_dir, remove_dir);
}
