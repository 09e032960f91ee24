"""Which workers of a study are there: what can be told at one look, and what only watching tells."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from hpo_batch.processes import is_dead_here
from hpo_batch.store.leases import LeaseWatch, lease_path, read_owners

LOOK_EVERY_S = 1.0


@dataclass(frozen=True, kw_only=True)
class Holder:
    """A worker that holds a lease, or held one and did not end in order."""

    worker: str
    facts: Mapping[str, Any]
    """its card; the name alone if it has none"""
    alive: bool | None
    """None if it ran on another host: one look at its lease tells nothing"""

    def __str__(self) -> str:
        where = f" on {self.facts['host']}" if "host" in self.facts else ""
        how = f"job {self.facts['job']}" if self.facts.get("job", "local") != "local" else ""
        how = how or (f"pid {self.facts['pid']}" if "pid" in self.facts else "")
        return f"worker {self.worker}{where}{f' ({how})' if how else ''}"


def holders(folder: Path) -> tuple[Holder, ...]:
    """The workers that have left a card or a lease."""
    cards = {name: asdict(owner) for name, owner in read_owners(folder).items()}
    # a worker writes its card after it has its lease
    bare = {path.stem: {"worker": path.stem} for path in folder.glob("*.lease") if path.stem not in cards}
    found = []
    for name, facts in sorted({**cards, **bare}.items()):
        dead = is_dead_here(facts)
        if dead is None and not lease_path(folder, name).exists():
            dead = True  # given up: its worker was about to end
        found.append(Holder(worker=name, facts=facts, alive=None if dead is None else not dead))
    return tuple(found)


def find_alive(
    folder: Path,
    *,
    duration_s: float,
    known_dead: Collection[str] = (),
    on_wait: Callable[[tuple[Holder, ...]], None] = lambda doubtful: None,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> tuple[Holder | None, frozenset[str]]:
    """A worker that lives, or None if all are dead; and the names of those that are.

    Takes up to ``duration_s`` seconds if there are leases of other hosts: a dead worker's lease looks like any other.

    Args:
        known_dead: names of workers that an earlier call has found dead.
        on_wait: told once who is watched, before the first pause.
    """
    watch = LeaseWatch(folder, duration_s=duration_s, clock=clock)
    told = False
    while True:
        seen = [holder for holder in holders(folder) if holder.worker not in known_dead]
        doubtful = []
        for holder in seen:
            if holder.alive is False or (holder.alive is None and watch.is_dead(holder.facts)):
                continue
            if holder.alive or not watch.is_in_doubt(holder.facts):
                return holder, frozenset(known_dead)
            doubtful.append(holder)
        if not doubtful:
            return None, frozenset(known_dead) | {holder.worker for holder in seen}
        if not told:
            on_wait(tuple(doubtful))
            told = True
        sleep(LOOK_EVERY_S)
