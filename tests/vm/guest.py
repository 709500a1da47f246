"""One guest: QEMU from its start to its end, and what it left.

Owns: the process, the directory that the guest writes to, the limit of time,
reading the guest's kernel log, the clean-up. Must not own: where kernels and
file systems come from (images.py).

Whatever ends the one that runs a guest ends the guest: a signal is handed on, and
if there is no time for that (SIGKILL) the kernel ends QEMU with its parent. The
directory of a run that was killed so goes with the next one's start.
"""

import contextlib
import ctypes
import fcntl
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import images

PREFIX = "amp-vm-"
PR_SET_PDEATHSIG = 1
# The guest has written its status: this long it may take to power off.
GRACE = 10
# Exit statuses that are the runner's own, not the command's.
WARNED, SILENT, TIMEOUT, TROUBLE = 120, 121, 124, 125

# Lines of the kernel itself that no test may cause.
BAD = re.compile(
    r"WARNING: |BUG: |BUG at |Oops: |\[#\d+\]|Kernel panic|Unable to handle kernel|unable to handle page fault"
    r"|INFO: task .* blocked for more than|INFO: possible (circular|recursive|irq)|possible deadlock"
    r"|inconsistent lock state|suspicious RCU usage|rcu: INFO: rcu\w* (self-)?detected|soft lockup|hard LOCKUP"
    r"|refcount_t: |list_(add|del) corruption|UBSAN: |KASAN: |kmemleak: |INFO: trying to register non-static key"
    r"|general protection fault, |stack-protector: Kernel|unreferenced object"
)
# "<6>[    1.2] text" in the log; the console's lines have no number.
LINE = re.compile(r"^(?:<(\d+)>)?\[ *\d+\.\d+\](?:\[ *[TC]\d+\])? (.*)$")


def warnings(text):
    """The kernel's own warnings in a log; what user space wrote there is not."""
    found = []
    for line in text.splitlines():
        m = LINE.match(line)
        if m and int(m.group(1) or 0) < 8 and BAD.search(m.group(2)):
            found.append(m.group(2))
    return found


class Stopped(Exception):
    """A signal asks for the end."""


class Result:
    def __init__(self, status, reason="", bad=(), seconds=0.0):
        self.status = status  # the command's, or one of those above
        self.reason = reason  # why it is not the command's
        self.bad = list(bad)  # the kernel's warnings
        self.seconds = seconds


def read(path):
    try:
        with open(path, errors="replace") as f:
            return f.read()
    except OSError:
        return ""


# -- the directory ---------------------------------------------------------


def sweep(parent):
    """Removes directories whose owner was killed: nobody holds their lock."""
    for name in os.listdir(parent):
        path = os.path.join(parent, name)
        try:
            if not name.startswith(PREFIX) or time.time() - os.lstat(path).st_mtime < 60:
                continue
            fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        except OSError:
            continue
        try:
            if os.fstat(fd).st_uid == os.geteuid():
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(path, ignore_errors=True)
        except OSError:
            pass
        finally:
            os.close(fd)


@contextlib.contextmanager
def own_directory():
    parent = tempfile.gettempdir()
    sweep(parent)
    path = tempfile.mkdtemp(prefix=PREFIX)
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    fcntl.flock(fd, fcntl.LOCK_EX)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
        os.close(fd)


# -- the guest -------------------------------------------------------------


class Guest:
    def __init__(self, kernel, image=None, memory=1024, processors=2, results=None):
        self.kernel = kernel
        self.image = image  # a root file system with systemd, or the machine's own
        self.memory = memory
        self.processors = processors
        self.results = results

    def run(self, command, modules=(), timeout=120, environment=None, out=None, err=None):
        """Runs the command (argv) as root in a new guest; its output goes out as it comes."""
        with own_directory() as directory:
            results = os.path.abspath(self.results or directory + "/results")
            os.makedirs(results, exist_ok=True)
            self._write(results, command, modules, environment or {})
            self.kernel.write_initramfs(directory + "/initrd", self.image is not None)
            result = Watch(self._argv(directory, results), results, timeout, out, err).run()
            log = read(results + "/kernel.log")
            result.bad = warnings(log or read(results + "/serial.log"))
            return result

    def _write(self, results, command, modules, environment):
        """What the guest reads: the command, the modules, and the script that runs them."""
        for name in ("status", "trouble", "kernel.log", "serial.log"):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(os.path.join(results, name))
        for name in ("stdout", "stderr"):
            open(os.path.join(results, name), "w").close()
        prefix = "/host" if self.image else ""
        for name in ("start", "amp-vm.service", "amp-vm.target"):
            shutil.copy(os.path.join(images.HERE, name), results)
        with open(results + "/modules", "w") as f:
            f.writelines(prefix + os.path.abspath(m) + "\n" for m in modules)
        with open(results + "/command", "w") as f:
            for key, value in environment.items():
                f.write("export %s=%s\n" % (key, shlex.quote(value)))
            f.write("cd %s || exit 125\n" % shlex.quote(prefix + os.getcwd()))
            f.write("exec %s\n" % " ".join(shlex.quote(a) for a in command))

    def _argv(self, directory, results):
        def share(tag, path, *more):
            # A comma within an option is written twice.
            options = ["local", "path=" + path.replace(",", ",,"), "mount_tag=" + tag, "security_model=none",
                       "multidevs=remap"]
            return ["-virtfs", ",".join(options + list(more))]

        words = ["console=ttyS0", "loglevel=5", "panic=-1", "mitigations=off", "log_buf_len=4M",
                 "amp.modules=" + self.kernel.modules, "amp.root=" + ("image" if self.image else "host")]
        argv = [images.need("qemu-system-x86_64", "qemu-system-x86"), "-name", "amp-vm",
                "-accel", os.environ.get("AMP_VM_ACCEL", "tcg,thread=multi"),
                "-smp", str(self.processors), "-m", str(self.memory), "-nodefaults", "-no-user-config",
                "-display", "none", "-monitor", "none",
                "-chardev", "file,id=serial,path=%s/serial.log" % results.replace(",", ",,"), "-serial", "chardev:serial",
                "-nic", "none", "-no-reboot", "-device", "virtio-rng-pci",
                "-kernel", self.kernel.vmlinux, "-initrd", directory + "/initrd"]
        argv += share("host", "/", "readonly=on") + share("results", results)
        if self.image:
            # Written to a file of QEMU's own that has no name.
            argv += ["-drive", "file=%s,format=raw,if=virtio,snapshot=on" % self.image.replace(",", ",,")]
            words += ["systemd.unit=amp-vm.target", "systemd.show_status=0", "rootfstype=ext4", "rw"]
        return argv + ["-append", " ".join(words)]


class Watch:
    """QEMU while it runs: output passed on, time and signals watched."""

    def __init__(self, argv, results, timeout, out, err):
        self.argv = argv
        self.results = results
        self.timeout = timeout
        self.streams = [(results + "/stdout", out or sys.stdout.buffer), (results + "/stderr", err or sys.stderr.buffer)]
        self.at = [0, 0]

    def _pass_on(self):
        for n, (path, stream) in enumerate(self.streams):
            with open(path, "rb") as f:
                f.seek(self.at[n])
                while True:
                    data = f.read(1 << 16)
                    if not data:
                        break
                    self.at[n] += len(data)
                    stream.write(data)
            stream.flush()

    def _start(self):
        libc = ctypes.CDLL(None, use_errno=True)
        parent = os.getpid()

        def die_with_parent():
            libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
            if os.getppid() != parent:
                os._exit(1)

        # A session of its own: the terminal's signals come to us, and we end it.
        log = open(self.results + "/qemu.log", "wb")
        with log:
            return subprocess.Popen(self.argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
                                    preexec_fn=die_with_parent)

    def run(self):
        begin = time.monotonic()
        qemu = self._start()
        try:
            timed_out = self._wait(qemu, begin)
        finally:
            if qemu.poll() is None:
                qemu.kill()
            qemu.wait()
        self._pass_on()
        result = self._judge(timed_out, qemu.returncode)
        result.seconds = time.monotonic() - begin
        return result

    def _wait(self, qemu, begin):
        """True if time ran out."""
        done = None
        while True:
            try:
                qemu.wait(0.05)
                return False
            except subprocess.TimeoutExpired:
                pass
            self._pass_on()
            now = time.monotonic()
            if done is None and os.path.exists(self.results + "/status"):
                done = now
            if done is not None and now - done > GRACE:
                return False
            if done is None and now - begin > self.timeout:
                return True

    def _judge(self, timed_out, code):
        status = read(self.results + "/status").strip()
        trouble = read(self.results + "/trouble").strip()
        if trouble:
            return Result(TROUBLE, trouble)
        if status.isdigit():
            return Result(int(status))
        if timed_out:
            return Result(TIMEOUT, "the guest was ended after %d s" % self.timeout)
        said = read(self.results + "/qemu.log").strip()
        if code != 0:
            return Result(TROUBLE, "QEMU ended with status %d: %s" % (code, said))
        if "Kernel panic" in read(self.results + "/serial.log"):
            return Result(SILENT, "the guest's kernel panicked")
        return Result(SILENT, "the guest ended and did not say how its command did")
