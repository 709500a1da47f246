/*
 * tests/unit/test_quard.c - ampscand's side of the quarantine: what is to be
 * taken reaches ampquard once it must, what ampquard asks is answered, and what
 * was restored is left alone. A whole ampscand, all peers played here.
 */
#include "quardtest.h"

#define UUID "0b1f4e2a-1111-8000-8000-000000000001"

/* --- what is taken --------------------------------------------------------------- */

static void test_take(void **state)
{
	struct rig *g = rig_start(true);

	(void)state;
	g->answer_kills = false;
	rig_write(g, 22, "evil");
	rig_until(g, &g->kills, 1);
	rig_until(g, &g->events, 1); /* the record does not wait */
	assert_string_equal(g->type[0], "threat_detected");
	rig_killed(g, g->kill_id[0], g->kill_detection, 77, true);
	rig_run(g, 20);
	assert_int_equal(g->takes, 0); /* the pass is not over */
	rig_killed(g, g->kill_id[0], g->kill_detection, 0, false);
	rig_until(g, &g->takes, 1);
	assert_int_equal(g->take_id[0], g->kill_id[0]);
	assert_string_equal(g->take_detection_id, g->kill_detection);
	assert_string_equal(g->take_detection, "Test.Evil");
	assert_string_equal(g->take_path, "/m/dir/evil");
	assert_false(g->take_unresolved);
	assert_string_equal(g->take_name, "evil");
	assert_string_equal(g->take_cause, "write");
	assert_int_equal(g->take_handle, 22);
	assert_true(g->take_directory);
	assert_int_equal(g->take_fds, 0);
	rig_until(g, &g->events, 2);
	rig_run(g, 20);
	assert_int_equal(g->s->occurrences, 1); /* its event is kept until that is committed */
	assert_int_equal(acts_count(g->s), 1);
	rig_ack(g, g->take_id, 1);
	assert_int_equal(g->s->occurrences, 0);
	assert_int_equal(acts_count(g->s), 0);
	rig_free(g);
}

/* Acknowledged first, recorded last. */
static void test_record_last(void **state)
{
	struct rig *g = rig_start(true);

	(void)state;
	g->keep_events = true;
	rig_write(g, 22, "evil");
	rig_until(g, &g->takes, 1);
	rig_ack(g, g->take_id, 1);
	assert_int_equal(acts_count(g->s), 1);
	rig_free(g);
}

static void test_audit(void **state)
{
	struct rig *g = rig_start(false);

	(void)state;
	rig_write(g, 22, "evil");
	rig_until(g, &g->events, 1);
	rig_run(g, 20);
	assert_int_equal(g->takes, 0);
	assert_int_equal(g->kills, 0);
	assert_int_equal(g->s->occurrences, 0);
	rig_free(g);
}

/* Found under Audit: a change to Protect kills it and leaves it where it is. */
static void test_audited(void **state)
{
	struct rig *g = rig_start(false);

	(void)state;
	rig_write(g, 22, "evil");
	rig_until(g, &g->events, 1);
	rig_policy(g, true, EVIL);
	rig_until(g, &g->kills, 1);
	rig_run(g, 20);
	assert_int_equal(g->takes, 0);
	assert_int_equal(g->s->occurrences, 0);
	/* Written anew it is found anew. */
	rig_write(g, 22, "evil");
	rig_until(g, &g->takes, 1);
	rig_free(g);
}

/* A script is read again to be acted upon: that it was found under Audit stays known. */
static void test_audited_script(void **state)
{
	struct rig *g = rig_start(false);

	(void)state;
	g->script = true;
	rig_write(g, 22, "evil");
	rig_until(g, &g->events, 1);
	rig_policy(g, true, EVIL);
	rig_until(g, &g->kills, 1);
	assert_int_equal(g->hashes, 2);
	rig_run(g, 20);
	assert_int_equal(g->takes, 0);
	rig_free(g);
}

/* Of a new blocked hash the file is taken though nothing happened to it: by handle, without a name. */
static void test_running(void **state)
{
	struct rig *g = rig_start(true);

	(void)state;
	rig_policy(g, true, NO_SHA + 1);
	rig_write(g, 22, "evil");
	rig_until(g, &g->hashes, 1);
	rig_run(g, 10);
	rig_policy(g, true, EVIL);
	rig_until(g, &g->takes, 1);
	assert_string_equal(g->take_cause, "running");
	assert_string_equal(g->take_name, "");
	assert_false(g->take_directory);
	assert_int_equal(g->take_handle, 22);
	rig_ack(g, g->take_id, 1);
	/* Once it is in ampquard's hands, the next change does not find it again. */
	rig_policy(g, true, EVIL);
	rig_run(g, 20);
	assert_int_equal(g->takes, 1);
	rig_free(g);
}

static void convict(struct rig *g, uint64_t first, size_t n)
{
	char name[32];

	for (size_t i = 0; i < n; i++) {
		snprintf(name, sizeof(name), "evil-%zu", i);
		rig_write(g, first + i, name);
	}
}

static void test_window(void **state)
{
	struct rig *g = rig_start(true);

	(void)state;
	convict(g, 100, 300);
	rig_until(g, &g->kills, 300);
	rig_until(g, &g->takes, 256);
	rig_run(g, 50);
	assert_int_equal(g->takes, 256);
	rig_ack(g, g->take_id, 1);
	rig_until(g, &g->takes, 257);
	rig_ack(g, g->take_id + 1, 255);
	rig_until(g, &g->takes, 300);
	rig_ack(g, g->take_id + 256, 44);
	assert_int_equal(g->s->occurrences, 0);
	rig_free(g);
}

static void test_new_link(void **state)
{
	struct rig *g = rig_start(true);

	(void)state;
	convict(g, 100, 3);
	rig_until(g, &g->takes, 3);
	rig_ack(g, g->take_id + 1, 1);
	rig_link_quard(g);
	/* Suspects go one at a time, in order. */
	rig_until(g, &g->takes, 4);
	rig_run(g, 20);
	assert_int_equal(g->takes, 4);
	assert_int_equal(g->take_id[3], g->take_id[0]);
	rig_ack(g, g->take_id, 1);
	rig_until(g, &g->takes, 5);
	assert_int_equal(g->take_id[4], g->take_id[2]);
	rig_ack(g, g->take_id + 2, 1);
	assert_int_equal(g->s->occurrences, 0);
	rig_free(g);
}

static void test_no_link(void **state)
{
	struct rig *g = rig_start(true);

	(void)state;
	rig_quard_dies(g);
	convict(g, 100, 2);
	rig_until(g, &g->kills, 2);
	rig_run(g, 20);
	assert_int_equal(g->s->occurrences, 2);
	rig_link_quard(g);
	rig_until(g, &g->takes, 2);
	assert_int_equal(rig_counter("act.take_set_aside"), 0);
	rig_free(g);
}

/* One that kills ampquard each time does not stop the others. */
static void test_poison(void **state)
{
	struct rig *g = rig_start(true);
	uint64_t aside = rig_counter("act.take_set_aside");

	(void)state;
	convict(g, 100, 2);
	rig_until(g, &g->takes, 2);
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(g->room.faults, 0);
		rig_quard_dies(g);
		rig_link_quard(g);
		rig_run(g, 20);
	}
	assert_int_equal(rig_counter("act.take_set_aside"), aside + 1);
	assert_int_equal(g->room.faults, 1);
	assert_int_equal(g->room.fault, AMP_FAULT_QUARANTINE_FAILED);
	assert_int_equal(g->s->occurrences, 1);
	rig_until(g, &g->takes, 5); /* two, the poison twice more, and then the other */
	assert_int_equal(g->take_id[4], g->take_id[1]);
	rig_ack(g, g->take_id + 1, 1);
	assert_int_equal(g->s->occurrences, 0);
	rig_free(g);
}

/* Of a file that has no handle the descriptor goes along; few at a time. */
static void test_descriptors(void **state)
{
	struct rig *g = rig_start(true);
	struct file_event ev = rig_event(EVENT_WRITE, 0, "");
	unsigned before = rig_descriptors();

	(void)state;
	ev.fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	ev.directory.handle.size = 0;
	ev.name_size = 0;
	for (uint64_t i = 0; i < 20; i++) {
		ev.file = st_id(FSID, 500 + i);
		ev.file.handle.type = -1; /* a stand-in */
		assert_true(amp_handle_is_stand_in(&ev.file.handle));
		rig_deliver(g, &ev);
	}
	close(ev.fd);
	rig_until(g, &g->takes, 16);
	rig_run(g, 30);
	assert_int_equal(g->takes, 16);
	assert_int_equal(g->take_fds, 16);
	assert_string_equal(g->take_path, "/dev/null");
	rig_ack(g, g->take_id, 16);
	rig_until(g, &g->takes, 20);
	rig_ack(g, g->take_id + 16, 4);
	assert_int_equal(g->take_fds, 20);
	assert_int_equal(g->s->occurrences, 0);
	assert_int_equal(rig_descriptors(), before);
	/* With a handle it is not needed. */
	ev = rig_event(EVENT_WRITE, 700, "");
	ev.fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	rig_deliver(g, &ev);
	close(ev.fd);
	rig_until(g, &g->takes, 21);
	assert_int_equal(g->take_fds, 20);
	rig_free(g);
}

static void test_unasked_ack(void **state)
{
	struct rig *g = rig_start(true);
	uint64_t ids[300] = {12345}, unasked = rig_counter("act.take_unasked_ack");

	(void)state;
	rig_ack(g, ids, 1);
	assert_int_equal(rig_counter("act.take_unasked_ack"), unasked + 1);
	assert_int_equal(g->room.hostile, 0);
	rig_ack(g, ids, 300); /* more than were ever on the wire */
	assert_int_equal(g->room.hostile, 1);
	assert_int_equal(g->room.hostile_role, AMP_ROLE_QUARD);
	rig_free(g);
}

/* --- what is opened ---------------------------------------------------------------- */

static void ask_open(struct rig *g, uint64_t id, uint64_t fsid, uint64_t file, uint64_t dir)
{
	struct amp_fileid f = st_id(fsid, file), d = st_id(fsid, dir);
	Amp__Handle fw = AMP__HANDLE__INIT, dw = AMP__HANDLE__INIT;
	Amp__Open o = AMP__OPEN__INIT;

	amp_handle_to_wire(&f.handle, &fw);
	amp_handle_to_wire(&d.handle, &dw);
	o.fsid = fsid;
	o.file = file ? &fw : NULL;
	o.directory = dir ? &dw : NULL;
	rig_ask(g, AMP_MSG_OPEN, id, &o.base);
}

static bool is_directory(int fd)
{
	struct stat st;

	assert_int_equal(fstat(fd, &st), 0);
	close(fd);
	return S_ISDIR(st.st_mode);
}

static void test_open(void **state)
{
	struct rig *g = rig_start(true);
	unsigned before = rig_descriptors();

	(void)state;
	ask_open(g, 31, FSID, 22, 1);
	rig_until(g, &g->opened, 1);
	assert_int_equal(g->opened_id, 31);
	assert_int_equal(g->opened_file, AMP__OPENED__STATUS__OK);
	assert_int_equal(g->opened_directory, AMP__OPENED__STATUS__OK);
	assert_string_equal(g->opened_path, "/m/dir");
	assert_int_equal(g->opened_fd_count, 2);
	assert_false(is_directory(g->opened_fds[0]));
	assert_true(is_directory(g->opened_fds[1]));
	ask_open(g, 32, FSID, 0, 1);
	rig_until(g, &g->opened, 2);
	assert_int_equal(g->opened_file, AMP__OPENED__STATUS__NONE);
	assert_int_equal(g->opened_fd_count, 1);
	assert_true(is_directory(g->opened_fds[0]));
	assert_int_equal(rig_descriptors(), before);
	rig_free(g);
}

static void test_open_fails(void **state)
{
	static const struct {
		Amp__ReadResult__Status answer;
		Amp__Opened__Status means;
	} all[] = {
		{AMP__READ_RESULT__STATUS__GONE, AMP__OPENED__STATUS__GONE},
		{AMP__READ_RESULT__STATUS__BUSY, AMP__OPENED__STATUS__BUSY},
		{AMP__READ_RESULT__STATUS__NO_MOUNT, AMP__OPENED__STATUS__FAILED},
		{AMP__READ_RESULT__STATUS__UNREADABLE, AMP__OPENED__STATUS__FAILED},
	};
	struct rig *g = rig_start(true);
	size_t n = 0;

	(void)state;
	for (; n < sizeof(all) / sizeof(all[0]); n++) {
		g->open_status = all[n].answer;
		ask_open(g, 40 + n, FSID, 22, 0);
		rig_until(g, &g->opened, n + 1);
		assert_int_equal(g->opened_file, all[n].means);
		assert_int_equal(g->opened_fd_count, 0);
	}
	ask_open(g, 50, FSID + 1, 22, 1);
	rig_until(g, &g->opened, n + 1);
	assert_int_equal(g->opened_file, AMP__OPENED__STATUS__FAILED);
	assert_int_equal(g->opened_directory, AMP__OPENED__STATUS__FAILED);
	assert_int_equal(g->opened_error, ENODEV);
	assert_int_equal(g->opens, n); /* no reader was asked */
	rig_free(g);
}

static void test_open_stand_in(void **state)
{
	struct rig *g = rig_start(true);
	struct amp_fileid id = st_id(FSID, 22);
	Amp__Handle wire = AMP__HANDLE__INIT;
	Amp__Open o = AMP__OPEN__INIT;

	(void)state;
	id.handle.type = -1;
	amp_handle_to_wire(&id.handle, &wire);
	o.fsid = FSID;
	o.file = &wire;
	rig_ask(g, AMP_MSG_OPEN, 3, &o.base);
	rig_until(g, &g->opened, 1);
	assert_int_equal(g->opened_file, AMP__OPENED__STATUS__GONE);
	assert_int_equal(g->opens, 0);
	rig_free(g);
}

static void test_open_deaths(void **state)
{
	struct rig *g = rig_start(true);

	(void)state;
	g->silent_opens = true;
	ask_open(g, 31, FSID, 22, 0);
	rig_until(g, &g->opens, 1);
	rig_reader_dies(g);
	rig_until(g, &g->opens, 2);
	rig_reader_dies(g);
	rig_until(g, &g->opens, 3);
	assert_int_equal(g->opened, 0);
	rig_reader_dies(g);
	rig_until(g, &g->opened, 1);
	assert_int_equal(g->opened_file, AMP__OPENED__STATUS__FAILED);
	g->silent_opens = false;
	ask_open(g, 32, FSID, 22, 0);
	rig_until(g, &g->opened, 2);
	assert_int_equal(g->opened_file, AMP__OPENED__STATUS__OK);
	close(g->opened_fds[0]);
	rig_free(g);
}

/* A reader that has opened it and passes nothing, or passes what was not to be opened. */
static void test_open_hostile(void **state)
{
	struct rig *g = rig_start(true);

	(void)state;
	g->without_fd = true;
	ask_open(g, 31, FSID, 22, 0);
	rig_run(g, 50);
	assert_int_equal(g->room.hostile, 1);
	assert_int_equal(g->room.hostile_role, AMP_ROLE_READ);
	assert_int_equal(g->opened, 0);
	g->without_fd = false;
	rig_link_reader(g); /* its successor is asked */
	rig_until(g, &g->opened, 1);
	assert_int_equal(g->opened_file, AMP__OPENED__STATUS__OK);
	close(g->opened_fds[0]);
	g->surplus_fd = true;
	rig_write(g, 50, "name");
	rig_run(g, 50);
	assert_int_equal(g->room.hostile, 2);
	rig_free(g);
}

/* Eight in hand, 64 that wait; who asks for more does not keep to what was agreed. */
static void test_open_many(void **state)
{
	struct rig *g = rig_start(true);

	(void)state;
	g->silent_opens = true;
	for (uint64_t i = 0; i < 8; i++)
		ask_open(g, i, FSID, 22, 0);
	rig_until(g, &g->opens, 8);
	for (uint64_t i = 8; i < 72; i++)
		ask_open(g, i, FSID, 22, 0);
	rig_run(g, 50);
	assert_int_equal(g->opens, 8);
	assert_int_equal(g->room.hostile, 0);
	/* Readers that do not answer are not ampquard's fault. */
	ask_open(g, 72, FSID, 22, 0);
	rig_until(g, &g->opened, 1);
	assert_int_equal(g->room.hostile, 0);
	rig_free(g);
}

static void test_open_in_turn(void **state)
{
	struct rig *g = rig_start(true);
	unsigned before = rig_descriptors();

	(void)state;
	for (uint64_t i = 0; i < 60; i++) {
		ask_open(g, i, FSID, 22, 0);
		if (i % 20 != 19)
			continue;
		rig_until(g, &g->opened, i + 1);
	}
	assert_int_equal(g->opens, 60);
	/* The test has closed none of what it was given. */
	assert_int_equal(rig_descriptors(), before + 60);
	for (int fd = 3; fd < 1024; fd++) {
		struct stat st;

		if (fstat(fd, &st) == 0 && S_ISCHR(st.st_mode) && st.st_rdev == 0x103)
			close(fd);
	}
	rig_free(g);
}

/* ampquard is gone: what is opened for it after that is closed. */
static void test_open_dropped(void **state)
{
	struct rig *g = rig_start(true);
	struct amp_channel *reader = g->reader;
	unsigned before;

	(void)state;
	amp_channel_pause_read(reader, true); /* what it is asked waits */
	before = rig_descriptors();
	ask_open(g, 31, FSID, 22, 1);
	rig_run(g, 20);
	rig_quard_dies(g);
	amp_channel_pause_read(reader, false);
	rig_until(g, &g->opens, 2);
	rig_run(g, 20);
	rig_link_quard(g);
	rig_run(g, 20);
	assert_int_equal(g->opened, 0);
	assert_int_equal(rig_descriptors(), before);
	assert_int_equal(g->room.hostile, 0);
	rig_free(g);
}

/* --- kills and judgements for it ----------------------------------------------------- */

static void ask_kill(struct rig *g, uint64_t id, const char *detection_id)
{
	struct amp_fileid f = st_id(FSID, 22);
	Amp__Handle handle = AMP__HANDLE__INIT;
	Amp__Identity identity = AMP__IDENTITY__INIT;
	Amp__KillAgain k = AMP__KILL_AGAIN__INIT;
	uint8_t sha[AMP_SHA256_SIZE] = {EVIL};

	amp_handle_to_wire(&f.handle, &handle);
	identity.ctime_ns = 987;
	k.detection_id = (char *)(uintptr_t)detection_id;
	k.fsid = FSID;
	k.handle = &handle;
	k.sha256.data = sha;
	k.sha256.len = sizeof(sha);
	k.identity = &identity;
	k.detection = "Test.Evil";
	k.path.data = (uint8_t *)(uintptr_t) "/m/dir/evil";
	k.path.len = 11;
	rig_ask(g, AMP_MSG_KILL_AGAIN, id, &k.base);
}

static void test_kill_again(void **state)
{
	struct rig *g = rig_start(true);

	(void)state;
	g->answer_kills = false;
	rig_write(g, 22, "evil");
	rig_until(g, &g->kills, 1);
	rig_killed(g, g->kill_id[0], g->kill_detection, 77, false);
	rig_until(g, &g->takes, 1);
	rig_until(g, &g->events, 2);
	ask_kill(g, 91, UUID);
	rig_until(g, &g->kills, 2);
	assert_string_equal(g->kill_detection, UUID);
	assert_int_equal(g->kill_ctime, 987);
	rig_killed(g, g->kill_id[1], UUID, 77, true);
	rig_run(g, 20);
	assert_int_equal(g->killed_again, 0);
	rig_killed(g, g->kill_id[1], UUID, 78, false);
	rig_until(g, &g->killed_again, 1);
	assert_int_equal(g->killed_again_id, 91);
	rig_until(g, &g->events, 4);
	/* One process is killed once, whoever asked; nothing is detected or taken for that. */
	assert_string_equal(g->type[2], "process_killed");
	assert_string_equal(g->uid[2], g->uid[1]);
	assert_string_equal(g->type[3], "process_killed");
	assert_string_not_equal(g->uid[3], g->uid[1]);
	rig_run(g, 20);
	assert_int_equal(g->takes, 1);
	assert_int_equal(acts_count(g->s), 1); /* the first, which waits for ampquard */
	assert_int_equal(g->s->occurrences, 1);
	rig_free(g);
}

static void test_kill_again_audit(void **state)
{
	struct rig *g = rig_start(false);

	(void)state;
	ask_kill(g, 91, UUID);
	rig_until(g, &g->killed_again, 1);
	assert_int_equal(g->kills, 0);
	assert_int_equal(g->s->occurrences, 0);
	rig_free(g);
}

/* An answer for one that is gone is not given to its successor. */
static void test_kill_again_late(void **state)
{
	struct rig *g = rig_start(true);

	(void)state;
	g->answer_kills = false;
	ask_kill(g, 91, UUID);
	rig_until(g, &g->kills, 1);
	rig_quard_dies(g);
	rig_link_quard(g);
	rig_killed(g, g->kill_id[0], UUID, 0, false);
	rig_run(g, 20);
	assert_int_equal(g->killed_again, 0);
	assert_int_equal(g->s->occurrences, 0);
	rig_free(g);
}

static void test_kill_again_hostile(void **state)
{
	struct rig *g = rig_start(true);

	(void)state;
	ask_kill(g, 91, "no id");
	rig_run(g, 20);
	assert_int_equal(g->kills, 0); /* ampmon would take us for hostile */
	assert_int_equal(g->room.hostile, 1);
	rig_free(g);
}

static void test_judge_again(void **state)
{
	struct rig *g = rig_start(true);
	struct amp_fileid f = st_id(FSID, 22);
	Amp__Handle handle = AMP__HANDLE__INIT;
	Amp__JudgeAgain j = AMP__JUDGE_AGAIN__INIT;

	(void)state;
	g->content = EVIL + 1;
	rig_write(g, 22, "later");
	rig_until(g, &g->hashes, 1);
	rig_run(g, 10);
	g->content = EVIL; /* without an event */
	amp_handle_to_wire(&f.handle, &handle);
	j.fsid = FSID;
	j.handle = &handle;
	j.path.data = (uint8_t *)(uintptr_t) "/m/elsewhere/later";
	j.path.len = 18;
	rig_ask(g, AMP_MSG_JUDGE_AGAIN, 0, &j.base);
	rig_until(g, &g->takes, 1);
	assert_int_equal(g->hashes, 2);
	assert_string_equal(g->take_path, "/m/elsewhere/later");
	assert_string_equal(g->take_cause, "repair");
	j.handle = NULL;
	rig_ask(g, AMP_MSG_JUDGE_AGAIN, 0, &j.base);
	rig_run(g, 20);
	assert_int_equal(g->room.hostile, 1);
	rig_free(g);
}

/* --- restored content ------------------------------------------------------------------ */

static void test_allow(void **state)
{
	struct rig *g = rig_start(true);
	uint64_t restored = rig_counter("judged.restored");

	(void)state;
	rig_allow(g, 8, EVIL, false, false, false);
	rig_until(g, &g->allow_acks, 1);
	assert_int_equal(g->allow_ack_id, 8);
	rig_write(g, 22, "back");
	rig_until(g, &g->hashes, 1);
	rig_run(g, 20);
	assert_int_equal(rig_counter("judged.restored"), restored + 1);
	assert_int_equal(g->s->occurrences, 0);
	rig_policy(g, true, EVIL); /* outlives policies, and no change of them finds it */
	rig_write(g, 23, "back");
	rig_until(g, &g->hashes, 2);
	rig_run(g, 20);
	assert_int_equal(g->kills, 0);
	assert_int_equal(g->takes, 0);
	/* Revoked: what is in the cache may run. */
	rig_allow(g, 9, EVIL, false, false, true);
	rig_until(g, &g->kills, 2);
	rig_until(g, &g->takes, 2);
	rig_write(g, 24, "again");
	rig_until(g, &g->takes, 3);
	assert_int_equal(g->allow_acks, 2);
	rig_free(g);
}

/* A list that comes anew replaces the old one when it is whole, and not before. */
static void test_allow_anew(void **state)
{
	struct rig *g = rig_start(true);
	uint8_t one[AMP_SHA256_SIZE] = {1}, two[AMP_SHA256_SIZE] = {2}, three[AMP_SHA256_SIZE] = {3};

	(void)state;
	rig_allow(g, 1, 1, false, false, false);
	rig_link_quard(g);
	rig_allow(g, 2, 2, true, false, false);
	assert_true(restored_has(g->s->restored, one));
	assert_true(restored_has(g->s->restored, two));
	rig_allow(g, 3, 3, false, true, false);
	assert_false(restored_has(g->s->restored, one));
	assert_true(restored_has(g->s->restored, two));
	assert_true(restored_has(g->s->restored, three));
	assert_int_equal(restored_count(g->s->restored), 2);
	rig_free(g);
}

static void test_allow_hostile(void **state)
{
	struct rig *g = rig_start(true);
	Amp__Allow a = AMP__ALLOW__INIT;
	uint8_t sha[AMP_SHA256_SIZE - 1] = {1};
	ProtobufCBinaryData one = {.data = sha, .len = sizeof(sha)};

	(void)state;
	a.sha256 = &one;
	a.n_sha256 = 1;
	rig_ask(g, AMP_MSG_ALLOW, 1, &a.base);
	rig_run(g, 20);
	assert_int_equal(g->room.hostile, 1);
	assert_int_equal(g->room.hostile_role, AMP_ROLE_QUARD);
	assert_int_equal(restored_count(g->s->restored), 0);
	rig_free(g);
}

/* Work begins when it is known what was restored. */
static void test_start_waits(void **state)
{
	struct rig *g = rig_new();

	(void)state;
	rig_policy(g, true, EVIL);
	rig_ops->start(&g->room);
	rig_write(g, 22, "back");
	rig_run(g, 50);
	assert_false(g->s->started);
	assert_int_equal(g->hashes, 0);
	rig_allow(g, 1, EVIL, true, false, false);
	assert_false(g->s->started);
	rig_allow(g, 2, NO_SHA, false, true, false);
	assert_true(g->s->started);
	rig_until(g, &g->hashes, 1);
	rig_run(g, 20);
	assert_int_equal(g->kills, 0);
	/* It was there once: nothing waits for a successor's. */
	rig_quard_dies(g);
	rig_write(g, 23, "other");
	rig_until(g, &g->hashes, 2);
	rig_free(g);
}

static int ring_if_long(const struct event_base *base, const struct event *ev, void *arg)
{
	struct timeval now, when;
	unsigned *rung = arg;

	if (!event_pending(ev, EV_TIMEOUT, &when))
		return 0;
	event_base_gettimeofday_cached((struct event_base *)(uintptr_t)base, &now);
	if (when.tv_sec - now.tv_sec < 11 || when.tv_sec - now.tv_sec > 16) /* another is of 10 s */
		return 0;
	event_active((struct event *)(uintptr_t)ev, EV_TIMEOUT, 1);
	(*rung)++;
	return 0;
}

/* Nor is it waited for without end. */
static void test_start_without(void **state)
{
	struct rig *g = rig_new();
	unsigned rung = 0;

	(void)state;
	rig_policy(g, true, EVIL);
	rig_ops->start(&g->room);
	rig_write(g, 22, "evil");
	rig_run(g, 20);
	assert_false(g->s->started);
	event_base_foreach_event(g->room.base, ring_if_long, &rung); /* 15 s are over */
	assert_int_equal(rung, 1);
	rig_run(g, 5);
	assert_true(g->s->started);
	rig_until(g, &g->takes, 1);
	rig_free(g);
}

/* --- its own renames --------------------------------------------------------------------- */

static size_t judged_after(struct rig *g, unsigned bits, pid_t pid, int pidfd)
{
	static uint64_t file = 9000;
	struct file_event ev = rig_event(bits, ++file, "name");
	size_t before = g->hashes;

	ev.pid = pid;
	ev.pidfd = pidfd;
	rig_deliver(g, &ev);
	rig_run(g, 30);
	return g->hashes - before;
}

static void test_own_renames(void **state)
{
	struct rig *g = rig_start(true);
	uint64_t own = rig_counter("events.own_renames");
	pid_t pid = g->room.peer_pid;
	int alive = open("/dev/null", O_RDONLY | O_CLOEXEC);
	struct file_event moved = rig_event(EVENT_RENAME | EVENT_DIRECTORY, 77, "dir");

	(void)state;
	g->content = EVIL + 1;
	assert_int_equal(judged_after(g, EVENT_RENAME, pid, alive), 0);
	assert_int_equal(judged_after(g, EVENT_RENAME, pid, -1), 0);
	assert_int_equal(rig_counter("events.own_renames"), own + 2);
	assert_int_equal(judged_after(g, EVENT_RENAME, pid + 100, alive), 1);
	assert_int_equal(judged_after(g, EVENT_RENAME | EVENT_WRITE, pid, alive), 1);
	assert_int_equal(judged_after(g, EVENT_WRITE, pid, alive), 1);
	moved.pid = pid;
	rig_deliver(g, &moved);
	assert_int_equal(g->s->walk_count, 0);
	moved.pid = pid + 100;
	rig_deliver(g, &moved);
	assert_int_equal(g->s->walk_count, 1);
	/* Dead: its events may still come, but whoever has its number now is another. */
	rig_quard_dies(g);
	assert_int_equal(judged_after(g, EVENT_RENAME, pid, -1), 0);
	assert_int_equal(judged_after(g, EVENT_RENAME, pid, alive), 1);
	rig_link_quard(g);
	assert_int_not_equal(g->room.peer_pid, pid);
	assert_int_equal(judged_after(g, EVENT_RENAME, pid, -1), 0);
	assert_int_equal(judged_after(g, EVENT_RENAME, pid, alive), 1);
	assert_int_equal(judged_after(g, EVENT_RENAME, g->room.peer_pid, alive), 0);
	amp_clock_freeze(amp_clock_monotonic(), amp_clock_realtime() + 11 * AMP_NS_PER_SEC);
	assert_int_equal(judged_after(g, EVENT_RENAME, pid, -1), 1);
	close(alive);
	rig_free(g);
}

static void tell_hands(struct rig *g, int32_t first, size_t n)
{
	Amp__Hands m = AMP__HANDS__INIT;
	int32_t pids[AMP_HANDS_MAX + 1];

	for (size_t i = 0; i < n; i++)
		pids[i] = first + (int32_t)i;
	m.pids = pids;
	m.n_pids = n;
	rig_ask(g, AMP_MSG_HANDS, 0, &m.base);
	rig_run(g, 5);
}

/* What its hands rename is its own, as long as they are its. */
static void test_hands(void **state)
{
	int alive = open("/dev/null", O_RDONLY | O_CLOEXEC);
	struct rig *g = rig_start(true);

	(void)state;
	g->content = EVIL + 1;
	assert_int_equal(judged_after(g, EVENT_RENAME, 70001, alive), 1);
	tell_hands(g, 70000, 2);
	assert_int_equal(judged_after(g, EVENT_RENAME, 70001, alive), 0);
	assert_int_equal(judged_after(g, EVENT_WRITE, 70001, alive), 1);
	assert_int_equal(judged_after(g, EVENT_RENAME, 70002, alive), 1);
	rig_quard_dies(g);
	assert_int_equal(judged_after(g, EVENT_RENAME, 70001, -1), 0);
	assert_int_equal(judged_after(g, EVENT_RENAME, 70001, alive), 1);
	rig_link_quard(g);
	assert_int_equal(judged_after(g, EVENT_RENAME, 70001, alive), 1);
	tell_hands(g, 70000, AMP_HANDS_MAX);
	assert_int_equal(g->room.hostile, 0);
	tell_hands(g, 70000, AMP_HANDS_MAX + 1);
	assert_int_equal(g->room.hostile, 1);
	rig_link_quard(g);
	tell_hands(g, 1, 1);
	assert_int_equal(g->room.hostile, 2);
	close(alive);
	rig_free(g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_take),
		cmocka_unit_test(test_record_last),
		cmocka_unit_test(test_audit),
		cmocka_unit_test(test_audited),
		cmocka_unit_test(test_audited_script),
		cmocka_unit_test(test_running),
		cmocka_unit_test(test_window),
		cmocka_unit_test(test_new_link),
		cmocka_unit_test(test_no_link),
		cmocka_unit_test(test_poison),
		cmocka_unit_test(test_descriptors),
		cmocka_unit_test(test_unasked_ack),
		cmocka_unit_test(test_open),
		cmocka_unit_test(test_open_fails),
		cmocka_unit_test(test_open_stand_in),
		cmocka_unit_test(test_open_deaths),
		cmocka_unit_test(test_open_hostile),
		cmocka_unit_test(test_open_many),
		cmocka_unit_test(test_open_in_turn),
		cmocka_unit_test(test_open_dropped),
		cmocka_unit_test(test_kill_again),
		cmocka_unit_test(test_kill_again_audit),
		cmocka_unit_test(test_kill_again_late),
		cmocka_unit_test(test_kill_again_hostile),
		cmocka_unit_test(test_judge_again),
		cmocka_unit_test(test_allow),
		cmocka_unit_test(test_allow_anew),
		cmocka_unit_test(test_allow_hostile),
		cmocka_unit_test(test_start_waits),
		cmocka_unit_test(test_start_without),
		cmocka_unit_test(test_own_renames),
		cmocka_unit_test(test_hands),
	};

	/* Nothing is late but what a test makes late, however long we are kept from running. */
	amp_clock_freeze(amp_clock_monotonic(), amp_clock_realtime());
	return cmocka_run_group_tests(tests, NULL, NULL);
}
