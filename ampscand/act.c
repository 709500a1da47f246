/*
 * ampscand/act.c - what follows a conviction: the record and the kill.
 *
 * Owns: acts (an event convicted, until every record of it is committed), the
 * detection_id, requests to ampmon to kill. The event's slot is given back
 * last, so a successor does again whatever was not committed; the ids make
 * that harmless. Must not own: the decision, or any signal.
 */
#include "scand.h"
#include "script.h"

#include "clock.h"
#include "counter.h"
#include "log.h"
#include "text.h"

#include "proto/event.pb-c.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define KILL_TRIES    12 /* 1 ms, 2 ms, .. 1 s: about 3 s in all */
#define PARK_AFTER_NS AMP_NS_PER_SEC

struct act {
	struct act *next, *prev;
	struct scand *scand;
	uint64_t serial; /* token of its records, id of its kill */
	struct occurrence *event;
	struct amp_fileid file;
	uint8_t sha256[AMP_SHA256_SIZE];
	struct amp_identity identity;
	char detection[256];
	char detection_id[37];
	bool protect;	  /* mode when it was decided */
	bool killing;	  /* ampmon's answer is awaited */
	unsigned pending; /* records not committed */
	unsigned tries;
	struct event *timer;
	bool script;
	char line[256];
	size_t line_size;
};

static struct amp_counter count_detections = AMP_COUNTER("act.detections", false);
static struct amp_counter count_killed = AMP_COUNTER("act.killed", false);
static struct amp_counter count_nameless = AMP_COUNTER("judged.nameless", false);
static struct amp_counter count_set_aside = AMP_COUNTER("act.set_aside", true);

static const struct {
	unsigned cause;
	const char *name;
} cause_names[] = {
	{EVENT_EXEC, "exec"},	  {CAUSE_RUNNING, "running"}, {CAUSE_REPAIR, "repair"}, {CAUSE_MOVE, "move"},
	{EVENT_RENAME, "rename"}, {EVENT_WRITE, "write"},     {EVENT_CREATE, "link"},
};

static const char *cause_name(unsigned cause)
{
	for (size_t i = 0; i < sizeof(cause_names) / sizeof(cause_names[0]); i++)
		if (cause & cause_names[i].cause)
			return cause_names[i].name;
	return "unknown";
}

static bool by_process(const struct occurrence *o)
{
	return (o->cause & (EVENT_EXEC | CAUSE_RUNNING)) && o->who && o->who->pid > 0;
}

static void append(uint8_t **at, const void *data, size_t n)
{
	if (n)
		memcpy(*at, data, n);
	*at += n;
}

/*
 * One detection: host, file system, handle, content, modification time, and
 * its name (each name is one) or, for an exec, the process. The change time is
 * not in it: chmod(2) right after a close would make one detection two when a
 * repair looks again.
 */
static void make_id(const char *host, const struct amp_fileid *file, const uint8_t *sha256, int64_t mtime_ns,
		    const struct occurrence *o, char *id)
{
	size_t path = o->path && !by_process(o) ? strlen(o->path) : 0;
	int32_t pid = by_process(o) ? o->who->pid : 0;
	uint8_t *key = malloc(37 + sizeof(*file) + 32 + 16 + path), *at = key;

	if (!key) {
		id[0] = '\0';
		return;
	}
	append(&at, host, strlen(host) > 37 ? 37 : strlen(host));
	append(&at, &file->fsid, sizeof(file->fsid));
	append(&at, &file->handle.type, sizeof(file->handle.type));
	append(&at, file->handle.bytes, file->handle.size);
	append(&at, sha256, AMP_SHA256_SIZE);
	append(&at, &mtime_ns, sizeof(mtime_ns));
	append(&at, &pid, sizeof(pid));
	append(&at, o->path, path);
	amp_uuid_of(key, (size_t)(at - key), id);
	free(key);
}

static struct act *act_find(struct scand *s, uint64_t serial)
{
	struct act *a = s->acts;

	while (a && a->serial != serial)
		a = a->next;
	return a;
}

static void finish(struct act *a)
{
	struct scand *s = a->scand;

	if (a->pending || a->killing)
		return;
	if (a->prev)
		a->prev->next = a->next;
	else
		s->acts = a->next;
	if (a->next)
		a->next->prev = a->prev;
	else
		s->acts_last = a->prev;
	if (a->timer)
		event_free(a->timer);
	occurrence_conclude(s, a->event);
	free(a);
}

static struct act *act_new(struct scand *s, struct occurrence *o, const struct amp_fileid *file)
{
	struct act *a = calloc(1, sizeof(*a));

	if (!a)
		return NULL;
	occurrence_detach(o);
	a->scand = s;
	a->serial = ++s->serial;
	a->event = o;
	fileid_copy(&a->file, file);
	/* Acknowledgements come in order: the oldest is found first. */
	a->prev = s->acts_last;
	if (s->acts_last)
		s->acts_last->next = a;
	else
		s->acts = a;
	s->acts_last = a;
	return a;
}

static void fill_process(Amp__Process *p, const struct who *w)
{
	amp__process__init(p);
	p->known = w && w->known;
	p->pid = w ? w->pid : 0;
	if (!p->known)
		return;
	p->uid = w->uid;
	p->exe.data = (uint8_t *)(uintptr_t)w->exe;
	p->exe.len = w->exe_size;
}

/* What all records of an act have in common. */
static void fill_event(const struct act *a, Amp__Event *e)
{
	const struct occurrence *o = a->event;

	amp__event__init(e);
	e->time_ns = o->time_ns;
	e->detection_id = (char *)(uintptr_t)a->detection_id;
	e->detection = (char *)(uintptr_t)a->detection;
	e->path.data = (uint8_t *)o->path;
	e->path.len = o->path ? strlen(o->path) : 0;
	e->path_unresolved = o->path_unresolved || !o->path;
	e->sha256.data = (uint8_t *)(uintptr_t)a->sha256;
	e->sha256.len = AMP_SHA256_SIZE;
	e->size = a->identity.size;
	e->mode = a->protect ? "protect" : "audit";
	e->cause = (char *)(uintptr_t)cause_name(o->cause);
	e->fsid = a->file.fsid;
	e->handle.data = (uint8_t *)(uintptr_t)a->file.handle.bytes;
	e->handle.len = a->file.handle.size;
}

static void record(struct act *a, Amp__Event *e)
{
	if (amp_outbox_put(a->scand->outbox, e, a->serial) == 0)
		a->pending++;
	else
		amp_error("no memory to record %s of %s", e->type, e->uid);
}

static void record_detection(struct act *a)
{
	Amp__Event e;
	Amp__Process p;
	char uid[64], text[512];

	fill_event(a, &e);
	fill_process(&p, a->event->who);
	snprintf(uid, sizeof(uid), "%s/detected", a->detection_id);
	e.uid = uid;
	e.type = "threat_detected";
	e.severity = 3;
	e.process = &p;
	amp_counter_add(&count_detections, 1);
	amp_warn("detected %s: %s (%s, %s)", a->detection,
		 amp_text_escape(e.path.data, e.path.len, text, sizeof(text)), e.cause, e.mode);
	record(a, &e);
}

static void on_timer(evutil_socket_t fd, short what, void *arg);

static void later(struct act *a, unsigned ms)
{
	struct timeval tv = {.tv_usec = (int)ms * 1000};

	if (!a->timer)
		a->timer = evtimer_new(a->scand->base, on_timer, a);
	if (a->timer)
		evtimer_add(a->timer, &tv);
}

static void send_kill(struct act *a, const struct amp_identity *interpreter)
{
	struct scand *s = a->scand;
	Amp__Kill k = AMP__KILL__INIT;
	Amp__Identity file = AMP__IDENTITY__INIT, runs = AMP__IDENTITY__INIT;

	amp_identity_to_wire(&a->identity, &file);
	k.detection_id = a->detection_id;
	k.sha256.data = a->sha256;
	k.sha256.len = AMP_SHA256_SIZE;
	k.file = &file;
	k.fsid = a->file.fsid;
	k.event_pid = by_process(a->event) ? a->event->who->pid : 0;
	if (interpreter) {
		amp_identity_to_wire(interpreter, &runs);
		k.interpreter = &runs;
	}
	k.path.data = (uint8_t *)a->event->path;
	k.path.len = a->event->path ? strlen(a->event->path) : 0;
	if (amp_channel_send(amp_room_control(s->room), AMP_MSG_KILL, a->serial, &k.base, NULL, 0) != 0)
		later(a, 100);
}

static void again(struct act *a)
{
	unsigned n = a->tries++;

	later(a, n < 10 ? 1U << n : 1000);
}

/* Of a script's exec, the process is killed once it runs the interpreter. */
static void start_kill(struct act *a)
{
	struct amp_identity interpreter;
	enum script_answer answer = SCRIPT_GONE;

	a->killing = true;
	if (a->script && (a->event->cause & EVENT_EXEC) && by_process(a->event))
		answer = script_interpreter(a->scand, a->event->who->pid, &a->file, a->line, a->line_size,
					    &interpreter);
	if (answer == SCRIPT_NOT_YET && a->tries < KILL_TRIES)
		again(a);
	else
		send_kill(a, answer == SCRIPT_RUNS ? &interpreter : NULL);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	start_kill(arg);
}

/* A file made with O_TMPFILE has the name "#INODE", which leads nowhere. */
static bool is_nameless(const struct occurrence *o, const struct amp_identity *id)
{
	struct amp_identity there;

	if ((o->cause & ~(unsigned)EVENT_WRITE) || o->name_size < 2 || o->name[0] != '#' || !o->path ||
	    strspn(o->name + 1, "0123456789") != o->name_size - 1)
		return false;
	/* What we may not look at (a private directory) may well have this name. */
	if (amp_statx_identity(AT_FDCWD, o->path, AT_SYMLINK_NOFOLLOW, &there) != 0)
		return errno == ENOENT || id->nlink == 0;
	return there.ino != id->ino;
}

void act_convict(struct scand *s, struct occurrence *o, const struct amp_fileid *id, const struct rule *rule,
		 const uint8_t *sha256, const struct amp_identity *identity, bool script,
		 const char *script_line, size_t script_line_size)
{
	struct act *a;

	if (is_nameless(o, identity)) {
		/* Its link, if it gets one, and its exec are events of their own. */
		amp_counter_add(&count_nameless, 1);
		occurrence_conclude(s, o);
		return;
	}
	a = act_new(s, o, id);
	if (!a) {
		amp_error("no memory to act on a detection; the event stays in hand");
		occurrence_detach(o);
		return;
	}
	memcpy(a->sha256, sha256, AMP_SHA256_SIZE);
	a->identity = *identity;
	a->protect = s->rules->protect;
	a->script = script;
	a->line_size = script_line_size < sizeof(a->line) ? script_line_size : sizeof(a->line) - 1;
	if (script_line && a->line_size)
		memcpy(a->line, script_line, a->line_size);
	amp_text_escape(rule->text && rule->text[0] ? rule->text : "Blocked-by-list",
			rule->text && rule->text[0] ? strlen(rule->text) : 15, a->detection,
			sizeof(a->detection));
	make_id(amp_room_host_id(s->room), id, sha256, identity->mtime_ns, o, a->detection_id);
	/* Kill first, record next. */
	if (a->protect)
		start_kill(a);
	record_detection(a);
	finish(a);
}

void act_unjudged(struct scand *s, struct occurrence *o, const struct amp_fileid *id, const char *type,
		  const char *why)
{
	struct act *a = act_new(s, o, id);
	uint8_t none[AMP_SHA256_SIZE] = {0};
	char uid[80], unjudged[37];
	Amp__Event e;
	Amp__Process p;

	if (!a) {
		occurrence_conclude(s, o);
		return;
	}
	a->protect = s->rules->protect;
	make_id(amp_room_host_id(s->room), id, none, o->time_ns, o, unjudged);
	fill_event(a, &e);
	fill_process(&p, o->who);
	snprintf(uid, sizeof(uid), "%s/%s", unjudged, type);
	e.uid = uid;
	e.type = (char *)(uintptr_t)type;
	e.severity = 2;
	e.process = &p;
	e.sha256.len = 0;
	e.detail = (char *)(uintptr_t)why;
	record(a, &e);
	finish(a);
}

/* The same for every detection of this content in this file. */
static void make_file_id(const struct act *a, char *id)
{
	uint8_t key[sizeof(a->file) + AMP_SHA256_SIZE], *at = key;

	append(&at, &a->file.fsid, sizeof(a->file.fsid));
	append(&at, a->file.handle.bytes, a->file.handle.size);
	append(&at, a->sha256, AMP_SHA256_SIZE);
	amp_uuid_of(key, (size_t)(at - key), id);
}

static void record_kill(struct act *a, const Amp__KilledProcess *kp)
{
	Amp__Event e;
	Amp__Process p = AMP__PROCESS__INIT;
	char uid[128], file[37];

	fill_event(a, &e);
	/* One process is killed once, for however many detections of its file. */
	make_file_id(a, file);
	snprintf(uid, sizeof(uid), "%s/killed/%d/%llu", file, kp->pid, (unsigned long long)kp->start_ticks);
	p.known = true;
	p.pid = kp->pid;
	p.uid = kp->uid;
	p.exe = kp->exe;
	e.uid = uid;
	e.type = "process_killed";
	e.time_ns = amp_clock_realtime();
	e.severity = 3;
	e.process = &p;
	amp_counter_add(&count_killed, 1);
	record(a, &e);
}

/*
 * The event comes when the program is opened; the process runs it only a little
 * later, and env(1) is soon another. If the process of the exec lives and was
 * not among the killed, it is looked at again for a while (a failed exec too:
 * its caller never matches).
 */
static bool escaped(const struct act *a, const Amp__Killed *k)
{
	struct amp_identity id;

	if (!(a->event->cause & EVENT_EXEC) || !by_process(a->event) || k->refused[0] ||
	    a->tries >= KILL_TRIES)
		return false;
	for (size_t i = 0; i < k->n_processes; i++)
		if (k->processes[i]->pid == a->event->who->pid)
			return false;
	return who_program_identity(a->scand->who, a->event->who->pid, &id) == 0;
}

int act_killed(struct scand *s, uint64_t id, const Amp__Killed *k)
{
	struct act *a = act_find(s, id);

	if (!a || !a->killing || k->n_processes > AMP_KILL_RESULTS)
		return -1;
	for (size_t i = 0; i < k->n_processes; i++)
		if (k->processes[i]->exe.len < AMP_PATH_MAX)
			record_kill(a, k->processes[i]);
	if (k->unfinished)
		return 0;
	if (k->more)
		amp_warn("%s: %u more processes were killed", a->detection_id, k->more);
	if (k->refused[0])
		amp_info("%s: nothing was killed: %s", a->detection_id, k->refused);
	a->killing = escaped(a, k);
	if (a->killing)
		again(a);
	finish(a);
	return 0;
}

void act_committed(uint64_t token, bool aside, void *arg)
{
	struct scand *s = arg;
	struct act *a = act_find(s, token);

	if (aside) {
		amp_counter_add(&count_set_aside, 1);
		amp_room_fault(s->room, AMP_FAULT_EVENT_SET_ASIDE, true,
			       "ampcloudd died three times on one event");
	}
	if (!a || !a->pending)
		return;
	a->pending--;
	finish(a);
}

void acts_park(struct scand *s)
{
	int64_t now = amp_clock_realtime();

	for (struct act *a = s->acts; a; a = a->next)
		if (a->event->slot.kind == SLOT_BUFFER && now - a->event->time_ns > PARK_AFTER_NS &&
		    park_occurrence(s, a->event, &a->file) != 0)
			return;
}

size_t acts_count(const struct scand *s)
{
	size_t n = 0;

	for (const struct act *a = s->acts; a; a = a->next)
		n++;
	return n;
}

void act_free(struct scand *s)
{
	while (s->acts) {
		struct act *a = s->acts;

		a->pending = 0;
		a->killing = false;
		a->event->slot.kind = SLOT_NONE; /* stays in hand for the successor */
		finish(a);
	}
}
