"""A room that has been taken over, on each of its links in turn: what it sends
is dropped and counted, it is replaced, nobody else takes harm (issue point 8).

What is sent is in the tables below; stage.py has who plays whom.
"""

import os
import signal
import subprocess
import time

import harness
import wire
from harness import check, wait_for, write
from stage import (ACCUSATIONS_MAX, CONTENT, ENUM, FDS, GARBAGE, LONG, UTF8, Bad, Stage, binary_of, counter, fault, fds_of,
                   framing, listed, state, to_ampmon)
from wire import body, field, message

UUID = "0123abcd-0000-4000-8000-00000000%04x"

def identity(path):
    st = os.stat(path)
    return body((1, st.st_ino), (2, st.st_size), (3, st.st_mtime_ns), (4, st.st_ctime_ns),
                (5, os.major(st.st_dev)), (6, os.minor(st.st_dev)), (7, st.st_mode), (8, st.st_uid), (9, st.st_nlink))


NO_FILE = body((1, 0x7FFFFFFF), (2, 1), (3, 1), (4, 1), (5, 8), (7, 0o100755), (9, 1))


def kill(ident=UUID % 1, sha=None, file=NO_FILE, pid=0, interpreter=b"", path=b"/x",
         seen=(1 << 63) - 1):
    sha = bytes.fromhex(harness.sha256(listed(0))) if sha is None else sha
    return body((1, ident), (2, sha), (3, file), (5, pid), (6, interpreter), (7, path), (9, seen))


ONLY_AMPSCAND = [
    Bad("epoch to come", message(wire.POLICY_ACK, body((1, 1 << 40))), CONTENT),
    Bad("repair nobody asked for", message(wire.REPAIR_STATE, body((1, 1 << 40), (2, 2))), CONTENT),
    Bad("state out of range", message(wire.REPAIR_STATE, body((1, 1), (2, 9))), ENUM),
    Bad("repair since before 1970", message(wire.REPAIR_WANTED, body((2, -1), (3, "x"))), CONTENT),
    Bad("kill without a file", message(wire.KILL, kill(file=b"")), CONTENT),
    Bad("kill with a short hash", message(wire.KILL, kill(sha=b"\x11" * 31)), CONTENT),
    Bad("kill without a detection", message(wire.KILL, kill(ident="all of them")), CONTENT),
    Bad("kill of pid -1", message(wire.KILL, kill(pid=-1)), CONTENT),
    Bad("kill with too long a path", message(wire.KILL, kill(path=b"/" * 32769)), CONTENT),
    Bad("huge kill", message(wire.KILL, kill(path=b"/" * 60000)), LONG),
    Bad("kill with a descriptor", message(wire.KILL, kill()), FDS, fds=1),
]


def result(job, status=1, sha=b"\x22" * 32):
    return body((1, job), (2, status), (5, NO_FILE), (6, sha))


def done(*results):
    return message(wire.READ_DONE, b"".join(field(1, r) for r in results))


READ_TO_SCAND = [b for b in framing(wire.READ_DONE, field(1, result(1)), wire.EVENT, wire.READ) if b.why] + [
    Bad("READ_DONE of no job", done(result(1 << 40)), CONTENT),
    Bad("READ_DONE of job 0", done(result(0)), CONTENT),
    Bad("READ_DONE of 65 results", done(*[result(1)] * 65), CONTENT),
    Bad("status out of range", done(result(1, status=99)), ENUM),
    Bad("a descriptor that no result speaks of", done(result(1)), CONTENT, fds=1),
    Bad("entries of no walk", message(wire.WALK_ENTRIES, body((1, 77), (2, "/x"))), CONTENT),
    Bad("end of no walk", message(wire.WALK_DONE, body((1, 77), (2, 5))), CONTENT),
    Bad("end of a walk, too long", message(wire.WALK_DONE, body((1, 1), (5, "x" * 5000))), LONG),
]

ACK = field(1, [1 << 40])
CLOUD_TO_SCAND = [b for b in framing(wire.EVENT_ACK, ACK, wire.READ_DONE, wire.EVENT) if b.why] + [
    Bad("a descriptor", message(wire.EVENT_ACK, ACK), FDS, fds=1),
]


def item(job=1, want=2, mount="/", handle=b"\1" * 8, index=0):
    return body((1, job), (2, want), (3, 5), (4, mount), (5, body((1, 1), (2, handle)) if handle else b""), (7, index))


def read(*items):
    return message(wire.READ, b"".join(field(1, i) for i in items))


def walk(ident, mount="/"):
    return message(wire.WALK, body((1, ident), (2, 5), (3, mount)))


SCAND_TO_READ = [b for b in framing(wire.READ, field(1, item()), wire.EVENT, wire.READ_DONE) if b.why] + [
    Bad("65 items", read(*[item()] * 65), CONTENT),
    Bad("nothing wanted", read(item(want=0)), CONTENT),
    Bad("want out of range", read(item(want=77)), ENUM),
    Bad("relative mount point", read(item(mount="x")), CONTENT),
    Bad("mount point with NUL", read(item(mount=b"/x\0y")), CONTENT),
    Bad("mount point too long", read(item(mount=b"/" * 33000)), CONTENT),
    Bad("a descriptor that did not come", read(item(index=3)), CONTENT, fds=1),
    Bad("handle too long", read(item(handle=b"\1" * 129)), CONTENT),
    Bad("no handle", read(item(handle=b"")), CONTENT),
    Bad("a walk twice", walk(9), CONTENT, count=2),
    Bad("walk with a descriptor", walk(9), FDS, fds=1),
    Bad("credit, too long", message(wire.WALK_CREDIT, b"\0" * 65), LONG),
]


def event(uid="hostile/1", kind="threat_detected", time_ns=1, severity=1, detection="", path=b"/x", sha=b"", pid=0):
    return body((1, uid), (2, kind), (3, time_ns), (4, severity), (5, detection), (7, path), (9, sha),
                (11, body((2, pid))))


def bad_event(name, **kw):
    return Bad(name, message(wire.EVENT, event(**kw)), CONTENT)


SCAND_TO_CLOUD = [b for b in framing(wire.EVENT, event(), wire.READ, wire.EVENT_ACK) if b.why] + [
    Bad("a descriptor", message(wire.EVENT, event()), FDS, fds=1),
    Bad("not UTF-8", message(wire.EVENT, event(uid=b"\xff")), UTF8),
    bad_event("no uid", uid=""),
    bad_event("uid too long", uid="x" * 129),
    bad_event("uid of an occurrence", uid="x#2"),
    bad_event("type of no word", kind="Drop Table"),
    bad_event("time before 1970", time_ns=-1),
    bad_event("severity 5", severity=5),
    bad_event("short hash", sha=b"\1" * 31),
    bad_event("path with NUL", path=b"/x\0/y"),
    bad_event("path too long", path=b"/" * 32769),
    bad_event("negative pid", pid=-4),
]

# ampcloudd may not even have so many.
next(b for b in SCAND_TO_CLOUD if b.fds == 253).why = "descriptors did not all arrive"


def handle(content=b"\1" * 8):
    return body((1, 1), (2, content))


FILE = body((1, 7), (2, 1), (3, 1), (4, 1), (5, 8), (7, 0o100644), (9, 1))


def take(ident=UUID % 1, file=handle(), sha=b"\x22" * 32, known=FILE, detection="Test.Taken", path=b"/x/y",
         directory=handle(b"\2" * 8), name=b"y", time_ns=1, cause="written", process=b""):
    return body((1, ident), (2, 5), (3, file), (4, sha), (5, known), (6, detection), (7, path), (9, directory),
                (10, name), (11, time_ns), (12, cause), (13, process))


def bad_take(what, **kw):
    return Bad("take: " + what, message(wire.TAKE, take(**kw)), CONTENT)


def opened(file=2, directory=0, path=b"", error=0):
    return body((1, file), (2, directory), (3, path), (4, error))


def bad_opened(what, why=CONTENT, fds=0, **kw):
    return Bad("opened: " + what, message(wire.OPENED, opened(**kw)), why, fds=fds)


LONGEST = b"/" * 32769

SCAND_TO_QUARD = framing(wire.TAKE, take(), wire.EVENT, wire.OPEN) + [
    Bad("two descriptors", message(wire.TAKE, take()), FDS, fds=2),
    bad_take("no detection", ident=""),
    bad_take("a detection that is none", ident="-" * 36),
    bad_take("a path for a detection", ident="../../../../../../../../../etc/shadow"),
    bad_take("no handle", file=b""),
    bad_take("a handle of nothing", file=body((1, 1))),
    bad_take("a handle too long", file=handle(b"\1" * 129)),
    bad_take("a short hash", sha=b"\1" * 31),
    bad_take("a long hash", sha=b"\1" * 33),
    bad_take("no identity", known=b""),
    bad_take("a mode that there is not", known=body((1, 7), (7, 1 << 20))),
    bad_take("a detection's name too long", detection="x" * 256),
    bad_take("a relative path", path=b"x/y"),
    bad_take("a path with NUL", path=b"/x\0/y"),
    bad_take("a path too long", path=LONGEST),
    bad_take("a directory's handle too long", directory=handle(b"\1" * 129)),
    bad_take("a name with a slash", name=b"../y"),
    bad_take("a name with NUL", name=b"y\0"),
    bad_take("the directory itself", name=b"."),
    bad_take("the directory above", name=b".."),
    bad_take("a name too long", name=b"y" * 256),
    bad_take("a time before 1970", time_ns=-1),
    bad_take("a cause of no word", cause="Drop Table"),
    bad_take("a cause too long", cause="x" * 65),
    bad_take("a negative pid", process=body((2, -4))),
    bad_take("a program's path too long", process=body((4, b"/" * 8193))),
    Bad("take: a name that is not UTF-8", message(wire.TAKE, take(detection=b"\xff")), UTF8),
    bad_opened("a status there is not", ENUM, file=9),
    bad_opened("a directory's status there is not", ENUM, directory=-1),
    bad_opened("a file that did not come", file=1),
    bad_opened("one of two", fds=1, file=1, directory=1),
    bad_opened("a descriptor nobody speaks of", fds=1),
    bad_opened("two where one is meant", fds=2, file=1),
    bad_opened("three", FDS, fds=3, file=1, directory=1),
    bad_opened("a relative path", path=b"x"),
    bad_opened("a path with NUL", path=b"/x\0"),
    bad_opened("a path too long", path=LONGEST),
    bad_opened("a path far too long", LONG, path=b"/" * 40000),
    Bad("a killed with words", message(wire.KILLED_AGAIN, field(1, "x")), LONG),
    Bad("an acknowledgement with a descriptor", message(wire.ALLOW_ACK), FDS, fds=1),
]


def kill_again(ident=UUID % 1, file=handle(), sha=b"\x22" * 32, known=FILE, detection="Test.Taken", path=b"/x/y"):
    return body((1, ident), (2, 5), (3, file), (4, sha), (5, known), (6, detection), (7, path))


def bad_kill(what, why=CONTENT, fds=0, **kw):
    return Bad("kill again: " + what, message(wire.KILL_AGAIN, kill_again(**kw)), why, fds=fds)


def allow(*hashes, **flags):
    return message(wire.ALLOW, b"".join(field(1, h) for h in hashes)
                   + body((2, flags.get("begin", 0)), (3, flags.get("end", 0)), (4, flags.get("revoke", 0))))


OPEN_IT = body((1, 5), (2, handle()))
HASH = b"\x44" * 32

QUARD_TO_SCAND = framing(wire.OPEN, OPEN_IT, wire.EVENT, wire.TAKE) + [
    Bad("open: a descriptor", message(wire.OPEN, OPEN_IT), FDS, fds=1),
    Bad("open: nothing", message(wire.OPEN, body((1, 5))), CONTENT),
    Bad("open: a handle too long", message(wire.OPEN, body((1, 5), (2, handle(b"\1" * 129)))), CONTENT),
    Bad("open: a handle of nothing", message(wire.OPEN, body((1, 5), (2, body((1, 1))))), CONTENT),
    Bad("open: a directory's handle too long", message(wire.OPEN, body((1, 5), (3, handle(b"\1" * 129)))), CONTENT),
    Bad("open: more than it may", message(wire.OPEN, body((1, 5), (2, handle(b"\1" * 128)), (3, b"\1" * 600))), LONG),
    bad_kill("no detection", ident=""),
    bad_kill("a detection that is none", ident="x" * 36),
    bad_kill("no handle", file=b""),
    bad_kill("a handle too long", file=handle(b"\1" * 129)),
    bad_kill("a short hash", sha=b"\1" * 31),
    bad_kill("no identity", known=b""),
    bad_kill("a mode that there is not", known=body((1, 7), (7, 1 << 20))),
    bad_kill("a detection's name too long", detection="x" * 300),
    bad_kill("a path with NUL", path=b"/x\0/y"),
    bad_kill("a path too long", path=LONGEST),
    bad_kill("a path far too long", LONG, path=b"/" * 40000),
    bad_kill("a descriptor", FDS, fds=1),
    Bad("judge: no handle", message(wire.JUDGE_AGAIN, body((1, 5), (3, "/x"))), CONTENT),
    Bad("judge: a relative path", message(wire.JUDGE_AGAIN, body((1, 5), (2, handle()), (3, "x"))), CONTENT),
    Bad("judge: a path with NUL", message(wire.JUDGE_AGAIN, body((1, 5), (2, handle()), (3, b"/x\0"))), CONTENT),
    Bad("judge: a path too long", message(wire.JUDGE_AGAIN, body((1, 5), (2, handle()), (3, LONGEST))), CONTENT),
    Bad("allow: a short hash", allow(b"\1" * 31), CONTENT),
    Bad("allow: a long hash", allow(HASH, b"\1" * 33), CONTENT),
    Bad("allow: 513", allow(*[HASH] * 513), CONTENT),
    Bad("allow: a list that is revoked", allow(HASH, begin=1, revoke=1), CONTENT),
    Bad("allow: a list that ends revoked", allow(HASH, end=1, revoke=1), CONTENT),
    Bad("allow: far too many", allow(*[HASH] * 1500), LONG),
    Bad("allow: a descriptor", allow(HASH), FDS, fds=1),
    Bad("257 acknowledgements", message(wire.TAKE_ACK, field(1, list(range(257)))), CONTENT),
    Bad("far too many acknowledgements", message(wire.TAKE_ACK, b"\x0a" * 9000), LONG),
]


def setup(base):
    global suite, w, stage
    stage = Stage(base)
    suite, w = stage.suite, stage.w


def teardown():
    suite.cleanup()


# -- the links -------------------------------------------------------------------------


def case_ampread_to_ampmon():
    stage.run_table("ampread", "ampmon", to_ampmon("ampread"))


def case_ampcloudd_to_ampmon():
    stage.run_table("ampcloudd", "ampmon", to_ampmon("ampcloudd"))


def case_ampscand_to_ampmon():
    stage.run_table("ampscand", "ampmon", to_ampmon("ampscand") + ONLY_AMPSCAND)


def case_ampread_to_ampscand():
    stage.run_table("ampread", "ampscand", READ_TO_SCAND)


def case_ampcloudd_to_ampscand():
    stage.run_table("ampcloudd", "ampscand", CLOUD_TO_SCAND)


def case_ampscand_to_ampread():
    stage.run_table("ampscand", "ampread", SCAND_TO_READ)


def case_ampscand_to_ampcloudd():
    stage.run_table("ampscand", "ampcloudd", SCAND_TO_CLOUD)


def case_ampquard_to_ampmon():
    stage.run_table("ampquard", "ampmon", to_ampmon("ampquard"))


def case_ampscand_to_ampquard():
    stage.run_table("ampscand", "ampquard", SCAND_TO_QUARD)


def case_ampcloudd_to_ampquard():
    stage.run_table("ampcloudd", "ampquard", CLOUD_TO_SCAND)


def case_ampquard_to_ampscand():
    stage.run_table("ampquard", "ampscand", QUARD_TO_SCAND)


def case_ampquard_to_ampcloudd():
    stage.run_table("ampquard", "ampcloudd", SCAND_TO_CLOUD)


# -- answers to what was asked, but not so ----------------------------------------------


def asked_job(n):
    """A number that ampscand waits for from the hostile ampread: files are written until it has one."""
    log = "pid %d ready" % stage.pid

    def look():
        text = suite.log_text("ampread").split(log)[-1]
        jobs = [int(l.split("asked ")[1].split()[0]) for l in text.splitlines() if "hostile: asked" in l]
        if not jobs:
            look.files += 1
            write("%s/ask-%d-%d" % (w, n, look.files), b"ask %d %d" % (n, look.files))
        return jobs

    look.files = 0
    return wait_for("a job of the hostile reader", look)[-1]


def case_ampread_answers_wrongly():
    """Twice, or with what is no hash: what was asked is asked of another, no file is missed."""
    stage.prepare("ampread", "ampscand")
    answers = [
        ("twice", lambda job: done(result(job, 5), result(job, 5))),  # BUSY
        ("with half a hash", lambda job: done(result(job, 1, sha=b"\1" * 16))),
        ("with no status", lambda job: done(result(job, 0))),
    ]
    for n, (name, make) in enumerate(answers):
        stage.prepare("ampread", "ampscand")
        paths = [write("%s/wrong-%d-%d" % (w, n, i), listed(40 + i)) for i in range(4)]
        job = asked_job(n)
        before = state()
        stage.send("ampscand", make(job))
        stage.expect_replaced("ampscand", before, CONTENT)
        stage.restore()
        for path in paths:
            suite.wait_detected(path)


def case_answers_nobody_asked_for_are_counted():
    """Acknowledgements may cross a link's end: dropped and counted, nobody dies."""
    many = message(wire.EVENT_ACK, field(1, [1 << 40, 7, 0]))
    stage.prepare("ampcloudd", "ampscand")
    for link, table in (("ampscand", 10000), ("ampmon", 10000)):
        told = counter(link, "outbox.unasked_ack")
        stage.unharmed(link, many, count=table)
        wait_for("all to be counted by %s" % link,
                 lambda: counter(link, "outbox.unasked_ack") >= told + 3 * table - 3)
    stage.restore()


# -- what is allowed, but too much or of no use --------------------------------------------


def case_telemetry_floods():
    """10,000 of what a room may say as often as it likes: nobody dies, ampmon answers."""
    stage.prepare("ampscand", "ampmon")
    future = message(wire.CONCLUDED, body((1, 1 << 62)))
    rows = [
        ("scan state", message(wire.SCAN_STATE, body((1, 1 << 60), (2, 1 << 60)))),
        ("concluded in a hundred years", future),
        ("concluded before 1970", message(wire.CONCLUDED, body((1, -5)))),
        ("fault", message(wire.FAULT, fault(16, detail="y" * 3000))),
        ("clear a fault that does not stand", message(wire.FAULT, fault(12, raised=False))),
        ("repair of a file system there is not", message(wire.REPAIR_WANTED, body((1, 12345), (3, "x")))),
        ("repair of all, from the future", message(wire.REPAIR_WANTED, body((2, 1 << 62), (3, "x")))),
    ]
    for name, data in rows:
        begin = time.monotonic()
        _, after = stage.unharmed("ampmon", data, count=10000)
        check(after.repairs <= 64 and len(after.faults) < 10, "%s: %r" % (name, vars(after)))
        check(time.monotonic() - begin < 15, "%s took %.1f s" % (name, time.monotonic() - begin))
    stage.restore()
    check(state().protected, "not protected")


def case_faults_raised_and_cleared_in_turn():
    """Each change is a row of the history: who floods it is replaced."""
    stage.prepare("ampread", "ampmon")
    before = state()
    for _ in range(500):
        for raised in (True, False):
            stage.send("ampmon", message(wire.FAULT, fault(16, raised)))
    stage.expect_replaced("ampmon", before, "it raises and clears faults too often")
    stage.restore()

    def rows():
        return [r for r in suite.history("fault_raised") if "16 " in r["detail"] and "(ampread)" in r["detail"]]

    # ampmon has 16 of them under way at a time.
    wait_for("all of them to be committed", lambda: len(rows()) >= 60)
    check(len(rows()) == 60, "%d rows" % len(rows()))


def case_events_that_flood():
    """The same 10,000 times is one row; 10,000 of their own are rows, and ampmon's are not lost among them."""
    stage.prepare("ampscand", "ampcloudd")
    stage.unharmed("ampcloudd", message(wire.EVENT, event(uid="hostile/same", kind="hostile_same")), count=10000)
    wait_for("one row", lambda: len(suite.history("hostile_same")) == 1)
    wait_for("all to be taken", lambda: counter("ampcloudd", "events.received") >= 10000)
    check(len(suite.history("hostile_same")) == 1, "rows: %d" % len(suite.history("hostile_same")))
    stage.restore()


def case_descriptors_are_closed():
    """READ may carry four: a thousand messages with four and no item leave none open."""
    stage.prepare("ampscand", "ampread/1")
    pid = state().pids["ampread/1"]
    before = fds_of(pid)
    stage.unharmed("ampread/1", message(wire.READ), fds=4, count=1000)
    # Of 4,000; its own end of the link may have come to it only now.
    wait_for("all to be closed", lambda: fds_of(pid) <= before + 2)
    for name, data in (
        ("credit", message(wire.WALK_CREDIT, body((1, 1 << 40), (2, 1)))),
        ("cancel", message(wire.WALK_CANCEL, body((1, 1 << 40)))),
        ("reads of nothing", read(item(mount="/nonexistent"))),
    ):
        stage.unharmed("ampread/1", data, count=10000)
    stage.restore()


# -- the keeper ----------------------------------------------------------------------------


def asked_open():
    """The number of the last OPEN that the hostile ampscand was asked; None: of none."""
    text = suite.log_text("ampscand").split("pid %d ready" % stage.pid)[-1]
    jobs = [int(l.split("asked ")[1].split()[0]) for l in text.splitlines() if "hostile: asked" in l]
    return jobs[-1] if jobs else None


def case_ampscand_tells_ampquard_what_nobody_asked_for():
    """Answers to no question: counted, what came with them is closed, nobody dies."""
    stage.prepare("ampscand", "ampquard")
    pid = state().pids["ampquard"]
    before = fds_of(pid)
    told = counter("ampquard", "quarantine.unasked_answer")
    # It has 512 descriptors: more than they hold at once would be a broken protocol.
    rows = [(2, 100, message(wire.OPENED, opened(1, 1), ident=1 << 40))] * 8
    rows += [(1, 200, message(wire.OPENED, opened(1), ident=1 << 40)),
             (0, 1000, message(wire.KILLED_AGAIN, ident=1 << 40))]
    for fds, n, data in rows:
        stage.unharmed("ampquard", data, fds=fds, count=n)
        told += n
        wait_for("all to be counted", lambda: counter("ampquard", "quarantine.unasked_answer") == told)
    stage.unharmed("ampquard", message(wire.ALLOW_ACK, ident=1 << 40), count=1000)
    stage.unharmed("ampquard", message(wire.TAKE, take(UUID % 0x70), ident=7), count=1000)
    wait_for("all descriptors to be closed", lambda: fds_of(pid) <= before + 2)
    stage.restore()


def case_ampscand_passes_another_file():
    """What it passes is not the file that was to be taken: it stays what it is, and so does its directory."""
    stage.prepare("ampscand", "ampquard")
    log = suite.log + "/ampscand.log"
    before = os.stat(log)
    failed = counter("ampquard", "quarantine.failed")
    stage.send("ampquard", message(wire.TAKE, take(UUID % 0x71, file=handle(b"\3" * 8), name=b"ampscand.log"), ident=8))
    job = wait_for("a question", asked_open)
    stage.send("ampquard", message(wire.OPENED, opened(1, 1), ident=job), fds=2)
    wait_for("its refusal", lambda: counter("ampquard", "quarantine.failed") > failed)
    after = os.stat(log)
    check((before.st_ino, before.st_nlink, before.st_mode) == (after.st_ino, after.st_nlink, after.st_mode)
          and after.st_size >= before.st_size, "the log is another: %r, before %r" % (after, before))
    names = os.listdir(suite.log)
    check(not [n for n in names if n.startswith(".amp-")], "left over: %r" % names)
    stage.restore()


def case_ampscand_floods_ampquard():
    """3,000 files there are not, each its own: the keeper answers, or who asks is replaced; then it works."""
    stage.prepare("ampscand", "ampquard")
    pid = state().pids["ampquard"]
    with open(suite.bin + "/hostile.go", "a") as f:
        for n in range(3000):
            data = message(wire.TAKE, take("0123abcd-0000-4000-8000-1%011x" % n, file=handle(b"%08d" % n)), ident=n + 1)
            f.write("%d ampquard 1 0 %s\n" % (stage.pid, data.hex()))
    wait_for("some to be taken down", lambda: counter("ampquard", "quarantine.requests") >= 1000, 60)
    check(state().pids["ampquard"] == pid, "the keeper died")
    stage.restore()
    check(state().pids["ampquard"] == pid, "the keeper died")


def case_ampquard_asks_without_end():
    """More questions in hand than it may have: it is replaced."""
    for data in (message(wire.OPEN, OPEN_IT), message(wire.KILL_AGAIN, kill_again())):
        stage.prepare("ampquard", "ampscand")
        before = state()
        stage.send("ampscand", data, count=20000)
        st = wait_for("its end", lambda: state().restarts["ampquard"] > before.restarts["ampquard"]
                      or "hostile: sent" in suite.log_text("ampquard").split("pid %d ready" % stage.pid)[-1])
        st = state()
        others = {k: v for k, v in before.pids.items() if k != "ampquard"}
        check(others == {k: v for k, v in st.pids.items() if k != "ampquard"}, "others died: %r" % st.pids)
        stage.deaths["ampquard"] += 1
        stage.accusations["ampscand"] = ACCUSATIONS_MAX
        stage.restore()


def case_ampquard_acknowledges_what_it_was_not_sent():
    stage.prepare("ampquard", "ampscand")
    told = counter("ampscand", "act.take_unasked_ack")
    stage.unharmed("ampscand", message(wire.TAKE_ACK, field(1, [1 << 40, 1 << 41])), count=1000)
    wait_for("all to be counted", lambda: counter("ampscand", "act.take_unasked_ack") == told + 2000)
    stage.unharmed("ampscand", message(wire.JUDGE_AGAIN, body((1, 5), (2, handle()), (3, "/x"))), count=10000)
    stage.restore()


def case_ampquard_wants_bystanders_dead():
    """A second kill pass is of content on the list only, also if the keeper asks for it."""
    stage.prepare("ampquard", "ampscand")
    path, p = victim()
    try:
        told = state().counters.get("kill.refused", 0)
        stage.unharmed("ampscand", message(wire.KILL_AGAIN, kill_again(UUID % 0x72, sha=b"\x33" * 32,
                                                                       known=identity(path))))
        wait_for("its refusal", lambda: state().counters.get("kill.refused", 0) > told)
        check(p.poll() is None, "the bystander was killed")
    finally:
        p.kill()
        p.wait()
    stage.restore()


# -- kills --------------------------------------------------------------------------------


def refused(n, data):
    told = state().counters.get("kill.refused", 0)
    stage.unharmed("ampmon", data, count=n)
    return wait_for("%d refusals" % n, lambda: state().counters.get("kill.refused", 0) >= told + n)


def victim():
    path = write(suite.base + "/victim", harness.program_bytes("victim"), 0o755)
    return path, subprocess.Popen([path, "600"])


def case_kills_that_ampmon_must_not_do():
    stage.prepare("ampscand", "ampmon")
    path, p = victim()
    try:
        # Not on the list: refused, whoever it is.
        for pid in (1, p.pid, suite.pidfile()):
            refused(1, message(wire.KILL, kill(sha=b"\x33" * 32, file=identity(path), pid=pid)))
        refused(5000, message(wire.KILL, kill(sha=b"\x33" * 32, file=identity(path), pid=p.pid)))
        # On the list, but of processes that are nobody's to kill.
        signalled = state().counters.get("kill.signalled", 0)
        for n, pid in enumerate([1] + list(suite.pids().values())):
            exe = identity("/proc/%d/exe" % pid)
            data = kill(ident=UUID % (100 + n), pid=pid, interpreter=exe, file=NO_FILE)
            stage.unharmed("ampmon", message(wire.KILL, data))
        # A pid that runs something else is not signalled either.
        stage.unharmed("ampmon", message(wire.KILL, kill(ident=UUID % 200, pid=p.pid, interpreter=identity("/bin/true"))))
        time.sleep(0.3)
        check(p.poll() is None, "the bystander was killed")
        # The same request of a process that is nobody's: so it was not the form that saved the others.
        stage.unharmed("ampmon", message(wire.KILL, kill(ident=UUID % 201, pid=p.pid, interpreter=identity(path))))
        check(p.wait(harness.SOON) == -signal.SIGKILL, "ended with %r" % p.returncode)
        wait_for("its count", lambda: state().counters.get("kill.signalled", 0) > signalled)
        check(state().counters["kill.signalled"] == signalled + 1, "somebody else was signalled")
    finally:
        if p.poll() is None:
            p.kill()
            p.wait()
    stage.restore()


def case_kills_that_flood():
    """5,000 at once that ampmon has to look into: those beyond its bound are refused, it stays alive."""
    stage.prepare("ampscand", "ampmon")
    begin = time.monotonic()
    stage.unharmed("ampmon", message(wire.KILL, kill(ident=UUID % 300, pid=1)), count=5000)
    state()
    check(time.monotonic() - begin < 20, "took %.1f s" % (time.monotonic() - begin))
    stage.restore()


# -- peers ----------------------------------------------------------------------------------


def generation(link):
    text = suite.log_text(binary_of(stage.label))
    mark = "pid %d link %s generation " % (stage.pid, link)
    return int(text.rsplit(mark, 1)[1].split()[0])


def accusation(gen):
    return message(wire.PEER_HOSTILE, body((1, 2), (3, gen), (4, "it is\x1b[31m not")))


def case_accusations():
    """Of a generation that is gone: dropped. Who accuses too often goes itself."""
    stage.prepare("ampread", "ampscand")
    stage.unharmed("ampmon", accusation(generation("ampscand") + 7))
    for n in range(ACCUSATIONS_MAX):
        pid = state().pids["ampscand"]
        gen = generation("ampscand")
        stage.send("ampmon", accusation(gen))
        stage.deaths["ampscand"] = stage.deaths.get("ampscand", 0) + 1
        stage.await_successor("ampscand", pid)
        wait_for("a new link", lambda: generation("ampscand") > gen)
    st = state()
    detail = [d for n, d in st.faults if n == 4 and d.startswith("ampscand: ")]
    check(detail and "\x1b" not in detail[0], "fault: %r" % st.faults)
    before = state()
    stage.send("ampmon", accusation(generation("ampscand")))
    stage.expect_replaced("ampmon", before, "it called its peers hostile too often")
    stage.restore()


def case_links_closed_by_who_lives_on():
    """Nobody waits for ever for a peer that took its end away: it is replaced."""
    for label in ("ampread", "ampcloudd", "ampquard"):
        stage.prepare(label, "ampscand")
        before = state()
        stage.command("ampscand close")
        stage.expect_replaced("ampscand", before, "it closed its link and lives on", seconds=100)
        stage.restore()


harness.main(globals())
