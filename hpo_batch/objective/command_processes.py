"""Finds and ends the processes of a command, and detects whether they are writing a checkpoint."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from hpo_batch import processes
from hpo_batch.envvars import EnvVar
from hpo_batch.objective.variables import REPORTED
from hpo_batch.store.attempt_folder import STREAMS
from hpo_batch.store.checkpoints import fingerprint

LOOK_EVERY_S: Final = 0.3
"""interval of checks whether a checkpoint is still being written"""
SETTLED_S: Final = 0.25
"""a checkpoint that is not open and has not changed for this long counts as complete"""
KEPT_OPEN_S: Final = 10.0
"""a file in the checkpoint folder that is open but has not changed for this long counts as a log"""
LEFT_BEHIND_S: Final = 10.0
"""time for processes left behind, or a command being killed, to finish writing a checkpoint"""


@dataclass(frozen=True, kw_only=True)
class CommandProcesses:
    """A command and all processes it has started, in any session or container."""

    process: processes.Process
    folder: Path
    checkpoint: Path

    def family(self) -> set[int]:
        """Pids of the command and its descendants, without this process."""
        return processes.family(self.process.pid, EnvVar.TRIAL_DIR, str(self.folder)) - {os.getpid()}

    def _has_left(self) -> bool:
        """Whether an ended command left processes behind. Cheaper than ``family``, because it runs after each
        command."""
        try:
            # signal 0 only checks whether the group exists (kill(2))
            os.killpg(self.process.pid, 0)
        except ProcessLookupError:
            return bool(processes.with_environment(EnvVar.TRIAL_DIR, str(self.folder)))
        except PermissionError:
            pass
        return True

    def written_files(self, pids: Iterable[int]) -> set[str]:
        """Files that these processes have open for writing, without their output and reports."""
        own = {str((self.folder / name).resolve()) for name in (*STREAMS, REPORTED)}
        return {path for pid in pids for path in processes.written_by(pid)} - own

    def end(self) -> None:
        """Kill all remaining processes, after giving them time to finish a checkpoint."""
        is_over = processes.wait(self.process, 0.0) is not None
        if is_over and not self._has_left():
            return
        watch = CheckpointWatch(self, logs=None)
        end = time.monotonic() + LEFT_BEHIND_S
        while time.monotonic() < end and not processes.kill_unless(self.family, watch.is_writing):
            time.sleep(LOOK_EVERY_S)
        processes.kill(self.family)
        processes.signal_group(self.process, signal.SIGKILL)
        processes.wait(self.process, timeout_s=30)


class CheckpointWatch:
    """Detects whether a checkpoint is being written: a file in it is open, or has changed since the last check.

    The second condition is needed for checkpoints of several files: between two of them none is open.
    """

    def __init__(self, command: CommandProcesses, *, logs: set[str] | None) -> None:
        """Args:
        command: of the checkpoint.
        logs: files outside the checkpoint folder that stay open, such as logs; None: ignore files outside of it.
        """
        self._command = command
        self._logs = logs
        self._states: dict[str, tuple[int, int]] = {}
        self._changed: dict[str, float] = {}
        self._print = fingerprint(command.checkpoint)
        self._looked = time.monotonic()

    def is_writing(self, pids: Iterable[int], *, settled: bool = True) -> bool:
        """Whether one of the processes is writing a checkpoint.

        Args:
            pids: of the command.
            settled: require that the checkpoint has not changed for ``SETTLED_S``. A command that saves all the time
                never gets there.
        """
        now = time.monotonic()
        is_open = [self._is_written(path, now) for path in self._command.written_files(pids)]
        current, before = fingerprint(self._command.checkpoint), self._print
        is_old = now - self._looked > SETTLED_S
        if current != before or is_old:
            self._print, self._looked = current, now
        return any(is_open) or (settled and (current != before or not is_old))

    def _is_written(self, path: str, now: float) -> bool:
        """Whether an open file is actually being written."""
        is_checkpoint = path.startswith(f"{self._command.checkpoint.resolve()}{os.sep}")
        if not is_checkpoint and (self._logs is None or path in self._logs):
            return False
        state = _state(path)
        if self._states.get(path) != state:
            self._states[path], self._changed[path] = state, now
        return now - self._changed[path] < (KEPT_OPEN_S if is_checkpoint else SETTLED_S)


def _state(path: str) -> tuple[int, int]:
    try:
        status = os.stat(path)  # noqa: PTH116  # for speed: called for each open file at each check
    except OSError:
        return (-1, 0)
    return status.st_size, status.st_mtime_ns
