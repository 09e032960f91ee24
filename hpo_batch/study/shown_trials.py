"""What a sampler is shown besides single trials: those of one configuration as one, and those of other studies."""

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

OUT_OF_THE_WAY = 1 << 40
"""added to the numbers of trials that are shown to TPE: it takes one with the number of a proposal for the proposal"""


class ShownTrials:
    """Belongs to the history of one space."""

    def __init__(self, space: Space, distributions: Mapping[str, BaseDistribution]) -> None:
        self._space = space
        self._distributions = distributions
        self._imported: list[FrozenTrial] | None = None

    def merge_repeats(self, state: JournalState, shown: Sequence[FrozenTrial]) -> list[FrozenTrial]:
        """The trials that are shown, those of one configuration as one with the means of the complete ones."""
        if not state.alike:
            return list(shown)
        kept: dict[str | int, FrozenTrial] = {}
        for frozen in shown:
            trial = state.trials[frozen.number - OUT_OF_THE_WAY]
            alike = None if trial.key is None else state.alike.get(trial.key)
            if trial.key is None or alike is None:
                kept[frozen.number] = frozen
            elif trial.key not in kept or frozen.state is optuna.trial.TrialState.COMPLETE:
                kept[trial.key] = _with_mean(frozen, mean_values([state.trials[number] for number in alike]))
        return list(kept.values())

    def imported(self, state: JournalState, *, room: int | None) -> list[FrozenTrial]:
        """Trials of other studies that lie in the space, at most so many, under numbers that no trial here has."""
        if self._imported is None:
            trials = (self._frozen(i, trial) for i, trial in enumerate(state.imported))
            self._imported = [trial for trial in trials if trial is not None]
        return self._imported if room is None else self._imported[max(0, len(self._imported) - max(0, room)) :]

    def _frozen(self, place: int, trial: ImportedTrial) -> FrozenTrial | None:
        found = translate_params(self._space, trial.params, is_whole=trial.is_whole)
        if isinstance(found, str):
            return None
        is_complete = trial.state is TrialState.COMPLETE
        return Past(
            number=2 * OUT_OF_THE_WAY + place,
            state=optuna.trial.TrialState(trial.state.value),
            value=None,
            values=list(trial.values) if is_complete else None,
            datetime_start=SOME_TIME,
            datetime_complete=SOME_TIME,
            params=dict(found.searched),
            distributions={name: self._distributions[name] for name in found.searched},
            user_attrs={},
            system_attrs={},
            intermediate_values={} if is_complete or trial.step is None else {trial.step: trial.values[0]},
            trial_id=2 * OUT_OF_THE_WAY + place,
        )


def _with_mean(frozen: FrozenTrial, values: tuple[float, ...] | None) -> FrozenTrial:
    if values is None or frozen.state is not optuna.trial.TrialState.COMPLETE:
        return frozen
    if any(map(math.isnan, values)):  # infinity here and there, or a value that plain Optuna wrote and does not take
        return frozen
    frozen = copy.copy(frozen)
    frozen.values = list(values)
    return frozen
