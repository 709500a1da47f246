/*
 * ampcloudd/ingest.h - events from the links into the store.
 *
 * Owns: the queue of events received and not yet committed, batches (group
 * commit), acknowledgements, what is done about a full or broken database,
 * pruning. Must not own: channels (an origin is a number), SQL.
 * Runs in the event loop; its jobs run on the I/O thread.
 */
#ifndef AMPCLOUDD_INGEST_H
#define AMPCLOUDD_INGEST_H

#include "fault.h"
#include "iothread.h"
#include "store.h"

#include <event2/event.h>

#define INGEST_BATCH	   500
#define INGEST_HIGH_EVENTS 20000 /* waiting: stop reading the links */
#define INGEST_HIGH_BYTES  (32U << 20)

struct ingest;

struct ingest_ops {
	/* Committed: ids of that origin. */
	void (*ack)(uint64_t origin, const uint64_t *ids, size_t n, void *arg);
	/* Too much waits (true), or no longer (false). */
	void (*pause)(bool paused, void *arg);
	void (*fault)(enum amp_fault_number n, bool raised, const char *detail, void *arg);
	void (*added)(void *arg); /* there are new rows */
	void *arg;
};

struct ingest_config {
	const char *shown_path; /* of the database as the administrator sees it; copied */
	unsigned retry_ms;	/* after an error; 0: 2000 */
};

/* NULL and errno. The store is used on the I/O thread only from here on. */
struct ingest *ingest_new(struct event_base *base, struct amp_iothread *io, struct store *store,
			  const struct ingest_config *c, const struct ingest_ops *ops);
/* Jobs must have ended (amp_iothread_free). */
void ingest_free(struct ingest *in);
/* Opens the database and looks after it. */
void ingest_start(struct ingest *in);
/* Takes a copy. 0, or -1: the sender breaks the protocol (why is logged). */
int ingest_event(struct ingest *in, uint64_t origin, uint64_t id, const Amp__Event *e);
bool ingest_paused(const struct ingest *in);
/* No retries any more: what cannot be committed now stays with its sender. */
void ingest_stop(struct ingest *in);
/* Looks whether a standing fault can be cleared; called when somebody asks how things are. */
void ingest_look(struct ingest *in);

#endif
