/*
 * lib/arena.c - a bump allocator for one message at a time.
 * Owns: one block of memory. free is nothing: all goes at the reset. Must not
 * own: a second block; what does not fit is refused, and the unpacking fails.
 */
#include "arena.h"

#include <errno.h>
#include <stdalign.h>
#include <stdlib.h>

/* With the sanitizer on, what a reset took back may not be touched again. */
#ifdef AMP_SANITIZED
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(address, size)   ((void)(address), (void)(size))
#define ASAN_UNPOISON_MEMORY_REGION(address, size) ((void)(address), (void)(size))
#endif

#define ALIGNMENT 16U
_Static_assert(ALIGNMENT >= alignof(max_align_t), "arena alignment");

static void *arena_alloc(void *data, size_t size)
{
	struct amp_arena *arena = data;
	size_t left = arena->size - arena->used;
	size_t rounded = size ? (size + ALIGNMENT - 1) & ~(size_t)(ALIGNMENT - 1) : ALIGNMENT;
	void *p;

	/* rounded < size: the sum went round. */
	if (rounded < size || rounded > left) {
		arena->exceeded = true;
		return NULL;
	}
	p = arena->base + arena->used;
	arena->used += rounded;
	ASAN_UNPOISON_MEMORY_REGION(p, size);
	return p;
}

static void arena_release(void *data, void *pointer)
{
	(void)data;
	(void)pointer;
}

int amp_arena_init(struct amp_arena *arena, size_t limit)
{
	size_t size = limit & ~(size_t)(ALIGNMENT - 1);

	*arena = (struct amp_arena){.allocator = {arena_alloc, arena_release, arena}};
	if (!size) {
		errno = EINVAL;
		return -1;
	}
	arena->base = aligned_alloc(ALIGNMENT, size);
	if (!arena->base)
		return -1;
	arena->size = size;
	ASAN_POISON_MEMORY_REGION(arena->base, size);
	return 0;
}

void amp_arena_reset(struct amp_arena *arena)
{
	ASAN_POISON_MEMORY_REGION(arena->base, arena->size);
	arena->used = 0;
	arena->exceeded = false;
}

void amp_arena_free(struct amp_arena *arena)
{
	ASAN_UNPOISON_MEMORY_REGION(arena->base, arena->size);
	free(arena->base);
	*arena = (struct amp_arena){0};
}
