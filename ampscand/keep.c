/*
 * ampscand/keep.c - records that outlive ampscand, kept by ampmon.
 *
 * Owns: the newest record of each name until it is on disk, who waits for that,
 * trying again when it could not be written; after a start, who gets what was
 * kept. Must not own: what records say.
 *
 * One of a name is on its way at a time; what is put meanwhile waits, and only
 * the newest of it is sent.
 */
#include "scand.h"

#include "counter.h"
#include "log.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define NAME_MAX_SIZE 32U
#define AGAIN_SEC     2 /* after an error, or without memory to send */

struct waiter {
	struct waiter *next;
	void (*done)(struct scand *s, int error, void *arg);
	void *arg;
};

struct record {
	struct record *next;
	char name[NAME_MAX_SIZE + 1];
	uint64_t id; /* of the one on its way; 0: none */
	uint8_t *data;
	size_t size;
	bool unsent;			 /* data is newer than what is on its way */
	bool failed;			 /* said once */
	struct waiter *told, *next_told; /* for the one on its way; for the next */
};

struct keep {
	struct record *records;
	size_t count;
	uint64_t serial;
	struct event *again;
};

static struct amp_counter count_put = AMP_COUNTER("keep.written", false);
static struct amp_counter count_failed = AMP_COUNTER("keep.failed", false);
static struct amp_counter count_left = AMP_COUNTER("keep.not_understood", false);

static void on_again(evutil_socket_t fd, short what, void *arg);

int keep_init(struct scand *s)
{
	s->keep = calloc(1, sizeof(*s->keep));
	if (!s->keep)
		return -1;
	s->keep->again = evtimer_new(s->base, on_again, s);
	return s->keep->again ? 0 : -1;
}

static void tell(struct scand *s, struct waiter *w, int error)
{
	while (w) {
		struct waiter *next = w->next;

		w->done(s, error, w->arg);
		free(w);
		w = next;
	}
}

static void discard(struct waiter *w)
{
	while (w) {
		struct waiter *next = w->next;

		free(w);
		w = next;
	}
}

static void forget(struct keep *k, struct record *r)
{
	struct record **at = &k->records;

	while (*at != r)
		at = &(*at)->next;
	*at = r->next;
	k->count--;
	free(r->data);
	free(r);
}

/* Nobody is told: the state that waits has gone before. */
void keep_free(struct scand *s)
{
	struct keep *k = s->keep;

	if (!k)
		return;
	while (k->records) {
		discard(k->records->told);
		discard(k->records->next_told);
		forget(k, k->records);
	}
	if (k->again)
		event_free(k->again);
	free(k);
	s->keep = NULL;
}

static struct record *find(struct keep *k, const char *name)
{
	struct record *r = k->records;

	while (r && strcmp(r->name, name) != 0)
		r = r->next;
	return r;
}

static struct waiter **end_of(struct waiter **list)
{
	while (*list)
		list = &(*list)->next;
	return list;
}

static void later(struct scand *s)
{
	struct timeval tv = {.tv_sec = AGAIN_SEC};

	if (!evtimer_pending(s->keep->again, NULL))
		evtimer_add(s->keep->again, &tv);
}

static void send_record(struct scand *s, struct record *r)
{
	struct keep *k = s->keep;
	Amp__Keep msg = AMP__KEEP__INIT;

	msg.name = r->name;
	msg.record.data = r->data;
	msg.record.len = r->size;
	if (amp_channel_send(amp_room_control(s->room), AMP_MSG_KEEP, k->serial + 1, &msg.base, NULL, 0) !=
	    0) {
		later(s);
		return;
	}
	r->id = ++k->serial;
	r->unsent = false;
	*end_of(&r->told) = r->next_told;
	r->next_told = NULL;
}

static void on_again(evutil_socket_t fd, short what, void *arg)
{
	struct scand *s = arg;

	(void)fd;
	(void)what;
	for (struct record *r = s->keep->records; r; r = r->next)
		if (r->id == 0 && r->unsent)
			send_record(s, r);
}

static bool is_name(const char *name)
{
	size_t n = strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-");

	return n > 0 && n <= NAME_MAX_SIZE && name[n] == '\0';
}

static struct record *find_or_new(struct keep *k, const char *name)
{
	struct record *r = find(k, name);

	if (r)
		return r;
	if (k->count >= AMP_KEEPS) {
		errno = ENOSPC;
		return NULL;
	}
	r = calloc(1, sizeof(*r));
	if (!r)
		return NULL;
	memcpy(r->name, name, strlen(name) + 1);
	r->next = k->records;
	k->records = r;
	k->count++;
	return r;
}

int keep_put(struct scand *s, const char *name, const uint8_t *record, size_t size,
	     void (*done)(struct scand *s, int error, void *arg), void *arg)
{
	struct record *r;
	struct waiter *w;
	uint8_t *copy;

	if (!is_name(name) || size > AMP_KEEP_MAX) {
		errno = EINVAL;
		return -1;
	}
	copy = malloc(size + 1);
	w = done ? malloc(sizeof(*w)) : NULL;
	r = copy && (w || !done) ? find_or_new(s->keep, name) : NULL;
	if (!r) {
		free(copy);
		free(w);
		return -1;
	}
	if (size)
		memcpy(copy, record, size);
	free(r->data);
	r->data = copy;
	r->size = size;
	r->unsent = true;
	if (w) {
		*w = (struct waiter){.done = done, .arg = arg};
		*end_of(&r->next_told) = w;
	}
	if (r->id == 0)
		send_record(s, r);
	return 0;
}

static void note_failure(struct record *r, int error)
{
	amp_counter_add(&count_failed, 1);
	if (!r->failed)
		amp_error("ampmon could not keep the record \"%s\": %s; it is tried again", r->name,
			  strerror(error));
	r->failed = true;
}

int keep_kept(struct scand *s, uint64_t id, const Amp__Kept *kept)
{
	struct record *r = find(s->keep, kept->name);
	struct waiter *told;

	if (!r || r->id == 0 || r->id != id)
		return -1;
	told = r->told;
	r->told = NULL;
	r->id = 0;
	if (kept->error) {
		note_failure(r, kept->error);
		r->unsent = true;
		later(s);
	} else {
		amp_counter_add(&count_put, 1);
		r->failed = false;
		if (r->unsent)
			send_record(s, r);
		else
			forget(s->keep, r);
	}
	tell(s, told, kept->error);
	return 0;
}

/* -- after a start -- */
static const struct {
	const char *prefix;
	int (*restore)(struct scand *s, const char *name, const uint8_t *record, size_t size);
} readers[] = {
	{"brake", brake_restore},
	{"held-", brake_restore},
	{"", demand_restore},
};

int keep_keeps(struct scand *s, const Amp__Keeps *k)
{
	size_t i = 0;

	if (!k->name[0])
		return 0;
	if (!is_name(k->name) || s->started)
		return -1;
	while (strncmp(k->name, readers[i].prefix, strlen(readers[i].prefix)) != 0)
		i++;
	if (readers[i].restore(s, k->name, k->record.data, k->record.len) == 0)
		return 0;
	amp_counter_add(&count_left, 1);
	amp_error("the record \"%s\" that was kept makes no sense; it is left", k->name);
	return 0;
}
