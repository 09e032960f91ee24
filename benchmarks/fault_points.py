"""Inject faults into the functions of ``os`` that change files, where a kernel would cause them.

``install`` makes the calling thread ask a judge before every such call. The judge lets the call pass or returns a
fault: kill the process before or after the call, write only some of the bytes and then kill it, or fail with an
``OSError``. The code above ``os`` (journal, study, worker) runs unmodified, so that the faults do not depend on how it
is written. Use this in a forked child: what is installed cannot be removed.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

WRITES = ("write", "pwrite", "writev", "pwritev")
CHANGES = (
    "open", "link", "symlink", "unlink", "remove", "rename", "replace", "mkdir", "rmdir", "truncate", "ftruncate",
    "utime", "fsync", "fdatasync", "sendfile", "copy_file_range",
)  # fmt: skip
TARGET = {"link": 1, "symlink": 1, "rename": 1, "replace": 1}
"""index of the argument that names the changed file, where it is not the first"""

_real = {name: getattr(os, name) for name in (*WRITES, *CHANGES) if hasattr(os, name)}


@dataclass(frozen=True, kw_only=True)
class Call:
    """A call of a function of ``os`` that is about to happen."""

    name: str
    path: str
    """the file that it changes"""
    data: bytes = b""
    """the bytes to write, empty for other calls"""


@dataclass(frozen=True, kw_only=True)
class Die:
    """Kill the process before the call, after it, or after ``written`` bytes of it."""

    after: bool = False
    written: int | None = None


@dataclass(frozen=True, kw_only=True)
class Refuse:
    """Make the call fail after ``written`` bytes."""

    errno: int
    written: int = 0


Judge = Callable[[Call], Die | Refuse | None]


def install(judge: Judge) -> None:
    """From now on, ask ``judge`` before every call of this thread that changes a file."""
    thread = threading.get_ident()

    def wrap(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def called(*arguments: Any, **named: Any) -> Any:
            if threading.get_ident() != thread or os.getpid() != pid:
                return real(*arguments, **named)
            fault = judge(_call(name, arguments))
            if fault is None:
                return real(*arguments, **named)
            if isinstance(fault, Refuse):
                if name in WRITES and fault.written:
                    _write_part(name, arguments, fault.written)
                raise OSError(fault.errno, os.strerror(fault.errno), _call(name, arguments).path)
            if name in WRITES and fault.written is not None:
                _write_part(name, arguments, fault.written)
            elif fault.after:
                real(*arguments, **named)
            die()

        return called

    pid = os.getpid()
    for name, real in _real.items():
        setattr(os, name, wrap(name, real))


def die() -> NoReturn:
    """Die as by the out-of-memory killer: no handler runs and nothing is flushed."""
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("still alive")


def _call(name: str, arguments: tuple[Any, ...]) -> Call:
    target = arguments[TARGET.get(name, 0)]
    if isinstance(target, int):
        try:
            target = str(Path(f"/proc/self/fd/{target}").readlink())
        except OSError:
            target = ""
    return Call(name=name, path=os.fsdecode(target), data=_data(name, arguments))


def _data(name: str, arguments: tuple[Any, ...]) -> bytes:
    if name not in WRITES:
        return b""
    return b"".join(arguments[1]) if name.endswith("v") else bytes(arguments[1])


def _write_part(name: str, arguments: tuple[Any, ...], count: int) -> None:
    part = _data(name, arguments)[:count]
    if name.startswith("pwrite"):
        _real["pwrite"](arguments[0], part, arguments[2])
    else:
        _real["write"](arguments[0], part)
