"""The objective `hpo_batch.training.patchtst.train:train`: one trial from its parameters to its metrics.

The result is that of the epoch with the best validation AUC, never of the last one. A trial that is interrupted and
resumed gives the numbers of one that was not: on a CPU to the last bit.
"""

from __future__ import annotations

import logging
import math
import resource
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from hpo_batch.training import checkpoint
from hpo_batch.training.data import Dataset, load
from hpo_batch.training.fused.many import train_trials
from hpo_batch.training.fused.recipe import Trials
from hpo_batch.training.metrics import binary_metrics
from hpo_batch.training.patchtst.many import SHAPE, recipe
from hpo_batch.training.patchtst.model import PatchTST
from hpo_batch.training.patchtst.settings import Settings

log = logging.getLogger(__name__)

# Windows evaluated at once: bounds the memory, not the result.
EVAL_BATCH = 2048


class Trial(Protocol):
    """What this trainer uses of `hpo_batch.Trial`."""

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
    @property
    def device(self) -> str: ...
    def report(self, step: int, **metrics: float) -> None: ...
    def should_stop(self) -> bool: ...


def train(trial: Trial) -> dict[str, float] | None:
    """Metrics of the best epoch; None if the trial was told to stop before its last epoch (a checkpoint is there)."""
    settings = Settings.from_params(trial.params)
    torch.set_num_threads(trial.cpus)
    device, autocast = choose_device(trial.device)

    # The one place for seeds. Weights and dropout draw from torch's global generators, the batches from their own.
    torch.manual_seed(trial.seed)
    order = torch.Generator().manual_seed(trial.seed)

    data = load(settings, str(device))
    model = PatchTST(settings, n_features=len(data.features)).to(device)
    optimizer = make_optimizer(model, settings)

    epoch = 0
    best: dict[str, float] = {}
    best_model: dict[str, Tensor] = {}
    stale_epochs = 0
    seconds = 0.0
    # What the numbers depend on. A checkpoint of something else (another replicate's seed) must not be continued.
    identity = {**asdict(settings), "seed": trial.seed}

    state = checkpoint.load(trial.checkpoint) if trial.resumes else None
    if state is not None and state["identity"] != identity:
        log.warning("training from the start: the checkpoint in '%s' is of other parameters or seed", trial.checkpoint)
        state = None
    if state is not None:
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        order.set_state(state["order"])
        torch.set_rng_state(state["rng"])
        if device.type == "cuda" and state["cuda_rng"] is not None:
            torch.cuda.set_rng_state(state["cuda_rng"], device)
        epoch, best, best_model = state["epoch"], state["best"], state["best_model"]
        stale_epochs, seconds = state["stale_epochs"], state["seconds"]

    def save_checkpoint() -> None:
        checkpoint.save(
            trial.checkpoint,
            epoch,
            {
                "identity": identity,
                "model": model.state_dict(),
                "optimizer": optimizer.state_dict(),
                "order": order.get_state(),
                "rng": torch.get_rng_state(),
                "cuda_rng": torch.cuda.get_rng_state(device) if device.type == "cuda" else None,
                "epoch": epoch,
                "best": best,
                "best_model": best_model,
                "stale_epochs": stale_epochs,
                "seconds": time.perf_counter() - started,
            },
        )

    def is_finished() -> bool:
        return epoch >= settings.epochs or 0 < settings.patience <= stale_epochs

    started = time.perf_counter() - seconds  # as if the earlier attempts had run just before this one
    while not is_finished():
        epoch += 1
        train_loss = train_epoch(model, optimizer, data, settings, epoch=epoch, order=order, autocast=autocast)
        metrics = evaluate(model, data, epoch=epoch, autocast=autocast)
        if not best or metrics["val_auc"] > best["val_auc"]:
            best = {**metrics, "best_epoch": epoch}
            best_model = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}
            stale_epochs = 0
        else:
            stale_epochs += 1

        log.info(
            "epoch %d of %d: train_loss %.4f, val_loss %.4f, val_auc %.4f (best %.4f in epoch %d)",
            epoch, settings.epochs, train_loss, metrics["val_loss"], metrics["val_auc"], best["val_auc"],
            best["best_epoch"],
        )  # fmt: skip
        trial.report(epoch, val_auc=metrics["val_auc"], val_loss=metrics["val_loss"], train_loss=train_loss)
        is_due = is_finished() or epoch % settings.checkpoint_every == 0
        if is_due:
            save_checkpoint()
        if not is_finished() and trial.should_stop():
            if not is_due:
                save_checkpoint()
            return None

    return {
        **best,
        "epochs_run": epoch,
        "n_params": sum(parameter.numel() for parameter in model.parameters()),
        "peak_memory_mb": peak_memory_mb(device),
        "seconds": time.perf_counter() - started,
    }


def train_many(trials: Trials) -> None:
    """The same for trials of one shape at once, as one model; `trials` is an `hpo_batch.Trials`."""
    device, autocast = choose_device(trials.device)
    torch.set_num_threads(trials.cpus)
    train_trials(trials, lambda trial: recipe(trial, device=device, autocast=autocast), device=device)


train_many.shape = SHAPE  # type: ignore[attr-defined]  # which parameters must be equal: docs/objective.md


def choose_device(name: str) -> tuple[torch.device, bool]:
    """The device and whether to compute in bfloat16 there, decided once."""
    device = torch.device(name)
    if device.type != "cuda":
        log.info("training on '%s' in float32", device)
        return device, False
    if not torch.cuda.is_available():
        raise RuntimeError(
            f"the trial was given device '{name}' but torch {torch.__version__} sees no GPU: "
            'install a torch build with CUDA, or set [job] device = "cpu"'
        )
    torch.cuda.reset_peak_memory_stats(device)
    # Without emulation: there bfloat16 is slower than float32.
    bf16 = torch.cuda.is_bf16_supported(including_emulation=False)
    log.info(
        "training on '%s' (%s) in %s",
        device,
        torch.cuda.get_device_name(device),
        "bfloat16" if bf16 else "float32: it has no bfloat16",
    )
    return device, bf16


def make_optimizer(model: PatchTST, settings: Settings) -> torch.optim.AdamW:
    matrices = [p for name, p in model.named_parameters() if p.ndim >= 2 and name != "position"]
    others = [p for name, p in model.named_parameters() if p.ndim < 2 or name == "position"]
    groups = [
        {"params": matrices, "weight_decay": settings.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=settings.learning_rate, fused=True)


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
    model.train()
    device = data.y_train.device
    n_train, size = len(data.y_train), settings.batch_size
    n_steps = -(-n_train // size)
    shuffled = torch.randperm(n_train, generator=order).to(device)
    losses: list[Tensor] = []  # read once after the epoch: reading each would make the GPU wait at every step
    for step in range(n_steps):
        batch = shuffled[step * size : (step + 1) * size]
        if settings.warmup_steps:
            done = (epoch - 1) * n_steps + step + 1
            for group in optimizer.param_groups:
                group["lr"] = settings.learning_rate * min(1.0, done / settings.warmup_steps)
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=autocast):
            logits = model(data.x_train[batch])  # (B, T, F) -> (B,)
        loss = functional.binary_cross_entropy_with_logits(logits, data.y_train[batch])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        if settings.grad_clip:
            nn.utils.clip_grad_norm_(model.parameters(), settings.grad_clip)
        optimizer.step()
        losses.append(loss.detach() * len(batch))

    total = 0.0
    for step, value in enumerate(torch.stack(losses).tolist()):
        if not math.isfinite(value):
            raise FloatingPointError(f"the training loss is {value} in epoch {epoch}, step {step + 1} of {n_steps}")
        total += value
    return total / n_train


@torch.no_grad()
def evaluate(model: nn.Module, data: Dataset, *, epoch: int, autocast: bool) -> dict[str, float]:
    model.eval()
    with torch.autocast(data.y_val.device.type, dtype=torch.bfloat16, enabled=autocast):
        starts = range(0, len(data.x_val), EVAL_BATCH)
        logits = torch.cat([model(data.x_val[i : i + EVAL_BATCH]) for i in starts])  # (M,)
    if not logits.isfinite().all():
        raise FloatingPointError(f"a prediction on the validation set is not finite after epoch {epoch}")
    return binary_metrics(logits, data.y_val)


def peak_memory_mb(device: torch.device) -> float:
    """Of the trial on a GPU; on a CPU only that of the whole process is known."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10  # kilobytes on Linux
