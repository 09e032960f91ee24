"""One submission of a study at a time: whoever counts what is left to do and submits it does so alone.

Only commands that submit or cancel take their turn, never a worker. The kernel ends the turn of one that was killed.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

from hpo_batch.errors import LockTimeout, StorageError
from hpo_batch.store import sharing
from hpo_batch.store.home import StudyHome, make_folder
from hpo_batch.store.kernel_lock import kernel_lock
from hpo_batch.store.locks import journal_lock

WAIT_S = 300.0
"""for another submission: sbatch may take a minute where SLURM is busy"""


@contextlib.contextmanager
def turn(home: StudyHome, *, shared: bool = False, timeout_s: float = WAIT_S) -> Iterator[None]:
    """Wait for the study's turn and hold it. A study that is not there yet gets its directory, for the time being.

    Raises:
        LockTimeout: another submission has held it all the time.
        StorageError: the directory cannot be written.
    """
    deadline = time.monotonic() + timeout_s
    with sharing.umask_for(shared=shared):
        while True:
            if shared and not home.exists:
                sharing.make(home)  # with the group's rights from the beginning
            make_folder(home.path)
            before = _identity(home)
            with _lock(home, deadline):
                if _identity(home) != before:
                    continue  # its holder found nothing to keep, and has removed it
                try:
                    yield
                finally:
                    _remove_unused(home)
                return


@contextlib.contextmanager
def _lock(home: StudyHome, deadline: float) -> Iterator[None]:
    left_s = max(0.0, deadline - time.monotonic())
    try:
        if home.exists:
            with journal_lock(_base(home), timeout_s=left_s):
                yield
        else:  # without Optuna's kind of lock beside it, whose files would keep an unused directory
            with kernel_lock(f"{_base(home)}.flock", deadline=deadline):
                yield
    except LockTimeout as error:
        raise LockTimeout(f"another command is submitting or cancelling '{home.name}': try again ({error})") from error


def _base(home: StudyHome) -> Path:
    return home.path / "submit"


def _identity(home: StudyHome) -> int:
    """The lock's file, made if need be: two that hold locks on different files exclude nobody."""
    path = f"{_base(home)}.flock"
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o666))
        return Path(path).stat().st_ino
    except FileNotFoundError:  # the directory has gone in the meantime: as good as another file
        return -1
    except OSError as error:
        raise StorageError(f"cannot lock the study '{home.path}': {error.strerror}") from error


def _remove_unused(home: StudyHome) -> None:
    """The directory of a study that was not made after all; whatever else lies in it keeps it."""
    if home.exists:
        return
    kept = {f"{_base(home).name}.flock"}
    with contextlib.suppress(OSError):
        if {path.name for path in home.path.iterdir()} <= kept:
            _base(home).with_suffix(".flock").unlink()
            home.path.rmdir()
            if "/" in home.name:
                home.path.parent.rmdir()
