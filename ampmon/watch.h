/*
 * ampmon/watch.h - which file systems are watched and how.
 * Owns: the two fanotify groups (their marks), following /proc/self/mountinfo,
 * the short-lived child that marks, the list of file systems, the handles of
 * the suite's own directories. Must not own: reading events (ampscand's), or
 * what repairs are made of.
 */
#ifndef AMPMON_WATCH_H
#define AMPMON_WATCH_H

#include "conf.h"
#include "fileid.h"
#include "proto/common.pb-c.h"

#include <event2/event.h>

struct mon_watch;

struct mon_watch_ops {
	/* New, or changed (mount point, how). Valid during the call. fresh: just marked, so
	 * what happened before is to be repaired; unmarked_ns (realtime): it was there without a
	 * mark from then on, 0: not known. */
	void (*filesystem)(const Amp__FileSystem *fs, bool fresh, int64_t unmarked_ns, void *arg);
	void (*gone)(uint64_t fsid, void *arg);
	/* Faults NOT_WATCHED come up or clear. */
	void (*fault)(bool raised, const char *detail, void *arg);
	/* mon_watch_fd_group() is there now (or another one): its reader is to get it. May be NULL. */
	void (*fd_group)(void *arg);
	/* mon_watch_began() has become true. May be NULL. */
	void (*began)(void *arg);
	void *arg;
};

/* Makes the groups (events wait in the kernel from the first mark on). NULL and err. */
struct mon_watch *mon_watch_new(struct event_base *base, const struct mon_conf *c,
				const struct mon_watch_ops *ops, char *err, size_t size);
/* First pass over mountinfo, then follows it. */
void mon_watch_start(struct mon_watch *w);
/* True when every file system of the table has been marked or refused. */
bool mon_watch_settled(const struct mon_watch *w);
/* True when that was so once. */
bool mon_watch_began(const struct mon_watch *w);
/* Configuration changed: other directories or types. */
void mon_watch_reconfigure(struct mon_watch *w, const struct mon_conf *c);
int mon_watch_handle_group(const struct mon_watch *w); /* fd, stays here */
int mon_watch_fd_group(const struct mon_watch *w);     /* -1: not needed yet */
/*
 * What a file system says of itself (Amp__FileSystem): fsid is 0 where it has
 * none of its own (not watched; or an overlay by fd, whose events carry its
 * upper layer's). Not sent by filesystem() then, only shown by mon_watch_each().
 * partial: mount_point leads to a part of it, or is empty if nothing leads to it.
 */
/* A group of fds dies with its reader (its queue holds open files): make a new one, mark again. */
int mon_watch_renew_fd_group(struct mon_watch *w);
/* Every file system known, for a new ampscand and for status. */
void mon_watch_each(const struct mon_watch *w, void (*fn)(const Amp__FileSystem *fs, void *arg), void *arg);
/* True if the device (of statx) is a host file system that is no overlay: kill compares st_dev there. */
bool mon_watch_plain_device(const struct mon_watch *w, unsigned major, unsigned minor);
/* The suite's own directories (log_dir, etc_dir, cloud_dir, quarantine_dir, run_dir, policy_dir). */
void mon_watch_own_dirs(const struct mon_watch *w,
			void (*fn)(uint64_t fsid, const struct amp_handle *h, void *arg), void *arg);
/* The kernel's features that watching uses, and those it does without (static names). */
void mon_watch_features(const struct mon_watch *w, void (*fn)(const char *name, bool in_use, void *arg),
			void *arg);
void mon_watch_free(struct mon_watch *w);

#endif
