"""Leases: each worker holds one and refreshes it, so that others can tell whether it is alive.

A worker on this host is dead once its process is gone. A worker on another host is dead once its lease has not been
refreshed for its whole duration, nor for a grace period after that was noticed. Clocks of hosts are never compared, and
a file server that stalls for a minute does not make anybody dead.
"""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from msgspec import Struct

from hpo_batch.files import decode, open_regular, read_regular
from hpo_batch.processes import is_dead_here
from hpo_batch.records import Owner
from hpo_batch.scheduler.tasks import ArrayTask
from hpo_batch.store.worker_name import WorkerName

CARD_BYTES = 1 << 20
MOST_PID = 1 << 22
"""PID_MAX_LIMIT of Linux"""


def count(folder: Path) -> int:
    """Number of leases, including those of dead workers. Lists the folder once."""
    try:
        return sum(name.endswith(".lease") for name in os.listdir(folder))  # noqa: PTH208  # only names are needed
    except OSError:
        return 0


def is_name(worker: str) -> bool:
    """Whether this is a valid worker name: it becomes a file name."""
    return re.fullmatch(r"[\w.:+@-]{1,200}", worker) is not None and not worker.startswith(".")


def lease_path(folder: Path, worker: str) -> Path:
    return folder / f"{worker}.lease"


def read_owners(folder: Path, *, of: str = ".*") -> dict[str, Owner]:
    """The cards of running and killed workers, by name. A worker that ends normally removes its card.

    Args:
        folder: of the leases.
        of: regular expression for the names to read.
    """
    owners: dict[str, Owner] = {}
    for path in sorted(path for path in folder.glob("*.json") if re.fullmatch(of, path.stem)):
        with contextlib.suppress(OSError, ValueError):
            owner = decode(read_regular(path, most=CARD_BYTES), Owner)
            if owner.job != "local":
                ArrayTask.parse(owner.job)  # raises ValueError for a forged card
            # with another name inside, the card was copied or forged
            if owner.worker == path.stem and 0 < owner.pid <= MOST_PID:
                owners[path.stem] = owner
    return owners


def proof(folder: Path, worker: str) -> Path:
    """The file that a worker keeps open for writing while it is alive: its card."""
    return folder / f"{worker}.json"


def remove_dead(folder: Path, facts: Mapping[str, Any]) -> None:
    """Remove the lease and card of a dead worker, unless a successor of the same name has taken them over."""
    worker = str(facts["worker"])
    owner = read_owners(folder, of=re.escape(worker)).get(worker)
    if owner is not None and (owner.host, owner.pid, owner.start) != (facts["host"], facts["pid"], facts["start"]):
        return
    marker = b""
    with contextlib.suppress(OSError):
        marker = read_regular(lease_path(folder, worker))
    # a successor acquires the lease before it writes its card: in between, the card is still the dead worker's
    if not marker or b"\npid=%d\n" % facts["pid"] in marker:
        remove(folder, worker)


def remove_left_over(folder: Path, *, duration_s: float) -> None:
    """Remove the leases and cards of workers killed while they had no trial. Others are removed with their trial.

    Such a worker is dead by its process, or its lease has been silent for ``LONGEST_STALL`` durations by the file
    server's clock. Reads all cards, so only one process at a time should call it.
    """
    with contextlib.suppress(OSError):  # the next submission tries again
        for worker, dead, silent_s in _lease_ages(folder):
            if dead or (dead is None and silent_s > LONGEST_STALL * duration_s):
                remove(folder, worker)
        for worker, owner in read_owners(folder).items():
            if not lease_path(folder, worker).exists() and is_dead_here(owner.facts):
                remove(folder, worker)  # a card without a lease: it died while starting or ending


def refreshed_lately(folder: Path, *, duration_s: float) -> tuple[str, ...]:
    """Workers with a live process on this host, or a lease refreshed within two durations, without waiting.

    This includes workers of other hosts that died less than two durations ago.
    """
    ages = _lease_ages(folder)
    return tuple(w for w, dead, silent_s in ages if dead is False or (dead is None and silent_s < 2 * duration_s))


def _lease_ages(folder: Path) -> list[tuple[str, bool | None, float]]:
    """Each worker with a lease, whether it is dead (None if not known on this host), and seconds since its refresh."""
    owners = read_owners(folder)
    silent = silent_by_server(folder, [path.stem for path in folder.glob("*.lease")])
    return [(w, None if w not in owners else is_dead_here(owners[w].facts), silent_s) for w, silent_s in silent.items()]


def _servers_clock(folder: Path) -> int:
    """The file server's time, in nanoseconds since the epoch: the mtime of a file written just now."""
    with tempfile.TemporaryFile(dir=folder) as file:
        file.write(b"now")
        file.flush()
        os.fsync(file.fileno())
        return os.fstat(file.fileno()).st_mtime_ns


def remove(folder: Path, worker: str) -> None:
    """Remove the lease and card of a worker that ends without leaving ``held``."""
    if not is_name(worker):  # the name may come from a foreign journal, and must not leave the folder
        return
    for path in (lease_path(folder, worker), folder / f"{worker}.json"):
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)


def follows(later: Mapping[str, Any], earlier: Mapping[str, Any]) -> bool:
    """Whether ``later`` belongs to a later run of the same array task as ``earlier``.

    Then SLURM has ended the earlier run, or believes so: if its slurmd died, the worker may live on.
    """
    jobs = [(facts.get("job", "local"), facts.get("submission", "")) for facts in (later, earlier)]
    if jobs[0] != jobs[1] or jobs[0][0] == "local":
        return False
    before, after = (WorkerName.parse(str(facts.get("worker"))).run for facts in (earlier, later))
    return before is not None and after is not None and before < after


def is_followed(folder: Path, owner: Owner) -> bool:
    """Whether a later run of the worker's array task has started, and has not ended normally."""
    try:
        task = ArrayTask.parse(owner.job)
    except ValueError:  # not an array task
        return False
    names = WorkerName.pattern_of_task(str(task.job), task.index)  # do not read the cards of all workers
    return any(follows(other.facts, owner.facts) for other in read_owners(folder, of=names).values())


def silent_by_server(folder: Path, workers: Sequence[str]) -> dict[str, float]:
    """Seconds since these workers refreshed their leases, by the file server's clock. Workers without a lease are left
    out; empty if the server's time cannot be read."""
    silent: dict[str, float] = {}
    if not workers:
        return silent
    with contextlib.suppress(OSError):
        now_ns = _servers_clock(folder)
        for worker in workers:
            with contextlib.suppress(OSError):
                silent[worker] = (now_ns - refreshed_ns(lease_path(folder, worker))) / 1e9
    return silent


def seen_to_live(
    folder: Path,
    workers: Sequence[Mapping[str, Any]],
    *,
    duration_s: float,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> tuple[str, ...]:
    """The workers whose process is alive here, or whose lease is refreshed while we watch, for up to ``duration_s``.

    Args:
        folder: of the leases.
        workers: their cards.
        duration_s: of their leases.
        sleep: pauses between two checks.
        clock: monotonic time in seconds.
    """
    alive: list[Mapping[str, Any]] = []
    doubtful, deadline = list(workers), clock() + duration_s
    watch = LeaseWatch(folder, duration_s=duration_s, clock=clock)
    while doubtful:
        still_doubtful: list[Mapping[str, Any]] = []
        for facts in doubtful:
            if not watch.is_dead(facts):
                (still_doubtful if watch.is_in_doubt(facts) else alive).append(facts)
        doubtful = still_doubtful
        if doubtful and clock() > deadline:
            break
        if doubtful:
            sleep(min(1.0, duration_s / 10))
    return tuple(str(facts["worker"]) for facts in alive)


CONFIRM = 0.25
"""grace period after a lease was found expired, as a share of its duration: a worker that was blocked by a stalled file
server, as we may have been, refreshes its lease as soon as the server responds"""
BLIND = 0.05
"""share of a lease's duration: if a check takes longer, the file server was stalled. Its time does not count as silence
of others, who could not reach the server either"""
LONGEST_STALL = 10
"""silence, in lease durations, that needs no grace period: no file server stalls for so long and recovers"""


class _Sighting(Struct, kw_only=True):
    """What this process has observed of one lease, in times of its own clock."""

    refreshed: int | None
    """mtime of the lease, only compared for equality; None if it could not be read"""
    since: float
    """first check with this mtime"""
    looked: float
    """last check"""
    alive: float | None = None
    """last check that saw a new mtime shortly after the check before it"""
    overdue: float | None = None
    """first check that found it silent for its whole duration"""


class LeaseWatch:
    """Watches the leases of other workers, by this process's own clock."""

    def __init__(self, folder: Path, *, duration_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.folder = folder
        self.duration_s = duration_s
        self._clock = clock
        self._seen: dict[str, _Sighting] = {}

    def silent_s(self, worker: str) -> float:
        """Seconds without a refresh seen by this process; infinite if the lease was released."""
        seen = self._look(worker)
        return float("inf") if seen is None else self._clock() - seen.since

    def is_dead(self, facts: Mapping[str, Any]) -> bool:
        """Whether the worker of an attempt is dead, by its process or by its lease."""
        here = is_dead_here(facts)
        return here if here is not None else self._has_run_out(self._look(facts["worker"]))

    def is_in_doubt(self, facts: Mapping[str, Any]) -> bool:
        """Whether more watching is needed: a worker on another host, not dead, and without a recent refresh.

        A single check proves nothing: the lease of a worker that died an hour ago looks like any other.
        """
        if is_dead_here(facts) is not None:
            return False
        seen = self._look(facts["worker"])
        if seen is None or self._has_run_out(seen):
            return False
        return seen.alive is None or self._clock() - seen.alive > self.duration_s

    def forget(self, worker: str) -> None:
        self._seen.pop(worker, None)

    def was_blind(self, seconds: float) -> None:
        """Note that a request to the file server took ``seconds``. If that is long, it does not count as silence."""
        if seconds > BLIND * self.duration_s:
            now = self._clock()
            for seen in self._seen.values():
                seen.since = min(now, seen.since + seconds)
                seen.overdue = None

    def _has_run_out(self, seen: _Sighting | None) -> bool:
        if seen is None:
            return True
        now = self._clock()
        if seen.overdue is None:
            return False
        return now - seen.overdue >= CONFIRM * self.duration_s or now - seen.since > LONGEST_STALL * self.duration_s

    def _look(self, worker: str) -> _Sighting | None:
        asked = self._clock()
        try:
            refreshed: int | None = refreshed_ns(lease_path(self.folder, worker))
        except FileNotFoundError:
            return None
        except OSError:
            refreshed = None
        now = self._clock()
        self.was_blind(now - asked)
        before = self._seen.get(worker)
        if before is None or before.refreshed is None:
            self._seen[worker] = _Sighting(refreshed=refreshed, since=now, looked=now)
        elif refreshed is not None and refreshed != before.refreshed:
            alive = now if now - before.looked <= self.duration_s else None
            self._seen[worker] = _Sighting(refreshed=refreshed, since=now, looked=now, alive=alive)
        else:
            before.looked = now
            if before.overdue is None and now - before.since > self.duration_s:
                before.overdue = now
        return self._seen[worker]


def refreshed_ns(path: Path) -> int:
    """The lease's mtime in nanoseconds, by the file server's clock.

    Opens the file, because NFS clients answer ``stat`` from a cache for up to a minute (acregmax):
    https://man7.org/linux/man-pages/man5/nfs.5.html
    """
    fd = open_regular(path, os.O_RDONLY)  # what lies there may be a pipe
    try:
        return os.fstat(fd).st_mtime_ns
    finally:
        os.close(fd)
