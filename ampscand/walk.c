/*
 * ampscand/walk.c - trees to be judged: repairs, directories that moved, scans
 * on demand.
 *
 * Owns: the walks asked of the two walkers (one instance of ampread for repairs
 * and moves, one for scans on demand), their credit, their restart when one dies,
 * the answer to ampmon, the marks of ordered walks. A walk that was cancelled
 * stays until the walker has said its end, since what it sent may be under way.
 * Must not own: walking; what a scan makes of it (demand.c).
 */
#include "demand.h"

#include "counter.h"
#include "log.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define CREDIT	    1024U
#define CREDIT_SCAN 256U /* of a scan on demand */
#define CREDIT_READ 4U	 /* where entries come with what was read of them */
#define MOVE_TRIES  5U
#define COPY_SLACK  (1U << 20) /* of a file that grew while it was read */

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
	bool active;	   /* asked of the walker */
	bool by_path;	   /* it may go by names, and read the files */
	bool walked;	   /* WALK_DONE came */
	unsigned open;	   /* entries not concluded */
	unsigned owed;	   /* credit to give back */
	uint64_t copy_max; /* entries may come with copies up to that; 0: they do not */
	unsigned given;	   /* then: entries that it may still send */
	unsigned tries;
	uint64_t seen, judged;
	char error[128];

	/* Of a scan on demand. */
	bool ordered;
	struct demand_scan *scan; /* NULL: it is gone */
	char *path, *resume;	  /* resume may be NULL */
	bool cancelled;
	bool marked; /* the walker waits for WALK_GO */
	char *mark;
	uint64_t found_fsid; /* that the walker told with the entries */
	struct walk_end end;
};

static struct amp_counter count_moves = AMP_COUNTER("walk.moved_directories", false);
static struct amp_counter count_unwalked = AMP_COUNTER("walk.moves_not_walked", true);
static struct amp_counter count_repairs = AMP_COUNTER("repair.done", false);
static struct amp_counter count_judged = AMP_COUNTER("repair.judged", false);

unsigned walks_of_moves(const struct scand *s)
{
	unsigned n = 0;

	for (const struct walk *w = s->walks; w; w = w->next)
		n += !w->ordered && !w->repair_id;
	return n;
}

struct who *walk_who(const struct walk *w)
{
	return w->who;
}

bool walk_is_repair(const struct walk *w)
{
	return w->repair_id != 0;
}

unsigned walk_cause(const struct walk *w)
{
	if (w->ordered)
		return CAUSE_DEMAND;
	return walk_is_repair(w) ? CAUSE_REPAIR : CAUSE_MOVE;
}

/* Who walks it, by instance; NULL: there is none now. */
static struct amp_channel *walker_of(struct scand *s, const struct walk *w, int *reader)
{
	return w->ordered ? readers_demand_walker(s, reader) : readers_walker(s, reader);
}

static unsigned credit_of(const struct walk *w)
{
	if (!w->ordered)
		return CREDIT;
	return w->by_path ? CREDIT_READ : CREDIT_SCAN;
}

/* Each may bring a large copy: one more at a time, and only where there is room for it. */
static bool may_give_copy(const struct scand *s, const struct walk *w)
{
	return w->given == 0 && w->open < CREDIT_READ && scans_may_ask(s, true, true);
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
	free(w->path);
	free(w->resume);
	free(w->mark);
	free(w);
}

static void finish_ordered(struct scand *s, struct walk *w)
{
	struct demand_scan *d = w->cancelled ? NULL : w->scan;
	struct walk_end end = w->end;
	char error[sizeof(w->error)];

	memcpy(error, w->error, sizeof(error));
	end.error = error;
	walk_free(s, w);
	if (d)
		demand_walked(s, d, &end);
}

static void finish(struct scand *s, struct walk *w)
{
	if (!w->walked || w->open)
		return;
	if (w->ordered) {
		finish_ordered(s, w);
		return;
	}
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

/* Where it is walked is told by no change time: what lies in it may be old. */
static void look_everywhere(struct scand *s, uint64_t fsid)
{
	amp_counter_add(&count_unwalked, 1);
	scand_repair_wanted(s, fsid, 0, "more moved directories than are kept", false);
}

/* Takes who over. */
void walk_moved(struct scand *s, const struct file_event *ev, struct who *who)
{
	struct walk *w;

	amp_counter_add(&count_moves, 1);
	for (w = s->walks; w; w = w->next)
		if (!w->active && !w->walked && !w->repair_id && amp_fileid_equal(&w->top, &ev->file))
			break;
	/* Moved again before it was walked: one walk finds it where it is then. */
	if (w || s->walk_count >= SCAND_WALKS_MAX || !(w = walk_new(s))) {
		if (!w)
			look_everywhere(s, ev->file.fsid);
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
		if (w->ordered || walk_is_repair(w) != repair)
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

	demand_later(s);
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

/* The walk of that id, if it is this reader that walks it. */
static struct walk *find(struct scand *s, uint64_t serial, int reader)
{
	struct walk *w = s->walks;
	int walker;

	while (w && !(w->serial == serial && w->active))
		w = w->next;
	if (w)
		walker_of(s, w, &walker);
	return w && walker == reader ? w : NULL;
}

/* With a directory it is a file to be read; without, one that was read. */
static bool entry_is_valid(const struct walk *w, const Amp__WalkEntry *e)
{
	bool read = e->sha256.len == AMP_SHA256_SIZE;

	/* Handles of a file system that is not watched lead nowhere. */
	if (w->ordered && !w->fsid && e->directory)
		return false;
	return (e->directory ? e->sha256.len == 0 : w->by_path && (read || e->sha256.len == 0)) &&
	       e->name.len > 0 && e->name.len <= AMP_NAME_MAX && !memchr(e->name.data, '/', e->name.len) &&
	       !memchr(e->name.data, 0, e->name.len);
}

/* A file that changed while it was read need not be as long as it is by now. */
static bool is_copy(int fd, uint64_t max)
{
	struct stat st;

	return fd >= 0 && fstat(fd, &st) == 0 && st.st_size >= 0 &&
	       (uint64_t)st.st_size <= max + COPY_SLACK &&
	       readers_snapshot_is_sealed(fd, (uint64_t)st.st_size);
}

/* Of what was read, and no other entry has it. */
static bool snapshot_is_valid(const struct walk *w, const struct amp_message *m, const Amp__WalkEntry *e)
{
	if (e->snapshot_index == 0)
		return true;
	return w->copy_max && e->sha256.len && e->snapshot_index <= m->fd_count &&
	       is_copy(m->fds[e->snapshot_index - 1], w->copy_max);
}

static int take_entry(struct scand *s, struct walk *w, struct amp_message *m, const Amp__WalkEntry *e,
		      const char *dir_path)
{
	uint64_t fsid = w->fsid ? w->fsid : w->found_fsid;
	struct amp_fileid file = {.fsid = fsid}, dir = {.fsid = fsid};
	struct walk_found found = {.file = &file,
				   .name = (const char *)e->name.data,
				   .name_size = e->name.len,
				   .directory_path = dir_path,
				   .sha256 = e->sha256.len ? e->sha256.data : NULL,
				   .script = e->script,
				   .archive = e->archive,
				   .snapshot = -1};

	if (!entry_is_valid(w, e) || !snapshot_is_valid(w, m, e) ||
	    amp_handle_from_wire(e->file, &file.handle) != 0 ||
	    (e->directory && amp_handle_from_wire(e->directory, &dir.handle) != 0) ||
	    amp_identity_from_wire(e->identity, &found.identity) != 0)
		return -1;
	if (e->directory)
		found.directory = &dir;
	if (e->snapshot_index)
		found.snapshot = amp_message_take_fd(m, e->snapshot_index - 1);
	w->open++;
	w->judged++;
	if (w->repair_id)
		amp_counter_add(&count_judged, 1);
	intake_walk_entry(s, w, &found);
	return 0;
}

static int send_credit(struct scand *s, const struct walk *w, unsigned credit)
{
	Amp__WalkCredit c = AMP__WALK_CREDIT__INIT;
	int at;
	struct amp_channel *ch = walker_of(s, w, &at);

	c.walk_id = w->serial;
	c.credit = credit;
	return ch && w->active && !w->walked && !w->cancelled
		       ? amp_channel_send(ch, AMP_MSG_WALK_CREDIT, 0, &c.base, NULL, 0)
		       : -1;
}

static void give_credit(struct scand *s, struct walk *w)
{
	if (w->copy_max) {
		if (may_give_copy(s, w) && send_credit(s, w, 1) == 0)
			w->given = 1;
		return;
	}
	if (w->owed < credit_of(w) / 4 && w->open)
		return;
	if (send_credit(s, w, w->owed) == 0)
		w->owed = 0;
}

static bool is_host_path(const ProtobufCBinaryData *p)
{
	return p->len > 0 && p->len < AMP_PATH_MAX && p->data[0] == '/' && !memchr(p->data, 0, p->len);
}

static bool odd_is_valid(const Amp__WalkOdd *o)
{
	return o->kind > AMP__WALK_ODD__KIND__NONE && o->kind <= AMP__WALK_ODD__KIND__TOO_DEEP &&
	       o->name.len <= AMP_NAME_MAX &&
	       !memchr(o->name.data ? o->name.data : (uint8_t *)"", '/', o->name.len) &&
	       !memchr(o->name.data ? o->name.data : (uint8_t *)"", 0, o->name.len);
}

static bool entries_are_valid(const struct walk *w, const Amp__WalkEntries *e)
{
	if (e->n_entries > AMP_WALK_BATCH || e->n_odd > AMP_WALK_BATCH ||
	    w->open + e->n_entries > credit_of(w) || (w->copy_max && e->n_entries > w->given) ||
	    (e->directory_path.len && !is_host_path(&e->directory_path)))
		return false;
	if (!w->ordered)
		return e->n_odd == 0;
	for (size_t i = 0; i < e->n_odd; i++)
		if (!odd_is_valid(e->odd[i]))
			return false;
	return !w->marked;
}

static const unsigned odd_kinds[] = {
	[AMP__WALK_ODD__KIND__UNREADABLE] = OUTCOME_UNREADABLE,
	[AMP__WALK_ODD__KIND__VANISHED] = OUTCOME_VANISHED,
	[AMP__WALK_ODD__KIND__SPECIAL] = OUTCOME_SPECIAL,
	[AMP__WALK_ODD__KIND__SYMLINK] = DEMAND_SYMLINK,
	[AMP__WALK_ODD__KIND__MOUNT] = DEMAND_MOUNT,
	[AMP__WALK_ODD__KIND__TOO_DEEP] = DEMAND_TOO_DEEP,
};

/* What is no file to be judged is told to its scan. */
static void take_odd(struct walk *w, const Amp__WalkOdd *odd, const char *dir_path)
{
	size_t dir = dir_path ? strlen(dir_path) : 0;
	char *path = malloc(dir + odd->name.len + 2);

	if (!path)
		return;
	memcpy(path, dir_path ? dir_path : "", dir);
	if (odd->name.len && (dir == 0 || path[dir - 1] != '/'))
		path[dir++] = '/';
	if (odd->name.len)
		memcpy(path + dir, odd->name.data, odd->name.len);
	path[dir + odd->name.len] = '\0';
	demand_count_odd(w->scan, odd_kinds[odd->kind], path);
	free(path);
}

static int take_entries(struct scand *s, struct walk *w, struct amp_message *m)
{
	const Amp__WalkEntries *e = (const Amp__WalkEntries *)m->body;
	char *path = NULL;
	int rc = 0;

	if (e->directory_path.len)
		path = strndup((const char *)e->directory_path.data, e->directory_path.len);
	w->seen = e->seen;
	w->found_fsid = e->fsid;
	/* What is convicted there is opened again to be taken. */
	if (w->ordered && !w->fsid && e->fsid && path && e->n_entries)
		filesystems_visit(&s->filesystems, e->fsid, path);
	if (w->ordered && w->scan && e->n_entries + e->n_odd)
		demand_entered(w->scan, path);
	w->given -= w->copy_max ? (unsigned)e->n_entries : 0;
	w->open++; /* held: it must not finish under our hands */
	for (size_t i = 0; i < e->n_odd && w->scan; i++)
		take_odd(w, e->odd[i], path);
	for (size_t i = 0; i < e->n_entries && rc == 0; i++)
		rc = take_entry(s, w, m, e->entries[i], path);
	w->open--;
	free(path);
	if (rc == 0 && w->copy_max)
		give_credit(s, w);
	if (rc == 0)
		finish(s, w);
	return rc;
}

int walk_entries(struct scand *s, int reader, struct amp_message *m)
{
	const Amp__WalkEntries *e = (const Amp__WalkEntries *)m->body;
	struct walk *w = find(s, e->walk_id, reader);

	if (!w || !entries_are_valid(w, e))
		return -1;
	if (!w->cancelled)
		return take_entries(s, w, m);
	/* Under way when it was cancelled. */
	for (unsigned i = 0; i < m->fd_count; i++)
		close(amp_message_take_fd(m, i));
	return 0;
}

void walks_credit(struct scand *s)
{
	for (struct walk *w = s->walks; w; w = w->next)
		if (w->copy_max)
			give_credit(s, w);
}

/* All before the mark is concluded: its scan is told, and says walk_go(). */
static void look_at_mark(struct scand *s, struct walk *w)
{
	char *path;

	if (!w->mark || w->open || w->cancelled || !w->scan)
		return;
	path = w->mark;
	w->mark = NULL;
	demand_marked(s, w->scan, path, w->end.directories);
	free(path);
}

void walk_entry_concluded(struct scand *s, struct occurrence *o)
{
	struct walk *w = o->walk;

	w->open--;
	w->owed++;
	if (w->ordered && w->scan)
		demand_concluded(s, w, o);
	give_credit(s, w);
	look_at_mark(s, w);
	finish(s, w);
}

int walk_mark(struct scand *s, int reader, const Amp__WalkMark *m)
{
	struct walk *w = find(s, m->walk_id, reader);

	if (!w || !w->ordered || w->marked || w->mark || !is_host_path(&m->path))
		return -1;
	if (w->cancelled)
		return 0;
	w->mark = strndup((const char *)m->path.data, m->path.len);
	if (!w->mark)
		return 0; /* it waits: the scan is resumed when the walker is cancelled */
	w->marked = true;
	w->end.directories = m->directories;
	look_at_mark(s, w);
	return 0;
}

void walk_go(struct scand *s, struct walk *w)
{
	Amp__WalkGo go = AMP__WALK_GO__INIT;
	int at;
	struct amp_channel *ch = walker_of(s, w, &at);

	if (!w->marked || w->cancelled)
		return;
	w->marked = false;
	go.walk_id = w->serial;
	/* A failure ends the channel, and then the walk is asked for again. */
	if (ch)
		amp_channel_send(ch, AMP_MSG_WALK_GO, 0, &go.base, NULL, 0);
}

/* Of the file system that was asked for, or it was not walked. */
static bool end_is_valid(const struct walk *w, const Amp__WalkDone *d)
{
	bool error = d->error && d->error[0];

	if (!w->ordered || w->cancelled)
		return true;
	return !w->marked && (error || !w->fsid || d->fsid == w->fsid);
}

int walk_done(struct scand *s, int reader, const Amp__WalkDone *d)
{
	struct walk *w = find(s, d->walk_id, reader);

	if (!w || !end_is_valid(w, d))
		return -1;
	w->active = false;
	w->walked = true;
	w->seen = d->seen;
	w->end.fsid = d->fsid;
	w->end.asked = w->fsid;
	w->end.unreadable = d->unreadable;
	w->end.too_deep = d->too_deep;
	w->end.directories = d->directories;
	snprintf(w->error, sizeof(w->error), "%.120s", d->error ? d->error : "");
	if (!w->ordered && (d->unreadable || d->too_deep))
		amp_warn("walk: %llu directories or files could not be read, %llu directories were too deep",
			 (unsigned long long)d->unreadable, (unsigned long long)d->too_deep);
	finish(s, w);
	return 0;
}

/* From the start again: what was judged already is found in the cache. */
static void again(struct scand *s, struct walk *w)
{
	w->active = false;
	w->serial = ++s->walk_serial;
	if (++w->tries >= MOVE_TRIES && !w->repair_id) {
		w->walked = true;
		snprintf(w->error, sizeof(w->error), "the walker died on it");
		finish(s, w);
	}
}

/* Its scan goes on from its last mark, by another walk. */
static void lost(struct scand *s, struct walk *w)
{
	struct demand_scan *d = w->cancelled ? NULL : w->scan;

	w->active = false;
	w->walked = true;
	w->cancelled = true;
	if (d)
		demand_walker_died(s, d);
	finish(s, w);
}

void walk_reader_gone(struct scand *s, int reader)
{
	for (struct walk *w = s->walks; w;) {
		struct walk *next = w->next;
		int walker;

		walker_of(s, w, &walker);
		if (w->active && walker == reader) {
			if (w->ordered)
				lost(s, w);
			else
				again(s, w);
		}
		w = next;
	}
}

/* -- of scans on demand -- */

static int ask_ordered(struct scand *s, struct walk *w, const struct filesystem *fs, struct amp_channel *ch)
{
	Amp__Walk body = AMP__WALK__INIT;

	body.walk_id = w->serial;
	body.fsid = w->fsid;
	body.mount_point.data = (uint8_t *)(uintptr_t)(fs && fs->mount_point[0] ? fs->mount_point : "/");
	body.mount_point.len = strlen((char *)body.mount_point.data);
	body.path.data = (uint8_t *)w->path;
	body.path.len = strlen(w->path);
	body.ordered = true;
	body.by_path = w->by_path;
	if (w->by_path && s->rules && engine_state(s) == ENGINE_READY) {
		body.snapshot_max = judge_scan_limit(s, false);
		body.archive_max = judge_scan_limit(s, true);
		w->copy_max = body.snapshot_max > body.archive_max ? body.snapshot_max : body.archive_max;
	}
	w->given = w->copy_max ? 1 : 0;
	body.credit = w->copy_max ? w->given : credit_of(w);
	if (w->resume) {
		body.resume.data = (uint8_t *)w->resume;
		body.resume.len = strlen(w->resume);
	}
	return amp_channel_send(ch, AMP_MSG_WALK, 0, &body.base, NULL, 0);
}

struct walk *walk_demand(struct scand *s, struct demand_scan *d, const char *path, const char *resume,
			 const struct filesystem *fs)
{
	int at;
	struct amp_channel *ch = readers_demand_walker(s, &at);
	struct walk *w = ch ? walk_new(s) : NULL;

	if (!w)
		return NULL;
	w->ordered = true;
	w->scan = d;
	w->fsid = fs ? fs->fsid : 0;
	w->by_path = !fs || fs->how != AMP__FILE_SYSTEM__HOW__BY_HANDLE;
	w->path = strdup(path);
	w->resume = resume ? strdup(resume) : NULL;
	w->active = true;
	if (w->path && (!resume || w->resume) && ask_ordered(s, w, fs, ch) == 0)
		return w;
	walk_free(s, w);
	return NULL;
}

bool walk_demand_by_path(const struct walk *w)
{
	return w->by_path;
}

void walk_cancel(struct scand *s, struct walk *w)
{
	Amp__WalkCancel c = AMP__WALK_CANCEL__INIT;
	int at;
	struct amp_channel *ch = walker_of(s, w, &at);

	if (w->cancelled)
		return;
	w->cancelled = true;
	free(w->mark);
	w->mark = NULL;
	c.walk_id = w->serial;
	if (ch && w->active)
		amp_channel_send(ch, AMP_MSG_WALK_CANCEL, 0, &c.base, NULL, 0);
}

/* A job leaves if nothing else waits for it. */
static void drop_from(struct scand *s, struct job *j, const struct walk *w)
{
	struct occurrence *o = j->first;

	while (o) {
		struct occurrence *next = o->next;

		if (o->walk == w)
			occurrence_conclude(s, o);
		o = next;
	}
	if (!j->first)
		job_conclude(j);
}

static void drop(struct scand *s, struct walk *w)
{
	w->open++;
	for (struct cache_node *n = s->jobs.oldest; n && w->open > 1;) {
		struct job *j = (struct job *)n;

		n = n->newer;
		if (j->state != JOB_READING && j->state != JOB_SCANNING)
			drop_from(s, j, w);
	}
	w->open--;
	finish(s, w);
}

/* What is being read now may be queued again, so this is done until nothing is left. */
bool walks_drop(struct scand *s)
{
	bool left = false;

	for (struct walk *w = s->walks, *next; w; w = next) {
		next = w->next;
		if (!w->cancelled)
			continue;
		left = true;
		drop(s, w);
	}
	return left;
}

void walks_forget_scan(struct scand *s, const struct demand_scan *d)
{
	for (struct walk *w = s->walks; w; w = w->next)
		if (w->scan == d)
			w->scan = NULL;
}

struct demand_scan *walk_scan(const struct walk *w)
{
	return w->scan;
}

bool walk_is_cancelled(const struct walk *w)
{
	return w->cancelled;
}

void walk_filesystem_gone(struct scand *s, uint64_t fsid)
{
	struct walk *w = s->walks;

	while (w) {
		if (w->ordered || w->fsid != fsid || w->active || w->walked) {
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
