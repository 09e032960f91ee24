"""What makes large studies quick gives the numbers that the plain way gives."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from hpo_batch.findings.baseline.numbers import baseline
from hpo_batch.findings.coverage.numbers import random_distinct
from hpo_batch.findings.curves.numbers import learning_curves
from hpo_batch.findings.model import ranks
from hpo_batch.findings.model.frame import prepare
from hpo_batch.findings.model.linear import independent
from hpo_batch.findings.model.ranks import rank_correlation
from hpo_batch.records import Value
from hpo_batch.results.table import TrialsTable
from tests.findings.simulate import table

Rows = list[tuple[dict[str, Any], float]]
Design = np.ndarray[Any, np.dtype[np.float64]]


def test_a_column_that_is_a_combination_is_left_out_also_where_the_quick_way_looks() -> None:
    random = np.random.default_rng(0)
    some = random.normal(size=(50, 4))
    some = np.column_stack([some, some[:, 0] - 3 * some[:, 2], random.normal(size=50), np.zeros(50)])
    assert independent(some).shape[1] == 5
    assert np.array_equal(independent(some), some[:, [0, 1, 2, 3, 5]])


def test_ranks_of_resamples_are_those_of_sorting_each() -> None:
    random = np.random.default_rng(0)
    x = random.integers(0, 8, 60).astype(float)  # ties
    y = x + random.normal(size=60)
    rng = np.random.default_rng(3)
    drawn = rng.integers(0, 60, size=(1000, 60))
    rhos = [stats.pearsonr(stats.rankdata(x[i]), stats.rankdata(y[i])).statistic for i in drawn]
    found = rank_correlation(x, y, seed=3)
    assert found is not None
    assert found.value == pytest.approx(stats.spearmanr(x, y).statistic)
    assert (found.low, found.high) == pytest.approx(np.quantile(rhos, [0.025, 0.975]))


def test_very_many_ranks_are_those_of_a_part_which_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(0)
    x = random.normal(size=3000)
    y = x + random.normal(size=3000)
    whole = rank_correlation(x, y, seed=1)
    monkeypatch.setattr(ranks, "MOST_RANKED", 1000)
    found = rank_correlation(x, y, seed=1)
    assert whole is not None
    assert found is not None
    assert (whole.n, found.n) == (3000, 1000)
    assert "1000 of 3000 drawn at random (seed 1)" in found.method
    assert found.low is not None
    assert found.high is not None
    assert found.low < whole.value < found.high
    assert rank_correlation(x, y, seed=1) == found
    assert rank_correlation(x, y, seed=2) != found


def test_curves_are_in_order_whatever_order_reports_come_in() -> None:
    reports = pd.DataFrame(
        {"number": [7, 2, 7, 7, 2, 9], "step": [2, 1, 1, 2, 0, 0], "value": [0.2, 0.9, 0.1, 0.3, 0.8, math.nan]}
    )
    curves = learning_curves(_with(reports))
    assert {number: tuple(curve) for number, curve in curves.items()} == {
        7: ((1, 0.1), (2, 0.3)),
        2: ((0, 0.8), (1, 0.9)),
    }
    assert list(curves) == [7, 2]
    assert (len(curves), len(curves[7]), curves[2][-1], 9 in curves) == (2, 2, (1, 0.9), False)
    assert dict(learning_curves(_with(reports[:0]))) == {}


def _with(reports: pd.DataFrame) -> TrialsTable:
    return table([({"a": 1}, 0.5)], reports=reports)


def test_distinct_cells_of_very_many_draws() -> None:
    # in a thousand draws over 12 cells all are found; the walk through the draws may end when that is sure
    found = random_distinct(12, 100_000)
    assert (found.low, found.high) == (12.0, 12.0)
    few = random_distinct(12, 20)
    random = np.random.default_rng(0)
    counts = [len(set(random.integers(0, 12, 20).tolist())) for _ in range(20_000)]
    assert (few.low, few.high) == tuple(np.quantile(counts, [0.025, 0.975]))


def test_pairs_are_those_of_looking_at_every_two_trials() -> None:
    random = np.random.default_rng(0)
    usual: dict[str, Value] = {"a": 1, "b": "x", "c": 0.5}
    choices: dict[str, list[Value]] = {"a": [1, 2, 3], "b": ["x", "y"], "c": [0.5, 0.7]}
    rows: Rows = []
    for _ in range(400):
        params = {name: some[int(random.integers(len(some)))] for name, some in choices.items()}
        if params["b"] == "y":
            del params["c"]  # not active
        rows.append((params, float(random.normal())))
    found = baseline(prepare(table(rows, baseline=usual)), noise_sd=None)
    assert found is not None
    told = {(pair.parameter, pair.value): pair.difference for pair in found.pairs}
    wanted: dict[tuple[str, Value], list[float]] = {}
    for name, value in usual.items():
        for changed in choices[name]:
            rests = {tuple(sorted((k, str(v)) for k, v in p.items() if k != name)) for p, _ in rows if name in p}
            for rest in rests:
                at: dict[Value, list[float]] = {changed: [], value: []}
                for params, y in rows:
                    same = tuple(sorted((k, str(v)) for k, v in params.items() if k != name)) == rest
                    if same and params.get(name) in at:
                        at[params[name]].append(y)
                if changed != value and at[changed] and at[value]:
                    wanted.setdefault((name, changed), []).append(float(np.mean(at[changed]) - np.mean(at[value])))
    assert {key: (e.value, e.n) for key, e in told.items()} == {
        key: (pytest.approx(np.mean(some)), len(some)) for key, some in wanted.items()
    }
