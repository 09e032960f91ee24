"""Ask one of Optuna's samplers for proposals, on the history of the journal's trials."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import optuna

from hpo_batch.errors import UserError
from hpo_batch.journal.state import JournalState
from hpo_batch.journal.trial import ScannedTrial
from hpo_batch.records import Value
from hpo_batch.space.parameters import Choices, Integer, Searched
from hpo_batch.space.space import Space
from hpo_batch.study.history import SamplerHistory
from hpo_batch.study.samplers.base import Candidate, Model, ModelRequest
from hpo_batch.study.samplers.normal import scipys_normal
from hpo_batch.sweep.schema import Sweep

log = logging.getLogger(__name__)

# attributes in which samplers store the proposal itself, which the trial's parameters hold already
NOT_KEPT = ("tpe:relative_params", "gp:relative_params")


class OptunaModel:
    """The model of one quota arm.

    Args:
        arm_space: the space of the arm.
        is_used: whether a configuration, by its key, was tried and may not be trained again.

    Raises:
        UserError: the sampler rejects its options.
    """

    def __init__(
        self, model: Model, sweep: Sweep, space: Space, *, arm_space: Space, is_used: Callable[[str], bool]
    ) -> None:
        self._sweep = sweep
        self._space = space
        self._arm_space = arm_space
        self._is_used = is_used
        self._model = model
        self._history = SamplerHistory(
            arm_space,
            cap=self._model.max_trials,
            missing=self._model.attrs_of_others,
            by_step=sweep.pruner.name != "wilcoxon",
        )
        sampler = self._make(arm_space, 0)
        self._sampler: optuna.samplers.BaseSampler | None = sampler if self._model.is_kept else None

    def proposals(self, state: JournalState, space: Space, seed: int, *, most: int = 0) -> Iterator[Candidate]:
        """Proposals in ``space``, which is the arm's space or one cell of it; up to ``most``, if that is more."""
        whole = self._arm_space if self._model.needs_whole_space else space
        study = self._history.study(state, self._sampler or self._make(whole, seed))
        for _ in range(max(self._model.max_proposals, most)):
            yield self._ask(study, space, is_whole=whole is space)

    def after_trial(
        self, state: JournalState, trial: ScannedTrial, ended: str, values: tuple[float, ...] | None
    ) -> Mapping[str, Any]:
        """See ``base.Source``."""
        if self._sampler is None:
            return {}  # our own samplers would only use it for constraints_func, which a TOML file cannot express
        study = self._history.study(state, self._sampler)
        noted = self._history.noting(study, trial.number)
        if noted is None:
            return {}
        try:
            self._sampler.after_trial(study, noted.trial, optuna.trial.TrialState[ended], values)
        except Exception as error:  # an error in the user's class must not cost a result
            log.warning("[sampler] %s: after_trial of trial %s: %r", self._sweep.sampler.name, trial.number, error)
            return {}
        return _kept_attrs(noted.attrs)

    def _ask(self, study: optuna.Study, space: Space, *, is_whole: bool) -> Candidate:
        with scipys_normal():
            trial = study.ask()
            configuration = space.decide(lambda parameter: _suggest(trial, parameter))
        attrs = _kept_attrs(study._storage.get_trial_system_attrs(trial._trial_id)) if is_whole else {}
        return Candidate(
            configuration=self._space.resolve({**configuration.fixed, **configuration.searched}),
            origin=self._sweep.sampler.name.rpartition(":")[2],
            facts={"sampler": attrs} if attrs else {},
        )

    def _make(self, space: Space, seed: int) -> optuna.samplers.BaseSampler:
        single = {p.name: p.low for p in space.searched if p.count == 1}

        def is_new(values: Mapping[str, Value]) -> bool:
            narrow = space.resolve({**single, **values})
            configuration = self._space.resolve({**narrow.fixed, **narrow.searched})
            return not self._is_used(configuration.key) and self._space.why_constrained(configuration.values) is None

        request = ModelRequest(sweep=self._sweep, space=space, seed=seed, is_new=is_new)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
                return self._model.make(request)
        except (TypeError, ValueError) as error:
            raise UserError(f"[sampler] options: {error}") from error


def _kept_attrs(attrs: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in attrs.items() if not name.startswith(NOT_KEPT)}


def _suggest(trial: optuna.Trial, parameter: Searched) -> Value:
    if isinstance(parameter, Choices):
        value: Any = trial.suggest_categorical(parameter.name, parameter.values)
    elif isinstance(parameter, Integer):
        value = trial.suggest_int(parameter.name, parameter.low, parameter.high, step=parameter.step, log=parameter.log)
    else:
        low, high = parameter.low, parameter.high
        value = trial.suggest_float(parameter.name, low, high, step=parameter.step, log=parameter.log)
    return parameter.normalise(value)
