"""Pruned trials are data: where they are compared with the others, and what became of the trials with each value."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import optuna
import pandas as pd
import pytest

from hpo_batch.document.markdown import markdown
from hpo_batch.findings.analyse import analyse
from hpo_batch.findings.coverage.numbers import coverage
from hpo_batch.findings.documents import report_document
from hpo_batch.findings.model.frame import prepare
from hpo_batch.findings.steps import at_equal_steps, equal_steps
from hpo_batch.findings.survival.numbers import Survival, survival
from hpo_batch.findings.tried import tried
from hpo_batch.records import Answer
from hpo_batch.results.table import TrialsTable
from tests.findings.tables import table

pytestmark = pytest.mark.usefixtures("no_forest")


def reports(curves: Mapping[int, Mapping[int, float]]) -> pd.DataFrame:
    rows = [(number, step, value) for number, curve in curves.items() for step, value in curve.items()]
    return pd.DataFrame(rows, columns=["number", "step", "value"])


def pruned_study(n: int = 60, *, completed: int = 15, last: int = 10, pruned_at: int = 3) -> TrialsTable:
    """Of ``n`` trials all but some were pruned at one step."""
    rows, curves = [], {}
    for i in range(n):
        is_complete = i % (n // completed) == 0
        end = last if is_complete else pruned_at
        curves[i] = {step: i / 100 + step / 10 for step in range(1, end + 1)}
        rows.append(
            {
                "x": i,
                "value": curves[i][last] if is_complete else None,
                "state": "COMPLETE" if is_complete else "PRUNED",
            }
        )
    return table(rows, params=["x"], reports=reports(curves))


def test_what_only_trials_without_a_result_tried_was_varied() -> None:
    """A failed or pruned trial has tried its parameters: "not varied" would be false."""
    rows = [{"x": i, "act": "relu", "kind": "a", "value": float(i)} for i in range(12)]
    rows += [{"x": i, "act": "gelu", "kind": "a", "value": None, "state": "FAIL"} for i in range(3)]
    found = analyse([table(rows, params=["x", "act", "kind"])])
    told = {f.key: f.text for f in found.findings}
    assert told["effect.act"].endswith("act cannot be compared: 3 trials with other values have no result")
    assert told["effect.kind"].endswith("kind was not varied: no statement about it is possible")
    page = markdown(report_document(found, [], version="1"))
    assert "act (3 trials with other values have no result)" in page
    assert "Not varied, so no statement is possible: kind." in page


def test_a_study_of_mostly_pruned_trials_is_compared_whole() -> None:
    made = pruned_study()
    found = at_equal_steps(made)
    assert found is not None
    compared, step = found
    assert step == 3
    data = prepare(compared)
    assert data.n == 60
    assert data.y == pytest.approx([i / 100 + 0.3 for i in range(60)])
    assert "step 3, which 60 of 60 trials reached" in compared.notes[-1]
    assert prepare(made).n == 15  # the study's own table is as it was
    at = equal_steps(made)
    assert at is not None
    assert (at.step, at.n, at.n_complete, at.n_pruned, at.n_ended) == (3, 60, 15, 45, 60)


def test_the_latest_step_that_four_fifths_reached() -> None:
    curves = {i: {step: float(i) for step in range(1, (9 if i < 8 else 2) + 1)} for i in range(10)}
    states = ["COMPLETE"] * 4 + ["PRUNED"] * 6
    rows = [{"x": i, "value": 1.0 if i < 4 else None, "state": states[i]} for i in range(10)]
    found = at_equal_steps(table(rows, params=["x"], reports=reports(curves)))
    assert found is not None
    assert (found[1], prepare(found[0]).n) == (9, 8)
    curves[7] = {1: 0.0, 2: 0.0}
    found = at_equal_steps(table(rows, params=["x"], reports=reports(curves)))
    assert found is not None
    assert (found[1], prepare(found[0]).n) == (2, 10)


def test_the_last_report_of_a_step_and_none_that_is_not_finite() -> None:
    curves = reports({0: {1: 0.5}, 1: {1: 0.6}, 2: {1: math.nan}, 3: {1: 0.7}, 4: {1: 0.8}})
    curves.loc[len(curves)] = [0, 1, 0.55]  # trial 0 began again
    curves = curves.astype({"number": "int64", "step": "int64"})
    rows = [{"x": i, "value": None, "state": "PRUNED"} for i in range(5)]
    found = at_equal_steps(table(rows, params=["x"], reports=curves))
    assert found is not None
    assert prepare(found[0]).y.tolist() == [0.55, 0.6, 0.7, 0.8]


@pytest.mark.parametrize(
    "made",
    [
        table([{"x": 1, "value": 0.5}] * 9, params=["x"]),  # no reports
        table([], params=["x"]),
        table([{"x": 1, "value": 0.5}], params=["x"], reports=reports({0: {1: 0.5}})),  # nothing pruned
        table(
            [{"x": i, "value": None, "state": "PRUNED"} for i in range(5)], params=["x"], reports=reports({0: {1: 0.1}})
        ),
        table(  # every pruned trial ended before the first step
            [{"x": i, "value": 0.5 if i else None, "state": "COMPLETE" if i else "PRUNED"} for i in range(9)],
            params=["x"],
            reports=reports({i: {1: 0.5} for i in range(1, 9)}),
        ),
    ],
    ids=["no reports", "empty", "none pruned", "one reported", "pruned before"],
)
def test_where_nothing_is_gained_there_is_no_such_step(made: TrialsTable) -> None:
    assert at_equal_steps(made) is None


def test_steps_that_only_some_report_are_no_equal_steps() -> None:
    curves = {i: dict.fromkeys(range(0, 20, 2) if i % 2 else range(1, 20, 2), 0.1) for i in range(10)}
    rows = [{"x": i, "value": None, "state": "PRUNED"} for i in range(10)]
    assert at_equal_steps(table(rows, params=["x"], reports=reports(curves))) is None


def test_a_study_in_which_all_were_pruned_says_where_they_can_be_compared() -> None:
    rows = [{"x": i, "value": None, "state": "PRUNED"} for i in range(12)]
    made = table(rows, params=["x"], reports=reports({i: {1: 0.1 * i, 2: 0.2 * i} for i in range(12)}))
    told = {finding.key: finding for finding in analyse([made]).findings}
    assert told["trials"].answer is Answer.NO
    assert "12 of them can be compared at step 2" in told["trials"].text
    assert "12 of 12 trials were pruned" in told["steps.equal"].text
    assert "let the pruner begin later" in told["trials"].do


def outcomes(rows: list[dict[str, Any]], params: list[str]) -> dict[str, Survival]:
    data = prepare(table(rows, params=params))
    return {one.parameter: one for one in survival(data, tried(data))}


def deep(n_deep_pruned: int = 12) -> list[dict[str, Any]]:
    """60 trials: 14 of depth 8, of which 12 were pruned; of the others 6."""
    rows = []
    for i in range(60):
        depth = 8 if i % 4 == 3 and i < 56 else [2, 4, 6][i % 3]
        is_pruned = depth == 8 and sum(row["depth"] == 8 for row in rows) < n_deep_pruned
        is_pruned |= depth != 8 and i % 8 == 0
        state = "PRUNED" if is_pruned else "FAIL" if i == 58 else "COMPLETE"
        rows.append(
            {
                "depth": depth,
                "other": i % 2,
                "x": i,
                "value": 0.5 + i / 100 if state == "COMPLETE" else None,
                "state": state,
            }
        )
    return rows


def test_survival_counts_all_that_were_tried() -> None:
    found = outcomes(deep(), ["depth", "other", "x"])
    by_label = {value.label: value for value in found["depth"].values}
    assert (by_label["8"].n, by_label["8"].complete, by_label["8"].pruned, by_label["8"].failed) == (14, 2, 12, 0)
    assert sum(value.n for value in found["depth"].values) == 60
    assert sum(value.failed for value in found["depth"].values) == 1
    assert by_label["8"].p_pruned_holm is not None
    assert by_label["8"].p_pruned_holm < 0.001
    assert all((value.p_pruned_holm or 0) > 0.2 for value in found["other"].values)


def test_survival_is_told_with_its_test() -> None:
    findings = analyse([table(deep(), params=["depth", "other", "x"])])
    told = {finding.key: finding for finding in findings.findings}
    finding = told["survival.depth.pruned"]
    assert "depth 8: 12 of 14 pruned" in finding.text
    assert "the other values:" in finding.text
    assert "depth = 8" in finding.do
    assert finding.p_holm is not None
    assert "survival.other.pruned" not in told
    assert any(section.key == "survival" for section in _sections(findings))


def _sections(findings: Any) -> Any:
    from hpo_batch.findings.documents import report_document

    return report_document(findings, version="1").sections


def test_a_value_that_never_completed_was_tried_all_the_same() -> None:
    rows = [
        {
            "kind": "rnn" if i % 3 == 0 else "cnn",
            "x": i,
            "value": None if i % 3 == 0 else 0.5 + 0.01 * (i % 7),
            "state": "PRUNED" if i % 3 == 0 else "COMPLETE",
        }
        for i in range(30)
    ]
    findings = analyse([table(rows, params=["kind", "x"])])
    (found,) = (one for one in findings.studies[0].survival if one.parameter == "kind")
    assert found.only_one_completed
    told = {finding.key: finding for finding in findings.findings}
    assert "rnn in 10 (0 complete, 10 pruned, 0 failed)" in told["survival.kind"].text


def test_pruned_and_failed_trials_count_where_cells_are_counted() -> None:
    rows = [
        {
            "a": i % 2,
            "b": i // 2,
            "value": 0.1 if i == 0 else None,
            "state": ["COMPLETE", "PRUNED", "FAIL", "RUNNING"][i],
        }
        for i in range(4)
    ]
    findings = analyse([table([*rows, {"a": 9, "b": 9, "value": None, "state": "WAITING"}], params=["a", "b"])])
    whole = next(one for one in findings.studies[0].coverage if one.label == "all")
    assert (whole.found, whole.cells, whole.gaps) == (4, 4, ())
    assert coverage(prepare(table(rows, params=["a", "b"]))) == ()  # of the complete trial alone nothing varied


def test_replicates_are_one_trial_in_the_test_of_survival() -> None:
    rows = [{"kind": "a", "x": 1, "seed": seed, "value": None, "state": "FAIL"} for seed in range(12)]
    rows += [{"kind": "b", "x": 10 + i, "seed": 0, "value": 0.1 * i, "state": "COMPLETE"} for i in range(12)]
    found = outcomes(rows, ["kind", "x"])["kind"]
    assert found.values[0].failed == 12
    assert found.values[0].p_failed is None  # one configuration failed, however often


def test_idle_parameters_of_a_pruned_search_seldom_seem_to_matter() -> None:
    """TPE with a pruner: what an idle parameter's values become is chance, though the search repeats what did well."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    called = []
    for seed in range(40):
        random = np.random.default_rng(seed)
        study = optuna.create_study(
            direction="maximize",
            sampler=optuna.samplers.TPESampler(multivariate=True, seed=seed),
            pruner=optuna.pruners.MedianPruner(n_startup_trials=5),
        )
        rows = []
        for _ in range(60):
            trial = study.ask()
            rate, idle = trial.suggest_float("rate", 0, 1), trial.suggest_categorical("idle", ["p", "q", "r", "s"])
            state, value = "COMPLETE", 0.0
            for step in range(1, 6):
                value = -((rate - 0.3) ** 2) * step + 0.1 * float(random.normal())
                trial.report(value, step)
                if trial.should_prune():
                    state = "PRUNED"
                    break
            study.tell(trial, value if state == "COMPLETE" else None, state=optuna.trial.TrialState[state])
            rows.append({"rate": rate, "idle": idle, "value": value if state == "COMPLETE" else None, "state": state})
        found = outcomes(rows, ["rate", "idle"])["idle"]
        called.append(any(v.p_pruned_holm is not None and v.p_pruned_holm < 0.05 for v in found.values))
    # at 5 % seven or more of 40 have probability 0.003
    assert sum(called) < 7


def test_effects_of_a_study_of_mostly_pruned_trials_are_those_of_all() -> None:
    (study,) = analyse([pruned_study()]).studies
    (effect,) = study.effects
    assert effect.step == 3
    assert sum(row.n for row in effect.rows) == 60
    assert effect.p is not None
    assert effect.p < 1e-6
    (few,) = analyse([pruned_study(completed=60)]).studies
    assert few.effects[0].step is None
    found = analyse([pruned_study()])
    (said,) = [finding for finding in found.findings if finding.key == "effect.x"]
    assert "at step 3" in said.text
    assert said.n == 60
