"""What further trials would gain, beside the noise of one trial and the hours that they take.

The gain is ``monitor.gain``'s, as ``status`` shows it: one estimate in both, judged by
benchmarks/stop.py.
"""

from __future__ import annotations

from dataclasses import dataclass

from hpo_batch.findings.hours.numbers import Efficiency
from hpo_batch.findings.model.frame import Data
from hpo_batch.monitor.gain import LEVEL, Gain, expected_gain, how_many
from hpo_batch.records import Answer, Estimate


@dataclass(frozen=True, kw_only=True)
class Further:
    """More trials of the same search."""

    gain: Gain
    planned: bool
    """whether these are the trials that the study still has to finish"""
    noise: float | None
    """standard deviation of one trial's value; None if unknown"""
    hours: float | None
    """that they take, if they take as long as those so far; None if no times were recorded"""
    unit: str
    """``GPU`` or ``worker`` hours"""
    worth: Answer
    """yes if the expected gain is above the noise, no if the whole interval is below"""

    @property
    def estimate(self) -> Estimate:
        return Estimate(
            value=self.gain.expected,
            low=self.gain.low,
            high=self.gain.high,
            level=LEVEL,
            method="tail of the values so far, no model of the parameters",
            n=self.gain.n,
        )


def further(data: Data, efficiency: Efficiency, *, noise: float | None) -> Further | None:
    """None for too few trials, or if the best of them are equal.

    Args:
        data: the complete trials.
        efficiency: hours so far.
        noise: of one trial.
    """
    counts = data.table.counts
    more, planned = how_many(counts)
    gain = expected_gain(data.y.tolist(), more, maximize=data.sign > 0)
    if gain is None:
        return None
    used = efficiency.hours if efficiency.gpu_hours is None else efficiency.gpu_hours
    finished = counts.finished or data.n
    return Further(
        gain=gain,
        planned=planned,
        noise=noise,
        hours=None if used is None else used / finished * more,
        unit="worker" if efficiency.gpu_hours is None else "GPU",
        worth=_worth(gain, noise),
    )


def _worth(gain: Gain, noise: float | None) -> Answer:
    if noise is None:
        return Answer.CANNOT_TELL
    if gain.high < noise:
        return Answer.NO
    return Answer.YES if gain.expected > noise else Answer.CANNOT_TELL
