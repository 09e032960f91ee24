"""The sweeps of the five documents, made small, through submit, collect and report with the trainers that ship."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.cli.conftest import Cli, cli  # noqa: F401  # the fixture

SMALL_ROWS = {"n_features": 4, "context": 16, "patch_len": 8, "stride": 8, "epochs": 1, "batch_size": 256}


@pytest.fixture
def rows(tmp_path: Path) -> str:
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
    path = tmp_path / "rows.csv"
    frame.to_csv(path, index=False)
    return str(path)


def run(cli: Cli, name: str, folder: Path, **values: object) -> list[dict[str, str]]:  # noqa: F811
    """Submit a sweep with some values set, wait, collect and report; its trials."""
    sets = [f"--set={key.replace('__', '.')}={value}" for key, value in {"job__workers": 1, **values}.items()]
    ended = cli("submit", f"configs/{name}.toml", "--local", "--wait", *sets)
    assert ended.code == 0, ended.err
    collected = cli("collect", f"configs/{name}.toml", "--format", "csv")
    assert collected.code == 0
    reported = cli("report", f"configs/{name}.toml", "-o", folder / "report")
    assert reported.code == 0, reported.err
    assert name in (folder / "report" / "report.md").read_text()
    assert json.loads((folder / "report" / "report.json").read_text())
    return list(csv.DictReader(io.StringIO(collected.out)))


def complete(trials: list[dict[str, str]], n: int) -> None:
    assert [trial["state"] for trial in trials] == ["COMPLETE"] * n
    for name in ("n_params", "n_eval", "flop", "best_epoch", "epochs_run", "seconds_per_epoch", "peak_memory_mb"):
        assert all(float(trial[f"user_attrs_{name}"]) > 0 for trial in trials), name
    assert all(trial["seed"] for trial in trials)
    assert sum(bool(trial["node"]) for trial in trials) >= n - 1  # F2 of document 000 is C2, which is trained once


def space(**values: object) -> dict[str, object]:
    return {f"space__{name}": value for name, value in values.items()}


def test_document_000(cli: Cli, rows: str, tmp_path: Path) -> None:  # noqa: F811
    """Its 29 named trials, each in its own architecture, for one epoch."""
    trials = run(cli, "supplementary-trials", tmp_path, **space(**SMALL_ROWS, data=rows))
    complete(trials, 29)
    assert {trial["set"] for trial in trials} == set("ABCDEF")


def test_documents_001_and_002(cli: Cli, rows: str, tmp_path: Path) -> None:  # noqa: F811
    """Two forced extremes of each budget, in its own architectures."""
    few = {"study__trials": 2, "sampler__extremes": '["n_heads"]', "sampler__startup_trials": 2}
    trials = run(cli, "patchtst-budgets", tmp_path, **space(**SMALL_ROWS, data=rows), **few)
    complete(trials, 6)
    by_budget = {name: [t for t in trials if t["budget"] == name] for name in ("2M", "20M", "200M")}
    sizes = [min(float(t["user_attrs_n_params"]) for t in by_budget[name]) for name in by_budget]
    assert sizes == sorted(sizes)


def test_the_loss_sweep_and_its_tables(cli: Cli, rows: str, tmp_path: Path) -> None:  # noqa: F811
    small = {**SMALL_ROWS, "data": rows, "d_model": 8, "n_heads": 2, "n_layers": 1, "learning_rate": 3e-2, "epochs": 3}
    grid = {"gamma": "[0.0, 2.0]", "alpha": "[0.1, 0.5, 0.9]", "dropout": 0.3, "test_split": "'2023-02-15'"}
    trials = run(cli, "loss-sweep", tmp_path, **space(**small, **grid, split="'2022-12-15'"))
    complete(trials, 6)
    for trial in trials:
        precision, recall, auc = (float(trial[f"user_attrs_{name}"]) for name in ("precision", "recall", "val_auc"))
        assert float(trial["value"]) == pytest.approx(2 * precision + recall + 0.1 * auc)
        assert 0 <= float(trial["user_attrs_test_auc"]) <= 1
    for metric in ("precision", "recall", "val_auc"):
        table = cli(
            "collect", "configs/loss-sweep.toml", "--pivot", "gamma", "alpha", "--cell", metric, "--format", "csv"
        )
        lines = list(csv.DictReader(io.StringIO(table.out)))
        assert [line["gamma"] for line in lines] == ["0.0", "2.0"]
        for trial in trials:
            (line,) = (line for line in lines if float(line["gamma"]) == float(trial["params_gamma"]))
            cell = line[f"alpha={float(trial['params_alpha']):g}"]
            assert float(cell) == float(trial[f"user_attrs_{metric}"])
    recalls = [cell for line in lines for name, cell in line.items() if name != "gamma"]
    assert len(set(recalls)) > 1
    heavier = {t["params_alpha"]: float(t["user_attrs_recall"]) for t in trials if float(t["params_gamma"]) == 0}
    assert heavier["0.9"] > heavier["0.1"]  # positives that weigh more are found more often


def test_document_003(cli: Cli, tmp_path: Path) -> None:  # noqa: F811
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
    trials = run(cli, "visual-classifier-v3", tmp_path, **space(**small), study__trials=8)
    assert len(trials) == 8
    assert {trial["state"] for trial in trials} <= {"COMPLETE", "PRUNED"}
    assert {trial["params_encoder_type"] for trial in trials} == {"cnn", "context"}
    best = max((t for t in trials if t["state"] == "COMPLETE"), key=lambda trial: float(trial["value"]))
    assert all(best[f"user_attrs_recall_{name}"] for name in ("fall", "frame", "grow", "mirror", "shift"))


def test_document_004(cli: Cli, tmp_path: Path) -> None:  # noqa: F811
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
    coverage = '["d_ff", "dropout", "num_encoder_blocks"]'
    trials = run(cli, "gainakt4-grid", tmp_path, **space(**small), sampler__coverage=coverage)
    complete(trials, 8)
    assert all(0 < float(t["user_attrs_test_auc"]) < 1 and t["user_attrs_test_auc"] != t["value"] for t in trials)
    assert len({(t["params_d_ff"], t["params_dropout"], t["params_num_encoder_blocks"]) for t in trials}) == 8


def test_a_trial_with_bad_data_fails_with_its_reason_and_harms_no_other(cli: Cli, tmp_path: Path) -> None:  # noqa: F811
    """Choices of data, one of them without the column of responses."""
    bad = tmp_path / "bad.csv"
    bad.write_text("user_id,skill_id,order_id\n1,1,1\n")
    sweep = tmp_path / "two-tables.toml"
    sweep.write_text(f"""
[study]
name = "two-tables"
metric = "val_auc"
direction = "maximize"
[objective]
function = "hpo_batch.training.knowledge_tracing.train:train"
[space]
data = ["simulated", "{bad}"]
dropout = [0.0, 0.2]
d_model = 8
d_ff = 8
n_heads = 2
num_encoder_blocks = 1
epochs = 1
[sampler]
name = "grid"
[failures]
exception = "fail"
""")
    ended = cli("submit", sweep, "--local", "--wait")
    assert ended.code == 1
    collected = list(csv.DictReader(io.StringIO(cli("collect", sweep, "--format", "csv").out)))
    states = {(trial["params_data"], trial["state"]) for trial in collected}
    assert states == {("simulated", "COMPLETE"), (str(bad), "FAIL")}
    messages = {trial["message"] for trial in collected if trial["state"] == "FAIL"}
    assert len(messages) == 1
    assert "has no column 'correct'; it has 'user_id', 'skill_id', 'order_id'" in messages.pop()
