/*
 * ampquard/waiting.c - what waits for the next transaction.
 *
 * Owns: TAKEs that are not committed yet, descriptors that came with them,
 * reports that ampcloudd has and whose rows can go. Must not own: what becomes
 * of an entry.
 */
#include "quard.h"

#include "clock.h"
#include "counter.h"
#include "log.h"
#include "step.h"

#include "proto/types.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define WAITING_MAX 1024U

static struct amp_counter count_taken = AMP_COUNTER("quarantine.requests", false);
static struct amp_counter count_allowed = AMP_COUNTER("quarantine.restored_left", false);

static void waiting_free(struct waiting *w)
{
	if (w->take)
		amp__take__free_unpacked(w->take, NULL);
	if (w->fd >= 0)
		close(w->fd);
	free(w);
}

static void keep_fd(struct keeper *k, const char *id, int fd)
{
	for (size_t i = 0; i < KEEPER_FDS; i++)
		if (k->fds[i].id[0] == '\0') {
			snprintf(k->fds[i].id, sizeof(k->fds[i].id), "%s", id);
			k->fds[i].fd = fd;
			return;
		}
	close(fd); /* it is looked for by its path */
}

int keeper_fd_take(struct keeper *k, const char *entry_id)
{
	for (size_t i = 0; i < KEEPER_FDS; i++)
		if (strcmp(k->fds[i].id, entry_id) == 0) {
			k->fds[i].id[0] = '\0';
			return k->fds[i].fd;
		}
	return -1;
}

static bool enter(struct keeper *k, struct waiting *w)
{
	enum store_take what = TAKE_KNOWN;
	char id[VAULT_ID_SIZE];
	bool allowed;

	if (!keeper_begin(k) || !keeper_did(k, store_is_allowed(k->store, w->take->sha256.data, &allowed)))
		return false;
	/* An ampscand that was not told in time goes on without knowing what was restored. */
	if (allowed) {
		amp_counter_add(&count_allowed, 1);
		w->entered = true;
		return true;
	}
	if (!keeper_did(k, store_take(k->store, w->take, id, &what)))
		return false;
	if (what != TAKE_KNOWN)
		report_found(k, w->take);
	/* Its content is in the vault, but here it is again: whatever leads to it is taken too. */
	if (what == TAKE_IN_VAULT && !keeper_did(k, store_reopen(k->store, id)))
		return false;
	if (what == TAKE_JOINED)
		taking_joined(k, id);
	if (w->fd >= 0 && what != TAKE_KNOWN) {
		keep_fd(k, id, w->fd);
		w->fd = -1;
	}
	w->entered = true;
	return true;
}

static Amp__TakeAck *ack_new(size_t n)
{
	Amp__TakeAck *ack = malloc(sizeof(*ack));
	uint64_t *ids = malloc(n * sizeof(*ids));

	if (!ack || !ids) {
		free(ack);
		free(ids);
		return NULL;
	}
	amp__take_ack__init(ack);
	ack->ids = ids;
	return ack;
}

/* All that came since the last round, in one transaction. */
void waiting_enter(struct keeper *k)
{
	struct waiting *w;
	Amp__TakeAck *ack;
	size_t n = 0;

	STAILQ_FOREACH(w, &k->waiting, link)
	n++;
	ack = n ? ack_new(n) : NULL;
	if (!ack)
		return;
	STAILQ_FOREACH(w, &k->waiting, link)
	{
		if (!enter(k, w))
			break;
		ack->ids[ack->n_ids++] = w->id;
	}
	amp_counter_add(&count_taken, ack->n_ids);
	step("intent");
	say_scand(k, AMP_MSG_TAKE_ACK, 0, &ack->base, true);
	k->more = true;
	k->cursor = 0;
	k->failed = 0;
}

void waiting_committed(struct keeper *k, bool done)
{
	struct waiting *w, *next;

	for (w = STAILQ_FIRST(&k->waiting); w; w = next) {
		next = STAILQ_NEXT(w, link);
		if (w->entered && done) {
			STAILQ_REMOVE(&k->waiting, w, waiting, link);
			waiting_free(w);
		} else {
			w->entered = false;
		}
	}
}

/* What is lost of these is told once more, which ampcloudd knows by its uid. */
void waiting_enter_reported(struct keeper *k)
{
	for (size_t i = 0; i < k->reported_count; i++) {
		if (!keeper_begin(k) || !keeper_did(k, store_reported(k->store, k->reported[i])))
			return;
		k->reported_entered = i + 1;
	}
}

void waiting_reported(struct keeper *k, bool done)
{
	size_t n = done ? k->reported_entered : 0;

	k->reported_entered = 0;
	k->reported_count -= n;
	if (n > 0)
		memmove(k->reported, k->reported + n, k->reported_count * sizeof(*k->reported));
}

/* Of another link: they are sent again on the one there is. */
void waiting_drop(struct keeper *k, uint64_t link)
{
	struct waiting *w, *next;

	for (w = STAILQ_FIRST(&k->waiting); w; w = next) {
		next = STAILQ_NEXT(w, link);
		if (w->serial != link || link == 0) {
			STAILQ_REMOVE(&k->waiting, w, waiting, link);
			waiting_free(w);
		}
	}
}

void keeper_take(struct keeper *k, struct request *r)
{
	struct waiting *w, *other;
	size_t n = 0;

	/* Nobody who keeps to the protocol has so many unacknowledged. */
	STAILQ_FOREACH(other, &k->waiting, link)
	n++;
	w = r->serial == k->link && n < WAITING_MAX ? calloc(1, sizeof(*w)) : NULL;
	if (!w)
		return; /* it is sent again on the next link */
	w->id = r->id;
	w->serial = r->serial;
	w->take = (Amp__Take *)r->body;
	w->fd = r->fds[0];
	r->body = NULL;
	r->fds[0] = -1;
	STAILQ_INSERT_TAIL(&k->waiting, w, link);
}

void keeper_reported(struct keeper *k, struct request *r)
{
	size_t room = k->reported_room ? 2 * k->reported_room : 256;
	uint64_t *larger = k->reported;

	if (k->reported_count == k->reported_room) {
		larger = realloc(k->reported, room * sizeof(*larger));
		if (!larger)
			return; /* it is told once more after the next start */
		k->reported = larger;
		k->reported_room = room;
	}
	k->reported[k->reported_count++] = r->id;
}
