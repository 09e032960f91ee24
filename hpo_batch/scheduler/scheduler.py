"""What we need of a scheduler, in one place.

``slurm.scheduler`` and ``local`` provide it; another scheduler is one more module like them, and one line in
``registry``. Everything above ``scheduler`` works with these methods and with the types of ``tasks``, ``allocation``
and ``site``; what is left of SLURM elsewhere is in docs/decisions (a second scheduler).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from hpo_batch.scheduler.allocation import Allocation
from hpo_batch.scheduler.site import SiteFacts
from hpo_batch.scheduler.tasks import AccountingRow, ArrayTask, FoundJob, QueueRow, WaitReason

ANSWER_S: Final = 60.0
"""SLURM's own retries on a controller that is down end after 9 s; a busy one may take longer to answer."""
SUBMIT_S: Final = 180.0
"""sbatch itself tries for two minutes where the controller has no room for another job."""


@dataclass(frozen=True, kw_only=True)
class JobCommand:
    """What is submitted: a batch script, or the command of a process of this machine."""

    argv: tuple[str, ...]
    env: Mapping[str, str]
    log: Path | None = None
    """for its output, where no script says so"""
    workdir: Path | None = None


class Scheduler(Protocol):
    """A place where workers run. Every method asks at most once, for all jobs together.

    All of them raise ``CommandMissing`` where the scheduler is not installed, ``SlurmUnreachable`` where it does not
    answer, and ``SlurmRefused`` where it will not do what it is asked.
    """

    def is_here(self) -> bool:
        """Whether jobs can be submitted from this machine: the scheduler's commands are on PATH. Asks nobody."""

    def why_not(self, option: str) -> str:
        """Why an option of ``[job.sbatch]`` cannot be given; empty if it can."""

    def submit(self, job: JobCommand) -> str:
        """Submit a job; its id.

        Raises:
            SubmitLimit: not so many tasks, or none now.
            SubmissionUnknown: no answer: the job may have been taken.
        """

    def check(self, job: JobCommand) -> str:
        """What the scheduler says of a job without taking it, such as when it would start.

        Raises:
            SlurmRefused: it would not be taken.
        """

    def queue(
        self, job_ids: Iterable[str], *, names: Iterable[str] = (), ended: bool = False, timeout_s: float = ANSWER_S
    ) -> dict[ArrayTask, QueueRow]:
        """The tasks of some jobs that have not ended; with ``ended`` also those that ended not long ago."""

    def find_jobs(self, names: Iterable[str], *, only_pending: bool = False) -> dict[str, FoundJob]:
        """Jobs by name, with their ids: also those whose id was never told us."""

    def cancel(self, job_ids: Iterable[str], *, only_pending: bool = False) -> None:
        """End jobs and array tasks; one that has ended or is unknown is no mistake."""

    def requeue(self, task_id: str) -> None:
        """End a task that runs, and run it again later."""

    def start_now(self, task_ids: Iterable[str]) -> None:
        """Let tasks start that are held back after a requeue."""

    def update(self, task_ids: Iterable[str], changes: Mapping[str, str]) -> None:
        """Change what waiting tasks ask for."""

    def accounts(
        self, job_ids: Iterable[str], *, timeout_s: float = ANSWER_S
    ) -> dict[ArrayTask, tuple[AccountingRow, ...]] | None:
        """All runs of the tasks of some jobs, oldest first; None where no accounts are kept."""

    def explain(self, reason: str) -> WaitReason:
        """What it means that a task waits for a reason, in the scheduler's words."""

    def likely_fix(self, refusal: str) -> str:
        """What to look at when a job is refused in these words; empty if they are not known."""

    def time_left(self, task_id: str, *, timeout_s: float) -> float | None:
        """Seconds to the time limit of a task that runs; infinite without one, None if there is no such task."""

    def array_limit(self) -> int:
        """Most tasks of one array; 0 where there are no arrays."""

    def site(self, user: str) -> SiteFacts | None:
        """What the site allows this user; None where there is nothing to allow. Several calls, for ``doctor`` alone."""

    def cluster(self, environ: Mapping[str, str]) -> str:
        """The cluster that is reached from here; empty if nobody tells."""

    def allocation(self, environ: Mapping[str, str], now: float, *, cpus: int | None = None) -> Allocation:
        """What a worker with this environment was given to run on.

        Args:
            now: seconds since 1970.
            cpus: of the worker, where nobody else gives a number.
        """
