/*
 * tests/unit/test_hand.c - ampquard's hands as processes: what they do, one that hangs in
 * a file whose writer never ends, one that is hostile.
 */
#include "quartest.h"

#include "ampquard/quard.h"
#include "ampquard/step.h"
#include "clock.h"
#include "log.h"
#include "tests/unit/procstat.h"
#include "tests/unit/skip.h"

#include <linux/userfaultfd.h>
#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#define OWNER	4711U
#define LONG_MS 60000 /* for what is sure to come */

void step(const char *place)
{
	(void)place;
}

static struct hands *start(unsigned count)
{
	struct hands *h = hands_new(count, -1);
	int rc;

	assert_non_null(h);
	rc = hands_fork(h);
	if (rc == 1)
		hands_be_one(h);
	assert_int_equal(rc, 0);
	return h;
}

static void end(struct hands *h)
{
	amp_clock_release();
	hands_free(h);
	while (waitpid(-1, NULL, 0) > 0)
		;
}

static struct taking *taking(const char *id)
{
	struct taking *t = calloc(1, sizeof(*t));

	assert_non_null(t);
	t->entry = calloc(1, sizeof(*t->entry));
	assert_non_null(t->entry);
	snprintf(t->entry->id, sizeof(t->entry->id), "%s", id);
	return t;
}

static void forget(struct taking *t)
{
	free(t->entry);
	free(t);
}

/* Until it has answered, or for so many ms. */
static bool answered(struct hands *h, const struct taking *t, int ms)
{
	for (int i = 0; i < ms && !t->answered && !hands_broken(h); i++) {
		usleep(1000);
		hands_look(h);
	}
	return t->answered;
}

static void tell(struct hands *h, struct taking *t, struct hand_ask a, int fd)
{
	assert_int_equal(hands_ask(h, t, &a, fd), 0);
}

/* 0, or the error. */
static int done(struct hands *h, struct taking *t, struct hand_ask a, int fd)
{
	tell(h, t, a, fd);
	assert_true(answered(h, t, LONG_MS));
	return t->answer.error;
}

static void test_work(void **state)
{
	struct taking *t = taking("one");
	struct hands *h;
	int file, fd;

	(void)state;
	QT_NEED();
	file = qt_file(qt_fd, "a", "content");
	h = start(2);
	assert_int_equal(hands_take(h, t, OWNER), HANDS_GOT);
	assert_int_equal(done(h, t, (struct hand_ask){.op = HAND_BEGIN}, file), 0);
	assert_int_equal(done(h, t, (struct hand_ask){.op = HAND_READ, .end = 7}, -1), 0);
	assert_int_equal(t->answer.hole, 0);
	assert_int_equal(t->answer.data, 7);
	assert_memory_equal(hands_data(t), "content", 7);
	/* A hole, and data behind it. */
	fd = openat(qt_fd, "a", O_WRONLY | O_CLOEXEC);
	assert_int_equal(ftruncate(fd, 0), 0);
	assert_int_equal(pwrite(fd, "x", 1, 1 << 20), 1);
	assert_int_equal(ftruncate(fd, (off_t)1 << 30), 0);
	close(fd);
	assert_int_equal(done(h, t, (struct hand_ask){.op = HAND_READ, .end = 1 << 30}, -1), 0);
	assert_int_equal(t->answer.hole, 1 << 20);
	assert_true(t->answer.data > 0 && hands_data(t)[0] == 'x');
	assert_int_equal(done(h, t, (struct hand_ask){.op = HAND_READ, .at = 2 << 20, .end = 1 << 30}, -1),
			 0);
	assert_int_equal(t->answer.hole, HAND_HOLE_MAX);
	assert_int_equal(t->answer.data, 0);
	assert_int_equal(done(h, t, (struct hand_ask){.op = HAND_READ, .at = 5, .end = 5}, -1), EINVAL);
	assert_int_equal(done(h, t, (struct hand_ask){.op = HAND_NAME, .name = "a"}, qt_fd), 0);
	assert_int_equal(t->answer.outcome, NAME_REMOVED);
	assert_int_equal(t->answer.count, 1);
	assert_false(qt_there(qt_fd, "a"));
	assert_int_equal(done(h, t, (struct hand_ask){.op = HAND_EMPTY}, -1), 0);
	assert_int_equal(done(h, t, (struct hand_ask){.op = HAND_REMOVE}, -1), 0);
	assert_int_equal(t->answer.count, 0);
	assert_null(t->hand);
	assert_int_equal(qt_count(qt_fd), 0);
	assert_int_equal(qt_links(file), 0);
	end(h);
	close(file);
	forget(t);
}

/* What was captured goes back, also when the keeper ends. */
static void test_undone(void **state)
{
	struct taking *t = taking("one");
	struct hands *h;
	int file;

	(void)state;
	QT_NEED();
	file = qt_file(qt_fd, "a", "content");
	h = start(1);
	assert_int_equal(hands_take(h, t, OWNER), HANDS_GOT);
	assert_int_equal(done(h, t, (struct hand_ask){.op = HAND_BEGIN}, file), 0);
	assert_int_equal(done(h, t, (struct hand_ask){.op = HAND_NAME, .name = "a"}, qt_fd), 0);
	assert_false(qt_there(qt_fd, "a"));
	hands_let_go(h, t);
	assert_null(t->hand);
	end(h);
	assert_true(qt_there(qt_fd, "a"));
	assert_int_equal(qt_count(qt_fd), 1);
	close(file);
	forget(t);
}

/* One hand for an owner, no more owners than hands. */
static void test_owners(void **state)
{
	struct taking *t[4] = {taking("0"), taking("1"), taking("2"), taking("3")};
	struct hands *h;

	(void)state;
	QT_NEED();
	h = start(2);
	assert_int_equal(hands_take(h, t[0], 1), HANDS_GOT);
	assert_int_equal(hands_take(h, t[1], 2), HANDS_GOT);
	assert_int_equal(hands_take(h, t[2], 1), HANDS_GOT);
	assert_ptr_equal(t[0]->hand, t[2]->hand);
	assert_ptr_not_equal(t[0]->hand, t[1]->hand);
	assert_int_equal(hands_take(h, t[3], 3), HANDS_BUSY);
	hands_let_go(h, t[1]);
	for (unsigned i = 0; i < LONG_MS && hands_take(h, t[3], 3) != HANDS_GOT; i++) {
		usleep(1000);
		hands_look(h);
	}
	assert_non_null(t[3]->hand);
	end(h);
	for (unsigned i = 0; i < 4; i++)
		forget(t[i]);
}

/* ---- a write that never ends ---- */

static int fault_fd(void *page)
{
	struct uffdio_api api = {.api = UFFD_API};
	struct uffdio_register all = {.range = {(uint64_t)(uintptr_t)page, 4096},
				      .mode = UFFDIO_REGISTER_MODE_MISSING};
	int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);

	if (fd < 0 || ioctl(fd, UFFDIO_API, &api) < 0 || ioctl(fd, UFFDIO_REGISTER, &all) < 0)
		return -1;
	return fd;
}

static void write_for_ever(int dir, const char *name, void *page)
{
	int fd = openat(dir, name, O_WRONLY | O_CLOEXEC);

	_exit(pwrite(fd, page, 4096, 0) < 0);
}

/*
 * A process that hangs in a write to that file until it is killed; 0: no userfaultfd here.
 * What delivers its page would be in another one, which does not.
 */
static pid_t hang(int dir, const char *name)
{
	int said[2];
	char c = 0;
	pid_t pid;

	assert_int_equal(pipe2(said, O_CLOEXEC), 0);
	pid = fork();
	if (pid == 0) {
		void *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		struct pollfd p = {.fd = fault_fd(page), .events = POLLIN};
		pid_t watcher = p.fd < 0 ? -1 : fork();

		if (watcher == 0) {
			prctl(PR_SET_PDEATHSIG, (unsigned long)SIGKILL, 0L, 0L, 0L);
			if (poll(&p, 1, LONG_MS) == 1 && write(said[1], "h", 1) == 1)
				pause();
			_exit(0);
		}
		close(said[1]);
		if (watcher > 0)
			write_for_ever(dir, name, page);
		_exit(1);
	}
	close(said[1]);
	if (read(said[0], &c, 1) != 1 || c != 'h') {
		kill(pid, SIGKILL);
		pid = 0;
	}
	close(said[0]);
	return pid;
}

static char state_of(pid_t pid)
{
	char line[PROCSTAT_SIZE];

	return procstat_fields(pid, line)[0];
}

/* The hand has come to the file: it waits for the kernel, and for so long that it is for that. */
static void await_hanging(pid_t pid)
{
	unsigned waits = 0;

	for (int i = 0; i < LONG_MS && waits < 100; i++) {
		waits = state_of(pid) == 'D' ? waits + 1 : 0;
		usleep(1000);
	}
	assert_int_equal(waits, 100);
}

static void test_hanging(void **state)
{
	struct taking *t = taking("hangs"), *other = taking("other"), *again = taking("hangs");
	int file, free_file;
	struct hands *h;
	pid_t writer;

	(void)state;
	QT_NEED();
	file = qt_file(qt_fd, "a", "content");
	free_file = qt_file(qt_fd, "b", "content");
	h = start(3);
	writer = hang(qt_fd, "a");
	if (!writer) { /* no userfaultfd(2): under valgrind */
		end(h);
		close(file);
		close(free_file);
		forget(t);
		forget(other);
		forget(again);
		SKIP_WITHOUT("userfaultfd(2)");
	}
	amp_clock_freeze(amp_clock_monotonic(), amp_clock_realtime()); /* no time passes but ours */
	assert_int_equal(hands_take(h, t, OWNER), HANDS_GOT);
	assert_int_equal(hands_take(h, other, OWNER), HANDS_GOT);
	assert_ptr_equal(t->hand, other->hand);
	assert_int_equal(done(h, t, (struct hand_ask){.op = HAND_BEGIN}, file), 0);
	tell(h, t, (struct hand_ask){.op = HAND_NAME, .name = "a"}, qt_fd);
	tell(h, other, (struct hand_ask){.op = HAND_BEGIN}, free_file);
	await_hanging(hands_pid(h, 0));
	assert_false(answered(h, t, 300));
	assert_true(hands_due_ns(h) > amp_clock_monotonic());
	/* The directory is nobody's meanwhile. */
	assert_int_equal(renameat(qt_fd, "b", qt_fd, "c"), 0);
	amp_clock_advance(16 * AMP_NS_PER_SEC);
	hands_look(h);
	assert_null(hands_broken(h));
	assert_null(t->hand);
	assert_null(other->hand);
	assert_true(hands_stuck(h, "hangs"));
	assert_false(hands_stuck(h, "other"));
	assert_int_equal(hands_take(h, again, OWNER), HANDS_STUCK);
	/* What was in the same hand goes on in another one. */
	assert_int_equal(hands_take(h, other, OWNER), HANDS_GOT);
	assert_int_equal(done(h, other, (struct hand_ask){.op = HAND_BEGIN}, free_file), 0);
	assert_int_equal(done(h, other, (struct hand_ask){.op = HAND_NAME, .name = "c"}, qt_fd), 0);
	assert_int_equal(done(h, other, (struct hand_ask){.op = HAND_REMOVE}, -1), 0);
	assert_false(qt_there(qt_fd, "c"));
	/* It ends after all: what that hand holds goes back, and it works again. */
	kill(writer, SIGKILL);
	for (unsigned i = 0; i < LONG_MS && hands_take(h, again, OWNER) != HANDS_GOT; i++) {
		usleep(1000);
		hands_look(h);
	}
	assert_non_null(again->hand);
	assert_false(hands_stuck(h, "hangs"));
	assert_int_equal(done(h, again, (struct hand_ask){.op = HAND_BEGIN}, file), 0);
	assert_int_equal(done(h, again, (struct hand_ask){.op = HAND_NAME, .name = "a"}, qt_fd), 0);
	assert_int_equal(done(h, again, (struct hand_ask){.op = HAND_REMOVE}, -1), 0);
	assert_int_equal(qt_count(qt_fd), 0);
	end(h);
	close(file);
	close(free_file);
	forget(t);
	forget(other);
	forget(again);
}

static void test_all_hang(void **state)
{
	struct taking *t = taking("hangs");
	struct hands *h;
	pid_t writer;
	int file;

	(void)state;
	QT_NEED();
	file = qt_file(qt_fd, "a", "content");
	h = start(1);
	writer = hang(qt_fd, "a");
	if (!writer) { /* as above */
		end(h);
		close(file);
		forget(t);
		SKIP_WITHOUT("userfaultfd(2)");
	}
	amp_clock_freeze(amp_clock_monotonic(), amp_clock_realtime());
	assert_int_equal(hands_take(h, t, OWNER), HANDS_GOT);
	tell(h, t, (struct hand_ask){.op = HAND_BEGIN}, file);
	tell(h, t, (struct hand_ask){.op = HAND_READ, .end = 7}, -1);
	assert_false(answered(h, t, 300) && t->answer.op == HAND_READ);
	amp_clock_advance(16 * AMP_NS_PER_SEC);
	hands_look(h);
	assert_non_null(hands_broken(h));
	kill(writer, SIGKILL);
	end(h);
	close(file);
	forget(t);
}

/* ---- a hostile one ---- */

static const struct hand_answer bad[] = {
	{.op = HAND_BEGIN, .slot = HAND_SLOTS, .number = 1},
	{.op = HAND_BEGIN, .slot = 1, .number = 1},
	{.op = HAND_BEGIN, .number = 2},
	{.op = 0, .number = 1},
	{.op = HAND_OPS, .number = 1},
	{.op = HAND_BEGIN, .number = 1, .error = -1},
	{.op = HAND_BEGIN, .number = 1, .error = 5000},
	{.op = HAND_READ, .number = 1, .data = HAND_BUFFER + 1},
	{.op = HAND_READ, .number = 1, .hole = HAND_HOLE_MAX + 1},
	{.op = HAND_NAME, .number = 1, .outcome = NAME_FAILED + 1},
	{.op = HAND_EMPTY, .number = 1, .outcome = NEUTRAL_FAILED + 1},
	{.op = HAND_NAME, .number = 1, .count = HAND_NAMES_MAX + 1},
	{.op = HAND_UNDO, .number = 1},	  /* nobody asked for that */
	{.op = HAND_REMOVE, .number = 1}, /* nor that */
};

static void be_hostile(int fd, size_t which)
{
	struct hand_ask a;

	if (recv(fd, &a, sizeof(a), 0) > 0 && which < sizeof(bad) / sizeof(bad[0]))
		send(fd, &bad[which], sizeof(bad[which]), 0);
	else if (which == sizeof(bad) / sizeof(bad[0]))
		send(fd, "short", 5, 0);
	else
		_exit(0);
	pause();
	_exit(0);
}

static void test_hostile(void **state)
{
	(void)state;
	QT_NEED();
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]) + 2; i++) {
		struct hands *h = hands_new(1, -1);
		struct taking *t = taking("one");
		int rc = hands_fork(h);

		if (rc == 1)
			be_hostile(hands_fd(h, 0), i);
		assert_int_equal(rc, 0);
		assert_int_equal(hands_take(h, t, OWNER), HANDS_GOT);
		tell(h, t, (struct hand_ask){.op = HAND_BEGIN}, -1);
		assert_false(answered(h, t, LONG_MS));
		if (!hands_broken(h))
			fail_msg("answer %zu is believed", i);
		kill(hands_pid(h, 0), SIGKILL);
		end(h);
		forget(t);
	}
}

static int set_up(void **state)
{
	amp_log_open("ampquard", STDERR_FILENO, AMP_LOG_ERROR);
	return qt_each(state);
}

int main(void)
{
#define CASE(f) cmocka_unit_test_setup_teardown(f, set_up, qt_each_end)
	const struct CMUnitTest tests[] = {
		CASE(test_work),    CASE(test_undone),	 CASE(test_owners),
		CASE(test_hanging), CASE(test_all_hang), CASE(test_hostile),
	};

	return cmocka_run_group_tests(tests, qt_setup, qt_teardown);
}
