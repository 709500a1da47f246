/*
 * ampcloudd/shipper.h - rows of events.db into events.json, for log shippers.
 *
 * Owns: the file's descriptor (AMP_FD_EVENTS), which row is next, writing each
 * row once and in order, what is done when it cannot be written. Must not own:
 * the line's form (ecs.h), SQL (store.h), opening and rotating (ampmon/logs.c).
 *
 * How far it is stands in three places: here, in the file's last line, and
 * (later, when the file is synced) in the database. A successor goes on behind
 * the last line; if the file is new, behind the last one of the file before.
 * Runs in the event loop; its jobs run on the I/O thread.
 */
#ifndef AMPCLOUDD_SHIPPER_H
#define AMPCLOUDD_SHIPPER_H

#include "iothread.h"
#include "store.h"

#include <event2/event.h>

struct shipper;

struct shipper_config {
	const char *host_id; /* copied */
	int fd;		     /* AMP_FD_EVENTS; taken already, by whatever */
	unsigned retry_ms;   /* after an error; 0: 2000 */
	unsigned sync_ms;    /* between two syncs of the file; 0: 5000 */
	uint64_t file_max;   /* bytes; beyond it the next rotation is waited for; 0: 64 MiB */
};

/* NULL and errno. Without a file it does nothing. */
struct shipper *shipper_new(struct event_base *base, struct amp_iothread *io, struct store *store,
			    const struct shipper_config *c);
/* Jobs must have ended (amp_iothread_free). */
void shipper_free(struct shipper *s);

/* A new file and, or -1, the one before it. Takes both. */
void shipper_file(struct shipper *s, int fd, int before);
/* There may be rows to write. */
void shipper_look(struct shipper *s);
/* One more step with what is there, no retries any more. */
void shipper_stop(struct shipper *s);

#endif
