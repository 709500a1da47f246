/*
 * ampmon/kill.h - signals to the processes that run a convicted file.
 * Owns: the check of a Kill against the policy, finding the processes
 * (/proc/PID/exe by statx), SIGKILL by pidfd, remembering results by
 * detection_id. A signature alone is reason enough where the policy has the engine,
 * but not for the program of PID 1 or of the suite, whoever runs it.
 * Must not own: conviction, records. Never PID 1, never the suite.
 */
#ifndef AMPMON_KILL_H
#define AMPMON_KILL_H

#include "policy.h"
#include "proto/control.pb-c.h"
#include "watch.h"

struct mon_kill;

struct mon_kill_ops {
	/* Answer to request id. Valid during the call. */
	void (*killed)(uint64_t id, const Amp__Killed *result, void *arg);
	bool (*is_ours)(pid_t pid, void *arg);
	/* May be NULL: calls fn for ampmon and each of its rooms. */
	void (*each_ours)(void (*fn)(pid_t pid, void *to), void *to, void *arg);
	void *arg;
};

struct mon_kill *mon_kill_new(struct event_base *base, const struct mon_watch *w,
			      const struct mon_kill_ops *ops);
void mon_kill_free(struct mon_kill *k);
/* Before the loop: the programs in there are never killed because a signature says so. */
void mon_kill_never(struct mon_kill *k, const char *bin_dir);
/*
 * The event's process is signalled before this returns; the passes over /proc
 * run from the event loop (all requests waiting share a pass) until one finds
 * nobody (at most 50), then killed() is called. p: the policy in force.
 * 0, or -1: the request breaks the protocol.
 */
int mon_kill_request(struct mon_kill *k, uint64_t id, const Amp__Kill *request, const struct mon_policy *p);

#endif
