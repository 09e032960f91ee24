"""Explains SLURM's reason codes for pending jobs.

https://slurm.schedmd.com/squeue.html, JOB REASON CODES. SLURM's own word is always shown as well.
"""

from __future__ import annotations

import re

from hpo_batch.scheduler.tasks import Outlook, WaitReason

_MEANING = {
    "Resources": "next in line, waits for free nodes or GPUs",
    "Priority": "other jobs are before it",
    "JobArrayTaskLimit": "the array's own limit, [job] max_running",
    "BeginTime": "requeued: SLURM holds it back for about two minutes",
    "Dependency": "waits for another job",
    "DependencyNeverSatisfied": "the job it waits for has failed: it will never start",
    "JobHeldUser": "held by its owner: 'scontrol release' lets it go",
    "job requeued in held state": "held by its owner: 'scontrol release' lets it go",
    "JobHeldAdmin": "held by the site's staff: ask them",
    "JobHoldMaxRequeue": "held after too many failed starts: look at the node, then 'scontrol release'",
    "launch failed requeued held": "could not be started and is held: look at the node, then 'scontrol release'",
    "PartitionTimeLimit": "asks for more time than the partition allows: it will never start",
    "PartitionNodeLimit": "asks for more nodes than the partition allows: it will never start",
    "PartitionDown": "the partition is down",
    "PartitionInactive": "the partition takes no jobs now",
    "ReqNodeNotAvail": "nodes that it asks for are down, drained or reserved",
    "Nodes required for job are DOWN": "no fitting node is up",
    "NodeDown": "its node is down",
    "Reservation": "waits for its reservation to begin",
    "Licenses": "waits for a licence",
    "BadConstraints": "no node has what it asks for: it will never start",
    "InvalidQOS": "the QOS is not valid any more: it will never start",
    "InvalidAccount": "the account is not valid any more: it will never start",
    "AccountNotAllowed": "the account may not use the partition: it will never start",
    "QOSNotAllowed": "the QOS may not be used there: it will never start",
    "PartitionConfig": "asks for what the partition does not allow: it will never start",
    "ReservationDeleted": "its reservation was deleted: it will never start",
    "ReservationInvalid": "its reservation is not valid: it will never start",
    "RESERVATION_DELETED": "its reservation was deleted: it will never start",
    "DeadLine": "its deadline is over: it will never start",
}
_TO_CHANGE = (
    (re.compile(r"TimeLimit|Wall|Minutes|DeadLine"), "job.walltime"),
    (re.compile(r"Dependency"), "job.dependency"),
    (re.compile(r"NodeLimit|MaxNode"), "job.nodes"),
    (re.compile(r"InvalidQOS|QOSNotAllowed|QOS not permitted"), "job.qos"),
    (re.compile(r"InvalidAccount|AccountNotAllowed|account not permitted"), "job.account"),
    (re.compile(r"Reservation|RESERVATION"), "job.reservation"),
    (re.compile(r"Cpu|CPU"), "job.cpus"),
    (re.compile(r"Mem"), "job.mem_gb"),
    (re.compile(r"GRES|TRES"), "job.gres"),
    (re.compile(r"Constraints"), "job.constraint, gres, cpus, mem_gb"),
    (re.compile(r"Partition"), "job.partition"),
)
# limits by name (QOSMaxCpuPerUserLimit ...): too many to list, so by pattern; the first match counts
_FAMILIES = (
    (
        re.compile(
            r"(QOS|Assoc)Max\w{0,50}(PerJob|PerNode|MinutesPerJob|DurationPerJob)|(QOS|Assoc)Min|MaxMemPerLimit"
        ),
        "one task alone asks for more (or less) than the limit: it will never start",
    ),
    (re.compile(r"Job's (account|QOS) not permitted"), "may not use the partition: it will never start"),
    (re.compile(r"Requested partition configuration not available|Job's requested"), "no node has what it asks for"),
    (re.compile(r"(QOS|Assoc)Max(Submit)?Job"), "limit on the number of jobs"),
    (re.compile(r"QOSMax\w{0,50}PerUser"), "limit of the QOS for each user: waits for own jobs to end"),
    (re.compile(r"QOS(Max|Grp)"), "limit of the QOS"),
    (re.compile(r"Assoc(Max|Grp)"), "limit of the account or user"),
    (re.compile(r"Max\w{0,50}PerAccount"), "limit of the account"),
)


def explain(reason: str) -> WaitReason:
    """Explain a reason from squeue."""
    return WaitReason(outlook=outlook(reason), meaning=meaning(reason), to_change=what_to_change(reason))


def outlook(reason: str) -> Outlook:
    """Whether a pending task with this reason will start; if in doubt, it will."""
    if is_held(reason):
        return Outlook.ON_HOLD if meaning(reason).startswith("held by its owner") else Outlook.HELD
    return Outlook.NEVER if "will never start" in meaning(reason) else Outlook.STARTS


def what_to_change(reason: str) -> str:
    """The keys of ``[job]`` to change if a task can never start."""
    for pattern, keys in _TO_CHANGE:
        if pattern.search(reason):
            return keys
    return "what [job] asks for"


def is_held(reason: str) -> bool:
    """Whether a job with this reason must be released before it starts."""
    return meaning(reason).startswith("held ") or "requeued held" in reason


def meaning(reason: str) -> str:
    """A short explanation of a reason; empty if unknown."""
    plain = reason.strip().strip("()")
    # whole reasons first, since some contain commas
    if plain in _MEANING:
        return _MEANING[plain]
    # reasons may have details: `ReqNodeNotAvail, UnavailableNodes:n[1-3]`
    first = re.split(r"[,:(]", plain, maxsplit=1)[0].strip()
    if first in _MEANING:
        return _MEANING[first]
    return next((text for pattern, text in _FAMILIES if pattern.match(first)), "")
