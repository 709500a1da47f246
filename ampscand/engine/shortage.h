/*
 * ampscand/engine/shortage.h - did libclamav lack room for its files?
 *
 * Owns: whether a call on a file failed since the last question for want of room, of
 * descriptors or of a directory to write in. Must not own: what follows (adapter.c).
 */
#ifndef AMPENGINE_SHORTAGE_H
#define AMPENGINE_SHORTAGE_H

/* Before the first question. 0, or -1. */
int shortage_setup(void);
void shortage_begin(void);
/* The errno of the first such call since shortage_begin(); 0: there was none. */
int shortage_seen(void);

#endif
