/*
 * ampscand/ampread/walkfile.h - a file that the walk reads itself: where there
 * are no file handles nobody else could find it again.
 *
 * Owns: the file, opened by name in a directory, and its hash in steps.
 * Must not own: which file is read, what is done with the outcome.
 */
#ifndef AMP_WALKFILE_H
#define AMP_WALKFILE_H

#include "fileid.h"
#include "hash.h"

#include <stdbool.h>

struct amp_walk_file {
	int fd; /* -1 */
	struct amp_handle handle;
	struct amp_hash hash;
	struct amp_read_outcome out;
};

/*
 * Opens a regular file, never through a link, never a FIFO or a device. True:
 * go on with steps; false: out.status says why not, handle.size is 0 if it was
 * not even found.
 */
bool amp_walk_file_begin(struct amp_walk_file *f, int dirfd, const char *name);

/* One turn's worth. True: it is over and closed, out is complete. */
bool amp_walk_file_step(struct amp_walk_file *f);

/* Leaves it where it is. Harmless if nothing is under way. */
void amp_walk_file_end(struct amp_walk_file *f);

#endif
