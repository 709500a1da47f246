"""What the kernel says of every process is what the role table says (issue point 7)."""

import os

import harness
from harness import check, wait_for

EXPECTED = {"ampmon", "ampscand", "ampread", "ampread/1", "ampread/2", "ampread/3", "ampcloudd", "ampquard", "ampengine"}
# Bits of capability.h: ptrace; read-search; none; and what files are changed with.
USERS = {"ampscand": "amp-scan", "ampread": "amp-read", "ampcloudd": "amp-cloud", "ampquard": "amp-quard",
         "ampengine": "amp-engine"}
CAPABILITIES = {"ampscand": 1 << 19, "ampread": 1 << 2 | 1 << 3, "ampcloudd": 0, "ampengine": 0,
                "ampquard": 1 << 0 | 1 << 1 | 1 << 3 | 1 << 4 | 1 << 31 | 1 << 9}


def setup(base):
    global suite
    global w
    w = harness.mount_tmpfs(base + "/w")
    suite = harness.Suite(base, [w], engine="on", definitions=[harness.definitions(base + "/definitions")])
    suite.start()
    suite.wait_engine()


def teardown():
    suite.cleanup()


def case_posture_equals_the_role_table():
    code, doc = suite.cli("posture")
    check(code == 0, "exit %d" % code)
    names = {p["name"] for p in doc["processes"]}
    check(names == EXPECTED, "processes: %r" % names)
    for p in doc["processes"]:
        whats = {i["what"] for i in p["items"]}
        for what in ("uid", "seccomp") + (() if p["name"] == "ampmon" else ("no_new_privs", "capabilities bounding")):
            check([w for w in whats if what in w], "%s: no %s in %r" % (p["name"], what, whats))
        wrong = [i for i in p["items"] if not i["equal"]]
        check(not wrong, "%s: %r" % (p["name"], wrong))
        check(p["pss_kib"] > 0, "%s: no memory figure" % p["name"])


def case_posture_agrees_with_proc():
    """Not only with itself: uid, capabilities and filter read here."""
    doc = suite.cli("posture")[1]
    for p in doc["processes"]:
        if p["name"] == "ampmon":
            continue
        st = dict(l.rstrip("\n").split(":\t", 1) for l in open("/proc/%d/status" % p["pid"]) if ":\t" in l)
        uids = set(st["Uid"].split())
        role = p["name"].split("/")[0]
        check(uids == {str(harness.USERS[USERS[role]])}, "%s: uids %r" % (p["name"], uids))
        check(st["Seccomp"] == "2" and st["NoNewPrivs"] == "1", "%s: %r" % (p["name"], st))
        caps = CAPABILITIES[role]
        for kind in ("CapEff", "CapPrm"):
            check(int(st[kind], 16) == caps, "%s %s: %s" % (p["name"], kind, st[kind]))
        for kind in ("CapInh", "CapBnd", "CapAmb"):
            check(int(st[kind], 16) == 0, "%s %s: %s" % (p["name"], kind, st[kind]))


def case_hands_have_the_walls_of_their_keeper():
    """Children of ampquard: its ids, capabilities and filter, and nothing open but a socket and the log."""
    hands = suite.hands()
    check(hands, "there are none")
    for pid in hands:
        st = dict(l.rstrip("\n").split(":\t", 1) for l in open("/proc/%d/status" % pid) if ":\t" in l)
        check(set(st["Uid"].split()) == {str(harness.USERS["amp-quard"])}, "uids: %r" % st["Uid"])
        check(st["Seccomp"] == "2" and st["NoNewPrivs"] == "1", "not sealed: %r" % st)
        check(int(st["CapEff"], 16) == CAPABILITIES["ampquard"] and int(st["CapBnd"], 16) == 0, "capabilities: %r" % st)
        opened = [os.readlink("/proc/%d/fd/%s" % (pid, f)) for f in os.listdir("/proc/%d/fd" % pid)]
        strange = [o for o in opened if o != "/dev/null" and not o.startswith("socket:") and not o.endswith("ampquard.log")]
        check(not strange and len([o for o in opened if o.startswith("socket:")]) == 1, "open: %r" % opened)


def status_of(pid):
    return dict(l.rstrip("\n").split(":\t", 1) for l in open("/proc/%d/status" % pid) if ":\t" in l)


def opened(pid):
    return [os.readlink("/proc/%d/fd/%s" % (pid, f)) for f in os.listdir("/proc/%d/fd" % pid)]


def workers_at_rest(content):
    """(room, {zygote: [workers]}) when that was scanned, and each worker waits for the next: none is being made."""
    harness.write("%s/for-workers-%d" % (w, len(os.listdir(w))), content)
    suite.wait_idle()

    def at_rest():
        room, zygotes = suite.engine()
        workers = [pid for pids in zygotes.values() for pid in pids]
        try:
            states = {(st["Name"], st["State"][0]) for st in map(status_of, workers)}
        except OSError:
            return None
        # Whoever builds its walls does not sleep over it.
        return (room, zygotes) if room and states == {("ampengine-work", "S")} else None

    return wait_for("workers at rest", at_rest)


def case_zygotes_and_workers_own_nothing():
    """Of ampengine's user, without a capability, sealed more often than the room; a worker has its pair."""
    room, zygotes = workers_at_rest(b"so that there are workers\n")
    workers = [pid for pids in zygotes.values() for pid in pids]
    filters = {room: int(status_of(room).get("Seccomp_filters", 0))}
    for pid in list(zygotes) + workers:
        st = status_of(pid)
        check(set(st["Uid"].split()) == {str(harness.USERS["amp-engine"])}, "uids: %r" % st["Uid"])
        check(st["Seccomp"] == "2" and st["NoNewPrivs"] == "1", "not sealed: %r" % st)
        for kind in ("CapEff", "CapPrm", "CapInh", "CapBnd", "CapAmb"):
            check(int(st[kind], 16) == 0, "%s: %s" % (kind, st[kind]))
        filters[pid] = int(st.get("Seccomp_filters", 0))
        strange = [o for o in opened(pid) if o != "/dev/null" and not o.startswith(("socket:", "/slot", "anon_inode:", "/memfd:"))]
        check(not strange, "open: %r" % strange)
    if filters[room]:  # the kernel tells (5.9)
        check(all(filters[z] > filters[room] for z in zygotes), "filters: %r" % filters)
        check(all(filters[p] > min(filters[z] for z in zygotes) for p in workers), "filters: %r" % filters)
    for pid in workers:
        sockets = [o for o in opened(pid) if o.startswith("socket:")]
        check(len(sockets) == 1, "sockets of a worker: %r" % sockets)
        for limit in ("Max processes", "Max address space", "Max file size", "Max open files"):
            line = [l for l in open("/proc/%d/limits" % pid) if l.startswith(limit)][0]
            check("unlimited" not in line, line)


def oom_score(pid):
    return int(open("/proc/%d/oom_score_adj" % pid).read())


def case_the_engine_goes_before_a_service():
    """When memory is short: as its unit does, ampmon is spared here, its rooms with it, and the engine's processes are not."""
    mine = oom_score(os.getpid())
    suite.stop()
    given = -800
    try:
        put_oom_score(given)
    except PermissionError:  # no CAP_SYS_RESOURCE: it may be raised only
        given = mine + 1
        put_oom_score(given)
    try:
        suite.start()
    finally:
        try:
            put_oom_score(mine)
        except PermissionError:
            pass
    suite.wait_engine()
    room, zygotes = workers_at_rest(b"so that there are workers again\n")
    for name, pid in suite.pids().items():
        check(oom_score(pid) == (500 if name == "ampengine" else given), "%s: %d" % (name, oom_score(pid)))
    for pid in [room] + list(zygotes) + [p for pids in zygotes.values() for p in pids]:
        check(oom_score(pid) == 500, "of the engine: %d" % oom_score(pid))
    shown = [i for p in suite.cli("posture")[1]["processes"] for i in p["items"] if i["what"] == "oom_score_adj"]
    check(len(shown) == 1 and shown[0]["equal"] and shown[0]["actual"] == "500", "posture: %r" % shown)


def put_oom_score(n):
    with open("/proc/self/oom_score_adj", "w") as f:
        f.write("%d" % n)


def case_features_are_named():
    doc = suite.cli("posture")[1]
    check(isinstance(doc["in_use"], list) and doc["in_use"], "in_use: %r" % doc.get("in_use"))
    check(isinstance(doc["missing"], list), "missing: %r" % doc.get("missing"))
    mon = [p for p in doc["processes"] if p["name"] == "ampmon"][0]
    for word in ("DFID_NAME_TARGET", "PIDFD", "unlimited queue", "MARK_FILESYSTEM", "overlay's layers"):
        named = [f for f in mon["in_use"] + mon["missing"] if word in f]
        check(len(named) == 1, "%s: %r of %r" % (word, named, mon))
    check([f for f in mon["in_use"] if "DFID_NAME_TARGET" in f], "without handles: %r" % mon["in_use"])


def case_a_room_whose_wall_cannot_be_built_does_not_start():
    """Without its view directory ampcloudd must not run unwalled: the start is refused and names it."""
    suite.stop()
    view = [d for d in os.listdir(suite.run) if d.startswith("view-ampcloudd")]
    check(view, "no view directory: %r" % os.listdir(suite.run))
    os.rmdir("%s/%s" % (suite.run, view[0]))
    os.symlink("/nonexistent", "%s/%s" % (suite.run, view[0]))
    r = harness.run(suite.bin + "/ampmon", "-c", suite.conf, check=False)
    check(r.returncode == 2 and view[0] in r.stdout.decode(), "exit %d: %r" % (r.returncode, r.stdout))
    wait_for("whoever had been started to go", lambda: not suite.pids())


harness.main(globals())
