"""Where a study's GPU hours went, from the journal and one squeue; sacct is asked only for the rest.

A worker counts with its GPUs: those of all its ranks on all nodes, and 1/k of a GPU that k workers share. SLURM charges
the same. Without GPUs, the sums are hours of workers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

from msgspec import Struct
from msgspec.structs import asdict

from hpo_batch.journal.attempt_intervals import Span
from hpo_batch.monitor.workers import WorkerStatus
from hpo_batch.records import TrialState
from hpo_batch.scheduler.gpu_request import gpu_request
from hpo_batch.store.frozen import setting

HOUR_S: Final = 3600.0


class Hours(Struct, frozen=True, kw_only=True):
    """GPU hours (hours of workers, if there are no GPUs) by their outcome."""

    unit: str
    """``GPU`` or ``worker``"""
    complete: float
    """attempts of complete trials, including earlier ones that left a checkpoint"""
    running: float
    """attempts of running and waiting trials: still open, or with a checkpoint to continue from"""
    pruned: float
    failed: float
    """trials that failed"""
    lost: float
    """attempts of other trials without effect: lost, failed or interrupted without a newer checkpoint"""
    idle: float
    """workers between and before their trials, as far as the journal and squeue know; sacct knows all of it"""
    to_come: float | None
    """estimate for the remaining trials; None if unknown"""
    allocated: float | None = None
    """charged by SLURM, from sacct; None if it was not asked or keeps no accounts"""

    @property
    def wasted(self) -> float:
        return self.pruned + self.failed + self.lost + self.idle

    @property
    def used(self) -> float:
        return self.complete + self.running + self.wasted

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "used": self.used, "wasted": self.wasted}


class _Life(Struct, kw_only=True):
    """The time of one worker: from its first attempt to the end of its last, and how much of that it worked."""

    gpus: float
    first: float
    last: float
    busy: float = 0.0

    def add(self, started: float, ended: float, *, of: int) -> None:
        """Add an attempt, one of so many that the worker runs at once; where it runs fewer, it is idle in part."""
        self.first, self.last = min(self.first, started), max(self.last, ended)
        self.busy += max(0.0, ended - started) / of


def add_up(
    spans: Iterable[Span],
    *,
    state_of: Callable[[int], TrialState],
    end_of: Callable[[Span], float],
    workers: Sequence[WorkerStatus],
    task_gpus: float,
    work_s: float | None,
) -> Hours:
    """Add up the hours of all attempts, and of workers between them.

    Args:
        end_of: the end of an attempt without one, or whose recorded end is only when its loss was noticed.
        task_gpus: GPUs of an array task in which no worker has started.
        work_s: seconds of work left, as ``Eta.work_s``.
    """
    kinds = ("complete", "running", "pruned", "failed", "lost")
    of_gpus, of_workers = dict.fromkeys(kinds, 0.0), dict.fromkeys(kinds, 0.0)
    lives: dict[str, _Life] = {}
    # one worker with a GPU makes the unit GPU hours: a sweep does not mix them but by accident
    most_gpus = max((worker.gpu_count for worker in workers), default=0.0)
    for span in spans:
        ended = end_of(span) if span.ended is None or span.how == "lost" else span.ended
        seconds = max(0.0, ended - span.started)
        kind = _kind(span, state_of(span.trial))
        of_workers[kind] += seconds / span.fused
        of_gpus[kind] += seconds * span.gpus
        whole = span.gpus * span.fused
        most_gpus = max(most_gpus, whole)
        life = lives.setdefault(span.worker, _Life(gpus=whole, first=span.started, last=ended))
        life.add(span.started, ended, of=span.fused)
    has_gpus = most_gpus > 0
    idle = _idle(lives, workers, has_gpus=has_gpus, task_gpus=task_gpus)
    return Hours(
        unit="GPU" if has_gpus else "worker",
        **{kind: seconds / HOUR_S for kind, seconds in (of_gpus if has_gpus else of_workers).items()},
        idle=idle / HOUR_S,
        to_come=None if work_s is None else work_s * (most_gpus if has_gpus else 1.0) / HOUR_S,
    )


def task_gpus(frozen: Mapping[str, Any] | None) -> int:
    """GPUs that a frozen sweep requests for an array task, on all nodes; 0 if they cannot be counted."""
    keys = {name: setting(frozen, "job", name.replace("-", "_"), None) for name in ("gres", "gpus-per-node")}
    request = gpu_request(
        keys,
        setting(frozen, "job", "sbatch", None) or {},
        nodes=int(setting(frozen, "job", "nodes", 1)),
        tasks_per_node=int(setting(frozen, "job", "tasks_per_node", 1)),
    )
    return request.count or 0


def _kind(span: Span, state: TrialState) -> str:
    if state is TrialState.FAIL:
        return "failed"
    led_on = span.moved or span.how in ("complete", "pruned") or span.ended is None
    if not led_on:
        return "lost"
    if state is TrialState.COMPLETE:
        return "complete"
    return "pruned" if state is TrialState.PRUNED else "running"


def _idle(lives: dict[str, _Life], workers: Sequence[WorkerStatus], *, has_gpus: bool, task_gpus: float) -> float:
    """Seconds between attempts, and of array tasks that run without any."""
    idle = 0.0
    # squeue knows when a live worker's task began; of ended ones only their attempts are known
    elapsed = {w.worker: w.elapsed_s for w in workers if w.worker and w.elapsed_s is not None and w.live}
    for name, life in lives.items():
        whole = elapsed.get(name, life.last - life.first)
        idle += max(0.0, whole - life.busy) * (life.gpus if has_gpus else 1)
    for worker in workers:
        if worker.worker not in lives and worker.elapsed_s is not None:
            held = worker.gpu_count if worker.worker else task_gpus
            idle += worker.elapsed_s * (held if has_gpus else 1)
    return idle
