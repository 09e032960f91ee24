"""What samplers and pruners see: the journal's trials as an Optuna study in memory, in today's space.

Never the journal's own study: there, edited choices, pending trials and other arms of a quota would mislead a sampler.
A trial that has ended is translated once.
"""

from __future__ import annotations

import bisect
import copy
import itertools
import warnings
from collections.abc import Container, Mapping
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import optuna
from optuna.storages import BaseStorage, InMemoryStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial

from hpo_batch.records import TrialState
from hpo_batch.space.space import Space
from hpo_batch.store.scan import JournalState
from hpo_batch.store.scanned_trial import ScannedTrial
from hpo_batch.study.brackets import BRACKET
from hpo_batch.study.distributions import distribution_of, frozen_trial, values_in
from hpo_batch.study.others import OUT_OF_THE_WAY, Others

BEST = 0.1
"""share of a capped history that is kept for the best trials, however old: a model is of what is good"""
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
        self._ended: dict[int, FrozenTrial | None] = {}
        self._ranked: dict[int, list[tuple[float, int]]] = {}
        """by metric: loss and number of complete trials, the best first, as many as there is room for"""
        self._looked = 0
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
        best: list[FrozenTrial] = []
        newest = self._cap
        if self._cap is not None and len(state.trials) > self._cap:
            numbers = sorted(self._best_numbers(state))
            best = [frozen for n in numbers if (frozen := self._frozen(state.trials[n])) is not None]
            newest = self._cap - len(best)
        kept = {trial.number for trial in best}
        seen = (t for t in reversed(state.trials) if t.state not in (TrialState.FAIL, TrialState.WAITING))
        known = (f for f in map(self._frozen, seen) if f is not None and f.number not in kept)
        shown = best + list(itertools.islice(known, newest))
        return sorted(shown, key=lambda trial: trial.number) if best else shown[::-1]

    def _best_numbers(self, state: JournalState) -> list[int]:
        """Of the trials that have ended; with several metrics the best by each of them."""
        assert self._cap is not None
        room = max(1, int(self._cap * BEST))
        minimize = [direction == StudyDirection.MINIMIZE for direction in state.directions]
        new = [number for reason, number in state.endings[self._looked :] if not reason]
        self._looked = len(state.endings)
        for number in new:
            values = state.trials[number].values
            if state.trials[number].state is not TrialState.COMPLETE or values is None:
                continue
            if self._frozen(state.trials[number]) is None:
                continue
            losses = [value if is_min else -value for value, is_min in zip(values, minimize, strict=True)]
            for i, loss in enumerate(losses):
                ranked = self._ranked.setdefault(i, [])
                bisect.insort(ranked, (loss, number))
                del ranked[room // len(losses) + 1 :]
        return list({number for ranked in self._ranked.values() for _, number in ranked})

    def _frozen(self, trial: ScannedTrial) -> FrozenTrial | None:
        if trial.number in self._ended:
            return self._ended[trial.number]
        values = values_in(self._space, trial)
        frozen = None
        if values is not None:
            frozen = frozen_trial(
                trial,
                number=trial.number + OUT_OF_THE_WAY,
                params=values,
                distributions=self._distributions,
                steps=trial.steps if self._by_step or not trial.steps else {1: fmean(trial.steps.values())},
                attrs=self._attrs(trial),
            )
        if frozen is not None:
            frozen._trial_id += OUT_OF_THE_WAY
        if trial.state.ended:
            self._ended[trial.number] = frozen
        return frozen

    def _attrs(self, trial: ScannedTrial) -> dict[str, Any]:
        """What the sampler that drew the trial has set of it."""
        set_by_it = {**trial.facts.get("sampler", {}), **trial.noted_by_sampler}
        return {**self._missing, **{k: v for k, v in set_by_it.items() if not k.startswith(UNPICKLED)}}


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
    attrs = {name: value for name, value in trial.system_attrs.items() if not name.startswith("hpo:")}
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
