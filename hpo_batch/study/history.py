"""What samplers and pruners see: the journal's trials as an Optuna study in memory, in today's space.

Never the journal's own study: there, edited choices, pending trials and other arms of a quota would mislead a sampler.
A trial that has ended is translated once.
"""

from __future__ import annotations

import bisect
import copy
import heapq
import math
import warnings
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import optuna
from optuna.storages import BaseStorage, InMemoryStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial

from hpo_batch.journal.attributes import is_ours
from hpo_batch.journal.state import JournalState
from hpo_batch.journal.trial import ScannedTrial
from hpo_batch.records import TrialState
from hpo_batch.space.space import Space
from hpo_batch.study.brackets import BRACKET
from hpo_batch.study.distributions import distribution_of, frozen_trial, values_in
from hpo_batch.study.shown_trials import OUT_OF_THE_WAY, Others

BEST = 0.1
"""share of a capped history that is kept for the best trials, however old: a model is of what is good"""
OPTUNAS = {state: optuna.trial.TrialState(state.value) for state in TrialState}
UNPICKLED = "cma:"
"""Optuna's CMA-ES keeps a pickled optimizer in attributes of this name: none is ever handed to a sampler"""


class _Shown(InMemoryStorage):
    """Trials given from outside, before those that Optuna makes in it. Optuna's own way in copies each one deeply."""

    def __init__(self) -> None:
        super().__init__()
        self.given: list[FrozenTrial] = []
        self.noted: dict[str, Any] = {}
        """attributes that were set of a trial given from outside"""

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[optuna.trial.TrialState] | None = None
    ) -> list[FrozenTrial]:
        given = [trial for trial in self.given if states is None or trial.state in states]
        own = super().get_all_trials(study_id, deepcopy=deepcopy, states=states)
        return (copy.deepcopy(given) if deepcopy else given) + own

    def get_best_trial(self, study_id: int) -> FrozenTrial:
        return BaseStorage.get_best_trial(self, study_id)  # that of the memory knows its own trials alone

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        if trial_id >= OUT_OF_THE_WAY:
            self.noted[key] = value
        else:
            super().set_trial_system_attr(trial_id, key, value)


@dataclass(frozen=True, kw_only=True)
class Noting:
    """A trial as a sampler sees it when it ends, and what it notes of it."""

    trial: FrozenTrial
    attrs: Mapping[str, Any]


class SamplerHistory:
    """The trials that a sampler models in one space: finished and running ones that lie in it.

    Args:
        cap: trials that are shown at most: the best tenth of them and the newest; left out: all.
        missing: attributes of trials that the sampler has not drawn itself.
        by_step: a report's step says how far the trial had come; else the steps are names of instances, and their mean
            is what a pruned trial was worth.
    """

    def __init__(
        self, space: Space, *, cap: int | None = None, missing: Mapping[str, Any] | None = None, by_step: bool = True
    ) -> None:
        self._space = space
        self._cap = cap
        self._missing = missing or {}
        self._by_step = by_step
        self._distributions = {parameter.name: distribution_of(parameter) for parameter in space.searched}
        self._known: dict[int, FrozenTrial] = {}
        """trials that lie in the space, by number, as they were translated last"""
        self._outside: set[int] = set()
        """numbers of the trials that have ended and do not lie in the space"""
        self._newest: list[int] = []
        """numbers of the newest trials in the space that have ended, as many as are shown at most, the newest last"""
        self._ranked: dict[int, list[tuple[float, int]]] = {}
        """by metric: loss and number of complete trials in the space, the best first, as many as there is room for"""
        self._looked = self._ranked_until = 0
        """how many endings were looked at"""
        self._others = Others(space, self._distributions)

    def study(self, state: JournalState, sampler: optuna.samplers.BaseSampler) -> optuna.Study:
        """A study to ask for proposals."""
        storage = _Shown()
        own = self._others.as_one(state, self._shown(state))
        room = None if self._cap is None else self._cap - len(own)
        storage.given = [*self._others.imported(state, room=room), *own]
        return study_in_memory(state, sampler, storage)

    def noting(self, study: optuna.Study, number: int) -> Noting | None:
        """A trial of a ``study`` that this history made; what is noted of it goes into ``attrs``."""
        storage = study._storage
        assert isinstance(storage, _Shown)
        found = next((t for t in storage.given if t.number == number + OUT_OF_THE_WAY), None)
        return None if found is None else Noting(trial=found, attrs=storage.noted)

    def _shown(self, state: JournalState) -> list[FrozenTrial]:
        room = len(state.trials) if self._cap is None else self._cap
        best = set(self._best_numbers(state)[:room] if len(state.trials) > room else [])
        self._look_for_newest(state, room)
        running = [n for n in state.by_state[TrialState.RUNNING] if self._frozen(state.trials[n]) is not None]
        newest = sorted({*self._newest, *running} - best, reverse=True)[: room - len(best)]
        shown: dict[int, FrozenTrial] = {}
        for number in sorted([*best, *newest]):
            frozen = self._known.get(number) or self._frozen(state.trials[number])
            assert frozen is not None
            shown[number] = frozen
        if self._cap is not None and len(self._known) > 2 * self._cap:
            self._known = dict(shown)  # a worker that stays for long must not keep what it does not show any more
        return list(shown.values())

    # Whether a trial lies in the space is asked in the order in which trials are wanted, and only until there are
    # enough: to translate all of them took longer than to read a large study.

    def _look_for_newest(self, state: JournalState, room: int) -> None:
        new = [number for reason, number in state.endings[self._looked :] if not reason]
        self._looked = len(state.endings)
        for number in sorted(new, reverse=True):
            if len(self._newest) >= room and number < self._newest[0]:
                break
            if self._frozen(state.trials[number]) is not None:
                bisect.insort(self._newest, number)
                del self._newest[:-room]

    def _best_numbers(self, state: JournalState) -> list[int]:
        """Of the trials that have ended; with several metrics the best by each of them."""
        assert self._cap is not None
        room = max(1, int(self._cap * BEST)) // len(state.directions) + 1
        ended = (state.trials[number] for reason, number in state.endings[self._ranked_until :] if not reason)
        complete = [trial for trial in ended if trial.state is TrialState.COMPLETE]
        self._ranked_until = len(state.endings)
        for metric, direction in enumerate(state.directions):
            ranked = self._ranked.setdefault(metric, [])
            entries = list(_losses(complete, metric, minimize=direction == StudyDirection.MINIMIZE))
            heapq.heapify(entries)
            while entries and (len(ranked) < room or entries[0] < ranked[-1]):
                entry = heapq.heappop(entries)
                if self._frozen(state.trials[entry[1]]) is not None:
                    bisect.insort(ranked, entry)
                    del ranked[room:]
        return [number for ranked in self._ranked.values() for _, number in ranked]

    def _frozen(self, trial: ScannedTrial) -> FrozenTrial | None:
        """A trial as Optuna's; None if it does not lie in the space."""
        if trial.number in self._outside:
            return None
        frozen = self._known.get(trial.number)
        if frozen is not None and frozen.state is OPTUNAS[trial.state]:
            if trial.state is not TrialState.RUNNING:
                return frozen
            if trial.key is not None:  # plain Optuna gives a trial its parameters one by one
                frozen.intermediate_values = self._steps(trial)
                return frozen
        values = values_in(self._space, trial)
        if values is not None:
            frozen = frozen_trial(
                trial,
                number=trial.number + OUT_OF_THE_WAY,
                params=values,
                distributions=self._distributions,
                steps=self._steps(trial),
                attrs=self._attrs(trial),
            )
        if values is None or frozen is None:
            if trial.state.ended:
                self._outside.add(trial.number)
            return None
        frozen._trial_id += OUT_OF_THE_WAY
        self._known[trial.number] = frozen
        return frozen

    def _steps(self, trial: ScannedTrial) -> dict[int, float]:
        steps = trial.decoded_steps
        return dict(steps) if self._by_step or not steps else {1: fmean(steps.values())}

    def _attrs(self, trial: ScannedTrial) -> dict[str, Any]:
        """What the sampler that drew the trial has set of it."""
        set_by_it = {**trial.facts.get("sampler", {}), **trial.noted_by_sampler}
        return {**self._missing, **{k: v for k, v in set_by_it.items() if not k.startswith(UNPICKLED)}}


def _losses(trials: Sequence[ScannedTrial], metric: int, *, minimize: bool) -> Iterator[tuple[float, int]]:
    """Loss and number of those that have one: what is not a number has no place in an order."""
    for trial in trials:
        if trial.values is not None and not math.isnan(value := trial.values[metric]):
            yield value if minimize else -value, trial.number


class PrunerHistory:
    """All trials under their own numbers, with hyperband's brackets. Parameters do not matter to pruners."""

    def __init__(self) -> None:
        self._storage = _Noting()
        self._study: optuna.Study | None = None
        self._open: set[int] = set()

    def ask(
        self,
        pruner: optuna.pruners.BasePruner,
        state: JournalState,
        number: int,
        step: int,
        *,
        reported: Mapping[int, float] | None = None,
    ) -> tuple[bool, dict[str, Any]]:
        """Whether a trial should end at ``step``, and the attributes that the pruner wants kept with the trial.

        Args:
            reported: values by step of that trial that are not in the journal yet.
        """
        by_step = not isinstance(pruner, optuna.pruners.WilcoxonPruner)  # to that, steps are names of instances
        if self._study is None:
            self._study = study_in_memory(state, optuna.samplers.RandomSampler(), self._storage)
        given = self._storage.given
        changed = [*self._open, *range(len(given), len(state.trials))]
        self._open = {n for n in changed if not state.trials[n].state.ended}
        given += [_failed(-1)] * (len(state.trials) - len(given))
        for n in changed:
            # an attempt that resumes is judged by what it has reached, not by what an earlier one reached
            ours = n == number
            given[n] = _for_pruner(
                state.trials[n], last_step=step if ours and by_step else None, reported=reported if ours else None
            )
        self._storage.noted = {}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # wilcoxon's, of trials that have not the same instances
            return bool(pruner.prune(self._study, given[number])), self._storage.noted


class _Noting(_Shown):
    """Takes what successive halving notes at each rung; in Optuna's storages it is a system attribute of the trial."""

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        self.noted[key] = value


def _for_pruner(
    trial: ScannedTrial, *, last_step: int | None, reported: Mapping[int, float] | None = None
) -> FrozenTrial:
    known = {**trial.steps, **(reported or {})}
    steps = {step: value for step, value in known.items() if last_step is None or step <= last_step}
    attrs = {name: value for name, value in trial.system_attrs.items() if not is_ours(name)}
    attrs[BRACKET] = trial.facts.get(BRACKET, 0)
    frozen = frozen_trial(trial, number=trial.number, params={}, distributions={}, steps=steps, attrs=attrs)
    return _failed(trial.number) if frozen is None else frozen


def _failed(number: int) -> FrozenTrial:
    failed = optuna.trial.create_trial(state=optuna.trial.TrialState.FAIL)
    failed.number = number
    return failed


def study_in_memory(
    state: JournalState, sampler: optuna.samplers.BaseSampler, storage: InMemoryStorage | None = None
) -> optuna.Study:
    """A study with the journal's name and directions; without trials, unless ``storage`` has some."""
    directions = [StudyDirection(d) for d in state.directions]
    # Optuna logs "a new study created" at INFO for each of these
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return optuna.create_study(directions=directions, sampler=sampler, study_name=state.study_name, storage=storage)
