"""Signals from SLURM and the terminal: handlers that only set a flag.

They replace those of submitit, which checkpoint inside the handler, are inherited by forked data loaders and swallow
SIGTERM (https://github.com/facebookincubator/submitit/blob/main/submitit/core/job_environment.py). A thread also learns
of SIGTERM and SIGUSR2, through the wakeup pipe (https://docs.python.org/3/library/signal.html#signal.set_wakeup_fd):
even while the main thread is in a long C call, or after the user's code has replaced our handlers.
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
    """The signals that a worker has received. One instance per process, created in its main thread."""

    def __init__(self) -> None:
        self.received: Stopping | None = None
        self.warned: float | None = None
        """arrival of the signal in ``received``, in seconds since the epoch"""
        self._pid = os.getpid()
        self._seen = 0
        self._pipe: tuple[int, int] | None = None
        self._listener: Callable[[], None] | None = None
        self._told = False
        self._lock = threading.Lock()
        self._weighing = threading.Lock()
        self._weighed: float | None = None
        """the warning that was confirmed to mean the current limit"""

    def install(self) -> None:
        """Handle SIGUSR2 (limit near), SIGTERM (preempted or cancelled) and SIGINT (Ctrl-C in a foreground worker)."""
        self._pipe = os.pipe()
        os.set_blocking(self._pipe[1], False)
        self.take_over()
        # SLURM signals every process of a step: a forked data loader must neither checkpoint nor refuse to end
        os.register_at_fork(after_in_child=_reset)
        threading.Thread(target=self._listen, args=(self._pipe[0],), name="signals", daemon=True).start()

    def take_over(self) -> None:
        """Install our handlers again, since frameworks replace them during a trial. No effect before ``install``."""
        if self._pipe is None:
            return
        signal.signal(signal.SIGUSR2, self._limit)
        signal.signal(signal.SIGTERM, self._preempted)
        signal.signal(signal.SIGINT, self._interrupted)
        signal.signal(signal.SIGCONT, signal.SIG_DFL)
        signal.set_wakeup_fd(self._pipe[1], warn_on_full_buffer=False)

    def why(self, means_now: Callable[[float], bool]) -> Stopping | None:
        """The reason to stop that was received and is still valid.

        Args:
            means_now: whether a time-limit warning from a given time is about the current limit, which may have been
                extended since. A warning that is not is forgotten.
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
        """During the block, call ``listener`` once and at once if SIGTERM arrives, from another thread.

        ``listener`` has returned when the block ends.
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
        # SIGTERM after a time-limit warning overrides it, because it forbids a requeue by us
        if os.getpid() != self._pid or self.received in (why, Stopping.PREEMPTED):
            return
        # the time before the reason: readers see the reason first. The grace of SIGTERM starts with its own arrival.
        self.warned = time.time()
        self.received = why


def _reset() -> None:
    # the child shares the pipe with its parent, which must not receive the child's signals
    with contextlib.suppress(ValueError):  # raised outside the main thread
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        signal.signal(signal.SIGUSR2, signal.SIG_IGN)
