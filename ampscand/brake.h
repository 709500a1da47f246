/*
 * ampscand/brake.h - what brake.c, held.c and brakecli.c share.
 *
 * brake.c counts what signatures convict and decides which of them hold; held.c
 * remembers the files that were left alone, to be judged again at the release;
 * brakecli.c shows and releases. Private to the three and their test.
 */
#ifndef AMPSCAND_BRAKE_H
#define AMPSCAND_BRAKE_H

#include "scand.h"

#include "clock.h"
#include "sha256.h"

#include "proto/keep.pb-c.h"

#define BRAKE_SIGNATURES 64U
#define BRAKE_FILES	 20U /* so many may go in that time, the next is held */
#define BRAKE_ALL_FILES	 60U /* ... of all signatures together */
#define BRAKE_WINDOW_NS	 (600 * AMP_NS_PER_SEC)
#define BRAKE_OLD_NS	 (86400 * AMP_NS_PER_SEC)
#define BRAKE_NAME_MAX	 256U
#define HELD_MAX	 4096U
#define HELD_PAGES	 12U

struct brake_count {
	uint64_t file; /* in short: the same over restarts */
	int64_t time_ns;
};

struct brake_signature {
	uint32_t number; /* 0: the row is free */
	char name[BRAKE_NAME_MAX];
	Amp__BrakeSignature__State state;
	bool together;	/* it holds by the sum of all */
	bool releasing; /* RELEASED once that is on disk */
	int64_t since_ns;
	uint64_t held, judged_again;
	struct brake_count recent[BRAKE_FILES]; /* the oldest first */
	unsigned count;
};

/* Outlives the row that it was counted in. */
struct brake_sum {
	struct brake_count count;
	uint32_t signature;
};

struct held_page {
	size_t bytes;
	unsigned unkept; /* puts that are not on disk */
	bool changed;
};

struct brake {
	struct brake_signature row[BRAKE_SIGNATURES];
	struct brake_sum all[BRAKE_ALL_FILES]; /* each file once */
	unsigned all_count;
	uint32_t last_number;
	bool raised;
	struct amp_sha256 *digest;
	struct cache held; /* struct held, by file */
	struct held_page page[HELD_PAGES];
	struct event *judging; /* files of released signatures */
};

struct brake_signature *brake_by_name(struct brake *b, const char *name);
struct brake_signature *brake_by_number(struct brake *b, uint32_t number);
/* Convictions of old files that count now. */
unsigned brake_recent(struct brake_signature *g);
/* answer() once it is on disk, or with an errno; arg is its own. 0; -1: ENOENT, ENOMEM. */
int brake_release(struct scand *s, struct brake_signature *g,
		  void (*answer)(struct scand *s, int error, void *arg), void *arg);

/* held.c */
int held_init(struct scand *s);
void held_free(struct scand *s);
/* act: told by act_kept() once it is on disk, if waits. */
void held_add(struct scand *s, const struct brake_signature *g, const struct amp_fileid *file,
	      const char *path, uint64_t act, bool *is_new, bool *waits);
size_t held_count(const struct brake *b, uint32_t number);
void held_judge(struct scand *s); /* those of released signatures, from now on */
int held_restore(struct scand *s, unsigned page, const Amp__HeldFiles *files);
int held_page_of(const char *name); /* of a record's name; -1: none */

#endif
