"""What analysis says of the reference trials in tests/data, against plain formulas written here, and their known truth.

The documents' own trials (``test_documents.py``, ``test_reference_effects.py``) lie beside a checkout or not at all.
"""

from __future__ import annotations

import csv
import functools
import itertools
import json
import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from hpo_batch.findings.analyse import analyse
from hpo_batch.findings.coverage.numbers import Coverage, coverage
from hpo_batch.findings.effects.numbers import Effect, effects
from hpo_batch.findings.known import Known
from hpo_batch.findings.model.frame import prepare
from hpo_batch.findings.noise.numbers import noise_floor
from hpo_batch.findings.records import Finding, Findings, StudyFindings
from hpo_batch.records import Answer
from hpo_batch.results.table import TrialsTable
from hpo_batch.sources.columns import Columns
from hpo_batch.sources.read import read_tables
from hpo_batch.space.build import build
from tests.data.make_reference import GRID, PARAMS, REFERENCE, SLOPE, SMOKE, SPACES, TWIN, make
from tests.findings.simulate import table

pytestmark = pytest.mark.usefixtures("small_forests")  # nothing here asks for fANOVA
BUDGETS = tuple(SPACES)
TPE = tuple(f"fints_hpo_a100_{budget}_tpe.csv" for budget in BUDGETS)
TWOPHASE = tuple(
    f"fints_hpo_{which}_twophase.csv" for which in ("a100_2m", "a100_20m", "a50_2m", "a50_20m", "a50_200m")
)
EXPERIMENTS = "gainakt4_phase1_26_experiments.csv"
Rows = list[dict[str, float]]


def raw(*names: str) -> Rows:
    """The numbers of the files, read by nothing of ours."""
    found: Rows = []
    for name in names:
        with (REFERENCE / name).open(newline="") as file:
            found += [{k: float(v) for k, v in line.items() if v[:1].isdigit()} for line in csv.DictReader(file)]
    return found


@functools.cache
def tables(*names: str, value: str = "value") -> tuple[TrialsTable, ...]:
    paths = [str(REFERENCE / name) for name in names]
    return read_tables(paths, root=Path(), columns=Columns(value=(value,), directions=("maximize",)))


@functools.cache
def tpe() -> Findings:
    return analyse(tables(*TPE), known=Known(n_eval=422, n_pos=76))


@functools.cache
def twophase() -> Findings:
    return analyse(tables(*TWOPHASE), top=60)


@functools.cache
def grid() -> Findings:
    return analyse(tables(EXPERIMENTS, value="test_auc"), known=Known(baseline=0.7181))


def study(budget: str) -> StudyFindings:
    return tpe().studies[BUDGETS.index(budget)]


def effect(of: Sequence[Effect], parameter: str) -> Effect:
    return next(one for one in of if one.parameter == parameter)


def covered(findings: StudyFindings, label: str) -> Coverage:
    return next(one for one in findings.coverage if one.label == label)


def told(findings: Findings, key: str, of: str = "") -> Finding:
    return next(one for one in findings.findings if one.key == key and of in one.study)


def groups(rows: Rows, parameter: str, metric: str = "value") -> dict[float, list[float]]:
    found: dict[float, list[float]] = {}
    for row in rows:
        found.setdefault(row[parameter], []).append(row[metric])
    return dict(sorted(found.items()))


def key(row: dict[str, float], names: Sequence[str] = PARAMS) -> tuple[float, ...]:
    return tuple(row[name] for name in names)


def test_the_script_makes_the_files_that_are_here(tmp_path: Path) -> None:
    make(tmp_path)
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == {p.name: p.read_bytes() for p in REFERENCE.iterdir()}


@pytest.mark.parametrize(("budget", "name"), list(zip(BUDGETS, TPE, strict=True)), ids=BUDGETS)
class TestAStudy:
    def test_summary_and_repeats(self, budget: str, name: str) -> None:
        rows, summary = raw(name), study(budget).summary
        values = [row["value"] for row in rows]
        best = max(rows, key=lambda row: row["value"])
        assert summary.best is not None
        assert (summary.n, summary.best.value, summary.best.number) == (50, best["value"], best["trial"])
        assert {k: float(v) for k, v in summary.best.params.items()} == {k: best[k] for k in PARAMS}
        assert summary.mean == pytest.approx(statistics.mean(values), abs=1e-12)
        assert summary.median == pytest.approx(statistics.median(values), abs=1e-12)
        assert summary.std == pytest.approx(statistics.stdev(values), abs=1e-12)
        counts = Counter(map(key, rows))
        assert (summary.unique, summary.repeats) == (len(counts), 50 - len(counts))
        assert summary.repeats > 10
        twice = {one: n for one, n in counts.items() if n > 1}
        assert {tuple(float(one.params[p]) for p in PARAMS): one.count for one in summary.repeated} == twice
        assert all(len(set(one.values)) == 1 for one in summary.repeated)

    def test_tables_and_importance_of_every_parameter(self, budget: str, name: str) -> None:
        rows = raw(name)
        values = [row["value"] for row in rows]
        mean = statistics.mean(values)
        for parameter in PARAMS:
            found, by_value = effect(study(budget).effects, parameter), groups(rows, parameter)
            assert [float(row.label) for row in found.rows] == list(by_value)
            for row, group in zip(found.rows, by_value.values(), strict=True):
                assert (row.n, row.mean) == (len(group), pytest.approx(statistics.mean(group), abs=1e-12))
                if len(group) > 1:
                    assert row.std == pytest.approx(statistics.stdev(group), abs=1e-12)
            between = sum(len(group) * (statistics.mean(group) - mean) ** 2 for group in by_value.values())
            assert found.eta_squared == pytest.approx(between / (50 * statistics.pvariance(values)), abs=1e-9)
            assert found.seed_formula == pytest.approx(between / 50 / statistics.variance(values), abs=1e-9)

    def test_coverage(self, budget: str, name: str) -> None:
        rows, space = raw(name), json.loads((REFERENCE / "fints_studies.json").read_text())[name]["search_space"]
        for label, names in (
            ("architecture", ("d_model", "n_layers", "n_heads")),
            ("training", ("learning_rate", "dropout", "weight_decay")),
        ):
            ours = covered(study(budget), label)
            assert ours.parameters[: len(names)] == names
            tried = {key(row, names) for row in rows}
            seen = [sorted({row[name] for row in rows}) for name in names]
            cells = [c for c in itertools.product(*seen) if label == "training" or c[0] % c[2] == 0]
            assert (ours.found, ours.cells) == (len(tried), len(cells))
            assert {tuple(float(gap[name]) for name in names) for gap in ours.gaps} <= set(cells) - tried
            assert all(set(column) <= set(space[name]) for name, column in zip(names, seen, strict=True))
            assert ours.answer is Answer.NO  # fewer than random trials find: told so
            assert "below what random trials find" in told(tpe(), f"coverage.{label}", f"_{budget}_").text

    def test_coverage_with_the_space_as_it_was_written(self, budget: str, name: str) -> None:
        (table,) = tables(name)
        written = json.loads((REFERENCE / "fints_studies.json").read_text())[name]["search_space"]
        space, problems = build(written)
        assert not problems
        found = coverage(prepare(replace(table, space=space, space_is_inferred=False)))
        assert [one.label for one in found] == [one.label for one in coverage(prepare(table))]
        assert all("not known" not in one.why for one in found)

    def test_pairs_of_parameters_are_counted(self, budget: str, name: str) -> None:
        rows = raw(name)
        pairs = [one for one in study(budget).coverage if len(one.parameters) == 2]
        assert len(pairs) >= 3
        for pair in pairs:
            ours = {tuple(float(label) for label in labels): n for labels, n in pair.counts if n}
            assert ours == Counter(key(row, pair.parameters) for row in rows)

    def test_correlations(self, budget: str, name: str) -> None:
        rows = raw(name)
        values = [row["value"] for row in rows]
        width = [row["d_model"] * row["d_ff_ratio"] for row in rows]
        depth = [row["n_layers"] for row in rows]
        ours = {one.a: one.pearson for one in study(budget).correlations if one.b == study(budget).metric}
        for of, column in (
            ("d_model * d_ff_ratio", width),
            ("n_layers", depth),
            ("d_model * d_ff_ratio / n_layers", [w / d for w, d in zip(width, depth, strict=True)]),
        ):
            assert ours[of] == pytest.approx(statistics.correlation(column, values), abs=1e-9)

    def test_what_was_not_measured_is_not_told(self, budget: str, name: str) -> None:
        assert study(budget).collapse.answer is Answer.NOT_MEASURED
        assert "not measured" in told(tpe(), "health.collapse", f"_{budget}_").text


def test_only_what_the_simulator_does_survives() -> None:
    true = {name for name, slope in SLOPE.items() if slope}
    carried = {(b, e.parameter) for b in BUDGETS for e in study(b).effects if e.p_holm is not None and e.p_holm < 0.05}
    claims = [e for b in BUDGETS for e in study(b).effects if e.p is not None]
    assert len(BUDGETS) * len(PARAMS) - 1 <= tpe().family == len(claims)  # one could not be estimated
    assert {parameter for _, parameter in carried} <= true
    assert carried >= {(budget, "learning_rate") for budget in BUDGETS}
    assert told(tpe(), "effects.survive").text.startswith(f"{len(carried)} of {len(claims)} claims")
    trends = [effect(study(b).effects, "learning_rate").trend for b in BUDGETS]
    assert "decreasing" in trends
    assert set(trends) <= {"decreasing", "no clear trend"}


def test_budgets_cannot_be_ordered() -> None:
    beside = tpe().budgets
    assert beside is not None
    assert beside.order is Answer.CANNOT_TELL
    assert [row.label.lower() for row in beside.rows] == list(BUDGETS)
    assert [row.best.value for row in beside.rows] == [max(row["value"] for row in raw(name)) for name in TPE]
    for parameter, best, _ in beside.consistency:
        at_best = [max(raw(name), key=lambda row: row["value"])[parameter] for name in TPE]
        assert [best[budget.upper()] for budget in BUDGETS] == at_best
    assert all(row.n_params_source.startswith("estimated") for row in beside.rows)


def test_the_error_of_an_auc_is_that_of_hanley_and_mcneil() -> None:
    rows = raw(TPE[0])
    trials = table([({name: row[name] for name in PARAMS}, row["value"]) for row in rows], metric="val_auc")
    noise = noise_floor(prepare(trials), n_eval=422, n_pos=76)
    a = statistics.median(row["value"] for row in rows)
    q1, q2, n_pos, n_neg = a / (2 - a), 2 * a * a / (1 + a), 76, 422 - 76
    error = ((a * (1 - a) + (n_pos - 1) * (q1 - a * a) + (n_neg - 1) * (q2 - a * a)) / (n_pos * n_neg)) ** 0.5
    assert noise.source == "standard error of an AUC"
    assert noise.sd is not None
    assert noise.sd.value == pytest.approx(error, abs=0.001)


class TestFiveStudiesInOneHeap:
    def test_tables_with_base_rates(self) -> None:
        pooled, rows = twophase().pooled, raw(*TWOPHASE)
        assert pooled is not None
        assert (pooled.n, pooled.top.k) == (250, 60)
        top = sorted(rows, key=lambda row: -row["value"])[:60]
        assert pooled.top.unique == len({(*key(row), row["value"]) for row in top})
        for parameter in PARAMS:
            found, by_value = effect(pooled.effects, parameter), groups(rows, parameter)
            assert {float(row.label) for row in found.rows} == set(by_value)
            for row in found.rows:
                group = by_value[float(row.label)]
                assert (row.n, row.max, row.share) == (len(group), max(group), pytest.approx(len(group) / 250))
                assert row.mean == pytest.approx(statistics.mean(group), abs=1e-12)
                of_top = sum(one[parameter] == float(row.label) for one in top) / 60
                assert row.top_share == pytest.approx(of_top, abs=1e-9)

    def test_one_tier_fills_the_top(self) -> None:
        pooled = twophase().pooled
        assert pooled is not None
        assert pooled.top.confounded is Answer.YES
        assert {name: n for _, name, n, _ in pooled.top.groups if name in ("a50", "a100")} == {"a50": 60, "a100": 0}
        assert "'a50' fills 60 of the top 60 with 60% of all trials" in told(twophase(), "pooled.top").text
        assert told(twophase(), "budgets.order").answer is Answer.CANNOT_TELL


class TestAGridWithASmokeRun:
    def test_statistics_and_top_ten(self) -> None:
        (found,), rows = grid().studies, raw(EXPERIMENTS)
        values = [row["test_auc"] for row in rows]
        assert (found.summary.n, found.summary.mean) == (26, pytest.approx(statistics.mean(values), abs=1e-12))
        assert found.summary.std == pytest.approx(statistics.stdev(values), abs=1e-12)
        best = sorted(rows, key=lambda row: -row["test_auc"])[:10]
        assert [one.number for one in found.summary.top] == [row["exp_id"] for row in best]

    def test_the_smoke_run_is_told_and_the_report_is_given_without_it(self) -> None:
        (found,) = grid().studies
        assert {one.number for one in found.suspects} == {SMOKE}
        assert {one.why for one in found.suspects} == {"outlier", "under-trained", "conflicts with its twin"}
        first = grid().findings[0]
        assert first.key == f"health.trial-{SMOKE}"
        assert f"trial {TWIN} has 0.7171" in first.text
        assert "checkpoint_epoch 2" in first.text
        rest = [row for row in raw(EXPERIMENTS) if row["exp_id"] != SMOKE]
        assert found.without is not None
        assert found.without.numbers == (SMOKE,)
        assert found.without.summary.mean == pytest.approx(statistics.mean(row["test_auc"] for row in rest), abs=1e-12)
        for parameter in GRID:
            for row in effect(found.effects, parameter).rows_without:
                group = groups(rest, parameter, "test_auc")[float(row.label)]
                assert (row.n, row.mean) == (len(group), pytest.approx(statistics.mean(group), abs=1e-12))
        assert told(grid(), "health.influence").answer is Answer.YES

    def test_the_smoke_run_and_its_twin_raise_the_alarm(self) -> None:
        (table,) = tables(EXPERIMENTS, value="test_auc")
        noise = noise_floor(prepare(table))
        assert (noise.source, noise.sd) == ("unknown", None)
        assert [sorted(alarm.numbers) for alarm in noise.alarms] == [[TWIN, SMOKE]]

    def test_baseline(self) -> None:
        (found,) = grid().studies
        above = sum(row["test_auc"] > 0.7181 for row in raw(EXPERIMENTS))
        assert found.baseline is not None
        assert (found.baseline.n_above, found.baseline.n) == (above, 26)
        assert f"{above} of 26 trials are better than the baseline (0.7181" in told(grid(), "baseline").text

    def test_pairs_instead_of_means(self) -> None:
        (table,) = tables(EXPERIMENTS, value="test_auc")
        usual = {"learning_rate": 0.000174, "d_model": 256, "n_heads": 4, "d_ff": 1024, "dropout": 0.2}
        usual["num_encoder_blocks"] = 4
        (found,) = analyse([replace(table, baseline=usual)], known=Known(baseline=0.7181)).studies
        assert found.baseline is not None
        pairs = {(one.parameter, one.value): one.difference for one in found.baseline.pairs}
        assert pairs["d_ff", 1536].n == 12
        rows = [row for row in raw(EXPERIMENTS) if row["d_model"] == 256]
        cells = [(dropout, blocks) for dropout in GRID["dropout"] for blocks in GRID["num_encoder_blocks"]]
        small, large = (
            [statistics.mean(r["test_auc"] for r in rows if key(r, tuple(GRID)) == (d_ff, *cell)) for cell in cells]
            for d_ff in GRID["d_ff"]
        )
        differences = [b - a for a, b in zip(small, large, strict=True)]
        assert pairs["d_ff", 1536].value == pytest.approx(statistics.mean(differences), abs=1e-9)
        assert "no two trials differ in nothing but learning_rate" in found.baseline.text

    def test_what_never_varied_or_varied_once(self) -> None:
        found = effects(prepare(tables(EXPERIMENTS, value="test_auc")[0]))
        assert effect(found, "learning_rate").why == "not varied: no statement possible"
        assert effect(found, "d_model").why == "all but 1 configuration have one value of it"
        assert [row.label for row in effect(found, "d_model").rows if row.underpowered] == ["384"]
        assert told(grid(), "effect.learning_rate").answer is Answer.NOT_MEASURED
        assert told(grid(), "effect.d_model").answer is Answer.CANNOT_TELL


def test_every_finding_may_be_read_alone() -> None:
    for findings in (tpe(), twophase(), grid()):
        for finding in findings.findings:
            assert finding.text
            assert finding.question.endswith("?")
            assert "nan" not in finding.text.split()
        keys = [(one.study, one.key) for one in findings.findings]
        assert len(set(keys)) == len(keys)
