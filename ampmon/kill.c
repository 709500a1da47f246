/*
 * ampmon/kill.c - see kill.h.
 *
 * Malware forks as soon as it runs, so one signal is not enough: whole passes
 * over /proc are made until one finds nobody new. A task with a SIGKILL
 * pending cannot fork any more, so this ends.
 *
 * What a process runs is compared twice, the second time with its pidfd in
 * hand: a pid that was used again in between is not signalled. Nothing is
 * opened but files of /proc itself, and statx never asks a file server.
 *
 * An interpreter is innocent but for the process of the event. That is known by
 * its pid, and by a moment when it had that: who started later is another.
 *
 * "The convicted file" is an inode. A program can rename, unlink or touch
 * itself and so change its times, but not what it is: where the inode can be
 * recognised for certain (same device, number and a birth before the judged
 * change time: a number that was used again was born later) the times do not
 * count; its content cannot change while it runs (ETXTBSY). Through an overlay
 * the device says nothing: there modification time counts too.
 */
#include "kill.h"

#include "clock.h"
#include "counter.h"
#include "fileid.h"
#include "log.h"
#include "proto/types.h"
#include "sha256.h"
#include "text.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define PASSES_MAX  50U
#define MEMORY	    4096U /* detections remembered */
#define EXE_SHOWN   512U  /* bytes of a link text: AMP_KILL_RESULTS of them fit a message */
#define ID_SIZE	    37U
#define XINO_MASK   (0xffULL << 56) /* overlay's xino=on puts the layer's number there */
#define WAITING_MAX 1024U
#define SEEN_MAX    16384U /* victims of a detection that are told from new ones */

struct victim {
	pid_t pid;
	uid_t uid;
	uint64_t start;
	char exe[EXE_SHOWN];
};

struct seen {
	pid_t pid;
	uint64_t start;
};

/*
 * What was killed for a detection: kept for a repeated request. What fills a
 * message is told at once and makes room; who it was is remembered all the same.
 */
struct memory {
	struct memory *hash_next;
	struct memory *older, *newer;
	char id[ID_SIZE];
	unsigned users; /* requests that fill it */
	uint32_t more;
	size_t count, room;
	struct victim *victims;
	size_t seen_count, seen_room;
	struct seen *seen;
};

struct request {
	struct request *next;
	uint64_t id;
	struct amp_identity file;
	struct memory *memory;
	unsigned passes;
	bool found;    /* somebody new in this pass */
	bool stranger; /* the event's pid is another's by now */
	char what[256];
};

#define NEVER_MAX 32U

struct mon_kill {
	struct mon_kill_ops ops;
	struct amp_identity never[NEVER_MAX];
	size_t never_count;
	const struct mon_watch *watch;
	struct event *pass;
	int proc;
	struct request *waiting;
	unsigned waiting_count;
	struct memory *table[MEMORY];
	struct memory *oldest, *newest;
	unsigned remembered;
};

static struct amp_counter count_signalled = AMP_COUNTER("kill.signalled", false);
static struct amp_counter count_refused = AMP_COUNTER("kill.refused", false);
static struct amp_counter count_endless = AMP_COUNTER("kill.passes_exhausted", true);
static struct amp_counter count_strangers = AMP_COUNTER("kill.strangers_spared", false);
static struct amp_counter count_failed = AMP_COUNTER("kill.signal_failed", true);

static pid_t pid_of_name(const char *name)
{
	char *end;
	long v;

	if (!isdigit((unsigned char)name[0]))
		return 0;
	errno = 0;
	v = strtol(name, &end, 10);
	return *end || errno || v > INT32_MAX ? 0 : (pid_t)v;
}

/* ---- what a process runs ---- */

struct program {
	char link[64]; /* its name below /proc */
	struct amp_identity identity;
	int64_t born_ns;
	bool born_known;
};

static int program_at(const struct mon_kill *k, struct program *out)
{
	struct statx sx;

	if (statx(k->proc, out->link, AT_STATX_DONT_SYNC | AT_NO_AUTOMOUNT, STATX_BASIC_STATS | STATX_BTIME,
		  &sx) < 0)
		return -1;
	amp_identity_from_statx(&sx, &out->identity);
	out->born_known = (sx.stx_mask & STATX_BTIME) && sx.stx_btime.tv_sec > 0 &&
			  sx.stx_btime.tv_sec < INT64_MAX / AMP_NS_PER_SEC;
	out->born_ns = out->born_known ? sx.stx_btime.tv_sec * AMP_NS_PER_SEC + sx.stx_btime.tv_nsec : 0;
	return 0;
}

/* A first thread that has ended shows no exe, though its others run on. */
static int program_of_threads(const struct mon_kill *k, pid_t pid, struct program *out)
{
	char name[32];
	const struct dirent *d;
	DIR *dir;
	int fd, rc = -1;

	snprintf(name, sizeof(name), "%d/task", (int)pid);
	fd = openat(k->proc, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	dir = fd < 0 ? NULL : fdopendir(fd);
	if (!dir) {
		if (fd >= 0)
			close(fd);
		return -1;
	}
	while (rc < 0 && (d = readdir(dir))) {
		pid_t tid = pid_of_name(d->d_name);

		if (!tid || tid == pid)
			continue;
		snprintf(out->link, sizeof(out->link), "%d/task/%d/exe", (int)pid, (int)tid);
		rc = program_at(k, out);
	}
	closedir(dir);
	return rc;
}

/* -1: gone, or a kernel thread. */
static int program_of(const struct mon_kill *k, pid_t pid, struct program *out)
{
	snprintf(out->link, sizeof(out->link), "%d/exe", (int)pid);
	if (program_at(k, out) == 0)
		return 0;
	return errno == ENOENT ? program_of_threads(k, pid, out) : -1;
}

/* The inode whose change time was `ctime_ns` existed by then. */
static bool same_birth(const struct program *p, int64_t ctime_ns)
{
	return p->born_known && p->born_ns <= ctime_ns && p->identity.ctime_ns >= ctime_ns;
}

static bool same_on_device(const struct program *p, const struct amp_identity *file)
{
	const struct amp_identity *e = &p->identity;

	if (e->dev_major != file->dev_major || e->dev_minor != file->dev_minor || e->ino != file->ino ||
	    e->size != file->size)
		return false;
	return (e->ctime_ns == file->ctime_ns && e->mtime_ns == file->mtime_ns) ||
	       same_birth(p, file->ctime_ns);
}

static bool same_through_layers(const struct program *p, const struct amp_identity *file)
{
	const struct amp_identity *e = &p->identity;

	if ((e->ino & ~XINO_MASK) != (file->ino & ~XINO_MASK) || e->size != file->size ||
	    e->mtime_ns != file->mtime_ns)
		return false;
	return e->ctime_ns == file->ctime_ns || same_birth(p, file->ctime_ns);
}

static bool runs(const struct mon_kill *k, const struct program *p, const struct amp_identity *file)
{
	/* A subvolume of btrfs has a device that no table of mounts knows, and is no layer either. */
	return same_on_device(p, file) ||
	       (!mon_watch_plain_device(k->watch, p->identity.dev_major, p->identity.dev_minor) &&
		same_through_layers(p, file));
}

static bool runs_now(const struct mon_kill *k, pid_t pid, const struct amp_identity *file)
{
	struct program p;

	return program_of(k, pid, &p) == 0 && runs(k, &p, file);
}

static bool untouchable(const struct mon_kill *k, pid_t pid)
{
	return pid <= 1 || pid == getpid() || k->ops.is_ours(pid, k->ops.arg);
}

/* ---- who it is ---- */

static ssize_t read_proc(const struct mon_kill *k, pid_t pid, const char *file, char *buf, size_t size)
{
	char name[32];
	int fd;
	ssize_t n;

	snprintf(name, sizeof(name), "%d/%s", (int)pid, file);
	fd = openat(k->proc, name, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -1;
	n = read(fd, buf, size - 1);
	close(fd);
	if (n >= 0)
		buf[n] = 0;
	return n;
}

/* Field n, a number; the name in field 2 may hold anything, also ')'. 0: not to be had. */
static uint64_t stat_field(const struct mon_kill *k, pid_t pid, int n)
{
	char buf[1024], *p;

	if (read_proc(k, pid, "stat", buf, sizeof(buf)) <= 0 || !(p = strrchr(buf, ')')))
		return 0;
	for (int field = 2; field < n; field++) {
		p = strchr(p, ' ');
		if (!p)
			return 0;
		p++;
	}
	return strtoull(p, NULL, 10);
}

static uint64_t start_ticks(const struct mon_kill *k, pid_t pid)
{
	return stat_field(k, pid, 22);
}

#define ANY_START INT64_MAX

/* In whole ticks, as start times are told: a pid is not used again within one. */
static bool started_by(uint64_t start, int64_t seen_ns)
{
	int64_t tick_ns = AMP_NS_PER_SEC / sysconf(_SC_CLK_TCK);

	if (seen_ns == ANY_START)
		return true;
	return start > 0 && seen_ns > 0 && start <= (uint64_t)(seen_ns / tick_ns);
}

/* A room's own child: ampquard has such. */
static bool is_of_ours(const struct mon_kill *k, pid_t pid)
{
	pid_t parent = (pid_t)stat_field(k, pid, 4);

	return parent > 1 && k->ops.is_ours(parent, k->ops.arg);
}

/* Effective, as in every record (ampscand/who.c). */
static uid_t uid_of(const struct mon_kill *k, pid_t pid)
{
	char buf[4096], *line;
	unsigned uid;

	if (read_proc(k, pid, "status", buf, sizeof(buf)) <= 0 || !(line = strstr(buf, "\nUid:")))
		return (uid_t)-1;
	return sscanf(line + 5, "%*u %u", &uid) == 1 ? (uid_t)uid : (uid_t)-1;
}

static void describe(const struct mon_kill *k, pid_t pid, const char *link, struct victim *v)
{
	ssize_t n;

	memset(v, 0, sizeof(*v));
	v->pid = pid;
	v->start = start_ticks(k, pid);
	v->uid = uid_of(k, pid);
	n = readlinkat(k->proc, link, v->exe, sizeof(v->exe) - 1);
	v->exe[n > 0 ? n : 0] = 0;
}

/* ---- memory ---- */

static size_t slot_of(const char *id)
{
	uint64_t h = 0xcbf29ce484222325ULL;

	for (; *id; id++)
		h = (h ^ (unsigned char)*id) * 0x100000001b3ULL;
	return (size_t)(h % MEMORY);
}

static void unlink_age(struct mon_kill *k, struct memory *m)
{
	*(m->older ? &m->older->newer : &k->oldest) = m->newer;
	*(m->newer ? &m->newer->older : &k->newest) = m->older;
	m->older = m->newer = NULL;
}

static void make_newest(struct mon_kill *k, struct memory *m)
{
	m->older = k->newest;
	*(k->newest ? &k->newest->newer : &k->oldest) = m;
	k->newest = m;
}

static void forget(struct mon_kill *k, struct memory *m)
{
	struct memory **link = &k->table[slot_of(m->id)];

	while (*link != m)
		link = &(*link)->hash_next;
	*link = m->hash_next;
	unlink_age(k, m);
	k->remembered--;
	free(m->victims);
	free(m->seen);
	free(m);
}

static void forget_oldest(struct mon_kill *k)
{
	struct memory *m = k->oldest;

	while (m && m->users)
		m = m->newer;
	if (m)
		forget(k, m);
}

static struct memory *remember(struct mon_kill *k, const char *id)
{
	struct memory **slot = &k->table[slot_of(id)], *m = *slot;

	while (m && strcmp(m->id, id) != 0)
		m = m->hash_next;
	if (m) {
		unlink_age(k, m);
		make_newest(k, m);
		return m;
	}
	if (k->remembered >= MEMORY)
		forget_oldest(k);
	m = calloc(1, sizeof(*m));
	if (!m)
		return NULL;
	snprintf(m->id, sizeof(m->id), "%s", id);
	m->hash_next = *slot;
	*slot = m;
	make_newest(k, m);
	k->remembered++;
	return m;
}

static bool known_victim(const struct memory *m, pid_t pid, uint64_t start)
{
	for (size_t i = 0; i < m->seen_count; i++)
		if (m->seen[i].pid == pid && m->seen[i].start == start)
			return true;
	return false;
}

static void note_seen(struct memory *m, const struct victim *v)
{
	if (m->seen_count == m->seen_room && m->seen_room < SEEN_MAX) {
		size_t room = m->seen_room ? m->seen_room * 4 : 4;
		struct seen *larger = reallocarray(m->seen, room, sizeof(*larger));

		if (!larger)
			return;
		m->seen = larger;
		m->seen_room = room;
	}
	/* Full: the oldest has been reaped long ago. */
	if (m->seen_count == m->seen_room) {
		m->seen_count = m->seen_room / 2;
		memmove(m->seen, m->seen + m->seen_room - m->seen_count, m->seen_count * sizeof(*m->seen));
	}
	m->seen[m->seen_count++] = (struct seen){v->pid, v->start};
}

static void answer(const struct mon_kill *k, const struct request *q, bool unfinished);

static void tell_what_fills_a_message(const struct mon_kill *k, struct memory *m)
{
	for (const struct request *q = k->waiting; q; q = q->next)
		if (q->memory == m)
			answer(k, q, true);
	m->count = 0;
}

static void add_victim(const struct mon_kill *k, struct memory *m, const struct victim *v)
{
	note_seen(m, v);
	if (m->count == AMP_KILL_RESULTS)
		tell_what_fills_a_message(k, m);
	if (m->count == m->room) {
		size_t room = m->room ? m->room * 4 : 4;
		struct victim *larger = reallocarray(m->victims, room, sizeof(*larger));

		if (larger) {
			m->victims = larger;
			m->room = room;
		}
	}
	if (m->count < m->room)
		m->victims[m->count++] = *v;
	else
		m->more++;
}

/* ---- the signal ---- */

/* True: the process was signalled, and is none that has been before. */
static bool signal_process(const struct mon_kill *k, struct request *q, pid_t pid,
			   const struct amp_identity *file, int64_t seen_ns)
{
	int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	char exe[1024];
	struct program p;
	struct victim v = {0};
	bool sent = false;

	if (pidfd < 0)
		return false;
	if (program_of(k, pid, &p) == 0)
		describe(k, pid, p.link, &v);
	if (v.pid && started_by(v.start, seen_ns) && runs_now(k, pid, file) && !is_of_ours(k, pid)) {
		sent = syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, NULL, 0) == 0;
		if (!sent && errno != ESRCH)
			amp_counter_add(&count_failed, 1);
	}
	close(pidfd);
	if (!sent || known_victim(q->memory, pid, v.start))
		return false;
	add_victim(k, q->memory, &v);
	amp_counter_add(&count_signalled, 1);
	amp_warn("killed process %d (uid %u, %s), which ran %s", (int)pid, (unsigned)v.uid,
		 amp_text_escape(v.exe, strlen(v.exe), exe, sizeof(exe)), q->what);
	return true;
}

/* ---- passes ---- */

static void visit(struct mon_kill *k, pid_t pid)
{
	struct program p;

	if (untouchable(k, pid) || program_of(k, pid, &p) < 0)
		return;
	for (struct request *q = k->waiting; q; q = q->next)
		if (runs(k, &p, &q->file) && signal_process(k, q, pid, &q->file, ANY_START))
			q->found = true;
}

/* 0, or -1: /proc cannot be read. */
static int visit_all(struct mon_kill *k)
{
	int fd = openat(k->proc, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	const struct dirent *d;

	if (!dir) {
		if (fd >= 0)
			close(fd);
		amp_error("cannot look through /proc: %s", strerror(errno));
		return -1;
	}
	while ((d = readdir(dir)))
		if (pid_of_name(d->d_name))
			visit(k, pid_of_name(d->d_name));
	closedir(dir);
	return 0;
}

static void victim_to_wire(const struct victim *v, Amp__KilledProcess *out)
{
	amp__killed_process__init(out);
	out->pid = v->pid;
	out->uid = v->uid;
	out->exe.data = (uint8_t *)(uintptr_t)v->exe;
	out->exe.len = strlen(v->exe);
	out->start_ticks = v->start;
}

static void answer(const struct mon_kill *k, const struct request *q, bool unfinished)
{
	Amp__Killed killed = AMP__KILLED__INIT;
	Amp__KilledProcess wire[AMP_KILL_RESULTS], *list[AMP_KILL_RESULTS];
	const struct memory *m = q->memory;

	for (size_t i = 0; i < m->count; i++) {
		victim_to_wire(&m->victims[i], &wire[i]);
		list[i] = &wire[i];
	}
	killed.detection_id = (char *)(uintptr_t)m->id;
	killed.n_processes = m->count;
	killed.processes = list;
	killed.more = unfinished ? 0 : m->more;
	killed.unfinished = unfinished;
	killed.stranger = q->stranger;
	k->ops.killed(q->id, &killed, k->ops.arg);
}

static void free_request(struct mon_kill *k, struct request *q)
{
	q->memory->users--;
	k->waiting_count--;
	free(q);
}

static bool finished(struct request *q, bool failed)
{
	q->passes++;
	if (q->found && q->passes >= PASSES_MAX) {
		amp_counter_add(&count_endless, 1);
		amp_error("%u passes over /proc each found more processes that run %s", PASSES_MAX, q->what);
	}
	return failed || !q->found || q->passes >= PASSES_MAX;
}

/* Answers come last: killed() may ask for more. */
static void on_pass(evutil_socket_t fd, short what, void *arg)
{
	const struct timeval now = {0, 0};
	struct mon_kill *k = arg;
	struct request **link = &k->waiting, *done = NULL, *q;
	bool failed;

	(void)fd;
	(void)what;
	for (q = k->waiting; q; q = q->next)
		q->found = false;
	failed = visit_all(k) < 0;
	while ((q = *link)) {
		if (!finished(q, failed)) {
			link = &q->next;
			continue;
		}
		*link = q->next;
		q->next = done;
		done = q;
	}
	if (k->waiting)
		event_add(k->pass, &now);
	while ((q = done)) {
		done = q->next;
		answer(k, q, false);
		free_request(k, q);
	}
}

/* ---- requests ---- */

static bool uuid_shaped(const char *s)
{
	size_t i;

	for (i = 0; s[i] && i < ID_SIZE; i++) {
		bool dash = i == 8 || i == 13 || i == 18 || i == 23;

		if (dash ? s[i] != '-' : !isxdigit((unsigned char)s[i]))
			return false;
	}
	return i == ID_SIZE - 1;
}

static bool well_formed(const Amp__Kill *r)
{
	return uuid_shaped(r->detection_id) && r->sha256.len == AMP_SHA256_SIZE && r->file &&
	       r->event_pid >= 0 && r->event_seen_ns >= 0 && r->path.len <= AMP_PATH_MAX &&
	       strlen(r->signature) <= AMP_SIGNATURE_MAX;
}

static const char foundation[] = "PID 1 or the suite runs it";

static void refuse(const struct mon_kill *k, uint64_t id, const Amp__Kill *request, const char *why)
{
	Amp__Killed killed = AMP__KILLED__INIT;

	amp_counter_add(&count_refused, 1);
	amp_warn("a kill for detection %s is refused: %s", request->detection_id, why);
	killed.detection_id = request->detection_id;
	killed.refused = (char *)(uintptr_t)why;
	killed.foundation = why == foundation;
	k->ops.killed(id, &killed, k->ops.arg);
}

struct search {
	const struct mon_kill *k;
	const struct amp_identity *file;
	bool found;
};

static void compare_program(pid_t pid, void *arg)
{
	struct search *s = arg;

	s->found = s->found || runs_now(s->k, pid, s->file);
}

/* By inode, of what runs now and of the suite's programs as they lay there at the start. */
static bool is_foundation(const struct mon_kill *k, const struct amp_identity *file)
{
	struct search s = {k, file, false};

	compare_program(1, &s);
	if (k->ops.each_ours)
		k->ops.each_ours(compare_program, &s, k->ops.arg);
	for (size_t i = 0; i < k->never_count && !s.found; i++)
		s.found = k->never[i].dev_major == file->dev_major &&
			  k->never[i].dev_minor == file->dev_minor && k->never[i].ino == file->ino;
	return s.found;
}

void mon_kill_never(struct mon_kill *k, const char *bin_dir)
{
	int dir = open(bin_dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	int list = dir < 0 ? -1 : openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = list < 0 ? NULL : fdopendir(list);
	const struct dirent *e;

	while (d && k->never_count < NEVER_MAX && (e = readdir(d))) {
		struct amp_identity *id = &k->never[k->never_count];

		if (e->d_name[0] != '.' &&
		    amp_statx_identity(dir, e->d_name, AT_STATX_DONT_SYNC | AT_SYMLINK_NOFOLLOW, id) == 0 &&
		    S_ISREG(id->mode))
			k->never_count++;
	}
	if (d)
		closedir(d);
	if (dir >= 0)
		close(dir);
}

static const char *reason_against(const struct mon_kill *k, const Amp__Kill *r,
				  const struct amp_identity *file, const struct mon_policy *p)
{
	if (!p || !mon_policy_protects(p))
		return "policy is audit";
	if (!r->signature[0] && !mon_policy_blocks(p, r->sha256.data))
		return "not on the blocked list";
	if (r->signature[0] && !mon_policy_engine(p))
		return "the policy is without the engine";
	if (r->signature[0] && mon_policy_allows(p, r->sha256.data))
		return "on the allowed list";
	if (r->signature[0] && is_foundation(k, file))
		return foundation;
	if (k->waiting_count >= WAITING_MAX)
		return "too many requests at once";
	return NULL;
}

static void spare_stranger(struct request *q, const Amp__Kill *r)
{
	q->stranger = true;
	amp_counter_add(&count_strangers, 1);
	amp_info("process %d is %s: its interpreter of %s is not killed", (int)r->event_pid,
		 r->event_seen_ns ? "a later one of that pid" : "nobody that is known to have executed it",
		 q->what);
}

/* The event's own process at once; an interpreter only there, never elsewhere. */
static void signal_event_process(const struct mon_kill *k, struct request *q, const Amp__Kill *r,
				 const struct amp_identity *interpreter)
{
	pid_t pid = r->event_pid;

	if (untouchable(k, pid))
		return;
	if (runs_now(k, pid, &q->file))
		signal_process(k, q, pid, &q->file, ANY_START);
	else if (!interpreter || !runs_now(k, pid, interpreter))
		return;
	else if (started_by(start_ticks(k, pid), r->event_seen_ns))
		signal_process(k, q, pid, interpreter, r->event_seen_ns);
	else
		spare_stranger(q, r);
}

static struct request *new_request(struct mon_kill *k, uint64_t id, const Amp__Kill *r,
				   const struct amp_identity *file)
{
	struct request *q = calloc(1, sizeof(*q));

	if (!q)
		return NULL;
	q->memory = remember(k, r->detection_id);
	if (!q->memory) {
		free(q);
		return NULL;
	}
	q->memory->users++;
	q->id = id;
	q->file = *file;
	amp_text_escape(r->path.data, r->path.len, q->what, sizeof(q->what));
	q->next = k->waiting;
	k->waiting = q;
	k->waiting_count++;
	return q;
}

int mon_kill_request(struct mon_kill *k, uint64_t id, const Amp__Kill *request, const struct mon_policy *p)
{
	const struct timeval now = {0, 0};
	struct amp_identity file, interpreter;
	const char *why;
	struct request *q;

	if (!well_formed(request) || amp_identity_from_wire(request->file, &file) < 0)
		return -1;
	if (request->interpreter && amp_identity_from_wire(request->interpreter, &interpreter) < 0)
		return -1;
	why = reason_against(k, request, &file, p);
	if (why) {
		refuse(k, id, request, why);
		return 0;
	}
	q = new_request(k, id, request, &file);
	if (!q) {
		refuse(k, id, request, "out of memory");
		return 0;
	}
	signal_event_process(k, q, request, request->interpreter ? &interpreter : NULL);
	event_add(k->pass, &now);
	return 0;
}

struct mon_kill *mon_kill_new(struct event_base *base, const struct mon_watch *w,
			      const struct mon_kill_ops *ops)
{
	struct mon_kill *k = calloc(1, sizeof(*k));

	if (!k)
		return NULL;
	k->ops = *ops;
	k->watch = w;
	k->proc = open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC);
	k->pass = evtimer_new(base, on_pass, k);
	if (k->proc < 0 || !k->pass) {
		mon_kill_free(k);
		return NULL;
	}
	amp_counter_list(&count_endless);
	amp_counter_list(&count_failed);
	return k;
}

void mon_kill_free(struct mon_kill *k)
{
	struct request *q;

	while ((q = k->waiting)) {
		k->waiting = q->next;
		free_request(k, q);
	}
	while (k->oldest)
		forget(k, k->oldest);
	if (k->pass)
		event_free(k->pass);
	if (k->proc >= 0)
		close(k->proc);
	free(k);
}
