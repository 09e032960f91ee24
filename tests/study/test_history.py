"""What a sampler is shown: the best and the newest trials of today's space, whatever the order in which it is found."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

import optuna
import pytest

from hpo_batch.journal.encode import Record, Writer
from hpo_batch.journal.state import JournalState
from hpo_batch.journal.trial import ScannedTrial
from hpo_batch.records import TrialState
from hpo_batch.space.draw import at_random
from hpo_batch.space.space import Space
from hpo_batch.study.distributions import JournalParams, values_in
from hpo_batch.study.history import SamplerHistory
from hpo_batch.study.shown_trials import OUT_OF_THE_WAY

from .helpers import Text, sweep_of

YESTERDAY = "x = { low = 0, high = 40 }\nc = ['a', 'b', 'c']\nu = { low = 0.0, high = 1.0, when = \"c == 'a'\" }"
TODAY = "x = { low = 0, high = 25 }\nc = ['a', 'b', 'd']\nu = { low = 0.0, high = 1.0, when = \"c == 'a'\" }"

Shown = tuple[int, str, tuple[float, ...] | None, dict[str, Any], dict[int, float]]


class Life:
    """A study trial by trial: ties, edits, failures, repeats, trials of plain Optuna, values that are none."""

    def __init__(self, root: Path, seed: int, *, metrics: int, running: float = 0.1, repeats: float = 0.1) -> None:
        self.spaces = [sweep_of(root, Text(space=space)).space for space in (YESTERDAY, TODAY)]
        self.rng = random.Random(seed)
        self.metrics = metrics
        self.running = running
        self.repeats = repeats
        self.write = Writer("w-0")
        self.state = JournalState()
        self.made: list[tuple[dict[str, float], dict[str, str], str]] = []
        self.open: list[int] = []
        directions = [self.rng.choice(["minimize", "maximize"]) for _ in range(metrics)]
        self.apply([self.write.create_study("s", directions)])

    def apply(self, records: Sequence[Record]) -> None:
        self.state.apply(
            b"".join(json.dumps(record).encode() + b"\n" for record in records)
        )  # NaN, as Optuna writes it

    def values(self) -> list[float] | None:
        """Of few different ones, so that many are equal."""
        rng = self.rng
        odd: list[list[float] | None] = [None, [math.inf] * self.metrics, [-math.inf] * self.metrics]
        odd += [[math.nan] + [0.0] * (self.metrics - 1)]
        return rng.choice(odd) if rng.random() < 0.1 else [float(rng.randint(0, 12)) for _ in range(self.metrics)]

    def live(self, trials: int) -> None:
        for _ in range(trials):
            if self.open and self.rng.random() < 0.5:
                self.end(self.open.pop(self.rng.randrange(len(self.open))))
            self.begin()

    def begin(self) -> None:
        number = len(self.state.trials)
        if self.made and self.rng.random() < self.repeats:
            params, distributions, key = self.rng.choice(self.made)
        else:
            space = self.rng.choice(self.spaces)
            configuration = at_random(space, self.rng)
            key = configuration.key
            params, distributions = JournalParams(space)(configuration)
            self.made.append((params, distributions, key))
        attrs: Mapping[str, object] = {"hpo:trial": {"key": key, "origin": "tpe"}} if self.rng.random() < 0.9 else {}
        self.apply(
            [
                self.write.create_trial(
                    now=1.0, state=TrialState.RUNNING, params=params, distributions=distributions, system_attrs=attrs
                )
            ]
        )
        if self.rng.random() < self.running:
            self.open.append(number)
            return
        self.end(number)

    def end(self, number: int) -> None:
        self.apply([self.write.report(number, step, self.rng.random()) for step in range(self.rng.randint(0, 2))])
        ended = self.rng.choice([TrialState.COMPLETE] * 8 + [TrialState.PRUNED, TrialState.FAIL, TrialState.WAITING])
        values = self.values() if ended is TrialState.COMPLETE else None
        self.apply([self.write.trial_state(number, ended, now=2.0, values=values)])


def shown(history: SamplerHistory, state: JournalState) -> list[Shown]:
    study = history.study(state, optuna.samplers.RandomSampler())
    return [
        (
            trial.number - OUT_OF_THE_WAY,
            trial.state.name,
            None if trial.values is None else tuple(trial.values),
            trial.params,
            trial.intermediate_values,
        )
        for trial in study.get_trials(deepcopy=False)
    ]


def expected(space: Space, state: JournalState, cap: int | None) -> list[Shown]:
    """The same by looking at every trial: first what lies in the space, then which of that is best and newest."""
    inside = [t for t in state.trials if t.state not in (TrialState.FAIL, TrialState.WAITING) and _lies_in(space, t)]
    best: set[int] = set()
    if cap is not None and len(state.trials) > cap:
        room = max(1, int(cap * 0.1)) // len(state.directions) + 1
        for i, direction in enumerate(state.directions):
            losses = [(t.values[i] * (1 if direction == 1 else -1), t.number) for t in inside if _is_complete(t)]
            best |= {number for _, number in sorted(losses)[:room]}
    newest = [t.number for t in reversed(inside) if t.number not in best]
    numbers = best | set(newest if cap is None else newest[: cap - len(best)])
    groups: dict[object, list[ScannedTrial]] = {}
    for trial in (state.trials[number] for number in sorted(numbers)):
        alike = [t for t in state.trials if t.key == trial.key]
        groups.setdefault(trial.number if trial.key is None or len(alike) < 2 else trial.key, []).append(trial)
    return [_merge_repeats(space, state, group) for group in groups.values()]


def _lies_in(space: Space, trial: ScannedTrial) -> bool:
    return values_in(space, trial) is not None and (trial.state is not TrialState.COMPLETE or _is_complete(trial))


def _is_complete(trial: ScannedTrial) -> Any:
    return trial.state is TrialState.COMPLETE and trial.values is not None and not any(map(math.isnan, trial.values))


def _merge_repeats(space: Space, state: JournalState, group: list[ScannedTrial]) -> Shown:
    """The newest complete one, or the first; with the means of all complete ones of the study."""
    trial = next((t for t in reversed(group) if t.state is TrialState.COMPLETE), group[0])
    values = trial.values
    if trial.state is TrialState.COMPLETE and trial.key is not None:
        alike = [t.values for t in state.trials if t.key == trial.key and t.state is TrialState.COMPLETE and t.values]
        if len([t for t in state.trials if t.key == trial.key]) > 1:
            means = tuple(mean(column) for column in zip(*alike, strict=True))
            values = values if any(map(math.isnan, means)) else means
    found = values_in(space, trial)
    assert found is not None
    return trial.number, trial.state.name, values if trial.state is TrialState.COMPLETE else None, found, trial.steps


@pytest.mark.parametrize("metrics", [1, 2, 3])
@pytest.mark.parametrize("cap", [None, 4, 10, 60])
@pytest.mark.parametrize("seed", range(2))
def test_the_best_and_the_newest_trials_of_the_space_are_shown(
    root: Path, cap: int | None, metrics: int, seed: int
) -> None:
    life = Life(root, seed, metrics=metrics)
    today = life.spaces[1]
    history = SamplerHistory(today, cap=cap)
    for _ in range(6):
        life.live(life.rng.choice([1, 40]))
        assert repr(shown(history, life.state)) == repr(expected(today, life.state, cap))
    assert repr(shown(SamplerHistory(today, cap=cap), life.state)) == repr(shown(history, life.state))


def test_trials_outside_of_the_space_take_no_place_among_the_best(root: Path) -> None:
    """They are the best of all, and the newest too."""
    life = Life(root, 0, metrics=1, running=0, repeats=0)
    yesterday, today = life.spaces
    write = life.write
    for number, (x, value) in enumerate([(20, 5.0 + i) for i in range(50)] + [(39, -1.0)] * 50):
        configuration = yesterday.resolve({"x": x, "c": "b"})
        params, distributions = JournalParams(yesterday)(configuration)
        facts = {"key": f"{number}", "origin": "tpe"}
        life.apply(
            [
                write.create_trial(
                    now=1.0, state=TrialState.RUNNING, params=params, distributions=distributions,
                    system_attrs={"hpo:trial": facts},
                ),
                write.trial_state(number, TrialState.COMPLETE, now=2.0, values=[value * life.state.directions[0]]),
            ]
        )  # fmt: skip
    maximize = life.state.directions == (2,)
    numbers = [number for number, *_ in shown(SamplerHistory(today, cap=20), life.state)]
    best = [47, 48, 49] if maximize else [0, 1, 2]
    assert set(best) <= set(numbers) <= set(range(50))
    assert len(numbers) == 20


def large(root: Path, trials: int, value: Callable[[int], float]) -> tuple[Space, JournalState]:
    life = Life(root, 1, metrics=1)
    space = life.spaces[1]
    stored, rng = JournalParams(space), random.Random(0)
    records = []
    for number in range(trials):
        params, distributions = stored(at_random(space, rng))
        attrs = {"hpo:trial": {"key": f"{number}", "origin": "tpe"}}
        records += [
            life.write.create_trial(
                now=1.0, state=TrialState.RUNNING, params=params, distributions=distributions, system_attrs=attrs
            ),
            life.write.trial_state(number, TrialState.COMPLETE, now=2.0, values=[value(number)]),
        ]
    life.apply(records)
    return space, life.state


@pytest.mark.parametrize(
    "value", [float, lambda n: -float(n), lambda n: float(n % 7), lambda n: float(n * 7919 % 4001)]
)
def test_only_what_is_shown_is_translated(root: Path, value: Callable[[int], float]) -> None:
    """In whatever order the values came: a worker that joins a large study must not translate all of it."""
    space, state = large(root, 4000, value)
    history = SamplerHistory(space, cap=100)
    assert len(shown(history, state)) == 100
    assert len(history._translated) <= 100 + 11
    assert not history._outside


def test_what_is_no_number_takes_no_place_among_the_best(root: Path) -> None:
    """It is neither below nor above another value: wherever it stood, it would hide some."""
    space, state = large(root, 600, lambda n: math.nan if n % 3 else float(n * 7919 % 601))
    numbers = [number for number, *_ in shown(SamplerHistory(space, cap=30), state)]
    ranked = sorted((t.values or (math.nan,), t.number) for t in state.trials if t.number % 3 == 0)
    best = [number for _, number in (ranked if state.directions == (1,) else ranked[::-1])[:4]]
    assert set(best) <= set(numbers)
    assert all(number % 3 == 0 for number in numbers)


def test_a_worker_that_stays_keeps_no_more_than_one_that_joins(root: Path) -> None:
    life = Life(root, 2, metrics=1)
    history = SamplerHistory(life.spaces[1], cap=20)
    for _ in range(300):
        life.live(1)
        history.study(life.state, optuna.samplers.RandomSampler())
    assert len(history._translated) <= 2 * 20
    assert len(history._newest) <= 20
    assert repr(shown(history, life.state)) == repr(expected(life.spaces[1], life.state, 20))


def test_a_running_trial_is_shown_as_it_is_now(root: Path) -> None:
    life = Life(root, 3, metrics=1, running=1.0, repeats=0)
    space = life.spaces[1]
    history = SamplerHistory(space, cap=10)
    while not shown(history, life.state):
        life.begin()
    (number, state, values, _, steps), *_ = shown(history, life.state)
    assert (state, values, steps) == ("RUNNING", None, {})
    life.apply([life.write.report(number, 3, 0.5)])
    assert shown(history, life.state)[0][4] == {3: 0.5}
    life.apply([life.write.trial_state(number, TrialState.COMPLETE, now=2.0, values=[0.25])])
    assert shown(history, life.state)[0][:3] == (number, "COMPLETE", (0.25,))
