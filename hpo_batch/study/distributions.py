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

SOME_TIME = datetime.datetime(2000, 1, 1)
"""no sampler and no pruner looks at a trial's times, but Optuna wants some"""


def distribution_of(parameter: Searched) -> BaseDistribution:
    """That which the journal has of the parameter."""
    distribution: BaseDistribution = json_to_distribution(stored(parameter).text)
    return distribution


def values_in(space: Space, trial: ScannedTrial) -> dict[str, Value] | None:
    """A trial's searched values in today's space; None if it does not lie in it."""
    found = translate_trial(space, trial)
    return None if isinstance(found, str) else dict(found.searched)


class Past(optuna.trial.FrozenTrial):
    """A trial as samplers are shown it, again and again."""

    __slots__ = ("_numbers",)  # no field: Optuna compares and prints those
    _numbers: dict[str, float]

    def numbers(self) -> dict[str, float]:
        """Its parameters as the numbers that Optuna computes with."""
        try:
            return self._numbers
        except AttributeError:
            found = {name: self.distributions[name].to_internal_repr(value) for name, value in self.params.items()}
            self._numbers = found
            return found

    @property
    def constraints(self) -> dict[str, float]:
        """Optuna's, which goes through all attributes: TPE asks each trial at each proposal, and most have none."""
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
    """A trial of the journal as Optuna's; None if it is complete without a value, which no Optuna trial is."""
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
