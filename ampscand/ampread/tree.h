/*
 * ampscand/ampread/tree.h - the ordered walk of a directory, or of a file, step by
 * step, in the I/O thread: for scans on demand.
 *
 * Owns: the order (a directory's files, then its subdirectories by name, depth
 * first), the marks in it and where a walk goes on from one, the levels above the
 * directory in hand, what counts as not judged.
 * Must not own: the path itself (treetop.h), messages, credit, waiting for a GO (walks.h).
 *
 * Nothing below the path is followed or opened but directories of its mount, and by
 * names regular files of it. Nothing is open while a walk waits. Memory is bounded: names are
 * kept in part where there are many (names.h), those of files of the directory in hand only.
 */
#ifndef AMP_TREE_H
#define AMP_TREE_H

#include "treebatch.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct amp_tree_ask {
	const char *path; /* absolute, no NUL in it, shorter than PATH_MAX */
	size_t path_length;
	const char *resume;   /* a mark's path */
	size_t resume_length; /* 0: from the beginning */
	int64_t since_ns;
	uint64_t fsid;	      /* that the path must be on; 0: any */
	bool names_permitted; /* where there are no handles, go by names and read the files */
	bool by_names;	      /* everywhere: nobody can open a handle of that file system */
	uint64_t snapshot_max, archive_max;
};

struct amp_tree;

/* NULL and errno: ENOMEM, EINVAL: that is no such path, or resume is not below it. */
struct amp_tree *amp_tree_new(const struct amp_tree_ask *ask);
void amp_tree_free(struct amp_tree *t);

/*
 * Some directories or buffers of entries, or 2 MiB of a file. False: more steps are wanted. True: the
 * batch is to be sent (at most `budget` entries; to be cleared before the next step) and then the
 * mark, if there is one; or the walk is over.
 */
bool amp_tree_step(struct amp_tree *t, uint32_t budget);
struct amp_tree_batch *amp_tree_batch(struct amp_tree *t);
bool amp_tree_over(const struct amp_tree *t);

/* What comes next, once all before it is sent; the next step goes on. NULL: no mark is due. */
const char *amp_tree_mark(const struct amp_tree *t, size_t *length);

struct amp_tree_totals {
	struct amp_walk_totals walk;
	uint64_t directories, fsid;
};
void amp_tree_totals(const struct amp_tree *t, struct amp_tree_totals *totals);

/* As amp_walk_rest() and amp_walk_give_up(). */
void amp_tree_rest(struct amp_tree *t);
void amp_tree_give_up(struct amp_tree *t);

/* Tests: bytes of names in all and of one directory, depth, entries and time between marks. */
void amp_tree_set_limits(struct amp_tree *t, size_t names, size_t of_one, unsigned depth);
void amp_tree_set_marks(struct amp_tree *t, uint64_t entries, int64_t ns);

#endif
