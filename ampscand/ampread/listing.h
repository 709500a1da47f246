/*
 * ampscand/ampread/listing.h - a directory gone through for the names in it.
 *
 * Owns: one pass through a directory, buffer by buffer, and which kind of name
 * goes to which list. Must not own: opening it, what is made of the names.
 *
 * A pass is from the beginning to the end in one open descriptor, or it is begun
 * anew. Where to read on (d_off, as lseek(2) takes it) holds no longer than the
 * descriptor: on file systems that go by position (libfs, so ramfs, and tmpfs before
 * Linux 6.6; the merged directories of overlayfs) what is taken away meanwhile moves
 * the rest up, and files would be passed over unseen.
 */
#ifndef AMP_LISTING_H
#define AMP_LISTING_H

#include "names.h"

#include <dirent.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct amp_listing {
	struct amp_names *files;       /* what is no directory; NULL: not wanted */
	struct amp_names *directories; /* NULL: not wanted */
	bool regular_only;	       /* of files: neither links nor special ones */
	bool begun;
	uint64_t left; /* names that this pass gave to no list, for their kind */
	_Alignas(struct dirent64) uint8_t buffer[32 * 1024];
};

/* Both lists have been begun (amp_names_begin()) and are the caller's. */
void amp_listing_begin(struct amp_listing *l, struct amp_names *files, struct amp_names *directories);

/*
 * The next buffer. fd is the directory's, and no other is used for this pass. 1: there is more; 0:
 * that was all, the lists are ended; -1 and errno: getdents64(2)'s, or ENOMEM.
 */
int amp_listing_step(struct amp_listing *l, int fd);

/* The descriptor is closed: the pass, if it was begun, will begin anew. */
void amp_listing_interrupted(struct amp_listing *l);

#endif
