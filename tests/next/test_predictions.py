"""Predictions judged by trials whose outcome is known, what cannot be judged yet, and scores over studies."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import binomtest
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss

from hpo_batch.findings.ledger.numbers import Ledger, Scored, score
from hpo_batch.findings.ledger.prediction import Prediction, as_rows, predictions_in
from hpo_batch.findings.ledger.summary import FEWEST_FOR_TENTHS, summary
from hpo_batch.findings.ledger.words import said_text, study_text
from hpo_batch.findings.model.frame import prepare
from hpo_batch.findings.model.surrogate import surrogate
from hpo_batch.next.predictions import Contrast, of_confirm, of_contrasts, with_digest
from hpo_batch.next.refine import NextSweep, refine
from hpo_batch.records import Counts, Estimate
from hpo_batch.results.table import TrialsTable
from hpo_batch.store.predictions import digest_of, find_beside
from hpo_batch.sweep.load import loads
from tests.findings.tables import table
from tests.next import drawn


def trials(values: list[float | None], *, lr: list[float] | None = None, **more: Any) -> TrialsTable:
    rows = [
        {"value": value, "lr": lr[i] if lr else 0.1, "name": f"t{i}", "state": "FAIL" if value is None else "COMPLETE"}
        for i, value in enumerate(values)
    ]
    failed = sum(value is None for value in values)
    counts = Counts(target=len(rows), complete=len(rows) - failed, failed=failed)
    return table(rows, params=["lr"], counts=counts, **more)


def between(low: float, high: float, value: float = 0.5) -> Estimate:
    return Estimate(value=value, low=low, high=high, method="by hand", n=1, level=0.8)


def best(**more: Any) -> Prediction:
    return Prediction(key="gain", statement="s", outcome="best", **{"trials": 3, **more})


def test_the_best_is_judged_among_the_trials_it_was_told_of() -> None:
    told = best(than=0.7, probability=0.8, base_rate=0.5)
    won = score(told, trials([0.1, 0.9, 0.2, 1.5]))
    assert (won.value, won.came) == (0.9, True)  # the fourth trial came later
    assert won.brier == pytest.approx(0.04)
    assert won.brier_base == pytest.approx(0.25)
    lost = score(told, trials([0.1, 0.3, 0.2]))
    assert (lost.came, lost.brier) == (False, pytest.approx(0.64))
    smaller = score(told, trials([0.1, 0.9, 0.2], directions=("minimize",)))
    assert (smaller.value, smaller.came) == (0.1, True)
    held = score(best(interval=between(0.8, 1.0)), trials([0.1, 0.9, 0.2]))
    assert (held.inside, held.came, held.brier) == (True, None, None)
    assert score(best(interval=between(0.95, 1.0)), trials([0.1, 0.9, 0.2])).inside is False


def test_what_cannot_be_judged_yet_says_why() -> None:
    told = best(than=0.7, probability=0.8)
    assert score(told, trials([0.1, 0.9])).why == "the study has 2 of 3 trials"
    assert score(told, trials([None, None, None, None])).why == "the study has 0 of 3 trials, 4 failed"
    assert score(told, trials([])).why == "the study has 0 of 3 trials"
    several = table([{"values_a": 1.0, "values_b": 2.0}], params=[], metrics=("a", "b"), directions=("maximize",) * 2)
    assert "several metrics" in score(told, several).why
    mean = Prediction(key="m", statement="s", outcome="mean", names=("t0", "t7"), interval=between(0, 1))
    assert score(mean, trials([0.1, 0.9])).why == "not complete: t7"
    pruned = table([{"value": 0.4, "state": "PRUNED"}] * 3, params=[])
    assert score(told, pruned).why == "none of its 3 trials is complete"


@pytest.mark.parametrize("directions", [("maximize",), ("minimize",)])
def test_scores_are_those_that_other_libraries_compute(directions: tuple[str]) -> None:
    n, numbers = 80, np.random.default_rng(4)
    sign = 1 if directions == ("maximize",) else -1
    chances, bases = numbers.random((2, n))
    values, before = numbers.normal(size=(n, 3)), sign * numbers.normal(0.8, 1, size=n)
    lows = numbers.normal(size=n)
    ledgers = []
    for i in range(n):
        told = best(than=before[i], probability=chances[i], base_rate=bases[i], interval=between(lows[i], lows[i] + 2))
        ended = trials(values[i].tolist(), directions=directions)
        ledgers.append(ledger(score(told, ended), digest=str(i)))
    made = summary(ledgers)

    top = sign * (sign * values).max(axis=1)
    came = sign * top > sign * before
    assert n / 4 < came.sum() < 3 * n / 4
    assert (made.n, made.intervals, made.open, made.repeated) == (n, n, 0, 0)
    assert made.brier == pytest.approx(brier_score_loss(came, chances))
    assert made.brier_base == pytest.approx(brier_score_loss(came, bases))
    shares, means = calibration_curve(came, chances, n_bins=10)
    assert [tenth.came for tenth in made.tenths] == pytest.approx(shares)
    assert [tenth.said for tenth in made.tenths] == pytest.approx(means)
    held = binomtest(int(((lows <= top) & (top <= lows + 2)).sum()), n)
    exact = held.proportion_ci(0.95, method="exact")
    assert made.coverage is not None
    assert made.coverage.value == pytest.approx(held.statistic)
    assert (made.coverage.low, made.coverage.high) == (pytest.approx(exact.low), pytest.approx(exact.high))


def test_a_wider_range_pays_if_the_best_trial_lies_in_what_was_added() -> None:
    told = Prediction(
        key="expand.lr",
        statement="s",
        outcome="beyond",
        trials=3,
        parameter="lr",
        side="high",
        end=0.5,
        probability=0.9,
    )
    assert score(told, trials([0.1, 0.9, 0.2], lr=[0.1, 0.6, 0.7])).came is True
    assert score(told, trials([0.1, 0.9, 0.2], lr=[0.6, 0.5, 0.7])).came is False  # the end itself is no gain
    assert score(told, trials([0.1, 0.9, 0.2], lr=[0.6, float("nan"), 0.7])).came is False  # not active in the best


def test_differences_and_firsts_are_better_above_zero_whatever_the_direction() -> None:
    told = Prediction(
        key="e", statement="s", outcome="difference", names=("t0", "t1"), others=("t2",), probability=0.5,
        interval=between(0.2, 0.4),
    )  # fmt: skip
    up = score(told, trials([0.6, 0.8, 0.4]))
    assert (up.value, up.came, up.inside) == (pytest.approx(0.3), True, True)
    down = score(told, trials([0.6, 0.8, 0.4], directions=("minimize",)))
    assert (down.value, down.came, down.inside) == (pytest.approx(-0.3), False, False)
    first = Prediction(key="f", statement="s", outcome="first", names=("t0", "t1", "t2"), probability=0.5)
    assert score(first, trials([0.6, 0.8, 0.4])).came is False
    assert score(first, trials([0.3, 0.8, 0.4], directions=("minimize",))).came is True


def test_predictions_survive_their_file_and_a_wrong_file_is_no_prediction() -> None:
    made = (best(than=0.7, probability=0.8, interval=between(0.0, 1.0)), best(interval=Estimate(
        value=1.0, low=None, high=None, method="m", n=3)))  # fmt: skip
    assert predictions_in(json.dumps({"ledger": as_rows(made), "other": 1}).encode()) == made
    assert predictions_in(b'{"n": 3}') == ()
    for wrong in (b"[]", b'{"ledger": [{"key": "x"}]}', b'{"ledger": 3}', b"nothing"):
        with pytest.raises(ValueError, match=r".+"):
            predictions_in(wrong)
    with pytest.raises(ValueError, match="no probability"):
        best(probability=1.2)


def judged(probability: float, came: bool, *, key: str, base: float = 0.5) -> Scored:
    told = Prediction(key=key, statement="s", outcome="best", probability=probability, base_rate=base)
    return Scored(prediction=told, came=came, brier=(probability - came) ** 2, brier_base=(base - came) ** 2, value=1.0)


def ledger(*scored: Scored, digest: str = "a") -> Ledger:
    return Ledger(by="refine", previous=("x",), digest=digest, predictions=scored)


def test_scores_of_several_studies_and_tenths_from_twenty_on() -> None:
    rng = random.Random(0)
    told = [(p := rng.random(), rng.random() < p) for _ in range(400)]
    made = summary([ledger(*(judged(p, came, key=str(i)) for i, (p, came) in enumerate(told)))])
    assert made.n == 400
    assert made.brier is not None
    assert made.brier_base is not None
    assert made.brier < made.brier_base  # probabilities that are right beat their base rate
    assert sum(tenth.n for tenth in made.tenths) == 400
    assert all(abs(tenth.said - tenth.came) < 0.25 for tenth in made.tenths)
    few = summary([ledger(*(judged(0.5, True, key=str(i)) for i in range(FEWEST_FOR_TENTHS - 1)))])
    assert few.tenths == ()
    assert summary([]).brier is None


def test_two_studies_of_one_sweep_count_once() -> None:
    first, again = ledger(judged(0.9, True, key="gain")), ledger(judged(0.9, False, key="gain"))
    made = summary([first, again, ledger(judged(0.9, True, key="gain"), digest="b")])
    assert (made.n, made.repeated) == (2, 1)
    waits = ledger(Scored(prediction=best(probability=0.9), why="the study has 1 of 3 trials"))
    late = summary([waits, first])
    assert (late.n, late.open, late.repeated) == (1, 1, 0)


def refined() -> NextSweep:
    text = drawn.sweep_text(3)
    (sweep,) = loads(text, path=Path("sweep.toml"))
    return refine([drawn.table_of(sweep, n=60, seed=2)], root=Path("logs"), text=text, path=Path("next.toml"))


def test_refine_predicts_the_next_best_and_names_the_file_with_its_digest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    made = refined()
    by_key = {one.key: one for one in made.predictions}
    assert {"gain", "best"} <= set(by_key)
    assert {f"expand.{d.parameter}" for d in made.decisions if d.action == "expand"} >= {
        key for key in by_key if key.startswith("expand.")
    }
    gain, interval = by_key["gain"], by_key["best"].interval
    assert gain.base_rate == pytest.approx((gain.trials or 0) / ((gain.trials or 0) + len(made.evidence.study.history)))
    assert interval is not None
    assert interval.low is not None
    assert interval.high is not None
    assert interval.low <= interval.value <= interval.high
    assert made.sweep.previous is not None
    assert made.sweep.previous.decisions == "next.decisions.json"
    written = made.files[Path("next.decisions.json")].encode()
    assert made.sweep.previous.digest == digest_of(written)
    assert predictions_in(written) == made.predictions
    assert "## Predictions" in made.rationale


def test_a_file_beside_the_sweep_that_was_edited_moved_or_is_odd_is_not_taken(tmp_path: Path) -> None:
    text, files = with_digest('[study]\nname = "a"\n', tmp_path / "a.toml", '{"ledger": []}\n')
    (decisions,) = [path for path in files if path.suffix == ".json"]
    digest = digest_of(b'{"ledger": []}\n')
    assert f'digest = "{digest}"' in text
    content, why = find_beside(tmp_path, name=decisions.name, digest=digest)
    assert content is None
    assert "is not there" in why
    decisions.write_text(files[decisions])
    assert find_beside(tmp_path, name=decisions.name, digest=digest) == (b'{"ledger": []}\n', "")
    decisions.write_text("{}")
    assert "was changed" in find_beside(tmp_path, name=decisions.name, digest=digest)[1]
    decisions.unlink()
    decisions.symlink_to("/dev/zero")
    assert "cannot be read" in find_beside(tmp_path, name=decisions.name, digest=digest)[1]
    assert find_beside(tmp_path, name=None, digest=None) == (None, "")


def test_contrasts_are_predicted_as_they_will_be_observed() -> None:
    contrast = Contrast(names=("a", "b"), others=("c", "d"), gain=0.1, error=0.0)
    (sure,) = of_contrasts({"x": contrast}, sd=1e-9, seeds=1, n=20)
    (noisy,) = of_contrasts({"x": contrast}, sd=10.0, seeds=1, n=20)
    assert sure.probability == pytest.approx(1.0)
    assert noisy.probability == pytest.approx(0.5, abs=0.02)
    assert noisy.interval is not None
    assert noisy.interval.low is not None
    assert noisy.interval.high is not None
    assert noisy.interval.low < 0 < noisy.interval.high
    assert of_contrasts({"x": contrast}, sd=None, seeds=1, n=20) == []


@pytest.mark.parametrize("direction", ["maximize", "minimize"])
def test_confirm_predicts_the_finalists_and_their_lead_over_the_baseline(direction: str) -> None:
    rng, sign = random.Random(2), 1 if direction == "maximize" else -1
    rows = []
    for _ in range(40):
        x = rng.random()
        rows.append({"x": x, "z": rng.random(), "value": sign * (3 * x + rng.gauss(0, 0.05))})
    data = prepare(table(rows, params=("x", "z"), directions=(direction,)))
    order = sorted(range(40), key=lambda row: -sign * rows[row]["value"])
    finalists = {f"finalist_{i + 1}": order[i] for i in range(3)}
    made = {
        one.key: one
        for one in of_confirm(data, surrogate(data, data.distinct), finalists, baseline=order[-1], sd=0.05, seeds=3)
    }
    assert set(made) == {"finalists.mean", "finalists.first", "finalists.baseline"}
    interval = made["finalists.mean"].interval
    assert interval is not None
    assert interval.low is not None
    assert interval.high is not None
    truth = sum(3 * rows[row]["x"] for row in order[:3]) / 3 * sign
    assert interval.value == pytest.approx(truth, abs=0.15)
    assert interval.low < interval.value < interval.high
    lead = made["finalists.baseline"]
    assert lead.probability is not None
    assert lead.probability > 0.99
    assert lead.interval is not None
    assert lead.interval.value == pytest.approx(2.7, abs=0.5)
    assert of_confirm(data, None, finalists, baseline=None, sd=0.05, seeds=3) == ()


def test_nothing_is_certain_before_it_came_and_long_lists_of_reasons_stay_in_the_table() -> None:
    shares = {1.0: ">99%", 0.9999: ">99%", 0.994: "99%", 0.5: "50%", 0.004: "<1%", 0.0: "<1%"}
    for probability, text in shares.items():
        assert said_text(best(probability=probability)) == text
    waiting = [Scored(prediction=replace(best(), key=key), why=f"not complete: {key}") for key in "abc"]
    assert study_text(ledger(*waiting)).endswith("cannot be scored yet: all 3 wait for trials")
    assert study_text(ledger(*waiting[:2])).endswith("cannot be scored yet: not complete: a; not complete: b")
