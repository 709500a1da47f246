/*
 * lib/arena.h - bounded memory for one protobuf-c message.
 * Owns: the ProtobufCAllocator given to every unpack: a hostile body cannot
 * take more than `limit` bytes, and all of it goes in one call.
 */
#ifndef AMP_ARENA_H
#define AMP_ARENA_H

#include <protobuf-c/protobuf-c.h>
#include <stdbool.h>
#include <stddef.h>

struct amp_arena {
	ProtobufCAllocator allocator; /* pass &arena.allocator to unpack */
	unsigned char *base;
	size_t size; /* limit, bytes */
	size_t used;
	bool exceeded; /* an allocation was refused since the last reset */
};

/* limit in bytes, allocated once. 0, or -1 and errno. */
int amp_arena_init(struct amp_arena *arena, size_t limit);
void amp_arena_reset(struct amp_arena *arena);
void amp_arena_free(struct amp_arena *arena);

#endif
