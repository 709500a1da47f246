"""The quarantine where there is no room or no writing, and under leases
(issue "Quarantine", point 5).

A read-only file system, a full vault, a full disk, a holder of a lease: the
process dies all the same, the reason is told once, and the file is taken by
itself when the reason is gone.
"""

import os
import subprocess
import time

import harness
import taken
from harness import check, run, wait_for, write

TESTER, KEEPER = harness.USERS["amp-tester"], harness.USERS["amp-quard"]
MB = 1 << 20


def setup(base):
    """Leases take their time, so they begin first, in a suite of their own beside the others."""
    global suite, suites, leased, lease_suite
    suites = []
    e = harness.mount_ext4(base + "/w-ext4", base + "/ext4.img", 64)
    lease_suite = suite = new_suite("suite-leases", [e])
    suite.start()
    leased = [Leased(e, *a) for a in (("write", 1), ("read", 1), ("read", 2))]
    suite.wait_idle()
    for l in leased:
        l.hold()
        suite.block(l.data, "Test.Lease")
    taken.listed(suite, b"the last of them\n", "Test.Lease")
    for l in leased:
        l.touch()


def teardown():
    for l in leased:
        l.process.kill()
    for s in suites:
        s.cleanup()


def new_suite(name, watch, **settings):
    global suite
    suite = harness.Suite(harness.BASE, watch, name=name, **settings)
    suites.append(suite)
    return suite


# -- leases: they take their time, so they begin first ------------------------------

HOLD = """
import fcntl, os, signal, sys, time
signal.signal(signal.SIGIO, signal.SIG_IGN)
fd = os.open(sys.argv[1], os.O_RDWR if sys.argv[2] == "write" else os.O_RDONLY)
for _ in range(1000):
    try:
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_WRLCK if sys.argv[2] == "write" else fcntl.F_RDLCK)
        break
    except BlockingIOError:
        time.sleep(0.01)
else:
    sys.exit(1)
print("held", flush=True)
while True:
    signal.pause()
"""


class Leased:
    """A file of the tester, who holds a lease on it and does not let go."""

    def __init__(self, top, kind, links):
        self.kind, self.links = kind, links
        self.dir = "%s/lease-%s-%d" % (top, kind, links)
        os.makedirs(self.dir + "/far")
        self.data = ("under a %s lease with %d links\n" % (kind, links)).encode() * 20
        self.path = write(self.dir + "/file", self.data)
        os.chown(self.path, TESTER, TESTER)
        for n in range(1, links):
            os.link(self.path, self.dir + "/far/link-%d" % n)

    def hold(self):
        self.process = subprocess.Popen(["/usr/bin/python3", "-c", HOLD, self.path, self.kind],
                                        stdout=subprocess.PIPE, user=TESTER, group=TESTER, extra_groups=[])
        check(self.process.stdout.readline() == b"held\n", "no lease")
        self.began = time.monotonic()

    def touch(self):
        try:
            os.rename(self.path, self.dir + "/moved")
        except FileNotFoundError:
            pass  # what was seen before is judged again by a new list


# -- places that are full or read-only: suites of their own -----------------------------


def case_read_only_file_system():
    top = harness.mount_ext4(harness.BASE + "/w-ro", harness.BASE + "/ro.img", 64)
    new_suite("suite-ro", [top]).start()
    data = harness.program_bytes("trouble-read-only")
    path = write(top + "/program", data, 0o755)
    suite.wait_idle()
    run("mount", "-o", "remount,ro", top)
    taken.listed(suite, data, "Test.ReadOnly")
    taken.dies(subprocess.Popen([path, "300"]))
    entry = taken.wait_failed(suite, data, "read-only")
    check(os.path.exists(path), "it has gone")
    run("mount", "-o", "remount,rw", top)
    shown = taken.wait_taken(suite, data, taken.AGAIN)
    check(shown["id"] == entry["id"], "another entry: %r" % shown)
    taken.is_harmless(data, top)
    taken.wait_no_fault(suite)


def case_what_failed_can_be_given_up():
    """Of a file system that never comes back: the entry goes, and the fault with it."""
    top = harness.mount_ext4(harness.BASE + "/w-gone", harness.BASE + "/gone.img", 64)
    new_suite("suite-gone", [top]).start()
    data = harness.program_bytes("trouble-given-up")
    path = write(top + "/program", data, 0o755)
    suite.wait_idle()
    run("mount", "-o", "remount,ro", top)
    taken.listed(suite, data, "Test.GivenUp")
    taken.dies(subprocess.Popen([path, "300"]))
    entry = taken.wait_failed(suite, data, "read-only")
    code, text = wait_for("its deletion", lambda: (lambda r: r if r[0] == 0 else None)(
        suite.cli("quarantine", "delete", "--yes", entry["id"], json_output=False)))
    check(not taken.entries_of(suite, data), "the entry is still there")
    check(os.path.exists(path), "the file has gone")
    taken.wait_no_fault(suite)
    rows = wait_for("its record", lambda: suite.history("threat_deleted"))
    check([r["detection_id"] for r in rows] == [entry["detection_id"]], "history: %r" % rows)


def big(n):
    return (b"file number %d for the full vault\n" % n * 160000)[:int(4.5 * MB)]


def case_full_vault():
    top = harness.mount_tmpfs(harness.BASE + "/w-full")
    new_suite("suite-full", [top], quarantine_max_size=16 * MB)
    for n in range(4):
        suite.block(big(n), "Test.Full.%d" % n)
    suite.start()
    for n in range(3):
        write("%s/%d" % (top, n), big(n))
        taken.wait_taken(suite, big(n))
    path = write(top + "/3", big(3))
    taken.wait_failed(suite, big(3), "quarantine_max_size")
    check(open(path, "rb").read() == big(3), "it is not as it was")
    code, text = suite.cli("quarantine", "delete", "--yes", taken.entries_of(suite, big(0))[0]["id"], json_output=False)
    check(code == 0, text)
    taken.wait_taken(suite, big(3), taken.AGAIN)
    check(not os.path.exists(path), "still there")
    taken.wait_no_fault(suite)


def fill(top, percent_free):
    """Leaves so much of it to those who are not root."""
    with open(top + "/filler", "wb") as f:
        while True:
            fs = os.statvfs(top)
            left = fs.f_bavail - fs.f_blocks * percent_free // 100
            if left <= 0:
                return
            f.write(b"\1" * (min(left, 256) * fs.f_frsize))
            f.flush()
            os.fsync(f.fileno())


def full_disk(kind, mount):
    top = harness.mount_tmpfs(harness.BASE + "/w-disk-" + kind)
    new_suite("suite-disk-" + kind, [top])
    mount(suite.quarantine)
    os.chown(suite.quarantine, KEEPER, KEEPER)
    os.chmod(suite.quarantine, 0o700)
    data = harness.program_bytes("trouble-full-disk-" + kind)
    suite.block(data, "Test.Disk")
    suite.start()
    fill(suite.quarantine, 4)
    path = write(top + "/program", data, 0o755)
    p = subprocess.Popen([path, "300"])
    taken.dies(p)
    taken.wait_failed(suite, data, "5 % of the vault's file system")
    check(open(path, "rb").read() == data, "it is not as it was")
    wait_for("the kill's record", lambda: taken.rows_of(suite, data, "process_killed"))
    os.unlink(suite.quarantine + "/filler")
    taken.wait_taken(suite, data, taken.AGAIN)
    check(not os.path.exists(path), "still there")
    taken.wait_no_fault(suite)


def case_full_disk_tmpfs():
    full_disk("tmpfs", lambda d: harness.mount_tmpfs(d, "mode=700,size=64m"))


def case_full_disk_ext4():
    full_disk("ext4", lambda d: harness.mount_ext4(d, harness.BASE + "/vault.img", 64))


# -- the end of the leases -------------------------------------------------------------


def case_leases():
    """A lease ends when it was broken for 45 s (lease-break-time), and one of the next tries takes the file. Nobody
    hangs meanwhile: a read lease is no matter until it must be emptied."""
    global suite
    suite = lease_suite
    for l in leased:
        shown = taken.wait_taken(suite, l.data, taken.AGAIN)
        print("# %s lease, %d links: %.0f s" % (l.kind, l.links, time.monotonic() - l.began), flush=True)
        taken.is_harmless(l.data, l.dir)
        check(("emptied" in shown["note"]) == (l.links > 1), "%s, %d links: note %r" % (l.kind, l.links, shown["note"]))
        failed = taken.rows_of(suite, l.data, "quarantine_failed")
        if l.kind == "read" and l.links > 1:
            check(failed and all("lease" in r["detail"] for r in failed), "reasons: %r" % failed)
        check(len(failed) == len({(r["detection_id"], r["detail"]) for r in failed}), "more than once: %r" % failed)
        check(l.process.poll() is None, "the holder died")
    check(not [s for s in suite.status()["services"] if s["restarts"]], "restarts")


harness.main(globals())
