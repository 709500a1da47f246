/*
 * ampscand/engine/sets.c - sets of signatures: which are loaded, which is in use.
 *
 * Owns: the zygotes from fork to burial, what is loaded when, what is refused and until
 * when, the fault about it. Must not own: loading itself (load.c), workers (fleet.c).
 *
 * A set that cannot be loaded costs its zygote only: the one in use stays. The room never
 * waits for a zygote; it asks, and hears of it when there is something to be heard.
 */
#include "engine.h"

#include "clock.h"
#include "text.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define BURY_MS	     20
#define STEADY_NS    (60 * AMP_NS_PER_SEC)
#define LEAVING_NS   (180 * AMP_NS_PER_SEC) /* longer than any scan may take */
#define DYING_NS     (60 * AMP_NS_PER_SEC)  /* from SIGKILL until a full set's memory is given back */
#define SAID_BATCH   64
#define LAST_BATCHES 16			    /* more than the pair holds */
#define LOAD_NS	     (600 * AMP_NS_PER_SEC) /* a full set takes a minute where memory and disk are slow */
#define HURRY_NS     (60 * AMP_NS_PER_SEC)

/* --- what is told ------------------------------------------------------------------- */

static void tell_fault(struct engine *e)
{
	if (strcmp(e->fault, e->refused) == 0)
		return;
	snprintf(e->fault, sizeof(e->fault), "%s", e->refused);
	amp_room_fault(e->room, AMP_FAULT_DEFINITIONS, e->fault[0] != '\0', e->fault);
}

static void changed(struct engine *e)
{
	tell_fault(e);
	engine_tell_state(e);
}

static void refuse(struct engine *e, uint64_t fingerprint, const char *why)
{
	e->refused_fingerprint = fingerprint;
	amp_text_escape(why, strlen(why), e->refused, sizeof(e->refused));
	amp_warn("signatures %s%s: %s", fingerprint ? "refused" : "missing",
		 e->in_use ? ", the ones in use stay" : "", why);
}

bool sets_coming(const struct engine *e)
{
	return e->loading || e->wanted;
}

/* --- zygotes: their end --------------------------------------------------------------- */

static void bury_later(struct engine *e)
{
	const struct timeval soon = {.tv_usec = BURY_MS * 1000};

	evtimer_add(e->bury, &soon);
}

/* What it forked ends with it, whatever that is: no fork gets past a signal to the group. */
static void zygote_over(struct zygote *z)
{
	struct engine *e = z->engine;

	if (z->state == STATE_DEAD)
		return;
	if (z->pid > 0)
		(void)kill(z->pid, SIGKILL); /* it may not be in its group yet */
	(void)kill(-z->group, SIGKILL);
	event_free(z->died);
	close(z->pidfd);
	event_free(z->readable);
	z->readable = NULL;
	close(z->fd);
	z->fd = -1;
	z->since_ns = amp_clock_monotonic();
	z->state = STATE_DEAD;
	if (e->in_use == z)
		e->in_use = NULL;
	bury_later(e);
}

static void back_off(struct engine *e)
{
	static const unsigned waits_s[] = {0, 1, 1, 2, 4, 8, 16, 32, 60};
	size_t last = sizeof(waits_s) / sizeof(waits_s[0]) - 1;

	e->not_before_ns = amp_clock_monotonic() +
			   (int64_t)waits_s[e->failures < last ? e->failures : last] * AMP_NS_PER_SEC;
	e->failures++;
	e->wanted = true;
}

/* The one that was in use, by itself: the same set again, after a while. */
static void lost_in_use(struct zygote *z)
{
	struct engine *e = z->engine;

	if (amp_clock_monotonic() - z->since_ns > STEADY_NS)
		e->failures = 0;
	zygote_over(z);
	if (!e->loading)
		back_off(e);
	changed(e);
}

static void ended(struct zygote *z)
{
	if (z->state == STATE_IN_USE) {
		amp_error("the process that holds the signatures in use has ended");
		lost_in_use(z);
	} else {
		zygote_over(z);
	}
}

/* Of one that was loading: what its end says of the set. */
static void lost_loading(struct engine *e, const struct zygote *z)
{
	char why[128];

	if (e->loading == z)
		e->loading = NULL;
	if (z->answered || z->killed)
		return;
	if (WIFSIGNALED(z->status) && WTERMSIG(z->status) == SIGKILL) {
		/* Somebody did that, or there was no memory: it is no word against the set. */
		amp_warn("a process was killed while it loaded signatures");
		back_off(e);
		return;
	}
	if (WIFSIGNALED(z->status))
		snprintf(why, sizeof(why), "died by signal %d while loading", WTERMSIG(z->status));
	else
		snprintf(why, sizeof(why), "ended with status %d while loading", WEXITSTATUS(z->status));
	refuse(e, z->fingerprint, why);
}

static void zygote_free(struct zygote *z)
{
	for (unsigned i = 0; i < z->set_count; i++)
		free(z->sets[i].path);
	free(z);
}

static struct zygote *zygote_of(const struct engine *e, pid_t pid)
{
	struct zygote *z = e->zygotes;

	while (z && z->pid != pid)
		z = z->next;
	return z;
}

bool sets_is_zygote(const struct engine *e, pid_t pid)
{
	return zygote_of(e, pid) != NULL;
}

/* The room's children: zygotes, and workers whose zygote is dead (it is their reaper then). */
static void reap(struct engine *e)
{
	pid_t pid;
	int status;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
		struct zygote *z = zygote_of(e, pid);

		if (!z) {
			fleet_reaped(e, pid, status);
			continue;
		}
		z->pid = 0;
		z->status = status;
	}
}

/* A process that is not reaped counts. What does not die, ampmon's successor of the room goes without. */
static bool is_gone(const struct zygote *z)
{
	if (z->pid == 0 && kill(-z->group, SIGKILL) != 0 && errno == ESRCH)
		return true;
	if (amp_clock_monotonic() - z->since_ns > DYING_NS)
		amp_fatal("what a zygote forked is still there after %d s", (int)(DYING_NS / AMP_NS_PER_SEC));
	return false;
}

/* True: nothing of it is left. */
static bool bury(struct zygote *z)
{
	struct engine *e = z->engine;
	char path[SLOT_PATH];

	if (!is_gone(z))
		return false;
	(void)slot_wipe(slot_path(path, e->dirs.slots, ZYGOTE_SLOT, z->number));
	fleet_bury(e, z);
	if (e->loading == z)
		lost_loading(e, z);
	return true;
}

static void on_bury(evutil_socket_t fd, short what, void *arg)
{
	struct engine *e = arg;
	bool buried = false, left = false;

	(void)fd;
	(void)what;
	reap(e);
	for (struct zygote **at = &e->zygotes; *at;) {
		struct zygote *z = *at;

		if (z->state == STATE_DEAD && bury(z)) {
			*at = z->next;
			zygote_free(z);
			buried = true;
			continue;
		}
		left = left || z->state == STATE_DEAD;
		at = &z->next;
	}
	if (left)
		bury_later(e);
	if (buried) {
		sets_go(e);
		changed(e);
	}
}

static void give_up(struct zygote *z)
{
	z->killed = true;
	zygote_over(z);
}

/* --- when ----------------------------------------------------------------------------------- */

static void at(struct event *timer, int64_t when_ns)
{
	int64_t left = when_ns - amp_clock_monotonic();
	struct timeval tv = {.tv_usec = 1000};

	if (left > AMP_NS_PER_MS) {
		tv.tv_sec = left / AMP_NS_PER_SEC;
		tv.tv_usec = left % AMP_NS_PER_SEC / 1000 + 1;
	}
	evtimer_add(timer, &tv);
}

static void go_at(struct engine *e, int64_t when_ns)
{
	at(e->go, when_ns);
}

/*
 * A load that hangs would be the last: the set may be at fault, or its disk. For another set that is
 * wanted it has a minute; that one is not given up for a third in its turn, or nothing would ever load
 * where loads are slow and files change often.
 */
static void look_at_load(struct engine *e)
{
	struct zygote *z = e->loading;
	bool hurry = e->wanted && !e->hurried;
	int64_t most = hurry ? e->hurry_ns : e->load_ns;
	char why[64];

	if (!z || z->state != STATE_LOADING)
		return;
	if (amp_clock_monotonic() - z->since_ns < most) {
		at(e->overdue, z->since_ns + most);
		return;
	}
	snprintf(why, sizeof(why), "loading took longer than %.0f s", (double)most / (double)AMP_NS_PER_SEC);
	if (hurry)
		amp_warn("signatures given up for others that are there: %s", why);
	else
		refuse(e, z->fingerprint, why);
	e->hurried = hurry;
	give_up(z);
}

static void on_overdue(evutil_socket_t fd, short what, void *arg)
{
	struct engine *e = arg;

	(void)fd;
	(void)what;
	look_at_load(e);
	changed(e);
}

/* --- zygotes: what they are asked, what they say ------------------------------------------ */

int sets_ask(struct zygote *z, enum zygote_op op, unsigned slot, uint64_t serial)
{
	const struct zygote_ask a = {.op = op, .slot = slot, .serial = serial};

	if (z->state == STATE_DEAD)
		return -1;
	if (send(z->fd, &a, sizeof(a), MSG_NOSIGNAL | MSG_DONTWAIT) == (ssize_t)sizeof(a))
		return 0;
	amp_error("a zygote does not take what it is asked: %s", strerror(errno));
	ended(z);
	return -1;
}

void sets_give_up(struct zygote *z, const char *why)
{
	if (z->state == STATE_DEAD)
		return;
	amp_error("a zygote is given up: %s", why);
	ended(z);
}

static int heard_set(struct zygote *z, const struct zygote_said *s)
{
	const struct engine_dirs *d = &z->engine->dirs;
	struct told_set *t = &z->sets[z->set_count];
	char name[NAME_MAX * 4 + 1];

	if (s->number < 0 || (unsigned)s->number >= d->count)
		return -1;
	if (z->set_count == AMP_ENGINE_SETS)
		return 0;
	*t = (struct told_set){.time_ns = s->time_ns, .version = s->version, .signatures = s->signatures};
	amp_text_escape(s->text, strlen(s->text), name, sizeof(name));
	if (asprintf(&t->path, "%s/%s", d->host[s->number], name) < 0)
		return -1;
	z->set_count++;
	return 0;
}

static void retire(struct zygote *z)
{
	struct engine *e = z->engine;

	if (e->in_use == z)
		e->in_use = NULL;
	z->state = STATE_LEAVING;
	z->since_ns = amp_clock_monotonic();
	(void)sets_ask(z, ZYGOTE_RETIRE, 0, 0);
}

static int heard_loaded(struct zygote *z, const struct zygote_said *s)
{
	struct engine *e = z->engine;
	int64_t now = amp_clock_monotonic();

	if (z->answered || s->signatures == 0)
		return -1;
	amp_info("signatures in use: %llu in %u files (set %llu), libclamav %s, loaded in %.1f s",
		 (unsigned long long)s->signatures, z->set_count, (unsigned long long)(e->generations + 1),
		 s->text, (double)(now - z->since_ns) / (double)AMP_NS_PER_SEC);
	if (e->in_use)
		retire(e->in_use);
	z->answered = true;
	z->generation = ++e->generations;
	z->signatures = s->signatures;
	z->loaded_ns = amp_clock_realtime();
	amp_text_escape(s->text, strlen(s->text), z->version, sizeof(z->version));
	z->state = STATE_IN_USE;
	z->since_ns = now;
	e->loading = NULL;
	e->in_use = z;
	e->not_before_ns = 0;
	e->hurried = false;
	/* What lies there by now may have been refused meanwhile. */
	if (z->fingerprint == e->fingerprint || e->refused_fingerprint != e->fingerprint)
		e->refused[0] = '\0';
	if (e->wanted)
		go_at(e, now);
	changed(e);
	return 0;
}

static int heard_refused(struct zygote *z, const struct zygote_said *s)
{
	if (z->answered)
		return -1;
	z->answered = true;
	z->engine->hurried = false;
	refuse(z->engine, z->fingerprint, s->text);
	return 0;
}

static int heard_log(const struct zygote_said *s)
{
	if (s->number < AMP_LOG_ERROR || s->number > AMP_LOG_DEBUG)
		return -1;
	amp_log((enum amp_log_level)s->number, "libclamav: %s", s->text);
	return 0;
}

/* Takes fd over. 0, or -1: a zygote does not say such a thing. */
static int heard(struct zygote *z, struct zygote_said *s, int fd)
{
	bool of_worker = s->kind == ZYGOTE_WORKER || s->kind == ZYGOTE_GONE || s->kind == ZYGOTE_FAILED;
	int rc = -1;

	s->text[sizeof(s->text) - 1] = '\0';
	if (of_worker)
		return fleet_heard(z, s, fd);
	if (fd >= 0)
		close(fd);
	else if (s->kind == ZYGOTE_LOG)
		rc = heard_log(s);
	else if (s->kind == ZYGOTE_SET && z->state == STATE_LOADING)
		rc = heard_set(z, s);
	else if (s->kind == ZYGOTE_LOADED && z->state == STATE_LOADING)
		rc = heard_loaded(z, s);
	else if (s->kind == ZYGOTE_REFUSED && z->state == STATE_LOADING)
		rc = heard_refused(z, s);
	return rc;
}

/* Bytes; 0: its end; -1 and errno. */
static ssize_t receive(int from, struct zygote_said *s, int *fd)
{
	union {
		char room[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control;
	struct iovec v = {s, sizeof(*s)};
	struct msghdr m = {
		.msg_iov = &v, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)};
	ssize_t n = recvmsg(from, &m, MSG_DONTWAIT | MSG_CMSG_CLOEXEC | MSG_TRUNC);
	const struct cmsghdr *c = n > 0 ? CMSG_FIRSTHDR(&m) : NULL;
	size_t passed = 0;

	*fd = -1;
	/* There is room for more than one, between the end of that and the next boundary. */
	if (c && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS)
		passed = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
	for (size_t i = 0; i < passed; i++) {
		int one;

		memcpy(&one, CMSG_DATA(c) + i * sizeof(int), sizeof(one));
		if (passed == 1)
			*fd = one;
		else
			close(one);
	}
	return passed > 1 || (n > 0 && (m.msg_flags & MSG_CTRUNC)) ? 1 : n;
}

/* True: there may be more. */
static bool hear_some(struct zygote *z)
{
	struct zygote_said s;
	int fd;

	for (int i = 0; i < SAID_BATCH && z->state != STATE_DEAD; i++) {
		ssize_t n = receive(z->fd, &s, &fd);

		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			return false;
		if (n == (ssize_t)sizeof(s) && heard(z, &s, fd) == 0)
			continue;
		if (n > 0)
			amp_error("a zygote says what it cannot say (%u)",
				  n == (ssize_t)sizeof(s) ? s.kind : 0);
		if (n > 0 && n != (ssize_t)sizeof(s) && fd >= 0)
			close(fd);
		ended(z);
	}
	return z->state != STATE_DEAD;
}

static void on_said(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	(void)hear_some(arg);
}

/* What it said last counts; what it forked and lives on may say more without end. */
static void on_died(evutil_socket_t fd, short what, void *arg)
{
	struct zygote *z = arg;

	(void)fd;
	(void)what;
	for (int i = 0; i < LAST_BATCHES && hear_some(z); i++)
		;
	ended(z);
}

/* --- zygotes: their start ------------------------------------------------------------------- */

static int watch_end(struct zygote *z)
{
	z->pidfd = (int)syscall(SYS_pidfd_open, z->pid, 0U);
	z->died = z->pidfd < 0 ? NULL : event_new(z->engine->base, z->pidfd, EV_READ, on_died, z);
	if (z->died && event_add(z->died, NULL) == 0)
		return 0;
	(void)kill(z->pid, SIGKILL);
	if (z->died)
		event_free(z->died);
	if (z->pidfd >= 0)
		close(z->pidfd);
	return -1;
}

static int zygote_fork(struct zygote *z, int theirs)
{
	struct engine *e = z->engine;
	const pid_t self = getpid();

	z->readable = event_new(e->base, z->fd, EV_READ | EV_PERSIST, on_said, z);
	if (!z->readable || event_add(z->readable, NULL) != 0)
		return -1;
	z->pid = fork();
	if (z->pid == 0)
		zygote_main(&e->dirs, theirs, z->number, self);
	z->group = z->pid;
	return z->pid < 0 ? -1 : watch_end(z);
}

static int start_one(struct engine *e)
{
	struct zygote *z = calloc(1, sizeof(*z));
	char odd[ADAPTER_TEXT];
	int pair[2];
	unsigned files;

	if (!z || socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) != 0) {
		free(z);
		return -1;
	}
	z->engine = e;
	z->fd = pair[0];
	z->number = ++e->numbers;
	z->fingerprint = watch_look(e, &files, odd); /* the next look tells of what is odd */
	z->since_ns = amp_clock_monotonic();
	if (zygote_fork(z, pair[1]) != 0) {
		int error = errno;

		if (z->readable)
			event_free(z->readable);
		close(pair[0]);
		close(pair[1]);
		free(z);
		errno = error;
		return -1;
	}
	close(pair[1]);
	z->next = e->zygotes;
	e->zygotes = z;
	e->loading = z;
	return 0;
}

/* No more than two sets are in memory at once; with `after`, one. 0: none is in the way. */
static int64_t in_the_way_until(struct engine *e)
{
	int64_t until = 0, now = amp_clock_monotonic();

	for (struct zygote *z = e->zygotes; z; z = z->next) {
		if (z->state == STATE_IN_USE && e->reload_after)
			retire(z);
		if (z->state == STATE_LEAVING && now - z->since_ns >= LEAVING_NS) {
			amp_warn("old signatures are still in use after %d s: their workers are ended",
				 (int)(LEAVING_NS / AMP_NS_PER_SEC));
			zygote_over(z);
		}
		if (z->state == STATE_LEAVING && (!until || z->since_ns + LEAVING_NS < until))
			until = z->since_ns + LEAVING_NS;
		if (z->state == STATE_DEAD)
			until = now + BURY_MS * AMP_NS_PER_MS;
	}
	return until;
}

void sets_go(struct engine *e)
{
	int64_t until;

	if (e->odd[0])
		e->wanted = false; /* it is refused */
	if (!e->wanted || e->loading)
		return;
	if (amp_clock_monotonic() < e->not_before_ns) {
		go_at(e, e->not_before_ns);
		return;
	}
	until = in_the_way_until(e);
	if (until) {
		go_at(e, until);
		return;
	}
	if (start_one(e) == 0) {
		e->wanted = false;
		look_at_load(e);
		return;
	}
	amp_error("no process for the signatures: %s", strerror(errno));
	back_off(e);
	go_at(e, e->not_before_ns);
}

static void on_go(evutil_socket_t fd, short what, void *arg)
{
	struct engine *e = arg;

	(void)fd;
	(void)what;
	sets_go(e);
	changed(e);
}

/* --- what is in the directories --------------------------------------------------------------- */

static void nothing_there(struct engine *e)
{
	char why[ADAPTER_TEXT];
	size_t n = (size_t)snprintf(why, sizeof(why), "no signatures in");

	for (unsigned i = 0; i < e->dirs.count && n < sizeof(why); i++)
		n += (size_t)snprintf(why + n, sizeof(why) - n, "%s %s", i ? "," : "", e->dirs.host[i]);
	if (e->dirs.count == 0)
		snprintf(why, sizeof(why), "no directory of `definitions` is there");
	e->wanted = false;
	refuse(e, 0, why);
}

static bool is_news(const struct engine *e, bool insist)
{
	if (e->loading && !insist)
		return e->loading->fingerprint != e->fingerprint;
	if (e->in_use && e->in_use->fingerprint == e->fingerprint)
		return false;
	return insist || e->refused[0] == '\0' || e->refused_fingerprint != e->fingerprint;
}

/* Not tried: it would hang. What began to load before is as good as it was. */
static void odd_there(struct engine *e, bool insist)
{
	bool told = e->refused[0] && e->refused_fingerprint == e->fingerprint;

	e->wanted = false;
	if (e->loading && e->loading->fingerprint == e->fingerprint)
		give_up(e->loading);
	if (!told || insist)
		refuse(e, e->fingerprint, e->odd);
}

void sets_look(struct engine *e, bool insist)
{
	unsigned files;

	e->fingerprint = watch_look(e, &files, e->odd);
	if (e->odd[0]) {
		odd_there(e, insist);
	} else if (files == 0) {
		nothing_there(e);
	} else if (is_news(e, insist)) {
		if (insist && e->loading)
			give_up(e->loading); /* it may hang */
		e->wanted = true;
		e->failures = 0;
		e->not_before_ns = 0;
		look_at_load(e);
	} else if (e->in_use && e->in_use->fingerprint == e->fingerprint) {
		e->refused[0] = '\0'; /* what was refused is gone */
	}
	sets_go(e);
	changed(e);
}

int sets_start(struct engine *e)
{
	e->go = evtimer_new(e->base, on_go, e);
	e->bury = evtimer_new(e->base, on_bury, e);
	e->overdue = evtimer_new(e->base, on_overdue, e);
	if (!e->go || !e->bury || !e->overdue)
		return -1;
	if (!e->load_ns)
		e->load_ns = LOAD_NS;
	if (!e->hurry_ns)
		e->hurry_ns = HURRY_NS;
	sets_look(e, false);
	return 0;
}
