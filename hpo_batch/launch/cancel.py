"""End the workers of studies: the marker first, so that nothing starts again, then one scancel and the processes here.

No trial is touched: what workers give back, or leave behind when they are killed, waits for ``resume``.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

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

GRACE_S = 60.0
"""for local workers to save a checkpoint and give their trials back"""
LOOK_EVERY_S = 0.1
TURN_S = 60.0


@dataclass(frozen=True, kw_only=True)
class Target:
    """A study whose workers are to end."""

    home: StudyHome
    written_as: str | None
    """the study's name in its journal: jobs of one that was moved since are called so"""
    shared: bool


@dataclass(frozen=True, kw_only=True)
class Ended:
    """What was done."""

    jobs: tuple[str, ...] = ()
    """ids that were handed to scancel"""
    local: tuple[LocalWorker, ...] = ()
    """of this host, ended"""
    killed: tuple[LocalWorker, ...] = ()
    """those of them that had to be killed"""
    left: tuple[LocalWorker, ...] = ()
    """that could not be ended from here: of another host, or another user's"""


def target_of(home: StudyHome) -> Target:
    """A study as ``cancel`` wants it.

    Raises:
        StorageError: it cannot be read.
    """
    state = read_state(home)
    shared = bool(state.revision) and read_revision(home, state).study.shared
    return Target(home=home, written_as=state.study_name, shared=shared)


def cancel(targets: Sequence[Target], *, drain: bool, grace_s: float = GRACE_S, say: Callable[[str], None]) -> Ended:
    """End all workers of the studies; with ``drain`` only those that wait, while the others finish their trials.

    Running it twice is safe.

    Raises:
        StorageError: the marker cannot be written; nothing was ended.
        SlurmError, CommandMissing: SLURM did not do it. The marker is there, so that workers end by themselves.
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
            _mark(target, marker)  # a submission that was under way has removed it
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
    """One squeue by the names of our jobs, which finds lost ids too and no job that has got an old id of ours.

    Of what it finds, those are cancelled whose script lies in the study: what the study's files say is no evidence.
    """
    owners: dict[str, tuple[StudyHome, Submission]] = {}
    for target in targets:
        for submission in submissions[target.home.name]:
            for study in {target.home.name, target.written_as or target.home.name}:
                home = StudyHome(path=target.home.path, name=study)
                if submission.kind == "slurm" and is_id(submission.id):
                    owners[job_name(home, submission.id)] = (target.home, submission)
                    if not drain:  # what was finished is collected then
                        owners[collector_name(home, submission.id)] = (target.home, submission)
    try:
        called = BATCH.find_jobs(owners)
        found = {}
        for id, job in called.items():
            home, submission = owners[job.name]
            if is_script_of(home, submission.id, job.script):
                found[id] = job.name
            else:
                say(
                    f"warning: job {id} is named like one of {home.name}, but runs another script "
                    f"({job.script or 'unknown'}): not cancelled. If you want to end it: 'scancel {id}'"
                )
        BATCH.cancel(sorted(found, key=int), only_pending=drain)
    except (SlurmError, CommandMissing) as error:
        ends = "no worker takes another trial" if drain else "workers end when they next look at the mark"
        raise type(error)(f"{error}. The study is marked nevertheless: {ends}; try again to end its jobs") from error
    if not drain:
        for home, submission in {s.id: (home, s) for home, s in map(owners.__getitem__, found.values())}.values():
            write_submission(home, replace(submission, cancelled=time.time()))
    return tuple(found)


def _out_of_reach(
    targets: Sequence[Target], submissions: Mapping[str, Sequence[Submission]], jobs: Collection[str]
) -> Iterator[str]:
    """Jobs that SLURM does not show here, though their workers have left cards or their tasks may still wait."""
    for target in targets:
        with_cards = {owner.submission for owner in leases.read_owners(target.home.workers).values()}
        mine = [s for s in submissions[target.home.name] if s.kind == "slurm" and s.job_ids and not s.refused]
        here = BATCH.cluster(os.environ) if any(s.cluster for s in mine) else ""
        for submission in mine:
            if submission.cancelled or not set(submission.job_ids).isdisjoint(jobs):
                continue
            ids = ",".join(submission.job_ids)
            if here and submission.cluster and submission.cluster != here:
                yield (
                    f"job {ids} is on cluster '{submission.cluster}', but SLURM was asked on '{here}': running workers "
                    f"end when they next look at the mark; cancel waiting tasks on that cluster"
                )
            elif submission.id in with_cards and submission.user not in ("", user_name(os.geteuid())):
                yield (
                    f"SLURM does not show job {ids}, which {submission.user} submitted: running workers end when they "
                    f"next look at the mark, waiting tasks when they start"
                )


def _end(
    workers: Sequence[LocalWorker], *, grace_s: float, say: Callable[[str], None]
) -> tuple[list[LocalWorker], list[LocalWorker], list[LocalWorker]]:
    """Ask the workers of this host to end, and kill those that do not: ended, killed among them, not ours.

    A card says which process is the worker, and anybody may have written it: only one that is proven is signalled.
    """
    asked: list[tuple[LocalWorker, processes.Proven]] = []
    refused = []
    with contextlib.ExitStack() as stack:
        for worker in workers:
            process = processes.prove(worker.pid, holds=worker.holds, start=worker.start)
            if process is None:
                refused += [worker] if processes.is_alive(worker.pid) else []
                continue
            stack.callback(process.close)
            if process.send(signal.SIGTERM):
                asked.append((worker, process))
            elif process.is_alive:
                refused.append(worker)
        if asked:
            say(f"waiting up to {grace_s:.0f} s for {len(asked)} local workers to save and end")
        deadline = time.monotonic() + grace_s
        while (rest := [pair for pair in asked if pair[1].is_alive]) and time.monotonic() < deadline:
            time.sleep(LOOK_EVERY_S)
        for _, process in rest:
            process.kill_family(_left_by(process))
    return [worker for worker, _ in asked], [worker for worker, _ in rest], refused


def _left_by(process: processes.Proven) -> Callable[[], set[int]]:
    """What finds all that a worker has started, if it has left its session: by its own mark, not by what files say."""
    mark = process.environment(EnvVar.SUBMISSION)
    return lambda: set(processes.with_environment(EnvVar.SUBMISSION, mark)) if mark else set()
