/*
 * lib/drop.c - the drop: from root's child to a room (see drop.h).
 *
 * Owns: the order of the walls, each a row of `walls` below. Must not own:
 * which walls a room has (lib/role.c), the filter's content
 * (lib/seccomp_table.c). Every step either stands or names itself.
 */
#include "drop.h"

#include "landlock.h"
#include "seccomp_table.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <linux/capability.h>
#include <linux/securebits.h>
#include <malloc.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define CAP_BIT(cap) (UINT64_C(1) << (cap))

/* tmpfs that becomes the root: room for mount points and nothing else. */
#define VIEW_OPTIONS "size=4k,nr_inodes=%zu,mode=0755"
#define VIEW_INODES  4U /* the root, /data, and the kernel's own */
#define MOUNT_INODES 2U /* a mount's directory and the one it is in */
#define DATA_MOUNT   "data"
#define DATA_PATH    "/" DATA_MOUNT

#define MOUNT_FLAGS (MS_NOSUID | MS_NODEV | MS_NOEXEC)

/* linux/ioprio.h, which older headers lack. */
#define IOPRIO_WHO_PROCESS   1
#define IOPRIO(class, level) (((class) << 13) | (level))
#define IOPRIO_CLASS_BE	     2
#define IOPRIO_CLASS_IDLE    3
#define IOPRIO_BE_LOWEST     7

/* No set-uid root, no keeping or raising, and none of it to be undone. */
#define SECURE_BITS                                                                                          \
	(SECBIT_NOROOT | SECBIT_NOROOT_LOCKED | SECBIT_NO_SETUID_FIXUP | SECBIT_NO_SETUID_FIXUP_LOCKED |     \
	 SECBIT_KEEP_CAPS_LOCKED | SECBIT_NO_CAP_AMBIENT_RAISE | SECBIT_NO_CAP_AMBIENT_RAISE_LOCKED)

static pid_t parent;	      /* at entry: who has to outlive us */
static int landlock_abi = -1; /* asked before the filter forbids asking */

static int fail(int error)
{
	errno = error;
	return -1;
}

static int check_request(const struct amp_drop *d)
{
	bool pivoted = d->role && d->role->view == AMP_VIEW_PIVOTED;

	if (!d->role || d->role->id == AMP_ROLE_MON || d->uid == 0 || d->gid == 0)
		return fail(EINVAL);
	if (d->uid == (uid_t)-1 || d->gid == (gid_t)-1 || (pivoted && !d->view_dir))
		return fail(EINVAL);
	if (d->instance >= d->role->instances || (!pivoted && d->mount_count > 0))
		return fail(EINVAL);
	return 0;
}

/* Capabilities, Landlock and no_new_privs are per thread: a second one would keep root's. */
static int check_single_thread(const struct amp_drop *d)
{
	struct stat st;

	(void)d;
	if (stat("/proc/self/task", &st) < 0)
		return -1;
	return st.st_nlink == 3 ? 0 : fail(EBUSY); /* ".", "..", one thread */
}

/* What libraries would otherwise read or ask for later, under the filter. */
static int warm_up(const struct amp_drop *d)
{
	(void)d;
	tzset();
	/* Else malloc counts CPUs, on some by opening files. A sanitizer's has no such option. */
	mallopt(M_ARENA_MAX, 2);
	umask(077);
	if (signal(SIGXFSZ, SIG_IGN) == SIG_ERR) /* at the limit write() fails, we live */
		return -1;
	/* An inherited READ_IMPLIES_EXEC would make all memory executable. */
	return personality(PER_LINUX) < 0 ? -1 : 0;
}

/* Where the kernel groups processes by their sessions, a nice value counts within its session only:
 * a room is one, so it is the session that steps back. Where it does not, there is nothing to do. */
static void set_session_priority(int nice_level)
{
	int fd = getsid(0) == getpid() ? open("/proc/self/autogroup", O_WRONLY | O_CLOEXEC) : -1;

	if (fd < 0)
		return;
	dprintf(fd, "%d", nice_level);
	close(fd);
}

static int set_priority(int nice_level, int policy, int io)
{
	const struct sched_param none = {0};

	set_session_priority(nice_level);
	if (setpriority(PRIO_PROCESS, 0, nice_level) < 0 || sched_setscheduler(0, policy, &none) < 0)
		return -1;
	return (int)syscall(SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0, io);
}

/*
 * Whom the kernel ends when memory is short. A unit may spare the suite, and that is not for who works on
 * what users write. To raise it needs no privilege; what is higher already stays. Where /proc does not let
 * it be written (posture tells) the room is as ampmon is.
 */
static void set_oom_score(int at_least)
{
	int fd = at_least > 0 ? open("/proc/self/oom_score_adj", O_RDWR | O_CLOEXEC) : -1;
	char text[16] = "";

	if (fd < 0)
		return;
	if (read(fd, text, sizeof(text) - 1) > 0 && strtol(text, NULL, 10) < at_least)
		dprintf(fd, "%d", at_least);
	close(fd);
}

/* Below what the machine is there for. What comes later, threads and forks, inherits it. */
static int step_back(const struct amp_drop *d)
{
	set_oom_score(d->role->oom_score_adj);
	if (d->role->idle_last > 0 && d->instance >= d->role->instances - d->role->idle_last)
		return set_priority(19, SCHED_BATCH, IOPRIO(IOPRIO_CLASS_IDLE, 0));
	if (d->role->background)
		return set_priority(10, SCHED_BATCH, IOPRIO(IOPRIO_CLASS_BE, IOPRIO_BE_LOWEST));
	return 0;
}

static int build_namespaces(const struct amp_drop *d)
{
	int flags = CLONE_NEWIPC | CLONE_NEWUTS;

	if (d->role->own_network)
		flags |= CLONE_NEWNET;
	if (d->role->view == AMP_VIEW_PIVOTED)
		flags |= CLONE_NEWNS;
	return unshare(flags);
}

/* A host directory at a mount point relative to the new root. */
static int bind_directory(const char *source, const char *at, unsigned long flags)
{
	if (mount(source, at, NULL, MS_BIND, NULL) < 0)
		return -1;
	return mount(NULL, at, NULL, MS_REMOUNT | MS_BIND | MOUNT_FLAGS | flags, NULL);
}

static int bind_data(const char *data_dir)
{
	if (mkdir(DATA_MOUNT, 0755) < 0)
		return -1;
	return bind_directory(data_dir, DATA_MOUNT, 0);
}

/* "/sig/0" becomes "sig", where it is not there yet, and "sig/0". */
static int make_mount_point(const char *at)
{
	char upper[NAME_MAX + 1];
	const char *slash = strchr(at, '/');
	size_t n = slash ? (size_t)(slash - at) : 0;

	if (n >= sizeof(upper) || (slash && strchr(slash + 1, '/')))
		return fail(ENAMETOOLONG);
	memcpy(upper, at, n);
	upper[n] = '\0';
	if (slash && mkdir(upper, 0755) == 0) {
		if (chmod(upper, 0755) < 0) /* whatever the umask: the room passes through it */
			return -1;
	} else if (slash && errno != EEXIST) {
		return -1;
	}
	return mkdir(at, 0755);
}

static int build_mount(const struct amp_drop_mount *m)
{
	if (m->at[0] != '/' || make_mount_point(m->at + 1) < 0)
		return m->at[0] != '/' ? fail(EINVAL) : -1;
	if (m->source)
		return bind_directory(m->source, m->at + 1, MS_RDONLY);
	return mount("amp", m->at + 1, "tmpfs", MOUNT_FLAGS, m->options);
}

static int build_mounts(const struct amp_drop *d)
{
	for (size_t i = 0; i < d->mount_count; i++)
		if (build_mount(&d->mounts[i]) < 0)
			return -1;
	return 0;
}

/* The new root over the old one, then the old one away (pivot_root(2), NOTES). */
static int swap_root(const char *options)
{
	if (syscall(SYS_pivot_root, ".", ".") < 0)
		return -1;
	if (umount2(".", MNT_DETACH) < 0 || chdir("/") < 0)
		return -1;
	return mount(NULL, "/", NULL, MS_REMOUNT | MOUNT_FLAGS | MS_RDONLY, options);
}

static int build_view(const struct amp_drop *d)
{
	char options[128];

	if (d->role->view != AMP_VIEW_PIVOTED)
		return 0;
	snprintf(options, sizeof(options), VIEW_OPTIONS, VIEW_INODES + MOUNT_INODES * d->mount_count);
	if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		return -1;
	if (mount("amp", d->view_dir, "tmpfs", MOUNT_FLAGS, options) < 0)
		return -1;
	if (chdir(d->view_dir) < 0)
		return -1;
	if ((d->data_dir && bind_data(d->data_dir) < 0) || build_mounts(d) < 0)
		return -1;
	return swap_root(options);
}

static int limit(__rlimit_resource_t what, uint64_t value)
{
	const struct rlimit r = {.rlim_cur = value, .rlim_max = value};

	return setrlimit(what, &r);
}

static int build_limits(const struct amp_drop *d)
{
	const struct {
		__rlimit_resource_t what;
		uint64_t value;
	} rows[] = {
		{RLIMIT_CORE, 0},
		{RLIMIT_MEMLOCK, 0},
		{RLIMIT_MSGQUEUE, 0},
		{RLIMIT_NICE, 0},
		{RLIMIT_RTPRIO, 0},
		{RLIMIT_FSIZE, d->role->file_size},
		{RLIMIT_NOFILE, d->role->nofile},
		{RLIMIT_AS, d->role->address_space ? d->role->address_space : RLIM_INFINITY},
	};

	for (size_t i = 0; i < COUNT(rows); i++)
		if (limit(rows[i].what, rows[i].value) < 0)
			return -1;
	return 0;
}

static int drop_groups(const struct amp_drop *d)
{
	(void)d;
	return setgroups(0, NULL);
}

static int drop_gid(const struct amp_drop *d)
{
	return setresgid(d->gid, d->gid, d->gid);
}

static int drop_uid(const struct amp_drop *d)
{
	/* The permitted set has to outlive the change, for the row's own. */
	if (prctl(PR_SET_KEEPCAPS, 1L, 0L, 0L, 0L) < 0)
		return -1;
	return setresuid(d->uid, d->uid, d->uid);
}

static int set_capabilities(uint64_t set)
{
	struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = {
		{.effective = (uint32_t)set, .permitted = (uint32_t)set},
		{.effective = (uint32_t)(set >> 32), .permitted = (uint32_t)(set >> 32)},
	};

	return (int)syscall(SYS_capset, &head, data);
}

/* Every capability this kernel knows out of the bounding set. */
static int empty_bounding_set(void)
{
	for (unsigned long cap = 0; prctl(PR_CAPBSET_READ, cap, 0L, 0L, 0L) >= 0; cap++)
		if (prctl(PR_CAPBSET_DROP, cap, 0L, 0L, 0L) < 0)
			return -1;
	return 0;
}

static int drop_capabilities(const struct amp_drop *d)
{
	/* CAP_SETPCAP for the two steps that need it, gone with the last. */
	if (set_capabilities(d->role->capabilities | CAP_BIT(CAP_SETPCAP)) < 0)
		return -1;
	if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0L, 0L, 0L) < 0 || empty_bounding_set() < 0)
		return -1;
	if (prctl(PR_SET_SECUREBITS, (unsigned long)SECURE_BITS, 0L, 0L, 0L) < 0)
		return -1;
	return set_capabilities(d->role->capabilities);
}

static bool ids_are(const struct amp_drop *d)
{
	uid_t u[3];
	gid_t g[3];

	if (getresuid(&u[0], &u[1], &u[2]) < 0 || getresgid(&g[0], &g[1], &g[2]) < 0)
		return false;
	for (int i = 0; i < 3; i++)
		if (u[i] != d->uid || g[i] != d->gid)
			return false;
	return getgroups(0, NULL) == 0;
}

static bool capabilities_are(uint64_t set)
{
	struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3];

	if (syscall(SYS_capget, &head, data) < 0)
		return false;
	for (size_t i = 0; i < COUNT(data); i++) {
		uint32_t half = (uint32_t)(set >> (32 * i));

		if (data[i].effective != half || data[i].permitted != half || data[i].inheritable != 0)
			return false;
	}
	return prctl(PR_CAPBSET_READ, 0L, 0L, 0L, 0L) == 0 &&
	       prctl(PR_GET_SECUREBITS, 0L, 0L, 0L, 0L) == SECURE_BITS;
}

/* Tried, not only looked at: each of these has to be refused. */
static int check_no_way_back(const struct amp_drop *d)
{
	const gid_t root_group = 0;

	if (!ids_are(d) || !capabilities_are(d->role->capabilities))
		return fail(EPERM);
	if (setresuid((uid_t)-1, 0, (uid_t)-1) == 0 || setresgid((gid_t)-1, 0, (gid_t)-1) == 0)
		return fail(EPERM);
	if (setgroups(1, &root_group) == 0)
		return fail(EPERM);
	if (set_capabilities(d->role->capabilities | CAP_BIT(CAP_SYS_ADMIN)) == 0)
		return fail(EPERM);
	return 0;
}

/* The change of uid has done it as fs.suid_dumpable says; here it is certain. */
static int build_undumpable(const struct amp_drop *d)
{
	(void)d;
	if (prctl(PR_SET_DUMPABLE, 0L, 0L, 0L, 0L) < 0)
		return -1;
	return prctl(PR_GET_DUMPABLE, 0L, 0L, 0L, 0L) == 0 ? 0 : fail(EPERM);
}

/* After the last change of ids, which clears it. */
static int build_parent_death(const struct amp_drop *d)
{
	(void)d;
	if (prctl(PR_SET_PDEATHSIG, (unsigned long)SIGKILL, 0L, 0L, 0L) < 0)
		return -1;
	return getppid() == parent ? 0 : fail(ESRCH); /* died just before */
}

static int build_no_new_privs(const struct amp_drop *d)
{
	(void)d;
	return prctl(PR_SET_NO_NEW_PRIVS, 1L, 0L, 0L, 0L);
}

static int build_landlock(const struct amp_drop *d)
{
	landlock_abi = amp_landlock_abi();
	if (!d->role->landlock)
		return 0;
	return amp_landlock_apply(d->role->view == AMP_VIEW_PIVOTED && d->data_dir ? DATA_PATH : NULL);
}

static int call_before_seal(const struct amp_drop *d)
{
	return d->before_seal ? d->before_seal(d->arg) : 0;
}

/* Counted per uid but looked at in clone() only: 0 is right once the threads run. */
static int build_process_limit(const struct amp_drop *d)
{
	return limit(RLIMIT_NPROC, d->role->processes);
}

static int build_filter(const struct amp_drop *d)
{
	return amp_seccomp_seal(d->role->syscalls);
}

static const struct wall {
	const char *name;
	int (*build)(const struct amp_drop *d);
} walls[] = {
	{"role and ids", check_request},
	{"single thread", check_single_thread},
	{"process state", warm_up},
	{"priority", step_back},
	{"namespaces", build_namespaces},
	{"view of the file system", build_view},
	{"resource limits", build_limits},
	{"groups", drop_groups},
	{"gid", drop_gid},
	{"uid", drop_uid},
	{"capabilities", drop_capabilities},
	{"no way back", check_no_way_back},
	{"undumpable", build_undumpable},
	{"parent death signal", build_parent_death},
	{"no new privileges", build_no_new_privs},
	{"landlock", build_landlock}, /* before the threads: it is per thread and inherited */
	{"threads", call_before_seal},
	{"process limit", build_process_limit},
	{"seccomp", build_filter},
};

int amp_drop(const struct amp_drop *d, const char **wall)
{
	parent = getppid();
	for (size_t i = 0; i < COUNT(walls); i++) {
		*wall = walls[i].name;
		if (walls[i].build(d) < 0)
			return -1;
	}
	*wall = NULL;
	return 0;
}

int amp_drop_landlock_abi(void)
{
	return landlock_abi >= 0 ? landlock_abi : amp_landlock_abi();
}
