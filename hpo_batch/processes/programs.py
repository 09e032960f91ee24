"""Runs short commands with a timeout, and starts long-lived programs. The only module that uses ``subprocess``.

Arguments are lists, never shell text.
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
from typing import IO, TYPE_CHECKING

from hpo_batch.errors import CommandMissing, CommandTimeout

if TYPE_CHECKING:
    from hpo_batch.processes.forks import Fork

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
    """Run a command and wait for it to end.

    Args:
        argv: the executable and its arguments.
        timeout_s: seconds after which it is killed.
        env, cwd: its environment and working directory; None: ours.
        input: text for its standard input; None: nothing.

    Raises:
        CommandMissing: the executable is not on PATH.
        CommandTimeout: it did not end within ``timeout_s``.
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
            encoding="utf-8",  # not the locale's: with LC_ALL=C, names in the output of git or SLURM would change
            errors="replace",
            check=False,
            stdin=subprocess.DEVNULL if input is None else None,
        )
    except (FileNotFoundError, PermissionError) as error:
        # PermissionError if a folder on PATH is not readable
        raise CommandMissing(f"command not found: '{argv[0]}'; is it installed and on PATH?") from error
    except subprocess.TimeoutExpired as error:
        raise CommandTimeout(f"'{shlex.join(argv)}' did not answer within {timeout_s:g} s") from error
    return Completed(returncode=done.returncode, stdout=done.stdout, stderr=done.stderr)


def exists(executable: str, *, path: str | None = None) -> bool:
    """Whether ``executable`` is on ``path`` (default: PATH)."""
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
    """Start a program in its own session and process group, with its output appended to files.

    In its own session it does not receive Ctrl-C of our terminal, and a signal to its group reaches its children.

    Args:
        argv: the executable and its arguments.
        stdout, stderr: files for its output; None: ours.
        ignored: signals that it ignores until it sets a handler.

    Raises:
        CommandMissing: not found, not executable, or ``cwd`` may not be entered.
        OSError: an output file cannot be opened.
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
        if cwd is not None and error.filename == str(cwd):  # not the command's fault
            raise CommandMissing(f"no permission to enter '{cwd}', the working directory of '{argv[0]}'") from error
        raise CommandMissing(f"command is not executable: '{argv[0]}'") from error


def _ignoring(numbers: Sequence[int], argv: Sequence[str], *, env: Mapping[str, str], cwd: Path | None) -> list[str]:
    """The command wrapped in a shell that ignores signals and then execs it.

    Not ``preexec_fn``, which may deadlock in the presence of threads:
    https://docs.python.org/3/library/subprocess.html#popen-constructor

    Raises:
        FileNotFoundError, PermissionError: checked here, since the shell would only exit with 127 or 126.
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
    # others may write to the folder: do not follow a link (to a shell's start-up file), do not block on a pipe
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o666)
    if not stat.S_ISREG(mode := os.fstat(fd).st_mode) and not stat.S_ISCHR(mode):  # such as /dev/null
        os.close(fd)
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    os.set_blocking(fd, True)
    return os.fdopen(fd, "ab")


def reap_in_background(process: Process) -> None:
    """Wait for a detached process in a daemon thread, so that it does not become a zombie."""
    threading.Thread(target=process.wait, daemon=True).start()


def signal_group(process: Process | Fork, number: int) -> None:
    """Send a signal to the process group of a program from ``start``, or of a fork; does nothing if it has ended."""
    try:
        os.killpg(process.pid, number)
    except (ProcessLookupError, PermissionError):
        return


def wait(process: Process | Fork, timeout_s: float) -> int | None:
    """Exit status, or None if the process is still running after ``timeout_s`` seconds."""
    try:
        return process.wait(timeout=timeout_s)
    except (subprocess.TimeoutExpired, TimeoutError):
        return None
