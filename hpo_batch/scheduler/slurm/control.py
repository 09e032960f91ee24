"""Runs scontrol: requeues and changes tasks, and reads the site's configuration.

https://slurm.schedmd.com/scontrol.html
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from hpo_batch.errors import CommandMissing, SlurmError
from hpo_batch.scheduler.scheduler import ANSWER_S
from hpo_batch.scheduler.site import Partition, SiteConfig
from hpo_batch.scheduler.slurm import site
from hpo_batch.scheduler.slurm.runner import failure, joined, number, run_command

_CONFIGURATIONS = (
    "/etc/slurm/slurm.conf",
    "/etc/slurm-llnl/slurm.conf",
    "/run/slurm/conf/slurm.conf",
    "/usr/local/etc/slurm.conf",
)
# timeout for optional information
_ASIDE_S = 10.0


def requeue(task_id: str, *, timeout_s: float = ANSWER_S) -> None:
    """Requeue a task (`A_i`) or a job that is not an array (`A`): pass `Allocation.job`.

    SLURM then ends the task's processes, so this is the last thing a worker does. Never pass SLURM_JOB_ID in an array:
    for one of its tasks that is the id of the array itself, and all tasks would be requeued
    (https://slurm.schedmd.com/job_array.html).

    Raises:
        CommandMissing: there is no scontrol, as in some containers.
        SlurmUnreachable: no answer, or no controller.
        SlurmRefused: the job may not be requeued.
    """
    done = run_command(["scontrol", "requeue", task_id], timeout_s=timeout_s)
    if done.returncode != 0:
        raise failure("scontrol requeue", done)


def start_now(task_ids: Iterable[str], *, timeout_s: float = ANSWER_S) -> None:
    """Let requeued tasks start now, which SLURM delays by default (reason BeginTime, two minutes on most sites).

    Args:
        task_ids: `QueueRow.id` of each.

    Raises:
        CommandMissing: there is no scontrol on this machine.
        SlurmUnreachable: no answer, or no controller.
        SlurmRefused: such as another user's job, or one that has started meanwhile.
    """
    ids = joined(task_ids)
    if not ids:
        return
    done = run_command(["scontrol", "update", f"JobId={ids}", "StartTime=now"], timeout_s=timeout_s)
    if done.returncode != 0:
        raise failure("scontrol update", done)


def update(task_ids: Iterable[str], changes: Mapping[str, str], *, timeout_s: float = ANSWER_S) -> None:
    """Change pending tasks, such as ``{"TimeLimit": "60"}``.

    Args:
        task_ids: `QueueRow.id` of each.
        changes: scontrol's keys and values.

    Raises:
        CommandMissing: there is no scontrol on this machine.
        SlurmUnreachable: no answer, or no controller.
        SlurmRefused: such as a longer limit, which many sites reserve to administrators.
    """
    ids = joined(task_ids)
    if not ids or not changes:
        return
    words = [f"{key}={value}" for key, value in changes.items()]
    done = run_command(["scontrol", "update", f"JobId={ids}", *words], timeout_s=timeout_s)
    if done.returncode != 0:
        raise failure("scontrol update", done)


def cluster_name(environ: Mapping[str, str]) -> str:
    """Name of the cluster that SLURM's commands use here; empty if unknown.

    Read from slurm.conf if possible, else from the controller.
    """
    chosen = environ.get("SLURM_CLUSTERS", "")
    # several clusters: job ids would be ambiguous
    if chosen and "," not in chosen and chosen != "all":
        return chosen
    configured = environ.get("SLURM_CONF")
    for path in (configured,) if configured else _CONFIGURATIONS:
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


def show_config(*, timeout_s: float = ANSWER_S) -> SiteConfig:
    """The site's configuration.

    Raises:
        CommandMissing: there is no scontrol on this machine.
        SlurmUnreachable: no answer, or no controller.
    """
    done = run_command(["scontrol", "show", "config"], timeout_s=timeout_s)
    if done.returncode != 0:
        raise failure("scontrol show config", done)
    return parse_config(done.stdout)


def show_partitions(*, timeout_s: float = ANSWER_S) -> tuple[Partition, ...]:
    """The partitions visible to this user.

    Raises:
        CommandMissing: there is no scontrol on this machine.
        SlurmUnreachable: no answer, or no controller.
    """
    done = run_command(["scontrol", "show", "partition", "-o"], timeout_s=timeout_s)
    if done.returncode != 0:
        raise failure("scontrol show partition", done)
    return site.parse_partitions(done.stdout)


def parse_config(text: str) -> SiteConfig:
    """Parse `scontrol show config`."""
    pairs = (line.partition("=") for line in text.splitlines())
    settings = {key.strip(): value.strip() for key, equals, value in pairs if equals}
    tasks = re.search(r"\bmax_array_tasks=(\d{1,18})(?!\d)", settings.get("SchedulerParameters", ""))
    # the defaults are those of slurm.conf
    return SiteConfig(
        version=settings.get("SLURM_VERSION", ""),
        cluster=settings.get("ClusterName", ""),
        max_array_size=int(1001 if (size := number(settings.get("MaxArraySize", ""))) is None else size),
        # max_array_tasks in SchedulerParameters limits the size, MaxArraySize the highest index:
        # https://slurm.schedmd.com/slurm.conf.html#OPT_MaxArraySize
        max_array_tasks=int(tasks[1]) if tasks else None,
        accounting=settings.get("AccountingStorageType", "").endswith("/slurmdbd"),
        enforced=_words(settings.get("AccountingStorageEnforce", "none")),
        kill_wait_s=number(settings.get("KillWait", "30").partition(" ")[0]) or 0.0,
        preempts=settings.get("PreemptType", "preempt/none") not in ("preempt/none", "(null)"),
    )


def _words(text: str) -> tuple[str, ...]:
    return () if text in ("none", "(null)") else tuple(text.split(","))
