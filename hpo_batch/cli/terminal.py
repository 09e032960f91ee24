"""The one way to the terminal: nothing that is printed can control it.

Names, messages, logs and cells come from files that anybody may have written. A terminal obeys the escape sequences in
them (https://invisible-island.net/xterm/ctlseqs/ctlseqs.html): it writes the clipboard (OSC 52), wipes the screen,
answers as if the user had typed. So ``main.run`` wraps the streams of every command, also for libraries, loggers and
warnings; our own colours go through ``steering``.
"""

from __future__ import annotations

import codecs
import contextlib
import io
import sys
from collections.abc import Iterable, Iterator
from typing import Any, TextIO

from hpo_batch.text.lines import harmless, spelt


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


def print_anything() -> None:
    """Print what a terminal cannot encode (LC_ALL=C, PYTHONIOENCODING) in other signs instead of ending by it.

    See https://docs.python.org/3/library/codecs.html#codecs.register_error.
    """
    codecs.register_error("hpo_batch.plain", _plainly)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # None where it is closed
            stream.reconfigure(errors="hpo_batch.plain")


PLAIN = {
    "\u2026": "...", "\u2013": "-", "\u2014": "-", "\u2212": "-", "\u00b1": "+-", "\u00d7": "x", "\u2192": "->",
    "\u2190": "<-", "\u2264": "<=", "\u2265": ">=", "\u2260": "!=", "\u00b7": ".", "\u2022": "*", "\u00a0": " ",
    "\u2500": "-", "\u2502": "|", "\u2588": "#", "\u2714": "+", "\u2718": "x",
}  # fmt: skip
"""signs of our own texts"""


def _plainly(error: UnicodeError) -> tuple[str, int]:
    """Our own signs in ASCII; any other as its escape in JSON, since JSON may be what is printed."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    signs = error.object[error.start : error.end]
    return "".join(PLAIN.get(one) or spelt(one) for one in signs), error.end


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
