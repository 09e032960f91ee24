"""This machine as a ``Scheduler``: a job is a detached process, and its id is the pid.

There is no queue. ``launch.cancel`` ends local workers by their cards and leases, not by job id, because a pid may have
been reused by another process.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from hpo_batch import processes
from hpo_batch.errors import SlurmRefused
from hpo_batch.scheduler import allocation
from hpo_batch.scheduler.allocation import Allocation
from hpo_batch.scheduler.scheduler import ANSWER_S, JobCommand
from hpo_batch.scheduler.site import NodeKind, SiteFacts
from hpo_batch.scheduler.tasks import AccountingRow, ArrayTask, FoundJob, QueueRow, TaskState, WaitReason


class Local:
    """Processes of this machine."""

    def is_here(self) -> bool:
        return True

    def why_not(self, option: str) -> str:
        return f"--{option} is for SLURM: local workers are processes of this machine"

    def submit(self, job: JobCommand) -> str:
        """Start a process in its own session, so that it outlives this one and its terminal."""
        assert job.log is not None
        process = processes.start(list(job.argv), stdout=job.log, stderr=job.log, env=job.env, cwd=job.workdir)
        # otherwise it would stay a zombie while this process waits (--wait)
        processes.reap_in_background(process)
        return str(process.pid)

    def check(self, job: JobCommand) -> str:
        return "it would start at once"

    def queue(
        self, job_ids: Iterable[str], *, names: Iterable[str] = (), ended: bool = False, timeout_s: float = ANSWER_S
    ) -> dict[ArrayTask, QueueRow]:
        alive = [int(id) for id in job_ids if id.isdecimal() and processes.is_alive(int(id))]
        return {ArrayTask(job=pid, index=0): _row(pid) for pid in alive}

    def find_jobs(self, names: Iterable[str], *, only_pending: bool = False) -> dict[str, FoundJob]:
        return {}

    def cancel(self, job_ids: Iterable[str], *, only_pending: bool = False) -> None:
        if not only_pending and any(True for _ in job_ids):
            raise SlurmRefused("local workers are not cancelled by pid, which may have been reused: see launch.cancel")

    def requeue(self, task_id: str) -> None:
        raise SlurmRefused("local workers cannot be requeued")

    def start_now(self, task_ids: Iterable[str]) -> None:
        """Does nothing: there is no queue."""

    def update(self, task_ids: Iterable[str], changes: Mapping[str, str]) -> None:
        """Does nothing: there is no queue."""

    def accounts(
        self, job_ids: Iterable[str], *, timeout_s: float = ANSWER_S
    ) -> dict[ArrayTask, tuple[AccountingRow, ...]] | None:
        return None

    def explain(self, reason: str) -> WaitReason:
        return WaitReason()

    def likely_fix(self, refusal: str) -> str:
        return ""

    def time_left(self, task_id: str, *, timeout_s: float) -> float | None:
        return None

    def array_limit(self) -> int:
        return 0

    def site(self, user: str) -> SiteFacts | None:
        return None

    def node_kinds(self) -> tuple[NodeKind, ...]:
        return ()

    def cluster(self, environ: Mapping[str, str]) -> str:
        return ""

    def allocation(self, environ: Mapping[str, str], now: float, *, cpus: int | None = None) -> Allocation:
        return allocation.read(environ, now, cpus=cpus)


def _row(pid: int) -> QueueRow:
    return QueueRow(
        task=ArrayTask(job=pid, index=0),
        state=TaskState.RUNNING,
        word="",
        reason="",
        elapsed_s=0.0,
        left_s=None,
        node=processes.host_name(),
        is_array=False,
    )
