"""What stands in the way of the quarantine (issue "Quarantine", point 5).

Running programs, mapped libraries, flags, files that go or change first, a
keeper that is missing: what can be done is done, the rest is told once with
its reason, and ends well by itself when the reason is gone. Where there is no
room or no writing, and leases: test_quarantine_full.py.
"""

import errno
import os
import signal
import subprocess
import time

import harness
import still
import taken
from harness import check, run, wait_for, write

TESTER = harness.USERS["amp-tester"]

# Maps argv[1], says so, and tells when asked what the mapping holds.
MAPPER = r"""
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
int main(int argc, char **argv)
{
	int fd = open(argv[1], O_RDONLY);
	struct stat st;
	unsigned sum = 0;
	unsigned char *m;
	char c;

	if (argc != 2 || fstat(fd, &st) != 0)
		return 2;
	m = mmap(0, st.st_size, PROT_READ | PROT_EXEC, MAP_PRIVATE, fd, 0);
	close(fd);
	if (m == MAP_FAILED)
		return 3;
	for (off_t i = 0; i < st.st_size; i += 512)
		sum += m[i];
	write(1, "m", 1);
	read(0, &c, 1);
	for (off_t i = 0; i < st.st_size; i += 512)
		sum -= m[i];
	return sum ? 4 : 0;
}
"""

# Starts argv[1] again as soon as it has ended, twice at any time.
RESPAWNER = r"""
#include <sys/wait.h>
#include <unistd.h>
int main(int argc, char **argv)
{
	for (int n = 0; argc == 2; n++) {
		if (n >= 2)
			wait(0);
		usleep(300);
		if (fork() == 0) {
			execl(argv[1], argv[1], "300", (char *)0);
			_exit(1);
		}
	}
}
"""


def setup(base):
    global suite, w, e, where, bin_dir
    bin_dir = base
    harness.compile_c(MAPPER, base + "/mapper")
    harness.compile_c(RESPAWNER, base + "/respawner")
    w = harness.mount_tmpfs(base + "/w-tmpfs")
    e = harness.mount_ext4(base + "/w-ext4", base + "/ext4.img")
    where = {"tmpfs": w, "ext4": e}
    suite = harness.Suite(base, [w, e]).start()


def teardown():
    suite.cleanup()


def chattr(flags, path):
    run("chattr", flags, path)


def as_tester(*argv, **kw):
    return subprocess.Popen([str(a) for a in argv], user=TESTER, group=TESTER, extra_groups=[], **kw)


def touch(event):
    """Makes an event of it, if it is still there: what was seen before is judged again by a new list."""
    try:
        event()
    except OSError as why:
        check(why.errno in (errno.ENOENT, errno.ENOEXEC, errno.ETXTBSY), str(why))


def keeper_stopped():
    """For less than the heartbeat allows: what is convicted waits."""
    return still.stopped(suite.pids()["ampquard"])


def runs(path):
    """Some process of it does."""
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            if os.readlink("/proc/%s/exe" % pid) == path:
                return True
        except OSError:
            pass
    return False


# -- programs -----------------------------------------------------------------------


def program_with_another_link(dir, tag):
    """Nothing tells where the other name is: it was made before the content was listed."""
    os.makedirs("%s/%s/far" % (dir, tag))
    data = harness.program_bytes("trouble-%s-%s" % (tag, dir))
    path = write("%s/%s/program" % (dir, tag), data, 0o755)
    os.link(path, "%s/%s/far/other" % (dir, tag))
    suite.wait_idle()
    return data, path, "%s/%s/far/other" % (dir, tag)


def case_running_program_with_another_link_is_killed_and_emptied():
    for kind, dir in where.items():
        data, path, other = program_with_another_link(dir, "runs")
        processes = [subprocess.Popen([p, "300"]) for p in (path, other, path)]
        taken.listed(suite, data, "Test.Runs")
        for p in processes:
            taken.dies(p)
        shown = taken.wait_taken(suite, data)
        check("emptied" in shown["note"], "%s: note: %r" % (kind, shown))
        taken.is_harmless(data, "%s/runs" % dir)


def case_running_program_in_a_layer_is_killed_and_emptied():
    os.mkdir(e + "/layers")
    merged = harness.mount_overlay(harness.BASE + "/merged", e + "/layers")
    data = harness.program_bytes("trouble-in-a-layer")
    write(merged + "/program", data, 0o755)
    fd = os.open(merged + "/program", os.O_RDONLY)
    p = subprocess.Popen([merged + "/program", "300"])
    suite.wait_idle()
    taken.listed(suite, data, "Test.Layer")
    taken.dies(p)
    taken.wait_taken(suite, data)
    taken.is_harmless(data, merged, e + "/layers")
    check(os.pread(fd, 64, 0) == b"", "a descriptor of the container still reads it")
    os.close(fd)
    harness.umount(merged)


def case_respawned_program_is_emptied_all_the_same():
    for kind, dir in where.items():
        data, path, other = program_with_another_link(dir, "respawned")
        os.chmod(path, 0o755)
        p = as_tester(bin_dir + "/respawner", other)
        try:
            wait_for("the program to run", lambda: runs(other), pause=0.001)
            taken.listed(suite, data, "Test.Respawned")
            taken.wait_taken(suite, data)
            taken.is_harmless(data, "%s/respawned" % dir)
            check(p.poll() is None, "%s: the one that started it, itself not listed, was killed" % kind)
        finally:
            p.kill()
            p.wait()


def mapped(dir, tag, links):
    os.makedirs("%s/%s/far" % (dir, tag))
    data = harness.program_bytes("trouble-%s-%s" % (tag, dir), "/lib/x86_64-linux-gnu/libm.so.6"
                                 if os.path.exists("/lib/x86_64-linux-gnu/libm.so.6") else "/bin/sleep")
    path = write("%s/%s/lib.so" % (dir, tag), data, 0o755)
    if links > 1:
        os.link(path, "%s/%s/far/other.so" % (dir, tag))
    suite.wait_idle()
    p = subprocess.Popen([bin_dir + "/mapper", path], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    check(p.stdout.read(1) == b"m", "not mapped")
    taken.listed(suite, data, "Test.Mapped")
    try:
        wait_for("the new list to be applied to what was seen before", lambda: taken.rows_of(suite, data), 3)
    except harness.Failed:
        touch(lambda: os.rename(path, "%s/%s/lib2.so" % (dir, tag)))
    return data, p


def case_mapped_library_that_is_only_unlinked_stays_mapped():
    for kind, dir in where.items():
        data, p = mapped(dir, "mapped", 1)
        shown = taken.wait_taken(suite, data)
        check("emptied" not in shown["note"], "%s: note: %r" % (kind, shown["note"]))
        taken.is_harmless(data, "%s/mapped" % dir)
        check(p.poll() is None, "%s: an innocent process died: %r" % (kind, p.returncode))
        p.communicate(b"x")
        check(p.returncode == 0, "%s: its mapping changed: %r" % (kind, p.returncode))


def case_mapped_library_with_another_link_is_emptied_and_the_note_says_so():
    for kind, dir in where.items():
        data, p = mapped(dir, "mapped-linked", 2)
        shown = taken.wait_taken(suite, data)
        check("emptied in place: 1 other links" in shown["note"], "%s: note: %r" % (kind, shown["note"]))
        taken.is_harmless(data, "%s/mapped-linked" % dir)
        check(p.poll() is None, "%s: an innocent process was killed: %r" % (kind, p.returncode))
        p.kill()
        p.communicate()


# -- flags --------------------------------------------------------------------------


def flagged(tag, flags, on_parent=False):
    """A program that nobody may change any more, and that is executed once it is listed."""
    for kind, dir in where.items():
        d = "%s/%s" % (dir, tag)
        os.mkdir(d)
        data = harness.program_bytes("trouble-%s-%s" % (tag, kind))
        path = write(d + "/program", data, 0o755)
        suite.wait_idle()
        chattr("+" + flags, d if on_parent else path)
        taken.listed(suite, data, "Test.Flags")
        touch(lambda: taken.dies(subprocess.Popen([path, "300"])))
        taken.wait_taken(suite, data)
        taken.is_harmless(data, d)
        if on_parent:
            chattr("-" + flags, d)


def case_immutable_file():
    flagged("immutable", "i")


def case_append_only_file():
    flagged("append-only", "a")


def case_immutable_parent():
    flagged("immutable-parent", "i", on_parent=True)


def case_append_only_parent():
    flagged("append-only-parent", "a", on_parent=True)


# -- what goes or changes first --------------------------------------------------------


def convicted(path, data, then):
    """Listed and convicted; `then` happens before it can be taken."""
    taken.listed(suite, data, "Test.First")
    with keeper_stopped():
        write(path, data)
        suite.wait_detected(path)
        time.sleep(0.5)
        then()
    taken.wait_outcome(suite, data, "threat_neutralised")
    check(not taken.entries_of(suite, data), "entries: %r" % taken.entries_of(suite, data))
    check(not taken.rows_of(suite, data, "threat_quarantined", "quarantine_failed"), "rows: %r" % taken.rows_of(suite, data))


def case_deleted_before_it_can_be_taken():
    for kind, dir in where.items():
        path = dir + "/deleted"
        convicted(path, b"deleted first, on %s\n" % kind.encode() * 30, lambda: os.unlink(path))


def overwritten(path, data, clean):
    before = []
    convicted(path, data, lambda: before.append(os.stat(write(path, clean))))
    suite.wait_idle()
    now = os.stat(path)
    check(open(path, "rb").read() == clean, "%s: the content is another" % path)
    check((now.st_ino, now.st_mtime_ns, now.st_ctime_ns) ==
          (before[0].st_ino, before[0].st_mtime_ns, before[0].st_ctime_ns), "%s: it was touched" % path)


def case_overwritten_with_clean_content_before_it_can_be_taken():
    """Also if that is as long as what was convicted."""
    for kind, dir in where.items():
        for size in (900, 1000):
            data = (b"overwritten first by %d, on %s\n" % (size, kind.encode()) * 50)[:1000]
            clean = (b"nothing is wrong with this, on %s\n" % kind.encode() * 50)[:size]
            overwritten("%s/overwritten-%d" % (dir, size), data, clean)


def case_growing_all_the_time():
    """What was convicted is soon no longer there; what it grows to is nobody's business."""
    for kind, dir in where.items():
        path = dir + "/growing"
        data = taken.listed(suite, b"grows and grows, on %s\n" % kind.encode() * 30, "Test.Grows")
        with keeper_stopped():
            write(path, data)
            suite.wait_detected(path)
            p = subprocess.Popen(["sh", "-c", "while :; do echo more; done >>" + path])
            wait_for("it to grow", lambda: os.path.getsize(path) > len(data))
        try:
            time.sleep(6)
        finally:
            p.kill()
            p.wait()
        grown = os.path.getsize(path)
        taken.wait_outcome(suite, data, "threat_neutralised")
        check(not taken.entries_of(suite, data), "entries: %r" % taken.entries_of(suite, data))
        check(os.path.getsize(path) == grown and open(path, "rb").read(len(data)) == data, "%s: touched" % kind)
        os.unlink(path)


# -- a missing keeper ------------------------------------------------------------------


def case_keeper_missing():
    """Its program is gone, and it dies."""
    program = suite.bin + "/ampquard"
    data = taken.listed(suite, harness.program_bytes("trouble-keeper-missing"), "Test.Missing")
    pid = suite.pids()["ampquard"]
    os.rename(program, program + ".away")
    os.kill(pid, signal.SIGKILL)
    wait_for("its end", lambda: not harness.alive(pid))
    path = write(e + "/while-missing", data, 0o755)
    taken.dies(subprocess.Popen([path, "300"]))
    suite.wait_detected(path)
    code, _ = suite.cli("quarantine", "list")
    check(code != 0, "the list without a keeper: %d" % code)
    check(os.path.exists(path), "it has gone without a keeper")
    os.rename(program + ".away", program)
    # It was started in vain more often the longer it was missing: up to a minute is waited for the next time.
    taken.wait_taken(suite, data, 120)
    taken.is_harmless(data, e)
    wait_for("the kill's record", lambda: taken.rows_of(suite, data, "process_killed"))
    wait_for("protection", lambda: suite.status()["protected"])


harness.main(globals())
