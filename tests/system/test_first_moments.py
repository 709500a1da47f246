"""Nothing written after the first start is missed, however soon ampmon dies after it."""

import os
import signal
import time

import harness
from harness import check, wait_for, write

FILES = 400


def content(i):
    return b"first moments, file %d\n" % i


def setup(base):
    global suite, w
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


harness.main(globals())
