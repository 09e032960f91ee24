"""The one exit to the terminal: what is printed there is only printed.

Names, messages, logs and cells come from files that anybody may have written. A terminal obeys what stands in them: it
writes the clipboard (OSC 52), wipes the screen, answers as if the user had typed. So ``main.run`` puts this before the
streams of every command, also for libraries, loggers and warnings; what is ours to steer goes through ``steering``.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterable, Iterator
from typing import Any, TextIO

from hpo_batch.text.lines import harmless


class Printing:
    """A text stream that spells out what would steer a terminal; for all else it is the stream below."""

    def __init__(self, below: TextIO) -> None:
        self.below = below

    def write(self, text: str) -> int:
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        self.below.write(harmless(text))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.write(line)

    @property
    def encoding(self) -> str:
        """Never ASCII: click would go round us then and write UTF-8 to the bytes below."""
        return "utf-8"

    def __getattr__(self, name: str) -> Any:
        return getattr(self.below, name)

    def __iter__(self) -> Iterator[str]:
        return iter(self.below)


@contextlib.contextmanager
def printing_only() -> Iterator[None]:
    """Nothing that is printed while this runs steers the terminal."""
    before = sys.stdout, sys.stderr
    # None where it is closed
    sys.stdout, sys.stderr = (stream if stream is None else Printing(stream) for stream in before)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before


def steering(stream: TextIO) -> TextIO:
    """The stream with nothing in between, for texts that are our own or have been made ``harmless``."""
    return stream.below if isinstance(stream, Printing) else stream


def print_bytes(content: bytes) -> None:
    """A table in UTF-8 on stdout, harmless as all else; what is no text goes out as it is, for whoever reads a pipe."""
    with contextlib.suppress(UnicodeDecodeError):
        text = content.decode()
        safe = harmless(text)
        content = content if safe is text else safe.encode()
    sys.stdout.buffer.write(content)
    sys.stdout.buffer.flush()
