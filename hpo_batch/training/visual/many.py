"""Visual classification for the fused trainer: `train_many` of `hpo_batch.training.visual.train`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict

import torch
from torch import Tensor

from hpo_batch.training import loop, optimizers
from hpo_batch.training.device import set_deterministic
from hpo_batch.training.fused.block import Task, Tensors
from hpo_batch.training.fused.layers import LAYERS, Stacked
from hpo_batch.training.fused.recipe import Recipe, Trial
from hpo_batch.training.metrics import as_test, class_metrics
from hpo_batch.training.visual.data import N_DEMOS, Tasks, load
from hpo_batch.training.visual.model import N_COLOURS, Cells, Classifier, Prototypes, compare
from hpo_batch.training.visual.settings import SHAPE, Settings
from hpo_batch.training.visual.train import EVAL_BATCH, colour_tables, first_pairs, random_pairs, recolour, total_flop


class StackedCells(Stacked):
    line: Tensor
    column: Tensor

    def forward(self, x: Tensor) -> Tensor:
        size = x.shape[1]
        places = self.line[:, :size] + self.column[:, None, :size]  # (K, S, S, D)
        return (x.view(self.k, -1, *x.shape[1:]) + places.unsqueeze(1)).view(x.shape)


class StackedPrototypes(Stacked):
    centroids: Tensor | None

    def read(self, layer: Prototypes) -> None:
        self.temperature = layer.temperature
        self.register_buffer("centroids", layer.centroids, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        prototypes = self.weight if self.centroids is None else self.centroids @ self.weight.mT
        return compare(x.view(self.k, -1, x.shape[1]), prototypes, self.temperature).flatten(0, 1)


LAYERS.update({Cells: StackedCells, Prototypes: StackedPrototypes})


def recipe(trial: Trial, *, device: torch.device, autocast: bool) -> Recipe:
    """How to train a trial in a slot; see `fused.recipe`."""
    settings = Settings.from_params(trial.params)
    set_deterministic(settings.deterministic)
    data = load(settings, str(device))
    train, val, test = data.train, data.val, data.test
    n_train = len(train.labels)
    values = asdict(settings)

    def draw(order: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        """Batch by batch, as a trial that is trained alone draws."""
        pairs, tables = [], []
        for tasks in torch.split(order, settings.batch_size):
            pairs.append(random_pairs(train, tasks, generator) if settings.random_demos else first_pairs(train, tasks))
            same = torch.arange(N_COLOURS).expand(len(tasks), -1)
            tables.append(colour_tables(len(tasks), generator) if settings.color_permute else same)
        return {"pairs": torch.cat(pairs), "colours": torch.cat(tables)}

    def batch(index: Tensor, drawn: Mapping[str, Tensor]) -> tuple[Tensors, Tensors]:
        return recolour(train.grids[drawn["pairs"]], drawn["colours"]), train.labels[index]

    n_steps = -(-n_train // settings.batch_size) * settings.epochs
    return Recipe(
        shape={name: values[name] for name in SHAPE},
        model=lambda: Classifier(settings, n_classes=len(data.categories), centroids=data.centroids),
        task=Task(
            n_train=n_train,
            batch_size=settings.batch_size,
            batch=batch,
            loss=_losses,
            decays=optimizers.all_decay,
            drawn={"pairs": torch.zeros(N_DEMOS, dtype=torch.long), "colours": torch.arange(N_COLOURS)},
            eval_inputs=EVAL_BATCH,
            autocast=autocast,
        ),
        draw=draw,
        val_inputs=_grids(val),
        validate=lambda logits: class_metrics(logits, val.labels, data.categories),
        test_inputs=None if test is None else _grids(test),
        test=None if test is None else lambda logits, _: as_test(class_metrics(logits, test.labels, data.categories)),
        schedule=loop.Schedule(
            epochs=settings.epochs,
            metric="val_acc",
            patience=settings.early_stop_patience,
            checkpoint_every=settings.checkpoint_every,
        ),
        rate=loop.Rate(peak=settings.lr, cosine_steps=n_steps if settings.use_scheduler else 0),
        flop=lambda epochs: total_flop(settings, data, epochs),
        weight_decay=settings.weight_decay,
        loss={"label_smoothing": settings.label_smoothing},
    )


def _grids(tasks: Tasks) -> Tensor:
    """The first pairs of all tasks, (N, K, 2, S, S)."""
    return tasks.grids[first_pairs(tasks, torch.arange(len(tasks.labels))).to(tasks.grids.device)]


def _losses(logits: Tensor, labels: Tensor, of: Mapping[str, Tensor]) -> Tensor:
    """Cross entropy with label smoothing as in torch.nn.functional.cross_entropy, (K, B)."""
    log_p = logits.float().log_softmax(2)
    right = log_p.gather(2, labels.unsqueeze(2)).squeeze(2)
    smoothing = of["label_smoothing"]
    return -(1 - smoothing) * right - smoothing * log_p.mean(2)
