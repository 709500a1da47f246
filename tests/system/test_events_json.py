"""events.json: every row of the history once and in order, whatever is rotated, killed or full."""

import json
import os
import random
import re
import signal
import stat
import time

import harness
from harness import check, eicar, wait_for, write


# As many files as there may be at most hold all lines of these tests, however slowly they come.
LOG_MAX_SIZE, LOG_KEEP = 160 << 10, 100
TURNS, FILES_OF_A_TURN = 12, 900


def setup(base):
    global suite, w, logs
    w = harness.mount_tmpfs(base + "/w")
    logs = harness.mount_tmpfs(base + "/suite/log", "mode=755,size=64m")
    suite = harness.Suite(base, [w], mode="audit", heartbeat_interval=1, heartbeat_timeout=15,
                          log_max_size=LOG_MAX_SIZE, log_keep=LOG_KEEP)
    suite.lists["blocked.list"] = ["%s Test.Events" % harness.sha256(b"listed")]
    suite.configure()
    suite.start()


def teardown():
    suite.cleanup()


def ids():
    """Of the history, the oldest first."""
    return [r["id"] for r in reversed(suite.history())]


kills = 0  # so far


def begins(torn, line):
    """Written again, a line is another one from the time of its writing on."""
    return line.startswith(torn.split(b'"created":')[0])


def lines():
    """Of all files; one that is no JSON is an error. A SIGKILL may leave the beginning of one, before it comes."""
    found, torn, torn_in_all = [], [], 0
    for line in suite.events_lines():
        try:
            found.append(json.loads(line))
        except ValueError:
            torn.append(line)
            continue
        check(all(begins(t, line) for t in torn), "no JSON: %r, then %r" % (torn, line))
        torn_in_all, torn = torn_in_all + len(torn), []
    check(not torn and torn_in_all <= kills, "no JSON: %r; %d of %d kills" % (torn, torn_in_all, kills))
    return found


def agree():
    return [l["event"]["id"] for l in lines()] == ids()


def counter(name):
    return suite.counters().get("ampcloudd.events_json." + name, 0)


def check_all():
    wait_for("all rows in events.json", agree, 180, 0.5)
    numbers = [l["event"]["sequence"] for l in lines()]
    check(numbers == sorted(set(numbers)), "order")


def case_a_detection_in_ecs_words():
    path = write(w + "/eicar", eicar())
    row = suite.wait_detected(path)[0]
    line = wait_for("its line", lambda: [l for l in lines() if l["event"]["id"] == row["id"]])[0]
    check(line["event"]["kind"] == "alert" and "malware" in line["event"]["category"], "event: %r" % line["event"])
    check(line["event"]["action"] == "threat_detected" and line["event"]["severity"] == 3, "event: %r" % line["event"])
    check(line["@timestamp"] == row["time"], "%s, not %s" % (line["@timestamp"], row["time"]))
    check(line["file"]["path"] == path and line["file"]["hash"]["sha256"] == harness.EICAR_SHA256, "file: %r" % line["file"])
    check(line["labels"]["detection_id"] == row["detection_id"] and line["labels"]["mode"] == "audit", "labels")
    check(re.fullmatch(r"[0-9a-f-]{36}", line["host"]["id"]), "host: %r" % line["host"])
    check(line["user"]["id"] == "0" and line["process"]["pid"] == os.getpid(), "process: %r" % line.get("process"))
    print("# %s" % suite.events_lines()[-1].decode(), flush=True)


def case_for_root_alone():
    st = os.stat(suite.log + "/events.json")
    check(stat.S_IMODE(st.st_mode) == 0o600 and st.st_uid == 0, "mode %o, uid %d" % (st.st_mode, st.st_uid))


def case_a_name_that_is_no_text():
    name = os.fsencode(w) + b"/no \xff text\n"
    write(name, eicar())
    line = wait_for("its line", lambda: [l for l in lines() if "path_bytes" in l.get("file", {})])[0]
    check(bytes.fromhex(line["file"]["path_bytes"]) == name, "%r" % line["file"])
    check(line["file"]["path"].endswith("/no \\xff text\\x0a"), "%r" % line["file"])


def kill_one(turn):
    """ampcloudd or ampmon, once it is there."""
    def kill():
        pid = suite.supervisor() if turn % 4 == 3 else suite.pids().get("ampcloudd")
        try:
            if pid:
                os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            return False
        return bool(pid)

    global kills
    wait_for("whom to kill", kill, pause=0.01)
    kills += 1


def case_rotated_while_ampcloudd_and_ampmon_are_killed():
    rnd = random.Random(int(os.environ.get("AMP_SEED", "5")))
    n = 0
    for turn in range(TURNS):  # not so often that a room is held back
        end = time.monotonic() + 3 + rnd.random() * 2
        while time.monotonic() < end:
            for i in range(20):
                if n < (turn + 1) * FILES_OF_A_TURN:
                    write("%s/listed-%d" % (w, n), b"listed")
                    n += 1
            time.sleep(0.1)
        kill_one(turn)
    suite.wait_ready(120)
    suite.wait_idle(120)
    check_all()
    files = [f for f in os.listdir(suite.log) if f.startswith("events.json")]
    check(len(files) > 5, "rotated: %r" % files)
    check(not counter("pruned_unwritten"), "pruned before they were written")
    print("# %d lines in %d files, %d kills" % (len(lines()), len(files), kills), flush=True)


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
    wait_for("their detections", lambda: set(paths) <= {r["path"] for r in suite.detections()}, pause=0.5)
    check(not agree(), "the disk is not full")
    wait_for("the count of what waits", lambda: counter("waiting"))
    os.unlink(filler)
    check_all()


def case_stopped_and_started():
    suite.stop()
    suite.start()
    write(w + "/after", b"listed")
    suite.wait_detected(w + "/after")
    check_all()


harness.main(globals())
