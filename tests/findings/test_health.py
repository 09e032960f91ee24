from __future__ import annotations

from typing import Any

import pytest

from hpo_batch.findings.health.numbers import collapse, suspects
from hpo_batch.findings.model.frame import Data, prepare
from hpo_batch.records import Answer
from tests.findings.tables import table


def data(rows: list[dict[str, Any]], **more: Any) -> Data:
    return prepare(table(rows, params=["x"], **more))


def usual(n: int = 20, **more: Any) -> list[dict[str, Any]]:
    return [{"x": i, "value": 0.7 + 0.001 * (i % 7), **more} for i in range(n)]


def test_without_predictions_collapse_is_not_measured() -> None:
    found = collapse(data(usual()))
    assert found.answer is Answer.NOT_MEASURED
    assert {answer for _, answer in found.trials} == {Answer.NOT_MEASURED}
    assert (found.prediction_range, found.recall) == (None, None)


@pytest.mark.parametrize(
    ("metrics", "answer"),
    [
        ({"pred_min": 0.1, "pred_max": 0.9}, Answer.NO),
        ({"pred_min": 0.4, "pred_max": 0.5}, Answer.YES),
        ({"pred_min": 0.1, "pred_max": 0.9, "recall": 0.0}, Answer.YES),
        ({"val_pred_min": 0.1, "val_pred_max": 0.9, "val_recall": 0.2}, Answer.NO),
        ({"train_pred_min": 0.1, "train_pred_max": 0.9}, Answer.NOT_MEASURED),
        ({"pred_std": 0.001}, Answer.YES),
        ({"pred_std": 0.2}, Answer.NO),
        ({"recall": 1.0}, Answer.NO),
        ({"pred_min": float("nan"), "pred_max": 0.9}, Answer.NOT_MEASURED),
    ],
)
def test_collapse(metrics: dict[str, float], answer: Answer) -> None:
    assert collapse(data(usual(**metrics))).answer is answer


def test_collapse_of_single_trials_and_of_too_few_measured() -> None:
    rows = usual()
    rows[3] |= {"pred_min": 0.3, "pred_max": 0.31}
    rows[4] |= {"pred_min": 0.0, "pred_max": 1.0, "recall": 1.0}
    rows[5] |= {"pred_min": 0.0, "pred_max": 1.0, "recall": 0.5}
    found = collapse(data(rows))
    states = dict(found.trials)
    assert (states[3], states[4], states[5], states[6]) == (Answer.YES, Answer.YES, Answer.NO, Answer.NOT_MEASURED)
    assert found.answer is Answer.CANNOT_TELL
    assert "measured in 3 of 20" in found.text


def test_zero_recall_in_more_than_thirty_percent_is_collapse() -> None:
    rows = usual(recall=0.4)
    for row in rows[:7]:
        row["recall"] = 0.0
    assert collapse(data(rows)).answer is Answer.YES
    rows[0]["recall"] = 0.4
    assert collapse(data(rows)).answer is Answer.NO


@pytest.mark.parametrize("direction", ["maximize", "minimize"])
def test_both_sides_are_flagged_and_told_apart(direction: str) -> None:
    rows = usual()
    rows[2]["value"], rows[9]["value"] = 0.2, 1.2
    found = {s.number: s.why for s in suspects(data(rows, directions=(direction,)))}
    worse, better = (2, 9) if direction == "maximize" else (9, 2)
    assert found == {worse: "outlier", better: "too good"}


def test_a_second_group_is_no_outlier() -> None:
    rows = usual()
    for row in rows[:4]:
        row["value"] = 0.1
    assert suspects(data(rows)) == ()


def test_trials_that_were_cut_short() -> None:
    rows = usual(epochs_run=50, seconds_total=100.0)
    rows[6]["epochs_run"] = 2
    (found,) = suspects(data(rows))
    assert (found.number, found.why) == (6, "under-trained")
    assert "epochs_run 2, the median is 50" in found.text
    rows[6]["epochs_run"], rows[7]["seconds_total"] = 50, 3.0
    (found,) = suspects(data(rows))
    assert (found.number, found.why) == (7, "under-trained")


def test_early_stopping_is_not_being_cut_short() -> None:
    rows = usual()
    for i, row in enumerate(rows):
        row["epochs_run"] = 10 + 3 * i
    assert suspects(data(rows)) == ()


def test_twins_with_other_values_conflict_unless_seeds_explain_it() -> None:
    rows = usual()
    rows[1]["x"] = rows[0]["x"]
    assert {(s.number, s.why) for s in suspects(data(rows))} == {
        (0, "conflicts with its twin"),
        (1, "conflicts with its twin"),
    }
    for i, row in enumerate(rows):
        row["seed"] = i
    assert suspects(data(rows)) == ()


def test_equal_repeats_are_no_conflict() -> None:
    rows = usual()
    rows[1] |= {"x": rows[0]["x"], "value": rows[0]["value"]}
    assert suspects(data(rows)) == ()


@pytest.mark.parametrize("n", [0, 1, 2, 4])
def test_too_few_trials_to_stand_out(n: int) -> None:
    assert suspects(data(usual(n))) == ()
    assert collapse(data(usual(n))).answer is Answer.NOT_MEASURED


def test_a_constant_metric() -> None:
    assert suspects(data([{"x": i, "value": 0.5} for i in range(20)])) == ()
