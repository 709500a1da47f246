#!/usr/bin/python3
"""tests/vm/bare.py - the README's two commands on a bare Debian 12, from a fresh clone.

Owns: a throw-away copy of a debootstrap tree, what of this machine's apt it needs,
a clone of this repository, the namespaces, the limit of time, counting. Must not
own: the commands and what is asked of them (bare.sh), the tree (images.py).
Prints `ok` and `not ok` lines and a last one with their numbers.

It runs on this machine's kernel and processors. Nothing of it is left: the copy has no
name once it is mounted, mounts and processes are in namespaces of their own.
"""

import argparse
import contextlib
import fcntl
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
sys.dont_write_bytecode = True

import guest  # noqa: E402
import images  # noqa: E402

TOP = os.path.dirname(os.path.dirname(images.HERE))
NAME = "cisco-amp-open"
COPY = "bare-copy-"
LIMIT = 2400  # seconds; ten times what it takes where nobody else is busy
# How this machine's apt reaches an archive; its sources are images.py's.
SETTING = re.compile(r'^Acquire::(Check-|ForceIPv|Retries|(http|https)::)[^"]*"[^"]+";$')
PROXIES = ("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")


# -- what goes into the tree -----------------------------------------------


def write(path, text):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w") as f:
        f.write(text)


def clone(directory, destination):
    """What is committed, as a new user gets it; of a tree without git, all of it but builds."""
    if not os.path.exists(TOP + "/.git"):
        shutil.copytree(TOP, destination, symlinks=True, ignore=shutil.ignore_patterns("build", "autom4te.cache"))
        return
    # The tree may be another user's.
    write(directory + "/gitconfig", "[safe]\n\tdirectory = *\n[advice]\n\tdetachedHead = false\n")
    env = dict(os.environ, GIT_CONFIG_GLOBAL=directory + "/gitconfig")
    images.quiet(images.need("git", "git"), "clone", "-q", "--no-hardlinks", TOP, destination, env=env)
    if subprocess.run(["git", "-C", TOP, "status", "--porcelain", "-uno"], env=env, stdout=subprocess.PIPE, check=False).stdout:
        print("# what is not committed is not in the clone", flush=True)


def seed(directory):
    """Files that are laid over the bare tree."""
    tree = directory + "/seed"
    sources = "".join("deb %s %s main\n" % s for s in (
        (images.MIRROR, images.SUITE), (images.MIRROR, images.SUITE + "-updates"),
        (images.SECURITY, images.SUITE + "-security")))
    settings = [l for l in images.quiet(images.need("apt-config", "apt"), "dump").splitlines() if SETTING.match(l)]
    write(tree + "/etc/apt/sources.list", sources)
    write(tree + "/etc/apt/apt.conf.d/90machine", "".join(l + "\n" for l in settings))
    write(tree + "/etc/hosts", "127.0.0.1 localhost bare\n" + guest.read("/etc/hosts"))
    write(tree + "/etc/resolv.conf", guest.read("/etc/resolv.conf"))
    write(tree + "/etc/hostname", "bare\n")
    clone(directory, tree + "/root/" + NAME)
    return tree


@contextlib.contextmanager
def copy_of(cache):
    """A copy of the bare tree's file system; those of runs that were killed go."""
    image = cache.bare()
    for name in os.listdir(cache.dir):
        if name.startswith(COPY):
            with contextlib.suppress(OSError), open(cache.path(name)) as f:
                fcntl.flock(f, fcntl.LOCK_EX | fcntl.LOCK_NB)
                os.unlink(f.name)
    fd, path = tempfile.mkstemp(prefix=COPY, dir=cache.dir)
    fcntl.flock(fd, fcntl.LOCK_EX)
    try:
        images.quiet("cp", "--sparse=always", "--reflink=auto", image, path)
        yield path
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        os.close(fd)


# -- running ---------------------------------------------------------------


def start(image, tree, archives, point):
    """bare.sh as the first process of its namespaces; it ends with us."""
    env = {k: os.environ[k] for k in PROXIES if k in os.environ}
    env.update(PATH="/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", HOME="/root", TERM="dumb")
    argv = ["setpriv", "--pdeathsig", "KILL", "unshare", "-m", "-p", "-u", "-i", "-f", "--kill-child",
            "bash", images.HERE + "/bare.sh", image, tree, archives, point, NAME]
    return subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=env,
                            cwd="/", start_new_session=True)


def passed_on(process):
    """Lines as they come; (good, bad)."""
    good = bad = 0
    for line in process.stdout:
        text = line.decode(errors="replace").rstrip()
        good += text.startswith("ok ")
        bad += text.startswith("not ok ")
        print(text if re.match(r"(ok|not ok) |#", text) else "# " + text, flush=True)
    return good, bad


def run(limit):
    begin = time.monotonic()
    cache = images.Cache()
    archives = cache.path("bare-archives")
    os.makedirs(archives, exist_ok=True)
    with guest.own_directory() as directory, copy_of(cache) as image:
        point = directory + "/root"
        os.mkdir(point)
        process = start(image, seed(directory), archives, point)
        signal.signal(signal.SIGALRM, lambda *_: process.kill())
        signal.setitimer(signal.ITIMER_REAL, limit)
        try:
            good, bad = passed_on(process)
        finally:
            process.kill()
            status = process.wait()
            signal.setitimer(signal.ITIMER_REAL, 0)
    if status == -signal.SIGKILL and time.monotonic() - begin > limit:
        print("not ok all of it in %d s" % limit)
        bad += 1
    elif status != 0 and not bad or not good:
        print("not ok bare.sh comes to its end: status %d" % status)
        bad += 1
    print("# %d ok, %d not ok, %.0f s" % (good, bad, time.monotonic() - begin))
    return 1 if bad else 0


def on_signal(number, _frame):
    raise guest.Stopped(number)


def main():
    p = argparse.ArgumentParser(prog="tests/vm/bare.py", description="The README's two commands on a bare Debian 12.")
    p.add_argument("--prepare", action="store_true", help="only fill the cache")
    p.add_argument("--timeout", type=float, metavar="S", default=LIMIT, help="seconds for all of it [%d]" % LIMIT)
    o = p.parse_args()
    for s in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(s, on_signal)
    if os.geteuid() != 0:
        sys.exit("tests/vm/bare.py: this must be run as root; remedy: sudo tests/vm/bare.py")
    try:
        if o.prepare:
            images.Cache().bare()
            return 0
        return run(o.timeout)
    except guest.Stopped as e:
        return 128 + e.args[0]
    except images.Trouble as e:
        images.say(str(e))
        return guest.TROUBLE


sys.exit(main())
