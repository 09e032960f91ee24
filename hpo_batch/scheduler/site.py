"""What a site's scheduler allows: settings, partitions, and the limits of a user. ``doctor`` compares a sweep with it.

The words are SLURM's; another scheduler fills what it has, and leaves the rest at values that limit nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class SiteConfig:
    """Settings of the scheduler that hold for all jobs of a site."""

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


@dataclass(frozen=True, kw_only=True)
class Limits:
    """The limits of one user (``sacctmgr show assoc`` and ``show qos``)."""

    associations: tuple[Limit, ...]
    qos: Mapping[str, Limit]


@dataclass(frozen=True, kw_only=True)
class SiteFacts:
    """What a scheduler says of its site."""

    config: SiteConfig
    partitions: tuple[Partition, ...]
    limits: Limits | None = None
    """None where limits are not enforced, or the scheduler does not show them"""
    limits_error: str = ""
    """why the limits could not be read"""
