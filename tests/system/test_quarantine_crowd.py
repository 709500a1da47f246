"""What users crowd the quarantine with keeps nothing of anybody else's from it.

Issue "Quarantine", points 3 and 7: names in more directories than there are
descriptors, files that grow beyond all measure, clients that ask without end.
"""

import os
import signal
import socket
import struct
import time

import harness
import taken
from harness import check, wait_for, write

CLI_QUARANTINE = 0x040D


def setup(base):
    global suite, watched
    watched = harness.mount_tmpfs(base + "/watched")
    suite = harness.Suite(base, [watched], mode="protect")
    suite.start()


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


if __name__ == "__main__":
    harness.main(globals())
