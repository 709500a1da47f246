/* Tests of ampmon/repair.c against a channel that records what is sent. */
#include "ampmon/repair.h"
#include "clock.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define SENT_MAX 64

static struct {
	uint16_t type;
	uint64_t repair_id, fsid;
	int64_t since_ns;
	size_t pids;
	bool last, self;
} sent[SENT_MAX];
static size_t sent_count;
static int send_errno;
static unsigned faults_raised, faults_cleared;
static struct event_base *base;
static struct mon_repair *r;
static struct amp_channel *const scand = (struct amp_channel *)&sent; /* never looked into */

int amp_channel_send(struct amp_channel *ch, uint16_t type, uint64_t id, const ProtobufCMessage *body,
		     const int *fds, unsigned fd_count)
{
	(void)fds;
	(void)id;
	assert_ptr_equal(ch, scand);
	assert_int_equal(fd_count, 0);
	if (send_errno) {
		errno = send_errno;
		return -1;
	}
	/* More processes than fit one message make several: they count as one. */
	if (type == AMP_MSG_RUNNING && sent_count > 0 && sent[sent_count - 1].type == type &&
	    !sent[sent_count - 1].last)
		sent_count--;
	else
		sent[sent_count].self = false;
	assert_true(sent_count < SENT_MAX);
	sent[sent_count].type = type;
	if (type == AMP_MSG_REPAIR) {
		const Amp__Repair *m = (const Amp__Repair *)body;

		sent[sent_count].repair_id = m->repair_id;
		sent[sent_count].fsid = m->fsid;
		sent[sent_count].since_ns = m->since_ns;
	} else {
		const Amp__Running *m = (const Amp__Running *)body;

		assert_int_equal(type, AMP_MSG_RUNNING);
		sent[sent_count].pids = m->n_pids;
		sent[sent_count].last = m->last;
		for (size_t i = 0; i < m->n_pids; i++)
			sent[sent_count].self |= m->pids[i] == getpid();
	}
	sent_count++;
	return 0;
}

static void on_fault(bool raised, const char *detail, void *arg)
{
	(void)arg;
	(void)detail;
	*(raised ? &faults_raised : &faults_cleared) += 1;
}

static int setup(void **state)
{
	const struct mon_repair_ops ops = {.fault = on_fault};

	(void)state;
	memset(sent, 0, sizeof(sent));
	sent_count = faults_raised = faults_cleared = 0;
	send_errno = 0;
	amp_clock_freeze(1000 * AMP_NS_PER_SEC, 5000 * AMP_NS_PER_SEC);
	base = event_base_new();
	r = mon_repair_new(base, &ops);
	assert_non_null(r);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	mon_repair_free(r);
	event_base_free(base);
	amp_clock_release();
	return 0;
}

static int tell(uint64_t id, Amp__RepairState__State st)
{
	Amp__RepairState m = AMP__REPAIR_STATE__INIT;

	m.repair_id = id;
	m.state = st;
	m.seen = 20;
	m.judged = 3;
	m.detail = (char *)(uintptr_t) "words";
	return mon_repair_state(r, &m);
}

static const char *state_of(uint64_t id)
{
	static Amp__CliRepair list[64];
	size_t n = mon_repair_list(r, list, 64);

	for (size_t i = 0; i < n; i++)
		if (list[i].id == id)
			return list[i].state;
	return "none";
}

static void waits_for_ampscand(void **state)
{
	(void)state;
	mon_repair_add(r, 1, "/", 300, "start", false);
	assert_int_equal(sent_count, 0);
	assert_true(mon_repair_pending(r));
	mon_repair_attach(r, scand);
	assert_int_equal(sent_count, 1);
	assert_int_equal(sent[0].type, AMP_MSG_REPAIR);
	assert_true(sent[0].fsid == 1 && sent[0].since_ns == 300);
	assert_string_equal(state_of(1), "waiting");
	assert_int_equal(tell(1, AMP__REPAIR_STATE__STATE__WALKING), 0);
	assert_string_equal(state_of(1), "walking");
	assert_int_equal(tell(1, AMP__REPAIR_STATE__STATE__DONE), 0);
	assert_string_equal(state_of(1), "done");
	assert_false(mon_repair_pending(r));
	assert_int_equal(tell(1, AMP__REPAIR_STATE__STATE__DONE), 0); /* late, harmless */
}

static void joins_what_waits(void **state)
{
	Amp__CliRepair list[4];

	(void)state;
	mon_repair_add(r, 1, "/", 300, "start", false);
	mon_repair_add(r, 1, "/", 200, "overflow", true);
	mon_repair_add(r, 1, "/", 400, "overflow", false);
	assert_int_equal(mon_repair_list(r, list, 4), 1);
	assert_string_equal(list[0].reason, "start, overflow");
	mon_repair_attach(r, scand);
	assert_int_equal(sent_count, 2);
	assert_int_equal(sent[0].type, AMP_MSG_RUNNING); /* before the walk */
	assert_true(sent[0].last && sent[0].self && sent[0].pids > 0);
	assert_true(sent[1].since_ns == 200);
}

static void everything_is_earliest(void **state)
{
	(void)state;
	mon_repair_add(r, 1, "/", 0, "a", false);
	mon_repair_add(r, 1, "/", 400, "b", false);
	mon_repair_add(r, 2, "/x", 400, "a", false);
	mon_repair_add(r, 2, "/x", 0, "b", false);
	mon_repair_attach(r, scand);
	assert_int_equal(sent_count, 2);
	assert_true(sent[0].since_ns == 0 && sent[1].since_ns == 0);
}

static void one_of_a_file_system_at_a_time(void **state)
{
	(void)state;
	mon_repair_attach(r, scand);
	mon_repair_add(r, 1, "/", 300, "a", false);
	mon_repair_add(r, 1, "/", 400, "b", false);
	mon_repair_add(r, 2, "/x", 500, "c", false);
	assert_int_equal(sent_count, 2);
	assert_true(sent[0].fsid == 1 && sent[1].fsid == 2);
	assert_int_equal(tell(sent[0].repair_id, AMP__REPAIR_STATE__STATE__DONE), 0);
	assert_int_equal(sent_count, 3);
	assert_true(sent[2].fsid == 1 && sent[2].since_ns == 400);
}

static void sent_again_to_a_successor(void **state)
{
	(void)state;
	mon_repair_attach(r, scand);
	mon_repair_add(r, 1, "/", 300, "a", true);
	assert_int_equal(sent_count, 2);
	tell(sent[1].repair_id, AMP__REPAIR_STATE__STATE__WALKING);
	mon_repair_add(r, 1, "/", 200, "b", false); /* waits behind it */
	mon_repair_attach(r, NULL);
	assert_string_equal(state_of(sent[1].repair_id), "waiting");
	mon_repair_attach(r, scand);
	assert_int_equal(sent_count, 4);
	assert_int_equal(sent[2].type, AMP_MSG_RUNNING);
	assert_true(sent[3].repair_id == sent[1].repair_id);
	assert_true(sent[3].since_ns == 200); /* both in one */
}

static void running_alone(void **state)
{
	(void)state;
	mon_repair_running(r);
	assert_true(mon_repair_pending(r));
	mon_repair_attach(r, scand);
	assert_int_equal(sent_count, 1);
	assert_false(mon_repair_pending(r));
	amp_clock_advance(61 * AMP_NS_PER_SEC);
	mon_repair_attach(r, NULL);
	mon_repair_attach(r, scand);
	assert_int_equal(sent_count, 1); /* long ago */
	mon_repair_running(r);
	mon_repair_attach(r, NULL);
	mon_repair_attach(r, scand);
	assert_int_equal(sent_count, 3); /* just now: it may not have been judged */
}

static void full_channel(void **state)
{
	(void)state;
	mon_repair_attach(r, scand);
	send_errno = ENOBUFS;
	mon_repair_add(r, 1, "/", 300, "a", true);
	assert_int_equal(sent_count, 0);
	assert_true(mon_repair_pending(r));
	send_errno = 0;
	event_base_loop(base, EVLOOP_ONCE); /* the timer tries again */
	assert_int_equal(sent_count, 2);
}

static void retry_after_failure(void **state)
{
	(void)state;
	mon_repair_attach(r, scand);
	mon_repair_add(r, 1, "/", 300, "a", false);
	for (unsigned i = 1; i <= 5; i++) {
		assert_int_equal(sent_count, i);
		assert_int_equal(tell(1, AMP__REPAIR_STATE__STATE__FAILED), 0);
		assert_string_equal(state_of(1), "failed");
		assert_int_equal(faults_raised, 1);
		amp_clock_advance(59 * AMP_NS_PER_SEC);
		mon_repair_add(r, 2, "/x", 1, "other", false); /* makes it look */
		mon_repair_gone(r, 2);
		assert_int_equal(tell(1, AMP__REPAIR_STATE__STATE__DONE), 0); /* not out: no effect */
		sent_count = i;
		amp_clock_advance(2 * AMP_NS_PER_SEC);
		mon_repair_attach(r, scand);
	}
	assert_int_equal(sent_count, 5);
	assert_string_equal(state_of(1), "failed");
	assert_true(mon_repair_pending(r));
	assert_int_equal(faults_cleared, 0);
	mon_repair_add(r, 1, "/", 400, "again", false);
	assert_int_equal(sent_count, 6);
	assert_true(sent[5].since_ns == 300);
	assert_int_equal(tell(1, AMP__REPAIR_STATE__STATE__DONE), 0);
	assert_int_equal(faults_cleared, 1);
	assert_false(mon_repair_pending(r));
}

static void asked_again_while_it_fails(void **state)
{
	Amp__CliRepair list[4];

	(void)state;
	mon_repair_attach(r, scand);
	mon_repair_add(r, 1, "/", 300, "a", false);
	mon_repair_add(r, 1, "/", 400, "b", false);
	assert_int_equal(sent_count, 1);
	assert_int_equal(tell(1, AMP__REPAIR_STATE__STATE__FAILED), 0);
	assert_int_equal(sent_count, 2);
	assert_true(sent[1].since_ns == 300);
	assert_int_equal(mon_repair_list(r, list, 4), 1);
}

static void gone_file_system(void **state)
{
	(void)state;
	mon_repair_attach(r, scand);
	mon_repair_add(r, 1, "/", 300, "a", false);
	assert_int_equal(tell(1, AMP__REPAIR_STATE__STATE__FAILED), 0);
	assert_int_equal(faults_raised, 1);
	mon_repair_gone(r, 1);
	assert_int_equal(faults_cleared, 1);
	assert_false(mon_repair_pending(r));
	assert_int_equal(tell(1, AMP__REPAIR_STATE__STATE__WALKING), 0);
}

static void hostile_states(void **state)
{
	(void)state;
	mon_repair_attach(r, scand);
	mon_repair_add(r, 1, "/", 300, "a", false);
	assert_int_equal(tell(0, AMP__REPAIR_STATE__STATE__DONE), -1);
	assert_int_equal(tell(2, AMP__REPAIR_STATE__STATE__DONE), -1);
	assert_int_equal(tell(UINT64_MAX, AMP__REPAIR_STATE__STATE__DONE), -1);
	assert_int_equal(tell(1, (Amp__RepairState__State)4), -1);
	assert_int_equal(tell(1, (Amp__RepairState__State)-1), -1);
	assert_string_equal(state_of(1), "waiting");
}

static void last_sixteen(void **state)
{
	Amp__CliRepair list[64];

	(void)state;
	mon_repair_attach(r, scand);
	for (uint64_t i = 1; i <= 20; i++) {
		mon_repair_add(r, i, "/", 1, "a", false);
		assert_int_equal(tell(i, AMP__REPAIR_STATE__STATE__DONE), 0);
	}
	mon_repair_add(r, 99, "/", 1, "a", false);
	assert_int_equal(mon_repair_list(r, list, 64), 17);
	assert_int_equal(list[0].id, 21);
	assert_int_equal(list[1].id, 20);
	assert_int_equal(list[16].id, 5);
	assert_int_equal(mon_repair_list(r, list, 3), 3);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(waits_for_ampscand, setup, teardown),
		cmocka_unit_test_setup_teardown(joins_what_waits, setup, teardown),
		cmocka_unit_test_setup_teardown(everything_is_earliest, setup, teardown),
		cmocka_unit_test_setup_teardown(one_of_a_file_system_at_a_time, setup, teardown),
		cmocka_unit_test_setup_teardown(sent_again_to_a_successor, setup, teardown),
		cmocka_unit_test_setup_teardown(running_alone, setup, teardown),
		cmocka_unit_test_setup_teardown(full_channel, setup, teardown),
		cmocka_unit_test_setup_teardown(retry_after_failure, setup, teardown),
		cmocka_unit_test_setup_teardown(asked_again_while_it_fails, setup, teardown),
		cmocka_unit_test_setup_teardown(gone_file_system, setup, teardown),
		cmocka_unit_test_setup_teardown(hostile_states, setup, teardown),
		cmocka_unit_test_setup_teardown(last_sixteen, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
