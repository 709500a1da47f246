"""What the suite says of the kernel it runs on: posture, and how each kind of file system is watched.

Owns: a suite beside a tmpfs, an ext4 and two overlays; the document that
kernels.py makes a table of. Must not own: what it means. Runs in a guest.
"""

import json
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "system"))
sys.dont_write_bytecode = True

import harness  # noqa: E402
from harness import check  # noqa: E402


def setup(base):
    global suite, places
    tmpfs = harness.mount_tmpfs(base + "/tmpfs")
    ext4 = harness.mount_ext4(base + "/ext4", base + "/ext4.img", 64)
    aside = harness.mount_tmpfs(base + "/aside")
    os.makedirs(ext4 + "/layers")
    seen = harness.mount_overlay(base + "/overlay", ext4 + "/layers")
    unseen = harness.mount_overlay(base + "/alone", aside + "/layers")
    places = {"tmpfs": tmpfs, "ext4": ext4, "overlay, its layers are watched": seen,
              "overlay, its layers are not watched": unseen}
    suite = harness.Suite(base, [tmpfs, ext4, seen, unseen])
    suite.start()


def teardown():
    suite.cleanup()


def case_posture_is_written_down():
    code, posture = suite.cli("posture")
    check(code == 0, "posture: status %d" % code)
    wrong = ["%s: %s is %s" % (p["name"], i["what"], i["actual"]) for p in posture["processes"] for i in p["items"]
             if not i["equal"]]
    check(not wrong, "; ".join(wrong))
    by_point = {f["mount_point"]: f for f in suite.status()["filesystems"]}
    watched = {kind: by_point.get(place) for kind, place in places.items()}
    check(all(watched.values()), "not in the status: %r" % watched)
    document = {"release": os.uname().release, "version": os.uname().version, "posture": posture, "watched": watched}
    with open(os.environ.get("AMP_VM_RESULTS", ".") + "/posture.json", "w") as f:
        json.dump(document, f, indent=1)


harness.main(globals())
