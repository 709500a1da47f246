/*
 * ampscand/ampread/walkwire.h - what walks found, as messages.
 *
 * Owns: the parts of a WALK_ENTRIES and a WALK_DONE while they are packed.
 * Must not own: when they are sent (walks.h).
 */
#ifndef AMP_WALKWIRE_H
#define AMP_WALKWIRE_H

#include "channel.h"
#include "tree.h"

/* A message's worth. */
struct amp_walk_part {
	uint64_t walk_id, seen, fsid;
	const struct amp_handle *directory; /* size 0: by names */
	const char *path;
	size_t path_length;
	const struct amp_walk_entry *entries; /* at most AMP_WALK_BATCH */
	uint32_t count;
	const struct amp_walk_odd *odds; /* likewise */
	uint32_t odd_count;
};

/* Both 0, or -1 as amp_channel_send(). ch NULL: 0. For the loop's thread. */
int amp_walk_send_entries(struct amp_channel *ch, const struct amp_walk_part *part);
int amp_walk_send_done(struct amp_channel *ch, uint64_t walk_id, const struct amp_tree_totals *t);
int amp_walk_send_mark(struct amp_channel *ch, uint64_t walk_id, const char *path, size_t length,
		       uint64_t directories);

#endif
