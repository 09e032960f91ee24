"""How a worker process begins and ends: what submitit pickles, and what ``hpo-batch worker`` calls.

The pickle holds a path and nothing else: everything that a worker needs is in the study's directory or its environment.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
import time
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from hpo_batch import processes
from hpo_batch.cluster import commands
from hpo_batch.cluster.allocation import Allocation
from hpo_batch.cluster.allocation import read as read_allocation
from hpo_batch.errors import Exit, HpoBatchError, StorageError, UserError
from hpo_batch.objective.load import Objective, import_function, load
from hpo_batch.records import Failed, Owner, Reason, Stopping, TrialState
from hpo_batch.store import sharing
from hpo_batch.store.home import StudyHome
from hpo_batch.study.create import read_revision, read_state
from hpo_batch.sweep.schema import Sweep
from hpo_batch.worker import ranks, slots
from hpo_batch.worker.devices import choose_device
from hpo_batch.worker.loop import Place, Tally, work
from hpo_batch.worker.signals import Signals

log = logging.getLogger(__name__)

SUBMISSION_VARIABLE = "HPO_BATCH_SUBMISSION"
INDEX_VARIABLE = "HPO_BATCH_WORKER"
PARK_S = 600.0
LOG_FORMAT = "%(asctime)s %(levelname).1s %(message)s"
OUR_LAYERS = ("cluster", "objective", "processes", "store", "study", "worker")
"""what speaks for the worker; trainers that ship with us speak for their trial"""


@dataclass(frozen=True)
class Worker:
    """The callable that submitit pickles for each array task."""

    home: str

    def __call__(self) -> int:
        logging.basicConfig(level=logging.INFO, format=LOG_FORMAT, stream=sys.stderr)  # for the user's code
        path = Path(self.home)
        return run_worker(StudyHome(path=path, name=path.name), os.environ)


def run_worker(home: StudyHome, environ: Mapping[str, str]) -> int:
    """Work on a study until nothing is left for this worker; the exit code says whether trials failed.

    Raises:
        HpoBatchError: the study, the device or the objective cannot be used.
    """
    if slots.SLOT_VARIABLE in environ:
        processes.end_with_parent(signal.SIGTERM)
    signals = Signals()
    signals.install()
    log_apart(slots.slot_label(environ))
    home = StudyHome(path=home.path.absolute(), name=home.name)
    state = read_state(home)
    if not state.revision:
        raise StorageError(f"no study in '{home.path}': submit a sweep first")
    sweep = read_revision(home, state)
    home = StudyHome(path=home.path, name=state.study_name or home.name)
    allocation = read_allocation(environ, time.time(), cpus=sweep.job.cpus)
    if sweep.study.shared:
        os.umask(sharing.UMASK)  # for good: this process and all that it starts work on this study alone
    _limit_threads(sweep, allocation.cpus)
    log.info("worker on %s, pid %s, study %s", allocation.node, os.getpid(), home.name)
    if slots.is_supervisor(sweep.job, allocation, environ):
        tally = slots.supervise(home, sweep.job, allocation, signals=signals, environ=environ)
        return _end(home, signals, tally, allocation, environ)
    rank = ranks.rank_of(sweep.job, allocation, environ)
    if rank is not None and rank.rank > 0:
        return ranks.follow(home, rank)
    began = time.time()
    device = choose_device(sweep, allocation)
    log.info("device %s, GPUs %s, %s CPUs", device, ",".join(allocation.gpus) or "none", allocation.cpus)
    lead_s = min(float(sweep.job.signal_lead_s), sweep.job.walltime / 4)
    place = Place(
        device=device,
        cpus=allocation.cpus,
        deadline=_deadline(sweep, allocation),
        lead_s=lead_s,
        is_killed=allocation.job is not None,
        began=began,
    )
    if rank is not None:
        with ranks.led(home, sweep, rank) as lead:
            tally = _work(home, sweep, place, allocation, environ, signals=signals, lead=lead)
            lead.end_processes()  # before the task waits for its end: they hold the GPUs' memory
            return _end(home, signals, tally, allocation, environ)
    tally = _work(home, sweep, place, allocation, environ, signals=signals)
    return _end(home, signals, tally, allocation, environ)


def _work(
    home: StudyHome,
    sweep: Sweep,
    place: Place,
    allocation: Allocation,
    environ: Mapping[str, str],
    *,
    signals: Signals,
    lead: ranks.Lead | None = None,
) -> Tally:
    wrong = enter(sweep)
    n_params = import_function(sweep.objective.n_params) if sweep.objective.n_params else None
    # imported here, after the numbers of threads are set: it brings Optuna, and Optuna NumPy
    from hpo_batch.study.study import Study

    with Study.open(home, _owner(allocation, environ), n_params=n_params) as study:
        if lead is None:
            return work(study, wrong or load_objective(sweep), home=home, place=place, signals=signals)
        objective = wrong or lead.objective(place)
        return work(study, objective, home=home, place=place, signals=signals, is_over=lambda: lead.is_over)


def _end(home: StudyHome, signals: Signals, tally: Tally, allocation: Allocation, environ: Mapping[str, str]) -> Exit:
    """The last acts of a worker, or of the supervisor of several; what a task does once is the supervisor's."""
    slots.write_tally(environ, tally)
    if slots.SLOT_VARIABLE not in environ:
        _finish(home, signals, tally, allocation)
    log.info(
        "worker ends: %s complete, %s pruned, %s failed, %s given back",
        tally.complete, tally.pruned, tally.failed, tally.given_back,
    )  # fmt: skip
    if signals.received is Stopping.CANCELLED:
        return Exit.INTERRUPTED
    return Exit.TRIALS_FAILED if tally.failed else Exit.OK


def log_apart(label: str = "") -> None:
    """Our own messages on a descriptor of their own: while a function runs, what goes to stderr is the trial's.

    Args:
        label: tells them from those of other processes in the same log.
    """
    handler = logging.StreamHandler(os.fdopen(os.dup(2), "w", buffering=1, errors="backslashreplace"))
    handler.setFormatter(logging.Formatter(LOG_FORMAT.replace(" %(message)", f"{label} %(message)")))
    for layer in OUR_LAYERS:
        logger = logging.getLogger(f"hpo_batch.{layer}")
        logger.handlers, logger.propagate = [handler], False
        logger.setLevel(logging.INFO)


def enter(sweep: Sweep) -> Failed | None:
    """Go to the objective's working directory; a relative one starts where the worker was started."""
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))  # as `python -m` does: the user's package lies where the worker was started
    if sweep.objective.cwd is None:
        return None
    try:
        os.chdir(sweep.objective.cwd)
    except OSError as error:
        where = Path(sweep.objective.cwd).absolute()
        message = f"cannot go to the working directory '{where}' of [objective]: {error.strerror}"
        log.error("%s", message)
        return Failed(reason=Reason.INVALID, message=message)
    return None


def load_objective(sweep: Sweep) -> Objective | Failed:
    here = sweep.objective.model_copy(update={"cwd": None})  # this process is there already
    try:
        return load(here, metrics=sweep.study.metric, computed=sweep.metrics)
    except UserError as error:
        cause = error.__cause__
        text = "".join(traceback.format_exception(cause)) if cause else ""
        log.error("the objective cannot be loaded: %s", error)
        return Failed(reason=Reason.INVALID, message=str(error), traceback=f"{text}{error}\n")


def _limit_threads(sweep: Sweep, cpus: int) -> None:
    """Before user code is imported: numeric libraries read these once. A second thread on shared cores cost 27x."""
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[name] = str(cpus)
    os.environ.update(sweep.objective.env)


def _owner(allocation: Allocation, environ: Mapping[str, str]) -> Owner:
    submission, index = environ.get(SUBMISSION_VARIABLE, ""), environ.get(INDEX_VARIABLE, "0")
    if allocation.job is not None:
        submission = environ.get("SLURM_JOB_NAME", "").rpartition("-")[2]
        job, _, index = allocation.job.partition("_")
        name = f"{job}-r{allocation.restarts}-{index or 0}"
        if slots.SLOT_VARIABLE in environ:
            name += f".{environ[slots.SLOT_VARIABLE]}"
    elif submission:
        name = f"{submission}-{index}"
    else:
        name = f"{socket.gethostname()}-{os.getpid()}-0"
    return Owner(
        worker=name,
        job=allocation.job or "local",
        host=allocation.node,
        pid=os.getpid(),
        start=processes.started_at(os.getpid()),
        boot=processes.boot_id(),
        gpus=allocation.gpus,
        submission=submission,
    )


def _deadline(sweep: Sweep, allocation: Allocation) -> float | None:
    if allocation.deadline_s is not None:
        return allocation.deadline_s
    # SLURM tells the end of a job only since 23.02
    return time.time() + sweep.job.walltime if allocation.job is not None else None


def _finish(home: StudyHome, signals: Signals, tally: Tally, allocation: Allocation) -> None:
    """In a batch task: after the warning of the limit ask for another run; after preemption wait to be requeued."""
    if allocation.job is None or signals.received is None:
        return
    if signals.received is Stopping.TIME_LIMIT and _work_is_left(home) and tally.complete + tally.given_back > 0:
        try:
            log.info("the limit is near: asking SLURM to requeue %s", allocation.job)
            commands.requeue(allocation.job)
        except HpoBatchError as error:
            log.warning("not requeued (%s): 'hpo-batch submit' again adds workers", error)
            return
    elif signals.received is not Stopping.PREEMPTED:
        return
    # a task that ends by itself counts as completed and is not requeued (SLURM before 24.05): wait for the kill
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    time.sleep(PARK_S)


def _work_is_left(home: StudyHome) -> bool:
    if home.marker("CANCELLED").exists() or home.marker("DRAIN").exists():
        return False
    state = read_state(home)
    return bool(state.by_state[TrialState.WAITING]) or state.counts().remaining > 0
