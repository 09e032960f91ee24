"""Whether a worker is still there: each holds a lease that it refreshes, and others watch.

A worker on this host is dead at once when its process is gone. One on another host is dead when its lease has not been
refreshed for its whole duration while somebody watched: clocks of hosts are never compared.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import filelock

from hpo_batch import processes
from hpo_batch.errors import StorageError
from hpo_batch.files import dump_json, write_atomic
from hpo_batch.records import Owner


@contextlib.contextmanager
def held(folder: Path, owner: Owner, *, duration_s: float) -> Any:
    """Hold the lease of ``owner`` while the block runs; it is refreshed by a thread of its own.

    Raises:
        StorageError: the folder of leases cannot be written, or another worker has the same name.
    """
    lease = filelock.SoftFileLease(lease_path(folder, owner.worker), lease_duration=duration_s, timeout=0)
    card = folder / f"{owner.worker}.json"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_atomic(card, dump_json(asdict(owner)))
        lease.acquire()
    except OSError as error:
        raise StorageError(f"cannot write a lease in '{folder}': {error.strerror}") from error
    except filelock.Timeout as error:
        raise StorageError(f"another worker called '{owner.worker}' is running") from error
    try:
        yield
    finally:
        lease.release()
        card.unlink(missing_ok=True)


def lease_path(folder: Path, worker: str) -> Path:
    return folder / f"{worker}.lease"


def read_owners(folder: Path) -> dict[str, Owner]:
    """The workers that hold or held a lease, by name. A worker that ended in order has removed its card."""
    owners: dict[str, Owner] = {}
    for path in sorted(folder.glob("*.json")):
        with contextlib.suppress(OSError, ValueError, TypeError):
            facts = json.loads(path.read_text())
            owners[path.stem] = Owner(**{**facts, "gpus": tuple(facts["gpus"])})
    return owners


def is_dead_here(facts: Mapping[str, Any]) -> bool | None:
    """Whether the process behind a claim is proven gone; None if it ran on another host: nobody here can tell."""
    if facts.get("host") != processes.host_name():
        return None
    if facts.get("boot") != processes.boot_id():
        return True
    pid = facts["pid"]
    return not processes.is_alive(pid) or processes.started_at(pid) != facts["start"]


class LeaseWatch:
    """What one process has seen of the leases of others, by its own clock."""

    def __init__(self, folder: Path, *, duration_s: float) -> None:
        self.folder = folder
        self.duration_s = duration_s
        self._seen: dict[str, tuple[int, float]] = {}

    def silent_s(self, worker: str) -> float:
        """Seconds for which this process has seen no sign of life; infinite if the lease was given up."""
        try:
            refreshed = lease_path(self.folder, worker).lstat().st_mtime_ns
        except FileNotFoundError:
            return float("inf")
        except OSError:
            return 0.0
        before = self._seen.get(worker)
        if before is None or before[0] != refreshed:
            self._seen[worker] = (refreshed, time.monotonic())
            return 0.0
        return time.monotonic() - before[1]

    def is_dead(self, facts: Mapping[str, Any]) -> bool:
        """Whether the worker of an attempt is dead, by its process or by its lease."""
        here = is_dead_here(facts)
        return here if here is not None else self.silent_s(facts["worker"]) > self.duration_s
