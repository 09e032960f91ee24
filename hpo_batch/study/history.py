"""What samplers and pruners see: the journal's trials as an in-memory Optuna study in today's space.

Never the journal's own study: there, edited choices, pending trials and other arms of a quota would mislead a sampler.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable

import optuna
from optuna.study import StudyDirection

from hpo_batch.records import TrialState
from hpo_batch.space.space import Space
from hpo_batch.store.scan import JournalState, ScannedTrial
from hpo_batch.study.distributions import frozen_trial

CAP = 2000
"""newest trials a sampler models: TPE's time for one proposal grows with its history (92 ms at 10,000 trials)"""


def sampler_history(
    state: JournalState,
    space: Space,
    sampler: optuna.samplers.BaseSampler,
    *,
    keep: Callable[[ScannedTrial], bool],
) -> optuna.Study:
    """A study with the finished and the running trials that ``keep`` lets through."""
    study = _in_memory(state, sampler)
    seen = [t for t in state.trials if t.state not in (TrialState.FAIL, TrialState.WAITING) and keep(t)]
    for trial in seen[-CAP:]:
        frozen = frozen_trial(trial, space)
        if frozen is not None:
            study._storage.create_new_trial(study._study_id, template_trial=frozen)
    return study


def pruner_history(state: JournalState, number: int) -> tuple[optuna.Study, optuna.trial.FrozenTrial]:
    """All trials under their own numbers, on which hyperband's brackets depend; and the trial in question."""
    study = _in_memory(state, optuna.samplers.RandomSampler())
    empty = Space()
    for trial in state.trials:
        frozen = frozen_trial(trial, empty)
        if frozen is None:
            frozen = optuna.trial.create_trial(state=optuna.trial.TrialState.FAIL)
        study._storage.create_new_trial(study._study_id, template_trial=frozen)
    return study, study.get_trials(deepcopy=False)[number]


def _in_memory(state: JournalState, sampler: optuna.samplers.BaseSampler) -> optuna.Study:
    directions = [StudyDirection(d) for d in state.directions]
    # Optuna logs "a new study created" at INFO for each of these
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return optuna.create_study(directions=directions, sampler=sampler, study_name=state.study_name)
