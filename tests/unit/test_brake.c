/*
 * tests/unit/test_brake.c - a signature that convicts many old files is held,
 * over any number of deaths of ampscand, until it is released; what was left
 * alone is judged again then.
 */
#include "keeptest.h"

#include "cliserver.h"

#define DAY  (86400 * AMP_NS_PER_SEC)
#define NOW  (1000 * DAY)
#define FSID 7U

/* --- in place of the rest of ampscand ------------------------------------------------ */

int demand_restore(struct scand *s, const char *name, const uint8_t *record, size_t size)
{
	(void)s;
	(void)name;
	(void)record;
	(void)size;
	return -1;
}

static unsigned again, acts_kept, jobs;
static char again_path[64];
static bool full, in_hand, in_job;

void intake_again(struct scand *s, const struct amp_fileid *file, const char *path)
{
	(void)s;
	assert_int_equal(file->fsid, FSID);
	again++;
	snprintf(again_path, sizeof(again_path), "%s", path ? path : "-");
}

bool intake_is_full(const struct scand *s)
{
	(void)s;
	return full;
}

struct job *job_find(struct scand *s, const struct amp_fileid *id)
{
	static struct job some;

	(void)s;
	(void)id;
	jobs++;
	return in_job ? &some : NULL;
}

bool act_is_in_hand(const struct scand *s, const struct amp_fileid *file)
{
	(void)s;
	(void)file;
	return in_hand;
}

void act_kept(struct scand *s, uint64_t act)
{
	(void)s;
	assert_int_equal(act, 77);
	acts_kept++;
}

static unsigned left;

void judge_left(struct scand *s)
{
	(void)s;
	left++;
}

void scand_pump_later(struct scand *s)
{
	(void)s;
}

/* --- of ampcli's client ------------------------------------------------------------- */

static uid_t client_uid;
static bool client_gone;
static int cli_error;
static struct amp_channel *client, *client_end; /* what is answered is read from the other end */
static Amp__CliBrakeReply *shown;
static unsigned releases;
static uint64_t judged_again;

void *amp_room_arg(struct amp_room *room)
{
	return room; /* the tests pass the scand */
}

struct amp_cliserver *amp_room_cli(struct amp_room *room)
{
	return (struct amp_cliserver *)room; /* any that is not NULL */
}

uid_t amp_cli_client_uid(const struct amp_channel *c)
{
	assert_ptr_equal(c, client);
	return client_uid;
}

pid_t amp_cli_client_pid(const struct amp_channel *c)
{
	assert_ptr_equal(c, client);
	return 77;
}

uint64_t amp_cli_client_serial(const struct amp_channel *c)
{
	assert_ptr_equal(c, client);
	return 5;
}

struct amp_channel *amp_cli_client_find(struct amp_cliserver *server, uint64_t serial)
{
	assert_ptr_equal(server, &kt_room);
	assert_int_equal(serial, 5);
	return client_gone ? NULL : client;
}

void amp_cli_error(struct amp_channel *c, uint64_t id, int code, const char *fmt, ...)
{
	assert_ptr_equal(c, client);
	assert_int_equal(id, 9);
	assert_non_null(fmt);
	cli_error = code;
}

static int on_shown(struct amp_channel *ch, struct amp_message *m, void *arg)
{
	static uint8_t copy[AMP_MSG_MAX];
	size_t n = protobuf_c_message_pack(m->body, copy);

	(void)ch;
	(void)arg;
	if (shown)
		amp__cli_brake_reply__free_unpacked(shown, NULL);
	shown = amp__cli_brake_reply__unpack(NULL, n, copy);
	return 0;
}

static int on_released(struct amp_channel *ch, struct amp_message *m, void *arg)
{
	(void)ch;
	(void)arg;
	assert_int_equal(m->id, 9);
	releases++;
	judged_again = ((const Amp__CliBrakeReleaseReply *)m->body)->judged_again;
	return 0;
}

static const struct amp_dispatch client_rows[] = {
	{AMP_MSG_CLI_BRAKE_REPLY, &amp__cli_brake_reply__descriptor, 65000, 0, 0, 0, on_shown},
	{AMP_MSG_CLI_BRAKE_RELEASE_REPLY, &amp__cli_brake_release_reply__descriptor, 64, 0, 0, 0,
	 on_released},
};

/* --- */

static struct scand s;

static void give_back(void)
{
	for (size_t i = 0; i < kt_mon.count; i++) {
		Amp__Keeps k = AMP__KEEPS__INIT;

		k.name = kt_mon.kept[i].name;
		k.record.data = kt_mon.kept[i].data;
		k.record.len = kt_mon.kept[i].size;
		assert_int_equal(keep_keeps(&s, &k), 0);
	}
}

static void start(void)
{
	memset(&s, 0, sizeof(s));
	kt_link(&s);
	assert_int_equal(keep_init(&s), 0);
	assert_int_equal(brake_init(&s), 0);
	kt_room.fault = false;
	give_back();
	s.started = true;
}

static void die(void)
{
	brake_free(&s);
	keep_free(&s);
	kt_unlink();
}

static void restart(void)
{
	die();
	start();
}

static int setup(void **state)
{
	struct amp_channel_config c = {.name = "client", .table = client_rows, .rows = 2, .on_end = kt_end};
	int pair[2];

	(void)state;
	kt_begin();
	amp_clock_freeze(NOW, NOW);
	assert_int_equal(amp_sha256_setup(), 0);
	again = acts_kept = releases = left = 0;
	full = in_hand = in_job = client_gone = false;
	client_uid = 0;
	cli_error = 0;
	assert_int_equal(amp_channel_pair(pair), 0);
	client = amp_channel_new(kt_room.base, pair[0], &c);
	client_end = amp_channel_new(kt_room.base, pair[1], &c);
	start();
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	die();
	amp_channel_free(client);
	amp_channel_free(client_end);
	if (shown)
		amp__cli_brake_reply__free_unpacked(shown, NULL);
	shown = NULL;
	amp_clock_release();
	event_base_free(kt_room.base);
	return 0;
}

static enum brake_answer convict(const char *signature, uint64_t n, int64_t age)
{
	struct amp_fileid file = st_id(FSID, n);
	struct amp_identity id = {.ctime_ns = amp_clock_realtime() - age, .mtime_ns = 1};
	char path[64];

	snprintf(path, sizeof(path), "/m/%llu", (unsigned long long)n);
	return brake_holds(&s, signature, &file, &id, path, 77);
}

static void convict_old(const char *signature, uint64_t first, unsigned n, bool held)
{
	for (unsigned i = 0; i < n; i++)
		assert_int_equal(convict(signature, first + i, 2 * DAY) != BRAKE_OFF, held);
}

static void test_holds(void **state)
{
	(void)state;
	convict_old("A", 1, 20, false);
	convict_old("A", 1, 20, false); /* the same files */
	assert_false(kt_room.fault);
	assert_int_equal(convict("A", 21, 2 * DAY), BRAKE_HOLDS_KEEPING);
	assert_true(kt_room.fault);
	assert_non_null(strstr(kt_room.detail, "A convicted"));
	assert_int_equal(acts_kept, 0);
	kt_run(10);
	assert_int_equal(acts_kept, 1);
	/* Nothing of it is trusted now. */
	assert_int_equal(convict("A", 22, 0), BRAKE_HOLDS_KEEPING);
	assert_int_equal(convict("A", 1, 2 * DAY), BRAKE_HOLDS_KEEPING);
	kt_run(10);
	assert_int_equal(convict("A", 22, 0), BRAKE_HOLDS); /* it is on disk */
	convict_old("B", 1, 20, false);
	assert_int_equal(acts_kept, 3);
}

static void test_young(void **state)
{
	(void)state;
	for (uint64_t i = 0; i < 100; i++)
		assert_int_equal(convict("A", i, DAY - 1), BRAKE_OFF);
	assert_int_equal(kt_mon.keeps, 0);
	convict_old("A", 200, 20, false);
	convict_old("A", 300, 1, true);
}

/* A day is counted from the last change, of whatever kind. */
static void test_changed(void **state)
{
	struct amp_identity id = {.ctime_ns = NOW - 2 * DAY, .mtime_ns = NOW - 1};

	(void)state;
	for (uint64_t i = 0; i < 30; i++) {
		struct amp_fileid file = st_id(FSID, i);

		assert_int_equal(brake_holds(&s, "A", &file, &id, NULL, 77), BRAKE_OFF);
	}
}

static void mount(const char *type)
{
	Amp__FileSystem fs = AMP__FILE_SYSTEM__INIT;

	fs.fsid = FSID;
	fs.type = (char *)(uintptr_t)type;
	assert_int_equal(filesystems_set(&s.filesystems, &fs), 0);
}

/* Where a store through a mapping leaves no trace, a user can make any file an old one. */
static void test_untold(void **state)
{
	struct amp_identity id = {.ctime_ns = 1, .mtime_ns = 1, .uid = 1000, .mode = 0644};

	(void)state;
	assert_int_equal(filesystems_init(&s.filesystems), 0);
	mount("tmpfs");
	for (uint64_t i = 0; i < 100; i++) {
		struct amp_fileid file = st_id(FSID, i);

		id.uid = i % 2 ? 1000 : 0;
		id.mode = i % 2 ? 0644 : 0666;
		assert_int_equal(brake_holds(&s, "A", &file, &id, NULL, 77), BRAKE_OFF);
	}
	mount("ext4");
	for (uint64_t i = 0; i < 21; i++) {
		struct amp_fileid file = st_id(FSID, i);

		assert_int_equal(brake_holds(&s, "A", &file, &id, NULL, 77) != BRAKE_OFF, i == 20);
	}
	filesystems_free(&s.filesystems);
}

/* What is not to be taken is counted, and not remembered. */
static void test_audited(void **state)
{
	struct amp_identity id = {.ctime_ns = 1, .mtime_ns = 1};

	(void)state;
	for (uint64_t i = 0; i < 30; i++) {
		struct amp_fileid file = st_id(FSID, i);

		assert_int_equal(brake_holds(&s, "A", &file, &id, NULL, 0), i < 20 ? BRAKE_OFF : BRAKE_HOLDS);
	}
	assert_true(kt_room.fault);
	assert_int_equal(s.brake->held.count, 0);
	kt_run(20);
	restart();
	assert_true(kt_room.fault);
}

static void test_window(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 10; i++) {
		convict_old("A", i * 20, 20, false);
		amp_clock_advance(BRAKE_WINDOW_NS + 1);
	}
	/* The window slides. */
	convict_old("A", 1000, 10, false);
	amp_clock_advance(BRAKE_WINDOW_NS - 5 * AMP_NS_PER_SEC);
	convict_old("A", 2000, 10, false);
	convict_old("A", 3000, 1, true);
}

/* It is killed over and over. */
static void test_deaths(void **state)
{
	(void)state;
	for (uint64_t i = 0; i < 20; i++) {
		convict_old("A", i, 1, false);
		kt_run(5);
		restart();
	}
	convict_old("A", 3, 1, false);
	convict_old("A", 30, 1, true);
	kt_run(5);
	restart();
	assert_true(kt_room.fault);
	convict_old("A", 31, 5, true);
	kt_run(5);
	restart();
	assert_int_equal(held_count(s.brake, 1), 6);
	assert_int_equal(convict("A", 31, DAY), BRAKE_HOLDS);
}

static void show(void)
{
	Amp__CliBrake q = AMP__CLI_BRAKE__INIT;
	struct amp_message m = {.id = 9, .body = &q.base};

	assert_int_equal(brake_cli_show(client, &m, &s), 0);
	kt_run(5);
}

static void release(const char *signature)
{
	Amp__CliBrakeRelease q = AMP__CLI_BRAKE_RELEASE__INIT;
	struct amp_message m = {.id = 9, .body = &q.base};

	q.signature = (char *)(uintptr_t)signature;
	assert_int_equal(brake_cli_release(client, &m, &s), 0);
}

static void test_release(void **state)
{
	(void)state;
	convict_old("A", 1, 20, false);
	convict_old("A", 101, 200, true);
	convict_old("B", 1, 20, false);
	convict_old("B", 401, 3, true);
	kt_run(20);
	show();
	assert_int_equal(shown->n_entries, 2);
	assert_string_equal(shown->entries[0]->signature, "A");
	assert_int_equal(shown->entries[0]->held, 200);
	assert_true(shown->entries[0]->holds);
	assert_int_equal(shown->entries[0]->recent, 20);
	assert_int_equal(shown->entries[0]->since_ns, NOW);
	kt_mon.silent = true;
	release("A");
	kt_run(20);
	assert_int_equal(releases, 0); /* it is not on disk */
	assert_int_not_equal(convict("A", 101, 2 * DAY), BRAKE_OFF);
	kt_mon.silent = false;
	kt_answer(kt_mon.last_id, kt_mon.last_name, 0);
	kt_run(20);
	assert_int_equal(releases, 1);
	assert_int_equal(left, 1);
	assert_int_equal(judged_again, 200);
	assert_true(kt_room.fault); /* B */
	assert_non_null(strstr(kt_room.detail, "B convicted"));
	assert_int_equal(convict("A", 101, 2 * DAY), BRAKE_OFF);
	release("A"); /* asked again: the same answer */
	kt_run(2500);
	assert_int_equal(releases, 2);
	assert_int_equal(judged_again, 200);
	assert_int_equal(again, 200);
	assert_string_equal(again_path, "/m/101");
	assert_int_equal(held_count(s.brake, 1), 0);
	assert_int_equal(held_count(s.brake, 2), 3);
	/* It acts for good. */
	restart();
	convict_old("A", 1000, 100, false);
	convict_old("B", 1000, 1, true);
	assert_int_equal(held_count(s.brake, 1), 0);
	release("B");
	kt_run(800);
	assert_false(kt_room.fault);
	assert_int_equal(again, 204);
	assert_null(kt_find("held-0"));
}

static void test_release_refused(void **state)
{
	(void)state;
	convict_old("A", 1, 20, false);
	release("A");
	assert_int_equal(cli_error, AMP__CLI_ERROR__CODE__NOT_FOUND);
	convict_old("A", 101, 1, true);
	kt_run(20);
	release("B");
	assert_int_equal(cli_error, AMP__CLI_ERROR__CODE__NOT_FOUND);
	client_uid = 1000;
	release("A");
	assert_int_equal(cli_error, AMP__CLI_ERROR__CODE__NOT_PERMITTED);
	client_uid = 0;
	kt_mon.error = ENOSPC;
	release("A");
	kt_run(20);
	assert_int_equal(cli_error, AMP__CLI_ERROR__CODE__INTERNAL);
	assert_int_equal(releases, 0);
	kt_mon.error = 0;
	convict_old("A", 102, 1, true);
	kt_run(2500); /* what is tried again is that it holds */
	restart();
	convict_old("A", 103, 1, true);
	assert_int_equal(again, 0);
	client_gone = true;
	release("A");
	kt_run(300);
	assert_int_equal(releases, 0);
	assert_int_equal(again, 3);
}

/* It dies while files are judged again: those that were not are judged by its successor. */
static void test_release_death(void **state)
{
	(void)state;
	convict_old("A", 1, 20, false);
	convict_old("A", 101, 100, true);
	kt_run(20);
	in_job = true;
	release("A");
	kt_run(500);
	assert_int_equal(again, 64); /* so many at once */
	in_job = false;
	in_hand = true; /* convicted, not yet taken */
	kt_run(500);
	assert_int_equal(again, 64);
	assert_int_equal(held_count(s.brake, 1), 100);
	restart();
	in_hand = false;
	full = true;
	kt_run(300);
	assert_int_equal(again, 64);
	full = false;
	kt_run(900);
	assert_int_equal(again, 164);
	kt_run(300);
	restart();
	kt_run(500);
	assert_int_equal(again, 164);
	assert_int_equal(held_count(s.brake, 1), 0);
}

/* More than is remembered. */
static void test_many(void **state)
{
	(void)state;
	convict_old("A", 1, 20, false);
	convict_old("A", 1001, HELD_MAX + 10, true);
	kt_run(300);
	assert_int_equal(s.brake->held.count, HELD_MAX);
	show();
	assert_int_equal(shown->entries[0]->held, HELD_MAX + 10);
	restart();
	assert_int_equal(s.brake->held.count, HELD_MAX);
	show();
	assert_int_equal(shown->entries[0]->held, HELD_MAX + 10);
}

/* Paths as long as they may be: pages fill, none is larger than a record may be. */
static void test_long_paths(void **state)
{
	static char path[4200] = "/";
	struct amp_identity id = {.ctime_ns = 1, .mtime_ns = 1};
	size_t before;

	(void)state;
	memset(path + 1, 'p', 3999);
	convict_old("A", 1, 20, false);
	for (uint64_t i = 0; i < 300; i++) {
		struct amp_fileid file = st_id(FSID, 1000 + i);

		file.handle.size = AMP_FILE_HANDLE_MAX;
		assert_int_not_equal(brake_holds(&s, "A", &file, &id, path, 77), BRAKE_OFF);
	}
	kt_run(300);
	before = s.brake->held.count;
	assert_true(before >= 12 * 13);
	for (unsigned i = 0; i < HELD_PAGES; i++)
		assert_true(s.brake->page[i].bytes <= AMP_KEEP_MAX);
	restart();
	assert_int_equal(s.brake->held.count, before);
	release("A");
	kt_run(300);
	assert_int_equal(strlen(again_path), sizeof(again_path) - 1);
}

/* More signatures than there are rows. */
static void test_rows(void **state)
{
	char name[32];

	(void)state;
	for (unsigned i = 0; i < 200; i++) {
		snprintf(name, sizeof(name), "S%u", i);
		amp_clock_advance(1);
		convict_old(name, 1, 1, false);
	}
	for (unsigned i = 0; i < BRAKE_SIGNATURES - 1; i++) {
		snprintf(name, sizeof(name), "H%u", i);
		convict_old(name, 1, 20, false);
		convict_old(name, 21, 1, true);
	}
	/* One row is left for all others. */
	convict_old("X", 1, 20, false);
	convict_old("Y", 1, 20, false);
	convict_old("X", 30, 20, false);
	convict_old("X", 50, 1, true);
	/* All hold: of no other it is believed that old files are bad. */
	convict_old("Z", 1, 1, true);
	assert_int_equal(convict("Z", 1, 0), BRAKE_OFF);
	kt_run(50);
	restart();
	convict_old("H7", 99, 1, true);
	convict_old("Z", 1, 1, true);
	/* A file of several is remembered for the last of them. */
	release("H7");
	kt_run(700);
	convict_old("H7", 100, 1, false);
	convict_old("Z", 1, 20, false);
	convict_old("Z", 101, 1, true);
}

static enum brake_answer convict_of(unsigned signature, uint64_t n)
{
	char name[32];

	snprintf(name, sizeof(name), "S%u", signature);
	return convict(name, n, 2 * DAY);
}

static unsigned taken_in_turn(unsigned signatures, uint64_t first, unsigned files)
{
	unsigned taken = 0;

	for (unsigned i = 0; i < files; i++) {
		amp_clock_advance(1);
		taken += convict_of(i % signatures, first + i) == BRAKE_OFF;
	}
	return taken;
}

/* More signatures than rows, in turn: each forgets what the others were counted for. */
static void test_together(void **state)
{
	(void)state;
	assert_int_equal(taken_in_turn(BRAKE_SIGNATURES + 1, 1, 1000), BRAKE_ALL_FILES);
	assert_true(kt_room.fault);
	assert_non_null(strstr(kt_room.detail, "together"));
	kt_run(50);
	restart();
	assert_true(kt_room.fault);
	assert_int_equal(taken_in_turn(BRAKE_SIGNATURES + 1, 2000, 200), 0);
	show();
	assert_int_equal(shown->n_entries, BRAKE_SIGNATURES);
	assert_true(shown->entries[0]->holds);
	assert_true(shown->entries[0]->together);
}

/* The sum is of the window, over deaths, and each file is in it once. */
static void test_together_window(void **state)
{
	(void)state;
	assert_int_equal(taken_in_turn(30, 1, 59), 59);
	assert_int_equal(taken_in_turn(30, 1, 59), 59);
	kt_run(50);
	restart();
	assert_int_equal(convict_of(40, 100), BRAKE_OFF);
	assert_false(kt_room.fault);
	assert_int_not_equal(convict_of(41, 101), BRAKE_OFF);
	assert_int_equal(convict_of(42, 100), BRAKE_OFF); /* of the sixty */
	assert_true(kt_room.fault);
	assert_int_equal(convict("S50", 500, 0), BRAKE_OFF); /* it is young */
	amp_clock_advance(BRAKE_WINDOW_NS + 1);
	assert_int_equal(convict_of(43, 102), BRAKE_OFF);
	assert_int_not_equal(convict_of(41, 103), BRAKE_OFF);
	show();
	assert_int_equal(shown->n_entries, 2);
	release("S41");
	kt_run(50);
	assert_false(kt_room.fault);
	assert_int_equal(convict_of(41, 103), BRAKE_OFF);
}

/* What is released is counted no more, nor what it had added. */
static void test_together_released(void **state)
{
	(void)state;
	convict_old("A", 1, 20, false);
	convict_old("A", 101, 1, true);
	convict_old("B", 201, 20, false);
	convict_old("C", 301, 20, false);
	convict_old("D", 401, 1, true);
	show();
	assert_int_equal(shown->n_entries, 4);
	assert_string_equal(shown->entries[0]->signature, "A");
	assert_false(shown->entries[0]->together);
	assert_string_equal(shown->entries[3]->signature, "D");
	assert_true(shown->entries[3]->together);
	release("A");
	kt_run(50);
	convict_old("A", 101, 50, false);
	assert_true(kt_room.fault);
	convict_old("D", 402, 1, true);
	convict_old("E", 501, 20, false);
	convict_old("F", 601, 1, true);
	kt_run(50);
	restart();
	convict_old("G", 701, 1, true);
}

static void test_hostile(void **state)
{
	static uint8_t data[3000];
	Amp__BrakeSignature g = AMP__BRAKE_SIGNATURE__INIT, *list[] = {&g, &g};
	Amp__BrakeRecord r = AMP__BRAKE_RECORD__INIT;

	(void)state;
	srandom(1);
	for (unsigned i = 0; i < 20000; i++) {
		size_t n = (size_t)random() % 200;

		for (size_t b = 0; b < n; b++)
			data[b] = (uint8_t)(random() % 4 ? random() % 64 : random());
		brake_restore(&s, i % 2 ? "brake" : "held-1", data, n);
	}
	restart();
	r.signatures = list;
	r.n_signatures = 1;
	g.number = 1;
	g.name = "";
	assert_int_equal(brake_restore(&s, "brake", data, amp__brake_record__pack(&r, data)), -1);
	g.name = "\xff";
	assert_int_equal(brake_restore(&s, "brake", data, amp__brake_record__pack(&r, data)), -1);
	g.name = "A";
	g.number = UINT32_MAX;
	assert_int_equal(brake_restore(&s, "brake", data, amp__brake_record__pack(&r, data)), -1);
	g.number = 1;
	g.state = 7;
	assert_int_equal(brake_restore(&s, "brake", data, amp__brake_record__pack(&r, data)), -1);
	g.state = 1;
	assert_int_equal(brake_restore(&s, "held-12", data, amp__brake_record__pack(&r, data)), -1);
	r.n_signatures = 2; /* the number twice */
	assert_int_equal(brake_restore(&s, "brake", data, amp__brake_record__pack(&r, data)), -1);
	convict_old("A", 1, 1, true);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_holds, setup, teardown),
		cmocka_unit_test_setup_teardown(test_young, setup, teardown),
		cmocka_unit_test_setup_teardown(test_changed, setup, teardown),
		cmocka_unit_test_setup_teardown(test_untold, setup, teardown),
		cmocka_unit_test_setup_teardown(test_audited, setup, teardown),
		cmocka_unit_test_setup_teardown(test_window, setup, teardown),
		cmocka_unit_test_setup_teardown(test_deaths, setup, teardown),
		cmocka_unit_test_setup_teardown(test_release, setup, teardown),
		cmocka_unit_test_setup_teardown(test_release_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(test_release_death, setup, teardown),
		cmocka_unit_test_setup_teardown(test_many, setup, teardown),
		cmocka_unit_test_setup_teardown(test_long_paths, setup, teardown),
		cmocka_unit_test_setup_teardown(test_rows, setup, teardown),
		cmocka_unit_test_setup_teardown(test_together, setup, teardown),
		cmocka_unit_test_setup_teardown(test_together_window, setup, teardown),
		cmocka_unit_test_setup_teardown(test_together_released, setup, teardown),
		cmocka_unit_test_setup_teardown(test_hostile, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
