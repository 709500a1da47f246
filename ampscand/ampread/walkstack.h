/*
 * ampscand/ampread/walkstack.h - the directories that a walk has before it.
 *
 * Owns: the frames, each with the handle or the name of a directory behind it,
 * in one block of bounded size. Must not own: opening them.
 *
 * Frames are of different length, so they are copied in and out; a position
 * stays good as long as its frame is on the stack.
 */
#ifndef AMP_WALKSTACK_H
#define AMP_WALKSTACK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct amp_walk_frame {
	char *after; /* the stack's: of its subdirectories those behind this name are left; NULL: not begun */
	uint32_t below; /* position of the frame beneath */
	union {
		int32_t type;	 /* of the handle */
		uint32_t parent; /* by names: position of the parent's frame */
	};
	uint16_t size;	/* of what follows */
	uint16_t depth; /* by names */
	bool read;	/* to its end; goes when it is on top again */
};

#define AMP_WALK_NO_FRAME UINT32_MAX

struct amp_walk_stack {
	uint8_t *data;
	size_t size, room;
	size_t limit; /* bytes; below 4 GiB */
	uint32_t top; /* position of the highest frame */
};

void amp_walk_stack_init(struct amp_walk_stack *s, size_t limit);
void amp_walk_stack_free(struct amp_walk_stack *s);

/* f.size bytes go behind the frame. 0, or -1: no room. */
int amp_walk_stack_push(struct amp_walk_stack *s, struct amp_walk_frame f, const void *bytes);
void amp_walk_stack_pop(struct amp_walk_stack *s);

/* The frame; what is behind it into bytes, unless NULL, which has room for it. */
struct amp_walk_frame amp_walk_stack_get(const struct amp_walk_stack *s, uint32_t position, void *bytes);
/* Its subdirectories up to that name were pushed. 0, or -1: no memory. */
int amp_walk_stack_after(struct amp_walk_stack *s, uint32_t position, const char *name);
void amp_walk_stack_read(struct amp_walk_stack *s, uint32_t position);

#endif
