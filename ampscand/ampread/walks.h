/*
 * ampscand/ampread/walks.h - the walks that ampscand asked for.
 *
 * Owns: up to four walks at once, their credit, cancelling, the messages.
 * A walk without credit or that waits for a GO rests: nothing open, nothing queued.
 * Must not own: the walking (walk.h; tree.h where it is ordered), the messages' form (walkwire.h).
 */
#ifndef AMP_WALKS_H
#define AMP_WALKS_H

#include "channel.h"
#include "iothread.h"
#include "proto/read.pb-c.h"

#include <stddef.h>

#define AMP_WALKS_MAX 4

struct amp_walks;

struct amp_walks *amp_walks_new(struct amp_iothread *io);
/* The I/O thread must be idle. */
void amp_walks_free(struct amp_walks *s);

/* The channel to send by; walks of an old one are dropped by unlink. */
void amp_walks_link(struct amp_walks *s, struct amp_channel *ch);
void amp_walks_unlink(struct amp_walks *s);

/* Handlers of the messages. -1: the message breaks the protocol. */
int amp_walks_start(struct amp_walks *s, const Amp__Walk *ask);
void amp_walks_credit(struct amp_walks *s, uint64_t walk_id, uint32_t credit);
int amp_walks_go(struct amp_walks *s, uint64_t walk_id);
void amp_walks_cancel(struct amp_walks *s, uint64_t walk_id);

/* The channel takes more again. */
void amp_walks_pump(struct amp_walks *s);

/* Walks there are, those of old links too. */
size_t amp_walks_in_hand(const struct amp_walks *s);

#endif
