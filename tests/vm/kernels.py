#!/usr/bin/python3
"""tests/vm/kernels.py RESULTS - docs/kernels.md from what the suite said on each kernel.

Owns: the form of the tables. Must not own: any knowledge of kernels; all of it comes
from RESULTS/KERNEL/posture.json, which tests/vm/suite.py --results RESULTS leaves.
With --check nothing is written: the status says if the document is another one.
"""

import json
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
DOCUMENT = os.path.join(HERE, "..", "..", "docs", "kernels.md")
HEAD = """# Kernels

Written by `tests/vm/kernels.py` from what `ampcli posture` and `ampcli status` say in guests with Debian's kernels
(`tests/vm/suite.py`); not to be edited. What is *missing* is done without, as docs/threat-model.md says.

"""


def load(results):
    """{series: document}, the oldest kernel first."""
    found = {}
    for name in sorted(os.listdir(results), key=lambda n: [int(p) if p.isdigit() else 0 for p in n.split(".")]):
        path = os.path.join(results, name, "posture.json")
        if os.path.exists(path):
            with open(path) as f:
                found[name] = json.load(f)
    return found


def features(document):
    """{(who, feature): answer} of the kernel and of every kind of process."""
    answers = {}

    def take(who, thing):
        for key, answer in (("in_use", "in use"), ("missing", "missing")):
            for feature in thing.get(key) or []:
                answers.setdefault((who, feature), answer)

    take("kernel", document["posture"])
    for p in document["posture"]["processes"]:
        take(p["name"].split("/")[0], p)
    return answers


def watched(document):
    """{kind of file system: how it is watched}"""
    found = {}
    for kind, fs in document["watched"].items():
        found[kind] = fs["how"].replace("_", " ") + (": " + fs["why"] if fs["why"] else "")
    return found


def table(heads, rows):
    lines = ["| %s |" % " | ".join(heads), "|%s" % ("---|" * len(heads))]
    return "\n".join(lines + ["| %s |" % " | ".join(r) for r in rows]) + "\n"


def rows_of(per_kernel, absent):
    """Rows of all that any kernel said; those that differ come first."""
    keys = list(dict.fromkeys(k for answers in per_kernel for k in answers))
    rows = [(k, [answers.get(k, absent) for answers in per_kernel]) for k in keys]
    return [r for r in rows if len(set(r[1])) > 1], [r for r in rows if len(set(r[1])) == 1]


def written(documents):
    names = list(documents)
    differs, same = rows_of([features(d) for d in documents.values()], "-")
    text = HEAD + "Built from: " + ", ".join(sorted(d["release"] for d in documents.values())) + ".\n\n"
    text += "## What differs\n\n"
    text += table(["who", "feature"] + names, [[w, f] + a for (w, f), a in differs]) if differs else "Nothing.\n"
    text += "\n## What is the same\n\n" + table(["who", "feature", "all"], [[w, f, a[0]] for (w, f), a in same])
    differs, same = rows_of([watched(d) for d in documents.values()], "-")
    text += "\n## How file systems are watched\n\n" + table(["file system"] + names, [[k] + a for k, a in differs + same])
    return text


def main():
    arguments = [a for a in sys.argv[1:] if a != "--check"]
    if len(arguments) != 1:
        sys.exit(__doc__)
    documents = load(arguments[0])
    if not documents:
        sys.exit("tests/vm/kernels.py: no posture.json below %s; remedy: tests/vm/suite.py --results %s" % (arguments * 2))
    text = written(documents)
    if "--check" in sys.argv[1:]:
        return 0 if os.path.exists(DOCUMENT) and open(DOCUMENT).read() == text else 1
    with open(DOCUMENT, "w") as f:
        f.write(text)
    return 0


sys.exit(main())
