"""hpo-batch: hyperparameter sweeps as SLURM array jobs over one shared Optuna journal.

The names a training script needs are exported here lazily: importing ``hpo_batch`` loads neither torch nor Optuna.
"""

from __future__ import annotations

TYPE_CHECKING = False  # of typing, whose import takes longer than all of this
if TYPE_CHECKING:
    __version__: str
    from hpo_batch.api import load as load
    from hpo_batch.api import load_all as load_all
    from hpo_batch.api import submit as submit
    from hpo_batch.api import wait as wait
    from hpo_batch.objective.trial import Trial as Trial
    from hpo_batch.objective.trials import Trials as Trials
    from hpo_batch.script import checkpoint_dir as checkpoint_dir
    from hpo_batch.script import report as report
    from hpo_batch.script import should_stop as should_stop

__all__ = [
    "Trial",
    "Trials",
    "__version__",
    "checkpoint_dir",
    "load",
    "load_all",
    "report",
    "should_stop",
    "submit",
    "wait",
]

_HOMES = {
    "Trial": "hpo_batch.objective.trial",
    "Trials": "hpo_batch.objective.trials",
    **dict.fromkeys(("checkpoint_dir", "report", "should_stop"), "hpo_batch.script"),
    **dict.fromkeys(("load", "load_all", "submit", "wait"), "hpo_batch.api"),
}


def __getattr__(name: str) -> object:
    if name == "__version__":
        return _version()
    if name not in _HOMES:
        raise AttributeError(f"module 'hpo_batch' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_HOMES[name]), name)


def _version() -> str:
    """Of the installed package, which has it from git's tags; reading it takes longer than all of this module."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("hpo-batch")
    except PackageNotFoundError:  # a folder of sources on PYTHONPATH
        return "0+unknown"
