"""Columns of linear models: what stands for a parameter, and which columns are combinations of others."""

from __future__ import annotations

from typing import Final

import numpy as np

from hpo_batch.findings.model.arrays import Floats, Ints
from hpo_batch.findings.model.parameter import ParamInfo

TOLERANCE: Final = 1e-9
"""share of a column below which what others do not explain of it is rounding"""


def dummies(codes: Ints, count: int) -> Floats:
    """A column for each level but the first, 1 where a trial has it."""
    return np.asarray(codes[:, None] == np.arange(1, count)[None, :], dtype=np.float64)


def curve(param: ParamInfo, rows: Ints) -> Floats:
    """Linear and squared column of a number."""
    scaled = _scaled(param.positions[rows])
    return np.column_stack([scaled, scaled**2])


def independent(columns: Floats) -> Floats:
    """The columns without those that are combinations of earlier ones."""
    kept: list[int] = []
    basis = np.empty_like(columns, order="F")
    for i in range(columns.shape[1]):
        column = columns[:, i]
        known = basis[:, : len(kept)]
        rest = column - known @ (known.T @ column)
        rest -= known @ (known.T @ rest)
        size = float(np.linalg.norm(rest))
        if size > TOLERANCE * max(1.0, float(np.linalg.norm(column))):
            basis[:, len(kept)] = rest / size
            kept.append(i)
    return columns[:, kept]


def _scaled(positions: Floats) -> Floats:
    # huge numbers overflow when squared
    positions = positions / (np.nanmax(np.abs(positions), initial=0.0) or 1.0)
    known = positions[~np.isnan(positions)]
    spread = float(np.std(known)) if len(known) else 0.0
    if not spread > 0:
        return np.zeros_like(positions)
    return np.asarray((positions - known.mean()) / spread, dtype=np.float64)
