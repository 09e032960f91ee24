"""The objective `hpo_batch.training.visual.train:train`: one trial from its parameters to its metrics."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from hpo_batch.training import loop, optimizers, ranks
from hpo_batch.training.device import choose_device, set_deterministic
from hpo_batch.training.fused.many import train_trials
from hpo_batch.training.fused.recipe import Trials
from hpo_batch.training.metrics import as_test, class_metrics, training_flop
from hpo_batch.training.visual.data import EMPTY, N_DEMOS, Dataset, Tasks, load
from hpo_batch.training.visual.model import Classifier
from hpo_batch.training.visual.settings import SHAPE, Settings
from hpo_batch.training.visual.size import forward_flop

# Tasks evaluated at once: bounds the memory, not the result.
EVAL_BATCH = 64


def train(trial: loop.Trial) -> dict[str, float] | None:
    """Metrics of the best epoch; None if the trial was told to stop before its last epoch (a checkpoint is there)."""
    settings = Settings.from_params(trial.params)
    ranks.join(trial)
    device, autocast = choose_device(trial.device)
    set_deterministic(settings.deterministic)
    order = loop.seed_all(trial)

    data = load(settings, str(device))
    model = Classifier(settings, n_classes=len(data.categories), centroids=data.centroids).to(device)
    optimizer = optimizers.make(
        model, is_adam=False, rate=settings.lr, weight_decay=settings.weight_decay, decays=optimizers.all_decay
    )
    wrapped = ranks.wrap(model)

    def test(_best: Mapping[str, float]) -> dict[str, float]:
        if data.test is None:
            return {}
        return as_test(class_metrics(predict(model, data.test, autocast=autocast), data.test.labels, data.categories))

    result = loop.fit(
        trial,
        loop.Schedule(
            epochs=settings.epochs,
            metric="val_acc",
            patience=settings.early_stop_patience,
            checkpoint_every=settings.checkpoint_every,
        ),
        {"model": model, "optimizer": optimizer, "order": order},
        lambda epoch: train_epoch(
            wrapped, optimizer, data.train, settings, epoch=epoch, order=order, autocast=autocast
        ),
        lambda epoch: evaluate(model, data, epoch=epoch, autocast=autocast),
        test,
    )
    return None if result is None else {**result, "flop": total_flop(settings, data, int(result["epochs_run"]))}


def train_many(trials: Trials) -> None:
    """The same for trials of one shape at once, as one model; `trials` is an `hpo_batch.Trials`."""
    from hpo_batch.training.visual.many import recipe  # which needs what is above

    device, autocast = choose_device(trials.device)
    torch.set_num_threads(trials.cpus)
    train_trials(trials, lambda trial: recipe(trial, device=device, autocast=autocast), device=device)


train_many.shape = SHAPE  # type: ignore[attr-defined]  # which parameters must be equal: docs/objective.md


def total_flop(settings: Settings, data: Dataset, epochs: int) -> float:
    forward = forward_flop(
        settings,
        size=data.train.grids.shape[-1],
        n_classes=len(data.categories),
        centroid_dim=0 if data.centroids is None else data.centroids.shape[1],
        batch_size=settings.batch_size,
    )
    return training_flop(forward, n_train=len(data.train.labels), n_val=len(data.val.labels), epochs=epochs)


def train_epoch(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    data: Tasks,
    settings: Settings,
    *,
    epoch: int,
    order: torch.Generator,
    autocast: bool,
) -> float:
    """One pass over the training tasks; the mean loss."""
    device = data.labels.device

    def loss_of(batch: Tensor) -> tuple[Tensor, int]:
        # drawn for the whole batch, so that all ranks draw the same
        shown = random_pairs(data, batch, order) if settings.random_demos else first_pairs(data, batch)
        colours = colour_tables(len(batch), order) if settings.color_permute else None
        own = ranks.part(len(batch))
        grids = data.grids[shown[own].to(device)]  # (B, K, 2, S, S)
        if colours is not None:
            grids = recolour(grids, colours[own].to(device))
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=autocast):
            logits = model(grids)
        labels = data.labels[batch[own].to(device)]
        return functional.cross_entropy(logits, labels, label_smoothing=settings.label_smoothing), len(labels)

    n_train = len(data.labels)
    n_steps = -(-n_train // settings.batch_size) * settings.epochs
    steps = loop.Steps(
        n_train=n_train,
        batch_size=settings.batch_size,
        rate=loop.Rate(peak=settings.lr, cosine_steps=n_steps if settings.use_scheduler else 0),
    )
    return loop.train_epoch(model, optimizer, steps, loss_of, epoch=epoch, order=order)


def first_pairs(data: Tasks, tasks: Tensor) -> Tensor:
    """The first pairs of tasks (B,), as numbers of pairs (B, K); a task with fewer shows them again."""
    return data.first[tasks, None] + torch.arange(N_DEMOS) % data.n_pairs[tasks, None]


def random_pairs(data: Tasks, tasks: Tensor, generator: torch.Generator) -> Tensor:
    """The same with pairs drawn without repeats, unless a task has too few."""
    n_pairs = data.n_pairs[tasks, None]
    keys = torch.rand(len(tasks), max(N_DEMOS, int(data.n_pairs.max())), generator=generator)
    keys[torch.arange(keys.shape[1]) >= n_pairs] = 2.0  # behind all that are there
    return data.first[tasks, None] + keys.argsort(1).gather(1, torch.arange(N_DEMOS) % n_pairs)


def colour_tables(count: int, generator: torch.Generator) -> Tensor:
    """A permutation of colours for each of so many tasks, (count, 11); the background and EMPTY stay."""
    colours = torch.rand(count, EMPTY - 1, generator=generator).argsort(1) + 1  # (B, 9)
    ends = torch.tensor([[0, EMPTY]]).expand(count, 2)
    return torch.cat([ends[:, :1], colours, ends[:, 1:]], dim=1)


def recolour(grids: Tensor, table: Tensor) -> Tensor:
    """(B, K, 2, S, S) in the colours of tables (B, 11): one for all grids of a task."""
    return table.gather(1, grids.flatten(1).long()).view(grids.shape)


def evaluate(model: Classifier, data: Dataset, *, epoch: int, autocast: bool) -> dict[str, float]:
    logits = predict(model, data.val, autocast=autocast)
    if not logits.isfinite().all():
        raise FloatingPointError(f"a prediction on the validation set is not finite after epoch {epoch}")
    return class_metrics(logits, data.val.labels, data.categories)


@torch.no_grad()
def predict(model: Classifier, data: Tasks, *, autocast: bool) -> Tensor:
    """Logits (N, C) of all tasks, by their first pairs."""
    model.eval()
    shown = first_pairs(data, torch.arange(len(data.labels))).to(data.grids.device)
    with torch.autocast(data.labels.device.type, dtype=torch.bfloat16, enabled=autocast):
        return ranks.in_parts(len(shown), EVAL_BATCH, lambda some: model(data.grids[shown[some]]))
