"""Run an objective that is a Python function, in this process, with its output in the attempt's files.

Output is caught at the level of file descriptors, so that C code and child processes are caught too. That is
process-wide: one function runs at a time in a process, and the worker's own messages need a descriptor of their own.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from hpo_batch.errors import StorageError
from hpo_batch.files import open_regular, unlink_if_empty
from hpo_batch.objective.metrics import Wanted
from hpo_batch.objective.outcome import RACE_S, format_traceback, of_exception, of_return, was_hit
from hpo_batch.objective.trial import Trial
from hpo_batch.records import GivenBack, Outcome


@dataclass(frozen=True, kw_only=True)
class FunctionObjective:
    """``[objective] function``."""

    function: Callable[[Trial], object]
    wanted: Wanted

    def run(self, trial: Trial) -> Outcome | GivenBack:
        """Call the function. KeyboardInterrupt and errors of our own storage pass through: they are not its failure.

        Raises:
            StorageError: the attempt's folder cannot be written, or a report could not be stored.
            Superseded: the trial has gone on elsewhere.
        """
        with captured(trial.dir):
            try:
                returned = self.function(trial)
            except (KeyboardInterrupt, StorageError):
                raise
            except BaseException as error:
                _await_signal(error, trial)
                outcome = of_exception(error, wanted=self.wanted, progress=trial.progress)
                if not (isinstance(error, SystemExit) and error.code in (None, 0)):
                    _print_traceback(error)
                _free_frames(error)
                return outcome
        return of_return(returned, wanted=self.wanted, progress=trial.progress)


def where_it_is(thread: int) -> tuple[str, str]:
    """What the function that runs in a thread is at: its innermost line, and all of them as in a traceback."""
    frames = traceback.extract_stack(sys._current_frames()[thread])
    ours = max((i for i, frame in enumerate(frames) if frame.filename == __file__), default=-1)
    stack = frames[ours + 1 :]
    if not stack:
        return "", ""
    last = stack[-1]
    text = "Stack (most recent call last):\n" + "".join(traceback.format_list(stack))
    return f"{last.name} ({Path(last.filename).name}, line {last.lineno})", text


def _print_traceback(error: BaseException) -> None:
    """Into the attempt's file, past a ``sys.stderr`` that the user's code may have closed or replaced."""
    _flush(sys.stderr)
    with contextlib.suppress(OSError):
        os.write(2, format_traceback(error).encode(errors="backslashreplace"))


@contextlib.contextmanager
def captured(folder: Path) -> Iterator[None]:
    """Everything this process and its children print goes to ``stdout`` and ``stderr`` in ``folder``.

    They are made at once, since what is printed must not wait in a process that may be killed; an empty one is removed
    at the end, since it counts against a quota.
    """
    with _redirected("stdout", 1, folder), _redirected("stderr", 2, folder):
        yield


@contextlib.contextmanager
def _redirected(name: str, fd: int, folder: Path) -> Iterator[None]:
    stream = getattr(sys, name)
    _flush(stream)
    try:
        target = open_regular(folder / name, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    except OSError as error:
        raise StorageError.because(f"cannot write the output of a trial, '{folder / name}'", error) from error
    saved = os.dup(fd)
    os.dup2(target, fd)
    os.close(target)
    # Line by line, so that `logs -f` shows a running trial. A stream that is not the descriptor's (a notebook's, a
    # test's) is replaced; the replacement is never closed: a logging handler made by the user's code may keep it.
    replacement = os.fdopen(fd, "w", buffering=1, encoding="utf-8", errors="backslashreplace", closefd=False)
    setattr(sys, name, replacement)
    try:
        yield
    finally:
        _flush(getattr(sys, name))
        _flush(replacement)
        _flush_c()
        setattr(sys, name, stream)
        _flush(stream)  # the user's code may have kept the old one since its import
        os.dup2(saved, fd)
        os.close(saved)
        unlink_if_empty(folder / name)


def _flush(stream: object) -> None:
    with contextlib.suppress(OSError, ValueError, AttributeError):  # closed by the user's code, or a full disk
        stream.flush()  # type: ignore[attr-defined]


def _flush_c() -> None:
    """What C code printed and its library still holds back."""
    import ctypes

    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).fflush(None)


def _await_signal(error: BaseException, trial: Trial) -> None:
    """SLURM signals all processes of a step, and a data loader may die of it before this process is told."""
    end = time.monotonic() + RACE_S
    while was_hit(error) and trial.stopping is None and time.monotonic() < end:
        time.sleep(0.05)


def _free_frames(error: BaseException) -> None:
    """Drop the local variables of the failed call: a tensor among them would keep its GPU memory for the next trial."""
    current: BaseException | None = error
    for _ in range(20):
        if current is None:
            return
        traceback.clear_frames(current.__traceback__)
        current = current.__cause__ or current.__context__
