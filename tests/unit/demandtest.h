/*
 * tests/unit/demandtest.h - scans on demand without the rest of ampscand: a
 * walker, a judge and a keeper of records that the test plays, over a tree that
 * exists in memory only. What is real: demand*.c, walk.c, schedule.c, gentle.c.
 */
#ifndef AMP_DEMANDTEST_H
#define AMP_DEMANDTEST_H

#include "scantest.h"

#include "ampscand/demand.h"
#include "cliserver.h"
#include "clock.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define FSID	   7U
#define OTHER_FSID 8U
#define RECORDS	   64U

/* --- the tree -------------------------------------------------------------- */

struct t_file {
	char name[32];
	bool gone;
	unsigned judged, acted;
};

/* In the order in which they are walked. */
struct t_dir {
	char path[64];
	struct t_file file[8];
	unsigned files;
};

struct t_tree {
	struct t_dir dir[64];
	unsigned dirs;
};

/* --- the walker ------------------------------------------------------------- */

struct t_walk {
	bool used, waits; /* for WALK_GO */
	uint64_t id, fsid;
	bool by_path;
	char path[64];
	unsigned dir, file, first, told; /* files since the last mark */
	bool marked;
	unsigned credit;
};

struct amp_room {
	struct event_base *base;
	struct amp_channel *control, *mon;
	unsigned faults;
};

struct rig {
	struct amp_room room;
	struct scand *s;
	struct rules rules;
	struct t_tree tree;
	struct amp_channel *near, *far; /* ampscand's end, the walker's */
	struct t_walk walk[8];
	size_t walks, marks, cancels, hostile, entries, mapped_asked;
	char last_resume[64];
	bool hold_start;
	bool hold_go;	     /* marks are sent, but nothing after them */
	unsigned mark_every; /* files between marks, at least */
	/* the judge */
	struct occurrence *queue;
	bool hold_judge, protect;
	enum engine_state engine;
	bool no_room;	 /* for copies */
	unsigned copies; /* that came with entries */
	/* the keeper */
	struct {
		char name[40];
		uint8_t *data;
		size_t size;
	} record[RECORDS];
	struct {
		void (*done)(struct scand *s, int error, void *arg);
		void *arg;
	} told[256];
	size_t tells, puts;
	int keep_error;
	size_t largest;
};

static struct rig *rig;

struct event_base *amp_room_base(struct amp_room *room)
{
	return room->base;
}

void *amp_room_arg(struct amp_room *room)
{
	(void)room;
	return rig->s;
}

struct amp_channel *amp_room_control(struct amp_room *room)
{
	return room->control;
}

struct amp_cliserver *amp_room_cli(struct amp_room *room)
{
	(void)room;
	return NULL;
}

void scand_repair_wanted(struct scand *s, uint64_t fsid, int64_t since_ns, const char *reason,
			 bool chain_broken)
{
	(void)s;
	(void)fsid;
	(void)since_ns;
	(void)reason;
	(void)chain_broken;
}

void amp_room_fault(struct amp_room *room, enum amp_fault_number n, bool raised, const char *detail)
{
	(void)detail;
	assert_int_equal(n, AMP_FAULT_SCAN_FAILED);
	room->faults += raised;
}

/* --- in place of the rest of ampscand ------------------------------------------ */

struct amp_channel *readers_walker(struct scand *s, int *reader)
{
	(void)s;
	*reader = (int)SCAND_READER_WALKER;
	return NULL;
}

struct amp_channel *readers_demand_walker(struct scand *s, int *reader)
{
	(void)s;
	*reader = (int)SCAND_READER_DEMAND;
	return rig->near;
}

enum engine_state engine_state(const struct scand *s)
{
	(void)s;
	return rig->engine;
}

uint64_t judge_scan_limit(const struct scand *s, bool archive)
{
	(void)s;
	return archive ? 50U << 20 : 5U << 20;
}

bool scans_may_ask(const struct scand *s, bool large, bool demand)
{
	(void)s;
	assert_true(large && demand);
	return !rig->no_room;
}

bool readers_snapshot_is_sealed(int fd, uint64_t size)
{
	struct stat st;

	return fcntl(fd, F_GET_SEALS) == (F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) &&
	       fstat(fd, &st) == 0 && (uint64_t)st.st_size == size;
}

void scand_pump_later(struct scand *s)
{
	(void)s;
}

void scand_tell_state(struct scand *s)
{
	(void)s;
}

void fileid_copy(struct amp_fileid *to, const struct amp_fileid *from)
{
	*to = *from;
}

int park_occurrence(struct scand *s, struct occurrence *o, const struct amp_fileid *file)
{
	(void)s;
	(void)o;
	(void)file;
	return -1;
}

void job_conclude(struct job *j)
{
	(void)j;
}

static void conclude(struct scand *s, struct occurrence *o)
{
	walk_entry_concluded(s, o);
	free(o->path);
	free(o);
}

void occurrence_conclude(struct scand *s, struct occurrence *o)
{
	conclude(s, o);
}

static struct t_file *file_of(const char *path)
{
	for (unsigned d = 0; d < rig->tree.dirs; d++) {
		struct t_dir *dir = &rig->tree.dir[d];
		size_t n = strlen(dir->path);

		for (unsigned f = 0; f < dir->files; f++)
			if (strncmp(path, dir->path, n) == 0 && path[n] == '/' &&
			    strcmp(path + n + 1, dir->file[f].name) == 0)
				return &dir->file[f];
	}
	fail_msg("no file %s", path);
	return NULL;
}

void intake_walk_entry(struct scand *s, struct walk *w, const struct walk_found *found)
{
	struct occurrence *o = calloc(1, sizeof(*o)), **p = &rig->queue;

	(void)s;
	assert_int_equal(walk_cause(w), CAUSE_DEMAND);
	rig->copies += found->snapshot >= 0;
	if (found->snapshot >= 0)
		close(found->snapshot);
	assert_true(asprintf(&o->path, "%s/%.*s", found->directory_path, (int)found->name_size, found->name) >
		    0);
	o->walk = w;
	o->size = found->identity.size;
	o->cause = CAUSE_DEMAND;
	while (*p)
		p = &(*p)->next;
	*p = o;
	rig->entries++;
}

/* By names: evil files are threats, and gone once they are acted upon; large ones are too large. */
static void judge(struct scand *s)
{
	struct occurrence *o = rig->queue;
	struct t_file *f = file_of(o->path);

	rig->queue = o->next;
	f->judged++;
	o->outcome = strncmp(f->name, "large", 5) == 0 ? OUTCOME_TOO_LARGE : OUTCOME_CLEAN;
	if (f->gone)
		o->outcome = OUTCOME_VANISHED;
	else if (strncmp(f->name, "evil", 4) == 0)
		o->outcome = OUTCOME_THREAT;
	if (o->outcome == OUTCOME_THREAT) {
		demand_convicted(s, o, "Test.Evil");
		f->acted++;
		f->gone = rig->protect;
	}
	conclude(s, o);
}

int keep_put(struct scand *s, const char *name, const uint8_t *record, size_t size,
	     void (*done)(struct scand *s, int error, void *arg), void *arg)
{
	unsigned i = 0;

	(void)s;
	assert_true(size <= AMP_KEEP_MAX);
	if (size > rig->largest)
		rig->largest = size;
	while (i < RECORDS && rig->record[i].data && strcmp(rig->record[i].name, name) != 0)
		i++;
	assert_true(i < RECORDS);
	free(rig->record[i].data);
	rig->record[i].data = NULL;
	snprintf(rig->record[i].name, sizeof(rig->record[i].name), "%s", name);
	if (size) {
		rig->record[i].data = malloc(size);
		memcpy(rig->record[i].data, record, size);
		rig->record[i].size = size;
	}
	rig->puts++;
	if (done) {
		assert_true(rig->tells < 256);
		rig->told[rig->tells].done = done;
		rig->told[rig->tells++].arg = arg;
	}
	return 0;
}

/* --- the walker's work ----------------------------------------------------------- */

static struct t_walk *walk_of(uint64_t id)
{
	for (unsigned i = 0; i < 8; i++)
		if (rig->walk[i].used && rig->walk[i].id == id)
			return &rig->walk[i];
	return NULL;
}

static void w_done(struct t_walk *w, const char *error, uint64_t fsid)
{
	Amp__WalkDone d = AMP__WALK_DONE__INIT;

	d.walk_id = w->id;
	d.error = (char *)(uintptr_t)(error ? error : "");
	d.fsid = fsid;
	d.directories = error ? 0 : w->dir - w->first;
	w->used = false;
	amp_channel_send(rig->far, AMP_MSG_WALK_DONE, 0, &d.base, NULL, 0);
}

static void w_mark(struct t_walk *w, const char *path)
{
	Amp__WalkMark m = AMP__WALK_MARK__INIT;

	m.walk_id = w->id;
	m.path.data = (uint8_t *)(uintptr_t)path;
	m.path.len = strlen(path);
	m.directories = w->dir - w->first;
	w->waits = true;
	w->told = 0;
	rig->marks++;
	amp_channel_send(rig->far, AMP_MSG_WALK_MARK, 0, &m.base, NULL, 0);
}

/* Files in messages of three; a symlink and a FIFO with the first. */
static void w_entries(struct t_walk *w)
{
	struct t_dir *dir = &rig->tree.dir[w->dir];
	Amp__WalkEntries m = AMP__WALK_ENTRIES__INIT;
	Amp__WalkEntry e[3], *list[3];
	Amp__WalkOdd odd[2], *odds[2] = {&odd[0], &odd[1]};
	Amp__Handle h = AMP__HANDLE__INIT;
	Amp__Identity id = AMP__IDENTITY__INIT;
	uint64_t number = 1;

	h.bytes.data = (uint8_t *)&number;
	h.bytes.len = sizeof(number);
	h.type = 1;
	id.size = 10;
	id.nlink = 1;
	m.walk_id = w->id;
	m.fsid = w->fsid;
	m.directory_path.data = (uint8_t *)dir->path;
	m.directory_path.len = strlen(dir->path);
	for (unsigned i = 0; i < 2; i++) {
		amp__walk_odd__init(&odd[i]);
		odd[i].kind = i ? AMP__WALK_ODD__KIND__SPECIAL : AMP__WALK_ODD__KIND__SYMLINK;
		odd[i].name.data = (uint8_t *)(uintptr_t) "odd";
		odd[i].name.len = 3;
	}
	m.odd = odds;
	m.n_odd = w->file == 0 ? 2 : 0;
	m.entries = list;
	for (; w->file < dir->files && m.n_entries < 3 && w->credit; w->file++) {
		Amp__WalkEntry *one = &e[m.n_entries];

		if (dir->file[w->file].gone)
			continue;
		amp__walk_entry__init(one);
		one->directory = w->by_path ? NULL : &h;
		one->file = &h;
		one->identity = &id;
		one->name.data = (uint8_t *)dir->file[w->file].name;
		one->name.len = strlen(dir->file[w->file].name);
		list[m.n_entries++] = one;
		w->credit--;
		w->told++;
	}
	amp_channel_send(rig->far, AMP_MSG_WALK_ENTRIES, 0, &m.base, NULL, 0);
}

static bool w_below(const struct t_walk *w)
{
	return w->dir < rig->tree.dirs && path_below(rig->tree.dir[w->dir].path, w->path);
}

/* One message of a walk that may go on. */
static bool w_step(struct t_walk *w)
{
	if (!w->used || w->waits)
		return false;
	if (!w_below(w)) {
		w_done(w, NULL, w->fsid);
	} else if (!w->marked) {
		w->marked = true;
		if (w->told >= rig->mark_every)
			w_mark(w, rig->tree.dir[w->dir].path);
	} else if (w->file < rig->tree.dir[w->dir].files) {
		if (!w->credit)
			return false;
		w_entries(w);
	} else {
		w->dir++;
		w->file = 0;
		w->marked = false;
	}
	return true;
}

static int far_walk(struct amp_channel *ch, struct amp_message *m, void *arg)
{
	const Amp__Walk *ask = (const Amp__Walk *)m->body;
	struct t_walk *w = rig->walk;
	unsigned d = 0;
	uint64_t fsid;

	(void)ch;
	(void)arg;
	assert_true(ask->ordered && ask->credit > 0);
	while (w->used)
		w++;
	*w = (struct t_walk){.used = true,
			     .id = ask->walk_id,
			     .fsid = ask->fsid,
			     .by_path = ask->by_path,
			     .credit = ask->credit};
	snprintf(w->path, sizeof(w->path), "%.*s", (int)ask->path.len, (char *)ask->path.data);
	snprintf(rig->last_resume, sizeof(rig->last_resume), "%.*s", (int)ask->resume.len,
		 ask->resume.len ? (char *)ask->resume.data : "");
	rig->walks++;
	fsid = strncmp(w->path, "/other", 6) == 0 ? OTHER_FSID : FSID;
	if (strcmp(w->path, "/top/mounted") == 0)
		fsid = 9;
	while (d < rig->tree.dirs && !path_below(rig->tree.dir[d].path, w->path))
		d++;
	if (strncmp(w->path, "/nowhere", 8) == 0) {
		w_done(w, "No such file or directory", 0);
	} else if (ask->fsid && ask->fsid != fsid) {
		w_done(w, "on another file system", fsid);
	} else {
		w->fsid = fsid;
		for (w->dir = d; rig->last_resume[0] && w_below(w); w->dir++)
			if (strcmp(rig->tree.dir[w->dir].path, rig->last_resume) == 0)
				break;
		w->first = w->dir;
	}
	return 0;
}

static int far_credit(struct amp_channel *ch, struct amp_message *m, void *arg)
{
	const Amp__WalkCredit *c = (const Amp__WalkCredit *)m->body;
	struct t_walk *w = walk_of(c->walk_id);

	(void)ch;
	(void)arg;
	if (w)
		w->credit += c->credit;
	return 0;
}

static int far_go(struct amp_channel *ch, struct amp_message *m, void *arg)
{
	struct t_walk *w = walk_of(((const Amp__WalkGo *)m->body)->walk_id);

	(void)ch;
	(void)arg;
	if (w)
		w->waits = false;
	return 0;
}

static int far_cancel(struct amp_channel *ch, struct amp_message *m, void *arg)
{
	struct t_walk *w = walk_of(((const Amp__WalkCancel *)m->body)->walk_id);

	(void)ch;
	(void)arg;
	rig->cancels++;
	if (w)
		w_done(w, "cancelled", w->fsid);
	return 0;
}

static const struct amp_dispatch far_rows[] = {
	{AMP_MSG_WALK, &amp__walk__descriptor, AMP_MSG_MAX - 16, 0, 0, 0, far_walk},
	{AMP_MSG_WALK_CREDIT, &amp__walk_credit__descriptor, 64, 0, 0, 0, far_credit},
	{AMP_MSG_WALK_GO, &amp__walk_go__descriptor, 64, 0, 0, 0, far_go},
	{AMP_MSG_WALK_CANCEL, &amp__walk_cancel__descriptor, 64, 0, 0, 0, far_cancel},
};

static int near_entries(struct amp_channel *ch, struct amp_message *m, void *arg)
{
	(void)ch;
	return walk_entries(arg, (int)SCAND_READER_DEMAND, m);
}

static int near_mark(struct amp_channel *ch, struct amp_message *m, void *arg)
{
	(void)ch;
	return walk_mark(arg, (int)SCAND_READER_DEMAND, (const Amp__WalkMark *)m->body);
}

static int near_done(struct amp_channel *ch, struct amp_message *m, void *arg)
{
	(void)ch;
	return walk_done(arg, (int)SCAND_READER_DEMAND, (const Amp__WalkDone *)m->body);
}

static const struct amp_dispatch near_rows[] = {
	{AMP_MSG_WALK_ENTRIES, &amp__walk_entries__descriptor, AMP_MSG_MAX - 16, 0, AMP_MSG_MAX_FDS, 0,
	 near_entries},
	{AMP_MSG_WALK_MARK, &amp__walk_mark__descriptor, AMP_PATH_MAX + 64, 0, 0, 0, near_mark},
	{AMP_MSG_WALK_DONE, &amp__walk_done__descriptor, 4096, 0, 0, 0, near_done},
};

static int mon_mapped(struct amp_channel *ch, struct amp_message *m, void *arg)
{
	(void)ch;
	(void)m;
	(void)arg;
	rig->mapped_asked++;
	return 0;
}

static const struct amp_dispatch mon_rows[] = {
	{AMP_MSG_MAPPED, &amp__mapped__descriptor, 16, 0, 0, 0, mon_mapped},
};

static void on_end(struct amp_channel *ch, enum amp_channel_end end, const char *why, void *arg)
{
	(void)ch;
	(void)why;
	(void)arg;
	rig->hostile += end == AMP_CHANNEL_HOSTILE;
}

static void link_walker(void)
{
	int fds[2];
	struct amp_channel_config c = {
		.name = "far", .table = far_rows, .rows = 4, .on_end = on_end, .arg = rig};

	assert_int_equal(amp_channel_pair(fds), 0);
	rig->far = amp_channel_new(rig->room.base, fds[0], &c);
	c = (struct amp_channel_config){
		.name = "near", .table = near_rows, .rows = 3, .on_end = on_end, .arg = rig->s};
	rig->near = amp_channel_new(rig->room.base, fds[1], &c);
	memset(rig->walk, 0, sizeof(rig->walk));
	walks_pump(rig->s);
}

static void unlink_walker(void)
{
	amp_channel_free(rig->near);
	amp_channel_free(rig->far);
	rig->near = rig->far = NULL;
}

static UNUSED void kill_walker(void)
{
	unlink_walker();
	walk_reader_gone(rig->s, (int)SCAND_READER_DEMAND);
	link_walker();
}

/* --- an ampscand ------------------------------------------------------------------ */

static void add_filesystem(struct scand *s, uint64_t fsid, const char *mount_point)
{
	Amp__FileSystem fs = AMP__FILE_SYSTEM__INIT;

	fs.fsid = fsid;
	fs.how = AMP__FILE_SYSTEM__HOW__BY_HANDLE;
	fs.mount_point.data = (uint8_t *)(uintptr_t)mount_point;
	fs.mount_point.len = strlen(mount_point);
	assert_int_equal(filesystems_set(&s->filesystems, &fs), 0);
}

static void scand_begin(void)
{
	struct scand *s = calloc(1, sizeof(*s));
	int fds[2];
	struct amp_channel_config c = {
		.name = "mon", .table = mon_rows, .rows = 1, .on_end = on_end, .arg = rig};

	rig->s = s;
	s->room = &rig->room;
	s->base = rig->room.base;
	s->rules = &rig->rules;
	assert_int_equal(amp_channel_pair(fds), 0);
	rig->room.mon = amp_channel_new(s->base, fds[0], &c);
	rig->room.control = amp_channel_new(s->base, fds[1], &c);
	assert_int_equal(filesystems_init(&s->filesystems), 0);
	add_filesystem(s, FSID, "/");
	assert_int_equal(demand_init(s), 0);
	for (unsigned i = 0; i < RECORDS; i++)
		if (rig->record[i].data)
			assert_int_equal(demand_restore(s, rig->record[i].name, rig->record[i].data,
							rig->record[i].size),
					 0);
	link_walker();
	if (rig->hold_start)
		return;
	s->started = true;
	demand_began(s);
}

/* It dies: what is not in a record is lost. */
static void scand_end(void)
{
	struct scand *s = rig->s;

	unlink_walker();
	rig->s->demand->scans ? walk_reader_gone(s, (int)SCAND_READER_DEMAND) : (void)0;
	for (size_t i = 0; i < rig->tells; i++)
		rig->told[i].done(s, 0, rig->told[i].arg);
	rig->tells = 0;
	while (rig->queue) {
		struct occurrence *o = rig->queue;

		rig->queue = o->next;
		free(o->path);
		free(o);
	}
	demand_free(s);
	walks_free(s);
	filesystems_free(&s->filesystems);
	amp_channel_free(rig->room.mon);
	amp_channel_free(rig->room.control);
	free(s);
	rig->s = NULL;
}

static void rig_new(void)
{
	rig = calloc(1, sizeof(*rig));
	rig->room.base = event_base_new();
	rig->engine = ENGINE_READY;
	rig->protect = true;
	scand_begin();
}

static void rig_free(void)
{
	scand_end();
	for (unsigned i = 0; i < RECORDS; i++)
		free(rig->record[i].data);
	event_base_free(rig->room.base);
	free(rig);
}

/* One round of everything; false: nothing is left to do. */
static bool rig_step(void)
{
	size_t before = rig->entries + rig->marks + rig->walks, tells = rig->tells;
	bool busy = false;

	event_base_loop(rig->room.base, EVLOOP_NONBLOCK);
	for (size_t i = 0; i < tells; i++)
		rig->told[i].done(rig->s, rig->keep_error, rig->told[i].arg);
	memmove(rig->told, rig->told + tells, (rig->tells - tells) * sizeof(rig->told[0]));
	rig->tells -= tells;
	for (unsigned i = 0; i < 8 && !rig->hold_go; i++)
		busy |= w_step(&rig->walk[i]);
	if (rig->queue && !rig->hold_judge) {
		judge(rig->s);
		busy = true;
	}
	return busy || tells || before != rig->entries + rig->marks + rig->walks;
}

/* Until nothing more happens. */
static UNUSED void rig_run(void)
{
	for (unsigned quiet = 0; quiet < 8;)
		quiet = rig_step() ? 0 : quiet + 1;
}

static UNUSED void tree_make(unsigned dirs, unsigned files)
{
	struct t_tree *t = &rig->tree;

	t->dirs = dirs;
	for (unsigned d = 0; d < dirs; d++) {
		snprintf(t->dir[d].path, sizeof(t->dir[d].path), d ? "/top/d%02u" : "/top", d);
		t->dir[d].files = files;
		for (unsigned f = 0; f < files; f++)
			snprintf(t->dir[d].file[f].name, sizeof(t->dir[d].file[f].name), "%s%u",
				 f == 1 && d % 3 == 0	? "evil"
				 : f == 2 && d % 4 == 0 ? "large"
							: "good",
				 f);
	}
}

static UNUSED struct demand_scan *scan_start(const char *path)
{
	struct demand_paths p = {0};
	struct demand_scan *d;
	const char *why;

	assert_int_equal(demand_paths_add(&p, path, strlen(path)), 0);
	d = demand_start(rig->s, AMP__CLI_SCAN_START__KIND__PATHS, &p, false, &why);
	assert_non_null(d);
	demand_changed(d, true);
	return d;
}

#endif
