"""Which configurations of a sweep have run before, in one study or in others."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from hpo_batch.errors import UserError
from hpo_batch.records import Value
from hpo_batch.results.table import TrialsTable
from hpo_batch.sweep.planned import Planned, resolve_planned
from hpo_batch.sweep.schema import Sweep


def already_run(sweep: Sweep, tables: Iterable[TrialsTable]) -> dict[str, str]:
    """Key of each configuration of these studies that fits into the space: which trial had it first."""
    ran: dict[str, str] = {}
    for table in tables:
        columns = {name: f"params_{name}" for name in table.parameters}
        names = [name for name in columns if name in sweep.space.by_name]
        for number_, *cells in zip(
            table.trials["number"].tolist(), *(table.trials[columns[name]].tolist() for name in names), strict=True
        ):
            values = {name: _plain(cell) for name, cell in zip(names, cells, strict=True) if _is_there(cell)}
            try:
                key = sweep.space.resolve(values).key
            except UserError:
                continue
            ran.setdefault(key, f"trial {number_} of {table.label or table.source}")
    return ran


def repeated(sweep: Sweep, tables: Iterable[TrialsTable]) -> list[str]:
    """Of the ``[[trial]]``s of a sweep: which are listed twice, and which ran before; a sentence each."""
    ran = already_run(sweep, tables)
    first: dict[str, str] = {}
    found = []
    for _, planned in resolve_planned(sweep):
        if not isinstance(planned, Planned) or planned.name is None:
            continue
        key = planned.configuration.key
        if key in first:
            found.append(f"{planned.name} has the configuration of {first[key]}")
        elif key in ran:
            found.append(f"{planned.name} ran before: {ran[key]}")
        first.setdefault(key, planned.name)
    return found


def _plain(cell: object) -> Value:
    value = cell.item() if isinstance(cell, np.generic) else cell
    assert isinstance(value, bool | int | float | str)
    return value


def _is_there(cell: object) -> bool:
    plain = cell.item() if isinstance(cell, np.generic) else cell
    return isinstance(plain, bool | int | str) or (isinstance(plain, float) and math.isfinite(plain))
