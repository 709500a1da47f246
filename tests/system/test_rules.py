"""Lists and exclusions: each kind, hits, bad entries, abuse (issue point 4)."""

import contextlib
import os
import subprocess
import time

import harness
from harness import check, wait_for, write

BAD = b"a listed file of the rules test\n"
ALLOWED = b"listed, but allowed as well\n"
COPIER = None


def setup(base):
    global suite, w, trusted, base_dir
    base_dir = base
    w = harness.mount_tmpfs(base + "/w")
    os.chmod(base, 0o755)
    trusted = base + "/trusted"
    os.makedirs(trusted)
    harness.run("cp", "/bin/cp", trusted + "/cp")
    harness.run("cp", "/bin/dash", trusted + "/writer")
    os.makedirs(w + "/excluded/deep")
    os.makedirs(w + "/wild/a/cache")
    os.chmod(w + "/wild/a/cache", 0o777)
    write(base + "/bad", BAD)
    os.chmod(base + "/bad", 0o644)
    suite = harness.Suite(base, [w])
    suite.lists["blocked.list"] = [
        "%s Test.Bad" % harness.sha256(BAD),
        "this line is no hash",
        "%s Test.Allowed" % harness.sha256(ALLOWED),
        "0123 short",
    ]
    suite.lists["allowed.list"] = [harness.sha256(ALLOWED)]
    suite.lists["exclusions.list"] = [
        "path %s/excluded" % w,
        "wildcard %s/wild/*/cache/*.tmp" % w,
        "nonsense /somewhere",
        "extension skipme",
        "process %s/writer" % trusted,
        "process %s/cp" % trusted,
        "path relative/path",
    ]
    suite.configure()
    suite.start()


def teardown():
    suite.cleanup()


def exclusion(kind):
    code, rows = suite.asked("exclusions")
    check(code == 0, "exclusions: exit %d" % code)
    return [r for r in rows if r["kind"] == kind]


def not_detected(path):
    suite.wait_idle()
    check(not suite.detections(path), "%s was detected" % path)


def hit(kind):
    check(sum(r["hits"] for r in exclusion(kind)) > 0, "no hit of %s" % kind)


def case_path():
    not_detected(write(w + "/excluded/deep/file", BAD))
    hit("path")
    suite.wait_detected(write(w + "/excluded-not", BAD))


def case_wildcard():
    not_detected(write(w + "/wild/a/cache/x.tmp", BAD))
    hit("wildcard")
    os.makedirs(w + "/wild/a/cache/deeper")
    suite.wait_detected(write(w + "/wild/a/cache/deeper/x.tmp", BAD))


def case_extension():
    not_detected(write(w + "/file.skipme", BAD))
    hit("extension")
    suite.wait_detected(write(w + "/skipme", BAD))


# The shell itself writes (a built-in), and lives on until it is let go: of a process that has gone when its
# event is read nothing is known, and what is not known is never excluded.
WRITE = """while IFS= read -r l; do printf '%s\\n' "$l"; done <"$1" >"$2"; echo written; read -r l; :"""


@contextlib.contextmanager
def lives_on(argv, **kw):
    """What runs WRITE has written, and waits."""
    p = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **kw)
    try:
        said = p.stdout.readline()
        check(said == b"written\n", "%r, exit %r" % (said, p.poll()))
        yield
        said = p.communicate()[0]
        check(p.returncode == 0, "exit %d: %r" % (p.returncode, said))
    finally:
        p.kill()
        p.wait()


def by_shell(shell, target):
    return lives_on([shell, "-c", WRITE, "sh", base_dir + "/bad", target])


def case_process():
    with by_shell(trusted + "/writer", w + "/by-process"):
        not_detected(w + "/by-process")
    hit("process")
    with by_shell("/bin/dash", w + "/by-other"):
        suite.wait_detected(w + "/by-other")


def case_process_exclusion_cannot_be_borrowed():
    """A user binds a program of his own over the excluded one, in his namespaces: its link says
    the excluded path, its inode does not."""
    os.makedirs(w + "/user")
    os.chmod(w + "/user", 0o777)
    own = w + "/user/own-shell"
    harness.run("cp", "/bin/dash", own)
    os.chmod(own, 0o755)
    script = "mount --bind %s %s/writer && exec %s/writer -c '%s' sh %s/bad %s/user/borrowed" % (
        own, trusted, trusted, WRITE.replace("'", "'\\''"), base_dir, w)
    with lives_on(["unshare", "-Urm", "sh", "-c", script], user=harness.USERS["amp-tester"]):
        rows = suite.wait_detected(w + "/user/borrowed")
    check(len(rows) == 1, "rows: %r" % rows)
    check(rows[0]["process"].get("exe") == trusted + "/writer", "it did not look excluded: %r" % rows[0]["process"])


def case_process_exclusion_of_a_program_others_can_change():
    """The program becomes writable for others: it excludes nothing any more, and says so."""
    os.chmod(trusted + "/writer", 0o777)
    time.sleep(1.5)  # it is looked at again when a second has passed since the last time
    with by_shell(trusted + "/writer", w + "/by-unsafe"):
        suite.wait_detected(w + "/by-unsafe")
    check([r for r in exclusion("process") if r["text"].endswith("writer")][0]["warning"], "no warning")
    os.chmod(trusted + "/writer", 0o755)


def case_allowed_wins():
    not_detected(write(w + "/allowed", ALLOWED))


def case_bad_entries_are_named_and_the_others_hold():
    code, doc = suite.asked("policy")
    text = str(doc)
    for line in ("blocked.list:2", "blocked.list:4", "exclusions.list:3", "exclusions.list:7"):
        check(line in text, "%s is not reported: %s" % (line, text))
    wait_for("the fault", lambda: suite.fault(9))
    suite.wait_detected(write(w + "/still", BAD))


def case_a_changed_list_is_in_force_after_reload():
    data = b"not listed at first\n"
    not_detected(write(w + "/first", data))
    suite.block(data, "Test.Reload")
    suite.reload()
    wait_for("the list", lambda: suite.detections(write(w + "/second", data)), 60, 1)


harness.main(globals())
