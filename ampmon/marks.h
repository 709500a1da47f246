/*
 * ampmon/marks.h - setting a mark without ever waiting for a file system.
 * Owns: the short-lived child that opens a mount point, makes sure that it is
 * the one that was meant, and marks it; reading back which marks the kernel has.
 * Must not own: which file systems are marked, or the groups.
 */
#ifndef AMPMON_MARKS_H
#define AMPMON_MARKS_H

#include <event2/event.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct mark_candidate {
	int mount_id;
	unsigned major, minor;
	bool whole;
	char *point;
};

struct mark_order {
	int group;
	bool remove;	/* take the mark away */
	bool by_handle; /* its events name files by handles, which must last */
	uint64_t mask;
	struct mark_candidate *candidates; /* tried in order */
	size_t count;
	/* An overlay: if all these layers lie in these mounts, nothing is marked. */
	char **layers; /* NULL: not asked */
	int *covered_by;
	size_t covered_count;
};

enum mark_outcome {
	MARK_SILENT = 0, /* the child did not answer in time, or died */
	MARK_DONE,
	MARK_COVERED,  /* the layers are watched; candidate and fsid are set */
	MARK_NO_MOUNT, /* no candidate leads to what was meant */
	MARK_REFUSED   /* error says why; candidate and fsid are set */
};

struct mark_result {
	uint32_t outcome;
	int32_t error;
	uint32_t candidate;
	uint64_t fsid;
	uint64_t btrfs; /* amp_fsid_of_btrfs() */
};

struct mark_job;
typedef void mark_done(struct mark_job *job, const struct mark_result *result, void *arg);

/*
 * Takes the order's memory over (not the group). done is called from the event
 * loop; the job ends with it. done NULL: nobody asks. NULL and errno: not started.
 */
struct mark_job *mark_start(struct event_base *base, struct mark_order *order, mark_done *done, void *arg);
const struct mark_order *mark_job_order(const struct mark_job *job);
/* done will not be called. */
void mark_abandon(struct mark_job *job);
/* For the end of the process: kills the child and frees at once. */
void mark_cancel(struct mark_job *job);
void mark_order_free(struct mark_order *order);

/* Devices of the file system marks that a group has, as major << 20 | minor. 0, or -1 and errno. */
int marks_read(int group, uint32_t **devices, size_t *count);

#endif
