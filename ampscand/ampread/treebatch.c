/*
 * ampscand/ampread/treebatch.c - what an ordered walk found (see treebatch.h).
 */
#include "treebatch.h"

#include <string.h>

#define ODD_BYTES (AMP_NAME_MAX + 16U)

bool amp_tree_batch_has_room(const struct amp_tree_batch *b, uint32_t budget)
{
	return b->count < budget && b->count < AMP_WALK_BATCH && b->odd_count < AMP_WALK_BATCH &&
	       b->part_count < AMP_TREE_PARTS && b->snapshots < AMP_TREE_SNAPSHOTS &&
	       b->paths_size + AMP_PATH_MAX <= sizeof(b->paths);
}

bool amp_tree_batch_is_empty(const struct amp_tree_batch *b)
{
	return b->count == 0 && b->odd_count == 0;
}

void amp_tree_batch_part(struct amp_tree_batch *b, const struct amp_handle *directory, const char *path,
			 size_t length)
{
	struct amp_tree_part *p = &b->parts[b->part_count++];

	*p = (struct amp_tree_part){
		.directory = *directory,
		.path = b->paths_size,
		.path_length = length,
		.first = b->count,
		.first_odd = b->odd_count,
		.bytes = length,
	};
	memcpy(b->paths + b->paths_size, path, length);
	b->paths_size += length;
}

bool amp_tree_batch_part_full(const struct amp_tree_batch *b)
{
	const struct amp_tree_part *p = &b->parts[b->part_count - 1];

	return p->bytes + AMP_WALK_ENTRY_MAX + ODD_BYTES > AMP_WALK_BATCH_BYTES;
}

struct amp_walk_entry *amp_tree_batch_next(struct amp_tree_batch *b)
{
	return &b->entries[b->count];
}

void amp_tree_batch_added(struct amp_tree_batch *b)
{
	struct amp_tree_part *p = &b->parts[b->part_count - 1];
	const struct amp_walk_entry *e = &b->entries[b->count++];

	b->snapshots += e->has_snapshot;
	p->count++;
	p->bytes += AMP_WALK_ENTRY_BYTES + p->directory.size + e->file.size + e->name_length;
}

void amp_tree_batch_odd(struct amp_tree_batch *b, Amp__WalkOdd__Kind kind, const char *name)
{
	struct amp_tree_part *p = &b->parts[b->part_count - 1];
	struct amp_walk_odd *o = &b->odds[b->odd_count++];

	o->kind = kind;
	o->name_length = strnlen(name, AMP_NAME_MAX);
	memcpy(o->name, name, o->name_length);
	p->odd_count++;
	p->bytes += ODD_BYTES;
}

void amp_tree_batch_clear(struct amp_tree_batch *b)
{
	for (uint32_t i = 0; i < b->count; i++)
		amp_walk_entry_clear(&b->entries[i]);
	b->part_count = b->count = b->odd_count = b->snapshots = 0;
	b->paths_size = 0;
}
