/*
 * lib/channel.h - one end of a SEQPACKET pair, its dispatch table and queue.
 *
 * Owns: framing (proto/types.h), receiving with every bound checked (whole
 * message, header, type permitted, size, fd count) before anything is
 * unpacked into the arena, the output queue with its water marks, fd credits.
 * Must not own: what messages mean, who the peer is, or when to reconnect.
 * Nothing here blocks. A channel is used from its event loop's thread only.
 */
#ifndef AMP_CHANNEL_H
#define AMP_CHANNEL_H

#include "proto/types.h"

#include <event2/event.h>
#include <protobuf-c/protobuf-c.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct amp_channel;

/* A message as a handler sees it. Memory and fds are the channel's: body is
 * gone when the handler returns, an fd is closed then unless taken. */
struct amp_message {
	uint16_t type;
	uint64_t id;
	const ProtobufCMessage *body; /* of the row's descriptor */
	int fds[AMP_MSG_MAX_FDS];
	unsigned fd_count;
};

/* Makes the caller owner of fds[i]; returns it (and leaves -1 there). */
int amp_message_take_fd(struct amp_message *m, unsigned i);

/*
 * Handler: 0; or -1: the message breaks the protocol (enum out of range,
 * missing sub-message, out of state): the peer is hostile.
 */
typedef int amp_handler(struct amp_channel *ch, struct amp_message *m, void *arg);

/* One row for every type that may arrive. Sent types need no row. */
struct amp_dispatch {
	uint16_t type;
	const ProtobufCMessageDescriptor *descriptor;
	uint32_t max_length; /* of the body; at most AMP_MSG_MAX - 16 */
	uint8_t min_fds, max_fds;
	uint32_t states; /* bits of amp_channel_set_state; 0: any state */
	amp_handler *handler;
};

enum amp_channel_end {
	AMP_CHANNEL_CLOSED, /* peer gone: EOF, ECONNRESET */
	AMP_CHANNEL_HOSTILE /* peer broke the protocol; `why` says how */
};

struct amp_channel_config {
	const char *name;		  /* for logs, copied */
	const struct amp_dispatch *table; /* static */
	size_t rows;
	/* Called once, last; the channel no longer reads or writes. The
	 * callee may amp_channel_free() it there and then. */
	void (*on_end)(struct amp_channel *ch, enum amp_channel_end end, const char *why, void *arg);
	/* Output queue fell below `low` after having been above `high`. */
	void (*on_writable)(struct amp_channel *ch, void *arg);
	void *arg;
	size_t high, low; /* bytes queued; 0: 1 MiB and 256 KiB */
	size_t limit;	  /* hard bound: send fails with ENOBUFS; 0: 8 MiB */
	int batch;	  /* messages read at a wake-up, then it is the others' turn; 0: 64 */
};

/* The two ends of a link, CLOEXEC, with the buffers a channel wants (ampmon has the
 * privilege to raise them over the system's limit, a room has not). 0, or -1 and errno. */
int amp_channel_pair(int fds[2]);

/*
 * Takes fd over (sets it non-blocking, raises its buffers to hold several
 * messages). NULL and errno on failure; fd is closed then.
 */
struct amp_channel *amp_channel_new(struct event_base *base, int fd, const struct amp_channel_config *c);
void amp_channel_free(struct amp_channel *ch);

/*
 * Packs and queues a message; sends at once if it can. fds are duplicated
 * before the call returns, the caller keeps its own. 0, or -1: EMSGSIZE,
 * ENOBUFS (hard bound), ENOTCONN (ended), EMFILE, EINVAL (the body would be refused: a string
 * that is not UTF-8 or an enum out of range; amp_text_escape() mends strings). Above `high`
 * amp_channel_full() is true and the caller should stop reading its source. on_end is never
 * called from here.
 */
int amp_channel_send(struct amp_channel *ch, uint16_t type, uint64_t id, const ProtobufCMessage *body,
		     const int *fds, unsigned fd_count);
bool amp_channel_full(const struct amp_channel *ch);
size_t amp_channel_queued(const struct amp_channel *ch);

/* State bits a row's `states` is checked against. Starts as 1. */
void amp_channel_set_state(struct amp_channel *ch, uint32_t state);
uint32_t amp_channel_state(const struct amp_channel *ch);

void amp_channel_pause_read(struct amp_channel *ch, bool paused);

/* Writes what is queued, waiting at most ms (only before exit). */
void amp_channel_flush(struct amp_channel *ch, unsigned ms);
const char *amp_channel_name(const struct amp_channel *ch);
void *amp_channel_arg(const struct amp_channel *ch);
int amp_channel_fd(const struct amp_channel *ch); /* -1 once it has ended */

/* A second pointer, for who made the channel when `arg` is the handlers'. */
void amp_channel_set_owner(struct amp_channel *ch, void *owner);
void *amp_channel_owner(const struct amp_channel *ch);
/* Monotonic ns when a message last came in or went out. */
int64_t amp_channel_last_activity(const struct amp_channel *ch);

/* Header and body into buf: the bytes of a datagram. Its size; 0 with errno EMSGSIZE. */
size_t amp_message_pack(uint8_t *buf, size_t size, uint16_t type, uint64_t id, const ProtobufCMessage *body);

/*
 * Checks and unpacks one received datagram against a table: what the channel
 * does with every message, and what the fuzzers call. 0 and *row, *body in
 * arena; or -1 with *why (static string). Only what protobuf-c itself would
 * have packed passes: unknown fields, repeated single fields, overlong
 * numbers, enums out of range, strings with NUL or not UTF-8 do not.
 */
struct amp_arena;
int amp_message_check(const struct amp_dispatch *table, size_t rows, uint32_t state, const uint8_t *data,
		      size_t length, unsigned fd_count, struct amp_arena *arena,
		      const struct amp_dispatch **row, struct amp_wire_header *header,
		      const ProtobufCMessage **body, const char **why);

#endif
