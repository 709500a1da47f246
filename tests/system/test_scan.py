"""Scans on demand (issue "The engine", point 6).

A tree of 50,000 files (AMP_SCAN_FILES: other numbers; fewer on a busy machine) scanned, stopped,
paused, resumed, with every process killed in turn: each file judged, threats
dealt with once, totals equal find's. What is no file, what changes meanwhile,
exit codes, the schedule, running programs.
"""

import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time

import harness
from harness import check, run, wait_for, write

# Where others have the processors (so says gentle.c) a scan has an eighth of its share.
LOADED = os.getloadavg()[0] > 2 * os.cpu_count()
FILES = int(os.environ.get("AMP_SCAN_FILES", "10000" if LOADED else "50000"))
BELOW = 500  # files of a directory
INFECTED = 12
PROGRAM = "#include <unistd.h>\nint main(void) { for (;;) pause(); }\n"


def setup(base):
    global suite, w, defs, program
    w = harness.mount_tmpfs(base + "/w", "mode=1777,exec")
    harness.mount_tmpfs(w + "/mounts/below")
    harness.compile_c(PROGRAM, base + "/program", "-static")
    program = open(base + "/program", "rb").read()
    defs = harness.definitions(base + "/definitions", harness.md5_line(program, "Amp.Test.Program"))
    # What lay there before the first start only a scan finds.
    make_tree(w + "/tree")
    write(w + "/program", program, 0o755)
    harness.let_age()
    new_suite("scan")


def new_suite(name, mode="protect", **policy):
    global suite
    suite = harness.Suite(harness.BASE, [w, w + "/mounts/below"], name=name, mode=mode, engine="on", definitions=[defs])
    suite.policy.update(dict({"scan_cpu": 100}, **policy))
    suite.configure()
    suite.start()
    suite.wait_engine()


def teardown():
    suite.cleanup()


def make_tree(top):
    rnd = random.Random(6)
    bad = set(rnd.sample(range(FILES), INFECTED))
    for i in range(FILES):
        d = "%s/%03d/%02d" % (top, i // BELOW // 10, i // BELOW % 10)
        if i % BELOW == 0:
            os.makedirs(d)
        with open("%s/%d" % (d, i), "wb") as f:
            f.write(harness.infected(i) if i in bad else b"clean %d\n" % i)


def scan_cpu(percent):
    suite.policy["scan_cpu"] = percent
    suite.configure()
    suite.reload()
    wait_for("the policy", lambda: [p for p in suite.asked("policy", "list")[1] or []
                                    if p["in_force"] and p["scan_cpu"] == percent])


def totals(top):
    """(files, bytes) by find."""
    sizes = run("find", top, "-xdev", "-type", "f", "-printf", "%s\\n").stdout.split()
    return len(sizes), sum(map(int, sizes))


def infected_below(top):
    r = run("grep", "-rlF", harness.BODY.decode(), top, check=False)
    return sorted(r.stdout.decode().split("\n")[:-1])


def start(*argv):
    code, doc = suite.cli("scan", "start", *argv)
    check(code == 0 and doc and doc["id"], "scan start: exit %d, %r" % (code, doc))
    return doc["id"]


def show(ident):
    """Whoever answers may just have been killed."""

    def answer():
        doc = suite.asked("scan", "show", str(ident))[1]
        return doc if doc and "files" in doc else None

    return wait_for("an answer to scan show", answer)


def wait_state(ident, *states, seconds=harness.SOON):
    def reached():
        doc = show(ident)
        return doc if doc.get("state") in states else None

    return wait_for("scan %s to be %s" % (ident, " or ".join(states)), reached, seconds)


def wait_done(ident):
    """However long it takes: as long as it goes on."""
    files = -1
    while True:
        doc = wait_for("scan %s to go on" % ident, lambda: (lambda d: d if d.get("state") == "done"
                                                           or d["files"] != files else None)(show(ident)), 180, 0.5)
        if doc["state"] == "done":
            return doc
        files = doc["files"]


def counts(doc):
    return {k: v for k, v in doc["counts"].items() if v}


def control(what, ident):
    code, doc = suite.cli("scan", what, str(ident))
    check(code == 0, "scan %s: exit %d, %r" % (what, code, doc))
    return doc


# -- the tree ----------------------------------------------------------------------


def case_pause_resume_and_every_process_killed():
    top = w + "/tree"
    files, size = totals(top)
    bad = infected_below(top)
    check((files, len(bad)) == (FILES, INFECTED), "the tree: %d files, %d infected" % (files, len(bad)))
    # So slowly that there is something left for each, however long the looks take.
    scan_cpu(5)
    ident = start(top)
    wait_for("it to have begun", lambda: show(ident)["files"] > 0)
    control("pause", ident)
    wait_state(ident, "paused")
    suite.wait_idle()
    stands = show(ident)["files"]
    time.sleep(2)
    check(show(ident)["files"] == stands < files, "paused, yet it went on: %d, %d" % (stands, show(ident)["files"]))
    control("resume", ident)
    for victim in ("ampscand", "ampread+++", "ampengine", "zygote", "ampread", "worker", "ampquard", "ampcloudd", "ampmon"):
        doc = wait_state(ident, "running", "done")
        check(FILES < 50000 or doc["state"] == "running", "done before %s was killed" % victim)
        kill(victim)
        time.sleep(0.3)
    scan_cpu(100)
    doc = wait_done(ident)
    expect_dealt_with_once(bad)
    # After ampmon's death a repair looks at what is new, and may take threats before the scan is there.
    earlier = {r["path"] for r in suite.detections() if r["path"] in bad and r["cause"] != "scan"}
    taken = files - doc["files"]
    check(0 <= taken <= len(earlier) and size - doc["bytes"] <= 100 * taken, "%d files, %d bytes; find: %d, %d; %d taken" % (
        doc["files"], doc["bytes"], files, size, len(earlier)))
    seen = counts(doc)
    check(seen.pop("vanished", 0) <= taken and seen == {"clean": FILES - INFECTED}, "counted: %r" % doc)
    check(doc["threats"] == INFECTED - taken, "threats: %r" % doc)


def processes_of(victim):
    room, zygotes = suite.engine()
    if victim == "zygote":
        return list(zygotes)
    if victim == "worker":
        return [p for workers in zygotes.values() for p in workers][:1]
    if victim == "ampmon":
        return [suite.supervisor()]
    if victim.startswith("ampread"):
        numbers = {s["name"]: s["pid"] for s in (suite.status() or {}).get("services", [])}
        return [numbers.get("ampread/3" if victim.endswith("+") else "ampread")]
    return [suite.pids().get(victim)]


def kill(victim):
    """Whoever was there is dead; who is not yet there again after the one before is waited for."""

    def killed():
        pids = [pid for pid in processes_of(victim) if pid]
        try:
            for pid in pids:
                os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            return False
        return pids

    pids = wait_for("%s to kill" % victim, killed)
    wait_for("the end of %s" % victim, lambda: not [p for p in pids if harness.alive(p)])


def expect_dealt_with_once(bad):
    suite.wait_ready()
    suite.wait_idle()
    try:
        wait_for("them to be taken", lambda: not [p for p in bad if os.path.exists(p)])
    except harness.Failed as e:
        raise harness.Failed("%s; %s" % (e, what_became_of([p for p in bad if os.path.exists(p)])))

    def outcomes():
        rows = [r for r in suite.history("threat_quarantined") if r["path"] in bad]
        return rows if len(rows) >= len(bad) else None

    rows = wait_for("an outcome of each", outcomes)
    check(sorted(r["path"] for r in rows) == bad, "taken more than once: %r" % [r["path"] for r in rows])
    found = sorted(r["path"] for r in suite.detections() if r["path"] in bad)
    check(found == bad, "found: %r" % found)
    entries = [e for e in suite.cli("quarantine", "list", "--limit", "0")[1] if e["path"] in bad]
    check(len(entries) == len(bad), "%d in the vault" % len(entries))


def what_became_of(paths):
    """Of files that are still there: what the history and the scan say."""
    rows = [r for r in suite.history() if r.get("path") in paths]
    return "left: %r; history: %r; scans: %r; status: %r" % (paths, rows, suite.cli("scan", "list")[1], suite.status())


def case_the_same_tree_again():
    """Nothing is read that is known and has not changed."""
    top = w + "/tree"
    files, size = totals(top)
    begin = time.monotonic()
    code, doc = suite.scan("start", top, seconds=600)
    check(code == 0 and (doc["files"], doc["bytes"]) == (files, size), "exit %d: %r" % (code, doc))
    # What a process that was killed knew is gone with it.
    code, doc = suite.scan("start", top, seconds=600)
    check(code == 0 and doc["cached"] == doc["files"] == files, "exit %d: %r" % (code, doc))
    check(counts(doc) == {"clean": files}, "counted: %r" % doc)
    print("# %d files, twice again: %.1f s" % (files, time.monotonic() - begin), flush=True)


def case_stop():
    write(w + "/tree/changed", b"so that there is something to do\n")
    walker = {s["name"]: s["pid"] for s in suite.status()["services"]}["ampread/3"]
    os.kill(walker, signal.SIGSTOP)  # however long it takes to say stop, it is not done by then
    try:
        ident = start(w + "/tree")
        control("stop", ident)
    finally:
        os.kill(walker, signal.SIGCONT)
    wait_state(ident, "stopped")
    suite.wait_idle()
    doc = show(ident)
    time.sleep(1)
    check(show(ident)["files"] == doc["files"] and doc["ended"], "it went on: %r" % show(ident))
    code, _ = suite.cli("scan", "resume", str(ident))
    check(code != 0, "resumed what was stopped")


def case_listed():
    code, doc = suite.asked("scan", "list")
    check(code == 0 and len(doc) >= 4, "list: %d %r" % (code, doc))
    numbers = [d["id"] for d in doc]
    check(numbers == sorted(numbers, reverse=True) and len(set(numbers)) == len(numbers), "ids: %r" % numbers)
    status = suite.status()
    check(status["last_scan"] and status["last_scan"] != "none", "status: %r" % status["last_scan"])


# -- what is no file, and what others do to it ----------------------------------------


def case_what_is_no_file():
    """Counted by its kind, never opened: a FIFO's writer goes on waiting, a device is not touched."""
    top = w + "/odd"
    os.makedirs(top + "/sub/sub")
    write(top + "/sub/file", b"one\n")
    write(top + "/sub/sub/file", b"two\n")
    os.symlink("..", top + "/sub/up")
    os.symlink("self", top + "/self")
    os.symlink("/etc/passwd", top + "/passwd")
    os.symlink(top, top + "/sub/sub/round")
    os.mkfifo(top + "/fifo")
    os.mknod(top + "/null", 0o666 | 0o020000, os.makedev(1, 3))
    os.mknod(top + "/disk", 0o600 | 0o060000, os.makedev(7, 63))
    with socket.socket(socket.AF_UNIX) as s:
        s.bind(top + "/socket")
    writer = subprocess.Popen(["sh", "-c", "echo waits > %s/fifo" % top])
    try:
        code, doc = suite.scan("start", top)
        check(code == 0, "exit %d: %r" % (code, doc))
        check(counts(doc) == {"clean": 2, "symlink": 4, "special": 4} and doc["files"] == 2, "counted: %r" % doc)
        check(writer.poll() is None, "the FIFO was opened")
    finally:
        writer.kill()
        writer.wait()
    rows = suite.cli("scan", "show", str(doc["id"]), "--files")[1]["not_clean"]
    kinds = {os.path.basename(r["path"]): r["kind"] for r in rows}
    check(kinds.get("fifo") == kinds.get("socket") == "special", "files: %r" % rows)


def case_a_link_given_is_followed():
    write(w + "/odd/linked", b"linked\n")
    os.symlink(w + "/odd/linked", w + "/link")
    code, doc = suite.scan("start", w + "/link")
    check(code == 0 and doc["files"] == 1, "exit %d: %r" % (code, doc))
    shutil.rmtree(w + "/odd")


def case_proc_and_sys():
    """They end, whatever is in them."""
    for top in ("/proc/self", "/proc/sys/kernel", "/sys/kernel", "/dev"):
        code, doc = suite.scan("start", top)
        check(code in (0, 2) and doc and doc["state"] in ("done", "failed"), "%s: exit %d: %r" % (top, code, doc))
    check(suite.status()["protected"], "status: %r" % suite.status())


REWRITER = r"""
import os, sys, time
top, body = sys.argv[1], sys.argv[2].encode()
n = 0
while True:
    for i in range(40):
        with open("%s/%d" % (top, i), "wb") as f:
            f.write(b"infected " + body if (n + i) % 2 else b"clean " + b"." * 4000)
        with open("%s/clean-%d" % (top, i), "wb") as f:
            f.write(b"always clean %d " % n * (n % 300))
        try:
            os.rename("%s/moving-%d" % (top, n % 2), "%s/moving-%d" % (top, (n + 1) % 2))
            os.truncate("%s/clean-%d" % (top, i), n % 50)
        except OSError:
            pass
    n += 1
"""


def case_files_that_change_under_the_scan():
    """No crash, and never a word on content that was not there: what is always clean stays."""
    top = w + "/changing"
    os.makedirs(top + "/moving-0/below")
    for i in range(200):
        write("%s/moving-0/below/%d" % (top, i), b"moves %d\n" % i)
    before = suite.pids()
    p = subprocess.Popen([sys.executable, "-c", REWRITER, top, harness.BODY.decode()])
    try:
        wait_for("the writer", lambda: os.path.exists(top + "/clean-39"))
        end, threats = time.monotonic() + 6, 0
        while time.monotonic() < end or not threats and time.monotonic() < end + harness.SOON:
            code, doc = suite.scan("start", top)
            check(doc and doc["state"] == "done" and code in (0, 1, 2), "exit %d: %r" % (code, doc))
            threats += doc["threats"]
        check(p.poll() is None, "the writer died")
        check(threats > 0, "no scan saw an infected file")
    finally:
        p.kill()
        p.wait()
    suite.wait_idle(120)
    rows = [r for r in suite.detections() if r["path"].startswith(top + "/")]
    wrong = [r for r in rows if "/clean-" in r["path"] or "/below/" in r["path"]]
    check(not wrong, "convicted: %r" % wrong[:3])
    clean = harness.sha256(b"clean " + b"." * 4000)
    check(not [r for r in rows if r["sha256"] == clean], "clean content convicted")
    check(len(os.listdir(top + "/moving-0/below" if os.path.exists(top + "/moving-0") else top + "/moving-1/below")) == 200,
          "some are gone")
    check(suite.pids() == before, "somebody died: %r %r" % (before, suite.pids()))
    wait_for("what is infected at the end to be taken", lambda: not [p for p in infected_below(top) if ".amp-" not in p])


# -- where, when, what -----------------------------------------------------------------


def case_exit_codes():
    top = w + "/codes"
    os.makedirs(top + "/clean")
    write(top + "/clean/file", b"clean\n")
    check(suite.scan("start", top + "/clean")[0] == 0, "clean")
    code, doc = suite.scan("start", top + "/nonexistent")
    check(code == 2, "nothing there: exit %d: %r" % (code, doc))
    outside = harness.mount_tmpfs(harness.BASE + "/outside")
    write(outside + "/file", harness.infected("codes"))
    code, doc = suite.scan("start", top + "/clean", outside)
    check(code == 1 and doc["files"] == 2 and doc["threats"] == 1, "infected: exit %d: %r" % (code, doc))
    # Nobody watches there: that it was found is on record, and what became of it.
    suite.wait_detected(outside + "/file")
    wait_for("an outcome", lambda: not os.path.exists(outside + "/file")
             or [r for r in suite.history("quarantine_failed") if r["path"] == outside + "/file"])
    check(suite.cli("scan", "start", "relative", user="nobody")[0] != 0, "somebody else than root")


def case_one_file_system():
    top = w + "/mounts"
    write(top + "/file", b"here\n")
    write(top + "/below/file", b"there\n")
    code, doc = suite.scan("start", top)
    check(code == 0 and doc["files"] == 2, "all: exit %d: %r" % (code, doc))
    code, doc = suite.scan("start", "--one-file-system", top)
    check(code == 0 and doc["files"] == 1 and counts(doc).get("mount") == 1, "one: exit %d: %r" % (code, doc))


def case_flash_finds_what_runs():
    """Started before the suite: no event told of it."""
    suite.stop()
    path = write(w + "/program-running", program, 0o755)
    p = subprocess.Popen([path])
    try:
        new_suite("flash", mode="audit")
        time.sleep(1)
        code, doc = suite.scan("flash")
        check(code == 1 and doc["threats"] >= 1 and doc["kind"] == "flash", "exit %d: %r" % (code, doc))
        suite.wait_detected(path)
    finally:
        p.kill()
        p.wait()


def case_the_schedule():
    """Once a scan that begins within the next minute or two, by itself."""
    suite.stop()
    at = time.localtime(time.time() + 65)
    new_suite("schedule", scan_schedule=["flash daily %02d:%02d" % (at.tm_hour, at.tm_min)])

    def begun():
        rows = [d for d in suite.cli("scan", "list")[1] or [] if d["scheduled"]]
        return rows

    rows = wait_for("a scheduled scan", begun, 300)
    check(len(rows) == 1 and rows[0]["kind"] == "flash", "scans: %r" % rows)


harness.main(globals())
