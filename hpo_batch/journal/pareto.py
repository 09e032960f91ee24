"""The Pareto front: the trials that no other trial beats in one metric without being worse in another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hpo_batch.journal.encode import DIRECTIONS
from hpo_batch.journal.state import JournalState
from hpo_batch.records import TrialState


def front_trials(state: JournalState) -> list[int]:
    """Numbers of the complete trials on the front of a study's metrics, in order; with one metric, the best ones."""
    done = [state.trials[number] for number in sorted(state.by_state[TrialState.COMPLETE])]
    able = [trial for trial in done if trial.values is not None and len(trial.values) == len(state.directions)]
    able = [trial for trial in able if not any(value != value for value in trial.values or ())]  # no NaN is on a front
    signs = [-1.0 if direction == DIRECTIONS["maximize"] else 1.0 for direction in state.directions]
    losses = [tuple(s * v for s, v in zip(signs, trial.values or (), strict=True)) for trial in able]
    return [able[place].number for place in on_front(losses)]


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


def front_of(values: Sequence[Sequence[Any]], states: Sequence[str], directions: Sequence[str]) -> list[bool]:
    """For each trial whether it is complete and on the Pareto front.

    Args:
        values: one column for each metric.
    """
    signs = [-1.0 if direction == "maximize" else 1.0 for direction in directions]
    able = []
    losses = []
    for i, (state, *cells) in enumerate(zip(states, *values, strict=True)):
        if state == "COMPLETE" and not any(cell is None or cell != cell for cell in cells):
            able.append(i)
            losses.append(tuple(sign * cell for sign, cell in zip(signs, cells, strict=True)))
    best = {able[place] for place in on_front(losses)}
    return [i in best for i in range(len(states))]
