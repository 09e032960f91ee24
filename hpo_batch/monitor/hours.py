"""Where a study's GPU hours went, from the journal and one squeue; sacct is asked only for the rest.

A worker counts with its GPUs: those of all its ranks on all nodes, and 1/k of a GPU that k workers share. SLURM charges
the same. Without GPUs, the sums are hours of workers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from hpo_batch.journal.attempt_intervals import Span
from hpo_batch.monitor.workers import WorkerStatus
from hpo_batch.records import TrialState
from hpo_batch.scheduler.gpu_request import gpu_request
from hpo_batch.store.frozen import setting

HOUR_S: Final = 3600.0


@dataclass(frozen=True, kw_only=True)
class Hours:
    """Hours of GPUs (of workers, where there are no GPUs), by what came of them."""

    unit: str
    """``GPU`` or ``worker``"""
    complete: float
    """attempts of complete trials, those included that handed on a checkpoint"""
    running: float
    """attempts of trials that run or wait: still open, or ended with a checkpoint to go on from"""
    pruned: float
    failed: float
    """trials that failed"""
    lost: float
    """attempts of other trials that led nowhere: lost, failed or interrupted without a newer checkpoint"""
    idle: float
    """of workers between and before their trials, as far as the journal and squeue know; sacct knows all"""
    to_come: float | None
    """about as much as the remaining trials will take; None if it is not known"""
    allocated: float | None = None
    """what SLURM has charged, from sacct; None if it was not asked or does not know"""

    @property
    def wasted(self) -> float:
        return self.pruned + self.failed + self.lost + self.idle

    @property
    def used(self) -> float:
        return self.complete + self.running + self.wasted

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "used": self.used, "wasted": self.wasted}


@dataclass(kw_only=True)
class _Life:
    """Of one worker."""

    gpus: float
    first: float
    last: float
    busy: float = 0.0

    def add(self, started: float, ended: float) -> None:
        """An attempt."""
        self.first, self.last = min(self.first, started), max(self.last, ended)
        self.busy += max(0.0, ended - started)


def add_up(
    spans: Iterable[Span],
    *,
    state_of: Callable[[int], TrialState],
    end_of: Callable[[Span], float],
    workers: Sequence[WorkerStatus],
    task_gpus: float,
    work_s: float | None,
) -> Hours:
    """The sums.

    Args:
        end_of: when an attempt ended that has no end of its own, or one that is only when its loss was noticed.
        task_gpus: of an array task in which no worker has begun.
        work_s: seconds that are still to be worked.
    """
    kinds = ("complete", "running", "pruned", "failed", "lost")
    of_gpus, of_workers = dict.fromkeys(kinds, 0.0), dict.fromkeys(kinds, 0.0)
    lives: dict[str, _Life] = {}
    most_gpus = max((worker.gpu_count for worker in workers), default=0.0)
    for span in spans:
        ended = end_of(span) if span.ended is None or span.how == "lost" else span.ended
        seconds = max(0.0, ended - span.started)
        kind = _kind(span, state_of(span.trial))
        of_workers[kind] += seconds
        of_gpus[kind] += seconds * span.gpus
        most_gpus = max(most_gpus, span.gpus)
        life = lives.setdefault(span.worker, _Life(gpus=span.gpus, first=span.started, last=ended))
        life.add(span.started, ended)
    has_gpus = most_gpus > 0
    idle = _idle(lives, workers, has_gpus=has_gpus, task_gpus=task_gpus)
    return Hours(
        unit="GPU" if has_gpus else "worker",
        **{kind: seconds / HOUR_S for kind, seconds in (of_gpus if has_gpus else of_workers).items()},
        idle=idle / HOUR_S,
        to_come=None if work_s is None else work_s * (most_gpus if has_gpus else 1.0) / HOUR_S,
    )


def task_gpus(frozen: Mapping[str, Any] | None) -> int:
    """GPUs of an array task, on all its nodes, as a frozen sweep asks for them; 0 where they cannot be counted."""
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
    """Seconds between attempts, and of array tasks that run without one."""
    idle = 0.0
    elapsed = {w.worker: w.elapsed_s for w in workers if w.worker and w.elapsed_s is not None and w.live}
    for name, life in lives.items():
        whole = elapsed.get(name, life.last - life.first)
        idle += max(0.0, whole - life.busy) * (life.gpus if has_gpus else 1)
    for worker in workers:
        if worker.worker not in lives and worker.elapsed_s is not None:
            held = worker.gpu_count if worker.worker else task_gpus
            idle += worker.elapsed_s * (held if has_gpus else 1)
    return idle
