/*
 * ampmon/child.h - the rooms as processes.
 *
 * Owns: one slot for every row and instance of the role table, the process in
 * it, its generation, start, death, restart and heartbeat. Must not own: what
 * rooms say (control.c), their links (links.c), what ampscand lives on (sources.c).
 */
#ifndef AMPMON_CHILD_H
#define AMPMON_CHILD_H

#include "ampmon/throttle.h"
#include "channel.h"
#include "role.h"

#include "proto/control.pb-c.h"

#include <event2/event.h>
#include <stddef.h>
#include <sys/types.h>

struct mon;
struct mon_slot;

/* One process. It outlives its place in the slot when it hangs in the kernel:
 * slot is NULL then, and it only waits to be reaped. */
struct mon_proc {
	struct mon *m;
	struct mon_slot *slot;
	pid_t pid;
	int pidfd;
	unsigned generation;
	struct amp_channel *ch; /* NULL: ended */
	struct event *died, *timer;
	bool ready;
	bool told_start;
	bool killed;	  /* by us */
	int64_t born_ns;  /* monotonic */
	int64_t since_ns; /* realtime */
	struct child_heart heart;
	uint64_t ping_seq, pong_seq;
	unsigned accusations;	  /* of peers, by this process */
	unsigned fault_changes;	  /* raised or cleared by it since: */
	int64_t fault_changes_ns; /* monotonic */
	char **in_use, **missing; /* READY's, NULL-terminated */
	struct mon_proc *next;
};

enum mon_slot_state {
	MON_SLOT_OFF,
	MON_SLOT_STOPPED,
	MON_SLOT_STARTING,
	MON_SLOT_RUNNING,
	MON_SLOT_THROTTLED
};

struct mon_slot {
	struct mon *m;
	const struct amp_role *role;
	unsigned instance;
	char label[32];
	bool off;	/* by configuration: as if it were not in the table */
	bool startable; /* its user exists */
	struct mon_proc *proc;
	unsigned generation; /* of the latest process */
	unsigned restarts;
	bool last_died; /* a predecessor died */
	struct child_throttle throttle;
	struct event *again; /* timer of a restart */
	int listen_fd;	     /* -1: none */
};

/* Slots in start order, with their CLI listeners. 0 or -1 (complained). */
int mon_children_new(struct mon *m);
void mon_children_free(struct mon *m); /* kills what is left */
void mon_children_start(struct mon *m);
void mon_children_stop(struct mon *m); /* STOP to all; SIGKILL after 5 s */
void mon_children_tick(struct mon *m, int64_t elapsed_ns);
bool mon_children_any(const struct mon *m); /* a process in any slot */

size_t mon_slot_count(const struct mon *m);
struct mon_slot *mon_slot_at(const struct mon *m, size_t i);
struct mon_slot *mon_slot(const struct mon *m, unsigned role, unsigned instance); /* NULL: none such */
enum mon_slot_state mon_slot_state(const struct mon_slot *s);
bool mon_children_have_pid(const struct mon *m, pid_t pid);

/* The ready ampscand's channel, or NULL. Likewise ampcloudd's. */
struct amp_channel *mon_ready_channel(const struct mon *m, enum amp_role_id role);

/* Its READY came. */
void mon_proc_ready(struct mon_proc *p, const Amp__Ready *r);
/* Sends on its control channel; a full or broken channel costs the room its life. */
void mon_proc_send(struct mon_proc *p, uint16_t type, const ProtobufCMessage *body, const int *fds,
		   unsigned n);
void mon_proc_kill(struct mon_proc *p, const char *why);
/* It broke the protocol: killed, replaced, a fault. by: who says so ("" : ampmon). */
void mon_proc_hostile(struct mon_proc *p, const char *by, const char *why);

/* --- spawn.c: fork and exec only. */
struct mon_spawn {
	const char *path;      /* of the binary */
	const char *name;      /* argv[0] */
	int control, log, cli; /* all above 15; cli -1: none */
	int null;
	bool own_pids; /* in a PID namespace of its own: whatever it forked ends with it */
};
/* pid and *pidfd; or -1 and errno. */
pid_t mon_spawn(const struct mon_spawn *s, int *pidfd);
/* The same descriptor at 16 or above, so that placing 0-5 in a child hits none. Closes fd. */
int mon_fd_high(int fd);

#endif
