"""What a site's scheduler allows: settings, partitions, and the limits of a user. ``doctor`` compares a sweep with it.

The words are SLURM's; another scheduler fills what it has, and leaves the rest at values that limit nothing.
"""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct


class SiteConfig(Struct, frozen=True, kw_only=True):
    """The settings of a site that we need (https://slurm.schedmd.com/slurm.conf.html)."""

    version: str
    cluster: str
    max_array_size: int
    """The highest array index is one less."""
    max_array_tasks: int | None
    accounting: bool
    enforced: tuple[str, ...] = ()
    """values of AccountingStorageEnforce, such as `limits` and `qos`"""
    kill_wait_s: float = 30.0
    """seconds between SIGTERM and SIGKILL of a job that is cancelled or reaches its limit"""
    preempts: bool = False
    """whether jobs may be preempted; the partition decides how"""

    @property
    def array_limit(self) -> int:
        """maximum number of tasks in an array that starts at 0; 0 if arrays are disabled"""
        return min(self.max_array_size, self.max_array_tasks or self.max_array_size)


class Partition(Struct, frozen=True, kw_only=True):
    """The properties of a partition that matter for our jobs."""

    name: str
    is_default: bool
    state: str
    """UP, DOWN (accepts jobs but starts none), DRAIN (accepts none) or INACTIVE (neither)"""
    nodes: int
    max_nodes: int | None
    """per job; None without a limit"""
    max_time_s: float | None
    preempt_mode: str
    """OFF, CANCEL, REQUEUE, SUSPEND ...: what happens to preempted jobs"""
    grace_s: float
    """seconds between SIGTERM and the end of a preempted job; KillWait is added"""
    accounts: tuple[str, ...] | None
    """accounts that may use it; None: all"""
    qos: tuple[str, ...] | None
    gpus: int | None
    """over all nodes; None if SLURM does not count GPUs (AccountingStorageTRES)"""


class Limit(Struct, frozen=True, kw_only=True):
    """Job limits of an association (user, account, partition) or a QOS; each array task counts as a job."""

    of: str
    account: str = ""
    partition: str = ""
    """of an association limited to a partition"""
    qos: tuple[str, ...] = ()
    """allowed for an association, the default first"""
    running: int | None = None
    submitted: int | None = None
    """running and pending together"""
    walltime_s: float | None = None


class Limits(Struct, frozen=True, kw_only=True):
    """The limits of one user (``sacctmgr show assoc`` and ``show qos``)."""

    associations: tuple[Limit, ...]
    qos: Mapping[str, Limit]


class SiteFacts(Struct, frozen=True, kw_only=True):
    """What a scheduler says of its site."""

    config: SiteConfig
    partitions: tuple[Partition, ...]
    limits: Limits | None = None
    """None where limits are not enforced, or the scheduler does not show them"""
    limits_error: str = ""
    """why the limits could not be read"""


class NodeKind(Struct, frozen=True, kw_only=True):
    """Nodes of a partition that are alike."""

    partition: str
    is_default: bool
    """whether the partition is"""
    is_up: bool
    max_time_s: float | None
    """of the partition; None without a limit"""
    nodes: int
    cpus: int
    """of each node, as memory and GPUs"""
    mem_gb: float | None
    gpu: str
    """type of its GPUs as SLURM spells it; empty if there is none, or they have no type"""
    gpus: int
