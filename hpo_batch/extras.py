"""Optional packages: which extra brings each, and what to type if one is missing."""

from __future__ import annotations

import importlib.util
from typing import Final

from hpo_batch.errors import UserError

EXTRAS: Final = {
    "torch": "torch",
    "pyarrow": "parquet",
    "cmaes": "cmaes",
    "pynvml": "gpu",
    "optuna_dashboard": "dashboard",
}
"""package -> extra of hpo-batch"""


def is_installed(package: str) -> bool:
    """Whether the package can be imported by this Python; it is not imported."""
    return importlib.util.find_spec(package) is not None


def install(package: str) -> str:
    """The command that installs a package of ``EXTRAS``."""
    return f"pip install 'hpo-batch[{EXTRAS[package]}]'"


def require(package: str, *, what: str) -> None:
    """Raises UserError if a package of ``EXTRAS`` is missing.

    Args:
        package: name that is imported.
        what: needs it.
    """
    if not is_installed(package):
        raise UserError(f"{what} needs the package {package}, which is not installed: {install(package)}")
