"""SLURM as a ``Scheduler``: delegates to its commands."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from hpo_batch import processes
from hpo_batch.errors import HpoBatchError
from hpo_batch.scheduler import allocation
from hpo_batch.scheduler.allocation import Allocation
from hpo_batch.scheduler.scheduler import ANSWER_S, JobCommand
from hpo_batch.scheduler.site import Limits, NodeKind, SiteFacts
from hpo_batch.scheduler.slurm import accounts, control, jobs, options, queue, reasons, sbatch_errors, sinfo
from hpo_batch.scheduler.tasks import AccountingRow, ArrayTask, FoundJob, QueueRow, WaitReason


class Slurm:
    """Stateless: every call asks SLURM."""

    def is_here(self) -> bool:
        return processes.exists("sbatch") and processes.exists("srun")

    def why_not(self, option: str) -> str:
        return options.why_not(option)

    def submit(self, job: JobCommand) -> str:
        (script,) = job.argv
        return jobs.sbatch(Path(script), env=job.env)

    def check(self, job: JobCommand) -> str:
        (script,) = job.argv
        return jobs.check_script(Path(script), env=job.env)

    def queue(
        self, job_ids: Iterable[str], *, names: Iterable[str] = (), ended: bool = False, timeout_s: float = ANSWER_S
    ) -> dict[ArrayTask, QueueRow]:
        return queue.squeue(job_ids, names=names, ended=ended, timeout_s=timeout_s)

    def find_jobs(self, names: Iterable[str], *, only_pending: bool = False) -> dict[str, FoundJob]:
        return queue.find_jobs(names, only_pending=only_pending)

    def cancel(self, job_ids: Iterable[str], *, only_pending: bool = False) -> None:
        jobs.scancel(job_ids, only_pending=only_pending)

    def requeue(self, task_id: str) -> None:
        control.requeue(task_id)

    def start_now(self, task_ids: Iterable[str]) -> None:
        control.start_now(task_ids)

    def update(self, task_ids: Iterable[str], changes: Mapping[str, str]) -> None:
        control.update(task_ids, changes)

    def accounts(
        self, job_ids: Iterable[str], *, timeout_s: float = ANSWER_S
    ) -> dict[ArrayTask, tuple[AccountingRow, ...]] | None:
        return accounts.sacct(job_ids, timeout_s=timeout_s)

    def explain(self, reason: str) -> WaitReason:
        return reasons.explain(reason)

    def likely_fix(self, refusal: str) -> str:
        return sbatch_errors.likely_fix(refusal)

    def time_left(self, task_id: str, *, timeout_s: float) -> float | None:
        return queue.time_left(task_id, timeout_s=timeout_s)

    def array_limit(self) -> int:
        return control.show_config().array_limit

    def site(self, user: str) -> SiteFacts | None:
        config, partitions = control.show_config(), control.show_partitions()
        if not (config.accounting and config.enforced):
            return SiteFacts(config=config, partitions=partitions)
        try:
            associations, qos = accounts.show_limits(user, cluster=config.cluster)
        except HpoBatchError as error:  # many sites let users not see them: the rest is known all the same
            return SiteFacts(config=config, partitions=partitions, limits_error=str(error))
        return SiteFacts(config=config, partitions=partitions, limits=Limits(associations=associations, qos=qos))

    def node_kinds(self) -> tuple[NodeKind, ...]:
        return sinfo.node_kinds()

    def cluster(self, environ: Mapping[str, str]) -> str:
        return control.cluster_name(environ)

    def allocation(self, environ: Mapping[str, str], now: float, *, cpus: int | None = None) -> Allocation:
        return allocation.read(environ, now, cpus=cpus)
