"""What trials report beside their metric, and tables with little to say."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from hpo_batch.findings.analyse import analyse
from hpo_batch.findings.metrics.numbers import OtherMetric, other_metrics, spearman
from hpo_batch.findings.model.frame import prepare
from hpo_batch.findings.records import Finding
from hpo_batch.records import Answer
from tests.findings.tables import table

pytestmark = pytest.mark.usefixtures("no_forest")


def others(rows: list[dict[str, Any]]) -> dict[str, OtherMetric]:
    return {other.name: other for other in other_metrics(prepare(table(rows, params=["x"])))}


def drawn(n: int = 40, **columns: Any) -> list[dict[str, Any]]:
    random = np.random.default_rng(0)
    values = random.normal(size=n)
    return [
        {"x": i, "value": float(v), "best_epoch": float(v + 0.5 * random.normal()), "idle": float(random.normal()),
         **{name: column(i) for name, column in columns.items()}}
        for i, v in enumerate(values)
    ]  # fmt: skip


def test_what_goes_with_the_metric_is_listed_first_with_its_interval() -> None:
    found = other_metrics(prepare(table(drawn(), params=["x"])))
    assert [other.name for other in found] == ["best_epoch", "idle"]
    best = found[0]
    assert best.rank_correlation is not None
    assert best.rank_correlation.low is not None
    assert best.rank_correlation.high is not None
    assert 0.5 < best.rank_correlation.low < best.rank_correlation.value < best.rank_correlation.high < 1
    assert (best.n, best.rank_correlation.n) == (40, 40)
    assert best.p_holm is not None
    assert best.p_holm < 0.001
    assert found[1].p_holm is not None
    assert found[1].p_holm > 0.05


def test_a_configuration_with_several_seeds_is_one() -> None:
    rows = [{**row, "x": i // 4, "seed": i % 4} for i, row in enumerate(drawn())]
    found = others(rows)["best_epoch"]
    assert found.rank_correlation is not None
    assert (found.n, found.rank_correlation.n) == (40, 10)


def test_what_cannot_be_correlated_says_why() -> None:
    found = others(drawn(same=lambda _: 3.0, rare=lambda i: 0.1 * i if i < 4 else None, words=lambda _: "gpu"))
    assert found["same"].rank_correlation is None
    assert found["same"].why == "same is the same in all of them"
    assert found["rare"].why == "only 4 configurations have both"
    assert "words" not in found
    assert "seed" not in others(drawn(seed=lambda i: i))


def test_the_interval_holds_the_truth() -> None:
    held = []
    for seed in range(400):
        a, e = np.random.default_rng(seed).normal(size=(2, 40))
        found = spearman(float(_rho(a, a + e)), 40)
        assert found.low is not None
        assert found.high is not None
        held.append(found.low <= 0.6899 <= found.high)  # 6 / pi * asin(r / 2) of r = 1 / sqrt(2)
    assert 0.92 <= np.mean(held) <= 0.98
    assert spearman(1.0, 9).low is None


def _rho(a: Any, b: Any) -> Any:
    from scipy import stats

    return stats.spearmanr(a, b).statistic


def told(rows: list[dict[str, Any]]) -> dict[str, Finding]:
    return {finding.key: finding for finding in analyse([table(rows, params=["x", "kind"])]).findings}


def test_all_values_equal_but_one() -> None:
    rows = [{"x": i, "kind": "ab"[i % 2], "value": 0.7 if i == 13 else 0.5} for i in range(30)]
    finding = told(rows)["trials.two_values"]
    assert finding.answer is Answer.NO
    assert "0.5 in 29 of 30 trials and differs in one alone, trial 13 (0.7)" in finding.text


def test_a_metric_with_two_values() -> None:
    rows = [{"x": i, "kind": "ab"[i % 2], "value": float(i % 3 == 0)} for i in range(30)]
    finding = told(rows)["trials.two_values"]
    assert finding.answer is Answer.CANNOT_TELL
    assert "only two values, 0 (20 trials) and 1 (10)" in finding.text
    assert "trials.two_values" not in told([{"x": i, "kind": "a", "value": i % 5} for i in range(30)])


def test_a_study_that_is_running_says_so_first() -> None:
    rows = [{"x": i, "kind": "a", "value": 0.1 * i} for i in range(20)]
    rows += [{"x": 50, "kind": "a", "value": None, "state": s} for s in ("RUNNING", "RUNNING", "WAITING")]
    findings = analyse([table(rows, params=["x", "kind"])]).findings
    assert findings[0].key == "trials.unfinished"
    assert "2 running, 1 waiting, 20 ended" in findings[0].text
    begun = told([{"x": 1, "kind": "a", "value": None, "state": "RUNNING"}])
    assert begun["trials.unfinished"].answer is Answer.NO


@pytest.mark.parametrize("n", [1, 2, 5])
def test_one_trial_a_configuration_and_no_noise_known(n: int) -> None:
    rows = [{"x": i, "kind": "a", "value": 5.0 + 1.2345 * i} for i in range(n)]
    finding = told(rows)["noise.floor"]
    assert finding.answer is Answer.NOT_MEASURED
    assert finding.estimate is None
    assert ("each configuration ran once" in finding.text) == (n > 1)


@pytest.mark.parametrize(("state", "advised"), [("RUNNING", False), ("FAIL", True)])
def test_only_failures_are_to_be_mended_where_nothing_is_complete(state: str, advised: bool) -> None:
    found = analyse([table([{"x": 0.5, "state": state}], params=("x",))])
    (finding,) = [one for one in found.findings if one.key == "trials"]
    assert bool(finding.actions) == advised
