"""A simulated slow, shared file system: compiles ``slow.c``, runs programs under it, sets its delay, reads counts."""

from __future__ import annotations

import ctypes
import mmap
import os
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

SOURCE = Path(__file__).with_name("slow.c")
FREE = frozenset({"stat"})
"""kinds of calls that are counted and ask no server"""
BYTES = 4096
"""of the file of settings and counts, more than slow.c maps"""


def build(folder: Path) -> Path:
    """Compile the library into ``folder``.

    Raises:
        subprocess.CalledProcessError: no compiler, or it did not like the source.
    """
    library = folder / "slow.so"
    command = [os.environ.get("CC", "cc"), "-O2", "-shared", "-fPIC", "-o", str(library), str(SOURCE), "-ldl"]
    subprocess.run(command, check=True)
    return library


def environment(library: Path, control: Path, root: Path, *, lock: str) -> dict[str, str]:
    """What a program needs to run under it.

    Args:
        control: a file to make, for the settings and counts of all processes that are given this environment.
        root: the folder that is slow.
        lock: how the path of the file ends whose ``flock`` is timed.
    """
    control.write_bytes(bytes(BYTES))
    return {
        "LD_PRELOAD": str(library),
        "SLOW_CONTROL": str(control),
        "SLOW_ROOT": str(root.resolve()),
        "SLOW_LOCK": lock,
    }


def without(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment of a program that is not to be slowed down or counted."""
    return {name: value for name, value in environ.items() if name != "LD_PRELOAD" and not name.startswith("SLOW_")}


@dataclass(frozen=True, kw_only=True)
class Look:
    """What had happened at a moment, in all processes."""

    at: float
    """of the monotonic clock"""
    calls: Mapping[str, int]
    """by kind; each waited for one round trip, those of ``FREE`` for none"""
    locks: int
    """how often the lock was taken"""
    held_s: float
    """for how long it was held"""

    def since(self, before: Look) -> Look:
        """What happened between two looks; ``at`` is the time between them."""
        return Look(
            at=self.at - before.at,
            calls={kind: count - before.calls[kind] for kind, count in self.calls.items()},
            locks=self.locks - before.locks,
            held_s=self.held_s - before.held_s,
        )


class Control:
    """The settings and counts of the run that this process belongs to."""

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        """
        Raises:
            KeyError: this process does not run under the library.
        """
        library = ctypes.CDLL(environ["LD_PRELOAD"])
        library.slow_kinds.restype = ctypes.c_char_p
        self.kinds = library.slow_kinds().decode().split()
        with open(environ["SLOW_CONTROL"], "r+b") as file:
            self._numbers = memoryview(mmap.mmap(file.fileno(), BYTES)).cast("q")  # struct control of slow.c

    @property
    def delay_s(self) -> float:
        """Of a round trip. It can be changed at any time, and then holds for all processes."""
        return self._numbers[0] / 1e9

    @delay_s.setter
    def delay_s(self, seconds: float) -> None:
        self._numbers[0] = round(seconds * 1e9)

    def look(self) -> Look:
        _, locks, held_ns, held_since, *counts = self._numbers[: 4 + len(self.kinds)]
        if held_since:
            held_ns += max(0, time.monotonic_ns() - held_since)
        return Look(
            at=time.monotonic(),
            calls=dict(zip(self.kinds, counts, strict=True)),
            locks=locks,
            held_s=held_ns / 1e9,
        )
