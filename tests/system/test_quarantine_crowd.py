"""What users crowd the quarantine with keeps nothing of anybody else's from it.

Issue "Quarantine", points 3 and 7: names in more directories than there are
descriptors, files that grow beyond all measure, clients that ask without end,
writes that never end.
"""

import os
import signal
import socket
import struct
import time

import harness
import stuck
import taken
from harness import check, wait_for, write

CLI_QUARANTINE = 0x040D


def setup(base):
    global suite, watched
    watched = harness.mount_tmpfs(base + "/watched")
    suite = harness.Suite(base, [watched], mode="protect")
    suite.start()
    global writer
    writer = stuck.build(base)


def teardown():
    suite.cleanup()


def evil(tag):
    return taken.listed(suite, ("crowded with: %s\n" % tag).encode() * 30, "Test." + tag)


def place(tag):
    path = os.path.join(watched, tag)
    os.mkdir(path)
    return path


def pids():
    return {n: p for n, p in suite.pids().items() if n in ("ampscand", "ampquard")}


def case_many_directories():
    """Every name is in a directory of its own, and ampquard hears of all of them at once."""
    top = place("directories")
    datas = [evil("directories-%d" % i) for i in range(4)]
    before = pids()
    keeper = suite.pids()["ampquard"]
    os.kill(keeper, signal.SIGSTOP)
    try:
        for i, data in enumerate(datas):
            first = write("%s/first-%d" % (top, i), data)
            for n in range(130):
                os.mkdir("%s/%d-%d" % (top, i, n))
                os.link("%s/first-%d" % (top, i), "%s/%d-%d/name" % (top, i, n))
        time.sleep(1)
    finally:
        os.kill(keeper, signal.SIGCONT)
    for data in datas:
        taken.wait_taken(suite, data, 60)
    for data in datas:
        taken.is_harmless(data, top)
    check(pids() == before, "rooms were replaced: %r, before %r" % (pids(), before))


def case_growing_files():
    """16 files that are made huge once they are convicted: what comes after them is taken."""
    top = place("growing")
    data, other = evil("growing"), evil("beside")
    keeper = suite.pids()["ampquard"]
    os.kill(keeper, signal.SIGSTOP)
    try:
        for i in range(20):
            write("%s/%d" % (top, i), data)
        wait_for("detections", lambda: len(taken.rows_of(suite, data, "threat_detected")) >= 20)
        for i in range(20):
            os.truncate("%s/%d" % (top, i), 1 << 50)
    finally:
        os.kill(keeper, signal.SIGCONT)
    write(top + "/other", other)
    taken.wait_taken(suite, other)


def case_greedy_client():
    """One client that asks and never reads."""
    before = pids()
    top = place("greedy")
    data = evil("greedy")
    s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    s.connect(suite.run + "/ampquard")
    s.settimeout(0.2)
    message = struct.pack("=HHIQ", 0xA501, CLI_QUARANTINE, 0, 1)
    end = time.monotonic() + 4
    sent = 0
    try:
        while time.monotonic() < end:
            s.send(message)
            sent += 1
            if sent % 500 == 0:
                write("%s/%d" % (top, sent), data)
    except OSError:
        pass
    s.close()
    write(top + "/last", data)
    wait_for("all of it taken", lambda: not os.listdir(top))
    check(pids() == before, "rooms were replaced: %r, before %r" % (pids(), before))


class Hanging:
    """Listed files of users whose writes never end, since before ampquard could come to them."""

    def __init__(self, top, data, uids):
        self.paths, self.writers = [], []
        keeper = suite.pids()["ampquard"]
        os.kill(keeper, signal.SIGSTOP)
        try:
            for uid in uids:
                d = "%s/of-%d" % (top, uid)
                os.mkdir(d, 0o755)
                os.chown(d, uid, uid)
                self.paths.append(stuck.owned(d + "/file", data, uid))
            wait_for("detections", lambda: len(taken.rows_of(suite, data, "threat_detected")) >= len(uids))
            for path in self.paths:
                self.writers.append(stuck.start(writer, path))
        except BaseException:
            self.end()
            raise
        finally:
            os.kill(keeper, signal.SIGCONT)

    def end(self):
        for p in self.writers:
            stuck.end(p)
        self.writers = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.end()


def faults():
    return {f["number"]: f for f in (suite.status() or {}).get("faults", [])}


def lost_hands():
    return suite.counters().get("ampquard.quarantine.hands_lost", 0)


def keeper_works(old):
    """A successor of `old`, which has the vault open."""
    def works():
        pid = suite.pids().get("ampquard")
        return pid if pid not in (None, old) and suite.cli("quarantine", "list")[0] == 0 else None

    return wait_for("a keeper that works", works)


def hands_of(keeper):
    return [pid for pid, parent in suite.hands().items() if parent == keeper]


def case_write_that_never_ends():
    """One file of a user hangs whoever comes to it: that one waits, and nothing else does."""
    top = place("hanging")
    data, others = evil("hanging"), [evil("beside-%d" % i) for i in range(4)]
    keeper = suite.pids()["ampquard"]
    check(len(hands_of(keeper)) == 8, "hands: %r" % suite.hands())
    with Hanging(top, data, (12001,)) as hanging:
        # Another user's, and another one of the same.
        for uid, other in ((12002, others[0]), (12001, others[1])):
            stuck.owned("%s/of-12001/other-%d" % (top, uid) if uid == 12001 else
                        os.path.join(watched, "other-%d" % uid), other, uid)
        taken.wait_taken(suite, others[0])
        taken.wait_taken(suite, others[1])
        taken.wait_failed(suite, data, "does not answer", 0)
        wait_for("the fault", lambda: "does not answer" in faults().get(17, {}).get("detail", ""))
        check(lost_hands() == 1, "%r" % suite.counters())
        check(not taken.rows_of(suite, others[1], "quarantine_failed"), "the other one of the same user failed")
        check(suite.pids()["ampquard"] == keeper, "ampquard was replaced")
        check(os.path.exists(hanging.paths[0]), "it is gone")
        # Killed as it is: what hangs keeps nothing from its successor.
        os.kill(keeper, signal.SIGKILL)
        begin = time.monotonic()
        second = keeper_works(keeper)
        check(time.monotonic() - begin < 10, "it took %.1f s" % (time.monotonic() - begin))
        write(top + "/third", others[2])
        taken.wait_taken(suite, others[2])
        check(hands_of(second), "no hands")
        check(len(suite.hands()) > len(hands_of(second)), "nothing hangs: %r" % suite.hands())
    taken.wait_taken(suite, data, 330)
    wait_for("the end of what hung", lambda: len(suite.hands()) == 8)
    suite.wait_idle()
    taken.is_harmless(data, top)
    check(suite.pids()["ampquard"] == second, "ampquard was replaced")
    wait_for("no fault", lambda: 17 not in faults())


def case_hand_that_comes_back():
    """A write that ends after all: its hand goes on working."""
    top = place("returning")
    data, other = evil("returning"), evil("after")
    keeper = suite.pids()["ampquard"]
    lost = lost_hands()
    with Hanging(top, data, (12005,)):
        wait_for("a lost hand", lambda: lost_hands() > lost)
    taken.wait_taken(suite, data, 330)
    wait_for("its return", lambda: "is back" in suite.log_text("ampquard"))
    stuck.owned(os.path.join(watched, "after"), other, 12005)
    taken.wait_taken(suite, other)
    suite.wait_idle()
    taken.is_harmless(data, top)
    check(suite.pids()["ampquard"] == keeper, "ampquard was replaced")


def case_all_hands():
    """More users than there are hands: a new ampquard has new ones, others' files are taken."""
    top = place("all")
    data, other = evil("all"), evil("beside-all")
    keeper = suite.pids()["ampquard"]
    uids = range(12010, 12019)
    with Hanging(top, data, uids):
        wait_for("a new ampquard", lambda: suite.pids().get("ampquard", keeper) != keeper, 60)
        check("all of its hands wait" in suite.log_text("ampquard"), "it does not say why")
        write(top + "/other", other)
        taken.wait_taken(suite, other, 120)
    wait_for("all of it taken", lambda: not [n for d, _, names in os.walk(top) for n in names], 330)
    taken.is_harmless(data, top)


if __name__ == "__main__":
    harness.main(globals())
