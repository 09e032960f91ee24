"""The five documents' numbers out of their raw trials, and what the documents got wrong.

The files lie beside a checkout, in ../shared; where they are absent, these tests are skipped. An additional check:
``test_reference.py`` asks the same of the product with the trials in tests/data.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hpo_batch.findings.analyse import analyse
from hpo_batch.findings.coverage.numbers import Coverage, coverage
from hpo_batch.findings.effects.numbers import Effect
from hpo_batch.findings.known import Known
from hpo_batch.findings.model.frame import prepare
from hpo_batch.findings.model.parameter import value_text
from hpo_batch.findings.records import Finding, Findings, StudyFindings
from hpo_batch.records import Answer
from hpo_batch.results.table import TrialsTable
from hpo_batch.sources.columns import Columns
from hpo_batch.sources.read import read_tables
from hpo_batch.space.build import build
from tests.conftest import SHARED

REFERENCE, SEEDS = SHARED / "reference", SHARED / "seeds"
BUDGETS = ("2M", "20M", "200M")
TPE = tuple(f"fints_hpo_a100_{budget.lower()}_tpe.csv" for budget in BUDGETS)
TWOPHASE = tuple(f"fints_hpo_{tier}_twophase.csv" for tier in ("a100_2m", "a100_20m", "a50_2m", "a50_20m", "a50_200m"))
GRID = "gainakt4_phase1_26_experiments.csv"

pytestmark = [
    pytest.mark.skipif(not REFERENCE.is_dir(), reason=f"needs the reference files in {REFERENCE}"),
    pytest.mark.usefixtures("small_forests"),  # the documents have no fANOVA to compare with
]


@functools.cache
def tables(*names: str, value: str = "value") -> tuple[TrialsTable, ...]:
    paths = [str(REFERENCE / name) for name in names]
    return read_tables(paths, root=Path(), columns=Columns(value=(value,), directions=("maximize",)))


@functools.cache
def tpe() -> Findings:
    """Documents 001 and 002, with the sizes of the validation set that the reference's README gives."""
    return analyse(tables(*TPE), known=Known(n_eval=422, n_pos=76))


@functools.cache
def twophase() -> Findings:
    return analyse(tables(*TWOPHASE), top=60)


@functools.cache
def grid() -> Findings:
    return analyse(tables(GRID, value="test_auc"), known=Known(baseline=0.7181))


def study(budget: str) -> StudyFindings:
    return tpe().studies[BUDGETS.index(budget)]


def effect(findings: StudyFindings, parameter: str) -> Effect:
    return next(e for e in findings.effects if e.parameter == parameter)


def covered(findings: StudyFindings, label: str) -> Coverage:
    return next(c for c in findings.coverage if c.label == label)


def told(findings: Findings, key: str, of: str = "") -> Finding:
    return next(f for f in findings.findings if f.key == key and of.lower() in f.study.lower())


def expected(name: str) -> Any:
    return json.loads((REFERENCE / "expected_values.json").read_text())[name]


def document(name: str) -> str:
    return next(SEEDS.glob(f"{name}-*.md")).read_text()


def section(text: str, title: str) -> str:
    """From a heading to the next one of its level or above."""
    level = len(title) - len(title.lstrip("#"))
    after = text.split(f"\n{title}", 1)[1]
    return re.split(rf"\n#{{1,{level}}} ", after, maxsplit=1)[0]


def rows(text: str) -> Iterator[list[str]]:
    """Cells of the rows of Markdown tables, without emphasis."""
    for line in text.splitlines():
        if line.startswith("|") and not set(line) <= set("|-: "):
            yield [cell.strip().strip("*") for cell in line.strip("|").split("|")]


def printed(value: float | None, text: str) -> bool:
    """Whether a number is what a document printed, up to the last digit that it printed."""
    digits = len(text.split(".")[1]) if "." in text else 0
    return value is not None and abs(value - float(text)) <= 0.5 * 10**-digits + 1e-12


def same_value(label: str, text: str) -> bool:
    return float(label) == float(text)


# --- documents 001 and 002: three budgets of one tier


@pytest.mark.parametrize("budget", BUDGETS)
def test_002_summary_statistics(budget: str) -> None:
    text = section(document("002"), f"# HPO Analysis: {budget} (a100)")
    summary = study(budget).summary
    assert summary.n == int(re.search(r"Total trials: (\d+)", text)[1])  # type: ignore[index]
    assert summary.best is not None
    for name, value in (("Best", summary.best.value), ("Mean", summary.mean), ("Std", summary.std)):
        assert printed(value, re.search(rf"- {name} AUC: ([\d.]+)", text)[1]), name  # type: ignore[index]
    best = dict(re.findall(r"  - (\w+): (\S+)", text.split("**Best Configuration:**")[1].split("## ")[0]))
    assert {k: float(v) for k, v in best.items()} == {k: float(v) for k, v in summary.best.params.items()}


@pytest.mark.parametrize("budget", BUDGETS)
def test_002_importance_is_its_own_formula_and_eta_squared_stands_beside_it(budget: str) -> None:
    text = section(document("002"), f"# HPO Analysis: {budget} (a100)")
    bars = re.findall(r"^  (\w+) +\|[# ]*\| ([\d.]+)$", text, flags=re.M)
    assert len(bars) == 7
    for parameter, number in bars:
        assert printed(effect(study(budget), parameter).seed_formula, number), parameter
    for parameter, numbers in expected("seed002_importance")[budget].items():
        assert effect(study(budget), parameter).seed_formula == pytest.approx(numbers["seed_formula"], abs=6e-5)
        assert effect(study(budget), parameter).eta_squared == pytest.approx(numbers["eta_squared"], abs=6e-5)


@pytest.mark.parametrize("budget", BUDGETS)
def test_002_tables_of_every_parameter(budget: str) -> None:
    text = section(section(document("002"), f"# HPO Analysis: {budget} (a100)"), "## Parameter Trends")
    parts = re.split(r"^### ", text, flags=re.M)[1:]
    assert len(parts) == 6
    for part in parts:
        found = effect(study(budget), part.split("\n")[0].strip())
        assert found.naive_trend == re.search(r"Trend: \*\*(\w+)", part)[1]  # type: ignore[index]
        ranked = sorted((row for row in found.rows), key=lambda row: row.mean or 0.0)
        for row, word in ((ranked[-1], "Best"), (ranked[0], "Worst")):
            value, mean = re.search(rf"{word} value: (\S+) \(mean AUC: ([\d.]+)\)", part).groups()  # type: ignore[union-attr]
            assert same_value(row.label, value)
            assert printed(row.mean, mean)
        table = list(rows(part))[1:]
        assert len(table) == len(found.rows)
        for row, (value, mean, std, count) in zip(found.rows, table, strict=True):
            assert same_value(row.label, value)
            assert (row.n, printed(row.mean, mean), printed(row.std, std)) == (int(count), True, True)


@pytest.mark.parametrize("budget", BUDGETS)
def test_002_coverage_matrices(budget: str) -> None:
    text = section(section(document("002"), f"# HPO Analysis: {budget} (a100)"), "## Coverage Matrices")
    parts = re.split(r"^### ", text, flags=re.M)[1:]
    assert len(parts) == 3
    for part in parts:
        head, *body = rows(part)
        pair = covered(study(budget), part.split("\n")[0].strip().replace("×", "x"))
        counts = {tuple(float(label) for label in labels): n for labels, n in pair.counts}
        matrix = {(float(row[0]), float(b)): int(n) for row in body for b, n in zip(head[1:], row[1:], strict=True)}
        assert counts == matrix


def test_002_and_001_best_by_budget() -> None:
    beside = tpe().budgets
    assert beside is not None
    for name, headline in (("001", "### Summary"), ("002", "## Best Results by Budget")):
        head, *body = rows(section(document(name), headline))
        assert len(body) == 3
        for row, cells in zip(beside.rows, body, strict=True):
            assert row.label == cells[0]
            assert printed(row.best.value, cells[1])
            for column, cell in zip(head[2:], cells[2:], strict=True):
                key = {"LR": "learning_rate", "WD": "weight_decay"}.get(column[5:], column[5:])
                assert float(row.params[key]) == float(cell), key


@pytest.mark.parametrize("budget", BUDGETS)
def test_001_waste_frequencies_and_repeats(budget: str) -> None:
    whole = document("001")
    text = section(whole, f"## {budget} Budget Analysis")
    summary = study(budget).summary
    wasted, n, share = re.search(rf"\*\*{budget}\*\*: (\d+)/(\d+) wasted \(([\d.]+)%\)", whole).groups()  # type: ignore[union-attr]
    assert (summary.repeats, summary.n) == (int(wasted), int(n))
    assert printed(100 * summary.repeats / summary.n, share)
    assert summary.unique == int(re.search(r"Unique configurations: (\d+)", text)[1])  # type: ignore[index]
    assert len(summary.repeated) == int(re.search(r"Repeated configurations: (\d+)", text)[1])  # type: ignore[index]
    assert summary.best is not None
    assert summary.best.number == int(re.search(r"\*\*Best Trial\*\*: (\d+)", text)[1])  # type: ignore[index]
    for found, (count, d, layers, heads) in zip(
        summary.repeated, re.findall(r"(\d+)x: d=(\d+), L=(\d+), h=(\d+)", text), strict=False
    ):
        shape = [str(found.params[name]) for name in ("d_model", "n_layers", "n_heads")]
        assert (found.count, shape) == (int(count), [d, layers, heads])
        assert len(set(found.values)) == 1
    lines = re.findall(r"- \*\*(\w+)\*\*: ((?:\S+:\d+(?:, )?)+)", section(text, "### Value Frequencies"))
    assert len(lines) == 6
    for parameter, frequencies in lines:
        counts = {float(v): int(n) for v, n in (one.split(":") for one in frequencies.split(", "))}
        assert {float(row.label): row.n for row in effect(study(budget), parameter).rows} == counts


@pytest.mark.parametrize("budget", BUDGETS)
def test_001_coverage_correlations_and_means(budget: str) -> None:
    text = section(document("001"), f"## {budget} Budget Analysis")
    for label, words in (("architecture", "Architecture"), ("training", "Training HP")):
        found, cells, share = re.search(
            rf"\*\*{words} combinations\*\*: (\d+)/(\d+) \(([\d.]+)% coverage\)", text
        ).groups()  # type: ignore[union-attr]
        ours = covered(study(budget), label)
        assert (ours.found, ours.cells) == (int(found), int(cells))
        assert printed(100 * ours.found / ours.cells, share)
    by_name = {c.a: c.pearson for c in study(budget).correlations if c.b == study(budget).metric}
    names = {
        "Width↔AUC correlation": "d_model * d_ff_ratio",
        "Depth↔AUC correlation": "n_layers",
        "Width/Depth ratio↔AUC": "d_model * d_ff_ratio / n_layers",
    }
    for words, name in names.items():
        assert printed(by_name[name], re.search(rf"{words}: (-?[\d.]+)", text)[1]), name  # type: ignore[index]
    means = re.findall(r"  - (\w+)=(\S+): ([\d.]+)", text)
    assert len(means) >= 9
    for parameter, value, mean in means:
        (row,) = (r for r in effect(study(budget), parameter).rows if same_value(r.label, value))
        assert printed(row.mean, mean)
    for parameter in ("learning_rate", "dropout", "weight_decay"):
        lines = re.findall(r"  - (\S+): mean=([\d.]+) \(n=(\d+)\)", text.split(f"**{parameter}:**")[1].split("\n\n")[0])
        assert len(lines) == 4
        for value, mean, n in lines:
            (row,) = (r for r in effect(study(budget), parameter).rows if same_value(r.label, value))
            assert (printed(row.mean, mean), row.n) == (True, int(n))


@pytest.mark.parametrize("budget", BUDGETS)
def test_001_untested_examples_are_untested(budget: str) -> None:
    listed = re.search(r"Untested examples .*?: \[(.*)\]", section(document("001"), f"## {budget} Budget Analysis"))
    examples = {tuple(map(int, one.split(", "))) for one in re.findall(r"\((\d[^)]*)\)", listed[1])}  # type: ignore[index]
    names = ("d_model", "n_layers", "n_heads")
    assert covered(study(budget), "architecture").parameters == names
    data = prepare(tables(*TPE)[BUDGETS.index(budget)])
    tried = {tuple(data.configuration(i)[name] for name in names) for i in range(data.n)}
    gaps = {tuple(gap[name] for name in names) for gap in covered(study(budget), "architecture").gaps}
    assert len(examples) == 5
    assert not (examples | gaps) & tried


def test_coverage_is_below_what_random_trials_find() -> None:
    reference = {"2M": (36.7, 32, 41), "20M": (31.8, 27, 36), "200M": (28.7, 25, 33)}
    for budget, (mean, low, high) in reference.items():
        expectation = covered(study(budget), "architecture").random
        assert expectation is not None
        assert round(expectation.value, 1) == mean
        assert (expectation.low, expectation.high) == (low, high)
        for label in ("architecture", "training"):
            assert covered(study(budget), label).answer is Answer.NO
            finding = told(tpe(), f"coverage.{label}", budget)
            assert finding.answer is Answer.NO
            assert "below what random trials find" in finding.text


def test_coverage_is_the_same_with_the_space_as_it_was_written() -> None:
    spaces = json.loads((REFERENCE / "fints_studies.json").read_text())
    for table, name in zip(tables(*TPE), TPE, strict=True):
        space, problems = build(spaces[name]["search_space"])
        assert not problems
        found = coverage(prepare(replace(table, space=space, space_is_inferred=False)))
        inferred = coverage(prepare(table))
        for here, there in zip(found, inferred, strict=True):
            assert (here.label, here.found, here.cells) == (there.label, there.found, there.cells)
            assert (here.random, here.counts) == (there.random, there.counts)
            assert "not known" in there.why
            assert "not known" not in here.why


def test_three_of_21_claims_survive() -> None:
    carried = {
        (budget, e.parameter)
        for budget in BUDGETS
        for e in study(budget).effects
        if e.p_holm is not None and e.p_holm < 0.05
    }
    assert tpe().family == 21
    assert carried == {("20M", "d_model"), ("20M", "d_ff_ratio"), ("200M", "learning_rate")}
    assert told(tpe(), "effects.survive").text.startswith("3 of 21 claims")
    assert effect(study("200M"), "learning_rate").p_holm < 0.01  # type: ignore[operator]
    finding = told(tpe(), "effect.n_layers", "_2M_")
    assert finding.answer is Answer.CANNOT_TELL
    assert "the plain means look 'decreasing', but the trials do not support that" in finding.text


def test_budgets_cannot_be_ordered() -> None:
    beside = tpe().budgets
    assert beside is not None
    assert beside.order is Answer.CANNOT_TELL
    assert "20M 0.7246 > 2M 0.7178 > 200M 0.7147" in beside.order_text
    assert "no two of them can be told apart" in beside.order_text
    for row in beside.rows:
        assert row.best.low is not None
        assert row.best.low < 0.7147 < 0.7246 < row.best.high  # type: ignore[operator]
        assert (row.best.high - row.best.value) / 1.96 == pytest.approx(0.035, abs=0.001)  # type: ignore[operator]
    assert beside.slope is not None
    assert beside.slope.low < 0 < beside.slope.high  # type: ignore[operator]
    assert [parameter for parameter, _, _ in beside.consistency] == [e.parameter for e in study("2M").effects]
    values = {parameter: [best[b] for b in BUDGETS] for parameter, best, _ in beside.consistency}
    assert values["dropout"] == [0.1, 0.7, 0.3]
    assert values["learning_rate"] == [1e-5, 1e-4, 1e-5]
    assert values["weight_decay"] == [0.001, 0.0, 0.0001]
    assert {answer for _, _, answer in beside.consistency} == {Answer.CANNOT_TELL}


def test_labels_are_not_parameter_counts() -> None:
    beside = tpe().budgets
    assert beside is not None
    largest = {row.label: row.n_params[1] for row in beside.rows if row.n_params}
    assert largest["2M"] < 0.7e6
    assert largest["20M"] < 3e6
    assert largest["200M"] < 20e6
    assert all(row.n_params_source.startswith("estimated") for row in beside.rows)


def test_collapse_was_not_measured() -> None:
    for budget in BUDGETS:
        assert study(budget).collapse.answer is Answer.NOT_MEASURED
        assert {answer for _, answer in study(budget).collapse.trials} == {Answer.NOT_MEASURED}
        assert "not measured" in told(tpe(), "health.collapse", budget).text


# --- document 000: five studies in one heap


def test_000_tables_with_base_rates() -> None:
    pooled, numbers = twophase().pooled, expected("seed000")
    assert pooled is not None
    assert (pooled.n, pooled.top.k, pooled.top.unique) == (
        numbers["n"],
        numbers["top_n"],
        numbers["top60_unique_configs"],
    )
    by_parameter = {e.parameter: e for e in pooled.effects}
    assert by_parameter.keys() == numbers["tables"].keys()
    for parameter, table in numbers["tables"].items():
        found = {float(row.label): row for row in by_parameter[parameter].rows}
        assert found.keys() == {float(value) for value in table}
        for value, known in table.items():
            row = found[float(value)]
            assert row.n == known["count"]
            assert row.share == pytest.approx(known["count"] / 250)
            assert row.mean == pytest.approx(known["mean"], abs=5.1e-5)
            assert row.max == pytest.approx(known["max"], abs=5.1e-5)
            assert row.top_share is not None
            assert 100 * row.top_share == pytest.approx(known["pct_top60"], abs=0.051)
    assert round({c.a: c.pearson for c in pooled.correlations}["n_layers"] or 0.0, 3) == numbers["pearson_n_layers_auc"]


def test_000_every_share_that_it_printed() -> None:
    names = {"Dropout": "dropout", "LR": "learning_rate"}
    pooled = twophase().pooled
    assert pooled is not None
    seen = 0
    for part in section(document("000"), "## Observed Trends").split("### ")[1:]:
        head, *body = rows(part)
        found = next(e for e in pooled.effects if e.parameter == names.get(head[0], head[0]))
        for cells in body:
            (row,) = (r for r in found.rows if same_value(r.label, cells[0]))
            for column, cell in zip(head[1:], cells[1:], strict=True):
                number = {"Mean AUC": row.mean, "Max AUC": row.max, "% of Top 60": 100 * (row.top_share or 0.0)}[column]
                assert printed(number, cell.rstrip("%")), (head[0], cells)
                seen += 1
    assert seen == 3 * 4 + 3 * 4 + 3 + 2 + 4 + 2 * 2


def test_000_one_tier_fills_the_top() -> None:
    pooled = twophase().pooled
    assert pooled is not None
    assert pooled.top.confounded is Answer.YES
    assert {name: n for _, name, n, _ in pooled.top.groups if name in ("a50", "a100")} == {"a50": 60, "a100": 0}
    finding = told(twophase(), "pooled.top")
    assert "'a50' fills 60 of the top 60 with 60% of all trials" in finding.text
    assert finding.p is not None
    assert finding.p < 1e-3  # of 22 configurations, which fill the top with their repeats
    assert told(twophase(), "budgets.order").answer is Answer.CANNOT_TELL


# --- document 004: a grid, a smoke run, a baseline


def test_004_statistics() -> None:
    (found,) = grid().studies
    numbers, text = expected("seed004"), section(document("004"), "### Overall Statistics")
    summary = found.summary
    assert (summary.n, round(summary.mean or 0, 4), round(summary.median or 0, 4)) == (
        26,
        numbers["mean"],
        numbers["median"],
    )
    assert round(summary.std or 0, 4) == numbers["std_ddof1"]
    assert summary.best is not None
    values = [value for _, value in found.history]
    printed_there = {cells[0].strip("*"): cells[1].strip("*") for cells in list(rows(text))[1:]}
    ours = {
        "Best Test AUC": summary.best.value,
        "Worst Test AUC": min(values),
        "Mean Test AUC": summary.mean,
        "Median Test AUC": summary.median,
        "Standard Deviation": summary.std,
    }
    for name, number in ours.items():
        assert printed(number, printed_there[name]), name
    # the document took the difference of the two full numbers
    assert max(values) - min(values) == pytest.approx(float(printed_there["Range"]), abs=1.1e-4)


def test_004_tables_of_every_parameter() -> None:
    (found,) = grid().studies
    for parameter, table in expected("seed004")["by_value"].items():
        by_value = {float(row.label): row for row in effect(found, parameter).rows}
        assert by_value.keys() == {float(value) for value in table}
        for value, known in table.items():
            row = by_value[float(value)]
            assert row.n == known["n"]
            for name in ("mean", "max", "min"):
                assert getattr(row, name) == pytest.approx(known[name], abs=5.1e-5), (parameter, value, name)


def test_004_top_ten() -> None:
    (found,) = grid().studies
    names = ["learning_rate", "d_model", "d_ff", "dropout", "num_encoder_blocks"]
    _, *body = rows(section(document("004"), "### Top 10 Configurations"))
    assert len(body) == 10
    for trial, (_, auc, _, *cells, number) in zip(found.summary.top, body, strict=True):
        assert printed(trial.value, auc)
        # four trials have 0.7185 to the digits printed: the document has another order of them
        if auc != "0.7185":
            assert trial.number == int(number)
            assert [float(trial.params[name]) for name in names] == [float(cell) for cell in cells]


def test_004_baseline() -> None:
    (found,) = grid().studies
    assert found.baseline is not None
    assert (found.baseline.n_above, found.baseline.n) == (15, 26)
    assert "15 of 26 trials are better than the baseline (0.7181" in told(grid(), "baseline").text
    assert told(grid(), "baseline").answer is Answer.CANNOT_TELL


def test_004_the_smoke_run_is_told_and_the_report_is_given_without_it() -> None:
    (found,) = grid().studies
    assert {s.number for s in found.suspects} == {631733}
    assert {s.why for s in found.suspects} == {"outlier", "under-trained", "conflicts with its twin"}
    finding = grid().findings[0]
    assert finding.key == "health.trial-631733"
    assert "trial 145993 has 0.7171" in finding.text
    assert "checkpoint_epoch 2" in finding.text
    numbers = expected("seed004_without_smoke_run")
    assert found.without is not None
    assert found.without.numbers == (631733,)
    summary = found.without.summary
    assert (summary.n, round(summary.mean or 0, 4), round(summary.std or 0, 4)) == (
        25,
        numbers["mean"],
        numbers["std_ddof1"],
    )
    for parameter, table in numbers["by_value"].items():
        by_value = {float(row.label): row for row in effect(found, parameter).rows_without}
        for value, known in table.items():
            assert by_value[float(value)].n == known["n"]
            assert by_value[float(value)].mean == pytest.approx(known["mean"], abs=5.1e-5), (parameter, value)
    influence = told(grid(), "health.influence")
    assert influence.answer is Answer.YES
    for change in ("d_ff 0.0015 -> 0.0002", "dropout 0.0026 -> 0.0007", "num_encoder_blocks 0.0026 -> 0.0010"):
        assert change in influence.text


def test_004_what_was_not_varied_gets_no_statement() -> None:
    finding = told(grid(), "effect.learning_rate")
    assert finding.answer is Answer.NOT_MEASURED
    assert "not varied" in finding.text
    (found,) = grid().studies
    (row,) = (r for r in effect(found, "d_model").rows if r.value == 384)
    assert row.underpowered
    assert told(grid(), "effect.d_model").answer is Answer.CANNOT_TELL


def test_004_pairs_instead_of_means() -> None:
    """With the baseline's configuration, effects come from trials that differ in nothing else."""
    (table,) = tables(GRID, value="test_auc")
    usual = {
        "learning_rate": 0.000174,
        "d_model": 256,
        "n_heads": 4,
        "d_ff": 1024,
        "dropout": 0.2,
        "num_encoder_blocks": 4,
    }
    (found,) = analyse([replace(table, baseline=usual)], known=Known(baseline=0.7181)).studies
    assert found.baseline is not None
    pairs = {(p.parameter, p.value): p.difference for p in found.baseline.pairs}
    assert pairs["d_ff", 1536].n == 12
    assert pairs["d_ff", 1536].value == pytest.approx(0.0008, abs=0.0007)
    assert "no two trials differ in nothing but learning_rate" in found.baseline.text
    assert found.baseline.unexplained is not None


def test_every_finding_may_be_read_alone() -> None:
    for findings in (tpe(), twophase(), grid()):
        for finding in findings.findings:
            assert finding.text
            assert finding.question.endswith("?")
            assert "nan" not in finding.text.split()
        keys = [(f.study, f.key) for f in findings.findings]
        assert len(set(keys)) == len(keys)


def test_values_are_labelled_as_the_documents_do() -> None:
    assert [value_text(v) for v in (1e-05, 0.0001, 64, 0.0, True)] == ["1e-05", "0.0001", "64", "0.0", "true"]
