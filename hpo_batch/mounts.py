"""Tells whether a path is on a local disk, or on a file system that other hosts may write to.

On a local disk all processes see a write at once, and the kernel queues locks. On NFS, other hosts see a write only
after a sync or close, and kernel locks may exclude processes of one host only
(https://man7.org/linux/man-pages/man5/nfs.5.html). Unknown file systems count as shared, which is slower but safe.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from hpo_batch.envvars import EnvVar

LOCAL_DISKS = frozenset({"bcachefs", "btrfs", "ext2", "ext3", "ext4", "f2fs", "overlay", "tmpfs", "xfs", "zfs"})
"""file systems that only one host mounts at a time; not FUSE, which may be a network file system"""
SHARED_VARIABLE = EnvVar.SHARED_DISK
"""if 1, all file systems count as shared. For disks that only look local (a block device mounted by several hosts, a
network disk inside a container), for tests and for benchmarks"""


def is_local(path: Path) -> bool:
    """Whether an existing path is on a local disk.

    Not cached by device number, which the kernel reuses after an unmount (autofs does so while a worker runs). Callers
    that ask often keep the answer themselves.

    Raises:
        OSError: the path does not exist or is not accessible.
    """
    device = path.stat().st_dev
    return not said_to_be_shared() and file_system(device) in LOCAL_DISKS


def said_to_be_shared() -> bool:
    """Whether the environment declares all file systems shared."""
    return os.environ.get(SHARED_VARIABLE, "") not in ("", "0")


def file_system(device: int) -> str:
    """Type of the file system with this device number, such as ``ext4`` or ``nfs4``; empty if unknown."""
    wanted = f"{os.major(device)}:{os.minor(device)}"
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="surrogateescape").splitlines():
            fields = line.split()
            if fields[2] == wanted:
                # optional fields end with "-" (proc_pid_mountinfo(5))
                return fields[fields.index("-") + 1]
    return ""
