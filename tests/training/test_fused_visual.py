"""The visual trainer fused: batch norm, draws of each trial, label smoothing, a cosine schedule; as each alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from hpo_batch.training.fused.block import Block, Epoch
from hpo_batch.training.visual.many import recipe
from hpo_batch.training.visual.settings import SHAPE
from hpo_batch.training.visual.train import train, train_many

from .conftest import KilledError, RecordingTrial
from .families import FAMILIES
from .test_fused_knowledge_tracing import make as make_small
from .test_fused_many import GivenTrials, numbers

MakeTrial = Callable[..., RecordingTrial]
ENCODERS = ("visual", "visual-context")


def make(make_trial: MakeTrial, folder: str, count: int, family: str, **each: Any) -> list[RecordingTrial]:
    trials = make_small(make_trial, folder, count, **each)
    for trial in trials:
        own = {name: value for name, value in trial.params.items() if name in each}
        trial.params = {**FAMILIES[family].params, "epochs": 3, **own}
    return trials


def run(trials: list[RecordingTrial]) -> dict[int, Any]:
    given = GivenTrials(trials, size=4)
    train_many(given)
    return given.results


SETTINGS = {
    "lr": [1e-3, 3e-3, 1e-2, 5e-3],
    "weight_decay": [0.0, 0.01, 0.001, 0.1],
    "label_smoothing": [0.0, 0.1, 0.2, 0.0],
    "use_scheduler": [True, False, True, False],
    "color_permute": [True, True, False, False],
    "random_demos": [True, False, True, False],
    "ctx_dropout": 0.0,
}


@pytest.mark.parametrize("family", ENCODERS)
def test_results_are_those_of_each_alone(make_trial: MakeTrial, family: str) -> None:
    together = make(make_trial, "many", 4, family, **SETTINGS)
    results = run(together)
    for number, trial in enumerate(make(make_trial, "alone", 4, family, **SETTINGS)):
        expected = train(trial)
        assert expected is not None
        assert isinstance(results[number], dict), results[number]
        assert results[number].keys() == expected.keys()
        assert results[number]["n_params"] == expected["n_params"]
        for (_, ours), (_, theirs) in zip(together[number].reports, trial.reports, strict=True):
            assert ours["train_loss"] == pytest.approx(theirs["train_loss"], rel=1e-4)
            assert ours["val_loss"] == pytest.approx(theirs["val_loss"], rel=1e-3)


def test_batches_that_are_filled_up_do_not_change_the_statistics(make_trial: MakeTrial) -> None:
    """Of batch norm: those of torch for batches as they are, also the smaller last one."""
    trial = make(make_trial, "one", 1, "visual")[0]
    made = recipe(trial, device=torch.device("cpu"), autocast=False)
    assert made.task.n_train % made.task.batch_size  # the last batch is smaller
    torch.manual_seed(0)
    model = made.model()
    block = Block(made.task, model, 2, device=torch.device("cpu"), loss_names=["label_smoothing"])
    for slot in range(2):
        block.stack.put(slot, model)
    order = torch.randperm(made.task.n_train, generator=torch.Generator().manual_seed(1))
    assert made.draw is not None
    drawn = made.draw(order, torch.Generator().manual_seed(2))
    rates = [0.0] * made.task.n_steps
    epoch = Epoch(order=order, learning_rates=rates, seed=0, number=1, drawn=drawn, loss={"label_smoothing": 0.0})
    block.train([epoch, epoch], [0, 0])
    model.train()
    with torch.no_grad():
        for start in range(0, made.task.n_train, made.task.batch_size):
            part = slice(start, start + made.task.batch_size)
            model(made.task.batch(order[part], {name: values[part] for name, values in drawn.items()})[0])
    buffers = dict(model.named_buffers())
    expected = torch.cat([buffers[place.name].flatten() for place in block.stack._buffers_of])
    assert torch.allclose(block.stack.statistics[1], expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("family", ENCODERS)
def test_a_killed_block_gives_the_same_bits(make_trial: MakeTrial, family: str) -> None:
    expected = run(make(make_trial, "whole", 3, family))
    trials = make(make_trial, "killed", 3, family)
    trials[0].kill_at = 2
    with pytest.raises(KilledError):
        run(trials)
    again = make(make_trial, "killed", 3, family)
    for trial in again:
        trial.resumes = True
    results = run(again)
    assert {n: numbers(result) for n, result in results.items()} == {n: numbers(r) for n, r in expected.items()}


def test_the_shape_is_declared() -> None:
    assert train_many.shape == SHAPE
    assert {"depth", "embed_dim", "temperature", "encoder_type", "batch_size"} <= set(SHAPE)
