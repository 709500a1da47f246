"""Questions to a suite about one listed content: was it taken, and what is told of it.

Owns: what system tests of the quarantine ask in common. Must not own: suites, checks of one case.
"""

import json
import os
import signal
import time

import harness
from harness import check, wait_for

FAULT_FAILED = 17
# What failed is tried again after 5 s, after twice that, and so on to 5 min.
AGAIN = 330


def listed(s, data, name):
    """From now on it is on the blocked list; what is there already is judged at its next event."""
    s.block(data, name)
    s.reload()
    wait_for("the list in force", lambda: harness.sha256(data) in json.dumps(s.cli("policy", "lists")[1]))
    return data


def entries_of(s, data):
    return [x for x in s.cli("quarantine", "list")[1] or [] if x["sha256"] == harness.sha256(data)]


def rows_of(s, data, *kinds):
    return [r for r in s.history() if r["sha256"] == harness.sha256(data) and (not kinds or r["type"] in kinds)]


def wait_taken(s, data, seconds=harness.SOON):
    """Its only entry is in the vault, and history says so of it once."""

    def taken():
        rows = entries_of(s, data)
        return rows if rows and all(x["state"] == "quarantined" for x in rows) else None

    try:
        rows = wait_for("the entry", taken, seconds)
    except harness.Failed as why:
        raise harness.Failed("%s: %r" % (why, entries_of(s, data)))
    check(len(rows) == 1, "entries: %r" % rows)
    told = wait_for("threat_quarantined", lambda: rows_of(s, data, "threat_quarantined"))
    check(len(told) == 1 and told[0]["detection_id"] == rows[0]["detection_id"], "told: %r" % told)
    return s.cli("quarantine", "show", rows[0]["id"])[1]


def wait_outcome(s, data, kind):
    """All its detections have this outcome, once."""

    def complete():
        detected = {r["detection_id"] for r in rows_of(s, data, "threat_detected")}
        ended = [r["detection_id"] for r in rows_of(s, data, kind)]
        return detected and detected == set(ended) and len(ended) == len(detected)

    try:
        wait_for(kind, complete)
    except harness.Failed as why:
        raise harness.Failed("%s: %r" % (why, [(r["type"], r.get("detail")) for r in rows_of(s, data)]))


def wait_failed(s, data, words, at_least=7):
    """It is told why, once in the history, in the list, and by fault 17, also when it was tried again."""

    def failed():
        rows = entries_of(s, data)
        return rows if rows and rows[0]["state"] == "failed" else None

    entry = wait_for("the failure", failed)[0]
    check(words in entry["reason"], "reason: %r" % entry)
    wait_for("fault 17", lambda: [f for f in s.status()["faults"] if f["number"] == FAULT_FAILED])
    time.sleep(at_least)
    told = wait_for("quarantine_failed", lambda: rows_of(s, data, "quarantine_failed"))
    check(len(told) == len({r["detection_id"] for r in told}), "told more than once: %r" % told)
    check(all(words in r["detail"] for r in told), "told: %r" % told)
    return entry


def wait_no_fault(s):
    wait_for("fault 17 to clear", lambda: not [f for f in s.status()["faults"] if f["number"] == FAULT_FAILED])


def private_directories(top):
    return [d for d, _, _ in os.walk(top) if os.path.basename(d).startswith(".amp-quarantine-")]


def is_harmless(data, *tops):
    """Nothing has the content. A private directory may be there for a moment, for a name that was told of later."""
    for top in tops:
        for d, _, names in os.walk(top):
            for n in names:
                try:
                    with open(os.path.join(d, n), "rb") as f:
                        check(f.read() != data, "still there: %s/%s" % (d, n))
                except FileNotFoundError:
                    pass
        wait_for("the end of what is private below %s" % top, lambda: not private_directories(top))


def dies(process):
    wait_for("its death", lambda: process.poll() is not None)
    check(process.returncode == -signal.SIGKILL, "status %d" % process.returncode)
