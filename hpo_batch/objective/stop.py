"""How a command is made to stop: a file, then signals, then SIGKILL, and none of them into a checkpoint."""

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

_OURS: Final = 2 / 3
"""share of the time until SLURM's SIGKILL that the graces take: the rest is for the worker, which records the outcome
and gives the trial back"""
_LATEST: Final = 5 / 6
"""share after which a checkpoint that is still being written delays no signal"""


@dataclass(frozen=True, kw_only=True)
class Graces:
    """How long a command may take for each step on the way to its end, in seconds."""

    grace_s: float = 30.0
    """from the stop file to the first signal: to come to the end of a step and see the file"""
    save_s: float = 20.0
    """from SIGUSR2 to SIGTERM, if it handles it: to save a checkpoint"""
    kill_s: float = 10.0
    """from SIGTERM to SIGKILL, if it handles it"""
    write_s: float = 60.0
    """how much longer if a checkpoint is being written when a signal is due"""
    preempted_s: float = 30.0
    """from the SIGTERM of SLURM to its SIGKILL: KillWait of slurm.conf, or GraceTime of a preempted partition"""

    @property
    def total_s(self) -> float:
        return self.grace_s + self.save_s + self.kill_s


class StopEscalation:
    """The stop file; after a grace SIGUSR2 and SIGTERM, to processes that handle them; SIGKILL.

    No signal and no kill comes while a checkpoint is being written, as long as there is time.
    """

    def __init__(self, graces: Graces, *, deadline: float | None, command: CommandProcesses) -> None:
        self._graces = graces
        self._deadline = deadline
        self._command = command
        self._due = 0.0
        """the next signal, by the monotonic clock"""
        self._latest = 0.0
        """when it comes whatever is being written"""
        self._hasty = 0.0
        """from when on it is enough that no file of a checkpoint is open"""
        self._share = 1.0
        """of the graces, if there is no time for all of them"""
        self._signals = [signal.SIGUSR2, signal.SIGTERM, signal.SIGKILL]
        """those to come"""
        self._watch: CheckpointWatch | None = None
        self.reason: Stopping | None = None
        """why the command was asked to stop; None: it was not"""
        self.sent: list[int] = []

    def begin(self, reason: Stopping) -> None:
        """Ask the command to stop."""
        self.reason = reason
        path = self._command.folder / STOP
        log.info("asking the command to stop (%s): '%s'", reason, path)
        try:
            write_atomic(path, f"{reason}\n", sync=False)
        except OSError as error:  # a full disk: the signals still reach it
            log.warning("cannot write the stop file '%s': %s", path, error)
        self._plan(reason)
        self._watch = CheckpointWatch(self._command, logs=self._command.written_files(self._command.family()))

    def _plan(self, reason: Stopping) -> None:
        """All graces become shorter if SLURM would kill the command, and us, before they are over."""
        left_s = self._graces.preempted_s if reason in SIGNALLED else float("inf")
        # a deadline in the past was not the last word: SLURM has moved the limit
        if self._deadline is not None and self._deadline > time.time():
            left_s = min(left_s, max(1.0, self._deadline - time.time()))
        total_s = self._graces.total_s
        self._share = min(1.0, left_s * _OURS / total_s)
        now = time.monotonic()
        self._due = now + self._share * self._graces.grace_s
        self._latest = now + min(left_s * _LATEST, total_s + self._graces.write_s)
        self._hasty = self._due + (self._latest - self._due) / 3

    def advance(self) -> None:
        """Send the next signal, if it is due and a process handles it."""
        while self.reason is not None and self._signals and time.monotonic() >= self._due:
            if not self._signal(self._signals[0]):
                break
            self._signals.pop(0)

    def is_waiting_for_others(self, code: int) -> bool:
        """Whether processes behind a dead one may still be saving a checkpoint.

        In ``bash train.sh``, SLURM's SIGTERM kills the shell at once, while the training it started handles the signal.
        """
        died_of_it = self.reason is not None and -code in STOP_SIGNALS and signal.SIGKILL not in self.sent
        return died_of_it and bool(self._command.family())

    def _is_writing(self, pids: set[int]) -> bool:
        assert self._watch is not None
        return self._watch.is_writing(pids, settled=time.monotonic() < self._hasty)

    def _signal(self, number: int) -> bool:
        """Whether this signal is dealt with; False while a checkpoint is being written."""
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
