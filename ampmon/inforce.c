/*
 * ampmon/inforce.c - which policy is in force.
 *
 * Owns: the choice at start and its fall-backs, changes (loaded and stored on
 * the I/O thread, one at a time), sending to ampscand in pieces its channel
 * can take, its acknowledgement. Must not own: what a policy is (policy.c),
 * who may change it (cli.c).
 */
#include "ampmon/mon.h"

#include "log.h"
#include "proto/cli.pb-c.h"
#include "sha256.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ACK_WAIT_S	     5
#define BUILT_IN_NAME	     "Built-in (audit)"
#define BUILT_IN_FILE_MAX    5242880U
#define BUILT_IN_ARCHIVE_MAX 52428800U
#define BUILT_IN_SCAN_CPU    50U

/* Without any readable policy at least this is recorded. */
#define BUILT_IN_SHA256	   "275a021bbfb6489e54d471899f7db9d1663fc695ec2fe2a2c4538aabf651fd0f"
#define BUILT_IN_DETECTION "EICAR-Test-File"

/* A change on its way: loaded, stored, sent, acknowledged. */
struct change {
	struct amp_io_job job; /* first: cast back; loads */
	struct mon *m;
	const struct mon_conf *conf;
	char id[65];
	char by[32];
	bool choose; /* becomes the chosen one; else only read again */
	struct mon_policy *loaded;
	char err[512];
	struct mon_state before; /* if storing fails */
	mon_inforce_done *done;
	void *arg;
};

struct mon_inforce {
	struct mon_policy *policy; /* NULL: the built-in list */
	uint64_t epoch;		   /* its own: the state has the next one's while that is stored */
	struct mon_policy *sent;   /* the one being sent: may be older */
	bool sending, again;
	size_t next;
	uint64_t sent_epoch, judged_epoch;
	struct change *change;
	bool waiting; /* the change is stored; its acknowledgement is awaited */
	bool reload_after;
	struct event *limit;
};

const struct mon_policy *mon_inforce_policy(const struct mon *m)
{
	return m->inforce->policy;
}

static void fault_entries(struct mon *m)
{
	const struct mon_policy *p = m->inforce->policy;
	char **problems = p ? mon_policy_problems(p) : NULL;
	size_t n = 0;
	char detail[256];

	while (problems && problems[n])
		amp_warn("%s", problems[n++]);
	if (n == 0) {
		mon_fault_clear(m->faults, AMP_FAULT_POLICY_ENTRIES, "ampmon");
		return;
	}
	snprintf(detail, sizeof(detail), "%zu in policy %s, first %s", n, mon_policy_id(p), problems[0]);
	mon_fault_raise(m->faults, AMP_FAULT_POLICY_ENTRIES, "ampmon", detail);
}

/* --- sending --------------------------------------------------------------- */

static int send_built_in(struct mon *m, struct amp_channel *ch)
{
	Amp__PolicyBegin begin = AMP__POLICY_BEGIN__INIT;
	Amp__PolicyEntry entry = AMP__POLICY_ENTRY__INIT, *list = &entry;
	Amp__PolicyEntries entries = AMP__POLICY_ENTRIES__INIT;
	Amp__PolicyEnd end = AMP__POLICY_END__INIT;
	char name[] = BUILT_IN_NAME, text[] = BUILT_IN_DETECTION;
	uint8_t sha[AMP_SHA256_SIZE];

	amp_sha256_parse(BUILT_IN_SHA256, sha);
	begin.name = name;
	begin.mode = AMP__POLICY_BEGIN__MODE__AUDIT;
	begin.max_file_size = BUILT_IN_FILE_MAX;
	begin.max_archive_size = BUILT_IN_ARCHIVE_MAX;
	begin.engine = true;
	begin.scan_cpu = BUILT_IN_SCAN_CPU;
	begin.epoch = end.epoch = m->inforce->sent_epoch;
	entry.kind = AMP__POLICY_ENTRY__KIND__BLOCKED;
	entry.sha256.data = sha;
	entry.sha256.len = sizeof(sha);
	entry.text.data = (uint8_t *)text;
	entry.text.len = strlen(text);
	entries.entries = &list;
	entries.n_entries = end.entries = 1;
	if (amp_channel_send(ch, AMP_MSG_POLICY_BEGIN, 0, &begin.base, NULL, 0) != 0 ||
	    amp_channel_send(ch, AMP_MSG_POLICY_ENTRIES, 0, &entries.base, NULL, 0) != 0)
		return -1;
	return amp_channel_send(ch, AMP_MSG_POLICY_END, 0, &end.base, NULL, 0);
}

/* One policy is never begun inside another: a change waits for the END. */
static void forget_sent(struct mon_inforce *f)
{
	if (f->sent != f->policy)
		mon_policy_free(f->sent);
	f->sent = NULL;
	f->sending = false;
}

static void begin_sending(struct mon *m)
{
	struct mon_inforce *f = m->inforce;

	f->sent = f->policy;
	f->sent_epoch = f->epoch;
	f->next = 0;
	f->sending = true;
	f->again = false;
}

void mon_inforce_pump(struct mon *m)
{
	struct mon_inforce *f = m->inforce;
	struct mon_slot *s = mon_slot(m, AMP_ROLE_SCAN, 0);
	struct amp_channel *ch = mon_ready_channel(m, AMP_ROLE_SCAN);
	int rc;

	while (f->sending && ch) {
		rc = f->sent ? mon_policy_send_some(f->sent, f->sent_epoch, ch, &f->next)
			     : send_built_in(m, ch);
		if (rc == 1)
			return; /* the rest when the queue is shorter */
		forget_sent(f);
		if (rc < 0) {
			mon_proc_kill(s->proc, "the policy cannot be sent to it");
			return;
		}
		if (f->again)
			begin_sending(m);
	}
}

bool mon_inforce_sending(const struct mon *m)
{
	return m->inforce->sending;
}

void mon_inforce_send(struct mon *m)
{
	struct mon_inforce *f = m->inforce;

	if (f->sending)
		f->again = true;
	else
		begin_sending(m);
	mon_inforce_pump(m);
}

void mon_inforce_scand_gone(struct mon *m)
{
	forget_sent(m->inforce);
	m->inforce->again = false;
}

/* --- a change ---------------------------------------------------------------- */

static void finish(struct mon *m, int code, const char *text)
{
	struct mon_inforce *f = m->inforce;
	struct change *c = f->change;

	f->change = NULL;
	f->waiting = false;
	evtimer_del(f->limit);
	if (c->done)
		c->done(m, code == AMP__CLI_ERROR__CODE__NONE ? f->policy : NULL, code, text, c->arg);
	free(c);
	if (f->reload_after) {
		f->reload_after = false;
		mon_inforce_reload(m);
	}
}

static void ack_late(evutil_socket_t fd, short what, void *arg)
{
	struct mon *m = arg;

	(void)fd;
	(void)what;
	if (m->inforce->waiting)
		finish(m, AMP__CLI_ERROR__CODE__NOT_NOW,
		       "the change is stored, but ampscand has not taken it up yet; `ampcli status` shows "
		       "why");
}

void mon_inforce_ack(struct mon *m, uint64_t epoch)
{
	struct mon_inforce *f = m->inforce;

	amp_info("ampscand acknowledged policy epoch %llu", (unsigned long long)epoch);
	if (epoch != f->epoch)
		return;
	/* New lists or mode: what runs already is judged by them. */
	if (f->judged_epoch != epoch)
		mon_repair_running(m->repair);
	f->judged_epoch = epoch;
	if (f->waiting)
		finish(m, AMP__CLI_ERROR__CODE__NONE, "");
}

static void take_over(struct mon *m, struct change *c)
{
	struct mon_inforce *f = m->inforce;
	struct timeval tv = {.tv_sec = ACK_WAIT_S};

	if (f->policy && (!f->sending || f->sent != f->policy))
		mon_policy_free(f->policy);
	f->policy = c->loaded;
	f->epoch = m->state.epoch;
	c->loaded = NULL;
	mon_fault_clear(m->faults, AMP_FAULT_CONFIGURATION, "policy");
	fault_entries(m);
	f->waiting = true;
	evtimer_add(f->limit, &tv);
	mon_events_policy(m);
	if (mon_ready_channel(m, AMP_ROLE_SCAN))
		mon_inforce_send(m);
}

static void stored(struct mon *m, int error, void *arg)
{
	struct change *c = arg;
	char text[160];

	if (error == 0) {
		take_over(m, c);
		return;
	}
	/* Only what this change had set goes back. */
	m->state.epoch = c->before.epoch;
	m->state.change_unrecorded = c->before.change_unrecorded;
	memcpy(m->state.policy, c->before.policy, sizeof(m->state.policy));
	memcpy(m->state.change_detail, c->before.change_detail, sizeof(m->state.change_detail));
	mon_policy_free(c->loaded);
	snprintf(text, sizeof(text), "%s/ampmon.state cannot be written: %s; nothing was changed",
		 m->conf->etc_dir, strerror(error));
	amp_error("%s", text);
	finish(m, AMP__CLI_ERROR__CODE__INTERNAL, text);
}

static bool change_load(struct amp_io_job *job)
{
	struct change *c = (struct change *)job;

	c->loaded = mon_policy_load(c->conf, c->id, c->err, sizeof(c->err));
	return true;
}

static void describe_change(struct mon_state *s, const struct change *c)
{
	snprintf(s->change_detail, sizeof(s->change_detail), "%s, serial %u, %s: %s by %s", c->id,
		 mon_policy_serial(c->loaded), mon_policy_protects(c->loaded) ? "protect" : "audit",
		 c->choose ? "chosen" : "read again", c->by);
}

static void change_loaded(struct amp_io_job *job)
{
	struct change *c = (struct change *)job;
	struct mon *m = c->m;

	if (!c->loaded) {
		if (!c->choose)
			mon_fault_raise(m->faults, AMP_FAULT_CONFIGURATION, "policy", c->err);
		finish(m, AMP__CLI_ERROR__CODE__NOT_FOUND, c->err);
		return;
	}
	c->before = m->state;
	if (c->choose)
		snprintf(m->state.policy, sizeof(m->state.policy), "%s", c->id);
	m->state.epoch++;
	m->state.change_unrecorded = true;
	describe_change(&m->state, c);
	mon_store_state(m, stored, c);
}

static void change(struct mon *m, const char *id, const char *by, bool choose, mon_inforce_done *done,
		   void *arg)
{
	struct change *c = calloc(1, sizeof(*c));

	if (!c) {
		if (done)
			done(m, NULL, AMP__CLI_ERROR__CODE__INTERNAL, "out of memory", arg);
		return;
	}
	c->job.run = change_load;
	c->job.done = change_loaded;
	c->m = m;
	c->conf = m->conf;
	snprintf(c->id, sizeof(c->id), "%s", id);
	snprintf(c->by, sizeof(c->by), "%s", by);
	c->choose = choose;
	c->done = done;
	c->arg = arg;
	m->inforce->change = c;
	amp_iothread_submit(m->io, &c->job);
}

void mon_inforce_use(struct mon *m, const char *id, uid_t by, mon_inforce_done *done, void *arg)
{
	char who[32];

	if (strlen(id) > 64) {
		done(m, NULL, AMP__CLI_ERROR__CODE__BAD_REQUEST, "this is no policy's id", arg);
		return;
	}
	if (m->inforce->change) {
		done(m, NULL, AMP__CLI_ERROR__CODE__NOT_NOW,
		     "another change is under way; ask again in some seconds", arg);
		return;
	}
	snprintf(who, sizeof(who), "uid %u", (unsigned)by);
	change(m, id, who, true, done, arg);
}

static const char *chosen(const struct mon *m)
{
	return m->state.policy[0] ? m->state.policy : m->conf->policy;
}

void mon_inforce_reload(struct mon *m)
{
	if (m->inforce->change)
		m->inforce->reload_after = true;
	else
		change(m, chosen(m), "SIGHUP", false, NULL, NULL);
}

/* --- start ---------------------------------------------------------------------- */

static struct mon_policy *load_first(struct mon *m)
{
	char err[512], detail[256];
	struct mon_policy *p = mon_policy_load(m->conf, chosen(m), err, sizeof(err));

	if (p)
		return p;
	mon_complain("policy %s: %s", chosen(m), err);
	snprintf(detail, sizeof(detail), "policy %.64s: %.180s", chosen(m), err);
	mon_fault_raise(m->faults, AMP_FAULT_CONFIGURATION, "policy", detail);
	if (strcmp(chosen(m), m->conf->policy) != 0) {
		p = mon_policy_load(m->conf, m->conf->policy, err, sizeof(err));
		if (!p)
			mon_complain("policy %s: %s", m->conf->policy, err);
	}
	if (p)
		mon_complain("policy %s of the configuration is in force instead", m->conf->policy);
	else
		mon_complain("no policy can be read: only the built-in list holds, and it only records");
	return p;
}

int mon_inforce_new(struct mon *m)
{
	m->inforce = calloc(1, sizeof(*m->inforce));
	if (!m->inforce)
		return -1;
	m->inforce->limit = evtimer_new(m->base, ack_late, m);
	if (!m->inforce->limit)
		return -1;
	if (m->state.epoch == 0)
		m->state.epoch = 1;
	m->inforce->epoch = m->inforce->judged_epoch = m->state.epoch;
	m->inforce->policy = load_first(m);
	fault_entries(m);
	return 0;
}

void mon_inforce_free(struct mon *m)
{
	struct mon_inforce *f = m->inforce;

	if (!f)
		return;
	forget_sent(f);
	mon_policy_free(f->policy);
	if (f->change)
		mon_policy_free(f->change->loaded);
	free(f->change);
	if (f->limit)
		event_free(f->limit);
	free(f);
	m->inforce = NULL;
}
