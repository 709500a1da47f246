/*
 * ampscand/ampread/walk.h - the walk of one file system, step by step, in the
 * I/O thread.
 *
 * Owns: the stack of directory handles (depth and length of paths do not
 * matter, and no directory is held open for them), the directory in hand, the
 * batch of entries found, the totals. Where the file system has no handles, the
 * stack has names: a directory is opened from the mount point down, through no
 * link and into no other mount, and each file is read at once (walkfile.h).
 * Must not own: messages, credit over time, cancelling (walks.h).
 *
 * Memory is bounded whatever the tree: a directory hands at most so many
 * children to the stack at once and is taken up again behind the name of the
 * last when they have been walked (listing.h says why by name). Nothing is open while a walk waits for
 * credit.
 */
#ifndef AMP_WALK_H
#define AMP_WALK_H

#include "fileid.h"
#include "open.h"
#include "proto/types.h"
#include "sha256.h"
#include "walkfile.h"

#include <stdbool.h>
#include <stdint.h>

struct amp_walk_entry {
	struct amp_handle file;
	struct amp_identity identity;
	bool has_sha, script, archive, has_snapshot; /* by names only */
	int snapshot;
	uint8_t sha[AMP_SHA256_SIZE];
	char name[AMP_NAME_MAX + 1];
	size_t name_length;
};

/* What is not judged, by ordered walks (tree.h). */
struct amp_walk_odd {
	Amp__WalkOdd__Kind kind;
	char name[AMP_NAME_MAX]; /* no NUL; cut */
	size_t name_length;	 /* 0: the directory itself */
};

/* Bounds of a message: bytes of its entries, of one without handles and name, of one at most. */
#define AMP_WALK_BATCH_BYTES (AMP_MSG_MAX - 1024U)
#define AMP_WALK_ENTRY_BYTES 200U
#define AMP_WALK_ENTRY_MAX   (AMP_WALK_ENTRY_BYTES + 2 * AMP_FILE_HANDLE_MAX + AMP_NAME_MAX)

/* What a walk that reads files by itself found out, into the entry. */
void amp_walk_entry_read(struct amp_walk_entry *e, const struct amp_walk_file *f);
/* Cut to AMP_NAME_MAX, for display: the file is named by its handle. */
void amp_walk_entry_name(struct amp_walk_entry *e, const char *name);
/* Closes its snapshot. */
void amp_walk_entry_clear(struct amp_walk_entry *e);

/* Entries of one directory. */
struct amp_walk_batch {
	struct amp_handle directory; /* size 0: by names */
	char path[AMP_OPEN_PATH_SIZE];
	size_t path_length; /* 0: the directory has no host path */
	uint32_t count, snapshots;
	size_t bytes; /* of the message, at most */
	struct amp_walk_entry entries[AMP_WALK_BATCH];
};

struct amp_walk;

/* top NULL or of size 0: from the root of the file system. NULL: ENOMEM. */
struct amp_walk *amp_walk_new(uint64_t fsid, const void *mount_point, size_t length,
			      const struct amp_handle *top, int64_t since_ns);
void amp_walk_free(struct amp_walk *w);

/* Before the first step: where there are no handles, go by names. */
void amp_walk_by_names(struct amp_walk *w);
/* ... and keep what is read, as amp_hash_keep(). */
void amp_walk_keep(struct amp_walk *w, uint64_t snapshot_max, uint64_t archive_max);

/*
 * One step: about one buffer of directory entries, or 2 MiB of a file. False: more steps are
 * wanted. True: the batch is to be sent (it has at most `budget` entries and
 * must be cleared before the next step), the budget is used up or the walk is
 * over. budget at least 1.
 */
bool amp_walk_step(struct amp_walk *w, uint32_t budget);

struct amp_walk_batch *amp_walk_batch(struct amp_walk *w);
void amp_walk_batch_clear(struct amp_walk *w);
bool amp_walk_over(const struct amp_walk *w);

struct amp_walk_totals {
	uint64_t seen, unreadable, too_deep;
	const char *error; /* NULL: the walk was done */
};
void amp_walk_totals(const struct amp_walk *w, struct amp_walk_totals *t);

/* After a step that was true: closes what is open; the next step goes on at the same place. */
void amp_walk_rest(struct amp_walk *w);
/* At any moment, where the steps are done: closes all, there is no next step. */
void amp_walk_give_up(struct amp_walk *w);

/* Tests: bytes of stack, and children of a directory taken at once. */
void amp_walk_set_limits(struct amp_walk *w, size_t stack_bytes, uint32_t children);
/* Tests: how deep a walk by names goes, at most 2048. */
void amp_walk_set_depth(struct amp_walk *w, uint16_t depth);

#endif
