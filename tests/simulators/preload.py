"""Compiles the libraries and says with which environment a process gets them."""

from __future__ import annotations

import hashlib
import os
import shutil
import struct
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TypeAlias

SOURCES = Path(__file__).parent
COUNTED = (
    "open", "fsync", "rename", "link", "unlink", "mkdir", "stat", "flock", "utime", "trunc", "read", "opendir", "close",
)  # fmt: skip
"""kinds of operation, in the order of ``names`` in slow.c"""


def can_compile() -> bool:
    return shutil.which("gcc") is not None


@cache
def library(name: str) -> Path:
    """The compiled library; made once for each content of its source.

    Raises:
        FileNotFoundError: there is no gcc.
        subprocess.CalledProcessError: it does not compile.
    """
    sources = [SOURCES / f"{name}.c", SOURCES / "below.h"]
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()[:16]
    folder = Path(tempfile.gettempdir(), f"hpo-batch-simulators-{os.getuid()}")
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.stat().st_uid != os.getuid():
        raise PermissionError(f"'{folder}' is another user's")
    made = folder / f"{name}-{digest}.so"
    if not made.exists():
        arriving = made.with_suffix(f".{os.getpid()}")
        command = [
            "gcc",
            "-O2",
            "-Wall",
            "-Wextra",
            "-Werror",
            "-shared",
            "-fPIC",
            "-o",
            str(arriving),
            str(sources[0]),
        ]
        subprocess.run([*command, "-ldl", "-lpthread"], check=True)
        arriving.replace(made)
    return made


@dataclass(frozen=True, kw_only=True)
class WriteBack:
    """Every process is an NFS client: see writeback.c."""

    root: Path
    attributes_s: float = 3.0
    """how long the answer of a stat is believed: ``acregmin`` of NFS"""
    flock: bool = True
    """whether the file system has it"""
    linger_s: float = 0.02
    """how long after its locks the writes of a process come that died while its client lives on"""

    @property
    def environ(self) -> dict[str, str]:
        return _preloaded(
            "writeback",
            WRITEBACK_ROOT=os.path.realpath(self.root),
            WRITEBACK_ATTR_MS=f"{self.attributes_s * 1e3:g}",
            WRITEBACK_FLOCK="all" if self.flock else "none",
            WRITEBACK_LINGER_MS=f"{self.linger_s * 1e3:.0f}",
        )


@dataclass(frozen=True, kw_only=True)
class Latency:
    """Every operation is a round trip: see slow.c."""

    root: Path
    round_trip_s: float
    out: Path
    """a file outside the root, shared by all processes: the counts"""
    stats: bool = False
    """whether stats cost a round trip too: as without an attribute cache"""

    @property
    def environ(self) -> dict[str, str]:
        return _preloaded(
            "slow",
            SLOW_ROOT=os.path.realpath(self.root),
            SLOW_US=f"{self.round_trip_s * 1e6:.0f}",
            SLOW_STAT="1" if self.stats else "0",
            SLOW_OUT=str(self.out),
        )

    def counts(self) -> dict[str, int]:
        """Operations so far, of all processes, by kind."""
        try:
            return dict(zip(COUNTED, struct.unpack_from(f"{len(COUNTED)}l", self.out.read_bytes()), strict=True))
        except FileNotFoundError:
            return dict.fromkeys(COUNTED, 0)

    def stall(self, seconds: float) -> None:
        """From now on, for so long, the server answers nobody. Some process must have been started with it."""
        until = struct.pack("l", round((time.monotonic() + seconds) * 1e6))
        with self.out.open("r+b") as file:
            os.pwrite(file.fileno(), until, struct.calcsize(f"{len(COUNTED)}l"))

    @contextmanager
    def counting(self) -> Iterator[dict[str, int]]:
        """A dict that holds the operations made within the block, once it has ended."""
        before, made = self.counts(), {}
        yield made
        made.update({kind: count - before[kind] for kind, count in self.counts().items()})


@dataclass(frozen=True, kw_only=True)
class HostClock:
    """Processes whose clocks ``control.set_clock`` may set: see clock.c."""

    @property
    def environ(self) -> dict[str, str]:
        return _preloaded("clock")


@dataclass(frozen=True, kw_only=True)
class Refusals:
    """The call that ``refuse`` names fails: see refuse.c."""

    root: Path

    @property
    def environ(self) -> dict[str, str]:
        return _preloaded("refuse", REFUSE_ROOT=os.path.realpath(self.root))


Simulator: TypeAlias = WriteBack | Latency | Refusals | HostClock


def together(simulators: Sequence[Simulator]) -> dict[str, str]:
    """The variables for a process that gets all of them; an operation passes them in this order.

    Refusals before a write-back cache are the system's own; after it they are the server's, which a writer hears of
    when it syncs or closes.
    """
    environ: dict[str, str] = {}
    for simulator in simulators:
        more = simulator.environ
        before = environ.get("LD_PRELOAD")
        environ |= more
        if before:
            environ["LD_PRELOAD"] = f"{before} {more['LD_PRELOAD']}"
    return environ


def with_environ(environ: Mapping[str, str], base: Mapping[str, str] | None = None) -> dict[str, str]:
    """A whole environment: the variables of ``together`` beside what else is preloaded."""
    whole = dict(os.environ if base is None else base)
    had = whole.get("LD_PRELOAD", "")
    return {**whole, **environ, "LD_PRELOAD": f"{environ.get('LD_PRELOAD', '')} {had}".strip()}


def _preloaded(name: str, **variables: str) -> dict[str, str]:
    return {"LD_PRELOAD": str(library(name)), **variables}
