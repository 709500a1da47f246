/*
 * lib/seccomp_table.h - the system calls of a room, as data.
 *
 * Owns: one array of rules for every set of lib/role.h and loading the filter
 * that a union of sets makes: what no rule lets through kills the process.
 * Must not own: which sets a room has (lib/role.c).
 */
#ifndef AMP_SECCOMP_TABLE_H
#define AMP_SECCOMP_TABLE_H

#include <stddef.h>
#include <stdint.h>

#define AMP_SYS_MAX_ARGS 3

/* A condition on one argument; 64 bits wide, so masks say what counts. */
enum amp_sys_op {
	AMP_SYS_NONE = 0, /* ends the list */
	AMP_SYS_IS,	  /* (argument & mask) == value */
	AMP_SYS_IS_SELF	  /* the 32 bits are the process' own id */
};

struct amp_sys_arg {
	enum amp_sys_op op;
	unsigned index; /* 0 to 5 */
	uint64_t mask;
	uint64_t value;
};

/* All conditions hold: the call is let through. Rows of a name are OR-ed. */
struct amp_sys_rule {
	const char *name; /* the kernel's; skipped where the machine has none such */
	struct amp_sys_arg args[AMP_SYS_MAX_ARGS];
};

struct amp_sys_rules {
	unsigned set; /* bits of enum amp_syscall_set that have these; ~0U: every room (sanitizers) */
	const char *name;
	const struct amp_sys_rule *rules;
	size_t count;
	uint16_t error; /* 0: let through; else refused with this errno, and the process lives */
};

/* All sets; *n is how many. Static storage. */
const struct amp_sys_rules *amp_seccomp_table(size_t *n);

/*
 * Puts the filter of these sets (bits of enum amp_syscall_set) on every
 * thread of the process. 0, or -1 and errno, then no filter is loaded.
 */
int amp_seccomp_seal(unsigned sets);

/*
 * The same filter made once and put on later: for who forks often, since making it takes a
 * millisecond. prepare: NULL and errno. apply: on the calling thread, beside the filters it
 * has; 0, or -1 and errno. Rules of AMP_SYS_IS_SELF are not possible in it: left out.
 */
struct amp_seccomp_filter;
struct amp_seccomp_filter *amp_seccomp_prepare(unsigned sets);
int amp_seccomp_apply(const struct amp_seccomp_filter *f);
void amp_seccomp_free(struct amp_seccomp_filter *f);

#endif
