"""Loads the user's code in a worker's process: where it looks, with how many threads, and what is wrong with it."""

from __future__ import annotations

import contextlib
import os
import sys
import traceback
from dataclasses import replace
from pathlib import Path

from hpo_batch.errors import StorageError, UserError
from hpo_batch.objective.command import CommandObjective
from hpo_batch.objective.function import FunctionObjective
from hpo_batch.objective.load import Objective, import_many, load, missing_files
from hpo_batch.objective.stop import Graces
from hpo_batch.records import Failed, Reason
from hpo_batch.scheduler.allocation import Allocation
from hpo_batch.store.home import StudyHome
from hpo_batch.store.submissions import read_submissions, workdir_of
from hpo_batch.sweep.schema import Sweep


def limit_threads(sweep: Sweep, cpus: int) -> None:
    """Limit threads to the task's CPUs; before user code is imported, because numeric libraries read these once.

    One thread more than cores made training 27 times slower.
    """
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[name] = str(cpus)
    os.environ.update(sweep.objective.env)


def go_where_submitted(home: StudyHome, allocation: Allocation, *, submission: str) -> None:
    """Change to the submission's working directory.

    If it does not exist on the node, slurmstepd starts the job in /tmp and only logs that.

    Raises:
        UserError: the directory does not exist here.
    """
    if allocation.job is None:
        return
    with contextlib.suppress(StorageError):
        submitted = next((one for one in read_submissions(home) if one.id == submission), None)
        expected = None if submitted is None else workdir_of(home, submitted)
        if expected is None:
            return
        try:
            if not expected.samefile(Path.cwd()):
                os.chdir(expected)
        except OSError as error:
            where = f"cannot use the working directory '{expected}' ({error.strerror})"
            raise UserError(f"on {allocation.node}: {where}; no trial was started") from error


def enter(sweep: Sweep) -> Failed | None:
    """Change to the objective's working directory, relative to the directory in which the worker was started."""
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))  # as `python -m` does, so that the user's package is found
    if sweep.objective.cwd is None:
        return None
    try:
        os.chdir(sweep.objective.cwd)
    except OSError as error:
        where = Path(sweep.objective.cwd).absolute()
        message = f"cannot change to the working directory '{where}' of [objective]: {error.strerror}"
        return Failed(reason=Reason.INVALID, message=message)
    return None


def load_objective(sweep: Sweep) -> Objective | Failed:
    here = replace(sweep.objective, cwd=None)  # this process has changed to it already
    try:
        objective = load(here, metrics=sweep.study.metric, computed=sweep.metrics)
        if missing := missing_files(here):
            return Failed(reason=Reason.INVALID, message="; ".join(missing))
        if sweep.job.fused > 1 and isinstance(objective, FunctionObjective):
            assert here.function is not None
            return replace(objective, many=import_many(here.function, must=sweep.job.fuse != "auto"))
        if isinstance(objective, CommandObjective):
            return replace(objective, graces=Graces(preempted_s=sweep.job.grace_s))
        return objective
    except UserError as error:
        cause = error.__cause__
        text = "".join(traceback.format_exception(cause)) if cause else ""
        return Failed(reason=Reason.INVALID, message=str(error), traceback=text)
