/*
 * lib/eventcheck.c - the bounds of an event's fields (see eventcheck.h).
 * Everything an event says comes from a process that may be taken over.
 */
#include "eventcheck.h"

#include "proto/types.h"

#include <ctype.h>
#include <stddef.h>
#include <string.h>

#define SEVERITY_MAX 4
#define SHA256_SIZE  32
#define UUID_LENGTH  36

static bool is_word(const char *text, size_t min)
{
	size_t n = strspn(text, "abcdefghijklmnopqrstuvwxyz_");

	return text[n] == '\0' && n >= min && n <= AMP_EVENT_WORD_MAX;
}

bool amp_event_type_valid(const char *type)
{
	return is_word(type, 1);
}

bool amp_event_uuid_valid(const char *text)
{
	for (size_t i = 0; i < UUID_LENGTH; i++) {
		bool dash = i == 8 || i == 13 || i == 18 || i == 23;

		if (dash ? text[i] != '-' : !isxdigit((unsigned char)text[i]))
			return false; /* the NUL of a short text ends here too */
	}
	return text[UUID_LENGTH] == '\0';
}

/* '#' is what occurrences are counted with. */
static bool is_uid(const char *text)
{
	size_t n = 0;

	for (; text[n] && n <= AMP_EVENT_UID_MAX; n++)
		if (text[n] < '!' || text[n] > '~' || text[n] == '#')
			return false;
	return n >= 1 && n <= AMP_EVENT_UID_MAX;
}

static bool within(const char *text, size_t max)
{
	return strnlen(text, max + 1) <= max;
}

static bool uid_sound(const Amp__Event *e)
{
	return is_uid(e->uid);
}

static bool type_sound(const Amp__Event *e)
{
	return amp_event_type_valid(e->type);
}

static bool time_sound(const Amp__Event *e)
{
	return e->time_ns >= 0;
}

static bool severity_sound(const Amp__Event *e)
{
	return e->severity <= SEVERITY_MAX;
}

static bool detection_id_sound(const Amp__Event *e)
{
	return e->detection_id[0] == '\0' || amp_event_uuid_valid(e->detection_id);
}

static bool detection_sound(const Amp__Event *e)
{
	return within(e->detection, AMP_EVENT_NAME_MAX);
}

static bool path_sound(const Amp__Event *e)
{
	return e->path.len <= AMP_PATH_MAX && (e->path.len == 0 || !memchr(e->path.data, 0, e->path.len));
}

static bool sha256_sound(const Amp__Event *e)
{
	return e->sha256.len == 0 || e->sha256.len == SHA256_SIZE;
}

static bool process_sound(const Amp__Event *e)
{
	const Amp__Process *p = e->process;

	return !p || (p->pid >= 0 && p->exe.len <= AMP_EVENT_EXE_MAX);
}

static bool mode_sound(const Amp__Event *e)
{
	return is_word(e->mode, 0);
}

static bool cause_sound(const Amp__Event *e)
{
	return is_word(e->cause, 0);
}

static bool detail_sound(const Amp__Event *e)
{
	return within(e->detail, AMP_EVENT_DETAIL_MAX);
}

static bool handle_sound(const Amp__Event *e)
{
	return e->handle.len <= AMP_HANDLE_MAX;
}

/* path_unresolved, size and fsid may have any value. */
static const struct {
	const char *field;
	bool (*sound)(const Amp__Event *e);
} rules[] = {
	{"uid", uid_sound},
	{"type", type_sound},
	{"time_ns", time_sound},
	{"severity", severity_sound},
	{"detection_id", detection_id_sound},
	{"detection", detection_sound},
	{"path", path_sound},
	{"sha256", sha256_sound},
	{"process", process_sound},
	{"mode", mode_sound},
	{"cause", cause_sound},
	{"detail", detail_sound},
	{"handle", handle_sound},
};

const char *amp_event_check(const Amp__Event *e)
{
	for (size_t i = 0; i < sizeof(rules) / sizeof(*rules); i++)
		if (!rules[i].sound(e))
			return rules[i].field;
	return NULL;
}
