"""The engine's rooms taken over: ampengine on each of its links, one worker on
its own pair, and ampscand towards both (issue "The engine", points 2 and 3).

What is sent is in the tables below; stage.py has who plays whom. A hostile
ampengine says that it is ready, and makes workers that are as hostile. What a worker
leaves in its slot, and does to those of others, is engine_seam.c's.
"""

import os

import harness
import wire
from harness import check, wait_for, write
from stage import CONTENT, ENUM, FDS, LONG, UTF8, Bad, Stage, counter, framing, state, to_ampmon
from wire import body, field, message


def setup(base):
    global suite, w, stage
    stage = Stage(base, mode="audit", engine="on", definitions=[harness.definitions(base + "/definitions")])
    suite, w = stage.suite, stage.w
    suite.wait_engine()


def teardown():
    suite.cleanup()


# -- ampengine -> ampmon, ampscand -> ampmon ---------------------------------------------


def keep(name="scan-1", record=b"x"):
    return message(wire.KEEP, body((1, name), (2, record)), ident=1)


KEEPER = [
    Bad("keep: no name", keep(name=""), CONTENT),
    Bad("keep: a path for a name", keep(name="../ampmon"), CONTENT),
    Bad("keep: a hidden name", keep(name=".x"), CONTENT),
    Bad("keep: a name in capitals", keep(name="SCAN"), CONTENT),
    Bad("keep: a name too long", keep(name="x" * 33), CONTENT),
    Bad("keep: a record too long", keep(record=b"x" * 60001), CONTENT),
    Bad("keep: a descriptor", keep(), FDS, fds=1),
    Bad("mapped: a descriptor", message(wire.MAPPED), FDS, fds=1),
]


def case_ampengine_to_ampmon():
    stage.run_table("ampengine", "ampmon", to_ampmon("ampengine"))


def case_ampscand_to_ampmon():
    stage.run_table("ampscand", "ampmon", KEEPER)


def kept():
    return [n for n in os.listdir(suite.etc + "/keep") if n.startswith("flood-")]


def case_more_records_than_are_kept():
    """AMP_KEEPS of them: more are refused, and nobody dies; more writes at once than a disk takes: replaced."""
    stage.prepare("ampscand", "ampmon")
    before = state()
    for i in range(80):
        stage.send("ampmon", keep("flood-%d" % i))
    wait_for("some to be kept", lambda: len(kept()) >= 50)
    check(len(kept()) <= 64, "kept: %d" % len(kept()))
    for i in range(80):
        stage.send("ampmon", keep("flood-%d" % i, b""))
    wait_for("all to be forgotten", lambda: not kept())
    stage.send("ampmon", message(wire.MAPPED, ident=5))
    stage.send("ampmon", keep("flood-last"))
    wait_for("the last to be kept", kept)
    check(state().pids == before.pids, "somebody died: %r" % state().pids)
    stage.send("ampmon", keep("flood-0", b"x" * 50000), count=20000)
    stage.expect_replaced("ampmon", before, CONTENT)
    stage.restore()


# -- ampengine -> ampscand ----------------------------------------------------------------


def engine_set(path=b"/definitions/x.hdb"):
    return body((1, path), (2, 1), (3, 1), (4, 1))


def engine_state(st=3, generation=1, loaded_ns=1, workers_max=4, sets=(), version="x", refused=""):
    return body((1, st), (2, generation), (3, 1), (4, version), (5, loaded_ns), (6, workers_max),
                *[(7, s) for s in sets], (8, refused))


def bad_state(name, why=CONTENT, **kw):
    return Bad("state: " + name, message(wire.ENGINE_STATE, engine_state(**kw)), why)


def worker(serial=900, generation=1):
    return message(wire.WORKER, body((1, serial), (2, generation)))


ENGINE_TO_SCAND = framing(wire.ENGINE_STATE, engine_state(), wire.EVENT, wire.SPAWN) + [
    Bad("state: a descriptor", message(wire.ENGINE_STATE, engine_state()), FDS, fds=1),
    bad_state("out of range", ENUM, st=9),
    bad_state("none", st=0),
    bad_state("ready with no generation", generation=0),
    bad_state("loaded before 1970", loaded_ns=-1),
    bad_state("65 sets", sets=[engine_set()] * 65),
    bad_state("a set without a path", sets=[engine_set(b"")]),
    bad_state("a set whose path has NUL", sets=[engine_set(b"/x\0y")]),
    bad_state("a version that is not UTF-8", UTF8, version=b"\xff"),
    bad_state("more words than it may have", refused="x" * 60000),
    bad_state("a set made before 1970", sets=[body((1, b"/x"), (2, -1))]),
    Bad("worker: without its pair", worker(), FDS),
    Bad("worker: two pairs", worker(), FDS, fds=2),
    Bad("worker: of no number", worker(serial=0), CONTENT, fds=1),
    Bad("worker: nobody asked for so many", worker(serial=901), CONTENT, fds=1, count=70),
    Bad("gone: a worker there never was", message(wire.WORKER_GONE, body((1, 1 << 40))), CONTENT),
    Bad("gone: a descriptor", message(wire.WORKER_GONE, body((1, 1))), FDS, fds=1),
]


def case_ampengine_to_ampscand():
    stage.run_table("ampengine", "ampscand", ENGINE_TO_SCAND)


# -- ampscand -> ampengine -------------------------------------------------------------------


SCAND_TO_ENGINE = framing(wire.SPAWN, body((1, 1)), wire.EVENT, wire.WORKER) + [
    Bad("spawn: a descriptor", message(wire.SPAWN, body((1, 1))), FDS, fds=1),
    Bad("kill: a descriptor", message(wire.KILL_WORKER, body((1, 1))), FDS, fds=1),
]
# ampengine may not even have so many.
next(b for b in SCAND_TO_ENGINE if b.fds == 253).why = "descriptors did not all arrive"


def case_ampscand_to_ampengine():
    stage.run_table("ampscand", "ampengine", SCAND_TO_ENGINE)


def case_ampscand_wants_workers_without_end():
    """There are as many as there may be; who is killed that never was harms nobody."""
    stage.prepare("ampscand", "ampengine")
    stage.unharmed("ampengine", message(wire.SPAWN, body((1, 0xFFFFFFFF))), count=300)
    stage.unharmed("ampengine", message(wire.KILL_WORKER, body((1, 1 << 50))), count=3000)
    wait_for("workers", lambda: [1 for pids in suite.engine()[1].values() if pids])
    room, zygotes = suite.engine()
    check(len(zygotes) == 1 and sum(map(len, zygotes.values())) <= 40, "processes: %r" % zygotes)
    stage.restore()
    # Without anything to do they leave after a minute.
    wait_for("workers of nobody to leave", lambda: sum(map(len, suite.engine()[1].values())) <= 12, 180)


# -- ampscand -> a worker ------------------------------------------------------------------------


def scan(size=10, max_ms=1000):
    return body((1, size), (2, 1 << 20), (3, 1 << 20), (4, 100), (5, 10), (6, max_ms))


SCAND_TO_WORKER = framing(wire.SCAN, scan(), wire.SPAWN, wire.SCAN_VERDICT) + [
    Bad("scan: without content", message(wire.SCAN, scan()), None),
    Bad("scan: two contents", message(wire.SCAN, scan()), None, fds=2),
    Bad("scan: more than a scan may say", message(wire.SCAN, field(7, b"x" * 300)), None, fds=1),
]


def log_since(mark):
    return suite.log_text(stage.label).split("pid %d ready" % stage.pid)[-1].count(mark)


def new_worker():
    got = log_since("got worker")
    stage.send("ampengine", message(wire.SPAWN, body((1, 1))))
    wait_for("a worker", lambda: log_since("got worker") > got, pause=0.01)


def case_ampscand_to_a_worker():
    """That worker leaves; its zygote, the room and the others stay."""
    stage.prepare("ampscand", "ampengine")
    before = state()
    _, zygotes = suite.engine()
    failed = []
    for bad in SCAND_TO_WORKER:
        new_worker()
        ended = log_since("worker ended")
        stage.send("worker", bad.data, bad.fds)
        try:
            wait_for("the worker's end", lambda: log_since("worker ended") > ended, pause=0.01)
        except harness.Failed as e:
            failed.append("%s: %s" % (bad.name, e))
    check(not failed, "%d of %d: %s" % (len(failed), len(SCAND_TO_WORKER), "; ".join(failed)))
    check(state().pids == before.pids, "somebody died: %r %r" % (before.pids, state().pids))
    check(list(suite.engine()[1]) == list(zygotes), "the zygote died")
    # What is no content is an answer, not an end.
    new_worker()
    ended = log_since("worker ended")
    answered = log_since("answered by worker")
    stage.send("worker", message(wire.SCAN, scan()), fds=1)
    wait_for("its answer or end", lambda: log_since("worker ended") > ended
             or log_since("answered by worker") > answered)
    stage.restore()
    path = write(w + "/after-worker", harness.infected("after"))
    suite.wait_engine()
    suite.wait_detected(path)


# -- a worker -> ampscand ---------------------------------------------------------------------------


def verdict(result=1, name="", detail=""):
    return body((1, result), (2, name), (3, detail), (4, 1000))


def bad_verdict(what, **kw):
    return Bad("verdict: " + what, verdict(**kw), None)


# Bodies of verdicts; framing() has whole messages.
WRONG_VERDICTS = [
    bad_verdict("none", result=0),
    bad_verdict("out of range", result=9),
    bad_verdict("infected by nothing", result=2),
    bad_verdict("a name too long", result=2, name="x" * 201),
    bad_verdict("a name that is not UTF-8", result=2, name=b"\xff"),
]


class Workers:
    """Hostile ones; each file written is asked of one of them."""

    def __init__(self):
        self.serial = 100
        self.files = 0

    def asked(self):
        """A new one, and the id that it was asked by: of a file that is written, or of one that waits."""
        before = log_since("by worker")
        self.files += 1
        write("%s/worker-%d" % (w, self.files), b"a file for worker %d\n" % self.files)
        wait_for("a worker to be wanted", lambda: log_since("wanted") > self.serial - 100, pause=0.01)
        self.serial += 1
        stage.command("ampscand worker %d 1" % self.serial)
        wait_for("a question", lambda: log_since("by worker") > before, pause=0.01)
        text = suite.log_text(stage.label).split("pid %d ready" % stage.pid)[-1]
        return int([l for l in text.splitlines() if "by worker" in l][-1].split("asked ")[1].split()[0])

    def attack(self, data, fds=0):
        ended = log_since("worker ended")
        stage.send("worker", data, fds)
        wait_for("its end", lambda: log_since("worker ended") > ended, pause=0.01)


def case_a_worker_to_ampscand():
    """It is ended and nobody else; the file it had is judged by others."""
    stage.prepare("ampengine", "ampscand")
    before = state()
    told = counter("ampscand", "channel.hostile")
    rows = framing(wire.SCAN_VERDICT, verdict(), wire.WORKER, wire.SCAN)
    rows = [(b.name, lambda ident, b=b: b.data, b.fds) for b in rows if b.name != "empty"]
    rows += [(b.name, lambda ident, b=b: message(wire.SCAN_VERDICT, b.data, ident), 0) for b in WRONG_VERDICTS]
    rows += [
        ("a descriptor", lambda ident: message(wire.SCAN_VERDICT, verdict(), ident), 1),
        ("of what it was not asked", lambda ident: message(wire.SCAN_VERDICT, verdict(), ident + 1000), 0),
    ]
    workers, failed = Workers(), []
    for name, make, fds in rows:
        try:
            workers.attack(make(workers.asked()), fds)
        except harness.Failed as e:
            failed.append("%s: %s" % (name, e))
    check(not failed, "%d of %d: %s" % (len(failed), len(rows), "; ".join(failed)))
    after = state()
    check(after.pids["ampscand"] == before.pids["ampscand"], "ampscand died")
    check(counter("ampscand", "channel.hostile") >= told + len(rows) - len(WRONG_VERDICTS), "not counted")
    stage.restore()
    suite.wait_engine()
    suite.wait_idle()
    check(not [r for r in suite.detections() if "/worker-" in r["path"]], "convicted by liars")


def case_ampengine_closes_its_link_and_lives_on():
    stage.prepare("ampengine", "ampscand")
    before = state()
    stage.command("ampscand close")
    stage.expect_replaced("ampscand", before, "it closed its link and lives on", seconds=180)
    stage.restore()


# -- a worker, and its slot ---------------------------------------------------------------------------


class Slots:
    """A suite whose workers do what a file says; room and zygote are to outlive them."""

    def __init__(self, name):
        self.top = harness.mount_tmpfs("%s/%s-w" % (harness.BASE, name))
        self.suite = harness.Suite(harness.BASE, [self.top], name=name, mode="audit", engine="on",
                                   definitions=[harness.definitions("%s/%s-definitions" % (harness.BASE, name))],
                                   programs={"ampengine": "tests/system/ampengine-seam"})
        self.suite.start()
        self.suite.wait_engine()
        self.room, self.zygotes = self.suite.engine()

    def write(self, name, word):
        return write("%s/%s" % (self.top, name), b"AMP-TEST-%s %s\n" % (word.encode(), name.encode()))

    def unscannable(self):
        return {r["path"] for r in self.suite.history("file_unscannable")}

    def wait_unscannable(self, paths):
        wait_for("%d files to be given up" % len(paths), lambda: set(paths) <= self.unscannable(), 300)

    def left(self):
        """What is in the slots of nobody."""
        workers = sum(map(len, self.suite.engine()[1].values()))
        at = "/proc/%d/root/slot/" % self.room
        there = [n + "/" + d for n in os.listdir(at) for d in os.listdir(at + n)]
        return there[workers:]

    def expect_sound(self, name):
        """The same room and zygote serve, and every slot is clean."""
        s = self.suite
        s.wait_detected(write("%s/%s" % (self.top, name), harness.infected(name)))
        check(s.engine()[0] == self.room, "the room died")
        check(list(s.engine()[1]) == list(self.zygotes), "the zygote died")
        check("not used again" not in s.log_text("ampengine"), "a slot was given up")
        wait_for("clean slots", lambda: not self.left())
        self.room, self.zygotes = s.engine()

    def end(self):
        self.suite.cleanup()


def case_a_worker_leaves_closed_directories():
    """Once, then by fifty files, each with two workers: none of it outlives its worker, nobody else ends."""
    slots = Slots("closed")
    try:
        slots.wait_unscannable([slots.write("once", "CLOSED")])
        slots.expect_sound("after-one")
        paths = [slots.write("closed-%d" % i, "CLOSED") for i in range(50)]
        slots.suite.wait_detected(write(slots.top + "/between", harness.infected("between")))
        slots.wait_unscannable(paths)
        slots.expect_sound("after-fifty")
        restarts = slots.suite.definitions()["restarts"]
        check(restarts >= 2 * 51, "workers that ended so: %d" % restarts)
    finally:
        slots.end()


def case_a_worker_leaves_a_deep_tree():
    """To take it away is nobody's work who has to go all the way up for each step."""
    slots = Slots("deep")
    try:
        slots.wait_unscannable([slots.write("deep", "DEEP")])
        slots.expect_sound("after-it")
    finally:
        slots.end()


def case_a_worker_closes_the_slots_of_others():
    slots = Slots("shut")
    try:
        slots.wait_unscannable([slots.write("shut-%d" % i, "SHUT") for i in range(4)])
        for pid in [p for pids in slots.suite.engine()[1].values() for p in pids]:
            try:
                os.kill(pid, 9)  # the next ones are new
            except ProcessLookupError:
                pass
        slots.expect_sound("after-it")
    finally:
        slots.end()


MIB = 1 << 20
MAY_KEEP = 64 * MIB  # WORKER_BYTES of ampscand/scan.h


def copies_kept(s):
    """Bytes of the copies that each worker has: by descriptor, and each of them once."""
    kept = {}
    for pid in [p for pids in s.engine()[1].values() for p in pids]:
        files = {}
        try:
            for f in os.listdir("/proc/%d/fd" % pid):
                at = "/proc/%d/fd/%s" % (pid, f)
                if os.readlink(at).startswith("/memfd:"):
                    st = os.stat(at)
                    files[st.st_ino] = st.st_size
        except OSError:
            pass  # it, or one of them, is gone
        kept[pid] = sum(files.values())
    return kept


def case_a_worker_keeps_the_copies_it_is_handed():
    """No more of them than fit in what a worker is handed; then it is retired, and all of it goes with it."""
    slots = Slots("hoard")
    s, most, handed = slots.suite, 0, 0
    try:
        slots.write("hoard", "HOARD")
        s.wait_idle()
        for i in range(40):
            data = os.urandom(5 * MIB)
            handed += len(data)
            write("%s/%d" % (slots.top, i), data)
            s.wait_idle()
            most = max([most] + list(copies_kept(s).values()))
            os.unlink("%s/%d" % (slots.top, i))
        check(handed > 2 * MAY_KEEP and most > MAY_KEEP // 2, "nobody hoarded: %d MiB" % (most // MIB))
        check(most <= MAY_KEEP, "one worker kept %d MiB of copies" % (most // MIB))
        wait_for("all copies to be gone", lambda: not sum(copies_kept(s).values()))
        slots.expect_sound("after-it")
    finally:
        slots.end()


# -- a zygote -----------------------------------------------------------------------------------------


class Zygotes:
    """A suite whose zygotes do what a file beside the signatures says, until it is taken away."""

    def __init__(self, name, word):
        top = "%s/%s" % (harness.BASE, name)
        self.top = harness.mount_tmpfs(top + "-w")
        self.file = write(harness.definitions(top + "-definitions") + "/seam." + word, b"")
        self.suite = harness.Suite(harness.BASE, [self.top], name=name, mode="audit", engine="on",
                                   definitions=[os.path.dirname(self.file)],
                                   programs={"ampengine": "tests/system/ampengine-zygotes"})
        self.suite.start()
        self.suite.wait_engine()

    def room(self):
        return self.suite.engine()[0]

    def replace_room(self):
        old = wait_for("a room", self.room)
        os.kill(old, 9)
        wait_for("another room", lambda: self.room() not in (None, old))

    def processes(self):
        """All of the engine, whoever's children."""
        return [p for p in os.listdir("/proc") if p.isdigit() and self._program(p) == self.suite.bin + "/ampengine"]

    @staticmethod
    def _program(pid):
        try:
            return os.readlink("/proc/%s/exe" % pid)
        except OSError:
            return None

    def fault(self):
        return self.suite.fault(20)


def makes_no_workers(word):
    z = Zygotes("zygote-" + word, word)
    try:
        path = write(z.top + "/bad", harness.infected(word))
        # A zygote is given 10 s, and one after the other is; the wait is bounded all the same.
        wait_for("the fault", z.fault, 300)
        check(z.suite.status()["engine"]["state"] != "ready", "status: %r" % z.suite.status()["engine"])
        wait_for("no event to wait", lambda: z.suite.status().get("jobs") == 0)
        check(not z.suite.detections(path), "detected by nobody")
        os.unlink(z.file)
        z.replace_room()
        z.suite.wait_detected(path)
        wait_for("the fault to go", lambda: not z.fault())
        check(z.suite.status()["engine"]["state"] == "ready", "status: %r" % z.suite.status()["engine"])
    finally:
        z.suite.cleanup()


def case_a_zygote_has_no_memory_for_workers():
    makes_no_workers("nofork")


def case_a_zygote_hangs_over_a_worker():
    makes_no_workers("hang")


def survivors(name, end):
    """It forked what is no worker. end(z) ends it or its room; then all of that is gone, and workers come."""
    z = Zygotes(name, "many")
    try:
        wait_for("its forks", lambda: len(z.processes()) > 24)
        os.unlink(z.file)
        end(z)
        wait_for("what it forked to end", lambda: len(z.processes()) < 12, 25)
        z.suite.wait_detected(write(z.top + "/bad", harness.infected(name)))
    finally:
        z.suite.cleanup()


def case_what_a_zygote_forked_ends_with_it():
    def kill_zygotes(z):
        room, zygotes = z.suite.engine()
        for pid in zygotes:
            try:
                os.kill(pid, 9)
            except ProcessLookupError:
                pass
        wait_for("another zygote", lambda: set(z.suite.engine()[1]) - set(zygotes))
        check(z.room() == room, "the room died")

    survivors("forked", kill_zygotes)


def case_what_a_zygote_forked_ends_with_the_room():
    survivors("forked-room", Zygotes.replace_room)


def case_nothing_was_left_unjudged():
    """After all of it: an infected file is found."""
    suite.wait_ready()
    suite.wait_engine()
    suite.wait_detected(write(w + "/last", harness.infected("last")))


harness.main(globals())
