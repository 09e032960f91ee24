"""Validates what the user's code reports: steps, names and values of metrics. For functions and scripts alike."""

from __future__ import annotations

import operator
from collections.abc import Mapping


def as_metrics(metrics: object, named: Mapping[str, object]) -> dict[str, float]:
    """The metrics of a report, which come as a mapping, as keyword arguments, or as both.

    Raises:
        TypeError: there are none, or a name or value has the wrong type.
    """
    given = {**_mapping(metrics), **named}
    if not given:
        raise TypeError("report was called without a metric; write report(step, metric=value)")
    values = {}
    for name, value in given.items():
        if not isinstance(name, str):
            raise TypeError(f"the name of a metric is a text, not {name!r}")
        try:
            values[name] = as_number(value)
        except TypeError as error:
            raise TypeError(f"metric '{name}' is {error}; report real numbers") from None
    return values


def as_step(step: object) -> int:
    """The step of a report.

    Raises:
        TypeError: it is not an integer.
        ValueError: it is negative.
    """
    try:
        if isinstance(step, bool):
            raise TypeError
        number = operator.index(step)  # type: ignore[arg-type]  # raises TypeError if it is not an integer
    except TypeError:
        raise TypeError(f"the step of a report is an integer, not {step!r}") from None
    if number < 0:
        raise ValueError(f"the step of a report is not negative, but {number} was reported")
    return number


def as_number(value: object) -> float:
    """Convert a number to float, including NumPy and torch values with one element.

    Raises:
        TypeError: it is not a real number. The message says what it is: ``a text ('0.7')``.
    """
    if not isinstance(value, int | float):
        value = _item(value)
    # bool is a subclass of int, but true is hardly meant as the metric 1.0
    if isinstance(value, bool):
        raise TypeError(f"{'true' if value else 'false'}, not a number")
    if isinstance(value, str | bytes):
        raise TypeError(f"a text ({value[:40]!r})")
    if value is None:
        raise TypeError("None")
    if not hasattr(value, "__float__") and not hasattr(value, "__index__"):
        raise TypeError(f"a {type(value).__name__}")
    try:
        return float(value)  # type: ignore[arg-type]  # checked in the lines above
    except (TypeError, ValueError, OverflowError) as error:
        raise TypeError(f"a {type(value).__name__} that is not a real number ({error})") from None


def _item(value: object) -> object:
    """The element of an array or tensor with one; other values unchanged."""
    item = getattr(value, "item", None)
    if not callable(item):
        return value
    try:
        return item()
    except (TypeError, ValueError):
        pass
    except RuntimeError as error:
        # other RuntimeErrors of torch are pending CUDA errors, which must not be hidden
        if "cannot be converted to Scalar" not in str(error):
            raise
    raise TypeError(f"a {type(value).__name__} with other than one element")


def _mapping(metrics: object) -> Mapping[str, object]:
    if metrics is None:
        return {}
    if not isinstance(metrics, Mapping):
        raise TypeError(f"report takes names: report(step, metric=value), not a {type(metrics).__name__} by position")
    return metrics
