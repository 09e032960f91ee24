"""A matrix of budgets: the gap is what was put in, its interval covers it, and gaps in the matrix are told."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hpo_batch.findings.analyse import analyse
from hpo_batch.findings.documents import report_document
from hpo_batch.findings.model.frame import prepare
from hpo_batch.findings.report_json import as_json
from hpo_batch.findings.transfer.numbers import Matrix, matrices
from hpo_batch.findings.transfer.words import gap_text
from hpo_batch.records import Answer
from hpo_batch.results.table import TrialsTable
from hpo_batch.sweep.load import loads
from tests.findings import simulate

Value = Callable[[int, int, int], Sequence[float]]
"""source, configuration of it, budget -> the value under each seed"""

FILE = """
[study]
name = "moved"
metric = "score"
direction = "{direction}"
seeds = {seeds}
[objective]
function = "tests.cli.toys:quadratic"
[space]
x = {{ low = 0.0, high = 1.0 }}
[sampler]
name = "list"
[previous]
study = {sources}
by = "transfer"
values = {values}
"""


def tables(
    value: Value,
    *,
    budgets: int = 2,
    top: int = 3,
    seeds: int = 3,
    direction: str = "maximize",
    without: Mapping[str, Sequence[str]] | None = None,
    failed: Mapping[str, Sequence[str]] | None = None,
    varies: bool = True,
) -> list[TrialsTable]:
    """A table for each budget. ``without``: configurations that cannot run there; ``failed``: that did not complete."""
    labels = [f"b{i}" for i in range(budgets)]
    every = {f"from_{tag}_{k}": (i, k) for i, tag in enumerate(labels) for k in range(top)}
    text = FILE.format(
        direction=direction,
        seeds=list(range(seeds)),
        sources=json.dumps([f"study-{tag}" for tag in labels]),
        values="{ " + ", ".join(f"{name} = {i + 0.5}" for i, name in enumerate(every)) + " }",
    )
    left = {tag: (without or {}).get(tag, ()) for tag in labels}
    for i, tag in enumerate(labels):
        text += f'[[budget]]\nname = "{tag}"\nspace.epochs = {10 * (i + 1) if varies else 10}\n'
        text += "previous.left_out = { " + ", ".join(f'{n} = "too wide"' for n in left[tag]) + " }\n"
        for name, (own, k) in every.items():
            if name not in left[tag]:
                text += f'[[budget.trial]]\nname = "{name}"\nset = "b{own}"\nparams = {{ x = 0.{own}{k} }}\n'
    found = []
    for i, sweep in enumerate(loads(text, path=Path("moved.toml"))):
        assert sweep.budget is not None
        names = [trial.name for trial in sweep.trial]
        each = [list(value(*every[name], i)) for name in names]
        states = ["FAIL" if name in (failed or {}).get(sweep.budget, ()) else "COMPLETE" for name in names]
        found.append(
            simulate.table(
                [(trial.params, float(np.mean(v))) for trial, v in zip(sweep.trial, each, strict=True)],
                direction=direction,
                states=states,
                columns={
                    "name": names,
                    "origin": ["list"] * len(names),
                    "n_seeds": [seeds] * len(names),
                    "value_by_seed": [json.dumps(v) for v in each],
                },
                sweep=sweep,
                space=sweep.space,
                label=f"moved/{sweep.budget}",
                budget=sweep.budget,
            )
        )
    return found


def with_values(table: TrialsTable, value: Value, on: int) -> TrialsTable:
    """The same trials with other values."""
    places = [name.removeprefix("from_b").split("_") for name in table.trials["name"]]
    each = [list(value(int(own), int(k), on)) for own, k in places]
    columns = {"value": [float(np.mean(v)) for v in each], "value_by_seed": [json.dumps(v) for v in each]}
    return replace(table, trials=table.trials.assign(**columns))


def matrix_of(made: Sequence[TrialsTable]) -> Matrix:
    (found,) = matrices([prepare(table) for table in made])
    return found


def noisy(random: np.random.Generator, *, gap: float, budgets: int, top: int, seeds: int, spread: float = 0.3) -> Value:
    """Budgets, configurations and seeds each with an effect of their own, far larger than what is left."""
    column = random.normal(0, 5, budgets)
    row = random.normal(0, 3, (budgets, top))
    seed = random.normal(0, 2, (budgets, seeds))
    likes = random.normal(0, spread, (budgets, top))
    noise = random.normal(0, 0.3, (budgets, top, budgets, seeds))

    def value(own: int, k: int, on: int) -> Sequence[float]:
        of_own = gap + likes[own, k] if own == on else 0.0
        each: list[float] = (column[on] + row[own, k] + seed[on] + of_own + noise[own, k, on]).tolist()
        return each

    return value


def test_effects_of_budgets_configurations_and_seeds_cancel_in_the_gap() -> None:
    value = noisy(np.random.default_rng(0), gap=1.0, budgets=3, top=4, seeds=3)
    found = matrix_of(tables(value, budgets=3, top=4))
    assert found.gap is not None
    assert found.gap.low is not None
    assert found.gap.high is not None
    assert found.gap.value == pytest.approx(1.0, abs=0.5)
    assert found.gap.high - found.gap.low < 2.0  # budgets and rows spread by 5 and 3
    assert found.diagonal is not None
    assert found.elsewhere is not None
    assert found.diagonal.value - found.elsewhere.value == pytest.approx(found.gap.value)
    answer, text = gap_text(found, "score")
    assert answer is Answer.YES
    assert "their own is better for them" in text


def test_a_loss_is_about_one_direction_and_the_gap_about_both() -> None:
    """The configurations of b0 are better in both budgets: b1 gains with them, and b0 loses with those of b1."""
    levels = {(0, 0): 3.0, (0, 1): 3.0, (1, 0): 1.0, (1, 1): 2.0}
    random = np.random.default_rng(0)
    found = matrix_of(
        tables(lambda own, k, on: (levels[own, on] + 0.1 * random.normal() + random.normal(0, 0.01, 3)).tolist())
    )
    loss = {(one.trained_on, one.budget): one.difference for one in found.losses}
    assert set(loss) == {("b0", "b1"), ("b1", "b0")}
    assert loss["b0", "b1"].value == pytest.approx(2.0, abs=0.3)
    assert loss["b0", "b1"].low is not None
    assert loss["b0", "b1"].low > 1
    assert loss["b1", "b0"].value == pytest.approx(-1.0, abs=0.3)
    assert loss["b1", "b0"].high is not None
    assert loss["b1", "b0"].high < 0
    assert found.gap is not None
    assert found.gap.value == pytest.approx(0.5, abs=0.2)


def test_where_less_is_better_the_gap_keeps_its_meaning() -> None:
    value = noisy(np.random.default_rng(1), gap=-1.0, budgets=2, top=4, seeds=2)
    found = matrix_of(tables(value, top=4, seeds=2, direction="minimize"))
    assert found.gap is not None
    assert found.gap.value == pytest.approx(1.0, abs=0.5)


@pytest.mark.parametrize(("budgets", "top", "seeds"), [(2, 3, 3), (3, 2, 2), (2, 1, 4), (3, 1, 3)])
def test_the_interval_covers_the_gap_as_often_as_it_says(budgets: int, top: int, seeds: int) -> None:
    """With one configuration of each budget, it is about these configurations: their own liking is part of the gap."""
    random = np.random.default_rng(budgets * 100 + top * 10 + seeds)
    made = tables(lambda own, k, on: [0.0] * seeds, budgets=budgets, top=top, seeds=seeds)
    covered = 0
    for _ in range(200):
        spread = 0.3 if top > 1 else 0.0
        value = noisy(random, gap=0.5, budgets=budgets, top=top, seeds=seeds, spread=spread)
        gap = matrix_of([with_values(table, value, i) for i, table in enumerate(made)]).gap
        assert gap is not None
        assert gap.low is not None
        assert gap.high is not None
        covered += gap.low <= 0.5 <= gap.high
    # 95 % of 200 are 190, with a standard deviation of 3.1
    assert 190 - 10 <= covered <= 190 + 10


def test_a_budget_without_a_complete_row_is_left_out_of_the_gap_and_named() -> None:
    value = noisy(np.random.default_rng(2), gap=1.0, budgets=3, top=2, seeds=2)
    made = tables(value, budgets=3, top=2, seeds=2, failed={"b2": ["from_b2_0", "from_b2_1"], "b0": ["from_b1_1"]})
    found = matrix_of(made)
    assert found.compared_budgets == ("b0", "b1")
    assert found.compared == ("from_b0_0", "from_b0_1", "from_b1_0")
    assert found.missing == ("from_b1_1 on b0", "from_b2_0 on b2", "from_b2_1 on b2")
    text = gap_text(found, "score")[1]
    assert "without b2" in text
    assert "not complete: from_b1_1 on b0" in text


def test_what_cannot_run_elsewhere_stands_there_with_its_reason() -> None:
    value = noisy(np.random.default_rng(3), gap=1.0, budgets=2, top=2, seeds=2)
    made = tables(value, top=2, seeds=2, without={"b0": ["from_b1_0"]})
    found = matrix_of(made)
    moved = {one.name: one for one in found.configurations}
    assert moved["from_b1_0"].left_out == {"b0": "too wide"}
    assert moved["from_b1_0"].values["b0"] is None
    assert found.missing == ()
    assert found.compared == ("from_b0_0", "from_b0_1", "from_b1_1")
    findings = analyse(made)
    document = report_document(findings, version="0")
    (section,) = [one for one in document.sections if one.key == "transfer"]
    shown = [block for part in section.parts for block in part.blocks]
    assert any("from_b1_0 cannot run on b0: too wide" in getattr(block, "note", "") for block in shown)
    told = as_json(findings, version="0")["transfer"]
    assert told[0]["varied"] == [{"name": "epochs", "values": {"b0": 10, "b1": 20}}]


def test_two_budgets_without_a_configuration_in_both_cannot_be_compared() -> None:
    value = noisy(np.random.default_rng(4), gap=1.0, budgets=2, top=1, seeds=2)
    found = matrix_of(tables(value, top=1, seeds=2, failed={"b0": ["from_b1_0"]}))
    assert found.gap is None
    assert found.compared == ()
    answer, text = gap_text(found, "score")
    assert answer is Answer.CANNOT_TELL
    assert "no two budgets can be compared" in text


def test_a_matrix_edited_so_that_nothing_varies_says_so() -> None:
    value = noisy(np.random.default_rng(5), gap=1.0, budgets=2, top=2, seeds=2)
    found = matrix_of(tables(value, top=2, seeds=2, varies=False))
    assert found.varied == ()
    assert gap_text(found, "score")[0] is Answer.CANNOT_TELL


def test_values_that_agree_exactly_have_no_interval() -> None:
    found = matrix_of(tables(lambda own, k, on: [1.0 if own == on else 0.0] * 2, top=2, seeds=2))
    assert found.gap is not None
    assert (found.gap.value, found.gap.low) == (1.0, None)
    assert "agree exactly" in gap_text(found, "score")[1]
    assert [(one.difference.value, one.difference.low) for one in found.losses] == [(1.0, None)] * 2
    alone = matrix_of(tables(noisy(np.random.default_rng(6), gap=1.0, budgets=2, top=1, seeds=1), top=1, seeds=1))
    assert alone.gap is not None
    assert alone.gap.low is None
    assert "one seed" in gap_text(alone, "score")[1]


def test_other_studies_and_single_budgets_have_no_matrix() -> None:
    made = tables(noisy(np.random.default_rng(7), gap=1.0, budgets=2, top=2, seeds=2), top=2, seeds=2)
    assert matrices([prepare(made[0])]) == ()
    assert matrices([prepare(simulate.table([({"x": 0.1}, 1.0)]))]) == ()
