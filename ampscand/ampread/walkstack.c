/*
 * ampscand/ampread/walkstack.c - the directories that a walk has before it (see walkstack.h).
 */
#include "walkstack.h"

#include <stdlib.h>
#include <string.h>

void amp_walk_stack_init(struct amp_walk_stack *s, size_t limit)
{
	*s = (struct amp_walk_stack){.limit = limit, .top = AMP_WALK_NO_FRAME};
}

void amp_walk_stack_free(struct amp_walk_stack *s)
{
	while (s->top != AMP_WALK_NO_FRAME)
		amp_walk_stack_pop(s);
	free(s->data);
}

static int grow(struct amp_walk_stack *s, size_t need)
{
	size_t room = s->room ? s->room * 2 : 4096;
	uint8_t *bigger;

	if (need > s->limit)
		return -1;
	while (room < need)
		room *= 2;
	bigger = realloc(s->data, room);
	if (!bigger)
		return -1;
	s->data = bigger;
	s->room = room;
	return 0;
}

int amp_walk_stack_push(struct amp_walk_stack *s, struct amp_walk_frame f, const void *bytes)
{
	size_t need = s->size + sizeof(f) + f.size;

	if ((need > s->room || need > s->limit) && grow(s, need) < 0)
		return -1;
	f.below = s->top;
	memcpy(s->data + s->size, &f, sizeof(f));
	memcpy(s->data + s->size + sizeof(f), bytes, f.size);
	s->top = (uint32_t)s->size;
	s->size = need;
	return 0;
}

void amp_walk_stack_pop(struct amp_walk_stack *s)
{
	struct amp_walk_frame f = amp_walk_stack_get(s, s->top, NULL);

	free(f.after);
	s->size = s->top;
	s->top = f.below;
}

struct amp_walk_frame amp_walk_stack_get(const struct amp_walk_stack *s, uint32_t position, void *bytes)
{
	struct amp_walk_frame f;

	memcpy(&f, s->data + position, sizeof(f));
	if (bytes)
		memcpy(bytes, s->data + position + sizeof(f), f.size);
	return f;
}

static void set(struct amp_walk_stack *s, uint32_t position, struct amp_walk_frame f)
{
	memcpy(s->data + position, &f, sizeof(f));
}

int amp_walk_stack_after(struct amp_walk_stack *s, uint32_t position, const char *name)
{
	struct amp_walk_frame f = amp_walk_stack_get(s, position, NULL);
	char *copy = strdup(name);

	if (!copy)
		return -1;
	free(f.after);
	f.after = copy;
	set(s, position, f);
	return 0;
}

void amp_walk_stack_read(struct amp_walk_stack *s, uint32_t position)
{
	struct amp_walk_frame f = amp_walk_stack_get(s, position, NULL);

	f.read = true;
	set(s, position, f);
}
