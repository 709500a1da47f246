"""The thinnest path through all processes: one file, one row in history."""

import os
import signal

import harness
from harness import check, eicar, sha256, wait_for, write


def setup(base):
    global suite, w
    w = harness.mount_tmpfs(base + "/w")
    suite = harness.Suite(base, [w])
    suite.start()


def teardown():
    suite.cleanup()


def case_a_listed_file_is_one_row():
    path = write(w + "/test file", eicar())
    rows = suite.wait_detected(path)
    suite.wait_idle()
    rows = suite.detections(path)
    check(len(rows) == 1, "rows: %r" % rows)
    row = rows[0]
    check(row["sha256"] == harness.EICAR_SHA256 == sha256(eicar()), "sha256: %r" % row)
    check(row["process"] and row["process"]["pid"] == os.getpid(), "process: %r" % row["process"])
    check(row["detection"] == "EICAR-Test-File", "name: %r" % row["detection"])
    check(row["cause"] in ("write", "link") and row["mode"] == "protect", "row: %r" % row)


def case_other_files_are_none():
    for i in range(50):
        write("%s/clean-%d" % (w, i), b"clean %d" % i)
    suite.wait_idle()
    check(not [r for r in suite.detections() if "clean" in r["path"]], "clean files in history")


def case_a_moved_directory_is_in_hand_until_it_was_walked():
    """Before its files are told there is no event of them that could be counted."""
    os.makedirs(w + "/directory/below")
    write(w + "/directory/below/clean", b"clean\n")
    suite.wait_idle()
    walker = suite.service("ampread/2")["pid"]  # for repairs and moves
    os.kill(walker, signal.SIGSTOP)
    try:
        os.rename(w + "/directory", w + "/moved")
        moves = lambda: suite.counters().get("ampscand.walk.moved_directories", 0)
        wait_for("the move to be seen", moves)
        check(suite.status()["jobs"] == 1, "in hand: %r" % suite.status()["jobs"])
    finally:
        os.kill(walker, signal.SIGCONT)
    suite.wait_idle()


def case_stops_without_leaving_processes():
    suite.stop()
    # Who was killed at last may need a moment to die.
    wait_for("the last of %r to go" % suite.pids(), lambda: not suite.pids())


harness.main(globals())
