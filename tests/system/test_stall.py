"""A user tries to stall or blind the suite (issue point 6).

The attackers run as amp-tester: leases, FIFOs, 100,000 small files, 20 GB
sparse files rewritten in a loop, deep trees, directories renamed in a loop.
While they do, a file that somebody else writes is dealt with soon and nobody
is held up; afterwards everything that was put off is caught up with.
"""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time

import harness
from harness import SOON, check, run, wait_for, write

LISTED = b"listed content of the stall test\n" * 30
HELD_UP = 5  # seconds one open, write and close may take
TESTER = harness.USERS["amp-tester"]


def setup(base):
    global suite, root, tmpfs, ext4, prober
    root = harness.mount_tmpfs(base + "/w")
    tmpfs = root
    ext4 = harness.mount_ext4(root + "/ext4", base + "/ext4.img", 8192)
    for d in (tmpfs, ext4):
        for sub in ("hers", "others"):
            os.makedirs("%s/%s" % (d, sub))
        os.chown(d + "/hers", TESTER, TESTER)
    suite = harness.Suite(base, [root], mode="audit")
    suite.block(LISTED, "Test.Stall")
    suite.start()
    prober = Prober(base + "/pause")
    prober.start()


def teardown():
    prober.stop()
    suite.cleanup()


# -- the others ---------------------------------------------------------------

PROBER = r"""
import os, sys, time
worst, n = 0.0, 0

def others():
    # Seconds for which others had the processors: that is nobody's lock.
    try:
        return int(open("/proc/self/schedstat").read().split()[1]) / 1e9
    except OSError:
        return 0.0

while os.getppid() != 1:
    while os.path.exists(sys.argv[1]):
        sys.stdout.write("paused\n")
        sys.stdout.flush()
        time.sleep(0.02)
    for d in sys.argv[2:]:
        begin = time.monotonic() - others()
        fd = os.open(d + "/probe", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.write(fd, b"probe %d" % n)
        os.close(fd)
        os.close(os.open(d + "/probe", os.O_RDONLY))
        os.rename(d + "/probe", d + "/probed")
        os.unlink(d + "/probed")
        n += 1
        worst = max(worst, time.monotonic() - others() - begin)
        sys.stdout.write("%.4f %d\n" % (worst, n))
        sys.stdout.flush()
    time.sleep(0.02)
"""


class Prober(threading.Thread):
    """Another program at its work: how long its longest operation took."""

    def __init__(self, pause):
        super().__init__(daemon=True)
        self.worst, self.count = 0.0, 0
        self.pause, self.paused = pause, False
        self.process = subprocess.Popen([sys.executable, "-c", PROBER, pause, tmpfs + "/others", ext4 + "/others"],
                                        stdout=subprocess.PIPE, text=True)

    def run(self):
        for line in self.process.stdout:
            self.paused = line == "paused\n"
            if not self.paused:
                worst, count = line.split()
                self.worst, self.count = float(worst), int(count)

    @contextlib.contextmanager
    def quiet(self):
        """What it does is a job for a moment, again and again: without it there is an end of them."""
        open(self.pause, "w").close()
        try:
            wait_for("the other program to pause", lambda: self.paused)
            yield
        finally:
            os.unlink(self.pause)
            wait_for("the other program to go on", lambda: not self.paused)

    def check(self, what):
        before = self.count
        wait_for("another program to go on (%s)" % what, lambda: self.count > before, HELD_UP)
        check(self.worst < HELD_UP, "%s: an operation of another program took %.1f s" % (what, self.worst))

    def stop(self):
        self.process.kill()
        self.process.wait()


class Attack:
    """A program of the user amp-tester, while the `with` lasts; it says "ready" when it is at it."""

    def __init__(self, body, *argv, ready=True):
        self.argv = [sys.executable, "-c", body] + [str(a) for a in argv]
        self.ready = ready

    def __enter__(self):
        self.process = subprocess.Popen(self.argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, user=TESTER,
                                        group=TESTER, extra_groups=[])
        if self.ready:
            line = self.process.stdout.readline()
            check(line == b"ready\n", "attacker: %r, exit %r" % (line, self.process.poll()))
        return self.process

    def __exit__(self, *exc):
        self.process.kill()
        self.process.wait()


serial = [0]


def dealt_with_soon(what, seconds=SOON):
    """A listed file of somebody else, written now, is detected; how long it took."""
    longest = 0
    for d in (tmpfs, ext4):
        serial[0] += 1
        begin = time.monotonic()
        path = write("%s/others/listed-%d" % (d, serial[0]), LISTED)
        try:
            suite.wait_detected(path, seconds)
        except harness.Failed as e:
            raise harness.Failed("%s: %s; %s" % (what, e, state()))
        longest = max(longest, time.monotonic() - begin)
    prober.check(what)
    return longest


def state():
    st = suite.status() or {}
    return "jobs %r, parked %r, faults %r, %r" % (
        st.get("jobs"), st.get("parked"), [(f["number"], f["detail"]) for f in st.get("faults", [])],
        {k: v for k, v in st.get("counters", {}).items() if v and ".read" in k or "busy" in k})


def say(fmt, *args):
    print("# " + fmt % args, flush=True)


# -- leases -------------------------------------------------------------------

LEASES = r"""
import fcntl, os, resource, signal, sys, time
d, count = sys.argv[1], int(sys.argv[2])
soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
listed = sys.stdin.buffer.read()
signal.signal(signal.SIGIO, signal.SIG_IGN)
held = []
for i in range(count):
    path = "%s/leased-%d" % (d, i)
    fd = os.open(d, os.O_RDWR | os.O_TMPFILE, 0o644)
    os.write(fd, listed if i % 100 == 0 else b"leased %d" % i)
    fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_WRLCK)
    # It has a name when it has its lease: 100 ms after that a file is opened that nobody closed.
    os.link("/proc/self/fd/%d" % fd, path + ".new", src_dir_fd=fd)  # linkat(2), which follows
    os.rename(path + ".new", path)   # an event for what can be opened by nobody
    held.append(fd)
    if i > 2500:                     # few in a buffer: each holds one
        time.sleep(0.002)
print("ready", flush=True)
time.sleep(3600)
"""


def leases(count, d):
    a = Attack(LEASES, d, count, ready=False)
    p = a.__enter__()
    p.stdin.write(LISTED)
    p.stdin.close()
    check(p.stdout.readline() == b"ready\n", "leases: exit %r" % p.poll())
    return a


def case_files_under_write_leases():
    d = tmpfs + "/hers/leases"
    os.makedirs(d)
    os.chown(d, TESTER, TESTER)
    a = leases(300, d)
    try:
        took = dealt_with_soon("300 leases")
        busy = wait_for("leases to be counted", lambda: suite.counters().get("ampscand.read.busy", 0))
        check(not [r for r in suite.detections() if "/leases/" in r["path"]], "the lease was no lease")
    finally:
        a.__exit__()
    say("300 leases: dealt with in %.2f s, %d times busy", took, busy)
    for i in range(0, 300, 100):
        suite.wait_detected("%s/leased-%d" % (d, i))


def given_up(path):
    return [r for r in suite.history("file_unreadable") if r["path"] == path]


def case_more_leases_than_there_are_places():
    """Every place for what waits is taken: what others do is seen all the same."""
    d = ext4 + "/hers/many-leases"
    os.makedirs(d)
    os.chown(d, TESTER, TESTER)
    a = leases(4000, d)
    try:
        time.sleep(3)
        took = dealt_with_soon("4,000 leases", 20)
    finally:
        a.__exit__()
    say("4,000 leases: dealt with in %.2f s", took)
    # What waits longest is given up for room if it must be, and that is recorded.
    for i in range(0, 4000, 100):
        path = "%s/leased-%d" % (d, i)
        wait_for("a word on %s" % path, lambda: suite.detections(path) or given_up(path))
    prober.check("4,000 leases")


# -- special files -------------------------------------------------------------

FIFO_WRITER = r"""
import os, sys
print("ready", flush=True)
fd = os.open(sys.argv[1], os.O_WRONLY)
os.write(fd, b"through the pipe")
os.close(fd)
print("written", flush=True)
"""

FIFOS = r"""
import os, sys, socket
os.chdir(sys.argv[1])
print("ready", flush=True)
n = 0
while True:
    path = "fifo-%d" % (n % 50)      # below the working directory: it is moved meanwhile
    os.mkfifo(path, 0o666)
    os.rename(path, path + ".moved")
    fd = os.open(path + ".moved", os.O_RDWR)
    os.write(fd, b"x")
    os.close(fd)
    s = socket.socket(socket.AF_UNIX)
    s.bind(path)
    s.close()
    os.unlink(path)
    os.unlink(path + ".moved")
    n += 1
"""


def case_fifos_and_devices():
    d = tmpfs + "/hers/special"
    os.makedirs(d)
    os.chown(d, TESTER, TESTER)
    fifo = d + "/waiting"
    os.mkfifo(fifo, 0o666)
    os.chown(fifo, TESTER, TESTER)
    for name, device in (("zero", os.makedev(1, 5)), ("random", os.makedev(1, 8)), ("tty", os.makedev(5, 0))):
        os.mknod("%s/%s" % (d, name), 0o666 | 0o020000, device)
    with Attack(FIFO_WRITER, fifo) as writer, Attack(FIFOS, d):
        time.sleep(0.3)
        # Events of the FIFO with the writer waiting in it, and of devices.
        os.rename(fifo, d + "/renamed")
        os.link(d + "/renamed", d + "/linked")
        for name in ("zero", "random"):
            with open("%s/%s" % (d, name), "wb", buffering=0) as f:
                f.write(b"x")
            os.rename("%s/%s" % (d, name), "%s/%s-renamed" % (d, name))
        os.rename(tmpfs + "/hers/special", tmpfs + "/hers/special-moved")
        d = tmpfs + "/hers/special-moved"
        took = dealt_with_soon("FIFOs")
        time.sleep(1)
        check(writer.poll() is None, "the FIFO's writer ended: %r" % writer.poll())
        fd = os.open(d + "/linked", os.O_RDONLY)
        check(os.read(fd, 100) == b"through the pipe", "what came through the FIFO")
        os.close(fd)
        check(writer.stdout.readline() == b"written\n" and writer.wait(SOON) == 0,
              "the FIFO's writer: %r" % writer.poll())
    say("FIFOs and devices: dealt with in %.2f s, %d were not regular", took,
        suite.counters().get("ampscand.read.not_regular", 0))


# -- masses --------------------------------------------------------------------

MASS = r"""
import os, sys
d, first, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
listed = sys.stdin.buffer.read()
for i in range(first, first + count):
    with open("%s/file-%d" % (d, i), "wb") as f:
        f.write(listed if i % 1000 == 0 else b"small %d" % i)
print("done", flush=True)
"""


def case_100000_small_files_at_once():
    for fs in (tmpfs, ext4):
        os.makedirs(fs + "/hers/mass")
        os.chown(fs + "/hers/mass", TESTER, TESTER)
    attackers = [Attack(MASS, "%s/hers/mass" % (ext4 if n % 2 else tmpfs), n * 25000, 25000, ready=False)
                 for n in range(4)]
    ps = [a.__enter__() for a in attackers]
    try:
        for p in ps:
            p.stdin.write(LISTED)
            p.stdin.close()
        took = dealt_with_soon("100,000 files")
        running = len([p for p in ps if p.poll() is None])
        for p in ps:
            check(p.stdout.readline() == b"done\n", "attacker: %r" % p.poll())
    finally:
        for a in attackers:
            a.__exit__()
    begin = time.monotonic()
    with prober.quiet():
        suite.wait_idle(180)
    say("100,000 files: dealt with in %.2f s (%d of 4 still writing), caught up %.1f s after the last",
        took, running, time.monotonic() - begin)
    rows = [r["path"] for r in suite.detections() if "/mass/file-" in r["path"]]
    check(len(rows) == len(set(rows)) == 100, "%d rows, %d names of 100 listed" % (len(rows), len(set(rows))))


SPARSE = r"""
import os, sys, time, random
d, n = sys.argv[1], int(sys.argv[2])
size = 20 << 30
fds = []
for i in range(n):
    with open("%s/sparse-%d" % (d, i), "wb") as f:
        f.truncate(size)
print("ready", flush=True)
k = 0
while True:
    path = "%s/sparse-%d" % (d, k % n)
    with open(path, "r+b", buffering=0) as f:
        f.seek(random.randrange(1 << 16))
        f.write(b"%d" % k)
    os.rename(path, path + "-other")
    os.rename(path + "-other", path)
    k += 1
    if k % 64 == 0:
        time.sleep(0.001)
"""


def case_large_sparse_files_rewritten_in_a_loop():
    d = tmpfs + "/hers/sparse"
    os.makedirs(d)
    os.chown(d, TESTER, TESTER)
    with Attack(SPARSE, d, 8):
        time.sleep(1)
        first = dealt_with_soon("20 GB files")
        time.sleep(8)
        second = dealt_with_soon("20 GB files, again")
    say("20 GB sparse files: dealt with in %.2f s and %.2f s", first, second)
    # A small listed file under the same names is judged, whatever they cost before.
    path = d + "/sparse-0"
    if os.path.exists(path + "-other"):  # the attacker ended between two renames
        os.rename(path + "-other", path)
    os.truncate(path, 0)
    write(path, LISTED)
    begin = time.monotonic()
    # The reading of what was there before ends first: about half a minute, more while others have the processors.
    suite.wait_detected(path, 450)
    say("then a small listed file in its place: %.2f s", time.monotonic() - begin)
    for name in os.listdir(d):
        if os.path.getsize(d + "/" + name) > 1 << 30:
            os.unlink(d + "/" + name)
    # One of them may be read to its end all the same: that is none of the next case's time.
    with prober.quiet():
        suite.wait_idle(450)


# -- names ----------------------------------------------------------------------

DEEP = r"""
import os, sys
top, name, depth = sys.argv[1], sys.argv[2], int(sys.argv[3])
listed = sys.stdin.buffer.read()
os.mkdir(top)
os.chdir(top)
for i in range(depth):
    os.mkdir(name)
    os.chdir(name)
with open("bottom", "wb") as f:
    f.write(listed)
os.rename(top, top + "-moved")
print("done", flush=True)
"""


def dig(top, name, depth):
    with Attack(DEEP, top, name, depth, ready=False) as p:
        p.stdin.write(LISTED)
        p.stdin.close()
        check(p.stdout.readline() == b"done\n", "attacker: %r" % p.poll())


def case_deep_directories():
    for fs, kind in ((tmpfs, "tmpfs"), (ext4, "ext4")):
        before = len(suite.detections())
        # Its path can be told, and that of the moved one: the directory name `d` is short enough.
        dig(fs + "/hers/deep", "d", 1900)
        bottom = "/d" * 1900 + "/bottom"
        wait_for("the file under its name or its tree's new one (%s)" % kind,
                 lambda: suite.detections(fs + "/hers/deep-moved" + bottom))
        # No path: judged all the same, and the row says so.
        known = {r["detection_id"] for r in suite.detections()}
        dig(fs + "/hers/deeper", "a-longer-name", 2000)
        rows = wait_for("the file without a path (%s)" % kind,
                        lambda: [r for r in suite.detections() if r["detection_id"] not in known and r["path_unresolved"]])
        check("bottom" in rows[0]["path"], "its name: %r" % rows[0]["path"])
        say("%s: %d rows of deep trees", kind, len(suite.detections()) - before)
    took = dealt_with_soon("deep directories")
    say("deep directories: dealt with in %.2f s", took)


RENAMER = r"""
import os, sys
d = sys.argv[1]
for t in range(20):
    for i in range(100):
        os.makedirs("%s/tree-%d/%d/x/y" % (d, t, i))
        with open("%s/tree-%d/%d/x/y/file" % (d, t, i), "wb") as f:
            f.write(b"in a tree %d %d" % (t, i))
print("ready", flush=True)
while True:
    for t in range(20):
        for a, b in (("tree", "eert"), ("eert", "tree")):
            os.rename("%s/%s-%d" % (d, a, t), "%s/%s-%d" % (d, b, t))
"""

INSIDE = r"""
import os, sys, time
d = sys.argv[1]
listed = sys.stdin.buffer.read()
at = None
while at is None:
    for tree in ("tree", "eert"):        # it may have the other name by the time it is gone to
        try:
            at = at or os.chdir("%s/%s-0/0/x/y" % (d, tree)) or tree
        except FileNotFoundError:
            pass
with open("inside", "wb") as f:
    f.write(listed)
print("done", flush=True)
"""


def case_directories_renamed_in_a_loop():
    for fs in (tmpfs, ext4):
        d = fs + "/hers/renamed"
        os.makedirs(d)
        os.chown(d, TESTER, TESTER)
        with Attack(RENAMER, d):
            time.sleep(2)
            took = dealt_with_soon("renamed directories")
            with Attack("import os,sys\n" + INSIDE, d, ready=False) as p:
                p.stdin.write(LISTED)
                p.stdin.close()
                check(p.stdout.readline() == b"done\n", "attacker: %r" % p.poll())
            wait_for("the listed file in the renamed tree",
                     lambda: [r for r in suite.detections() if r["path"].startswith(d + "/")
                              and r["path"].endswith("-0/0/x/y/inside")])
        begin = time.monotonic()
        with prober.quiet():
            suite.wait_idle(180)
        say("renamed directories: dealt with in %.2f s, caught up in %.1f s", took, time.monotonic() - begin)
        # However often it was moved, it is found where it came to rest.
        last = [d + "/" + n for n in os.listdir(d) if n.endswith("-0")][0] + "/0/x/y/inside"
        check(suite.detections(last), "not found where it rests: %s" % last)


LINKER = r"""
import os, sys
d, count = sys.argv[1], int(sys.argv[2])
with open(d + "/first", "wb") as f:
    f.truncate(20 << 30)
for i in range(count):
    os.link(d + "/first", "%s/link-%d" % (d, i))
print("done", flush=True)
"""


def case_more_names_than_there_are_places():
    """30,000 names of one file that takes long to read."""
    d = tmpfs + "/hers/links"
    os.makedirs(d)
    os.chown(d, TESTER, TESTER)
    with Attack(LINKER, d, 30000, ready=False) as p:
        took = dealt_with_soon("30,000 links", 20)
        check(p.stdout.readline() == b"done\n", "attacker: %r" % p.poll())
        again = dealt_with_soon("30,000 links, again", 20)
    say("30,000 links: dealt with in %.2f s and %.2f s", took, again)
    run("rm", "-rf", d)


NAMER = r"""
import fcntl, os, signal, sys
d, count = sys.argv[1], int(sys.argv[2])
signal.signal(signal.SIGIO, signal.SIG_IGN)
fd = os.open(d, os.O_RDWR | os.O_TMPFILE, 0o644)
os.write(fd, sys.stdin.buffer.read())
fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_WRLCK)
os.link("/proc/self/fd/%d" % fd, d + "/first", src_dir_fd=fd)  # nobody opens it before it has its lease
for i in range(count):
    os.link(d + "/first", "%s/name-%d" % (d, i))
print("done", flush=True)
signal.pause()
"""


def case_every_name_of_a_listed_file_is_found():
    """3,000 names, given while the file cannot be read."""
    d = ext4 + "/hers/names"
    os.makedirs(d)
    os.chown(d, TESTER, TESTER)
    with Attack(NAMER, d, 3000, ready=False) as p:
        p.stdin.write(LISTED)
        p.stdin.close()
        check(p.stdout.readline() == b"done\n", "attacker: %r" % p.poll())
        dealt_with_soon("3,000 names", 20)
        left = wait_for("what is not kept to be counted", lambda: suite.counters().get("ampscand.events.names_left"))
    begin = time.monotonic()
    names = {d + "/first"} | {"%s/name-%d" % (d, i) for i in range(3000)}
    wait_for("every name", lambda: names <= {r["path"] for r in suite.detections()}, pause=0.5)
    with prober.quiet():
        suite.wait_idle()
    rows = [r["path"] for r in suite.detections() if r["path"] in names]
    check(len(rows) == len(names), "%d rows, %d names" % (len(rows), len(names)))
    say("3,000 names: %d not kept, all found %.1f s after the lease's end", left, time.monotonic() - begin)


# -- umount ---------------------------------------------------------------------

BUSY = r"""
import os, sys
d = sys.argv[1]
print("ready", flush=True)
n = 0
while not os.path.exists(d + "/stop"):
    with open("%s/busy-%d" % (d, n % 5000), "wb") as f:
        f.write(b"busy %d" % n)
    n += 1
"""


def case_umount_while_events_flow():
    attempts = []
    for kind in ("tmpfs", "ext4"):
        at = root + "/mounted-" + kind
        if kind == "tmpfs":
            harness.mount_tmpfs(at)
        else:
            harness.mount_ext4(at, harness.BASE + "/second.img", 512)
        wait_for("the new file system to be watched", lambda: [f for f in suite.status()["filesystems"]
                                                              if f["mount_point"] == at and f["how"] == "by_handle"])
        path = write(at + "/listed", LISTED)
        suite.wait_detected(path)
        with Attack(BUSY, at) as p:
            time.sleep(2)
            write(at + "/stop", b"")
            p.wait(SOON)
            tries = []
            wait_for("umount of %s to succeed" % kind, lambda: tries.append(1) or harness.umount(at), 25)
        attempts.append(len(tries))
        wait_for("the file system to be forgotten",
                 lambda: not [f for f in suite.status()["filesystems"] if f["mount_point"] == at])
        dealt_with_soon("umount")
    say("umount: %r tries", attempts)


def case_zz_everything_is_caught_up():
    with prober.quiet():
        suite.wait_idle(180)
        st = suite.status()
        check(not st["jobs"] and not st["parked"], "in hand: %r" % state())
    bad = [f for f in st["faults"] if f["number"] in (1, 2, 3, 4, 5, 6)]
    check(not bad, "faults: %r" % bad)
    for s in st["services"]:
        check(s["restarts"] == 0, "%s was restarted %d times" % (s["name"], s["restarts"]))
    for name, pid in suite.pids().items():
        rss = [int(l.split()[1]) >> 10 for l in open("/proc/%d/status" % pid) if l.startswith("VmRSS")][0]
        check(rss < 400, "%s has %d MB" % (name, rss))
    prober.check("all")
    say("longest operation of another program: %.2f s of %d", prober.worst, prober.count)


harness.main(globals())
