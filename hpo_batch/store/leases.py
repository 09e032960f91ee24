"""Whether a worker is still there: each holds a lease that it refreshes, and others watch.

A worker on this host is dead at once when its process is gone. One on another host is dead when its lease has not been
refreshed for its whole duration while somebody watched: clocks of hosts are never compared.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import filelock

from hpo_batch import processes
from hpo_batch.errors import StorageError
from hpo_batch.files import dump_json, write_atomic
from hpo_batch.records import Owner


@contextlib.contextmanager
def held(folder: Path, owner: Owner, *, duration_s: float) -> Iterator[None]:
    """Hold the lease of ``owner`` while the block runs; it is refreshed by a thread of its own.

    Raises:
        StorageError: the folder of leases cannot be written, or another worker has the same name.
    """
    lease = filelock.SoftFileLease(lease_path(folder, owner.worker), lease_duration=duration_s, timeout=0)
    card = folder / f"{owner.worker}.json"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lease.acquire()  # also over a lease of a process of this host that is gone
        write_atomic(card, dump_json(asdict(owner)))  # after the lease: another worker's card is not overwritten
    except filelock.Timeout as error:  # before OSError, of which it is one
        raise StorageError(f"another worker called '{owner.worker}' is running") from error
    except OSError as error:
        raise StorageError(f"cannot write a lease in '{folder}': {error.strerror or error}") from error
    try:
        yield
    finally:
        # a lease that cannot be removed now runs out: no reason to fail when the work is done
        with contextlib.suppress(OSError):
            lease.release()
        with contextlib.suppress(OSError):
            card.unlink(missing_ok=True)


def lease_path(folder: Path, worker: str) -> Path:
    return folder / f"{worker}.lease"


def read_owners(folder: Path) -> dict[str, Owner]:
    """The workers that hold or held a lease, by name. A worker that ended in order has removed its card."""
    owners: dict[str, Owner] = {}
    for path in sorted(folder.glob("*.json")):
        with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
            facts = json.loads(path.read_text())
            owners[path.stem] = Owner(**{**facts, "gpus": tuple(facts["gpus"])})
    return owners


def let_go(folder: Path, owner: Owner) -> None:
    """Remove the lease of a worker that is about to end without leaving ``held``."""
    for path in (lease_path(folder, owner.worker), folder / f"{owner.worker}.json"):
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)


def follows(later: Mapping[str, Any], earlier: Mapping[str, Any]) -> bool:
    """Whether the worker behind ``later`` ran in a later run of the array task of the one behind ``earlier``.

    SLURM has ended the earlier run, or takes it for ended: its slurmd may have died, and the worker live on.
    """
    jobs = [(facts.get("job", "local"), facts.get("submission", "")) for facts in (later, earlier)]
    runs = [_run_of(str(facts.get("worker"))) for facts in (earlier, later)]
    return jobs[0] == jobs[1] and jobs[0][0] != "local" and 0 <= runs[0] < runs[1]


def is_followed(folder: Path, owner: Owner) -> bool:
    """Whether a later run of the worker's array task has come to the study, and has not ended in order."""
    return any(follows(other.facts, owner.facts) for other in read_owners(folder).values())


def _run_of(worker: str) -> int:
    """How often the array task had been requeued when it started the worker: ``7-r2-0`` gives 2."""
    match = re.search(r"-r(\d+)-", worker)
    return int(match[1]) if match else -1


def is_dead_here(facts: Mapping[str, Any]) -> bool | None:
    """Whether the process behind a claim is proven gone; None if nobody here can tell.

    That is if it ran on another host, or if it is another user's and this host hides those (hidepid).
    """
    if facts.get("host") != processes.host_name():
        return None
    if facts.get("boot") != _boot():
        return True
    pid = facts["pid"]
    if not processes.is_alive(pid):
        return True
    started = processes.started_at(pid)
    return None if started == 0 else bool(started != facts["start"])


@cache
def _boot() -> str:
    return processes.boot_id()


@dataclass(kw_only=True)
class _Sighting:
    """What this process knows of one lease, by its own clock."""

    refreshed: int | None
    """the lease's own time, only ever compared with itself; None if it could not be read"""
    since: float
    """first look at which it was so"""
    looked: float
    """last look"""
    alive: float | None = None
    """last look that found a refresh newer than the look before it, not long ago"""


class LeaseWatch:
    """What one process has seen of the leases of others, by its own clock."""

    def __init__(self, folder: Path, *, duration_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.folder = folder
        self.duration_s = duration_s
        self._clock = clock
        self._seen: dict[str, _Sighting] = {}

    def silent_s(self, worker: str) -> float:
        """Seconds for which this process has seen no sign of life; infinite if the lease was given up."""
        seen = self._look(worker)
        return float("inf") if seen is None else self._clock() - seen.since

    def is_dead(self, facts: Mapping[str, Any]) -> bool:
        """Whether the worker of an attempt is dead, by its process or by its lease."""
        here = is_dead_here(facts)
        return here if here is not None else self.silent_s(facts["worker"]) > self.duration_s

    def is_in_doubt(self, facts: Mapping[str, Any]) -> bool:
        """Whether only more watching can tell: a worker on another host, neither dead nor seen to live just now.

        One look proves nothing: the lease of a worker that died an hour ago looks like any other.
        """
        if is_dead_here(facts) is not None:
            return False
        seen = self._look(facts["worker"])
        if seen is None or self._clock() - seen.since > self.duration_s:
            return False
        return seen.alive is None or self._clock() - seen.alive > self.duration_s

    def _look(self, worker: str) -> _Sighting | None:
        try:
            refreshed: int | None = _refreshed(lease_path(self.folder, worker))
        except FileNotFoundError:
            return None
        except OSError:
            refreshed = None
        now = self._clock()
        before = self._seen.get(worker)
        if before is None or before.refreshed is None:
            self._seen[worker] = _Sighting(refreshed=refreshed, since=now, looked=now)
        elif refreshed is not None and refreshed != before.refreshed:
            alive = now if now - before.looked <= self.duration_s else None
            self._seen[worker] = _Sighting(refreshed=refreshed, since=now, looked=now, alive=alive)
        else:
            before.looked = now
        return self._seen[worker]


def _refreshed(path: Path) -> int:
    """The lease's own time. Opened, not only asked for: NFS clients answer ``stat`` from a cache for up to a minute."""
    fd = os.open(path, os.O_RDONLY)
    try:
        return os.fstat(fd).st_mtime_ns
    finally:
        os.close(fd)
