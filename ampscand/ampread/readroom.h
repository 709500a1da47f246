/*
 * ampscand/ampread/readroom.h - ampread as a room (lib/room.h).
 * Owns: what is opened before the drop and the callbacks of the life cycle.
 * Must not own: the work itself (reader.h, walks.h).
 */
#ifndef AMP_READROOM_H
#define AMP_READROOM_H

/* Runs the room to its end; the exit status. */
int amp_readroom_main(void);

#endif
