"""What became of the trials with each value: complete, pruned, failed. All count, not only the survivors.

A value of which more trials were pruned or failed than of the others is tested by Fisher's exact test, after Holm over
all values of the study. Pruning grows stricter in the course of a search, and a sampler changes its mind in it: so the
test compares trials of the same third of the order with each other.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from scipy import stats

from hpo_batch.findings.effects.means import MOST_COMPARED, MOST_ROWS
from hpo_batch.findings.model.arrays import Bools, Ints
from hpo_batch.findings.model.frame import Data
from hpo_batch.findings.model.parameter import ParamInfo
from hpo_batch.findings.model.stats import holm
from hpo_batch.records import Value

FEWEST: Final = 4
"""trials of a value below which its end is not tested"""
INTERVALS: Final = 4
STRATA: Final = 3
"""parts of the order whose trials are compared among themselves"""
LEAST_STRATUM: Final = 10
"""trials of such a part"""


@dataclass(frozen=True, kw_only=True)
class TriedValue:
    """What became of the trials with one value (or one interval) of a parameter."""

    label: str
    value: Value | None
    """None for an interval"""
    n: int
    """trials that began with it"""
    complete: int
    pruned: int
    failed: int
    p_pruned: float | None = None
    """that as many more or fewer were pruned than of the other values' trials; failed ones are left out"""
    p_pruned_holm: float | None = None
    p_failed: float | None = None
    """the same of failed ones, among all that ended"""
    p_failed_holm: float | None = None


@dataclass(frozen=True, kw_only=True)
class Survival:
    """A parameter's values as they were tried, and what became of these trials."""

    parameter: str
    values: tuple[TriedValue, ...]
    """by size, or as listed; at most 50, the most tried ones"""
    only_one_completed: bool = False
    """several values were tried, and the complete trials have but one"""


@dataclass(frozen=True, kw_only=True, eq=False)
class _Outcomes:
    """What became of the trials that began, and which of them are compared."""

    complete: Bools
    pruned: Bools
    failed: Bools
    rows: Ints
    """the first trial of each configuration: replicates are no trials of their own"""
    stratum: Ints
    """part of the order, of each trial"""


def survival(data: Data, tried: Data) -> tuple[Survival, ...]:
    """Each parameter that was tried with several values.

    Args:
        data: the study.
        tried: all of its trials that began (``findings.tried``).
    """
    outcomes = _outcomes(data, tried)
    groups = [(param, _groups(param)) for param in tried.varied]
    tables = [
        Survival(
            parameter=param.name,
            values=tuple(_counted(label, value, group, outcomes) for label, value, group in some),
            only_one_completed=data.n > 0 and param.name in data.by_name and not data.by_name[param.name].varied,
        )
        for param, some in groups
    ]
    tests = [
        (table, place, outcome)
        for table in range(len(tables))
        # of two values each is the other of the other
        for place in range(1 if len(groups[table][1]) == 2 else len(groups[table][1]))
        for outcome in ("pruned", "failed")
    ]
    chances = [_chance(groups[i][1][place][2], outcome, outcomes) for i, place, outcome in tests]
    found = {test: (p, p_holm) for test, p, p_holm in zip(tests, chances, holm(chances), strict=True) if p is not None}
    return tuple(_with_tests(table, i, found) for i, table in enumerate(tables))


def _with_tests(
    table: Survival, i: int, found: Mapping[tuple[int, int, str], tuple[float | None, float | None]]
) -> Survival:
    values = []
    for place, value in enumerate(table.values):
        at = 0 if len(table.values) == 2 else place
        pruned, failed = (found.get((i, at, outcome), (None, None)) for outcome in ("pruned", "failed"))
        values.append(
            replace(
                value,
                p_pruned=pruned[0],
                p_pruned_holm=pruned[1],
                p_failed=failed[0],
                p_failed_holm=failed[1],
            )
        )
    return replace(table, values=tuple(values))


def _outcomes(data: Data, tried: Data) -> _Outcomes:
    trials = data.table.trials
    state_of = {int(n): str(s) for n, s in zip(trials["number"].tolist(), trials["state"].tolist(), strict=True)}
    states = np.array([state_of[number] for number in tried.numbers.tolist()], dtype=object)
    parts = max(1, min(STRATA, tried.n // LEAST_STRATUM))
    return _Outcomes(
        complete=states == "COMPLETE",
        pruned=states == "PRUNED",
        failed=states == "FAIL",
        rows=np.unique(tried.keys, return_index=True)[1],
        stratum=np.arange(tried.n) * parts // max(1, tried.n),
    )


def _groups(param: ParamInfo) -> list[tuple[str, Value | None, Bools]]:
    """Values, or intervals of a number with many, and the trials of each."""
    if param.numeric and len(param.levels) > MOST_ROWS:
        edges = np.unique(np.quantile(param.positions[param.active], np.linspace(0, 1, INTERVALS + 1)))
        inside = np.searchsorted(edges[1:-1], param.positions, side="right")
        ends = (10**edges if param.log else edges).tolist()
        return [
            (f"{low:.3g} to {high:.3g}", None, param.active & (inside == i))
            for i, (low, high) in enumerate(itertools.pairwise(ends))
        ]
    shown = range(len(param.levels))
    if len(param.levels) > MOST_COMPARED:
        counts = np.bincount(param.codes[param.active], minlength=len(param.levels))
        shown = sorted(np.argsort(-counts, kind="stable")[:MOST_COMPARED].tolist())  # type: ignore[assignment]
    return [(param.label(param.levels[i]), param.levels[i], param.codes == i) for i in shown]


def _counted(label: str, value: Value | None, group: Bools, outcomes: _Outcomes) -> TriedValue:
    return TriedValue(
        label=label,
        value=value,
        n=int(group.sum()),
        complete=int((group & outcomes.complete).sum()),
        pruned=int((group & outcomes.pruned).sum()),
        failed=int((group & outcomes.failed).sum()),
    )


def _chance(group: Bools, outcome: str, outcomes: _Outcomes) -> float | None:
    """Fisher's exact test of a value against all others, within parts of the order; None where nothing can be told.

    Two-sided: of all numbers of hits with these margins those are added that are no likelier than the observed one.
    """
    hit = outcomes.pruned if outcome == "pruned" else outcomes.failed
    among = hit | outcomes.complete | (outcomes.pruned if outcome == "failed" else False)
    rows = outcomes.rows[among[outcomes.rows]]
    here, hits = group[rows], hit[rows]
    if not hits.any() or hits.all() or min(int(here.sum()), int((~here).sum())) < FEWEST:
        return None
    likely, least = np.ones(1), 0
    for part in np.unique(outcomes.stratum[rows]).tolist():
        inside = outcomes.stratum[rows] == part
        n, k, drawn = int(inside.sum()), int(hits[inside].sum()), int(here[inside].sum())
        lowest, highest = max(0, drawn + k - n), min(k, drawn)
        each = stats.hypergeom.pmf(np.arange(lowest, highest + 1), n, k, drawn)
        likely, least = np.convolve(likely, each), least + lowest
    observed = int((here & hits).sum()) - least
    return min(1.0, float(likely[likely <= likely[observed] * (1 + 1e-7)].sum()))
