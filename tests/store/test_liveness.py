"""Which workers are there: told at once on this host, by watching on others."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from hpo_batch.records import Owner
from hpo_batch.store.held_lease import held
from hpo_batch.store.leases import lease_path
from hpo_batch.store.liveness import find_alive, holders
from tests.helpers import until
from tests.processes import kill, start
from tests.study.helpers import owner

ELSEWHERE = {"host": "elsewhere", "pid": 1, "start": 1, "job": "77_3"}


class Time:
    """A clock that goes on when somebody sleeps, and what happens meanwhile."""

    def __init__(self, *, refresh: Path | None = None, every_s: float = 20.0) -> None:
        self.now, self._refresh, self._every_s, self._next = 0.0, refresh, every_s, every_s

    def clock(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        if self._refresh is not None and self.now >= self._next:
            self._next += self._every_s
            os.utime(self._refresh, ns=(int(self.now), int(self.now)))


def leave(folder: Path, worker: Owner) -> None:
    """Card and lease as a killed worker leaves them."""
    with held(folder, worker, duration_s=60):
        kept = {path: path.read_bytes() for path in folder.iterdir()}
    for path, content in kept.items():
        path.write_bytes(content)


def hold_until_killed(folder: Path) -> None:
    with held(folder, owner(3), duration_s=60):
        (folder.parent / "ready").touch()
        import time

        time.sleep(60)


def test_nobody_is_there(tmp_path: Path) -> None:
    assert holders(tmp_path / "missing") == ()
    assert find_alive(tmp_path / "missing", duration_s=60) == (None, frozenset())


def test_on_this_host_it_is_told_at_once(tmp_path: Path, root: Path) -> None:
    folder = tmp_path / "workers"
    process, _ = start(hold_until_killed, folder)
    until((tmp_path / "ready").exists)
    (holder,) = holders(folder)
    assert holder.alive is True
    assert str(holder) == f"worker {process.pid}-3 on {holder.facts['host']} (pid {process.pid})"
    assert find_alive(folder, duration_s=60, sleep=_no_sleep)[0] == holder
    kill(process)
    (holder,) = holders(folder)
    assert holder.alive is False
    assert find_alive(folder, duration_s=60, sleep=_no_sleep) == (None, {f"{process.pid}-3"})


@pytest.mark.parametrize("refreshed", [False, True])
def test_on_another_host_only_watching_tells(tmp_path: Path, refreshed: bool) -> None:
    far = owner(**ELSEWHERE)
    leave(tmp_path, far)
    (holder,) = holders(tmp_path)
    assert (holder.alive, str(holder)) == (None, f"worker {far.worker} on elsewhere (job 77_3)")
    time = Time(refresh=lease_path(tmp_path, far.worker) if refreshed else None)
    told: list[Any] = []
    alive, dead = find_alive(tmp_path, duration_s=60, on_wait=told.append, sleep=time.sleep, clock=time.clock)
    assert told == [(holder,)]
    if refreshed:
        assert (alive, dead) == (holder, frozenset())
        assert time.now == 20
    else:
        assert (alive, dead) == (None, {far.worker})
        assert 75 < time.now < 78  # a whole lease, and a quarter of it to be sure
    assert find_alive(tmp_path, duration_s=60, known_dead={far.worker}, sleep=_no_sleep)[0] is None


def test_a_lease_without_a_card_is_watched_and_a_card_without_a_lease_is_dead(tmp_path: Path) -> None:
    for name in ("a", "b"):
        leave(tmp_path, owner(worker=name, **ELSEWHERE))
    (tmp_path / "a.json").unlink()
    lease_path(tmp_path, "b").unlink()
    assert [(holder.worker, holder.alive, str(holder)) for holder in holders(tmp_path)] == [
        ("a", None, "worker a"),
        ("b", False, "worker b on elsewhere (job 77_3)"),
    ]


def _no_sleep(seconds: float) -> None:
    pytest.fail("there was nothing to wait for")
