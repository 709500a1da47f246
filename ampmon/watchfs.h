/*
 * ampmon/watchfs.h - what watch.c is made of, for its own files only.
 *
 * watch.c       the interface, following the mount table
 * watchgroup.c  the two fanotify groups
 * watchpass.c   one pass over the mount table: what is new, changed, gone
 * watchfs.c     one file system: where it is, its mark, what is told of it
 *
 * Owns: their structures. Must not own: anything other folders include.
 */
#ifndef AMPMON_WATCHFS_H
#define AMPMON_WATCHFS_H

#include "marks.h"
#include "mountinfo.h"
#include "watch.h"

#include <sys/fanotify.h>

#define OWN_DIRS 6U

enum group { GROUP_HANDLE, GROUP_FD, GROUP_COUNT };

struct watch_fs {
	struct watch_fs *next;
	struct mon_watch *watch;
	unsigned major, minor;
	char *type;
	char *subvolume; /* btrfs: the mount's root; else NULL */
	char *super;	 /* overlay: its options when it was looked at */
	bool seen;	 /* in this pass's table */
	bool wants_job, again;
	bool marked, by_fd, covered;
	bool reported; /* filesystem() was called with fsid */
	bool alias;    /* fsid is another's: never reported */
	bool faulty;
	int64_t unmarked_ns; /* realtime: was first seen to be wanted and without a mark; 0: is not so */
	int mount_id;
	char *point; /* NULL: none */
	bool partial;
	uint64_t fsid, btrfs; /* btrfs: what all its subvolumes have in common; else 0 */
	char why[192];
	const char *fd_why; /* its handles are of no use */
	char **scope;	    /* NULL until known; empty: everywhere */
	struct mark_job *job;
};

struct mon_watch {
	struct event_base *base;
	struct mon_watch_ops ops;
	int group[GROUP_COUNT];
	unsigned flags[GROUP_COUNT]; /* what the kernel took when each was made */
	int mountinfo, epoll;
	struct event *changed, *settle, *retry;
	struct mount_table table;
	struct watch_fs *list;
	unsigned running;
	bool began; /* was settled once */
	bool fault_raised;
	char fault_detail[512];
	/* of the configuration */
	char **dirs, **types;
	char *own[OWN_DIRS];
	bool force_fd, limited;
};

/* ---- watchgroup.c ---- */

int watch_groups_make(struct mon_watch *w, char *err, size_t size);
/* The group's fd; the fd group is made when it is first asked for. -1: it cannot be had. */
int watch_group(struct mon_watch *w, bool by_fd);
void watch_group_tell(const struct mon_watch *w);
int watch_group_renew(struct mon_watch *w);
/* Takes every mark out of a group. */
void watch_group_flush(int group);

/* ---- watchpass.c ---- */

/* Reads the mount table and brings the list in line with it. */
void watch_pass(struct mon_watch *w);
void watch_pass_in(struct mon_watch *w, long ms);
/* Starts what children may run now; tells of faults when nothing is in hand. */
void watch_jobs(struct mon_watch *w);

/* ---- watchfs.c ---- */

struct watch_fs *watchfs_find(struct mon_watch *w, const struct mount_entry *e);
struct watch_fs *watchfs_new(struct mon_watch *w, const struct mount_entry *e);
void watchfs_free(struct watch_fs *fs);
bool watchfs_is(const struct mount_entry *e, const struct watch_fs *fs);
bool watchfs_overlay(const struct watch_fs *fs);
/* A write or exec through an overlay is an event of the layer, with its true name. */
bool watchfs_kernel_reports_layers(void);
/* Its first entry in the table; NULL: none. */
const struct mount_entry *watchfs_entry(const struct mon_watch *w, const struct watch_fs *fs);
/* A path leads to fs through e. */
bool watchfs_usable(const struct mon_watch *w, const struct watch_fs *fs, const struct mount_entry *e);
/* Another marked one with the same identifier. */
struct watch_fs *watchfs_twin(struct watch_fs *fs);
/* What of the configured directories is on it. True: it changed; *wider: there is more. */
bool watchfs_refresh_scope(struct watch_fs *fs, bool *wider);
/* Wire form, valid while fs is as it is; free *ways. */
void watchfs_fill(const struct watch_fs *fs, Amp__FileSystem *out, ProtobufCBinaryData **ways);
void watchfs_report(struct watch_fs *fs, bool fresh);
void watchfs_gone(struct watch_fs *fs);
void watchfs_set_point(struct watch_fs *fs, const char *point);
void watchfs_not_watched(struct watch_fs *fs, bool faulty, const char *why);
/* No path leads to it now. A mark that is there stays and counts. */
void watchfs_hidden(struct watch_fs *fs);
/* Starts a child that marks it. */
void watchfs_mark(struct watch_fs *fs);
/* Starts one that takes the mark out of a group; nobody waits for it. */
void watchfs_unmark(struct watch_fs *fs, bool by_fd);

#endif
