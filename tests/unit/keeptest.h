/*
 * tests/unit/keeptest.h - keep.c, brake.c and held.c without the rest of
 * ampscand: the room and ampmon, which keeps records, are played here.
 */
#ifndef AMP_KEEPTEST_H
#define AMP_KEEPTEST_H

#include "scantest.h"

#include "ampscand/brake.h"
#include "log.h"

#include "proto/cli.pb-c.h"

#include <errno.h>
#include <stdio.h>

#define KEPT_MAX 80U

/* --- in place of lib/room.c ------------------------------------------------------ */

struct amp_room {
	struct event_base *base;
	struct amp_channel *control;
	bool fault;
	unsigned faults;
	char detail[512];
};

static struct amp_room kt_room;

struct amp_channel *amp_room_control(struct amp_room *room)
{
	return room->control;
}

void amp_room_fault(struct amp_room *room, enum amp_fault_number n, bool raised, const char *detail)
{
	assert_true(n == AMP_FAULT_BRAKE || n == AMP_FAULT_FOUNDATION);
	room->fault = raised;
	room->faults++;
	snprintf(room->detail, sizeof(room->detail), "%s", detail);
}

/* --- ampmon: what is kept -------------------------------------------------------- */

struct kept {
	char name[40];
	uint8_t data[AMP_KEEP_MAX];
	size_t size;
};

static struct {
	struct amp_channel *channel;
	struct kept kept[KEPT_MAX];
	size_t count;
	unsigned keeps;	  /* KEEPs that came */
	bool silent;	  /* they are not answered */
	int error;	  /* they are answered with it */
	uint64_t last_id; /* of the last one */
	char last_name[40];
} kt_mon;

static void kt_answer(uint64_t id, const char *name, int error)
{
	Amp__Kept k = AMP__KEPT__INIT;

	k.name = (char *)(uintptr_t)name;
	k.error = error;
	assert_int_equal(amp_channel_send(kt_mon.channel, AMP_MSG_KEPT, id, &k.base, NULL, 0), 0);
}

static struct kept *kt_find(const char *name)
{
	for (size_t i = 0; i < kt_mon.count; i++)
		if (strcmp(kt_mon.kept[i].name, name) == 0)
			return &kt_mon.kept[i];
	return NULL;
}

static void kt_store(const Amp__Keep *k)
{
	struct kept *at = kt_find(k->name);

	if (k->record.len == 0) {
		if (at)
			*at = kt_mon.kept[--kt_mon.count];
		return;
	}
	if (!at) {
		assert_true(kt_mon.count < KEPT_MAX);
		at = &kt_mon.kept[kt_mon.count++];
	}
	snprintf(at->name, sizeof(at->name), "%s", k->name);
	memcpy(at->data, k->record.data, k->record.len);
	at->size = k->record.len;
}

static int kt_on_keep(struct amp_channel *ch, struct amp_message *m, void *arg)
{
	const Amp__Keep *k = (const Amp__Keep *)m->body;

	(void)ch;
	(void)arg;
	kt_mon.keeps++;
	kt_mon.last_id = m->id;
	snprintf(kt_mon.last_name, sizeof(kt_mon.last_name), "%s", k->name);
	if (!kt_mon.error)
		kt_store(k);
	if (!kt_mon.silent)
		kt_answer(m->id, k->name, kt_mon.error);
	return 0;
}

static int kt_on_kept(struct amp_channel *ch, struct amp_message *m, void *arg)
{
	(void)ch;
	assert_int_equal(keep_kept(arg, m->id, (const Amp__Kept *)m->body), 0);
	return 0;
}

static const struct amp_dispatch kt_mon_rows[] = {
	{AMP_MSG_KEEP, &amp__keep__descriptor, AMP_MSG_MAX - 16, 0, 0, 0, kt_on_keep},
};
static const struct amp_dispatch kt_scand_rows[] = {
	{AMP_MSG_KEPT, &amp__kept__descriptor, 128, 0, 0, 0, kt_on_kept},
};

static void kt_end(struct amp_channel *ch, enum amp_channel_end end, const char *why, void *arg)
{
	(void)ch;
	(void)arg;
	if (end == AMP_CHANNEL_HOSTILE)
		fail_msg("the protocol was broken: %s", why);
}

/* As long at least, in turns: however late each comes, what follows from another has turns of its own. */
static UNUSED void kt_run(long ms)
{
	const long turn = ms < 100 ? 1 : 10;
	const struct timeval tv = {.tv_usec = turn * 1000};

	for (; ms > 0; ms -= turn) {
		event_base_loopexit(kt_room.base, &tv);
		event_base_dispatch(kt_room.base);
	}
	for (int i = 0; i < 16; i++)
		event_base_loop(kt_room.base, EVLOOP_NONBLOCK);
}

/* A (new) ampscand and its channel; what was on its way is gone. */
static UNUSED void kt_link(struct scand *s)
{
	struct amp_channel_config c = {.name = "ampmon", .table = kt_scand_rows, .rows = 1, .on_end = kt_end};
	int pair[2];

	assert_int_equal(amp_channel_pair(pair), 0);
	c.arg = s;
	kt_room.control = amp_channel_new(kt_room.base, pair[0], &c);
	c.table = kt_mon_rows;
	kt_mon.channel = amp_channel_new(kt_room.base, pair[1], &c);
	assert_non_null(kt_room.control);
	assert_non_null(kt_mon.channel);
	s->room = &kt_room;
	s->base = kt_room.base;
}

static UNUSED void kt_unlink(void)
{
	amp_channel_free(kt_room.control);
	amp_channel_free(kt_mon.channel);
}

static void kt_begin(void)
{
	amp_log_open("test", open("/dev/null", O_WRONLY | O_CLOEXEC), AMP_LOG_ERROR);
	memset(&kt_mon, 0, sizeof(kt_mon));
	memset(&kt_room, 0, sizeof(kt_room));
	kt_room.base = event_base_new();
	assert_non_null(kt_room.base);
}

#endif
