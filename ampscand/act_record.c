/*
 * ampscand/act_record.c - what is written down about convicted files.
 *
 * Owns: the detection_id, the events of an act and their uids, which make a
 * repeat harmless. Must not own: what is done about it (act.c), the queue of
 * records (lib/outbox.c).
 */
#include "act.h"

#include "clock.h"
#include "counter.h"
#include "log.h"
#include "text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct amp_counter count_detections = AMP_COUNTER("act.detections", false);
static struct amp_counter count_foundations = AMP_COUNTER("act.foundations", false);
static struct amp_counter count_held = AMP_COUNTER("act.held", false);
static struct amp_counter count_killed = AMP_COUNTER("act.killed", false);

static const struct {
	unsigned cause;
	const char *name;
} cause_names[] = {
	{EVENT_EXEC, "exec"},	{CAUSE_RUNNING, "running"}, {CAUSE_REPAIR, "repair"}, {CAUSE_MOVE, "move"},
	{CAUSE_DEMAND, "scan"}, {EVENT_RENAME, "rename"},   {EVENT_WRITE, "write"},   {EVENT_CREATE, "link"},
};

static const struct {
	const char *type, *uid, *said;
	uint32_t severity;
	struct amp_counter *count;
} courses[] = {
	[ACT_FREELY] = {"threat_detected", "detected", "detected", 3, &count_detections},
	[ACT_FOUNDATION] = {"foundation_convicted", "foundation",
			    "left alone, a foundation of this machine:", 4, &count_foundations},
	[ACT_HELD] = {"threat_held", "held", "left alone, the brake holds", 3, &count_held},
};

const char *act_cause_name(unsigned cause)
{
	for (size_t i = 0; i < sizeof(cause_names) / sizeof(cause_names[0]); i++)
		if (cause & cause_names[i].cause)
			return cause_names[i].name;
	return "unknown";
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
static void make_id(const struct act *a, const uint8_t *sha256, int64_t mtime_ns, char *id)
{
	const char *host = amp_room_host_id(a->scand->room);
	const struct amp_fileid *file = &a->file;
	const struct occurrence *o = a->event;
	size_t path = o->path && !act_by_process(a) ? strlen(o->path) : 0;
	int32_t pid = act_by_process(a) ? o->who->pid : 0;
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

void act_identify(struct act *a)
{
	make_id(a, a->sha256, a->identity.mtime_ns, a->detection_id);
}

void act_fill_process(Amp__Process *p, const struct who *w)
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
	e->cause = (char *)(uintptr_t)act_cause_name(o->cause);
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

/* The same for every detection of this content in this file. */
static void make_file_id(const struct act *a, char *id)
{
	uint8_t key[sizeof(a->file) + AMP_SHA256_SIZE], *at = key;

	append(&at, &a->file.fsid, sizeof(a->file.fsid));
	append(&at, a->file.handle.bytes, a->file.handle.size);
	append(&at, a->sha256, AMP_SHA256_SIZE);
	amp_uuid_of(key, (size_t)(at - key), id);
}

void act_record_detection(struct act *a)
{
	Amp__Event e;
	Amp__Process p;
	char uid[64], file[37], text[512];

	fill_event(a, &e);
	act_fill_process(&p, a->event->who);
	make_file_id(a, file);
	/* What is left where it is may run a thousand times a minute: one record for all of them. */
	snprintf(uid, sizeof(uid), "%s/%s", a->course == ACT_FREELY ? a->detection_id : file,
		 courses[a->course].uid);
	e.uid = uid;
	e.type = (char *)(uintptr_t)courses[a->course].type;
	e.severity = courses[a->course].severity;
	e.process = &p;
	amp_counter_add(courses[a->course].count, 1);
	amp_warn("%s %s: %s (%s, %s)", courses[a->course].said, a->detection,
		 amp_text_escape(e.path.data, e.path.len, text, sizeof(text)), e.cause, e.mode);
	record(a, &e);
}

void act_record_unjudged(struct act *a, const char *type, const char *why)
{
	uint8_t none[AMP_SHA256_SIZE] = {0};
	char uid[80], unjudged[37];
	Amp__Event e;
	Amp__Process p;

	make_id(a, none, a->event->time_ns, unjudged);
	fill_event(a, &e);
	act_fill_process(&p, a->event->who);
	snprintf(uid, sizeof(uid), "%s/%s", unjudged, type);
	e.uid = uid;
	e.type = (char *)(uintptr_t)type;
	e.severity = 2;
	e.process = &p;
	e.sha256.len = 0;
	e.detail = (char *)(uintptr_t)why;
	record(a, &e);
}

void act_record_kill(struct act *a, const Amp__KilledProcess *kp)
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
