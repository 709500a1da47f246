/*
 * ampscand/walk.c - trees to be judged: repairs, and directories that moved.
 *
 * Owns: the walks asked of the walker (the last ampread), their credit, their
 * restart when it dies, the answer to ampmon. Must not own: walking.
 */
#include "scand.h"

#include "counter.h"
#include "log.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CREDIT	   1024U
#define MOVE_TRIES 5U

struct walk {
	struct walk *next;
	uint64_t serial;    /* walk_id on the wire */
	uint64_t repair_id; /* 0: a moved directory */
	uint64_t fsid;
	struct amp_fileid top; /* handle.size 0: the whole file system */
	int64_t since_ns;
	struct who *who;
	struct event_slot slot;
	int64_t time_ns;
	bool active;   /* asked of the walker */
	bool by_path;  /* it may go by names, and read the files */
	bool walked;   /* WALK_DONE came */
	unsigned open; /* entries not concluded */
	unsigned owed; /* credit to give back */
	unsigned tries;
	uint64_t seen, judged;
	char error[128];
};

static struct amp_counter count_moves = AMP_COUNTER("walk.moved_directories", false);
static struct amp_counter count_unwalked = AMP_COUNTER("walk.moves_not_walked", true);
static struct amp_counter count_repairs = AMP_COUNTER("repair.done", false);
static struct amp_counter count_judged = AMP_COUNTER("repair.judged", false);

struct who *walk_who(const struct walk *w)
{
	return w->who;
}

bool walk_is_repair(const struct walk *w)
{
	return w->repair_id != 0;
}

static void report(struct scand *s, const struct walk *w, Amp__RepairState__State state)
{
	Amp__RepairState st = AMP__REPAIR_STATE__INIT;

	if (!w->repair_id)
		return;
	st.repair_id = w->repair_id;
	st.state = state;
	st.seen = w->seen;
	st.judged = w->judged;
	st.detail = (char *)(uintptr_t)w->error;
	amp_channel_send(amp_room_control(s->room), AMP_MSG_REPAIR_STATE, 0, &st.base, NULL, 0);
}

static void walk_free(struct scand *s, struct walk *w)
{
	struct walk **p = &s->walks;

	while (*p && *p != w)
		p = &(*p)->next;
	if (*p)
		*p = w->next;
	s->walk_count--;
	who_unref(w->who);
	free(w);
}

static void finish(struct scand *s, struct walk *w)
{
	if (!w->walked || w->open)
		return;
	if (w->repair_id) {
		amp_counter_add(&count_repairs, 1);
		report(s, w, w->error[0] ? AMP__REPAIR_STATE__STATE__FAILED : AMP__REPAIR_STATE__STATE__DONE);
	} else if (w->error[0]) {
		amp_counter_add(&count_unwalked, 1);
	}
	if (w->slot.kind != SLOT_NONE)
		buffers_conclude(s->buffers, w->slot);
	walk_free(s, w);
	walks_pump(s);
}

static struct walk *walk_new(struct scand *s)
{
	struct walk *w = calloc(1, sizeof(*w));

	if (!w)
		return NULL;
	w->serial = ++s->walk_serial;
	w->next = s->walks;
	s->walks = w;
	s->walk_count++;
	return w;
}

int walk_repair(struct scand *s, const Amp__Repair *r)
{
	struct walk *w;

	if (!filesystems_find(&s->filesystems, r->fsid)) {
		struct walk gone = {.repair_id = r->repair_id, .error = "the file system is gone"};

		report(s, &gone, AMP__REPAIR_STATE__STATE__FAILED);
		return 0;
	}
	for (w = s->walks; w; w = w->next)
		if (w->repair_id == r->repair_id)
			return 0;
	w = walk_new(s);
	if (!w)
		return 0;
	w->repair_id = r->repair_id;
	w->fsid = r->fsid;
	w->since_ns = r->since_ns;
	amp_info("repair %llu begins: %.100s", (unsigned long long)r->repair_id, r->reason);
	walks_pump(s);
	return 0;
}

/* Takes who over. */
void walk_moved(struct scand *s, const struct file_event *ev, struct who *who)
{
	struct walk *w;

	amp_counter_add(&count_moves, 1);
	for (w = s->walks; w; w = w->next)
		if (!w->active && !w->repair_id && amp_fileid_equal(&w->top, &ev->file))
			break;
	/* Moved again before it was walked: one walk finds it where it is then. */
	if (w || s->walk_count >= SCAND_WALKS_MAX || !(w = walk_new(s))) {
		if (!w)
			amp_counter_add(&count_unwalked, 1);
		who_unref(who);
		if (ev->slot.kind != SLOT_NONE)
			buffers_conclude(s->buffers, ev->slot);
		return;
	}
	w->fsid = ev->file.fsid;
	fileid_copy(&w->top, &ev->file);
	w->who = who;
	w->slot = ev->slot;
	walks_pump(s);
}

static int ask(struct scand *s, struct walk *w, struct amp_channel *ch)
{
	const struct filesystem *fs = filesystems_find(&s->filesystems, w->fsid);
	Amp__Walk body = AMP__WALK__INIT;
	Amp__Handle top = AMP__HANDLE__INIT;

	if (!fs || !fs->mount_point[0]) {
		snprintf(w->error, sizeof(w->error), "the file system is not mounted whole");
		w->walked = true;
		return 0;
	}
	body.walk_id = w->serial;
	body.fsid = w->fsid;
	body.mount_point.data = (uint8_t *)fs->mount_point;
	body.mount_point.len = strlen(fs->mount_point);
	if (w->top.handle.size) {
		amp_handle_to_wire(&w->top.handle, &top);
		body.top = &top;
	}
	body.since_ns = w->since_ns;
	w->by_path = fs->how == AMP__FILE_SYSTEM__HOW__BY_FD;
	body.by_path = w->by_path;
	body.credit = CREDIT - w->open; /* the rest comes back as entries are concluded */
	w->owed = 0;
	return amp_channel_send(ch, AMP_MSG_WALK, 0, &body.base, NULL, 0);
}

static struct walk *next_of(struct scand *s, bool repair)
{
	struct walk *oldest = NULL;

	for (struct walk *w = s->walks; w; w = w->next) {
		if (walk_is_repair(w) != repair)
			continue;
		if (w->active)
			return NULL;
		if (!w->walked)
			oldest = w;
	}
	return oldest;
}

/*
 * One moved directory and one repair at a time, oldest first: who moves a
 * large directory to and fro must not keep repairs from being done.
 */
static struct walk *next_walk(struct scand *s)
{
	struct walk *w = next_of(s, false);

	return w ? w : next_of(s, true);
}

void walks_pump(struct scand *s)
{
	int at;
	struct amp_channel *ch = readers_walker(s, &at);
	struct walk *w;

	while (ch && s->started && (w = next_walk(s)) != NULL) {
		if (ask(s, w, ch) != 0)
			return;
		if (w->walked) {
			finish(s, w);
			return; /* finish() pumps again */
		}
		w->active = true;
		report(s, w, AMP__REPAIR_STATE__STATE__WALKING);
	}
}

static struct walk *find(struct scand *s, uint64_t serial)
{
	struct walk *w = s->walks;

	while (w && !(w->serial == serial && w->active))
		w = w->next;
	return w;
}

/* With a directory it is a file to be read; without, one that was read. */
static bool entry_is_valid(const struct walk *w, const Amp__WalkEntry *e)
{
	bool read = e->sha256.len == AMP_SHA256_SIZE;

	return (e->directory ? e->sha256.len == 0 : w->by_path && (read || e->sha256.len == 0)) &&
	       e->name.len > 0 && e->name.len <= AMP_NAME_MAX && !memchr(e->name.data, '/', e->name.len) &&
	       !memchr(e->name.data, 0, e->name.len);
}

static int take_entry(struct scand *s, struct walk *w, const Amp__WalkEntry *e, const char *dir_path)
{
	struct amp_fileid file = {.fsid = w->fsid}, dir = {.fsid = w->fsid};
	struct walk_found found = {.file = &file,
				   .name = (const char *)e->name.data,
				   .name_size = e->name.len,
				   .directory_path = dir_path,
				   .sha256 = e->sha256.len ? e->sha256.data : NULL,
				   .script = e->script};

	if (!entry_is_valid(w, e) || amp_handle_from_wire(e->file, &file.handle) != 0 ||
	    (e->directory && amp_handle_from_wire(e->directory, &dir.handle) != 0) ||
	    amp_identity_from_wire(e->identity, &found.identity) != 0)
		return -1;
	if (e->directory)
		found.directory = &dir;
	w->open++;
	w->judged++;
	if (w->repair_id)
		amp_counter_add(&count_judged, 1);
	intake_walk_entry(s, w, &found);
	return 0;
}

int walk_entries(struct scand *s, int reader, const Amp__WalkEntries *e)
{
	struct walk *w = find(s, e->walk_id);
	char *path = NULL;
	int rc = 0, walker;

	readers_walker(s, &walker);
	if (!w || reader != walker || e->n_entries > AMP_WALK_BATCH || w->open + e->n_entries > CREDIT)
		return -1;
	if (e->directory_path.len) {
		if (e->directory_path.len >= AMP_PATH_MAX || e->directory_path.data[0] != '/' ||
		    memchr(e->directory_path.data, 0, e->directory_path.len))
			return -1;
		path = strndup((const char *)e->directory_path.data, e->directory_path.len);
	}
	w->seen = e->seen;
	w->open++; /* held: it must not finish under our hands */
	for (size_t i = 0; i < e->n_entries && rc == 0; i++)
		rc = take_entry(s, w, e->entries[i], path);
	w->open--;
	free(path);
	if (rc == 0)
		finish(s, w);
	return rc;
}

static void give_credit(struct scand *s, struct walk *w)
{
	Amp__WalkCredit c = AMP__WALK_CREDIT__INIT;
	int at;
	struct amp_channel *ch = readers_walker(s, &at);

	if (!ch || !w->active || w->walked || (w->owed < CREDIT / 4 && w->open))
		return;
	c.walk_id = w->serial;
	c.credit = w->owed;
	if (amp_channel_send(ch, AMP_MSG_WALK_CREDIT, 0, &c.base, NULL, 0) == 0)
		w->owed = 0;
}

void walk_entry_concluded(struct scand *s, struct walk *w)
{
	w->open--;
	w->owed++;
	give_credit(s, w);
	finish(s, w);
}

int walk_done(struct scand *s, int reader, const Amp__WalkDone *d)
{
	struct walk *w = find(s, d->walk_id);
	int walker;

	readers_walker(s, &walker);
	if (!w || reader != walker)
		return -1;
	w->active = false;
	w->walked = true;
	w->seen = d->seen;
	snprintf(w->error, sizeof(w->error), "%.120s", d->error ? d->error : "");
	if (d->unreadable || d->too_deep)
		amp_warn("walk: %llu directories or files could not be read, %llu directories were too deep",
			 (unsigned long long)d->unreadable, (unsigned long long)d->too_deep);
	finish(s, w);
	return 0;
}

/* From the start again: what was judged already is found in the cache. */
void walk_reader_gone(struct scand *s, int reader)
{
	int walker;

	readers_walker(s, &walker);
	if (reader != walker)
		return;
	for (struct walk *w = s->walks; w;) {
		struct walk *next = w->next;

		if (w->active) {
			w->active = false;
			w->serial = ++s->walk_serial;
			if (++w->tries >= MOVE_TRIES && !w->repair_id) {
				w->walked = true;
				snprintf(w->error, sizeof(w->error), "the walker died on it");
				finish(s, w);
			}
		}
		w = next;
	}
}

void walk_filesystem_gone(struct scand *s, uint64_t fsid)
{
	struct walk *w = s->walks;

	while (w) {
		if (w->fsid != fsid || w->active || w->walked) {
			w = w->next;
			continue;
		}
		w->walked = true;
		snprintf(w->error, sizeof(w->error), "the file system is gone");
		finish(s, w);
		w = s->walks; /* finish() may have ended others as well */
	}
}

/* A walk takes long: its event leaves the read buffer. */
void walks_park(struct scand *s)
{
	for (struct walk *w = s->walks; w; w = w->next) {
		struct occurrence moved = {
			.cause = EVENT_RENAME | EVENT_DIRECTORY, .slot = w->slot, .who = w->who};

		if (w->slot.kind != SLOT_BUFFER || park_occurrence(s, &moved, &w->top) != 0)
			continue;
		w->slot = moved.slot;
	}
}

void walks_free(struct scand *s)
{
	while (s->walks)
		walk_free(s, s->walks);
}
