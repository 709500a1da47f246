"""btrfs: subvolumes that are mounted, and those that any user makes below them.

Each subvolume has a device and an identifier of its own, the kernel's table of
mounts shows neither. Two file systems: of one a subvolume is mounted (as the
installers of distributions do it), of the other the top level.
"""

import os
import shutil
import signal
import subprocess

import harness
from harness import check, wait_for, write

USER = "amp-tester"


def listed(tag):
    return b"listed content of the btrfs test: " + tag.encode()


def mount(path, *options):
    os.makedirs(path, exist_ok=True)
    harness.run("mount", *options, path)
    os.chmod(path, 0o1777)
    return path


def image(path):
    with open(path, "wb") as f:
        f.truncate(128 << 20)
    harness.run("mkfs.btrfs", "-q", "-f", path)
    return path


def subvolume(path):
    harness.run("btrfs", "subvolume", "create", path)
    return path


def users_subvolume(path):
    made = harness.as_user(USER, lambda: subvolume(path) and 0)
    check(made == 0, "a user cannot make %s" % path)
    return path


def mount_subvolume(path, file):
    top = mount(path, "-o", "loop", file)
    subvolume(top + "/@rootfs")
    harness.run("umount", top)
    return mount(path, "-o", "loop,subvol=@rootfs", file)


def program(directory):
    """Runs there before the suite is: content, process."""
    data = harness.program_bytes("first" + directory)
    p = subprocess.Popen([write(directory + "/first", data, 0o755), "600"])
    return data, p


def setup(base):
    global suite, places, running
    suite, places, running = None, {}, []
    if not shutil.which("mkfs.btrfs"):
        return
    known = "\tbtrfs\n" in open("/proc/filesystems").read()
    if not known and harness.run("sh", "-c", "modprobe btrfs", check=False).returncode:
        return
    for name, how in (("subvolume", mount_subvolume), ("top", lambda p, f: mount(p, "-o", "loop", f))):
        places[name] = how("%s/%s" % (base, name), image("%s/%s.img" % (base, name)))
        places[name + "'s nested"] = users_subvolume(places[name] + "/early")
    suite = harness.Suite(base, [places["subvolume"], places["top"]])
    for i, place in enumerate(places.values()):
        running.append(program(place))
        suite.block(running[-1][0], "Test.Btrfs.Running")
        suite.exclude("path %s/excluded" % place)
        os.mkdir(place + "/excluded")
    for tag in ("write", "exec", "rename", "barrier", "down", "late"):
        for i in range(len(places)):
            suite.block(listed(tag + str(i)), "Test.Btrfs")
    for i in range(len(places)):
        suite.block(harness.program_bytes("exec" + str(i)), "Test.Btrfs.Program")
    suite.start()


def teardown():
    for _, p in running:
        p.kill()
    if suite:
        suite.cleanup()


def need_btrfs():
    if not suite:
        raise harness.Skip("mkfs.btrfs is not there, or this kernel has no btrfs")


def once(path):
    suite.wait_detected(path)
    suite.wait_idle()
    check(len(suite.detections(path)) == 1, "rows: %r" % suite.detections(path))


def taken(path):
    wait_for("the quarantine of " + path, lambda: not os.path.exists(path))


def each(function):
    need_btrfs()
    wrong = []
    for i, (name, place) in enumerate(places.items()):
        try:
            function(i, place)
        except harness.Failed as e:
            wrong.append("%s: %s" % (name, e))
    check(not wrong, "; ".join(wrong))


def case_a_program_that_runs_at_the_first_start_is_killed():
    each(lambda i, place: wait_for("the kill", lambda: running[i][1].poll() is not None))


def case_a_write_is_detected_once_and_taken():
    def one(i, place):
        path = write(place + "/written", listed("write" + str(i)))
        once(path)
        taken(path)
    each(one)


def case_a_write_in_a_subvolume_made_meanwhile():
    def one(i, place):
        once(write(users_subvolume(place + "/late") + "/written", listed("late" + str(i))))
    each(one)


def case_an_exec_is_killed():
    """Written under another name first: by its content alone it is found at the exec."""
    def one(i, place):
        path = write(place + "/excluded/program", harness.program_bytes("exec" + str(i)), 0o755)
        suite.wait_idle()
        os.rename(path, place + "/program")
        try:
            p = subprocess.Popen([place + "/program", "300"])
        except OSError:
            return  # the rename was seen
        wait_for("the kill", lambda: p.poll() is not None)
        check(p.returncode == -signal.SIGKILL, "ended with %r" % p.returncode)
        suite.wait_detected(place + "/program")
    each(one)


def case_a_rename_is_seen_where_events_are_by_handle():
    def one(i, place):
        path = write(place + "/excluded/file", listed("rename" + str(i)))
        suite.wait_idle()
        os.mkdir(place + "/to")
        os.rename(path, place + "/to/renamed")
        if place.startswith(places["top"]):
            once(place + "/to/renamed")
            taken(place + "/to/renamed")
        else:
            # Events come in order: this one, of the same place, is later.
            once(write(place + "/to/barrier", listed("barrier" + str(i))))
            check(os.path.exists(place + "/to/renamed"), "it was seen")
    each(one)


def case_a_scan_finds_what_no_event_told_of():
    def one(i, place):
        if os.path.exists(place + "/to/renamed"):
            code, doc = suite.scan("start", place + "/to")
            check(code == 1 and doc["threats"] == 1, "%r: %r" % (code, doc))
            suite.wait_detected(place + "/to/renamed")
            taken(place + "/to/renamed")
    each(one)


def case_what_was_written_while_nothing_ran_is_repaired():
    need_btrfs()
    suite.stop()
    for i, place in enumerate(places.values()):
        write(place + "/down", listed("down" + str(i)))
    suite.start()
    each(lambda i, place: once(place + "/down"))


harness.main(globals())
