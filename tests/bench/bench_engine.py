"""The engine beside clamd, clamdscan and clamonacc: the section `engine` of bench.py.

The same signatures in one directory for all: many of random bytes, made here,
beside those of the tests. clamd and clamonacc are those of the distribution
with its defaults; they run in the bench's namespaces only, with a
configuration, a socket and a log of their own. Suite and peer take turns, the
order swapped every round; each round has daemons just started and files that
nobody has seen before, so that no cache of either knows them.
"""

import contextlib
import glob
import os
import pwd
import random
import shutil
import signal
import socket
import subprocess
import time

import harness

HASHES = 300000
PATTERNS = 50000
REQUESTS = 5000
FILES = 2000
LARGE = 20
LARGE_BYTES = 9 << 19  # 4.5 MiB: the policy's limit is 5
SCANS = 10000  # after so many the memory is looked at
QUICK = {"HASHES": 30000, "PATTERNS": 5000, "REQUESTS": 500, "FILES": 300, "LARGE": 6, "SCANS": 1000}
NEEDED = ("clamd", "clamdscan", "clamonacc")
HEAD = ("measure", "bare or peer", "suite", "suite / the other", "aim")
CLAMD_CONF = """Foreground yes
LogFile {run}/clamd.log
LocalSocket {run}/clamd.sock
TemporaryDirectory {run}
DatabaseDirectory {signatures}
User clamav
OnAccessIncludePath {watched}
OnAccessExcludeUname clamav
OnAccessPrevention no
"""


def missing():
    return [n for n in NEEDED if not shutil.which(n)]


# -- what is scanned -----------------------------------------------------------


def make_signatures(path):
    rnd = random.Random(4)
    harness.definitions(path)
    harness.put(path + "/bench.hsb", "".join(
        "%s:%d:Bench.Hash.%d:73\n" % (rnd.randbytes(32).hex(), rnd.randrange(100, 5 << 20), n) for n in range(HASHES)))
    harness.put(path + "/bench.ndb", "".join(
        "Bench.Pattern.%d:0:*:%s\n" % (n, rnd.randbytes(rnd.randrange(16, 48)).hex()) for n in range(PATTERNS)))
    return path


def make_small(top, rnd, count):
    """Files of 2 to 4 KiB in directories of 200: half of them text."""
    for n in range(count):
        d = "%s/%d" % (top, n // 200)
        if n % 200 == 0:
            os.makedirs(d)
        data = rnd.randbytes(rnd.randrange(2048, 4097))
        harness.write("%s/%d" % (d, n), data.hex().encode()[: len(data)] if n % 2 else data)
    return top


def words(rnd, size):
    known = [rnd.randbytes(rnd.randrange(1, 6)).hex() for _ in range(5000)]
    return " ".join(rnd.choices(known, k=size // 6)).encode()


def programs(rnd, size):
    """Shared objects of this machine, one behind the other."""
    names = sorted(glob.glob("/usr/lib/*/*.so.*"))
    data = b""
    while names and len(data) < size:
        data += open(rnd.choice(names), "rb").read()
    return data


def make_large(top, rnd):
    """In turn random bytes, text, programs; each ends in bytes of its own."""
    os.makedirs(top)
    makers = (lambda r, size: r.randbytes(size), words, programs)
    for n in range(LARGE):
        data = makers[n % len(makers)](rnd, LARGE_BYTES)
        harness.write("%s/%d" % (top, n), data[: LARGE_BYTES - 16] + rnd.randbytes(16))
    return top


# -- the peer ------------------------------------------------------------------


def cpu_of(pid):
    return sum(int(open("/proc/%d/task/%s/schedstat" % (pid, t)).read().split()[0]) / 1e9
               for t in os.listdir("/proc/%d/task" % pid))


def pss_of(pid):
    return sum(int(l.split()[1]) / 1024 for l in open("/proc/%d/smaps_rollup" % pid) if l.startswith("Pss:"))


class Clamd:
    """clamd, and clamonacc if it is asked for; ended by their numbers."""

    def __init__(self, base, signatures, watched):
        self.run = harness.mount_tmpfs(base + "/clamd", "mode=755")
        os.chown(self.run, pwd.getpwnam("clamav").pw_uid, -1)
        self.socket = self.run + "/clamd.sock"
        self.conf = base + "/clamd.conf"
        harness.put(self.conf, CLAMD_CONF.format(run=self.run, signatures=signatures, watched=watched))
        self.processes = []

    def spawn(self, *argv):
        p = subprocess.Popen(argv + ("--config-file", self.conf), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.processes.append(p)
        return p

    def answers(self):
        if self.processes[0].poll() is not None:
            raise RuntimeError("clamd ended; its last words:\n" + self.log("clamd.log")[-500:])
        with socket.socket(socket.AF_UNIX) as s:
            try:
                s.connect(self.socket)
                s.sendall(b"zPING\0")
                return s.recv(16) == b"PONG\0"
            except OSError:
                return False

    def start(self):
        """s until it answers"""
        begin = time.monotonic()
        self.pid = self.spawn("clamd").pid
        harness.wait_for("clamd", self.answers, 120, 0.002)
        return time.monotonic() - begin

    def start_onacc(self):
        self.spawn("clamonacc", "--foreground", "--fdpass", "--log", self.run + "/onacc.log")
        harness.wait_for("clamonacc to watch", lambda: "watching '" in self.log("onacc.log"), 30)

    def log(self, name):
        try:
            return open("%s/%s" % (self.run, name), errors="replace").read()
        except OSError:
            return ""

    def wait_idle(self):
        """What was written is scanned: nobody has used a CPU for half a second."""
        before = -1
        while True:
            now = sum(cpu_of(p.pid) for p in self.processes)
            if now - before < 0.002:
                return
            before = now
            time.sleep(0.5)

    def scan(self, top, *_):
        """s of a clamdscan that finds nothing"""
        argv = ("clamdscan", "--multiscan", "--fdpass", "--no-summary", "--infected", "--config-file", self.conf, top)
        begin = time.monotonic()
        r = harness.run(*argv, check=False)
        end = time.monotonic()
        if r.returncode != 0 or r.stdout.strip():
            raise RuntimeError("clamdscan: %d: %s" % (r.returncode, r.stdout[-500:].decode(errors="replace")))
        return end - begin

    def stop(self):
        for p in reversed(self.processes):
            p.send_signal(signal.SIGTERM)
            try:
                p.wait(30)
            except subprocess.TimeoutExpired:
                p.kill()
                p.wait()
        self.processes = []
        for name in os.listdir(self.run):
            if os.path.isfile("%s/%s" % (self.run, name)) or name.endswith(".sock"):
                os.unlink("%s/%s" % (self.run, name))


# -- the section ----------------------------------------------------------------


class EngineBench:
    def __init__(self, bench, scanner, spread):
        self.bench, self.scanner, self.spread = bench, scanner, spread
        self.base = harness.mount_tmpfs(bench.base + "/engine", "mode=755")
        self.watched = bench.tmpfs
        self.signatures = make_signatures(self.base + "/signatures")
        self.clamd = Clamd(self.base, self.signatures, self.watched)
        self.seed = 1000

    @contextlib.contextmanager
    def suite(self, **settings):
        """One that never ran: at its next start a suite looks at what was written since."""
        suite = harness.Suite(self.base, [self.watched, self.bench.ext4], log_level="warn", engine="on",
                              definitions=[self.signatures], **settings)
        suite.policy["scan_cpu"] = 100
        suite.configure()
        before, self.bench.suite = self.bench.suite, suite
        try:
            yield suite
        finally:
            self.bench.suite = before
            suite.cleanup()
            shutil.rmtree(suite.base)

    def random(self):
        self.seed += 1
        return random.Random(self.seed)

    # starting

    def state(self, suite):
        """As of `ampcli definitions`, by a short connection; empty: not there yet."""
        try:
            service = self.scanner(suite)
            state = service.definitions()
            service.sock.close()
            return state
        except (OSError, RuntimeError):
            return ""

    def start(self, suite):
        """(scanner, s from ampmon's start until the engine is ready, s of that since it says that it loads)"""
        begin = time.monotonic()
        loading = None
        suite.start(wait=False)
        while True:
            state, now = self.state(suite), time.monotonic()
            if state == "loading" and loading is None:
                loading = now
            if state == "ready":
                break
            if now - begin > 300:
                raise RuntimeError("the engine is not ready")
            time.sleep(0.002)
        suite.wait_idle()
        return self.scanner(suite), now - begin, now - (loading or now)

    def scan(self, suite, top, count, known):
        """s of a scan on demand that finds nothing; by its cache: known"""
        begin = time.monotonic()
        code, doc = suite.scan("start", top, seconds=600)
        end = time.monotonic()
        if code != 0 or doc["counts"].get("clean") != count or doc["cached"] != known:
            raise RuntimeError("scan of %s: exit %d: %r" % (top, code, doc))
        return end - begin

    # requests: one at a time

    def suite_requests(self, top):
        with self.suite(engine_workers=1) as suite:
            scanner, started, loaded = self.start(suite)
            before = scanner.ask()[0]
            self.scan(suite, top, REQUESTS, 0)
            after = scanner.ask()[0]
        grown = lambda n: after.get(n, 0) - before.get(n, 0)  # noqa: E731
        return {"start": started, "load": loaded, "request": grown("engine.request_us") / grown("engine.scans"),
                "spawn": after["engine.spawn_us"] / after["engine.workers"]}

    def clamd_requests(self, top):
        try:
            started = self.clamd.start()
            count, ns = map(int, self.bench.op("fildes", self.clamd.socket, top))
        finally:
            self.clamd.stop()
        return {"start": started, "request": ns / 1000 / count}

    def report_requests(self, pairs):
        add, pair = self.table.add, self.table.pair
        peer, suite = [p for p, _ in pairs], [s for _, s in pairs]
        get = lambda runs, key: [r[key] for r in runs]  # noqa: E731
        pair("a request to the engine, a file of 2 to 4 KiB (%d, one after the other): to a worker and back, as ampscand sees it; "
             "clamd's FILDES over its socket" % REQUESTS, get(peer, "request"), get(suite, "request"), "us", 1, "120 us")
        pair("start with %d signatures: ampmon's start until the engine is ready; clamd's until it answers" % (HASHES + PATTERNS),
             get(peer, "start"), get(suite, "start"), "s", 1)
        add("of that: the engine's loading", "-", self.spread(get(suite, "load"), "s"))
        add("a new worker: asked for until it is there", "-", self.spread(get(suite, "spawn"), "us"))

    # trees

    def trees(self):
        """Where the suite watches, but it does not run yet: a file must be there before to be unknown."""
        rnd, top = self.random(), self.watched + "/trees"
        return {
            "small": make_small(top + "/small", rnd, FILES),
            "written": make_small(self.base + "/written", rnd, FILES),
            "large": make_large(top + "/large", rnd),
            "many": make_small(top + "/many", rnd, SCANS),
        }

    def each_tree(self, scan, trees):
        """{measure: s} of scan(directory, files in it, how many of them are known)"""
        return {"cold": scan(trees["small"], FILES, 0), "again": scan(trees["small"], FILES, FILES),
                "large": scan(trees["large"], LARGE, 0), "many": scan(trees["many"], SCANS, 0)}

    def suite_trees(self, trees):
        with self.suite() as suite:
            scanner = self.start(suite)[0]
            found = self.each_tree(lambda *a: self.scan(suite, *a), trees)
            room, zygotes = suite.engine()
            workers = [w for each in zygotes.values() for w in each]
            found["pss"] = sum(map(pss_of, [room] + list(zygotes) + workers))
            found["workers"] = len(workers)
            found["written"] = self.write_tree(scanner, trees["written"])
            found["loaded"] = scanner.ask()[0].get("demand.seconds_under_load", 0)
        return found

    def write_tree(self, scanner, source):
        """s until all verdicts of a tree written where the suite watches are in"""
        target, before = self.watched + "/written", scanner.verdicts()[0]
        begin = time.monotonic()
        harness.run("cp", "-r", source, target)
        end = scanner.wait(before + FILES)
        shutil.rmtree(target)
        return end - begin

    def clamd_trees(self, trees):
        try:
            self.clamd.start()
            found = self.each_tree(self.clamd.scan, trees)
            found["pss"] = pss_of(self.clamd.pid)
        finally:
            self.clamd.stop()
        return found

    def report_trees(self, pairs):
        peer, suite = [p for p, _ in pairs], [s for _, s in pairs]
        rate = lambda runs: [LARGE * LARGE_BYTES / 1e6 / r["large"] for r in runs]  # noqa: E731
        get = lambda runs, key: [r[key] for r in runs]  # noqa: E731
        beside = "beside `clamdscan --multiscan --fdpass`"
        pair = self.table.pair
        pair("%d small files not seen before: `ampcli scan start --wait`, %s" % (FILES, beside),
             get(peer, "cold"), get(suite, "cold"), "ms", 1000, "0.5")
        self.table.add("as many written where the suite watches: since the first write, until all verdicts are in", "-",
                       self.spread(get(suite, "written"), "ms", 1000))
        pair("the same tree again, unchanged", get(peer, "again"), get(suite, "again"), "ms", 1000, "0.01")
        pair("%d files not seen before" % SCANS, get(peer, "many"), get(suite, "many"), "ms", 1000)
        pair("%d files of %.1f MiB (random, text, programs)" % (LARGE, LARGE_BYTES / (1 << 20)), rate(peer), rate(suite), "MB/s", 1,
             "the engine's own")
        pair("PSS of ampengine and its %s workers, of clamd, after these scans" % "/".join(
            str(n) for n in sorted(set(get(suite, "workers")))), get(peer, "pss"), get(suite, "pss"), "MiB", 1, "1.05")
        if any(get(suite, "loaded")):
            self.table.add("seconds in which scans on demand held back, because the machine was busy", "-",
                           self.spread(get(suite, "loaded"), "s"))

    # unpack and read

    def unpack(self, scanner, where):
        """Twice, each time other files; of the second."""
        for _ in range(2):
            self.bench.archive = self.bench.make_archive(self.random())
            os.sync()
            figures = self.bench.unpack(scanner, where)
            if self.clamd.processes:
                self.clamd.wait_idle()
        return figures

    def suite_unpack(self, where):
        with self.suite() as suite:
            return self.unpack(self.start(suite)[0], where)

    def onacc_unpack(self, where):
        try:
            self.clamd.start()
            self.clamd.start_onacc()
            figures = self.unpack(None, where)
            self.expect_seen()
            return figures
        finally:
            self.clamd.stop()

    def expect_seen(self):
        """It does scan there."""
        path = harness.write(self.watched + "/infected", harness.infected("bench"))
        open(path, "rb").close()
        harness.wait_for("clamonacc to find it", lambda: " FOUND" in self.clamd.log("onacc.log"), 30)
        os.unlink(path)

    def report_unpack(self, where, name, runs):
        bare, suite, onacc = ([r[n][0] for r in runs] for n in ("bare", "suite", "onacc"))
        count = self.bench.unpacked
        what = "unpack and read %d small files, %s" % (count, name)
        self.table.pair(what + ": bare", bare, suite, "ms", 1000, "1.10")
        self.table.add("all their verdicts: since the last read", "-",
                       self.spread([r["suite"][2] for r in runs], "ms", 1000))
        if onacc[0] is not None:
            self.table.pair("the same beside clamonacc and clamd in place of the suite (notifications only)", onacc, suite,
                            "ms", 1000)

    def bench_unpack(self, where, name):
        ways = {"bare": lambda: self.unpack(None, where), "suite": lambda: self.suite_unpack(where)}
        # clamonacc is told of one directory, as is common.
        ways["onacc"] = (lambda: self.onacc_unpack(where)) if where == self.watched else (lambda: (None,))
        self.report_unpack(where, name, self.in_turn(ways))

    # all

    def in_turn(self, ways):
        """[{name: figures}] of each round; a round that warms up is left out."""
        rounds = []
        for n in range(self.bench.rounds + 1):
            names = list(ways) if n % 2 else list(reversed(ways))
            figures = {}
            for name in names:
                os.sync()
                figures[name] = ways[name]()
            rounds.append(figures)
        return rounds[1:]

    def pairs(self, suite, peer, make):
        """[(peer, suite)], each round with files of its own"""
        found = []
        for n in range(self.bench.rounds + 1):
            made = make()
            figures = {}
            for way in (suite, peer) if n % 2 else (peer, suite):
                os.sync()
                figures[way] = way(made)
            self.remove_trees()
            found.append((figures[peer], figures[suite]))
        return found[1:]

    def remove_trees(self):
        for top in (self.watched + "/trees", self.base + "/written"):
            shutil.rmtree(top, ignore_errors=True)

    def measure(self):
        self.report_requests(self.pairs(self.suite_requests, self.clamd_requests,
                                        lambda: make_small(self.watched + "/trees", self.random(), REQUESTS)))
        self.report_trees(self.pairs(self.suite_trees, self.clamd_trees, self.trees))
        self.bench_unpack(self.watched, "tmpfs")
        self.bench_unpack(self.bench.ext4, "ext4 on a loop device")

    def run(self, table):
        self.table = table
        archive = self.bench.archive
        try:
            self.measure()
        finally:
            self.clamd.stop()
            self.bench.archive = archive
