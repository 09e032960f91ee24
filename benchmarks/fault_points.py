"""Faults where the operating system would make them: in the functions of ``os`` that change files, in this process.

For a forked child: what is installed is never taken back. ``install`` puts a judge before every such call of the main
thread; the judge lets it pass, or answers with a fault: the process is killed before the call or after it, a write is
cut short and then the process is killed, or the call fails with an error of the system. What lies above (the journal,
the study, the worker) is left as it is, so that the same faults hit whatever it is made of.
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
"""which argument names the file that changes, where it is not the first"""

_real = {name: getattr(os, name) for name in (*WRITES, *CHANGES) if hasattr(os, name)}


@dataclass(frozen=True, kw_only=True)
class Call:
    """One call of a function of ``os``, about to be made."""

    name: str
    path: str
    """of the file that it changes"""
    data: bytes = b""
    """to be written"""


@dataclass(frozen=True, kw_only=True)
class Die:
    """The process is killed: before the call, after it, or after ``written`` bytes of it."""

    after: bool = False
    written: int | None = None


@dataclass(frozen=True, kw_only=True)
class Refuse:
    """The call fails, after ``written`` bytes of it."""

    errno: int
    written: int = 0


Judge = Callable[[Call], Die | Refuse | None]


def install(judge: Judge) -> None:
    """Ask ``judge`` before every call that changes a file, from now on, in the thread that called this."""
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
    """As the kernel's out-of-memory killer does it: nothing more runs, nothing is flushed."""
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
