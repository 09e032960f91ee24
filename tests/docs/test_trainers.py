"""docs/trainers.md: its example resumes exactly, its table has every metric of every trainer, its sweeps exist."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from hpo_batch.objective.metrics import Wanted
from hpo_batch.training.visual.simulate import RULES
from tests.helpers import REPOSITORY
from tests.training.conftest import RecordingTrial
from tests.training.families import FAMILIES

TEXT = (REPOSITORY / "docs" / "trainers.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", TEXT, flags=re.DOTALL)


@pytest.fixture(scope="module")
def example() -> Callable[[Any], Mapping[str, float] | None]:
    source, _of_several_ranks = blocks("python")  # which tests/training/test_ranks.py runs
    names: dict[str, Any] = {"torch": torch}
    exec(compile(source, "docs/trainers.md", "exec"), names)
    train: Callable[[Any], Mapping[str, float] | None] = names["train"]
    return train


def test_the_example_goes_on_to_the_last_bit(example: Callable[[Any], Any], tmp_path: Path) -> None:
    whole = RecordingTrial(params={"lr": 0.1}, dir=tmp_path / "whole")
    expected = example(whole)
    parts: list[tuple[int, dict[str, float]]] = []
    for attempt in range(1, 11):
        part = RecordingTrial(params={"lr": 0.1}, dir=tmp_path / "parts", resumes=attempt > 1, stop_after=attempt)
        result = example(part)
        parts += part.reports
        torch.rand(attempt)
    assert parts == whole.reports
    assert example(RecordingTrial(params={"lr": 0.1}, dir=tmp_path / "parts", resumes=True)) == expected
    assert result is None  # it was told to stop after its last epoch, too


def test_every_metric_stands_in_the_table(tmp_path: Path) -> None:
    table = TEXT.split("## Metrics")[1].split("\n\n`train_loss`")[0]
    cells = [re.findall(r"`([^`]+)`", line.split("|")[1]) for line in table.splitlines() if line.startswith("| `")]
    named = {name for cell in cells for name in cell}
    returned: set[str] = set()
    for name, family in FAMILIES.items():
        result = family.train(RecordingTrial(params={**family.params, "epochs": 1}, dir=tmp_path / name))
        assert result is not None
        returned |= set(result)
    categories = {f"recall_{rule}" for rule in RULES}
    of_test = {name for name in returned if name.startswith("test_")}
    assert of_test
    assert returned - categories - of_test == named - {"recall_<category>", "test_..."}
    assert {f"test_{name.removeprefix('val_')}" for name in named} >= of_test - {f"test_{name}" for name in categories}


def test_the_formula_can_be_computed_from_a_trial(tmp_path: Path) -> None:
    (source,) = blocks("toml")
    formula = re.findall(r'score = "(.*)"', source)[0]
    family = FAMILIES["patchtst"]
    trial = RecordingTrial(params={**family.params, "epochs": 1}, dir=tmp_path)
    result = family.train(trial)
    assert result is not None
    wanted = Wanted.parse(("score",), {"score": formula})
    for metrics in (result, trial.reports[0][1]):  # also from a report: that is what a pruner sees
        expected = 2 * metrics["precision"] + metrics["recall"] + 0.1 * metrics["val_auc"]
        assert wanted.complete(metrics)["score"] == pytest.approx(expected)


def test_sweeps_and_functions_of_the_table_exist() -> None:
    rows = [line for line in TEXT.splitlines() if line.startswith("| `hpo_batch.training")]
    assert len(rows) == 3
    for row in rows:
        for name in re.findall(r"`(?:configs/)?([\w-]+\.toml)`", row):
            module = re.findall(r"`(hpo_batch\.[\w.]+:train)`", row)[0]
            assert f'function = "{module}"' in (REPOSITORY / "configs" / name).read_text()
