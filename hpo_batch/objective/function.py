"""Runs an objective that is a Python function in this process, with its output redirected to the attempt's files.

File descriptors are redirected, so that the output of C code and child processes is included. That affects the whole
process: only one function can run at a time, and the worker's own messages need another descriptor.
"""

from __future__ import annotations

import contextlib
import gc
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from hpo_batch import script
from hpo_batch.errors import StorageError
from hpo_batch.files import open_regular, unlink_if_empty
from hpo_batch.objective.metrics import Wanted
from hpo_batch.objective.outcome import RACE_S, format_traceback, of_exception, of_return, reason_of, was_hit
from hpo_batch.objective.trial import Trial
from hpo_batch.objective.trials import ManyFunction, Trials
from hpo_batch.records import Failed, GivenBack, Outcome, Reason

MOST_CAUSES: Final = 100
OUT_OF_MEMORY: Final = frozenset({Reason.OOM_GPU, Reason.OOM_HOST})


@dataclass(frozen=True, kw_only=True)
class FunctionObjective:
    """``[objective] function``."""

    function: Callable[[Trial], object]
    wanted: Wanted
    many: ManyFunction | None = None
    """trains several trials together, if the sweep asks for it"""

    def run(self, trial: Trial) -> Outcome | GivenBack:
        """Call the function. KeyboardInterrupt and StorageError propagate, since they are not failures of the function.

        Raises:
            StorageError: the attempt's folder cannot be written, or a report cannot be stored.
            Superseded: another attempt has taken over the trial.
        """
        returned, failed = None, None
        with captured(trial.dir), script.running(trial):
            try:
                returned = self.function(trial)
            except (KeyboardInterrupt, StorageError):
                raise
            except BaseException as error:
                _await_signal(error, trial)
                failed = of_exception(error, wanted=self.wanted, progress=trial.progress)
                if not (isinstance(error, SystemExit) and error.code in (None, 0)):
                    print_traceback(error)
                _free_frames(error)
        if failed is not None:
            if isinstance(failed, Failed) and failed.reason in OUT_OF_MEMORY:
                _release_memory()
            return failed
        return of_return(returned, wanted=self.wanted, progress=trial.progress)


def call_many(many: ManyFunction, trials: Trials, *, folder: Path) -> BaseException | None:
    """Call a user's ``train_many``, with its output in a folder; returns what it raised."""
    raised = None
    with captured(folder):
        try:
            many.function(trials)
        except BaseException as error:
            if not isinstance(error, KeyboardInterrupt | StorageError):
                print_traceback(error)
            _free_frames(error)
            raised = error
    if raised is not None and reason_of(raised) in OUT_OF_MEMORY:
        _release_memory()
    return raised


def where_it_is(thread: int) -> tuple[str, str]:
    """Where the function in a thread is executing: its innermost line, and the whole stack as text."""
    frames = traceback.extract_stack(sys._current_frames()[thread])
    # drop the worker's own frames above the user's function
    ours = max((i for i, frame in enumerate(frames) if frame.filename == __file__), default=-1)
    stack = frames[ours + 1 :]
    if not stack:
        return "", ""
    last = stack[-1]
    text = "Stack (most recent call last):\n" + "".join(traceback.format_list(stack))
    return f"{last.name} ({Path(last.filename).name}, line {last.lineno})", text


def print_traceback(error: BaseException) -> None:
    """Write the traceback to descriptor 2: user code may have closed or replaced ``sys.stderr``."""
    _flush(sys.stderr)
    with contextlib.suppress(OSError):
        os.write(2, format_traceback(error).encode(errors="backslashreplace"))


@contextlib.contextmanager
def captured(folder: Path) -> Iterator[None]:
    """Redirect the output of this process and its children to ``stdout`` and ``stderr`` in ``folder``.

    Output is not buffered in memory, because the process may be killed. Empty files are removed at the end, because
    they count against quotas.
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
    # line-buffered for `logs -f`. sys.stdout may not use the descriptor (in notebooks and tests), so it is replaced
    # too; the replacement is never closed, because a logging handler of the user's code may keep it
    replacement = os.fdopen(fd, "w", buffering=1, encoding="utf-8", errors="backslashreplace", closefd=False)
    setattr(sys, name, replacement)
    try:
        yield
    finally:
        _flush(getattr(sys, name))
        _flush(replacement)
        _flush_c()
        setattr(sys, name, stream)
        _flush(stream)  # user code may hold a reference to the old one from its import
        os.dup2(saved, fd)
        os.close(saved)
        unlink_if_empty(folder / name)


def _flush(stream: object) -> None:
    with contextlib.suppress(OSError, ValueError, AttributeError):  # full disk, or closed by user code
        stream.flush()  # type: ignore[attr-defined]


def _flush_c() -> None:
    """Flush the buffers of C's stdio."""
    import ctypes

    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).fflush(None)


def _await_signal(error: BaseException, trial: Trial) -> None:
    """Wait for the worker to notice a signal of SLURM, which may have killed a data loader of the function first."""
    end = time.monotonic() + RACE_S
    while was_hit(error) and trial.stopping is None and time.monotonic() < end:
        time.sleep(0.05)


def _free_frames(error: BaseException) -> None:
    """Clear the local variables of the failed call: tensors in them would occupy GPU memory during the next trial."""
    waiting: list[BaseException | None] = [error]
    seen: list[BaseException] = []
    while waiting and len(seen) < MOST_CAUSES:
        current = waiting.pop()
        if current is None or any(current is one for one in seen):  # a chain of exceptions may be cyclic
            continue
        seen.append(current)
        traceback.clear_frames(current.__traceback__)
        waiting += [current.__cause__, current.__context__]
        if isinstance(current, BaseExceptionGroup):
            waiting += current.exceptions


def _release_memory() -> None:
    """Free tensors in cycles, and give torch's cache back to the GPU, which other workers may share.

    Outside the except block, since while the exception is handled its frames keep their tensors
    (https://github.com/pytorch/pytorch/issues/18853).
    """
    gc.collect()
    torch: Any = sys.modules.get("torch")
    with contextlib.suppress(Exception):  # a module of that name may be anything
        if torch is not None and torch.cuda.is_initialized():
            torch.cuda.empty_cache()
