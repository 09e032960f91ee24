"""The interface of a scheduler, implemented by ``slurm.scheduler`` and ``local``.

To add a scheduler, write a module like these and add it to ``registry``. Everything above ``scheduler`` works with
these methods and the types of ``tasks``, ``allocation`` and ``site``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final, Protocol

from msgspec import Struct

from hpo_batch.scheduler.allocation import Allocation
from hpo_batch.scheduler.site import NodeKind, SiteFacts
from hpo_batch.scheduler.tasks import AccountingRow, ArrayTask, FoundJob, QueueRow, WaitReason

ANSWER_S: Final = 60.0
"""timeout for commands: SLURM gives up on a dead controller after 9 s, but a busy one may take longer to answer"""
SUBMIT_S: Final = 180.0
"""timeout for sbatch, which retries for two minutes if the controller temporarily accepts no jobs"""


class JobCommand(Struct, frozen=True, kw_only=True):
    """A job to submit: a batch script, or the command of a local process."""

    argv: tuple[str, ...]
    env: Mapping[str, str]
    log: Path | None = None
    """file for its output, for local processes"""
    workdir: Path | None = None


class Scheduler(Protocol):
    """A place where workers run. Each method makes at most one request, for all jobs together.

    All methods raise ``CommandMissing`` if the scheduler is not installed, ``SlurmUnreachable`` if it does not answer,
    and ``SlurmRefused`` if it refuses the request.
    """

    def is_here(self) -> bool:
        """Whether jobs can be submitted from this machine: the scheduler's commands are on PATH. Asks nobody."""

    def why_not(self, option: str) -> str:
        """Why an option of ``[job.sbatch]`` is not allowed; empty if it is."""

    def submit(self, job: JobCommand) -> str:
        """Submit a job and return its id.

        Raises:
            SubmitLimit: too many tasks, or no more jobs at the moment.
            SubmissionUnknown: no answer; the job may have been accepted.
        """

    def check(self, job: JobCommand) -> str:
        """What the scheduler says of a job without taking it, such as when it would start.

        Raises:
            SlurmRefused: it would not be taken.
        """

    def queue(
        self, job_ids: Iterable[str], *, names: Iterable[str] = (), ended: bool = False, timeout_s: float = ANSWER_S
    ) -> dict[ArrayTask, QueueRow]:
        """The tasks of jobs that have not ended; with ``ended``, also those that ended recently."""

    def find_jobs(self, names: Iterable[str], *, only_pending: bool = False) -> dict[str, FoundJob]:
        """Jobs with these names, by id, including those whose submission got no answer."""

    def cancel(self, job_ids: Iterable[str], *, only_pending: bool = False) -> None:
        """Cancel jobs and array tasks. Ended and unknown ones are ignored."""

    def requeue(self, task_id: str) -> None:
        """End a running task and put it back into the queue."""

    def start_now(self, task_ids: Iterable[str]) -> None:
        """Let requeued tasks start without their delay."""

    def update(self, task_ids: Iterable[str], changes: Mapping[str, str]) -> None:
        """Change the requests of pending tasks."""

    def accounts(
        self, job_ids: Iterable[str], *, timeout_s: float = ANSWER_S
    ) -> dict[ArrayTask, tuple[AccountingRow, ...]] | None:
        """All runs of the tasks of jobs, oldest first; None if there is no accounting."""

    def explain(self, reason: str) -> WaitReason:
        """Explain the scheduler's reason for a pending task."""

    def likely_fix(self, refusal: str) -> str:
        """How to fix a refused job, given the scheduler's message; empty if unknown."""

    def time_left(self, task_id: str, *, timeout_s: float) -> float | None:
        """Seconds to the time limit of a running task; infinite without a limit, None if there is no such task."""

    def array_limit(self) -> int:
        """Maximum number of tasks in an array; 0 without arrays."""

    def site(self, user: str) -> SiteFacts | None:
        """What the site allows this user; None where there is nothing to allow. Several calls, for ``doctor`` alone."""

    def node_kinds(self) -> tuple[NodeKind, ...]:
        """The kinds of nodes in each partition, for ``init``; none without partitions."""

    def cluster(self, environ: Mapping[str, str]) -> str:
        """Name of the cluster; empty if unknown."""

    def allocation(self, environ: Mapping[str, str], now: float, *, cpus: int | None = None) -> Allocation:
        """The resources of a worker with this environment.

        Args:
            now: seconds since the epoch.
            cpus: used where nothing else gives a number.
        """
