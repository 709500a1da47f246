/*
 * tests/unit/test_cli.c - ampcli against services that answer well, badly,
 * late, or not at all. A service here is a thread with a script.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "ampcli/cli.h"
#include "channel.h"
#include "proto/cli.pb-c.h"
#include "proto/types.h"

#include <errno.h>
#include <fcntl.h>
#include <json-c/json.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

static char dir[64];

struct service;
/* Answers one request; false: closes the connection. */
typedef bool answerer(struct service *s, int fd, const struct amp_wire_header *h, const uint8_t *body,
		      size_t length);

struct service {
	const char *name;
	answerer *answer;
	int listener;
	pthread_t thread;
	_Atomic bool stop;
	_Atomic unsigned requests;
	bool running;
};

static struct service mon = {.name = "ampmon"}, scan = {.name = "ampscand"}, cloud = {.name = "ampcloudd"};

static void reply(int fd, uint16_t type, uint64_t id, const ProtobufCMessage *body)
{
	static __thread uint8_t buf[AMP_MSG_MAX];
	size_t n = amp_message_pack(buf, sizeof(buf), type, id, body);

	if (n == 0 || send(fd, buf, n, MSG_NOSIGNAL) < 0)
		abort();
}

static void serve(struct service *s, int fd)
{
	uint8_t buf[4096];
	struct pollfd p = {.fd = fd, .events = POLLIN};
	struct amp_wire_header h;

	while (!s->stop) {
		ssize_t n;

		if (poll(&p, 1, 10) <= 0)
			continue;
		n = recv(fd, buf, sizeof(buf), MSG_DONTWAIT);
		if (n < (ssize_t)sizeof(h))
			break;
		memcpy(&h, buf, sizeof(h));
		s->requests++;
		if (!s->answer(s, fd, &h, buf + sizeof(h), (size_t)n - sizeof(h)))
			break;
	}
	close(fd);
}

static void *service_main(void *arg)
{
	struct service *s = arg;
	struct pollfd p = {.fd = s->listener, .events = POLLIN};

	while (!s->stop) {
		if (poll(&p, 1, 10) > 0)
			serve(s, accept4(s->listener, NULL, NULL, SOCK_CLOEXEC));
	}
	return NULL;
}

static void start(struct service *s, answerer *answer)
{
	struct sockaddr_un at = {.sun_family = AF_UNIX};

	s->answer = answer;
	s->stop = false;
	s->requests = 0;
	snprintf(at.sun_path, sizeof(at.sun_path), "%s/%s", dir, s->name);
	s->listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(s->listener, (const struct sockaddr *)&at, sizeof(at)), 0);
	assert_int_equal(listen(s->listener, 8), 0);
	assert_int_equal(pthread_create(&s->thread, NULL, service_main, s), 0);
	s->running = true;
}

static void stop(struct service *s)
{
	char path[128];

	if (!s->running)
		return;
	s->running = false;
	s->stop = true;
	pthread_join(s->thread, NULL);
	close(s->listener);
	snprintf(path, sizeof(path), "%s/%s", dir, s->name);
	unlink(path);
}

static int stop_all(void **state)
{
	(void)state;
	stop(&mon);
	stop(&scan);
	stop(&cloud);
	return 0;
}

/* What ampcli printed last. */
static char *out, *err;

static int ampcli(int first, ...)
{
	char *argv[16] = {(char *)(uintptr_t) "ampcli", (char *)(uintptr_t) "-r", dir};
	int argc = 3, code;
	size_t n;
	FILE *fo, *fe;
	va_list ap;

	va_start(ap, first);
	while ((argv[argc] = va_arg(ap, char *)))
		argc++;
	va_end(ap);
	free(out);
	free(err);
	fo = open_memstream(&out, &n);
	fe = open_memstream(&err, &n);
	code = cli_main(argc, argv, fo, fe);
	fclose(fo);
	fclose(fe);
	return code;
}

#define RUN(...) ampcli(0, __VA_ARGS__, NULL)

/* Exactly one document, of this type. */
static json_object *document(enum json_type type)
{
	struct json_tokener *t = json_tokener_new();
	json_object *o = json_tokener_parse_ex(t, out, (int)strlen(out));

	if (!o || json_object_get_type(o) != type)
		fail_msg("no such document: %s", out);
	for (size_t i = json_tokener_get_parse_end(t); out[i]; i++)
		if (out[i] != '\n')
			fail_msg("more than one document: %s", out);
	json_tokener_free(t);
	return o;
}

static json_object *member(json_object *o, const char *key)
{
	json_object *v = NULL;

	if (!json_object_object_get_ex(o, key, &v))
		fail_msg("%s is missing in %s", key, json_object_to_json_string(o));
	return v;
}

static const char *text_of(json_object *o, const char *key)
{
	return json_object_get_string(member(o, key));
}

#define T(s) ((char *)(uintptr_t)(s))

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
	assert_int_equal(RUN("--json", "status"), 3);
	o = document(json_type_object);
	assert_false(json_object_object_get_ex(o, "jobs", &v));
	assert_string_equal(json_object_get_string(json_object_array_get_idx(member(o, "unanswered"), 0)),
			    "ampscand");
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
	clock_gettime(CLOCK_MONOTONIC, &a);
	assert_int_equal(RUN("status"), 3);
	clock_gettime(CLOCK_MONOTONIC, &b);
	assert_in_range(b.tv_sec - a.tv_sec, 4, 7);
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

static void test_not_permitted_to_connect(void **state)
{
	char path[128];
	int code;

	(void)state;
	if (geteuid() != 0)
		skip();
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
	assert_string_equal(out, "");
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

static bool rules_forever;

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
	r.n_rules = 1;
	r.more = rule.index < 3;
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
}

static bool policies(struct service *s, int fd, const struct amp_wire_header *h, const uint8_t *body,
		     size_t length)
{
	Amp__CliPolicyInfo a = AMP__CLI_POLICY_INFO__INIT, b = AMP__CLI_POLICY_INFO__INIT, *list[] = {&a, &b};
	Amp__CliPolicyReply r = AMP__CLI_POLICY_REPLY__INIT;
	Amp__CliPolicyUseReply u = AMP__CLI_POLICY_USE_REPLY__INIT;
	char *problems[] = {T("blocked.list:3: no hash; remove the line")};

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

static void test_usage(void **state)
{
	(void)state;
	assert_int_equal(ampcli(0, NULL), 2);
	assert_non_null(strstr(err, "command is missing"));
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
	assert_int_equal(RUN("help"), 0);
	assert_non_null(strstr(out, "policy use ID"));
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

static int make_dir(void **state)
{
	(void)state;
	snprintf(dir, sizeof(dir), "/tmp/amp-clitest-XXXXXX");
	return mkdtemp(dir) ? 0 : -1;
}

static int remove_dir(void **state)
{
	(void)state;
	free(out);
	free(err);
	return rmdir(dir);
}

#define TEST(f) cmocka_unit_test_teardown(f, stop_all)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_status_text),
		TEST(test_status_json),
		TEST(test_status_partial),
		TEST(test_silence),
		TEST(test_asked_again),
		TEST(test_refused),
		TEST(test_not_permitted_to_connect),
		TEST(test_bad_answers),
		TEST(test_history),
		TEST(test_history_ends),
		TEST(test_rules),
		TEST(test_policy),
		TEST(test_posture),
		TEST(test_usage),
		TEST(test_about),
		TEST(test_long_run_dir),
	};

	return cmocka_run_group_tests_name("cli", tests, make_dir, remove_dir);
}
