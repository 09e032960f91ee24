"""Another user of a node finds the port on which rank 0 listens: nobody waits for him, and nothing he says is read."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import pytest

from hpo_batch.worker import rank_hub
from hpo_batch.worker.connection import Wire, connect, listen
from hpo_batch.worker.rank_protocol import Rank
from hpo_batch.worker.ranks import Lead
from tests.study.helpers import Text, make, sweep_of

ONE = Rank(rank=0, world_size=2, local_rank=0, local_size=2, node="n0", life="7-r0-s0")
"""both on this node"""


@pytest.fixture
def lead(root: Path) -> Iterator[Lead]:
    home = make(root)
    lead = Lead(home, sweep_of(root, Text()), ONE)
    yield lead
    lead.close()


def knock(lead: Lead, data: bytes = b"") -> socket.socket:
    stranger = socket.create_connection((lead.hub.address.hosts[-1], lead.hub.address.port), timeout=5)
    if data:
        stranger.sendall(data)
    return stranger


def joins(lead: Lead, within_s: float) -> float:
    """How long a rank with the token takes to be let in, while rank 0 does what it does in a loop."""
    found: list[Wire | None] = []
    began = time.monotonic()
    rank = threading.Thread(target=lambda: found.append(connect(lead.hub.address, {"task": 1, "node": "n0"})))
    rank.start()
    while rank.is_alive() and time.monotonic() - began < within_s:
        list(lead.take_in(0.05))
    took = time.monotonic() - began
    rank.join(within_s)
    assert found
    assert found[0] is not None
    assert lead.hub.peers[1].task is not None
    found[0].close()
    return took


def test_silence_costs_nobody_anything(lead: Lead) -> None:
    """Three silent connections cost 15 s, in which no lease was renewed and no signal heeded."""
    silent = [knock(lead) for _ in range(50)]
    assert joins(lead, 10) < 3
    for one in silent:
        one.close()


JUNK = {
    "brackets": b"[" * 200_000 + b"\n",
    "short brackets": b"[" * 4_000 + b"\n",
    "no end": b"a" * 1_000_000,
    "a number": b"1\n",
    "pairs": b'[["token", "x"]]\n',
    "half a pair": b'{"token": "\\ud800"}\n',
    "no token": b'{"task": 1, "node": "evil"}\n',
    "a wrong one": b'{"token": "0", "task": 1, "node": "evil"}\n',
    "an object": b'{"token": {"a": 1}, "task": 1}\n',
    "bytes": b"\x00\xff\xfe\n",
    "digits": b"9" * 4_000 + b"\n",
    "HTTP": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    "a key and more": b'{"token": "x"}\n{"token": "y"}\n',
}


@pytest.mark.parametrize("what", JUNK)
def test_what_strangers_say_is_not_read(lead: Lead, what: str) -> None:
    with knock(lead) as stranger:
        stranger.settimeout(5)
        try:
            stranger.sendall(JUNK[what])
            for _ in range(20):
                list(lead.take_in(0.02))
            assert stranger.recv(1) == b""  # cut off
        except (ConnectionResetError, BrokenPipeError):
            pass
    assert lead.hub.peers[1].task is None
    assert joins(lead, 10) < 3


def test_who_says_it_slowly_is_cut_off(lead: Lead, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rank_hub, "HELLO_S", 0.3)
    with knock(lead) as stranger:
        for _ in range(10):
            list(lead.take_in(0.01))
            try:
                stranger.sendall(b"{")
            except OSError:
                break
            time.sleep(0.1)
        assert lead.hub._strangers == {}


def test_descriptors_are_left_for_the_ranks(lead: Lead, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rank_hub, "MOST_STRANGERS", 8)
    silent = [knock(lead) for _ in range(40)]
    assert joins(lead, 10) < 3
    assert len(lead.hub._strangers) <= 8
    for one in silent:
        one.close()


def test_ranks_of_one_node_listen_on_no_network(lead: Lead) -> None:
    assert lead.hub._server.getsockname()[0] == "127.0.0.1"
    assert lead.hub.address.hosts == ("127.0.0.1",)
    assert json.loads(lead.hub._path.read_text()) == json.loads(json.dumps(asdict(lead.hub.address)))
    assert lead.hub._path.stat().st_mode & 0o077 == 0  # the token is nobody else's


def test_of_several_addresses_it_is_the_jobs() -> None:
    with listen(["192.0.2.1", "127.0.0.2"]) as server:  # the first is no host's (RFC 5737)
        assert server.getsockname()[0] == "127.0.0.2"
    with listen() as server:
        assert server.getsockname()[0] == "0.0.0.0"


def test_a_long_message_of_a_rank_is_read_in_time_that_grows_with_it() -> None:
    def seconds(size: int) -> float:
        with listen(["127.0.0.1"]) as server:
            server.setblocking(True)
            port = server.getsockname()[1]
            text = json.dumps({"a": "x" * size}).encode() + b"\n"
            sender = socket.create_connection(("127.0.0.1", port))
            thread = threading.Thread(target=lambda: sender.sendall(text))
            thread.start()
            wire = Wire(server.accept()[0])
            began = time.thread_time()
            message = wire.next(30)
            took = time.thread_time() - began
            thread.join()
            sender.close()
            wire.close()
        assert message is not None
        assert len(message["a"]) == size
        return took

    short = min(seconds(4_000_000) for _ in range(2))
    assert min(seconds(16_000_000) for _ in range(2)) < 10 * max(short, 0.02)  # sixteen times, were it quadratic
