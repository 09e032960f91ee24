"""One file, one table."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from hpo_batch.results.table import TrialsTable
from hpo_batch.sources.columns import Columns
from hpo_batch.sources.read import read_tables

Read = Callable[..., TrialsTable]


@pytest.fixture
def read(tmp_path: Path) -> Read:
    """``read(text, ...)``: the only table in a file with this content."""

    def call(content: str | bytes, name: str = "trials.csv", **options: object) -> TrialsTable:
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        sweep = options.pop("sweep", None)
        columns = Columns(**options)  # type: ignore[arg-type]
        (table,) = read_tables([str(path)], root=tmp_path / "logs", sweep=sweep, columns=columns)  # type: ignore[arg-type]
        return table

    return call


def told(table: TrialsTable) -> str:
    return "\n".join(table.notes)
