"""The space that the author of a Hydra application searches: ``hydra.sweeper`` of its configuration. Pure.

Optuna's sweeper and Hydra's own: https://hydra.cc/docs/advanced/override_grammar/extended/, Ax's and Nevergrad's:
https://hydra.cc/docs/plugins/ax_sweeper/, https://hydra.cc/docs/plugins/nevergrad_sweeper/, and ConfigSpace, which
those of AutoML.org read: https://automl.github.io/hypersweeper/
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from hpo_batch.init.option import as_value
from hpo_batch.records import Value

Domain = list[Value] | dict[str, Any]
"""a list of choices, or a table with low and high: a value of ``[space]``"""
_CALL = re.compile(r"(\w{1,20})\((.*)\)", re.DOTALL)
_SPACES: Final = ("params", "search_space", "parametrization")
_CASTS: Final = ("int", "float", "str", "bool")
_DEEPEST: Final = 4


def domains(sweeper: object) -> dict[str, Domain | None]:
    """What is searched, by the name of the override; None where its values cannot be said in ``[space]``."""
    found: dict[str, Domain | None] = {}
    for key in _SPACES:
        space = sweeper.get(key) if isinstance(sweeper, Mapping) else None
        if isinstance(space, Mapping):
            space = space.get("hyperparameters", space)  # as ConfigSpace writes it
        if isinstance(space, Mapping):
            found |= {str(name): _domain(given) for name, given in space.items()}
    return found


def direction(sweeper: object) -> str | None:
    """``minimize`` or ``maximize``, if the sweeper says so for one metric."""
    if not isinstance(sweeper, Mapping):
        return None
    if sweeper.get("direction") in ("minimize", "maximize"):
        return str(sweeper["direction"])
    optim, ax = sweeper.get("optim"), sweeper.get("ax_config")
    if isinstance(optim, Mapping) and isinstance(optim.get("maximize"), bool):
        return "maximize" if optim["maximize"] else "minimize"
    experiment = ax.get("experiment") if isinstance(ax, Mapping) else None
    if isinstance(experiment, Mapping) and isinstance(experiment.get("minimize"), bool):
        return "minimize" if experiment["minimize"] else "maximize"
    return None


def _domain(given: object) -> Domain | None:
    if isinstance(given, list):
        return _choices(_plain(one) for one in given)
    if isinstance(given, Mapping):
        return _of_table(given)
    return _of_text(given, depth=0) if isinstance(given, str) else None


def _of_table(given: Mapping[Any, Any]) -> Domain | None:
    choices = given.get("choices", given.get("values"))
    if isinstance(choices, list):
        return _choices(_plain(one) for one in choices)
    ends = given.get("bounds", [given.get("low", given.get("lower")), given.get("high", given.get("upper"))])
    if not isinstance(ends, list) or len(ends) != 2:
        return None
    is_log = given.get("log") is True or given.get("log_scale") is True
    is_integer = (
        given.get("integer") is True or given.get("type") in ("int", "uniform_int") or given.get("value_type") == "int"
    )
    return _between(_plain(ends[0]), _plain(ends[1]), step=given.get("step"), is_log=is_log, is_integer=is_integer)


def _of_text(text: str, *, depth: int, is_log: bool = False, is_integer: bool = False) -> Domain | None:
    """``choice(a, b)``, ``interval(0, 1)``, ``range(1, 9)``, ``tag(log, interval(1e-5, 1e-1))``, ``a, b``."""
    call = _CALL.fullmatch(text.strip())
    if call is None:
        return _choices(_plain(word) for word in _divided(text)) if "," in text else None
    name, words = call[1], list(_divided(call[2]))
    if name == "tag" or name in _CASTS:
        if depth > _DEEPEST or not words:
            return None
        is_log, is_integer = is_log or "log" in words[:-1], is_integer or name == "int"
        return _of_text(words[-1], depth=depth + 1, is_log=is_log, is_integer=is_integer)
    values = [_plain(word.rpartition("=")[2]) for word in words]
    if name == "choice":
        return _choices(iter(values))
    if name == "interval" and len(values) == 2:
        return _between(*values, step=None, is_log=is_log, is_integer=is_integer)
    return _range(values) if name == "range" else None


def _range(values: list[Value | None]) -> Domain | None:
    """Hydra's range, which ends before its stop, as Python's."""
    start, stop, step = (0, *values, 1) if len(values) == 1 else (*values, 1)[:3]
    if not all(isinstance(one, int | float) and not isinstance(one, bool) for one in (start, stop, step)) or not step:
        return None
    count = -int(-(stop - start) // step) if (stop - start) / step > 0 else 0  # type: ignore[operator]
    return _between(start, start + (count - 1) * step, step=step) if count > 1 else None  # type: ignore[operator]


def _between(
    low: Value | None, high: Value | None, *, step: object, is_log: bool = False, is_integer: bool = False
) -> Domain | None:
    if not isinstance(low, int | float) or not isinstance(high, int | float) or isinstance(low, bool) or not low < high:
        return None
    if is_log:
        return {"low": low, "high": high, "log": True} if low > 0 else None
    stepped = {"step": step} if isinstance(step, int | float) and step not in (0, 1) else {}
    if isinstance(low, int) and isinstance(high, int) and (is_integer or step is not None):
        return {"low": low, "high": high, **stepped}
    return {"low": float(low), "high": float(high), **stepped}


def _choices(values: Iterator[Value | None]) -> Domain | None:
    found = list(values)
    known = [value for value in found if value is not None]
    return list(dict.fromkeys(known)) if len(known) == len(found) > 1 else None


def _plain(value: object) -> Value | None:
    if isinstance(value, str):
        return None if re.match(r"\s*[\[{]", value) else as_value(value)
    return value if isinstance(value, bool | int | float) else None


def _divided(text: str) -> Iterator[str]:
    """The parts between commas that stand in no brackets."""
    depth, part = 0, ""
    for letter in text:
        depth += (letter in "([{") - (letter in ")]}")
        if letter == "," and depth == 0:
            yield part.strip()
            part = ""
        else:
            part += letter
    if part.strip():
        yield part.strip()
