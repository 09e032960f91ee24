"""Decide whether to prune a running trial: one of Optuna's pruners, asked on ``history.PrunerHistory``."""

from __future__ import annotations

import math
import warnings
from typing import TYPE_CHECKING

from hpo_batch.errors import UserError
from hpo_batch.sweep.schema import Pruner

if TYPE_CHECKING:
    from optuna.pruners import BasePruner


def make_pruner(pruner: Pruner) -> BasePruner | None:
    """The pruner that the sweep names, or None for ``none``.

    Raises:
        UserError: the pruner rejects its options.
    """
    if pruner.name == "none":
        return None
    import optuna  # here, because a study without a pruner and with one of our own samplers never needs it

    from hpo_batch.study.pruners_of_optuna import pruner_of

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            return pruner_of(pruner)
    except (TypeError, ValueError) as error:
        raise UserError(f"[pruner] options: {error}") from error


def decides_from(pruner: Pruner) -> float:
    """The first step at which a trial may be pruned; for WilcoxonPruner steps are instance ids in any order."""
    return -math.inf if pruner.name == "wilcoxon" else pruner.first_rung
