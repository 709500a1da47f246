"""SIGKILL of ampquard after each step of its work (issue "Quarantine", point 4).

The keeper is tests/system/step_die.c: it dies at its N-th step. Each scenario
runs once to be counted, then once for every N until no step of that number is
left. At every moment there is the original at one of its names, or the vault
file and its row; in the end the file is harmless, one entry holds it whole,
history has each thing once, and nothing private is left over.

Content is held to be recovered only if what comes out of the vault is it.
"""

import contextlib
import ctypes
import os
import shutil
import sqlite3
import threading
import time

import harness
import still
from harness import check, wait_for

libc = ctypes.CDLL(None, use_errno=True)
AT_FDCWD, AT_SYMLINK_FOLLOW = -100, 0x400
DEATHS_MAX = 9  # ampmon throttles a room after ten in a minute
ROUNDS_MAX = 40
PRIVATE = (".amp-",)
OUTCOMES = ("threat_quarantined", "threat_neutralised")
COPIED = 2  # state of a row
SHAPES = ("plain", "link outside", "two names", "restore")


def content(shape, n):
    return ("steps of the keeper: %s, death %d\n" % (shape, n)).encode() * 50


def setup(base):
    global suite, w, elsewhere, deaths
    w = harness.mount_ext4(base + "/w", base + "/ext4.img", 128)
    elsewhere = harness.mount_tmpfs(base + "/elsewhere")
    suite = harness.Suite(base, [w])
    shutil.copy2(os.path.join(harness.BUILD, "tests/system/ampquard-steps"), suite.bin + "/ampquard")
    for shape in SHAPES:
        for n in range(ROUNDS_MAX):
            suite.lists["blocked.list"].append("%s Test.%s.%d" % (harness.sha256(content(shape, n)),
                                                                  shape.replace(" ", "-"), n))
    suite.configure()
    suite.start()
    deaths = 0


def teardown():
    suite.cleanup()


def rest():
    """A new ampmon counts deaths anew."""
    global deaths
    if deaths >= DEATHS_MAX:
        suite.stop()
        suite.start()
        deaths = 0


# -- counting and dying --------------------------------------------------------


def steps():
    try:
        with open(suite.bin + "/steps") as f:
            return [l.split()[1] if "copy" not in l else " ".join(l.split()[1:]) for l in f]
    except OSError:
        return []


def arm(n):
    """The keeper counts from one and dies at n (0: never)."""
    for name in ("steps", "die-at"):
        if os.path.exists("%s/%s" % (suite.bin, name)):
            os.unlink("%s/%s" % (suite.bin, name))
    if n:
        with open(suite.bin + "/die-at.new", "w") as f:
            f.write("%d" % n)
        os.rename(suite.bin + "/die-at.new", suite.bin + "/die-at")


def armed():
    return os.path.exists(suite.bin + "/die-at")


def keeper():
    return suite.pids().get("ampquard")


# -- what is there at a moment ----------------------------------------------------


def read_at(path):
    try:
        with open(path, "rb") as f:
            return f.read()
    except OSError:
        return None


def _wal_and_db(to):
    """quarantine.db as a crash at this moment would leave it; False: it was written to meanwhile, and what was
    committed between the two readings may stand in one of them alone."""
    db = suite.quarantine + "/quarantine.db"
    before = read_at(db + "-wal") or b""
    data = read_at(db) or b""
    after = read_at(db + "-wal") or b""
    if before != after:
        return False
    for name, part in (("", data), ("-wal", before)):
        with open(to + name, "wb") as f:
            f.write(part)
    return True


def rows_now(sha):
    """(id, state) of the content in the database on the disk, whether the keeper lives or not."""
    to = "%s/db-%d" % (elsewhere, threading.get_ident())
    while not _wal_and_db(to):
        pass
    try:
        with sqlite3.connect(to) as db:
            return db.execute("SELECT id, state FROM entries WHERE sha256 = ?", (bytes.fromhex(sha),)).fetchall()
    except sqlite3.Error:
        return []
    finally:
        for name in ("", "-wal", "-shm"):
            if os.path.exists(to + name):
                os.unlink(to + name)


def in_vault(data):
    return any(state >= COPIED and os.path.exists("%s/%s.q" % (suite.quarantine, ident))
               for ident, state in rows_now(harness.sha256(data)))


class Watch(threading.Thread):
    """Looks again and again; what must never be is in .found."""

    def __init__(self, look):
        super().__init__(daemon=True)
        self.look, self.found, self.looks, self.over = look, [], 0, False

    def run(self):
        while not self.over and len(self.found) < 5:
            try:
                why = self.look()
            except Exception as e:  # a thread's traceback is nobody's failure
                why = "looking: %r" % e
            if why:
                self.found.append(why)
            self.looks += 1
            time.sleep(0.002)

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.over = True
        self.join()


def neither(paths, data):
    """Names first: the copy is committed before a name goes."""
    def look():
        if any(read_at(p) == data for p in paths) or in_vault(data):
            return None
        return "neither an original nor a copy"

    return look


def left_over():
    found = [os.path.join(d, n) for d, dirs, names in os.walk(w) for n in dirs + names if n.startswith(PRIVATE)]
    return found + [n for n in os.listdir(suite.quarantine) if ".part" in n or n.endswith(".new")]


def nothing_is_left_over():
    """A successor clears away what it finds; a hand may be at it still."""
    try:
        wait_for("the clearing away", lambda: not left_over())
    except harness.Failed as e:
        raise harness.Failed("%s: %r" % (e, left_over()))


def holders(data):
    return [os.path.join(d, n) for d, _, names in os.walk(w) for n in names
            if read_at(os.path.join(d, n)) == data]


# -- asking ------------------------------------------------------------------------


def entries_of(data):
    sha = harness.sha256(data)
    return [e for e in suite.cli("quarantine", "list")[1] or [] if e["sha256"] == sha]


def wait_taken(data):
    def taken():
        rows = entries_of(data)
        return rows if rows and all(r["state"] == "quarantined" for r in rows) else None

    return wait_for("the entry", taken)


def history_of(data):
    sha = harness.sha256(data)
    return [r for r in suite.history() if r["sha256"] == sha]


def expect_history(data, names):
    def joined():
        rows = history_of(data)
        detected = {r["detection_id"] for r in rows if r["type"] == "threat_detected"}
        return detected and detected <= {r["detection_id"] for r in rows if r["type"] in OUTCOMES}

    wait_for("an outcome of each detection", joined)
    rows = history_of(data)
    count = {k: len([r for r in rows if r["type"] == k]) for k in ("threat_detected",) + OUTCOMES}
    check(count["threat_quarantined"] == 1, "quarantined %r" % count)
    # What is written without a name has a repair look for names, which may come to the keeper's hands.
    found = [r for r in rows if r["type"] == "threat_detected" and "/.amp-quarantine-" not in r["path"]]
    check(1 <= len(found) <= names, "detected %r: %r" % (count, [r["path"] for r in rows]))
    check(count["threat_detected"] == count["threat_quarantined"] + count["threat_neutralised"], "%r" % count)
    check(not [r for r in rows if r["type"] == "quarantine_failed"], "failed: %r" % rows)


def restore_elsewhere(entry, data):
    to = "%s/%s" % (elsewhere, entry["id"])
    os.makedirs(to)
    code, doc = suite.cli("quarantine", "restore", entry["id"], "--to", to)
    check(code == 0, "restore: %d %r" % (code, doc))
    names = os.listdir(to)
    check(len(names) == 1 and read_at("%s/%s" % (to, names[0])) == data, "what comes out of the vault is other")


def expect_taken(data, names):
    rows = wait_taken(data)
    check(len(rows) == 1, "entries: %r" % rows)
    suite.wait_idle()
    check(not holders(data), "still there: %r" % holders(data))
    nothing_is_left_over()
    expect_history(data, names)
    restore_elsewhere(rows[0], data)


# -- the taking ------------------------------------------------------------------------


def make_plain(d, data):
    harness.write(d + "/file", data)
    return [d + "/file"]


def make_link_outside(d, data):
    """Its second name is made while it is empty, and told to nobody since."""
    os.close(os.open(d + "/known", os.O_CREAT | os.O_WRONLY, 0o644))
    os.makedirs(d + "/other")
    os.link(d + "/known", d + "/other/unknown")
    suite.wait_idle()
    harness.write(d + "/known", data)
    return [d + "/known", d + "/other/unknown"]


def make_two_names(d, data):
    fd = harness.tmpfile(d)
    os.write(fd, data)
    with still.stopped(suite.pids()["ampscand"]):  # once it has lost a first name it gets no second one
        for n in ("one", "two"):
            os.makedirs("%s/%s" % (d, n))
            check(libc.linkat(AT_FDCWD, b"/proc/self/fd/%d" % fd, AT_FDCWD, os.fsencode("%s/%s/name" % (d, n)),
                              AT_SYMLINK_FOLLOW) == 0, "linkat: %s" % os.strerror(ctypes.get_errno()))
        os.close(fd)
    return [d + "/one/name", d + "/two/name"]


def died_at(n, before, places):
    """Whether it came to that step; its successor is awaited. The last steps come after what a client sees."""
    global deaths
    if n <= len(places):
        with contextlib.suppress(harness.Failed):
            wait_for("a death", lambda: not armed(), 2)
    if armed():
        # How many there are is a matter of which events came together.
        check(len(steps()) < n, "it lives after %d steps: %r" % (n, steps()))
        return False
    deaths += 1
    wait_for("a successor", lambda: keeper() not in (None, before))
    return True


def take_once(shape, make, names, n, places):
    rest()
    data = content(shape, n)
    d = "%s/%s-%d" % (w, shape.replace(" ", "-"), n)
    os.makedirs(d)
    before = keeper()
    arm(n)
    paths = make(d, data)
    with Watch(neither(paths, data)) as watch:
        wait_taken(data)
        suite.wait_idle()
    check(not watch.found, "%r" % watch.found)
    check(watch.looks > 3, "looked %d times" % watch.looks)
    died = died_at(n, before, places)
    arm(0)
    expect_taken(data, names)
    return died


def every_step(expected, once):
    """Runs once(0), counted; then once(N) for every N. Each failure with its step."""
    once(0)
    places = once.places
    check(set(expected) <= set(places), "steps: %r" % places)
    failed, n, died = [], 0, 0
    while n < ROUNDS_MAX - 1:
        n += 1
        try:
            if once(n):
                died += 1
            elif n > len(places):
                break
        except harness.Failed as e:
            failed.append("step %d (%s): %s" % (n, places[n - 1] if n <= len(places) else "?", e))
            arm(0)
    print("# %d deaths at %d steps: %s" % (died, len(places), ", ".join(places)), flush=True)
    check(not failed, "; ".join(failed))
    check(died >= len(expected), "died only %d times of %d" % (died, len(places)))


def of_taking(shape, make, names):
    def once(n):
        return take_once(shape, make, names, n, once.places) if n else count()

    def count():
        data = content(shape, 0)
        d = "%s/%s-0" % (w, shape.replace(" ", "-"))
        os.makedirs(d)
        arm(0)
        make(d, data)
        wait_taken(data)
        suite.wait_idle()
        once.places = steps()
        expect_taken(data, names)

    return once


TAKING = ("intent", "copy begun", "copy whole", "copy named", "copied", "private-made", "name-captured", "captured",
          "name-removed", "names-synced", "removed", "harmless", "done")


def case_plain_file():
    every_step(TAKING, of_taking("plain", make_plain, 1))


def case_link_outside_of_the_known_names():
    every_step(TAKING + ("emptied",), of_taking("link outside", make_link_outside, 2))


def case_two_known_names():
    every_step(TAKING, of_taking("two names", make_two_names, 2))


# -- the restore ----------------------------------------------------------------------------


def dress(path, n):
    os.setxattr(path, "user.amp-test", b"value %d" % n)
    os.chown(path, 12000 + n, 13000 + n)
    os.chmod(path, 0o640)
    os.utime(path, ns=(10**18 + n, 10**18 + 2 * n))


def appearance(path):
    try:
        st = os.lstat(path)
        with open(path, "rb") as f:
            data = f.read()
        return data, st.st_uid, st.st_gid, st.st_mode, st.st_mtime_ns, st.st_nlink, os.getxattr(path, "user.amp-test")
    except OSError:
        return None


def take_dressed(d, data, n):
    """Taken with an owner, times and an attribute of its own."""
    staged = elsewhere + "/staged"
    harness.write(staged, data)
    dress(staged, n)
    want = appearance(staged)
    harness.run("mv", staged, d + "/file")
    entry = wait_taken(data)[0]
    suite.wait_idle()
    return entry, want


def allowed_now(data):
    return suite.cli("quarantine", "revoke", harness.sha256(data))[0] == 0


def restore_once(n):
    rest()
    data = content("restore", n)
    d = "%s/restore-%d" % (w, n)
    os.makedirs(d)
    entry, want = take_dressed(d, data, n)
    path = d + "/file"
    check(want and not os.path.exists(path), "not taken")
    before = keeper()
    arm(n)

    def look():
        is_now = appearance(path)
        return None if is_now in (None, want) else "there, but not whole: %r, not %r" % (is_now[1:], want[1:])

    with Watch(look) as watch:
        code, doc = suite.cli("quarantine", "restore", entry["id"])
        if n == 0:
            restore_once.places = steps()
        died = died_at(n, before, restore_once.places) if n else False
        check(died or code == 0, "restore: %d %r" % (code, doc))
        check(not died or code != 0, "told that it went well by a dead keeper")
        suite.wait_idle()
    check(not watch.found, "%r" % watch.found)
    arm(0)
    nothing_is_left_over()
    if died:
        retry(path, entry, data, want, n)
    check(appearance(path) == want, "not as it was: %r" % (appearance(path),))
    harness.run("touch", "-a", path)
    suite.wait_idle()
    check(os.path.exists(path), "taken again")
    check(entries_of(data)[0]["state"] == "restored", "entry: %r" % entries_of(data))
    restored = [r for r in history_of(data) if r["type"] == "threat_restored"]
    check(len(restored) == 1, "restored in the history: %r" % restored)
    check(allowed_now(data), "not allowed although it was restored")
    return died


def retry(path, entry, data, want, n):
    """After a death it is there, and its entry says so; or not, and its content is allowed no more."""
    if os.path.exists(path):
        wait_for("the entry to know of it", lambda: [e for e in entries_of(data) if e["state"] == "restored"])
        return
    there = wait_for("the list", lambda: entries_of(data))
    check(there[0]["state"] == "quarantined", "%r" % there)
    check(not allowed_now(data), "allowed without end, though nothing was restored")
    code, doc = suite.cli("quarantine", "restore", entry["id"])
    check(code == 0, "second restore: %d %r" % (code, doc))


def case_restore():
    every_step(("place-made", "allowed", "written", "place-named", "placed"), restore_once)


harness.main(globals())
