/*
 * lib/seccomp_table.c - the system calls of a room, as data (seccomp_table.h).
 *
 * Owns: the arrays and turning them into a filter. Must not own: any other
 * wall. A call that is not in here was not needed by any measured run.
 */
#include "seccomp_table.h"

#include "role.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <seccomp.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#ifndef F_GET_SEALS
#define F_GET_SEALS 1034
#endif
#ifndef SO_PEERGROUPS
#define SO_PEERGROUPS 59
#endif
/* O_TMPFILE holds O_DIRECTORY too, which is allowed: this is the bit alone. */
#define TMPFILE_BIT (O_TMPFILE & ~O_DIRECTORY)
#define WRITE_FLAGS (O_ACCMODE | O_CREAT | O_TRUNC | O_APPEND | TMPFILE_BIT)
/* linux/pidfd.h of 6.13: _IOWR(0xFF, 11, struct pidfd_info); the struct grows. */
#define PIDFD_GET_INFO_ANY_SIZE _IOC(_IOC_READ | _IOC_WRITE, 0xFF, 11, 0)
#define IOCTL_SIZE_BITS		((uint64_t)_IOC_SIZEMASK << _IOC_SIZESHIFT)

#define LOW32	     UINT64_C(0xffffffff)
#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define INT_IS(i, v)                                                                                         \
	{                                                                                                    \
		AMP_SYS_IS, (i), LOW32, (uint64_t)(uint32_t)(v)                                              \
	}
#define NO_BITS(i, m)                                                                                        \
	{                                                                                                    \
		AMP_SYS_IS, (i), (uint64_t)(m), 0                                                            \
	}
#define NULL_POINTER(i)                                                                                      \
	{                                                                                                    \
		AMP_SYS_IS, (i), ~UINT64_C(0), 0                                                             \
	}
#define INT_IS_NOT(i, v)                                                                                     \
	{                                                                                                    \
		AMP_SYS_IS_NOT, (i), ~UINT64_C(0), (v)                                                       \
	}
#define SELF(i)                                                                                              \
	{                                                                                                    \
		AMP_SYS_IS_SELF, (i), LOW32, 0                                                               \
	}
#define FCNTL(cmd)                                                                                           \
	{                                                                                                    \
		"fcntl",                                                                                     \
		{                                                                                            \
			INT_IS(1, cmd)                                                                       \
		}                                                                                            \
	}
#define SOCKET_OPTION(c, o)                                                                                  \
	{                                                                                                    \
		c,                                                                                           \
		{                                                                                            \
			INT_IS(1, SOL_SOCKET), INT_IS(2, o)                                                  \
		}                                                                                            \
	}

/*
 * Every room: epoll, messages on sockets it already has, memory that cannot
 * be executed, clocks, its log. read() takes any descriptor: what a room
 * holds it may read.
 */
static const struct amp_sys_rule loop_rules[] = {
	{"read", {{0}}},
	{"recvmsg", {{0}}},
	{"sendmsg", {{0}}}, /* its sockets are connected pairs: an address is ignored */
	{"recvfrom", {NULL_POINTER(4)}},
	{"sendto", {NULL_POINTER(4)}},
	{"shutdown", {{0}}},
	SOCKET_OPTION("getsockopt", SO_ERROR),
	SOCKET_OPTION("getsockopt", SO_TYPE),
	SOCKET_OPTION("getsockopt", SO_SNDBUF),
	SOCKET_OPTION("getsockopt", SO_RCVBUF),
	SOCKET_OPTION("setsockopt", SO_SNDBUF),
	SOCKET_OPTION("setsockopt", SO_RCVBUF),
	{"write", {INT_IS(0, AMP_FD_LOG)}},
	{"write", {INT_IS(0, STDERR_FILENO)}},
	{"writev", {INT_IS(0, AMP_FD_LOG)}},
	{"writev", {INT_IS(0, STDERR_FILENO)}},
	{"dup3", {INT_IS(1, AMP_FD_LOG)}}, /* the log's new file after rotation */
	{"close", {{0}}},
	{"close_range", {{0}}},
	{"epoll_wait", {{0}}},
	{"epoll_pwait", {{0}}},
	{"epoll_pwait2", {{0}}},
	{"epoll_ctl", {{0}}},
	{"poll", {{0}}},
	{"ppoll", {{0}}},
	FCNTL(F_GETFD),
	FCNTL(F_SETFD),
	FCNTL(F_GETFL),
	/* Not the log's: without O_APPEND it could be written over. */
	{"fcntl", {INT_IS(1, F_SETFL), INT_IS_NOT(0, AMP_FD_LOG)}},
	{"fcntl", {INT_IS(1, F_DUPFD_CLOEXEC), INT_IS_NOT(0, AMP_FD_LOG)}},
	{"futex", {{0}}},
	{"mmap", {NO_BITS(2, PROT_EXEC)}},
	{"mprotect", {NO_BITS(2, PROT_EXEC)}},
	{"munmap", {{0}}},
	{"mremap", {{0}}},
	{"madvise", {{0}}},
	{"brk", {{0}}},
	{"clock_gettime", {{0}}},
	{"clock_getres", {{0}}},
	{"clock_nanosleep", {{0}}},
	{"nanosleep", {{0}}},
	{"gettimeofday", {{0}}},
	{"time", {{0}}},
	{"getpid", {{0}}},
	{"gettid", {{0}}},
	{"getrandom", {{0}}},
	{"sched_yield", {{0}}},
	{"sched_getaffinity", {{0}}}, /* malloc, when it counts its arenas */
	{"rt_sigprocmask", {{0}}},
	{"rt_sigreturn", {{0}}},
	{"restart_syscall", {{0}}},
	/* A thread started just before the seal runs its first steps under it. */
	{"set_robust_list", {{0}}},
	{"rseq", {{0}}},
	{"prctl", {INT_IS(0, PR_SET_NAME)}},
	{"tgkill", {SELF(0)}}, /* abort(): SIGABRT is to be seen as such */
	{"exit", {{0}}},
	{"exit_group", {{0}}},
};

/* Who and where, without opening anything: links of /proc, attributes, handles. */
static const struct amp_sys_rule who_rules[] = {
	{"newfstatat", {{0}}},
	{"fstat", {{0}}},
	{"statx", {{0}}},
	{"readlink", {{0}}},
	{"readlinkat", {{0}}},
	{"name_to_handle_at", {{0}}},
	{"statfs", {{0}}},
	{"fstatfs", {{0}}},
	FCNTL(F_GET_SEALS), /* of the event buffers' memfd */
	{"ioctl", {{AMP_SYS_IS, 1, LOW32 & ~IOCTL_SIZE_BITS, PIDFD_GET_INFO_ANY_SIZE}}},
	{"ioctl", {INT_IS(1, FIONREAD)}},
};

/* Any file, but for reading only: the flags are pinned (no openat2: they are in memory there). */
static const struct amp_sys_rule read_file_rules[] = {
	{"openat", {NO_BITS(2, WRITE_FLAGS)}},
	{"open_by_handle_at", {NO_BITS(2, WRITE_FLAGS)}},
	{"pread64", {{0}}},
	{"lseek", {{0}}},
	{"fadvise64", {{0}}},
	{"newfstatat", {{0}}},
	{"fstat", {{0}}},
	{"statx", {{0}}},
	{"statfs", {{0}}},
	{"fstatfs", {{0}}},
	{"readlink", {{0}}},
	{"readlinkat", {{0}}},
	{"getdents64", {{0}}},
	{"name_to_handle_at", {{0}}},
};

/* What SQLite does in WAL mode; where, is the view's and Landlock's matter. */
static const struct amp_sys_rule database_rules[] = {
	{"openat", {NO_BITS(2, TMPFILE_BIT)}},
	{"pread64", {{0}}},
	{"pwrite64", {{0}}},
	{"lseek", {{0}}},
	{"ftruncate", {{0}}},
	{"fallocate", {{0}}},
	{"fsync", {{0}}},
	{"fdatasync", {{0}}},
	{"newfstatat", {{0}}},
	{"fstat", {{0}}},
	{"statx", {{0}}},
	{"fstatfs", {{0}}},
	{"statfs", {{0}}},
	{"access", {{0}}},
	{"faccessat", {{0}}},
	{"faccessat2", {{0}}},
	{"readlink", {{0}}},
	{"readlinkat", {{0}}},
	{"getcwd", {{0}}},
	{"unlink", {{0}}},
	{"unlinkat", {{0}}},
	{"rename", {{0}}},
	{"renameat", {{0}}},
	{"renameat2", {{0}}},
	{"fchmod", {{0}}},
	{"getuid", {{0}}},
	{"geteuid", {{0}}},
	FCNTL(F_GETLK),
	FCNTL(F_SETLK),
};

/* Clients on the room's own CLI listener. */
static const struct amp_sys_rule accept_rules[] = {
	{"accept4", {{0}}},
	SOCKET_OPTION("getsockopt", SO_PEERCRED),
	SOCKET_OPTION("getsockopt", SO_PEERGROUPS),
};

#ifdef AMP_SANITIZED
/* The sanitizers' run time; such a build is for tests only. */
static const struct amp_sys_rule sanitizer_rules[] = {
	{"sigaltstack", {{0}}},
	{"rt_sigaction", {{0}}},
	{"prlimit64", {{0}}},
	{"getppid", {{0}}},
	{"openat", {NO_BITS(2, WRITE_FLAGS)}}, /* /proc/self/maps for a report */
	{"newfstatat", {{0}}},
	{"readlink", {{0}}},
	{"lseek", {{0}}},
};
#define SANITIZER_SET {~0U, "sanitizers", sanitizer_rules, COUNT(sanitizer_rules)},
#else
#define SANITIZER_SET
#endif

static const struct amp_sys_rules table[] = {
	{AMP_SYS_LOOP, "loop", loop_rules, COUNT(loop_rules)},
	{AMP_SYS_WHO, "who", who_rules, COUNT(who_rules)},
	{AMP_SYS_READ_FILE, "read-file", read_file_rules, COUNT(read_file_rules)},
	{AMP_SYS_DATABASE, "database", database_rules, COUNT(database_rules)},
	{AMP_SYS_ACCEPT, "accept", accept_rules, COUNT(accept_rules)},
	SANITIZER_SET};

const struct amp_sys_rules *amp_seccomp_table(size_t *n)
{
	*n = COUNT(table);
	return table;
}

static struct scmp_arg_cmp comparison(const struct amp_sys_arg *a)
{
	struct scmp_arg_cmp c = {.arg = a->index, .op = SCMP_CMP_MASKED_EQ};

	c.datum_a = a->mask;
	c.datum_b = a->op == AMP_SYS_IS_SELF ? (uint64_t)getpid() : a->value;
	if (a->op == AMP_SYS_IS_NOT) {
		c.op = SCMP_CMP_NE;
		c.datum_a = a->value;
	}
	return c;
}

/* 0, or a negative errno (libseccomp's form). */
static int add_rule(scmp_filter_ctx ctx, const struct amp_sys_rule *rule)
{
	struct scmp_arg_cmp args[AMP_SYS_MAX_ARGS];
	int nr = seccomp_syscall_resolve_name(rule->name);
	unsigned n = 0;

	if (nr < 0) /* not on this machine, or not known to this libseccomp */
		return 0;
	for (; n < AMP_SYS_MAX_ARGS && rule->args[n].op != AMP_SYS_NONE; n++)
		args[n] = comparison(&rule->args[n]);
	return seccomp_rule_add_array(ctx, SCMP_ACT_ALLOW, nr, n, args);
}

static int add_sets(scmp_filter_ctx ctx, unsigned sets)
{
	for (size_t s = 0; s < COUNT(table); s++) {
		if (!(table[s].set & sets))
			continue;
		for (size_t r = 0; r < table[s].count; r++) {
			int rc = add_rule(ctx, &table[s].rules[r]);

			if (rc < 0)
				return rc;
		}
	}
	return 0;
}

static int load(scmp_filter_ctx ctx, unsigned sets)
{
	static const struct {
		enum scmp_filter_attr attr;
		uint32_t value;
	} wanted[] = {
		{SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS},
		{SCMP_FLTATR_CTL_NNP, 1},
		{SCMP_FLTATR_CTL_TSYNC, 1},
		{SCMP_FLTATR_API_SYSRAWRC, 1},
		{SCMP_FLTATR_CTL_OPTIMIZE, 2}, /* a binary tree: the filter is on every call */
	};
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < COUNT(wanted); i++)
		rc = seccomp_attr_set(ctx, wanted[i].attr, wanted[i].value);
	if (rc == 0)
		rc = add_sets(ctx, sets);
	return rc == 0 ? seccomp_load(ctx) : rc;
}

int amp_seccomp_seal(unsigned sets)
{
	scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_KILL_PROCESS);
	int rc;

	if (!ctx) {
		errno = ENOMEM;
		return -1;
	}
	rc = load(ctx, sets);
	seccomp_release(ctx);
	if (rc == 0)
		return 0;
	errno = rc < 0 ? -rc : EBUSY; /* above 0: the thread that could not follow */
	return -1;
}
