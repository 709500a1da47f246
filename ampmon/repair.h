/*
 * ampmon/repair.h - what is to be caught up, and how far it is.
 * Owns: the list of repairs, the last good moment and its persistence with the
 * rest of ampmon.state, sending REPAIR and RUNNING to ampscand.
 * Must not own: walking or judging.
 */
#ifndef AMPMON_REPAIR_H
#define AMPMON_REPAIR_H

#include "channel.h"
#include "conf.h"
#include "proto/cli.pb-c.h"
#include "proto/control.pb-c.h"

/* etc/ampmon.state */
struct mon_state {
	char host_id[37];
	char policy[65];	/* "" : the configuration's */
	uint64_t epoch;		/* of the policy, grows */
	int64_t good_ns;	/* last good moment, realtime; 0: never */
	bool change_unrecorded; /* a policy_changed event not acknowledged */
	char change_detail[256];
};
/* Missing or broken: fresh values (a new host_id), *fresh set; broken is logged. 0 or -1 err. */
int mon_state_load(const struct mon_conf *c, struct mon_state *s, bool *fresh, char *err, size_t size);
int mon_state_store(const struct mon_conf *c, const struct mon_state *s); /* write, fsync, rename */

struct mon_repair;
struct mon_repair_ops {
	void (*fault)(bool raised, const char *detail, void *arg); /* REPAIR_FAILED */
	void *arg;
};
struct mon_repair *mon_repair_new(struct event_base *base, const struct mon_repair_ops *ops);
void mon_repair_free(struct mon_repair *r);
/* ampscand's control channel, NULL while there is none. Unfinished repairs are sent again. */
void mon_repair_attach(struct mon_repair *r, struct amp_channel *scand);
/* Joins a waiting repair of the same fs (earlier since wins). running: also judge running programs. */
void mon_repair_add(struct mon_repair *r, uint64_t fsid, const char *mount_point, int64_t since_ns,
		    const char *reason, bool running);
/* Sends RUNNING with every pid of /proc (also by itself: new blocked hash, mode). */
void mon_repair_running(struct mon_repair *r);
void mon_repair_gone(struct mon_repair *r, uint64_t fsid);
/* 0 or -1: unknown repair id. */
int mon_repair_state(struct mon_repair *r, const Amp__RepairState *st);
bool mon_repair_pending(const struct mon_repair *r);
/* Waiting, walking and the last 16 done, newest first. */
size_t mon_repair_list(const struct mon_repair *r, Amp__CliRepair *out, size_t max);

#endif
