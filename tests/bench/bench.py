"""Measures the suite against the bare system (the suite not running).

    AMP_BUILD=build/dir python3 tests/bench/bench.py [--rounds N] [--only NAME,...] [--quick]

As root, in namespaces of its own (tests/system/harness.py). Bare and suite
take turns within one run, the order swapped every round, so that whatever else
changes on the machine hits both. Prints Markdown. It measures and judges
nothing: it never fails for slowness.

The engine is measured beside clamd, clamdscan and clamonacc (bench_engine.py).
The quarantine is measured on an ext4 on a loop device, its image in --disk
(unlinked at once, nothing of it stays): there fsync(2) waits for a disk.
"""

import argparse
import hashlib
import os
import platform
import random
import shutil
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../system"))
import bench_engine  # noqa: E402
import harness  # noqa: E402

FILES = 2000
EXECS = 3000
KILLS = 40
BURST = 20000
RATES = (1000, 2000, 4000, 8000, 12000, 16000, 20000, 25000, 30000)
PACED_SECONDS = 4
KEPT_UP = 0.25  # s after the last write until its verdict is in
IDLE_SECONDS = 30
TAKEN = 2000
TAKEN_BYTES = 4096
LARGE_BYTES = 1 << 30
DISK_MB = 6144  # the large file, its source, a copy of it, and 5 % free
QUICK = {"FILES": 500, "EXECS": 500, "KILLS": 10, "BURST": 4000, "RATES": (1000, 4000), "IDLE_SECONDS": 5,
         "TAKEN": 300, "LARGE_BYTES": 64 << 20, "DISK_MB": 1024}

# -- asking ampscand ---------------------------------------------------------


def _varint(data, at):
    value = shift = 0
    while True:
        value |= (data[at] & 0x7F) << shift
        shift += 7
        at += 1
        if data[at - 1] < 0x80:
            return value, at


def _fields(data):
    """(number, value) of a protobuf message: varints and bytes, all that a status reply has."""
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        value, at = _varint(data, at)
        if key & 7 == 2:
            value, at = data[at : at + value], at + value
        yield key >> 3, value


class Service:
    """A connection to a service's own socket: far cheaper to ask often than a process of ampcli."""

    STATUS, QUARANTINE, DEFINITIONS, VERSION = 0x0401, 0x040D, 0x041D, 0xA501

    def __init__(self, suite, name):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.sock.settimeout(60)
        self.sock.connect("%s/%s" % (suite.run, name))
        self.id = 0

    def question(self, kind):
        """Body of the answer to a question without a body."""
        self.id += 1
        self.sock.send(struct.pack("<HHIQ", self.VERSION, kind, 0, self.id))
        reply = self.sock.recv(65536)
        version, answer, length, ident = struct.unpack_from("<HHIQ", reply)
        if (version, answer, ident, length) != (self.VERSION, kind + 1, self.id, len(reply) - 16):
            raise RuntimeError("answered with something else")
        return reply[16:]

    def ask(self):
        """({counter: value}, events in hand)"""
        counters, jobs = {}, 0
        for number, value in _fields(self.question(self.STATUS)):
            if number == 2:
                counter = dict(_fields(value))
                counters[counter[1].decode()] = counter.get(2, 0)
            elif number == 20:
                jobs = value
        return counters, jobs


class Scanner(Service):
    def __init__(self, suite):
        super().__init__(suite, "ampscand")

    def verdicts(self):
        counters, jobs = self.ask()
        return sum(v for k, v in counters.items() if k in ("judged.clean", "judged.allowed", "judged.blocked")), jobs

    def definitions(self):
        """The engine's state: off, none, loading, ready."""
        return dict(_fields(self.question(self.DEFINITIONS))).get(1, b"").decode()

    def wait(self, verdicts, seconds=300):
        """Monotonic time at which that many verdicts are in and nothing is in hand."""
        end = time.monotonic() + seconds
        while True:
            done, jobs = self.verdicts()
            now = time.monotonic()
            if done >= verdicts and jobs == 0:
                return now
            if now > end:
                raise RuntimeError("after %d s: %d of %d verdicts, %d in hand" % (seconds, done, verdicts, jobs))
            time.sleep(0.004)


class Keeper(Service):
    """What ampquard has done, and when."""

    def __init__(self, suite):
        super().__init__(suite, "ampquard")

    def reach(self, counter, count, seconds=600):
        """[(monotonic time, value)] until the counter has that value."""
        seen, end = [], time.monotonic() + seconds
        while not seen or seen[-1][1] < count:
            counters = self.ask()[0]
            now = time.monotonic()
            seen.append((now, counters.get(counter, 0)))
            if counters.get("quarantine.failed", 0) or now > end:
                raise RuntimeError("%s: %d of %d, %r" % (counter, seen[-1][1], count, counters))
            time.sleep(0.005)
        return seen

    def committed(self):
        """Monotonic time when what was counted is committed: answered behind the round in hand."""
        self.question(self.QUARANTINE)
        return time.monotonic()


# -- figures -----------------------------------------------------------------


class Table:
    def __init__(self, head=("measure", "bare", "suite", "suite / bare", "aim")):
        self.head = head
        self.rows = []

    def add(self, what, bare, suite, aim="", ratio=""):
        self.rows.append((what, bare, suite, ratio, aim))
        print("# %s: %s %s, suite %s %s" % (what, self.head[1], bare, suite, ratio), file=sys.stderr, flush=True)

    def pair(self, what, bare, suite, unit, scale, aim=""):
        """Medians of both, and of the ratios of each round."""
        ratios = [s / b for b, s in zip(bare, suite)]
        self.add(what, spread(bare, unit, scale), spread(suite, unit, scale), aim, spread(ratios, "", 1, 3))

    def markdown(self):
        lines = [self.head, tuple("---" for _ in self.head)] + self.rows
        return "\n".join("| " + " | ".join(r) + " |" for r in lines)


def spread(values, unit, scale=1, digits=None):
    """median (smallest to largest)"""
    v = sorted(x * scale for x in values)
    if digits is None:
        digits = 0 if v[-1] >= 1000 else 1 if v[-1] >= 10 else 2
    f = lambda x: "%.*f" % (digits, x)  # noqa: E731
    return ("%s %s (%s to %s)" % (f(statistics.median(v)), unit, f(v[0]), f(v[-1]))).replace("  ", " ")


def percentile(values, p):
    v = sorted(values)
    return v[min(len(v) - 1, int(len(v) * p))]


def machine():
    cpu = [l.split(":", 1)[1].strip() for l in open("/proc/cpuinfo") if l.startswith("model name")]
    mem = int(open("/proc/meminfo").readline().split()[1]) / 1024 / 1024
    here = os.path.dirname(os.path.abspath(__file__))
    say = lambda *a: subprocess.run(a, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=here).stdout.decode().strip()  # noqa: E731
    os_release = dict(l.rstrip().split("=", 1) for l in open("/etc/os-release") if "=" in l)
    return "\n".join((
        "- date: %s; source: %s" % (time.strftime("%Y-%m-%d"), say("git", "describe", "--always", "--dirty") or "release"),
        "- machine: %d x %s, %.0f GiB" % (len(cpu), cpu[0] if cpu else platform.machine(), mem),
        "- kernel %s; %s; %s" % (platform.release(), os_release.get("PRETTY_NAME", "").strip('"'),
                                 say("gcc", "--version").split("\n")[0]),
        "- OpenSSL %s, libevent %s, SQLite %s, protobuf-c %s" % tuple(
            say("pkg-config", "--modversion", p) for p in ("libcrypto", "libevent", "sqlite3", "libprotobuf-c")),
        "- load average at the end: %s" % " ".join(open("/proc/loadavg").read().split()[:3]),
    ))


# -- the bench ---------------------------------------------------------------


class Bench:
    def __init__(self, base, rounds, disk):
        self.rounds = rounds
        self.disk = disk
        self.vault = None  # emptied after each run of the suite
        self.table = Table()
        self.engine_table = Table(bench_engine.HEAD)
        self.notes = []
        self.unpacked = FILES
        self.base = base
        self.ops = os.path.join(harness.BUILD, "tests/bench/bench_ops")
        self.tmpfs = harness.mount_tmpfs(base + "/tmpfs", "mode=755")
        self.ext4 = harness.mount_ext4(base + "/ext4", base + "/image", 1024)
        self.program = open(self.ops, "rb").read()
        self.listed = self.make_listed(base + "/readonly")
        self.suite = harness.Suite(base, [self.tmpfs, self.ext4, base + "/readonly"], log_level="warn")
        self.suite.block(self.program + b"listed")
        self.archive = self.make_archive(random.Random(1))

    def make_listed(self, top):
        """A listed program that cannot be taken away, so that it can be executed often."""
        harness.mount_tmpfs(top, "mode=755")
        path = harness.write(top + "/listed", self.program + b"listed", 0o755)
        harness.run("mount", "-o", "remount,ro", top)
        return path

    def make_archive(self, rnd):
        """About FILES files of 1 to 16 KiB, as sources have, in directories of 50."""
        top = self.base + "/tree"
        for n in range(FILES):
            d = "%s/%02d" % (top, n // 50)
            os.makedirs(d, exist_ok=True)
            size = min(16384, int(rnd.lognormvariate(8.2, 0.8)) + 64)
            harness.write("%s/file%d" % (d, n), rnd.randbytes(size))
        archive = self.base + "/files.tar"
        harness.run("tar", "-cf", archive, "-C", top, ".")
        self.archive_bytes = os.path.getsize(archive)
        shutil.rmtree(top)
        return archive

    def op(self, *argv):
        return harness.run(self.ops, *argv, stderr=None).stdout.decode().split()

    def with_suite(self, function, *args):
        self.suite.start()
        try:
            self.suite.wait_idle()
            scanner = Scanner(self.suite)
            return function(scanner, *args)
        finally:
            self.suite.stop()
            if self.vault:
                shutil.rmtree(self.vault)

    def in_turn(self, function, *args):
        """[(bare, suite)] of function(scanner or None, *args); a round that warms up is left out."""
        pairs = []
        for n in range(self.rounds + 1):
            both = {}
            for with_suite in (n % 2 == 0, n % 2 == 1):
                os.sync()
                both[with_suite] = self.with_suite(function, *args) if with_suite else function(None, *args)
            if n:
                pairs.append((both[False], both[True]))
        return pairs

    # small files

    def cpu(self):
        """{process: s on a CPU}, to the nanosecond (schedstat of every thread)."""
        found = {}
        for name, pid in self.suite.pids().items():
            for task in os.listdir("/proc/%d/task" % pid):
                ns = int(open("/proc/%d/task/%s/schedstat" % (pid, task)).read().split()[0])
                found[name] = found.get(name, 0) + ns / 1e9
        return found

    def unpack(self, scanner, where):
        target = where + "/unpacked"
        os.mkdir(target)
        before = scanner.verdicts()[0] if scanner else 0
        cpu = self.cpu() if scanner else {}
        begin = time.monotonic()
        harness.run("tar", "-xf", self.archive, "-C", target)
        self.op("read", target)
        end = time.monotonic()
        judged = scanner.wait(before + FILES) if scanner else end
        spent = {n: s - cpu.get(n, 0) for n, s in self.cpu().items()} if scanner else {}
        shutil.rmtree(target)
        return end - begin, judged - begin, judged - end, spent

    def unpack_warm(self, scanner, where):
        """The second time: what is measured is not the first minute after a start."""
        self.unpack(scanner, where)
        os.sync()
        return self.unpack(scanner, where)

    def bench_small_files(self):
        for where, name in ((self.tmpfs, "tmpfs"), (self.ext4, "ext4 on a loop device")):
            pairs = self.in_turn(self.unpack_warm, where)
            what = "unpack and read %d small files (%.1f MB), %s" % (FILES, self.archive_bytes / 1e6, name)
            self.table.pair(what, [b[0] for b, _ in pairs], [s[0] for _, s in pairs], "ms", 1000, "1.10")
            self.table.add("all their verdicts, %s: since the first write" % name, "-",
                           spread([s[1] for _, s in pairs], "ms", 1000))
            self.table.add("the same, since the last read", "-", spread([s[2] for _, s in pairs], "ms", 1000))
            each = ", ".join("%s %.1f" % (n, statistics.median(s[3][n] for _, s in pairs) * 1000)
                             for n in sorted(pairs[0][1][3]))
            self.table.add("CPU time of the suite meanwhile, %s" % name, "-", "%s: %s" % (
                spread([sum(s[3].values()) for _, s in pairs], "ms", 1000), each))

    # the engine

    def bench_engine(self):
        missing = bench_engine.missing()
        if missing:
            self.notes.append("- the engine was not measured: %s not installed" % ", ".join(missing))
            return
        bench_engine.EngineBench(self, Scanner, spread).run(self.engine_table)

    # quarantine

    def make_disk(self, image_dir):
        """An ext4 with sources, the watched directory and the vault on it."""
        top = self.base + "/disk"
        fd, image = tempfile.mkstemp(prefix="amp-bench-", dir=image_dir)
        os.ftruncate(fd, DISK_MB << 20)
        os.close(fd)
        try:
            harness.run("mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0", image)
            os.makedirs(top)
            harness.run("mount", "-o", "loop", image, top)
        finally:
            os.unlink(image)
        for d in ("small", "large", "watched", "copies"):
            os.mkdir("%s/%s" % (top, d))
        return top

    def keeper_suite(self, top):
        suite = harness.Suite(self.base, [top + "/watched"], name="keeper", log_level="warn",
                              quarantine_dir=top + "/vault")
        rnd = random.Random(2)
        blocked = suite.lists["blocked.list"]
        for n in range(TAKEN):
            data = rnd.randbytes(TAKEN_BYTES)
            harness.write("%s/small/%d" % (top, n), data)
            blocked.append(harness.sha256(data) + " Bench.Small")
        hash = hashlib.sha256()
        with open(top + "/large/file", "wb") as f:
            for _ in range(LARGE_BYTES >> 20):
                data = os.urandom(1 << 20)
                hash.update(data)
                f.write(data)
        blocked.append(hash.hexdigest() + " Bench.Large")
        suite.configure()
        return suite

    def shell(self, script, *args):
        begin = time.monotonic()
        harness.run("sh", "-ec", script, "sh", *args)
        return time.monotonic() - begin

    def copies(self, top, name, ways):
        """{way: s} of each way to copy that directory; $1 is it, $2 is where to."""
        spent = {}
        for way, script in ways:
            to = "%s/copies/%s" % (top, way)
            os.sync()
            spent[way] = self.shell(script, "%s/%s" % (top, name), to)
            shutil.rmtree(to)
        return spent

    def take_small(self, scanner, top):
        ways = (
            ("each", '%s copy "$1" "$2"' % self.ops),
            ("cp-each", 'mkdir "$2"; cd "$1"; for f in *; do cp --sparse=always "$f" "$2/$f"; sync "$2/$f"; done'),
            ("cp-all", 'cp -r --sparse=always "$1" "$2"; sync -f "$2"'),
        )
        if not scanner:
            return self.copies(top, "small", ways)
        os.sync()
        keeper, cpu, begin = Keeper(self.suite), self.cpu(), time.monotonic()
        harness.run("cp", "-r", top + "/small", top + "/watched/small")
        seen = keeper.reach("quarantine.done", TAKEN)
        end = keeper.committed()
        spent = {n: s - cpu.get(n, 0) for n, s in self.cpu().items()}
        # Of the middle half: neither the first ones nor the last ones are alone.
        middle = [(t, n) for t, n in seen if TAKEN / 4 <= n <= TAKEN * 3 / 4]
        steady = (middle[-1][1] - middle[0][1]) / (middle[-1][0] - middle[0][0])
        shutil.rmtree(top + "/watched/small")
        return {"all": end - begin, "steady": steady, "cpu": spent}

    def take_large(self, scanner, top):
        if not scanner:
            ways = (("cp", 'mkdir "$2"; cp --sparse=always "$1/file" "$2/file"; sync "$2/file"'),)
            return self.copies(top, "large", ways)
        harness.run("cp", "--sparse=always", top + "/large/file", top + "/file")
        os.sync()
        keeper, cpu, begin = Keeper(self.suite), self.cpu(), time.monotonic()
        os.rename(top + "/file", top + "/watched/file")
        asked = keeper.reach("quarantine.requests", 1)[-1][0]
        keeper.reach("quarantine.done", 1)
        end = keeper.committed()
        spent = {n: s - cpu.get(n, 0) for n, s in self.cpu().items()}
        return {"all": end - begin, "taking": end - asked, "cpu": spent}

    def cpu_text(self, runs):
        each = {n: statistics.median(r["cpu"].get(n, 0) for r in runs) * 1000 for n in runs[0]["cpu"]}
        return "%s: %s" % (spread([sum(r["cpu"].values()) for r in runs], "ms", 1000),
                           ", ".join("%s %.0f" % i for i in sorted(each.items()) if i[1] >= 0.5))

    def report_small(self, pairs):
        suite = [s for _, s in pairs]
        rate = lambda seconds: [TAKEN / s for s in seconds]  # noqa: E731
        what = "%d listed files of %d bytes: quarantined a second, from the first write to the last 'done'" % (
            TAKEN, TAKEN_BYTES)
        self.table.add(what, "-", spread(rate([s["all"] for s in suite]), "/s"))
        self.table.add("the same, in steady state (the middle half)", "-", spread([s["steady"] for s in suite], "/s"))
        for way, name in (("each", "one program copies them, fsync after each"),
                          ("cp-each", "`cp --sparse=always` and `sync FILE` for each"),
                          ("cp-all", "one `cp -r --sparse=always` of all, one `sync -f`")):
            bare = [b[way] for b, _ in pairs]
            ratios = [s["all"] / b[way] for b, s in pairs]
            self.table.add("time of that, beside: " + name, spread(bare, "ms", 1000),
                           spread([s["all"] for s in suite], "ms", 1000), "", spread(ratios, "", 1, 2))
        self.table.add("CPU time of the suite meanwhile", "-", self.cpu_text(suite))

    def report_large(self, pairs):
        suite = [s for _, s in pairs]
        bare = [b["cp"] for b, _ in pairs]
        rate = lambda seconds: spread([LARGE_BYTES / 1e6 / s for s in seconds], "MB/s")  # noqa: E731
        for part, name in (("all", "a listed file of %d MiB, from its move to 'done', beside `cp --sparse=always` and `sync FILE`" %
                            (LARGE_BYTES >> 20)),
                           ("taking", "of that what ampquard takes: from its request to 'done'")):
            self.table.add(name, rate(bare), rate([s[part] for s in suite]), "",
                           spread([s[part] / b for b, s in zip(bare, suite)], "", 1, 2))
        self.table.add("CPU time of the suite meanwhile", "-", self.cpu_text(suite))

    def bench_quarantine(self):
        top = self.make_disk(self.disk)
        events, self.suite, self.vault = self.suite, self.keeper_suite(top), top + "/vault"
        try:
            self.report_small(self.in_turn(self.take_small, top))
            self.report_large(self.in_turn(self.take_large, top))
        finally:
            self.suite.cleanup()
            self.suite, self.vault = events, None

    # programs

    def put(self, name, tail):
        # Written under another name, so that nothing executes a half.
        path = self.tmpfs + "/" + name
        harness.write(path + ".new", self.program + tail, 0o755)
        os.rename(path + ".new", path)
        return path

    def kill_fresh(self, n):
        """[ns]; []: it was taken away before it could be executed"""
        path = self.put("fresh%d" % n, b"listed")
        r = harness.run(self.ops, "kill", path, 1, 25, check=False, stderr=subprocess.DEVNULL)
        if r.returncode != 0 and os.path.exists(path):
            raise RuntimeError("%s was not killed" % path)
        return [int(t) for t in r.stdout.split()] if r.returncode == 0 else []

    def kills(self, scanner):
        self.op("kill", self.listed, 1, 500)  # its content is known from then on
        times = [int(t) for t in self.op("kill", self.listed, KILLS, 25)]
        return times, [t for n in range(KILLS) for t in self.kill_fresh(n)]

    def bench_kill(self):
        known, fresh = [], []
        for _ in range(self.rounds):
            a, b = self.with_suite(self.kills)
            known += a
            fresh += b
        for what, times, aim in (("exec of a listed program to its death", known, "median under 1 ms"),
                                 ("the same, executed right after it was written", fresh, "")):
            self.table.add("%s (%d times)" % (what, len(times)), "-",
                           spread(times, "ms", 1e-6, 2) + ", 95 %% within %.2f" % (percentile(times, 0.95) / 1e6), aim)

    def execs(self, scanner):
        path = self.put("clean", b"clean")
        self.op("run", path, 50)
        time.sleep(0.2)
        ns = int(self.op("run", path, EXECS)[0])
        os.unlink(path)
        return ns

    def bench_execs(self):
        pairs = self.in_turn(self.execs)
        self.table.pair("%d execs of a clean program" % EXECS, [b for b, _ in pairs], [s for _, s in pairs], "ms",
                        1e-6, "1.02")

    # what it costs to have it

    def pss(self, pids):
        found = {}
        for name, pid in pids.items():
            for line in open("/proc/%d/smaps_rollup" % pid):
                if line.startswith("Pss:"):
                    found[name] = int(line.split()[1]) / 1024
        return found

    def switches(self, pids):
        found = {}
        for name, pid in pids.items():
            n = 0
            for task in os.listdir("/proc/%d/task" % pid):
                for line in open("/proc/%d/task/%s/status" % (pid, task)):
                    if line.startswith("voluntary_ctxt_switches"):
                        n += int(line.split()[1])
            found[name] = n
        return found

    def bench_resident(self):
        def measure(scanner):
            started = self.pss(self.suite.pids())
            self.unpack(scanner, self.tmpfs)
            scanner.sock.close()
            time.sleep(2)
            pids = self.suite.pids()
            before = self.switches(pids)
            time.sleep(IDLE_SECONDS)
            after = self.switches(pids)
            rates = {n: (after[n] - before[n]) / IDLE_SECONDS for n in pids}
            return started, self.pss(pids), rates

        started, worked, rates = self.with_suite(measure)
        each = lambda d, f: ", ".join("%s %s" % (n, f % v) for n, v in sorted(d.items()))  # noqa: E731
        self.table.add("PSS of all processes, after the start", "-", "%.1f MiB" % sum(started.values()), "under 30 MB")
        self.table.add("PSS after %d files" % FILES, "-", "%.1f MiB: %s" % (sum(worked.values()), each(worked, "%.1f")),
                       "under 30 MB")
        self.table.add("idle wake-ups a second, %d s" % IDLE_SECONDS, "-", each(rates, "%.2f"), "under 1 a process")

    # throughput

    def files(self, scanner, count, rate):
        target = self.tmpfs + "/burst"
        os.mkdir(target)
        before = scanner.ask()[0]
        done = scanner.verdicts()[0]
        begin = time.monotonic()
        self.op("files", target, count, rate)
        end = time.monotonic()
        judged = scanner.wait(done + count)
        after = scanner.ask()[0]
        grown = lambda name: after.get(name, 0) - before.get(name, 0)  # noqa: E731
        shutil.rmtree(target)
        return {"wrote": end - begin, "judged": judged - begin, "late": judged - end,
                "events": grown("events.read"), "lost": grown("events.overflow")}

    def bench_events(self):
        def bursts(scanner):
            return [self.files(scanner, BURST, 0) for _ in range(self.rounds)]

        def paced(scanner):
            best = None
            for rate in RATES:
                r = self.files(scanner, rate * PACED_SECONDS, rate)
                reached = rate * PACED_SECONDS / r["wrote"]
                if r["late"] > KEPT_UP or r["lost"]:
                    break
                best = (rate, reached, r)
                if reached < rate * 0.9:
                    break
            return best

        done = self.with_suite(bursts)
        self.table.add("%d files as fast as they can be made: verdicts a second (overflows: %d)" % (
            BURST, sum(r["lost"] for r in done)),
            "-", spread([BURST / r["judged"] for r in done], "/s"))
        self.table.add("the same: events a second", "-", spread([r["events"] / r["judged"] for r in done], "/s"))
        best = self.with_suite(paced)
        self.table.add("steady rate that it keeps up with for %d s, all verdicts %.0f ms after the last write; up to %d/s tried" % (
            PACED_SECONDS, KEPT_UP * 1000, RATES[-1]), "-",
            "%.0f files/s, %.0f events/s" % (best[1], best[2]["events"] / best[2]["wrote"]) if best else "below %d/s" % RATES[0])


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--rounds", type=int, default=7)
    p.add_argument("--only", default="small_files,kill,execs,resident,events,quarantine,engine")
    p.add_argument("--disk", default="/var/tmp", help="where the image of the quarantine's file system is made")
    p.add_argument("--quick", action="store_true", help="small numbers, to try the bench itself")
    args = p.parse_args()
    harness.enter()
    if args.quick:
        globals().update(QUICK)
        vars(bench_engine).update(bench_engine.QUICK)
    base = harness._prepare()
    bench = Bench(base, args.rounds, args.disk)
    try:
        for name in args.only.split(","):
            getattr(bench, "bench_" + name)()
    finally:
        bench.suite.cleanup()
        # The mounts go with the namespace; the directory they hid is the host's.
        harness.run("umount", "-R", "-l", base, check=False)
        os.rmdir(base)
    print(machine())
    print("- %d rounds, bare (or peer) and suite in turn; figures: median (smallest to largest)" % args.rounds)
    print("\n".join(bench.notes))
    print("\n\n".join(t.markdown() for t in (bench.table, bench.engine_table) if t.rows))


if __name__ == "__main__":
    main()
