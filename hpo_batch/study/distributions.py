"""Our parameters as Optuna's distributions, and trials as Optuna's frozen trials."""

from __future__ import annotations

import datetime
import math
from collections.abc import Mapping
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, json_to_distribution

from hpo_batch.journal.trial import ScannedTrial
from hpo_batch.records import TrialState, Value
from hpo_batch.space.parameters import Searched
from hpo_batch.space.space import Space
from hpo_batch.study.journal_params import JournalParams as JournalParams
from hpo_batch.study.journal_params import stored
from hpo_batch.study.translate import translate_trial

# placeholder: FrozenTrial requires times, but no sampler or pruner reads them
SOME_TIME = datetime.datetime(2000, 1, 1)


def distribution_of(parameter: Searched) -> BaseDistribution:
    """The parameter as Optuna's distribution, equal to the one in the journal."""
    distribution: BaseDistribution = json_to_distribution(stored(parameter).text)
    return distribution


def values_in(space: Space, trial: ScannedTrial) -> dict[str, Value] | None:
    """A trial's searched values in the current space; None if the trial lies outside it."""
    translated = translate_trial(space, trial)
    return None if isinstance(translated, str) else dict(translated.searched)


class Past(optuna.trial.FrozenTrial):
    """A trial that is shown to samplers many times, with cached numbers."""

    __slots__ = ("_numbers",)  # not an instance attribute: FrozenTrial compares and prints its __dict__
    _numbers: dict[str, float]

    def numbers(self) -> dict[str, float]:
        """Its parameters in Optuna's internal representation."""
        try:
            return self._numbers
        except AttributeError:
            numbers = {name: self.distributions[name].to_internal_repr(value) for name, value in self.params.items()}
            self._numbers = numbers
            return numbers

    @property
    def constraints(self) -> dict[str, float]:
        """As in Optuna, but fast: TPE asks every trial at every proposal, and most have no attributes to scan."""
        return super().constraints if self.system_attrs else {}


def frozen_trial(
    trial: ScannedTrial,
    *,
    number: int,
    params: Mapping[str, Value],
    distributions: Mapping[str, BaseDistribution],
    steps: Mapping[int, float],
    attrs: Mapping[str, Any],
) -> Past | None:
    """A trial of the journal as Optuna's FrozenTrial; None if it is complete without a value, which Optuna rejects."""
    state = optuna.trial.TrialState(trial.state.value)
    if trial.state is TrialState.COMPLETE and (trial.values is None or any(map(math.isnan, trial.values))):
        return None
    return Past(
        number=number,
        state=state,
        value=None,
        values=list(trial.values) if trial.state is TrialState.COMPLETE and trial.values is not None else None,
        datetime_start=SOME_TIME,
        datetime_complete=SOME_TIME if state.is_finished() else None,
        params=dict(params),
        distributions={name: distributions[name] for name in params},
        user_attrs={},
        system_attrs=dict(attrs),
        intermediate_values=dict(steps),
        trial_id=trial.trial_id,
    )
