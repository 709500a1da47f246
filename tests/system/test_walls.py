#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""The walls of every room, tried from inside (as root; python3 alone).

    test_walls.py PROBE [--print]

Owns: the table of what each attempt of tests/system/attempts.c must give,
three times for each room: undropped (the control: the attempt itself works, or
the kernel's own answer is stated), after every wall but the filter, and after
the whole drop. Must not own: the attempts. Runs itself again in mount, network
and pid namespaces of its own, so nothing it does is left behind.
--print shows what was found in the table's form, to be read, never pasted.
"""
import ctypes
import fcntl
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time

UID = 64321  # of no user; one for every room, so here ids never stand between them
ROLES = ("ampscand", "ampread", "ampcloudd", "ampquard", "ampengine")
INNER = ("zygote", "worker")  # of ampengine, in more walls: only sealed (probe_engine.c)
# Where there is little time: only whole drops, of these rooms ("sealed", or "sealed:ROOM,...").
ONLY_SEALED = os.environ.get("AMP_WALLS", "").startswith("sealed")
TRIED = os.environ.get("AMP_WALLS", "").partition(":")[2].split(",")
LOG_MARK = "log-of-the-probe"  # its log has the same descriptor as its answers

# Where an attempt's control gives this, this kernel cannot show the refusal.
NOT_HERE = ("ENOSYS", "EOPNOTSUPP", "EBADF")

# name: (control, ampscand, ampread, ampcloudd, ampquard, ampengine, zygote, worker). A room's cell is "UNSEALED
# SEALED", or one word for both; "A|B" either; "A@N:B" is A from Landlock ABI N on, else B. Of a zygote and a worker
# it is one word, sealed; what a descriptor would be needed for gives EBADF: they have none but their pair.
TABLE = {
    # files: the host's rooms see them, so ids, Landlock and the filter stand. ampquard's work is to open, make,
    # move and remove any file, so there it is only the filter: nothing by a path but these, no links, no nodes.
    "open-shadow": ("ok", "EACCES SIGSYS", "ok", "ENOENT", "ok", "ENOENT", "ENOENT", "ENOENT"),  # ampread reads any file: that is its work
    "open-write": ("ok", "ok SIGSYS", "EACCES@1:ok SIGSYS", "ENOENT", "ok", "ENOENT", "ENOENT", "ENOENT"),
    "open-read-write": ("ok", "ok SIGSYS", "EACCES@1:ok SIGSYS", "ENOENT", "ok", "ENOENT", "ENOENT", "ENOENT"),
    "open-append": ("ok", "ok SIGSYS", "EACCES@1:ok SIGSYS", "ENOENT", "ok", "ENOENT", "ENOENT", "ENOENT"),
    "open-truncate": ("ok", "ok SIGSYS", "EACCES@3:ok SIGSYS", "ENOENT", "ok", "ENOENT", "ENOENT", "ENOENT"),
    "open-create": ("ok", "ok SIGSYS", "EACCES@1:ok SIGSYS", "ENOENT", "ok", "ENOENT", "ENOENT", "ENOENT"),
    "open-tmpfile": ("ok", "ok SIGSYS", "EACCES@1:ok SIGSYS", "ENOENT SIGSYS", "ok", "ENOENT", "ENOENT", "ENOENT"),
    "open-upper-bits": ("ok", "ok SIGSYS", "EACCES@1:ok SIGSYS", "ENOENT", "ok", "ENOENT", "ENOENT", "ENOENT"),
    "open-openat2": ("ok", "ok SIGSYS", "ok SIGSYS", "ENOENT SIGSYS", "ok", "ENOENT SIGSYS", "SIGSYS", "SIGSYS"),
    "open-reopen": ("ok", "ok SIGSYS", "EACCES@1:ok SIGSYS", "ENOENT", "ok", "ENOENT", "ENOENT", "ENOENT"),
    "open-device": ("ok", "ok SIGSYS", "EACCES@1:ok SIGSYS", "ENOENT", "ok", "ENOENT", "ENOENT", "ENOENT"),
    "handle-read": ("ok", "EPERM SIGSYS", "ok", "EPERM SIGSYS", "EPERM SIGSYS", "EPERM SIGSYS", "SIGSYS", "SIGSYS"),  # ampread's work
    "handle-write": ("ok", "EPERM SIGSYS", "EACCES@1:ok SIGSYS", "EPERM SIGSYS", "EPERM SIGSYS", "EPERM SIGSYS", "SIGSYS", "SIGSYS"),
    "file-unlink": ("ok", "ok SIGSYS", "EACCES@1:ok SIGSYS", "ENOENT", "ok", "ENOENT", "ENOENT", "ENOENT"),
    "file-rename": ("ok", "ok SIGSYS", "EACCES@1:ok SIGSYS", "ENOENT", "ok", "ENOENT", "ENOENT", "ENOENT"),
    "file-link": ("ok", "ok SIGSYS", "EACCES@1:ok SIGSYS", "ENOENT SIGSYS", "ok SIGSYS", "ENOENT SIGSYS", "SIGSYS", "SIGSYS"),
    "file-symlink": ("ok", "ok SIGSYS", "EACCES@1:ok SIGSYS", "ENOENT SIGSYS", "ok SIGSYS", "ENOENT SIGSYS", "SIGSYS", "SIGSYS"),
    "file-mkdir": ("ok", "ok SIGSYS", "EACCES@1:ok SIGSYS", "ENOENT SIGSYS", "ok", "ENOENT", "ENOENT", "ENOENT"),
    "file-mknod": ("ok", "ok SIGSYS", "EACCES@1:ok SIGSYS", "ENOENT SIGSYS", "ok SIGSYS", "ENOENT SIGSYS", "SIGSYS", "SIGSYS"),
    "file-truncate": ("ok", "ok SIGSYS", "EACCES@3:ok SIGSYS", "ENOENT SIGSYS", "ok SIGSYS", "ENOENT SIGSYS", "SIGSYS", "SIGSYS"),
    # CAP_FOWNER is ampread's for O_NOATIME: of these it is the filter that stands.
    "file-chmod": ("ok", "EPERM SIGSYS", "ok SIGSYS", "ENOENT SIGSYS", "ok SIGSYS", "ENOENT SIGSYS", "SIGSYS", "SIGSYS"),
    "file-chmod-close": ("ok", "EPERM SIGSYS", "ok SIGSYS", "ENOENT SIGSYS", "ok SIGSYS", "ENOENT SIGSYS", "SIGSYS", "SIGSYS"),
    "file-chmod-old-close": ("ok", "EPERM SIGSYS", "ok SIGSYS", "ENOENT SIGSYS", "ok SIGSYS", "ENOENT SIGSYS", "SIGSYS", "SIGSYS"),
    "file-chmod-own": ("ok", "EPERM SIGSYS", "ok SIGSYS", "ENOENT SIGSYS", "ok SIGSYS", "ENOENT", "SIGSYS", "SIGSYS"),
    "file-fchmod-suid": ("ok", "EPERM SIGSYS", "ok SIGSYS", "EPERM SIGSYS", "ok", "EPERM SIGSYS", "SIGSYS", "SIGSYS"),
    "file-chown": ("ok", "EPERM SIGSYS", "EPERM SIGSYS", "ENOENT SIGSYS", "ok SIGSYS", "ENOENT SIGSYS", "SIGSYS", "SIGSYS"),
    "file-setxattr": ("ok", "EPERM SIGSYS", "EPERM SIGSYS", "ENOENT SIGSYS", "EPERM SIGSYS", "ENOENT SIGSYS", "SIGSYS", "SIGSYS"),
    "file-utimes": ("ok", "ok SIGSYS", "ok SIGSYS", "ENOENT SIGSYS", "ok SIGSYS", "ENOENT SIGSYS", "SIGSYS", "SIGSYS"),
    "file-beyond-limit": ("ok", "EFBIG SIGSYS", "EFBIG", "EFBIG", "EFBIG", "EFBIG", "EBADF", "EBADF"),
    "file-write-other-fd": ("ok", "ok SIGSYS", "ok SIGSYS", "ok SIGSYS", "ok SIGSYS", "ok", "EBADF", "EBADF"),
    "file-splice": ("ok", "ok SIGSYS", "ok SIGSYS", "ok SIGSYS", "ok SIGSYS", "ok SIGSYS", "SIGSYS", "SIGSYS"),
    "file-setlease": ("ok", "EACCES SIGSYS", "EACCES SIGSYS", "EACCES SIGSYS", "EACCES SIGSYS", "EACCES SIGSYS", "SIGSYS", "SIGSYS"),
    "file-async": ("ok", "ok SIGSYS", "ok SIGSYS", "ok SIGSYS", "ok SIGSYS", "ok SIGSYS", "SIGSYS", "SIGSYS"),
    "file-setown": ("ok", "ok SIGSYS", "ok SIGSYS", "ok SIGSYS", "ok SIGSYS", "ok SIGSYS", "SIGSYS", "SIGSYS"),
    "file-many-fds": ("ok", "EMFILE", "EMFILE", "EMFILE", "EMFILE", "EMFILE", "EBADF", "EBADF"),
    "file-inotify": ("ok", "ok SIGSYS", "ok SIGSYS", "ok SIGSYS", "ok SIGSYS", "ok", "SIGSYS", "SIGSYS"),
    "fanotify-new": ("ok", "EPERM SIGSYS", "EPERM SIGSYS", "EPERM SIGSYS", "EPERM SIGSYS", "EPERM SIGSYS", "SIGSYS", "SIGSYS"),
    "fanotify-mark": ("ok", "ok SIGSYS", "ok SIGSYS", "ENOENT SIGSYS", "ok SIGSYS", "ENOENT SIGSYS", "SIGSYS", "SIGSYS"),  # an inode mark on a group of root's needs no right
    # the view: the host's names are there by design but in ampcloudd's
    "view-stat": ("ok", "ok", "ok", "ENOENT", "ok", "ENOENT", "ENOENT", "ENOENT"),
    "view-proc": ("ok", "ok", "ok", "ENOENT", "ok", "ENOENT", "ENOENT", "ENOENT"),
    "view-dot-dot": ("ok", "ok", "ok", "ENOENT", "ok", "ENOENT", "ENOENT", "ENOENT"),
    "view-leaked-directory": ("ok", "ok SIGSYS", "ok", "EACCES@1:ok", "ok", "ok", "EBADF", "EBADF"),
    "view-write-root": ("ok", "EACCES SIGSYS", "EACCES SIGSYS", "EROFS", "ok", "EROFS", "EROFS|EACCES", "EROFS|EACCES"),
    "view-chroot": ("ok", "EPERM SIGSYS", "EPERM SIGSYS", "ENOENT SIGSYS", "EPERM SIGSYS", "ENOENT SIGSYS", "SIGSYS", "SIGSYS"),
    "view-fchdir": ("ok", "ok SIGSYS", "ok SIGSYS", "ok SIGSYS", "ok SIGSYS", "ok", "EBADF", "SIGSYS"),
    "view-mount": ("ok", "EPERM SIGSYS", "EPERM SIGSYS", "ENOENT SIGSYS", "EPERM SIGSYS", "ENOENT SIGSYS", "SIGSYS", "SIGSYS"),
    "view-umount": ("ok", "EPERM SIGSYS", "EPERM SIGSYS", "EPERM|ENOENT SIGSYS", "EPERM SIGSYS", "EPERM|ENOENT SIGSYS", "SIGSYS", "SIGSYS"),
    "view-remount": ("ok", "EPERM SIGSYS", "EPERM SIGSYS", "EPERM SIGSYS", "EPERM SIGSYS", "EPERM SIGSYS", "SIGSYS", "SIGSYS"),
    "view-pivot-root": ("ok", "EPERM SIGSYS", "EPERM SIGSYS", "EPERM SIGSYS", "EPERM SIGSYS", "EPERM SIGSYS", "SIGSYS", "SIGSYS"),
    "view-open-tree": ("ok", "EPERM SIGSYS", "EPERM SIGSYS", "EPERM SIGSYS", "EPERM SIGSYS", "EPERM SIGSYS", "SIGSYS", "SIGSYS"),
    "view-unshare-user": ("ok", "ok|EPERM|ENOSPC SIGSYS", "ok|EPERM|ENOSPC SIGSYS", "ok|EPERM|ENOSPC SIGSYS", "ok|EPERM|ENOSPC SIGSYS", "ok|EPERM|ENOSPC SIGSYS", "SIGSYS", "SIGSYS"),
    "view-unshare-mount": ("ok", "EPERM SIGSYS", "EPERM SIGSYS", "EPERM SIGSYS", "EPERM SIGSYS", "EPERM SIGSYS", "SIGSYS", "SIGSYS"),
    "view-setns": ("ok", "EPERM SIGSYS", "EPERM SIGSYS", "EPERM SIGSYS", "EPERM SIGSYS", "EPERM SIGSYS", "SIGSYS", "SIGSYS"),
    # processes
    "process-execve": ("ok", "ok SIGSYS", "EACCES@1:ok SIGSYS", "ENOENT SIGSYS", "ok SIGSYS", "ENOENT SIGSYS", "SIGSYS", "SIGSYS"),
    "process-execve-own": ("ok", "ok SIGSYS", "EACCES@1:ok SIGSYS", "EACCES SIGSYS", "ok SIGSYS", "EACCES SIGSYS", "SIGSYS", "SIGSYS"),
    "process-execveat": ("ok", "ok SIGSYS", "EACCES@1:ok SIGSYS", "EACCES@1:ok SIGSYS", "ok SIGSYS", "ENOENT SIGSYS", "SIGSYS", "SIGSYS"),
    "process-memfd": ("ok", "ok SIGSYS", "ok SIGSYS", "ok SIGSYS", "ok SIGSYS", "ok SIGSYS", "SIGSYS", "SIGSYS"),
    "process-clone": ("ok", "ok SIGSYS", "ok SIGSYS", "ok SIGSYS", "ok SIGSYS", "ok SIGSYS", "SIGSYS", "SIGSYS"),
    "process-clone3": ("ok", "ok SIGSYS", "ok SIGSYS", "ok SIGSYS", "ok SIGSYS", "ok ENOSYS", "ENOSYS", "ENOSYS"),
    "process-ptrace": ("ok", "ok SIGSYS", "EPERM SIGSYS", "EPERM SIGSYS", "EPERM SIGSYS", "EPERM SIGSYS", "SIGSYS", "SIGSYS"),  # ampscand: the filter alone (CAP_SYS_PTRACE)
    "process-vm-read": ("ok", "ok SIGSYS", "EPERM SIGSYS", "EPERM SIGSYS", "EPERM SIGSYS", "EPERM SIGSYS", "SIGSYS", "SIGSYS"),
    "process-vm-write": ("ok", "ok SIGSYS", "EPERM SIGSYS", "EPERM SIGSYS", "EPERM SIGSYS", "EPERM SIGSYS", "SIGSYS", "SIGSYS"),
    "process-kill": ("ok", "EPERM SIGSYS", "EPERM SIGSYS", "EPERM SIGSYS", "EPERM SIGSYS", "EPERM SIGSYS", "SIGSYS", "SIGSYS"),
    "process-kill-parent": ("ok", "EPERM SIGSYS", "EPERM SIGSYS", "EPERM SIGSYS", "EPERM SIGSYS", "EPERM SIGSYS", "SIGSYS", "SIGSYS"),
    "process-tgkill": ("ok", "EPERM SIGSYS", "EPERM SIGSYS", "EPERM SIGSYS", "EPERM SIGSYS", "EPERM SIGSYS", "SIGSYS", "SIGSYS"),
    "process-pidfd-open": ("ok", "ok SIGSYS", "ok SIGSYS", "ok SIGSYS", "ok SIGSYS", "ok", "ok", "SIGSYS"),
    "process-pidfd-signal": ("ok", "EPERM SIGSYS", "EPERM SIGSYS", "EPERM SIGSYS", "EPERM SIGSYS", "EPERM SIGSYS", "SIGSYS", "SIGSYS"),
    "process-pidfd-getfd": ("ok", "ok SIGSYS", "EPERM SIGSYS", "EPERM SIGSYS", "EPERM SIGSYS", "EPERM SIGSYS", "SIGSYS", "SIGSYS"),
    "process-exe-link": ("ok", "ok", "EACCES", "ENOENT", "EACCES", "ENOENT", "ENOENT", "ENOENT"),  # ampscand's work
    "process-exe-handle": ("ok", "ok", "EACCES", "ENOENT SIGSYS", "EACCES", "ENOENT SIGSYS", "SIGSYS", "SIGSYS"),
    "process-own-memory": ("ok", "EACCES SIGSYS", "EACCES SIGSYS", "ENOENT", "ok", "ENOENT", "ENOENT", "ENOENT"),  # a file as any other to ampquard
    # of others: to ampscand by their modes (it has CAP_SYS_PTRACE), to ampquard, which no mode stops, by that
    "process-other-memory": ("ok", "EACCES SIGSYS", "EACCES", "ENOENT", "EACCES", "ENOENT", "ENOENT", "ENOENT"),
    "process-other-environment": ("ok", "EACCES SIGSYS", "EACCES", "ENOENT", "EACCES", "ENOENT", "ENOENT", "ENOENT"),
    "process-other-fd": ("ok", "EACCES SIGSYS", "EACCES", "ENOENT", "EACCES", "ENOENT", "ENOENT", "ENOENT"),
    "process-prlimit": ("ok", "EPERM SIGSYS", "EPERM SIGSYS", "EPERM SIGSYS", "EPERM SIGSYS", "EPERM SIGSYS", "SIGSYS", "SIGSYS"),
    "process-raise-limit": ("ok", "EPERM SIGSYS", "EPERM SIGSYS", "EPERM SIGSYS", "EPERM SIGSYS", "EPERM", "EPERM", "SIGSYS"),
    "process-priority": ("ok", "EACCES SIGSYS", "EACCES SIGSYS", "EACCES SIGSYS", "EACCES SIGSYS", "EACCES SIGSYS", "SIGSYS", "SIGSYS"),
    "process-mlock": ("ok", "EPERM SIGSYS", "EPERM SIGSYS", "EPERM SIGSYS", "EPERM SIGSYS", "EPERM SIGSYS", "SIGSYS", "SIGSYS"),
    "process-personality": ("ok", "ok SIGSYS", "ok SIGSYS", "ok SIGSYS", "ok SIGSYS", "ok SIGSYS", "SIGSYS", "SIGSYS"),
    # ids and capabilities
    "ids-setuid": ("ok", "EPERM SIGSYS", "EPERM SIGSYS", "EPERM SIGSYS", "EPERM SIGSYS", "EPERM SIGSYS", "SIGSYS", "SIGSYS"),
    "ids-setgid": ("ok", "EPERM SIGSYS", "EPERM SIGSYS", "EPERM SIGSYS", "EPERM SIGSYS", "EPERM SIGSYS", "SIGSYS", "SIGSYS"),
    "ids-setgroups": ("ok", "EPERM SIGSYS", "EPERM SIGSYS", "EPERM SIGSYS", "EPERM SIGSYS", "EPERM SIGSYS", "SIGSYS", "SIGSYS"),
    "ids-setfsuid": ("ok", "EPERM SIGSYS", "EPERM SIGSYS", "EPERM SIGSYS", "EPERM SIGSYS", "EPERM SIGSYS", "SIGSYS", "SIGSYS"),
    "ids-capset": ("ok", "EPERM SIGSYS", "EPERM SIGSYS", "EPERM SIGSYS", "EPERM SIGSYS", "EPERM SIGSYS", "SIGSYS", "SIGSYS"),
    "ids-ambient": ("ok", "EPERM SIGSYS", "EPERM SIGSYS", "EPERM SIGSYS", "EPERM SIGSYS", "EPERM SIGSYS", "SIGSYS", "SIGSYS"),
    "ids-securebits": ("ok", "EPERM SIGSYS", "EPERM SIGSYS", "EPERM SIGSYS", "EPERM SIGSYS", "EPERM SIGSYS", "SIGSYS", "SIGSYS"),
    "ids-dumpable": ("ok", "ok SIGSYS", "ok SIGSYS", "ok SIGSYS", "ok SIGSYS", "ok SIGSYS", "SIGSYS", "SIGSYS"),
    "ids-new-privs": ("EINVAL", "EINVAL SIGSYS", "EINVAL SIGSYS", "EINVAL SIGSYS", "EINVAL SIGSYS", "EINVAL SIGSYS", "SIGSYS", "SIGSYS"),  # not refusable: nobody may
    "ids-parent-death": ("ok", "ok SIGSYS", "ok SIGSYS", "ok SIGSYS", "ok SIGSYS", "ok SIGSYS", "SIGSYS", "SIGSYS"),
    "ids-seccomp": ("ok", "ok SIGSYS", "ok SIGSYS", "ok SIGSYS", "ok SIGSYS", "ok SIGSYS", "SIGSYS", "SIGSYS"),
    # memory
    "memory-mmap-exec": ("ok", "ok SIGSYS", "ok SIGSYS", "ok SIGSYS", "ok SIGSYS", "ok SIGSYS", "SIGSYS", "SIGSYS"),
    "memory-mmap-file-exec": ("ok", "ok SIGSYS", "ok SIGSYS", "ok SIGSYS", "ok SIGSYS", "ok SIGSYS", "SIGSYS", "SIGSYS"),
    "memory-mprotect-exec": ("ok", "ok SIGSYS", "ok SIGSYS", "ok SIGSYS", "ok SIGSYS", "ok SIGSYS", "SIGSYS", "SIGSYS"),
    "memory-pkey-exec": ("ok", "ok SIGSYS", "ok SIGSYS", "ok SIGSYS", "ok SIGSYS", "ok SIGSYS", "SIGSYS", "SIGSYS"),
    "memory-shmget": ("ok", "ENOENT SIGSYS", "ENOENT SIGSYS", "ENOENT SIGSYS", "ENOENT SIGSYS", "ENOENT SIGSYS", "SIGSYS", "SIGSYS"),
    "memory-shmat": ("ok", "EINVAL SIGSYS", "EINVAL SIGSYS", "EINVAL SIGSYS", "EINVAL SIGSYS", "EINVAL SIGSYS", "SIGSYS", "SIGSYS"),
    # network and sockets
    "net-inet": ("ok", "ok SIGSYS", "ok SIGSYS", "ok SIGSYS", "ok SIGSYS", "ok SIGSYS", "SIGSYS", "SIGSYS"),
    "net-unix": ("ok", "ok SIGSYS", "ok SIGSYS", "ok SIGSYS", "ok SIGSYS", "ok SIGSYS", "SIGSYS", "SIGSYS"),
    "net-netlink": ("ok", "ok SIGSYS", "ok SIGSYS", "ok SIGSYS", "ok SIGSYS", "ok SIGSYS", "SIGSYS", "SIGSYS"),
    "net-packet": ("ok", "EPERM SIGSYS", "EPERM SIGSYS", "EPERM SIGSYS", "EPERM SIGSYS", "EPERM SIGSYS", "SIGSYS", "SIGSYS"),
    "net-socketpair": ("ok", "ok SIGSYS", "ok SIGSYS", "ok SIGSYS", "ok SIGSYS", "ok", "ok", "SIGSYS"),
    "net-connect": ("ok", "ENETUNREACH SIGSYS", "EACCES@4:ENETUNREACH SIGSYS", "EACCES@4:ENETUNREACH SIGSYS", "ENETUNREACH SIGSYS", "ENETUNREACH SIGSYS", "SIGSYS", "SIGSYS"),
    "net-connect-held": ("ok", "ok SIGSYS", "EACCES@4:ok SIGSYS", "EACCES@4:ok SIGSYS", "ok SIGSYS", "ok SIGSYS", "SIGSYS", "SIGSYS"),
    "net-bind-held": ("ok", "ok SIGSYS", "EACCES@4:ok SIGSYS", "EACCES@4:ok SIGSYS", "ok SIGSYS", "ok SIGSYS", "SIGSYS", "SIGSYS"),
    "net-listen-held": ("ok", "ok SIGSYS", "ok SIGSYS", "ok SIGSYS", "ok SIGSYS", "ok SIGSYS", "SIGSYS", "SIGSYS"),
    "net-abstract": ("ok", "ECONNREFUSED SIGSYS", "ECONNREFUSED SIGSYS", "ECONNREFUSED SIGSYS", "ECONNREFUSED SIGSYS", "ECONNREFUSED SIGSYS", "SIGSYS", "SIGSYS"),
    "net-sendto-address": ("ok", "ok SIGSYS", "ok SIGSYS", "ENOENT SIGSYS", "ok SIGSYS", "ENOENT SIGSYS", "SIGSYS", "SIGSYS"),
    "net-sendmsg-address": ("EISCONN", "EISCONN", "EISCONN", "EISCONN", "EISCONN", "EISCONN", "EBADF", "EBADF"),  # a pair's address is ignored for everybody
    "net-option": ("ok", "ok SIGSYS", "ok SIGSYS", "ok SIGSYS", "ok SIGSYS", "ok SIGSYS", "SIGSYS", "SIGSYS"),
    # the kernel; where a sysctl decides, both answers stand
    "kernel-bpf": ("ok", "EPERM|ok SIGSYS", "EPERM|ok SIGSYS", "EPERM|ok SIGSYS", "EPERM|ok SIGSYS", "EPERM|ok SIGSYS", "SIGSYS", "SIGSYS"),
    # newer kernels count rings as locked memory, of which rooms have none; 6.1 and 6.12 do not
    "kernel-io-uring": ("ok|EPERM", *("ok|ENOMEM|EPERM SIGSYS",) * 5, "SIGSYS", "SIGSYS"),
    "kernel-perf": ("ok", "EACCES|ok SIGSYS", "EACCES|ok SIGSYS", "EACCES|ok SIGSYS", "EACCES|ok SIGSYS", "EACCES|ok SIGSYS", "SIGSYS", "SIGSYS"),
    "kernel-keyctl": ("ok", "ok SIGSYS", "ok SIGSYS", "ok SIGSYS", "ok SIGSYS", "ok SIGSYS", "SIGSYS", "SIGSYS"),
    "kernel-userfaultfd": ("ok", "ok SIGSYS", "EPERM|ok SIGSYS", "EPERM|ok SIGSYS", "EPERM|ok SIGSYS", "EPERM|ok SIGSYS", "SIGSYS", "SIGSYS"),
    "kernel-init-module": ("ENOEXEC|EFAULT", "EPERM SIGSYS", "EPERM SIGSYS", "EPERM SIGSYS", "EPERM SIGSYS", "ENOSYS SIGSYS", "SIGSYS", "SIGSYS"),
    "kernel-reboot": ("EINVAL", "EPERM SIGSYS", "EPERM SIGSYS", "EPERM SIGSYS", "EPERM SIGSYS", "EPERM SIGSYS", "SIGSYS", "SIGSYS"),  # without its magic, for the machine's sake
    "kernel-settimeofday": ("ok", "EPERM SIGSYS", "EPERM SIGSYS", "EPERM SIGSYS", "EPERM SIGSYS", "EPERM SIGSYS", "SIGSYS", "SIGSYS"),
    "kernel-sethostname": ("EINVAL", "EPERM SIGSYS", "EPERM SIGSYS", "EPERM SIGSYS", "EPERM SIGSYS", "EPERM SIGSYS", "SIGSYS", "SIGSYS"),  # of a length nobody may set
    "kernel-tiocsti": ("ok", "EPERM|EIO SIGSYS", "EPERM|EIO SIGSYS", "EPERM|EIO SIGSYS", "EPERM|EIO SIGSYS", "EPERM|EIO SIGSYS", "SIGSYS", "SIGSYS"),
    "kernel-ioctl": ("ok", "ok SIGSYS", "ok SIGSYS", "ok SIGSYS", "ok", "ok SIGSYS", "SIGSYS", "SIGSYS"),
    "kernel-syslog": ("ok", "EPERM|ok SIGSYS", "EPERM|ok SIGSYS", "EPERM|ok SIGSYS", "EPERM|ok SIGSYS", "EPERM|ok SIGSYS", "SIGSYS", "SIGSYS"),
    "kernel-unknown": ("ENOSYS", "ENOSYS SIGSYS", "ENOSYS SIGSYS", "ENOSYS SIGSYS", "ENOSYS SIGSYS", "ENOSYS SIGSYS", "SIGSYS", "SIGSYS"),
    "kernel-other-abi": ("ok", "ok SIGSYS", "ok SIGSYS", "ok SIGSYS", "ok SIGSYS", "ok SIGSYS", "SIGSYS", "SIGSYS"),
    # what has to work, and dying by one's own hand
    "work-database": ("ok", "ok SIGSYS", "EIO@1:ok SIGSYS", "ok", "ok", "ok SIGSYS", "EIO", "EIO"),
    "work-list-directory": ("ok", "ok SIGSYS", "ok", "EACCES@1:ok", "ok", "ok", "EACCES", "EACCES"),
    "work-library": ("ok", "ok", "ok", "ok", "ok", "ok", "ok", "ok"),
    "work-room": ("ok", "ok", "ok", "ok", "ok", "ok", "ENOSYS", "ENOSYS"),
    "work-abort": ("SIGABRT", "SIGABRT", "SIGABRT", "SIGABRT", "SIGABRT", "SIGABRT", "SIGABRT", "SIGSYS"),
}

# Sealed, a build with sanitizers lets these calls of theirs through to the walls before.
SANITIZERS_LET = {"open-shadow", "view-leaked-directory", "process-prlimit", "process-raise-limit"}

# The last words of amp_drop() when a wall cannot stand: (role, case, answer).
WALLS = (
    ("ampscand", "none", "stands"),
    ("ampread", "none", "stands"),
    ("ampcloudd", "none", "stands"),
    ("ampquard", "none", "stands"),
    ("ampengine", "none", "stands"),
    ("ampengine", "uid-0", "wall role and ids: EINVAL"),
    ("ampengine", "thread", "wall single thread: EBUSY"),
    ("ampengine", "not-root", "wall namespaces: EPERM"),
    ("ampquard", "uid-0", "wall role and ids: EINVAL"),
    ("ampquard", "thread", "wall single thread: EBUSY"),
    ("ampquard", "not-root", "wall namespaces: EPERM"),
    ("ampscand", "uid-0", "wall role and ids: EINVAL"),
    ("ampread", "gid-0", "wall role and ids: EINVAL"),
    ("ampread", "no-role", "wall role and ids: EINVAL"),
    ("ampread", "mon", "wall role and ids: EINVAL"),
    ("ampcloudd", "view-none", "wall role and ids: EINVAL"),
    ("ampread", "thread", "wall single thread: EBUSY"),
    ("ampread", "not-root", "wall namespaces: EPERM"),
    ("ampcloudd", "view-missing", "wall view of the file system: ENOENT"),
    ("ampcloudd", "data-missing", "wall view of the file system: ENOENT"),
    ("ampscand", "limit", "wall resource limits: EPERM"),
    ("ampscand", "setuid-capability", "wall no way back: EPERM"),
    ("ampcloudd", "before-seal", "wall threads: ENOSPC"),
)

# What posture must find different in a process that never dropped.
BARE = {
    "uid", "gid", "groups", "capabilities effective", "capabilities permitted", "capabilities bounding",
    "no_new_privs", "seccomp", "namespace net", "namespace ipc", "namespace uts",
    "limit open files", "limit file size", "limit processes",
}

failures = 0


def check(good, name, why=""):
    global failures
    if good:
        print(f"ok {name}", flush=True)
        return
    failures += 1
    print(f"not ok {name}: {why}", flush=True)


class Server:
    """A probe that runs many times in one process (probe_serve.h)."""

    def __init__(self, program):
        self.process = subprocess.Popen([program, "serve"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def run(self, arguments):
        """As subprocess.run() would give it; nobody waits for longer than a minute."""
        p = self.process
        alarm = threading.Timer(60, p.kill)
        alarm.start()
        try:
            p.stdin.write(" ".join(arguments).encode() + b"\n")
            p.stdin.flush()
            status, out, err = (int(word) for word in p.stdout.readline().split())
            return subprocess.CompletedProcess(arguments, status, p.stdout.read(out), p.stdout.read(err))
        finally:
            alarm.cancel()

    def stop(self):
        self.process.stdin.close()
        self.process.wait()


class Harness:
    def __init__(self, probe):
        self.probe = probe
        self.servers = {}
        with open(probe, "rb") as f:
            self.sanitized = b"__asan_init" in f.read()
        self.dir = tempfile.mkdtemp(prefix="walls.", dir="/tmp")
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m,mode=0777", "walls", self.dir], check=True)
        os.chmod(self.dir, 0o777)
        os.mkdir(f"{self.dir}/view", 0o755)
        self.fresh_data()
        self.loopback_up()
        self.landlock_abi = self.ask_landlock()
        self.port_listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.abstract = socket.socket(socket.AF_UNIX)
        self.abstract.bind("\0amp-probe")
        self.abstract.listen(128)
        self.dgram = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.dgram.bind(f"{self.dir}/dgram")
        os.chmod(f"{self.dir}/dgram", 0o777)

    def fresh_data(self):
        shutil.rmtree(f"{self.dir}/data", ignore_errors=True)
        os.mkdir(f"{self.dir}/data", 0o700)
        os.chown(f"{self.dir}/data", UID, UID)

    @staticmethod
    def ask_landlock():
        create_ruleset, version = 444, 1
        return max(0, ctypes.CDLL(None).syscall(create_ruleset, None, ctypes.c_size_t(0), version))

    @staticmethod
    def loopback_up():
        siocsifflags, iff_up = 0x8914, 1
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
            fcntl.ioctl(s, siocsifflags, struct.pack("16sh22x", b"lo", iff_up))

    def command(self, mode, role, which):
        port = str(self.port_listener.getsockname()[1])
        if role in INNER:
            return [self.probe + "-engine", role, "ampengine", which, self.dir, str(UID), str(UID), port]
        return [self.probe, mode, role, which, self.dir, str(UID), str(UID), port]

    def run(self, mode, role, which):
        return subprocess.run(self.command(mode, role, which), stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=60)

    def attempt(self, mode, role, which):
        """One word: ok, an errno's name, a signal's name, or what went wrong before."""
        self.fresh_data()
        program, *arguments = self.command(mode, role, which)
        if program not in self.servers:
            self.servers[program] = Server(program)
        done = self.servers[program].run(arguments)
        lines = [line for line in done.stdout.decode(errors="replace").split("\n")[:-1]
                 if LOG_MARK not in line]
        if not lines or lines[0] != "trying":
            return "before: " + " ".join(lines + [done.stderr.decode(errors="replace").strip()])
        if done.returncode < 0:
            return signal.Signals(-done.returncode).name
        return lines[1] if len(lines) == 2 and done.returncode == 0 else f"odd: {lines}"


    def stop(self):
        for server in self.servers.values():
            server.stop()


def meant(cell, abi):
    """The set of answers that a cell of the table allows on this kernel."""
    answers = set()
    for one in cell.split("|"):
        good, _, rest = one.partition("@")
        since, _, other = rest.partition(":")
        answers.add(good if not rest or abi >= int(since) else other)
    return answers


def test_control(h, name, cell):
    """The answer, if this kernel cannot show the refusal; else None."""
    found = h.attempt("control", "ampscand", name)
    wanted = meant(cell, h.landlock_abi)
    if found in NOT_HERE and found not in wanted:
        print(f"# control {name}: not refusable here: {found}", flush=True)
        return found
    check(found in wanted, f"control {name}", f"{found}, not {cell}")
    return None


def test_attempts(h, names):
    check(set(TABLE) == set(names), "table: every attempt has a row",
          f"without a row or attempt: {sorted(set(TABLE) ^ set(names))}")
    for name in names:
        if name not in TABLE:
            continue
        control, *rooms = TABLE[name]
        not_here = test_control(h, name, control)
        for role, cells in zip(ROLES + INNER, rooms):
            if TRIED != [""] and role not in TRIED:
                continue
            unsealed, sealed = (cells + " " + cells).split()[:2]
            for mode, cell in (("unsealed", unsealed), ("sealed", sealed))[role in INNER or ONLY_SEALED:]:
                found = h.attempt(mode, role, name)
                good = found in meant(cell, h.landlock_abi)
                # Let through, it gets the kernel's answer to everybody.
                good = good or (found == not_here and (mode == "unsealed" or "ok" in meant(cell, h.landlock_abi)))
                if h.sanitized and name in SANITIZERS_LET:
                    good = good or found in meant(unsealed, h.landlock_abi)
                check(good, f"{role} {mode} {name}", f"{found}, not {cell}")


def test_walls(h):
    for role, case, wanted in WALLS:
        done = h.run("wall", role, case)
        found = done.stdout.decode().strip()
        check(found == wanted and done.returncode == 0, f"wall {role} {case}", f"{found} ({done.returncode})")


def posture(h, role, which):
    done = h.run("posture", role, which)
    lines = [line.split("|") for line in done.stdout.decode().splitlines()]
    if done.returncode != 0:
        check(False, f"posture {role} {which}", done.stderr.decode().strip() or str(lines))
    return lines


def test_posture(h):
    for role in ROLES:
        lines = posture(h, role, "room")
        items = [line for line in lines if line[0] == "item"]
        for _, what, expected, actual, equal in items:
            check(equal == "1" and expected == actual, f"posture {role} {what}", f"{actual}, not {expected}")
        found = {line[0]: line[1:] for line in lines}
        check(len(items) >= 20, f"posture {role} looks at everything", str(len(items)))
        check(found.get("holds") == ["1"], f"posture {role} holds", str(found.get("holds")))
        check(found.get("name") == [f"{role}/1"], f"posture {role} name", str(found.get("name")))
        memory = [int(found.get(what, ["0"])[0]) for what in ("pss", "rss")]
        check(min(memory) > 0, f"posture {role} memory", str(memory))
        check(found.get("after") == ["ESRCH"], f"posture {role} of the dead", str(found.get("after")))
        test_threads(role, [line for line in lines if line[0] == "thread"])
        lines = posture(h, role, "bare")
        differ = {line[1] for line in lines if line[0] == "item" and line[4] == "0"}
        check(BARE <= differ, f"posture {role} undropped is seen", f"not seen: {sorted(BARE - differ)}")
        check(["holds", "0"] in lines, f"posture {role} undropped does not hold")
    lines = posture(h, "ampmon", "self")
    wrong = [line for line in lines if line[0] == "item" and line[4] != "1"]
    check(not wrong, "posture ampmon", str(wrong))


def test_threads(role, lines):
    by_thread = {}
    for _, tid, text in lines:
        by_thread.setdefault(tid, []).append(text)
    check(len(by_thread) == 2, f"threads {role}: two seen", str(len(by_thread)))
    check(len(set(map(tuple, by_thread.values()))) == 1, f"threads {role}: same walls", str(by_thread))


def gone(pid):
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as f:
            return f.read().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def test_parent_death(h):
    for role in ROLES:
        parent = subprocess.Popen(h.command("hold", role, "room"), stdout=subprocess.PIPE)
        pid = int(parent.stdout.readline())
        check(not gone(pid), f"parent death {role}: lives before")
        parent.kill()
        parent.wait()
        # At once, as soon as it gets a processor to end on.
        deadline = time.monotonic() + 30
        while not gone(pid) and time.monotonic() < deadline:
            time.sleep(0.005)
        check(gone(pid), f"parent death {role}: gone")


def print_table(h, names):
    for name in names:
        control = h.attempt("control", "ampscand", name)
        cells = []
        for role in ROLES:
            two = [h.attempt(mode, role, name) for mode in ("unsealed", "sealed")]
            cells.append(two[0] if two[0] == two[1] else " ".join(two))
        cells += [h.attempt("sealed", role, name) for role in INNER]
        print(f'    "{name}": ({", ".join(repr(c) for c in [control] + cells)}),'.replace("'", '"'), flush=True)


def main(probe, show):
    subprocess.run(["mount", "--make-rprivate", "/"], check=True)
    os.setgroups([0, 1, 4])  # a root with groups to lose
    h = Harness(probe)
    try:
        names = subprocess.run([probe, "list"], stdout=subprocess.PIPE, check=True).stdout.decode().split()
        if show:
            print_table(h, names)
        else:
            test_walls(h)
            test_posture(h)
            test_parent_death(h)
            test_attempts(h, names)
            print(f"# {failures} failed", flush=True)
    finally:
        h.stop()
        subprocess.run(["umount", "-l", h.dir], check=True)
        os.rmdir(h.dir)
    return 1 if failures else 0


if __name__ == "__main__":
    if os.geteuid() != 0:
        print("# needs root: skipped")
        sys.exit(77)
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    if "--inside" not in sys.argv:
        os.execvp("unshare", ["unshare", "-m", "-n", "-i", "-u", "-p", "-f", "--kill-child", "--mount-proc",
                              sys.executable, os.path.abspath(sys.argv[0]), os.path.abspath(sys.argv[1]),
                              *sys.argv[2:], "--inside"])
    sys.exit(main(sys.argv[1], "--print" in sys.argv))
