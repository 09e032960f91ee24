"""End the workers of studies: first set the marker, so that nothing restarts, then scancel jobs and end local workers.

Trials are not changed: those that workers give back or leave behind wait for ``resume``.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from msgspec.structs import replace

from hpo_batch import processes
from hpo_batch.envvars import EnvVar
from hpo_batch.errors import CommandMissing, LockTimeout, SlurmError, StorageError
from hpo_batch.files import write_atomic
from hpo_batch.launch.collector import collector_name
from hpo_batch.launch.submit_lock import turn
from hpo_batch.monitor.live import LocalWorker, local_workers
from hpo_batch.scheduler.registry import BATCH
from hpo_batch.store import leases, sharing
from hpo_batch.store.home import Marker, StudyHome, user_name
from hpo_batch.store.submissions import (
    Submission,
    is_id,
    is_script_of,
    job_name,
    read_submissions,
    write_submission,
)
from hpo_batch.study.read import read_revision, read_state

# for local workers to save a checkpoint and give their trials back
GRACE_S = 60.0
LOOK_EVERY_S = 0.1
TURN_S = 60.0


@dataclass(frozen=True, kw_only=True)
class Target:
    """A study whose workers should end."""

    home: StudyHome
    written_as: str | None
    """the study's name in its journal; after a move, its older jobs still have this name"""
    shared: bool


@dataclass(frozen=True, kw_only=True)
class Ended:
    """What ``cancel`` has ended."""

    jobs: tuple[str, ...] = ()
    """ids passed to scancel"""
    local: tuple[LocalWorker, ...] = ()
    """ended workers of this host"""
    killed: tuple[LocalWorker, ...] = ()
    """those that did not end by themselves and were killed"""
    left: tuple[LocalWorker, ...] = ()
    """workers that cannot be ended from here: on another host, or of another user"""


def target_of(home: StudyHome) -> Target:
    """The target for a study.

    Raises:
        StorageError: the study cannot be read.
    """
    state = read_state(home)
    shared = bool(state.revision) and read_revision(home, state).study.shared
    return Target(home=home, written_as=state.study_name, shared=shared)


def cancel(targets: Sequence[Target], *, drain: bool, grace_s: float = GRACE_S, say: Callable[[str], None]) -> Ended:
    """End all workers of the studies; with ``drain`` only pending ones, while the others finish their trials.

    Running it twice is safe.

    Raises:
        StorageError: the marker cannot be written; nothing was ended.
        SlurmError, CommandMissing: scancel failed. The marker is set, so workers end by themselves.
    """
    marker = Marker.DRAIN if drain else Marker.CANCELLED
    for target in targets:
        _mark(target, marker)
    with contextlib.ExitStack() as stack:
        for target in targets:
            try:
                stack.enter_context(turn(target.home, shared=target.shared, timeout_s=TURN_S))
            except LockTimeout as error:
                say(f"warning: {error}; the workers that it submits end by themselves")
            _mark(target, marker)  # again: a submission that was running may have removed it
        submissions = {target.home.name: read_submissions(target.home) for target in targets}
        jobs = _cancel_jobs(targets, submissions, drain=drain, say=say)
        for line in _out_of_reach(targets, submissions, jobs):
            say(f"warning: {line}")
    if drain:
        return Ended(jobs=jobs)
    workers = [w for target in targets for w in local_workers(target.home, submissions[target.home.name])]
    ended, killed, refused = _end([worker for worker in workers if worker.is_here], grace_s=grace_s, say=say)
    elsewhere = [worker for worker in workers if not worker.is_here]
    return Ended(jobs=jobs, local=tuple(ended), killed=tuple(killed), left=(*elsewhere, *refused))


def _mark(target: Target, name: str) -> None:
    path = target.home.marker(name)
    try:
        with sharing.umask_for(shared=target.shared):
            if not target.home.is_marked(name):
                write_atomic(path, time.strftime("%Y-%m-%d %H:%M:%S\n"))
    except OSError as error:
        raise StorageError.because(f"cannot write '{path}'", error, do="nothing was cancelled") from error


def _cancel_jobs(
    targets: Sequence[Target],
    submissions: dict[str, tuple[Submission, ...]],
    *,
    drain: bool,
    say: Callable[[str], None],
) -> tuple[str, ...]:
    """Cancel the studies' jobs, found with one squeue by name: that finds lost ids, and no job that reuses an old id.

    A job is cancelled only if its script lies in the study: anybody who can write to the study could name others.
    """
    owners: dict[str, tuple[StudyHome, Submission]] = {}
    for target in targets:
        for submission in submissions[target.home.name]:
            for study in {target.home.name, target.written_as or target.home.name}:
                home = StudyHome(path=target.home.path, name=study)
                if submission.is_batch and is_id(submission.id):
                    owners[job_name(home, submission.id)] = (target.home, submission)
                    if not drain:  # a drained study still collects its results
                        owners[collector_name(home, submission.id)] = (target.home, submission)
    try:
        ours = {}
        for id, job in BATCH.find_jobs(owners).items():
            home, submission = owners[job.name]
            if is_script_of(home, submission.id, job.script):
                ours[id] = job.name
            else:
                say(
                    f"warning: job {id} has the name of a job of {home.name}, but runs another script "
                    f"({job.script or 'unknown'}): not cancelled. To cancel it: 'scancel {id}'"
                )
        BATCH.cancel(sorted(ours, key=int), only_pending=drain)
    except (SlurmError, CommandMissing) as error:
        ends = "no worker takes another trial" if drain else "workers end when they next check the marker"
        raise type(error)(f"{error}. The study is marked anyway: {ends}; run cancel again to end its jobs") from error
    if not drain:
        for home, submission in {s.id: (home, s) for home, s in map(owners.__getitem__, ours.values())}.values():
            write_submission(home, replace(submission, cancelled=time.time()))
    return tuple(ours)


def _out_of_reach(
    targets: Sequence[Target], submissions: Mapping[str, Sequence[Submission]], jobs: Collection[str]
) -> Iterator[str]:
    """Warnings about jobs that squeue does not show here although they may still have workers or pending tasks."""
    for target in targets:
        with_cards = {owner.submission for owner in leases.read_owners(target.home.workers).values()}
        mine = [s for s in submissions[target.home.name] if s.is_batch and s.job_ids and not s.refused]
        here = BATCH.cluster(os.environ) if any(s.cluster for s in mine) else ""
        for submission in mine:
            if submission.cancelled or not set(submission.job_ids).isdisjoint(jobs):
                continue
            ids = ",".join(submission.job_ids)
            if here and submission.cluster and submission.cluster != here:
                yield (
                    f"job {ids} is on cluster '{submission.cluster}', but this is cluster '{here}': running workers "
                    f"end when they next check the marker; cancel pending tasks on that cluster"
                )
            elif submission.id in with_cards and submission.user not in ("", user_name(os.geteuid())):
                yield (
                    f"SLURM does not show job {ids} of user {submission.user}: running workers end when they next "
                    f"check the marker, pending tasks when they start"
                )


def _end(
    workers: Sequence[LocalWorker], *, grace_s: float, say: Callable[[str], None]
) -> tuple[list[LocalWorker], list[LocalWorker], list[LocalWorker]]:
    """Send SIGTERM to this host's workers and kill those that do not end.

    A card names a worker's process, but anybody may have written it, so only a proven process is signalled.

    Returns:
        Ended workers, those of them that were killed, and workers that could not be proven.
    """
    signalled: list[tuple[LocalWorker, processes.Proven]] = []
    refused = []
    with contextlib.ExitStack() as stack:
        for worker in workers:
            process = processes.prove(worker.pid, holds=worker.holds, start=worker.start)
            if process is None:
                refused += [worker] if processes.is_alive(worker.pid) else []
                continue
            stack.callback(process.close)
            if process.send(signal.SIGTERM):
                signalled.append((worker, process))
            elif process.is_alive:
                refused.append(worker)
        if signalled:
            say(f"waiting up to {grace_s:.0f} s for {len(signalled)} local workers to save and exit")
        deadline = time.monotonic() + grace_s
        while (rest := [pair for pair in signalled if pair[1].is_alive]) and time.monotonic() < deadline:
            time.sleep(LOOK_EVERY_S)
        for _, process in rest:
            process.kill_family(_left_by(process))
    return [worker for worker, _ in signalled], [worker for worker, _ in rest], refused


def _left_by(process: processes.Proven) -> Callable[[], set[int]]:
    """A function that finds a worker's children outside its session, by the mark in its environment."""
    mark = process.environment(EnvVar.SUBMISSION)
    return lambda: set(processes.with_environment(EnvVar.SUBMISSION, mark)) if mark else set()
