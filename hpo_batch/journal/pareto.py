"""The Pareto front: the trials that no other trial beats in one metric without being worse in another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hpo_batch.journal.encode import DIRECTIONS
from hpo_batch.journal.state import StudyTrials
from hpo_batch.records import TrialState


def front_trials(state: StudyTrials) -> list[int]:
    """Numbers of the complete trials on the front of a study's metrics, in order; with one metric, the best ones."""
    done = [state.trials[number] for number in sorted(state.by_state[TrialState.COMPLETE])]
    rows = [trial.values if len(trial.values or ()) == len(state.directions) else None for trial in done]
    maximized = [direction == DIRECTIONS["maximize"] for direction in state.directions]
    return [done[place].number for place in _places(rows, maximized)]


def front_of(values: Sequence[Sequence[Any]], states: Sequence[str], directions: Sequence[str]) -> list[bool]:
    """For each trial whether it is complete and on the Pareto front.

    Args:
        values: one column for each metric.
    """
    rows = [cells if state == "COMPLETE" else None for state, *cells in zip(states, *values, strict=True)]
    best = set(_places(rows, [direction == "maximize" for direction in directions]))
    return [place in best for place in range(len(states))]


def _places(rows: Sequence[Sequence[Any] | None], maximized: Sequence[bool]) -> list[int]:
    """Places of the rows on the front. One that is None, or lacks a number, is on none."""
    signs = [-1.0 if is_maximized else 1.0 for is_maximized in maximized]
    losses = {
        place: tuple(sign * cell for sign, cell in zip(signs, row, strict=True))
        for place, row in enumerate(rows)
        if row is not None and not any(cell is None or cell != cell for cell in row)  # a NaN is unequal to itself
    }
    places = list(losses)
    return [places[place] for place in on_front(list(losses.values()))]


def on_front(losses: Sequence[tuple[float, ...]]) -> list[int]:
    """Places of the tuples that no other one dominates; smaller is better. Equal ones are on it together."""
    kept: list[tuple[float, ...]] = []
    for loss in sorted(set(losses)):  # whoever dominates comes before whom it dominates
        if len(loss) == 2:  # those before it are not worse in the first: the last one kept is the best in the second
            dominated = bool(kept) and kept[-1][1] <= loss[1]
        else:
            dominated = any(all(x <= y for x, y in zip(other, loss, strict=True)) for other in kept)
        if not dominated:
            kept.append(loss)
    front = set(kept)
    return [place for place, loss in enumerate(losses) if loss in front]
