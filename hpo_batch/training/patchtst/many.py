"""PatchTST for the fused trainer: `train_many` of `hpo_batch.training.patchtst.train`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict

import torch
from torch import Tensor
from torch.nn import functional

from hpo_batch.training.data import load
from hpo_batch.training.fused.block import Task
from hpo_batch.training.fused.recipe import Recipe, Trial
from hpo_batch.training.metrics import binary_metrics
from hpo_batch.training.patchtst.model import PatchTST
from hpo_batch.training.patchtst.settings import Settings

OWN = frozenset(
    ("dropout", "epochs", "patience", "learning_rate", "weight_decay", "warmup_steps", "grad_clip", "checkpoint_every")
)
"""parameters that the trials of a block have each their own value of"""
SHAPE = tuple(name for name in Settings.__dataclass_fields__ if name not in OWN)
"""parameters that are the same for all of a block"""


def recipe(trial: Trial, *, device: torch.device, autocast: bool) -> Recipe:
    """How to train a trial in a slot; see `fused.recipe`."""
    settings = Settings.from_params(trial.params)
    data = load(settings, str(device))

    def rate(step: int) -> float:
        return settings.learning_rate * min(1.0, step / settings.warmup_steps if settings.warmup_steps else 1.0)

    def loss(logits: Tensor, labels: Tensor, _: Mapping[str, Tensor]) -> Tensor:
        return functional.binary_cross_entropy_with_logits(logits, labels, reduction="none")

    values = asdict(settings)
    return Recipe(
        shape={name: values[name] for name in SHAPE},
        model=lambda: PatchTST(settings, n_features=len(data.features)),
        task=Task(
            n_train=len(data.y_train),
            batch_size=settings.batch_size,
            batch=lambda index: (data.x_train[index], data.y_train[index]),
            loss=loss,
            decays=lambda name, parameter: parameter.ndim >= 2 and name != "position",
            autocast=autocast,
        ),
        val_inputs=data.x_val,
        validate=lambda logits: binary_metrics(logits, data.y_val),
        metric="val_auc",
        rate=rate,
        epochs=settings.epochs,
        weight_decay=settings.weight_decay,
        grad_clip=settings.grad_clip,
        patience=settings.patience,
        checkpoint_every=settings.checkpoint_every,
        identity=values,
    )
