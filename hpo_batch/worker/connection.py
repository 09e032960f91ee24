"""Messages between the processes of one worker that lie on several nodes: JSON lines over TCP.

A connection that breaks is a process that is gone: that is how the ranks of a trial learn of each other's death, at
once. The listener's address stands in a file of the study, with a token that only its owner can read.

Not ``multiprocessing.connection``: its ``accept`` answers the authentication before it returns, and its ``recv_bytes``
waits for the rest of a message, neither with a time-out. A stranger who says nothing would hold up the lease, the
signals and all ranks.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import secrets
import select
import socket
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from hpo_batch.errors import StorageError

Message = dict[str, Any]

CONNECT_S: Final = 5.0
SEND_S: Final = 30.0
MOST_POLLED_S: Final = 3600.0
MOST_HELLO: Final = 4096
MOST_MESSAGE: Final = 64 << 20
"""bytes of one message: of somebody who has not told the token, and of a rank (the sweep, a traceback)"""


@dataclass(frozen=True, kw_only=True)
class Address:
    """Where a worker's first process listens."""

    hosts: tuple[str, ...]
    """names and numbers under which it may be reached, the likeliest first"""
    port: int
    token: str


class Wire:
    """One end of a connection."""

    def __init__(self, connection: socket.socket, *, peer: str = "") -> None:
        self.peer = peer
        """the host that answered"""
        self.is_open = True
        self.welcome: Message = {}
        """the first answer to the one who connected"""
        self._socket = connection
        self._socket.settimeout(SEND_S)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # a node that lost its power closes nothing: the kernel has to ask
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in (("TCP_KEEPIDLE", 20), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 4)):
            if hasattr(socket, name):
                self._socket.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
        self._unread = bytearray()
        self.most = MOST_MESSAGE
        """bytes that a message may have; who sends more is cut off"""
        self._came: list[Message] = []

    def fileno(self) -> int:
        return self._socket.fileno()

    def send(self, message: Mapping[str, Any]) -> None:
        """Send a message; that a connection is broken is for the reader to find."""
        if not self.is_open:
            return
        try:
            self._socket.sendall(json.dumps(message).encode() + b"\n")
        except OSError:
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)  # part of the message may have gone: no other can follow it

    def read(self, timeout_s: float) -> list[Message]:
        """The messages that have come; waits for one at most so long. None come after ``is_open`` has become false."""
        if self._came or not self.is_open:
            came, self._came = self._came, []
            return came
        poll = select.poll()  # select ends at descriptor 1023
        poll.register(self._socket, select.POLLIN)
        if not poll.poll(min(timeout_s, MOST_POLLED_S) * 1000):
            return []
        try:
            data = self._socket.recv(1 << 16)
        except OSError:
            data = b""
        if not data:
            self.close()
        *lines, rest = data.split(b"\n")
        if lines:
            lines[0], self._unread = bytes(self._unread) + lines[0], bytearray()
        self._unread += rest
        try:
            if max(map(len, (*lines, self._unread))) > self.most:
                raise ValueError("a message without end")
            found = [json.loads(line) for line in lines]
            if not all(isinstance(message, dict) for message in found):
                raise ValueError("no messages of ours")
            return found
        except (ValueError, RecursionError):  # somebody else, who found an open port
            self.close()
            return []

    def next(self, timeout_s: float = math.inf) -> Message | None:
        """The next message; None if the connection broke or nothing came in time."""
        end = time.monotonic() + timeout_s
        while not self._came and self.is_open and (left := end - time.monotonic()) > 0:
            self._came += self.read(left)
        return self._came.pop(0) if self._came else None

    def close(self) -> None:
        self.is_open = False
        with contextlib.suppress(OSError):
            self._socket.close()


def listen(hosts: Sequence[str] = ()) -> socket.socket:
    """A listener on the first of these addresses that is one of this host's; on all of its addresses if none is."""
    for host in (*hosts, ""):
        with contextlib.suppress(OSError):
            server = socket.create_server((host, 0), backlog=4096)
            server.setblocking(False)
            return server
    raise StorageError("this host has no address to listen on")


def addresses_of(host: str) -> list[str]:
    """The IPv4 addresses of a name, as other hosts can reach them: not those that lead nowhere but here."""
    try:
        found = socket.getaddrinfo(host, None, family=socket.AF_INET, type=socket.SOCK_STREAM)
    except OSError:
        return []
    numbers = dict.fromkeys(str(one[4][0]) for one in found)
    return [number for number in numbers if not number.startswith("127.") and number != "0.0.0.0"]


def is_known(host: str) -> bool:
    """Whether a name leads anywhere from here."""
    try:
        socket.getaddrinfo(host, None)
    except OSError:
        return False
    return True


def free_port() -> int:
    """A port of this host on which nobody listens now."""
    with socket.create_server(("", 0)) as server:
        port: int = server.getsockname()[1]
        return port


def publish(path: Path, address: Address) -> None:
    """Write the address where the other processes look for it; nobody but this user can read it.

    Raises:
        StorageError: it cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            json.dump(asdict(address), file)
        os.replace(temporary, path)
    except OSError as error:
        raise StorageError.because(f"cannot write '{path}'", error) from error


def look_up(path: Path) -> Address | None:
    """A published address; None if there is none yet."""
    with contextlib.suppress(OSError):
        os.listdir(path.parent)  # noqa: PTH208  # clients of NFS remember that a file is not there: this makes them ask
    try:
        facts = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    return Address(hosts=tuple(facts["hosts"]), port=facts["port"], token=facts["token"])


def connect(address: Address, hello: Mapping[str, Any], *, hosts: Sequence[str] = ()) -> Wire | None:
    """A connection to whoever published the address and answers to its token; None if there is nobody."""
    for host in hosts or address.hosts:
        try:
            wire = Wire(socket.create_connection((host, address.port), timeout=CONNECT_S), peer=host)
        except OSError:
            continue
        wire.send({**hello, "token": address.token})
        wire.welcome = wire.next(CONNECT_S) or {}
        if "welcome" in wire.welcome:
            return wire
        wire.close()
    return None
