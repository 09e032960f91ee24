"""The table of all trials, the first page's numbers, and what else was reported."""

from __future__ import annotations

import ast
import json
import re
import shlex
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tomli

from hpo_batch.document.blocks import Document, Facts, Headline, Snippet, Steps, Table
from hpo_batch.document.html import html
from hpo_batch.document.markdown import markdown, terminal
from hpo_batch.findings.analyse import analyse
from hpo_batch.findings.documents import report_document
from hpo_batch.findings.elites.plotted import plotted_trials
from hpo_batch.findings.first_page import snippet
from hpo_batch.findings.known import Known
from hpo_batch.findings.trials import rows as trial_rows
from hpo_batch.findings.trials.rows import reported
from hpo_batch.results.table import TrialsTable
from tests.findings.tables import table

pytestmark = pytest.mark.usefixtures("small_forests")


def study(n: int = 40, *, scale: float = 1.0, pruned: int = 0, **columns: Any) -> TrialsTable:
    random = np.random.default_rng(3)
    rows, reports = [], []
    for i in range(n):
        lr, depth = float(10 ** random.uniform(-5, -1)), int(random.choice([2, 4, 8]))
        value = scale * (0.8 - 0.02 * (np.log10(lr) + 3) ** 2 + 0.01 * depth + float(random.normal(0, 0.005)))
        cut = 0 < i <= pruned
        rows.append({
            "lr": lr, "depth": depth, "value": None if cut else value, "state": "PRUNED" if cut else "COMPLETE",
            "best_epoch": int(20 + 60 * (value / scale - 0.7) + random.normal()), "note": "x", "same": 3, **columns,
        })  # fmt: skip
        reports += [(i, step, value * step / 9) for step in range(1, 4 if cut else 10)]
    return table(rows, params=("lr", "depth"), reports=pd.DataFrame(reports, columns=["number", "step", "value"]))


def document(*tables: TrialsTable, known: Known | None = None) -> Document:
    findings = analyse(tables, known=known)
    plotted = [plotted_trials(one, study=s.label) for one, s in zip(tables, findings.studies, strict=True)]
    return report_document(findings, plotted, version="1")


def test_trials_of_all_states_are_listed_with_what_they_reported_last() -> None:
    made = reported(study(pruned=5))
    assert made.columns == ("trial", "state", "val_auc", "lr", "depth")
    assert len(made.rows) == 40
    assert made.rows[1][1] == "pruned at step 3"
    assert float(made.rows[1][2]) == pytest.approx(float(study(pruned=0).trials["value"][1]) / 3, abs=1e-3)
    assert made.texts == {"state"}
    assert len(made.others["best_epoch"]) == 40


def test_of_very_many_trials_the_best_are_listed_and_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial_rows, "MOST_ROWS", 20)
    given = study(300)
    made = reported(given)
    assert 15 <= len(made.rows) <= 21
    best = given.best_first(10)["number"].tolist()
    assert set(best) <= set(made.numbers)
    assert list(made.numbers) == sorted(made.numbers)
    page = html(document(given))
    assert f"{len(made.rows)} of 300 trials: the best, and others evenly" in page


def test_the_table_of_all_trials_is_in_the_page_alone() -> None:
    made = document(study())
    (listed,) = [t for t in made.tables if t.searched]
    assert len(listed.rows) == len(listed.trials) == 40
    assert "Trials of study: 40 rows, in report.html." in markdown(made)
    assert listed.rows[7][3] not in markdown(made)
    assert listed.rows[7][3] not in terminal(made)
    assert html(made).count('<tr data-trial="study-') == 40


def words(text: str) -> int:
    return sum(any(letter.isalnum() for letter in word) for word in text.split())


@pytest.mark.parametrize("made", ["plain", "pruned", "few", "three"])
def test_the_first_page_is_short_and_has_what_a_reader_came_for(made: str) -> None:
    given = {
        "plain": [study(50)],
        "pruned": [study(60, pruned=45)],
        "few": [study(12)],
        "three": [study(50), study(40), study(30)],
    }[made]
    page = document(*given, known=Known(n_eval=400))
    assert [card.key for card in page.first] == ["best", "history", "matters", "next", "state"]
    text = markdown(page)
    first = text[: text.index(f"## {page.sections[0].title}")]
    # the page shows the configuration in one language of three, and pictures
    first = re.sub(r"^```(sh|python)\n.*?^```$", "", first, flags=re.MULTILINE | re.DOTALL)
    assert words(re.sub(r"^(!\[|- .* rather than ).*$", "", first, flags=re.MULTILINE)) <= 250
    blocks = [block for card in page.first for block in card.blocks]
    assert sum(isinstance(block, Snippet) for block in blocks) == len(given)
    assert sum(isinstance(block, Steps) for block in blocks) == 1
    (facts,) = [block for block in blocks if isinstance(block, Facts)]
    told = dict(facts.rows)
    assert {"Trials", "Time", "Coverage", "Warnings"} <= set(told)
    if made == "pruned":
        assert told["Trials"] == "15 complete, 45 pruned"
    if made != "three":
        (headline,) = [block for block in blocks if isinstance(block, Headline)]
        assert headline.text.startswith("val_auc 0.")
        assert "the median of" in " ".join(headline.lines)
        assert "Again it would score" in " ".join(headline.lines) or "unknown" in " ".join(headline.lines)


def test_what_goes_with_the_metric_is_told_on_the_first_page() -> None:
    made = document(study(50))
    (facts,) = [block for card in made.first for block in card.blocks if isinstance(block, Facts)]
    assert dict(facts.rows)["Also reported"].startswith("best_epoch (0.9")
    assert any(figure.name == "metrics-study" for figure in made.figures)


@pytest.mark.parametrize("scale", [1e-9, 1.0, 1e9])
def test_numbers_have_the_digits_of_their_spread(scale: float) -> None:
    """``.4f`` wrote 0.0000 for losses of 1e-9 and 796738629.9251 for those of 1e9."""
    made = document(study(50, scale=scale))
    headline = next(b for card in made.first for b in card.blocks if isinstance(b, Headline))
    shown = headline.text.split()[1].replace("\N{MINUS SIGN}", "-").replace(",", "")
    assert float(shown) == pytest.approx(scale * 0.87, rel=0.08)
    digits = shown.partition("e")[0].replace(".", "").lstrip("0")
    assert 3 <= len(digits) <= 4
    top = next(t for t in made.tables if t.caption.startswith("Best configurations"))
    assert len({row[2] for row in top.rows}) >= 8  # of ten


def test_a_configuration_can_be_pasted_in_every_language() -> None:
    params = {"lr": 1e-5, "n": 3, "on": True, "kind": 'a"b <i> \\ \u202e', "model.d": 4, "zero": 0.0}
    made = dict(snippet(params, title="t").texts)
    assert tomli.loads(made["TOML"])["space"] == params
    assert ast.literal_eval(made["Python"]) == params
    split = shlex.split(made["--set"].replace("\u202e", ""))
    assert split[::2] == ["--set"] * len(params)
    assert split[1] == "space.lr=1e-05"
    assert "<" not in "".join(made.values())
    assert json.loads(made["Python"].replace("True", "true")) == params


def test_several_metrics_have_a_first_page_without_a_best() -> None:
    random = np.random.default_rng(0)
    rows = [{"a": float(x), "values_acc": float(x), "values_ms": 10 + 30 * float(x**2)} for x in random.random(30)]
    made = document(table(rows, params=["a"], metrics=("acc", "ms"), directions=("maximize", "minimize")))
    assert made.first[0].title == "No single best: the Pareto front"
    assert isinstance(made.first[0].blocks[0], Table)
    copied = [block for block in made.first[0].blocks if isinstance(block, Snippet)]
    shown = made.first[0].blocks[0]
    front = [row[shown.columns.index("trial")] for row in shown.rows]
    assert [block.title for block in copied] == [f"study, trial {number}" for number in front[: len(copied)]]
    assert 1 <= len(copied) <= 3
    assert made.figures[0].name == "front-study"
