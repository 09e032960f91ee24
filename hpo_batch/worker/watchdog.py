"""Detect attempts that stall, and end the worker if a trial's function does not stop.

Python code cannot be interrupted reliably from outside. So a thread watches the function, and when its time is up,
records the attempt's end and ends the process. Commands do not need this: signals stop them.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NoReturn, TypeAlias

from hpo_batch.records import Failed, GivenBack
from hpo_batch.store.checkpoints import fingerprint

log = logging.getLogger(__name__)

Ending: TypeAlias = Failed | GivenBack

# shortest time between two looks at the checkpoint, which may be on a network file system
LOOK_EVERY_S: Final = 10.0
# if the watchdog itself did not run for so long, the process was suspended, as SLURM does with PreemptMode=SUSPEND
# (https://slurm.schedmd.com/preempt.html); then the attempt did not stall
SUSPENDED_S: Final = 30.0
# time for a function to return after ``should_stop`` has reported a stall
GRACE_S: Final = 30.0


class Pulse:
    """Time of an attempt's last progress: a report, or a change of its checkpoint, on this process's clock."""

    def __init__(self, checkpoint: Path, *, stall_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.stall_s = stall_s
        self._checkpoint = checkpoint
        self._look_every_s = min(LOOK_EVERY_S, stall_s / 10)
        self._clock = clock
        self._seen = fingerprint(checkpoint)
        self._looked = self._asked = self._progressed = clock()

    def beat(self) -> None:
        """Note a report."""
        self._progressed = self._clock()

    def silent_s(self) -> float:
        """Seconds since the last progress; the attempt's start counts as progress."""
        now = self._clock()
        if now - self._asked > SUSPENDED_S:
            self._progressed = now
        self._asked = now
        if now - self._looked >= self._look_every_s:
            self._looked = now
            seen = fingerprint(self._checkpoint)
            if seen != self._seen:
                self._seen, self._progressed = seen, now
        return now - self._progressed


@contextlib.contextmanager
def watched(
    due: Callable[[], Ending | None],
    last_words: Callable[[Ending], NoReturn],
    *,
    lock: threading.Lock,
    every_s: float,
) -> Iterator[None]:
    """During the block, a thread checks whether its time is up, and ends the process if so. One block at a time.

    Args:
        due: how to end the attempt; None while it may go on.
        last_words: records the attempt's end and ends the process.
        lock: held during ``last_words`` and by every other user of the study, so that a function that returns at that
            moment cannot record another outcome.
        every_s: seconds between two checks.
    """
    watch = _Watch(due=due, last_words=last_words, lock=lock, every_s=every_s)
    _watchdog.begin(watch)
    try:
        yield
    finally:
        _watchdog.end(watch)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Watch:
    due: Callable[[], Ending | None]
    last_words: Callable[[Ending], NoReturn]
    lock: threading.Lock
    every_s: float


class _Watchdog:
    """One thread for all attempts of a process; starting a thread per attempt took a third of the time between trials.

    A new attempt does not wake the thread, which notices it at its next check.
    """

    def __init__(self) -> None:
        self._watch: _Watch | None = None
        self._every_s = 0.0
        self._thread: threading.Thread | None = None
        self._wake = threading.Event()
        self._has_failed = False
        """whether a check has raised; logged once per attempt"""

    def begin(self, watch: _Watch) -> None:
        pause, self._every_s = self._every_s, watch.every_s
        self._watch, self._has_failed = watch, False
        if self._thread is None or not self._thread.is_alive():  # threads do not survive a fork, nor do locks they held
            self._wake = threading.Event()
            self._thread = threading.Thread(target=self._run, args=(self._wake,), name="watchdog", daemon=True)
            self._thread.start()
        elif watch.every_s < pause:
            self._wake.set()

    def end(self, watch: _Watch) -> None:
        with watch.lock:
            self._watch = None

    def _run(self, wake: threading.Event) -> None:
        while True:
            if wake.wait(self._every_s):
                wake.clear()  # start over with a shorter pause
                continue
            watch = self._watch
            if watch is None or self._ending(watch) is None:
                continue
            with watch.lock:
                # check again: a report may have arrived while this thread waited for the lock
                ended = self._ending(watch) if self._watch is watch else None
                if ended is not None:
                    watch.last_words(ended)

    def _ending(self, watch: _Watch) -> Ending | None:
        try:
            return watch.due()
        except Exception:  # for example a file server that does not answer: try again at the next check
            if not self._has_failed:
                log.exception("the watchdog cannot check the attempt")
            self._has_failed = True
            return None


_watchdog = _Watchdog()
