/*
 * ampcloudd/cloudd.h - the room ampcloudd: events.db behind walls.
 * Owns: the room's glue: links, control rows, CLI rows, start and stop.
 * Must not own: events (ingest.c), SQL (store.c, query.c), questions (history.c).
 */
#ifndef AMPCLOUDD_CLOUDD_H
#define AMPCLOUDD_CLOUDD_H

/* Runs to the room's end; what main() returns. */
int cloudd_main(void);

#endif
