"""SIGKILL of every process in turn while files are written: nothing is lost,
nothing happens twice, nobody hangs (issue point 5).

Once under Audit, where every listed file is to be detected, and once under
Protect, where every one is to end in the vault (issue "Quarantine", point 4).
A tenth of what is to be found is on no list: archives with what only the
engine knows (issue "The engine", point 7); its processes are killed too.
"""

import io
import os
import random
import signal
import subprocess
import sys
import tarfile
import time
import zipfile

import harness
from harness import check, wait_for, write

LISTED = int(os.environ.get("AMP_KILL_FILES", "500"))
OTHERS = 10 * LISTED
SECONDS = 35  # of writing
KILLS_MIN = 3 if harness.SLOW == 1 else 1  # of each
ROOMS = ["ampscand", "ampread", "ampread+", "ampread++", "ampcloudd", "ampquard", "ampmon", "ampengine", "zygote",
         "worker"]
ARCHIVES = 10  # one of so many is an archive


def content(i):
    """Of its own; listed, or an archive that is infected."""
    if i % ARCHIVES:
        return b"kill test, listed file number %d\n" % i * 3
    out = io.BytesIO()
    if i % (2 * ARCHIVES):
        with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as z:
            z.writestr(zipfile.ZipInfo("inside/%d" % i), harness.infected(i))
    else:
        with tarfile.open(fileobj=out, mode="w:gz") as t:
            member = tarfile.TarInfo("inside/%d" % i)
            member.size = len(harness.infected(i))
            t.addfile(member, io.BytesIO(harness.infected(i)))
    return _once(i, out.getvalue())


def _once(i, data, made={}):
    """gzip writes down when: the first is the one."""
    return made.setdefault(i, data)


def setup(base):
    prepare(base, "audit", "audit")


def prepare(base, name, mode):
    """A suite of its own with a file system of its own; what the cases speak of is this one from here on."""
    global suite, w
    w = harness.mount_ext4("%s/w-%s" % (base, name), "%s/%s.img" % (base, name), 512)
    os.makedirs(base + "/archives", exist_ok=True)
    for i in range(0, LISTED, ARCHIVES):
        write("%s/archives/%d" % (base, i), content(i))
    suite = harness.Suite(base, [w], name=name, mode=mode, engine="on",
                          definitions=[harness.definitions(base + "/definitions")])
    suite.lists["blocked.list"] = ["%s Test.Kill.%d" % (harness.sha256(content(i)), i)
                                   for i in range(LISTED) if i % ARCHIVES]
    suite.configure()
    suite.start()
    suite.wait_engine()


def teardown():
    suite.cleanup()


WRITER = r"""
import os, sys, time
w, seconds, archives = sys.argv[1], float(sys.argv[2]), sys.argv[3]
listed, others = %d, %d
begin = time.monotonic()
worst = 0.0

def waits():
    # Seconds for which others had the processors: that is nobody's lock.
    try:
        return int(open("/proc/self/schedstat").read().split()[1]) / 1e9
    except OSError:
        return 0.0

for i in range(others):
    if i == others * 9 // 10:
        sys.stdin.read()  # the last of them, when there were kills enough
    t = time.monotonic() - waits()
    with open("%%s/other-%%d" %% (w, i), "wb") as f:
        f.write(b"other %%d\n" %% i)
    if i %% 10 == 0:
        n = i // 10
        with open("%%s/listed-%%d" %% (w, n), "wb") as f:
            if n %% %d == 0:
                f.write(open("%%s/%%d" %% (archives, n), "rb").read())
            else:
                f.write(b"kill test, listed file number %%d\n" %% n * 3)
    worst = max(worst, time.monotonic() - waits() - t)
    ahead = begin + seconds * i / others - time.monotonic()
    if ahead > 0:
        time.sleep(ahead)
print("%%.3f" %% worst)
""" % (LISTED, OTHERS, ARCHIVES)


def kill_one(room):
    pids = suite.pids()
    if room in ("zygote", "worker"):
        zygotes = suite.engine()[1]
        inner = list(zygotes) if room == "zygote" else [p for workers in zygotes.values() for p in workers]
        pid = inner[0] if inner else None
    else:
        pid = suite.supervisor() if room == "ampmon" else pids.get(room)
    if not pid:
        return False
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True


def kill_while_files_are_written():
    """Rooms in turn, at most 8 a minute of each: one kill in 0.7 s. Where they come late there is more time."""
    killed = dict.fromkeys(ROOMS, 0)
    p = subprocess.Popen([sys.executable, "-c", WRITER, w, str(SECONDS), harness.BASE + "/archives"],
                         stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    rnd = random.Random(int(os.environ.get("AMP_SEED", "5")))
    end = time.monotonic() + SECONDS
    while p.poll() is None:
        enough = min(killed.values()) >= KILLS_MIN
        # The least killed first: a zygote is there only some time after its room.
        for room in sorted(ROOMS, key=killed.get) if time.monotonic() < end or not enough else ():
            if killed[room] < 8 and kill_one(room):
                killed[room] += 1
                break
        if enough:
            p.stdin.close()
        time.sleep(0.5 + rnd.random() * 0.4)
        check(time.monotonic() < end + 3 * harness.SOON * harness.SLOW, "it hangs, or nobody comes: %r" % killed)
    worst = float(p.stdout.read())
    check(p.returncode == 0, "writer: %d" % p.returncode)
    check(worst < 5 * harness.SLOW, "one write took %.1f s" % worst)
    print("# killed %r, longest write %.3f s" % (killed, worst), flush=True)
    suite.wait_ready(300)
    suite.wait_idle(300)


def expect_each_detected_once():
    rows = wait_for("all detections", _complete, 300)
    by_path = {}
    for r in rows:
        by_path.setdefault(r["path"], []).append(r)
    twice = {k: len(v) for k, v in by_path.items() if len(v) > 1}
    check(not twice, "more than once: %r" % dict(list(twice.items())[:5]))
    # A repair that comes while the keeper is dead finds the file where it had taken it to.
    for k in [k for k in by_path if "/.amp-quarantine-" in k and os.path.basename(k).startswith("listed-")]:
        by_path.setdefault("%s/%s" % (w, os.path.basename(k)), by_path.pop(k))
    strange = [k for k in by_path if not k.startswith(w + "/listed-")]
    check(not strange, "not listed: %r" % strange[:5])
    check(len(by_path) == LISTED, "%d of %d" % (len(by_path), LISTED))


def _complete():
    rows = suite.detections()
    return rows if len({r["path"] for r in rows}) >= LISTED else None


def case_kill_every_room_while_files_are_written():
    kill_while_files_are_written()
    expect_each_detected_once()


def case_protection_is_back():
    path = write(w + "/listed-again", content(1))
    suite.wait_detected(path)
    suite.wait_idle()
    st = suite.status()
    check(not [r for r in st["repairs"] if r["state"] in ("waiting", "walking", "failed")], "repairs: %r" % st["repairs"])


def throttled():
    return [f for f in (suite.status() or {}).get("faults", []) if f["number"] == 1 and "ampcloudd" in f["detail"]]


def case_a_room_that_dies_too_often_is_throttled():
    """Eleven deaths within a minute: a fault, a pause; then it is back and the fault is cleared."""
    for i in range(11):
        pid = wait_for("an ampcloudd", lambda: suite.pids().get("ampcloudd"), 120, 0.01)
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        wait_for("its end", lambda: suite.pids().get("ampcloudd") != pid, pause=0.005)
    fault = wait_for("fault 1", throttled)
    check(fault[0]["remedy"], "fault: %r" % fault)
    path = write(w + "/while-throttled", content(2))
    suite.wait_ready(180)
    suite.wait_detected(path)
    wait_for("the fault to clear", lambda: not throttled(), 300)


# -- under Protect ------------------------------------------------------------------


def entries():
    return suite.asked("quarantine", "list", "--limit", "0")[1] or []


def all_taken():
    rows = entries()
    return rows if len(rows) >= LISTED and all(r["state"] == "quarantined" for r in rows) else None


def expect_vault(rows):
    want = sorted(harness.sha256(content(i)) for i in range(LISTED))
    check(sorted(r["sha256"] for r in rows) == want, "other content, or some of it twice: %d entries" % len(rows))
    files = sorted(n for n in os.listdir(suite.quarantine) if not n.startswith(("vault.", "quarantine.")))
    check(files == sorted(r["id"] + ".q" for r in rows), "vault: %d files, %r" % (len(files), files[:3]))


def outcomes():
    """{detection_id: [types of its outcomes]}"""
    rows = suite.history()
    found = {r["detection_id"]: [] for r in rows if r["type"] == "threat_detected"}
    for r in rows:
        if r["type"] in ("threat_quarantined", "threat_neutralised"):
            found.setdefault(r["detection_id"], []).append(r["type"])
    return found


def wait_outcomes():
    """Once each detection has one."""
    try:
        return wait_for("an outcome of each detection", lambda: all(outcomes().values()) and outcomes())
    except harness.Failed as e:
        without = [d for d, types in outcomes().items() if not types]
        raise harness.Failed("%s: %r" % (e, [r for r in suite.detections() if r["detection_id"] in without][:3]))


def expect_disk():
    names = os.listdir(w)
    left = [n for n in names if not n.startswith("other-") and n != "lost+found"]
    check(not left, "left on the disk: %r" % left[:5])
    for i in range(OTHERS):
        with open("%s/other-%d" % (w, i), "rb") as f:
            check(f.read() == b"other %d\n" % i, "other-%d was touched" % i)


def expect_restores(rows):
    by_sha = {harness.sha256(content(i)): i for i in range(LISTED)}
    rnd = random.Random(int(os.environ.get("AMP_SEED", "5")))
    for e in rnd.sample(rows, 10):
        to = "%s/to-%s" % (suite.base, e["id"])
        os.makedirs(to)
        code, doc = suite.cli("quarantine", "restore", e["id"], "--to", to)
        check(code == 0, "restore: %d %r" % (code, doc))
        i = by_sha[e["sha256"]]
        with open("%s/listed-%d" % (to, i), "rb") as f:
            check(f.read() == content(i), "restored with other content: %d" % i)
        check(os.stat("%s/listed-%d" % (to, i)).st_mode & 0o7777 == 0o644, "mode of %d" % i)


def case_kill_every_room_while_files_are_taken():
    suite.stop()
    prepare(harness.BASE, "protect", "protect")
    kill_while_files_are_written()
    rows = wait_for("every listed file in the vault", all_taken, 300)
    expect_each_detected_once()
    expect_vault(rows)
    found = wait_outcomes()
    other = {k: v for k, v in found.items() if v != ["threat_quarantined"]}
    check(len(found) == LISTED and not other, "%d detections, %r" % (len(found), dict(list(other.items())[:5])))
    expect_disk()
    suite.wait_idle()
    expect_restores(rows)
    expect_protection()


def expect_protection():
    data = b"listed after all of it\n"
    suite.block(data)
    suite.reload()
    wait_for("the list in force", lambda: harness.sha256(data) in str(suite.asked("policy", "lists")[1]))
    path = write(w + "/after", data)
    wait_for("the last one in the vault", lambda: [e for e in entries() if e["sha256"] == harness.sha256(data)
                                                   and e["state"] == "quarantined"])
    check(not os.path.exists(path), "still there")
    suite.wait_idle()
    check(not [r for r in suite.status()["repairs"] if r["state"] in ("waiting", "walking", "failed")], "repairs")


harness.main(globals())
