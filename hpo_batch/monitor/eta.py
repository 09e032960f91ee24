"""Estimate when a study will be finished, from the durations of its last trials and the running workers.

Work left = (trials left) x (mean time per finished trial, including failures) - (time spent on running trials). Workers
that take the next trial as soon as they are free need at least that sum divided by their number, and at most part of
one long trial more (Graham's bound for list scheduling, https://doi.org/10.1137/0117039). The range adds the
uncertainty of the sum. Time in the queue is unknown.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

from msgspec import Struct
from msgspec.structs import asdict, replace

# ended trials below which there is no estimate: two give a spread with one degree of freedom, which says nothing
LEAST: Final = 3
# 90 % quantile of the normal distribution, so that 8 of 10 ranges hold
QUANTILE: Final = 1.28


class Eta(Struct, frozen=True, kw_only=True):
    """A range of seconds from now; None if unknown, with the reason in ``why_unknown``."""

    low_s: float | None = None
    high_s: float | None = None
    per_trial_s: float | None = None
    """mean time of the trials that ended last, all their attempts together"""
    work_s: float | None = None
    """work left, in seconds, summed over all workers"""
    based_on: int = 0
    """number of trials"""
    workers: int = 0
    """number of running workers"""
    why_unknown: str = ""
    ends_before: bool = False
    """whether the running workers reach their time limits before the work is done"""

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def estimate(
    durations: Sequence[float],
    *,
    finished: int,
    remaining: int,
    running: Sequence[float],
    left: Sequence[float | None],
) -> Eta:
    """Estimate when the remaining trials will be finished.

    Args:
        durations: seconds of the trials that ended last, including failed ones. Shape (based_on,).
        finished: how many of those count towards the target.
        remaining: trials still to be finished, including running ones.
        running: seconds since each running trial started.
        left: for each running worker, seconds to its time limit; None for no limit, or if unknown. Shape (workers,).

    Returns:
        The range holds in about 8 of 10 cases if durations vary as they did so far.
    """
    workers = len(left)
    known = Eta(based_on=len(durations), workers=workers)
    if remaining == 0:
        return replace(known, low_s=0.0, high_s=0.0, work_s=0.0)
    if len(durations) < LEAST:
        some = f"only {len(durations)} {'has' if len(durations) == 1 else 'have'}" if durations else "none has"
        return _unknown(known, f"{LEAST} trials must have ended to tell, {some}")
    if finished == 0:
        return _unknown(known, f"none of the last {len(durations)} trials has finished")
    mean = math.fsum(durations) / len(durations)
    to_run = remaining * len(durations) / finished  # some will fail as others did
    # no more than the mean: a trial that hangs has not done the work of several
    done = math.fsum(min(seconds, mean) for seconds in running)
    work = max(0.0, to_run * mean - done)
    known = Eta(based_on=len(durations), workers=workers, per_trial_s=mean, work_s=work)
    if workers == 0:
        return _unknown(known, "no worker is running")
    doubt = _doubt(durations, mean, to_run)
    busy = min(workers, remaining)
    # the 90 % quantile, not the longest of up to 1000 trials, which is an outlier more often than not
    long = sorted(durations)[min(len(durations) - 1, math.ceil(0.9 * len(durations)) - 1)]
    limits = [seconds for seconds in left if seconds is not None]
    return replace(
        known,
        low_s=max(0.0, work - doubt) / busy,
        high_s=(work + doubt) / busy + (1 - 1 / busy) * long,
        ends_before=len(limits) == len(left) and math.fsum(limits) < work,
    )


def _doubt(durations: Sequence[float], mean: float, to_run: float) -> float:
    """Half the range in seconds: the variance of a sum of ``to_run`` durations, plus that of the mean they rely on."""
    spread = math.sqrt(math.fsum((d - mean) ** 2 for d in durations) / (len(durations) - 1))
    return QUANTILE * spread * math.sqrt(to_run + to_run**2 / len(durations))


def _unknown(known: Eta, why: str) -> Eta:
    return replace(known, why_unknown=why)
