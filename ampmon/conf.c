/*
 * ampmon/conf.c - the configuration file (see conf.h).
 *
 * Owns: the table of its keys, the checks a single key cannot do, user and
 * group look-ups before start. Must not own: reading and grammar (keys.c).
 */
#include "ampmon/conf.h"

#include "ampmon/keys.h"

#include <ctype.h>
#include <errno.h>
#include <grp.h>
#include <limits.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define CLAMAV_DEFINITIONS "/var/lib/clamav"

#define RUN_DIR_MAX 90 /* sun_path has 108 bytes; a service's name follows */

static const char *const log_levels[] = {"error", "warn", "info", "debug", NULL};
static const char *const event_sources[] = {"auto", "fd", NULL};
static const char *const switches[] = {"off", "on", NULL};
static const char *const reload_orders[] = {"before", "after", NULL};
static const char *const queue_limits[] = {"unlimited", "limited", NULL};

/* Judging there would wait for a server or a user's own process. */
static const char *const remote_types[] = {"nfs",  "nfs4", "cifs",    "smb3",	  "smbfs", "9p",    "afs",
					   "ceph", "fuse", "fuseblk", "virtiofs", "gfs2",  "ocfs2", NULL};

static bool has_dot_dot(const char *path)
{
	for (const char *p = path; (p = strstr(p, "..")); p += 2)
		if ((p == path || p[-1] == '/') && (p[2] == '/' || p[2] == '\0'))
			return true;
	return false;
}

static const char *check_dir(const char *v)
{
	if (v[0] != '/')
		return "is no absolute path; begin it with /";
	if (has_dot_dot(v))
		return "has a .. in it; write the path without";
	if (v[1] == '\0')
		return "is the root directory; name one of its own";
	return NULL;
}

static const char *check_watch(const char *v)
{
	struct stat st;

	if (v[0] != '/')
		return "is no absolute path; begin it with /";
	if (stat(v, &st) < 0 || !S_ISDIR(st.st_mode))
		return "is no directory here; make it, or remove the entry";
	return NULL;
}

/* Who can write there can have any file convicted, and feed libclamav. */
static const char *check_definitions(const char *v)
{
	const char *why = check_dir(v);
	struct stat st;

	if (!why && stat(v, &st) == 0 && S_ISDIR(st.st_mode) && (st.st_mode & S_IWOTH))
		return "can be written by everybody; chmod o-w it, or name another";
	return why;
}

static const char *check_name(const char *v)
{
	if (v[0] == '-' || v[strspn(v, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-")])
		return "is no name; use letters, digits, '_', '.' and '-'";
	return NULL;
}

static const char *check_user(const char *v)
{
	if (strcmp(v, "root") == 0)
		return "must not be root; name a user of the room's own";
	return check_name(v);
}

static const char *check_policy(const char *v)
{
	return strchr(v, '.') ? "is no policy id; write the file's name without .conf" : check_name(v);
}

static const char *check_type(const char *v)
{
	for (size_t i = 0; remote_types[i]; i++)
		if (strcmp(v, remote_types[i]) == 0)
			return "is a network, cluster or FUSE file system and never watched; remove it";
	if (strncmp(v, "fuse.", 5) == 0)
		return "is a FUSE file system and never watched; remove it";
	return strlen(v) > 63 ? "is too long; write the type as in /proc/self/mountinfo" : check_name(v);
}

#define LOCAL_TYPES                                                                                          \
	"ext2 ext3 ext4 xfs btrfs f2fs bcachefs jfs reiserfs nilfs2 zfs tmpfs ramfs overlay vfat msdos "     \
	"exfat ntfs3 "                                                                                       \
	"hfsplus udf iso9660 squashfs erofs"

#define AT(member) .offset = offsetof(struct mon_conf, member)
#define DIRECTORY(key, member, value, longest)                                                               \
	{                                                                                                    \
		.name = key, .type = MON_KEY_STRING, AT(member), .def = value, .min = 1, .max = longest,     \
		.check = check_dir                                                                           \
	}
#define NAME(key, member, value, least, function)                                                            \
	{                                                                                                    \
		.name = key, .type = MON_KEY_STRING, AT(member), .def = value, .min = least, .max = 64,      \
		.check = function                                                                            \
	}
#define NUMBER(key, member, value, least, most)                                                              \
	{                                                                                                    \
		.name = key, .type = MON_KEY_UINT, AT(member), .def = value, .min = least, .max = most       \
	}

/* Order: as mon_conf_print shows it; the enum names rows that whole-file checks speak of. */
/* clang-format off */
enum { KEY_CLOUD_DIR = 6, KEY_QUARANTINE_DIR = 7, KEY_POLICY_DIR = 8, KEY_USERS = 11, KEY_TIMEOUT = 22 };
static const struct mon_key keys[] = {
	{.name = "log_level", .type = MON_KEY_CHOICE, AT(log_level), .def = "info", .choices = log_levels},
	DIRECTORY("log_dir", log_dir, AMP_LOGDIR, 1024),
	/* Above it stands RLIMIT_FSIZE of the rooms (lib/role.c). */
	{.name = "log_max_size", .type = MON_KEY_UINT64, AT(log_max_size), .def = "10485760", .min = 4096, .max = 12582912},
	NUMBER("log_keep", log_keep, "5", 1, 100),
	DIRECTORY("run_dir", run_dir, AMP_RUNDIR, RUN_DIR_MAX),
	DIRECTORY("etc_dir", etc_dir, AMP_SYSCONFDIR, 1024),
	/* "": below etc_dir */
	{.name = "cloud_dir", .type = MON_KEY_STRING, AT(cloud_dir), .def = "", .max = 1100},
	{.name = "quarantine_dir", .type = MON_KEY_STRING, AT(quarantine_dir), .def = "", .max = 1100},
	{.name = "policy_dir", .type = MON_KEY_STRING, AT(policy_dir), .def = "", .max = 1100},
	NAME("policy", policy, "protect", 1, check_policy),
	NAME("cli_group", cli_group, AMP_CLI_GROUP, 0, check_name),
	NAME("user_ampscand", user[AMP_ROLE_SCAN], "amp-scan", 1, check_user),
	NAME("user_ampread", user[AMP_ROLE_READ], "amp-read", 1, check_user),
	NAME("user_ampcloudd", user[AMP_ROLE_CLOUD], "amp-cloud", 1, check_user),
	NAME("user_ampquard", user[AMP_ROLE_QUARD], "amp-quard", 1, check_user),
	NAME("user_ampengine", user[AMP_ROLE_ENGINE], "amp-engine", 1, check_user),
	{.name = "watch", .type = MON_KEY_LIST, AT(watch), .def = "", .max = 64, .check = check_watch},
	{.name = "filesystem_types", .type = MON_KEY_LIST, AT(filesystem_types), .def = LOCAL_TYPES, .min = 1, .max = 64, .check = check_type},
	{.name = "event_source", .type = MON_KEY_SWITCH, AT(force_fd_source), .def = "auto", .choices = event_sources},
	{.name = "queue_limit", .type = MON_KEY_SWITCH, AT(limited_queue), .def = "unlimited", .choices = queue_limits},
	NUMBER("event_buffers", event_buffers, "64", 2, 256),
	NUMBER("heartbeat_interval", heartbeat_interval, "5", 1, 300),
	NUMBER("heartbeat_timeout", heartbeat_timeout, "15", 2, 900),
	{.name = "history_max_rows", .type = MON_KEY_UINT64, AT(history_max_rows), .def = "1000000", .min = 10, .max = 1000000000},
	{.name = "quarantine_max_size", .type = MON_KEY_UINT64, AT(quarantine_max_size), .def = "10737418240", .min = UINT64_C(16) << 20, .max = UINT64_C(1) << 60},
	NUMBER("quarantine_days", quarantine_days, "90", 1, 36500),
	{.name = "engine", .type = MON_KEY_SWITCH, AT(engine), .def = "on", .choices = switches},
	/* empty: the default directories */
	{.name = "definitions", .type = MON_KEY_LIST, AT(definitions), .def = "", .max = MON_DEFINITIONS_MAX, .check = check_definitions},
	/* Above it stands RLIMIT_NPROC of ampengine (lib/role.c). */
	NUMBER("engine_workers", engine_workers, "0", 0, 28),
	{.name = "engine_memory", .type = MON_KEY_UINT64, AT(engine_memory), .def = "536870912", .min = UINT64_C(64) << 20, .max = UINT64_C(1) << 40},
	{.name = "engine_reload", .type = MON_KEY_SWITCH, AT(engine_reload_after), .def = "before", .choices = reload_orders},
	DIRECTORY("bin_dir", bin_dir, AMP_BINDIR, 1024),
};
/* clang-format on */
#define KEYS (sizeof(keys) / sizeof(keys[0]))

static int fail_key(const struct mon_conf *c, const unsigned *lines, size_t key, const char *what, char *err,
		    size_t size)
{
	if (lines[key] > 0)
		snprintf(err, size, "%s:%u: %s: %s", c->path, lines[key], keys[key].name, what);
	else
		snprintf(err, size, "%s: %s: %s", c->path, keys[key].name, what);
	return -1;
}

/* A directory whose default stands below etc_dir. */
static int below_etc(struct mon_conf *c, char **dir, const char *name, const unsigned *lines, size_t key,
		     char *err, size_t size)
{
	const char *why;

	if ((*dir)[0] == '\0') {
		free(*dir);
		if (asprintf(dir, "%s/%s", c->etc_dir, name) < 0)
			*dir = NULL;
	}
	why = *dir ? check_dir(*dir) : "memory is short; try again";
	return why ? fail_key(c, lines, key, why, err, size) : 0;
}

/* Two rooms of one user could signal and trace each other. */
static int users_differ(const struct mon_conf *c, const unsigned *lines, char *err, size_t size)
{
	for (size_t i = AMP_ROLE_SCAN; i < AMP_ROLE_COUNT; i++)
		for (size_t k = i + 1; k < AMP_ROLE_COUNT; k++)
			if (strcmp(c->user[i], c->user[k]) == 0)
				return fail_key(c, lines, KEY_USERS + k - AMP_ROLE_SCAN,
						"is the user of another room; give each room one of its own",
						err, size);
	return 0;
}

/* What one room owns, another could otherwise take from it. */
static int rooms_dirs_apart(const struct mon_conf *c, const unsigned *lines, char *err, size_t size)
{
	const char *a = c->cloud_dir, *b = c->quarantine_dir;
	size_t n = 0;

	while (a[n] && a[n] == b[n])
		n++;
	if ((a[n] && a[n] != '/') || (b[n] && b[n] != '/') || (a[n] && b[n]))
		return 0;
	return fail_key(
		c, lines, KEY_QUARANTINE_DIR,
		"and cloud_dir are one, or one is in the other; give each room a directory of its own", err,
		size);
}

/* What freshclam fills, and the suite's own. */
static int default_definitions(struct mon_conf *c)
{
	char **list;

	if (c->definitions[0])
		return 0;
	list = calloc(3, sizeof(*list));
	if (!list)
		return -1;
	free(c->definitions);
	c->definitions = list;
	list[0] = strdup(CLAMAV_DEFINITIONS);
	return list[0] && asprintf(&list[1], "%s/definitions", c->etc_dir) >= 0 ? 0 : -1;
}

void mon_conf_look(char *const *dirs, struct mon_dir_id ids[MON_DEFINITIONS_MAX])
{
	struct stat st;

	memset(ids, 0, MON_DEFINITIONS_MAX * sizeof(*ids));
	for (unsigned i = 0; dirs[i] && i < MON_DEFINITIONS_MAX; i++)
		if (stat(dirs[i], &st) == 0 && S_ISDIR(st.st_mode))
			ids[i] = (struct mon_dir_id){.dev = st.st_dev, .ino = st.st_ino};
}

/* Each entry by its true name: events are compared with host paths. */
static int canonical_watch(struct mon_conf *c)
{
	for (char **w = c->watch; *w; w++) {
		char *real = realpath(*w, NULL);

		if (!real)
			return -1;
		free(*w);
		*w = real;
	}
	return 0;
}

static int check_whole(struct mon_conf *c, const unsigned *lines, char *err, size_t size)
{
	if (below_etc(c, &c->cloud_dir, "cloud", lines, KEY_CLOUD_DIR, err, size) < 0 ||
	    below_etc(c, &c->quarantine_dir, "quarantine", lines, KEY_QUARANTINE_DIR, err, size) < 0 ||
	    below_etc(c, &c->policy_dir, "policies", lines, KEY_POLICY_DIR, err, size) < 0 ||
	    rooms_dirs_apart(c, lines, err, size) < 0 || users_differ(c, lines, err, size) < 0)
		return -1;
	if (c->heartbeat_timeout <= c->heartbeat_interval)
		return fail_key(c, lines, KEY_TIMEOUT,
				"is not above heartbeat_interval; write twice that or more", err, size);
	if (default_definitions(c) < 0) {
		snprintf(err, size, "%s: definitions: memory is short; try again", c->path);
		return -1;
	}
	mon_conf_look(c->definitions, c->definitions_ids);
	if (canonical_watch(c) < 0) {
		snprintf(err, size, "%s: watch: a directory went away: %s; try again", c->path,
			 strerror(errno));
		return -1;
	}
	return 0;
}

struct mon_conf *mon_conf_load(const char *path, char *err, size_t size)
{
	struct mon_conf *c = calloc(1, sizeof(*c));
	unsigned lines[KEYS] = {0};

	if (c)
		c->path = strdup(path);
	if (!c || !c->path) {
		snprintf(err, size, "%s: memory is short; try again", path);
		free(c);
		return NULL;
	}
	if (mon_keys_load(path, keys, KEYS, c, lines, err, size) < 0 ||
	    check_whole(c, lines, err, size) < 0) {
		mon_conf_free(c);
		return NULL;
	}
	return c;
}

void mon_conf_free(struct mon_conf *c)
{
	if (!c)
		return;
	mon_keys_free(keys, KEYS, c);
	free(c->path);
	free(c);
}

void mon_conf_print(const struct mon_conf *c, FILE *out)
{
	fprintf(out, "# effective values of %s\n", c->path);
	mon_keys_print(keys, KEYS, c, out);
}

bool mon_conf_role_wanted(const struct mon_conf *c, enum amp_role_id role)
{
	return role != AMP_ROLE_ENGINE || c->engine;
}

int mon_conf_user(const struct mon_conf *c, enum amp_role_id role, uid_t *uid, gid_t *gid, char *err,
		  size_t size)
{
	const struct amp_role *row = amp_role(role);
	const struct passwd *pw;

	*uid = 0;
	*gid = 0;
	if (role == AMP_ROLE_MON)
		return 0;
	if (!row) {
		snprintf(err, size, "role %d is not known", (int)role);
		return -1;
	}
	errno = 0;
	pw = getpwnam(c->user[role]);
	if (!pw) {
		snprintf(err, size,
			 "%s: user_%s: there is no user \"%s\"%s%s; run useradd --system %s, or name another",
			 c->path, row->name, c->user[role], errno ? ": " : "", errno ? strerror(errno) : "",
			 c->user[role]);
		return -1;
	}
	if (pw->pw_uid == 0 || pw->pw_gid == 0) {
		snprintf(err, size,
			 "%s: user_%s: \"%s\" is root or of root's group; name a user of the room's own",
			 c->path, row->name, c->user[role]);
		return -1;
	}
	*uid = pw->pw_uid;
	*gid = pw->pw_gid;
	return 0;
}

char *mon_conf_room_dir(const struct mon_conf *c, enum amp_role_id role)
{
	if (role == AMP_ROLE_CLOUD)
		return c->cloud_dir;
	return role == AMP_ROLE_QUARD ? c->quarantine_dir : NULL;
}

gid_t mon_conf_cli_group(const struct mon_conf *c)
{
	const struct group *gr = c->cli_group[0] ? getgrnam(c->cli_group) : NULL;

	return gr ? gr->gr_gid : (gid_t)-1;
}
