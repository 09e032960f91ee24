"""The job after the workers: a small one that waits for all of them, writes the table, and may submit what is left.

It runs ``hpo-batch`` by command line and may run twice or never. No process waits for it on the login node.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

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
from hpo_batch.study.policy import why_tripped
from hpo_batch.study.remaining import is_used_up
from hpo_batch.sweep.controls import check_line
from hpo_batch.sweep.schema import Job, Sweep
from hpo_batch.sweep.tables import to_raw
from hpo_batch.sweep.templates import merge, read_template

TEMPLATE = "collector"
INHERITED = ("account", "partition", "qos", "setup", "python")
"""of the workers' job, where the collector's template is silent: whom the time is charged to, and the way to Python"""
ENDED_BY_OTHERS = (TaskState.CANCELLED, TaskState.PREEMPTED)
"""that a task was ended by scancel, or by preemption for good"""


def collector_name(home: StudyHome, submission: str) -> str:
    """Not one that ends like the workers' job: that is how workers are found."""
    readable = "".join(c if c.isalnum() or c in "._" else "." for c in home.name)
    return f"{readable}-{submission}-collect"


def add_collector(plan: Plan, submission: Submission, *, environ: Mapping[str, str]) -> Submission:
    """Submit the job that waits for the submission's workers. A refusal is noted, not raised: the workers run."""
    home, job = plan.home, plan.sweep.job
    try:
        make_folder(home.path / "results")
        small = collector_job(job, near=plan.workdir)
        path = home.slurm / f"{submission.id}_collector.sh"
        write_atomic(path, script(plan, small, submission))
        return replace(
            submission, collector=BATCH.submit(JobCommand(argv=(str(path),), env=_environment(small, environ)))
        )
    except (HpoBatchError, OSError) as error:
        return replace(submission, collector_refused=str(error))


def _environment(small: Job, environ: Mapping[str, str]) -> dict[str, str]:
    """Without what is a surrounding job's, and without the caller's SBATCH_*, which stand above a script's own options.

    Whom the time is charged to is handed on where the job leaves it open.
    """
    kept = {"SLURM_CONF", "SLURM_CLUSTERS"}
    kept |= {f"SBATCH_{key.upper()}" for key in ("account", "partition", "qos") if getattr(small, key) is None}
    return {k: v for k, v in environ.items() if k in kept or not k.startswith(("SLURM_", "SBATCH_", "SUBMITIT_"))}


def collector_job(job: Job, *, near: Path) -> Job:
    """The template's keys, with what the workers' job says of the site.

    Raises:
        UserError: the template cannot be read, or has a mistake.
    """
    from hpo_batch.sweep.validate import checked  # it brings pydantic, and most submissions have no collector

    template = read_template(TEMPLATE, near)
    asked = to_raw(job)
    given = {key: job.sbatch.get(key, asked.get(key)) for key in INHERITED}
    raw = merge({key: value for key, value in given.items() if value}, template.raw)
    try:
        return checked(Job, raw)
    except ValueError as error:
        raise UserError(f"job template {template.path}: {'; '.join(str(error).splitlines())}") from error


def script(plan: Plan, small: Job, submission: Submission) -> str:
    """The collector's batch script; the dry run prints the same."""
    home, workdir = plan.home, workdir_of(plan.home, submission) or plan.workdir
    job = replace(small, srun=False, dependency=f"afterany:{':'.join(submission.job_ids)}")
    asked = parameters(job, name=collector_name(home, submission.id), workdir=workdir)
    # No worker's: it does not come back by itself, and nobody waits for a warning.
    options = {key: value for key, value in asked["additional_parameters"].items() if key not in ("requeue", "signal")}
    output = str(home.slurm).replace("%", "%%") + "/%j_collector.log"  # a % of its own begins a pattern for sbatch
    asked |= {"additional_parameters": {**options, "output": output}, "stderr_to_stdout": True}
    # A command before [job] setup: sbatch reads options up to the first one, also those that stand in setup.
    asked["setup"] = [
        "code=0",
        *small.setup,
        "# runs once after the workers have ended; it may be run again by hand",
        *(f"{shlex.join(step)} || code=$?" for step in _steps(plan, small, submission)),
    ]
    return script_text("exit $code", folder=home.slurm, asked=asked)


def _steps(plan: Plan, small: Job, submission: Submission) -> list[list[str]]:
    """The commands that it runs."""
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
    """Why the collector of submission ``id`` does not submit what is left; None if it does."""
    for marker in markers:
        return "the study was cancelled" if marker == Marker.CANCELLED else "the study is being drained"
    mine = next((s for s in submissions if s.id == id), None)
    if mine is None:
        return f"there is no submission '{id}'"
    if state.counts().remaining == 0:
        return "nothing is left to do"
    if mine.cancelled or any(one in ENDED_BY_OTHERS for one in ended):
        return "workers were cancelled or preempted for good"
    later = [s for s in submissions if s.submitted > mine.submitted and not s.refused]
    if later:
        return f"a later submission ({later[-1].id}) has its own collector, or was made to go on by hand"
    if mine.resumes >= sweep.job.auto_resume:
        return f"it was resumed {mine.resumes} times (job.auto_resume = {sweep.job.auto_resume})"
    tripped = why_tripped(sweep, state)
    if tripped:
        return str(tripped)
    if is_used_up(sweep, state):
        return "every configuration was tried"
    if _told_to_end(state, id):
        return "a worker was told to end (SIGTERM or a marker), and nobody has gone on with its trial"
    if not any(_ran_in(state, number, id) for number in range(len(state.trials))):
        return "none of its workers has begun a trial: their logs say why"
    return None


def _told_to_end(state: JournalState, submission: str) -> bool:
    waiting = (state.trials[number] for number in state.by_state[TrialState.WAITING])
    last = [trial for trial in waiting if trial.attempt_facts(trial.attempt).get("submission") == submission]
    return any(trial.ending(trial.attempt).get("how") in TOLD_TO_END for trial in last)


def _ran_in(state: JournalState, number: int, submission: str) -> bool:
    trial = state.trials[number]
    return any(trial.attempt_facts(n).get("submission") == submission for n in range(1, trial.attempt + 1))
