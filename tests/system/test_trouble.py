"""Full disk, broken configuration, missing users, silent rooms, policies
changed in mid-flight (issue point 10); what operators see: exit codes of
ampcli, logs and their rotation, the record of changes.

A message names the thing and the remedy, nothing is lost, and as much is
protected as can be.
"""

import collections
import contextlib
import glob
import os
import re
import signal
import stat
import subprocess
import sys
import time

import harness
from harness import SOON, check, run, wait_for, write

DONE, ERROR, UNREACHABLE, NOT_PERMITTED = 0, 2, 3, 4
REFUSED = 2  # ampmon's exit code
TESTER = harness.USERS["amp-tester"]
LISTED = 300

serial = [0]


def content(i):
    return b"trouble test, listed file number %d\n" % i * 3


def setup(base):
    global w, suites
    w = harness.mount_tmpfs(base + "/w")
    suites = []


def teardown():
    for s in suites:
        s.cleanup()


def new_suite(mode="protect", watch=None, **settings):
    """A suite of its own for a case; the one before is stopped. Heartbeats come fast."""
    for s in suites:
        s.cleanup()
    serial[0] += 1
    settings.setdefault("heartbeat_interval", 1)
    s = harness.Suite(harness.BASE, watch or [w], name="suite-%d" % serial[0], mode=mode, **settings)
    s.lists["blocked.list"] = ["%s Test.Trouble.%d" % (harness.sha256(content(i)), i) for i in range(LISTED)]
    s.configure()
    suites.append(s)
    return s


def place(name):
    d = "%s/%s-%d" % (w, name, serial[0])
    os.makedirs(d)
    return d


def faults(s, number):
    return [f for f in (s.status() or {}).get("faults", []) if f["number"] == number]


def check_once(s, paths):
    rows = [r["path"] for r in s.detections()]
    missing = [p for p in paths if p not in rows]
    check(not missing, "%d of %d missing: %r" % (len(missing), len(paths), missing[:3]))
    twice = [p for p in paths if rows.count(p) > 1]
    check(not twice, "more than once: %r" % twice[:3])


def as_tester(s, *argv, groups=()):
    """(exit status, text) of ampcli as amp-tester."""
    r = subprocess.run([s.bin + "/ampcli", "--run-dir", s.run] + list(argv), stdout=subprocess.PIPE,
                       stderr=subprocess.STDOUT, user=TESTER, group=TESTER, extra_groups=list(groups), timeout=60)
    return r.returncode, r.stdout.decode()


# -- configuration --------------------------------------------------------------

# What stands in the file behind a good one, and what the message must have: key and words of the remedy.
BROKEN = [
    ("watchh = {}", "watchh", "correct or remove"),
    ('log_level = "info"', "log_level", "second time"),
    ("log_keep = 0", "log_keep", ""),
    ('event_source = "kernel"', "event_source", ""),
    ("log_max_size = 1", "log_max_size", ""),
    ('cli_group = "a b"', "cli_group", "use letters"),
    ('filesystem_types = {"ext4", "nfs"}', "filesystem_types", "remove it"),
    ('user_ampread = "amp-scan"', "user_ampread", "one of its own"),
    ('user_ampread = "root"', "user_ampread", "must not be root"),
    ("heartbeat_timeout = 300\nheartbeat_timeout = 20", "heartbeat_timeout", "remove one"),
    ("history_max_rows = many", "history_max_rows", ""),
    ("quarantine_days = 0", "quarantine_days", "from 1 to 36500"),
    ('user_ampquard = "amp-cloud"', "user_ampquard", "one of its own"),
    ("log_keep = 3 }", "syntax", "write key = value"),
    ('log_keep = "3', "syntax", "close it"),
]


def start_refused(s):
    """Text of a start that must fail; no process may be left."""
    r = run(s.bin + "/ampmon", "-c", s.conf, check=False)
    text = r.stdout.decode()
    check(r.returncode == REFUSED, "exit %d: %s" % (r.returncode, text))
    wait_for("whoever had been started to go", lambda: not s.pids())
    return text


def case_broken_configuration_is_refused_at_start():
    s = new_suite()
    good = open(s.conf).read()
    lines = good.count("\n")
    for broken, key, remedy in BROKEN:
        with open(s.conf, "w") as f:
            f.write(good + broken + "\n")
        text = start_refused(s)
        at = re.search(re.escape(s.conf) + r":(\d+): ([^:]*):", text)
        check(at and at.group(2) == key and lines < int(at.group(1)) <= lines + 2, "%r: %r" % (broken, text))
        check(remedy in text and ";" in text, "no remedy for %r: %r" % (broken, text))
        checked = run(s.bin + "/ampmon", "-n", "-c", s.conf, check=False)
        check(checked.returncode == REFUSED and checked.stdout.decode() == text, "-n says %r" % checked.stdout)
    s.configure()
    for change, undo, words in (
        (lambda: os.chmod(s.conf, 0o666), lambda: os.chmod(s.conf, 0o644), "chmod go-w"),
        (lambda: os.chown(s.conf, TESTER, 0), lambda: os.chown(s.conf, 0, 0), "chown root"),
        (lambda: os.chmod(s.etc, 0o777), lambda: os.chmod(s.etc, 0o755), "chmod go-w"),
        (lambda: os.rename(s.conf, s.conf + "-"), lambda: os.rename(s.conf + "-", s.conf), "ampmon.conf"),
    ):
        change()
        text = start_refused(s)
        check(words in text and s.etc in text, "%r not in %r" % (words, text))
        undo()
    s.configure(watch=[w, w + "/not-there"])
    text = start_refused(s)
    check("watch" in text and "make it, or remove" in text, text)
    s.configure(watch=[w])
    s.start()


def case_broken_configuration_is_refused_at_reload_and_the_old_one_stays():
    s = new_suite().start()
    good = open(s.conf).read()
    d = place("reload")
    for n, (broken, key, remedy) in enumerate(BROKEN):
        with open(s.conf, "w") as f:
            f.write(good + broken + "\n")
        s.reload()
        try:
            fault = wait_for("fault 8", lambda: [f for f in faults(s, 8) if key in f["detail"]
                                                   and remedy in f["detail"]])[0]
        except harness.Failed:
            raise harness.Failed("%r: %r" % (broken, faults(s, 8)))
        check(s.conf in fault["detail"], "%r: %r" % (broken, fault))
        check(fault["severity"] == "critical" and fault["remedy"], "fault: %r" % fault)
        s.wait_detected(write("%s/%d" % (d, n), content(n)))
    wait_for("it in ampmon.log", lambda: "configuration refused, the old one stays: " + s.conf in s.log_text())
    check(not [r for r in s.status()["services"] if r["restarts"]], "something was restarted")
    # A good one holds, and clears the fault: another directory is watched from here on.
    more = harness.mount_tmpfs(harness.BASE + "/more-%d" % serial[0])
    write(more + "/before", content(0))
    s.configure(watch=[w, more], log_level="debug")
    s.reload()
    wait_for("fault 8 to clear", lambda: not faults(s, 8))
    wait_for("the new directory to be watched", lambda: [f for f in s.status()["filesystems"] if f["mount_point"] == more
                                                        and f["how"] == "by_handle"])
    s.wait_detected(write(more + "/after", content(1)))
    s.configure(watch=[w])
    s.reload()
    wait_for("it to be left alone again", lambda: not [f for f in s.status()["filesystems"]
                                                      if f["mount_point"] == more and f["how"] == "by_handle"])
    # What needs a restart is said.
    s.configure(event_buffers=32)
    s.reload()
    wait_for("the warning", lambda: "a new value of event_buffers holds after a restart" in s.log_text())


def case_a_broken_policy_is_refused_and_the_old_one_stays():
    s = new_suite().start()
    d = place("policy")
    path = s.etc + "/policies/protect.conf"
    good = open(path).read()
    for text, key in ((good.replace('mode = "protect"', 'mode = "loud"'), "mode"), (good + "nonsense = 1\n", "nonsense"),
                      ("", "name")):
        with open(path, "w") as f:
            f.write(text)
        s.reload()
        fault = wait_for("fault 8", lambda: [f for f in faults(s, 8) if key + ": " in f["detail"]])[0]
        check(path in fault["detail"] and ";" in fault["detail"], "fault: %r" % fault)
        code, text = s.cli("policy", "use", "protect", json_output=False)
        check(code == ERROR and path in text and key in text, "policy use: %d %r" % (code, text))
        st = s.status()
        check(st["mode"] == "protect" and st["policy"]["name"] == "Protect Policy", "in force: %r" % st["policy"])
        s.wait_detected(write(d + "/" + key, content(3)))
    # Bad lines of a list are named and skipped, the others hold.
    s.lists["blocked.list"] += ["what is this", harness.sha256(b"one more"), "12345 too short"]
    s.configure()
    s.reload()
    wait_for("fault 8 to clear", lambda: not faults(s, 8))
    fault = wait_for("fault 9", lambda: faults(s, 9))[0]
    check("blocked.list:%d:" % (LISTED + 1) in fault["detail"], "fault: %r" % fault)
    s.wait_detected(write(d + "/one-more", b"one more"))
    # At the start as well: with no policy that can be read the built-in list is recorded.
    s.stop()
    with open(path, "w") as f:
        f.write("broken")
    s.start(wait=False)
    wait_for("fault 8 after a start", lambda: faults(s, 8))
    wait_for("readiness", lambda: s.status()["protected"])
    s.wait_detected(write(d + "/built-in", harness.eicar()))
    # -n is asked of the policy that was chosen, too.
    with open(path, "w") as f:
        f.write(good)
    check(s.cli("policy", "use", "audit")[0] == DONE, "policy use")
    s.stop()
    with open(s.etc + "/policies/audit.conf", "w") as f:
        f.write("broken")
    checked = run(s.bin + "/ampmon", "-n", "-c", s.conf, check=False)
    text = checked.stdout.decode()
    check(checked.returncode == REFUSED and "policy audit: " in text, "-n: %d %r" % (checked.returncode, text))


def watched(s, directory):
    return [f for f in (s.status() or {}).get("filesystems", [])
            if f["mount_point"] == directory and f["how"] == "by_handle"]


def kill_ampmon(s):
    pid = s.supervisor()
    os.kill(pid, signal.SIGKILL)
    wait_for("the end of ampmon", lambda: not harness.alive(pid))


def case_what_was_reloaded_holds_when_ampmon_was_killed():
    """Its guard read the configuration once, long before. And who reloads in these moments is not passed over."""
    s = new_suite().start()
    dirs = [harness.mount_tmpfs("%s/reloaded-%d-%d" % (harness.BASE, serial[0], i)) for i in range(8)]
    s.configure(watch=[w, dirs[0]])
    s.reload()
    wait_for("the first to be watched", lambda: watched(s, dirs[0]))
    kill_ampmon(s)
    s.wait_ready()
    wait_for("it to be watched still", lambda: watched(s, dirs[0]))
    s.wait_detected(write(dirs[0] + "/listed", content(0)))
    for i in range(1, len(dirs)):
        kill_ampmon(s)
        time.sleep(0.008 * (i - 1))
        s.configure(watch=[w] + dirs[:i + 1])
        s.reload()
        wait_for("number %d to be watched" % i, lambda: watched(s, dirs[i]))
    # One that is broken by then is refused, as at a reload; what holds is what the first start had.
    good = open(s.conf).read()
    with open(s.conf, "w") as f:
        f.write(good + "watchh = {}\n")
    kill_ampmon(s)
    wait_for("the fault", lambda: [f for f in faults(s, 8) if "watchh" in f["detail"] and f["severity"] == "critical"])
    s.wait_ready()
    s.wait_detected(write(place("broken-then") + "/listed", content(1)))
    with open(s.conf, "w") as f:
        f.write(good)
    s.reload()
    wait_for("the fault to clear", lambda: s.status() and not faults(s, 8))
    wait_for("the last to be watched", lambda: watched(s, dirs[-1]))


def case_a_configuration_named_from_where_it_is_started():
    s = new_suite()
    started = run(s.bin + "/ampmon", "-c", os.path.basename(s.conf), cwd=os.path.dirname(s.conf), check=False)
    check(started.returncode == 0, started.stdout.decode())
    s.wait_ready()
    data = b"listed since the reload\n"
    s.block(data)
    s.reload()
    wait_for("the list in force", lambda: harness.sha256(data) in str(s.asked("policy", "lists")[1]))
    check(not faults(s, 8), "faults: %r" % faults(s, 8))


def case_a_second_ampmon_is_refused():
    s = new_suite().start()
    pids = s.pids()
    r = run(s.bin + "/ampmon", "-c", s.conf, check=False)
    text = r.stdout.decode()
    check(r.returncode == REFUSED and "another ampmon runs" in text and s.run in text and "stop it first" in text,
          "exit %d: %r" % (r.returncode, text))
    r = run(s.bin + "/ampmon", "-f", "-c", s.conf, check=False, timeout=20)
    check(r.returncode == REFUSED and b"another ampmon runs" in r.stdout, "with -f: %d %r" % (r.returncode, r.stdout))
    check(s.pids() == pids and s.status()["protected"], "the first one was disturbed")


# -- users ------------------------------------------------------------------------


def set_users(without=()):
    path = "/etc/passwd"
    keep = [l for l in open(path) if l.split(":")[0] not in harness.USERS]
    with open(path, "w") as f:  # it is a bind mount: written in place
        f.write("".join(keep) + "".join("%s:x:%d:%d::/nonexistent:/usr/sbin/nologin\n" % (u, i, i)
                                        for u, i in harness.USERS.items() if u not in without))


def running(s):
    return {x["name"] for x in s.status()["services"] if x["state"] == "running"}


def written_and_run(s, path, program, read=True):
    """(path, process): nobody can take the file away between its last byte and its execution."""
    with s.nothing_is_read() if read else contextlib.nullcontext():
        return path, subprocess.Popen([write(path, program, 0o755), "300"])


def case_a_missing_user():
    """The message names the user and the remedy, the others run, nothing is lost."""
    try:
        for user, role in (("amp-cloud", "ampcloudd"), ("amp-read", "ampread"), ("amp-scan", "ampscand"),
                           ("amp-quard", "ampquard")):
            s = new_suite()
            d = place("user-" + role)
            program = harness.program_bytes(user)
            s.block(program, "Test.Trouble.Program")
            set_users(without=[user])
            r = run(s.bin + "/ampmon", "-c", s.conf, check=False)
            text = r.stdout.decode()
            check(r.returncode == 0, "it did not start without %s: %r" % (user, text))
            fault = wait_for("fault 13", lambda: faults(s, 13))[0]
            for said in (lambda: text, s.log_text, lambda: fault["detail"]):
                wait_for("%s to be named: %r" % (user, said()), lambda: 'no user "%s"' % user in said()
                         and "useradd" in said() and "user_" + role in said())
            others = {"ampscand", "ampread", "ampcloudd", "ampquard"} - {role}
            wait_for("the others", lambda: others <= running(s))
            check(role not in running(s), "without %s there run %r" % (user, running(s)))
            check(not s.status()["protected"] and fault["severity"] == "critical", "status: %r" % s.status())
            paths = [write("%s/%d" % (d, i), content(i)) for i in range(20)]
            exe, p = written_and_run(s, d + "/program", program, read=role != "ampread")
            if role == "ampcloudd":
                check(s.cli("history")[0] == UNREACHABLE, "history without ampcloudd: exit code")
                check(wait_for("the kill", lambda: p.poll() is not None) and p.returncode == -signal.SIGKILL,
                      "not protected without ampcloudd")
            set_users()
            s.stop()
            s.start()
            check(not faults(s, 13), "faults: %r" % s.status()["faults"])
            for path in paths + [exe]:
                s.wait_detected(path)
            s.wait_idle()
            check_once(s, paths)
            check(wait_for("the kill", lambda: p.poll() is not None) and p.returncode == -signal.SIGKILL, "it runs on")
    finally:
        set_users()


# -- disk --------------------------------------------------------------------------


def fill(path):
    with open(path, "ab", buffering=0) as f:
        try:
            while f.write(b"\xa5" * 65536) == 65536:
                pass
            while True:
                f.write(b"\xa5" * 512)
        except OSError:
            pass


def case_a_full_disk_under_the_database():
    s = new_suite()
    d = place("full")
    program = harness.program_bytes("full disk")
    s.block(program, "Test.Trouble.Program")
    run("mount", "-t", "tmpfs", "-o", "size=8m", "small", s.etc + "/cloud")
    try:
        s.start()
        paths = [write(d + "/first", content(0))]
        s.wait_detected(paths[0])
        fill(s.etc + "/cloud/filler")
        for n in range(3000):
            paths.append(write("%s/%d" % (d, n), content(n % LISTED)))
        fault = wait_for("fault 10", lambda: [f for f in faults(s, 10) if "events wait" in f["detail"]])[0]
        check(s.etc + "/cloud/events.db" in fault["detail"] and "free space" in fault["detail"], "fault: %r" % fault)
        check(fault["severity"] == "critical" and fault["remedy"], "fault: %r" % fault)
        s.history("threat_detected")
        # Any of them may die meanwhile; and it protects all the same.
        for name in ("ampmon", "ampcloudd", "ampscand"):
            pid = wait_for(name, lambda: s.supervisor() if name == "ampmon" else s.pids().get(name))
            os.kill(pid, signal.SIGKILL)
            wait_for("its successor", lambda: [x for x in (s.status() or {}).get("services", [])
                                               if x["name"] == name and x["state"] == "running" and x["pid"] != pid])
        exe, p = written_and_run(s, d + "/program", program)
        check(wait_for("the kill", lambda: p.poll() is not None) and p.returncode == -signal.SIGKILL, "no protection")
        wait_for("fault 10 again", lambda: faults(s, 10))
        os.unlink(s.etc + "/cloud/filler")
        # The rows need more than the 8 MB there were.
        run("mount", "-o", "remount,size=64m", s.etc + "/cloud")
        wait_for("fault 10 to clear", lambda: s.status() and not faults(s, 10))
        s.wait_ready(180)
        wait_for("all rows", lambda: set(paths) <= {r["path"] for r in s.detections()}, 180, 0.5)
        s.wait_idle()
        check_once(s, paths)
        kills = wait_for("its record", lambda: [r for r in s.history("process_killed") if r["path"] == exe])
        check(len(kills) == 1, "kills: %r" % kills)
    finally:
        s.cleanup()
        run("umount", "-l", s.etc + "/cloud")


def case_a_full_disk_under_the_logs():
    """Lines are lost and counted, everything else goes on. A directory that others may write is refused."""
    s = new_suite()
    d = place("full-log")
    run("mount", "-t", "tmpfs", "-o", "size=256k,mode=755", "small", s.log)
    try:
        os.chmod(s.log, 0o777)
        text = start_refused(s)
        check(s.log in text and "see that the directory is root's" in text, text)
        os.chmod(s.log, 0o755)
        s.start()
        fill(s.log + "/filler")
        for n in range(50):
            s.cli("policy", "use", "no-such-policy-%d" % n)
        s.wait_detected(write(d + "/file", content(1)))
        wait_for("lost lines to be counted", lambda: [k for k, v in s.counters().items() if v and (
            ".log.write_failed" in k or ".log.cli_lost" in k)])
        os.unlink(s.log + "/filler")
        s.cli("policy", "use", "after-the-flood")
        wait_for("the log to go on", lambda: "after-the-flood" in s.log_text("ampcli"))
    finally:
        s.cleanup()
        run("umount", "-l", s.log)


def case_a_full_disk_under_the_state():
    """A policy change that cannot be stored changes nothing, and says so."""
    s = new_suite()
    etc = s.etc
    run("mount", "-t", "tmpfs", "-o", "size=32m,mode=755", "small", etc)
    for sub in ("policies", "cloud"):
        os.makedirs("%s/%s" % (etc, sub))
    s.configure()
    d = place("full-state")
    try:
        s.start()
        s.wait_idle()

        def full():
            """What was being replaced when the disk became full may have given its place back since."""
            fill(etc + "/filler")
            return not os.path.exists(etc + "/ampmon.state.tmp") and os.statvfs(etc).f_bfree == 0

        wait_for("a full disk", full)
        code, text = s.cli("policy", "use", "audit", json_output=False)
        check(code == ERROR and etc + "/ampmon.state" in text and "No space" in text and "nothing was changed" in text,
              "exit %d: %r" % (code, text))
        check(s.status()["mode"] == "protect", "mode: %r" % s.status()["mode"])
        path = write(d + "/file", content(1))
        wait_for("its detection, or the reason why there is none", lambda: faults(s, 10) or s.detections(path))
        os.unlink(etc + "/filler")
        wait_for("the change", lambda: s.cli("policy", "use", "audit")[0] == DONE)
        check(s.status()["mode"] == "audit", "mode: %r" % s.status()["mode"])
        s.stop()
        s.start()
        check(s.status()["mode"] == "audit", "the choice was forgotten: %r" % s.status()["mode"])
    finally:
        s.cleanup()
        run("umount", "-l", etc)


# -- policy --------------------------------------------------------------------------

# The last of the files wait for the word that there were changes enough.
WRITER = r"""
import os, sys, time
d, count = sys.argv[1], int(sys.argv[2])
for i in range(count):
    if i == count - 100:
        sys.stdin.read()
    with open("%s/listed-%d" % (d, i), "wb") as f:
        f.write(b"trouble test, listed file number %d\n" % (i % 300) * 3)
    time.sleep(0.005)
"""


def case_policy_changed_in_mid_flight():
    s = new_suite(mode="audit")
    d = place("flight")
    program = harness.program_bytes("flight")
    s.block(program, "Test.Trouble.Program")
    s.start()
    exe = write(d + "/program", program, 0o755)
    # What is judged under Audit stays; what was only written under it is taken by the first Protect.
    s.wait_detected(exe)
    writer = subprocess.Popen([sys.executable, "-c", WRITER, d, "2000"], stdin=subprocess.PIPE)
    under_audit, under_protect = [], []
    changes = 0
    while writer.poll() is None:
        for policy, started in (("protect", under_protect), ("audit", under_audit)):
            code, doc = s.cli("policy", "use", policy)
            check(code == DONE and doc["id"] == policy and doc["in_force"], "policy use %s: %d %r" % (policy, code, doc))
            changes += 1
            # What starts under Protect is taken as well; under Audit it stays, for the next Protect.
            if policy == "audit":
                exe = write("%s/program-%d" % (d, changes), program, 0o755)
                s.wait_detected(exe)
            # Acknowledged: what starts from here on is judged by it.
            p = subprocess.Popen([exe, "300"])
            started.append(p)
            if policy == "protect":
                check(wait_for("the kill", lambda: p.poll() is not None) and p.returncode == -signal.SIGKILL,
                      "under protect: %r" % p.returncode)
            else:
                wait_for("its record", lambda: [r for r in s.detections(exe) if r["process"] and
                                                r["process"]["pid"] == p.pid])
                check(p.poll() is None, "killed under audit")
        if changes >= 6:
            writer.stdin.close()
    check(changes >= 6, "only %d changes while files arrived" % changes)
    # What Audit let run is killed by the next Protect (all but the last were already).
    for p in under_audit[:-1]:
        check(p.wait(SOON) == -signal.SIGKILL, "what audit let run: %r" % p.returncode)
    check(under_audit[-1].poll() is None, "the last one was killed under audit")
    check(s.cli("policy", "use", "protect")[0] == DONE, "policy use")
    check(under_audit[-1].wait(SOON) == -signal.SIGKILL, "what audit let run: %r" % under_audit[-1].returncode)
    paths = ["%s/listed-%d" % (d, i) for i in range(2000)]
    wait_for("all rows", lambda: set(paths) <= {r["path"] for r in s.detections()}, pause=0.5)
    s.wait_idle()
    check_once(s, paths)
    wait_for("rows of %d changes" % (changes + 1), lambda: len(s.history("policy_changed")) >= changes + 1)
    check({r["mode"] for r in s.detections() if "/listed-" in r["path"]} == {"audit", "protect"}, "modes of the rows")
    pids = {p.pid for p in under_audit + under_protect}
    killed = lambda: {r["process"]["pid"] for r in s.history("process_killed")}
    wait_for("records of all that were killed", lambda: pids <= killed())
    check(not killed() - pids, "recorded and not killed: %r" % sorted(killed() - pids))
    print("# %d policy changes while 2,000 files arrived" % changes, flush=True)


def case_ampscand_begins_anew_while_a_change_is_stored():
    """What it acknowledges then is the policy before, and what runs is judged by the new one all the same."""
    state = harness.mount_ext4(harness.BASE + "/state-%d" % serial[0], harness.BASE + "/state-%d.img" % serial[0], 64)
    s = new_suite(mode="audit", etc_dir=state, heartbeat_timeout=120)
    os.chmod(state, 0o755)
    d = place("stored")
    program = harness.program_bytes("stored")
    s.block(program, "Test.Trouble.Program")
    s.start()
    p = subprocess.Popen([write(d + "/program", program, 0o755), "300"])
    wait_for("its record", lambda: [r for r in s.detections(d + "/program") if r["process"]["pid"] == p.pid])
    s.wait_idle()
    acknowledged = lambda: s.log_text().count("ampscand acknowledged policy")
    before = acknowledged()
    run("fsfreeze", "-f", state)
    try:
        use = subprocess.Popen([s.bin + "/ampcli", "--run-dir", s.run, "policy", "use", "protect"],
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_for("the change", lambda: "policy use protect" in s.log_text("ampcli"))
        time.sleep(1)  # its storing has begun, and ends when the file system does no longer stand still
        os.kill(s.pids()["ampscand"], signal.SIGKILL)
        wait_for("the successor's word", lambda: acknowledged() > before)
        check(s.status()["mode"] == "audit", "in force before it is stored")
    finally:
        run("fsfreeze", "-u", state)
    wait_for("the kill", lambda: p.poll() is not None)
    check(p.returncode == -signal.SIGKILL, "it ended with %r" % p.returncode)
    use.wait()
    check(s.status()["mode"] == "protect", "mode: %r" % s.status()["mode"])


# -- silent rooms -----------------------------------------------------------------


def case_a_silent_main_loop_is_killed_and_replaced():
    # So long that nobody else is silent because others have the processors.
    timeout = 8
    s = new_suite(heartbeat_timeout=timeout).start()
    d = place("silent")
    for room in ("ampscand", "ampread", "ampcloudd", "ampquard"):
        pid = s.pids()[room]
        label = [x["name"] for x in s.status()["services"] if x["pid"] == pid][0]
        os.kill(pid, signal.SIGSTOP)
        paths = [write("%s/%s-%d" % (d, room, i), content(i)) for i in range(LISTED)]
        wait_for("the end of the silent %s" % room, lambda: not harness.alive(pid), 5 * timeout)
        fault = wait_for("fault 2", lambda: [f for f in faults(s, 2) if f["detail"].startswith(label + ":")])[0]
        check(str(pid) in fault["detail"] and "main loop" in fault["detail"] and fault["remedy"], "fault: %r" % fault)
        s.wait_ready()
        wait_for("all of them", lambda: set(paths) <= {r["path"] for r in s.detections()})
        s.wait_idle()
        check_once(s, paths)
        check(s.service(label)["restarts"] == 1, "restarts: %r" % s.service(label))


# -- ampcli --------------------------------------------------------------------------

QUESTIONS = (["status"], ["faults"], ["history"], ["policy"], ["policy", "list"], ["policy", "lists"], ["exclusions"],
             ["posture"])


def case_exit_codes():
    s = new_suite(heartbeat_timeout=300)  # who is stopped below stays
    for q in QUESTIONS:
        code, text = s.cli(*q, json_output=False)
        check(code == UNREACHABLE and "ampcli: " in text, "%r without the suite: %d %r" % (q, code, text))
    s.start()
    for q in QUESTIONS:
        check(s.cli(*q)[0] == DONE, "%r: %d" % (q, s.cli(*q)[0]))
        # Members of the group may ask, others may not.
        for flags in ([], ["--json"]):
            code, text = as_tester(s, *q, *flags, groups=[harness.GROUPS["amp"]])
            check(code == DONE, "%r as a member of amp: %d %r" % (q, code, text))
            code, text = as_tester(s, *q, *flags)
            check(code == NOT_PERMITTED, "%r as a stranger: %d %r" % (q, code, text))
    code, text = as_tester(s, "policy", "use", "audit", groups=[harness.GROUPS["amp"]])
    check(code == NOT_PERMITTED and "root" in text, "policy use as a member of amp: %d %r" % (code, text))
    check(as_tester(s, "policy", "use", "audit")[0] == NOT_PERMITTED, "policy use as a stranger")
    check(s.status()["mode"] == "protect", "the policy was changed")
    for wrong in (["nonsense"], ["status", "more"], ["--nonsense"], ["history", "--limit", "x"], ["status", "--limit", "3"],
                  ["history", "--since", "never"], ["policy", "use"], ["policy", "use", "../../etc/passwd"],
                  ["policy", "use", "no-such-policy"]):
        code, text = s.cli(*wrong, json_output=False)
        check(code == ERROR and "ampcli: " in text, "%r: %d %r" % (wrong, code, text))
    for room, q in (("ampcloudd", ["history"]), ("ampscand", ["exclusions"])):
        pid = s.pids()[room]
        os.kill(pid, signal.SIGSTOP)
        try:
            begin = time.monotonic()
            code, text = s.cli(*q, json_output=False)
            took = time.monotonic() - begin
            check(code == UNREACHABLE and room in text and took < 25, "%r: %d %r in %.1f s" % (q, code, text, took))
            code, doc = s.cli("status")
            check(code == UNREACHABLE and doc and doc["services"], "status without %s: %d %r" % (room, code, doc))
        finally:
            os.kill(pid, signal.SIGCONT)


# -- logs -----------------------------------------------------------------------------


def log_files(s):
    return sorted(glob.glob(s.log + "/*"))


def lines_of(s, component):
    return [l for f in log_files(s) if re.match(component + r"\.log(\.\d+)?$", os.path.basename(f))
            for l in open(f, errors="replace")]


def case_logs_and_the_record_of_changes():
    s = new_suite(log_max_size=4096, log_keep=50).start()
    d = place("logs")
    known = set()
    asked = collections.Counter()
    for n in range(150):
        user = TESTER if n % 10 == 9 else 0
        if user:
            code, text = as_tester(s, "policy", "use", "id-%d" % n, groups=[harness.GROUPS["amp"]])
            check(code == NOT_PERMITTED, text)
        else:
            # Twice a real one; it is asked again while a reload is under way.
            policy = "audit" if n == 50 else "protect" if n == 100 else "id-%d" % n

            def use():
                asked[policy] += 1
                code, text = s.cli("policy", "use", policy, json_output=False)
                return "another change is under way" not in text and (code, text)

            code, text = wait_for("an answer", use)
            check(code == (DONE if policy[0] != "i" else ERROR), "policy use %s: %d %r" % (policy, code, text))
        if n % 4 == 0:
            s.reload()  # some lines of ampmon's log
        if n % 15 == 0:
            # Long names, so that ampscand's log grows too; each burst below the limit on alike lines.
            time.sleep(1.1)
            for i in range(2):
                name = "%s/%s-%d-%d" % (d, "x" * 200, n, i)
                s.wait_detected(write(name, content(n)))
                known.add(os.path.basename(name))
    wait_for("rotation of each log that grew", lambda: all(os.path.exists("%s/%s.log.1" % (s.log, c))
                                                          for c in ("ampcli", "ampmon", "ampscand")))
    s.stop()
    for f in log_files(s):
        st = os.stat(f)
        check(stat.S_IMODE(st.st_mode) == 0o600 and st.st_uid == 0, "%s: mode %o, uid %d" % (f, st.st_mode, st.st_uid))
    commands = lines_of(s, "ampcli")
    for n in range(150):
        policy = "audit" if n == 50 else "protect" if n == 100 else "id-%d" % n
        mine = [l for l in commands if re.search(r"uid \d+ pid \d+: policy use %s\b" % policy, l)]
        check(len(mine) == max(1, asked[policy]), "%s: %r" % (policy, mine))
        who = "uid %d pid " % (TESTER if n % 10 == 9 else 0)
        check(who in mine[0] and ("refused" in mine[0]) == (n % 10 == 9), "%s: %r" % (policy, mine[0]))
        check(re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z ", mine[0]), "time: %r" % mine[0])
    told = "".join(lines_of(s, "ampscand"))
    missing = [n for n in known if n not in told]
    check(not missing, "%d of %d detections are not in ampscand's log" % (len(missing), len(known)))
    for component in ("ampmon", "ampscand", "ampcloudd", "ampread", "ampquard"):
        torn = [l for l in lines_of(s, component) if not re.match(r"\d{4}-\d\d-\d\dT\S+Z %s (error|warn|info|debug) " % component, l)]
        check(not torn, "%s: %r" % (component, torn[:3]))
    check(len(log_files(s)) > 8, "files: %r" % log_files(s))


harness.main(globals())
