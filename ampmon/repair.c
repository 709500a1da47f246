/*
 * ampmon/repair.c - see repair.h; ampmon.state is in state.c.
 *
 * A repair is `waiting` until ampscand has it, `walking` from then on, and ends
 * `done`; one that failed stands until it is tried again, or asked for again, or
 * its file system is gone. The list is ampmon's: whatever happens to
 * ampscand, what is not done is sent to the next one. Only one repair of a file system is
 * out at a time; another that is asked for meanwhile waits, because the walk
 * that runs may be past what it is about.
 */
#include "repair.h"

#include "clock.h"
#include "log.h"
#include "proto/types.h"
#include "text.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>

#define TRIES_MAX     5U
#define RETRY_NS      (60 * AMP_NS_PER_SEC)
#define SEND_RETRY_MS 500
#define DONE_KEPT     16U
#define REASON_SIZE   128U
#define DETAIL_SIZE   256U

enum state { WAITING, WALKING, DONE, FAILED };
static const char *const state_names[] = {"waiting", "walking", "done", "failed"};

struct item {
	struct item *next;
	uint64_t id, fsid;
	char *mount_point;
	int64_t since_ns;
	char reason[REASON_SIZE];
	bool running; /* running programs too */
	enum state state;
	bool sent;
	uint64_t seen, judged;
	unsigned tries;
	bool broken;	  /* failed, and not done since */
	int64_t retry_at; /* monotonic; 0: not by itself */
	char detail[DETAIL_SIZE];
};

struct mon_repair {
	struct mon_repair_ops ops;
	struct amp_channel *scand;
	struct event *timer;
	struct item *list; /* newest first: waiting, walking, failed */
	struct item *done; /* newest first */
	uint64_t next_id;
	bool running_due;
	int64_t running_sent; /* monotonic; 0: never */
	bool fault_raised;
	char fault_detail[DETAIL_SIZE];
};

static void pump(struct mon_repair *r);

static void free_item(struct item *i)
{
	free(i->mount_point);
	free(i);
}

static void unlink_item(struct mon_repair *r, struct item *i)
{
	struct item **link = &r->list;

	while (*link != i)
		link = &(*link)->next;
	*link = i->next;
	i->next = NULL;
}

/* ---- fault ---- */

static void update_fault(struct mon_repair *r)
{
	char detail[DETAIL_SIZE] = "";
	const struct item *worst = NULL;

	for (const struct item *i = r->list; i; i = i->next)
		if (i->broken)
			worst = i;
	if (worst)
		snprintf(detail, sizeof(detail), "%.120s: %.120s", worst->mount_point,
			 worst->detail[0] ? worst->detail : "failed");
	if (r->fault_raised == !!worst && strcmp(detail, r->fault_detail) == 0)
		return;
	r->fault_raised = worst;
	memcpy(r->fault_detail, detail, sizeof(detail));
	r->ops.fault(r->fault_raised, detail, r->ops.arg);
}

/* ---- running programs ---- */

struct pids {
	int32_t list[AMP_PIDS_BATCH];
	size_t count;
};

static int send_pids(struct mon_repair *r, struct pids *p, bool last)
{
	Amp__Running m = AMP__RUNNING__INIT;

	m.n_pids = p->count;
	m.pids = p->list;
	m.last = last;
	p->count = 0;
	return amp_channel_send(r->scand, AMP_MSG_RUNNING, 0, &m.base, NULL, 0);
}

static int32_t pid_of_name(const char *name)
{
	char *end;
	long v;

	if (name[0] < '1' || name[0] > '9')
		return 0;
	errno = 0;
	v = strtol(name, &end, 10);
	return *end || errno || v > INT32_MAX ? 0 : (int32_t)v;
}

static int send_running(struct mon_repair *r)
{
	struct pids *p = calloc(1, sizeof(*p));
	DIR *dir = opendir("/proc");
	const struct dirent *d;
	int rc = p && dir ? 0 : -1;

	while (rc == 0 && (d = readdir(dir))) {
		int32_t pid = pid_of_name(d->d_name);

		if (!pid)
			continue;
		if (p->count == AMP_PIDS_BATCH)
			rc = send_pids(r, p, false);
		p->list[p->count++] = pid;
	}
	if (rc == 0)
		rc = send_pids(r, p, true);
	if (dir)
		closedir(dir);
	free(p);
	return rc;
}

/* ---- sending ---- */

static bool busy(const struct mon_repair *r, uint64_t fsid)
{
	for (const struct item *i = r->list; i; i = i->next)
		if (i->fsid == fsid && i->sent)
			return true;
	return false;
}

static int send_item(struct mon_repair *r, struct item *i)
{
	Amp__Repair m = AMP__REPAIR__INIT;

	m.repair_id = i->id;
	m.fsid = i->fsid;
	m.since_ns = i->since_ns;
	m.reason = i->reason;
	if (amp_channel_send(r->scand, AMP_MSG_REPAIR, i->id, &m.base, NULL, 0) < 0)
		return -1;
	i->sent = true;
	i->seen = i->judged = 0;
	return 0;
}

/* The oldest first: the list has the newest in front. */
static struct item *next_to_send(const struct mon_repair *r)
{
	struct item *found = NULL;

	for (struct item *i = r->list; i; i = i->next)
		if (i->state == WAITING && !i->sent && !busy(r, i->fsid))
			found = i;
	return found;
}

static void wake_failed(struct mon_repair *r, int64_t now)
{
	for (struct item *i = r->list; i; i = i->next)
		if (i->state == FAILED && i->retry_at && i->retry_at <= now) {
			i->state = WAITING;
			i->retry_at = 0;
		}
}

static void set_timer(struct mon_repair *r, int64_t now, bool send_failed)
{
	int64_t wait = send_failed ? SEND_RETRY_MS * AMP_NS_PER_MS : INT64_MAX;
	struct timeval t;

	for (const struct item *i = r->list; i; i = i->next)
		if (i->state == FAILED && i->retry_at && i->retry_at - now < wait)
			wait = i->retry_at > now ? i->retry_at - now : 0;
	if (wait == INT64_MAX) {
		event_del(r->timer);
		return;
	}
	t.tv_sec = (time_t)(wait / AMP_NS_PER_SEC);
	t.tv_usec = (suseconds_t)(wait % AMP_NS_PER_SEC / 1000 + 1);
	if (t.tv_usec >= 1000000) {
		t.tv_sec++;
		t.tv_usec = 0;
	}
	event_add(r->timer, &t);
}

/* Programs that run come first: they are doing harm now. */
static int send_all(struct mon_repair *r)
{
	struct item *i;

	if (r->running_due) {
		if (send_running(r) < 0)
			return -1;
		r->running_due = false;
		r->running_sent = amp_clock_monotonic();
	}
	while ((i = next_to_send(r)))
		if (send_item(r, i) < 0)
			return -1;
	return 0;
}

static void pump(struct mon_repair *r)
{
	int64_t now = amp_clock_monotonic();
	bool failed = false;

	wake_failed(r, now);
	if (r->scand && send_all(r) < 0) {
		failed = true;
		amp_debug("repairs wait for ampscand's channel: %s", strerror(errno));
	}
	set_timer(r, now, failed);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	pump(arg);
}

/* ---- asked for ---- */

/* One that has not begun, or has failed. */
static struct item *find_idle(const struct mon_repair *r, uint64_t fsid)
{
	for (struct item *i = r->list; i; i = i->next)
		if (i->fsid == fsid && !i->sent)
			return i;
	return NULL;
}

static void add_reason(struct item *i, const char *reason)
{
	size_t n = strlen(i->reason);

	if (!strstr(i->reason, reason))
		snprintf(i->reason + n, sizeof(i->reason) - n, "%s%s", n ? ", " : "", reason);
}

static void set_mount_point(struct item *i, const char *mount_point)
{
	char *copy = strdup(mount_point ? mount_point : "");

	if (copy) {
		free(i->mount_point);
		i->mount_point = copy;
	}
}

static struct item *new_item(struct mon_repair *r, uint64_t fsid, const char *mount_point, int64_t since_ns)
{
	struct item *i = calloc(1, sizeof(*i));

	if (!i)
		return NULL;
	set_mount_point(i, mount_point);
	if (!i->mount_point) {
		free(i);
		return NULL;
	}
	i->id = r->next_id++;
	i->fsid = fsid;
	i->since_ns = since_ns;
	i->next = r->list;
	r->list = i;
	return i;
}

void mon_repair_add(struct mon_repair *r, uint64_t fsid, const char *mount_point, int64_t since_ns,
		    const char *reason, bool running)
{
	struct item *i = find_idle(r, fsid);

	since_ns = since_ns > 0 ? since_ns : 0; /* 0: everything, the earliest there is */
	if (i) {
		i->since_ns = since_ns < i->since_ns ? since_ns : i->since_ns;
		i->state = WAITING;
		i->tries = 0;
		i->retry_at = 0;
		set_mount_point(i, mount_point);
	} else {
		i = new_item(r, fsid, mount_point, since_ns);
	}
	if (!i) {
		amp_error("out of memory: a repair of %s is not made", mount_point);
		r->ops.fault(true, "out of memory", r->ops.arg);
		return;
	}
	add_reason(i, reason);
	i->running |= running;
	r->running_due |= running;
	pump(r);
}

void mon_repair_running(struct mon_repair *r)
{
	r->running_due = true;
	pump(r);
}

/* ---- ampscand ---- */

/* Whether the last list of programs was judged is not known: if it is not long ago, once more. */
static void start_over(struct mon_repair *r)
{
	for (struct item *i = r->list; i; i = i->next) {
		r->running_due |= i->running;
		i->sent = false;
		if (i->state == WALKING)
			i->state = WAITING;
	}
	if (r->running_sent && amp_clock_monotonic() - r->running_sent < RETRY_NS)
		r->running_due = true;
}

static struct item *idle_twin(const struct item *i)
{
	struct item *other = i->next;

	while (other && (other->fsid != i->fsid || other->sent))
		other = other->next;
	return other;
}

/* i is the newer one. */
static void merge(struct item *into, const struct item *i)
{
	into->since_ns = i->since_ns < into->since_ns ? i->since_ns : into->since_ns;
	into->running |= i->running;
	if (i->state == WAITING) {
		into->state = WAITING;
		into->retry_at = 0;
	}
	add_reason(into, i->reason);
}

/* Two of one file system, one of which was out: neither is now, so they are one. */
static void join_idle(struct mon_repair *r)
{
	struct item **link = &r->list;

	while (*link) {
		struct item *i = *link, *other = i->sent ? NULL : idle_twin(i);

		if (!other) {
			link = &i->next;
			continue;
		}
		merge(other, i);
		*link = i->next;
		free_item(i);
	}
}

void mon_repair_attach(struct mon_repair *r, struct amp_channel *scand)
{
	r->scand = scand;
	start_over(r);
	join_idle(r);
	pump(r);
}

static void trim_done(struct mon_repair *r)
{
	struct item **link = &r->done;

	for (size_t n = 0; *link && n < DONE_KEPT; n++)
		link = &(*link)->next;
	while (*link) {
		struct item *i = *link;

		*link = i->next;
		free_item(i);
	}
}

static void finish(struct mon_repair *r, struct item *i)
{
	char where[256];

	amp_info("repair of %s is done: %llu seen, %llu judged",
		 amp_text_escape(i->mount_point, strlen(i->mount_point), where, sizeof(where)),
		 (unsigned long long)i->seen, (unsigned long long)i->judged);
	unlink_item(r, i);
	i->state = DONE;
	i->sent = false;
	i->next = r->done;
	r->done = i;
	trim_done(r);
}

static void fail(struct item *i, const char *detail)
{
	char where[256];

	amp_text_escape(detail, strlen(detail), i->detail, sizeof(i->detail));
	i->broken = true;
	i->state = FAILED;
	i->sent = false;
	i->tries++;
	i->retry_at = i->tries < TRIES_MAX ? amp_clock_monotonic() + RETRY_NS : 0;
	amp_error("repair of %s failed (%u of %u tries): %s",
		  amp_text_escape(i->mount_point, strlen(i->mount_point), where, sizeof(where)), i->tries,
		  TRIES_MAX, i->detail);
}

static struct item *find_out(const struct mon_repair *r, uint64_t id)
{
	for (struct item *i = r->list; i; i = i->next)
		if (i->id == id)
			return i->sent ? i : NULL;
	return NULL;
}

int mon_repair_state(struct mon_repair *r, const Amp__RepairState *st)
{
	struct item *i = find_out(r, st->repair_id);

	if (!st->repair_id || st->repair_id >= r->next_id || st->state < AMP__REPAIR_STATE__STATE__WAITING ||
	    st->state > AMP__REPAIR_STATE__STATE__FAILED)
		return -1;
	if (!i)
		return 0; /* its file system went meanwhile */
	i->seen = st->seen;
	i->judged = st->judged;
	if (st->state == AMP__REPAIR_STATE__STATE__WALKING)
		i->state = WALKING;
	else if (st->state == AMP__REPAIR_STATE__STATE__DONE)
		finish(r, i);
	else if (st->state == AMP__REPAIR_STATE__STATE__FAILED)
		fail(i, st->detail);
	join_idle(r); /* what was asked for meanwhile goes on at once for one that failed */
	update_fault(r);
	pump(r);
	return 0;
}

void mon_repair_gone(struct mon_repair *r, uint64_t fsid)
{
	struct item **link = &r->list;

	while (*link) {
		struct item *i = *link;

		if (i->fsid != fsid) {
			link = &i->next;
			continue;
		}
		*link = i->next;
		free_item(i);
	}
	update_fault(r);
	pump(r);
}

/* ---- shown ---- */

bool mon_repair_pending(const struct mon_repair *r)
{
	return r->list || r->running_due;
}

static void to_wire(const struct item *i, Amp__CliRepair *out)
{
	amp__cli_repair__init(out);
	out->id = i->id;
	out->mount_point.data = (uint8_t *)i->mount_point;
	out->mount_point.len = strlen(i->mount_point);
	out->reason = (char *)(uintptr_t)i->reason;
	out->state = (char *)(uintptr_t)state_names[i->state];
	out->seen = i->seen;
	out->judged = i->judged;
}

size_t mon_repair_list(const struct mon_repair *r, Amp__CliRepair *out, size_t max)
{
	size_t n = 0;

	for (const struct item *i = r->list; i && n < max; i = i->next)
		to_wire(i, &out[n++]);
	for (const struct item *i = r->done; i && n < max; i = i->next)
		to_wire(i, &out[n++]);
	return n;
}

/* ---- life ---- */

struct mon_repair *mon_repair_new(struct event_base *base, const struct mon_repair_ops *ops)
{
	struct mon_repair *r = calloc(1, sizeof(*r));

	if (!r)
		return NULL;
	r->ops = *ops;
	r->next_id = 1;
	r->timer = evtimer_new(base, on_timer, r);
	if (!r->timer) {
		free(r);
		return NULL;
	}
	return r;
}

static void free_list(struct item *i)
{
	while (i) {
		struct item *next = i->next;

		free_item(i);
		i = next;
	}
}

void mon_repair_free(struct mon_repair *r)
{
	free_list(r->list);
	free_list(r->done);
	event_free(r->timer);
	free(r);
}
