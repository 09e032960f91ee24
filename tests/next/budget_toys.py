"""Objectives whose best configuration depends on a budget: quick, with noise by seed."""

from __future__ import annotations

import random

import hpo_batch


def likes_its_epochs(trial: hpo_batch.Trial) -> dict[str, float]:
    """The best x is 0.2 with few epochs and 0.8 with many; a seed moves all configurations alike."""
    epochs, x = int(trial.params["epochs"]), float(trial.params["x"])
    best = 0.8 if epochs > 20 else 0.2
    both = random.Random(trial.seed).gauss(0, 0.05)
    own = random.Random(f"{trial.seed} {x} {epochs}").gauss(0, 0.01)
    return {"score": (x - best) ** 2 + 1.0 / epochs + both + own}


def fails_with_many(trial: hpo_batch.Trial) -> dict[str, float]:
    if int(trial.params["epochs"]) > 20 and float(trial.params["x"]) < 0.5:
        raise RuntimeError("diverged")
    return likes_its_epochs(trial)
