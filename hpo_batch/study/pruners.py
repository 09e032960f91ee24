"""Whether a running trial should end early: Optuna's pruners by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import optuna

from hpo_batch.errors import UserError
from hpo_batch.sweep.schema import Pruner


def _median(first: int, options: dict[str, Any]) -> optuna.pruners.BasePruner:
    return optuna.pruners.MedianPruner(**{"n_startup_trials": 5, "n_warmup_steps": first, **options})


def _percentile(first: int, options: dict[str, Any]) -> optuna.pruners.BasePruner:
    defaults = {"percentile": 25.0, "n_startup_trials": 5, "n_warmup_steps": first}
    return optuna.pruners.PercentilePruner(**{**defaults, **options})


def _asha(first: int, options: dict[str, Any]) -> optuna.pruners.BasePruner:
    return optuna.pruners.SuccessiveHalvingPruner(**{"min_resource": first, **options})


def _hyperband(first: int, options: dict[str, Any]) -> optuna.pruners.BasePruner:
    return optuna.pruners.HyperbandPruner(**{"min_resource": first, **options})


FACTORIES: dict[str, Callable[[int, dict[str, Any]], optuna.pruners.BasePruner]] = {
    "median": _median,
    "percentile": _percentile,
    "asha": _asha,
    "hyperband": _hyperband,
}


def make_pruner(pruner: Pruner) -> optuna.pruners.BasePruner | None:
    """The pruner that the sweep names, or None for ``none``.

    Raises:
        UserError: it refuses its options.
    """
    if pruner.name == "none":
        return None
    try:
        return FACTORIES[pruner.name](pruner.first_rung, pruner.options)
    except (TypeError, ValueError) as error:
        raise UserError(f"[pruner] options: {error}") from error
