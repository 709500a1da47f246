/*
 * ampscand/intake.c - from a source's event to a job.
 *
 * Owns: what each kind of event means (which are concluded at once, which
 * empty a cache, which join a job), the short way of a known clean program,
 * the trail of exec events of a process (for scripts), our own directories.
 * Must not own: paths, reading, decisions.
 */
#include "scand.h"

#include "clock.h"
#include "counter.h"
#include "log.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define TRAILS	     512U
#define TRAIL_IDS    6U
#define TRAIL_HANDLE 40U
#define OWN_MAX	     32U
#define TRIES_MAX    3U
#define CROWD	     64U /* events of a job, from where on those alike are one */

struct trail {
	pid_t pid;
	unsigned next; /* ring */
	struct {
		uint64_t fsid;
		int32_t type;
		uint32_t size;
		uint8_t bytes[TRAIL_HANDLE];
	} ids[TRAIL_IDS];
};

struct own_directory {
	struct own_directory *next;
	struct amp_fileid id;
};

static struct amp_counter count_overflow = AMP_COUNTER("events.overflow", true);
static struct amp_counter count_early = AMP_COUNTER("events.unknown_filesystem", false);
static struct amp_counter count_own = AMP_COUNTER("events.own", false);
static struct amp_counter count_own_renames = AMP_COUNTER("events.own_renames", false);
static struct amp_counter count_fast = AMP_COUNTER("events.known_programs", false);
static struct amp_counter count_joined = AMP_COUNTER("events.joined", false);
static struct amp_counter count_no_handle = AMP_COUNTER("events.without_handle", true);
static struct amp_counter count_no_memory = AMP_COUNTER("events.no_memory", true);
static struct amp_counter count_not_again = AMP_COUNTER("events.not_judged_again", true);
static struct amp_counter count_unscannable = AMP_COUNTER("events.unscannable", true);
static struct amp_counter count_no_program = AMP_COUNTER("running.without_handle", false);

/* -- the trail of a process's execs -- */

static void trail_add(struct scand *s, pid_t pid, const struct amp_fileid *id)
{
	struct trail *t;
	unsigned i;

	if (pid <= 0 || id->handle.size > TRAIL_HANDLE)
		return;
	if (!s->trails)
		s->trails = calloc(TRAILS, sizeof(*s->trails));
	if (!s->trails)
		return;
	t = &s->trails[(unsigned)pid % TRAILS];
	if (t->pid != pid) {
		memset(t, 0, sizeof(*t));
		t->pid = pid;
	}
	i = t->next++ % TRAIL_IDS;
	t->ids[i].fsid = id->fsid;
	t->ids[i].type = id->handle.type;
	t->ids[i].size = id->handle.size;
	memcpy(t->ids[i].bytes, id->handle.bytes, id->handle.size);
}

static void trail_get(const struct trail *t, unsigned i, struct amp_fileid *id)
{
	memset(id, 0, sizeof(*id));
	id->fsid = t->ids[i].fsid;
	id->handle.type = t->ids[i].type;
	id->handle.size = t->ids[i].size;
	memcpy(id->handle.bytes, t->ids[i].bytes, t->ids[i].size);
}

size_t intake_trail(struct scand *s, pid_t pid, const struct amp_fileid *script, struct amp_fileid *ids,
		    size_t max)
{
	const struct trail *t = s->trails ? &s->trails[(unsigned)pid % TRAILS] : NULL;
	unsigned first, at;
	size_t n = 0;

	if (!t || t->pid != pid)
		return 0;
	first = t->next > TRAIL_IDS ? t->next - TRAIL_IDS : 0;
	for (at = t->next; at > first; at--) {
		struct amp_fileid id;

		trail_get(t, (at - 1) % TRAIL_IDS, &id);
		if (amp_fileid_equal(&id, script))
			return n;
		if (n < max)
			ids[n++] = id;
	}
	return 0; /* the script's own event is not on the trail */
}

/* -- our own directories -- */

int intake_own_directory(struct scand *s, const Amp__OwnDirectory *own)
{
	struct own_directory *d = s->own;
	struct own_directory n = {.next = NULL};
	unsigned count = 0;

	if (!own->handle || amp_handle_from_wire(own->handle, &n.id.handle) != 0)
		return -1;
	n.id.fsid = own->fsid;
	for (; d; d = d->next, count++)
		if (amp_fileid_equal(&d->id, &n.id))
			return 0;
	if (count >= OWN_MAX)
		return -1;
	d = malloc(sizeof(*d));
	if (!d)
		return 0;
	*d = n;
	d->next = s->own;
	s->own = d;
	return 0;
}

static bool is_own(const struct scand *s, const struct amp_fileid *dir)
{
	for (const struct own_directory *d = s->own; d; d = d->next)
		if (amp_fileid_equal(&d->id, dir))
			return true;
	return false;
}

/* -- events -- */

static void conclude_slot(struct scand *s, const struct file_event *ev)
{
	if (ev->slot.kind != SLOT_NONE)
		buffers_conclude(s->buffers, ev->slot);
}

static void on_overflow(struct scand *s, const struct file_event *ev)
{
	int64_t empty = scand_seen_empty(s), since = empty ? empty - 2 * AMP_NS_PER_SEC : 0;

	amp_counter_add(&count_overflow, 1);
	amp_error("the kernel's event queue overflowed: events are lost, a repair will find what was missed");
	verdicts_clear(&s->verdicts);
	for (struct filesystem *fs = s->filesystems.first; fs; fs = fs->next)
		directories_flush(&s->filesystems, fs->fsid);
	scand_repair_wanted(s, 0, since, "event queue overflow", true);
	conclude_slot(s, ev);
}

static void on_directory(struct scand *s, const struct file_event *ev)
{
	if (!(ev->bits & EVENT_RENAME) || !ev->file.handle.size) {
		conclude_slot(s, ev); /* a new directory is empty */
		return;
	}
	directories_flush(&s->filesystems, ev->file.fsid);
	walk_moved(s, ev, who_look(s->who, ev->pid, ev->pidfd));
}

/* A program judged before, and nothing says otherwise by now: nothing to do. */
static bool known_program(struct scand *s, const struct file_event *ev)
{
	const struct verdict *v;

	if (ev->bits != EVENT_EXEC || job_find(s, &ev->file))
		return false;
	v = verdicts_find(&s->verdicts, &ev->file);
	if (!v || !judge_is_settled(s, v))
		return false;
	if (!judge_is_firm(s, &ev->file, v))
		return false; /* only a look tells whether it is still what was judged */
	amp_counter_add(&count_fast, 1);
	return true;
}

/* The close of a file whose making still waits: one occurrence for both. */
static bool joins_settling(struct scand *s, struct job *j, const struct file_event *ev)
{
	for (struct occurrence *o = j->first; o && j->state == JOB_SETTLING; o = o->next) {
		if (o->cause != EVENT_CREATE || !o->directory || o->name_size != ev->name_size ||
		    memcmp(o->name, ev->name, ev->name_size) != 0 ||
		    !amp_fileid_equal(o->directory, &ev->directory))
			continue;
		if (o->slot.kind != SLOT_NONE)
			buffers_conclude(s->buffers, o->slot);
		o->slot = ev->slot;
		o->cause |= ev->bits & CAUSE_CONTENT;
		return true;
	}
	return false;
}

static bool same_who(const struct who *a, const struct who *b)
{
	if (!a || !b || !a->known || !b->known)
		return (!a || !a->known) && (!b || !b->known); /* either is excluded by nothing */
	return a->pid == b->pid && a->uid == b->uid && a->exe_ino == b->exe_ino && a->exe_dev == b->exe_dev;
}

/* Alike it may be, and a later process of that pid: the last that was seen has the pid if anyone has. */
static void see_again(struct occurrence *o, struct who *who)
{
	if (!who || !who->known)
		return;
	who_unref(o->who);
	o->who = who_ref(who);
}

/*
 * The same again while the job waits. Of few events each is kept for itself;
 * one process can make any number, so of many those are one that are alike.
 */
static bool joins_crowd(struct scand *s, struct job *j, const struct file_event *ev, unsigned cause,
			struct who *who)
{
	for (struct occurrence *o = j->count >= CROWD ? j->first : NULL; o; o = o->next) {
		if (o->cause != cause || o->walk || (ev->fd >= 0) != (o->fd >= 0) ||
		    o->name_size != ev->name_size || memcmp(o->name, ev->name, ev->name_size) != 0 ||
		    !same_who(o->who, who) || (o->directory != NULL) != (ev->directory.handle.size != 0) ||
		    (o->directory && !amp_fileid_equal(o->directory, &ev->directory)))
			continue;
		amp_counter_add(&count_joined, 1);
		see_again(o, who);
		if (job_is_in_hand(j) && (cause & CAUSE_CONTENT))
			j->dirty = o->after = true;
		conclude_slot(s, ev); /* the older one is kept until all is done */
		return true;
	}
	return false;
}

/* It may have waited for long in the kernel, but the queue was empty before it came. */
static int64_t since_of(const struct scand *s, int64_t read_ns)
{
	int64_t empty = scand_seen_empty(s);

	return empty && empty < read_ns ? empty : read_ns;
}

static struct occurrence *make_occurrence(struct scand *s, const struct file_event *ev, unsigned cause,
					  struct who *who)
{
	struct occurrence *o = occurrence_new(&ev->directory, ev->name, ev->name_size);

	if (!o)
		return NULL;
	o->cause = cause;
	o->slot = ev->slot;
	if (ev->slot.kind != SLOT_NONE)
		o->time_ns = buffers_time(s->buffers, ev->slot);
	o->since_ns = since_of(s, o->time_ns);
	o->who = who_ref(who);
	if (ev->fd < 0)
		return o;
	o->fd = fcntl(ev->fd, F_DUPFD_CLOEXEC, 0);
	if (o->fd >= 0)
		s->event_fds++;
	else
		amp_counter_add(&count_no_memory, 1); /* its handle may still do */
	return o;
}

static void enter(struct job *j, struct occurrence *o, bool content)
{
	job_add(j, o);
	if (job_is_in_hand(j) && content) {
		j->dirty = true;
		o->after = true;
	}
}

/* One name more than is kept; that the content may be another is noted all the same. */
static void leave_event(struct scand *s, struct job *j, const struct file_event *ev, unsigned cause)
{
	bool in_slot = ev->slot.kind != SLOT_NONE;
	int64_t read_ns = in_slot ? buffers_time(s->buffers, ev->slot) : amp_clock_realtime();

	if (job_is_in_hand(j) && (cause & CAUSE_CONTENT))
		j->dirty = j->last->after = true;
	job_leave(j, since_of(s, read_ns));
	conclude_slot(s, ev);
}

/* An occurrence of the event in its job; without memory for it, the event is over. */
static void add_event(struct scand *s, struct job *j, const struct file_event *ev, unsigned cause,
		      struct who *who)
{
	struct occurrence *o;

	if (joins_crowd(s, j, ev, cause, who))
		return;
	if (j->count >= SCAND_NAMES_MAX) {
		leave_event(s, j, ev, cause);
		return;
	}
	o = make_occurrence(s, ev, cause, who);
	if (o) {
		enter(j, o, (cause & CAUSE_CONTENT) != 0);
		return;
	}
	amp_counter_add(&count_no_memory, 1);
	conclude_slot(s, ev);
}

static void on_file(struct scand *s, const struct file_event *ev)
{
	unsigned content = ev->bits & CAUSE_CONTENT;
	struct who *who = who_look(s->who, ev->pid, ev->pidfd);
	struct job *j = job_get(s, &ev->file, who ? who->uid : 0);

	if (!j) {
		amp_counter_add(&count_no_memory, 1);
		conclude_slot(s, ev);
		who_unref(who);
		return;
	}
	if (content && joins_settling(s, j, ev)) {
		if (content & EVENT_WRITE)
			job_unsettle(j);
	} else if (content) {
		add_event(s, j, ev, content, who);
	}
	if (ev->bits & EVENT_EXEC) {
		struct file_event exec = *ev;

		/* Both in one event: the slot stays with the first. */
		if (content)
			exec.slot.kind = SLOT_NONE;
		add_event(s, j, &exec, EVENT_EXEC, who);
		job_unsettle(j);
	}
	who_unref(who);
	if (content == EVENT_CREATE && !(ev->bits & EVENT_EXEC))
		job_settle(j);
	job_advance(j);
}

/* The third death of a scanner with this event in hand: it is not tried again. */
static bool is_poison(struct scand *s, const struct file_event *ev)
{
	if (ev->slot.kind == SLOT_NONE || buffers_tries(s->buffers, ev->slot) < TRIES_MAX)
		return false;
	amp_counter_add(&count_unscannable, 1);
	amp_error("an event was in hand when three scanners died: it is unscannable and left");
	conclude_slot(s, ev);
	return true;
}

/* The keeper moves names into a directory of its own and back; nothing is where it was not before. */
static bool is_own_rename(struct scand *s, const struct file_event *ev)
{
	return (ev->bits & ~(unsigned)EVENT_DIRECTORY) == EVENT_RENAME &&
	       quard_is_process(s, ev->pid, ev->pidfd >= 0);
}

static void take(struct scand *s, const struct file_event *ev)
{
	struct filesystem *fs;

	if (ev->bits & EVENT_OVERFLOW) {
		on_overflow(s, ev);
		return;
	}
	if (is_own_rename(s, ev)) {
		amp_counter_add(&count_own_renames, 1);
		conclude_slot(s, ev);
		return;
	}
	fs = filesystems_find(&s->filesystems, ev->file.fsid);
	if (!ev->file.handle.size || !fs) {
		amp_counter_add(ev->file.handle.size ? &count_early : &count_no_handle, 1);
		conclude_slot(s, ev);
		return;
	}
	if (ev->bits & EVENT_DIRECTORY) {
		on_directory(s, ev);
		return;
	}
	if (ev->directory.handle.size && is_own(s, &ev->directory)) {
		amp_counter_add(&count_own, 1);
		conclude_slot(s, ev);
		return;
	}
	if (ev->bits & EVENT_EXEC)
		trail_add(s, ev->pid, &ev->file);
	if (ev->bits & CAUSE_CONTENT)
		verdicts_remove(&s->verdicts, &ev->file);
	if (!s->rules || known_program(s, ev))
		conclude_slot(s, ev);
	else
		on_file(s, ev);
}

/*
 * The kernel opened it for us, so its fsid is its own subvolume's, which need not
 * be mounted; a walk and a handle event have that of the mount it lies in.
 */
static void take_opened(struct scand *s, const struct file_event *ev)
{
	char path[RESOLVE_PATH];
	struct file_event there = *ev;
	const struct filesystem *fs = filesystems_find(&s->filesystems, ev->file.fsid);

	if (!fs && amp_fsid_of_btrfs(ev->file.fsid, &ev->file.handle))
		fs = filesystems_of(&s->filesystems, &ev->file,
				    resolve_fd(s, ev->fd, path) == 0 ? path : NULL);
	if (fs)
		there.file.fsid = fs->fsid;
	take(s, &there);
}

static void on_event(const struct file_event *ev, void *arg)
{
	struct scand *s = arg;

	if (ev->fd >= 0) { /* it has no slot */
		take_opened(s, ev);
		return;
	}
	if (is_poison(s, ev))
		return;
	if (ev->slot.kind != SLOT_NONE)
		buffers_in_hand(s->buffers, ev->slot, true);
	take(s, ev);
	if (ev->slot.kind != SLOT_NONE)
		buffers_in_hand(s->buffers, ev->slot, false);
}

bool intake_is_full(const struct scand *s)
{
	return s->occurrences >= SCAND_OCCURRENCES_MAX || s->event_fds >= SCAND_FDS_MAX;
}

static bool is_full(void *arg)
{
	return intake_is_full(arg);
}

static void on_batch(void *arg)
{
	struct scand *s = arg;

	who_batch(s->who);
	scand_pump_later(s);
}

void intake_ops(struct scand *s, struct source_ops *ops)
{
	*ops = (struct source_ops){.event = on_event, .full = is_full, .batch = on_batch, .arg = s};
}

/* -- what does not come from a source -- */

static size_t program_link(const struct scand *s, pid_t pid, char exe[RESOLVE_PATH])
{
	char link[32];
	ssize_t n;

	snprintf(link, sizeof(link), "%d/exe", (int)pid);
	n = readlinkat(s->proc, link, exe, RESOLVE_PATH - 1);
	exe[n > 0 ? n : 0] = '\0';
	return n > 0 ? (size_t)n : 0;
}

/*
 * The table of mounts has the devices of super blocks, statx those of subvolumes.
 * For others the fsid says less than the device: two may share one.
 */
static struct filesystem *filesystem_of_program(struct scand *s, pid_t pid, struct amp_fileid file,
						const struct amp_identity *id, const char *exe)
{
	if (amp_fsid_of_btrfs(0, &file.handle) && who_program_fsid(pid, &file.fsid) == 0)
		return filesystems_of(&s->filesystems, &file, exe);
	return filesystems_by_device(&s->filesystems, id->dev_major, id->dev_minor);
}

void intake_running(struct scand *s, pid_t pid)
{
	struct amp_fileid file = {0};
	struct amp_identity id;
	const struct verdict *v;
	struct filesystem *fs;
	struct occurrence *o;
	struct job *j;
	char exe[RESOLVE_PATH];
	size_t n;

	if (who_program(s->who, pid, &file.handle, &id) != 0) {
		amp_counter_add(&count_no_program, 1); /* a kernel thread, or an overlay */
		return;
	}
	n = program_link(s, pid, exe);
	fs = filesystem_of_program(s, pid, file, &id, exe);
	if (!fs || !s->rules)
		return;
	file.fsid = fs->fsid;
	v = verdicts_find(&s->verdicts, &file);
	if (v && !amp_identity_same_content(&v->identity, &id))
		verdicts_remove(&s->verdicts, &file);
	o = occurrence_new(&file, NULL, 0);
	j = o ? job_get(s, &file, 0) : NULL;
	if (!j) {
		free(o);
		amp_counter_add(&count_no_memory, 1);
		return;
	}
	o->cause = CAUSE_RUNNING;
	o->who = who_make(true, pid, who_uid(s->who, pid), exe, n);
	enter(j, o, false);
	job_advance(j);
}

/* A job that reads it. False: no memory. */
static bool enter_found(struct scand *s, struct occurrence *o, const struct walk_found *found)
{
	struct job *j = job_get(s, found->file, found->identity.uid);

	if (!j)
		return false;
	if (found->directory_path)
		directories_store(&s->filesystems, found->directory, found->directory_path);
	enter(j, o, false);
	job_advance(j);
	return true;
}

void intake_walk_entry(struct scand *s, struct walk *w, const struct walk_found *found)
{
	const struct verdict *v = verdicts_find(&s->verdicts, found->file);
	struct occurrence *o =
		s->rules ? occurrence_new(found->directory, found->name, found->name_size) : NULL;
	struct occurrence none = {.walk = w};

	if (v && !amp_identity_same_content(&v->identity, &found->identity))
		verdicts_remove(&s->verdicts, found->file);
	if (o) {
		o->cause = walk_cause(w);
		o->size = found->identity.size;
		o->who = who_ref(walk_who(w));
		o->walk = w;
		if (!found->directory) {
			judge_found(s, o, found);
			return;
		}
		if (enter_found(s, o, found))
			return;
		who_unref(o->who);
		free(o);
	}
	amp_counter_add(&count_no_memory, 1);
	if (found->snapshot >= 0)
		close(found->snapshot);
	walk_entry_concluded(s, &none);
}

void intake_again(struct scand *s, const struct amp_fileid *file, const char *path)
{
	struct occurrence *o = s->rules && !intake_is_full(s) ? occurrence_new(NULL, NULL, 0) : NULL;
	struct job *j;

	verdicts_remove(&s->verdicts, file);
	if (o && path)
		o->path = strdup(path);
	j = o && (!path || o->path) ? job_get(s, file, 0) : NULL;
	if (!j || j->count >= SCAND_NAMES_MAX) {
		amp_counter_add(&count_not_again, 1);
		/* By the times of files alone nobody finds them: what is known of the others is soon told. */
		scand_repair_wanted(s, file->fsid, 0, "more is to be judged again than there are places",
				    false);
		if (o)
			free(o->path);
		free(o);
		return;
	}
	o->cause = CAUSE_REPAIR;
	enter(j, o, true);
	job_advance(j);
}

static void replay_parked(struct scand *s, struct event_slot slot, const uint8_t *data, size_t n)
{
	struct amp_fileid file;
	uint8_t directory = 0;
	struct occurrence *o = park_restore(data, n, &file, &directory);
	struct file_event ev = {.bits = 0, .pidfd = -1, .fd = -1, .slot = slot};
	struct job *j;

	ev.file = file;
	if (!o || is_poison(s, &ev) || !filesystems_find(&s->filesystems, file.fsid)) {
		if (o)
			who_unref(o->who);
		free(o);
		buffers_conclude(s->buffers, slot);
		return;
	}
	if (directory) {
		ev.bits = EVENT_RENAME | EVENT_DIRECTORY;
		walk_moved(s, &ev, o->who);
		free(o);
		return;
	}
	o->slot = slot;
	o->time_ns = o->since_ns = buffers_time(s->buffers, slot);
	j = job_get(s, &file, o->who ? o->who->uid : 0);
	if (!j) {
		amp_counter_add(&count_no_memory, 1);
		who_unref(o->who);
		free(o);
		buffers_conclude(s->buffers, slot);
		return;
	}
	enter(j, o, true);
	job_advance(j);
}

/* What our predecessor had in hand. */
void intake_replay(struct scand *s)
{
	struct event_slot slot;
	const uint8_t *data;
	unsigned cursor = 0, index;
	size_t n;

	while (buffers_inherited_parked(s->buffers, &cursor, &slot, &data, &n))
		replay_parked(s, slot, data, n);
	cursor = 0;
	while (buffers_inherited(s->buffers, &cursor, &index, &data, &n))
		source_handle_replay(s->buffers, index, data, n, s->handle_source->ops);
}

void intake_free(struct scand *s)
{
	free(s->trails);
	while (s->own) {
		struct own_directory *d = s->own;

		s->own = d->next;
		free(d);
	}
}
