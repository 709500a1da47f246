/*
 * ampscand/ampread/hash.h - the SHA-256 of one open file, in steps.
 *
 * Owns: reading with pread(2), the identity before and after, the bound for a
 * file that grows while it is read, the time it took, whether it is kept.
 * Must not own: how the file was opened, whose turn it is.
 */
#ifndef AMP_HASH_H
#define AMP_HASH_H

#include "fileid.h"
#include "open.h"
#include "sha256.h"
#include "snapshot.h"

#include <stdbool.h>
#include <stdint.h>

#define AMP_SCRIPT_LINE_MAX 255 /* as much as execve(2) looks at, nearly */

/* What a job found out; becomes an Amp__ReadResult. */
struct amp_read_outcome {
	amp_read_status status;
	int error;
	bool has_identity, has_sha, script, archive, has_snapshot;
	struct amp_identity identity;
	uint8_t sha[AMP_SHA256_SIZE];
	uint64_t hash_ns;
	uint8_t script_line[AMP_SCRIPT_LINE_MAX]; /* what follows "#!" */
	size_t script_line_length;
	int snapshot; /* sealed, of exactly the bytes of sha; whose the outcome is, closes it */
	char *path;   /* malloc'd */
	size_t path_length;
};

struct amp_hash {
	int fd; /* of who began it */
	uint64_t offset;
	struct amp_identity before;
	struct amp_sha256 *sha;
	int64_t spent_ns;
	uint64_t snapshot_max, archive_max;
	struct amp_snapshot snapshot;
};

/* Identity of an open file into the outcome. True: it is there; false: status says why not. */
bool amp_hash_identity(int fd, struct amp_read_outcome *out);

/* True if a file of this identity may be hashed; else the status says why not. */
bool amp_hash_permitted(uint64_t limit, struct amp_read_outcome *out);

/* Begins with an open, regular file. True: go on with steps; false: out->status says why not. */
bool amp_hash_begin(struct amp_hash *h, int fd, uint64_t limit, struct amp_read_outcome *out);

/* After begin: content up to that size is kept as a snapshot; what begins like an archive, up
 * to archive_max. 0: not wanted. */
void amp_hash_keep(struct amp_hash *h, uint64_t snapshot_max, uint64_t archive_max);

/* Reads at most `bytes` more. True: finished, the outcome is complete. */
bool amp_hash_step(struct amp_hash *h, uint64_t bytes, struct amp_read_outcome *out);

/* Frees what begin took (not the fd). Harmless after a finished hash or on zeroed memory. */
void amp_hash_free(struct amp_hash *h);

#endif
