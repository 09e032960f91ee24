"""Messages between the processes of one worker on several nodes: JSON lines over TCP.

A broken connection means that the other process is gone, so the ranks of a trial learn of each other's death at once. A
file in the study holds the listener's address and a token; only the owner can read it.

``multiprocessing.connection`` does not fit (https://docs.python.org/3/library/multiprocessing.html): ``accept``
authenticates before it returns, and ``recv_bytes`` waits for the rest of a message, both without a time-out. A stranger
who connects and stays silent would block the lease, the signals and all ranks.
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
# poll() takes milliseconds as a C int, so an infinite wait is cut into hours
MOST_POLLED_S: Final = 3600.0
# bytes of a message from a peer that has not sent the token yet
MOST_HELLO: Final = 4096
# bytes of a message from a rank, which may hold the sweep or a traceback
MOST_MESSAGE: Final = 64 << 20


@dataclass(frozen=True, kw_only=True)
class Address:
    """Where a worker's first process listens."""

    hosts: tuple[str, ...]
    """host names and addresses where it may be reached, the most likely first"""
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
        # a node without power closes no connection; with keepalive the kernel notices after 20 + 4 * 10 s instead of
        # the default of more than two hours (https://man7.org/linux/man-pages/man7/tcp.7.html)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in (("TCP_KEEPIDLE", 20), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 4)):
            if hasattr(socket, name):
                self._socket.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
        self._unread = bytearray()
        self.most = MOST_MESSAGE
        """maximum size of a message in bytes; a longer one closes the connection"""
        self._queue: list[Message] = []

    def fileno(self) -> int:
        return self._socket.fileno()

    def send(self, message: Mapping[str, Any]) -> None:
        """Send a message; a broken connection is noticed by ``read``."""
        if not self.is_open:
            return
        try:
            self._socket.sendall(json.dumps(message).encode() + b"\n")
        except OSError:
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)  # after a partial message nothing else may follow

    def read(self, timeout_s: float) -> list[Message]:
        """The messages that have arrived; waits up to ``timeout_s`` for one. Empty once ``is_open`` is False."""
        if self._queue or not self.is_open:
            messages, self._queue = self._queue, []
            return messages
        # not select(), which cannot watch descriptors above 1023: https://man7.org/linux/man-pages/man2/select.2.html
        poll = select.poll()
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
            messages = [json.loads(line) for line in lines]
            if not all(isinstance(message, dict) for message in messages):
                raise ValueError("no messages of ours")
            return messages
        except (ValueError, RecursionError):  # a stranger, for example a port scanner
            self.close()
            return []

    def next(self, timeout_s: float = math.inf) -> Message | None:
        """The next message; None if the connection broke or nothing came in time."""
        end = time.monotonic() + timeout_s
        while not self._queue and self.is_open and (left_s := end - time.monotonic()) > 0:
            self._queue += self.read(left_s)
        return self._queue.pop(0) if self._queue else None

    def close(self) -> None:
        self.is_open = False
        with contextlib.suppress(OSError):
            self._socket.close()


def listen(hosts: Sequence[str] = ()) -> socket.socket:
    """A listener on the first of these addresses that belongs to this host, or on all addresses if none does."""
    for host in (*hosts, ""):
        with contextlib.suppress(OSError):
            server = socket.create_server((host, 0), backlog=4096)
            server.setblocking(False)
            return server
    raise StorageError("this host has no address to listen on")


def addresses_of(host: str) -> list[str]:
    """The IPv4 addresses of a name that other hosts can reach, without loopback addresses."""
    try:
        entries = socket.getaddrinfo(host, None, family=socket.AF_INET, type=socket.SOCK_STREAM)
    except OSError:
        return []
    addresses = dict.fromkeys(str(entry[4][0]) for entry in entries)
    # Debian maps a host's own name to 127.0.1.1: https://www.debian.org/doc/manuals/debian-reference/ch05.en.html
    return [address for address in addresses if not address.startswith("127.") and address != "0.0.0.0"]


def is_known(host: str) -> bool:
    """Whether a host name can be resolved here."""
    try:
        socket.getaddrinfo(host, None)
    except OSError:
        return False
    return True


def free_port() -> int:
    """A port of this host that is free at the moment."""
    with socket.create_server(("", 0)) as server:
        port: int = server.getsockname()[1]
        return port


def publish(path: Path, address: Address) -> None:
    """Write the address where the other processes look for it, readable only by this user.

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
        os.listdir(path.parent)  # noqa: PTH208  # NFS clients cache that a file is missing; listing makes them ask
    try:
        facts = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    return Address(hosts=tuple(facts["hosts"]), port=facts["port"], token=facts["token"])


def connect(address: Address, hello: Mapping[str, Any], *, hosts: Sequence[str] = ()) -> Wire | None:
    """A connection to the process that published the address and accepts its token; None if it does not answer."""
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
