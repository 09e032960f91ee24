"""Compare what a site allows with what a sweep requests: limits, partition, preemption, accounts. Pure functions.

The settings are those of https://slurm.schedmd.com/slurm.conf.html, the limits those of
https://slurm.schedmd.com/resource_limits.html.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Final

from hpo_batch.doctor.finding import Finding, bad_site, fine, note
from hpo_batch.scheduler.site import Limit, Limits, Partition, SiteConfig
from hpo_batch.sweep.schema import Job
from hpo_batch.sweep.walltime import format_walltime
from hpo_batch.text.names import listed
from hpo_batch.text.numbers import count

LEAST_GRACE_S: Final = 10.0
"""about what a checkpoint of a few hundred megabytes takes on a network file system"""


def site_findings(
    job: Job, config: SiteConfig, partitions: tuple[Partition, ...], limits: Limits | None
) -> Iterator[Finding]:
    """What SLURM's settings mean for a sweep with this ``[job]``."""
    yield fine("slurm", f"SLURM {config.version}, cluster '{config.cluster}'")
    yield _accounting(config)
    yield _arrays(job, config)
    chosen = choose(job, partitions)
    if not chosen:
        yield _no_partition(job, partitions)
    for partition in chosen:
        yield from _partition(job, partition)
        yield _preemption(partition, config)
    yield _ending(config)
    yield from _limits(job, config, limits)


def choose(job: Job, partitions: tuple[Partition, ...]) -> tuple[Partition, ...]:
    """The partitions that the sweep names, or the site's default."""
    # sbatch accepts several, and the job runs in the one that can start it first
    wanted = str(job.sbatch.get("partition", job.partition or "")).split(",")
    if wanted == [""]:
        return tuple(partition for partition in partitions if partition.is_default)
    return tuple(partition for partition in partitions if partition.name in wanted)


def is_open(partition: Partition) -> bool:
    """Whether it starts jobs."""
    return partition.state == "UP"


def _no_partition(job: Job, partitions: tuple[Partition, ...]) -> Finding:
    names = listed(partition.name for partition in partitions) or "none that you may see"
    problem = f"no partition '{job.partition}'" if job.partition else "the site has no default partition"
    return bad_site("slurm", f"{problem}; there are {names}", "set [job] partition to one of them")


def _accounting(config: SiteConfig) -> Finding:
    if config.accounting:
        return fine("slurm", "accounting is on: sacct tells how jobs ended")
    what = "no accounting (slurmdbd): how SLURM ended a task is only known for a few minutes"
    return note("slurm", what, "nothing to do: trials, attempts and hours are counted from our own files")


def _arrays(job: Job, config: SiteConfig) -> Finding:
    limit = config.array_limit
    what = f"an array may have {count(limit, 'task')} (MaxArraySize {config.max_array_size}"
    what += f", max_array_tasks {config.max_array_tasks})" if config.max_array_tasks else ")"
    if limit == 0:
        return bad_site("limits", "the site has switched arrays off (MaxArraySize 0)", "set [job] workers = 1")
    if job.workers > limit:  # launch.plan.split makes several arrays then
        arrays = math.ceil(job.workers / limit)
        return note(
            "limits",
            f"{what}: {count(job.workers, 'worker needs', 'workers need')} {arrays}",
            "nothing, or set fewer [job] workers",
        )
    return fine("limits", what)


def _partition(job: Job, partition: Partition) -> Iterator[Finding]:
    name = f"partition '{partition.name}'"
    if not is_open(partition):
        what = f"{name} is {partition.state}: it starts no jobs"
        yield bad_site(
            "slurm", what, "ask your administrators, or set [job] partition to another one ('sinfo -s' lists them)"
        )
    if partition.max_time_s is not None and job.walltime > partition.max_time_s:
        longest = format_walltime(partition.max_time_s)
        what = f"walltime {format_walltime(job.walltime)} is above what {name} allows ({longest})"
        yield bad_site("limits", what, f'set [job] walltime = "{longest}" or less, or another partition')
    for key, wanted, allowed in (("account", job.account, partition.accounts), ("qos", job.qos, partition.qos)):
        if wanted is not None and allowed is not None and wanted not in allowed:
            what = f"{name} does not take {key} '{wanted}', but {listed(allowed)}"
            yield bad_site("limits", what, f"set [job] {key} or partition")
    # None if SLURM does not count GPUs (AccountingStorageTRES without gres/gpu), which says nothing
    if partition.gpus == 0 and (job.gres or job.gpus_per_node):
        what = f"{name} has no GPUs, and the sweep asks for {job.gres or job.gpus_per_node}"
        yield bad_site("gpus", what, "set [job] partition to one that has ('sinfo -o \"%P %G\"' lists them)")
    limit = "no limit of time" if partition.max_time_s is None else f"at most {format_walltime(partition.max_time_s)}"
    if is_open(partition):
        yield fine("slurm", f"{name} is up: {count(partition.nodes, 'node')}, {limit}")


def _preemption(partition: Partition, config: SiteConfig) -> Finding:
    # in "GANG,SUSPEND" the mode is the last word (https://slurm.schedmd.com/preempt.html)
    mode = partition.preempt_mode.split(",")[-1]
    if not config.preempts or mode == "OFF":
        return fine("preempt", f"jobs of partition '{partition.name}' are not preempted")
    # SIGTERM comes first; after GraceTime a second one, and KillWait later SIGKILL
    time_s = partition.grace_s + config.kill_wait_s
    what = f"jobs of partition '{partition.name}' may be preempted ({mode}), with {time_s:.0f} s to save"
    if mode == "SUSPEND":
        do = "better use another one; the trials of a suspended worker are taken over after [study] lease_s"
        return note("preempt", f"jobs of partition '{partition.name}' may be suspended by others", do)
    if mode == "CANCEL":
        return note(
            "preempt", f"{what}; SLURM does not bring them back", "submit the sweep again when it is short of workers"
        )
    if time_s < LEAST_GRACE_S:
        return note("preempt", what, "save a checkpoint every few minutes; the administrators can set GraceTime")
    return fine("preempt", f"{what}; SLURM runs them again")


def _ending(config: SiteConfig) -> Finding:
    what = f"a cancelled worker has {config.kill_wait_s:.0f} s to save (KillWait)"
    if config.kill_wait_s < LEAST_GRACE_S:
        return note(
            "preempt", what, "save a checkpoint every few minutes; use 'cancel --drain' where nothing may be lost"
        )
    return fine("preempt", what)


def _limits(job: Job, config: SiteConfig, limits: Limits | None) -> Iterator[Finding]:
    if not config.accounting or not config.enforced:
        yield fine("limits", "limits of accounts and QOS are not enforced here")
        return
    if limits is None:
        if "limits" in config.enforced:  # otherwise they exist but are not enforced (AccountingStorageEnforce)
            yield note("limits", "limits of your account and QOS are enforced, but sacctmgr does not show them")
        return
    # a user has an association per account, and possibly more for single partitions
    own = [limit for limit in limits.associations if job.account in (None, limit.account)]
    own = [limit for limit in own if limit.partition in ("", job.partition)]
    if not own and "associations" in config.enforced:
        place = f"in account '{job.account}'" if job.account else "in any account"
        accounts = listed(limit.account for limit in limits.associations) or "none"
        yield bad_site("limits", f"you may not submit {place}; your accounts: {accounts}", "set [job] account")
    # a job without a QOS gets the default one of its association, which is listed first
    names = (job.qos,) if job.qos else tuple(dict.fromkeys(name for one in own for name in one.qos[:1]))
    if job.qos and own and "qos" in config.enforced and not any(job.qos in one.qos for one in own):
        allowed = listed(dict.fromkeys(name for one in own for name in one.qos)) or "none"
        yield bad_site("limits", f"you may not use QOS '{job.qos}', but {allowed}", "set [job] qos")
    is_limited = False
    for limit in (*own, *(limits.qos[name] for name in names if name in limits.qos)):
        for finding in _limit(job, limit):
            is_limited = True
            yield finding
    if not is_limited:
        yield fine("limits", f"no limit of your account or QOS is below {count(job.workers, 'worker')}")


def _limit(job: Job, limit: Limit) -> Iterator[Finding]:
    workers = count(job.workers, "worker")
    if limit.submitted is not None and job.workers > limit.submitted:
        what = f"{limit.of} may have {count(limit.submitted, 'job')} in the queue; the sweep asks for {workers}"
        yield note("limits", what, f"set [job] workers = {limit.submitted} or less, or another account or QOS")
    elif limit.running is not None and job.workers > limit.running:
        what = f"{limit.of} may run {count(limit.running, 'job')} at once; the sweep asks for {workers}"
        yield note("limits", what, "nothing to do: the others wait; [job] max_running leaves room for your other jobs")
    if limit.walltime_s is not None and job.walltime > limit.walltime_s:
        longest = format_walltime(limit.walltime_s)
        what = f"walltime {format_walltime(job.walltime)} is above what {limit.of} allows ({longest})"
        yield bad_site("limits", what, f'set [job] walltime = "{longest}" or less')
