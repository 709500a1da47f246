"""Rooms that have been taken over: who plays whom, what is wrong with any
message, and what follows (test_hostile.py, test_hostile_engine.py).

hostile.c takes the place of the room's binary. ampmon allows ten deaths a
minute and room; the suite is started anew before a room or the one that
complains of it comes near. Owns: that. Must not own: what a link's messages
are, and the cases.
"""

import contextlib
import os
import shutil
import signal
import time

import harness
import wire
from harness import check, wait_for, write
from wire import body, field, message

LISTED_MAX = 60
DEATHS_MAX = 9  # of CHILD_FREE_DEATHS
ACCUSATIONS_MAX = 3  # of ampmon/control.c


def listed(i):
    return b"hostile test, listed file %d\n" % i


# -- what is sent --------------------------------------------------------------

SHORT, VERSION, LENGTH = "shorter than a header", "other protocol version", "length does not match"
TYPE, NOW, LONG = "type not permitted", "type not permitted now", "body too long"
FDS, HUGE = "wrong number of descriptors", "longer than a message may be"
GARBAGE, FIELD, FORM = "body malformed", "unknown field", "body not in canonical form"
ENUM, UTF8, CONTENT = "enum out of range", "string is not UTF-8", "content not permitted"


# Messages that are no list: in those, a field twice is a fault.
SINGLE = (wire.FAULT, wire.EVENT, wire.TAKE, wire.OPEN, wire.ENGINE_STATE, wire.SPAWN, wire.SCAN, wire.SCAN_VERDICT)


class Bad:
    """One message, and the words with which its sender is replaced."""

    def __init__(self, name, data, why, fds=0, count=1, early=False):
        self.name, self.data, self.why = name, data, why
        self.fds, self.count, self.early = fds, count, early


def framing(kind, content, foreign, backwards):
    """What is wrong with any message, made of one that is right."""
    good = message(kind, content)
    return [
        Bad("empty", b"", "empty message"),
        Bad("short", good[:7], SHORT),
        Bad("version", message(kind, content, version=0xA502), VERSION),
        Bad("length too large", message(kind, content, length=len(content) + 1), LENGTH),
        Bad("length too small", message(kind, content, length=len(content) - 1), LENGTH),
        Bad("length of 4 GiB", message(kind, content, length=-1), LENGTH),
        Bad("unknown type", message(wire.UNKNOWN, content), TYPE),
        Bad("type of another link", message(foreign), TYPE),
        Bad("type of the other direction", message(backwards), TYPE),
        Bad("type of a CLI socket", message(wire.CLI_STATUS), TYPE),
        Bad("garbage", message(kind, b"\xff" * 12), GARBAGE),
        Bad("unknown field", message(kind, content + field(1000, 1)), FIELD),
        # Of one that is all repeated fields this is no fault.
        Bad("every field twice", message(kind, content + content), FORM if kind in SINGLE else None),
        Bad("one datagram of 200 kB", message(kind, b"\0" * 200000), HUGE),
        Bad("seventeen descriptors", good, FDS, fds=17),
        Bad("253 descriptors", good, FDS, fds=253),
    ]


def fault(number, raised=True, detail="x"):
    return body((1, number), (2, raised), (3, detail))


def to_ampmon(role):
    foreign = {"ampscand": wire.EVENT_ACK, "ampread": wire.KILL, "ampcloudd": wire.KILL, "ampquard": wire.KILL,
               "ampengine": wire.KILL}[role]
    rows = [b for b in framing(wire.FAULT, fault(16), foreign, wire.PING) if b.why]
    rows += [
        Bad("a descriptor", message(wire.FAULT, fault(16)), FDS, fds=1),
        Bad("not UTF-8", message(wire.FAULT, fault(16, detail=b"\xff\xfe")), UTF8),
        Bad("body too long", message(wire.FAULT, fault(16, detail="x" * 5000)), LONG),
        Bad("READY twice", message(wire.READY), NOW),
        Bad("PONG nobody asked for", message(wire.PONG, body((1, 1 << 40))), CONTENT),
        Bad("PONG before READY", message(wire.PONG, body((1, 1))), NOW, early=True),
        Bad("a fault of ampmon's own", message(wire.FAULT, fault(4)), CONTENT),
        Bad("a fault there is not", message(wire.FAULT, fault(9999)), CONTENT),
        Bad("hostile peer it has not", message(wire.PEER_HOSTILE, body((1, 1), (4, "x"))), CONTENT),
        Bad("hostile instance there is not", message(wire.PEER_HOSTILE, body((1, 3), (2, 99))), CONTENT),
    ]
    return rows


# -- the suite, looked at without ampcli -------------------------------------------


class State:
    """ampmon's status reply."""

    def __init__(self, reply):
        text = lambda d, n: d.get(n, [b""])[0].decode()
        self.counters = _counters(reply)
        self.pids, self.restarts, self.running = {}, {}, set()
        for s in map(wire.parse, reply.get(9, [])):
            name = text(s, 1)
            self.pids[name] = s.get(3, [0])[0]
            self.restarts[name] = s.get(5, [0])[0]
            if text(s, 2) == "running":
                self.running.add(name)
        self.faults = [(f[1][0], text(f, 4)) for f in map(wire.parse, reply.get(12, []))]
        self.protected = bool(reply.get(15, [0])[0])
        self.repairs = len(reply.get(11, []))


def _counters(reply):
    rows = [wire.parse(c) for c in reply.get(2, [])]
    return {r[1][0].decode(): r.get(2, [0])[0] for r in rows}


def ask(service):
    with wire.Client(suite.run + "/" + service) as c:
        answer = c.ask(wire.CLI_STATUS)
    check(answer and answer[0] == wire.CLI_STATUS_REPLY, "%s answers %r" % (service, answer))
    return wire.parse(answer[2])


def state():
    return State(ask("ampmon"))


def counter(service, name):
    return _counters(ask(service)).get(name, 0)


def binary_of(label):
    return label.split("/")[0]


class Stage:
    """Who plays whom. Knows when a room has died too often to go on."""

    def __init__(self, base, **settings):
        global suite, w
        w = self.w = harness.mount_tmpfs(base + "/w")
        suite = self.suite = harness.Suite(base, [w], **settings)
        suite.lists["blocked.list"] = ["%s Test.%d" % (harness.sha256(listed(i)), i) for i in range(LISTED_MAX)]
        suite.configure()
        self.label = None  # the room that is hostile
        self.pid = 0
        self.deaths, self.accusations = {}, {}
        self.files = 0
        self.attacks = 0
        open(suite.bin + "/hostile.go", "w").close()
        suite.start()

    def _install(self, role, path):
        new = suite.bin + "/new"
        shutil.copy2(os.path.join(harness.BUILD, path), new)
        os.rename(new, suite.bin + "/" + role)

    def replace(self, label):
        """Kills the room; its successor, of whatever binary stands there, is awaited."""

        def running():
            st = state()
            return st.pids[label] if label in st.running else None

        pid = wait_for("%s to run" % label, running, pause=0.01)
        with contextlib.suppress(ProcessLookupError):  # ampmon was just ending it
            os.kill(pid, signal.SIGKILL)
        self.deaths[label] = self.deaths.get(label, 0) + 1
        self.accusations[label] = 0
        self.await_successor(label, pid)

    def await_successor(self, label, pid):
        def there():
            st = state()
            return label in st.running and st.pids[label] != pid

        wait_for("a successor of %s" % label, there, pause=0.01)

    def links(self, link):
        """How many it has had to that room, one after the other."""
        return suite.log_text(binary_of(self.label)).count("pid %d link %s generation" % (self.pid, link))

    def await_hostile(self, link, links=0):
        """With a link, and it is not one of its first so many."""
        self.pid = state().pids[self.label]
        log = binary_of(self.label)
        wait_for("a hostile %s" % self.label, lambda: "pid %d ready" % self.pid in suite.log_text(log), pause=0.01)
        if link != "ampmon":
            wait_for("its link to %s" % link, lambda: self.links(link) > links, pause=0.01)

    def cast(self, label):
        """From here on that room is hostile."""
        if self.label == label:
            return
        self.restore()
        self._install(binary_of(label), "tests/system/hostile")
        self.label = label
        self.replace(label)

    def restore(self):
        """The room's own binary takes over again, and the suite does its work."""
        if not self.label:
            return
        label, self.label = self.label, None
        self._install(binary_of(label), harness.PROGRAMS[binary_of(label)])
        self.replace(label)
        self.prove_service()

    def prove_service(self):
        suite.wait_ready()
        path = write("%s/listed-%d" % (w, self.files), listed(self.files % LISTED_MAX))
        self.files += 1
        suite.wait_detected(path)
        if suite.mode == "protect":
            wait_for("%s to be taken" % path, lambda: not os.path.exists(path))

    def rest(self, *labels):
        """A new ampmon counts deaths anew."""
        if max(self.deaths.get(l, 0) for l in labels) < DEATHS_MAX:
            return
        label = self.label
        self.restore()
        suite.stop()
        suite.start()
        self.deaths, self.accusations = {}, {}
        if label:
            self.cast(label)

    def command(self, text):
        with open(suite.bin + "/hostile.go", "a") as f:
            f.write("%d %s\n" % (self.pid, text))

    def send(self, link, data, fds=0, count=1):
        self.command("%s %d %d %s" % (link, count, fds, data.hex()))

    def send_early(self, link, data, fds):
        new = suite.bin + "/hostile.early"
        with open(new + ".new", "w") as f:
            f.write("%s 1 %d %s\n" % (link, fds, data.hex()))
        os.rename(new + ".new", new)
        os.kill(self.pid, signal.SIGKILL)
        self.deaths[self.label] += 1

    def prepare(self, label, link):
        self.rest(label, link)
        self.cast(label)
        self.await_hostile(link)
        if link != "ampmon" and self.accusations.get(link, 0) == ACCUSATIONS_MAX:
            links = self.links(link)
            self.replace(link)
            self.await_hostile(link, links)

    def attack(self, label, link, bad):
        """One message; its sender is gone and nobody else."""
        self.prepare(label, link)
        before = state()
        told = counter(link, "channel.hostile") if binary_of(link) not in ("ampread", "ampengine") else None
        if bad.early:
            self.send_early(link, bad.data, bad.fds)
        else:
            self.send(link, bad.data, bad.fds, bad.count)
        self.expect_replaced(link, before, bad.why, 2 if bad.early else 1)
        if told is not None:
            check(counter(link, "channel.hostile") == told + 1, "not counted by %s" % link)

    def expect_replaced(self, link, before, why, deaths=1, seconds=harness.SOON):
        label = self.label

        def replaced():
            st = state()
            return st if st.restarts[label] >= before.restarts[label] + deaths and label in st.running else None

        st = wait_for("%s to be replaced" % label, replaced, seconds, 0.01)
        self.deaths[label] = self.deaths.get(label, 0) + 1
        self.attacks += 1
        why = "%s: %s" % (label, why)
        if link != "ampmon":
            self.accusations[link] = self.accusations.get(link, 0) + 1
            why = why.replace(": ", ": %s says: " % link, 1)
        mine = [d for n, d in st.faults if n == 4 and d.startswith(label + ": ")]
        check(len(mine) == 1 and mine[0].endswith(why), "fault: %r, not %r" % (st.faults, why))
        check(st.restarts[label] == before.restarts[label] + deaths, "restarted more than once")
        check(st.counters["rooms.hostile"] == before.counters.get("rooms.hostile", 0) + 1, "not counted")
        others = {k: v for k, v in before.pids.items() if k != label}
        check(others == {k: v for k, v in st.pids.items() if k != label}, "others died: %r" % st.pids)

    def unharmed(self, link, data, count=1, fds=0):
        """Nothing that costs its sender its life; (before, after) of ampmon."""
        before = state()
        mark = "sent %d of %d to %s" % (count, count, link)
        log = binary_of(self.label)
        sent = suite.log_text(log).count(mark)
        self.send(link, data, fds, count)
        wait_for("%d messages to be taken" % count, lambda: suite.log_text(log).count(mark) > sent)
        after = state()
        check(before.pids == after.pids, "somebody died: %r %r" % (before.pids, after.pids))
        return before, after

    def run_table(self, label, link, rows):
        failed = []
        for bad in rows:
            begin = time.monotonic()
            try:
                self.attack(label, link, bad)
            except harness.Failed as e:
                failed.append("%s: %s" % (bad.name, e))
            if os.environ.get("AMP_VERBOSE"):
                print("# %s -> %s: %s (%.2f s)" % (label, link, bad.name, time.monotonic() - begin), flush=True)
        self.restore()
        check(not failed, "%d of %d: %s" % (len(failed), len(rows), "; ".join(failed)))


def fds_of(pid):
    return len(os.listdir("/proc/%d/fd" % pid))
