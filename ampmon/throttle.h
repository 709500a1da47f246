/*
 * ampmon/throttle.h - when a dead room may start again, when a silent one is
 * to be killed: pure reckoning on times that the caller gives.
 * Owns: the back-off and the heartbeat's book-keeping. Must not own: clocks,
 * processes, faults.
 */
#ifndef AMPMON_THROTTLE_H
#define AMPMON_THROTTLE_H

#include <stdbool.h>
#include <stdint.h>

#define CHILD_FREE_DEATHS    10U /* in CHILD_WINDOW_NS: started again at once */
#define CHILD_WINDOW_NS	     60000000000LL
#define CHILD_BACKOFF_MIN_NS 1000000000LL
#define CHILD_BACKOFF_MAX_NS 60000000000LL
#define CHILD_WELL_NS	     60000000000LL /* a life this long ends the back-off */

struct child_throttle {
	int64_t deaths[CHILD_FREE_DEATHS + 1]; /* ring of the latest */
	unsigned next, count;
	int64_t backoff; /* ns; 0: none */
};

/*
 * A death at `now` after a life of `lived` ns. weight: 1; 2 for a death that
 * speaks of a defect or an attack (SIGSEGV, SIGSYS, a wall). Returns how long
 * the successor has to wait, ns; 0: not at all.
 */
int64_t child_throttle_death(struct child_throttle *t, int64_t now, int64_t lived, unsigned weight);
bool child_throttle_active(const struct child_throttle *t);
/* The room has lived for `lived` ns; true if this ended a back-off. */
bool child_throttle_lives(struct child_throttle *t, int64_t lived);

struct child_heart {
	bool waiting;	   /* a PING is not answered */
	int64_t silent_ns; /* for so long */
	bool io_busy;
	uint64_t io_steps;
	int64_t stalled_ns; /* the steps stand still */
};

/* Once a heartbeat, before the next PING. elapsed: since the last call. The
 * caller's own sleep (a suspended machine) is no silence of the room: elapsed
 * counts for at most `most`. */
void child_heart_tick(struct child_heart *h, int64_t elapsed, int64_t most);
void child_heart_ping(struct child_heart *h);
void child_heart_pong(struct child_heart *h, uint64_t io_steps, bool io_busy);

#endif
