"""Knowledge tracing for the fused trainer: `train_many` of `hpo_batch.training.knowledge_tracing.train`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict

import torch
from torch import Tensor

from hpo_batch.training import loop, optimizers
from hpo_batch.training.device import set_deterministic
from hpo_batch.training.fused.block import Task, Tensors
from hpo_batch.training.fused.recipe import Recipe, Trial
from hpo_batch.training.knowledge_tracing.data import Responses, load
from hpo_batch.training.knowledge_tracing.model import KnowledgeTracing
from hpo_batch.training.knowledge_tracing.settings import Settings
from hpo_batch.training.knowledge_tracing.size import forward_flop
from hpo_batch.training.losses import binary_losses
from hpo_batch.training.metrics import binary_metrics, binary_test, training_flop

OWN = frozenset(
    (
        *("dropout", "epochs", "patience", "learning_rate", "weight_decay", "gradient_clip", "lambda_bce"),
        *("gamma", "alpha", "checkpoint_every"),
    )
)
"""parameters that the trials of a block have each their own value of"""
SHAPE = tuple(name for name in Settings.__dataclass_fields__ if name not in OWN)
"""parameters that are the same for all of a block"""


def recipe(trial: Trial, *, device: torch.device, autocast: bool) -> Recipe:
    """How to train a trial in a slot; see `fused.recipe`."""
    settings = Settings.from_params(trial.params)
    set_deterministic(settings.deterministic)
    data = load(settings, str(device))
    train, val, test = data.train, data.val, data.test
    n_train, n_val = len(train.skills), len(val.skills)
    forward = forward_flop(settings, n_skills=data.n_skills, n_tokens=train.is_real.shape[1])
    values = asdict(settings)

    def batch(index: Tensor) -> tuple[Tensors, Tensors]:
        responses = train.responses[index]
        return (train.skills[index], responses), (responses[:, 1:].float(), train.is_real[index])

    return Recipe(
        shape={name: values[name] for name in SHAPE},
        kind="with a mastery head" if settings.has_mastery else "without a mastery head",
        model=lambda: KnowledgeTracing(settings, n_skills=data.n_skills),
        task=Task(
            n_train=n_train,
            batch_size=settings.batch_size,
            batch=batch,
            loss=_losses,
            decays=optimizers.all_decay,
            counts=train.n_predicted,
            is_adam=settings.optimizer == "Adam",
            autocast=autocast,
        ),
        val_inputs=(val.skills, val.responses),
        validate=lambda logits: binary_metrics(*_predicted(logits, val)),
        test_inputs=None if test is None else (test.skills, test.responses),
        test=None if test is None else lambda logits, best: binary_test(*_predicted(logits, test), best),
        schedule=loop.Schedule(
            epochs=settings.epochs,
            metric="val_auc",
            patience=settings.patience,
            checkpoint_every=settings.checkpoint_every,
        ),
        rate=loop.Rate(peak=settings.learning_rate),
        flop=lambda epochs: training_flop(forward, n_train=n_train, n_val=n_val, epochs=epochs),
        weight_decay=settings.weight_decay,
        grad_clip=settings.gradient_clip,
        loss={"gamma": settings.gamma, "alpha": settings.alpha, "lambda_bce": settings.lambda_bce},
    )


def _losses(outputs: tuple[Tensor, Tensor | None], targets: tuple[Tensor, Tensor], of: Mapping[str, Tensor]) -> Tensor:
    """The sum over the responses of each sequence, (K, B)."""
    (logits, mastery), (labels, is_real) = outputs, targets
    gamma, alpha, share = (of[name].unsqueeze(2) for name in ("gamma", "alpha", "lambda_bce"))
    losses = binary_losses(logits, labels, gamma=gamma, alpha=alpha)
    if mastery is not None:
        losses = share * losses + (1 - share) * binary_losses(mastery, labels, gamma=0.0, alpha=0.5)
    # not losses * is_real: what lies behind the end of a sequence may be infinite
    return losses.where(is_real, 0.0).sum(2)


def _predicted(logits: Tensor, data: Responses) -> tuple[Tensor, Tensor]:
    """Logits and labels (M,) of all responses that are predicted."""
    return logits[data.is_real], data.responses[:, 1:][data.is_real].float()
