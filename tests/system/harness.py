"""System tests: the real daemons as root, in namespaces of their own.

Owns: the namespaces (mount, network, PID, IPC), private users, private file
systems, a suite of daemons built in AMP_BUILD, and the clean-up: when the
first process of the PID namespace ends, the kernel ends all others and the
mounts go with the namespace. Must not own: what is tested (test_*.py).

A test file defines functions and ends with `harness.main(globals())`: every
function named case_* is one check, printed as `ok NAME` or `not ok NAME: why`.
"""

import contextlib
import ctypes
import errno
import hashlib
import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
import traceback

BUILD = os.environ.get("AMP_BUILD", os.getcwd())
USERS = {"amp-scan": 64901, "amp-read": 64902, "amp-cloud": 64903, "amp-quard": 64904, "amp-engine": 64905,
         "amp-tester": 64910, "amp-other": 64911}
GROUPS = dict(USERS, amp=64909)
INSIDE = "AMP_TEST_INSIDE"
# Bounds that users rely on, with five times room; an emulated machine needs more of it.
SOON = 60
SLOW = float(os.environ.get("AMP_SLOW", "1"))
PROGRAMS = {
    "ampmon": "ampmon/ampmon",
    "ampscand": "ampscand/ampscand",
    "ampread": "ampscand/ampread/ampread",
    "ampcloudd": "ampcloudd/ampcloudd",
    "ampquard": "ampquard/ampquard",
    "ampengine": "ampscand/engine/ampengine",
    "ampcli": "ampcli/ampcli",
}
UNREACHABLE = 3  # exit code of ampcli
EICAR_SHA256 = "275a021bbfb6489e54d471899f7db9d1663fc695ec2fe2a2c4538aabf651fd0f"
EICAR_SIGNATURE = "44d88612fea8a8f36de82e1278abb02f:68:Eicar-Signature"
# Of the program of 544 bytes that is in all of Debian's clamav-testfiles.
TESTFILES = "/usr/share/clamav-testfiles"
TESTFILES_SIGNATURE = "aa15bcf478d165efd2065190eb473bcb:544:ClamAV-Test-File"
# Any content with these words is infected: of these there can be many.
BODY = b"amp test: a body that a signature knows"
BODY_NAME = "Amp.Test.Body"


def eicar():
    """The test file's content, never whole in any file of the tree."""
    return b"X5O!P%@AP[4\\PZX54(P^)7CC)7}$" + b"EICAR-STANDARD-ANTIVIRUS-TEST-FILE!$H+H*"


class Failed(Exception):
    pass


class Skip(Exception):
    pass


def check(condition, why="condition is false"):
    if not condition:
        raise Failed(why)


def wait_for(what, function, seconds=SOON, pause=0.05):
    """Calls function until it returns something true; fails with `what`. The last call begins after the time's end."""
    end = time.monotonic() + seconds * SLOW
    while True:
        late = time.monotonic() > end
        value = function()
        if value:
            return value
        if late:
            raise Failed("waited %d s for %s" % (seconds * SLOW, what))
        time.sleep(pause)


def run(*argv, **kw):
    kw.setdefault("check", True)
    kw.setdefault("stdout", subprocess.PIPE)
    kw.setdefault("stderr", subprocess.STDOUT)
    return subprocess.run([str(a) for a in argv], **kw)


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def md5_line(data, name):
    """A line of an .hdb file."""
    return "%s:%d:%s" % (hashlib.md5(data).hexdigest(), len(data), name)


def body_line(body=BODY, name=BODY_NAME):
    """A line of an .ndb file: any file with these bytes."""
    return "%s:0:*:%s" % (name, body.hex())


def infected(tag):
    """Content of its own that one signature of definitions() finds."""
    return b"infected %s: " % str(tag).encode() + BODY + b"\n"


def definitions(path, *lines):
    """A directory of signatures: EICAR, the test files, BODY, and these lines of an .hdb file."""
    os.makedirs(path, exist_ok=True)
    os.chmod(path, 0o755)
    put(path + "/amp-test.hdb", "\n".join((EICAR_SIGNATURE, TESTFILES_SIGNATURE) + lines) + "\n")
    put(path + "/amp-test.ndb", body_line() + "\n")
    return path


def put(path, text):
    """The file is there whole or not at all, as freshclam does it."""
    with open(path + ".tmp", "w") as f:
        f.write(text)
    os.chmod(path + ".tmp", 0o644)
    os.rename(path + ".tmp", path)


# -- namespaces ------------------------------------------------------------


def _init(argv):
    """First process of the PID namespace: runs the test, reaps orphans."""
    child = os.fork()
    if child == 0:
        os.execv(sys.executable, [sys.executable] + argv)
    while True:
        try:
            pid, status = os.wait()
        except ChildProcessError:
            os._exit(1)
        if pid == child:
            os._exit(os.waitstatus_to_exitcode(status) & 0xFF if os.WIFEXITED(status) else 1)


def enter():
    """Re-executes the test inside its namespaces, once."""
    if os.environ.get(INSIDE):
        return
    if os.geteuid() != 0:
        sys.exit("system tests must be run as root")
    # One PATH for all: an interpreter found by env(1) is the distribution's.
    path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    env = dict(os.environ, **{INSIDE: "1", "LC_ALL": "C.UTF-8", "PATH": path})
    here = os.path.abspath(__file__)
    argv = ["unshare", "-m", "-n", "-p", "-i", "-f", "--mount-proc", "--kill-child", sys.executable, here, "--init"]
    os.execvpe("unshare", argv + [os.path.abspath(sys.argv[0])] + sys.argv[1:], env)


def _prepare():
    """Private tmpfs with users of our own; nothing of it outlives the namespace."""
    run("mount", "--make-rprivate", "/")
    base = tempfile.mkdtemp(prefix="amp-test-")
    run("mount", "-t", "tmpfs", "-o", "mode=755", "base", base)
    for name, extra in (
        ("passwd", "".join("%s:x:%d:%d::/nonexistent:/usr/sbin/nologin\n" % (u, i, i) for u, i in USERS.items())),
        ("group", "".join("%s:x:%d:\n" % (g, i) for g, i in GROUPS.items())),
    ):
        keep = [l for l in open("/etc/" + name) if l.split(":")[0] not in GROUPS]
        with open(base + "/" + name, "w") as f:
            f.write("".join(keep) + extra)
        run("mount", "--bind", base + "/" + name, "/etc/" + name)
    return base


# -- the suite -------------------------------------------------------------


class Suite:
    """One installation under its own directories, configured for a test.

    Without engine="on" and definitions=[directories] the lists alone decide.
    programs: {name: path below AMP_BUILD} of builds made for a test.
    """

    def __init__(self, base, watch, name="suite", mode="protect", programs=None, **settings):
        self.base = os.path.join(base, name)
        self.bin = self.base + "/bin"
        self.etc = self.base + "/etc"
        self.quarantine = self.etc + "/quarantine"  # ampmon makes it
        self.log = self.base + "/log"
        self.run = self.base + "/run"
        self.conf = self.etc + "/ampmon.conf"
        self.mode = mode
        self.watch = list(watch)
        self.settings = dict({"engine": "off"}, **settings)
        self.policy = {}  # further keys of each policy
        self.lists = {"blocked.list": [], "allowed.list": [], "exclusions.list": []}
        self.guard = None
        for d in (self.base, self.bin, self.etc, self.etc + "/policies", self.etc + "/cloud", self.log, self.run):
            os.makedirs(d, exist_ok=True)
        for program, path in dict(PROGRAMS, **(programs or {})).items():
            if not os.path.exists(self.bin + "/" + program):
                shutil.copy2(os.path.join(BUILD, path), self.bin + "/" + program)
        self.configure()

    # configuration

    def configure(self, **settings):
        self.settings.update(settings)
        values = {
            "log_level": "info",
            "log_dir": self.log,
            "run_dir": self.run,
            "bin_dir": self.bin,
            "etc_dir": self.etc,
            "cloud_dir": self.etc + "/cloud",
            "quarantine_dir": self.quarantine,
            "policy_dir": self.etc + "/policies",
            "policy": self.mode,
            "watch": self.watch,
        }
        values.update(self.settings)
        with open(self.conf, "w") as f:
            for key, value in values.items():
                f.write("%s = %s\n" % (key, _literal(value)))
        for serial, (ident, mode) in enumerate((("protect", "protect"), ("audit", "audit")), 1):
            with open("%s/policies/%s.conf" % (self.etc, ident), "w") as f:
                f.write(
                    'name = "%s Policy"\nserial = %d\nmode = "%s"\non_execute = "passive"\n'
                    'max_file_size = 5242880\nmax_archive_size = 52428800\n'
                    'blocked_lists = {"blocked.list"}\nallowed_lists = {"allowed.list"}\n'
                    'exclusion_lists = {"exclusions.list"}\n' % (mode.capitalize(), serial, mode)
                )
                for key, value in self.policy.items():
                    f.write("%s = %s\n" % (key, _literal(value)))
        for name, lines in self.lists.items():
            with open("%s/policies/%s" % (self.etc, name), "wb") as f:
                f.write(b"".join(l if isinstance(l, bytes) else l.encode() + b"\n" for l in lines))

    def block(self, data, name="Test.Listed"):
        """Puts the content on the blocked list (before start or reload)."""
        self.lists["blocked.list"].append("%s %s" % (sha256(data), name))
        self.configure()

    def allow(self, data):
        self.lists["allowed.list"].append(sha256(data))
        self.configure()

    def exclude(self, line):
        self.lists["exclusions.list"].append(line)
        self.configure()

    # life

    def start(self, wait=True):
        r = run(self.bin + "/ampmon", "-c", self.conf, check=False)
        if r.returncode != 0:
            raise Failed("ampmon did not start: %s" % r.stdout.decode(errors="replace"))
        if wait:
            self.wait_ready()
        return self

    def pidfile(self):
        try:
            return int(open(self.run + "/ampmon.pid").read())
        except (OSError, ValueError):
            return 0

    def wait_ready(self, seconds=SOON):
        wait_for("readiness", lambda: (self.status() or {}).get("protected"), seconds)

    def stop(self):
        pid = self.pidfile()
        if pid:
            os.kill(pid, signal.SIGTERM)
            wait_for("the suite's end", lambda: not _alive(pid))

    def reload(self):
        os.kill(self.pidfile(), signal.SIGHUP)

    def cleanup(self):
        try:
            self.stop()
        except (Failed, OSError):
            pass
        for pid in self.pids().values():
            try:
                os.kill(pid, signal.SIGKILL)
            except OSError:
                pass

    # asking

    def cli(self, *argv, json_output=True, user=None):
        """(exit status, document or text) of ampcli."""
        cmd = [self.bin + "/ampcli", "--run-dir", self.run] + list(argv)
        if json_output:
            cmd.append("--json")
        r = subprocess.run(cmd, stdout=subprocess.PIPE, stderr=subprocess.PIPE, user=user, timeout=60 * SLOW)
        self.complaint = r.stderr.decode(errors="replace")
        if not json_output:
            return r.returncode, r.stdout.decode(errors="replace") + self.complaint
        try:
            return r.returncode, json.loads(r.stdout.decode())
        except ValueError:
            return r.returncode, None

    def asked(self, *argv, answered=lambda code, doc: code != UNREACHABLE):
        """(exit status, document) of a question that may come while the machine is too busy for an answer within
        ampcli's 5 s, or its service begins anew: asked again. How soon answers come is a matter of cases of its own."""
        end = time.monotonic() + SOON * SLOW
        while True:
            late = time.monotonic() > end
            code, doc = self.cli(*argv)
            if late or answered(code, doc):
                return code, doc
            time.sleep(0.1)

    def status(self):
        too_busy = re.compile(r"^ampcli: ampmon: .*within", re.M)
        return self.asked("status", answered=lambda code, doc: not too_busy.search(self.complaint))[1]

    def counters(self):
        return (self.status() or {}).get("counters", {})

    def history(self, kind=None):
        """Rows, the newest first. Who gets none is told so: a row that is not there is not one that was not shown."""
        argv = ["history", "--limit", "0"] + (["--type", kind] if kind else [])
        code, doc = self.asked(*argv)
        check(code == 0 and doc is not None, "history: exit %d, %s" % (code, self.complaint))
        return doc

    def detections(self, path=None):
        rows = self.history("threat_detected")
        return [r for r in rows if path is None or r["path"] == path]

    def wait_detected(self, path, seconds=SOON):
        return wait_for("a detection of %s" % path, lambda: self.detections(path), seconds)

    def _events_files(self):
        """[(inode, path)], the oldest first. OSError: a rotation came between."""
        names = sorted((n for n in os.listdir(self.log) if n.startswith("events.json.")),
                       key=lambda n: -int(n.rsplit(".", 1)[1])) + ["events.json"]
        return [(os.stat("%s/%s" % (self.log, n)).st_ino, "%s/%s" % (self.log, n)) for n in names]

    def events_lines(self):
        """Lines of events.json and of the files before it, the oldest first; what has no end yet is no line."""

        def opened():
            with contextlib.ExitStack() as stack:
                try:
                    before = self._events_files()
                    files = [stack.enter_context(open(path, "rb")) for _, path in before]
                    rotated = self._events_files() != before
                except FileNotFoundError:
                    return None
                rotated = rotated or [os.fstat(f.fileno()).st_ino for f in files] != [inode for inode, _ in before]
                return None if rotated else [f.read() for f in files]

        texts = wait_for("a moment between two rotations", opened, pause=0)
        return [l for text in texts for l in text.split(b"\n")[:-1]]

    def events_json(self):
        return [json.loads(l) for l in self.events_lines()]

    def wait_idle(self, seconds=SOON):
        """Nothing in hand, nothing being repaired, three looks in a row."""
        state = {"n": 0}

        def idle():
            st = self.status() or {}
            busy = st.get("jobs", 1) or [r for r in st.get("repairs", []) if r["state"] in ("waiting", "walking")]
            state["n"] = 0 if busy or not st.get("protected") else state["n"] + 1
            return state["n"] >= 3

        wait_for("idleness", idle, seconds)

    # the engine

    def definitions(self):
        return self.asked("definitions")[1] or {}

    def wait_engine(self, generation=1, seconds=SOON):
        """Signatures of that generation, or a later one, are in use; the document."""

        def there():
            doc = self.definitions()
            return doc if doc.get("state") == "ready" and doc["generation"] >= generation else None

        return wait_for("the engine with generation %d" % generation, there, seconds)

    def scan(self, *argv, seconds=5 * SOON):
        """Of a scan on demand that was waited for: (exit status, document). It is gentle where others work."""
        cmd = [self.bin + "/ampcli", "--run-dir", self.run, "scan"] + list(argv) + ["--wait", "--json"]
        r = subprocess.run(cmd, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=seconds * SLOW)
        try:
            return r.returncode, json.loads(r.stdout.decode())
        except ValueError:
            return r.returncode, None

    def fault(self, number):
        """The detail of a fault that stands; None: it does not."""
        for f in (self.status() or {}).get("faults", []):
            if f["number"] == number:
                return f["detail"] or "-"
        return None

    @contextlib.contextmanager
    def nothing_is_read(self):
        """Whoever changes a file's mode again and again delays its verdict by 10 s; this is the same, to the point."""
        readers = [pid for name, pid in self.pids().items() if name.startswith("ampread")]
        check(readers, "no ampread")
        for pid in readers:
            os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in readers:
                os.kill(pid, signal.SIGCONT)

    def wait_events_read(self):
        """ampscand has read what the kernel had for it: three answers of it, each a turn of its loop."""
        for _ in range(3):
            wait_for("a word of ampscand", lambda: "jobs" in (self.status() or {}))

    def pids(self):
        """{service name: pid} from /proc, whatever the services say. Without the hands of ampquard (hands()),
        the zygotes and workers of ampengine (engine()), and ampmon's short-lived children."""
        return self._processes()[0]

    def supervisor(self):
        """The pid of ampmon itself, not of its guard, which is the one of the pid file; None: it is not there."""
        return next((p for n, p in self.pids().items() if n.startswith("ampmon") and p != self.pidfile()), None)

    def engine(self):
        """(pid of ampengine or None, {zygote's pid: [its workers' pids]})"""
        found, _, inner = self._processes()
        room = found.get("ampengine")
        zygotes = {p: [w for w, parent in inner.items() if parent == p] for p, up in inner.items() if up == room}
        return room, zygotes

    def hands(self):
        """Processes of ampquard whose parent is one, or was: {pid: pid of the parent}."""
        return self._processes()[1]

    def _processes(self):
        """(pids by name, hands with their parents, zygotes and workers with theirs). Who ends meanwhile is left out."""
        names, comms, parents = {}, {}, {}
        for pid in sorted(int(entry) for entry in os.listdir("/proc") if entry.isdigit()):
            try:
                exe = os.readlink("/proc/%d/exe" % pid).replace(" (deleted)", "")
            except OSError:
                continue
            comm, rest = _stat(pid)
            if os.path.dirname(exe) == self.bin and not _has_ended(rest):
                names[pid], comms[pid], parents[pid] = os.path.basename(exe), comm, int(rest[1])
        found, hands, engines = {}, {}, {}
        for pid, name in names.items():
            parent = names.get(parents[pid])
            if name == parent == names.get(parents.get(parents[pid])) == "ampmon":
                continue  # of the guard's child a child: it marks, looks, or is about to be a room
            if name == "ampquard" and (comms[pid] == "ampquard-hand" or parent == "ampquard"):
                hands[pid] = parents[pid]
                continue
            if name == "ampengine" and parent != "ampmon":
                engines[pid] = parents[pid]
                continue
            while name in found and name != "ampengine":
                name += "+"
            found[name] = pid
        return found, hands, engines

    def service(self, name):
        for s in (self.status() or {}).get("services", []):
            if s["name"] == name:
                return s
        return None

    def log_text(self, component="ampmon"):
        try:
            return open("%s/%s.log" % (self.log, component), errors="replace").read()
        except OSError:
            return ""


def _literal(value):
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, (list, tuple)):
        return "{" + ", ".join('"%s"' % v for v in value) + "}"
    return '"%s"' % value


PENDING = 31 - 3  # among the fields after the name: signals that wait for its first thread, proc(5)


def _stat(pid):
    """(name, fields after it)"""
    try:
        with open("/proc/%s/stat" % pid) as f:
            head, rest = f.read().rsplit(")", 1)
            return head.split("(", 1)[1], rest.split()
    except OSError:
        return "", ["?", "0"]


def _has_ended(rest):
    """Also who was killed and had no processor since (the last ampread, of nice 19, may be long in getting one); but
    not who hangs in the kernel."""
    killed = 1 << signal.SIGKILL - 1
    return rest[0] in "?XZ" or (rest[0] == "R" and bool(int(rest[PENDING]) & killed))


def _comm(pid):
    return _stat(pid)[0]


def _parent(pid):
    return int(_stat(pid)[1][1])


def _alive(pid):
    try:
        with open("/proc/%d/stat" % pid) as f:
            return f.read().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


alive = _alive

# -- file systems and programs --------------------------------------------


def mount_tmpfs(path, options="mode=1777"):
    os.makedirs(path, exist_ok=True)
    run("mount", "-t", "tmpfs", "-o", options, "test", path)
    return path


def mount_ext4(path, image, size_mb=256):
    os.makedirs(path, exist_ok=True)
    with open(image, "wb") as f:
        f.truncate(size_mb << 20)
    run("mkfs.ext4", "-q", "-F", image)
    run("mount", "-o", "loop", image, path)
    os.chmod(path, 0o1777)
    return path


def mount_overlay(path, layers):
    """Overlay at path with its layers below the (watched) directory `layers`."""
    for d in ("lower", "upper", "work"):
        os.makedirs("%s/%s" % (layers, d), exist_ok=True)
    os.makedirs(path, exist_ok=True)
    run("mount", "-t", "overlay", "-o", "lowerdir=%s/lower,upperdir=%s/upper,workdir=%s/work" % ((layers,) * 3),
        "overlay", path)
    return path


def kernel():
    """(6, 1) on Linux 6.1.192."""
    return tuple(int(n) for n in os.uname().release.split("-")[0].split(".")[:2])


def tmpfile(directory, mode=0o644):
    """A descriptor of a new file without a name there."""
    try:
        return os.open(directory, os.O_TMPFILE | os.O_RDWR, mode)
    except OSError as e:
        if e.errno == errno.EOPNOTSUPP and kernel() < (6, 3):
            raise Skip("before Linux 6.3 overlay has no files without a name")
        raise


def umount(path):
    return run("umount", path, check=False).returncode == 0


def program_bytes(tag, source="/bin/sleep"):
    """A working program with content of its own (bytes behind an ELF's end are ignored)."""
    return open(source, "rb").read() + b"\0amp-test:" + tag.encode()


def compile_c(source, out, *flags):
    run("gcc", "-O1", "-o", out, "-xc", "-", *flags, input=source.encode())
    return out


def write(path, data, mode=0o644):
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(fd, view):]
        os.fchmod(fd, mode)  # once it is closed it may be taken away
    finally:
        os.close(fd)
    return path


def let_age():
    """What was written by now was there before a suite that is started next, also for a repair of what may have been
    missed: on a slow machine there is one at the start, and it goes two seconds further back."""
    time.sleep(2.5)


def as_user(name, function, *args):
    """Runs function(*args) in a child as that user; returns its exit status."""
    pid = os.fork()
    if pid == 0:
        try:
            os.setgroups([])
            os.setgid(GROUPS[name])
            os.setuid(USERS[name])
            os._exit(int(function(*args) or 0))
        except BaseException:
            traceback.print_exc()
            os._exit(99)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


# -- running ---------------------------------------------------------------

BASE = None


def main(names):
    """Runs every case_* of a test file. Optional `setup(base)` first, `teardown()` last."""
    enter()
    global BASE
    BASE = _prepare()
    cases = [(n[5:], f) for n, f in names.items() if n.startswith("case_") and callable(f)]
    only = [a for a in sys.argv[1:] if not a.startswith("-")]
    failed = 0
    label = os.path.basename(sys.argv[0]).replace("test_", "").replace(".py", "")
    try:
        if "setup" in names:
            names["setup"](BASE)
        for name, function in cases:
            if only and not any(o in name for o in only):
                continue
            begin = time.monotonic()
            try:
                function()
                print("ok %s.%s (%.1f s)" % (label, name, time.monotonic() - begin), flush=True)
            except Skip as e:
                print("skip %s.%s: %s" % (label, name, e), flush=True)
            except BaseException as e:
                failed += 1
                why = str(e) if isinstance(e, Failed) else traceback.format_exc().replace("\n", " | ")
                print("not ok %s.%s: %s" % (label, name, why), flush=True)
    except BaseException:
        failed += 1
        print("not ok %s.setup: %s" % (label, traceback.format_exc().replace("\n", " | ")), flush=True)
    finally:
        if "teardown" in names:
            try:
                names["teardown"]()
            except BaseException:
                traceback.print_exc()
        if failed and os.environ.get("AMP_KEEP"):
            try:
                shutil.copytree(BASE, os.environ["AMP_KEEP"], dirs_exist_ok=True, ignore_dangling_symlinks=True,
                                ignore=lambda d, n: [x for x in n if x in ("run", "bin")])
            except (OSError, shutil.Error, RecursionError) as e:
                print("# not all of it is kept: %.200s" % e, flush=True)
    # The mounts go with the namespace; the directory they hid is the host's.
    os.chdir("/")
    run("umount", "-R", "-l", BASE, check=False)
    try:
        os.rmdir(BASE)
    except OSError:
        pass
    sys.exit(1 if failed else 0)


if __name__ == "__main__" and len(sys.argv) > 2 and sys.argv[1] == "--init":
    _init(sys.argv[2:])
