/*
 * ampmon/posture.h - the walls of a process as the kernel shows them, beside
 * the row of the role table that says what they have to be.
 *
 * Owns: reading /proc/PID (status, ns, limits, smaps_rollup), the comparison,
 * the kernel features in use. Must not own: the walls (lib/drop.c), the table
 * (lib/role.c) or the CLI request (ampmon/cli.c).
 */
#ifndef AMPMON_POSTURE_H
#define AMPMON_POSTURE_H

#include "role.h"

#include "proto/cli.pb-c.h"

#include <sys/types.h>

/* What the caller knows of a process beyond its row. */
struct mon_posture_subject {
	const struct amp_role *role;
	pid_t pid;
	unsigned instance;
	uid_t uid; /* looked up at start; 0 for ampmon */
	gid_t gid;
	int landlock_abi; /* of its READY; 0: the kernel has none */
};

/*
 * Fills *out: init'ed here, everything it points to is malloc'd and the
 * caller's until mon_posture_clear(). Items are in a fixed order. The role
 * row and subject are not kept. Returns 0; or -1 with errno and *out empty
 * (cleared; mon_posture_clear is allowed): ESRCH if the process is gone,
 * ENOMEM, or what /proc said. A wall that is not as it has to be is no
 * error: its item has `equal` false.
 */
int mon_posture_process(const struct mon_posture_subject *s, Amp__CliPostureProcess *out);

/* Frees what mon_posture_process allocated; *out itself is the caller's. */
void mon_posture_clear(Amp__CliPostureProcess *out);

/* True if every item is equal. */
bool mon_posture_holds(const Amp__CliPostureProcess *p);

/*
 * Features of this kernel that the walls use or miss, for the last
 * CliPostureReply: names in *in_use and *missing, both arrays and strings
 * malloc'd; mon_posture_free_names() each. 0, or -1 ENOMEM (both NULL).
 */
int mon_posture_kernel(char ***in_use, size_t *n_in_use, char ***missing, size_t *n_missing);
void mon_posture_free_names(char **names, size_t n);

#endif
