"""The collector: a small job that waits for all workers, writes the results, and may submit the remaining trials.

It runs ``hpo-batch`` commands, and may run twice or never. No process on the login node waits for it.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from msgspec import structs

from hpo_batch.errors import HpoBatchError, UserError
from hpo_batch.files import write_atomic
from hpo_batch.journal.state import JournalState
from hpo_batch.launch.plan import Plan
from hpo_batch.launch.sbatch import parameters, script_text
from hpo_batch.launch.task_exits import TOLD_TO_END
from hpo_batch.records import TrialState
from hpo_batch.scheduler.registry import BATCH
from hpo_batch.scheduler.scheduler import JobCommand
from hpo_batch.scheduler.tasks import TaskState
from hpo_batch.store.home import Marker, StudyHome, make_folder
from hpo_batch.store.submissions import Submission, workdir_of
from hpo_batch.study import stop_rules
from hpo_batch.study.policy import why_tripped
from hpo_batch.study.remaining import is_used_up
from hpo_batch.sweep.controls import check_line
from hpo_batch.sweep.schema import Job, Sweep
from hpo_batch.sweep.tables import to_raw
from hpo_batch.sweep.templates import merge, read_template
from hpo_batch.text.numbers import count

TEMPLATE = "collector"
# keys that the collector takes from the workers' job if its template does not set them: who pays, and how to run Python
INHERITED = ("account", "partition", "qos", "setup", "python")
# states of tasks that scancel ended, or preemption without requeue
ENDED_BY_OTHERS = (TaskState.CANCELLED, TaskState.PREEMPTED)


def collector_name(home: StudyHome, submission: str) -> str:
    """The collector's job name, which must not end like those of workers, since they are found by that."""
    readable = "".join(c if c.isalnum() or c in "._" else "." for c in home.name)
    return f"{readable}-{submission}-collect"


def add_collector(plan: Plan, submission: Submission, *, environ: Mapping[str, str]) -> Submission:
    """Submit the collector. If SLURM rejects it, that is recorded but not raised, since the workers are running."""
    home, job = plan.home, plan.sweep.job
    try:
        make_folder(home.path / "results")
        small = collector_job(job, near=plan.workdir)
        path = home.slurm / f"{submission.id}_collector.sh"
        write_atomic(path, script(plan, small, submission))
        return structs.replace(
            submission, collector=BATCH.submit(JobCommand(argv=(str(path),), env=_environment(small, environ)))
        )
    except (HpoBatchError, OSError) as error:
        return structs.replace(submission, collector_refused=str(error))


def _environment(small: Job, environ: Mapping[str, str]) -> dict[str, str]:
    """The caller's environment without variables of a surrounding job and without ``SBATCH_*``.

    The latter take precedence over options in the script. Account, partition and QOS pass if the job leaves them open.
    """
    passed = {"SLURM_CONF", "SLURM_CLUSTERS"}
    passed |= {f"SBATCH_{key.upper()}" for key in ("account", "partition", "qos") if getattr(small, key) is None}
    return {k: v for k, v in environ.items() if k in passed or not k.startswith(("SLURM_", "SBATCH_", "SUBMITIT_"))}


def collector_job(job: Job, *, near: Path) -> Job:
    """The collector's job: the template's keys, and those that it takes from the workers' job.

    Raises:
        UserError: the template cannot be read, or has a mistake.
    """
    from hpo_batch.sweep.validate import (
        checked,
    )  # here, because it imports pydantic, and most submissions have no collector

    template = read_template(TEMPLATE, near)
    of_workers = to_raw(job)
    inherited = {key: job.sbatch.get(key, of_workers.get(key)) for key in INHERITED}
    raw = merge({key: value for key, value in inherited.items() if value}, template.raw)
    try:
        return checked(Job, raw)
    except ValueError as error:
        raise UserError(f"job template {template.path}: {'; '.join(str(error).splitlines())}") from error


def script(plan: Plan, small: Job, submission: Submission) -> str:
    """The collector's batch script; the dry run prints it too."""
    home, workdir = plan.home, workdir_of(plan.home, submission) or plan.workdir
    job = replace(small, srun=False, dependency=f"afterany:{':'.join(submission.job_ids)}")
    asked = parameters(job, name=collector_name(home, submission.id), workdir=workdir)
    # unlike workers, it is not requeued and needs no warning before the time limit
    options = {key: value for key, value in asked["additional_parameters"].items() if key not in ("requeue", "signal")}
    output = str(home.slurm).replace("%", "%%") + "/%j_collector.log"  # sbatch expands % in file names
    asked |= {"additional_parameters": {**options, "output": output}, "stderr_to_stdout": True}
    # A command before [job] setup, so that #SBATCH lines in setup have no effect: sbatch stops at the first command
    # (https://slurm.schedmd.com/sbatch.html)
    asked["setup"] = [
        "code=0",
        *small.setup,
        "# runs once after the workers have ended; it may be run again by hand",
        *(f"{shlex.join(step)} || code=$?" for step in _steps(plan, small, submission)),
    ]
    return script_text("exit $code", folder=home.slurm, asked=asked)


def _steps(plan: Plan, small: Job, submission: Submission) -> list[list[str]]:
    """The commands that the collector runs."""
    home, job = plan.home, plan.sweep.job
    program = [*(shlex.split(small.python) if small.python else [sys.executable]), "-m", "hpo_batch"]
    root = ["--root", str(home.root)]
    steps = [[*program, "collect", str(home.path), "-o", str(home.path / "results" / "trials.csv"), *root]]
    if job.auto_resume:
        steps.append([*program, "resume", str(home.path), "--auto", submission.id, *root])
    for step in steps:
        for word in step:
            check_line("path", word)
    return steps


def why_not(
    submissions: Sequence[Submission],
    id: str,
    *,
    sweep: Sweep,
    state: JournalState,
    markers: Iterable[str],
    ended: Iterable[TaskState],
) -> str | None:
    """Why the collector of submission ``id`` does not submit the remaining trials; None if it does."""
    for marker in markers:
        return "the study was cancelled" if marker == Marker.CANCELLED else "the study is being drained"
    mine = next((s for s in submissions if s.id == id), None)
    if mine is None:
        return f"submission '{id}' does not exist"
    if state.counts().remaining == 0:
        return "all trials are finished"
    if mine.cancelled or any(one in ENDED_BY_OTHERS for one in ended):
        return "workers were cancelled or preempted for good"
    later = [s for s in submissions if s.submitted > mine.submitted and not s.refused]
    if later:
        return f"there is a later submission ({later[-1].id}), by hand or with its own collector"
    if mine.resumes >= sweep.job.auto_resume:
        return f"already resumed {count(mine.resumes, 'time')} (job.auto_resume = {sweep.job.auto_resume})"
    rules = stop_rules.of_sweep(sweep)
    tripped = why_tripped(rules, state)
    if tripped:
        return str(tripped)
    if is_used_up(rules, state):
        return "every configuration was tried"
    if _told_to_end(state, id):
        return "a worker was told to stop (SIGTERM or a marker), and no other has taken over its trial"
    if not any(_ran_in(state, number, id) for number in range(len(state.trials))):
        return "none of its workers started a trial; see their logs"
    return None


def _told_to_end(state: JournalState, submission: str) -> bool:
    waiting = (state.trials[number] for number in state.by_state[TrialState.WAITING])
    last = [trial for trial in waiting if trial.attempt_facts(trial.attempt).get("submission") == submission]
    return any(trial.ending(trial.attempt).get("how") in TOLD_TO_END for trial in last)


def _ran_in(state: JournalState, number: int, submission: str) -> bool:
    trial = state.trials[number]
    return any(trial.attempt_facts(n).get("submission") == submission for n in range(1, trial.attempt + 1))
