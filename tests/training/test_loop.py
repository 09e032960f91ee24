"""The loop as somebody calls it who wrote another trainer."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from hpo_batch.training.loop import Rate, Schedule, Steps, fit, seed_all, train_epoch

from .conftest import RecordingTrial


def test_a_trainer_of_ones_own(tmp_path: Path) -> None:
    trial = RecordingTrial(params={"width": 4}, dir=tmp_path)
    order = seed_all(trial)
    model = nn.Linear(2, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    x = torch.randn(50, 2)
    y = x @ torch.tensor([[1.0], [-1.0]])
    steps = Steps(n_train=40, batch_size=16, rate=Rate(peak=0.1))

    def loss_of(batch: Tensor) -> tuple[Tensor, int]:
        return (model(x[batch]) - y[batch]).square().mean(), len(batch)

    result = fit(
        trial,
        Schedule(epochs=30, metric="val_r2"),
        {"model": model, "optimizer": optimizer, "order": order},
        lambda epoch: train_epoch(model, optimizer, steps, loss_of, epoch=epoch, order=order),
        lambda _epoch: {"val_r2": 1 - float((model(x[40:]) - y[40:]).square().mean() / y[40:].var())},
    )
    assert result is not None
    assert result["val_r2"] > 0.99
    assert len(trial.reports) == result["epochs_run"] == 30


def test_the_mean_loss_weighs_samples_not_batches() -> None:
    losses = iter([1.0, 1.0, 4.0])
    model = nn.Linear(1, 1)

    def loss_of(batch: Tensor) -> tuple[Tensor, int]:
        return model.weight.sum() * 0 + next(losses), len(batch)

    steps = Steps(n_train=10, batch_size=4, rate=Rate(peak=0.1))  # batches of 4, 4 and 2
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    mean = train_epoch(model, optimizer, steps, loss_of, epoch=1, order=torch.Generator())
    assert mean == pytest.approx((4 * 1 + 4 * 1 + 2 * 4) / 10)


def test_rates() -> None:
    warm = Rate(peak=1.0, warmup_steps=4)
    assert [warm.at(step) for step in (1, 2, 4, 5, 100)] == [0.25, 0.5, 1, 1, 1]
    cosine = Rate(peak=2.0, cosine_steps=10)
    assert cosine.at(1) == 2.0
    assert cosine.at(6) == pytest.approx(1.0)
    assert cosine.at(11) == pytest.approx(0.0)
    assert all(cosine.at(step) > cosine.at(step + 1) for step in range(1, 10))
    assert Rate(peak=1.0).is_constant
    assert not cosine.is_constant


def test_a_metric_that_is_no_number_is_an_error(tmp_path: Path) -> None:
    model = nn.Linear(1, 1)
    trial = RecordingTrial(params={}, dir=tmp_path)
    with pytest.raises(FloatingPointError, match="val_auc is nan after epoch 1"):
        fit(
            trial,
            Schedule(epochs=2, metric="val_auc"),
            {"model": model},
            lambda _epoch: 0.0,
            lambda _epoch: {"val_auc": math.nan},
        )


def test_a_model_is_needed(tmp_path: Path) -> None:
    trial = RecordingTrial(params={}, dir=tmp_path)
    with pytest.raises(TypeError, match=r'fit needs parts\["model"\]'):
        fit(trial, Schedule(epochs=1, metric="m"), {}, lambda _epoch: 0.0, lambda _epoch: {"m": 0.0})
