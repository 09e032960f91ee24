"""Tell an attempt that stands still from one that takes its time, and end the worker if the function listens to nobody.

Python code cannot be interrupted from outside reliably: a thread waits for it, and when the time is up the thread says
how the attempt ended and ends the process. Commands need none of this: they are stopped by signals.
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

LOOK_EVERY_S: Final = 10.0
"""how often the checkpoint is looked at, at most: it may lie on a network file system"""
SUSPENDED_S: Final = 30.0
"""if nobody asked for so long, the process was suspended (SLURM does that to let others run), and so was the attempt"""
GRACE_S: Final = 30.0
"""for a function to return after ``should_stop`` began to say that it stands still"""


class Pulse:
    """When an attempt last showed progress: a report, or a change of its checkpoint. By the clock of this process."""

    def __init__(self, checkpoint: Path, *, stall_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.stall_s = stall_s
        self._checkpoint = checkpoint
        self._look_every_s = min(LOOK_EVERY_S, stall_s / 10)
        self._clock = clock
        self._seen = fingerprint(checkpoint)
        self._looked = self._asked = self._progressed = clock()

    def beat(self) -> None:
        """There was a report."""
        self._progressed = self._clock()

    def silent_s(self) -> float:
        """Seconds without progress; the attempt's start counts as progress."""
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
    """While the block runs, a thread asks whether its time is up, and ends the process if so. One block at a time.

    Args:
        due: how the attempt has to be ended, None while it may go on.
        last_words: tells how it ended and ends the process.
        lock: held while ``last_words`` are written, and by whoever else uses the study: the block may come back to life
            just then, and must find that it is too late.
        every_s: seconds between two questions.
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
    """One thread for all attempts of a process, one after the other: to start one for each took a third of the time
    between two trials. It is not told of a new attempt, but finds it when it next looks."""

    def __init__(self) -> None:
        self._watch: _Watch | None = None
        self._every_s = 0.0
        self._thread: threading.Thread | None = None
        self._wake = threading.Event()
        self._has_failed = False
        """to tell what it cannot do, told once for each attempt"""

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
                wake.clear()  # to wait for a shorter time
                continue
            watch = self._watch
            if watch is None or self._ending(watch) is None:
                continue
            with watch.lock:
                # again: there may have been a report while we waited
                ended = self._ending(watch) if self._watch is watch else None
                if ended is not None:
                    watch.last_words(ended)

    def _ending(self, watch: _Watch) -> Ending | None:
        try:
            return watch.due()
        except Exception:  # a file system that does not answer now: it is asked again, and so are later attempts
            if not self._has_failed:
                log.exception("the watchdog cannot tell whether the attempt may go on")
            self._has_failed = True
            return None


_watchdog = _Watchdog()
