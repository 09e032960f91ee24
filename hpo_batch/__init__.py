"""hpo-batch: hyperparameter sweeps as SLURM array jobs over one shared Optuna journal.

The names a training script needs are exported here lazily: importing ``hpo_batch`` loads neither torch nor Optuna.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hpo_batch.objective.trial import Trial as Trial
    from hpo_batch.objective.trials import Trials as Trials

__all__ = ["Trial", "Trials", "__version__"]
__version__ = "0.1.0"


def __getattr__(name: str) -> object:
    if name == "Trial":
        from hpo_batch.objective.trial import Trial

        return Trial
    if name == "Trials":
        from hpo_batch.objective.trials import Trials

        return Trials
    raise AttributeError(f"module 'hpo_batch' has no attribute {name!r}")
