/*
 * ampquard/hands.c - the keeper's hands: who works for whom, and which are lost.
 *
 * Owns: their start, one hand for the files of one owner, the time an answer may take,
 * looking at the answers. Must not own: what is done with a file (taking.c), or how (hand.c).
 *
 * A hand that does not answer in time is lost until it does: who hangs it hangs that one
 * file, and no more than LOST_PER_OWNER hands. It then puts back what it holds and works
 * again. One that ends, or answers what was not asked, is as a keeper that died: a new
 * one has new hands (they cannot be made behind the walls).
 */
#include "quard.h"

#include "clock.h"
#include "counter.h"
#include "log.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define PATIENCE_NS    (15 * AMP_NS_PER_SEC)
#define END_NS	       (2 * AMP_NS_PER_SEC)
#define LOST_PER_OWNER 2U

static struct amp_counter count_lost = AMP_COUNTER("quarantine.hands_lost", true);

#define ASKED_MAX 2U /* what is under way, and that it is to be undone */

struct use {
	bool used, ending;
	bool stuck; /* it hangs in this one's file */
	unsigned pending;
	struct {
		uint32_t op;
		uint64_t number;
	} asked[ASKED_MAX];    /* the oldest first: they are answered in order */
	struct taking *taking; /* NULL: nobody waits */
	char id[VAULT_ID_SIZE];
};

struct hand {
	int fd;
	pid_t pid;
	struct hand_shared *shared;
	uid_t owner;
	bool lost;
	unsigned used, pending;
	int64_t since_ns; /* of the latest answer, or the first ask after it */
	struct use uses[HAND_SLOTS];
};

struct hands {
	struct hand list[HANDS_MAX];
	unsigned count;
	int log;
	int own; /* in a child: which it is; -1 */
	uint64_t numbers;
	struct hand_work *here; /* without processes: done at once, in this one */
	const char *broken;
};

struct hands *hands_new(unsigned count, int log)
{
	struct hands *h = calloc(1, sizeof(*h));

	if (!h)
		return NULL;
	h->count = count;
	h->log = log;
	h->own = -1;
	for (size_t i = 0; i < HANDS_MAX; i++)
		h->list[i].fd = -1;
	if (count > 0)
		return h;
	h->list[0].shared = calloc(1, sizeof(struct hand_shared));
	h->here = h->list[0].shared ? hand_work_new(h->list[0].shared) : NULL;
	return h->here ? h : NULL;
}

/* --- their start ----------------------------------------------------------------- */

/* In the child: nothing of the keeper's. */
static int become_hand(struct hands *h, unsigned i, int fd, pid_t keeper)
{
	if (prctl(PR_SET_PDEATHSIG, (unsigned long)SIGKILL, 0L, 0L, 0L) < 0 || getppid() != keeper)
		_exit(1);
	(void)prctl(PR_SET_NAME, "ampquard-hand", 0L, 0L, 0L);
	for (unsigned n = 0; n < i; n++)
		munmap(h->list[n].shared, sizeof(struct hand_shared));
	for (int at = STDERR_FILENO + 1; at < fd; at++)
		if (at != h->log)
			close(at);
	if (close_range((unsigned)fd + 1, ~0U, 0) != 0)
		_exit(1);
	h->own = (int)i;
	h->list[i].fd = fd;
	return 1;
}

static int fork_one(struct hands *h, unsigned i)
{
	struct hand_shared *shared =
		mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	const pid_t keeper = getpid();
	int pair[2];
	pid_t pid;

	if (shared == MAP_FAILED || socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0)
		return -1;
	h->list[i].shared = shared;
	h->list[i].fd = pair[0];
	pid = fork();
	if (pid == 0)
		return become_hand(h, i, pair[1], keeper);
	close(pair[1]);
	h->list[i].pid = pid;
	return pid < 0 ? -1 : 0;
}

int hands_fork(struct hands *h)
{
	int rc = 0;

	amp_counter_list(&count_lost);
	for (unsigned i = 0; rc == 0 && i < h->count; i++)
		rc = fork_one(h, i);
	return rc;
}

void hands_be_one(struct hands *h)
{
	if (h->own >= 0)
		hand_main(h->list[h->own].fd, h->list[h->own].shared);
}

int hands_fd(const struct hands *h, unsigned i)
{
	return i < h->count ? h->list[i].fd : -1;
}

pid_t hands_pid(const struct hands *h, unsigned i)
{
	return i < h->count ? h->list[i].pid : 0;
}

/* --- who works for whom -------------------------------------------------------------- */

bool hands_stuck(const struct hands *h, const char *id)
{
	for (unsigned i = 0; i < h->count; i++)
		for (size_t n = 0; h->list[i].lost && n < HAND_SLOTS; n++)
			if (h->list[i].uses[n].stuck && strcmp(h->list[i].uses[n].id, id) == 0)
				return true;
	return false;
}

/* Of those that work. NULL: none; *stuck: they are all lost to files of that owner. */
static struct hand *hand_of(struct hands *h, uid_t owner, bool *stuck)
{
	struct hand *idle = NULL;
	unsigned lost = 0;

	if (h->here)
		return &h->list[0];
	for (unsigned i = 0; i < h->count; i++) {
		struct hand *one = &h->list[i];

		if (one->lost)
			lost += one->owner == owner;
		else if (one->used > 0 && one->owner == owner)
			return one;
		else if (one->used == 0 && !idle)
			idle = one;
	}
	*stuck = lost >= LOST_PER_OWNER;
	return *stuck ? NULL : idle;
}

enum hands_got hands_take(struct hands *h, struct taking *t, uid_t owner)
{
	bool stuck = hands_stuck(h, t->entry->id);
	struct hand *one = stuck ? NULL : hand_of(h, owner, &stuck);

	if (stuck)
		return HANDS_STUCK;
	for (unsigned n = 0; one && n < HAND_SLOTS; n++) {
		struct use *u = &one->uses[n];

		if (u->used)
			continue;
		*u = (struct use){.used = true, .taking = t};
		snprintf(u->id, sizeof(u->id), "%s", t->entry->id);
		one->owner = owner;
		one->used++;
		t->hand = one;
		t->slot = n;
		return HANDS_GOT;
	}
	return HANDS_BUSY;
}

static void use_free(struct hand *one, struct use *u)
{
	if (u->taking)
		u->taking->hand = NULL;
	*u = (struct use){0};
	one->used--;
}

/* --- asking -------------------------------------------------------------------------- */

static int tell(const struct hands *h, const struct hand *one, struct hand_ask *a, int fd)
{
	union {
		char room[CMSG_SPACE(2 * sizeof(int))];
		struct cmsghdr align;
	} control = {.room = {0}};
	struct iovec v = {a, sizeof(*a)};
	struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1};
	int fds[2];
	size_t n = 0;

	if (fd >= 0)
		fds[n++] = fd;
	if (h->log >= 0 && a->op == HAND_BEGIN)
		fds[n++] = h->log;
	a->has = (fd >= 0 ? HAND_HAS_FD : 0U) | (h->log >= 0 && a->op == HAND_BEGIN ? HAND_HAS_LOG : 0U);
	if (n > 0) {
		m.msg_control = &control;
		m.msg_controllen = CMSG_SPACE(n * sizeof(int));
		CMSG_FIRSTHDR(&m)->cmsg_level = SOL_SOCKET;
		CMSG_FIRSTHDR(&m)->cmsg_type = SCM_RIGHTS;
		CMSG_FIRSTHDR(&m)->cmsg_len = CMSG_LEN(n * sizeof(int));
		memcpy(CMSG_DATA(CMSG_FIRSTHDR(&m)), fds, n * sizeof(int));
	}
	return sendmsg(one->fd, &m, MSG_NOSIGNAL | MSG_DONTWAIT) == (ssize_t)sizeof(*a) ? 0 : -1;
}

static void heard(struct hands *h, struct hand *one, const struct hand_answer *a);

static int ask(struct hands *h, struct hand *one, unsigned slot, struct hand_ask *a, int fd)
{
	struct use *u = &one->uses[slot];
	struct hand_answer now;

	if (u->pending == ASKED_MAX) {
		h->broken = "more is asked of one of its hands than it can answer";
		return -1;
	}
	a->slot = slot;
	a->number = ++h->numbers;
	snprintf(a->entry_id, sizeof(a->entry_id), "%s", u->id);
	if (one->pending == 0)
		one->since_ns = amp_clock_monotonic();
	if (!h->here && tell(h, one, a, fd) != 0) {
		h->broken = "one of its hands cannot be told anything";
		return -1;
	}
	u->asked[u->pending].op = a->op;
	u->asked[u->pending++].number = a->number;
	one->pending++;
	if (!h->here)
		return 0;
	hand_do(h->here, a, fd, &now);
	hand_sync(h->here);
	heard(h, one, &now);
	return 0;
}

int hands_ask(struct hands *h, struct taking *t, struct hand_ask *a, int fd)
{
	t->answered = false;
	return ask(h, t->hand, t->slot, a, fd);
}

static void end_use(struct hands *h, struct hand *one, unsigned slot)
{
	struct hand_ask a = {.op = HAND_UNDO};

	one->uses[slot].ending = true;
	(void)ask(h, one, slot, &a, -1);
}

void hands_let_go(struct hands *h, struct taking *t)
{
	struct hand *one = t->hand;

	if (!one)
		return;
	one->uses[t->slot].taking = NULL;
	t->hand = NULL;
	end_use(h, one, t->slot);
}

const uint8_t *hands_data(const struct taking *t)
{
	return t->hand->shared->buffers[t->slot];
}

/* --- answers ---------------------------------------------------------------------------- */

static bool is_sound(const struct hand *one, const struct hand_answer *a)
{
	const struct use *u;

	if (a->slot >= HAND_SLOTS || a->op < HAND_BEGIN || a->op >= HAND_OPS || a->error < 0 ||
	    a->error > 4095 || a->count > HAND_NAMES_MAX || a->data > HAND_BUFFER || a->hole > HAND_HOLE_MAX)
		return false;
	if (a->outcome > (a->op == HAND_EMPTY ? (unsigned)NEUTRAL_FAILED : (unsigned)NAME_FAILED))
		return false;
	u = &one->uses[a->slot];
	return u->used && u->pending > 0 && a->number == u->asked[0].number && a->op == u->asked[0].op;
}

/* It answers again: what it still holds goes back, then it works as before. */
static void is_back(struct hands *h, struct hand *one)
{
	if (one->pending > 0)
		return;
	for (unsigned n = 0; n < HAND_SLOTS; n++)
		if (one->uses[n].used && !one->uses[n].ending)
			end_use(h, one, n);
	if (one->used > 0)
		return;
	atomic_store(&one->shared->given_up, 0);
	one->lost = false;
	amp_info("a hand that did not answer is back");
}

static void heard(struct hands *h, struct hand *one, const struct hand_answer *a)
{
	struct use *u = &one->uses[a->slot];

	u->pending--;
	one->pending--;
	one->since_ns = amp_clock_monotonic();
	u->stuck = false;
	u->asked[0] = u->asked[1];
	if (u->taking) {
		u->taking->answer = *a;
		u->taking->answered = true;
	}
	if (u->pending == 0 && (a->op == HAND_UNDO || (a->op == HAND_REMOVE && !a->error)))
		use_free(one, u);
	if (one->lost)
		is_back(h, one);
}

static void listen_to(struct hands *h, struct hand *one)
{
	struct hand_answer a;
	ssize_t n;

	while (!h->broken && (n = recv(one->fd, &a, sizeof(a), MSG_DONTWAIT | MSG_TRUNC)) != -1) {
		if (n == 0)
			h->broken = "one of its hands has ended";
		else if (n != (ssize_t)sizeof(a) || !is_sound(one, &a))
			h->broken = "one of its hands answers what was not asked";
		else
			heard(h, one, &a);
	}
}

/* Nobody waits for it any more. What it has in hand is known, so that nobody is sent after it. */
static void lose(struct hand *one)
{
	uint64_t working = atomic_load(&one->shared->working);

	amp_counter_add(&count_lost, 1);
	amp_warn("a file of user %u does not answer; the hand that works on it is lost until it does",
		 (unsigned)one->owner);
	one->lost = true;
	atomic_store(&one->shared->given_up, 1);
	for (size_t n = 0; n < HAND_SLOTS; n++) {
		struct use *u = &one->uses[n];

		if (u->taking)
			u->taking->hand = NULL;
		u->taking = NULL;
		u->stuck = u->used && u->pending > 0 && u->asked[0].number == working;
	}
}

void hands_look(struct hands *h)
{
	int64_t now = amp_clock_monotonic();
	unsigned lost = 0;

	for (unsigned i = 0; i < h->count && !h->broken; i++) {
		struct hand *one = &h->list[i];

		listen_to(h, one);
		if (!one->lost && one->pending > 0 && now - one->since_ns >= PATIENCE_NS)
			lose(one);
		lost += one->lost;
	}
	if (h->count > 0 && lost == h->count)
		h->broken = "all of its hands wait for files that do not answer";
}

int64_t hands_due_ns(const struct hands *h)
{
	int64_t due = 0;

	for (unsigned i = 0; i < h->count; i++) {
		const struct hand *one = &h->list[i];

		if (!one->lost && one->pending > 0 && (!due || one->since_ns + PATIENCE_NS < due))
			due = one->since_ns + PATIENCE_NS;
	}
	return due;
}

const char *hands_broken(const struct hands *h)
{
	return h->broken;
}

/* --- their end --------------------------------------------------------------------------- */

static bool wait_for_one(struct hands *h, int64_t until)
{
	struct pollfd p[HANDS_MAX];
	nfds_t n = 0;
	int64_t left = until - amp_clock_monotonic();

	for (unsigned i = 0; i < h->count; i++)
		if (h->list[i].fd >= 0 && !h->list[i].lost && h->list[i].pending > 0)
			p[n++] = (struct pollfd){.fd = h->list[i].fd, .events = POLLIN};
	return n > 0 && left > 0 && poll(p, n, (int)(left / AMP_NS_PER_MS) + 1) > 0;
}

/* What was captured goes back first, unless it takes too long: then the successor sees to it. */
void hands_free(struct hands *h)
{
	int64_t until = amp_clock_monotonic() + END_NS;

	if (!h)
		return;
	while (!h->broken && wait_for_one(h, until))
		hands_look(h);
	for (unsigned i = 0; i < h->count; i++)
		if (h->list[i].fd >= 0) {
			close(h->list[i].fd);
			munmap(h->list[i].shared, sizeof(struct hand_shared));
		}
	hand_work_free(h->here);
	if (h->count == 0)
		free(h->list[0].shared);
	free(h);
}
