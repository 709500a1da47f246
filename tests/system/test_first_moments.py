"""Nothing written after the first start is missed, however soon ampmon dies after it."""

import os
import signal
import time

import harness
from harness import check, wait_for, write

FILES = 400
NOT_WATCHED = 7  # a fault
# Each mark comes so many milliseconds later as the file says, as a busy machine may have it.
SLOW_MARK = r"""
#define _GNU_SOURCE
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

int fanotify_mark(int group, unsigned flags, uint64_t mask, int dir, const char *path)
{
	FILE *f = fopen(getenv("MARK_DELAY"), "r");
	unsigned ms = 0;

	if (f && fscanf(f, "%u", &ms) == 1)
		usleep(ms * 1000);
	if (f)
		fclose(f);
	return (int)syscall(SYS_fanotify_mark, group, flags, mask, dir, path);
}
"""


def content(i):
    return b"first moments, file %d\n" % i


def setup(base):
    global suite, w, base_dir
    base_dir = base
    w = harness.mount_tmpfs(base + "/w", "mode=1777")
    suite = harness.Suite(base, [w], mode="audit")
    suite.lists["blocked.list"] = ["%s Test.First.%d" % (harness.sha256(content(i)), i) for i in range(FILES)]
    suite.configure()
    suite.start()


def teardown():
    suite.cleanup()


def supervisor():
    """Of the guard and the supervisor proper, the latter."""
    guard = suite.pidfile()
    return [p for n, p in suite.pids().items() if n.startswith("ampmon") and p != guard][0]


def case_ampmon_dies_before_any_good_moment_was_reported():
    os.kill(supervisor(), signal.SIGKILL)
    for i in range(FILES):
        write("%s/%d" % (w, i), content(i))
        time.sleep(0.0005)
    suite.wait_ready()
    suite.wait_idle()
    wait_for("all detections", lambda: len({r["path"] for r in suite.detections()}) == FILES)
    suite.wait_idle()
    rows = suite.detections()
    check(len(rows) == FILES, "twice: %d" % len(rows))


def case_a_good_moment_in_the_future_means_that_everything_is_looked_through():
    suite.stop()
    path = write(w + "/while-stopped", content(0))
    state = suite.etc + "/ampmon.state"
    lines = open(state).read().splitlines()
    with open(state, "w") as f:
        f.write("".join(("good_ns=%d" % 2**62 if l.startswith("good_ns=") else l) + "\n" for l in lines))
    suite.start()
    suite.wait_detected(path)


def first_start(name, **environment):
    """Of another suite, which watches w; what was written before is none of its business."""
    global suite
    suite.stop()
    blocked = suite.lists["blocked.list"]
    harness.let_age()
    suite = harness.Suite(base_dir, [w], name=name, mode="audit")
    suite.lists["blocked.list"] = blocked
    suite.configure()
    os.environ.update(environment)
    try:
        suite.start()
    finally:
        for key in environment:
            del os.environ[key]


def case_a_file_system_that_is_mounted_in_the_first_moments():
    """What is written there before it is marked is looked for."""
    first_start("mounted")
    path = write(harness.mount_tmpfs(w + "/mounted") + "/soon", content(1))
    suite.wait_detected(path)
    suite.wait_idle()
    check(len(suite.detections()) == 1, "more than that: %r" % suite.detections())


def start_with_slow_marks(name, ms):
    library, delay = base_dir + "/slow-mark.so", base_dir + "/mark-delay"
    harness.compile_c(SLOW_MARK, library, "-shared", "-fPIC")
    write(delay, b"%d" % ms)
    first_start(name, LD_PRELOAD=library, MARK_DELAY=delay)
    return delay


def case_ready_means_marked():
    """Nothing is said to be protected that nobody watches yet."""
    start_with_slow_marks("slow-mark", 500)
    path = write(w + "/as-soon-as-it-is-ready", content(2))
    row = suite.wait_detected(path)[0]
    check(row["process"] and row["process"]["pid"] == os.getpid(), "by no event: %r" % row)


def case_a_mark_that_comes_late():
    """What was written between a mount and its mark is looked for, though all else is judged long since."""
    delay = start_with_slow_marks("late-mark", 0)
    time.sleep(6)  # the first moments are over
    write(delay, b"20000")
    path = write(harness.mount_tmpfs(w + "/late") + "/soon", content(3))
    wait_for("the fault", lambda: suite.fault(NOT_WATCHED))
    time.sleep(3)  # no repair goes so far back of itself
    write(delay, b"0")
    harness.mount_tmpfs(w + "/another")  # who could not be marked has another try
    suite.wait_detected(path)
    wait_for("the fault to clear", lambda: not suite.fault(NOT_WATCHED))


def case_a_file_system_that_does_not_answer_for_a_minute():
    """What was written there while nothing ran is looked for when it is marked at last."""
    delay = start_with_slow_marks("no-answer", 0)
    suite.wait_detected(write(w + "/before", content(4)))
    wait_for("a good moment", lambda: suite.status().get("jobs") == 0)
    suite.stop()
    path = write(w + "/while-it-was-down", content(5))
    harness.let_age()
    write(delay, b"20000")
    os.environ.update(LD_PRELOAD=base_dir + "/slow-mark.so", MARK_DELAY=delay)
    try:
        suite.start()
    finally:
        del os.environ["LD_PRELOAD"], os.environ["MARK_DELAY"]
    check(suite.fault(NOT_WATCHED), "it answers")
    time.sleep(61)  # mounts come in one by one for a minute, and are taken for such as were there
    write(delay, b"0")
    harness.mount_tmpfs(w + "/and-another")
    suite.wait_detected(path)


harness.main(globals())
