/*
 * lib/drop.h - the drop: from root's child to a room, in one function.
 *
 * Owns: the order of the walls (view, rlimits, groups, ids, capabilities,
 * proof that nothing can be regained, undumpable, no_new_privs, Landlock,
 * seccomp last). Must not own: which walls a room has (lib/role.c).
 */
#ifndef AMP_DROP_H
#define AMP_DROP_H

#include "role.h"

#include <sys/types.h>

/* AMP_VIEW_PIVOTED: more that the view shows. */
struct amp_drop_mount {
	const char *source;  /* a host directory, shown read-only; NULL: a new tmpfs */
	const char *at;	     /* path in the view: one or two components, absolute */
	const char *options; /* of the tmpfs: size, nr_inodes, mode, uid, gid */
};

struct amp_drop {
	const struct amp_role *role;
	unsigned instance;
	uid_t uid; /* looked up by ampmon; never 0 */
	gid_t gid;
	const char *view_dir; /* an existing root-owned directory to pivot on */
	const char *data_dir; /* AMP_VIEW_PIVOTED: becomes /data; NULL: none */
	const struct amp_drop_mount *mounts;
	size_t mount_count;
	/*
	 * Called once ids and capabilities are the room's and before seccomp
	 * (put on every thread with TSYNC): the place to start threads.
	 * 0, or -1 with errno.
	 */
	int (*before_seal)(void *arg);
	void *arg;
};

/*
 * Builds every wall of d->role around the calling process. Returns 0; or -1
 * with errno and *wall set to the name of the wall that could not be built
 * (static string): the caller must exit. Called once, by a process with one
 * thread (the log's too starts in before_seal). Landlock missing from the
 * kernel is not an error (amp_drop_landlock_abi tells); everything else is.
 */
int amp_drop(const struct amp_drop *d, const char **wall);

/* What the kernel gave: Landlock ABI (0: none), for READY and posture. */
int amp_drop_landlock_abi(void);

#endif
