"""``[sampler] name = "package.module:class"``: the user's own subclass of Optuna's BaseSampler."""

from __future__ import annotations

import importlib
import inspect
import sys
from pathlib import Path
from typing import Any

import optuna

from hpo_batch.errors import UserError
from hpo_batch.study.samplers.base import Model, ModelRequest


def _custom(request: ModelRequest) -> optuna.samplers.BaseSampler:
    """An instance of the class, with our ``seed`` if it takes one and the options have none.

    Raises:
        UserError: the class does not exist, is not a sampler, or rejects its options.
    """
    name = request.sweep.sampler.name
    sampler = _import(name, request.sweep.objective.cwd)
    if not (isinstance(sampler, type) and issubclass(sampler, optuna.samplers.BaseSampler)):
        raise UserError(f"[sampler] name: '{name}' is not a subclass of optuna.samplers.BaseSampler")
    options = dict(request.options)
    if "seed" in inspect.signature(sampler).parameters:
        options.setdefault("seed", request.seed)
    try:
        return sampler(**options)
    except Exception as error:  # the user's class may raise anything
        raise UserError(f"[sampler] options: {name}: {type(error).__name__}: {error}") from error


def _import(name: str, cwd: str | None) -> Any:
    module, _, path = name.partition(":")
    folder = str(Path(cwd or ".").absolute())
    if folder not in sys.path:  # as "python -m" does, so that classes and objectives are found in the same place
        sys.path.insert(0, folder)
    try:
        value: Any = importlib.import_module(module)
        for part in path.split("."):
            value = getattr(value, part)
    except Exception as error:  # and so may its module
        raise UserError(f"[sampler] name: cannot import '{name}': {type(error).__name__}: {error}") from error
    return value


CUSTOM = Model(make=_custom, is_kept=True)
