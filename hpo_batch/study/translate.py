"""Translate a trial into another space than the one it was drawn from: an edited one, or another study's.

A trial lies in a space if all of its active parameters are active there with values that can be proposed there, and no
parameter lacks a value. A parameter that is newer than the trial counts with its ``before``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from hpo_batch.errors import ExpressionError, UserError
from hpo_batch.journal.state import JournalState
from hpo_batch.journal.trial import ScannedTrial
from hpo_batch.records import Configuration, Value
from hpo_batch.space.cells import valid_cells
from hpo_batch.space.space import Space
from hpo_batch.sweep.planned import planned_trials
from hpo_batch.sweep.schema import Sweep
from hpo_batch.sweep.size import target


def translate_params(space: Space, params: Mapping[str, Value], *, is_whole: bool = True) -> Configuration | str:
    """The configuration of a trial's values in ``space``, or why there is none.

    Args:
        params: searched and fixed values as stored.
        is_whole: False for a trial of plain Optuna, which does not store fixed parameters.
    """
    values = {**{p.name: p.before for p in space.parameters if p.before is not None}, **params}
    for fixed in space.fixed:
        if fixed.name in values and fixed.why_outside(values[fixed.name]) is not None:
            return f"'{fixed.name}' is {values[fixed.name]!r} there and fixed to {fixed.value!r} here"
    try:
        configuration = space.resolve(values)
    except (UserError, ExpressionError) as error:
        return str(error)
    for parameter in space.searched:
        if parameter.name in configuration.searched:
            outside = parameter.why_outside(configuration.searched[parameter.name])
            if outside is not None:
                return f"'{parameter.name}' {outside}"
    for name in configuration.fixed:
        if is_whole and name not in values:
            return f"no value for parameter '{name}'"
    for name in params:
        if name not in configuration.searched and name not in configuration.fixed:
            return f"its parameter '{name}' is {space.why_unwanted(name)}"
    return configuration


def translate_trial(space: Space, trial: ScannedTrial) -> Configuration | str:
    return translate_params(space, trial.params, is_whole=trial.key is not None)


def note_todays_keys(space: Space, trials: Sequence[ScannedTrial], note: Callable[[int, str], None]) -> None:
    """Note trials that count as another configuration today, because of ``before``: it is not trained again."""
    if all(parameter.before is None for parameter in space.parameters):
        return
    for trial in trials:
        if trial.key is not None:
            translated = translate_trial(space, trial)
            if isinstance(translated, Configuration) and translated.key != trial.key:
                note(trial.number, translated.key)


def target_with_history(sweep: Sweep, state: JournalState) -> int:
    """The target of a study that has finished trials already.

    A grid or a list without ``trials`` wants all of its configurations, plus those finished before it was edited.
    """
    finished = [trial for trial in state.trials if trial.state.finished]
    if not finished or (sweep.study.trials is not None and not sweep.sampler.capabilities.is_list):
        return target(sweep)
    planned = planned_trials(sweep)
    if sweep.sampler.capabilities.is_list:
        listed = {(p.origin, p.name, p.configuration.key) for p in planned}
        return target(sweep) + sum(not _is_listed(sweep.space, trial, listed) for trial in finished)
    cells = {c.key for c in valid_cells(sweep.space)} | {p.configuration.key for p in planned}
    return len(cells) + sum(_todays_key(sweep.space, trial) not in cells for trial in finished)


def _is_listed(space: Space, trial: ScannedTrial, listed: set[tuple[str, str | None, str]]) -> bool:
    identity = trial.identity
    keys = {trial.key, _todays_key(space, trial)}
    return any((identity.origin, identity.name, key) in listed for key in keys)


def _todays_key(space: Space, trial: ScannedTrial) -> str | None:
    translated = translate_trial(space, trial)
    return trial.key if isinstance(translated, str) else translated.key
