"""Optuna's pruners by name, each with our defaults.

To add a pruner, add a function here, and its name and options to the sweep's schema. ``first`` is ``[pruner]
first_rung``: the first step at which a trial may be pruned.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import optuna
from optuna.pruners import BasePruner

from hpo_batch.study.brackets import BRACKET, REDUCTION
from hpo_batch.sweep.options import PATIENT
from hpo_batch.sweep.schema import Pruner

# finished trials before a pruner compares; Optuna's default of MedianPruner and PercentilePruner:
# https://optuna.readthedocs.io/en/stable/reference/generated/optuna.pruners.MedianPruner.html
STARTUP = 5
# reports without improvement that "patient" tolerates; Optuna has no default
PATIENCE = 5


class Hyperband(BasePruner):
    """Successive halving among the trials of one bracket; the trial's attribute ``bracket`` names it.

    Optuna's own HyperbandPruner computes brackets from trial numbers, see ``brackets``.
    """

    def __init__(
        self,
        *,
        min_resource: int,
        max_resource: int | str = "auto",
        reduction_factor: int = REDUCTION,
        bootstrap_count: int = 0,
    ) -> None:
        if isinstance(max_resource, str) and max_resource != "auto":
            raise ValueError(f"max_resource is a number of steps or 'auto', not {max_resource!r}")
        self._options = {
            "min_resource": min_resource,
            "reduction_factor": reduction_factor,
            "bootstrap_count": bootstrap_count,
        }
        self._halving(0)  # to reject bad options now rather than at the first report

    def prune(self, study: optuna.Study, trial: optuna.trial.FrozenTrial) -> bool:
        bracket = trial.system_attrs.get(BRACKET, 0)
        return self._halving(bracket).prune(_OfBracket(study, bracket), trial)  # type: ignore[arg-type]

    def _halving(self, bracket: int) -> optuna.pruners.SuccessiveHalvingPruner:
        options: dict[str, Any] = {**self._options, "min_early_stopping_rate": bracket}
        return optuna.pruners.SuccessiveHalvingPruner(**options)


class _OfBracket:
    """The part of ``optuna.Study`` that successive halving uses, limited to the trials of one bracket."""

    def __init__(self, study: optuna.Study, bracket: int) -> None:
        self._study = study
        self._bracket = bracket
        self._storage = study._storage
        self.direction = study.direction

    def get_trials(self, **options: Any) -> list[optuna.trial.FrozenTrial]:
        trials = self._study.get_trials(**options)
        return [trial for trial in trials if trial.system_attrs.get(BRACKET, 0) == self._bracket]


def _median(first: int, options: dict[str, Any]) -> BasePruner:
    return optuna.pruners.MedianPruner(**{"n_startup_trials": STARTUP, "n_warmup_steps": first, **options})


def _percentile(first: int, options: dict[str, Any]) -> BasePruner:
    defaults = {"percentile": 25.0, "n_startup_trials": STARTUP, "n_warmup_steps": first}
    return optuna.pruners.PercentilePruner(**{**defaults, **options})


def _asha(first: int, options: dict[str, Any]) -> BasePruner:
    return optuna.pruners.SuccessiveHalvingPruner(**{"min_resource": first, **options})


def _hyperband(first: int, options: dict[str, Any]) -> BasePruner:
    return Hyperband(**{"min_resource": first, **options})


def _threshold(first: int, options: dict[str, Any]) -> BasePruner:
    return optuna.pruners.ThresholdPruner(**{"n_warmup_steps": first, **options})


def _wilcoxon(first: int, options: dict[str, Any]) -> BasePruner:
    return optuna.pruners.WilcoxonPruner(**{"n_startup_steps": first, **options})


FACTORIES: dict[str, Callable[[int, dict[str, Any]], BasePruner]] = {
    "median": _median,
    "percentile": _percentile,
    "asha": _asha,
    "hyperband": _hyperband,
    "threshold": _threshold,
    "wilcoxon": _wilcoxon,
}


def pruner_of(pruner: Pruner) -> BasePruner:
    """The pruner that the sweep names.

    Raises:
        TypeError, ValueError: it rejects its options.
    """
    if pruner.name != "patient":
        return FACTORIES[pruner.name](pruner.first_rung, pruner.options)
    own = {"patience": PATIENCE, **{key: value for key, value in pruner.options.items() if key in PATIENT}}
    rest = {key: value for key, value in pruner.options.items() if key not in PATIENT}
    if pruner.around is None and rest:
        raise ValueError(f"patient without 'around' does not take {', '.join(rest)}")
    wrapped = None if pruner.around is None else FACTORIES[pruner.around](pruner.first_rung, rest)
    return optuna.pruners.PatientPruner(wrapped, **own)
