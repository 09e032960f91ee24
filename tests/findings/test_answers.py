"""Findings as a reader meets them: true, told once, and the first ones first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hpo_batch import findings as findings_package
from hpo_batch.findings.actions import ActionKind
from hpo_batch.findings.analyse import analyse
from hpo_batch.findings.effects.numbers import NO_TREND, settled
from hpo_batch.findings.model.stats import correlation
from hpo_batch.findings.records import Finding, Findings
from hpo_batch.findings.subject import Place
from hpo_batch.findings.subjects import SUBJECTS
from hpo_batch.records import Answer
from tests.findings.tables import table

Rows = Sequence[Mapping[str, Any]]


@pytest.fixture(autouse=True)
def _no_forest(monkeypatch: pytest.MonkeyPatch) -> None:
    """Words are looked at here, and forests take long."""
    monkeypatch.setattr("hpo_batch.findings.importance.subject.importance", lambda data, seed: None)


def told(rows: Rows, *, params: Sequence[str] = ("a", "b")) -> dict[str, Finding]:
    return {finding.key: finding for finding in found(rows, params=params).findings}


def found(rows: Rows, *, params: Sequence[str] = ("a", "b")) -> Findings:
    return analyse([table([{"number": i, **row} for i, row in enumerate(rows)], params=params)])


def drawn(n: int, *, seed: int = 0, **columns: Any) -> list[dict[str, Any]]:
    random = np.random.default_rng(seed)
    return [
        {"a": float(random.random()), "b": "xy"[i % 2], "value": float(random.normal(0.7, 0.01)), **columns}
        for i in range(n)
    ]


def test_a_metric_that_never_moves_has_no_best_and_says_so_first() -> None:
    rows = [{**row, "value": 0.5} for row in drawn(20)]
    findings = found(rows)
    first = findings.findings[0]
    assert (first.key, first.answer) == ("trials.constant", Answer.NO)
    assert "0.5 in all 20 trials" in first.text
    assert findings.studies[0].curse is None


def test_the_only_trial_was_not_chosen() -> None:
    text = told(drawn(1))["best.optimism"].text
    assert "the only trial has" in text
    assert "inflated" not in text


def test_a_study_that_is_not_deterministic_is_told_once_and_blames_no_trial() -> None:
    random = np.random.default_rng(2)
    rows = [{"a": i % 4, "b": "x", "value": float(random.normal(0.7, 0.01))} for i in range(24)]
    findings = found(rows)
    assert findings.studies[0].suspects == ()
    alarms = [f for f in findings.findings if f.key.startswith("noise.alarm")]
    assert [f.key for f in alarms] == ["noise.alarms"]
    assert "4 configurations ran more than once without seeds that differ" in alarms[0].text


def test_a_pair_of_twins_is_still_told_by_its_trials() -> None:
    rows = [*drawn(20), {"a": 0.5, "b": "x", "value": 0.7}, {"a": 0.5, "b": "x", "value": 0.71}]
    keys = told(rows)
    assert {"noise.alarm-20", "health.trial-20", "health.trial-21"} <= set(keys)
    assert keys["health.trial-20"].text.startswith(
        "study: trial 20 is suspect (conflicts with its twin). It has 0.7000"
    )


def test_trials_that_are_suspect_for_one_reason_share_a_finding() -> None:
    rows = drawn(60, epochs=20)
    for i in (3, 9, 27, 40):
        rows[i] |= {"epochs": 2}
    keys = told(rows)
    assert not any(key.startswith("health.trial-") for key in keys)
    text = keys["health.under-trained"].text
    assert "4 trials are suspect (under-trained): 3, 9, 27, 40. Of trial 3: has epochs 2" in text


def test_durations_below_a_second_tell_nothing_of_training() -> None:
    rows = [{**row, "seconds_total": 1e-4 if i < 3 else 2e-3 * (1 + i % 2)} for i, row in enumerate(drawn(60))]
    assert not any(key.startswith("health.") and key != "health.collapse" for key in told(rows))


def test_replicates_are_no_waste_and_say_when_chance_explains_everything() -> None:
    random = np.random.default_rng(5)
    rows = [{"a": i, "b": "x", "value": float(random.normal()), "seed": s} for i in range(12) for s in range(3)]
    keys = told(rows)
    assert keys["repeats"].answer is Answer.NO
    assert "24 of 36 trials ran one of 12 configurations again, with seeds of their own" in keys["repeats"].text
    share = keys.get("noise.share")
    spread = found(rows).studies[0]
    assert spread.summary.replicates == 24
    assert spread.noise.sd is not None
    assert spread.summary.std is not None
    assert (share is not None) == (spread.summary.std <= spread.noise.sd.value)


def test_repeats_without_seeds_are_waste() -> None:
    rows = [{"a": i % 6, "b": "x", "value": 0.1 * (i % 6)} for i in range(18)]
    assert told(rows)["repeats"].answer is Answer.YES


def test_single_trials_decide_nothing_about_a_parameter() -> None:
    rows = [{**row, "b": "y" if i == 7 else "x", "value": 0.1 if i == 7 else row["value"]} for i, row in
            enumerate(drawn(40))]  # fmt: skip
    effect = next(e for e in found(rows).studies[0].effects if e.parameter == "b")
    assert effect.p is None
    assert effect.why == "all but 1 configuration have one value of it"


def test_all_ends_of_ranges_are_one_finding_which_asks_only_where_an_effect_survives() -> None:
    random = np.random.default_rng(3)
    rows = [
        {"a": float(a), "c": 1 + i % 5, "value": float(a) + 0.05 * float(random.normal())}
        for i, a in enumerate(random.random(60))
    ]
    rows[11] |= {"a": 0.999, "c": 5, "value": 1.5}
    edges = told(rows, params=("a", "c"))["edges"]
    assert "a (high, > 99 %; the best trial has 0.999), c (high; the best trial has 5)" in edges.text
    assert "where only the best trial lies there, that is chance half the time" in edges.text
    assert edges.do.startswith("widen the range of a above 0.99")
    (action,) = edges.actions
    assert (action.kind, action.parameter, action.where) == (ActionKind.EXPAND, "a", "high")
    assert (action.study, action.evidence) == ("study", ("edges",))


def test_an_interaction_is_told_with_its_means_and_before_single_parameters() -> None:
    random = np.random.default_rng(6)
    rows = [
        {"a": "pq"[i % 2], "b": "xy"[i // 2 % 2], "value": 0.5 + 0.1 * (i % 2 == i // 2 % 2) + 0.01 * random.normal()}
        for i in range(60)
    ]
    findings = found(rows).findings
    keys = [finding.key for finding in findings]
    assert keys.index("interaction.a.b") < keys.index("effects.survive")
    text = findings[keys.index("interaction.a.b")].text
    assert "what a does depends on b: plain means, a q rather than p: \N{MINUS SIGN}0.09" in text
    assert findings[keys.index("effects.survive")].do == ""


def test_no_trend_is_claimed_whose_direction_is_uncertain() -> None:
    random = np.random.default_rng(4)
    rows = [{"a": float(a), "b": "x", "value": float(0.08 * a + 0.02 * random.normal())} for a in random.random(50)]
    effect = next(e for e in found(rows).studies[0].effects if e.parameter == "a")
    assert effect.trend == "increasing"
    assert effect.direction is not None
    doubtful = replace(effect.direction, probability=0.9)
    assert settled(replace(effect, direction=doubtful), p_holm=0.001).trend == NO_TREND


def test_only_pruned_trials_are_no_failures() -> None:
    findings = told([{**row, "state": "PRUNED"} for row in drawn(5)])
    assert findings["trials"].answer is Answer.NO
    assert "pruner begin later" in findings["trials"].do


def test_huge_numbers_correlate_without_overflow() -> None:
    a = np.array([1e300, 5e307, 1e-300, 4e307, 2e307, 3e307])
    r, _, rho, _ = correlation(a, np.arange(6.0))
    assert r is not None
    assert abs(r) <= 1
    assert rho is not None


def test_every_place_is_somebodys_and_findings_follow_their_order() -> None:
    words = "".join(path.read_text() for path in Path(findings_package.__file__).parent.glob("*/words.py"))
    own = [place for place in Place if place not in (Place.WARNING, Place.RESULT, Place.ADVICE, Place.DETAIL)]
    assert len(own) > 30
    assert [place.name for place in own if f"Place.{place.name}" not in words] == []
    rows = [{**row, "value": 0.1 if i == 3 else row["value"]} for i, row in enumerate(drawn(30))]
    findings = found(rows)
    ranked = [r for s in SUBJECTS if s.sentences is not None for r in s.sentences(findings.studies[0], findings)]
    ranked += [r for s in SUBJECTS if s.common_sentences is not None for r in s.common_sentences(findings)]
    assert len(ranked) > 5
    place_of = {r.finding.key: r.place for r in ranked}
    assert [place_of[f.key] for f in findings.findings] == sorted(place_of[f.key] for f in findings.findings)
