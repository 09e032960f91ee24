"""scontrol: change tasks, and read the site's settings."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from hpo_batch.errors import CommandMissing, SlurmError
from hpo_batch.scheduler.scheduler import ANSWER_S
from hpo_batch.scheduler.slurm import site
from hpo_batch.scheduler.slurm.runner import failure, joined, number, run_command
from hpo_batch.scheduler.slurm.site import Partition

_CONFIGURATIONS = (
    "/etc/slurm/slurm.conf",
    "/etc/slurm-llnl/slurm.conf",
    "/run/slurm/conf/slurm.conf",
    "/usr/local/etc/slurm.conf",
)
_ASIDE_S = 10.0
"""for what is good to know, and nothing waits for"""


@dataclass(frozen=True, kw_only=True)
class SlurmConfig:
    """What we need to know about a site."""

    version: str
    cluster: str
    max_array_size: int
    """The highest array index is one less."""
    max_array_tasks: int | None
    accounting: bool
    enforced: tuple[str, ...] = ()
    """Of AccountingStorageEnforce, such as `limits` and `qos`."""
    kill_wait_s: float = 30.0
    """Between SIGTERM and SIGKILL of a job that is cancelled or at its limit."""
    preempts: bool = False
    """Whether jobs may be preempted at all; how is the partition's."""

    @property
    def array_limit(self) -> int:
        """How many tasks an array may have that counts from 0; 0 where arrays are switched off."""
        return min(self.max_array_size, self.max_array_tasks or self.max_array_size)


def requeue(task_id: str, *, timeout_s: float = ANSWER_S) -> None:
    """Requeue a task (`A_i`) or a job that is no array (`A`): `Allocation.job` as it is.

    SLURM then ends the task's processes: this is a worker's last act. Never SLURM_JOB_ID in an array: for one of its
    tasks that is the array's own id, and would requeue them all.

    Raises:
        CommandMissing: there is no scontrol, as in some containers.
        SlurmUnreachable: no answer, or no controller.
        SlurmRefused: the job may not be requeued.
    """
    done = run_command(["scontrol", "requeue", task_id], timeout_s=timeout_s)
    if done.returncode != 0:
        raise failure("scontrol requeue", done)


def start_now(task_ids: Iterable[str], *, timeout_s: float = ANSWER_S) -> None:
    """Let tasks start that SLURM holds back after a requeue (reason BeginTime, two minutes on most sites).

    Args:
        task_ids: `QueueRow.id` of each.

    Raises:
        CommandMissing: there is no scontrol on this machine.
        SlurmUnreachable: no answer, or no controller.
        SlurmRefused: for example another user's job, or one that has started in the meantime.
    """
    ids = joined(task_ids)
    if not ids:
        return
    done = run_command(["scontrol", "update", f"JobId={ids}", "StartTime=now"], timeout_s=timeout_s)
    if done.returncode != 0:
        raise failure("scontrol update", done)


def update(task_ids: Iterable[str], changes: Mapping[str, str], *, timeout_s: float = ANSWER_S) -> None:
    """Change tasks that wait, such as ``{"TimeLimit": "60"}``.

    Args:
        task_ids: `QueueRow.id` of each.

    Raises:
        CommandMissing: there is no scontrol on this machine.
        SlurmUnreachable: no answer, or no controller.
        SlurmRefused: for example a longer limit, which many sites let none but administrators give.
    """
    ids = joined(task_ids)
    if not ids or not changes:
        return
    words = [f"{key}={value}" for key, value in changes.items()]
    done = run_command(["scontrol", "update", f"JobId={ids}", *words], timeout_s=timeout_s)
    if done.returncode != 0:
        raise failure("scontrol update", done)


def cluster_name(environ: Mapping[str, str]) -> str:
    """The cluster that SLURM's commands reach from here; empty if nobody tells.

    From slurm.conf where it can be read: else the controller is asked.
    """
    chosen = environ.get("SLURM_CLUSTERS", "")
    if chosen and "," not in chosen and chosen != "all":
        return chosen
    given = environ.get("SLURM_CONF")
    for path in (given,) if given else _CONFIGURATIONS:
        try:
            match = re.search(
                r"^\s*ClusterName\s*=\s*(\S+)", Path(path).read_text(encoding="utf-8"), re.MULTILINE | re.IGNORECASE
            )
        except (OSError, ValueError):
            continue
        if match:
            return match[1]
    try:
        return show_config(timeout_s=_ASIDE_S).cluster
    except (SlurmError, CommandMissing):
        return ""


def show_config(*, timeout_s: float = ANSWER_S) -> SlurmConfig:
    """The site's limits.

    Raises:
        CommandMissing: there is no scontrol on this machine.
        SlurmUnreachable: no answer, or no controller.
    """
    done = run_command(["scontrol", "show", "config"], timeout_s=timeout_s)
    if done.returncode != 0:
        raise failure("scontrol show config", done)
    return parse_config(done.stdout)


def show_partitions(*, timeout_s: float = ANSWER_S) -> tuple[Partition, ...]:
    """The partitions that this user may see.

    Raises:
        CommandMissing: there is no scontrol on this machine.
        SlurmUnreachable: no answer, or no controller.
    """
    done = run_command(["scontrol", "show", "partition", "-o"], timeout_s=timeout_s)
    if done.returncode != 0:
        raise failure("scontrol show partition", done)
    return site.parse_partitions(done.stdout)


def parse_config(text: str) -> SlurmConfig:
    """Lines of `scontrol show config`."""
    pairs = (line.partition("=") for line in text.splitlines())
    settings = {key.strip(): value.strip() for key, equals, value in pairs if equals}
    tasks = re.search(r"\bmax_array_tasks=(\d{1,18})(?!\d)", settings.get("SchedulerParameters", ""))
    # The defaults are SLURM's own.
    return SlurmConfig(
        version=settings.get("SLURM_VERSION", ""),
        cluster=settings.get("ClusterName", ""),
        max_array_size=int(1001 if (size := number(settings.get("MaxArraySize", ""))) is None else size),
        max_array_tasks=int(tasks[1]) if tasks else None,
        accounting=settings.get("AccountingStorageType", "").endswith("/slurmdbd"),
        enforced=_words(settings.get("AccountingStorageEnforce", "none")),
        kill_wait_s=number(settings.get("KillWait", "30").partition(" ")[0]) or 0.0,
        preempts=settings.get("PreemptType", "preempt/none") not in ("preempt/none", "(null)"),
    )


def _words(text: str) -> tuple[str, ...]:
    return () if text in ("none", "(null)") else tuple(text.split(","))
