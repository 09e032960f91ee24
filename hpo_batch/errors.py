"""Every error that hpo-batch raises on purpose, and the exit code each one ends a command with.

    HpoBatchError
    ├── UserError            2   a sweep, an option or an argument is wrong
    │   ├── SweepInvalid         all mistakes of a sweep file at once
    │   ├── ExpressionError      an expression that is refused or cannot be evaluated
    │   ├── StudyNotFound        no study of that name, or several
    │   ├── Irreconcilable       the sweep and the study of its name do not belong together
    │   └── DeviceMissing        a GPU was asked for and none is there
    ├── CommandMissing       2   an executable is not on PATH
    ├── CommandTimeout       3   an executable did not answer in time
    ├── SlurmError           3   SLURM refused, or could not be reached
    │   ├── SlurmRefused
    │   │   └── SubmitLimit      no more jobs now; fewer may do
    │   └── SlurmUnreachable
    │       └── SubmissionUnknown    sbatch gave no answer: the job may have been taken
    ├── StorageError         4   the study on disk cannot be read or written
    │   ├── JournalCorrupt
    │   └── LockTimeout
    └── Superseded           4   this attempt is no longer the one that counts

A message says what happened, where, and what to do next. The command line catches the tree once, in ``cli.main``.
"""

from __future__ import annotations

import errno
from enum import IntEnum
from typing import Self


class Exit(IntEnum):
    """Exit codes of the command line."""

    OK = 0
    TRIALS_FAILED = 1
    BAD_INPUT = 2
    SLURM = 3
    STORAGE = 4
    DECLINED = 5
    BUG = 70
    INTERRUPTED = 130


class HpoBatchError(Exception):
    """Root of the tree."""

    exit_code: Exit = Exit.BUG


class UserError(HpoBatchError):
    exit_code = Exit.BAD_INPUT


class ExpressionError(UserError):
    """An expression is not in our language, or its evaluation failed."""


class SweepInvalid(UserError):
    """A sweep file with mistakes: each line of ``lines`` is one of them, ready to print."""

    def __init__(self, lines: tuple[str, ...]) -> None:
        super().__init__("\n".join(lines))
        self.lines = lines


class StudyNotFound(UserError):
    pass


class Irreconcilable(UserError):
    pass


class DeviceMissing(UserError):
    pass


class CommandMissing(HpoBatchError):
    exit_code = Exit.BAD_INPUT


class CommandTimeout(HpoBatchError):
    exit_code = Exit.SLURM


class SlurmError(HpoBatchError):
    exit_code = Exit.SLURM


class SlurmRefused(SlurmError):
    pass


class SubmitLimit(SlurmRefused):
    """SLURM takes no job of this size now: a limit on the number of jobs, or on the size of an array."""


class SlurmUnreachable(SlurmError):
    pass


class SubmissionUnknown(SlurmUnreachable):
    """sbatch ended without an answer: the job may have been taken, and is then found by its name."""


ADVICE = {
    errno.EDQUOT: "remove files or ask for a higher quota",
    errno.ENOSPC: "make room",
    errno.ESTALE: "the file server was restarted, or another host replaced the file: try again",
    errno.EIO: "the disk or the file server is failing: try again, then tell your administrators",
    errno.ENOTCONN: "the file system is not mounted here any more: try again, then tell your administrators",
    errno.EROFS: "the file system is mounted read-only here",
}
"""what to do about an error of a file system, where that is known"""
TRANSIENT = frozenset(
    {
        errno.EAGAIN, errno.EBUSY, errno.EDQUOT, errno.EHOSTDOWN, errno.EINTR, errno.EIO, errno.ENOLCK, errno.ENOSPC,
        errno.ENOTCONN, errno.EREMOTEIO, errno.ESTALE, errno.ETIMEDOUT,
    }
)  # fmt: skip
"""errors of a file system that may be gone in a minute; a missing folder or permission is not among them"""


class StorageError(HpoBatchError):
    exit_code = Exit.STORAGE
    transient = False
    """whether trying again may help"""

    @classmethod
    def because(cls, what: str, error: OSError, *, do: str = "") -> Self:
        """What could not be done, what the file system said, and what to do about it.

        Args:
            do: what to do that only the caller knows, such as an option that takes another folder.
        """
        said = error.strerror or str(error)
        advice = ADVICE.get(error.errno or 0)
        made = cls(f"{what}: {said}" + (f" ({advice})" if advice else "") + (f"; {do}" if do else ""))
        made.transient = error.errno in TRANSIENT
        return made


class JournalCorrupt(StorageError):
    pass


class LockTimeout(StorageError):
    transient = True


class Superseded(StorageError):
    """The trial has gone on elsewhere: nothing this attempt writes counts any more."""
