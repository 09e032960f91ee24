"""``report`` and ``compare`` on files and studies, good and bad."""

from __future__ import annotations

import csv
import json
import math
import random
from pathlib import Path

import pytest

from tests.cli.conftest import Cli

GIVEN = ("--value", "auc", "--direction", "maximize")


def trials_file(path: Path, *, n: int = 24, seed: int = 0) -> Path:
    draw = random.Random(seed)
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["trial", "lr", "width", "<script>alert(1)</script>", "auc"])
        for i in range(n):
            lr, width = draw.choice([1e-4, 1e-3, 1e-2]), draw.choice([32, 64, 128])
            score = 0.7 + 0.02 * math.log10(lr / 1e-4) + draw.gauss(0, 0.005)
            rows.writerow([i, lr, width, draw.choice(["a", "b"]), score])
    return path


def test_a_report_of_a_file(cli: Cli, tmp_path: Path) -> None:
    source = trials_file(tmp_path / "runs.csv")
    ended = cli("report", "--from", source, *GIVEN, "-o", tmp_path / "r")
    assert ended.code == 0, ended.err
    assert ended.out.strip() == str((tmp_path / "r" / "report.html").resolve())
    files = {path.name for path in (tmp_path / "r").iterdir()}
    assert files == {"report.html", "report.md", "report.json", "tables.tex", "figures"}
    told = json.loads((tmp_path / "r" / "report.json").read_text())
    assert told["studies"][0]["summary"]["n"] == 24
    assert {effect["parameter"] for effect in told["studies"][0]["effects"]} >= {"lr", "width"}
    assert "<script>alert" not in (tmp_path / "r" / "report.html").read_text()
    assert any(path.name.startswith("slices-") for path in (tmp_path / "r" / "figures").iterdir())


def test_a_report_of_a_study(cli: Cli, write_sweep, tmp_path: Path) -> None:
    assert cli("submit", write_sweep(trials=6), "--wait").code == 0
    ended = cli("report", "toy", "-o", tmp_path / "r")
    assert ended.code == 0, ended.err
    told = json.loads((tmp_path / "r" / "report.json").read_text())
    assert told["studies"][0]["direction"] == "minimize"
    assert told["studies"][0]["summary"]["n"] == 6
    ended = cli("report", "toy")
    page = Path(ended.out.strip())
    assert page.parent.name == "report"
    assert (page.parent.parent / "journal.jsonl").is_file()


@pytest.mark.parametrize("n", [0, 1, 2])
def test_next_to_no_trials_give_a_report_or_a_message(cli: Cli, tmp_path: Path, n: int) -> None:
    source = trials_file(tmp_path / "runs.csv", n=n)
    ended = cli("report", source, *GIVEN, "-o", tmp_path / "r")
    assert ended.code in (0, 2), ended.err
    assert (tmp_path / "r" / "report.html").exists() == (ended.code == 0)


def test_compare_puts_studies_side_by_side(cli: Cli, tmp_path: Path) -> None:
    sources = [trials_file(tmp_path / f"{name}.csv", seed=seed) for seed, name in enumerate(("one", "two"))]
    ended = cli("compare", *sources, *GIVEN)
    assert ended.code == 0, ended.err
    assert "What each parameter does" in ended.out
    ended = cli("compare", *sources, *GIVEN, "-o", tmp_path / "c.html")
    assert ended.code == 0, ended.err
    assert (tmp_path / "c.html").read_text().lstrip().startswith("<!DOCTYPE html>")
    ended = cli("compare", sources[0], *GIVEN)
    assert ended.code == 2
    assert "at least two" in ended.err


def test_options_that_make_no_sense_are_told(cli: Cli, tmp_path: Path) -> None:
    source = trials_file(tmp_path / "runs.csv")
    ended = cli("report", source, *GIVEN, "--n-pos", "76")
    assert ended.code == 2
    assert "--n-eval" in ended.err
    (tmp_path / "file").write_text("x")
    ended = cli("report", source, *GIVEN, "-o", tmp_path / "file")
    assert ended.code == 2
    assert "takes a folder" in ended.err
