"""The listener of rank 0: accepts connections of the other ranks and reads their messages, without ever blocking.

Other users of the node may find the port. So a connection has to send the token in its first message, which may only be
short; until then nothing else is read, and a client that stays silent delays nobody.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import selectors
import socket
import time
from dataclasses import dataclass
from typing import Final

from hpo_batch.records import Failed, Reason
from hpo_batch.store.home import StudyHome
from hpo_batch.sweep.schema import Sweep
from hpo_batch.worker.connection import (
    MOST_HELLO,
    MOST_MESSAGE,
    Address,
    Message,
    Wire,
    addresses_of,
    is_known,
    listen,
    publish,
)
from hpo_batch.worker.rank_protocol import Rank, meeting_point

# time limit for a new connection to send the token
HELLO_S: Final = 5.0
# maximum number of connections without a token; beyond it the oldest is closed, so that descriptors are left for ranks
MOST_STRANGERS: Final = 256


@dataclass(kw_only=True)
class Peer:
    """What rank 0 knows about a rank."""

    rank: int
    node: str = "?"
    task: Wire | None = None
    """the connection of its task; None for rank 0 itself"""
    process: Wire | None = None
    load_failure: Failed | None = None
    is_ready: bool = False
    exit: Message | None = None

    def __str__(self) -> str:
        return f"rank {self.rank} on {self.node}"

    @property
    def is_serving(self) -> bool:
        """Whether its process can run a trial."""
        return self.is_ready and self.process is not None and self.process.is_open

    @property
    def is_task_gone(self) -> bool:
        return self.task is not None and not self.task.is_open

    @property
    def is_gone(self) -> bool:
        """Whether its task or its process is gone."""
        return self.is_task_gone or self.exit is not None or (self.process is not None and not self.process.is_open)


class Hub:
    """The listener and the connections of rank 0.

    Attributes:
        peers: all ranks, in order.
        generation: number of the current set of processes; messages of earlier ones are ignored.
    """

    def __init__(self, home: StudyHome, sweep: Sweep, rank: Rank) -> None:
        self.peers = [Peer(rank=number) for number in range(rank.world_size)]
        self.peers[0].node = rank.node
        self.generation = 0
        self._sweep = sweep
        name, launcher = socket.gethostname(), os.environ.get("SLURM_LAUNCH_NODE_IPADDR", "")
        is_one_node = rank.world_size <= rank.local_size
        here = [] if is_one_node else [*addresses_of(name), *addresses_of(launcher)]
        # loopback if all ranks are on this node; else only the interface of the node's name, not every network
        self._server = listen(here or (["127.0.0.1"] if is_one_node else []))
        bound = str(self._server.getsockname()[0])
        hosts = ("127.0.0.1",) if bound == "127.0.0.1" else (name, *here, launcher, "127.0.0.1")
        self.address = Address(
            hosts=tuple(host for host in dict.fromkeys(hosts) if host and is_known(host)),
            port=self._server.getsockname()[1],
            token=secrets.token_hex(16),
        )
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._server, selectors.EVENT_READ, None)
        self._strangers: dict[Wire, float] = {}
        """connections without a token yet -> their time limit"""
        self._path = meeting_point(home, rank)
        publish(self._path, self.address)

    def close(self) -> None:
        """Let the other tasks end, and stop listening."""
        self.tell_tasks({"finish": True})
        for peer in self.peers:
            if peer.task is not None:
                peer.task.close()
        for wire in list(self._strangers):
            self._dismiss(wire)
        self._selector.close()
        self._server.close()
        self._path.unlink(missing_ok=True)

    def tell_tasks(self, message: Message) -> None:
        for peer in self.peers:
            if peer.task is not None:
                peer.task.send(message)

    def forget_processes(self) -> None:
        """Close the connections to the current processes."""
        for peer in self.peers:
            if peer.process is not None and peer.process.is_open:
                self._selector.unregister(peer.process)  # before closing: the kernel may reuse the descriptor at once
                peer.process.close()
            peer.process, peer.load_failure, peer.is_ready, peer.exit = None, None, False, None

    def take_in(self, timeout_s: float) -> list[tuple[Peer, Message]]:
        """Wait for connections and messages; return the messages about the running trial."""
        of_processes: list[tuple[Peer, Message]] = []
        for key, _ in self._selector.select(timeout_s):
            if key.data is None:
                self._accept()
                continue
            peer, wire = key.data
            if peer is None:
                self._hear_stranger(wire)
                continue
            of_processes += [(peer, message) for message in wire.read(0.0) if not self._note(peer, wire, message)]
            if not wire.is_open:
                self._selector.unregister(key.fileobj)
        now = time.monotonic()
        for wire in [wire for wire, until in self._strangers.items() if until < now]:
            self._dismiss(wire)
        return of_processes

    def _note(self, peer: Peer, wire: Wire, message: Message) -> bool:
        """Process a message about a task or process; False if it is about a trial."""
        if wire is peer.task:
            if message.get("generation") == self.generation:
                peer.exit = message
            return True
        if "ready" not in message:
            return False
        peer.is_ready = message["ready"]
        if not peer.is_ready:
            peer.load_failure = Failed(reason=Reason.INVALID, **message["why"])
        return True

    def _accept(self) -> None:
        """Accept a connection without waiting for its message, which may never come."""
        try:
            connection, _ = self._server.accept()
            wire = Wire(connection)
        except OSError:  # the client is gone again, or no file descriptor is left
            return
        wire.most = MOST_HELLO
        while len(self._strangers) >= MOST_STRANGERS:
            self._dismiss(next(iter(self._strangers)))
        self._strangers[wire] = time.monotonic() + HELLO_S
        self._selector.register(wire, selectors.EVENT_READ, (None, wire))

    def _dismiss(self, wire: Wire) -> None:
        del self._strangers[wire]
        with contextlib.suppress(KeyError, ValueError):
            self._selector.unregister(wire)
        wire.close()

    def _hear_stranger(self, wire: Wire) -> None:
        """Read the first message of a connection, which must hold the token."""
        if wire not in self._strangers:
            return
        number = wire.fileno()
        messages = wire.read(0.0)
        if not messages and wire.is_open:
            return
        del self._strangers[wire]
        self._selector.unregister(number)
        hello = messages[0] if messages else {}
        token = str(hello.get("token", "")).encode(errors="replace")
        if len(messages) != 1 or not secrets.compare_digest(token, self.address.token.encode()):
            wire.close()
            return
        wire.most = MOST_MESSAGE
        peer = self.peers[hello["task"] if "task" in hello else hello["process"]]
        if "task" in hello:
            peer.task, peer.node = wire, hello["node"]
        elif hello["generation"] == self.generation:
            peer.process = wire
        else:
            wire.close()
            return
        wire.send({"welcome": True, "sweep": self._sweep.to_json()} if "process" in hello else {"welcome": True})
        self._selector.register(wire, selectors.EVENT_READ, (peer, wire))
