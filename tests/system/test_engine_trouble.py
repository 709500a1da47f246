"""Workers that crash, hang, lie; processes that are killed; signatures that are wrong
(issue "The engine", points 2 and 5).

tests/system/ampengine-seam is ampengine with a worker that does what a file
that begins with "AMP-TEST-..." tells it to (engine_seam.c).
"""

import glob
import os
import random
import shutil
import signal
import subprocess
import sys
import time

import harness
from harness import check, run, wait_for, write

SEAM = {"ampengine": "tests/system/ampengine-seam"}
DAY = 24 * 3600
# What the machine stands on, as far as it is here.
FOUNDATIONS = ("/lib/x86_64-linux-gnu/libc.so.6", "/lib64/ld-linux-x86-64.so.2", "/usr/sbin/sshd", "/bin/bash")


def setup(base):
    global suite, w, defs
    w = harness.mount_tmpfs(base + "/w", "mode=1777,exec")
    defs = harness.definitions(base + "/definitions")
    suite = new_suite("seam", programs=SEAM)


def new_suite(name, mode="protect", dirs=None, watch=None, **settings):
    s = harness.Suite(harness.BASE, [watch or w], name=name, mode=mode, engine="on", definitions=dirs or [defs],
                      **settings)
    s.start()
    s.wait_engine()
    return s


def another_suite(*args, **settings):
    global suite
    suite.stop()
    suite = new_suite(*args, **settings)


def teardown():
    suite.cleanup()


def directory(name):
    os.makedirs("%s/%s" % (w, name))
    return "%s/%s" % (w, name)


def clean(i):
    return b"clean file number %d\n" % i


def mixture(top, first, n, every):
    """n files, one of `every` infected; the paths of these."""
    bad = []
    for i in range(first, first + n):
        path = "%s/%d" % (top, i)
        if i % every == 0:
            bad.append(path)
            write(path, harness.infected("%s %d" % (top, i)))
        else:
            write(path, b"%s " % top.encode() + clean(i))
    return bad


def detected_below(top):
    found = {}
    for r in suite.detections():
        if r["path"].startswith(top + "/"):
            found[r["path"]] = found.get(r["path"], 0) + 1
    return found


def expect_exactly(top, bad, seconds=harness.SOON):
    """Those are found, once each, and taken; nothing else is."""
    wait_for("%d infected files" % len(bad), lambda: set(bad) <= set(detected_below(top)), seconds)
    suite.wait_idle(seconds)
    found = detected_below(top)
    check(set(found) == set(bad), "clean, yet found: %r" % sorted(set(found) - set(bad))[:5])
    twice = {p: n for p, n in found.items() if n > 1}
    check(not twice, "more than once: %r" % twice)
    wait_for("them to be taken", lambda: not [p for p in bad if os.path.exists(p)], seconds)


def unscannable(path):
    return [r for r in suite.history("file_unscannable") if r["path"] == path]


# -- workers that come to harm (point 2) ----------------------------------------


def trouble(trigger, seconds=harness.SOON):
    """A file that harms its worker: recorded, not convicted; others are judged all the same."""
    top = directory(trigger)
    bad = mixture(top, 0, 40, 10)
    path = write(top + "/trigger", b"AMP-TEST-%s of this test\n" % trigger.encode())
    bad += mixture(top, 100, 40, 10)
    rows = wait_for("it to be unscannable", lambda: unscannable(path), seconds)
    check(len(rows) == 1, "recorded: %r" % rows)
    expect_exactly(top, bad)
    check(os.path.exists(path), "an error convicted it")
    wait_for("fault 20", lambda: suite.fault(20))
    check(suite.status()["protected"] and suite.definitions().get("state") == "ready", "status: %r" % suite.status())
    code, doc = suite.scan("start", path)
    counts = {k: v for k, v in doc["counts"].items() if v}
    check(code == 2 and counts == {"unscannable": 1}, "scan: exit %d, %r" % (code, doc))


def case_a_worker_crashes():
    room, _ = suite.engine()
    restarts = suite.definitions()["restarts"]
    trouble("CRASH")
    check(suite.engine()[0] == room, "the room died")
    wait_for("its workers' ends to be counted", lambda: suite.definitions().get("restarts", 0) >= restarts + 2)


def case_a_worker_loops():
    """It has its time, and once more on a fresh one; the others do not wait for it."""
    top = directory("while-it-loops")
    begin = time.monotonic()
    path = write(w + "/loop", b"AMP-TEST-LOOP of this test\n")
    bad = mixture(top, 0, 60, 6)
    wait_for("the infected ones", lambda: set(bad) <= set(detected_below(top)))
    check(not unscannable(path), "the others waited for it, or it was not tried for long")
    wait_for("it to be unscannable", lambda: unscannable(path), 400)
    check(time.monotonic() - begin > 130, "given up after %.0f s" % (time.monotonic() - begin))
    expect_exactly(top, bad)
    check(os.path.exists(path), "an error convicted it")


def case_a_worker_wants_memory():
    trouble("MEMORY")


def case_a_worker_breaks_its_filter():
    trouble("SYSCALL")


def case_a_worker_forks():
    trouble("FORK")


def case_a_worker_leaves():
    trouble("EXIT")


# -- liars (point 2) -----------------------------------------------------------------


def case_a_liar_says_clean():
    """What it let pass is found afterwards."""
    another_suite("seam-clean", programs=SEAM)
    top = directory("liar-clean")
    seen = suite.counters()
    trigger = write(top + "/trigger", b"AMP-TEST-TURN-LIAR-CLEAN of this test\n")
    suite.wait_idle()
    os.unlink(trigger)  # judged again it would make another liar
    bad = mixture(top, 0, 200, 1)
    suite.wait_idle()
    # One word in 64 is looked at twice: should none have been of its, it is ended by a crash.
    if not suite.fault(20):
        write(top + "/crash", b"AMP-TEST-CRASH of the liar\n")
    expect_exactly(top, bad)
    now = suite.counters()
    grown = {k: v - seen.get(k, 0) for k, v in now.items() if v != seen.get(k, 0)}
    check(suite.fault(20), "nobody disagreed: %r" % grown)


def case_a_liar_convicts():
    """Its word alone moves nothing and kills nobody."""
    another_suite("seam-bad", programs=SEAM)
    program = write(w + "/bystander", harness.program_bytes("bystander"), 0o755)
    suite.wait_idle()
    top = directory("liar-bad")
    write(top + "/trigger", b"AMP-TEST-TURN-LIAR-BAD of this test\n")
    suite.wait_idle()
    p = subprocess.Popen([program, "600"])
    try:
        paths = [write("%s/%d" % (top, i), b"not bad at all %d\n" % i) for i in range(100)]
        os.utime(program)
        suite.wait_idle()
        wait_for("fault 20", lambda: suite.fault(20))
        check(not detected_below(w), "convicted: %r" % detected_below(w))
        check(all(os.path.exists(q) for q in paths) and os.path.exists(program), "taken")
        check(p.poll() is None, "killed")
    finally:
        p.kill()
        p.wait()
    expect_exactly(top, mixture(top, 200, 20, 5))


# -- processes that are killed (point 2) ------------------------------------------


# The last of the files wait for the word that enough were killed.
WRITER = r"""
import os, sys, time
top, n, seconds, body = sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), sys.argv[4].encode()
begin = time.monotonic()
for i in range(n):
    if i == n - n // 10:
        sys.stdin.read()
    with open("%s/%d" % (top, i), "wb") as f:
        f.write(b"%s %d: " % (top.encode(), i) + (body if i % 10 == 0 else b"clean") + b"\n")
    ahead = begin + seconds * i / n - time.monotonic()
    if ahead > 0:
        time.sleep(ahead)
"""


def kill_while_files_are_written(name, victims, n=1500, seconds=15, pause=1.5, at_least=5):
    """victims(): pids to kill. Every infected file is found once, no clean one is touched."""
    top = directory(name)
    p = subprocess.Popen([sys.executable, "-c", WRITER, top, str(n), str(seconds), harness.BODY.decode()],
                         stdin=subprocess.PIPE)
    killed, end = 0, time.monotonic() + 5 * harness.SOON
    while p.poll() is None:
        if killed >= at_least:
            p.stdin.close()
        check(time.monotonic() < end, "killed %d only" % killed)
        for pid in victims():
            try:
                os.kill(pid, signal.SIGKILL)
                killed += 1
            except ProcessLookupError:
                pass
        time.sleep(pause)
    check(p.returncode == 0 and killed >= at_least, "writer %d, killed %d" % (p.returncode, killed))
    # Behind all else on a busy machine it takes long to begin anew.
    suite.wait_ready(180)
    suite.wait_engine(seconds=180)
    expect_exactly(top, ["%s/%d" % (top, i) for i in range(0, n, 10)], 180)
    left = [i for i in range(n) if i % 10 and not os.path.exists("%s/%d" % (top, i))]
    check(not left, "clean, yet gone: %r" % left[:5])


def case_workers_are_killed():
    another_suite("kills")
    rnd = random.Random(int(os.environ.get("AMP_SEED", "5")))

    def some_workers():
        workers = [pid for pids in suite.engine()[1].values() for pid in pids]
        return rnd.sample(workers, (len(workers) + 1) // 2)

    kill_while_files_are_written("workers", some_workers, pause=0.3)


def case_zygotes_are_killed():
    # One that dies is made again after a while that grows.
    kill_while_files_are_written("zygotes", lambda: list(suite.engine()[1]), at_least=3)


def case_the_room_is_killed():
    kill_while_files_are_written("room", lambda: [pid for pid in [suite.engine()[0]] if pid], pause=2)


def case_ampscand_dies_while_the_engine_is_away():
    """What was decided by the lists meanwhile is judged again by the engine, though who knew of it is dead."""
    another_suite("away")
    top = directory("away")
    # Without its program it cannot come again before the test says so.
    program, room = suite.bin + "/ampengine", suite.engine()[0]
    os.rename(program, program + "-away")
    os.kill(room, signal.SIGKILL)
    wait_for("it to be away", lambda: not harness.alive(room) and suite.service("ampengine")["state"] == "throttled")
    path = write(top + "/bad", harness.infected("away"))
    suite.wait_events_read()
    wait_for("its decision", lambda: suite.status().get("jobs") == 0)
    check(not detected_below(top), "the engine was not away")
    old = suite.pids()["ampscand"]
    os.kill(old, signal.SIGKILL)
    wait_for("its successor", lambda: suite.pids().get("ampscand") not in (None, old))
    os.rename(program + "-away", program)
    suite.wait_ready(180)
    suite.wait_engine(seconds=180)
    expect_exactly(top, [path])


# -- what a wrong signature must not do (point 5) --------------------------------------


def own_inode_over(path, directory):
    """The same content there, but a file of this test's own: a mistake would cost nobody anything."""
    real = os.path.realpath(path)
    copy = "%s/%s" % (directory, os.path.basename(real))
    shutil.copy2(real, copy)
    run("mount", "--bind", copy, real)
    return real


def case_foundations():
    """Each convicted by a signature: critical fault, nothing moved, nobody killed."""
    top = harness.mount_tmpfs(harness.BASE + "/foundations", "mode=755,exec")
    paths = [own_inode_over(p, top) for p in FOUNDATIONS if os.path.exists(p)]
    check(len(paths) >= 3, "only %r" % paths)
    found = harness.BASE + "/wrong"
    own = harness.BASE + "/wrong-suite/bin/ampcli"
    another_suite("wrong-suite", dirs=[defs, harness.definitions(found)], watch=top)
    paths += [own, own.replace("ampcli", "ampscand")]
    lines = [harness.md5_line(open(p, "rb").read(), "Amp.Wrong.%d" % i) for i, p in enumerate(paths)]
    # A program of nobody's with the same signature is taken: it is the inode that counts.
    stranger = write(top + "/stranger", open(paths[0], "rb").read())
    before = {p: os.stat(p) for p in paths}
    shell = subprocess.Popen(["/bin/bash", "-c", "read line"], stdin=subprocess.PIPE)
    pids = suite.pids()
    try:
        harness.put(found + "/wrong.hdb", "\n".join(lines) + "\n")
        suite.wait_engine(2)
        for p in paths:
            code, doc = suite.scan("start", p)
            check(code == 1 and doc["threats"] == 1, "%s: exit %d, %r" % (p, code, doc))
            wait_for("a fault of %s" % p, lambda: suite.fault(21))
            wait_for("a record of %s" % p, lambda: [r for r in suite.history("foundation_convicted")
                                                    if os.path.basename(r["path"]) == os.path.basename(p)])
        critical = [f for f in suite.status()["faults"] if f["number"] == 21]
        check(critical and critical[0]["severity"] == "critical" and critical[0]["remedy"], "fault: %r" % critical)
        # On access too.
        os.close(os.open(top + "/" + os.path.basename(paths[0]), os.O_WRONLY))
        os.rename(stranger, stranger + "-again")
        wait_for("the stranger to be taken", lambda: not os.path.exists(stranger + "-again"))
        suite.wait_idle()
        for p, st in before.items():
            now = os.stat(p)
            check((now.st_ino, now.st_size, now.st_nlink) == (st.st_ino, st.st_size, st.st_nlink), "%s was touched" % p)
        check(shell.poll() is None, "bash was killed")
        check({k: v for k, v in suite.pids().items() if k != "ampengine"}
              == {k: v for k, v in pids.items() if k != "ampengine"}, "of the suite somebody was killed")
        acted = lambda: [r for r in suite.history() if r["type"] in ("threat_quarantined", "process_killed")]
        rows = wait_for("the stranger's record", acted)
        check(len(rows) == 1, "acted: %r" % rows)
    finally:
        shell.kill()
        shell.wait()
        for p in paths:
            harness.umount(p)


def case_foundations_in_an_upgrade():
    """The new file lies beside the old until it is renamed over it: taken meanwhile, the machine would lack it."""
    top = "/usr/lib/openssh" if os.path.isdir("/usr/lib/openssh") else "/usr/libexec/openssh"
    check(os.path.isdir(top), "no openssh-server here")
    harness.mount_tmpfs(top, "mode=755,exec")
    old = write(top + "/sshd-session", b"the old one\n", 0o755)
    another_suite("upgrade", watch=top)
    try:
        names = [old + ".dpkg-new", old + ";66f2a0c1", top + "/sshd-auth.dpkg-new"]
        for i, p in enumerate(names):
            write(p, harness.infected("new %d" % i))
            wait_for("%s in the history" % p, lambda: [r for r in suite.history() if r["path"] == p])
        suite.wait_idle()
        check(sorted(os.listdir(top)) == sorted(os.path.basename(p) for p in names + [old]), "taken: %r" % os.listdir(top))
        wait_for("the fault", lambda: suite.fault(21))
        check(all(os.path.getsize(p) for p in names), "emptied")
        rows = [r["path"] for r in suite.history("foundation_convicted")]
        check(sorted(rows) == sorted(names), "recorded: %r" % rows)
        # What only looks like it is taken.
        for p in (top + "/another.dpkg-new", old + ".dpkg-newer", old + ";66f2x"):
            write(p, harness.infected(os.path.basename(p)))
            wait_for("%s to be taken" % p, lambda: not os.path.exists(p))
        # With less and less time between the last byte and the name.
        for i in range(20):
            write(old + ".dpkg-new", harness.infected("version %d" % i))
            time.sleep(0.2 - 0.01 * i)
            os.rename(old + ".dpkg-new", old)
            time.sleep(0.5)
            check(os.path.exists(old) and os.path.getsize(old), "version %d was taken" % i)
        suite.wait_idle()
        check(os.path.getsize(old), "the last version was taken")
    finally:
        suite.stop()
        harness.umount(top)


def old_files(path, image, n):
    """An ext4 with n infected files that are three days old, whatever their inodes' clock: set on the image."""
    then = int(time.time()) - 3 * DAY
    harness.mount_ext4(path, image, 64)
    commands = []
    for i in range(n):
        ino = os.stat(write("%s/old-%d" % (path, i), harness.infected("old %d" % i))).st_ino
        commands += ["set_inode_field <%d> %s @%d" % (ino, f, then) for f in ("ctime", "mtime", "atime", "crtime")]
    check(harness.umount(path), "umount")
    with open(image + ".commands", "w") as f:
        f.write("\n".join(commands) + "\n")
    run("debugfs", "-w", "-f", image + ".commands", image)
    run("mount", "-o", "loop", image, path)
    ages = {time.time() - os.stat("%s/old-%d" % (path, i)).st_ctime > 2 * DAY for i in range(n)}
    check(ages == {True}, "they are not old")
    return path


def there(top):
    return [n for n in os.listdir(top) if n.startswith("old-")]


def brake():
    rows = (suite.asked("brake", "show")[1] or [])
    return [r for r in rows if r["signature"].startswith(harness.BODY_NAME)]


def case_the_brake():
    """Of 100 old files that one signature matches 20 are taken; the rest when an administrator says so."""
    top = old_files(harness.BASE + "/old", harness.BASE + "/old.img", 100)
    another_suite("brake", watch=top)
    code, doc = suite.scan("start", top)
    check(code == 1 and doc["threats"] == 100, "exit %d: %r" % (code, doc))
    wait_for("20 to be taken", lambda: len(there(top)) == 80)
    suite.wait_idle()
    time.sleep(2)
    check(len(there(top)) == 80, "%d left" % len(there(top)))
    wait_for("the fault", lambda: suite.fault(22))
    rows = brake()
    check(len(rows) == 1 and rows[0]["holds"] and rows[0]["held"] == 80, "shown: %r" % rows)
    wait_for("80 records", lambda: len(suite.history("threat_held")) >= 80)
    check(len(suite.history("threat_held")) == 80, "recorded: %d" % len(suite.history("threat_held")))
    # Another signature is not held, nor is a list.
    for name, data in (("other", open(harness.TESTFILES + "/clam.zip", "rb").read()), ("eicar", harness.eicar())):
        path = write("%s/%s" % (top, name), data)
        wait_for("%s to be taken" % name, lambda: not os.path.exists(path))

    old = suite.pids()["ampscand"]
    os.kill(old, signal.SIGKILL)
    wait_for("its successor", lambda: suite.pids().get("ampscand") not in (None, old))
    suite.wait_ready()
    suite.wait_engine()
    check(brake() == rows and suite.fault(22), "after its death: %r" % brake())
    suite.scan("start", top)
    suite.wait_idle()
    check(len(there(top)) == 80, "%d left after another scan" % len(there(top)))

    suite.stop()
    suite.start()
    suite.wait_engine()
    check(brake() == rows and len(there(top)) == 80, "after a restart: %r" % brake())

    code, _ = suite.cli("brake", "release", rows[0]["signature"])
    check(code == 0, "release: exit %d" % code)
    wait_for("the rest to be taken", lambda: not there(top), 180)
    wait_for("the fault to clear", lambda: not suite.fault(22))
    entries = [e for e in suite.cli("quarantine", "list", "--limit", "0")[1] if e["detection"].startswith(harness.BODY_NAME)]
    check(len(entries) == 100, "%d in the vault" % len(entries))


harness.main(globals())
