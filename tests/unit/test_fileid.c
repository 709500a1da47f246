/*
 * tests/unit/test_fileid.c - handles and identities of real files, hash, wire.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "fileid.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/statfs.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static struct amp_fileid sample(uint64_t n)
{
	struct amp_fileid id = {.fsid = 99, .handle = {.type = 1, .size = 12}};

	memcpy(id.handle.bytes, &n, sizeof(n));
	return id;
}

/* Runs before any other hash: two processes have two keys. */
static void test_hash_has_a_key(void **state)
{
	uint64_t *hashes = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct amp_fileid id = sample(1);

	(void)state;
	assert_ptr_not_equal(hashes, MAP_FAILED);
	for (int i = 0; i < 2; i++) {
		int status;
		pid_t pid = fork();

		if (pid == 0) {
			hashes[i] = amp_fileid_hash(&id);
			_exit(0);
		}
		assert_int_equal(waitpid(pid, &status, 0), pid);
		assert_int_equal(status, 0);
	}
	assert_int_not_equal(hashes[0], hashes[1]);
	munmap(hashes, 4096);
}

static void test_hash_and_equal(void **state)
{
	struct amp_fileid a = sample(7), b = sample(7);

	(void)state;
	b.handle.bytes[100] = 1; /* behind its size: no part of it */
	assert_true(amp_fileid_equal(&a, &b));
	assert_int_equal(amp_fileid_hash(&a), amp_fileid_hash(&b));

	b = a;
	b.fsid++;
	assert_false(amp_fileid_equal(&a, &b));
	assert_true(amp_handle_equal(&a.handle, &b.handle));
	assert_int_not_equal(amp_fileid_hash(&a), amp_fileid_hash(&b));
	b = a;
	b.handle.type++;
	assert_false(amp_fileid_equal(&a, &b));
	assert_int_not_equal(amp_fileid_hash(&a), amp_fileid_hash(&b));
	b = a;
	b.handle.size++; /* one more zero */
	assert_false(amp_fileid_equal(&a, &b));
	assert_int_not_equal(amp_fileid_hash(&a), amp_fileid_hash(&b));
	b = a;
	b.handle.bytes[11] ^= 0x80;
	assert_false(amp_fileid_equal(&a, &b));
	assert_int_not_equal(amp_fileid_hash(&a), amp_fileid_hash(&b));
	a.handle.size = AMP_FILE_HANDLE_MAX;
	b = a;
	b.handle.bytes[AMP_FILE_HANDLE_MAX - 1] = 1;
	assert_false(amp_fileid_equal(&a, &b));
	assert_int_not_equal(amp_fileid_hash(&a), amp_fileid_hash(&b));
}

/* Inode numbers count up: their low bits must spread all the same. */
static void test_hash_spreads(void **state)
{
	static unsigned slots[1024];
	unsigned most = 0;

	(void)state;
	for (uint64_t n = 0; n < 64 * 1024; n++) {
		struct amp_fileid id = sample(n << 20);
		unsigned *slot = &slots[amp_fileid_hash(&id) % 1024];

		if (++*slot > most)
			most = *slot;
	}
	assert_in_range(most, 64, 128);
}

static void test_real_handle(void **state)
{
	char name[] = "/tmp/amp-fileid-XXXXXX";
	int fd = mkstemp(name);
	struct amp_handle by_fd, by_name, other;
	int mount_id = -1;

	(void)state;
	assert_true(fd >= 0);
	assert_int_equal(amp_handle_at(fd, "", AT_EMPTY_PATH, &by_fd, &mount_id), 0);
	assert_true(mount_id >= 0);
	assert_int_equal(amp_handle_at(AT_FDCWD, name, 0, &by_name, NULL), 0);
	assert_in_range(by_fd.size, 1, AMP_FILE_HANDLE_MAX);
	assert_true(amp_handle_equal(&by_fd, &by_name));
	assert_int_equal(amp_handle_at(AT_FDCWD, "/tmp", 0, &other, NULL), 0);
	assert_false(amp_handle_equal(&by_fd, &other));
	unlink(name);
	errno = 0;
	assert_int_equal(amp_handle_at(AT_FDCWD, name, 0, &other, NULL), -1);
	assert_int_equal(errno, ENOENT);
	close(fd);
}

static void test_fsid(void **state)
{
	uint64_t by_path, by_fd, proc;
	struct statfs sf;
	int32_t val[2];
	int fd = open("/tmp", O_PATH | O_CLOEXEC);

	(void)state;
	assert_int_equal(amp_fsid_from_pair(-1, 1), 0x1ffffffffULL);
	assert_int_equal(amp_fsid_from_pair(1, -1), 0xffffffff00000001ULL);
	assert_int_equal(amp_fsid_of_path("/tmp", &by_path), 0);
	assert_int_equal(amp_fsid_of_fd(fd, &by_fd), 0);
	assert_int_equal(by_path, by_fd);
	assert_int_equal(statfs("/tmp", &sf), 0);
	memcpy(val, &sf.f_fsid, sizeof(val));
	assert_int_equal(by_path, amp_fsid_from_pair(val[0], val[1]));
	assert_int_equal(amp_fsid_of_path("/proc", &proc), 0);
	assert_int_not_equal(proc, by_path);
	assert_int_equal(amp_fsid_of_path("/nonexistent", &proc), -1);
	assert_int_equal(errno, ENOENT);
	assert_int_equal(amp_fsid_of_fd(-1, &proc), -1);
	assert_int_equal(errno, EBADF);
	close(fd);
}

static void test_fsid_of_what_has_none(void **state)
{
	struct statfs sf = {.f_type = 0};

	(void)state;
	assert_int_equal(amp_fsid_from_statfs(&sf, 0x1c), 0x1c);
	sf.f_fsid.__val[1] = 7;
	assert_int_equal(amp_fsid_from_statfs(&sf, 0x1c), 7ULL << 32);
}

/* As Linux 6.18 told them: the top, @rootfs in it, and one of a user's in that. */
static void test_fsid_of_btrfs(void **state)
{
	static const struct {
		uint64_t shown; /* by stat -f: val[0] is the high half */
		uint64_t root;
	} rows[] = {{0x6557f11de4e0be51, 5}, {0x6557f11de4e0bf54, 256}, {0x6557f11de4e0bf55, 257}};
	struct amp_handle h = {.type = 0x4d, .size = 20};
	uint64_t common = 0;

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		uint64_t fsid = rows[i].shown >> 32 | rows[i].shown << 32;

		memcpy(h.bytes + 8, &rows[i].root, sizeof(rows[i].root));
		common = common ? common : amp_fsid_of_btrfs(fsid, &h);
		assert_int_not_equal(common, 0);
		assert_int_equal(amp_fsid_of_btrfs(fsid, &h), common);
	}
	h.size = 16;
	assert_int_equal(amp_fsid_of_btrfs(1, &h), 0);
	h.size = 40;
	h.type = 0x4f;
	assert_int_not_equal(amp_fsid_of_btrfs(1, &h), 0);
	h.type = 1;
	assert_int_equal(amp_fsid_of_btrfs(1, &h), 0);
}

static void test_handles_that_do_not_last(void **state)
{
	static const struct {
		uint64_t type;
		bool last;
	} rows[] = {
		{0x4d44, false}, {0x2011bab0, false}, {0xef53, true}, {0x01021994, true}, {0x9123683e, true},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		assert_int_equal(amp_handles_last(rows[i].type), rows[i].last);
}

/* Until what is changed next has a later change time, which is of the clock's last tick. */
static void await_tick(int64_t after_ns)
{
	struct timespec now;

	do {
		usleep(1000);
		clock_gettime(CLOCK_REALTIME_COARSE, &now);
	} while (now.tv_sec * INT64_C(1000000000) + now.tv_nsec <= after_ns);
}

static void test_identity_of_file(void **state)
{
	char name[] = "/tmp/amp-fileid-XXXXXX";
	int fd = mkstemp(name);
	struct timespec times[2] = {{.tv_sec = 1000, .tv_nsec = 5}, {.tv_sec = 2000, .tv_nsec = 7}};
	struct amp_identity a, b;

	(void)state;
	assert_int_equal(write(fd, "abc", 3), 3);
	assert_int_equal(futimens(fd, times), 0);
	assert_int_equal(amp_statx_identity(fd, "", AT_EMPTY_PATH, &a), 0);
	assert_int_equal(a.size, 3);
	assert_int_equal(a.mtime_ns, 2000000000007);
	assert_int_equal(a.mode & S_IFMT, S_IFREG);
	assert_int_equal(a.uid, geteuid());
	assert_int_equal(a.nlink, 1);
	assert_int_equal(amp_statx_identity(AT_FDCWD, name, AT_SYMLINK_NOFOLLOW, &b), 0);
	assert_true(amp_identity_same_content(&a, &b));
	assert_int_equal(a.dev_minor, b.dev_minor);

	/* Written over, and the time put back: the change time still tells. */
	await_tick(a.ctime_ns);
	assert_int_equal(pwrite(fd, "xyz", 3, 0), 3);
	assert_int_equal(futimens(fd, times), 0);
	assert_int_equal(amp_statx_identity(fd, "", AT_EMPTY_PATH, &b), 0);
	assert_int_equal(a.mtime_ns, b.mtime_ns);
	assert_false(amp_identity_same_content(&a, &b));
	unlink(name);
	assert_int_equal(amp_statx_identity(AT_FDCWD, name, 0, &b), -1);
	assert_int_equal(errno, ENOENT);
	close(fd);
}

static void test_same_content(void **state)
{
	const struct amp_identity a = {
		.ino = 1, .size = 2, .mtime_ns = 3, .ctime_ns = 4, .mode = 5, .nlink = 1};
	struct amp_identity b = a;

	(void)state;
	b.mode = 6;
	b.nlink = 2;
	b.dev_minor = 9; /* through an overlay */
	assert_true(amp_identity_same_content(&a, &b));
	b = a, b.ino++;
	assert_false(amp_identity_same_content(&a, &b));
	b = a, b.size++;
	assert_false(amp_identity_same_content(&a, &b));
	b = a, b.mtime_ns++;
	assert_false(amp_identity_same_content(&a, &b));
	b = a, b.ctime_ns++;
	assert_false(amp_identity_same_content(&a, &b));
}

/* tmpfs takes any second. */
static void test_absurd_times(void **state)
{
	struct statx sx = {.stx_mtime = {.tv_sec = INT64_MAX, .tv_nsec = 999999999},
			   .stx_ctime = {.tv_sec = INT64_MIN, .tv_nsec = 0}};
	struct amp_identity i;

	(void)state;
	amp_identity_from_statx(&sx, &i);
	assert_true(i.mtime_ns == INT64_MAX);
	assert_true(i.ctime_ns == INT64_MIN);
	sx.stx_mtime.tv_sec = -1;
	amp_identity_from_statx(&sx, &i);
	assert_int_equal(i.mtime_ns, -1);
}

static void test_handle_wire(void **state)
{
	struct amp_fileid id = sample(0x1122334455667788);
	struct amp_handle back;
	uint8_t long_bytes[AMP_FILE_HANDLE_MAX + 1] = {0};
	Amp__Handle wire;

	(void)state;
	amp_handle_to_wire(&id.handle, &wire);
	assert_ptr_equal(wire.bytes.data, id.handle.bytes);
	assert_int_equal(amp_handle_from_wire(&wire, &back), 0);
	assert_true(amp_handle_equal(&id.handle, &back));

	wire.bytes.data = long_bytes;
	wire.bytes.len = AMP_FILE_HANDLE_MAX;
	assert_int_equal(amp_handle_from_wire(&wire, &back), 0);
	assert_int_equal(back.size, AMP_FILE_HANDLE_MAX);
	wire.bytes.len = AMP_FILE_HANDLE_MAX + 1;
	errno = 0;
	assert_int_equal(amp_handle_from_wire(&wire, &back), -1);
	assert_int_equal(errno, EBADMSG);
	wire.bytes.len = 0;
	assert_int_equal(amp_handle_from_wire(&wire, &back), -1);
	wire.bytes.len = 4;
	wire.bytes.data = NULL;
	assert_int_equal(amp_handle_from_wire(&wire, &back), -1);
	assert_int_equal(amp_handle_from_wire(NULL, &back), -1);
}

static void test_identity_wire(void **state)
{
	const struct amp_identity i = {.ino = 1,
				       .size = UINT64_MAX,
				       .mtime_ns = INT64_MIN,
				       .ctime_ns = INT64_MAX,
				       .dev_major = 5,
				       .dev_minor = 6,
				       .mode = 0100644,
				       .uid = 8,
				       .nlink = 9};
	struct amp_identity back;
	uint8_t packed[128];
	Amp__Identity wire, *got;
	size_t n;

	(void)state;
	amp_identity_to_wire(&i, &wire);
	n = amp__identity__pack(&wire, packed);
	assert_in_range(n, 1, sizeof(packed));
	got = amp__identity__unpack(NULL, n, packed);
	assert_non_null(got);
	assert_int_equal(amp_identity_from_wire(got, &back), 0);
	amp__identity__free_unpacked(got, NULL);
	assert_true(amp_identity_same_content(&i, &back));
	assert_true(back.dev_major == 5 && back.dev_minor == 6 && back.mode == 0100644);
	assert_true(back.uid == 8 && back.nlink == 9);
	wire.mode = 0x10000;
	errno = 0;
	assert_int_equal(amp_identity_from_wire(&wire, &back), -1);
	assert_int_equal(errno, EBADMSG);
	assert_int_equal(amp_identity_from_wire(NULL, &back), -1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_hash_has_a_key),
		cmocka_unit_test(test_hash_and_equal),
		cmocka_unit_test(test_hash_spreads),
		cmocka_unit_test(test_real_handle),
		cmocka_unit_test(test_fsid),
		cmocka_unit_test(test_fsid_of_what_has_none),
		cmocka_unit_test(test_fsid_of_btrfs),
		cmocka_unit_test(test_handles_that_do_not_last),
		cmocka_unit_test(test_identity_of_file),
		cmocka_unit_test(test_same_content),
		cmocka_unit_test(test_absurd_times),
		cmocka_unit_test(test_handle_wire),
		cmocka_unit_test(test_identity_wire),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
