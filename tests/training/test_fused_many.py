"""`train_many` of PatchTST: trials enter, train together and leave each on its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch

from hpo_batch.training import checkpoint
from hpo_batch.training.fused import many
from hpo_batch.training.patchtst import train as train_module
from hpo_batch.training.patchtst.many import SHAPE
from hpo_batch.training.patchtst.train import train, train_many

from .conftest import KilledError, RecordingTrial

MakeTrial = Callable[..., RecordingTrial]
TIMES = {"seconds", "seconds_per_epoch", "peak_memory_mb"}


class GivenTrials:
    """Hands out trials of a list, as a worker hands out claims."""

    cpus, device = 1, "cpu"

    def __init__(self, trials: Sequence[RecordingTrial], *, size: int) -> None:
        self.waiting = list(trials)
        self.size = size
        self.running: list[RecordingTrial] = []
        self.results: dict[int, Any] = {}
        self.sizes: list[int] = []

    def take(self, at_most: int | None = None) -> list[RecordingTrial]:
        room = self.size - len(self.running)
        count = room if at_most is None else min(at_most, room)
        taken, self.waiting = self.waiting[:count], self.waiting[count:]
        self.running += taken
        self.sizes.append(len(self.running))
        return taken

    def end(self, trial: RecordingTrial, result: object) -> None:
        self.running.remove(trial)
        self.results[trial.number] = result


def numbers(result: dict[str, float]) -> dict[str, float]:
    return {name: value for name, value in result.items() if name not in TIMES}


def run(trials: Sequence[RecordingTrial], size: int = 4) -> dict[int, Any]:
    given = GivenTrials(trials, size=size)
    train_many(given)
    assert not given.running
    assert not given.waiting
    return given.results


def make(make_trial: MakeTrial, count: int, folder: str = "many", **each: Sequence[Any]) -> list[RecordingTrial]:
    trials = []
    for number in range(count):
        params = {name: values[number] for name, values in each.items()}
        trials.append(make_trial(dir=f"{folder}/{number}", number=number, seed=number, params=params))
    return trials


def test_results_are_those_of_each_alone(make_trial: MakeTrial) -> None:
    settings: dict[str, Sequence[Any]] = {
        "learning_rate": [1e-3, 3e-3, 1e-2, 5e-3],
        "weight_decay": [0.0, 0.01, 0.1, 0.3],
        "grad_clip": [0.0, 0.5, 0.0, 0.1],
        "warmup_steps": [0, 5, 0, 20],
        "gamma": [0.0, 1.0, 0.0, 2.0],
        "alpha": [0.5, 0.5, 0.7, 0.3],
        "dropout": [0.0] * 4,
        "epochs": [3, 1, 4, 2],
    }
    together = make(make_trial, 4, **settings)
    results = run(together)
    for number, trial in enumerate(make(make_trial, 4, folder="alone", **settings)):
        expected = train(trial)
        assert expected is not None
        assert results[number].keys() == expected.keys()
        exactly = {"best_epoch", "epochs_run", "n_params", "n_eval", "n_pos", "flop"}
        assert {n: results[number][n] for n in exactly} == {n: expected[n] for n in exactly}
        for name in expected.keys() - exactly - TIMES:
            assert results[number][name] == pytest.approx(expected[name], rel=1e-3, abs=1e-4), (number, name)
        assert [step for step, _ in together[number].reports] == [step for step, _ in trial.reports]
        for (_, ours), (_, theirs) in zip(together[number].reports, trial.reports, strict=True):
            assert ours == pytest.approx(theirs, rel=1e-3, abs=1e-4)


def test_more_trials_than_slots_take_over_free_ones(make_trial: MakeTrial) -> None:
    trials = make(make_trial, 7, epochs=[1, 3, 2, 1, 2, 1, 1])
    given = GivenTrials(trials, size=3)
    train_many(given)
    assert {number: result["epochs_run"] for number, result in given.results.items()} == dict(
        enumerate([1, 3, 2, 1, 2, 1, 1])
    )
    assert max(given.sizes) == 3


def test_numbers_do_not_depend_on_the_order_or_the_size_of_the_block(make_trial: MakeTrial) -> None:
    each: dict[str, Sequence[Any]] = {"epochs": [2] * 5, "dropout": [0.1, 0.3, 0.5, 0.0, 0.2]}
    first = run(make(make_trial, 5, folder="a", **each), size=5)
    second = run(make(make_trial, 5, folder="b", **each)[::-1], size=2)
    for number, result in first.items():
        assert second[number]["val_auc"] == pytest.approx(result["val_auc"], abs=1e-3)


def test_a_trial_that_diverges_leaves_the_others_alone(make_trial: MakeTrial) -> None:
    rates = [1e-3, 1e30, 2e-3]
    results = run(make(make_trial, 3, learning_rate=rates, epochs=[3] * 3))
    assert isinstance(results[1], FloatingPointError)
    assert "in epoch 1" in str(results[1])
    calm = run(make(make_trial, 3, folder="calm", learning_rate=[1e-3, 1e-3, 2e-3], epochs=[3] * 3))
    for number in (0, 2):
        assert results[number]["val_auc"] == calm[number]["val_auc"]


def test_a_pruned_trial_ends_with_a_checkpoint_and_goes_on_from_it(make_trial: MakeTrial) -> None:
    expected = run(make(make_trial, 2, folder="whole"))
    trials = make(make_trial, 2, folder="parts")
    trials[1].stop_after = 2
    results = run(trials)
    assert results[1] is None
    assert numbers(results[0]) == pytest.approx(numbers(expected[0]))
    again = make(make_trial, 2, folder="parts")[1]
    again.resumes = True
    result = run([again])[1]
    assert [step for step, _ in again.reports] == [3, 4]
    assert result["val_auc"] == pytest.approx(expected[1]["val_auc"], abs=1e-4)


def test_a_block_killed_at_any_epoch_gives_the_same_bits(make_trial: MakeTrial) -> None:
    """In a block of the same size; in another, sums are of another order."""
    expected = run(make(make_trial, 3, folder="whole"))
    for kill_at in (1, 4):
        trials = make(make_trial, 3, folder=f"killed-{kill_at}")
        trials[0].kill_at = kill_at  # the first to report: all have lost this epoch
        with pytest.raises(KilledError):
            run(trials)
        again = make(make_trial, 3, folder=f"killed-{kill_at}")
        for trial in again:
            trial.resumes = True
        for number, result in run(again).items():
            assert numbers(result) == numbers(expected[number])


def test_what_does_not_fit_fails_alone(make_trial: MakeTrial) -> None:
    trials = make(make_trial, 4, epochs=[1] * 4, d_model=[8, 16, 8, 9], n_heads=[2] * 4)
    trials[2].params = {**trials[2].params, "droput": 0.1}
    results = run(trials)
    assert results[0]["epochs_run"] == 1
    assert "trial 1 is of another shape" in str(results[1])
    assert "d_model = 16 (not 8)" in str(results[1])
    assert "unknown parameter 'droput'" in str(results[2])
    assert "d_model = 9" in str(results[3])


def test_a_first_trial_that_cannot_be_built_decides_no_shape(make_trial: MakeTrial) -> None:
    results = run(make(make_trial, 2, epochs=[1, 1], d_model=[9, 8], n_heads=[2, 2]))
    assert "d_model = 9" in str(results[0])
    assert results[1]["epochs_run"] == 1


class OddError(Exception):
    """Of a kind that no trainer raises."""


@pytest.mark.parametrize("error", [OddError("odd"), OSError("no disk")])
def test_an_odd_error_of_one_trial_fails_it_alone(
    make_trial: MakeTrial, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    real = train_module.recipe

    def recipe(trial: Any, **where: Any) -> Any:
        if trial.number == 1:
            raise error
        return real(trial, **where)

    monkeypatch.setattr(train_module, "recipe", recipe)
    results = run(make(make_trial, 3, epochs=[1] * 3))
    assert results[1] is error
    assert results[0]["epochs_run"] == results[2]["epochs_run"] == 1


@pytest.mark.parametrize(
    "error", [RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"), MemoryError()]
)
def test_too_little_memory_for_a_block_is_no_failure_of_its_trials(
    make_trial: MakeTrial, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """The worker tries smaller blocks then."""

    def short(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(many, "Block", short)
    given = GivenTrials(make(make_trial, 2, epochs=[1] * 2), size=2)
    with pytest.raises(type(error)):
        train_many(given)
    assert given.results == {}


def test_collapsed_predictions_are_told_for_each_trial(make_trial: MakeTrial, caplog: pytest.LogCaptureFixture) -> None:
    results = run(make(make_trial, 2, epochs=[1] * 2, weight_decay=[0.0, 999.0], learning_rate=[3e-3, 1e-3]))
    assert (results[0]["collapsed"], results[1]["collapsed"]) == (0, 1)
    assert "trial 1: the predictions have collapsed" in caplog.text
    assert "trial 0: the predictions" not in caplog.text


def test_a_checkpoint_that_cannot_be_read_costs_its_trial_only_what_it_held(
    make_trial: MakeTrial, caplog: pytest.LogCaptureFixture
) -> None:
    trials = make(make_trial, 2, epochs=[2] * 2)
    for trial in trials:
        trial.stop_after = 1
    run(trials)
    again = make(make_trial, 2, epochs=[2] * 2)
    for trial in again:
        trial.resumes = True
    state = checkpoint.load(again[0].checkpoint)
    assert state is not None
    del state["best_model"]
    checkpoint.save(again[0].checkpoint, 1, state)
    results = run(again)
    assert [[step for step, _ in trial.reports] for trial in again] == [[1, 2], [2]]
    assert results[0]["epochs_run"] == results[1]["epochs_run"] == 2
    assert "trial 0: its checkpoint cannot be continued: KeyError('best_model')" in caplog.text


def test_checkpoints_of_others_are_not_continued(make_trial: MakeTrial, caplog: pytest.LogCaptureFixture) -> None:
    alone = make_trial(dir="many/0", seed=1, params={"epochs": 4}, stop_after=2)
    assert train(alone) is None
    other_seed = make(make_trial, 1, epochs=[4])[0]
    other_seed.resumes = True
    run([other_seed])
    assert [step for step, _ in other_seed.reports] == [1, 2, 3, 4]
    assert "training from the start" in caplog.text
    assert "seed 1 there, 0 here" in caplog.text


def test_a_torn_checkpoint_costs_an_epoch(make_trial: MakeTrial) -> None:
    expected = run(make(make_trial, 2, folder="whole"))
    trials = make(make_trial, 2, folder="torn")
    trials[0].kill_at = 4
    with pytest.raises(KilledError):
        run(trials)
    newest = max((trials[1].dir / "checkpoint").iterdir())
    newest.write_bytes(newest.read_bytes()[:-100])
    again = make(make_trial, 2, folder="torn")
    for trial in again:
        trial.resumes = True
    results = run(again)
    assert again[1].reports[0][0] < 4  # the checkpoint of an epoch before
    assert results[1]["val_auc"] == pytest.approx(expected[1]["val_auc"], abs=1e-4)


def test_a_block_shrinks_when_nobody_comes(make_trial: MakeTrial, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []
    real = many.Block.train

    def spy(self: many.Block, *args: Any) -> torch.Tensor:
        sizes.append(self.k)
        return real(self, *args)

    monkeypatch.setattr(many.Block, "train", spy)
    results = run(make(make_trial, 4, epochs=[1, 1, 3, 1]))
    assert sizes == [4, 1, 1]
    whole = run(make(make_trial, 4, folder="b", epochs=[3] * 4))
    assert results[2]["val_auc"] == pytest.approx(whole[2]["val_auc"], abs=1e-4)


def test_the_best_weights_are_kept(make_trial: MakeTrial) -> None:
    trials = make(make_trial, 2, learning_rate=[0.1, 0.003], epochs=[5, 5])
    results = run(trials)
    state = checkpoint.load(trials[0].checkpoint)
    assert state is not None
    assert state["best"]["val_auc"] == results[0]["val_auc"]
    last, best = state["model"], state["best_model"]
    assert all(torch.equal(best[name], last[name]) for name in last) == (results[0]["best_epoch"] == 5)


def test_the_shape_is_declared() -> None:
    assert train_many.shape == SHAPE
    assert {"d_model", "n_layers", "n_heads", "d_ff", "batch_size", "data"} <= set(SHAPE)
    assert not {"learning_rate", "weight_decay", "dropout", "epochs"} & set(SHAPE)
