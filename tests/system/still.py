"""Processes that stand still for a while.

Owns: that. Must not own: what is tested with it. Not for longer than the heartbeat allows, if it is a
room: then ampmon replaces it.
"""

import contextlib
import os
import signal

import harness


def _stands(pid):
    """No thread of it runs; also true of one that has gone."""
    try:
        for thread in os.listdir("/proc/%d/task" % pid):
            with open("/proc/%d/task/%s/stat" % (pid, thread)) as f:
                if f.read().rsplit(")", 1)[1].split()[0] not in "TtZX":
                    return False
    except (FileNotFoundError, ProcessLookupError):
        pass
    return True


@contextlib.contextmanager
def stopped(*pids):
    """From the first statement within to the last they do nothing; events wait for them in the kernel."""
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        harness.wait_for("a standstill", lambda: all(map(_stands, pids)), pause=0.001)
        yield
    finally:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
