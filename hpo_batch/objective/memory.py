"""Detects out-of-memory kills from the kernel's counters per control group (cgroup).

A SIGKILL does not say who sent it. In SLURM each task has its own cgroup; elsewhere several workers may share one, so
the counter is evidence only together with a SIGKILL. Counters:
``oom_kill`` in memory.events (cgroup v2) or memory.oom_control (v1).
"""

from __future__ import annotations

import re
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
OWN = Path("/proc/self/cgroup")


def oom_kills(*, cgroups: Path = CGROUPS, own: Path = OWN) -> int | None:
    """Number of out-of-memory kills so far in this process's cgroup; None if unknown."""
    try:
        lines = own.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return None
    for line in lines:
        _, controllers, group = line.split(":", 2)
        if "memory" in controllers.split(","):
            mount, name = cgroups / "memory", "memory.oom_control"  # version 1
        elif not controllers:
            mount, name = cgroups, "memory.events"
        else:
            continue
        # in a container, the mount is the cgroup itself, and the path is relative to the host
        for folder in (mount / group.lstrip("/"), mount):
            count = _count(folder / name)
            if count is not None:
                return count
    return None


def _count(path: Path) -> int | None:
    try:
        found = re.search(r"^oom_kill (\d+)$", path.read_text(encoding="utf-8", errors="replace"), flags=re.MULTILINE)
    except OSError:
        return None
    return None if found is None else int(found[1])
