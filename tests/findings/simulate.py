"""Studies whose truth is known: what each parameter does was put in, and two parameters do nothing.

The search is Optuna's TPE as it comes, because it is what bends naive means: it tries good values together.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import optuna
import pandas as pd

from hpo_batch.records import Counts
from hpo_batch.results.table import TrialsTable

LEVELS = {"act": ("relu", "gelu", "tanh", "silu"), "width": (32, 64, 128, 256), "depth": (2, 3, 4, 5)}
NULL_LEVELS = ("p", "q", "r", "s")
STRONGEST = "rate"
NOISE = 0.3


def truth(params: Mapping[str, Any]) -> float:
    """The metric without noise, to be maximised."""
    rate = math.log10(params["rate"])
    act = {"relu": 0.0, "gelu": 0.3, "tanh": -0.4, "silu": 0.1}[params["act"]]
    return -0.9 * (rate + 3) ** 2 + act + 0.25 * math.log2(params["width"] / 32) - 0.15 * (params["depth"] - 3) ** 2


def trials(*, seed: int, n: int, sampler: str = "tpe", noise: float = NOISE) -> list[tuple[dict[str, Any], float]]:
    """Parameters and noisy values of a search, in its order."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    make = {"tpe": optuna.samplers.TPESampler, "random": optuna.samplers.RandomSampler}[sampler]
    study = optuna.create_study(direction="maximize", sampler=make(seed=seed))
    random = np.random.default_rng(seed)
    for _ in range(n):
        trial = study.ask()
        params: dict[str, Any] = {name: trial.suggest_categorical(name, values) for name, values in LEVELS.items()}
        params["rate"] = trial.suggest_float("rate", 1e-5, 1e-1, log=True)
        params["null_few"] = trial.suggest_categorical("null_few", NULL_LEVELS)
        params["null_real"] = trial.suggest_float("null_real", 0.0, 1.0)
        study.tell(trial, truth(params) + noise * float(random.normal()))
    return [(trial.params, float(trial.value)) for trial in study.trials if trial.value is not None]


def table(
    rows: Sequence[tuple[Mapping[str, Any], float | None]],
    *,
    direction: str = "maximize",
    metric: str = "score",
    states: Sequence[str] | None = None,
    columns: Mapping[str, Sequence[Any]] | None = None,
    **more: Any,
) -> TrialsTable:
    """A trials table of parameters and values; a parameter that a row has not is not active in it."""
    names = list(dict.fromkeys(name for params, _ in rows for name in params))
    frame = pd.DataFrame({"number": range(len(rows)), "value": pd.Series([v for _, v in rows], dtype="float64")})
    for name in names:
        frame[f"params_{name}"] = pd.Series([params.get(name) for params, _ in rows], dtype=object)
    frame["state"] = list(states) if states is not None else ["COMPLETE"] * len(rows)
    for name, values in (columns or {}).items():
        frame[name] = list(values)
    return TrialsTable(
        trials=frame,
        attempts=pd.DataFrame(),
        metrics=(metric,),
        directions=(direction,),
        counts=Counts(target=len(rows), complete=len(rows)),
        source="simulated",
        **more,
    )
