"""Which process is which: on what host, since which boot, in which PID namespace."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from hpo_batch.processes.proc import is_alive, started_at


def host_name(environ: Mapping[str, str] | None = None) -> str:
    """This machine as SLURM calls it in a job, else its own name: virtual nodes on one machine are several hosts."""
    return (os.environ if environ is None else environ).get("SLURMD_NODENAME") or socket.gethostname()


def identity() -> dict[str, str | int]:
    """What tells this process from all others, on any host: ``host``, ``boot``, ``pid_ns``, ``pid`` and ``start``.

    A host name alone does not name a machine, since two may be called alike, nor does a pid name a process: containers
    of one host have pids of their own (apptainer --pid, docker).
    """
    pid = os.getpid()
    return {"host": host_name(), "boot": boot_id(), "pid_ns": pid_namespace(), "pid": pid, "start": started_at(pid)}


def pid_namespace() -> str:
    """In which the pid of this process is its number, such as ``pid:[4026531836]``; empty where there are none."""
    try:
        return os.readlink("/proc/self/ns/pid")  # noqa: PTH115  # no path
    except OSError:
        return ""


def boot_id() -> str:
    """Identity of this boot of this machine; empty where the kernel does not tell."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip()
    except OSError:
        return ""


def is_dead_here(facts: Mapping[str, Any]) -> bool | None:
    """Whether the process behind a claim is proven gone; None if nobody here can tell.

    That is if it is not from here (``is_from_here``), or if it is another user's and this host hides those (hidepid).
    """
    if not is_from_here(facts):
        return None
    pid = facts["pid"]
    if not is_alive(pid):  # or no process's number at all
        return True
    started = started_at(pid)
    return None if started == 0 else bool(started != facts["start"])


def is_from_here(facts: Mapping[str, Any]) -> bool:
    """Whether a process lives, or lived, where its pid means to us what it means to itself.

    Not in another PID namespace (a container). Nor on a host of our name with another boot: that may be this one before
    it was rebooted, or another one that is called alike. Their leases tell.
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
    """Of this process, whose pid is given: its child may be in another one."""
    return pid_namespace()
