"""Whether a checkpoint folder has changed: since the last look, and since an attempt took it over.

Only folders are compared, by what lies in them. Times of files are compared for being the same, never for being older:
clocks of hosts differ.
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
    """Names, sizes and times of the files in a checkpoint folder: another one means that something was written."""
    return frozenset((name, stat.st_size, stat.st_mtime_ns) for name, stat in _files(checkpoint))


def moved_forward(home: StudyHome, number: int, attempt: int) -> bool:
    """Whether an attempt left another checkpoint than the one it took over, or its first.

    What a kill may leave behind, files whose name begins with a dot or ends in ``.tmp``, is no checkpoint.
    """
    left = home.attempt(number, attempt) / "checkpoint"
    names = _kept(left)
    if not names:
        return False
    for earlier in range(attempt - 1, 0, -1):
        taken = home.attempt(number, earlier) / "checkpoint"
        if before := _kept(taken):
            return names != before or any(_differ(taken / name, left / name) for name in names)
    return True


def _kept(checkpoint: Path) -> set[str]:
    return {name for name, _ in _files(checkpoint) if not _is_torn(Path(name).name)}


def _is_torn(name: str) -> bool:
    return name.startswith(".") or name.endswith(".tmp")


def _differ(taken: Path, left: Path) -> bool:
    try:
        if left.is_symlink() or taken.is_symlink():
            return left.readlink() != taken.readlink()
        # a copy has its original's size and time until it is written to; only then are the contents read
        return not filecmp.cmp(taken, left, shallow=True)
    except OSError:  # one of them has gone just now
        return True


def _files(folder: Path) -> Iterator[tuple[str, os.stat_result]]:
    for parent, _, names in os.walk(folder) if not folder.is_symlink() else ():
        for name in names:
            path = Path(parent, name)
            try:
                yield str(path.relative_to(folder)), path.lstat()
            except OSError:  # a file that came and went
                continue
