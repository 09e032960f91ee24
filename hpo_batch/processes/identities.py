"""Identifies processes by host, boot, PID namespace, pid and start time."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from hpo_batch.processes.proc import is_alive, started_at


def host_name(environ: Mapping[str, str] | None = None) -> str:
    """SLURM's name of this node in a job, else the host name. Several slurmd on one machine count as several hosts."""
    return (os.environ if environ is None else environ).get("SLURMD_NODENAME") or os.uname().nodename


def identity() -> dict[str, str | int]:
    """Identifies this process among all processes on all hosts: ``host``, ``boot``, ``pid_ns``, ``pid`` and ``start``.

    Host names are not unique, and containers (apptainer --pid, docker) have their own pids
    (pid_namespaces(7)).
    """
    pid = os.getpid()
    return {"host": host_name(), "boot": boot_id(), "pid_ns": pid_namespace(), "pid": pid, "start": started_at(pid)}


def pid_namespace() -> str:
    """PID namespace of this process, such as ``pid:[4026531836]``; empty if unknown."""
    try:
        return os.readlink("/proc/self/ns/pid")  # noqa: PTH115  # no path
    except OSError:
        return ""


def boot_id() -> str:
    """Random id of this boot of this machine; empty if unknown."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip()
    except OSError:
        return ""


def is_dead_here(facts: Mapping[str, Any]) -> bool | None:
    """Whether a claim's process is proven dead; None if this host cannot tell.

    It cannot tell for processes of other hosts (``is_from_here``), nor for other users' if /proc hides them (hidepid).
    """
    if not is_from_here(facts):
        return None
    pid = facts["pid"]
    if not is_alive(pid):  # includes values that are not a pid
        return True
    started = started_at(pid)
    return None if started == 0 else bool(started != facts["start"])


def is_from_here(facts: Mapping[str, Any]) -> bool:
    """Whether a process belongs to this host, boot and PID namespace, so that its pid is valid here.

    A host of the same name with another boot id may be this one before a reboot, or another machine. Only leases tell
    whether its workers are alive.
    """
    ours = (host_name(), _boot())
    return (facts.get("host"), facts.get("boot")) == ours and (
        facts.get("pid_ns", "") in ("", _pid_namespace(os.getpid()))
    )


@cache
def _boot() -> str:
    return boot_id()


@cache
def _pid_namespace(pid: int) -> str:
    """Cached by pid: a forked child may be in another namespace."""
    return pid_namespace()
