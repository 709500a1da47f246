"""Overflow of a limited kernel queue: what was missed is counted, shown and
found by the repair, once each (issue point 9).

The scanner is stopped by SIGSTOP while far more is written than the kernel
queues; its supervisor's patience is raised for that time, nothing else.
"""

import os
import signal
import subprocess
import sys
import time

import harness
import still
from harness import check, wait_for, write

FILES = 40000
EVERY = 200  # one in so many is listed
PATIENCE = 240
LONG = 300  # seconds for all that was missed
LIMIT = int(open("/proc/sys/fs/fanotify/max_queued_events").read())


wanted = set()


def content(i):
    return b"overflow test, listed file number %d\n" % i * 3


def setup(base):
    global suite, tmpfs, ext4, program, seen
    tmpfs = harness.mount_tmpfs(base + "/w-tmpfs")
    ext4 = harness.mount_ext4(base + "/w-ext4", base + "/ext4.img", 4096)
    program = harness.program_bytes("overflow")
    suite = harness.Suite(base, [tmpfs, ext4], mode="audit", queue_limit="limited", heartbeat_timeout=PATIENCE)
    suite.lists["blocked.list"] = ["%s Test.Overflow.%d" % (harness.sha256(content(i)), i) for i in range(FILES)
                                   if i % EVERY == 0]
    suite.block(content(-1), "Test.Overflow.Early")
    suite.block(program, "Test.Overflow.Program")
    suite.start()


def teardown():
    suite.cleanup()


WRITER = r"""
import sys
first, step, count, every = [int(a) for a in sys.argv[2:6]]
for block in range(first, count, step):
    for i in range(block, block + every):
        data = b"overflow test, listed file number %d\n" % i * 3 if i % every == 0 else b"other %d\n" % i
        with open("%s/%s-%d" % (sys.argv[1], "listed" if i % every == 0 else "other", i), "wb") as f:
            f.write(data)
"""


def write_many(sub):
    """Two writers, one on each file system: blocks of files in turn. The listed ones' names."""
    ps = []
    for d, first in ((tmpfs, 0), (ext4, EVERY)):
        os.makedirs("%s/%s" % (d, sub))
        argv = ["%s/%s" % (d, sub)] + [str(n) for n in (first, 2 * EVERY, FILES, EVERY)]
        ps.append(subprocess.Popen([sys.executable, "-c", WRITER] + argv))
    for p in ps:
        check(p.wait() == 0, "writer: %d" % p.returncode)
    return {"%s/%s/listed-%d" % (ext4 if i % (2 * EVERY) else tmpfs, sub, i) for i in range(0, FILES, EVERY)}


def check_once(wanted, rows):
    """Each name has one row; the file and the running process of a program are two."""
    count = {}
    for r in rows:
        key = r["path"] if r["cause"] not in ("exec", "running") else r["path"] + " run"
        count[key] = count.get(key, 0) + 1
    check(not wanted - set(count), "%d missing: %r" % (len(wanted - set(count)), sorted(wanted - set(count))[:5]))
    strange = set(count) - wanted
    check(not strange, "not listed: %r" % sorted(strange)[:5])
    twice = {k: n for k, n in count.items() if n > 1}
    check(not twice, "more than once: %r" % dict(sorted(twice.items())[:5]))


def repairs_shown():
    """The status, if it has fault 5 and a repair of each file system that is not done."""
    st = suite.status()
    under_way = {r["mount_point"] for r in st["repairs"] if r["state"] in ("waiting", "walking")}
    return st if under_way >= {tmpfs, ext4} and [f for f in st["faults"] if f["number"] == 5] else None


def overflows():
    return suite.counters().get("ampscand.events.overflow", 0)


def case_what_was_missed_is_counted_shown_and_found():
    sysctl = open("/proc/sys/fs/fanotify/max_queued_events").read()
    check(FILES > 2 * LIMIT, "the kernel's limit of %d events is too high for this test" % LIMIT)
    check(overflows() == 0, "an overflow before")
    for d in (tmpfs, ext4):
        os.makedirs(d + "/before/deep")
        write(d + "/before/deep/early", content(-1))
        suite.wait_detected(d + "/before/deep/early")
    pid = suite.pids()["ampscand"]
    begin = time.monotonic()
    os.kill(pid, signal.SIGSTOP)
    try:
        wanted.update(write_many("many"))
        # What only the repair can tell: old times, new names of old files, a program that runs.
        for d in (tmpfs, ext4):
            os.utime(write(d + "/old-times", content(0)), (1000, 1000))
            os.link(d + "/before/deep/early", d + "/second-name")
            os.rename(d + "/before", d + "/after")
        exe = write(ext4 + "/program", program, 0o755)
        victim = subprocess.Popen([exe, "600"])
        stopped = time.monotonic() - begin
        check(stopped < PATIENCE, "writing took %d s, longer than the supervisor waits" % stopped)
        # No repair comes to its end before it was seen.
        walker = suite.service("ampread/2")["pid"]
        os.kill(walker, signal.SIGSTOP)
    finally:
        os.kill(pid, signal.SIGCONT)
    try:
        wait_for("the overflow's count", overflows)
        shown = wait_for("both repairs and fault 5", repairs_shown)
    finally:
        os.kill(walker, signal.SIGCONT)
    # Under Audit, so that every name stays to be counted: it is found, and lives.
    wait_for("the program that ran meanwhile", lambda: [r for r in suite.detections(exe) if r["cause"] == "running"])
    check(victim.poll() is None, "killed under Audit")
    victim.kill()
    victim.wait()
    suite.wait_idle(LONG)
    wait_for("fault 5 to clear", lambda: suite.fault(5) is None)
    print("# stopped for %.1f s, caught up %.1f s later" % (stopped, time.monotonic() - begin - stopped), flush=True)
    fault = [f for f in shown["faults"] if f["number"] == 5][0]
    check(fault["remedy"] and fault["severity"] == "warning", "fault 5: %r" % fault)
    check(not shown["protected"], "status said protected while the repair was under way")
    check(suite.pids()["ampscand"] == pid, "ampscand was replaced")
    check(open("/proc/sys/fs/fanotify/max_queued_events").read() == sysctl, "the machine's sysctl was changed")


def case_everything_is_in_history_once():
    for d in (tmpfs, ext4):
        wanted.update({d + "/old-times", d + "/second-name", d + "/before/deep/early", d + "/after/deep/early"})
    wanted.update({ext4 + "/program", ext4 + "/program run"})
    check_once(wanted, suite.detections())
    check(not suite.history("process_killed"), "kills under Audit")


def case_afterwards_events_come_as_before():
    before = overflows()
    for d in (tmpfs, ext4):
        write(d + "/afterwards", content(EVERY))
        suite.wait_detected(d + "/afterwards")
    check(overflows() == before, "another overflow")
    check(not suite.status()["faults"], "faults: %r" % suite.status()["faults"])


def lose_and_kill(sub, room):
    """Another overflow; the room dies as soon as the repair is under way."""
    before = overflows()
    pid = suite.pids()["ampscand"]
    os.kill(pid, signal.SIGSTOP)
    try:
        names = write_many(sub)
    finally:
        os.kill(pid, signal.SIGCONT)
    wait_for("the repair", lambda: [r for r in (suite.status() or {}).get("repairs", [])
                                    if r["state"] in ("waiting", "walking")] or overflows() > before, pause=0.001)
    os.kill(suite.pids()[room], signal.SIGKILL)
    return names


def case_a_scanner_or_walker_that_dies_during_the_repair():
    for room in ("ampscand", "ampread++", "ampcloudd"):
        names = lose_and_kill("dies-" + room, room)
        suite.wait_idle(LONG)
        check_once(names, [r for r in suite.detections() if "/dies-" + room in r["path"]])


def case_what_was_lost_before_the_scanner_told_how_far_it_is():
    """Every 10 s it tells up to when everything is judged. As it runs again that is due, before what waits is read."""
    before = overflows()
    with still.stopped(suite.pids()["ampscand"]):
        begin = time.monotonic()
        names = write_many("told")
        time.sleep(max(0, 12 - (time.monotonic() - begin)))
    wait_for("the overflow's count", lambda: overflows() > before)
    suite.wait_idle(LONG)
    check_once(names, [r for r in suite.detections() if "/told/" in r["path"]])


def case_with_descriptors():
    """The same where the fall-back group serves: its queue holds open files."""
    suite.stop()
    suite.configure(event_source="fd")
    suite.start()
    check(overflows() == 0, "an overflow before")
    names = lose_and_kill("by-fd", "ampread")
    suite.wait_idle(LONG)
    check(overflows() > 0, "no overflow")
    check_once(names, [r for r in suite.detections() if "/by-fd/" in r["path"]])


harness.main(globals())
