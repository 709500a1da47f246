/*
 * ampscand/engine/wire.h - messages of a process that does one thing at a time.
 *
 * Owns: blocking sending and receiving of one message over a pair, checked as a channel
 * checks it (lib/channel.h). Must not own: what messages mean.
 */
#ifndef AMPENGINE_WIRE_H
#define AMPENGINE_WIRE_H

#include "arena.h"
#include "channel.h"

struct wire {
	int fd;
	const struct amp_dispatch *table; /* its handlers are not called */
	size_t rows;
	struct amp_arena arena;
	uint8_t data[AMP_MSG_MAX];
};

int wire_init(struct wire *w, int fd, const struct amp_dispatch *table, size_t rows);
/*
 * 1: a message; its body holds until the next call, its descriptors are the caller's.
 * 0: the other end is gone. -1: errno, and *why what was wrong with the message.
 */
int wire_receive(struct wire *w, struct amp_message *m, const char **why);
/* 0, or -1 and errno. */
int wire_send(struct wire *w, uint16_t type, uint64_t id, const ProtobufCMessage *body);

#endif
