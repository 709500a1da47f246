/*
 * tests/unit/test_meta.c - what a file has beside its content is gathered and
 * given back exactly: on tmpfs and on ext4, where they can be had (root).
 */
#include "cloudtest.h"

#include "ampquard/meta.h"
#include "ampquard/vaultformat.h"
#include "tests/unit/skip.h"

#include <endian.h>
#include <linux/fs.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <sys/xattr.h>

#define ACL	   "system.posix_acl_access"
#define DEFAULT	   "system.posix_acl_default"
#define CAPABILITY "security.capability"
#define NOBODY	   ((uid_t)65534)

/* Version, then {tag, permissions, id}: as the kernel has it. */
static const uint32_t acl[] = {
	2,	    6U << 16 | 0x01, UINT32_MAX, 4U << 16 | 0x02, 1000,	      5U << 16 | 0x04,
	UINT32_MAX, 4U << 16 | 0x10, UINT32_MAX, 0U << 16 | 0x20, UINT32_MAX,
};
/* Revision 2, effective; cap_net_raw. */
static const uint32_t capability[] = {0x02000001, 1U << 13, 0, 0, 0};

static uid_t began; /* as root of our own user namespace we are none */

static bool is_root(void)
{
	if (began == 0)
		return true;
	print_message("NOT TESTED, owners and privileges: not root\n");
	return false;
}

static int make(const struct test_dir *d, const char *name)
{
	int fd = open(dir_file(d, name), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	return fd;
}

static void set(int fd, const char *name, const void *value, size_t n)
{
	assert_int_equal(fsetxattr(fd, name, value, n, 0), 0);
}

static void times_of(int fd, time_t a, time_t m)
{
	const struct timespec t[2] = {{a, 123456789}, {m, 987654321}};

	assert_int_equal(futimens(fd, t), 0);
}

static Amp__VaultMeta gathered(int fd)
{
	Amp__VaultMeta m = AMP__VAULT_META__INIT;

	assert_int_equal(meta_gather(fd, &m), 0);
	return m;
}

static const Amp__VaultXattr *find(const Amp__VaultMeta *m, const char *name)
{
	for (size_t i = 0; i < m->n_xattrs; i++)
		if (m->xattrs[i]->name.len == strlen(name) &&
		    memcmp(m->xattrs[i]->name.data, name, strlen(name)) == 0)
			return m->xattrs[i];
	return NULL;
}

/* Everything but the number of links, and `but`, an attribute. */
static void same(const Amp__VaultMeta *a, const Amp__VaultMeta *b, const char *but)
{
	size_t missing = but && find(a, but) ? 1 : 0;

	assert_int_equal(a->uid, b->uid);
	assert_int_equal(a->gid, b->gid);
	assert_int_equal(a->atime_s, b->atime_s);
	assert_int_equal(a->atime_ns, b->atime_ns);
	assert_int_equal(a->mtime_s, b->mtime_s);
	assert_int_equal(a->mtime_ns, b->mtime_ns);
	assert_int_equal(a->inode_flags, b->inode_flags);
	assert_int_equal(a->n_xattrs - missing, b->n_xattrs);
	for (size_t i = 0; i < b->n_xattrs; i++) {
		char name[256] = "";
		const Amp__VaultXattr *x;

		memcpy(name, b->xattrs[i]->name.data, b->xattrs[i]->name.len);
		x = find(a, name);
		assert_non_null(x);
		assert_int_equal(x->value.len, b->xattrs[i]->value.len);
		assert_memory_equal(x->value.data, b->xattrs[i]->value.data, x->value.len);
	}
}

static bool left_says(const struct meta_left *left, const char *text)
{
	for (size_t i = 0; i < left->count; i++)
		if (strstr(left->text[i], text))
			return true;
	return false;
}

static void show(const struct meta_left *left)
{
	for (size_t i = 0; i < left->count; i++)
		print_message("left: %s\n", left->text[i]);
}

/* ---- file systems ---- */

static bool mount_ext4(struct test_dir *d, char image[80])
{
	char command[512];

	dir_make(d);
	snprintf(image, 80, "%s.img", d->path);
	snprintf(command, sizeof(command), "truncate -s 16M %s && mkfs.ext4 -q %s && mount -o loop %s %s",
		 image, image, image, d->path);
	d->mounted = own_mounts() && system(command) == 0;
	return d->mounted;
}

struct place {
	struct test_dir dir;
	char image[80];
};

static int on_tmpfs(void **state)
{
	struct place *p = calloc(1, sizeof(*p));

	assert_non_null(p);
	*state = p;
	if (!dir_small(&p->dir, 16384))
		print_message("in /tmp instead\n");
	return 0;
}

static int on_ext4(void **state)
{
	struct place *p = calloc(1, sizeof(*p));

	assert_non_null(p);
	*state = p;
	if (!mount_ext4(&p->dir, p->image))
		print_message("NOT TESTED on ext4: no loop mount possible here\n");
	return 0;
}

static int leave(void **state)
{
	struct place *p = *state;

	if (p->image[0])
		unlink(p->image);
	dir_remove(&p->dir);
	free(p);
	return 0;
}

#define NEEDED(p)                                                                                            \
	do {                                                                                                 \
		if (!is_root() || !(p)->dir.mounted)                                                         \
			SKIP_WITHOUT("root and a file system of its own");                                   \
	} while (0)

/* ---- exact ---- */

/* A file with everything. */
static int make_rich(const struct test_dir *d, const char *name)
{
	static const uint8_t bytes[] = {0, 1, 0xff, '\n'};
	int fd = make(d, name);

	assert_int_equal(write(fd, "content", 7), 7);
	assert_int_equal(fchown(fd, 1234, 4321), 0);
	set(fd, "user.plain", "value", 5);
	set(fd, "user.empty", "", 0);
	set(fd, "user.bytes \xff\n", bytes, sizeof(bytes));
	set(fd, "trusted.mine", "t", 1);
	set(fd, ACL, acl, sizeof(acl));
	assert_int_equal(fchmod(fd, 06754), 0);
	set(fd, CAPABILITY, capability, sizeof(capability));
	times_of(fd, -5, 1700000000);
	return fd;
}

static void test_exact(void **state)
{
	struct place *p = *state;
	struct meta_left left = {0};
	Amp__VaultMeta old, new;
	int a, b;

	NEEDED(p);
	a = make_rich(&p->dir, "old");
	old = gathered(a);
	assert_int_equal(old.n_xattrs, 6);
	assert_int_equal(old.n_xattrs_unread, 0);
	assert_int_equal(old.uid, 1234);
	assert_int_equal(old.mode, S_IFREG | 06754);
	assert_int_equal(old.nlink, 1);
	assert_int_equal(find(&old, "user.empty")->value.len, 0);
	b = make(&p->dir, "new");
	assert_int_equal(write(b, "content", 7), 7);
	meta_apply(b, &old, true, &left);
	times_of(b, 1, 2); /* whatever happened until it had its name */
	meta_apply_last(b, &old, &left);
	show(&left);
	assert_int_equal(left.count, 0);
	new = gathered(b);
	same(&old, &new, NULL);
	assert_int_equal(new.mode, old.mode);
	meta_free(&old);
	meta_free(&new);
	close(a);
	close(b);
}

static void test_stripped(void **state)
{
	struct place *p = *state;
	struct meta_left left = {0};
	Amp__VaultMeta old, new;
	int a, b;

	NEEDED(p);
	a = make_rich(&p->dir, "old");
	old = gathered(a);
	b = make(&p->dir, "new");
	meta_apply(b, &old, false, &left);
	meta_apply_last(b, &old, &left);
	assert_int_equal(left.count, 2);
	assert_true(left_says(&left, "file capabilities"));
	assert_true(left_says(&left, "mode 0754, was 6754"));
	new = gathered(b);
	same(&old, &new, CAPABILITY);
	assert_null(find(&new, CAPABILITY));
	assert_int_equal(new.mode, S_IFREG | 0754);
	meta_left_free(&left);
	assert_int_equal(left.count, 0);
	meta_free(&old);
	meta_free(&new);
	close(a);
	close(b);
}

/* A directory's default ACL gives the new file what the old one had not. */
static void test_inherited(void **state)
{
	struct place *p = *state;
	struct meta_left left = {0};
	Amp__VaultMeta old, new;
	int a, b;

	NEEDED(p);
	a = make(&p->dir, "old");
	assert_int_equal(fchmod(a, 0640), 0);
	old = gathered(a);
	assert_null(find(&old, ACL));
	assert_int_equal(setxattr(p->dir.path, DEFAULT, acl, sizeof(acl), 0), 0);
	b = make(&p->dir, "new");
	assert_true(fgetxattr(b, ACL, NULL, 0) > 0);
	set(b, "user.surplus", "x", 1);
	meta_apply(b, &old, true, &left);
	meta_apply_last(b, &old, &left);
	show(&left);
	assert_int_equal(left.count, 0);
	new = gathered(b);
	assert_int_equal(new.n_xattrs, old.n_xattrs);
	assert_int_equal(new.mode, S_IFREG | 0640);
	meta_free(&old);
	meta_free(&new);
	close(a);
	close(b);
}

static void test_flags(void **state)
{
	const uint32_t own = FS_IMMUTABLE_FL | FS_APPEND_FL | FS_NODUMP_FL | FS_NOATIME_FL;
	struct place *p = *state;
	struct meta_left left = {0};
	Amp__VaultMeta old, new;
	int a, b;

	NEEDED(p);
	a = make(&p->dir, "old");
	times_of(a, 100, 200);
	if (meta_set_flags(a, meta_flags(a) | own) < 0) {
		print_message("NOT TESTED, flags: %s\n", strerror(errno));
		close(a);
		SKIP_WITHOUT("file flags");
	}
	old = gathered(a);
	assert_int_equal(old.inode_flags & own, own);
	b = make(&p->dir, "new");
	meta_apply(b, &old, false, &left);
	assert_int_equal(meta_flags(b) & own, 0); /* only when it has its name */
	meta_apply_last(b, &old, &left);
	show(&left);
	assert_int_equal(left.count, 0);
	new = gathered(b);
	same(&old, &new, NULL);
	assert_int_equal(ftruncate(b, 0), -1);
	for (int i = 0; i < 2; i++) { /* the second time there is nothing to do */
		assert_int_equal(meta_unlock(a), 0);
		assert_int_equal(meta_unlock(b), 0);
	}
	assert_int_equal(meta_flags(b) & own, FS_NODUMP_FL | FS_NOATIME_FL);
	old.inode_flags &= ~own;
	meta_apply_last(b, &old, &left); /* what the old had not is cleared */
	assert_int_equal(meta_flags(b) & own, 0);
	meta_free(&old);
	meta_free(&new);
	close(a);
	close(b);
}

/* One flag that cannot be does not keep the others away. */
static void test_flag_refused(void **state)
{
	struct place *p = *state;
	struct meta_left left = {0};
	Amp__VaultMeta m;
	int fd;

	NEEDED(p);
	fd = make(&p->dir, "file");
	m = gathered(fd);
	m.inode_flags |= FS_NODUMP_FL | FS_NOCOW_FL | FS_VERITY_FL;
	meta_apply_last(fd, &m, &left);
	assert_true(left_says(&left, "no copy on write"));
	assert_true(left_says(&left, "verity"));
	assert_int_equal(left.count, 2);
	assert_int_equal(meta_flags(fd) & FS_NODUMP_FL, FS_NODUMP_FL);
	meta_left_free(&left);
	meta_free(&m);
	close(fd);
}

/* ---- what cannot be ---- */

static void test_left(void **state)
{
	static uint8_t odd[] = "nonsense \xff\n", long_name[300], zero[] = "user.\0x";
	Amp__VaultXattr x[3] = {AMP__VAULT_XATTR__INIT, AMP__VAULT_XATTR__INIT, AMP__VAULT_XATTR__INIT};
	Amp__VaultXattr *list[3] = {&x[0], &x[1], &x[2]};
	ProtobufCBinaryData unread[2] = {{8, (uint8_t *)(uintptr_t) "user.bad"},
					 {1, (uint8_t *)(uintptr_t) "*"}};
	struct place *p = *state;
	struct meta_left left = {0};
	Amp__VaultMeta m = AMP__VAULT_META__INIT;
	int fd = make(&p->dir, "file");

	memset(long_name, 'n', sizeof(long_name));
	x[0].name = (ProtobufCBinaryData){sizeof(odd) - 1, odd};
	x[1].name = (ProtobufCBinaryData){sizeof(long_name), long_name};
	x[2].name = (ProtobufCBinaryData){sizeof(zero) - 1, zero};
	m.xattrs = list;
	m.n_xattrs = 3;
	m.xattrs_unread = unread;
	m.n_xattrs_unread = 2;
	m.uid = geteuid();
	m.gid = getegid();
	m.mode = 0600;
	meta_apply(fd, &m, true, &left);
	assert_int_equal(left.count, 5);
	assert_true(left_says(&left, "attribute nonsense \\xff\\x0a: Operation not supported"));
	assert_true(left_says(&left, "no valid name"));
	assert_true(left_says(&left, "user.bad: could not be read"));
	assert_true(left_says(&left, "could not be listed"));
	meta_left_free(&left);
	close(fd);
}

static int as_nobody(int fd, const Amp__VaultMeta *m)
{
	struct meta_left left = {0};

	if (setresgid(NOBODY, NOBODY, NOBODY) < 0 || setresuid(NOBODY, NOBODY, NOBODY) < 0)
		return 1;
	meta_apply(fd, m, true, &left);
	meta_apply_last(fd, m, &left);
	show(&left);
	if (!left_says(&left, "owner 1234 and group 4321: Operation not permitted"))
		return 2;
	if (!left_says(&left, "attribute trusted.mine: Operation not permitted"))
		return 3;
	if (!left_says(&left, "attribute " CAPABILITY ": Operation not permitted"))
		return 4;
	if (!left_says(&left, "made it 4754")) /* set-group-ID of a foreign group goes silently */
		return 5;
	return left.count == 4 ? 0 : 6;
}

static void test_without_privilege(void **state)
{
	struct place *p = *state;
	Amp__VaultMeta old;
	int a, b, status;
	pid_t pid;

	NEEDED(p);
	a = make_rich(&p->dir, "old");
	old = gathered(a);
	b = make(&p->dir, "new");
	assert_int_equal(fchown(b, NOBODY, 0), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0)
		_exit(as_nobody(b, &old));
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	meta_free(&old);
	close(a);
	close(b);
}

/* More than a vault file's metadata holds: the rest is named, and what is kept packs. */
static void test_too_much(void **state)
{
	static uint8_t value[65536];
	struct place *p = *state;
	Amp__VaultMeta m;
	uint8_t *packed;
	char name[32];
	size_t n;
	int fd;

	NEEDED(p);
	fd = make(&p->dir, "file");
	for (int i = 0; i < 80; i++) {
		snprintf(name, sizeof(name), "user.large.%d", i);
		if (fsetxattr(fd, name, value, sizeof(value), 0) < 0) {
			/* This file system's own bound is lower: nothing can be too much. */
			assert_true(errno == ENOSPC || errno == E2BIG);
			close(fd);
			return;
		}
	}
	m = gathered(fd);
	assert_int_equal(m.n_xattrs + m.n_xattrs_unread, 80);
	assert_true(m.n_xattrs >= 40 && m.n_xattrs_unread > 0);
	m.entry_id = (char *)(uintptr_t)UUID_A;
	assert_int_equal(vf_meta_pack(&m, &packed, &n), 0);
	free(packed);
	meta_free(&m);
	close(fd);
}

static void toggle(int fd)
{
	static uint8_t value[2000];

	prctl(PR_SET_PDEATHSIG, SIGKILL); /* also if the test fails */
	for (;;) {
		memset(value, 'a', sizeof(value));
		fsetxattr(fd, "user.toggle", value, 100, 0);
		memset(value, 'b', sizeof(value));
		fsetxattr(fd, "user.toggle", value, sizeof(value), 0);
		fremovexattr(fd, "user.toggle");
	}
}

static void test_changing(void **state)
{
	struct place *p = *state;
	unsigned seen = 0, gone = 0;
	int fd, status;
	pid_t pid;

	NEEDED(p);
	fd = make(&p->dir, "file");
	set(fd, "user.stays", "x", 1);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0)
		toggle(fd);
	for (int i = 0; i < 3000; i++) {
		Amp__VaultMeta m = gathered(fd);
		const Amp__VaultXattr *x = find(&m, "user.toggle");

		assert_non_null(find(&m, "user.stays"));
		assert_int_equal(m.n_xattrs_unread, 0);
		if (x)
			assert_true((x->value.len == 100 && x->value.data[99] == 'a') ||
				    (x->value.len == 2000 && x->value.data[1999] == 'b'));
		seen += x != NULL;
		gone += x == NULL;
		meta_free(&m);
	}
	assert_int_equal(kill(pid, SIGKILL), 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	print_message("seen %u, gone %u\n", seen, gone);
	close(fd);
}

static void test_no_file(void **state)
{
	Amp__VaultMeta m;
	int fds[2];

	(void)state;
	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	assert_int_equal(meta_flags(fds[0]), 0);
	assert_int_equal(meta_unlock(fds[0]), 0);
	assert_int_equal(meta_set_flags(fds[0], FS_NODUMP_FL), -1);
	assert_int_equal(errno, ENOTTY);
	m = gathered(fds[0]);
	assert_int_equal(m.inode_flags, 0);
	meta_free(&m);
	close(fds[0]);
	close(fds[1]);
	amp__vault_meta__init(&m);
	assert_int_equal(meta_gather(-1, &m), -1);
	assert_int_equal(errno, EBADF);
}

static void test_many_sentences(void **state)
{
	struct meta_left left = {0};
	size_t n = 0;

	(void)state;
	for (int i = 0; i < 1000; i++)
		meta_left_add(&left, "sentence %d%400s", i, "");
	for (size_t i = 0; i < left.count; i++)
		n += strlen(left.text[i]);
	assert_true(n < 60000); /* they travel in one message */
	assert_string_equal(left.text[left.count - 1], "and more that is not listed here");
	meta_left_free(&left);
	assert_null(left.text);
}

#define ON(test)                                                                                             \
	cmocka_unit_test_setup_teardown(test, on_tmpfs, leave),                                              \
		cmocka_unit_test_setup_teardown(test, on_ext4, leave)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		ON(test_exact),
		ON(test_stripped),
		ON(test_inherited),
		ON(test_flags),
		ON(test_flag_refused),
		ON(test_left),
		ON(test_without_privilege),
		ON(test_too_much),
		ON(test_changing),
		cmocka_unit_test(test_no_file),
		cmocka_unit_test(test_many_sentences),
	};

	began = geteuid();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
