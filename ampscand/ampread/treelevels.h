/*
 * ampscand/ampread/treelevels.h - the directories between the top of an ordered walk and the one in hand.
 *
 * Owns: their names, handles and what is yet to come in each, the path that they
 * make, how much memory each may take, opening one of them again.
 * Must not own: what is read in them.
 */
#ifndef AMP_TREELEVELS_H
#define AMP_TREELEVELS_H

#include "names.h"
#include "proto/types.h"
#include "treetop.h"

struct amp_tree_level {
	struct amp_handle handle; /* size 0: by names */
	struct amp_spot spot;
	struct amp_names names; /* of subdirectories, those to come */
	size_t names_bytes;
	size_t length; /* of the text up to this directory */
	bool skip;     /* its files come before where the walk goes on */
};

struct amp_tree_levels {
	struct amp_tree_level *list;
	unsigned count, room;
	size_t names_bytes, limit, limit_of_one;
	char text[AMP_PATH_MAX]; /* the host's path as the names were found; "" is "/" */
};

void amp_tree_levels_init(struct amp_tree_levels *l);
void amp_tree_levels_free(struct amp_tree_levels *l);

/* The one in hand. */
struct amp_tree_level *amp_tree_levels_last(const struct amp_tree_levels *l);

/* name NULL: the top itself. 0, or -1: no memory. The path must have room for it. */
int amp_tree_levels_push(struct amp_tree_levels *l, const char *name, const struct amp_handle *handle,
			 const struct amp_spot *spot);
void amp_tree_levels_pop(struct amp_tree_levels *l);

/* Names of the last one's subdirectories are taken from here on (see amp_names_begin()). */
int amp_tree_levels_names(struct amp_tree_levels *l, const char *from, bool with_from);
void amp_tree_levels_named(struct amp_tree_levels *l);

/* The last one, for reading: by its handle, or by names from the top down, through no link and into
 * no other mount. fd, or -1 and errno. */
int amp_tree_levels_open(const struct amp_tree_levels *l, const struct amp_tree_top *top);

/* Host path of the last one, as it was found. */
const char *amp_tree_levels_path(const struct amp_tree_levels *l, size_t *length);

#endif
