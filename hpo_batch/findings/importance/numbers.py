"""Which parameters matter in these trials: fANOVA, with the line that parameters which do nothing reach.

The shares are those of Optuna's ``FanovaImportanceEvaluator(n_trees=64, seed=...)`` for one forest (a test holds it):
Optuna's default evaluator of version 5 answers another question, and names the wrong parameter most of the time. They
are computed here from the leaves of a tree at once instead of by walking it, because the null line wants the forest
fitted some dozens of times with dummy parameters, and Optuna has no place for those.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from hpo_batch.findings.json_keys import json_keys
from hpo_batch.findings.model.arrays import Floats, Ints
from hpo_batch.findings.model.frame import Data
from hpo_batch.findings.model.parameter import ParamInfo
from hpo_batch.findings.model.stats import clipped
from hpo_batch.records import Answer
from hpo_batch.text.numbers import count

N_TREES = 64
N_TREES_REFIT = 16
"""of the forests of the null line and the stability range"""
N_TREES_HELD_OUT = 32
N_NULL = 30
N_RESAMPLED = 12
FOLDS = 5
FEWEST = 15
"""distinct trials below which a forest says nothing"""
MOST = 200
"""distinct trials that forests are fitted to"""
MOST_HOT = 5
"""columns of a category; its rarer values share none"""
READABLE = 0.3
"""share of the variance in held-out trials that the forest must explain"""


@dataclass(frozen=True, kw_only=True)
class Importance:
    """fANOVA, with the line that parameters which do nothing reach."""

    rows: tuple[ImportanceRow, ...]
    null_line: float | None
    """95 % of dummy parameters stay below it"""
    surrogate_r2: float | None
    """of the forest, by cross-validation"""
    interpretable: Answer
    method: str
    n: int
    branches: tuple[tuple[str, Importance], ...] = field(default=(), metadata=json_keys("branch", "importance"))
    """conditional parameters: within each value of their parent"""
    why: str = ""


@dataclass(frozen=True, kw_only=True)
class ImportanceRow:
    parameter: str
    value: float
    low: float | None
    high: float | None
    """range over resampled trials and forest seeds: stability, not a confidence interval"""
    above_null: bool


def importance(data: Data, *, seed: int = 0) -> Importance | None:
    """Shares of the forest's variance by parameter; None if no parameter varies.

    A conditional parameter has no share in the whole: ``branches`` hold those within each value of its parent.
    """
    if not data.varied:
        return None
    whole = [param for param in data.varied if not param.conditional]
    result = _of(data, whole, data.distinct, seed=seed)
    branches = tuple(
        (label, _of(data, params, rows, seed=seed)) for label, params, rows in _branches(data, data.distinct)
    )
    return replace(result, branches=branches)


def _of(data: Data, params: Sequence[ParamInfo], rows: Ints, *, seed: int) -> Importance:
    why = _why_not(data, params, rows)
    if why:
        return Importance(
            rows=(),
            null_line=None,
            surrogate_r2=None,
            interpretable=Answer.CANNOT_TELL,
            method="fANOVA",
            n=len(rows),
            why=why,
        )
    random = np.random.default_rng(seed)
    if len(rows) > MOST:
        rows = np.sort(random.choice(rows, MOST, replace=False))
    inputs, groups, bounds = _encoded(params, rows)
    y = clipped(data.y[rows])
    shares = fanova(inputs, y, groups, bounds, n_trees=N_TREES, seed=seed)
    # in this order: each of the three draws from the same generator
    null_line = _null_line(inputs, y, groups, bounds, random)
    low, high = _stability(inputs, y, groups, bounds, random)
    r2 = _held_out_r2(inputs, y, random)
    return Importance(
        rows=tuple(
            ImportanceRow(
                parameter=params[i].name,
                value=float(shares[i]),
                low=float(min(low[i], shares[i])),
                high=float(max(high[i], shares[i])),
                above_null=bool(shares[i] > null_line),
            )
            for i in np.argsort(-shares, kind="stable").tolist()
        ),
        null_line=null_line,
        surrogate_r2=r2,
        interpretable=Answer.YES if r2 >= READABLE else Answer.NO,
        method=f"fANOVA, {N_TREES} trees, seed {seed}; null line: 95 % of {2 * N_NULL} dummy parameters; metric "
        "winsorized to its 10 and 90 % quantiles",
        n=len(rows),
        why="" if r2 >= READABLE else f"the forest explains {max(r2, 0.0):.0%} of the variance of held-out trials",
    )


def fanova(
    inputs: Floats, y: Floats, groups: Sequence[Sequence[int]], bounds: Floats, *, n_trees: int, seed: int
) -> Floats:
    """Share of each group of columns in the variance over the box ``bounds``, on average over the trees of a forest."""
    from sklearn.ensemble import RandomForestRegressor

    forest = RandomForestRegressor(n_estimators=n_trees, max_depth=64, random_state=seed).fit(inputs, y)
    shares = [result for tree in forest.estimators_ if (result := _shares(tree.tree_, groups, bounds)) is not None]
    return np.mean(shares, axis=0) if shares else np.zeros(len(groups))


@dataclass(frozen=True, kw_only=True, eq=False)
class _Leaves:
    """The leaves of a tree as boxes in the space of the inputs."""

    low: Floats
    high: Floats
    """ends of each leaf in each column, shape (leaves, columns)"""
    values: Floats
    """prediction of each leaf, shape (leaves,)"""
    sizes: Floats
    """of the whole box in each column, shape (columns,)"""

    @cached_property
    def widths(self) -> Floats:
        """Share of the whole box in each column, shape (leaves, columns)."""
        return (self.high - self.low) / self.sizes

    @cached_property
    def volumes(self) -> Floats:
        """Share of the whole box, shape (leaves,)."""
        return np.asarray(np.prod(self.widths, axis=1))


def _shares(tree: Any, groups: Sequence[Sequence[int]], bounds: Floats) -> Floats | None:
    """Of one tree; None if it is a single leaf."""
    leaves = _leaves(tree, bounds)
    mean = float(leaves.volumes @ leaves.values)
    total = float(leaves.volumes @ (leaves.values - mean) ** 2)
    if total <= 0:
        return None
    return np.array([_marginal(columns, leaves, mean) for columns in groups]) / total


def _marginal(columns: Sequence[int], leaves: _Leaves, mean: float) -> float:
    """Variance of the tree's mean over all other columns, as these columns move.

    The leaves' edges divide these columns into cells, in each of which that mean is constant: Hutter, Hoos and
    Leyton-Brown 2014, "An Efficient Approach for Assessing Hyperparameter Importance", ICML, pages 754-762,
    https://automl.github.io/fanova/cite.html
    """
    inside = np.ones((len(leaves.low), 1))
    sizes = np.ones(1)
    weights = leaves.volumes / np.prod(leaves.widths[:, columns], axis=1)
    for column in columns:
        low, high = leaves.low[:, column], leaves.high[:, column]
        edges = np.unique(np.concatenate([low, high]))
        middles, size = (edges[1:] + edges[:-1]) / 2, np.diff(edges) / leaves.sizes[column]
        within = (low[:, None] < middles) & (middles < high[:, None])
        inside = (inside[:, :, None] * within[:, None, :]).reshape(len(low), -1)
        sizes = (sizes[:, None] * size).reshape(-1)
    means = (weights * leaves.values) @ inside
    return float(sizes @ (means - mean) ** 2)


def _leaves(tree: Any, bounds: Floats) -> _Leaves:
    """The leaves of one of sklearn's trees, in which a child's number is greater than its parent's."""
    low = np.tile(bounds[:, 0], (tree.node_count, 1))
    high = np.tile(bounds[:, 1], (tree.node_count, 1))
    splits = zip(tree.feature.tolist(), tree.threshold.tolist(), tree.children_left.tolist(), strict=True)
    right = tree.children_right.tolist()
    for node, (column, threshold, left) in enumerate(splits):
        if column >= 0:
            for child in (left, right[node]):
                low[child], high[child] = low[node], high[node]
            high[left, column] = low[right[node], column] = threshold
    places = np.flatnonzero(tree.feature < 0)
    return _Leaves(
        low=low[places], high=high[places], values=tree.value[places, 0, 0], sizes=bounds[:, 1] - bounds[:, 0]
    )


def _null_line(
    inputs: Floats, y: Floats, groups: Sequence[Sequence[int]], bounds: Floats, random: np.random.Generator
) -> float:
    """The share below which 95 % of dummies stay: one of four values and one real, fitted beside the parameters."""
    n, width = inputs.shape
    both = [*groups, [width], [width + 1]]
    ends = np.vstack([bounds, [[0.0, 3.0], [0.0, 1.0]]])
    results = []
    for _ in range(N_NULL):
        few, real = random.permutation(np.arange(n) % 4), random.random(n)
        shares = fanova(
            np.column_stack([inputs, few, real]), y, both, ends, n_trees=N_TREES_REFIT, seed=int(random.integers(2**31))
        )
        results += shares[-2:].tolist()
    return float(np.quantile(results, 0.95))


def _stability(
    inputs: Floats, y: Floats, groups: Sequence[Sequence[int]], bounds: Floats, random: np.random.Generator
) -> tuple[Floats, Floats]:
    """Smallest and largest share over forests of four fifths of the trials each, less 5 % at either end."""
    n = len(y)
    results = []
    for _ in range(N_RESAMPLED):
        kept = random.choice(n, max(2, round(0.8 * n)), replace=False)
        seed = int(random.integers(2**31))
        results.append(fanova(inputs[kept], y[kept], groups, bounds, n_trees=N_TREES_REFIT, seed=seed))
    low, high = np.quantile(results, [0.05, 0.95], axis=0)
    return low, high


def _held_out_r2(inputs: Floats, y: Floats, random: np.random.Generator) -> float:
    from sklearn.ensemble import RandomForestRegressor

    folds = random.permutation(np.arange(len(y)) % FOLDS)
    predicted = np.empty(len(y))
    for fold in range(FOLDS):
        forest = RandomForestRegressor(n_estimators=N_TREES_HELD_OUT, random_state=int(random.integers(2**31)))
        predicted[folds == fold] = forest.fit(inputs[folds != fold], y[folds != fold]).predict(inputs[folds == fold])
    return float(1 - np.sum((y - predicted) ** 2) / np.sum((y - y.mean()) ** 2))


def _encoded(params: Sequence[ParamInfo], rows: Ints) -> tuple[Floats, list[list[int]], Floats]:
    """Columns, which of them belong to each parameter, and the box that they move in: the space, where it is known."""
    columns: list[Floats] = []
    groups: list[list[int]] = []
    bounds: list[tuple[float, float]] = []
    for param in params:
        first = len(columns)
        if param.ordered:
            at = param.positions[rows]
            columns.append(at)
            bounds.append(param.ends)
        else:
            codes = param.codes[rows]
            levels, counts = np.unique(codes, return_counts=True)
            for level in sorted(levels[np.argsort(-counts, kind="stable")[:MOST_HOT]].tolist()):
                columns.append((codes == level).astype(np.float64))
                bounds.append((0.0, 1.0))
        groups.append(list(range(first, len(columns))))
    return np.column_stack(columns), groups, np.array(bounds)


def _why_not(data: Data, params: Sequence[ParamInfo], rows: Ints) -> str:
    if not params:
        return "every parameter that varies is conditional: see the branches"
    if len(rows) < FEWEST:
        return f"{count(len(rows), 'distinct trial')}: a forest needs {FEWEST}"
    if np.ptp(data.y[rows]) == 0:
        return "the metric is the same in all trials"
    return ""


def _branches(data: Data, rows: Ints) -> list[tuple[str, list[ParamInfo], Ints]]:
    """For each value of a parent of a conditional parameter: its label, the parameters that vary in it, its trials."""
    parents: dict[str, None] = {}
    for child in data.varied:
        if child.conditional:
            named = sorted(child.when.names) if child.when is not None else []
            result = [data.by_name[name] for name in named if name in data.by_name] or _parents(data, child)
            parents |= dict.fromkeys(param.name for param in result if param.varied and param.kind == "levels")
    branches = []
    for name in parents:
        parent = data.by_name[name]
        for code, value in enumerate(parent.levels):
            inside = rows[parent.codes[rows] == code]
            params = [
                param
                for param in data.varied
                if len(inside) and param.active[inside].all() and len(np.unique(param.codes[inside])) > 1
            ]
            # within a value without children of its own, the whole says the same
            if params and any(param.conditional for param in params):
                branches.append((f"{name} = {parent.label(value)}", params, inside))
    return branches


def _parents(data: Data, child: ParamInfo) -> list[ParamInfo]:
    """Of foreign trials: the parameters whose value decides whether the child is active, the first such alone."""
    for param in data.varied:
        if param.name != child.name and param.kind == "levels" and not param.conditional:
            by_level = [child.active[param.codes == code] for code in range(len(param.levels))]
            if all(active.all() or not active.any() for active in by_level):
                return [param]
    return []
