"""What to do next is data: every finding's advice comes from actions, which one room says in words."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from hpo_batch.findings import actions
from hpo_batch.findings.actions import Action, ActionKind, action_text, first_steps, gathered, suits, with_command
from hpo_batch.findings.analyse import analyse
from hpo_batch.findings.records import Finding, Findings
from hpo_batch.findings.report_json import as_json
from hpo_batch.records import Answer
from tests.findings.tables import table
from tests.findings.test_analyse import PARAMS, random_rows
from tests.findings.test_answers import drawn

pytestmark = pytest.mark.usefixtures("small_forests")


def an_action(kind: ActionKind) -> Action:
    return Action(
        kind=kind, parameter="lr", where="low", trials=(3, 8), seeds=2, count=12, metrics=("n",), note="fix it"
    )


@pytest.mark.parametrize("kind", ActionKind)
def test_every_kind_has_words_and_a_place(kind: ActionKind) -> None:
    text = action_text(an_action(kind))
    assert text
    assert not text.endswith(".")
    assert first_steps([an_action(kind)], 5) == (an_action(kind),)


def studies() -> list[Findings]:
    rows = random_rows(40)
    fails = [{**row, "value": None, "state": "FAIL"} for row in random_rows(9)]
    far = [{**row, "value": 0.1 if i == 3 else row["value"]} for i, row in enumerate(drawn(30))]
    tables = [
        [table(rows, params=PARAMS)],
        [table(fails, params=PARAMS)],
        [table(far, params=("a", "b"))],
        [table(rows, params=PARAMS, label="a"), table(random_rows(30, seed=2), params=PARAMS, label="b")],
        [table([{"number": i, "x": i % 3, "value": 0.5} for i in range(20)], params=["x"])],
    ]
    return [analyse(some) for some in tables]


def test_all_advice_comes_from_actions_with_their_evidence() -> None:
    kinds = set()
    for findings in studies():
        keys = {(finding.study, finding.key) for finding in findings.findings}
        for finding in findings.findings:
            assert bool(finding.do) is bool(finding.actions), finding.key
            assert finding.do == "; ".join(dict.fromkeys(map(action_text, finding.actions)))
            assert all(action.evidence == (finding.key,) for action in finding.actions)
        for action in findings.actions:
            kinds.add(action.kind)
            assert action.evidence
            assert all((action.study, key) in keys or ("", key) in keys for key in action.evidence)
    assert len(kinds) > 6


def test_no_words_are_written_where_findings_are_made() -> None:
    rooms = Path(actions.__file__).parent.glob("*/words.py")
    assert [path.parent.name for path in rooms if re.search(r"\bdo=", path.read_text())] == []


def test_actions_stand_in_report_json_under_stable_keys() -> None:
    findings = studies()[2]
    told = json.loads(json.dumps(as_json(findings, version="1")))
    (one,) = [action for action in told["actions"] if action["kind"] == "inspect"]
    assert one["trials"] == [3]
    assert one["study"] == "study"
    assert one["evidence"] == ["health.trial-3"]
    assert set(one) == {
        "kind", "study", "parameter", "value", "beside", "where", "trials", "seeds", "count", "metrics", "note",
        "command", "evidence",
    }  # fmt: skip
    by_key = {finding["key"]: finding for finding in told["findings"]}
    assert by_key["health.trial-3"]["actions"] == [one]
    assert by_key["health.trial-3"]["do"] == "read the log of trial 3, then run it again or leave it out"


def test_trials_that_noise_does_not_tell_from_the_best_are_confirmed() -> None:
    random = np.random.default_rng(0)
    rows = [{"a": i, "value": 0.5 + 0.001 * i + 0.01 * float(random.normal()), "n_eval": 400} for i in range(27)]
    findings = analyse([table(rows, params=("a",), metrics=("acc",))])
    confirm = next(action for action in findings.actions if action.kind is ActionKind.CONFIRM)
    assert confirm.seeds == 2
    best = findings.studies[0].summary.top
    assert confirm.trials == tuple(trial.number for trial in best[: len(confirm.trials)])
    assert len(confirm.trials) == 5


def test_equal_work_is_asked_for_once_with_all_of_its_evidence() -> None:
    confirm = Action(kind=ActionKind.CONFIRM, study="a", trials=(1, 2), seeds=2, evidence=("best.optimism",))
    again = Action(kind=ActionKind.REPLICATE, study="a", trials=(1, 2, 3), seeds=2, evidence=("noise.floor",))
    other = Action(kind=ActionKind.CONFIRM, study="b", trials=(1, 2), seeds=2, evidence=("best.optimism",))
    (first, second) = gathered([confirm, again, other])
    assert (first.kind, first.evidence) == (ActionKind.CONFIRM, ("best.optimism", "noise.floor"))
    assert second == other


def test_commands_are_those_that_exist_and_quote_what_they_are_given() -> None:
    add = Action(kind=ActionKind.ADD_TRIALS, count=12)
    assert with_command(add, source="my study", is_study=True, trials=50).command == (
        "hpo-batch resume 'my study' --set study.trials=62"
    )
    assert with_command(add, source="runs.csv", is_study=False, trials=50).command == ""
    report = Action(kind=ActionKind.REPORT_N_EVAL, metrics=("n_eval", "n_pos"))
    assert with_command(report, source="runs.csv", is_study=False).command == (
        "hpo-batch report runs.csv --n-eval N --n-pos P"
    )
    node = with_command(Action(kind=ActionKind.EXCLUDE_NODE, where="n;1"), source="s", is_study=True)
    assert node.command == "hpo-batch resume s --set 'job.exclude=n;1'"


def test_what_makes_numbers_wrong_is_done_first_and_narrowing_is_one_step() -> None:
    some = [
        Action(kind=ActionKind.NARROW, study="s", parameter="lr"),
        Action(kind=ActionKind.DISTRUST, study="s", trials=(3,)),
        Action(kind=ActionKind.NARROW, study="s", parameter="depth"),
        Action(kind=ActionKind.EXPAND, study="s", parameter="lr", where="low"),
        Action(kind=ActionKind.INSPECT, study="s", trials=(3,)),
    ]
    steps = first_steps(some, 5)
    assert [step.kind for step in steps] == [ActionKind.INSPECT, ActionKind.EXPAND, ActionKind.NARROW]
    assert action_text(steps[-1]) == "search depth mainly at the good values"
    assert first_steps(some, 1) == (some[-1],)


def test_a_finding_says_its_actions() -> None:
    finding = Finding(
        key="k", study="", question="?", answer=Answer.YES, text="t", actions=(an_action(ActionKind.EXPAND),)
    )
    assert finding.do == "widen the range of lr at its low end"


@pytest.mark.parametrize("by", [None, "refine", "propose", "confirm", "transfer"])
def test_what_a_sweep_is_for_decides_which_advice_makes_sense(by: str | None) -> None:
    kinds = {kind for kind in ActionKind if suits(an_action(kind), by)}
    searches = {ActionKind.EXPAND, ActionKind.NARROW, ActionKind.ADD_TRIALS, ActionKind.COVER, ActionKind.DELAY_PRUNING}
    again = {ActionKind.CONFIRM, ActionKind.REPLICATE}
    assert (searches <= kinds, bool(searches & kinds)) == ((by in (None, "refine"),) * 2)
    assert (again <= kinds, bool(again & kinds)) == ((by not in ("confirm", "transfer"),) * 2)
    assert {ActionKind.INSPECT, ActionKind.FIX_FAILURES, ActionKind.REPORT_METRICS} <= kinds


def test_a_list_is_neither_refined_nor_given_more_trials() -> None:
    for kind in (ActionKind.EXPAND, ActionKind.NARROW, ActionKind.ADD_TRIALS):
        told = {
            searches: with_command(an_action(kind), source="s", is_study=True, trials=9, searches=searches).command
            for searches in (True, False)
        }
        assert told[True]
        assert not told[False]


def test_the_command_trains_what_the_sentence_names() -> None:
    action = Action(kind=ActionKind.CONFIRM, where="baseline", trials=(14,), seeds=2)
    assert action_text(action) == "run the baseline and trial 14 with the same new seeds"
    assert with_command(action, source="s", is_study=True).command == "hpo-batch confirm s --top 2 --seeds 2"


@pytest.mark.parametrize(
    ("metric", "asked"),
    [("val_auc", True), ("acc1", True), ("val/F1", True), ("val_loss", False), ("rmse", False), ("eval_loss", False)],
)
def test_only_classifiers_are_asked_for_recall(metric: str, asked: bool) -> None:
    found = analyse([table(random_rows(20), params=PARAMS, metrics=(metric,), directions=("maximize",))])
    (collapse,) = [finding for finding in found.findings if finding.key == "health.collapse"]
    assert bool(collapse.actions) == asked
