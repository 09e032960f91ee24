"""A table of two parameters: means by hand, empty cells, and what cannot be asked."""

from __future__ import annotations

from pathlib import Path

import pytest

from .conftest import Cli

ROWS = """gamma,alpha,dropout,val_auc,precision,state
0,0.5,0.3,0.70,0.5,COMPLETE
0,0.5,0.5,0.80,0.7,COMPLETE
0,0.9,0.3,0.60,0.2,COMPLETE
2,0.5,0.3,0.65,,COMPLETE
2,0.9,0.3,0.99,0.9,FAIL
"""


@pytest.fixture
def trials(tmp_path: Path) -> Path:
    path = tmp_path / "trials.csv"
    path.write_text(ROWS)
    return path


OPTIONS = ("--value", "val_auc", "--direction", "maximize", "--params", "gamma,alpha,dropout", "--format", "csv")


def test_cells_are_means_of_complete_trials(cli: Cli, trials: Path) -> None:
    ended = cli("collect", trials, *OPTIONS, "--pivot", "gamma", "alpha")
    assert ended.code == 0
    assert ended.out == "gamma,alpha=0.5,alpha=0.9\n0,0.75,0.6\n2,0.65,\n"
    assert "cells: val_auc of 4 complete trials, 1 of 4 empty; some are means of several trials" in ended.err


def test_another_metric_and_a_filter(cli: Cli, trials: Path) -> None:
    ended = cli("collect", trials, *OPTIONS, "--pivot", "gamma", "alpha", "--cell", "precision")
    assert ended.out == "gamma,alpha=0.5,alpha=0.9\n0,0.6,0.2\n"
    one = cli("collect", trials, *OPTIONS, "--pivot", "gamma", "alpha", "--filter", "dropout == 0.3")
    assert one.out == "gamma,alpha=0.5,alpha=0.9\n0,0.7,0.6\n2,0.65,\n"
    assert "some are means" not in one.err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--pivot", "gamma", "gamma"], "'gamma' is named twice"),
        (["--pivot", "gamma", "beta"], "--pivot: 'beta' is not a column"),
        (["--pivot", "gamma", "alpha", "--cell", "auc"], "--cell: 'auc' is not a column"),
        (["--pivot", "gamma", "alpha", "--cell", "state"], "'state' is not a number in every trial"),
        (["--cell", "precision"], "--cell needs --pivot"),
        (["--pivot", "gamma", "alpha", "--top", "3"], "--pivot shows all trials, without --top"),
        (["--pivot", "gamma", "alpha", "--attempts"], "--attempts lists attempts"),
    ],
)
def test_what_cannot_be_asked_is_told(cli: Cli, trials: Path, options: list[str], message: str) -> None:
    ended = cli("collect", trials, *OPTIONS, *options)
    assert ended.code == 2
    assert message in ended.err
