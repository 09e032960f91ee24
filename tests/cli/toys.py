"""Objectives for the tests of the command line: quick, and wrong in one way each."""

from __future__ import annotations

import os
import random
import signal
import time
from pathlib import Path

import hpo_batch


def quadratic(trial: hpo_batch.Trial) -> dict[str, float]:
    x, n = float(trial.params["x"]), int(trial.params["n"])
    for step in range(1, 4):
        trial.report(step, score=1.0 / step)
    print(f"trial {trial.number}: x = {x}, n = {n}")
    return {"score": (x - 0.3) ** 2 + n, "twice": 2 * x}


def fails_for_two(trial: hpo_batch.Trial) -> float:
    if trial.params["n"] == 2:
        raise ValueError("n must not be two")
    return float(trial.params["x"])


def returns_nan(trial: hpo_batch.Trial) -> float:
    return float("nan")


def returns_text(trial: hpo_batch.Trial) -> str:
    return "good"


def returns_other_metric(trial: hpo_batch.Trial) -> dict[str, float]:
    return {"scor": 1.0}


def sleeps(trial: hpo_batch.Trial) -> float:
    for step in range(600):
        time.sleep(0.1)
        trial.report(step, score=float(step))
        if trial.should_stop():
            return None  # type: ignore[return-value]  # what a stopped trial returns
    return 1.0


def first_hangs(trial: hpo_batch.Trial) -> float:
    while trial.number == 0:
        time.sleep(0.1)
    return float(trial.params["x"])


def raises_always(trial: hpo_batch.Trial) -> float:
    raise RuntimeError("nothing works here")


def count(values: dict[str, int]) -> int:
    """A model's parameters, as [objective] n_params counts them."""
    return 1000 * values["n"]


def by_seed(trial: hpo_batch.Trial) -> float:
    print(f"seed {trial.seed}")
    return trial.seed % 1000 / 1000


def waits_for_file(trial: hpo_batch.Trial) -> float:
    while not Path(os.environ["GO"]).exists():
        time.sleep(0.05)
    return float(trial.params["x"])


def fails_unless_told(trial: hpo_batch.Trial) -> float:
    if "TOLD" not in os.environ:
        raise RuntimeError("nobody has told me how")
    return float(trial.params["x"])


def waits_or_stops(trial: hpo_batch.Trial) -> float | None:
    while not Path(os.environ["GO"]).exists():
        if trial.should_stop():
            return None
        time.sleep(0.05)
    return float(trial.params["x"])


def dies_after_one(trial: hpo_batch.Trial) -> float:
    """The worker's second trial kills it, unless told otherwise."""
    if "SECOND" in os.environ and "DONE_DYING" not in os.environ:
        os.kill(os.getpid(), signal.SIGKILL)
    os.environ["SECOND"] = "1"
    return float(trial.params["x"])


def noisy(trial: hpo_batch.Trial) -> float:
    """Best at x = 0.3; a seed moves all configurations by much, and each by a little."""
    x, n = float(trial.params["x"]), int(trial.params["n"])
    shared = random.Random(trial.seed).gauss(0, 0.3)
    own = random.Random(f"{trial.seed} {x} {n}").gauss(0, 0.02)
    return (x - 0.3) ** 2 + 0.1 * n + shared + own
