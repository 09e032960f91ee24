"""Whether a worker is still there: each holds a lease that it refreshes, and others watch.

A worker on this host is dead at once when its process is gone. One on another host is dead when its lease has not been
refreshed for its whole duration, and still is not a while after somebody noticed: clocks of hosts are never compared,
and a file server that stalled for a minute has killed nobody.
"""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import filelock

from hpo_batch.errors import StorageError
from hpo_batch.files import decode, dump_json, open_regular, read_regular, write_atomic
from hpo_batch.processes import is_dead_here
from hpo_batch.records import Owner
from hpo_batch.scheduler.tasks import ArrayTask
from hpo_batch.store.worker_name import WorkerName

CARD_BYTES = 1 << 20
MOST_PID = 1 << 22
"""PID_MAX_LIMIT of Linux"""


TAKE_OVER_S = 1.0
"""for the lease of a dead worker of our name: one try fails if somebody else removes it in that moment, who found it
dead, too. A slot's worker that was started again ended so, with "another worker is running" """


class Lease:
    """The lease of one worker, refreshed by a thread of its own while it is held."""

    def __init__(self, folder: Path, owner: Owner, *, duration_s: float) -> None:
        self._folder, self._owner, self._mark = folder, owner, -1
        self._lease = filelock.SoftFileLease(
            lease_path(folder, owner.worker),
            lease_duration=duration_s,
            timeout=TAKE_OVER_S,
            poll_interval=TAKE_OVER_S / 50,
            thread_local=False,
        )

    def acquire(self) -> None:
        """Raises StorageError: the folder cannot be written, or another worker has the same name."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._lease.acquire()  # also over a lease of a process of this host that is gone
            # after the lease: another worker's card is not overwritten
            write_atomic(self._card, dump_json(asdict(self._owner)), sync=False)  # of use only while we live
            # who has it open is who it names (``proof``): anybody could write a card, or copy one
            self._mark = os.open(self._card, os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except filelock.Timeout as error:  # before OSError, of which it is one
            raise StorageError(f"another worker called '{self._owner.worker}' is running") from error
        except OSError as error:
            raise StorageError.because(f"cannot write a lease in '{self._folder}'", error) from error

    def keep(self) -> None:
        """Acquire it again if it was lost: this process was suspended, and was taken for dead.

        Raises:
            StorageError: as of ``acquire``.
        """
        if self._lease.compromise is not None:
            self.release()
            self.acquire()

    def release(self) -> None:
        mark, self._mark = self._mark, -1
        if mark >= 0:
            with contextlib.suppress(OSError):
                os.close(mark)
        # a lease that cannot be removed now runs out: no reason to fail when the work is done
        with contextlib.suppress(OSError):
            self._lease.release(force=True)
        with contextlib.suppress(OSError):
            self._card.unlink(missing_ok=True)

    @property
    def _card(self) -> Path:
        return self._folder / f"{self._owner.worker}.json"


@contextlib.contextmanager
def held(folder: Path, owner: Owner, *, duration_s: float) -> Iterator[Lease]:
    """Hold the lease of ``owner`` while the block runs.

    Raises:
        StorageError: the folder of leases cannot be written, or another worker has the same name.
    """
    lease = Lease(folder, owner, duration_s=duration_s)
    lease.acquire()
    try:
        yield lease
    finally:
        lease.release()


def count(folder: Path) -> int:
    """How many workers hold a lease, or have left one: one scan of the folder."""
    try:
        return sum(name.endswith(".lease") for name in os.listdir(folder))  # noqa: PTH208  # names are all it takes
    except OSError:
        return 0


def is_name(worker: str) -> bool:
    """Whether a worker can be called so: it is the name of files in the folder of leases."""
    return re.fullmatch(r"[\w.:+@-]{1,200}", worker) is not None and not worker.startswith(".")


def lease_path(folder: Path, worker: str) -> Path:
    return folder / f"{worker}.lease"


def read_owners(folder: Path, *, of: str = ".*") -> dict[str, Owner]:
    """The workers that hold or held a lease, by name. A worker that ended in order has removed its card.

    Args:
        of: a regular expression for the names that are read.
    """
    owners: dict[str, Owner] = {}
    for path in sorted(path for path in folder.glob("*.json") if re.fullmatch(of, path.stem)):
        with contextlib.suppress(OSError, ValueError):
            owner = decode(read_regular(path, most=CARD_BYTES), Owner)
            if owner.job != "local":
                ArrayTask.parse(owner.job)  # a card whose job is none is none of ours
            # of another name: a card that was copied, or made by somebody else
            if owner.worker == path.stem and 0 < owner.pid <= MOST_PID:
                owners[path.stem] = owner
    return owners


def proof(folder: Path, worker: str) -> Path:
    """The file that a worker has open for writing while it lives: its card."""
    return folder / f"{worker}.json"


def remove_dead(folder: Path, facts: Mapping[str, Any]) -> None:
    """Remove what a worker that is dead has left, unless its successor of the same name has taken it over."""
    worker = str(facts["worker"])
    owner = read_owners(folder, of=re.escape(worker)).get(worker)
    if owner is not None and (owner.host, owner.pid, owner.start) != (facts["host"], facts["pid"], facts["start"]):
        return
    marker = b""
    with contextlib.suppress(OSError):
        marker = read_regular(lease_path(folder, worker))
    # a successor takes the lease first and writes its card then: in between the card is the dead one's still
    if not marker or b"\npid=%d\n" % facts["pid"] in marker:
        remove(folder, worker)


def remove_left_over(folder: Path, *, duration_s: float) -> None:
    """Remove what workers left that were killed while they had no trial: nobody gives back a trial for those.

    They are dead by their process, or their lease has been silent for ``LONGEST_STALL`` durations by the clock of its
    file server. For one process at a time: it looks at all of them.
    """
    with contextlib.suppress(OSError):  # what stays is removed at the next submission
        for worker, dead, silent_s in _looked_at(folder):
            if dead or (dead is None and silent_s > LONGEST_STALL * duration_s):
                remove(folder, worker)
        for worker, owner in read_owners(folder).items():
            if not lease_path(folder, worker).exists() and is_dead_here(owner.facts):
                remove(folder, worker)  # its card alone: it died as it came, or as it left


def refreshed_lately(folder: Path, *, duration_s: float) -> tuple[str, ...]:
    """Workers whose lease is fresh, by the clock of its file server, or whose process lives here: at one look.

    A worker that died elsewhere less than two durations ago is among them.
    """
    looked = _looked_at(folder)
    return tuple(w for w, dead, silent_s in looked if dead is False or (dead is None and silent_s < 2 * duration_s))


def _looked_at(folder: Path) -> list[tuple[str, bool | None, float]]:
    """Each worker with a lease, whether its process here is gone (None: nobody here can tell), its seconds of silence.

    One listing and one look at each card and lease, for one process at a time.
    """
    owners = read_owners(folder)
    silent = silent_by_server(folder, [path.stem for path in folder.glob("*.lease")])
    return [(w, None if w not in owners else is_dead_here(owners[w].facts), silent_s) for w, silent_s in silent.items()]


def _servers_clock(folder: Path) -> int:
    """Nanoseconds since the epoch."""
    with tempfile.TemporaryFile(dir=folder) as file:
        file.write(b"now")
        file.flush()
        os.fsync(file.fileno())
        return os.fstat(file.fileno()).st_mtime_ns


def remove(folder: Path, worker: str) -> None:
    """Remove the lease of a worker that is about to end without leaving ``held``."""
    if not is_name(worker):  # as a journal from elsewhere may say: nothing beside the folder is removed
        return
    for path in (lease_path(folder, worker), folder / f"{worker}.json"):
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)


def follows(later: Mapping[str, Any], earlier: Mapping[str, Any]) -> bool:
    """Whether the worker behind ``later`` ran in a later run of the array task of the one behind ``earlier``.

    SLURM has ended the earlier run, or takes it for ended: its slurmd may have died, and the worker live on.
    """
    jobs = [(facts.get("job", "local"), facts.get("submission", "")) for facts in (later, earlier)]
    if jobs[0] != jobs[1] or jobs[0][0] == "local":
        return False
    before, after = (WorkerName.parse(str(facts.get("worker"))).run for facts in (earlier, later))
    return before is not None and after is not None and before < after


def is_followed(folder: Path, owner: Owner) -> bool:
    """Whether a later run of the worker's array task has come to the study, and has not ended in order."""
    try:
        task = ArrayTask.parse(owner.job)
    except ValueError:  # no array task
        return False
    names = WorkerName.pattern_of_task(str(task.job), task.index)  # nobody reads the cards of all workers
    return any(follows(other.facts, owner.facts) for other in read_owners(folder, of=names).values())


def silent_by_server(folder: Path, workers: Sequence[str]) -> dict[str, float]:
    """Seconds since these workers refreshed their leases, all by the clock of the file server; without those that have
    none. Empty if nobody can tell."""
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
    """Those workers whose process is here, or whose lease moves while this watches it: for a whole duration at most.

    Args:
        workers: their cards.
    """
    alive: list[Mapping[str, Any]] = []
    doubtful, deadline = list(workers), clock() + duration_s
    watch = LeaseWatch(folder, duration_s=duration_s, clock=clock)
    while doubtful:
        left: list[Mapping[str, Any]] = []
        for facts in doubtful:
            if not watch.is_dead(facts):
                (left if watch.is_in_doubt(facts) else alive).append(facts)
        doubtful = left
        if doubtful and clock() > deadline:
            break
        if doubtful:
            sleep(min(1.0, duration_s / 10))
    return tuple(str(facts["worker"]) for facts in alive)


CONFIRM = 0.25
"""share of a lease's duration for which it has to stay silent after it was found to have run out: who was held up by
a stalled file server, as perhaps we were, refreshes its lease as soon as the server goes on"""
BLIND = 0.05
"""share of a lease's duration: a look that takes longer has seen nothing for that time, since the file server stood
still. It does not count as the silence of others, who may not have reached the server either"""
LONGEST_STALL = 10
"""durations of a lease: a longer silence needs no confirmation, no file server stalls so long and comes back"""


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
    overdue: float | None = None
    """first look that found it silent for its whole duration"""


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
        return here if here is not None else self._has_run_out(self._look(facts["worker"]))

    def is_in_doubt(self, facts: Mapping[str, Any]) -> bool:
        """Whether only more watching can tell: a worker on another host, neither dead nor seen to live just now.

        One look proves nothing: the lease of a worker that died an hour ago looks like any other.
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
        """What was asked of the file server took so long. If that is long, it counts as nobody's silence."""
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
    """The lease's own time, in nanoseconds, by the clock of its file server.

    Opened, not only asked for: NFS clients answer ``stat`` from a cache for up to a minute.
    """
    fd = open_regular(path, os.O_RDONLY)  # what lies there may be a pipe
    try:
        return os.fstat(fd).st_mtime_ns
    finally:
        os.close(fd)
