/*
 * tests/unit/enginetest.h - an ampengine that the test plays: its link, workers
 * with pairs of their own, and what each of them says of which content.
 */
#ifndef AMP_ENGINETEST_H
#define AMP_ENGINETEST_H

#include "quardtest.h"

#include "ampscand/contents.h"
#include "ampscand/scan.h"
#include "proto/engine.pb-c.h"

#include <signal.h>

#define FAKES 512U

struct fake;

struct fake_worker {
	struct fake *fake;
	uint64_t serial;
	struct amp_channel *channel;
	bool gone; /* told */
	unsigned scans;
	uint64_t bytes;
};

/* The first byte of a content says what an honest worker makes of it. */
struct fake {
	struct rig *g;
	struct amp_channel *link;
	uint64_t generation;
	bool no_spawn;
	bool mute; /* WORKER_GONE is not told */
	struct fake_worker worker[FAKES];
	unsigned workers;
	size_t spawned, scans, kills, left;
	uint64_t liar, convicts; /* serials: who says clean of all, who convicts all */
	uint64_t last_size;
	uint32_t last_ms;
	uint64_t last[4]; /* serials of those asked last, newest first */
};

static UNUSED void fake_gone(struct fake_worker *w, int sig, int status)
{
	Amp__WorkerGone gone = AMP__WORKER_GONE__INIT;
	struct fake *f = w->fake;

	if (w->gone)
		return;
	w->gone = true;
	if (w->channel)
		amp_channel_free(w->channel);
	w->channel = NULL;
	gone.serial = w->serial;
	gone.signal = sig;
	gone.status = status;
	if (f->link && !f->mute)
		amp_channel_send(f->link, AMP_MSG_WORKER_GONE, 0, &gone.base, NULL, 0);
}

static void fake_say(struct fake_worker *w, uint64_t id, Amp__ScanVerdict__Result result, const char *name,
		     const char *detail)
{
	Amp__ScanVerdict v = AMP__SCAN_VERDICT__INIT;

	v.result = result;
	v.name = (char *)(uintptr_t)name;
	v.detail = (char *)(uintptr_t)detail;
	v.ns = 1000;
	assert_int_equal(amp_channel_send(w->channel, AMP_MSG_SCAN_VERDICT, id, &v.base, NULL, 0), 0);
}

static void fake_honest(struct fake_worker *w, uint64_t id, char what)
{
	if (what == 'C')
		fake_say(w, id, AMP__SCAN_VERDICT__RESULT__CLEAN, "", "");
	else if (what == 'I')
		fake_say(w, id, AMP__SCAN_VERDICT__RESULT__INFECTED, "Test.Signature", "");
	else if (what == 'P')
		fake_say(w, id, AMP__SCAN_VERDICT__RESULT__PARTIAL, "", "too deep");
	else if (what == 'E')
		fake_say(w, id, AMP__SCAN_VERDICT__RESULT__ERROR, "", "no memory");
	else if (what == 'N') /* a name that would play with a terminal */
		fake_say(w, id, AMP__SCAN_VERDICT__RESULT__INFECTED, "a\nb", "");
	else if (what == 'W') /* of another question */
		fake_say(w, id + 1, AMP__SCAN_VERDICT__RESULT__CLEAN, "", "");
	else if (what == 'X')
		fake_gone(w, SIGSEGV, 0);
	else if (what == 'Y') /* as if it just left */
		fake_gone(w, 0, 0);
	else if (what == 'K') /* as by the kernel when memory runs out */
		fake_gone(w, SIGKILL, 0);
	else
		assert_int_equal(what, 'S'); /* silence */
}

static int fake_scan(struct amp_channel *ch, struct amp_message *m, void *arg)
{
	struct fake_worker *w = arg;
	struct fake *f = w->fake;
	const Amp__Scan *s = (const Amp__Scan *)m->body;
	char what = 0;

	(void)ch;
	f->scans++;
	w->scans++;
	w->bytes += s->size;
	f->last_size = s->size;
	f->last_ms = s->max_ms;
	memmove(&f->last[1], &f->last[0], sizeof(f->last) - sizeof(f->last[0]));
	f->last[0] = w->serial;
	assert_int_equal(s->max_recursion, 17);
	assert_int_equal(pread(m->fds[0], &what, 1, 0), 1);
	assert_int_equal(lseek(m->fds[0], 0, SEEK_END), s->size);
	if (w->serial == f->liar)
		what = 'C';
	else if (w->serial == f->convicts)
		what = 'I';
	fake_honest(w, m->id, what);
	return 0;
}

static const struct amp_dispatch fake_worker_rows[] = {
	{AMP_MSG_SCAN, &amp__scan__descriptor, 64, 1, 1, 0, fake_scan},
};

static void fake_retired(struct amp_channel *ch, enum amp_channel_end end, const char *why, void *arg)
{
	struct fake_worker *w = arg;

	(void)ch;
	assert_int_equal(end, AMP_CHANNEL_CLOSED);
	(void)why;
	w->fake->left++;
	fake_gone(w, 0, 0);
}

static struct fake_worker *fake_spawn(struct fake *f)
{
	struct amp_channel_config c = {
		.name = "fake", .table = fake_worker_rows, .rows = 1, .on_end = fake_retired};
	struct fake_worker *w = &f->worker[f->workers % FAKES];
	Amp__Worker m = AMP__WORKER__INIT;
	int pair[2];

	if (w->channel)
		amp_channel_free(w->channel);
	*w = (struct fake_worker){.fake = f, .serial = ++f->workers};
	rig_pair(pair);
	c.arg = w;
	w->channel = amp_channel_new(f->g->room.base, pair[1], &c);
	assert_non_null(w->channel);
	m.serial = w->serial;
	m.generation = f->generation;
	assert_int_equal(amp_channel_send(f->link, AMP_MSG_WORKER, 0, &m.base, pair, 1), 0);
	close(pair[0]);
	return w;
}

static struct fake_worker *fake_find(struct fake *f, uint64_t serial)
{
	for (unsigned i = 0; i < FAKES; i++)
		if (f->worker[i].serial == serial && !f->worker[i].gone)
			return &f->worker[i];
	return NULL;
}

static int fake_on_spawn(struct amp_channel *ch, struct amp_message *m, void *arg)
{
	struct fake *f = arg;

	(void)ch;
	f->spawned += ((const Amp__Spawn *)m->body)->count;
	for (uint32_t i = 0; !f->no_spawn && i < ((const Amp__Spawn *)m->body)->count; i++)
		fake_spawn(f);
	return 0;
}

static int fake_on_kill(struct amp_channel *ch, struct amp_message *m, void *arg)
{
	struct fake *f = arg;
	struct fake_worker *w = fake_find(f, ((const Amp__KillWorker *)m->body)->serial);

	(void)ch;
	f->kills++;
	if (w)
		fake_gone(w, SIGKILL, 0);
	return 0;
}

static const struct amp_dispatch fake_rows[] = {
	{AMP_MSG_SPAWN, &amp__spawn__descriptor, 64, 0, 0, 0, fake_on_spawn},
	{AMP_MSG_KILL_WORKER, &amp__kill_worker__descriptor, 64, 0, 0, 0, fake_on_kill},
};

static void fake_end(struct amp_channel *ch, enum amp_channel_end end, const char *why, void *arg)
{
	(void)ch;
	(void)arg;
	if (end == AMP_CHANNEL_HOSTILE)
		fail_msg("ampscand broke the protocol: %s", why);
}

static UNUSED void fake_tell(struct fake *f, Amp__EngineState__State state, uint32_t max, const char *version)
{
	Amp__EngineState st = AMP__ENGINE_STATE__INIT;
	Amp__EngineSet set = AMP__ENGINE_SET__INIT, *sets[] = {&set};

	st.state = state;
	st.generation = state == AMP__ENGINE_STATE__STATE__READY ? f->generation : 0;
	st.workers_max = max;
	st.signatures = 7;
	st.version = (char *)(uintptr_t)version;
	set.path.data = (uint8_t *)(uintptr_t) "/sig/a.hdb";
	set.path.len = 10;
	set.signatures = 7;
	st.sets = sets;
	st.n_sets = 1;
	assert_int_equal(amp_channel_send(f->link, AMP_MSG_ENGINE_STATE, 0, &st.base, NULL, 0), 0);
	rig_run(f->g, 10);
}

static UNUSED void fake_ready(struct fake *f)
{
	fake_tell(f, AMP__ENGINE_STATE__STATE__READY, 4, "1.0");
}

static void fake_drop_workers(struct fake *f)
{
	for (unsigned i = 0; i < FAKES; i++) {
		if (f->worker[i].channel)
			amp_channel_free(f->worker[i].channel);
		f->worker[i] = (struct fake_worker){.serial = 0};
	}
}

static UNUSED void fake_link(struct fake *f)
{
	struct amp_channel_config c = {.name = "fake",
				       .table = fake_rows,
				       .rows = sizeof(fake_rows) / sizeof(fake_rows[0]),
				       .on_end = fake_end,
				       .arg = f};
	static unsigned generation;
	int pair[2];

	rig_pair(pair);
	f->link = amp_channel_new(f->g->room.base, pair[1], &c);
	assert_non_null(f->link);
	rig_ops->link(&f->g->room, AMP_ROLE_ENGINE, 0, ++generation, pair[0]);
}

/* ampengine died, and all of its processes. */
static UNUSED void fake_dies(struct fake *f)
{
	fake_drop_workers(f);
	amp_channel_free(f->link);
	f->link = NULL;
	rig_run(f->g, 10);
}

/* At work, with clean files of a hundred bytes; ready if wanted. */
static UNUSED struct fake *fake_start(bool ready)
{
	struct fake *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	rig_engine = true;
	f->generation = 1;
	f->g = rig_start(true);
	f->g->s->engine->sample = 0; /* but for tests of it, what is asked is exact */
	f->g->content = 'C';
	f->g->size = 100;
	f->g->owner = 1000;
	fake_link(f);
	if (ready)
		fake_ready(f);
	return f;
}

static UNUSED void fake_free(struct fake *f)
{
	fake_drop_workers(f);
	if (f->link)
		amp_channel_free(f->link);
	rig_free(f->g);
	rig_engine = false;
	free(f);
}

#endif
