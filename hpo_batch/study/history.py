"""What samplers and pruners see: the journal's trials as an Optuna study in memory, in today's space.

Never the journal's own study: there, edited choices, pending trials and other arms of a quota would mislead a sampler.
A trial that has ended is translated once.
"""

from __future__ import annotations

import copy
import itertools
import warnings
from collections.abc import Container
from typing import Any

import optuna
from optuna.storages import InMemoryStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial

from hpo_batch.records import TrialState
from hpo_batch.space.space import Space
from hpo_batch.store.scan import JournalState
from hpo_batch.store.scanned_trial import ScannedTrial
from hpo_batch.study.distributions import distribution_of, frozen_trial, values_in
from hpo_batch.study.others import OUT_OF_THE_WAY, Others

CAP = 2000
"""newest trials a sampler models: TPE's time for one proposal grows with its history (92 ms at 10,000 trials)"""


class _Shown(InMemoryStorage):
    """Trials given from outside, before those that Optuna makes in it. Optuna's own way in copies each one deeply."""

    def __init__(self) -> None:
        super().__init__()
        self.given: list[FrozenTrial] = []

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[optuna.trial.TrialState] | None = None
    ) -> list[FrozenTrial]:
        given = [trial for trial in self.given if states is None or trial.state in states]
        own = super().get_all_trials(study_id, deepcopy=deepcopy, states=states)
        return (copy.deepcopy(given) if deepcopy else given) + own


class SamplerHistory:
    """The trials that a sampler models in one space: finished and running ones that lie in it."""

    def __init__(self, space: Space) -> None:
        self._space = space
        self._distributions = {parameter.name: distribution_of(parameter) for parameter in space.searched}
        self._ended: dict[int, FrozenTrial | None] = {}
        self._others = Others(space, self._distributions)

    def study(self, state: JournalState, sampler: optuna.samplers.BaseSampler) -> optuna.Study:
        """A study to ask for proposals."""
        storage = _Shown()
        seen = (t for t in reversed(state.trials) if t.state not in (TrialState.FAIL, TrialState.WAITING))
        known = (frozen for frozen in map(self._frozen, seen) if frozen is not None)
        own = self._others.as_one(state, list(itertools.islice(known, CAP))[::-1])
        storage.given = [*self._others.imported(state, room=CAP - len(own)), *own]
        return study_in_memory(state, sampler, storage)

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
                steps=trial.steps,
                attrs={},
            )
        if trial.state.ended:
            self._ended[trial.number] = frozen
        return frozen


class PrunerHistory:
    """All trials under their own numbers, on which hyperband's brackets depend. Parameters do not matter to pruners."""

    def __init__(self) -> None:
        self._storage = _Noting()
        self._study: optuna.Study | None = None
        self._open: set[int] = set()

    def ask(
        self, pruner: optuna.pruners.BasePruner, state: JournalState, number: int, step: int
    ) -> tuple[bool, dict[str, Any]]:
        """Whether a trial should end at ``step``, and the attributes that the pruner wants kept with the trial."""
        if self._study is None:
            self._study = study_in_memory(state, optuna.samplers.RandomSampler(), self._storage)
        given = self._storage.given
        changed = [*self._open, *range(len(given), len(state.trials))]
        self._open = {n for n in changed if not state.trials[n].state.ended}
        given += [_failed(-1)] * (len(state.trials) - len(given))
        for n in changed:
            # an attempt that resumes is judged by what it has reached, not by what an earlier one reached
            given[n] = _for_pruner(state.trials[n], last_step=step if n == number else None)
        self._storage.noted = {}
        return bool(pruner.prune(self._study, given[number])), self._storage.noted


class _Noting(_Shown):
    """Takes what successive halving notes at each rung; in Optuna's storages it is a system attribute of the trial."""

    def __init__(self) -> None:
        super().__init__()
        self.noted: dict[str, Any] = {}

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        self.noted[key] = value


def _for_pruner(trial: ScannedTrial, *, last_step: int | None) -> FrozenTrial:
    steps = {step: value for step, value in trial.steps.items() if last_step is None or step <= last_step}
    attrs = {name: value for name, value in trial.system_attrs.items() if not name.startswith("hpo:")}
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
