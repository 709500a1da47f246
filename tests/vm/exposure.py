#!/usr/bin/python3
"""tests/vm/exposure.py - what `systemd-analyze security` says of the unit, and why it may.

Owns: the reason for every row that stays exposed, the bound of the figure, the
form of docs/systemd.md. Must not own: the unit (contrib), the asking (systemd.py).

    tests/vm/exposure.py RESULTS/6.1            # docs/systemd.md from the security.json there
    tests/vm/exposure.py --check RESULTS/6.1    # status 1 if the document is another one
"""

import json
import os
import re
import sys

DOCUMENT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "docs", "systemd.md")
BOUND = 4.7  # of 10; what is above it was not there when it was set
MOUNTS = "*mounts*"  # explained in HEAD
ROOMS = "ampmon makes the rooms' own"
# What `systemd-analyze` calls it: why it stays.
REASONS = {
    "User=/DynamicUser=": "ampmon is root; it makes the rooms, and each of those has a user of its own and no way back",
    "RootDirectory=/RootImage=": "all of the host's files are judged; " + MOUNTS,
    "PrivateMounts=": MOUNTS,
    "PrivateTmp=": MOUNTS + "; /tmp is judged",
    "PrivateDevices=": MOUNTS + "; `DevicePolicy=closed` refuses the devices",
    "ProtectSystem=": MOUNTS + "; files of the system are taken away too, if they are listed",
    "ProtectHome=": MOUNTS + "; homes are judged",
    "ProtectProc=": MOUNTS + "; every process's program is judged",
    "ProcSubset=": MOUNTS + "; the mount table is read there",
    "ProtectKernelTunables=": MOUNTS + "; nothing of the suite writes there",
    "ProtectKernelModules=": MOUNTS + "; neither capability nor system calls to load one are there",
    "ProtectKernelLogs=": MOUNTS + "; neither CAP_SYSLOG nor the device is there",
    "ProtectControlGroups=": MOUNTS + "; nothing of the suite writes there",
    "PrivateUsers=": "marks of the host's file systems need the host's user namespace",
    "RestrictNamespaces=~mnt": ROOMS + " (ampcloudd sees nothing but its database)",
    "RestrictNamespaces=~net": ROOMS + " (empty ones)",
    "RestrictNamespaces=~ipc": ROOMS,
    "RestrictNamespaces=~pid": "ampmon makes ampengine's own: what it forked ends with it",
    "RestrictNamespaces=~uts": ROOMS,
    "RestrictAddressFamilies=~AF_UNIX": "the sockets of `ampcli`, and systemd's own",
    "RestrictSUIDSGID=": "`ampcli quarantine restore --keep-privileges` gives a file's set-uid bit back",
    "CapabilityBoundingSet=~CAP_SYS_ADMIN": "ampmon: fanotify, namespaces and mounts of the rooms; no room keeps it",
    "CapabilityBoundingSet=~CAP_SET(UID|GID|PCAP)": "ampmon: the rooms' users and capabilities; no room keeps it",
    "CapabilityBoundingSet=~CAP_KILL": "ampmon: ends what runs listed content; no room has it",
    "CapabilityBoundingSet=~CAP_SYS_PTRACE": "ampscand: which program a process runs; its filter has no ptrace",
    "CapabilityBoundingSet=~CAP_(DAC_*|FOWNER|IPC_OWNER)": "ampread reads any file, ampquard takes any away; no CAP_IPC_OWNER",
    "CapabilityBoundingSet=~CAP_(CHOWN|FSETID|SETFCAP)": "ampquard: a file comes back with its owner, bits and capabilities",
    "CapabilityBoundingSet=~CAP_LINUX_IMMUTABLE": "ampquard: an immutable file is taken away too, and comes back as one",
    "SystemCallFilter=~@mount": "ampcloudd's view is built by ampmon's child; `chroot` is refused",
    "SystemCallFilter=~@privileged": "fanotify, changes of owner and of user; the rest of the group is refused",
    "SystemCallFilter=~@resources": "the rooms' limits; the rest of the group is refused",
    "DeviceAllow=": "`ProtectClock=` adds reading of the clock's device itself; CAP_SYS_TIME is not there",
}
HEAD = """# Under systemd

Written by `tests/vm/exposure.py` from what `systemd-analyze security` says in a guest (`tests/vm/systemd.py`); not to be
edited. The unit is `contrib/cisco-amp.service.in`. What the service is proved to do there, with all of this in force, are
the cases of `tests/vm/systemd.py`: it starts and says so, outlives SIGKILL of each of its processes and a missed watchdog,
reloads, takes files away and gives them back, stops and leaves nothing.

*Mounts* below: the option would give ampmon a mount namespace of its own, and what an administrator unmounts would stay
mounted there, its device in use.

"""
MEMORY = """## Memory

`OOMScoreAdjust=-800` is for ampmon and the rooms that keep the machine's state. The engine's processes, which hostile files reach, raise theirs
to 500 at the drop, so they go before services do, and a worker with much memory before its zygote. With
`OOMPolicy=continue` that costs a worker, or a load of signatures; systemd's default would stop the service.

No `MemoryMax=`, nor `MemoryHigh=`. In normal use the suite has two sets of signatures in memory while one replaces the other (1.2 GiB each), for
each worker up to twice `engine_memory`, and copies of content; what it reads of files is counted too, as page cache. A bound above all of that is
none on most machines, and at one below it every process of the unit waits for memory, ampscand with the others, or is ended in the middle of a reload.
What each part may take is bounded by itself: `engine_memory`, `engine_workers`, `engine_reload = "after"` ([configuration.md](configuration.md)).

"""


def overall(text):
    m = re.search(r"Overall exposure level for \S+: ([\d.]+)", text)
    return float(m.group(1)) if m else 99.0


def exposed(rows):
    return [r for r in rows if r.get("exposure") and not r.get("set")]


def unexplained(rows):
    return [r["name"] for r in exposed(rows) if r["name"] not in REASONS]


def cell(text):
    return text.replace("|", "\\|")


def written(document):
    rows = sorted(exposed(document["rows"]), key=lambda r: (-float(r["exposure"]), r["name"]))
    closed = sorted(r["name"] for r in document["rows"] if r.get("set"))
    text = HEAD + MEMORY + "Overall exposure: **%.1f** of 10 (%s); the test refuses more.\n\n" % (document["overall"], document["version"])
    text += "## What stays exposed, and why\n\n| exposure | row | reason |\n|---|---|---|\n"
    for r in rows:
        text += "| %s | `%s` | %s |\n" % (r["exposure"], cell(r["name"]), cell(REASONS.get(r["name"], "none")))
    return text + "\n## What is closed\n\n" + ", ".join("`%s`" % n for n in closed) + "\n"


def current(document):
    return os.path.exists(DOCUMENT) and open(DOCUMENT).read() == written(document)


def main():
    arguments = [a for a in sys.argv[1:] if a != "--check"]
    if len(arguments) != 1:
        sys.exit(__doc__)
    with open(arguments[0] + "/security.json") as f:
        document = json.load(f)
    if "--check" in sys.argv[1:]:
        return 0 if current(document) else 1
    with open(DOCUMENT, "w") as f:
        f.write(written(document))
    return 0


if __name__ == "__main__":
    sys.exit(main())
