/*
 * ampquard/neutral.h - emptying an inode that still leads somewhere.
 *
 * Owns: truncation through the judged descriptor's own inode, and what its
 * failures mean for people. Must not own: names, when it is to be done.
 */
#ifndef AMPQUARD_NEUTRAL_H
#define AMPQUARD_NEUTRAL_H

#include <stdbool.h>

enum neutral_outcome {
	NEUTRAL_DONE,
	NEUTRAL_RUNNING,   /* ETXTBSY: a process runs it */
	NEUTRAL_LEASED,	   /* EAGAIN: somebody's lease is being broken */
	NEUTRAL_READ_ONLY, /* the file system is */
	NEUTRAL_IMMUTABLE, /* EPERM, also without its flags */
	NEUTRAL_FAILED	   /* errno */
};

/* A sentence: why, and when it is tried again. Static; NEUTRAL_FAILED: use strerror. */
const char *neutral_text(enum neutral_outcome o);
enum neutral_outcome neutral_of_errno(int error);

/*
 * Reopens the inode of `file` (read-only descriptor) for writing by
 * /proc/self/fd, without waiting, and truncates it to nothing; synced. Flags
 * that forbid it (immutable, append-only) are taken away first, and put back if
 * it fails.
 */
enum neutral_outcome neutral_empty(int file);

#endif
