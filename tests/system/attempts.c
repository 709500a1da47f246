/*
 * tests/system/attempts.c - things a room must not be able to do (attempts.h).
 *
 * Raw system calls where the library would do something else first. Nothing
 * in here may hurt the machine when it succeeds: the control does succeed.
 */
#include "attempts.h"

#include "db.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/capability.h>
#include <linux/fs.h>
#include <linux/io_uring.h>
#include <linux/keyctl.h>
#include <linux/openat2.h>
#include <linux/perf_event.h>
#include <linux/sched.h>
#include <linux/securebits.h>
#include <malloc.h>
#include <netinet/in.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/fanotify.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/xattr.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#define HANDLE_ROOM   128
#define BEFORE_NOFILE 20000 /* more than any row gives */

/* Of the victim file, taken before the drop. */
static union {
	struct file_handle head;
	unsigned char room[sizeof(struct file_handle) + HANDLE_ROOM];
} handle;

/* --- what has to be at hand ------------------------------------------- */

static int make_file(const char *path, mode_t mode, const char *text)
{
	int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, mode);

	if (fd < 0 || fchmod(fd, mode) < 0 || write(fd, text, strlen(text)) < 0)
		return -1;
	return fd;
}

/* Ends with us: a death signal would need our right to send it, which goes with the drop. */
static pid_t make_victim(void)
{
	int life[2];
	pid_t pid;
	char c;

	if (pipe2(life, O_CLOEXEC) < 0)
		return -1;
	pid = fork();
	if (pid != 0) {
		close(life[0]);
		return pid;
	}
	close(life[1]);
	if (read(life[0], &c, 1) < 0)
		_exit(1);
	_exit(0);
}

static int copy_program(const char *from, int to)
{
	char buf[65536];
	int fd = open(from, O_RDONLY | O_CLOEXEC);
	ssize_t n;

	while ((n = read(fd, buf, sizeof(buf))) > 0)
		if (write(to, buf, (size_t)n) != n)
			n = -1;
	close(fd);
	return n < 0 ? -1 : to;
}

static int open_terminal(void)
{
	int master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
	const char *name = NULL;

	if (master >= 0 && grantpt(master) == 0 && unlockpt(master) == 0)
		name = ptsname(master);
	return name ? open(name, O_RDWR | O_NOCTTY | O_CLOEXEC) : -1;
}

static void make_names(struct scene *s)
{
	snprintf(s->view_dir, sizeof(s->view_dir), "%.1000s/view", s->scratch);
	snprintf(s->data_dir, sizeof(s->data_dir), "%.1000s/data", s->scratch);
	snprintf(s->victim_file, sizeof(s->victim_file), "%.1000s/victim", s->scratch);
	snprintf(s->new_file, sizeof(s->new_file), "%.1000s/new", s->scratch);
	snprintf(s->own_dir, sizeof(s->own_dir), "%s",
		 s->dropped && s->role->view == AMP_VIEW_PIVOTED ? "/data" : s->data_dir);
}

static int prepare_files(struct scene *s)
{
	char path[PATH_MAX + 16];

	/* Own mount namespace: what the control mounts or turns goes with it. */
	if (unshare(CLONE_NEWNS) < 0)
		return -1;
	snprintf(path, sizeof(path), "%s/mnt", s->scratch);
	mkdir(path, 0755);
	if (mount("probe", path, "tmpfs", 0, NULL) < 0)
		return -1;
	strcat(path, "/old");
	mkdir(path, 0755);
	unlink(s->victim_file); /* the last run may have given it away */
	rmdir(s->new_file);
	unlink(s->new_file);
	s->held_fd = make_file(s->victim_file, 0666, "victim");
	s->victim_fd = open(s->victim_file, O_RDONLY | O_CLOEXEC);
	snprintf(path, sizeof(path), "%s/tool", s->data_dir);
	s->exec_fd = copy_program("/bin/echo", make_file(path, 0755, ""));
	close(s->exec_fd); /* open for writing it could not be executed */
	s->exec_fd = open(path, O_RDONLY | O_CLOEXEC);
	s->mount_fd = open(s->scratch, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	s->root_fd = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	handle.head.handle_bytes = HANDLE_ROOM;
	if (s->held_fd < 0 || s->victim_fd < 0 || s->exec_fd < 0 || s->mount_fd < 0)
		return -1;
	return name_to_handle_at(AT_FDCWD, s->victim_file, &handle.head, &(int){0}, 0);
}

int scene_prepare(struct scene *s)
{
	const struct rlimit many = {BEFORE_NOFILE, BEFORE_NOFILE};

	make_names(s);
	if (setrlimit(RLIMIT_NOFILE, &many) < 0 || prepare_files(s) < 0)
		return -1;
	s->victim = make_victim();
	s->pidfd = (int)syscall(SYS_pidfd_open, s->victim, 0);
	s->parent = getppid();
	s->shm_id = shmget(s->shm_key = 0x616d7000 + (int)(getpid() & 0xfff), 4096, IPC_CREAT | 0666);
	s->netns_fd = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	/* Notification only, and marked at most on the harness' own tmpfs. */
	s->fanotify_fd = fanotify_init(FAN_CLASS_NOTIF | FAN_CLOEXEC | FAN_NONBLOCK, O_RDONLY);
	s->dgram_fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	s->stream_fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	s->tty_fd = open_terminal();
	amp_db_setup();
	if (s->victim < 0 || s->pidfd < 0 || s->netns_fd < 0 || s->dgram_fd < 0 || s->stream_fd < 0)
		return -1;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, s->pair) < 0)
		return -1;
	s->work = work_new(s);
	return s->work ? pipe2(s->pipe, O_CLOEXEC) : -1;
}

int scene_start_threads(void *scene)
{
	struct scene *s = scene;

	return work_start_threads(s->work);
}

/* --- files ------------------------------------------------------------- */

static long open_shadow(struct scene *s)
{
	(void)s;
	return syscall(SYS_openat, AT_FDCWD, "/etc/shadow", O_RDONLY | O_CLOEXEC);
}

static long open_flags(struct scene *s, const char *path, int flags)
{
	(void)s;
	return syscall(SYS_openat, AT_FDCWD, path, flags | O_CLOEXEC, 0600);
}

static long open_write(struct scene *s)
{
	return open_flags(s, s->victim_file, O_WRONLY);
}

static long open_read_write(struct scene *s)
{
	return open_flags(s, s->victim_file, O_RDWR);
}

static long open_append(struct scene *s)
{
	return open_flags(s, s->victim_file, O_WRONLY | O_APPEND);
}

static long open_truncate(struct scene *s)
{
	return open_flags(s, s->victim_file, O_RDONLY | O_TRUNC);
}

static long open_create(struct scene *s)
{
	return open_flags(s, s->new_file, O_RDONLY | O_CREAT);
}

static long open_tmpfile(struct scene *s)
{
	return open_flags(s, s->scratch, O_RDWR | O_TMPFILE);
}

static long open_upper_bits(struct scene *s)
{
	/* The kernel takes 32 bits of flags: so must the filter. */
	return syscall(SYS_openat, AT_FDCWD, s->victim_file, (0xffL << 32) | O_WRONLY | O_CLOEXEC, 0);
}

static long open_openat2(struct scene *s)
{
	struct open_how how = {.flags = O_RDONLY | O_CLOEXEC};

	return syscall(SYS_openat2, AT_FDCWD, s->victim_file, &how, sizeof(how));
}

static long open_reopen(struct scene *s)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", s->victim_fd);
	return open_flags(s, path, O_WRONLY);
}

static long open_device(struct scene *s)
{
	return open_flags(s, "/dev/null", O_WRONLY);
}

static long handle_read(struct scene *s)
{
	return syscall(SYS_open_by_handle_at, s->mount_fd, &handle.head, O_RDONLY | O_CLOEXEC);
}

static long handle_write(struct scene *s)
{
	return syscall(SYS_open_by_handle_at, s->mount_fd, &handle.head, O_RDWR | O_CLOEXEC);
}

static long file_unlink(struct scene *s)
{
	return syscall(SYS_unlinkat, AT_FDCWD, s->victim_file, 0);
}

static long file_rename(struct scene *s)
{
	return syscall(SYS_renameat2, AT_FDCWD, s->victim_file, AT_FDCWD, s->new_file, 0);
}

static long file_link(struct scene *s)
{
	return syscall(SYS_linkat, AT_FDCWD, s->victim_file, AT_FDCWD, s->new_file, 0);
}

static long file_symlink(struct scene *s)
{
	return syscall(SYS_symlinkat, "x", AT_FDCWD, s->new_file);
}

static long file_mkdir(struct scene *s)
{
	return syscall(SYS_mkdirat, AT_FDCWD, s->new_file, 0700);
}

static long file_mknod(struct scene *s)
{
	return syscall(SYS_mknodat, AT_FDCWD, s->new_file, S_IFIFO | 0600, 0);
}

static long file_truncate(struct scene *s)
{
	return syscall(SYS_truncate, s->victim_file, 0L);
}

static long file_chmod(struct scene *s)
{
	return syscall(SYS_fchmodat, AT_FDCWD, s->victim_file, 0777);
}

/* Landlock has no word on modes. */
static long file_chmod_close(struct scene *s)
{
	return syscall(SYS_fchmodat, AT_FDCWD, s->victim_file, 0);
}

static long file_chmod_old_close(struct scene *s)
{
#ifdef SYS_chmod
	return syscall(SYS_chmod, s->victim_file, 0);
#else
	return file_chmod_close(s);
#endif
}

/* The one mode that the engine's room gives to what it wipes. */
static long file_chmod_own(struct scene *s)
{
	return syscall(SYS_fchmodat, AT_FDCWD, s->victim_file, 0700);
}

static long file_fchmod_suid(struct scene *s)
{
	return syscall(SYS_fchmod, s->victim_fd, 04755);
}

static long file_chown(struct scene *s)
{
	return syscall(SYS_fchownat, AT_FDCWD, s->victim_file, s->uid, s->gid, 0);
}

static long file_setxattr(struct scene *s)
{
	return syscall(SYS_setxattr, s->victim_file, "trusted.amp", "x", 1L, 0);
}

static long file_utimes(struct scene *s)
{
	return syscall(SYS_utimensat, AT_FDCWD, s->victim_file, NULL, 0);
}

static long file_beyond_limit(struct scene *s)
{
	return syscall(SYS_ftruncate, s->held_fd, (long)s->role->file_size + 1);
}

static long file_write_other_fd(struct scene *s)
{
	return syscall(SYS_write, s->pipe[1], "x", 1L);
}

static long file_splice(struct scene *s)
{
	return syscall(SYS_splice, s->victim_fd, NULL, s->pipe[1], NULL, 1L, 0);
}

static long file_setlease(struct scene *s)
{
	return syscall(SYS_fcntl, s->exec_fd, F_SETLEASE, F_RDLCK);
}

static long file_async(struct scene *s)
{
	return syscall(SYS_fcntl, s->pair[0], F_SETFL, O_RDWR | O_ASYNC);
}

static long file_setown(struct scene *s)
{
	return syscall(SYS_fcntl, s->pair[0], F_SETOWN, s->victim);
}

static long file_many_fds(struct scene *s)
{
	for (int i = 0; i < 10000; i++)
		if (syscall(SYS_fcntl, s->victim_fd, F_DUPFD_CLOEXEC, 0) < 0)
			return -1;
	return 0;
}

static long file_inotify(struct scene *s)
{
	(void)s;
	return syscall(SYS_inotify_init1, IN_CLOEXEC);
}

static long fanotify_new(struct scene *s)
{
	(void)s;
	return syscall(SYS_fanotify_init, FAN_CLASS_NOTIF | FAN_CLOEXEC, O_RDONLY);
}

static long fanotify_add_mark(struct scene *s)
{
	return fanotify_mark(s->fanotify_fd, FAN_MARK_ADD, FAN_CLOSE_WRITE, AT_FDCWD, s->victim_file);
}

/* --- the view ---------------------------------------------------------- */

static long view_stat(struct scene *s)
{
	struct stat st;

	(void)s;
	return syscall(SYS_newfstatat, AT_FDCWD, "/etc/passwd", &st, 0);
}

static long view_proc(struct scene *s)
{
	struct stat st;

	(void)s;
	return syscall(SYS_newfstatat, AT_FDCWD, "/proc/self", &st, 0);
}

static long view_dot_dot(struct scene *s)
{
	struct stat st;

	(void)s;
	return syscall(SYS_newfstatat, AT_FDCWD, "/../../../../etc/passwd", &st, 0);
}

static long view_leaked_directory(struct scene *s)
{
	return syscall(SYS_openat, s->root_fd, "etc/passwd", O_RDONLY | O_CLOEXEC);
}

static long view_write_root(struct scene *s)
{
	int fd = (int)open_flags(s, "/amp-probe-was-here", O_WRONLY | O_CREAT);

	if (fd >= 0)
		syscall(SYS_unlinkat, AT_FDCWD, "/amp-probe-was-here", 0);
	return fd;
}

static long view_chroot(struct scene *s)
{
	return syscall(SYS_chroot, s->scratch);
}

static long view_fchdir(struct scene *s)
{
	return syscall(SYS_fchdir, s->root_fd);
}

static long view_mount(struct scene *s)
{
	char path[PATH_MAX + 16];

	snprintf(path, sizeof(path), "%s/mnt", s->scratch);
	return syscall(SYS_mount, "probe", path, "tmpfs", 0L, NULL);
}

static long view_umount(struct scene *s)
{
	char path[PATH_MAX + 16];

	snprintf(path, sizeof(path), "%s/mnt", s->scratch);
	return syscall(SYS_umount2, path, MNT_DETACH);
}

static long view_remount(struct scene *s)
{
	(void)s;
	return syscall(SYS_mount, NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL);
}

static long view_pivot_root(struct scene *s)
{
	char path[PATH_MAX + 16], old[PATH_MAX + 32];

	snprintf(path, sizeof(path), "%s/mnt", s->scratch);
	snprintf(old, sizeof(old), "%s/old", path);
	return syscall(SYS_pivot_root, path, old);
}

static long view_open_tree(struct scene *s)
{
	(void)s;
	return syscall(SYS_open_tree, AT_FDCWD, "/", 1 /* OPEN_TREE_CLONE */);
}

static long view_unshare_user(struct scene *s)
{
	(void)s;
	return syscall(SYS_unshare, CLONE_NEWUSER);
}

static long view_unshare_mount(struct scene *s)
{
	(void)s;
	return syscall(SYS_unshare, CLONE_NEWNS);
}

static long view_setns(struct scene *s)
{
	return syscall(SYS_setns, s->netns_fd, CLONE_NEWNET);
}

/* --- processes --------------------------------------------------------- */

static long process_execve(struct scene *s)
{
	char *const argv[] = {"echo", "ok", NULL}, *const env[] = {NULL};

	(void)s;
	return syscall(SYS_execve, "/bin/echo", argv, env);
}

static long process_execve_own(struct scene *s)
{
	char *const argv[] = {"echo", "ok", NULL}, *const env[] = {NULL};
	char path[PATH_MAX + 16];

	snprintf(path, sizeof(path), "%s/tool", s->own_dir);
	return syscall(SYS_execve, path, argv, env);
}

static long process_execveat(struct scene *s)
{
	char *const argv[] = {"echo", "ok", NULL}, *const env[] = {NULL};

	return syscall(SYS_execveat, s->exec_fd, "", argv, env, AT_EMPTY_PATH);
}

static long process_memfd(struct scene *s)
{
	(void)s;
	return syscall(SYS_memfd_create, "x", 0U);
}

static long process_clone(struct scene *s)
{
	long pid = syscall(SYS_clone, SIGCHLD, 0L, 0L, 0L, 0L);

	(void)s;
	if (pid == 0)
		_exit(0);
	return pid;
}

static long process_clone3(struct scene *s)
{
	struct clone_args args = {.exit_signal = SIGCHLD};
	long pid = syscall(SYS_clone3, &args, sizeof(args));

	(void)s;
	if (pid == 0)
		_exit(0);
	return pid;
}

static long process_ptrace(struct scene *s)
{
	return syscall(SYS_ptrace, PTRACE_SEIZE, s->victim, 0L, 0L);
}

static char memory_of_victim[8];

static long process_vm_read(struct scene *s)
{
	char mine[8];
	struct iovec local = {mine, sizeof(mine)}, remote = {memory_of_victim, sizeof(mine)};

	return syscall(SYS_process_vm_readv, s->victim, &local, 1L, &remote, 1L, 0L);
}

static long process_vm_write(struct scene *s)
{
	char mine[8] = "";
	struct iovec local = {mine, sizeof(mine)}, remote = {memory_of_victim, sizeof(mine)};

	return syscall(SYS_process_vm_writev, s->victim, &local, 1L, &remote, 1L, 0L);
}

static long process_kill(struct scene *s)
{
	return syscall(SYS_kill, s->victim, 0);
}

static long process_kill_parent(struct scene *s)
{
	return syscall(SYS_kill, s->parent, 0);
}

static long process_tgkill(struct scene *s)
{
	return syscall(SYS_tgkill, s->victim, s->victim, 0);
}

static long process_pidfd_open(struct scene *s)
{
	return syscall(SYS_pidfd_open, s->victim, 0);
}

static long process_pidfd_signal(struct scene *s)
{
	return syscall(SYS_pidfd_send_signal, s->pidfd, 0, NULL, 0);
}

static long process_pidfd_getfd(struct scene *s)
{
	return syscall(SYS_pidfd_getfd, s->pidfd, 1, 0);
}

static long process_exe_link(struct scene *s)
{
	char path[64], link[PATH_MAX];

	snprintf(path, sizeof(path), "/proc/%d/exe", (int)s->victim);
	return syscall(SYS_readlinkat, AT_FDCWD, path, link, sizeof(link));
}

static long process_exe_handle(struct scene *s)
{
	char path[64];
	int mount_id;

	snprintf(path, sizeof(path), "/proc/%d/exe", (int)s->victim);
	handle.head.handle_bytes = HANDLE_ROOM;
	return syscall(SYS_name_to_handle_at, AT_FDCWD, path, &handle.head, &mount_id, AT_SYMLINK_FOLLOW);
}

static long process_own_memory(struct scene *s)
{
	static const char text[] = "read-only";
	int fd = (int)open_flags(s, "/proc/self/mem", O_RDWR);

	return fd < 0 ? -1 : syscall(SYS_pwrite64, fd, "R", 1L, (off_t)(uintptr_t)text);
}

static long process_other_memory(struct scene *s)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/mem", (int)s->victim);
	return open_flags(s, path, O_RDONLY);
}

static long process_other_environment(struct scene *s)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/environ", (int)s->victim);
	return open_flags(s, path, O_RDONLY);
}

/* What another has open, through its link in /proc: also what has no name. */
static long process_other_fd(struct scene *s)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/fd/1", (int)s->victim);
	return open_flags(s, path, O_RDONLY);
}

static long process_prlimit(struct scene *s)
{
	const struct rlimit low = {16, 16};

	return syscall(SYS_prlimit64, s->victim, RLIMIT_NOFILE, &low, NULL);
}

static long process_raise_limit(struct scene *s)
{
	const struct rlimit high = {BEFORE_NOFILE, BEFORE_NOFILE};

	(void)s;
	return syscall(SYS_prlimit64, 0, RLIMIT_NOFILE, &high, NULL);
}

static long process_priority(struct scene *s)
{
	(void)s;
	return syscall(SYS_setpriority, PRIO_PROCESS, 0, -20);
}

static long process_mlock(struct scene *s)
{
	(void)s;
	return syscall(SYS_mlock, memory_of_victim, sizeof(memory_of_victim));
}

static long process_personality(struct scene *s)
{
	(void)s;
	return syscall(SYS_personality, READ_IMPLIES_EXEC);
}

/* --- ids --------------------------------------------------------------- */

static long ids_setuid(struct scene *s)
{
	(void)s;
	return syscall(SYS_setresuid, 0, 0, 0);
}

static long ids_setgid(struct scene *s)
{
	(void)s;
	return syscall(SYS_setresgid, 0, 0, 0);
}

static long ids_setgroups(struct scene *s)
{
	const gid_t root = 0;

	(void)s;
	return syscall(SYS_setgroups, 1, &root);
}

static long ids_setfsuid(struct scene *s)
{
	(void)s;
	syscall(SYS_setfsuid, 0);
	if (syscall(SYS_setfsuid, -1L) == 0)
		return 0;
	errno = EPERM; /* setfsuid(2) itself never says */
	return -1;
}

static long ids_capset(struct scene *s)
{
	struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[2] = {
		{.effective = 1U << CAP_SYS_ADMIN, .permitted = 1U << CAP_SYS_ADMIN}};

	(void)s;
	return syscall(SYS_capset, &head, data);
}

static long ids_ambient(struct scene *s)
{
	(void)s;
	return syscall(SYS_prctl, PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0L, 0L, 0L) < 0
		       ? -1
		       : syscall(SYS_prctl, PR_CAPBSET_DROP, (long)CAP_WAKE_ALARM, 0L, 0L, 0L);
}

static long ids_securebits(struct scene *s)
{
	(void)s;
	return syscall(SYS_prctl, PR_SET_SECUREBITS, (long)SECBIT_KEEP_CAPS, 0L, 0L, 0L);
}

static long ids_dumpable(struct scene *s)
{
	(void)s;
	return syscall(SYS_prctl, PR_SET_DUMPABLE, 1L, 0L, 0L, 0L);
}

static long ids_new_privs(struct scene *s)
{
	(void)s;
	return syscall(SYS_prctl, PR_SET_NO_NEW_PRIVS, 0L, 0L, 0L, 0L);
}

static long ids_parent_death(struct scene *s)
{
	(void)s;
	return syscall(SYS_prctl, PR_SET_PDEATHSIG, 0L, 0L, 0L, 0L);
}

static long ids_seccomp(struct scene *s)
{
	(void)s;
	return syscall(SYS_prctl, PR_GET_SECCOMP, 0L, 0L, 0L, 0L);
}

/* --- memory ------------------------------------------------------------ */

static long memory_map(int prot, int flags, int fd)
{
	void *p = mmap(NULL, 4096, prot, flags, fd, 0);

	return p == MAP_FAILED ? -1 : 0;
}

static long memory_mmap_exec(struct scene *s)
{
	(void)s;
	return memory_map(PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1);
}

static long memory_mmap_file_exec(struct scene *s)
{
	return memory_map(PROT_READ | PROT_EXEC, MAP_PRIVATE, s->exec_fd);
}

static long memory_mprotect_exec(struct scene *s)
{
	void *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	(void)s;
	return p == MAP_FAILED ? -1 : syscall(SYS_mprotect, p, 4096L, PROT_READ | PROT_EXEC);
}

static long memory_pkey_exec(struct scene *s)
{
	void *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	(void)s;
	return p == MAP_FAILED ? -1 : syscall(SYS_pkey_mprotect, p, 4096L, PROT_READ | PROT_EXEC, -1);
}

static long memory_shmget(struct scene *s)
{
	/* Made before the drop, in the host's IPC namespace, and already marked to go. */
	return syscall(SYS_shmget, s->shm_key, 4096L, 0);
}

static long memory_shmat(struct scene *s)
{
	return syscall(SYS_shmat, s->shm_id, NULL, SHM_RDONLY);
}

/* --- network and sockets ----------------------------------------------- */

static long net_socket(int family, int type, int protocol)
{
	return syscall(SYS_socket, family, type | SOCK_CLOEXEC, protocol);
}

static long net_inet(struct scene *s)
{
	(void)s;
	return net_socket(AF_INET, SOCK_STREAM, 0);
}

static long net_unix(struct scene *s)
{
	(void)s;
	return net_socket(AF_UNIX, SOCK_STREAM, 0);
}

static long net_netlink(struct scene *s)
{
	(void)s;
	return net_socket(AF_NETLINK, SOCK_RAW, 0);
}

static long net_packet(struct scene *s)
{
	(void)s;
	return net_socket(AF_PACKET, SOCK_RAW, 0);
}

static long net_socketpair(struct scene *s)
{
	return syscall(SYS_socketpair, AF_UNIX, SOCK_STREAM, 0, s->pair);
}

static struct sockaddr_in local_port(int port)
{
	return (struct sockaddr_in){
		.sin_family = AF_INET,
		.sin_port = htons((uint16_t)port),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
}

/* A new socket, so of the room's own network. */
static long net_connect(struct scene *s)
{
	const struct sockaddr_in to = local_port(s->port);
	long fd = net_socket(AF_INET, SOCK_STREAM, 0);

	return fd < 0 ? -1 : syscall(SYS_connect, fd, &to, sizeof(to));
}

/* A socket of the host's network that somebody forgot to close. */
static long net_connect_held(struct scene *s)
{
	const struct sockaddr_in to = local_port(s->port);

	return syscall(SYS_connect, s->stream_fd, &to, sizeof(to));
}

static long net_bind_held(struct scene *s)
{
	const struct sockaddr_in at = local_port(0);

	return syscall(SYS_bind, s->stream_fd, &at, sizeof(at));
}

static long net_listen_held(struct scene *s)
{
	return syscall(SYS_listen, s->stream_fd, 1);
}

static socklen_t unix_name(struct sockaddr_un *un, const char *dir, const char *name)
{
	*un = (struct sockaddr_un){.sun_family = AF_UNIX};
	snprintf(un->sun_path, sizeof(un->sun_path), "%.60s/%s", dir, name);
	return sizeof(*un);
}

static long net_abstract(struct scene *s)
{
	struct sockaddr_un to = {.sun_family = AF_UNIX, .sun_path = "\0amp-probe"};
	long fd = net_socket(AF_UNIX, SOCK_STREAM, 0);

	(void)s;
	return fd < 0 ? -1 : syscall(SYS_connect, fd, &to, offsetof(struct sockaddr_un, sun_path) + 10);
}

static long net_sendto_address(struct scene *s)
{
	struct sockaddr_un to;
	socklen_t n = unix_name(&to, s->scratch, "dgram");

	return syscall(SYS_sendto, s->dgram_fd, "x", 1L, MSG_DONTWAIT, &to, n);
}

/* On what a room has, a connected pair: the address must not count. */
static long net_sendmsg_address(struct scene *s)
{
	struct sockaddr_un to;
	struct iovec part = {"x", 1};
	struct msghdr m = {.msg_name = &to, .msg_iov = &part, .msg_iovlen = 1};
	char c;

	m.msg_namelen = unix_name(&to, s->scratch, "dgram");
	if (syscall(SYS_sendmsg, s->pair[0], &m, MSG_DONTWAIT) < 0)
		return -1;
	if (syscall(SYS_recvfrom, s->pair[1], &c, 1L, MSG_DONTWAIT, NULL, NULL) != 1)
		return 0; /* it went elsewhere */
	errno = EISCONN;
	return -1;
}

static long net_option(struct scene *s)
{
	return syscall(SYS_setsockopt, s->pair[0], SOL_SOCKET, SO_PASSCRED, &(int){1}, sizeof(int));
}

/* --- the kernel -------------------------------------------------------- */

static long kernel_bpf(struct scene *s)
{
	union bpf_attr attr = {0};

	(void)s;
	attr.map_type = BPF_MAP_TYPE_ARRAY;
	attr.key_size = attr.value_size = 4;
	attr.max_entries = 1;
	return syscall(SYS_bpf, BPF_MAP_CREATE, &attr, sizeof(attr));
}

static long kernel_io_uring(struct scene *s)
{
	struct io_uring_params p = {0};

	(void)s;
	return syscall(SYS_io_uring_setup, 4, &p);
}

static long kernel_perf(struct scene *s)
{
	struct perf_event_attr attr = {.type = PERF_TYPE_SOFTWARE, .size = sizeof(attr)};

	(void)s;
	return syscall(SYS_perf_event_open, &attr, -1, 0, -1, 0L);
}

static long kernel_keyctl(struct scene *s)
{
	(void)s;
	return syscall(SYS_keyctl, KEYCTL_GET_KEYRING_ID, KEY_SPEC_SESSION_KEYRING, 1);
}

static long kernel_userfaultfd(struct scene *s)
{
	(void)s;
	return syscall(SYS_userfaultfd, O_CLOEXEC);
}

static long kernel_init_module(struct scene *s)
{
	(void)s;
	return syscall(SYS_init_module, "x", 1L, "");
}

static long kernel_reboot(struct scene *s)
{
	(void)s;
	return syscall(SYS_reboot, 0, 0, 0, NULL); /* no magic: refused to everybody */
}

static long kernel_settimeofday(struct scene *s)
{
	(void)s;
	return syscall(SYS_settimeofday, NULL, NULL);
}

static long kernel_sethostname(struct scene *s)
{
	(void)s;
	return syscall(SYS_sethostname, "", -1); /* the length is refused after the right is looked at */
}

static long kernel_tiocsti(struct scene *s)
{
	return syscall(SYS_ioctl, s->tty_fd, TIOCSTI, "x");
}

static long kernel_ioctl(struct scene *s)
{
	int flags;

	return syscall(SYS_ioctl, s->victim_fd, FS_IOC_GETFLAGS, &flags);
}

static long kernel_syslog(struct scene *s)
{
	char buf[16];

	(void)s;
	return syscall(SYS_syslog, 3, buf, sizeof(buf));
}

static long kernel_unknown(struct scene *s)
{
	(void)s;
	return syscall(4000);
}

#ifdef __x86_64__
/* getpid of the 32-bit ABI: other numbers, so another way in. */
static long kernel_other_abi(struct scene *s)
{
	long rc = 20;

	(void)s;
	__asm__ volatile("int $0x80" : "+a"(rc) : : "memory", "r8", "r9", "r10", "r11");
	return rc < 0 ? -1 : rc;
}
#else
static long kernel_other_abi(struct scene *s)
{
	(void)s;
	return syscall(4000);
}
#endif

/* --- what must work, and how a room may die ----------------------------- */

static bool write_rows(struct amp_db *db)
{
	char sql[128];

	if (sqlite3_exec(amp_db_handle(db), "BEGIN", NULL, NULL, NULL) != SQLITE_OK)
		return false;
	for (int i = 0; i < 5000; i++) {
		snprintf(sql, sizeof(sql), "INSERT INTO t VALUES(%d, hex(randomblob(40)))", i);
		if (sqlite3_exec(amp_db_handle(db), sql, NULL, NULL, NULL) != SQLITE_OK)
			return false;
	}
	return sqlite3_exec(amp_db_handle(db), "COMMIT; SELECT * FROM t ORDER BY 2; DELETE FROM t; VACUUM",
			    NULL, NULL, NULL) == SQLITE_OK;
}

static long work_database(struct scene *s)
{
	static const char *const migrations[] = {"CREATE TABLE t(a, b)", NULL};
	char path[PATH_MAX + 16], reserve[PATH_MAX + 16];
	const struct amp_db_config c = {
		.path = path, .migrations = migrations, .reserve_path = reserve, .reserve_size = 65536};
	enum amp_db_error error;
	struct amp_db *db;
	bool broken, done;

	snprintf(path, sizeof(path), "%s/events.db", s->own_dir);
	snprintf(reserve, sizeof(reserve), "%s/reserve", s->own_dir);
	db = amp_db_open(&c, &broken, &error);
	errno = EIO;
	if (!db)
		return -1;
	amp_db_restore_reserve(db);
	amp_db_release_reserve(db);
	done = write_rows(db);
	if (done && amp_db_set_aside(db) == 0)
		return 0;
	errno = EIO;
	return -1;
}

static long work_list_directory(struct scene *s)
{
	char buf[4096];
	int fd = (int)open_flags(s, s->dropped && s->role->view == AMP_VIEW_PIVOTED ? "/" : s->scratch,
				 O_RDONLY | O_DIRECTORY);

	return fd < 0 ? -1 : syscall(SYS_getdents64, fd, buf, sizeof(buf));
}

/* Memory of every size, clocks, calendar: the C library must not need more. */
static long work_library(struct scene *s)
{
	time_t now = time(NULL);
	struct timespec ts = {0, 1000};
	struct tm tm;
	char *p = NULL;

	(void)s;
	for (size_t n = 1; n < (64U << 20); n *= 2) {
		p = realloc(p, n);
		if (!p)
			return -1;
		memset(p, 1, n);
	}
	free(p);
	malloc_trim(0);
	nanosleep(&ts, NULL);
	return gmtime_r(&now, &tm) && localtime_r(&now, &tm) && strerror(EACCES) ? 0 : -1;
}

/* Everything that all rooms share, as lib/room.c uses it. */
static long work_room(struct scene *s)
{
	return work_run(s->work);
}

static long work_abort(struct scene *s)
{
	(void)s;
	abort();
}

const struct attempt attempts[] = {
	{"open-shadow", open_shadow},
	{"open-write", open_write},
	{"open-read-write", open_read_write},
	{"open-append", open_append},
	{"open-truncate", open_truncate},
	{"open-create", open_create},
	{"open-tmpfile", open_tmpfile},
	{"open-upper-bits", open_upper_bits},
	{"open-openat2", open_openat2},
	{"open-reopen", open_reopen},
	{"open-device", open_device},
	{"handle-read", handle_read},
	{"handle-write", handle_write},
	{"file-unlink", file_unlink},
	{"file-rename", file_rename},
	{"file-link", file_link},
	{"file-symlink", file_symlink},
	{"file-mkdir", file_mkdir},
	{"file-mknod", file_mknod},
	{"file-truncate", file_truncate},
	{"file-chmod", file_chmod},
	{"file-chmod-close", file_chmod_close},
	{"file-chmod-old-close", file_chmod_old_close},
	{"file-chmod-own", file_chmod_own},
	{"file-fchmod-suid", file_fchmod_suid},
	{"file-chown", file_chown},
	{"file-setxattr", file_setxattr},
	{"file-utimes", file_utimes},
	{"file-beyond-limit", file_beyond_limit},
	{"file-write-other-fd", file_write_other_fd},
	{"file-splice", file_splice},
	{"file-setlease", file_setlease},
	{"file-async", file_async},
	{"file-setown", file_setown},
	{"file-many-fds", file_many_fds},
	{"file-inotify", file_inotify},
	{"fanotify-new", fanotify_new},
	{"fanotify-mark", fanotify_add_mark},
	{"view-stat", view_stat},
	{"view-proc", view_proc},
	{"view-dot-dot", view_dot_dot},
	{"view-leaked-directory", view_leaked_directory},
	{"view-write-root", view_write_root},
	{"view-chroot", view_chroot},
	{"view-fchdir", view_fchdir},
	{"view-mount", view_mount},
	{"view-umount", view_umount},
	{"view-remount", view_remount},
	{"view-pivot-root", view_pivot_root},
	{"view-open-tree", view_open_tree},
	{"view-unshare-user", view_unshare_user},
	{"view-unshare-mount", view_unshare_mount},
	{"view-setns", view_setns},
	{"process-execve", process_execve},
	{"process-execve-own", process_execve_own},
	{"process-execveat", process_execveat},
	{"process-memfd", process_memfd},
	{"process-clone", process_clone},
	{"process-clone3", process_clone3},
	{"process-ptrace", process_ptrace},
	{"process-vm-read", process_vm_read},
	{"process-vm-write", process_vm_write},
	{"process-kill", process_kill},
	{"process-kill-parent", process_kill_parent},
	{"process-tgkill", process_tgkill},
	{"process-pidfd-open", process_pidfd_open},
	{"process-pidfd-signal", process_pidfd_signal},
	{"process-pidfd-getfd", process_pidfd_getfd},
	{"process-exe-link", process_exe_link},
	{"process-exe-handle", process_exe_handle},
	{"process-own-memory", process_own_memory},
	{"process-other-memory", process_other_memory},
	{"process-other-environment", process_other_environment},
	{"process-other-fd", process_other_fd},
	{"process-prlimit", process_prlimit},
	{"process-raise-limit", process_raise_limit},
	{"process-priority", process_priority},
	{"process-mlock", process_mlock},
	{"process-personality", process_personality},
	{"ids-setuid", ids_setuid},
	{"ids-setgid", ids_setgid},
	{"ids-setgroups", ids_setgroups},
	{"ids-setfsuid", ids_setfsuid},
	{"ids-capset", ids_capset},
	{"ids-ambient", ids_ambient},
	{"ids-securebits", ids_securebits},
	{"ids-dumpable", ids_dumpable},
	{"ids-new-privs", ids_new_privs},
	{"ids-parent-death", ids_parent_death},
	{"ids-seccomp", ids_seccomp},
	{"memory-mmap-exec", memory_mmap_exec},
	{"memory-mmap-file-exec", memory_mmap_file_exec},
	{"memory-mprotect-exec", memory_mprotect_exec},
	{"memory-pkey-exec", memory_pkey_exec},
	{"memory-shmget", memory_shmget},
	{"memory-shmat", memory_shmat},
	{"net-inet", net_inet},
	{"net-unix", net_unix},
	{"net-netlink", net_netlink},
	{"net-packet", net_packet},
	{"net-socketpair", net_socketpair},
	{"net-connect", net_connect},
	{"net-connect-held", net_connect_held},
	{"net-bind-held", net_bind_held},
	{"net-listen-held", net_listen_held},
	{"net-abstract", net_abstract},
	{"net-sendto-address", net_sendto_address},
	{"net-sendmsg-address", net_sendmsg_address},
	{"net-option", net_option},
	{"kernel-bpf", kernel_bpf},
	{"kernel-io-uring", kernel_io_uring},
	{"kernel-perf", kernel_perf},
	{"kernel-keyctl", kernel_keyctl},
	{"kernel-userfaultfd", kernel_userfaultfd},
	{"kernel-init-module", kernel_init_module},
	{"kernel-reboot", kernel_reboot},
	{"kernel-settimeofday", kernel_settimeofday},
	{"kernel-sethostname", kernel_sethostname},
	{"kernel-tiocsti", kernel_tiocsti},
	{"kernel-ioctl", kernel_ioctl},
	{"kernel-syslog", kernel_syslog},
	{"kernel-unknown", kernel_unknown},
	{"kernel-other-abi", kernel_other_abi},
	{"work-database", work_database},
	{"work-list-directory", work_list_directory},
	{"work-library", work_library},
	{"work-room", work_room},
	{"work-abort", work_abort},
	{NULL, NULL},
};
