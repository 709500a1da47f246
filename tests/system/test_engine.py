"""What the lists do not know goes to ClamAV (issue "The engine", points 1 and 4).

EICAR and Debian's clamav-testfiles on access, on exec and on demand: exactly
the set that clamscan finds with the same signatures, and none of what the
machine is made of. Limits of the policy. Without signatures, without the
engine; signatures that come, and such that cannot be read, also under load.
"""

import glob
import io
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
import zipfile

import harness
from harness import check, run, wait_for, write

FILE_MAX, ARCHIVE_MAX = 5 << 20, 50 << 20
PROGRAM = "#include <unistd.h>\nint main(void) { for (;;) pause(); }\n"
LARGEST = b"a large file\n" + b"\0" * (FILE_MAX - 13)
LARGER = LARGEST + b"\0"


def setup(base):
    global suite, w, defs, program
    w = harness.mount_tmpfs(base + "/w", "mode=1777,exec")
    harness.compile_c(PROGRAM, base + "/program", "-static")
    program = open(base + "/program", "rb").read()
    defs = harness.definitions(base + "/definitions", harness.md5_line(program, "Amp.Test.Program"),
                               harness.md5_line(LARGEST, "Amp.Test.Largest"),
                               harness.md5_line(LARGER, "Amp.Test.Larger"))
    # What lay there before the first start is judged when it is executed.
    write(w + "/program", program, 0o755)
    suite = new_suite(base, "audit")


def new_suite(base, name, mode="audit", dirs=None, watch=None, **settings):
    s = harness.Suite(base, [watch or w], name=name, mode=mode, engine="on", definitions=dirs or [defs], **settings)
    s.start()
    return s


def teardown():
    suite.cleanup()


def infected_by_clamscan(top):
    """{path: signature} of clamscan with the same signatures."""
    r = run("clamscan", "-d", defs, "-r", "--infected", "--no-summary", top, check=False)
    check(r.returncode in (0, 1), "clamscan: %d %s" % (r.returncode, r.stdout.decode(errors="replace")))
    rows = [l for l in r.stdout.decode().splitlines() if l.endswith(" FOUND")]
    found = {l.rsplit(": ", 1)[0]: l.rsplit(": ", 1)[1][:-len(" FOUND")] for l in rows}
    # EICAR itself is on the list of every policy, and lists are asked first.
    return {p: "EICAR-Test-File" if os.path.basename(p) == "eicar.com" else n for p, n in found.items()}


def found_below(top, s=None):
    """{path: signature} of the suite; more than one detection of a path is a list."""
    found = {}
    for r in (s or suite).detections():
        if r["path"].startswith(top + "/"):
            check(r["path"] not in found, "%s twice" % r["path"])
            found[r["path"]] = r["detection"]
    return found


def same(found, wanted):
    """None, or how they differ."""
    missing = sorted(set(wanted.items()) - set(found.items()))
    more = sorted(set(found.items()) - set(wanted.items()))
    return None if not missing and not more else "missing %r, too much %r" % (missing[:5], more[:5])


def expect_the_same_as_clamscan(top, at_least):
    wanted = infected_by_clamscan(top)
    check(len(wanted) >= at_least, "clamscan finds %d only" % len(wanted))

    def all_there():
        return not set(wanted) - set(found_below(top))

    wait_for("all of clamscan's", all_there, 180)
    suite.wait_idle(180)
    why = same(found_below(top), wanted)
    check(not why, why)
    return wanted


def testfiles(top):
    """EICAR, the test files, and both below one another."""
    os.makedirs(top)
    for path in sorted(glob.glob(harness.TESTFILES + "/*")):
        shutil.copyfile(path, top + "/" + os.path.basename(path))
    write(top + "/eicar.com", harness.eicar())
    with zipfile.ZipFile(top + "/eicar.zip", "w", zipfile.ZIP_DEFLATED) as z:
        z.writestr("inside/eicar.com", harness.eicar())
    write(top + "/clean.txt", b"nothing is wrong with this\n")
    write(top + "/almost.com", harness.eicar()[:-1])
    return len(os.listdir(top))


def of_the_machine(n):
    """Programs and libraries of this machine that fit the policy's limit."""
    paths = []
    for top in ("/usr/bin", "/usr/lib"):
        below = [os.path.join(d, f) for d, _, names in os.walk(top) for f in sorted(names)]
        below = [p for p in below if os.path.isfile(p) and not os.path.islink(p) and 0 < os.path.getsize(p) <= FILE_MAX]
        paths += random.Random(5).sample(sorted(below), min(n, len(below)))
    return paths


# -- point 1 -----------------------------------------------------------------------


def case_on_access_what_clamscan_finds():
    testfiles(w + "/access")
    wanted = expect_the_same_as_clamscan(w + "/access", 46)
    check(wanted[w + "/access/eicar.zip"] == "Eicar-Signature.UNOFFICIAL", "EICAR in a zip: %r" % wanted)


def case_on_demand_what_clamscan_finds():
    """A file system that nobody watches: each is found by the scan only."""
    top = harness.mount_tmpfs(harness.BASE + "/unwatched") + "/demand"
    n = testfiles(top)
    wanted = infected_by_clamscan(top)
    check(len(wanted) >= 46, "clamscan finds %d only" % len(wanted))
    check(not found_below(top), "found without a scan")
    code, doc = suite.scan("start", top)
    check(code == 1, "exit %d: %r" % (code, doc))
    check(doc["files"] == n and doc["threats"] == len(wanted), "counted: %r" % doc)
    wait_for("all of clamscan's", lambda: not set(wanted) - set(found_below(top)))
    why = same(found_below(top), wanted)
    check(not why, why)


def case_on_exec():
    """Killed and taken under Protect; under Audit it is recorded."""
    p = subprocess.Popen([w + "/program"])
    try:
        suite.wait_detected(w + "/program")
        wait_for("its exec", lambda: [r for r in suite.detections(w + "/program") if r["cause"] == "exec"])
        check(p.poll() is None, "killed under Audit")
        check(suite.cli("policy", "use", "protect")[0] == 0, "policy use")
        # Found under Audit it stays; executed once more it does not.
        q = subprocess.Popen([w + "/program"])
        check(q.wait(harness.SOON * harness.SLOW) == -signal.SIGKILL, "ended with %r" % q.returncode)
        check(p.wait(harness.SOON * harness.SLOW) == -signal.SIGKILL, "the first: %r" % p.returncode)
        wait_for("it to be taken", lambda: not os.path.exists(w + "/program"))
        rows = [r for r in suite.history() if r["path"] == w + "/program" and r["type"] == "threat_detected"]
        check({r["detection"] for r in rows} == {"Amp.Test.Program.UNOFFICIAL"}, "rows: %r" % rows)
        path = write(w + "/taken", harness.infected("taken"))
        wait_for("it to be taken", lambda: not os.path.exists(path))
    finally:
        p.kill()
        check(suite.cli("policy", "use", "audit")[0] == 0, "policy use")


def case_none_of_what_the_machine_is_made_of():
    top = w + "/machine"
    os.makedirs(top)
    for i, path in enumerate(of_the_machine(150)):
        shutil.copyfile(path, "%s/%d" % (top, i))
    n = len(os.listdir(top))
    check(n >= 200, "only %d" % n)
    suite.wait_idle(600)
    check(not found_below(top), "found: %r" % found_below(top))
    code, doc = suite.scan("start", top, seconds=600)
    check(code == 0 and doc["threats"] == 0, "exit %d: %r" % (code, doc))
    odd = {k: v for k, v in doc["counts"].items() if k not in ("clean", "partial")}
    check(doc["files"] == n and not odd and doc["counts"]["clean"] > n * 0.9, "counted: %r" % doc)


# -- limits ------------------------------------------------------------------------


def archive(path, inside, size):
    """The zip holds padding of 4 MiB each that nothing compresses, and last what is to be found."""
    rnd = random.Random(size)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as z:
        used, i = 0, 0
        while used + (4 << 20) + 4096 < size:
            z.writestr("padding-%d" % i, rnd.randbytes(4 << 20))
            used += (4 << 20) + 128
            i += 1
        z.writestr("padding-%d" % i, rnd.randbytes(max(0, size - used - len(inside) - 4096)))
        z.writestr("last.exe", inside)


def scanned(path):
    """The counts of a scan of that path alone."""
    code, doc = suite.scan("start", path)
    check(doc is not None and code in (0, 1), "exit %d: %r" % (code, doc))
    return {k: v for k, v in doc["counts"].items() if v}


def case_files_over_the_limit():
    path = write(w + "/largest", LARGEST)
    suite.wait_detected(path)
    for name, data in (("larger", LARGER), ("cut", LARGEST[:-1])):
        write("%s/%s" % (w, name), data)
    suite.wait_idle()
    check(not suite.detections(w + "/larger") and not suite.detections(w + "/cut"), "over the limit, yet scanned")
    counts = scanned(w + "/larger")
    check(counts == {"too-large": 1}, "counted: %r" % counts)
    check(scanned(w + "/cut") == {"clean": 1}, "one byte less")
    # Nothing over the limit is remembered as clean.
    check(scanned(w + "/larger") == {"too-large": 1}, "a second time")


def case_archives_over_the_limit():
    inside = open(harness.TESTFILES + "/clam.exe", "rb").read()
    out = harness.mount_tmpfs(harness.BASE + "/archives")
    archive(out + "/most.zip", inside, ARCHIVE_MAX - (1 << 20))
    archive(out + "/more.zip", inside, ARCHIVE_MAX + (1 << 20))
    check(os.path.getsize(out + "/most.zip") <= ARCHIVE_MAX < os.path.getsize(out + "/more.zip"), "sizes")
    for name in ("most.zip", "more.zip"):
        shutil.copyfile(out + "/" + name, w + "/" + name)
    suite.wait_detected(w + "/most.zip", 240)
    suite.wait_idle()
    check(not suite.detections(w + "/more.zip"), "over the limit, yet scanned")
    check(scanned(w + "/more.zip") == {"too-large": 1}, "counted")
    for name in ("most.zip", "more.zip"):
        os.unlink(w + "/" + name)


def bombs(top):
    """What unpacks without end, is too deep, or has too many members."""
    os.makedirs(top)
    zeros = io.BytesIO()
    with zipfile.ZipFile(zeros, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as z:
        with z.open("zeros", "w") as f:
            for _ in range(100):
                f.write(bytes(1 << 20))
    with zipfile.ZipFile(top + "/zeros.zip", "w", zipfile.ZIP_STORED) as z:
        for i in range(10):
            z.writestr("%d.zip" % i, zeros.getvalue())
    deep = open(harness.TESTFILES + "/clam.exe", "rb").read()
    for i in range(30):
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w") as z:
            z.writestr("deeper", deep)
        deep = out.getvalue()
    write(top + "/deep.zip", deep)
    with zipfile.ZipFile(top + "/many.zip", "w") as z:
        for i in range(12000):
            z.writestr("%d" % i, b"member %d" % i)


def case_bombs_are_partial_and_not_clean():
    top = w + "/bombs"
    bombs(top)
    suite.wait_idle(300)
    for _ in range(2):  # and are not remembered as clean
        code, doc = suite.scan("start", top, seconds=600)
        counts = {k: v for k, v in doc["counts"].items() if v}
        check(code == 0 and counts == {"partial": 3}, "exit %d: %r" % (code, doc))
    check(not found_below(top), "convicted: %r" % found_below(top))
    write(w + "/beside", harness.infected("beside"))
    suite.wait_detected(w + "/beside")


# -- signatures --------------------------------------------------------------------


def again(path):
    """An event of the same content."""
    os.rename(path, path + "-again")
    return path + "-again"


def expect_found(tag):
    path = write("%s/still-%s" % (w, tag), harness.infected(tag))
    suite.wait_detected(path)


def case_new_signatures_while_it_runs():
    data = b"clean today, known tomorrow\n"
    path = write(w + "/today", data)
    suite.wait_idle()
    check(scanned(path) == {"clean": 1}, "not clean before")
    before = suite.definitions()["generation"]
    harness.put(defs + "/tomorrow.hdb", harness.md5_line(data, "Amp.Test.Tomorrow") + "\n")
    doc = suite.wait_engine(before + 1)
    check(len(doc["sets"]) >= 3 and doc["signatures"] >= 6, "sets: %r" % doc)
    check(not suite.detections(path), "found without an event")
    path = again(path)
    row = suite.wait_detected(path)[0]
    check(row["detection"] == "Amp.Test.Tomorrow.UNOFFICIAL", "detection: %r" % row)


def case_a_broken_set_is_refused():
    before = suite.definitions()["generation"]
    harness.put(defs + "/broken.ndb", "this:is\nno signature at all\n")
    fault = wait_for("the fault", lambda: suite.fault(19))
    doc = wait_for("the refusal", lambda: (lambda doc: doc if doc.get("refused") else None)(suite.definitions()))
    check(doc["state"] == "ready" and doc["generation"] == before, "in use: %r" % doc)
    check("broken.ndb" in doc["refused"] + fault, "refused: %r, fault: %r" % (doc, fault))
    expect_found("broken")
    os.unlink(defs + "/broken.ndb")
    suite.reload()
    wait_for("the fault to clear", lambda: not suite.fault(19))
    expect_found("mended")


# The last of the files wait for the word that enough has come to pass.
WRITER = r"""
import os, sys, time
w, n, body = sys.argv[1], int(sys.argv[2]), sys.argv[3].encode()
for i in range(n):
    if i == n - n // 10:
        sys.stdin.read()
    with open("%s/f-%d" % (w, i), "wb") as f:
        f.write(b"infected %d: " % i + body + b"\n" if i % 10 == 0 else b"file %d\n" % i)
    time.sleep(0.005)
"""


def write_while(top, n, what, enough):
    """n files, a tenth of them infected, while what() is done again, at least until enough(): what it said."""
    os.makedirs(top)
    p = subprocess.Popen([sys.executable, "-c", WRITER, top, str(n), harness.BODY.decode()], stdin=subprocess.PIPE)
    said, turn, end = [], 0, time.monotonic() + 5 * harness.SOON
    while p.poll() is None:
        said.append(what(turn))
        turn += 1
        if enough():
            p.stdin.close()
        check(time.monotonic() < end, "it was not done: %r" % said[-5:])
        time.sleep(0.05)
    check(p.returncode == 0, "the writer: %d" % p.returncode)
    return said


def big_set(path, n, turn):
    rnd = random.Random(turn)
    harness.put(path, "".join("%032x:%d:Amp.Big.%d\n" % (rnd.getrandbits(128), rnd.randrange(1, 1 << 20), i)
                              for i in range(n)))


def expect_all_of(top, n):
    wanted = {"%s/f-%d" % (top, i) for i in range(0, n, 10)}
    wait_for("all infected ones", lambda: wanted <= set(found_below(top)), 180)
    suite.wait_idle()
    more = set(found_below(top)) - wanted
    check(not more, "clean, yet found: %r" % sorted(more)[:5])


def case_reload_under_load():
    """2,000 files while sets of signatures come and go: each is judged, and none waits for the reload."""
    n = int(os.environ.get("AMP_RELOAD_FILES", "2000"))
    before = suite.definitions()["generation"]
    state = {"next": 0.0, "sets": 0, "generation": before}

    def reload_now(turn):
        doc = suite.definitions()
        # Three seconds, or as long as it takes until the last one is in use.
        if time.monotonic() > state["next"] and doc.get("generation", 0) >= state["generation"]:
            big_set(defs + "/big.hdb", 50000, turn)
            state["sets"] += 1
            state["generation"] = doc["generation"] + 1
            state["next"] = time.monotonic() + 3
        return doc.get("state")

    said = write_while(w + "/reload", n, reload_now, lambda: state["sets"] >= 2)
    check(set(said) == {"ready"}, "states: %r" % set(said))
    expect_all_of(w + "/reload", n)
    suite.wait_engine(before + 2)
    wait_for("the old zygotes to leave", lambda: len(suite.engine()[1]) == 1, 400)
    check(not suite.fault(20), "fault: %r" % suite.fault(20))
    os.unlink(defs + "/big.hdb")


def case_reload_after():
    """A machine that cannot hold two sets: never two zygotes, and what came meanwhile is judged afterwards."""
    global suite
    suite.stop()
    suite = new_suite(harness.BASE, "after", engine_reload="after")
    suite.wait_engine()
    state = {"sets": 0}

    def reload_and_look(turn):
        if turn == 10:
            big_set(defs + "/big.hdb", 50000, 99)
            state["sets"] += 1
        # One that went while the other's time had not come yet is no other's neighbour.
        return len([pid for pid in suite.engine()[1] if harness.alive(pid)])

    zygotes = write_while(w + "/reload-after", 500, reload_and_look, lambda: state["sets"])
    check(state["sets"] == 1 and max(zygotes) <= 1, "zygotes: %r" % zygotes)
    suite.wait_engine(2)
    suite.wait_ready()
    expect_all_of(w + "/reload-after", 500)


def odd_ones(top):
    """What has a signature file's name and would keep libclamav reading for ever: (name, make, remove)."""
    def link_to_a_pipe(path):
        os.mkfifo(top + "/a-pipe")
        os.symlink("a-pipe", path)

    def and_the_pipe(path):
        os.unlink(path)
        os.unlink(top + "/a-pipe")

    return (("x.ndb", os.mkfifo, os.unlink), ("X.NDB", os.mkfifo, os.unlink), (".ndb", os.mkfifo, os.unlink),
            ("link.hdb", link_to_a_pipe, and_the_pipe), ("directory.ldb", os.mkdir, os.rmdir))


def case_what_is_no_file_among_signatures():
    """Nobody waits for a pipe: the ones in use stay, the fault names it, and when it is gone what was put beside it loads."""
    top = harness.definitions(harness.BASE + "/odd")
    another(top)
    suite.wait_engine()
    for i, (name, make, remove) in enumerate(odd_ones(top)):
        data = b"known beside %s\n" % name.encode()
        before = suite.definitions()["generation"]
        make(top + "/" + name)
        wait_for("the fault", lambda: name in (suite.fault(19) or ""))
        harness.put("%s/beside-%d.hdb" % (top, i), harness.md5_line(data, "Amp.Test.Beside") + "\n")
        expect_found("beside-%d" % i)
        time.sleep(4)
        doc = suite.definitions()
        check(doc["state"] == "ready" and doc["generation"] == before and suite.fault(19), "%s: %r" % (name, doc))
        remove(top + "/" + name)
        suite.wait_engine(before + 1)
        wait_for("the fault to clear", lambda: not suite.fault(19))
        suite.wait_detected(write("%s/beside-%d" % (w, i), data))


def case_what_is_no_file_at_the_start():
    top = harness.definitions(harness.BASE + "/odd-start")
    os.mkfifo(top + "/x.ndb")
    another(top)
    wait_for("the fault", lambda: "x.ndb" in (suite.fault(19) or ""))
    check(suite.definitions()["state"] == "none", "definitions: %r" % suite.definitions())
    path = write(w + "/before-the-start", harness.infected("odd"))
    suite.wait_idle()
    check(not suite.detections(path), "found without signatures")
    suite.reload()
    time.sleep(2)
    check(suite.definitions()["state"] == "none" and suite.fault(19), "after a reload: %r" % suite.definitions())
    os.unlink(top + "/x.ndb")
    suite.wait_engine()
    wait_for("the fault to clear", lambda: not suite.fault(19))
    suite.wait_detected(again(path))


def another(top):
    global suite
    suite.stop()
    suite = new_suite(harness.BASE, os.path.basename(top), dirs=[top])


# -- without -----------------------------------------------------------------------


def expect_lists_alone(s, tag):
    listed, unknown = b"listed, %s\n" % tag.encode(), harness.infected(tag)
    s.block(listed, "Test.Listed")
    s.reload()
    wait_for("the list in force", lambda: harness.sha256(listed) in str(s.asked("policy", "lists")[1]))
    path = write("%s/unknown-%s" % (w, tag), unknown)
    s.wait_detected(write("%s/listed-%s" % (w, tag), listed))
    s.wait_idle()
    check(not s.detections(path), "found without signatures")
    return path


def case_without_signatures():
    global suite
    suite.stop()
    empty = harness.BASE + "/empty"
    os.makedirs(empty)
    suite = new_suite(harness.BASE, "empty", dirs=[empty])
    fault = wait_for("the fault", lambda: suite.fault(19))
    check(suite.definitions()["state"] == "none", "state: %r, fault %r" % (suite.definitions(), fault))
    path = expect_lists_alone(suite, "none")
    code, doc = suite.scan("start", path)
    check(doc["counts"].get("not-scanned") == 1 and not doc["counts"].get("clean"), "scan: %d %r" % (code, doc))
    # They come: no restart, no reload.
    harness.definitions(empty)
    suite.wait_engine()
    wait_for("the fault to clear", lambda: not suite.fault(19))
    suite.wait_detected(again(path))


def case_a_directory_that_comes_later():
    """freshclam is installed after the suite: its directory was not there. And one in the place of another."""
    global suite
    suite.stop()
    later = harness.BASE + "/comes-later"
    suite = new_suite(harness.BASE, "later", dirs=[later])
    wait_for("the fault", lambda: suite.fault(19))
    harness.definitions(later)
    suite.wait_engine()
    wait_for("the fault to clear", lambda: not suite.fault(19))
    suite.wait_detected(write(w + "/later", harness.infected("later")))
    room = suite.engine()[0]
    os.rename(later, later + "-old")
    harness.definitions(later, harness.md5_line(b"of the other directory\n", "Amp.Test.Other"))
    # It is looked for every ten seconds, and twice.
    wait_for("another room", lambda: suite.engine()[0] not in (None, room), 120)
    suite.wait_engine()
    suite.wait_detected(write(w + "/other", b"of the other directory\n"))


def case_with_the_engine_off():
    global suite
    suite.stop()
    suite = harness.Suite(harness.BASE, [w], name="off", mode="audit", definitions=[defs])
    suite.start()
    check("ampengine" not in suite.pids(), "it runs: %r" % suite.pids())
    check(suite.definitions()["state"] == "off", "state: %r" % suite.definitions())
    expect_lists_alone(suite, "off")
    check(not suite.fault(19) and suite.status()["protected"], "status: %r" % suite.status())


def case_with_the_engine_off_by_policy():
    global suite
    suite.stop()
    suite = harness.Suite(harness.BASE, [w], name="policy", mode="audit", engine="on", definitions=[defs])
    suite.policy["engine"] = False
    suite.configure()
    suite.start()
    path = expect_lists_alone(suite, "policy")
    del suite.policy["engine"]
    suite.configure()
    suite.reload()
    wait_for("the engine", lambda: suite.definitions().get("state") == "ready")
    suite.wait_detected(again(path))


harness.main(globals())
