"""Where our own messages go. The root logger is never touched: it belongs to the user's code, which we may be running.

Code that configures it does so as if we were not there, and libraries that print by themselves are not printed twice.
"""

from __future__ import annotations

import logging
import sys
from typing import Any

FORMAT = "%(asctime)s %(levelname).1s %(message)s"


class CurrentStderr(logging.StreamHandler[Any]):
    """Writes to what ``sys.stderr`` is at the moment: while a function runs, the file of its attempt."""

    def __init__(self) -> None:
        super().__init__()
        self.setFormatter(logging.Formatter(FORMAT))

    def emit(self, record: logging.LogRecord) -> None:
        self.stream = sys.stderr
        super().emit(record)


def tell(logger: str, handler: logging.Handler, *, level: int, propagate: bool = False) -> None:
    """Send what a logger of ours says to one handler, in place of any other."""
    found = logging.getLogger(logger)
    found.handlers, found.propagate = [handler], propagate
    found.setLevel(level)
