"""All trials as the page shows them one by one: a row each, whatever their state, and what they reported."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from hpo_batch.findings.metrics.numbers import PREFIX
from hpo_batch.findings.model.cells import numbers_in, value_in
from hpo_batch.findings.model.frame import LARGEST
from hpo_batch.text.numbers import NONE, duration, label, number

if TYPE_CHECKING:
    from hpo_batch.results.table import TrialsTable

MOST_ROWS: Final = 2_000
"""of a larger study the best ones and some of the others: a page must open at once"""
MOST_PARAMETERS: Final = 30
STATES: Final = {
    "COMPLETE": "complete",
    "PRUNED": "pruned",
    "FAIL": "failed",
    "RUNNING": "running",
    "WAITING": "waiting",
}


@dataclass(frozen=True, kw_only=True)
class Reported:
    """The trials of one study, of all states."""

    columns: tuple[str, ...]
    texts: frozenset[str]
    """columns that hold no numbers"""
    numbers: tuple[int, ...]
    rows: tuple[tuple[str, ...], ...]
    n_all: int
    """trials, of which ``rows`` are some"""
    states: Mapping[int, str]
    """by number, in plain words"""
    values: tuple[tuple[int, tuple[float, ...]], ...] = ()
    """number and metrics of the complete trials, of a study with several"""
    others: Mapping[str, Mapping[int, float]] = field(default_factory=dict)
    """what else was reported, by name and number of the trial"""


def reported(table: TrialsTable) -> Reported:
    """The trials of a table, at most ``MOST_ROWS`` as rows."""
    frame = table.trials
    chosen = _chosen(table)
    part = frame.iloc[chosen]
    spread = _spread(table)
    metrics = [c for c in table.value_columns if c in frame]
    params = [f"params_{name}" for name in table.parameters if _varies(frame[f"params_{name}"])][:MOST_PARAMETERS]
    seconds = next((name for name in ("seconds_total", "user_attrs_duration_sec") if name in frame), None)
    last = _last_reports(table) if len(metrics) == 1 else {}
    numbers = [int(n) for n in part["number"].tolist()]
    states = [str(state) for state in part["state"].tolist()]
    reasons = part["reason"].tolist() if "reason" in part else [None] * len(part)
    ends = zip(numbers, states, reasons, strict=True)
    columns = [[str(n) for n in numbers], [_state(n, state, reason, last) for n, state, reason in ends]]
    for name in metrics:
        values = numbers_in(part[name]).tolist()
        if last:  # of a trial that did not complete
            each = zip(numbers, states, values, strict=True)
            values = [last[n][1] if state != "COMPLETE" and n in last else v for n, state, v in each]
        columns.append([number(v, spread) for v in values])
    columns += [[_cell(cell) for cell in part[name].tolist()] for name in params]
    if seconds is not None:
        columns.append([duration(v) for v in numbers_in(part[seconds]).tolist()])
    names = ["trial", "state", *(table.metrics if len(metrics) == len(table.metrics) else metrics)]
    names += [name.removeprefix("params_") for name in params] + (["time"] if seconds is not None else [])
    texts = {"state"} | {n.removeprefix("params_") for n in params if not _is_numeric(part[n].tolist())}
    every = [int(n) for n in frame["number"].tolist()]
    return Reported(
        columns=tuple(names),
        texts=frozenset(texts),
        numbers=tuple(numbers),
        rows=tuple(zip(*columns, strict=True)),
        n_all=len(frame),
        states={n: STATES.get(str(s), str(s).lower()) for n, s in zip(every, frame["state"].tolist(), strict=True)},
        values=_several(table),
        others={
            str(name).removeprefix(PREFIX): _finite(every, frame[name])
            for name in frame.columns
            if str(name).startswith(PREFIX)
        },
    )


def _chosen(table: TrialsTable) -> list[int]:
    """Places of the rows to show, in the order of their numbers."""
    frame = table.trials
    if len(frame) <= MOST_ROWS:
        number_of = frame["number"].tolist()
        return sorted(range(len(frame)), key=lambda i: int(number_of[i]))
    place = {n: i for i, n in enumerate(frame["number"].tolist())}
    order = [place[n] for n in table.best_first()["number"].tolist()]
    best, rest = order[: MOST_ROWS // 2], order[MOST_ROWS // 2 :]
    some = rest[:: math.ceil(len(rest) / (MOST_ROWS // 2))]
    return sorted([*best, *some], key=lambda i: frame["number"].iloc[i])


def _spread(table: TrialsTable) -> float | None:
    if "value" not in table.trials:
        return None
    values = numbers_in(table.trials["value"])
    values = values[np.abs(values) < LARGEST]  # the squares of others are infinite
    return float(np.std(values)) / 3 if len(values) > 1 else None


def _last_reports(table: TrialsTable) -> dict[int, tuple[int, float]]:
    """Step and value of each trial's last report."""
    reports = table.reports
    if not len(reports):
        return {}
    last = reports.sort_values(["number", "step"], kind="stable").drop_duplicates("number", keep="last")
    return {
        int(n): (int(step), float(value))
        for n, step, value in zip(last["number"].tolist(), last["step"].tolist(), last["value"].tolist(), strict=True)
    }


def _state(n: int, state: str, reason: Any, last: Mapping[int, tuple[int, float]]) -> str:
    word = STATES.get(state, state.lower())
    if state == "PRUNED" and n in last:
        return f"{word} at step {last[n][0]}"
    return f"{word}: {reason}" if isinstance(reason, str) and reason and state == "FAIL" else word


def _varies(column: Any) -> bool:
    texts = column.astype(str) if column.dtype == object else column
    return int(texts.nunique(dropna=False)) > 1


def _cell(cell: Any) -> str:
    value = value_in(cell)
    return NONE if value is None else label(value)


def _is_numeric(cells: Sequence[Any]) -> bool:
    known = [value for cell in cells if (value := value_in(cell)) is not None]
    return all(isinstance(value, int | float) and not isinstance(value, bool) for value in known)


def _several(table: TrialsTable) -> tuple[tuple[int, tuple[float, ...]], ...]:
    if len(table.metrics) < 2:
        return ()
    frame = table.trials[table.trials["state"] == "COMPLETE"]
    columns = [numbers_in(frame[name]).tolist() for name in table.value_columns if name in frame]
    rows = zip(frame["number"].tolist(), zip(*columns, strict=True), strict=True)
    return tuple((int(n), values) for n, values in rows if all(map(math.isfinite, values)))


def _finite(numbers: Sequence[int], column: Any) -> dict[int, float]:
    return {n: v for n, v in zip(numbers, numbers_in(column).tolist(), strict=True) if math.isfinite(v)}
