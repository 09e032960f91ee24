"""One file, several budgets: a study for each, submitted, resumed and collected together."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from pathlib import Path

from tests.cli.conftest import Cli

BUDGETS = """
[[budget]]
name = "small"
space = { n = [1, 2] }

[[budget]]
name = "large"
study = { trials = 4 }
space = { n = [5, 6] }
"""


def test_each_budget_is_a_study(cli: Cli, write_sweep: Callable[..., Path], root: Path) -> None:
    path = write_sweep(trials=3, more=BUDGETS)
    ended = cli("submit", path, "--wait")
    assert ended.code == 0, ended.err
    assert (root / "toy" / "small" / "journal.jsonl").is_file()
    rows = list(csv.DictReader(io.StringIO(cli("collect", path, "--format", "csv").out)))
    assert [row["study"] for row in rows] == ["toy/large"] * 4 + ["toy/small"] * 3
    assert {row["params_n"] for row in rows if row["study"] == "toy/small"} <= {"1", "2"}
    assert {row["params_n"] for row in rows if row["study"] == "toy/large"} <= {"5", "6"}
    status = cli("status", "toy").out
    assert "toy/small" in status
    assert "4 of 4 finished" in status
    both, one = (Path(cli("report", name).out.strip()) for name in ("toy", "toy/small"))
    assert both.parent == (root / "toy" / "report").resolve()
    assert one.parent == (root / "toy" / "small" / "report").resolve()
    assert "study.trials: 3 -> 4" in cli("submit", path, "--wait", "--trials", "4").err  # options beat budgets


def test_a_budget_that_cannot_be_submitted_does_not_stop_the_others(
    cli: Cli, write_sweep: Callable[..., Path], root: Path
) -> None:
    path = write_sweep(trials=2, more=BUDGETS)
    cli("submit", path, "--wait")
    text = path.read_text().replace("n = [1, 2]", 'n = [1, 2] }\nobjective = { function = "tests.cli.toys:returns_nan"')
    path.write_text(text)
    ended = cli("submit", path, "--wait", "--set", "study.trials=5")
    assert ended.code == 2
    assert "toy/small" in ended.err
    assert "objective.function" in ended.err
    assert "5 of 5 finished" in cli("status", "toy/large").out
    assert "2 of 2 finished" in cli("status", "toy/small").out
