"""A worker's last act: ask SLURM to requeue the task, wait for SLURM's kill, or just exit.

Outside a batch job it just exits. After SIGTERM it never requeues: preemption and scancel look the same, and a requeue
would revive a cancelled job. ``decide`` is a pure function.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Final, NoReturn

from msgspec.structs import replace

from hpo_batch import processes
from hpo_batch.errors import HpoBatchError
from hpo_batch.journal.locks import journal_lock
from hpo_batch.records import Idle, IdleWhy, Owner, Stopping, TrialState
from hpo_batch.scheduler.registry import BATCH
from hpo_batch.store import leases
from hpo_batch.store.home import StudyHome
from hpo_batch.store.submissions import is_script_of, read_submissions, write_submission
from hpo_batch.study.read import read_state

log = logging.getLogger(__name__)

# how long to wait for SLURM's kill; longer than GraceTime at most sites (https://slurm.schedmd.com/preempt.html)
PARK_S: Final = 1800.0


class Act(Enum):
    END = "end"
    PARK = "park"
    REQUEUE = "requeue"


@dataclass(frozen=True, kw_only=True)
class Departure:
    """Why a worker exits."""

    stopped: Stopping | None
    """reason to stop, if it was told to"""
    idle: Idle | None
    """why it found nothing to do"""
    progress: bool
    """whether this run advanced the study; without progress another run would get no further either"""
    is_far: bool = False
    """whether SIGUSR2 came long before the limit, which means preemption"""


@dataclass(frozen=True, kw_only=True)
class Remaining:
    """What is left to do in the study."""

    work: bool
    """whether trials wait for a worker"""
    marker: str = ""
    """``CANCELLED`` or ``DRAIN``"""
    is_followed: bool = False
    """whether SLURM has restarted this array task on another node; a requeue would kill the new worker"""


def decide(departure: Departure, remaining: Remaining) -> tuple[Act, str]:
    """A worker's last act in a batch job, and the reason in words."""
    if remaining.is_followed:
        return Act.END, "this array task runs elsewhere again"
    if departure.stopped is Stopping.PREEMPTED and not departure.is_far:
        if remaining.marker:
            return Act.END, f"the study has the mark {remaining.marker}"
        # Before SLURM 24.05, a task that exits during its grace time counts as completed and is not requeued.
        return Act.PARK, "SLURM is ending this task: waiting, so that it is requeued if it was preempted"
    no_time = departure.idle is not None and departure.idle.why is IdleWhy.NO_TIME
    if not (no_time or departure.stopped in (Stopping.TIME_LIMIT, Stopping.PREEMPTED)):
        return Act.END, ""
    if remaining.marker:
        return Act.END, f"not requeued: the study has the mark {remaining.marker}"
    if not remaining.work:
        return Act.END, "not requeued: no trial is left to begin"
    if not (departure.progress or departure.is_far):
        return Act.END, (
            "not requeued: this run has finished no trial and saved no checkpoint, so another would not either; "
            "raise job.walltime, or save checkpoints in trial.checkpoint, and submit again"
        )
    return Act.REQUEUE, "the time is used up" if not departure.is_far else "SLURM preempts"


def leave(
    home: StudyHome,
    owner: Owner,
    departure: Departure,
    *,
    is_batch: bool,
    was_preempted: Callable[[], bool] = lambda: False,
    before_park: Callable[[], None] = lambda: None,
) -> None:
    """Carry out the last act. Does not return if the worker waits for SLURM's kill.

    Args:
        was_preempted: whether SIGTERM has arrived; checked right before a requeue, which it forbids.
        before_park: called before the process turns into a sleeping one.
    """
    if not is_batch:
        return
    if departure.idle is not None and departure.idle.why is IdleWhy.TARGET_MET:
        _end_waiting_tasks(home)
    act, why = decide(departure, _left(home, owner))
    if act is Act.REQUEUE and was_preempted():
        act, why = Act.PARK, "SLURM is ending this task"
    if act is Act.REQUEUE:
        log.info("%s: asking SLURM to requeue %s", why, owner.job)
        try:
            BATCH.requeue(owner.job)
        except HpoBatchError as error:
            log.warning("not requeued (%s): submit again to add workers", error)
            return
        why = "requeued: waiting for SLURM to end this run"
    elif act is Act.END:
        if why:
            log.log(logging.WARNING if why.startswith("not requeued: this run") else logging.INFO, "%s", why)
        return
    log.info("%s", why)
    before_park()
    park()


def _end_waiting_tasks(home: StudyHome) -> None:
    """Cancel pending array tasks once the target is met, since the collector waits for them.

    Done once per target, by the first worker that finds it met; not while a submission is running, which may raise the
    target.
    """
    try:
        with journal_lock(home.path / "submit", timeout_s=0.0):
            state = read_state(home)
            counts = state.counts()
            if counts.remaining or counts.running:
                return
            ours = [s for s in read_submissions(home) if s.is_batch and not s.refused and not s.cancelled]
            if not ours or any(s.met == counts.target for s in ours):
                return
            write_submission(home, replace(ours[-1], met=counts.target))
            by_name = {s.name: s for s in ours}
            found = BATCH.find_jobs(by_name, only_pending=True)
            waiting = [id for id, job in found.items() if is_script_of(home, by_name[job.name].id, job.script)]
            if waiting:
                log.info("the target is met: tasks that still wait are cancelled, jobs %s", ", ".join(waiting))
                BATCH.cancel(waiting, only_pending=True)
    except (HpoBatchError, OSError) as error:
        log.info("the target is met; tasks that still wait end when they start: %s", error)


def park() -> NoReturn:
    """Wait for SLURM's kill as a bare sleeping process, without the worker's threads and its CPU or GPU memory."""
    processes.become_sleeper(PARK_S)


def _left(home: StudyHome, owner: Owner) -> Remaining:
    marker = next(iter(home.markers()), "")
    is_followed = leases.is_followed(home.workers, owner)
    try:
        state = read_state(home)
    except HpoBatchError as error:
        log.warning("what is left to do cannot be read: %s", error)
        return Remaining(work=False, marker=marker, is_followed=is_followed)
    counts = state.counts()
    work = bool(state.by_state[TrialState.WAITING]) or counts.remaining > counts.running
    return Remaining(work=work, marker=marker, is_followed=is_followed)
