/*
 * ampscand/demandtask.c - which paths a scan on demand walks.
 *
 * Owns: paths as they are kept, the tasks made of them and of the watched file
 * systems, the places that start programs, users' directories. Must not own:
 * any look at what is there: the walker tells.
 */
#include "demand.h"

#include "log.h"

#include <errno.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/vfs.h>

#define HOMES_MAX 1024U

/* Where programs are named that start by themselves. What is not there is passed over. */
static const char *const start_places[] = {
	"/etc/init.d",
	"/etc/rc.local",
	"/etc/rc.d",
	"/etc/inittab",
	"/etc/crontab",
	"/etc/anacrontab",
	"/etc/cron.d",
	"/etc/cron.hourly",
	"/etc/cron.daily",
	"/etc/cron.weekly",
	"/etc/cron.monthly",
	"/var/spool/cron",
	"/var/spool/at",
	"/etc/systemd",
	"/run/systemd/system",
	"/usr/lib/systemd",
	"/usr/local/lib/systemd",
	"/etc/profile",
	"/etc/profile.d",
	"/etc/bash.bashrc",
	"/etc/bashrc",
	"/etc/environment",
	"/etc/ld.so.preload",
	"/etc/xdg/autostart",
	"/etc/X11/Xsession.d",
	"/etc/udev/rules.d",
	"/etc/modules-load.d",
	"/etc/update-motd.d",
	"/etc/NetworkManager/dispatcher.d",
	"/etc/network/if-up.d",
};

/* The same below a user's directory. */
static const char *const home_places[] = {
	".config/autostart",
	".config/systemd",
	".local/share/systemd",
	".bashrc",
	".bash_profile",
	".bash_login",
	".bash_logout",
	".profile",
	".zshrc",
	".zshenv",
	".zprofile",
	".config/fish",
	".xprofile",
	".xinitrc",
	".xsession",
	".ssh",
};

int demand_paths_add(struct demand_paths *p, const char *path, size_t n)
{
	char **grown;

	/* A power of two: it is full. */
	if ((p->count & (p->count - 1)) == 0) {
		grown = reallocarray(p->path, p->count ? p->count * 2 : 1, sizeof(*p->path));
		if (!grown)
			return -1;
		p->path = grown;
	}
	p->path[p->count] = strndup(path, n);
	if (!p->path[p->count])
		return -1;
	p->count++;
	return 0;
}

static int by_bytes(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

void demand_paths_sort(struct demand_paths *p)
{
	size_t kept = 0;

	if (p->count)
		qsort(p->path, p->count, sizeof(*p->path), by_bytes);
	for (size_t i = 0; i < p->count; i++) {
		if (kept && strcmp(p->path[kept - 1], p->path[i]) == 0)
			free(p->path[i]);
		else
			p->path[kept++] = p->path[i];
	}
	/* Its room is for a power of two at least as large as before: see demand_paths_add(). */
	p->count = kept;
}

void demand_paths_free(struct demand_paths *p)
{
	for (size_t i = 0; i < p->count; i++)
		free(p->path[i]);
	free(p->path);
	*p = (struct demand_paths){0};
}

bool demand_paths_equal(const struct demand_paths *a, const struct demand_paths *b)
{
	if (a->count != b->count)
		return false;
	for (size_t i = 0; i < a->count; i++)
		if (strcmp(a->path[i], b->path[i]) != 0)
			return false;
	return true;
}

size_t demand_paths_bytes(const struct demand_paths *p)
{
	size_t n = 0;

	for (size_t i = 0; i < p->count; i++)
		n += strlen(p->path[i]) + 5; /* its tag and length */
	return n;
}

/* The next part of a path at *at, which moves behind it; 0: none. */
static size_t next_part(const char **at, const char *end, const char **part)
{
	while (*at < end && **at == '/')
		(*at)++;
	*part = *at;
	while (*at < end && **at != '/')
		(*at)++;
	return (size_t)(*at - *part);
}

char *demand_path_clean(const uint8_t *path, size_t n)
{
	const char *at = (const char *)path, *end = at + n, *part;
	char *out, *to;
	size_t len;

	if (n == 0 || n >= AMP_PATH_MAX || path[0] != '/' || memchr(path, 0, n))
		return NULL;
	out = to = malloc(n + 2);
	while (out && (len = next_part(&at, end, &part)) > 0) {
		if (len == 1 && part[0] == '.')
			continue;
		if (len == 2 && part[0] == '.' && part[1] == '.') {
			free(out); /* behind a link it leads elsewhere than it says */
			return NULL;
		}
		*to++ = '/';
		memcpy(to, part, len);
		to += len;
	}
	if (!out)
		return NULL;
	if (to == out)
		*to++ = '/';
	*to = '\0';
	return out;
}

/* Before the drop: nobody looks users up later. */
int demand_homes(struct demand *dm, const char *passwd)
{
	FILE *f = fopen(passwd, "re");
	const struct passwd *pw;

	while (f && dm->homes.count < HOMES_MAX && (pw = fgetpwent(f)) != NULL) {
		char *home = demand_path_clean((const uint8_t *)pw->pw_dir, strlen(pw->pw_dir));

		if (home && home[1] && demand_paths_add(&dm->homes, home, strlen(home)) != 0) {
			free(home);
			fclose(f);
			return -1;
		}
		free(home);
	}
	if (f)
		fclose(f);
	demand_paths_sort(&dm->homes);
	return 0;
}

static bool is_watched(const struct filesystem *fs)
{
	return fs->how != AMP__FILE_SYSTEM__HOW__NOT_WATCHED && fs->mount_point[0];
}

const struct filesystem *demand_filesystem(const struct scand *s, const char *path)
{
	const struct filesystem *best = NULL;
	size_t length = 0;

	for (const struct filesystem *fs = s->filesystems.first; fs; fs = fs->next) {
		size_t n = strlen(fs->mount_point);

		if (is_watched(fs) && n > length && path_below(path, fs->mount_point)) {
			best = fs;
			length = n;
		}
	}
	return best;
}

/* `paths` are sorted: does one of them lead to `path` on the same file system? */
static bool is_covered(const struct scand *s, const struct demand_paths *paths, char *path)
{
	const struct filesystem *fs = demand_filesystem(s, path);
	bool covered = false;

	for (char *at = path; path[1] && at && !covered; at = strchr(at + 1, '/')) {
		char *key = at == path ? (char *)(uintptr_t) "/" : path, **found;

		if (at != path)
			*at = '\0';
		found = bsearch(&key, paths->path, paths->count, sizeof(*paths->path), by_bytes);
		if (at != path)
			*at = '/';
		covered = found && demand_filesystem(s, *found) == fs;
	}
	return covered;
}

static int below(struct scand *s, const char *top, struct demand_paths *out)
{
	for (const struct filesystem *fs = s->filesystems.first; fs; fs = fs->next)
		if (is_watched(fs) && path_below(fs->mount_point, top) &&
		    demand_paths_add(out, fs->mount_point, strlen(fs->mount_point)) != 0)
			return -1;
	return 0;
}

/* What is left of `all` if each file is looked at once. */
static int without_nested(struct scand *s, struct demand_paths *all, struct demand_paths *out)
{
	int rc = 0;

	demand_paths_sort(all);
	for (size_t i = 0; i < all->count && rc == 0; i++) {
		char *path = strdup(all->path[i]); /* cut while it is looked at */

		if (!path)
			rc = -1;
		else if (!is_covered(s, all, path))
			rc = demand_paths_add(out, path, strlen(path));
		free(path);
	}
	return rc;
}

static int of_paths(struct demand_scan *d)
{
	struct scand *s = d->scand;
	struct demand_paths all = {0};
	int rc = 0;

	for (size_t i = 0; i < d->paths.count && rc == 0; i++) {
		rc = demand_paths_add(&all, d->paths.path[i], strlen(d->paths.path[i]));
		if (rc == 0 && !d->one_file_system)
			rc = below(s, d->paths.path[i], &all);
	}
	if (rc == 0)
		rc = without_nested(s, &all, &d->tasks);
	demand_paths_free(&all);
	return rc;
}

static int of_filesystems(struct demand_scan *d)
{
	int rc = below(d->scand, "/", &d->tasks);

	demand_paths_sort(&d->tasks);
	return rc;
}

static int of_home(struct demand_paths *tasks, const char *home)
{
	char path[AMP_PATH_MAX + 64];
	int rc = 0;

	for (size_t i = 0; i < sizeof(home_places) / sizeof(home_places[0]) && rc == 0; i++) {
		int n = snprintf(path, sizeof(path), "%s/%s", home, home_places[i]);

		rc = demand_paths_add(tasks, path, (size_t)n);
	}
	return rc;
}

/* One task: what processes run and map, and these places, are one list (demand_flash()). */
static int of_places(struct demand_scan *d)
{
	return demand_paths_add(&d->tasks, "", 0);
}

int demand_flash(struct demand_scan *d)
{
	const struct demand_paths *homes = &d->scand->demand->homes;
	struct demand_paths all = d->mapped;
	int rc = 0;

	d->mapped = (struct demand_paths){0};
	for (size_t i = 0; i < sizeof(start_places) / sizeof(start_places[0]) && rc == 0; i++)
		rc = demand_paths_add(&all, start_places[i], strlen(start_places[i]));
	for (size_t i = 0; i < homes->count && rc == 0; i++)
		rc = of_home(&all, homes->path[i]);
	if (rc == 0)
		rc = without_nested(d->scand, &all, &d->mapped);
	demand_paths_free(&all);
	return rc;
}

typedef int make_tasks(struct demand_scan *d);

static make_tasks *const makers[] = {
	[AMP__CLI_SCAN_START__KIND__PATHS] = of_paths,
	[AMP__CLI_SCAN_START__KIND__FLASH] = of_places,
	[AMP__CLI_SCAN_START__KIND__FULL] = of_filesystems,
};

int demand_tasks(struct demand_scan *d)
{
	if (makers[d->kind](d) != 0) {
		demand_paths_free(&d->tasks);
		snprintf(d->error, sizeof(d->error), "no memory");
		return -1;
	}
	if (demand_paths_bytes(&d->tasks) <= DEMAND_TASKS_BYTES)
		return 0;
	demand_paths_free(&d->tasks);
	snprintf(d->error, sizeof(d->error),
		 "too many file systems for one scan; scan them one after the other with `ampcli scan start "
		 "PATH`");
	return -1;
}

static bool is_known_mount(const struct demand_scan *d, const char *path)
{
	const struct filesystem *fs = demand_filesystem(d->scand, path);

	return fs && strcmp(fs->mount_point, path) == 0;
}

/* Mounted just before the scan began, maybe: ampmon had not told of them yet. */
bool demand_mounts_known(const struct demand_scan *d)
{
	for (size_t i = 0; i < d->mounts.count; i++)
		if (!is_known_mount(d, d->mounts.path[i]))
			return false;
	return true;
}

static bool is_among(const struct demand_paths *p, const char *path)
{
	for (size_t i = 0; i < p->count; i++)
		if (strcmp(p->path[i], path) == 0)
			return true;
	return false;
}

void demand_mount_met(struct demand_scan *d, const char *path)
{
	if (!d->one_file_system && d->mounts.count < DEMAND_MOUNTS && !is_known_mount(d, path) &&
	    !is_among(&d->mounts, path))
		demand_paths_add(&d->mounts, path, strlen(path));
}

/* Those that are known by now. */
static int mounts_below(struct demand_scan *d, struct demand_paths *all)
{
	int rc = 0;

	if (d->one_file_system || d->kind == AMP__CLI_SCAN_START__KIND__FLASH)
		return 0;
	if (d->kind == AMP__CLI_SCAN_START__KIND__FULL)
		return below(d->scand, "/", all);
	for (size_t i = 0; i < d->paths.count && rc == 0; i++)
		rc = below(d->scand, d->paths.path[i], all);
	return rc;
}

/* Asked of the file systems, not of what the walk met: that is forgotten when ampscand dies. */
int demand_late_tasks(struct demand_scan *d)
{
	size_t before = d->tasks.count;
	struct demand_paths all = {0};

	demand_paths_free(&d->mounts);
	if (mounts_below(d, &all) != 0)
		d->failed++;
	for (size_t i = 0; i < all.count; i++) {
		const char *path = all.path[i];

		if (is_among(&d->tasks, path))
			continue;
		if (demand_paths_bytes(&d->tasks) + strlen(path) > DEMAND_TASKS_BYTES - 16 ||
		    demand_paths_add(&d->tasks, path, strlen(path)) != 0)
			d->failed++;
	}
	demand_paths_free(&all);
	return d->tasks.count > before;
}

/* The last scan of the same; of everything, what the file systems say. */
uint64_t demand_expected(const struct demand_scan *d)
{
	uint64_t n = 0;

	for (const struct demand_scan *o = d->scand->demand->scans; o; o = o->next)
		if (o != d && o->state == DEMAND_DONE && o->kind == d->kind && o->failed == 0 &&
		    o->one_file_system == d->one_file_system && demand_paths_equal(&o->paths, &d->paths))
			return o->now.files;
	for (size_t i = 0; d->kind == AMP__CLI_SCAN_START__KIND__FULL && i < d->tasks.count; i++) {
		struct statfs sf;

		/* Watched ones only, and those are local: nobody waits for a server. */
		if (statfs(d->tasks.path[i], &sf) == 0 && sf.f_files > sf.f_ffree)
			n += sf.f_files - sf.f_ffree;
	}
	return n;
}
