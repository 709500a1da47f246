/*
 * lib/role.h - the role table: who may do what, in one place.
 *
 * Owns: one row for every room. ampmon spawns from it, lib/drop.c
 * builds the walls from it, `ampcli posture` prints it beside what the kernel
 * says and tests/system/walls compares the two. A new room is a new row.
 * Must not own: any code of a room.
 */
#ifndef AMP_ROLE_H
#define AMP_ROLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/capability.h>

/* Descriptors every room finds at exec; nothing else is open. */
#define AMP_FD_CONTROL 3 /* SEQPACKET to ampmon */
#define AMP_FD_LOG     4 /* O_APPEND file */
#define AMP_FD_CLI     5 /* listening SEQPACKET socket, if the row has one */
/* Made by ampcloudd itself; the only other descriptor it may write(2) to. */
#define AMP_FD_EVENTS 6 /* O_APPEND file, events.json */

#define AMP_ROLE_MAX_LINKS     5
#define AMP_ROLE_MAX_INSTANCES 8

enum amp_role_id {
	AMP_ROLE_NONE = 0,
	AMP_ROLE_MON,
	AMP_ROLE_SCAN,
	AMP_ROLE_READ,
	AMP_ROLE_CLOUD,
	AMP_ROLE_QUARD,
	AMP_ROLE_ENGINE,
	AMP_ROLE_COUNT
};

enum amp_view {
	AMP_VIEW_HOST,	 /* the host's mount namespace */
	AMP_VIEW_PIVOTED /* private root: data_dir at /data, nothing else */
};

/* Bits of amp_role.syscalls: sets of lib/seccomp_table.c. */
enum amp_syscall_set {
	AMP_SYS_LOOP = 1 << 0,	      /* epoll, read, messages, memory, clocks */
	AMP_SYS_WHO = 1 << 1,	      /* stat and readlink of /proc, handles */
	AMP_SYS_READ_FILE = 1 << 2,   /* open read-only, pinned flags */
	AMP_SYS_DATABASE = 1 << 3,    /* SQLite in the row's own directory */
	AMP_SYS_ACCEPT = 1 << 4,      /* accept4 on the CLI listener */
	AMP_SYS_EVENTS_FILE = 1 << 5, /* write on AMP_FD_EVENTS */
	AMP_SYS_QUARANTINE = 1 << 6,  /* open, make, move, remove files and set all they have */
	AMP_SYS_SNAPSHOT = 1 << 7,    /* memfds: make, size, map, seal */
	/* ampengine: each set for itself; a zygote and a worker add theirs to the room's. */
	AMP_SYS_ENGINE = 1 << 8,  /* fork, wait, kill, read signatures, wipe slots, seal again */
	AMP_SYS_ZYGOTE = 1 << 9,  /* after loading: fork, wait, kill, wipe slots, seal workers */
	AMP_SYS_WORKER = 1 << 10, /* messages, the memfd, files of its slot; nothing else */
	AMP_SYS_LOADING = 1 << 11 /* a zygote from its start on: the room's, less leaving its group */
};

struct amp_role {
	enum amp_role_id id;
	const char *name; /* also log file, socket and binary */
	const char *user; /* default service user; configuration may differ */
	unsigned instances;
	bool cli_socket;
	enum amp_role_id links[AMP_ROLE_MAX_LINKS]; /* peers, AMP_ROLE_NONE ends */
	uint64_t capabilities;			    /* bits 1 << CAP_x, kept after the drop */
	enum amp_view view;
	bool own_network;	/* empty network namespace */
	bool landlock;		/* no write, no execute anywhere but /data */
	unsigned syscalls;	/* enum amp_syscall_set */
	unsigned nofile;	/* RLIMIT_NOFILE */
	uint64_t file_size;	/* RLIMIT_FSIZE, bytes */
	uint64_t address_space; /* RLIMIT_AS, bytes; 0: not limited */
	unsigned processes;	/* RLIMIT_NPROC, of its user; 0: no fork, no thread after the seal */
	bool background;	/* nice, batch scheduling, lowest best-effort I/O, from before the drop on */
	int oom_score_adj;	/* at least, from before the drop on; 0: as ampmon has it */
	unsigned idle_last;	/* so many last instances: only what nobody else wants, of CPU and disk */
	unsigned start_order;	/* lower first */
};

/* Row of a role; NULL if id is out of range. Static storage. */
const struct amp_role *amp_role(enum amp_role_id id);

/* Row by name; NULL if there is none. */
const struct amp_role *amp_role_by_name(const char *name);

/* True if the table has a link between a and b. */
bool amp_role_linked(enum amp_role_id a, enum amp_role_id b);

/* "name" or "name/instance" in buf for logs; returns buf. */
const char *amp_role_label(enum amp_role_id id, unsigned instance, char *buf, size_t size);

#endif
