"""The workers of a submission as array jobs: one, or several where SLURM does not take so many tasks at once."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from hpo_batch.errors import HpoBatchError, SlurmRefused, SubmissionUnknown, SubmitLimit
from hpo_batch.files import write_atomic
from hpo_batch.launch.environment import sbatch_environment
from hpo_batch.launch.plan import Plan
from hpo_batch.launch.sbatch import asked_options, sbatch_text, write_pickle
from hpo_batch.scheduler.slurm import control, jobs
from hpo_batch.scheduler.slurm.sbatch_errors import likely_fix
from hpo_batch.store.submissions import Submission, write_submission
from hpo_batch.worker.entry import Worker

USUAL_LIMIT = 1001
"""SLURM's default of MaxArraySize; asked for only where it could matter"""
MOST_REFUSALS = 6
"""so often fewer tasks are tried, over all arrays of a submission"""
RETRY_WITHIN_S = 300.0
"""sbatch may take two minutes to say that there is no room"""
LOG_OF_TASK = "slurm/%A_%a_0_log.err"
LOG_OF_JOB = "slurm/%A_0_log.err"


def submit_arrays(plan: Plan, submission: Submission, *, environ: Mapping[str, str]) -> Submission:
    """Call sbatch until all tasks are in the queue, or SLURM takes no more; each id is written down at once.

    Whatever is refused after a first array leaves a submission of fewer workers, with the reason as its ``limit``.

    Raises:
        SlurmRefused: nothing was taken; scripts and pickle are removed.
        SlurmUnreachable: no controller: nothing was taken.
        SubmissionUnknown: sbatch gave no answer; the submission stays open.
    """
    home, arrays = plan.home, _Arrays(tasks=plan.tasks, max_running=plan.sweep.job.max_running)
    environment = sbatch_environment(environ, asked=asked_options(plan.sweep.job))
    pickle = home.slurm / f"{submission.id}.pkl"
    write_pickle(pickle, Worker(home=str(home.path)), plan.sweep.job)
    failed: HpoBatchError | None = None
    while arrays.left and failed is None:
        script = home.slurm / f"{submission.id}{f'-{len(submission.job_ids) + 1}' if submission.job_ids else ''}.sh"
        write_atomic(script, _text(plan, submission, pickle, arrays))
        try:
            job_id = jobs.sbatch(script, env=environment.env)
        except SubmitLimit as error:
            script.unlink()
            if not arrays.fewer(error):
                failed = error
            continue
        except SubmissionUnknown as error:
            raise SubmissionUnknown(
                f"{error}: the job may have been taken. Wait a minute and submit again: one that is there is found by "
                f"its name, '{submission.name}', and none is added"
            ) from error
        except HpoBatchError as error:
            script.unlink()
            failed = error
            continue
        arrays.taken()
        submission = replace(
            submission,
            job_ids=(*submission.job_ids, job_id),
            log_pattern=LOG_OF_TASK if arrays.is_array else LOG_OF_JOB,
        )
        write_submission(home, submission)
    return _settle(plan, submission, arrays, pickle, failed)


def _settle(
    plan: Plan, submission: Submission, arrays: _Arrays, pickle: Path, failed: HpoBatchError | None
) -> Submission:
    """The submission as it stays."""
    if failed is not None and not submission.job_ids:
        pickle.unlink()
        raise _told(failed) from failed
    workers = min(submission.asked, (plan.tasks - arrays.left) * submission.workers_per_task)
    limit = "" if failed is None else str(failed)
    submission = replace(submission, workers=workers, limit=limit, is_open=False)
    write_submission(plan.home, submission)
    return submission


def _told(error: HpoBatchError) -> HpoBatchError:
    if not isinstance(error, SlurmRefused):
        return error
    if isinstance(error, SubmitLimit):
        fix = "there is no room for even one worker now: submit again later, or set another [job] qos or partition"
    else:
        fix = likely_fix(str(error))
    return SlurmRefused(f"sbatch refused the job: {error}{f'; {fix}' if fix else ''}")


def _text(plan: Plan, submission: Submission, pickle: Path, arrays: _Arrays) -> str:
    return sbatch_text(
        plan.sweep.job,
        folder=plan.home.slurm,
        name=submission.name,
        workdir=plan.workdir,
        tasks=arrays.size if arrays.is_array else None,
        pickle=pickle.name,
        max_running=arrays.share(),
    )


@dataclass(kw_only=True)
class _Arrays:
    """How many tasks are left to submit, and how many are tried next."""

    tasks: int
    max_running: int | None
    left: int = 0
    size: int = 0
    refusals: int = 0
    is_array: bool = True
    _limit: int | None = None
    _running_left: int = 0
    _began: float = 0.0

    def __post_init__(self) -> None:
        self.left = self.size = self.tasks
        # one task alone is a plain job; a chunk of one beside others is an array, so that all logs are called alike
        self.is_array = self.tasks > 1
        self._running_left = self.max_running or 0
        self._began = time.monotonic()
        if self.tasks >= USUAL_LIMIT:
            self._ask()

    def taken(self) -> None:
        self._running_left -= self.share() or 0
        self.left -= self.size
        self.size = min(self.size, self.left)

    def share(self) -> int | None:
        """The next array's part of ``max_running``."""
        if self.max_running is None:
            return None
        return max(1, round(self._running_left * self.size / self.left))

    def fewer(self, refused: SubmitLimit) -> bool:
        """Try fewer tasks; False if it is time to give up."""
        if "array specification" in str(refused) and self._limit is None:
            before = self.size
            self._ask()
            if self.size < before:
                return True
        self.refusals += 1
        if self.size == 1 or self.refusals > MOST_REFUSALS or time.monotonic() - self._began > RETRY_WITHIN_S:
            return False
        self.size //= 2
        return True

    def _ask(self) -> None:
        try:
            self._limit = control.show_config().array_limit
        except HpoBatchError:
            self._limit = USUAL_LIMIT
        self.is_array = self._limit > 1
        self.size = min(self.size, max(1, self._limit))
