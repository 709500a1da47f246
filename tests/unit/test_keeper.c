/*
 * tests/unit/test_keeper.c - ampquard's keeper as a whole, with ampscand's part
 * played here: what others do to a file while it is being taken. At each step()
 * of the work a test may do something to it.
 */
#include "quartest.h"

#include "ampquard/quard.h"
#include "ampquard/step.h"
#include "clock.h"
#include "fileid.h"
#include "log.h"

#include "proto/cli.pb-c.h"
#include "proto/types.h"

#include <event2/event.h>
#include <linux/btrfs.h>
#include <sys/ioctl.h>

#define EVIL "this content is listed"
#define ONE  "0b1f4e2a-1111-8000-8000-000000000001"
#define TWO  "0b1f4e2a-1111-8000-8000-000000000002"

struct rig {
	struct event_base *base;
	struct amp_iothread *io;
	struct keeper *k;
	char data[80], path[200];
	int files;	  /* the directory they are in */
	int mount;	  /* that they are opened through; -1: files is as good */
	uint64_t fsid;	  /* that they are told to be on; 0: their own */
	bool fsid_judged; /* JUDGE_AGAIN named that one */
	uint64_t ids;
	bool hold_kills; /* they are not answered */
	bool without_link;
	unsigned acks, opens, kills, judged, errors;
	uint64_t kill_id;
	char faults[512];
	char reports[4096]; /* their types, each with a blank */
};

static struct rig *rig;

/* --- what happens at a step ----------------------------------------------------- */

static void (*at_step)(void);
static const char *at_place;

void step(const char *place)
{
	void (*now)(void) = at_step;

	if (!now || strcmp(place, at_place) != 0)
		return;
	at_step = NULL;
	now();
}

static void when(const char *place, void (*what)(void))
{
	at_place = place;
	at_step = what;
}

/* --- ampscand -------------------------------------------------------------------- */

static void request(request_work *work, uint64_t id, ProtobufCMessage *body, int file, int directory)
{
	struct request r = {.work = work, .id = id, .serial = 1, .fds = {file, directory}};

	r.body = body ? message_copy(body) : NULL;
	work(rig->k, &r);
	keeper_settle(rig->k);
	if (r.body)
		protobuf_c_message_free_unpacked(r.body, NULL);
	for (size_t i = 0; i < 2; i++)
		if (r.fds[i] >= 0)
			close(r.fds[i]);
}

static int open_handle(const Amp__Handle *wire, int flags)
{
	struct amp_handle h;
	struct {
		struct file_handle h;
		unsigned char bytes[AMP_HANDLE_MAX];
	} k;

	assert_int_equal(amp_handle_from_wire(wire, &h), 0);
	k.h.handle_bytes = h.size;
	k.h.handle_type = h.type;
	memcpy(k.bytes, h.bytes, h.size);
	return open_by_handle_at(rig->mount >= 0 ? rig->mount : rig->files, &k.h, flags | O_CLOEXEC);
}

static void answer_open(uint64_t id, const Amp__Open *ask)
{
	Amp__Opened o = AMP__OPENED__INIT;
	int file = ask->file ? open_handle(ask->file, O_RDONLY | O_NONBLOCK) : -1;
	int directory = ask->directory ? open_handle(ask->directory, O_RDONLY | O_DIRECTORY) : -1;

	rig->opens++;
	if (ask->file)
		o.file = file >= 0 ? AMP__OPENED__STATUS__OK : AMP__OPENED__STATUS__GONE;
	if (ask->directory)
		o.directory = directory >= 0 ? AMP__OPENED__STATUS__OK : AMP__OPENED__STATUS__GONE;
	request(keeper_opened, id, &o.base, file, directory);
}

static void told(const struct effect *e)
{
	if (e->type == AMP_MSG_TAKE_ACK)
		rig->acks += (unsigned)((const Amp__TakeAck *)e->body)->n_ids;
	else if (e->type == AMP_MSG_OPEN)
		answer_open(e->id, (const Amp__Open *)e->body);
	else if (e->type == AMP_MSG_ALLOW)
		request(keeper_allow_ack, e->id, NULL, -1, -1);
	else if (e->type == AMP_MSG_JUDGE_AGAIN) {
		rig->judged++;
		rig->fsid_judged |= ((const Amp__JudgeAgain *)e->body)->fsid == rig->fsid;
	} else if (e->type == AMP_MSG_KILL_AGAIN) {
		rig->kills++;
		rig->kill_id = e->id;
		if (!rig->hold_kills)
			request(keeper_killed, e->id, NULL, -1, -1);
	}
}

static void drain(void)
{
	struct effect *e;

	while ((e = STAILQ_FIRST(&rig->k->effects))) {
		STAILQ_REMOVE_HEAD(&rig->k->effects, link);
		if (e->to == EFFECT_SCAND && !rig->without_link)
			told(e);
		else if (e->to == EFFECT_ERROR)
			rig->errors++;
		else if (e->to == EFFECT_FAULT && e->raised)
			snprintf(rig->faults, sizeof(rig->faults), "%s", e->text);
		else if (e->to == EFFECT_REPORT) {
			size_t n = strlen(rig->reports);

			snprintf(rig->reports + n, sizeof(rig->reports) - n, "%s ",
				 ((const Amp__Event *)e->body)->type);
		}
		effect_free(e);
	}
}

/* Rounds until there is nothing more to be done at once; false: there always is. */
static bool rounds(void)
{
	int64_t due;

	for (unsigned i = 0; i < 200; i++) {
		bool again = keeper_round(rig->k, &due);

		again |= !STAILQ_EMPTY(&rig->k->effects);
		drain();
		if (!again)
			return true;
	}
	return false;
}

/* --- a keeper ----------------------------------------------------------------------- */

static void open_keeper(void)
{
	struct keeper_config c = {
		.data_dir = strdup(rig->data), .host_id = strdup("host"), .max_size = 32U << 20, .days = 90};

	rig->k = keeper_new(&c, rig->io);
	assert_non_null(rig->k);
	request(keeper_link, 0, NULL, -1, -1);
	assert_true(rounds());
	assert_true(keeper_ready(rig->k));
}

static void files_are(int fd)
{
	char link[64];
	ssize_t n;

	rig->files = fd;
	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	n = readlinkat(AT_FDCWD, link, rig->path, sizeof(rig->path) - 1);
	assert_true(n > 0);
	rig->path[n] = '\0';
}

static int set_up(void **state)
{
	if (qt_each(state) != 0)
		return -1;
	if (!qt_able)
		return 0;
	rig = calloc(1, sizeof(*rig));
	assert_non_null(rig);
	rig->mount = -1;
	/* Nothing is late but what a test makes late, however long we are kept from running. */
	amp_clock_freeze(amp_clock_monotonic(), amp_clock_realtime());
	amp_log_open("ampquard", STDERR_FILENO, AMP_LOG_ERROR);
	amp_db_setup();
	assert_int_equal(amp_sha256_setup(), 0);
	assert_int_equal(vault_setup(), 0);
	rig->base = event_base_new();
	rig->io = amp_iothread_new(rig->base);
	assert_non_null(rig->io);
	snprintf(rig->data, sizeof(rig->data), "/proc/self/fd/%d/vault", qt_fd);
	assert_int_equal(mkdirat(qt_fd, "vault", 0700), 0);
	assert_int_equal(mkdirat(qt_fd, "files", 0755), 0);
	files_are(openat(qt_fd, "files", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
	open_keeper();
	return 0;
}

static void leave_btrfs(void)
{
	if (rig->mount < 0)
		return;
	close(rig->mount);
	rig->mount = -1;
	umount2(qt_path("btrfs"), MNT_DETACH);
}

static int tear_down(void **state)
{
	at_step = NULL;
	amp_clock_release();
	if (rig) {
		drain();
		keeper_free(rig->k);
		amp_iothread_free(rig->io);
		event_base_free(rig->base);
		close(rig->files);
		leave_btrfs();
		free(rig);
	}
	rig = NULL;
	return qt_each_end(state);
}

/* --- files --------------------------------------------------------------------------- */

static void evil(const char *name)
{
	close(qt_file(rig->files, name, EVIL));
}

static void hash(const char *content, uint8_t sha[AMP_SHA256_SIZE])
{
	struct amp_sha256 *h = amp_sha256_new();

	assert_non_null(h);
	assert_int_equal(amp_sha256_begin(h), 0);
	assert_int_equal(amp_sha256_add(h, content, strlen(content)), 0);
	assert_int_equal(amp_sha256_end(h, sha), 0);
	amp_sha256_free(h);
}

/* files/name, as it is now, was convicted. */
static void take(const char *name, const char *detection_id)
{
	int fd = openat(rig->files, name, O_RDONLY | O_CLOEXEC);
	Amp__Take t = AMP__TAKE__INIT;
	Amp__Identity identity = AMP__IDENTITY__INIT;
	Amp__Handle file = AMP__HANDLE__INIT, directory = AMP__HANDLE__INIT;
	struct amp_identity id;
	struct amp_handle h, d;
	uint8_t sha[AMP_SHA256_SIZE];
	char path[300];

	assert_true(fd >= 0);
	assert_int_equal(amp_handle_of_fd(fd, &h), 0);
	assert_int_equal(amp_handle_of_fd(rig->files, &d), 0);
	assert_int_equal(amp_statx_identity(fd, "", AT_EMPTY_PATH, &id), 0);
	assert_int_equal(amp_fsid_of_fd(fd, &t.fsid), 0);
	close(fd);
	if (rig->fsid)
		t.fsid = rig->fsid;
	amp_handle_to_wire(&h, &file);
	amp_handle_to_wire(&d, &directory);
	amp_identity_to_wire(&id, &identity);
	hash(EVIL, sha);
	snprintf(path, sizeof(path), "%s/%s", rig->path, name);
	t.detection_id = (char *)(uintptr_t)detection_id;
	t.handle = &file;
	t.directory = &directory;
	t.identity = &identity;
	t.sha256.data = sha;
	t.sha256.len = sizeof(sha);
	t.detection = (char *)(uintptr_t) "Test.Evil";
	t.path.data = (uint8_t *)path;
	t.path.len = strlen(path);
	t.name.data = (uint8_t *)(uintptr_t)name;
	t.name.len = strlen(name);
	t.time_ns = amp_clock_realtime();
	t.cause = (char *)(uintptr_t) "write";
	request(keeper_take, ++rig->ids, &t.base, -1, -1);
}

static off_t size_of(const char *name)
{
	struct stat st;

	return fstatat(rig->files, name, &st, AT_SYMLINK_NOFOLLOW) == 0 ? st.st_size : -1;
}

/* Of the newest entry. */
static enum entry_state state_now(void)
{
	struct entry *e = NULL;
	enum entry_state s = 0;
	size_t n = 0;

	assert_int_equal(store_list(rig->k->store, 0, &e, 1, &n), AMP_DB_OK);
	if (n == 1) {
		s = e->state;
		entry_free(e);
	}
	return s;
}

static void write_again(const char *name)
{
	int fd = openat(rig->files, name, O_WRONLY | O_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, EVIL, strlen(EVIL)), (ssize_t)strlen(EVIL));
	close(fd);
}

/* --- tests ------------------------------------------------------------------------------ */

static void test_taken(void **state)
{
	(void)state;
	QT_NEED();
	evil("a");
	take("a", ONE);
	assert_true(rounds());
	assert_int_equal(rig->acks, 1);
	assert_int_equal(size_of("a"), -1);
	assert_int_equal(state_now(), ENTRY_DONE);
	assert_string_equal(rig->reports, "threat_detected threat_quarantined ");
}

/*
 * Emptied in place because of another link, written anew with the same content, the same
 * modification time and under the same name, it is the same detection. It is there all the same.
 */
static void test_same_detection_again(void **state)
{
	struct timespec times[2] = {{.tv_sec = 1000}, {.tv_sec = 1000}};

	(void)state;
	QT_NEED();
	evil("a");
	assert_int_equal(linkat(rig->files, "a", rig->files, "other", 0), 0);
	assert_int_equal(utimensat(rig->files, "a", times, 0), 0);
	take("a", ONE);
	assert_true(rounds());
	assert_int_equal(size_of("a"), -1);
	assert_int_equal(size_of("other"), 0);
	write_again("other");
	assert_int_equal(renameat(rig->files, "other", rig->files, "a"), 0);
	assert_int_equal(utimensat(rig->files, "a", times, 0), 0);
	take("a", ONE);
	assert_true(rounds());
	assert_int_equal(rig->acks, 2);
	assert_int_equal(size_of("a"), -1);
	assert_int_equal(state_now(), ENTRY_DONE);
}

/* What is hashed has an end: others wait meanwhile. */
static void test_huge(void **state)
{
	int fd;

	(void)state;
	QT_NEED();
	evil("a");
	take("a", ONE);
	fd = openat(rig->files, "a", O_WRONLY | O_CLOEXEC);
	assert_int_equal(ftruncate(fd, (off_t)1 << 52), 0);
	close(fd);
	assert_true(rounds());
	assert_int_equal(rig->judged, 1);
	assert_int_equal(size_of("a"), (off_t)1 << 52);
	assert_int_equal(state_now(), 0);
	assert_int_equal(rig->k->active_count, 0);
}

/* What is copied once more counts once. */
static void test_stored(void **state)
{
	uint64_t entries, unfinished, stored;

	(void)state;
	QT_NEED();
	evil("a");
	assert_int_equal(linkat(rig->files, "a", rig->files, "other", 0), 0);
	take("a", ONE);
	assert_true(rounds());
	write_again("other");
	take("other", TWO);
	assert_true(rounds());
	assert_int_equal(size_of("other"), -1);
	assert_int_equal(store_totals(rig->k->store, &entries, &unfinished, &stored), AMP_DB_OK);
	assert_int_equal(entries, 1);
	assert_int_equal(rig->k->stored, stored);
}

static void remove_it(void)
{
	assert_int_equal(unlinkat(rig->files, "a", 0), 0);
}

/* Who has it open could read it, and run it, for ever. */
static void test_unlinked_meanwhile(void **state)
{
	struct stat st;
	int fd;

	(void)state;
	QT_NEED();
	evil("a");
	fd = openat(rig->files, "a", O_RDONLY | O_CLOEXEC);
	take("a", ONE);
	when("copied", remove_it);
	assert_true(rounds());
	assert_int_equal(state_now(), ENTRY_DONE);
	assert_int_equal(fstat(fd, &st), 0);
	close(fd);
	assert_int_equal(st.st_nlink, 0);
	assert_int_equal(st.st_size, 0);
}

static int open_one;

static void link_again(void)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", open_one);
	if (linkat(AT_FDCWD, path, rig->files, "a", AT_SYMLINK_FOLLOW) < 0)
		assert_int_equal(linkat(AT_FDCWD, path, rig->files, "b", AT_SYMLINK_FOLLOW), 0);
}

/* A name that was captured comes back after the last look; that it did is said before it is over. */
static void test_linked_again(void **state)
{
	(void)state;
	QT_NEED();
	evil("a");
	assert_int_equal(linkat(rig->files, "a", rig->files, "b", 0), 0);
	open_one = openat(rig->files, "a", O_RDONLY | O_CLOEXEC);
	take("a", ONE);
	take("b", TWO);
	when("name-removed", link_again);
	rig->hold_kills = true;
	assert_true(rounds());
	close(open_one);
	assert_int_equal(rig->kills, 1);
	assert_int_equal(size_of("a"), sizeof(EVIL) - 1);
	take("a", "0b1f4e2a-1111-8000-8000-000000000003");
	assert_true(rounds());
	assert_int_equal(rig->acks, 3);
	rig->hold_kills = false;
	request(keeper_killed, rig->kill_id, NULL, -1, -1);
	assert_true(rounds());
	assert_int_equal(size_of("a"), -1);
	assert_int_equal(state_now(), ENTRY_DONE);
}

static void restore(void)
{
	Amp__CliRestore ask = AMP__CLI_RESTORE__INIT;
	struct entry *e = NULL;
	size_t n = 0;

	assert_int_equal(store_list(rig->k->store, 0, &e, 1, &n), AMP_DB_OK);
	assert_int_equal(n, 1);
	ask.id = e->id;
	request(restore_ask, ++rig->ids, &ask.base, -1, -1);
	entry_free(e);
	assert_true(rounds());
	assert_int_equal(rig->errors, 0);
}

/* An ampscand that was not told in time what is allowed does not have it taken. */
static void test_restored_stays(void **state)
{
	Amp__CliRevoke ask = AMP__CLI_REVOKE__INIT;
	uint8_t sha[AMP_SHA256_SIZE];

	(void)state;
	QT_NEED();
	evil("a");
	take("a", ONE);
	assert_true(rounds());
	restore();
	assert_int_equal(size_of("a"), sizeof(EVIL) - 1);
	take("a", TWO);
	assert_true(rounds());
	assert_int_equal(rig->acks, 2);
	assert_int_equal(size_of("a"), sizeof(EVIL) - 1);
	assert_int_equal(state_now(), ENTRY_RESTORED);
	hash(EVIL, sha);
	ask.sha256.data = sha;
	ask.sha256.len = sizeof(sha);
	request(keeper_revoke, ++rig->ids, &ask.base, -1, -1);
	drain();
	take("a", TWO);
	assert_true(rounds());
	assert_int_equal(size_of("a"), -1);
	assert_int_equal(state_now(), ENTRY_DONE);
}

/* A new subvolume, open. */
static int subvolume(int dir, const char *name)
{
	struct btrfs_ioctl_vol_args args = {0};
	int fd;

	snprintf(args.name, sizeof(args.name), "%s", name);
	assert_int_equal(ioctl(dir, BTRFS_IOC_SUBVOL_CREATE, &args), 0);
	fd = openat(dir, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_true(fd >= 0);
	return fd;
}

static bool mount_btrfs(void)
{
	const char *point = qt_path("btrfs"), *image = qt_path("btrfs.img");
	char command[1024];

	snprintf(command, sizeof(command),
		 "{ mkdir -p %s && rm -f %s && truncate -s 128M %s && mkfs.btrfs -q -f -m single %s && "
		 "mount -o loop %s %s; } >/dev/null 2>&1",
		 point, image, image, image, image, point);
	if (system(command) != 0)
		return false;
	rig->mount = open(qt_path("btrfs"), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_true(rig->mount >= 0);
	return true;
}

/* The files are in a subvolume of the subvolume "outer", and nothing mounts it. */
static bool in_subvolume(void)
{
	int outer;

	if (!mount_btrfs())
		return false;
	outer = subvolume(rig->mount, "outer");
	close(rig->files);
	files_are(subvolume(outer, "inner"));
	close(outer);
	assert_int_equal(amp_fsid_of_fd(rig->mount, &rig->fsid), 0);
	return true;
}

#define NEED_BTRFS()                                                                                         \
	do {                                                                                                 \
		QT_NEED();                                                                                   \
		if (!in_subvolume()) {                                                                       \
			SKIP_WITHOUT("mkfs.btrfs, or a loop device for it");                                 \
			return;                                                                              \
		}                                                                                            \
	} while (0)

/* Its f_fsid is not the one that events have, which is the mount's. */
static void test_subvolume(void **state)
{
	Amp__CliRevoke ask = AMP__CLI_REVOKE__INIT;
	uint8_t sha[AMP_SHA256_SIZE];
	uint64_t own;

	(void)state;
	NEED_BTRFS();
	assert_int_equal(amp_fsid_of_fd(rig->files, &own), 0);
	assert_true(own != rig->fsid);
	evil("a");
	take("a", ONE);
	assert_true(rounds());
	assert_string_equal(rig->faults, "");
	assert_int_equal(size_of("a"), -1);
	assert_int_equal(state_now(), ENTRY_DONE);
	restore();
	assert_int_equal(size_of("a"), sizeof(EVIL) - 1);
	hash(EVIL, sha);
	ask.sha256.data = sha;
	ask.sha256.len = sizeof(sha);
	request(keeper_revoke, ++rig->ids, &ask.base, -1, -1);
	drain();
	assert_true(rig->fsid_judged);
}

/* Whose mount is one of a subvolume itself. */
static void test_subvolume_mounted(void **state)
{
	(void)state;
	NEED_BTRFS();
	assert_int_equal(mount(qt_path("btrfs/outer"), qt_path("btrfs/outer"), NULL, MS_BIND, NULL), 0);
	close(rig->mount);
	rig->mount = open(qt_path("btrfs/outer"), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_int_equal(amp_fsid_of_fd(rig->mount, &rig->fsid), 0);
	evil("a");
	take("a", ONE);
	assert_true(rounds());
	assert_int_equal(size_of("a"), -1);
	assert_int_equal(state_now(), ENTRY_DONE);
}

/* A handle means another file on another file system: it stays. */
static void stays_of(uint64_t fsid)
{
	rig->fsid = fsid;
	evil("a");
	take("a", ONE);
	assert_true(rounds());
	assert_non_null(strstr(rig->reports, "quarantine_failed"));
	assert_int_equal(size_of("a"), sizeof(EVIL) - 1);
	assert_int_equal(state_now(), ENTRY_INTENT);
}

static void test_other_filesystem(void **state)
{
	(void)state;
	QT_NEED();
	assert_int_equal(amp_fsid_of_fd(rig->files, &rig->fsid), 0);
	stays_of(rig->fsid ^ (uint64_t)256 << 32); /* what a subvolume of btrfs would do */
}

static void test_other_btrfs(void **state)
{
	uint64_t here;

	(void)state;
	NEED_BTRFS();
	here = rig->fsid;
	leave_btrfs();
	assert_true(in_subvolume());
	assert_true(rig->fsid != here);
	stays_of(here);
}

/* What makes the difference must be a subvolume's id. */
static void test_no_subvolume(void **state)
{
	(void)state;
	NEED_BTRFS();
	stays_of(rig->fsid ^ (uint64_t)2 << 32);
}

/* What is copied at the same time has room together, not each for itself. */
static void test_room_together(void **state)
{
	char name[32], id[VAULT_ID_SIZE];
	uint64_t one, entries, unfinished, stored;

	(void)state;
	QT_NEED();
	evil("first");
	take("first", ONE);
	assert_true(rounds());
	one = rig->k->stored;
	assert_true(one > sizeof(EVIL));
	rig->k->config.max_size = 2 * one + sizeof(EVIL);
	for (unsigned i = 0; i < 8; i++) {
		snprintf(name, sizeof(name), "f%u", i);
		snprintf(id, sizeof(id), "0b1f4e2a-1111-8000-8000-0000000001%02u", i);
		evil(name);
		take(name, id);
	}
	for (unsigned i = 0; i < 20; i++) {
		assert_true(rounds());
		amp_clock_freeze(amp_clock_monotonic() + AMP_NS_PER_SEC / 5, amp_clock_realtime());
	}
	assert_int_equal(store_totals(rig->k->store, &entries, &unfinished, &stored), AMP_DB_OK);
	assert_int_equal(entries, 9);
	assert_int_equal(unfinished, 6);
	assert_true(stored <= 3 * one + 16);
	assert_non_null(strstr(rig->reports, "quarantine_failed"));
}

/* A look that is due while all hands are full is not due again at once. */
static void test_no_hurry(void **state)
{
	int64_t due = 0;
	char name[32], id[VAULT_ID_SIZE];

	(void)state;
	QT_NEED();
	rig->without_link = true; /* nobody answers */
	for (unsigned i = 0; i < KEEPER_ACTIVE; i++) {
		snprintf(name, sizeof(name), "f%u", i);
		snprintf(id, sizeof(id), "0b1f4e2a-1111-8000-8000-0000000001%02u", i);
		evil(name);
		take(name, id);
	}
	assert_true(rounds());
	assert_int_equal(rig->k->active_count, KEEPER_ACTIVE);
	amp_clock_freeze(amp_clock_monotonic() + 20 * AMP_NS_PER_SEC, amp_clock_realtime());
	assert_true(rounds());
	assert_false(keeper_round(rig->k, &due));
	assert_true(due > amp_clock_monotonic());
	/* Nor is what was asked of one who is gone. */
	rig->k->link = 0;
	for (struct taking *t = LIST_FIRST(&rig->k->active); t; t = LIST_NEXT(t, link))
		taking_link_changed(t);
	amp_clock_freeze(amp_clock_monotonic() + 60 * AMP_NS_PER_SEC, amp_clock_realtime());
	assert_true(rounds());
	assert_false(keeper_round(rig->k, &due));
	assert_true(due > amp_clock_monotonic());
}

int main(void)
{
#define CASE(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		CASE(test_taken),
		CASE(test_same_detection_again),
		CASE(test_huge),
		CASE(test_stored),
		CASE(test_unlinked_meanwhile),
		CASE(test_linked_again),
		CASE(test_subvolume),
		CASE(test_subvolume_mounted),
		CASE(test_other_filesystem),
		CASE(test_other_btrfs),
		CASE(test_no_subvolume),
		CASE(test_restored_stays),
		CASE(test_room_together),
		CASE(test_no_hurry),
	};

	qt_alone(); /* an overlay of somebody else may make a layer of everything */
	return cmocka_run_group_tests(tests, qt_setup, qt_teardown);
}
