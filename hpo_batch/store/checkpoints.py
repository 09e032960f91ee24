"""Tells whether a checkpoint folder has changed, since the last check or since an attempt resumed from it.

Modification times are compared for equality only, never for order, because the clocks of hosts differ.
"""

from __future__ import annotations

import filecmp
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TypeAlias

from hpo_batch.store.home import StudyHome

Print: TypeAlias = frozenset[tuple[str, int, int]]


def fingerprint(checkpoint: Path) -> Print:
    """Names, sizes and modification times of the files in a checkpoint folder; it changes with every write."""
    return frozenset((name, stat.st_size, stat.st_mtime_ns) for name, stat in _files(checkpoint))


def moved_forward(home: StudyHome, number: int, attempt: int) -> bool:
    """Whether an attempt left a first checkpoint, or one that differs from the one it resumed from.

    Files starting with a dot or ending in ``.tmp`` are ignored: a kill may leave them behind.
    """
    newer = home.attempt(number, attempt) / "checkpoint"
    names = _complete_files(newer)
    if not names:
        return False
    for earlier in range(attempt - 1, 0, -1):
        older = home.attempt(number, earlier) / "checkpoint"
        if before := _complete_files(older):
            return names != before or any(_differ(older / name, newer / name) for name in names)
    return True


def _complete_files(checkpoint: Path) -> set[str]:
    return {name for name, _ in _files(checkpoint) if not _is_torn(Path(name).name)}


def _is_torn(name: str) -> bool:
    return name.startswith(".") or name.endswith(".tmp")


def _differ(older: Path, newer: Path) -> bool:
    try:
        if newer.is_symlink() or older.is_symlink():
            return newer.readlink() != older.readlink()
        # a copy keeps the size and mtime of the original until it is written to; only then are the contents compared
        return not filecmp.cmp(older, newer, shallow=True)
    except OSError:  # removed meanwhile
        return True


def _files(folder: Path) -> Iterator[tuple[str, os.stat_result]]:
    for parent, _, names in os.walk(folder) if not folder.is_symlink() else ():
        for name in names:
            path = Path(parent, name)
            try:
                yield str(path.relative_to(folder)), path.lstat()
            except OSError:  # removed meanwhile
                continue
