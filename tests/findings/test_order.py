"""A metric that moves with time is found; a search that improves is none. Small versions of benchmarks/order.py."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from benchmarks.order import data_of, drawn, judged, ordered, simulated
from hpo_batch.findings.analyse import analyse
from hpo_batch.findings.model.frame import prepare
from hpo_batch.findings.order.numbers import FEWEST, Order, order
from hpo_batch.records import Answer
from tests.findings import simulate
from tests.findings.tables import table

pytestmark = pytest.mark.usefixtures("no_forest")

STUDIES = 12


def found(rows: list[dict[str, Any]], *, params: list[str]) -> Order:
    result = order(prepare(table(rows, params=params)))
    assert result is not None
    return result


def random_study(n: int = 50, *, seed: int = 0, noise: float = 0.1) -> list[dict[str, Any]]:
    random = np.random.default_rng(seed)
    return [
        {"x": float(x), "kind": "abc"[int(k)], "value": float(x + 0.3 * (k == 1) + noise * random.normal())}
        for x, k in zip(random.random(n), random.integers(3, size=n), strict=True)
    ]


def moved(rows: list[dict[str, Any]], *, at: int, by: float) -> list[dict[str, Any]]:
    return [{**row, "value": row["value"] + by * (i >= at)} for i, row in enumerate(rows)]


@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_a_search_that_improves_does_not_drift(sampler: str) -> None:
    called = [judged(simulated(), sampler=sampler, kind="none", n=40, seed=seed).yes for seed in range(STUDIES)]
    # at 2 % two or more of 12 have probability 0.02, and these seeds are always the same
    assert sum(called) < 2


def test_a_large_step_is_found_where_it_is_and_its_interval_holds_it() -> None:
    seen = []
    for seed in range(STUDIES):
        rows = moved(random_study(seed=seed), at=30, by=0.4)
        seen.append(found(rows, params=["x", "kind"]))
    assert sum(one.answer is Answer.YES for one in seen) >= STUDIES - 1
    steps = [one for one in seen if one.kind == "step"]
    assert len(steps) >= STUDIES - 3
    assert np.median([abs((one.since or 0) - 30) for one in steps]) <= 1
    holds = [one.size.low <= 0.4 <= one.size.high for one in steps if one.size and one.size.low and one.size.high]
    assert sum(holds) >= 0.8 * len(steps)


def test_a_slow_drift_is_found() -> None:
    seen = []
    for seed in range(STUDIES):
        rows = [{**row, "value": row["value"] + 0.6 * i / 49} for i, row in enumerate(random_study(seed=seed))]
        seen.append(found(rows, params=["x", "kind"]).answer)
    assert seen.count(Answer.YES) >= STUDIES - 2


def test_a_drift_that_a_parameter_went_along_with_is_neither() -> None:
    rows = [
        {**row, "batch": 32 if i < 25 else 64, "value": row["value"] + 0.5 * (i >= 25)}
        for i, row in enumerate(random_study())
    ]
    result = found(rows, params=["x", "kind", "batch"])
    assert (result.answer, result.confounded) == (Answer.CANNOT_TELL, ("batch",))
    told = {f.key: f for f in analyse([table(rows, params=["x", "kind", "batch"])]).findings}["order"]
    assert told.answer is Answer.CANNOT_TELL
    assert "and batch changed there too. Which of them did it cannot be told" in told.text
    # without an effect or a drift, the parameter that changed is no finding
    quiet = [{**row, "batch": 32 if i < 25 else 64} for i, row in enumerate(random_study())]
    assert found(quiet, params=["x", "kind", "batch"]).answer is Answer.NO


def test_no_effect_is_claimed_of_what_changed_with_a_step() -> None:
    rows = [{**row, "batch": 32 if i < 30 else 64} for i, row in enumerate(moved(random_study(), at=30, by=0.5))]
    (study,) = analyse([table(rows, params=["x", "kind", "batch"])]).studies
    effects = {effect.parameter: effect for effect in study.effects}
    batch = effects["batch"]
    assert (batch.p, batch.direction, batch.edge, batch.variance_share) == (None, None, None, None)
    assert "it changed with the order of the trials" in batch.why
    assert [row.n for row in batch.rows] == [30, len(rows) - 30]
    assert effects["x"].direction is not None


def test_effects_are_those_without_the_step() -> None:
    still, stepped = (
        analyse([table(rows, params=["x", "kind"])]).studies[0].effects[0]
        for rows in (random_study(), moved(random_study(), at=30, by=0.5))
    )
    assert "is taken out" in stepped.method
    assert "is taken out" not in still.method
    assert still.direction is not None
    assert stepped.direction is not None
    assert stepped.direction.difference.value == pytest.approx(still.direction.difference.value, rel=0.25)


def test_what_is_said_of_a_step() -> None:
    findings = analyse([table(moved(random_study(), at=30, by=0.5), params=["x", "kind"])])
    told = {finding.key: finding for finding in findings.findings}["order"]
    assert told.answer is Answer.YES
    assert told.text.startswith("study: from trial 30 on val_auc is better by 0.")
    assert "[" in told.text
    assert told.do.startswith("find out what changed at trial 30 (node, data, code, library versions)")
    assert [finding.key for finding in findings.findings].index("order") < 6
    minimised = analyse([table(moved(random_study(), at=30, by=0.5), params=["x", "kind"], directions=("minimize",))])
    assert "from trial 30 on val_auc is worse by 0." in next(f.text for f in minimised.findings if f.key == "order")


@pytest.mark.parametrize("scale", [1e-9, 1.0, 1e9])
def test_the_scale_of_the_metric_does_not_matter(scale: float) -> None:
    rows = [{**row, "value": scale * row["value"]} for row in moved(random_study(), at=30, by=0.5)]
    result = found(rows, params=["x", "kind"])
    assert (result.answer, result.since) == (Answer.YES, 30)
    assert result.size is not None
    assert result.size.value == pytest.approx(0.5 * scale, rel=0.3)


def test_one_diverged_trial_is_no_drift() -> None:
    rows = random_study()
    rows[44]["value"] = -1e30
    assert found(rows, params=["x", "kind"]).answer is Answer.NO


def test_too_few_trials_and_values_say_so() -> None:
    few = found(random_study(FEWEST - 1), params=["x", "kind"])
    assert few.answer is Answer.CANNOT_TELL
    assert "too few" in few.why
    alike = found([{**row, "value": float(i in (3, 8))} for i, row in enumerate(random_study())], params=["x", "kind"])
    assert alike.answer is Answer.CANNOT_TELL
    assert "more than half of the trials have one value" in alike.why
    assert order(prepare(table([{"x": i, "value": 0.5} for i in range(30)], params=["x"]))) is None
    assert order(prepare(table([], params=["x"]))) is None


def test_replicates_a_condition_and_a_thousand_trials() -> None:
    random = np.random.default_rng(4)
    rows = []
    for i in range(1000):
        kind = "cnn" if random.random() < 0.5 else "rnn"
        params = {"kind": kind, "width": int(random.integers(1, 5)) if kind == "cnn" else None, "seed": i % 3}
        rows.append({**params, "value": 0.1 * (params["width"] or 0) + 0.2 * float(random.normal()) + 0.3 * (i >= 600)})
    result = found(rows, params=["kind", "width"])
    assert (result.answer, result.kind) == (Answer.YES, "step")
    assert result.since is not None
    assert abs(result.since - 600) < 30


def test_two_searches_of_one_problem_are_seldom_put_in_an_order() -> None:
    problem = simulated()
    studies = [data_of(problem, drawn(problem, sampler="tpe", kind="none", n=30, seed=seed)) for seed in range(7)]
    for is_known in (True, False):
        assert sum(ordered(problem, studies, noise_known=is_known)) <= 1  # of 21 pairs


def test_the_order_of_trials_is_that_of_their_numbers() -> None:
    rows = [{"number": i, **row} for i, row in enumerate(moved(random_study(), at=30, by=0.5))]
    shuffled = [rows[i] for i in np.random.default_rng(1).permutation(len(rows))]
    assert found(shuffled, params=["x", "kind"]).since == 30


def test_simulated_trials_keep_their_noise() -> None:
    """The benchmark's problem is that of the other simulations."""
    assert simulated().noise == simulate.NOISE
