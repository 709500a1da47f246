/*
 * tests/unit/test_convict.c - what follows when a signature convicts: as after a
 * list's word, but for the machine's foundations and for what the brake holds.
 * A whole ampscand, all peers played here; the conviction itself is ours.
 */
#include "quardtest.h"

#define DAY  (86400 * AMP_NS_PER_SEC)
#define UUID "0b1f4e2a-1111-8000-8000-000000000001"

static void convict(struct rig *g, uint64_t n, const struct amp_identity *id, const char *path,
		    const char *signature)
{
	struct amp_fileid file = st_id(FSID, n), dir = st_id(FSID, 1);
	struct conviction why = {.name = signature ? signature : "Listed", .by_engine = signature != NULL};
	struct occurrence *o = occurrence_new(&dir, "name", 4);
	uint8_t sha[AMP_SHA256_SIZE] = {7, (uint8_t)n};

	assert_non_null(o);
	o->cause = EVENT_WRITE;
	o->path = strdup(path);
	g->s->occurrences++;
	act_convict(g->s, o, &file, &why, sha, id, false, NULL, 0);
}

static struct amp_identity old_file(uint64_t n)
{
	int64_t changed = amp_clock_realtime() - 2 * DAY;

	return (struct amp_identity){.ino = n,
				     .size = 4,
				     .mode = S_IFREG | 0755,
				     .mtime_ns = changed,
				     .ctime_ns = changed,
				     .nlink = 1};
}

static void test_acts(void **state)
{
	struct rig *g = rig_start(true);
	struct amp_identity id = old_file(22);

	(void)state;
	id.ctime_ns = amp_clock_realtime();
	convict(g, 22, &id, "/m/evil", "Test.Signature");
	rig_until(g, &g->takes, 1);
	assert_string_equal(g->kill_signature, "Test.Signature");
	assert_string_equal(g->take_detection, "Test.Signature");
	assert_string_equal(g->type[0], "threat_detected");
	convict(g, 23, &id, "/m/evil", NULL);
	rig_until(g, &g->takes, 2);
	assert_string_equal(g->kill_signature, "");
	assert_string_equal(g->take_detection, "Listed");
	rig_ack(g, g->take_id, 2);
	assert_int_equal(acts_count(g->s), 0);
	assert_int_equal(g->keeps, 0);
	rig_free(g);
}

/* A name of any length and content, as ampmon takes it. */
static void test_names(void **state)
{
	struct rig *g = rig_start(true);
	struct amp_identity id = old_file(22);
	char name[AMP_SIGNATURE_MAX + 1];

	(void)state;
	memset(name, '\n', sizeof(name) - 1);
	name[sizeof(name) - 1] = '\0';
	convict(g, 22, &id, "/m/evil", name);
	convict(g, 23, &id, "/m/evil", "");
	rig_until(g, &g->kills, 2);
	rig_until(g, &g->takes, 2);
	assert_int_not_equal(strlen(g->kill_signature), 0);
	assert_true(strlen(g->kill_signature) <= AMP_SIGNATURE_MAX);
	rig_ack(g, g->take_id, 2);
	rig_free(g);
}

/* Where ampquard has a file while it takes it away: it says whether it does, and tells of what it does not.
 */
static void test_keepers(void **state)
{
	struct rig *g = rig_start(true);
	struct amp_identity id = old_file(22);

	(void)state;
	convict(g, 22, &id, "/m/.amp-quarantine-1/evil", NULL);
	rig_until(g, &g->takes, 1);
	rig_run(g, 20);
	assert_int_equal(g->kills, 1);
	assert_int_equal(g->events, 0);
	rig_ack(g, g->take_id, 1);
	rig_run(g, 20);
	assert_int_equal(g->events, 0);
	assert_int_equal(acts_count(g->s), 0);
	convict(g, 23, &id, "/m/.amp-quarantine-1/below/evil", NULL);
	rig_until(g, &g->events, 1);
	assert_string_equal(g->type[0], "threat_detected");
	rig_free(g);
}

/* Under Audit nobody takes it, so nobody else tells. */
static void test_keepers_audit(void **state)
{
	struct rig *g = rig_start(false);
	struct amp_identity id = old_file(22);

	(void)state;
	convict(g, 22, &id, "/m/.amp-quarantine-1/evil", NULL);
	rig_until(g, &g->events, 1);
	rig_free(g);
}

static void test_foundation(void **state)
{
	struct rig *g = rig_start(true);
	struct amp_identity id;

	(void)state;
	assert_int_equal(amp_statx_identity(AT_FDCWD, "/bin/sh", 0, &id), 0);
	convict(g, 22, &id, "/m/a/link/of/it", "Wrong.Signature");
	rig_until(g, &g->events, 1);
	rig_run(g, 20);
	assert_string_equal(g->type[0], "foundation_convicted");
	assert_int_equal(g->kills, 0);
	assert_int_equal(g->takes, 0);
	assert_int_equal(g->room.fault, AMP_FAULT_FOUNDATION);
	assert_int_equal(acts_count(g->s), 0);
	/* Changed since: it is that inode all the same. */
	id.ctime_ns -= 5;
	convict(g, 22, &id, "/m/a/link/of/it", "Wrong.Signature");
	rig_until(g, &g->events, 2);
	assert_int_equal(g->kills, 0);
	/* The administrator's own list says so. */
	convict(g, 22, &id, "/m/a/link/of/it", NULL);
	rig_until(g, &g->takes, 1);
	assert_string_equal(g->type[2], "threat_detected");
	rig_free(g);
}

/* It runs all the time: its record is one. */
static void test_foundation_once(void **state)
{
	struct rig *g = rig_start(true);
	struct amp_fileid file = st_id(FSID, 22);
	uint8_t sha[AMP_SHA256_SIZE] = {7, 22};
	struct amp_identity id;

	(void)state;
	assert_int_equal(amp_statx_identity(AT_FDCWD, "/bin/sh", 0, &id), 0);
	verdicts_store(&g->s->verdicts, &file, &id, sha, false, false, 1);
	contents_store(&g->s->contents, sha, CONTENT_INFECTED, 1, 0, "Wrong.Signature");
	assert_non_null(contents_find(&g->s->contents, sha, 2));
	for (unsigned i = 0; i < 100; i++)
		convict(g, 22, &id, "/m/x", "Wrong.Signature");
	rig_run(g, 50);
	assert_int_equal(g->events, 1);
	assert_int_equal(g->room.faults, 1);
	assert_int_equal(acts_count(g->s), 0);
	/* Other signatures are asked again: nobody needs to start anew for that. */
	assert_non_null(contents_find(&g->s->contents, sha, 1));
	assert_null(contents_find(&g->s->contents, sha, 2));
	/* Another name of it is the same record for who keeps them. */
	verdicts_remove(&g->s->verdicts, &file);
	convict(g, 22, &id, "/m/y", "Wrong.Signature");
	rig_until(g, &g->events, 2);
	assert_string_equal(g->uid[0], g->uid[1]);
	rig_free(g);
}

/* Only ampmon can see that PID 1 runs it. */
static void test_foundation_running(void **state)
{
	struct rig *g = rig_start(true);
	struct amp_identity id = old_file(22);
	Amp__Killed k = AMP__KILLED__INIT;

	(void)state;
	g->answer_kills = false;
	convict(g, 22, &id, "/m/odd", "Wrong.Signature");
	rig_until(g, &g->kills, 1);
	k.detection_id = g->kill_detection;
	k.refused = "PID 1 runs it";
	k.foundation = true;
	assert_int_equal(amp_channel_send(g->mon, AMP_MSG_KILLED, g->kill_id[0], &k.base, NULL, 0), 0);
	rig_until(g, &g->events, 2);
	rig_run(g, 20);
	assert_string_equal(g->type[1], "foundation_convicted");
	assert_int_equal(g->room.fault, AMP_FAULT_FOUNDATION);
	assert_int_equal(g->takes, 0);
	assert_int_equal(acts_count(g->s), 0);
	rig_free(g);
}

/* The pid is another's by now, says ampmon: it is asked no more. */
static void test_stranger(void **state)
{
	struct rig *g = rig_start(true);
	struct amp_identity id = old_file(22);
	struct amp_fileid file = st_id(FSID, 22);
	struct conviction why = {.name = "Listed"};
	struct occurrence *o = occurrence_new(NULL, NULL, 0);
	uint8_t sha[AMP_SHA256_SIZE] = {7, 22};
	Amp__Killed k = AMP__KILLED__INIT;

	(void)state;
	assert_non_null(o);
	g->answer_kills = false;
	o->cause = EVENT_EXEC;
	o->path = strdup("/m/script");
	o->who = who_make(true, getpid(), 0, NULL, 0);
	o->who->seen_ns = 4711;
	g->s->occurrences++;
	act_convict(g->s, o, &file, &why, sha, &id, false, NULL, 0);
	rig_until(g, &g->kills, 1);
	assert_int_equal(g->kill_seen, 4711);
	k.detection_id = g->kill_detection;
	rig_killed(g, g->kill_id[0], g->kill_detection, 0, false);
	rig_until(g, &g->kills, 2); /* it lives, and may not have been that far */
	k.stranger = true;
	assert_int_equal(amp_channel_send(g->mon, AMP_MSG_KILLED, g->kill_id[1], &k.base, NULL, 0), 0);
	rig_until(g, &g->takes, 1);
	rig_run(g, 50);
	assert_int_equal(g->kills, 2);
	rig_ack(g, g->take_id, 1);
	assert_int_equal(acts_count(g->s), 0);
	rig_free(g);
}

static void test_audit(void **state)
{
	struct rig *g = rig_start(false);
	struct amp_identity id;

	(void)state;
	for (uint64_t n = 100; n < 130; n++) {
		id = old_file(n);
		convict(g, n, &id, "/m/x", "Test.Signature");
	}
	rig_until(g, &g->events, 30);
	assert_string_equal(g->type[29], "threat_detected");
	assert_int_equal(g->kills, 0);
	assert_int_equal(g->keeps, 0); /* nothing was done: nothing is counted */
	assert_int_equal(amp_statx_identity(AT_FDCWD, "/bin/sh", 0, &id), 0);
	convict(g, 22, &id, "/m/y", "Test.Signature");
	rig_until(g, &g->events, 31);
	assert_string_equal(g->type[30], "foundation_convicted");
	rig_run(g, 10);
	assert_int_equal(acts_count(g->s), 0);
	rig_free(g);
}

static void test_brake(void **state)
{
	struct rig *g = rig_start(true);
	struct amp_identity id;

	(void)state;
	for (uint64_t n = 100; n < 120; n++) {
		id = old_file(n);
		convict(g, n, &id, "/m/x", "Test.Signature");
	}
	rig_until(g, &g->takes, 20);
	rig_ack(g, g->take_id, 20);
	assert_int_equal(acts_count(g->s), 0);
	g->silent_keeps = true;
	id = old_file(200);
	convict(g, 200, &id, "/m/x", "Test.Signature");
	rig_until(g, &g->events, 21);
	rig_run(g, 20);
	assert_string_equal(g->type[20], "threat_held");
	assert_int_equal(g->kills, 20);
	assert_int_equal(g->takes, 20);
	assert_int_equal(g->room.fault, AMP_FAULT_BRAKE);
	/* Its event is in hand until what is remembered is on disk. */
	assert_int_equal(acts_count(g->s), 1);
	assert_int_equal(g->s->occurrences, 1);
	assert_string_equal(g->keep_name, "held-0");
	rig_kept(g, g->keep_id, g->keep_name);
	rig_run(g, 10);
	assert_int_equal(acts_count(g->s), 0);
	assert_int_equal(g->s->occurrences, 0);
	/* Another signature, and a list, are not held. */
	id = old_file(201);
	convict(g, 201, &id, "/m/x", "Test.Other");
	convict(g, 202, &id, "/m/x", NULL);
	rig_until(g, &g->takes, 22);
	rig_ack(g, g->take_id + 20, 2);
	rig_free(g);
}

static void ask_again(struct rig *g, uint8_t first)
{
	Amp__KillAgain k = AMP__KILL_AGAIN__INIT;
	Amp__Identity id = AMP__IDENTITY__INIT;
	Amp__Handle handle = AMP__HANDLE__INIT;
	struct amp_fileid file = st_id(FSID, 22);
	uint8_t sha[AMP_SHA256_SIZE] = {first};

	amp_handle_to_wire(&file.handle, &handle);
	k.detection_id = UUID;
	k.detection = "Test.Name";
	k.sha256.data = sha;
	k.sha256.len = sizeof(sha);
	k.fsid = FSID;
	k.handle = &handle;
	k.identity = &id;
	rig_ask(g, AMP_MSG_KILL_AGAIN, 5, &k.base);
}

/* What ampquard asks for is a signature's word only where the engine's is remembered here; else it is
 * the list's, which ampmon has. */
static void test_kill_again(void **state)
{
	struct rig *g = rig_start(true);
	uint8_t sha[AMP_SHA256_SIZE] = {EVIL + 1};

	(void)state;
	ask_again(g, EVIL);
	rig_until(g, &g->killed_again, 1);
	assert_string_equal(g->kill_signature, "");
	ask_again(g, EVIL + 1);
	rig_until(g, &g->killed_again, 2);
	assert_string_equal(g->kill_signature, "");
	contents_store(&g->s->contents, sha, CONTENT_CLEAN, 1, 1, NULL);
	ask_again(g, EVIL + 1);
	rig_until(g, &g->killed_again, 3);
	assert_string_equal(g->kill_signature, "");
	contents_store(&g->s->contents, sha, CONTENT_INFECTED, 1, 1, "Test.Name");
	ask_again(g, EVIL + 1);
	rig_until(g, &g->killed_again, 4);
	assert_string_equal(g->kill_signature, "Test.Name");
	rig_free(g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_acts),
		cmocka_unit_test(test_names),
		cmocka_unit_test(test_keepers),
		cmocka_unit_test(test_keepers_audit),
		cmocka_unit_test(test_foundation),
		cmocka_unit_test(test_foundation_running),
		cmocka_unit_test(test_foundation_once),
		cmocka_unit_test(test_stranger),
		cmocka_unit_test(test_audit),
		cmocka_unit_test(test_brake),
		cmocka_unit_test(test_kill_again),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
