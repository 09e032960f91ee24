"""Start and end of a worker process: the callable that submitit pickles, and what ``hpo-batch worker`` runs.

The pickle holds only a path: everything else that a worker needs is in the study's directory or its environment.
"""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import signal
import socket
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from hpo_batch import logs, processes
from hpo_batch.envvars import EnvVar
from hpo_batch.errors import Exit, HpoBatchError, StorageError, UserError
from hpo_batch.objective.load import Objective, import_function
from hpo_batch.records import Failed, Owner, Stopping
from hpo_batch.scheduler.allocation import Allocation
from hpo_batch.scheduler.registry import BATCH
from hpo_batch.store import sharing
from hpo_batch.store.home import StudyHome
from hpo_batch.store.submissions import read_submissions
from hpo_batch.store.worker_name import WorkerName
from hpo_batch.study.read import read_revision, read_state
from hpo_batch.sweep.schema import Sweep
from hpo_batch.sweep.walltime import lead_s
from hpo_batch.worker import guardian, slots
from hpo_batch.worker.context import WorkerContext
from hpo_batch.worker.devices import Device, choose_device, must_ask
from hpo_batch.worker.loading import enter, go_where_submitted, limit_threads, load_objective
from hpo_batch.worker.loop import work
from hpo_batch.worker.resources import Place
from hpo_batch.worker.signals import Signals
from hpo_batch.worker.tally import Tally
from hpo_batch.worker.task_exit import Departure, leave
from hpo_batch.worker.usage import Meter, no_gpus

if TYPE_CHECKING:
    from hpo_batch.worker.gpu_memory import MemoryCheck
    from hpo_batch.worker.gpu_readings import ReadGpus
    from hpo_batch.worker.ranks import Lead

log = logging.getLogger(__name__)

# loggers of the worker; trainers that ship with hpo-batch log to their trial's stderr
OUR_LAYERS = ("journal", "objective", "processes", "scheduler", "store", "study", "worker")


@dataclass(frozen=True)
class Worker:
    """The callable that submitit pickles for each array task."""

    home: str

    def __call__(self) -> int:
        drop_link(os.environ)
        path = Path(self.home)
        return run_worker(StudyHome(path=path, name=path.name), os.environ)


def drop_link(environ: Mapping[str, str]) -> None:
    """Remove the link through which submitit has just read the shared pickle, which saves one file per task.

    A requeued task creates it again (``launch.sbatch``). With several ranks it stays, since another one may still need
    it.
    """
    folder, job = environ.get("SUBMITIT_FOLDER"), environ.get("SLURM_JOB_ID")
    if folder is None or job is None or environ.get("SLURM_NTASKS", "1") != "1":
        return
    if "SLURM_ARRAY_JOB_ID" in environ:
        job = f"{environ['SLURM_ARRAY_JOB_ID']}_{environ.get('SLURM_ARRAY_TASK_ID', '')}"
    link = Path(folder) / f"{job}_submitted.pkl"
    with contextlib.suppress(OSError):
        if link.is_symlink():
            link.unlink()


def run_worker(home: StudyHome, environ: Mapping[str, str]) -> int:
    """Work on a study until nothing is left for this worker; the exit code tells whether trials failed.

    Raises:
        HpoBatchError: the study, the device or the objective cannot be used.
    """
    if EnvVar.SLOT in environ:
        processes.end_with_parent(signal.SIGTERM)
    signals = Signals()
    signals.install()
    del sys.argv[1:]  # user code with argparse would read our arguments as its own
    log_apart(slots.slot_label(environ))
    task = _read_task(home, signals, environ)
    home, sweep, allocation = task.home, task.sweep, task.allocation
    if slots.is_supervisor(sweep.job, allocation, environ):
        go_where_submitted(home, allocation, submission=task.owner.submission)
        tally = slots.supervise(home, sweep, allocation, place=task.place, signals=signals, environ=environ)
        task.leave(tally)
        return task.exit_code(tally)
    rank = None
    if sweep.job.ranks > 1:
        from hpo_batch.worker.rank_follower import follow  # most workers are one process
        from hpo_batch.worker.rank_protocol import rank_of
        from hpo_batch.worker.ranks import led

        rank = rank_of(sweep.job, allocation, environ)
        if rank is not None and rank.rank > 0:
            return follow(home, rank)
    if rank is None:
        return task.exit_code(_work(task))
    task = task.placed(choose_device(sweep, allocation))  # rank 0 tells the others
    with led(home, sweep, rank) as lead:
        return task.exit_code(_work(replace(task, lead=lead)))


def _read_task(home: StudyHome, signals: Signals, environ: Mapping[str, str]) -> _Task:
    """This process's task, from the study's directory and its environment; sets umask and thread limits."""
    home = StudyHome(path=home.path.absolute(), name=home.name)
    state = read_state(home)
    if not state.revision:
        raise StorageError(f"no study in '{home.path}': submit a sweep first")
    sweep = read_revision(home, state)
    home = StudyHome(path=home.path, name=state.study_name or home.name)
    allocation = BATCH.allocation(environ, time.time(), cpus=sweep.job.cpus)
    if sweep.study.shared:
        os.umask(sharing.UMASK)  # never restored: this process and its children work on this study only
    limit_threads(sweep, allocation.cpus)
    log.info("worker on %s, pid %s, study %s", allocation.node, os.getpid(), home.name)
    began = time.time()
    owner = _owner(allocation, environ)
    walltime_s = _walltime(home, sweep, owner.submission)
    place = Place(
        device="cpu",
        cpus=allocation.cpus,
        deadline=_deadline(walltime_s, allocation),
        lead_s=lead_s(walltime_s, sweep.job.signal_lead_s),
        is_killed=allocation.job is not None,
        is_sure=allocation.job is not None and allocation.deadline_s is not None,
        grace_s=sweep.job.grace_s,
        began=began,
        ask=None if allocation.job is None else partial(_time_left, allocation.job),
    )
    return _Task(
        home=home, sweep=sweep, allocation=allocation, owner=owner, place=place, signals=signals, environ=environ
    )


@dataclass(frozen=True, kw_only=True)
class _Task:
    """Facts about this process: a worker, or the supervisor of several."""

    home: StudyHome
    sweep: Sweep
    allocation: Allocation
    owner: Owner
    place: Place
    signals: Signals
    environ: Mapping[str, str]
    lead: Lead | None = None
    """leads the worker's other ranks, if there are any"""

    def placed(self, device: Device) -> _Task:
        """The same task, whose worker trains on a device."""
        here = self.allocation
        cpus = f"{here.cpus} CPU{'' if here.cpus == 1 else 's'}"
        log.info("device %s, GPUs %s, %s", device, ",".join(here.gpus) or "none", cpus)
        return replace(self, place=replace(self.place, device=device))

    def leave(self, tally: Tally, *, cut_short: bool = False) -> None:
        """The last steps; does not return if this process waits for SLURM's kill.

        Args:
            cut_short: whether the worker ends because its trial's function does not return.
        """
        log.info(
            "worker ends: %s complete, %s pruned, %s failed, %s given back",
            tally.complete, tally.pruned, tally.failed, tally.given_back,
        )  # fmt: skip
        if EnvVar.SLOT in self.environ:
            slots.write_tally(self.environ, tally, cut_short=cut_short)  # the supervisor decides about a requeue
            return
        received, warned = self.signals.received, self.signals.warned
        departure = Departure(
            stopped=received or tally.stopped,
            idle=tally.idle,
            progress=tally.progress,
            is_far=received is Stopping.TIME_LIMIT and warned is not None and self.place.is_far(warned),
        )
        leave(
            self.home,
            self.owner,
            departure,
            is_batch=self.allocation.is_batch,
            was_preempted=lambda: self.signals.received is Stopping.PREEMPTED,
            before_park=self.lead.park if self.lead is not None else _nothing,
        )

    def exit_code(self, tally: Tally) -> Exit:
        if self.signals.received is Stopping.CANCELLED:
            return Exit.INTERRUPTED
        return Exit.TRIALS_FAILED if tally.failed else Exit.OK


def _nothing() -> None:
    return


def _work(task: _Task) -> Tally:
    """Run trials until nothing is left for this worker, and leave."""
    sweep, lead = task.sweep, task.lead
    go_where_submitted(task.home, task.allocation, submission=task.owner.submission)
    problem = enter(sweep)
    n_params = import_function(sweep.objective.n_params) if sweep.objective.n_params else None
    # after limit_threads: it imports NumPy, whose BLAS reads the number of threads at import
    from hpo_batch.study.study import Study

    def depart(tally: Tally, *, cut_short: bool) -> None:
        if lead is not None:
            lead.end_processes()  # first, because they hold GPU memory, and the task may wait for SLURM for long
        processes.end_descendants(EnvVar.WORKER_NAME)
        task.leave(tally, cut_short=cut_short)

    # with a random part: a worker of the same name may work on another study on this host
    os.environ[EnvVar.WORKER_NAME] = f"{task.owner.worker}.{secrets.token_hex(8)}"
    os.environ[guardian.MARK] = secrets.token_hex(8)
    guardian.start(os.environ[guardian.MARK])
    # before those of ranks, which train
    helpers = None if lead is None else processes.descendants(os.getpid())
    try:
        with Study.open(task.home, task.owner, n_params=n_params) as study:
            if lead is None:
                loaded, task = _load(task, problem)
            else:
                loaded = problem or lead.objective(task.place)
            objective = _usable(loaded, task)
            context = WorkerContext(
                study=study,
                objective=objective,
                place=task.place,
                signals=task.signals,
                is_over=lambda: lead is not None and lead.is_over,
                n_params=n_params,
                leave=lambda tally: depart(tally, cut_short=True),
                meter=Meter(read_gpus=_gpus(task), helpers=helpers),
                gpu_memory=_memory_check(task),
            )
            log.info("ready after %.1f s", time.time() - task.place.began)
            tally = work(context)
    except BaseException:
        processes.end_descendants(EnvVar.WORKER_NAME)
        raise
    depart(tally, cut_short=False)
    return tally


def _gpus(task: _Task) -> ReadGpus:
    if task.place.device != "cuda":
        return no_gpus
    from hpo_batch.worker.gpu_readings import reader

    return reader(task.allocation.gpus)


def _memory_check(task: _Task) -> MemoryCheck | None:
    need_gb = task.sweep.job.gpu_mem_gb
    if need_gb is None or task.place.device != "cuda":
        return None
    from hpo_batch.worker.gpu_memory import MemoryCheck
    from hpo_batch.worker.gpu_readings import memory_reader

    return MemoryCheck(need_gb, memory_reader(task.allocation.gpus))


def _load(task: _Task, problem: Failed | None) -> tuple[Objective | Failed, _Task]:
    """The objective, and the task with its device; torch is asked for the device once it is imported.

    Args:
        problem: why the objective cannot be loaded, if that is known.

    Raises:
        DeviceMissing: before what else is wrong, which may follow from it.
    """
    sweep, allocation = task.sweep, task.allocation
    footing = None
    if must_ask(sweep, allocation):
        from hpo_batch.processes.forks import Footing

        footing = Footing()
    loaded = problem or load_objective(sweep)

    def may_fork() -> bool:
        return footing is not None and not footing.why_unsafe()

    return loaded, task.placed(choose_device(sweep, allocation, may_fork=may_fork))


def _usable(objective: Objective | Failed, task: _Task) -> Objective:
    """The objective if it could be loaded.

    Raises:
        UserError: it cannot be loaded on this node.
    """
    if not isinstance(objective, Failed):
        return objective
    # the node or the code is to blame and no trial, so all trials wait for a worker that can run them
    if objective.traceback:
        log.error("%s", objective.traceback.rstrip())
    raise UserError(f"on {task.allocation.node}: {objective.message}; no trial was started")


def log_apart(label: str = "") -> None:
    """Log to a duplicate of stderr: while a function runs, stderr itself belongs to the trial.

    Args:
        label: identifies this process in a shared log.
    """
    handler = logging.StreamHandler(os.fdopen(os.dup(2), "w", buffering=1, errors="backslashreplace"))
    handler.setFormatter(logging.Formatter(logs.FORMAT.replace(" %(message)", f"{label} %(message)")))
    for layer in OUR_LAYERS:
        logs.tell(f"hpo_batch.{layer}", handler, level=logging.INFO)
    logs.tell("hpo_batch.training", logs.CurrentStderr(), level=logging.INFO)


def _owner(allocation: Allocation, environ: Mapping[str, str]) -> Owner:
    submission = environ.get(EnvVar.SUBMISSION, "")
    if allocation.job is not None:
        submission = environ.get("SLURM_JOB_NAME", "").rpartition("-")[2]
        job, _, index = allocation.job.partition("_")
        slot = int(environ[EnvVar.SLOT]) if EnvVar.SLOT in environ else None
        name = WorkerName(origin=job, run=allocation.restarts, index=int(index or 0), slot=slot)
    elif submission:
        name = WorkerName(origin=submission, index=int(environ.get(EnvVar.WORKER, "0")))
    else:
        # a random part, because containers on one host may share host name and pid
        name = WorkerName(origin=f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}")
    return Owner(
        worker=str(name),
        job=allocation.job or "local",
        host=allocation.node,
        pid=os.getpid(),
        start=processes.started_at(os.getpid()),
        boot=processes.boot_id(),
        pid_ns=processes.pid_namespace(),
        gpus=allocation.gpus,
        gpu_count=allocation.gpu_count,
        submission=submission,
    )


def _time_left(job: str, timeout_s: float) -> float | None:
    """Seconds left by SLURM's answer; None without one: many containers have no squeue."""
    try:
        return BATCH.time_left(job, timeout_s=timeout_s)
    except HpoBatchError as error:
        log.info("cannot tell whether the time limit has changed: %s", error)
        return None


def _walltime(home: StudyHome, sweep: Sweep, submission: str) -> float:
    """Seconds of walltime when the worker was submitted; the sweep may have been edited since."""
    with contextlib.suppress(StorageError):
        return next((one.walltime_s for one in read_submissions(home) if one.id == submission), sweep.job.walltime)
    return sweep.job.walltime


def _deadline(walltime_s: float, allocation: Allocation) -> float | None:
    if allocation.deadline_s is not None:
        return allocation.deadline_s
    # SLURM_JOB_END_TIME exists only since SLURM 23.02
    return time.time() + walltime_s if allocation.job is not None else None
