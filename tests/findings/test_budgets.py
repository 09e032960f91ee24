from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from hpo_batch.findings.budgets.numbers import Budgets, budgets
from hpo_batch.findings.budgets.sizes import parameter_counts
from hpo_batch.findings.curves.numbers import fidelity
from hpo_batch.findings.effects.numbers import Effect
from hpo_batch.findings.model.frame import Data, prepare
from hpo_batch.findings.model.ranks import rank_correlation
from hpo_batch.findings.noise.numbers import Noise
from hpo_batch.findings.pooled.numbers import pooled
from hpo_batch.records import Answer, Estimate
from tests.findings.tables import table


def study(values: Sequence[float], label: str = "s", budget: str | None = None, **columns: Sequence[Any]) -> Data:
    rows = [{"x": i, **{k: v[i] for k, v in columns.items()}, "value": value} for i, value in enumerate(values)]
    names = ["x", *(k for k in columns if k != "n_params")]
    return prepare(table(rows, params=names, label=label, budget=budget))


def noise(sd: float | None) -> Noise:
    estimate = None if sd is None else Estimate(value=sd, low=None, high=None, method="", n=1)
    return Noise(sd=estimate, source="replicates" if sd is not None else "unknown")


def beside(*studies: Data, sd: float | None = 0.01, effects: Sequence[Sequence[Effect]] = ()) -> Budgets:
    labels = [data.table.label for data in studies]
    found = budgets(studies, labels, [noise(sd)] * len(studies), effects or [()] * len(studies))
    assert found is not None
    return found


def search(best: float, label: str, spread: float = 0.01) -> Data:
    """Twelve trials, whose better half lies within ``spread`` of the best."""
    return study([best - spread * i / 6 for i in range(12)], label)


def test_the_order_needs_more_than_luck_and_noise() -> None:
    three = (search(0.6, "1M"), search(0.8, "10M"), search(0.7, "100M"))
    assert beside(*three, sd=0.01).order is Answer.YES
    assert beside(*three, sd=0.01).order_text.startswith("10M 0.800 > 100M 0.700 > 1M 0.600")
    wide = beside(*three, sd=0.3)
    assert wide.order is Answer.CANNOT_TELL
    assert "no two of them can be told apart" in wide.order_text
    some = beside(*three, sd=0.045)
    assert some.order is Answer.CANNOT_TELL
    assert "only 10M > 1M is more than luck and noise" in some.order_text
    for sd in (None, 0.0):
        # the luck of a search is seen without a noise floor; its value may be chance where nothing was searched
        assert beside(*three, sd=sd).order is Answer.YES
        lucky = beside(*(search(best, label, spread=0.3) for best, label in ((0.6, "1M"), (0.8, "10M"))), sd=sd)
        assert lucky.order is Answer.CANNOT_TELL
        unknown = beside(study([0.6], "1M"), study([0.8], "10M"), sd=sd)
        assert unknown.order is Answer.CANNOT_TELL
        assert "noise floor is unknown" in unknown.order_text
        assert unknown.rows[0].best.low is None


def test_the_order_of_what_is_minimised() -> None:
    tables = [
        table([{"x": 1, "value": v}], params=["x"], label=name, directions=("minimize",))
        for name, v in (("a", 2.0), ("b", 1.0))
    ]
    found = beside(*(prepare(t) for t in tables), sd=0.01)
    assert found.order_text.startswith("b 1.00 < a 2.00")


def test_slope_over_parameter_counts_or_labels() -> None:
    counted = beside(
        study([0.60], "small", n_params=[10**5]),
        study([0.65], "mid", n_params=[10**6]),
        study([0.70], "big", n_params=[10**7]),
    )
    assert counted.slope is not None
    assert counted.slope.value == pytest.approx(0.05)
    assert counted.slope.low == pytest.approx(0.05 - 1.96 * 0.01 / 2**0.5)
    assert "parameter counts" in counted.slope.method
    assert counted.rows[0].n_params_source == "recorded"
    labelled = beside(study([0.6], "run 1M"), study([0.7], "run 10M"), sd=None)
    assert labelled.slope is not None
    assert labelled.slope.value == pytest.approx(0.1)
    assert labelled.slope.low is None
    assert "not parameter counts" in labelled.slope.method
    assert beside(study([0.6], "red"), study([0.7], "blue")).slope is None


def test_budgets_are_named_by_their_budget_if_each_has_its_own() -> None:
    two = beside(study([0.6], "a-2m", budget="2M"), study([0.7], "a-20m", budget="20M"))
    assert [row.label for row in two.rows] == ["2M", "20M"]
    same = beside(study([0.6], "a", budget="2M"), study([0.7], "b", budget="2M"))
    assert [row.label for row in same.rows] == ["a", "b"]


def effect(parameter: str, p_holm: float | None) -> Effect:
    return Effect(
        parameter=parameter, kind="levels", varied=True, rows=(), naive_trend="", trend="", p=p_holm, p_holm=p_holm,
        effect_size=None, detectable=None, without_outliers=None,
    )  # fmt: skip


def test_consistency_skips_nothing() -> None:
    a = study([0.5, 0.6], "a", same=[1, 2], other=["u", "v"], only=[1, 2])
    b = study([0.5, 0.6], "b", same=[1, 2], other=["v", "u"], missing=[None, None])
    found = {name: (dict(best), answer) for name, best, answer in beside(a, b).consistency}
    assert found["same"] == ({"a": 2, "b": 2}, Answer.YES)
    assert found["other"] == ({"a": "v", "b": "u"}, Answer.CANNOT_TELL)
    assert found["only"] == ({"a": 2, "b": None}, Answer.NOT_MEASURED)
    sure = beside(a, b, effects=[[effect("other", 0.01)], [effect("other", 0.02)]])
    assert {name: answer for name, _, answer in sure.consistency}["other"] is Answer.NO
    half = beside(a, b, effects=[[effect("other", 0.01)], [effect("other", 0.2)]])
    assert {name: answer for name, _, answer in half.consistency}["other"] is Answer.CANNOT_TELL


def test_ranks_transfer_over_common_configurations() -> None:
    rng = np.random.default_rng(0)
    truth = rng.random(20)
    a, b = study(truth.tolist(), "a"), study((truth + 0.01 * rng.random(20)).tolist(), "b")
    ((_, _, rho, n),) = beside(a, b).transfer
    assert n == 20
    assert rho is not None
    assert rho.value > 0.9
    assert rho.low is not None
    assert rho.low > 0.8
    ((_, _, none, few),) = beside(study([0.1, 0.2, 0.3], "a"), study([0.1, 0.2, 0.3], "b")).transfer
    assert (none, few) == (None, 3)


def test_rank_correlation_of_what_does_not_vary() -> None:
    assert rank_correlation(np.ones(9), np.arange(9.0), seed=0) is None


def test_early_steps_and_the_last() -> None:
    rng = np.random.default_rng(1)
    last = rng.random(15)
    curves = {i: ((1, float(rng.random())), (5, float(v) * 0.9), (10, float(v))) for i, v in enumerate(last)}
    curves[99] = ((1, 0.5), (5, 0.1))  # pruned: it has no last value
    found = {step: (rho, n) for step, rho, n in fidelity(curves)}
    assert found.keys() == {1, 5}
    assert found[5][0] is not None
    assert found[5][0].value == pytest.approx(1.0)
    assert found[1][1] == 15
    assert fidelity({}) == ()
    assert fidelity({1: ((1, 0.5),)}) == ()


def test_parameter_counts_recorded_estimated_or_neither() -> None:
    assert parameter_counts(study([0.1, 0.2], n_params=[5, 7])) == ((5, 7), "recorded")
    counts, how = parameter_counts(study([0.1], d_model=[32], n_layers=[2], d_ff=[64]))
    assert counts == (2 * (4 * 32 * 32 + 2 * 32 * 64),) * 2
    assert how.startswith("estimated")
    assert parameter_counts(study([0.1, 0.2])) == (None, "not recorded")


def test_one_study_and_different_metrics_are_not_compared() -> None:
    one = study([0.5])
    assert budgets([one], ["a"], [noise(None)], [()]) is None
    other = prepare(table([{"x": 1, "value": 0.5}], params=["x"], metrics=("loss",), directions=("minimize",)))
    assert budgets([one, other], ["a", "b"], [noise(None)] * 2, [()] * 2) is None
    assert pooled([one, other], ["a", "b"], k=5) is None
    empty = prepare(table([], params=["x"]))
    assert budgets([one, empty], ["a", "b"], [noise(None)] * 2, [()] * 2) is None


def test_a_study_that_fills_the_top() -> None:
    rng = np.random.default_rng(2)
    good, bad = study((0.8 + 0.01 * rng.random(50)).tolist()), study((0.5 + 0.01 * rng.random(50)).tolist())
    found = pooled([good, bad], ["good", "bad"], k=20)
    assert found is not None
    assert found.top.confounded is Answer.YES
    assert found.top.studies == (("good", 20, 0.5), ("bad", 0, 0.5))
    assert "'good' fills 20 of the top 20" in found.top.text
    alike = pooled([good, study((0.8 + 0.01 * rng.random(50)).tolist())], ["a", "b"], k=20)
    assert alike is not None
    assert alike.top.confounded is Answer.NO


def test_words_of_labels_are_groups() -> None:
    rng = np.random.default_rng(3)
    studies = [study((base + 0.01 * rng.random(25)).tolist()) for base in (0.9, 0.9, 0.5, 0.5)]
    labels = ["a-2m-x", "a-20m-x", "b-2m-x", "b-20m-x"]
    found = pooled(studies, labels, k=20)
    assert found is not None
    assert {(what, name) for what, name, _, _ in found.top.groups} == {
        ("a / b", "a"), ("a / b", "b"), ("2m / 20m", "2m"), ("2m / 20m", "20m"),
    }  # fmt: skip
    assert "'a' fills 20 of the top 20 with 50%" in found.top.text


def test_ties_at_the_end_of_the_top_are_told() -> None:
    found = pooled([study([0.5, 0.5, 0.5], c=[1, 1, 2]), study([0.4], c=[1])], ["a", "b"], k=2)
    assert found is not None
    assert "1 more have the value of the last one" in found.top.text
    by_value = {row.label: row for row in next(e for e in found.effects if e.parameter == "c").rows}
    assert (by_value["1"].top_share, by_value["1"].share) == (1.0, 0.75)
    assert by_value["2"].underpowered
