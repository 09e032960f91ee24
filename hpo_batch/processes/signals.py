"""How this process handles signals: delayed, or treated like Ctrl-C."""

from __future__ import annotations

import contextlib
import ctypes
import signal
from collections.abc import Iterator
from types import FrameType
from typing import Final

_PR_SET_PDEATHSIG: Final = 1


def end_with_parent(number: int) -> None:
    """Have the kernel send this process a signal when its parent ends (PR_SET_PDEATHSIG; Linux only).

    Call it first thing: a parent that has ended already is not noticed.
    https://man7.org/linux/man-pages/man2/pr_set_pdeathsig.2const.html
    """
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, number, 0, 0, 0)


@contextlib.contextmanager
def ended_in_order() -> Iterator[None]:
    """While the block runs, SIGTERM and SIGHUP raise KeyboardInterrupt like Ctrl-C, so that it cleans up.

    After the first signal, all are ignored. Signals ignored before (nohup) stay ignored. Main thread only.
    """
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: handler for number in numbers if (handler := signal.getsignal(number)) is not signal.SIG_IGN}

    def interrupt(number: int, frame: FrameType | None) -> None:
        for one in before:
            signal.signal(one, signal.SIG_IGN)  # another one would interrupt the clean-up
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
    """Delay SIGINT, SIGTERM and SIGHUP until the block has ended, so that its result is not lost.

    Keep the block short: programs started in it inherit the blocked signals.
    """
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM, signal.SIGHUP})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
