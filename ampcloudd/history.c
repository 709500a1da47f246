/*
 * ampcloudd/history.c - questions from ampcli, answered from the I/O thread's
 * work (see history.h).
 */
#include "history.h"

#include "counter.h"
#include "eventcheck.h"
#include "proto/types.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_WAITING 2		/* questions in hand of one client: who floods waits alone */
#define REPLY_ROOM  (48U << 10) /* bytes of rows in a reply: well below AMP_MSG_MAX */

struct history {
	struct amp_iothread *io;
	struct store *store;
	struct amp_cliserver *server;
	struct question *waiting;
};

struct question {
	struct amp_io_job job; /* first: a job is its question */
	struct history *history;
	struct question *next; /* waiting too */
	uint64_t client, id;
	struct store_query query;
	enum amp_db_error error;
	bool closed; /* the database is not open */
	char why[320];
};

static struct amp_counter questions = AMP_COUNTER("history.questions", false);

struct history *history_new(struct amp_iothread *io, struct store *store)
{
	struct history *h = calloc(1, sizeof(*h));

	if (!h)
		return NULL;
	h->io = io;
	h->store = store;
	return h;
}

void history_free(struct history *h)
{
	free(h);
}

void history_serve(struct history *h, struct amp_cliserver *server)
{
	h->server = server;
}

static bool run_question(struct amp_io_job *job)
{
	struct question *q = (struct question *)job;
	struct store *store = q->history->store;

	q->closed = !store_is_open(store);
	if (!q->closed)
		q->error = store_query_step(store, &q->query);
	if (!q->closed && q->error == AMP_DB_OK)
		return q->query.finished;
	snprintf(q->why, sizeof(q->why), "%s", store_why(store));
	return true;
}

static void answer(struct question *q, struct amp_channel *client)
{
	if (q->closed)
		amp_cli_error(client, q->id, AMP__CLI_ERROR__CODE__NOT_NOW,
			      "events.db is not open (%s); see the faults in `ampcli status`", q->why);
	else if (q->error != AMP_DB_OK)
		amp_cli_error(client, q->id, AMP__CLI_ERROR__CODE__INTERNAL,
			      "events.db cannot be read (%s); see the faults in `ampcli status`", q->why);
	else if (amp_channel_send(client, AMP_MSG_CLI_HISTORY_REPLY, q->id, &q->query.reply->base, NULL, 0))
		amp_cli_error(client, q->id, AMP__CLI_ERROR__CODE__INTERNAL,
			      "the answer could not be sent: %s", strerror(errno));
}

static unsigned waiting_of(const struct history *h, uint64_t client)
{
	unsigned n = 0;

	for (const struct question *q = h->waiting; q; q = q->next)
		n += q->client == client;
	return n;
}

static void no_longer_waiting(struct history *h, struct question *q)
{
	struct question **p = &h->waiting;

	while (*p && *p != q)
		p = &(*p)->next;
	if (*p)
		*p = q->next;
}

static void question_done(struct amp_io_job *job)
{
	struct question *q = (struct question *)job;
	struct history *h = q->history;
	struct amp_channel *client = h->server ? amp_cli_client_find(h->server, q->client) : NULL;

	no_longer_waiting(h, q);
	if (client)
		answer(q, client);
	amp__cli_history_reply__free_unpacked(q->query.reply, NULL);
	free(q);
}

/* NULL, or what is wrong with the question. */
static const char *read_filter(const Amp__CliHistory *q, struct store_filter *f)
{
	memset(f, 0, sizeof(*f));
	if (q->type[0] && !amp_event_type_valid(q->type))
		return "type: a to z and _, at most 32, for example threat_detected";
	if (q->detection_id[0] && !amp_event_uuid_valid(q->detection_id))
		return "detection id: a UUID as `ampcli history` shows it";
	if (q->since_ns < 0)
		return "since: a time before 1970";
	snprintf(f->type, sizeof(f->type), "%s", q->type);
	snprintf(f->detection_id, sizeof(f->detection_id), "%s", q->detection_id);
	f->since_ns = q->since_ns;
	f->before = q->before;
	f->limit = q->limit > 0 && q->limit < AMP_HISTORY_BATCH ? q->limit : AMP_HISTORY_BATCH;
	f->room = REPLY_ROOM;
	return NULL;
}

static struct question *new_question(struct history *h, const struct store_filter *f)
{
	struct question *q = calloc(1, sizeof(*q));

	if (!q)
		return NULL;
	q->job.run = run_question;
	q->job.done = question_done;
	q->history = h;
	if (store_query_init(&q->query, f) == 0)
		return q;
	free(q);
	return NULL;
}

void history_ask(struct history *h, struct amp_channel *client, uint64_t id, const Amp__CliHistory *ask)
{
	struct store_filter filter;
	const char *wrong = read_filter(ask, &filter);
	struct question *q;

	amp_counter_add(&questions, 1);
	if (wrong) {
		amp_cli_error(client, id, AMP__CLI_ERROR__CODE__BAD_REQUEST, "%s", wrong);
		return;
	}
	q = waiting_of(h, amp_cli_client_serial(client)) < MAX_WAITING ? new_question(h, &filter) : NULL;
	if (!q) {
		amp_cli_error(client, id, AMP__CLI_ERROR__CODE__NOT_NOW,
			      "answers to you are outstanding; ask again when they came");
		return;
	}
	q->client = amp_cli_client_serial(client);
	q->id = id;
	q->next = h->waiting;
	h->waiting = q;
	amp_iothread_submit(h->io, &q->job);
}
