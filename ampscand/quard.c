/*
 * ampscand/quard.c - the link to ampquard, which takes convicted files away.
 *
 * Owns: the channel, the checks of what ampquard says, the list of restored
 * content and that START's work waits for it, the pids by which ampquard's own
 * renames are known. Must not own: what waits to be taken (take.c), what is
 * opened for it (open.c), kills (act.c), decisions.
 */
#include "scand.h"

#include "clock.h"
#include "counter.h"
#include "log.h"

#include <stdlib.h>
#include <string.h>

#define LIST_WAIT_SEC 15
#define PID_NS	      (10 * AMP_NS_PER_SEC) /* a dead keeper's events are read by then */
/* Answers with descriptors that may wait to be written: some hundred. */
#define QUEUE_HIGH 16384U
#define QUEUE_LOW  4096U

struct quard {
	struct amp_channel *channel; /* NULL: there is none now */
	unsigned generation;
	int64_t lost_ns; /* its end was seen, monotonic; 0: it was not */
	pid_t pid, previous;
	pid_t hands[AMP_HANDS_MAX], previous_hands[AMP_HANDS_MAX]; /* 0: none */
	int64_t previous_ns; /* until when (realtime of an event) that one is known by */
	bool listed;	     /* the list was whole once */
	struct event *wait;
	void (*then)(struct scand *s); /* once it is listed; NULL: nobody waits */
};

static struct amp_counter count_restored = AMP_COUNTER("restored.allowed", false);
static struct amp_counter count_revoked = AMP_COUNTER("restored.revoked", false);

struct amp_channel *quard_channel(const struct scand *s)
{
	return s->quard ? s->quard->channel : NULL;
}

/* -- START waits for the list of what was restored -- */

static void go_on(struct scand *s)
{
	void (*then)(struct scand * s) = s->quard->then;

	s->quard->then = NULL;
	evtimer_del(s->quard->wait);
	if (then)
		then(s);
}

static void on_wait_over(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	amp_warn("ampquard has not told within %d s which files were restored; judging goes on without",
		 LIST_WAIT_SEC);
	go_on(arg);
}

bool quard_wait_for_list(struct scand *s, void (*then)(struct scand *s))
{
	struct timeval tv = {.tv_sec = LIST_WAIT_SEC};

	if (s->quard->listed || evtimer_add(s->quard->wait, &tv) != 0)
		return true;
	s->quard->then = then;
	return false;
}

/* -- messages -- */

static int on_take_ack(struct amp_channel *ch, struct amp_message *m, void *arg)
{
	struct scand *s = arg;

	(void)ch;
	scand_pump_later(s);
	return takes_acked(s, (const Amp__TakeAck *)m->body);
}

static int on_open(struct amp_channel *ch, struct amp_message *m, void *arg)
{
	(void)ch;
	return opens_ask(arg, m->id, (const Amp__Open *)m->body);
}

static int on_kill_again(struct amp_channel *ch, struct amp_message *m, void *arg)
{
	struct scand *s = arg;

	(void)ch;
	return act_kill_again(s, m->id, s->quard->generation, (const Amp__KillAgain *)m->body);
}

void quard_killed_again(struct scand *s, uint64_t question, unsigned generation)
{
	Amp__KilledAgain k = AMP__KILLED_AGAIN__INIT;
	struct quard *q = s->quard;

	/* Who asked is no more: its successor asks for itself. */
	if (q->channel && q->generation == generation)
		amp_channel_send(q->channel, AMP_MSG_KILLED_AGAIN, question, &k.base, NULL, 0);
}

static int on_judge_again(struct amp_channel *ch, struct amp_message *m, void *arg)
{
	struct scand *s = arg;
	const Amp__JudgeAgain *again = (const Amp__JudgeAgain *)m->body;
	struct amp_fileid file = {.fsid = again->fsid};
	char *path;

	(void)ch;
	if (amp_handle_from_wire(again->handle, &file.handle) != 0 || again->path.len >= AMP_PATH_MAX ||
	    (again->path.len && (again->path.data[0] != '/' || memchr(again->path.data, 0, again->path.len))))
		return -1;
	if (!filesystems_find(&s->filesystems, file.fsid))
		return 0;
	path = again->path.len ? strndup((const char *)again->path.data, again->path.len) : NULL;
	intake_again(s, &file, path);
	free(path);
	scand_pump_later(s);
	return 0;
}

static bool allow_is_valid(const Amp__Allow *a)
{
	if (a->n_sha256 > AMP_POLICY_BATCH || (a->revoke && (a->begin || a->end)))
		return false;
	for (size_t i = 0; i < a->n_sha256; i++)
		if (a->sha256[i].len != AMP_SHA256_SIZE)
			return false;
	return true;
}

/* 0, or -1: it is not in force, so it is not acknowledged. */
static int allow(struct scand *s, const Amp__Allow *a)
{
	if (a->begin && restored_begin(s->restored) != 0)
		return -1;
	for (size_t i = 0; i < a->n_sha256; i++)
		if (restored_add(s->restored, a->sha256[i].data) != 0)
			return -1;
	amp_counter_add(&count_restored, a->n_sha256);
	if (a->end)
		restored_end(s->restored);
	return 0;
}

static void revoke(struct scand *s, const Amp__Allow *a)
{
	size_t n = 0;

	for (size_t i = 0; i < a->n_sha256; i++)
		n += restored_remove(s->restored, a->sha256[i].data);
	amp_counter_add(&count_revoked, n);
	if (n && s->started && s->rules)
		judge_revoked(s, a->sha256, a->n_sha256);
	scand_pump_later(s);
}

static int on_allow(struct amp_channel *ch, struct amp_message *m, void *arg)
{
	struct scand *s = arg;
	struct quard *q = s->quard;
	const Amp__Allow *a = (const Amp__Allow *)m->body;
	Amp__AllowAck ack = AMP__ALLOW_ACK__INIT;

	if (!allow_is_valid(a))
		return -1;
	if (a->revoke)
		revoke(s, a);
	else if (allow(s, a) != 0) {
		amp_error("no room for the list of restored files");
		return -1;
	}
	amp_channel_send(ch, AMP_MSG_ALLOW_ACK, m->id, &ack.base, NULL, 0);
	if (!a->end)
		return 0;
	q->listed = true;
	amp_info("%zu restored contents are allowed", restored_count(s->restored));
	go_on(s);
	return 0;
}

static int on_hands(struct amp_channel *ch, struct amp_message *m, void *arg)
{
	struct scand *s = arg;
	const Amp__Hands *h = (const Amp__Hands *)m->body;

	(void)ch;
	if (h->n_pids > AMP_HANDS_MAX)
		return -1;
	for (size_t i = 0; i < h->n_pids; i++)
		if (h->pids[i] <= 1)
			return -1;
	for (size_t i = 0; i < AMP_HANDS_MAX; i++)
		s->quard->hands[i] = i < h->n_pids ? h->pids[i] : 0;
	return 0;
}

#define ALLOW_MAX (AMP_POLICY_BATCH * 40U) /* 34 bytes each, and what is around */

static const struct amp_dispatch table[] = {
	{AMP_MSG_TAKE_ACK, &amp__take_ack__descriptor, 8192, 0, 0, 0, on_take_ack},
	{AMP_MSG_OPEN, &amp__open__descriptor, 512, 0, 0, 0, on_open},
	{AMP_MSG_KILL_AGAIN, &amp__kill_again__descriptor, AMP_PATH_MAX + 2048, 0, 0, 0, on_kill_again},
	{AMP_MSG_JUDGE_AGAIN, &amp__judge_again__descriptor, AMP_PATH_MAX + 512, 0, 0, 0, on_judge_again},
	{AMP_MSG_ALLOW, &amp__allow__descriptor, ALLOW_MAX, 0, 0, 0, on_allow},
	{AMP_MSG_HANDS, &amp__hands__descriptor, 256, 0, 0, 0, on_hands},
};

/* -- the link -- */

static void note_pid(struct quard *q, pid_t pid)
{
	if (q->pid && q->pid != pid) {
		q->previous = q->pid;
		memcpy(q->previous_hands, q->hands, sizeof(q->hands));
		memset(q->hands, 0, sizeof(q->hands));
		q->previous_ns = amp_clock_realtime() + PID_NS;
	}
	q->pid = pid;
}

static void on_end(struct amp_channel *ch, enum amp_channel_end end, const char *why, void *arg)
{
	struct scand *s = arg;
	struct quard *q = s->quard;

	if (end == AMP_CHANNEL_HOSTILE)
		amp_room_hostile(s->room, AMP_ROLE_QUARD, 0, q->generation, why);
	else
		q->lost_ns = amp_clock_monotonic();
	q->channel = NULL;
	amp_channel_free(ch);
	note_pid(q, 0); /* its number may soon be another's */
	opens_drop(s);
	takes_attach(s, NULL, true);
}

static void on_writable(struct amp_channel *ch, void *arg)
{
	(void)ch;
	scand_pump_later(arg);
}

void quard_link(struct scand *s, unsigned generation, pid_t pid, int fd)
{
	struct amp_channel_config c = {.name = "ampquard",
				       .table = table,
				       .rows = sizeof(table) / sizeof(table[0]),
				       .on_end = on_end,
				       .on_writable = on_writable,
				       .arg = s,
				       .high = QUEUE_HIGH,
				       .low = QUEUE_LOW};
	struct quard *q = s->quard;
	bool died = q->channel != NULL;

	if (q->channel)
		amp_channel_free(q->channel);
	q->channel = NULL;
	opens_drop(s);
	note_pid(q, pid);
	q->generation = generation;
	q->lost_ns = 0;
	q->channel = amp_channel_new(s->base, fd, &c);
	if (!q->channel)
		amp_error("no channel to ampquard");
	takes_attach(s, q->channel, died);
	scand_pump_later(s);
}

static bool is_among(const pid_t hands[AMP_HANDS_MAX], pid_t pid)
{
	for (size_t i = 0; i < AMP_HANDS_MAX; i++)
		if (hands[i] == pid)
			return true;
	return false;
}

/* An event says what its process was; whoever has a dead keeper's number now lives. */
bool quard_is_process(const struct scand *s, pid_t pid, bool alive)
{
	const struct quard *q = s->quard;

	if (!q || pid <= 0)
		return false;
	if (pid == q->pid || is_among(q->hands, pid))
		return true;
	return (pid == q->previous || is_among(q->previous_hands, pid)) && !alive &&
	       amp_clock_realtime() < q->previous_ns;
}

void quard_look(struct scand *s)
{
	struct quard *q = s->quard;

	if (!scand_link_is_left(q->lost_ns))
		return;
	amp_room_hostile(s->room, AMP_ROLE_QUARD, 0, q->generation, SCAND_LINK_LEFT);
	q->lost_ns = 0;
}

int quard_init(struct scand *s)
{
	s->quard = calloc(1, sizeof(*s->quard));
	s->restored = restored_new();
	if (!s->quard || !s->restored || takes_init(s) != 0 || opens_init(s) != 0)
		return -1;
	s->quard->wait = evtimer_new(s->base, on_wait_over, s);
	return s->quard->wait ? 0 : -1;
}

void quard_free(struct scand *s)
{
	if (!s->quard)
		return;
	if (s->quard->channel)
		amp_channel_free(s->quard->channel);
	if (s->quard->wait)
		event_free(s->quard->wait);
	free(s->quard);
	s->quard = NULL;
	opens_free(s);
	takes_free(s);
	restored_free(s->restored);
	s->restored = NULL;
}
