"""The sweeps of the five documents made small: seconds instead of days, through submit, collect and report."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from tests.cli.conftest import Cli

ROWS = {"n_features": 4, "context": 16, "patch_len": 8, "stride": 8, "epochs": 1, "batch_size": 256}
"""windows of dated rows, in documents 000 to 002"""


def write_rows(path: Path) -> str:
    """300 days of which the label is in the features, so that models differ by what they learn."""
    random = np.random.default_rng(3)
    rises = random.random(301) < 0.4
    close = np.full(300, 100.0)
    high = np.where(rises[:-1], 102.0, 100.5)
    sign = np.where(rises[1:], 1.0, -1.0) + random.normal(0, 1.0, 300)
    dates = pd.date_range("2022-06-01", periods=300).strftime("%Y-%m-%d")
    frame = pd.DataFrame(
        {"date": dates, "high": high, "close": close, "signal": sign, "noise": random.normal(size=300)}
    )
    frame.to_csv(path, index=False)
    return str(path)


def space(**values: object) -> dict[str, object]:
    return {f"space__{name}": value for name, value in values.items()}


def _supplementary(rows: str) -> dict[str, object]:
    """Document 000: its 29 named trials, each in its own architecture, for one epoch."""
    return space(**ROWS, data=rows)


def _budgets(rows: str) -> dict[str, object]:
    """Documents 001 and 002: two forced extremes of each budget, in its own architectures."""
    few = {"study__trials": 2, "sampler__extremes": '["n_heads"]', "sampler__startup_trials": 2}
    return {**space(**ROWS, data=rows), **few}


def _losses(rows: str) -> dict[str, object]:
    """The losses of document 002: 6 of 120 cells."""
    small = {**ROWS, "data": rows, "d_model": 8, "n_heads": 2, "n_layers": 1, "learning_rate": 3e-2, "epochs": 3}
    grid = {"gamma": "[0.0, 2.0]", "alpha": "[0.1, 0.5, 0.9]", "dropout": 0.3, "test_split": "'2023-02-15'"}
    return space(**small, **grid, split="'2022-12-15'")


def _visual(_rows: str) -> dict[str, object]:
    """Document 003."""
    small = {
        "data_dir": "simulated",
        "n_tasks": 50,
        "embed_dim": 8,
        "depth": 2,
        "width_mult": 0.2,
        "mlp_hidden": 8,
        "ctx_d_model": 8,
        "ctx_n_head": 2,
        "ctx_pixel_layers": 1,
        "ctx_grid_layers": 1,
        "epochs": 4,
    }
    return {**space(**small), "study__trials": 8}


def _knowledge_tracing(_rows: str) -> dict[str, object]:
    """Document 004."""
    small = {
        "data": "simulated",
        "n_skills": 5,
        "d_model": 8,
        "n_students": 60,
        "n_responses": 10,
        "epochs": 2,
        "d_ff": "[8, 16]",
        "dropout": "[0.1, 0.3]",
        "num_encoder_blocks": "[1, 2]",
        "learning_rate": 3e-3,
    }
    return {**space(**small), "sampler__coverage": '["d_ff", "dropout", "num_encoder_blocks"]'}


SMALL: Mapping[str, Callable[[str], dict[str, object]]] = {
    "supplementary-trials": _supplementary,
    "patchtst-budgets": _budgets,
    "loss-sweep": _losses,
    "visual-classifier-v3": _visual,
    "gainakt4-grid": _knowledge_tracing,
}
"""sweep of `configs/` -> what `--set` makes of it, given the file of rows"""


def submit(cli: Cli, name: str, rows: str, *options: str, **values: object) -> None:
    small = {"job__workers": 1, **SMALL[name](rows), **values}
    sets = [f"--set={key.replace('__', '.')}={value}" for key, value in small.items()]
    ended = cli("submit", f"configs/{name}.toml", *options, *sets)
    assert ended.code == 0, ended.err


def collected(cli: Cli, name: str, folder: Path) -> list[dict[str, str]]:
    """The trials of a sweep, of which a report is written into the folder."""
    found = cli("collect", f"configs/{name}.toml", "--format", "csv")
    assert found.code == 0
    reported = cli("report", f"configs/{name}.toml", "-o", folder)
    assert reported.code == 0, reported.err
    assert name in (folder / "report.md").read_text()
    assert json.loads((folder / "report.json").read_text())
    return list(csv.DictReader(io.StringIO(found.out)))


def check_complete(trials: list[dict[str, str]], n: int) -> None:
    assert [trial["state"] for trial in trials] == ["COMPLETE"] * n
    for name in ("n_params", "n_eval", "flop", "best_epoch", "epochs_run", "seconds_per_epoch", "peak_memory_mb"):
        assert all(float(trial[f"user_attrs_{name}"]) > 0 for trial in trials), name
    assert all(trial["seed"] for trial in trials)
    assert sum(bool(trial["node"]) for trial in trials) >= n - 1  # F2 of document 000 is C2, which is trained once
