/*
 * lib/room.h - what every room does the same way: take its configuration on
 * fd 3, open its handles, drop, say READY, answer the heartbeat, take links
 * and log files, leave when told or when ampmon is gone.
 *
 * Owns: that life cycle and the control channel. Must not own: the room's
 * work (the callbacks below) or ampmon's side of it (ampmon/child.c).
 */
#ifndef AMP_ROOM_H
#define AMP_ROOM_H

#include "channel.h"
#include "drop.h"
#include "fault.h"
#include "iothread.h"
#include "role.h"

#include "proto/control.pb-c.h"

#include <sys/types.h>

struct amp_room;
struct amp_cliserver;

struct amp_room_ops {
	enum amp_role_id role;
	/* As root, CONF in hand: open what must be opened. 0 or -1 (logged). */
	int (*open)(struct amp_room *room, const Amp__Conf *conf);
	/* What the pivoted view shows beside /data, after open(). May be NULL: nothing. */
	const struct amp_drop_mount *(*mounts)(struct amp_room *room, size_t *count);
	/* No thread is ever made, not even the log's: the room forks. */
	bool single_threaded;
	/* Ids are the room's, before seccomp: start threads. May be NULL. */
	int (*before_seal)(struct amp_room *room);
	/* Walls are up; READY follows. 0 or -1 (logged, exit). */
	int (*ready)(struct amp_room *room);
	/* All rooms are ready. May be NULL. */
	void (*start)(struct amp_room *room);
	/*
	 * A link to a peer (again): make a channel of fd with amp_channel_new.
	 * The old channel to that peer, if any, has ended or is to be freed.
	 */
	void (*link)(struct amp_room *room, enum amp_role_id peer, unsigned instance, unsigned generation,
		     int fd);
	/* Rows of the control channel beyond the common ones. */
	const struct amp_dispatch *control;
	size_t control_rows;
	/* A client on the CLI listener: table of requests. */
	const struct amp_dispatch *cli;
	size_t cli_rows;
	void (*stop)(struct amp_room *room);			 /* before exit; may be NULL */
	struct amp_iothread *(*iothread)(struct amp_room *room); /* for PONG; may be NULL */
};

/* Runs the room to its end; main() returns what this returns. arg: the room's own state. */
int amp_room_main(const struct amp_room_ops *ops, void *arg);

struct event_base *amp_room_base(struct amp_room *room);
void *amp_room_arg(struct amp_room *room);
unsigned amp_room_instance(const struct amp_room *room);
const char *amp_room_host_id(const struct amp_room *room);
struct amp_channel *amp_room_control(struct amp_room *room);
/* Its clients, for answers that come later; NULL: it serves none. */
struct amp_cliserver *amp_room_cli(struct amp_room *room);
/* Of the peer whose link is in hand, as ampmon sees it: within the link callback only. */
pid_t amp_room_peer_pid(const struct amp_room *room);

/* The room of a control-channel handler's arg is the room itself. */

void amp_room_fault(struct amp_room *room, enum amp_fault_number n, bool raised, const char *detail);
/* Tells ampmon that a peer broke the protocol; it is killed and replaced. */
void amp_room_hostile(struct amp_room *room, enum amp_role_id peer, unsigned instance, unsigned generation,
		      const char *why);
/* Names a kernel feature for READY and posture (static strings). */
void amp_room_feature(struct amp_room *room, const char *name, bool in_use);

#endif
