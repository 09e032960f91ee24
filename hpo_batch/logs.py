"""Logging handlers for our own loggers. The root logger is left to the user's code, which runs in the same process."""

from __future__ import annotations

import logging
import sys
from typing import Any

FORMAT = "%(asctime)s %(levelname).1s %(message)s"


class CurrentStderr(logging.StreamHandler[Any]):
    """Writes to the current ``sys.stderr``, which is a file of the attempt while an objective function runs."""

    def __init__(self) -> None:
        super().__init__()
        self.setFormatter(logging.Formatter(FORMAT))

    def emit(self, record: logging.LogRecord) -> None:
        # looked up for each record, because it is redirected while a function runs
        self.stream = sys.stderr
        super().emit(record)


def tell(logger: str, handler: logging.Handler, *, level: int, propagate: bool = False) -> None:
    """Replace the handlers of one of our loggers by ``handler``."""
    ours = logging.getLogger(logger)
    ours.handlers, ours.propagate = [handler], propagate
    ours.setLevel(level)
