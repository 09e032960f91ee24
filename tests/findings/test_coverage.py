from __future__ import annotations

import itertools

import numpy as np
import pytest

from hpo_batch.findings.coverage.numbers import MOST_EXACT, Coverage, coverage, random_distinct
from hpo_batch.findings.model.frame import prepare
from hpo_batch.records import Answer
from hpo_batch.space.build import build
from hpo_batch.space.space import Space
from tests.findings.tables import table


def space_of(**parameters: object) -> Space:
    space, problems = build(parameters)
    assert not problems
    return space


def named(found: tuple[Coverage, ...], label: str) -> Coverage:
    return next(c for c in found if c.label == label)


@pytest.mark.parametrize(("cells", "expected"), [(75, 36.7), (50, 31.8), (40, 28.7), (64, 34.9)])
def test_what_fifty_random_trials_find(cells: int, expected: float) -> None:
    assert round(random_distinct(cells, 50).value, 1) == expected


def test_the_interval_is_that_of_a_simulation() -> None:
    rng = np.random.default_rng(0)
    found = [len(set(rng.integers(0, 75, 50).tolist())) for _ in range(20_000)]
    low, high = np.quantile(found, [0.025, 0.975])
    estimate = random_distinct(75, 50)
    assert (estimate.low, estimate.high) == (low, high)


def test_exact_and_approximate_agree_where_they_meet() -> None:
    n = cells = int(MOST_EXACT**0.5)
    exact, rough = random_distinct(cells, n - 1), random_distinct(cells, n + 1)
    assert "exact distribution" in exact.method
    assert "normal" in rough.method
    assert exact.low == pytest.approx(rough.low, abs=3)
    assert exact.high == pytest.approx(rough.high, abs=3)
    assert random_distinct(1, 10).value == 1.0
    assert random_distinct(10**9, 10**6).low is not None


def test_only_valid_cells_count() -> None:
    space = space_of(d_model=[8, 12], n_heads=[2, 3, 8], constraints={"divides": "d_model % n_heads == 0"})
    rows = [{"d_model": 8, "n_heads": 2, "value": 0.1}, {"d_model": 12, "n_heads": 3, "value": 0.2}]
    found = coverage(prepare(table(rows, params=["d_model", "n_heads"], space=space)))
    whole, pair = named(found, "all"), named(found, "d_model x n_heads")
    assert (whole.found, whole.cells, whole.attainable) == (2, 4, 2)
    assert {tuple(gap.values()) for gap in whole.gaps} == {(8, 8), (12, 2)}
    assert dict(pair.counts) == {("8", "2"): 1, ("8", "8"): 0, ("12", "2"): 0, ("12", "3"): 1}


def test_architecture_is_what_the_names_say_or_the_sweep() -> None:
    names = ["model.d_model", "n_layers", "d_ff_ratio", "lr", "dropout"]
    rows = [dict(zip(names, cell, strict=True)) | {"value": 0.5} for cell in itertools.product([1, 2], repeat=5)]
    found = coverage(prepare(table(rows, params=names)))
    assert named(found, "architecture").parameters == ("model.d_model", "n_layers")
    assert named(found, "training").parameters == ("lr", "dropout")
    assert named(found, "all").parameters == tuple(names)
    assert named(found, "all").answer is Answer.YES
    assert "values seen" in named(found, "all").why


def test_a_continuous_parameter_has_no_cells() -> None:
    rng = np.random.default_rng(1)
    rows = [{"x": float(rng.random()), "n_layers": i % 3, "d_model": i % 2, "value": 0.1 * i} for i in range(30)]
    for space in (None, space_of(x={"low": 0.0, "high": 1.0}, n_layers=[0, 1, 2], d_model=[0, 1])):
        found = coverage(prepare(table(rows, params=["x", "n_layers", "d_model"], space=space)))
        assert named(found, "all").random is None
        assert "continuous" in named(found, "all").why
        assert named(found, "architecture").cells == 6
        assert all("x" not in c.parameters for c in found if c.counts)


def test_inactive_parameters_are_no_cells() -> None:
    space = space_of(kind=["a", "b"], depth={"low": 1, "high": 3, "when": "kind == 'a'"})
    rows = [{"kind": "a", "depth": 1, "value": 0.1}, {"kind": "b", "depth": None, "value": 0.2}]
    found = coverage(prepare(table(rows, params=["kind", "depth"], space=space)))
    assert (named(found, "all").found, named(found, "all").cells) == (1, 3)


def test_trials_outside_the_space_are_told() -> None:
    rows = [{"a": 1, "b": 1, "value": 0.1}, {"a": 9, "b": 1, "value": 0.2}]
    (whole, *_) = coverage(prepare(table(rows, params=["a", "b"], space=space_of(a=[1, 2], b=[1, 2]))))
    assert (whole.found, whole.cells) == (1, 4)
    assert "1 tried lie outside" in whole.why


@pytest.mark.parametrize("rows", [[], [{"a": 1, "value": 0.5}], [{"a": 1, "value": None, "state": "FAIL"}]])
def test_little_or_nothing(rows: list[dict[str, object]]) -> None:
    assert coverage(prepare(table(rows, params=["a"]))) == ()


def test_ten_thousand_choices() -> None:
    rows = [{"a": f"name {i}", "b": i % 7, "value": float(i)} for i in range(10_000)]
    found = coverage(prepare(table(rows, params=["a", "b"])))
    assert named(found, "all").cells == 70_000
    assert not any(c.counts for c in found)
