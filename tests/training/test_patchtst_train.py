"""The objective: what it returns, when it ends, and that an interruption changes no number."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from hpo_batch.training import checkpoint
from hpo_batch.training.data import Dataset, load
from hpo_batch.training.patchtst import train as trainer
from hpo_batch.training.patchtst.model import PatchTST
from hpo_batch.training.patchtst.settings import Settings
from hpo_batch.training.patchtst.size import n_params
from hpo_batch.training.patchtst.train import train

from .conftest import KilledError, RecordingTrial

MakeTrial = Callable[..., RecordingTrial]
MEASURED = {"seconds", "seconds_per_epoch", "peak_memory_mb"}


def numbers(result: dict[str, float] | None) -> dict[str, float]:
    """The metrics without what a clock or the kernel measured."""
    assert result is not None
    return {name: value for name, value in result.items() if name not in MEASURED}


def with_val_auc(monkeypatch: pytest.MonkeyPatch, values: list[float]) -> None:
    """Let epoch i have the validation AUC values[i - 1]."""
    real = trainer.evaluate

    def evaluate(*args: Any, epoch: int, **kwargs: Any) -> dict[str, float]:
        return {**real(*args, epoch=epoch, **kwargs), "val_auc": values[epoch - 1]}

    monkeypatch.setattr(trainer, "evaluate", evaluate)


def test_a_small_model_learns_the_digits(make_trial: MakeTrial) -> None:
    trial = make_trial(params={"d_model": 16, "n_heads": 4, "epochs": 5, "dropout": 0.0})
    result = train(trial)
    assert result is not None
    assert set(result) == {
        *("val_auc", "val_loss", "precision", "recall", "pred_min", "pred_max", "pred_range", "n_eval", "n_pos"),
        *("val_acc", "f1", "f1_best", "f1_threshold", "collapsed"),
        *("best_epoch", "epochs_run", "n_params", "flop", "peak_memory_mb", "seconds", "seconds_per_epoch"),
    }
    assert result["val_auc"] > 0.85
    assert result["n_params"] == n_params(trial.params)
    assert (result["n_eval"], result["n_pos"], result["epochs_run"]) == (445, 222, 5)
    assert result["seconds"] > 0
    assert result["peak_memory_mb"] > 0
    assert [step for step, _ in trial.reports] == [1, 2, 3, 4, 5]
    assert set(trial.reports[0][1]) == {"val_auc", "val_loss", "val_acc", "precision", "recall", "train_loss"}
    assert trial.reports[-1][1]["train_loss"] < trial.reports[0][1]["train_loss"]


def test_dated_rows_train(make_trial: MakeTrial, prices: pd.DataFrame, write: Callable[..., str]) -> None:
    params = {"data": write(prices), "context": 20, "patch_len": 5, "warmup_steps": 3, "grad_clip": 1.0, "epochs": 2}
    trial = make_trial(params=params)
    result = train(trial)
    assert result is not None
    assert 0 < result["val_auc"] < 1
    assert result["n_params"] == n_params(trial.params)


def test_the_result_is_that_of_the_best_epoch_not_of_the_last(
    make_trial: MakeTrial, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_val_auc(monkeypatch, [0.6, 0.9, 0.7, 0.9])
    trial = make_trial()
    result = train(trial)
    assert result is not None
    assert (result["val_auc"], result["best_epoch"], result["epochs_run"]) == (0.9, 2, 4)
    assert result["val_loss"] == trial.reports[1][1]["val_loss"]
    state = checkpoint.load(trial.checkpoint)
    assert state is not None
    assert not torch.equal(state["best_model"]["head.weight"], state["model"]["head.weight"])


def test_the_kept_best_model_is_the_one_that_was_measured(make_trial: MakeTrial) -> None:
    trial = make_trial(params={"learning_rate": 0.1, "epochs": 6})
    result = train(trial)
    state = checkpoint.load(trial.checkpoint)
    assert result is not None
    assert state is not None
    settings = Settings.from_params(trial.params)
    model = PatchTST(settings, n_features=8)
    model.load_state_dict(state["best_model"])
    metrics = trainer.evaluate(model, load(settings), epoch=0, autocast=False)
    assert metrics["val_auc"] == result["val_auc"]


def test_training_ends_after_patience_epochs_without_a_better_one(
    make_trial: MakeTrial, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_val_auc(monkeypatch, [0.6, 0.7, 0.7, 0.65, 0.9, 0.9])
    result = train(make_trial(params={"epochs": 6, "patience": 2}))
    assert result is not None
    assert (result["best_epoch"], result["epochs_run"], result["val_auc"]) == (2, 4, 0.7)


def test_patience_zero_never_ends_early(make_trial: MakeTrial, monkeypatch: pytest.MonkeyPatch) -> None:
    with_val_auc(monkeypatch, [0.9, 0.1, 0.1, 0.1, 0.1])
    result = train(make_trial(params={"epochs": 5, "patience": 0}))
    assert result is not None
    assert result["epochs_run"] == 5


def test_the_seed_decides_every_number(make_trial: MakeTrial) -> None:
    a, b, other = (train(make_trial(dir=name, seed=seed)) for name, seed in (("a", 1), ("b", 1), ("c", 2)))
    assert numbers(a) == numbers(b)
    assert numbers(a) != numbers(other)


@pytest.mark.parametrize("extra", [{}, {"checkpoint_every": 3, "warmup_steps": 30}])
def test_a_trial_stopped_after_every_epoch_gives_the_same_numbers(make_trial: MakeTrial, extra: dict[str, Any]) -> None:
    params = {"epochs": 5, **extra}
    whole = make_trial(dir="whole", params=params)
    expected = train(whole)

    reports = []
    for epoch in range(1, 6):
        part = make_trial(dir="parts", params=params, resumes=epoch > 1, stop_after=1)
        result = train(part)
        reports += part.reports
        assert [step for step, _ in part.reports] == [epoch]
        torch.rand(epoch)  # other work in the worker moves the global generator
        if epoch < 5:
            assert result is None
    assert numbers(result) == numbers(expected)
    assert reports == whole.reports


def test_a_trial_killed_before_a_checkpoint_gives_the_same_numbers(make_trial: MakeTrial) -> None:
    params = {"epochs": 6, "checkpoint_every": 2, "patience": 5}
    expected = train(make_trial(dir="whole", params=params))
    with pytest.raises(KilledError):
        train(make_trial(dir="killed", params=params, kill_at=5))
    resumed = make_trial(dir="killed", params=params, resumes=True)
    assert numbers(train(resumed)) == numbers(expected)
    assert [step for step, _ in resumed.reports] == [5, 6]


def test_a_process_killed_at_any_instant_gives_the_same_numbers(make_trial: MakeTrial, tmp_path: Path) -> None:
    whole = make_trial(dir="whole", params={"epochs": 12})
    killed = tmp_path / "killed"
    script = f"""
import sys
from pathlib import Path
sys.path.insert(0, {os.fspath(Path(__file__).parents[1])!r})
from training.conftest import RecordingTrial
from hpo_batch.training.patchtst.train import train
train(RecordingTrial(params={whole.params!r}, dir=Path({os.fspath(killed)!r})))
"""
    process = subprocess.Popen([sys.executable, "-c", script])
    try:
        deadline = time.monotonic() + 60
        while not list(killed.glob("checkpoint/epoch-00000[3-9]*")):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.005)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    resumed = make_trial(dir="killed", params=whole.params, resumes=True)
    assert numbers(train(resumed)) == numbers(train(whole))
    assert 3 < resumed.reports[0][0] <= 12
    assert resumed.reports == whole.reports[-len(resumed.reports) :]


def test_a_resumed_trial_falls_back_when_the_newest_checkpoint_is_torn(make_trial: MakeTrial) -> None:
    expected = train(make_trial(dir="whole"))
    stopped = make_trial(dir="torn", stop_after=3)
    assert train(stopped) is None
    max(stopped.checkpoint.iterdir()).write_bytes(b"torn")
    resumed = make_trial(dir="torn", resumes=True)
    assert numbers(train(resumed)) == numbers(expected)
    assert [step for step, _ in resumed.reports] == [3, 4]


def test_a_finished_trial_that_was_not_told_trains_no_further(
    make_trial: MakeTrial, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_val_auc(monkeypatch, [0.9, 0.8, 0.7, 0.6])
    params = {"patience": 2, "checkpoint_every": 4}
    expected = train(make_trial(params=params))
    again = make_trial(params=params, resumes=True)
    assert numbers(train(again)) == numbers(expected)
    assert again.reports == []


def test_seconds_add_up_over_attempts(make_trial: MakeTrial) -> None:
    trial = make_trial()
    train(trial)
    state = checkpoint.load(trial.checkpoint)
    assert state is not None
    result = train(make_trial(resumes=True))  # trains no epoch: all its seconds are those of the first attempt
    assert result is not None
    assert result["seconds"] >= state["seconds"] > 0


def test_stop_is_asked_after_each_epoch_but_the_last(make_trial: MakeTrial) -> None:
    trial = make_trial(stop_after=4)
    assert train(trial) is not None
    assert trial.stop_asked_at == [1, 2, 3]


def test_checkpoints_are_written_as_often_as_asked_and_at_the_end(
    make_trial: MakeTrial, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = []
    monkeypatch.setattr(checkpoint, "save", lambda _directory, epoch, _state: written.append(epoch))
    train(make_trial(params={"epochs": 5, "checkpoint_every": 2}))
    assert written == [2, 4, 5]


def test_an_old_checkpoint_is_not_used_unless_the_trial_resumes(make_trial: MakeTrial) -> None:
    train(make_trial())
    again = make_trial()
    train(again)
    assert [step for step, _ in again.reports] == [1, 2, 3, 4]


@pytest.mark.parametrize("other", [{"seed": 8}, {"params": {"dropout": 0.1}}])
def test_a_checkpoint_of_another_seed_or_configuration_is_not_continued(
    make_trial: MakeTrial, other: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    train(make_trial())
    resumed = make_trial(resumes=True, **other)
    train(resumed)
    assert [step for step, _ in resumed.reports] == [1, 2, 3, 4]
    assert "training from the start" in caplog.text


def test_a_loss_that_is_not_finite_is_an_error_with_its_place(
    make_trial: MakeTrial, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load_nan(*args: Any) -> Dataset:
        data = load(*args)
        data.x_train[:] = float("nan")
        return data

    monkeypatch.setattr(trainer, "load", load_nan)
    with pytest.raises(FloatingPointError, match="the training loss is nan in epoch 1, step 1 of 11"):
        train(make_trial())


def test_a_learning_rate_that_explodes_is_an_error(make_trial: MakeTrial) -> None:
    trial = make_trial(params={"learning_rate": 1e30})
    with pytest.raises(FloatingPointError, match="epoch 1"):
        train(trial)
    assert trial.reports == []


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_a_missing_gpu_is_an_error_not_a_run_on_the_cpu(make_trial: MakeTrial) -> None:
    with pytest.raises(RuntimeError, match=r"given device 'cuda' but torch .* sees no GPU"):
        train(make_trial(device="cuda"))


def test_an_unknown_parameter_is_an_error(make_trial: MakeTrial) -> None:
    with pytest.raises(ValueError, match=r"unknown parameter 'droput'; did you mean 'dropout'\?"):
        train(make_trial(params={"droput": 0.1}))


def test_threads_are_those_of_the_trial(make_trial: MakeTrial) -> None:
    torch.set_num_threads(2)
    train(make_trial(params={"epochs": 1}, cpus=1))
    assert torch.get_num_threads() == 1


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_trains_resumes_and_measures_its_memory(make_trial: MakeTrial) -> None:
    assert train(make_trial(device="cuda", stop_after=2)) is None
    result = train(make_trial(device="cuda", resumes=True))
    assert result is not None
    assert result["val_auc"] > 0.7
    assert 0 < result["peak_memory_mb"] < 2000
