/*
 * ampquard/meta.c - owner, mode, times, attributes and flags of an open file.
 *
 * Owns: which attributes are privileges, which flags are a file's own and not
 * its file system's business, the sentences about what stays behind. Must not own: names.
 * Values are read in one call into buffers of the kernel's own limits, so
 * no attribute can grow between two calls.
 */
#include "meta.h"

#include "text.h"
#include "vault.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/limits.h>
#include <linux/xattr.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

/* The rest of VAULT_META_MAX is for the path and the names in xattrs_unread. */
#define VALUES_MAX    (VAULT_META_MAX / 4 * 3)
#define XATTR_AROUND  16U /* packed, around a name and a value */
#define LEFT_MAX      64U /* sentences; they travel in one message */
#define SENTENCE_SIZE 640U
#define NAME_TEXT     400U /* an attribute's name, escaped */
#define UNLISTED      "*"

#define LOCKS	   ((uint32_t)(FS_IMMUTABLE_FL | FS_APPEND_FL))
#define PRIVILEGES (S_ISUID | S_ISGID)
#define CAPABILITY "security.capability"

/* Flags that people set; all others are the file system's own (extents, inline data ...). */
static const struct {
	uint32_t flag;
	const char *name;
} own_flags[] = {
	{FS_SECRM_FL, "secure deletion"},
	{FS_UNRM_FL, "undeletable"},
	{FS_COMPR_FL, "compressed"},
	{FS_NOCOMP_FL, "not compressed"},
	{FS_SYNC_FL, "synchronous"},
	{FS_NODUMP_FL, "no dump"},
	{FS_NOATIME_FL, "no access time"},
	{FS_JOURNAL_DATA_FL, "journalled data"},
	{FS_NOTAIL_FL, "no tail merging"},
	{FS_NOCOW_FL, "no copy on write"},
	{FS_DAX_FL, "direct access"},
	{FS_PROJINHERIT_FL, "project inherited"},
	/* Last: they forbid what comes after. */
	{FS_APPEND_FL, "append-only"},
	{FS_IMMUTABLE_FL, "immutable"},
};
#define OWN_FLAGS (sizeof(own_flags) / sizeof(own_flags[0]))

/* What the kernel is asked with: its own limits, so nothing is larger. */
struct scratch {
	char names[XATTR_LIST_MAX];
	uint8_t value[XATTR_SIZE_MAX];
};

/* ---- what is left ---- */

void meta_left_add(struct meta_left *left, const char *fmt, ...)
{
	char **text = left->count < LEFT_MAX ? realloc(left->text, (left->count + 1) * sizeof(*text)) : NULL;
	char sentence[SENTENCE_SIZE];
	va_list args;

	if (!text)
		return;
	left->text = text;
	va_start(args, fmt);
	vsnprintf(sentence, sizeof(sentence), fmt, args);
	va_end(args);
	text[left->count] =
		strdup(left->count + 1 < LEFT_MAX ? sentence : "and more that is not listed here");
	if (text[left->count])
		left->count++;
}

void meta_left_free(struct meta_left *left)
{
	for (size_t i = 0; i < left->count; i++)
		free(left->text[i]);
	free(left->text);
	*left = (struct meta_left){0};
}

/* ---- attributes ---- */

static bool none_here(int error)
{
	return error == ENOTSUP || error == EOPNOTSUPP || error == ENOSYS;
}

static int copy_bytes(ProtobufCBinaryData *to, const void *from, size_t n)
{
	to->data = malloc(n ? n : 1);
	if (!to->data)
		return -1;
	memcpy(to->data, from, n);
	to->len = n;
	return 0;
}

/* The array with room for one more than count, in steps of powers of two. NULL: it is as it was. */
static void *grown(void *array, size_t count, size_t element)
{
	if (count & (count - 1))
		return array;
	return reallocarray(array, count ? 2 * count : 1, element);
}

static int add_unread(Amp__VaultMeta *m, const char *name)
{
	void *array = grown(m->xattrs_unread, m->n_xattrs_unread, sizeof(*m->xattrs_unread));

	if (!array)
		return -1;
	m->xattrs_unread = array;
	if (copy_bytes(&m->xattrs_unread[m->n_xattrs_unread], name, strlen(name)) < 0)
		return -1;
	m->n_xattrs_unread++;
	return 0;
}

static void xattr_free(Amp__VaultXattr *x)
{
	free(x->name.data);
	free(x->value.data);
	free(x);
}

static Amp__VaultXattr *xattr_new(const char *name, const uint8_t *value, size_t n)
{
	Amp__VaultXattr *x = calloc(1, sizeof(*x));

	if (!x)
		return NULL;
	amp__vault_xattr__init(x);
	if (copy_bytes(&x->name, name, strlen(name)) == 0 && copy_bytes(&x->value, value, n) == 0)
		return x;
	xattr_free(x);
	return NULL;
}

static int add_xattr(Amp__VaultMeta *m, const char *name, const uint8_t *value, size_t n)
{
	void *array = grown(m->xattrs, m->n_xattrs, sizeof(*m->xattrs));
	Amp__VaultXattr *x;

	if (!array)
		return -1;
	m->xattrs = array;
	x = xattr_new(name, value, n);
	if (!x)
		return -1;
	m->xattrs[m->n_xattrs++] = x;
	return 0;
}

/* total: bytes of all so far. */
static int gather_xattr(int fd, const char *name, struct scratch *s, size_t *total, Amp__VaultMeta *m)
{
	ssize_t n = fgetxattr(fd, name, s->value, sizeof(s->value));
	size_t more;

	if (n < 0)
		return errno == ENODATA ? 0 : add_unread(m, name); /* ENODATA: gone meanwhile */
	more = strlen(name) + (size_t)n + XATTR_AROUND;
	if (more > VALUES_MAX - *total)
		return add_unread(m, name);
	*total += more;
	return add_xattr(m, name, s->value, (size_t)n);
}

static int gather_xattrs(int fd, struct scratch *s, Amp__VaultMeta *m)
{
	ssize_t n = flistxattr(fd, s->names, sizeof(s->names));
	size_t total = 0;

	if (n < 0)
		return none_here(errno) ? 0 : add_unread(m, UNLISTED);
	for (const char *name = s->names; name < s->names + n; name += strlen(name) + 1)
		if (gather_xattr(fd, name, s, &total, m) < 0)
			return -1;
	return 0;
}

static void gather_stat(const struct stat *st, Amp__VaultMeta *m)
{
	m->uid = st->st_uid;
	m->gid = st->st_gid;
	m->mode = st->st_mode;
	m->nlink = (uint32_t)st->st_nlink;
	m->atime_s = st->st_atim.tv_sec;
	m->atime_ns = (uint32_t)st->st_atim.tv_nsec;
	m->mtime_s = st->st_mtim.tv_sec;
	m->mtime_ns = (uint32_t)st->st_mtim.tv_nsec;
}

int meta_gather(int fd, Amp__VaultMeta *m)
{
	struct scratch *s;
	struct stat st;
	int rc;

	if (fstat(fd, &st) < 0)
		return -1;
	s = malloc(sizeof(*s));
	if (!s)
		return -1;
	gather_stat(&st, m);
	m->inode_flags = meta_flags(fd);
	rc = gather_xattrs(fd, s, m);
	free(s);
	if (rc < 0) {
		meta_free(m);
		errno = ENOMEM;
	}
	return rc;
}

void meta_free(Amp__VaultMeta *m)
{
	for (size_t i = 0; i < m->n_xattrs; i++)
		xattr_free(m->xattrs[i]);
	for (size_t i = 0; i < m->n_xattrs_unread; i++)
		free(m->xattrs_unread[i].data);
	free(m->xattrs);
	free(m->xattrs_unread);
	m->xattrs = NULL;
	m->xattrs_unread = NULL;
	m->n_xattrs = m->n_xattrs_unread = 0;
}

/* ---- setting ---- */

static const char *escape(const void *name, size_t n, char buf[NAME_TEXT])
{
	return amp_text_escape(name, n, buf, NAME_TEXT);
}

static void left_attribute(struct meta_left *left, const void *name, size_t n, const char *why)
{
	char text[NAME_TEXT];

	meta_left_add(left, "attribute %s: %s", escape(name, n, text), why);
}

/* The name as the kernel takes it. False: it is none. */
static bool name_of(const ProtobufCBinaryData *bytes, char name[XATTR_NAME_MAX + 1])
{
	if (bytes->len == 0 || bytes->len > XATTR_NAME_MAX || memchr(bytes->data, 0, bytes->len))
		return false;
	memcpy(name, bytes->data, bytes->len);
	name[bytes->len] = '\0';
	return true;
}

/* Set where it is not so already: a label that the system gave may be right but not ours to set. */
static int set_xattr(int fd, const char *name, const ProtobufCBinaryData *value, struct scratch *s)
{
	ssize_t n = fgetxattr(fd, name, s->value, sizeof(s->value));

	if (n >= 0 && (size_t)n == value->len && (n == 0 || memcmp(s->value, value->data, (size_t)n) == 0))
		return 0;
	return fsetxattr(fd, name, value->data, value->len, 0);
}

static void apply_xattr(int fd, const Amp__VaultXattr *x, bool keep, struct scratch *s,
			struct meta_left *left)
{
	char name[XATTR_NAME_MAX + 1];

	if (!name_of(&x->name, name))
		left_attribute(left, x->name.data, x->name.len, "no valid name");
	else if (!keep && strcmp(name, CAPABILITY) == 0)
		meta_left_add(left, "file capabilities (" CAPABILITY "): not given back");
	else if (set_xattr(fd, name, &x->value, s) < 0)
		left_attribute(left, x->name.data, x->name.len, strerror(errno));
}

static bool had_xattr(const Amp__VaultMeta *m, const char *name)
{
	size_t n = strlen(name);

	for (size_t i = 0; i < m->n_xattrs; i++)
		if (m->xattrs[i]->name.len == n && memcmp(m->xattrs[i]->name.data, name, n) == 0)
			return true;
	return false;
}

/* Labels of security modules belong to the system, not to the file's owner. */
static bool is_label(const char *name)
{
	return strncmp(name, XATTR_SECURITY_PREFIX, XATTR_SECURITY_PREFIX_LEN) == 0 &&
	       strcmp(name, CAPABILITY) != 0;
}

/* What the new file has by inheritance and the old one had not. */
static void remove_surplus(int fd, const Amp__VaultMeta *m, struct scratch *s, struct meta_left *left)
{
	ssize_t n = flistxattr(fd, s->names, sizeof(s->names));

	for (const char *name = s->names; n > 0 && name < s->names + n; name += strlen(name) + 1) {
		if (had_xattr(m, name) || is_label(name))
			continue;
		if (fremovexattr(fd, name) < 0 && errno != ENODATA)
			left_attribute(left, name, strlen(name),
				       "was not there before and cannot be removed");
	}
}

static void name_unread(const Amp__VaultMeta *m, struct meta_left *left)
{
	for (size_t i = 0; i < m->n_xattrs_unread; i++) {
		const ProtobufCBinaryData *name = &m->xattrs_unread[i];

		if (name->len == 1 && name->data[0] == UNLISTED[0])
			meta_left_add(left, "attributes: they could not be listed when the file was taken");
		else
			left_attribute(left, name->data, name->len,
				       "could not be read when the file was taken");
	}
}

static void apply_xattrs(int fd, const Amp__VaultMeta *m, bool keep, struct meta_left *left)
{
	struct scratch *s = malloc(sizeof(*s));

	if (!s) {
		meta_left_add(left, "attributes: %s", strerror(errno));
		return;
	}
	remove_surplus(fd, m, s, left);
	for (size_t i = 0; i < m->n_xattrs; i++)
		apply_xattr(fd, m->xattrs[i], keep, s, left);
	free(s);
	name_unread(m, left);
}

/* The kernel may take set-id bits away without a word. */
static void apply_mode(int fd, const Amp__VaultMeta *m, bool keep, struct meta_left *left)
{
	mode_t old = m->mode & 07777, mode = keep ? old : old & (mode_t)~PRIVILEGES;
	struct stat st;

	if (mode != old)
		meta_left_add(left, "set-user-ID and set-group-ID bits: not given back (mode %04o, was %04o)",
			      (unsigned)mode, (unsigned)old);
	if (fchmod(fd, mode) < 0)
		meta_left_add(left, "mode %04o: %s", (unsigned)mode, strerror(errno));
	else if (fstat(fd, &st) == 0 && (st.st_mode & 07777) != mode)
		meta_left_add(left, "mode %04o: the system made it %04o", (unsigned)mode,
			      (unsigned)(st.st_mode & 07777));
}

static void apply_times(int fd, const Amp__VaultMeta *m, struct meta_left *left)
{
	const struct timespec times[2] = {
		{.tv_sec = m->atime_s, .tv_nsec = (long)m->atime_ns},
		{.tv_sec = m->mtime_s, .tv_nsec = (long)m->mtime_ns},
	};

	if (futimens(fd, times) < 0 && left)
		meta_left_add(left, "times: %s", strerror(errno));
}

void meta_apply(int fd, const Amp__VaultMeta *m, bool keep_privileges, struct meta_left *left)
{
	if (fchown(fd, m->uid, m->gid) < 0)
		meta_left_add(left, "owner %u and group %u: %s", m->uid, m->gid, strerror(errno));
	apply_xattrs(fd, m, keep_privileges, left);
	apply_mode(fd, m, keep_privileges, left);
	apply_times(fd, m, NULL); /* meta_apply_last() says what came of it */
}

/* ---- flags ---- */

/* The kernel takes an int; some drivers a long, so there is room for one. */
static int get_flags(int fd, uint32_t *flags)
{
	uint32_t room[2] = {0};

	if (ioctl(fd, FS_IOC_GETFLAGS, room) < 0)
		return -1;
	*flags = room[0];
	return 0;
}

/* Device nodes and the like have ioctls of their own. */
static bool may_have_flags(int fd)
{
	struct stat st;

	return fstat(fd, &st) == 0 && (S_ISREG(st.st_mode) || S_ISDIR(st.st_mode));
}

uint32_t meta_flags(int fd)
{
	uint32_t flags;

	return may_have_flags(fd) && get_flags(fd, &flags) == 0 ? flags : 0;
}

int meta_set_flags(int fd, uint32_t flags)
{
	uint32_t room[2] = {flags};

	if (!may_have_flags(fd)) {
		errno = ENOTTY;
		return -1;
	}
	return ioctl(fd, FS_IOC_SETFLAGS, room) < 0 ? -1 : 0;
}

int meta_unlock(int fd)
{
	uint32_t flags = meta_flags(fd);

	return flags & LOCKS ? meta_set_flags(fd, flags & ~LOCKS) : 0;
}

static uint32_t all_own_flags(void)
{
	uint32_t all = 0;

	for (size_t i = 0; i < OWN_FLAGS; i++)
		all |= own_flags[i].flag;
	return all;
}

/* One by one, so that one which cannot be does not keep the others away. */
static void apply_each_flag(int fd, uint32_t now, uint32_t wanted, struct meta_left *left)
{
	for (size_t i = 0; i < OWN_FLAGS; i++) {
		uint32_t flag = own_flags[i].flag, next = (now & ~flag) | (wanted & flag);

		if (next == now)
			continue;
		if (meta_set_flags(fd, next) == 0)
			now = next;
		else
			meta_left_add(left, "flag \"%s\" cannot be %s: %s", own_flags[i].name,
				      wanted & flag ? "set" : "cleared", strerror(errno));
	}
}

static void apply_flags(int fd, uint32_t old, struct meta_left *left)
{
	uint32_t own = all_own_flags(), now = meta_flags(fd), wanted = (now & ~own) | (old & own);

	if (old & FS_VERITY_FL & ~now)
		meta_left_add(left, "flag \"verity\": not brought back");
	if (wanted != now && meta_set_flags(fd, wanted) < 0)
		apply_each_flag(fd, now, wanted, left);
}

void meta_apply_last(int fd, const Amp__VaultMeta *m, struct meta_left *left)
{
	apply_times(fd, m, left);
	apply_flags(fd, m->inode_flags, left);
}
