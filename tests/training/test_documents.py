"""The sweeps of the five documents, made small, through submit, collect and report with the trainers that ship."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest

from tests import forked
from tests.cli.conftest import Cli, cli  # noqa: F401  # the fixture

from .documents import check_complete, collected, submit, write_rows


@pytest.fixture(autouse=True)
def _workers_with_torch(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    forked.workers(monkeypatch, "torch", "pandas")


@pytest.fixture
def rows(tmp_path: Path) -> str:
    return write_rows(tmp_path / "rows.csv")


def run(cli: Cli, name: str, folder: Path, rows: str = "") -> list[dict[str, str]]:  # noqa: F811
    """Submit a sweep, wait, collect and report; its trials."""
    submit(cli, name, rows, "--local", "--wait")
    return collected(cli, name, folder / "report")


def test_document_000(cli: Cli, rows: str, tmp_path: Path) -> None:  # noqa: F811
    trials = run(cli, "supplementary-trials", tmp_path, rows)
    check_complete(trials, 29)
    assert {trial["set"] for trial in trials} == set("ABCDEF")


def test_documents_001_and_002(cli: Cli, rows: str, tmp_path: Path) -> None:  # noqa: F811
    trials = run(cli, "patchtst-budgets", tmp_path, rows)
    check_complete(trials, 6)
    by_budget = {name: [t for t in trials if t["budget"] == name] for name in ("2M", "20M", "200M")}
    sizes = [min(float(t["user_attrs_n_params"]) for t in by_budget[name]) for name in by_budget]
    assert sizes == sorted(sizes)


def test_the_loss_sweep_and_its_tables(cli: Cli, rows: str, tmp_path: Path) -> None:  # noqa: F811
    trials = run(cli, "loss-sweep", tmp_path, rows)
    check_complete(trials, 6)
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
    trials = run(cli, "visual-classifier-v3", tmp_path)
    assert len(trials) == 8
    assert {trial["state"] for trial in trials} <= {"COMPLETE", "PRUNED"}
    assert {trial["params_encoder_type"] for trial in trials} == {"cnn", "context"}
    best = max((t for t in trials if t["state"] == "COMPLETE"), key=lambda trial: float(trial["value"]))
    assert all(best[f"user_attrs_recall_{name}"] for name in ("fall", "frame", "grow", "mirror", "shift"))


def test_document_004(cli: Cli, tmp_path: Path) -> None:  # noqa: F811
    trials = run(cli, "gainakt4-grid", tmp_path)
    check_complete(trials, 8)
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
