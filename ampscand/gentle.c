/*
 * ampscand/gentle.c - how much of the machine scans on demand may take.
 *
 * Owns: the share of the processors' time that the policy gives them, as a
 * bucket: it fills with the time that passes and is emptied by the time that
 * their files cost; and the look at the load: while more wants to run than
 * twice what the processors can do, the share is an eighth (not nothing: a
 * machine that is always so busy would never be scanned). Must not own: what is
 * read instead.
 */
#include "demand.h"

#include "clock.h"
#include "counter.h"

#include <stdlib.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#define BURST_NS     (AMP_NS_PER_SEC / 4) /* what the bucket holds: the time of so long */
#define LOOK_NS	     AMP_NS_PER_SEC	  /* between two looks at the load */
#define LOADED	     2			  /* more than so many runnable a processor */
#define LOADED_SHARE 8			  /* then it is so many times less */
#define WAIT_MIN_NS  (5 * AMP_NS_PER_MS)

struct gentle {
	unsigned processors;
	int64_t filled_ns, looked_ns; /* monotonic */
	int64_t level_ns;	      /* may be below zero: owed */
	bool loaded;
	struct event *timer;
};

static struct amp_counter count_waits = AMP_COUNTER("demand.waits_for_processors", false);
static struct amp_counter count_loaded = AMP_COUNTER("demand.seconds_under_load", false);

static bool is_loaded(const struct gentle *g)
{
	struct sysinfo si;

	if (sysinfo(&si) != 0)
		return false;
	return si.loads[0] >> SI_LOAD_SHIFT >= (unsigned long)g->processors * LOADED + 1;
}

/* Of a second of the clock, so many thousandths of processors' seconds. */
static int64_t rate_of(const struct scand *s)
{
	const struct gentle *g = s->demand->gentle;
	unsigned percent = s->rules && s->rules->scan_cpu ? s->rules->scan_cpu : 100;
	int64_t rate = (int64_t)g->processors * percent * 10;

	return g->loaded ? rate / LOADED_SHARE + 1 : rate;
}

static void fill(struct scand *s)
{
	struct gentle *g = s->demand->gentle;
	int64_t now = amp_clock_monotonic(), passed = now - g->filled_ns, full;

	if (now - g->looked_ns >= LOOK_NS) {
		g->looked_ns = now;
		g->loaded = is_loaded(g);
		amp_counter_add(&count_loaded, g->loaded);
	}
	full = BURST_NS / 1000 * rate_of(s);
	/* Longer than it takes to fill it, and nothing to overflow by. */
	if (passed > 60 * AMP_NS_PER_SEC || passed < 0)
		passed = 60 * AMP_NS_PER_SEC;
	g->level_ns += passed / 1000 * rate_of(s);
	if (g->level_ns > full)
		g->level_ns = full;
	g->filled_ns = now;
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	scand_pump_later(arg);
}

bool gentle_may_go_on(struct scand *s)
{
	struct gentle *g = s->demand->gentle;
	struct timeval tv;
	int64_t wait;

	fill(s);
	if (g->level_ns > 0)
		return true;
	if (evtimer_pending(g->timer, NULL))
		return false;
	amp_counter_add(&count_waits, 1);
	wait = -g->level_ns / rate_of(s) * 1000 + WAIT_MIN_NS;
	if (wait > LOOK_NS)
		wait = LOOK_NS;
	tv.tv_sec = wait / AMP_NS_PER_SEC;
	tv.tv_usec = wait % AMP_NS_PER_SEC / 1000;
	evtimer_add(g->timer, &tv);
	return false;
}

void demand_worked(struct scand *s, uint64_t ns)
{
	/* A reader or a worker says what it likes: no more than an hour. */
	if (s->demand && s->demand->gentle)
		s->demand->gentle->level_ns -=
			(int64_t)(ns < 3600ULL * AMP_NS_PER_SEC ? ns : 3600ULL * AMP_NS_PER_SEC);
}

int gentle_init(struct scand *s)
{
	struct gentle *g = calloc(1, sizeof(*g));
	long n = sysconf(_SC_NPROCESSORS_ONLN);

	s->demand->gentle = g;
	if (!g)
		return -1;
	g->processors = n > 0 ? (unsigned)n : 1;
	g->filled_ns = amp_clock_monotonic();
	g->timer = evtimer_new(s->base, on_timer, s);
	return g->timer ? 0 : -1;
}

void gentle_free(struct scand *s)
{
	struct gentle *g = s->demand->gentle;

	if (!g)
		return;
	if (g->timer)
		event_free(g->timer);
	free(g);
	s->demand->gentle = NULL;
}
