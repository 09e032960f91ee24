"""How a study has gone so far: the best value after each trial, and the trials that ended last."""

from __future__ import annotations

import math
from typing import Final

from msgspec import Struct

from hpo_batch.journal.attempt_intervals import spans
from hpo_batch.journal.encode import DIRECTIONS
from hpo_batch.journal.state import JournalState
from hpo_batch.records import TrialState

MOST_POINTS: Final = 120
NEWEST: Final = 5


class EndedTrial(Struct, frozen=True, kw_only=True):
    """A trial that has ended."""

    number: int
    state: str
    """``complete``, ``pruned`` or ``fail``"""
    value: float | None
    """its metric; None without one, or with several metrics"""
    seconds: float | None
    """of all its attempts"""


def best_so_far(state: JournalState, *, most: int = MOST_POINTS) -> tuple[float, ...]:
    """The best value after each complete trial, in the order in which they ended, at most ``most`` of them, evenly.

    Empty with several metrics, which have no best value.
    """
    if len(state.directions) != 1:
        return ()
    better = max if state.directions[0] == DIRECTIONS["maximize"] else min
    course: list[float] = []
    for _, number in state.endings:
        trial = state.trials[number]
        if trial.state is not TrialState.COMPLETE or not trial.values or not math.isfinite(trial.values[0]):
            continue
        course.append(better(trial.values[0], course[-1]) if course else trial.values[0])
    if len(course) <= most:
        return tuple(course)
    return tuple(course[round(i * (len(course) - 1) / (most - 1))] for i in range(most))


def newest(state: JournalState, *, most: int = NEWEST) -> tuple[EndedTrial, ...]:
    """The trials that ended last, the newest first."""
    found = []
    for _, number in reversed(state.endings[-most:]):
        trial = state.trials[number]
        times = [span.seconds for span in spans(trial) if span.seconds is not None]
        found.append(
            EndedTrial(
                number=number,
                state=trial.state.name.lower(),
                value=trial.values[0] if trial.values and len(state.directions) == 1 else None,
                seconds=sum(times) if times else None,
            )
        )
    return tuple(found)
