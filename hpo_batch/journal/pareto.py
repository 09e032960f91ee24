"""The Pareto front of a study: the complete trials that no other trial dominates."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hpo_batch.journal.encode import DIRECTIONS
from hpo_batch.journal.state import StudyTrials
from hpo_batch.records import TrialState


def front_trials(state: StudyTrials) -> list[int]:
    """Numbers of the complete trials on the front, in order. With one metric, these are the best trials."""
    done = [state.trials[number] for number in sorted(state.by_state[TrialState.COMPLETE])]
    rows = [trial.values if len(trial.values or ()) == len(state.directions) else None for trial in done]
    maximized = [direction == DIRECTIONS["maximize"] for direction in state.directions]
    return [done[place].number for place in _places(rows, maximized)]


def front_of(values: Sequence[Sequence[Any]], states: Sequence[str], directions: Sequence[str]) -> list[bool]:
    """For each trial, whether it is complete and on the Pareto front.

    Args:
        values: one column per metric.
        states: state names, such as ``COMPLETE``.
        directions: ``minimize`` or ``maximize`` per metric.
    """
    rows = [cells if state == "COMPLETE" else None for state, *cells in zip(states, *values, strict=True)]
    best = set(_places(rows, [direction == "maximize" for direction in directions]))
    return [place in best for place in range(len(states))]


def _places(rows: Sequence[Sequence[Any] | None], maximized: Sequence[bool]) -> list[int]:
    """Indices of the rows on the front. Rows that are None or have a missing value are not on it."""
    signs = [-1.0 if is_maximized else 1.0 for is_maximized in maximized]
    losses = {
        place: tuple(sign * cell for sign, cell in zip(signs, row, strict=True))
        for place, row in enumerate(rows)
        if row is not None and not any(cell is None or cell != cell for cell in row)  # NaN != NaN
    }
    places = list(losses)
    return [places[place] for place in on_front(list(losses.values()))]


def on_front(losses: Sequence[tuple[float, ...]]) -> list[int]:
    """Indices of the tuples that no other one dominates. Smaller is better; equal tuples are on the front together."""
    front: list[tuple[float, ...]] = []
    for loss in sorted(set(losses)):  # in this order a tuple can only be dominated by an earlier one
        if len(loss) == 2:
            # with two objectives it is enough to compare with the last: the first objective is sorted already
            dominated = bool(front) and front[-1][1] <= loss[1]
        else:
            dominated = any(all(x <= y for x, y in zip(other, loss, strict=True)) for other in front)
        if not dominated:
            front.append(loss)
    members = set(front)
    return [place for place, loss in enumerate(losses) if loss in members]
