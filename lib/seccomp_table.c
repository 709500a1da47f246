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
#include <linux/filter.h>
#include <linux/fs.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <seccomp.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef F_ADD_SEALS
#define F_ADD_SEALS 1033
#endif
#ifndef F_GET_SEALS
#define F_GET_SEALS 1034
#endif
#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U /* 6.3 */
#endif
#ifndef SO_PEERGROUPS
#define SO_PEERGROUPS 59
#endif
/* O_TMPFILE holds O_DIRECTORY too, which is allowed: this is the bit alone. */
#define TMPFILE_BIT (O_TMPFILE & ~O_DIRECTORY)
#define WRITE_FLAGS (O_ACCMODE | O_CREAT | O_TRUNC | O_APPEND | TMPFILE_BIT)

/* clang-format off */
#define LOW32               UINT64_C(0xffffffff)
#define COUNT(array)        (sizeof(array) / sizeof((array)[0]))
#define INT_IS(i, v)        {AMP_SYS_IS, (i), LOW32, (uint64_t)(uint32_t)(v)}
#define NO_BITS(i, m)       {AMP_SYS_IS, (i), (uint64_t)(m), 0}
#define NULL_POINTER(i)     {AMP_SYS_IS, (i), ~UINT64_C(0), 0}
#define SELF(i)             {AMP_SYS_IS_SELF, (i), LOW32, 0}
#define ANY                 {{0}}
#define FCNTL(cmd)          {"fcntl", {INT_IS(1, cmd)}}
#define SOCKET_OPTION(c, o) {c, {INT_IS(1, SOL_SOCKET), INT_IS(2, o)}}
#define MEMFD               {"memfd_create", {{AMP_SYS_IS, 1, MEMFD_MASK, MEMFD_FLAGS}}}
/* clang-format on */

/* fork(3) of a process with one thread. */
#define FORK_FLAGS (CLONE_CHILD_SETTID | CLONE_CHILD_CLEARTID | SIGCHLD)
/* A memfd that can be sealed, for data. */
#define MEMFD_MASK  (LOW32 & ~(uint64_t)MFD_NOEXEC_SEAL)
#define MEMFD_FLAGS (MFD_CLOEXEC | MFD_ALLOW_SEALING)

/*
 * Every room: epoll, messages on sockets it already has, memory that cannot
 * be executed, clocks, its log. read() takes any descriptor: what a room
 * holds it may read.
 */
static const struct amp_sys_rule loop_rules[] = {
	{"read", ANY},
	{"recvmsg", ANY},
	{"sendmsg", ANY}, /* its sockets are connected pairs: an address is ignored */
	{"recvfrom", {NULL_POINTER(4)}},
	{"sendto", {NULL_POINTER(4)}},
	{"shutdown", ANY},
	SOCKET_OPTION("getsockopt", SO_ERROR),
	SOCKET_OPTION("getsockopt", SO_TYPE),
	SOCKET_OPTION("getsockopt", SO_SNDBUF),
	SOCKET_OPTION("getsockopt", SO_RCVBUF),
	SOCKET_OPTION("setsockopt", SO_SNDBUF),
	SOCKET_OPTION("setsockopt", SO_RCVBUF),
	SOCKET_OPTION("setsockopt", SO_SNDBUFFORCE), /* tried for a new link; the kernel says EPERM */
	SOCKET_OPTION("setsockopt", SO_RCVBUFFORCE),
	{"write", {INT_IS(0, AMP_FD_LOG)}},
	{"write", {INT_IS(0, STDERR_FILENO)}},
	{"writev", {INT_IS(0, AMP_FD_LOG)}},
	{"writev", {INT_IS(0, STDERR_FILENO)}},
	{"dup3", {INT_IS(1, AMP_FD_LOG)}}, /* the log's new file after rotation */
	{"close", ANY},
	{"close_range", ANY},
	{"epoll_wait", ANY},
	{"epoll_pwait", ANY},
	{"epoll_pwait2", ANY},
	{"epoll_ctl", ANY},
	{"poll", ANY},
	{"ppoll", ANY},
	FCNTL(F_GETFD),
	FCNTL(F_SETFD),
	FCNTL(F_GETFL),
	{"fcntl", {INT_IS(1, F_SETFL), NO_BITS(2, O_ASYNC | O_DIRECT | O_NOATIME)}},
	FCNTL(F_DUPFD_CLOEXEC),
	{"futex", ANY},
	{"mmap", {NO_BITS(2, PROT_EXEC)}},
	{"mprotect", {NO_BITS(2, PROT_EXEC)}},
	{"munmap", ANY},
	{"mremap", ANY},
	{"madvise", ANY},
	{"brk", ANY},
	{"clock_gettime", ANY},
	{"clock_getres", ANY},
	{"clock_nanosleep", ANY},
	{"nanosleep", ANY},
	{"gettimeofday", ANY},
	{"time", ANY},
	{"getpid", ANY},
	{"gettid", ANY},
	{"getrandom", ANY},
	{"sched_yield", ANY},
	{"sched_getaffinity", ANY}, /* malloc, when it counts its arenas */
	{"rt_sigprocmask", ANY},
	{"rt_sigreturn", ANY},
	{"restart_syscall", ANY},
	/* A thread started just before the seal runs its first steps under it. */
	{"set_robust_list", ANY},
	{"rseq", ANY},
	{"prctl", {INT_IS(0, PR_SET_NAME)}},
	{"tgkill", {SELF(0)}}, /* abort(): SIGABRT is to be seen as such */
	{"exit", ANY},
	{"exit_group", ANY},
};

/* Who and where, without opening anything: links of /proc, attributes, handles. */
static const struct amp_sys_rule who_rules[] = {
	{"newfstatat", ANY},
	{"fstat", ANY},
	{"statx", ANY},
	{"readlink", ANY},
	{"readlinkat", ANY},
	{"name_to_handle_at", ANY},
	{"statfs", ANY},
	{"fstatfs", ANY},
	{"sysinfo", ANY},   /* how loaded the machine is, for scans on demand */
	FCNTL(F_GET_SEALS), /* of the event buffers' memfd */
	{"ioctl", {INT_IS(1, FIONREAD)}},
};

/* Any file, but for reading only: the flags are pinned (no openat2: they are in memory there). */
static const struct amp_sys_rule read_file_rules[] = {
	{"openat", {NO_BITS(2, WRITE_FLAGS)}},
	{"open_by_handle_at", {NO_BITS(2, WRITE_FLAGS)}},
	{"pread64", ANY},
	{"lseek", ANY},
	{"fadvise64", ANY},
	{"newfstatat", ANY},
	{"fstat", ANY},
	{"statx", ANY},
	{"statfs", ANY},
	{"fstatfs", ANY},
	{"readlink", ANY},
	{"readlinkat", ANY},
	{"getdents64", ANY},
	{"name_to_handle_at", ANY},
};

/* What SQLite does in WAL mode; where, is the view's and Landlock's matter. */
static const struct amp_sys_rule database_rules[] = {
	{"openat", {NO_BITS(2, TMPFILE_BIT)}},
	{"pread64", ANY},
	{"pwrite64", ANY},
	{"lseek", ANY},
	{"ftruncate", ANY},
	{"fallocate", ANY},
	{"fsync", ANY},
	{"fdatasync", ANY},
	{"newfstatat", ANY},
	{"fstat", ANY},
	{"statx", ANY},
	{"fstatfs", ANY},
	{"statfs", ANY},
	{"access", ANY},
	{"faccessat", ANY},
	{"faccessat2", ANY},
	{"readlink", ANY},
	{"readlinkat", ANY},
	{"getcwd", ANY},
	{"unlink", ANY},
	{"unlinkat", ANY},
	{"rename", ANY},
	{"renameat", ANY},
	{"renameat2", ANY},
	{"fchmod", {NO_BITS(1, S_ISUID | S_ISGID)}},
	{"getuid", ANY},
	{"geteuid", ANY},
	FCNTL(F_GETLK),
	FCNTL(F_SETLK),
};

/* Clients on the room's own CLI listener. */
static const struct amp_sys_rule accept_rules[] = {
	{"accept4", ANY},
	SOCKET_OPTION("getsockopt", SO_PEERCRED),
	SOCKET_OPTION("getsockopt", SO_PEERGROUPS),
};

/* Beside the database's: events.json, which ampmon opens and hands over. */
static const struct amp_sys_rule events_file_rules[] = {
	{"write", {INT_IS(0, AMP_FD_EVENTS)}},
	{"writev", {INT_IS(0, AMP_FD_EVENTS)}},
	{"dup3", {INT_IS(1, AMP_FD_EVENTS)}}, /* its new file after rotation */
	{"pread64", ANY},
	{"lseek", ANY},
	{"fstat", ANY},
	{"newfstatat", ANY},
};

/*
 * Files of others taken away and given back. What a file is set to is set by its
 * descriptor only: no call here changes a mode, an owner, a time or an
 * attribute by a path. Directories are made closed to others, nodes not at all.
 */
static const struct amp_sys_rule quarantine_rules[] = {
	{"openat", {NO_BITS(2, TMPFILE_BIT)}},
	{"openat", {{AMP_SYS_IS, 2, O_TMPFILE | O_CREAT | O_TRUNC, O_TMPFILE}}},
	{"openat2", ANY}, /* the flags are in memory; it is here to follow no link */
	{"mkdirat", {NO_BITS(2, S_IRWXG | S_IRWXO)}},
	{"unlinkat", ANY},
	{"renameat2", ANY},
	{"linkat", {INT_IS(4, AT_SYMLINK_FOLLOW)}}, /* of /proc/self/fd/N */
	{"fchmod", ANY},
	{"fchown", ANY},
	{"utimensat", {NULL_POINTER(1)}},
	{"fsetxattr", ANY},
	{"fgetxattr", ANY},
	{"flistxattr", ANY},
	{"fremovexattr", ANY},
	{"ioctl", {INT_IS(1, FS_IOC_GETFLAGS)}},
	{"ioctl", {INT_IS(1, FS_IOC_SETFLAGS)}},
	{"pread64", ANY},
	{"pwrite64", ANY}, /* write() stays pinned to the log */
	{"lseek", ANY},
	{"ftruncate", ANY},
	{"fallocate", ANY},
	{"fadvise64", ANY},
	{"sync_file_range", ANY},
	{"fsync", ANY},
	{"fdatasync", ANY},
	{"syncfs", ANY},
	{"flock", ANY}, /* against a second keeper */
	{"newfstatat", ANY},
	{"fstat", ANY},
	{"statx", ANY},
	{"statfs", ANY},
	{"fstatfs", ANY},
	{"getdents64", ANY},
	{"readlink", ANY},
	{"readlinkat", ANY},
	{"name_to_handle_at", ANY},
	{"geteuid", ANY},
};

/* Sealed copies of what is read. Files are open for reading only: these find memfds alone. */
static const struct amp_sys_rule snapshot_rules[] = {
	MEMFD, {"ftruncate", ANY}, {"pwrite64", ANY}, FCNTL(F_ADD_SEALS), FCNTL(F_GET_SEALS),
};

/*
 * All that a worker may: its pair, the memfd in hand, and what libclamav does to
 * files below the slot (measured over clamav-testfiles, and what its sources and
 * those of its libraries call beside). Where, is the view's and Landlock's matter.
 */
static const struct amp_sys_rule slot_rules[] = {
	{"read", ANY},
	{"recvmsg", ANY},
	{"sendmsg", ANY},
	{"recvfrom", {NULL_POINTER(4)}},
	{"sendto", {NULL_POINTER(4)}},
	{"poll", ANY},
	{"ppoll", ANY},
	{"close", ANY},
	{"openat", ANY},
	{"newfstatat", ANY},
	{"fstat", ANY},
	{"statx", ANY},
	{"access", ANY},
	{"faccessat", ANY},
	{"faccessat2", ANY},
	{"readlink", ANY},
	{"readlinkat", ANY},
	{"getcwd", ANY},
	{"getdents64", ANY},
	{"pread64", ANY},
	{"write", ANY},
	{"writev", ANY},
	{"pwrite64", ANY},
	{"lseek", ANY},
	{"ftruncate", ANY},
	{"dup", ANY},
	{"rename", ANY},
	{"renameat", ANY},
	{"renameat2", ANY},
	{"mkdir", {NO_BITS(1, S_IRWXG | S_IRWXO)}},
	{"mkdirat", {NO_BITS(2, S_IRWXG | S_IRWXO)}},
	{"rmdir", ANY},
	{"unlink", ANY},
	{"unlinkat", ANY},
	/* Of its own directories, before it removes them. Landlock has no word on it: another mode
	 * would close the slot of another worker. */
	{"chmod", {INT_IS(1, S_IRWXU)}},
	{"fchmod", {NO_BITS(1, S_ISUID | S_ISGID)}},
	FCNTL(F_GETFD),
	FCNTL(F_SETFD),
	FCNTL(F_GETFL),
	{"fcntl", {INT_IS(1, F_SETFL), NO_BITS(2, O_ASYNC | O_DIRECT | O_NOATIME)}},
	FCNTL(F_DUPFD_CLOEXEC),
	FCNTL(F_GET_SEALS),
	{"futex", ANY},
	{"mmap", {NO_BITS(2, PROT_EXEC)}},
	{"mprotect", {NO_BITS(2, PROT_EXEC)}},
	{"munmap", ANY},
	{"mremap", ANY},
	{"madvise", ANY},
	{"brk", ANY},
	{"clock_gettime", ANY},
	{"clock_getres", ANY},
	{"clock_nanosleep", ANY},
	{"nanosleep", ANY},
	{"gettimeofday", ANY},
	{"time", ANY},
	{"times", ANY},
	{"getrusage", ANY},
	{"getpid", ANY},
	{"gettid", ANY},
	{"getuid", ANY},
	{"geteuid", ANY},
	{"getgid", ANY},
	{"getegid", ANY},
	{"uname", ANY},
	{"sysinfo", ANY},
	{"getrandom", ANY},
	{"sched_yield", ANY},
	{"sched_getaffinity", ANY},
	{"prlimit64", {INT_IS(0, 0), NULL_POINTER(2)}},
	{"rt_sigaction", ANY},
	{"rt_sigprocmask", ANY},
	{"rt_sigreturn", ANY},
	{"restart_syscall", ANY},
	{"set_robust_list", ANY},
	{"rseq", ANY},
	{"exit", ANY},
	{"exit_group", ANY},
};

/* Beside that, of a zygote: to fork workers, wall them in, pass their pairs on, end and reap them. */
static const struct amp_sys_rule fork_rules[] = {
	{"clone", {{AMP_SYS_IS, 0, ~UINT64_C(0), FORK_FLAGS}}},
	{"wait4", ANY},
	{"waitid", ANY},
	{"kill", {INT_IS(1, SIGKILL)}},
	{"pidfd_open", ANY},
	{"pidfd_send_signal", {INT_IS(1, SIGKILL)}},
	{"tgkill", {INT_IS(2, SIGABRT)}}, /* abort(), of a child too */
	{"getppid", ANY},
	{"socketpair", {INT_IS(0, AF_UNIX)}},
	SOCKET_OPTION("setsockopt", SO_SNDBUF),
	SOCKET_OPTION("setsockopt", SO_RCVBUF),
	SOCKET_OPTION("setsockopt", SO_SNDBUFFORCE),
	SOCKET_OPTION("setsockopt", SO_RCVBUFFORCE),
	SOCKET_OPTION("getsockopt", SO_ERROR),
	SOCKET_OPTION("getsockopt", SO_TYPE),
	SOCKET_OPTION("getsockopt", SO_SNDBUF),
	SOCKET_OPTION("getsockopt", SO_RCVBUF),
	{"shutdown", ANY},
	{"close_range", ANY},
	{"dup2", ANY},
	{"dup3", ANY},
	{"chdir", ANY},
	{"fchdir", ANY},
	{"prlimit64", {INT_IS(0, 0)}},
	{"prctl", {INT_IS(0, PR_SET_NAME)}},
	{"prctl", {INT_IS(0, PR_SET_PDEATHSIG), INT_IS(1, SIGKILL)}},
	{"prctl", {INT_IS(0, PR_SET_NO_NEW_PRIVS), INT_IS(1, 1)}},
	{"prctl", {INT_IS(0, PR_SET_DUMPABLE), INT_IS(1, 0)}},
	{"seccomp", {INT_IS(0, SECCOMP_SET_MODE_FILTER)}},
	{"landlock_create_ruleset", ANY},
	{"landlock_add_rule", ANY},
	{"landlock_restrict_self", ANY},
	MEMFD,
	FCNTL(F_ADD_SEALS),
};

/* Beside that, of the room, and of a zygote that still loads. What a filter of
 * theirs lets through has to pass this one too. */
static const struct amp_sys_rule engine_rules[] = {
	{"inotify_init1", ANY},
	{"inotify_add_watch", ANY},
	{"inotify_rm_watch", ANY},
	{"fadvise64", ANY},
	{"statfs", ANY},
	{"fstatfs", ANY},
	{"fchmodat", {INT_IS(2, S_IRWXU)}}, /* of what a worker closed in its slot, which is wiped */
};

/* A zygote's first call. What it forks cannot do it again, and so is found by it. */
static const struct amp_sys_rule group_rules[] = {{"setpgid", {INT_IS(0, 0), INT_IS(1, 0)}}};

/*
 * libclamav's image decoders try threads, and go on without them where the machine has
 * none: ENOSYS says so to glibc and to Rust, where a kill would cost the file its verdict.
 */
static const struct amp_sys_rule clone3_rules[] = {{"clone3", ANY}};
static const struct amp_sys_rule thread_rules[] = {{"clone", {{AMP_SYS_IS, 0, CLONE_VM, CLONE_VM}}}};
static const struct amp_sys_rule clone_rules[] = {{"clone", ANY}};

#ifdef AMP_SANITIZED
/* The sanitizers' run time; such a build is for tests only. */
static const struct amp_sys_rule sanitizer_rules[] = {
	{"sigaltstack", ANY},
	{"rt_sigaction", ANY},
	{"prlimit64", ANY},
	{"getppid", ANY},
	{"openat", {NO_BITS(2, WRITE_FLAGS)}}, /* /proc/self/maps for a report */
	{"newfstatat", ANY},
	{"readlink", ANY},
	{"lseek", ANY},
};
#define SANITIZER_SET {~0U, "sanitizers", sanitizer_rules, COUNT(sanitizer_rules), 0},
#else
#define SANITIZER_SET
#endif

#define ROOM_SETS (AMP_SYS_ENGINE | AMP_SYS_LOADING)
#define FORK_SETS (ROOM_SETS | AMP_SYS_ZYGOTE)
#define SLOT_SETS (FORK_SETS | AMP_SYS_WORKER)

static const struct amp_sys_rules table[] = {
	{AMP_SYS_LOOP, "loop", loop_rules, COUNT(loop_rules), 0},
	{AMP_SYS_WHO, "who", who_rules, COUNT(who_rules), 0},
	{AMP_SYS_READ_FILE, "read-file", read_file_rules, COUNT(read_file_rules), 0},
	{AMP_SYS_DATABASE, "database", database_rules, COUNT(database_rules), 0},
	{AMP_SYS_ACCEPT, "accept", accept_rules, COUNT(accept_rules), 0},
	{AMP_SYS_EVENTS_FILE, "events-file", events_file_rules, COUNT(events_file_rules), 0},
	{AMP_SYS_QUARANTINE, "quarantine", quarantine_rules, COUNT(quarantine_rules), 0},
	{AMP_SYS_SNAPSHOT, "snapshot", snapshot_rules, COUNT(snapshot_rules), 0},
	{SLOT_SETS, "engine-slot", slot_rules, COUNT(slot_rules), 0},
	{FORK_SETS, "engine-fork", fork_rules, COUNT(fork_rules), 0},
	{ROOM_SETS, "engine", engine_rules, COUNT(engine_rules), 0},
	{AMP_SYS_ENGINE, "engine-group", group_rules, COUNT(group_rules), 0},
	{SLOT_SETS, "engine-no-clone3", clone3_rules, COUNT(clone3_rules), ENOSYS},
	{FORK_SETS, "engine-no-thread", thread_rules, COUNT(thread_rules), ENOSYS},
	{AMP_SYS_WORKER, "engine-no-fork", clone_rules, COUNT(clone_rules), ENOSYS},
	SANITIZER_SET};

const struct amp_sys_rules *amp_seccomp_table(size_t *n)
{
	*n = COUNT(table);
	return table;
}

static struct scmp_arg_cmp comparison(const struct amp_sys_arg *a)
{
	return (struct scmp_arg_cmp){
		.arg = a->index,
		.op = SCMP_CMP_MASKED_EQ,
		.datum_a = a->mask,
		.datum_b = a->op == AMP_SYS_IS_SELF ? (uint64_t)getpid() : a->value,
	};
}

/* Said of a process that is not the one the filter will hold. */
static bool speaks_of_self(const struct amp_sys_rule *rule)
{
	for (unsigned n = 0; n < AMP_SYS_MAX_ARGS && rule->args[n].op != AMP_SYS_NONE; n++)
		if (rule->args[n].op == AMP_SYS_IS_SELF)
			return true;
	return false;
}

/* 0, or a negative errno (libseccomp's form). */
static int add_rule(scmp_filter_ctx ctx, const struct amp_sys_rule *rule, uint32_t action)
{
	struct scmp_arg_cmp args[AMP_SYS_MAX_ARGS];
	int nr = seccomp_syscall_resolve_name(rule->name);
	unsigned n = 0;

	if (nr < 0) /* not on this machine, or not known to this libseccomp */
		return 0;
	for (; n < AMP_SYS_MAX_ARGS && rule->args[n].op != AMP_SYS_NONE; n++)
		args[n] = comparison(&rule->args[n]);
	return seccomp_rule_add_array(ctx, action, nr, n, args);
}

static uint32_t action_of(const struct amp_sys_rules *set)
{
	return set->error ? SCMP_ACT_ERRNO(set->error) : SCMP_ACT_ALLOW;
}

static int add_sets(scmp_filter_ctx ctx, unsigned sets, bool for_later)
{
	for (size_t s = 0; s < COUNT(table); s++) {
		if (!(table[s].set & sets))
			continue;
		for (size_t r = 0; r < table[s].count; r++) {
			const struct amp_sys_rule *rule = &table[s].rules[r];
			int rc = 0;

			if (!for_later || !speaks_of_self(rule))
				rc = add_rule(ctx, rule, action_of(&table[s]));
			if (rc < 0)
				return rc;
		}
	}
	return 0;
}

/* The filter of these sets, not loaded; 0, or a negative errno. */
static int fill(scmp_filter_ctx ctx, unsigned sets, bool for_later)
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
	return rc == 0 ? add_sets(ctx, sets, for_later) : rc;
}

int amp_seccomp_seal(unsigned sets)
{
	scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_KILL_PROCESS);
	int rc;

	if (!ctx) {
		errno = ENOMEM;
		return -1;
	}
	rc = fill(ctx, sets, false);
	if (rc == 0)
		rc = seccomp_load(ctx);
	seccomp_release(ctx);
	if (rc == 0)
		return 0;
	errno = rc < 0 ? -rc : EBUSY; /* above 0: the thread that could not follow */
	return -1;
}

struct amp_seccomp_filter {
	struct sock_fprog program;
	struct sock_filter code[];
};

/* The program out of the memfd it was written to. */
static struct amp_seccomp_filter *take_program(int fd)
{
	off_t size = lseek(fd, 0, SEEK_END);
	struct amp_seccomp_filter *f = NULL;
	size_t count;

	if (size <= 0 || size % (off_t)sizeof(f->code[0]) != 0 ||
	    size / (off_t)sizeof(f->code[0]) > BPF_MAXINSNS)
		return NULL;
	count = (size_t)size / sizeof(f->code[0]);
	f = malloc(sizeof(*f) + (size_t)size);
	if (!f)
		return NULL;
	f->program = (struct sock_fprog){.len = (unsigned short)count, .filter = f->code};
	if (pread(fd, f->code, (size_t)size, 0) == size)
		return f;
	free(f);
	return NULL;
}

struct amp_seccomp_filter *amp_seccomp_prepare(unsigned sets)
{
	scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_KILL_PROCESS);
	int fd = memfd_create("filter", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	struct amp_seccomp_filter *f = NULL;
	int rc = ctx && fd >= 0 ? fill(ctx, sets, true) : -ENOMEM;

	if (rc == 0)
		rc = seccomp_export_bpf(ctx, fd);
	if (rc == 0) {
		f = take_program(fd);
		rc = f ? 0 : -ENOMEM;
	}
	seccomp_release(ctx);
	if (fd >= 0)
		close(fd);
	errno = rc < 0 ? -rc : 0;
	return f;
}

int amp_seccomp_apply(const struct amp_seccomp_filter *f)
{
	if (prctl(PR_SET_NO_NEW_PRIVS, 1L, 0L, 0L, 0L) < 0)
		return -1;
	return (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0UL, &f->program);
}

void amp_seccomp_free(struct amp_seccomp_filter *f)
{
	free(f);
}
