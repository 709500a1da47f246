#!/usr/bin/python3
"""tests/vm/systemd.py - the suite as a service: installed by quickstart in a Debian under systemd.

Owns: the installation in the guest, what the service must do there, the bound of
its exposure. Must not own: guests (run), counting (suite.py), asking the suite
(../system/harness.py), the document of the exposure (exposure.py).
Prints `ok`, `not ok` and `skip` lines and, last, how many of each.

AMP_BUILD is a build with the usual prefix; it is installed with DESTDIR.
"""

import argparse
import json
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
import traceback

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(os.path.dirname(HERE), "system")]
sys.dont_write_bytecode = True

import exposure  # noqa: E402
import harness  # noqa: E402
import suite as kernels  # noqa: E402
from harness import Failed, check, wait_for  # noqa: E402

LIMIT = 1800  # seconds for a guest with all of it
UNIT = "cisco-amp"
PREFIX = "/opt/cisco/amp"
DROP_IN = "/etc/systemd/system/%s.service.d/test.conf" % UNIT
ROLES = ["ampcloudd", "ampengine", "ampquard", "ampread", "ampscand"]
EVERY = ["ampcloudd", "ampengine", "ampmon", "ampquard", "ampread", "ampread+", "ampread++", "ampread+++", "ampscand"]
PLACE = "/srv/amp-test"  # on the guest's ext4, which is watched as all local file systems are
WATCHDOG = 20  # seconds; an emulated machine stands still for some
# quickstart without what a build machine did: there is no compiler here, and the
# tree is installed already, beside. All else is its own.
QUICKSTART = r"""
[ "$(tail -n 1 "$0")" = 'main "$@"' ] || exit 99
. <(sed '$d' "$0")
PROOF_SECONDS=120
install_packages() { :; }
build() { :; }
make() { # -C BUILD install
	mkdir -p "$PREFIX/etc"
	cp -a "$AMP_TREE$PREFIX/bin" "$AMP_TREE$PREFIX/share" "$PREFIX/"
	cp -an "$AMP_TREE$PREFIX/etc/." "$PREFIX/etc/"
}
main "$@"
"""


def quickstart(*argv):
    script = os.path.join(os.path.dirname(os.path.dirname(HERE)), "contrib/quickstart")
    env = dict(os.environ, AMP_BUILD_DIR="/host" + harness.BUILD)
    r = subprocess.run(["bash", "-c", QUICKSTART, script] + list(argv), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                       stderr=subprocess.STDOUT, env=env, check=False)
    text = r.stdout.decode(errors="replace")
    check(r.returncode == 0, "quickstart: status %d: %s" % (r.returncode, text[-2000:]))
    return text


# -- asking systemd --------------------------------------------------------


def systemctl(*argv, ok=True):
    r = harness.run("systemctl", "--no-pager", *argv, check=False)
    text = r.stdout.decode(errors="replace").strip()
    check(not ok or r.returncode == 0, "systemctl %s: status %d: %s" % (" ".join(argv), r.returncode, text))
    return text


def shown(*names):
    """Properties of the unit."""
    text = systemctl("show", UNIT, *("--property=" + n for n in names))
    return dict(line.split("=", 1) for line in text.splitlines() if "=" in line)


def main_pid():
    return int(shown("MainPID")["MainPID"])


def restarts():
    return int(shown("NRestarts")["NRestarts"])


def journal():
    return harness.run("journalctl", "--no-pager", "-q", "-o", "cat", "-u", UNIT, check=False).stdout.decode(errors="replace")


def drop_in(text):
    """Settings of the service beside its own; None: away with them."""
    if text is None:
        shutil.rmtree(os.path.dirname(DROP_IN), ignore_errors=True)
    else:
        os.makedirs(os.path.dirname(DROP_IN), exist_ok=True)
        with open(DROP_IN, "w") as f:
            f.write("[Service]\n" + text)
    systemctl("daemon-reload")


# -- the service -----------------------------------------------------------


class Service(harness.Suite):
    """What quickstart installed; the harness's own suite is another one."""

    def __init__(self):
        self.base = PREFIX
        self.bin = PREFIX + "/bin"
        self.etc = PREFIX + "/etc"
        self.quarantine = self.etc + "/quarantine"
        self.log = "/var/log/cisco"
        self.run = "/run/sfampd"
        self.conf = self.etc + "/ampmon.conf"
        self.files = 0

    def block(self, data, name="Test.Listed"):
        with open(self.etc + "/policies/blocked.list", "a") as f:
            f.write("%s %s\n" % (harness.sha256(data), name))

    def set_conf(self, old, new):
        text = open(self.conf).read()
        check(old in text, "%s has no %r" % (self.conf, old))
        with open(self.conf, "w") as f:
            f.write(text.replace(old, new))

    def entry(self, path):
        for e in self.cli("quarantine", "list")[1] or []:
            if e["path"] == path and e["state"] == "quarantined":
                return e
        return None

    def protects(self, data=None):
        """The listed content is taken away; returns its entry."""
        self.files += 1
        path = harness.write("%s/file-%d" % (PLACE, self.files), data or LISTED)
        entry = wait_for("%s to be in quarantine" % path, lambda: self.entry(path))
        check(not os.path.exists(path), "%s is still there" % path)
        return entry

    def rooms(self):
        """pids() without what ampmon forks for a mark or a look: that is gone when it is asked for."""
        return {name: pid for name, pid in self.pids().items() if name in EVERY}

    def settled(self):
        """Up, every program there, and whole after a restart."""
        wait_for("the service", lambda: systemctl("is-active", UNIT, ok=False) == "active")
        self.wait_ready()
        # ampmon has a child for a moment now and then, for a mark or a look at /proc.
        wait_for("every program, once", lambda: sorted(self.pids()) == EVERY)


LISTED = b"what is listed, under systemd\n"
service = Service()
before = {}


def mounts():
    return sorted(l.split()[4] for l in open("/proc/self/mountinfo"))


def sockets():
    return [n for n in os.listdir(service.run) if stat.S_ISSOCK(os.lstat(service.run + "/" + n).st_mode)]


def namespace(pid, kind):
    return os.readlink("/proc/%d/ns/%s" % (pid, kind))


def proc_status(pid):
    return dict(l.rstrip("\n").split(":\t", 1) for l in open("/proc/%d/status" % pid) if ":\t" in l)


def gone(pids):
    return not [p for p in pids if harness.alive(p)]


# -- cases, in this order --------------------------------------------------


def case_quickstart_installs_and_proves():
    os.makedirs(PLACE)
    before["mounts"] = mounts()
    text = quickstart()
    check(re.search(r"detected:\n.*EICAR-Test-File", text) and "quarantined, and gone from" in text, text[-2000:])
    check(systemctl("is-enabled", UNIT) == "enabled", "it would not start with the machine")


def case_systemd_is_told_that_it_runs():
    service.settled()
    told = shown("Type", "ActiveState", "SubState", "StatusText", "NRestarts", "Result", "WatchdogUSec")
    want = {"Type": "notify", "ActiveState": "active", "SubState": "running", "StatusText": "Ready for scan",
            "NRestarts": "0", "Result": "success", "WatchdogUSec": "30s"}
    check(told == want, "%r" % told)
    check(main_pid() == service.pids()["ampmon"], "the main process is not ampmon")


def parent(pid):
    """None: it is gone."""
    try:
        return int(open("/proc/%d/stat" % pid).read().rsplit(")", 1)[1].split()[1])
    except (FileNotFoundError, ProcessLookupError):
        return None


def case_every_room_is_in_its_control_group():
    group = shown("ControlGroup")["ControlGroup"]
    members = sorted(int(l) for l in open("/sys/fs/cgroup%s/cgroup.procs" % group))
    rooms = set(service.rooms().values())
    check(rooms <= set(members), "%r in it, %r run" % (members, service.pids()))
    # What a room forks (ampquard's hands) is the room's; ampmon's children may be gone by now.
    for pid in set(members) - rooms:
        check(parent(pid) in members + [None], "%d in it is nobody's: %r" % (pid, service.pids()))


def case_the_kernel_would_end_the_engine_first():
    """And one process of it ended so is not the service's end."""
    score = {name: int(open("/proc/%d/oom_score_adj" % pid).read()) for name, pid in service.rooms().items()}
    check(score == {name: 500 if name == "ampengine" else -800 for name in score}, "oom_score_adj: %r" % score)
    inner = [int(open("/proc/%d/oom_score_adj" % z).read()) for z in service.engine()[1]]
    check(set(inner) <= {500}, "of zygotes: %r" % inner)
    check(shown("OOMPolicy")["OOMPolicy"] == "continue", "what an end for want of memory does: %r" % shown("OOMPolicy"))


def case_the_mount_namespace_is_the_hosts():
    """Else what an administrator unmounts would stay mounted there."""
    for name, pid in service.rooms().items():
        own = namespace(pid, "mnt") != namespace(1, "mnt")
        check(own == (name in ("ampcloudd", "ampengine")), "%s: %s" % (name, namespace(pid, "mnt")))
    for name, pid in service.rooms().items():
        check(namespace(pid, "net") != namespace(1, "net"), "%s has the host's network" % name)
        check(namespace(pid, "user") == namespace(1, "user"), "%s has a user namespace of its own" % name)


def case_the_walls_stand():
    code, document = service.cli("posture")
    check(code == 0, "posture: status %d" % code)
    wrong = ["%s: %s is %s, not %s" % (p["name"], i["what"], i["actual"], i["expected"]) for p in document["processes"]
             for i in p["items"] if not i["equal"]]
    check(not wrong, "; ".join(wrong))


def case_ampmon_has_what_the_unit_leaves_it():
    status = proc_status(main_pid())
    names = shown("CapabilityBoundingSet")["CapabilityBoundingSet"].split()
    bits = bin(int(status["CapBnd"], 16)).count("1")
    check(0 < len(names) == bits < 20 and status["CapEff"] == status["CapBnd"], "%r, %s" % (names, status["CapBnd"]))
    check(status["NoNewPrivs"] == "1" and status["Seccomp"] == "2", "%r" % status)


def case_the_exposure_is_bounded_and_explained():
    r = harness.run("systemd-analyze", "--no-pager", "security", UNIT, check=False)
    text = r.stdout.decode(errors="replace")
    rows = json.loads(harness.run("systemd-analyze", "--no-pager", "--json=short", "security", UNIT, check=False).stdout)
    version = harness.run("systemctl", "--version").stdout.decode().split(" (", 1)[0]
    document = {"rows": rows, "overall": exposure.overall(text), "version": version}
    with open(os.environ.get("AMP_VM_RESULTS", ".") + "/security.json", "w") as f:
        json.dump(document, f, indent=1)
    check(not exposure.unexplained(rows), "no reason for %s" % ", ".join(exposure.unexplained(rows)))
    check(exposure.overall(text) <= exposure.BOUND, "%.1f: %s" % (exposure.overall(text), text[-300:]))
    check(exposure.current(document), "docs/systemd.md is another one; remedy: tests/vm/exposure.py RESULTS/6.1")


def case_reload_reads_the_policy_again():
    path = harness.write(PLACE + "/before", LISTED)
    time.sleep(2)
    check(os.path.exists(path), "it was taken away before it was listed")
    service.block(LISTED)
    pid = main_pid()
    systemctl("reload", UNIT)
    wait_for("the reload's end", lambda: shown("SubState")["SubState"] == "running")
    service.protects()
    check(main_pid() == pid and restarts() == 0, "it was restarted")


def case_a_broken_configuration_changes_nothing():
    service.set_conf("watch = {}", "watch = {")
    systemctl("reload", UNIT)

    def fault():
        return [f for f in (service.cli("faults")[1] or []) if "onfiguration" in json.dumps(f)]

    wait_for("a fault", fault)
    check(systemctl("is-active", UNIT) == "active", "it is not active")
    service.protects()
    service.set_conf("watch = {", "watch = {}")
    systemctl("reload", UNIT)
    wait_for("the fault's end", lambda: not fault())


def case_a_file_comes_back_as_it_was():
    """Set-uid bit, owner, attributes: no option of the unit is in the way."""
    path = harness.write(PLACE + "/restored", LISTED + b"and comes back\n", 0o640)
    os.chown(path, 1234, 2345)
    os.chmod(path, 0o6755)
    os.setxattr(path, b"user.note", b"kept")
    os.setxattr(path, b"security.capability", bytes.fromhex("0100000200040000000000000000000000000000"))
    was = os.lstat(path)
    service.block(LISTED + b"and comes back\n")
    systemctl("reload", UNIT)
    # What lies there is judged when it is moved, or because it may be running.
    try:
        os.rename(path, path + ".aside")
    except FileNotFoundError:
        pass
    taken = wait_for("it to be taken", lambda: service.entry(path + ".aside") or service.entry(path))
    path = taken["path"]
    code, text = service.cli("quarantine", "restore", taken["id"], "--keep-privileges", json_output=False)
    check(code == 0, "restore: status %d: %s" % (code, text))
    now = os.lstat(path)
    for what in ("st_mode", "st_uid", "st_gid", "st_size", "st_mtime_ns"):
        check(getattr(now, what) == getattr(was, what), "%s: %r, was %r" % (what, getattr(now, what), getattr(was, what)))
    check(os.getxattr(path, b"user.note") == b"kept", "the attribute")
    check(len(os.getxattr(path, b"security.capability")) == 20, "the file's capabilities")
    check(open(path, "rb").read() == LISTED + b"and comes back\n", "the content")


def case_what_runs_is_killed():
    data = harness.program_bytes("systemd")
    program = harness.write(PLACE + "/program", data, 0o755)
    p = subprocess.Popen([program, "300"])
    try:
        service.block(data, "Test.Program")
        systemctl("reload", UNIT)
        second = harness.write(PLACE + "/program2", data, 0o755)
        wait_for("the second to be taken", lambda: not os.path.exists(second))
        check(wait_for("the program's end", lambda: p.poll() is not None) and p.returncode == -signal.SIGKILL,
              "status %r" % p.returncode)
    finally:
        p.kill()
        p.wait()


def case_ampmon_is_started_again():
    old = service.pids()
    os.kill(old["ampmon"], signal.SIGKILL)
    wait_for("all of them to be gone", lambda: gone(old.values()))
    wait_for("a restart", lambda: restarts() == 1 and main_pid() not in (0, old["ampmon"]))
    service.settled()
    service.protects()


def case_every_room_is_started_again():
    pid, count = main_pid(), restarts()
    for role in ROLES:
        old = service.pids()[role]
        os.kill(old, signal.SIGKILL)
        wait_for("%s" % role, lambda: service.pids().get(role) not in (None, old) and gone([old]))
        service.settled()
        service.protects()
    check(main_pid() == pid and restarts() == count, "ampmon was restarted")


def case_a_missed_watchdog_restarts_it():
    drop_in("WatchdogSec=%d\n" % WATCHDOG)
    systemctl("restart", UNIT)
    service.settled()
    old, count = service.pids(), restarts()
    os.kill(old["ampmon"], signal.SIGSTOP)
    wait_for("a restart", lambda: restarts() == count + 1 and main_pid() not in (0, old["ampmon"]), WATCHDOG + 30)
    check(gone(old.values()), "still there: %r" % [n for n, p in old.items() if harness.alive(p)])
    try:
        wait_for("systemd's reason", lambda: "watchdog timeout" in journal().lower())
    except Failed:
        raise Failed("systemd gave another reason: %s" % journal()[-600:])
    drop_in(None)
    service.settled()
    service.protects()


def case_the_watchdog_is_for_ampmon_alone():
    """A heartbeat slower than it, and a room in back-off: ampmon lives, and so do the others."""
    service.set_conf("#heartbeat_interval = 5", "heartbeat_interval = %d" % (2 * WATCHDOG))
    service.set_conf("#heartbeat_timeout = 15", "heartbeat_timeout = %d" % (6 * WATCHDOG))
    program = service.bin + "/ampcloudd"
    drop_in("WatchdogSec=%d\n" % WATCHDOG)
    try:
        systemctl("restart", UNIT)
        service.settled()
        count, old = restarts(), service.pids()
        pid = old["ampmon"]
        os.rename(program, program + ".aside")
        shutil.copy("/bin/false", program)
        os.kill(old["ampcloudd"], signal.SIGKILL)
        time.sleep(2.5 * WATCHDOG)
        # It is tried again now and then, and ends at once.
        wait_for("ampcloudd to be away", lambda: "ampcloudd" not in service.pids())
        check(main_pid() == pid and restarts() == count, "it was restarted: %s" % journal()[-600:])
        check("ampscand" in service.pids(), "ampscand is not there")
    finally:
        if os.path.exists(program + ".aside"):
            os.rename(program + ".aside", program)
        service.set_conf("heartbeat_interval = %d" % (2 * WATCHDOG), "#heartbeat_interval = 5")
        service.set_conf("heartbeat_timeout = %d" % (6 * WATCHDOG), "#heartbeat_timeout = 15")
        drop_in(None)
    systemctl("restart", UNIT)
    service.settled()


def case_it_logs_to_its_files():
    check("the suite runs" in service.log_text(), "ampmon.log: %r" % service.log_text()[-300:])
    missing = [r for r in ROLES if not os.path.exists("%s/%s.log" % (service.log, r))]
    check(not missing, "no log of %s" % ", ".join(missing))
    for name in os.listdir(service.log):
        st = os.stat(service.log + "/" + name)
        check(st.st_uid == 0 and st.st_mode & 0o077 & ~0o040 == 0, "%s: uid %d, mode %o" % (name, st.st_uid, st.st_mode))
    kinds = {e["event"]["action"] for e in service.events_json()}
    check({"threat_detected", "threat_quarantined", "threat_restored"} <= kinds, "events.json: %r" % kinds)


def case_stop_leaves_nothing():
    old, group = service.pids(), shown("ControlGroup")["ControlGroup"]
    begin = time.monotonic()
    systemctl("stop", UNIT)
    check(time.monotonic() - begin < 15 * harness.SLOW, "it took %.0f s" % (time.monotonic() - begin))
    told = shown("ActiveState", "Result", "ExecMainStatus")
    check(told == {"ActiveState": "inactive", "Result": "success", "ExecMainStatus": "0"}, "%r" % told)
    check(gone(old.values()) and not service.pids(), "processes: %r" % service.pids())
    wait_for("the end of its control group", lambda: not os.path.exists("/sys/fs/cgroup" + group))
    check(not sockets() and not service.pidfile(), "%s has %r" % (service.run, os.listdir(service.run)))
    code, text = service.cli("status", json_output=False)
    check(code != 0 and "not running" in text, "status: %d, %s" % (code, text))
    check(mounts() == before["mounts"], "mounts: %r" % sorted(set(mounts()) ^ set(before["mounts"])))


def case_what_came_meanwhile_is_found():
    path = harness.write(PLACE + "/meanwhile", LISTED)
    time.sleep(1)
    check(os.path.exists(path), "who took it away?")
    systemctl("start", UNIT)
    service.settled()
    wait_for("it to be in quarantine", lambda: service.entry(path))


def case_quickstart_again_is_an_update():
    pid = main_pid()
    text = quickstart()
    check("is kept" in text and "quarantined, and gone from" in text, text[-2000:])
    service.settled()
    check(main_pid() != pid, "it was not restarted")


def case_a_start_after_a_stop_at_any_moment():
    """Stopped while it starts: neither systemd nor the next start minds."""
    for pause in (0.0, 0.3, 1.0):
        systemctl("restart", "--no-block", UNIT)
        time.sleep(pause)
        systemctl("stop", UNIT)
        told = shown("ActiveState", "Result")
        check(told == {"ActiveState": "inactive", "Result": "success"}, "after %.1f s: %r" % (pause, told))
        check(not service.pids(), "after %.1f s: %r" % (pause, service.pids()))
    systemctl("start", UNIT)
    service.settled()
    service.protects()


def case_uninstall_takes_the_unit_away():
    old = service.pids()
    quickstart("--uninstall")
    check(gone(old.values()), "it runs")
    check("not-found" in shown("LoadState").values(), "%r" % shown("LoadState"))
    check(not os.path.exists("/etc/systemd/system/%s.service" % UNIT) and not os.path.exists(service.run), "files are left")
    failed = systemctl("--failed", "--no-legend", "list-units")
    check(not failed, "failed units: %s" % failed)


# -- running ---------------------------------------------------------------


def inside(only):
    cases = [(n[5:], f) for n, f in globals().items() if n.startswith("case_") and callable(f)]
    failed = 0
    for name, function in cases:
        if only and name != "quickstart_installs_and_proves" and not any(o in name for o in only):
            continue
        begin = time.monotonic()
        try:
            function()
            print("ok %s (%.1f s)" % (name, time.monotonic() - begin), flush=True)
        except BaseException as e:
            failed += 1
            why = str(e) if isinstance(e, Failed) else traceback.format_exc()
            print("not ok %s: %s" % (name, why.replace("\n", " | ")), flush=True)
    if failed:
        harness.run("cp", "-r", service.log, os.environ.get("AMP_VM_RESULTS", "/tmp") + "/log", check=False)
        with open(os.environ.get("AMP_VM_RESULTS", "/tmp") + "/journal", "w") as f:
            f.write(harness.run("journalctl", "--no-pager", "-b", check=False).stdout.decode(errors="replace"))
    return 1 if failed else 0


def outside(o):
    with tempfile.TemporaryDirectory(prefix="amp-tree-") as tree:
        r = harness.run("make", "-C", harness.BUILD, "install", "DESTDIR=" + tree, check=False)
        if r.returncode != 0 or not os.path.exists(tree + PREFIX + "/bin/ampmon"):
            sys.exit("tests/vm/systemd.py: %s cannot be installed below %s: %s" %
                     (harness.BUILD, PREFIX, r.stdout.decode(errors="replace")[-1000:]))
        os.chmod(tree, 0o755)
        os.environ["AMP_TREE"] = "/host" + tree
        command = ["/usr/bin/python3", "/host" + os.path.abspath(__file__), "--inside"] + o.only
        return kernels.outside(o, command, "--systemd", "--timeout", str(LIMIT))


def main():
    p = argparse.ArgumentParser(prog="tests/vm/systemd.py", description="The service in a Debian under systemd.")
    p.add_argument("--kernel", action="append", choices=kernels.KERNELS, help="only that series; repeatable")
    p.add_argument("--results", metavar="DIR", help="keep logs and what systemd-analyze says, a directory for each kernel")
    p.add_argument("--one-at-a-time", action="store_true", help="not all kernels at once")
    p.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    p.add_argument("only", nargs="*", metavar="CASE", help="a part of a case's name")
    o = p.parse_args()
    return inside(o.only) if o.inside else outside(o)


if __name__ == "__main__":
    sys.exit(main())
