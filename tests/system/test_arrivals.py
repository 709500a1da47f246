"""A listed file is detected however it arrives, once for each name it is given.

Issue point 2: by every way a file can get content or a name, on tmpfs, ext4
(loop) and overlay, with the true host path and the process that wrote it;
under Audit the same with nothing killed.
"""

import ctypes
import mmap
import os
import shutil
import subprocess
import tarfile
import time

import harness
import still
from harness import check, run, wait_for, write

LISTED = b"listed content of the arrivals test\n" * 40
libc = ctypes.CDLL(None, use_errno=True)
AT_FDCWD, AT_EMPTY_PATH, AT_SYMLINK_FOLLOW = -100, 0x1000, 0x400

IO_URING = r"""
#include <fcntl.h>
#include <liburing.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
/* Writes stdin to argv[1]: open, write and close all by io_uring. */
int main(int argc, char **argv)
{
	static char buf[1 << 16];
	ssize_t n = read(0, buf, sizeof(buf));
	struct io_uring ring;
	struct io_uring_cqe *cqe;
	int fd;
	(void)argc;
	if (io_uring_queue_init(8, &ring, 0) < 0) return 2;
	io_uring_prep_openat(io_uring_get_sqe(&ring), AT_FDCWD, argv[1], O_WRONLY | O_CREAT, 0644);
	io_uring_submit(&ring); io_uring_wait_cqe(&ring, &cqe); fd = cqe->res; io_uring_cqe_seen(&ring, cqe);
	if (fd < 0) return 3;
	io_uring_prep_write(io_uring_get_sqe(&ring), fd, buf, (unsigned)n, 0);
	io_uring_submit(&ring); io_uring_wait_cqe(&ring, &cqe); if (cqe->res != n) return 4; io_uring_cqe_seen(&ring, cqe);
	io_uring_prep_close(io_uring_get_sqe(&ring), fd);
	io_uring_submit(&ring); io_uring_wait_cqe(&ring, &cqe); if (cqe->res < 0) return 5; io_uring_cqe_seen(&ring, cqe);
	return 0;
}
"""


def setup(base):
    global suite, where, outside, base_dir
    base_dir = base
    tmpfs = harness.mount_tmpfs(base + "/w-tmpfs")
    ext4 = harness.mount_ext4(base + "/w-ext4", base + "/ext4.img")
    outside = harness.mount_tmpfs(base + "/elsewhere")
    os.makedirs(ext4 + "/layers")
    overlay = harness.mount_overlay(base + "/merged", ext4 + "/layers")
    # Where a name is given, and where the host sees it.
    where = {"tmpfs": (tmpfs, tmpfs), "ext4": (ext4, ext4), "overlay": (overlay, ext4 + "/layers/upper")}
    harness.compile_c(IO_URING, base + "/uring", "-luring")
    # Audit: what is found stays, so that one file can be given many names (test_quarantine.py is
    # Protect's half of this).
    suite = harness.Suite(base, [tmpfs, ext4], mode="audit")
    suite.block(LISTED, "Test.Arrival")
    suite.start()


def teardown():
    suite.cleanup()


def expect(paths, pid=None):
    """Each path is detected, once; by pid if it is given."""
    for path in paths:
        rows = suite.wait_detected(path)
    suite.wait_idle()
    for path in paths:
        rows = suite.detections(path)
        check(len(rows) == 1, "%s: %d rows: %r" % (path, len(rows), rows))
        if pid:
            check(rows[0]["process"] and rows[0]["process"]["pid"] == pid,
                  "%s: process %r, not %d" % (path, rows[0]["process"], pid))


def everywhere(function):
    """One pass on each kind of file system; function(dir) -> names below it, pid."""

    def case():
        for kind, (dir, seen) in where.items():
            sub = "%s/%s" % (dir, function.__name__)
            os.makedirs(sub)
            try:
                names, pid = function(sub)
            except harness.Skip:
                raise
            except Exception as e:
                raise harness.Failed("%s: %r" % (kind, e))
            try:
                expect(["%s/%s/%s" % (seen, function.__name__, n) for n in names], pid)
            except harness.Failed as e:
                raise harness.Failed("%s: %s" % (kind, e))

    return case


@everywhere
def by_write(d):
    write(d + "/written", LISTED)
    return ["written"], os.getpid()


@everywhere
def by_copy(d):
    write(outside + "/source", LISTED)
    p = subprocess.Popen(["cp", outside + "/source", d + "/copied"])
    p.wait()
    return ["copied"], p.pid


def before_it_is_read(*argv):
    """A command that gives times to what it has written. A detection is of a file with a time of change: of one that
    was read in between, and again when it was closed, there are two."""
    with still.stopped(suite.pids()["ampscand"]):
        p = subprocess.Popen(argv)
        check(p.wait() == 0, "%s: status %d" % (argv[0], p.returncode))
    return p.pid


@everywhere
def by_move_from_another(d):
    write(outside + "/mover", LISTED)
    return ["moved-in"], before_it_is_read("mv", outside + "/mover", d + "/moved-in")


@everywhere
def by_move_within(d):
    write(d + "/first", LISTED)
    suite.wait_idle()
    os.rename(d + "/first", d + "/second")
    return ["first", "second"], os.getpid()


@everywhere
def by_rename_over(d):
    write(d + "/good", b"good")
    write(d + "/new", LISTED)
    suite.wait_idle()
    os.rename(d + "/new", d + "/good")
    return ["new", "good"], os.getpid()


@everywhere
def by_directory_move(d):
    os.makedirs(d + "/tree/deep/er")
    write(d + "/tree/deep/er/file", LISTED)
    suite.wait_idle()
    p = subprocess.Popen(["mv", d + "/tree", d + "/grown"])
    p.wait()
    return ["tree/deep/er/file", "grown/deep/er/file"], None


@everywhere
def by_hard_link(d):
    write(d + "/one", LISTED)
    suite.wait_idle()
    os.link(d + "/one", d + "/two")
    return ["one", "two"], os.getpid()


def tmpfile(d, name, close_first):
    fd = harness.tmpfile(d)
    os.write(fd, LISTED)
    keep = -1
    if close_first:
        keep = os.open("/proc/self/fd/%d" % fd, os.O_RDONLY)
        os.close(fd)
        suite.wait_idle()
        fd = keep
    r = libc.linkat(AT_FDCWD, b"/proc/self/fd/%d" % fd, AT_FDCWD, os.fsencode(d + "/" + name), AT_SYMLINK_FOLLOW)
    check(r == 0, "linkat: %s" % os.strerror(ctypes.get_errno()))
    os.close(fd)
    return [name], os.getpid()


@everywhere
def by_tmpfile_linked_before_close(d):
    return tmpfile(d, "before", False)


@everywhere
def by_tmpfile_linked_after_close(d):
    return tmpfile(d, "after", True)


@everywhere
def by_mmap(d):
    fd = os.open(d + "/mapped", os.O_RDWR | os.O_CREAT, 0o644)
    os.ftruncate(fd, len(LISTED))
    m = mmap.mmap(fd, len(LISTED))
    os.close(fd)
    m[:] = LISTED
    m.close()
    return ["mapped"], os.getpid()


@everywhere
def by_io_uring(d):
    p = subprocess.Popen([base_dir + "/uring", d + "/ring"], stdin=subprocess.PIPE)
    p.communicate(LISTED)
    check(p.returncode == 0, "io_uring helper: %d" % p.returncode)
    return ["ring"], p.pid


@everywhere
def by_tar(d):
    write(outside + "/packed", LISTED)
    with tarfile.open(outside + "/a.tar", "w") as t:
        t.add(outside + "/packed", "packed")
    return ["packed"], before_it_is_read("tar", "-xf", outside + "/a.tar", "-C", d)


@everywhere
def by_writer_in_namespaces(d):
    """A user, in a user and mount namespace, binds his directory over another and writes there."""
    os.chmod(d, 0o777)
    os.makedirs(d + "/own")
    os.chmod(d + "/own", 0o777)
    os.makedirs(outside + "/mask", exist_ok=True)
    write(outside + "/for-all", LISTED)
    script = "mount --bind %s/own %s/mask && cp %s/for-all %s/mask/hidden" % (d, outside, outside, outside)
    r = subprocess.run(["unshare", "-Urm", "sh", "-c", script], user=harness.USERS["amp-tester"],
                       stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    check(r.returncode == 0, r.stdout.decode())
    return ["own/hidden"], None


@everywhere
def by_a_name_like_a_nameless_files(d):
    """O_TMPFILE's files have names like "#17". A file of that name which is gone may have others."""
    if d.startswith(where["overlay"][0]) and harness.kernel() < (6, 3):
        print("# not on an overlay: its events, by descriptor, have no name but this one (docs/threat-model.md)")
        return [], None
    old, name = write(d + "/old", b"harmless\n"), d + "/#17"
    os.link(old, name)
    suite.wait_idle()
    with still.stopped(suite.pids()["ampscand"]):  # else it might be read while it has that name
        fd = os.open(name, os.O_WRONLY | os.O_TRUNC)
        os.write(fd, LISTED)
        os.close(fd)
        os.unlink(name)
        if d.startswith(where["tmpfs"][0]):
            time.sleep(4)  # read so late, it happened long before: its other name is found all the same
    return ["old"], None


def case_audit_records_the_same_and_kills_nothing():
    suite.stop()
    d = where["tmpfs"][0] + "/audit"
    os.makedirs(d)
    prog = harness.program_bytes("audit")
    suite.block(prog, "Test.Program")
    suite.mode = "audit"
    suite.configure()
    state = suite.etc + "/ampmon.state"
    if os.path.exists(state):
        os.unlink(state)
    suite.start()
    path = write(d + "/listed", LISTED)
    exe = write(d + "/program", prog, 0o755)
    p = subprocess.Popen([exe, "300"])
    rows = wait_for("the exec's detection",
                    lambda: [r for r in suite.detections(exe) if r["cause"] == "exec"])
    check(rows[0]["mode"] == "audit", "mode: %r" % rows[0])
    expect([path], os.getpid())
    check(p.poll() is None, "it was killed under Audit")
    check(not suite.history("process_killed"), "kills recorded under Audit")
    p.kill()
    p.wait()


for _name, _f in list(globals().items()):
    if _name.startswith("by_"):
        globals()["case_" + _name] = _f
# Audit restarts the suite: it comes last.
globals()["case_zz_audit"] = globals().pop("case_audit_records_the_same_and_kills_nothing")

harness.main(globals())
