from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest

from hpo_batch.findings.baseline.numbers import Baseline, baseline
from hpo_batch.findings.best.numbers import summarise
from hpo_batch.findings.first_page import snippet
from hpo_batch.findings.model.frame import Data, prepare
from hpo_batch.sweep.load import loads
from tests.findings.tables import table

USUAL = {"depth": 2, "width": 8}


def grid(**more: Any) -> Data:
    """Depth adds 0.01 a step, width 0.002."""
    rows = [
        {"depth": depth, "width": width, "value": 0.7 + 0.01 * (depth - 2) + 0.001 * (width - 8)}
        for depth, width in itertools.product([2, 3, 4], [8, 10])
    ]
    return prepare(table(rows, params=["depth", "width"], **more))


def compared(data: Data, **options: Any) -> Baseline:
    found = baseline(data, **{"noise_sd": None, **options})
    assert found is not None
    return found


def test_pairs_differ_in_one_parameter() -> None:
    found = compared(grid(baseline=USUAL), noise_sd=0.001)
    pairs = {(pair.parameter, pair.value): pair.difference for pair in found.pairs}
    assert pairs.keys() == {("depth", 3), ("depth", 4), ("width", 10)}
    assert pairs["depth", 4].value == pytest.approx(0.02)
    assert (pairs["depth", 4].n, pairs["width", 10].n) == (2, 3)
    assert pairs["width", 10].value == pytest.approx(0.002)
    assert found.unexplained == pytest.approx(0.0, abs=1e-9)
    assert (found.n_above, found.n) == (5, 5)
    assert found.value is not None
    assert found.value.low == pytest.approx(0.7 - 1.96 * 0.001)


def test_what_pairs_cannot_explain_is_called_that() -> None:
    rows = [
        {"depth": 2, "width": 8, "value": 0.70},
        {"depth": 3, "width": 8, "value": 0.71},
        {"depth": 3, "width": 10, "lr": 0.2, "value": 0.76},
    ]
    for row in rows:
        row.setdefault("lr", 0.1)
    found = compared(prepare(table(rows, params=["depth", "width", "lr"], baseline={**USUAL, "lr": 0.1})))
    assert found.unexplained == pytest.approx(0.05)
    assert "depth = 3 explains +0.0100" in found.text
    assert "unexplained: +0.0500 (no two trials differ in nothing but width or lr)" in found.text
    assert found.pairs[0].difference.low is None


def test_a_value_that_is_not_among_the_trials() -> None:
    found = compared(grid(), value=0.705)
    assert (found.n_above, found.n, found.unexplained) == (4, 6, None)
    assert "configuration is not known" in found.why


def test_less_is_better() -> None:
    found = compared(grid(directions=("minimize",)), value=0.705)
    assert found.n_above == 2


def test_no_baseline_or_one_that_did_not_run() -> None:
    assert baseline(grid(), noise_sd=None) is None
    found = compared(grid(baseline={"depth": 9, "width": 8}))
    assert found.value is None
    assert "has not been run" in found.text
    assert compared(prepare(table([], params=["depth"], baseline=USUAL))).value is None
    assert compared(prepare(table([], params=["depth"], baseline=USUAL)), value=0.7).n == 0


def test_a_baseline_in_whole_numbers_is_that_in_a_file_of_reals() -> None:
    rows = [{"lr": 1.0, "on": True, "value": 0.7}, {"lr": 2.0, "on": True, "value": 0.8}]
    found = compared(prepare(table(rows, params=["lr", "on"], baseline={"lr": 1, "on": True})))
    assert found.n_above == 1
    assert compared(prepare(table(rows, params=["lr", "on"], baseline={"lr": 1, "on": 1}))).value is None


def test_a_derived_value_is_no_difference_of_its_own() -> None:
    text = (
        "[study]\nname = 's'\nmetric = 'm'\ndirection = 'maximize'\ntrials = 4\n[objective]\nfunction = "
        "'tests.cli.toys:noisy'\n[space]\nwidth = [8, 16]\ndepth = [2, 3]\n[space.derived]\ninner = 'width * 4'\n"
    )
    (sweep,) = loads(text, path=Path("s.toml"))
    rows = [{"width": w, "inner": 4 * w, "depth": d, "value": 0.1 * (w == 16) + d} for w in (8, 16) for d in (2, 3)]
    usual = {"width": 8, "depth": 2, "inner": 32}
    made = table(rows, params=["width", "depth", "inner"], baseline=usual, sweep=sweep, space=sweep.space)
    found = compared(prepare(made), noise_sd=0.001)
    assert {(pair.parameter, pair.value) for pair in found.pairs} == {("width", 16), ("depth", 3)}
    assert found.unexplained == pytest.approx(0.0, abs=1e-9)
    assert "inner" not in found.text
    assert summarise(prepare(made)).derived == ("inner",)
    shown = dict(snippet({"width": 16, "inner": 64}, title="best", derived=("inner",)).texts)
    assert shown["TOML"] == "[space]\nwidth = 16"
    assert shown["--set"] == "--set space.width=16"
    assert shown["Python"] == '{"width": 16, "inner": 64}'
