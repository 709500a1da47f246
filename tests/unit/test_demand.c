/*
 * tests/unit/test_demand.c - scans on demand: totals after a death at every
 * mark, states, tasks, records and their bounds, a walker that breaks the rules.
 */
#include "demandtest.h"

#include "proto/demand.pb-c.h"

struct totals {
	unsigned files, threats, large;
};

static struct totals totals_of(const struct t_tree *t)
{
	struct totals n = {0};

	for (unsigned d = 0; d < t->dirs; d++)
		for (unsigned f = 0; f < t->dir[d].files; f++) {
			n.files++;
			n.threats += strncmp(t->dir[d].file[f].name, "evil", 4) == 0;
			n.large += strncmp(t->dir[d].file[f].name, "large", 5) == 0;
		}
	return n;
}

static void assert_totals(const struct demand_scan *d)
{
	struct totals n = totals_of(&rig->tree);

	assert_int_equal(d->state, DEMAND_DONE);
	assert_int_equal(d->now.files, n.files);
	assert_int_equal(d->now.threats, n.threats);
	assert_int_equal(d->now.bytes, n.files * 10);
	assert_int_equal(d->now.kinds[OUTCOME_THREAT], n.threats);
	assert_int_equal(d->now.kinds[OUTCOME_TOO_LARGE], n.large);
	assert_int_equal(d->now.kinds[OUTCOME_CLEAN], n.files - n.threats - n.large);
	assert_int_equal(d->now.kinds[OUTCOME_VANISHED], 0);
	assert_int_equal(d->now.kinds[DEMAND_SYMLINK], rig->tree.dirs);
	assert_int_equal(d->now.kinds[OUTCOME_SPECIAL], rig->tree.dirs);
	assert_int_equal(d->now.kinds[DEMAND_DIRECTORY], rig->tree.dirs);
	assert_int_equal(d->now.listed, n.threats + n.large + rig->tree.dirs);
	assert_int_equal(d->list_count, d->now.listed);
	for (unsigned i = 0; i < rig->tree.dirs; i++)
		for (unsigned f = 0; f < rig->tree.dir[i].files; f++) {
			const struct t_file *file = &rig->tree.dir[i].file[f];

			assert_true(file->judged > 0);
			assert_int_equal(file->acted > 0, strncmp(file->name, "evil", 4) == 0);
			assert_true(!rig->protect || file->acted <= 1);
		}
	assert_int_equal(rig->hostile, 0);
}

static void test_whole(void **state)
{
	struct demand_scan *d;

	(void)state;
	rig_new();
	tree_make(10, 7);
	d = scan_start("/top");
	rig_run();
	assert_totals(d);
	assert_int_equal(rig->walks, 1);
	assert_int_equal(rig->marks, 10);
	assert_string_equal(d->list[0].path, "/top/odd");
	assert_string_equal(demand_kind_name(d->list[0].kind), "special");
	assert_string_equal(d->list[1].detail, "Test.Evil");
	rig_free();
}

static void run_to_mark(size_t n)
{
	for (unsigned i = 0; i < 100000 && rig->marks < n; i++)
		rig_step();
	assert_int_equal(rig->marks, n);
}

/* Somewhere behind the mark: `steps` more of everything. */
static void die_behind(size_t mark, unsigned steps, bool scanner)
{
	rig->marks = 0;
	run_to_mark(mark);
	while (steps--)
		rig_step();
	if (scanner) {
		scand_end();
		scand_begin();
	} else {
		kill_walker();
	}
}

static void death_at_every_mark(bool scanner, bool protect, bool kept, unsigned mark_every)
{
	size_t marks = mark_every ? 3 : 10;

	for (size_t mark = 1; mark <= marks; mark++)
		for (unsigned steps = 0; steps < 12; steps += 3) {
			amp_clock_freeze(1000 * AMP_NS_PER_SEC, 2000 * AMP_NS_PER_SEC);
			rig_new();
			rig->protect = protect;
			rig->mark_every = mark_every;
			tree_make(10, 7);
			scan_start("/top");
			/* Without a step of the clock, the record is of the start. */
			if (kept)
				amp_clock_advance(3 * AMP_NS_PER_SEC);
			die_behind(mark, steps, scanner);
			rig_run();
			assert_totals(demand_find(rig->s, 1));
			rig_free();
		}
	amp_clock_release();
}

static void test_death_of_scanner(void **state)
{
	(void)state;
	for (unsigned every = 0; every <= 20; every += 20) {
		death_at_every_mark(true, true, true, every);
		death_at_every_mark(true, true, false, every);
		death_at_every_mark(true, false, true, every);
		death_at_every_mark(true, false, false, every);
	}
}

static void test_death_of_walker(void **state)
{
	(void)state;
	for (unsigned every = 0; every <= 20; every += 20) {
		death_at_every_mark(false, true, true, every);
		death_at_every_mark(false, false, true, every);
	}
}

/* Both in turn, again and again. The marks of a walk that is resumed are elsewhere than before. */
static void deaths_all_the_way(bool protect, unsigned mark_every)
{
	struct demand_scan *d;
	unsigned deaths = 0;

	amp_clock_freeze(1000 * AMP_NS_PER_SEC, 2000 * AMP_NS_PER_SEC);
	rig_new();
	rig->protect = protect;
	tree_make(40, 7);
	scan_start("/top");
	while ((d = demand_find(rig->s, 1))->state != DEMAND_DONE && deaths < 200) {
		rig->marks = 0;
		rig->mark_every = mark_every ? 7 + deaths * 11 % mark_every : 0;
		for (unsigned i = 0; i < 100000 && rig->marks < 2 && d->state != DEMAND_DONE; i++) {
			amp_clock_advance(AMP_NS_PER_SEC);
			rig_step();
		}
		for (unsigned i = 0; i < deaths % 7; i++)
			rig_step();
		if (deaths++ % 2) {
			scand_end();
			scand_begin();
		} else {
			kill_walker();
		}
	}
	assert_true(deaths > 5);
	assert_totals(d);
	rig_free();
	amp_clock_release();
}

static void test_deaths_all_the_way(void **state)
{
	(void)state;
	deaths_all_the_way(true, 0);
	deaths_all_the_way(false, 0);
	deaths_all_the_way(true, 40);
	deaths_all_the_way(false, 40);
}

/* A walker that dies at one place again and again: the rest is left out, with a fault. */
static void test_walker_always_dies(void **state)
{
	struct demand_scan *d;

	(void)state;
	rig_new();
	tree_make(4, 3);
	d = scan_start("/top");
	for (unsigned i = 0; i < 5; i++) {
		rig->marks = 0;
		run_to_mark(1);
		kill_walker();
	}
	rig_run();
	assert_int_equal(d->state, DEMAND_FAILED);
	assert_int_equal(rig->room.faults, 1);
	assert_non_null(strstr(d->error, "walker died"));
	rig_free();
}

static void test_pause(void **state)
{
	struct demand_scan *d;

	(void)state;
	rig_new();
	tree_make(10, 7);
	d = scan_start("/top");
	run_to_mark(4);
	rig->hold_judge = true;
	for (unsigned i = 0; i < 20; i++)
		rig_step();
	assert_non_null(rig->queue);
	assert_null(demand_control(d, AMP__CLI_SCAN_CONTROL__WHAT__PAUSE));
	assert_int_equal(d->state, DEMAND_PAUSED);
	rig->hold_judge = false;
	rig_run();
	assert_int_equal(d->state, DEMAND_PAUSED);
	assert_int_equal(rig->cancels, 1);
	/* It stays so in a successor. */
	scand_end();
	scand_begin();
	rig_run();
	d = demand_find(rig->s, 1);
	assert_int_equal(d->state, DEMAND_PAUSED);
	assert_false(demand_may_go_on(rig->s));
	assert_null(demand_control(d, AMP__CLI_SCAN_CONTROL__WHAT__RESUME));
	rig_run();
	assert_totals(d);
	assert_non_null(demand_control(d, AMP__CLI_SCAN_CONTROL__WHAT__PAUSE));
	rig_free();
}

static void test_stop_and_queue(void **state)
{
	struct demand_scan *a, *b, *c;

	(void)state;
	rig_new();
	tree_make(10, 4);
	a = scan_start("/top");
	b = scan_start("/top/d03");
	c = scan_start("/top/d04");
	run_to_mark(3);
	assert_int_equal(a->state, DEMAND_RUNNING);
	assert_int_equal(b->state, DEMAND_WAITING);
	assert_null(demand_control(a, AMP__CLI_SCAN_CONTROL__WHAT__STOP));
	assert_null(demand_control(c, AMP__CLI_SCAN_CONTROL__WHAT__PAUSE));
	rig_run();
	assert_int_equal(a->state, DEMAND_STOPPED);
	assert_true(a->ended_ns > 0);
	assert_int_equal(b->state, DEMAND_DONE);
	assert_int_equal(b->now.files, 4);
	assert_int_equal(c->state, DEMAND_PAUSED);
	assert_int_equal(c->now.files, 0);
	rig_free();
}

static void test_engine_loads(void **state)
{
	struct demand_scan *d;

	(void)state;
	rig_new();
	tree_make(3, 3);
	rig->engine = ENGINE_LOADING;
	d = scan_start("/top");
	rig_run();
	assert_int_equal(rig->walks, 0);
	assert_false(demand_may_go_on(rig->s));
	rig->engine = ENGINE_EMPTY;
	demand_later(rig->s);
	rig_run();
	assert_totals(d);
	rig_free();
}

/* What is walked by names is judged as it is read: not while the engine loads. */
static void test_engine_loads_by_path(void **state)
{
	struct demand_scan *d;

	(void)state;
	rig_new();
	tree_make(6, 3);
	filesystems_remove(&rig->s->filesystems, FSID);
	d = scan_start("/top");
	run_to_mark(3);
	rig->engine = ENGINE_LOADING;
	demand_later(rig->s);
	rig_run();
	assert_int_equal(d->state, DEMAND_RUNNING);
	assert_int_equal(rig->cancels, 1);
	rig->engine = ENGINE_READY;
	demand_later(rig->s);
	rig_run();
	assert_totals(d);
	rig_free();
}

static void test_tasks(void **state)
{
	static const char *const paths[] = {"/top", "/top/d01", "/other/x", "/", "/data"};
	struct demand_paths p = {0};
	struct demand_scan *d;
	const char *why;

	(void)state;
	rig_new();
	tree_make(3, 1);
	add_filesystem(rig->s, OTHER_FSID, "/other");
	add_filesystem(rig->s, 9, "/data/deep");
	rig->engine = ENGINE_LOADING; /* they are only made */
	d = scan_start("/top");
	assert_int_equal(demand_tasks(d), 0);
	assert_int_equal(d->tasks.count, 1);
	demand_paths_free(&d->tasks);
	/* Each file system once, nothing that another task covers. */
	for (size_t i = 0; i < 5; i++)
		assert_int_equal(demand_paths_add(&p, paths[i], strlen(paths[i])), 0);
	d = demand_start(rig->s, AMP__CLI_SCAN_START__KIND__PATHS, &p, false, &why);
	assert_int_equal(demand_tasks(d), 0);
	assert_int_equal(d->tasks.count, 3);
	assert_string_equal(d->tasks.path[0], "/");
	assert_string_equal(d->tasks.path[1], "/data/deep");
	assert_string_equal(d->tasks.path[2], "/other");
	/* One file system: what is below and was not named is not walked. */
	assert_int_equal(demand_paths_add(&p, "/data", 5), 0);
	assert_int_equal(demand_paths_add(&p, "/other/x", 8), 0);
	d = demand_start(rig->s, AMP__CLI_SCAN_START__KIND__PATHS, &p, true, &why);
	assert_int_equal(demand_tasks(d), 0);
	assert_int_equal(d->tasks.count, 2);
	assert_string_equal(d->tasks.path[0], "/data");
	d = demand_start(rig->s, AMP__CLI_SCAN_START__KIND__FULL, NULL, false, &why);
	assert_int_equal(demand_tasks(d), 0);
	assert_int_equal(d->tasks.count, 3);
	rig_free();
}

/* Longest prefixes need not be right: the walker tells, and it is asked again. */
static void test_elsewhere(void **state)
{
	struct demand_scan *d;

	(void)state;
	rig_new();
	rig->tree.dirs = 1;
	snprintf(rig->tree.dir[0].path, sizeof(rig->tree.dir[0].path), "/other");
	rig->tree.dir[0].files = 1;
	snprintf(rig->tree.dir[0].file[0].name, 32, "good");
	d = scan_start("/other");
	rig_run();
	/* The second one goes by names: that file system is not watched. */
	assert_int_equal(rig->walks, 2);
	assert_int_equal(d->state, DEMAND_DONE);
	assert_int_equal(d->now.files, 1);
	add_filesystem(rig->s, OTHER_FSID, "/other");
	d = scan_start("/other");
	rig_run();
	assert_int_equal(rig->walks, 3);
	assert_int_equal(d->now.files, 1);
	rig_free();
}

/* A threat that was counted and taken away, when the walk that goes on does not find it any more. */
static void test_taken_is_not_vanished(void **state)
{
	struct occurrence o = {.outcome = OUTCOME_THREAT, .size = 3};
	struct demand_scan *d;

	(void)state;
	rig_new();
	tree_make(2, 1);
	d = scan_start("/top");
	run_to_mark(1);
	o.path = (char *)"/top/taken";
	demand_threat(d, &o, "Some.Threat");
	demand_rollback(d);
	demand_count_odd(d, OUTCOME_VANISHED, "/top/taken");
	demand_count_odd(d, OUTCOME_VANISHED, "/top/other");
	assert_int_equal(d->now.kinds[OUTCOME_VANISHED], 1);
	assert_int_equal(d->now.threats, 1);
	rig_free();
}

/* Mounted just before: what ampmon tells of while the scan goes on is walked as well. */
static void late_mount(bool told, unsigned walks)
{
	struct demand_scan *d;

	amp_clock_freeze(1000 * AMP_NS_PER_SEC, 2000 * AMP_NS_PER_SEC);
	rig_new();
	tree_make(2, 1);
	d = scan_start("/top");
	run_to_mark(1);
	demand_count_odd(d, DEMAND_MOUNT, "/top/mounted");
	rig_run();
	assert_int_equal(d->state, DEMAND_RUNNING); /* it waits a moment */
	if (told) {
		add_filesystem(rig->s, 9, "/top/mounted");
		demand_filesystem_came(rig->s);
	} else {
		amp_clock_advance(3 * AMP_NS_PER_SEC);
		demand_later(rig->s);
	}
	rig_run();
	assert_int_equal(d->state, DEMAND_DONE);
	assert_int_equal(d->tasks.count, walks);
	assert_string_equal(d->tasks.path[walks - 1], walks > 1 ? "/top/mounted" : "/top");
	rig_free();
	amp_clock_release();
}

/* The walk's word of a mount is lost when ampscand dies: the file systems are asked at the end. */
static void test_mount_forgotten(void **state)
{
	struct demand_scan *d;

	(void)state;
	rig_new();
	tree_make(2, 1);
	d = scan_start("/top");
	run_to_mark(1);
	add_filesystem(rig->s, 9, "/top/mounted");
	add_filesystem(rig->s, 10, "/elsewhere");
	rig_run();
	assert_int_equal(d->state, DEMAND_DONE);
	assert_int_equal(rig->walks, 2);
	assert_int_equal(d->failed, 0);
	rig_free();
}

static void test_late_mounts(void **state)
{
	(void)state;
	late_mount(true, 2);
	late_mount(false, 1);
}

static void test_nowhere(void **state)
{
	struct demand_scan *d;

	(void)state;
	rig_new();
	tree_make(1, 1);
	d = scan_start("/nowhere");
	rig_run();
	assert_int_equal(d->state, DEMAND_FAILED);
	assert_string_equal(d->error, "/nowhere: No such file or directory");
	assert_int_equal(rig->room.faults, 0); /* the user's, not the machine's */
	rig_free();
}

static void give_mapped(uint64_t id, const char *const *paths, size_t n, bool more, int rc)
{
	Amp__MappedFiles f = AMP__MAPPED_FILES__INIT;
	ProtobufCBinaryData list[8];

	for (size_t i = 0; i < n; i++)
		list[i] = (ProtobufCBinaryData){.data = (uint8_t *)(uintptr_t)paths[i],
						.len = strlen(paths[i])};
	f.paths = list;
	f.n_paths = n;
	f.more = more;
	assert_int_equal(demand_mapped(rig->s, id, &f), rc);
}

static void test_flash(void **state)
{
	static const char *const first[] = {"/top/d01", "/nowhere/libc.so"}, *const second[] = {"/top"};
	struct demand_scan *d;
	const char *why;

	(void)state;
	rig_new();
	tree_make(5, 3);
	d = demand_start(rig->s, AMP__CLI_SCAN_START__KIND__FLASH, NULL, false, &why);
	rig_run();
	assert_int_equal(rig->mapped_asked, 1);
	assert_int_equal(rig->walks, 0);
	give_mapped(d->id, first, 2, true, 0);
	give_mapped(99, first, 2, true, -1);
	give_mapped(d->id, second, 1, false, 0);
	for (unsigned i = 0; i < 100000 && d->now.files < 6; i++)
		rig_step();
	/* A successor asks again, and goes on behind what was done. */
	scand_end();
	scand_begin();
	d = demand_find(rig->s, 1);
	rig_run();
	assert_int_equal(rig->mapped_asked, 2);
	give_mapped(d->id, second, 1, false, 0);
	rig_run();
	assert_totals(d);
	rig_free();
}

static void test_not_absolute_is_no_path(void **state)
{
	static const char *const bad[] = {"top"}, *const up[] = {"/top/../etc"};
	struct demand_scan *d;
	const char *why;
	char *p;

	(void)state;
	rig_new();
	d = demand_start(rig->s, AMP__CLI_SCAN_START__KIND__FLASH, NULL, false, &why);
	rig_run();
	give_mapped(d->id, bad, 1, true, -1);
	give_mapped(d->id, up, 1, true, -1);
	assert_null(demand_path_clean((const uint8_t *)"/a\0b", 4));
	assert_null(demand_path_clean((const uint8_t *)"", 0));
	p = demand_path_clean((const uint8_t *)"//a/.//b/", 9);
	assert_string_equal(p, "/a/b");
	free(p);
	p = demand_path_clean((const uint8_t *)"/./", 3);
	assert_string_equal(p, "/");
	free(p);
	rig_free();
}

/* --- what a hostile walker sends ------------------------------------------------- */

static void send_mark(uint64_t walk, const char *path, size_t n)
{
	Amp__WalkMark m = AMP__WALK_MARK__INIT;

	m.walk_id = walk;
	m.path.data = (uint8_t *)(uintptr_t)path;
	m.path.len = n;
	amp_channel_send(rig->far, AMP_MSG_WALK_MARK, 0, &m.base, NULL, 0);
}

static uint64_t a_walk(void)
{
	rig_new();
	tree_make(2, 3);
	scan_start("/top");
	rig->hold_go = true;
	for (unsigned i = 0; i < 10; i++)
		rig_step();
	assert_int_equal(rig->walks, 1);
	return rig->walk[0].id;
}

static void assert_hostile(void)
{
	event_base_loop(rig->room.base, EVLOOP_NONBLOCK);
	assert_int_equal(rig->hostile, 1);
	rig_free();
}

static void test_hostile_marks(void **state)
{
	static char huge[AMP_PATH_MAX];
	uint64_t id;

	(void)state;
	memset(huge, 'a', sizeof(huge));
	huge[0] = '/';
	id = a_walk();
	send_mark(id + 1, "/top", 4); /* of no walk */
	assert_hostile();
	id = a_walk();
	send_mark(id, "top", 3);
	assert_hostile();
	id = a_walk();
	send_mark(id, "", 0);
	assert_hostile();
	id = a_walk();
	send_mark(id, "/to\0p", 5);
	assert_hostile();
	id = a_walk();
	send_mark(id, huge, sizeof(huge));
	assert_hostile();
	id = a_walk();
	rig->hold_judge = true;
	send_mark(id, "/top", 4); /* GO comes, */
	event_base_loop(rig->room.base, EVLOOP_NONBLOCK);
	assert_int_equal(rig->hostile, 0);
	/* and a mark before everything is concluded is not answered: another breaks the rules. */
	rig->walk[0].marked = true;
	w_entries(&rig->walk[0]);
	send_mark(id, "/top/a", 6);
	send_mark(id, "/top/b", 6);
	assert_hostile();
}

static void send_odd(uint64_t id, const char *name, size_t n, int kind)
{
	Amp__WalkEntries m = AMP__WALK_ENTRIES__INIT;
	Amp__WalkOdd odd = AMP__WALK_ODD__INIT, *list[] = {&odd};

	odd.kind = (Amp__WalkOdd__Kind)kind;
	odd.name.data = (uint8_t *)(uintptr_t)name;
	odd.name.len = n;
	m.walk_id = id;
	m.odd = list;
	m.n_odd = 1;
	m.directory_path.data = (uint8_t *)(uintptr_t) "/top";
	m.directory_path.len = 4;
	amp_channel_send(rig->far, AMP_MSG_WALK_ENTRIES, 0, &m.base, NULL, 0);
}

static void test_hostile_odd(void **state)
{
	static char huge[300];
	uint64_t id = a_walk();

	(void)state;
	memset(huge, 'a', sizeof(huge));
	send_odd(id, "a/b", 3, AMP__WALK_ODD__KIND__SPECIAL);
	assert_hostile();
	id = a_walk();
	send_odd(id, huge, sizeof(huge), AMP__WALK_ODD__KIND__SPECIAL);
	assert_hostile();
	id = a_walk();
	send_odd(id, "a", 1, AMP__WALK_ODD__KIND__NONE);
	assert_hostile();
	id = a_walk();
	send_odd(id, "", 0, AMP__WALK_ODD__KIND__UNREADABLE);
	event_base_loop(rig->room.base, EVLOOP_NONBLOCK);
	assert_int_equal(rig->hostile, 0);
	assert_int_equal(demand_find(rig->s, 1)->now.kinds[OUTCOME_UNREADABLE], 1);
	assert_string_equal(demand_find(rig->s, 1)->list[0].path, "/top");
	rig_free();
}

/* Entries beyond the credit, and an end of a walk on another file system. */
static void test_hostile_walk(void **state)
{
	uint64_t id = a_walk();
	struct t_walk *w = &rig->walk[0];

	(void)state;
	rig->hold_judge = true;
	w->marked = true;
	for (unsigned i = 0; i < 90; i++) {
		w->credit = 3;
		w->file = 0;
		w_entries(w);
		event_base_loop(rig->room.base, EVLOOP_NONBLOCK);
	}
	assert_hostile();
	id = a_walk();
	(void)id;
	w_done(&rig->walk[0], NULL, 12345);
	assert_hostile();
}

/* One entry of a walk that reads, with a copy. */
static void send_copy(struct t_walk *w, int fd)
{
	const char *dir = rig->tree.dir[w->dir].path;
	uint8_t sha[AMP_SHA256_SIZE] = {1};
	Amp__WalkEntries m = AMP__WALK_ENTRIES__INIT;
	Amp__WalkEntry e = AMP__WALK_ENTRY__INIT, *list[] = {&e};
	Amp__Handle h = AMP__HANDLE__INIT;
	Amp__Identity id = AMP__IDENTITY__INIT;
	char *name = rig->tree.dir[w->dir].file[0].name;

	h.type = 1;
	h.bytes.data = (uint8_t *)name;
	h.bytes.len = strlen(name);
	id.nlink = 1;
	e.file = &h;
	e.identity = &id;
	e.name.data = (uint8_t *)name;
	e.name.len = strlen(name);
	e.sha256.data = sha;
	e.sha256.len = sizeof(sha);
	e.snapshot_index = 1;
	m.walk_id = w->id;
	m.fsid = w->fsid;
	m.directory_path.data = (uint8_t *)(uintptr_t)dir;
	m.directory_path.len = strlen(dir);
	m.entries = list;
	m.n_entries = 1;
	amp_channel_send(rig->far, AMP_MSG_WALK_ENTRIES, 0, &m.base, &fd, 1);
	event_base_loop(rig->room.base, EVLOOP_NONBLOCK);
}

static int a_copy(unsigned seals, off_t size)
{
	int fd = memfd_create("copy", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, size), 0);
	assert_int_equal(fcntl(fd, F_ADD_SEALS, seals), 0);
	return fd;
}

static struct t_walk *a_walk_by_path(void)
{
	rig_new();
	tree_make(2, 3);
	filesystems_remove(&rig->s->filesystems, FSID);
	rig->hold_judge = true;
	scan_start("/top");
	/* Its WALK, and nothing of it yet. */
	event_base_loop(rig->room.base, EVLOOP_NONBLOCK);
	assert_true(rig->walk[0].used && rig->walk[0].by_path);
	assert_int_equal(rig->walk[0].credit, 1);
	return &rig->walk[0];
}

/* Nobody may change or cut what is scanned, nor pass a file of somebody's for it. */
static void test_hostile_copies(void **state)
{
	const unsigned all = F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE;
	int fds[] = {a_copy(all & ~(unsigned)F_SEAL_WRITE, 10), a_copy(all & ~(unsigned)F_SEAL_SHRINK, 10),
		     a_copy(all, 60 << 20), open("/proc/self/exe", O_RDONLY | O_CLOEXEC)};

	(void)state;
	for (size_t i = 0; i < sizeof(fds) / sizeof(fds[0]); i++) {
		send_copy(a_walk_by_path(), fds[i]);
		assert_int_equal(rig->copies, 0);
		assert_hostile();
		close(fds[i]);
	}
}

/* One more at a time, and only where there is room. */
static void test_copies_in_turn(void **state)
{
	struct t_walk *w = a_walk_by_path();
	int fd = a_copy(F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE, 10);

	(void)state;
	w->credit = 0;
	send_copy(w, fd);
	assert_int_equal(rig->copies, 1);
	event_base_loop(rig->room.base, EVLOOP_NONBLOCK);
	assert_int_equal(w->credit, 1);
	rig->no_room = true;
	w->credit = 0;
	send_copy(w, fd);
	event_base_loop(rig->room.base, EVLOOP_NONBLOCK);
	walks_credit(rig->s);
	event_base_loop(rig->room.base, EVLOOP_NONBLOCK);
	assert_int_equal(rig->copies, 2);
	assert_int_equal(w->credit, 0);
	rig->no_room = false;
	walks_credit(rig->s);
	event_base_loop(rig->room.base, EVLOOP_NONBLOCK);
	assert_int_equal(w->credit, 1);
	send_copy(w, fd);
	assert_int_equal(rig->copies, 3);
	rig->no_room = true;
	event_base_loop(rig->room.base, EVLOOP_NONBLOCK);
	send_copy(w, fd);
	assert_int_equal(rig->copies, 4);
	assert_int_equal(rig->hostile, 0);
	send_copy(w, fd); /* more than it was given */
	close(fd);
	assert_int_equal(rig->copies, 4);
	assert_hostile();
}

/* --- records ---------------------------------------------------------------------- */

static void test_record_bounds(void **state)
{
	static char path[2000];
	struct demand_scan *d;
	uint8_t *record;
	size_t n;

	(void)state;
	rig_new();
	rig->engine = ENGINE_LOADING;
	memset(path, 'x', sizeof(path) - 1);
	path[0] = '/';
	d = scan_start("/top");
	for (unsigned i = 0; i < 30; i++)
		assert_int_equal(demand_paths_add(&d->paths, path, 300), 0);
	for (unsigned i = 0; i < 80; i++)
		assert_int_equal(demand_paths_add(&d->tasks, path, 210), 0);
	d->at = calloc(1, DEMAND_AT_BYTES + 1);
	memset(d->at, '/', DEMAND_AT_BYTES);
	memset(d->error, 'e', sizeof(d->error) - 1);
	for (unsigned i = 0; i < 2000; i++) {
		struct occurrence o = {.outcome = i % 2 ? OUTCOME_THREAT : OUTCOME_TOO_LARGE,
				       .size = UINT64_MAX / 3};
		char name[sizeof(path)];

		snprintf(name, sizeof(name), "%.*s%u", (int)(i % 1900), path, i);
		o.path = name;
		demand_count(d, &o);
	}
	assert_int_equal(d->now.threats, 1000);
	assert_int_equal(d->list_count, DEMAND_LIST);
	n = demand_pack(d, &record);
	assert_true(n > 0 && n <= AMP_KEEP_MAX);
	free(record);
	demand_checkpoint(d);
	n = demand_pack(d, &record);
	assert_true(n > 0 && n <= AMP_KEEP_MAX);
	free(record);
	assert_true(rig->largest <= AMP_KEEP_MAX);
	rig_free();
}

static void test_record_of_nonsense(void **state)
{
	uint8_t *record, bad[64];
	size_t n;

	(void)state;
	rig_new();
	rig->engine = ENGINE_LOADING;
	scan_start("/top");
	n = demand_pack(demand_find(rig->s, 1), &record);
	scand_end();
	for (unsigned i = 0; i < RECORDS; i++) {
		free(rig->record[i].data);
		rig->record[i].data = NULL;
	}
	scand_begin();
	assert_int_equal(demand_restore(rig->s, "scan-2", record, n), -1); /* another's name */
	for (size_t i = 0; i < n; i++)
		demand_restore(rig->s, "scan-9", record, i); /* cut off */
	memset(bad, 0xff, sizeof(bad));
	assert_int_equal(demand_restore(rig->s, "scan-1", bad, sizeof(bad)), -1);
	assert_int_equal(demand_restore(rig->s, "scan-1", record, n), 0);
	assert_int_equal(demand_restore(rig->s, "scan-1", record, n), -1); /* twice */
	assert_int_equal(rig->s->demand->count, 1);
	free(record);
	rig_free();
}

/* Old ones go, those that are not done stay, ids grow. */
static void test_many(void **state)
{
	struct demand_scan *d = NULL;

	(void)state;
	rig_new();
	tree_make(1, 1);
	for (unsigned i = 0; i < 3 * AMP_SCANS; i++) {
		d = scan_start("/top");
		rig_run();
		assert_int_equal(d->state, DEMAND_DONE);
	}
	assert_int_equal(rig->s->demand->count, AMP_SCANS);
	assert_int_equal(d->id, 3 * AMP_SCANS);
	assert_int_equal(d->expected, 1);
	scand_end();
	scand_begin();
	assert_int_equal(rig->s->demand->count, AMP_SCANS);
	rig_free();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_whole),
		cmocka_unit_test(test_death_of_scanner),
		cmocka_unit_test(test_death_of_walker),
		cmocka_unit_test(test_deaths_all_the_way),
		cmocka_unit_test(test_walker_always_dies),
		cmocka_unit_test(test_pause),
		cmocka_unit_test(test_stop_and_queue),
		cmocka_unit_test(test_engine_loads),
		cmocka_unit_test(test_engine_loads_by_path),
		cmocka_unit_test(test_tasks),
		cmocka_unit_test(test_elsewhere),
		cmocka_unit_test(test_taken_is_not_vanished),
		cmocka_unit_test(test_late_mounts),
		cmocka_unit_test(test_mount_forgotten),
		cmocka_unit_test(test_nowhere),
		cmocka_unit_test(test_flash),
		cmocka_unit_test(test_not_absolute_is_no_path),
		cmocka_unit_test(test_hostile_marks),
		cmocka_unit_test(test_hostile_odd),
		cmocka_unit_test(test_hostile_walk),
		cmocka_unit_test(test_hostile_copies),
		cmocka_unit_test(test_copies_in_turn),
		cmocka_unit_test(test_record_bounds),
		cmocka_unit_test(test_record_of_nonsense),
		cmocka_unit_test(test_many),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
