"""Allow one submission of a study at a time: counting and submitting missing workers must not happen twice at once.

Only commands that submit or cancel take this lock, never workers. The kernel releases it when its holder is killed.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

from hpo_batch import mounts
from hpo_batch.errors import LockTimeout, StorageError
from hpo_batch.journal.kernel_lock import kernel_lock, open_lock
from hpo_batch.journal.locks import journal_lock
from hpo_batch.store import sharing
from hpo_batch.store.home import StudyHome, make_folder

# how long to wait for another submission; sbatch may take a minute on a busy site
WAIT_S = 300.0


@contextlib.contextmanager
def turn(home: StudyHome, *, shared: bool = False, timeout_s: float = WAIT_S) -> Iterator[None]:
    """Wait for the study's submit lock and hold it.

    Before the study exists, the lock file is beside its directory, which is not created yet: SLURM may still reject the
    submission.

    Raises:
        LockTimeout: another submission held the lock for all of ``timeout_s`` seconds.
        StorageError: the lock file cannot be created.
    """
    deadline = time.monotonic() + timeout_s
    first = home.root / f".{home.name.replace('/', '.')}.submit.flock"
    try:
        with contextlib.ExitStack() as stack:
            if not home.exists or first.exists():
                stack.enter_context(_first_turn(first, deadline))
            if home.exists:
                with sharing.umask_for(shared=shared):
                    _lock_study(home, stack, deadline)
            yield
    except LockTimeout as error:
        raise LockTimeout(f"another command is submitting or cancelling '{home.name}'; try again ({error})") from error


def _lock_study(home: StudyHome, stack: contextlib.ExitStack, deadline: float) -> None:
    """Take the lock in the study's directory, again if the directory was moved to the trash during the wait."""
    while home.exists:
        before = home.path.stat().st_ino
        with contextlib.ExitStack() as held:
            held.enter_context(journal_lock(home.path / "submit", timeout_s=max(0.0, deadline - time.monotonic())))
            if home.exists and home.path.stat().st_ino == before:
                stack.push(held.pop_all())
                return


@contextlib.contextmanager
def _first_turn(path: Path, deadline: float) -> Iterator[None]:
    """Hold a lock whose file exists only for that time."""
    is_new = not path.parent.is_dir()
    while True:
        make_folder(path.parent)
        before = _identity(path)
        try:
            stack = contextlib.ExitStack()
            stack.enter_context(kernel_lock(str(path), deadline=deadline, is_local=mounts.is_local(path.parent)))
        except OSError as error:
            raise StorageError.because(f"cannot lock '{path}'", error) from error
        with stack:
            if before is None or _identity(path) != before:
                continue  # its last holder has removed the file, so this lock excludes nobody
            try:
                yield
            finally:
                with contextlib.suppress(OSError):
                    path.unlink()
                    if is_new:
                        path.parent.rmdir()  # only if empty, after a rejected submission
            return


def _identity(path: Path) -> int | None:
    """The file's inode, created if necessary; None if its directory is gone."""
    try:
        os.close(open_lock(str(path)))
        return path.stat().st_ino
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StorageError.because(f"cannot lock '{path}'", error) from error
