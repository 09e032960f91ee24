"""Searches of complete tables whose parameters may take some of their values only, and what is true of them."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Final, TypeAlias

import numpy as np
import optuna
from numpy.typing import NDArray

from benchmarks.studies import SPACE, STARTUP, Table, additive, interacting
from hpo_batch.space.parameters import Choices, Fixed
from hpo_batch.space.space import Space
from hpo_batch.sweep.load import loads
from hpo_batch.sweep.schema import Sweep
from hpo_batch.text.values import toml_line

Box: TypeAlias = Mapping[str, Sequence[Any]]
"""the values that each parameter may take, in the order of the table"""
Rows: TypeAlias = list[tuple[dict[str, Any], float]]
BEST: Final = 0.01
"""share of the configurations, the best, whose noise counts: those that are compared in the end"""
REACHED: Final = 0.001
"""share of the configurations with a value, the best, whose mean says what can be reached with it. The single best one
of thousands was lucky with its few seeds, too"""


class Problem(Table):
    """A complete table, and what refine is judged by."""

    @cached_property
    def good(self) -> NDArray[np.float64]:
        """Means over the seeds, greater is better."""
        return self.means if self.direction == "maximize" else -self.means

    @cached_property
    def noise(self) -> float:
        """Standard deviation over seeds among the best configurations."""
        is_best = self.good >= np.quantile(self.good, 1 - BEST)
        return float(np.sqrt(self.values.var(axis=-1, ddof=1)[is_best].mean()))

    @cached_property
    def reached(self) -> dict[str, list[float]]:
        """What can be reached with each value of a parameter, greater is better."""
        found = {}
        for axis, name in enumerate(self.params):
            each = np.moveaxis(self.good, axis, 0).reshape(len(self.space[name]), -1)
            best = np.sort(each, axis=1)[:, -max(1, round(REACHED * each.shape[1])) :]
            found[name] = best.mean(axis=1).tolist()
        return found

    @property
    def ordered(self) -> list[str]:
        """Parameters that are numbers with three values or more."""
        return [name for name in self.params if len(self.space[name]) > 2 and not isinstance(self.space[name][0], str)]

    def beyond(self, name: str, start: int, width: int) -> dict[str, float]:
        """By how many noise SD the values beyond each end of a part of the values reach more than those inside."""
        reached = self.reached[name]
        inside = max(reached[start : start + width])
        sides = {"low": reached[:start], "high": reached[start + width :]}
        return {side: (max(values) - inside) / self.noise for side, values in sides.items() if values}

    def regret(self, params: Mapping[str, Any]) -> float:
        """0 for the truly best configuration, 1 for the median one."""
        best = self.good.max()
        return float((best - self.good[self.place(params)]) / (best - np.median(self.good)))


class MadeUp(Problem):
    """A grid over a formula, with four values of normal noise for each configuration."""

    def __init__(self, name: str, truth: Any, noise: float) -> None:
        space = {key: list(values) for key, values in SPACE.items()}
        cells = [truth(dict(zip(space, cell, strict=True))) for cell in itertools.product(*space.values())]
        shape = tuple(len(values) for values in space.values())
        random = np.random.default_rng(5)
        self.values = np.array(cells).reshape(*shape, 1) + noise * random.normal(size=(*shape, 4))
        self.name, self.params, self.space, self.direction = name, list(space), space, "maximize"
        self._truth = np.array(cells).reshape(shape)

    @cached_property
    def means(self) -> NDArray[np.float64]:
        return self._truth


class Drawn(Problem):
    """A grid over a formula that is drawn at random: one of a family, for choices that need many problems.

    Three or four numbers and a category. Each number has a best place, sometimes beyond the grid, and a weight, from
    hardly any to much; the best place of one may depend on another, and the heights may saturate.
    """

    def __init__(self, number: int) -> None:
        random = np.random.default_rng([number, 31])
        sizes = [int(size) for size in random.integers(5, 10, size=random.integers(3, 5))]
        axes = np.meshgrid(*[np.linspace(0, 1, size) for size in sizes], np.arange(3), indexing="ij")
        best = random.uniform(-0.2, 1.2, size=len(sizes))
        weights = np.exp(random.normal(0, 1.2, size=len(sizes)))
        height = random.normal(0, 0.3, size=3)[axes[-1].astype(int)]
        for i, at in enumerate(axes[:-1]):
            moved = random.choice([0.0, 0.4, -0.4]) * (axes[0] - 0.5) if i else 0.0
            height -= weights[i] * (at - best[i] - moved) ** 2
        if random.random() < 0.5:
            height = np.tanh((height - np.quantile(height, 0.8)) / height.std())
        noise = float(np.exp(random.uniform(np.log(0.05), np.log(0.5))) * height.std())
        self.values = height[..., None] + noise * random.normal(size=(*height.shape, 6))
        self.space = {f"x{i}": list(range(size)) for i, size in enumerate(sizes)} | {"kind": ["a", "b", "c"]}
        self.name, self.params, self.direction = f"drawn{number}", list(self.space), "maximize"
        self._truth = height

    @cached_property
    def means(self) -> NDArray[np.float64]:
        return self._truth


def problems(folder: Path, names: Sequence[str]) -> list[Problem]:
    """The tables in a folder, and two made-up problems; those whose names contain one of ``names``."""
    every: list[Problem] = [Problem(path) for path in sorted(folder.glob("*.npz"))]
    every += [MadeUp("additive", additive, 0.3), MadeUp("interacting", interacting, 0.1)]
    return [one for one in every if any(name in one.name for name in names)]


def full(table: Table) -> dict[str, list[Any]]:
    return {name: list(table.space[name]) for name in table.params}


def toml_of(table: Table, box: Box, *, name: str, trials: int) -> str:
    """The sweep of a box; the values of the table are its limits."""
    lines = []
    for key, values in box.items():
        every = list(table.space[key])
        raw: Any = list(values)
        if not isinstance(every[0], str):
            raw = {"choices": raw, "limits": every}
        lines.append(toml_line(key, raw))
    return f"""
[study]
name = "{name}"
metric = "score"
direction = "{table.direction}"
trials = {trials}
[objective]
function = "tests.cli.toys:quadratic"
[space]
{chr(10).join(lines)}
"""


def sweep_of(table: Table, box: Box, *, name: str = "t", trials: int = 50) -> Sweep:
    (sweep,) = loads(toml_of(table, box, name=name, trials=trials), path=Path(f"{name}.toml"))
    return sweep


def box_of(table: Table, space: Space) -> dict[str, list[Any]]:
    """The values of the table that a space has left, or has won."""
    box = {}
    for name in table.params:
        parameter = space.by_name[name]
        assert isinstance(parameter, Choices | Fixed)
        box[name] = [value for value in table.space[name] if value in parameter.cells]
    return box


def weights_of(space: Space) -> dict[str, list[float]]:
    """Weights in the order of ``box_of``, for which values of the table stand in their own order."""
    found = {}
    for parameter in space.searched:
        if isinstance(parameter, Choices) and parameter.weights is not None:
            found[parameter.name] = list(parameter.weights)
    return found


def is_inside(box: Box, params: Mapping[str, Any]) -> bool:
    return all(params[name] in values for name, values in box.items())


Weights: TypeAlias = Mapping[str, Sequence[float]]
"""shares of the trials for each value of a box, of parameters with a quota"""


def search(
    table: Table,
    box: Box,
    n: int,
    *,
    seed: int,
    history: Rows = [],  # noqa: B006
    weights: Weights = {},  # noqa: B006
) -> Rows:
    """Optuna's TPE over the places of the values, with what is known of the box; one seed of the table is seen.

    A parameter with weights gets its value by them, and TPE proposes the others, as our samplers do it.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    sampler = optuna.samplers.TPESampler(multivariate=True, seed=seed, n_startup_trials=STARTUP)
    study = optuna.create_study(direction=table.direction, sampler=sampler)
    distributions = {name: optuna.distributions.IntDistribution(0, len(v) - 1) for name, v in box.items()}
    for params, value in history:
        if is_inside(box, params):
            places = {name: list(box[name]).index(params[name]) for name in box}
            study.add_trial(optuna.trial.create_trial(params=places, distributions=distributions, value=value))
    random = np.random.default_rng([seed, 11, len(history)])
    rows: Rows = []
    for _ in range(n):
        drawn = {key: int(random.choice(len(w), p=np.array(w) / sum(w))) for key, w in weights.items()}
        study.sampler = optuna.samplers.PartialFixedSampler(drawn, sampler) if drawn else sampler
        trial = study.ask(distributions)
        params = {name: values[trial.params[name]] for name, values in box.items()}
        rows.append((params, observed(table, params, random)))
        study.tell(trial, rows[-1][1])
    return rows


def observed(table: Table, params: Mapping[str, Any], random: np.random.Generator) -> float:
    seeds = table.values[table.place(params)]
    return float(seeds[random.integers(len(seeds))])
