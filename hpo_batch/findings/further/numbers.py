"""What further trials would gain, beside the noise of one trial and the hours that they take.

The gain is ``monitor.gain``'s, as ``status`` shows it: one estimate in both, judged by
benchmarks/stop.py.
"""

from __future__ import annotations

from dataclasses import dataclass

from hpo_batch.findings.hours.numbers import Efficiency
from hpo_batch.findings.model.frame import Data
from hpo_batch.monitor.gain import LEVEL, expected_gain, how_many
from hpo_batch.records import Answer, Estimate


@dataclass(frozen=True, kw_only=True)
class Further:
    """More trials of the same search."""

    trials: int
    """how many more"""
    planned: bool
    """whether these are the trials that the study still has to finish"""
    gain: Estimate
    """of the best value, above 0 is better; its interval should hold in 8 of 10 cases"""
    chance: float
    """that any of them is better than the best so far"""
    noise: float | None
    """standard deviation of one trial's value; None if unknown"""
    hours: float | None
    """that they take, if they take as long as those so far; None if no times were recorded"""
    unit: str
    """``GPU`` or ``worker`` hours"""
    worth: Answer
    """yes if the expected gain is above the noise, no if the whole interval is below"""


def further(data: Data, efficiency: Efficiency, *, noise: float | None) -> Further | None:
    """None for too few trials, or if the best of them are equal.

    Args:
        data: the complete trials.
        efficiency: hours so far.
        noise: of one trial.
    """
    counts = data.table.counts
    more, planned = how_many(counts)
    told = expected_gain(data.y.tolist(), more, maximize=data.sign > 0)
    if told is None:
        return None
    used = efficiency.hours if efficiency.gpu_hours is None else efficiency.gpu_hours
    finished = counts.finished or data.n
    return Further(
        trials=more,
        planned=planned,
        gain=Estimate(
            value=told.expected,
            low=told.low,
            high=told.high,
            level=LEVEL,
            method="tail of the newest values, no model of the parameters",
            n=told.n,
        ),
        chance=told.chance,
        noise=noise,
        hours=None if used is None else used / finished * more,
        unit="worker" if efficiency.gpu_hours is None else "GPU",
        worth=Answer.CANNOT_TELL
        if noise is None
        else Answer.NO
        if told.high < noise
        else Answer.YES
        if told.expected > noise
        else Answer.CANNOT_TELL,
    )
