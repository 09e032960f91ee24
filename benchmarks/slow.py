"""Simulate a slow, shared file system: compile ``slow.c``, run programs under it, set its delay, read its counts."""

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
"""kinds of calls that are counted but do not ask the server"""
BYTES = 4096
"""size of the file of settings and counts; at least what slow.c maps"""


def build(folder: Path) -> Path:
    """Compile the library into ``folder``.

    Raises:
        subprocess.CalledProcessError: there is no compiler, or it failed.
    """
    library = folder / "slow.so"
    command = [os.environ.get("CC", "cc"), "-O2", "-shared", "-fPIC", "-o", str(library), str(SOURCE), "-ldl"]
    subprocess.run(command, check=True)
    return library


def environment(library: Path, control: Path, root: Path, *, lock: str) -> dict[str, str]:
    """The environment for a program that is to be slowed down.

    Args:
        control: path of a new file for the settings and counts of all processes with this environment.
        root: the folder whose files are slow.
        lock: suffix of the path of the file whose ``flock`` is timed.
    """
    control.write_bytes(bytes(BYTES))
    return {
        "LD_PRELOAD": str(library),
        "SLOW_CONTROL": str(control),
        "SLOW_ROOT": str(root.resolve()),
        "SLOW_LOCK": lock,
    }


def without(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment of a program that is neither slowed down nor counted."""
    return {name: value for name, value in environ.items() if name != "LD_PRELOAD" and not name.startswith("SLOW_")}


@dataclass(frozen=True, kw_only=True)
class Look:
    """The counts of all processes at one moment."""

    at: float
    """monotonic clock, seconds"""
    calls: Mapping[str, int]
    """by kind; each waited for one round trip, except those of ``FREE``"""
    locks: int
    """number of times the lock was taken"""
    held_s: float
    """total time it was held, seconds"""

    def since(self, before: Look) -> Look:
        """The difference of two looks; ``at`` is the time between them."""
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
        """Set the round-trip time, at once and for all processes."""
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
