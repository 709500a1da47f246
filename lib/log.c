/*
 * lib/log.c - the log of a component: a ring of bytes and one writing thread.
 *
 * Owns: formatting, the rate limit by call site, the ring (1 MiB, whole lines
 * that end with a newline; no other line break can get in, because the text is
 * escaped), the thread. After its start the thread uses write(2), futex(2) and
 * the clocks alone. Must not own: opening or rotating files.
 */
#include "log.h"

#include "clock.h"
#include "counter.h"
#include "text.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define RING_SIZE      (1024U * 1024U)
#define LINE_MAX_SIZE  8192U  /* with the newline */
#define CHUNK_SIZE     65536U /* most lines of one write(2), bytes */
#define NOTE_SIZE      256U   /* the line that tells of lost ones */
#define THREAD_STACK   (256U * 1024U)
#define FATAL_DRAIN_MS 2000U
#define SITES	       256U /* call sites remembered */
#define SITE_PROBES    4U
#define RATE_LINES     20U		     /* of one call site ... */
#define RATE_WINDOW    (10 * AMP_NS_PER_SEC) /* ... in this time */

/* A call site is its format string's address. */
struct site {
	const char *fmt;
	int64_t since; /* start of its window, monotonic ns */
	unsigned count;
	unsigned held; /* lines kept back in this window */
	enum amp_log_level level;
};

static struct {
	pthread_mutex_t lock; /* everything below; never held over a write(2) */
	pthread_cond_t wake;  /* the thread: something to write */
	pthread_cond_t idle;  /* a drain: all is written; the start: it runs */
	char *ring;
	size_t tail, used;
	uint64_t lost; /* lines dropped and not yet told of */
	bool thread, running, writing, fork_handled;
	struct site sites[SITES];
} state = {.lock = PTHREAD_MUTEX_INITIALIZER};

static char component[32] = "amp";
static _Atomic int out_fd = STDERR_FILENO;
static _Atomic unsigned log_level = AMP_LOG_INFO;
static _Atomic unsigned sites_held;	   /* sites with lines kept back */
static _Atomic bool torn;		   /* the last write(2) ended within a line; the writer's */
static char chunk[CHUNK_SIZE + NOTE_SIZE]; /* the thread's */

static struct amp_counter dropped = AMP_COUNTER("log.dropped", true);
static struct amp_counter write_failed = AMP_COUNTER("log.write_failed", true);

static uint64_t count_lines(const char *p, size_t n)
{
	uint64_t lines = 0;

	for (const char *end; (end = memchr(p, '\n', n)); p = end + 1) {
		n -= (size_t)(end + 1 - p);
		lines++;
	}
	return lines;
}

/* All of it, or what a full disk leaves: then the lines are counted. */
static void write_lines(const char *p, size_t n)
{
	/* A line that was cut short before must not run into this one. */
	if (torn && write(out_fd, "\n", 1) == 1)
		torn = false;
	while (n > 0) {
		ssize_t done = write(out_fd, p, n);

		if (done < 0 && errno == EINTR)
			continue;
		if (done <= 0) {
			amp_counter_add(&write_failed, count_lines(p, n));
			return;
		}
		p += done;
		n -= (size_t)done;
		torn = p[-1] != '\n';
	}
}

/* Into the ring; the lock is held. */
static void ring_put(const char *line, size_t n)
{
	size_t head = (state.tail + state.used) % RING_SIZE;
	size_t to_end = RING_SIZE - head;
	size_t first = n < to_end ? n : to_end;

	memcpy(state.ring + head, line, first);
	memcpy(state.ring, line + first, n - first);
	state.used += n;
}

/* As many whole lines as a chunk holds; the lock is held. */
static size_t ring_take(char *out)
{
	size_t n = state.used < CHUNK_SIZE ? state.used : CHUNK_SIZE;
	size_t to_end = RING_SIZE - state.tail;
	size_t first = n < to_end ? n : to_end;
	const char *last;

	memcpy(out, state.ring + state.tail, first);
	memcpy(out + first, state.ring, n - first);
	last = memrchr(out, '\n', n);
	n = last ? (size_t)(last + 1 - out) : n;
	state.tail = (state.tail + n) % RING_SIZE;
	state.used -= n;
	return n;
}

static void put_line(const char *line, size_t n)
{
	bool direct, full = false;

	pthread_mutex_lock(&state.lock);
	direct = !state.thread;
	if (!direct) {
		full = n > RING_SIZE - state.used;
		if (full)
			state.lost++;
		else
			ring_put(line, n);
		pthread_cond_signal(&state.wake);
	}
	pthread_mutex_unlock(&state.lock);
	if (direct)
		write_lines(line, n);
	else if (full)
		amp_counter_add(&dropped, 1);
}

/* "time component level " in buf; its length. */
static size_t put_prefix(char *buf, size_t size, enum amp_log_level level)
{
	static const char *const names[] = {"error", "warn", "info", "debug"};
	char when[32];
	int n = snprintf(buf, size, "%s %s %s ", amp_clock_rfc3339(amp_clock_realtime(), when, sizeof(when)),
			 component, names[level]);

	return n < 0 ? 0 : (size_t)n;
}

/* One line out of raw text. cut: the text was longer than raw. */
static void put_text(enum amp_log_level level, const char *raw, size_t n, bool cut)
{
	char line[LINE_MAX_SIZE];
	size_t used = put_prefix(line, sizeof(line), level);
	size_t taken;

	/* Room is kept for the dots; the newline takes the place of the NUL. */
	used += amp_text_escape_some(raw, n, line + used, sizeof(line) - used - 3, &taken);
	if (cut || taken < n) {
		memcpy(line + used, "...", 3);
		used += 3;
	}
	line[used++] = '\n';
	put_line(line, used);
}

__attribute__((format(printf, 2, 0))) static void put_formatted(enum amp_log_level level, const char *fmt,
								va_list ap)
{
	char raw[LINE_MAX_SIZE];
	int n = vsnprintf(raw, sizeof(raw), fmt, ap);
	size_t len = n < 0 ? 0 : (size_t)n;

	/* Not formattable: its pattern says more than nothing. */
	if (n < 0)
		put_text(level, fmt, strnlen(fmt, LINE_MAX_SIZE), false);
	else
		put_text(level, raw, len < sizeof(raw) ? len : sizeof(raw) - 1, len >= sizeof(raw));
}

static void tell_held(const struct site *held)
{
	char text[NOTE_SIZE];
	int n = snprintf(text, sizeof(text), "%u more lines like this one within 10 s: %s", held->held,
			 held->fmt);

	if (n > 0)
		put_text(held->level, text, strlen(text), (size_t)n >= sizeof(text));
}

/* Clears what a site kept back into *out; the lock is held. */
static void take_held(struct site *s, struct site *out)
{
	*out = *s;
	if (s->held) {
		s->held = 0;
		atomic_fetch_sub(&sites_held, 1);
	}
}

/* A clock that went back (a test's) ends a window as well. */
static bool expired(const struct site *s, int64_t now)
{
	return now < s->since || now - s->since >= RATE_WINDOW;
}

/* The site of fmt, else an empty one, else the oldest near by; the lock is held. */
static struct site *find_site(const char *fmt)
{
	size_t start = (size_t)(((uint64_t)(uintptr_t)fmt * 0x9e3779b97f4a7c15U) >> 32);
	struct site *best = &state.sites[start % SITES];

	for (size_t i = 0; i < SITE_PROBES; i++) {
		struct site *s = &state.sites[(start + i) % SITES];

		if (s->fmt == fmt)
			return s;
		if (best->fmt && (!s->fmt || s->since < best->since))
			best = s;
	}
	return best;
}

/* May a line of this site be written now? Tells first what was held back. */
static bool rate_allows(enum amp_log_level level, const char *fmt, int64_t now)
{
	struct site before = {0};
	struct site *s;
	bool allowed;

	pthread_mutex_lock(&state.lock);
	s = find_site(fmt);
	if (s->fmt != fmt || expired(s, now)) {
		take_held(s, &before);
		*s = (struct site){.fmt = fmt, .since = now};
	}
	s->level = level;
	allowed = s->count < RATE_LINES;
	if (allowed)
		s->count++;
	else if (s->held++ == 0)
		atomic_fetch_add(&sites_held, 1);
	/* The thread now has a moment to wake up for. */
	if (!allowed && s->held == 1 && state.thread)
		pthread_cond_signal(&state.wake);
	pthread_mutex_unlock(&state.lock);
	if (before.held)
		tell_held(&before);
	return allowed;
}

/* One line for every site whose window is over (all: for every site). */
static void tell_expired(int64_t now, bool all)
{
	for (size_t i = 0; i < SITES && atomic_load(&sites_held) > 0; i++) {
		struct site held = {0};
		struct site *s = &state.sites[i];

		pthread_mutex_lock(&state.lock);
		if (s->held && (all || expired(s, now)))
			take_held(s, &held);
		pthread_mutex_unlock(&state.lock);
		if (held.held)
			tell_held(&held);
	}
}

void amp_log(enum amp_log_level level, const char *fmt, ...)
{
	int saved = errno;
	int64_t now;
	va_list ap;

	if ((unsigned)level > atomic_load_explicit(&log_level, memory_order_relaxed))
		return;
	now = amp_clock_monotonic();
	tell_expired(now, false);
	if (rate_allows(level, fmt, now)) {
		errno = saved; /* for %m */
		va_start(ap, fmt);
		put_formatted(level, fmt, ap);
		va_end(ap);
	}
	errno = saved;
}

void amp_fatal(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	put_formatted(AMP_LOG_ERROR, fmt, ap);
	va_end(ap);
	amp_log_drain(FATAL_DRAIN_MS);
	exit(1);
}

void amp_log_set_level(enum amp_log_level level)
{
	unsigned n = (unsigned)level;

	atomic_store(&log_level, n < AMP_LOG_DEBUG ? n : (unsigned)AMP_LOG_DEBUG);
}

void amp_log_open(const char *name, int fd, enum amp_log_level level)
{
	snprintf(component, sizeof(component), "%s", name);
	atomic_store(&out_fd, fd);
	amp_log_set_level(level);
	/* Zeros are shown as well. */
	amp_counter_list(&dropped);
	amp_counter_list(&write_failed);
}

int amp_log_replace_fd(int fd)
{
	int old = atomic_load(&out_fd);
	int rc;

	if (fd == old)
		return 0;
	/* EBUSY: another thread is about to open the same number. */
	do
		rc = dup3(fd, old, O_CLOEXEC);
	while (rc < 0 && (errno == EINTR || errno == EBUSY));
	return rc < 0 ? -1 : 0;
}

static struct timespec deadline_in(int64_t ns)
{
	int64_t t = amp_clock_kernel_monotonic() + ns;

	return (struct timespec){.tv_sec = t / AMP_NS_PER_SEC, .tv_nsec = t % AMP_NS_PER_SEC};
}

/* Sleeps until there are lines, or a window may be over; the lock is held. */
static void wait_for_lines(void)
{
	struct timespec t;

	if (atomic_load(&sites_held) == 0) {
		pthread_cond_wait(&state.wake, &state.lock);
		return;
	}
	t = deadline_in(AMP_NS_PER_SEC);
	pthread_cond_timedwait(&state.wake, &state.lock, &t);
	pthread_mutex_unlock(&state.lock);
	tell_expired(amp_clock_monotonic(), false);
	pthread_mutex_lock(&state.lock);
}

/* The line that says how many are missing about here; the lock is held. */
static size_t take_note(char *out, size_t size)
{
	size_t n;
	int more;

	if (!state.lost)
		return 0;
	n = put_prefix(out, size, AMP_LOG_WARN);
	more = snprintf(out + n, size - n, "%llu lines were dropped, the log is too slow\n",
			(unsigned long long)state.lost);
	state.lost = 0;
	return more < 0 ? 0 : n + (size_t)more;
}

static void *writer_main(void *arg)
{
	(void)arg;
	pthread_mutex_lock(&state.lock);
	state.running = true;
	pthread_cond_broadcast(&state.idle);
	for (;;) {
		size_t n;

		while (!state.used)
			wait_for_lines();
		n = ring_take(chunk);
		n += take_note(chunk + n, NOTE_SIZE);
		state.writing = true;
		pthread_mutex_unlock(&state.lock);
		write_lines(chunk, n);
		pthread_mutex_lock(&state.lock);
		state.writing = false;
		if (!state.used)
			pthread_cond_broadcast(&state.idle);
	}
	return NULL;
}

static void init_conditions(void)
{
	pthread_condattr_t attr;

	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&state.wake, &attr);
	pthread_cond_init(&state.idle, &attr);
	pthread_condattr_destroy(&attr);
}

static void before_fork(void)
{
	pthread_mutex_lock(&state.lock);
}

static void after_fork_parent(void)
{
	pthread_mutex_unlock(&state.lock);
}

/* No thread came along: the parent writes what is in the ring, the child writes for itself. */
static void after_fork_child(void)
{
	state.thread = state.running = state.writing = false;
	state.tail = state.used = 0;
	state.lost = 0;
	memset(state.sites, 0, sizeof(state.sites));
	atomic_store(&sites_held, 0);
	pthread_mutex_init(&state.lock, NULL);
	init_conditions();
}

/* 0 or an error number. */
static int handle_forks(void)
{
	int rc;

	if (state.fork_handled)
		return 0;
	rc = pthread_atfork(before_fork, after_fork_parent, after_fork_child);
	if (rc == 0) {
		init_conditions();
		state.fork_handled = true;
	}
	return rc;
}

/* What the thread needs and what is made only once. 0 or an error number. */
static int prepare_thread(void)
{
	if (!state.ring)
		state.ring = malloc(RING_SIZE);
	return state.ring ? handle_forks() : ENOMEM;
}

static int create_writer(void)
{
	sigset_t all, before;
	pthread_attr_t attr;
	pthread_t thread;
	int rc = pthread_attr_init(&attr);

	if (rc)
		return rc;
	pthread_attr_setstacksize(&attr, THREAD_STACK);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	rc = pthread_create(&thread, &attr, writer_main, NULL);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	pthread_attr_destroy(&attr);
	return rc;
}

int amp_log_stay_single(void)
{
	int rc = handle_forks();

	errno = rc;
	return rc ? -1 : 0;
}

int amp_log_start_thread(void)
{
	int rc;

	if (state.thread)
		return 0;
	rc = prepare_thread();
	if (!rc)
		rc = create_writer();
	if (rc) {
		errno = rc;
		return -1;
	}
	pthread_mutex_lock(&state.lock);
	while (!state.running)
		pthread_cond_wait(&state.idle, &state.lock);
	state.thread = true;
	pthread_mutex_unlock(&state.lock);
	return 0;
}

void amp_log_drain(unsigned ms)
{
	struct timespec t;
	int rc = 0;

	tell_expired(amp_clock_monotonic(), true);
	t = deadline_in((int64_t)ms * AMP_NS_PER_MS);
	pthread_mutex_lock(&state.lock);
	while (state.thread && (state.used || state.writing) && rc == 0)
		rc = pthread_cond_timedwait(&state.idle, &state.lock, &t);
	pthread_mutex_unlock(&state.lock);
}
