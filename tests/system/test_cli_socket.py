"""Clients of the CLI sockets that break the protocol, take too much or have no
right to ask: they are disconnected or refused, counted, and nobody else takes
harm: neither the service nor who asks at the same time (issue point 8)."""

import os
import signal
import socket
import sys
import threading
import time
import traceback

import harness
import wire
from harness import check, wait_for, write
from wire import body, field, message

SERVICES = ("ampmon", "ampscand", "ampcloudd", "ampquard")
CLIENTS_MAX = 32  # lib/cliserver.h
IDLE_S = 30
LISTED = b"CLI socket test, listed file\n"
# CliError.Code
BAD_REQUEST, NOT_PERMITTED, NOT_FOUND, NOT_NOW = 1, 2, 3, 4


def setup(base):
    global suite, w, idle, start_fds
    w = harness.mount_tmpfs(base + "/w")
    suite = harness.Suite(base, [w])
    suite.block(LISTED)
    suite.start()
    write(w + "/first", LISTED)
    suite.wait_detected(w + "/first")
    fill_history(3000)
    start_fds = {s: fds(s) for s in SERVICES}
    idle = {s: (connect(s), connect(s)) for s in SERVICES}
    idle_started()


def teardown():
    suite.cleanup()


def fill_history(n):
    """Rows enough for an answer of many messages: each file is a detection of its own."""
    for i in range(n):
        write("%s/many-%d-%s" % (w, i, "x" * 200), LISTED)
    wait_for("%d rows" % n, lambda: counter("ampcloudd", "events.committed") >= n, 180)


def connect(service):
    return wire.Client(suite.run + "/" + service)


def counters(service):
    with connect(service) as c:
        answer = c.ask(wire.CLI_STATUS)
    check(answer and answer[0] == wire.CLI_STATUS_REPLY, "%s answers %r" % (service, answer))
    rows = [wire.parse(r) for r in wire.parse(answer[2]).get(2, [])]
    return {r[1][0].decode(): r.get(2, [0])[0] for r in rows}


def counter(service, name):
    return counters(service).get(name, 0)


def pid_of(service):
    return suite.supervisor() if service == "ampmon" else suite.pids()[service]


def fds(service):
    return len(os.listdir("/proc/%d/fd" % pid_of(service)))


def rss_kib(service):
    for line in open("/proc/%d/status" % pid_of(service)):
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    return 0


def error_code(answer):
    check(answer and answer[0] == wire.CLI_ERROR, "answer: %r" % (answer,))
    return wire.parse(answer[2]).get(1, [0])[0]


def disconnected(client):
    """Closed by the service without another word."""
    try:
        return client.receive() is None
    except (ConnectionResetError, BrokenPipeError):
        return True


class Unharmed:
    """The same processes before and after, and a listed file is detected."""

    def __enter__(self):
        self.pids = suite.pids()
        return self

    def __exit__(self, kind, *_):
        if kind:
            return
        check(suite.pids() == self.pids, "processes: %r, before %r" % (suite.pids(), self.pids))
        for s in SERVICES:
            counters(s)
        path = write("%s/listed-%f" % (w, time.monotonic()), LISTED)
        suite.wait_detected(path)


# -- broken protocol -------------------------------------------------------------

ASK = message(wire.CLI_STATUS)
UID = "0123abcd-0000-4000-8000-000000000001"
COMMON = [
    ("empty", b"", 0),
    ("one byte", b"\x01", 0),
    ("half a header", ASK[:9], 0),
    ("version", message(wire.CLI_STATUS, version=0), 0),
    ("length too large", message(wire.CLI_STATUS, length=1), 0),
    ("length of 4 GiB", message(wire.CLI_STATUS, length=-1), 0),
    ("more than the length says", ASK + b"\0", 0),
    ("unknown type", message(wire.UNKNOWN), 0),
    ("type 0", message(0), 0),
    ("a reply", message(wire.CLI_STATUS_REPLY), 0),
    ("an error", message(wire.CLI_ERROR), 0),
    ("READY of a room", message(wire.READY), 0),
    ("CONF of ampmon", message(wire.CONF, body((1, 1))), 0),
    ("KILL of ampscand", message(wire.KILL, b"x"), 0),
    ("STOP of ampmon", message(wire.STOP), 0),
    ("an event", message(wire.EVENT, b"x"), 0),
    ("a READ", message(wire.READ), 0),
    ("a body where none is", message(wire.CLI_STATUS, field(1, 1)), 0),
    ("body too long", message(wire.CLI_STATUS, b"\0" * 100), 0),
    ("64 KiB", message(wire.CLI_STATUS, b"\0" * (65536 - 16)), 0),
    ("more than 64 KiB", message(wire.CLI_STATUS, b"\0" * 65536), 0),
    ("200 kB", b"\xa5" * 200000, 0),
    ("a descriptor", ASK, 1),
    ("four descriptors", ASK, 4),
    ("253 descriptors", ASK, 253),
    ("nothing but descriptors", b"", 3),
]
OWN = {
    "ampmon": [
        ("a request of ampscand", message(wire.CLI_RULES), 0),
        ("a request of ampcloudd", message(wire.CLI_HISTORY), 0),
        ("policy id too long", message(wire.CLI_POLICY_USE, field(1, "x" * 300)), 0),
        ("policy id not UTF-8", message(wire.CLI_POLICY_USE, field(1, b"\xff")), 0),
        ("policy id with NUL", message(wire.CLI_POLICY_USE, field(1, b"au\0dit")), 0),
        ("policy id twice", message(wire.CLI_POLICY_USE, field(1, "audit") * 2), 0),
        ("policy with a descriptor", message(wire.CLI_POLICY_USE, field(1, "audit")), 1),
        ("unknown field", message(wire.CLI_POLICY_USE, field(1, "audit") + field(9, 1)), 0),
        ("garbage", message(wire.CLI_POLICY_USE, b"\xff" * 32), 0),
    ],
    "ampscand": [
        ("a request of ampmon", message(wire.CLI_POLICY), 0),
        ("a request of ampcloudd", message(wire.CLI_HISTORY), 0),
        ("rules too long", message(wire.CLI_RULES, b"\0" * 65), 0),
        ("a bool of 2", message(wire.CLI_RULES, b"\x08\x82\x00"), 0),
        ("garbage", message(wire.CLI_RULES, b"\xff" * 16), 0),
    ],
    "ampcloudd": [
        ("a request of ampmon", message(wire.CLI_POSTURE), 0),
        ("a request of ampscand", message(wire.CLI_RULES), 0),
        ("question too long", message(wire.CLI_HISTORY, field(1, "x" * 513)), 0),
        ("type not UTF-8", message(wire.CLI_HISTORY, field(1, b"\xfe")), 0),
        ("garbage", message(wire.CLI_HISTORY, b"\xff" * 64), 0),
        ("wrong wire type", message(wire.CLI_HISTORY, field(3, "x")), 0),
    ],
    "ampquard": [
        ("a request of ampmon", message(wire.CLI_POLICY), 0),
        ("a request of ampcloudd", message(wire.CLI_HISTORY), 0),
        ("a TAKE of ampscand", message(wire.TAKE, b"x"), 0),
        ("an OPENED of ampscand", message(wire.OPENED), 2),
        ("list, too long", message(wire.CLI_QUARANTINE, field(1, "x" * 1000)), 0),
        ("list with a descriptor", message(wire.CLI_QUARANTINE), 1),
        ("restore of no text", message(wire.CLI_RESTORE, field(1, b"\xff")), 0),
        ("restore, too long", message(wire.CLI_RESTORE, body((1, UID), (2, b"/" * 40000))), 0),
        ("restore with its directory opened", message(wire.CLI_RESTORE, body((1, UID))), 1),
        ("delete, twice in one", message(wire.CLI_DELETE, field(1, UID) * 2), 0),
        ("delete, unknown field", message(wire.CLI_DELETE, field(1, UID) + field(9, 1)), 0),
        ("revoke, wrong wire type", message(wire.CLI_REVOKE, field(1, 7)), 0),
        ("garbage", message(wire.CLI_RESTORE, b"\xff" * 64), 0),
    ],
}


def broken(service):
    failed = []
    with Unharmed():
        with open("/dev/null") as null:
            for name, data, n in COMMON + OWN[service]:
                told = counter(service, "cli.hostile")
                with connect(service) as bad, connect(service) as good:
                    bad.send(data, [null.fileno()] * n)
                    if not disconnected(bad):
                        failed.append("%s: answered" % name)
                    elif counter(service, "cli.hostile") != told + 1:
                        failed.append("%s: not counted" % name)
                    if (good.ask(wire.CLI_STATUS) or [0])[0] != wire.CLI_STATUS_REPLY:
                        failed.append("%s: another client is not served" % name)
    check(not failed, "; ".join(failed))


def case_broken_protocol_at_ampmon():
    broken("ampmon")


def case_broken_protocol_at_ampscand():
    broken("ampscand")


def case_broken_protocol_at_ampcloudd():
    broken("ampcloudd")


def case_broken_protocol_at_ampquard():
    broken("ampquard")


# -- right messages with wrong content ----------------------------------------------


# Of each there is no such entry, or it is no request at all.
QUARANTINE_NONSENSE = [(kind, content)
                       for kind in (wire.CLI_QUARANTINE, wire.CLI_RESTORE, wire.CLI_DELETE)
                       for content in (field(1, UID), field(1, "-" * 36), field(1, "../../../../../../../../../etc/shadow"),
                                       field(1, "x"), field(1, UID + "0"))]
QUARANTINE_NONSENSE += [(wire.CLI_RESTORE, body((1, UID), (2, d)))
                        for d in (b"relative", b"/with\0nul", b"/" * 32768)]
QUARANTINE_NONSENSE += [(wire.CLI_RESTORE, b""), (wire.CLI_DELETE, b"")]
QUARANTINE_NONSENSE += [(wire.CLI_REVOKE, body((1, h))) for h in (b"", b"\1" * 31, b"\1" * 33, b"\1" * 32)]


def case_content_that_makes_no_sense_is_answered():
    with Unharmed():
        for ident in ("", "nosuch", "../../../etc/passwd", "/etc/passwd", "protect/../audit", "a\nb", ".", "x" * 200):
            with connect("ampmon") as c:
                code = error_code(c.ask(wire.CLI_POLICY_USE, body((1, ident))))
                check(code in (BAD_REQUEST, NOT_FOUND), "%r: code %d" % (ident, code))
        for content in (body((1, "Drop Table")), body((1, "'; drop table events; --")), body((2, -1)),
                        body((5, "x" * 36)), body((1, "x" * 400))):
            with connect("ampcloudd") as c:
                check(error_code(c.ask(wire.CLI_HISTORY, content)) == BAD_REQUEST, "history %r" % content)
        for content in (body((3, 0xFFFFFFFF)), body((4, (1 << 64) - 1)), body((4, 1)), body((5, UID)),
                        body((2, (1 << 63) - 1))):
            with connect("ampcloudd") as c:
                answer = c.ask(wire.CLI_HISTORY, content)
                check(answer and answer[0] == wire.CLI_HISTORY_REPLY, "history %r: %r" % (content, answer))
                check(len(wire.parse(answer[2]).get(1, [])) <= 100, "too many rows")
        for kind, content in QUARANTINE_NONSENSE:
            with connect("ampquard") as c:
                check(error_code(c.ask(kind, content)) in (BAD_REQUEST, NOT_FOUND), "%x %r" % (kind, content))
        for before in (1, (1 << 64) - 1):
            with connect("ampquard") as c:
                answer = c.ask(wire.CLI_QUARANTINE, body((2, before)))
                check(answer and answer[0] == wire.CLI_QUARANTINE_REPLY, "quarantine: %r" % (answer,))
        for after in (1 << 40, (1 << 64) - 1):
            with connect("ampscand") as c:
                answer = c.ask(wire.CLI_RULES, body((2, after)))
                check(answer and answer[0] == wire.CLI_RULES_REPLY and not answer[2], "rules: %r" % (answer,))
        check(suite.status()["mode"] == "protect", "the policy changed")


# -- who may ask ---------------------------------------------------------------------


def as_who(uid, groups, function):
    """function() in a child of that user; its exit status (0: it returned true)."""
    pid = os.fork()
    if pid == 0:
        try:
            os.setgroups(groups)
            os.setgid(uid)
            os.setuid(uid)
            os._exit(0 if function() else 1)
        except BaseException:
            traceback.print_exc()
            os._exit(99)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


TESTER, GROUP = harness.USERS["amp-tester"], harness.GROUPS["amp"]


def refused_at(service, data):
    """By the file's mode already, or told that it may not, whatever it sends."""
    def ask():
        try:
            c = connect(service)
        except PermissionError:
            return True
        try:
            c.send(data)
        except (BrokenPipeError, ConnectionResetError):
            pass
        return error_code(c.receive()) == NOT_PERMITTED and c.receive() is None

    return ask


def case_others_are_refused_before_a_byte_is_looked_at():
    with Unharmed():
        for service in SERVICES:
            before = counters(service)
            for data in (ASK, b"\xff" * 100, b"x" * 70000, message(wire.CLI_POLICY_USE, field(1, "audit"))):
                check(as_who(TESTER, [], refused_at(service, data)) == 0, "%s served a stranger" % service)
            # And behind the file's mode as well: as if it were everyone's.
            path = suite.run + "/" + service
            modes = [(p, os.stat(p).st_mode & 0o7777) for p in (suite.run, path)]
            try:
                os.chmod(suite.run, 0o755)
                os.chmod(path, 0o666)
                for data in (ASK, b"\xff" * 100, message(wire.CLI_POLICY_USE, field(1, "audit"))):
                    check(as_who(TESTER, [], refused_at(service, data)) == 0, "%s served a stranger" % service)
                check(as_who(TESTER, [TESTER], flood_refused(service, 500)) == 0, "%s: a stranger's flood" % service)
            finally:
                for p, mode in modes:
                    os.chmod(p, mode)
            after = counters(service)
            check(after.get("cli.refused", 0) >= before.get("cli.refused", 0) + 503, "%s: not counted" % service)
            check(after.get("cli.hostile", 0) == before.get("cli.hostile", 0), "%s: looked at what it sent" % service)


def flood_refused(service, n):
    def flood():
        for _ in range(n):
            with connect(service) as c:
                if error_code(c.receive()) != NOT_PERMITTED:
                    return False
        return True

    return flood


def case_members_may_ask_but_not_change():
    def ask():
        for service in SERVICES:
            with connect(service) as c:
                if c.ask(wire.CLI_STATUS)[0] != wire.CLI_STATUS_REPLY:
                    return False
        with connect("ampcloudd") as c:
            if c.ask(wire.CLI_HISTORY)[0] != wire.CLI_HISTORY_REPLY:
                return False
        with connect("ampquard") as c:
            if c.ask(wire.CLI_QUARANTINE)[0] != wire.CLI_QUARANTINE_REPLY:
                return False
        for kind, content in ((wire.CLI_RESTORE, field(1, UID)), (wire.CLI_DELETE, field(1, UID)),
                              (wire.CLI_REVOKE, field(1, b"\1" * 32)), (wire.CLI_RESTORE, b"")):
            with connect("ampquard") as c:
                if error_code(c.ask(kind, content)) != NOT_PERMITTED:
                    return False
        with connect("ampmon") as c:
            return error_code(c.ask(wire.CLI_POLICY_USE, field(1, "audit"))) == NOT_PERMITTED

    with Unharmed():
        check(as_who(TESTER, [GROUP], ask) == 0, "a member is not served as it should be")
        check(suite.status()["mode"] == "protect", "a member changed the policy")


# -- too much -------------------------------------------------------------------------


def ampcli_works():
    """ampcli of root is answered within the 5 s after which it gives up. A service that others keep from the
    processors for once answers the next time; one that others lock root out of never does."""
    unanswered = []
    for _ in range(2):
        st = suite.cli("status")[1]
        if st and not st["unanswered"]:
            return
        unanswered.append(st and st["unanswered"])
    raise harness.Failed("ampcli is not answered: %r" % unanswered)


def case_a_hundred_connections_at_once():
    with Unharmed():
        for service in SERVICES:
            told = counter(service, "cli.refused")
            many = [connect(service) for _ in range(100)]
            served = late = 0
            for c in many:
                try:
                    c.send(ASK)
                except (BrokenPipeError, ConnectionResetError):
                    pass
                answer = c.receive()
                if answer and answer[0] == wire.CLI_STATUS_REPLY:
                    served += 1
                else:
                    check(error_code(answer) == NOT_NOW, "%s: %r" % (service, answer))
                    late += 1
            # Two of ours are idle there since the beginning, unless they were dropped by now.
            check(CLIENTS_MAX - 2 <= served <= CLIENTS_MAX, "%s served %d" % (service, served))
            for c in many:
                c.close()
            wait_for("room for clients", lambda: try_counters(service))
            check(counter(service, "cli.refused") >= told + late, "%s: not counted" % service)
        ampcli_works()


def try_counters(service):
    try:
        return counters(service)
    except (harness.Failed, OSError):
        return None


def hold(service, ready, go_on):
    """As many connections as it gets, kept busy; for a child."""
    def run():
        held = []
        for _ in range(100):
            c = connect(service)
            held.append(c)
            try:
                c.send(ASK)
            except OSError:
                pass
        os.write(ready, b"x")
        os.read(go_on, 1)
        return True

    return run


def case_a_member_cannot_lock_root_out():
    """A hundred connections of a member at each socket, kept open: root's ampcli is served."""
    with Unharmed():
        for service in SERVICES:
            ready, go_on = os.pipe(), os.pipe()
            pid = os.fork()
            if pid == 0:
                os._exit(as_who(TESTER, [GROUP], hold(service, ready[1], go_on[0])))
            try:
                check(os.read(ready[0], 1) == b"x", "the member failed")
                ampcli_works()
                with connect("ampmon") as c:
                    answer = c.ask(wire.CLI_POLICY)
                    check(answer and answer[0] == wire.CLI_POLICY_REPLY, "policy: %r" % (answer,))
            finally:
                os.write(go_on[1], b"x")
                check(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0, "the member failed")
                for end in ready + go_on:
                    os.close(end)


def case_who_asks_and_never_reads():
    """Answers pile up to a bound; memory stays, others are served at once."""
    with Unharmed():
        for service, kind in (("ampmon", wire.CLI_POSTURE), ("ampmon", wire.CLI_STATUS), ("ampscand", wire.CLI_RULES),
                              ("ampscand", wire.CLI_STATUS), ("ampcloudd", wire.CLI_HISTORY)):
            before = rss_kib(service)
            slow = [connect(service) for _ in range(4)]
            for c in slow:
                c.s.settimeout(0.2)
                end = time.monotonic() + 1
                try:
                    for i in range(2000):
                        c.send(message(kind, ident=i + 1))
                        if time.monotonic() > end:
                            break
                except (socket.timeout, BlockingIOError):
                    pass  # it reads no further: as well
                except (BrokenPipeError, ConnectionResetError):
                    pass  # or disconnects
            begin = time.monotonic()
            ampcli_works()
            check(len(suite.history()) >= 3000, "history is not whole")
            check(time.monotonic() - begin < 20, "history took %.1f s" % (time.monotonic() - begin))
            grown = rss_kib(service) - before
            check(grown < 24 * 1024, "%s grew by %d KiB" % (service, grown))
            for c in slow:
                c.close()


def case_requests_without_pause():
    """Four clients that ask as fast as they can: ampcli of others works meanwhile."""
    stop = threading.Event()
    answered = [0] * 4
    wrong = []

    def busy(n):
        service, kind = (("ampmon", wire.CLI_STATUS), ("ampmon", wire.CLI_POLICY), ("ampscand", wire.CLI_RULES),
                         ("ampcloudd", wire.CLI_HISTORY))[n]
        try:
            with connect(service) as c:
                while not stop.is_set():
                    if c.ask(kind) is None:
                        wrong.append("%s disconnected a client" % service)
                        return
                    answered[n] += 1
        except BaseException as e:
            wrong.append("%s: %r" % (service, e))

    with Unharmed():
        threads = [threading.Thread(target=busy, args=(n,)) for n in range(4)]
        for t in threads:
            t.start()
        try:
            end = time.monotonic() + 4
            while time.monotonic() < end or min(answered) <= 10 and time.monotonic() < end + harness.SOON and not wrong:
                ampcli_works()
        finally:
            stop.set()
            for t in threads:
                t.join(60)
        check(not wrong and min(answered) > 10, "answered %r, %r" % (answered, wrong))


def case_come_and_go():
    """5,000 connections, each closed at some point of a request, leave nothing open."""
    with Unharmed():
        for service in SERVICES:
            before = fds(service)
            for i in range(1700):
                c = connect(service)
                try:
                    if i % 3:
                        c.send(ASK)
                    if i % 3 == 2:
                        c.s.shutdown(socket.SHUT_WR)
                except (BrokenPipeError, ConnectionResetError):
                    pass
                c.close()
            wait_for("%s to close its ends" % service, lambda: fds(service) <= before)


def case_descriptors_sent_are_closed():
    """After all that the services hold no more than before (but for our idle clients)."""
    for service in SERVICES:
        wait_for("%s to close what it was sent" % service, lambda: fds(service) <= start_fds[service] + 2)


# -- idle, last: it takes its time ---------------------------------------------------


def idle_started():
    """One of each pair says nothing at all, the other asks for much once and never reads."""
    global idle_since
    for silent, deaf in idle.values():
        deaf.send(ASK)
    idle_since = time.monotonic()


def case_idle_clients_are_disconnected():
    for service, pair in idle.items():
        for c in pair:
            c.s.settimeout(max(0, idle_since + 2 * IDLE_S - time.monotonic()) + 1)
            answer = c.receive()
            if answer:
                answer = c.receive()
            check(answer is None, "%s keeps an idle client: %r" % (service, answer))
            c.close()
        check(time.monotonic() - idle_since > IDLE_S - 5, "too early")
        check(counter(service, "cli.idle") >= 2, "%s: not counted" % service)


harness.main(globals())
