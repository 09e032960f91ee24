"""For use within a process where the libraries are loaded: faults are chosen, the product is told where it is."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager

from hpo_batch import mounts


def as_network() -> None:
    """From now on in this process every folder counts as one on a network file system.

    The one place that says so, for tests and benchmarks: a simulated network lies on a local disk, and the product
    tells a network by the type of the file system.
    """
    os.environ[mounts.SHARED_VARIABLE] = "1"


def be_host(name: str) -> None:
    """From now on this process is one of another host: nobody can tell by its number whether it lives."""
    os.environ["SLURMD_NODENAME"] = name


def set_clock(*, ahead_s: float) -> None:
    """From now on the clock of this process is so many seconds ahead of the server's: that of another host."""
    _loaded().clock_ahead(ctypes.c_double(ahead_s))


def stall_writes(*, seed: int, permille: int, most_s: float, holes: bool = False) -> None:
    """Of the writes that go to the server late, ``permille`` come up to ``most_s`` seconds later still, some in parts.

    Args:
        holes: the second part may come first, and others read zeros before it.
    """
    _loaded().writeback_stall(ctypes.c_uint(seed), permille, round(most_s * 1e6), holes)


def refuse(
    kind: str = "", part: str = "", *, nth: int = 0, error: int, after: bool = False, lasting: bool = False
) -> None:
    """The ``nth`` call of this thread from now on, of those on paths that contain ``part``, fails.

    Args:
        kind: open, read, write, fsync, close, link, unlink, rename, mkdir, stat, flock, utime, trunc, opendir; empty:
            any of them.
        error: of errno; a negative one is a signal that the process sends itself.
        after: the call is made, and its answer is lost; of a write half is made.
        lasting: all later calls fail too.
    """
    if _loaded().refuse_arm(kind.encode(), part.encode(), ctypes.c_long(nth), error, after):
        raise ValueError(f"no kind of call: '{kind}'")
    if lasting:
        _loaded().refuse_lasting()


@contextmanager
def refused(kind: str = "", part: str = "", *, nth: int = 0, error: int, after: bool = False) -> Iterator[None]:
    """The same while the block runs, for good."""
    refuse(kind, part, nth=nth, error=error, after=after, lasting=True)
    try:
        yield
    finally:
        _loaded().refuse_disarm()


def calls_seen() -> int:
    """How many calls of the kind there were since ``refuse``."""
    seen = _loaded().refuse_seen
    seen.restype = ctypes.c_long
    return int(seen())


def _loaded() -> ctypes.CDLL:
    return ctypes.CDLL(None)
