"""What fused training promises, for every family of trainers."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import pytest
import torch

from hpo_batch.training.fused.block import Block, Epoch
from hpo_batch.training.fused.recipe import Recipe

from .conftest import RecordingTrial
from .families import FAMILIES
from .test_fused import Counting
from .test_fused_many import GivenTrials

MakeTrial = Callable[..., RecordingTrial]
CPU = torch.device("cpu")
RATE = {"patchtst": "learning_rate", "knowledge_tracing": "learning_rate", "visual": "lr", "visual-context": "lr"}


def trial_of(make_trial: MakeTrial, family: str, number: int, **params: Any) -> RecordingTrial:
    trial = make_trial(dir=f"{family}/{number}", number=number, seed=number)
    trial.params = {**FAMILIES[family].params, "epochs": 2, **params}
    return trial


def recipe_of(family: str, trial: RecordingTrial) -> Recipe:
    module = importlib.import_module(FAMILIES[family].module.__name__.removesuffix("train") + "many")
    made: Recipe = module.recipe(trial, device=CPU, autocast=False)
    return made


@pytest.mark.parametrize("family", FAMILIES)
def test_a_step_takes_as_many_operations_for_many_models_as_for_two(make_trial: MakeTrial, family: str) -> None:
    made = recipe_of(family, trial_of(make_trial, family, 0))
    model, n_train = made.model(), made.task.n_train
    order = torch.arange(n_train)
    drawn = {} if made.draw is None else made.draw(order, torch.Generator())
    calls = []
    for k in (2, 6):
        block = Block(made.task, model, k, device=CPU, loss_names=tuple(made.loss))
        for slot in range(k):
            block.stack.put(slot, model)
        epochs = [
            Epoch(order=order, learning_rates=[1e-3] * made.task.n_steps, seed=s, number=1, loss=made.loss, drawn=drawn)
            for s in range(k)
        ]
        step = block.stepper(epochs)
        step()  # draws the masks ahead
        with Counting() as counting:
            step()
        calls.append(counting.calls)
    assert calls[0] == calls[1]
    assert sum(calls[0].values()) > 50


@pytest.mark.parametrize("family", FAMILIES)
def test_a_trial_that_diverges_leaves_the_others_alone(make_trial: MakeTrial, family: str) -> None:
    results = []
    for rate in (1e-3, 1e30):
        trials = [trial_of(make_trial, family, n, **{RATE[family]: rate if n == 1 else 1e-3}) for n in range(3)]
        given = GivenTrials(trials, size=3)
        FAMILIES[family].module.train_many(given)
        results.append(given.results)
    assert isinstance(results[1][1], FloatingPointError), results[1][1]
    metric = FAMILIES[family].metric
    for number in (0, 2):
        assert results[1][number][metric] == results[0][number][metric]
        assert results[1][number]["val_loss"] == pytest.approx(results[0][number]["val_loss"], rel=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("first", ["alone", "in a block"])
def test_a_trial_goes_on_in_a_block_from_where_it_stopped_alone_and_the_other_way_round(
    make_trial: MakeTrial, family: str, first: str
) -> None:
    rates = {name: 0.0 for name in ("dropout", "ctx_dropout") if name in FAMILIES[family].params}
    module = FAMILIES[family].module

    def trial(number: int, **values: Any) -> RecordingTrial:
        made = trial_of(make_trial, family, number, **rates, epochs=4)
        for name, value in values.items():
            setattr(made, name, value)
        return made

    def run(trial: RecordingTrial, *, in_block: bool) -> Any:
        if not in_block:
            return module.train(trial)
        beside = trial_of(make_trial, family, 9, **rates, epochs=1)
        given = GivenTrials([beside, trial], size=2)
        module.train_many(given)
        return given.results[trial.number]

    whole = trial(1, seed=5)
    expected = run(whole, in_block=False)
    stopped = trial(2, seed=5, stop_after=2)
    assert run(stopped, in_block=first == "in a block") is None
    continued = trial(2, seed=5, resumes=True)
    result = run(continued, in_block=first == "alone")
    assert [step for step, _ in stopped.reports + continued.reports] == [1, 2, 3, 4]
    for (_, ours), (_, theirs) in zip(stopped.reports + continued.reports, whole.reports, strict=True):
        assert ours["train_loss"] == pytest.approx(theirs["train_loss"], rel=1e-4)
    assert result["val_loss"] == pytest.approx(expected["val_loss"], rel=1e-3)
    assert result["best_epoch"] == expected["best_epoch"]
    assert result.keys() == expected.keys()
