"""Trials that a sampler sees in another form: repeats of one configuration merged, and trials of other studies."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence

import optuna
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial

from hpo_batch.journal.state import JournalState
from hpo_batch.records import ImportedTrial, TrialState
from hpo_batch.space.space import Space
from hpo_batch.study.distributions import SOME_TIME, Past
from hpo_batch.study.replicates import mean_values
from hpo_batch.study.translate import translate_params

# added to trial numbers: Optuna numbers its proposals from 0 here, and TPE drops a running trial with the proposal's
# own number from the history: https://optuna.readthedocs.io/en/stable/_modules/optuna/samplers/_tpe/sampler.html
OUT_OF_THE_WAY = 1 << 40


class ShownTrials:
    """Part of the history of one space."""

    def __init__(self, space: Space, distributions: Mapping[str, BaseDistribution]) -> None:
        self._space = space
        self._distributions = distributions
        self._imported: list[FrozenTrial] | None = None

    def merge_repeats(self, state: JournalState, shown: Sequence[FrozenTrial]) -> list[FrozenTrial]:
        """The shown trials, with repeats of a configuration merged into one that has the mean of the complete ones."""
        if not state.alike:
            return list(shown)
        merged: dict[str | int, FrozenTrial] = {}
        for frozen in shown:
            trial = state.trials[frozen.number - OUT_OF_THE_WAY]
            alike = None if trial.key is None else state.alike.get(trial.key)
            if trial.key is None or alike is None:
                merged[frozen.number] = frozen
            elif trial.key not in merged or frozen.state is optuna.trial.TrialState.COMPLETE:
                merged[trial.key] = _with_mean(frozen, mean_values([state.trials[number] for number in alike]))
        return list(merged.values())

    def imported(self, state: JournalState, *, room: int | None) -> list[FrozenTrial]:
        """At most ``room`` trials of other studies that lie in the space, with numbers that no trial here has."""
        if self._imported is None:
            trials = (self._frozen(i, trial) for i, trial in enumerate(state.imported))
            self._imported = [trial for trial in trials if trial is not None]
        return self._imported if room is None else self._imported[max(0, len(self._imported) - max(0, room)) :]

    def _frozen(self, place: int, trial: ImportedTrial) -> FrozenTrial | None:
        translated = translate_params(self._space, trial.params, is_whole=trial.is_whole)
        if isinstance(translated, str):
            return None
        is_complete = trial.state is TrialState.COMPLETE
        return Past(
            number=2 * OUT_OF_THE_WAY + place,
            state=optuna.trial.TrialState(trial.state.value),
            value=None,
            values=list(trial.values) if is_complete else None,
            datetime_start=SOME_TIME,
            datetime_complete=SOME_TIME,
            params=dict(translated.searched),
            distributions={name: self._distributions[name] for name in translated.searched},
            user_attrs={},
            system_attrs={},
            intermediate_values={} if is_complete or trial.step is None else {trial.step: trial.values[0]},
            trial_id=2 * OUT_OF_THE_WAY + place,
        )


def _with_mean(frozen: FrozenTrial, values: tuple[float, ...] | None) -> FrozenTrial:
    if values is None or frozen.state is not optuna.trial.TrialState.COMPLETE:
        return frozen
    if any(map(math.isnan, values)):  # the mean of inf and -inf, or NaN from plain Optuna, which FrozenTrial rejects
        return frozen
    frozen = copy.copy(frozen)
    frozen.values = list(values)
    return frozen
