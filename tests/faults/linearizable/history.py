"""What a process asked of the study and what it was answered: noted beside it, one write for each event.

A note lies on a local disk, outside the network. What is noted as asked may have happened, whatever came next; what is
noted as answered has happened. Times are of the monotonic clock, which all processes of a machine share.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

R = TypeVar("R")


@dataclass(frozen=True, kw_only=True)
class Operation:
    """One call, from where it was made to where it returned."""

    worker: str
    kind: str
    """claim, report, tell, give_back, retry, raise (the target), read, open"""
    asked: Mapping[str, Any]
    invoked: int
    """nanoseconds"""
    answered: int | None = None
    """None: its process died, or has not ended; it may have happened or not"""
    answer: Mapping[str, Any] | None = None
    error: str = ""
    """it was answered with an error: it may have happened or not"""

    @property
    def is_acknowledged(self) -> bool:
        return self.answer is not None

    def __str__(self) -> str:
        end = "no answer" if self.answered is None else f"{self.answered / 1e9:.6f}"
        said = self.error or (json.dumps(self.answer) if self.answer is not None else "")
        return f"{self.invoked / 1e9:.6f}-{end} {self.worker} {self.kind} {json.dumps(self.asked)} -> {said[:300]}"


class Notes:
    """The history of one process."""

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._next = 0

    def call(self, kind: str, asked: Mapping[str, Any], function: Callable[[], R], told: Callable[[R], Any]) -> R:
        """Call a function, noting the call before and what ``told`` makes of its result after."""
        number, self._next = self._next, self._next + 1
        self._write(n=number, kind=kind, asked=asked, t=time.monotonic_ns())
        try:
            result = function()
        except BaseException as error:
            self._write(n=number, error=f"{type(error).__name__}: {error}", t=time.monotonic_ns())
            raise
        self._write(n=number, answer=told(result), t=time.monotonic_ns())
        return result

    def _write(self, **event: Any) -> None:
        os.write(self._fd, json.dumps(event).encode() + b"\n")


def read_notes(path: Path) -> Iterator[Operation]:
    """The operations of one process; the file is named after the worker."""
    open_ones: dict[int, Operation] = {}
    for line in path.read_bytes().split(b"\n"):
        try:
            event = json.loads(line)
        except ValueError:
            continue  # killed within the write: as if before it
        if "kind" in event:
            open_ones[event["n"]] = Operation(
                worker=path.stem, kind=event["kind"], asked=event["asked"], invoked=event["t"]
            )
        else:
            begun = open_ones.pop(event["n"])
            yield replace(begun, answered=event["t"], answer=event.get("answer"), error=event.get("error", ""))
    yield from open_ones.values()


def read_history(folder: Path) -> list[Operation]:
    """All operations of all processes, in the order in which they were begun."""
    found = [operation for path in sorted(folder.glob("*.notes")) for operation in read_notes(path)]
    return sorted(found, key=lambda operation: operation.invoked)
