"""What was taken comes back as it was, and only that.

Issue "Quarantine", point 2: owner, mode, times, attributes, ACLs and flags of
a restored file are the old ones, whatever its name, path, size or holes; it is
put on nothing that is there, through no link; it stays until it is revoked;
deletion and age are events. Point 6: what was tampered with, in the vault or in
the database, is refused and nothing of it reaches the disk.
"""

import ctypes
import fcntl
import json
import os
import shutil
import signal
import sqlite3
import stat
import struct
import subprocess
import threading
import time

import harness
import still
from harness import check, run, sha256, wait_for, write

libc = ctypes.CDLL(None, use_errno=True)
FS_IOC_GETFLAGS, FS_IOC_SETFLAGS = 0x80086601, 0x40086602
IMMUTABLE, APPEND, NODUMP = 0x10, 0x20, 0x40
PRIVATE = b".amp-quarantine-"
CAPABILITY = struct.pack("<IIIII", 0x02000001, 1 << 10, 0, 0, 0)  # cap_net_bind_service
TESTER = harness.USERS["amp-tester"]
DAY_NS = 86400 * 10**9
POOL = 160
GIB = 1 << 30
LONG = 300  # seconds for as much as that
numbers = iter(range(POOL))


def content(n):
    return b"listed content number %d of the restore test\n" % n * 50


def fresh():
    """Content that is listed and was not used before."""
    return content(next(numbers))


def big_blocks():
    """(offset, bytes) of the 2 GiB file."""
    block = bytes(range(256)) * 4096
    return [(at, block) for at in (0, 3 << 20, GIB - (1 << 19), GIB + (5 << 20), 2 * GIB - (1 << 20))]


def big_sha256():
    h, zeroes, at = harness.hashlib.sha256(), bytes(1 << 20), 0
    for where, data in big_blocks():
        while at < where:
            n = min(len(zeroes), where - at)
            h.update(zeroes[:n])
            at += n
        h.update(data)
        at += len(data)
    return h.hexdigest()


def sparse():
    """(size, {offset: bytes}) of a file with holes at its beginning, middle and end."""
    return 3 << 20, {1 << 20: b"S" * 8192, 2 << 20: b"T" * 4096}


def sparse_bytes():
    size, pieces = sparse()
    out = bytearray(size)
    for at, data in pieces.items():
        out[at:at + len(data)] = data
    return bytes(out)


LARGE = b"".join(b"%08d" % i for i in range(25000))
PROGRAM, KEPT = harness.program_bytes("restored"), harness.program_bytes("restored, with a suite that starts anew")


def setup(base):
    global suite, top, tmpfs, prep, target, vault
    # strictatime: what the suite reads is not to be seen in the time of access.
    top = harness.mount_ext4(base + "/ext4", base + "/ext4.img")
    run("mount", "-o", "remount,strictatime", top)
    tmpfs = harness.mount_tmpfs(base + "/w-tmpfs", "mode=1777,strictatime")
    target = harness.mount_tmpfs(base + "/target", "mode=755,strictatime")
    prep = top + "/prep"
    os.makedirs(prep)
    os.makedirs(top + "/watched")
    suite = harness.Suite(base, [top + "/watched", tmpfs], heartbeat_timeout=300)  # who is stopped stays
    vault = suite.quarantine
    listed = [content(n) for n in range(POOL)] + [b"", sparse_bytes(), LARGE, PROGRAM, KEPT]
    suite.lists["blocked.list"] = ["%s Test.Listed" % sha256(d) for d in listed]
    suite.lists["blocked.list"].append("%s Test.Big" % big_sha256())
    suite.configure()
    suite.start()
    os.makedirs(w("plain"))


def teardown():
    suite.cleanup()


def w(name):
    """In the watched directory of ext4."""
    return top + "/watched/" + name


# -- helpers -----------------------------------------------------------------


def entries(sha=None):
    return [e for e in suite.cli("quarantine", "list")[1] or [] if sha is None or e["sha256"] == sha]


def wait_entry(sha, known=(), seconds=harness.SOON):
    """The one new entry of that hash, once it is in the vault."""

    def there():
        new = [e for e in entries(sha) if e["id"] not in known]
        return new if new and all(e["state"] == "quarantined" for e in new) else None

    new = wait_for("an entry of %s" % sha[:8], there, seconds)
    check(len(new) == 1, "entries: %r" % new)
    wait_for("its record", lambda: events("threat_quarantined", new[0]["detection_id"]))
    return new[0]


def wait_told():
    """Every detection has its outcome in the history: nothing more comes of what was found."""

    def told():
        rows = suite.history()
        found = {r["detection_id"] for r in rows if r["type"] == "threat_detected"}
        return found <= {r["detection_id"] for r in rows if r["type"] in ("threat_quarantined", "threat_neutralised")}

    wait_for("an outcome of every detection", told)


def take(path, data, mode=0o644, dress=None):
    """A file of that content, dressed first, arrives at path and is taken."""
    known = [e["id"] for e in entries(sha256(data))]
    if dress:
        made = write(prep + "/made", data, mode)
        dress(made)
        os.rename(made, path)
    else:
        write(path, data, mode)
    e = wait_entry(sha256(data), known)
    check(not os.path.lexists(path), "it is still there")
    return e


def show(ident):
    code, doc = suite.cli("quarantine", "show", ident)
    check(code == 0, "show: %r" % doc)
    return doc


def restore(ident, *argv):
    code, doc = suite.cli("quarantine", "restore", ident, *argv)
    return code, doc or {}


def restored(ident, *argv):
    code, doc = restore(ident, *argv)
    check(code == 0, "not restored: %r" % doc)
    return doc


def refused(ident, *argv, word=None):
    code, doc = restore(ident, *argv)
    check(code != 0 and doc.get("error"), "it was not refused: %d %r" % (code, doc))
    check(word is None or word in doc["error"], "it says: %r" % doc)
    return doc["error"]


def xattrs(path):
    return {n: os.getxattr(path, n) for n in os.listxattr(path)}


def flags(path, change=None):
    fd = os.open(path, os.O_RDONLY)
    try:
        old = struct.unpack("I", fcntl.ioctl(fd, FS_IOC_GETFLAGS, b"\0" * 4))[0]
        if change is not None:
            fcntl.ioctl(fd, FS_IOC_SETFLAGS, struct.pack("I", change(old)))
        return old
    finally:
        os.close(fd)


def looks(path):
    """All that is to be the same afterwards."""
    st = os.lstat(path)
    return {
        "uid": st.st_uid, "gid": st.st_gid, "mode": stat.S_IMODE(st.st_mode), "atime": st.st_atime_ns,
        "mtime": st.st_mtime_ns, "size": st.st_size, "xattrs": xattrs(path),
        "flags": flags(path) & (IMMUTABLE | APPEND | NODUMP),
    }


def same(then, now, but=()):
    for key in then:
        check(key in but or then[key] == now[key], "%s was %r, is %r" % (key, then[key], now[key]))


def left_over(where):
    return [os.path.join(os.fsencode(d), n) for d, dirs, files in os.walk(os.fsencode(where))
            for n in dirs + files if n.startswith(PRIVATE)]


def events(kind, ident):
    return [r for r in suite.history(kind) if r["detection_id"] == ident]


def wait_event(kind, ident, count=1):
    rows = wait_for("%s of %s" % (kind, ident), lambda: len(events(kind, ident)) >= count and events(kind, ident))
    check(len(rows) == count, "%s: %r" % (kind, rows))
    return rows


def barrier():
    """What happened before was judged: one that came later is taken."""
    data = fresh()
    take(w("barrier"), data)
    suite.wait_idle()


def new_pid(name, old):
    """And ampmon knows of it: until then its word is of the old one."""
    return wait_for("a new " + name, lambda: suite.pids().get(name, old) != old and
                    suite.service(name)["pid"] not in (0, old))


class Watched:
    """Nothing may happen in the directory meanwhile. Of a file system of its own no block is used either; of another
    one what was removed before may get free only now, when the last who reads it is done."""

    MASK = 0x2 | 0x4 | 0x8 | 0x40 | 0x80 | 0x100 | 0x200  # modify, attrib, close_write, moved, create, delete

    def __init__(self, path):
        self.path = path

    def listing(self):
        free = os.statvfs(self.path).f_bfree if os.path.ismount(self.path) else None
        return sorted((n, os.lstat(self.path + "/" + n).st_mtime_ns) for n in os.listdir(self.path)), free

    def __enter__(self):
        self.fd = libc.inotify_init1(os.O_NONBLOCK)
        check(libc.inotify_add_watch(self.fd, os.fsencode(self.path), self.MASK) >= 0, "inotify")
        self.before = self.listing()
        return self

    def __exit__(self, kind, value, trace):
        try:
            seen = os.read(self.fd, 65536)
        except BlockingIOError:
            seen = b""
        os.close(self.fd)
        if kind is None:
            check(self.listing() == self.before, "%s: was %r, is %r" % (self.path, self.before, self.listing()))
            check(not seen, "something happened in %s: %r" % (self.path, seen))


# -- what a file has beside its content -----------------------------------------


def dressed(path):
    os.chown(path, TESTER, harness.GROUPS["amp"])
    os.setxattr(path, "user.plain", b"value \x00\xff of it")
    os.setxattr(path, "user.empty", b"")
    run("setfacl", "-m", "u:%d:r-x,g:%d:--x,m::rwx" % (harness.USERS["amp-read"], TESTER), path)
    os.chmod(path, 0o6751)
    os.setxattr(path, "security.capability", CAPABILITY)
    flags(path, lambda f: f | NODUMP)
    os.utime(path, ns=(1_234_567_890_123_456_789, 987_654_321_987_654_321))


def case_everything_is_as_it_was_but_privileges():
    data, path, seen = fresh(), w("plain/dressed"), {}

    def dress(made):
        dressed(made)
        seen.update(looks(made))

    e = take(path, data, dress=dress)
    one = show(e["id"])
    check((one["uid"], one["gid"], one["mode"], one["nlink"]) == (TESTER, harness.GROUPS["amp"], "6751", 1),
          "show: %r" % one)
    check({"user.plain", "user.empty", "system.posix_acl_access"} <= set(one["xattrs"]), "show: %r" % one)
    doc = restored(e["id"])
    now = looks(path)
    same(seen, now, but=("mode", "xattrs"))
    check(now["mode"] == 0o751, "mode %o" % now["mode"])
    del seen["xattrs"]["security.capability"]
    same(seen, now, but=("mode",))
    said = "\n".join(doc["left"])
    check("set-user-ID" in said and "capabilities" in said, "left: %r" % doc)
    check(doc["path"] == path and doc["id"] == e["id"], "answer: %r" % doc)
    barrier()
    same(now, looks(path))  # judging it has left no trace
    check(open(path, "rb").read() == data, "content")


def case_privileges_are_kept_when_told_so():
    data, path, seen = fresh(), w("plain/privileged"), {}

    def dress(made):
        dressed(made)
        seen.update(looks(made))

    e = take(path, data, dress=dress)
    doc = restored(e["id"], "--keep-privileges")
    same(seen, looks(path))
    check(looks(path)["xattrs"]["security.capability"] == CAPABILITY, "capability")
    check(doc["left"] == [], "left: %r" % doc)


def case_what_only_the_system_may_set_is_listed():
    data, path = fresh(), w("plain/labelled")

    def dress(made):
        os.setxattr(made, "security.foo", b"label")
        os.setxattr(made, "user.fine", b"fine")

    e = take(path, data, dress=dress)
    doc = restored(e["id"])
    # Where a BPF LSM is built in and before Linux 6.10, anybody may set security.*: then it is there.
    left, there = "\n".join(doc["left"]), xattrs(path)
    check(("security.foo" in left) != ("security.foo" in there), "left: %r, there: %r" % (doc, there))
    check(there.pop("security.foo", b"label") == b"label", "another label")
    check(there == {"user.fine": b"fine"}, "attributes: %r" % there)
    check("security.foo" in suite.cli("quarantine", "show", e["id"])[1]["xattrs"], "show")


def case_nothing_is_inherited_from_the_directory():
    """A default ACL and a set-gid directory would give what the file never had."""
    data, d = fresh(), w("inherits")
    os.makedirs(d)
    seen = {}
    e = take(d + "/file", data, 0o640, lambda p: (os.utime(p, ns=(5, 7)), seen.update(looks(p))))
    os.chown(d, 0, TESTER)
    os.chmod(d, 0o2777)
    run("setfacl", "-d", "-m", "u:%d:rwx" % TESTER, d)
    restored(e["id"])
    same(seen, looks(d + "/file"))


def case_immutable_and_append_only():
    for name, flag in (("immutable", IMMUTABLE), ("append", APPEND)):
        data = fresh()
        os.makedirs(prep + "/" + name)
        made = write("%s/%s/file" % (prep, name), data)
        os.utime(made, ns=(11, 13))
        flags(made, lambda f: f | flag)
        then = looks(made)
        path = w(name + "/file")
        os.rename(prep + "/" + name, w(name))
        e = wait_entry(sha256(data))
        check(not os.path.exists(path), "%s: still there" % name)
        restored(e["id"])
        now = looks(path)
        flags(path, lambda f: f & ~flag)
        same(then, now)


# -- names and paths ------------------------------------------------------------


def case_names_of_every_kind():
    names = [b"with a space", b"two\nlines\ttab", b"x" * 255, b"not utf-8 \xff\xfe\x80", b"-rf", b"\\x41 \x1b[31m",
             "ü€😀".encode(), b"..."]
    for name in names:
        data, path = fresh(), os.fsencode(w("plain")) + b"/" + name
        e = take(path, data)
        for doc in (e, show(e["id"])):
            exact = bytes.fromhex(doc["path_bytes"]) if "path_bytes" in doc else doc["path"].encode()
            check(exact == path, "path of %r: %r" % (name, doc))
        code, text = suite.cli("quarantine", "list", json_output=False)
        check(code == 0 and "\x1b" not in text, "the text has the bytes of %r" % name)
        check([l for l in text.split("\n") if l.startswith(e["id"])], "no line for %r" % name)
        doc = restored(e["id"])
        exact = bytes.fromhex(doc["path_bytes"]) if "path_bytes" in doc else doc["path"].encode()
        check(exact == path, "answer: %r" % doc)
        check(open(path, "rb").read() == data, "content of %r" % name)


def deep(start, make=True):
    """Descriptor and path of a directory beyond PATH_MAX."""
    fd, path = os.open(start, os.O_RDONLY | os.O_DIRECTORY), start
    for i in range(20):
        name = ("%02d" % i) * 120
        if make:
            os.mkdir(name, dir_fd=fd)
        new = os.open(name, os.O_RDONLY | os.O_DIRECTORY, dir_fd=fd)
        os.close(fd)
        fd, path = new, path + "/" + name
    check(len(path) > 4096, "not deep")
    return fd, path


def read_at(fd, name):
    with open(os.open(name, os.O_RDONLY, dir_fd=fd), "rb") as f:
        return f.read()


def case_path_beyond_path_max():
    data, d = fresh(), w("deep")
    os.makedirs(d)
    fd, path = deep(d)
    with open(os.open("file", os.O_WRONLY | os.O_CREAT, 0o644, dir_fd=fd), "wb") as f:
        f.write(data)
    e = wait_entry(sha256(data))
    check("file" not in os.listdir(fd), "it is still there")
    check(e["path"] == path + "/file", "path: %r" % e)
    restored(e["id"])
    check(read_at(fd, "file") == data, "not where it was")
    os.makedirs(target + "/deep")
    to, to_path = deep(target + "/deep")
    doc = restored(e["id"], "--to", to_path)
    check(read_at(to, "file") == data and doc["path"] == to_path + "/file", "not where it was to be")
    barrier()
    check(read_at(fd, "file") == data, "it did not stay")
    os.close(fd)
    os.close(to)


# -- sizes ------------------------------------------------------------------------


def case_empty_file():
    """Emptied files have this content too: it must not go round in circles."""
    path, sha = w("plain/empty"), sha256(b"")
    known = [e["id"] for e in entries(sha)]
    write(path, b"", 0o604)
    e = wait_entry(sha, known)
    check(not os.path.exists(path) and e["size"] == 0, "entry: %r" % e)
    # With a link that no event tells of, and a listed file that is emptied for its links.
    data = fresh()
    made = write(prep + "/linked", data)
    os.link(made, prep + "/hidden")
    os.rename(made, w("plain/linked"))
    wait_entry(sha256(data))
    suite.wait_idle()
    check(os.path.getsize(prep + "/hidden") == 0, "the link has content")

    def rows():
        wait_told()
        return [r for r in suite.history() if r["path"] != w("barrier")]

    before = len(rows())
    time.sleep(3)
    barrier()
    check(len(rows()) == before, "it goes on: %r" % rows()[:4])
    check(len(entries(sha)) <= len(known) + 2, "entries of nothing: %d" % len(entries(sha)))
    restored(e["id"])
    st = os.stat(path)
    check(st.st_size == 0 and stat.S_IMODE(st.st_mode) == 0o604, "mode %o" % st.st_mode)
    barrier()
    check(os.path.exists(path), "it did not stay")
    code, doc = suite.cli("quarantine", "revoke", sha)
    check(code == 0, "revoke: %r" % doc)
    wait_for("it to be taken again", lambda: not os.path.exists(path))
    # The content is not to be a trap for the cases that follow.
    os.unlink(prep + "/hidden")


def holes(path):
    out, at = [], 0
    fd = os.open(path, os.O_RDONLY)
    size = os.fstat(fd).st_size
    while at < size:
        hole = os.lseek(fd, at, os.SEEK_HOLE)
        try:
            data = os.lseek(fd, hole, os.SEEK_DATA)
        except OSError:
            data = size
        out.append((at, hole, data))
        at = data
    os.close(fd)
    return out


def case_sparse_file():
    size, pieces = sparse()
    for d in (w("plain"), tmpfs):
        path = d + "/sparse"
        made = (prep if d != tmpfs else target) + "/sparse"
        with open(made, "wb") as f:
            f.truncate(size)
            for at, data in pieces.items():
                f.seek(at)
                f.write(data)
        then, blocks = holes(made), os.stat(made).st_blocks
        known = [e["id"] for e in entries(sha256(sparse_bytes()))]
        run("mv", made, path) if d != tmpfs else run("cp", "--sparse=always", made, path)
        e = wait_entry(sha256(sparse_bytes()), known)
        check(os.path.getsize("%s/%s.q" % (vault, e["id"])) < 100000, "the vault has its holes")
        restored(e["id"])
        check(holes(path) == then, "holes were %r, are %r" % (then, holes(path)))
        check(os.stat(path).st_blocks <= blocks, "%d blocks, were %d" % (os.stat(path).st_blocks, blocks))
        check(open(path, "rb").read() == sparse_bytes(), "content")
        suite.cli("quarantine", "revoke", sha256(sparse_bytes()))
        wait_for("it to be taken again", lambda: not os.path.exists(path))
        suite.wait_idle()


def case_two_gib():
    path, sha = tmpfs + "/big", big_sha256()
    with open(path, "wb") as f:
        for at, data in big_blocks():
            f.seek(at)
            f.write(data)
    e = wait_entry(sha, seconds=LONG)
    check(e["size"] == 2 * GIB and not os.path.exists(path), "entry: %r" % e)
    # It is not over while it is asked about, however soon it could be: an ampscand that says nothing is waited for.
    with still.stopped(suite.pids()["ampscand"]):
        p = subprocess.Popen([suite.bin + "/ampcli", "--run-dir", suite.run, "quarantine", "restore", e["id"],
                              "--json"], stdout=subprocess.PIPE)
        nobody = "00000000-0000-4000-8000-000000000000"
        wait_for("its begin", lambda: "being restored" in restore(nobody)[1].get("error", ""), pause=0)
        code, doc = suite.cli("quarantine", "delete", e["id"], "--yes")
        check(code != 0 and "being restored" in doc["error"], "deleted meanwhile: %d %r" % (code, doc))
        refused(e["id"], word="another entry is being restored")
        check(not os.path.lexists(path), "it has its name before it is allowed")
    wait_for("its name", lambda: os.path.lexists(path) or p.poll() is not None, LONG, 0.001)
    if os.path.lexists(path):
        at, data = big_blocks()[-1]
        with open(path, "rb") as f:
            f.seek(at)
            check(f.read() == data, "it has its name before it is whole")
    text = p.communicate(timeout=LONG * harness.SLOW)[0]
    check(p.returncode == 0, "not restored: %r" % text)
    doc = json.loads(text)
    check(os.path.getsize(path) == 2 * GIB and os.stat(path).st_blocks < 32768, "%r" % (os.stat(path),))
    with open(path, "rb") as f:
        for at, data in big_blocks():
            f.seek(at)
            check(f.read(len(data)) == data, "content at %d" % at)
    run("sh", "-c", "sha256sum < '%s' | grep -q %s" % (path, sha))
    check(doc["left"] == [], "left: %r" % doc)


def case_hard_links():
    data, d = fresh(), w("links")
    made = write(prep + "/one", data)
    os.link(made, prep + "/two")
    os.link(made, prep + "/three")
    os.makedirs(d)
    os.rename(made, d + "/one")
    e = wait_entry(sha256(data))
    check(show(e["id"])["nlink"] == 3, "nlink: %r" % show(e["id"]))
    check("emptied" in show(e["id"])["note"], "note: %r" % show(e["id"]))
    doc = restored(e["id"])
    check([s for s in doc["left"] if "3 names" in s], "left: %r" % doc)
    check(open(d + "/one", "rb").read() == data and os.stat(d + "/one").st_nlink == 1, "restored")
    for n in ("two", "three"):
        check(os.path.getsize("%s/%s" % (prep, n)) == 0, "%s has content" % n)


# -- where it must not go -----------------------------------------------------------


def case_never_onto_what_is_there():
    data, d = fresh(), w("occupied")
    os.makedirs(d)
    path = d + "/file"
    e = take(path, data)
    canary = write(target + "/canary", b"canary")
    kinds = {
        "symlink": lambda: os.symlink(canary, path),
        "dangling symlink": lambda: os.symlink(target + "/nowhere", path),
        "fifo": lambda: os.mkfifo(path),
        "directory": lambda: os.mkdir(path),
        "file": lambda: write(path, b"mine"),
        "link to a file": lambda: os.link(write(d + "/other", b"other"), path),
    }
    for kind, make in kinds.items():
        make()
        with Watched(d), Watched(target):
            refused(e["id"], word="there already")
        check(open(canary, "rb").read() == b"canary" and not os.path.lexists(target + "/nowhere"), kind)
        shutil.rmtree(path) if os.path.isdir(path) and not os.path.islink(path) else os.unlink(path)
        check(not left_over(d), "%s: left over: %r" % (kind, left_over(d)))
    check(e["id"] in [x["id"] for x in entries() if x["state"] == "quarantined"], "the entry is lost")
    # What was refused is not allowed by it.
    again = take(path, data)
    restored(again["id"])


def case_not_through_links_nor_into_what_vanished():
    data, d = fresh(), w("moved")
    os.makedirs(d + "/inner")
    e = take(d + "/inner/file", data)
    os.rename(d + "/inner", d + "/true")
    refused(e["id"], word="directory is not there")
    os.symlink(d + "/true", d + "/inner")
    with Watched(d + "/true"):
        refused(e["id"], word="symbolic link")
        refused(e["id"], "--to", d + "/inner", word="symbolic link")
    os.unlink(d + "/inner")
    write(d + "/inner", b"a file")
    refused(e["id"], word="no directory")
    os.unlink(d + "/inner")
    os.rename(d, d + "-away")
    os.symlink(d + "-away", d)
    with Watched(d + "-away/true"):
        refused(e["id"], "--to", d + "/true", word="symbolic link")
    os.unlink(d)
    os.rename(d + "-away", d)
    refused(e["id"], "--to", d + "/true/../true")
    refused(e["id"], "--to", target + "/absent", word="directory is not there")
    check(not os.path.exists(target + "/absent"), "it was made")
    refused(e["id"], "--to", write(target + "/no-directory", b"x"), word="no directory")
    check(not left_over(top) and not left_over(target), "left over")
    os.mkdir(d + "/inner")
    restored(e["id"])
    check(open(d + "/inner/file", "rb").read() == data, "content")


def case_read_only_and_full_file_systems():
    data = LARGE
    e = take(w("plain/large"), data)
    small = harness.mount_tmpfs(target + "/small", "mode=755,size=64k")
    with Watched(small):
        pass
    refused(e["id"], "--to", small, word="no space")
    check(os.listdir(small) == [] and os.statvfs(small).f_bfree == os.statvfs(small).f_blocks, "left over")
    run("mount", "-o", "remount,ro", small)
    refused(e["id"], "--to", small, word="read-only")
    run("umount", small)
    os.rmdir(small)
    take(w("plain/large"), data)  # it is not allowed by a restore that failed


def case_to_another_directory_and_twice():
    data = fresh()
    e = take(w("plain/once"), data)
    os.makedirs(target + "/a dir")
    doc = restored(e["id"], "--to", target + "/a dir/")
    check(doc["path"].replace("//", "/") == target + "/a dir/once", "answer: %r" % doc)
    check(open(target + "/a dir/once", "rb").read() == data, "content")
    check(show(e["id"])["state"] == "restored" and show(e["id"])["restored_to"], "show: %r" % show(e["id"]))
    restored(e["id"])
    check(open(w("plain/once"), "rb").read() == data, "second copy")
    refused(e["id"], word="there already")
    os.unlink(w("plain/once"))
    restored(e["id"])
    wait_event("threat_restored", e["detection_id"], 3)
    refused("00000000-0000-4000-8000-000000000000", word="no entry")


def case_two_at_once():
    """Each is restored, or says that it was not; a half is never seen."""
    took = [(take(w("plain/at-once-%d" % i), d), d) for i, d in enumerate(fresh() for _ in range(4))]
    answers = {}

    def one(i, e):
        answers[i] = restore(e["id"])

    threads = [threading.Thread(target=one, args=(i, e)) for i, (e, _) in enumerate(took)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    for i, (e, data) in enumerate(took):
        path = w("plain/at-once-%d" % i)
        if answers[i][0] == 0:
            check(open(path, "rb").read() == data, "a half")
        else:
            check(answers[i][1].get("error") and not os.path.exists(path), "%r" % (answers[i],))
            restored(e["id"])


# -- who, and in what company ---------------------------------------------------------


def case_only_root_may_change():
    data = fresh()
    e = take(w("plain/roots"), data)

    def as_member(*argv):
        r = subprocess.run([suite.bin + "/ampcli", "--run-dir", suite.run, "quarantine", *argv, "--json"],
                           stdout=subprocess.PIPE, stderr=subprocess.STDOUT, user=TESTER,
                           group=harness.GROUPS["amp"], extra_groups=[])
        return r.returncode, r.stdout.decode()

    check(as_member("list")[0] == 0 and as_member("show", e["id"])[0] == 0, "a member may not look")
    before = suite.history()
    for argv in (("restore", e["id"]), ("restore", e["id"], "--to", "/tmp"), ("delete", e["id"], "--yes"),
                 ("revoke", sha256(data))):
        code, text = as_member(*argv)
        check(code != 0 and "error" in text, "%r: %d %s" % (argv, code, text))
    check(not os.path.exists(w("plain/roots")) and os.path.exists("%s/%s.q" % (vault, e["id"])), "changed")
    check(show(e["id"])["state"] == "quarantined" and suite.history() == before, "changed")


def case_while_ampscand_dies():
    took = [(take(w("plain/dying-%d" % i), d), d) for i, d in enumerate(fresh() for _ in range(10))]
    stop = threading.Event()

    killed = []

    def killer():
        for _ in range(5):
            pid = suite.pids().get("ampscand")
            if pid and pid not in killed:
                os.kill(pid, signal.SIGKILL)
                killed.append(pid)
            if stop.wait(0.25):
                return

    thread = threading.Thread(target=killer)
    thread.start()
    for i, (e, data) in enumerate(took):
        path = w("plain/dying-%d" % i)
        code, doc = restore(e["id"])
        if code == 0:
            check(open(path, "rb").read() == data, "a half")
        else:
            check(doc.get("error"), "no word: %d %r" % (code, doc))
            check(not os.path.exists(path), "%s: %r, and it is there" % (path, doc))
        time.sleep(0.1)
    stop.set()
    thread.join()
    check(killed, "nobody was killed")
    new_pid("ampscand", killed[-1])
    suite.wait_ready()
    check(not left_over(w("plain")), "left over: %r" % left_over(w("plain")))
    for i, (e, data) in enumerate(took):
        if not os.path.exists(w("plain/dying-%d" % i)):
            restored(e["id"])
    barrier()
    for i, (e, data) in enumerate(took):
        check(open(w("plain/dying-%d" % i), "rb").read() == data, "%d did not stay" % i)
        check(len(entries(sha256(data))) == 1, "%d was taken again" % i)


def case_ampquard_dies_in_a_restore():
    """Killed at any moment: the file is there as a whole, or not at all and restored later."""
    for round in range(8):
        data = fresh()
        path = w("plain/killed-%d" % round)
        e = take(path, data)
        pid = suite.pids()["ampquard"]
        p = subprocess.Popen([suite.bin + "/ampcli", "--run-dir", suite.run, "quarantine", "restore", e["id"]],
                             stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(0.002 * round)
        os.kill(pid, signal.SIGKILL)
        p.wait()
        new_pid("ampquard", pid)
        suite.wait_ready()
        wait_for("the quarantine to be open", lambda: suite.cli("quarantine", "list")[0] == 0)
        if os.path.exists(path):
            check(open(path, "rb").read() == data, "a half")
        else:
            restored(e["id"])
        barrier()
        check(open(path, "rb").read() == data, "it did not stay")
        check(not left_over(w("plain")), "left over: %r" % left_over(w("plain")))


# -- it stays until it is revoked ------------------------------------------------------


def stays(path, data, why):
    barrier()
    check(os.path.exists(path) and open(path, "rb").read() == data, "gone after %s" % why)


def case_it_stays_until_revoked():
    path, data = w("plain/program"), PROGRAM
    e = take(path, data, 0o755)
    restored(e["id"])
    ino = os.stat(path).st_ino
    stays(path, data, "its restore")
    check(subprocess.run([path, "0"]).returncode == 0, "it does not run")
    stays(path, data, "it was executed")
    os.utime(path)
    with open(path, "r+b") as f:
        f.write(data[:1])
    stays(path, data, "it was touched")
    run("cp", path, w("plain/copied"))
    run("cp", path, tmpfs + "/copied")
    stays(w("plain/copied"), data, "it was copied")
    stays(tmpfs + "/copied", data, "it was copied")
    suite.reload()
    os.rename(path, path + "2")
    os.rename(path + "2", path)
    stays(path, data, "a reload")
    for name in ("ampscand", "ampquard"):
        pid = suite.pids()[name]
        os.kill(pid, signal.SIGKILL)
        os.utime(path)
        subprocess.run([path, "0"])
        new_pid(name, pid)
        suite.wait_ready()
        check(subprocess.run([path, "0"]).returncode == 0, "it does not run after a kill of %s" % name)
        stays(path, data, "a kill of " + name)
    suite.stop()
    os.utime(path)
    suite.start()
    check(subprocess.run([path, "0"]).returncode == 0, "it does not run after a restart")
    stays(path, data, "a restart")
    check(os.stat(path).st_ino == ino, "another file")
    check(len(entries(sha256(data))) == 1, "entries: %r" % entries(sha256(data)))
    revoked_is_taken_again(path, data, e)


def revoked_is_taken_again(path, data, first):
    p = subprocess.Popen([path, "300"])
    known = [x["id"] for x in entries(sha256(data))]
    code, doc = suite.cli("quarantine", "revoke", sha256(data))
    check(code == 0 and doc["judged_again"] == 1 and doc["sha256"] == sha256(data), "revoke: %r" % doc)
    check(wait_for("its death", lambda: p.poll() is not None or None), "lives")
    check(p.returncode == -9, "status %d" % p.returncode)
    wait_for("it to be taken again", lambda: not os.path.exists(path))
    new = wait_for("a second entry", lambda: [x for x in entries(sha256(data)) if x["id"] not in known and
                                              x["state"] == "quarantined" and x["path"] == path])[0]
    check(new["detection_id"] != first["detection_id"], "joined with the first detection")
    code, doc = suite.cli("quarantine", "revoke", sha256(data))
    check(code != 0 and "error" in doc, "revoked twice: %r" % doc)
    # The copies are met when they are used.
    try:
        subprocess.run([w("plain/copied"), "0"])
    except OSError:
        pass  # or before, or just now
    wait_for("the copy to be taken", lambda: not os.path.exists(w("plain/copied")))
    restored(new["id"])
    stays(path, data, "its second restore")
    os.unlink(path)


# -- deletion, age, history ---------------------------------------------------------------


def case_delete():
    data, other = fresh(), take(w("plain/not-deleted"), fresh())
    e = take(w("plain/deleted"), data)
    code, doc = suite.cli("quarantine", "delete", e["id"])
    check(code != 0, "deleted without a word: %r" % doc)
    check(os.path.exists("%s/%s.q" % (vault, e["id"])), "deleted without a word")
    code, doc = suite.cli("quarantine", "delete", e["id"], "--yes")
    check(code == 0 and doc == {"id": e["id"], "deleted": True}, "delete: %r" % doc)
    check(not os.path.exists("%s/%s.q" % (vault, e["id"])), "its file is there")
    check(not entries(sha256(data)), "it is listed")
    row = wait_event("threat_deleted", e["detection_id"])[0]
    check(row["sha256"] == sha256(data) and row["path"] == w("plain/deleted"), "event: %r" % row)
    refused(e["id"], word="no entry")
    check(suite.cli("quarantine", "delete", e["id"], "--yes")[0] != 0, "deleted twice")
    check(suite.cli("quarantine", "show", e["id"])[0] != 0, "it is shown")
    restored(other["id"])
    again = take(w("plain/deleted"), data)
    check(again["detection_id"] != e["detection_id"], "joined with what was deleted")


def database():
    return sqlite3.connect(vault + "/quarantine.db", isolation_level=None)


def case_retention():
    kept, old = take(w("plain/kept"), fresh()), take(w("plain/old"), fresh())
    given, seen = take(w("plain/given"), fresh()), fresh()
    restored(given["id"])
    suite.stop()
    suite.configure(quarantine_days=1)
    db = database()
    db.execute("UPDATE entries SET done_ns = done_ns - ?1, ended_ns = ended_ns - ?1 WHERE id IN (?2, ?3)",
               (2 * DAY_NS, old["id"], given["id"]))
    db.execute("UPDATE entries SET done_ns = done_ns - ?1, ended_ns = ended_ns - ?1 WHERE id = ?2",
               (DAY_NS // 2, kept["id"]))
    db.close()
    suite.start()
    wait_for("deletion", lambda: entries() and not {old["id"], given["id"]} & {e["id"] for e in entries()})
    check(kept["id"] in [e["id"] for e in entries()], "what is not old was deleted")
    for e in (old, given):
        row = wait_event("threat_deleted", e["detection_id"])[0]
        check("1 days" in json.dumps(row), "event: %r" % row)
        check(not os.path.exists("%s/%s.q" % (vault, e["id"])), "its file is there")
    check(not events("threat_deleted", kept["detection_id"]), "an event of what was kept")
    # The content that was given back is allowed all the same.
    os.utime(w("plain/given"))
    barrier()
    check(os.path.exists(w("plain/given")), "taken again, because its entry was too old")
    restored(kept["id"])


def case_history():
    data = fresh()
    e = take(w("plain/told"), data)
    restored(e["id"], "--to", target)
    row = wait_event("threat_restored", e["detection_id"])[0]
    check(row["sha256"] == sha256(data) and row["path"] == w("plain/told"), "event: %r" % row)
    check(target + "/told" in json.dumps(row), "where to is not said: %r" % row)
    restored(e["id"], "--to", w("plain"))
    wait_event("threat_restored", e["detection_id"], 2)
    kinds = [r["type"] for r in suite.history() if r["detection_id"] == e["detection_id"]]
    check(sorted(kinds) == ["threat_detected", "threat_quarantined", "threat_restored", "threat_restored"],
          "history: %r" % kinds)


# -- point 6: what was tampered with ----------------------------------------------------------


def vault_file(e):
    return "%s/%s.q" % (vault, e["id"])


def place():
    """A file system of its own, so that no block of it can be used unseen."""
    d = target + "/tampered"
    if not os.path.ismount(d):
        harness.mount_tmpfs(d, "mode=755")
    return d


def refused_unseen(e, word="tampered"):
    before = suite.pids()
    with Watched(place()):
        said = refused(e["id"], "--to", place(), word=word)
    check(suite.pids() == before, "a process died: %r, was %r" % (suite.pids(), before))
    return said


def tampered():
    return suite.counters().get("ampquard.quarantine.tampered", 0)


def case_bytes_of_a_vault_file():
    told = tampered()
    e = take(w("plain/flipped"), LARGE)
    file = vault_file(e)
    whole = open(file, "rb").read()
    size = len(whole)
    check(size > 3 * 65536, "only %d bytes" % size)
    spots = set(range(0, 96, 2)) | set(range(96, 400, 16)) | set(range(size - 64, size, 3))
    spots |= {size * i // 60 for i in range(60)} | {65536, 131072}
    fd = os.open(file, os.O_RDWR)
    for at in sorted(spots):
        os.pwrite(fd, bytes([whole[at] ^ (1 << at % 8)]), at)
        try:
            refused_unseen(e)
        except harness.Failed as f:
            raise harness.Failed("byte %d of %d: %s" % (at, size, f))
        os.pwrite(fd, whole[at:at + 1], at)
    for cut in (0, 1, 15, 64, 200, size // 2, size - 65536, size - 17, size - 1):
        os.ftruncate(fd, cut)
        refused_unseen(e)
        os.pwrite(fd, whole, 0)
    for more in (b"\0", whole[-100:], whole):
        os.pwrite(fd, more, size)
        refused_unseen(e)
        os.ftruncate(fd, size)
    # A piece twice, and two pieces in each other's place.
    os.pwrite(fd, whole[:size // 2] + whole[size // 2 - 70000:], 0)
    refused_unseen(e)
    os.ftruncate(fd, size)
    os.pwrite(fd, whole, 0)
    os.close(fd)
    wait_for("all to be counted", lambda: tampered() >= told + len(spots))
    restored(e["id"], "--to", place())
    check(open(place() + "/flipped", "rb").read() == LARGE, "content")
    os.unlink(place() + "/flipped")
    code, doc = suite.cli("quarantine", "revoke", sha256(LARGE))
    check(code == 0, "revoke: %r" % doc)


def replaced(e, make):
    """Something else under the name of the vault file, for one refused restore."""
    file, away = vault_file(e), vault + "/../away"
    os.rename(file, away)
    make(file, away)
    said = refused_unseen(e, word=None)
    shutil.rmtree(file) if os.path.isdir(file) and not os.path.islink(file) else \
        os.path.lexists(file) and os.unlink(file)
    os.rename(away, file)
    return said


def case_another_file_in_its_place():
    one, two = take(w("plain/swap-1"), fresh()), take(w("plain/swap-2"), fresh())
    quard = harness.USERS["amp-quard"]

    def copy(owner, mode):
        def make(file, away):
            shutil.copyfile(away, file)
            os.chown(file, owner, owner)
            os.chmod(file, mode)
        return make

    replaced(one, lambda file, away: None)
    replaced(one, lambda file, away: os.symlink(away, file))
    replaced(one, lambda file, away: os.symlink("/dev/zero", file))
    replaced(one, lambda file, away: (os.mkfifo(file, 0o600), os.chown(file, quard, quard)))
    replaced(one, lambda file, away: (os.mkdir(file, 0o700), os.chown(file, quard, quard)))
    replaced(one, lambda file, away: (os.mknod(file, 0o600 | stat.S_IFCHR, os.makedev(1, 5)),
                                      os.chown(file, quard, quard)))
    check("tampered" in replaced(one, copy(0, 0o600)), "another's file")
    check("tampered" in replaced(one, copy(quard, 0o644)), "a mode that others may use")
    files = vault_file(one), vault_file(two)
    for _ in range(2):
        os.rename(files[0], vault + "/../away")
        os.rename(files[1], files[0])
        os.rename(vault + "/../away", files[1])
        if _ == 0:
            refused_unseen(one)
            refused_unseen(two)
    restored(one["id"])
    restored(two["id"])


def case_another_key():
    e = take(w("plain/keyed"), fresh())
    suite.stop()
    key = open(vault + "/vault.key", "rb").read()
    for bad in (bytes([key[0] ^ 1]) + key[1:], bytes(len(key))):
        with open(vault + "/vault.key", "r+b") as f:
            f.write(bad)
        suite.start()
        refused_unseen(e)
        suite.stop()
    # None at all: no new one is made, the old may come back.
    os.rename(vault + "/vault.key", suite.base + "/key")
    suite.start(wait=False)
    wait_for("a fault", lambda: "vault" in json.dumps((suite.status() or {}).get("faults", "")))
    refused(e["id"], "--to", place())
    check(not os.path.exists(vault + "/vault.key"), "a new key was made")
    os.rename(suite.base + "/key", vault + "/vault.key")
    with open(vault + "/vault.key", "r+b") as f:
        f.write(key)
    suite.wait_ready()
    wait_for("the quarantine to be open", lambda: entries())
    restored(e["id"])


ROWS = {
    "path": "UPDATE names SET path = CAST('/etc/cron.d/evil' AS BLOB) WHERE entry = ?1",
    "name": "UPDATE names SET name = CAST('evil' AS BLOB) WHERE entry = ?1",
    "no name": "DELETE FROM names WHERE entry = ?1",
    "uid": "UPDATE entries SET uid = uid + 1 WHERE number = ?1",
    "gid": "UPDATE entries SET gid = 0x7fffffff WHERE number = ?1",
    "mode": "UPDATE entries SET mode = mode | 0x800 WHERE number = ?1",
    "sha256": "UPDATE entries SET sha256 = zeroblob(32) WHERE number = ?1",
    "size": "UPDATE entries SET size = size - 1 WHERE number = ?1",
    "size, more": "UPDATE entries SET size = 1 << 40 WHERE number = ?1",
    "detection": "UPDATE entries SET detection = 'Nothing.Bad' WHERE number = ?1",
    "detection_id": "UPDATE entries SET detection_id = '00000000-0000-4000-8000-000000000001' WHERE number = ?1",
    "handle": "UPDATE entries SET handle = zeroblob(length(handle)) WHERE number = ?1",
    "handle_type": "UPDATE entries SET handle_type = handle_type + 1 WHERE number = ?1",
    "fsid": "UPDATE entries SET fsid = fsid + 1 WHERE number = ?1",
    "a text as size": "UPDATE entries SET size = 'many' WHERE number = ?1",
    "no handle": "UPDATE entries SET handle = x'' WHERE number = ?1",
    "a large mode": "UPDATE entries SET mode = 1 << 40 WHERE number = ?1",
}


def case_every_column_of_a_row():
    took = {name: take(w("plain/row-%d" % i), fresh(), dress=lambda p: os.chown(p, TESTER, TESTER))
            for i, name in enumerate(ROWS)}
    sound = take(w("plain/row-sound"), fresh())
    suite.stop()
    db = database()
    for name, e in took.items():
        number = db.execute("SELECT number FROM entries WHERE id = ?", (e["id"],)).fetchone()[0]
        check(db.execute(ROWS[name], (number,)).rowcount == 1, name)
    db.close()
    suite.start()
    with Watched(w("plain")):
        for name, e in took.items():
            try:
                refused_unseen(e)
                refused(e["id"], word="tampered")
            except harness.Failed as f:
                raise harness.Failed("%s: %s" % (name, f))
    check(not os.path.exists("/etc/cron.d/evil"), "written elsewhere")
    check(sound["id"] in [e["id"] for e in entries()], "a sound entry is not listed")
    restored(sound["id"])
    # What was refused is not allowed.
    take(w("plain/row-0"), content_of(took["path"]))


def content_of(e):
    return next(content(n) for n in range(POOL) if sha256(content(n)) == e["sha256"])


def destroyed(how):
    """A new database from what the vault holds: the same entries, which can be restored."""
    names = ["plain/lost-%s-%d" % (how.__name__, i) for i in range(3)]
    data = [fresh() for _ in names]
    took = [take(w(n), d, dress=dressed) for n, d in zip(names, data)]
    suite.stop()
    broken = vault_file(took[2])
    whole = open(broken, "rb").read()
    with open(broken, "r+b") as f:
        f.write(b"garbage")
    how()
    suite.start()
    for e in took[:2]:
        new = wait_for("the entry anew", lambda: [x for x in entries() if x["id"] == e["id"]])[0]
        for key in ("detection_id", "sha256", "detection", "size", "path", "state"):
            check(new[key] == e[key], "%s was %r, is %r" % (key, e[key], new[key]))
    # What cannot be read is not known, and not deleted either, now or at the next start.
    suite.stop()
    suite.start()
    wait_for("entries", entries)
    check(open(broken, "rb").read()[:7] == b"garbage", "a file that cannot be read is gone")
    restored(took[0]["id"], "--keep-privileges")
    check(open(w(names[0]), "rb").read() == data[0] and os.stat(w(names[0])).st_uid == TESTER, "not exact")
    barrier()
    with open(broken, "r+b") as f:
        f.write(whole)
    return took


def garbage():
    for n in os.listdir(vault):
        if n.startswith("quarantine.db-"):
            os.unlink(vault + "/" + n)
    with open(vault + "/quarantine.db", "r+b") as f:
        f.write(os.urandom(8192))


def gone():
    for n in os.listdir(vault):
        if n.startswith("quarantine.db"):
            os.unlink(vault + "/" + n)


def case_database_of_garbage():
    destroyed(garbage)
    check([n for n in os.listdir(vault) if n.startswith("quarantine.db.")], "not set aside: %r" % os.listdir(vault))
    faults = json.dumps((suite.status() or {}).get("faults", ""))
    check("quarantine" in faults, "no fault: %s" % faults)


def case_database_that_is_gone():
    """As after a kill between setting it aside and the new one's first row."""
    destroyed(gone)


harness.main(globals())
