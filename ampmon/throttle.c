/*
 * ampmon/throttle.c - back-off and heartbeat, reckoned (see throttle.h).
 * Must not own: clocks, processes, faults.
 */
#include "ampmon/throttle.h"

#define RING (CHILD_FREE_DEATHS + 1)

static void remember(struct child_throttle *t, int64_t now)
{
	t->deaths[t->next] = now;
	t->next = (t->next + 1) % RING;
	if (t->count < RING)
		t->count++;
}

/* More deaths in the window than are free? The ring holds one more than those. */
static bool too_many(const struct child_throttle *t, int64_t now)
{
	return t->count == RING && now - t->deaths[t->next] < CHILD_WINDOW_NS;
}

int64_t child_throttle_death(struct child_throttle *t, int64_t now, int64_t lived, unsigned weight)
{
	child_throttle_lives(t, lived);
	for (unsigned i = 0; i < weight; i++)
		remember(t, now);
	/* A back-off of a minute spreads deaths over more than the window: only
	 * a long life ends it, not a quiet window. */
	if (t->backoff > 0)
		t->backoff = t->backoff > CHILD_BACKOFF_MAX_NS / 2 ? CHILD_BACKOFF_MAX_NS : t->backoff * 2;
	else if (too_many(t, now))
		t->backoff = CHILD_BACKOFF_MIN_NS;
	return t->backoff;
}

bool child_throttle_active(const struct child_throttle *t)
{
	return t->backoff > 0;
}

bool child_throttle_lives(struct child_throttle *t, int64_t lived)
{
	if (t->backoff == 0 || lived < CHILD_WELL_NS)
		return false;
	t->backoff = 0;
	t->count = 0;
	return true;
}

void child_heart_tick(struct child_heart *h, int64_t elapsed, int64_t most)
{
	int64_t passed = elapsed < most ? elapsed : most;

	if (h->waiting)
		h->silent_ns += passed;
	if (h->io_busy)
		h->stalled_ns += passed;
}

void child_heart_ping(struct child_heart *h)
{
	h->waiting = true;
}

void child_heart_pong(struct child_heart *h, uint64_t io_steps, bool io_busy)
{
	h->waiting = false;
	h->silent_ns = 0;
	if (!io_busy || io_steps != h->io_steps)
		h->stalled_ns = 0;
	h->io_steps = io_steps;
	h->io_busy = io_busy;
}
