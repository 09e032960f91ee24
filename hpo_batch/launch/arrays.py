"""Submit a plan's workers as one array job, or as several if SLURM does not accept so many tasks at once."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from msgspec import structs

from hpo_batch.errors import HpoBatchError, SlurmRefused, SubmissionUnknown, SubmitLimit
from hpo_batch.files import write_atomic
from hpo_batch.launch.environment import sbatch_environment
from hpo_batch.launch.plan import Array, Plan, split
from hpo_batch.launch.sbatch import asked_options, sbatch_text, write_pickle
from hpo_batch.launch.task_layout import USUAL_ARRAY_LIMIT, array_limit
from hpo_batch.scheduler.registry import BATCH
from hpo_batch.scheduler.scheduler import JobCommand
from hpo_batch.store.home import StudyHome
from hpo_batch.store.submissions import Submission, write_submission
from hpo_batch.worker.entry import Worker

# How often fewer tasks are tried, over all arrays of a submission: 1000 tasks come down to 15.
MOST_REFUSALS = 6
# sbatch itself may take two minutes to say that there is no room.
RETRY_WITHIN_S = 300.0
LOG_OF_TASK = "slurm/%A_%a_0_log.err"
LOG_OF_JOB = "slurm/%A_0_log.err"


def submit_arrays(plan: Plan, submission: Submission, *, environ: Mapping[str, str]) -> Submission:
    """Call sbatch until all tasks are queued or SLURM accepts no more; every job id is recorded at once.

    If sbatch fails after a first array, the submission has fewer workers, and ``limit`` holds the reason.

    Raises:
        SlurmRefused: nothing was submitted; scripts and pickle are removed.
        SlurmUnreachable: the controller does not answer; nothing was submitted.
        SubmissionUnknown: sbatch gave no answer; the submission stays open.
    """
    home, rest = plan.home, _Rest.of(plan)
    env = sbatch_environment(environ, asked=asked_options(plan.sweep.job)).env
    pickle = pickle_path(home, submission)
    write_pickle(pickle, Worker(home=str(home.path)), plan.sweep.job)
    failure: HpoBatchError | None = None
    while rest.tasks and failure is None:
        script, array = _script_path(home, submission), rest.next_array()
        write_atomic(script, array_script(plan, submission, array))
        try:
            job_id = BATCH.submit(JobCommand(argv=(str(script),), env=env))
        except SubmitLimit as error:
            script.unlink()
            failure = None if rest.try_fewer(error) else error
            continue
        except SubmissionUnknown as error:
            raise SubmissionUnknown(
                f"{error}: the job may have been submitted. Wait a minute and submit again: an existing job is found "
                f"by its name, '{submission.name}', and not submitted twice"
            ) from error
        except HpoBatchError as error:
            script.unlink()
            failure = error
            continue
        rest.remove(array)
        log_pattern = LOG_OF_TASK if array.is_array else LOG_OF_JOB
        submission = structs.replace(submission, job_ids=(*submission.job_ids, job_id), log_pattern=log_pattern)
        write_submission(home, submission)
    return _settle(plan, submission, tasks=plan.tasks - rest.tasks, failure=failure)


def array_script(plan: Plan, submission: Submission, array: Array) -> str:
    """The batch script of one array; the dry run prints it too."""
    return sbatch_text(
        plan.sweep.job,
        folder=plan.home.slurm,
        name=submission.name,
        workdir=plan.workdir,
        tasks=array.tasks if array.is_array else None,
        pickle=pickle_path(plan.home, submission).name,
        max_running=array.max_running,
    )


def pickle_path(home: StudyHome, submission: Submission) -> Path:
    return home.slurm / f"{submission.id}.pkl"


def _script_path(home: StudyHome, submission: Submission) -> Path:
    number = f"-{len(submission.job_ids) + 1}" if submission.job_ids else ""
    return home.slurm / f"{submission.id}{number}.sh"


def _settle(plan: Plan, submission: Submission, *, tasks: int, failure: HpoBatchError | None) -> Submission:
    """The final record of a submission with ``tasks`` array tasks."""
    if failure is not None and not submission.job_ids:
        pickle_path(plan.home, submission).unlink()
        raise _with_advice(failure) from failure
    workers = min(submission.asked, tasks * submission.workers_per_task)
    limit = "" if failure is None else str(failure)
    submission = structs.replace(submission, workers=workers, limit=limit, is_open=False)
    write_submission(plan.home, submission)
    return submission


def _with_advice(error: HpoBatchError) -> HpoBatchError:
    if not isinstance(error, SlurmRefused):
        return error
    if isinstance(error, SubmitLimit):
        fix = "not even one worker fits now: submit again later, or set another [job] qos or partition"
    else:
        fix = BATCH.likely_fix(str(error))
    return SlurmRefused(f"sbatch refused the job: {error}{f'; {fix}' if fix else ''}")


@dataclass(kw_only=True)
class _Rest:
    """Tasks left to submit, and how many of them SLURM may accept at once."""

    tasks: int
    size: int
    max_running: int | None
    is_array: bool
    is_limit_known: bool
    began: float
    refusals: int = 0

    @classmethod
    def of(cls, plan: Plan) -> _Rest:
        limit = plan.array_limit
        if limit is None and plan.tasks >= USUAL_ARRAY_LIMIT:
            limit = array_limit()
        size = plan.tasks if limit is None else min(plan.tasks, max(1, limit))
        return cls(
            tasks=plan.tasks,
            size=size,
            max_running=plan.sweep.job.max_running,
            is_array=plan.tasks > 1 and (limit is None or limit > 1),
            is_limit_known=limit is not None,
            began=time.monotonic(),
        )

    def next_array(self) -> Array:
        first = split(self.tasks, limit=self.size, max_running=self.max_running)[0]
        return replace(first, is_array=self.is_array)

    def remove(self, array: Array) -> None:
        self.tasks -= array.tasks
        self.size = min(self.size, self.tasks)
        self.max_running = None if self.max_running is None else self.max_running - (array.max_running or 0)

    def try_fewer(self, refusal: SubmitLimit) -> bool:
        """Make the next array smaller; False to give up."""
        # "Invalid job array specification" is SLURM's message for an index above MaxArraySize - 1:
        # https://slurm.schedmd.com/job_array.html
        if "array specification" in str(refusal) and not self.is_limit_known:
            self.is_limit_known, limit, before = True, array_limit(), self.size
            self.is_array = limit > 1
            self.size = min(self.size, max(1, limit))
            if self.size < before:
                return True
        self.refusals += 1
        if self.size == 1 or self.refusals > MOST_REFUSALS or time.monotonic() - self.began > RETRY_WITHIN_S:
            return False
        # halve, since the error does not tell how many tasks still fit below MaxSubmitJobs of the association or QOS:
        # https://slurm.schedmd.com/resource_limits.html
        self.size //= 2
        return True
