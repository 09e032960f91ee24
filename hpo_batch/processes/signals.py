"""Signals that this process is sent: held back, taken as Ctrl-C, or asked for."""

from __future__ import annotations

import contextlib
import ctypes
import signal
from collections.abc import Iterator
from types import FrameType
from typing import Final

_PR_SET_PDEATHSIG: Final = 1


def end_with_parent(number: int) -> None:
    """Have the kernel send this process a signal when the process that started it is gone, however that ended.

    Only Linux knows how; elsewhere nothing happens. For the very start: a parent that is gone already is not noticed.
    """
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, number, 0, 0, 0)


@contextlib.contextmanager
def ended_in_order() -> Iterator[None]:
    """While the block runs, SIGTERM and SIGHUP are what Ctrl-C is, so that it clears up; after the first, none counts.

    What is ignored (nohup) stays so. For main threads.
    """
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: handler for number in numbers if (handler := signal.getsignal(number)) is not signal.SIG_IGN}

    def interrupt(number: int, frame: FrameType | None) -> None:
        for one in before:
            signal.signal(one, signal.SIG_IGN)  # the next would cut the clearing up short
        raise KeyboardInterrupt

    for number in before:
        signal.signal(number, interrupt)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def not_interrupted() -> Iterator[None]:
    """Hold signals that would end us back until the block has ended: it makes what somebody has to know of.

    For short commands: programs that the block starts do not see them either.
    """
    held = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM, signal.SIGHUP})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, held)
