/*
 * tests/unit/test_outbox.c - lib/outbox.c over real channels: order, window,
 * sending again, and what three deaths of the receiver convict.
 */
#include "cloudtest.h"

#include "outbox.h"

#include <sys/socket.h>

#define MAX_SEEN 1024

/* Both ends of a link, and what each has seen. */
struct bench {
	struct event_base *base;
	struct amp_outbox *outbox;
	struct amp_channel *near, *far;
	uint64_t ids[MAX_SEEN];
	char uids[MAX_SEEN][16];
	size_t seen;
	uint64_t committed[MAX_SEEN], aside[MAX_SEEN];
	size_t n_committed, n_aside;
	bool put_again; /* on_committed puts one more */
};

static void put(struct bench *b, uint64_t token);

static void on_committed(uint64_t token, bool aside, void *arg)
{
	struct bench *b = arg;

	if (aside)
		b->aside[b->n_aside++] = token;
	else
		b->committed[b->n_committed++] = token;
	if (b->put_again) {
		b->put_again = false;
		put(b, token + 1000);
	}
}

static int on_event(struct amp_channel *ch, struct amp_message *m, void *arg)
{
	struct bench *b = arg;
	const Amp__Event *e = (const Amp__Event *)m->body;

	(void)ch;
	snprintf(b->uids[b->seen], sizeof(b->uids[0]), "%s", e->uid);
	b->ids[b->seen++] = m->id;
	return 0;
}

static int on_ack(struct amp_channel *ch, struct amp_message *m, void *arg)
{
	struct bench *b = arg;

	(void)ch;
	amp_outbox_ack(b->outbox, (const Amp__EventAck *)m->body);
	return 0;
}

static void on_writable(struct amp_channel *ch, void *arg)
{
	struct bench *b = arg;

	(void)ch;
	amp_outbox_pump(b->outbox);
}

static void on_end(struct amp_channel *ch, enum amp_channel_end end, const char *why, void *arg)
{
	(void)ch;
	(void)arg;
	if (end == AMP_CHANNEL_HOSTILE)
		fail_msg("hostile: %s", why);
}

static const struct amp_dispatch far_rows[] = {
	{AMP_MSG_EVENT, &amp__event__descriptor, AMP_MSG_MAX - 16, 0, 0, 0, on_event},
};
static const struct amp_dispatch near_rows[] = {
	{AMP_MSG_EVENT_ACK, &amp__event_ack__descriptor, AMP_MSG_MAX - 16, 0, 0, 0, on_ack},
};

static void turn(struct bench *b)
{
	for (int i = 0; i < 20; i++)
		event_base_loop(b->base, EVLOOP_NONBLOCK);
}

/* The receiver dies (if there was one) and its successor is there. */
static void new_link(struct bench *b, bool died)
{
	struct amp_channel_config config = {.name = "near",
					    .table = near_rows,
					    .rows = 1,
					    .on_end = on_end,
					    .on_writable = on_writable,
					    .arg = b};
	int pair[2];

	if (b->near) {
		amp_channel_free(b->far);
		amp_channel_free(b->near);
	}
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	b->near = amp_channel_new(b->base, pair[0], &config);
	config.name = "far";
	config.table = far_rows;
	b->far = amp_channel_new(b->base, pair[1], &config);
	assert_non_null(b->near);
	assert_non_null(b->far);
	b->seen = 0;
	amp_outbox_attach(b->outbox, b->near, died);
	turn(b);
}

static void setup(struct bench *b, size_t window)
{
	const struct amp_outbox_config config = {.window = window, .on_committed = on_committed, .arg = b};

	memset(b, 0, sizeof(*b));
	b->base = event_base_new();
	b->outbox = amp_outbox_new(&config);
	assert_non_null(b->outbox);
}

static void teardown(struct bench *b)
{
	if (b->near) {
		amp_channel_free(b->far);
		amp_channel_free(b->near);
	}
	amp_outbox_free(b->outbox);
	event_base_free(b->base);
}

static void put(struct bench *b, uint64_t token)
{
	char uid[16];
	Amp__Event e;

	snprintf(uid, sizeof(uid), "e%llu", (unsigned long long)token);
	e = make_event(uid, "threat_detected", 1, 3);
	assert_int_equal(amp_outbox_put(b->outbox, &e, token), 0);
}

static void ack(struct bench *b, const uint64_t *ids, size_t n)
{
	Amp__EventAck a = AMP__EVENT_ACK__INIT;

	a.ids = (uint64_t *)(uintptr_t)ids;
	a.n_ids = n;
	assert_int_equal(amp_channel_send(b->far, AMP_MSG_EVENT_ACK, 0, &a.base, NULL, 0), 0);
	turn(b);
}

static void test_in_order_and_acknowledged(void **state)
{
	struct bench b;

	(void)state;
	setup(&b, 0);
	put(&b, 1); /* before there is a link */
	put(&b, 2);
	new_link(&b, false);
	put(&b, 3);
	turn(&b);
	assert_int_equal(b.seen, 3);
	for (int i = 0; i < 3; i++)
		assert_int_equal(b.uids[i][1], '1' + i);
	assert_int_equal(amp_outbox_waiting(b.outbox), 3);
	ack(&b, (uint64_t[]){b.ids[2], b.ids[0]}, 2);
	assert_int_equal(b.n_committed, 2);
	assert_int_equal(b.committed[0], 3);
	assert_int_equal(b.committed[1], 1);
	assert_int_equal(amp_outbox_waiting(b.outbox), 1);
	teardown(&b);
}

static void test_window(void **state)
{
	struct bench b;

	(void)state;
	setup(&b, 2);
	new_link(&b, false);
	for (uint64_t i = 1; i <= 5; i++)
		put(&b, i);
	turn(&b);
	assert_int_equal(b.seen, 2);
	ack(&b, b.ids, 2);
	assert_int_equal(b.seen, 4);
	ack(&b, b.ids + 2, 2);
	assert_int_equal(b.seen, 5);
	teardown(&b);
}

static void test_unasked_ack_is_harmless(void **state)
{
	struct bench b;

	(void)state;
	setup(&b, 1);
	new_link(&b, false);
	put(&b, 1);
	put(&b, 2); /* waits, has an id, is not on the wire */
	turn(&b);
	ack(&b, (uint64_t[]){b.ids[0] + 1, 0, UINT64_MAX}, 3);
	assert_int_equal(b.n_committed, 0);
	ack(&b, (uint64_t[]){b.ids[0], b.ids[0]}, 2);
	assert_int_equal(b.n_committed, 1);
	teardown(&b);
}

static void test_sent_again_on_a_new_link(void **state)
{
	struct bench b;

	(void)state;
	setup(&b, 0);
	new_link(&b, false);
	for (uint64_t i = 1; i <= 3; i++)
		put(&b, i);
	turn(&b);
	ack(&b, b.ids + 1, 1);
	new_link(&b, false); /* our own restart of the link: nobody died */
	assert_int_equal(b.seen, 2);
	assert_string_equal(b.uids[0], "e1");
	assert_string_equal(b.uids[1], "e3");
	teardown(&b);
}

/* After a death what was on the wire comes back one at a time. */
static void test_suspects_go_one_at_a_time(void **state)
{
	struct bench b;

	(void)state;
	setup(&b, 0);
	new_link(&b, false);
	for (uint64_t i = 1; i <= 3; i++)
		put(&b, i);
	turn(&b);
	new_link(&b, true);
	assert_int_equal(b.seen, 1);
	put(&b, 4);
	turn(&b);
	assert_int_equal(b.seen, 1);
	ack(&b, b.ids, 1);
	assert_int_equal(b.seen, 2);
	ack(&b, b.ids + 1, 1);
	ack(&b, b.ids + 2, 1);
	assert_int_equal(b.seen, 4);
	assert_int_equal(b.n_aside, 0);
	teardown(&b);
}

/* The second of three kills its receiver: it alone is set aside. */
static void test_poison_is_set_aside(void **state)
{
	struct bench b;

	(void)state;
	setup(&b, 0);
	new_link(&b, false);
	for (uint64_t i = 1; i <= 3; i++)
		put(&b, i);
	turn(&b);
	for (int deaths = 0; deaths < 10 && b.n_aside == 0; deaths++) {
		new_link(&b, true);
		if (strcmp(b.uids[0], "e1") == 0)
			ack(&b, b.ids, 1);
	}
	assert_int_equal(b.n_aside, 1);
	assert_int_equal(b.aside[0], 2);
	assert_string_equal(b.uids[b.seen - 1], "e3");
	ack(&b, b.ids + b.seen - 1, 1);
	assert_int_equal(b.n_committed, 2);
	assert_int_equal(amp_outbox_waiting(b.outbox), 0);
	teardown(&b);
}

/* That the receiver died may be known only with its successor's link. */
static void test_gone_first_died_later(void **state)
{
	struct bench b;

	(void)state;
	setup(&b, 0);
	new_link(&b, false);
	put(&b, 1);
	turn(&b);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(b.n_aside, 0);
		amp_outbox_attach(b.outbox, NULL, false);
		new_link(&b, true);
	}
	assert_int_equal(b.n_aside, 1);
	teardown(&b);
}

/* One death told twice is one death; one with nothing on the wire is none. */
static void test_deaths_are_counted_once(void **state)
{
	struct bench b;

	(void)state;
	setup(&b, 0);
	put(&b, 1);
	for (int i = 0; i < 5; i++)
		amp_outbox_attach(b.outbox, NULL, true);
	new_link(&b, true);
	assert_int_equal(b.seen, 1);
	amp_outbox_attach(b.outbox, NULL, true);
	new_link(&b, true);
	amp_outbox_attach(b.outbox, NULL, true);
	new_link(&b, true);
	assert_int_equal(b.n_aside, 0);
	assert_int_equal(b.seen, 1);
	amp_outbox_attach(b.outbox, NULL, true);
	assert_int_equal(b.n_aside, 1);
	teardown(&b);
}

static void test_put_from_committed(void **state)
{
	struct bench b;

	(void)state;
	setup(&b, 0);
	new_link(&b, false);
	put(&b, 1);
	turn(&b);
	b.put_again = true;
	ack(&b, b.ids, 1);
	assert_int_equal(b.seen, 2);
	assert_string_equal(b.uids[1], "e1001");
	teardown(&b);
}

static void test_too_large(void **state)
{
	struct bench b;
	Amp__Event e = make_event("big", "threat_detected", 1, 1);
	uint8_t *path = calloc(1, AMP_MSG_MAX);

	(void)state;
	setup(&b, 0);
	e.path = (ProtobufCBinaryData){.len = AMP_MSG_MAX, .data = path};
	assert_int_equal(amp_outbox_put(b.outbox, &e, 1), -1);
	assert_int_equal(errno, EMSGSIZE);
	assert_int_equal(amp_outbox_waiting(b.outbox), 0);
	free(path);
	teardown(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_in_order_and_acknowledged),
		cmocka_unit_test(test_window),
		cmocka_unit_test(test_unasked_ack_is_harmless),
		cmocka_unit_test(test_sent_again_on_a_new_link),
		cmocka_unit_test(test_suspects_go_one_at_a_time),
		cmocka_unit_test(test_poison_is_set_aside),
		cmocka_unit_test(test_gone_first_died_later),
		cmocka_unit_test(test_deaths_are_counted_once),
		cmocka_unit_test(test_put_from_committed),
		cmocka_unit_test(test_too_large),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
