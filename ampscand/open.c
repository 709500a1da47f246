/*
 * ampscand/open.c - descriptors that ampquard asks for, opened by ampread.
 *
 * Owns: each question (a file, a directory, or both) from ampquard's OPEN until
 * its answer, the descriptors in between, asking again when a reader died. Few
 * are in hand at once, and none while many answers wait to be written: what waits,
 * waits as handles. Must not own: the link, what is done with a file.
 */
#include "scand.h"

#include "counter.h"
#include "log.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define IN_HAND_MAX 8U
#define WAITING_MAX 64U
#define DEATHS_MAX  3U

typedef Amp__Opened__Status opened_status;
#define OPENED(name) AMP__OPENED__STATUS__##name

struct open_item {
	struct question *question;
	Amp__ReadItem__Want want; /* NONE: not wanted */
	struct amp_fileid id;
	opened_status status; /* NONE: not known yet */
	int error;
	bool asked; /* a reader has it */
	unsigned deaths;
	int fd;
};

struct question {
	struct question *next;
	uint64_t id;  /* ampquard's */
	bool in_hand; /* else it waits for its turn */
	bool dropped; /* nobody waits for the answer */
	struct open_item file, directory;
	char *path; /* of the directory */
};

struct opens {
	struct question *first; /* in the order of asking */
};

static struct amp_counter count_opens = AMP_COUNTER("open.asked", false);
static struct amp_counter count_failed = AMP_COUNTER("open.failed", false);
static struct amp_counter count_busy = AMP_COUNTER("open.too_many", false);
static struct amp_counter count_dropped = AMP_COUNTER("open.dropped", false);

int opens_init(struct scand *s)
{
	s->opens = calloc(1, sizeof(*s->opens));
	return s->opens ? 0 : -1;
}

static void item_close(struct open_item *i)
{
	if (i->fd >= 0)
		close(i->fd);
	i->fd = -1;
}

static void question_free(struct scand *s, struct question *q)
{
	struct question **p = &s->opens->first;

	while (*p && *p != q)
		p = &(*p)->next;
	if (*p)
		*p = q->next;
	item_close(&q->file);
	item_close(&q->directory);
	free(q->path);
	free(q);
}

void opens_free(struct scand *s)
{
	while (s->opens && s->opens->first)
		question_free(s, s->opens->first);
	free(s->opens);
	s->opens = NULL;
}

static size_t count(const struct scand *s, bool in_hand)
{
	size_t n = 0;

	for (const struct question *q = s->opens->first; q; q = q->next)
		n += !q->dropped && q->in_hand == in_hand;
	return n;
}

/* NONE stays NONE: it is not wanted. -1: it is no handle. */
static int item_set(struct open_item *i, struct question *q, Amp__ReadItem__Want want, uint64_t fsid,
		    const Amp__Handle *wire)
{
	i->question = q;
	i->fd = -1;
	i->id.fsid = fsid;
	if (!wire)
		return 0;
	i->want = want;
	return amp_handle_from_wire(wire, &i->id.handle);
}

/* Too many wait (disks that do not answer, say): it is asked again later. */
static int answer_busy(struct scand *s, uint64_t question, const Amp__Open *o)
{
	Amp__Opened busy = AMP__OPENED__INIT;

	busy.file = o->file ? OPENED(BUSY) : OPENED(NONE);
	busy.directory = o->directory ? OPENED(BUSY) : OPENED(NONE);
	amp_counter_add(&count_busy, 1);
	if (amp_channel_send(quard_channel(s), AMP_MSG_OPENED, question, &busy.base, NULL, 0) != 0)
		amp_warn("an answer to ampquard cannot be sent: %s", strerror(errno));
	return 0;
}

int opens_ask(struct scand *s, uint64_t question, const Amp__Open *o)
{
	struct question *q, **end = &s->opens->first;

	if (!o->file && !o->directory)
		return -1;
	if (count(s, false) >= WAITING_MAX)
		return answer_busy(s, question, o);
	q = calloc(1, sizeof(*q));
	if (!q) {
		amp_error("no memory for a question of ampquard");
		return -1; /* it asks its successor's link again */
	}
	q->id = question;
	if (item_set(&q->file, q, AMP__READ_ITEM__WANT__OPEN_FILE, o->fsid, o->file) != 0 ||
	    item_set(&q->directory, q, AMP__READ_ITEM__WANT__OPEN_DIRECTORY, o->fsid, o->directory) != 0) {
		free(q);
		return -1;
	}
	while (*end)
		end = &(*end)->next;
	*end = q;
	amp_counter_add(&count_opens, 1);
	scand_pump_later(s);
	return 0;
}

static void settle(struct open_item *i, opened_status status, int error)
{
	i->status = status;
	i->error = error;
	if (status == OPENED(FAILED))
		amp_counter_add(&count_failed, 1);
}

static bool is_settled(const struct open_item *i)
{
	return i->want == AMP__READ_ITEM__WANT__NONE || i->status != OPENED(NONE);
}

static int send_answer(struct scand *s, const struct question *q, bool with_fds)
{
	Amp__Opened o = AMP__OPENED__INIT;
	int fds[2];
	unsigned n = 0;

	o.file = q->file.status;
	o.directory = q->directory.status;
	o.error = q->file.error ? q->file.error : q->directory.error;
	if (with_fds && q->file.fd >= 0)
		fds[n++] = q->file.fd;
	else if (q->file.fd >= 0)
		o.file = OPENED(BUSY);
	if (with_fds && q->directory.fd >= 0)
		fds[n++] = q->directory.fd;
	else if (q->directory.fd >= 0)
		o.directory = OPENED(BUSY);
	if (o.directory == OPENED(OK) && q->path) {
		o.directory_path.data = (uint8_t *)q->path;
		o.directory_path.len = strlen(q->path);
	}
	return amp_channel_send(quard_channel(s), AMP_MSG_OPENED, q->id, &o.base, fds, n);
}

/* Without descriptors to spare for the sending it is told to ask again. */
static void answer(struct scand *s, struct question *q)
{
	if (quard_channel(s) && send_answer(s, q, true) != 0 && send_answer(s, q, false) != 0)
		amp_warn("an answer to ampquard cannot be sent: %s", strerror(errno));
	question_free(s, q);
	scand_pump_later(s);
}

static void answer_if_settled(struct scand *s, struct question *q)
{
	if (q->dropped && !q->file.asked && !q->directory.asked)
		question_free(s, q);
	else if (!q->dropped && is_settled(&q->file) && is_settled(&q->directory))
		answer(s, q);
}

/* What a reader's answer means here. UNREADABLE and what is not named: FAILED. */
static const opened_status meanings[] = {
	[AMP__READ_RESULT__STATUS__OK] = OPENED(OK),
	[AMP__READ_RESULT__STATUS__GONE] = OPENED(GONE),
	[AMP__READ_RESULT__STATUS__NOT_REGULAR] = OPENED(FAILED),
	[AMP__READ_RESULT__STATUS__BUSY] = OPENED(BUSY),
	[AMP__READ_RESULT__STATUS__CHANGED] = OPENED(FAILED),
	[AMP__READ_RESULT__STATUS__NO_MOUNT] = OPENED(FAILED),
	[AMP__READ_RESULT__STATUS__UNREADABLE] = OPENED(FAILED),
	[AMP__READ_RESULT__STATUS__UNRESOLVED] = OPENED(FAILED),
	[AMP__READ_RESULT__STATUS__TOO_LARGE_NOW] = OPENED(FAILED),
};

static int error_of(const Amp__ReadResult *r)
{
	if (r->status == AMP__READ_RESULT__STATUS__NO_MOUNT)
		return ENODEV;
	if (r->status == AMP__READ_RESULT__STATUS__NOT_REGULAR)
		return EINVAL;
	return r->error > 0 ? r->error : EIO;
}

void opens_done(struct scand *s, struct open_item *i, const Amp__ReadResult *r, int fd)
{
	struct question *q = i->question;
	opened_status status = meanings[r->status];

	i->asked = false;
	i->fd = fd;
	settle(i, status, status == OPENED(FAILED) ? error_of(r) : 0);
	if (i == &q->directory && fd >= 0 && r->path.len)
		q->path = strndup((const char *)r->path.data, r->path.len);
	answer_if_settled(s, q);
}

void opens_again(struct scand *s, struct open_item *i)
{
	i->asked = false;
	if (++i->deaths >= DEATHS_MAX)
		settle(i, OPENED(FAILED), EIO);
	answer_if_settled(s, i->question);
	scand_pump_later(s);
}

/* False: no reader has room. */
static bool ask_for(struct scand *s, struct open_item *i)
{
	const struct filesystem *fs = filesystems_find(&s->filesystems, i->id.fsid);
	int reader;

	if (i->asked || is_settled(i))
		return true;
	if (amp_handle_is_stand_in(&i->id.handle))
		settle(i, OPENED(GONE), 0);
	else if (!fs || !fs->mount_point[0])
		settle(i, OPENED(FAILED), ENODEV);
	else if (readers_ask(s, i, i->want, fs, &i->id, 0, -1, &reader) == 0)
		i->asked = true;
	else
		return false;
	return true;
}

/* The next whose turn it is. NULL: none, or too much that was answered is not written yet. */
static struct question *next_question(const struct scand *s, struct question *after)
{
	struct question *q = after ? after->next : s->opens->first;

	while (q && q->dropped)
		q = q->next;
	if (!q || q->in_hand)
		return q;
	if (!quard_channel(s) || amp_channel_full(quard_channel(s)) || count(s, true) >= IN_HAND_MAX)
		return NULL;
	q->in_hand = true;
	return q;
}

void opens_pump(struct scand *s)
{
	struct question *q = next_question(s, NULL), *next;

	for (; q; q = next) {
		bool room = ask_for(s, &q->file) && ask_for(s, &q->directory);

		next = room ? next_question(s, q) : NULL;
		answer_if_settled(s, q);
	}
}

void opens_drop(struct scand *s)
{
	struct question *q = s->opens->first, *next;

	for (; q; q = next) {
		next = q->next;
		if (q->dropped)
			continue;
		q->dropped = true;
		amp_counter_add(&count_dropped, 1);
		answer_if_settled(s, q);
	}
}
