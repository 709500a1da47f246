/*
 * lib/outbox.h - durable messages until the receiver has committed them.
 *
 * Owns: the packed bodies that wait for an EventAck, their order, sending
 * again on a new link, water marks, and setting a message aside after three
 * deaths of the receiver on it. Must not own: the channel, or making the
 * content survive the sender's own death (the job buffers and ids do that).
 */
#ifndef AMP_OUTBOX_H
#define AMP_OUTBOX_H

#include "channel.h"
#include "proto/event.pb-c.h"

struct amp_outbox;

struct amp_outbox_config {
	size_t window; /* unacknowledged messages on the wire at most; 0: 256 */
	/* Event `token` was committed (or set aside: aside true). */
	void (*on_committed)(uint64_t token, bool aside, void *arg);
	void *arg;
};

struct amp_outbox *amp_outbox_new(const struct amp_outbox_config *c);
void amp_outbox_free(struct amp_outbox *o);
/* Packs and queues; token comes back in on_committed. 0, or -1: ENOMEM, EMSGSIZE (no message holds it). */
int amp_outbox_put(struct amp_outbox *o, const Amp__Event *event, uint64_t token);
/* The link is there (again): what is unacknowledged is sent again, in order. NULL: it is gone.
 * died: the receiver died with the last link (counts against the oldest message on the wire; what
 * else was on it goes out one at a time then, so that three deaths find the message that kills).
 * It may be said with NULL or with the next link; said twice it counts once. */
void amp_outbox_attach(struct amp_outbox *o, struct amp_channel *ch, bool died);
/* Rows for the sender's table: AMP_MSG_EVENT_ACK. Unknown ids are counted ("outbox.unasked_ack"). -1: never
 */
void amp_outbox_ack(struct amp_outbox *o, const Amp__EventAck *ack);
/* on_writable of the channel. */
void amp_outbox_pump(struct amp_outbox *o);
size_t amp_outbox_waiting(const struct amp_outbox *o);

#endif
