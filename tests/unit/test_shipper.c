/*
 * tests/unit/test_shipper.c - events.json: the form of a line, and that every
 * row is in the files once and in order, whatever happens to the process, the
 * file, the disk and the database.
 */
#include "cloudtest.h"

#include "ampcloudd/ecs.h"
#include "ampcloudd/shipper.h"
#include "counter.h"
#include "tests/unit/skip.h"

#include <event2/event.h>
#include <json-c/json.h>
#include <time.h>

#define T0	 (INT64_C(1700000000) * 1000000000)
#define FILE_FD	 100 /* stands for AMP_FD_EVENTS */
#define DATABASE "0123456789abcdef"

/* --- lines ------------------------------------------------------------------- */

static const struct ecs_source source = {UUID_B, DATABASE, T0 + 5000000000};

static Amp__CliHistoryEntry entry(const char *type)
{
	Amp__CliHistoryEntry e = AMP__CLI_HISTORY_ENTRY__INIT;

	e.number = 42;
	e.id = (char *)(uintptr_t)(UUID_A "/detected#2");
	e.type = (char *)(uintptr_t)type;
	e.time_ns = T0 + 123000000;
	e.severity = 3;
	return e;
}

static json_object *parsed(const struct ecs_text *t)
{
	struct json_tokener *tok = json_tokener_new_ex(16);
	json_object *o;

	json_tokener_set_flags(tok, JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8);
	assert_true(t->size > 2 && t->data[t->size - 1] == '\n');
	assert_null(memchr(t->data, '\n', t->size - 1));
	o = json_tokener_parse_ex(tok, t->data, (int)t->size);
	if (!o)
		print_error("%.*s", (int)t->size, t->data);
	assert_non_null(o);
	json_tokener_free(tok);
	return o;
}

/* The text at a way like "file.hash.sha256"; NULL: nothing there. */
static const char *at(json_object *o, const char *way)
{
	char name[64];
	size_t n;

	for (; o; way += n + (way[n] == '.')) {
		n = strcspn(way, ".");
		if (n == 0)
			return json_object_get_string(o);
		snprintf(name, sizeof(name), "%.*s", (int)n, way);
		if (!json_object_object_get_ex(o, name, &o))
			return NULL;
	}
	return NULL;
}

static void has(json_object *o, const char *way, const char *text)
{
	const char *is = at(o, way);

	if (!is || strcmp(is, text) != 0)
		print_error("%s is %s, not %s\n", way, is ? is : "not there", text);
	assert_non_null(is);
	assert_string_equal(is, text);
}

static void test_a_detection(void **state)
{
	Amp__CliHistoryEntry e = entry("threat_detected");
	Amp__Process p = AMP__PROCESS__INIT;
	struct ecs_text t = {0};
	uint8_t sha[32];
	json_object *o;

	(void)state;
	memset(sha, 0xab, sizeof(sha));
	p.known = true;
	p.pid = 77;
	p.uid = 1000;
	p.exe = (ProtobufCBinaryData){8, (uint8_t *)(uintptr_t) "/bin/sh\\"};
	e.detection_id = (char *)(uintptr_t)UUID_A;
	e.detection = (char *)(uintptr_t) "Eicar-Test-Signature";
	e.path = (ProtobufCBinaryData){9, (uint8_t *)(uintptr_t) "/tmp/\"x\"\n"};
	e.sha256 = (ProtobufCBinaryData){sizeof(sha), sha};
	e.size = 68;
	e.process = &p;
	e.mode = (char *)(uintptr_t) "protect";
	e.cause = (char *)(uintptr_t) "write";
	e.path_unresolved = true;
	assert_int_equal(ecs_line(&t, &e, &source), 0);
	o = parsed(&t);
	has(o, "@timestamp", "2023-11-14T22:13:20.123Z");
	has(o, "ecs.version", "8.11.0");
	has(o, "event.id", UUID_A "/detected#2");
	has(o, "event.kind", "alert");
	has(o, "event.category", "[ \"malware\", \"file\" ]");
	has(o, "event.type", "[ \"info\" ]");
	has(o, "event.action", "threat_detected");
	assert_null(at(o, "event.outcome"));
	has(o, "event.severity", "3");
	has(o, "event.sequence", "42");
	has(o, "event.created", "2023-11-14T22:13:25.000Z");
	has(o, "event.module", "ampcloudd");
	has(o, "event.dataset", "ampcloudd.events");
	has(o, "host.id", UUID_B);
	has(o, "file.path", "/tmp/\"x\"\n"); /* exact: it is UTF-8 */
	assert_null(at(o, "file.path_bytes"));
	has(o, "file.size", "68");
	assert_int_equal(strlen(at(o, "file.hash.sha256")), 64);
	has(o, "threat.indicator.file.hash.sha256", at(o, "file.hash.sha256"));
	has(o, "process.pid", "77");
	has(o, "process.executable", "/bin/sh\\");
	has(o, "user.id", "1000");
	has(o, "rule.name", "Eicar-Test-Signature");
	has(o, "observer.product", PACKAGE_NAME);
	has(o, "observer.version", PACKAGE_VERSION);
	has(o, "labels.detection_id", UUID_A);
	has(o, "labels.mode", "protect");
	has(o, "labels.cause", "write");
	has(o, "labels.path_unresolved", "true");
	has(o, "message", "malware detected: Eicar-Test-Signature, /tmp/\"x\"\\x0a");
	json_object_put(o);
	ecs_free(&t);
}

static void test_types(void **state)
{
	static const struct {
		const char *type, *kind, *category, *ecs_type, *outcome;
	} wanted[] = {
		{"process_killed", "event", "[ \"process\", \"malware\" ]", "[ \"end\" ]", "success"},
		{"threat_quarantined", "event", "[ \"malware\", \"file\" ]", "[ \"deletion\" ]", "success"},
		{"quarantine_failed", "event", "[ \"malware\", \"file\" ]", "[ \"change\" ]", "failure"},
		{"threat_restored", "event", "[ \"file\" ]", "[ \"creation\" ]", "success"},
		{"policy_changed", "event", "[ \"configuration\" ]", "[ \"change\" ]", "success"},
		{"fault_raised", "event", "[ \"host\" ]", "[ \"info\" ]", NULL},
		{"of_a_newer_room", "event", "[ ]", "[ \"info\" ]", NULL},
	};
	struct ecs_text t = {0};

	(void)state;
	for (size_t i = 0; i < sizeof(wanted) / sizeof(*wanted); i++) {
		Amp__CliHistoryEntry e = entry(wanted[i].type);
		json_object *o;

		e.detail = (char *)(uintptr_t) "why";
		assert_int_equal(ecs_line(&t, &e, &source), 0);
		o = parsed(&t);
		has(o, "event.action", wanted[i].type);
		has(o, "event.kind", wanted[i].kind);
		has(o, "event.category", wanted[i].category);
		has(o, "event.type", wanted[i].ecs_type);
		if (wanted[i].outcome)
			has(o, "event.outcome", wanted[i].outcome);
		else
			assert_null(at(o, "event.outcome"));
		assert_non_null(strstr(at(o, "message"), ": why"));
		assert_null(at(o, "file.path"));
		assert_null(at(o, "process.pid"));
		assert_null(at(o, "rule.name"));
		json_object_put(o);
	}
	ecs_free(&t);
}

/* Whatever bytes a room sends, the line is JSON, and a path can be had back exactly. */
static void test_hostile_bytes(void **state)
{
	struct ecs_text t = {0};
	uint8_t path[256];
	char text[256];

	(void)state;
	srandom(7);
	for (int round = 0; round < 2000; round++) {
		Amp__CliHistoryEntry e = entry("threat_detected");
		size_t n = (size_t)random() % sizeof(path);
		const char *hex;
		json_object *o;

		for (size_t i = 0; i < sizeof(path); i++) {
			path[i] = (uint8_t)(1 + random() % 255);
			text[i] = (char)(1 + random() % 255);
		}
		text[n] = '\0';
		e.path = (ProtobufCBinaryData){n, path};
		e.detail = e.detection = text;
		assert_int_equal(ecs_line(&t, &e, &source), 0);
		o = parsed(&t);
		hex = at(o, "file.path_bytes");
		if (!hex && n > 0) {
			assert_int_equal(strlen(at(o, "file.path")), n);
			assert_memory_equal(at(o, "file.path"), path, n);
		}
		for (size_t i = 0; hex && i < n; i++) {
			unsigned byte;

			assert_int_equal(sscanf(hex + 2 * i, "%2x", &byte), 1);
			assert_int_equal(byte, path[i]);
		}
		json_object_put(o);
	}
	ecs_free(&t);
}

static bool ends(const char *text, char database[ECS_NAME_SIZE], uint64_t *number)
{
	return ecs_ending(text, strlen(text), database, number);
}

static void test_endings(void **state)
{
	static const char *const no[] = {
		"",
		"}}",
		"\"}}",
		"1\"}}",
		"-1\"}}",
		"\"row\":\"" DATABASE "-1\"}}",	  /* nothing before it */
		"\\\"row\":\"" DATABASE "-1\"}}", /* within a text */
		",\"row\":\"" DATABASE "-\"}}",
		",\"row\":\"" DATABASE "1\"}}",
		",\"row\":\"0123456789ABCDEF-1\"}}",
		",\"row\":\"123456789abcdef-1\"}}",
		",\"roe\":\"" DATABASE "-1\"}}",
		",\"row\":\"" DATABASE "-1\"}",
		",\"row\":\"" DATABASE "-1\"}} ",
	};
	char database[ECS_NAME_SIZE];
	struct ecs_text t = {0};
	Amp__CliHistoryEntry e = entry("threat_detected");
	uint64_t number;

	(void)state;
	for (size_t i = 0; i < sizeof(no) / sizeof(*no); i++)
		if (ends(no[i], database, &number))
			fail_msg("taken: %s", no[i]);
	assert_true(ends(",\"row\":\"" DATABASE "-18446744\"}}", database, &number));
	assert_int_equal(number, 18446744);
	assert_string_equal(database, DATABASE);
	/* A text that looks like an ending, cut anywhere: never one. */
	e.detection = e.detail = (char *)(uintptr_t) ",\"row\":\"" DATABASE "-7\"}}";
	e.path = (ProtobufCBinaryData){strlen(e.detail), (uint8_t *)e.detail};
	assert_int_equal(ecs_line(&t, &e, &source), 0);
	for (size_t n = 0; n < t.size - 1; n++)
		assert_false(ecs_ending(t.data, n, database, &number));
	assert_true(ecs_ending(t.data, t.size - 1, database, &number));
	assert_int_equal(number, 42);
	ecs_free(&t);
}

/* --- a shipper at work ------------------------------------------------------------ */

struct bench {
	struct test_dir dir; /* database and events.json */
	struct event_base *base;
	struct amp_iothread *io;
	struct store *store;
	struct shipper *shipper;
	uint64_t file_max;
	unsigned next; /* uid of the next event */
};

/* A job that runs a function on the I/O thread. */
struct errand {
	struct amp_io_job job;
	void (*run)(struct bench *b, unsigned n);
	struct bench *b;
	unsigned n;
	bool done;
};

static bool errand_run(struct amp_io_job *job)
{
	struct errand *e = (struct errand *)job;

	e->run(e->b, e->n);
	return true;
}

static void errand_done(struct amp_io_job *job)
{
	((struct errand *)job)->done = true;
}

static void on_thread(struct bench *b, void (*run)(struct bench *b, unsigned n), unsigned n)
{
	struct errand e = {{errand_run, errand_done, NULL}, run, b, n, false};

	amp_iothread_submit(b->io, &e.job);
	while (!e.done)
		event_base_loop(b->base, EVLOOP_ONCE);
}

static void nothing(struct bench *b, unsigned n)
{
	(void)b;
	(void)n;
}

/* What was submitted is done, and the step that it led to. */
static void settle(struct bench *b)
{
	for (int i = 0; i < 3; i++)
		on_thread(b, nothing, 0);
}

static void open_database(struct bench *b, unsigned n)
{
	bool was_broken;

	(void)n;
	assert_int_equal(store_open(b->store, &was_broken), AMP_DB_OK);
}

static void add_rows(struct bench *b, unsigned n)
{
	struct store_counts counts = {0};
	char uid[32];

	assert_int_equal(store_begin(b->store), AMP_DB_OK);
	for (unsigned i = 0; i < n; i++) {
		Amp__Event e;

		snprintf(uid, sizeof(uid), "u%u", ++b->next);
		e = make_event(uid, "threat_detected", T0 + b->next, 3);
		assert_int_equal(store_add(b->store, &e, &counts), AMP_DB_OK);
	}
	assert_int_equal(store_commit(b->store), AMP_DB_OK);
}

static void prune(struct bench *b, unsigned n)
{
	uint64_t pruned = 0;

	(void)n;
	while (store_over(b->store))
		assert_int_equal(store_prune(b->store, &pruned), AMP_DB_OK);
}

static void set_aside(struct bench *b, unsigned n)
{
	assert_int_equal(store_set_aside(b->store), 0);
	open_database(b, n);
}

static void start(struct bench *b, uint64_t max_rows)
{
	const struct store_config store = {.path = dir_file(&b->dir, "events.db"), .max_rows = max_rows};
	const struct shipper_config config = {
		.host_id = UUID_B, .fd = FILE_FD, .retry_ms = 20, .sync_ms = 20, .file_max = b->file_max};
	int null = open("/dev/null", O_RDONLY | O_CLOEXEC);

	assert_int_equal(dup2(null, FILE_FD), FILE_FD);
	close(null);
	b->base = event_base_new();
	b->io = amp_iothread_new(b->base);
	b->store = store_new(&store);
	b->shipper = shipper_new(b->base, b->io, b->store, &config);
	assert_non_null(b->shipper);
	assert_int_equal(amp_iothread_start(b->io), 0);
	on_thread(b, open_database, 0);
}

/* keeps: as ampcloudd stops in order; else as if it was killed. */
static void stop(struct bench *b, bool keeps)
{
	if (keeps)
		shipper_stop(b->shipper);
	amp_iothread_free(b->io);
	if (keeps)
		assert_int_equal(store_keep_shipped(b->store), AMP_DB_OK);
	shipper_free(b->shipper);
	store_free(b->store);
	event_base_free(b->base);
	close(FILE_FD);
}

static struct bench *bench(unsigned small_kib)
{
	struct bench *b = calloc(1, sizeof(*b));

	assert_non_null(b);
	if (small_kib == 0) {
		dir_make(&b->dir);
	} else if (!dir_small(&b->dir, small_kib)) {
		dir_remove(&b->dir);
		free(b);
		return NULL;
	}
	return b;
}

static void teardown(struct bench *b)
{
	dir_remove(&b->dir);
	free(b);
}

static int events_file(const struct bench *b, const char *name)
{
	int fd = open(dir_file(&b->dir, name), O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	return fd;
}

static void give(struct bench *b, const char *name, const char *before)
{
	shipper_file(b->shipper, events_file(b, name), before ? events_file(b, before) : -1);
}

static void turn(struct bench *b)
{
	const struct timespec nap = {.tv_nsec = 1000000};

	event_base_loop(b->base, EVLOOP_NONBLOCK);
	nanosleep(&nap, NULL);
}

/* Appends the uids' numbers of whole lines to list; lines that are none of ours are counted. */
static size_t read_rows(const struct bench *b, const char *name, unsigned *list, size_t n, unsigned *odd)
{
	FILE *f = fopen(dir_file(&b->dir, name), "re");
	char *line = NULL;
	size_t room = 0;
	ssize_t length;

	while (f && (length = getline(&line, &room, f)) > 0) {
		struct ecs_text t = {line, (size_t)length, 0, false};
		char database[ECS_NAME_SIZE];
		uint64_t number;
		json_object *o;

		if (line[length - 1] != '\n' || !ecs_ending(line, (size_t)length - 1, database, &number)) {
			++*odd;
			continue;
		}
		o = parsed(&t);
		assert_int_equal(sscanf(at(o, "event.id"), "u%u", &list[n++]), 1);
		json_object_put(o);
	}
	free(line);
	if (f)
		fclose(f);
	return n;
}

static size_t lines_of(const struct bench *b, const char *name)
{
	static unsigned list[100000];
	unsigned odd = 0;

	return read_rows(b, name, list, 0, &odd);
}

/* The step that wrote them has also been counted. */
static bool reaches(struct bench *b, const char *name, size_t lines)
{
	for (int i = 0; i < 60000 && lines_of(b, name) < lines; i++)
		turn(b);
	settle(b);
	return lines_of(b, name) == lines;
}

/* uids 1 to last, each once and in order, over the files (the oldest first). */
static void holds_all(const struct bench *b, const char *const *names, unsigned last, unsigned odd_wanted)
{
	static unsigned list[100000];
	unsigned odd = 0;
	size_t n = 0;

	for (; *names; names++)
		n = read_rows(b, *names, list, n, &odd);
	for (size_t i = 0; i < n; i++)
		if (list[i] != i + 1)
			fail_msg("line %zu is of event %u", i + 1, list[i]);
	assert_int_equal(n, last);
	assert_int_equal(odd, odd_wanted);
}
#define HOLDS_ALL(b, last, odd, ...) holds_all((b), (const char *const[]){__VA_ARGS__, NULL}, (last), (odd))

static uint64_t counter(const char *name)
{
	for (const struct amp_counter *c = amp_counter_first(); c; c = c->next)
		if (strcmp(c->name, name) == 0)
			return amp_counter_value(c);
	return 0;
}

static void add(struct bench *b, unsigned n)
{
	on_thread(b, add_rows, n);
	shipper_look(b->shipper);
}

static void test_rows_are_written(void **state)
{
	struct bench *b = bench(0);

	(void)state;
	start(b, 0);
	add(b, 3); /* before there is a file: they wait */
	for (int i = 0; i < 20; i++)
		turn(b);
	settle(b);
	assert_int_equal(counter("events_json.written"), 0);
	give(b, "a", NULL);
	assert_true(reaches(b, "a", 3));
	add(b, 1);
	assert_true(reaches(b, "a", 4));
	add(b, 1000); /* several steps */
	assert_true(reaches(b, "a", 1004));
	assert_int_equal(counter("events_json.waiting"), 0);
	stop(b, true);
	HOLDS_ALL(b, 1004, 0, "a");
	start(b, 0); /* nothing again */
	give(b, "a", NULL);
	add(b, 1);
	assert_true(reaches(b, "a", 1005));
	stop(b, true);
	HOLDS_ALL(b, 1005, 0, "a");
	teardown(b);
}

/* Files come and go while rows are written; none is lost, none is there twice. */
static void test_rotation(void **state)
{
	struct bench *b = bench(0);

	(void)state;
	start(b, 0);
	give(b, "a", NULL);
	add(b, 500);
	give(b, "b", NULL); /* at whatever it is */
	add(b, 500);
	assert_true(reaches(b, "b", 1000 - lines_of(b, "a")));
	give(b, "c", NULL);
	add(b, 10);
	assert_true(reaches(b, "c", 10));
	stop(b, true);
	HOLDS_ALL(b, 1010, 0, "a", "b", "c");
	teardown(b);
}

/* The file is the memory: the database is told later, here never. */
static void test_killed(void **state)
{
	struct bench *b = bench(0);

	(void)state;
	for (unsigned i = 1; i <= 5; i++) {
		start(b, 0);
		give(b, "a", NULL);
		add(b, 100);
		assert_true(reaches(b, "a", 100 * i));
		stop(b, false);
	}
	HOLDS_ALL(b, 500, 0, "a");
	teardown(b);
}

/* Killed between rotation and the first line of the new file: the one before is looked at. */
static void test_killed_at_a_rotation(void **state)
{
	struct bench *b = bench(0);

	(void)state;
	start(b, 0);
	give(b, "a", NULL);
	add(b, 100);
	assert_true(reaches(b, "a", 100));
	stop(b, false);
	start(b, 0);
	give(b, "b", "a");
	add(b, 50);
	assert_true(reaches(b, "b", 50));
	stop(b, false);
	HOLDS_ALL(b, 150, 0, "a", "b");
	start(b, 0);
	give(b, "b", "a"); /* the newer one counts */
	add(b, 1);
	assert_true(reaches(b, "b", 51));
	stop(b, true);
	HOLDS_ALL(b, 151, 0, "a", "b");
	/* Both gone, say by an administrator: the database knows. */
	start(b, 0);
	give(b, "c", NULL);
	add(b, 1);
	assert_true(reaches(b, "c", 1));
	stop(b, true);
	HOLDS_ALL(b, 152, 0, "a", "b", "c");
	teardown(b);
}

static void cut(const struct bench *b, const char *name, off_t bytes)
{
	struct stat st;

	assert_int_equal(stat(dir_file(&b->dir, name), &st), 0);
	assert_int_equal(truncate(dir_file(&b->dir, name), st.st_size - bytes), 0);
}

/* Killed in the middle of a line: it is ended, its row written again. */
static void test_torn_line(void **state)
{
	struct bench *b = bench(0);

	(void)state;
	start(b, 0);
	give(b, "a", NULL);
	add(b, 10);
	assert_true(reaches(b, "a", 10));
	stop(b, false);
	cut(b, "a", 30);
	start(b, 0);
	give(b, "a", NULL);
	add(b, 1);
	assert_true(reaches(b, "a", 11));
	stop(b, false);
	HOLDS_ALL(b, 11, 1, "a");
	cut(b, "a", 1); /* all but the newline: it is whole */
	start(b, 0);
	give(b, "a", NULL);
	add(b, 1);
	assert_true(reaches(b, "a", 12));
	stop(b, false);
	HOLDS_ALL(b, 12, 1, "a");
	teardown(b);
}

/* Long garbage behind the last line, as a crash of the machine may leave it. */
static void test_garbage_behind(void **state)
{
	struct bench *b = bench(0);
	char junk[200000];
	int fd;

	(void)state;
	start(b, 0);
	give(b, "a", NULL);
	add(b, 10);
	assert_true(reaches(b, "a", 10));
	stop(b, false);
	fd = events_file(b, "a");
	memset(junk, 0, sizeof(junk));
	assert_int_equal(write(fd, junk, sizeof(junk)), sizeof(junk));
	close(fd);
	start(b, 0);
	give(b, "a", NULL);
	add(b, 1);
	assert_true(reaches(b, "a", 11));
	stop(b, true);
	HOLDS_ALL(b, 11, 1, "a");
	teardown(b);
}

/* A full disk holds nothing up; the line that was begun is ended when there is space. */
static void test_full_disk(void **state)
{
	struct bench *b = bench(0), small = {.next = 0};
	uint64_t failures;

	(void)state;
	if (!dir_small(&small.dir, 256)) {
		teardown(b);
		SKIP_WITHOUT("a file system of its own (root)");
	}
	start(b, 0);
	shipper_file(b->shipper, events_file(&small, "a"), -1);
	add(b, 20);
	assert_true(reaches(&(struct bench){.dir = small.dir, .base = b->base, .io = b->io}, "a", 20));
	dir_fill(&small.dir);
	failures = counter("events_json.failures");
	add(b, 20);
	for (int i = 0; i < 60000 && counter("events_json.failures") == failures; i++)
		turn(b);
	assert_true(counter("events_json.failures") > failures);
	dir_drain(&small.dir);
	assert_true(reaches(&(struct bench){.dir = small.dir, .base = b->base, .io = b->io}, "a", 40));
	HOLDS_ALL(&small, 40, 0, "a");
	assert_int_equal(counter("events_json.waiting"), 0);
	stop(b, true);
	dir_remove(&small.dir);
	teardown(b);
}

/* Until the file has what it may have, or nothing waits. */
static void until_full(struct bench *b, const char *name)
{
	struct stat st;

	for (int i = 0; i < 60000; i++) {
		turn(b);
		settle(b);
		if ((stat(dir_file(&b->dir, name), &st) == 0 && (uint64_t)st.st_size >= b->file_max) ||
		    counter("events_json.waiting") == 0)
			return;
	}
}

/* A file that nobody rotates does not grow for ever. */
static void test_bound_of_the_file(void **state)
{
	struct bench *b = bench(0);
	struct stat st;

	(void)state;
	b->file_max = 65536;
	start(b, 0);
	give(b, "a", NULL);
	add(b, 1000);
	until_full(b, "a");
	for (int i = 0; i < 50; i++)
		turn(b);
	assert_int_equal(stat(dir_file(&b->dir, "a"), &st), 0);
	assert_in_range(st.st_size, 65536, 4 * 65536);
	assert_true(counter("events_json.waiting") > 0);
	for (char name[2] = "b"; name[0] <= 'z' && counter("events_json.waiting") > 0; name[0]++) {
		give(b, name, NULL);
		until_full(b, name);
	}
	assert_int_equal(counter("events_json.waiting"), 0);
	stop(b, true);
	HOLDS_ALL(b, 1000, 0, "a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m", "n", "o", "p",
		  "q", "r", "s", "t", "u", "v", "w", "x", "y", "z");
	teardown(b);
}

/* Numbers of a new database begin at 1 again: all its rows are written. */
static void test_new_database(void **state)
{
	struct bench *b = bench(0);

	(void)state;
	start(b, 0);
	give(b, "a", NULL);
	add(b, 100);
	assert_true(reaches(b, "a", 100));
	on_thread(b, set_aside, 0);
	add(b, 20);
	assert_true(reaches(b, "a", 120));
	stop(b, false);
	start(b, 0); /* and after a restart behind the right one */
	give(b, "a", NULL);
	add(b, 1);
	assert_true(reaches(b, "a", 121));
	stop(b, true);
	HOLDS_ALL(b, 121, 0, "a");
	teardown(b);
}

/* A database put back from a copy: what is new in it is written, nothing is skipped. */
static void test_database_from_a_copy(void **state)
{
	struct bench *b = bench(0);
	char command[300];

	(void)state;
	start(b, 0);
	give(b, "a", NULL);
	add(b, 10);
	assert_true(reaches(b, "a", 10));
	stop(b, true);
	snprintf(command, sizeof(command), "cp %s %s", dir_file(&b->dir, "events.db"),
		 dir_file(&b->dir, "copy"));
	assert_int_equal(system(command), 0);
	start(b, 0);
	give(b, "a", NULL);
	add(b, 90);
	assert_true(reaches(b, "a", 100));
	stop(b, true);
	assert_int_equal(rename(dir_file(&b->dir, "copy"), dir_file(&b->dir, "events.db")), 0);
	start(b, 0);
	give(b, "a", NULL);
	settle(b); /* it has looked where it is */
	add(b, 5);
	assert_true(reaches(b, "a", 105));
	stop(b, true);
	HOLDS_ALL(b, 105, 0, "a");
	teardown(b);
}

/* Rows that go before they were written are missed by somebody: counted. */
static void test_pruned_before_written(void **state)
{
	struct bench *b = bench(0);
	uint64_t lost = counter("events_json.pruned_unwritten");

	(void)state;
	b->file_max = 1; /* after the first step it waits */
	start(b, 100);
	on_thread(b, add_rows, 50);
	on_thread(b, prune, 0);
	give(b, "a", NULL);
	assert_true(reaches(b, "a", 50));
	on_thread(b, add_rows, 200);
	on_thread(b, prune, 0); /* 99 are left: 50 written ones went, and 101 others */
	assert_int_equal(counter("events_json.pruned_unwritten") - lost, 101);
	give(b, "b", NULL);
	assert_true(reaches(b, "b", 64)); /* a step; from 152 on */
	for (int i = 0; i < 50; i++)
		turn(b);
	assert_int_equal(lines_of(b, "b"), 64);
	stop(b, true);
	teardown(b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_detection),
		cmocka_unit_test(test_types),
		cmocka_unit_test(test_hostile_bytes),
		cmocka_unit_test(test_endings),
		cmocka_unit_test(test_rows_are_written),
		cmocka_unit_test(test_rotation),
		cmocka_unit_test(test_killed),
		cmocka_unit_test(test_killed_at_a_rotation),
		cmocka_unit_test(test_torn_line),
		cmocka_unit_test(test_garbage_behind),
		cmocka_unit_test(test_full_disk),
		cmocka_unit_test(test_bound_of_the_file),
		cmocka_unit_test(test_new_database),
		cmocka_unit_test(test_database_from_a_copy),
		cmocka_unit_test(test_pruned_before_written),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
