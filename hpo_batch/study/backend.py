"""A journal backend for Optuna's ``JournalStorage`` with our lock, repair and all-or-nothing appends.

For scripts and dashboards that use Optuna's own objects on a study while workers run; workers read the journal through
``journal.state``. The interface is the one of Optuna 4.0 and newer:
https://optuna.readthedocs.io/en/v4.0.0/_modules/optuna/storages/journal/_base.html
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
