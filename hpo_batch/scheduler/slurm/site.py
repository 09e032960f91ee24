"""What a site allows: partitions and limits, read from what `scontrol` and `sacctmgr` write. Asks nothing itself."""

from __future__ import annotations

import re
from dataclasses import dataclass

LIMIT_FIELDS = "Account,Partition,QOS,DefaultQOS,MaxJobs,MaxSubmit,GrpJobs,GrpSubmit"
QOS_FIELDS = "Name,MaxJobsPU,MaxSubmitPU,GrpJobs,GrpSubmit,MaxWall"


@dataclass(frozen=True, kw_only=True)
class Partition:
    """A partition, as far as it decides about our jobs."""

    name: str
    is_default: bool
    state: str
    """UP, DOWN (takes jobs and starts none), DRAIN (takes none) or INACTIVE (neither)"""
    nodes: int
    max_nodes: int | None
    """that one job may have; None without a limit"""
    max_time_s: float | None
    preempt_mode: str
    """OFF, CANCEL, REQUEUE, SUSPEND ...: what happens to its jobs when others are preferred"""
    grace_s: float
    """between SIGTERM and the end of a preempted job; KillWait comes on top"""
    accounts: tuple[str, ...] | None
    """that may use it; None: all"""
    qos: tuple[str, ...] | None
    gpus: int | None
    """of all its nodes; None where SLURM does not count them (AccountingStorageTRES)"""


@dataclass(frozen=True, kw_only=True)
class Limit:
    """How many jobs an association (user, account, partition) or a QOS may have; each array task counts as one."""

    of: str
    account: str = ""
    partition: str = ""
    """of an association for one partition only"""
    qos: tuple[str, ...] = ()
    """that an association may ask for, its default first"""
    running: int | None = None
    submitted: int | None = None
    """running and waiting ones together"""
    walltime_s: float | None = None


def parse_partitions(text: str) -> tuple[Partition, ...]:
    """Lines of `scontrol show partition -o`."""
    found = []
    for line in text.splitlines():
        facts = dict(word.split("=", 1) for word in line.split() if "=" in word)
        if "PartitionName" not in facts:
            continue
        gpus = re.search(r"\bgres/gpu=(\d{1,18})(?!\d)", facts.get("TRES", ""))
        found.append(
            Partition(
                name=facts["PartitionName"],
                is_default=facts.get("Default") == "YES",
                state=facts.get("State", "UP"),
                nodes=_number(facts.get("TotalNodes", "")) or 0,
                max_nodes=_number(facts.get("MaxNodes", "")),
                max_time_s=_seconds(facts.get("MaxTime", "")),
                preempt_mode=facts.get("PreemptMode", "OFF"),
                grace_s=float(_number(facts.get("GraceTime", "")) or 0),
                accounts=_names(facts.get("AllowAccounts", "ALL")),
                qos=_names(facts.get("AllowQos", "ALL")),
                gpus=int(gpus[1]) if gpus else None,
            )
        )
    return tuple(found)


def parse_associations(text: str) -> tuple[Limit, ...]:
    """Lines of `sacctmgr -n -P show assoc` with our fields."""
    found = []
    for line in text.splitlines():
        fields = line.split("|")
        if len(fields) != LIMIT_FIELDS.count(",") + 1:
            continue
        account, partition, qos, default, *limits = fields
        names = dict.fromkeys(name for name in (default, *qos.split(",")) if name)
        running, submitted = _least(limits[0], limits[2]), _least(limits[1], limits[3])
        found.append(
            Limit(
                of=f"account '{account}'" + (f" in partition '{partition}'" if partition else ""),
                account=account,
                partition=partition,
                qos=tuple(names),
                running=running,
                submitted=submitted,
            )
        )
    return tuple(found)


def parse_qos(text: str) -> dict[str, Limit]:
    """Lines of `sacctmgr -n -P show qos` with our fields, by name."""
    found = {}
    for line in text.splitlines():
        fields = line.split("|")
        if len(fields) != QOS_FIELDS.count(",") + 1:
            continue
        name, running, submitted, group_running, group_submitted, walltime = fields
        found[name] = Limit(
            of=f"QOS '{name}'",
            running=_least(running, group_running),
            submitted=_least(submitted, group_submitted),
            walltime_s=_seconds(walltime) or None,
        )
    return found


def _least(*texts: str) -> int | None:
    return min((number for text in texts if (number := _number(text)) is not None), default=None)


def _names(text: str) -> tuple[str, ...] | None:
    return None if text in ("ALL", "", "(null)", "N/A") else tuple(text.split(","))


def _number(text: str) -> int | None:
    """None for UNLIMITED, NONE and the like."""
    match = re.match(r"\d{1,18}(?!\d)", text)
    return int(match[0]) if match else None


def _seconds(text: str) -> float | None:
    """`1-02:03:04`, `03:04:05`; None for UNLIMITED."""
    match = re.fullmatch(r"(?:(\d{1,9})-)?(\d{1,9}):(\d{1,9}):(\d{1,9})", text.strip())
    if match is None:
        return None
    days, hours, minutes, seconds = (int(part or 0) for part in match.groups())
    return float(((days * 24 + hours) * 60 + minutes) * 60 + seconds)
