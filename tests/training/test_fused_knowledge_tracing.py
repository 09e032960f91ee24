"""Knowledge tracing fused: sequences of different lengths, two outputs, Adam and AdamW; as each alone."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from hpo_batch.training.knowledge_tracing.many import SHAPE
from hpo_batch.training.knowledge_tracing.train import train, train_many

from .conftest import KilledError, RecordingTrial
from .test_fused_many import GivenTrials, numbers

MakeTrial = Callable[..., RecordingTrial]
SMALL = {
    "d_model": 8,
    "n_heads": 2,
    "d_ff": 16,
    "num_encoder_blocks": 1,
    "batch_size": 16,
    "epochs": 3,
    "n_students": 60,
    "n_responses": 10,
    "n_skills": 5,
    "test_ratio": 0.2,
}


def make(make_trial: MakeTrial, folder: str, count: int, **each: Any) -> list[RecordingTrial]:
    trials = []
    for number in range(count):
        trial = make_trial(dir=f"{folder}/{number}", number=number, seed=number)
        own = {name: value[number] if isinstance(value, Sequence) and not isinstance(value, str) else value
               for name, value in each.items()}  # fmt: skip
        trial.params = {**SMALL, **own}
        trials.append(trial)
    return trials


def run(trials: list[RecordingTrial]) -> dict[int, Any]:
    given = GivenTrials(trials, size=4)
    train_many(given)
    return given.results


@pytest.mark.parametrize(
    "kind",
    [
        {"optimizer": "Adam"},
        {"optimizer": "AdamW", "emb_type": "additive"},
        {"optimizer": "AdamW", "lambda_bce": [0.9, 0.5, 0.3, 0.7]},
    ],
)
def test_results_are_those_of_each_alone(make_trial: MakeTrial, kind: dict[str, Any]) -> None:
    settings = {
        "learning_rate": [1e-3, 3e-3, 1e-2, 5e-3],
        "weight_decay": [0.0, 0.01, 0.001, 0.1],
        "gradient_clip": [1.0, 0.0, 0.1, 0.5],
        "gamma": [0.0, 1.0, 0.0, 2.0],
        "alpha": [0.5, 0.5, 0.7, 0.3],
        "dropout": 0.0,
        **kind,
    }
    together = make(make_trial, "many", 4, **settings)
    results = run(together)
    for number, trial in enumerate(make(make_trial, "alone", 4, **settings)):
        expected = train(trial)
        assert expected is not None
        assert results[number].keys() == expected.keys()
        assert results[number]["n_params"] == expected["n_params"]
        for (_, ours), (_, theirs) in zip(together[number].reports, trial.reports, strict=True):
            # the loss that was trained, over 30 steps and more; a threshold moves the others by whole samples
            assert ours["train_loss"] == pytest.approx(theirs["train_loss"], rel=1e-4)
            assert ours["val_loss"] == pytest.approx(theirs["val_loss"], rel=1e-3)
            assert ours["val_auc"] == pytest.approx(theirs["val_auc"], abs=5e-3)


def test_a_killed_block_gives_the_same_bits(make_trial: MakeTrial) -> None:
    expected = run(make(make_trial, "whole", 3))
    trials = make(make_trial, "killed", 3)
    trials[0].kill_at = 2
    with pytest.raises(KilledError):
        run(trials)
    again = make(make_trial, "killed", 3)
    for trial in again:
        trial.resumes = True
    results = run(again)
    assert {n: numbers(result) for n, result in results.items()} == {n: numbers(r) for n, r in expected.items()}


def test_models_with_and_without_a_mastery_head_are_blocks_of_their_own(
    make_trial: MakeTrial, caplog: pytest.LogCaptureFixture
) -> None:
    """`lambda_bce` may differ within a block, but below 1 there is a head more: no reason to fail."""
    each: dict[str, Any] = {"lambda_bce": [1.0, 0.5, 1.0, 0.9], "epochs": 2, "dropout": 0.0}
    with caplog.at_level(logging.INFO, logger="hpo_batch"):
        results = run(make(make_trial, "many", 4, **each))
    for number, trial in enumerate(make(make_trial, "alone", 4, **each)):
        expected = train(trial)
        assert expected is not None
        assert results[number]["n_params"] == expected["n_params"]
        assert results[number]["val_loss"] == pytest.approx(expected["val_loss"], rel=1e-3)
    assert "trials 0, 2, of models without a mastery head" in caplog.text
    assert train_many.shape == SHAPE
