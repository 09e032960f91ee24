"""The exceptions of hpo-batch, and the exit codes that commands end with.

    HpoBatchError
    ├── UserError            2   a sweep, an option or an argument is wrong
    │   ├── SweepInvalid         all mistakes of a sweep file at once
    │   ├── ExpressionError      an expression is not allowed or cannot be evaluated
    │   ├── StudyNotFound        no study of that name, or several
    │   ├── Irreconcilable       the sweep is incompatible with the existing study
    │   └── DeviceMissing        a GPU was requested and there is none
    ├── CommandMissing       2   an executable is not on PATH
    ├── CommandTimeout       3   an executable did not answer in time
    ├── SlurmError           3   SLURM refused, or could not be reached
    │   ├── SlurmRefused
    │   │   └── SubmitLimit      too many jobs or tasks
    │   └── SlurmUnreachable
    │       └── SubmissionUnknown    sbatch gave no answer; the job may have been accepted
    ├── StorageError         4   the study on disk cannot be read or written
    │   ├── JournalCorrupt
    │   └── LockTimeout
    ├── Superseded           4   another attempt has taken over the trial
    └── Declined             5   the trials do not carry what was asked for

Messages say what happened, where, and what to do. They are caught once, in ``cli.main``.
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
    # EX_SOFTWARE of sysexits.h
    BUG = 70
    # 128 + SIGINT, as in shells
    INTERRUPTED = 130


class HpoBatchError(Exception):
    """Base class of all our exceptions."""

    exit_code: Exit = Exit.BUG


class UserError(HpoBatchError):
    exit_code = Exit.BAD_INPUT


class ExpressionError(UserError):
    """An expression is not allowed, or cannot be evaluated."""


class SweepInvalid(UserError):
    """A sweep file has mistakes. ``lines`` has one message per mistake."""

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
    """SLURM refused a job because of a limit on the number of jobs, or on the size of arrays."""


class SlurmUnreachable(SlurmError):
    pass


class SubmissionUnknown(SlurmUnreachable):
    """sbatch ended without an answer: the job may have been accepted, and can be found by its name."""


ADVICE = {
    errno.EDQUOT: "remove files or ask for a higher quota",
    errno.ENOSPC: "make room",
    errno.ESTALE: "the file server was restarted, or another host replaced the file: try again",
    errno.EIO: "the disk or the file server is failing: try again, then tell your administrators",
    errno.ENOTCONN: "the file system is not mounted here any more: try again, then tell your administrators",
    errno.EROFS: "the file system is mounted read-only here",
}
"""what to do about errors of a file system"""
TRANSIENT = frozenset(
    {
        errno.EAGAIN, errno.EBUSY, errno.EDQUOT, errno.EHOSTDOWN, errno.EINTR, errno.EIO, errno.ENOLCK, errno.ENOSPC,
        errno.ENOTCONN, errno.EREMOTEIO, errno.ESTALE, errno.ETIMEDOUT,
    }
)  # fmt: skip
"""errors of a file system that may disappear by themselves, unlike a missing folder or permission"""


class StorageError(HpoBatchError):
    exit_code = Exit.STORAGE
    transient = False
    """whether retrying may help"""

    @classmethod
    def because(cls, what: str, error: OSError, *, do: str = "") -> Self:
        """The exception for an error of the file system, with advice.

        Args:
            what: what could not be done.
            error: from the file system.
            do: what the user can do, if the caller knows, such as an option for another folder.
        """
        reason = error.strerror or str(error)
        advice = ADVICE.get(error.errno or 0)
        storage_error = cls(f"{what}: {reason}" + (f" ({advice})" if advice else "") + (f"; {do}" if do else ""))
        storage_error.transient = error.errno in TRANSIENT
        return storage_error


class JournalCorrupt(StorageError):
    pass


class LockTimeout(StorageError):
    transient = True


class Superseded(StorageError):
    """Another attempt has taken over the trial: results of this one no longer count."""


class Declined(HpoBatchError):
    """The trials do not carry what was asked for. The message says what would."""

    exit_code = Exit.DECLINED
