"""A trial of several ranks, with gloo on this machine: the numbers of one, exact resume, and only rank 0 speaks."""

from __future__ import annotations

import logging
import os
import re
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import nn

from hpo_batch.objective.small_models import SMALL, why_no_gain
from hpo_batch.training import ranks
from hpo_batch.training.loop import Schedule, fit
from tests.helpers import REPOSITORY
from tests.processes import answer, free_port, kill, start

from .conftest import RecordingTrial
from .families import FAMILIES, numbers
from .test_families import assert_same_state

TOLERANCE = 1e-4
"""relative, of losses and metrics after 3 epochs: sums over parts round otherwise than sums over a batch"""
Started = tuple[Any, Any]


@pytest.fixture(scope="module", autouse=True)
def _imported() -> None:
    """What DistributedDataParallel imports: once, not in every process; and not while tests are collected."""
    import torch._dynamo  # noqa: F401


def as_rank(function: Callable[..., Any], rank: int, world: int, port: int, arguments: tuple[Any, ...]) -> Any:
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port), RANK=str(rank), WORLD_SIZE=str(world))
    found = function(*arguments)
    if dist.is_initialized():
        dist.destroy_process_group()
    return found


def start_ranks(function: Callable[..., Any], *arguments: list[Any]) -> list[Started]:
    """Call a function in as many ranks as there are lists of arguments."""
    port = free_port()
    return [start(as_rank, function, rank, len(arguments), port, tuple(own)) for rank, own in enumerate(arguments)]


def in_ranks(function: Callable[..., Any], *arguments: list[Any]) -> list[Any]:
    """What it returned in each rank; an error of one breaks the others' connections, so the last one counts."""
    started = start_ranks(function, *arguments)
    return [answer(*one) for one in reversed(started)][::-1]


def trained(name: str, trial: RecordingTrial) -> tuple[Any, list[tuple[int, dict[str, float]]], list[str]]:
    """Result, reports and warnings of a trial."""
    said: list[str] = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: said.append(record.getMessage())  # type: ignore[method-assign]
    logging.getLogger("hpo_batch").addHandler(handler)
    return FAMILIES[name].train(trial), trial.reports, said


@dataclass(kw_only=True)
class Rank(RecordingTrial):
    """Answers every rank's n-th question alike, as the worker does."""

    world_size: int = 2
    asked: int = 0

    def should_stop(self) -> bool:
        self.asked += 1
        return self.stop_after == self.asked


def of_both(**facts: Any) -> list[Rank]:
    return [Rank(rank=rank, local_rank=rank, **facts) for rank in (0, 1)]


UNEVEN = {
    "patchtst": {"dropout": 0.0, "grad_clip": 0.5, "gamma": 1.0, "alpha": 0.3, "batch_size": 193},
    "visual": {"random_demos": True, "color_permute": True, "label_smoothing": 0.1, "batch_size": 13},
    "visual-context": {"ctx_dropout": 0.0, "batch_size": 7},
    "knowledge_tracing": {"dropout": 0.0, "gradient_clip": 0.5, "lambda_bce": 0.7, "batch_size": 15},
}
"""Batches of which one rank has more than the other; of the first three, the last of an epoch is a single sample."""


@pytest.mark.parametrize("name", FAMILIES)
def test_two_ranks_give_the_numbers_of_one(name: str, tmp_path: Path) -> None:
    family = FAMILIES[name]
    params = {**family.params, **UNEVEN[name], "epochs": 3}
    one = RecordingTrial(params=params, dir=tmp_path / "one")
    both = of_both(params=params, dir=tmp_path / "two")
    expected = numbers(family.train(one))
    (result, reports, said), (other, silent, _) = in_ranks(trained, *([name, trial] for trial in both))
    assert numbers(result) == numbers(other)  # decided once
    assert numbers(result) == pytest.approx(expected, rel=TOLERANCE, abs=1e-5)
    assert [step for step, _ in reports] == [1, 2, 3]
    assert not silent
    for (_, found), (_, wanted) in zip(reports, one.reports, strict=True):
        assert found == pytest.approx(wanted, rel=TOLERANCE, abs=1e-5)
    assert any("gains nothing from that" in line for line in said)
    assert len(list(both[0].checkpoint.iterdir())) == 2


@pytest.mark.parametrize("name", ["patchtst", "visual"])  # dropout masks; batch statistics and draws of each batch
def test_stopped_killed_and_continued_it_gives_the_same_bits(name: str, tmp_path: Path) -> None:
    params = {**FAMILIES[name].params, "epochs": 6, **({} if name == "patchtst" else UNEVEN[name])}

    def of(folder: str, **facts: Any) -> list[list[Any]]:
        return [[name, trial] for trial in of_both(params=params, dir=tmp_path / folder, **facts)]

    (expected, whole, _), _ = in_ranks(trained, *of("whole"))
    stopped = in_ranks(trained, *of("parts", stop_after=1))
    assert [result for result, *_ in stopped] == [None, None]
    (first, pipe), (second, other_pipe) = start_ranks(trained, *of("parts", resumes=True))
    saved = tmp_path / "parts" / "checkpoint"
    while second.is_alive() and not list(saved.glob("epoch-000003*")):
        time.sleep(0.001)
    kill(second)
    assert second.exitcode == -signal.SIGKILL
    first.kill()  # as its worker does: it hangs in a collective, or has seen the connection break
    first.join()
    pipe.close(), other_pipe.close()
    (result, reports, _), (other, silent, _) = in_ranks(trained, *of("parts", resumes=True))
    assert reports[0][0] >= 4
    assert reports == whole[-len(reports) :]
    assert numbers(result) == numbers(other) == numbers(expected)
    assert not silent
    assert_same_state(tmp_path / "whole" / "checkpoint", saved)


def parts_of(trial: Rank) -> dict[str, Any]:
    """What the pieces give in a rank."""
    ranks.join(trial)
    found: dict[str, Any] = {"first": ranks.from_first(f"of rank {trial.rank}")}
    for count in (1, 2, 3, 7):
        # two rows for each odd sample, so that ranks have different numbers of them
        rows = [torch.tensor([[i, 10.0 * i]] * (1 + i % 2)) for i in range(count)]
        found[f"rows of {count}"] = ranks.in_parts(count, 2, lambda some, rows=rows: torch.cat(rows[some])).tolist()
    own = ranks.part(7)
    losses = torch.tensor([1.0, 2.0]) * trial.rank
    found["means"] = ranks.over_all(losses, [own.stop - own.start, 1])
    weight = torch.ones(1, requires_grad=True)
    loss = (weight * torch.arange(7.0)[own]).mean()
    ranks.weighted(loss, own.stop - own.start).backward()  # type: ignore[no-untyped-call]
    found["gradient"] = float(weight.grad or 0)
    masks = []
    for epoch in (1, 2, 1):
        torch.manual_seed(0)
        ranks.seed_masks(7, epoch)
        masks.append(float(torch.rand(1)))
    return {**found, "masks": masks}


def test_the_pieces(tmp_path: Path) -> None:
    """With three ranks: parts of any size, means by samples, rank 0's word, and masks of each rank's own."""
    trials = [Rank(params={}, dir=tmp_path, rank=rank, world_size=3) for rank in range(3)]
    every = in_ranks(parts_of, *([trial] for trial in trials))
    for found in every:
        assert found["first"] == "of rank 0"
        for count in (1, 2, 3, 7):
            assert found[f"rows of {count}"] == [[i, 10.0 * i] for i in range(count) for _ in range(1 + i % 2)]
        assert found["means"] == ([pytest.approx((1 * 2 + 2 * 3) / 7), 2.0], [7, 3])
    assert sum(found["gradient"] for found in every) / 3 == pytest.approx(3.0)  # as DDP adds them up
    (zero, two, again), *others = (found["masks"] for found in every)
    assert zero == two == again  # rank 0 draws on; its generator is in the checkpoint
    assert len({zero, *(mask for masks in others for mask in masks[:2])}) == 5
    assert all(first == again for first, _, again in others)


def test_the_example_of_the_documentation(tmp_path: Path) -> None:
    _, source = re.findall(r"```python\n(.*?)```", (REPOSITORY / "docs" / "trainers.md").read_text(), flags=re.DOTALL)
    names: dict[str, Any] = {}
    exec(compile(source, "docs/trainers.md", "exec"), names)
    params = {"lr": 0.1}
    one = names["train"](RecordingTrial(params=params, dir=tmp_path / "one"))
    two, other = in_ranks(names["train"], *([trial] for trial in of_both(params=params, dir=tmp_path / "two")))
    assert numbers(two) == numbers(other) == pytest.approx(numbers(one), rel=TOLERANCE)
    assert one["val_r2"] > 0.9


def test_ranks_that_have_not_met_are_an_error(tmp_path: Path) -> None:
    trial = Rank(params={}, dir=tmp_path)
    with pytest.raises(RuntimeError, match=r"the trial has 2 ranks, which have not met: call .*ranks.join\(trial\)"):
        fit(trial, Schedule(epochs=1, metric="m"), {"model": nn.Linear(1, 1)}, lambda _: 0.0, lambda _: {"m": 0.0})


def test_small_models_gain_nothing_from_ranks() -> None:
    assert why_no_gain(10**5, ranks=1) is None
    assert why_no_gain(SMALL, ranks=8) is None
    said = why_no_gain(SMALL - 1, ranks=8)
    assert said is not None
    assert said.startswith(
        "each trial is trained by 8 processes together, but a model of 100 M parameters gains nothing"
    )
