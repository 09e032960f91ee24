"""What every trainer promises: exact resume, the best epoch, metrics that do not depend on batches, clear errors."""

from __future__ import annotations

import logging
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from hpo_batch.training import checkpoint
from hpo_batch.training import data as digits
from hpo_batch.training.knowledge_tracing import data as responses
from hpo_batch.training.visual import data as tasks
from tests.processes import start

from .conftest import RecordingTrial
from .families import FAMILIES, Family, numbers

EPOCHS = 5
CONTRACT = {
    *("val_loss", "val_acc", "precision", "recall", "f1", "pred_min", "pred_max", "pred_range", "collapsed", "n_eval"),
    *("best_epoch", "epochs_run", "n_params", "flop", "peak_memory_mb", "seconds", "seconds_per_epoch"),
}


@pytest.fixture(params=FAMILIES)
def family(request: pytest.FixtureRequest) -> Family:
    return FAMILIES[request.param]


@pytest.fixture
def make(family: Family, tmp_path: Path) -> Callable[..., RecordingTrial]:
    def make(name: str = "attempt", **values: Any) -> RecordingTrial:
        params = {**family.params, "epochs": EPOCHS, **values.pop("params", {})}
        return RecordingTrial(params=params, dir=tmp_path / name, **values)

    return make


def test_the_result_keeps_the_contract(family: Family, make: Callable[..., RecordingTrial]) -> None:
    trial = make()
    result = family.train(trial)
    assert result is not None
    assert set(result) >= {*CONTRACT, family.metric}
    assert all(type(value) in (int, float) for value in result.values())
    assert result[family.metric] == max(report[family.metric] for _, report in trial.reports)
    best = trial.reports[int(result["best_epoch"]) - 1][1]
    assert all(result[name] == best[name] for name in best if name != "train_loss")
    assert result["seconds_per_epoch"] == pytest.approx(result["seconds"] / EPOCHS)


def test_a_trial_stopped_after_every_epoch_gives_the_same_bits(
    family: Family, make: Callable[..., RecordingTrial]
) -> None:
    whole = make("whole")
    expected = family.train(whole)
    reports = []
    result = None
    for epoch in range(1, EPOCHS + 1):
        part = make("parts", resumes=epoch > 1, stop_after=1)
        result = family.train(part)
        reports += part.reports
        torch.rand(epoch), random.random()  # other work in the worker moves the global generators
    assert numbers(result) == numbers(expected)
    assert reports == whole.reports
    assert_same_state(make("whole").checkpoint, make("parts").checkpoint)


def assert_same_state(one: Path, other: Path) -> None:
    """The newest checkpoints are equal to the last bit: weights, optimizer, generators, best so far."""
    a, b = checkpoint.load(one), checkpoint.load(other)
    assert a is not None
    assert b is not None
    for state in (a, b):
        del state["seconds"], state["rng"]["python"], state["rng"]["numpy"]  # moved by tests, used by no trainer
    assert same(a, b)


def same(a: Any, b: Any) -> bool:
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    return bool(a == b)


class ToldTrial(RecordingTrial):
    """Tells another process of its reports, by a byte each."""

    def report(self, step: int, **metrics: float) -> None:
        super().report(step, **metrics)
        with (self.dir / "reports").open("ab") as file:
            file.write(b".")


def killed(family: Family, trial: RecordingTrial, *, after: int, delay: float) -> bool:
    """Train in a process that is killed some time after so many reports; whether it was killed before its end."""
    told = ToldTrial(params=trial.params, dir=trial.dir, resumes=trial.resumes)
    told.dir.mkdir(exist_ok=True)
    (told.dir / "reports").write_bytes(b"")
    process, pipe = start(family.train, told)
    while process.is_alive() and (told.dir / "reports").stat().st_size < after:
        time.sleep(0.001)
    time.sleep(delay)
    process.kill()
    process.join()
    pipe.close()
    return process.exitcode == -signal.SIGKILL


def test_sigkill_at_random_epochs_changes_no_bit(family: Family, make: Callable[..., RecordingTrial]) -> None:
    chance = random.Random(family.function)  # the same instants in each run, as far as a clock allows
    long = {"epochs": 20}
    whole = make("whole", params=long)
    expected = family.train(whole)
    assert expected is not None
    kills = [
        killed(
            family,
            make("killed", params=long, resumes=attempt > 0),
            after=chance.choice([1, 2, 3, 4]),
            delay=chance.uniform(0, 1.5) * expected["seconds_per_epoch"],
        )
        for attempt in range(3)
    ]
    assert sum(kills) >= 2  # the last may have been at its end
    result = family.train(make("killed", params=long, resumes=True))
    assert numbers(result) == numbers(expected)
    assert_same_state(whole.checkpoint, make("killed").checkpoint)
    assert len(list(make("killed").checkpoint.iterdir())) == 2  # also what a kill has left of a third is gone


def test_the_size_of_batches_in_evaluation_changes_no_metric(
    family: Family, make: Callable[..., RecordingTrial], monkeypatch: pytest.MonkeyPatch
) -> None:
    results = []
    for size in (1, 7, 10_000):
        monkeypatch.setattr(family.module, "EVAL_BATCH", size)
        trial = make(f"size-{size}", params={"epochs": 1})
        results.append(numbers(family.train(trial)))
    for other in results[1:]:
        # matrix products of other shapes round otherwise
        assert other == pytest.approx(results[0], rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("name", ["patchtst", "visual", "visual-context", "knowledge_tracing"])
def test_predictions_that_collapse_are_told(name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    family = FAMILIES[name]
    # a weight decay that leaves nothing of any matrix
    rate, decay = ("lr", "weight_decay") if "lr" in family.params else ("learning_rate", "weight_decay")
    adamw = {"optimizer": "AdamW"} if name == "knowledge_tracing" else {}
    params = {**family.params, rate: 1e-3, decay: 999.0, "epochs": 1, **adamw}
    result = family.train(RecordingTrial(params=params, dir=tmp_path))
    assert result is not None
    assert result["collapsed"] == 1
    assert "the predictions have collapsed" in caplog.text


def test_a_model_that_has_learned_has_not_collapsed(tmp_path: Path) -> None:
    family = FAMILIES["patchtst"]
    result = family.train(RecordingTrial(params={**family.params, "dropout": 0.0, "epochs": 4}, dir=tmp_path))
    assert result is not None
    assert result["collapsed"] == 0


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_a_missing_gpu_is_an_error(family: Family, make: Callable[..., RecordingTrial]) -> None:
    with pytest.raises(RuntimeError, match=r"given device 'cuda' but torch .* sees no GPU.*job. device"):
        family.train(make(device="cuda"))


def test_a_checkpoint_of_another_trial_is_not_continued(
    family: Family, make: Callable[..., RecordingTrial], caplog: pytest.LogCaptureFixture
) -> None:
    family.train(make(params={"epochs": 1}))
    with caplog.at_level(logging.WARNING):
        again = make(params={"epochs": 1}, seed=8, resumes=True)
        family.train(again)
    assert [step for step, _ in again.reports] == [1]
    assert "of other parameters or seed (seed 7 there, 8 here)" in caplog.text


@pytest.mark.parametrize(
    ("data", "kept", "fixed"),
    [
        (digits, "_images", {}),
        (responses, "simulate", {"n_students": 50}),
        (tasks, "simulate", {"n_tasks": 50}),
    ],
)
def test_what_is_preloaded_is_not_made_again(data: Any, kept: str, fixed: dict[str, object]) -> None:
    cache = getattr(data, kept)
    cache.cache_clear()
    data.preload({**fixed, "no_parameter_of_the_data": 1})
    assert cache.cache_info().misses == 1
    data.load(data.DataOptions(**fixed))
    assert (cache.cache_info().misses, cache.cache_info().hits) == (1, 1)
