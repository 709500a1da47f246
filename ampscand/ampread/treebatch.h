/*
 * ampscand/ampread/treebatch.h - what an ordered walk found and has not sent yet.
 *
 * Owns: the entries and what is not judged, in parts of one directory each, and
 * their bounds: each part fits a message.
 * Must not own: the messages (walkwire.h).
 */
#ifndef AMP_TREEBATCH_H
#define AMP_TREEBATCH_H

#include "walk.h"

#define AMP_TREE_PARTS	   64U
#define AMP_TREE_SNAPSHOTS 4U /* in memory at once */

struct amp_tree_part {
	struct amp_handle directory; /* size 0: by names */
	size_t path, path_length;    /* in paths */
	uint32_t first, count;	     /* entries */
	uint32_t first_odd, odd_count;
	size_t bytes; /* of the message, at most */
};

struct amp_tree_batch {
	struct amp_tree_part parts[AMP_TREE_PARTS];
	uint32_t part_count, count, odd_count, snapshots;
	struct amp_walk_entry entries[AMP_WALK_BATCH];
	struct amp_walk_odd odds[AMP_WALK_BATCH];
	char paths[3 * AMP_PATH_MAX];
	size_t paths_size;
};

/* False: it is to be sent first. True: there is room for a part, an entry and an odd of any size. */
bool amp_tree_batch_has_room(const struct amp_tree_batch *b, uint32_t budget);
bool amp_tree_batch_is_empty(const struct amp_tree_batch *b);

/* A new part: what is added next is of that directory. */
void amp_tree_batch_part(struct amp_tree_batch *b, const struct amp_handle *directory, const char *path,
			 size_t length);

/* The last part takes no more: a new one of the same directory is to be begun. */
bool amp_tree_batch_part_full(const struct amp_tree_batch *b);

/* The entry that amp_tree_batch_added() makes one of the batch. */
struct amp_walk_entry *amp_tree_batch_next(struct amp_tree_batch *b);
void amp_tree_batch_added(struct amp_tree_batch *b);
void amp_tree_batch_odd(struct amp_tree_batch *b, Amp__WalkOdd__Kind kind, const char *name);

/* Closes the snapshots too. */
void amp_tree_batch_clear(struct amp_tree_batch *b);

#endif
