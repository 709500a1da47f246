/*
 * lib/fileid.c - names and identities of files.
 * Owns: what fileid.h says, and the key of this process's hash. Must not own:
 * any open. All that comes from a file system or over a link may be chosen by
 * an attacker: sizes are checked, times saturate, and the hash has a random
 * key, so that nobody can pile up handles in one slot of a table.
 */
#include "fileid.h"

#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <string.h>
#include <sys/random.h>
#include <sys/sysmacros.h>

_Static_assert(AMP_FILE_HANDLE_MAX == MAX_HANDLE_SZ, "largest file handle");

#define NS_PER_SEC 1000000000LL
#define STAND_IN   (-1) /* no handle_type of the kernel is negative */

static pthread_once_t key_once = PTHREAD_ONCE_INIT;
static uint64_t key[2];

bool amp_handle_equal(const struct amp_handle *a, const struct amp_handle *b)
{
	return a->type == b->type && a->size == b->size && memcmp(a->bytes, b->bytes, a->size) == 0;
}

bool amp_fileid_equal(const struct amp_fileid *a, const struct amp_fileid *b)
{
	return a->fsid == b->fsid && amp_handle_equal(&a->handle, &b->handle);
}

static void make_key(void)
{
	while (getrandom(key, sizeof(key), 0) != sizeof(key) && errno == EINTR)
		;
}

struct sip {
	uint64_t v0, v1, v2, v3;
};

static uint64_t rotate(uint64_t x, int by)
{
	return x << by | x >> (64 - by);
}

static void sip_round(struct sip *s)
{
	s->v0 += s->v1;
	s->v2 += s->v3;
	s->v1 = rotate(s->v1, 13) ^ s->v0;
	s->v3 = rotate(s->v3, 16) ^ s->v2;
	s->v0 = rotate(s->v0, 32);
	s->v2 += s->v1;
	s->v0 += s->v3;
	s->v1 = rotate(s->v1, 17) ^ s->v2;
	s->v3 = rotate(s->v3, 21) ^ s->v0;
	s->v2 = rotate(s->v2, 32);
}

static void sip_word(struct sip *s, uint64_t m)
{
	s->v3 ^= m;
	sip_round(s);
	s->v0 ^= m;
}

/* SipHash-1-3 over fsid, type and size, and the bytes of the handle. */
uint64_t amp_fileid_hash(const struct amp_fileid *id)
{
	struct sip s;
	uint64_t word;

	pthread_once(&key_once, make_key);
	s = (struct sip){key[0] ^ 0x736f6d6570736575U, key[1] ^ 0x646f72616e646f6dU,
			 key[0] ^ 0x6c7967656e657261U, key[1] ^ 0x7465646279746573U};
	sip_word(&s, id->fsid);
	sip_word(&s, (uint64_t)(uint32_t)id->handle.type << 32 | id->handle.size);
	for (size_t i = 0; i < id->handle.size; i += sizeof(word)) {
		size_t left = id->handle.size - i;

		/* The size went in before, so zeros at the end are not ambiguous. */
		word = 0;
		memcpy(&word, id->handle.bytes + i, left < sizeof(word) ? left : sizeof(word));
		sip_word(&s, word);
	}
	s.v2 ^= 0xff;
	for (int i = 0; i < 3; i++)
		sip_round(&s);
	return s.v0 ^ s.v1 ^ s.v2 ^ s.v3;
}

bool amp_identity_same_content(const struct amp_identity *a, const struct amp_identity *b)
{
	return a->ino == b->ino && a->size == b->size && a->mtime_ns == b->mtime_ns &&
	       a->ctime_ns == b->ctime_ns;
}

/* tmpfs and btrfs keep any 64-bit second a user sets. */
static int64_t timestamp_ns(const struct statx_timestamp *t)
{
	int64_t ns;

	if (__builtin_mul_overflow(t->tv_sec, NS_PER_SEC, &ns) || __builtin_add_overflow(ns, t->tv_nsec, &ns))
		return t->tv_sec < 0 ? INT64_MIN : INT64_MAX;
	return ns;
}

void amp_identity_from_statx(const struct statx *sx, struct amp_identity *out)
{
	*out = (struct amp_identity){
		.ino = sx->stx_ino,
		.size = sx->stx_size,
		.mtime_ns = timestamp_ns(&sx->stx_mtime),
		.ctime_ns = timestamp_ns(&sx->stx_ctime),
		.dev_major = sx->stx_dev_major,
		.dev_minor = sx->stx_dev_minor,
		.mode = sx->stx_mode,
		.uid = sx->stx_uid,
		.nlink = sx->stx_nlink,
	};
}

int amp_statx_identity(int dirfd, const char *name, int flags, struct amp_identity *out)
{
	struct statx sx;

	if (statx(dirfd, name, flags | AT_STATX_DONT_SYNC | AT_NO_AUTOMOUNT, STATX_BASIC_STATS, &sx))
		return -1;
	amp_identity_from_statx(&sx, out);
	return 0;
}

/*
 * FAT makes up an inode's number when it is read in, and finds nothing by it
 * once the inode has left memory. (exFAT has no handles in the kernels known;
 * if it gets such, they are of this kind.)
 */
static const uint64_t handles_do_not_last[] = {0x4d44 /* vfat, msdos */, 0x2011bab0 /* exfat */};

bool amp_handles_last(uint64_t f_type)
{
	for (size_t i = 0; i < sizeof(handles_do_not_last) / sizeof(handles_do_not_last[0]); i++)
		if (handles_do_not_last[i] == f_type)
			return false;
	return true;
}

/* Asked of roots, directories to be entered and files in hand, not of each name in a directory. */
static bool is_of_no_use(int fd, const char *name)
{
	struct statfs sf;

	return !*name && fstatfs(fd, &sf) == 0 && !amp_handles_last((uint64_t)sf.f_type);
}

int amp_handle_at(int dirfd, const char *name, int flags, struct amp_handle *out, int *mount_id)
{
	union {
		struct file_handle handle;
		unsigned char space[sizeof(struct file_handle) + AMP_FILE_HANDLE_MAX];
	} u = {.handle = {.handle_bytes = AMP_FILE_HANDLE_MAX}};
	int mount;

	if (is_of_no_use(dirfd, name)) {
		errno = EOPNOTSUPP;
		return -1;
	}
	if (name_to_handle_at(dirfd, name, &u.handle, mount_id ? mount_id : &mount, flags))
		return -1;
	if (u.handle.handle_bytes == 0 || u.handle.handle_bytes > AMP_FILE_HANDLE_MAX) {
		errno = EOVERFLOW;
		return -1;
	}
	*out = (struct amp_handle){.type = u.handle.handle_type, .size = u.handle.handle_bytes};
	memcpy(out->bytes, u.space + offsetof(struct file_handle, f_handle), out->size);
	return 0;
}

int amp_handle_of_fd(int fd, struct amp_handle *out)
{
	uint64_t file[2];
	struct stat st;

	if (amp_handle_at(fd, "", AT_EMPTY_PATH, out, NULL) == 0)
		return 0;
	if (fstatat(fd, "", &st, AT_EMPTY_PATH) != 0)
		return -1;
	file[0] = (uint64_t)st.st_dev;
	file[1] = (uint64_t)st.st_ino;
	*out = (struct amp_handle){.type = STAND_IN, .size = sizeof(file)};
	memcpy(out->bytes, file, sizeof(file));
	return 0;
}

bool amp_handle_is_stand_in(const struct amp_handle *h)
{
	return h->type == STAND_IN;
}

uint64_t amp_fsid_from_pair(int32_t lo, int32_t hi)
{
	return (uint64_t)(uint32_t)lo | (uint64_t)(uint32_t)hi << 32;
}

uint64_t amp_fsid_from_statfs(const struct statfs *sf, uint64_t device)
{
	uint64_t fsid = amp_fsid_from_pair(sf->f_fsid.__val[0], sf->f_fsid.__val[1]);

	return fsid ? fsid : device;
}

/* Only where it is needed: nothing is looked at twice for the others. */
static int from_statfs(const struct statfs *sf, int dirfd, const char *path, int flags, uint64_t *fsid)
{
	struct amp_identity id = {0};

	*fsid = amp_fsid_from_statfs(sf, 0);
	if (*fsid)
		return 0;
	if (amp_statx_identity(dirfd, path, flags, &id) != 0)
		return -1;
	*fsid = amp_fsid_from_statfs(sf, makedev(id.dev_major, id.dev_minor));
	return 0;
}

int amp_fsid_of_fd(int fd, uint64_t *fsid)
{
	struct statfs sf;

	return fstatfs(fd, &sf) ? -1 : from_statfs(&sf, fd, "", AT_EMPTY_PATH, fsid);
}

int amp_fsid_of_path(const char *path, uint64_t *fsid)
{
	struct statfs sf;

	return statfs(path, &sf) ? -1 : from_statfs(&sf, AT_FDCWD, path, 0, fsid);
}

/* fs/btrfs/export.h: struct btrfs_fid begins with the object's id and its root's. */
uint64_t amp_fsid_of_btrfs(uint64_t fsid, const struct amp_handle *h)
{
	enum { WITHOUT_PARENT = 0x4d, WITH_PARENT_ROOT = 0x4f, SIZE_MIN = 20 };
	uint64_t root;

	if (h->type < WITHOUT_PARENT || h->type > WITH_PARENT_ROOT || h->size < SIZE_MIN)
		return 0;
	memcpy(&root, h->bytes + sizeof(root), sizeof(root));
	/* btrfs_statfs(): the high half into val[0], the low one into val[1]. */
	return fsid ^ (root >> 32 | root << 32);
}

void amp_handle_to_wire(const struct amp_handle *h, Amp__Handle *wire)
{
	amp__handle__init(wire);
	wire->type = h->type;
	wire->bytes.len = h->size;
	wire->bytes.data = (uint8_t *)(uintptr_t)h->bytes; /* packing only reads */
}

int amp_handle_from_wire(const Amp__Handle *wire, struct amp_handle *h)
{
	if (!wire || !wire->bytes.data || wire->bytes.len == 0 || wire->bytes.len > AMP_FILE_HANDLE_MAX) {
		errno = EBADMSG;
		return -1;
	}
	*h = (struct amp_handle){.type = wire->type, .size = (uint32_t)wire->bytes.len};
	memcpy(h->bytes, wire->bytes.data, wire->bytes.len);
	return 0;
}

void amp_identity_to_wire(const struct amp_identity *i, Amp__Identity *wire)
{
	amp__identity__init(wire);
	wire->ino = i->ino;
	wire->size = i->size;
	wire->mtime_ns = i->mtime_ns;
	wire->ctime_ns = i->ctime_ns;
	wire->dev_major = i->dev_major;
	wire->dev_minor = i->dev_minor;
	wire->mode = i->mode;
	wire->uid = i->uid;
	wire->nlink = i->nlink;
}

int amp_identity_from_wire(const Amp__Identity *wire, struct amp_identity *i)
{
	/* st_mode has 16 bits in the kernel; what has more was made up. */
	if (!wire || wire->mode > UINT16_MAX) {
		errno = EBADMSG;
		return -1;
	}
	*i = (struct amp_identity){
		.ino = wire->ino,
		.size = wire->size,
		.mtime_ns = wire->mtime_ns,
		.ctime_ns = wire->ctime_ns,
		.dev_major = wire->dev_major,
		.dev_minor = wire->dev_minor,
		.mode = wire->mode,
		.uid = wire->uid,
		.nlink = wire->nlink,
	};
	return 0;
}
