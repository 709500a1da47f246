/*
 * ampmon/posture.c - the walls of a process as the kernel shows them, beside
 * its row of the role table (posture.h).
 *
 * Owns: parsing /proc/PID and saying it in words. Must not own: the walls.
 * What an item expects comes from the row alone, what it shows from the
 * kernel alone; equal words are equal walls.
 */
#include "posture.h"

#include "landlock.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/seccomp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#define COUNT(array)  (sizeof(array) / sizeof((array)[0]))
#define MAX_ITEMS     32
#define PROC_FILE_MAX 16384 /* status with some hundred groups; the rest is cut off */
#define WORDS_MAX     1024  /* all capabilities by name */

typedef const struct mon_posture_subject subject;

struct report {
	Amp__CliPostureProcess *out;
	int proc; /* /proc/PID */
	bool failed;
	char text[PROC_FILE_MAX]; /* the file being looked at */
};

static char *copy(struct report *r, const char *s)
{
	char *c = strdup(s);

	if (!c)
		r->failed = true;
	return c ? c : (char *)protobuf_c_empty_string;
}

static void add(struct report *r, const char *what, const char *expected, const char *actual)
{
	Amp__CliPostureItem *item = malloc(sizeof(*item));

	if (!item || r->out->n_items == MAX_ITEMS) {
		free(item);
		r->failed = true;
		return;
	}
	amp__cli_posture_item__init(item);
	item->what = copy(r, what);
	item->expected = copy(r, expected);
	item->actual = copy(r, actual);
	item->equal = strcmp(expected, actual) == 0;
	r->out->items[r->out->n_items++] = item;
}

/* Whole file of /proc/PID into r->text. 0, or -1 and errno. */
static int read_proc(struct report *r, const char *name)
{
	int fd = openat(r->proc, name, O_RDONLY | O_CLOEXEC);
	size_t used = 0;
	ssize_t n;

	if (fd < 0)
		return -1;
	while ((n = read(fd, r->text + used, sizeof(r->text) - 1 - used)) > 0)
		used += (size_t)n;
	r->text[used] = '\0';
	close(fd);
	return n < 0 ? -1 : 0;
}

/* What follows `key` at the start of a line, trimmed, in value; "?" if no such line. */
static void line_of(const char *text, const char *key, char *value, size_t size)
{
	size_t n = strlen(key);

	snprintf(value, size, "?");
	for (const char *line = text; line; line = strchr(line, '\n') ? strchr(line, '\n') + 1 : NULL) {
		if (strncmp(line, key, n) != 0)
			continue;
		line += n + strspn(line + n, " \t");
		snprintf(value, size, "%.*s", (int)strcspn(line, "\n"), line);
		for (n = strlen(value); n > 0 && isspace((unsigned char)value[n - 1]);)
			value[--n] = '\0';
		return;
	}
}

/* Words for what the kernel writes. */

static void show_ids(const char *value, char *buf, size_t size)
{
	unsigned long id[4] = {0};

	if (sscanf(value, "%lu %lu %lu %lu", &id[0], &id[1], &id[2], &id[3]) == 4 && id[0] == id[1] &&
	    id[1] == id[2] && id[2] == id[3])
		snprintf(buf, size, "%lu", id[0]);
	else
		snprintf(buf, size, "%s", value);
}

static void show_groups(const char *value, char *buf, size_t size)
{
	snprintf(buf, size, "%s", *value ? value : "none");
}

static void show_flag(const char *value, char *buf, size_t size)
{
	snprintf(buf, size, "%s", strcmp(value, "1") == 0 ? "yes" : "no");
}

static void show_seccomp(const char *value, char *buf, size_t size)
{
	static const char *const modes[] = {"off", "strict", "filter"};
	size_t mode = (size_t)(value[0] - '0');

	snprintf(buf, size, "%s", value[1] == '\0' && mode < COUNT(modes) ? modes[mode] : value);
}

static uint64_t all_capabilities(void)
{
	return (UINT64_C(2) << (cap_max_bits() - 1)) - 1;
}

static void name_capabilities(uint64_t set, char *buf, size_t size)
{
	size_t used = 0;

	snprintf(buf, size, "%s", set == 0 ? "none" : "all");
	if (set == 0 || set == all_capabilities())
		return;
	for (int cap = 0; cap < 64 && used < size; cap++) {
		char *name;
		int n;

		if (!(set & (UINT64_C(1) << cap)))
			continue;
		name = cap_to_name(cap);
		n = snprintf(buf + used, size - used, "%s%s", used ? " " : "", name ? name : "unknown");
		used += n > 0 ? (size_t)n : 0;
		cap_free(name);
	}
}

static void show_capabilities(const char *value, char *buf, size_t size)
{
	name_capabilities(strtoull(value, NULL, 16), buf, size);
}

/* What the row wants. */

static bool is_room(subject *s)
{
	return s->role->id != AMP_ROLE_MON;
}

static void want_uid(subject *s, char *buf, size_t size)
{
	snprintf(buf, size, "%lu", (unsigned long)s->uid);
}

static void want_gid(subject *s, char *buf, size_t size)
{
	snprintf(buf, size, "%lu", (unsigned long)s->gid);
}

static void want_none(subject *s, char *buf, size_t size)
{
	(void)s;
	snprintf(buf, size, "none");
}

static void want_yes(subject *s, char *buf, size_t size)
{
	(void)s;
	snprintf(buf, size, "yes");
}

/* A room's is its own; ampmon has the one that whatever started it laid over it, if any. */
static void want_seccomp(subject *s, char *buf, size_t size)
{
	bool given = !is_room(s) && prctl(PR_GET_SECCOMP, 0L, 0L, 0L, 0L) == SECCOMP_MODE_FILTER;

	snprintf(buf, size, "%s", s->role->syscalls || given ? "filter" : "off");
}

/* ampmon's own: in a container or under a unit even root's "all" may be less. */
static uint64_t given_capabilities(void)
{
	uint64_t set = 0;

	for (unsigned long cap = 0; cap < 64 && prctl(PR_CAPBSET_READ, cap, 0L, 0L, 0L) >= 0; cap++)
		if (prctl(PR_CAPBSET_READ, cap, 0L, 0L, 0L) == 1)
			set |= UINT64_C(1) << cap;
	return set;
}

static void want_capabilities(subject *s, char *buf, size_t size)
{
	uint64_t set = s->role->capabilities;

	name_capabilities(is_room(s) ? set : set & given_capabilities(), buf, size);
}

static const struct status_check {
	const char *what;
	const char *key;
	void (*want)(subject *s, char *buf, size_t size);
	void (*show)(const char *value, char *buf, size_t size);
	bool rooms_only;
} status_checks[] = {
	{"uid", "Uid:", want_uid, show_ids, false},
	{"gid", "Gid:", want_gid, show_ids, false},
	{"groups", "Groups:", want_none, show_groups, true},
	{"capabilities effective", "CapEff:", want_capabilities, show_capabilities, false},
	{"capabilities permitted", "CapPrm:", want_capabilities, show_capabilities, false},
	{"capabilities inheritable", "CapInh:", want_none, show_capabilities, true},
	{"capabilities bounding", "CapBnd:", want_none, show_capabilities, true},
	{"capabilities ambient", "CapAmb:", want_none, show_capabilities, true},
	{"no_new_privs", "NoNewPrivs:", want_yes, show_flag, true},
	{"seccomp", "Seccomp:", want_seccomp, show_seccomp, false},
};

static int check_status(struct report *r, subject *s)
{
	char expected[WORDS_MAX], value[WORDS_MAX], actual[WORDS_MAX];

	if (read_proc(r, "status") < 0)
		return -1;
	for (size_t i = 0; i < COUNT(status_checks); i++) {
		const struct status_check *c = &status_checks[i];

		if (c->rooms_only && !is_room(s))
			continue;
		line_of(r->text, c->key, value, sizeof(value));
		c->want(s, expected, sizeof(expected));
		c->show(value, actual, sizeof(actual));
		add(r, c->what, expected, actual);
	}
	return 0;
}

/* Everything in /proc/PID but the directory itself is root's when it is undumpable. */
static int check_dumpable(struct report *r, subject *s)
{
	struct stat st;

	if (!is_room(s))
		return 0;
	if (fstatat(r->proc, "status", &st, AT_SYMLINK_NOFOLLOW) < 0)
		return -1;
	add(r, "dumpable", "no", st.st_uid == 0 ? "no" : "yes");
	return 0;
}

static bool own_always(subject *s)
{
	return is_room(s);
}

static bool own_network(subject *s)
{
	return s->role->own_network;
}

static bool own_view(subject *s)
{
	return s->role->view == AMP_VIEW_PIVOTED;
}

/* Who forks: what it forked ends with it, whatever it is. */
static bool own_pids(subject *s)
{
	return is_room(s) && s->role->processes > 0;
}

static bool own_never(subject *s)
{
	(void)s;
	return false;
}

static const struct namespace_check {
	const char *what;
	const char *link;
	bool (*own)(subject *s);
} namespace_checks[] = {
	{"namespace net", "ns/net", own_network}, {"namespace mnt", "ns/mnt", own_view},
	{"namespace ipc", "ns/ipc", own_always},  {"namespace uts", "ns/uts", own_always},
	{"namespace pid", "ns/pid", own_pids},	  {"namespace user", "ns/user", own_never},
};

static int check_namespaces(struct report *r, subject *s)
{
	int self = open("/proc/self", O_PATH | O_DIRECTORY | O_CLOEXEC);
	int rc = self < 0 ? -1 : 0;

	for (size_t i = 0; rc == 0 && i < COUNT(namespace_checks); i++) {
		const struct namespace_check *c = &namespace_checks[i];
		char ours[64] = "", theirs[64] = "";

		if (readlinkat(self, c->link, ours, sizeof(ours) - 1) < 0 ||
		    readlinkat(r->proc, c->link, theirs, sizeof(theirs) - 1) < 0)
			rc = -1;
		else
			add(r, c->what, c->own(s) ? "own" : "host's",
			    strcmp(ours, theirs) == 0 ? "host's" : "own");
	}
	if (self >= 0)
		close(self);
	return rc;
}

static uint64_t limit_zero(subject *s)
{
	(void)s;
	return 0;
}

static uint64_t limit_nofile(subject *s)
{
	return s->role->nofile;
}

static uint64_t limit_processes(subject *s)
{
	return s->role->processes;
}

static uint64_t limit_file_size(subject *s)
{
	return s->role->file_size;
}

static const struct limit_check {
	const char *what;
	const char *key;
	uint64_t (*want)(subject *s);
} limit_checks[] = {
	{"limit open files", "Max open files", limit_nofile},
	{"limit file size", "Max file size", limit_file_size},
	{"limit core file", "Max core file size", limit_zero},
	{"limit processes", "Max processes", limit_processes},
	{"limit locked memory", "Max locked memory", limit_zero},
};

static int check_limits(struct report *r, subject *s)
{
	char value[128], soft[32], hard[32], expected[32], actual[80];

	if (!is_room(s)) /* ampmon's are whatever started it gave */
		return 0;
	if (read_proc(r, "limits") < 0)
		return -1;
	for (size_t i = 0; i < COUNT(limit_checks); i++) {
		const struct limit_check *c = &limit_checks[i];

		line_of(r->text, c->key, value, sizeof(value));
		if (sscanf(value, "%31s %31s", soft, hard) != 2) {
			errno = EIO;
			return -1;
		}
		snprintf(expected, sizeof(expected), "%" PRIu64, c->want(s));
		if (strcmp(soft, hard) == 0)
			snprintf(actual, sizeof(actual), "%s", soft);
		else
			snprintf(actual, sizeof(actual), "%s, up to %s", soft, hard);
		add(r, c->what, expected, actual);
	}
	return 0;
}

/* As lib/drop.c sets it. */
static int nice_of(subject *s)
{
	if (s->role->idle_last > 0 && s->instance >= s->role->instances - s->role->idle_last)
		return 19;
	return s->role->background ? 10 : 0;
}

/* A room that steps back; others have what ampmon was started with. */
static int check_priority(struct report *r, subject *s)
{
	char expected[32], actual[32];
	const char *p;
	int nice = 0;

	if (nice_of(s) == 0)
		return 0;
	if (read_proc(r, "stat") < 0)
		return -1;
	p = strrchr(r->text, ')'); /* field 2 may hold anything; nice is field 19 */
	if (!p || sscanf(p + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %d",
			 &nice) != 1) {
		errno = EIO;
		return -1;
	}
	snprintf(expected, sizeof(expected), "%d", nice_of(s));
	snprintf(actual, sizeof(actual), "%d", nice);
	add(r, "nice", expected, actual);
	return 0;
}

static int oom_score_of(int proc)
{
	int fd = openat(proc, "oom_score_adj", O_RDONLY | O_CLOEXEC);
	char text[16] = "";
	ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);

	if (fd >= 0)
		close(fd);
	return n > 0 ? atoi(text) : 0;
}

static int own_oom_score(void)
{
	int self = open("/proc/self", O_PATH | O_DIRECTORY | O_CLOEXEC);
	int score = oom_score_of(self);

	if (self >= 0)
		close(self);
	return score;
}

/* As lib/drop.c sets it: a room that goes before others do. */
static int check_oom_score(struct report *r, subject *s)
{
	char expected[32], actual[32];
	int own;

	if (s->role->oom_score_adj == 0)
		return 0;
	own = own_oom_score();
	snprintf(expected, sizeof(expected), "%d",
		 own > s->role->oom_score_adj ? own : s->role->oom_score_adj);
	snprintf(actual, sizeof(actual), "%d", oom_score_of(r->proc));
	add(r, "oom_score_adj", expected, actual);
	return 0;
}

static int measure_memory(struct report *r, subject *s)
{
	char value[64];

	(void)s;
	if (read_proc(r, "smaps_rollup") < 0)
		return -1;
	line_of(r->text, "Pss:", value, sizeof(value));
	r->out->pss_kib = strtoull(value, NULL, 10);
	line_of(r->text, "Rss:", value, sizeof(value));
	r->out->rss_kib = strtoull(value, NULL, 10);
	return 0;
}

/* The kernel shows no process' Landlock: this is what the room said in READY. */
static int note_landlock(struct report *r, subject *s)
{
	bool have = s->landlock_abi > 0;
	char ***list = have ? &r->out->in_use : &r->out->missing;
	size_t *n = have ? &r->out->n_in_use : &r->out->n_missing;
	char name[32] = "landlock";

	if (!s->role->landlock)
		return 0;
	if (have)
		snprintf(name, sizeof(name), "landlock ABI %d", s->landlock_abi);
	*list = calloc(1, sizeof(**list));
	if (!*list)
		return -1;
	(*list)[(*n)++] = copy(r, name);
	return 0;
}

static int (*const steps[])(struct report *r, subject *s) = {
	check_status,	check_dumpable,	 check_namespaces, check_limits,
	check_priority, check_oom_score, measure_memory,   note_landlock,
};

static int open_process(struct report *r, subject *s)
{
	char name[64];

	r->out->pid = s->pid;
	r->out->name = copy(r, amp_role_label(s->role->id, s->instance, name, sizeof(name)));
	r->out->items = calloc(MAX_ITEMS, sizeof(*r->out->items));
	if (!r->out->items)
		return -1;
	snprintf(name, sizeof(name), "/proc/%ld", (long)s->pid);
	r->proc = open(name, O_PATH | O_DIRECTORY | O_CLOEXEC);
	return r->proc < 0 ? -1 : 0;
}

int mon_posture_process(const struct mon_posture_subject *s, Amp__CliPostureProcess *out)
{
	struct report *r = calloc(1, sizeof(*r));
	int rc, error;

	amp__cli_posture_process__init(out);
	if (!r)
		return -1;
	r->out = out;
	r->proc = -1;
	rc = open_process(r, s);
	for (size_t i = 0; rc == 0 && i < COUNT(steps); i++)
		rc = steps[i](r, s);
	error = errno == ENOENT ? ESRCH : errno;
	if (rc == 0 && r->failed) {
		error = ENOMEM;
		rc = -1;
	}
	if (r->proc >= 0)
		close(r->proc);
	free(r);
	if (rc < 0)
		mon_posture_clear(out);
	errno = error;
	return rc;
}

static void free_string(char *s)
{
	if (s != (char *)protobuf_c_empty_string)
		free(s);
}

void mon_posture_free_names(char **names, size_t n)
{
	for (size_t i = 0; i < n; i++)
		free_string(names[i]);
	free(names);
}

void mon_posture_clear(Amp__CliPostureProcess *out)
{
	for (size_t i = 0; i < out->n_items; i++) {
		free_string(out->items[i]->what);
		free_string(out->items[i]->expected);
		free_string(out->items[i]->actual);
		free(out->items[i]);
	}
	free(out->items);
	mon_posture_free_names(out->in_use, out->n_in_use);
	mon_posture_free_names(out->missing, out->n_missing);
	free_string(out->name);
	amp__cli_posture_process__init(out);
}

bool mon_posture_holds(const Amp__CliPostureProcess *p)
{
	for (size_t i = 0; i < p->n_items; i++)
		if (!p->items[i]->equal)
			return false;
	return true;
}

static bool file_has(const char *path, const char *word)
{
	char text[512];
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);

	if (fd >= 0)
		close(fd);
	if (n < 0)
		return false;
	text[n] = '\0';
	return strstr(text, word) != NULL;
}

/* A row is in use if its file has the word or Landlock's ABI reaches it. */
static const struct feature {
	const char *name;
	int landlock_abi;
	const char *file, *word;
} features[] = {
	{"seccomp: kill process", 0, "/proc/sys/kernel/seccomp/actions_avail", "kill_process"},
	{"landlock: files", 1, NULL, NULL},
	{"landlock: links and moves between directories", 2, NULL, NULL},
	{"landlock: truncate", 3, NULL, NULL},
	{"landlock: TCP", 4, NULL, NULL},
	{"landlock: device ioctls", 5, NULL, NULL},
	{"landlock: signals, abstract sockets", 6, NULL, NULL},
};

static bool feature_there(const struct feature *f, int abi)
{
	return f->file ? file_has(f->file, f->word) : abi >= f->landlock_abi;
}

int mon_posture_kernel(char ***in_use, size_t *n_in_use, char ***missing, size_t *n_missing)
{
	int abi = amp_landlock_abi();
	bool failed = false;

	*n_in_use = *n_missing = 0;
	*in_use = calloc(COUNT(features), sizeof(**in_use));
	*missing = calloc(COUNT(features), sizeof(**missing));
	for (size_t i = 0; *in_use && *missing && !failed && i < COUNT(features); i++) {
		bool there = feature_there(&features[i], abi);
		char *name = strdup(features[i].name);

		failed = !name;
		if (there && name)
			(*in_use)[(*n_in_use)++] = name;
		else if (name)
			(*missing)[(*n_missing)++] = name;
	}
	if (*in_use && *missing && !failed)
		return 0;
	mon_posture_free_names(*in_use, *n_in_use);
	mon_posture_free_names(*missing, *n_missing);
	*in_use = *missing = NULL;
	*n_in_use = *n_missing = 0;
	errno = ENOMEM;
	return -1;
}
