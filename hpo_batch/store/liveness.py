"""Finds the live workers of a study, at once or by watching their leases."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from msgspec import Struct
from msgspec.structs import asdict

from hpo_batch.processes import is_dead_here
from hpo_batch.store.leases import LeaseWatch, lease_path, read_owners

LOOK_EVERY_S = 1.0


class Holder(Struct, frozen=True, kw_only=True):
    """A worker with a lease or card: it is running, or did not end normally."""

    worker: str
    facts: Mapping[str, Any]
    """its card; only the name if it has none"""
    alive: bool | None
    """None if it runs on another host, where one check of its lease is not enough"""

    def __str__(self) -> str:
        where = f" on {self.facts['host']}" if "host" in self.facts else ""
        how = f"job {self.facts['job']}" if self.facts.get("job", "local") != "local" else ""
        how = how or (f"pid {self.facts['pid']}" if "pid" in self.facts else "")
        return f"worker {self.worker}{where}{f' ({how})' if how else ''}"


def holders(folder: Path) -> tuple[Holder, ...]:
    """The workers with a card or a lease."""
    cards = {name: asdict(owner) for name, owner in read_owners(folder).items()}
    # a worker acquires its lease before it writes its card
    bare = {path.stem: {"worker": path.stem} for path in folder.glob("*.lease") if path.stem not in cards}
    everybody = []
    for name, facts in sorted({**cards, **bare}.items()):
        dead = is_dead_here(facts)
        if dead is None and not lease_path(folder, name).exists():
            dead = True  # released: its worker was about to end
        everybody.append(Holder(worker=name, facts=facts, alive=None if dead is None else not dead))
    return tuple(everybody)


def find_alive(
    folder: Path,
    *,
    duration_s: float,
    known_dead: Collection[str] = (),
    on_wait: Callable[[tuple[Holder, ...]], None] = lambda doubtful: None,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> tuple[Holder | None, frozenset[str]]:
    """A live worker, or None if all are dead, and the names of the dead ones.

    Takes up to ``duration_s`` seconds if there are leases of other hosts: a dead worker's lease looks like any other.

    Args:
        folder: of the leases.
        duration_s: of the leases.
        known_dead: names of workers found dead by an earlier call.
        on_wait: called once, before the first pause, with the workers being watched.
        sleep: pauses between two checks.
        clock: monotonic time in seconds.
    """
    watch = LeaseWatch(folder, duration_s=duration_s, clock=clock)
    has_announced = False
    while True:
        candidates = [holder for holder in holders(folder) if holder.worker not in known_dead]
        doubtful = []
        for holder in candidates:
            if holder.alive is False or (holder.alive is None and watch.is_dead(holder.facts)):
                continue
            if holder.alive or not watch.is_in_doubt(holder.facts):
                return holder, frozenset(known_dead)
            doubtful.append(holder)
        if not doubtful:
            return None, frozenset(known_dead) | {holder.worker for holder in candidates}
        if not has_announced:
            on_wait(tuple(doubtful))
            has_announced = True
        sleep(LOOK_EVERY_S)
