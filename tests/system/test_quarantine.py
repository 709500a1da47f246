"""Under Protect every listed file ends harmless and in the vault, once.

Issue "Quarantine", point 1: by every way a file can arrive, on tmpfs, ext4
(loop) and overlay; what is left of it leads nowhere, the vault has its content
under one entry, and history joins detection and outcome by detection_id. A
container that reads through an overlay no longer gets the content.
"""

import ctypes
import json
import mmap
import os
import shutil
import subprocess
import tarfile

import harness
import still
from harness import check, run, wait_for, write

libc = ctypes.CDLL(None, use_errno=True)
AT_FDCWD, AT_SYMLINK_FOLLOW = -100, 0x400
OUTCOMES = ("threat_quarantined", "threat_neutralised")
serial = 0


def setup(base):
    global suite, where, outside, base_dir
    base_dir = base
    tmpfs = harness.mount_tmpfs(base + "/w-tmpfs")
    ext4 = harness.mount_ext4(base + "/w-ext4", base + "/ext4.img")
    outside = harness.mount_tmpfs(base + "/elsewhere")
    os.makedirs(ext4 + "/layers")
    overlay = harness.mount_overlay(base + "/merged", ext4 + "/layers")
    where = {"tmpfs": (tmpfs, tmpfs), "ext4": (ext4, ext4), "overlay": (overlay, ext4 + "/layers/upper")}
    suite = harness.Suite(base, [tmpfs, ext4], mode="protect")
    for kind in where:
        for way in WAYS:
            suite.block(content(kind, way), "Test.%s.%s" % (kind, way))
    suite.start()


def teardown():
    suite.cleanup()


def content(kind, way):
    """Of each case its own, so that what became of it can be told by its hash."""
    return ("listed content of the quarantine test: %s by %s\n" % (kind, way)).encode() * 40


def entries():
    return suite.cli("quarantine", "list")[1] or []


def entries_of(data):
    return [e for e in entries() if e["sha256"] == harness.sha256(data)]


def wait_taken(data, files=1):
    """Entries of so many files at least, and all are in the vault."""
    def taken():
        rows = entries_of(data)
        return rows if len(rows) >= files and all(e["state"] == "quarantined" for e in rows) else None

    return wait_for("%d entries of %s" % (files, harness.sha256(data)[:8]), taken)


def holders(top, data):
    """Files below top that still have the content."""
    found = []
    for d, _, names in os.walk(top):
        for n in names:
            try:
                with open(os.path.join(d, n), "rb") as f:
                    if f.read() == data:
                        found.append(os.path.join(d, n))
            except OSError:
                pass
    return found


def left_over(top):
    return [d for d, _, _ in os.walk(top) if os.path.basename(d).startswith(".amp-quarantine-")]


def joined(data):
    """Every detection of the content has one outcome."""
    sha = harness.sha256(data)
    rows = [r for r in suite.history() if r["sha256"] == sha]
    detected = {r["detection_id"] for r in rows if r["type"] == "threat_detected"}
    outcome = [r["detection_id"] for r in rows if r["type"] in OUTCOMES]
    return rows, detected, outcome


def expect_harmless(kind, way, data):
    dir, seen = where[kind]
    rows = wait_taken(data)
    check(len(rows) == 1, "entries: %r" % rows)
    check(rows[0]["size"] == len(data), "size: %r" % rows[0])
    check(rows[0]["detection"] == "Test.%s.%s" % (kind, way), "detection: %r" % rows[0])
    suite.wait_idle()
    for top in {dir, seen}:
        check(not holders(top, data), "still there: %r" % holders(top, data))
        wait_for("the end of what is private below %s" % top, lambda: not left_over(top))

    def all_joined():
        found, detected, outcome = joined(data)
        return found if detected and detected <= set(outcome) else None

    rows = wait_for("an outcome of every detection", all_joined)
    found, detected, outcome = joined(data)
    check(len(outcome) == len(set(outcome)), "outcome twice: %r" % outcome)
    quarantined = [r for r in found if r["type"] == "threat_quarantined"]
    check(len(quarantined) == 1, "quarantined: %r" % quarantined)
    check(quarantined[0]["detection_id"] in detected, "not joined: %r" % found)
    vault = os.listdir(suite.etc + "/quarantine")
    check(entries_of(data)[0]["id"] + ".q" in vault, "vault: %r" % vault)


def everywhere(function):
    def case():
        for kind, (dir, seen) in where.items():
            way = function.__name__[3:]
            sub = "%s/%s" % (dir, way)
            os.makedirs(sub)
            data = content(kind, way)
            try:
                function(sub, data)
                expect_harmless(kind, way, data)
            except harness.Failed as e:
                raise harness.Failed("%s: %s" % (kind, e))

    return case


def by_write(d, data):
    write(d + "/written", data)


def by_copy(d, data):
    write(outside + "/source", data)
    run("cp", outside + "/source", d + "/copied")


def by_move_from_another(d, data):
    write(outside + "/mover", data)
    run("mv", outside + "/mover", d + "/moved-in")


def by_move_within(d, data):
    write(d + "/first", data)
    try:
        os.rename(d + "/first", d + "/second")
    except OSError:
        pass  # it was taken before


def by_rename_over(d, data):
    write(d + "/good", b"good")
    write(d + "/new", data)
    try:
        os.rename(d + "/new", d + "/good")
    except OSError:
        pass


def by_directory_move(d, data):
    os.makedirs(outside + "/tree/deep/er", exist_ok=True)
    write(outside + "/tree/deep/er/file", data)
    run("mv", outside + "/tree", d + "/grown")


def by_hard_links(d, data):
    """All names of one file, each an event of its own or none."""
    fd = harness.tmpfile(d)
    os.write(fd, data)
    with still.stopped(suite.pids()["ampscand"]):  # once it has lost a first name it gets no second one
        for n in ("one", "two", "three"):
            check(libc.linkat(AT_FDCWD, b"/proc/self/fd/%d" % fd, AT_FDCWD, os.fsencode(d + "/" + n),
                              AT_SYMLINK_FOLLOW) == 0, "linkat: %s" % os.strerror(ctypes.get_errno()))
        os.close(fd)


def by_tmpfile_linked_after_close(d, data):
    fd = harness.tmpfile(d)
    os.write(fd, data)
    keep = os.open("/proc/self/fd/%d" % fd, os.O_RDONLY)
    os.close(fd)
    libc.linkat(AT_FDCWD, b"/proc/self/fd/%d" % keep, AT_FDCWD, os.fsencode(d + "/linked"), AT_SYMLINK_FOLLOW)
    os.close(keep)


def by_mmap(d, data):
    fd = os.open(d + "/mapped", os.O_RDWR | os.O_CREAT, 0o644)
    os.ftruncate(fd, len(data))
    m = mmap.mmap(fd, len(data))
    os.close(fd)
    m[:] = data
    m.close()


def by_tar(d, data):
    write(outside + "/packed", data)
    with tarfile.open(outside + "/a.tar", "w") as t:
        t.add(outside + "/packed", "packed")
    run("tar", "-xf", outside + "/a.tar", "-C", d)


def by_writer_in_namespaces(d, data):
    os.chmod(d, 0o777)
    os.makedirs(d + "/own")
    os.chmod(d + "/own", 0o777)
    os.makedirs(outside + "/mask", exist_ok=True)
    write(outside + "/for-all", data)
    script = "mount --bind %s/own %s/mask && cp %s/for-all %s/mask/hidden" % (d, outside, outside, outside)
    r = subprocess.run(["unshare", "-Urm", "sh", "-c", script], user=harness.USERS["amp-tester"],
                       stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    check(r.returncode == 0, r.stdout.decode())


WAYS = [n[3:] for n in list(globals()) if n.startswith("by_")]
for _name, _f in list(globals().items()):
    if _name.startswith("by_"):
        globals()["case_" + _name] = everywhere(_f)


def listed(data, name):
    suite.block(data, name)
    suite.reload()
    wait_for("the list in force", lambda: harness.sha256(data) in json.dumps(suite.cli("policy", "lists")[1]))
    return data


def case_program_that_runs_is_killed_and_taken():
    for kind, (dir, seen) in where.items():
        data = harness.program_bytes("run-" + kind)
        path = write("%s/program" % dir, data, 0o755)
        p = subprocess.Popen([path, "300"])
        listed(data, "Test.Program")
        check(wait_for("its death", lambda: p.poll() is not None or None), "lives")
        check(p.returncode == -9, "status %d" % p.returncode)
        wait_taken(data)
        check(not holders(dir, data) and not holders(seen, data), "still there")
        for row in ("threat_detected", "process_killed", "threat_quarantined"):
            wait_for("%s on %s" % (row, kind),
                     lambda: [r for r in suite.history(row) if r["sha256"] == harness.sha256(data)])


def case_container_no_longer_reads_it():
    """Written on the host into a layer, read through the overlay: empty or gone there too."""
    merged, upper = where["overlay"]
    data = listed(b"in a layer of an overlay\n" * 30, "Test.Layer")
    write(outside + "/layered", data)
    fd = None
    for files, name in enumerate(("open-before", "by-name"), 1):
        run("cp", outside + "/layered", "%s/%s" % (upper, name))
        try:
            fd = os.open("%s/%s" % (merged, name), os.O_RDONLY)
        except OSError:
            pass
        wait_taken(data, files)
    suite.wait_idle()
    if fd is not None:
        check(os.pread(fd, 4096, 0) == b"", "an open descriptor still reads it")
        os.close(fd)
    check(not holders(merged, data), "still read by name: %r" % holders(merged, data))


def case_lower_layer_is_emptied():
    """A lower layer that two containers share."""
    top = where["ext4"][0] + "/shared"
    for d in ("lower", "u1", "w1", "u2", "w2"):
        os.makedirs("%s/%s" % (top, d))
    data = b"shared by two containers\n" * 20
    write(top + "/lower/evil", data)
    for n in ("1", "2"):
        os.makedirs(base_dir + "/c" + n)
        run("mount", "-t", "overlay", "-o", "lowerdir=%s/lower,upperdir=%s/u%s,workdir=%s/w%s" % (top, top, n, top, n),
            "overlay", base_dir + "/c" + n)
        check(open(base_dir + "/c%s/evil" % n, "rb").read() == data, "not readable at first")
    listed(data, "Test.Shared")
    os.rename(top + "/lower/evil", top + "/lower/evil2")  # an event of the host
    wait_taken(data)
    suite.wait_idle()
    for n in ("1", "2"):
        check(not holders(base_dir + "/c" + n, data), "container %s reads it" % n)
        run("umount", base_dir + "/c" + n)


def case_same_content_in_two_files_is_two_entries():
    d = where["ext4"][0]
    data = listed(b"twice on the disk\n" * 9, "Test.Twice")
    write(d + "/twice-1", data)
    write(d + "/twice-2", data)
    check(len(wait_taken(data, 2)) == 2, "entries: %r" % entries_of(data))


def case_under_audit_nothing_is_taken_and_later_neither():
    d = where["ext4"][0]
    code, doc = suite.cli("policy", "use", "audit")
    check(code == 0, "policy use audit: %r" % doc)
    data = listed(harness.program_bytes("found under audit"), "Test.Audit")
    path = write(d + "/audited", data, 0o755)
    p = subprocess.Popen([path, "300"])
    suite.wait_detected(path)
    suite.wait_idle()
    check(os.path.exists(path) and not entries_of(data), "taken under Audit")
    code, doc = suite.cli("policy", "use", "protect")
    check(code == 0, "policy use protect: %r" % doc)
    check(wait_for("its death", lambda: p.poll() is not None or None), "lives")
    suite.wait_idle()
    check(os.path.exists(path) and not entries_of(data), "moved by a change of the policy")
    # What is found under Protect is taken: also this file, when it is executed again.
    subprocess.run([path, "0"], check=False)
    wait_taken(data)
    check(not os.path.exists(path), "executed under Protect and left")


def case_json_has_its_fields():
    e = entries()[0]
    for field in ("id", "detection_id", "time", "path", "sha256", "detection", "size", "state"):
        check(field in e, "%s is missing: %r" % (field, e))
    code, one = suite.cli("quarantine", "show", e["id"])
    check(code == 0 and one["id"] == e["id"], "show: %r" % one)
    code, text = suite.cli("quarantine", "list", json_output=False)
    check(code == 0 and e["id"] in text, text)


def case_vault_is_private_and_sealed():
    vault = suite.etc + "/quarantine"
    st = os.stat(vault)
    check(st.st_uid == harness.USERS["amp-quard"] and st.st_mode & 0o777 == 0o700, "mode %o" % st.st_mode)
    for n in os.listdir(vault):
        s = os.lstat(vault + "/" + n)
        check(s.st_mode & 0o177 == 0 and s.st_uid == harness.USERS["amp-quard"], "%s: %o" % (n, s.st_mode))
        if n.endswith(".q"):
            check(b"listed content" not in open(vault + "/" + n, "rb").read(), "%s is not sealed" % n)


def case_group_may_look_and_only_root_may_change():
    e = entries()[0]
    # Nobody of the group: the socket itself refuses.
    code, _ = suite.cli("quarantine", "list", user=harness.USERS["amp-tester"])
    check(code == 4, "a stranger got %d" % code)


def case_events_json_has_a_line_for_every_event():
    def complete():
        lines = suite.events_json()
        ids = [l["event"]["id"] for l in lines]
        rows = [r["id"] for r in suite.history()]
        return lines if set(rows) <= set(ids) else None

    lines = wait_for("all events in events.json", complete)
    ids = [l["event"]["id"] for l in lines]
    check(len(ids) == len(set(ids)), "an event twice")
    q = [l for l in lines if l["event"]["action"] == "threat_quarantined"][0]
    check(q["file"]["path"] and q["file"]["hash"]["sha256"] and q["ecs"]["version"] and q["@timestamp"], "%r" % q)
    st = os.stat(suite.log + "/events.json")
    check(st.st_mode & 0o777 == 0o600, "mode %o" % st.st_mode)


harness.main(globals())
