"""The objective `hpo_batch.training.patchtst.train:train`: one trial from its parameters to its metrics."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from hpo_batch.training import loop, optimizers, ranks
from hpo_batch.training.data import Dataset, load
from hpo_batch.training.device import choose_device, set_deterministic
from hpo_batch.training.fused.many import train_trials
from hpo_batch.training.fused.recipe import Trials
from hpo_batch.training.losses import binary_loss
from hpo_batch.training.metrics import binary_metrics, binary_test, training_flop
from hpo_batch.training.patchtst.many import SHAPE, recipe
from hpo_batch.training.patchtst.model import PatchTST, is_decayed
from hpo_batch.training.patchtst.settings import Settings
from hpo_batch.training.patchtst.size import forward_flop

# Windows evaluated at once: bounds the memory, not the result.
EVAL_BATCH = 2048


def train(trial: loop.Trial) -> dict[str, float] | None:
    """Metrics of the best epoch; None if the trial was told to stop before its last epoch (a checkpoint is there)."""
    settings = Settings.from_params(trial.params)
    ranks.join(trial)
    device, autocast = choose_device(trial.device)
    set_deterministic(settings.deterministic)
    order = loop.seed_all(trial)

    data = load(settings, str(device))
    model = PatchTST(settings, n_features=len(data.features)).to(device)
    optimizer = make_optimizer(model, settings)
    wrapped = ranks.wrap(model)

    def test(best: Mapping[str, float]) -> dict[str, float]:
        if data.x_test is None or data.y_test is None:
            return {}
        return binary_test(predict(model, data.x_test, autocast=autocast), data.y_test, best)

    result = loop.fit(
        trial,
        loop.Schedule(
            epochs=settings.epochs,
            metric="val_auc",
            patience=settings.patience,
            checkpoint_every=settings.checkpoint_every,
        ),
        {"model": model, "optimizer": optimizer, "order": order},
        lambda epoch: train_epoch(wrapped, optimizer, data, settings, epoch=epoch, order=order, autocast=autocast),
        lambda epoch: evaluate(model, data, epoch=epoch, autocast=autocast),
        test,
    )
    if result is None:
        return None
    forward = forward_flop(settings, n_features=len(data.features))
    n_train, n_val, epochs = len(data.y_train), len(data.y_val), int(result["epochs_run"])
    return {**result, "flop": training_flop(forward, n_train=n_train, n_val=n_val, epochs=epochs)}


def train_many(trials: Trials) -> None:
    """The same for trials of one shape at once, as one model; `trials` is an `hpo_batch.Trials`."""
    device, autocast = choose_device(trials.device)
    torch.set_num_threads(trials.cpus)
    train_trials(trials, lambda trial: recipe(trial, device=device, autocast=autocast), device=device)


train_many.shape = SHAPE  # type: ignore[attr-defined]  # which parameters must be equal: docs/objective.md


def make_optimizer(model: PatchTST, settings: Settings) -> torch.optim.Optimizer:
    return optimizers.make(
        model,
        is_adam=False,
        rate=settings.learning_rate,
        weight_decay=settings.weight_decay,
        decays=is_decayed,
    )


def train_epoch(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    data: Dataset,
    settings: Settings,
    *,
    epoch: int,
    order: torch.Generator,
    autocast: bool,
) -> float:
    """One pass over the training windows; the mean loss."""
    device = data.y_train.device

    def loss_of(batch: Tensor) -> tuple[Tensor, int]:
        batch = batch[ranks.part(len(batch))].to(device)
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=autocast):
            logits = model(data.x_train[batch])  # (B, T, F) -> (B,)
        return binary_loss(logits, data.y_train[batch], gamma=settings.gamma, alpha=settings.alpha), len(batch)

    rate = loop.Rate(peak=settings.learning_rate, warmup_steps=settings.warmup_steps)
    steps = loop.Steps(
        n_train=len(data.y_train), batch_size=settings.batch_size, rate=rate, grad_clip=settings.grad_clip
    )
    return loop.train_epoch(model, optimizer, steps, loss_of, epoch=epoch, order=order)


def evaluate(model: nn.Module, data: Dataset, *, epoch: int, autocast: bool) -> dict[str, float]:
    logits = predict(model, data.x_val, autocast=autocast)
    if not logits.isfinite().all():
        raise FloatingPointError(f"a prediction on the validation set is not finite after epoch {epoch}")
    return binary_metrics(logits, data.y_val)


@torch.no_grad()
def predict(model: nn.Module, x: Tensor, *, autocast: bool) -> Tensor:
    """Logits (M,) of windows (M, T, F)."""
    model.eval()
    with torch.autocast(x.device.type, dtype=torch.bfloat16, enabled=autocast):
        return ranks.in_parts(len(x), EVAL_BATCH, lambda some: model(x[some]))
