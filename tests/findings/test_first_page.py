"""The first page says nothing that the trials do not bear out: no number made up, no word that the sections deny."""

from __future__ import annotations

import math
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from hpo_batch.document.markdown import markdown
from hpo_batch.findings.actions import ActionKind, with_command
from hpo_batch.findings.effects.words import graded, more_trials
from hpo_batch.findings.first_page import _first_words
from hpo_batch.findings.report import Report, compare, report
from hpo_batch.records import Answer
from hpo_batch.results.table import TrialsTable
from tests.findings.tables import table
from tests.helpers import run

pytestmark = pytest.mark.usefixtures("no_forest")


def search(n: int, *, seed: int = 1, noise: float = 0.02) -> pd.DataFrame:
    """Random trials: lr has an optimum, depth helps, the optimizer does nothing."""
    draw = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {"lr": 10 ** draw.uniform(-5, -1, n), "depth": draw.integers(1, 9, n), "opt": draw.choice(["adam", "sgd"], n)}
    )
    good = 0.8 - 0.03 * (np.log10(frame["lr"]) + 3) ** 2 + 0.01 * frame["depth"]
    return frame.assign(value=good + draw.normal(0, noise, n))


def told(frame: pd.DataFrame, *, params: tuple[str, ...] = ("lr", "depth", "opt"), **more: Any) -> Report:
    return report([trials(frame, params=params, **more)])


def trials(frame: pd.DataFrame, *, params: tuple[str, ...] = ("lr", "depth", "opt"), **more: Any) -> TrialsTable:
    return table(frame.to_dict("records"), params=list(params), **more)


def first_page(found: Report) -> str:
    return found.text("md").partition("\n## Results")[0]


def test_one_value_apart_from_all_others_gives_no_direction_no_model_and_no_arbitrary_trial_to_confirm() -> None:
    frame = search(20).assign(value=0.5)
    frame.loc[7, "value"] = 0.6
    found = told(frame)
    (study,) = found.findings.studies
    assert [effect.direction for effect in study.effects] == [None] * 3
    assert study.curse is not None
    assert study.curse.shrunken is None
    assert {action.trials for action in found.findings.actions if action.kind is ActionKind.CONFIRM} == {(7,)}
    page = first_page(found)
    assert "Nothing is said of lr, depth, opt (the metric is the same in all configurations but one)." in page
    assert "differs in one alone, trial 7" in page


def test_of_a_constant_metric_no_configuration_is_shown_as_the_best() -> None:
    page = first_page(told(search(20).assign(value=0.75)))
    assert "the same in all 20 trials: none is the best" in page
    assert "[space]" not in page
    assert "n_eval" not in page


def test_where_all_trials_were_pruned_no_value_completed_alone() -> None:
    frame = search(20).assign(state="PRUNED", value=math.nan)
    assert "completed" not in first_page(told(frame))


def test_digits_are_those_of_the_trials_and_not_of_one_that_diverged() -> None:
    frame = search(40)
    frame.loc[3, "value"] = -1e6
    (study,) = told(frame).findings.studies
    assert study.summary.best is not None
    assert f"**val_auc {study.summary.best.value:.3f}**" in first_page(told(frame))


@pytest.mark.parametrize("unit", [1e-9, 1e9])
def test_numbers_of_one_sentence_have_one_unit_however_large_they_are(unit: float) -> None:
    frame = search(40)
    page = first_page(told(frame.assign(value=frame["value"] * unit)))
    lines = [line for line in page.splitlines() if line.startswith("- ") and "better" in line]
    assert len(lines) == 3
    for line in lines:
        size = line.partition("about ")[2].partition(" ")[0]
        assert "e" in size or size == "0"


@pytest.mark.parametrize("unit", [1e-9, 1e-3])
def test_numbers_close_together_are_on_no_grid(unit: float) -> None:
    frame = search(40)
    found = told(frame.assign(value=0.5 * (unit > 1e-6) + frame["value"] * min(unit, 1e-8)), metrics=("accuracy",))
    assert found.findings.studies[0].noise.sd is None


def test_a_configuration_that_is_better_over_its_seeds_than_that_of_the_luckiest_trial_is_named() -> None:
    rows = [(8, 0.90), (8, 0.80), (8, 0.81), (4, 0.87), (4, 0.88), (4, 0.86)]
    frame = pd.DataFrame([{"depth": depth, "seed": i, "value": value} for i, (depth, value) in enumerate(rows)])
    page = first_page(told(frame, params=("depth",)))
    assert "On average the configuration of trial 3 is better: 0.870 over 3 trials; this one has 0.837." in page


def test_parameters_that_always_changed_together_are_one_line_one_share_and_one_step() -> None:
    frame = search(50)
    found = told(frame.assign(width=16 * frame["depth"]), params=("lr", "depth", "opt", "width"))
    page = first_page(found)
    assert "- depth (with width): 8 rather than 1" in page
    assert "- width" not in page
    steps = [line for line in page.splitlines() if "Widen the range of" in line and "depth" in line]
    assert all("and that of width with it" in line for line in steps)
    (told_of,) = [finding for finding in found.findings.findings if finding.key == "importance"]
    shares = [int(part.split(" %")[0].split()[-1]) for part in told_of.text.split("; ")[0].split("], ")]
    assert sum(shares) in range(98, 103)


def test_a_range_that_is_to_be_widened_is_not_to_be_narrowed() -> None:
    frame = search(60).assign(value=lambda f: 0.05 * f["depth"])
    page = first_page(told(frame))
    assert "Widen the range of depth above 8" in page
    assert "mainly at the good values" not in page


def test_what_changed_with_the_order_is_named_on_the_first_page() -> None:
    frame = search(40, seed=5).sort_values("depth", ignore_index=True)
    frame["value"] = 0.1 * frame["depth"] + np.random.default_rng(1).normal(0, 0.01, 40)
    page = first_page(told(frame))
    assert "val_auc moved with time or with depth" in page
    assert "Nothing is said of depth (it changed with the order of the trials)." in page


def test_how_many_trials_would_tell_is_said_in_two_digits_and_not_from_far_away() -> None:
    (study,) = told(search(30, seed=4)).findings.studies
    known = [more for effect in study.effects if (more := more_trials(effect, study)) is not None]
    assert all(more <= 310 and len(str(more).rstrip("0")) <= 2 for more in known)
    assert more_trials(study.effects[0], study) is None  # lr is told already


def test_a_name_with_dots_is_told_with_the_others() -> None:
    names = {"lr": "optim.lr", "depth": "model.depth", "opt": "optim.name"}
    frame = search(30, noise=5).rename(columns=names)
    text = markdown(told(frame, params=tuple(names.values())).document)
    assert "no effect is confirmed, p after Holm: " in text
    assert "Does optim.lr matter?" not in text


@pytest.mark.parametrize(
    ("text", "clause"),
    [
        ("10 of them ran again, by up to 0.03 (trials 9, 34: 0.8)", "10 of them ran again, by up to 0.03"),
        ("depth 7: 5 of 5 failed, 8: 4 of 4 failed (p < .001)", "depth 7: 5 of 5 failed, 8: 4 of 4 failed"),
        ("from trial 30 on worse by 0.058 [0.049, 0.067]. More", "from trial 30 on worse by 0.058 [0.049, 0.067]"),
        ("lr was tried with 3 values: 1, 2, 3", "lr was tried with 3 values: 1, 2, 3"),
        ("it moved with time or with lr: from trial 3 on", "it moved with time or with lr"),
    ],
)  # fmt: skip
def test_a_warning_is_a_whole_clause(text: str, clause: str) -> None:
    assert _first_words(text) == clause


def test_the_command_of_a_step_reads_the_file_as_the_report_did(tmp_path: Path) -> None:
    frame = search(20).rename(columns={"value": "val_acc"})
    file = tmp_path / "runs of mine.csv"
    frame.assign(test_acc=frame["val_acc"] - 0.01).to_csv(file, index=False)
    first = run("report", file, "--value", "val_acc", "--direction", "maximize", cwd=tmp_path)
    assert first.code == 0, first.err
    page = (tmp_path / "report/report.md").read_text()
    command = page.partition("Report n_eval, so that the noise floor is known: `hpo-batch ")[2].partition("`")[0]
    again = run(*shlex.split(command.replace("--n-eval N", "--n-eval 500")), cwd=tmp_path)
    assert again.code == 0, again.err
    assert "within noise of it" in (tmp_path / "report/report.md").read_text()


def test_one_trial_with_another_value_says_nothing_of_the_parameter() -> None:
    frame = search(30).assign(epochs=20)
    frame.loc[4, ["epochs", "value"]] = [2, 0.5]
    page = first_page(told(frame, params=("lr", "depth", "opt", "epochs")))
    assert "- epochs: " not in page
    assert "Nothing is said of epochs (all but 1 configuration have one value of it)." in page


def test_bests_that_differ_by_chance_are_no_contradiction_where_the_effects_agree() -> None:
    several = [trials(search(50, seed=seed), label=f"s{seed}", source=f"s{seed}.csv") for seed in (31, 32, 33)]
    found = report(several)
    assert found.findings.budgets is not None
    answers = {name: (len(set(best.values())), answer) for name, best, answer in found.findings.budgets.consistency}
    assert answers["depth"][1] is not Answer.NO
    page = first_page(found)
    assert "as observed, but no two of them can be told apart" in page
    assert "no bands" in page
    assert "50 complete each" in page


def test_pruned_trials_are_compared_at_a_step_that_the_first_page_names(tmp_path: Path) -> None:
    draw = np.random.default_rng(60)
    rows = []
    for i, row in search(40).iterrows():
        last = 12 if int(str(i)) < 10 else 4
        state = "COMPLETE" if last == 12 else "PRUNED"
        rows += [
            {"trial": i, "step": step, "lr": row["lr"], "depth": row["depth"], "state": state}
            | {"val_acc": row["value"] * (1 - 0.5**step) + draw.normal(0, 0.005)}
            for step in range(1, last + 1)
        ]
    file = tmp_path / "curves.csv"
    pd.DataFrame(rows).to_csv(file, index=False)
    page = first_page(report([str(file)]))
    assert "Of 40 trials, pruned ones too, by val_acc at step 4." in page


def test_side_by_side_says_what_the_report_of_each_says() -> None:
    several = [trials(search(50, seed=seed), label=f"s{seed}", source=f"s{seed}.csv") for seed in (31, 32)]
    found = compare(several)
    text = found.text("md")
    for study in found.findings.studies:
        for effect in study.effects:
            assert effect.direction is not None
            assert graded(effect.direction) in text


def test_a_configuration_that_ran_often_is_no_tie_of_many_and_the_command_takes_as_many_as_are_named() -> None:
    frame = search(20).sort_values("value", ascending=False, ignore_index=True)
    frame = pd.concat([frame, *[frame.iloc[2:3]] * 8], ignore_index=True)
    (confirm,) = (a for a in told(frame).findings.actions if a.kind is ActionKind.CONFIRM)
    assert confirm.trials == (0, 1, 2)
    known = with_command(confirm, source="mine", is_study=True)
    assert known.command == "hpo-batch confirm mine --top 3 --seeds 2"
