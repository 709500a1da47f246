"""The fall-back source: fanotify by descriptor, for file systems without handles.

An overlay whose layers are not watched cannot be marked by handle; and a
configuration switch makes every file system use descriptors.
"""

import os
import shutil
import signal
import subprocess
import sys

import harness
from harness import check, wait_for, write

LISTED = b"listed content of the descriptor test\n"


def setup(base):
    global suite, forced, merged, w, base_dir
    base_dir = base
    # ext4: a store through a mapping of a tmpfs file may leave no time.
    layers = harness.mount_ext4(base + "/layers", base + "/layers.img", 64)
    merged = harness.mount_overlay(base + "/merged", layers)
    w = harness.mount_ext4(base + "/w", base + "/w.img", 64)
    suite = harness.Suite(base, [merged], name="overlay")
    suite.block(LISTED, "Test.Fd")
    suite.block(LISTED + b"taken", "Test.Fd.Taken")
    suite.start()
    forced = None


def teardown():
    suite.cleanup()
    if forced:
        forced.cleanup()


def how(s, mount):
    return [f["how"] for f in s.status()["filesystems"] if f["mount_point"] == mount]


def case_overlay_is_watched_by_descriptor_and_says_so():
    text = "".join(how(suite, merged))
    check("fd" in text or "descriptor" in text, "how: %r" % text)


def case_overlay_write_is_detected():
    path = write(merged + "/file", LISTED)
    rows = suite.wait_detected(path)
    suite.wait_idle()
    check(len(suite.detections(path)) == 1, "rows: %r" % rows)
    check(rows[0]["process"]["pid"] == os.getpid(), "process: %r" % rows[0]["process"])


def case_overlay_write_is_taken():
    """No handle leads there: the keeper goes by the descriptor of the event, and by the name."""
    path = write(merged + "/taken", LISTED + b"taken")
    rows = suite.wait_detected(path)
    wait_for("the quarantine", lambda: [r for r in suite.history("threat_quarantined")
                                        if r["detection_id"] == rows[0]["detection_id"]])
    check(not os.path.exists(path), "it is still there")


def case_overlay_exec_is_killed():
    path = write(merged + "/program", harness.program_bytes("fd"), 0o755)
    suite.wait_idle()
    suite.block(harness.program_bytes("fd"), "Test.Fd.Program")
    suite.reload()
    wait_for("the list in force", lambda: "Test.Fd.Program" in str(suite.cli("policy", "lists")[1]))
    p = subprocess.Popen([path, "300"])
    wait_for("the kill", lambda: p.poll() is not None, 30)
    check(p.returncode == -signal.SIGKILL, "ended with %r" % p.returncode)


# Not Python's own mmap: that keeps the file open as long as it is mapped.
MAPPER = r"""
import ctypes, os, sys
path, new, fifo = sys.argv[1:4]
libc = ctypes.CDLL(None)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
fd = os.open(path, os.O_RDWR)
data = open(new, "rb").read()
at = libc.mmap(None, len(data), 3, 1, fd, 0)
os.close(fd)                   # judged now
open(fifo).read()
ctypes.memmove(at, data, len(data))
libc.munmap(at, len(data))
"""


def case_stored_through_a_mapping_after_the_close():
    """By root, whose programs are taken for what they were. Linux 6.1 tells of it on no overlay; where it is
    told (6.18), it is judged at munmap."""
    code = harness.program_bytes("mapping")
    path = write(merged + "/mapped", harness.program_bytes("initial"), 0o755)
    check(os.path.getsize(path) == len(code), "of another size")
    new = write(base_dir + "/new", code)
    fifo = base_dir + "/fifo"
    os.mkfifo(fifo)
    suite.block(code, "Test.Fd.Mapped")
    suite.reload()
    wait_for("the list in force", lambda: "Test.Fd.Mapped" in str(suite.cli("policy", "lists")[1]))
    mapper = subprocess.Popen([sys.executable, "-c", MAPPER, path, new, fifo])
    with open(fifo, "w"):
        suite.wait_idle()
    check(mapper.wait() == 0, "the mapper failed")
    suite.wait_idle()
    print("# told of at munmap: %r" % bool(suite.detections(path)), flush=True)
    if suite.detections(path):
        return
    p = subprocess.Popen([path, "300"])
    wait_for("the kill", lambda: p.poll() is not None, 30)
    check(p.returncode == -signal.SIGKILL, "ended with %r" % p.returncode)


def case_what_a_dead_scanner_held_is_repaired():
    """Descriptors die with their reader: the file system is walked."""
    for i in range(3):
        os.kill(suite.pids()["ampscand"], signal.SIGKILL)
        path = write("%s/while-dead-%d" % (merged, i), LISTED)
        suite.wait_ready()
        suite.wait_detected(path)
        suite.wait_idle()
        check(len(suite.detections(path)) == 1, "rows: %r" % suite.detections(path))


def case_a_repair_without_handles_keeps_to_the_rules():
    """What was written while nothing ran: found by name, at any depth, each once; not what is excluded."""
    suite.stop()
    os.makedirs(merged + "/excluded/deep")
    os.makedirs(merged + "/other/deep/deeper")
    suite.exclude("path %s/excluded" % merged)
    hidden = write(merged + "/excluded/deep/file", LISTED)
    found = [write(merged + d + "/found", LISTED) for d in ("", "/other", "/other/deep/deeper")]
    os.symlink(merged + "/other", merged + "/link")
    suite.start()
    for path in found:
        suite.wait_detected(path)
    os.kill(suite.pids()["ampscand"], signal.SIGKILL)
    suite.wait_ready()
    suite.wait_idle()
    for path in found:
        check(len(suite.detections(path)) == 1, "rows: %r" % suite.detections(path))
    check(not suite.detections(hidden), "the excluded file was detected")
    check(not suite.detections(merged + "/link/found"), "a link was followed")


def case_everything_by_descriptor_when_configured():
    global forced
    suite.stop()
    forced = harness.Suite(base_dir, [w], name="forced", event_source="fd")
    forced.block(LISTED, "Test.Fd")
    forced.start()
    text = "".join(how(forced, w))
    check("fd" in text or "descriptor" in text, "how: %r" % text)
    path = write(w + "/file", LISTED)
    forced.wait_detected(path)
    forced.wait_idle()
    check(len(forced.detections(path)) == 1, "rows: %r" % forced.detections(path))


def case_fat_is_watched_by_descriptor():
    """Its handles lead nowhere once the inode has left memory."""
    if not shutil.which("mkfs.vfat"):
        raise harness.Skip("mkfs.vfat is not there")
    image, fat = base_dir + "/fat.img", base_dir + "/fat"
    with open(image, "wb") as f:
        f.truncate(64 << 20)
    harness.run("mkfs.vfat", image)
    os.makedirs(fat)
    if harness.run("mount", "-o", "loop", image, fat, check=False).returncode:
        raise harness.Skip("this kernel has no vfat")
    (forced or suite).stop()
    s = harness.Suite(base_dir, [fat], name="of-fat")
    try:
        s.block(LISTED, "Test.Fd")
        s.start()
        text = "".join(how(s, fat))
        check("fd" in text or "descriptor" in text, "how: %r" % text)
        path = write(fat + "/file", LISTED)
        s.wait_detected(path)
        s.wait_idle()
        check(len(s.detections(path)) == 1, "rows: %r" % s.detections(path))
    finally:
        s.cleanup()
        harness.umount(fat)


harness.main(globals())
