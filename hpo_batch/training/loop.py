"""The training loop of all trainers, and of yours if you like: `fit` trains epoch by epoch, `train_epoch` one of them.

The result is that of the epoch with the best validation metric, never of the last one; test data is only reported. A
trial that is interrupted and resumed gives the numbers of one that was not: on a CPU to the last bit.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from hpo_batch.training import ranks
from hpo_batch.training.checkpoint import Checkpoint, Part
from hpo_batch.training.device import peak_memory_mb

log = logging.getLogger(__name__)


class Trial(ranks.Trial, Protocol):
    """What a trainer uses of `hpo_batch.Trial`."""

    @property
    def params(self) -> Mapping[str, Any]: ...
    @property
    def seed(self) -> int: ...
    @property
    def checkpoint(self) -> Path: ...
    @property
    def resumes(self) -> bool: ...
    @property
    def cpus(self) -> int: ...
    def report(self, step: int, **metrics: float) -> None: ...
    def should_stop(self) -> bool: ...


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """How long `fit` trains, and which epoch is the best."""

    epochs: int
    metric: str
    """of the validation set; the best epoch has the highest, the first of equals"""
    patience: int = 0
    """epochs without a better one after which training ends; 0: never"""
    checkpoint_every: int = 1
    """epochs from one checkpoint to the next: part of what a kill costs, not of the result"""


@dataclass(frozen=True, kw_only=True)
class Rate:
    """The learning rate at each step: a function of the step alone, so that a resumed trial needs no state for it."""

    peak: float
    warmup_steps: int = 0
    """optimizer steps over which it rises linearly"""
    cosine_steps: int = 0
    """optimizer steps over which it falls to zero as half a cosine; 0: it stays (Loshchilov and Hutter 2017, arXiv
    1608.03983, without restarts)"""

    def at(self, step: int) -> float:
        """The rate of a step, counted from 1."""
        rate = self.peak * min(1.0, step / self.warmup_steps) if self.warmup_steps else self.peak
        if self.cosine_steps:
            rate *= (1 + math.cos(math.pi * min(1.0, (step - 1) / self.cosine_steps))) / 2
        return rate

    @property
    def is_constant(self) -> bool:
        return not self.warmup_steps and not self.cosine_steps


@dataclass(frozen=True, kw_only=True)
class Steps:
    """The steps of an epoch: how batches are drawn and what becomes of a gradient."""

    n_train: int
    batch_size: int
    rate: Rate
    grad_clip: float = 0.0
    """largest norm of the gradient; 0: not clipped"""

    @property
    def per_epoch(self) -> int:
        return -(-self.n_train // self.batch_size)


@dataclass(kw_only=True)
class _Progress:
    """What `fit` knows after an epoch; saved with the checkpoint."""

    epoch: int = 0
    best: dict[str, float]
    best_model: dict[str, Tensor]
    stale_epochs: int = 0
    seconds: float = 0.0

    def is_finished(self, schedule: Schedule) -> bool:
        return self.epoch >= schedule.epochs or 0 < schedule.patience <= self.stale_epochs


def seed_all(trial: Trial) -> torch.Generator:
    """The one place for seeds: weights and dropout draw from torch's global generators, batches from the one returned.

    Also sets the number of threads, on which the last bits of a sum depend.
    """
    torch.set_num_threads(trial.cpus)
    torch.manual_seed(trial.seed)
    return torch.Generator().manual_seed(trial.seed)


def fit(
    trial: Trial,
    schedule: Schedule,
    parts: Mapping[str, Part],
    train: Callable[[int], float],
    validate: Callable[[int], Mapping[str, float]],
    test: Callable[[Mapping[str, float]], Mapping[str, float]] | None = None,
) -> dict[str, float] | None:
    """Train, report, save and stop as the trial wants it, from its newest checkpoint on if it resumes.

    In a trial of several ranks (`ranks.join`) call it in each: what the metrics are is decided in rank 0, which
    reports and saves for all.

    Args:
        trial: gets a report after each epoch: `train_loss`, and of what `validate` returns precision, recall and all
            whose name begins with `val_`.
        schedule: when to end.
        parts: everything with a state (`Checkpoint`); `"model"` is the module whose best weights are kept.
        train: trains the epoch of this number, from 1, and returns its mean loss.
        validate: the metrics of the validation set after an epoch; one of them is `schedule.metric`. The model is in
            evaluation mode then, and no gradients are recorded, as in `test`.
        test: the metrics of the test set, if there is one. Called once, at the end, with the weights of the best
            epoch in the model; its argument are the validation metrics of that epoch.

    Returns:
        The metrics of the best epoch, those of `test`, and what the training took. None if the trial was told to stop
        before its last epoch; a checkpoint is there then.

    Raises:
        FloatingPointError: the validation metric is not finite.
        RuntimeError: the trial has several ranks, and they have not met.
        TypeError: no part is called `"model"`, or it is no module.
    """
    if trial.world_size != ranks.world_size():
        raise RuntimeError(
            f"the trial has {trial.world_size} ranks, which have not met: call hpo_batch.training.ranks.join(trial) "
            "first, and train with ranks.wrap(model)"
        )
    model = parts.get("model")
    if not isinstance(model, nn.Module):
        raise TypeError('fit needs parts["model"], a torch.nn.Module: its best weights are kept')
    checkpoint = Checkpoint(trial.checkpoint, {**trial.params, "seed": trial.seed}, parts)
    saved = checkpoint.restore() if trial.resumes else None
    progress = _Progress(**(saved or {"best": {}, "best_model": {}}))
    if saved is not None:
        log.info("continuing after epoch %d", progress.epoch)

    def save() -> None:
        values = {**vars(progress), "seconds": time.perf_counter() - started}
        checkpoint.save(values.pop("epoch"), values)

    started = time.perf_counter() - progress.seconds  # as if the earlier attempts had run just before this one
    while not progress.is_finished(schedule):
        progress.epoch += 1
        ranks.seed_masks(trial.seed, progress.epoch)
        train_loss = train(progress.epoch)
        model.eval()
        with torch.no_grad():
            metrics = ranks.from_first(dict(validate(progress.epoch)))
        _take(metrics, progress, schedule, model)
        if ranks.rank() == 0:
            _log_epoch(metrics, train_loss, progress, schedule)
            trial.report(progress.epoch, **reported(metrics), train_loss=train_loss)
        is_finished = progress.is_finished(schedule)
        is_due = is_finished or progress.epoch % schedule.checkpoint_every == 0
        if is_due:
            save()
        if not is_finished and trial.should_stop():
            if not is_due:
                save()
            return None
    return _result(progress, model, test, seconds=time.perf_counter() - started)


def _take(metrics: dict[str, float], progress: _Progress, schedule: Schedule, model: nn.Module) -> None:
    """Compare an epoch with the best so far, and keep its weights if it is better."""
    value = metrics[schedule.metric]
    if not math.isfinite(value):
        raise FloatingPointError(f"{schedule.metric} is {value} after epoch {progress.epoch}")
    if progress.best and value <= progress.best[schedule.metric]:
        progress.stale_epochs += 1
        return
    progress.best = {**metrics, "best_epoch": progress.epoch}
    progress.best_model = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}
    progress.stale_epochs = 0


def reported(metrics: Mapping[str, float]) -> dict[str, float]:
    """What pruners and curves need, formulas of `[metrics]` included; the rest comes once, with the result."""
    return {name: v for name, v in metrics.items() if name.startswith("val_") or name in ("precision", "recall")}


def _log_epoch(metrics: Mapping[str, float], train_loss: float, progress: _Progress, schedule: Schedule) -> None:
    name = schedule.metric
    log.info(
        "epoch %d of %d: train_loss %.4f, %s (best %s %.4f in epoch %d)",
        progress.epoch, schedule.epochs, train_loss,
        ", ".join(f"{key} {value:.4f}" for key, value in metrics.items() if key.startswith("val_")),
        name, progress.best[name], progress.best["best_epoch"],
    )  # fmt: skip


def _result(
    progress: _Progress,
    model: nn.Module,
    test: Callable[[Mapping[str, float]], Mapping[str, float]] | None,
    *,
    seconds: float,
) -> dict[str, float]:
    best = dict(progress.best)
    warn_of_collapse(best)
    if test is not None:
        model.load_state_dict(progress.best_model)
        model.eval()
        with torch.no_grad():
            best.update(test(progress.best))
    return {
        **best,
        "epochs_run": progress.epoch,
        "n_params": sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad),
        "peak_memory_mb": peak_memory_mb(next(model.parameters()).device),
        "seconds": seconds,
        "seconds_per_epoch": seconds / progress.epoch,
    }


def warn_of_collapse(best: Mapping[str, float], *, prefix: str = "") -> None:
    """Say in the log if the model of the best epoch predicts the same for all samples."""
    if best.get("collapsed"):
        log.warning(
            "%sthe predictions have collapsed: the model of the best epoch (%d) tells no sample from another "
            "(predictions from %.3g to %.3g, recall %.3g)",
            prefix, best["best_epoch"], best["pred_min"], best["pred_max"], best["recall"],
        )  # fmt: skip


def train_epoch(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    steps: Steps,
    loss_of: Callable[[Tensor], tuple[Tensor, float]],
    *,
    epoch: int,
    order: torch.Generator,
) -> float:
    """One pass over the training samples in a new order; the mean loss of all of them.

    The order and the batches are the same for any number of ranks.

    Args:
        model: in training mode from here on; what `ranks.wrap` returned.
        optimizer: steps once per batch.
        steps: how many samples there are, and in a batch.
        loss_of: the mean loss of this rank's part of a batch, given the indices of the whole batch's samples, (B,) on
            the CPU, and how many it is a mean of: the samples of `ranks.part(B)`, or the labels in them.
        epoch: its number, from 1.
        order: draws the order of the samples.

    Raises:
        FloatingPointError: the loss of a step is not finite.
    """
    model.train()
    if steps.batch_size < ranks.world_size() and epoch == 1:
        log.warning(
            "batch_size = %d is less than the %d ranks: each computes every batch", steps.batch_size, ranks.world_size()
        )
    shuffled = torch.randperm(steps.n_train, generator=order)
    losses: list[Tensor] = []  # read once after the epoch: reading each would make the GPU wait at every step
    weights: list[float] = []
    for step, batch in enumerate(torch.split(shuffled, steps.batch_size), start=(epoch - 1) * steps.per_epoch + 1):
        if not steps.rate.is_constant:
            for group in optimizer.param_groups:
                group["lr"] = steps.rate.at(step)
        loss, weight = loss_of(batch)
        weight /= ranks.repeats(len(batch))
        optimizer.zero_grad(set_to_none=True)
        ranks.weighted(loss, weight).backward()  # type: ignore[no-untyped-call]
        if steps.grad_clip:
            nn.utils.clip_grad_norm_(model.parameters(), steps.grad_clip)
        optimizer.step()
        losses.append(loss.detach())
        weights.append(weight)
    return mean_loss(*ranks.over_all(torch.stack(losses), weights), epoch=epoch)


def mean_loss(losses: Sequence[float], weights: Sequence[float], *, epoch: int) -> float:
    """The mean loss of an epoch from those of its steps; raises FloatingPointError if one is not finite."""
    for step, loss in enumerate(losses, start=1):
        if not math.isfinite(loss):
            raise FloatingPointError(f"the training loss is {loss} in epoch {epoch}, step {step} of {len(losses)}")
    return sum(loss * weight for loss, weight in zip(losses, weights, strict=True)) / sum(weights)
