"""What the report says of further trials: the gain beside the noise and the hours, and when it advises to stop."""

from __future__ import annotations

import random
from typing import Any

import pytest

from hpo_batch.document.markdown import markdown
from hpo_batch.findings.actions import ActionKind
from hpo_batch.findings.analyse import analyse
from hpo_batch.findings.documents import report_document
from hpo_batch.findings.records import Findings
from hpo_batch.records import Answer, Counts
from tests.findings.tables import table

pytestmark = pytest.mark.usefixtures("small_forests")


def searched(n: int, *, noise: float, spread: float, counts: Counts | None = None, **more: Any) -> Findings:
    """Every configuration with two seeds, ``noise`` apart; configurations differ by ``spread``."""
    rng = random.Random(1)
    rows = []
    for i in range(n):
        x = rng.random()
        for seed in (0, 1):
            value = 5 + spread * x + rng.gauss(0, noise)
            rows.append({"x": x, "k": i % 3, "seed": seed, "value": value, "seconds_total": 36.0})
    known = {"counts": counts} if counts is not None else {}
    return analyse([table(rows, params=("x", "k"), **known, **more)])


def test_where_noise_is_larger_than_any_gain_it_says_stop_with_the_hours() -> None:
    found = searched(120, noise=0.5, spread=0.01)
    further = found.studies[0].further
    assert further is not None
    assert further.gain.trials == 120
    assert further.hours == pytest.approx(1.2)
    (finding,) = [one for one in found.findings if one.key == "further"]
    assert finding.estimate is not None
    assert finding.estimate.level == 0.8
    assert "noise of one trial" in finding.text
    stops = [action for action in found.actions if action.kind is ActionKind.STOP]
    assert further.worth is Answer.NO
    assert [action.count for action in stops] == [120]
    assert "by at most" in finding.text


def test_the_answer_follows_gain_and_noise() -> None:
    worth = {}
    for noise in (1e-5, 3.0):
        further = searched(40, noise=noise, spread=1.0 if noise < 1 else 0.0).studies[0].further
        assert further is not None
        assert further.noise is not None
        gain = further.gain
        if further.worth is not Answer.CANNOT_TELL:
            assert (gain.expected > further.noise) is (further.worth is Answer.YES)
            assert (gain.high < further.noise) is (further.worth is Answer.NO)
        worth[noise] = further.worth
    assert worth[1e-5] is Answer.YES
    assert worth[3.0] is not Answer.YES


def test_trials_that_are_left_are_those_it_speaks_of() -> None:
    further = searched(20, noise=0.1, spread=1.0, counts=Counts(target=100, complete=40)).studies[0].further
    assert further is not None
    assert (further.planned, further.gain.trials) == (True, 60)


def test_few_trials_and_several_metrics_get_no_advice() -> None:
    assert searched(5, noise=0.1, spread=1.0).studies[0].further is None
    rows = [{"x": i / 30, "values_a": float(i), "values_b": -float(i)} for i in range(30)]
    several = analyse([table(rows, params=["x"], metrics=("a", "b"), directions=("maximize", "maximize"))])
    assert several.studies[0].further is None
    assert "More trials" not in markdown(report_document(several, (), version="1"))
