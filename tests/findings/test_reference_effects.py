"""On the trials behind documents 001, 002 and 004: their numbers, and what of them survives an honest test.

An additional check where ../shared lies beside a checkout: ``test_reference.py`` runs in any clone.
"""

from __future__ import annotations

import csv
import json
from typing import Any

import pytest

from hpo_batch.findings.best.numbers import summarise
from hpo_batch.findings.effects.numbers import Effect, effects, settled
from hpo_batch.findings.model.frame import Data, prepare
from hpo_batch.findings.model.stats import holm
from hpo_batch.findings.noise.numbers import noise_floor
from hpo_batch.findings.relations.correlations import correlations
from tests.conftest import SHARED
from tests.findings.simulate import table

REFERENCE = SHARED / "reference"
pytestmark = pytest.mark.skipif(not REFERENCE.is_dir(), reason="the reference data (shared/reference) is not here")

BUDGETS = ("2m", "20m", "200m")
TRANSFORMER = ("d_model", "n_layers", "n_heads", "d_ff_ratio", "learning_rate", "dropout", "weight_decay")
GRID = ("learning_rate", "d_model", "n_heads", "d_ff", "dropout", "num_encoder_blocks")


def read(name: str, *, params: tuple[str, ...], value: str, number: str) -> Data:
    with open(REFERENCE / name, newline="") as file:
        lines = list(csv.DictReader(file))
    made = table([({p: json.loads(line[p]) for p in params}, float(line[value])) for line in lines])
    return prepare(_numbered(made, [int(line[number]) for line in lines]))


def _numbered(made: Any, numbers: list[int]) -> Any:
    made.trials["number"] = numbers
    return made


@pytest.fixture(scope="module")
def studies() -> dict[str, Data]:
    return {b: read(f"fints_hpo_a100_{b}_tpe.csv", params=TRANSFORMER, value="value", number="trial") for b in BUDGETS}


@pytest.fixture(scope="module")
def grid() -> Data:
    return read("gainakt4_phase1_26_experiments.csv", params=GRID, value="test_auc", number="exp_id")


@pytest.fixture(scope="module")
def expected() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((REFERENCE / "expected_values.json").read_text())
    return found


def test_three_of_the_21_claims_of_document_002_survive(studies: dict[str, Data]) -> None:
    claims = {(budget, effect.parameter): effect for budget, data in studies.items() for effect in effects(data)}
    assert len(claims) == 21
    adjusted = holm([effect.p for effect in claims.values()])
    surviving = {claim: p for claim, p in zip(claims, adjusted, strict=True) if p is not None and p < 0.05}
    assert set(surviving) == {
        ("20m", "d_model"),
        ("20m", "d_ff_ratio"),
        ("200m", "learning_rate"),
    }
    assert surviving["200m", "learning_rate"] < 0.01
    trends = {
        claim: settled(effect, p_holm=p).trend for (claim, effect), p in zip(claims.items(), adjusted, strict=True)
    }
    assert trends["200m", "learning_rate"] == "decreasing"
    # not confirmed among 21 claims, but as good as certain by itself
    guess = claims["2m", "learning_rate"].direction
    assert guess is not None
    assert (guess.better, guess.worse) == (1e-05, 0.0005)
    assert guess.probability > 0.99
    assert trends["2m", "n_layers"] == "no clear trend"  # document 002 has "decreasing"
    assert claims["2m", "n_layers"].naive_trend == "decreasing"


def test_the_documents_importance_and_the_correct_eta_squared(
    studies: dict[str, Data], expected: dict[str, Any]
) -> None:
    for label, shares in expected["seed002_importance"].items():
        for effect in effects(studies[label.lower()]):
            assert effect.eta_squared == pytest.approx(shares[effect.parameter]["eta_squared"], abs=6e-5)
            assert effect.seed_formula == pytest.approx(shares[effect.parameter]["seed_formula"], abs=6e-5)


def test_counts_repeats_and_moments_of_documents_001_and_002(studies: dict[str, Data]) -> None:
    found = {budget: summarise(data) for budget, data in studies.items()}
    assert [found[b].repeats for b in BUDGETS] == [9, 16, 18]
    assert [found[b].unique for b in BUDGETS] == [41, 34, 32]
    assert [len(found[b].repeated) for b in BUDGETS] == [1, 4, 6]
    assert [round(found[b].best.value, 4) for b in BUDGETS if found[b].best] == [0.7178, 0.7246, 0.7147]
    assert (round(found["2m"].mean or 0, 4), round(found["2m"].std or 0, 4)) == (0.7009, 0.0152)
    rows = {row.label: row for row in _effect(studies["2m"], "d_model").rows}
    assert [(label, row.n, f"{row.mean:.4f}", f"{row.std:.4f}") for label, row in rows.items()] == [
        ("32", 5, "0.6870", "0.0127"),
        ("48", 6, "0.7028", "0.0114"),
        ("64", 4, "0.7010", "0.0151"),
        ("80", 6, "0.6933", "0.0133"),
        ("96", 29, "0.7045", "0.0156"),
    ]
    assert rows["64"].underpowered


def test_correlations_of_document_001(studies: dict[str, Data]) -> None:
    width, depth = "d_model * d_ff_ratio", "n_layers"
    printed = {"2m": (0.3752, -0.2736, 0.5002), "20m": (-0.6127, -0.5282, -0.3446), "200m": (-0.5101, -0.2491, -0.3999)}
    for budget, data in studies.items():
        found = {c.a: c.pearson for c in correlations(data) if c.b == data.metric}
        values = (found[width], found[depth], found[f"{width} / {depth}"])
        assert values == pytest.approx(printed[budget], abs=6e-5)


def test_tables_of_document_004_with_and_without_the_smoke_run(grid: Data, expected: dict[str, Any]) -> None:
    summary = summarise(grid)
    assert (summary.n, round(summary.mean or 0, 4), round(summary.median or 0, 4)) == (26, 0.7177, 0.7184)
    assert round(summary.std or 0, 4) == 0.0032
    for effect in effects(grid, without=[631733]):
        for rows, section in ((effect.rows, "seed004"), (effect.rows_without, "seed004_without_smoke_run")):
            for label, printed in expected[section]["by_value"].get(effect.parameter, {}).items():
                row = next(row for row in rows if row.label == label)
                assert row.n == printed["n"]
                assert row.mean == pytest.approx(printed["mean"], abs=6e-5)
                assert "max" not in printed or row.max == pytest.approx(printed["max"], abs=6e-5)
                assert "min" not in printed or row.min == pytest.approx(printed["min"], abs=6e-5)


def test_document_004_learns_nothing_of_what_never_varied_or_varied_once(grid: Data) -> None:
    assert _effect(grid, "learning_rate").why == "not varied: no statement possible"
    assert _effect(grid, "d_model").why == "all but 1 configuration have one value of it"
    assert [row.label for row in _effect(grid, "d_model").rows if row.underpowered] == ["384"]


def test_the_smoke_run_and_its_twin_raise_the_alarm(grid: Data) -> None:
    noise = noise_floor(grid)
    assert noise.source == "unknown"
    assert noise.sd is None
    assert [alarm.numbers for alarm in noise.alarms] == [(145993, 631733)]


def test_the_error_of_an_auc_on_76_positives_of_422_is_larger_than_all_differences(studies: dict[str, Data]) -> None:
    data = studies["2m"]
    auc = prepare(table([(data.configuration(i), float(data.y[i])) for i in range(data.n)], metric="val_auc"))
    noise = noise_floor(auc, n_eval=422, n_pos=76)
    assert noise.source == "standard error of an AUC"
    assert noise.sd is not None
    assert noise.sd.value == pytest.approx(0.036, abs=0.001)


def _effect(data: Data, name: str) -> Effect:
    return next(effect for effect in effects(data) if effect.parameter == name)
