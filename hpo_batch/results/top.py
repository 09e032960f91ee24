"""The best distinct configurations, and trials by group, with the number of trials behind each row."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import pandas as pd

from hpo_batch.errors import UserError
from hpo_batch.results.cells import configuration_keys, is_empty
from hpo_batch.results.table import TrialsTable, candidates
from hpo_batch.text.names import listed

Ints: TypeAlias = np.ndarray[Any, np.dtype[np.int64]]
Floats: TypeAlias = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True, kw_only=True)
class Ranking:
    """Distinct configurations, best first, each by its best trial. All arrays have one element per configuration."""

    rows: Ints
    """its best trial, the one with the lowest number among equals"""
    ranks: Ints
    """from 1; equal values share the smallest"""
    counts: Ints
    """trials with this configuration"""
    ties: Ints
    """configurations with this value, itself included"""


def ranked(configurations: Ints, values: Floats, numbers: Ints, *, is_largest_best: bool) -> Ranking:
    """Rank the distinct configurations of some trials.

    Args:
        configurations: a code for the configuration of each trial, from 0. Shape (trials,), as all of them.
        values: infinite ones are sorted like others; none is NaN.
        numbers: of the trials.
    """
    costs = -values if is_largest_best else values
    order = np.lexsort((numbers, costs))
    rows = order[np.sort(np.unique(configurations[order], return_index=True)[1])]
    costs = costs[rows]
    below, up_to = np.searchsorted(costs, costs, side="left"), np.searchsorted(costs, costs, side="right")
    counts = np.bincount(configurations)[configurations[rows]]
    return Ranking(rows=rows, ranks=below + 1, counts=counts, ties=up_to - below)


def top_configurations(table: TrialsTable, frame: pd.DataFrame, k: int) -> tuple[pd.DataFrame, int]:
    """The ``k`` best configurations among complete trials, one row each, and how many more share the last one's value.

    Trials that break a constraint are excluded; infinite values are sorted like others.

    A row is the configuration's best trial, with ``rank`` (shared by equal values) and ``count``, its complete trials.
    """
    done = frame[candidates(frame)]
    done = done[done["value"].notna().to_numpy()]
    params = [c for c in frame.columns if str(c).startswith("params_")]
    # without parameters there is no saying which trials are the same
    keys = configuration_keys(done, params) if params else done["number"].tolist()
    codes: dict[Any, int] = {}
    ranking = ranked(
        np.array([codes.setdefault(key, len(codes)) for key in keys], dtype=np.int64),
        done["value"].to_numpy(dtype=float),
        done["number"].to_numpy(dtype=np.int64),
        is_largest_best=table.directions[0] == "maximize",
    )
    best = done.iloc[ranking.rows[:k]].copy()
    best.insert(0, "rank", ranking.ranks[:k])
    best.insert(list(best.columns).index("value") + 1, "count", ranking.counts[:k])
    last = len(best) - 1
    return best, int(ranking.ranks[last] - 1 + ranking.ties[last]) - len(best) if len(best) else 0


def column_named(frame: pd.DataFrame, name: str, option: str) -> str:
    """The column for a name, with or without its prefix; `option` is where it was written.

    Raises:
        UserError: there is no such column.
    """
    column = next((c for c in (name, f"params_{name}", f"user_attrs_{name}") if c in frame.columns), None)
    if column is None:
        known = sorted({str(c).removeprefix("params_").removeprefix("user_attrs_") for c in frame.columns})
        raise UserError(f"{option}: '{name}' is not a column, a parameter or a metric; there are {listed(known)}")
    return column


def grouped(table: TrialsTable, frame: pd.DataFrame, by: str) -> pd.DataFrame:
    """One row for each value of a column: trials by state, the best value, mean and standard deviation (ddof = 1).

    These are plain means. A sampler does not try all values equally often, so trust a comparison only if the report's
    adjusted means agree.

    Raises:
        UserError: there is no such column.
    """
    column = column_named(frame, by, "--group")
    if len(table.metrics) > 1:
        raise UserError("--group requires a single metric, and there are several")
    largest = table.directions[0] == "maximize"
    rows = []
    # dropna=False: trials in which a conditional parameter is not active are a group too
    for value, part in frame.groupby(column, sort=True, dropna=False):
        done = part[candidates(part)]
        numbers = done["value"].astype(float)
        numbers = numbers[numbers.map(math.isfinite).to_numpy(dtype=bool)] if len(numbers) else numbers
        states = part["state"].value_counts()
        cells = list(zip(numbers.tolist(), done.loc[numbers.index, "number"].tolist(), strict=True))
        best = min(cells, key=lambda cell: (-cell[0] if largest else cell[0], cell[1]), default=None)
        rows.append(
            {
                by: None if is_empty(value) else value,
                "trials": len(part),
                "complete": int(states.get("COMPLETE", 0)),
                "pruned": int(states.get("PRUNED", 0)),
                "failed": int(states.get("FAIL", 0)),
                "best": None if best is None else best[0],
                "best trial": None if best is None else best[1],
                **_moments(numbers.tolist()),
            }
        )
    groups = pd.DataFrame(rows)
    if not groups.empty:
        groups["best trial"] = groups["best trial"].astype("Int64")
    return groups


def _moments(values: Sequence[float]) -> dict[str, float | None]:
    """Mean and standard deviation, computed on scaled values: sums and squares of huge numbers overflow."""
    unit = max(map(abs, values), default=0.0) or 1.0
    scaled = [value / unit for value in values]
    std = unit * statistics.stdev(scaled) if len(values) > 1 else None
    return {
        "mean": unit * statistics.fmean(scaled) if values else None,
        "std": std if std is not None and math.isfinite(std) else None,
    }
