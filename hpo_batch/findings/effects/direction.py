"""Which of two values of a parameter is better, how likely that is, and by how much."""

from __future__ import annotations

from dataclasses import dataclass

from hpo_batch.records import Estimate, Value


@dataclass(frozen=True, kw_only=True)
class Direction:
    """A graded statement on two values of one parameter, averaged over the settings of the others that were tried."""

    better: Value
    worse: Value
    better_label: str
    worse_label: str
    probability: float
    """that ``better`` is better, from 0.5 to 1"""
    difference: Estimate
    """by how much, on the metric's scale; above 0 where ``better`` is better, whatever the metric's direction"""
    gain: float
    """expected improvement of always using ``better`` over the average of the trials, on the metric's scale; above 0 or
    0: what is at stake"""
    trials_to_tell: int | None = None
    """further trials after which a difference as large as this would be told from none, with 80 % power; None if it is
    told already, or would take more than 10,000"""
