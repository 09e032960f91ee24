"""A small trial of each family: all of them keep what trainers promise."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from hpo_batch.training.knowledge_tracing import train as knowledge_tracing
from hpo_batch.training.patchtst import train as patchtst
from hpo_batch.training.visual import train as visual


@dataclass(frozen=True, kw_only=True)
class Family:
    module: ModuleType
    metric: str
    params: Mapping[str, Any]

    @property
    def train(self) -> Callable[[Any], dict[str, float] | None]:
        function: Callable[[Any], dict[str, float] | None] = self.module.train
        return function

    @property
    def function(self) -> str:
        return f"{self.module.__name__}:train"


FAMILIES = {
    "patchtst": Family(
        module=patchtst,
        metric="val_auc",
        params={"d_model": 8, "n_layers": 1, "n_heads": 2, "batch_size": 128, "learning_rate": 3e-3, "dropout": 0.3},
    ),
    "visual": Family(
        module=visual,
        metric="val_acc",
        params={
            "n_tasks": 60,
            "embed_dim": 8,
            "depth": 2,
            "width_mult": 0.2,
            "mlp_hidden": 8,
            "lr": 3e-3,
            "test_ratio": 0.2,
            "early_stop_patience": 0,
        },
    ),
    "visual-context": Family(
        module=visual,
        metric="val_acc",
        params={
            "encoder_type": "context",
            "n_tasks": 60,
            "embed_dim": 8,
            "lr": 3e-3,
            "early_stop_patience": 0,
            "ctx_d_model": 8,
            "ctx_n_head": 2,
            "ctx_pixel_layers": 1,
            "ctx_grid_layers": 1,
            "ctx_dropout": 0.3,
        },
    ),
    "knowledge_tracing": Family(
        module=knowledge_tracing,
        metric="val_auc",
        params={
            "d_model": 8,
            "n_heads": 2,
            "d_ff": 16,
            "num_encoder_blocks": 1,
            "learning_rate": 3e-3,
            "dropout": 0.3,
            "n_students": 80,
            "n_responses": 12,
            "n_skills": 5,
            "test_ratio": 0.2,
            "patience": 0,
            "batch_size": 16,
        },
    ),
}
MEASURED = {"seconds", "seconds_per_epoch", "peak_memory_mb"}


def numbers(result: dict[str, float] | None) -> dict[str, float]:
    """The metrics without what a clock or the kernel measured."""
    assert result is not None
    return {name: value for name, value in result.items() if name not in MEASURED}
