"""What SLURM and the terminal tell a worker: handlers set a flag, and nothing else.

They replace submitit's, which checkpoint inside the handler, are inherited by forked data loaders and swallow SIGTERM.
"""

from __future__ import annotations

import os
import signal
from types import FrameType

from hpo_batch.records import Stopping


class Signals:
    """The signals a worker has received. One instance per process, made in its main thread."""

    def __init__(self) -> None:
        self.received: Stopping | None = None
        self._pid = os.getpid()
        self._seen = 0

    def install(self) -> None:
        """Take over SIGUSR2 (limit near), SIGTERM (preempted or cancelled), SIGINT (Ctrl-C in a foreground worker)."""
        signal.signal(signal.SIGUSR2, self._limit)
        signal.signal(signal.SIGTERM, self._preempted)
        signal.signal(signal.SIGINT, self._interrupted)
        signal.signal(signal.SIGCONT, signal.SIG_DFL)
        # SLURM signals every process of a step: a forked data loader must neither checkpoint nor refuse to end
        os.register_at_fork(after_in_child=_reset)

    def _limit(self, number: int, frame: FrameType | None) -> None:
        self._note(Stopping.TIME_LIMIT)

    def _preempted(self, number: int, frame: FrameType | None) -> None:
        self._note(Stopping.PREEMPTED)

    def _interrupted(self, number: int, frame: FrameType | None) -> None:
        self._seen += 1
        if self._seen > 1:
            raise KeyboardInterrupt
        self._note(Stopping.CANCELLED)

    def _note(self, why: Stopping) -> None:
        # preemption after the warning of the limit is the stronger one: it allows no requeue
        if os.getpid() == self._pid and self.received is not Stopping.PREEMPTED:
            self.received = why


def _reset() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)
