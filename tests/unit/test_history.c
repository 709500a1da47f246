/*
 * tests/unit/test_history.c - ampcloudd/history.c asked over a real CLI socket.
 */
#include "cloudtest.h"

#include "iohold.h"

#include "ampcloudd/history.h"

#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>

#define T0 (INT64_C(1700000000) * 1000000000)

struct bench {
	struct test_dir dir;
	struct event_base *base;
	struct amp_iothread *io;
	struct store *store;
	struct history *history;
	struct amp_cliserver *server;
	struct amp_channel *client;
	struct sockaddr_un address;
	/* the last answers */
	unsigned replies, errors;
	uint64_t id, first, next_before;
	size_t n_entries;
	bool more;
	int code;
	char text[256];
};

static int on_history(struct amp_channel *ch, struct amp_message *m, void *arg)
{
	struct bench *b = arg;

	history_ask(b->history, ch, m->id, (const Amp__CliHistory *)m->body);
	return 0;
}

static const struct amp_dispatch server_rows[] = {
	{AMP_MSG_CLI_HISTORY, &amp__cli_history__descriptor, 512, 0, 0, 0, on_history},
};

static int on_reply(struct amp_channel *ch, struct amp_message *m, void *arg)
{
	struct bench *b = arg;
	const Amp__CliHistoryReply *r = (const Amp__CliHistoryReply *)m->body;

	(void)ch;
	b->replies++;
	b->id = m->id;
	b->n_entries = r->n_entries;
	b->first = r->n_entries ? r->entries[0]->number : 0;
	b->more = r->more;
	b->next_before = r->next_before;
	return 0;
}

static int on_error(struct amp_channel *ch, struct amp_message *m, void *arg)
{
	struct bench *b = arg;
	const Amp__CliError *e = (const Amp__CliError *)m->body;

	(void)ch;
	b->errors++;
	b->id = m->id;
	b->code = (int)e->code;
	snprintf(b->text, sizeof(b->text), "%s", e->text);
	return 0;
}

static const struct amp_dispatch client_rows[] = {
	{AMP_MSG_CLI_HISTORY_REPLY, &amp__cli_history_reply__descriptor, AMP_MSG_MAX - 16, 0, 0, 0, on_reply},
	{AMP_MSG_CLI_ERROR, &amp__cli_error__descriptor, AMP_MSG_MAX - 16, 0, 0, 0, on_error},
};

static void on_end(struct amp_channel *ch, enum amp_channel_end end, const char *why, void *arg)
{
	(void)arg;
	if (end == AMP_CHANNEL_HOSTILE)
		fail_msg("%s: %s", amp_channel_name(ch), why);
}

static int unix_socket(void)
{
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	return fd;
}

static void connect_client(struct bench *b)
{
	const struct amp_channel_config config = {
		.name = "client", .table = client_rows, .rows = 2, .on_end = on_end, .arg = b};
	int fd = unix_socket();

	assert_int_equal(connect(fd, (struct sockaddr *)&b->address, sizeof(b->address)), 0);
	b->client = amp_channel_new(b->base, fd, &config);
	assert_non_null(b->client);
}

static void listen_here(struct bench *b)
{
	struct amp_cliserver_config config = {.table = server_rows, .rows = 1, .group = getgid(), .arg = b};
	int fd = unix_socket();

	b->address.sun_family = AF_UNIX;
	snprintf(b->address.sun_path, sizeof(b->address.sun_path), "%s", dir_file(&b->dir, "socket"));
	assert_int_equal(bind(fd, (struct sockaddr *)&b->address, sizeof(b->address)), 0);
	assert_int_equal(listen(fd, 4), 0);
	b->server = amp_cliserver_new(b->base, fd, &config);
	assert_non_null(b->server);
}

static void fill(struct store *s, unsigned n)
{
	struct store_counts counts = {0};
	bool was_broken;
	char uid[16];

	assert_int_equal(store_open(s, &was_broken), AMP_DB_OK);
	assert_int_equal(store_begin(s), AMP_DB_OK);
	for (unsigned i = 0; i < n; i++) {
		Amp__Event e;

		snprintf(uid, sizeof(uid), "u%u", i);
		e = make_event(uid, i % 2 ? "odd" : "even", T0 + i, 0);
		assert_int_equal(store_add(s, &e, &counts), AMP_DB_OK);
	}
	assert_int_equal(store_commit(s), AMP_DB_OK);
}

/* rows 0: the database is not opened. */
static struct bench *bench(unsigned n)
{
	struct bench *b = calloc(1, sizeof(*b));
	struct store_config config = {0};

	assert_non_null(b);
	dir_make(&b->dir);
	config.path = dir_file(&b->dir, "events.db");
	b->base = event_base_new();
	b->io = amp_iothread_new(b->base);
	b->store = store_new(&config);
	b->history = history_new(b->io, b->store);
	if (n > 0)
		fill(b->store, n);
	listen_here(b);
	history_serve(b->history, b->server);
	assert_int_equal(amp_iothread_start(b->io), 0);
	connect_client(b);
	return b;
}

static void teardown(struct bench *b)
{
	history_serve(b->history, NULL);
	amp_iothread_free(b->io);
	if (b->client)
		amp_channel_free(b->client);
	amp_cliserver_free(b->server);
	history_free(b->history);
	store_free(b->store);
	event_base_free(b->base);
	dir_remove(&b->dir);
	free(b);
}

#define TURNS 30000 /* a minute at least */

static void turn(struct bench *b)
{
	const struct timespec nap = {.tv_nsec = 2000000};

	event_base_loop(b->base, EVLOOP_NONBLOCK);
	nanosleep(&nap, NULL);
}

static void ask(struct bench *b, uint64_t id, const Amp__CliHistory *q)
{
	unsigned before = b->replies + b->errors;

	assert_int_equal(amp_channel_send(b->client, AMP_MSG_CLI_HISTORY, id, &q->base, NULL, 0), 0);
	for (int i = 0; i < TURNS && b->replies + b->errors == before; i++)
		turn(b);
	assert_int_equal(b->replies + b->errors, before + 1);
	assert_int_equal(b->id, id);
}

static void test_pages(void **state)
{
	struct bench *b = bench(250);
	Amp__CliHistory q = AMP__CLI_HISTORY__INIT;

	(void)state;
	ask(b, 1, &q);
	assert_int_equal(b->n_entries, AMP_HISTORY_BATCH);
	assert_int_equal(b->first, 250);
	assert_true(b->more);
	q.before = b->next_before;
	q.limit = 1000; /* more than a reply may have */
	ask(b, 2, &q);
	assert_int_equal(b->n_entries, AMP_HISTORY_BATCH);
	assert_int_equal(b->first, 150);
	q.before = b->next_before;
	ask(b, 3, &q);
	assert_int_equal(b->n_entries, 50);
	assert_false(b->more);
	q = (Amp__CliHistory)AMP__CLI_HISTORY__INIT;
	q.type = (char *)(uintptr_t) "odd";
	q.limit = 3;
	ask(b, 4, &q);
	assert_int_equal(b->n_entries, 3);
	assert_true(b->more);
	teardown(b);
}

static void bad(struct bench *b, const Amp__CliHistory *q)
{
	unsigned errors = b->errors;

	ask(b, 9, q);
	assert_int_equal(b->errors, errors + 1);
	assert_int_equal(b->code, AMP__CLI_ERROR__CODE__BAD_REQUEST);
}

static void test_bad_questions(void **state)
{
	struct bench *b = bench(1);
	Amp__CliHistory q = AMP__CLI_HISTORY__INIT;

	(void)state;
	q.type = (char *)(uintptr_t) "x' OR 1";
	bad(b, &q);
	q = (Amp__CliHistory)AMP__CLI_HISTORY__INIT;
	q.detection_id = (char *)(uintptr_t) "1234";
	bad(b, &q);
	q = (Amp__CliHistory)AMP__CLI_HISTORY__INIT;
	q.since_ns = -1;
	bad(b, &q);
	q.since_ns = 0;
	ask(b, 10, &q); /* the client is still served */
	assert_int_equal(b->n_entries, 1);
	teardown(b);
}

static void test_not_open(void **state)
{
	struct bench *b = bench(0);
	Amp__CliHistory q = AMP__CLI_HISTORY__INIT;

	(void)state;
	ask(b, 1, &q);
	assert_int_equal(b->errors, 1);
	assert_int_equal(b->code, AMP__CLI_ERROR__CODE__NOT_NOW);
	teardown(b);
}

/* The client left: its answer goes to nobody, least of all to the next one. */
static void test_client_gone(void **state)
{
	struct bench *b = bench(10);
	Amp__CliHistory q = AMP__CLI_HISTORY__INIT;
	unsigned answered;

	(void)state;
	for (int i = 0; i < 2; i++)
		assert_int_equal(amp_channel_send(b->client, AMP_MSG_CLI_HISTORY, 1, &q.base, NULL, 0), 0);
	event_base_loop(b->base, EVLOOP_NONBLOCK);
	amp_channel_free(b->client);
	answered = b->replies; /* some may have been quick */
	connect_client(b);
	ask(b, 2, &q); /* answered after what was asked before */
	assert_int_equal(b->n_entries, 10);
	for (int i = 0; i < 50; i++)
		turn(b);
	assert_int_equal(b->replies, answered + 1);
	assert_int_equal(b->errors, 0);
	teardown(b);
}

/* Two questions of a client are in hand, the others are told so; it is served again afterwards. */
static void test_flood_waits_alone(void **state)
{
	struct bench *b = bench(10);
	struct io_hold hold;
	Amp__CliHistory q = AMP__CLI_HISTORY__INIT;

	(void)state;
	io_hold(b->io, &hold);
	for (int i = 0; i < 5; i++)
		assert_int_equal(amp_channel_send(b->client, AMP_MSG_CLI_HISTORY, 1, &q.base, NULL, 0), 0);
	for (int i = 0; i < TURNS && b->errors < 3; i++)
		turn(b);
	assert_int_equal(b->errors, 3);
	assert_int_equal(b->code, AMP__CLI_ERROR__CODE__NOT_NOW);
	assert_int_equal(b->replies, 0);
	io_let_go(&hold);
	for (int i = 0; i < TURNS && b->replies < 2; i++)
		turn(b);
	assert_int_equal(b->replies, 2);
	assert_int_equal(b->errors, 3);
	ask(b, 2, &q);
	assert_int_equal(b->n_entries, 10);
	teardown(b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_pages),
		cmocka_unit_test(test_bad_questions),
		cmocka_unit_test(test_not_open),
		cmocka_unit_test(test_client_gone),
		cmocka_unit_test(test_flood_waits_alone),
	};

	amp_db_setup();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
