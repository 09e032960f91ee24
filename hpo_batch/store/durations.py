"""Predicts how long a trial takes from the trials that have finished.

A prediction is the upper quartile, not the mean: a worker that underestimates a trial loses its training. If model
sizes are known, time is modelled as a power of the size. The exponent is the Theil-Sen estimate (median of the slopes
between all pairs of trials in log-log space), at least 0, and the quartile is taken of the residuals. It is robust to
outliers.
"""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Callable, Mapping, Sequence

from msgspec import Struct

from hpo_batch.files import read_json_lines
from hpo_batch.journal.state import JournalState
from hpo_batch.journal.trial import ScannedTrial
from hpo_batch.records import Reason, TrialState, Value
from hpo_batch.store.attempt_folder import METRICS_FILE
from hpo_batch.store.home import StudyHome

MOST = 50
"""number of newest trials used"""
STEEPEST = 2.0
"""largest exponent: training time hardly grows faster than the square of the model size, a larger one is noise"""
ENOUGH = 4
"""number of trials with known size from which on the size is used"""


class Took(Struct, frozen=True, kw_only=True):
    """How long one finished trial took."""

    number: int
    attempt: int
    """the last one"""
    seconds: float
    """total of the attempts that contributed: the last one, and those that left a newer checkpoint"""
    started: float
    """of the last attempt, in seconds since the epoch"""
    values: Mapping[str, Value]
    """its configuration"""


class Prediction(Struct, frozen=True, kw_only=True):
    seconds: float
    of: int
    """number of trials it is based on"""


def newest(state: JournalState, *, most: int = MOST) -> tuple[Took, ...]:
    """The newest complete trials, or the newest pruned ones if there are none."""
    for wanted in (TrialState.COMPLETE, TrialState.PRUNED):
        # failed trials lie between them: look at four times as many, and no further
        recent = (state.trials[number] for _, number in itertools.islice(reversed(state.endings), 4 * most))
        durations = (_took(trial) for trial in recent if trial.state is wanted)
        if newest_first := tuple(itertools.islice((took for took in durations if took is not None), most)):
            return newest_first
    return ()


def has_saved(state: JournalState, *, most: int = MOST) -> bool:
    """Whether an interrupted attempt of one of the newest trials left a checkpoint."""
    return any(
        trial.ending(attempt).get("moved") for trial in state.trials[: -most - 1 : -1] for attempt in trial.attempts
    )


def first_report_s(home: StudyHome, took: Took) -> float | None:
    """Seconds from the start of a trial's last attempt to its first report; None if it made none."""
    try:
        line = next(iter(read_json_lines(home.attempt(took.number, took.attempt) / METRICS_FILE)), None)
    except OSError:
        return None
    time = line.get("time") if isinstance(line, Mapping) else None
    return max(0.0, float(time) - took.started) if isinstance(time, int | float) else None


def predict(
    took: Sequence[Took],
    values: Mapping[str, Value],
    *,
    size_of: Callable[[Mapping[str, Value]], float | None] | None = None,
) -> Prediction | None:
    """A duration that three of four trials with a configuration do not exceed; None if none has finished yet.

    Args:
        took: durations of finished trials.
        values: the configuration.
        size_of: returns the number of model parameters of a configuration, or None if unknown.
    """
    if not took:
        return None
    seconds = [max(one.seconds, 1e-3) for one in took]
    size = _positive(size_of(values)) if size_of is not None else None
    if size is not None and size_of is not None:
        sized = [(math.log(s), math.log(t)) for one, t in zip(took, seconds, strict=True)
                 if (s := _positive(size_of(one.values))) is not None]  # fmt: skip
        slopes = [(t2 - t1) / (s2 - s1) for (s1, t1), (s2, t2) in itertools.combinations(sized, 2) if s1 != s2]
        if len({s for s, _ in sized}) >= 2 and len(sized) >= ENOUGH:
            slope = min(STEEPEST, max(0.0, statistics.median(slopes)))
            rest = upper_quartile([t - slope * s for s, t in sized])
            return Prediction(seconds=math.exp(rest + slope * math.log(size)), of=len(sized))
    return Prediction(seconds=upper_quartile(seconds), of=len(seconds))


def upper_quartile(values: Sequence[float]) -> float:
    return values[0] if len(values) == 1 else statistics.quantiles(values, n=4, method="inclusive")[2]


def _positive(size: float | None) -> float | None:
    return size if size is not None and size > 0 else None


def _took(trial: ScannedTrial) -> Took | None:
    """None for a trial that copied the result of another, or without recorded times."""
    last = trial.attempt_facts(trial.attempt)
    if "repeats" in trial.facts or "started" not in last:
        return None
    seconds = 0.0
    for attempt in trial.attempts:
        started, ending = trial.attempt_facts(attempt).get("started"), trial.ending(attempt)
        # a lost attempt ends when its loss is noticed, which says nothing about how long it ran
        counts = attempt == trial.attempt or (ending.get("moved") and ending.get("how") != Reason.LOST)
        if counts and started is not None and "time" in ending:
            seconds += max(0.0, ending["time"] - started)
    values = {**trial.params, **trial.facts.get("derived", {})}
    return Took(number=trial.number, attempt=trial.attempt, seconds=seconds, started=last["started"], values=values)
