/*
 * ampmon/policy.c - the installed policies and the one in force (see policy.h).
 *
 * Owns: the table of a policy's keys, the built-in blocked list, the index of
 * blocked hashes, the wire form. Must not own: the form of list lines
 * (lists.c) or what is decided by them (ampscand).
 */
#include "ampmon/policy.h"

#include "ampmon/keys.h"
#include "ampmon/lists.h"
#include "text.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#define SCHEDULE_MAX 16U
#define BATCH_BYTES  49152U /* packed entries in a message: below AMP_MSG_MAX with room for the frame */

static const char *const modes[] = {"audit", "protect", NULL};
static const char *const executes[] = {"passive", NULL};
static const char *const truths[] = {"false", "true", NULL};

/* What is known without any list: the test file by which an installation proves itself. */
static const struct {
	const char *sha256, *name;
} built_in[] = {
	{"275a021bbfb6489e54d471899f7db9d1663fc695ec2fe2a2c4538aabf651fd0f", "EICAR-Test-File"},
};

struct mon_policy {
	char *id;
	char *name;
	unsigned serial;
	int mode, on_execute; /* indices of modes, executes */
	uint64_t max_file_size, max_archive_size;
	bool engine;
	char **schedule;
	unsigned scan_cpu;
	char **blocked_lists, **allowed_lists, **exclusion_lists;
	struct mon_list list;
	const struct mon_entry **blocked; /* by SHA-256, without what is allowed */
	size_t blocked_count;
	const struct mon_entry **allowed; /* by SHA-256 */
	size_t allowed_count;
	uint64_t counts[3]; /* blocked, allowed, exclusions: entries */
};

static const char *check_title(const char *v)
{
	return amp_text_is_utf8(v, strlen(v)) ? NULL : "is not UTF-8; write it in UTF-8";
}

static const char *check_list_name(const char *v)
{
	if (v[0] == '\0' || v[0] == '.' || strchr(v, '/') || strlen(v) > 255 ||
	    !amp_text_is_utf8(v, strlen(v)))
		return "is no file beside the policy; write a plain file name";
	return NULL;
}

static bool is_one_of(const char *word, size_t n, const char *const *list)
{
	for (; *list; list++)
		if (strlen(*list) == n && strncmp(*list, word, n) == 0)
			return true;
	return false;
}

static bool is_time(const char *v)
{
	unsigned hour, minute;
	char end;

	return strlen(v) == 5 && v[2] == ':' && strspn(v, "0123456789:") == 5 &&
	       sscanf(v, "%2u:%2u%c", &hour, &minute, &end) == 2 && hour < 24 && minute < 60;
}

/* "full sun 02:30" */
static const char *check_schedule(const char *v)
{
	static const char *const kinds[] = {"full", "flash", NULL};
	static const char *const days[] = {"daily", "mon", "tue", "wed", "thu", "fri", "sat", "sun", NULL};
	size_t kind = strcspn(v, " "), day = v[kind] ? strcspn(v + kind + 1, " ") : 0;

	if (is_one_of(v, kind, kinds) && is_one_of(v + kind + 1, day, days) && v[kind + 1 + day] == ' ' &&
	    is_time(v + kind + 1 + day + 1))
		return NULL;
	return "is no time of a scan; write \"full\" or \"flash\", \"daily\" or a day from \"mon\" to "
	       "\"sun\", and HH:MM, as in \"full sun 02:30\"";
}

#define AT(member) .offset = offsetof(struct mon_policy, member)
#define LISTS(key, member)                                                                                   \
	{                                                                                                    \
		.name = key, .type = MON_KEY_LIST, AT(member), .def = "", .max = 32,                         \
		.check = check_list_name                                                                     \
	}

/* clang-format off */
static const struct mon_key keys[] = {
	{.name = "name", .type = MON_KEY_STRING, AT(name), .min = 1, .max = 128, .check = check_title},
	{.name = "serial", .type = MON_KEY_UINT, AT(serial), .min = 1, .max = UINT32_MAX},
	{.name = "mode", .type = MON_KEY_CHOICE, AT(mode), .choices = modes},
	{.name = "on_execute", .type = MON_KEY_CHOICE, AT(on_execute), .def = "passive", .choices = executes},
	{.name = "max_file_size", .type = MON_KEY_UINT64, AT(max_file_size), .def = "5242880", .min = 1, .max = UINT64_C(1) << 40},
	{.name = "max_archive_size", .type = MON_KEY_UINT64, AT(max_archive_size), .def = "52428800", .min = 1, .max = UINT64_C(1) << 40},
	{.name = "engine", .type = MON_KEY_SWITCH, AT(engine), .def = "true", .choices = truths},
	{.name = "scan_schedule", .type = MON_KEY_LIST, AT(schedule), .def = "", .max = SCHEDULE_MAX, .check = check_schedule},
	{.name = "scan_cpu", .type = MON_KEY_UINT, AT(scan_cpu), .def = "50", .min = 1, .max = 100},
	LISTS("blocked_lists", blocked_lists),
	LISTS("allowed_lists", allowed_lists),
	LISTS("exclusion_lists", exclusion_lists),
};
/* clang-format on */
#define KEYS (sizeof(keys) / sizeof(keys[0]))

static bool id_good(const char *id)
{
	size_t n = strlen(id);

	return n >= 1 && n <= 64 &&
	       strspn(id, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-") == n;
}

static int add_built_in(struct mon_policy *p)
{
	for (size_t i = 0; i < sizeof(built_in) / sizeof(built_in[0]); i++) {
		char line[512];
		int n = snprintf(line, sizeof(line), "%s %s\n", built_in[i].sha256, built_in[i].name);

		if (mon_list_parse(&p->list, "built-in", AMP__POLICY_ENTRY__KIND__BLOCKED, line, (size_t)n,
				   NULL) < 0)
			return -1;
	}
	return 0;
}

static int read_lists(struct mon_policy *p, const char *dir, char *const *names, Amp__PolicyEntry__Kind kind)
{
	for (; *names; names++) {
		char path[PATH_MAX];

		snprintf(path, sizeof(path), "%s/%s", dir, *names);
		if (mon_list_read(&p->list, path, *names, kind) < 0)
			return -1;
	}
	return 0;
}

static int by_hash(const void *a, const void *b)
{
	const struct mon_entry *const *x = a, *const *y = b;

	return memcmp((*x)->sha256, (*y)->sha256, sizeof((*x)->sha256));
}

static size_t collect(const struct mon_policy *p, Amp__PolicyEntry__Kind kind, const struct mon_entry **out)
{
	size_t n = 0;

	for (size_t i = 0; i < p->list.count; i++)
		if (p->list.entries[i].kind == kind)
			out[n++] = &p->list.entries[i];
	qsort(out, n, sizeof(*out), by_hash);
	return n;
}

/* An allowed hash is never a conviction (the order of authority), so it is no reason for a kill. */
static int index_blocked(struct mon_policy *p)
{
	size_t n_allowed, n, kept = 0;

	p->allowed = calloc(p->list.count + 1, sizeof(*p->allowed));
	p->blocked = calloc(p->list.count + 1, sizeof(*p->blocked));
	if (!p->allowed || !p->blocked)
		return -1;
	n_allowed = p->allowed_count = collect(p, AMP__POLICY_ENTRY__KIND__ALLOWED, p->allowed);
	n = collect(p, AMP__POLICY_ENTRY__KIND__BLOCKED, p->blocked);
	p->counts[0] = n;
	p->counts[1] = n_allowed;
	p->counts[2] = p->list.count - n - n_allowed;
	for (size_t i = 0; i < n; i++)
		if (!bsearch(&p->blocked[i], p->allowed, n_allowed, sizeof(*p->allowed), by_hash))
			p->blocked[kept++] = p->blocked[i];
	p->blocked_count = kept;
	return 0;
}

static int load_lists(struct mon_policy *p, const char *dir)
{
	if (add_built_in(p) < 0 ||
	    read_lists(p, dir, p->blocked_lists, AMP__POLICY_ENTRY__KIND__BLOCKED) < 0 ||
	    read_lists(p, dir, p->allowed_lists, AMP__POLICY_ENTRY__KIND__ALLOWED) < 0 ||
	    read_lists(p, dir, p->exclusion_lists, AMP__POLICY_ENTRY__KIND__EXCLUDE_PATH) < 0)
		return -1;
	if (mon_list_finish(&p->list) < 0)
		return -1;
	return index_blocked(p);
}

static int load_into(struct mon_policy *p, const struct mon_conf *c, const char *id, char *err, size_t size)
{
	char path[PATH_MAX];

	p->id = strdup(id);
	snprintf(path, sizeof(path), "%s/%s.conf", c->policy_dir, id);
	if (mon_keys_load(path, keys, KEYS, p, NULL, err, size) < 0)
		return -1;
	if (!p->id || load_lists(p, c->policy_dir) < 0) {
		snprintf(err, size, "%s: memory is short; shorten its lists", path);
		return -1;
	}
	return 0;
}

struct mon_policy *mon_policy_load(const struct mon_conf *c, const char *id, char *err, size_t size)
{
	struct mon_policy *p;

	if (!id_good(id)) {
		snprintf(err, size, "this is no policy id; use 1 to 64 letters, digits, '_' or '-'");
		return NULL;
	}
	p = calloc(1, sizeof(*p));
	if (!p) {
		snprintf(err, size, "memory is short; try again");
		return NULL;
	}
	if (load_into(p, c, id, err, size) < 0) {
		mon_policy_free(p);
		return NULL;
	}
	return p;
}

void mon_policy_free(struct mon_policy *p)
{
	if (!p)
		return;
	mon_keys_free(keys, KEYS, p);
	mon_list_free(&p->list);
	free(p->blocked);
	free(p->allowed);
	free(p->id);
	free(p);
}

const char *mon_policy_id(const struct mon_policy *p)
{
	return p->id;
}

const char *mon_policy_name(const struct mon_policy *p)
{
	return p->name;
}

unsigned mon_policy_serial(const struct mon_policy *p)
{
	return p->serial;
}

bool mon_policy_protects(const struct mon_policy *p)
{
	return p->mode == AMP__POLICY_BEGIN__MODE__PROTECT;
}

bool mon_policy_engine(const struct mon_policy *p)
{
	return p->engine;
}

char **mon_policy_problems(const struct mon_policy *p)
{
	return p->list.problems;
}

static bool listed(const struct mon_entry **list, size_t n, const uint8_t sha256[32])
{
	struct mon_entry wanted;
	const struct mon_entry *key = &wanted;

	memcpy(wanted.sha256, sha256, sizeof(wanted.sha256));
	return bsearch(&key, list, n, sizeof(*list), by_hash) != NULL;
}

bool mon_policy_blocks(const struct mon_policy *p, const uint8_t sha256[32])
{
	return listed(p->blocked, p->blocked_count, sha256);
}

bool mon_policy_allows(const struct mon_policy *p, const uint8_t sha256[32])
{
	return listed(p->allowed, p->allowed_count, sha256);
}

/* ---- the wire ---- */

static void to_wire(const struct mon_entry *e, Amp__PolicyEntry *out)
{
	bool hash =
		e->kind == AMP__POLICY_ENTRY__KIND__BLOCKED || e->kind == AMP__POLICY_ENTRY__KIND__ALLOWED;

	amp__policy_entry__init(out);
	out->kind = e->kind;
	out->line = e->line;
	out->has_uid = e->has_uid;
	out->uid = e->uid;
	/* protobuf-c takes a plain pointer and does not write through it. */
	out->text.data = (uint8_t *)e->text;
	out->text.len = e->text_length;
	if (hash) {
		out->sha256.data = (uint8_t *)(uintptr_t)e->sha256;
		out->sha256.len = sizeof(e->sha256);
	}
}

/* As many from first on as one message holds. Returns how many, or -1. */
static ssize_t send_batch(const struct mon_policy *p, size_t first, struct amp_channel *scand)
{
	Amp__PolicyEntry wire[AMP_POLICY_BATCH], *list[AMP_POLICY_BATCH];
	Amp__PolicyEntries m = AMP__POLICY_ENTRIES__INIT;
	size_t bytes = 0, n = 0;

	for (; n < AMP_POLICY_BATCH && first + n < p->list.count; n++) {
		size_t more;

		to_wire(&p->list.entries[first + n], &wire[n]);
		more = amp__policy_entry__get_packed_size(&wire[n]) + 6; /* tag, length */
		if (n > 0 && bytes + more > BATCH_BYTES)
			break;
		bytes += more;
		list[n] = &wire[n];
	}
	m.entries = list;
	m.n_entries = n;
	if (amp_channel_send(scand, AMP_MSG_POLICY_ENTRIES, 0, &m.base, NULL, 0) < 0)
		return -1;
	return (ssize_t)n;
}

static size_t count_texts(char *const *list)
{
	size_t n = 0;

	while (list[n])
		n++;
	return n;
}

static int send_begin(const struct mon_policy *p, uint64_t epoch, struct amp_channel *scand)
{
	Amp__PolicyBegin m = AMP__POLICY_BEGIN__INIT;

	m.serial = p->serial;
	m.name = p->name;
	m.mode = mon_policy_protects(p) ? AMP__POLICY_BEGIN__MODE__PROTECT : AMP__POLICY_BEGIN__MODE__AUDIT;
	m.max_file_size = p->max_file_size;
	m.max_archive_size = p->max_archive_size;
	m.epoch = epoch;
	m.engine = p->engine;
	m.schedule = p->schedule;
	m.n_schedule = count_texts(p->schedule);
	m.scan_cpu = p->scan_cpu;
	return amp_channel_send(scand, AMP_MSG_POLICY_BEGIN, 0, &m.base, NULL, 0);
}

static int send_end(const struct mon_policy *p, uint64_t epoch, struct amp_channel *scand)
{
	Amp__PolicyEnd m = AMP__POLICY_END__INIT;

	m.epoch = epoch;
	m.entries = p->list.count;
	return amp_channel_send(scand, AMP_MSG_POLICY_END, 0, &m.base, NULL, 0);
}

int mon_policy_send_some(const struct mon_policy *p, uint64_t epoch, struct amp_channel *scand, size_t *next)
{
	if (*next == 0 && send_begin(p, epoch, scand) < 0)
		return -1;
	while (*next < p->list.count) {
		ssize_t n = send_batch(p, *next, scand);

		if (n < 0)
			return -1;
		*next += (size_t)n;
		if (amp_channel_full(scand) && *next < p->list.count)
			return 1;
	}
	return send_end(p, epoch, scand);
}

int mon_policy_send(const struct mon_policy *p, uint64_t epoch, struct amp_channel *scand)
{
	size_t next = 0;
	int rc;

	do {
		rc = mon_policy_send_some(p, epoch, scand, &next);
	} while (rc == 1);
	return rc;
}

void mon_policy_info(const struct mon_policy *p, Amp__CliPolicyInfo *info)
{
	amp__cli_policy_info__init(info);
	info->id = p->id;
	info->name = p->name;
	info->serial = p->serial;
	info->mode = (char *)(uintptr_t)modes[p->mode];
	info->on_execute = (char *)(uintptr_t)executes[p->on_execute];
	info->max_file_size = p->max_file_size;
	info->max_archive_size = p->max_archive_size;
	info->engine = p->engine;
	info->schedule = p->schedule;
	info->n_schedule = count_texts(p->schedule);
	info->scan_cpu = p->scan_cpu;
	info->blocked = p->counts[0];
	info->allowed = p->counts[1];
	info->exclusions = p->counts[2];
	info->problems = p->list.problems;
	info->n_problems = p->list.problem_count;
}

/* ---- what is installed ---- */

static int by_name(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static char *id_of(const char *file)
{
	size_t n = strlen(file);
	char *id;

	if (n <= 5 || strcmp(file + n - 5, ".conf") != 0)
		return NULL;
	id = strndup(file, n - 5);
	if (id && id_good(id))
		return id;
	free(id);
	return NULL;
}

char **mon_policy_list(const struct mon_conf *c)
{
	char **list = calloc(1, sizeof(*list)), **bigger;
	const struct dirent *d;
	size_t n = 0;
	DIR *dir = opendir(c->policy_dir);

	while (list && dir && (d = readdir(dir))) {
		char *id = id_of(d->d_name);

		if (!id)
			continue;
		bigger = reallocarray(list, n + 2, sizeof(*list));
		if (!bigger) {
			free(id);
			break;
		}
		list = bigger;
		list[n++] = id;
		list[n] = NULL;
	}
	if (dir)
		closedir(dir);
	if (list)
		qsort(list, n, sizeof(*list), by_name);
	return list;
}
