"""Journals as our scan and plain Optuna read them, and a check that compares the two."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import CategoricalDistribution
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial

from hpo_batch.journal.file import Journal
from hpo_batch.journal.state import JournalState
from hpo_batch.records import Value


def read_state(path: Path) -> JournalState:
    state = JournalState()
    journal = Journal(path)
    while lines := journal.read_new():
        state.apply(lines)
    return state


def plain_storage(path: Path, lock: Any = None) -> JournalStorage:
    return JournalStorage(JournalFileBackend(str(path.absolute()), lock_obj=lock))


def assert_read_as_optuna_reads(path: Path, *, exact: bool = True) -> None:
    """Everything that Optuna knows of the first study of a journal, our scan knows alike.

    Args:
        exact: else an integer is the float next to it, where Optuna writes only floats.
    """
    state, storage = read_state(path), plain_storage(path)
    study = next(s for s in storage.get_all_studies() if s._study_id == 0)
    assert state.study_name == study.study_name
    assert state.directions == tuple(direction.value for direction in study.directions)
    assert repr(state.attrs) == repr(study.system_attrs)
    theirs = storage.get_all_trials(0, deepcopy=False)
    assert len(state.trials) == len(theirs)
    for ours, trial in zip(state.trials, theirs, strict=True):
        assert (ours.number, ours.trial_id, ours.state.value) == (trial.number, trial._trial_id, trial.state.value)
        same_kind = typed if exact else loose
        params = trial.params if exact else as_numbers(trial)
        assert same_kind(ours.params) == same_kind(params)
        same_numbers = numbers if exact else loose
        assert same_numbers(dict(enumerate(ours.values or ()))) == same_numbers(dict(enumerate(trial.values or ())))
        reported = {step: value for step, value in trial.intermediate_values.items() if value is not None}
        assert same_numbers(ours.steps) == same_numbers(reported)  # a null is no report: no pruner could use it
        assert repr(ours.user_attrs) == repr(trial.user_attrs)  # repr: NaN is not equal to itself
        assert repr(ours.system_attrs) == repr(trial.system_attrs)
        assert ours.started == (trial.datetime_start and trial.datetime_start.timestamp())
        assert ours.ended == (trial.datetime_complete and trial.datetime_complete.timestamp())
    counts = state.counts()
    by_state = [t.state for t in theirs]
    states = optuna.trial.TrialState
    assert (counts.waiting, counts.running) == (by_state.count(states.WAITING), by_state.count(states.RUNNING))
    assert (counts.complete, counts.pruned) == (by_state.count(states.COMPLETE), by_state.count(states.PRUNED))
    assert counts.failed == by_state.count(states.FAIL)
    assert len(state.endings) == sum(s.is_finished() for s in by_state)


def typed(params: dict[str, Value]) -> dict[str, tuple[type, Value]]:
    return {name: (type(value), value) for name, value in params.items()}


def as_numbers(trial: FrozenTrial) -> dict[str, Any]:
    """Its parameters, with 1 for a ``true`` where a number was to be: Optuna writes none there, and passes it on."""
    return {
        name: int(value)
        if isinstance(value, bool) and not isinstance(trial.distributions[name], CategoricalDistribution)
        else value
        for name, value in trial.params.items()
    }


def loose(params: dict[Any, Any]) -> dict[Any, str]:
    return {
        name: repr(float(value) if isinstance(value, int) and not isinstance(value, bool) else value)
        for name, value in params.items()
    }


def numbers(values: dict[int, Any]) -> dict[int, Any]:
    return {key: "nan" if isinstance(v, float) and math.isnan(v) else v for key, v in values.items()}
