"""Whether the kernel has killed a process for want of memory where we run: it counts that for each control group.

A killed command looks the same whoever killed it. SLURM gives each task a control group of its own; elsewhere several
workers may share one, so the count is evidence only beside a SIGKILL.
"""

from __future__ import annotations

import re
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
OWN = Path("/proc/self/cgroup")


def oom_kills(*, cgroups: Path = CGROUPS, own: Path = OWN) -> int | None:
    """Processes that were killed for memory in this process's control group so far; None if nobody tells."""
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
        # in a container the mount shows the group itself, whatever its path is outside
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
