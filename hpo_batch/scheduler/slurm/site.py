"""Parses partitions and limits from the output of scontrol and sacctmgr."""

from __future__ import annotations

import re

from hpo_batch.scheduler.site import Limit, Partition
from hpo_batch.scheduler.slurm.runner import seconds

LIMIT_FIELDS = "Account,Partition,QOS,DefaultQOS,MaxJobs,MaxSubmit,GrpJobs,GrpSubmit"
QOS_FIELDS = "Name,MaxJobsPU,MaxSubmitPU,GrpJobs,GrpSubmit,MaxWall"


def parse_partitions(text: str) -> tuple[Partition, ...]:
    """Parse `scontrol show partition -o`."""
    partitions = []
    for line in text.splitlines():
        facts = dict(word.split("=", 1) for word in line.split() if "=" in word)
        if "PartitionName" not in facts:
            continue
        # the total; types are listed separately as gres/gpu:a100=4
        gpus = re.search(r"\bgres/gpu=(\d{1,18})(?!\d)", facts.get("TRES", ""))
        partitions.append(
            Partition(
                name=facts["PartitionName"],
                is_default=facts.get("Default") == "YES",
                state=facts.get("State", "UP"),
                nodes=_number(facts.get("TotalNodes", "")) or 0,
                max_nodes=_number(facts.get("MaxNodes", "")),
                max_time_s=seconds(facts.get("MaxTime", "")),
                preempt_mode=facts.get("PreemptMode", "OFF"),
                grace_s=float(_number(facts.get("GraceTime", "")) or 0),
                accounts=_names(facts.get("AllowAccounts", "ALL")),
                qos=_names(facts.get("AllowQos", "ALL")),
                gpus=int(gpus[1]) if gpus else None,
            )
        )
    return tuple(partitions)


def parse_associations(text: str) -> tuple[Limit, ...]:
    """Parse `sacctmgr -n -P show assoc` with our fields."""
    limits_of = []
    for line in text.splitlines():
        fields = line.split("|")
        if len(fields) != LIMIT_FIELDS.count(",") + 1:
            continue
        account, partition, qos, default, *limits = fields
        names = dict.fromkeys(name for name in (default, *qos.split(",")) if name)
        running, submitted = _least(limits[0], limits[2]), _least(limits[1], limits[3])
        limits_of.append(
            Limit(
                of=f"account '{account}'" + (f" in partition '{partition}'" if partition else ""),
                account=account,
                partition=partition,
                qos=tuple(names),
                running=running,
                submitted=submitted,
            )
        )
    return tuple(limits_of)


def parse_qos(text: str) -> dict[str, Limit]:
    """Parse `sacctmgr -n -P show qos` with our fields, by name."""
    limits = {}
    for line in text.splitlines():
        fields = line.split("|")
        if len(fields) != QOS_FIELDS.count(",") + 1:
            continue
        name, running, submitted, group_running, group_submitted, walltime = fields
        limits[name] = Limit(
            of=f"QOS '{name}'",
            running=_least(running, group_running),
            submitted=_least(submitted, group_submitted),
            walltime_s=seconds(walltime) or None,
        )
    return limits


def _least(*texts: str) -> int | None:
    return min((number for text in texts if (number := _number(text)) is not None), default=None)


def _names(text: str) -> tuple[str, ...] | None:
    return None if text in ("ALL", "", "(null)", "N/A") else tuple(text.split(","))


def _number(text: str) -> int | None:
    """Parse an integer; None for UNLIMITED, NONE and the like."""
    match = re.match(r"\d{1,18}(?!\d)", text)
    return int(match[0]) if match else None
