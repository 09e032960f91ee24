"""The noise floor of a share: read off the values, or told, and never by accident."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from hpo_batch.findings.analyse import analyse
from hpo_batch.findings.model.frame import prepare
from hpo_batch.findings.noise.grid import cases_by_grid
from hpo_batch.findings.noise.numbers import Noise, noise_floor
from tests.findings.tables import table

pytestmark = pytest.mark.usefixtures("no_forest")


def noise(values: Any, *, metric: str = "score", **known: Any) -> Noise:
    rows = [{"x": i, "value": float(value)} for i, value in enumerate(values)]
    return noise_floor(prepare(table(rows, params=["x"], metrics=(metric,))), **known)


def shares(cases: int, n: int = 50, *, seed: int = 0, share: float = 0.35) -> np.ndarray[Any, Any]:
    return np.random.default_rng(seed).binomial(cases, share, size=n) / cases


@pytest.mark.parametrize("cases", [30, 80, 84, 150, 333, 1234])
def test_the_number_of_cases_is_read_off_the_values(cases: int) -> None:
    values = shares(cases)
    assert cases_by_grid(values) == cases
    assert cases_by_grid(values.astype(np.float32).astype(np.float64)) == cases
    if cases < 400:
        assert cases_by_grid(np.round(values, 4)) == cases


@pytest.mark.parametrize(("cases", "decimals"), [(5000, 4), (2500, 4), (1250, 4), (8000, 6), (400, 4), (20, 2)])
def test_cases_whose_shares_need_no_more_decimals_than_are_written(cases: int, decimals: int) -> None:
    values = shares(cases, 60)
    assert np.array_equal(values, np.round(values, decimals))
    assert cases_by_grid(values) == cases


def test_what_is_said_of_it() -> None:
    found = noise(shares(80))
    assert found.source == "grid"
    assert found.sd is not None
    assert found.sd.value == pytest.approx(0.0533, abs=0.001)
    assert "lie on a grid of 1/80: 80 cases. One case is 1.25 points" in found.text
    assert "5.4 points" in found.text
    percent = noise(100 * shares(80))
    assert percent.sd is not None
    assert percent.sd.value == pytest.approx(100 * found.sd.value)
    assert "5.4 points" in percent.text


def test_rounded_values_have_no_grid() -> None:
    """At 2, 3 and 4 decimals, at halves and quarters of a percent, and with many ties: none of 1,200 studies."""
    random = np.random.default_rng(1)
    fired = []
    for i in range(1200):
        n = int(random.integers(5, 120))
        center, spread = random.uniform(0.2, 0.95), random.choice([0.003, 0.01, 0.03, 0.1])
        values = np.clip(random.normal(center, spread, n), 0, 1)
        decimals = [2, 3, 4, 5, None][i % 5]
        values = values if decimals is None else np.round(values, decimals)
        if (cases := cases_by_grid(values)) is not None:
            fired.append((decimals, n, cases))
    assert fired == []


@pytest.mark.parametrize("cases", [10, 100, 1000, 10_000])
def test_a_power_of_ten_is_rounding(cases: int) -> None:
    assert cases_by_grid(shares(cases, 200)) is None


@pytest.mark.parametrize(
    "values",
    [[], [0.5], [0.0, 1.0] * 20, [0.5, 0.25] * 9, [0.1, 0.2, 0.3, 0.4], np.full(30, 0.375)],
    ids=["none", "one", "ends", "halves", "four", "equal"],
)
def test_too_few_values_betray_nothing(values: Any) -> None:
    assert cases_by_grid(np.array(values, dtype=np.float64)) is None


@pytest.mark.parametrize("metric", ["val_loss", "rmse", "val_auc", "mean_squared_error", "f1"])
def test_what_is_no_share_by_its_name_has_no_cases(metric: str) -> None:
    found = noise(shares(80), metric=metric)
    assert (found.sd, found.source) == (None, "unknown")
    assert noise(shares(80), metric=metric, n_eval=80).sd is None


@pytest.mark.parametrize("metric", ["value", "score", "objective", "val_acc", "0"])
def test_n_eval_is_taken_whatever_the_column_is_called(metric: str) -> None:
    values = np.random.default_rng(2).normal(0.7, 0.02, 30)
    found = noise(values, metric=metric, n_eval=80)
    assert found.source == "binomial"
    assert found.sd is not None
    assert found.sd.value == pytest.approx(math.sqrt(0.7 * 0.3 / 80), rel=0.02)


def test_n_eval_of_what_lies_outside_0_and_1_says_why_not() -> None:
    found = noise([200.0, 300.0, 250.0], metric="value", n_eval=80)
    assert found.sd is None
    assert "--n-eval tells that of a share of cases, and value is none" in found.text


def test_replicates_go_before_the_grid_and_one_trial_each_is_said() -> None:
    rows = [{"x": i // 2, "seed": i % 2, "value": float(v)} for i, v in enumerate(shares(80, 40))]
    assert noise_floor(prepare(table(rows, params=["x"]))).source == "replicates"
    once = noise(np.random.default_rng(3).normal(5, 1, 20))
    assert once.sd is None
    assert "each configuration ran once" in once.text


def test_the_report_says_it() -> None:
    rows = [{"x": i, "value": float(v)} for i, v in enumerate(shares(80))]
    told = {f.key: f for f in analyse([table(rows, params=["x"], metrics=("hits",))]).findings}
    assert "grid of 1/80" in told["noise.floor"].text
    assert told["noise.floor"].method == "grid"
