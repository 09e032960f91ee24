"""Starting other programs, the only module that does: short commands with a time limit, and long-lived ones.

Arguments are lists, never shell text. Every short command has a time limit; a failure carries its output.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import shlex
import shutil
import stat
import subprocess
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from hpo_batch.errors import CommandMissing, CommandTimeout

log = logging.getLogger(__name__)

Process = subprocess.Popen[bytes]


@dataclass(frozen=True, kw_only=True)
class Completed:
    """How a short command ended."""

    returncode: int
    stdout: str
    stderr: str


def run(
    argv: Sequence[str],
    *,
    timeout_s: float,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    input: str | None = None,
) -> Completed:
    """Run a short command to its end.

    Raises:
        CommandMissing: the executable is not on PATH.
        CommandTimeout: it ran longer than ``timeout_s`` seconds and was killed.
    """
    log.debug("run: %s", shlex.join(argv))
    try:
        done = subprocess.run(
            list(argv),
            capture_output=True,
            timeout=timeout_s,
            env=None if env is None else dict(env),
            cwd=cwd,
            input=input,
            encoding="utf-8",  # not the locale's: in LC_ALL=C a name of git's or SLURM's would be another one
            errors="replace",
            check=False,
            stdin=subprocess.DEVNULL if input is None else None,
        )
    except (FileNotFoundError, PermissionError) as error:
        # a folder of PATH that may not be read makes it a PermissionError
        raise CommandMissing(f"command not found: '{argv[0]}'; is it installed and on PATH?") from error
    except subprocess.TimeoutExpired as error:
        raise CommandTimeout(f"'{shlex.join(argv)}' did not answer within {timeout_s:g} s") from error
    return Completed(returncode=done.returncode, stdout=done.stdout, stderr=done.stderr)


def exists(executable: str, *, path: str | None = None) -> bool:
    """Whether ``executable`` is on PATH, or on ``path``."""
    return shutil.which(executable, path=path) is not None


def start(
    argv: Sequence[str],
    *,
    stdout: Path | None,
    stderr: Path | None,
    env: Mapping[str, str],
    cwd: Path | None = None,
    ignored: Sequence[int] = (),
) -> Process:
    """Start a program in a session and process group of its own; its output is appended to files (None: to ours).

    A new session: Ctrl-C in the caller's terminal does not reach it; a signal to its group reaches all its children.

    Args:
        ignored: signals that do nothing to the program until it sets a handler of its own.
    """
    log.debug("start: %s", shlex.join(argv))
    try:
        with _appended(stdout) as out, _appended(stderr) as err:
            return subprocess.Popen(
                _ignoring(ignored, argv, env=env, cwd=cwd) if ignored else list(argv),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                env=dict(env),
                cwd=cwd,
                start_new_session=True,
            )
    except FileNotFoundError as error:
        missing = error.filename if error.filename not in (None, argv[0]) else argv[0]
        raise CommandMissing(f"command not found: '{missing}'") from error
    except PermissionError as error:
        if cwd is not None and error.filename == str(cwd):  # it would be told of the command
            raise CommandMissing(f"you may not enter '{cwd}', where '{argv[0]}' is to run") from error
        raise CommandMissing(f"command is not executable: '{argv[0]}'") from error


def _ignoring(numbers: Sequence[int], argv: Sequence[str], *, env: Mapping[str, str], cwd: Path | None) -> list[str]:
    """The program behind a shell that ignores signals and then becomes it.

    A shell, since ``preexec_fn`` runs Python between fork and exec, where threads of ours may hold locks.

    Raises:
        FileNotFoundError, PermissionError: as of starting it, which the shell would tell as exit codes.
    """
    program = argv[0]
    if "/" in program:
        path = (cwd or Path()) / program
        if not path.exists():
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), program)
        if path.is_dir() or not os.access(path, os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), program)
    elif shutil.which(program, path=os.pathsep.join(os.get_exec_path(dict(env)))) is None:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), program)
    names = " ".join(str(number) for number in numbers)
    return ["/bin/sh", "-c", f'trap "" {names}; exec "$@"', "sh", *argv]


def _appended(path: Path | None) -> contextlib.AbstractContextManager[IO[bytes] | None]:
    if path is None:
        return contextlib.nullcontext()
    # in a folder where others write, no link is followed (to a shell's start-up file) and no pipe waited for
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o666)
    if not stat.S_ISREG(mode := os.fstat(fd).st_mode) and not stat.S_ISCHR(mode):  # as /dev/null is
        os.close(fd)
        raise OSError(errno.EINVAL, "it is no regular file", str(path))
    os.set_blocking(fd, True)
    return os.fdopen(fd, "ab")


def reap_in_background(process: Process) -> None:
    """Wait for a detached process in a daemon thread, so that it does not stay a zombie while we live."""
    threading.Thread(target=process.wait, daemon=True).start()


def signal_group(process: Process, number: int) -> None:
    """Send a signal to the process group that ``start`` made; a group that has ended is no error."""
    try:
        os.killpg(process.pid, number)
    except (ProcessLookupError, PermissionError):
        return


def wait(process: Process, timeout_s: float) -> int | None:
    """Exit status, or None if the process still runs after ``timeout_s`` seconds."""
    try:
        return process.wait(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        return None
