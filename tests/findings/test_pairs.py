"""Studies beside each other: on what both tried, by luck, by size; and two that are the same."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from hpo_batch.findings.analyse import analyse
from hpo_batch.findings.budgets.numbers import Budgets, budgets
from hpo_batch.findings.documents import comparison_document, report_document
from hpo_batch.findings.model.frame import Data, prepare
from hpo_batch.findings.noise.numbers import Noise
from hpo_batch.findings.records import Findings
from hpo_batch.records import Answer, Estimate
from tests.findings.tables import table

pytestmark = pytest.mark.usefixtures("no_forest")

UNKNOWN = Noise(sd=None, source="unknown")


def study(values: dict[int, float], label: str, **columns: Any) -> Data:
    rows = [{"x": x, "value": value, **columns} for x, value in values.items()]
    return prepare(table(rows, params=["x"], label=label))


def beside(*studies: Data, sd: float | None = None) -> Budgets:
    noise = UNKNOWN if sd is None else Noise(
        sd=Estimate(value=sd, low=None, high=None, method="", n=1), source="replicates"
    )  # fmt: skip
    found = budgets(studies, [data.table.label for data in studies], [noise] * len(studies), [()] * len(studies))
    assert found is not None
    return found


def normal(seed: int, n: int, *, mean: float = 0.0) -> list[float]:
    return np.random.default_rng(seed).normal(mean, 1.0, n).tolist()


def test_shared_configurations_are_compared_first_and_may_say_the_opposite() -> None:
    """The best of a is above that of b, and on what both tried b is better."""
    truth = normal(0, 10)
    a = dict(enumerate(truth)) | {100 + i: v for i, v in enumerate(normal(1, 20))} | {200: 5.0}
    b = {i: t + 0.5 + 0.05 * e for i, (t, e) in enumerate(zip(truth, normal(2, 10), strict=True))}
    b |= {300 + i: v for i, v in enumerate(normal(3, 20, mean=0.5))}
    found = beside(study(a, "a"), study(b, "b"))
    (pair,) = found.pairs
    assert (pair.n, pair.better, pair.chosen_in) == (10, Answer.YES, "")
    assert pair.difference.value == pytest.approx(-0.5, abs=0.05)
    assert pair.difference.high is not None
    assert pair.difference.high < 0
    assert "b is better than a there" in pair.text
    assert found.order is Answer.CANNOT_TELL
    assert found.order_text.startswith("a 5.0 > b")
    assert "b is better than a there" in found.order_text


def test_compare_and_report_say_the_same_of_pairs() -> None:
    truth = normal(0, 12)
    tables = []
    for label, shift, seed in (("a", 0.0, 5), ("b", 0.4, 6)):
        values = [t + shift + 0.1 * e for t, e in zip(truth, normal(seed, 12), strict=True)]
        tables.append(table([{"x": i, "value": v} for i, v in enumerate(values)], params=["x"], label=label))
    findings = analyse(tables)
    for document in (comparison_document(findings, version="1"), report_document(findings, version="1")):
        text = _text(document)
        assert "on the 12 configurations that both have, a minus b is" in text
        assert "b is better than a there" in text
        assert findings.budgets is not None
        assert findings.budgets.order_text in text


def _text(document: Any) -> str:
    from hpo_batch.document.html import html

    return html(document).replace("\u00a0", " ").replace("&gt;", ">").replace("&lt;", "<").replace("&#39;", "'")


def test_the_luck_of_having_been_chosen_is_not_taken_for_a_difference() -> None:
    """b ran the ten best of a again: they did better in a because they were the best there."""
    called, cautious = [], []
    for seed in range(12):
        a = dict(enumerate(normal(seed, 60)))  # noise alone
        top = sorted(a, key=lambda x: -a[x])[:10]
        b = dict(zip([*top, *range(100, 150)], normal(seed + 1000, 60), strict=True))
        (pair,) = beside(study(a, "a"), study(b, "b")).pairs
        called.append(pair.better is Answer.YES)
        cautious.append(pair.chosen_in == "a")
    assert sum(called) <= 1
    assert sum(cautious) >= 10


def test_pairs_without_a_difference_are_seldom_told_apart() -> None:
    called = []
    for seed in range(25):
        truth = normal(seed, 8)
        a, b = (
            {i: t + e for i, (t, e) in enumerate(zip(truth, normal(k, 8), strict=True))}
            for k in (seed + 300, seed + 600)
        )
        (pair,) = beside(study(a, "a"), study(b, "b")).pairs
        called.append(pair.better is Answer.YES)
    assert sum(called) <= 4  # at 5 % more than four of 25 have probability 0.007


def test_replicates_stand_with_their_means_and_two_configurations_are_too_few() -> None:
    rows = [{"x": x, "seed": s, "value": x + 0.1 * s} for x in range(4) for s in range(5)]
    a = prepare(table(rows, params=["x"], label="a"))
    b = study({0: 0.4, 1: 1.3, 2: 2.6, 3: 3.5}, "b")
    (pair,) = beside(a, b).pairs
    assert pair.n == 4
    assert pair.difference.value == pytest.approx(np.mean([0.2 - 0.4, 1.2 - 1.3, 2.2 - 2.6, 3.2 - 3.5]))
    assert beside(a, study({0: 0.1, 1: 0.2, 9: 0.3}, "b")).pairs == ()


def test_a_study_beside_itself_is_the_same() -> None:
    values = dict(enumerate(normal(4, 12)))
    made = table([{"x": x, "value": v} for x, v in values.items()], params=["x"], label="twice")
    findings = analyse([made, made])
    assert [one.label for one in findings.studies] == ["twice", "twice (2)"]
    assert any("several sources are called 'twice'" in warning for warning in findings.warnings)
    told = _by_key(findings)["budgets.paired.twice.twice (2)"]
    assert told.answer is Answer.NO
    assert "equal values in all 12 configurations" in told.text
    assert "the same trials" in told.text
    assert _by_key(findings)["budgets.order"].answer is Answer.CANNOT_TELL


def _by_key(findings: Findings) -> dict[str, Any]:
    return {finding.key: finding for finding in findings.findings}


def test_equal_size_ranges_have_no_slope_and_different_ones_do() -> None:
    rows = [
        [{"x": i, "n_params": size, "value": value} for i, (value, size) in enumerate(zip(values, sizes, strict=True))]
        for values, sizes in (
            (normal(1, 20), [50_000 + 30_000 * i for i in range(20)]),
            (normal(2, 20, mean=9.0), [60_000 + 31_000 * i for i in range(20)]),
            (normal(3, 20, mean=18.0), [10**7 + i for i in range(20)]),
        )
    ]
    small, alike, large = (prepare(table(r, params=["x"], label=f"s{i}")) for i, r in enumerate(rows))
    same = beside(small, alike)
    assert same.slope is None
    assert "the sizes tried do not differ between the studies" in same.text
    other = beside(small, large)
    assert other.slope is not None
    assert other.slope.low is not None
    assert other.slope.low > 0
    assert "luck of a search" in other.slope.method


def test_a_difference_beyond_luck_is_put_in_an_order() -> None:
    good, bad = study(dict(enumerate(normal(1, 40, mean=20.0))), "good"), study(dict(enumerate(normal(2, 40))), "bad")
    found = beside(good, bad)
    assert found.order is Answer.YES
    assert "luck and noise" in found.order_text


def test_a_handful_of_trials_has_unknown_luck() -> None:
    found = beside(study({1: 0.5, 2: 0.9}, "a"), study({3: 0.1, 4: 0.2}, "b"), sd=0.001)
    assert found.order is Answer.CANNOT_TELL
    assert "too few configurations to know how much a search owes to luck" in found.order_text
