/*
 * ampcloudd/ecs.c - rows as lines of JSON (see ecs.h).
 *
 * Every text of a row comes from outside: it is escaped for JSON, and what is
 * not UTF-8 is escaped for people first, as `ampcli --json` does it, with the
 * exact bytes in hex beside it.
 */
#include "ecs.h"

#include "clock.h"
#include "text.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ECS_VERSION "8.11.0"
#define MODULE	    "ampcloudd"
#define FIRST_ROOM  2048U
#define NUMBER_MAX  20 /* digits of an uint64_t */

/* How one type of ours is called in ECS. */
struct kind {
	const char *type;
	const char *kind;
	const char *category[2]; /* NULL: fewer, or none */
	const char *ecs_type;
	const char *outcome;  /* NULL: nothing was tried */
	const char *sentence; /* for message: what happened */
};

static const struct kind kinds[] = {
	{"threat_detected", "alert", {"malware", "file"}, "info", NULL, "malware detected"},
	{"threat_held", "alert", {"malware", "file"}, "info", NULL, "malware left to the brake"},
	{"foundation_convicted", "alert", {"malware", "file"}, "info", NULL, "foundation convicted"},
	{"process_killed", "event", {"process", "malware"}, "end", "success", "process killed"},
	{"threat_quarantined", "event", {"malware", "file"}, "deletion", "success", "file quarantined"},
	{"threat_neutralised", "event", {"malware", "file"}, "change", "success", "file emptied"},
	{"quarantine_failed", "event", {"malware", "file"}, "change", "failure", "file not quarantined"},
	{"threat_restored", "event", {"file", NULL}, "creation", "success", "file restored"},
	{"threat_deleted", "event", {"file", NULL}, "deletion", "success", "file deleted from quarantine"},
	{"file_unreadable", "event", {"file", NULL}, "access", "failure", "file could not be judged"},
	{"file_unscannable", "event", {"file", NULL}, "access", "failure", "file could not be scanned"},
	{"file_partial", "event", {"file", NULL}, "access", "unknown", "file scanned in part"},
	{"policy_changed", "event", {"configuration", NULL}, "change", "success", "policy changed"},
	{"fault_raised", "event", {"host", NULL}, "info", NULL, "fault"},
	{"fault_cleared", "event", {"host", NULL}, "info", NULL, "fault cleared"},
};
/* One that is not in the table: a newer room's. */
static const struct kind other = {"", "event", {NULL, NULL}, "info", NULL, NULL};

static const struct kind *kind_of(const char *type)
{
	for (size_t i = 0; i < sizeof(kinds) / sizeof(*kinds); i++)
		if (strcmp(kinds[i].type, type) == 0)
			return &kinds[i];
	return &other;
}

/* --- text ------------------------------------------------------------------ */

void ecs_free(struct ecs_text *t)
{
	free(t->data);
	*t = (struct ecs_text){0};
}

static bool has_room(struct ecs_text *t, size_t more)
{
	size_t room = t->room ? t->room : FIRST_ROOM;
	char *data;

	if (t->failed)
		return false;
	if (t->data && t->size + more <= t->room)
		return true;
	while (room < t->size + more)
		room *= 2;
	data = realloc(t->data, room);
	if (!data) {
		t->failed = true;
		return false;
	}
	t->data = data;
	t->room = room;
	return true;
}

static void put(struct ecs_text *t, const char *bytes, size_t n)
{
	if (!has_room(t, n))
		return;
	memcpy(t->data + t->size, bytes, n);
	t->size += n;
}

static void put_text(struct ecs_text *t, const char *text)
{
	put(t, text, strlen(text));
}

/* The quotes and what is between them; bytes are valid UTF-8. */
static void put_string(struct ecs_text *t, const char *bytes, size_t n)
{
	char escape[8];
	size_t plain = 0;

	put(t, "\"", 1);
	for (size_t i = 0; i < n; i++) {
		unsigned char c = (unsigned char)bytes[i];

		if (c >= 0x20 && c != '"' && c != '\\')
			continue;
		put(t, bytes + plain, i - plain);
		plain = i + 1;
		if (c == '"' || c == '\\')
			snprintf(escape, sizeof(escape), "\\%c", c);
		else
			snprintf(escape, sizeof(escape), "\\u%04x", c);
		put_text(t, escape);
	}
	put(t, bytes + plain, n - plain);
	put(t, "\"", 1);
}

/* --- members ----------------------------------------------------------------- */

/* A comma, unless it is the first of its object. */
static void put_key(struct ecs_text *t, const char *key)
{
	if (t->size > 0 && t->data[t->size - 1] != '{')
		put(t, ",", 1);
	put(t, "\"", 1);
	put_text(t, key);
	put(t, "\":", 2);
}

static void open_object(struct ecs_text *t, const char *key)
{
	put_key(t, key);
	put(t, "{", 1);
}

static void close_object(struct ecs_text *t)
{
	put(t, "}", 1);
}

static void put_hex(struct ecs_text *t, const ProtobufCBinaryData *b)
{
	static const char digits[] = "0123456789abcdef";

	put(t, "\"", 1);
	for (size_t i = 0; i < b->len; i++) {
		put(t, &digits[b->data[i] >> 4], 1);
		put(t, &digits[b->data[i] & 15], 1);
	}
	put(t, "\"", 1);
}

/* Escaped for people, then for JSON. */
static void put_escaped(struct ecs_text *t, const void *bytes, size_t n)
{
	size_t room = 4 * n + 1;
	char *text = malloc(room);

	if (!text) {
		t->failed = true;
		return;
	}
	amp_text_escape(bytes, n, text, room);
	put_string(t, text, strlen(text));
	free(text);
}

/* Any bytes, as a string that is valid. True: these bytes exactly. */
static bool put_bytes(struct ecs_text *t, const void *bytes, size_t n)
{
	if (amp_text_is_utf8(bytes, n)) {
		put_string(t, bytes, n);
		return true;
	}
	put_escaped(t, bytes, n);
	return false;
}

/* An empty text is left out. */
static void member(struct ecs_text *t, const char *key, const char *text)
{
	if (!text || text[0] == '\0')
		return;
	put_key(t, key);
	put_bytes(t, text, strlen(text));
}

static void member_number(struct ecs_text *t, const char *key, uint64_t n)
{
	char text[NUMBER_MAX + 1];

	snprintf(text, sizeof(text), "%" PRIu64, n);
	put_key(t, key);
	put_text(t, text);
}

static void member_time(struct ecs_text *t, const char *key, int64_t ns)
{
	char text[32];

	member(t, key, amp_clock_rfc3339(ns, text, sizeof(text)));
}

static void member_path(struct ecs_text *t, const char *key, const ProtobufCBinaryData *b)
{
	char exact[64];

	if (b->len == 0)
		return;
	put_key(t, key);
	if (put_bytes(t, b->data, b->len))
		return;
	snprintf(exact, sizeof(exact), "%s_bytes", key);
	put_key(t, exact);
	put_hex(t, b);
}

/* --- the objects of a line ------------------------------------------------------ */

static void put_file(struct ecs_text *t, const Amp__CliHistoryEntry *e)
{
	if (e->path.len == 0 && e->sha256.len == 0)
		return;
	open_object(t, "file");
	member_path(t, "path", &e->path);
	if (e->sha256.len > 0 || e->size > 0)
		member_number(t, "size", e->size);
	if (e->sha256.len > 0) {
		open_object(t, "hash");
		put_key(t, "sha256");
		put_hex(t, &e->sha256);
		close_object(t);
	}
	close_object(t);
}

static void put_process(struct ecs_text *t, const Amp__Process *p)
{
	char id[NUMBER_MAX + 1];

	if (!p || !p->known)
		return;
	open_object(t, "process");
	member_number(t, "pid", p->pid > 0 ? (uint64_t)p->pid : 0);
	member_path(t, "executable", &p->exe);
	close_object(t);
	open_object(t, "user");
	snprintf(id, sizeof(id), "%" PRIu32, p->uid);
	member(t, "id", id);
	close_object(t);
}

static void put_rule(struct ecs_text *t, const Amp__CliHistoryEntry *e)
{
	if (e->detection[0] == '\0')
		return;
	open_object(t, "rule");
	member(t, "name", e->detection);
	close_object(t);
}

/* What was found is an indicator: a file by its hash. */
static void put_threat(struct ecs_text *t, const struct kind *k, const Amp__CliHistoryEntry *e)
{
	if (strcmp(k->kind, "alert") != 0 || e->sha256.len == 0)
		return;
	open_object(t, "threat");
	open_object(t, "indicator");
	member(t, "type", "file");
	open_object(t, "file");
	open_object(t, "hash");
	put_key(t, "sha256");
	put_hex(t, &e->sha256);
	close_object(t);
	close_object(t);
	close_object(t);
	close_object(t);
}

static void put_category(struct ecs_text *t, const struct kind *k)
{
	put_key(t, "category");
	put(t, "[", 1);
	for (size_t i = 0; i < 2 && k->category[i]; i++) {
		if (i > 0)
			put(t, ",", 1);
		put_string(t, k->category[i], strlen(k->category[i]));
	}
	put(t, "]", 1);
}

static void put_event(struct ecs_text *t, const struct kind *k, const Amp__CliHistoryEntry *e,
		      const struct ecs_source *from)
{
	open_object(t, "event");
	member(t, "id", e->id);
	member(t, "kind", k->kind);
	put_category(t, k);
	put_key(t, "type");
	put(t, "[", 1);
	put_string(t, k->ecs_type, strlen(k->ecs_type));
	put(t, "]", 1);
	member(t, "action", e->type);
	member(t, "outcome", k->outcome);
	member_number(t, "severity", e->severity);
	member_number(t, "sequence", e->number);
	member_time(t, "created", from->now_ns);
	member(t, "module", MODULE);
	member(t, "dataset", MODULE ".events");
	close_object(t);
}

static void put_observer(struct ecs_text *t)
{
	open_object(t, "observer");
	member(t, "vendor", PACKAGE_NAME);
	member(t, "product", PACKAGE_NAME);
	member(t, "type", "endpoint");
	member(t, "name", MODULE);
	member(t, "version", PACKAGE_VERSION);
	close_object(t);
}

/* "malware detected: Eicar-Test, /tmp/x: why" */
static void put_message(struct ecs_text *t, const struct kind *k, const Amp__CliHistoryEntry *e)
{
	struct ecs_text m = {0};
	const char *before = ": ";

	put_text(&m, k->sentence ? k->sentence : e->type);
	if (e->detection[0]) {
		put_text(&m, before);
		put_text(&m, e->detection);
		before = ", ";
	}
	if (e->path.len > 0) {
		put_text(&m, before);
		put(&m, (const char *)e->path.data, e->path.len);
	}
	if (e->detail[0]) {
		put_text(&m, ": ");
		put_text(&m, e->detail);
	}
	put_key(t, "message");
	if (m.failed)
		t->failed = true;
	else
		put_escaped(t, m.data, m.size);
	ecs_free(&m);
}

/* The last of the line: its end tells which row it is. */
static void put_labels(struct ecs_text *t, const Amp__CliHistoryEntry *e, const struct ecs_source *from)
{
	char row[ECS_NAME_SIZE + NUMBER_MAX + 2];

	open_object(t, "labels");
	member(t, "detection_id", e->detection_id);
	member(t, "mode", e->mode);
	member(t, "cause", e->cause);
	if (e->path_unresolved)
		member(t, "path_unresolved", "true");
	snprintf(row, sizeof(row), "%s-%" PRIu64, from->database, e->number);
	member(t, "row", row);
	close_object(t);
}

int ecs_line(struct ecs_text *t, const Amp__CliHistoryEntry *e, const struct ecs_source *from)
{
	const struct kind *k = kind_of(e->type);

	t->size = 0;
	t->failed = false;
	put(t, "{", 1);
	member_time(t, "@timestamp", e->time_ns);
	put_message(t, k, e);
	open_object(t, "ecs");
	member(t, "version", ECS_VERSION);
	close_object(t);
	put_event(t, k, e, from);
	open_object(t, "host");
	member(t, "id", from->host_id);
	close_object(t);
	put_file(t, e);
	put_process(t, e->process);
	put_rule(t, e);
	put_threat(t, k, e);
	put_observer(t);
	put_labels(t, e, from);
	put(t, "}\n", 2);
	if (!t->failed)
		return 0;
	errno = ENOMEM;
	return -1;
}

/* --- and back --------------------------------------------------------------------- */

/* ,"row":"0123456789abcdef-1"}} read from its end. */
bool ecs_ending(const void *bytes, size_t n, char database[ECS_NAME_SIZE], uint64_t *number)
{
	static const char before[] = "\"row\":\"", after[] = "\"}}";
	const size_t name = ECS_NAME_SIZE - 1;
	const char *p = bytes;
	size_t digits = 0, end;
	uint64_t value = 0, unit = 1;

	if (n < sizeof(after) - 1 || memcmp(p + n - (sizeof(after) - 1), after, sizeof(after) - 1) != 0)
		return false;
	end = n - (sizeof(after) - 1);
	while (digits < end && digits < NUMBER_MAX - 1 && p[end - 1 - digits] >= '0' &&
	       p[end - 1 - digits] <= '9') {
		value += (uint64_t)(p[end - 1 - digits] - '0') * unit;
		unit *= 10;
		digits++;
	}
	end -= digits;
	if (digits == 0 || end < 1 + name + sizeof(before) - 1 + 1 || p[end - 1] != '-')
		return false;
	end -= 1 + name;
	for (size_t i = 0; i < name; i++)
		if (!strchr("0123456789abcdef", p[end + i]) || p[end + i] == '\0')
			return false;
	if (memcmp(p + end - (sizeof(before) - 1), before, sizeof(before) - 1) != 0)
		return false;
	/* Within a text the quote before "row" would be escaped. */
	if (p[end - sizeof(before)] != ',' && p[end - sizeof(before)] != '{')
		return false;
	memcpy(database, p + end, name);
	database[name] = '\0';
	*number = value;
	return true;
}
