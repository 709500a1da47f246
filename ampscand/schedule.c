/*
 * ampscand/schedule.c - scans that the policy wants at times: "full sun 02:30".
 *
 * Owns: the form of a rule, when it is due, that it is once a day. A rule is
 *
 *     full|flash daily|mon|tue|wed|thu|fri|sat|sun HH:MM
 *
 * in local time. A time that a change
 * of the clocks leaves out is due at the change, one that comes twice is due once:
 * a scan's record says which day it was for, so neither a restart repeats it.
 * The zone is read before the drop and holds while the process lives: nothing
 * here may call what looks for it again (mktime, strftime), which opens a file.
 * Must not own: what a scan does.
 */
#include "demand.h"

#include "clock.h"
#include "log.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define MINUTE_NS (60 * AMP_NS_PER_SEC)
/* What came due just before we were there (a restart) is done; what is longer ago is not. */
#define LATE_NS (5 * MINUTE_NS)

struct schedule {
	struct event *timer;
	int64_t looked_ns; /* realtime; 0: not yet */
	size_t count;
	char *text[RULES_SCHEDULE]; /* of the policy */
	struct schedule_rule rule[RULES_SCHEDULE];
};

static const char *const weekdays[] = {"sun", "mon", "tue", "wed", "thu", "fri", "sat"};

static const struct {
	const char *name;
	Amp__CliScanStart__Kind kind;
} kinds[] = {
	{"full", AMP__CLI_SCAN_START__KIND__FULL},
	{"flash", AMP__CLI_SCAN_START__KIND__FLASH},
};

static bool take_kind(const char *word, struct schedule_rule *r)
{
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		r->kind = kinds[i].kind;
		if (strcmp(kinds[i].name, word) == 0)
			return true;
	}
	return false;
}

static bool take_day(const char *word, struct schedule_rule *r)
{
	r->weekdays = strcmp(word, "daily") == 0 ? 0x7f : 0;
	for (unsigned i = 0; i < 7; i++)
		if (strcmp(word, weekdays[i]) == 0)
			r->weekdays = (uint8_t)(1U << i);
	return r->weekdays != 0;
}

static bool take_time(const char *word, struct schedule_rule *r)
{
	unsigned hour, minute;
	char end;

	if (strlen(word) != 5 || word[2] != ':' || strspn(word, "0123456789:") != 5 ||
	    sscanf(word, "%2u:%2u%c", &hour, &minute, &end) != 2 || hour > 23 || minute > 59)
		return false;
	r->minute = hour * 60 + minute;
	return true;
}

int schedule_parse(const char *text, struct schedule_rule *r)
{
	char kind[8], day[8], at[8], end;

	*r = (struct schedule_rule){.weekdays = 0};
	return sscanf(text, "%7s %7s %7s %c", kind, day, at, &end) == 3 && take_kind(kind, r) &&
			       take_day(day, r) && take_time(at, r)
		       ? 0
		       : -1;
}

static bool on_day(const struct schedule_rule *r, const struct tm *day)
{
	return (r->weekdays >> day->tm_wday) & 1;
}

static uint32_t number_of(const struct tm *day)
{
	return (uint32_t)((day->tm_year + 1900) * 10000 + (day->tm_mon + 1) * 100 + day->tm_mday);
}

static int minute_of(const struct tm *tm)
{
	return tm->tm_hour * 60 + tm->tm_min;
}

/* Does the local clock show it in the step that ends at a minute? It may leave some out. */
static bool in_step(const struct schedule_rule *r, int64_t at_ns, uint32_t *day)
{
	time_t now = (time_t)(at_ns / AMP_NS_PER_SEC), before = now - 60;
	struct tm to = {0}, from = {0};
	bool same_day;

	localtime_r(&now, &to);
	localtime_r(&before, &from);
	same_day = number_of(&from) == number_of(&to);
	if (on_day(r, &to) && (int)r->minute <= minute_of(&to) &&
	    (!same_day || (int)r->minute > minute_of(&from))) {
		*day = number_of(&to);
		return true;
	}
	if (same_day || number_of(&from) > number_of(&to) || !on_day(r, &from) ||
	    (int)r->minute <= minute_of(&from))
		return false;
	*day = number_of(&from);
	return true;
}

bool schedule_due(const struct schedule_rule *r, int64_t from_ns, int64_t to_ns, uint32_t *day)
{
	for (int64_t at = (from_ns / MINUTE_NS + 1) * MINUTE_NS; at <= to_ns; at += MINUTE_NS)
		if (in_step(r, at, day))
			return true;
	return false;
}

/* A scan for that day was started already. */
static bool was_started(const struct scand *s, const char *text, uint32_t day)
{
	for (const struct demand_scan *d = s->demand->scans; d; d = d->next)
		if (d->schedule && d->schedule_day == day && strcmp(d->schedule, text) == 0)
			return true;
	return false;
}

static void start(struct scand *s, const char *text, const struct schedule_rule *r, uint32_t day)
{
	const char *why;
	struct demand_scan *d = demand_start(s, r->kind, NULL, false, &why);

	if (!d) {
		amp_error("the scan \"%s\" of the policy cannot begin: %s", text, why);
		amp_room_fault(s->room, AMP_FAULT_SCAN_FAILED, true, why);
		return;
	}
	d->schedule = strdup(text);
	d->schedule_day = day;
	amp_info("scan %llu: \"%s\" of the policy is due", (unsigned long long)d->id, text);
	demand_changed(d, true);
}

static void arm(struct scand *s)
{
	int64_t left = MINUTE_NS - amp_clock_realtime() % MINUTE_NS;
	struct timeval tv = {.tv_sec = left / AMP_NS_PER_SEC + 1};

	if (s->demand->schedule->count)
		evtimer_add(s->demand->schedule->timer, &tv);
}

static void look(struct scand *s)
{
	struct schedule *c = s->demand->schedule;
	int64_t now = amp_clock_realtime();
	uint32_t day;

	if (!s->started)
		return;
	if (!c->looked_ns || c->looked_ns > now || now - c->looked_ns > LATE_NS)
		c->looked_ns = now - LATE_NS;
	for (size_t i = 0; i < c->count; i++)
		if (schedule_due(&c->rule[i], c->looked_ns, now, &day) && !was_started(s, c->text[i], day))
			start(s, c->text[i], &c->rule[i], day);
	c->looked_ns = now;
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	look(arg);
	arm(arg);
}

static void clear(struct schedule *c)
{
	while (c->count)
		free(c->text[--c->count]);
}

/* ampmon checked them; one it does not know the form of is left out and named. */
void schedule_policy_changed(struct scand *s)
{
	struct schedule *c = s->demand->schedule;

	look(s); /* what was due by the old ones */
	clear(c);
	for (size_t i = 0; i < s->rules->schedule_count && c->count < RULES_SCHEDULE; i++) {
		char *text = strdup(s->rules->schedule[i]);

		if (!text || schedule_parse(text, &c->rule[c->count]) != 0) {
			amp_error("scan_schedule \"%.100s\": no such form", text ? text : "");
			free(text);
			continue;
		}
		c->text[c->count++] = text;
	}
	if (s->started)
		c->looked_ns = amp_clock_realtime(); /* a new rule is not due for what is past */
	arm(s);
}

void schedule_began(struct scand *s)
{
	look(s);
	arm(s);
}

int schedule_init(struct scand *s)
{
	struct schedule *c = calloc(1, sizeof(*c));

	tzset();
	s->demand->schedule = c;
	if (c)
		c->timer = evtimer_new(s->base, on_timer, s);
	return c && c->timer ? 0 : -1;
}

void schedule_free(struct scand *s)
{
	struct schedule *c = s->demand->schedule;

	if (!c)
		return;
	clear(c);
	if (c->timer)
		event_free(c->timer);
	free(c);
	s->demand->schedule = NULL;
}
