"""The objective `hpo_batch.training.knowledge_tracing.train:train`: one trial from its parameters to its metrics."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from hpo_batch.training import loop, optimizers, ranks
from hpo_batch.training.device import choose_device, set_deterministic
from hpo_batch.training.fused.many import train_trials
from hpo_batch.training.fused.recipe import Trials
from hpo_batch.training.knowledge_tracing.data import Responses, load
from hpo_batch.training.knowledge_tracing.many import SHAPE, recipe
from hpo_batch.training.knowledge_tracing.model import KnowledgeTracing
from hpo_batch.training.knowledge_tracing.settings import Settings
from hpo_batch.training.knowledge_tracing.size import forward_flop
from hpo_batch.training.losses import binary_loss
from hpo_batch.training.metrics import binary_metrics, binary_test, training_flop

# Sequences evaluated at once: bounds the memory, not the result.
EVAL_BATCH = 256


def train(trial: loop.Trial) -> dict[str, float] | None:
    """Metrics of the best epoch; None if the trial was told to stop before its last epoch (a checkpoint is there)."""
    settings = Settings.from_params(trial.params)
    ranks.join(trial)
    device, autocast = choose_device(trial.device)
    set_deterministic(settings.deterministic)
    order = loop.seed_all(trial)

    data = load(settings, str(device))
    model = KnowledgeTracing(settings, n_skills=data.n_skills).to(device)
    optimizer = make_optimizer(model, settings)
    wrapped = ranks.wrap(model)

    def test(best: Mapping[str, float]) -> dict[str, float]:
        return binary_test(*predict(model, data.test, autocast=autocast), best) if data.test else {}

    result = loop.fit(
        trial,
        loop.Schedule(
            epochs=settings.epochs,
            metric="val_auc",
            patience=settings.patience,
            checkpoint_every=settings.checkpoint_every,
        ),
        {"model": model, "optimizer": optimizer, "order": order},
        lambda epoch: train_epoch(
            wrapped, optimizer, data.train, settings, epoch=epoch, order=order, autocast=autocast
        ),
        lambda epoch: evaluate(model, data.val, epoch=epoch, autocast=autocast),
        test,
    )
    if result is None:
        return None
    forward = forward_flop(settings, n_skills=data.n_skills, n_tokens=data.train.is_real.shape[1])
    n_train, n_val, epochs = len(data.train.skills), len(data.val.skills), int(result["epochs_run"])
    return {**result, "flop": training_flop(forward, n_train=n_train, n_val=n_val, epochs=epochs)}


def train_many(trials: Trials) -> None:
    """The same for trials of one shape at once, as one model; `trials` is an `hpo_batch.Trials`."""
    device, autocast = choose_device(trials.device)
    torch.set_num_threads(trials.cpus)
    train_trials(trials, lambda trial: recipe(trial, device=device, autocast=autocast), device=device)


train_many.shape = SHAPE  # type: ignore[attr-defined]  # which parameters must be equal: docs/objective.md


def make_optimizer(model: KnowledgeTracing, settings: Settings) -> torch.optim.Optimizer:
    return optimizers.make(
        model,
        is_adam=settings.optimizer == "Adam",
        rate=settings.learning_rate,
        weight_decay=settings.weight_decay,
        decays=optimizers.all_decay,
    )


def train_epoch(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    data: Responses,
    settings: Settings,
    *,
    epoch: int,
    order: torch.Generator,
    autocast: bool,
) -> float:
    """One pass over the training sequences; the mean loss of all responses in them."""
    device = data.skills.device

    def loss_of(chosen: Tensor) -> tuple[Tensor, int]:
        own = chosen[ranks.part(len(chosen))]
        batch = own.to(device)
        is_real, labels = data.is_real[batch], data.responses[batch, 1:].float()
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=autocast):
            logits, mastery = model(data.skills[batch], data.responses[batch])  # (B, T - 1)
        loss = binary_loss(logits[is_real], labels[is_real], gamma=settings.gamma, alpha=settings.alpha)
        if mastery is not None:
            of_mastery = binary_loss(mastery[is_real], labels[is_real])
            loss = settings.lambda_bce * loss + (1 - settings.lambda_bce) * of_mastery
        return loss, int(data.n_predicted[own].sum())

    steps = loop.Steps(
        n_train=len(data.skills),
        batch_size=settings.batch_size,
        rate=loop.Rate(peak=settings.learning_rate),
        grad_clip=settings.gradient_clip,
    )
    return loop.train_epoch(model, optimizer, steps, loss_of, epoch=epoch, order=order)


def evaluate(model: KnowledgeTracing, data: Responses, *, epoch: int, autocast: bool) -> dict[str, float]:
    logits, labels = predict(model, data, autocast=autocast)
    if not logits.isfinite().all():
        raise FloatingPointError(f"a prediction on the validation set is not finite after epoch {epoch}")
    return binary_metrics(logits, labels)


@torch.no_grad()
def predict(model: KnowledgeTracing, data: Responses, *, autocast: bool) -> tuple[Tensor, Tensor]:
    """Logits and labels (M,) of all responses that are predicted."""
    model.eval()

    def of(some: slice) -> Tensor:
        logits: Tensor = model(data.skills[some], data.responses[some])[0]
        return logits[data.is_real[some]]

    with torch.autocast(data.skills.device.type, dtype=torch.bfloat16, enabled=autocast):
        logits = ranks.in_parts(len(data.skills), EVAL_BATCH, of)
    return logits, data.responses[:, 1:][data.is_real].float()
