/*
 * ampquard/hand.h - a hand: the process that touches users' files for the keeper.
 *
 * A write(2) whose source page never comes holds the inode's lock, and who waits for
 * that lock waits in a state that no signal ends: also for whom the vault is locked.
 * So whatever may wait for an inode's lock (moving and removing names, truncating,
 * flags, looking for holes; on some file systems reading) is done by a child with the
 * same ids and walls that has nothing else open: a socket to the keeper, its log.
 *
 * Owns: what is asked of it, by messages of one size, in order. Must not own: any
 * decision, the vault, the database.
 */
#ifndef AMPQUARD_HAND_H
#define AMPQUARD_HAND_H

#include "names.h"

#include "proto/types.h"

#include <stdatomic.h>
#include <stdint.h>

#define HAND_SLOTS     32U	    /* files in hand at once */
#define HAND_BUFFER    (256U << 10) /* bytes of content an answer */
#define HAND_HOLE_MAX  (64ULL << 20)
#define HAND_NAMES_MAX 1000000U /* an answer that counts more is none */

enum hand_op {
	HAND_BEGIN = 1, /* slot, entry_id; descriptor of the file (none: it is gone) */
	HAND_READ,	/* from at up to end: hole, then data bytes in the slot's buffer */
	HAND_NAME,	/* captures name; descriptor of its directory. Without a file: names_sweep() */
	HAND_EMPTY,	/* outcome: enum neutral_outcome */
	HAND_REMOVE,	/* count: names that stay; the slot is free. Synced when it is answered */
	HAND_UNDO,	/* the same, but what was captured goes back */
	HAND_OPS
};

enum { HAND_HAS_FD = 1, HAND_HAS_LOG = 2 }; /* descriptors with an ask, in this order */

struct hand_ask {
	uint32_t op, slot;
	uint64_t number;
	uint64_t at, end;
	uint32_t has;
	uint32_t relock; /* REMOVE: the file stays, and gets its flags again */
	char entry_id[NAMES_ID_MAX + 1];
	char name[AMP_NAME_MAX + 1];
};

struct hand_answer {
	uint32_t op, slot;
	uint64_t number;
	int32_t error;	  /* errno; 0 */
	uint32_t outcome; /* enum name_outcome, enum neutral_outcome */
	uint32_t count;	  /* names captured; of REMOVE those that stay */
	uint32_t data;
	uint64_t hole;
};

/* Between the two of them. The keeper believes nothing that it finds here. */
struct hand_shared {
	_Atomic uint64_t working;  /* number of the ask in hand; 0: none */
	_Atomic uint32_t given_up; /* nothing but UNDO is to be done any more: ECANCELED */
	uint8_t buffers[HAND_SLOTS][HAND_BUFFER];
};

struct hand_work;

/* NULL: ENOMEM. shared stays the caller's. */
struct hand_work *hand_work_new(struct hand_shared *shared);
/* What is captured stays so. */
void hand_work_free(struct hand_work *w);
/* Does one. fd is the caller's. What REMOVE and UNDO leave to be synced is, by hand_sync(). */
void hand_do(struct hand_work *w, const struct hand_ask *a, int fd, struct hand_answer *out);
void hand_sync(struct hand_work *w);

/* The process: serves fd until its other end is gone. */
void hand_main(int fd, struct hand_shared *shared) __attribute__((noreturn));

#endif
