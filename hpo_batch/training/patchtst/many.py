"""PatchTST for the fused trainer: `train_many` of `hpo_batch.training.patchtst.train`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict

import torch
from torch import Tensor

from hpo_batch.training import loop
from hpo_batch.training.data import load
from hpo_batch.training.device import set_deterministic
from hpo_batch.training.fused.block import Task
from hpo_batch.training.fused.recipe import Recipe, Trial
from hpo_batch.training.losses import binary_losses
from hpo_batch.training.metrics import binary_metrics, binary_test, training_flop
from hpo_batch.training.patchtst.model import PatchTST, is_decayed
from hpo_batch.training.patchtst.settings import Settings
from hpo_batch.training.patchtst.size import forward_flop

OWN = frozenset(
    (
        *("dropout", "epochs", "patience", "learning_rate", "weight_decay", "warmup_steps", "grad_clip"),
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
    n_train, n_val = len(data.y_train), len(data.y_val)
    forward = forward_flop(settings, n_features=len(data.features))
    y_test = data.y_test
    values = asdict(settings)

    def loss(logits: Tensor, labels: Tensor, of: Mapping[str, Tensor]) -> Tensor:
        return binary_losses(logits, labels, gamma=of["gamma"], alpha=of["alpha"])

    return Recipe(
        shape={name: values[name] for name in SHAPE},
        model=lambda: PatchTST(settings, n_features=len(data.features)),
        task=Task(
            n_train=n_train,
            batch_size=settings.batch_size,
            batch=lambda index: (data.x_train[index], data.y_train[index]),
            loss=loss,
            decays=is_decayed,
            autocast=autocast,
        ),
        val_inputs=data.x_val,
        validate=lambda logits: binary_metrics(logits, data.y_val),
        test_inputs=data.x_test,
        test=None if y_test is None else lambda logits, best: binary_test(logits, y_test, best),
        schedule=loop.Schedule(
            epochs=settings.epochs,
            metric="val_auc",
            patience=settings.patience,
            checkpoint_every=settings.checkpoint_every,
        ),
        rate=loop.Rate(peak=settings.learning_rate, warmup_steps=settings.warmup_steps),
        flop=lambda epochs: training_flop(forward, n_train=n_train, n_val=n_val, epochs=epochs),
        weight_decay=settings.weight_decay,
        grad_clip=settings.grad_clip,
        loss={"gamma": settings.gamma, "alpha": settings.alpha},
    )
