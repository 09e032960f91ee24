"""How long trials take, from those that have finished: for walltimes and other predictions.

A prediction is an upper quartile, not a mean: a worker that is too hopeful loses what it has trained. Where sizes of
the models are known, time is taken to grow with a power of the size: the slope is the median of the slopes between all
pairs of trials (Theil and Sen), never falling, and the quartile is taken of what is left over. Some strange trials
change it little.
"""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from hpo_batch.files import read_json_lines
from hpo_batch.journal.state import JournalState
from hpo_batch.journal.trial import ScannedTrial
from hpo_batch.records import Reason, TrialState, Value
from hpo_batch.store.attempt_folder import METRICS_FILE
from hpo_batch.store.home import StudyHome

MOST = 50
"""trials that are looked at: the newest ones"""
STEEPEST = 2.0
"""no model's time grows faster than with the square of its size: a steeper slope is noise between few trials"""
ENOUGH = 4
"""trials of different sizes from which on the size is made use of"""


@dataclass(frozen=True, kw_only=True)
class Took:
    """How long one finished trial took."""

    number: int
    attempt: int
    """the last one"""
    seconds: float
    """of all attempts whose work counted: the last one, and those that left a newer checkpoint for the next"""
    started: float
    """of the last attempt, in seconds since the epoch"""
    values: Mapping[str, Value]
    """its configuration"""


@dataclass(frozen=True, kw_only=True)
class Prediction:
    seconds: float
    of: int
    """how many trials it was made from"""


def newest(state: JournalState, *, most: int = MOST) -> tuple[Took, ...]:
    """The newest trials that ran to their end; those that were pruned only if there are no others."""
    for wanted in (TrialState.COMPLETE, TrialState.PRUNED):
        found = []
        for _, number in itertools.islice(reversed(state.endings), 4 * most):
            trial = state.trials[number]
            took = _took(trial) if trial.state is wanted else None
            if took is not None:
                found.append(took)
            if len(found) == most:
                break
        if found:
            return tuple(found)
    return ()


def has_saved(state: JournalState, *, most: int = MOST) -> bool:
    """Whether one of the newest trials was seen to save a checkpoint: an attempt that was interrupted left one."""
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
    """How long a trial with a configuration takes, three of four times; None if nothing has finished yet.

    Args:
        size_of: the size of a configuration's model; None where it cannot be told.
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
    """None for a trial that was answered from another, or whose times are not known."""
    last = trial.attempt_facts(trial.attempt)
    if "repeats" in trial.facts or "started" not in last:
        return None
    seconds = 0.0
    for attempt in trial.attempts:
        started, ending = trial.attempt_facts(attempt).get("started"), trial.ending(attempt)
        # when a lost attempt was found dead says nothing of how long it ran
        counts = attempt == trial.attempt or (ending.get("moved") and ending.get("how") != Reason.LOST)
        if counts and started is not None and "time" in ending:
            seconds += max(0.0, ending["time"] - started)
    values = {**trial.params, **trial.facts.get("derived", {})}
    return Took(number=trial.number, attempt=trial.attempt, seconds=seconds, started=last["started"], values=values)
