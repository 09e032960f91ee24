"""Tell an attempt that stands still from one that takes its time, and end the worker if the function listens to nobody.

Python code cannot be interrupted from outside reliably: a thread waits for it, and when the time is up the thread says
how the attempt ended and ends the process. Commands need none of this: they are stopped by signals.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, NoReturn, TypeAlias

from hpo_batch.records import Failed, GivenBack
from hpo_batch.store.checkpoints import fingerprint

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
    """While the block runs, a thread asks whether its time is up, and ends the process if so.

    Args:
        due: how the attempt has to be ended, None while it may go on.
        last_words: tells how it ended and ends the process.
        lock: held while ``last_words`` are written, and by whoever else uses the study: the block may come back to life
            just then, and must find that it is too late.
        every_s: seconds between two questions.
    """
    over = threading.Event()

    def watch() -> None:
        while not over.wait(every_s):
            if due() is None:
                continue
            with lock:
                ended = None if over.is_set() else due()  # again: there may have been a report while we waited
                if ended is not None:
                    last_words(ended)

    threading.Thread(target=watch, name="watchdog", daemon=True).start()
    try:
        yield
    finally:
        with lock:
            over.set()
