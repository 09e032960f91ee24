"""hpo-batch: hyperparameter sweeps as SLURM array jobs over one shared Optuna journal.

The names a training script needs are exported here lazily: importing ``hpo_batch`` loads neither torch nor Optuna.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hpo_batch.api import load as load
    from hpo_batch.api import load_all as load_all
    from hpo_batch.api import submit as submit
    from hpo_batch.api import wait as wait
    from hpo_batch.objective.trial import Trial as Trial

__all__ = ["Trial", "__version__", "load", "load_all", "submit", "wait"]
__version__ = "0.1.0"


def __getattr__(name: str) -> object:
    if name == "Trial":
        from hpo_batch.objective.trial import Trial

        return Trial
    if name in __all__:
        from hpo_batch import api

        return getattr(api, name)
    raise AttributeError(f"module 'hpo_batch' has no attribute {name!r}")
