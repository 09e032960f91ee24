"""Correlations of numbers with each other and with the metric, over the trials as they are.

They say what went together in these trials, not what causes what: a sampler makes parameters go together.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np

from hpo_batch.findings.model.arrays import Floats
from hpo_batch.findings.model.frame import Data
from hpo_batch.findings.model.stats import correlation

WIDTHS = ("d_model", "hidden_size", "hidden_dim", "width", "n_embd")
DEPTHS = ("n_layers", "num_layers", "num_encoder_blocks", "num_hidden_layers", "depth", "n_layer")
RATIOS = ("d_ff_ratio", "ff_ratio", "mlp_ratio")
MOST = 20
"""numbers that are all compared with each other; of more, each with the metric alone"""


@dataclass(frozen=True, kw_only=True)
class Correlation:
    a: str
    b: str
    """a parameter, or the metric"""
    pearson: float | None
    pearson_p: float | None
    spearman: float | None
    spearman_p: float | None
    n: int


def correlations(data: Data) -> tuple[Correlation, ...]:
    """Each number with the metric, then with each other. Repeats count as often as they were run.

    The width of a network's inner layers and width by depth are numbers too, where their parameters are known by name.
    """
    numbers = {param.name: param.numbers for param in data.varied if param.numeric}
    numbers |= _derived(numbers)
    pairs = [(name, data.metric) for name in numbers]
    if len(numbers) <= MOST:
        pairs += itertools.combinations(numbers, 2)
    columns = {**numbers, data.metric: data.y} if data.metric not in numbers else {data.metric: data.y, **numbers}
    return tuple(_pair(a, b, columns[a], columns[b] if b != data.metric else data.y) for a, b in pairs)


def _pair(a: str, b: str, x: Floats, y: Floats) -> Correlation:
    both = ~np.isnan(x) & ~np.isnan(y)
    pearson, pearson_p, spearman, spearman_p = correlation(x[both], y[both])
    return Correlation(
        a=a,
        b=b,
        pearson=pearson,
        pearson_p=pearson_p,
        spearman=spearman,
        spearman_p=spearman_p,
        n=int(both.sum()),
    )


def _derived(numbers: dict[str, Floats]) -> dict[str, Floats]:
    width = next((name for name in WIDTHS if name in numbers), None)
    depth = next((name for name in DEPTHS if name in numbers), None)
    ratio = next((name for name in RATIOS if name in numbers), None)
    results: dict[str, Floats] = {}
    if width is None:
        return results
    widths = {width: numbers[width]}
    if ratio is not None:
        widths[f"{width} * {ratio}"] = results[f"{width} * {ratio}"] = numbers[width] * numbers[ratio]
    if depth is not None and np.all(numbers[depth] != 0):
        results |= {f"{name} / {depth}": column / numbers[depth] for name, column in widths.items()}
    return {name: column for name, column in results.items() if name not in numbers}
