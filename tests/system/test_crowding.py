"""One user's files must not blind the scanner to everybody else's, nor be changed or named past it."""

import fcntl
import os
import resource
import signal
import subprocess
import time

import harness
import still
from harness import check, wait_for, write

LARGE = b"listed and large " * 1000000
NAMED = b"listed, with the name of a file without one\n"


def setup(base):
    global suite, w, hidden, e
    w = harness.mount_tmpfs(base + "/w", "mode=1777,exec")
    hidden = harness.mount_tmpfs(base + "/hidden", "mode=1777,exec")
    e = harness.mount_ext4(base + "/e", base + "/e.img", 256)
    suite = harness.Suite(base, [w, hidden, e])
    for data in (LARGE, NAMED, harness.program_bytes("cut")):
        suite.block(data, "Test.Crowding")
    suite.start()


def teardown():
    suite.cleanup()


def detected_soon(name):
    path = write("%s/%s" % (e, name), harness.eicar())
    suite.wait_detected(path, 20)


def case_what_is_cut_after_it_was_judged_is_looked_at_when_it_is_executed():
    """truncate(2) makes no event: what is left may be something else."""
    path = e + "/cut"
    data = harness.program_bytes("cut")

    def judged():
        write(path, data + b"and more", 0o755)
        time.sleep(1.5)
        subprocess.run([path, "0"])
        subprocess.run([path, "0"])

    def run():
        os.truncate(path, len(data))
        p = subprocess.Popen([path, "60"])
        try:
            return 0 if p.wait(harness.SOON * harness.SLOW) == -signal.SIGKILL else 1
        except subprocess.TimeoutExpired:
            p.kill()
            return 2

    check(harness.as_user("amp-tester", judged) == 0)
    # Else one of these is read only when it is cut, and it is taken before it is executed. (The files of the cases
    # below keep the scanner from being idle for minutes.)
    suite.wait_idle()
    check(harness.as_user("amp-tester", run) == 0, "it ran")
    check(suite.wait_detected(path), "no record")


def case_a_large_file_is_read_in_its_turn():
    suite.wait_detected(write(e + "/large", LARGE))


def case_files_full_of_holes_block_nobody():
    def make():
        for i in range(200):
            fd = os.open("%s/holes-%d" % (w, i), os.O_WRONLY | os.O_CREAT, 0o644)
            os.ftruncate(fd, (60 << 30) + i)
            os.close(fd)

    check(harness.as_user("amp-tester", make) == 0)
    try:
        time.sleep(1)
        detected_soon("beside-holes")
    finally:
        for i in range(200):
            os.unlink("%s/holes-%d" % (w, i))


def took(function):
    since = time.monotonic()
    function()
    return time.monotonic() - since


def waits_for_none(s, bound, what, function):
    """It is as quick as without the others; or, where the machine is busy, at least none of their scans came to
    its end meanwhile."""
    ended = lambda: s.counters().get("ampscand.engine.timeouts", 0)
    before = ended()
    seconds = took(function)
    check(seconds < bound or ended() == before, "%s took %.1f s of %.1f" % (what, seconds, bound))


def case_copies_for_a_slow_engine_block_nobody():
    """What a user has waiting for the engine is as much memory as there may be of his; lists need none."""
    top = harness.mount_tmpfs(harness.BASE + "/slow-w", "mode=1777,exec")
    s = harness.Suite(harness.BASE, [top], name="slow", engine="on",
                      definitions=[harness.definitions(harness.BASE + "/slow-definitions")],
                      programs={"ampengine": "tests/system/ampengine-seam"})
    listed = [b"listed, number %d\n" % i for i in range(3)]
    for data in listed + [harness.program_bytes("crowd")]:
        s.block(data, "Test.Crowding")

    def fill():
        """Each keeps a worker for 15 s."""
        for i in range(90):
            write("%s/slow-%d" % (top, i), b"AMP-TEST-LOOP %08d\n" % i + b"x" * 1000000)

    try:
        s.start()
        s.wait_engine()
        bound = max(1, 5 * took(lambda: s.wait_detected(write(top + "/before", listed[0])))) * harness.SLOW
        check(harness.as_user("amp-tester", fill) == 0)
        wait_for("the crowd", lambda: s.status().get("jobs", 0) >= 80)
        waits_for_none(s, bound, "root's", lambda: s.wait_detected(write(top + "/root", listed[1])))

        def of_user():
            path = top + "/user"
            check(harness.as_user("amp-tester", lambda: write(path, listed[2]) and 0) == 0)
            s.wait_detected(path)

        def program():
            write(top + "/program", harness.program_bytes("crowd"), 0o755)
            try:
                p = subprocess.Popen([top + "/program", "60"])
            except OSError:
                return  # as quick as that
            check(p.wait(harness.SOON * harness.SLOW) == -signal.SIGKILL, "it ran")

        def infected_of_another():
            path = top + "/infected-other"
            check(harness.as_user("amp-other", lambda: write(path, harness.infected("other")) and 0) == 0)
            s.wait_detected(path)

        waits_for_none(s, bound, "the user's", of_user)
        waits_for_none(s, bound, "the program's end", program)
        waits_for_none(s, 5 * bound, "root's infected file",
                       lambda: s.wait_detected(write(top + "/infected", harness.infected("crowd"))))
        # One worker is left that this user's files do not get.
        waits_for_none(s, 5 * bound, "another user's infected file", infected_of_another)
        check(s.counters().get("ampscand.judged.clean", 0) < 10, "clean without an answer")
    finally:
        s.cleanup()


def case_leases_block_nobody():
    """Each waits a minute; first the parked slots fill, then one event keeps each buffer."""

    def take_leases(numbers):
        """Before the scanner hears of the files, or it would have read them first."""
        with still.stopped(scanner):
            os.setegid(harness.GROUPS["amp-tester"])
            os.seteuid(harness.USERS["amp-tester"])
            try:
                for i in numbers:
                    held.append(os.open("%s/lease-%d" % (w, i), os.O_RDWR | os.O_CREAT, 0o644))
                    os.close(os.open("%s/lease-%d" % (w, i), os.O_WRONLY))
                    fcntl.fcntl(held[-1], fcntl.F_SETLEASE, fcntl.F_WRLCK)
            finally:
                os.seteuid(0)

    def hold():
        for first in range(0, 2150, 50):
            take_leases(range(first, first + 50))
        for i in range(2150, 2300):
            take_leases([i])
            time.sleep(0.03)
        os.write(ready[1], b"x")
        signal.pause()

    held, scanner = [], suite.pids()["ampscand"]
    ready = os.pipe()
    resource.setrlimit(resource.RLIMIT_NOFILE, (4096, 4096))
    pid = os.fork()
    if pid == 0:
        signal.signal(signal.SIGIO, signal.SIG_IGN)
        try:
            hold()
        finally:
            os._exit(1)
    os.close(ready[1])
    try:
        check(os.read(ready[0], 1) == b"x", "the leases could not be had")
        detected_soon("beside-leases")
        rows = wait_for("the records", lambda: suite.history("file_unreadable"))
        check(any("too much" in r["detail"] for r in rows), "rows: %r" % rows[:3])
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def case_a_name_of_digits_in_a_private_directory_hides_nothing():
    path = e + "/private/#123"

    def run():
        os.mkdir(e + "/private", 0o700)
        write(path, b"harmless\n")
        time.sleep(0.5)
        write(path, NAMED)

    check(harness.as_user("amp-tester", run) == 0)
    suite.wait_detected(path)


def case_a_file_system_under_another_mount():
    """Whoever has a directory there still writes; no path leads the readers to it."""
    before = suite.service("ampscand")["restarts"]
    inside = os.open(hidden, os.O_RDONLY)
    harness.run("mount", "-t", "tmpfs", "cover", hidden)
    time.sleep(1)
    fd = os.open("file", os.O_WRONLY | os.O_CREAT, 0o644, dir_fd=inside)
    os.write(fd, harness.eicar())
    os.close(fd)
    os.close(inside)
    wait_for("the record", lambda: [r for r in suite.history("file_unreadable") if "no path" in r["detail"]])
    harness.run("umount", hidden)
    suite.wait_detected(hidden + "/file")
    check(suite.service("ampscand")["restarts"] == before, "ampscand was replaced")


harness.main(globals())
