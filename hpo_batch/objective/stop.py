"""Stops a command with a file, then signals, then SIGKILL, but not while it is writing a checkpoint."""

from __future__ import annotations

import logging
import signal
import time
from dataclasses import dataclass
from typing import Final

from hpo_batch import processes
from hpo_batch.files import write_atomic
from hpo_batch.objective.command_processes import LOOK_EVERY_S, CheckpointWatch, CommandProcesses
from hpo_batch.objective.outcome import SIGNALLED, STOP_SIGNALS
from hpo_batch.records import Stopping
from hpo_batch.store.attempt_folder import STOP

log = logging.getLogger(__name__)

# share of the time before SLURM's SIGKILL for the grace periods; the rest is for the worker to record the outcome
_OURS: Final = 2 / 3
# share after which a checkpoint being written no longer delays signals
_LATEST: Final = 5 / 6


@dataclass(frozen=True, kw_only=True)
class Graces:
    """Grace periods for each step of stopping a command, in seconds."""

    grace_s: float = 30.0
    """from the stop file to the first signal: time to finish a step and notice the file"""
    save_s: float = 20.0
    """from SIGUSR2 to SIGTERM, if it handles SIGUSR2: time to save a checkpoint"""
    kill_s: float = 10.0
    """from SIGTERM to SIGKILL, if it handles SIGTERM"""
    write_s: float = 60.0
    """longest extra delay of signals while a checkpoint is being written"""
    preempted_s: float = 30.0
    """from SLURM's SIGTERM to its SIGKILL: KillWait in slurm.conf (default 30), or GraceTime of the partition"""

    @property
    def total_s(self) -> float:
        return self.grace_s + self.save_s + self.kill_s


class StopEscalation:
    """Creates the stop file, later sends SIGUSR2 and SIGTERM to processes that handle them, and finally SIGKILL.

    While a checkpoint is being written, signals are delayed as long as there is time.
    """

    def __init__(self, graces: Graces, *, deadline: float | None, command: CommandProcesses) -> None:
        self._graces = graces
        self._deadline = deadline
        self._command = command
        self._due = 0.0
        """time of the next signal, on the monotonic clock"""
        self._latest = 0.0
        """time from which signals are not delayed any more"""
        self._hasty = 0.0
        """time from which it is enough that no checkpoint file is open"""
        self._share = 1.0
        """factor that shortens the grace periods if time is short"""
        self._signals = [signal.SIGUSR2, signal.SIGTERM, signal.SIGKILL]
        """remaining signals"""
        self._watch: CheckpointWatch | None = None
        self.reason: Stopping | None = None
        """why the command was asked to stop; None if it was not"""
        self.sent: list[int] = []

    def begin(self, reason: Stopping) -> None:
        """Ask the command to stop."""
        self.reason = reason
        path = self._command.folder / STOP
        log.info("asking the command to stop (%s): '%s'", reason, path)
        try:
            write_atomic(path, f"{reason}\n", sync=False)
        except OSError as error:  # such as a full disk; the signals still work
            log.warning("cannot write the stop file '%s': %s", path, error)
        self._plan(reason)
        self._watch = CheckpointWatch(self._command, logs=self._command.written_files(self._command.family()))

    def _plan(self, reason: Stopping) -> None:
        """Compute the times, with shorter grace periods if SLURM would kill the command and us before their end."""
        left_s = self._graces.preempted_s if reason in SIGNALLED else float("inf")
        # a deadline in the past is outdated: the time limit was extended
        if self._deadline is not None and self._deadline > time.time():
            # at least a second, so that every step happens
            left_s = min(left_s, max(1.0, self._deadline - time.time()))
        total_s = self._graces.total_s
        self._share = min(1.0, left_s * _OURS / total_s)
        now = time.monotonic()
        self._due = now + self._share * self._graces.grace_s
        self._latest = now + min(left_s * _LATEST, total_s + self._graces.write_s)
        # after a third of the delay, a checkpoint that is saved all the time no longer blocks the signal
        self._hasty = self._due + (self._latest - self._due) / 3

    def advance(self) -> None:
        """Send the signals that are due."""
        while self.reason is not None and self._signals and time.monotonic() >= self._due:
            if not self._signal(self._signals[0]):
                break
            self._signals.pop(0)

    def is_waiting_for_others(self, code: int) -> bool:
        """Whether descendants of a dead command may still be saving a checkpoint.

        In ``bash train.sh``, SLURM's SIGTERM kills the shell at once, but not the training process if it handles it.
        """
        died_of_it = self.reason is not None and -code in STOP_SIGNALS and signal.SIGKILL not in self.sent
        return died_of_it and bool(self._command.family())

    def _is_writing(self, pids: set[int]) -> bool:
        assert self._watch is not None
        return self._watch.is_writing(pids, settled=time.monotonic() < self._hasty)

    def _signal(self, number: int) -> bool:
        """Send a signal to the processes that handle it; False if it was delayed because of a checkpoint."""
        family = self._command.family
        is_late = time.monotonic() >= self._latest
        if number == signal.SIGKILL:
            if is_late:
                processes.kill(family)
            elif not processes.kill_unless(family, self._is_writing):
                self._due = time.monotonic() + LOOK_EVERY_S
                return False
            self.sent.append(number)
            return True
        pids = family()
        handlers = [pid for pid in pids if processes.catches(pid, number)]
        if not handlers:
            return True
        if not is_late and self._is_writing(pids):
            self._due = time.monotonic() + LOOK_EVERY_S
            return False
        processes.send(handlers, number)
        self.sent.append(number)
        grace_s = self._graces.save_s if number == signal.SIGUSR2 else self._graces.kill_s
        self._due = time.monotonic() + self._share * grace_s
        return True
