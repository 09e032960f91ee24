"""``[sampler] name = "package.module:class"``: any sampler class of Optuna's kind."""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import optuna

from hpo_batch.errors import UserError


def make_custom(name: str, options: Mapping[str, Any], *, seed: int, cwd: str | None) -> optuna.samplers.BaseSampler:
    """An instance of the class; ``seed`` is handed over if the class takes one and the options have none.

    Raises:
        UserError: there is no such class, it is no sampler, or it refuses its options.
    """
    found = _import(name, cwd)
    if not (isinstance(found, type) and issubclass(found, optuna.samplers.BaseSampler)):
        raise UserError(f"[sampler] name: '{name}' is not a class made from optuna.samplers.BaseSampler")
    given = dict(options)
    if "seed" in inspect.signature(found).parameters:
        given.setdefault("seed", seed)
    try:
        return found(**given)
    except Exception as error:  # the user's class may raise anything
        raise UserError(f"[sampler] options: {name}: {type(error).__name__}: {error}") from error


def _import(name: str, cwd: str | None) -> Any:
    module, _, path = name.partition(":")
    folder = str(Path(cwd or ".").absolute())
    if folder not in sys.path:
        sys.path.insert(0, folder)
    try:
        found: Any = importlib.import_module(module)
        for part in path.split("."):
            found = getattr(found, part)
    except Exception as error:  # so may its module
        raise UserError(f"[sampler] name: cannot import '{name}': {type(error).__name__}: {error}") from error
    return found
