"""Sets of supplementary trials, each with a hypothesis and what it compares."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from hpo_batch.next.around import Move, changed, short_text
from hpo_batch.next.design import MOST_FACTORS, design
from hpo_batch.next.local import Local, better, told
from hpo_batch.next.predictions import Contrast
from hpo_batch.records import Configuration, Value
from hpo_batch.sweep.schema import PlannedTrial
from hpo_batch.text.names import listed
from hpo_batch.text.numbers import count, number

REFERENCE: Final = "reference"
LOCAL: Final = "local"
COMBINED: Final = "combined"
MOST_SINGLE: Final = 3
"""parameters that get a set of their own"""
UNLIKELY: Final = 0.05
"""chance of being better below which a value gets no trial of its own; a convention"""
LIKELY: Final = 0.6
"""chance of being better from which a move is part of the combined trial; a convention"""


@dataclass(frozen=True, kw_only=True)
class TrialSet:
    """Trials that answer one question."""

    name: str
    hypothesis: str
    contrasts: Mapping[str, str]
    """what is expected, in words, and what is compared, as [expect] writes it"""
    predicted: float | None
    """largest gain that the model expects of its contrasts"""
    detectable: float | None
    """smallest difference that these trials tell from chance with 80 % power"""
    trials: tuple[PlannedTrial, ...]
    moves: tuple[str, ...] = ()
    """each change with its prediction"""
    expected: Mapping[str, Contrast] = field(default_factory=dict)
    """by the words of ``contrasts``: what the model expects, where it expects anything"""

    @property
    def lines(self) -> Sequence[str]:
        """Comment above it."""
        if not self.contrasts:
            return (f"{self.name}: {self.hypothesis} ({count(len(self.trials), 'trial')})",)
        sizes = f"Predicted gain {number(self.predicted)}, " if self.predicted is not None else "No prediction; "
        found = number(self.detectable) if self.detectable is not None else "unknown, as the noise is"
        told = ""
        if self.predicted is not None and self.detectable is not None and abs(self.predicted) < self.detectable:
            told = ": an effect as small as predicted would not be told from chance"
        return (
            f"{self.name}: {self.hypothesis} ({count(len(self.trials), 'trial')})",
            *self.moves,
            f"{sizes}detectable with 80 % power {found}{told}.",
        )


def trial_sets(local: Local, seeds: int) -> tuple[tuple[TrialSet, ...], tuple[str, ...]]:
    taken = dict(local.ran)
    reference = PlannedTrial(
        name=REFERENCE,
        set=LOCAL,
        params={},
        note=f"the best: {local.ran.get(local.best.key, 'so far')}, with new seeds",
    )
    taken[local.best.key] = REFERENCE
    sets: list[TrialSet] = []
    left_out: list[str] = []
    found = _local_set(local, reference, taken, seeds)
    if found is not None:
        sets.append(found)
    letters = iter("ABCDEFGHIJ")
    for name in local.order:
        own = _single_set(local, name, taken, seeds, letters) if len(sets) <= MOST_SINGLE else None
        if isinstance(own, TrialSet):
            sets.append(own)
        elif isinstance(own, str):
            left_out.append(own)
    combined = _combined_set(local, taken, seeds)
    if combined is not None:
        sets.append(combined)
    if sets and sets[0].name != LOCAL:
        sets.insert(0, TrialSet(name=LOCAL, hypothesis="the best again, to compare with", contrasts={}, predicted=None,
                                detectable=None, trials=(reference,)))  # fmt: skip
    left_out += [
        f"{p.name}: not active in the best trial" for p in local.space.searched if p.name not in local.best.searched
    ]
    left_out += [f"{name}: no other value is valid" for name in local.best.searched if name not in local.moves]
    return tuple(sets), tuple(left_out)


def _local_set(local: Local, reference: PlannedTrial, taken: dict[str, str], seeds: int) -> TrialSet | None:
    """The design over the most telling parameters; runs that are invalid or ran before are avoided."""
    names = local.order[:MOST_FACTORS]
    while len(names) > 1:
        chosen = _alternatives(local, names, taken)
        if chosen is not None:
            break
        names = names[:-1]
    else:
        return None
    runs = design(len(names))
    trials, of_run = [reference], {0: REFERENCE}
    for i, run in enumerate(runs[1:], start=1):
        values = {move.parameter: move.value for move, is_changed in zip(chosen, run, strict=True) if is_changed}
        configuration = changed(local.space, local.best, values)
        assert configuration is not None
        name = f"L{i}"
        taken[configuration.key] = of_run[i] = name
        trials.append(
            PlannedTrial(name=name, set=LOCAL, from_=REFERENCE, params=_own(configuration, values), note=_note(values))
        )
    contrasts, expected = {}, {}
    for j, move in enumerate(chosen):
        with_it = [of_run[i] for i in range(len(runs)) if runs[i, j]]
        without = [of_run[i] for i in range(len(runs)) if not runs[i, j]]
        words = f"{move.text} is better than {short_text(local.best.searched[move.parameter])}"
        contrasts[words] = better(local, f"mean({', '.join(with_it)})", f"mean({', '.join(without)})")
        if move.gain is not None:
            expected[words] = Contrast(names=tuple(with_it), others=tuple(without), gain=move.gain, error=move.error)
    gains = [move.gain for move in chosen if move.gain is not None]
    return TrialSet(
        name=LOCAL,
        hypothesis="which of these changes is better? Each is compared in all runs",
        contrasts=contrasts,
        moves=tuple(told(local, move) for move in chosen),
        predicted=max(gains, default=None),
        detectable=local.detectable(len(runs), seeds),
        trials=tuple(trials),
        expected=expected,
    )


def _alternatives(local: Local, names: Sequence[str], taken: Mapping[str, str]) -> list[Move] | None:
    """A move for each parameter, so that no run is invalid or was taken; None if there are none."""
    runs = design(len(names))
    at = [0] * len(names)
    for _ in range(1 + sum(len(local.moves[name]) - 1 for name in names)):
        chosen = [local.moves[name][i] for name, i in zip(names, at, strict=True)]
        wrong = None
        for run in runs[1:]:
            values = {move.parameter: move.value for move, is_changed in zip(chosen, run, strict=True) if is_changed}
            configuration = changed(local.space, local.best, values)
            if configuration is None or configuration.key in taken:
                wrong = run
                break
        if wrong is None:
            return chosen
        # another value for the least telling parameter of the run that has one left
        later = [j for j in np.flatnonzero(wrong)[::-1].tolist() if at[j] + 1 < len(local.moves[names[j]])]
        if not later:
            return None
        at[later[0]] += 1
    return None


def _single_set(
    local: Local, name: str, taken: dict[str, str], seeds: int, letters: Iterator[str]
) -> TrialSet | str | None:
    """Further values of one parameter, if the model expects a difference that can be told from chance."""
    limit = local.detectable(2, seeds)
    own = [move for move in local.moves[name] if move.where != "tried" or not local.data.by_name[name].numeric]
    worth = [
        move for move in own if move.gain is not None and limit is not None and abs(move.gain) + move.error >= limit
    ]
    if not own:
        return None
    if all(move.gain is not None and move.chance < UNLIKELY for move in own):
        values = listed([short_text(move.value) for move in own])
        return f"{name} alone: {values} would be worse, with a probability above {1 - UNLIKELY:.0%}"
    worth = [move for move in worth if move.chance >= UNLIKELY]
    if not worth:
        largest = max((abs(move.gain) for move in own if move.gain is not None), default=None)
        values = listed([short_text(move.value) for move in own])
        return (
            f"{name} alone: {values} would differ by {number(largest)} at most, and one trial against another tells "
            f"{number(limit)} or more; the local set compares it in all its runs"
        )
    trials, letter = _single_trials(local, worth, taken, letters)
    if not trials:
        return None
    now = local.best.searched[name]
    of_value = {move.value: move for move in worth}
    contrasts, expected = {}, {}
    for trial in trials:
        words = f"{trial.name}: {name} = {short_text(trial.params[name])} is better than {short_text(now)}"
        contrasts[words] = better(local, trial.name, REFERENCE)
        move = of_value[trial.params[name]]
        assert move.gain is not None
        expected[words] = Contrast(names=(trial.name,), others=(REFERENCE,), gain=move.gain, error=move.error)
    return TrialSet(
        name=letter,
        hypothesis=f"{name}: is another value better than {short_text(now)}?",
        contrasts=contrasts,
        expected=expected,
        moves=tuple(told(local, move) for move in worth),
        predicted=max((move.gain for move in worth if move.gain is not None), default=None),
        detectable=limit,
        trials=trials,
    )


def _single_trials(
    local: Local, worth: Sequence[Move], taken: dict[str, str], letters: Iterator[str]
) -> tuple[tuple[PlannedTrial, ...], str]:
    """A trial for each move that is valid and new, and the letter of their set; none takes no letter."""
    trials: list[PlannedTrial] = []
    letter = ""
    for move in worth:
        values = {move.parameter: move.value}
        configuration = changed(local.space, local.best, values)
        if configuration is None or configuration.key in taken:
            continue
        letter = letter or next(letters)
        trial = f"{letter}{len(trials) + 1}"
        taken[configuration.key] = trial
        own = _own(configuration, values)
        trials.append(
            PlannedTrial(name=trial, set=letter, from_=REFERENCE, params=own, note=f"{move.text}, {move.place}")
        )
    return tuple(trials), letter


def _combined_set(local: Local, taken: dict[str, str], seeds: int) -> TrialSet | None:
    """All changes together that the model expects to be better."""
    first = [each[0] for each in local.moves.values() if each[0].chance >= LIKELY and (each[0].gain or 0) > 0]
    first.sort(key=lambda move: -move.chance)
    trials: list[PlannedTrial] = []
    expected: dict[str, Contrast] = {}
    for n in dict.fromkeys((len(first), min(2, len(first)))):
        if n < 2:
            continue
        values = {move.parameter: move.value for move in first[:n]}
        configuration = changed(local.space, local.best, values)
        if configuration is None or configuration.key in taken:
            continue
        name = f"combined_{len(trials) + 1}"
        taken[configuration.key] = name
        trials.append(
            PlannedTrial(
                name=name, set=COMBINED, from_=REFERENCE, params=_own(configuration, values), note=_note(values)
            )
        )
        expected[f"{name} is better than the best so far"] = Contrast(
            names=(name,),
            others=(REFERENCE,),
            gain=sum(move.gain or 0.0 for move in first[:n]),
            error=math.hypot(*(move.error for move in first[:n])),
        )
    if not trials:
        return None
    return TrialSet(
        name=COMBINED,
        hypothesis="the changes that are probably better, together: do their gains add up?",
        contrasts={words: better(local, *contrast.names, *contrast.others) for words, contrast in expected.items()},
        expected=expected,
        predicted=max(contrast.gain for contrast in expected.values()),
        detectable=local.detectable(2, seeds),
        trials=tuple(trials),
    )


def _own(configuration: Configuration, values: Mapping[str, Value]) -> dict[str, Value]:
    return {name: configuration.searched[name] for name in values}


def _note(values: Mapping[str, Value]) -> str:
    return ", ".join(f"{name} = {short_text(value)}" for name, value in values.items())
