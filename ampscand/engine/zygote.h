/*
 * ampscand/engine/zygote.h - a zygote: the process that has one set of signatures loaded
 * and forks workers that share it.
 *
 * Owns: what it is told and says, over one SEQPACKET pair of fixed structs (both ends are
 * one binary), and the two processes' main functions. Must not own: which set is in use,
 * how many workers there are (sets.c, fleet.c).
 */
#ifndef AMPENGINE_ZYGOTE_H
#define AMPENGINE_ZYGOTE_H

#include "adapter.h"
#include "seccomp_table.h"
#include "slot.h"

#include <sys/types.h>

#define ENGINE_DIRS  8U		  /* of signatures */
#define ENGINE_ALIVE 58U	  /* workers, of all zygotes, at most: the row's processes bound it */
#define ZYGOTE_SLOT  ENGINE_ALIVE /* the number of the slot where zygotes make their sample */
#define ENGINE_SLOTS (ENGINE_ALIVE + 1U)

/* What all of them know from before the fork. */
struct engine_dirs {
	unsigned count;
	char *host[ENGINE_DIRS]; /* as the administrator names them */
	char *view[ENGINE_DIRS]; /* as they are seen here */
	const char *slots;	 /* root of the slots */
	uint64_t memory;	 /* bytes that a scan may take */
};

enum zygote_op { ZYGOTE_SPAWN = 1, ZYGOTE_KILL, ZYGOTE_RETIRE /* no more: leave after the last worker */ };

struct zygote_ask {
	uint32_t op, slot;
	uint64_t serial;
};

enum zygote_kind {
	ZYGOTE_LOG = 1, /* text; number: enum amp_log_level */
	ZYGOTE_SET,	/* one file: text its name, number its directory; time_ns, version, signatures */
	ZYGOTE_LOADED,	/* text: libclamav's version; signatures. Asks may come now */
	ZYGOTE_REFUSED, /* text: why; it leaves */
	ZYGOTE_WORKER,	/* serial, pid, 1 descriptor */
	ZYGOTE_GONE,	/* serial, signal, number: status; its slot is as it was left */
	ZYGOTE_FAILED,	/* serial, number: errno; there is no such worker */
	ZYGOTE_KINDS
};

struct zygote_said {
	uint32_t kind, version;
	uint64_t serial, signatures;
	int64_t time_ns;
	int32_t pid, signal, number;
	char text[ADAPTER_TEXT + 256];
};

/* The process, right after fork(): its end of the pair. parent: who forked it. */
void zygote_main(const struct engine_dirs *dirs, int fd, uint64_t number, pid_t parent)
	__attribute__((noreturn));

/* load.c: what a zygote does until it is of use: says all there is to say but LOADED, which
 * is filled in. NULL: it was refused. */
typedef void zygote_say(struct zygote_said *s);
struct adapter *zygote_load(const struct engine_dirs *dirs, uint64_t number, zygote_say *say,
			    struct zygote_said *loaded);

/* worker.c: likewise the process of a worker. */
struct worker {
	struct adapter *adapter;
	const struct amp_seccomp_filter *filter;
	const char *slot;
	uint64_t address_space; /* bytes it may have in all */
	int fd;
	pid_t parent;
};
void worker_main(const struct worker *w) __attribute__((noreturn));

#endif
