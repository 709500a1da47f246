/*
 * lib/landlock.c - the Landlock wall (landlock.h).
 *
 * Owns: the ruleset. Must not own: the order of the drop. The structures are
 * our own copies: the headers may be older than the kernel that runs this.
 */
#include "landlock.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef LANDLOCK_ACCESS_FS_REFER
#define LANDLOCK_ACCESS_FS_REFER (1ULL << 13)
#endif
#ifndef LANDLOCK_ACCESS_FS_TRUNCATE
#define LANDLOCK_ACCESS_FS_TRUNCATE (1ULL << 14)
#endif
#ifndef LANDLOCK_ACCESS_FS_IOCTL_DEV
#define LANDLOCK_ACCESS_FS_IOCTL_DEV (1ULL << 15)
#endif
#ifndef LANDLOCK_ACCESS_NET_BIND_TCP
#define LANDLOCK_ACCESS_NET_BIND_TCP	(1ULL << 0)
#define LANDLOCK_ACCESS_NET_CONNECT_TCP (1ULL << 1)
#endif
#ifndef LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET
#define LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET (1ULL << 0)
#define LANDLOCK_SCOPE_SIGNAL		    (1ULL << 1)
#endif

#define READ_RIGHTS (LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR)
#define ABI1_RIGHTS                                                                                          \
	(LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_REMOVE_DIR |        \
	 LANDLOCK_ACCESS_FS_REMOVE_FILE | LANDLOCK_ACCESS_FS_MAKE_CHAR | LANDLOCK_ACCESS_FS_MAKE_DIR |       \
	 LANDLOCK_ACCESS_FS_MAKE_REG | LANDLOCK_ACCESS_FS_MAKE_SOCK | LANDLOCK_ACCESS_FS_MAKE_FIFO |         \
	 LANDLOCK_ACCESS_FS_MAKE_BLOCK | LANDLOCK_ACCESS_FS_MAKE_SYM)
/* SQLite's files: made, written, shortened and removed, all regular. */
#define OWN_DIR_RIGHTS                                                                                       \
	(READ_RIGHTS | LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_MAKE_REG |                         \
	 LANDLOCK_ACCESS_FS_REMOVE_FILE | LANDLOCK_ACCESS_FS_TRUNCATE)

/* libclamav's: directories too. */
#define TREE_RIGHTS (OWN_DIR_RIGHTS | LANDLOCK_ACCESS_FS_MAKE_DIR | LANDLOCK_ACCESS_FS_REMOVE_DIR)

/* struct landlock_ruleset_attr as of ABI 6. */
struct ruleset {
	uint64_t fs;
	uint64_t net;	 /* ABI 4 */
	uint64_t scoped; /* ABI 6 */
};

/* What an ABI added, and how much of the structure it knows. */
static const struct version {
	int abi;
	struct ruleset adds;
	size_t size;
} versions[] = {
	{1, {ABI1_RIGHTS, 0, 0}, offsetof(struct ruleset, net)},
	{2, {LANDLOCK_ACCESS_FS_REFER, 0, 0}, offsetof(struct ruleset, net)},
	{3, {LANDLOCK_ACCESS_FS_TRUNCATE, 0, 0}, offsetof(struct ruleset, net)},
	{4,
	 {0, LANDLOCK_ACCESS_NET_BIND_TCP | LANDLOCK_ACCESS_NET_CONNECT_TCP, 0},
	 offsetof(struct ruleset, scoped)},
	{5, {LANDLOCK_ACCESS_FS_IOCTL_DEV, 0, 0}, offsetof(struct ruleset, scoped)},
	{6, {0, 0, LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET | LANDLOCK_SCOPE_SIGNAL}, sizeof(struct ruleset)},
};

int amp_landlock_abi(void)
{
	long abi = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);

	return abi > 0 ? (int)abi : 0;
}

/* Everything the kernel's ABI knows; returns the structure's size for it. */
static size_t rights_of_abi(int abi, struct ruleset *rs)
{
	size_t size = 0;

	*rs = (struct ruleset){0};
	for (size_t i = 0; i < sizeof(versions) / sizeof(versions[0]) && versions[i].abi <= abi; i++) {
		rs->fs |= versions[i].adds.fs;
		rs->net |= versions[i].adds.net;
		rs->scoped |= versions[i].adds.scoped;
		size = versions[i].size;
	}
	return size;
}

static int allow_below(int ruleset, const char *dir, uint64_t rights)
{
	struct landlock_path_beneath_attr rule = {.allowed_access = rights};
	long rc;

	rule.parent_fd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (rule.parent_fd < 0)
		return -1;
	rc = syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule, 0);
	close(rule.parent_fd);
	return (int)rc;
}

static int apply(const char *writable_dir, uint64_t rights)
{
	struct ruleset rs;
	size_t size = rights_of_abi(amp_landlock_abi(), &rs);
	int fd, rc = 0;

	if (size == 0)
		return 0;
	if (writable_dir)
		rs.fs |= READ_RIGHTS;
	fd = (int)syscall(SYS_landlock_create_ruleset, &rs, size, 0);
	if (fd < 0)
		return -1;
	if (writable_dir)
		rc = allow_below(fd, writable_dir, rights & rs.fs);
	if (rc == 0)
		rc = (int)syscall(SYS_landlock_restrict_self, fd, 0);
	close(fd);
	return rc;
}

int amp_landlock_apply(const char *writable_dir)
{
	return apply(writable_dir, OWN_DIR_RIGHTS);
}

int amp_landlock_apply_tree(const char *writable_dir)
{
	return apply(writable_dir, TREE_RIGHTS);
}
