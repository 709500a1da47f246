/*
 * ampscand/ampread/job.h - one item of a READ as a job of the I/O thread.
 *
 * Owns: the item's copy, the fds it holds while it is worked on, its outcome.
 * Must not own: the link, or when a result is sent (reader.h).
 */
#ifndef AMP_READ_JOB_H
#define AMP_READ_JOB_H

#include "climb.h"
#include "hash.h"
#include "iothread.h"
#include "open.h"

#include <stdatomic.h>

/* What all jobs of one reader share. */
struct amp_read_shop {
	struct amp_iothread *io;
	_Atomic unsigned generation; /* of the link; the loop sets it */
	unsigned hashing;	     /* the thread's: large files begun */
	void (*done)(struct amp_io_job *job);
};

struct amp_read_job {
	struct amp_io_job io; /* first */
	struct amp_read_shop *shop;
	void *owner; /* the loop's */
	struct amp_read_job *next;
	unsigned generation; /* of the link it came by */
	uint64_t job;
	Amp__ReadItem__Want want;
	struct amp_place *place; /* NULL: by fd without a mount point */
	struct amp_handle handle;
	uint64_t hash_limit, snapshot_max, archive_max;
	int fd; /* passed along, or opened for the hash; -1 */
	bool by_fd;
	bool large; /* more than a turn's worth */
	bool begun; /* `hash` is under way */
	struct amp_hash hash;
	struct amp_climb *climb; /* under way */
	int opened;		 /* what was asked for and goes with the result; -1 */
	unsigned fd_index;	 /* of it or the snapshot: the place in the message */
	struct amp_read_outcome out;
};

/* The result of such an item is a descriptor. */
bool amp_read_job_opens(Amp__ReadItem__Want want);

/* The io.run of a job. */
bool amp_read_job_run(struct amp_io_job *io);

/* Closes and frees all but the place. */
void amp_read_job_free(struct amp_read_job *job);

#endif
