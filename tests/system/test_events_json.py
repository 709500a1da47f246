"""events.json: every row of the history once and in order, whatever is rotated, killed or full."""

import os
import random
import re
import signal
import stat
import time

import harness
from harness import check, eicar, wait_for, write


def setup(base):
    global suite, w, logs
    w = harness.mount_tmpfs(base + "/w")
    logs = harness.mount_tmpfs(base + "/suite/log", "mode=755,size=64m")
    suite = harness.Suite(base, [w], mode="audit", heartbeat_interval=1, heartbeat_timeout=15,
                          log_max_size=16384, log_keep=100)
    suite.lists["blocked.list"] = ["%s Test.Events" % harness.sha256(b"listed")]
    suite.configure()
    suite.start()


def teardown():
    suite.cleanup()


def ids():
    """Of the history, the oldest first."""
    return [r["id"] for r in reversed(suite.history())]


def lines():
    """Of all files; one that is no JSON is an error."""
    return suite.events_json()


def agree():
    return [l["event"]["id"] for l in lines()] == ids()


def counter(name):
    return suite.counters().get("ampcloudd.events_json." + name, 0)


def check_all():
    wait_for("all rows in events.json", agree, 30, 0.5)
    numbers = [l["event"]["sequence"] for l in lines()]
    check(numbers == sorted(set(numbers)), "order")


def case_a_detection_in_ecs_words():
    path = write(w + "/eicar", eicar())
    row = suite.wait_detected(path)[0]
    line = wait_for("its line", lambda: [l for l in lines() if l["event"]["id"] == row["id"]], 20)[0]
    check(line["event"]["kind"] == "alert" and "malware" in line["event"]["category"], "event: %r" % line["event"])
    check(line["event"]["action"] == "threat_detected" and line["event"]["severity"] == 3, "event: %r" % line["event"])
    check(line["@timestamp"] == row["time"], "%s, not %s" % (line["@timestamp"], row["time"]))
    check(line["file"]["path"] == path and line["file"]["hash"]["sha256"] == harness.EICAR_SHA256, "file: %r" % line["file"])
    check(line["labels"]["detection_id"] == row["detection_id"] and line["labels"]["mode"] == "audit", "labels")
    check(re.fullmatch(r"[0-9a-f-]{36}", line["host"]["id"]), "host: %r" % line["host"])
    check(line["user"]["id"] == "0" and line["process"]["pid"] == os.getpid(), "process: %r" % line.get("process"))
    print("# %s" % open(suite.log + "/events.json").read().splitlines()[-1], flush=True)


def case_for_root_alone():
    st = os.stat(suite.log + "/events.json")
    check(stat.S_IMODE(st.st_mode) == 0o600 and st.st_uid == 0, "mode %o, uid %d" % (st.st_mode, st.st_uid))


def case_a_name_that_is_no_text():
    name = os.fsencode(w) + b"/no \xff text\n"
    write(name, eicar())
    line = wait_for("its line", lambda: [l for l in lines() if "path_bytes" in l.get("file", {})], 20)[0]
    check(bytes.fromhex(line["file"]["path_bytes"]) == name, "%r" % line["file"])
    check(line["file"]["path"].endswith("/no \\xff text\\x0a"), "%r" % line["file"])


def supervisor(pids):
    """ampmon itself, not its guard, which is the one of the pid file."""
    mine = [p for n, p in pids.items() if n.startswith("ampmon") and p != suite.pidfile()]
    return mine[0] if mine else None


def kill_one(turn):
    pids = suite.pids()
    pid = supervisor(pids) if turn % 4 == 3 else pids.get("ampcloudd")
    try:
        if pid:
            os.kill(pid, signal.SIGKILL)
    except OSError:
        pid = None
    return 1 if pid else 0


def case_rotated_while_ampcloudd_and_ampmon_are_killed():
    rnd = random.Random(int(os.environ.get("AMP_SEED", "5")))
    killed = n = 0
    for turn in range(12):  # not so often that a room is held back
        end = time.monotonic() + 3 + rnd.random() * 2
        while time.monotonic() < end:
            for i in range(20):
                write("%s/listed-%d" % (w, n), b"listed")
                n += 1
            time.sleep(0.05)
        killed += kill_one(turn)
    check(killed > 8, "killed %d" % killed)
    suite.wait_ready(120)
    suite.wait_idle(120)
    check_all()
    files = [f for f in os.listdir(suite.log) if f.startswith("events.json")]
    check(len(files) > 5, "rotated: %r" % files)
    check(not counter("pruned_unwritten"), "pruned before they were written")
    print("# %d lines in %d files, %d kills" % (len(lines()), len(files), killed), flush=True)


def case_a_full_disk():
    """Events are kept and shown; the file goes on where it was when there is space."""
    filler = suite.log + "/filler"
    with open(filler, "wb", buffering=0) as f:
        try:
            while True:
                f.write(b"x" * 4096)
        except OSError:
            pass
    paths = [write("%s/full-%d" % (w, i), b"listed") for i in range(100)]
    for path in paths:
        suite.wait_detected(path)
    check(not agree(), "the disk is not full")
    wait_for("the count of what waits", lambda: counter("waiting"), 20)
    os.unlink(filler)
    check_all()


def case_stopped_and_started():
    suite.stop()
    suite.start()
    write(w + "/after", b"listed")
    suite.wait_detected(w + "/after")
    check_all()


harness.main(globals())
