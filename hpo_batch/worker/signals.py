"""What SLURM and the terminal tell a worker: handlers set a flag, and nothing else.

They replace submitit's, which checkpoint inside the handler, are inherited by forked data loaders and swallow SIGTERM.
A thread learns of SIGTERM and SIGUSR2 too, through a pipe that Python writes to when the signal arrives: also while the
main thread is in a long call, and if the user's code has put handlers of its own in place of ours.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType

from hpo_batch.records import Stopping


class Signals:
    """The signals a worker has received. One instance per process, made in its main thread."""

    def __init__(self) -> None:
        self.received: Stopping | None = None
        self.warned: float | None = None
        """when the first of them came, in seconds since the epoch"""
        self._pid = os.getpid()
        self._seen = 0
        self._pipe: tuple[int, int] | None = None
        self._listener: Callable[[], None] | None = None
        self._told = False
        self._lock = threading.Lock()
        self._weighing = threading.Lock()
        self._weighed: float | None = None
        """the warning that was found to count"""

    def install(self) -> None:
        """Take over SIGUSR2 (limit near), SIGTERM (preempted or cancelled), SIGINT (Ctrl-C in a foreground worker)."""
        self._pipe = os.pipe()
        os.set_blocking(self._pipe[1], False)
        self.take_over()
        # SLURM signals every process of a step: a forked data loader must neither checkpoint nor refuse to end
        os.register_at_fork(after_in_child=_reset)
        threading.Thread(target=self._listen, args=(self._pipe[0],), name="signals", daemon=True).start()

    def take_over(self) -> None:
        """Put our handlers in place again: frameworks replace them while a trial runs. None before ``install``."""
        if self._pipe is None:
            return
        signal.signal(signal.SIGUSR2, self._limit)
        signal.signal(signal.SIGTERM, self._preempted)
        signal.signal(signal.SIGINT, self._interrupted)
        signal.signal(signal.SIGCONT, signal.SIG_DFL)
        signal.set_wakeup_fd(self._pipe[1], warn_on_full_buffer=False)

    def why(self, means_now: Callable[[float], bool]) -> Stopping | None:
        """What was received and still counts.

        Args:
            means_now: whether a warning of the time limit that came at a time means the limit as it is now: it may have
                been lengthened since. One that does not is forgotten.
        """
        if self.received is not Stopping.TIME_LIMIT or os.getpid() != self._pid:
            return self.received
        with self._weighing:
            received, warned = self.received, self.warned
            if received is not Stopping.TIME_LIMIT or warned is None or warned == self._weighed:
                return received
            if means_now(warned):
                self._weighed = warned
                return received
            if self.warned == warned:
                self.received = self.warned = None
            return self.received

    @contextlib.contextmanager
    def telling(self, listener: Callable[[], None]) -> Iterator[None]:
        """While the block runs, call ``listener`` once if SIGTERM comes, from a thread and at once.

        ``listener`` is not running any more when the block has ended.
        """
        with self._lock:
            self._listener, self._told = listener, False
        if self.received is Stopping.PREEMPTED:
            self._tell()
        try:
            yield
        finally:
            with self._lock:
                self._listener = None

    def _listen(self, pipe: int) -> None:
        while numbers := os.read(pipe, 512):
            if signal.SIGUSR2 in numbers:
                self._note(Stopping.TIME_LIMIT)
            if signal.SIGTERM in numbers:
                self._note(Stopping.PREEMPTED)
                self._tell()

    def _tell(self) -> None:
        with self._lock:
            if self._listener is not None and not self._told:
                self._told = True
                self._listener()

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
        if os.getpid() != self._pid or self.received in (why, Stopping.PREEMPTED):
            return
        # first the time: whoever sees the reason asks for it. That of the stronger one counts anew.
        self.warned = time.time()
        self.received = why


def _reset() -> None:
    # the pipe is shared with the parent, which must not take a child's signals for its own
    with contextlib.suppress(ValueError):  # forked by a thread that is not the interpreter's main one there
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        signal.signal(signal.SIGUSR2, signal.SIG_IGN)
