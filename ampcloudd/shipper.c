/*
 * ampcloudd/shipper.c - events.json, row by row (see shipper.h).
 *
 * A line is written by one write(2). What of it does not get in (a full disk)
 * is kept and written later, so a reader never finds it twice or in two parts
 * while this process lives. A predecessor's torn line is ended by a newline
 * and its row written again.
 */
#include "shipper.h"

#include "clock.h"
#include "counter.h"
#include "ecs.h"
#include "log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define RETRY_MS   2000
#define SYNC_MS	   5000
#define FILE_MAX   (UINT64_C(64) << 20)
#define STEP_ROWS  64		       /* rows in a step, then others have their turn */
#define STEP_BYTES (256U << 10)	       /* likewise */
#define WINDOW	   65536U	       /* bytes looked at when the last line is sought */
#define SEARCH_MAX (UINT64_C(8) << 20) /* no further back: several of the longest lines */

/* A row, by its database's name and its number there. */
struct position {
	char database[ECS_NAME_SIZE]; /* "": not known */
	uint64_t number;
};

/* What is the I/O thread's alone. */
struct writing {
	bool has_file, fresh; /* fresh: nothing was written to it by us yet */
	struct position last; /* in the file */
	struct position synced;
	int64_t synced_ns;    /* monotonic */
	struct ecs_text line; /* in hand */
	bool pending;	      /* there is one */
	size_t done;	      /* bytes of it in the file */
	struct position row;  /* of the line in hand */
};

enum outcome { SHIPPED, WAITING, FAILED };

struct shipper {
	struct amp_io_job job; /* the step */
	struct amp_iothread *io;
	struct store *store;
	struct shipper_config config;
	char *host_id;
	struct event *again;
	struct writing w;
	/* Of the step: the thread's until its job is done. */
	enum outcome outcome;
	bool unsynced;
	int error;
	/* The loop's. */
	bool running, look_again, complained, given;
	enum outcome last;
	_Atomic bool stopping; /* the thread looks at it too */
};

struct new_file {
	struct amp_io_job job; /* first: a job is its file */
	struct shipper *shipper;
	int fd, before, error;
};

static struct amp_counter written = AMP_COUNTER("events_json.written", false);
static struct amp_counter waiting = AMP_COUNTER("events_json.waiting", false);
static struct amp_counter failures = AMP_COUNTER("events_json.failures", false);

/* --- on the I/O thread: the file before us ----------------------------------- */

/* The newest line in the window that is one of ours. Not whole ones are passed over. */
static bool line_in(const char *window, size_t n, bool at_end, struct position *p)
{
	if (at_end && ecs_ending(window, n, p->database, &p->number))
		return true; /* all but its newline was written */
	for (size_t i = n; i > 0; i--)
		if (window[i - 1] == '\n' && ecs_ending(window, i - 1, p->database, &p->number))
			return true;
	return false;
}

/* Last row in the file; false: there is none of ours. */
static bool last_line(int fd, struct position *p)
{
	struct stat st;
	uint64_t end, searched = 0;
	char *window;
	bool found = false;

	if (fd < 0 || fstat(fd, &st) != 0 || st.st_size <= 0)
		return false;
	window = malloc(WINDOW);
	end = (uint64_t)st.st_size;
	while (window && !found && end > 0 && searched < SEARCH_MAX) {
		size_t want = end < WINDOW ? (size_t)end : WINDOW;
		ssize_t n = pread(fd, window, want, (off_t)(end - want));

		if (n != (ssize_t)want)
			break;
		found = line_in(window, want, end == (uint64_t)st.st_size, p);
		/* An ending may lie across the window's edge. */
		end -= want > ECS_END_MAX ? want - ECS_END_MAX : want;
		searched += want;
	}
	free(window);
	return found;
}

static bool ends_in_line(int fd)
{
	struct stat st;
	char c;

	if (fstat(fd, &st) != 0 || st.st_size <= 0)
		return true;
	return pread(fd, &c, 1, st.st_size - 1) == 1 && c == '\n';
}

static bool before(const struct position *a, const struct position *b)
{
	return strcmp(a->database, b->database) != 0 || a->number < b->number;
}

/* --- on the I/O thread: writing ------------------------------------------------- */

/* 0, or -1 and errno; w->done tells how far it got. */
static int write_line(struct shipper *s)
{
	struct writing *w = &s->w;

	while (w->done < w->line.size) {
		ssize_t n = write(s->config.fd, w->line.data + w->done, w->line.size - w->done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -1;
		w->done += (size_t)n;
	}
	w->pending = false;
	w->last = w->row;
	amp_counter_add(&written, 1);
	return 0;
}

/* What a full disk would have us wait for: the rest of the line goes into the file it began in. */
static void leave_file(struct shipper *s)
{
	struct writing *w = &s->w;

	if (!w->has_file)
		return;
	if (w->pending && w->done > 0)
		write_line(s);
	w->done = 0; /* if that failed: all of it into the next */
	if (fdatasync(s->config.fd) == 0)
		w->synced = w->last;
}

/* False: nothing changes. */
static bool take_file(struct shipper *s, int fd)
{
	struct stat st;

	if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)) {
		errno = EINVAL;
		return false;
	}
	leave_file(s);
	if (dup3(fd, s->config.fd, O_CLOEXEC) < 0)
		return false;
	s->w.has_file = s->w.fresh = true;
	return true;
}

static bool run_new_file(struct amp_io_job *job)
{
	struct new_file *f = (struct new_file *)job;
	struct shipper *s = f->shipper;
	struct position p;

	if (!take_file(s, f->fd)) {
		f->error = errno;
	} else if (last_line(s->config.fd, &p) || last_line(f->before, &p)) {
		if (before(&s->w.last, &p))
			s->w.last = p;
	}
	close(f->fd);
	if (f->before >= 0) {
		fdatasync(f->before); /* its writer may have died before it did */
		close(f->before);
	}
	return true;
}

/* Which row was written last; in a database that went back, nothing is beyond its end. */
static enum amp_db_error find_place(struct shipper *s, struct position *p, uint64_t *end)
{
	enum amp_db_error error = store_last_number(s->store, end);

	snprintf(p->database, sizeof(p->database), "%s", store_name(s->store));
	p->number = store_shipped(s->store);
	if (strcmp(p->database, s->w.last.database) != 0)
		return error;
	if (s->w.last.number > *end)
		s->w.last.number = *end;
	if (s->w.last.number > p->number)
		p->number = s->w.last.number;
	return error;
}

static void note_place(struct shipper *s, const struct position *p, uint64_t end)
{
	uint64_t durable = store_shipped(s->store);

	if (strcmp(s->w.synced.database, p->database) == 0 && s->w.synced.number > durable)
		durable = s->w.synced.number;
	store_ship(s->store, p->number, durable < p->number ? durable : p->number);
	waiting.value = end > p->number ? end - p->number : 0;
}

/* The row after p as the line in hand. False: there is none, or *error. */
static bool next_line(struct shipper *s, const struct position *p, enum amp_db_error *error)
{
	struct writing *w = &s->w;
	struct ecs_source from = {s->host_id, p->database, amp_clock_realtime()};
	Amp__CliHistoryEntry *e;

	*error = store_next(s->store, p->number, &e);
	if (*error != AMP_DB_OK || !e)
		return false;
	if (ecs_line(&w->line, e, &from) < 0)
		*error = AMP_DB_OTHER;
	w->row = *p;
	w->row.number = e->number;
	w->done = 0;
	w->pending = *error == AMP_DB_OK;
	amp__cli_history_entry__free_unpacked(e, NULL);
	return w->pending;
}

/* What a predecessor could not end is ended first. */
static int begin_file(struct shipper *s)
{
	if (s->w.fresh && !ends_in_line(s->config.fd) && write(s->config.fd, "\n", 1) != 1)
		return -1;
	s->w.fresh = false;
	return 0;
}

static bool file_is_full(const struct shipper *s)
{
	struct stat st;

	return fstat(s->config.fd, &st) == 0 && (uint64_t)st.st_size >= s->config.file_max;
}

/* Rows until the step is long enough or there are no more (*all). 0, or -1 and errno. */
static int write_rows(struct shipper *s, struct position *p, bool *all)
{
	enum amp_db_error error = AMP_DB_OK;
	size_t bytes = 0;

	*all = false;
	for (unsigned rows = 0; rows < STEP_ROWS && bytes < STEP_BYTES; rows++) {
		if (!s->w.pending && !next_line(s, p, &error)) {
			*all = error == AMP_DB_OK;
			errno = EAGAIN; /* the database has its own fault and its own retries */
			return *all ? 0 : -1;
		}
		if (begin_file(s) < 0 || write_line(s) < 0)
			return -1;
		bytes += s->w.line.size;
		if (strcmp(s->w.row.database, p->database) == 0)
			*p = s->w.row;
	}
	return 0;
}

static void sync_file(struct shipper *s, bool now)
{
	int64_t since = amp_clock_monotonic() - s->w.synced_ns;

	if (!before(&s->w.synced, &s->w.last))
		return;
	if (!now && since < (int64_t)s->config.sync_ms * AMP_NS_PER_MS)
		return;
	s->w.synced_ns = amp_clock_monotonic();
	if (fdatasync(s->config.fd) == 0)
		s->w.synced = s->w.last;
}

static bool step(struct shipper *s)
{
	struct position p;
	uint64_t end = 0;
	bool all = false;
	int rc;

	s->outcome = WAITING;
	if (!s->w.has_file || !store_is_open(s->store) || file_is_full(s))
		return true;
	if (find_place(s, &p, &end) != AMP_DB_OK)
		return true;
	/* One that is begun is ended; else its row is read again: it may be gone by now. */
	s->w.pending = s->w.pending && s->w.done > 0;
	rc = write_rows(s, &p, &all);
	s->error = rc < 0 ? errno : 0;
	sync_file(s, s->stopping);
	note_place(s, &p, end);
	s->outcome = rc == 0 ? SHIPPED : s->error == EAGAIN ? WAITING : FAILED;
	return rc < 0 || all || s->stopping;
}

static bool run_step(struct amp_io_job *job)
{
	struct shipper *s = (struct shipper *)job;
	bool finished = step(s);

	s->unsynced = before(&s->w.synced, &s->w.last);
	return finished;
}

/* --- in the event loop ------------------------------------------------------------- */

static void look_in(struct shipper *s, unsigned ms)
{
	struct timeval delay = {.tv_sec = ms / 1000, .tv_usec = (ms % 1000) * 1000};

	if (!s->stopping)
		evtimer_add(s->again, &delay);
}

static void submit(struct shipper *s)
{
	s->running = true;
	s->look_again = false;
	evtimer_del(s->again);
	amp_iothread_submit(s->io, &s->job);
}

/* Once until it is well again. */
static void complain(struct shipper *s)
{
	amp_counter_add(&failures, 1);
	if (!s->complained)
		amp_warn("events.json cannot be written: %s; events are kept and written later",
			 strerror(s->error));
	s->complained = true;
}

static void step_done(struct amp_io_job *job)
{
	struct shipper *s = (struct shipper *)job;

	s->running = false;
	s->last = s->outcome;
	if (s->last == FAILED) {
		complain(s);
	} else if (s->last == SHIPPED && s->complained) {
		amp_info("events.json is written again");
		s->complained = false;
	}
	if (s->last == SHIPPED && s->look_again && !s->stopping)
		submit(s);
	else if (s->last != SHIPPED || s->unsynced)
		look_in(s, s->last == SHIPPED ? s->config.sync_ms : s->config.retry_ms);
}

static void on_again(evutil_socket_t fd, short what, void *arg)
{
	struct shipper *s = arg;

	(void)fd;
	(void)what;
	if (!s->running && !s->stopping)
		submit(s);
}

void shipper_look(struct shipper *s)
{
	s->look_again = true;
	/* After an error the timer is waited for, or each commit would be a try. */
	if (s->given && !s->running && !s->stopping && s->last == SHIPPED)
		submit(s);
}

static void new_file_done(struct amp_io_job *job)
{
	struct new_file *f = (struct new_file *)job;
	struct shipper *s = f->shipper;

	if (f->error) {
		amp_error("the new events.json is not used: %s", strerror(f->error));
	} else {
		s->given = true;
		s->last = SHIPPED; /* what was wrong with the old one is past */
	}
	free(f);
	shipper_look(s);
}

void shipper_file(struct shipper *s, int fd, int before_fd)
{
	struct new_file *f = calloc(1, sizeof(*f));

	if (!f)
		amp_fatal("no memory for a new events.json");
	f->job.run = run_new_file;
	f->job.done = new_file_done;
	f->shipper = s;
	f->fd = fd;
	f->before = before_fd;
	amp_iothread_submit(s->io, &f->job);
}

void shipper_stop(struct shipper *s)
{
	s->stopping = true;
	evtimer_del(s->again);
	if (s->given && !s->running)
		submit(s);
}

void shipper_free(struct shipper *s)
{
	if (!s)
		return;
	if (s->again)
		event_free(s->again);
	ecs_free(&s->w.line);
	free(s->host_id);
	free(s);
}

struct shipper *shipper_new(struct event_base *base, struct amp_iothread *io, struct store *store,
			    const struct shipper_config *c)
{
	struct shipper *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	s->io = io;
	s->store = store;
	s->config = *c;
	s->config.retry_ms = c->retry_ms ? c->retry_ms : RETRY_MS;
	s->config.sync_ms = c->sync_ms ? c->sync_ms : SYNC_MS;
	s->config.file_max = c->file_max ? c->file_max : FILE_MAX;
	s->job.run = run_step;
	s->job.done = step_done;
	s->host_id = strdup(c->host_id);
	s->again = evtimer_new(base, on_again, s);
	amp_counter_list(&written);
	amp_counter_list(&waiting);
	if (s->host_id && s->again)
		return s;
	shipper_free(s);
	errno = ENOMEM;
	return NULL;
}
