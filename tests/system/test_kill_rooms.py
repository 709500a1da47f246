"""SIGKILL of every process in turn while files are written: nothing is lost,
nothing happens twice, nobody hangs (issue point 5)."""

import os
import random
import signal
import subprocess
import sys
import threading
import time

import harness
from harness import check, wait_for, write

LISTED, OTHERS = 500, 5000
ROOMS = ["ampscand", "ampread", "ampread+", "ampread++", "ampcloudd", "ampquard", "ampmon"]


def content(i):
    return b"kill test, listed file number %d\n" % i * 3


def setup(base):
    global suite, w
    w = harness.mount_ext4(base + "/w", base + "/ext4.img", 512)
    suite = harness.Suite(base, [w], mode="audit")
    suite.lists["blocked.list"] = ["%s Test.Kill.%d" % (harness.sha256(content(i)), i) for i in range(LISTED)]
    suite.configure()
    suite.start()


def teardown():
    suite.cleanup()


WRITER = r"""
import os, sys, time
sys.path.insert(0, sys.argv[3])
w, seconds = sys.argv[1], float(sys.argv[2])
listed, others = %d, %d
begin = time.monotonic()
worst = 0.0
for i in range(others):
    t = time.monotonic()
    with open("%%s/other-%%d" %% (w, i), "wb") as f:
        f.write(b"other %%d\n" %% i)
    if i %% 10 == 0:
        n = i // 10
        with open("%%s/listed-%%d" %% (w, n), "wb") as f:
            f.write(b"kill test, listed file number %%d\n" %% n * 3)
    worst = max(worst, time.monotonic() - t)
    ahead = begin + seconds * i / others - time.monotonic()
    if ahead > 0:
        time.sleep(ahead)
print("%%.3f" %% worst)
""" % (LISTED, OTHERS)


def running_ampmon(pids):
    """Of the guard and the supervisor proper, the latter: it has children of other names."""
    for name in ("ampmon+", "ampmon"):
        if name not in pids:
            continue
        guard = suite.pidfile()
        if pids[name] != guard:
            return pids[name]
    return None


def kill_one(room):
    pids = suite.pids()
    pid = running_ampmon(pids) if room == "ampmon" else pids.get(room)
    if not pid:
        return False
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True


def case_kill_every_room_while_files_are_written():
    seconds = 60
    killed = dict.fromkeys(ROOMS, 0)
    p = subprocess.Popen([sys.executable, "-c", WRITER, w, str(seconds), "."], stdout=subprocess.PIPE)
    rnd = random.Random(int(os.environ.get("AMP_SEED", "5")))
    end = time.monotonic() + seconds
    turn = 0
    # At most 8 a minute and role: seven rooms in turn, one kill every 1.3 s or slower.
    while p.poll() is None:
        room = ROOMS[turn % len(ROOMS)]
        turn += 1
        if killed[room] < 8 and time.monotonic() < end:
            killed[room] += kill_one(room)
        time.sleep(1.0 + rnd.random() * 0.6)
        check(time.monotonic() < end + harness.SOON, "the writer hangs")
    worst = float(p.stdout.read())
    check(p.returncode == 0, "writer: %d" % p.returncode)
    check(worst < 5, "one write took %.1f s" % worst)
    print("# killed %r, longest write %.3f s" % (killed, worst), flush=True)
    for room in ROOMS:
        check(killed[room] >= 3, "%s was killed only %d times" % (room, killed[room]))
    suite.wait_ready(120)
    suite.wait_idle(120)
    rows = wait_for("all detections", lambda: _complete(), 120)
    by_path = {}
    for r in rows:
        by_path.setdefault(r["path"], []).append(r)
    twice = {k: len(v) for k, v in by_path.items() if len(v) > 1}
    check(not twice, "more than once: %r" % dict(list(twice.items())[:5]))
    strange = [k for k in by_path if not k.startswith(w + "/listed-")]
    check(not strange, "not listed: %r" % strange[:5])
    check(len(by_path) == LISTED, "%d of %d" % (len(by_path), LISTED))


def _complete():
    rows = suite.detections()
    return rows if len({r["path"] for r in rows}) >= LISTED else None


def case_protection_is_back():
    path = write(w + "/listed-again", content(1))
    suite.wait_detected(path, 30)
    st = suite.status()
    check(not [r for r in st["repairs"] if r["state"] in ("waiting", "walking", "failed")], "repairs: %r" % st["repairs"])


def case_a_room_that_dies_too_often_is_throttled():
    """Eleven deaths within a minute: a fault, a pause; then it is back and the fault is cleared."""
    for i in range(11):
        pid = wait_for("an ampcloudd", lambda: suite.pids().get("ampcloudd"), 70, 0.01)
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        wait_for("its end", lambda: suite.pids().get("ampcloudd") != pid, 10, 0.005)
    fault = wait_for("fault 1", lambda: [f for f in (suite.status() or {}).get("faults", []) if f["number"] == 1], 20)
    check("ampcloudd" in fault[0]["detail"] and fault[0]["remedy"], "fault: %r" % fault)
    path = write(w + "/while-throttled", content(2))
    suite.wait_ready(180)
    suite.wait_detected(path, 60)
    wait_for("the fault to clear", lambda: not [f for f in suite.status()["faults"] if f["number"] == 1], 180)


harness.main(globals())
