"""The study's journal as a backend for Optuna's ``JournalStorage``: our lock, repair and all-or-nothing appends.

For those who use Optuna's own objects on a study of ours while workers run (a script, a dashboard). Workers do not:
they read the journal by ``journal.state``.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from optuna.storages.journal import BaseJournalBackend

from hpo_batch.journal.file import Journal


class JournalBackend(BaseJournalBackend):
    """``JournalStorage(JournalBackend(path))`` on any journal file, ours or plain Optuna's."""

    def __init__(self, path: Path) -> None:
        self._path = path.absolute()
        self._open()

    def _open(self) -> None:
        self._lock = threading.Lock()
        self._reader = Journal(self._path)
        self._writer = Journal(self._path)
        self._lines: list[bytes] = []
        self._start = 0
        """log number of the first of ``_lines``: Optuna reads a batch again from the middle after a conflict in it"""

    def read_logs(self, log_number_from: int) -> Iterable[dict[str, Any]]:
        with self._lock:
            if not self._start <= log_number_from <= self._start + len(self._lines):
                self._reader, self._lines, self._start = Journal(self._path), [], 0
            for lines in self._reader.pieces():
                self._lines += lines.splitlines()
            self._lines = self._lines[log_number_from - self._start :]
            self._start = log_number_from
            return [json.loads(line) for line in self._lines]

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        # not msgspec's encoder: Optuna's records may hold NaN and infinity, which are no JSON, and reads them back
        lines = [json.dumps(log, separators=(",", ":")).encode() for log in logs]
        with self._lock, self._writer.transaction() as transaction:
            transaction.append_lines(lines, sync=True)

    def __getstate__(self) -> dict[str, Any]:
        return {"_path": self._path}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._path = state["_path"]
        self._open()
