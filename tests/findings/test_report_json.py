"""report.json: documented, complete, and nothing in it that is no JSON."""

from __future__ import annotations

import dataclasses
import json
import math

import pytest

from hpo_batch.findings import report_json
from hpo_batch.findings.curves import numbers as curves
from hpo_batch.findings.json_keys import keys_of
from hpo_batch.findings.records import Findings
from hpo_batch.findings.report_json import FORMAT, as_json, records_of_findings, reference
from hpo_batch.records import Answer
from tests.findings.made import empty, findings
from tests.helpers import REPOSITORY

DOCUMENT = REPOSITORY / "docs" / "report-json.md"


def test_the_document_lists_the_keys_as_they_are() -> None:
    text = DOCUMENT.read_text()
    hint = "run 'python -m hpo_batch.findings.report_json' and put its output behind '## Keys' in docs/report-json.md"
    assert text.split("## Keys\n\n", 1)[1] == reference(), hint


@pytest.mark.parametrize("made", [findings(), empty()], ids=["all", "empty"])
def test_every_number_is_there_and_is_json(made: Findings) -> None:
    told = json.loads(json.dumps(as_json(made, version="1", sources=("a.csv",)), allow_nan=False))
    assert told["format"] == FORMAT
    assert told["sources"] == ["a.csv"]
    named = {field.name for field in dataclasses.fields(made)} - {"more"}
    assert set(told) == {"format", "hpo_batch", "sources", *named}


def test_estimates_carry_method_and_n_and_tuples_have_names() -> None:
    first = as_json(findings(), version="1")["studies"][0]
    sd = first["noise"]["sd"]
    assert (sd["method"], sd["n"], sd["level"]) == ("OLS on ranks, HC3", 12, 0.95)
    assert first["efficiency"]["by_node"][0] == {"node": "n1", "hours": 8.0, "attempts": 30, "failed": 0}
    assert first["history"][0]["number"] == 0
    assert first["curves"]["8"][1] == {"step": 2, "value": None}  # NaN is no number
    assert first["collapse"]["answer"] == "not measured"
    assert first["importance"]["branches"][0]["importance"]["rows"][0]["parameter"] == "kernel"


def test_no_tuple_of_several_things_is_left_nameless() -> None:
    assert "list: " not in reference()
    declared = [keys_of(field) for record in records_of_findings() for field in dataclasses.fields(record)]
    named = [names for names in declared if names is not None]
    assert len(named) > 10
    assert all(len(set(names)) == len(names) for names in named)


def test_numbers_are_not_rounded() -> None:
    mean = as_json(findings(), version="1")["studies"][0]["summary"]["mean"]
    assert math.isclose(mean, 0.7089, rel_tol=0, abs_tol=0)


def test_of_very_many_trials_some_are_told_and_that_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report_json, "MOST_TRIALS", 10)
    monkeypatch.setattr(curves, "MOST_STEPS", 30)
    made = findings()
    study = dataclasses.replace(
        made.studies[0],
        direction="maximize",
        history=tuple((i, i / 95 if i == 93 else -abs(i - 50.0)) for i in range(95)),
        collapse=dataclasses.replace(
            made.studies[0].collapse, trials=tuple((i, Answer.YES if i == 17 else Answer.NO) for i in range(95))
        ),
        curves=dict.fromkeys(range(40), ((0, 0.1), (1, 0.2), (2, 0.3))),  # the best trial is 7
    )
    told = as_json(dataclasses.replace(made, studies=(study,)), version="1")
    (shown,) = told["studies"]
    kept = [point["number"] for point in shown["history"]]
    assert {0, 10, 90, 93} <= set(kept)
    assert set(range(51)) <= set(kept)  # each was the best so far
    assert [trial["number"] for trial in shown["collapse"]["trials"]] == [0, 10, 17, *range(20, 95, 10)]
    assert list(shown["curves"]) == ["0", "4", "7", *map(str, range(8, 40, 4))]
    assert [text.partition(": ")[2].partition(" ")[0] for text in told["warnings"][-3:]] == [
        "history",
        "curves",
        "collapse.trials",
    ]
    assert "of 95 trials" in told["warnings"][-3]
    monkeypatch.undo()
    assert as_json(findings(), version="1")["warnings"] == list(findings().warnings)
