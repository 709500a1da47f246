"""Messages of the suite's wire as bytes, right and wrong ones (proto/types.h).

Owns: the header, the little of protobuf that the tests need, a raw client of
a CLI socket. Must not own: what is sent where and what follows (test_*.py).
"""

import array
import socket
import struct

VERSION = 0xA501
MAX = 65536

CONF, READY, LINK, START, PING, PONG, LOG_FILE, STOP, FAULT, PEER_HOSTILE = range(0x0101, 0x010B)
SOURCE, POLICY_ACK, REPAIR_STATE, REPAIR_WANTED = 0x0110, 0x0118, 0x011A, 0x011B
KILL, KILLED, CONCLUDED, SCAN_STATE = 0x011D, 0x011E, 0x011F, 0x0120
KEEP, KEPT, KEEPS, MAPPED, MAPPED_FILES = range(0x0124, 0x0129)
READ, READ_DONE, WALK, WALK_CREDIT, WALK_ENTRIES, WALK_DONE, WALK_CANCEL = range(0x0201, 0x0208)
WALK_MARK, WALK_GO = 0x0208, 0x0209
EVENT, EVENT_ACK = 0x0301, 0x0302
CLI_STATUS, CLI_STATUS_REPLY, CLI_POSTURE, CLI_POSTURE_REPLY, CLI_POLICY, CLI_POLICY_REPLY = range(0x0401, 0x0407)
CLI_POLICY_USE, CLI_POLICY_USE_REPLY, CLI_RULES, CLI_RULES_REPLY, CLI_HISTORY, CLI_HISTORY_REPLY = range(0x0407, 0x040D)
CLI_QUARANTINE, CLI_QUARANTINE_REPLY, CLI_RESTORE, CLI_RESTORE_REPLY = range(0x040D, 0x0411)
CLI_DELETE, CLI_DELETE_REPLY, CLI_REVOKE, CLI_REVOKE_REPLY = range(0x0411, 0x0415)
CLI_SCAN_START, CLI_SCAN_START_REPLY, CLI_SCAN_LIST, CLI_SCAN_LIST_REPLY = range(0x0415, 0x0419)
CLI_SCAN_CONTROL, CLI_SCAN_CONTROL_REPLY, CLI_SCAN_FILES, CLI_SCAN_FILES_REPLY = range(0x0419, 0x041D)
CLI_DEFINITIONS, CLI_DEFINITIONS_REPLY, CLI_BRAKE, CLI_BRAKE_REPLY = range(0x041D, 0x0421)
CLI_BRAKE_RELEASE, CLI_BRAKE_RELEASE_REPLY = 0x0421, 0x0422
CLI_ERROR = 0x04FF
TAKE, TAKE_ACK, OPEN, OPENED, KILL_AGAIN, KILLED_AGAIN, JUDGE_AGAIN, ALLOW, ALLOW_ACK, HANDS = range(0x0501, 0x050B)
ENGINE_STATE, SPAWN, WORKER, WORKER_GONE, KILL_WORKER = range(0x0601, 0x0606)
SCAN, SCAN_VERDICT = 0x0610, 0x0611
UNKNOWN = 0x7FFF


def varint(n):
    n &= (1 << 64) - 1
    out = b""
    while n > 0x7F:
        out += bytes((n & 0x7F | 0x80,))
        n >>= 7
    return out + bytes((n,))


def field(number, value):
    """int: varint; bytes or str: by length; list: packed numbers."""
    if isinstance(value, bool) or isinstance(value, int):
        return varint(number << 3) + varint(int(value))
    if isinstance(value, str):
        value = value.encode()
    if isinstance(value, list):
        value = b"".join(varint(v) for v in value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def body(*pairs):
    """Fields in order; those with their default are left out, as protobuf-c does."""
    return b"".join(field(n, v) for n, v in pairs if v not in (0, False, b"", "", []))


def message(kind, content=b"", ident=0, version=VERSION, length=None):
    if length is None:
        length = len(content)
    return struct.pack("=HHIQ", version, kind, length & 0xFFFFFFFF, ident) + content


def _number(data, at):
    n = shift = 0
    while True:
        b = data[at]
        at += 1
        n |= (b & 0x7F) << shift
        if not b & 0x80:
            return n, at
        shift += 7


def parse(data):
    """{field number: [value, ...]}, sub-messages as bytes."""
    out, at = {}, 0
    while at < len(data):
        key, at = _number(data, at)
        if key & 7 == 0:
            value, at = _number(data, at)
        elif key & 7 == 2:
            size, at = _number(data, at)
            value, at = data[at:at + size], at + size
        else:
            raise ValueError("wire type %d" % (key & 7))
        out.setdefault(key >> 3, []).append(value)
    return out


class Client:
    """A raw client of a CLI socket: sends any bytes, with any descriptors."""

    def __init__(self, path, timeout=60):
        self.s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.s.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        # A full backlog is waited for, as ampcli does; with a time-out Python would not.
        self.s.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", int(timeout), 0))
        try:
            self.s.connect(path)
            self.s.settimeout(timeout)
        except BaseException:
            self.s.close()
            raise

    def send(self, data, fds=()):
        control = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        return self.s.sendmsg([data], control, socket.MSG_NOSIGNAL)

    def receive(self):
        """(type, id, body); None at the end."""
        try:
            data = self.s.recv(MAX + 1)
        except ConnectionResetError:
            # Closed with something of ours unread; what it said before still comes.
            data = self.s.recv(MAX + 1)
        if not data:
            return None
        _, kind, _, ident = struct.unpack("=HHIQ", data[:16])
        return kind, ident, data[16:]

    def ask(self, kind, content=b"", ident=1):
        self.send(message(kind, content, ident))
        return self.receive()

    def close(self):
        self.s.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
