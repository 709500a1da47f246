/*
 * tests/unit/test_cli_scan.c - scans on demand, definitions and brake, against
 * an ampscand with a script; the line of progress by itself.
 */
#include "clifake.h"

#include "ampcli/out.h"
#include "ampcli/progress.h"
#include "ampcli/scan_view.h"
#include "clock.h"

#include <limits.h>
#include <signal.h>

#define DATA(s)                                                                                              \
	{                                                                                                    \
		.data = (uint8_t *)T(s), .len = sizeof(s) - 1                                                \
	}

/* What the service has to do, and what it was asked. */
static struct {
	/* script */
	unsigned answers; /* the scan is over at this one */
	const char *end;  /* state then */
	uint64_t threats, unreadable;
	unsigned vanish;	     /* goes away at these questions: a bit each */
	Amp__CliError__Code refusal; /* of the first question */
	uint64_t other_id;	     /* answers with this scan instead */
	const char *state;	     /* of every answer, if set */
	bool root, together;
	/* asked */
	Amp__CliScanStart__Kind kind;
	bool one_file_system;
	char paths[256];
	Amp__CliScanControl__What what;
	unsigned asked;
	char signature[64];
	uint64_t pages;
} script;

static int begin(void **state)
{
	(void)state;
	memset(&script, 0, sizeof(script));
	script.answers = 1;
	script.end = "done";
	return 0;
}

static bool refuse(int fd, uint64_t id, Amp__CliError__Code code, const char *text)
{
	Amp__CliError e = AMP__CLI_ERROR__INIT;

	e.code = code;
	e.text = T(text);
	reply(fd, AMP_MSG_CLI_ERROR, id, &e.base);
	return true;
}

static void fill(Amp__CliScan *s, Amp__CliScanCount counts[2], Amp__CliScanCount *list[2], bool over)
{
	static ProtobufCBinaryData paths[] = {DATA("/srv/a b"), DATA("/x\xff\x1b")};

	s->id = script.other_id ? script.other_id : 7;
	s->kind = T("paths");
	s->state = T(script.state ? script.state : over ? script.end : "running");
	s->paths = paths;
	s->n_paths = 2;
	s->started_ns = 1000000000000000000;
	s->ended_ns = over ? 1000000062000000000 : 0;
	s->worked_ns = 62 * AMP_NS_PER_SEC;
	s->files = over ? 29000 : 1000 * script.asked;
	s->bytes = 1234567;
	s->threats = script.threats;
	s->cached = 500;
	s->expected = 30000;
	s->at.data = (uint8_t *)T("/srv/a b/deep");
	s->at.len = over ? 0 : 13;
	s->error = T("");
	amp__cli_scan_count__init(&counts[0]);
	amp__cli_scan_count__init(&counts[1]);
	counts[0].kind = T("clean");
	counts[0].count = 28990;
	counts[1].kind = T("unreadable");
	counts[1].count = script.unreadable;
	list[0] = &counts[0];
	list[1] = &counts[1];
	s->counts = list;
	s->n_counts = script.unreadable ? 2 : 1;
}

static bool answer_list(int fd, uint64_t id)
{
	Amp__CliScanListReply r = AMP__CLI_SCAN_LIST_REPLY__INIT;
	Amp__CliScan s = AMP__CLI_SCAN__INIT, *scans[] = {&s};
	Amp__CliScanCount counts[2], *list[2];

	script.asked++;
	if (script.vanish & (1U << script.asked))
		return false;
	if (script.refusal && script.asked == 1)
		return refuse(fd, id, script.refusal, "not yet");
	fill(&s, counts, list, script.asked >= script.answers);
	r.scans = scans;
	r.n_scans = 1;
	reply(fd, AMP_MSG_CLI_SCAN_LIST_REPLY, id, &r.base);
	return true;
}

static bool answer_start(int fd, uint64_t id, const uint8_t *body, size_t length)
{
	Amp__CliScanStart *ask = amp__cli_scan_start__unpack(NULL, length, body);
	Amp__CliScanStartReply r = AMP__CLI_SCAN_START_REPLY__INIT;

	script.kind = ask->kind;
	script.one_file_system = ask->one_file_system;
	script.paths[0] = '\0';
	for (size_t i = 0; i < ask->n_paths; i++) {
		strncat(script.paths, (const char *)ask->paths[i].data, ask->paths[i].len);
		strcat(script.paths, "|");
	}
	amp__cli_scan_start__free_unpacked(ask, NULL);
	if (script.root)
		return refuse(fd, id, AMP__CLI_ERROR__CODE__NOT_PERMITTED, "only root may start a scan");
	r.id = 7;
	reply(fd, AMP_MSG_CLI_SCAN_START_REPLY, id, &r.base);
	return true;
}

static bool answer_control(int fd, uint64_t id, const uint8_t *body, size_t length)
{
	Amp__CliScanControl *ask = amp__cli_scan_control__unpack(NULL, length, body);
	Amp__CliScanControlReply r = AMP__CLI_SCAN_CONTROL_REPLY__INIT;
	Amp__CliScan s = AMP__CLI_SCAN__INIT;
	Amp__CliScanCount counts[2], *list[2];

	script.what = ask->what;
	amp__cli_scan_control__free_unpacked(ask, NULL);
	script.state = script.state ? script.state : "paused";
	fill(&s, counts, list, false);
	r.scan = &s;
	reply(fd, AMP_MSG_CLI_SCAN_CONTROL_REPLY, id, &r.base);
	return true;
}

/* Two pages of one file each. */
static bool answer_files(int fd, uint64_t id, const uint8_t *body, size_t length)
{
	Amp__CliScanFiles *ask = amp__cli_scan_files__unpack(NULL, length, body);
	Amp__CliScanFilesReply r = AMP__CLI_SCAN_FILES_REPLY__INIT;
	Amp__CliScanFile f = AMP__CLI_SCAN_FILE__INIT, *files[] = {&f};
	static ProtobufCBinaryData paths[] = {DATA("/srv/bad\x1b"), DATA("/srv/locked")};
	bool first = ask->after == 0;

	amp__cli_scan_files__free_unpacked(ask, NULL);
	script.pages++;
	f.number = first ? 3 : 8;
	f.kind = T(first ? "threat" : "unreadable");
	f.path = paths[!first];
	f.detail = T(first ? "Win.Test-1" : "permission denied");
	r.files = files;
	r.n_files = 1;
	r.more = first;
	r.left = 2;
	reply(fd, AMP_MSG_CLI_SCAN_FILES_REPLY, id, &r.base);
	return true;
}

static bool answer_definitions(int fd, uint64_t id)
{
	Amp__CliDefinitionsReply r = AMP__CLI_DEFINITIONS_REPLY__INIT;
	Amp__CliDefinitionSet a = AMP__CLI_DEFINITION_SET__INIT, *sets[] = {&a};

	r.state = T("ready");
	r.engine = T("libclamav 1.4.6");
	r.generation = 3;
	r.signatures = 8700000;
	r.loaded_ns = 1000000000000000000;
	r.refused = T("broken.ndb: line 3\x1b");
	r.loading = true;
	r.workers = 4;
	r.scans = 1000;
	r.restarts = 1;
	a.path.data = (uint8_t *)T("/var/lib/clamav/daily.cvd");
	a.path.len = 25;
	a.version = 27500;
	a.signatures = 2000000;
	a.time_ns = amp_clock_realtime() - 3 * 3600 * AMP_NS_PER_SEC;
	r.sets = sets;
	r.n_sets = 1;
	reply(fd, AMP_MSG_CLI_DEFINITIONS_REPLY, id, &r.base);
	return true;
}

static bool answer_brake(int fd, uint64_t id)
{
	Amp__CliBrakeReply r = AMP__CLI_BRAKE_REPLY__INIT;
	Amp__CliBrakeEntry e = AMP__CLI_BRAKE_ENTRY__INIT, *entries[] = {&e};

	e.signature = T("Win.Test-1");
	e.since_ns = 1000000000000000000;
	e.held = 100;
	e.holds = true;
	e.together = script.together;
	r.entries = entries;
	r.n_entries = 1;
	reply(fd, AMP_MSG_CLI_BRAKE_REPLY, id, &r.base);
	return true;
}

static bool answer_release(int fd, uint64_t id, const uint8_t *body, size_t length)
{
	Amp__CliBrakeRelease *ask = amp__cli_brake_release__unpack(NULL, length, body);
	Amp__CliBrakeReleaseReply r = AMP__CLI_BRAKE_RELEASE_REPLY__INIT;

	snprintf(script.signature, sizeof(script.signature), "%s", ask->signature);
	amp__cli_brake_release__free_unpacked(ask, NULL);
	r.judged_again = 100;
	reply(fd, AMP_MSG_CLI_BRAKE_RELEASE_REPLY, id, &r.base);
	return true;
}

static bool answer_status(int fd, uint64_t id)
{
	Amp__CliStatusReply r = AMP__CLI_STATUS_REPLY__INIT;

	r.jobs = 5;
	reply(fd, AMP_MSG_CLI_STATUS_REPLY, id, &r.base);
	return true;
}

static bool scand(struct service *s, int fd, const struct amp_wire_header *h, const uint8_t *body,
		  size_t length)
{
	(void)s;
	switch (h->type) {
	case AMP_MSG_CLI_SCAN_START:
		return answer_start(fd, h->id, body, length);
	case AMP_MSG_CLI_SCAN_LIST:
		return answer_list(fd, h->id);
	case AMP_MSG_CLI_SCAN_CONTROL:
		return answer_control(fd, h->id, body, length);
	case AMP_MSG_CLI_SCAN_FILES:
		return answer_files(fd, h->id, body, length);
	case AMP_MSG_CLI_DEFINITIONS:
		return answer_definitions(fd, h->id);
	case AMP_MSG_CLI_BRAKE:
		return answer_brake(fd, h->id);
	case AMP_MSG_CLI_BRAKE_RELEASE:
		return answer_release(fd, h->id, body, length);
	default:
		return answer_status(fd, h->id);
	}
}

/* ---- starting ---- */

static void test_start(void **state)
{
	char wanted[512], link[128], cwd[256];

	(void)state;
	start(&scan, scand);
	snprintf(link, sizeof(link), "%s/link", dir);
	assert_int_equal(symlink("/usr", link), 0);
	assert_non_null(getcwd(cwd, sizeof(cwd)));
	assert_int_equal(RUN("scan", "start", "--one-file-system", ".", link), 0);
	snprintf(wanted, sizeof(wanted), "%s|/usr|", cwd);
	assert_string_equal(script.paths, wanted);
	assert_int_equal(script.kind, AMP__CLI_SCAN_START__KIND__PATHS);
	assert_true(script.one_file_system);
	assert_string_equal(out, "Scan 7 has started; see it with `ampcli scan show 7`\n");
	unlink(link);
	assert_int_equal(RUN("scan", "flash"), 0);
	assert_int_equal(script.kind, AMP__CLI_SCAN_START__KIND__FLASH);
	assert_string_equal(script.paths, "");
	assert_int_equal(RUN("--json", "scan", "full"), 0);
	assert_int_equal(script.kind, AMP__CLI_SCAN_START__KIND__FULL);
	json_object_put(document(json_type_object));
	/* What is not there is not asked for. */
	scan.requests = 0;
	assert_int_equal(RUN("scan", "start", "/usr", "/no/such\x1b"), 2);
	assert_non_null(strstr(err, "/no/such\\x1b cannot be scanned: No such file"));
	assert_int_equal(RUN("scan", "start"), 2);
	assert_int_equal(RUN("scan", "flash", "/usr"), 2);
	assert_int_equal(RUN("scan", "full", "--one-file-system"), 2);
	assert_int_equal(scan.requests, 0);
	script.root = true;
	assert_int_equal(RUN("scan", "full"), 4);
	assert_int_equal(RUN("scan", "full", "--wait"), 4);
}

/* ---- waiting ---- */

static void test_wait_clean(void **state)
{
	(void)state;
	start(&scan, scand);
	assert_int_equal(RUN("scan", "start", "--wait", "/"), 0);
	assert_string_equal(out, "Scan 7 done: 29,000 files, 1.2 MiB in 1m02s, 0 threats\n"
				 "  clean                  28,990\n");
	assert_string_equal(err, "");
	assert_int_equal(script.pages, 0);
}

static void test_wait_threats(void **state)
{
	json_object *o, *x;

	(void)state;
	start(&scan, scand);
	script.threats = 1;
	script.unreadable = 9;
	assert_int_equal(RUN("scan", "full", "--wait"), 1);
	assert_non_null(strstr(out, "1 threat\n"));
	assert_non_null(strstr(out, "Threats:\n  threat        /srv/bad\\x1b  Win.Test-1\n"));
	assert_null(strstr(out, "/srv/locked"));
	assert_int_equal(RUN("--json", "scan", "full", "--wait"), 1);
	o = document(json_type_object);
	assert_string_equal(text_of(o, "state"), "done");
	assert_int_equal(json_object_get_int(member(member(o, "counts"), "unreadable")), 9);
	assert_int_equal(json_object_array_length(member(o, "not_clean")), 2);
	x = json_object_array_get_idx(member(o, "not_clean"), 0);
	assert_string_equal(text_of(x, "detail"), "Win.Test-1");
	json_object_put(o);
}

static void test_wait_errors(void **state)
{
	static const char *const ends[] = {"stopped", "failed"};

	(void)state;
	start(&scan, scand);
	for (size_t i = 0; i < 2; i++) {
		script.end = ends[i];
		assert_int_equal(RUN("scan", "full", "--wait"), 2);
		assert_non_null(strstr(out, ends[i]));
	}
	script.end = "done";
	script.unreadable = 1;
	assert_int_equal(RUN("scan", "full", "--wait"), 2);
	script.unreadable = 0;
	assert_int_equal(RUN("scan", "full", "--wait"), 0);
	/* What is no answer. */
	script.other_id = 8;
	assert_int_equal(RUN("scan", "full", "--wait"), 2);
	assert_non_null(strstr(err, "not the scan that was asked for"));
	script.other_id = 0;
	script.state = "resting";
	assert_int_equal(RUN("scan", "full", "--wait"), 2);
}

/* The service goes away and comes again: the scan is the same. */
static void test_wait_restart(void **state)
{
	(void)state;
	start(&scan, scand);
	script.answers = 5;
	script.vanish = 1U << 2 | 1U << 3; /* asked again at once, in vain */
	assert_int_equal(RUN("scan", "full", "--wait"), 0);
	assert_int_equal(script.asked, 5);
	assert_string_equal(err, "");
	script.asked = 0;
	script.vanish = 0;
	script.answers = 2;
	script.refusal = AMP__CLI_ERROR__CODE__NOT_NOW;
	assert_int_equal(RUN("scan", "full", "--wait"), 0);
	assert_string_equal(err, "");
	/* It is back, and what was kept for it is not there yet. */
	script.asked = 0;
	script.refusal = AMP__CLI_ERROR__CODE__NOT_FOUND;
	assert_int_equal(RUN("scan", "full", "--wait"), 0);
	assert_string_equal(err, "");
	script.asked = 0;
	script.refusal = AMP__CLI_ERROR__CODE__INTERNAL;
	assert_int_equal(RUN("scan", "full", "--wait"), 2);
}

static void test_wait_terminal(void **state)
{
	const char *seen;
	int code;

	(void)state;
	start(&scan, scand);
	script.answers = 3;
	open_terminal("");
	code = RUN("scan", "full", "--wait");
	seen = close_terminal();
	assert_int_equal(code, 0);
	assert_non_null(strstr(seen, "\r[--------------------]  3 %  1,000/30,000 files  0 threats"));
	assert_non_null(strstr(seen, "2,000/30,000 files"));
	/* Wiped at the end. */
	assert_non_null(strstr(seen, "  \r<end>"));
	assert_null(strchr(seen, '\n'));
	assert_non_null(strstr(out, "Scan 7 done"));
}

static void *interrupt(void *arg)
{
	while (script.asked < 2)
		usleep(10000);
	pthread_kill(*(pthread_t *)arg, SIGINT);
	return NULL;
}

static void test_wait_interrupted(void **state)
{
	pthread_t self = pthread_self(), thread;

	(void)state;
	start(&scan, scand);
	script.answers = UINT_MAX;
	assert_int_equal(pthread_create(&thread, NULL, interrupt, &self), 0);
	assert_int_equal(RUN("scan", "full", "--wait"), 130);
	pthread_join(thread, NULL);
	assert_string_equal(out, "");
	assert_non_null(strstr(err, "scan 7 goes on; see it with `ampcli scan show 7`, end it with "
				    "`ampcli scan stop 7`"));
}

/* ---- looking ---- */

static void test_list(void **state)
{
	json_object *o, *x;

	(void)state;
	start(&scan, scand);
	assert_int_equal(RUN("scan", "list"), 0);
	assert_non_null(strstr(out, "7       paths   done      2001-09-09T01:46:40.000Z        29,000"
				    "         0  /srv/a b /x\\xff\\x1b\n"));
	assert_int_equal(RUN("--json", "scan", "list"), 0);
	o = document(json_type_array);
	x = json_object_array_get_idx(o, 0);
	assert_int_equal(json_object_get_int(member(x, "id")), 7);
	assert_string_equal(json_object_get_string(json_object_array_get_idx(member(x, "paths_bytes"), 1)),
			    "2f78ff1b");
	json_object_put(o);
	script.state = "resting";
	assert_int_equal(RUN("scan", "list"), 2);
}

static void test_show(void **state)
{
	(void)state;
	start(&scan, scand);
	script.threats = 1;
	assert_int_equal(RUN("scan", "show", "7"), 0);
	assert_non_null(strstr(out, "State: done\n"));
	assert_non_null(strstr(out, "Paths: /srv/a b\n       /x\\xff\\x1b\n"));
	assert_int_equal(script.pages, 0);
	assert_int_equal(RUN("scan", "show", "--files", "7"), 0);
	assert_non_null(strstr(out, "Not judged clean:\n"));
	assert_non_null(strstr(out, "  unreadable    /srv/locked  permission denied\n"));
	assert_non_null(strstr(out, "and 2 more"));
	assert_int_equal(script.pages, 2);
	scan.requests = 0;
	assert_int_equal(RUN("scan", "show", "0"), 2);
	assert_int_equal(RUN("scan", "show", "-1"), 2);
	assert_int_equal(RUN("scan", "show", "7x"), 2);
	assert_int_equal(RUN("scan", "show", "99999999999999999999"), 2);
	assert_int_equal(scan.requests, 0);
	assert_int_equal(RUN("scan", "show", "9"), 2);
}

static void test_control(void **state)
{
	(void)state;
	start(&scan, scand);
	assert_int_equal(RUN("scan", "pause", "7"), 0);
	assert_int_equal(script.what, AMP__CLI_SCAN_CONTROL__WHAT__PAUSE);
	assert_non_null(strstr(out, "Scan 7 paused"));
	script.state = "running";
	assert_int_equal(RUN("scan", "resume", "7"), 0);
	assert_int_equal(script.what, AMP__CLI_SCAN_CONTROL__WHAT__RESUME);
	script.state = "stopped";
	assert_int_equal(RUN("--json", "scan", "stop", "7"), 0);
	assert_int_equal(script.what, AMP__CLI_SCAN_CONTROL__WHAT__STOP);
	json_object_put(document(json_type_object));
	assert_int_equal(RUN("scan", "stop", "8"), 2);
}

/* ---- the engine ---- */

static void test_definitions(void **state)
{
	json_object *o, *x;

	(void)state;
	start(&scan, scand);
	assert_int_equal(RUN("definitions"), 0);
	assert_non_null(strstr(out, "Engine: ready, libclamav 1.4.6\n"));
	assert_non_null(
		strstr(out, "Signatures: 8,700,000, generation 3, loaded 2001-09-09T01:46:40.000Z\n"));
	assert_non_null(strstr(out, "Loading: a newer set\nRefused: broken.ndb: line 3\\x1b\n"));
	assert_non_null(strstr(out, "  /var/lib/clamav/daily.cvd, version 27500, 2,000,000 signatures, "));
	assert_non_null(strstr(out, "(3 hours old)\n"));
	assert_int_equal(RUN("--json", "definitions"), 0);
	o = document(json_type_object);
	assert_int_equal(json_object_get_int(member(o, "restarts")), 1);
	x = json_object_array_get_idx(member(o, "sets"), 0);
	assert_string_equal(text_of(x, "path"), "/var/lib/clamav/daily.cvd");
	json_object_put(o);
	/* In `status`, and only if it answers. */
	assert_int_equal(RUN("--json", "status"), 3);
	o = document(json_type_object);
	assert_string_equal(text_of(member(o, "engine"), "state"), "ready");
	assert_int_equal(json_object_get_int(member(o, "jobs")), 5);
	json_object_put(o);
	stop(&scan);
	assert_int_equal(RUN("--json", "status"), 3);
	o = document(json_type_object);
	assert_null(member(o, "engine"));
	json_object_put(o);
}

static void test_brake(void **state)
{
	char longer[300];

	(void)state;
	start(&scan, scand);
	assert_int_equal(RUN("brake", "show"), 0);
	assert_string_equal(out, "Win.Test-1: held since 2001-09-09T01:46:40.000Z, 100 files left alone\n");
	assert_int_equal(RUN("--json", "brake", "show"), 0);
	json_object_put(document(json_type_array));
	script.together = true;
	assert_int_equal(RUN("brake", "show"), 0);
	assert_non_null(strstr(out, "100 files left alone (by what all signatures convicted)\n"));
	assert_int_equal(RUN("brake", "release", "Win.Test-1"), 0);
	assert_string_equal(script.signature, "Win.Test-1");
	assert_string_equal(out, "Win.Test-1 is released; judged again: 100 files\n");
	memset(longer, 'x', sizeof(longer) - 1);
	longer[sizeof(longer) - 1] = '\0';
	scan.requests = 0;
	assert_int_equal(RUN("brake", "release", longer), 2);
	assert_int_equal(RUN("brake", "release", ""), 2);
	assert_int_equal(RUN("brake", "release"), 2);
	assert_int_equal(scan.requests, 0);
}

/* ---- the line ---- */

static size_t columns(const char *text)
{
	size_t n = 0;

	for (; *text; text++)
		n += (*text & 0xc0) != 0x80;
	return n;
}

static void test_line_widths(void **state)
{
	static const char long_path[] =
		"/srv/\xc3\xa9\xe4\xb8\xad\xe6\x96\x87/\x1b[31m/a/very/long/way/to/go/until/the/end.bin";
	Amp__CliScan s = AMP__CLI_SCAN__INIT;
	struct progress_rate r = {.begun = true, .per_second = 345.4};
	char line[PROGRESS_WIDTH_MAX * 4 + 1];

	(void)state;
	s.state = T("running");
	s.files = 12345;
	s.expected = 29000;
	s.bytes = (uint64_t)3 << 30;
	s.threats = 2;
	s.at.data = (uint8_t *)T(long_path);
	s.at.len = sizeof(long_path) - 1;
	for (size_t width = 0; width < 700; width++) {
		size_t n = progress_line(&s, &r, width, line);

		assert_true(n <= width && n <= PROGRESS_WIDTH_MAX);
		assert_true(columns(line) <= n);
		assert_null(strchr(line, '\x1b'));
	}
	progress_line(&s, &r, 130, line);
	assert_string_equal(line,
			    "[########------------] 42 %  12,345/29,000 files  2 threats  3.0 GiB  345/s  "
			    "48s left  .../a/very/long/way/to/go/until/the/end.bin");
	progress_line(&s, &r, 40, line);
	assert_string_equal(line, "[########------------] 42 %");
	progress_line(&s, &r, 10, line);
	assert_string_equal(line, "42 %");
	s.expected = 0;
	s.at.len = 0;
	progress_line(&s, &r, 79, line);
	assert_string_equal(line, "12,345 files  2 threats  3.0 GiB  345/s");
	s.state = T("paused");
	progress_line(&s, &r, 79, line);
	assert_string_equal(line, "12,345 files  2 threats  3.0 GiB  paused");
	/* More than were expected: not yet the end. */
	s.expected = 10;
	progress_line(&s, &r, 79, line);
	assert_non_null(strstr(line, "99 %"));
}

static void test_rate(void **state)
{
	Amp__CliScan s = AMP__CLI_SCAN__INIT;
	struct progress_rate r = {0};

	(void)state;
	s.state = T("running");
	s.expected = 3000;
	progress_sample(&r, &s, AMP_NS_PER_SEC);
	assert_int_equal(progress_left_ns(&r, &s), -1);
	s.files = 1000;
	progress_sample(&r, &s, 2 * AMP_NS_PER_SEC);
	assert_true(r.per_second > 999 && r.per_second < 1001);
	assert_true(progress_left_ns(&r, &s) / AMP_NS_PER_MS == 2000);
	/* Too soon to be a sample. */
	s.files = 1500;
	progress_sample(&r, &s, 2 * AMP_NS_PER_SEC + 1000);
	assert_true(r.per_second < 1001);
	/* Back at a mark. */
	s.files = 500;
	progress_sample(&r, &s, 3 * AMP_NS_PER_SEC);
	assert_int_equal(progress_left_ns(&r, &s), -1);
	s.files = 600;
	progress_sample(&r, &s, 4 * AMP_NS_PER_SEC);
	assert_true(r.per_second > 99 && r.per_second < 101);
	s.state = T("paused");
	progress_sample(&r, &s, 5 * AMP_NS_PER_SEC);
	assert_int_equal(progress_left_ns(&r, &s), -1);
	s.state = T("running");
	r.per_second = 1e-9;
	assert_int_equal(progress_left_ns(&r, &s), -1);
}

static void test_forms(void **state)
{
	char buf[48];

	(void)state;
	assert_string_equal(scan_span(0, buf, sizeof(buf)), "0.0s");
	assert_string_equal(scan_span(1900000000, buf, sizeof(buf)), "1.9s");
	assert_string_equal(scan_span(59 * AMP_NS_PER_SEC, buf, sizeof(buf)), "59s");
	assert_string_equal(scan_span(3599 * AMP_NS_PER_SEC, buf, sizeof(buf)), "59m59s");
	assert_string_equal(scan_span(90061 * AMP_NS_PER_SEC, buf, sizeof(buf)), "25h01m");
	assert_string_equal(scan_bytes(1023, buf, sizeof(buf)), "1023 B");
	assert_string_equal(scan_bytes(1536, buf, sizeof(buf)), "1.5 KiB");
	assert_string_equal(scan_bytes(UINT64_MAX, buf, sizeof(buf)), "16.0 EiB");
	assert_string_equal(out_number(0, buf, sizeof(buf)), "0");
	assert_string_equal(out_number(999, buf, sizeof(buf)), "999");
	assert_string_equal(out_number(1000, buf, sizeof(buf)), "1,000");
	assert_string_equal(out_number(UINT64_MAX, buf, sizeof(buf)), "18,446,744,073,709,551,615");
	assert_string_equal(out_count(0, "file", buf, sizeof(buf)), "0 files");
	assert_string_equal(out_count(1, "file", buf, sizeof(buf)), "1 file");
	assert_string_equal(out_count(1000, "file", buf, sizeof(buf)), "1,000 files");
}

#undef TEST
#define TEST(f) cmocka_unit_test_setup_teardown(f, begin, stop_all)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_start),
		TEST(test_wait_clean),
		TEST(test_wait_threats),
		TEST(test_wait_errors),
		TEST(test_wait_restart),
		TEST(test_wait_terminal),
		TEST(test_wait_interrupted),
		TEST(test_list),
		TEST(test_show),
		TEST(test_control),
		TEST(test_definitions),
		TEST(test_brake),
		TEST(test_line_widths),
		TEST(test_rate),
		TEST(test_forms),
	};

	return cmocka_run_group_tests_name("cli scan", tests, make_dir, remove_dir);
}
