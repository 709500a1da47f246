"""What runs a convicted file is killed, all of it and nothing else (issue point 3)."""

import os
import signal
import subprocess
import time

import harness
from harness import alive, check, wait_for, write

# argv[1]: "fork", "daemon" (double fork), "exec PROGRAM" or "plain"; sleeps for ever.
PROGRAM = r"""
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/wait.h>
#include <signal.h>
static void note(const char *file, const char *tag)
{
	FILE *f = fopen(file, "a");
	fprintf(f, "%s %d\n", tag, (int)getpid());
	fclose(f);
}
int main(int argc, char **argv)
{
	const char *mode = argc > 1 ? argv[1] : "plain", *file = argc > 2 ? argv[2] : "/dev/null";
	signal(SIGCHLD, SIG_IGN);
	note(file, "main");
	if (strcmp(mode, "fork") == 0)
		for (int i = 0; i < 5; i++)
			if (fork() == 0) { note(file, "child"); for (;;) pause(); }
	if (strcmp(mode, "daemon") == 0) {
		if (fork() == 0) {
			setsid();
			if (fork() == 0) { note(file, "daemon"); for (;;) pause(); }
			_exit(0);
		}
	}
	if (strcmp(mode, "exec") == 0 && fork() == 0) {
		note(file, "other");
		execl("/bin/sleep", "sleep", "301", (char *)0);
	}
	for (;;) pause();
}
"""


def setup(base):
    global suite, w, program, innocent, notes
    w = harness.mount_tmpfs(base + "/w", "mode=1777,exec")
    e = harness.mount_ext4(base + "/e", base + "/e.img", 128)
    os.makedirs(e + "/layers")
    global merged, layers, ext4
    ext4 = e
    layers = e + "/layers"
    merged = harness.mount_overlay(base + "/merged", layers)
    notes = base + "/notes"
    harness.compile_c(PROGRAM, base + "/program", "-static")
    program = open(base + "/program", "rb").read()
    # Before Linux 6.5 what is executed through an overlay is seen there only, by descriptor.
    suite = harness.Suite(base, [w, e, merged])
    for tag in ("one", "fork", "daemon", "exec", "overlay", "beside", "many"):
        suite.block(listed(tag), "Test.Kill." + tag)
    for tag in ("sh", "env", "gone", "late", "parked", "short"):
        suite.block(script(tag), "Test.Script." + tag)
    suite.block(BROKEN, "Test.Broken")
    # What lay there before the first start is judged when it is executed; what is written later
    # is taken away as soon as it is closed, and nobody could execute it.
    for tag in ("one", "fork", "daemon", "exec", "beside", "many"):
        write("%s/%s" % (w, tag), listed(tag), 0o755)
    write(merged + "/overlay", listed("overlay"), 0o755)
    for path, content in ((w + "/broken", BROKEN), (w + "/gone", script("gone")), (w + "/script-sh", script("sh")),
                          (w + "/script-env", script("env"))):
        write(path, content, 0o755)
    harness.let_age()
    suite.start()


def teardown():
    suite.cleanup()


def listed(tag):
    return program + b"\0" + tag.encode()


BROKEN = b"\x00\x01 no program at all, but listed\n"


def script(tag):
    line = {"env": b"#!/usr/bin/env python3", "gone": b"#!/no/such/interpreter"}.get(tag, b"#!/bin/sh")
    body = {"sh": b"while :; do sleep 1; done", "env": b"import time\nwhile True: time.sleep(1)", "gone": b"true",
            "late": b"while :; do sleep 2; done", "parked": b"while :; do sleep 3; done", "short": b"read line"}[tag]
    return line + b"\n" + body + b"\n"


def launch(path, mode="plain"):
    if os.path.exists(notes):
        os.unlink(notes)
    return subprocess.Popen([path, mode, notes])


def noted(tag):
    try:
        return [int(l.split()[1]) for l in open(notes) if l.split()[0] == tag]
    except OSError:
        return []


def killed(p):
    """The program may run for a moment (Passive), then it is killed."""
    wait_for("the kill", lambda: p.poll() is not None, pause=0.002)
    check(p.returncode == -signal.SIGKILL, "ended with %r" % p.returncode)


def kill_rows(path):
    return [r for r in suite.history("process_killed") if r["path"] == path]


def case_a_program_is_killed_and_recorded():
    path = w + "/one"
    p = launch(path)
    killed(p)
    rows = wait_for("the record", lambda: kill_rows(path))
    check(len(rows) == 1 and rows[0]["process"]["pid"] == p.pid, "rows: %r" % rows)
    found = wait_for("its detection", lambda: [r for r in suite.detections(path) if r["cause"] == "exec"])
    check(rows[0]["detection_id"] in [r["detection_id"] for r in suite.detections(path)], "not joined: %r" % rows)
    check(found[0]["process"]["pid"] == p.pid, "process: %r" % found)


def case_every_process_of_the_file_dies():
    for tag, child in (("fork", "child"), ("daemon", "daemon")):
        path = "%s/%s" % (w, tag)
        p = launch(path, tag)
        killed(p)
        wait_for("the %s" % child, lambda: not [x for x in noted(child) if alive(x)])
        check(not [x for x in noted("main") if alive(x)], "main lives")


def case_a_child_that_executed_something_else_lives():
    path = w + "/exec"
    p = launch(path, "exec")
    killed(p)
    time.sleep(1)
    other = noted("other")
    for pid in other:
        if alive(pid) and os.readlink("/proc/%d/exe" % pid).endswith("sleep"):
            os.kill(pid, signal.SIGKILL)
        else:
            # It was killed only if it had not yet executed the other program.
            check("sleep" not in str([r["process"] for r in kill_rows(path)]), "killed after its exec")


def case_innocents_live():
    clean = write(w + "/clean", program + b"\0clean", 0o755)
    beside = subprocess.Popen([clean, "plain", "/dev/null"])
    copy = w + "/beside"
    p = launch(copy)
    killed(p)
    time.sleep(1)
    check(beside.poll() is None, "an innocent program was killed")
    beside.kill()
    beside.wait()


def case_started_before_the_verdict():
    """It runs already when its hash gets on the list."""
    path = write(w + "/late", program + b"\0listed later", 0o755)
    first = subprocess.Popen([path, "plain", "/dev/null"])
    second = subprocess.Popen([path, "plain", "/dev/null"])
    suite.wait_idle()
    check(first.poll() is None and second.poll() is None, "killed without a reason")
    suite.block(program + b"\0listed later", "Test.Later")
    suite.reload()
    killed(first)
    killed(second)


def case_from_an_overlay():
    path = merged + "/overlay"
    # The layer's inode knows nothing of who executes through the overlay: before that has begun it may be emptied.
    with suite.nothing_is_read():
        p = launch(path, "fork")
    killed(p)
    wait_for("its children", lambda: not [x for x in noted("child") if alive(x)])
    names = (layers + "/upper/overlay", path)
    rows = wait_for("the record", lambda: [r for name in names for r in kill_rows(name)])
    check(p.pid in [r["process"]["pid"] for r in rows], "rows: %r" % rows)


def case_a_caller_whose_exec_failed_lives():
    for name in ("broken", "gone"):
        path = "%s/%s" % (w, name)
        code = "import os,sys,time\ntry:\n os.execv(sys.argv[1],[sys.argv[1]])\nexcept OSError: pass\ntime.sleep(300)"
        p = subprocess.Popen(["/usr/bin/python3", "-c", code, path])
        wait_for("the exec's detection", lambda: [r for r in suite.detections(path) if r["cause"] == "exec"])
        time.sleep(2)
        check(p.poll() is None, "the caller of %s was killed" % name)
        p.kill()
        p.wait()


def case_scripts():
    for name in ("sh", "env"):
        path = "%s/script-%s" % (w, name)
        shell = subprocess.Popen(["/bin/sh", "-c", "while :; do sleep 1; done"])
        p = subprocess.Popen([path])
        killed(p)
        time.sleep(0.5)
        check(shell.poll() is None, "another shell was killed")
        shell.kill()
        shell.wait()
        rows = wait_for("the record", lambda: kill_rows(path))
        check([r["process"]["pid"] for r in rows] == [p.pid], "rows: %r" % rows)


def with_pid(pid, argv):
    """argv as a process with a pid that is free."""
    for _ in range(100):
        with open("/proc/sys/kernel/ns_last_pid", "w") as f:
            f.write(str(pid - 1))
        p = subprocess.Popen(argv, stdin=subprocess.PIPE)
        if p.pid == pid:
            return p
        p.kill()
        p.wait()
    raise harness.Skip("pid %d could not be had again" % pid)


def case_who_has_the_pid_of_a_script_that_ended_lives():
    if not os.path.exists("/proc/sys/kernel/ns_last_pid"):
        raise harness.Skip("no ns_last_pid in this kernel")
    path = ext4 + "/script-short"
    with suite.nothing_is_read():
        p = subprocess.Popen([write(path, script("short"), 0o755)], stdin=subprocess.PIPE)
        suite.wait_events_read()  # while it lives: when it did is known
        # Start times are told in ticks. No pid is had again within one, but by the file that with_pid() writes to.
        time.sleep(2 / os.sysconf("SC_CLK_TCK"))
        p.communicate(b"\n")
        check(p.returncode == 0, "the script ended with %r" % p.returncode)
        shell = with_pid(p.pid, ["/bin/sh", "-c", "read x"])
        time.sleep(1.5)
    try:
        suite.wait_detected(path)
        time.sleep(4)  # a kill is asked again for 3 s
        check(shell.poll() is None, "the shell that has its pid ended with %r" % shell.poll())
        execs = [r for r in suite.detections(path) if r["cause"] == "exec"]
        check(execs and execs[0]["process"]["pid"] == p.pid, "the event was of another: %r" % suite.detections(path))
        check(not kill_rows(path), "rows: %r" % kill_rows(path))
        later = "process %d is a later one of that pid" % p.pid
        wait_for("it in the log", lambda: later in suite.log_text())
        check(suite.log_text().count(later) == 1, "said once: " + suite.log_text())
    finally:
        shell.kill()
        shell.wait()


def case_the_interpreter_dies_when_the_verdict_comes_late():
    for tag in ("late", "parked"):
        path = "%s/script-%s" % (ext4, tag)
        with suite.nothing_is_read():
            p = subprocess.Popen([write(path, script(tag), 0o755)])
            suite.wait_events_read()
            time.sleep(2.5)  # it is parked after one
            check(p.poll() is None, "ended with %r, unread" % p.poll())
            if tag == "parked":  # its successor has nothing but what was written down
                os.kill(suite.pids()["ampscand"], signal.SIGKILL)
        killed(p)
        rows = wait_for("the record", lambda: kill_rows(path))
        check([r["process"]["pid"] for r in rows] == [p.pid], "rows: %r" % rows)


def case_many_at_once():
    path = w + "/many"
    ps = []
    for _ in range(40):
        try:
            ps.append(subprocess.Popen([path, "plain", "/dev/null"]))
        except OSError:
            pass
    for p in ps:
        killed(p)


harness.main(globals())
