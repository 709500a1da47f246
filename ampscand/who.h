/*
 * ampscand/who.h - which process did it, as far as it can be known in time.
 *
 * Owns: the look at /proc (links and stat only, nothing is opened), once for
 * each process of a batch. Must not own: what is concluded from it. The link's text is for display:
 * any user can bind-mount another name over a program, so exclusions compare
 * the inode (rules.c).
 */
#ifndef AMPSCAND_WHO_H
#define AMPSCAND_WHO_H

#include "fileid.h"

#include <sys/types.h>

struct who {
	unsigned references;
	bool known; /* the process lived when it was looked at */
	pid_t pid;
	uid_t uid; /* effective; -1: unknown */
	/* Boot time of a moment when pid was this process, as its descriptor told; 0: none. Who has the
	 * pid and started later is another (we open nothing, so its own start time is not ours to read). */
	int64_t seen_ns;
	uint64_t exe_dev, exe_ino; /* 0: unknown */
	size_t exe_size;
	char exe[]; /* link text, bytes, NUL-terminated */
};

struct who_table;

/* proc: descriptor of /proc, kept. NULL: ENOMEM. */
struct who_table *who_table_new(int proc);
void who_table_free(struct who_table *t);
void who_batch(struct who_table *t); /* a new batch: look again */

/* A reference to the process of an event; never NULL but on ENOMEM.
 * pidfd -1: it had gone (unknown). */
struct who *who_look(struct who_table *t, pid_t pid, int pidfd);
/* From a parked record. exe may be NULL. */
struct who *who_make(bool known, pid_t pid, uid_t uid, const char *exe, size_t exe_size);
struct who *who_ref(struct who *w);
void who_unref(struct who *w);

/* Program a process runs now: handle, and identity for comparing. fs device in id->dev. 0 or -1. */
int who_program(struct who_table *t, pid_t pid, struct amp_handle *h, struct amp_identity *id);
uid_t who_uid(struct who_table *t, pid_t pid); /* of the process; -1: unknown */
/* Asks the file system: not of one that may be a file server's. 0 or -1. */
int who_program_fsid(pid_t pid, uint64_t *fsid);
int who_program_identity(struct who_table *t, pid_t pid, struct amp_identity *id);

#endif
