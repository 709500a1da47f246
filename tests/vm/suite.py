#!/usr/bin/python3
"""tests/vm/suite.py - the system tests on Debian's kernels, and what differs between them.

Owns: which tests and cases run in guests, their limits, counting. Must not own:
guests (run), tests (../system). Prints `ok`, `not ok` and `skip` lines.

AMP_BUILD is a build with its test programs (make check TESTS=).
"""

import argparse
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
SYSTEM = os.path.join(os.path.dirname(HERE), "system")
BUILD = os.environ.get("AMP_BUILD", os.getcwd())
KERNELS = ["6.1", "6.12"]
SLOW = "4"  # how much more time an emulated machine gets
LIMIT = 3600  # seconds for a guest with all of it, which takes a quarter of that where nobody else is busy
BUSY = 3  # how many times its seconds a test may take before it is taken to hang
RESTORE = ["everything_is_as_it_was", "privileges", "only_the_system", "inherited", "immutable", "sparse", "hard_links",
           "never_onto", "another_directory", "history"]

# (name, file, arguments (parts of cases' names), environment, seconds on a machine with nothing else to do);
# the middle two by kernel, or for all.
# Left out of a file are cases that are about amounts: the machine's own kernel is asked for
# those. What libclamav does is slow in emulation and no kernel's matter: it is shared out.
TESTS = [
    ("walls", SYSTEM + "/test_walls.py", [BUILD + "/tests/system/probe"],
     # Of 6.12, near the machine's own, those rooms that Landlock is a wall of.
     {"6.1": {"AMP_WALLS": "sealed"}, "6.12": {"AMP_WALLS": "sealed:ampread,ampcloudd,worker"}}, 500),
    ("posture", SYSTEM + "/test_posture.py", [], {}, 120),
    ("kernel", HERE + "/posture.py", [], {}, 120),
    ("fd source", SYSTEM + "/test_fd_source.py", [], {}, 200),
    ("arrivals", SYSTEM + "/test_arrivals.py", [], {}, 300),
    ("kill", SYSTEM + "/test_kill.py", [], {}, 300),
    ("quarantine", SYSTEM + "/test_quarantine.py", [], {}, 300),
    ("restore", SYSTEM + "/test_restore.py",
     {"6.1": RESTORE + ["ampquard_dies"], "6.12": RESTORE}, {}, 400),
    ("kill rooms", SYSTEM + "/test_kill_rooms.py", ["while_files_are_taken", "protection_is_back"], {"AMP_KILL_FILES": "100"}, 400),
    ("engine", SYSTEM + "/test_engine.py",
     {"6.1": ["on_access_what", "on_exec", "without_signatures"], "6.12": ["on_demand_what", "on_exec", "broken_set"]}, {}, 300),
    ("engine trouble", SYSTEM + "/test_engine_trouble.py",
     {"6.1": ["worker_crashes", "wants_memory", "breaks_its_filter", "liar_convicts"],
      "6.12": ["breaks_its_filter", "worker_forks", "foundations"]}, {}, 300),
    ("scan", SYSTEM + "/test_scan.py",
     {"6.1": ["every_process_killed", "what_is_no_file"], "6.12": ["every_process_killed", "flash"]},
     {"AMP_SCAN_FILES": "1000"}, 300),
]


def chosen(only):
    return [t for t in TESTS if not only or any(o in t[0] for o in only)]


# -- in the guest ----------------------------------------------------------


def here(what):
    """What holds for this kernel, if each has its own."""
    series = ".".join(os.uname().release.split(".")[:2])
    return what[series] if series in what else what


def inside(only):
    """Every test, one after the other; each ends in its time."""
    bad = 0
    for name, path, arguments, environment, seconds in chosen(only):
        begin = time.monotonic()
        p = subprocess.Popen(["/usr/bin/python3", path] + here(arguments), stdin=subprocess.DEVNULL, start_new_session=True,
                             env=dict(os.environ, **here(environment)))
        try:
            status = p.wait(BUSY * seconds)
        except subprocess.TimeoutExpired:
            os.killpg(p.pid, signal.SIGKILL)
            p.wait()
            status = None
        if status not in (0, 1):
            print("not ok %s: %s" % (name, "status %d" % status if status is not None else
                                     "longer than %d s" % (BUSY * seconds)))
        bad += status != 0
        print("# %s: %.0f s" % (name, time.monotonic() - begin), flush=True)
    return 1 if bad else 0


# -- on the machine --------------------------------------------------------


class Kernel(threading.Thread):
    """One kernel's guest, and its lines with the kernel's name."""

    def __init__(self, series, results, command, *options):
        super().__init__()
        self.series = series
        self.results = os.path.join(results, series)
        self.counts = {"ok": 0, "not ok": 0, "skip": 0}
        argv = [HERE + "/run", "--kernel", series, "--results", self.results, *options, "--"] + command
        env = dict(os.environ, AMP_BUILD=BUILD, AMP_SLOW=SLOW)
        os.makedirs(self.results, exist_ok=True)
        self.log = open(self.results + "/runner.log", "w+")
        self.process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=self.log, env=env)

    def say(self, kind, text):
        self.counts[kind] += 1
        print("%s %s %s" % (kind, self.series, text), flush=True)

    def run(self):
        for line in self.process.stdout:
            m = re.match(r"(ok|not ok|skip) (.*)", line.decode(errors="replace"))
            if m:
                self.say(*m.groups())
            elif line.startswith(b"#"):
                print("# %s %s" % (self.series, line[1:].decode(errors="replace").strip()), flush=True)
        status = self.process.wait()
        self.log.seek(0)
        said = self.log.read()
        silent = not self.counts["ok"]
        warned = "the guest's kernel warned" in said
        self.say("not ok" if warned else "ok", "the kernel's log has no warnings" + (": " + said[-800:].replace("\n", " | ")
                                                                                      if warned else ""))
        if silent:
            self.say("not ok", "no test reported anything")
        # 1 is for tests that failed, and those have said so.
        if status != 0 and (status != 1 or not self.counts["not ok"]) and not warned:
            self.say("not ok", "guest: status %d: %s" % (status, said[-2000:].replace("\n", " | ")))


def outside(o, command, *options):
    """The command in a guest for each kernel, its lines counted."""
    if not os.path.exists(BUILD + "/ampmon/ampmon"):
        sys.exit("%s: there is no build in %s; remedy: AMP_BUILD=DIR" % (sys.argv[0], BUILD))
    results = os.path.abspath(o.results) if o.results else tempfile.mkdtemp(prefix="amp-suite-")
    guests = []

    def stop(number, _frame):
        for g in guests:
            g.process.terminate()
        sys.exit(128 + number)

    for s in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(s, stop)
    try:
        for series in o.kernel or KERNELS:
            guests.append(Kernel(series, results, command, *options))
            guests[-1].start()
            if o.one_at_a_time:
                guests[-1].join()
        for g in guests:
            g.join()
    finally:
        if not o.results:
            shutil.rmtree(results, ignore_errors=True)
    total = {kind: sum(g.counts[kind] for g in guests) for kind in ("ok", "not ok", "skip")}
    print("# " + ", ".join("%d %s" % (n, kind) for kind, n in total.items()))
    return 1 if total["not ok"] else 0


def main():
    p = argparse.ArgumentParser(prog="tests/vm/suite.py", description="The system tests on Debian's kernels.")
    p.add_argument("--kernel", action="append", choices=KERNELS, help="only that series; repeatable")
    p.add_argument("--results", metavar="DIR", help="keep logs and what posture says, a directory for each kernel")
    p.add_argument("--one-at-a-time", action="store_true", help="not all kernels at once")
    p.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    p.add_argument("only", nargs="*", metavar="TEST", help="a part of a test's name: " + ", ".join(t[0] for t in TESTS))
    o = p.parse_args()
    if o.inside:
        return inside(o.only)
    return outside(o, ["/usr/bin/python3", os.path.abspath(__file__), "--inside"] + o.only, "--timeout", str(LIMIT))


if __name__ == "__main__":
    sys.exit(main())
