/*
 * tests/fuzz/fuzz_message.c - amp_message_check over every type of every link.
 *
 * Input: state bits, number of descriptors, a datagram. Beyond memory safety
 * it holds the check to its word: what passed packs to as many bytes as came,
 * and what it packs to passes again.
 */
#include "arena.h"
#include "tables.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define HEADER_SIZE sizeof(struct amp_wire_header)

struct result {
	const struct amp_dispatch *row;
	struct amp_wire_header header;
	const ProtobufCMessage *body;
};

static int check(struct amp_arena *arena, uint8_t state, uint8_t fds, const uint8_t *data, size_t size,
		 struct result *r)
{
	const char *why = NULL;
	int rc = amp_message_check(fuzz_rows, FUZZ_ROWS, state, data, size, fds, arena, &r->row, &r->header,
				   &r->body, &why);

	if ((rc == 0) == (why != NULL))
		abort(); /* a refusal has its reason, and only a refusal */
	return rc;
}

static void check_again(const struct result *r, uint8_t state, uint8_t fds, size_t size)
{
	static uint8_t again[AMP_MSG_MAX];
	static struct amp_arena arena;
	struct result second;

	if (!arena.base && amp_arena_init(&arena, 1024 * 1024) < 0)
		abort();
	if (r->body->descriptor != r->row->descriptor || r->header.type != r->row->type)
		abort();
	if (amp_message_pack(again, sizeof(again), r->header.type, r->header.id, r->body) != size)
		abort();
	if (check(&arena, state, fds, again, size, &second) < 0)
		abort();
	amp_arena_reset(&arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct amp_arena arena;
	struct result r;

	if (size < FUZZ_MESSAGE_PREFIX)
		return 0;
	if (!arena.base && amp_arena_init(&arena, 1024 * 1024) < 0)
		abort();
	if (check(&arena, data[0], data[1], data + FUZZ_MESSAGE_PREFIX, size - FUZZ_MESSAGE_PREFIX, &r) == 0)
		check_again(&r, data[0], data[1], size - FUZZ_MESSAGE_PREFIX);
	amp_arena_reset(&arena);
	return 0;
}
