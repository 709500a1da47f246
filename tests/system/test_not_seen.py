"""What the suite does not see today, case by case (docs/threat-model.md, "What is not seen").

Each case shows that something is NOT judged. When one fails because the suite
has learned to see it, the case and the row of the document go together.
Each also shows, as its control, that the same content is found where it can be.
The engine is on, with signatures that know none of the listed content.
"""

import ctypes
import errno
import glob
import mmap
import os
import platform
import signal
import struct
import subprocess
import time
import zipfile
import zlib

import harness
from harness import alive, check, program_bytes, run, sha256, wait_for, write

libc = ctypes.CDLL(None, use_errno=True)
O_TMPFILE = 0o20200000
TEXT = b"listed text that no list of anybody else has\n" * 50
BEFORE = b"it lay there before the first start\n" * 50
LATER = b"it lay on a disk that was mounted later\n" * 50
MOVED = b"it moved with its directory while nobody looked\n" * 50
STORED = b"it was stored through a mapping\n".ljust(4096, b".")
NAMELESS = b"it never had a name\n" * 50
PACKED = b"a signature knows it, and it is in an archive that nobody unpacks\n" * 50
RENAMED = b"renamed where only descriptors are had\n" * 50
BARRIER = b"the last of what was to be seen\n"
SCRIPT = b"#!/bin/sh\nwhile :; do sleep 1; done\n# listed\n"
# exit(42), x86-64: mov edi, 42; mov eax, 60; syscall
CODE = bytes.fromhex("bf2a000000b83c0000000f05")

VICTIM = r"""
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>
/* Runs what lies at the address it prints, when it is told to. */
int main(void)
{
	char c;
	void *p = mmap(0, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	printf("%lu\n", (unsigned long)p);
	fflush(stdout);
	if (read(0, &c, 1) != 1) return 1;
	((void (*)(void))p)();
	return 2;
}
"""


def setup(base):
    global suite, w, disk, inside, outside, program, base_dir
    base_dir = base
    w = harness.mount_tmpfs(base + "/w", "mode=1777,exec")
    disk = harness.mount_tmpfs(base + "/disk")
    inside, outside = disk + "/in", disk + "/out"
    for d in (inside, outside + "/dir"):
        os.makedirs(d)
    program = program_bytes("not-seen")
    write(outside + "/dir/moved", MOVED)
    write(inside + "/before", BEFORE)
    write(w + "/script", SCRIPT, 0o755)
    make_image()
    signatures = harness.definitions(base + "/definitions", harness.md5_line(PACKED, "Amp.Test.Packed"))
    suite = harness.Suite(base, [w, inside], engine="on", definitions=[signatures])
    for data in (TEXT, BEFORE, LATER, MOVED, STORED, NAMELESS, RENAMED, BARRIER, SCRIPT, CODE, program):
        suite.block(data, "Test.NotSeen")
    suite.start()
    suite.wait_engine()


def teardown():
    suite.cleanup()


def make_image():
    """A file system that is mounted long after its files were written."""
    there = harness.mount_ext4(base_dir + "/later", base_dir + "/later.img", 32)
    write(there + "/later", LATER)
    harness.umount(there)


def rows_of(data):
    return [r for r in suite.detections() if r["sha256"] == sha256(data)]


def caught_up():
    """Whatever was to be seen is: events come in order, and this one is the last."""
    path = "%s/barrier-%d" % (w, time.monotonic_ns())
    suite.wait_detected(write(path, BARRIER))
    suite.wait_idle()


def nothing_found(data, among=()):
    """What was said of this content, beyond the paths in `among`, is nothing."""
    caught_up()
    rows = [r for r in rows_of(data) if r["path"] not in among]
    check(not rows, "it is seen by now: change docs/threat-model.md and this case: %r" % rows)


def found_when_written(data, name):
    """The control: the same content as a file of its own."""
    path = write("%s/%s" % (w, name), data)
    suite.wait_detected(path)
    return path


def case_what_lay_there_before_the_first_start():
    nothing_found(BEFORE)
    os.rename(inside + "/before", inside + "/after")
    suite.wait_detected(inside + "/after")


def case_a_program_in_a_memfd():
    fd = os.memfd_create("program", 0)
    os.write(fd, program)
    pid = os.fork()
    if pid == 0:
        os.execve(fd, ["sleep", "300"], {})
    wait_for("the exec", lambda: os.readlink("/proc/%d/exe" % pid).startswith("/memfd:"))
    path = found_when_written(program, "control-memfd")
    nothing_found(program, [path])
    check(alive(pid), "the program in the memfd was killed")
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    os.close(fd)


def as_tester(command):
    ids = harness.USERS["amp-tester"], harness.GROUPS["amp-tester"]
    return subprocess.Popen(["/bin/sh", "-c", command], user=ids[0], group=ids[1], extra_groups=[],
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def case_a_mount_of_a_private_namespace():
    source = write(base_dir + "/program", program, 0o755)  # not watched
    place = w + "/private"
    os.makedirs(place)
    p = as_tester("exec unshare -Urm /bin/sh -c 'mount -t tmpfs private %s && cp %s %s/p && echo ran && "
                  "exec %s/p 300'" % (place, source, place, place))
    line = p.stdout.readline()
    if b"ran" not in line:
        p.wait()
        raise harness.Skip("no user namespace for users here: %s" % line.decode(errors="replace").strip())
    control = found_when_written(program, "control-private")
    nothing_found(program, [control, w + "/control-memfd"])
    check(p.poll() is None, "the program on the private mount was killed")
    p.kill()
    p.wait()
    check("private" not in open("/proc/self/mountinfo").read().replace(place, ""), "the mount is the host's")
    # The same mount in the host's namespace is watched.
    harness.mount_tmpfs(place, "mode=1777,exec")
    wait_for("the mount to be watched", lambda: filesystem(place).get("how") == "by_handle")
    p = as_tester("cp %s %s/p && exec %s/p 300" % (source, place, place))
    wait_for("its end", lambda: p.poll() is not None)
    # Killed; or it was taken away before the shell came to it (126: in between).
    check(p.returncode in (-signal.SIGKILL, 126, 127), "ended with %r" % p.returncode)
    suite.wait_detected(place + "/p")
    harness.umount(place)


def filesystem(path):
    for fs in (suite.status() or {}).get("filesystems", []):
        if fs.get("mount_point") == path:
            return fs
    return {}


def case_content_in_a_mapping_that_is_still_mapped():
    path = write(w + "/mapped", b"\0" * len(STORED))
    suite.wait_idle()
    fd = os.open(path, os.O_RDWR)
    m = mmap.mmap(fd, len(STORED), mmap.MAP_SHARED)
    os.close(fd)
    m[:] = STORED
    check(open(path, "rb").read() == STORED, "the store is not in the file")
    nothing_found(STORED)
    m.close()
    suite.wait_detected(path)


def case_a_file_that_is_not_closed_yet():
    path = write(w + "/open", b"clean\n")
    suite.wait_idle()
    fd = os.open(path, os.O_WRONLY | os.O_TRUNC)
    os.write(fd, TEXT)
    nothing_found(TEXT)
    os.close(fd)
    suite.wait_detected(path)


def case_a_file_without_a_name():
    fd = os.open(w, O_TMPFILE | os.O_WRONLY, 0o644)
    os.write(fd, NAMELESS)
    os.close(fd)
    nothing_found(NAMELESS)
    found_when_written(NAMELESS, "control-nameless")


def case_a_script_given_to_its_interpreter():
    path = w + "/script"  # from before the suite, or it would have been taken
    p = subprocess.Popen(["/bin/sh", path])
    time.sleep(1)
    caught_up()
    causes = [r["cause"] for r in suite.detections(path)]
    check("exec" not in causes and p.poll() is None, "it is seen by now: %r, %r" % (causes, p.poll()))
    p.kill()
    p.wait()
    p = subprocess.Popen([path])
    wait_for("the kill", lambda: p.poll() is not None)
    check(p.returncode == -signal.SIGKILL, "ended with %r" % p.returncode)


class Piece(ctypes.Structure):
    _fields_ = [("base", ctypes.c_void_p), ("length", ctypes.c_size_t)]


def case_code_put_into_another_process():
    if platform.machine() != "x86_64":
        raise harness.Skip("the code is for x86-64")
    harness.compile_c(VICTIM, w + "/victim")
    p = subprocess.Popen([w + "/victim"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    address = int(p.stdout.readline())
    code = ctypes.create_string_buffer(CODE, len(CODE))
    local, remote = Piece(ctypes.addressof(code), len(CODE)), Piece(address, len(CODE))
    n = libc.process_vm_writev(p.pid, ctypes.byref(local), 1, ctypes.byref(remote), 1, 0)
    check(n == len(CODE), "process_vm_writev: %s" % os.strerror(ctypes.get_errno()))
    p.stdin.write(b"x")
    p.stdin.close()
    check(p.wait() == 42, "the code did not run: %r" % p.returncode)
    nothing_found(CODE)
    found_when_written(CODE, "control-code")


def case_a_file_in_an_archive():
    path = w + "/archive.zip"
    with zipfile.ZipFile(path, "w") as z:
        z.writestr("listed", TEXT)
    before = [r["path"] for r in rows_of(TEXT)]
    nothing_found(TEXT, before)
    with zipfile.ZipFile(path) as z:
        z.extract("listed", w)
    suite.wait_detected(w + "/listed")


def rar_of(name, data):
    """A RAR archive (of version 2) with one member, which is stored as it is."""

    def block(kind, flags, body, follows=b""):
        head = struct.pack("<BHH", kind, flags, 7 + len(body)) + body
        return struct.pack("<H", zlib.crc32(head) & 0xFFFF) + head + follows

    member = struct.pack("<IIBIIBBHI", len(data), len(data), 3, zlib.crc32(data), 0, 20, 0x30, len(name), 0o100644)
    return b"Rar!\x1a\x07\0" + block(0x73, 0, bytes(6)) + block(0x74, 0x8000, member + name, data) + block(0x7B, 0x4000, b"")


def case_a_member_of_a_rar_archive():
    if glob.glob("/usr/lib*/libclamunrar*") + glob.glob("/usr/lib/*/libclamunrar*"):
        raise harness.Skip("libclamunrar is here")
    with zipfile.ZipFile(w + "/packed.zip", "w") as z:
        z.writestr("packed", PACKED)
    check(suite.wait_detected(w + "/packed.zip")[0]["detection"] == "Amp.Test.Packed.UNOFFICIAL", "of the zip")
    path = write(w + "/packed.rar", rar_of(b"packed", PACKED))
    caught_up()
    check(not suite.detections(path), "it is seen by now: change docs/threat-model.md and this case")
    suite.wait_detected(write(w + "/packed", PACKED))


def case_one_byte_more():
    path = write(w + "/one-more", TEXT + b"\n")
    caught_up()
    check(not suite.detections(path), "content near a listed one is seen by now")


# -- FUSE: a file server of one file, as far as the kernel asks for it -------

FUSE_LOOKUP, FUSE_GETATTR, FUSE_OPEN, FUSE_READ, FUSE_INIT = 1, 3, 14, 15, 26
FUSE_SILENT = (2, 36, 42)  # forget, interrupt, batch forget: no answer
FUSE_DONE = (18, 25)  # release, flush


def fuse_attributes(node, size):
    mode = 0o40755 if node == 1 else 0o100755
    return struct.pack("<6Q10I", node, size, size // 512 + 1, 0, 0, 0, 0, 0, 0, mode, 1, 0, 0, 0, 4096, 0)


def fuse_answer(op, node, body, data):
    """(error, body) to one request; the one file is node 2, named "program"."""
    if op == FUSE_INIT:
        return 0, struct.pack("<4I2H3I2H7I", 7, 31, 65536, 0, 8, 6, 65536, 1, 1, 0, *([0] * 8))[:64]
    if op == FUSE_LOOKUP:
        if body.rstrip(b"\0") != b"program":
            return -errno.ENOENT, b""
        return 0, struct.pack("<4Q2I", 2, 0, 3600, 3600, 0, 0) + fuse_attributes(2, len(data))
    if op == FUSE_GETATTR:
        return 0, struct.pack("<Q2I", 3600, 0, 0) + fuse_attributes(node, len(data) if node == 2 else 0)
    if op == FUSE_OPEN:
        return 0, struct.pack("<Q2I", 1, 0, 0)
    if op == FUSE_READ:
        offset, size = struct.unpack_from("<8xQI", body)
        return 0, data[offset:offset + size]
    return (0, b"") if op in FUSE_DONE else (-errno.ENOSYS, b"")


def fuse_serve(fd, data):
    while True:
        try:
            request = os.read(fd, 1 << 17)
        except OSError as e:
            if e.errno in (errno.EINTR, errno.ENOENT):
                continue
            return
        _, op, unique, node = struct.unpack_from("<IIQQ", request)
        if op in FUSE_SILENT:
            continue
        error, body = fuse_answer(op, node, request[40:], data)
        try:
            os.write(fd, struct.pack("<IiQ", 16 + len(body), error, unique) + body)
        except OSError as e:
            # Who asked was interrupted: its answer is not wanted any more.
            if e.errno not in (errno.ENOENT, errno.EINVAL, errno.EINTR):
                return


def case_a_program_on_fuse():
    try:
        fd = os.open("/dev/fuse", os.O_RDWR)
    except OSError as e:
        raise harness.Skip("/dev/fuse: %s" % e.strerror)
    place = w + "/fuse"
    os.makedirs(place)
    options = b"fd=%d,rootmode=40000,user_id=0,group_id=0,allow_other" % fd
    rc = libc.mount(b"test", place.encode(), b"fuse.test", 0, options)
    check(rc == 0, "mount: %s" % os.strerror(ctypes.get_errno()))
    server = os.fork()  # once it is mounted: there is nothing to be read before
    if server == 0:
        fuse_serve(fd, program)
        os._exit(0)
    os.close(fd)
    p = subprocess.Popen([place + "/program", "300"])
    fs = wait_for("the mount to be noticed", lambda: filesystem(place))
    check(fs.get("how") == "not_watched", "it is watched by now: %r" % fs)
    nothing_found(program, [r["path"] for r in rows_of(program) if not r["path"].startswith(place)])
    check(p.poll() is None, "the program on FUSE was killed: %r" % p.poll())
    p.kill()
    p.wait()
    harness.umount(place)
    os.kill(server, signal.SIGKILL)
    os.waitpid(server, 0)


# -- what a repair does not find ---------------------------------------------


def good_moment():
    for line in open(suite.etc + "/ampmon.state"):
        if line.startswith("good_ns="):
            return int(line.split("=")[1])
    return 0


def case_old_files_of_a_mount_that_comes_later():
    place = w + "/later"
    os.makedirs(place)
    mark = os.stat(base_dir + "/later.img").st_mtime_ns
    wait_for("the good moment to pass", lambda: good_moment() > mark + 3 * 10 ** 9, 150)
    run("mount", "-o", "loop", base_dir + "/later.img", place)
    wait_for("the mount to be watched", lambda: filesystem(place).get("how") == "by_handle")
    nothing_found(LATER)
    os.rename(place + "/later", place + "/renamed")
    suite.wait_detected(place + "/renamed")
    harness.umount(place)


def case_changes_while_it_was_down_that_leave_no_time():
    """A directory that moved, and a store through a mapping of a tmpfs file."""
    stored = write(w + "/stored", b"\0" * len(STORED))
    already = [r["path"] for r in rows_of(STORED)]
    suite.wait_idle()
    mark = time.time_ns()
    wait_for("the good moment to pass", lambda: good_moment() > mark + 3 * 10 ** 9, 150)
    suite.stop()
    os.rename(outside + "/dir", inside + "/dir")
    fd = os.open(stored, os.O_RDWR)
    m = mmap.mmap(fd, len(STORED), mmap.MAP_SHARED)
    check(m[:1] == b"\0", "the file is not as it was written")  # read first: then a store leaves no time
    m[:] = STORED
    m.close()
    os.close(fd)
    seen = write(w + "/while-down", TEXT)
    suite.start()
    suite.wait_detected(seen)  # the control: the repair runs and finds
    nothing_found(MOVED)
    nothing_found(STORED, already)
    os.rename(inside + "/dir", inside + "/dir2")
    suite.wait_detected(inside + "/dir2/moved")


def case_content_made_by_truncate():
    """truncate(2) makes no event. Of root's programs it is not even seen when they are executed."""
    cut = program_bytes("cut")
    suite.block(cut, "Test.NotSeen.Cut")
    suite.reload()
    wait_for("the list in force", lambda: "Test.NotSeen.Cut" in str(suite.cli("policy", "lists")[1]))
    path = write(w + "/cut", cut + b" and more", 0o755)
    wait_for("the verdict to be firm", lambda: time.time() > os.stat(path).st_mtime + 4)
    for _ in range(2):
        subprocess.run([path, "0"], check=True)
        suite.wait_idle()
    os.truncate(path, len(cut))
    p = subprocess.Popen([path, "300"])
    try:
        suite.wait_idle()
        nothing_found(cut)
        check(p.poll() is None, "it was killed")
    finally:
        p.kill()
        p.wait()
    os.rename(path, w + "/cut2")
    suite.wait_detected(w + "/cut2")


def case_a_rename_where_events_are_by_descriptor():
    suite.stop()
    suite.configure(event_source="fd")
    suite.start()
    suite.wait_idle()
    write(outside + "/renamed", RENAMED)
    caught_up()
    os.rename(outside + "/renamed", inside + "/renamed")
    os.link(inside + "/renamed", inside + "/linked")
    nothing_found(RENAMED)
    write(inside + "/written", RENAMED)
    suite.wait_detected(inside + "/written")


harness.main(globals())
