"""Which file system a folder lies on, and whether other hosts may write to it too.

The one place that decides it. On a disk of this host a write is seen by every process at once, and kernel locks are
queued by this kernel. Anywhere else a host sees what another one wrote only when that is synced or closed (NFS), and
the locks of the kernel may order one host alone. What is not known to be local is taken for shared: that is slower and
never wrong.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from hpo_batch.envvars import EnvVar

LOCAL_DISKS = frozenset({"bcachefs", "btrfs", "ext2", "ext3", "ext4", "f2fs", "overlay", "tmpfs", "xfs", "zfs"})
"""types of file systems that one host mounts at a time. No FUSE: it may lead anywhere"""
SHARED_VARIABLE = EnvVar.SHARED_DISK
"""set to 1: every file system is taken for one that several hosts write to. For disks that look local and are not
(a block device that several hosts mount, a container's view of a network disk), for tests and benchmarks"""


def is_local(path: Path) -> bool:
    """Whether a path that exists lies on a disk of this host.

    No answer is kept by device number: the kernel gives the number of a file system that was unmounted to the next one
    (autofs does that in the life of a worker). Whoever asks often keeps the answer for what it has in hand.

    Raises:
        OSError: the path is not there, or may not be looked at.
    """
    device = path.stat().st_dev
    return not said_to_be_shared() and file_system(device) in LOCAL_DISKS


def said_to_be_shared() -> bool:
    """Whether the environment says that every disk is."""
    return os.environ.get(SHARED_VARIABLE, "") not in ("", "0")


def file_system(device: int) -> str:
    """Type of the file system with this device number, such as ``ext4`` or ``nfs4``; empty if it is not told."""
    wanted = f"{os.major(device)}:{os.minor(device)}"
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="surrogateescape").splitlines():
            fields = line.split()
            if fields[2] == wanted:
                return fields[fields.index("-") + 1]
    return ""
