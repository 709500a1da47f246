/*
 * ampscand/rules.c - see rules.h.
 */
#include "rules.h"

#include "clock.h"
#include "filesystems.h"
#include "proto/types.h"

#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

static int copy_schedule(struct rules *r, const Amp__PolicyBegin *begin)
{
	r->scan_cpu = begin->scan_cpu;
	r->schedule = calloc(begin->n_schedule + 1, sizeof(*r->schedule));
	while (r->schedule && r->schedule_count < begin->n_schedule) {
		r->schedule[r->schedule_count] = strdup(begin->schedule[r->schedule_count]);
		if (!r->schedule[r->schedule_count])
			return -1;
		r->schedule_count++;
	}
	return r->schedule ? 0 : -1;
}

struct rules *rules_new(const Amp__PolicyBegin *begin)
{
	struct rules *r;

	if (strlen(begin->name) > 255 || begin->n_schedule > RULES_SCHEDULE || begin->scan_cpu > 100)
		return NULL;
	r = calloc(1, sizeof(*r));
	if (!r)
		return NULL;
	r->name = strdup(begin->name);
	r->epoch = begin->epoch;
	r->serial = begin->serial;
	r->protect = begin->mode == AMP__POLICY_BEGIN__MODE__PROTECT;
	r->max_file_size = begin->max_file_size;
	r->max_archive_size = begin->max_archive_size;
	r->engine = begin->engine;
	r->as_restored.kind = AMP__POLICY_ENTRY__KIND__ALLOWED;
	if (!r->name || copy_schedule(r, begin) != 0) {
		rules_free(r);
		return NULL;
	}
	return r;
}

static bool is_hash(Amp__PolicyEntry__Kind kind)
{
	return kind == AMP__POLICY_ENTRY__KIND__BLOCKED || kind == AMP__POLICY_ENTRY__KIND__ALLOWED;
}

static bool entry_is_valid(const Amp__PolicyEntry *e)
{
	if (e->kind <= AMP__POLICY_ENTRY__KIND__NONE || e->kind > AMP__POLICY_ENTRY__KIND__EXCLUDE_PROCESS)
		return false;
	if (is_hash(e->kind))
		return e->sha256.len == AMP_SHA256_SIZE && e->text.len <= 4096;
	return e->sha256.len == 0 && e->text.len > 0 && e->text.len < AMP_PATH_MAX &&
	       !memchr(e->text.data, 0, e->text.len);
}

int rules_add(struct rules *r, const Amp__PolicyEntry *e)
{
	struct rule *rule;

	if (!entry_is_valid(e) || r->count >= RULES_MAX)
		return -1;
	if (r->count == r->capacity) {
		size_t n = r->capacity ? r->capacity * 2 : 64;
		struct rule *more = reallocarray(r->rule, n, sizeof(*more));

		if (!more)
			return -1;
		r->rule = more;
		r->capacity = n;
	}
	rule = &r->rule[r->count];
	*rule = (struct rule){.kind = e->kind, .has_uid = e->has_uid, .uid = e->uid, .line = e->line};
	if (is_hash(e->kind))
		memcpy(rule->sha256, e->sha256.data, AMP_SHA256_SIZE);
	if (e->text.len) {
		rule->text = strndup((const char *)e->text.data, e->text.len);
		if (!rule->text)
			return -1;
	}
	r->count++;
	return 0;
}

/* True if nobody but root can put another file at this path. *last: what was
 * seen last on the way there. */
static bool only_root_can_change(const char *path, struct stat *last)
{
	char part[4096];
	size_t n = strlen(path);
	struct stat st;

	*last = (struct stat){.st_mode = 0};
	if (n >= sizeof(part) || path[0] != '/')
		return false;
	for (size_t i = 1; i <= n; i++) {
		if (path[i] != '/' && path[i] != '\0')
			continue;
		memcpy(part, path, i);
		part[i] = '\0';
		/* Links are not followed: host paths hold none, so one never matches. */
		if (fstatat(AT_FDCWD, part, &st, AT_NO_AUTOMOUNT | AT_SYMLINK_NOFOLLOW) != 0)
			return false;
		*last = st;
		/* In a sticky directory others cannot replace what is root's (inode(7)). */
		if (st.st_uid != 0 ||
		    ((st.st_mode & 022) && !(S_ISDIR(st.st_mode) && (st.st_mode & S_ISVTX) && i < n)))
			return false;
	}
	return true;
}

/* What is not there yet is as safe as the directory that it would be made in. */
static bool others_can_change(const char *path)
{
	struct stat last;

	errno = 0;
	if (only_root_can_change(path, &last))
		return false;
	return errno != ENOENT || (last.st_mode & 022);
}

/* Length of a wildcard's part before its first special character, at a slash. */
static void fixed_prefix(const char *pattern, char *out, size_t size)
{
	size_t n = strcspn(pattern, "*?[\\");

	while (n > 1 && pattern[n - 1] != '/')
		n--;
	if (n >= size)
		n = size - 1;
	memcpy(out, pattern, n);
	out[n > 1 ? n - 1 : n] = '\0';
}

static void warn_if_unsafe(struct rule *rule)
{
	char path[4096];

	if (rule->kind == AMP__POLICY_ENTRY__KIND__EXCLUDE_EXTENSION) {
		rule->warning = "any user can give a file this extension";
		return;
	}
	if (rule->kind == AMP__POLICY_ENTRY__KIND__EXCLUDE_WILDCARD)
		fixed_prefix(rule->text, path, sizeof(path));
	else if (rule->kind == AMP__POLICY_ENTRY__KIND__EXCLUDE_PATH)
		snprintf(path, sizeof(path), "%s", rule->text);
	else
		return;
	if (others_can_change(path))
		rule->warning = "others than root can write there";
}

static uint64_t index_key(const uint8_t sha256[AMP_SHA256_SIZE])
{
	uint64_t k;

	memcpy(&k, sha256, sizeof(k));
	return k;
}

static int build_index(struct rules *r)
{
	size_t n = 64;

	while (n < r->count * 2)
		n *= 2;
	r->index = calloc(n, sizeof(*r->index));
	r->index_size = n;
	if (!r->index)
		return -1;
	for (size_t i = 0; i < r->count; i++) {
		size_t at;

		if (!is_hash(r->rule[i].kind))
			continue;
		at = index_key(r->rule[i].sha256) & (n - 1);
		while (r->index[at])
			at = (at + 1) & (n - 1);
		r->index[at] = (uint32_t)i + 1;
	}
	return 0;
}

int rules_seal(struct rules *r)
{
	r->exclusions = calloc(r->count + 1, sizeof(*r->exclusions));
	if (!r->exclusions)
		return -1;
	for (size_t i = 0; i < r->count; i++) {
		if (is_hash(r->rule[i].kind))
			continue;
		r->exclusions[r->exclusion_count++] = i;
		warn_if_unsafe(&r->rule[i]);
	}
	return build_index(r);
}

void rules_free(struct rules *r)
{
	if (!r)
		return;
	for (size_t i = 0; i < r->count; i++)
		free(r->rule[i].text);
	free(r->rule);
	free(r->index);
	free(r->exclusions);
	while (r->schedule && r->schedule_count)
		free(r->schedule[--r->schedule_count]);
	free(r->schedule);
	free(r->name);
	free(r);
}

struct rule *rules_lookup(struct rules *r, const uint8_t sha256[AMP_SHA256_SIZE])
{
	size_t at = index_key(sha256) & (r->index_size - 1);
	struct rule *found = NULL;

	if (r->restored && restored_has(r->restored, sha256))
		return &r->as_restored;
	for (; r->index[at]; at = (at + 1) & (r->index_size - 1)) {
		struct rule *rule = &r->rule[r->index[at] - 1];

		if (memcmp(rule->sha256, sha256, AMP_SHA256_SIZE) != 0)
			continue;
		if (rule->kind == AMP__POLICY_ENTRY__KIND__ALLOWED)
			return rule;
		if (!found)
			found = rule;
	}
	return found;
}

bool rule_is_restored(const struct rules *r, const struct rule *rule)
{
	return rule == &r->as_restored;
}

static bool match_path(struct rule *rule, const char *path)
{
	return path_below(path, rule->text);
}

static bool match_wildcard(struct rule *rule, const char *path)
{
	return fnmatch(rule->text, path, FNM_PATHNAME | FNM_NOESCAPE) == 0;
}

static bool match_extension(struct rule *rule, const char *path)
{
	const char *slash = strrchr(path, '/');
	const char *dot = strrchr(slash ? slash + 1 : path, '.');

	return dot && strcmp(dot + 1, rule->text) == 0;
}

/*
 * The link's text only says where to look: what counts is that the process
 * runs the very inode which the host has at the path, and that only root can
 * change what is there.
 */
static bool match_process(struct rule *rule, const struct who *who)
{
	int64_t now = amp_clock_monotonic();
	struct stat st;

	if (!who || !who->known || !who->exe_ino || (rule->has_uid && rule->uid != who->uid) ||
	    strcmp(who->exe, rule->text) != 0)
		return false;
	if (rule->checked_ns == 0 || now - rule->checked_ns > AMP_NS_PER_SEC) {
		rule->checked_ns = now;
		rule->dev = rule->ino = 0;
		if (only_root_can_change(rule->text, &st)) {
			rule->dev = makedev(major(st.st_dev), minor(st.st_dev));
			rule->ino = st.st_ino;
			rule->warning = NULL;
		} else {
			rule->warning = "not there, or others than root can change it: it excludes nothing";
		}
	}
	return rule->ino && rule->ino == who->exe_ino && rule->dev == who->exe_dev;
}

static bool matches(struct rule *rule, const char *path, const struct who *who, bool by_process)
{
	switch (rule->kind) {
	case AMP__POLICY_ENTRY__KIND__EXCLUDE_PATH:
		return path && match_path(rule, path);
	case AMP__POLICY_ENTRY__KIND__EXCLUDE_WILDCARD:
		return path && match_wildcard(rule, path);
	case AMP__POLICY_ENTRY__KIND__EXCLUDE_EXTENSION:
		return path && match_extension(rule, path);
	case AMP__POLICY_ENTRY__KIND__EXCLUDE_PROCESS:
		return by_process && match_process(rule, who);
	default:
		return false;
	}
}

struct rule *rules_exclude(struct rules *r, const char *path, const struct who *who, bool by_process)
{
	for (size_t i = 0; i < r->exclusion_count; i++) {
		struct rule *rule = &r->rule[r->exclusions[i]];

		if (matches(rule, path, who, by_process))
			return rule;
	}
	return NULL;
}

const char *rule_kind_name(const struct rule *r)
{
	static const char *const names[] = {
		[AMP__POLICY_ENTRY__KIND__BLOCKED] = "blocked",
		[AMP__POLICY_ENTRY__KIND__ALLOWED] = "allowed",
		[AMP__POLICY_ENTRY__KIND__EXCLUDE_PATH] = "path",
		[AMP__POLICY_ENTRY__KIND__EXCLUDE_WILDCARD] = "wildcard",
		[AMP__POLICY_ENTRY__KIND__EXCLUDE_EXTENSION] = "extension",
		[AMP__POLICY_ENTRY__KIND__EXCLUDE_PROCESS] = "process",
	};

	if ((size_t)r->kind >= sizeof(names) / sizeof(names[0]) || !names[r->kind])
		return "unknown";
	return names[r->kind];
}
